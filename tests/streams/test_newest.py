import threading
import time

import numpy as np
import pytest

from headpose.errors import ImageError
from headpose.streams import Frame, NewestFrames


class Camera:
    """A source whose frames come when they come."""

    name, kind, fps, length = "camera 0", "camera", 1000.0, None

    def __init__(self, frames, pause_s=0.0, error=None):
        self.problems = []
        self.given, self._frames, self._pause_s, self._error = 0, frames, pause_s, error

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass

    def __iter__(self):
        for index in range(self._frames):
            self.given += 1
            yield Frame(index, 0.001 * index, "", np.zeros((4, 4, 3), np.uint8))
            time.sleep(self._pause_s)
        if self._error:
            raise self._error


def test_a_slow_loop_sees_the_newest_frame_and_not_a_queue_of_old_ones():
    camera = Camera(100, pause_s=0.005)
    lag = []
    with NewestFrames(camera) as frames:
        for frame in frames:
            lag.append(camera.given - 1 - frame.index)
            time.sleep(0.03)
    assert len(lag) < 50, "frames were queued"
    assert np.median(lag) <= 1


def test_frames_stay_in_order_and_the_last_one_is_given():
    with NewestFrames(Camera(20, pause_s=0.001)) as frames:
        indices = [frame.index for frame in frames]
    assert indices == sorted(set(indices))
    assert indices[-1] == 19


def test_what_the_source_raises_is_raised_after_the_last_frame():
    seen = []
    with NewestFrames(Camera(3, pause_s=0.02, error=ImageError("unplugged"))) as frames:  # noqa: SIM117
        with pytest.raises(ImageError, match="unplugged"):
            seen += [frame.index for frame in frames]
    assert not seen  # the list is only made at the end of the loop


def test_leaving_stops_reading_before_the_source_is_closed():
    camera = Camera(10**9, pause_s=0.002)
    with NewestFrames(camera) as frames:
        next(iter(frames))
    given = camera.given
    time.sleep(0.05)
    assert camera.given == given
    assert not [thread for thread in threading.enumerate() if thread.name == "camera"]
