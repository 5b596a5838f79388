"""Attempts made elsewhere: from a folder with a JSONL manifest to the ledger of attempts."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hapi_pipeline.agents.documents import zips
from hapi_pipeline.agents.ledger import AttemptLedger, Result
from hapi_pipeline.agents.texts import safe_relative_path
from hapi_pipeline.agents.tools import MAX_FILES, MAX_TOTAL_BYTES
from hapi_pipeline.evaluation import Cell, due_tasks
from hapi_pipeline.intake.files import sha256_of
from hapi_pipeline.intake.ledger import Rejected, commit_import, import_id, quarantine_rows, shorten, storable
from hapi_pipeline.lake import Import, ImportedFile, Lake
from hapi_pipeline.registry import Model, Registry
from hapi_pipeline.rounds import ROUND, Round
from hapi_pipeline.settings import Home, UserError

COLUMNS = (
    "job_id", "model", "round", "deliverables", "folder", "cost_usd", "prompt_tokens", "completion_tokens",
    "cached_tokens", "seconds", "minutes", "finished_at", "transcript", "sample",
)  # fmt: skip
"""What a row of a manifest may hold."""
_REQUIRED = ("job_id", "model", "round", "deliverables")
MOST_SAMPLES = 1000
_MOST = 1e15  # more dollars, tokens or seconds than any attempt takes
_MOST_MANIFEST = 64 << 20  # bytes
_MOST_TRANSCRIPT = 20 << 20  # bytes
_MOST_OTHERS = 40  # names of columns that are reported as kept aside


class _RefusedError(Exception):
    """A row of a manifest that cannot be taken in: column, code and a plain sentence."""

    def __init__(self, column: str, code: str, message: str):
        super().__init__(message)
        self.column, self.code = column, code


@dataclass(frozen=True)
class _Row:
    """A row whose every value has been checked."""

    job_id: str
    model: Model
    round: Round
    sample: int
    files: list[tuple[str, Path]]
    transcript: str | None
    cost_usd: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    seconds: float | None
    finished_at: datetime | None


@dataclass
class _Known:
    """What rows are checked against."""

    lake: Lake
    ledger: AttemptLedger
    registry: Registry
    cohorts: Mapping[str, str]  # month of each job of the benchmark
    made: Counter[tuple[str, str, str, int]] = field(default_factory=Counter)  # imported: (model, round, job, sample)
    _counted: set[tuple[str, str]] = field(default_factory=set)
    _due: dict[Cell, dict[str, Result | None]] = field(default_factory=dict)

    def tries(self, row: _Row) -> int:
        """How many attempts at the job have been imported for this round and sample."""
        if (row.model.name, row.round.name) not in self._counted:
            self._counted.add((row.model.name, row.round.name))
            found = self.ledger.results(row.model.key, row.round.name)
            self.made.update((row.model.name, row.round.name, r.job_id, r.sample) for r in found)
        return self.made[row.model.name, row.round.name, row.job_id, row.sample]

    def due(self, model: Model, this: Round, job_id: str) -> tuple[bool, Result | None]:
        """Whether the job is due in this round, and the attempt that it follows."""
        cell = Cell(self.cohorts[job_id], model, this)
        if cell not in self._due:
            tasks = due_tasks(self.lake, self.ledger, cell, self.registry.benchmark)
            self._due[cell] = {task.job.job_id: task.previous for task in tasks}
        return job_id in self._due[cell], self._due[cell].get(job_id)


def import_attempts(lake: Lake, home: Home, registry: Registry, folder: Path) -> tuple[Import, bool]:
    """Take in the attempts that a folder's manifest lists; the import, and whether it is new.

    The manifest is the only ``*.jsonl`` in the folder, or ``manifest.jsonl``: an object a line with job_id, model,
    round and deliverables (paths within the folder), and where known cost_usd, prompt_tokens, completion_tokens,
    cached_tokens, seconds or minutes, finished_at, transcript, and a `folder` that the paths begin in. `sample` (1
    where it is not said) numbers the times that the same work was done from the start. Bad rows go to quarantine. A
    further attempt under the same job, model, round and sample is a new try, which counts from then on; the older one
    stays with its cost. Raises UserError when there is no such manifest.
    """
    manifest = _manifest(folder)
    rows = _rows(manifest)
    sha = _fingerprint(manifest, folder, [row for _, row in rows])
    known = lake.imported("attempts").get(sha)
    if known:
        return known, False
    now, ledger = datetime.now(UTC), AttemptLedger(home.attempts)
    jobs = lake.read("benchmark_jobs", columns=["job_id", "cohort"]).to_pylist()
    context = _Known(lake, ledger, registry, {job["job_id"]: job["cohort"] for job in jobs})
    rejected: list[Rejected] = []
    touched, taken = set[str](), 0
    for number, row in rows:
        try:
            _take_in(context, _checked(context, folder, row))
        except _RefusedError as problem:
            value = row.get(problem.column)
            rejected.append(Rejected(number, problem.column, str(value), problem.code, str(problem)))
        except UserError as problem:
            listed = str(row.get("deliverables"))
            rejected.append(Rejected(number, "deliverables", listed, "bad_deliverable", str(problem)))
        else:
            touched.add(context.cohorts[row["job_id"]])
            taken += 1
    done = Import(
        import_id=import_id("attempts", sha),
        kind="attempts",
        source=None,
        imported_at=now.isoformat(),
        files=(ImportedFile(manifest.name, sha, taken, len(rejected)),),
        cohorts=tuple(sorted(touched)),
        unmapped_columns=_others(row for _, row in rows),
    )
    return commit_import(lake, done, quarantine_rows("attempts", manifest.name, sha, now, rejected)), True


# ---- the manifest


def _manifest(folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; attempts are imported from a folder with a JSONL manifest.")
    named, found = folder / "manifest.jsonl", sorted(folder.glob("*.jsonl"))
    if not named.exists() and len(found) != 1:
        raise UserError(f"{folder} must hold a manifest.jsonl, or a single *.jsonl; it holds {len(found)}.")
    chosen = named if named.exists() else found[0]
    if chosen.is_symlink() or not chosen.is_file() or chosen.stat().st_size > _MOST_MANIFEST:
        raise UserError(f"{chosen.name} must be a file of its own with at most {_MOST_MANIFEST >> 20} MiB.")
    return chosen


def _rows(manifest: Path) -> list[tuple[int, dict[str, Any]]]:
    """The objects of the manifest with their line numbers; a line that is none becomes an empty object."""
    try:
        lines = manifest.read_text("utf-8-sig").split("\n")  # splitlines would also split at U+2028
    except UnicodeDecodeError as error:
        raise UserError(f"{manifest.name} is not UTF-8 text; expected an object of JSON a line.") from error
    rows: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                loaded = json.loads(line)
            except (ValueError, RecursionError):
                loaded = {}
            rows.append((number, loaded if isinstance(loaded, dict) else {}))
    if not any(row for _, row in rows):
        raise UserError(f"{manifest.name} holds no attempt; expected an object of JSON a line.")
    return rows


def _others(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Names in the rows that mean nothing here; a few dozen at most, for they come from outside."""
    names = {shorten(storable(name)) or "" for row in rows for name in row if name not in COLUMNS}
    return tuple(sorted(names)[:_MOST_OTHERS])


def _fingerprint(manifest: Path, folder: Path, rows: list[dict[str, Any]]) -> str:
    """SHA-256 of the manifest and of the files that it names: one that was mended makes it another import."""
    sha = hashlib.sha256(sha256_of(manifest).encode())
    for row in rows:
        listed = row.get("deliverables")
        for text in [*(listed if isinstance(listed, list) else [])[:MAX_FILES], row.get("transcript")]:
            try:
                path = _file_in(_root(folder, row), text)
                small = path.stat().st_size <= MAX_TOTAL_BYTES
                sha.update((sha256_of(path) if small else "large").encode())
            except (_RefusedError, OSError):
                sha.update(b"refused")
    return sha.hexdigest()


# ---- a row


def _checked(known: _Known, folder: Path, row: Mapping[str, Any]) -> _Row:
    """The row's values; _RefusedError names the first that cannot be taken in."""
    for name in _REQUIRED:
        if name not in row:
            raise _RefusedError(name, "missing_column", f"The row lacks {name!r}, or is not an object of JSON.")
    if not isinstance(row["job_id"], str) or row["job_id"] not in known.cohorts:
        raise _RefusedError("job_id", "unknown_id", "There is no such job in the benchmark.")
    rounds = known.registry.benchmark.rounds
    if not isinstance(row["round"], str) or row["round"] not in rounds:
        raise _RefusedError("round", "unknown_round", f"The round must be one of {', '.join(rounds)}.")
    root = _root(folder, row)
    return _Row(
        job_id=row["job_id"],
        model=_external_model(known.registry, row["model"]),
        round=ROUND[row["round"]],
        sample=_sample(row),
        files=_files(root, row["deliverables"]),
        transcript=_transcript(root, row),
        cost_usd=_number(row, "cost_usd"),
        prompt_tokens=_whole(row, "prompt_tokens"),
        completion_tokens=_whole(row, "completion_tokens"),
        cached_tokens=_whole(row, "cached_tokens"),
        seconds=_seconds(row),
        finished_at=_moment(row),
    )


def _take_in(known: _Known, row: _Row) -> None:
    is_due, previous = known.due(row.model, row.round, row.job_id)
    if not is_due:
        raise _RefusedError(
            "round",
            "not_due",
            f"The job is not due in {row.round.name}: it was not attempted in {row.round.after}, is complete, or waits "
            "for verdicts; `hapi explain` says which.",
        )
    tries = known.tries(row)
    made = known.ledger.add_external(
        job_id=row.job_id,
        model=row.model,
        round=row.round.name,
        turn=row.round.turn,
        arm=row.round.arm,
        files=row.files,
        cost_usd=row.cost_usd,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        cached_tokens=row.cached_tokens,
        seconds=row.seconds,
        finished_at=row.finished_at,
        try_number=tries + 1,
        previous_attempt_id=previous.attempt_id if previous else None,
        transcript=row.transcript,
        sample=row.sample,
    )
    known.made[row.model.name, row.round.name, row.job_id, row.sample] = max(tries, made.try_number)


def _external_model(registry: Registry, name: object) -> Model:
    for model in registry.models:
        if model.name == name:
            if not model.external:
                raise _RefusedError("model", "not_external", "This model's attempts are made here, not imported.")
            if model.retired:
                raise _RefusedError("model", "retired_model", "This model is retired; nothing is taken in for it.")
            return model
    raise _RefusedError("model", "unknown_model", "Register the model first: hapi models add NAME --external.")


# ---- files


def _root(folder: Path, row: Mapping[str, Any]) -> Path:
    """The folder that a row's paths begin in; it need not be there where nothing is handed in."""
    inner = row.get("folder")
    return folder if inner is None else _inside(folder, inner, "folder")


def _files(root: Path, listed: object) -> list[tuple[str, Path]]:
    """(path as graders will see it, file) of what a row hands in, each checked as far as that goes without reading."""
    if listed is None:
        raise _RefusedError("deliverables", "not_filled_in", "List the files; [] where the agent handed in nothing.")
    if not isinstance(listed, list) or not all(isinstance(p, str) for p in listed):
        raise _RefusedError("deliverables", "bad_deliverable", "deliverables must be a list of paths in the folder.")
    if len(listed) > MAX_FILES:
        raise _RefusedError("deliverables", "too_many_files", f"At most {MAX_FILES} files can be handed in.")
    found = [(text, _file_in(root, text)) for text in listed]
    names = Counter(safe_relative_path(text).casefold() for text in listed)
    if any(count > 1 for count in names.values()):
        raise _RefusedError("deliverables", "duplicate_name", "Two deliverables have the same name, but for case.")
    if sum(path.stat().st_size for _, path in found) > MAX_TOTAL_BYTES:
        raise _RefusedError(
            "deliverables", "too_large", f"Together the files may have {MAX_TOTAL_BYTES / 1e6:g} MB at most."
        )
    for _, path in found:
        _check_archive(path)
    return found


def _file_in(root: Path, text: object, column: str = "deliverables") -> Path:
    """The regular file at a path within a folder, reached through no link."""
    path = _inside(root, text, column)
    try:
        kind = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise _RefusedError(column, "missing_file", "A file that is listed does not exist.") from None
    except (OSError, ValueError):
        raise _RefusedError(column, "bad_name", "No file can have such a name.") from None
    if not stat.S_ISREG(kind):
        raise _RefusedError(column, "not_a_file", "What is listed is a folder, a pipe or a device, not a file.")
    if not os.access(path, os.R_OK):
        raise _RefusedError(column, "unreadable_file", "A file that is listed cannot be read.")
    return path


def _inside(root: Path, text: object, column: str) -> Path:
    """A path within a folder, none of whose steps is a link."""
    if not isinstance(text, str):
        raise _RefusedError(column, "bad_deliverable", "A path must be a text.")
    if Path(text).is_absolute() or ".." in text.replace("\\", "/").split("/"):
        raise _RefusedError(column, "outside_folder", "Paths are relative to the folder and must not contain '..'.")
    try:
        safe_relative_path(text)
    except ValueError as error:
        raise _RefusedError(column, "bad_name", f"The name cannot be used: {error}.") from None
    path = root
    for step in Path(text).parts:
        path /= step
        if path.is_symlink():
            raise _RefusedError(column, "symlink", "A path that is listed is, or leads through, a symbolic link.")
    return path


def _check_archive(path: Path) -> None:
    """Refuse a zip file, office files among them, that a grader must not unpack; it is not unpacked here."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except zips.ZIP_ERRORS:
        return  # no archive after all, or a damaged one: it is handed in as it is, and fails to open
    if len(members) > zips.MOST_MEMBERS or sum(m.file_size for m in members) > zips.MOST_UNPACKED:
        raise _RefusedError("deliverables", "zip_bomb", "A zip file claims to unpack to more than anyone could grade.")
    if any(zips.is_symlink(m) or zips.leads_out(m.filename) for m in members):
        raise _RefusedError("deliverables", "unsafe_archive", "A zip file holds links, or paths that lead out of it.")


def _transcript(root: Path, row: Mapping[str, Any]) -> str | None:
    if row.get("transcript") is None:
        return None
    path = _file_in(root, row["transcript"], "transcript")
    if path.stat().st_size > _MOST_TRANSCRIPT:
        raise _RefusedError("transcript", "too_large", f"A transcript may have {_MOST_TRANSCRIPT >> 20} MiB at most.")
    return path.read_text("utf-8", "replace")


# ---- figures


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
        raise _RefusedError(name, "bad_number", f"{name} must be a number of zero or more.")
    return float(value)


def _whole(row: Mapping[str, Any], name: str) -> int | None:
    number = _number(row, name)
    if number is not None and number != int(number):
        raise _RefusedError(name, "bad_number", f"{name} must be a whole number.")
    return None if number is None else int(number)


def _sample(row: Mapping[str, Any]) -> int:
    number = _whole(row, "sample")
    if number is not None and not 1 <= number <= MOST_SAMPLES:
        raise _RefusedError("sample", "bad_number", f"sample must be a whole number from 1 to {MOST_SAMPLES}.")
    return 1 if number is None else number


def _seconds(row: Mapping[str, Any]) -> float | None:
    seconds, minutes = _number(row, "seconds"), _number(row, "minutes")
    if seconds is not None and minutes is not None:
        raise _RefusedError("minutes", "bad_number", "Give seconds or minutes, not both.")
    return seconds if minutes is None else minutes * 60


def _moment(row: Mapping[str, Any]) -> datetime | None:
    value = row.get("finished_at")
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _RefusedError("finished_at", "bad_date", "finished_at must be written as YYYY-MM-DDTHH:MM:SS.") from None
