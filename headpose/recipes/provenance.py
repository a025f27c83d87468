"""License, terms and training data of a network, derived from the data and weights that were used.

A recipe states these for its own data. If other data or initial weights are used, the statement is derived from them:
data written by ``headpose synth`` are recognized, weights of this package carry their own statement, and the user can
state the rest (``--set license=...``). Everything else is ``unknown``. A statement never becomes more permissive.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import onnx
from safetensors import safe_open

from headpose import coded, licenses, weights
from headpose.errors import WeightsError
from headpose.licenses import License

KEYS = ("license", "license_terms", "data_note")
"""Keys of a recipe that form its statement."""
UNKNOWN: Final = "unknown"

_ENTRY = "model"  # key in the metadata of a .safetensors file
_RANK = {"permissive": 0, UNKNOWN: 1, "research-only": 2}  # the most restrictive part decides
_RENDERED_SHORT = "rendered heads (headpose synth)"
_SETTINGS = "synth.json"
_PICTURE = re.compile(r"heads-\d\d+/synth_\d{6,}_0\.jpg")  # as headpose.synth.layout names them; a test compares


@dataclass(frozen=True, slots=True)
class Statement:
    """Statement of a network about its license and training data.

    Attributes:
        license: ``permissive`` (any use), ``research-only`` or ``unknown``.
        license_terms: Terms of use of the weights, as free text.
        data_note: Description of the training data.
    """

    license: License
    license_terms: str
    data_note: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Network that another network is initialized from or distilled from: name, name of its parent, and statement."""

    name: str
    parent: str
    statement: Statement


RENDERED = Statement(
    "permissive",
    "Apache-2.0",
    "rendered heads alone (headpose synth); everything drawn in them is CC0 or MIT, no photograph of a face is "
    "among them",
)
"""Statement of data rendered by ``headpose synth`` without an asset folder, as in the recipe compact-clean."""


def of_sources(
    stated: Statement, sources: Iterable[tuple[str, str]], *, changed: bool, said: Collection[str] = ()
) -> Statement:
    """Derive the statement of the data of a recipe.

    Args:
        stated: Statement of the recipe.
        sources: (kind, path) of each source.
        changed: True if these are not the recipe's own sources.
        said: Names of ``KEYS`` that the user has set for these data.
    """
    pairs = list(sources)
    folders = [_asset_folder(kind, path) for kind, path in pairs]
    if not changed and (stated.data_note != RENDERED.data_note or None not in folders):
        return stated
    names = ", ".join(dict.fromkeys(Path(path).name for _, path in pairs))
    if None in folders:
        found = Statement(UNKNOWN, UNKNOWN, f"{UNKNOWN} ({names})")
    elif any(folders):
        assets = ", ".join(sorted({folder for folder in folders if folder}))
        note = f"{_RENDERED_SHORT}, with skins, hair, hats and light of an asset folder ({assets}) of unknown license"
        found = Statement(UNKNOWN, UNKNOWN, note)
    else:
        found = RENDERED
    return _replaced(found, stated, said)


def said(changes: Iterable[str]) -> set[str]:
    """Return which of ``KEYS`` are set by changes to a recipe (``--set``)."""
    return {licenses.with_current_key(change).partition("=")[0].strip() for change in changes} & {*KEYS}


def places(data: Any) -> list[tuple[Any, ...]]:
    """Return (kind, path, landmarks) of each source in the ``data`` of a recipe, which may be any plain value."""
    sources = data.get("sources") if isinstance(data, dict) else None
    listed = sources if isinstance(sources, list | tuple) else []
    return [
        (source.get("kind"), source.get("path"), source.get("landmarks") or "")
        for source in listed
        if isinstance(source, dict)
    ]


def combine(data: Statement, origin: Origin, said: Collection[str] = (), link: str = "then") -> Statement:
    """Combine the statements of training data and of the network that training started from or distilled.

    Args:
        data: Statement of the data.
        origin: Initial network or teacher.
        said: Names of ``KEYS`` that the user has set. They also apply to an ``origin`` whose statement is unknown.
        link: Word between the two data notes.
    """
    start = origin.statement
    if start.license == UNKNOWN:
        start = _replaced(start, data, said)
    license = max(start.license, data.license, key=_RANK.__getitem__)
    # The license of rendered heads does not apply to a network that was also trained on other data.
    permissive = license == "permissive"
    bound = [part.license_terms for part in (start, data) if permissive or part.license_terms != RENDERED.license_terms]
    terms = [text for text in dict.fromkeys(bound) if text != UNKNOWN]
    if UNKNOWN in bound:
        terms.append(f"the rest {UNKNOWN}" if terms else UNKNOWN)
    if data.data_note in start.data_note:
        note = start.data_note
    else:
        first, second = (
            _RENDERED_SHORT if not permissive and part.data_note == RENDERED.data_note else part.data_note
            for part in (start, data)
        )
        note = f"{first} ({origin.name}); {link} {second}"
    return Statement(license, "; ".join(terms), note)


def of_network(name_or_path: str | Path) -> Origin:
    """Return the statement of a model, by name, or of an .onnx or .safetensors file of this package.

    The statement is unknown if the file cannot be read or has none. Errors of the file are reported where it is loaded.
    """
    if isinstance(name_or_path, str) and (info := weights.manifest().get(name_or_path)):
        return _origin(Path(info.name), dataclasses.asdict(info))
    path = Path(name_or_path)
    return _origin(path, _about_safetensors(path) if path.suffix == ".safetensors" else _about_onnx(path))


def metadata(name: str, statement: Statement, parent: str = "") -> dict[str, str]:
    """Return the metadata of a .safetensors file that ``of_network`` reads."""
    stated = {"license": statement.license, "license_terms": statement.license_terms, "data": statement.data_note}
    return about_metadata({"name": name, **stated, "parent": parent})


def about_metadata(about: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a .safetensors file from the ``headpose.model`` entry of an .onnx file."""
    return {_ENTRY: json.dumps({key: value for key, value in about.items() if key != "architecture"})}


def read_onnx(path: Path) -> dict[str, Any]:
    """Read the ``headpose.model`` entry of an .onnx file, or of a file that decodes to one (``headpose.coded``).

    Raises:
        WeightsError: The file was not exported by this package.
    """
    try:
        model = onnx.load_model_from_string(coded.read_onnx(path))
        properties = {entry.key: entry.value for entry in model.metadata_props}
        about = json.loads(properties["headpose.model"])
    except Exception as error:  # protobuf and json raise different types
        raise WeightsError(f"{path} is not a network that this package exported: {error!r:.200}") from error
    return licenses.with_current_keys(about) if isinstance(about, dict) else {}


def _about_onnx(path: Path) -> dict[str, Any]:
    try:
        return read_onnx(path)
    except WeightsError:
        return {}


def _about_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[_ENTRY])
    except Exception:  # another format, or no statement
        return {}
    return licenses.with_current_keys(about) if isinstance(about, dict) else {}


def _origin(path: Path, about: Mapping[str, Any]) -> Origin:
    def text(key: str, otherwise: str) -> str:
        value = about.get(key)
        return value if isinstance(value, str) and value else otherwise

    license: Any = text("license", UNKNOWN)
    license = license if license in get_args(License) else UNKNOWN
    statement = Statement(license, text("license_terms", UNKNOWN), text("data", UNKNOWN))
    return Origin(text("name", path.name), text("parent", ""), statement)


def _replaced(found: Statement, stated: Statement, said: Collection[str]) -> Statement:
    return dataclasses.replace(found, **{key: getattr(stated, key) for key in KEYS if key in said})


def _asset_folder(kind: str, path: str) -> str | None:
    """Return the name of the asset folder of data written by ``headpose synth``; "" if they were written without one.

    Return None for other data, or if the folder contains images of another origin.
    """
    listed = kind == "manifest" or (kind == "negatives" and Path(path).is_file())
    root = Path(path).parent if listed else Path(path)
    try:
        settings = json.loads((root / _SETTINGS).read_text("utf-8"))
        version, folder = settings["version"], settings["asset_folder"]
        named = list(_listed(Path(path)) if listed else _found(root))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, csv.Error):
        return None
    known = isinstance(version, int) and isinstance(folder, str) and named
    return folder if known and all(map(_PICTURE.fullmatch, named)) else None


def _listed(manifest: Path) -> Iterator[str]:
    with manifest.open(newline="", encoding="utf-8-sig") as text:
        for row in csv.DictReader(text):
            yield row["image"]


def _found(root: Path) -> Iterator[str]:
    for file in root.rglob("*"):
        if file.suffix.lower() in (".jpg", ".jpeg"):
            yield file.relative_to(root).as_posix()
