"""The data quality suite: it passes on sound jobs and names what is wrong with others. Imports Great Expectations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.checks.expectations import validate_benchmark_jobs
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark
from tests import scenario


def jobs(**changes: Any) -> list[dict[str, Any]]:
    exported = scenario.table_of("job_exports", [scenario.post(f"j{n}", category="Writing") for n in range(1, 5)])
    rows = [row | {"rubric_version": "v1", "n_criteria": 8} for row in exported.to_pylist()]
    return [rows[0] | changes, *rows[1:]]


def failing(lake: Lake, benchmark: Benchmark, rows: list[dict[str, Any]]) -> set[tuple[str, str]]:
    lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", rows), scenario.SCOPE)
    found = validate_benchmark_jobs(lake, benchmark)
    assert len(found) == 6
    return {(row["expectation"], row["column"]) for row in found if not row["success"]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"category": None}, {("expect_column_values_to_not_be_null", "category")}),
        ({"price_usd": 500.0}, {("expect_column_values_to_be_between", "price_usd")}),
        ({"n_criteria": 3}, {("expect_column_values_to_be_between", "n_criteria")}),
    ],
)
def test_each_expectation_fails_on_what_it_is_for(
    tmp_path: Path, benchmark: Benchmark, changes: dict[str, Any], expected: set[tuple[str, str]]
) -> None:
    sound = {"title": "A title of some length", "price_usd": 80.0}
    assert failing(Lake(tmp_path), benchmark, jobs(**{**sound, **changes})) - _of_the_scenario() == expected


def _of_the_scenario() -> set[tuple[str, str]]:
    """Titles and durations of the hand-made posts are too short for a benchmark; that is not what is tested."""
    return {("expect_column_values_to_be_between", c) for c in ("title_length", "days_open")}
