"""Evaluate the face detectors: offsets to the tight box, recall, small faces in large frames, and speed.

    python eval/detectors.py offsets --data DIR                  # on HELEN's hand-annotated landmarks
    python eval/detectors.py recall --data DIR --set aflw2000    # at IoU 0.4, by |yaw|
    python eval/detectors.py small --data DIR                    # 40-pixel faces pasted into 1920x1080 frames
    python eval/detectors.py turned --data DIR                   # faces at 0 to 180 degrees in the image plane
    python eval/detectors.py speed                               # CPU time per frame with one thread

DIR contains helen/, aflw/ and aflw2000/. Settings are tuned on the first two only; AFLW2000-3D is for reports. Runs
with the same arguments use the same pixels.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from headpose import geometry
from headpose.choices import DEFAULT_DETECTOR, DETECTORS
from headpose.cli.arguments import named_path
from headpose.cli.program import run_program
from headpose.corruptions import CLEAN
from headpose.datasets import aflw2000, manifest, w300lp
from headpose.detection import FaceDetector, create_detector
from headpose.detection.offsets import BY_DETECTOR
from headpose.errors import DataError
from headpose.evaluation import heldout
from headpose.files import check_outputs, write_text
from headpose.images import list_images, read_image
from headpose.types import Box, Image, Sample

IOU = 0.4
YAW_BINS = ((0, 30), (30, 60), (60, 180))
EDGES = ("left", "top", "right", "bottom")


def read_helen(data: Path) -> list[Sample]:
    """Read HELEN. All 68 landmarks are annotated and visible."""
    return w300lp.read(data / "helen")


def read_aflw2000(data: Path) -> list[Sample]:
    """Read AFLW2000-3D. The 68 landmarks are projected."""
    return aflw2000.read(data / "aflw2000")


def read_aflw(data: Path) -> list[Sample]:
    """Read the crops of AFLW with detected boxes. These are accurate enough for recall, but not for offsets."""
    labels = data / "aflw/labels.csv"
    samples = manifest.read(labels)
    with labels.open(newline="") as file:
        detected = [row["detected"] == "1" for row in csv.DictReader(file)]
    return [face for face, usable in zip(samples, detected, strict=True) if usable]


READERS = {"helen": read_helen, "aflw": read_aflw, "aflw2000": read_aflw2000}


def sample(faces: list[Sample], count: int, seed: int) -> list[Sample]:
    """Return ``count`` random faces without repetition, or all faces if there are fewer."""
    order = np.random.default_rng(seed).permutation(len(faces))[:count]
    return [faces[index] for index in sorted(order)]


def best_match(boxes: list[Box], truth: Box) -> tuple[float, Box | None]:
    """Return the largest IoU of a box with the truth, and that box; 0 and None without boxes."""
    return max(((box.iou(truth), box) for box in boxes), key=lambda pair: pair[0], default=(0.0, None))


def measure_offsets(detector: FaceDetector, faces: list[Sample]) -> dict[str, Any]:
    """Measure the median offsets of the tight box's edges from the detector's original box, and the mean IoUs."""
    edges, before, after = [], [], []
    for face in faces:
        iou, found = best_match([f.box for f in detector.detect(read_image(face.image))], face.box)
        if found is None or iou < IOU:
            continue
        own = BY_DETECTOR[detector.name].detector_box(found)
        sides = np.array([own.width, own.height] * 2)
        edges.append((np.array(face.box.as_tuple()) - own.as_tuple()) / sides)
        before.append(own.iou(face.box))
        after.append(iou)
    median, spread = np.median(edges, axis=0), np.subtract(*np.percentile(edges, [75, 25], axis=0))
    return {
        "n": len(faces),
        "found": len(edges),
        "offsets": dict(zip(EDGES, np.round(median, 3).tolist(), strict=True)),
        "interquartile": dict(zip(EDGES, np.round(spread, 3).tolist(), strict=True)),
        "mean_iou_own_box": round(float(np.mean(before)), 3),
        "mean_iou_tight_box": round(float(np.mean(after)), 3),
    }


def measure_recall(detector: FaceDetector, faces: list[Sample]) -> dict[str, Any]:
    """Measure the recall at IoU 0.4, over all faces and by |yaw|, and count other boxes. Some are unlabeled faces."""
    ious, other = [], 0
    for face in faces:
        boxes = [f.box for f in detector.detect(read_image(face.image))]
        iou, _ = best_match(boxes, face.box)
        ious.append(iou)
        other += len(boxes) - (iou > IOU)
    found, yaw = np.array(ious) > IOU, np.abs([face.euler.yaw for face in faces])
    bins = {
        f"{a}-{b}": float(found[(yaw >= a) & (yaw < b)].mean()) for a, b in YAW_BINS if ((yaw >= a) & (yaw < b)).any()
    }
    return {
        "n": len(faces),
        "recall": float(found.mean()),
        "by_yaw": {name: round(value, 4) for name, value in bins.items()},
        "mean_iou": round(float(np.mean(np.array(ious)[found])), 3),
        "other_boxes": other,
    }


def measure_turned(detector: FaceDetector, faces: list[Sample]) -> dict[str, Any]:
    """Measure recall, and the error of the angle in the image plane, of faces in turned pictures.

    The true angle is that of the head's up axis in the label. Pictures get a border of a quarter of their size, which
    repeats their edge: AFLW's crops end at the face.
    """
    result: dict[str, Any] = {"n": len(faces)}
    for name, corruption in {"0": CLEAN, **heldout.CHANGES["in-plane"]}.items():
        found, errors = 0, []
        for face in faces:
            view = corruption(read_image(face.image), face.box, key=face.image.stem)
            border = max(view.image.shape[:2]) // 4
            image = cv2.copyMakeBorder(view.image, border, border, border, border, cv2.BORDER_REPLICATE)
            truth = Box(*(side + border for side in view.box))
            best = max(detector.detect(np.asarray(image, np.uint8)), key=lambda each: each.box.iou(truth), default=None)
            if best is None or best.box.iou(truth) <= IOU:
                continue
            found += 1
            if best.region is not None:
                turned = geometry.turn_picture(face.rotation, view.clockwise_degrees)
                errors.append(abs(geometry.wrap_degrees(best.region.turn - geometry.in_plane_angle(turned))))
        result[name] = {"recall": round(found / len(faces), 3)}
        if errors:
            result[name] |= {
                "median_error": round(float(np.median(errors)), 1),
                "within_30": round(float(np.mean(np.array(errors) <= 30)), 3),
            }
    return result


def background(rng: np.random.Generator, width: int, height: int, faces: list[Sample]) -> Image:
    """Return a frame without faces: colored 1/f noise, shapes, letters, and corners of photographs."""
    noise = np.zeros((height, width, 3), np.float32)
    for octave in range(2, 9):
        coarse = rng.normal(0, 1, (max(2, height >> octave), max(2, width >> octave), 3)).astype(np.float32)
        noise += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * 2.0 ** (octave - 8)
    frame = np.clip(rng.uniform(60, 190, 3) + noise * rng.uniform(10, 40), 0, 255).astype(np.uint8)
    for _ in range(40):
        _draw_shape(frame, rng)
    # HELEN's images are twice as large as the tight box: their corners show no face.
    for index in rng.integers(0, len(faces), 60):
        picture = read_image(faces[index].image)
        side = int(min(picture.shape[:2]) * 0.22)
        corner = picture[:side, :side] if rng.random() < 0.5 else picture[:side, -side:]
        side = int(side * rng.uniform(1, 4))
        x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        frame[y : y + side, x : x + side] = cv2.resize(corner, (side, side), interpolation=cv2.INTER_CUBIC)
    return frame


def _draw_shape(frame: Image, rng: np.random.Generator) -> None:
    color = tuple(map(int, rng.integers(0, 256, 3)))
    x, y = int(rng.integers(0, frame.shape[1])), int(rng.integers(0, frame.shape[0]))
    a, b = map(int, rng.integers(4, 160, 2))
    match int(rng.integers(0, 4)):
        case 0:
            cv2.rectangle(frame, (x, y), (x + a, y + b), color, -1)
        case 1:
            cv2.ellipse(frame, (x, y), (a, b), float(rng.uniform(0, 180)), 0, 360, color, -1, cv2.LINE_AA)
        case 2:
            cv2.line(frame, (x, y), (x + a * 3, y + b - 80), color, int(rng.integers(1, 9)), cv2.LINE_AA)
        case _:
            cv2.putText(frame, "Text 123", (x, y), cv2.FONT_HERSHEY_SIMPLEX, a / 60 + 0.3, color, 2, cv2.LINE_AA)


def cover(picture: Image, width: int, height: int) -> Image:
    """Scale a photograph to cover the frame, keeping its aspect ratio, and cut it to the frame's size."""
    scale = max(width / picture.shape[1], height / picture.shape[0])
    size = (max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)[:height, :width]


def paste(frame: Image, face: Sample, size: float, rng: np.random.Generator, taken: list[Box]) -> Box:
    """Paste a face with the surroundings in its image into a frame, at a random free place.

    The patch fades out over its outer tenth.

    Args:
        frame: (H, W, 3) uint8 BGR, changed in place.
        face: Face to paste.
        size: Longer side of the pasted tight box in pixels.
        rng: Random generator.
        taken: Patches that must not overlap; the new one is appended.

    Returns:
        Tight box of the pasted face in the frame.

    Raises:
        DataError: There is no place for the patch.
    """
    picture = read_image(face.image)
    scale = size / max(face.box.width, face.box.height)
    patch = cv2.resize(
        picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    height, width = patch.shape[:2]
    scale_x, scale_y = width / picture.shape[1], height / picture.shape[0]
    if width >= frame.shape[1] or height >= frame.shape[0]:
        raise DataError(f"a face of {size:g} pixels with its surroundings is larger than the frame: lower --size")
    for _ in range(1000):
        x, y = int(rng.integers(0, frame.shape[1] - width)), int(rng.integers(0, frame.shape[0] - height))
        if all(Box(x, y, x + width, y + height).iou(other) == 0 for other in taken):
            break
    else:
        raise DataError("the faces do not fit into the frame: lower --faces or --size")
    taken.append(Box(x, y, x + width, y + height))
    ramp_x = np.clip(10 * (0.5 - np.abs((np.arange(width) + 0.5) / width - 0.5)), 0, 1)
    ramp_y = np.clip(10 * (0.5 - np.abs((np.arange(height) + 0.5) / height - 0.5)), 0, 1)
    alpha = (ramp_y[:, None] * ramp_x)[..., None]
    region = frame[y : y + height, x : x + width]
    region[:] = (alpha * patch + (1 - alpha) * region + 0.5).astype(np.uint8)
    b = face.box
    return Box(x + b.x1 * scale_x, y + b.y1 * scale_y, x + b.x2 * scale_x, y + b.y2 * scale_y)


def measure_small(detector: FaceDetector, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the recall of pasted faces, and count false positives in the same frames with and without faces."""
    rng = np.random.default_rng(arguments.seed)
    sources = {"helen": read_helen(arguments.data), "aflw": read_aflw(arguments.data)}
    photographs = list_images(arguments.backgrounds) if arguments.backgrounds else []
    found: dict[str, list[bool]] = {name: [] for name in sources}
    false_with = false_without = 0
    for index in range(arguments.frames):
        if photographs:
            frame = cover(read_image(photographs[index % len(photographs)]), arguments.width, arguments.height)
        else:
            frame = background(rng, arguments.width, arguments.height, sources["helen"])
        false_without += len(detector.detect(frame))
        taken: list[Box] = []
        truths = []
        for number in range(arguments.faces):
            name = ("helen", "aflw")[number % 2]
            face = sources[name][rng.integers(len(sources[name]))]
            truths.append((name, paste(frame, face, arguments.size, rng, taken)))
        boxes = [f.box for f in detector.detect(frame)]
        for name, truth in truths:
            found[name].append(best_match(boxes, truth)[0] > IOU)
        false_with += sum(max(box.iou(truth) for _, truth in truths) <= IOU for box in boxes)
    everything = [hit for hits in found.values() for hit in hits]
    return {
        "frames": arguments.frames,
        "faces": len(everything),
        "size": arguments.size,
        "recall": round(float(np.mean(everything)), 4),
        **{f"recall_{name}": round(float(np.mean(hits)), 4) for name, hits in found.items() if hits},
        "false_positives_with_faces": false_with,
        "false_positives_without_faces": false_without,
    }


def measure_speed(detector: FaceDetector, picture: Path, repeats: int) -> dict[str, Any]:
    """Measure the CPU time of one call in milliseconds, on a photograph scaled to three frame sizes."""
    result = {}
    for width, height in ((640, 480), (1280, 720), (1920, 1080)):
        frame = cover(read_image(picture), width, height)
        detector.detect(frame)
        times = []
        for _ in range(repeats):
            start = time.process_time()
            detector.detect(frame)
            times.append(time.process_time() - start)
        result[f"{width}x{height}"] = round(1000 * float(np.median(times)), 2)
    return {"processor_ms": result}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="detectors", description="Measure the face detectors.")
    measures = parser.add_subparsers(dest="measure", required=True)
    for name, text in (
        ("offsets", "median offsets from the detector's box to the tight box, on HELEN"),
        ("recall", "recall at IoU 0.4 by |yaw|"),
        ("small", "recall and false positives for small faces pasted into large frames"),
        ("turned", "recall and angle of faces in turned pictures of AFLW"),
        ("speed", "CPU time per frame"),
    ):
        measure = measures.add_parser(name, help=text)
        measure.add_argument(
            "--detector", choices=DETECTORS, default=DEFAULT_DETECTOR, help="detector to measure (blazeface)"
        )
        measure.add_argument("--model-path", type=named_path, help="model file of the detector (default: packaged)")
        measure.add_argument("--min-score", type=float, help="minimum score of a face")
        measure.add_argument("--min-face", type=float, help="blazeface only: smallest detected face, pixels")
        measure.add_argument("--json", default="-", help="file for the result (default: stdout)")
        if name == "speed":
            measure.add_argument(
                "--image", type=named_path, default=Path(__file__).parent.parent / "examples/astronaut.jpg"
            )
            measure.add_argument("--repeats", type=int, default=30, help="timed calls per frame size (30)")
            continue
        measure.add_argument("--data", type=named_path, required=True, help="folder with helen/, aflw/ and aflw2000/")
        measure.add_argument("--seed", type=int, default=0, help="random seed (0)")
        if name == "recall":
            measure.add_argument("--set", choices=READERS, default="aflw2000")
        if name in ("offsets", "recall", "turned"):
            measure.add_argument("--count", type=int, default=0, help="number of random faces; 0 for all")
        if name == "small":
            measure.add_argument("--frames", type=int, default=24, help="number of frames (24)")
            measure.add_argument("--faces", type=int, default=12, help="number of faces per frame (12)")
            measure.add_argument("--size", type=float, default=40, help="longer side of the tight box, pixels (40)")
            measure.add_argument("--width", type=int, default=1920, help="width of a frame, pixels (1920)")
            measure.add_argument("--height", type=int, default=1080, help="height of a frame, pixels (1080)")
            measure.add_argument(
                "--backgrounds", type=named_path, help="folder of photographs without faces (default: generated)"
            )
    return parser.parse_args(arguments)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen measurement and return its result for JSON."""
    detector = create_detector(
        arguments.detector,
        threads=1,
        device="cpu",
        model_path=arguments.model_path,
        min_score=arguments.min_score,
        min_face=arguments.min_face,
    )
    if arguments.measure == "speed":
        return measure_speed(detector, arguments.image, arguments.repeats)
    if arguments.measure == "small":
        return measure_small(detector, arguments)
    of = {"offsets": "helen", "turned": "aflw"}.get(arguments.measure) or arguments.set
    faces = READERS[of](arguments.data)
    faces = sample(faces, arguments.count or len(faces), arguments.seed)
    measures = {"offsets": measure_offsets, "turned": measure_turned, "recall": measure_recall}
    return measures[arguments.measure](detector, faces)


def main() -> int:
    return run_program("detectors", _main)


def _main() -> int:
    cv2.setNumThreads(1)
    arguments = parse()
    read = [getattr(arguments, name, None) for name in ("data", "backgrounds", "image", "model_path")]
    check_outputs(read, text={"--json": arguments.json})
    text = json.dumps({"detector": arguments.detector, **measure(arguments)}, indent=2)
    print(text) if arguments.json == "-" else write_text(arguments.json, text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
