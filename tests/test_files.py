from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headpose import files, images
from headpose.errors import HeadPoseError
from headpose.streams import video_file

posix = pytest.mark.skipif(sys.platform == "win32", reason="links, modes and signals of Unix")


def test_a_file_appears_whole(tmp_path):
    target = tmp_path / "résultat.json"
    files.write_text(target, "né\n")
    assert target.read_bytes() == "né\n".encode()
    assert list(tmp_path.iterdir()) == [target]


def test_the_temporary_name_keeps_the_ending(tmp_path):
    with files.atomic_path(tmp_path / "video.mp4") as temporary:
        assert temporary.suffix == ".mp4" and temporary.parent.parent == tmp_path
        temporary.write_bytes(b"frames")
        assert not (tmp_path / "video.mp4").exists()
    assert (tmp_path / "video.mp4").read_bytes() == b"frames"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path, failure):
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(failure), files.atomic_path(target) as temporary:
        temporary.write_text("half")
        raise failure
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(HeadPoseError, match=r"cannot write .*nowhere.*does not exist"):
        files.write_bytes(tmp_path / "nowhere" / "a", b"")


def test_a_folder_or_device_is_not_replaced(tmp_path):
    with pytest.raises(HeadPoseError, match="not a file"):
        files.write_bytes(tmp_path, b"")
    with pytest.raises(HeadPoseError, match="not a file"):
        files.write_bytes("/dev/null", b"")


def test_one_temporary_folder_is_hidden_and_goes_with_the_write(tmp_path):
    with files.atomic_path(tmp_path / "a.png") as temporary:
        images.write_image(temporary, images.np.zeros((4, 4, 3), images.np.uint8))  # a picture that is not there yet
        with pytest.raises(HeadPoseError, match="no picture in the folder"):
            images.list_images(tmp_path)
        (entry,) = tmp_path.iterdir()
        assert entry.name.startswith(".")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


WRITER = """
import sys, time
from headpose import files
with files.atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print("begun", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer():
    """Starts processes that have begun to write a file, and kills them at the end."""
    begun = []

    def start(target):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE, text=True)
        begun.append(process)
        assert process.stdout and process.stdout.readline() == "begun\n"
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait()
        process.stdout.close()


@posix
def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_it(tmp_path, writer):
    target = tmp_path / "o.mp4"
    killed = [writer(target) for _ in range(3)]
    for process in killed:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(list(tmp_path.iterdir())) == 3  # a folder each
    files.write_text(tmp_path / "other.mp4", "")
    assert len(list(tmp_path.iterdir())) == 4  # it is not of that target
    files.write_text(target, "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.mp4", "other.mp4"]
    assert target.read_text() == "whole"


@posix
def test_what_a_killed_process_wrote_never_becomes_the_file(tmp_path, writer):
    process = writer(tmp_path / "o.mp4")
    process.kill()
    process.wait()
    with pytest.raises(HeadPoseError, match="cannot write"), files.atomic_path(tmp_path / "o.mp4"):
        pass  # as an encoder does that fails in silence
    assert list(tmp_path.iterdir()) == []


@posix
def test_what_a_living_process_writes_is_left_alone(tmp_path, writer):
    target = tmp_path / "o.mp4"
    process = writer(target)
    (busy,) = tmp_path.iterdir()
    files.write_text(target, "ours")
    assert {path.name for path in busy.iterdir()} == {"lock", "whole.mp4"}
    process.send_signal(signal.SIGINT)
    process.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]
    assert target.read_text() == "ours"


def test_many_writers_of_one_target_at_a_time(tmp_path):
    target, gate = tmp_path / "a.txt", threading.Barrier(12)

    def write(number):
        with files.atomic_path(target) as temporary:
            temporary.write_text(f"{number}")
            gate.wait(10)  # all twelve are at it

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(write, range(12)))
    assert int(target.read_text()) in range(12)
    assert list(tmp_path.iterdir()) == [target]


def test_processes_that_write_one_target_over_and_over_do_not_meet(tmp_path):
    program = """
import sys
from headpose import files
for _ in range(300):
    files.write_text(sys.argv[1], sys.argv[2] * 1000)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "a")]
    running = [subprocess.Popen([*command, str(number)], stderr=subprocess.PIPE, text=True) for number in range(6)]
    assert [process.communicate()[1] for process in running] == [""] * 6
    assert (tmp_path / "a").read_text() in [str(number) * 1000 for number in range(6)]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@posix
def test_a_folder_of_somebody_else_is_not_touched(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("lock", "precious"):
        (elsewhere / name).write_text(name)
    (tmp_path / ".a.0.headpose").symlink_to(elsewhere)
    (tmp_path / ".a.1.headpose").write_text("a file")
    (tmp_path / ".a.2.headpose").mkdir()
    (tmp_path / ".a.2.headpose" / "precious").write_text("has no lock")
    files.write_text(tmp_path / "a", "")
    assert sorted(path.name for path in elsewhere.iterdir()) == ["lock", "precious"]
    assert (tmp_path / ".a.1.headpose").read_text() == "a file"
    assert (tmp_path / ".a.2.headpose" / "precious").exists()
    assert (tmp_path / ".a.0.headpose").is_symlink()


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_file_has_the_mode_of_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        with files.atomic_path(tmp_path / "a") as temporary:
            temporary.touch(mode=0o600)  # as safetensors makes its files
        files.write_text(tmp_path / "b", "")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o666 & ~umask}


@posix
def test_a_link_is_replaced_and_its_file_stays(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert (tmp_path / "link").read_text() == "new" and not (tmp_path / "link").is_symlink()


@pytest.fixture
def open_folder():
    """One that other users can reach: pytest keeps its own to the user."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@posix
def test_a_folder_that_takes_no_files_is_reported(open_folder):
    """Before the work and, where rights go while it lasts, after it: the error is not that of cleaning up."""
    folder = open_folder
    program = f"""
import os, sys
from pathlib import Path
from headpose import errors, files
folder = Path({str(folder)!r})
if os.getuid() == 0:
    os.chown(folder, 65534, 65534)
    os.setuid(65534)
try:
    with files.atomic_path(folder / "a") as temporary:
        temporary.write_text("x")
        temporary.parent.chmod(0o500)
        folder.chmod(0o500)
except errors.HeadPoseError as error:
    print(error)
try:
    files.check_target(folder / "b")
except errors.HeadPoseError as error:
    print(error)
folder.chmod(0o700)
next(folder.iterdir()).chmod(0o700)
files.write_text(folder / "a", "later")
print(os.listdir(folder))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second, there = done.stdout.splitlines()
    assert first == f"cannot write {folder / 'a'}: Permission denied"
    assert second == f"cannot write {folder / 'b'}: no permission to write into the folder {folder}"
    assert there == "['a']"


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    files.write_text(tmp_path / ("ä" * 100 + "b" * 50 + ".json"), "")


def test_no_ending_that_is_read_as_a_picture_or_a_video_is_taken_for_text():
    assert images.SUFFIXES | set(video_file._CODEC) <= files.DATA_SUFFIXES
    for name in ("a.json", "a.jsonl", "a.csv", "a.txt", "a.md", "a", "a.b.c"):
        files.check_text_name(name)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path):
    (tmp_path / "a").write_text("old")
    program = f"""
import resource, sys
from headpose import errors, files
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    files.write_bytes({str(tmp_path / "a")!r}, bytes(2000))
except errors.HeadPoseError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "cannot write" in done.stdout and "too large" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256_of(tmp_path / "abc") == expected
