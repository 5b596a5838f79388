"""Dagster's own event log in SQLite, the same files and tables, written with less work.

A run over 36 months and 20 tables stores some 1,500 events. Dagster 1.13 opens a database for each of them up to four
times, compiles the same statements anew, asks for the columns of a table, and waits for the disk at every turn. Here
connections stay open, and events that Dagster hands over together are one transaction.

What belongs here: how events are stored. What does not: which events there are. The `dagster.yaml` of a home names this
class (settings.py).
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as db
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy.pool import StaticPool

if TYPE_CHECKING:
    from dagster._core.events.log import EventLogEntry
    from dagster._serdes import ConfigurableClassData

AT_ONCE = 500
"""Events that are stored in one transaction, at most."""
_OPEN = 4  # databases of runs that are kept open, the index besides


class QuickEventLog(SqliteEventLogStorage):
    """SQLite event log that keeps its connections and stores events together."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None):
        self._engines: OrderedDict[tuple[int, str], db.Engine] = OrderedDict()
        self._tables: set[str] = set()
        # read by Dagster wherever events may be stored together
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(AT_ONCE))
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> QuickEventLog:
        """The storage of a Dagster home: `base_dir` is that home, the files are where Dagster has them by itself."""
        return cls(str(Path(config_value["base_dir"]) / "history" / "runs"), inst_data)

    # ---- connections

    @contextmanager
    def _connect(self, shard: str) -> Iterator[db.Connection]:
        """A transaction on the database of a run, or on the index. One thread at a time."""
        with self._db_lock:
            engine = self._engine(shard)
            with engine.connect() as connection:
                before = _changes(connection)
                with connection.begin():
                    yield connection
                written = _changes(connection) != before
            if written and shard != INDEX_SHARD_NAME:
                # who follows a run in the UI watches this file, which SQLite itself writes only now and then; a reader
                # must not touch it, for it would wake itself up
                with suppress(FileNotFoundError):
                    os.utime(self.path_for_shard(shard))

    def _engine(self, shard: str) -> db.Engine:
        key = (os.getpid(), shard)  # a connection must not be used across a fork
        if key in self._engines and not Path(self.path_for_shard(shard)).exists():  # pruned by another process
            self._forget(shard)
        if key not in self._engines:
            engine = self._engines[key] = _engine_of(self.conn_string_for_shard(shard))
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            runs = [other for other in self._engines if other[1] != INDEX_SHARD_NAME]
            for old in runs[:-_OPEN]:
                self._engines.pop(old).dispose()
        self._engines.move_to_end(key)
        return self._engines[key]

    def _forget(self, shard: str) -> None:
        """Close the database of a run that is no more."""
        engine = self._engines.pop((os.getpid(), shard), None)
        if engine is not None:
            engine.dispose()
        self._initialized_dbs.discard(shard)

    def delete_events(self, run_id: str) -> None:
        """Forget a run's events; its file is then free to be removed."""
        super().delete_events(run_id)
        with self._db_lock:
            self._forget(run_id)

    def wipe(self) -> None:
        """Forget all events."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close all databases."""
        self._close()
        super().dispose()

    def _close(self) -> None:
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()

    # ---- what never changes is asked once

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    @cached_property
    def _has_index_columns(self) -> bool:
        return super().has_asset_key_index_cols()

    def _has_asset_key_index_cols_on_connection(self, conn: db.Connection) -> bool:
        if "_has_index_columns" not in self.__dict__:
            self.__dict__["_has_index_columns"] = super()._has_asset_key_index_cols_on_connection(conn)
        return self._has_index_columns

    # ---- events

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events that Dagster hands over together: each database is written in one transaction."""
        rows = [self._event_to_row(event) for event in events]
        by_run: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            by_run.setdefault(row["run_id"], []).append(row)
        for run_id, some in by_run.items():
            with self.run_connection(run_id) as connection:
                connection.execute(SqlEventLogStorageTable.insert(), some)
        of_assets = [pair for pair in zip(events, rows, strict=True) if pair[0].dagster_event_type in ASSET_EVENTS]
        if of_assets:
            with self.index_transaction() as connection:
                ids = [_inserted(connection, row) for _, row in of_assets]
                self._store_asset_event_tags(connection, [event for event, _ in of_assets], ids)
                newest = {
                    (event.get_dagster_event().asset_key, event.dagster_event_type): (event, number)
                    for (event, _), number in zip(of_assets, ids, strict=True)
                }
                for event, number in newest.values():  # of an asset only its newest event is told with its key
                    self._store_asset_event(connection, event, number)
        for event, row in zip(events, rows, strict=True):
            if event.dagster_event_type in ASSET_CHECK_EVENTS:
                with self.index_transaction() as connection:
                    number = _inserted(connection, row)
                self.store_asset_check_event(event, number)


_INSERT = SqlEventLogStorageTable.insert()


def _inserted(connection: db.Connection, row: dict[str, Any]) -> int:
    """Store a row of the event log; its number."""
    (number,) = connection.execute(_INSERT, row).inserted_primary_key or (0,)
    return int(number)


def _changes(connection: db.Connection) -> int:
    """Rows that have been written on a connection so far."""
    return int(connection.connection.dbapi_connection.total_changes)  # type: ignore[union-attr]


def _engine_of(address: str) -> db.Engine:
    """An engine with one connection, which stays open; whoever uses it holds the lock of the storage."""
    engine = db.create_engine(
        address,
        poolclass=StaticPool,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )

    @db.event.listens_for(engine, "connect")
    def _settings(connection: Any, _: Any) -> None:
        # A power cut may take the last events with it, never the database: what is true stands in the lake, and the
        # next run goes by that. So no commit waits for the disk.
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine
