"""The suites over months: drift of prices and categories, graders' minutes and rates of passing; the job `quality`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hapi_pipeline.checks.expectations import validate_figures, validate_minutes
from hapi_pipeline.checks.stability import (
    PSI_LIMIT,
    grading_figures,
    index_limit,
    job_figures,
    stability_index,
)
from hapi_pipeline.definitions import QUALITY, build_defs
from hapi_pipeline.lake import Lake
from hapi_pipeline.settings import Home
from tests import scenario

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")
COUNTS = st.lists(st.integers(0, 500), min_size=2, max_size=12)


@given(COUNTS)
def test_the_index_of_the_same_shares_is_zero_and_never_below(counts: list[int]) -> None:
    assert stability_index(counts, counts) == pytest.approx(0)
    assert stability_index(counts, counts[::-1]) >= 0
    assert stability_index(counts, counts[::-1]) == pytest.approx(stability_index(counts[::-1], counts))


def test_the_index_by_hand() -> None:
    # (0.75 - 0.25) ln 3 + (0.25 - 0.75) ln (1/3) = ln 3, were no half row added
    assert stability_index([75_000, 25_000], [25_000, 75_000]) == pytest.approx(1.0986, abs=1e-3)


def test_a_small_month_gets_a_wider_limit_and_a_large_one_the_usual() -> None:
    assert index_limit(10_000, 10_000, 5) == PSI_LIMIT
    assert index_limit(20, 200, 5) == pytest.approx((1 / 20 + 1 / 200) * 13.2767, rel=1e-4)  # chi-square, 4 df, 1 %


def jobs(lake: Lake, cohort: str, prices: Sequence[float], category: str = "Writing") -> None:
    exported = scenario.table_of(
        "job_exports",
        [
            scenario.post(f"{cohort}-{n}", category=category, price_usd=price, title="A title of some length")
            for n, price in enumerate(prices)
        ],
    )
    rows = [row | {"rubric_version": "v1", "n_criteria": 8, "cohort": cohort} for row in exported.to_pylist()]
    lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", rows), {"cohort": cohort})


MONTHS = ("2026-01", "2026-02", "2026-03", "2026-04")


def beyond(figures: Sequence[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(f["cohort"], f["figure"].split(" (")[0]) for f in figures if f["value"] > f["limit"]}


def test_a_month_with_other_prices_or_categories_is_beyond_its_limit(lake: Lake) -> None:
    usual = [20.0 + n % 80 for n in range(160)]
    for month in MONTHS[:2]:
        jobs(lake, month, usual)
    jobs(lake, MONTHS[2], [price + 60 for price in usual])
    jobs(lake, MONTHS[3], usual, category="Design")
    figures = job_figures(lake)
    assert beyond(figures) >= {(MONTHS[2], "mix of prices"), (MONTHS[3], "mix of categories")}
    assert (MONTHS[1], "mix of prices") not in beyond(figures)
    assert (MONTHS[0], "mix of prices") not in {(f["cohort"], f["figure"]) for f in figures}  # nothing before it
    (said,) = validate_figures([f for f in figures if f["cohort"] == MONTHS[3]])
    assert not said["success"]
    assert "mix of categories (stability index)" in said["examples"]
    assert all(r["success"] for r in validate_figures([f for f in figures if f["cohort"] == MONTHS[1]]))


def grade(cohort: str, number: int, minutes: float, passed: int) -> dict[str, Any]:
    return {
        "attempt_id": f"{cohort}-{number}",
        "cohort": cohort,
        "model": "One",
        "round": "agent_alone",
        "job_id": f"j{number}",
        "grader": "g1",
        "grader_role": "grader",
        "n_graders": 1,
        "n_criteria": 10,
        "n_answered": 10,
        "n_passed": passed,
        "n_failed": 10 - passed,
        "minutes": minutes,
        "simulated": True,
    }


def grades(lake: Lake, cohort: str, minutes: float, passed: int) -> None:
    rows = [grade(cohort, n, minutes + n % 3, passed) for n in range(30)]
    lake.write("grades", scenario.table_of("grades", rows), {"cohort": cohort, "model": "One"})


def test_other_minutes_and_another_rate_of_passing_are_beyond_their_limits(lake: Lake) -> None:
    for month in MONTHS[:2]:
        grades(lake, month, 10, 5)
    grades(lake, MONTHS[2], 60, 5)
    grades(lake, MONTHS[3], 10, 9)
    assert beyond(grading_figures(lake)) == {
        (MONTHS[2], "minutes a packet"),
        (MONTHS[3], "criteria passed by One"),
    }


@pytest.mark.parametrize(("minutes", "met"), [(12.0, True), (0.0, False), (500.0, False)])
def test_implausible_minutes_are_found_with_examples(minutes: float, met: bool) -> None:
    rows = [{"cohort": "2026-01", "grader": "g", "attempt_id": str(n), "minutes": 9.0} for n in range(18)]
    rows += [{"cohort": "2026-01", "grader": "g", "attempt_id": "x", "minutes": minutes}] * 2
    (said,) = validate_minutes(rows)
    assert (said["success"], str(minutes) in said["examples"]) == (met, not met)


def test_the_job_tells_of_each_month_by_itself_and_shows_examples(home: Home) -> None:
    lake = Lake(home.lake)
    jobs(lake, MONTHS[0], [80.0] * 30)
    jobs(lake, MONTHS[1], [*[80.0] * 30, 9999.0])
    with dg.DagsterInstance.ephemeral() as instance:
        result = build_defs(home).resolve_job_def(QUALITY).execute_in_process(instance=instance, raise_on_error=False)
        assert result.success  # warnings only
        key = dg.AssetCheckKey(dg.AssetKey(["benchmark_jobs"]), "data_quality")
        history = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
        assert {r.partition: r.status.value for r in history} == {
            MONTHS[0]: "SUCCEEDED",
            MONTHS[1]: "FAILED",
            None: "FAILED",
        }
    said = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert set(said) == {"data_quality", "drift_from_before", "grading_quality"}
    whole = said["data_quality"]
    assert (whole.passed, whole.severity, whole.blocking) == (False, dg.AssetCheckSeverity.WARN, False)
    assert whole.description == "A person should look at 2026-02."
    table: Any = whole.metadata["expectations"]
    assert [(r.data["month"], r.data["examples"]) for r in table.records if r.data["column"] == "price_usd"] == [
        (MONTHS[1], "9999.0")
    ]
