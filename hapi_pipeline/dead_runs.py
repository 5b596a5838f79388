"""What a killed command leaves in the Dagster instance: runs that nobody will finish, and their pool slots.

A slot that is not given back would make the next run wait for ever for its turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

STARTED_BY = {"hapi/started_by": "hapi"}
"""Tag of the runs that the command line executes in its own process."""


def bury_dead_runs(instance: dg.DagsterInstance) -> int:
    """Close the unfinished runs of earlier commands as failed and free the slots of all that is over.

    Returns how many they were. Only for a caller that holds the home's lock: then no other command is alive
    that these runs could belong to. Runs of the daemon are left alone.
    """
    from dagster import DagsterRunStatus, RunsFilter

    over = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
    unfinished = [status for status in DagsterRunStatus if status not in over]
    dead = instance.get_runs(RunsFilter(statuses=unfinished, tags=STARTED_BY))
    for run in dead:
        instance.report_run_failed(run, "The command that executed this run was killed; the next goes on.")
    storage = instance.event_log_storage
    if storage.supports_global_concurrency_limits and (holders := list(storage.get_concurrency_run_ids())):
        for run in instance.get_runs(RunsFilter(run_ids=holders, statuses=list(over))):
            storage.free_concurrency_slots_for_run(run.run_id)
    return len(dead)
