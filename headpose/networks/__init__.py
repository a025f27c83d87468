"""Residual networks: their widths, layers, pretrained weights, and their files."""
