import hashlib
import json
import os

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headpose import crop, geometry
from headpose.corruptions import CLEAN, LEVELS, NAMES, PAPER, SELECTION, exact, paper, parse
from headpose.corruptions.draws import NOISE_UNIT, Draws
from headpose.errors import HeadPoseError
from headpose.types import Box, CropSpec
from tests.golden import FOLDER, assert_golden

ALL = [CLEAN, *PAPER, *(each for name in LEVELS for each in parse(name))]
RANDOM = [each for each in ALL if each.is_random]
FACE = Box(14.5, 12.0, 49.25, 52.75)


def scene(height=64, width=64):
    """A picture of integers alone, with edges, ramps and colors."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([(5 * x + y) % 256, (x * y) // 7 % 256, 255 - 3 * y % 256], -1).astype(np.uint8)
    image[height // 4 : height // 2, width // 3 : width // 2] = (20, 200, 240)
    return image


@pytest.fixture(scope="module")
def face():
    """A smooth picture of 450 x 450 with a bright, structured square for a face."""
    image = cv2.resize(scene(), (450, 450), interpolation=cv2.INTER_CUBIC)
    return image, Box(120.0, 110.0, 320.0, 330.0)


def test_draws_are_pinned():
    draws = Draws("defocus", 0, "image00002")
    assert [draws.below(1000) for _ in range(4)] == [674, 984, 689, 78]
    assert draws.noise(4).tolist() == [97, 168, 190, -161]
    assert Draws("defocus", 1, "image00002").below(1 << 40) != Draws("defocus", 0, "image00002").below(1 << 40)


def test_noise_is_nearly_normal():
    values = Draws("noise").noise(100_001)
    assert values.shape == (100_001,)
    assert abs(values.mean()) < 3
    assert values.std() == pytest.approx(NOISE_UNIT, rel=0.01)
    assert (np.abs(values) < NOISE_UNIT).mean() == pytest.approx(0.683, abs=0.01)


def test_pixels_are_pinned():
    """Bit for bit, on every machine and with every version of numpy and OpenCV; jpeg rests on a library."""
    image, box = scene(300, 280), Box(80.5, 72.0, 209.25, 201.75)
    made = {
        each.label: hashlib.sha256(each(image, box, "image00002").image.tobytes()).hexdigest()
        for each in ALL
        if each.name != "jpeg"
    }
    file = FOLDER / "corruptions.json"
    if os.environ.get("HEADPOSE_UPDATE_GOLDEN"):
        file.write_text(json.dumps(made, indent=1) + "\n")
    assert made == json.loads(file.read_text())


def test_the_look_of_a_medium_level_is_the_one_that_was_looked_at():
    chosen = [CLEAN, *PAPER, *(parse(f"{name}-3")[0] for name in LEVELS), CLEAN]
    panels = [each(scene(), FACE, "image00002").image for each in chosen]
    mosaic = np.vstack([np.hstack(panels[i : i + 5]) for i in range(0, len(panels), 5)])
    assert_golden(mosaic, "corruptions", tolerance=0, share=0.05)  # 0.05: the panel of jpeg
    assert len(panels) == 20


@given(
    st.sampled_from(ALL),
    st.integers(1, 40),
    st.integers(1, 40),
    st.tuples(*[st.floats(-30, 60)] * 2, *[st.floats(1, 80)] * 2),
    st.integers(0, 3),
)
def test_any_picture_keeps_its_shape_and_the_original_its_pixels(corruption, height, width, box, seed):
    image = scene(height, width)
    face = Box(box[0], box[1], box[0] + box[2], box[1] + box[3])
    before = image.copy()
    view = corruption(image, face, "a", seed)
    np.testing.assert_array_equal(image, before)
    assert view.image.shape == image.shape
    assert view.image.dtype == np.uint8
    assert corruption.moves or (view.box == face and view.clockwise_degrees == 0)
    np.testing.assert_array_equal(corruption(image, face, "a", seed).image, view.image)


@pytest.mark.parametrize("corruption", ALL, ids=lambda each: each.label)
def test_the_seed_and_the_name_of_a_picture_change_what_is_drawn_and_nothing_else(corruption, face):
    views = [corruption(*face, key, seed) for key, seed in (("a", 0), ("a", 1), ("b", 0), ("c", 2), ("d", 0))]
    looks = {hashlib.sha256(view.image.tobytes() + repr(view.box).encode()).digest() for view in views}
    assert len(looks) == 1 if not corruption.is_random else len(looks) > 1


@pytest.mark.parametrize("name", LEVELS)
def test_a_higher_level_changes_more(name, face):
    image, box = face
    spec = CropSpec(size=64, scale=1.2)

    def change(level):
        view = level(image, box, "a")
        return np.abs(crop.cut(view.image, view.box, spec).astype(int) - crop.cut(image, box, spec)).mean()

    changes = [change(level) for level in parse(name)]
    assert changes[0] > 0
    assert changes == sorted(changes)


@pytest.mark.parametrize("direction", range(0, exact.DIRECTIONS, 6))
def test_motion_blur_is_a_correlation_with_a_line(direction, face):
    kernel = np.zeros((25, 25))
    offsets = exact.line(25, direction)
    for dx, dy in offsets:
        kernel[12 + dy, 12 + dx] = 1 / 25
    assert np.count_nonzero(kernel) == 25
    assert kernel == pytest.approx(kernel[::-1, ::-1])  # no shift of the picture
    blurred = paper.motion_blur(face[0], 25, direction).astype(int)
    expected = cv2.filter2D(face[0], -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    assert np.abs(blurred - expected).max() <= 1


def test_directions_of_a_line():
    assert exact.line(5, 0) == [(-2, 0), (-1, 0), (0, 0), (1, 0), (2, 0)]
    assert exact.line(5, 12) == [(-2, -2), (-1, -1), (0, 0), (1, 1), (2, 2)]
    assert exact.line(5, 24) == [(0, -2), (0, -1), (0, 0), (0, 1), (0, 2)]
    assert exact.line(5, 36) == [(2, -2), (1, -1), (0, 0), (-1, 1), (-2, 2)]
    assert len({tuple(exact.line(25, direction)) for direction in range(exact.DIRECTIONS)}) == exact.DIRECTIONS


@pytest.mark.parametrize("offsets", [exact.disc(37), exact.square(25), exact.disc(10)])
def test_a_kernel_of_runs_is_a_correlation_too(offsets, face):
    reach = max(max(abs(dx), abs(dy)) for dx, dy in offsets)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for dx, dy in offsets:
        kernel[reach + dy, reach + dx] = 1 / len(offsets)
    expected = cv2.filter2D(face[0], -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    assert np.abs(exact.mean_of_shifts(face[0], offsets).astype(int) - expected).max() <= 1


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_shrinking_is_area_interpolation(height, width, data):
    image = scene(height, width)
    size = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    small = exact.shrink(image, *size)
    expected = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    assert small.shape == expected.shape
    assert np.abs(small.astype(int) - expected).max() <= 1


def test_a_resolution_that_the_face_does_not_exceed_changes_nothing(face):
    image, box = face
    small = Box(box.x1, box.y1, box.x1 + 14, box.y1 + 10)
    np.testing.assert_array_equal(parse("low_resolution-5")[0](image, small, "a").image, image)


def test_the_papers_brightness_takes_102_of_255(face):
    (lb,) = parse("LB")
    expected = np.maximum(face[0].astype(int) - 102, 0)
    np.testing.assert_array_equal(lb(*face, "a").image, expected)


def test_the_papers_patches_are_black_squares_of_35_pixels(face):
    white = np.full((450, 450, 3), 255, np.uint8)
    (one,) = parse("OC@1")
    rows, columns = np.nonzero(one(white, face[1], "a").image[..., 0] == 0)
    assert len(rows) == 35 * 35
    assert (np.ptp(rows), np.ptp(columns)) == (34, 34)
    fewer, more = (parse(f"OC@{count}")[0](white, face[1], "a").image for count in (5, 15))
    assert ((fewer == 0) <= (more == 0)).all()
    assert 10 * 35**2 < (more[..., 0] == 0).sum() <= 15 * 35**2
    # Anywhere in the picture, and not only on the face.
    covered = sum((parse("OC@1")[0](white, face[1], str(i)).image[..., 0] == 0).astype(int) for i in range(400))
    assert (covered[40:-40, 40:-40] > 0).mean() > 0.85


@pytest.mark.parametrize("name", ["occlusion", "hand", "glasses"])
def test_what_hides_the_face_lies_on_it(name, face):
    image, box = face
    rows, columns = slice(int(box.y1), int(box.y2)), slice(int(box.x1), int(box.x2))
    for level in parse(name):
        for key in "abcdef":
            changed = (level(image, box, key).image != image).any(-1)
            assert 0.02 < changed[rows, columns].mean() < 0.75


def test_a_turn_goes_the_way_its_label_says(face):
    image, box = face
    white = np.full((450, 450, 3), 255, np.uint8)
    white[110:130, 210:230] = 0  # above the middle of the face
    for key in "abcde":
        view = parse("turn-5")[0](white, box, key)
        assert abs(view.clockwise_degrees) == 60
        column = np.nonzero(view.image[..., 0] < 128)[1].mean()
        assert (column > 220) == (view.clockwise_degrees > 0)
        # The head's own up axis follows the mark: x to the right is positive.
        up = geometry.turn_picture(np.eye(3), view.clockwise_degrees)[:, 1]
        assert np.sign(up[0]) == np.sign(view.clockwise_degrees)
        view = parse("turn-4")[0](image, box, key)
        spec = CropSpec(size=150, scale=0.75)
        expected = crop.cut(image, box, spec, clockwise_degrees=view.clockwise_degrees).astype(int)
        assert np.abs(crop.cut(view.image, view.box, spec) - expected).mean() < 2


@given(st.sampled_from(parse("crop_jitter")), st.text(max_size=4))
def test_a_jittered_box_is_off_by_its_share(level, key):
    box = Box(10, 20, 110, 140)
    view = level(scene(), box, key)
    moved = np.hypot(*(np.array(view.box.center) - box.center))
    assert moved == pytest.approx(120 * level.setting / 1000)
    for now, before in ((view.box.width, 100), (view.box.height, 120)):
        assert abs(now / before - 1) <= level.setting / 1000 + 1e-9


def test_names_levels_and_settings():
    assert parse("defocus-3") == [parse("defocus")[2]]
    assert [each.label for each in parse("defocus")] == [f"defocus-{level}" for level in range(1, 6)]
    assert all(parse(each.label) == [each] for each in ALL)
    assert [parse(text)[0].label for text in ("OC@16", "OC@17", "MB@12")] == ["OC", "OC@17", "MB"]  # as frozen
    assert set(NAMES) == {each.name for each in ALL}
    assert all(len(settings) == 5 for settings in LEVELS.values())


def test_networks_are_not_chosen_by_the_papers_settings():
    assert not set(SELECTION) & set(PAPER)
    assert 102 not in LEVELS["darken"]
    assert {each.level for each in SELECTION} == {3}


@pytest.mark.parametrize(
    "text", ["", "nonesuch", "defocus-6", "defocus-0", "MB-2", "defocus3", "OC@", "OC-face", "grey@x"]
)
def test_an_unknown_name_is_a_clear_error(text):
    with pytest.raises(HeadPoseError, match=r"there is no corruption|has no levels|needs a setting"):
        parse(text)


@pytest.mark.parametrize("share", [333, 500])
def test_a_cut_leaves_a_share_of_the_box_outside(face, share):
    image, box = face
    sides = set()
    for number in range(24):
        view = parse(f"cut@{share}")[0](image, box, f"picture{number}")
        height, width = view.image.shape[:2]
        outside = {
            "left": -view.box.x1 / box.width,
            "top": -view.box.y1 / box.height,
            "right": (view.box.x2 - width) / box.width,
            "bottom": (view.box.y2 - height) / box.height,
        }
        (side,) = [name for name, part in outside.items() if part > 0]
        assert outside[side] == pytest.approx(share / 1000, abs=0.003)  # whole pixels of 200
        sides.add(side)
        # What is left is what was there: the middle of the visible part shows the same pixels.
        x, y = (round(middle) for middle in (max(view.box.x1, 0) + 5, max(view.box.y1, 0) + 5))
        moved_x, moved_y = round(box.x1 - view.box.x1), round(box.y1 - view.box.y1)
        np.testing.assert_array_equal(view.image[y, x], image[y + moved_y, x + moved_x])
        assert (view.box.width, view.box.height) == pytest.approx((box.width, box.height))
    assert sides == {"left", "top", "right", "bottom"}


def test_a_face_that_is_cut_already_stays(face):
    image, _ = face
    outside = Box(-300.0, -300.0, 100.0, 100.0)  # three quarters of each side
    views = [parse("cut@500")[0](image, outside, f"picture{number}") for number in range(24)]
    whole = [view for view in views if view.image.shape == image.shape]
    assert all(view.box == outside for view in whole) and whole  # left and top
    assert all(min(view.image.shape[:2]) >= 1 for view in views)  # right and bottom leave nothing but a line


def test_the_box_of_a_face_that_is_turned_in_plane(face):
    image, box = face  # 200 x 220
    quarter, half, eighth = (parse(f"in_plane@{degrees}")[0](image, box, "picture") for degrees in (90, 180, 45))
    assert (quarter.box.width, quarter.box.height) == pytest.approx((220, 200))
    assert half.box.as_tuple() == pytest.approx(box.as_tuple())
    assert eighth.box.width == pytest.approx(eighth.box.height) == pytest.approx(np.sqrt((200**2 + 220**2) / 2))
    assert quarter.box.center == pytest.approx(box.center)
    signs = {parse("in_plane@90")[0](image, box, f"picture{number}").clockwise_degrees for number in range(12)}
    assert signs == {-90.0, 90.0}
    clockwise = next(
        view
        for number in range(12)
        if (view := parse("in_plane@90")[0](image, box, f"picture{number}")).clockwise_degrees > 0
    )
    top = image[110 + 20, 220]  # inside the box, at its top: it comes to the right, at the same distance
    np.testing.assert_allclose(clockwise.image[220, 220 + 90 - 1].astype(int), top.astype(int), atol=12)
