"""Networks of any kind by name, and what their files tell without a measurement."""

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
    """What a network is.

    Attributes:
        name: for tables.
        kind: "ours" for files of this package's contract, "peer" for somebody else's behind an adapter.
        bytes: of its files.
        sha256: of each file, by name.
        macs: multiply-accumulates of one face; those of several files add up.
        arithmetic: "int8" if what flows through it is quantised, else "fp32".
    """

    name: str
    kind: Kind
    bytes: int
    sha256: dict[str, str]
    macs: int
    arithmetic: str

    @property
    def gflop(self) -> float:
        """Of one face: two operations a multiply-accumulate."""
        return 2e-9 * self.macs


def listed(text: str) -> list[str]:
    """Names of networks on a command line, ``A,B``: a ``type`` of argparse."""
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
    """Opens a network.

    Args:
        name: of the manifest, an .onnx file, an adapter's .toml file, or the name of one in ``adapters``.
        adapters: folder of adapter files.
        peers: folder of the networks that adapters name.
        device, threads: of ``headpose.inference.load_model``.

    Raises:
        WeightsError: see ``load_model`` and ``load_adapter``.
        HeadPoseError: an adapter without ``peers``, or a device that is not there.
    """
    file = adapter_file(name, adapters)
    if file is None:
        return load_model(name, device=device, threads=threads)
    if peers is None:
        raise HeadPoseError(f"{name} is somebody else's network: name the folder of such networks (--peers)")
    return load_adapter(file, peers, device=device, threads=threads)


def adapter_file(name: str, adapters: str | os.PathLike[str]) -> Path | None:
    """The adapter file that a name stands for; None if it stands for one of our networks."""
    if name.endswith(".toml"):
        return Path(name)
    file = Path(adapters) / f"{name}.toml"
    return file if file.is_file() else None


def present(adapters: str | os.PathLike[str], peers: str | os.PathLike[str]) -> list[str]:
    """The adapter files of a folder whose networks all lie in another.

    Raises:
        HeadPoseError: there is none.
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
    """A network's files, each with the shape of its input for one face."""
    if isinstance(model, Adapter):
        side, channels = model.crop.size, 1 if model.spec.grey else 3
        return [(path, (1, channels, side, side)) for path in model.paths]
    return [(model.path, (1, 3, model.crop.size, model.crop.size))]


def facts(model: AnyModel) -> NetworkFacts:
    """What a network's files tell (see ``macs.count`` for the errors)."""
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
