"""Compression of networks: pruning, distillation and quantization. Needs the ``train`` extra."""
