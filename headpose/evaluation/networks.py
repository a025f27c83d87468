"""Load our and third-party networks by name, and read their static properties."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headpose import files
from headpose.errors import HeadPoseError
from headpose.evaluation import macs
from headpose.evaluation.adapter_files import read_adapter
from headpose.evaluation.adapters import Adapter, load_adapter
from headpose.inference import OnnxPoseModel, load_model

Kind = Literal["ours", "peer"]
AnyModel = OnnxPoseModel | Adapter


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """Static properties of a network.

    Attributes:
        name: Name for tables.
        kind: "ours" for networks of this package, "peer" for third-party networks with an adapter.
        bytes: Total size of its files in bytes.
        sha256: SHA-256 of each file, by file name.
        macs: Multiply-accumulates per face, summed over its files.
        arithmetic: "int8" if activations are quantized, otherwise "fp32".
    """

    name: str
    kind: Kind
    bytes: int
    sha256: dict[str, str]
    macs: int
    arithmetic: str

    @property
    def gflop(self) -> float:
        """Billions of operations per face, two per multiply-accumulate."""
        return 2e-9 * self.macs


def listed(text: str) -> list[str]:
    """Parse a comma-separated list of network names; a ``type`` for argparse."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not names with commas between")
    return names


def load(
    name: str,
    *,
    adapters: str | os.PathLike[str],
    peers: str | os.PathLike[str] | None,
    device: str = "cpu",
    threads: int = 0,
) -> AnyModel:
    """Load a network.

    Args:
        name: Name of a model, an .onnx file, the .toml file of an adapter, or the name of an adapter in ``adapters``.
        adapters: Folder of adapter files.
        peers: Folder of third-party networks.
        device: As in ``headpose.inference.load_model``.
        threads: As in ``headpose.inference.load_model``.

    Raises:
        WeightsError: See ``load_model`` and ``load_adapter``.
        HeadPoseError: ``name`` is an adapter and ``peers`` is None, or the device is not available.
    """
    file = adapter_file(name, adapters)
    if file is None:
        return load_model(name, device=device, threads=threads)
    if peers is None:
        raise HeadPoseError(f"{name} is somebody else's network: name the folder of such networks (--peers)")
    return load_adapter(file, peers, device=device, threads=threads)


def adapter_file(name: str, adapters: str | os.PathLike[str]) -> Path | None:
    """Return the adapter file of a name; None if the name is one of our networks."""
    if name.endswith(".toml"):
        return Path(name)
    file = Path(adapters) / f"{name}.toml"
    return file if file.is_file() else None


def present(adapters: str | os.PathLike[str], peers: str | os.PathLike[str]) -> list[str]:
    """Return the adapter files in ``adapters`` whose networks are all in ``peers``.

    Raises:
        HeadPoseError: There is no such adapter.
    """
    found = [
        str(file)
        for file in sorted(Path(adapters).glob("*.toml"))
        if all((Path(peers) / network).is_file() for network in read_adapter(file).files)
    ]
    if not found:
        raise HeadPoseError(f"no network of {adapters} is in {peers}: name one (--adapter FILE)")
    return found


def parts(model: AnyModel) -> list[tuple[Path, tuple[int, int, int, int]]]:
    """Return the files of a network, each with the shape of its input for one face."""
    if isinstance(model, Adapter):
        side, channels = model.crop.size, 1 if model.spec.grey else 3
        return [(path, (1, channels, side, side)) for path in model.paths]
    return [(model.path, (1, 3, model.crop.size, model.crop.size))]


def facts(model: AnyModel) -> NetworkFacts:
    """Return the static properties of a network; see ``macs.count`` for the errors."""
    work = [macs.count(path, shape) for path, shape in parts(model)]
    paths = [path for path, _ in parts(model)]
    return NetworkFacts(
        name=model.name,
        kind="peer" if isinstance(model, Adapter) else "ours",
        bytes=sum(path.stat().st_size for path in paths),
        sha256={path.name: files.sha256_of(path) for path in paths},
        macs=sum(each.macs for each in work),
        arithmetic="int8" if all(each.arithmetic == "int8" for each in work) else "fp32",
    )
