"""MediaPipe's short-range BlazeFace in ONNX Runtime: proposed on a pyramid, confirmed at close range.

The network (Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019) was made
for pictures of 128x128, in which it misses small faces. It is convolutional, so it runs on larger ones as well; a
finer level of the pyramid finds small faces, and doubtful ones: a second look at each proposal, cut out of the picture
so that a face fills it, tells the two apart. ``scripts/convert_blazeface.py`` made the file and describes its tensors.
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
from headpose.types import Box, CropSpec, Face, Image

MODEL = Path(__file__).parent / "data" / "blazeface-short.onnx"

_COARSEST_SIDE = 128  # pixels; the input that the network was made for
_FINEST_SIDE = 1536  # of a level, pixels: bounds time and memory, whatever the picture
_MULTIPLE = 16  # of both sides of an input

# python eval/detectors.py small --data DIR: what it costs to see less, or to propose less.
_SMALLEST_SEEN = 20.0  # pixels of the tight box's longer side on the finest level
_PROPOSED = math.log(0.2 / 0.8)  # the least logit of a proposal

# There is room for many small faces in a picture and for few large ones, so more of what looks like a small face is
# chance: what is narrower than this share of the picture's longer side must be surer by this much, a logit. It takes a
# score of 0.5 to 0.69; on HELEN and AFLW it halves the false faces and costs no true one.
_SMALL_SHARE = 1 / 3
_SMALL_MARGIN = 0.8

_LARGEST_STEP = 4.0  # between levels
_LARGEST_ON_LEVEL = 100.0  # pixels of a proposal; larger ones are left to the next level, which shows more around them
_MOST_PROPOSALS = 256
_BATCH = 32
# A face is 43 of 80 pixels; RGB in [-1, 1], black outside the picture, as everywhere in this network.
_CLOSE = CropSpec(size=80, scale=1.85, border="black", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class BlazeFace:
    """The default detector: numpy, OpenCV and ONNX Runtime only.

    The coarsest level is what MediaPipe itself runs, the picture at 128 pixels. On the finest a face of ``min_face``
    has the least size that the network sees; as many lie between as the step of 4 needs. So the cost grows with the
    picture's size over ``min_face``, and is the same for every frame of a video.

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
        """Loads the network.

        Args:
            model_path: an ONNX file made by ``scripts/convert_blazeface.py``; None is the one in the package.
            device: one of ``headpose.inference.DEVICES``.
            threads: of the processor for one call; 0 leaves it to ONNX Runtime.
            min_score: faces below it are dropped, in (0, 1); those narrower than a third of the picture's
                longer side must be surer: 0.69 where this is 0.5.
            min_face: the longer side, in pixels, of the smallest tight box to look for. In pictures whose longer side
                exceeds 77 times that, the smallest face found grows with the picture.

        Raises:
            WeightsError: the file is missing or not a BlazeFace.
            HeadPoseError: ``device`` is unknown or not installed, or a number is out of range.
        """
        if not 0.0 < min_score < 1.0 or not min_face > 0.0:
            raise HeadPoseError(f"min_score lies between 0 and 1, min_face above 0; got {min_score} and {min_face}")
        # TensorRT would build an engine, for minutes, at every new size of a picture.
        device = "cuda" if device == "tensorrt" else device
        self._session, _ = create_session(model_path or MODEL, device=device, threads=threads)
        names = {tensor.name for tensor in (*self._session.get_inputs(), *self._session.get_outputs())}
        if names != {"image", "boxes", "scores"}:
            raise WeightsError(f"{model_path} is not the BlazeFace that scripts/convert_blazeface.py makes")
        self._min_logit = math.log(min_score / (1.0 - min_score))
        self._proposed = min(_PROPOSED, self._min_logit)
        self._min_face = min_face

    def detect(self, image: Image) -> list[Face]:
        """Finds faces (see ``FaceDetector.detect``)."""
        height, width = image.shape[:2]
        pyramid = [image]
        for size in level_sizes(width, height, self._min_face):
            pyramid.append(_resize(pyramid[-1], size))
        proposals = blend(np.concatenate([self._propose(level, width, height) for level in pyramid[1:]]))
        confirmed = self._confirm(pyramid, proposals[:_MOST_PROPOSALS])
        small = confirmed[:, 2] - confirmed[:, 0] < _SMALL_SHARE * max(width, height)
        sure = confirmed[:, 4] >= self._min_logit + _SMALL_MARGIN * small
        faces = drop_duplicates(confirmed[sure])
        return [
            Face(BLAZEFACE.apply(*map(float, row[:4])), score)
            for row, score in zip(faces, map(float, sigmoid(faces[:, 4])), strict=True)
        ]

    def _propose(self, level: Image, width: int, height: int) -> Array:
        """(K, 5) boxes that one level suggests, in pixels of the whole picture, ``width`` x ``height``."""
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
        """(L, 5): what a second look makes of (K, 5) proposals, L <= K.

        The boxes are its own, and so are the scores of small faces, of which the first look saw too little. A large
        one has the mean of both looks (of the logits): close up alone, a badge on a sleeve passes for a face.
        """
        confirmed: list[Array] = []
        for start in range(0, len(proposals), _BATCH):
            batch = proposals[start : start + _BATCH]
            views = [_close_view(pyramid, row) for row in batch]
            inputs = np.concatenate([view for view, _ in views])
            boxes, logits = self._session.run(["boxes", "scores"], {"image": inputs})
            for row, (_, affine), own_boxes, own_logits in zip(batch, views, boxes, logits, strict=True):
                found = blend(decode(own_boxes, own_logits, _CLOSE.size, _CLOSE.size, self._proposed))
                found[:, :4] = found[:, :4] * affine[0, 0] + np.tile(affine[:, 2], 2)
                best = found[iou(row, found) > SAME_FACE][:1]
                best[:, 4] = np.where(_is_small(best, pyramid[0]), best[:, 4], (best[:, 4] + row[4]) / 2)
                confirmed += list(best)
        return np.array(confirmed, np.float32).reshape(-1, 5)


def _is_small(rows: Array, image: Image) -> NDArray[np.bool_]:
    """(K,) of (K, 5) boxes: which ones the coarsest level shows at less than the network's least size."""
    smallest: NDArray[np.bool_] = rows[:, 2] - rows[:, 0] < _SMALLEST_SEEN / _COARSEST_SIDE * max(image.shape[:2])
    return smallest


def level_sizes(width: int, height: int, min_face: float) -> list[tuple[int, int]]:
    """(width, height) of the pyramid's levels, the finest first; their longer sides fall by a constant factor."""
    longer = max(width, height)
    finest = min(max(_SMALLEST_SEEN / min_face * longer, _COARSEST_SIDE), _FINEST_SIDE)
    steps = math.ceil(math.log(finest / _COARSEST_SIDE) / math.log(_LARGEST_STEP))
    sides = [finest * (_COARSEST_SIDE / finest) ** (index / max(steps, 1)) for index in range(steps + 1)]
    return [(max(1, round(width * side / longer)), max(1, round(height * side / longer))) for side in sides]


def _resize(image: Image, size: tuple[int, int]) -> Image:
    shrinks = size[0] < image.shape[1]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))


def _close_view(pyramid: list[Image], row: Array) -> tuple[Array, NDArray[np.float64]]:
    """A proposal's close view, (1, 3, S, S), and the affine from its pixels to the whole picture's.

    It is cut from the smallest picture of the pyramid that has the detail, so that a face of thousands of pixels
    costs no more than a small one.
    """
    detail = _CLOSE.size / _CLOSE.scale / max(row[2] - row[0], row[3] - row[1])
    width = pyramid[0].shape[1]
    source = min((p for p in pyramid if p.shape[1] >= detail * width), key=lambda p: p.shape[1], default=pyramid[0])
    scale = np.tile([source.shape[1] / width, source.shape[0] / pyramid[0].shape[0]], 2)
    view = network_input(source, [Box(*map(float, row[:4] * scale))], _CLOSE)
    return view, source_from_crop(Box(*map(float, row[:4])), _CLOSE)
