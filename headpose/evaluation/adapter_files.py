"""Adapter files: TOML descriptions of third-party networks.

```toml
name = "FSA-Net (1x1 + var)"
files = ["fsanet-1x1.onnx", "fsanet-var.onnx"]   # the angles of several networks are averaged
source = "where it comes from"                   # optional, as is license

[crop]                                           # CropSpec; channels = "grey" for a network of one channel
size = 64
scale = 1.8

[brighten]                                       # optional: see Brighten

[output]
form = "euler"                                   # one of headpose.evaluation.outputs.FORMS; the rest are its fields
tensors = ["output"]
```

Unknown keys, missing keys and values of a wrong type are errors.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headpose import licenses
from headpose.errors import InputError, WeightsError
from headpose.evaluation.outputs import FORMS, Output
from headpose.types import CropSpec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_KEYS = {"name", "files", "crop", "output"}
_OPTIONAL_KEYS = {"source", "license_terms", "brighten"}
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
}


@dataclass(frozen=True, slots=True)
class Brighten:
    """Brightening of dark crops before normalization, as in opentrack.

    If the quantile of a crop's values is below a threshold, all values are multiplied so that it becomes ``to``.

    Attributes:
        quantile: Quantile in (0, 1).
        below: Threshold in [0, 255].
        to: Target value in (0, 255].
        darkest: Minimum quantile value used in the division.
    """

    quantile: float
    below: float
    to: float
    darkest: float

    def __post_init__(self) -> None:
        if not 0 < self.quantile < 1 or not 0 < self.darkest <= self.below <= 255 or not 0 < self.to <= 255:
            raise InputError("brighten needs a quantile in (0, 1), 0 < darkest <= below <= 255 and 0 < to <= 255")

    def factor(self, values: NDArray[np.uint8]) -> float:
        """Return the factor for the values of a crop."""
        count = np.cumsum(np.bincount(values.ravel(), minlength=256))
        quantile = int(np.searchsorted(count, self.quantile * values.size, side="right"))
        return self.to / max(self.darkest, quantile) if quantile < self.below else 1.0


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """Content of an adapter file.

    Attributes:
        name: Name of the network for tables.
        files: ONNX files. The angles of several networks are averaged.
        crop: Crop and normalization of the input.
        grey: True if the input is one channel of luminance; ``crop.channels`` is then ignored.
        brighten: Brightening of dark crops; None for none.
        output: Decoder of the outputs.
        source: Origin of the network, for information.
        license: License of the network, for information.
    """

    name: str
    files: tuple[str, ...]
    crop: CropSpec
    grey: bool
    brighten: Brighten | None
    output: Output
    source: str = ""
    license_terms: str = ""


def read_adapter(path: str | os.PathLike[str]) -> AdapterSpec:
    """Read an adapter file.

    Raises:
        WeightsError: The file is missing or not TOML, or has an unknown key, lacks one, or has an invalid value.
    """
    try:
        table = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WeightsError(f"cannot read the adapter {path}: {error}") from None
    try:
        return _spec(table)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: {error}") from None


def _spec(table: dict[str, Any]) -> AdapterSpec:
    table = licenses.with_current_keys(table)
    _check_keys(table, _KEYS, _OPTIONAL_KEYS, "the file")
    for key in ("crop", "output", "brighten"):
        if not isinstance(table.get(key, {}), dict):
            raise ValueError(f"{key} must be a table")
    texts = {key: _value(table.get(key, ""), "str", key) for key in ("name", "source", "license_terms")}
    files = _value(table["files"], "tuple[str, ...]", "files")
    if not files or any(Path(file).name != file or not file.endswith(".onnx") for file in files):
        raise ValueError("files must be names of .onnx files, without folders")
    crop_table = dict(table["crop"])
    grey = crop_table.get("channels") == "grey"
    if grey:
        del crop_table["channels"]
    output = dict(table["output"])
    form = output.pop("form", None)
    if not isinstance(form, str) or form not in FORMS:
        raise ValueError(f"output needs a form, one of {', '.join(FORMS)}, got {form!r}")
    return AdapterSpec(
        **texts,
        files=files,
        crop=_build(CropSpec, crop_table, "crop"),
        grey=grey,
        brighten=_build(Brighten, table["brighten"], "brighten") if "brighten" in table else None,
        output=_build(FORMS[form], output, f"output of form {form}"),
    )


def _build(kind: Any, table: dict[str, Any], where: str) -> Any:
    """Create a dataclass from a table with exactly its keys and types."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    _check_keys(table, needed, set(fields) - needed, where)
    return kind(**{name: _value(value, str(fields[name].type), f"{where}, {name}") for name, value in table.items()})


def _check_keys(table: dict[str, Any], needed: set[str], optional: set[str], where: str) -> None:
    if unknown := set(table) - needed - optional:
        raise ValueError(f"unknown key in {where}: {', '.join(sorted(unknown))}")
    if missing := needed - set(table):
        raise ValueError(f"missing key in {where}: {', '.join(sorted(missing))}")


def _value(value: Any, annotation: str, where: str) -> Any:
    """Convert a TOML value to the type of its field; raise ValueError for another type."""
    if annotation.startswith("tuple["):
        item = annotation.removeprefix("tuple[").split(",")[0].rstrip("]")
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list, got {value!r}")
        return tuple(_value(entry, item, where) for entry in value)
    types, words = _TYPES.get(annotation, ((str,), "text"))  # a Literal is a string that its dataclass checks
    if type(value) not in types:  # isinstance would accept a bool as a number
        raise ValueError(f"{where} must be {words}, got {value!r}")
    if annotation == "float" and not math.isfinite(value):
        raise ValueError(f"{where} must be finite, got {value!r}")
    return float(value) if annotation == "float" else value
