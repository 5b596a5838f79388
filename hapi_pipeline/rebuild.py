"""Remakes the derived tables from the ledgers and holds them against those of the lake, row by row.

Nothing of the lake is trusted: not its partitions, not what they say of themselves. What differs is told, and with
`write` replaced, partition by partition.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.as_of import World, lay_ledgers, make, needed
from hapi_pipeline.lake import Lake
from hapi_pipeline.recipes import recipes
from hapi_pipeline.settings import Home, UserError
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

NOT_COMPARED = {"packets": ("issued_at",)}
"""Columns that stand in no ledger: moments at which something was made."""


@dataclass(frozen=True)
class Difference:
    """A partition of the lake that is not what the ledgers make of it."""

    table: str
    keys: Mapping[str, str]
    text: str
    mendable: bool = True


@dataclass(frozen=True)
class Compared:
    """What came of holding one table against the ledgers."""

    table: str
    partitions: int
    rows: int
    differences: tuple[Difference, ...]


def derived_tables() -> list[str]:
    """Every table that is made from others, each after what it is made from."""
    return needed([name for name in TABLES if name in {*recipes(), "attempts", "packets", "verdicts"}])


def rebuild(home: Home, tables: Collection[str] | None = None, *, write: bool = False) -> Iterator[Compared]:
    """Remake these tables (default: all) and compare them with the lake's; with `write` put right what differs.

    UserError for a table that is unknown or a ledger.
    """
    wanted = _known(tables) if tables is not None else derived_tables()
    (home.root / ".cache").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rebuild-", dir=home.root / ".cache") as folder:
        world = World(home, Lake(Path(folder) / "lake"), trusting=False)
        lay_ledgers(world)
        for name in wanted:
            make(world, [name])  # what has been made already for another table is up to date
            yield _compare(world, name, write)


def _known(tables: Collection[str]) -> list[str]:
    for name in tables:
        if name not in TABLES:
            raise UserError(f"There is no table {name!r}; docs/data_dictionary.md lists them.")
        if TABLES[name].ledger:
            raise UserError(f"{name} is a ledger: it holds what cannot be made again, so there is nothing to rebuild.")
    return list(tables)


def _compare(world: World, table: str, write: bool) -> Compared:
    scopes, differences, rows = world.scopes(table), [], 0
    for keys in scopes:
        made = world.lake.read(table, keys)
        rows += made.num_rows
        text = difference(table, _read(world.source, table, keys), made)
        if text:
            differences.append(Difference(table, keys, text))
            if write:
                world.source.adopt(table, keys, world.lake.path(table, keys))
    for keys in world.source.partitions(table):
        kept = _read(world.source, table, keys) if keys not in scopes else None
        if kept is not None and (isinstance(kept, str) or kept.num_rows):
            text = "stands in the lake, but its month has no jobs or its model is not in models.yaml"
            differences.append(Difference(table, keys, text, mendable=False))
    return Compared(table, len(scopes), rows, tuple(differences))


def _read(lake: Lake, table: str, keys: Mapping[str, str]) -> pa.Table | str:
    """The rows of a partition, or why they cannot be read."""
    import pyarrow as pa

    try:
        return lake.read(table, keys)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        return getattr(error, "why", None) or str(error).splitlines()[0][:120]


def difference(table: str, there: pa.Table | str, made: pa.Table) -> str | None:
    """What differs between the rows of the lake and those made from the ledgers, in words; None where nothing does."""
    if isinstance(there, str):
        return f"cannot be read: {there}"
    compared = [name for name in TABLES[table].names if name not in NOT_COMPARED.get(table, ())]
    if there.select(compared).equals(made.select(compared)):
        return None
    key = TABLES[table].key
    old, new = _by_key(there, key, compared), _by_key(made, key, compared)
    lacking, surplus = len(new.keys() - old.keys()), len(old.keys() - new.keys())
    changed = [k for k in old.keys() & new.keys() if old[k] != new[k]]
    columns = [name for i, name in enumerate(compared) if any(old[k][i] != new[k][i] for k in changed)]
    parts = [
        f"{lacking:,} row(s) are missing" if lacking else "",
        f"{surplus:,} row(s) should not be there" if surplus else "",
        f"{len(changed):,} row(s) differ in {', '.join(columns)}" if changed else "",
        f"{there.num_rows - len(old):,} row(s) are there twice" if there.num_rows > len(old) else "",
    ]
    told = "; ".join(filter(None, parts))
    return told or ("the rows stand in another order" if list(old) != list(new) else None)


def _by_key(rows: pa.Table, key: Sequence[str], columns: Sequence[str]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    keys = zip(*(rows[name].to_pylist() for name in key), strict=True)
    values = zip(*(rows[name].to_pylist() for name in columns), strict=True)
    return dict(zip(keys, values, strict=True))
