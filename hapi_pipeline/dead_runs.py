"""Which runs still have a process, and what to do about those that have none any more.

A process that is killed cannot say so: its run would stay "started", its pool slots taken and the queue blocked for
ever. So every run holds a lock on a small file for as long as its process lives; the system releases it even after
`kill -9`. Whoever finds that lock free knows that the run is dead.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hapi_pipeline.locks import held, is_held, opened

if TYPE_CHECKING:
    import dagster as dg

STARTED_BY = {"hapi/started_by": "hapi"}
"""Tag of the runs that the command line executes in its own process."""
NEVER_SEEN_SECONDS = 120.0
"""A run that says it has started, but whose process has not held its file after so long, died in between."""
_LAST_WORDS_SECONDS = 2.0  # a run lets go of its file some moments before Dagster stores how it has ended
WHAT_NEXT = (
    "What it finished is kept, and nothing is paid for twice: start the same again (`hapi refresh`, `hapi backfill`, "
    "or the dialog that started it) and only the rest is made."
)


def alive_folder(instance: dg.DagsterInstance) -> Path:
    """Where each run of an instance holds its file."""
    return Path(instance.root_directory) / "alive"


@contextmanager
def alive(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Hold the file of a run for as long as its process works on it."""
    path = alive_folder(instance) / run_id
    file = opened(path)
    try:
        with held(file):
            yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def bury_killed_runs(instance: dg.DagsterInstance) -> list[str]:
    """Close as failed the runs whose process is gone, whoever started them, and free the slots of all that is over.

    Returns their ids. Safe at any moment, beside any number of living runs.
    """
    from dagster import DagsterRunStatus, RunsFilter

    suspects, buried = [], []
    filters = RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING])
    for record in instance.get_run_records(filters):
        run, path = record.dagster_run, alive_folder(instance) / record.dagster_run.run_id
        if path.exists():
            dead = not is_held(path)
        else:
            dead = bool(record.start_time) and time.time() - float(record.start_time or 0) > NEVER_SEEN_SECONDS
        if dead:
            suspects.append((run, path))
    if suspects:
        time.sleep(_LAST_WORDS_SECONDS)
    for run, path in suspects:
        now = instance.get_run_by_id(run.run_id)
        if now is not None and not now.is_finished and not is_held(path):
            instance.report_run_failed(now, f"The process that executed this run was killed. {WHAT_NEXT}")
            path.unlink(missing_ok=True)
            buried.append(run.run_id)
    for path in alive_folder(instance).glob("*"):  # what others have closed as failed meanwhile
        run_of_file = instance.get_run_by_id(path.name)
        if (run_of_file is None or run_of_file.is_finished) and not is_held(path):
            path.unlink(missing_ok=True)
    _free_slots(instance)
    return buried


def bury_dead_runs(instance: dg.DagsterInstance) -> int:
    """Close the unfinished runs of earlier commands as failed, and those of the daemon that were killed.

    Returns how many they were. Only for a caller that holds the home's lock: then no other command is alive
    that runs of the command line could belong to.
    """
    from dagster import DagsterRunStatus, RunsFilter

    unfinished = [status for status in DagsterRunStatus if status not in _over()]
    dead = [
        run
        for run in instance.get_runs(RunsFilter(statuses=unfinished, tags=STARTED_BY))
        if not is_held(alive_folder(instance) / run.run_id)
    ]
    for run in dead:
        instance.report_run_failed(run, "The command that executed this run was killed; the next goes on.")
        (alive_folder(instance) / run.run_id).unlink(missing_ok=True)
    return len(dead) + len(bury_killed_runs(instance))


def _over() -> tuple[dg.DagsterRunStatus, ...]:
    from dagster import DagsterRunStatus

    return DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED


def _free_slots(instance: dg.DagsterInstance) -> None:
    """Give back the pool slots of runs that are over."""
    from dagster import RunsFilter

    storage = instance.event_log_storage
    if storage.supports_global_concurrency_limits and (holders := list(storage.get_concurrency_run_ids())):
        for run in instance.get_runs(RunsFilter(run_ids=holders, statuses=list(_over()))):
            storage.free_concurrency_slots_for_run(run.run_id)
