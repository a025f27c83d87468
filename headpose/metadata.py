"""Metadata of a network's file.

``headpose.crop`` is the JSON of ``CropSpec.to_dict()``. ``headpose.model`` is a JSON object with at least ``name``. In
contract 2 this object also has ``contract`` (2), ``outputs``, a list of the file's outputs besides ``rotation``, and
may have ``calibration`` (``Calibration.to_dict()``) and ``kind``: ``pose`` (the default) for a head pose network, which
never lacks the output ``rotation``, or ``landmarks`` for a network that has the output ``landmarks`` (N, 68, 2) and no
other. Files without ``contract`` have contract 1: head pose networks of which only ``rotation`` is read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headpose import licenses
from headpose.errors import InputError, WeightsError, first_line
from headpose.reading import CONTRACT, OPTIONAL_OUTPUTS, Calibration
from headpose.types import CropSpec, Kind

_WORDS: dict[str, str] = {"pose": "a head pose network", "landmarks": "a network that locates landmarks"}


def crop(stored: dict[str, str], path: Path) -> CropSpec:
    """Return the crop settings of a file.

    Args:
        stored: Metadata of the file, as text.
        path: Path of the file, for messages.

    Raises:
        WeightsError: There are none, or they are invalid.
    """
    if "headpose.crop" not in stored:
        raise WeightsError(f"{path} has no headpose.crop in its metadata: export it with headpose")
    try:
        return CropSpec.from_dict(json.loads(stored["headpose.crop"]))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"headpose.crop in the metadata of {path} is damaged: {first_line(error)}") from None


def description(stored: dict[str, str], path: Path, kind: Kind) -> dict[str, Any]:
    """Return the description of a file, ``headpose.model``, with the current keys and a ``name``.

    Args:
        stored: Metadata of the file, as text.
        path: Path of the file, for messages.
        kind: The kind of network that is wanted.

    Raises:
        WeightsError: The description is damaged, follows a later contract, or is that of another kind of network.
    """
    try:
        found = json.loads(stored.get("headpose.model", "{}"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"headpose.model in the metadata of {path} is damaged: {first_line(error)}") from None
    if not isinstance(found, dict):
        raise WeightsError(f"headpose.model in the metadata of {path} is not an object")
    found = licenses.with_current_keys(found)
    name = found.get("name", path.stem)
    if not isinstance(name, str) or not name:
        raise WeightsError(f"headpose.model in the metadata of {path} has a name that is not text")
    _check_contract(found, path)
    if (is_kind := found.get("kind", "pose")) != kind:
        other = _WORDS.get(is_kind, f"of the kind {is_kind!r:.40}") if isinstance(is_kind, str) else "of no valid kind"
        raise WeightsError(f"{path} is {other}, not {_WORDS[kind]}")
    return {**found, "name": name}


def optional_outputs(description: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Return the names of the optional outputs of a head pose network, in the order of ``reading.OPTIONAL_OUTPUTS``.

    Args:
        description: Result of ``description``.
        path: Path of the file, for messages.

    Raises:
        WeightsError: The list is invalid, or names an unknown output.
    """
    listed = description.get("outputs", []) if description.get("contract", 1) > 1 else []
    if not isinstance(listed, list) or any(not isinstance(name, str) for name in listed):
        raise WeightsError(f"headpose.model in the metadata of {path} has outputs that are not a list of names")
    if unknown := [name for name in listed if name not in OPTIONAL_OUTPUTS]:
        raise WeightsError(f"{path} has an unknown output {unknown[0]!r:.40}: known are {', '.join(OPTIONAL_OUTPUTS)}")
    return tuple(name for name in OPTIONAL_OUTPUTS if name in listed)


def calibration(description: dict[str, Any], path: Path) -> Calibration:
    """Return the calibration of a file; the arguments are those of ``optional_outputs``.

    Raises:
        WeightsError: It is damaged.
    """
    try:
        return Calibration.from_dict(description.get("calibration", {}))
    except InputError as error:
        raise WeightsError(f"headpose.model in the metadata of {path} is damaged: {error}") from None


def _check_contract(found: dict[str, Any], path: Path) -> None:
    contract = found.get("contract", 1)
    if isinstance(contract, bool) or not isinstance(contract, int) or contract < 1:
        raise WeightsError(f"headpose.model in the metadata of {path} has no valid contract: {contract!r:.40}")
    if contract > CONTRACT:
        raise WeightsError(f"{path} follows contract {contract}, this version knows {CONTRACT}: update headpose")
