"""Each table against its declaration: the columns and types of its files, nulls, the key, and where each row stands.

Of a file, the footer is read; one query for all files together reads the columns of the key and of the partition.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hapi_pipeline.checks.rules import Row, Rule, Scope, files_of
from hapi_pipeline.lake import Lake
from hapi_pipeline.naming import digest, unslug
from hapi_pipeline.registry import Registry
from hapi_pipeline.tables import Table

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def schema_rule(table: Table) -> Rule:
    """The rule that a table's files are what `tables.py` declares."""

    def find(lake: Lake, registry: Registry, scopes: Sequence[Scope]) -> Iterator[Row]:
        return broken_declarations(lake, table, scopes)

    keys = f", the partition's {' and '.join(table.partitions)} in every row" if table.partitions else ""
    mend = (
        "A ledger cannot be made again: put its file back from a backup; `hapi doctor` says which."
        if table.ledger
        else ""
    )
    return Rule(
        "schema",
        table.name,
        f"The declared columns with their types, no null where none may be, {', '.join(table.key)} only once{keys}.",
        find,
        (table.name,),
        version=lambda: _version(table),
        mend=mend,
    )


@functools.cache
def _version(table: Table) -> str:
    columns = [(c.name, c.field.type, c.nullable) for c in table.columns]
    return digest(repr((columns, table.key, table.partitions)), length=16)


def broken_declarations(lake: Lake, table: Table, scopes: Sequence[Scope]) -> Iterator[Row]:
    """What in the files of these partitions is not as the table declares it: a row a problem."""
    readable: dict[Path, Scope] = {}
    for scope in scopes:
        for path in files_of(lake, table.name, scope):
            problems = list(_of_footer(table, path))
            yield from ({**scope, "problem": problem} for problem in problems)
            if not problems:
                readable[path] = scope
    yield from _of_rows(table, readable) if readable else ()


def _of_footer(table: Table, path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        footer = pq.read_metadata(path)
        there = footer.schema.to_arrow_schema()
    except (pa.ArrowException, OSError, ValueError) as error:
        yield f"the file cannot be read: {str(error).splitlines()[0]}"
        return
    declared = table.schema()
    for name in declared.names:
        if name not in there.names:
            yield f"column {name} is missing"
        elif there.field(name).type != declared.field(name).type:
            yield f"column {name} is {there.field(name).type}, declared as {declared.field(name).type}"
    for name in there.names:
        if name not in declared.names:
            yield f"column {name} is not declared"
    yield from _nulls(footer, there, declared)


def _nulls(footer: pq.FileMetaData, there: pa.Schema, declared: pa.Schema) -> Iterator[str]:
    """Columns that may hold nulls though they must not. One that Parquet stores as required cannot; of another, the
    footer says how many it holds, and where it does not say, that counts as some.
    """
    for number in range(footer.num_columns):
        name = footer.schema.column(number).path.split(".")[0]
        if name not in declared.names or declared.field(name).nullable or not there.field(name).nullable:
            continue
        told = [footer.row_group(group).column(number).statistics for group in range(footer.num_row_groups)]
        if not all(s is not None and s.has_null_count and s.null_count == 0 for s in told):
            yield f"column {name} holds nulls, or may hold them; declared as never null"


def _of_rows(table: Table, files: dict[Path, Scope]) -> Iterator[Row]:
    """Keys that are there twice, and rows that belong into another partition."""
    from hapi_pipeline import engine

    key, cut = [f'"{name}"' for name in table.key], [f'"{name}"' for name in table.partitions]
    source = engine.parquet(list(files)).removesuffix(")") + ", filename=true)"
    ends = "".join(f", min({name}), max({name})" for name in cut)
    # files are sorted by their key, so one look at neighbours proves it unique; what is not sorted is counted
    before = ", ".join(f"lag({name}) OVER () AS before_{n}" for n, name in enumerate(key))
    columns = ", ".join(dict.fromkeys([*key, *cut]))
    ordered = f"""
        SELECT filename, count(*) FILTER (WHERE filename = file_before AND NOT coalesce({_after(key)}, false)){ends}
        FROM (
            SELECT *, lag(filename) OVER () AS file_before, {before} FROM (SELECT filename, {columns} FROM {source})
        )
        GROUP BY filename
    """  # noqa: S608
    with engine.connect() as connection:
        told = connection.execute(ordered).fetchall()
        for filename, _, *least_and_most in told:
            yield from _elsewhere(table, files[Path(filename)], least_and_most)
        unsure = [Path(filename) for filename, disordered, *_ in told if disordered]
        if unsure:
            source = engine.parquet(unsure).removesuffix(")") + ", filename=true)"
            twice = f"""
                SELECT filename, count(*), sum(n)::BIGINT - count(*), any_value(example) FROM (
                    SELECT filename, count(*) AS n, concat_ws(', ', {", ".join(key)}) AS example
                    FROM {source} GROUP BY filename, {", ".join(key)} HAVING count(*) > 1
                ) GROUP BY filename
            """  # noqa: S608
            for filename, keys, surplus, example in connection.execute(twice).fetchall():
                problem = f"{keys} key(s) are there more than once ({surplus} row(s) too many), such as {example}"
                yield {**files[Path(filename)], "problem": problem}


def _after(key: Sequence[str]) -> str:
    """SQL: whether a key comes after the one before it."""
    condition = "false"
    for n, name in reversed(list(enumerate(key))):
        condition = f"({name} > before_{n} OR ({name} = before_{n} AND {condition}))"
    return condition


def _elsewhere(table: Table, scope: Scope, least_and_most: Sequence[str | None]) -> Iterator[Row]:
    keys = scope
    if table.ledger:
        steps = (step.partition("=") for step in scope["file"].split("/")[:-1])
        keys = {name: unslug(value) for name, _, value in steps}
    for n, name in enumerate(table.partitions):
        strangers = {*least_and_most[2 * n : 2 * n + 2]} - {keys[name]}
        if strangers:
            other = ", ".join(sorted(map(str, strangers)))
            yield {**scope, "problem": f"rows of another {name} stand in this partition: {other}"}
