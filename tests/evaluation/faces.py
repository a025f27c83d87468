"""A folder in AFLW2000-3D's layout whose pictures are plain colors that ``color_network`` reads."""

from pathlib import Path

import numpy as np

from tests.datasets.labels import write_face


def write_colored_faces(folder: Path, eulers: list[tuple[float, float, float]], noise_degrees: float = 0.0) -> Path:
    """Pictures whose red and blue say yaw and pitch, as far as 8 bits can, labeled with the angles + noise."""
    rng = np.random.default_rng(0)
    for index, (yaw, pitch, roll) in enumerate(eulers):
        red, blue = (round(255 * (0.5 + angle / 100)) for angle in (yaw, pitch))
        label = np.deg2rad(np.array([pitch, yaw, roll]) + rng.normal(0, noise_degrees, 3))
        pose = np.array([[*label, 0, 0, 0, 1]])
        write_face(folder / f"image{index:05}.png", color=(blue, 0, red), Pose_Para=pose)
    return folder
