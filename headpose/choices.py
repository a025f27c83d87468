"""Names that users choose from, and the defaults. Imports nothing: the command line needs them for --help."""

from __future__ import annotations

from typing import Literal

DEFAULT_MODEL = "student-wide"
"""Name of the default network."""

DETECTORS = ("blazeface", "mediapipe", "yunet")
"""Face detectors."""

DEFAULT_DETECTOR = "blazeface"
"""The detector that needs neither another package nor a file."""

DEVICES = ("auto", "cpu", "cuda", "tensorrt", "openvino", "directml", "coreml")
"""Devices of a network; "auto" is the best one that is installed and works."""

Style = Literal["axes", "cube", "none"]
STYLES: tuple[Style, ...] = ("axes", "cube", "none")
"""Styles of a drawn pose; the first is the default."""

DETECT_EVERY = 15
"""Number of frames of a video between two looks for new faces."""
