"""Poses as a pandas table; needs the extra ``pandas``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from headpose.errors import HeadPoseError, install_advice
from headpose.types import HeadPose

if TYPE_CHECKING:
    import pandas

COLUMNS = ("face", "x1", "y1", "x2", "y2", "score", "yaw", "pitch", "roll", "track")
"""The columns of ``to_dataframe``; the names are those of ``headpose.streams.csv_file``."""


def to_dataframe(poses: Iterable[HeadPose]) -> pandas.DataFrame:
    """Return the poses of one picture as a pandas DataFrame, one row a face.

    Args:
        poses: from ``HeadPoseEstimator.estimate``.

    Returns:
        Columns face (1, 2, ...), x1, y1, x2, y2 (pixels), score, yaw, pitch, roll (degrees) and track (a nullable
        integer). A table without rows has the same columns and types.

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
        (number, *map(float, (*pose.box, pose.score, *pose.euler)), pose.track) for number, pose in enumerate(poses, 1)
    ]
    types = dict.fromkeys(COLUMNS, "float64") | {"face": "int64", "track": "Int64"}
    return pandas.DataFrame(rows, columns=list(COLUMNS)).astype(types)
