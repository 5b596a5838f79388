"""What of the tables may leave: decided here for every table and column, and nowhere else.

A table of the lake is either public, with some columns taken out or emptied for jobs that are not cleared for
publication (`hapi_pipeline.publication`), or it is private for a stated reason. What nobody has decided on is private.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hapi_pipeline.lake import Lake
from hapi_pipeline.tables import TABLES, Column, Table

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

HIDDEN: Mapping[str, str] = {
    "client_id": "who the client is, even as a hash",
    "country": "where the client is",
    "author": "who wrote the rubric",
    "source_file": "what the operator's files are called",
    "source_sha256": "a file that stays with the operator",
    "source_row": "a file that stays with the operator",
    "imported_at": "when the operator worked, not what came of it",
    "updated_at": "an exact moment by which a post could be found on the marketplace",
    "assumed_fields": "how the operator's exports are mapped",
    "content_id": "a hash over the client and the text",
}
"""Columns that never leave, in whichever table, and why."""

CLEARED_ONLY: Mapping[str, str] = {
    "title": "text of the post",
    "description": "text of the post",
    "subcategory": "text of the post",
    "skills": "text of the post",
    "attachments": "names that the client chose",
    "posted_at": "an exact moment by which the post could be found on the marketplace",
    "started_at": "an exact moment by which the post could be found on the marketplace",
    "completed_at": "an exact moment by which the post could be found on the marketplace",
    "text": "text of the rubric",
    "comment": "what a grader wrote about the work",
    "deliverables": "names that the agent chose after reading the post",
}
"""Columns that are empty (null) unless the row's job is cleared for publication, and why."""

OUTSIDE_TEXT = (
    "title", "description", "category", "subcategory", "skills", "attachments", "job_type", "status", "text", "comment",
    "deliverables", "theme", "example_criterion", "model", "model_a", "model_b", "model_snapshot", "judge",
    "judge_snapshot", "freeze_name", "scope_value",
)  # fmt: skip
"""Columns whose texts somebody outside this project has written: the last scan for personal data reads all of them."""


@dataclass(frozen=True)
class Public:
    """How a table leaves: which rows, and what is put in place of a column; `notes` says what differs from the lake."""

    rows: str = ""  # an SQL condition on the rows that leave; empty: all
    put: Mapping[str, str] | None = None  # SQL in place of a column
    notes: Mapping[str, str] | None = None
    left_out: str = ""  # what the condition leaves out, and why
    within: str = ""  # partition keys, where the table's own key says what a row is only within its partition


_OF_BENCHMARK = "job_id IN (SELECT job_id FROM _clearance)"
_ONLY_BENCHMARK = "rows of jobs that are not in the benchmark today"
_NUMBERED = {"grader": "Number of the grader within the attempt, in the order of their first verdicts"}
_THEME = {
    "theme": "CASE WHEN t.theme IN (SELECT theme FROM _cleared_theme) THEN t.theme ELSE 'theme ' || t.theme_id END",
    "example_criterion": "CASE WHEN t.example_criterion IN (SELECT shown FROM _cleared_shown) "
    "THEN t.example_criterion END",
}
_THEME_NOTES = {
    "theme": "Its label: the terms that tell it most from the others; only its number where one of these words stands "
    "in no rubric of a cleared job",
    "example_criterion": "The criterion nearest to its middle (shortened); null unless its job is cleared",
}

PUBLIC: Mapping[str, Public] = {
    "benchmark_jobs": Public(),
    "rubrics": Public(_OF_BENCHMARK, left_out=_ONLY_BENCHMARK),
    "job_freezes": Public(),
    "curation_funnel": Public(within="cohort"),
    "funnel_by_category": Public(within="cohort"),
    "curation_audit": Public(within="cohort"),
    "attempts": Public(_OF_BENCHMARK, left_out=_ONLY_BENCHMARK),
    "verdicts": Public(
        _OF_BENCHMARK,
        {"grader": "CAST(g.number AS VARCHAR)"},
        _NUMBERED,
        left_out=_ONLY_BENCHMARK,
    ),
    "attempt_outcomes": Public(_OF_BENCHMARK, left_out=_ONLY_BENCHMARK),
    "criterion_outcomes": Public(_OF_BENCHMARK, left_out=_ONLY_BENCHMARK),
    "grades": Public(
        _OF_BENCHMARK,
        {"grader": "CAST(g.number AS VARCHAR)"},
        _NUMBERED,
        left_out=_ONLY_BENCHMARK,
    ),
    "job_states": Public(within="model"),
    "job_transitions": Public(_OF_BENCHMARK, left_out=_ONLY_BENCHMARK),
    "criterion_themes": Public(_OF_BENCHMARK, _THEME, _THEME_NOTES, left_out=_ONLY_BENCHMARK),
    "outcome_counts": Public(within="cohort model"),
    "completion_rates": Public(),
    "window_rates": Public(),
    "leaderboard": Public(),
    "category_rates": Public(),
    "model_comparisons": Public(),
    "feedback_lift": Public(),
    "cycle_curves": Public(),
    "repeatability": Public(),
    "economics": Public(),
    "workflow_advice": Public(),
    "criterion_transitions": Public(),
    "failure_themes": Public("", _THEME, _THEME_NOTES),
    "dataset_overview": Public(),
    "release_overview": Public(),
    "grader_agreement": Public("scope <> 'pair'", left_out="rows that name two graders"),
    "corrected_rates": Public(),
    "judge_verdicts": Public(_OF_BENCHMARK, left_out=_ONLY_BENCHMARK),
    "judge_agreement": Public(),
}
"""The tables that leave."""

_CHAIN_REASON = "posts on their way through the rules, most of them of clients whose jobs are not in the benchmark"
PRIVATE: Mapping[str, str] = {
    "job_exports": "what marketplaces delivered, as it came",
    "job_posts": _CHAIN_REASON,
    "rubric_exports": "every rubric file ever imported; the rubrics that count are public",
    "standing_criteria": "which criteria of old rubrics still stand; verdicts say their rubric_version",
    "quarantine": "values that could not be taken in",
    **dict.fromkeys(
        ("fixed_price_jobs", "completed_jobs", "single_milestone_jobs", "in_scope_jobs", "pii_free_jobs",
         "curated_jobs", "selected_jobs", "rejected_jobs"),
        _CHAIN_REASON,
    ),
    "pii_findings": "where personal data stands in posts",
    "job_signatures": "hashes by which the text of a post can be recognised",
    "job_clusters": "which posts are alike, most of them not in the benchmark",
    "audit_exports": "what single curators said; curation_audit is public",
    "packets": "how the operator handed work to graders",
    "verdict_exports": "every verdict file ever imported; verdicts are public, superseded ones included",
    "assignments": "who of the graders worked on what and when",
    "packet_status": "who of the graders worked on what and when",
    "grader_profiles": "how good and how strict single graders are",
}  # fmt: skip
"""The tables that stay, each with the reason."""


def public_table(name: str) -> Table:
    """The declaration of a table as it leaves: without hidden columns, with what is emptied declared nullable."""
    table, public = TABLES[name], PUBLIC[name]
    notes = public.notes or {}
    columns = tuple(_public_column(table, c, notes) for c in table.columns if c.name not in HIDDEN)
    return replace(table, columns=columns, key=(*public.within.split(), *table.key), partitions=())


def _public_column(table: Table, column: Column, notes: Mapping[str, str]) -> Column:
    if column.name in notes:
        return replace(column, note=notes[column.name], nullable=column.nullable or column.name == "example_criterion")
    if column.name in CLEARED_ONLY and "job_id" in table.names:
        return replace(column, note=f"{column.meaning}; null unless the job is cleared", nullable=True)
    return column


def hidden_columns(name: str) -> dict[str, str]:
    """The columns of a public table that never leave, with the reason."""
    return {c.name: HIDDEN[c.name] for c in TABLES[name].columns if c.name in HIDDEN}


def cleared_only_columns(name: str) -> dict[str, str]:
    """The columns of a public table that are empty for jobs that are not cleared, with the reason."""
    if "job_id" not in TABLES[name].names:
        return {}
    return {c.name: CLEARED_ONLY[c.name] for c in TABLES[name].columns if c.name in CLEARED_ONLY}


_IS_CLEARED = "t.job_id IN (SELECT job_id FROM _cleared)"


def public_sql(name: str) -> str:
    """The SELECT that gives a table as it leaves, in the order of its key; for a connection of `opened`."""
    table, public = public_table(name), PUBLIC[name]
    put, emptied = public.put or {}, cleared_only_columns(name)
    columns = []
    for column in table.names:
        if column in put:
            columns.append(f'{put[column]} AS "{column}"')
        elif column in emptied:
            columns.append(f'CASE WHEN {_IS_CLEARED} THEN t."{column}" END AS "{column}"')
        else:
            columns.append(f't."{column}"')
    numbered = (
        " JOIN _graders g ON g.attempt_id = t.attempt_id AND g.known_as = lower(t.grader)" if "grader" in put else ""
    )
    where = f" WHERE t.{public.rows}" if public.rows else ""
    order = ", ".join(f'"{k}"' for k in table.key)
    return f'SELECT {", ".join(columns)} FROM "{name}" t{numbered}{where} ORDER BY {order}'  # noqa: S608


_NEEDED = ("verdicts", "rubrics", "failure_themes", "criterion_themes")  # to number graders and to clear labels


@contextmanager
def opened(
    lake: Lake, clearance: Mapping[str, str], names: Iterable[str] = tuple(PUBLIC)
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection on which `public_sql` can be asked, of these tables."""
    import pyarrow as pa

    from hapi_pipeline.engine import connect, open_tables

    with connect({}) as connection:
        open_tables(connection, lake, sorted({*names, *_NEEDED}))
        jobs = pa.table(
            {
                "job_id": pa.array(clearance.keys(), pa.string()),
                "reason": pa.array(clearance.values(), pa.string()),
            }
        )
        connection.register("_clearance_rows", jobs)
        connection.execute("CREATE TEMP TABLE _clearance AS SELECT * FROM _clearance_rows")
        connection.execute("CREATE TEMP TABLE _cleared AS SELECT job_id FROM _clearance WHERE reason = ''")
        connection.execute(_GRADERS)
        for name, texts in zip(("theme", "shown"), _cleared_labels(connection), strict=True):
            connection.register(f"_cleared_{name}", pa.table({name: pa.array(sorted(texts), pa.string())}))
        yield connection


# by the moment of their first verdict; a verdict's id decides among those of one moment, never the name
_GRADERS = """
CREATE TEMP TABLE _graders AS
SELECT attempt_id, known_as, row_number() OVER (PARTITION BY attempt_id ORDER BY first_at, first_id) AS number
FROM (
    SELECT attempt_id, lower(grader) AS known_as, min(imported_at) AS first_at, min(verdict_id) AS first_id
    FROM verdicts GROUP BY ALL
)
"""


def _cleared_labels(connection: duckdb.DuckDBPyConnection) -> tuple[set[str], set[str]]:
    """Labels of themes and examples of criteria that say nothing beyond the rubrics of cleared jobs."""
    from hapi_pipeline.themes import shortened

    found = connection.execute("SELECT DISTINCT text FROM rubrics SEMI JOIN _cleared USING (job_id)").fetchall()
    texts = {str(text) for (text,) in found}
    words = {word for text in texts for word in _words(text)}
    labels = connection.execute("SELECT DISTINCT theme FROM failure_themes UNION SELECT theme FROM criterion_themes")
    themes = {str(label) for (label,) in labels.fetchall() if _words(label) <= words | _OWN_WORDS}
    return themes, {shortened(text) for text in texts}


_OWN_WORDS = frozenset({"other"})


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def public_rows(lake: Lake, clearance: Mapping[str, str], name: str) -> pa.Table:
    """The rows of a table as they leave, in the order of its key."""
    with opened(lake, clearance, [name]) as connection:
        return rows(connection, name)


def rows(connection: duckdb.DuckDBPyConnection, name: str) -> pa.Table:
    """`public_rows`, of a connection of `opened`."""
    return connection.sql(public_sql(name)).to_arrow_table().cast(public_table(name).schema())
