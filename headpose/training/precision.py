"""bfloat16 autocast on hardware that supports it."""

from __future__ import annotations

from pathlib import Path

import torch


def autocast(choice: str, device: torch.device) -> torch.autocast:
    """Return a context that computes convolutions and dense layers in bfloat16 or float32.

    Args:
        choice: ``on``, ``off``, or ``auto`` for bfloat16 if the GPU or CPU supports it in hardware.
        device: Device of the network.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(choice, device))


def computes_bf16(choice: str, device: torch.device) -> bool:
    """Return whether ``autocast`` with the same arguments uses bfloat16."""
    if choice != "auto":
        return choice == "on"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    # oneDNN emulates bfloat16 on CPUs without support, which is slower than float32.
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _cpu_computes_bf16()


def _cpu_computes_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
