import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from headpose import geometry
from headpose.errors import InputError
from headpose.evaluation.outputs import Bins, Euler, FaceModel, Matrix, Quaternion

eulers = st.tuples(st.floats(-85, 85), st.floats(-85, 85), st.floats(-170, 170)).map(lambda e: np.array([e]))


@given(eulers)
def test_angles_in_any_order_sign_and_unit(euler):
    yaw, pitch, roll = euler[0]
    given = Euler(("a",), order=("roll", "yaw", "pitch"), signs=(-1.0, 1.0, -1.0))
    np.testing.assert_allclose(given.decode([np.array([[-roll, yaw, -pitch]])]), euler, atol=1e-12)
    three = Euler(("r", "y", "p"), order=("roll", "yaw", "pitch"), unit="radians")
    np.testing.assert_allclose(three.decode([np.deg2rad([value]) for value in (roll, yaw, pitch)]), euler, atol=1e-12)


def test_angles_of_a_network_are_not_wound_back():
    np.testing.assert_array_equal(Euler(("a",)).decode([np.array([[95.0, 200.0, -181.0]])]), [[95, 200, -181]])


@given(eulers)
def test_angles_of_another_composition_are_turned_into_ours(euler):
    # Standard matrices of the negated angles are our transposed ones; scipy's capitals are intrinsic turns.
    yaw, pitch, roll = euler[0]
    rotation = Rotation.from_euler("ZYX", [-roll, -yaw, -pitch], degrees=True).as_matrix()
    decoded = Euler(("a",), composition="zyx").decode([euler])
    assert geometry.geodesic_degrees(geometry.rotation_from_euler(decoded[0]), rotation) < 1e-5


def test_bins_are_read_as_their_expectation():
    scores = np.full((2, 66), -50.0)
    scores[0, 33], scores[1, [40, 41]] = 50, 0
    other = np.zeros((2, 66))
    bins = Bins(("y", "p", "r"), step=3, first=-99, signs=(1.0, 1.0, -1.0))
    np.testing.assert_allclose(bins.decode([scores, other, scores]), [[0, -1.5, 0], [22.5, -1.5, -22.5]], atol=1e-9)


@given(eulers, st.floats(0.1, 10), st.sampled_from(["xyzw", "wxyz"]), st.sampled_from([1, -1]))
def test_quaternions_of_either_order_sign_and_any_length(euler, length, order, sign):
    rotation = geometry.rotation_from_euler(euler[0])
    for frame, theirs in (("headpose", rotation), ("opencv", geometry.to_opencv(rotation))):
        xyzw = Rotation.from_matrix(theirs).as_quat() * length * sign
        given = xyzw if order == "xyzw" else np.roll(xyzw, 1)
        np.testing.assert_allclose(Quaternion(("q",), order, frame).decode([given[None]]), euler, atol=1e-5)


@given(eulers)
def test_matrices_of_every_frame_and_their_transposes(euler):
    rotation = geometry.rotation_from_euler(euler)
    frames = {
        "headpose": rotation,
        "opencv": geometry.to_opencv(rotation),
        "mediapipe": geometry.to_mediapipe(rotation),
        "ros": geometry.to_ros(rotation),
    }
    for frame, theirs in frames.items():
        np.testing.assert_allclose(Matrix(("m",), frame).decode([theirs]), euler, atol=1e-5)
        turned = np.swapaxes(theirs, 1, 2).reshape(1, 9) * 1.001
        np.testing.assert_allclose(Matrix(("m",), frame, transposed=True).decode([turned]), euler, atol=1e-5)


@given(eulers, st.floats(1e-4, 10))
def test_face_models_are_normalized_and_scaled_rotations(euler, scale):
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=12), rng.uniform(0.5, 2, 12)
    affine = np.column_stack([geometry.rotation_from_euler(euler[0]) * scale, [60.0, 70.0, -60.0]])
    parameters = np.concatenate([(affine.ravel() - mean) / std, np.ones(50)])
    decoded = FaceModel(("p",), tuple(mean), tuple(std)).decode([parameters[None]])
    np.testing.assert_allclose(decoded, euler, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Euler(("a", "b")), "one output of three angles or three of one"),
        (lambda: Euler(("a",), order=("yaw", "yaw", "roll")), "yaw, pitch and roll once each"),
        (lambda: Euler(("a",), signs=(1.0, 2.0, 1.0)), "three of 1 and -1"),
        (lambda: Euler(("a",), unit="turns"), "unit must be one of degrees, radians"),
        (lambda: Euler(("a",), composition="xyx"), "x, y and z once each"),
        (lambda: Bins(("a",), 3, -99), "three outputs"),
        (lambda: Bins(("a", "b", "c"), 0, -99), "step must be above 0"),
        (lambda: Quaternion(("a",), "zyxw"), "xyzw or wxyz"),
        (lambda: Quaternion(("a",), frame="blender"), "frame must be one of"),
        (lambda: Matrix(("a", "b")), "one output"),
        (lambda: FaceModel(("a",), (0.0,) * 3, (1.0,) * 12), "12 numbers each, got 3 and 12"),
    ],
)
def test_forms_that_cannot_be(make, says):
    with pytest.raises(InputError, match=says):
        make()


@pytest.mark.parametrize(
    "form", [Euler(("a",)), Quaternion(("a",)), Matrix(("a",)), FaceModel(("a",), (0,) * 12, (1,) * 12)]
)
def test_outputs_of_another_size_are_errors(form):
    with pytest.raises(InputError, match="values a face are needed, it has 2"):
        form.decode([np.ones((4, 2))])


def test_a_quaternion_of_no_length_is_an_error():
    with pytest.raises(InputError, match="length 0"):
        Quaternion(("q",)).decode([np.zeros((1, 4))])
