"""The table of the web page."""

import dataclasses
from xml.etree import ElementTree

import numpy as np
import pytest

from headpose.geometry import rotation_from_euler
from headpose.neutral import NeutralPose
from headpose.streams.page import curve_frame, table
from headpose.types import Box, Face, HeadPose

POSE = HeadPose(Face(Box(10, 20, 50, 60), 0.875), rotation_from_euler((30, -10, 5)))
KNOWN = dataclasses.replace(POSE, covariance=0.01 * np.eye(3), readable=0.25, reliable=False)


def cells(html):
    rows = ElementTree.fromstring(f"<div>{html}</div>").iter("tr")
    return [["".join(cell.itertext()) for cell in row] for row in rows]


@pytest.mark.parametrize("poses", [[POSE], [KNOWN], [KNOWN, dataclasses.replace(KNOWN, reliable=True)]])
def test_every_row_has_the_columns_of_the_head(poses):
    head, *rows = cells(table(poses, "note"))
    assert len(rows) == len(poses) and {len(row) for row in rows} == {len(head)}
    assert ("Expected error" in head, "Readable" in head) == (poses[0] is not POSE,) * 2


def test_a_row_says_how_sure_the_network_is():
    head, row = cells(table([KNOWN], "note"))
    values = dict(zip(head, row, strict=True))
    assert (values["Yaw"], values["Expected error"], values["Readable"]) == ("+30.0°", "9.1°", "0.25")
    assert values["In words"].startswith("unreliable: looks")
    assert 'class="unreliable"' in table([KNOWN], "") and "unreliable" not in table([POSE], "")


def test_no_face():
    assert table([], "640 x 480") == '<p class="note">No face found. 640 x 480</p>'


def test_a_caption_says_what_angles_are_relative_to():
    html = table([POSE], "", NeutralPose(rotation_from_euler((1, -12.3, 0.4))))
    (caption,) = ElementTree.fromstring(f"<div>{html}</div>").iter("caption")
    assert caption.text == "Relative to the neutral pose (yaw +1.0°, pitch -12.3°, roll +0.4°)."
    assert "caption" not in table([POSE], "")


def test_the_points_of_curves_have_a_gap_between_two_lines():
    lines = [np.array([[-3.0, 1, 2, 3], [-2.5, 4, 5, 6]]), np.array([[-1.0, 7, 8, 9]])]
    frame = curve_frame(lines)
    yaw = frame[frame["angle"] == "yaw"]
    assert yaw["seconds"].tolist() == [-3.0, -2.5, -1.0, -1.0]
    assert yaw["degrees"].tolist()[:2] == [1, 4] and np.isnan(yaw["degrees"].iloc[2]) and yaw["degrees"].iloc[3] == 7
    assert frame["degrees"].max() == 9 and len(curve_frame([])) == 0


def test_long_curves_are_thinned():
    line = np.column_stack([np.arange(5000.0)] * 4)
    assert 1200 < len(curve_frame([line[:2500], line[2500:]])) <= 1503 + 3
