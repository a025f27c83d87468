"""Optional asset folder: skin textures, fitted hair and hats, environment maps and identity components.

The folder contains ``heads.npz`` with the arrays P/hair/NAME/FIELD and P/hat/NAME/FIELD, ``tex/skin_*.jpg``,
``tex/hair_NAME.png``, ``hdri/*.npy`` (256, 512, 3) and ``ict_id.npz`` (idx, d). The fields are idx, w and off (each
vertex is a weighted mean of three vertices of the base mesh plus an offset), sx, sy and sz (two vertices and a length
that scale the offset), uv and f.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from headpose.errors import DataError
from headpose.files import numpy_reason
from headpose.images import read_image
from headpose.synth.surface import F32, I32, MASK_SIDE, U8

_SKIN_SIDE = 512
_HAIR_SIDE = MASK_SIDE
# Region of the cheek in MakeHuman's skin textures, in fractions of the side; textures are divided by its mean.
_CHEEK = (slice(int(0.42 * _SKIN_SIDE), int(0.58 * _SKIN_SIDE)), slice(int(0.84 * _SKIN_SIDE), int(0.95 * _SKIN_SIDE)))


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Mesh that is attached to the base mesh.

    Attributes:
        index: (n, 3) vertices of the base mesh that carry each vertex.
        weight: (n, 3) weights of these vertices.
        offset: (n, 3) offset from their weighted mean.
        scales: For x, y and z, two vertices and their reference distance, which scales the offset.
        uv: (n, 2) texture coordinates.
        faces: (m, 3) vertex indices.
        coverage: (T, T) uint8 opacity by uv, row 0 at v = 0; None for a hat.
        shade: (T, T) float32 brightness with mean 1; None for a hat.
    """

    index: I32
    weight: F32
    offset: F32
    scales: tuple[tuple[int, int, float], ...]
    uv: F32
    faces: I32
    coverage: U8 | None
    shade: F32 | None

    def on(self, vertices: F32) -> F32:
        """Return the (n, 3) float32 vertices on a head in neutral orientation."""
        carried = (vertices[self.index] * self.weight[:, :, None]).sum(1)
        scale = [abs(vertices[a, k] - vertices[b, k]) / length for k, (a, b, length) in enumerate(self.scales)]
        return (carried + self.offset * np.array(scale, np.float32)).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class AssetFolder:
    """Content of an asset folder.

    Attributes:
        skins: (512, 512, 3) float32 linear textures, divided by the mean of the cheek.
        hair: Fitted hair by name.
        hats: Fitted hats by name.
        environments: (256, 512, 3) float32 radiance maps with mean 1.
        components: (n,) vertices and (100, n, 3) float32 offsets of the identity components; None if absent.
    """

    skins: tuple[F32, ...]
    hair: Mapping[str, Fitted]
    hats: Mapping[str, Fitted]
    environments: tuple[F32, ...]
    components: tuple[I32, F32] | None


def load(path: str | os.PathLike[str]) -> AssetFolder:
    """Read an asset folder.

    Raises:
        DataError: The folder has no ``heads.npz``, or a file is damaged.
    """
    root = Path(path)
    if not (root / "heads.npz").is_file():
        raise DataError(f"{root} is no asset folder: it has no heads.npz (docs/synth.md says what it holds)")
    try:
        # np.load leaves a damaged archive open: the file is opened here.
        with (root / "heads.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            hair = {
                name: _fitted(arrays, f"P/hair/{name}", root / "tex" / f"hair_{name}.png")
                for name in _names(arrays, "hair")
            }
            hats = {name: _fitted(arrays, f"P/hat/{name}", None) for name in _names(arrays, "hat")}
        environments = tuple(_environment(file) for file in sorted((root / "hdri").glob("*.npy")))
        components = None
        if (root / "ict_id.npz").is_file():
            with (root / "ict_id.npz").open("rb") as file, np.load(file, allow_pickle=False) as stored:
                components = (stored["idx"].astype(np.int32), stored["d"].astype(np.float32))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"the asset folder {root} cannot be used: {numpy_reason(error)}") from error
    skins = tuple(_skin(file) for file in sorted((root / "tex").glob("skin_*.jpg")))
    return AssetFolder(skins, hair, hats, environments, components)


def _names(arrays: Mapping[str, np.ndarray], kind: str) -> list[str]:
    return sorted({key.split("/")[2] for key in arrays if key.startswith(f"P/{kind}/")})


def _fitted(arrays: Mapping[str, np.ndarray], prefix: str, picture: Path | None) -> Fitted:
    scales = tuple(
        (int(arrays[f"{prefix}/{axis}/0"]), int(arrays[f"{prefix}/{axis}/1"]), float(arrays[f"{prefix}/{axis}/2"]))
        for axis in ("sx", "sy", "sz")
    )
    coverage = shade = None
    if picture is not None:
        texture = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED)
        if texture is None or texture.ndim != 3 or texture.shape[2] != 4:
            raise ValueError(f"{picture} is missing, or no picture with an alpha channel")
        texture = cv2.resize(texture, (_HAIR_SIDE, _HAIR_SIDE), interpolation=cv2.INTER_AREA)[::-1]
        coverage = np.ascontiguousarray(texture[:, :, 3])
        brightness = (texture[:, :, :3].astype(np.float32) / 255).mean(2) ** 2.2
        shade = brightness / max(1e-4, float(brightness[coverage > 200].mean()))
    return Fitted(
        index=arrays[f"{prefix}/idx"].astype(np.int32),
        weight=arrays[f"{prefix}/w"].astype(np.float32),
        offset=arrays[f"{prefix}/off"].astype(np.float32),
        scales=scales,
        uv=arrays[f"{prefix}/uv"].astype(np.float32),
        faces=arrays[f"{prefix}/f"].astype(np.int32),
        coverage=coverage,
        shade=shade,
    )


def _skin(file: Path) -> F32:
    picture = cv2.resize(read_image(file), (_SKIN_SIDE, _SKIN_SIDE), interpolation=cv2.INTER_AREA)
    color = (picture[:, :, ::-1].astype(np.float32) / 255) ** 2.2
    relative = color / np.maximum(color[_CHEEK].mean((0, 1)), 0.01)
    return np.ascontiguousarray(np.clip(relative, 0, 2.5), np.float32)


def _environment(file: Path) -> F32:
    radiance = np.nan_to_num(np.load(file, allow_pickle=False).astype(np.float32), posinf=6e4).clip(0, 6e4)
    if radiance.ndim != 3 or radiance.shape[2] != 3 or radiance.mean() <= 0:
        raise ValueError(f"{file} has shape {radiance.shape}, (rows, columns, 3) is needed")
    radiance = np.minimum(radiance, 60 * np.median(radiance) + 20)  # otherwise the sun would outshine everything else
    return (radiance / radiance.mean()).astype(np.float32)
