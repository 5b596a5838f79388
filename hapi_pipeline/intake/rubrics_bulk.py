"""The rows of a rubric file, some hundred thousand at a time, however many it has.

The rules stand in `rubrics.check_rubrics` and nowhere else. A rubric of which every row is plain, in order and without
anything to look into, is made into rows of the ledger by SQL; all others are handed to those rules. So the outcome is
the same as without this module, row by row.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hapi_pipeline.engine import stream
from hapi_pipeline.intake.files import OpenFile, column_name
from hapi_pipeline.intake.ledger import Rejected, rows_of
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

Check = Callable[[Sequence[dict[str, Any]]], tuple[list[dict[str, Any]], list[Rejected]]]
"""Splits the rows of whole rubrics into rows of the ledger, but for where they are from, and rejected ones."""

TOGETHER = 250_000
"""Rows that are judged together, more where a rubric has more."""
COLUMNS = ("job_id", "criterion_id", "position", "text", "importance", "author")
_BLANK = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())  # there is none beyond
_LEDGER = "rubric_exports"


def good_rows(
    opened: OpenFile, columns: Mapping[str, str], origin: Mapping[str, Any], check: Check, rejected: list[Rejected]
) -> Iterator[pa.RecordBatch]:
    """Rows of `rubric_exports` in the order of the file; what is wrong with the others joins `rejected` meanwhile.

    `columns` are our names and those of the file, `origin` what all rows have in common.
    """
    connection = opened.connection
    judged = functools.partial(_judged, opened, origin, check, rejected)
    _lay_out(connection, columns)
    in_one_place = "SELECT coalesce(bool_and(last - first + 1 = rows), true) FROM places"
    if connection.execute(in_one_place).fetchall()[0][0]:
        for span in _spans(connection):
            yield from judged(span).to_batches()
        return
    _bring_together(connection)
    for number, span in enumerate(_spans(connection)):
        found = judged(span)  # noqa: F841  (DuckDB finds it by its name)
        connection.execute("INSERT INTO good FROM found" if number else "CREATE TEMP TABLE good AS FROM found")
    yield from stream(connection, "SELECT * FROM good ORDER BY source_row")


def _lay_out(connection: duckdb.DuckDBPyConnection, columns: Mapping[str, str]) -> None:
    """Make the table `rubric_sheet`, the rows with their job and place, and `places`, where each job has its rows."""
    connection.execute("SET VARIABLE blank = $blank", {"blank": _BLANK})
    shown = [f"{column_name(columns[name]) if name in columns else 'NULL'}::VARCHAR AS {name}" for name in COLUMNS]
    connection.execute(
        f"CREATE TEMP TABLE rubric_sheet AS SELECT _row, _row AS place, {_stripped('job_id')} AS job, * EXCLUDE (_row) "  # noqa: S608
        f"FROM (SELECT _row, {', '.join(shown)} FROM export ORDER BY _row)"
    )
    _find_places(connection)


def _find_places(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE places AS SELECT job, min(place) AS first, max(place) AS last, count(*) AS rows "
        "FROM rubric_sheet WHERE job IS NOT NULL GROUP BY job"
    )


def _bring_together(connection: duckdb.DuckDBPyConnection) -> None:
    """Give the rows of a job places side by side."""
    connection.execute("SET threads = 1")  # with more, sorting long texts needs more memory than it may have
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE rubric_sheet AS "
        "SELECT rubric_sheet.* REPLACE (row_number() OVER (ORDER BY first, _row) AS place) "
        "FROM rubric_sheet LEFT JOIN places USING (job) ORDER BY place"
    )
    _find_places(connection)


def _spans(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, int]]:
    """The first and the last place of rows that are judged together: whole rubrics, and every row once."""
    ends = connection.execute(f"SELECT max(last) FROM places GROUP BY last // {TOGETHER} ORDER BY 1").fetchall()  # noqa: S608
    bounds = [0, *(end for (end,) in ends[:-1]), (1 << 62)]
    return [(before + 1, end) for before, end in itertools.pairwise(bounds)]


def _judged(
    opened: OpenFile, origin: Mapping[str, Any], check: Check, rejected: list[Rejected], span: tuple[int, int]
) -> pa.Table:
    """The rows of the ledger that come of the rows in these places, in the order of the file."""
    import pyarrow as pa

    connection, schema = opened.connection, TABLES[_LEDGER].schema()
    places = dict(zip(("first", "last"), span, strict=True))
    connection.execute(_CLEAN, places)
    connection.execute(_FIND_PLAIN, {"all_read": not opened.bad_rows})  # a line that was not read may be of any job
    plain = connection.sql(_PLAIN, params=dict(origin)).to_arrow_table().cast(schema)
    good, bad = check(connection.sql(_OTHERS, params=places).to_arrow_table().to_pylist())
    rejected += bad
    return pa.concat_tables([plain, rows_of(_LEDGER, [{**row, **origin} for row in good])]).sort_by("source_row")


def _stripped(name: str) -> str:
    """SQL for what Python's strip leaves of a text, null where that is nothing; most texts are clean at a look."""
    clean = f"left({name}, 1) BETWEEN '!' AND '~' AND right({name}, 1) BETWEEN '!' AND '~'"
    return f"CASE WHEN {clean} THEN {name} ELSE nullif(trim({name}, getvariable('blank')), '') END"


_WITHIN = "WHERE place BETWEEN $first AND $last"
_CLEAN = f"""
CREATE OR REPLACE TEMP TABLE clean AS
SELECT _row, job, {_stripped("criterion_id")} AS criterion_id, {_stripped("text")} AS text,
       CASE WHEN coalesce(importance, '') = '' THEN 'critical' ELSE lower({_stripped("importance")}) END AS importance,
       {_stripped("author")} AS author, position
FROM rubric_sheet {_WITHIN} AND job IS NOT NULL
"""  # noqa: S608
_FIND_PLAIN = """
CREATE OR REPLACE TEMP TABLE plain AS
SELECT job FROM clean GROUP BY job
HAVING $all_read AND count(DISTINCT criterion_id) = count(*)
   AND bool_and(text IS NOT NULL
                AND coalesce(importance IN ('critical', 'important', 'optional', 'pitfall'), false)
                AND (position IS NULL OR regexp_full_match(position, '[0-9]{1,9}')))
"""
_OTHERS = f"SELECT _row, {', '.join(COLUMNS)} FROM rubric_sheet ANTI JOIN plain USING (job) {_WITHIN} ORDER BY _row"  # noqa: S608
_SIZED = "lpad(hex(strlen({0})), 16, '0') || hex({0})"  # as `naming.digest` takes a part
_PLAIN = f"""
WITH ordered AS (
    SELECT *, row_number() OVER (PARTITION BY job ORDER BY position::INT NULLS LAST, _row) AS nth
    FROM clean SEMI JOIN plain USING (job)
), versions AS (
    SELECT job, left(sha256(unhex(string_agg({" || ".join(map(_SIZED.format, ("criterion_id", "text", "importance")))},
                                             '' ORDER BY nth))), 12) AS rubric_version
    FROM ordered GROUP BY job
)
SELECT job AS job_id, rubric_version, criterion_id, nth AS position, text, importance, author,
       $source_file AS source_file, $source_sha256 AS source_sha256, _row AS source_row,
       $imported_at AS imported_at, $simulated AS simulated
FROM ordered JOIN versions USING (job)
"""  # noqa: S608
