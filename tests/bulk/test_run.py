"""A run that is stopped, killed or out of disk goes on, and ends with the rows of an undisturbed run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import time

import numpy as np
import pytest

from headpose import cli, write_image
from headpose.bulk import plan
from tests.bulk.conftest import CRASHING, HELD, command, environment, label, table
from tests.bulk.test_decoder import SITE

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture(scope="module")
def many(sources, tmp_path_factory):
    """A folder of 60 pictures, two of them damaged and one held by the gate, and a video."""
    folder = tmp_path_factory.mktemp("many")
    for index in range(58):
        shutil.copy(sources / "pictures" / f"{index % 4}.jpg", folder / f"{index:02d}.jpg")
    held = folder / "57.jpg"
    held.write_bytes(held.read_bytes() + HELD)
    for index in (58, 59):
        (folder / f"{index}.jpg").write_bytes((folder / "00.jpg").read_bytes()[: 1000 * (index - 56)])
    shutil.copy(sources / "clip.mp4", folder / "0-clip.mp4")  # before the pictures, as names are sorted
    return folder


@pytest.fixture(scope="module")
def undisturbed(many, tmp_path_factory):
    """Rows, failures and summary of a run that nothing disturbs."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    done = label(many, "--out", out, "--workers", 2, "--shard-size", 10)
    assert done.returncode == 1, done.stderr  # two pictures cannot be read
    return table(out), table(out, "failures"), json.loads((out / "summary.json").read_text())


def assert_same(out, undisturbed):
    rows, failures, summary = undisturbed
    assert table(out) == rows
    assert table(out, "failures") == failures
    ours = json.loads((out / "summary.json").read_text())
    assert {**ours, "this_run": None} == {**summary, "this_run": None}


def test_the_summary_counts_what_is_there(undisturbed):
    rows, failures, summary = undisturbed
    assert (summary["pictures"], summary["faces"]) == (58 + 30, len(rows))
    assert summary["failures"] == {"decode": 2} and len(failures) == 2
    assert summary["without_face"] == 88 - len({(row["source"], row["frame"]) for row in rows})
    for name in ("yaw", "pitch", "roll"):
        assert sum(summary["histograms"][name]) == len(rows)
        fullest = max(range(24), key=summary["histograms"][name].__getitem__)
        assert summary["bin_starts"][fullest] <= rows[0][name] < summary["bin_starts"][fullest] + 15
    assert sum(summary["this_run"]["stages"].values()) == pytest.approx(1, abs=0.01)
    assert set(summary["this_run"]["stages"]) == {"decode", "detect", "estimate"}


@posix
def test_a_run_that_is_killed_goes_on(many, undisturbed, tmp_path, gate):
    out = tmp_path / "out"
    words = (many, "--out", out, "--workers", 1, "--shard-size", 10)
    started = environment(**gate.variables)
    running = subprocess.Popen(command(*words), env=started, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    children = wait_for(lambda: list((out / "labels").glob("part-*.parquet")) and children_of(running.pid))
    running.kill()
    running.wait()
    finished = {path: path.stat().st_mtime_ns for path in (out / "labels").glob("part-*.parquet")}
    assert 0 < len(finished) < 7
    wait_for(lambda: not any(map(is_running, children)))  # no worker is left behind
    done = label(*words[:-3], 2, *words[-2:])
    assert done.returncode == 1, done.stderr
    assert_same(out, undisturbed)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "a finished part was written again"
    assert json.loads((out / "summary.json").read_text())["this_run"]["pictures"] <= 90 - 10


@posix
def test_a_worker_that_is_killed_is_replaced(many, undisturbed, tmp_path, gate):
    out = tmp_path / "out"
    words = command(many, "--out", out, "--workers", 1, "--shard-size", 10)
    started = environment(**gate.variables)
    running = subprocess.Popen(words, env=started, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    wait_for(lambda: list((out / "labels").glob("part-*.parquet")))
    workers = [child for child in children_of(running.pid) if "spawn_main" in cmdline(child)]
    os.kill(workers[0], signal.SIGKILL)
    gate.open()
    _, err = running.communicate(timeout=600)
    assert running.returncode == 1, err
    assert_same(out, undisturbed)


@posix
def test_a_picture_that_crashes_the_decoder_or_hides_in_an_archive_takes_itself_down_only(many, undisturbed, tmp_path):
    folder = tmp_path / "many"
    shutil.copytree(many, folder)
    (folder / "07.jpg").write_bytes((folder / "07.jpg").read_bytes() + CRASHING)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(textwrap.dedent(SITE))
    path = os.pathsep.join([str(tmp_path / "site"), environment()["PYTHONPATH"]])
    out = tmp_path / "out"
    done = label(folder, "--out", out, "--workers", 2, "--shard-size", 10, PYTHONPATH=path)
    assert done.returncode == 1
    (crash,) = [row for row in table(out, "failures") if row["kind"] == "crash"]
    assert crash["source"].endswith("07.jpg")
    expected = [row["yaw"] for row in undisturbed[0] if not row["source"].endswith("07.jpg")]
    assert [row["yaw"] for row in table(out)] == pytest.approx(expected, abs=1e-3)


# OpenCV's resize runs in the detector, and kills the worker at a picture of 77 pixels a side.
DEADLY = """
import os, signal
import cv2

_resize = cv2.resize


def resize(image, *args, **kwargs):
    if image.shape[:2] == (77, 77):
        os.kill(os.getpid(), signal.SIGKILL)
    return _resize(image, *args, **kwargs)


cv2.resize = resize
"""


@posix
def test_a_picture_that_kills_its_worker_is_found(sources, tmp_path):
    folder, out = tmp_path / "pictures", tmp_path / "out"
    shutil.copytree(sources / "pictures", folder)
    write_image(folder / "1b.jpg", np.zeros((77, 77, 3), np.uint8))
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    done = label(folder, "--out", out, "--workers", 2, PYTHONPATH=path)
    assert done.returncode == 1, done.stderr
    (failure,) = table(out, "failures")
    assert (failure["source"], failure["kind"]) == (str(folder / "1b.jpg"), "worker")
    assert [row["source"] for row in table(out)] == [
        str(p) for p in sorted(folder.rglob("*.jpg")) if p.name[0] != "." and p.stem != "1b"
    ]


@posix
def test_a_full_disk_ends_the_run_in_one_line_and_it_goes_on(many, undisturbed, tmp_path):
    out = tmp_path / "out"
    words = command(many, "--out", out, "--workers", 1, "--shard-size", 10, "-q")
    limited = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)); "
        "sys.argv = sys.argv[1:]; runpy.run_module('headpose', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, *words[2:]], env=environment(), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 1
    assert done.stderr.startswith("headpose: error: cannot write") and done.stderr.count("\n") == 1, done.stderr
    done = label(many, "--out", out, "--workers", 1, "--shard-size", 10, "-q")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert_same(out, undisturbed)


def test_another_run_in_the_folder_is_refused(many, undisturbed, tmp_path, capsys, sources):
    out = tmp_path / "out"
    assert cli.main(["label", str(sources / "set.tar"), "--out", str(out), "--workers", "1", "-q"]) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for words, differing in (
        ([str(sources / "pictures")], "sources, source_sha256"),
        ([str(sources / "set.tar"), "--max-faces", "1"], "settings"),
        ([str(sources / "set.tar"), "--model", "student-int8"], "settings, model_sha256"),
    ):
        assert cli.main(["label", *words, "--out", str(out)]) == 1
        err = capsys.readouterr().err
        assert f"holds labels of another run ({differing} differ)" in err and err.count("\n") == 1
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_source_that_has_changed_is_refused(sources, tmp_path, capsys):
    folder, out = tmp_path / "pictures", tmp_path / "out"
    shutil.copytree(sources / "pictures", folder)
    assert cli.main(["label", str(folder), "--out", str(out), "--workers", "1", "-q"]) == 0
    assert cli.main(["label", str(folder), "--out", str(out), "--workers", "1", "-q"]) == 0  # nothing to do
    shutil.copy(folder / "0.jpg", folder / "new.jpg")
    assert cli.main(["label", str(folder), "--out", str(out)]) == 1
    assert "source_sha256 differ" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pictures"], "needs --out DIR"),
        (["pictures", "pictures", "--out", "out"], "pictures is named twice"),
        (["pictures", "--out", "out", "--model", "nope"], "nope"),
        (["pictures", "--out", "out", "--detector", "yunet"], "yunet"),
        (["pictures", "--out", "list.txt"], "cannot use the folder"),
        (["nowhere", "--out", "out"], "nowhere does not exist"),
        (["pictures", "--out", "out", "--ray", "127.0.0.1:1"], "no Ray cluster at 127.0.0.1:1|needs ray"),
    ],
)
def test_a_mistake_is_one_line(sources, monkeypatch, tmp_path, capsys, words, message):
    for name in ("pictures", "list.txt"):
        (tmp_path / name).symlink_to(sources / name)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["label", *words]) == 1
    err = capsys.readouterr().err
    assert err.startswith("headpose: error: ") and err.count("\n") == 1
    assert re.search(message, err)


def test_a_manifest_of_something_else_is_refused(tmp_path, sources, capsys):
    out = tmp_path / "out"
    out.mkdir()
    for text in ("{}", "[1]", "no JSON"):
        (out / plan.MANIFEST).write_text(text)
        assert cli.main(["label", str(sources / "set.tar"), "--out", str(out)]) == 1
        assert str(out / plan.MANIFEST) in capsys.readouterr().err
        assert (out / plan.MANIFEST).read_text() == text


def test_a_dry_run_measures_and_writes_nothing(many, tmp_path, tmp_path_factory, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    slow = tmp_path_factory.mktemp("slow")  # to start
    (slow / "sitecustomize.py").write_text("import time; time.sleep(3)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(slow), environment()["PYTHONPATH"]]))
    assert cli.main(["label", str(many), "--dry-run", "--workers", "4"]) == 0
    out = capsys.readouterr().out
    found = re.match(r"90 pictures; ([\d.]+) per second with one worker \(decode (\d+)%.*; (\d+) sampled\)\n", out)
    assert found and "4 workers: about" in out
    assert 64 <= int(found[3]) < 80
    assert int(found[2]) < 50, "the time that starting takes is no part of the rate"
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_nothing_is_one_line(tmp_path, capsys):
    with tarfile.open(tmp_path / "no.tar", "w"):
        pass
    assert cli.main(["label", str(tmp_path / "no.tar"), "--dry-run"]) == 1
    err = capsys.readouterr().err
    assert "no picture in the sample of" in err and err.count("\n") == 1


def test_the_progress_in_a_log_has_a_rate_and_the_time_left(capsys, monkeypatch):
    from headpose.bulk import progress

    running = progress.Progress(1000, 100)
    running.add(50)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    running.add(50)
    found = re.fullmatch(r"headpose: 200 of 1,000 pictures, ([\d.]+)/s, (\S+) s left\n", capsys.readouterr().err)
    assert found and float(found[1]) > 100 and float(found[2]) < 10
    running.close()
    assert [progress.duration(s) for s in (48, 600, 12600, 1e6)] == ["48 s", "10 min", "3.5 h", "12 days"]


def wait_for(condition, timeout_s=300.0):
    """Wait until ``condition()`` is true, and return it."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def children_of(pid):
    """The processes below one, on Linux and macOS."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = dict(map(int, line.split()) for line in listed.splitlines())
    found = [pid]
    for above in found:
        found += [child for child, parent in parents.items() if parent == above]
    return found[1:]


def cmdline(pid):
    """A process's command, whole: without -ww it ends at the width that COLUMNS names."""
    return subprocess.run(["ps", "-ww", "-p", str(pid), "-o", "args="], capture_output=True, text=True).stdout


def is_running(pid):
    state = subprocess.run(["ps", "-p", str(pid), "-o", "stat="], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")
