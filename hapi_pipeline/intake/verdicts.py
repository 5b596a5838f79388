"""Verdict files: from what graders send back to rows of the ledger `verdict_exports`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.intake.files import check_readable, sha256_of
from hapi_pipeline.intake.ledger import commit_import, import_id, rows_of
from hapi_pipeline.lake import Import, ImportedFile, Lake

if TYPE_CHECKING:
    from hapi_pipeline.grading.verdicts import GradingIndex


def import_verdicts(lake: Lake, paths: Sequence[Path]) -> tuple[Import | None, list[Path]]:
    """Import files of verdicts in one go; returns the import, and the files that had been imported before.

    Good rows count at once with all others of the call, bad rows go to quarantine. Raises UserError before anything
    is written when a file is no verdict file at all.
    """
    from hapi_pipeline.grading.files import read_verdict_file
    from hapi_pipeline.grading.verdicts import judge

    early = _came_too_early(lake)
    known, seen = lake.imported("verdicts").keys() - early, set[str]()
    fresh: list[tuple[Path, str]] = []
    repeated: list[Path] = []
    for path in paths:
        check_readable(path)
        sha = sha256_of(path)
        if sha in known or sha in seen:
            repeated.append(path)
        else:
            fresh.append((path, sha))
        seen.add(sha)
    opened = [(path, sha, read_verdict_file(path)) for path, sha in fresh]
    if not opened:
        return None, repeated
    index, now = grading_index(lake), datetime.now(UTC)
    rows: list[dict[str, Any]] = []
    quarantined: list[dict[str, Any]] = []
    files = []
    for path, sha, read in opened:
        good, bad = judge(read, index, source_file=path.name, source_sha256=sha, imported_at=now)
        if sha in early and not good:  # still nothing known of it: its quarantine rows are there already
            repeated.append(path)
            continue
        rows += good
        quarantined += bad
        files.append(ImportedFile(path.name, sha, len(good), len(bad)))
    if not files:
        return None, repeated
    shas = [f.sha256 for f in files]
    # an early file that comes again is another import than the one that found nothing in it
    number = import_id("verdicts", *shas, *([now.isoformat()] if early.intersection(shas) else []))
    for model, round_name in sorted({(row["model"], row["round"]) for row in rows}):
        some = [row for row in rows if (row["model"], row["round"]) == (model, round_name)]
        keys = {"model": model, "round": round_name}
        lake.append("verdict_exports", number, rows_of("verdict_exports", some), keys)
    done = Import(
        import_id=number,
        kind="verdicts",
        source=None,
        files=tuple(files),
        imported_at=now.isoformat(),
        cohorts=tuple(sorted({row["cohort"] for row in rows})),
    )
    return commit_import(lake, done, quarantined), repeated


def _came_too_early(lake: Lake) -> set[str]:
    """The files of which nothing was taken in because none of their packets was known yet: they may come again."""
    with connect() as connection:
        open_tables(connection, lake, ["quarantine", "verdict_exports"])
        found = connection.execute(
            """
            SELECT source_sha256 FROM quarantine WHERE kind = 'verdicts'
            GROUP BY source_sha256 HAVING bool_and(code = 'unknown_id')
            EXCEPT SELECT source_sha256 FROM verdict_exports
            """
        ).fetchall()
    return {sha for (sha,) in found}


def grading_index(lake: Lake) -> GradingIndex:
    """Every attempt that verdicts may be given on, by its packet and by its job, model and round."""
    from hapi_pipeline.grading.packets import packet_id_for
    from hapi_pipeline.grading.verdicts import Gradable, GradingIndex

    with connect() as connection:
        open_tables(connection, lake, ["attempts", "packets", "rubrics"])
        found = connection.execute(
            """
            WITH criteria AS (
                SELECT job_id, any_value(rubric_version) AS rubric_version, list(criterion_id) AS criteria
                FROM rubrics GROUP BY job_id
            )
            SELECT a.attempt_id, a.cohort, a.model, a.round, a.job_id, c.rubric_version, p.packet_sha256, c.criteria,
                   a.simulated, a.is_current
            FROM attempts a
            JOIN criteria c USING (job_id)
            LEFT JOIN packets p ON p.attempt_id = a.attempt_id
            ORDER BY a.is_current, a.finished_at, a.attempt_id
            """
        ).fetchall()
    # by job, model and round the last one listed is found: the current attempt
    return GradingIndex(
        Gradable(
            packet_id_for(attempt_id),
            attempt_id,
            cohort,
            model,
            round_,
            job_id,
            version,
            sha,
            frozenset(criteria),
            simulated,
        )
        for attempt_id, cohort, model, round_, job_id, version, sha, criteria, simulated, _ in found
    )
