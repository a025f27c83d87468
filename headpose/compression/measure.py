"""What a network costs."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headpose.compression.codec import CODECS, stored_bytes
from headpose.evaluation.latency import Timing, interleave
from headpose.inference import OnnxPoseModel
from headpose.networks.export import ModelCard, export_onnx
from headpose.networks.resnet import HeadPoseNet, ResNet
from headpose.networks.spec import macs, parameters
from headpose.types import CropSpec

_NO_CARD = ModelCard("timed", "fp32", "unknown", "", "", "")


@dataclass(frozen=True, slots=True)
class Size:
    """Attributes: trained values; multiply-accumulates of one forward pass; bytes of the stored weights."""

    parameters: int
    macs: int
    bytes: int


def size_of(network: ResNet, side: int, codec: str = "plain") -> Size:
    """The size of a network whose input is ``side`` pixels wide."""
    stored = stored_bytes(CODECS[codec], network.state_dict())
    return Size(parameters(network.spec), macs(network.spec, side), stored)


def latency(files: dict[str, Path], threads: int, rounds: int = 20) -> dict[str, Timing]:
    """Times ONNX networks in turns, each on one picture of noise: milliseconds of the network alone.

    Args:
        files: networks of the package's contract, by name.
        threads: of the processor for one call.
        rounds: turns of each.
    """
    tasks = {}
    for name, file in files.items():
        model = OnnxPoseModel(file, device="cpu", threads=threads)
        side = model.crop.size
        picture = np.random.default_rng(0).standard_normal((1, 3, side, side)).astype(np.float32)
        tasks[name] = lambda model=model, picture=picture: model.predict(picture)
    return interleave(tasks, rounds)


def latency_of(network: ResNet, spec: CropSpec) -> float:
    """Milliseconds of one picture through a network, one thread, median; NaN for a classifier."""
    if not isinstance(network, HeadPoseNet):
        return float("nan")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        export_onnx(network.eval(), spec, _NO_CARD, file)
        return latency({"network": file}, threads=1)["network"].median
