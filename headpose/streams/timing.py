"""Frame rates and frame times of videos whose metadata is missing or wrong."""

from __future__ import annotations

import math

import cv2

USUAL_FPS = 30.0  # assumed for cameras and files that report no frame rate
_HIGHEST_FPS = 240.0  # higher rates are accepted only if the frame times agree
_PROBED_FRAMES = 100
_LONGEST_S = 1e7  # larger times are an overflow of FFmpeg's "no timestamp" value
# Many containers derive the frame count from the duration, and the last frame may fail to decode.
_SLACK_FRAMES, _SLACK_SHARE = 2, 0.02


def is_usual(fps: float) -> bool:
    """Return whether a reported frame rate is plausible: finite, above 0 and at most 240 frames per second."""
    return math.isfinite(fps) and 0 < fps <= _HIGHEST_FPS


def measured_fps(capture: cv2.VideoCapture, claimed: float) -> float:
    """Measure the frame rate of a video from the times of its first 100 frames.

    Args:
        capture: Open video. The frames are consumed.
        claimed: Frame rate that the file reports, in frames per second.

    Returns:
        ``claimed`` if it is within 10 % of the measured rate, otherwise the measured rate; ``USUAL_FPS`` if the frames
        have no times.
    """
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
    """Frame times in seconds since the first frame, guaranteed to increase."""

    def __init__(self, fps: float) -> None:
        """Start the clock.

        Args:
            fps: Frame rate that spaces frames without a timestamp, in frames per second; 0 repeats the last time.
        """
        self._step = 1 / fps if fps else 0.0
        self._first: float | None = None
        self._last = 0.0

    def time_s(self, reported_s: float, lost: int = 0) -> float:
        """Return the time of the next frame in seconds.

        Args:
            reported_s: Timestamp from the file in seconds. Files without timestamps report 0 or an overflow.
            lost: Number of frames that could not be read before this one.
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
    """Detect missing frames of a video from failed reads and from frame times."""

    def __init__(self, fps: float, length: int | None, duration_s: float) -> None:
        """Start with no frames read.

        Args:
            fps: Frame rate in frames per second.
            length: Number of frames that the file announces; None if unknown.
            duration_s: Duration that the file announces in seconds; 0 if unknown or if the file is complete.
        """
        self._fps, self._length, self._duration_s = fps, length, duration_s
        self._read = self._failed = self._regular = 0
        self._last_s = 0.0
        self._gaps: list[tuple[float, int]] = []  # (time in seconds, number of missing frames)

    def add(self, time_s: float, failed: int) -> None:
        """Count a frame.

        Args:
            time_s: Time of the frame in seconds.
            failed: Number of failed reads before the frame.
        """
        step = (time_s - self._last_s) * self._fps  # 1 at a constant rate
        if self._read:
            self._regular += abs(step - 1) < 0.25
            if failed or step > 2.5:
                self._gaps.append((self._last_s, failed or round(step) - 1))
        self._read, self._failed, self._last_s = self._read + 1, self._failed + failed, time_s

    def line(self, name: str, start_s: float = 0.0) -> str:
        """Return one line that says what is missing from the video; "" if it is complete.

        Args:
            name: Name of the video in the message.
            start_s: Timestamp of the first frame in seconds. Some files include it in their duration.
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
        # The video reaches its end with too few frames. Few gaps at an otherwise constant rate mean damage; many mean
        # a variable frame rate, for which the announced length is duration times maximum rate.
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
