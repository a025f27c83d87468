"""Compares narrow strided 1x1 convolutions with float64, in a process of its own: wrong ones may damage the heap.

    ONEDNN_MAX_CPU_ISA=AVX2 python -m tests.training.narrow_gradients [torch]

Prints one line of JSON for each number of threads: the shapes tried and the largest error of the outputs, of the
gradient of the weights and of that of the inputs, as shares of the largest value of each. With ``torch`` the layers
are ``torch.nn.Conv2d``, which shows the fault that ``headpose.networks.convolution.Conv2d`` avoids.
"""

from __future__ import annotations

import json
import sys

import torch
from torch import Tensor, nn

from headpose.networks.convolution import Conv2d

SHAPES = [
    (inputs, outputs, stride, side, batch)
    for inputs in range(1, 18)
    for stride in (2, 3)
    for side in ((12, 12), (8, 8), (9, 5))  # multiples of the strides, and not
    for outputs, batch in ((1, 4), (8, 2), (24, 1))
]


def errors(layer: nn.Conv2d, images: Tensor) -> list[float]:
    """Of the outputs, the gradient of the weights and that of the images."""
    stride = layer.stride[0]
    images = images.contiguous(memory_format=torch.channels_last).requires_grad_()
    outputs = layer(images)
    gradient = torch.randn(outputs.shape).contiguous(memory_format=torch.channels_last)
    outputs.backward(gradient)
    seen = images.detach().double()[:, :, ::stride, ::stride]
    weight, slope = layer.weight.detach().double()[:, :, 0, 0], gradient.double()
    to_images = torch.zeros(images.shape, dtype=torch.float64)
    to_images[:, :, ::stride, ::stride] = torch.einsum("oc,nohw->nchw", weight, slope)
    wanted = (
        torch.einsum("oc,nchw->nohw", weight, seen),
        torch.einsum("nohw,nchw->oc", slope, seen)[:, :, None, None],
        to_images,
    )
    found = (outputs.detach(), layer.weight.grad, images.grad)
    return [float((a.double() - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True)]


def main() -> None:
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        worst = [0.0, 0.0, 0.0]
        for inputs, outputs, stride, side, batch in SHAPES:
            layer = Conv2d(inputs, outputs, 1, stride)
            if "torch" in sys.argv[1:]:
                layer = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            layer.to(memory_format=torch.channels_last)
            worst = list(map(max, worst, errors(layer, torch.randn(batch, inputs, *side))))
        print(json.dumps({"threads": threads, "shapes": len(SHAPES), "worst": worst}), flush=True)


if __name__ == "__main__":
    main()
