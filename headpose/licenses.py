"""License classes of weights, and the names that earlier versions wrote for them.

Manifests, recipes, adapters and the metadata of networks have two keys: ``license``, one of ``License``, and
``license_terms``, free text. Files of earlier versions have ``lane`` and ``licence`` instead. Every reader of these
files calls ``with_current_keys`` or ``with_current_key``; nothing else knows the old names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

License = Literal["permissive", "research-only", "unknown"]
"""``permissive``: any use, products included. ``research-only``: trained on data whose terms allow research only."""

_KEYS = {"lane": "license", "licence": "license_terms"}
_VALUES = {"clean": "permissive", "research": "research-only"}  # of ``lane`` alone


def with_current_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the keys of earlier versions, and the values of ``lane``.

    Args:
        values: A table of a file. It may hold anything.

    Returns:
        A new table in the same order. An old key stays where the table has the current key as well, so that a reader
        that refuses unknown keys refuses it.
    """
    renamed = {}
    for key, value in values.items():
        current = _KEYS.get(key, key)
        if current != key and current in values:
            current = key
        elif key == "lane" and isinstance(value, str):
            value = _VALUES.get(value, value)
        renamed[current] = value
    return renamed


def with_current_key(change: str) -> str:
    """Rename the key, and the value of ``lane``, in a change to a recipe (``--set``).

    Args:
        change: ``KEY=VALUE``.

    Returns:
        The change with the current key; other changes as they are.
    """
    key, equals, text = change.partition("=")
    if not equals or key.strip() not in _KEYS:
        return change
    word = text.strip().strip("\"'")
    value = _VALUES.get(word, text) if key.strip() == "lane" else text
    return f"{_KEYS[key.strip()]}={value}"
