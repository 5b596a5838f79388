"""Verdict files: from what graders send back to rows of the ledger `verdict_exports`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.intake.files import check_readable, sha256_of
from hapi_pipeline.intake.ledger import commit_import, import_id, rows_of
from hapi_pipeline.lake import Import, ImportedFile, Lake, write_bytes
from hapi_pipeline.rounds import ROUND
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    from hapi_pipeline.grading.files import Problem, VerdictFile
    from hapi_pipeline.grading.verdicts import GradingIndex, Judgement, RoleOf


@dataclass
class _Read:
    """A file of the import: as it was read, and what came of it."""

    path: Path
    sha: str
    file: VerdictFile
    judged: Judgement

    @property
    def manifest(self) -> ImportedFile:
        return ImportedFile(self.path.name, self.sha, len(self.judged.rows), len(self.judged.quarantine))


def import_verdicts(
    lake: Lake,
    paths: Sequence[Path],
    *,
    people: Mapping[str, str] | None = None,
    role_of: RoleOf | None = None,
    replies: Path | None = None,
) -> tuple[Import | None, list[Path]]:
    """Import files of verdicts in one go; returns the import, and the files that had been imported before.

    Good rows count at once with all others of the call, bad rows go to quarantine. `people` are the graders' ids by
    the id or address under which an annotation tool knows them; `role_of` tells the role that a grader was given for
    a packet: by default the ledger of assignments does, where there is one. For each file a reply to its grader is
    written into the folder `replies`: see `reply_path`. Raises UserError before anything is written when a file is no
    verdict file at all.
    """
    from hapi_pipeline.grading.files import read_verdict_file
    from hapi_pipeline.grading.verdicts import judgement
    from hapi_pipeline.grading.worklist import assigned_roles
    from hapi_pipeline.intake.verdicts_bulk import ahead, import_large

    looked_up = ahead(lake, paths)
    hashed = _hashed(paths)
    known = lake.imported("verdicts").keys() & {sha for _, sha in hashed}
    early = _came_too_early(lake) & known if known else set()
    fresh, repeated = _fresh(hashed, known - early)
    role_of = role_of or assigned_roles(lake) or None
    large = import_large(lake, fresh, early, role_of=role_of, replies=replies, looked_up=looked_up)
    if large is not None:
        return large.done, repeated if large.done else [*repeated, *paths]
    opened = [(path, sha, read_verdict_file(path, people)) for path, sha in fresh]
    if not opened:
        return None, repeated
    index, now = grading_index(lake), datetime.now(UTC)
    read: list[_Read] = []
    for path, sha, file in opened:
        made = judgement(file, index, source_file=path.name, source_sha256=sha, imported_at=now, role_of=role_of)
        if sha in early and not made.rows:  # still nothing known of it: its quarantine rows are there already
            repeated.append(path)
        else:
            read.append(_Read(path, sha, file, made))
    if not read:
        return None, repeated
    _refuse_contradictions(read, now)
    shas = [r.sha for r in read]
    # an early file that comes again is another import than the one that found nothing in it
    number = import_id("verdicts", *shas, *([now.isoformat()] if early.intersection(shas) else []))
    rows = [row for r in read for row in r.judged.rows]
    for model, round_name in sorted({(row["model"], row["round"]) for row in rows}):
        some = [row for row in rows if (row["model"], row["round"]) == (model, round_name)]
        keys = {"model": model, "round": round_name}
        lake.append("verdict_exports", number, rows_of("verdict_exports", some), keys)
    if replies is not None:
        _write_replies(replies, read, index)
    done = Import(
        import_id=number,
        kind="verdicts",
        source=None,
        files=tuple(r.manifest for r in read),
        imported_at=now.isoformat(),
        cohorts=tuple(sorted({row["cohort"] for row in rows})),
    )
    return commit_import(lake, done, _told_apart(row for r in read for row in r.judged.quarantine)), repeated


def _told_apart(quarantine: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of quarantine, numbered where a row of a file (a task of Label Studio) has several of a kind."""
    met: Counter[tuple[Any, ...]] = Counter()
    told = []
    for row in quarantine:
        key = tuple(row[name] for name in TABLES["quarantine"].key)
        met[key] += 1
        told.append({**row, "column": f"{row['column'] or 'row'} ({met[key]})"} if met[key] > 1 else dict(row))
    return told


def _hashed(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    for path in paths:
        check_readable(path)
    return [(path, sha256_of(path)) for path in paths]


def _fresh(hashed: Sequence[tuple[Path, str]], known: Collection[str]) -> tuple[list[tuple[Path, str]], list[Path]]:
    """The files that are new, with their hashes, and those that are known or named twice."""
    seen: set[str] = set(known)
    fresh: list[tuple[Path, str]] = []
    repeated: list[Path] = []
    for path, sha in hashed:
        if sha in seen:
            repeated.append(path)
        else:
            fresh.append((path, sha))
        seen.add(sha)
    return fresh, repeated


def _refuse_contradictions(read: Sequence[_Read], now: datetime) -> None:
    """Take out what a grader says differently in two files of one import, on both sides."""
    from hapi_pipeline.grading.verdicts import Judgement, conflict_between_files, contradictions, quarantined

    if len(read) < 2:
        return
    refused = contradictions([row for r in read for row in r.judged.rows])
    for r in read:
        mine = [row for row in r.judged.rows if row["verdict_id"] in refused]
        if mine:
            problems = [conflict_between_files(row) for row in mine]
            r.judged = Judgement(
                [row for row in r.judged.rows if row["verdict_id"] not in refused],
                [*r.judged.quarantine, *(quarantined(p, r.path.name, r.sha, now) for p in problems)],
                (*r.judged.problems, *problems),
            )


def reply_path(replies: Path, name: str, sha256: str) -> Path:
    """Where the reply to the grader of a file stands: a name that is harmless, and another for other bytes."""
    plain = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("._-")[:60] or "file"
    return replies / f"{plain}_{sha256[:8]}.md"


def texts_of(problems: Sequence[Problem], index: GradingIndex) -> dict[tuple[str, str], str]:
    """The words of the criteria that problems are about, by packet and criterion."""
    return {
        (p.packet_id, p.criterion_id): index.texts.get((about.job_id, p.criterion_id), "")
        for p in problems
        if p.packet_id and p.criterion_id and (about := index.by_packet(p.packet_id))
    }


def _write_replies(replies: Path, read: Sequence[_Read], index: GradingIndex) -> None:
    from hapi_pipeline.grading.reply import first_row, reply

    replies.mkdir(parents=True, exist_ok=True)
    secrets = index.models
    for r in read:
        rows, problems = r.judged.rows, r.judged.problems
        texts = texts_of(problems, index)
        text = reply(r.path.name, r.file.form, rows, problems, texts, above=first_row(r.file), secrets=secrets)
        write_bytes(reply_path(replies, r.path.name, r.sha), text.encode())


def _came_too_early(lake: Lake) -> set[str]:
    """The files of which nothing was taken in because none of their packets was known yet: they may come again."""
    with connect() as connection:
        open_tables(connection, lake, ["quarantine", "verdict_exports"])
        found = connection.execute(
            """
            SELECT source_sha256 FROM quarantine WHERE kind = 'verdicts'
            GROUP BY source_sha256
            HAVING bool_and(code IN ('unknown_id', 'skipped_task')) AND bool_or(code = 'unknown_id')
            EXCEPT SELECT source_sha256 FROM verdict_exports
            """
        ).fetchall()
    return {sha for (sha,) in found}


def grading_index(lake: Lake) -> GradingIndex:
    """Every attempt that verdicts may be given on, by its packet and by its job, model, round and sample."""
    from hapi_pipeline.grading.packets import packet_id_for
    from hapi_pipeline.grading.verdicts import Gradable, GradingIndex

    with connect() as connection:
        open_tables(connection, lake, ["attempts", "packets", "rubrics", "standing_criteria"])
        found = connection.execute(
            """
            WITH criteria AS (
                SELECT job_id, any_value(rubric_version) AS rubric_version, list(criterion_id) AS criteria
                FROM rubrics GROUP BY job_id
            )
            SELECT a.attempt_id, a.cohort, a.model, a.round, a.job_id, c.rubric_version, p.packet_sha256, c.criteria,
                   a.simulated, a.finished_at, coalesce(a.sample, 1)
            FROM attempts a
            JOIN criteria c USING (job_id)
            LEFT JOIN packets p ON p.attempt_id = a.attempt_id
            ORDER BY a.is_current, a.finished_at, a.attempt_id
            """
        ).fetchall()
        versions = connection.execute(
            """
            SELECT job_id, rubric_version, list(criterion_id) FILTER (WHERE still_stands)
            FROM standing_criteria GROUP BY ALL
            """
        ).fetchall()
        texts = connection.execute("SELECT job_id, criterion_id, text FROM rubrics").fetchall()
    standing: dict[str, dict[str, frozenset[str]]] = {}
    for job_id, version, still_standing in versions:
        standing.setdefault(job_id, {})[version] = frozenset(still_standing or ())
    started = {(model, job_id, round_) for _, _, model, round_, job_id, *_ in found}
    # the round that an attempt follows: verdicts on that one come late from now on
    followed_up = {(m, j, ROUND[r].after) for m, j, r in started if r in ROUND}
    # by job, model, round and sample the last one listed is found: the current attempt
    gradables = (
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
            standing.get(job_id, {}),
            finished_at,
            sample,
            sample == 1 and (model, job_id, round_) in followed_up,
        )
        for attempt_id, cohort, model, round_, job_id, version, sha, criteria, simulated, finished_at, sample in found
    )
    return GradingIndex(gradables, {(job_id, criterion): text for job_id, criterion, text in texts})
