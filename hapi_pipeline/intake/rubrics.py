"""Rubric files: from an expert's sheet to rows of the ledger `rubric_exports`."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hapi_pipeline.intake.files import OpenFile, open_rows
from hapi_pipeline.intake.ledger import Rejected, commit_import, import_id, quarantine_rows
from hapi_pipeline.intake.rubrics_bulk import COLUMNS, good_rows
from hapi_pipeline.lake import Import, ImportedFile, Lake
from hapi_pipeline.naming import digest
from hapi_pipeline.settings import UserError

IMPORTANCE = ("critical", "important", "optional", "pitfall")
_REQUIRED = ("job_id", "criterion_id", "text")


def import_rubrics(lake: Lake, paths: Sequence[Path], *, simulated: bool = False) -> list[Import]:
    """Import rubric files (long CSV, JSON lines or xlsx); a file seen before changes nothing.

    A rubric with a row that cannot be taken is held back whole: without one of its criteria it is another rubric.
    Memory does not grow with the file, but for what is rejected.
    Raises UserError before anything is written when any of the files cannot be taken.
    """
    for path in paths:
        with open_rows(path) as opened:
            _columns(opened)
    return [_import_one(lake, path, simulated) for path in paths]


def _columns(opened: OpenFile) -> dict[str, str]:
    """Our column names and theirs. Raises UserError naming a required column that is missing."""
    theirs = {c.strip().casefold(): c for c in opened.columns}
    for name in _REQUIRED:
        if name not in theirs:
            raise UserError(
                f"{opened.path.name} lacks the column {name!r}; a rubric file needs {', '.join(_REQUIRED)} and may "
                f"have {', '.join(c for c in COLUMNS if c not in _REQUIRED)}."
            )
    return {name: theirs[name] for name in COLUMNS if name in theirs}


def _import_one(lake: Lake, path: Path, simulated: bool) -> Import:
    with open_rows(path) as opened:
        if done := lake.imported("rubrics").get(opened.sha256):
            return done
        number = import_id("rubrics", opened.sha256)
        columns, now = _columns(opened), datetime.now(UTC)
        origin = {"source_file": path.name, "source_sha256": opened.sha256, "imported_at": now, "simulated": simulated}
        unread = tuple(bad.value for bad in opened.bad_rows)
        rejected = [Rejected(bad.row, None, bad.value, "bad_row", bad.message) for bad in opened.bad_rows]
        rows = good_rows(opened, columns, origin, functools.partial(check_rubrics, unread=unread), rejected)
        staged = lake.append_stream("rubric_exports", number, rows)
        return commit_import(
            lake,
            Import(
                import_id=number,
                kind="rubrics",
                source=None,
                imported_at=now.isoformat(),
                unmapped_columns=tuple(c for c in opened.columns if c not in columns.values()),
                files=(ImportedFile(path.name, opened.sha256, sum(staged.values()), len(rejected)),),
            ),
            quarantine_rows("rubrics", path.name, opened.sha256, now, rejected),
        )


def check_rubrics(
    rows: Sequence[dict[str, Any]], unread: Sequence[str] = ()
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    """Split the rows of a rubric file into criteria of whole rubrics and rejected rows.

    Each row has `_row` and the text columns of a rubric file. Every row is in exactly one of the two results.
    `unread` are the lines that could not be read: the rubric of a job that one of them names is held back.
    """
    rubrics: dict[str, list[dict[str, Any]]] = {}
    rejected: list[Rejected] = []
    for row in rows:
        job_id = (row.get("job_id") or "").strip()
        if job_id:
            rubrics.setdefault(job_id, []).append(row | {"job_id": job_id})
        else:
            rejected.append(Rejected(row["_row"], "job_id", None, "missing_job_id", "The row has no job id."))
    good: list[dict[str, Any]] = []
    for job_id, criteria in rubrics.items():
        problems = _problems(criteria)
        if problems or any(re.search(rf"(?<!\w){re.escape(job_id)}(?!\w)", line) for line in unread):
            faulty = {p.row for p in problems}
            rejected += problems
            rejected += [
                Rejected(
                    c["_row"],
                    None,
                    c.get("criterion_id"),
                    "rubric_held_back",
                    f"Another row of the rubric of job {job_id} is at fault; correct it and import the file again.",
                )
                for c in criteria
                if c["_row"] not in faulty
            ]
        else:
            good += _numbered(criteria)
    return good, rejected


def _problems(criteria: Sequence[dict[str, Any]]) -> list[Rejected]:
    problems, seen = [], set()
    for row in criteria:
        criterion = (row.get("criterion_id") or "").strip()
        importance = (row.get("importance") or IMPORTANCE[0]).strip().casefold()
        position = row.get("position")
        found: tuple[str, str | None, str, str] | None = None
        if not criterion:
            found = ("criterion_id", None, "missing_criterion_id", "The row has no criterion id.")
        elif criterion in seen:
            found = (
                "criterion_id",
                criterion,
                "duplicate_criterion",
                "This criterion id stands twice in the rubric.",
            )
        elif not (row.get("text") or "").strip():
            found = ("text", None, "missing_text", "The criterion has no text.")
        elif importance not in IMPORTANCE:
            found = (
                "importance",
                importance,
                "bad_importance",
                f"Importance must be one of {', '.join(IMPORTANCE)}.",
            )
        elif position not in (None, "") and not _is_whole(str(position)):
            found = ("position", str(position), "bad_position", "Position must be a whole number.")
        seen.add(criterion)
        if found:
            problems.append(Rejected(row["_row"], *found))
    return problems


def _is_whole(text: str) -> bool:
    try:
        return float(text).is_integer() and abs(float(text)) < 1e9
    except ValueError:
        return False


def _numbered(criteria: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The criteria of one sound rubric with positions from 1 and the rubric's version."""
    ordered = sorted(criteria, key=lambda c: (float(c.get("position") or "inf"), c["_row"]))
    rows = [
        {
            "job_id": c["job_id"],
            "criterion_id": c["criterion_id"].strip(),
            "position": i,
            "text": c["text"].strip(),
            "importance": (c.get("importance") or IMPORTANCE[0]).strip().casefold(),
            "author": (c.get("author") or "").strip() or None,
            "source_row": c["_row"],
        }
        for i, c in enumerate(ordered, 1)
    ]
    version = digest(*(str(part) for r in rows for part in (r["criterion_id"], r["text"], r["importance"])), length=12)
    return [row | {"rubric_version": version} for row in rows]
