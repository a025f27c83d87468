import numpy as np
import pytest

from headpose import geometry
from headpose.evaluation import accuracy, audit, paired
from headpose.metrics import DIFFERENCES
from tests.evaluation.test_accuracy import labeled

LABELS = [(0, 0, 0), (20, 5, 0), (-40, 0, 10), (95, 0, 0), (0, -120, 0), (10, 0, 725)]
SAMPLES = labeled(LABELS)


def off_by(*errors):
    return np.array(LABELS, float) + np.array(errors, float)


def test_every_protocol_is_there_once():
    result = audit.audit(off_by(1, 2, 3), SAMPLES)
    keys = [(row.list_name, row.reading, row.difference) for row in result.rows]
    assert len(keys) == len(set(keys)) == 3 * 3 * 3
    assert {row.list_name: row.n for row in result.rows} == {"99": 4, "90": 3, "all": 6}
    assert all(row.low <= row.mae <= row.high for row in result.rows)


def test_predictions_as_they_were_given_have_the_errors_that_were_put_in():
    row = audit.audit(off_by(1, -2, 6), SAMPLES).row("all")
    assert (row.yaw, row.pitch, row.roll, row.mae) == pytest.approx((1, 2, 6, 3))


def test_the_reading_of_a_profile_decides_its_error():
    # (95, 0, 0) read as (94, 0, 0): one degree, but by the asin branch the angles are (86, 180, 180).
    result = audit.audit(np.array(LABELS) - np.array([[0, 0, 0]] * 3 + [[1, 0, 0]] + [[0, 0, 0]] * 2), SAMPLES)
    assert result.row("99", "given").mae == pytest.approx(1 / 12)
    assert result.row("99", "smallest").mae == pytest.approx(1 / 12)
    asin = result.row("99", "asin")
    assert (asin.yaw, asin.pitch, asin.roll) == pytest.approx((9 / 4, 45, 45))
    assert result.row("99", "asin", "folded").mae == pytest.approx((9 / 4) / 3, abs=1e-6)
    assert result.geodesic["99"].mean == pytest.approx(1 / 4)


def test_the_difference_decides_the_error_of_a_backward_face():
    result = audit.audit(off_by(160, 0, 0), SAMPLES)
    yaw = {name: result.row("99", "given", name).yaw for name in DIFFERENCES}
    assert yaw == pytest.approx({"wrapped": 160, "plain": 160, "folded": 20})
    wound = audit.audit(geometry.wrap_degrees(LABELS), SAMPLES)
    assert wound.row("all", "given", "wrapped").roll == pytest.approx(0)
    assert wound.row("all", "given", "plain").roll == pytest.approx(720 / 6)


def test_parts_are_by_the_size_of_each_angle():
    result = audit.audit(off_by(1, 2, 3), SAMPLES)
    parts = {(part.axis, part.range): part for part in result.parts}
    assert {key: part.n for key, part in parts.items()} == {
        ("yaw", "0-30"): 2, ("yaw", "30-60"): 1, ("yaw", "60-99"): 1, ("pitch", "0-30"): 4, ("roll", "0-30"): 4,
    }  # fmt: skip
    assert parts["pitch", "0-30"].own == pytest.approx(2)
    assert parts["yaw", "60-99"].mae == pytest.approx(2)


def test_the_tables_say_what_was_computed():
    result = audit.audit(off_by(1, 2, 3), SAMPLES)
    text = audit.markdown(result)
    row = result.row("90", "smallest", "folded")
    assert f"{row.mae:.2f} ({row.low:.2f} to {row.high:.2f}) |" in text
    assert text.count("| pictures: ") == 2 and "| reading: asin |" in text and "difference: folded" in text
    for line in text.splitlines():
        assert not line.startswith("|") or line.endswith("|")


def test_a_list_without_faces_has_no_rows():
    result = audit.audit(np.zeros((1, 3)), labeled([(0, 0, 170)]))
    assert set(result.geodesic) == {"all"} and result.parts == []
    assert "none: list all" in audit.markdown(result)


def test_two_networks_on_the_same_faces():
    rng = np.random.default_rng(0)
    samples = labeled(rng.uniform(-60, 60, (200, 3)))
    labels = np.array([sample.euler for sample in samples])
    noise = rng.normal(0, 3, labels.shape)
    worse = paired.compare(labels + noise * 1.05, labels + noise, samples)
    for name in accuracy.MEASURES[:4]:
        d = worse[name]
        assert d.mean == pytest.approx(0.05 * d.second) and d.first - d.second == pytest.approx(d.mean)
        # Paired: a twentieth more on every face is certain, though the errors themselves vary by far more.
        assert 0 < d.low < d.mean < d.high and d.p < 0.001 and d.better == 0
    swapped = paired.compare(labels + noise, labels + noise * 1.05, samples)
    assert swapped["mae"].mean == pytest.approx(-worse["mae"].mean) and swapped["mae"].better == 1
    other = paired.compare(labels + noise, labels + rng.normal(0, 3, labels.shape), samples)
    assert other["mae"].low < 0 < other["mae"].high and other["mae"].p > 0.05
    same = paired.compare(labels + noise, labels + noise, samples)["geodesic"]
    assert (same.mean, same.low, same.high, same.p, same.better) == (0, 0, 0, 1, 0)


def test_a_comparison_is_written_with_its_names():
    angles = np.array(LABELS, float)
    text = paired.table(paired.compare(angles + 1, angles, SAMPLES), "ours", "theirs.csv")
    assert "A: ours. B: theirs.csv." in text
    assert "| mae | 1.00 | 0.00 | +1.00 | +1.00 to +1.00 | < 0.001 | 0% |" in text
