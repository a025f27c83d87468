import numpy as np
import pytest

from headpose.errors import HeadPoseError
from headpose.streams import Frame, Recorder
from tests.videos import read_video


class Source:
    """What a recorder asks of a source."""

    name, length = "a stream", None

    def __init__(self, kind, fps):
        self.kind, self.fps, self.problems = kind, fps, []

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass

    def __iter__(self):
        return iter(())


def frame(index, time_s, grey=128, size=(48, 64)):
    return Frame(index, time_s, "", np.full((*size, 3), grey, np.uint8))


def write(recorder, *frames):
    for each in frames:
        recorder.write(each, each.image)


def test_two_recordings_of_one_stream(tmp_path):
    with Recorder(Source("video", 10.0)) as recorder:
        write(recorder, frame(0, 0.0))  # before the first: nothing
        recorder.start(tmp_path / "one.mp4")
        assert recorder.target == tmp_path / "one.mp4"
        write(recorder, *(frame(index, index / 10) for index in range(1, 6)))
        assert recorder.stop() == tmp_path / "one.mp4"
        assert recorder.target is None and recorder.stop() is None
        recorder.start(tmp_path / "two.mp4")
        write(recorder, *(frame(index, index / 10) for index in range(6, 9)))
    assert [len(read_video(tmp_path / name)[0]) for name in ("one.mp4", "two.mp4")] == [5, 3]


def test_a_recording_of_a_camera_begins_when_it_is_started_and_keeps_the_clock(tmp_path):
    """Ten minutes into the stream, at 5 pictures a second from a camera that says 20."""
    with Recorder(Source("camera", 20.0)) as recorder:
        recorder.start(tmp_path / "late.mp4")
        write(recorder, *(frame(index, 600.0 + 0.2 * index) for index in range(11)))
    frames, fps = read_video(tmp_path / "late.mp4")
    assert fps == 20.0
    assert len(frames) == 41  # 2 seconds, and the last picture


def test_an_error_drops_the_recording_and_leaves_nothing_behind(tmp_path):
    with Recorder(Source("video", 10.0)) as recorder:
        recorder.start(tmp_path / "odd.mp4")
        write(recorder, frame(0, 0.0))
        with pytest.raises(HeadPoseError, match=r"odd\.mp4"):
            write(recorder, frame(1, 0.1, size=(50, 60)))
        assert recorder.target is None
        with pytest.raises(HeadPoseError, match="endings"):
            recorder.start(tmp_path / "odd.txt")
    assert list(tmp_path.iterdir()) == []
