"""Convert poses to a pandas DataFrame; needs the extra ``pandas``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from headpose.errors import HeadPoseError, install_advice
from headpose.types import HeadPose

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    *("face", "x1", "y1", "x2", "y2", "score"),
    *("yaw", "pitch", "roll", "azimuth", "elevation", "tilt", "track"),
    *("uncertainty", "readable", "reliable"),
)
"""Columns of ``to_dataframe``, named as in ``headpose.streams.csv_file``."""


def to_dataframe(poses: Iterable[HeadPose]) -> pandas.DataFrame:
    """Return the poses of one image as a pandas DataFrame with one row per face.

    Args:
        poses: Poses from ``HeadPoseEstimator.estimate``.

    Returns:
        DataFrame with the columns face (1, 2, ...), x1, y1, x2, y2 (pixels), score, yaw, pitch, roll, azimuth,
        elevation, tilt (degrees), track (nullable integer), uncertainty (degrees), readable (both NaN if the network
        has no such output) and reliable (boolean). Without faces it has no rows and the same columns and types.

    Raises:
        HeadPoseError: pandas is not installed.

    Example:
        >>> estimator = HeadPoseEstimator()
        >>> paths = ["photo.jpg", "photo.jpg"]
        >>> tables = [to_dataframe(poses) for poses in estimator.estimate_batch(paths)]
        >>> print(tables[0].filter(("yaw", "pitch", "roll")).round().shape)
        (1, 3)
    """
    try:
        import pandas
    except ImportError:
        raise HeadPoseError(f"to_dataframe needs pandas: {install_advice('pandas')}") from None
    rows = [
        (
            *(number, *map(float, (*pose.box, pose.score, *pose.euler, *pose.direction, pose.tilt))),
            *(pose.track, *pose.doubt.values()),
        )
        for number, pose in enumerate(poses, 1)
    ]
    types = dict.fromkeys(COLUMNS, "float64") | {"face": "int64", "track": "Int64", "reliable": "bool"}
    return pandas.DataFrame(rows, columns=list(COLUMNS)).astype(types)
