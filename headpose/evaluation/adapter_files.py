"""Adapter files: what a TOML file says about somebody else's network.

```toml
name = "FSA-Net (1x1 + var)"
files = ["fsanet-1x1.onnx", "fsanet-var.onnx"]   # of several the mean of their angles counts
source = "where it comes from"                   # optional, as is license

[crop]                                           # CropSpec; channels = "grey" for a network of one channel
size = 64
scale = 1.8

[brighten]                                       # optional: see Brighten

[output]
form = "euler"                                   # one of headpose.evaluation.outputs.FORMS; the rest are its fields
tensors = ["output"]
```

Reading is strict: an unknown key, a missing one and a value of another type are errors.
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
    """A dark crop is made brighter before it is normalised, as opentrack does.

    Where the ``quantile`` of a crop's values is below ``below`` (of 255), all are multiplied so that it
    becomes ``to``; a quantile below ``darkest`` counts as that.
    """

    quantile: float
    below: float
    to: float
    darkest: float

    def __post_init__(self) -> None:
        if not 0 < self.quantile < 1 or not 0 < self.darkest <= self.below <= 255 or not 0 < self.to <= 255:
            raise InputError("brighten needs a quantile in (0, 1), 0 < darkest <= below <= 255 and 0 < to <= 255")

    def factor(self, values: NDArray[np.uint8]) -> float:
        """What the values of one crop are multiplied by."""
        count = np.cumsum(np.bincount(values.ravel(), minlength=256))
        quantile = int(np.searchsorted(count, self.quantile * values.size, side="right"))
        return self.to / max(self.darkest, quantile) if quantile < self.below else 1.0


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """What an adapter file says.

    Attributes:
        name: of the network, for tables.
        files: of its ONNX networks; of several the mean of their angles counts.
        crop: how the input is cut and normalised.
        grey: the network takes one channel of luminance; ``crop.channels`` says nothing then.
        brighten: None for a network that takes crops as they are.
        output: how its outputs are read.
        source, license: for the reader.
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
    """Reads an adapter file.

    Raises:
        WeightsError: the file is missing or no TOML, or has an unknown key, lacks one, or has a value of
            the wrong type or out of range.
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
    """A dataclass from a table: no unknown key, none missing, each value of its field's type."""
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
    """The value as its field's type; ValueError if TOML gave another."""
    if annotation.startswith("tuple["):
        item = annotation.removeprefix("tuple[").split(",")[0].rstrip("]")
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list, got {value!r}")
        return tuple(_value(entry, item, where) for entry in value)
    types, words = _TYPES.get(annotation, ((str,), "text"))  # a Literal is text, which its dataclass checks
    if type(value) not in types:  # isinstance would take true for a number
        raise ValueError(f"{where} must be {words}, got {value!r}")
    if annotation == "float" and not math.isfinite(value):
        raise ValueError(f"{where} must be finite, got {value!r}")
    return float(value) if annotation == "float" else value
