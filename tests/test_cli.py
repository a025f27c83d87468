"""The command line from the outside: what it prints, what it leaves on the disk, how it ends."""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

import headpose
from headpose import cli, inference, weights
from headpose.cli.estimate import add_arguments
from headpose.draw import STYLES
from headpose.estimator import DEFAULT_MODEL
from headpose.images import read_image, write_image
from tests.networks import colour_network
from tests.videos import read_video, write_video

KEYS = ["frame", "name", "box", "score", "yaw", "pitch", "roll", "rotation"]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return colour_network(tmp_path_factory.mktemp("networks") / "colour.onnx")


@pytest.fixture
def estimate(network, capfd):
    """Runs ``headpose estimate``; returns exit status, stdout and stderr, with what C libraries write."""

    def run(*arguments):
        capfd.readouterr()
        status = cli.main(["estimate", "--model", str(network), "--threads", "1", *map(str, arguments)])
        out, err = capfd.readouterr()
        return status, out, err

    return run


@pytest.fixture
def astronaut(repo):
    return repo / "examples" / "astronaut.jpg"


@pytest.fixture
def clip(tmp_path, photo):
    """A video of five frames in which the face moves to the right."""
    return write_video(tmp_path / "clip.mp4", [np.roll(photo, 8 * index, 1)[:300, :400] for index in range(5)])


def assert_error(result, message):
    """One line on stderr, nothing but it, and status 1."""
    status, out, err = result
    assert status == 1
    assert out == ""
    assert re.fullmatch(r"headpose: error: [^\n]+\n", err), err
    assert re.search(message, err), err


# What comes out.


def test_a_line_a_face(estimate, astronaut):
    status, out, err = estimate(astronaut)
    assert (status, err) == (0, "")
    number = r" +[-+]\d+\.\d"
    assert re.fullmatch(rf"astronaut.jpg  yaw{number}  pitch{number}  roll{number}  score 0.\d\d  box [\d ]+\n", out)


def test_json_on_stdout_is_nothing_but_json(estimate, astronaut):
    status, out, err = estimate(astronaut, "--json", "-")
    assert (status, err) == (0, "")
    face = json.loads(out)
    assert list(face) == KEYS
    assert (face["frame"], face["name"]) == (0, "astronaut.jpg")
    x1, y1, x2, y2 = face["box"]
    assert 150 < x1 < 200 < x2 < 300 and 50 < y1 < 100 < y2 < 200
    assert np.shape(face["rotation"]) == (3, 3)


def test_every_output_at_once(estimate, astronaut, tmp_path):
    status, out, _ = estimate(
        astronaut, "--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv", "--out", tmp_path / "a.png", "-q"
    )
    assert (status, out) == (0, "")
    face = json.loads((tmp_path / "a.json").read_text())
    (row,) = csv.DictReader((tmp_path / "a.csv").read_text().splitlines())
    assert float(row["yaw"]) == pytest.approx(face["yaw"], abs=1e-3)
    drawn, original = read_image(tmp_path / "a.png"), read_image(astronaut)
    assert drawn.shape == original.shape
    assert 0.002 < (drawn != original).any(-1).mean() < 0.2


@pytest.mark.parametrize("style", STYLES)
def test_draw(estimate, astronaut, tmp_path, style):
    assert estimate(astronaut, "--out", tmp_path / "a.png", "--draw", style)[0] == 0
    others = [other for other in STYLES if other != style]
    for other in others:
        estimate(astronaut, "--out", tmp_path / "b.png", "--draw", other)
        assert (read_image(tmp_path / "a.png") != read_image(tmp_path / "b.png")).any()


def test_a_folder(estimate, tmp_path, photo):
    pictures, out_folder = tmp_path / "in", tmp_path / "out"
    pictures.mkdir()
    write_image(pictures / "face.png", photo)
    write_image(pictures / "wall.jpg", np.full((100, 100, 3), 150, np.uint8))
    status, out, err = estimate(pictures, "--json", tmp_path / "a.json", "--out", out_folder)
    assert status == 0
    assert [line.split("  ")[:2] for line in out.splitlines()][1] == ["wall.jpg", "no face found"]
    assert err == f"headpose: {pictures}: 2 pictures, 1 face\n"
    (face,) = map(json.loads, (tmp_path / "a.json").read_text().splitlines())
    assert (face["frame"], face["name"]) == (0, "face.png")
    assert sorted(path.name for path in out_folder.iterdir()) == ["face.png", "wall.jpg"]


def test_a_video(estimate, tmp_path, clip):
    status, out, err = estimate(clip, "--json", tmp_path / "a.json", "--out", tmp_path / "out.mp4")
    assert status == 0
    assert [line.split("  ")[0] for line in out.splitlines()] == [f"frame {index}" for index in range(5)]
    assert err == f"headpose: {clip}: 5 frames, 5 faces\n"
    faces = [json.loads(line) for line in (tmp_path / "a.json").read_text().splitlines()]
    assert [face["frame"] for face in faces] == list(range(5))
    assert "name" not in faces[0]
    lefts = [face["box"][0] for face in faces]
    assert lefts == sorted(lefts) and 20 < lefts[-1] - lefts[0] < 44
    drawn, fps = read_video(tmp_path / "out.mp4")
    original, original_fps = read_video(clip)
    assert len(drawn) == 5 and fps == original_fps
    assert np.abs(drawn[2].astype(int) - original[2]).max() > 100


def test_out_may_be_a_folder_that_is_there(estimate, tmp_path, astronaut, clip):
    (tmp_path / "out").mkdir()
    assert estimate(astronaut, "--out", tmp_path / "out")[0] == 0
    assert estimate(clip, "--out", tmp_path / "out")[0] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["astronaut.jpg", "clip.mp4"]


def test_max_faces(estimate, tmp_path, photo):
    write_image(tmp_path / "two.png", np.hstack([photo, photo]))
    assert len(estimate(tmp_path / "two.png")[1].splitlines()) == 2
    assert len(estimate(tmp_path / "two.png", "--max-faces", 1)[1].splitlines()) == 1


def test_no_face_is_said_and_is_no_error(estimate, tmp_path):
    write_image(tmp_path / "wall.png", np.full((200, 300, 3), 150, np.uint8))
    assert estimate(tmp_path / "wall.png") == (0, "wall.png  no face found\n", "")
    status, out, err = estimate(tmp_path / "wall.png", "--json", "-")
    assert (status, out) == (0, "")
    assert err == f"headpose: no face found in {tmp_path / 'wall.png'}\n"
    video = write_video(tmp_path / "wall.mp4", 4)
    assert estimate(video) == (0, "", f"headpose: no face found in {video}\n")


# Pictures of every kind.


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
    assert json.loads((tmp_path / "a.json").read_text())["name"] == name
    assert b"0,t\xe9te.jpg," in (tmp_path / "a.csv").read_bytes()
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


# What cannot be read.


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
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["a.png", "c.png"]
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


# What cannot be used.


def test_models_that_cannot_be_used(estimate, astronaut, tmp_path, network, capfd):
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "cut.onnx").write_bytes(network.read_bytes()[:-50])
    (tmp_path / "bare.onnx").write_bytes(colour_network(tmp_path / "b.onnx", metadata={}).read_bytes())
    for model, message in (
        ("nothing", "unknown model 'nothing'"),
        (tmp_path / "none.onnx", "does not exist"),
        (tmp_path / "text.onnx", "is no network"),
        (tmp_path / "cut.onnx", "cut.onnx"),
        (tmp_path / "bare.onnx", "no headpose.crop"),
    ):
        assert_error(estimate(astronaut, "--model", model), message)


def test_a_model_file_whose_hash_differs(estimate, astronaut, tmp_path, monkeypatch, network):
    info = headpose.ModelInfo(
        "named", "named.onnx", "0" * 64, 1, "fp32", "clean", "", "", "", "", crop=inference.load_model(network).crop
    )
    monkeypatch.setattr(weights, "manifest", lambda: {"named": info})
    monkeypatch.setenv("HEADPOSE_WEIGHTS", str(tmp_path))
    (tmp_path / "named.onnx").write_bytes(network.read_bytes())
    assert_error(estimate(astronaut, "--model", "named"), "is not model named of this version: its SHA-256")


def test_detectors_that_cannot_be_used(estimate, astronaut, tmp_path):
    assert_error(estimate(astronaut, "--detector", "haar"), "unknown detector 'haar'")
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


# The process.


def program(*arguments, **options):
    command = [sys.executable, "-m", "headpose", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_video_leaves_whole_files(tmp_path, photo, network, number):
    video = write_video(tmp_path / "a.avi", [photo] * 400)
    outputs = ["--csv", tmp_path / "a.csv", "--out", tmp_path / "out.mp4"]
    running = program("estimate", video, "--model", network, "--threads", 1, *outputs)
    assert running.stdout and "frame 0" in running.stdout.readline()
    time.sleep(0.3)
    running.send_signal(number)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert err.splitlines()[-1] == "headpose: interrupted: the results end where it stopped"
    frames = len(read_video(tmp_path / "out.mp4")[0])
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert 0 < frames < 400
    assert abs(frames - len({row["frame"] for row in rows})) <= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.avi", "a.csv", "out.mp4"]


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.6])
def test_codecs_keep_silent_about_a_cut_video(tmp_path, photo, network, kept):
    video = write_video(tmp_path / "a.mp4", [photo] * 10)
    data = video.read_bytes()
    video.write_bytes(data[: int(len(data) * kept)] or bytes(9999))
    done = program("estimate", video, "--model", network)  # in its own process: libav's log level is set once
    out, err = done.communicate(timeout=30)
    assert_error((done.returncode, out, err), "a.mp4")


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of Unix")
def test_progress_is_shown_on_a_terminal_and_not_in_the_results(clip, network):
    import fcntl
    import termios

    terminal, stderr = os.openpty()
    fcntl.ioctl(stderr, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "headpose", "estimate", str(clip), "--model", str(network), "--threads", "1"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    os.close(stderr)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "/5 [" in shown and "frame" in shown
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == [f"frame {index}" for index in range(5)]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")
def test_a_reader_that_leaves_is_no_error(tmp_path, photo, network):
    video = write_video(tmp_path / "a.avi", [photo] * 60)
    running = program("estimate", video, "--model", network, "--threads", 1, "--json", "-")
    assert running.stdout and running.stderr
    running.stdout.readline()
    running.stdout.close()
    assert running.wait(timeout=30) == 141
    assert "Traceback" not in running.stderr.read()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_behind_stdout_is_an_error_in_a_line(network, astronaut):
    command = [sys.executable, "-m", "headpose", "estimate", astronaut, "--model", network, "--json", "-"]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "headpose: error: cannot write to stdout: No space left on device\n"


@pytest.mark.parametrize("arguments", [["--help"], ["estimate", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
    code = f"""
import sys
from headpose.cli import main
try:
    main({arguments!r})
except SystemExit as ended:
    assert ended.code == 0
print(sorted({{"cv2", "numpy", "onnxruntime", "torch", "tqdm"}} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert "headpose" in done.stdout


def test_help_offers_what_the_library_knows():
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    choices = {action.dest: action.choices for action in parser._actions}
    assert tuple(choices["device"] or ()) == inference.DEVICES
    assert tuple(choices["draw"] or ()) == STYLES


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"headpose {headpose.__version__}\n"


# The other subcommands.


def test_models_lists_the_manifest(capsys, monkeypatch, network):
    crop = inference.load_model(network).crop
    info = headpose.ModelInfo(
        "named", "none.onnx", "0" * 64, 4_950_000, "fp32", "clean", "", "", "", "", crop, {"aflw2000_mae": 3.5}
    )
    monkeypatch.setattr(weights, "manifest", lambda: {"named": info})
    assert cli.main(["models"]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split() == ["named", "4.95", "fp32", "clean", "aflw2000_mae", "3.5", "(no", "file", "here)"]
    assert cli.main(["models", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["name"], entry["lane"], entry["bytes"], entry["path"]) == ("named", "clean", 4_950_000, None)
    assert entry["metrics"] == {"aflw2000_mae": 3.5} and entry["crop"]["size"] == 16


def test_doctor_looks_at_everything(capsys):
    status = cli.main(["doctor"])
    out = capsys.readouterr().out
    assert status == int("PROBLEM" in out)
    for subject in ("headpose", "numpy", "OpenCV", "windows", "ONNX Runtime", "devices", "extra train", "detector"):
        assert re.search(rf"^(ok|note|PROBLEM) +{subject} ", out, re.MULTILINE), subject


def test_doctor_tells_of_two_versions_of_opencv_in_one_folder(capsys, monkeypatch):
    from headpose import doctor

    installed = {"opencv-python": "4.12.0.88", "opencv-python-headless": "4.14.0.94"}
    monkeypatch.setattr(doctor.metadata, "version", lambda name: installed.get(name, "1.0"))
    monkeypatch.setattr(doctor, "_ONNX_RUNTIME", ("onnxruntime",))
    monkeypatch.setattr(doctor, "_OPENCV", tuple(installed))
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"PROBLEM +OpenCV +opencv-python 4.12.0.88, opencv-python-headless 4.14.0.94; .*cv2/", out)


def test_train_without_torch_names_the_extra():
    code = """
import sys
sys.modules["torch"] = None
from headpose.cli import main
sys.exit(main(["train", "compact", "--dry-run"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"headpose: error: .*pip install .*open-headpose\[train\].*\n", done.stderr), done.stderr


def test_the_default_network_is_the_estimators() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args(["photo.jpg"]).model == DEFAULT_MODEL
