"""Tables in an object store: the same files as on a disk, replaced whole, read by DuckDB from where they are."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from bench.s3_server import SECRET, Server
from hapi_pipeline import store as stores
from hapi_pipeline.copies import open_copy
from hapi_pipeline.direct import open_objects
from hapi_pipeline.engine import read_only_query
from hapi_pipeline.lake import Import, ImportedFile, Lake, write_bytes
from hapi_pipeline.settings import UserError, find_home
from hapi_pipeline.store import ObjectStore, StoreError
from hapi_pipeline.tables import TABLES
from tests.store.between import between
from tests.store.conftest import Machine

TABLE, KEYS = "job_clusters", {"cohort": "2026-10"}


def rows(*jobs: str) -> pa.Table:
    declared = TABLES[TABLE]
    some = {"text": "x", "int": 1, "float": 0.5, "bool": True, "texts": ["x"]}
    return pa.Table.from_pylist(
        [
            {
                c.name: job if c.name == "job_id" else None if c.nullable else some.get(c.field.type, "2026-10")
                for c in declared.columns
            }
            for job in jobs
        ],
        schema=declared.schema(),
    )


@pytest.fixture
def lake(address: str) -> Lake:
    return Lake(find_home(address).ensure().lake)


def on(machine: Machine, name: str, address: str) -> Lake:
    machine(name)
    return Lake(find_home(address).lake)


def test_a_table_is_the_same_file_as_on_a_disk(lake: Lake, address: str, tmp_path: Path) -> None:
    on_disk = Lake(tmp_path / "disk")
    for there in (lake, on_disk):
        written = there.write(TABLE, rows("J2", "J1"), KEYS, "made from this")
        assert written.changed
    name = f"lake/{TABLE}/cohort=2026-10/data.parquet"
    found = ObjectStore(address).read(name)
    assert found is not None
    assert found[0] == on_disk.path(TABLE, KEYS).read_bytes() == lake.path(TABLE, KEYS).read_bytes()
    assert [p.name for p in lake.path(TABLE, KEYS).parent.iterdir()] == ["data.parquet"]


def test_another_machine_reads_what_was_written_last(lake: Lake, address: str, machine: Machine) -> None:
    lake.write(TABLE, rows("J1"), KEYS, "1")
    other = on(machine, "b", address)
    assert other.read(TABLE, KEYS)["job_id"].to_pylist() == ["J1"]
    assert other.inputs(TABLE, KEYS) == "1"
    assert other.partitions(TABLE) == [KEYS]
    state = other.state(TABLE, {})
    on(machine, "a", address).write(TABLE, rows("J1", "J2"), KEYS, "2")
    other = on(machine, "b", address)
    assert other.read(TABLE)["job_id"].to_pylist() == ["J1", "J2"]
    assert other.state(TABLE, {}) != state


def test_the_same_rows_from_other_inputs_keep_their_time(lake: Lake, address: str, machine: Machine) -> None:
    before = lake.write(TABLE, rows("J1"), KEYS, "1").path.stat()
    assert not lake.write(TABLE, rows("J1"), KEYS, "1").changed
    assert not lake.write(TABLE, rows("J1"), KEYS, "2").changed
    assert lake.path(TABLE, KEYS).stat().st_mtime_ns == before.st_mtime_ns
    assert on(machine, "b", address).inputs(TABLE, KEYS) == "2"


def test_a_write_that_fails_changes_nothing_anywhere_and_tells_no_secret(
    server: Server, address: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_RETRIES", {"max_retries": 1})
    with between(server.endpoint) as gate:
        monkeypatch.setenv("AWS_ENDPOINT_URL", gate.endpoint)
        lake = Lake(find_home(address).ensure().lake)
        lake.write(TABLE, rows("J1"), KEYS, "1")
        for trouble in ("refuses", "cuts"):
            setattr(gate, trouble, "/data.parquet")
            with pytest.raises(StoreError) as told:
                lake.write(TABLE, rows("J1", "J2"), KEYS, "2")
            assert SECRET not in repr(told.value)
            setattr(gate, trouble, "")
            assert lake.read(TABLE, KEYS)["job_id"].to_pylist() == ["J1"]
            assert [p.name for p in lake.path(TABLE, KEYS).parent.iterdir()] == ["data.parquet"]
        assert on(machine, "b", address).inputs(TABLE, KEYS) == "1"


def _import(name: str) -> Import:
    return Import(name, "jobs", None, (ImportedFile("f", "sha", 1, 0),), "2026-11-01T00:00:00+00:00", ("2026-10",))


def test_rows_of_a_ledger_count_once_their_import_is_finished(lake: Lake, address: str, machine: Machine) -> None:
    row = {c.name: None if c.nullable else "x" for c in TABLES["quarantine"].columns}
    row["imported_at"] = datetime(2026, 11, 1, tzinfo=UTC)  # type: ignore[assignment]
    lake.append("quarantine", "jobs-1", pa.Table.from_pylist([row], schema=TABLES["quarantine"].schema()))
    assert on(machine, "b", address).read("quarantine").num_rows == 0
    on(machine, "a", address).finish_import(_import("jobs-1"))
    assert on(machine, "c", address).read("quarantine").num_rows == 1
    assert [i.import_id for i in on(machine, "d", address).imports("jobs")] == ["jobs-1"]


def test_an_import_is_written_once(lake: Lake) -> None:
    lake.finish_import(_import("jobs-1"))
    lake.finish_import(_import("jobs-1"))  # the same to the byte: an answer that was lost
    with pytest.raises(UserError, match="another process was faster"):
        lake.finish_import(Import("jobs-1", "jobs", None, (), "2026-11-02T00:00:00+00:00"))


def test_a_question_is_answered_without_a_copy(lake: Lake, address: str, machine: Machine) -> None:
    lake.write(TABLE, rows("J1", "J2"), KEYS)
    other = on(machine, "b", address)
    answer = read_only_query(other, f"SELECT count(*) AS n, max(job_id) AS last FROM {TABLE}")
    assert answer.to_pylist() == [{"n": 2, "last": "J2"}]
    assert list(other.root.rglob("*.parquet")) == []


def test_a_question_reads_nothing_else(lake: Lake, address: str, tmp_path: Path) -> None:
    lake.write(TABLE, rows("J1"), KEYS)
    (tmp_path / "secret.csv").write_text("a\n1\n")
    bucket = address.rpartition("/")[0]
    places = (f"{tmp_path}/secret.csv", f"{bucket}/other/data.parquet", f"{address}/registry/models.yaml")
    for place in places:
        with pytest.raises(UserError, match="disabled by configuration"):
            read_only_query(lake, f"SELECT * FROM read_text('{place}')")


def test_an_answer_is_of_one_state_of_a_file_or_there_is_none(lake: Lake, address: str) -> None:
    lake.write(TABLE, rows("J1"), KEYS)
    copy = open_copy(address)
    with duckdb.connect() as connection:
        open_objects(connection, copy, [TABLE])
        copy.store.put(f"lake/{TABLE}/cohort=2026-10/data.parquet", b"PAR1 something else PAR1")
        with pytest.raises(Exception, match="replaced while it was being read"):
            connection.execute(f"SELECT * FROM {TABLE}").fetchall()


def test_notes_of_the_lake_are_brought(lake: Lake, address: str, machine: Machine) -> None:
    write_bytes(lake.root / "refreshed.json", b"{}")
    machine("b")
    assert (find_home(address).lake / "refreshed.json").read_bytes() == b"{}"
