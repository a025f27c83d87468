"""Frame rates and the times of frames, where files tell neither or tell them wrong."""

from __future__ import annotations

import math

import cv2

USUAL_FPS = 30.0  # for cameras and files that do not tell
_HIGHEST_FPS = 240.0  # above this, a rate is believed only if the frames' own times agree
_PROBED_FRAMES = 100
_LONGEST_S = 1e7  # a time beyond is an overflow: FFmpeg's "no time", counted from somewhere
# Containers count frames by the clock as often as one by one, and a last frame may not decode.
_SLACK_FRAMES, _SLACK_SHARE = 2, 0.02


def is_usual(fps: float) -> bool:
    """Whether a frame rate can be believed as it stands."""
    return math.isfinite(fps) and 0 < fps <= _HIGHEST_FPS


def measured_fps(capture: cv2.VideoCapture, claimed: float) -> float:
    """The rate of a video whose claimed one ``is_usual`` doubts, by the times of its first frames, which it reads."""
    clock = Clock(0.0)
    times: list[float] = []
    while len(times) < _PROBED_FRAMES and capture.grab():
        times.append(clock.time_s(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000))
    if len(times) < 2 or times[-1] <= 0:
        return USUAL_FPS
    fps = (len(times) - 1) / times[-1]
    agree = math.isfinite(claimed) and abs(fps - claimed) < 0.1 * claimed
    return claimed if agree else fps


class Clock:
    """Times of frames, in seconds from the first, that never run back."""

    def __init__(self, fps: float) -> None:
        """Args: fps: what a frame without a time of its own takes; 0 for no time at all."""
        self._step = 1 / fps if fps else 0.0
        self._first: float | None = None
        self._last = 0.0

    def time_s(self, reported_s: float, lost: int = 0) -> float:
        """The time of the next frame.

        Args:
            reported_s: its time by the file, which may be none (0 for every frame, or an overflow).
            lost: frames between it and the one before that could not be read.
        """
        known = math.isfinite(reported_s) and abs(reported_s) < _LONGEST_S
        if self._first is None:
            self._first = max(0.0, reported_s) if known else 0.0
        elif known and reported_s - self._first > self._last:
            self._last = reported_s - self._first
        else:
            self._last += (1 + lost) * self._step
        return self._last


class Losses:
    """What is missing from a video, from failed reads and from the times of its frames."""

    def __init__(self, fps: float, length: int | None, duration_s: float) -> None:
        """Args:
        fps: frames per second.
        length: frames that the file announces; None if it does not.
        duration_s: seconds that it announces; 0 if it does not, or if it is known to be whole.
        """
        self._fps, self._length, self._duration_s = fps, length, duration_s
        self._read = self._failed = self._regular = 0
        self._last_s = 0.0
        self._gaps: list[tuple[float, int]] = []  # when, and how many frames

    def add(self, time_s: float, failed: int) -> None:
        """Counts a frame, and the failed reads before it."""
        step = (time_s - self._last_s) * self._fps  # 1 at a constant rate
        if self._read:
            self._regular += abs(step - 1) < 0.25
            if failed or step > 2.5:
                self._gaps.append((self._last_s, failed or round(step) - 1))
        self._read, self._failed, self._last_s = self._read + 1, self._failed + failed, time_s

    def line(self, name: str, start_s: float = 0.0) -> str:
        """What was lost of the video ``name``, in one line; "" if nothing was.

        Args:
            name: what the line calls it.
            start_s: the time of its first frame by the file, which some files count into their duration.
        """
        if self._failed:
            return self._damaged(name, self._failed)
        end_s = self._last_s + 1 / self._fps
        if self._length is not None and 0 < start_s < self._duration_s and end_s < self._duration_s:
            self._length -= round(start_s * self._fps)
            self._duration_s -= start_s
        if self._length is None or self._read >= self._length - self._slack(self._length):
            return ""
        if end_s < self._duration_s - self._slack(self._duration_s * self._fps) / self._fps:
            return f"{name} is cut short: {self._read} of its {self._length} frames could be read"
        # It plays to its end with too few frames: a damaged stretch if the rate is constant but for a few
        # gaps, else a variable rate, whose announced length is duration times highest rate.
        if self._regular >= 0.9 * (self._read - 1) and 0 < len(self._gaps) <= max(3, 0.01 * self._read):
            return self._damaged(name, self._length - self._read)
        return ""

    def _damaged(self, name: str, lost: int) -> str:
        shown = [f"{when:.1f} s" for when, _ in sorted(self._gaps, key=lambda gap: -gap[1])[:3]]
        where = f" (at {', '.join(shown)}{' and elsewhere' if len(self._gaps) > 3 else ''})" if shown else ""
        were_lost = "1 is lost" if lost == 1 else f"{lost} are lost"
        whole = max(self._read + lost, self._length or 0)
        return f"{name} is damaged: {self._read} of its {whole} frames could be read, {were_lost}{where}"

    @staticmethod
    def _slack(frames: float) -> float:
        return max(_SLACK_FRAMES, _SLACK_SHARE * frames)
