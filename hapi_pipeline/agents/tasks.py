"""What an agent is asked to do, and the hash that identifies it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.agents.prompt import CODE_PROMPT_SHA256, COMMAND_SHA256, PROMPT_SHA256, PROMPT_VERSION
from hapi_pipeline.agents.tools import CODE_TOOLS_SHA256, TOOLS_SHA256
from hapi_pipeline.naming import digest
from hapi_pipeline.registry import AgentLimits, Model
from hapi_pipeline.settings import UserError

if TYPE_CHECKING:
    from hapi_pipeline.agents.ledger import Result


@dataclass(frozen=True)
class Job:
    """A job as the agent sees it: no price, no rubric, no client."""

    job_id: str
    title: str
    description: str
    category: str | None
    subcategory: str | None
    skills: tuple[str, ...]
    attachments: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Feedback:
    """What graders said about the attempt before."""

    failed: tuple[tuple[str, str], ...]  # (criterion text, grader's comment) of the criteria that failed
    overall: str = ""


@dataclass(frozen=True)
class Task:
    """One attempt to be made. `previous.folder / "deliverables"` is copied into the workspace."""

    job: Job
    model: Model
    cohort: str
    round: str
    turn: int
    arm: str
    feedback: Feedback | None = None
    previous: Result | None = None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file; UserError when it cannot be read."""
    try:
        state = path.stat()
        return _file_sha256(str(path), state.st_mtime_ns, state.st_size, state.st_ino)
    except OSError as error:
        raise UserError(
            f"The attachment {path} cannot be read ({error.strerror}); put it back or import it again."
        ) from error


@lru_cache(maxsize=4096)
def _file_sha256(path: str, mtime_ns: int, size: int, inode: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def request_identity(task: Task, limits: AgentLimits) -> dict[str, Any]:
    """Everything that decides what the agent is asked, as JSON data.

    Not in it: where the model is reached, what it costs, how hard its provider is pressed, and the cohort (a
    job that moves to another month is still the same work).
    """
    job, model = task.job, task.model
    return {
        "job": {
            "job_id": job.job_id,
            "title": job.title,
            "description": job.description,
            "category": job.category,
            "subcategory": job.subcategory,
            "skills": list(job.skills),
            "attachments": [[path.name, file_sha256(path)] for path in job.attachments],
        },
        "round": task.round,
        "turn": task.turn,
        "arm": task.arm,
        "feedback": None if task.feedback is None else [[list(f) for f in task.feedback.failed], task.feedback.overall],
        "previous": None if task.previous is None else sorted([d.path, d.sha256] for d in task.previous.deliverables),
        # the name too: two entries of the registry with one id (say, at two addresses) are two models
        "model": model.name,
        "litellm": model.litellm,
        "parameters": dict(model.parameters),
        "max_tokens": model.max_tokens,
        "agent_profile": model.agent_profile,
        **({"vision": True} if model.vision else {}),  # only then, so that older attempts keep their identity
        "prompt_version": PROMPT_VERSION,
        **_instructions(model),
        "limits": asdict(limits),
    }


def _instructions(model: Model) -> dict[str, Any]:
    """What decides how an agent of the model's profile works."""
    if model.agent_profile == "command":
        from hapi_pipeline.agents.command import program_sha256

        return {"prompt_sha256": COMMAND_SHA256, "command": list(model.command), "program": program_sha256(model)}
    if model.agent_profile == "code":
        return {"prompt_sha256": CODE_PROMPT_SHA256, "tools_sha256": CODE_TOOLS_SHA256}
    return {"prompt_sha256": PROMPT_SHA256, "tools_sha256": TOOLS_SHA256}


def identity_sha256(identity: dict[str, Any]) -> str:
    """SHA-256 of the identity's canonical JSON (sorted keys, no spaces, ASCII)."""
    try:
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"The parameters of model {identity['model']!r} must be plain JSON values ({error})."
        ) from error
    return hashlib.sha256(canonical.encode()).hexdigest()


def request_sha256(task: Task, limits: AgentLimits) -> str:
    """SHA-256 of what the agent is asked; equal for two tasks when they ask the same of the same model."""
    return identity_sha256(request_identity(task, limits))


def attempt_id(request_sha: str, try_number: int) -> str:
    """The id of the n-th try (from 1) at a request."""
    return "at_" + digest("attempt", request_sha, str(try_number), length=24)
