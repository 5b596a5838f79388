"""`hapi prune`: Dagster keeps the events of every run for ever; this takes old runs out of its history.

Only the history goes: tables, ledgers and files are not touched. A run stays, however old, while it holds the newest
event of some partition, for the UI takes a partition without events for one that was never made.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hapi_pipeline.settings import Home

if TYPE_CHECKING:
    import dagster as dg

_AT_A_TIME = 500
_SUFFIXES = ("", "-wal", "-shm")


@dataclass(frozen=True)
class Plan:
    """Which runs of the history would go."""

    runs: tuple[str, ...]
    kept: int  # as old, but the newest of some partition
    newer: int
    oldest: datetime | None
    bytes: int  # of their files

    @property
    def total(self) -> int:
        """All runs of the history that are over, and those under way."""
        return len(self.runs) + self.kept + self.newer


def plan(home: Home, instance: dg.DagsterInstance, before: datetime) -> Plan:
    """The runs that ended before a moment and hold no partition's newest event."""
    import dagster as dg

    over = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    records = instance.get_run_records(dg.RunsFilter(statuses=over, updated_before=before))
    needed = newest_of_partitions(instance, before) if records else set()
    goes = [r for r in records if r.dagster_run.run_id not in needed]
    files = [path for r in goes for path in shard(home, r.dagster_run.run_id)]
    return Plan(
        runs=tuple(r.dagster_run.run_id for r in goes),
        kept=len(records) - len(goes),
        newer=instance.get_runs_count() - len(records),
        oldest=min((r.create_timestamp for r in goes), default=None),
        bytes=sum(path.stat().st_size for path in files),
    )


def newest_of_partitions(instance: dg.DagsterInstance, before: datetime) -> set[str]:
    """The runs that made some asset, or some partition of it, last; runs after `before` may be left out."""
    import dagster as dg

    storage, found = instance.event_log_storage, set[str]()
    for record in instance.get_asset_records():
        key, newest = record.asset_entry.asset_key, record.asset_entry.last_materialization_record
        if newest is not None:
            found.add(newest.run_id)
        by_partition = storage.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
        ids = sorted(by_partition.values())
        for start in range(0, len(ids), _AT_A_TIME):
            some = ids[start : start + _AT_A_TIME]
            asked = dg.AssetRecordsFilter(asset_key=key, storage_ids=some, before_timestamp=before.timestamp())
            found |= {r.run_id for r in instance.fetch_materializations(asked, limit=len(some)).records}
    return found


def carry_out(home: Home, instance: dg.DagsterInstance, of: Plan, say: Callable[[int], None] = lambda _: None) -> int:
    """Take these runs out of the history; the bytes that this freed. `say` is told how many are gone."""
    before = size(home)
    for number, run_id in enumerate(of.runs):
        instance.delete_run(run_id)
        for path in shard(home, run_id):  # Dagster empties it and leaves it lying
            path.unlink(missing_ok=True)
        say(number + 1)
    for database in (_history(home) / "runs.db", _history(home) / "runs" / "index.db"):
        compact(database)
    return before - size(home)


def compact(database: Path, wait: float = 5.0) -> bool:
    """Give the room of deleted rows in an SQLite file back to the disk; False where others write in it for longer."""
    if not database.exists():
        return False
    try:
        with closing(sqlite3.connect(database, timeout=wait)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError:
        return False
    return True


def shard(home: Home, run_id: str) -> Iterator[Path]:
    """The files in which SQLite keeps the events of one run; none where another storage is used."""
    for suffix in _SUFFIXES:
        path = _history(home) / "runs" / f"{run_id}.db{suffix}"
        if path.is_file():
            yield path


def size(home: Home) -> int:
    """Bytes of the history on disk."""
    return sum(path.stat().st_size for path in _history(home).rglob("*") if path.is_file())


def _history(home: Home) -> Path:
    return home.dagster / "history"
