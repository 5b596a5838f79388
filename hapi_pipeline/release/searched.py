"""What of the benchmark may be shown: cleared jobs in whose texts and files the gate finds no personal data.

One answer for the report and the warehouse. A job in which something is found is held back: its numbers count, its
texts and files are not shown. What the simulator made for its own posts is taken as it is; a release looks at that too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.lake import Lake
from hapi_pipeline.made import made_from
from hapi_pipeline.publication import clearance
from hapi_pipeline.release import gate
from hapi_pipeline.release.memory import Memory
from hapi_pipeline.release.public import CLEARED_ONLY, OUTSIDE_TEXT, PUBLIC
from hapi_pipeline.settings import Home, UserError
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import duckdb

    from hapi_pipeline.registry import Registry

HELD_BACK = "held back: personal data found in {}; `hapi release --findings FILE` lists the places"
_A_FILE = "a file that was handed in"
_SAID: Mapping[str, str] = {
    "title": "the post",
    "description": "the post",
    "subcategory": "the post",
    "skills": "the post",
    "attachments": "the name of an attachment",
    "text": "the rubric",
    "comment": "a grader's comment",
    "deliverables": "the name of a file that was handed in",
    "": _A_FILE,
}
_TEXTS = {
    name: [c for c in TABLES[name].names if c in OUTSIDE_TEXT and c in CLEARED_ONLY]
    for name in PUBLIC
    if "job_id" in TABLES[name].names and set(TABLES[name].names) & set(OUTSIDE_TEXT) & set(CLEARED_ONLY)
}
LABELS: Mapping[str, Sequence[str]] = {
    "benchmark_jobs": ("category", "job_type", "status"),
    "funnel_by_category": ("category",),
    "attempts": ("model", "model_snapshot"),
    "judge_verdicts": ("judge", "judge_snapshot"),
    "job_freezes": ("freeze_name",),
}
"""Texts from outside that stand beside figures whatever is cleared, and the tables by which they come in."""


@dataclass(frozen=True)
class Searched:
    """What the search says of every job and file."""

    clearance: Mapping[str, str]  # by job: '' where its texts and files may be shown, else why not
    held: int  # jobs that are cleared for publication and held back all the same
    unread: Mapping[str, str]  # by SHA-256: files that must not be offered, because they cannot be searched

    @property
    def said(self) -> str:
        """How many jobs are held back, for the last line of a command; '' where none is."""
        if not self.held:
            return ""
        jobs = "1 job is" if self.held == 1 else f"{self.held:,} jobs are"
        return (
            f"Held back: {jobs} shown without texts and files, because personal data was found in them; "
            "`hapi release --findings FILE` lists the places."
        )


def searched(
    lake: Lake, registry: Registry, home: Home, say: Callable[[int, int], None] = lambda done, of: None
) -> Searched:
    """What may be shown. `say` is told how many of how many files are read; what was read before is not read again.

    Raises UserError where personal data stands in a label that no setting keeps from being shown.
    """
    cleared, state = clearance(lake, registry), made_from(lake, registry)
    with Memory(home) as memory:
        answer = memory.answer(state)
        if answer is None:
            check_labels(lake, registry)
            answer, lasting = _search(lake, registry, home, cleared, memory, say)
            if lasting:
                memory.keep_answer(state, answer)
    held = {job: HELD_BACK.format(_listed(told)) for job, told in answer["held"].items()}
    return Searched({**cleared, **held}, len(held), answer["unread"])


def _listed(told: Sequence[str]) -> str:
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def check_labels(lake: Lake, registry: Registry) -> None:
    """Raise UserError where a category, a model or another label of figures holds personal data."""
    from hapi_pipeline.curation.pii import scan_texts
    from hapi_pipeline.engine import connect, open_tables

    with connect({}) as connection:
        open_tables(connection, lake, sorted(LABELS))
        found = [
            (table, column, str(text))
            for table, columns in LABELS.items()
            for column in columns
            for (text,) in connection.execute(
                f'SELECT DISTINCT "{column}" FROM "{table}" WHERE "{column}" IS NOT NULL ORDER BY ALL'  # noqa: S608
            ).fetchall()
        ]
    for (table, column, text), findings in zip(found, scan_texts([t for _, _, t in found]), strict=True):
        sha256 = gate.text_sha256(text)
        if findings and sha256 not in registry.cleared_findings:
            raise UserError(
                f"Nothing was made: column {column} of {table} holds personal data ({findings[0].type}) and stands "
                "beside figures; take it out at its source, or write a line into cleared_findings.txt of the registry: "
                f"{sha256}, a space, and who looked and why."
            )


def _search(
    lake: Lake,
    registry: Registry,
    home: Home,
    cleared: Mapping[str, str],
    memory: Memory,
    say: Callable[[int, int], None],
) -> tuple[dict[str, Any], bool]:
    """The parts of each job in which something was found, the files that cannot be read, and whether that will last."""
    from hapi_pipeline.engine import connect, open_tables

    parts: dict[str, set[str]] = {}
    with connect({}) as connection:
        open_tables(connection, lake, sorted(_TEXTS))
        _only(connection, [job for job, why in cleared.items() if not why])
        for job, column in _in_texts(connection, registry):
            parts.setdefault(job, set()).add(_SAID[column])
        handed_in = _handed_in(connection)
    unread, lasting = {}, True
    for jobs, looked in _in_files(handed_in, registry, home, memory, say):
        lasting &= looked.lasting
        if looked.unread:
            unread[looked.file.sha256] = looked.unread
        for job in jobs if looked.found else ():
            parts.setdefault(job, set()).add(_SAID[""])
    order = list(dict.fromkeys(_SAID.values()))
    return {"held": {j: sorted(parts[j], key=order.index) for j in sorted(parts)}, "unread": unread}, lasting


def _only(connection: duckdb.DuckDBPyConnection, jobs: Sequence[str]) -> None:
    """The jobs that are looked at, and whether each is the simulator's."""
    import pyarrow as pa

    connection.register("_cleared_jobs", pa.table({"job_id": pa.array(jobs, pa.string())}))
    connection.execute(
        "CREATE TEMP TABLE _looked_at AS SELECT job_id, coalesce(b.simulated, false) AS simulated "
        "FROM benchmark_jobs b SEMI JOIN _cleared_jobs USING (job_id)"
    )


_ROWS = """
SELECT t.job_id, {columns} FROM "{table}" t JOIN _looked_at l USING (job_id)
WHERE NOT (l.simulated AND coalesce(t.simulated, false))
"""


def _in_texts(connection: duckdb.DuckDBPyConnection, registry: Registry) -> Iterator[tuple[str, str]]:
    """Job and column of every text in which something is found that nobody has cleared."""
    from hapi_pipeline.curation.pii import scan_texts

    places: dict[str, set[tuple[str, str]]] = {}
    for table, columns in _TEXTS.items():
        for column in columns:
            sql = _ROWS.format(columns=f't."{column}"', table=table) + f' AND t."{column}" IS NOT NULL'
            for job, value in connection.execute(sql).fetchall():
                if text := gate.text_of(column, value):
                    places.setdefault(text, set()).add((job, column))
    for text, findings in zip(places, scan_texts(list(places)), strict=True):
        if findings and gate.text_sha256(text) not in registry.cleared_findings:
            yield from places[text]


def _handed_in(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    columns = "t.attempt_id, t.model, t.round, t.deliverables"
    sql = _ROWS.format(columns=columns, table="attempts") + " AND t.n_deliverables > 0 ORDER BY t.attempt_id"
    return list(connection.sql(sql).to_arrow_table().to_pylist())


def _in_files(
    attempts: Sequence[Mapping[str, Any]],
    registry: Registry,
    home: Home,
    memory: Memory,
    say: Callable[[int, int], None],
) -> Iterator[tuple[set[str], gate.Looked]]:
    """Every different file: the jobs that it was handed in for, and what came of looking at it."""
    from hapi_pipeline.release.build import attempt_folder

    jobs: dict[tuple[str, str], set[str]] = {}
    first: dict[tuple[str, str], Path] = {}
    for attempt in attempts:
        for one in json.loads(attempt["deliverables"] or "[]"):
            key = (str(one["sha256"]), str(one["path"]))
            jobs.setdefault(key, set()).add(attempt["job_id"])
            first.setdefault(key, attempt_folder(home, attempt) / "deliverables" / one["path"])
    files = [gate.File("", name, path, sha256, copied=False) for (sha256, name), path in first.items()]
    for looked in gate.in_files(files, registry.cleared_findings, say, memory):
        yield jobs[looked.file.sha256, looked.file.name], looked
