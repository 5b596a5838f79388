"""Tables over all months and models: bounded memory, and work in portions, change none of their rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb
import pytest

from hapi_pipeline import engine, repeatability
from hapi_pipeline.lake import Lake, conform
from hapi_pipeline.recipes import recipes
from hapi_pipeline.registry import Registry
from hapi_pipeline.results import SUMMARIES
from hapi_pipeline.tables import TABLES

BY_HAND = ("judge_agreement", "criterion_themes")  # from other tables than the rest, with a connection of their own


def rows(lake: Lake, registry: Registry, table: str) -> list[dict[str, Any]]:
    return list(conform(TABLES[table], recipes()[table].build(lake, registry, {})).to_pylist())


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, str]]:
    """Every lake counts as a large one; what the bounded connections were opened with."""
    opened: list[Mapping[str, str]] = []
    spilling = engine.spilling

    @contextmanager
    def told(settings: Mapping[str, str]) -> Iterator[duckdb.DuckDBPyConnection]:
        opened.append(settings)
        with spilling(settings) as connection:
            yield connection

    monkeypatch.setattr(engine, "spilling", told)
    monkeypatch.setattr(engine, "_LARGE", -1)
    return opened


@pytest.mark.parametrize("table", [table for table in SUMMARIES if table not in (*BY_HAND, "repeatability")])
def test_a_summary_has_the_same_rows_within_bounded_memory(
    world: Lake, registry: Registry, table: str, bounded: list[Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = rows(world, registry, table)
    assert bounded
    assert set(map(str, bounded)) == {str(engine._SUMMING)}
    monkeypatch.setattr(engine, "_LARGE", math.inf)
    bounded.clear()
    assert rows(world, registry, table) == found
    assert not bounded


def test_what_cannot_wait_in_a_file_is_done_without_a_bound(
    lake: Lake, bounded: list[Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list is held whole in DuckDB, whatever it may take."""
    monkeypatch.setattr(engine, "_SUMMING", {"memory_limit": "20MB"})
    limits = []

    def work(connection: duckdb.DuckDBPyConnection) -> int:
        limits.append(connection.execute("SELECT current_setting('memory_limit')").fetchall()[0][0])
        (found,) = connection.execute("SELECT len(list(i ORDER BY hash(i))) FROM range(1_000_000) r(i)").fetchall()[0]
        return int(found)

    assert engine.summed({}, work) == 1_000_000
    assert limits[0] == "19.0 MiB"
    assert len(limits) == 2
    assert len(bounded) == 1


def test_other_errors_are_not_tried_again(lake: Lake, bounded: list[Mapping[str, str]]) -> None:
    with pytest.raises(duckdb.CatalogException):
        engine.summed({}, lambda connection: connection.execute("SELECT * FROM nothing_of_that_name"))
    assert len(bounded) == 1


def test_a_cell_is_not_bounded(world: Lake, bounded: list[Mapping[str, str]]) -> None:
    """It is one of many that are made at once, and how much of it is made at once is decided elsewhere."""
    cell = world.partitions("job_states")[0]
    assert engine.run(world, engine.query("outcome_counts"), cell).num_rows
    assert not bounded


def test_repeats_are_the_same_counted_model_by_model(
    world: Lake, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rows(world, registry, "repeatability")
    assert len({row["model"] for row in whole}) > 1
    assert len(list(repeatability._some_models(world))) == 1
    monkeypatch.setattr(repeatability, "_AT_ONCE_BYTES", 0)
    assert len(list(repeatability._some_models(world))) > 1
    assert rows(world, registry, "repeatability") == whole
