"""Contact sheets of rendered heads."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from headpose import draw
from headpose.synth import writer
from headpose.synth.scene import Studio
from headpose.synth.writer import Settings
from headpose.types import Face, HeadPose, Image


def contact_sheet(settings: Settings, count: int, studio: Studio, columns: int = 8, axes: bool = False) -> Image:
    """Render the first heads of a data set into one image.

    Args:
        settings: Settings of the data set.
        count: Number of heads.
        studio: Loaded assets.
        columns: Heads per row.
        axes: Draw the axes of the labels.

    Returns:
        (rows * size, columns * size, 3) uint8 BGR; unused tiles are black.
    """
    size = settings.size
    rows = -(-count // columns)
    sheet = np.zeros((rows * size, columns * size, 3), np.uint8)
    for index in tqdm(range(count), unit="head", leave=False, disable=None):
        _, rendered = writer.make(settings, index, studio)
        picture = rendered.image
        if axes:
            picture = draw.draw_poses(picture, [HeadPose(Face(rendered.box, 1.0), rendered.rotation)], label=False)
        row, column = divmod(index, columns)
        sheet[row * size : (row + 1) * size, column * size : (column + 1) * size] = picture
    return sheet
