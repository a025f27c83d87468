"""Pictures that the code once made and that were looked at.

``HEADPOSE_UPDATE_GOLDEN=1 pytest ...`` rewrites them: look at the difference before you commit it.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent / "golden"


def assert_golden(image: NDArray[np.uint8], name: str, *, tolerance: int, share: float = 0.0) -> None:
    """Compares with golden/NAME.png: at most ``share`` of the values may differ by more than ``tolerance``."""
    path = FOLDER / f"{name}.png"
    if os.environ.get("HEADPOSE_UPDATE_GOLDEN"):
        FOLDER.mkdir(exist_ok=True)
        cv2.imwrite(str(path), image)
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert expected is not None, f"{path} is missing"
    assert image.shape == expected.shape
    off = np.abs(image.astype(int) - expected.astype(int)) > tolerance
    assert off.mean() <= share, f"{off.mean():.4%} of {name} differ by more than {tolerance}"
