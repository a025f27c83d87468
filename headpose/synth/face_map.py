"""Regions of the average face as smooth masks in [0, 1], for painting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headpose.geometry import Array
from headpose.synth.surface import F32, noise, smooth


@dataclass(frozen=True, slots=True, eq=False)
class FaceMap:
    """Masks of facial regions. Each method maps (n, 3) positions on the average head to (n,) values.

    Attributes:
        landmarks: (68, 3) landmarks of the average head, decimeters.
    """

    landmarks: Array

    def _y(self, first: int, last: int) -> float:
        return float(self.landmarks[first:last, 1].mean())

    def lips(self, at: F32) -> F32:
        """Return the mask of the lips."""
        marks = self.landmarks
        half_width = abs(marks[[48, 54], 0]).mean()
        across = np.clip(abs(at[:, 0]) / half_width, 0, 1)
        corner_y, seam = self._y(48, 49), (marks[62, 1] + marks[66, 1]) / 2
        top = np.interp(across, [0, 0.22, 0.6, 1], [marks[51, 1], marks[50, 1], marks[49, 1], corner_y])
        low = np.interp(across, [0, 0.3, 0.65, 1], [marks[57, 1], marks[56, 1], marks[55, 1], corner_y])
        inside = np.minimum(top + 0.015 - at[:, 1], at[:, 1] - low + 0.015)
        front = at[:, 2] > marks[48, 2] - 0.15
        near_seam = abs(at[:, 1] - seam) < 0.35
        return (
            smooth(-0.012, 0.014, inside.astype(np.float32)) * front * near_seam * (abs(at[:, 0]) < half_width * 1.03)
        )

    def brows(self, at: F32, thickness: float, raise_by: float, seed: float) -> F32:
        """Return the mask of the eyebrow hair.

        Args:
            at: (n, 3) positions.
            thickness: Relative thickness, about 1.
            raise_by: Vertical offset in decimeters.
            seed: Offset of the noise.
        """
        marks = self.landmarks
        x = abs(marks[[17, 18, 19, 20, 21, 22, 23, 24, 25, 26], 0]).reshape(2, 5)
        y = marks[17:27, 1].reshape(2, 5)
        x_mean, y_mean = (x[0] + x[1][::-1]) / 2, (y[0] + y[1][::-1]) / 2
        order = np.argsort(x_mean)
        outer, inner = x_mean.max(), x_mean.min()
        along = np.clip((abs(at[:, 0]) - inner) / (outer - inner), 0, 1)
        line = np.interp(abs(at[:, 0]), x_mean[order], y_mean[order]) + raise_by
        half = thickness * np.interp(along, [0, 0.15, 0.6, 1], [0.034, 0.045, 0.036, 0.008])
        off = abs(at[:, 1] - line) / half
        ends = smooth(inner - 0.05, inner + 0.03, abs(at[:, 0])) * smooth(outer + 0.05, outer - 0.02, abs(at[:, 0]))
        combed = at.copy()
        combed[:, 1] -= 0.5 * abs(at[:, 0])
        hairs = noise(combed, (14, 75, 14), seed)
        return smooth(1.35, 0.45, off.astype(np.float32)) * ends * (0.45 + 0.75 * hairs) * (at[:, 2] > 0.0)

    def beard(self, at: F32, style: str) -> F32:
        """Return the mask of a beard; ``style`` is "full", "goatee", "moustache" or "sideburns"."""
        marks = self.landmarks
        across, y, z = abs(at[:, 0]), at[:, 1], at[:, 2]
        nose_y, mouth_y, chin_y, eye_y = marks[33, 1], self._y(48, 60), marks[8, 1], self._y(36, 48)
        half_mouth = abs(marks[[48, 54], 0]).mean()
        lip_top = marks[51, 1]
        off = np.hypot(
            across / (half_mouth * 1.3), (y - (nose_y * 0.45 + lip_top * 0.55)) / (0.75 * (nose_y - lip_top))
        )
        moustache = smooth(1.2, 0.75, off.astype(np.float32)) * (z > 0) * smooth(nose_y + 0.01, nose_y - 0.03, y)
        chin = smooth(half_mouth * 1.6, half_mouth * 0.9, across) * smooth(mouth_y - 0.02, mouth_y - 0.12, y)
        chin *= smooth(chin_y - 0.35, chin_y - 0.1, y) * (z > -0.3)
        slope = (y + 0.6 * (across - 0.45)).astype(np.float32)
        jaw = smooth(nose_y + 0.05, mouth_y - 0.1, slope) * smooth(chin_y - 0.3, chin_y - 0.05, y)
        jaw *= smooth(0.35, 0.5, across) * smooth(-0.65, -0.3, z)
        side = smooth(0.54, 0.62, across) * smooth(-0.28, -0.12, z) * smooth(0.16, 0.02, z) * 0.8
        side *= smooth(eye_y + 0.1, eye_y - 0.1, y) * smooth(chin_y - 0.1, mouth_y, y)
        chosen = {
            "full": np.maximum.reduce([moustache, chin, jaw, side]),
            "goatee": np.maximum(moustache, chin),
            "moustache": moustache,
            "sideburns": np.maximum(side, jaw * smooth(mouth_y - 0.2, mouth_y, y)),
        }[style]
        return (chosen * (1 - self.lips(at))).astype(np.float32)

    def scalp(self, at: F32, hairline: float, recession: float) -> F32:
        """Return the mask of the scalp hair.

        Args:
            at: (n, 3) positions.
            hairline: Vertical offset of the hairline at the forehead in decimeters.
            recession: Recession at the temples, from 0 (none) to 1 (strong).
        """
        brow_y = self._y(17, 27)
        across, y, z = abs(at[:, 0]), at[:, 1], at[:, 2]
        temple = np.exp(-(((across - 0.42) / 0.16) ** 2)) * 0.38 * recession
        front = brow_y + 0.55 + hairline + temple - 0.5 * np.clip(across - 0.5, 0, 1)
        # In profile, the hairline runs from the forehead down in front of the ear, and behind the ear to the nape.
        line = np.interp(z, [-0.75, -0.3, -0.05, 0.12, 0.3, 0.5], [-0.45, 0.05, 0.2, 0.4, 1.0, 1.0])
        line = np.where(z > 0.12, np.maximum(front * line, front - 1.4 * np.clip(0.42 - z, 0, 1)), brow_y + line - 0.25)
        wobble = (noise(at, 9.0) - 0.5) * 0.08
        ear = smooth(0.2, 0.1, np.hypot(y - brow_y + 0.3, (z + 0.1) * 0.8).astype(np.float32)) * (across > 0.62)
        return smooth(-0.05, 0.07, (y - line + wobble).astype(np.float32)) * (1 - ear)

    def cheeks(self, at: F32) -> F32:
        """Return the mask of the cheeks, for blush."""
        y = self.landmarks[33, 1] + 0.06
        off = np.sqrt((abs(at[:, 0]) - 0.4) ** 2 + (at[:, 1] - y) ** 2 + 0.4 * (at[:, 2] - 0.45) ** 2)
        return smooth(0.3, 0.05, off.astype(np.float32))

    def nose_tip(self, at: F32) -> F32:
        """Return the mask of the tip of the nose, for redness."""
        off = np.linalg.norm(at - self.landmarks[30].astype(np.float32), axis=1)
        return smooth(0.3, 0.1, off)

    def eye_sockets(self, at: F32) -> F32:
        """Return the mask around the eyes, for dark circles and makeup."""
        result = np.zeros(len(at), np.float32)
        for first in (36, 42):
            center = self.landmarks[first : first + 6].mean(0)
            off = np.hypot((at[:, 0] - center[0]) / 0.26, (at[:, 1] - center[1]) / 0.13)
            result = np.maximum(result, smooth(1.2, 0.6, off.astype(np.float32)) * (at[:, 2] > 0))
        return result

    def lines(self, at: F32) -> F32:
        """Return the mask of wrinkles on the forehead, beside the nose and at the corners of the eyes."""
        marks = self.landmarks
        bent = at[:, 1] + 0.15 * at[:, 0] ** 2 + 0.03 * noise(at, 6.0)
        forehead = smooth(0.55, 0.95, np.sin(bent * 55).astype(np.float32)) * (at[:, 1] > marks[19, 1] + 0.1)
        forehead *= smooth(0.5, 0.25, abs(at[:, 0])) * smooth(0.9, 0.6, at[:, 1] - marks[27, 1])
        path_x = np.interp(at[:, 1], [marks[54, 1] - 0.1, marks[33, 1]], [0.33, 0.19])
        fold = smooth(0.03, 0.0, abs(abs(at[:, 0]) - path_x).astype(np.float32)) * (at[:, 2] > 0.3)
        fold *= smooth(marks[54, 1] - 0.15, marks[54, 1], at[:, 1]) * smooth(
            marks[33, 1] + 0.06, marks[33, 1], at[:, 1]
        )
        return np.maximum(forehead * 0.8, fold)
