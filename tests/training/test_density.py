"""Shares of sources and a density over pose: what is drawn is what the recipe says."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headpose.errors import RecipeError
from headpose.recipes.data import DataRecipe, DensityRecipe, SourceRecipe
from headpose.training import density
from headpose.training.sampling import Stream
from headpose.types import Box, EulerAngles, Sample


def faces(yaws, pitches=None):
    pitches = np.zeros(len(yaws)) if pitches is None else pitches
    return [
        Sample(Path("a.jpg"), Box(0, 0, 1, 1), EulerAngles(yaw, pitch, 0.0))
        for yaw, pitch in zip(yaws, pitches, strict=True)
    ]


def recipe(shares=(0.0,), repeats=None, max_repeats=0.0):
    repeats = repeats or [1.0] * len(shares)
    sources = tuple(
        SourceRecipe("manifest", f"{number}.csv", share=share, repeat=repeat)
        for number, (share, repeat) in enumerate(zip(shares, repeats, strict=True))
    )
    return DataRecipe(sources, DensityRecipe(max_repeats))


def mostly_frontal(rng, count):
    """Poses as photographs have them: many near 0, few profiles."""
    return faces(rng.normal(0, 25, count).clip(-89, 89), rng.normal(0, 12, count).clip(-80, 80))


def drawn(repeats, epochs=1, seed=0):
    """(N,) how often a stream really draws each sample."""
    length = int(repeats.sum())
    draws = [index for batch in Stream(repeats, length, seed, 0, epochs) for index, _, _ in batch]
    return np.bincount(draws, minlength=len(repeats))


def test_without_shares_and_density_nothing_changes():
    repeats = density.repeats(recipe((0, 0), (1.0, 2.5)), faces([0, 10, 80]), np.array([0, 0, 1]))
    assert repeats.tolist() == [1.0, 1.0, 2.5]


def test_a_share_is_that_of_the_draws_and_the_rest_goes_by_size_and_repeat():
    sources = np.repeat([0, 1, 2], [900, 80, 20])
    samples = mostly_frontal(np.random.default_rng(0), 1000)
    repeats = density.repeats(recipe((0, 0.3, 0), (1.0, 1.0, 5.0)), samples, sources)
    assert repeats.sum() == pytest.approx(1080)
    of_source = np.bincount(sources, repeats) / 1080
    np.testing.assert_allclose(of_source, [0.7 * 0.9, 0.3, 0.7 * 0.1], rtol=1e-5)
    assert len({*repeats.tolist()}) == 3  # every face of a source alike
    really = np.bincount(sources, drawn(repeats, epochs=40))
    np.testing.assert_allclose(really / really.sum(), of_source, atol=0.004)


def test_shares_of_all_sources_are_divided_by_their_sum():
    sources = np.repeat([0, 1], [10, 30])
    repeats = density.repeats(recipe((3, 1)), faces(np.zeros(40)), sources)
    np.testing.assert_allclose(np.bincount(sources, repeats) / 40, [0.75, 0.25], atol=1e-6)


def test_bins_are_filled_to_one_level_as_far_as_the_limit_lets_them():
    """1,000 draws of 900 faces at yaw 5, 90 at 20, 10 at 80 and none between."""
    yaws = np.repeat([5.0, 20.0, 80.0], [900, 90, 10])
    repeats = density.repeats(recipe(max_repeats=2.0), faces(yaws), np.zeros(1000, int))
    np.testing.assert_allclose([repeats[yaws == yaw].sum() for yaw in (5, 20, 80)], [800, 180, 20], atol=1e-3)
    repeats = density.repeats(recipe(max_repeats=10.0), faces(yaws), np.zeros(1000, int))
    np.testing.assert_allclose([repeats[yaws == yaw].sum() for yaw in (5, 20, 80)], [450, 450, 100], atol=1e-3)
    assert drawn(repeats).max() == 10


def test_a_density_keeps_the_ratio_of_repeats_within_a_bin():
    """Two sources without a share at the same poses, one of them with three repeats."""
    yaws, sources = np.tile([5.0, 5.0, 5.0, 40.0], 2), np.repeat([0, 1], 4)
    repeats = density.repeats(recipe((0, 0), (1.0, 3.0), max_repeats=9.0), faces(yaws), sources)
    np.testing.assert_allclose(repeats, [2 / 3, 2 / 3, 2 / 3, 2, 2, 2, 2, 6], atol=1e-5)


def test_bins_tell_sides_and_pitch_apart():
    bins = density.pose_bins(faces([5, 14.9, 15.1, -5, 5, 5], [5, 5, 5, 5, 16, -5]), 15.0)
    assert len({*bins[[0, 2, 3, 4, 5]].tolist()}) == 5
    assert bins[1] == bins[0]
    assert len({*density.pose_bins(faces([5, 15.1, 29]), 30.0).tolist()}) == 1


def test_a_bin_is_of_the_rotation_whatever_its_label_says():
    """Two triples of angles give the same rotation, and whole turns change nothing."""
    same = [
        dataclasses.replace(faces([0])[0], euler=EulerAngles(*e))
        for e in ((80, -10, -10), (100, 170, 170), (440, 350, -10))
    ]
    assert len({*density.pose_bins(same, 15.0).tolist()}) == 1
    np.testing.assert_allclose(density.angles(same), [[80, -10, -10]] * 3, atol=1e-9)


def test_a_source_with_a_share_fills_what_the_others_leave_empty():
    rng = np.random.default_rng(1)
    photographs, far = mostly_frontal(rng, 2000), faces(rng.uniform(-90, 90, 400))
    sources = np.repeat([0, 1], [2000, 400])
    repeats = density.repeats(recipe((0, 0.2), max_repeats=4.0), photographs + far, sources)
    assert np.bincount(sources, repeats)[1] == pytest.approx(0.2 * 2400, rel=1e-5)
    yaw = np.abs(density.angles(photographs + far)[:, 0])
    assert repeats[(sources == 1) & (yaw > 60)].mean() > 2 * repeats[(sources == 1) & (yaw < 30)].mean()


@st.composite
def mixes(draw):
    """A recipe with a density, its faces and their sources."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 4))
    sizes = [draw(st.integers(5, 400)) for _ in range(count)]
    kinds = [draw(st.sampled_from(["frontal", "even", "profile"])) for _ in range(count)]
    shares = [draw(st.sampled_from([0.0, 0.0, 0.1, 0.25])) for _ in range(count)]
    repeats = [1.0 if share else draw(st.sampled_from([1.0, 0.5, 3.0])) for share in shares]
    samples = []
    for size, kind in zip(sizes, kinds, strict=True):
        if kind == "even":
            samples += faces(rng.uniform(-100, 100, size), rng.uniform(-60, 60, size))
        else:
            samples += faces(rng.normal(65 * (kind == "profile"), 20, size), rng.normal(0, 12, size))
    return recipe(shares, repeats, draw(st.sampled_from([1.5, 3.0, 8.0]))), samples, np.repeat(range(count), sizes)


@settings(max_examples=40)
@given(mixes())
def test_shares_and_the_limit_hold_and_no_draw_could_move_to_an_emptier_bin(mix):
    wanted, samples, sources = mix
    own = np.array([source.repeat for source in wanted.sources])[sources]
    limit = wanted.density.max_repeats
    try:
        repeats = density.repeats(wanted, samples, sources)
    except RecipeError as error:
        assert "max_repeats" in str(error)
        assume(False)
    assert repeats.max() <= limit
    assert repeats.sum() == pytest.approx(own.sum(), rel=1e-4)
    shares = np.array([source.share for source in wanted.sources])
    for number in np.flatnonzero(shares):
        share = shares[number] if not shares.all() else shares[number] / shares.sum()
        assert repeats[sources == number].sum() == pytest.approx(share * own.sum(), rel=1e-4)

    # The optimum: within a pool, a face that is drawn lies in no fuller bin than one that could be drawn more often.
    bins = density.pose_bins(samples, 15.0)
    filled = np.bincount(bins, repeats)[bins]
    pools = np.where(shares > 0, range(len(shares)), -1)[sources]
    for pool in {*pools.tolist()}:
        movable = filled[(pools == pool) & (repeats > 0.05)]
        open_to = filled[(pools == pool) & (repeats < limit - 0.05)]
        if len(movable) and len(open_to):
            assert movable.max() <= 1.03 * open_to.min() + 0.1


@settings(max_examples=40)
@given(mixes(), st.integers(0, 1000))
def test_a_stream_draws_what_is_expected(mix, seed):
    wanted, samples, sources = mix
    try:
        repeats = density.repeats(wanted, samples, sources)
    except RecipeError:
        assume(False)
    counts = drawn(repeats, seed=seed)
    stretch = int(repeats.sum()) / repeats.sum()
    assert (counts <= np.ceil(repeats * stretch + 1e-9)).all()
    assert (counts >= np.floor(repeats * stretch - 1e-9)).all()


@pytest.mark.parametrize(
    ("shares", "max_repeats", "says"),
    [
        ((0, 0.5), 4.0, "1.csv: 10 faces need 50 draws each in an epoch"),
        ((0.1, 0.5, 0.4), 0.0, "2.csv: there are no faces to train on"),
        ((0.2, 0.3, 0), 0.0, "the sources without a share: there are no faces to train on"),
    ],
)
def test_a_share_that_cannot_be_reached_is_an_error(shares, max_repeats, says):
    with pytest.raises(RecipeError, match=says) as caught:
        density.repeats(recipe(shares, max_repeats=max_repeats), faces(np.zeros(1000)), np.repeat([0, 1], [990, 10]))
    assert len(str(caught.value).splitlines()) == 1
