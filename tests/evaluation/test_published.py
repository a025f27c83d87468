import re

import pytest

from headpose.evaluation import published
from headpose.evaluation.published import PAPER_SETS


def test_every_row_says_where_it_is_from():
    found = published.load()
    assert len(found.errors) >= 14 and len(found.corrupted) == 3 and len(found.times) >= 4
    for row in (*found.errors, *found.corrupted, *found.times):
        assert re.search(r"\d{4}", row.cited), row.name
    assert all(re.search(r"\d{4}", source) for source in found.sources)


def test_averages_are_those_of_the_angles_but_for_slips_of_a_few_hundredths():
    for row in published.load().errors:
        if row.yaw is None or row.pitch is None or row.roll is None:
            continue
        assert row.mae == pytest.approx((row.yaw + row.pitch + row.roll) / 3, abs=0.07), row.name
    for row in published.load().corrupted:
        assert list(row.errors) == list(PAPER_SETS)
        for yaw, pitch, roll, mae in row.errors.values():
            assert mae == pytest.approx((yaw + pitch + roll) / 3, abs=0.05)


def test_the_papers_student():
    found = published.load()
    (student,) = (row for row in found.errors if row.name == "paper's student")
    assert (student.megabytes, student.yaw, student.pitch, student.roll, student.mae) == (4.9, 5.89, 5.63, 4.28, 5.25)
    corrupted = found.corrupted_of("paper's student")
    assert corrupted is not None and corrupted.mean_mae == pytest.approx((9.76 + 6.91 + 7.5) / 3)
    assert found.corrupted_of("compact") is None


def test_devices_quotes_the_times_as_they_are(repo):
    text = (repo / "docs" / "devices.md").read_text("utf-8")
    for row in published.load().times:
        if row.cited.endswith("Table 6"):
            cells = " | ".join(f"{value:g}" for value in row.seconds.values())
            assert f"| {row.name} | {cells} |" in text
