"""The chain of curation rules, and the rejections that follow from it.

Each rule is one SQL file named like the table it makes. It answers for every job of its input with a `code`: null
keeps the job, a code that starts with ``unknown_`` says that a fact is missing, any other says what speaks against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hapi_pipeline import engine
from hapi_pipeline.lake import Lake
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

CHAIN = (
    "fixed_price_jobs",
    "completed_jobs",
    "single_milestone_jobs",
    "in_scope_jobs",
    "pii_free_jobs",
    "curated_jobs",
    "benchmark_jobs",
)
"""The rules in the order in which they are applied; each is also the table of the jobs that it keeps."""


def kept(lake: Lake, rule: str, scope: Mapping[str, str], params: Mapping[str, Any]) -> pa.Table:
    """The jobs that a rule keeps, as rows of its table."""
    import pyarrow.compute as pc

    judged = engine.run(lake, engine.query(rule), scope, params)
    return judged.filter(pc.is_null(judged["code"])).select(list(TABLES[rule].names))


def rejections(lake: Lake, scope: Mapping[str, str], params: Mapping[str, Any]) -> pa.Table:
    """Every job that some rule turns away, with the first rule that does: rows of `rejected_jobs`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = []
    for rule in CHAIN:
        judged = engine.run(lake, engine.query(rule), scope, params)
        away = judged.filter(pc.is_valid(judged["code"])).select(["cohort", "job_id", "code", "observed", "threshold"])
        same = {"rule": rule, "rule_version": str(params["rule_version"])}
        for name, value in same.items():
            away = away.append_column(name, pa.array([value] * away.num_rows, pa.string()))
        parts.append(away.select(list(TABLES["rejected_jobs"].names)).cast(TABLES["rejected_jobs"].schema()))
    return pa.concat_tables(parts)


def detector_version() -> str:
    """Version of the detectors of personal data."""
    from hapi_pipeline.curation.pii import DETECTOR_VERSION

    return DETECTOR_VERSION


def pii_findings(lake: Lake, scope: Mapping[str, str]) -> pa.Table:
    """Where the texts of the jobs in scope hold personal data: rows of `pii_findings`."""
    import pyarrow as pa

    from hapi_pipeline.curation.pii import DETECTOR_VERSION, decide, scan_texts

    with engine.connect() as connection:
        engine.open_tables(connection, lake, {"in_scope_jobs": scope, "job_posts": scope})
        posts = connection.execute(
            "SELECT p.job_id, p.title, p.description, array_to_string(p.attachments, chr(10)) AS attachments "
            "FROM job_posts p SEMI JOIN in_scope_jobs USING (job_id) ORDER BY job_id"
        ).fetchall()
    rows = []
    for position, place in enumerate(("title", "description", "attachments"), 1):
        found = scan_texts([post[position] or "" for post in posts])
        for post, findings in zip(posts, found, strict=True):
            # one row for each type and start: a stronger finding at the same place makes a weaker one redundant
            for finding in {(f.type, f.start): f for f in sorted(findings, key=lambda f: f.score)}.values():
                rows.append(
                    {
                        "cohort": scope["cohort"],
                        "job_id": post[0],
                        "place": place,
                        "finding_type": finding.type,
                        "start": finding.start,
                        "end": finding.end,
                        "score": finding.score,
                        "decision": decide([finding]),
                        "detector_version": DETECTOR_VERSION,
                    }
                )
    return pa.Table.from_pylist(rows, schema=TABLES["pii_findings"].schema())
