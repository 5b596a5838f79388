"""What a second try fixed and broke: against a slow reading of the definitions, and against statsmodels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from bench import coverage_criteria
from hapi_pipeline import engine
from hapi_pipeline.lake import Lake
from hapi_pipeline.parameters import constant_relations
from hapi_pipeline.registry import Benchmark
from hapi_pipeline.stats.paired import newcombe
from tests import scenario
from tests.scenario import ALPHA, BETA, COHORT

CELL = {"cohort": COHORT, "model": ALPHA}
IMPORTANCE = {"c1": "critical", "c2": "important", "c3": "optional", "c4": "pitfall"}
Marks = Mapping[str, bool | None]
"""What is known of each criterion of an attempt."""
Tries = dict[tuple[str, str], Marks]
"""By round and job."""


def made(table: str, relations: Mapping[str, pa.Table], scope: Mapping[str, str] = CELL) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = engine.run(
        Lake(Path("nowhere")), engine.query(table), scope, {}, relations
    ).to_pylist()
    return rows


def told(marks: Marks, **changes: Any) -> dict[str, Any]:
    """A row of criterion_outcomes."""
    return {
        "cohort": COHORT,
        "model": ALPHA,
        "is_current": True,
        "n_criteria": len(marks),
        "passes": [c for c, m in marks.items() if m is True],
        "fails": [c for c, m in marks.items() if m is False],
        "simulated": False,
    } | changes


def outcomes(tries: Tries, clients: Mapping[str, str | None]) -> list[dict[str, Any]]:
    rows = []
    for (round_, job), marks in tries.items():
        after = {"agent_alone": None, "feedback_1": "agent_alone", "retry_1": "agent_alone", "feedback_2": "feedback_1"}
        rows.append(
            told(
                marks,
                attempt_id=f"{round_} {job}",
                round=round_,
                job_id=job,
                client_id=clients[job],
                previous_attempt_id=f"{after[round_]} {job}" if after[round_] else None,
            )
        )
    return rows


def relations(benchmark: Benchmark, rows: list[dict[str, Any]]) -> dict[str, pa.Table]:
    jobs = {r["job_id"]: [*r["passes"], *r["fails"]] for r in rows}
    rubrics = [scenario.criterion(j, c, i) | {"cohort": COHORT} for j in jobs for c, i in IMPORTANCE.items()]
    return constant_relations(benchmark) | {
        "criterion_outcomes": scenario.table_of("criterion_outcomes", rows),
        "rubrics": scenario.table_of("rubrics", rubrics),
    }


def transitions(benchmark: Benchmark, rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    pairs = made("job_transitions", relations(benchmark, rows))
    summed = made("criterion_transitions", {"job_transitions": scenario.table_of("job_transitions", pairs)}, {})
    return {(r["round"], r["importance"]): r for r in summed}


# ---- by hand

BEFORE = {"c1": True, "c2": False, "c3": False, "c4": None}
AFTER = {"c1": False, "c2": True, "c3": False, "c4": True}


def test_one_job_by_hand(benchmark: Benchmark) -> None:
    tries: Tries = {
        ("agent_alone", "j1"): BEFORE,
        ("feedback_1", "j1"): AFTER,
        ("retry_1", "j1"): {"c1": True, "c2": True, "c3": True, "c4": None},
    }
    found = transitions(benchmark, outcomes(tries, {"j1": None}))
    whole = found["feedback_1", "all"]
    assert (whole["n_jobs"], whole["n_clients"], whole["n_criteria"], whole["n_known"]) == (1, 1, 4, 3)
    assert (whole["n_unknown_before"], whole["n_unknown_after"]) == (1, 0)
    assert [whole[c] for c in ("n_still_passed", "n_broken", "n_fixed", "n_still_failed")] == [0, 1, 1, 1]
    assert (whole["fix_rate"], whole["regression_rate"]) == (0.5, 1.0)
    assert (whole["pass_before"], whole["pass_after"], whole["change_points"]) == (1 / 3, 1 / 3, 0.0)
    # c2 was fixed by both, c3 by the second try without feedback alone
    assert whole["control_round"] == "retry_1"
    assert [whole[f"n_fixed_{c}"] for c in ("both", "feedback", "control", "neither")] == [1, 0, 1, 0]
    assert (whole["control_fix_rate"], whole["net_fix_points"]) == (1.0, -50.0)
    control = found["retry_1", "all"]
    assert (control["arm"], control["n_fixed"], control["control_round"], control["net_fix_points"]) == (
        "control",
        2,
        None,
        None,
    )
    assert set(found) == {(r, i) for r in ("feedback_1", "retry_1") for i in (*IMPORTANCE.values(), "all")}


def test_where_nothing_is_known_there_is_no_rate(benchmark: Benchmark) -> None:
    unknown: Marks = dict.fromkeys(IMPORTANCE)
    tries: Tries = {("agent_alone", "j1"): BEFORE, ("feedback_1", "j1"): unknown}
    row = transitions(benchmark, outcomes(tries, {"j1": None}))["feedback_1", "all"]
    assert (row["n_criteria"], row["n_known"], row["n_unknown_after"], row["n_incomplete_after"]) == (4, 0, 4, 0)
    rates = [
        c for c in row if c.endswith(("_rate", "_lo", "_hi", "_points", "_share")) or c in ("pass_before", "pass_after")
    ]
    assert len(rates) > 20
    assert {c: row[c] for c in rates} == dict.fromkeys(rates)


def test_a_try_whose_first_work_is_not_known_counts_as_unknown_before(benchmark: Benchmark) -> None:
    rows = outcomes({("feedback_1", "j1"): AFTER}, {"j1": None})
    row = transitions(benchmark, rows)["feedback_1", "all"]
    assert (row["n_unknown_before"], row["n_known"]) == (4, 0)


def test_the_work_that_was_gone_on_from_counts_even_if_it_was_superseded(benchmark: Benchmark) -> None:
    rows = outcomes({("agent_alone", "j1"): BEFORE, ("feedback_1", "j1"): AFTER}, {"j1": None})
    rows[0]["is_current"] = False
    newer = told(dict.fromkeys(IMPORTANCE, True), attempt_id="newer", round="agent_alone", job_id="j1")
    row = transitions(benchmark, [*rows, newer])["feedback_1", "all"]
    assert (row["n_fixed"], row["n_broken"], row["n_still_failed"]) == (1, 1, 1)


def test_a_near_miss_is_told_by_the_importance_of_its_only_failure(benchmark: Benchmark) -> None:
    passed = dict.fromkeys(IMPORTANCE, True)
    tries: Tries = {
        ("agent_alone", "j1"): passed | {"c3": False},
        ("feedback_1", "j1"): passed,  # complete: no near miss, and not among the incomplete
        ("agent_alone", "j2"): passed | {"c1": False, "c2": False},
        ("feedback_1", "j2"): passed | {"c1": False},
        ("agent_alone", "j3"): passed | {"c1": False, "c4": None},  # not known whether one or two
        ("feedback_1", "j3"): passed | {"c1": False, "c2": False},
    }
    found = transitions(benchmark, outcomes(tries, dict.fromkeys(("j1", "j2", "j3"))))
    near = {
        i: [
            found["feedback_1", i][c]
            for c in ("n_incomplete_before", "n_near_miss_before", "n_incomplete_after", "n_near_miss_after")
        ]
        for i in ("all", "critical", "important", "optional")
    }
    assert near == {"all": [2, 1, 2, 1], "critical": [2, 0, 2, 1], "important": [2, 0, 2, 0], "optional": [2, 1, 2, 0]}


# ---- which criteria an attempt passed


def test_lists_of_criteria_agree_with_the_counts_of_outcomes(world: Lake) -> None:
    counts = {r["attempt_id"]: r for r in world.read("attempt_outcomes").to_pylist()}
    rows = [
        r
        for model in (ALPHA, BETA)
        for r in engine.run(world, engine.query("criterion_outcomes"), {"cohort": COHORT, "model": model}).to_pylist()
    ]
    assert {r["attempt_id"] for r in rows} == set(counts)
    for r in rows:
        count = counts[r["attempt_id"]]
        assert r["n_criteria"] == count["n_criteria"]
        if count["outcome"] != "infra":
            assert (len(r["passes"]), len(r["passes"]) + len(r["fails"])) == (count["n_passed"], count["n_judged"])
        else:
            assert (r["passes"], r["fails"]) == ([], []), "what is nobody's fault is unknown"
    empty = [r for r in rows if r["attempt_id"] == f"{ALPHA} agent_alone good-4"]
    assert [(r["passes"], r["fails"]) for r in empty] == [([], ["c1", "c2", "c3"])], "no files: all are failed"


# ---- against a slow reading, and another implementation

mark = st.sampled_from([True, True, False, False, None])
marks = st.fixed_dictionaries(dict.fromkeys(IMPORTANCE, mark))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Tries, dict[str, str | None]]:
    jobs = [f"j{i}" for i in range(draw(st.integers(1, 6)))]
    clients = {job: draw(st.sampled_from(["a", "b", None])) for job in jobs}
    tries: Tries = {}
    for job in jobs:
        tries["agent_alone", job] = draw(marks)
        for round_ in draw(st.sets(st.sampled_from(["feedback_1", "retry_1"]))):
            tries[round_, job] = draw(marks)
        if ("feedback_1", job) in tries and draw(st.booleans()):
            tries["feedback_2", job] = draw(marks)
    return tries, clients


def effective(values: list[float], clients: list[str]) -> float:
    """The effective number of values of 0 and 1, with statsmodels' cluster-robust error of their mean."""
    n, mean, groups = len(values), float(np.mean(values)), np.unique(clients, return_inverse=True)[1]
    sizes = np.bincount(groups).astype(float)
    if len(sizes) < 2 or mean in (0, 1):
        return float(sizes.sum() ** 2 / (sizes**2).sum())
    fit = sm.OLS(np.array(values), np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    variance = float(fit.cov_params()[0, 0])
    plain = n if variance < 1e-18 else min(n, mean * (1 - mean) * n / (n - 1) / variance)
    return plain * float(stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, len(sizes) - 1)) ** 2


def interval(values: list[float], clients: list[str]) -> list[float | None]:
    if not values:
        return [None, None, None]
    size, mean = effective(values, clients), float(np.mean(values))
    lo, hi = proportion_confint(mean * size, size, method="wilson")
    return [mean, 0.0 if mean == 0 else float(lo), 1.0 if mean == 1 else float(hi)]


def paired(first: list[float], second: list[float], clients: list[str]) -> list[float | None]:
    """second less first in points, with Newcombe's interval over counts that are scaled for clusters."""
    if not first:
        return [None, None, None]
    a, b = np.array(first), np.array(second)
    gap, n, groups = b - a, len(a), np.unique(clients, return_inverse=True)[1]
    sizes = np.bincount(groups).astype(float)
    if len(sizes) < 2 or not np.any(gap) or abs(gap.sum()) == n:
        scale = float(sizes.sum() ** 2 / (sizes**2).sum()) / n
    else:
        fit = sm.OLS(gap, np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": groups})
        clustered, simple = float(fit.cov_params()[0, 0]), float(np.var(gap)) / (n - 1)
        scale = 1.0 if clustered < 1e-18 else min(1.0, simple / clustered)
        scale *= float(stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, len(sizes) - 1)) ** 2
    counts = [np.array([scale * float(np.sum((b == x) & (a == y)))]) for x, y in ((1, 1), (1, 0), (0, 1), (0, 0))]
    lo, hi = newcombe(*counts)
    return [100 * float(gap.mean()), 100 * float(lo[0]), 100 * float(hi[0])]


@settings(derandomize=True, deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=worlds())
def test_counts_rates_and_intervals_follow_the_definitions(
    benchmark: Benchmark, drawn: tuple[Tries, dict[str, str | None]]
) -> None:
    tries, clients = drawn
    found = transitions(benchmark, outcomes(tries, clients))
    afters = {"feedback_1": "agent_alone", "retry_1": "agent_alone", "feedback_2": "feedback_1"}
    expected = set()
    for round_, after in afters.items():
        jobs = [job for r, job in tries if r == round_]
        for importance in (*IMPORTANCE.values(), "all") if jobs else ():
            expected.add((round_, importance))
            row = found[round_, importance]
            asked = [c for c, i in IMPORTANCE.items() if importance in (i, "all")]
            both = [
                (
                    str(clients[j] or f"job {j}"),
                    tries[after, j][c],
                    tries[round_, j][c],
                    tries.get(("retry_1", j), {}).get(c),
                )
                for j in jobs
                for c in asked
            ]
            known = [(k, b, n) for k, b, n, _ in both if b is not None and n is not None]
            assert row["n_criteria"] == len(jobs) * len(asked)
            assert row["n_known"] == len(known)
            assert row["n_unknown_before"] == sum(b is None for _, b, _, _ in both)
            fixes = [(k, float(n)) for k, b, n in known if not b]
            breaks = [(k, float(not n)) for k, b, n in known if b]
            names = [k for k, _, _ in known]
            was, now = [float(b) for _, b, _ in known], [float(n) for _, _, n in known]
            net = [(k, float(o), float(n)) for k, b, n, o in both if b is False and n is not None and o is not None]
            net = net if round_ == "feedback_1" else []
            for columns, direct in (
                (("fix_rate", "fix_lo", "fix_hi"), interval([v for _, v in fixes], [k for k, _ in fixes])),
                (
                    ("regression_rate", "regression_lo", "regression_hi"),
                    interval([v for _, v in breaks], [k for k, _ in breaks]),
                ),
                (("pass_before", "pass_before_lo", "pass_before_hi"), interval(was, names)),
                (("pass_after", "pass_after_lo", "pass_after_hi"), interval(now, names)),
                (("change_points", "change_lo", "change_hi"), paired(was, now, names)),
                (
                    ("net_fix_points", "net_fix_lo", "net_fix_hi"),
                    paired([o for _, o, _ in net], [n for _, _, n in net], [k for k, _, _ in net]),
                ),
            ):
                for column, value in zip(columns, direct, strict=True):
                    close = (
                        1e-9
                        if value is None or not column.endswith(("change_lo", "change_hi", "net_fix_lo", "net_fix_hi"))
                        else 1e-7
                    )
                    assert row[column] == (None if value is None else pytest.approx(value, abs=close)), column
    assert set(found) == expected


def test_intervals_cover_where_criteria_of_a_job_stand_and_fall_together() -> None:
    for jobs in (33, 91):
        found = coverage_criteria.coverage(jobs, 400)
        assert all(0.925 <= held <= 0.985 for held, _ in found.values()), found
        for figure in ("fix_rate", "pass_after", "change"):
            held, naive = found[figure]
            assert naive < held - 0.05, "criteria taken as independent would claim too much"
