"""No personal data in what leaves: the texts of the benchmark's jobs are scanned anew, whatever was found before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hapi_pipeline.checks.rules import WARNING, Row, Rule, Scope, files_of
from hapi_pipeline.curation.pii_findings import detector_version
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Registry

_AT_ONCE = 4096  # rows
_PLACES = ("title", "description", "attachments")


def personal_data(lake: Lake, registry: Registry, scopes: Sequence[Scope]) -> Iterator[Row]:
    """The jobs of the benchmark whose texts hold personal data; as a warning, criteria of their rubrics that do.

    Says where it is and of what kind, never what it says.
    """
    for scope in scopes:
        chosen = set[str]()
        for jobs in _some_rows(files_of(lake, "benchmark_jobs", scope), ["cohort", "job_id", *_PLACES]):
            yield from _found(jobs, _PLACES)
            chosen.update(job["job_id"] for job in jobs)
        for rows in _some_rows(files_of(lake, "rubrics", scope), ["cohort", "job_id", "criterion_id", "text"]):
            criteria = [row for row in rows if row["job_id"] in chosen]
            yield from ({**row, WARNING: True} for row in _found(criteria, ("text",)))


def _some_rows(files: Sequence[Path], columns: list[str]) -> Iterator[list[Row]]:
    """The rows of files, some at a time: a month may have hundred thousands of long texts."""
    import pyarrow.parquet as pq

    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_AT_ONCE, columns=columns):
                yield batch.to_pylist()


def _found(rows: Sequence[Row], places: Sequence[str]) -> Iterator[Row]:
    from hapi_pipeline.curation.pii import decide, scan_texts

    for place in places:
        texts = ["\n".join(v) if isinstance(v := row[place], list) else v or "" for row in rows]
        for row, findings in zip(rows, scan_texts(texts), strict=True):
            if decide(findings) == "reject":
                kinds = ", ".join(sorted({finding.type for finding in findings}))
                named: Row = {k: row[k] for k in ("cohort", "job_id", "criterion_id") if k in row}
                yield {**named, "place": place, "personal data": kinds}


RULES = (
    Rule(
        "no_personal_data",
        "benchmark_jobs",
        "Titles, descriptions and names of attachments hold no personal data; otherwise the month is not handed to "
        "models and graders. Criteria of rubrics that seem to hold some are a warning.",
        personal_data,
        ("benchmark_jobs", "rubrics"),
        version=detector_version,
        mend="`hapi rebuild --table benchmark_jobs --write` applies the rules again; a rubric is mended by a new one.",
    ),
)
