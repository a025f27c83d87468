"""Robustness: errors of networks on corrupted images.

    from headpose.corruptions import SELECTION
    results = measure(model, samples, SELECTION)
    print(table(results))

Images are decoded and corrupted once for all networks. Errors are kept per face, so that ratios to the clean error have
paired bootstrap intervals.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from tqdm import tqdm

from headpose import crop, geometry, inference, looking, metrics
from headpose.corruptions import CLEAN, Corruption, View
from headpose.errors import DataError
from headpose.evaluation.accuracy import BRANCH, LEVEL, RESAMPLES
from headpose.evaluation.adapters import Adapter
from headpose.geometry import Array
from headpose.images import read_image
from headpose.inference import PoseModel
from headpose.looking import Look
from headpose.reading import Reading, concatenate
from headpose.types import Box, CropSpec, Face, Image, Sample

ERRORS = ("geodesic", "mae", "yaw", "pitch", "roll")
"""Columns of an array of errors: absolute errors in degrees; ``mae`` is the mean of the three angles."""

On = Literal["picture", "crop"]

_WITH_INTERVAL = ("geodesic", "mae", "ratio", "ratio_mae")
_BATCH = 16  # faces per call of a network

SECOND_LOOK = {"in_plane"}
"""Corruptions under which our networks read a box as the estimator does: far tilted faces twice."""

Model = PoseModel | Adapter


@dataclass(frozen=True, slots=True)
class Setup:
    """Network and settings of its input.

    Attributes:
        model: Network.
        on: Apply corruptions to the whole image before the crop, or to the crop at the input size of the network.
        downsample: Side in pixels to which the crop is reduced before it is enlarged to the input size (the paper's
            Student-DS: 64); 0 for none.
        label: Name for tables; "" uses the name of the network, which may not be unique among runs.
    """

    model: Model
    on: On = "picture"
    downsample: int = 0
    label: str = ""

    @property
    def name(self) -> str:
        """Name for tables, with "-DS64" for a reduced input and "on crop" for corrupted crops."""
        reduced = f"-DS{self.downsample}" if self.downsample else ""
        return (self.label or self.model.name) + reduced + (" on crop" if self.on == "crop" else "")


class Cell(NamedTuple):
    """One measurement: name of a ``Setup``, label of a corruption and seed."""

    network: str
    condition: str
    seed: int


@dataclass(frozen=True, slots=True)
class Result:
    """Mean errors of a network under a condition over faces and seeds, in degrees, weighted by the samples' weights.

    Attributes:
        network: Name of the setup.
        condition: Label of the corruption.
        n: Number of faces.
        seeds: Number of seeds; 1 for a deterministic condition.
        geodesic: Mean geodesic error.
        mae: Mean of the three angle errors.
        yaw: Mean absolute error of yaw.
        pitch: Mean absolute error of pitch.
        roll: Mean absolute error of roll.
        ratio: Geodesic error divided by that of clean images; not finite if the latter is 0.
        ratio_mae: MAE divided by that of clean images; not finite if the latter is 0.
        seed_sd: Standard deviation of the geodesic error over seeds; 0 for a single seed.
        ci: Bootstrap intervals over faces of geodesic, mae, ratio and ratio_mae.
    """

    network: str
    condition: str
    n: int
    seeds: int
    geodesic: float
    mae: float
    yaw: float
    pitch: float
    roll: float
    ratio: float
    ratio_mae: float
    seed_sd: float
    ci: dict[str, tuple[float, float]]


def measure(
    model: Model,
    samples: Sequence[Sample],
    conditions: Sequence[Corruption],
    seed: int = 0,
    *,
    on: On = "picture",
    downsample: int = 0,
) -> list[Result]:
    """Measure a network on clean and corrupted images, with a progress bar on a terminal.

    Args:
        model: Our network or an adapter.
        samples: Labeled samples, at least one, with their weights.
        conditions: Corruptions, such as ``corruptions.SELECTION``.
        seed: Random seed of the corruptions.
        on: As in ``Setup``.
        downsample: As in ``Setup``.

    Returns:
        The clean result, followed by one result for each condition.

    Raises:
        ImageError: An image cannot be read.
        HeadPoseError: The output of the network is not a rotation.
    """
    setup = Setup(model, on, downsample)
    wanted = [CLEAN, *(each for each in conditions if each != CLEAN)]
    cells = {Cell(setup.name, each.label, seed): (setup, each) for each in wanted}
    return summarise(errors(cells, samples), [sample.weight for sample in samples])


def errors(
    cells: Mapping[Cell, tuple[Setup, Corruption]],
    samples: Sequence[Sample],
    title: str = "corrupted faces",
    readings: dict[Cell, Reading] | None = None,
) -> dict[Cell, Array]:
    """Measure cells in one pass over the images.

    Args:
        cells: Setup and corruption of each cell.
        samples: N labeled samples, at least one.
        title: Title of the progress bar.
        readings: Gets what the networks read in each cell, with their optional outputs. None discards it.

    Returns:
        (N, 5) float64 errors of each cell, with the columns ``ERRORS``.

    Raises:
        ImageError: An image cannot be read.
        HeadPoseError: The output of a network is not a rotation.
    """
    columns = {cell: _Column(setup, corruption.name in SECOND_LOOK) for cell, (setup, corruption) in cells.items()}
    by_view: dict[tuple[Corruption, int], list[Cell]] = {}
    for cell, (_, corruption) in cells.items():
        by_view.setdefault((corruption, cell.seed), []).append(cell)
    turns: dict[Cell, list[float]] = {cell: [] for cell in cells}
    for sample in tqdm(samples, desc=title, unit="face", leave=False, disable=None):
        plain = View(read_image(sample.image), sample.box)
        for (corruption, seed), same_view in by_view.items():
            corrupt = functools.partial(corruption, key=sample.image.stem, seed=seed)
            # Corruptions that move the box or rotate the image must be applied before the crop.
            before_crop = {cell: corruption.moves or cells[cell][0].on == "picture" for cell in same_view}
            view = corrupt(plain.image, plain.box) if any(before_crop.values()) else plain
            for cell in same_view:
                if before_crop[cell]:
                    columns[cell].add(view)
                else:
                    columns[cell].add(plain, corrupt)
                turns[cell].append(view.clockwise_degrees)
    found = {cell: columns[cell].reading() for cell in cells}
    if readings is not None:
        readings |= found
    return {cell: _errors(each.rotation, samples, np.array(turns[cell])) for cell, each in found.items()}


def summarise(measured: Mapping[Cell, Array], weights: Sequence[float] | None = None) -> list[Result]:
    """Compute means, ratios and intervals of each network under each condition, over all seeds.

    Args:
        measured: Results of ``errors`` on the same samples. Every network needs its clean cell.
        weights: Weights of the samples; None for equal weights.

    Raises:
        DataError: No sample has a weight above 0.
    """
    groups: dict[tuple[str, str], list[Array]] = {}
    for cell, each in measured.items():
        groups.setdefault((cell.network, cell.condition), []).append(each)
    by_face = {key: np.mean(seeds, axis=0) for key, seeds in groups.items()}
    if weights is not None and not sum(weights) > 0:
        raise DataError("none of the faces has a weight above 0: there is no mean")
    ends = _intervals(by_face, weights)
    results = []
    for (network, condition), seeds in groups.items():
        means = metrics.weighted_mean(by_face[network, condition], weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = means[:2] / metrics.weighted_mean(by_face[network, CLEAN.label], weights)[:2]
        of_seeds = [float(metrics.weighted_mean(one, weights)[0]) for one in seeds]
        result = Result(
            network=network,
            condition=condition,
            n=len(seeds[0]),
            seeds=len(seeds),
            **dict(zip(ERRORS, map(float, means), strict=True)),
            ratio=float(ratios[0]),
            ratio_mae=float(ratios[1]),
            seed_sd=float(np.std(of_seeds, ddof=1)) if len(seeds) > 1 else 0.0,
            ci=ends[network, condition],
        )
        results.append(result)
    return results


def table(results: Iterable[Result]) -> str:
    """Format the results as a Markdown table, geodesic error first."""
    lines = [
        f"| network | condition | geodesic [{LEVEL:.0%}] | to clean | yaw / pitch / roll -> MAE | MAE to clean |",
        "|---|---|---|---|---|---|",
    ]
    for each in results:
        low, high = each.ci["geodesic"]
        low_ratio, high_ratio = each.ci["ratio"]
        spread = f", sd {each.seed_sd:.2f} of {each.seeds} seeds" if each.seeds > 1 else ""
        lines.append(
            f"| {each.network} | {each.condition} | {each.geodesic:.2f} [{low:.2f}, {high:.2f}]{spread} "
            f"| {each.ratio:.2f} [{low_ratio:.2f}, {high_ratio:.2f}] "
            f"| {each.yaw:.2f} / {each.pitch:.2f} / {each.roll:.2f} -> {each.mae:.2f} | {each.ratio_mae:.2f} |"
        )
    return "\n".join(lines)


def pivot(results: Iterable[Result]) -> str:
    """Format the results like the paper's Table 2: yaw / pitch / roll -> MAE, and the ratio to clean images."""
    by_cell = {(each.condition, each.network): each for each in results}
    conditions, networks = (list(dict.fromkeys(cell[i] for cell in by_cell)) for i in (0, 1))
    lines = [" | ".join(["| condition", *networks]) + " |", "|---" * (len(networks) + 1) + "|"]
    for condition in conditions:
        row = [by_cell[condition, network] for network in networks]
        cells = [f"{e.yaw:.2f} / {e.pitch:.2f} / {e.roll:.2f} -> {e.mae:.2f} (x {e.ratio_mae:.2f})" for e in row]
        lines.append(" | ".join([f"| {condition}", *cells]) + " |")
    return "\n".join(lines)


class _Column:
    """Inputs of one network under one condition, predicted in batches.

    With ``second_look``, our networks read far tilted faces twice, as ``HeadPoseEstimator.estimate`` reads given boxes.
    """

    def __init__(self, setup: Setup, second_look: bool) -> None:
        self._setup = setup
        self._second_look = second_look and not setup.downsample and not isinstance(setup.model, Adapter)
        self._crops: list[Image] = []
        self._looks: list[Look] = []
        self._read: list[Reading] = []

    def add(self, view: View, corrupt: Callable[[Image, Box], View] | None = None) -> None:
        """Cut the face of a view, and apply ``corrupt`` to the crop if given."""
        spec = self._setup.model.crop
        if self._second_look:
            self._looks.append(looking.look(view.image, Face(view.box, 1.0), spec))
            if len(self._looks) == _BATCH:
                self._flush()
            return
        face = _cut(view, spec, self._setup.downsample)
        self._crops.append(corrupt(face, _box_in_crop(view.box, spec)).image if corrupt else face)
        if len(self._crops) == _BATCH:
            self._flush()

    def reading(self) -> Reading:
        """Return what the network reads off all faces so far."""
        if self._crops or self._looks:
            self._flush()
        return concatenate(self._read)

    def _flush(self) -> None:
        model = self._setup.model
        if self._looks and not isinstance(model, Adapter):
            self._read.append(looking.read(model, self._looks)[0])
            self._looks = []
            return
        if isinstance(model, Adapter):
            whole, all_of_it = Box(0, 0, model.crop.size, model.crop.size), _whole(model.crop)
            inputs = np.concatenate([model.network_input(face, [whole], all_of_it) for face in self._crops])
        else:
            inputs = crop.normalize(np.stack(self._crops), model.crop)
        self._read.append(inference.read(model, inputs))
        self._crops = []


def _cut(view: View, spec: CropSpec, downsample: int) -> Image:
    if not downsample:
        return crop.cut(view.image, view.box, spec)
    small = crop.cut(view.image, view.box, dataclasses.replace(spec, size=downsample))
    # Use the same cropping function, so that resampling follows the crop contract.
    return crop.cut(small, Box(0, 0, downsample, downsample), _whole(spec))


def _whole(spec: CropSpec) -> CropSpec:
    """Return the crop that contains exactly its box."""
    return dataclasses.replace(spec, scale=1.0, shift_y=0.0, square=False, border="replicate")


def _box_in_crop(box: Box, spec: CropSpec) -> Box:
    affine = crop.source_from_crop(box, spec)
    corners = np.array(box.as_tuple()).reshape(2, 2)
    return Box(*map(float, ((corners - affine[:, 2]) / np.diag(affine)).ravel()))


def _errors(rotations: Array, samples: Sequence[Sample], turns: Array) -> Array:
    """Compute the (N, 5) ``ERRORS`` of (N, 3, 3) rotations; labels are rotated by (N,) in-plane angles in degrees."""
    labels = np.array([sample.euler for sample in samples])
    true = geometry.turn_picture(geometry.rotation_from_euler(labels), turns)
    # Use the stored angles for unrotated images; those of rotated labels are decoded.
    labels = np.where(turns[:, None] == 0, labels, geometry.euler_from_rotation(true, BRANCH))
    angles = np.abs(metrics.euler_errors(geometry.euler_from_rotation(rotations, BRANCH), labels))
    return np.column_stack([geometry.geodesic_degrees(rotations, true), angles.mean(1), angles])


def _intervals(
    by_face: Mapping[tuple[str, str], Array], weights: Sequence[float] | None, seed: int = 0
) -> dict[tuple[str, str], dict[str, tuple[float, float]]]:
    """Compute bootstrap intervals of geodesic error, MAE and their ratios to the clean ones.

    Args:
        by_face: (N, 5) errors by network and condition. All resamples draw the same faces.
        weights: Weights of the faces; None for equal weights.
        seed: Random seed of the bootstrap.
    """
    keys = list(by_face)
    count = len(by_face[keys[0]])
    mass = np.ones(count) if weights is None else np.asarray(weights, np.float64)
    columns = np.column_stack([*(by_face[key][:, :2] * mass[:, None] for key in keys), mass])
    rng = np.random.default_rng(seed)
    uniform = np.full(count, 1.0 / count)
    sums = np.stack([rng.multinomial(count, uniform) @ columns for _ in range(RESAMPLES)])
    sums = sums[sums[:, -1] > 0]  # skip resamples without weight
    means = {key: sums[:, 2 * i : 2 * i + 2] / sums[:, -1:] for i, key in enumerate(keys)}
    tail = (1.0 - LEVEL) / 2.0
    ends = {}
    for network, condition in keys:
        mean = means[network, condition]
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.column_stack([mean, mean / means[network, CLEAN.label]])
        low, high = np.quantile(values, (tail, 1.0 - tail), axis=0).tolist()
        ends[network, condition] = dict(zip(_WITH_INTERVAL, zip(low, high, strict=True), strict=True))
    return ends
