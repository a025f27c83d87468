"""Accuracy: errors of predicted rotations against the labels of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from headpose import crop, geometry, metrics
from headpose.evaluation import crops
from headpose.evaluation.adapters import Adapter
from headpose.geometry import Array, Branch
from headpose.images import read_image
from headpose.inference import PoseModel
from headpose.types import Box, CropSpec, EulerAngles, Image, Sample

View = tuple[Image, Box, CropSpec]
"""(image, box, crop) from which the network input of one face is cut."""

BRANCH: Branch = "asin"
LEVEL = 0.95
RESAMPLES = 5000

MEASURES = ("yaw", "pitch", "roll", "mae", "geodesic")
"""Columns of ``errors``."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Mean errors in degrees of the faces in one range of |yaw|; None if the range is empty."""

    n: int
    mae: float | None
    geodesic: float | None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Mean errors over a set of faces, in degrees.

    Attributes:
        n: Number of faces.
        yaw: Mean absolute error of yaw.
        pitch: Mean absolute error of pitch.
        roll: Mean absolute error of roll. The three use the predicted angles, or the rotation decoded with |yaw| <= 90.
        mae: Mean of the three.
        geodesic: Mean geodesic distance from label to prediction. It does not depend on the choice of angles.
        mae_smallest: ``mae`` with the angles of ``HeadPose.euler``.
        bias: Mean of prediction minus label.
        bins: Errors by |yaw| of the label.
        ci: (lower, upper) bounds of the bootstrap intervals of yaw, pitch, roll, mae and geodesic.
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


def predict(model: PoseModel | Adapter, samples: Sequence[Sample], batch: int = 64, rule: str = "own") -> Array:
    """Predict the rotations of samples from one crop each, with a progress bar on a terminal.

    Args:
        model: Network to run.
        samples: N >= 1 samples, whose images are read and cropped.
        batch: Number of faces per call of the network; the result does not depend on it.
        rule: Crop rule, one of ``headpose.evaluation.crops.RULES``; "own" is the network's own crop.

    Returns:
        (N, 3, 3) rotations.

    Raises:
        ImageError: An image cannot be read.
        HeadPoseError: The output of the network is not a rotation.
    """
    return run(model, views(model, samples, rule), batch)


def predict_angles(model: PoseModel | Adapter, samples: Sequence[Sample], batch: int = 64, rule: str = "own") -> Array:
    """Predict (N, 3) yaw, pitch, roll in degrees: the angles of the network, or its rotations decoded.

    See ``predict`` for the arguments and errors.
    """
    if isinstance(model, Adapter):
        return _in_batches(model.predict_angles, model, views(model, samples, rule), batch)
    return geometry.euler_from_rotation(predict(model, samples, batch, rule), BRANCH)


def views(model: PoseModel | Adapter, samples: Sequence[Sample], rule: str = "own") -> Iterator[View]:
    """Yield the image, box and crop of each sample, with a progress bar on a terminal."""
    for sample in tqdm(samples, desc=model.name, unit="face", leave=False, disable=None):
        yield read_image(sample.image), *crops.apply(rule, sample, model.crop)


def run(model: PoseModel | Adapter, faces: Iterable[View], batch: int = 64) -> Array:
    """Return the (N, 3, 3) rotations of N >= 1 faces, with ``batch`` faces per call of the network."""
    return _in_batches(model.predict, model, faces, batch)


def errors(angles: Array, rotations: Array, samples: Sequence[Sample]) -> Array:
    """Compute the errors of each face.

    Args:
        angles: (N, 3) predicted yaw, pitch, roll in degrees.
        rotations: (N, 3, 3) predicted rotations.
        samples: N labeled samples in the same order.

    Returns:
        (N, 5) errors in degrees with the columns ``MEASURES``.
    """
    labels = np.array([sample.euler for sample in samples])
    each = metrics.angle_errors(angles, labels)
    distance = geometry.geodesic_degrees(rotations, geometry.rotation_from_euler(labels))
    return np.column_stack([each, each.mean(1), distance])


def score(rotations: Array, samples: Sequence[Sample], seed: int = 0, *, angles: Array | None = None) -> Accuracy:
    """Compare predicted rotations with labels.

    Args:
        rotations: (N, 3, 3) predicted rotations, N >= 1.
        samples: N labeled samples in the same order. The bootstrap resamples whole groups.
        seed: Random seed of the bootstrap.
        angles: (N, 3) degrees, the same poses as angles of a network or file. None decodes the rotations.
    """
    labels = np.array([sample.euler for sample in samples])
    angles = geometry.euler_from_rotation(rotations, BRANCH) if angles is None else angles
    smallest = metrics.euler_mae(geometry.euler_from_rotation(rotations), labels)
    each = errors(angles, rotations, samples)
    intervals = metrics.bootstrap_interval(
        each, level=LEVEL, resamples=RESAMPLES, seed=seed, groups=drawn_together(samples)
    )
    return Accuracy(
        n=len(samples),
        **dict(zip(MEASURES, map(float, each.mean(0)), strict=True)),
        mae_smallest=float(smallest.mean()),
        bias=EulerAngles(*map(float, metrics.euler_errors(angles, labels).mean(0))),
        bins={name: _bin(each[mask]) for name, mask in metrics.yaw_bins(labels[:, 0]).items()},
        ci={name: (float(low), float(high)) for name, low, high in zip(MEASURES, *intervals, strict=True)},
    )


def drawn_together(samples: Sequence[Sample]) -> list[str]:
    """Return the bootstrap group of each sample; a sample without a group forms its own."""
    return [sample.group or f"#{index}" for index, sample in enumerate(samples)]


def table(accuracy: Accuracy) -> str:
    """Format the result as aligned text, geodesic error first."""
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
    mean = dict(zip(MEASURES, map(float, each.mean(0)), strict=True))
    return Bin(len(each), mean["mae"], mean["geodesic"])


def _in_batches(
    predict: Callable[[NDArray[np.float32]], Array], model: PoseModel | Adapter, faces: Iterable[View], size: int
) -> Array:
    cut = model.network_input if isinstance(model, Adapter) else crop.network_input
    inputs = (cut(image, [box], spec) for image, box, spec in faces)
    return np.concatenate([predict(np.concatenate(part)) for part in _batches(inputs, size)])


def _batches(inputs: Iterator[NDArray[np.float32]], size: int) -> Iterator[list[NDArray[np.float32]]]:
    while part := list(islice(inputs, size)):
        yield part
