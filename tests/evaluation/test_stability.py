"""Figures of steadiness, on motions whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from headpose import geometry
from headpose.errors import DataError
from headpose.evaluation import stability
from headpose.evaluation.stability import LEAST_FRAMES, Stability, Track
from headpose.report import document, tables
from headpose.types import Box, Face
from tests.evaluation.plain_sequences import BOX, FPS, plain_sequences


def turns(*angles):
    """(n, 3, 3) rotations of yaw, pitch and roll, each (n,) degrees."""
    return geometry.rotation_from_euler(np.stack(np.broadcast_arrays(*angles), -1))


def times(count):
    return np.arange(count) / FPS


class TestJitter:
    def test_a_smooth_motion_has_no_jitter(self):
        t = np.arange(20.0)
        about_one_axis = turns(40 + 3 * t - 0.2 * t**2, 0.0, 0.0)
        assert stability.jitter(about_one_axis) == pytest.approx(np.zeros(14), abs=1e-9)

    def test_one_frame_that_is_off(self):
        """Of an offset of one degree, 14 of 21 parts remain in its own frame; neighbors see 6, 3 and -2 of 21."""
        yaw = np.zeros(13)
        yaw[6] = 1.0
        measured = stability.jitter(turns(yaw, -20.0, 5.0))
        assert measured == pytest.approx(np.array([2, 3, 6, 14, 6, 3, 2]) / 21, abs=1e-3)

    def test_it_does_not_depend_on_the_axes(self):
        random = np.random.default_rng(0)
        read = turns(*random.normal(0, 1, (3, 40)))
        turned = turns(70.0, 30.0, 40.0) @ read @ turns(20.0, 10.0, -100.0)
        assert stability.jitter(turned) == pytest.approx(stability.jitter(read), abs=1e-9)
        assert np.median(stability.jitter(read)) > 0.5

    def test_too_few_frames(self):
        assert stability.jitter(turns(np.zeros(6), 0.0, 0.0)).shape == (0,)


def test_spread_of_known_rotations():
    yaw = np.tile([-3.0, 3.0], 10)
    assert stability.spread(turns(yaw, 0.0, 0.0)) == pytest.approx(3.0, abs=1e-6)


def test_leak_is_the_yaw_that_moves_and_not_a_turn_of_the_axes():
    pitch = 20 * np.sin(np.linspace(0, 2 * np.pi, 60))
    true = np.column_stack([np.full(60, 25.0), pitch, np.zeros(60)])
    other_axes = turns(4.0, 6.0, -3.0)
    assert stability.leak(turns(25.0, 0.8 * pitch, 0.0) @ other_axes, true) == pytest.approx(0, abs=1e-9)
    assert stability.leak(turns(25 + 0.1 * pitch, 0.8 * pitch, 0.0), true) == pytest.approx(0.1)


@pytest.mark.parametrize("late_ms", [0, 40, 133])
def test_lag_and_gain_of_a_turn_that_is_read_late(late_ms):
    t = times(90)
    true = 35 * np.sin(np.pi * t)
    read = 0.8 * 35 * np.sin(np.pi * (t - late_ms / 1000)) + 4
    measured, gain = stability.lag(turns(read, 3.0, 0.0), t, true)
    assert measured == pytest.approx(late_ms, abs=2)
    assert gain == pytest.approx(0.8, abs=0.005)


def test_smoothing_calms_a_head_and_makes_a_turn_late():
    random = np.random.default_rng(1)
    still = _track(turns(*random.normal(0, 1, (3, 60))))
    assert np.median(stability.jitter(still.smoothed("net"))) < 0.5 * np.median(
        stability.jitter(still.rotations["net"])
    )
    t = times(90)
    turning = _track(turns(35 * np.sin(np.pi * t), 0.0, 0.0))
    late, gain = stability.lag(turning.smoothed("net"), t, 35 * np.sin(np.pi * t))
    assert 3 < late < 100 and 0.9 < gain < 1.05


def _track(rotations):
    return Track(list(times(len(rotations))), [BOX] * len(rotations), {"net": rotations})


def red_reader(image, boxes):
    """Yaw is the mean red less 128, pitch the mean blue less 128, in degrees."""
    x1, y1, x2, y2 = map(int, boxes[0])
    blue, _, red = image[y1:y2, x1:x2].mean((0, 1)) - 128
    return geometry.rotation_from_euler([[red, blue, 0.0]])


def mirrored_reader(image, boxes):
    return geometry.mirror(red_reader(image, boxes))


@pytest.fixture
def read(tmp_path):
    """Every kind of sequence, of pictures that ``red_reader`` reads as the labels say, but for what each adds."""
    sequences = plain_sequences(tmp_path)
    return stability.read_sequences({"red": red_reader, "mirrored": mirrored_reader}, sequences)


def test_the_figures_of_rendered_heads(read):
    red, mirrored = stability.rendered_figures(read)
    figures = red.figures
    assert (red.network, mirrored.network) == ("red", "mirrored")
    # 40 grey levels over 40 x 40 pixels move a mean by one degree; a seventh and more of it is in the fit.
    assert 0.6 < figures["still"] < 1.6
    assert figures["still smoothed"] < 0.5 * figures["still"]
    assert figures["boxes"] == figures["talk"] == figures["talk spread"] == pytest.approx(0, abs=1e-6)
    assert figures["light spread"] == pytest.approx(1.5, abs=1e-3)
    assert figures["leak"] == pytest.approx(0, abs=1e-6)
    assert figures["lag"] == pytest.approx(0, abs=3)
    assert figures["gain"] == pytest.approx(1, abs=0.01)
    assert figures["lag smoothed"] > 3
    assert figures["pitch mouth open"] == pytest.approx(-5, abs=1e-6)
    assert figures["expression"] == pytest.approx(5, abs=1e-6)
    assert figures["shift 0.4 m"] == pytest.approx(3, abs=0.5)
    assert figures["shift 1 m"] == 0
    assert mirrored.figures["gain"] == pytest.approx(-1, abs=0.01)
    assert mirrored.figures["still"] == pytest.approx(figures["still"])  # the same noise for both


def test_a_kind_that_is_missing(read):
    with pytest.raises(DataError, match="no sequence of the kind nod"):
        stability.rendered_figures([each for each in read if each.sequence.kind != "nod"])


class Scripted:
    """A detector with a script: the boxes of each frame."""

    name = "scripted"

    def __init__(self, script):
        self._script = iter(script)

    def detect(self, image):
        return [Face(box, 0.9) for box in next(self._script)]


def test_faces_of_a_video_are_kept_apart_and_gaps_end_them():
    left, right = Box(0, 0, 40, 40), Box(60, 0, 100, 40)
    image = np.zeros((40, 100, 3), np.uint8)
    image[:, :40], image[:, 60:] = 128, 138
    script = [[right, left] if i % 2 else [left, right] for i in range(20)]
    script += [[left]] + [[left, right]] * 10 + [[left]] * 10  # the right face is gone in one frame, and for 10 later
    frames = ((i / FPS, image) for i in range(len(script)))
    tracks = stability.read_clip({"red": red_reader}, frames, Scripted(script))
    assert sorted(len(track.boxes) for track in tracks) == [20, 41]  # 10 frames in a row are too few
    long = max(tracks, key=lambda track: len(track.boxes))
    assert {box.x1 for box in long.boxes} == {0}
    assert geometry.euler_from_rotation(long.rotations["red"]) == pytest.approx(np.zeros((41, 3)), abs=1e-6)
    assert LEAST_FRAMES > 10


def test_the_figures_of_a_video():
    random = np.random.default_rng(2)
    quiet, loud = (_track(turns(*random.normal(0, sigma, (3, 100)))) for sigma in (1.0, 3.0))
    (figures,) = stability.clip_figures("clip", [quiet, loud])
    assert figures.frames == 2 * 94
    each = np.concatenate([stability.jitter(track.rotations["net"]) for track in (quiet, loud)])
    assert (figures.median, figures.p95) == pytest.approx((np.median(each), np.quantile(each, 0.95)))
    assert figures.smoothed < 0.6 * figures.median
    with pytest.raises(DataError, match="clip has no face"):
        stability.clip_figures("clip", [])


def test_the_tables(read):
    figures = stability.rendered_figures(read)
    clips = [
        stability.ClipFigures(clip, network, 100, median, 3 * median, median / 2)
        for network, medians in {"red": (0.1, 0.2, 0.9), "mirrored": (0.4, 0.5, 0.6)}.items()
        for clip, median in zip("abc", medians, strict=True)
    ]
    section = tables.stability(Stability("Protocol.", figures, clips))
    text = "\n\n".join(document.markdown_block(block) for block in section.blocks)
    assert "| red | 0.20 | 0.60 | 0.10 | 0.90 | 0.10 |" in text
    assert "3 videos (a, b, c), 300 frames" in text
    assert "| network | mouth open |" in text and "| red | -5.0 |" in text
    assert "| 1.50 / " in text
    only_clips = tables.stability(Stability("Protocol.", [], clips))
    assert len(only_clips.blocks) == 3
