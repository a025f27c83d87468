"""Draw docs/robustness.jpg: each corruption of ``headpose.corruptions`` on one photo, the paper's in the first row.

    python scripts/draw_corruptions.py examples/astronaut.jpg docs/robustness.jpg

The face is scaled to the size of the faces in AFLW2000-3D, in an image of 450 x 450 pixels, so that the paper's
absolute settings have the same effect as there.
"""

from __future__ import annotations

import argparse
import sys

import cv2
import numpy as np

from headpose import corruptions, crop
from headpose.cli.arguments import named_path
from headpose.cli.program import run_program
from headpose.corruptions import Corruption
from headpose.detection import create_detector
from headpose.evaluation.latency import only_face
from headpose.files import check_outputs, write_bytes
from headpose.images import read_image
from headpose.types import Box, CropSpec, Image

PICTURE = 450  # side of an image in AFLW2000-3D, pixels
FACE = 196  # usual longer side of the tight box in it, pixels
PANEL = 110
QUALITY = 82
SHOWN = CropSpec(size=PANEL, scale=1.7, shift_y=-0.05)
INK, PAPER = (60, 60, 60), (255, 255, 255)


def as_in_aflw2000(photo: Image) -> tuple[Image, Box]:
    """Return a (450, 450, 3) image with the photo's only face in the middle, 196 pixels long, and its box."""
    box = only_face(create_detector("blazeface", threads=1, device="cpu"), photo)
    length = max(box.width, box.height)
    picture = crop.cut(photo, box, CropSpec(size=PICTURE, scale=PICTURE / FACE))
    half_width, half_height = (FACE / 2 * side / length for side in (box.width, box.height))
    middle = PICTURE / 2
    return picture, Box(middle - half_width, middle - half_height, middle + half_width, middle + half_height)


def panel(corruption: Corruption, picture: Image, box: Box) -> Image:
    """Return a network's crop of the corrupted image, with the name of the corruption above it."""
    view = corruption(picture, box, "astronaut")
    made = cv2.copyMakeBorder(crop.cut(view.image, view.box, SHOWN), 16, 2, 2, 2, cv2.BORDER_CONSTANT, value=PAPER)
    cv2.putText(made, corruption.label, (3, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.36, INK, 1, cv2.LINE_AA)
    return np.asarray(made, np.uint8)


def sheet(picture: Image, box: Box) -> Image:
    """Return all panels: the clean image and the paper's three corruptions, then one row of five levels per name."""
    rows = [[corruptions.CLEAN, *corruptions.PAPER], *map(corruptions.parse, corruptions.LEVELS)]
    strips = [np.hstack([panel(each, picture, box) for each in row]) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    strips = [np.pad(each, ((0, 0), (0, width - each.shape[1]), (0, 0)), constant_values=255) for each in strips]
    half = len(strips) // 2
    return np.hstack([np.vstack(strips[:half]), np.vstack(strips[half:])])


def main() -> int:
    return run_program("draw_corruptions", _main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="draw_corruptions", description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=named_path, metavar="PHOTO", help="photo with one face")
    parser.add_argument("out", type=named_path, metavar="FILE", help=".jpg file to write")
    arguments = parser.parse_args()
    check_outputs([arguments.photo], data={"FILE": arguments.out})
    drawn = sheet(*as_in_aflw2000(read_image(arguments.photo)))
    write_bytes(arguments.out, cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
