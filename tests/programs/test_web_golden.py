"""What the page in apps/web must compute as this package does: its constants, and results that its own tests compare.

``HEADPOSE_UPDATE_GOLDEN=1 pytest tests/programs/test_web_golden.py`` rewrites apps/web/tests/golden.json: look at the
difference before you commit it, and change apps/web/src with it.
"""

from __future__ import annotations

import base64
import json
import math
import os

import cv2
import numpy as np
import pytest

from headpose import HeadPoseEstimator, crop, geometry, read_image
from headpose.detection import blazeface, decoding
from headpose.detection.blazeface import BlazeFace, level_sizes
from headpose.detection.offsets import BLAZEFACE
from headpose.streams.sinks import CSV_COLUMNS
from headpose.tracking import FaceTracker
from headpose.types import TILTED_DEGREES, Box, CropSpec, Face, HeadPose, Region

WIDTH, HEIGHT = 230, 170
CROPS = {
    "shrinks": (Box(40.3, 20.7, 150.1, 140.2), {}),
    "halves": (Box(20.3, 30.1, 50.2, 62.0), {}),
    "grows": (Box(60.2, 60.6, 72.9, 74.1), {}),
    "leaves the picture": (Box(-50.5, 90.25, 60.0, 240.0), {}),
    "black outside": (Box(180.0, -60.0, 260.0, 40.0), {"border": "black"}),
    "shifted and stretched": (Box(30.0, 40.0, 90.0, 120.0), {"shift_y": 0.2, "square": False, "channels": "bgr"}),
    "outside": (Box(300.0, 20.0, 340.0, 60.0), {"border": "black"}),
}
REGIONS = [
    (Region((100.3, 80.7), 60.0, 75.0, 37.0), {"shift_y": 0.1}),
    (Region((30.0, 20.0), 40.0, 50.0, -90.0), {"border": "black"}),
    (Region((150.0, 100.0), 12.0, 10.0, 170.0), {"square": False}),
]
LEVELS = [
    ((230, 170), (57, 42)),
    ((200, 150), (80, 60)),
    ((97, 71), (64, 47)),
    ((40, 30), (40, 30)),
    ((40, 30), (53, 40)),
]
SIZES = [(640, 480, 40.0), (450, 450, 40.0), (4000, 3000, 20.0), (100, 80, 40.0), (33, 1000, 160.0), (1, 1, 40.0)]
# x1, y1, x2, y2, logit: a face, one that overlaps it, a part of it, a surer part of the next one, and that one.
OVERLAPPING = [(0, 0, 20, 20, 3), (8, 0, 30, 20, 2.5), (12, 12, 18, 18, 1), (50, 0, 60, 10, 2), (45, 0, 75, 30, 1.5)]


def drawn_picture():
    """(170, 230, 3) uint8 BGR: slopes and an edge, by a formula that apps/web/tests/picture.ts has too."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    red = np.abs((x * 4) % 512 - 256).clip(0, 255)
    green = np.abs((y * 6 + x) % 512 - 256).clip(0, 255)
    blue = np.where((x + y) % 97 < 40, 200, 30)
    return np.ascontiguousarray(np.stack([blue, green, red], -1).astype(np.uint8))


def packed(image):
    """Bytes in the order R, G, B as base64."""
    return base64.b64encode(np.ascontiguousarray(image[..., ::-1]).tobytes()).decode()


def rounded(values, digits=6):
    return np.round(np.asarray(values, np.float64), digits).tolist()


def crops(image):
    found = []
    for name, (box, changes) in CROPS.items():
        spec = CropSpec(size=24, **changes)
        pixels = crop.cut(image, box, spec)
        channels = crop.normalize(pixels[None], spec)[0].mean((1, 2))
        found.append(
            {
                "name": name,
                "box": dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
                "spec": spec.to_dict(),
                "pixels": packed(pixels),
                "channel_means": rounded(channels),
            }
        )
    return found


def turned_crops(image):
    found = []
    for region, changes in REGIONS:
        spec = CropSpec(size=24, **changes)
        found.append(
            {
                "region": _plain(region),
                "spec": spec.to_dict(),
                "pixels": packed(crop.cut(image, region, spec)),
                "bounds": dict(zip(("x1", "y1", "x2", "y2"), rounded(tuple(region.bounds)), strict=True)),
                "of": _plain(Region.of(region.bounds, region.turn)),
            }
        )
    return found


def _plain(region):
    (x, y), (width, height, turn) = region.center, (region.width, region.height, region.turn)
    return dict(zip(("x", "y", "width", "height", "turn"), rounded((x, y, width, height, turn), 9), strict=True))


def decoding_case():
    """Outputs of one 64x48 input with two faces and noise, and what becomes of them."""
    random, (height, width) = np.random.default_rng(3), (48, 64)
    anchors = decoding.anchors(height, width)
    boxes = random.normal(0, 3, (len(anchors), 16)).round(3).astype(np.float32)
    boxes[:, 2:4] = random.uniform(-2, 24, (len(anchors), 2)).round(3)
    logits = random.normal(-3, 1, len(anchors)).round(3).astype(np.float32)
    for x, y in ((20, 20), (44, 26)):
        near = np.hypot(*(anchors - (x, y)).T) < 9
        boxes[near, :2] = (np.array([x, y]) - anchors[near] + random.normal(0, 0.5, (near.sum(), 2))).round(3)
        boxes[near, 2:4] = random.uniform(14, 18, (near.sum(), 2)).round(3)
        logits[near] = random.uniform(-1, 4, near.sum()).round(3)
    rows = decoding.decode(boxes, logits, height, width, -1.0)
    blended = decoding.blend(rows)
    return {
        "height": height,
        "width": width,
        "boxes": rounded(boxes[:, :12], 3),
        "logits": rounded(logits, 3),
        "rows": len(rows),
        "blended": rounded(blended, 4),
        "overlapping": rounded(OVERLAPPING, 4),
        "kept": rounded(decoding.drop_duplicates(np.array(OVERLAPPING, np.float32)), 4),
    }


def rotations():
    random = np.random.default_rng(5)
    euler = np.concatenate([random.uniform(-180, 180, (12, 3)), [[93, 0, 0], [90, 20, 0], [0, 0, 0]]])
    matrices = geometry.rotation_from_euler(euler)
    other = geometry.rotation_from_euler(random.uniform(-30, 30, (len(euler), 3)))
    noisy = matrices + random.normal(0, 0.01, matrices.shape)
    return [
        {
            "euler": rounded(angles),
            "rotation": rounded(r.ravel(), 12),
            "smallest": rounded(geometry.euler_from_rotation(r)),
            "neutral": rounded(n.ravel(), 12),
            "relative": rounded((n.T @ r).ravel()),
            "geodesic": rounded(geometry.geodesic_degrees(r, n)),
            "noisy": rounded(m.ravel(), 9),
            "nearest": rounded(geometry.nearest_rotation(m.round(9)).ravel()),
            "vector": rounded(geometry.vector_from_rotation(n)),
            "direction": rounded(geometry.direction_from_rotation(r)),
            "in_plane": rounded(geometry.in_plane_angle(r)),
            "turned": rounded(geometry.turn_picture(r, 70).ravel()),
        }
        for angles, r, n, m in zip(euler, matrices, other, noisy, strict=True)
    ]


def stream():
    """Two faces that turn and cross a gap, followed and smoothed."""
    tracker, frames = FaceTracker(), []
    for index in range(24):
        time_s = round(index / 15 + (1.0 if index > 16 else 0.0), 6)
        poses = []
        for face, x in enumerate((40.0, 200.0)):
            if face == 1 and 6 <= index < 9:
                continue
            at = x + 3 * index * (1 - 2 * face) * 0.2
            euler = (20 * math.sin(index / 4 + face), index % 3, 5.0 * face)
            poses.append(
                HeadPose(Face(Box(at, 30.0, at + 60, 100.0 + index % 2), 0.9), geometry.rotation_from_euler(euler))
            )
        tracked = tracker.update(poses, time_s)
        frames.append(
            {"time_s": time_s, "given": [_values(p) for p in poses], "tracked": [_values(p) for p in tracked]}
        )
    return frames


def _values(pose):
    return {
        "box": dict(zip(("x1", "y1", "x2", "y2"), rounded(tuple(pose.box)), strict=True)),
        "score": pose.score,
        "rotation": rounded(pose.rotation.ravel(), 9),
        **({} if pose.track is None else {"track": pose.track}),
    }


def photo(repo):
    """The head of the shipped photo, small, and its pose."""
    image = cv2.resize(read_image(repo / "examples" / "astronaut.jpg")[60:300, 100:340], (120, 120))
    estimator, quarters = HeadPoseEstimator("student", threads=1), []
    for quarter in range(4):
        turned = np.full((200, 200, 3), 90, np.uint8)
        turned[40:160, 40:160] = np.rot90(image, -quarter)
        quarters.append(list(map(_values, estimator(turned))))
    poses = list(map(_values, estimator(image)))
    return {"width": 120, "height": 120, "pixels": packed(image), "poses": poses, "quarters": quarters}


def golden(repo):
    image = drawn_picture()
    levels = [
        {"part": [w, h], "size": size, "pixels": packed(blazeface._resize(np.ascontiguousarray(image[:h, :w]), size))}
        for (w, h), size in LEVELS
    ]
    sizes = [{"picture": [w, h], "min_face": face, "levels": level_sizes(w, h, face)} for w, h, face in SIZES]
    return {
        "crops": crops(image),
        "turned_crops": turned_crops(image),
        "levels": levels,
        "level_sizes": sizes,
        "decoding": decoding_case(),
        "rotations": rotations(),
        "stream": stream(),
        "photo": photo(repo),
    }


def test_the_page_s_golden_results_are_those_of_the_package(repo):
    path = repo / "apps" / "web" / "tests" / "golden.json"
    made = json.loads(json.dumps(golden(repo)))
    if os.environ.get("HEADPOSE_UPDATE_GOLDEN"):
        path.write_text(json.dumps(made) + "\n", encoding="utf-8")
    assert_close(made, json.loads(path.read_text("utf-8")))


def assert_close(made, stored, where="golden"):
    """Numbers may differ in their last digits, and pixels by one step: OpenCV's builds differ so much."""
    assert type(made) is type(stored) or {type(made), type(stored)} == {int, float}, where
    if isinstance(made, dict):
        assert made.keys() == stored.keys(), where
        for key in made:
            if key == "pixels":
                one, other = (np.frombuffer(base64.b64decode(v[key]), np.uint8).astype(int) for v in (made, stored))
                assert one.shape == other.shape and np.abs(one - other).max() <= 1, where
            else:
                assert_close(made[key], stored[key], f"{where}.{key}")
    elif isinstance(made, list):
        assert len(made) == len(stored), where
        for index, pair in enumerate(zip(made, stored, strict=True)):
            assert_close(*pair, f"{where}[{index}]")
    elif isinstance(made, float | int):
        # A network's last digits depend on the processor.
        assert made == pytest.approx(stored, abs=0.02 if "photo" in where else 2e-5), where
    else:
        assert made == stored, where


def test_the_page_s_detector_has_the_numbers_of_the_package(repo):
    stored = json.loads((repo / "apps" / "web" / "src" / "detector.json").read_text("utf-8"))
    defaults = BlazeFace.__init__.__kwdefaults__
    assert stored == {
        "coarsest_side": blazeface._COARSEST_SIDE,
        "finest_side": blazeface._FINEST_SIDE,
        "multiple": blazeface._MULTIPLE,
        "smallest_seen": blazeface._SMALLEST_SEEN,
        "min_face": defaults["min_face"],
        "min_score": defaults["min_score"],
        "proposed_score": pytest.approx(1 / (1 + math.exp(-blazeface._PROPOSED))),
        "small_share": pytest.approx(blazeface._SMALL_SHARE),
        "small_margin": blazeface._SMALL_MARGIN,
        "tilted_degrees": TILTED_DEGREES,
        "tilted_margin": blazeface._TILTED_MARGIN,
        "worth_turning": blazeface._WORTH_TURNING,
        "upright": blazeface._UPRIGHT,
        "turned_margin": blazeface._TURNED_MARGIN,
        "most_turned": blazeface._MOST_TURNED,
        "largest_step": blazeface._LARGEST_STEP,
        "largest_on_level": blazeface._LARGEST_ON_LEVEL,
        "most_proposals": blazeface._MOST_PROPOSALS,
        "batch": blazeface._BATCH,
        "strides": [list(each) for each in decoding.STRIDES],
        "same_face": decoding.SAME_FACE,
        "part": decoding._PART,
        "most_logit": decoding._MOST_LOGIT,
        "offsets": {side: getattr(BLAZEFACE, side) for side in ("left", "top", "right", "bottom")},
        "close": blazeface._CLOSE.to_dict(),
    }


def test_the_page_s_csv_has_the_columns_of_the_package(repo):
    code = (repo / "apps" / "web" / "src" / "results.ts").read_text("utf-8")
    columns = json.loads("[" + code.split("COLUMNS = [")[1].split("] as const")[0].rstrip().rstrip(",") + "]")
    assert tuple(columns[: len(CSV_COLUMNS)]) == CSV_COLUMNS
