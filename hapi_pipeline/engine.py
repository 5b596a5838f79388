"""Runs the project's SQL over the lake: an in-memory DuckDB per call, views over exactly the files that are meant."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hapi_pipeline.copies import copy_of
from hapi_pipeline.lake import Lake
from hapi_pipeline.parallel import ahead, cores
from hapi_pipeline.settings import UserError, shipped
from hapi_pipeline.tables import TABLES
from hapi_pipeline.troubles import named_trouble

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

Made = TypeVar("Made")
Files = Mapping[str, Sequence[Path]]
"""Files of tables, by the tables' names."""
_SETTINGS = {"preserve_insertion_order": "true"}
_BATCH = 8192  # rows that a stream hands over at a time


@dataclass(frozen=True)
class Query:
    """One file of `sql/`: a SELECT that is named like the table it makes."""

    name: str
    sql: str
    header: Mapping[str, str]  # `-- grain: …`, `-- denominator: …` at its head

    @functools.cached_property
    def inputs(self) -> tuple[str, ...]:
        """The tables it reads, from the SQL itself, in order of their names."""
        kept = _kept_lineage(self.name)
        return tuple(kept["inputs"]) if kept else derive_inputs(self.sql)


@functools.cache
def query(name: str) -> Query:
    """The query that makes a table."""
    path = shipped("sql") / f"{name}.sql"
    sql = path.read_text("utf-8")
    header = {}
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        key, _, value = line.removeprefix("--").partition(":")
        header[key.strip()] = value.strip()
    return Query(name, sql, header)


def derive_inputs(sql: str) -> tuple[str, ...]:
    """The tables that a query reads, its own CTEs left out, worked out from the SQL."""
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(sql, read="duckdb")
    named_within = {cte.alias for cte in tree.find_all(exp.CTE)}
    return tuple(sorted({t.name for t in tree.find_all(exp.Table)} - named_within))


def column_lineage(name: str) -> dict[str, list[tuple[str, str]]]:
    """For each column of a table made by SQL: the (table, column) pairs that it is computed from."""
    kept = _kept_lineage(name)
    if kept is None:
        return derive_column_lineage(name)
    return {column: [(t, c) for t, c in sources] for column, sources in kept["columns"].items()}


def _kept_lineage(name: str) -> dict[str, Any] | None:
    """What `sql/_lineage.json` says of a query, as long as it was derived from the very text of the query.

    Deriving it takes up to a second a query, which every process would pay.
    """
    kept: dict[str, Any] | None = _all_kept_lineage().get(name)
    return kept if kept and kept["sql_sha256"] == _sql_sha256(name) else None


@functools.cache
def _all_kept_lineage() -> dict[str, Any]:
    path = shipped("sql") / "_lineage.json"
    return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}


def _sql_sha256(name: str) -> str:
    return hashlib.sha256(query(name).sql.encode()).hexdigest()


def all_lineage() -> dict[str, Any]:
    """What `sql/_lineage.json` holds: inputs and lineage of every query, each with the hash of the text they are of."""
    names = sorted(path.stem for path in shipped("sql").glob("[!_]*.sql"))
    return {
        name: {
            "sql_sha256": _sql_sha256(name),
            "inputs": derive_inputs(query(name).sql),
            "columns": derive_column_lineage(name),
        }
        for name in names
    }


def derive_column_lineage(name: str) -> dict[str, list[tuple[str, str]]]:
    """`column_lineage`, worked out from the SQL."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    made = query(name)
    schema = {t: {c.name: "TEXT" for c in TABLES[t].columns} for t in made.inputs if t in TABLES}
    schema |= {relation: dict.fromkeys(columns, "TEXT") for relation, columns in CONSTANT_RELATIONS.items()}
    tree = qualify(sqlglot.parse_one(made.sql, read="duckdb"), schema=schema, dialect="duckdb")
    scope = build_scope(tree)  # given, for lineage would qualify the whole query anew for every column
    found: dict[str, list[tuple[str, str]]] = {}
    for column in TABLES[name].names:
        if column not in tree.named_selects:
            continue
        sources = set()
        for node in lineage(column, tree, schema, dialect="duckdb", scope=scope, trim_selects=False).walk():
            if not node.downstream and isinstance(node.expression, exp.Table) and node.expression.name in TABLES:
                sources.add((node.expression.name, node.name.rsplit(".", 1)[-1].strip('"')))
        found[column] = sorted(sources)
    return found


CONSTANT_RELATIONS: dict[str, tuple[str, ...]] = {
    "round_paths": ("round", "step", "step_position", "after", "arm"),
    "registered_models": ("model", "training_cutoff"),
    "rules_alone": ("position", "rule", "category", "n_alone"),
    "cells": ("cohort", "model"),
}
"""Relations that SQL may read although they are no tables of the lake; the caller supplies them, we the cells."""


@functools.cache
def _shared() -> duckdb.DuckDBPyConnection:
    """One in-memory database a process, with nothing in it but the macros; starting one takes as long as a query."""
    return _fresh({})


def _fresh(settings: Mapping[str, str]) -> duckdb.DuckDBPyConnection:
    import duckdb

    from hapi_pipeline.intake import html, moments, money

    connection = duckdb.connect(config={**_SETTINGS, "threads": str(min(2, max(1, cores()))), **settings})
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    for module in (html, moments, money):
        module.register(connection)
    connection.execute((shipped("sql") / "_macros.sql").read_text("utf-8"))
    return connection


@contextmanager
def connect(settings: Mapping[str, str] | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection with the project's macros; what it makes must be TEMP and is gone when it closes.

    With `settings` it is to a database of its own.
    """
    connection = _shared().cursor() if settings is None else _fresh(settings)
    try:
        yield connection
    finally:
        connection.close()


def open_tables(
    connection: duckdb.DuckDBPyConnection, lake: Lake, names: Mapping[str, Mapping[str, str]] | list[str]
) -> None:
    """Make a view for each table, over the files that match its partition keys."""
    scopes = names if isinstance(names, Mapping) else {name: {} for name in names}
    open_files(connection, {name: lake.files(name, keys) for name, keys in scopes.items()})


def open_files(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Sequence[Path | str]]) -> None:
    """Make a view for each table, over exactly these of its files (paths, or addresses that DuckDB can read)."""
    import duckdb

    for name, files in tables.items():
        columns = TABLES[name].columns
        if files:
            found = parquet(files)
            selected = ", ".join(f'"{c.name}"' for c in columns)
            try:
                connection.execute(f'CREATE TEMP VIEW "{name}" AS SELECT {selected} FROM {found}')  # noqa: S608
            except duckdb.BinderException:
                _open_older(connection, name, found)
        else:
            nothing = ", ".join(f'NULL::{_DUCKDB[c.field.type]} AS "{c.name}"' for c in columns)
            connection.execute(f'CREATE TEMP VIEW "{name}" AS SELECT {nothing} WHERE false')


def _open_older(connection: duckdb.DuckDBPyConnection, name: str, found: str) -> None:
    """What an earlier version wrote without a column that is declared today is read with nulls in it."""
    there = {c[0] for c in connection.execute(f"SELECT * FROM {found} LIMIT 0").description}  # noqa: S608
    columns = ", ".join(
        f'"{c.name}"' if c.name in there else f'NULL::{_DUCKDB[c.field.type]} AS "{c.name}"'
        for c in TABLES[name].columns
    )
    connection.execute(f'CREATE TEMP VIEW "{name}" AS SELECT {columns} FROM {found}')  # noqa: S608


_DUCKDB = {
    "text": "VARCHAR",
    "json": "VARCHAR",
    "int": "BIGINT",
    "float": "DOUBLE",
    "bool": "BOOLEAN",
    "timestamp": "TIMESTAMPTZ",
    "texts": "VARCHAR[]",
}


def duckdb_type(column: str) -> str:
    """The DuckDB type of a field."""
    from hapi_pipeline.tables import FIELDS

    return _DUCKDB[FIELDS[column].type]


def parquet(files: Iterable[Path | str]) -> str:
    """A DuckDB table function over exactly these Parquet files."""
    listed = ", ".join(quoted(path) for path in files)
    return f"read_parquet([{listed}], hive_partitioning=false, union_by_name=true)"


def quoted(text: object) -> str:
    """A text, or a path, as a literal of SQL."""
    return "'" + str(text).replace("'", "''") + "'"


def run(
    lake: Lake,
    made: Query,
    scope: Mapping[str, str],
    params: Mapping[str, Any] | None = None,
    relations: Mapping[str, pa.Table] | None = None,
) -> pa.Table:
    """The rows of one query over the lake.

    `scope` names partition keys: each table read is limited to the files that match the keys it is partitioned by.
    `params` are the query's $named parameters; those it does not use are left out. `relations` are extra inputs.
    """

    def ask(connection: duckdb.DuckDBPyConnection) -> pa.Table:
        _register(connection, made, [scope], relations or {})
        return connection.sql(made.sql, params=_used(made, params) or None).to_arrow_table()

    made_on = on_files if scope else summed
    return made_on(_inputs_of(lake, made, [scope], relations or {}), ask)


def run_together(
    lake: Lake,
    made: Query,
    scopes: Sequence[Mapping[str, str]],
    params: Mapping[str, Any] | None = None,
    relations: Mapping[str, pa.Table] | None = None,
) -> Iterator[tuple[Mapping[str, str], pa.Table]]:
    """The rows of one query for several cells, each a cohort and model: planned and run once, then cut; in key order.

    It must be a query that keeps cells apart: whose rows for a cell are the same whatever rows of other cells its
    inputs hold, as long as no job is in two cohorts. Where one is, each cohort is asked for by itself. `params` and
    `relations` as in `run`; models and cohorts are not among the parameters.
    """
    table = TABLES[made.name]
    columns = ", ".join(f'"{name}"' for name in table.names)
    order = ", ".join(f'"{name}"' for name in dict.fromkeys(("cohort", "model", *table.key)))
    sql = f"SELECT {columns} FROM ({made.sql}\n) ORDER BY {order}"  # noqa: S608
    cohorts = {scope["cohort"] for scope in scopes}
    with connect() as connection:
        open_files(connection, _inputs_of(lake, made, scopes, relations or {}))
        _register(connection, made, scopes, relations or {})
        shared = len(cohorts) > 1 and _jobs_in_two_cohorts(connection, made)
        rows = None if shared else connection.sql(sql, params=_used(made, params) or None).to_arrow_table()
    if rows is None:
        for cohort in sorted(cohorts):
            own = [scope for scope in scopes if scope["cohort"] == cohort]
            yield from run_together(lake, made, own, params, relations)
    else:
        yield from _cut_by_cell(rows, scopes)


def _jobs_in_two_cohorts(connection: duckdb.DuckDBPyConnection, made: Query) -> bool:
    """Whether the inputs have rows about a job in two cohorts: while it moves, or where a verdict names another job."""
    of_cohorts = [
        f'SELECT cohort, job_id FROM "{name}"'  # noqa: S608
        for name in made.inputs
        if name in TABLES and "job_id" in TABLES[name].names and TABLES[name].partitions[:1] == ("cohort",)
    ]
    if not of_cohorts:
        return False
    pairs = " UNION ".join(of_cohorts)
    twice = f"SELECT 1 FROM ({pairs}) GROUP BY job_id HAVING count(*) > 1 LIMIT 1"  # noqa: S608
    return bool(connection.execute(twice).fetchall())


def _cut_by_cell(rows: pa.Table, scopes: Sequence[Mapping[str, str]]) -> Iterator[tuple[Mapping[str, str], pa.Table]]:
    """The rows of each cell, of a table that is in the order of cohorts and models."""
    if len(scopes) == 1:
        yield scopes[0], rows
        return
    counts = rows.group_by(["cohort", "model"], use_threads=False).aggregate([([], "count_all")])
    places, at = {}, 0
    for row in counts.sort_by([("cohort", "ascending"), ("model", "ascending")]).to_pylist():
        places[row["cohort"], row["model"]] = (at, row["count_all"])
        at += row["count_all"]
    for scope in scopes:
        at, count = places.get((scope["cohort"], scope["model"]), (0, 0))
        yield scope, rows.slice(at, count)


def _inputs_of(
    lake: Lake, made: Query, scopes: Sequence[Mapping[str, str]], relations: Mapping[str, pa.Table]
) -> Files:
    """The files of the tables that a query names, limited to those that match any of the scopes."""
    wanted = [name for name in made.inputs if name not in relations and name not in CONSTANT_RELATIONS]
    return {name: files_of(lake, name, scopes) for name in wanted}


def _register(
    connection: duckdb.DuckDBPyConnection,
    made: Query,
    scopes: Sequence[Mapping[str, str]],
    relations: Mapping[str, pa.Table],
) -> None:
    """Let a query find what it names besides files."""
    if "cells" in made.inputs and "cells" not in relations:
        relations = {**relations, "cells": _cells(scopes)}
    for name, rows in relations.items():
        connection.register(name, rows)


def files_of(lake: Lake, table: str, scopes: Sequence[Mapping[str, str]]) -> list[Path]:
    """The files of a table that match any of the scopes, each once."""
    keys = {tuple(_own_keys(table, scope).items()) for scope in scopes}
    return sorted({path for own in keys for path in lake.files(table, dict(own))})


def _cells(scopes: Sequence[Mapping[str, str]]) -> pa.Table:
    import pyarrow as pa

    schema = pa.schema([(name, pa.string()) for name in CONSTANT_RELATIONS["cells"]])
    return pa.Table.from_pylist([dict(scope) for scope in scopes], schema=schema)


SPILLING = {"memory_limit": "1GB"}
"""Settings for work on whole files and tables: what does not fit goes to a temporary folder."""
_SMALL = 8 << 20
"""Bytes of Parquet that are worked on without a limit: a database of its own takes 35 ms of CPU to open."""
_SORTING = {"memory_limit": "700MB", "threads": "1"}
"""The same for sorting long texts: with more threads DuckDB needs more memory than it may have, and gives up."""


_LARGE = 4 << 20
"""Bytes of Parquet up to which adding up all of them needs no bound: states of jobs become a hundred times as many."""
_SUMMING = {"memory_limit": "400MB"}


def _bytes(files: Files) -> int:
    return sum(path.stat().st_size for some in files.values() for path in some)


def on_files(files: Files, work: Callable[[duckdb.DuckDBPyConnection], Made]) -> Made:
    """What `work` makes on a connection with a view for each table over these files."""
    with connect() as connection:
        open_files(connection, files)
        return work(connection)


def summed(files: Files, work: Callable[[duckdb.DuckDBPyConnection], Made]) -> Made:
    """The same for what adds up over all months and models: where there is much in the files, memory is bounded.

    Not everything in DuckDB can wait in a file: `work` that does not do with so little begins anew without a bound.
    """
    import duckdb

    if _bytes(files) > _LARGE:
        with contextlib.suppress(duckdb.OutOfMemoryException), spilling(_SUMMING) as connection:
            open_files(connection, files)
            return work(connection)
    return on_files(files, work)


@contextmanager
def spilling(settings: Mapping[str, str] = SPILLING) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a database of its own that stays within the memory of its settings, whatever it works on."""
    with tempfile.TemporaryDirectory(prefix="hapi-") as scratch, connect({**settings, "temp_directory": scratch}) as c:
        yield c


def batches(
    lake: Lake, made: Query, scope: Mapping[str, str], params: Mapping[str, Any] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of the table that a query makes, in the order of its key, a few at a time: for tables with long texts.

    `scope` and `params` as in `run`.
    """
    table = TABLES[made.name]
    columns, order = (", ".join(f'"{name}"' for name in names) for names in (table.names, table.key))
    files = {name: lake.files(name, _own_keys(name, scope)) for name in made.inputs}
    with connect() if _bytes(files) <= _SMALL else spilling(_SORTING) as connection:
        open_files(connection, files)
        sql = f"SELECT {columns} FROM ({made.sql}\n) ORDER BY {order}"  # noqa: S608
        yield from stream(connection, sql, _used(made, params))


def stream(
    connection: duckdb.DuckDBPyConnection, sql: str, params: Mapping[str, Any] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a SELECT in batches of some thousand, worked out while the ones before are being used."""
    return ahead(connection.sql(sql, params=params or None).to_arrow_reader(_BATCH))


def _used(made: Query, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Those of the parameters that a query names."""
    used = set(re.findall(r"\$([a-z_]+)", made.sql))
    return {k: v for k, v in (params or {}).items() if k in used}


def _own_keys(table: str, scope: Mapping[str, str]) -> dict[str, str]:
    """The keys of a scope that a table is partitioned by; a ledger never by cohort, for a job may change its month."""
    declared = TABLES[table]
    return {p: scope[p] for p in declared.partitions if p in scope and not (declared.ledger and p == "cohort")}


def read_only_query(lake: Lake, sql: str, tables: Collection[str] = tuple(TABLES)) -> pa.Table:
    """Answer a user's SELECT over every table of the lake, with no way to write or to read anything else.

    Where `tables` are named, it is over these only.
    Raises UserError for anything but one SELECT, and for SQL that DuckDB refuses.
    """
    import duckdb

    with connect({}) as connection:  # a database of its own, for it is locked down
        try:
            statements = duckdb.extract_statements(sql)
        except duckdb.Error as error:
            raise UserError(f"That is not valid SQL: {_first_line(error)}") from error
        # EXPLAIN is not among them: EXPLAIN ANALYZE runs what it explains, a COPY into the lake for one
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise UserError("Only a single SELECT can be asked; the lake is never changed by a query.")
        root = lake.root.resolve()
        try:
            allowed = _open_for_a_question(connection, lake, sql, tables)
        except duckdb.Error as error:
            told = UserError(f"A table cannot be read; `hapi rebuild --write` remakes it: {_first_line(error)}")
            raise named_trouble(error, root) or told from error
        connection.execute(f"SET allowed_directories = [{', '.join(map(quoted, allowed))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            return connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise named_trouble(error, root) or UserError(f"The query failed: {_first_line(error)}") from error


def _open_for_a_question(
    connection: duckdb.DuckDBPyConnection, lake: Lake, sql: str, tables: Collection[str]
) -> list[object]:
    """Make the views that a question may read; the folders or addresses that their files lie in."""
    if copy := copy_of(lake.root):
        from hapi_pipeline.direct import named_in, open_objects

        return [open_objects(connection, copy, named_in(sql, tables))]
    root = lake.root.resolve()
    open_tables(connection, Lake(root), list(tables))
    # ledgers that are links, as in the lake of a day: DuckDB looks at where they lead
    return [root, *(p.resolve() for p in root.iterdir() if p.is_symlink())] if root.is_dir() else [root]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
