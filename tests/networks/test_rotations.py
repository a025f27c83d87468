import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headpose import geometry
from headpose.networks import rotations

angles = st.tuples(*[st.floats(-180, 180) for _ in range(3)])


@given(st.tuples(*[st.floats(-180, 180)] * 3))
def test_rotation_vectors_are_geometrys(vector):
    rotation = geometry.rotation_from_vector(vector)
    ours = torch.rad2deg(rotations.rotation_vectors(torch.tensor(rotation[None])))[0].numpy()
    wanted = geometry.vector_from_rotation(rotation)
    if np.linalg.norm(wanted) < 179.9:  # at 180 degrees two vectors stand for one rotation
        np.testing.assert_allclose(ours, wanted, atol=1e-6)
    assert np.linalg.norm(ours) < 180 + 1e-6


@given(angles)
def test_euler_decoding_is_geometrys(euler):
    ours = rotations.rotation_from_euler(torch.deg2rad(torch.tensor([euler], dtype=torch.float64)))
    np.testing.assert_allclose(ours[0].numpy(), geometry.rotation_from_euler(euler), atol=1e-12)


@given(st.lists(st.floats(-3, 3), min_size=6, max_size=6).filter(lambda v: abs(np.cross(v[:3], v[3:])).max() > 1e-2))
def test_six_values_give_a_rotation_that_keeps_its_first_column(values):
    matrix = rotations.rotation_from_6d(torch.tensor([values], dtype=torch.float64))[0].numpy()
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-3)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-3)
    first = np.array(values[:3])
    np.testing.assert_allclose(matrix[:, 0], first / np.linalg.norm(first), atol=1e-3)
