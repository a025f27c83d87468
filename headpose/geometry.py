"""Head rotations and Euler angles. This module defines the sign convention of the package.

The axes of camera and head are: x to the right in the image, y up, z towards the camera. A rotation ``R`` maps head
coordinates to camera coordinates, ``v_camera = R @ v_head``; the identity is a face that looks straight into the
camera. The Euler angles are those of 300W-LP and
AFLW2000-3D (Zhu et al., "Face Alignment Across Large Poses", CVPR 2016), whose ``Pose_Para`` is

    R = Rx(pitch) @ Ry(yaw) @ Rz(roll)

with transposed elementary matrices, so that

* yaw > 0 turns the nose to the LEFT of the image,
* pitch > 0 turns it up,
* roll > 0 tilts the head clockwise on the screen.

Angles are in degrees in the order yaw, pitch, roll. All functions accept arrays with any leading dimensions and compute
in float64.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headpose.errors import InputError

Array = NDArray[np.float64]
Branch = Literal["smallest", "asin"]

_MIRROR = np.diag([-1.0, 1.0, 1.0])
# x right, y down, z away from the camera: the camera axes of OpenCV and the optical frame of ROS.
_OPTICAL = np.diag([1.0, -1.0, -1.0])
# Body axes of ROS REP 103 (x forward, y left, z up) in head axes, one per column. The face looks along +z, and its left
# is the right in the image.
_REP103_BODY = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
_COS_LOCKED = 1e-7


def wrap_degrees(angles: ArrayLike) -> Array:
    """Wrap angles in degrees to [-180, 180)."""
    return (np.asarray(angles, np.float64) + 180.0) % 360.0 - 180.0


def rotation_from_euler(euler: ArrayLike) -> Array:
    """Convert Euler angles to rotation matrices.

    Args:
        euler: (..., 3) yaw, pitch, roll in degrees.

    Returns:
        (..., 3, 3) rotations from head axes to camera axes.

    Raises:
        InputError: ``euler`` is not a numeric array of this shape.
    """
    yaw, pitch, roll = np.moveaxis(np.deg2rad(_checked(euler, 3)), -1, 0)
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    rows = [
        [cy * cr, cy * sr, -sy],
        [sp * sy * cr - cp * sr, sp * sy * sr + cp * cr, sp * cy],
        [cp * sy * cr + sp * sr, cp * sy * sr - sp * cr, cp * cy],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def euler_from_rotation(rotation: ArrayLike, branch: Branch = "smallest") -> Array:
    """Convert rotation matrices to Euler angles.

    Every rotation has two triples of angles: (yaw, pitch, roll) and (180 - yaw, pitch + 180, roll + 180).

    Args:
        rotation: (..., 3, 3) rotations from head axes to camera axes.
        branch: ``"smallest"`` selects the triple with the smaller |pitch| + |roll|, so that a profile at 93 degrees is
            (93, 0, 0); ``"asin"`` selects the triple with |yaw| <= 90, as in published code.

    Returns:
        (..., 3) yaw, pitch, roll in degrees, each in [-180, 180]. At |yaw| = 90, where only a combination of pitch and
        roll is defined, roll is 0.

    Raises:
        InputError: ``rotation`` is not a numeric array of this shape, or ``branch`` is unknown.
    """
    if branch not in get_args(Branch):
        raise InputError(f"branch is one of {', '.join(get_args(Branch))}, got {branch!r}")
    r = _checked(rotation, 3, 3)
    yaw = np.arcsin(np.clip(-r[..., 0, 2], -1.0, 1.0))
    locked = np.hypot(r[..., 0, 0], r[..., 0, 1]) < _COS_LOCKED
    pitch_locked = np.arctan2(np.sign(yaw) * r[..., 1, 0], r[..., 1, 1])
    pitch = np.where(locked, pitch_locked, np.arctan2(r[..., 1, 2], r[..., 2, 2]))
    roll = np.where(locked, 0.0, np.arctan2(r[..., 0, 1], r[..., 0, 0]))
    euler = np.rad2deg(np.stack([yaw, pitch, roll], -1))
    if branch == "asin":
        return euler
    other = wrap_degrees(np.stack([180.0 - euler[..., 0], euler[..., 1] + 180.0, euler[..., 2] + 180.0], -1))
    smaller = np.abs(other[..., 1:]).sum(-1) < np.abs(euler[..., 1:]).sum(-1)
    return np.where((smaller & ~locked)[..., None], other, euler)


def direction_from_rotation(rotation: ArrayLike) -> Array:
    """Convert rotation matrices to the direction of the nose and the tilt about it.

    ``R = Ry(azimuth) @ Rx(elevation) @ Rz(tilt)``: the order of the axes differs from that of the Euler angles, so
    that azimuth and elevation are those of the nose's axis in camera axes. They are smooth through a profile, where
    yaw, pitch and roll are not, and lock where the nose points straight up or down.

    Args:
        rotation: (..., 3, 3) rotations from head axes to camera axes.

    Returns:
        (..., 3) azimuth, elevation, tilt in degrees. The azimuth, in [-180, 180], is positive to the LEFT of the image
        and beyond 90 away from the camera; the elevation, in [-90, 90], is positive upwards; the tilt, in [-180, 180],
        is positive clockwise for a face that looks into the camera. At an elevation of 90 or -90, where only a
        combination of azimuth and tilt is defined, the tilt is 0.

    Raises:
        InputError: ``rotation`` is not a numeric array of this shape.
    """
    r = _checked(rotation, 3, 3)
    elevation = np.arcsin(np.clip(r[..., 1, 2], -1.0, 1.0))
    locked = np.hypot(r[..., 0, 2], r[..., 2, 2]) < _COS_LOCKED
    azimuth = np.where(locked, np.arctan2(r[..., 2, 0], r[..., 0, 0]), np.arctan2(-r[..., 0, 2], r[..., 2, 2]))
    tilt = np.where(locked, 0.0, np.arctan2(-r[..., 1, 0], r[..., 1, 1]))
    return np.rad2deg(np.stack([azimuth, elevation, tilt], -1))


def rotation_from_direction(direction: ArrayLike) -> Array:
    """Convert (..., 3) azimuth, elevation, tilt in degrees to rotations, the inverse of ``direction_from_rotation``."""
    azimuth, elevation, tilt = np.moveaxis(_checked(direction, 3), -1, 0)
    zero = np.zeros_like(azimuth)
    about_up = rotation_from_euler(np.stack([azimuth, zero, zero], -1))
    return about_up @ rotation_from_euler(np.stack([zero, elevation, tilt], -1))


def in_plane_angle(rotation: ArrayLike) -> Array:
    """Return the in-plane angle of heads: the clockwise angle on the screen from "up" to the head's up axis.

    In a crop that is turned by this angle the head is upright. It is the roll only of a face that looks into the
    camera.

    Args:
        rotation: (..., 3, 3) rotations from head axes to camera axes.

    Returns:
        (...) degrees in [-180, 180]; 0 where the head's up axis points along the line of sight.
    """
    r = _checked(rotation, 3, 3)
    return np.rad2deg(np.arctan2(r[..., 0, 1], r[..., 1, 1]))


def geodesic_degrees(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the geodesic distance on SO(3): the angle of the rotation between ``a`` and ``b``.

    The formula is 2 asin(|a - b|_F / sqrt(8)), which is precise for small angles, where the usual
    acos((trace - 1) / 2) loses half of its digits.

    Args:
        a: (..., 3, 3) rotations.
        b: (..., 3, 3) rotations.

    Returns:
        (...) angles in degrees in [0, 180].

    Raises:
        InputError: ``a`` or ``b`` is not a numeric array of this shape.
    """
    difference = _checked(a, 3, 3) - _checked(b, 3, 3)
    chord = np.sqrt((difference**2).sum((-2, -1)) / 8.0)
    return np.rad2deg(2.0 * np.arcsin(np.clip(chord, 0.0, 1.0)))


def expected_angle(covariance: ArrayLike) -> Array:
    """Compute the expected angle of a rotation vector that is normally distributed around 0.

    A normal vector d with covariance S has a length of ``r sqrt(u^T S u)``, where r follows the chi distribution with
    three degrees of freedom and u, independent of r, is uniform on the unit sphere. So

        E|d| = sqrt(8 / pi) * (mean over the sphere of sqrt(a x^2 + b y^2 + c z^2)),   a, b, c: eigenvalues of S.

    The mean is Carlson's symmetric elliptic integral R_G(a, b, c). It is computed by quadrature over one octant, to
    which it is symmetric: Gauss-Legendre in z and the midpoint rule about it. For any covariance, also a degenerate
    one, the error is below 0.1 %.

    Args:
        covariance: (..., 3, 3) covariance matrices in radians squared.

    Returns:
        (...) expected angles in degrees, in [0, 180].

    Raises:
        InputError: ``covariance`` is not a numeric array of this shape.
    """
    eigenvalues = np.maximum(np.linalg.eigvalsh(_checked(covariance, 3, 3)), 0.0)
    mean = np.sqrt(eigenvalues @ _OCTANT_SQUARES) @ _OCTANT_WEIGHTS
    return np.minimum(np.rad2deg(np.sqrt(8.0 / np.pi) * mean), 180.0)


def _octant(points: int) -> tuple[Array, Array]:
    """Return (3, P) squares of the coordinates of points on an octant of the sphere, and (P,) weights with sum 1."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    z, about = (nodes + 1) / 2, (np.arange(points) + 0.5) * (np.pi / 2 / points)
    across = 1 - z[:, None] ** 2
    squares = [
        across * np.cos(about) ** 2,
        across * np.sin(about) ** 2,
        np.broadcast_to(z[:, None] ** 2, (points,) * 2),
    ]
    return np.stack([each.ravel() for each in squares]), np.repeat(weights / 2 / points, points)


_OCTANT_SQUARES, _OCTANT_WEIGHTS = _octant(12)


def nearest_rotation(matrix: ArrayLike) -> Array:
    """Project (..., 3, 3) matrices to the nearest rotations in the Frobenius norm (SVD with determinant +1)."""
    u, _, vt = np.linalg.svd(_checked(matrix, 3, 3))
    sign = np.ones(u.shape[:-1])
    sign[..., 2] = np.linalg.det(u @ vt)
    return (u * sign[..., None, :]) @ vt


def rotation_from_vector(vector: ArrayLike) -> Array:
    """Convert rotation vectors to rotation matrices (Rodrigues' formula).

    Args:
        vector: (..., 3) axis times angle in degrees. The turn follows the right-hand rule about the axis.

    Returns:
        (..., 3, 3) rotations.
    """
    turn = np.deg2rad(np.asarray(vector, np.float64))
    angle = np.linalg.norm(turn, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(turn, -1, 0)
    zero = np.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    cross = np.stack([np.stack(row, -1) for row in rows], -2)
    half = np.sinc(angle / (2 * np.pi))
    return np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * half**2 * (cross @ cross)


def vector_from_rotation(rotation: ArrayLike) -> Array:
    """Convert rotation matrices to rotation vectors, the inverse of ``rotation_from_vector``.

    Computed from the unit quaternion with the largest component in the denominator (Shepperd 1978), which keeps its
    precision at turns near 0 and near 180 degrees.

    Args:
        rotation: (..., 3, 3) rotations.

    Returns:
        (..., 3) axis times angle in degrees; the angle is in [0, 180].
    """
    r = np.asarray(rotation, np.float64)
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    x, y, z = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    xy, xz, yz = r[..., 0, 1] + r[..., 1, 0], r[..., 0, 2] + r[..., 2, 0], r[..., 1, 2] + r[..., 2, 1]
    rows = [
        [1 + xx + yy + zz, x, y, z],
        [x, 1 + xx - yy - zz, xy, xz],
        [y, xy, 1 - xx + yy - zz, yz],
        [z, xz, yz, 1 - xx - yy + zz],
    ]
    quaternions = np.stack([np.stack(row, -1) for row in rows], -2)
    largest = np.diagonal(quaternions, axis1=-2, axis2=-1).argmax(-1)
    chosen = np.take_along_axis(quaternions, largest[..., None, None], -2)[..., 0, :]
    chosen = chosen / np.linalg.norm(chosen, axis=-1, keepdims=True)
    chosen = np.where(chosen[..., :1] < 0, -chosen, chosen)
    sine = np.linalg.norm(chosen[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, chosen[..., :1])
    return np.rad2deg(chosen[..., 1:] * np.where(sine > 0, angle / np.where(sine > 0, sine, 1.0), 2.0))


def mirror(rotation: ArrayLike) -> Array:
    """Return the (..., 3, 3) rotations in the horizontally mirrored image: yaw and roll change their signs."""
    return _MIRROR @ _checked(rotation, 3, 3) @ _MIRROR


def turn_picture(rotation: ArrayLike, clockwise_degrees: ArrayLike) -> Array:
    """Return the (..., 3, 3) rotations after a clockwise rotation of the image by an angle in degrees."""
    angle = np.asarray(clockwise_degrees, np.float64)
    turn = rotation_from_euler(np.stack([np.zeros_like(angle), np.zeros_like(angle), angle], -1))
    return turn @ _checked(rotation, 3, 3)


def to_opencv(rotation: ArrayLike) -> Array:
    """Convert (..., 3, 3) rotations to the camera axes of OpenCV (x right, y down, z away), for both camera and head.

    The identity is unchanged. ``cv2.Rodrigues`` of the result is the rvec of ``solvePnP`` for a model in these axes.
    """
    return _OPTICAL @ _checked(rotation, 3, 3) @ _OPTICAL


def from_opencv(rotation: ArrayLike) -> Array:
    """Invert ``to_opencv``."""
    return to_opencv(rotation)


def to_mediapipe(rotation: ArrayLike) -> Array:
    """Convert rotations to the upper-left 3x3 part of MediaPipe's facial transformation matrix.

    MediaPipe's metric space (x right, y up, z towards the viewer) and its canonical face have the axes of this module.
    """
    return _checked(rotation, 3, 3).copy()


def from_mediapipe(rotation: ArrayLike) -> Array:
    """Invert ``to_mediapipe``."""
    return _checked(rotation, 3, 3).copy()


def to_ros(rotation: ArrayLike) -> Array:
    """Convert rotations to those of a REP 103 head (x out of the nose, y to its left, z up) in an optical frame.

    The axes of the optical frame of REP 103 are x right, y down, z away from the camera.
    """
    return _OPTICAL @ _checked(rotation, 3, 3) @ _REP103_BODY


def from_ros(rotation: ArrayLike) -> Array:
    """Invert ``to_ros``."""
    return _OPTICAL @ _checked(rotation, 3, 3) @ _REP103_BODY.T


def _checked(values: ArrayLike, *shape: int) -> Array:
    """Convert values to float64, and check the last dimensions of their shape."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"an array of numbers is needed: {error}") from error
    if array.shape[-len(shape) :] != shape:
        raise InputError(f"an array of shape (..., {', '.join(map(str, shape))}) is needed, got {array.shape}")
    return array
