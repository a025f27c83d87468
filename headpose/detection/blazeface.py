"""MediaPipe's short-range BlazeFace in ONNX Runtime, in two stages on an image pyramid.

The network (Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019) was designed
for 128x128 images, in which it misses small faces. It is convolutional, so it also runs on larger images. Finer levels
of the pyramid propose small faces and false positives. The second stage runs the network again on a crop of each
proposal, in which a face fills the image, and rejects the false positives. ``scripts/convert_blazeface.py`` converts
the model and describes its tensors.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from headpose.crop import network_input, source_from_crop
from headpose.detection.decoding import SAME_FACE, Array, blend, decode, drop_duplicates, iou, sigmoid
from headpose.detection.offsets import BLAZEFACE
from headpose.errors import HeadPoseError, WeightsError
from headpose.inference import create_session
from headpose.types import TILTED_DEGREES, Box, CropSpec, Face, Image

MODEL = Path(__file__).parent / "data" / "blazeface-short.onnx"

_COARSEST_SIDE = 128  # pixels; the input size that the network was designed for
_FINEST_SIDE = 1536  # maximum side of a level, pixels: bounds time and memory for any image
_MULTIPLE = 16  # both sides of an input are multiples of this

# python eval/detectors.py small --data DIR measures what other values cost.
_SMALLEST_SEEN = 16.0  # longer side of the smallest tight box that the network detects on a level, pixels
_PROPOSED = math.log(0.2 / 0.8)  # minimum logit of a proposal

# An image has many places for a small face and few for a large one, so small detections are more often false positives.
# Faces narrower than this share of the image's longer side need a logit that is higher by this margin: a score of 0.5
# becomes 0.69. With 0.65 the astronaut's picture at 3.1 times its size has a second face.
_SMALL_SHARE = 1 / 3
_SMALL_MARGIN = 0.8

# Faces that lie on their side or are upside down: proposals from the first logit on are looked at in turned crops,
# unless the upright crop has a face from the second one on. A face in a turned crop must be surer by the margin. On
# held-out crops of AFLW the upright crop has a median logit of 1.9 for upright faces, 0.9 at 90 and 0.2 at 180 degrees.
_WORTH_TURNING, _UPRIGHT = -0.5, 1.2
_TURNED_MARGIN = 0.5
_TILTED_MARGIN = 0.8  # as _SMALL_MARGIN, for faces that are tilted: with it pictures without faces show no more of them
_MOST_TURNED = 8  # proposals, best first: bounds the time

_LARGEST_STEP = 4.0  # maximum ratio of the sizes of neighboring levels
_LARGEST_ON_LEVEL = 100.0  # pixels; larger proposals come from the next level, which shows more context
_MOST_PROPOSALS = 256
_BATCH = 32
# A face covers 43 of 80 pixels; RGB in [-1, 1], black outside of the image, as the network expects.
_CLOSE = CropSpec(size=80, scale=1.85, border="black", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class BlazeFace:
    """The default detector: it needs only NumPy, OpenCV and ONNX Runtime.

    The coarsest level of the pyramid is the image at 128 pixels, as in MediaPipe. On the finest level a face of
    ``min_face`` pixels has the smallest size that the network detects. Levels between them are at most a factor of 4
    apart. The cost grows with the ratio of the image's size to ``min_face`` and is the same for every frame of a video.

    Attributes:
        name: "blazeface".
    """

    name = "blazeface"

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        *,
        device: str = "auto",
        threads: int = 0,
        min_score: float = 0.5,
        min_face: float = 40.0,
    ) -> None:
        """Load the network.

        Args:
            model_path: ONNX file made by ``scripts/convert_blazeface.py``. None uses the packaged file.
            device: One of ``choices.DEVICES``.
            threads: Number of CPU threads per call; 0 uses ONNX Runtime's default.
            min_score: Minimum score of a face, in (0, 1). Faces narrower than a third of the image's longer side need a
                higher score: 0.69 where this is 0.5.
            min_face: Longer side, in pixels, of the smallest tight box to detect. If the image's longer side is more
                than 96 times as long, the smallest detected face grows with the image.

        Raises:
            WeightsError: The file is missing or is not a BlazeFace model.
            HeadPoseError: ``device`` is unknown or not installed, or a number is out of range.
        """
        if not 0.0 < min_score < 1.0 or not min_face > 0.0:
            raise HeadPoseError(f"min_score lies between 0 and 1, min_face above 0; got {min_score} and {min_face}")
        # TensorRT would spend minutes on a new engine for every new image size.
        device = "cuda" if device == "tensorrt" else device
        self._session, _ = create_session(model_path or MODEL, device=device, threads=threads)
        names = {tensor.name for tensor in (*self._session.get_inputs(), *self._session.get_outputs())}
        if names != {"image", "boxes", "scores"}:
            raise WeightsError(f"{model_path} is not the BlazeFace that scripts/convert_blazeface.py makes")
        self._min_logit = math.log(min_score / (1.0 - min_score))
        self._proposed = min(_PROPOSED, self._min_logit)
        self._min_face = min_face

    def detect(self, image: Image) -> list[Face]:
        """Detect faces (see ``FaceDetector.detect``)."""
        height, width = image.shape[:2]
        pyramid = [image]
        for size in level_sizes(width, height, self._min_face):
            pyramid.append(_resize(pyramid[-1], size))
        proposals = blend(np.concatenate([self._propose(level, width, height) for level in pyramid[1:]]))
        confirmed = self._confirm(pyramid, proposals[:_MOST_PROPOSALS])
        small = confirmed[:, 2] - confirmed[:, 0] < _SMALL_SHARE * max(width, height)
        turned = _turns(confirmed) > TILTED_DEGREES
        sure = confirmed[:, 4] >= self._min_logit + np.where(small, _SMALL_MARGIN, _TILTED_MARGIN * turned)
        faces = drop_duplicates(confirmed[sure])
        return [_face(row, float(score)) for row, score in zip(faces, sigmoid(faces[:, 4]), strict=True)]

    def _propose(self, level: Image, width: int, height: int) -> Array:
        """Return (K, 7) proposals of one level, in pixels of the whole image (``width`` x ``height``)."""
        padded = cv2.copyMakeBorder(
            level, 0, -level.shape[0] % _MULTIPLE, 0, -level.shape[1] % _MULTIPLE, cv2.BORDER_CONSTANT
        )
        blob = cv2.dnn.blobFromImage(padded, 1 / 127.5, mean=(127.5,) * 3, swapRB=True)
        boxes, logits = self._session.run(["boxes", "scores"], {"image": blob})
        rows = decode(boxes[0], logits[0], padded.shape[0], padded.shape[1], self._proposed)
        if max(level.shape[:2]) > _COARSEST_SIDE:
            rows = rows[rows[:, 2] - rows[:, 0] <= _LARGEST_ON_LEVEL]
        rows[:, :4] *= np.tile([width / level.shape[1], height / level.shape[0]], 2)
        return rows

    def _confirm(self, pyramid: list[Image], proposals: Array) -> Array:
        """Run the second stage: (K, 7) proposals to (L, 7) confirmed boxes, L <= K.

        Boxes, and scores of small and of tilted faces, come from the second stage alone: the first one saw too few
        pixels of small faces. The logit of other faces is the mean of both stages: close up, a badge on a sleeve looks
        like a face.
        """
        seen = self._turned(pyramid, proposals, self._look(pyramid, proposals, 0))
        alone = _is_small(seen, pyramid[0]) | (_turns(seen) > TILTED_DEGREES)
        seen[:, 4] = np.where(alone, seen[:, 4], (seen[:, 4] + proposals[:, 4]) / 2)
        return seen[np.isfinite(seen[:, 4])]

    def _turned(self, pyramid: list[Image], proposals: Array, upright: Array) -> Array:
        """Look at doubtful, large proposals in crops turned by 90, 180 and 270 degrees, and return the best looks.

        The network finds many faces that lie on their side or are upside down, but takes them for upright ones: the
        angle is that of the crop in which it is surest.
        """
        large = ~_is_small(proposals, pyramid[0])
        doubtful = np.flatnonzero((upright[:, 4] < _UPRIGHT) & (proposals[:, 4] >= _WORTH_TURNING) & large)
        doubtful = doubtful[:_MOST_TURNED]
        best = upright.copy()
        for turn in (90, 180, 270) if len(doubtful) else ():
            looks = self._look(pyramid, proposals[doubtful], turn)
            better = (looks[:, 4] > best[doubtful, 4]) & (looks[:, 4] > upright[doubtful, 4] + _TURNED_MARGIN)
            best[doubtful[better]] = looks[better]
        return best

    def _look(self, pyramid: list[Image], proposals: Array, turn: int) -> Array:
        """Return the (K, 7) boxes that the network sees in crops of K proposals; without a face the logit is -inf.

        Args:
            pyramid: The image and its levels.
            proposals: (K, 7) boxes.
            turn: Clockwise angle of the crops in degrees, a multiple of 90.
        """
        result = np.array(proposals)
        result[:, 4] = -np.inf
        for start in range(0, len(proposals), _BATCH):
            batch = proposals[start : start + _BATCH]
            views = [_close_view(pyramid, row) for row in batch]
            inputs = np.rot90(np.concatenate([view for view, _ in views]), turn // 90, (2, 3))
            boxes, logits = self._session.run(["boxes", "scores"], {"image": np.ascontiguousarray(inputs)})
            for index, (_, affine) in enumerate(views):
                found = decode(boxes[index], logits[index], _CLOSE.size, _CLOSE.size, self._proposed)
                found = _turn_back(blend(found), turn)
                found[:, :4] = found[:, :4] * affine[0, 0] + np.tile(affine[:, 2], 2)
                same = found[iou(batch[index], found) > SAME_FACE]
                if len(same):
                    result[start + index] = same[0]
        return result


def _turns(rows: Array) -> Array:
    """Return (K,) angles of faces in the image plane, degrees, without their sign."""
    return np.abs(np.rad2deg(np.arctan2(rows[:, 6], rows[:, 5])))


def _turn_back(rows: Array, turn: int) -> Array:
    """Convert (K, 7) boxes from a crop that is turned clockwise by ``turn`` degrees to one that is upright."""
    middle = _CLOSE.size / 2
    quarter = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[turn]  # cosine and sine
    back = np.array([[quarter[0], -quarter[1]], [quarter[1], quarter[0]]], np.float32)
    center = (rows[:, :2] + rows[:, 2:4]) / 2
    half = np.abs((rows[:, 2:4] - rows[:, :2]) / 2 @ np.abs(back).T)
    center = (center - middle) @ back.T + middle
    return np.column_stack([center - half, center + half, rows[:, 4], rows[:, 5:7] @ back.T]).astype(np.float32)


def _is_small(rows: Array, image: Image) -> NDArray[np.bool_]:
    """Return (K,) flags: boxes that the coarsest level shows below the network's smallest size."""
    smallest: NDArray[np.bool_] = rows[:, 2] - rows[:, 0] < _SMALLEST_SEEN / _COARSEST_SIDE * max(image.shape[:2])
    return smallest


def _face(row: Array, score: float) -> Face:
    x1, y1, x2, y2, _, to_left_x, to_left_y = map(float, row)
    return BLAZEFACE.face((x1, y1, x2, y2), score, math.degrees(math.atan2(to_left_y, to_left_x)))


def level_sizes(width: int, height: int, min_face: float) -> list[tuple[int, int]]:
    """Return (width, height) of each pyramid level, finest first; the ratio between levels is constant."""
    longer = max(width, height)
    finest = min(max(_SMALLEST_SEEN / min_face * longer, _COARSEST_SIDE), _FINEST_SIDE)
    steps = math.ceil(math.log(finest / _COARSEST_SIDE) / math.log(_LARGEST_STEP))
    sides = [finest * (_COARSEST_SIDE / finest) ** (index / max(steps, 1)) for index in range(steps + 1)]
    return [(max(1, round(width * side / longer)), max(1, round(height * side / longer))) for side in sides]


def _resize(image: Image, size: tuple[int, int]) -> Image:
    shrinks = size[0] < image.shape[1]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))


def _close_view(pyramid: list[Image], row: Array) -> tuple[Array, NDArray[np.float64]]:
    """Return a proposal's close crop, (1, 3, S, S), and the affine transform from the crop to the whole image.

    The crop comes from the smallest pyramid level with enough detail, so the cost does not depend on the face's size.
    """
    detail = _CLOSE.size / _CLOSE.scale / max(row[2] - row[0], row[3] - row[1])
    width = pyramid[0].shape[1]
    source = min((p for p in pyramid if p.shape[1] >= detail * width), key=lambda p: p.shape[1], default=pyramid[0])
    scale = np.tile([source.shape[1] / width, source.shape[0] / pyramid[0].shape[0]], 2)
    view = network_input(source, [Box(*map(float, row[:4] * scale))], _CLOSE)
    return view, source_from_crop(Box(*map(float, row[:4])), _CLOSE)
