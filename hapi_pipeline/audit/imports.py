"""Audit files: from what curators send back to rows of the ledger `audit_exports`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hapi_pipeline.audit.answers import AuditFile, as_shown, id_in, judge, parse_moment, read_audit_file
from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.intake.files import check_readable, sha256_of
from hapi_pipeline.intake.ledger import Rejected, commit_import, import_id, quarantine_rows, rows_of
from hapi_pipeline.lake import Import, ImportedFile, Lake
from hapi_pipeline.settings import UserError


@dataclass(frozen=True)
class _Job:
    """A job that answers may be about."""

    job_id: str
    cohort: str
    simulated: bool


def import_audits(lake: Lake, paths: Sequence[Path]) -> list[Import]:
    """Import curators' files; one seen before changes nothing. A later file of a curator replaces what it repeats.

    Raises UserError before anything is written when one of the files cannot be taken: it holds no answers, does not say
    who judged, or is about no job of this home.
    """
    done = lake.imported("audits")
    shas = {}
    for path in paths:
        check_readable(path)
        shas[path] = sha256_of(path)
    opened = {path: read_audit_file(path) for path in paths if shas[path] not in done}
    jobs = _jobs(lake, {id_in(cells) for file in opened.values() for _, cells in file.rows})
    for path, file in opened.items():
        _refuse_empty(path, file, jobs)
    return [
        _import_one(lake, path, shas[path], opened[path], jobs)
        if path in opened and shas[path] not in lake.imported("audits")  # twice under two names
        else lake.imported("audits")[shas[path]]
        for path in paths
    ]


def _refuse_empty(path: Path, file: AuditFile, jobs: dict[str, _Job]) -> None:
    if not file.rows and not file.rejected:
        raise UserError(f"{path.name} has no answer yet; choose KEEP, REJECT or CANNOT_JUDGE, then import it.")
    if file.rows and not any(id_in(cells) in jobs for _, cells in file.rows):
        raise UserError(f"None of the jobs that {path.name} judges is known in this home; it may belong to another.")


def _jobs(lake: Lake, shown: Collection[str]) -> dict[str, _Job]:
    """The jobs of this home by their ids as they stand in a cell."""
    if not shown:
        return {}
    with connect() as connection:
        open_tables(connection, lake, ["job_posts"])
        found = connection.execute(
            "SELECT job_id, cohort, simulated FROM job_posts WHERE list_contains($shown, job_id)",
            {"shown": sorted(shown)},
        ).fetchall()
        by_cell = {as_shown(job_id): _Job(job_id, *rest) for job_id, *rest in found}
        if not by_cell.keys() >= set(shown):  # an id that a cell cannot hold as it is, or one that is wrong
            for job_id, *rest in connection.execute("SELECT job_id, cohort, simulated FROM job_posts").fetchall():
                if job_id != as_shown(job_id) in shown:
                    by_cell.setdefault(as_shown(job_id), _Job(job_id, *rest))
    return by_cell


def _import_one(lake: Lake, path: Path, sha: str, file: AuditFile, jobs: dict[str, _Job]) -> Import:
    now = datetime.now(UTC)
    answers, rejected = judge(file, {shown: job.job_id for shown, job in jobs.items()})
    by_id = {job.job_id: job for job in jobs.values()}
    judged_at = parse_moment(file.judged_at, now)
    if file.judged_at is not None and judged_at is None:
        message = "The date is not of the form YYYY-MM-DD or has not come yet; the answers were kept without it."
        rejected.append(Rejected(None, "judged on", str(file.judged_at), "bad_date", message))
    number = import_id("audits", sha)
    rows = [
        {
            "cohort": by_id[answer.job_id].cohort,
            "job_id": answer.job_id,
            "keep": answer.keep,
            "reason": answer.reason,
            "comment": answer.comment,
            "curator": file.curator,
            "judged_at": judged_at,
            "source_file": path.name,
            "source_sha256": sha,
            "source_row": answer.row,
            "imported_at": now,
            "simulated": by_id[answer.job_id].simulated,
        }
        for answer in answers
    ]
    lake.append("audit_exports", number, rows_of("audit_exports", rows))
    manifest = Import(
        import_id=number,
        kind="audits",
        source=None,
        imported_at=now.isoformat(),
        cohorts=tuple(sorted({by_id[answer.job_id].cohort for answer in answers})),
        files=(ImportedFile(path.name, sha, len(rows), len(rejected)),),
    )
    return commit_import(lake, manifest, quarantine_rows("audits", path.name, sha, now, rejected))
