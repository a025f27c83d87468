"""Size and latency of networks."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headpose.compression.codec import CODECS, stored_bytes
from headpose.compression.connections import removed_weights
from headpose.evaluation.latency import Timing, interleave
from headpose.inference import create_session
from headpose.networks.export import ModelCard, export_onnx
from headpose.networks.network import Network
from headpose.networks.plain import PlainNet
from headpose.networks.resnet import HeadPoseNet
from headpose.networks.spec import macs, parameters
from headpose.types import CropSpec

_NO_CARD = ModelCard("timed", "fp32", "unknown", "", "", "")


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a network.

    Attributes:
        parameters: Number of trained values, without those of removed connections.
        macs: Number of multiply-accumulates of one forward pass.
        bytes: Size of the stored weights in bytes.
    """

    parameters: int
    macs: int
    bytes: int


def size_of(network: Network, side: int, codec: str = "plain") -> Size:
    """Return the size of a network.

    Args:
        network: Network to measure.
        side: Side of its input in pixels.
        codec: Storage of the weights, a key of ``CODECS``.
    """
    stored = stored_bytes(CODECS[codec], network.state_dict())
    return Size(parameters(network.spec) - removed_weights(network), macs(network.spec, side), stored)


def latency(files: dict[str, Path], threads: int, rounds: int = 20) -> dict[str, Timing]:
    """Time ONNX networks in alternating calls on one noise image: milliseconds of the network alone.

    Args:
        files: Files of networks with one input, ``image``, by name.
        threads: Number of CPU threads of one call.
        rounds: Number of rounds.
    """
    tasks = {}
    for name, file in files.items():
        session, _ = create_session(file, device="cpu", threads=threads)
        side = session.get_inputs()[0].shape[2]
        picture = np.random.default_rng(0).standard_normal((1, 3, side, side)).astype(np.float32)
        tasks[name] = lambda session=session, picture=picture: session.run(None, {"image": picture})
    return interleave(tasks, rounds)


def latency_of(network: Network, spec: CropSpec) -> float:
    """Return the median time of a network for one image on one thread in milliseconds; NaN for a classifier."""
    if not isinstance(network, HeadPoseNet | PlainNet):
        return float("nan")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        export_onnx(network.eval(), spec, _NO_CARD, file)
        return latency({"network": file}, threads=1)["network"].median
