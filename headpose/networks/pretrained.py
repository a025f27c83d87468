"""Initialize a network from pretrained weights (``--init``): our own, or those of a third-party ResNet.

Matching tensors are loaded; the rest are reported. Supported names are those of torchvision, which we also use, with or
without a prefix, and those of the Caffe networks of VGGFace2 and their conversions (Cao et al., "VGGFace2: A dataset
for recognising faces across pose and age", FG 2018), such as ``conv2_1_1x1_reduce`` for ``layer1.0.conv1``. The latter
networks differ in stride, padding, pooling and channel order, which the recipe must specify (``stride_on = "1x1"``,
``stem.pool_padding = "end"``, ``crop.channels = "bgr"``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from headpose import coded, weights
from headpose.errors import WeightsError
from headpose.networks import checkpoint
from headpose.networks.export import state_from_onnx
from headpose.networks.resnet import HeadPoseNet

_SUFFIXES = (".onnx", ".safetensors", ".pth", ".pt")
_PREFIX = re.compile(r"^(module\.|backbone\.|model\.|encoder\.)+")
_CAFFE = re.compile(
    r"^conv(?P<stage>[2-5])_(?P<block>\d+)_(?P<layer>[13]x[13](?:_reduce|_increase|_proj)?)(?P<bn>_bn)?$"
)
_CAFFE_LAYER = {
    "1x1_reduce": ("conv1", "bn1"),
    "3x3": ("conv2", "bn2"),
    "1x1_increase": ("conv3", "bn3"),
    "1x1_proj": ("downsample.0", "downsample.1"),
}
_CAFFE_STEM = {"conv1_7x7_s2": "conv1", "conv1_7x7_s2_bn": "bn1", "conv1/7x7_s2": "conv1", "conv1/7x7_s2/bn": "bn1"}


@dataclass(frozen=True, slots=True)
class Match:
    """Result of an initialization.

    Attributes:
        taken: Names of parameters and statistics that were loaded.
        fresh: Names that the file does not contain.
        extended: Names whose values for the rotation were loaded; their values for optional outputs start fresh.
        other_shape: Names with another shape in the file.
        unused: Names of the file that the network does not have.
    """

    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    extended: tuple[str, ...]
    other_shape: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.taken)} tensors taken"]
        for names, words in (
            (self.fresh, "start fresh"),
            (self.extended, "take their rotation, and their other outputs start fresh"),
            (self.other_shape, "have another shape and start fresh"),
            (self.unused, "of the file are not used"),
        ):
            if names:
                shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
                parts.append(f"{len(names)} {words} ({shown})")
        return "; ".join(parts)


def locate(name_or_path: str) -> Path:
    """Return the weight file of a model name or path.

    Raises:
        WeightsError: There is neither such a file nor a model of that name.
    """
    path = Path(name_or_path)
    if os.path.isfile(path):  # noqa: PTH113  # Path's own raises where a folder cannot be read
        return path
    if name_or_path in weights.manifest():
        return weights.find(name_or_path)
    if os.path.isdir(path):  # noqa: PTH112
        return path  # reading it raises a clear error
    if path.suffix in _SUFFIXES or weights.is_path(name_or_path):
        raise WeightsError(f"--init {path}: the file does not exist, or its folder cannot be read")
    raise WeightsError(
        f"--init {name_or_path}: there is no such file, and no network of that name; give a name "
        f"({', '.join(weights.manifest())}) or a file ({', '.join(_SUFFIXES)})"
    )


def initialize(network: nn.Module, file: Path) -> Match:
    """Load the matching tensors of a file into a network.

    Args:
        network: Network whose parameters and BatchNorm statistics are overwritten.
        file: An fp32 .onnx file of this package, a .safetensors file, or a .pth/.pt file with only tensors and plain
            values.

    Returns:
        Names of the tensors that were loaded, and of those that were not.

    Raises:
        WeightsError: The file cannot be read, or no convolution matches.
    """
    stored = {our_name(name): value for name, value in _read(file).items()}
    own = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    fits = {name: stored[name] for name, value in own.items() if name in stored and stored[name].shape == value.shape}
    if wrong := [name for name, value in fits.items() if not bool(value.isfinite().all())]:
        raise WeightsError(f"{file} has values in {wrong[0]} that are not finite: it is damaged")
    if not any(value.ndim == 4 for value in fits.values()):
        examples = ", ".join(list(stored)[:3]) or "none"
        raise WeightsError(f"no convolution of {file} fits this network: its names are such as {examples}")
    extended = _extended(network, own, stored)
    network.load_state_dict({**fits, **extended}, strict=False)
    return Match(
        taken=tuple(fits),
        fresh=tuple(name for name in own if name not in stored),
        extended=tuple(extended),
        other_shape=tuple(name for name in own if name in stored and name not in fits and name not in extended),
        unused=tuple(name for name in stored if name not in own and not name.endswith("num_batches_tracked")),
    )


def _extended(network: nn.Module, own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the last layer with the rotation of a file whose network has no optional outputs."""
    if not isinstance(network, HeadPoseNet) or not network.spec.outputs:
        return {}
    count, layer = network.spec.parts["rotation"], f"head.{len(network.spec.head)}"
    extended = {}
    for name in (f"{layer}.weight", f"{layer}.bias"):
        given, ours = stored.get(name), own[name]
        if given is None or given.shape != (count, *ours.shape[1:]):
            return {}
        extended[name] = torch.cat([given.to(ours), ours[count:]])
    return extended


def our_name(name: str) -> str:
    """Translate the name of a tensor in a file to ours. Unknown names only lose their prefix."""
    layer, _, kind = _PREFIX.sub("", name).rpartition(".")
    if layer in _CAFFE_STEM:
        return f"{_CAFFE_STEM[layer]}.{kind}"
    if match := _CAFFE.match(layer.replace("/", "_")):
        ours = _CAFFE_LAYER.get(match["layer"])
        if ours is not None:
            stage, block = int(match["stage"]) - 1, int(match["block"]) - 1
            return f"layer{stage}.{block}.{ours[bool(match['bn'])]}.{kind}"
    return f"{layer}.{kind}" if layer else kind


def _read(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".onnx" or coded.is_coded(file):
        return state_from_onnx(file)[2]
    try:
        values: Any = load_file(file) if file.suffix == ".safetensors" else checkpoint.read_torch(file)
    except Exception as error:  # torch raises many types for damaged files
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"cannot read the weights {file}: {first}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(values, dict) and isinstance(values.get(wrapper), dict):
            values = values[wrapper]
    if not isinstance(values, dict):
        raise WeightsError(f"{file} holds no state dict")
    return {str(name): value for name, value in values.items() if isinstance(value, Tensor) and _is_plain(value)}


def _is_plain(value: Tensor) -> bool:
    """Return whether a tensor stores all of its values: a view may repeat one value any number of times."""
    return value.layout == torch.strided and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
