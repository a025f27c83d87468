from __future__ import annotations

import os
import sys

import cv2
import numpy as np
import pytest

from headpose.errors import ImageError
from headpose.images import write_image
from headpose.streams import open_pictures, open_source
from headpose.streams.sources import CaptureSource
from tests.picture_files import encoded, with_pillow
from tests.videos import FPS, shade, write_video


def frames_of(source):
    with open_source(source) as opened:
        return list(opened), opened


def test_a_picture(tmp_path, photo):
    write_image(tmp_path / "a.png", photo)
    (frame,), source = frames_of(tmp_path / "a.png")
    assert (source.kind, source.fps, source.length, source.problems) == ("image", 0, 1, [])
    assert (frame.index, frame.time_s, frame.name) == (0, 0, "a.png")
    np.testing.assert_array_equal(frame.image, photo)


def test_a_picture_without_an_ending_is_known_by_its_content(tmp_path, photo):
    write_image(tmp_path / "a.png", photo)
    (tmp_path / "a.png").rename(tmp_path / "a")
    (_,), source = frames_of(tmp_path / "a")
    assert source.kind == "image"


@pytest.mark.parametrize("name", ["a.heic", "a.mp4", "a"])
@pytest.mark.parametrize("kind", ["grid.heic", "avif"])
def test_heic_and_avif_are_pictures_whatever_their_names(tmp_path, photo, kind, name):
    """A video reader takes them too, and gives the first tile of a grid for the whole picture."""
    (tmp_path / name).write_bytes(encoded(kind, photo))
    (frame,), source = frames_of(tmp_path / name)
    assert source.kind == "image"
    assert np.abs(frame.image.astype(int) - photo).mean() < 4


@pytest.mark.parametrize("name", ["a.gif", "a.avi", "a"])
def test_an_animation_is_no_video_and_no_picture(tmp_path, photo, name):
    (tmp_path / name).write_bytes(with_pillow("GIF", [photo, photo[::-1]]))
    with pytest.raises(ImageError, match="animation of 2 frames"):
        frames_of(tmp_path / name)


def test_an_animation_in_a_folder_is_noted(tmp_path, photo):
    write_image(tmp_path / "a.png", photo)
    (tmp_path / "b.gif").write_bytes(with_pillow("GIF", [photo, photo[::-1]]))
    (tmp_path / "c.heic").write_bytes(encoded("heic", photo))
    frames, source = frames_of(tmp_path)
    assert [frame.name for frame in frames] == ["a.png", "c.heic"]
    (problem,) = source.problems
    assert "b.gif is an animation" in problem


def test_a_folder_in_the_order_of_names(tmp_path, photo):
    for name in ("b.png", "c.jpg", "a.png"):
        write_image(tmp_path / name, photo)
    frames, source = frames_of(tmp_path)
    assert (source.kind, source.length) == ("folder", 3)
    assert [(frame.index, frame.name) for frame in frames] == [(0, "a.png"), (1, "b.png"), (2, "c.jpg")]


def test_an_unreadable_picture_of_a_folder_is_noted_and_passed_over(tmp_path, photo):
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / name, photo)
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:5000])
    frames, source = frames_of(tmp_path)
    assert [(frame.index, frame.name) for frame in frames] == [(0, "a.png"), (2, "c.png")]
    (problem,) = source.problems
    assert "b.png is cut short" in problem


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_video(tmp_path, suffix):
    path = write_video(tmp_path / f"vidéo{suffix}", 12)
    frames, source = frames_of(path)
    assert (source.kind, source.length, source.problems) == ("video", 12, [])
    assert source.fps == pytest.approx(FPS)
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.time_s for frame in frames] == pytest.approx([index / FPS for index in range(12)], abs=2e-3)
    assert {frame.name for frame in frames} == {""}
    means = [frame.image.mean() for frame in frames]
    assert means == pytest.approx([shade(index) for index in range(12)], abs=6)


def test_a_cut_video_gives_what_is_there_and_says_so(tmp_path):
    path = write_video(tmp_path / "cut.avi", 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    frames, source = frames_of(path)
    assert 10 < len(frames) < 38
    assert source.problems == [f"{path} is cut short: {len(frames)} of its 40 frames could be read"]


def test_a_camera_that_goes_away_ends_the_stream_cleanly(tmp_path):
    """A file in the camera's place: the same capture object, read until it gives nothing."""
    capture = cv2.VideoCapture(str(write_video(tmp_path / "camera.mp4", 5)))
    with CaptureSource(capture, "camera 0", "camera") as source:
        frames = list(source)
    assert (len(frames), source.length, source.problems) == (5, None, [])
    times = [frame.time_s for frame in frames]
    assert times == sorted(times) and times[-1] < 60
    assert not capture.isOpened()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.txt", b"hello\n" * 500, "neither a picture nor a video"),  # libav would play it as a terminal
        ("notes.md", b"hello\n" * 500, "neither a picture nor a video"),
        ("empty.mp4", b"", "empty"),
        ("empty", b"", "empty"),
        ("zeros.mp4", bytes(5000), "neither a picture nor a video"),
    ],
)
def test_a_file_that_is_neither_is_an_error(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=message):
        frames_of(tmp_path / name)


@pytest.mark.parametrize("kept", [0.02, 0.6, 0.8])
def test_an_mp4_without_its_index_is_an_error(tmp_path, kept):
    path = write_video(tmp_path / "cut.mp4", 10)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(ImageError, match=r"cut\.mp4"):
        frames_of(path)


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_a_video_whose_name_is_no_text_is_an_error_not_a_crash(tmp_path):
    path = tmp_path / os.fsdecode(b"t\xe9te.mp4")
    write_video(tmp_path / "a.mp4", 3).rename(path)
    with pytest.raises(ImageError, match="not UTF-8"):
        open_source(path)


def test_sources_that_are_not_there(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        open_source(tmp_path / "none.mp4")
    with pytest.raises(ImageError, match="no picture"):
        open_source(tmp_path)
    with pytest.raises(ImageError, match="camera 97 cannot be opened"):
        open_source("97")
    with pytest.raises(ImageError, match="GStreamer"):
        open_source("nosuchelement ! appsink")


@pytest.mark.parametrize("name", ["20240115", "99999999999999999999", "0"])
def test_a_folder_or_file_comes_before_a_camera_of_that_number(tmp_path, monkeypatch, photo, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    write_image(tmp_path / name / "a.png", photo)
    (frame,), source = frames_of(name)
    assert (source.kind, frame.name) == ("folder", "a.png")
    (tmp_path / name / "a.png").rename(tmp_path / "a")
    (tmp_path / name).rmdir()
    (tmp_path / "a").rename(tmp_path / name)
    assert frames_of(name)[1].kind == "image"


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not allow")
def test_a_file_comes_before_a_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:" / "host").mkdir(parents=True)
    write_video(tmp_path / "http:" / "host" / "a.avi", 5)
    assert len(frames_of("http://host/a.avi")[0]) == 5


def test_names_that_are_none(tmp_path, monkeypatch, photo):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "a.png", photo)
    with pytest.raises(ImageError, match="empty text"):
        open_source("")  # not the working folder
    for number in ("20240115", "99999999999999999999"):
        with pytest.raises(ImageError, match=f"camera {number} cannot be opened"):
            open_source(number)
    with pytest.raises(ImageError, match="does not exist"):
        open_source("x" * 5000)
    with pytest.raises(ImageError, match="camera /dev/null cannot be opened"):
        open_source("/dev/null")


def test_the_files_of_a_folder_that_are_passed_over_are_counted(tmp_path, photo):
    write_image(tmp_path / "a.png", photo)
    assert frames_of(tmp_path)[1].notes == []
    for name in ("b.txt", "c.TXT", "d.pdf", "noending", ".hidden"):
        (tmp_path / name).write_text("x")
    (tmp_path / "folder.txt").mkdir()
    _, source = frames_of(tmp_path)
    (note,) = source.notes
    assert note == f"{tmp_path}: 4 files were skipped, without an image extension: 2 .txt, 1 .pdf, 1 without an ending"


def test_pictures_and_folders_together(tmp_path, photo):
    (tmp_path / "folder").mkdir()
    for name in ("folder/b.png", "folder/a.png", "c.png"):
        write_image(tmp_path / name, photo)
    video = write_video(tmp_path / "v.avi", 5)
    sources = [str(tmp_path / name) for name in ("c.png", "v.avi", "folder")]
    with open_pictures(sources) as pictures:
        frames = list(pictures)
    assert [(frame.index, frame.name, frame.source) for frame in frames] == [
        (0, "c.png", sources[0]),
        (1, "a.png", sources[2]),
        (2, "b.png", sources[2]),
    ]
    assert open_pictures([str(video)]) is None
    with pytest.raises(ImageError, match=r"none\.png does not exist"):
        open_pictures([*sources, str(tmp_path / "none.png")])


class Unsteady:
    """A capture device, some of whose reads fail."""

    def __init__(self, reads):
        self._reads, self.calls = iter(reads), 0

    def get(self, prop):
        return {cv2.CAP_PROP_FPS: float("nan")}.get(prop, -1.0)

    def read(self):
        self.calls += 1
        good = next(self._reads, False)
        return good, np.zeros((4, 4, 3), np.uint8) if good else None

    def release(self):
        pass


def test_a_camera_may_miss_a_read_and_ends_when_it_misses_many():
    device = Unsteady([True, False, False, True] + [False] * 49 + [True] + [False] * 10_000)
    with CaptureSource(device, "camera 0", "camera") as camera:
        frames = list(camera)
    assert [frame.index for frame in frames] == [0, 1, 2] and camera.problems == []
    assert device.calls < 200
    assert camera.fps == 30


@pytest.mark.parametrize("reported", [0.0, -9.2e15, float("nan")])
def test_frames_without_times_follow_at_the_rate(reported):
    class Timeless(Unsteady):
        def get(self, prop):
            return {cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_POS_MSEC: reported}.get(prop, 0.0)

    with CaptureSource(Timeless([True] * 3 + [False] * 2 + [True]), "a.h264", "video") as video:
        frames = list(video)
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.04, 0.08, 0.2])
    assert [frame.index for frame in frames] == [0, 1, 2, 5]
