"""MediaPipe's own detector, with the network in this package; it agrees with ours."""

import subprocess
import sys

import numpy as np
import pytest

from headpose.detection import create_detector
from headpose.errors import HeadPoseError, WeightsError

pytest.importorskip("mediapipe")


def test_finds_what_blazeface_finds(photo):
    (theirs,) = create_detector("mediapipe").detect(photo)
    (ours,) = create_detector("blazeface", threads=1).detect(photo)
    assert theirs.box.iou(ours.box) > 0.8
    assert theirs.score > 0.5


def test_no_face_and_a_single_pixel():
    detector = create_detector("mediapipe")
    assert detector.detect(np.full((90, 120, 3), 128, np.uint8)) == []
    assert detector.detect(np.zeros((1, 1, 3), np.uint8)) == []


def test_its_program_ends_in_silence(repo):
    # A detector that lives until the interpreter's end: mediapipe's own clean-up comes too late there.
    code = (
        "from headpose.detection import create_detector; detector = create_detector('mediapipe'); print(detector.name)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=repo, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0
    assert ran.stdout == "mediapipe\n"
    assert "Traceback" not in ran.stderr


def test_a_missing_file_and_another_file(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        create_detector("mediapipe", model_path=tmp_path / "none.tflite")
    (tmp_path / "text.tflite").write_text("no network")
    with pytest.raises(WeightsError, match="no face detector"):
        create_detector("mediapipe", model_path=tmp_path / "text.tflite")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(HeadPoseError, match="pip install mediapipe"):
        create_detector("mediapipe")
