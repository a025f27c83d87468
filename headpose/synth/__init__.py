"""Synthetic data in the layout of 300W-LP: rendered heads and turned photographs. Needs the extra ``synth``."""
