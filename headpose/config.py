"""Configuration files: read them by name or path and convert them to validated frozen dataclasses.

The dataclasses are pydantic's, so that each setting declares its type and range. This module defines the types that
several recipes share, and converts pydantic's errors to one line that names the recipe's key.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib.resources
import json
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from headpose.errors import RecipeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from importlib.abc import Traversable

T = TypeVar("T")

CLOSED = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Configuration of every recipe table: an unknown key is an error. The types below make numbers strict."""

Flag = Annotated[bool, Field(strict=True)]
Probability = Annotated[float, Field(strict=True, ge=0, le=1)]
Share = Annotated[float, Field(strict=True, gt=0, lt=1)]
Weight = Annotated[float, Field(strict=True, ge=0, le=10**6)]
"""Weight of a loss; 0 disables it."""
Decay = Annotated[float, Field(strict=True, ge=0, lt=1)]
Images = Annotated[int, Field(strict=True, ge=1, le=10**12)]
Channels = Annotated[int, Field(strict=True, ge=1, le=65536)]
Batch = Annotated[int, Field(strict=True, ge=1, le=65536)]
Processors = Annotated[int, Field(strict=True, ge=0, le=1024)]
"""Number of threads or worker processes. It is compared with the machine's CPUs when they start, not here."""
Side = Annotated[int, Field(strict=True, ge=8, le=1024)]
"""Side of a network's input in pixels."""
Text = Annotated[str, Field(pattern=r"^[^\x00]*$", description="a string without a null character")]
PathText = Annotated[str, Field(pattern=r"^[^\x00]+$", description="a path")]


def _short(name: str) -> str:
    """Return the name; ValueError if it is too long. File systems allow 255 bytes, including extensions."""
    if (length := len(name.encode())) > _MOST_BYTES:
        raise ValueError(f"too long: {length} bytes, the maximum is {_MOST_BYTES}")
    return name


_MOST_BYTES = 200
Name = Annotated[
    str,
    AfterValidator(_short),
    Field(
        pattern=r'^[^\x00-\x1f/\\:*?"<>|. -]([^\x00-\x1f/\\:*?"<>|]*[^\x00-\x1f/\\:*?"<>|. ])?$',
        max_length=100,
        description='a file name: 1 to 100 characters except / \\ : * ? " < > |, '
        "with no dot, space or dash at the start and no dot or space at the end",
    ),
]


def table(kind: type[Any]) -> BeforeValidator:
    """Return a validator for a setting whose type is a plain dataclass.

    The validator is as strict as those of the recipes' own tables: unknown keys and wrong types are errors. A
    ValueError from the dataclass becomes an error of the recipe.

    Args:
        kind: The dataclass.
    """
    hints = get_type_hints(kind, include_extras=True)
    wanted: dict[str, Any] = {
        each.name: (hints[each.name], ... if each.default is dataclasses.MISSING else each.default)
        for each in dataclasses.fields(kind)
    }
    model = create_model(kind.__name__, __config__=ConfigDict(**CLOSED, strict=True), **wanted)

    def convert(values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given: BaseModel = model.model_validate({k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
        try:
            return kind(**{name: getattr(given, name) for name in given.model_fields_set})
        except (ValueError, TypeError) as error:
            raise PydanticCustomError("rule", "{reason}", {"reason": str(error)}) from error

    return BeforeValidator(convert)


def parse(kind: type[T], values: Any) -> T:
    """Convert plain values to a frozen dataclass, including nested dataclasses.

    Args:
        kind: Dataclass of the recipe.
        values: Values as read from TOML or JSON.

    Raises:
        RecipeError: A key is unknown or missing, or a value has the wrong type or is out of range. The message names
            the full path of the first such key.
    """
    try:
        return read(kind, values)
    except ValidationError as error:
        raise RecipeError(f"recipe: {line(kind, error)}") from error
    except RecursionError as error:
        raise RecipeError("recipe: the tables are nested too deeply") from error


def read(kind: type[T], values: Any) -> T:
    """Convert plain values to a dataclass like ``parse``, but raise pydantic's ValidationError. For nested tables."""
    found: T = _adapter(kind).validate_python(values)  # type: ignore[arg-type]  # to mypy no class is hashable
    return found


def line(kind: type[Any], error: ValidationError) -> str:
    """Return the message of the first error of a dataclass's values, in one line."""
    found = error.errors(include_url=False)
    # A misspelled key is also reported as a missing one: prefer the former, which is more helpful.
    first = next((each for each in found if each["type"] in _UNKNOWN), found[0])
    return " ".join(_describe(kind, first).split())


def read_file(name_or_path: str, packaged_recipes: Mapping[str, Traversable]) -> dict[str, Any]:
    """Read the values of a recipe.

    Args:
        name_or_path: Name of a packaged recipe, path of a TOML file, or path of the ``recipe.json`` of a run.
        packaged_recipes: Packaged recipes by name, from ``packaged``.

    Raises:
        RecipeError: The recipe does not exist, or the file is damaged.
    """
    try:
        if name_or_path in packaged_recipes:
            text = packaged_recipes[name_or_path].read_text("utf-8")
        else:
            text = Path(name_or_path).read_text("utf-8-sig")  # editors on Windows write a byte order mark
        values = json.loads(text) if name_or_path.endswith(".json") else tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RecipeError(
            f"no recipe {name_or_path!r}: give one of {', '.join(packaged_recipes)}, or the path of a TOML file"
        ) from error
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {name_or_path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # invalid TOML, JSON or UTF-8, or a null character in the path
        raise RecipeError(f"{name_or_path!r} is not a recipe: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{name_or_path!r} is not a recipe: it must contain an object")
    return values


def packaged(package: str) -> dict[str, Traversable]:
    """Return the recipes in a folder of the package, by name.

    Args:
        package: Name of the package that contains the TOML files.
    """
    folder = importlib.resources.files(package)
    files = {Path(entry.name).stem: entry for entry in folder.iterdir() if entry.name.endswith(".toml")}
    return dict(sorted(files.items()))


_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _describe(kind: type[Any], error: ErrorDetails) -> str:
    steps = [step for step in error["loc"] if step != "[key]"]
    path, case = ".".join(map(str, steps)), error["type"]
    if case in _UNKNOWN:
        return _unknown(kind, steps)
    if error["loc"][-1:] == ("[key]",):
        return f"{path}: the key must be {_allowed_key(_follow(kind, steps[:-1])[0])}"
    if case == "missing":
        if isinstance(steps[-1], int):
            return f"{'.'.join(map(str, steps[:-1]))} has too few values"
        return f"{path} is missing"
    if case == "rule" or case == "value_error":
        reason = error["ctx"]["reason"] if case == "rule" else str(error["ctx"]["error"])
        start = f"{steps[-1]} " if steps else ""
        if start and reason.startswith(start):  # "crop size must be" -> "crop.size must be"
            return f"{path}.{reason.removeprefix(start)}"
        return f"{path}: {reason}" if path else reason
    return f"{path or 'it'} must be {_allowed(kind, steps, error)}; got {_shown(error['input'])}"


def _allowed(kind: type[Any], steps: Sequence[int | str], error: ErrorDetails) -> str:
    """Return the allowed values of the setting that an error is about, in words."""
    hint, extras = _follow(kind, steps)
    if description := allowed(hint, extras):
        return description
    case, ctx = error["type"], error.get("ctx", {})
    if case == "too_long":
        return f"a list of at most {ctx['max_length']} values"
    if case == "too_short":
        return f"a list of at least {ctx['min_length']} values"
    types_in_words = {
        "bool_type": "true or false",
        "int_type": "a whole number",
        "float_type": "a number",
        "string_type": "a string",
        "tuple_type": "a list",
        "dict_type": "a table",
        "dataclass_type": "a table",
    }
    return types_in_words.get(case, f"another value ({error['msg']})")


def allowed(hint: Any, extras: Sequence[Any]) -> str:
    """Return the allowed values of a setting in words.

    Args:
        hint: Type of the setting, without ``Annotated``.
        extras: Annotations of the type.

    Returns:
        The description or the range of its ``Field``, or the choices of a ``Literal``; "" if there is neither.
    """
    limits: dict[str, Any] = {}
    for each in extras:
        if isinstance(each, FieldInfo):
            if each.description:
                return each.description
            for rule in each.metadata:
                limits.update({name: getattr(rule, name) for name in ("ge", "gt", "le", "lt") if hasattr(rule, name)})
    if hint in (int, float) and limits:
        low = f"from {limits['ge']:,}" if "ge" in limits else f"above {limits['gt']:,}"
        to = "to" if "ge" in limits else "and up to"
        high = f"{to} {limits['le']:,}" if "le" in limits else f"and below {limits['lt']:,}"
        return f"a {'whole ' * (hint is int)}number {low} {high}"
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    return ""


def fields(kind: type[Any]) -> Iterator[tuple[str, Any, Sequence[Any], Any]]:
    """Yield the key, type, annotations and default (or ``MISSING``) of each setting of a table."""
    for each in dataclasses.fields(kind):
        hint, extras = _follow(kind, [each.name])
        made = each.default_factory
        yield each.name, hint, extras, each.default if made is dataclasses.MISSING else made()


def _unknown(kind: type[Any], steps: Sequence[int | str]) -> str:
    table_path = "".join(f"{step}." for step in steps[:-1])
    known = list(_keys(_follow(kind, steps[:-1])[0]))
    close = difflib.get_close_matches(str(steps[-1]), known, 1)
    hint = f"did you mean {table_path}{close[0]}?" if close else f"the known keys are {', '.join(known)}"
    return f"unknown key {table_path}{steps[-1]}: {hint}"


def _keys(hint: Any) -> Iterator[str]:
    for option in _options(hint):
        if dataclasses.is_dataclass(option):
            yield from (each.name for each in dataclasses.fields(option))


def _follow(hint: Any, steps: Sequence[int | str]) -> tuple[Any, Sequence[Any]]:
    """Return the type at a path within a type, and its annotations."""
    extras: Sequence[Any] = ()
    for step in steps:
        hint, extras = next((found for option in _options(hint) if (found := _within(option, step))), (None, ()))
    return hint, extras


def _within(hint: Any, step: int | str) -> tuple[Any, Sequence[Any]] | None:
    inner: Any = None
    if dataclasses.is_dataclass(hint):
        inner = get_type_hints(hint, include_extras=True).get(str(step))
    elif get_origin(hint) is tuple and isinstance(step, int):
        values = get_args(hint)
        inner = values[0] if values[-1] is Ellipsis else values[min(step, len(values) - 1)]
    elif get_origin(hint) is dict:
        inner = get_args(hint)[1]
    if inner is None:
        return None
    extras: list[Any] = []
    while get_origin(inner) is Annotated:
        extras += inner.__metadata__
        inner = get_args(inner)[0]
    return inner, extras


def _allowed_key(hint: Any) -> str:
    """Return the allowed keys of a ``dict`` with annotated keys, in words."""
    (description,) = (each.description for each in get_args(hint)[0].__metadata__ if isinstance(each, FieldInfo))
    return str(description)


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
