"""Convolution that uses matrix products for bfloat16 on the CPU where they are faster.

oneDNN's convolutions are slow for small maps with many channels, in particular the gradient of the weights: for 512
filters of 3x3 on maps of 3x3 it takes several times as long as a single matrix product.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_LARGE = {1: 2**16, 3: 2**14}
"""Minimum number of weights for which a layer is computed as a product, by filter side: in total (1) or per position of
its output map (3), because copying the windows of 3x3 filters costs more for larger maps."""
_NARROW = 16
"""Number of input channels below which a strided 1x1 convolution on the CPU subsamples its input first.

oneDNN (issue 6035) accesses memory out of bounds when it computes the gradient of the weights of such layers in
channels-last format: the gradient is silently wrong, or the process aborts. Observed for 2 to 7 channels with AVX2;
according to its source, up to 15 channels are affected with AVX-512.
"""


class Conv2d(nn.Conv2d):
    """``torch.nn.Conv2d`` with square filters and "same" padding; without bias, groups and dilation.

    Results are equal up to rounding under bfloat16 autocast on the CPU. All networks must use this class, because
    narrow strided layers of torch's class get wrong gradients on some CPUs (see ``_NARROW``).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        """Create a layer.

        Args:
            inputs: Number of input channels.
            outputs: Number of output channels.
            kernel: Side of the filters in pixels, odd.
            stride: Stride in pixels.
        """
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride))."""
        if self._is_miscomputed(input):
            stride = self.stride[0]
            return functional.conv2d(input[:, :, ::stride, ::stride], self.weight)
        if not self._is_faster_as_product(input):
            return super().forward(input)
        # Cast outside of the function, so that autograd casts the gradients back.
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
    """Convolution as the matrix product of its windows and its filters."""

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
    """Reshape filters (outputs, inputs, k, k) to (outputs, k * k * inputs)."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _windows(images: Tensor, kernel: int, stride: int) -> Tensor:
    """Extract the windows of all output positions: (N, C, H, W) to (N * H' * W', k * k * C)."""
    channels = images.shape[1]
    pixels = images.permute(0, 2, 3, 1)
    if kernel == 1:
        return pixels[:, ::stride, ::stride].reshape(-1, channels)
    border = kernel // 2
    pixels = functional.pad(pixels, (0, 0, border, border, border, border))
    views = pixels.unfold(1, kernel, stride).unfold(2, kernel, stride)
    return views.permute(0, 1, 2, 4, 5, 3).reshape(-1, kernel * kernel * channels)


def _scattered(parts: Tensor, shape: torch.Size, stride: int) -> Tensor:
    """Add windows (N, H', W', k, k, C) to their positions in an image of ``shape`` (N, C, H, W)."""
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
