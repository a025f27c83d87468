"""A convolution whose bfloat16 arithmetic on a processor is matrix products where those are faster.

oneDNN's convolutions are slow where a map is small and deep, most of all in the gradient of the weights: that of 512
filters of 3x3 on maps of 3x3 takes several times as long as the same sums in one matrix product.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_LARGE = {1: 2**16, 3: 2**14}
"""Weights from which a layer becomes a product, by the side of its filters: in all, or for each position of its map.

Copying the windows of 3x3 filters costs more the larger the map is; below these sizes neither way is faster by much.
"""
_NARROW = 16
"""Input channels below which a strided 1x1 convolution on a processor takes its pixels first.

oneDNN (issue 6035) computes the gradient of such a layer's weights, channels-last, outside of its buffers: the gradient
is wrong without an error, or the process aborts. Seen with 2 to 7 channels on AVX2; by its source up to 15 on AVX-512.
"""


class Conv2d(nn.Conv2d):
    """``torch.nn.Conv2d`` with square filters, padded by half of their side; no bias, groups or dilation.

    Its sums are the same; under bfloat16 autocast on a processor they may be rounded otherwise. Build every network
    from it: narrow strided layers of torch's own class get wrong gradients on some processors (``_NARROW``).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        if self._is_miscomputed(input):
            stride = self.stride[0]
            return functional.conv2d(input[:, :, ::stride, ::stride], self.weight)
        if not self._is_faster_as_product(input):
            return super().forward(input)
        # The casts stay outside of the function: autograd then casts the gradients back.
        images, weight = input.to(torch.bfloat16), self.weight.to(torch.bfloat16)
        outputs: Tensor = _Product.apply(images, weight, self.stride[0])  # type: ignore[no-untyped-call]
        return outputs

    def _is_miscomputed(self, images: Tensor) -> bool:
        narrow = self.in_channels < _NARROW and self.kernel_size == (1, 1) and self.stride != (1, 1)
        return narrow and images.device.type == "cpu"

    def _is_faster_as_product(self, images: Tensor) -> bool:
        if images.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return False
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        if kernel not in _LARGE:
            return False
        positions = _steps(images.shape[2], stride) * _steps(images.shape[3], stride)
        return self.weight.numel() >= _LARGE[kernel] * (positions if kernel > 1 else 1)


class _Product(torch.autograd.Function):
    """A convolution as the product of its windows, one a row, and its filters, one a row."""

    @staticmethod
    def forward(context: Any, images: Tensor, weight: Tensor, stride: int) -> Tensor:
        context.save_for_backward(images, weight)
        context.stride = stride
        size = _steps(images.shape[2], stride), _steps(images.shape[3], stride)
        outputs = _windows(images, weight.shape[2], stride) @ _filters(weight).t()
        return outputs.view(len(images), *size, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        images, weight = context.saved_tensors
        outputs, inputs, kernel, _ = weight.shape
        rows = gradient.permute(0, 2, 3, 1).reshape(-1, outputs)
        to_images = to_weight = None
        if context.needs_input_grad[0]:
            parts = (rows @ _filters(weight)).view(len(images), *gradient.shape[2:], kernel, kernel, inputs)
            to_images = _scattered(parts, images.shape, context.stride)
        if context.needs_input_grad[1]:
            product = rows.t() @ _windows(images, kernel, context.stride)
            to_weight = product.view(outputs, kernel, kernel, inputs).permute(0, 3, 1, 2)
        return to_images, to_weight, None


def _steps(length: int, stride: int) -> int:
    return -(-length // stride)


def _filters(weight: Tensor) -> Tensor:
    """(outputs, inputs, k, k) -> (outputs, k * k * inputs)."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _windows(images: Tensor, kernel: int, stride: int) -> Tensor:
    """(N, C, H, W) -> (N * H' * W', k * k * C): what each filter sees, position by position."""
    channels = images.shape[1]
    pixels = images.permute(0, 2, 3, 1)
    if kernel == 1:
        return pixels[:, ::stride, ::stride].reshape(-1, channels)
    border = kernel // 2
    pixels = functional.pad(pixels, (0, 0, border, border, border, border))
    views = pixels.unfold(1, kernel, stride).unfold(2, kernel, stride)
    return views.permute(0, 1, 2, 4, 5, 3).reshape(-1, kernel * kernel * channels)


def _scattered(parts: Tensor, shape: torch.Size, stride: int) -> Tensor:
    """The reverse of ``_windows``: (N, H', W', k, k, C) added up where they were seen -> ``shape``, (N, C, H, W)."""
    number, channels, height, width = shape
    kernel, border = parts.shape[3], parts.shape[3] // 2
    if kernel == 1 and stride == 1:
        return parts.view(number, height, width, channels).permute(0, 3, 1, 2)
    padded = parts.new_zeros(number, height + 2 * border, width + 2 * border, channels)
    rows, columns = (stride * (count - 1) + 1 for count in parts.shape[1:3])
    for y in range(kernel):
        for x in range(kernel):
            padded[:, y : y + rows : stride, x : x + columns : stride] += parts[:, :, :, y, x]
    return padded[:, border : border + height, border : border + width].permute(0, 3, 1, 2)
