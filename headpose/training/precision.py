"""bfloat16 arithmetic where the machine has it."""

from __future__ import annotations

from pathlib import Path

import torch


def autocast(choice: str, device: torch.device) -> torch.autocast:
    """A context in which convolutions and dense layers compute in bfloat16, or in float32 if that is slower here.

    Args:
        choice: ``on``, ``off``, or ``auto``, which takes it where the GPU or the CPU computes in it.
        device: of the network.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(choice, device))


def computes_bf16(choice: str, device: torch.device) -> bool:
    """Whether ``autocast`` of the same arguments computes in bfloat16."""
    if choice != "auto":
        return choice == "on"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    # mkldnn emulates bfloat16 on CPUs without it, which is slower than float32.
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _cpu_computes_bf16()


def _cpu_computes_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
