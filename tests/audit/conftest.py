"""Curated months put straight into the tables, and filled workbooks without a person."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from hapi_pipeline.audit.reasons import AUDITED, KEPT
from hapi_pipeline.audit.sample import SampledJob
from hapi_pipeline.audit.workbook import COLUMNS, CURATOR_CELL, DATE_CELL, HEADER_ROW, JOBS_SHEET, workbook_bytes
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark
from tests.scenario import post, table_of

MARCH = "2026-03"
Row = tuple[str, str, str, str]  # job_id, should_be_kept, reason, comment


def curate(lake: Lake, decisions: Mapping[str, str], cohort: str = MARCH, **posts: Mapping[str, Any]) -> None:
    """Write a month as its curation leaves it: what became of each job; `posts` says what is special about one."""
    rows = {job: post(job, cohort=cohort, **posts.get(job, {})) for job in decisions}
    scope = {"cohort": cohort}
    lake.write("job_posts", table_of("job_posts", list(rows.values())), scope)
    kept = [rows[job] for job, decision in decisions.items() if decision == KEPT]
    lake.write("curated_jobs", table_of("curated_jobs", kept), scope)
    away = [
        {"cohort": cohort, "job_id": job, "rule": decision, "code": "because", "rule_version": "1"}
        for job, decision in decisions.items()
        if decision != KEPT
    ]
    lake.write("rejected_jobs", table_of("rejected_jobs", away), scope)


def crowd(size: int = 40) -> dict[str, str]:
    """Some jobs for each decision that there is."""
    return {f"{decision[:6]}-{n:02d}": decision for decision in (*AUDITED, KEPT) for n in range(size)}


def answers_csv(rows: Sequence[Row], curator: str = "ann", judged_on: str = "2026-04-02", delimiter: str = ",") -> str:
    """A file as a spreadsheet program saves the sheet, with the columns that are read."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([("curator", "", curator), ("judged on", "", judged_on), ()])
    writer.writerows([("job_id", "should_be_kept", "reason", "comment"), *rows])
    return out.getvalue()


@pytest.fixture
def fill(tmp_path: Path, benchmark: Benchmark) -> Callable[..., Path]:
    """Makes the workbook of these jobs and fills it in: {job_id: (answer, reason, comment)}."""

    def make(
        jobs: Sequence[SampledJob],
        answers: Mapping[str, Sequence[object]],
        name: str = "ann.xlsx",
        curator: object = "ann",
        judged_on: object = "2026-04-02",
        change: Callable[[Any], None] = lambda sheet: None,
    ) -> Path:
        book = openpyxl.load_workbook(io.BytesIO(workbook_bytes(jobs, benchmark.rules, {})))
        sheet: Any = book[JOBS_SHEET]
        sheet[CURATOR_CELL], sheet[DATE_CELL] = curator, judged_on
        first = COLUMNS.index("should_be_kept") + 1
        for row, job in enumerate(jobs, HEADER_ROW + 1):
            for column, value in enumerate(answers.get(job.job_id, ()), first):
                sheet.cell(row, column).value = value
        change(sheet)
        book.save(tmp_path / name)
        return tmp_path / name

    return make


def sampled(job_id: str, **changes: Any) -> SampledJob:
    """A job as curators see it."""
    facts: dict[str, Any] = {
        "cohort": MARCH,
        "job_id": job_id,
        "title": f"Task {job_id}",
        "description": "Count the boats in the harbour at noon.",
        "category": "Data",
        "price_usd": 1250.5,
        "job_type": "fixed",
        "milestone_count": 1,
        "price_changed": False,
        "status": "completed",
        "paid": True,
        "completed_at": None,
        "attachments": ["harbour.pdf", "boats.csv"],
    }
    return SampledJob(**(facts | changes))
