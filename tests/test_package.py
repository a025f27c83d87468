from __future__ import annotations

import subprocess
import sys

import pytest

import headpose

PUBLIC = [
    "Attention",
    "AttentionSettings",
    "BestPictures",
    "Box",
    "Camera",
    "CropSpec",
    "DataError",
    "Direction",
    "EulerAngles",
    "Event",
    "EventFile",
    "Face",
    "FaceDetector",
    "FaceStream",
    "FaceTracker",
    "Frame",
    "FrameSource",
    "HeadPose",
    "HeadPoseError",
    "HeadPoseEstimator",
    "ImageError",
    "InputError",
    "LandmarkModel",
    "ModelInfo",
    "NeutralPose",
    "PictureFile",
    "PictureFolder",
    "PoseModel",
    "Reading",
    "RecipeError",
    "Region",
    "RowFile",
    "Sample",
    "Sender",
    "Sink",
    "Smoothing",
    "VideoFile",
    "WeightsError",
    "__version__",
    "create_detector",
    "csv_file",
    "decode_image",
    "draw_pose",
    "draw_poses",
    "json_lines",
    "list_images",
    "list_models",
    "load_landmark_model",
    "load_model",
    "open_source",
    "read_image",
    "send_to",
    "to_dataframe",
    "write_image",
]


def test_the_public_names_are_these():
    assert headpose.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(headpose))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_there_and_says_what_it_is(name):
    value = getattr(headpose, name)
    if name != "__version__":
        assert value.__name__ == name
        assert value.__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'estimate'"):
        headpose.estimate  # noqa: B018


def test_importing_the_package_imports_nothing_else():
    code = "import sys, headpose; print(sorted({'cv2', 'numpy', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
