"""apps/webcam.py: as a program on files, and its session with a window whose keys are known beforehand."""

import dataclasses
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from apps import webcam
from headpose.errors import HeadPoseError
from headpose.images import read_image
from headpose.streams import Frame, open_source
from tests.network_files import color_network
from tests.videos import read_video, write_video

FRAMES = 12
MODELS = ("first", "second")


@pytest.fixture
def frames(photo):
    """640x480 pictures with one face that wanders."""
    shifts = [np.float64([[1, 0, 64 + 4 * index], [0, 1, 10]]) for index in range(FRAMES)]
    return [cv2.warpAffine(photo, shift, (640, 480)) for shift in shifts]


@pytest.fixture
def video(tmp_path, frames):
    return write_video(tmp_path / "face.mp4", frames, fps=25.0)


@pytest.fixture
def network(tmp_path):
    return color_network(tmp_path / "color.onnx")


@pytest.fixture
def start(repo, network, tmp_path):
    def start(source, *arguments, **environment):
        command = [sys.executable, str(repo / "apps" / "webcam.py"), str(source), "--model", str(network)]
        headless = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
        return subprocess.Popen(
            [*command, "--threads", "1", *map(str, arguments)],
            cwd=tmp_path,
            env={**headless, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def run(start):
    def run(*arguments, **environment):
        process = start(*arguments, **environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    return run


def rows_of(text):
    return [json.loads(line) for line in text.splitlines()]


class Keys:
    """A window that nobody sees: one key for each picture, -1 when there are no more."""

    def __init__(self, keys):
        self._keys, self.shown = list(keys), []

    def show(self, picture, wait_s):
        self.shown.append(picture.copy())
        return ord(self._keys.pop(0)) if self._keys else -1


@pytest.fixture
def play(video, network, tmp_path, monkeypatch):
    """Runs a session on the video with keys, in an empty working folder; gives its session, window and rows."""

    def play(keys, *arguments, models=()):
        folder = tmp_path / f"played-{time.monotonic_ns()}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        args = webcam.parse([str(video), "--model", str(network), "--threads", "1", *arguments])
        window, rows = Keys(keys), []
        with open_source(video) as source, webcam.Recorder(source) as recorder:
            sink = type("Rows", (), {"write": lambda self, frame, poses: rows.append(poses)})()
            with webcam.Live(args, new_neutral=True) as live:
                session = webcam.Session(args, webcam.Estimation(args), recorder, sink, live, window)
                session.models = [*models, *session.models]
                session.run(source, keep_pace=False)
        return session, window, rows, folder

    return play


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        (ord("c"), {"style": "cube"}),
        (ord("C"), {"style": "cube"}),
        (ord("n"), {"style": "none"}),
        (ord("m"), {"mirror": True}),
        (ord("f"), {"smooth": True}),
        (ord("t"), {"times": True}),
        (ord("g"), {"chart": True}),
        (ord("h"), {"help": True}),
        (ord("r"), {"recording": True}),
        (ord("s"), {"snapshot": True}),
        (ord("2"), {"model": "second"}),
        (ord("3"), {}),
        (ord("0"), {}),
        (ord("q"), {"running": False}),
        (27, {"running": False}),
        (ord("z"), {"neutral": "set"}),
        (ord("x"), {"neutral": "clear"}),
        (ord("y"), {}),
        (-1, {}),
        (0xFFE1, {}),  # Shift alone
        # Left, Up, Right, Down: their low 8 bits are Q, R, S, T. X11 (Qt, GTK), GTK with Num Lock, Windows, macOS.
        *((code, {}) for code in (0xFF51, 0xFF52, 0xFF53, 0xFF54, 0x10FF51, 0x250000, 0x270000, 0xF702, 0xF703)),
        *((0xFFBE + number, {}) for number in range(12)),  # F1 to F12
        (0x451, {}),  # a letter of a Russian keyboard
        (0x10_0071, {"running": False}),  # q in GTK with Num Lock
        (0x3_0053, {"snapshot": True}),  # S in GTK with Shift and Caps Lock
        (0x2000_0032, {"model": "second"}),  # 2 in GTK with the second keyboard layout
    ],
)
def test_what_each_key_changes(key, changes):
    view = webcam.View("first")
    assert webcam.press(view, key, MODELS) == dataclasses.replace(view, **changes)


@pytest.mark.parametrize("key", "mftghr")
def test_a_key_that_switches_something_on_switches_it_off_again(key):
    view = webcam.View("first")
    assert webcam.press(webcam.press(view, ord(key), MODELS), ord(key), MODELS) == view


def test_a_video_without_a_window_gives_rows_and_a_recording(run, video, tmp_path):
    status, out, err = run(video, "--no-window", "--json", "-", "--record", "annotated.webm")
    assert status == 0, err
    assert [row["frame"] for row in rows_of(out)] == list(range(FRAMES))
    saved, summary = err.splitlines()
    assert saved == "webcam: saved annotated.webm" and summary.startswith(f"webcam: {FRAMES} frames")
    recorded, _ = read_video(tmp_path / "annotated.webm")
    source, _ = read_video(video)
    assert len(recorded) == FRAMES
    assert np.abs(recorded[0].astype(int) - source[0]).max() > 100, "nothing is drawn"


def test_frames_stops_early(run, video):
    status, out, err = run(video, "--no-window", "--json", "-", "--frames", 5)
    assert status == 0, err
    assert len(rows_of(out)) == 5


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("nothing.mp4", ["--no-window"], "nothing.mp4 does not exist"),
        ("99", ["--no-window"], "camera 99 cannot be opened"),
        ("still.png", ["--no-window"], "headpose estimate"),
        ("face.mp4", [], "no display"),
        ("face.mp4", ["--no-window", "--record", "angles.txt"], "a video needs one of the endings"),
        ("face.mp4", ["--no-window", "--min-confidence", "0.5"], "model color has no output face"),
        ("face.mp4", ["--no-window", "--model", "no-such-model"], "unknown model"),
        ("face.mp4", ["--no-window", "--json", "nowhere/rows.json"], "folder nowhere does not exist"),
    ],
)
def test_what_cannot_be_is_reported_in_one_line(run, video, photo, tmp_path, source, arguments, message):
    cv2.imwrite(str(tmp_path / "still.png"), photo)
    before = sorted(tmp_path.iterdir())
    status, out, err = run(source, *arguments)
    assert (status, out) == (1, "")
    assert err.startswith("webcam: error: ") and message in err and err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_video_cut_short_keeps_what_there_was_and_says_so(run, frames, tmp_path):
    whole = write_video(tmp_path / "whole.avi", frames * 3, fps=25.0)
    data = whole.read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    status, _, err = run("cut.avi", "--no-window", "--json", "rows.json")
    assert status == 1 and "Traceback" not in err
    rows = rows_of((tmp_path / "rows.json").read_text())
    assert 0.3 * 3 * FRAMES < len(rows) < 0.7 * 3 * FRAMES
    assert "cut short" in err.splitlines()[-1]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_whole_files(start, frames, tmp_path, how):
    video = write_video(tmp_path / "long.mp4", frames * 30, fps=25.0)
    with start(video, "--no-window", "--json", "-", "--record", "until-then.mp4") as process:
        first = process.stdout.readline()
        process.send_signal(how)
        rows = rows_of(first + process.stdout.read())
        err = process.stderr.read()
        assert process.wait(timeout=60) == 0, err
    assert err.startswith("webcam: saved until-then.mp4\nwebcam: ") and err.count("\n") == 2
    assert len(read_video(tmp_path / "until-then.mp4")[0]) == len(rows) < len(frames) * 30
    assert {path.name for path in tmp_path.iterdir()} == {"long.mp4", "color.onnx", "until-then.mp4"}


def test_a_camera_that_goes_away_is_an_error_and_its_recording_is_kept(frames, network, tmp_path, monkeypatch, capsys):
    class Unplugged:
        name, kind, fps, length, problems = "camera 0", "camera", 10.0, None, ()

        def __iter__(self):
            for index, frame in enumerate(frames):
                yield Frame(index, index / 10, "", frame)
                time.sleep(0.05)

    monkeypatch.chdir(tmp_path)
    args = webcam.parse(["--model", str(network), "--no-window", "--record", "kept.mp4", "--json", "rows.json"])
    with pytest.raises(HeadPoseError, match="camera 0 returns no more frames"):
        webcam.run(Unplugged(), args)
    seen = [row["frame"] for row in rows_of((tmp_path / "rows.json").read_text())]
    assert seen[-1] == FRAMES - 1, "the last picture is not lost"
    # By the clock, though a slow machine passes some over: 10 a second from the first to the last.
    assert len(read_video(tmp_path / "kept.mp4")[0]) == seen[-1] - seen[0] + 1
    assert "frames/s" in capsys.readouterr().err


def test_the_mirror_is_one_of_the_window_only(play, video):
    _, plain, straight, _ = play("n" + " " * FRAMES)
    _, mirrored, reflected, folder = play("nmsr" + " " * FRAMES)
    for a, b in zip(straight, reflected, strict=True):
        assert [pose.rotation.tolist() for pose in a] == [pose.rotation.tolist() for pose in b]
        assert [pose.box for pose in a] == [pose.box for pose in b]
    # Below the texts: what is shown is flipped, what is saved and recorded is not.
    bottom = slice(400, 440)
    assert (mirrored.shown[-1][bottom] == plain.shown[-1][bottom, ::-1]).mean() > 0.95
    source, _ = read_video(video)
    saved = [read_image(path) for path in folder.glob("*.png")]
    assert len(saved) == 1
    np.testing.assert_array_equal(saved[0][bottom], source[3][bottom])
    recorded = [read_video(path)[0] for path in folder.glob("*.mp4")]
    assert len(recorded) == 1 and len(recorded[0]) == FRAMES - 4
    error = np.abs(recorded[0][0][bottom].astype(int) - source[4][bottom]).mean()
    assert error < 0.2 * np.abs(recorded[0][0][bottom, ::-1].astype(int) - source[4][bottom]).mean()


def test_keys_switch_the_network_and_a_broken_one_leaves_the_old(play, network, tmp_path, capsys):
    other = color_network(tmp_path / "other.onnx", name="other")
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    names = [str(other), str(tmp_path / "broken.onnx")]
    session, _, rows, _ = play("1 2", models=names)
    assert session.view.model == str(other)
    assert len(rows) == FRAMES and all(rows), "the stream went on, with a face in each frame"
    assert "broken.onnx" in capsys.readouterr().err


def test_smoothing_begins_and_ends_by_key_and_a_face_keeps_its_number(play):
    _, _, plain, _ = play(" " * FRAMES)
    _, _, keyed, _ = play("f f f")
    assert [pose.track for (pose,) in keyed] == [None, 1, 1, None, None] + [1] * (FRAMES - 5)
    moved = [one.box != other.box for (one,), (other,) in zip(keyed, plain, strict=True)]
    assert moved == [False, True, True, False, False] + [True] * (FRAMES - 5)
    _, _, smooth, _ = play("", "--smooth")
    assert all(pose.track == 1 for (pose,) in smooth)


def test_z_makes_the_pose_neutral_and_saves_it_and_x_clears_it(play, capsys, tmp_path):
    file = tmp_path / "neutral.json"
    session, _, rows, _ = play("yzyyxyy", "--neutral", str(file), "--smooth")
    turned = [abs(poses[0].yaw) + abs(poses[0].pitch) + abs(poses[0].roll) for poses in rows]
    assert min(turned[:3]) > 5 and max(turned[3:6]) < 5 and min(turned[6:]) > 5  # from the frame after the key on
    assert "neutral pose set and saved in" in capsys.readouterr().err and session._live.neutral is None
    assert json.loads(file.read_text())["yaw"] == 0
    play("z", "--neutral", str(file))
    session, _, rows, _ = play("", "--neutral", str(file), "--smooth")
    assert session._live.neutral is not None and abs(rows[0][0].yaw) < 5


def test_g_shows_a_chart_that_z_starts_anew(play):
    session, window, _, folder = play("ngs  z")
    corner = (slice(400, 470), slice(400, 600))
    (saved,) = (read_image(path) for path in folder.glob("*.png"))
    _, plain, _, _ = play("n")
    pairs = zip(window.shown, plain.shown, strict=True)
    dark = [picture[corner].mean() < 0.6 * other[corner].mean() for picture, other in pairs]
    assert dark == [False] * 2 + [True] * (FRAMES - 2), "from the frame after the key on"
    assert saved[corner].mean() == pytest.approx(plain.shown[3][corner].mean(), abs=2), "only the window has it"
    assert session._history.lines[0][0, 0] == pytest.approx((7 - FRAMES + 1) / 25), "frames after the key"


def test_the_window_sends_poses_and_says_how_many(run, video):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        address = f"opentrack://127.0.0.1:{receiver.getsockname()[1]}"
        status, _, err = run(video, "--no-window", "--send", address, "--fov", 60)
        assert status == 0, err
        x, y, z, *_ = struct.unpack("<6d", receiver.recv(100))
    assert f"webcam: {address}: {FRAMES} messages sent, 0 dropped" in err
    assert abs(x) < 50 and abs(y) < 50 and 20 < z < 200


def test_a_recording_that_q_ends_is_saved_and_says_so(run_in_window, tmp_path):
    status, _, err = run_in_window("Left", "Right", "Up", "Down", "F2", "r", "r", "s", "r", "q")
    assert status == 0, err
    saved = [line.removeprefix("webcam: saved ") for line in err.splitlines() if "saved" in line]
    assert {path.name for path in tmp_path.glob("headpose-*")} == set(saved)
    assert [name[-4:] for name in saved] == [".mp4", ".png", ".mp4"]
    assert all(read_video(tmp_path / name)[0] for name in saved if name.endswith(".mp4"))


def test_faces_below_the_lowest_score_are_left_out(run, video):
    _, out, _ = run(video, "--no-window", "--json", "-")
    scores = [row["score"] for row in rows_of(out)]
    middle = round(sorted(scores)[len(scores) // 2], 3)
    status, out, err = run(video, "--no-window", "--json", "-", "--min-score", middle)
    assert status == 0, err
    assert [row["score"] for row in rows_of(out)] == [score for score in scores if score >= middle]
    assert 0 < len(rows_of(out)) < len(scores)


def test_quitting_ends_at_once(play):
    for keys in ("  q", "  \x1b"):
        session, window, rows, _ = play(keys)
        assert len(rows) == len(window.shown) == session.frames == 3


def test_a_recording_that_cannot_be_made_does_not_end_the_stream(play, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(webcam, "dated", lambda suffix: tmp_path / "no such folder" / f"x{suffix}")
    session, _, rows, _ = play("r s")
    assert len(rows) == FRAMES and not session.view.recording
    assert capsys.readouterr().err.count("does not exist") == 2


@pytest.fixture
def display():
    """The environment of an X server without a screen."""
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is needed: apt-get install xvfb")
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24"], pass_fds=[write], stderr=subprocess.DEVNULL
    )
    try:
        os.close(write)
        with os.fdopen(read) as number:
            yield {"DISPLAY": f":{number.readline().strip()}"}
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def run_in_window(start, frames, tmp_path, display):
    """Types keys, one after another, into the window of a video that goes on for longer."""
    if shutil.which("xdotool") is None:
        pytest.skip("xdotool is needed: apt-get install xdotool")
    video = write_video(tmp_path / "long.mp4", frames * 100, fps=25.0)

    def run(*keys):
        environment = {**os.environ, **display}
        find = ["xdotool", "search", "--sync", "--name", "^headpose$", "windowfocus", "--sync"]
        with start(video, "--json", "-", **display) as process:
            process.stdout.readline()  # the window is there
            subprocess.run(find, env=environment, check=True, timeout=30)
            for key in keys:
                assert process.poll() is None, f"it ended before {key}"
                subprocess.run(["xdotool", "key", key], env=environment, check=True)
                time.sleep(0.3)
            process.stdout.read()
            return process.wait(timeout=30), "", process.stderr.read()

    return run


def test_a_real_window_shows_a_video(run, video, display):
    status, out, err = run(video, "--json", "-", **display)
    assert status == 0, err
    assert len(rows_of(out)) == FRAMES
