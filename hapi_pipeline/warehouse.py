"""The warehouse: `hapi.duckdb`, one file with all public tables, for whoever wants to ask in SQL without this project.

Which tables and columns leave is decided in `release/public.py`. Every table and column carries its meaning as a
comment, `about` says what the file is, and `sql/examples/` become views. The file is built beside its place, closed,
made durable and renamed, so a reader sees the old one or the new one.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hapi_pipeline import __version__
from hapi_pipeline.engine import duckdb_type, quoted
from hapi_pipeline.lake import Lake
from hapi_pipeline.made import PLACES, made_from
from hapi_pipeline.registry import Registry
from hapi_pipeline.release.public import PUBLIC, opened, public_sql, public_table
from hapi_pipeline.release.searched import searched
from hapi_pipeline.settings import Home, shipped
from hapi_pipeline.tables import Column, Table

if TYPE_CHECKING:
    import duckdb

EXAMPLES = "example_"
"""What the names of example views begin with."""
ABOUT = "about"


_FORMAT = "STORAGE_VERSION 'v1.4.0', BLOCK_SIZE 65536"
"""Readers since DuckDB 1.4 open it; small blocks, for most tables are small, halve the file."""


@dataclass(frozen=True)
class Built:
    """What a warehouse holds."""

    path: Path
    tables: int
    rows: int
    examples: int
    bytes: int
    simulated: bool


@dataclass(frozen=True)
class Example:
    """A query of `sql/examples/`: what it answers, and its SELECT."""

    name: str
    meaning: str
    sql: str


def warehouse_path(home: Home) -> Path:
    """Where the warehouse of a home stands."""
    return home.releases / PLACES["warehouse"]


def build_warehouse(lake: Lake, registry: Registry, home: Home, out: Path, state: str | None = None) -> Built:
    """Write the warehouse of a lake. The same lake gives the same content, in the same order.

    Texts of jobs in which the search for personal data finds something are left out (`release/searched.py`).
    `state` is `made_from(lake, registry)` where the caller has it already.
    """
    shown = searched(lake, registry, home)
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.parent / f".{out.name}.{uuid.uuid4().hex}.part"
    try:
        rows = _fill(lake, shown.clearance, staged)
        simulated = _describe(staged, registry, state or made_from(lake, registry), newest_import(lake))
        with staged.open("rb") as file:
            os.fsync(file.fileno())
        size = staged.stat().st_size
        staged.replace(out)
    finally:
        for left in (staged, staged.with_name(f"{staged.name}.wal")):
            with suppress(FileNotFoundError):
                left.unlink()
    return Built(out, len(PUBLIC), rows, len(examples()), size, simulated)


def newest_import(lake: Lake) -> str:
    """When the newest file came in that the lake knows of, as ISO 8601 in UTC; empty where none has."""
    imports = lake.imports()
    return imports[-1].imported_at if imports else ""


def _fill(lake: Lake, clearance: Mapping[str, str], path: Path) -> int:
    """Create the tables and copy their rows; how many."""
    total = 0
    with opened(lake, clearance) as connection:
        connection.execute(f"ATTACH {quoted(path)} AS warehouse ({_FORMAT})")
        connection.begin()  # one transaction is one wait for the disk
        for name in PUBLIC:
            connection.execute(_create(public_table(name)))
            connection.execute(f'INSERT INTO warehouse.main."{name}" {public_sql(name)}')
            total += _count(connection, f'warehouse.main."{name}"')
        connection.commit()
        connection.execute("DETACH warehouse")
    return total


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608
    return int(found[0])


def _create(table: Table) -> str:
    columns = ", ".join(f'"{c.name}" {duckdb_type(c.name)}{"" if c.nullable else " NOT NULL"}' for c in table.columns)
    return f'CREATE TABLE warehouse.main."{table.name}" ({columns})'


# ---- what the file says of itself


def _describe(path: Path, registry: Registry, state: str, as_of: str) -> bool:
    """Add comments, `about` and the examples, with nothing but DuckDB; whether any of it is simulated."""
    import duckdb

    with duckdb.connect(str(path)) as connection:
        connection.begin()
        for name in PUBLIC:
            for statement in _comments(public_table(name)):
                connection.execute(statement)
        simulated = _simulated(connection)
        _about(connection, registry, state, as_of, simulated)
        for example in examples():
            view = f'"{EXAMPLES}{example.name}"'
            connection.execute(f"CREATE VIEW {view} AS {example.sql}")
            connection.execute(f"COMMENT ON VIEW {view} IS {quoted(example.meaning)}")
        connection.commit()
        connection.execute("CHECKPOINT")
    return simulated


def _comments(table: Table) -> Iterator[str]:
    key = ", ".join(table.key)
    left_out = PUBLIC[table.name].left_out
    said = f"{table.meaning} One row per {table.grain}; primary key: {key}."
    said += f" Left out: {left_out}." if left_out else ""
    yield f'COMMENT ON TABLE "{table.name}" IS {quoted(said)}'
    for column in table.columns:
        yield f'COMMENT ON COLUMN "{table.name}"."{column.name}" IS {quoted(column_comment(column))}'


def column_comment(column: Column) -> str:
    """What a column means, with its unit."""
    return column.meaning + (f" [{column.field.unit}]" if column.field.unit else "")


def _simulated(connection: duckdb.DuckDBPyConnection) -> bool:
    marked = [name for name in PUBLIC if "simulated" in public_table(name).names]
    union = " UNION ALL ".join(f'SELECT bool_or(simulated) AS s FROM "{name}"' for name in marked)  # noqa: S608
    ((found,),) = connection.execute(f"SELECT bool_or(s) FROM ({union})").fetchall()  # noqa: S608
    return bool(found)


def _about(connection: duckdb.DuckDBPyConnection, registry: Registry, state: str, as_of: str, simulated: bool) -> None:
    """The table `about`: what the file is, for whoever finds it without its maker."""
    ((jobs, first, last),) = connection.execute(
        "SELECT count(*), min(cohort), max(cohort) FROM benchmark_jobs"
    ).fetchall()
    ((models,),) = connection.execute("SELECT count(DISTINCT model) FROM leaderboard").fetchall()
    publish = registry.benchmark.publish
    warning = "SIMULATED DATA: posts, models, graders and outcomes are invented. " if simulated else ""
    as_of = as_of or "no import"
    rows = [
        ("what", f"{warning}{publish.title}: a benchmark of human + agent work, in all tables that are public."),
        ("simulated", "yes" if simulated else "no"),
        ("as_of", as_of),
        ("made_by", f"hapi_pipeline {__version__}"),
        ("made_from", state),
        ("benchmark_version", registry.benchmark.version),
        ("completion_rule", registry.benchmark.completion_rule),
        ("jobs", f"{jobs:,}"),
        ("months", f"{first} to {last}" if jobs else "none"),
        ("models", f"{models:,}"),
        ("licence", publish.licence or "not stated"),
        ("how_to_cite", f"{warning}{', '.join(publish.authors) or 'hapi_pipeline'}: {publish.title}, data as of "
         f"{as_of}, made by hapi_pipeline {__version__}, state {state[:12]}. "
         "In print cite a release (`hapi release`), which stays as it is."),
        ("how_to_read", "SELECT * FROM example_tables; DuckDB's comments say what every table and column means."),
        ("what_is_missing", "Texts of jobs that are not cleared for publication or hold personal data, clients, "
         "and who graded what."),
    ]  # fmt: skip
    connection.execute(f'CREATE TABLE "{ABOUT}" (item VARCHAR NOT NULL, value VARCHAR NOT NULL)')
    connection.executemany(f'INSERT INTO "{ABOUT}" VALUES (?, ?)', rows)  # noqa: S608
    connection.execute(f"COMMENT ON TABLE \"{ABOUT}\" IS 'What this file is, made from what, and how to cite it.'")
    connection.execute(f"COMMENT ON COLUMN \"{ABOUT}\".item IS 'What is told'")
    connection.execute(f"COMMENT ON COLUMN \"{ABOUT}\".value IS 'In words; made_from is a hash over all that went in'")


def examples() -> list[Example]:
    """The queries of `sql/examples/`, by name: a file each, beginning with what it answers."""
    return [_example(path) for path in sorted(shipped("sql/examples").glob("*.sql"))]


def _example(path: Path) -> Example:
    text = path.read_text("utf-8")
    head = [line.removeprefix("--").strip() for line in text.splitlines() if line.startswith("--")]
    body = re.sub(r"^--.*\n", "", text, flags=re.MULTILINE).strip().rstrip(";")
    return Example(path.stem, " ".join(head), body)
