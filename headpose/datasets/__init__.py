"""Readers of labeled faces (300W-LP, AFLW2000-3D, BIWI, CSV manifests), and splits without leakage.

Readers return ``list[Sample]`` without opening images. None of them needs torch.
"""
