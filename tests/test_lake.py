from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hapi_pipeline import engine
from hapi_pipeline import lake as lake_module
from hapi_pipeline.lake import Import, ImportedFile, Lake, SchemaError, conform
from hapi_pipeline.tables import TABLES
from tests import scenario

KEYS = {"cohort": "2026-03", "model": "Quill", "round": "agent_alone"}
OVERVIEW: dict[str, str] = {}  # the table is not partitioned


def overview(*categories: str, **changes: Any) -> pa.Table:
    return scenario.table_of(
        "dataset_overview",
        [
            {"cohort": "2026-03", "category": c, "n_jobs": 1, "n_clients": 1, "n_priced": 1, "n_timed": 0}
            | {"simulated": False}
            | changes
            for c in categories
        ],
    )


def test_a_partition_is_read_as_it_was_written_sorted_by_its_key(lake: Lake) -> None:
    written = lake.write("dataset_overview", overview("b", "a"), OVERVIEW)
    assert (written.rows, written.changed) == (2, True)
    assert lake.read("dataset_overview")["category"].to_pylist() == ["a", "b"]
    assert lake.read("dataset_overview", columns=["category"]).column_names == ["category"]
    assert lake.read("leaderboard").schema == TABLES["leaderboard"].schema()


def test_a_partition_of_an_earlier_version_without_a_column_reads_as_null(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = TABLES["dataset_overview"]
    fewer = replace(today, columns=tuple(c for c in today.columns if c.name != "criteria_mean"))
    monkeypatch.setitem(TABLES, "dataset_overview", fewer)
    lake.write("dataset_overview", overview("a"), OVERVIEW)
    monkeypatch.setitem(TABLES, "dataset_overview", today)
    assert lake.read("dataset_overview")["criteria_mean"].to_pylist() == [None]
    with engine.connect() as connection:
        engine.open_tables(connection, lake, ["dataset_overview"])
        assert connection.execute("SELECT category, criteria_mean FROM dataset_overview").fetchall() == [("a", None)]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (overview("a").drop_columns(["n_jobs"]), "lack the column"),
        (overview("a").set_column(2, "n_jobs", pa.array(["many"])), "many"),
        (overview("a").set_column(2, "n_jobs", pa.array([1.5])), "table dataset_overview"),
        (overview("a").set_column(2, "n_jobs", pa.array([[1]])), "table dataset_overview"),
        (overview("a", n_jobs=None), "n_jobs"),
        (overview("a", "a"), "repeat the key"),
    ],
    ids=["missing column", "text for a number", "half a job", "a list", "null", "repeated key"],
)
def test_rows_that_do_not_fit_are_refused_and_the_old_ones_stay(lake: Lake, rows: pa.Table, reason: str) -> None:
    lake.write("dataset_overview", overview("old"), OVERVIEW)
    with pytest.raises(SchemaError, match=reason):
        lake.write("dataset_overview", rows, OVERVIEW)
    assert lake.read("dataset_overview")["category"].to_pylist() == ["old"]


def test_columns_beyond_the_declared_ones_are_left_out(lake: Lake) -> None:
    lake.write("dataset_overview", overview("a").append_column("more", pa.array([1])), OVERVIEW)
    assert lake.read("dataset_overview").schema == TABLES["dataset_overview"].schema()


def test_the_same_rows_keep_the_files_time_and_other_rows_do_not(lake: Lake) -> None:
    path = lake.write("dataset_overview", overview("a", "b"), OVERVIEW, "made of 1").path
    os.utime(path, ns=(10**18, 10**18))
    same = lake.write("dataset_overview", overview("b", "a"), OVERVIEW, "made of 2")
    assert (same.changed, path.stat().st_mtime_ns) == (False, 10**18)
    assert lake.inputs("dataset_overview", OVERVIEW) == "made of 2"
    other = lake.write("dataset_overview", overview("a"), OVERVIEW, "made of 2")
    assert other.changed
    assert path.stat().st_mtime_ns != 10**18


@pytest.mark.parametrize("n", [1, 3])
def test_what_memory_holds_under_a_null_does_not_count(lake: Lake, n: int) -> None:
    def rows(rubbish: float) -> pa.Table:
        prices = pa.Array.from_buffers(
            pa.float64(), n, [pa.py_buffer(b"\0"), pa.py_buffer(struct.pack("d", rubbish) * n)]
        )
        plain = overview(*"abc"[:n])
        return plain.set_column(plain.column_names.index("price_min"), "price_min", prices)

    assert lake.write("dataset_overview", rows(1.0), OVERVIEW).changed
    assert not lake.write("dataset_overview", rows(2.0), OVERVIEW).changed


@given(cuts=st.lists(st.integers(0, 50), max_size=6), group=st.integers(1, 60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_rows_may_come_in_batches_however_cut(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, cuts: list[int], group: int
) -> None:
    monkeypatch.setattr(lake_module, "ROW_GROUP", group)
    rows = conform(TABLES["dataset_overview"], overview(*(f"{n:02}" for n in range(50))))
    lake.write("dataset_overview", rows, OVERVIEW)
    bounds = sorted({0, *cuts, 50})
    batches = [b for a, z in itertools.pairwise(bounds) for b in rows.slice(a, z - a).to_batches()]
    assert not lake.write("dataset_overview", batches, OVERVIEW).changed
    assert lake.read("dataset_overview") == rows


@pytest.mark.parametrize("categories", ["ba", "aa", "abb"])
@pytest.mark.parametrize("group", [1, 2, 10])
def test_batches_out_of_order_are_refused(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, categories: str, group: int
) -> None:
    monkeypatch.setattr(lake_module, "ROW_GROUP", group)
    lake.write("dataset_overview", overview("old"), OVERVIEW)
    batches = [b for c in categories for b in conform(TABLES["dataset_overview"], overview(c)).to_batches()]
    with pytest.raises(SchemaError, match="order"):
        lake.write("dataset_overview", batches, OVERVIEW)
    assert lake.read("dataset_overview")["category"].to_pylist() == ["old"]
    assert not list(lake.root.rglob("*.part"))


def test_a_stream_of_an_import_is_split_by_partition_and_staged_whole_or_not_at_all(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_module, "_MOST_WAITING", 0)  # every batch is written as it comes
    months = ["2026-01", "2026-02"]
    rows = scenario.table_of(
        "job_exports",
        [
            {"cohort": months[n % 2], "job_id": f"j{n}", "source_sha256": "f", "source_row": n, "source": "s"}
            | {"content_id": "c", "assumed_fields": [], "source_file": "f", "imported_at": scenario.NOON}
            | {"simulated": False}
            for n in range(6)
        ],
    )

    def failing() -> Iterator[pa.RecordBatch]:
        yield from rows.to_batches(max_chunksize=2)
        raise ValueError("the file ends here")

    with pytest.raises(ValueError, match="ends here"):
        lake.append_stream("job_exports", "one", failing(), split_by="cohort")
    assert not [path for path in lake.root.rglob("*") if path.is_file()]
    staged = lake.append_stream("job_exports", "one", rows.to_batches(max_chunksize=2), split_by="cohort")
    assert sorted(staged.values()) == [3, 3]
    assert lake.read("job_exports").num_rows == 0
    lake.finish_import(Import("one", "jobs", "s", (ImportedFile("f", "f", 6, 0),), "2026-03-01"))
    assert lake.read("job_exports", {"cohort": months[1]})["source_row"].to_pylist() == [1, 3, 5]


def test_the_state_of_a_table_changes_with_its_rows_and_with_nothing_else(lake: Lake) -> None:
    lake.write("dataset_overview", overview("a"), OVERVIEW, "1")
    state = lake.state("dataset_overview", OVERVIEW)
    lake.write("dataset_overview", overview("a"), OVERVIEW, "2")
    assert lake.state("dataset_overview", OVERVIEW) == state
    lake.write("dataset_overview", overview("b"), OVERVIEW, "2")
    assert lake.state("dataset_overview", OVERVIEW) != state


def test_a_write_that_is_cut_short_leaves_the_old_rows(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.write("dataset_overview", overview("old"), OVERVIEW)
    monkeypatch.setattr(lake_module, "_settle", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        lake.write("dataset_overview", overview("new"), OVERVIEW)
    monkeypatch.undo()
    # what was staged lies about, and nobody takes it for rows
    assert lake.read("dataset_overview")["category"].to_pylist() == ["old"]
    assert len(lake.files("dataset_overview")) == 1
    (row,) = engine.read_only_query(lake, "SELECT category FROM dataset_overview").to_pylist()
    assert row == {"category": "old"}


def test_a_damaged_file_counts_as_missing_wherever_the_damage_is(lake: Lake) -> None:
    path = lake.write("dataset_overview", overview("a", "b"), OVERVIEW, "1").path
    whole, state = path.read_bytes(), lake.state("dataset_overview", OVERVIEW)
    for size in (0, 3, 8, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert (lake.inputs("dataset_overview", OVERVIEW), lake.content("dataset_overview", OVERVIEW)) == (
            None,
            None,
        )
        assert lake.state("dataset_overview", OVERVIEW) != state
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for place in range(footer, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        lake.inputs("dataset_overview", OVERVIEW)  # whatever it says, it does not fail
    path.write_bytes(b"rubbish")
    assert lake.write("dataset_overview", overview("a", "b"), OVERVIEW, "1").changed
    assert lake.read("dataset_overview")["category"].to_pylist() == ["a", "b"]


# ---- ledgers


def manifest(number: str, kind: str = "rubrics", when: str = "2026-03-01T00:00:00", **changes: Any) -> Import:
    return Import(number, kind, None, (ImportedFile(f"{number}.csv", f"sha of {number}", 2, 1),), when, **changes)


def test_rows_of_an_import_count_once_its_manifest_stands(lake: Lake) -> None:
    rows = scenario.table_of("rubric_exports", [scenario.criterion("j1", "c1", "critical")])
    before = lake.state("rubric_exports", {})
    lake.append("rubric_exports", "one", rows)
    assert lake.read("rubric_exports").num_rows == 0
    assert lake.state("rubric_exports", {}) == before
    assert engine.read_only_query(lake, "SELECT * FROM rubric_exports").num_rows == 0
    lake.finish_import(manifest("one"))
    assert lake.read("rubric_exports").num_rows == 1
    assert lake.state("rubric_exports", {}) != before
    lake.append("rubric_exports", "two", rows)
    assert lake.read("rubric_exports").num_rows == 1


def test_imports_are_listed_oldest_first_and_found_by_file_kind_and_source(lake: Lake) -> None:
    late = manifest("late", when="2026-03-02T00:00:00", cohorts=("2026-03",), missing_columns=("x",))
    jobs = Import("jobs", "jobs", "market", (ImportedFile("a.csv", "sha", 5, 2),), "2026-03-03T00:00:00")
    for done in (jobs, late, manifest("early")):
        lake.finish_import(done)
    assert [i.import_id for i in lake.imports()] == ["early", "late", "jobs"]
    assert lake.imports("rubrics")[1] == late
    assert lake.imported("rubrics") == {"sha of early": manifest("early"), "sha of late": late}
    assert lake.imported("jobs") == {}
    assert lake.imported("jobs", "market") == {"sha": jobs}
    assert (jobs.rows, jobs.quarantined) == (5, 2)


def test_an_import_without_rows_leaves_no_file_in_the_ledger(lake: Lake) -> None:
    lake.append("quarantine", "one", scenario.table_of("quarantine", []))
    assert not (lake.root / "quarantine").exists()


# ---- names


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@settings(
    derandomize=True,
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=NAMES)
@example("org/model:v1.2..3")
@example("../../up")
@example("a*[b]?{c}")
@example("100% 'quoted' \"name\"")
@example("data.parquet")
@example("模型=1")
def test_any_model_name_is_found_again_and_no_other_model_with_it(tmp_path: Path, name: str) -> None:
    lake = Lake(tmp_path / str(len(list(tmp_path.iterdir()))) / "lake")
    for model in (name, "Quill"):
        rows = scenario.table_of("attempts", [scenario.attempt(model, "agent_alone", "j1")])
        path = lake.write("attempts", rows, KEYS | {"model": model}).path
        assert path.resolve().is_relative_to(lake.root.resolve())
        assert len(path.relative_to(lake.root).parts) == 5
    assert {p["model"] for p in lake.partitions("attempts")} == {name, "Quill"}
    assert lake.read("attempts", {"model": name})["model"].to_pylist() == [name]
    query = engine.Query("attempts", "SELECT model FROM attempts", {})
    assert engine.run(lake, query, {"model": name}).to_pylist() == [{"model": name}]


@pytest.mark.parametrize("name", ["odd [home] 100%", "it's; here", "a*b?", "ключ"])
def test_a_home_may_have_any_name(tmp_path: Path, name: str, bytes_below: Callable[[Path], dict[str, str]]) -> None:
    lake = Lake(tmp_path / name / "lake")
    lake.write("dataset_overview", overview("a"), OVERVIEW)
    before = bytes_below(tmp_path)
    assert engine.read_only_query(lake, "SELECT count(*) AS n FROM dataset_overview").to_pylist() == [{"n": 1}]
    assert bytes_below(tmp_path) == before
