"""How steady networks are: on rendered sequences whose pose is known, and on any video without labels.

    predictors = {"student": faces_predictor(load_model("student"))}
    figures = rendered_figures(read_sequences(predictors, sequences.read("sequences", heads=8)))
    tracks = read_clip(predictors, ((frame.time_s, frame.image) for frame in video), create_detector("blazeface"))

Every network gets the same pictures and the same boxes. docs/protocols.md says what each figure is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from tqdm import tqdm

from headpose import geometry
from headpose.corruptions import parse
from headpose.datasets.sequences import RenderedSequence
from headpose.detection import FaceDetector
from headpose.errors import DataError
from headpose.evaluation.adapters import FacesPredictor
from headpose.geometry import Array
from headpose.images import read_image
from headpose.tracking import FaceTracker
from headpose.types import Box, Face, HeadPose, Image

# Weights of seven equidistant values in the middle of the quadratic that fits them best (Savitzky and Golay, Analytical
# Chemistry 1964, table I: smoothing, 7 points).
_QUADRATIC = np.array([-2.0, 3.0, 6.0, 7.0, 6.0, 3.0, -2.0]) / 21.0
_REACH = len(_QUADRATIC) // 2

LEAST_FRAMES = 15
"""Frames in a row that a face of a video needs to count: what a detector takes for a face for a moment is left out."""

_SETTLED_S = 0.4  # of the smoothing, at the start of a sequence
_LAGS_S = np.arange(-100, 401) / 1000.0
_NEUTRAL, _REFERENCE_DISTANCE = "neutral", "1 m"


@dataclass(frozen=True, slots=True)
class Track:
    """One face over consecutive frames, and how each network read it.

    Attributes:
        times_s: Time of each frame, seconds.
        boxes: Tight box of the face in each frame, pixels.
        rotations: (n, 3, 3) rotations, head to camera, by the name of the network.
    """

    times_s: list[float] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    rotations: dict[str, Array] = field(default_factory=dict)

    def smoothed(self, network: str) -> Array:
        """Return (n, 3, 3) rotations after the tracker's smoothing with its default settings."""
        tracker = FaceTracker()
        poses = (HeadPose(Face(box, 1.0), turn) for box, turn in zip(self.boxes, self.rotations[network], strict=True))
        return np.stack(
            [tracker.update([pose], time)[0].rotation for pose, time in zip(poses, self.times_s, strict=True)]
        )


@dataclass(frozen=True, slots=True)
class ReadSequence:
    """A rendered sequence, and how each network read it."""

    sequence: RenderedSequence
    track: Track


@dataclass(frozen=True, slots=True)
class RenderedFigures:
    """Figures of one network on rendered sequences, by the keys that ``rendered_figures`` names."""

    network: str
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class ClipFigures:
    """Jitter of one network on one video, degrees.

    Attributes:
        clip: Name of the video.
        network: Name of the network.
        frames: Number of values: frames that have three neighbors on both sides.
        median: Median of ``jitter``.
        p95: 95 % quantile of ``jitter``.
        smoothed: Median after the tracker's smoothing.
    """

    clip: str
    network: str
    frames: int
    median: float
    p95: float
    smoothed: float


@dataclass(frozen=True, slots=True)
class Stability:
    """All figures of a run: protocol in words, rendered sequences, videos."""

    protocol: str
    rendered: list[RenderedFigures]
    clips: list[ClipFigures]


def jitter(rotations: Array) -> Array:
    """Measure how far each frame is from a smooth motion.

    Seven frames are written as rotation vectors relative to the one in the middle, a quadratic in time is fitted to
    each component, and the angle of the fitted rotation in the middle is taken: 0 for any motion with constant
    acceleration.

    Args:
        rotations: (n, 3, 3) rotations of consecutive frames.

    Returns:
        (n - 6,) angles in degrees, at least 0; empty for fewer than seven frames.
    """
    angles = []
    for middle in range(_REACH, len(rotations) - _REACH):
        around = rotations[middle - _REACH : middle + _REACH + 1] @ rotations[middle].T
        angles.append(np.linalg.norm(_QUADRATIC @ _rotation_vectors(around)))
    return np.array(angles)


def spread(rotations: Array) -> float:
    """Return the root mean square angle between (n, 3, 3) rotations and their mean, degrees."""
    mean = geometry.nearest_rotation(rotations.mean(0))
    return float(np.sqrt((geometry.geodesic_degrees(rotations, mean) ** 2).mean()))


def leak(rotations: Array, true: Array) -> float:
    """Measure how much yaw moves while the head only nods.

    Args:
        rotations: (n, 3, 3) rotations that were read.
        true: (n, 3) true yaw, pitch and roll in degrees; yaw and roll are constant.

    Returns:
        Standard deviation of the yaw that was read, over that of the true pitch. A constant turn between the head axes
        of the network and those of the labels does not change it.
    """
    yaw = np.rad2deg(np.unwrap(np.deg2rad(geometry.euler_from_rotation(rotations, "asin")[:, 0])))
    return float(yaw.std() / true[:, 1].std())


def lag(rotations: Array, times_s: Array, true_yaw: Array) -> tuple[float, float]:
    """Measure how late the yaw of a turning head is read, and how much of the turn.

    The yaw that was read is compared with ``gain`` times the true yaw ``lag`` seconds earlier, plus a constant; both
    are chosen by least squares. Frames near both ends are left out.

    Args:
        rotations: (n, 3, 3) rotations that were read.
        times_s: (n,) times of the frames, seconds.
        true_yaw: (n,) true yaw, degrees.

    Returns:
        Lag in milliseconds, from -100 to 400, and gain.
    """
    yaw = geometry.euler_from_rotation(rotations)[:, 0]
    kept = (times_s >= times_s[0] + max(_SETTLED_S, _LAGS_S[-1])) & (times_s <= times_s[-1] + _LAGS_S[0])
    best = (np.inf, 0.0, 0.0)
    for late in _LAGS_S:
        earlier = np.interp(times_s[kept] - late, times_s, true_yaw)
        design = np.column_stack([earlier, np.ones(len(earlier))])
        answer = np.linalg.lstsq(design, yaw[kept], rcond=None)[0]
        residual = float(((design @ answer - yaw[kept]) ** 2).sum())
        best = min(best, (residual, 1000.0 * float(late), float(answer[0])))
    return best[1:]


def read_sequences(
    predictors: Mapping[str, FacesPredictor], sequences: Sequence[RenderedSequence]
) -> list[ReadSequence]:
    """Read every frame of rendered sequences with every network, in the boxes of the sequences.

    Args:
        predictors: Networks by name.
        sequences: Rendered sequences; the noise of each is added here, the same for all networks.

    Raises:
        ImageError: A picture cannot be read.
        HeadPoseError: A network gives no rotation.
    """
    result = []
    for sequence in tqdm(sequences, desc="sequences", unit="sequence", leave=False, disable=None):
        noise = parse(f"noise@{sequence.noise}")[0] if sequence.noise else None
        track, turns, shown, image = Track(), _turns(predictors), None, None
        for number, frame in enumerate(sequence.frames):
            if shown != frame.image:
                shown, image = frame.image, read_image(frame.image)
            assert image is not None
            key = f"{sequence.kind} {sequence.head} {sequence.condition} {number}"
            seen = noise(image, frame.box, key).image if noise else image
            _append(track, turns, predictors, frame.time_s, seen, frame.box)
        result.append(ReadSequence(sequence, _finished(track, turns)))
    return result


def read_clip(
    predictors: Mapping[str, FacesPredictor], frames: Iterable[tuple[float, Image]], detector: FaceDetector
) -> list[Track]:
    """Read the faces of a video with every network, in the boxes of one detector.

    Args:
        predictors: Networks by name.
        frames: Time in seconds and (H, W, 3) uint8 BGR picture of each frame.
        detector: Face detector; boxes are neither tracked nor smoothed.

    Returns:
        A track for each face that was found in at least ``LEAST_FRAMES`` frames in a row.

    Raises:
        HeadPoseError: A network gives no rotation.
    """
    tracker, tracks = FaceTracker(None), list[Track]()
    turns: dict[int, dict[str, list[Array]]] = {}
    going: dict[int, Track] = {}
    for time_s, image in frames:
        found = tracker.update([HeadPose(face, np.eye(3)) for face in detector.detect(image)], time_s)
        for number in set(going) - {pose.track for pose in found}:
            tracks.append(_finished(going.pop(number), turns.pop(number)))
        for pose in found:
            assert pose.track is not None
            track = going.setdefault(pose.track, Track())
            own = turns.setdefault(pose.track, _turns(predictors))
            _append(track, own, predictors, time_s, image, pose.box)
    tracks += [_finished(track, turns[number]) for number, track in going.items()]
    return [track for track in tracks if len(track.boxes) >= LEAST_FRAMES]


def rendered_figures(read: Sequence[ReadSequence]) -> list[RenderedFigures]:
    """Summarise rendered sequences for each network: means over heads, degrees where nothing else is said.

    The keys:

    - ``still``, ``boxes``, ``talk``, ``light``: median ``jitter``; with " smoothed" after the tracker's smoothing.
    - ``talk spread``, ``light spread``: ``spread`` of the rotations of a head that does not move.
    - ``leak``: ``leak`` of nodding, per cent.
    - ``lag``, ``gain``: ``lag`` of turning, milliseconds and a share; ``lag smoothed`` after the tracker's smoothing.
    - ``pitch NAME``: pitch that was read with an expression, less that of the neutral face; ``expression``: mean angle
      between the rotations that were read with an expression and with the neutral face.
    - ``distance D``: median ``jitter`` at a distance; ``shift D``: angle between the mean rotations that were read
      there and at 1 m.

    Args:
        read: Sequences of the same heads, of every kind.

    Raises:
        DataError: A kind of sequence is missing.
    """
    return [RenderedFigures(network, _figures(read, network)) for network in read[0].track.rotations]


def clip_figures(clip: str, tracks: Sequence[Track]) -> list[ClipFigures]:
    """Summarise the jitter of a video for each network.

    Args:
        clip: Name of the video.
        tracks: Faces of ``read_clip``.

    Raises:
        DataError: There are no faces.
    """
    if not tracks:
        raise DataError(f"{clip} has no face in {LEAST_FRAMES} frames in a row: leave it out")
    result = []
    for network in tracks[0].rotations:
        raw = np.concatenate([jitter(track.rotations[network]) for track in tracks])
        calm = np.concatenate([jitter(track.smoothed(network)) for track in tracks])
        median, p95 = np.quantile(raw, [0.5, 0.95])
        result.append(ClipFigures(clip, network, len(raw), float(median), float(p95), float(np.median(calm))))
    return result


def in_words(heads: int, clips: int, detector: str) -> str:
    """Return the protocol of a run as text.

    Args:
        heads: Number of rendered heads; 0 without sequences.
        clips: Number of videos.
        detector: Name of the detector whose boxes the videos were read in.
    """
    words = [
        "All networks get the same pictures and boxes, each frame by itself. Jitter: angle between a frame's rotation "
        "and a quadratic that is fitted to the rotation vectors of seven frames, relative to the one in the middle; "
        "the median over frames."
    ]
    if heads:
        words.append(
            f"Rendered: {heads} heads, means over heads; headpose.synth.sequences says what happens in each sequence. "
            "Noise: one picture with camera noise of 8 grey levels. Moving box: one picture, the box moves and changes "
            "by 2 % of the face. Talking, light: standard deviation of the rotation of a head that does not move. "
            "Leak: standard deviation of yaw over that of the true pitch, while a head nods by 20 degrees. Lag and "
            "gain: of yaw, against the true yaw of a head that turns by 35 degrees from side to side in two seconds. "
            "Distance: a camera that sees 60 degrees across 640 pixels, noise as above."
        )
    if clips:
        words.append(f"Videos: {clips}, boxes of {detector}, neither tracked nor smoothed; median of their medians.")
    words.append("Smoothed: after the tracker's smoothing with its default settings.")
    return " ".join(words)


def _figures(read: Sequence[ReadSequence], network: str) -> dict[str, float]:
    def tracks(kind: str) -> list[Track]:
        found = [each.track for each in read if each.sequence.kind == kind]
        if not found:
            raise DataError(f"there is no sequence of the kind {kind}: render the sequences again")
        return found

    def labels(kind: str) -> list[Array]:
        found = [each.sequence for each in read if each.sequence.kind == kind]
        return [np.array([frame.euler for frame in sequence.frames]) for sequence in found]

    result: dict[str, float] = {}
    for kind in ("still", "boxes", "talk", "light"):
        result[kind] = _mean(np.median(jitter(each.rotations[network])) for each in tracks(kind))
        result[f"{kind} smoothed"] = _mean(np.median(jitter(each.smoothed(network))) for each in tracks(kind))
    for kind in ("talk", "light"):
        result[f"{kind} spread"] = _mean(spread(each.rotations[network]) for each in tracks(kind))
    nods = zip(tracks("nod"), labels("nod"), strict=True)
    result["leak"] = 100.0 * _mean(leak(each.rotations[network], true) for each, true in nods)
    turns = list(zip(tracks("turn"), labels("turn"), strict=True))
    raw = [lag(each.rotations[network], np.array(each.times_s), true[:, 0]) for each, true in turns]
    calm = [lag(each.smoothed(network), np.array(each.times_s), true[:, 0]) for each, true in turns]
    result["lag"], result["gain"] = np.mean(raw, 0).tolist()
    result["lag smoothed"] = _mean(late for late, _ in calm)
    return result | _by_expression(read, network) | _by_distance(read, network)


def _by_expression(read: Sequence[ReadSequence], network: str) -> dict[str, float]:
    means = _means(read, network, "expression")
    result, angles = {}, []
    for name in dict.fromkeys(condition for _, condition in means):
        if name != _NEUTRAL:
            pairs = [(turn, means[head, _NEUTRAL]) for (head, condition), turn in means.items() if condition == name]
            pitches = [geometry.euler_from_rotation(np.stack(pair))[:, 1] for pair in pairs]
            result[f"pitch {name}"] = _mean(with_it - without for with_it, without in pitches)
            angles += [float(geometry.geodesic_degrees(*pair)) for pair in pairs]
    return result | {"expression": _mean(angles)}


def _by_distance(read: Sequence[ReadSequence], network: str) -> dict[str, float]:
    means = _means(read, network, "distance")
    result = {}
    for name in dict.fromkeys(condition for _, condition in means):
        tracks = [e.track for e in read if (e.sequence.kind, e.sequence.condition) == ("distance", name)]
        result[f"distance {name}"] = _mean(np.median(jitter(each.rotations[network])) for each in tracks)
        pairs = [(turn, means[head, _REFERENCE_DISTANCE]) for (head, at), turn in means.items() if at == name]
        result[f"shift {name}"] = _mean(float(geometry.geodesic_degrees(*pair)) for pair in pairs)
    return result


def _means(read: Sequence[ReadSequence], network: str, kind: str) -> dict[tuple[int, str], Array]:
    """Return the mean rotation of each sequence of a kind, by head and condition."""
    return {
        (each.sequence.head, each.sequence.condition): geometry.nearest_rotation(each.track.rotations[network].mean(0))
        for each in read
        if each.sequence.kind == kind
    }


def _turns(predictors: Mapping[str, FacesPredictor]) -> dict[str, list[Array]]:
    return {name: [] for name in predictors}


def _append(
    track: Track,
    turns: dict[str, list[Array]],
    predictors: Mapping[str, FacesPredictor],
    time_s: float,
    image: Image,
    box: Box,
) -> None:
    """Add a frame to a track: each network reads it."""
    track.times_s.append(time_s)
    track.boxes.append(box)
    for name, predict in predictors.items():
        turns[name].append(predict(image, [box])[0])


def _finished(track: Track, turns: Mapping[str, list[Array]]) -> Track:
    track.rotations.update({name: np.stack(each) for name, each in turns.items()})
    return track


def _rotation_vectors(rotations: Array) -> Array:
    """Return (n, 3) rotation vectors, axis times degrees, of (n, 3, 3) rotations."""
    return np.rad2deg([cv2.Rodrigues(rotation)[0].ravel() for rotation in rotations])


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
