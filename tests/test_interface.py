"""What a caller may expect of the public names: inputs of every kind, views of a pose, pickles, one error family."""

from __future__ import annotations

import ast
import dataclasses
import io
import json
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from headpose import (
    Box,
    CropSpec,
    Face,
    HeadPose,
    HeadPoseError,
    HeadPoseEstimator,
    ImageError,
    InputError,
    create_detector,
    draw_pose,
    draw_poses,
    geometry,
    list_models,
    load_model,
    metrics,
    to_dataframe,
    write_image,
)
from headpose.geometry import rotation_from_euler
from tests.network_files import color_network

WHOLE = [(0, 0, 40, 40)]
EXIF_ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def estimator(tmp_path_factory):
    network = color_network(tmp_path_factory.mktemp("networks") / "color.onnx")
    return HeadPoseEstimator(network, threads=1)


@pytest.fixture
def pose():
    return HeadPose(Face(Box(10, 20, 40, 80), 0.875), rotation_from_euler((30, -10, 5)))


def plain(red, green, blue, size=(40, 40)):
    """A PIL image in one color."""
    return Pillow.new("RGB", size, (red, green, blue))


def yaw_of_red(red):
    return 100 * (red / 255 - 0.5)


def test_a_pose_has_its_numbers_by_name(pose):
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx((30, -10, 5))
    assert pose.score == 0.875
    x1, y1, x2, y2 = pose.box
    assert (x1, y1, x2, y2) == pose.box.as_tuple()


def test_a_pose_prints_as_a_reader_wants_it(pose):
    assert repr(pose) == "HeadPose(yaw=+30.0, pitch=-10.0, roll=+5.0, score=0.88, box=(10.0, 20.0, 40.0, 80.0))"
    assert repr(HeadPose(pose.face, pose.rotation, track=3)).endswith("80.0), track=3)")


def test_a_pose_as_a_dictionary_survives_json(pose):
    values = json.loads(json.dumps(pose.to_dict()))
    assert [values[name] for name in ("yaw", "pitch", "roll")] == pytest.approx([30, -10, 5])
    assert [values[name] for name in ("azimuth", "elevation", "tilt")] == pytest.approx([*pose.direction, pose.tilt])
    assert (values["box"], values["score"], values["track"]) == ([10, 20, 40, 80], 0.875, None)
    np.testing.assert_allclose(values["rotation"], pose.rotation)


def test_a_call_is_estimate(estimator, photo):
    assert [p.to_dict() for p in estimator(photo)] == [p.to_dict() for p in estimator.estimate(photo)]


def test_paths_arrays_and_pil_images_give_one_answer(estimator, photo, repo):
    path = repo / "examples" / "astronaut.jpg"
    (expected,) = estimator(photo)
    rgb = cv2.cvtColor(photo, cv2.COLOR_BGR2RGB)
    for given, color in ((path, "bgr"), (str(path), "rgb"), (rgb, "rgb"), (Pillow.fromarray(rgb), "bgr")):
        (found,) = estimator(given, color=color)
        assert found.to_dict() == expected.to_dict()


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "I;16", "I;16B"]
)
def test_a_pil_image_is_right_in_every_mode(estimator, mode):
    rgb = plain(255, 255, 255)
    if mode.startswith("I;16"):
        image = Pillow.frombytes(mode, (40, 40), b"\xff\xff" * 1600)
    elif mode in ("RGBa", "La", "PA"):
        image = rgb.convert("RGBA" if mode == "RGBa" else "LA").convert(mode)
    else:
        image = rgb.convert(mode)
    assert image.mode == mode
    (pose,) = estimator(image, WHOLE)
    assert (pose.yaw, pose.pitch) == pytest.approx((50, 50), abs=0.3)


def test_a_pil_image_keeps_its_colors_whatever_color_says(estimator):
    for color in ("bgr", "rgb"):
        (pose,) = estimator(plain(204, 0, 51), WHOLE, color=color)
        assert (pose.yaw, pose.pitch) == pytest.approx((yaw_of_red(204), yaw_of_red(51)), abs=0.1)


def test_the_exif_orientation_of_a_pil_image_is_applied(estimator):
    image = plain(0, 0, 0, (80, 40))
    image.paste((255, 0, 0), (0, 0, 40, 40))  # red on the left
    exif = Pillow.Exif()
    exif[EXIF_ORIENTATION] = 6  # to be turned clockwise: red at the top
    stored = io.BytesIO()
    image.save(stored, "PNG", exif=exif)
    poses = estimator(Pillow.open(stored), [(5, 5, 35, 35), (5, 45, 35, 75)])
    assert [p.yaw for p in poses] == pytest.approx([50, -50], abs=0.1)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_a_pil_image_without_plain_colors_is_refused(estimator, mode):
    with pytest.raises(ImageError, match=f"{mode}.*") as caught:
        estimator(Pillow.new(mode, (40, 40)))
    assert "\n" not in str(caught.value)


def test_a_cut_or_empty_pil_image_is_refused(estimator, repo):
    data = (repo / "examples" / "astronaut.jpg").read_bytes()
    with pytest.raises(ImageError, match="cannot be converted"):
        estimator(Pillow.open(io.BytesIO(data[: len(data) // 2])))
    with pytest.raises(ImageError, match="image"):
        estimator(Pillow.new("RGB", (0, 5)))


def test_pillow_is_not_imported_for_arrays_and_paths(repo):
    code = (
        "import sys; from headpose import HeadPoseEstimator, read_image; photo = 'examples/astronaut.jpg'\n"
        "estimator = HeadPoseEstimator(); estimator(photo); estimator(read_image(photo)); print('PIL' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repo, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_batch_gives_what_single_pictures_give(estimator, photo, repo):
    wall = np.full((60, 60, 3), 127, np.uint8)
    pictures = [photo, wall, repo / "examples" / "astronaut.jpg", np.hstack([photo, photo])]
    batch = estimator.estimate_batch(iter(pictures))
    assert [len(poses) for poses in batch] == [1, 0, 1, 2]
    for poses, picture in zip(batch, pictures, strict=True):
        for one, other in zip(poses, estimator(picture), strict=True):
            assert one.box == other.box
            np.testing.assert_allclose(one.rotation, other.rotation, atol=1e-6)
    assert estimator.estimate_batch([]) == []


def test_a_batch_is_one_call_of_the_network(estimator, photo):
    class Counted:
        name, crop = estimator.model.name, estimator.model.crop
        calls = ()

        def predict(self, inputs):
            self.calls += (len(inputs),)
            return estimator.model.predict(inputs)

    model = Counted()
    HeadPoseEstimator(model, detector=estimator.detector).estimate_batch([photo, photo, photo])
    assert model.calls == (3,)


def test_a_batch_takes_boxes_for_each_picture(estimator, photo):
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 0] = 255
    boxed, found = estimator.estimate_batch([red, photo[..., ::-1]], [WHOLE * 2, None], color="rgb")
    assert [p.yaw for p in boxed] == pytest.approx([50, 50])
    assert [p.box for p in found] == [p.box for p in estimator(photo)]


@pytest.mark.parametrize(
    ("images", "boxes", "message"),
    [
        ("photo.jpg", None, "list of images"),
        (Pillow.new("RGB", (9, 9)), None, "list of images"),
        (5, None, "list of images"),
        ([np.zeros((9, 9, 3), np.uint8)], [], "one entry for each image: a list"),
        ([np.zeros((9, 9, 3), np.uint8)], [None, None], "one entry for each image: a list"),
        ([np.zeros((9, 9, 3), np.uint8)], Box(0, 0, 9, 9), "with one entry for each image"),
        ([np.zeros((9, 9, 3), np.uint8)] * 2, [None, [(0, 0, 0, 0)]], "image 1: box 0"),
        (np.zeros((9, 9, 3), np.uint8), None, "image 0: an image must be"),
    ],
)
def test_a_wrong_batch_is_an_error_that_names_the_picture(estimator, images, boxes, message):
    with pytest.raises(HeadPoseError, match=message):
        estimator.estimate_batch(images, boxes)


def test_an_estimator_goes_through_pickle(estimator, photo):
    copy = pickle.loads(pickle.dumps(HeadPoseEstimator(estimator.model, detector=estimator.detector, max_faces=2)))
    assert copy.max_faces == 2 and copy.model.name == estimator.model.name
    assert [p.to_dict() for p in copy(photo)] == [p.to_dict() for p in estimator(photo)]


def test_a_pickled_detector_keeps_its_settings(photo):
    detector = create_detector("blazeface", min_score=0.99, threads=1)
    assert pickle.loads(pickle.dumps(detector)).detect(photo) == detector.detect(photo) == []


def test_a_spawned_process_takes_an_estimator(estimator, photo, monkeypatch, tmp_path):
    monkeypatch.chdir(estimator.model.path.parent)
    relative = HeadPoseEstimator(load_model("./color.onnx", threads=1), detector=estimator.detector)
    monkeypatch.chdir(tmp_path)  # the file is found where it was
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        (found,) = pool.submit(relative.estimate, photo).result(timeout=120)
    assert found.to_dict() == estimator(photo)[0].to_dict()


def test_a_pickle_whose_file_is_gone_is_an_error(tmp_path):
    model = load_model(color_network(tmp_path / "gone.onnx"), threads=1)
    kept = pickle.dumps(model)
    model.path.unlink()
    with pytest.raises(HeadPoseError, match=r"gone\.onnx does not exist"):
        pickle.loads(kept)


def test_models_are_listed_by_a_glob():
    assert list_models("student*") == [name for name in list_models() if name.startswith("student")] != []
    assert list_models("nothing-*") == []
    assert "baseline" in list_models()


def test_poses_become_a_table(pose):
    tracked = HeadPose(pose.face, pose.rotation, track=7)
    table = to_dataframe([pose, tracked])
    assert table["face"].tolist() == [1, 2]
    assert table[["yaw", "pitch", "roll"]].iloc[0].tolist() == pytest.approx([30, -10, 5])
    assert table[["x1", "y1", "x2", "y2", "score"]].iloc[1].tolist() == [10, 20, 40, 80, 0.875]
    assert table["track"].isna().tolist() == [True, False] and table["track"].iloc[1] == 7
    empty = to_dataframe([])
    assert table[["uncertainty", "readable"]].isna().all(axis=None) and table["reliable"].all()
    known = dataclasses.replace(tracked, covariance=0.01 * np.eye(3), readable=0.25, reliable=False)
    row = to_dataframe([known]).iloc[0]
    assert (row["uncertainty"], row["readable"], bool(row["reliable"])) == (known.doubt["uncertainty"], 0.25, False)
    assert len(empty) == 0 and empty.dtypes.equals(table.dtypes)


def test_a_table_without_pandas_says_what_to_install(pose, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(HeadPoseError, match=r"needs pandas: pip install '\.\[pandas\]'"):
        to_dataframe([pose])


FLOATS = np.full((40, 40, 3), 0.5, np.float32)


@pytest.mark.parametrize(
    "call",
    [
        lambda estimator: Box(0, 0, 0, 1),
        lambda estimator: Box("a", 0, 1, 1),
        lambda estimator: Box(0, 0, None, 1),
        lambda estimator: Box(0, 0, 1, 10**400),
        lambda estimator: CropSpec(size=4),
        lambda estimator: CropSpec.from_dict({"size": 64, "margin": 1}),
        lambda estimator: draw_poses(np.zeros((9, 9, 3), np.uint8), [], "sphere"),
        lambda estimator: estimator(np.zeros((9, 9, 3), np.uint8), Box(0, 0, 9, 9)),
        lambda estimator: estimator(np.zeros((9, 9, 3), np.uint8), [(0, 0, 9)]),
        lambda estimator: estimator(np.zeros((9, 9, 3), np.uint8), 5),
        lambda estimator: estimator(np.zeros((9, 9, 3), np.uint8), color="grey"),
        lambda estimator: HeadPoseEstimator(estimator.model, max_faces=0),
        lambda estimator: HeadPoseEstimator(estimator.model, max_faces="2"),
        lambda estimator: load_model(estimator.model.path, device="abacus"),
        lambda estimator: load_model(estimator.model.path, threads=-1),
        lambda estimator: geometry.rotation_from_euler((1, 2)),
        lambda estimator: geometry.rotation_from_euler(("left", 0, 0)),
        lambda estimator: geometry.rotation_from_euler([[1, 2, 3], [4, 5]]),
        lambda estimator: geometry.euler_from_rotation(np.eye(4)),
        lambda estimator: geometry.euler_from_rotation(np.eye(3), "acos"),
        lambda estimator: geometry.geodesic_degrees(np.eye(3), 1.0),
        lambda estimator: geometry.nearest_rotation(np.eye(2)),
        lambda estimator: geometry.to_opencv((0, 0, 0)),
        lambda estimator: metrics.angle_errors((1, 2, 3), (3, 2, 1), "turned"),
        lambda estimator: metrics.weighted_mean([]),
        lambda estimator: metrics.weighted_mean([1.0, 2.0], [1.0]),
        lambda estimator: metrics.bootstrap_means([]),
        lambda estimator: metrics.bootstrap_interval([1.0], level=1.0),
        lambda estimator: metrics.bootstrap_interval([1.0, 2.0], level=95),
        lambda estimator: metrics.bootstrap_interval([1.0], resamples=0),
        lambda estimator: metrics.bootstrap_p_value([1.0, 2.0], groups=["one"]),
    ],
)
def test_a_bad_value_is_one_kind_of_error(estimator, call):
    with pytest.raises(InputError, match=r"\w") as caught:
        call(estimator)
    assert isinstance(caught.value, HeadPoseError) and isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


# Each of these raises a plain ValueError for content that a reader of the same package catches, to name the file;
# those of ``spec`` and ``recipes.data`` become pydantic's errors. ``pickle`` wants the TypeError of ``inference``.
PLAIN = {
    "coded.py",
    "compression/steps.py",
    "config.py",
    "datasets/matlab5.py",
    "datasets/points.py",
    "evaluation/adapter_files.py",
    "evaluation/adapters.py",
    "formats.py",
    "inference.py",
    "networks/checkpoint.py",
    "networks/spec.py",
    "recipes/data.py",
    "synth/assets.py",
    "synth/folder.py",
    "training/log.py",
    "training/loop.py",
}


def test_only_readers_raise_errors_of_another_family(repo):
    package = repo / "headpose"
    found = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name)
        if node.exc.func.id in ("ValueError", "TypeError", "KeyError", "IndexError")
    }
    assert found <= PLAIN, "raise InputError for a bad value; it is a ValueError, too"
    assert found == PLAIN, "this file needs no exception any more"


def test_pictures_that_are_no_uint8_are_not_written_black(pose, tmp_path):
    target = tmp_path / "out.png"
    for call in (
        lambda: write_image(target, FLOATS),
        lambda: draw_poses(FLOATS, [pose]),
        lambda: draw_pose(FLOATS, pose),
        lambda: write_image(target, Pillow.new("RGB", (9, 9))),
    ):
        with pytest.raises(ImageError, match=r"\(H, W, 3\) uint8 BGR; got|float32"):
            call()
    assert not target.exists()
