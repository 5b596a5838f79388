"""The ledger of attempts: a folder for each, holding what cost money and cannot be had again.

Layout: ``root/<model key>/<round>/<12 hex of the job>-<attempt id>/`` with config.json (what was asked),
steps.jsonl (every call and its reply), workspace/, deliverables/, and result.json, which is written last: a
folder without it is an attempt that is not finished, and the next run goes on from its steps.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline import __version__
from hapi_pipeline.agents import documents
from hapi_pipeline.agents.texts import redact, safe_relative_path
from hapi_pipeline.agents.tools import CHECK_SECONDS, walk
from hapi_pipeline.copies import brought, copy_of
from hapi_pipeline.naming import attempt_place, digest, job_prefix, slug
from hapi_pipeline.settings import UserError

if TYPE_CHECKING:
    from hapi_pipeline.agents.tasks import Task
    from hapi_pipeline.registry import AgentLimits, Model

WITHHELD = "withheld"
"""Folder of an attempt for what its agent made and nobody is handed."""
MAX_TRIES = 3
"""After so many infrastructure failures a task is not tried again by itself."""
INFRA_REASONS = frozenset({"provider_error", "sandbox_error", "interrupted"})
FINISH_REASONS = (
    frozenset(
        [
            "finished",
            "finished_unchecked",
            "limit_steps",
            "limit_cost",
            "limit_wall",
            "limit_tokens",
            "limit_resources",
            "context_overflow",
            "format_errors",
            "refused",
            "external",
        ]
    )
    | INFRA_REASONS
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deliverable:
    """One file handed in; `path` is relative to the attempt's deliverables folder."""

    path: str
    media_type: str
    bytes: int
    sha256: str
    opens: bool | None = None  # None: not checked, or of a kind that no reader here knows


@dataclass(frozen=True)
class Result:
    """A finished attempt. Costs in USD, times in seconds; `cost_usd` is None where no price is known."""

    attempt_id: str
    job_id: str
    model: str
    round: str
    turn: int
    arm: str
    try_number: int
    status: str  # done, or infra when no fair attempt was possible
    finish_reason: str
    steps: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_usd: float | None
    seconds: float
    deliverables: tuple[Deliverable, ...]
    request_sha256: str
    previous_attempt_id: str | None
    model_snapshot: str | None
    agent_profile: str
    sandbox: str
    code_version: str
    finished_at: datetime
    simulated: bool
    maybe_billed_steps: int  # calls that may have been billed although no answer was recorded
    folder: Path
    sample: int = 1  # 2 and more: the same work done again from the start, to see how far results repeat


class AttemptLedger:
    """Every attempt ever made, under one root folder. Reading never writes."""

    def __init__(self, root: Path):
        self.root = root
        self._read: dict[Path, Result] = {}  # a result never changes once it is there

    def results(self, model_key: str, round: str, jobs: Collection[str] | None = None) -> list[Result]:
        """Every finished attempt of that model in that round, by folder name (so by job, then attempt).

        With `jobs`, only the attempts at these: of a round over many months the others are not looked at.
        """
        folders = self._folders(model_key, round)
        if jobs is not None:
            prefixes = {job_prefix(job) for job in jobs}
            folders = (f for f in folders if f.name[: f.name.rindex("-at_")] in prefixes)
        found = (self._result(folder) for folder in folders)
        return [result for result in found if result is not None and (jobs is None or result.job_id in jobs)]

    def find(self, task: Task, limits: AgentLimits) -> Result | None:
        """The finished attempt that answers exactly this task, or None when it has still to be made.

        An attempt that failed for reasons of infrastructure does not count, until there are three of them;
        then the last is given. For an external model, and for a program that is not there any more: the newest
        attempt at this job in this round. Further samples answer no task.
        """
        if task.model.external:
            return self._newest(task)
        from hapi_pipeline.agents.tasks import request_sha256

        if task.model.command:
            from hapi_pipeline.agents.command import program_problem

            if program_problem(task.model) is not None:
                return self._newest(task)  # which program it is cannot be told; what it has made stands
        return settled(self.tries(task, request_sha256(task, limits)))

    def tries(self, task: Task, request_sha: str) -> list[Result]:
        """The finished tries at a request, the first one first; at most `MAX_TRIES`."""
        from hapi_pipeline.agents.tasks import attempt_id

        tries: list[Result] = []
        for number in range(1, MAX_TRIES + 1):
            result = self._result(self.folder_of(task, attempt_id(request_sha, number)))
            if result is None:
                break
            tries.append(result)
        return tries

    def folder_of(self, task: Task, attempt: str) -> Path:
        """Where an attempt of this task is or will be."""
        return self.root / attempt_place(task.model.name, task.round, task.job.job_id, attempt)

    def _folders(self, model_key: str, round: str) -> Iterator[Path]:
        parent = brought(self.root / model_key / slug(round))
        try:
            with os.scandir(parent) as entries:
                names = sorted(e.name for e in entries if "-at_" in e.name and e.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return
        yield from (parent / name for name in names)

    def _result(self, folder: Path) -> Result | None:
        if folder not in self._read:
            brought(folder.parent)
            result = read_result(folder)
            if result is None:
                return None
            self._read[folder] = result
        return self._read[folder]

    def _newest(self, task: Task) -> Result | None:
        prefix = job_prefix(task.job.job_id) + "-"
        folders = (f for f in self._folders(task.model.key, task.round) if f.name.startswith(prefix))
        found = [r for r in map(self._result, folders) if r and (r.job_id, r.sample) == (task.job.job_id, 1)]
        return newest_of(found) if found else None

    def add_external(
        self,
        *,
        job_id: str,
        model: Model,
        round: str,
        turn: int,
        arm: str,
        files: Sequence[tuple[str, Path]],
        cost_usd: float | None,
        prompt_tokens: int | None,
        completion_tokens: int | None,
        seconds: float | None,
        finished_at: datetime | None,
        simulated: bool = False,
        cached_tokens: int | None = None,
        try_number: int = 1,
        previous_attempt_id: str | None = None,
        transcript: str | None = None,
        sample: int = 1,
    ) -> Result:
        """Take in an attempt that was made elsewhere; the same one again gives the result already there.

        Without `finished_at` the present moment stands for it. `try_number` counts the imports for a job, round and
        `sample`: the last one counts. `transcript` is kept beside the work, without what looks like a key; no
        grader sees it. `files` are (path within the deliverables, file to copy). UserError names a file that
        cannot be taken in.
        """
        moment = finished_at or datetime.now(UTC)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        # a time that nobody stated is no part of what makes an attempt the same one
        stated = moment.isoformat() if finished_at else None
        sources = _external_files(files)
        numbers = [cost_usd, prompt_tokens, completion_tokens, seconds, stated]
        listing = [[d.path, d.sha256] for d, _ in sources]
        more: list[Any] = [value for value in (cached_tokens, previous_attempt_id) if value is not None]
        more += [["sample", sample]] if sample > 1 else []  # only then, so that older attempts keep their identity
        what = [job_id, model.name, round, turn, arm, listing, numbers, simulated, *more]
        sha = digest("external", json.dumps(what))
        attempt = "at_" + digest("attempt", sha, "1", length=24)
        folder = self.root / attempt_place(model.name, round, job_id, attempt)
        known = self._result(folder)
        if known is not None:
            return known
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "deliverables").mkdir(parents=True)
        for deliverable, source in sources:
            target = folder / "deliverables" / deliverable.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        if transcript is not None:
            (folder / "transcript.txt").write_text(redact(transcript), "utf-8", "replace")
        result = Result(
            attempt_id=attempt, job_id=job_id, model=model.name, round=round, turn=turn, arm=arm,
            try_number=try_number, status="done", finish_reason="external", steps=0, prompt_tokens=prompt_tokens or 0,
            completion_tokens=completion_tokens or 0, cached_tokens=cached_tokens or 0, reasoning_tokens=0,
            cost_usd=cost_usd,
            seconds=seconds or 0.0, deliverables=tuple(d for d, _ in sources), request_sha256=sha,
            previous_attempt_id=previous_attempt_id, model_snapshot=None, agent_profile="external", sandbox="none",
            code_version=__version__, finished_at=moment, simulated=simulated, maybe_billed_steps=0,
            folder=folder, sample=sample,
        )  # fmt: skip
        write_result(result)
        return result


def settled(tries: Sequence[Result]) -> Result | None:
    """The try that decides: one that is done, or the last when all `MAX_TRIES` failed; else None."""
    if tries and (tries[-1].status == "done" or len(tries) >= MAX_TRIES):
        return tries[-1]
    return None


def newest_of(results: Sequence[Result]) -> Result:
    """The attempt at a job that counts where no question decides: the newest that is done.

    Of imported ones it is the one that came in last, whatever time its author states.
    """

    def key(r: Result) -> tuple[bool, int, datetime, str]:
        return r.status == "done", r.try_number if r.finish_reason == "external" else 0, r.finished_at, r.attempt_id

    return max(results, key=key)


def status_of(finish_reason: str) -> str:
    """`infra` when the attempt ended for reasons that are not the model's, else `done`."""
    return "infra" if finish_reason in INFRA_REASONS else "done"


def collect(folder: Path) -> tuple[Deliverable, ...]:
    """What stands under deliverables/ of an attempt's folder, in order of path.

    A file that could harm whoever opens it is moved to withheld/ beside it: no grader is handed it.
    """
    until = time.monotonic() + CHECK_SECONDS
    found = []
    for name, _ in list(walk(folder / "deliverables")):
        deliverable, harmful = _looked_at(name, folder / "deliverables" / name, until)
        if harmful:
            target = folder / WITHHELD / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (folder / "deliverables" / name).replace(target)
        else:
            found.append(deliverable)
    return tuple(found)


def _describe(name: str, path: Path, until: float) -> Deliverable:
    return _looked_at(name, path, until)[0]


def _looked_at(name: str, path: Path, until: float) -> tuple[Deliverable, bool]:
    """A file that is handed in, and whether it is harmful."""
    with path.open("rb") as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    found = documents.inspect(path, name, sha, until)
    return Deliverable(name, found.media_type, size, sha, found.opens), found.harmful


def _external_files(files: Sequence[tuple[str, Path]]) -> list[tuple[Deliverable, Path]]:
    seen: set[str] = set()
    found = []
    until = time.monotonic() + CHECK_SECONDS
    for given, source in files:
        try:
            name = safe_relative_path(given)
        except ValueError as error:
            raise UserError(f"The deliverable {given[:200]!r} cannot be taken in: {error}.") from error
        if name.casefold() in seen:
            raise UserError(f"The deliverable {given[:200]!r} is named twice; give each file a name of its own.")
        if source.is_symlink() or not source.is_file():
            raise UserError(f"The deliverable {source} is not a file; put it where the manifest says.")
        seen.add(name.casefold())
        found.append((_describe(name, source, until), source))
    return sorted(found, key=lambda pair: pair[0].path)


def read_result(folder: Path) -> Result | None:
    """The result in an attempt's folder; None when the attempt is not finished or its record is damaged."""
    try:
        data: dict[str, Any] = json.loads((folder / "result.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        _log.warning("%s is damaged; the attempt will be completed again from its steps", folder / "result.json")
        return None
    try:
        return result_of(data, folder)
    except (KeyError, TypeError, ValueError):
        _log.warning("%s is not a record of this version", folder / "result.json")
        return None


_FIELDS = tuple(f.name for f in fields(Result) if f.name != "folder")


def result_of(record: Mapping[str, Any], folder: Path) -> Result:
    """The result that a record tells of. Raises KeyError, TypeError or ValueError for what is no such record."""
    known = {name: record[name] for name in _FIELDS if name != "sample"}
    known["sample"] = record.get("sample", 1)  # earlier versions knew of no others
    known["deliverables"] = tuple(Deliverable(**d) for d in record["deliverables"])
    if any(d.path.startswith("/") or ".." in d.path.split("/") for d in known["deliverables"]):
        raise ValueError("a deliverable's path leads out of its folder")
    known["finished_at"] = datetime.fromisoformat(record["finished_at"])
    return Result(**known, folder=folder)


def record_of(result: Result) -> dict[str, Any]:
    """A result as JSON data, without the folder that holds it."""
    record = {name: getattr(result, name) for name in _FIELDS}
    record["deliverables"] = [vars(d) for d in result.deliverables]
    record["finished_at"] = result.finished_at.isoformat()
    return record


def write_result(result: Result) -> None:
    """Make the deliverables durable, then put result.json in place: now the attempt is finished."""
    write_record(record_of(result), result.folder)
    send(result.folder)


def send(folder: Path) -> None:
    """Put a finished attempt into the object store that its home stands in, if it does."""
    if copy := copy_of(folder):
        copy.send_attempt(folder)


def write_record(record: Mapping[str, Any], folder: Path) -> None:
    """The same for a result as `record_of` tells it."""
    place = str(folder)
    for deliverable in record["deliverables"]:
        _sync(f"{place}/deliverables/{deliverable['path']}")
    staged = f"{place}/result.json.new"
    with open(staged, "wb", buffering=0) as file:  # noqa: PTH123  (this runs once an attempt, paths cost time)
        file.write(json.dumps(record).encode("ascii"))
        os.fsync(file.fileno())
    os.replace(staged, f"{place}/result.json")  # noqa: PTH105
    _sync(place)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
