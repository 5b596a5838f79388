"""The event log that a home's dagster.yaml names: what Dagster's own would hold, in the same files."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage

from hapi_pipeline.event_log import QuickEventLog
from hapi_pipeline.operations import instance_of
from hapi_pipeline.settings import Home

MONTHS = dg.StaticPartitionsDefinition([f"2031-{n:02d}" for n in range(1, 13)])
BY_MONTH = dg.AssetKey("by_month")


@dg.asset(
    key=BY_MONTH,
    partitions_def=MONTHS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("sound", asset=BY_MONTH)],
)
def by_month(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
    for number, key in enumerate(context.partition_keys):
        context.add_asset_metadata({"number": number}, partition_key=key)
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True, check_name="sound")])


@pytest.fixture
def instance(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    for name in ("HAPI_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, str(home.root))  # so that they are put back
    with instance_of(home) as opened:
        yield opened


def run_over_all_months(instance: dg.DagsterInstance) -> str:
    tags = {"dagster/asset_partition_range_start": "2031-01", "dagster/asset_partition_range_end": "2031-12"}
    job = dg.Definitions([by_month], jobs=[dg.define_asset_job("all_months", "*")]).resolve_job_def("all_months")
    return job.execute_in_process(instance=instance, tags=tags).run_id


def storage_of(instance: dg.DagsterInstance) -> QuickEventLog:
    storage = instance.event_log_storage
    assert isinstance(storage, QuickEventLog)
    return storage


def told(storage: SqliteEventLogStorage, run_id: str) -> object:
    """What the UI asks the storage of a run and of an asset."""
    records = storage.fetch_materializations(BY_MONTH, limit=100).records
    check = dg.AssetCheckKey(BY_MONTH, "sound")
    return (
        [(e.dagster_event_type, e.get_dagster_event().partition) for e in storage.get_logs_for_run(run_id)],
        storage.get_materialized_partitions(BY_MONTH),
        [(r.partition_key, r.asset_materialization.metadata["number"].value) for r in records],  # type: ignore[union-attr]
        storage.get_latest_asset_partition_materialization_attempts_without_materializations(BY_MONTH),
        [(r.status, r.partition) for r in storage.get_asset_check_execution_history(check, limit=10)],
        [r.asset_entry.last_run_id for r in storage.get_asset_records([BY_MONTH])],
    )


def test_what_is_stored_is_what_dagsters_own_storage_stores(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = run_over_all_months(instance)
    here = told(storage_of(instance), run_id)
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "0")
    (tmp_path / "plain").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "plain")) as plain:
        other = plain.event_log_storage
        assert type(other) is SqliteEventLogStorage
        plain_id = run_over_all_months(plain)
        there = told(other, plain_id)
    assert str(here).replace(run_id, "") == str(there).replace(plain_id, "")
    assert len(storage_of(instance).get_materialized_partitions(BY_MONTH)) == 12


def test_dagsters_own_storage_reads_the_files(instance: dg.DagsterInstance, home: Home) -> None:
    run_id = run_over_all_months(instance)
    own = SqliteEventLogStorage(str(home.dagster / "history" / "runs"))
    own.register_instance(instance)
    assert told(own, run_id) == told(storage_of(instance), run_id)


def test_events_of_a_step_are_stored_together(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    together: list[int] = []
    store = QuickEventLog.store_event_batch

    def counted(self: QuickEventLog, events: Sequence[EventLogEntry]) -> None:
        together.append(len(events))
        store(self, events)

    monkeypatch.setattr(QuickEventLog, "store_event_batch", counted)
    run_over_all_months(instance)
    assert together == [13, 12]  # what is planned, with the check; what was made


def test_a_writer_wakes_those_who_watch_a_run_and_a_reader_does_not(instance: dg.DagsterInstance) -> None:
    run_id = run_over_all_months(instance)
    storage = storage_of(instance)
    path = Path(storage.path_for_shard(run_id))
    os.utime(path, (1, 1))
    storage.get_logs_for_run(run_id)
    assert path.stat().st_mtime == 1
    instance.report_engine_event("more", job_name="all_months", run_id=run_id)
    assert path.stat().st_mtime > 1


def test_few_databases_of_runs_are_kept_open_and_none_of_a_run_that_is_gone(instance: dg.DagsterInstance) -> None:
    runs = [run_over_all_months(instance) for _ in range(6)]
    storage = storage_of(instance)
    assert len(storage._engines) == 5  # four, and the index
    instance.delete_run(runs[-1])
    for path in Path(storage.path_for_shard(runs[-1])).parent.glob(f"{runs[-1]}.db*"):
        path.unlink()
    assert all(shard != runs[-1] for _, shard in storage._engines)
    assert storage.get_logs_for_run(runs[0])
    # one that another process has pruned is not read from a file without a name
    for path in Path(storage.path_for_shard(runs[0])).parent.glob(f"{runs[0]}.db*"):
        path.unlink()
    assert storage.get_logs_for_run(runs[0]) == []


def test_what_was_stored_survives_a_process_that_does_not_close_it(instance: dg.DagsterInstance) -> None:
    run_id = run_over_all_months(instance)
    with sqlite3.connect(storage_of(instance).path_for_shard(run_id)) as other:
        assert other.execute("SELECT count(*) FROM event_logs").fetchone()[0] > 30
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
