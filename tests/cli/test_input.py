"""``headpose estimate`` on pictures of every kind, and on what cannot be read or used."""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import headpose
from headpose import cli, inference, weights
from headpose.images import read_image, write_image
from tests.cli.errors import assert_error
from tests.network_files import color_network
from tests.videos import read_video, write_video


@pytest.mark.parametrize("kind", ["16-bit", "grey", "alpha", "webp", "16-bit grey tiff", "non-ascii"])
def test_unusual_pictures_give_the_usual_answer(estimate, tmp_path, photo, kind):
    converted = {
        "16-bit": ("a.png", photo.astype(np.uint16) * 257),
        "grey": ("a.png", cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)),
        "alpha": ("a.png", cv2.cvtColor(photo, cv2.COLOR_BGR2BGRA)),
        "webp": ("a.webp", photo),
        "16-bit grey tiff": ("a.tif", cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY).astype(np.uint16) * 257),
        "non-ascii": ("tête 头.png", photo),
    }
    name, image = converted[kind]
    (tmp_path / name).write_bytes(cv2.imencode(f".{name.split('.')[1]}", image)[1].tobytes())
    status, out, err = estimate(tmp_path / name, "--json", "-")
    assert (status, err) == (0, "")
    np.testing.assert_allclose(json.loads(out)["box"], (176, 78, 272, 175), atol=12)


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_a_name_that_is_no_text(estimate, astronaut, tmp_path):
    name = os.fsdecode(b"t\xe9te.jpg")
    (tmp_path / name).write_bytes(astronaut.read_bytes())
    outputs = ("--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv", "--out", tmp_path / "out")
    status, out, _ = estimate(tmp_path, *outputs)
    assert status == 0
    assert out.startswith("t\\udce9te.jpg  yaw")
    assert json.loads((tmp_path / "a.json").read_text())["image"] == name
    assert b"0,t\xe9te.jpg,1," in (tmp_path / "a.csv").read_bytes()
    assert (tmp_path / "out" / name).exists()


def test_a_cmyk_jpeg(estimate, tmp_path, photo):
    pillow = pytest.importorskip("PIL.Image")
    pillow.fromarray(photo[..., ::-1]).convert("CMYK").save(tmp_path / "a.jpg")
    status, out, err = estimate(tmp_path / "a.jpg", "--json", "-")
    assert (status, err) == (0, "")
    np.testing.assert_allclose(json.loads(out)["box"], (176, 78, 272, 175), atol=12)


def test_an_exif_rotated_jpeg_has_its_boxes_in_the_upright_picture(estimate, tmp_path, photo):
    lying = cv2.imencode(".jpg", cv2.rotate(photo, cv2.ROTATE_90_COUNTERCLOCKWISE))[1].tobytes()
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    (tmp_path / "a.jpg").write_bytes(lying[:2] + exif + lying[2:])
    status, out, _ = estimate(tmp_path / "a.jpg", "--json", "-")
    assert status == 0
    np.testing.assert_allclose(json.loads(out)["box"], (176, 78, 272, 175), atol=12)


def test_a_face_at_the_border(estimate, tmp_path, photo):
    write_image(tmp_path / "a.png", photo[100:300, 190:400])
    status, out, _ = estimate(tmp_path / "a.png", "--json", "-", "--out", tmp_path / "b.png")
    assert status == 0
    assert json.loads(out)["box"][0] < 5


def test_one_pixel(estimate, tmp_path):
    write_image(tmp_path / "a.png", np.zeros((1, 1, 3), np.uint8))
    assert estimate(tmp_path / "a.png", "--out", tmp_path / "b.png") == (0, "a.png  no face found\n", "")
    assert read_image(tmp_path / "b.png").shape == (1, 1, 3)


def test_108_million_pixels(estimate, tmp_path, photo):
    large = np.full((9000, 12000, 3), 90, np.uint8)
    large[3000:7096, 5000:9096] = cv2.resize(photo, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    (tmp_path / "a.jpg").write_bytes(cv2.imencode(".jpg", large)[1].tobytes())
    status, out, err = estimate(tmp_path / "a.jpg", "--json", "-")
    assert (status, err) == (0, "")
    best = json.loads(out.splitlines()[0])
    np.testing.assert_allclose(best["box"], np.array([176, 78, 272, 175]) * 8 + [5000, 3000] * 2, atol=120)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jpg", b"", "empty"),
        ("text.jpg", b"hello\n" * 99, "not a picture"),
        ("text.txt", b"hello\n" * 99, "neither a picture nor a video"),
        ("none.jpg", None, "does not exist"),
        ("empty.mp4", b"", "empty"),
    ],
)
def test_what_is_no_picture(estimate, tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert_error(estimate(tmp_path / name, "--json", tmp_path / "out.json"), message)
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_cut_picture(estimate, tmp_path, photo, suffix):
    data = cv2.imencode(suffix, photo)[1].tobytes()
    (tmp_path / f"a{suffix}").write_bytes(data[: len(data) // 2])
    assert_error(estimate(tmp_path / f"a{suffix}"), "cut short")


def test_a_folder_with_none(estimate, tmp_path):
    assert_error(estimate(tmp_path), "no picture in the folder")


def test_a_folder_with_a_bad_picture_gives_the_others_and_status_1(estimate, tmp_path, photo):
    pictures = tmp_path / "in"
    pictures.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        write_image(pictures / name, photo)
    (pictures / "b.png").write_bytes(b"")
    status, out, err = estimate(pictures, "--json", "-")
    assert status == 1
    assert [Path(json.loads(line)["image"]).name for line in out.splitlines()] == ["a.png", "c.png"]
    assert f"headpose: error: {pictures / 'b.png'} is empty (0 bytes)\n" in err


def test_a_cut_video_gives_what_is_there_and_status_1(estimate, tmp_path, photo):
    video = write_video(tmp_path / "a.avi", [photo[:300, :400]] * 20)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    status, out, err = estimate(video, "--json", "-", "--out", tmp_path / "out.mp4")
    assert status == 1
    count = len(out.splitlines())
    assert 5 < count < 15
    assert err.splitlines()[-1] == f"headpose: error: {video} is cut short: {count} of its 20 frames could be read"
    assert len(read_video(tmp_path / "out.mp4")[0]) == count


def test_a_camera_and_a_pipeline_that_are_not_there(estimate):
    assert_error(estimate("97"), "camera 97")
    assert_error(estimate("nosuchelement ! appsink"), "GStreamer")


def test_models_that_cannot_be_used(estimate, astronaut, tmp_path, network, capfd):
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "cut.onnx").write_bytes(network.read_bytes()[:-50])
    (tmp_path / "bare.onnx").write_bytes(color_network(tmp_path / "b.onnx", metadata={}).read_bytes())
    for model, message in (
        ("nothing", "unknown model 'nothing'"),
        (tmp_path / "none.onnx", "does not exist"),
        (tmp_path / "text.onnx", "is not a network"),
        (tmp_path / "cut.onnx", "cut.onnx"),
        (tmp_path / "bare.onnx", "no headpose.crop"),
    ):
        assert_error(estimate(astronaut, "--model", model), message)


def test_a_model_file_whose_hash_differs(estimate, astronaut, tmp_path, monkeypatch, network):
    info = headpose.ModelInfo(
        "named",
        "named.onnx",
        "0" * 64,
        1,
        "fp32",
        "permissive",
        "",
        "",
        "",
        "",
        crop=inference.load_model(network).crop,
    )
    monkeypatch.setattr(weights, "manifest", lambda: {"named": info})
    monkeypatch.setenv("HEADPOSE_WEIGHTS", str(tmp_path))
    (tmp_path / "named.onnx").write_bytes(network.read_bytes())
    assert_error(estimate(astronaut, "--model", "named"), "is not model named of this version: its SHA-256")


def test_detectors_that_cannot_be_used(estimate, astronaut, tmp_path, capfd):
    with pytest.raises(SystemExit) as exited:
        estimate(astronaut, "--detector", "haar")
    assert exited.value.code == 2
    assert "invalid choice: 'haar'" in capfd.readouterr().err
    assert_error(estimate(astronaut, "--detector", "yunet"), "yunet|YuNet")
    assert_error(estimate(astronaut, "--detector-model", tmp_path / "none.onnx"), "none.onnx")


def test_outputs_that_cannot_be_written(estimate, astronaut, clip, tmp_path):
    assert_error(estimate(astronaut, "--json", tmp_path / "none" / "a.json"), "does not exist")
    assert_error(estimate(astronaut, "--out", tmp_path / "a.mp4"), "ending")
    assert_error(estimate(clip, "--out", tmp_path / "a.png"), "ending")
    assert_error(estimate(clip, "--out", clip), "overwrite")
    assert_error(estimate(clip.parent / "." / clip.name, "--out", clip.parent), "overwrite")
    assert_error(estimate(astronaut, "--json", "-", "--csv", "-"), "stdout")
    assert_error(estimate(astronaut, "--json", "/dev/null"), "not a file")
    assert_error(estimate(astronaut, "--smooth", "--json", tmp_path / "a.json"), "videos and cameras")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["estimate"],
        ["estimate", "a.jpg", "--draw", "arrows"],
        ["estimate", "a.jpg", "--max-faces", "0"],
        ["estimate", "a.jpg", "--threads", "-1"],
        ["estimate", "a.jpg", "--device", "gpu"],
        ["nothing"],
    ],
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: headpose" in capsys.readouterr().err
