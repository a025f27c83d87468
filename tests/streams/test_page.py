"""The table of the web page."""

import dataclasses
from xml.etree import ElementTree

import numpy as np
import pytest

from headpose.geometry import rotation_from_euler
from headpose.streams.page import table
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
