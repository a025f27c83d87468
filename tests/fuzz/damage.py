"""Hypothesis strategies for input that is nearly right: damaged bytes, and plain values with one place spoiled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)  # where sizes overflow

Edit = Callable[[bytes], bytes]


@st.composite
def _edit(draw: st.DrawFn) -> Edit:
    """One change; places are shares of the length, so that it fits whatever is left."""
    share = draw(st.floats(0, 1))
    kind = draw(st.sampled_from(("set", "number", "flip", "delete", "insert", "repeat", "cut")))
    size = draw(st.integers(1, 40))
    content = draw(st.binary(min_size=1, max_size=8))
    number = draw(st.sampled_from(_NUMBERS)).to_bytes(4, draw(st.sampled_from(("little", "big"))))
    number = number[: draw(st.sampled_from((2, 4)))]

    def change(data: bytes) -> bytes:
        at = int(share * len(data))
        if kind == "set":
            return data[:at] + content + data[at + len(content) :]
        if kind == "number":
            return data[:at] + number + data[at + len(number) :]
        if kind == "flip":
            return data[:at] + bytes(byte ^ (1 << size % 8) for byte in data[at : at + 1]) + data[at + 1 :]
        if kind == "delete":
            return data[:at] + data[at + size :]
        if kind == "insert":
            return data[:at] + content + data[at:]
        if kind == "repeat":
            return data[:at] + data[at : at + size] * 3 + data[at:]
        return data[:at]

    return change


@st.composite
def damaged(draw: st.DrawFn, wholes: Sequence[bytes], changes: int = 6) -> bytes:
    """One of some files with up to so many changes, or as it is; now and then other bytes altogether."""
    data = draw(st.one_of(st.sampled_from(wholes), st.sampled_from(wholes), st.binary(max_size=200)))
    for change in draw(st.lists(_edit(), max_size=changes)):
        data = change(data)
    return data


odd_values: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2, 3, 64, 10**6, 2**31, 2**63, 10**30, -(10**30)]),
    st.sampled_from([0.0, -0.0, 0.5, 1.0, -1.0, 1e-9, 1e9, 1e30, 1e308, float("inf"), float("-inf"), float("nan")]),
    st.sampled_from(["", "x", "nan", "../../x", "a/b", "\x00", "ä", "auto", "1", "[]"]),
    st.text(max_size=6),
    st.lists(st.one_of(st.integers(-3, 300), st.floats(), st.text(max_size=3), st.none()), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers(-3, 3), max_size=2),
)
"""What a hand or a program may write where something else is wanted."""


def places(values: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value within tables and lists, the values in between included."""
    found = [at] if at else []
    inside = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in inside:
        found += places(value, (*at, key))
    return found


@st.composite
def spoiled(draw: st.DrawFn, values: Any, changes: int = 2) -> Any:
    """A copy of plain values in which some are replaced, are missing, or have company."""
    result = copy.deepcopy(values)
    for _ in range(draw(st.integers(0, changes))):
        everywhere = places(result)
        if not everywhere:
            break
        *sections, key = draw(st.sampled_from(everywhere))
        parent = result
        for section in sections:
            parent = parent[section]
        kind = draw(st.sampled_from(("replace", "replace", "replace", "remove", "add")))
        if kind == "replace":
            parent[key] = draw(odd_values)
        elif kind == "remove":
            del parent[key]
        elif isinstance(parent, dict):
            parent[draw(st.text(max_size=5))] = draw(odd_values)
        else:
            parent.append(draw(odd_values))
    return result
