"""The parts of a video are, together, the video."""

from __future__ import annotations

import numpy as np
import pytest

from headpose import ImageError, open_source
from headpose.bulk import videos
from tests.videos import edit_mp4, write_video


@pytest.fixture(scope="module", params=[".mp4", ".avi", ".webm"])
def video(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / f"clip{request.param}"
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(60)]
    if request.param == ".webm":
        import cv2

        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), 12.5, (64, 48))
        for frame in frames:
            writer.write(frame)
        writer.release()
    else:
        write_video(path, frames)
    return path


def whole(path):
    with open_source(path) as source:
        return [(frame.index, frame.time_s, frame.image) for frame in source]


def in_parts(path, found, every=1):
    for start, count, time_s in found:
        for index, local_s, image in videos.frames(str(path), start, count, every):
            yield index, time_s + local_s, image


def assert_same(found, expected):
    found = list(found)
    assert [index for index, _, _ in found] == [index for index, _, _ in expected]
    assert [time for _, time, _ in found] == pytest.approx([time for _, time, _ in expected], abs=1e-3)
    for (_, _, image), (_, _, other) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(image, other)


def test_the_parts_are_the_video(video):
    found = videos.segments(str(video), 20)
    if video.suffix != ".webm":  # its encoder sets one key frame
        assert len(found) > 1
    assert [start for start, _, _ in found] == [0, *np.cumsum([count for _, count, _ in found])[:-1]]
    assert_same(in_parts(video, found), whole(video))


def test_every_third_frame(video):
    found = videos.segments(str(video), 20)
    assert_same(in_parts(video, found, 3), whole(video)[::3])


def test_a_part_is_found_where_seeking_misses(tmp_path):
    """The frames are not evenly spaced, so OpenCV seeks to a wrong one."""
    path = write_video(tmp_path / "uneven.mp4", 40)
    edit_mp4(path, ticks=[2400] * 20 + [160] * 20)
    found = videos.segments(str(path), 10)
    assert len(found) > 1
    assert_same(in_parts(path, found), whole(path))


def test_a_video_that_is_cut_short_is_an_error(tmp_path):
    path = write_video(tmp_path / "clip.mp4", 30)
    with pytest.raises(ImageError, match="cut short: 10 of 40 frames from frame 0"):
        list(videos.frames(str(path), 0, 40, 1))


def test_a_picture_is_no_video(tmp_path, repo):
    with pytest.raises(ImageError, match="not a video"):
        videos.segments(str(repo / "examples" / "astronaut.jpg"), 10)
