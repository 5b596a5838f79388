"""Job exports: from a marketplace's file to rows of the ledger `job_exports`, through a source definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hapi_pipeline.engine import duckdb_type, open_tables
from hapi_pipeline.intake.files import OpenFile, open_rows
from hapi_pipeline.intake.ledger import Rejected, commit_import, import_id, quarantine_rows, shorten
from hapi_pipeline.lake import Import, ImportedFile, Lake
from hapi_pipeline.registry import Benchmark, Source
from hapi_pipeline.settings import UserError
from hapi_pipeline.tables import FIELDS, TABLES

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

    Raises UserError before anything is written when any of the files cannot be taken.
    """
    if len(paths) > 1:  # a single file is checked before its first row is written anyway
        for path in paths:
            with open_rows(path) as opened:
                _stage(opened, _map(opened, source), source, benchmark, datetime.now(UTC))
    return [_import_one(lake, path, source, benchmark) for path in paths]


def _import_one(lake: Lake, path: Path, source: Source, benchmark: Benchmark) -> Import:
    with open_rows(path) as opened:
        if done := lake.imported("jobs", source.name).get(opened.sha256):
            return done
        number = import_id("jobs", source.name, opened.sha256)
        now = datetime.now(UTC)
        mapping = _map(opened, source)
        _stage(opened, mapping, source, benchmark, now)
        rejected = [Rejected(b.row, None, b.value, "bad_row", b.message) for b in opened.bad_rows]
        rejected += _rejected(opened)
        cohorts = [c for (c,) in opened.connection.execute("SELECT DISTINCT cohort FROM good ORDER BY 1").fetchall()]
        touched = sorted({*cohorts, *_months_left(opened, lake)})
        total = 0
        for cohort in cohorts:
            rows = opened.connection.sql(
                "SELECT * FROM good WHERE cohort = $cohort ORDER BY source_row", params={"cohort": cohort}
            ).to_arrow_table()
            lake.append("job_exports", number, rows, {"cohort": cohort})
            total += rows.num_rows
        return commit_import(
            lake,
            Import(
                import_id=number,
                kind="jobs",
                source=source.name,
                imported_at=now.isoformat(),
                cohorts=tuple(touched),
                files=(ImportedFile(path.name, opened.sha256, total, len(rejected)),),
                missing_columns=mapping.missing,
                unmapped_columns=mapping.unmapped,
            ),
            quarantine_rows("jobs", path.name, opened.sha256, now, rejected),
        )


def _months_left(opened: OpenFile, lake: Lake) -> list[str]:
    """The months in which rows imported earlier have these jobs: a newer row may take a job out of its month."""
    open_tables(opened.connection, lake, ["job_exports"])
    return [
        c
        for (c,) in opened.connection.execute(
            "SELECT DISTINCT cohort FROM job_exports SEMI JOIN good USING (job_id)"
        ).fetchall()
    ]


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


def _stage(opened: OpenFile, mapping: _Mapping, source: Source, benchmark: Benchmark, now: datetime) -> None:
    """Make the tables `mapped` (all rows), and `good` (rows with an id and a month in range)."""
    connection = opened.connection
    import duckdb

    for column in mapping.missing:
        connection.execute(f'ALTER TABLE export ADD COLUMN "{column.replace(chr(34), chr(34) * 2)}" VARCHAR')
    typed, assumed_where = [], []
    for name in MAPPED:
        value = _typed(name, mapping.expressions.get(name, "NULL"))
        if name in mapping.assumed:
            fallback = _typed(name, mapping.assumed[name])
            # what stands there but cannot be read is unknown; only what the export leaves empty may be vouched for
            given = mapping.expressions.get(name, "NULL")
            empty = f"nullif(trim(({given})::VARCHAR), '') IS NULL"
            assumed_where.append(f"CASE WHEN {empty} AND ({fallback}) IS NOT NULL THEN '{name}' END")
            value = f"CASE WHEN {empty} THEN {fallback} ELSE {value} END"
        typed.append(f'{value} AS "{name}"')
    extra = ", ".join(f"""'{c.replace("'", "''")}', "{c.replace('"', '""')}\"""" for c in mapping.unmapped)
    assumed = f"list_filter([{', '.join(assumed_where)}], lambda field: field IS NOT NULL)" if assumed_where else "[]"
    try:
        connection.execute(
            f"CREATE TEMP TABLE typed AS SELECT _row AS source_row, {assumed}::VARCHAR[] AS assumed_fields, "  # noqa: S608
            f"{f'json_object({extra})::VARCHAR' if extra else 'NULL::VARCHAR'} AS extra, {', '.join(typed)} FROM export"
        )
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"Source {source.name} does not work on {opened.path.name}: {reason}") from error
    _check_required(opened, mapping, source)
    connection.execute(
        """
        CREATE TEMP TABLE mapped AS
        SELECT * REPLACE (
                   CASE WHEN client_id IS NOT NULL THEN left(sha256('client:' || client_id), 16) END AS client_id
               ),
               strftime(coalesce(completed_at, started_at, posted_at), '%Y-%m') AS cohort,
               left(sha256(concat_ws(chr(31), coalesce(client_id, ''), coalesce(title, ''), coalesce(description, ''),
                                     coalesce(price_usd::VARCHAR, ''))), 24) AS content_id,
               $source AS source, $file AS source_file, $sha AS source_sha256, $now::TIMESTAMPTZ AS imported_at,
               $simulated AS simulated
        FROM typed
        """,
        {
            "source": source.name,
            "file": opened.path.name,
            "sha": opened.sha256,
            "now": now,
            "simulated": source.simulated,
        },
    )
    columns = ", ".join(TABLES["job_exports"].names)
    connection.execute(
        f"CREATE TEMP TABLE good AS SELECT {columns} FROM mapped "  # noqa: S608
        "WHERE job_id IS NOT NULL AND cohort BETWEEN $first AND $last",
        {"first": benchmark.first_cohort, "last": f"{now:%Y-%m}"},
    )
    connection.execute(
        """
        CREATE TEMP VIEW rejected AS
        SELECT source_row, job_id, cohort, completed_at FROM mapped
        WHERE source_row NOT IN (SELECT source_row FROM good) ORDER BY source_row
        """
    )


def _check_required(opened: OpenFile, mapping: _Mapping, source: Source) -> None:
    """Raise UserError where a required field is null in every row because its expression lacks a column."""
    for field, column in mapping.incomplete.items():
        if field in _required(source):
            value = _typed(field, mapping.expressions[field])
            (there,) = opened.connection.execute(f"SELECT count({value}) FROM export").fetchall()[0]  # noqa: S608
            if not there:
                raise _lacks(opened, source, column, field)


def _typed(name: str, sql: str) -> str:
    """An expression cast to the type of its field; blanks and what does not fit become null."""
    kind = FIELDS[name].type
    if kind == "text":
        return f"nullif(trim(({sql})::VARCHAR), '')"
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


def _rejected(opened: OpenFile) -> list[Rejected]:
    """The rows without an id or without a month in range, with the reason."""
    rejected = []
    for row, job_id, cohort, _ in opened.connection.execute("SELECT * FROM rejected").fetchall():
        if job_id is None:
            rejected.append(Rejected(row, "job_id", None, "missing_job_id", "The row has no job id."))
        elif cohort is None:
            rejected.append(
                Rejected(
                    row,
                    "completed_at",
                    None,
                    "no_date",
                    "The row has no readable date, so it belongs to no month; write dates as "
                    "YYYY-MM-DD or map one in the source definition.",
                )
            )
        else:
            rejected.append(
                Rejected(
                    row,
                    "completed_at",
                    cohort,
                    "cohort_out_of_range",
                    "The month lies in the future or before cohorts.first in benchmark.yaml.",
                )
            )
    return rejected
