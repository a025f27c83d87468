"""From a detector's box to the tight box and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headpose.detection import DETECTORS
from headpose.detection.offsets import BY_DETECTOR, TightOffsets


def test_offsets_are_fractions_of_the_detectors_box():
    box = TightOffsets(0.1, 0.2, -0.1, 0.05).apply(100, 200, 200, 400)
    assert box.as_tuple() == pytest.approx((110, 240, 190, 410))


@pytest.mark.parametrize("name", DETECTORS)
@given(x=st.floats(-50, 4000), y=st.floats(-50, 4000), width=st.floats(1, 3000), height=st.floats(1, 3000))
def test_there_and_back(name, x, y, width, height):
    offsets = BY_DETECTOR[name]
    tight = offsets.apply(x, y, x + width, y + height)
    assert offsets.detector_box(tight).as_tuple() == pytest.approx((x, y, x + width, y + height), abs=1e-6)
