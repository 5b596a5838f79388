"""A backfill by several workers at once: runs of the daemon's queue, each with months of its own.

The command curates, hands the months out, waits for the runs, and makes the summaries when they are over. Where the
runs are executed (processes, containers, pods) is the business of Dagster's run launcher.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hapi_pipeline.dead_runs import STARTED_BY, WHAT_NEXT, bury_killed_runs
from hapi_pipeline.estimate import plan_rounds
from hapi_pipeline.operations import (
    Refreshed,
    RunFailedError,
    at_work,
    check_shareable,
    curate_changed,
    failing_checks,
    instance_of,
    step_failure,
    summarise,
)
from hapi_pipeline.registry import Model
from hapi_pipeline.resources import ALONE, PATIENCE_MINUTES, SHARED_BY_WORKERS
from hapi_pipeline.settings import Home, UserError, shipped
from hapi_pipeline.spending import Sums, sums_of
from hapi_pipeline.workers import WORKER_OF, folder_of

if TYPE_CHECKING:
    import dagster as dg

WORKSPACE_VARIABLE = "HAPI_WORKSPACE"
"""Names the workspace file of the deployment's daemon; without it the code is loaded from where the command runs."""
POOL = "llm"
"""Dagster's pool of the steps that make attempts."""
_LOOK, _LOOK_AT_DAEMON = 1.0, 60.0  # seconds between two looks at the runs, and at what starts them


@dataclass(frozen=True)
class _Worker:
    """A run that has been handed some months."""

    run_id: str
    cohorts: Sequence[str]

    def __str__(self) -> str:
        span = self.cohorts[0] if len(self.cohorts) == 1 else f"{self.cohorts[0]} to {self.cohorts[-1]}"
        return f"run {self.run_id[:8]} ({span})"


@dataclass(frozen=True)
class _Outcome:
    """What came of a worker's run."""

    failed: str = ""  # why it did not succeed, a sentence
    left_out: tuple[str, ...] = ()  # why attempts were left, a sentence each


def backfill_by_workers(
    home: Home,
    model: Model,
    cohorts: Sequence[str],
    workers: int,
    max_usd: float | None = None,
    say: Callable[[str], None] = print,
) -> Refreshed:
    """Make a model's missing attempts over these months by so many runs at once, then the summaries.

    `max_usd` bounds what all of them spend together. Raises UserError where no daemon is there to start runs, and
    RunFailedError when a run did not succeed; what the others have made is kept, and in the summaries.
    """
    _check(home, workers, say)
    name, patience = uuid.uuid4().hex[:12], 60 * PATIENCE_MINUTES
    with at_work(home):
        shutil.rmtree(folder_of(home, ""), ignore_errors=True)  # of earlier backfills: none of their workers is left
        curate_changed(home, cohorts)
    with at_work(home, shared=True, wait=patience, who=f"backfill {name}", say=say):
        outcomes = _by_workers(home, model, parts_of(home, model, cohorts, workers), name, max_usd, say)
        sums, failed = sums_of(folder_of(home, name)), [one.failed for one in outcomes if one.failed]
    with at_work(home, wait=patience, who=f"backfill {name}", say=say):
        summarise(home)
        left = sum(plan.missing for plan in plan_rounds(home, model, cohorts)) - sums.failed
        held = failing_checks(home)
    if failed:
        raise RunFailedError(f"Workers made {_told(sums)}, but did not all come to their end: {' '.join(failed)}")
    left_out = tuple(sorted({sentence for one in outcomes for sentence in one.left_out}))
    return Refreshed(tuple(cohorts), sums.made, sums.failed, max(0, left), sums.spent, left_out, held=held)


def parts_of(home: Home, model: Model, cohorts: Sequence[str], workers: int) -> list[list[str]]:
    """The months, cut into at most so many stretches with about as many missing attempts each."""
    missing = [1 + sum(plan.missing for plan in plan_rounds(home, model, [cohort])) for cohort in cohorts]
    parts: list[list[str]] = [[] for _ in range(workers)]
    before, every = 0, sum(missing)
    for cohort, weight in zip(cohorts, missing, strict=True):
        parts[(2 * before + weight) * workers // (2 * every)].append(cohort)
        before += weight
    return [part for part in parts if part]


def _check(home: Home, workers: int, say: Callable[[str], None]) -> None:
    """Refuse what cannot work, before anything is begun; say what would make it slow."""
    check_shareable(home)
    with instance_of(home) as instance:
        _check_queue(instance, workers)
        _check_daemon(instance)
        at_once = _steps_at_once(instance)
    if at_once is not None and at_once < workers:
        say(f"Only {at_once} of the {workers} workers can make attempts at once: the pool {POOL} allows no more.")


def _check_daemon(instance: dg.DagsterInstance) -> None:
    """Refuse where nobody would start the runs."""
    from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

    kind = QueuedRunCoordinatorDaemon.daemon_type()
    if not instance.get_daemon_statuses([kind])[kind].healthy:
        raise UserError("No daemon is there to start workers: start `hapi ui` on this home, or do without --workers.")


def _check_queue(instance: dg.DagsterInstance, workers: int) -> None:
    """Refuse where not so many runs may be under way at once, and one besides that waits until the home is free."""
    queue = instance.get_concurrency_config().run_queue_config
    if queue and 0 <= queue.max_concurrent_runs <= workers:
        raise UserError(
            f"The queue starts {queue.max_concurrent_runs} run(s) at once: for {workers} workers set "
            f"concurrency.runs.max_concurrent_runs to {workers + 1} in {instance.root_directory}/dagster.yaml, "
            "and start the daemon (`hapi ui`) again."
        )


def _steps_at_once(instance: dg.DagsterInstance) -> int | None:
    """How many workers may make attempts at once, by the limit of Dagster's pool; None for no limit."""
    limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    default = instance.get_concurrency_config().pool_config.default_pool_limit
    return limits.get(POOL, default)


def _by_workers(
    home: Home,
    model: Model,
    parts: Sequence[Sequence[str]],
    name: str,
    max_usd: float | None,
    say: Callable[[str], None],
) -> list[_Outcome]:
    """Hand the months out and wait until all runs are over; what came of each."""
    purse = {} if max_usd is None else {"hapi/max_usd": str(max_usd)}
    tags = [{**STARTED_BY, ALONE: "no", WORKER_OF: name, **purse, **_range(part, model)} for part in parts]
    with instance_of(home) as instance:
        workers: list[_Worker] = []
        try:
            for part, run_id in zip(parts, _submitted(instance, tags), strict=True):
                workers.append(_Worker(run_id, part))
            _wait(instance, workers, folder_of(home, name), say)
        except BaseException as error:
            _end(instance, workers)
            if isinstance(error, KeyboardInterrupt):
                say("The workers finish the attempts that they have begun; Ctrl-C again leaves them to it.")
                _wait(instance, workers, folder_of(home, name), say)
            raise
        return [_outcome(instance, worker) for worker in workers]


def _range(part: Sequence[str], model: Model) -> dict[str, str]:
    return {
        "dagster/asset_partition_range_start": f"{part[0]}|{model.key}",
        "dagster/asset_partition_range_end": f"{part[-1]}|{model.key}",
    }


def _submitted(instance: dg.DagsterInstance, tags: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Put runs into the daemon's queue as `dagster job launch` does, one for each set of tags; their ids."""
    from dagster._cli.job import _create_run
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget

    file = os.environ.get(WORKSPACE_VARIABLE) or str(shipped("workspace.yaml"))
    with WorkspaceProcessContext(instance, WorkspaceFileTarget([file])) as process:
        workspace = process.create_request_context()
        found = [(at, code) for at in workspace.code_locations for code in at.get_repositories().values()]
        found = [(at, code) for at, code in found if code.has_job(SHARED_BY_WORKERS)]
        if not found:
            raise UserError(f"The code of {file} cannot be loaded, so no worker can be started; `hapi ui` says why.")
        (location, repository), *_ = found
        for of_run in tags:
            run = _create_run(
                instance=instance, code_location=location, remote_repo=repository,
                remote_job=repository.get_full_job(SHARED_BY_WORKERS),
                run_config={}, tags=of_run, op_selection=None, run_id=None,
            )  # fmt: skip
            yield instance.submit_run(run.run_id, workspace).run_id


_SAID = {
    "QUEUED": "waits in the queue",
    "STARTED": "at work",
    "SUCCESS": "done",
    "FAILURE": "failed",
    "CANCELING": "is being ended",
    "CANCELED": "ended",
}
"""What is said of the states of a run; the others last for a moment only."""


def _wait(instance: dg.DagsterInstance, workers: Sequence[_Worker], folder: Path, say: Callable[[str], None]) -> None:
    """Wait until all runs are over, closing those whose process was killed; says what becomes of them."""
    said: dict[str, str] = {}
    looked = time.monotonic()
    while True:
        bury_killed_runs(instance)
        runs = [(worker, instance.get_run_by_id(worker.run_id)) for worker in workers]
        for worker, run in runs:
            state = _SAID.get(run.status.value, "") if run else "deleted"
            if state and state != said.get(worker.run_id):
                said[worker.run_id] = state
                say(f"  {worker}: {state}. {_told(sums_of(folder))} so far.")
        if all(run is None or run.is_finished for _, run in runs):
            return
        if time.monotonic() - looked >= _LOOK_AT_DAEMON and _SAID["QUEUED"] in said.values():
            looked = time.monotonic()
            _check_daemon(instance)
        time.sleep(_LOOK)


def _told(sums: Sums) -> str:
    """What has been made and spent, for a person."""
    lost = f", up to ${sums.lost:,.2f} of it by calls of a killed worker that may not have been billed"
    return f"{sums.made:,} attempts for ${sums.spent:,.2f}{lost if sums.lost else ''}"


def _end(instance: dg.DagsterInstance, workers: Sequence[_Worker]) -> None:
    """End all runs, as a person would in the UI: attempts under way are finished, no other is begun."""
    for worker in workers:
        run = instance.get_run_by_id(worker.run_id)
        if run is not None and not run.is_finished:
            instance.run_coordinator.cancel_run(worker.run_id)


def _outcome(instance: dg.DagsterInstance, worker: _Worker) -> _Outcome:
    """What came of a run that is over, by what it has reported."""
    from dagster import DagsterEventType, DagsterRunStatus

    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.ASSET_MATERIALIZATION}
    entries = instance.all_logs(worker.run_id, of_type=kinds)
    events = [entry.dagster_event for entry in entries if entry.dagster_event]
    run = instance.get_run_by_id(worker.run_id)
    if run is not None and run.status == DagsterRunStatus.SUCCESS:
        told = [e.step_materialization_data.materialization.metadata for e in events if e.is_step_materialization]
        left = [str(metadata["run_left_out"].value) for metadata in told if "run_left_out" in metadata]
        return _Outcome(left_out=tuple(line for text in left for line in text.splitlines()))
    # Dagster's code server may be the first to see that a process is gone, and says less
    lost = f"its process was killed, was ended, or could not be started; `hapi ui` shows its log. {WHAT_NEXT}"
    return _Outcome(f"{worker}: {next((step_failure(event) for event in events if event.is_step_failure), lost)}")
