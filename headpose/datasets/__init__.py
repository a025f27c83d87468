"""Labelled faces from files: 300W-LP, AFLW2000-3D, CSV manifests; and splits that do not leak.

Readers return ``list[Sample]`` without opening a picture. None of them needs torch.
"""
