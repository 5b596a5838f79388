"""Job exports: from a marketplace's file to rows of the ledger `job_exports`, through a source definition."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hapi_pipeline.engine import duckdb_type, open_tables, parquet, quoted, spilling, stream
from hapi_pipeline.intake.files import OpenFile, column_name, open_rows
from hapi_pipeline.intake.ledger import Rejected, commit_import, import_id, quarantine_rows, shorten, storable
from hapi_pipeline.lake import Import, ImportedFile, Lake
from hapi_pipeline.parallel import in_threads
from hapi_pipeline.registry import Benchmark, Source
from hapi_pipeline.settings import UserError
from hapi_pipeline.tables import FIELDS, TABLES

if TYPE_CHECKING:
    import pyarrow as pa

MAPPED = [
    "job_id",
    "title",
    "description",
    "category",
    "subcategory",
    "skills",
    "job_type",
    "price_usd",
    "price_changed",
    "milestone_count",
    "status",
    "paid",
    "client_verified",
    "client_id",
    "country",
    "posted_at",
    "started_at",
    "completed_at",
    "updated_at",
    "attachments",
]
"""Fields of job_posts that a source definition may map; the others are set by the import itself."""


@dataclass(frozen=True)
class _Mapping:
    """A source definition held against the columns that one file really has."""

    expressions: dict[str, str]  # field: SQL over the file's columns
    assumed: dict[str, str]  # field: SQL used where the mapped value is null
    missing: tuple[str, ...]  # columns named by the definition that the file lacks
    unmapped: tuple[str, ...]  # columns of the file that the definition does not name
    incomplete: dict[str, str]  # field: a column that its expression names and the file lacks


def import_jobs(lake: Lake, paths: Sequence[Path], source: Source, benchmark: Benchmark) -> list[Import]:
    """Import job exports; each file counts whole or not at all, and a file seen before changes nothing.

    Rows are streamed: memory does not grow with the file. Raises UserError before anything is written when any of the
    files cannot be taken.
    """
    now = datetime.now(UTC)
    if len(paths) == 1:  # it is checked before its first row is written
        return [_import_one(lake, source, benchmark, (paths[0], now))]
    distinct: dict[str, tuple[Path, datetime]] = {}
    order = []
    for number, path in enumerate(paths):
        with open_rows(path, source.records) as opened:
            _mapped(opened, source, now)
            order.append(opened.sha256)
            # a later file counts as imported later
            distinct.setdefault(opened.sha256, (path, now + timedelta(microseconds=number)))
    work = functools.partial(_import_one, lake, source, benchmark)
    done = dict(zip(distinct, in_threads(work, distinct.values(), _AT_ONCE), strict=True))
    return [done[sha256] for sha256 in order]


_AT_ONCE = 2  # files: while one is being written, SQL works on the other


def _import_one(lake: Lake, source: Source, benchmark: Benchmark, file: tuple[Path, datetime]) -> Import:
    path, now = file
    with open_rows(path, source.records) as opened:
        if done := lake.imported("jobs", source.name).get(opened.sha256):
            return done
        number = import_id("jobs", source.name, opened.sha256)
        mapping, sql = _mapped(opened, source, now)
        sorting = _Sorting(benchmark.first_cohort, f"{now:%Y-%m}")
        try:
            staged = lake.append_stream(
                "job_exports", number, map(sorting.good, stream(opened.connection, sql)), split_by="cohort"
            )
        except _duckdb_error() as error:
            raise _does_not_work(opened, source, error) from error
        rejected = [Rejected(b.row, None, b.value, "bad_row", b.message) for b in opened.bad_rows]
        return commit_import(
            lake,
            Import(
                import_id=number,
                kind="jobs",
                source=source.name,
                imported_at=now.isoformat(),
                cohorts=tuple(sorted(sorting.cohorts | _months_left(lake, list(staged)))),
                files=(
                    ImportedFile(path.name, opened.sha256, sum(staged.values()), len(rejected) + len(sorting.rejected)),
                ),
                missing_columns=mapping.missing,
                unmapped_columns=mapping.unmapped,
                columns=opened.columns,
                replaced=opened.replaced,
            ),
            quarantine_rows("jobs", path.name, opened.sha256, now, [*rejected, *sorting.rejected]),
        )


class _Sorting:
    """Parts rows with an id and a month in range from the others, which it keeps with the reason."""

    def __init__(self, first: str, last: str):
        self.first, self.last = first, last
        self.cohorts: set[str] = set()
        self.rejected: list[Rejected] = []

    def good(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The good rows of a batch."""
        import pyarrow as pa
        import pyarrow.compute as pc

        month = rows.column("cohort")
        in_range = pc.and_(pc.greater_equal(month, self.first), pc.less_equal(month, self.last))
        is_good = pc.fill_null(pc.and_(pc.is_valid(rows.column("job_id")), in_range), False)
        good = rows
        if not pc.all(is_good).as_py():
            good = rows.filter(is_good)
            bad = pa.Table.from_batches([rows]).select(["source_row", "job_id", "cohort"]).filter(pc.invert(is_good))
            self.rejected += [_rejection(**row) for row in bad.to_pylist()]
        self.cohorts |= set(pc.unique(good.column("cohort")).to_pylist())
        return good


def _rejection(source_row: int, job_id: str | None, cohort: str | None) -> Rejected:
    """Why a row is not taken in."""
    if job_id is None:
        return Rejected(source_row, "job_id", None, "missing_job_id", "The row has no job id.")
    if cohort is None:
        return Rejected(
            source_row,
            "completed_at",
            None,
            "no_date",
            "The row has no readable date, so it belongs to no month; write dates as "
            "YYYY-MM-DD or map one in the source definition.",
        )
    return Rejected(
        source_row,
        "completed_at",
        cohort,
        "cohort_out_of_range",
        "The month lies in the future or before cohorts.first in benchmark.yaml.",
    )


def _months_left(lake: Lake, staged: list[Path]) -> set[str]:
    """The months in which rows imported earlier have these jobs: a newer row may take a job out of its month."""
    if not staged:
        return set()
    with spilling() as connection:
        open_tables(connection, lake, ["job_exports"])
        found = connection.execute(
            f"SELECT DISTINCT cohort FROM job_exports SEMI JOIN {parquet(staged)} USING (job_id)"  # noqa: S608
        ).fetchall()
    return {cohort for (cohort,) in found}


def _map(opened: OpenFile, source: Source) -> _Mapping:
    """Which expressions can be used on this file. Raises UserError naming a required column that it lacks."""
    there = {c.casefold() for c in opened.columns}
    expressions, named, missing, incomplete = {}, set[str](), set[str](), dict[str, str]()
    for name, sql in source.fields.items():
        if name not in MAPPED:
            raise UserError(f"Source {source.name}: there is no field {name!r}; fields are: {', '.join(MAPPED)}.")
        columns = columns_named(sql, f"source {source.name}, field {name}")
        named |= {c.casefold() for c in columns}
        absent = [c for c in columns if c.casefold() not in there]
        # an expression that has other columns to fall back on is used with nulls for those that are absent
        if absent and name in _required(source) and len(absent) == len(columns):
            raise _lacks(opened, source, absent[0], name)
        missing |= {c for c in absent if c.casefold() not in {m.casefold() for m in missing}}
        expressions[name] = sql
        incomplete |= {name: absent[0]} if absent else {}
    for name, sql in source.assume.items():
        if name not in MAPPED:
            raise UserError(f"Source {source.name}: `assume` names {name!r}, which is no field.")
        named |= {c.casefold() for c in columns_named(sql, f"source {source.name}, assume {name}")}
    assumed = {n: s for n, s in source.assume.items() if all(c.casefold() in there for c in columns_named(s, name))}
    unmapped = tuple(c for c in opened.columns if c.casefold() not in named)
    return _Mapping(expressions, assumed, tuple(sorted(missing)), unmapped, incomplete)


def _required(source: Source) -> tuple[str, ...]:
    """The fields whose columns must be there; the job's id always is one, or all jobs might be the same job."""
    return ("job_id", *source.required)


def _lacks(opened: OpenFile, source: Source, column: str, field: str) -> UserError:
    return UserError(
        f"{opened.path.name} lacks the column {column!r}, which source {source.name!r} needs for {field}; "
        f"its columns are: {shorten(', '.join(opened.columns), 300)}."
    )


def columns_named(sql: str, where: str) -> list[str]:
    """The columns that a SQL expression names, in order. Raises UserError when it is not an expression."""
    import sqlglot
    from sqlglot import exp

    try:
        trees = sqlglot.parse(f"SELECT {sql}", read="duckdb")
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        raise UserError(f"{where}: {sql!r} is not a SQL expression.") from error
    tree = trees[0]
    whole = len(trees) == 1 and isinstance(tree, exp.Select) and not sql.rstrip().endswith(",")
    if not whole or len(tree.selects) != 1 or any(tree.find_all(exp.Table, exp.Subquery)):
        raise UserError(f"{where}: {sql!r} must be a single SQL expression over the columns of the export.")
    within = {p.name for f in tree.find_all(exp.Lambda) for p in f.expressions}
    return list(dict.fromkeys(c.name for c in tree.find_all(exp.Column) if c.name not in within))


def _mapped(opened: OpenFile, source: Source, now: datetime) -> tuple[_Mapping, str]:
    """A source definition held against a file, and the SELECT of all its rows as rows of job_exports.

    In that SELECT cohort and job_id may still be null. Raises UserError where the file cannot be taken.
    """
    mapping = _map(opened, source)
    sql = _select(opened, mapping, source, now)
    try:
        opened.connection.execute(f"PREPARE mapped AS {sql}")
    except _duckdb_error() as error:
        raise _does_not_work(opened, source, error) from error
    _check_required(opened, mapping, source)
    return mapping, sql


def _select(opened: OpenFile, mapping: _Mapping, source: Source, now: datetime) -> str:
    typed, assumed_where = [], []
    for name in MAPPED:
        given = mapping.expressions.get(name, "NULL")
        value = _typed(name, given)
        if name in mapping.assumed:
            fallback = _typed(name, mapping.assumed[name])
            # what stands there but cannot be read is unknown; only what the export leaves empty may be vouched for
            empty = f"stripped(({given})::VARCHAR) IS NULL"
            assumed_where.append(f"CASE WHEN {empty} AND ({fallback}) IS NOT NULL THEN '{name}' END")
            value = f"CASE WHEN {empty} THEN {fallback} ELSE {value} END"
        typed.append(f'{value} AS "{name}"')
    absent = "".join(f", NULL::VARCHAR AS {column_name(column)}" for column in mapping.missing)
    extra = ", ".join(f"{quoted(column)}, {column_name(column)}" for column in mapping.unmapped)
    assumed = f"list_filter([{', '.join(assumed_where)}], lambda field: field IS NOT NULL)" if assumed_where else "[]"
    facts = {
        "source": quoted(source.name),
        "source_file": quoted(storable(opened.path.name)),
        "source_sha256": quoted(opened.sha256),
        "imported_at": f"{quoted(now.isoformat())}::TIMESTAMPTZ",
        "simulated": str(source.simulated),
    }
    return f"""
        WITH typed AS (
            SELECT _row AS source_row, {assumed}::VARCHAR[] AS assumed_fields,
                   {f"json_object({extra})::VARCHAR" if extra else "NULL::VARCHAR"} AS extra, {", ".join(typed)}
            FROM (SELECT *{absent} FROM export)
        ), mapped AS (
            SELECT * REPLACE (
                       CASE WHEN client_id IS NOT NULL THEN left(sha256('client:' || client_id), 16) END AS client_id
                   ),
                   strftime(coalesce(completed_at, started_at, posted_at), '%Y-%m') AS cohort,
                   {", ".join(f"{value} AS {name}" for name, value in facts.items())}
            FROM typed
        ), identified AS (
            SELECT *, left(sha256(concat_ws(chr(31), coalesce(client_id, ''), coalesce(title, ''),
                                            coalesce(description, ''), coalesce(price_usd::VARCHAR, ''))), 24)
                      AS content_id
            FROM mapped
        )
        SELECT {", ".join(TABLES["job_exports"].names)} FROM identified
    """  # noqa: S608


def _does_not_work(opened: OpenFile, source: Source, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0]
    return UserError(f"Source {source.name} does not work on {opened.path.name}: {reason}")


def _duckdb_error() -> type[Exception]:
    import duckdb

    return duckdb.Error


def _check_required(opened: OpenFile, mapping: _Mapping, source: Source) -> None:
    """Raise UserError where a required field is null in every row because its expression lacks a column."""
    for field, column in mapping.incomplete.items():
        if field in _required(source):
            value = _typed(field, mapping.expressions[field])
            lacking = "".join(f", NULL::VARCHAR AS {column_name(c)}" for c in mapping.missing)
            sql = f"SELECT count({value}) FROM (SELECT *{lacking} FROM export)"  # noqa: S608
            (there,) = opened.connection.execute(sql).fetchall()[0]
            if not there:
                raise _lacks(opened, source, column, field)


def _typed(name: str, sql: str) -> str:
    """An expression cast to the type of its field; blanks and what does not fit become null."""
    kind = FIELDS[name].type
    if kind == "text":
        return f"stripped(({sql})::VARCHAR)"
    if kind == "texts":
        return f"({sql})::VARCHAR[]"
    value = f"try_cast(({sql}) AS {duckdb_type(name)})"
    if kind == "int":  # a cast would round, and 1.4 milestones are not known to be 1
        return f"CASE WHEN try_cast(({sql}) AS DOUBLE) = {value} THEN {value} END"
    if kind == "float":
        return f"CASE WHEN isfinite({value}) THEN {value} END"
    if kind == "timestamp":  # what lies beyond can be written as no date
        return f"CASE WHEN {value} BETWEEN '0001-01-01'::TIMESTAMPTZ AND '9999-12-30'::TIMESTAMPTZ THEN {value} END"
    return value
