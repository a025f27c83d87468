"""Convolutions as matrix products: the same sums as torch's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from headpose.networks.convolution import Conv2d


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(3, 3), (6, 5), (7, 4), (1, 1)])
def test_products_give_torchs_outputs_and_gradients(kernel: int, stride: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours = Conv2d(256, 256, kernel, stride).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    plain = torch.nn.Conv2d(256, 256, kernel, stride, padding=kernel // 2, bias=False)
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(4, 256, *size).contiguous(memory_format=torch.channels_last)
    results = []
    for layer, bf16 in ((ours, True), (plain, False)):
        seen = images.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            outputs = layer(seen)
        assert bf16 == type(outputs.grad_fn).__name__.startswith("_Product")
        assert outputs.dtype == (torch.bfloat16 if bf16 else torch.float32)
        outputs.float().sin().sum().backward()
        results.append((outputs.float(), seen.grad, layer.weight.grad))
    for found, wanted in zip(*results, strict=True):
        assert found.dtype == torch.float32
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() < 0.03 * wanted.abs().max()  # bfloat16 has 8 bits


@pytest.mark.parametrize(("inputs", "kernel", "size"), [(16, 1, 6), (64, 3, 3), (256, 3, 12), (3, 7, 9)])
def test_where_products_gain_nothing_it_is_torchs_own(inputs: int, kernel: int, size: int) -> None:
    layer = Conv2d(inputs, inputs, kernel)
    images = torch.randn(2, inputs, size, size)
    with torch.autocast("cpu", torch.bfloat16):
        plain = torch.nn.functional.conv2d(images, layer.weight, padding=kernel // 2)
        assert torch.equal(layer(images), plain)


def test_float32_is_torchs_own_bit_for_bit() -> None:
    layer = Conv2d(8, 16, 3)
    images = torch.randn(2, 8, 5, 5)
    plain = torch.nn.functional.conv2d(images, layer.weight, padding=1)
    assert torch.equal(layer(images), plain)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("bf16", [False, True])
def test_narrow_strided_layers_give_torchs_outputs(stride: int, bf16: bool) -> None:
    """Their pixels are taken first: what comes out is the same."""
    torch.manual_seed(0)
    layer = Conv2d(5, 7, 1, stride).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(3, 5, 8, 11).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), torch.no_grad():
        found, plain = layer(images), torch.nn.functional.conv2d(images, layer.weight, stride=stride)
    assert found.dtype == plain.dtype == (torch.bfloat16 if bf16 else torch.float32)
    torch.testing.assert_close(found, plain)


def test_gradients_of_narrow_strided_layers_are_those_of_float64(repo: Path) -> None:
    """On a processor without AVX-512 too, where torch's own layers damage the heap (oneDNN issue 6035)."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    command = [sys.executable, "-m", "tests.training.narrow_gradients"]
    done = subprocess.run(command, cwd=repo, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["threads"] for line in lines] == [1, 2]
    for line in lines:
        assert max(line["worst"]) < 1e-5, line
