"""What completed jobs cost and who had better do them: against slow formulas, simulation, and plain good sense."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline.economics import advice_of, economics, economics_of, spending, workflow_advice
from hapi_pipeline.job_grid import job_grid
from hapi_pipeline.lake import Lake, conform
from hapi_pipeline.registry import Economics, Registry
from hapi_pipeline.settings import Home, UserError
from hapi_pipeline.stats.ratios import ratio_of_sums
from hapi_pipeline.stats.stages import Step, expected, worth
from hapi_pipeline.tables import TABLES
from tests.stats_models.models_at_work import HUMAN, Fate, Job, built, random_jobs, renamed, state

ASSUMED = Economics(grader_usd_per_hour=30.0, value_per_price=2.0, min_jobs=12)
Rows = list[dict[str, Any]]


def near(value: float) -> Any:
    return pytest.approx(value, abs=1e-8, rel=1e-8)


def money(lake: Lake, assumed: Economics = ASSUMED) -> dict[tuple[str, str], dict[str, Any]]:
    grid = job_grid(lake)
    made = economics_of(grid, spending(lake, grid), assumed, draws=200)
    rows = conform(TABLES["economics"], made).to_pylist()
    return {(row["model"], row["round"]): row for row in rows if row["rule"] == "all_criteria"}


def advice(lake: Lake, assumed: Economics = ASSUMED) -> Rows:
    grid = job_grid(lake)
    made = advice_of(grid, spending(lake, grid), assumed, "all_criteria", draws=300)
    return list(conform(TABLES["workflow_advice"], made).to_pylist())


def overall(rows: Rows, model: str | None = None) -> dict[str, Any]:
    """The row over all jobs: of a model, or the best."""
    (row,) = [
        row
        for row in rows
        if (row["category"], row["price_band"]) == ("(all)", "(all)")
        and (row["level"] == "best" if model is None else (row["level"], row["model"]) == ("model", model))
    ]
    return row


# ---- formulas


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.integers(0, 2**32), st.integers(2, 30), st.booleans())
def test_a_ratios_error_is_that_of_the_formula(seed: int, n: int, clustered: bool) -> None:
    dice = np.random.default_rng(seed)
    cost, done = dice.lognormal(0, 1, n), (dice.random(n) < 0.5).astype(float)
    clients = dice.integers(0, max(n // 2, 2), n) if clustered else np.arange(n)
    found = ratio_of_sums(cost, done, clients if clustered else None)
    if not done.any():
        assert found == (None, None, None, None)
        return
    x = [sum(cost[clients == c]) for c in set(clients)]
    y = [sum(done[clients == c]) for c in set(clients)]
    units, r = len(x), sum(cost) / sum(done)
    assert found.value == near(r)
    if units < 2:
        assert found.se is None
        return
    # formula 16 with units - 1 degrees of freedom
    mean_square = sum((a - r * b) ** 2 for a, b in zip(x, y, strict=True)) / (units - 1)
    assert found.se == near(math.sqrt(mean_square / units) / (sum(y) / units))
    assert found.lo is not None
    assert found.hi is not None
    assert found.lo * found.hi == near(r * r)
    assert 0 < found.lo <= r <= found.hi


def test_a_ratio_without_cost_has_no_interval() -> None:
    assert ratio_of_sums([0.0, 0.0], [1.0, 0.0]) == (0.0, 0.0, None, None)
    assert ratio_of_sums([3.0], [1.0]) == (3.0, None, None, None)


def test_censored_jobs_are_neither_failed_nor_forgotten() -> None:
    """Eight of ten fail alone, four of these are tried again and one of the four succeeds: .2 + .8 / 4."""
    sums = ((10, 2, 5, 100, 10, 1000, 300), (4, 1, 4, 80, 2, 400, 50))
    found = expected([Step(*(np.array([float(x)]) for x in step)) for step in sums])
    assert [float(x[0]) for x in found] == near_all(
        [0.4, 0.5 + 0.8 * 1, 10 + 0.8 * 40, 100, 30 + 0.8 * 12.5, 0.8 * 87.5]
    )


def near_all(values: Sequence[float]) -> Any:
    return pytest.approx(values, abs=1e-9)


def test_a_step_that_nobody_needs_costs_nothing_and_one_that_nobody_took_is_unknown() -> None:
    def step(*sums: float) -> Step:
        return Step(*(np.array([x]) for x in sums))

    nobody = step(0, 0, 0, 0, 0, 0, 0)
    assert [float(x[0]) for x in expected([step(2, 2, 1, 30, 2, 200, 200), nobody])] == [1, 0.5, 15, 100, 100, 0]
    assert np.isnan(expected([step(2, 1, 1, 30, 2, 200, 100), nobody]).success).all()


def test_break_even_values_are_where_two_ways_are_worth_the_same() -> None:
    sums = ((40, 12, 20, 800, 40, 4000, 900), (28, 9, 30, 560, 28, 3100, 800))
    steps = [Step(*(np.array([float(x)]) for x in step)) for step in sums]
    alone, human_ai = expected(steps[:1]), expected(steps)
    found = worth(alone, human_ai, 45.0, 2.0)

    def net(way: Any, value: float, hourly: float = 45.0) -> float:
        return float(way.success[0] * value - way.cost[0] - (way.minutes[0] * hourly / 60 if way is human_ai else 0))

    first, second, third = (float(x[0]) for x in found[7:10])
    assert net(alone, first) == near(net(human_ai, first))
    assert net(human_ai, second) == near(second - 100)
    assert net(alone, third) == near(third - 100)
    hourly = float(found.break_even_grader_rate[0])
    assert float(worth(alone, human_ai, hourly, 2.0).human_ai_with_fallback[0]) == near(100.0)


# ---- economics


def test_without_censoring_all_figures_are_plain_means_over_the_jobs(tmp_path: Path) -> None:
    jobs = random_jobs(3, 40, ["Alpha"], known=1.0)
    found = money(built(tmp_path, jobs, ["Alpha"]))
    for depth, name in enumerate(HUMAN):
        row, n = found["Alpha", name], len(jobs)
        fates = [
            [job.fates["Alpha"][step] for step in HUMAN[: depth + 1] if step in job.fates["Alpha"]] for job in jobs
        ]
        done = [state(job, "Alpha", name)[1] == "complete" for job in jobs]
        cost = [sum((f.cost or 0) + (f.lost or 0) for f in of_job) for of_job in fates]
        minutes = [sum(float(np.mean([m for m in f.minutes if m is not None])) for f in of_job) for of_job in fates]
        left = [0 if complete else job.price for job, complete in zip(jobs, done, strict=True)]
        review = sum(minutes) / 60 * 30
        assert (row["n_jobs"], row["n_graded"], row["n_completed"]) == (n, n, sum(done))
        assert (
            row["n_attempts"]
            == row["n_cost_known"]
            == sum(1 + (f.lost is not None) for of_job in fates for f in of_job)
        )
        assert row["cost_usd"] == row["cost_graded_usd"] == near(sum(cost))
        assert row["cost_per_completed_usd"] == near(sum(cost) / sum(done))
        assert row["success_human_ai"] == near(sum(done) / n)
        assert row["review_minutes"] == near(sum(minutes) / n)
        assert row["review_cost_usd"] == near(review)
        assert row["human_ai_per_completed_usd"] == near((sum(cost) + review) / sum(done))
        assert row["human_ai_fallback_usd"] == near((sum(cost) + review + sum(left)) / n)
        earned = sum(2 * job.price for job, complete in zip(jobs, done, strict=True) if complete)
        assert row["net_human_ai_usd"] == near((earned - sum(cost) - review + sum(left)) / n)
        assert row["net_human_usd"] == near(row["price_mean_usd"])
        assert row["net_human_ai_lo"] <= row["net_human_ai_usd"] <= row["net_human_ai_hi"]


def test_unknown_costs_and_minutes_make_figures_unknown_never_partial(tmp_path: Path) -> None:
    jobs = random_jobs(3, 20, ["Alpha"], ["agent_alone"], known=1.0)
    odd = replace(jobs[0], fates={"Alpha": {"agent_alone": Fate(True, cost=None)}})
    row = money(built(tmp_path / "cost", [odd, *jobs[1:]], ["Alpha"], ["agent_alone"]))["Alpha", "agent_alone"]
    assert row["n_attempts"] - row["n_cost_known"] == 1
    for key in ("cost_usd", "cost_graded_usd", "cost_per_attempt_usd", "cost_per_completed_usd", "net_alone_usd"):
        assert row[key] is None
    assert row["success_alone"] is not None
    late = replace(jobs[0], fates={"Alpha": {"agent_alone": Fate(True, minutes=(None,))}})
    row = money(built(tmp_path / "time", [late, *jobs[1:]], ["Alpha"], ["agent_alone"]))["Alpha", "agent_alone"]
    assert (row["n_reviewed"], row["n_timed"], row["review_cost_usd"]) == (20, 19, None)
    assert row["minutes_per_review"] == near(row["review_minutes"])


def test_pending_and_infra_jobs_count_as_spent_but_neither_as_done_nor_as_failed(tmp_path: Path) -> None:
    fates = [Fate(True, 1.0), Fate(False, 2.0), Fate("pending", 4.0), Fate("infra", 8.0, lost=16.0)]
    jobs = [Job(str(i), {"A": {"agent_alone": fate}}) for i, fate in enumerate(fates)]
    row = money(built(tmp_path, jobs, ["A"], ["agent_alone"]))["A", "agent_alone"]
    assert (row["n_jobs"], row["n_graded"], row["n_completed"], row["n_attempts"]) == (4, 2, 1, 5)
    assert (row["cost_usd"], row["cost_graded_usd"], row["cost_per_completed_usd"]) == (31.0, 3.0, 3.0)
    assert (row["success_alone"], row["cost_alone_usd"]) == (0.5, 1.5)


def test_without_a_graders_rate_what_rests_on_it_is_unknown(tmp_path: Path) -> None:
    jobs = random_jobs(3, 20, ["Alpha"], known=1.0)
    lake = built(tmp_path, jobs, ["Alpha"])
    free = replace(ASSUMED, grader_usd_per_hour=None)
    row = money(lake, free)["Alpha", "feedback_1"]
    assert {row[key] for key in ("review_cost_usd", "net_human_ai_usd", "human_ai_fallback_usd")} == {None}
    assert None not in (
        row["net_alone_usd"],
        row["net_human_usd"],
        row["break_even_grader_rate"],
        row["review_minutes"],
    )
    told = overall(advice(lake, free), "Alpha")
    assert (told["advice"], told["reason"]) == ("no_advice", "unknown_review_cost")


def test_scaling_prices_scales_values_and_changes_no_advice(tmp_path: Path) -> None:
    def times(fate: Fate) -> Fate:
        return replace(fate, cost=None if fate.cost is None else fate.cost * 8, lost=fate.lost and fate.lost * 8)

    jobs = random_jobs(5, 40, ["Alpha", "Beta"], known=1.0)
    dear = [
        replace(
            job,
            price=job.price * 8,
            fates={m: {r: times(f) for r, f in rounds.items()} for m, rounds in job.fates.items()},
        )
        for job in jobs
    ]
    one = overall(advice(built(tmp_path / "1", jobs, ["Alpha", "Beta"])))
    eight = overall(advice(built(tmp_path / "8", dear, ["Alpha", "Beta"]), replace(ASSUMED, grader_usd_per_hour=240.0)))
    for key in ("net_alone_usd", "net_human_ai_usd", "net_human_usd", "net_human_ai_lo", "net_human_ai_hi"):
        assert eight[key] == pytest.approx(8 * one[key], abs=1e-6)
    assert [eight[key] for key in ("advice", "model", "probability")] == [
        one[key] for key in ("advice", "model", "probability")
    ]


# ---- advice


def test_the_order_of_jobs_and_models_changes_nothing(tmp_path: Path, registry: Registry) -> None:
    jobs = random_jobs(6, 30, ["Alpha", "Beta"])
    one = built(tmp_path / "one", jobs, ["Alpha", "Beta"])
    other = built(tmp_path / "other", jobs[::-1], ["Beta", "Alpha"])
    assert workflow_advice(one, registry, {}).equals(workflow_advice(other, registry, {}))
    assert economics(one, registry, {}).equals(economics(other, registry, {}))


def test_a_model_that_is_better_on_every_job_is_never_passed_over(tmp_path: Path) -> None:
    """Of each pair, the second completes what the first does and more, alone, at the same cost."""
    jobs = [
        Job(
            f"{i:02d}",
            {
                "Ahead": {"agent_alone": Fate(True)} if i % 3 else lost,
                "Behind": {"agent_alone": Fate(True)} if i % 3 == 1 else lost,
            },
            price=50 + i,
            category="Writing" if i % 2 else "Data",
        )
        for i in range(40)
        for lost in [{"agent_alone": Fate(False), "feedback_1": Fate(False)}]
    ]
    rows = advice(built(tmp_path, jobs, ["Ahead", "Behind"], HUMAN[:2]))
    best = [row for row in rows if row["level"] == "best" and row["enough_data"]]
    assert best
    assert {row["model"] for row in best} == {"Ahead"}


@pytest.mark.parametrize(
    ("alone", "again", "cost", "minutes", "wise"),
    [
        (True, None, 0.1, 20.0, "agent_alone"),
        (False, True, 0.1, 1.0, "agent_and_human"),
        (False, False, 30.0, 60.0, "human_alone"),
    ],
)
def test_clear_cases_get_the_clear_advice(
    tmp_path: Path, alone: bool, again: bool | None, cost: float, minutes: float, wise: str
) -> None:
    fates = {"agent_alone": Fate(alone, cost, (minutes,))}
    if again is not None:
        fates["feedback_1"] = Fate(again, cost, (minutes,))
    jobs = [Job(f"{i:02d}", {"A": fates}) for i in range(15)]
    rows = advice(built(tmp_path, jobs, ["A"], HUMAN[:2]))
    for row in (overall(rows), overall(rows, "A")):
        assert (row["advice"], row["probability"], row["reason"], row["enough_data"]) == (wise, 1.0, None, True)
        assert row["n_graded"] == row["n_jobs"] == 15


def test_thin_cells_get_no_advice_and_say_why(tmp_path: Path) -> None:
    jobs = random_jobs(9, 11, ["Alpha"], known=1.0)
    rows = advice(built(tmp_path, jobs, ["Alpha"]))
    assert {row["advice"] for row in rows} == {"no_advice"}
    assert {row["reason"] for row in rows} == {"too_few_graded_jobs"}
    for row in rows:
        assert {row[key] for key in ("net_alone_usd", "net_human_usd", "probability", "success_alone")} == {None}
        assert row["n_graded"] <= row["n_jobs"] <= 11
    assert sum(row["n_jobs"] for row in rows if row["level"] == "best" and "(all)" not in row["category"]) == 22


def test_jobs_that_failed_and_were_not_tried_again_are_not_graded_after_the_turn(tmp_path: Path) -> None:
    jobs = [Job(f"{i:02d}", {"A": {"agent_alone": Fate(i < 3)}}) for i in range(30)]
    row = overall(advice(built(tmp_path, jobs, ["A"])), "A")
    assert (row["n_jobs"], row["n_graded"], row["reason"]) == (30, 3, "too_few_graded_jobs")


def test_a_double_changes_no_advice(tmp_path: Path) -> None:
    jobs = random_jobs(12, 30, ["Alpha"], known=1.0)
    one = overall(advice(built(tmp_path / "1", jobs, ["Alpha"])))
    two = overall(advice(built(tmp_path / "2", renamed(jobs, Zeta="Alpha"), ["Alpha", "Zeta"])))
    assert two == one


def test_an_empty_lake_gives_empty_tables(lake: Lake, registry: Registry) -> None:
    assert economics(lake, registry, {}).num_rows == workflow_advice(lake, registry, {}).num_rows == 0


# ---- what is assumed


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("{grader_rate: 3}", "economics has no key 'grader_rate'"),
        ("{grader_usd_per_hour: -1}", "grader_usd_per_hour must be a number of at least 0"),
        ("{value_per_price: 0}", "value_per_price must be a number over 0"),
        ("{min_jobs: 1}", "min_jobs must be a whole number of at least 2"),
    ],
)
def test_assumptions_that_cannot_be_meant_are_refused(home: Home, written: str, complaint: str) -> None:
    path = home.registry / "benchmark.yaml"
    head, _, _ = path.read_text().partition("\neconomics:")
    path.write_text(f"{head}\neconomics: {written}\n")
    with pytest.raises(UserError, match=complaint):
        _ = Registry(home.registry).benchmark
