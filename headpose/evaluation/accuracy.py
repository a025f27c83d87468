"""How far a network's rotations are from the labels of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from headpose import crop, geometry, metrics
from headpose.geometry import Array, Branch
from headpose.images import read_image
from headpose.inference import PoseModel
from headpose.types import EulerAngles, Sample

BRANCH: Branch = "asin"
LEVEL = 0.95
RESAMPLES = 5000

_MEASURES = ("yaw", "pitch", "roll", "mae", "geodesic")


@dataclass(frozen=True, slots=True)
class Bin:
    """Mean errors, in degrees, of the faces of one range of |yaw|; None where there is no face."""

    n: int
    mae: float | None
    geodesic: float | None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Mean errors over a list of faces, in degrees.

    Attributes:
        n: number of faces.
        yaw, pitch, roll: mean absolute errors, angles decoded by the asin branch.
        mae: their mean.
        geodesic: mean angle of the rotation from label to prediction; no choice of angles in it.
        mae_smallest: ``mae`` with the angles that ``HeadPose.euler`` gives.
        bias: mean of predicted minus label.
        bins: by |yaw| of the label.
        ci: lower and upper end of the bootstrap intervals of yaw, pitch, roll, mae and geodesic.
    """

    n: int
    yaw: float
    pitch: float
    roll: float
    mae: float
    geodesic: float
    mae_smallest: float
    bias: EulerAngles
    bins: dict[str, Bin]
    ci: dict[str, tuple[float, float]]


def predict(model: PoseModel, samples: Sequence[Sample], batch: int = 64) -> Array:
    """Rotations of the samples' faces, one crop each, with a progress bar on a terminal.

    Args:
        model: the network; its own crop is used.
        samples: their pictures are read and their tight boxes cut out.
        batch: number of faces in one call of the network; the result does not depend on it.

    Returns:
        (N, 3, 3) rotations, N at least 1.

    Raises:
        ImageError: a picture cannot be read.
        HeadPoseError: the network gives no rotation.
    """
    inputs = (
        crop.network_input(read_image(sample.image), [sample.box], model.crop)
        for sample in tqdm(samples, desc=model.name, unit="face", leave=False, disable=None)
    )
    return np.concatenate([model.predict(np.concatenate(part)) for part in _batches(inputs, batch)])


def score(rotations: Array, samples: Sequence[Sample], seed: int = 0) -> Accuracy:
    """Compares rotations with the samples' labels.

    Args:
        rotations: (N, 3, 3), N at least 1.
        samples: N, in the same order.
        seed: of the bootstrap.
    """
    labels = np.array([sample.euler for sample in samples])
    errors = metrics.euler_errors(geometry.euler_from_rotation(rotations, BRANCH), labels)
    smallest = metrics.euler_mae(geometry.euler_from_rotation(rotations), labels)
    each = np.column_stack(
        [
            np.abs(errors),
            np.abs(errors).mean(1),
            geometry.geodesic_degrees(rotations, geometry.rotation_from_euler(labels)),
        ]
    )
    intervals = metrics.bootstrap_interval(each, level=LEVEL, resamples=RESAMPLES, seed=seed)
    return Accuracy(
        n=len(samples),
        **dict(zip(_MEASURES, map(float, each.mean(0)), strict=True)),
        mae_smallest=float(smallest.mean()),
        bias=EulerAngles(*map(float, errors.mean(0))),
        bins={name: _bin(each[mask]) for name, mask in metrics.yaw_bins(labels[:, 0]).items()},
        ci={name: (float(low), float(high)) for name, low, high in zip(_MEASURES, *intervals, strict=True)},
    )


def table(accuracy: Accuracy) -> str:
    """The result as aligned lines of text, geodesic error first."""
    lines = [f"{'degrees':<12}{'error':>8}   {LEVEL:.0%} interval      bias"]
    for name in ("geodesic", "mae", "yaw", "pitch", "roll"):
        bias = f"{getattr(accuracy.bias, name):+10.2f}" if name in EulerAngles._fields else ""
        low, high = accuracy.ci[name]
        lines.append(f"{name:<12}{getattr(accuracy, name):8.3f}   {low:6.3f} - {high:6.3f}{bias}")
    lines.append(f"{'mae_smallest':<12}{accuracy.mae_smallest:8.3f}")
    lines += ["", f"{'|yaw|':<12}{'n':>8}{'geodesic':>10}{'mae':>8}"]
    for name, bin in accuracy.bins.items():
        lines.append(f"{name:<12}{bin.n:8}{_degrees(bin.geodesic, 10)}{_degrees(bin.mae, 8)}")
    return "\n".join(lines)


def _degrees(value: float | None, width: int) -> str:
    return f"{value:{width}.2f}" if value is not None else "-".rjust(width)


def _bin(each: Array) -> Bin:
    if not len(each):
        return Bin(0, None, None)
    mean = dict(zip(_MEASURES, map(float, each.mean(0)), strict=True))
    return Bin(len(each), mean["mae"], mean["geodesic"])


def _batches(inputs: Iterator[NDArray[np.float32]], size: int) -> Iterator[list[NDArray[np.float32]]]:
    while part := list(islice(inputs, size)):
        yield part
