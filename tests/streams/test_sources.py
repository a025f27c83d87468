from __future__ import annotations

import os
import sys

import cv2
import numpy as np
import pytest

from headpose.errors import ImageError
from headpose.images import write_image
from headpose.streams import open_source
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
