from __future__ import annotations

import subprocess
import sys

import pytest

from headpose import files
from headpose.errors import HeadPoseError


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


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(HeadPoseError, match=r"cannot write .*nowhere.*does not exist"):
        files.write_bytes(tmp_path / "nowhere" / "a", b"")


def test_a_folder_or_device_is_not_replaced(tmp_path):
    with pytest.raises(HeadPoseError, match="not a file"):
        files.write_bytes(tmp_path, b"")
    with pytest.raises(HeadPoseError, match="not a file"):
        files.write_bytes("/dev/null", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
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
