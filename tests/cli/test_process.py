"""The command line as a process: signals, pipes, start-up."""

from __future__ import annotations

import csv
import os
import re
import signal
import struct
import subprocess
import sys
import time

import pytest

import headpose
from headpose import cli
from tests.cli.errors import assert_error
from tests.evaluation.faces import write_colored_faces
from tests.videos import read_video, write_video


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
    assert err.splitlines()[-1] == "headpose: interrupted: the results end at the last processed frame"
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
    with program("estimate", video, "--model", network, "--threads", 1, "--json", "-") as running:
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


PROGRAMS = {
    "models": ["-m", "headpose", "models"],
    "json": ["-m", "headpose", "estimate", "PHOTO", "--model", "NETWORK", "--json", "-"],
    "help": ["-m", "headpose", "--help"],
    "webcam": ["apps/webcam.py", "--help"],
    "requirements": ["scripts/runtime_requirements.py"],
}


@pytest.mark.skipif(sys.platform == "win32", reason="streams of Unix")
@pytest.mark.parametrize(
    ("program", "unbuffered"), [*((name, "") for name in PROGRAMS), ("models", "1"), ("help", "1")]
)
def test_a_stdout_that_takes_nothing_is_one_line(repo, network, astronaut, program, unbuffered):
    words = [{"PHOTO": str(astronaut), "NETWORK": str(network)}.get(word, word) for word in PROGRAMS[program]]
    environment = {**os.environ, "PYTHONPATH": str(repo), "PYTHONUNBUFFERED": unbuffered}

    def run(redirection):
        command = ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, *words]
        return subprocess.run(command, cwd=repo, env=environment, stderr=subprocess.PIPE, text=True)

    closed = run(">&-")
    assert closed.returncode == 1
    assert re.fullmatch(r"[a-z_0-9]+: error: cannot write to stdout: Bad file descriptor\n", closed.stderr)
    if os.path.exists("/dev/full"):  # noqa: PTH110
        full = run(">/dev/full")
        assert full.returncode == 1
        assert re.fullmatch(r"[a-z_0-9]+: error: cannot write to stdout: No space left on device\n", full.stderr)
    assert run(">&- 2>&-").returncode == 1


@pytest.mark.skipif(sys.platform == "win32", reason="streams of Unix")
@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&- >&- 2>&-"])
def test_results_do_not_suffer_from_a_stderr_that_takes_nothing(network, clip, tmp_path, redirection):
    words = ["-m", "headpose", "estimate", str(clip), "--model", str(network), "--threads", "1", "-q"]
    outputs = ["--json", str(tmp_path / "a.json"), "--out", str(tmp_path / "out.mp4")]
    command = ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, *words[:-1], *outputs]
    if ">&- 2" in redirection:
        command.append("-q")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert len((tmp_path / "a.json").read_text().splitlines()) == 5
    assert len(read_video(tmp_path / "out.mp4")[0]) == 5
    assert done.stdout.count("\n") == (0 if "-q" in command else 5)  # stderr's lines have not gone there


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")
def test_a_reader_that_leaves_ends_other_programs_too(repo, tmp_path):
    data = write_colored_faces(tmp_path / "faces", [(float(yaw), 0.0, 0.0) for yaw in range(-40, 41, 10)])
    rows = [f"image{index:05},0,0,0" for index in range(9)]
    (tmp_path / "angles.csv").write_text("\n".join(["image,yaw,pitch,roll", *rows]))
    command = [sys.executable, "eval/aflw2000.py", "--data", data, "--score", tmp_path / "angles.csv", "--audit"]
    environment = {**os.environ, "PYTHONPATH": str(repo), "PYTHONUNBUFFERED": "1"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*map(str, command)], cwd=repo, env=environment, **options) as running:
        running.stdout.close()
        err = running.stderr.read()
        assert running.wait(timeout=60) == 141
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_a_killed_run_leaves_nothing_for_good(tmp_path, photo, network):
    video = write_video(tmp_path / "a.avi", [photo] * 400)
    (tmp_path / "out").mkdir()
    outputs = ["--csv", tmp_path / "out/a.csv", "--out", tmp_path / "out/a.mp4"]
    running = program("estimate", video, "--model", network, "--threads", 1, *outputs)
    assert running.stdout and "frame 0" in running.stdout.readline()
    running.kill()
    running.communicate()
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left and all(name.startswith(".") for name in left)
    short = write_video(tmp_path / "b.avi", [photo] * 3)
    with program("estimate", short, "--model", network, "--threads", 1, *outputs) as again:
        assert again.wait(timeout=60) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.csv", "a.mp4"]


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


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"headpose {headpose.__version__}\n"
