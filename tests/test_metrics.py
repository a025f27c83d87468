import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headpose import metrics
from headpose.errors import InputError

angles = st.floats(-1000, 1000)


@given(angles, st.floats(-179.9, 179.9), st.integers(-3, 3))
def test_an_error_is_the_short_way_round_however_often_an_angle_winds(true, error, turns):
    measured = metrics.euler_errors([true + error + 360 * turns, 0, 0], [true, 0, 0])
    np.testing.assert_allclose(measured, [error, 0, 0], atol=1e-9)


@pytest.mark.parametrize(
    ("predicted", "true", "error"), [(179, -179, 2), (359, 0, 1), (160, 0, 160), (0, 180, 180), (-95, 95, 170)]
)
def test_a_half_turn_is_not_folded_away(predicted, true, error):
    np.testing.assert_allclose(metrics.euler_mae([[predicted] * 3], [[true] * 3]), [error] * 3)


def test_euler_mae_is_per_axis_in_the_order_given():
    predicted, true = [[10, 20, 30], [0, 0, 0]], [[11, 18, 33], [-1, 2, -3]]
    np.testing.assert_allclose(metrics.euler_mae(predicted, true), [1, 2, 3])
    np.testing.assert_allclose(metrics.euler_mae(predicted, true, weights=[3, 1]), [1, 2, 3])
    np.testing.assert_allclose(metrics.euler_mae([[4, 0, 0], [0, 8, 0]], np.zeros((2, 3)), weights=[3, 1]), [3, 2, 0])


@pytest.mark.parametrize(
    ("predicted", "true", "wrapped", "plain", "folded"),
    [(10, 7, 3, 3, 3), (179, -179, 2, 358, 2), (160, 0, 160, 160, 20), (0, 730, 10, 730, 370), (-95, 95, 170, 190, 10)],
)
def test_differences_are_those_of_published_code(predicted, true, wrapped, plain, folded):
    errors = {name: metrics.angle_errors([[predicted] * 3], [[true] * 3], name) for name in metrics.DIFFERENCES}
    for name, expected in (("wrapped", wrapped), ("plain", plain), ("folded", folded)):
        np.testing.assert_allclose(errors[name], [[expected] * 3])


@given(st.floats(-180, 180), st.floats(-180, 180))
def test_folding_never_finds_more_than_wrapping_nor_wrapping_more_than_the_plain_difference(predicted, true):
    folded, wrapped, plain = (metrics.angle_errors(predicted, true, name) for name in ("folded", "wrapped", "plain"))
    assert folded <= wrapped + 1e-9 and wrapped <= plain + 1e-9 and folded <= 90 + 1e-9


def test_a_weight_counts_like_as_many_copies():
    values = np.random.default_rng(0).normal(size=(5, 3))
    copies = np.repeat(values, [1, 0, 2, 3, 1], axis=0)
    np.testing.assert_allclose(metrics.weighted_mean(values, [1, 0, 2, 3, 1]), copies.mean(0))
    np.testing.assert_allclose(metrics.weighted_mean(values, [0.5, 0, 1, 1.5, 0.5]), copies.mean(0))


@pytest.mark.parametrize(
    ("values", "weights"), [([], None), ([1.0], [0.0]), ([1.0, 2.0], [1.0, -0.5]), ([1.0, 2.0], [1.0])]
)
def test_a_mean_of_nothing_is_an_error(values, weights):
    with pytest.raises(InputError, match=r"weight"):
        metrics.weighted_mean(values, weights)


def test_bins_hold_their_lower_edge_and_the_last_one_its_upper_too():
    yaw = np.array([0, -29.999, 30, -30, 59.999, -60, 99, -99, 99.1, 893])
    bins = metrics.yaw_bins(yaw)
    assert {name: yaw[mask].tolist() for name, mask in bins.items()} == {
        "0-30": [0, -29.999],
        "30-60": [30, -30, 59.999],
        "60-99": [-60, 99, -99],
    }


def test_the_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(3).exponential(5.0, 2000)
    low, high = metrics.bootstrap_interval(values)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.02)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(len(values)), rel=0.05)


def test_intervals_cover_the_true_mean_as_often_as_they_say():
    rng = np.random.default_rng(4)
    intervals = [metrics.bootstrap_interval(rng.normal(1.0, 2.0, 100), level=0.8, resamples=300) for _ in range(200)]
    covered = np.mean([low <= 1.0 <= high for low, high in intervals])
    assert covered == pytest.approx(0.8, abs=0.09)


def test_intervals_repeat_by_seed_and_columns_share_their_draws():
    values = np.random.default_rng(5).normal(size=(300, 2))
    first = metrics.bootstrap_interval(values, seed=1, resamples=500)
    np.testing.assert_array_equal(first, metrics.bootstrap_interval(values, seed=1, resamples=500))
    assert not np.array_equal(first, metrics.bootstrap_interval(values, seed=2, resamples=500))
    # The second network errs by 1 more on every face: a paired interval has no width.
    paired = np.column_stack([values[:, 0], values[:, 0] + 1, np.ones(300)])
    intervals = metrics.bootstrap_interval(paired, seed=1, resamples=500)
    np.testing.assert_allclose(intervals[:, 1] - intervals[:, 0], 1)
    np.testing.assert_allclose(intervals[:, 2], 1)
    np.testing.assert_allclose(intervals[:, 0], first[:, 0], atol=1e-12)


def test_a_wider_level_contains_a_narrower_one():
    values = np.random.default_rng(6).normal(size=500)
    (low, high), (lower, higher) = (metrics.bootstrap_interval(values, level=level) for level in (0.5, 0.99))
    assert lower < low < high < higher
    with pytest.raises(InputError, match="at least one"):
        metrics.bootstrap_interval(np.zeros((0, 3)))


def test_groups_are_drawn_whole_and_weigh_as_many_faces_as_they_have():
    values = np.random.default_rng(7).normal(size=(60, 2))
    own = metrics.bootstrap_interval(values, resamples=300, groups=list(range(60)))
    np.testing.assert_array_equal(own, metrics.bootstrap_interval(values, resamples=300))
    # Ten copies of each face are no news: the interval stays as wide as without them.
    copies = metrics.bootstrap_interval(
        np.repeat(values, 10, 0), resamples=300, groups=np.repeat(range(60), 10).tolist()
    )
    np.testing.assert_allclose(copies, own)
    means = metrics.bootstrap_means([1.0, 1.0, 1.0, 5.0], resamples=200, groups=["a", "a", "a", "b"])
    assert set(np.round(means, 9)) == {1.0, 2.0, 5.0}


def test_a_p_value_is_uniform_where_there_is_no_difference_and_small_where_there_is():
    rng = np.random.default_rng(8)
    p = [metrics.bootstrap_p_value(rng.normal(0, 1, 80), resamples=400) for _ in range(200)]
    assert np.mean(np.array(p) < 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.12)
    sure = metrics.bootstrap_p_value(rng.normal([1.0, -1.0, 0.0], 1, (80, 3)), resamples=400)
    assert sure[0] == sure[1] == pytest.approx(2 / 401)
    assert metrics.bootstrap_p_value(np.zeros(5)) == 1


def test_a_p_value_below_five_percent_is_an_interval_without_zero():
    rng = np.random.default_rng(9)
    for mean in (0.0, 0.1, 0.2, 0.3):
        values = rng.normal(mean, 1, 100)
        low, high = metrics.bootstrap_interval(values, level=0.95)
        assert (metrics.bootstrap_p_value(values) < 0.05) == (low > 0 or high < 0)
