"""An agent that is a program: started once in the sandbox, with the brief and the files, and nothing else."""

from __future__ import annotations

import json
import math
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.agents.sandbox.levels import Limits, Outcome, Program, SandboxError
from hapi_pipeline.agents.sandbox.scripts import Room, inputs_of, run_into, take_in
from hapi_pipeline.agents.texts import one_line
from hapi_pipeline.agents.tools import MAX_FILES, MAX_TOTAL_BYTES, walk
from hapi_pipeline.naming import digest
from hapi_pipeline.settings import UserError

if TYPE_CHECKING:
    from hapi_pipeline.agents.tasks import Task
    from hapi_pipeline.registry import Model

_MAX_USAGE_BYTES = 1 << 16
_COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")


@dataclass(frozen=True)
class Finished:
    """How a program ended, and what it says it used; a cost it does not state is None."""

    finish_reason: str
    seconds: float
    output: str
    counts: Mapping[str, int]
    cost_usd: float | None
    model_snapshot: str | None


def program_problem(model: Model) -> str | None:
    """Why the program cannot be started, in a plain sentence; None when all that it reads is there."""
    for place in model.command_reads:
        if not Path(place).exists():
            return f"Model {model.name!r} needs {place}, which is not there; correct agent.reads."
    return None


def program_sha256(model: Model) -> str:
    """SHA-256 over the files that the program is made of: a changed program is another agent.

    Raises UserError where one of them is not there.
    """
    from hapi_pipeline.agents.tasks import file_sha256

    if (problem := program_problem(model)) is not None:
        raise UserError(problem)
    listed = []
    for place in map(Path, model.command_reads):
        files = [("", place)] if place.is_file() else [(name, place / name) for name, _ in walk(place)]
        listed += [[str(place), name, file_sha256(path)] for name, path in files]
    return digest("program", json.dumps(listed))


def run_command(task: Task, folder: Path, brief: str, seconds: float, level: str) -> Finished:
    """Run the model's program on a task; what it leaves under deliverables/ is there afterwards. Raises OSError."""
    given = folder / "given"
    given.mkdir(exist_ok=True)
    (given / "brief.md").write_text(brief, "utf-8", errors="replace")
    (given / "job.json").write_text(json.dumps(_facts(task), indent=1), "ascii")
    program = Program(
        command=task.model.command,
        files=tuple((path.name, path) for path in sorted(given.iterdir())),
        inputs=inputs_of(folder),
        reads=tuple(map(Path, task.model.command_reads)),
        limits=Limits(seconds=seconds),
    )
    tar = folder / "program.tar"
    try:
        outcome = run_into(level, program, tar)
        take_in(tar, folder, Room(MAX_TOTAL_BYTES, MAX_FILES))
        usage = _usage(tar)
    except SandboxError as error:
        return Finished("sandbox_error", 0.0, one_line(str(error)), {}, 0.0, None)
    finally:
        tar.unlink(missing_ok=True)
    handed_in = any(size for _, size in walk(folder / "deliverables"))
    return Finished(
        finish_reason=_reason(outcome, handed_in),
        seconds=outcome.seconds,
        output=outcome.output,
        counts={name: _count(usage.get(name)) for name in _COUNTS},
        cost_usd=0.0 if outcome.why == "not_started" else _amount(usage.get("cost_usd")),
        model_snapshot=one_line(str(usage["model"]))[:200] if usage.get("model") else None,
    )


def _facts(task: Task) -> dict[str, Any]:
    job = task.job
    return {
        "job_id": job.job_id,
        "title": job.title,
        "description": job.description,
        "category": job.category,
        "subcategory": job.subcategory,
        "skills": list(job.skills),
        "attempt": task.turn + 1,
        "feedback": None
        if task.feedback is None
        else {
            "failed": [{"criterion": text, "comment": comment} for text, comment in task.feedback.failed],
            "overall": task.feedback.overall,
        },
    }


def _reason(outcome: Outcome, handed_in: bool) -> str:
    if outcome.why == "not_started":
        return "sandbox_error"  # the program is not there, or may not be run: nothing that an agent did
    if outcome.why == "wall":
        return "limit_wall"
    if outcome.why:
        return "limit_resources"
    return "finished" if outcome.exit_code == 0 and handed_in else "finished_unchecked"


def _usage(tar: Path) -> Mapping[str, Any]:
    """What the program wrote to usage.json about itself; nothing where that is no JSON object."""
    try:
        with tarfile.open(tar, "r:") as archive:
            member = archive.getmember("usage.json")
            file = archive.extractfile(member) if member.isreg() and member.size <= _MAX_USAGE_BYTES else None
            told = json.loads(file.read()) if file is not None else {}
    except (KeyError, ValueError, RecursionError, tarfile.TarError):
        return {}
    return told if isinstance(told, dict) else {}


def _amount(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        amount = float(value)
    except OverflowError:
        return None
    return amount if math.isfinite(amount) and 0 <= amount < 1e6 else None


def _count(value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12
    return value if whole else 0
