"""Select faces from the labels of ``headpose label``: filter, balance, sample.

DuckDB reads the files and evaluates the query. The query is parsed as a single SQL expression, and DuckDB runs without
access to files, extensions, the network or Python variables, so a query of unknown origin can only compute.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset

from headpose.bulk import plan, rows, storage
from headpose.errors import DataError, InputError

_BALANCE = re.compile(r"([a-z_0-9]+):(\d+(?:\.\d+)?)")
_NUMBERS = [field.name for field in rows.LABELS if pa.types.is_floating(field.type) or pa.types.is_integer(field.type)]


@dataclass(frozen=True, slots=True)
class Balance:
    """Bins of a column that are filled evenly.

    Attributes:
        column: Numeric column of the labels, such as ``yaw``.
        width: Width of a bin, in the column's unit.
    """

    column: str
    width: float

    @classmethod
    def parse(cls, text: str) -> Balance:
        """Parse ``COLUMN:WIDTH``.

        Raises:
            InputError: The text has another form, the column is not numeric, or the width is 0.
        """
        found = _BALANCE.fullmatch(text)
        if not found or float(found[2]) == 0 or not math.isfinite(float(found[2])):
            raise InputError(f"balance needs COLUMN:WIDTH, such as yaw:15; got {text!r}")
        if found[1] not in _NUMBERS:
            raise InputError(f"cannot balance {found[1]}: use one of {', '.join(_NUMBERS)}")
        return cls(found[1], float(found[2]))


def dataset(labels: Path) -> tuple[Any, Path]:
    """Open the labels of a run.

    Args:
        labels: Folder of ``headpose label``, its folder ``labels``, or one Parquet file of it.

    Returns:
        (dataset of the faces, folder that relative sources start from).

    Raises:
        DataError: There are no labels, or they are not of ``headpose label``.
    """
    run = next((folder for folder in (labels, *labels.parents[:2]) if (folder / plan.MANIFEST).is_file()), None)
    manifest = (plan.stored(run) if run is not None else None) or {}
    if run is not None and labels == run:
        labels = run / "labels"
        there = len(list(labels.glob("part-*.parquet")))
        if there < manifest["shards"]:
            raise DataError(f"{run} is not finished ({there} of {manifest['shards']} parts): run headpose label again")
    if not labels.exists():
        raise DataError(f"{labels} does not exist: give the folder of headpose label")
    try:
        found = pyarrow.dataset.dataset(labels, format="parquet", exclude_invalid_files=False)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DataError(f"cannot read {labels}: {storage.first_line(error)}") from None
    if missing := [name for name in rows.LABELS.names if name not in found.schema.names]:
        raise DataError(f"{labels} has no labels of headpose label: the column {missing[0]} is missing")
    return found, Path(manifest.get("folder") or ".")


def select(
    faces: Any, query: str = "", *, balance: Sequence[Balance] = (), count: int | None = None, seed: int = 0
) -> pa.Table:
    """Filter, balance and sample faces.

    Args:
        faces: Arrow table or dataset with the columns ``rows.LABELS``.
        query: SQL expression over the columns, such as ``abs(yaw) < 30 and score > 0.8``; "" for all faces. Faces for
            which it is unknown, because a column is empty, are left out.
        balance: Columns whose bins get the same number of faces, as far as they have them. Several columns divide
            the faces into a grid.
        count: Number of faces; None for all, or with ``balance`` as many as keep all non-empty bins equal.
        seed: Seed of the sample.

    Returns:
        The selected rows, in order of source, member, frame and face.

    Raises:
        InputError: The query is not an expression over the columns, or no face fits.
    """
    connection = _connection()
    connection.register("faces", faces)
    chosen = connection.table("faces")
    if query.strip():
        try:
            chosen = chosen.filter(query)
            chosen.limit(0).fetchall()
        except duckdb.Error as error:
            raise InputError(f"cannot use the query {query!r}: {storage.first_line(error)}") from None
    # Without balance there is one bin.
    bins = [f"floor(({each.column} + {each.width / 2}) / {each.width})::BIGINT" for each in balance]
    key = f"concat_ws('|', {', '.join(bins)})" if bins else "''"
    order = f"md5(concat_ws('|', source, member, frame, face, {int(seed)}))"
    try:
        binned = chosen.project(f"*, {key} AS bin_, {order} AS order_")
        sizes: dict[str, int] = dict(binned.aggregate("bin_, count(*)").fetchall())
        if not sizes:
            raise InputError(_why_none(connection, query))
        quotas = quotas_of(sizes, count, balanced=bool(balance))
        connection.register("quotas", pa.table({"bin_": list(quotas), "quota_": list(quotas.values())}))
        ranked = binned.project("*, row_number() OVER (PARTITION BY bin_ ORDER BY order_) AS rank_")
        kept = ranked.join(connection.table("quotas").set_alias("quotas"), "bin_").filter("rank_ <= quota_")
        names = ", ".join(rows.LABELS.names)
        table = kept.order("source, member NULLS FIRST, frame NULLS FIRST, face").project(names).to_arrow_table()
    except duckdb.Error as error:
        raise InputError(f"the query {query!r} fails: {storage.first_line(error)}") from None
    return table.cast(rows.LABELS)


def quotas_of(sizes: dict[str, int], count: int | None, *, balanced: bool) -> dict[str, int]:
    """Return how many faces each bin gives.

    Args:
        sizes: Number of faces in each bin.
        count: Number of faces wanted; None as in ``select``.
        balanced: The bins are those of a balance.
    """
    if not balanced:
        return {name: size if count is None else min(size, count) for name, size in sizes.items()}
    if count is None:
        return dict.fromkeys(sizes, min(sizes.values()))
    quotas, left = {}, min(count, sum(sizes.values()))
    # The smallest bins first: what they lack is shared among the others.
    for place, (name, size) in enumerate(sorted(sizes.items(), key=lambda item: (item[1], item[0]))):
        quotas[name] = min(size, left // (len(sizes) - place))
        left -= quotas[name]
    for name in sorted(quotas, key=lambda name: (sizes[name] - quotas[name], name), reverse=True)[:left]:
        quotas[name] += 1
    return quotas


def _connection() -> Any:
    connection = duckdb.connect(":memory:")
    for setting in (
        "enable_external_access = false",
        "python_enable_replacements = false",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")
    return connection


def _why_none(connection: Any, query: str) -> str:
    """Say why no face fits: the query may use a column that this network does not fill."""
    used = [name for name in rows.LABELS.names if re.search(rf"\b{name}\b", query)]
    for name in used:
        if connection.table("faces").filter(f"{name} IS NOT NULL").limit(1).fetchall() == []:
            return f"no face fits the query {query!r}: the column {name} is empty in these labels"
    return f"no face fits the query {query!r}" if query else "there are no faces in these labels"
