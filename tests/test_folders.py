import os
import signal
import subprocess
import sys

import pytest

from headpose import folders
from headpose.errors import HeadPoseError

HOLD = """
import os, pathlib, sys, time
from headpose import folders

with folders.occupied(pathlib.Path(sys.argv[1])):
    if "--child" in sys.argv and os.fork() == 0:
        os.write(1, b"child\\n")
        time.sleep(60)
        os._exit(0)
    os.write(1, b"ready\\n")
    time.sleep(60)
"""


@pytest.fixture
def hold():
    """Starts a process that keeps a folder; returns it when it does."""
    started = []

    def start(folder, *more):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, folder, *more], stdout=subprocess.PIPE, start_new_session=True
        )
        started.append(process)
        for _ in range(1 + len(more)):
            assert process.stdout.readline() in (b"ready\n", b"child\n")
        return process

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_a_second_run_is_refused_with_who_is_there(hold, tmp_path):
    process = hold(tmp_path / "run")
    says = rf"run is in use by another run \(process {process.pid}\)"
    with pytest.raises(HeadPoseError, match=says) as caught, folders.occupied(tmp_path / "run"):
        pytest.fail("two at once")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "run" / folders.LOCK).exists()  # still the other's


def test_a_killed_run_keeps_nobody_out_nor_do_the_children_it_left(hold, tmp_path):
    process = hold(tmp_path / "run", "--child")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with folders.occupied(tmp_path / "run"):
        pass


def test_a_folder_that_stays_empty_is_gone_and_any_other_stays(tmp_path):
    with folders.occupied(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a").exists()
    with folders.occupied(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "log.csv").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["log.csv"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ZeroDivisionError), folders.occupied(tmp_path / "empty"):
        _ = 1 / 0
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / ("x" * 300), tmp_path / "a\x00b"):
        with pytest.raises(HeadPoseError, match="cannot use the folder"), folders.occupied(folder):
            pytest.fail("it cannot be used")


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / folders.LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(HeadPoseError, match="cannot use the folder"), folders.occupied(tmp_path / "run"):
        pytest.fail("it was followed")
    assert (tmp_path / "precious").read_text() == "kept"
