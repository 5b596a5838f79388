"""A program that is not there any more leaves its own model out, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from hapi_pipeline.agents.command import program_problem
from hapi_pipeline.agents.ledger import AttemptLedger, Result, write_result
from hapi_pipeline.agents.run import obstacle
from hapi_pipeline.agents.tasks import Task, attempt_id, request_sha256
from hapi_pipeline.registry import AgentLimits, Model

LIMITS = AgentLimits()


def result_at(ledger: AttemptLedger, task: Task, sha: str) -> Result:
    """A finished attempt of the task, as a run leaves it."""
    identifier = attempt_id(sha, 1)
    folder = ledger.folder_of(task, identifier)
    (folder / "deliverables").mkdir(parents=True)
    made = Result(
        identifier, task.job.job_id, task.model.name, task.round, task.turn, task.arm, 1, "done", "finished", 0, 0, 0,
        0, 0, None, 1.0, (), sha, None, None, "command", "bubblewrap", "1", datetime(2026, 3, 1, tzinfo=UTC), False, 0,
        folder,
    )  # fmt: skip
    write_result(made)
    return made


def test_only_that_model_is_left_out_and_what_it_made_stands(
    tmp_path: Path, ledger: AttemptLedger, make_task: Callable[..., Task]
) -> None:
    program = tmp_path / "agent.py"
    program.write_text("pass")
    model = Model("Program", None, agent_profile="command", command=("{python}", str(program)),
                  command_reads=(str(program),))  # fmt: skip
    task, other = make_task("J1", model), make_task("J2", model)
    made = result_at(ledger, task, request_sha256(task, LIMITS))
    assert ledger.find(task, LIMITS) == made
    assert program_problem(model) is None
    program.write_text("changed")
    assert ledger.find(task, LIMITS) is None, "a changed program is another agent"
    program.unlink()
    again = AttemptLedger(ledger.root)
    assert again.find(task, LIMITS) == made
    assert again.find(other, LIMITS) is None
    assert again.find(replace(task, round="feedback_1"), LIMITS) is None
    assert str(program) in (program_problem(model) or "")
    why = obstacle(model, None)
    assert why is not None  # without a sandbox on this machine it names that first
    assert "agent.reads" in why or "sandbox" in why.lower()
