"""The SQL of the results: against a hand-made world, and against a slow reading of the definitions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from hapi_pipeline import engine
from hapi_pipeline.lake import Lake
from hapi_pipeline.parameters import constant_relations, query_parameters
from hapi_pipeline.registry import Benchmark
from hapi_pipeline.rounds import ROUND, ROUNDS
from tests import scenario
from tests.scenario import ALPHA, BETA, COHORT, COUNTS

CELL = {"cohort": COHORT, "model": ALPHA}
RULES = ("all_criteria", "required_criteria")


def rows(lake: Lake, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lake.read(table).to_pylist()
    return found


def test_outcomes_are_those_worked_out_by_hand(world: Lake) -> None:
    assert {
        (r["model"], r["round"], r["job_id"]): (
            r["outcome"],
            r["all_criteria"],
            r["required_criteria"],
            r["n_passed"],
            r["disagreement"],
            r["near_miss"],
        )
        for r in rows(world, "attempt_outcomes")
    } == scenario.OUTCOMES


def test_counts_are_those_worked_out_by_hand(world: Lake) -> None:
    found: dict[tuple[str, str, str], dict[str, tuple[int, ...]]] = {}
    for r in rows(world, "completion_rates"):
        found.setdefault((r["model"], r["round"], r["rule"]), {})[r["category"]] = tuple(r[c] for c in COUNTS)
    assert found == scenario.RATES


def test_a_cell_without_graded_jobs_has_no_rate_but_has_its_bounds(world: Lake) -> None:
    bare = [r for r in rows(world, "completion_rates") if r["n_graded"] == 0]
    assert bare
    for r in bare:
        assert (r["rate"], r["rate_lo"], r["rate_hi"], r["rate_graded"]) == (None, None, None, None)
        assert (r["bound_lo"], r["bound_hi"]) == (0.0, 1.0)


def test_rates_and_bounds_follow_from_the_counts(world: Lake) -> None:
    for r in (r for r in rows(world, "completion_rates") if r["n_graded"]):
        n, x = r["n_eligible"], r["n_completed"]
        assert r["rate"] == x / n
        assert r["rate_graded"] == x / r["n_graded"]
        assert (r["bound_lo"], r["bound_hi"]) == (x / n, (x + n - r["n_graded"]) / n)
        assert r["rate_lo"] <= r["rate"] <= r["rate_hi"]


@pytest.mark.parametrize(("table", "by"), [("leaderboard", ()), ("category_rates", ("category",))])
def test_coarser_tables_are_sums(world: Lake, table: str, by: tuple[str, ...]) -> None:
    summed: dict[tuple[str, ...], list[int]] = {}
    for r in rows(world, "completion_rates"):
        key = tuple(r[k] for k in ("model", "round", "rule", *by))
        summed[key] = [a + r[c] for a, c in zip(summed.get(key, [0] * len(COUNTS)), COUNTS, strict=True)]
    assert summed == {
        tuple(r[k] for k in ("model", "round", "rule", *by)): [r[c] for c in COUNTS]
        for r in rows(world, table)
        if r["window"] == "all"
    }


def test_the_leaderboard_ranks_by_rate_and_counts_what_every_attempt_on_the_path_cost(world: Lake) -> None:
    board = {(r["model"], r["round"], r["rule"]): r for r in rows(world, "leaderboard") if r["window"] == "all"}
    first = {m: board[m, "agent_alone", "required_criteria"] for m in (ALPHA, BETA)}
    assert (first[ALPHA]["n_completed"], first[BETA]["n_completed"]) == (3, 1)
    assert (first[ALPHA]["rank"], first[BETA]["rank"]) == (1, 2)
    assert (first[ALPHA]["n_attempts"], first[ALPHA]["cost_usd"]) == (4, pytest.approx(1.0))
    later = board[ALPHA, "feedback_1", "required_criteria"]
    assert (later["n_attempts"], later["cost_usd"]) == (6, pytest.approx(1.25))
    assert (first[ALPHA]["cohorts"], first[ALPHA]["first_cohort"], first[ALPHA]["last_cohort"]) == (
        1,
        COHORT,
        COHORT,
    )


def test_ties_share_a_rank(world: Lake) -> None:
    alone = [
        r
        for r in rows(world, "leaderboard")
        if (r["window"], r["round"], r["rule"]) == ("all", "agent_alone", "all_criteria")
    ]
    assert [(r["n_completed"], r["rank"]) for r in alone] == [(1, 1), (1, 1)]


def test_the_lift_of_a_second_try_is_over_the_same_jobs(world: Lake) -> None:
    lift = {(r["model"], r["rule"]): r for r in rows(world, "feedback_lift") if r["window"] == "all"}
    alpha = lift[ALPHA, "all_criteria"]
    assert (alpha["n_eligible"], alpha["n_before"], alpha["n_failed_before"]) == (4, 1, 2)
    assert (alpha["n_retried"], alpha["n_rescued"], alpha["n_completed"]) == (1, 0, 1)
    assert (alpha["lift_points"], alpha["rescue_of_retried"], alpha["rescue_of_failed"]) == (0.0, 0.0, 0.0)
    beta = lift[BETA, "all_criteria"]
    assert (beta["n_retried"], beta["rescue_of_retried"], beta["rescue_lo"]) == (0, None, None)


def test_the_overview_counts_the_jobs_of_the_benchmark(world: Lake) -> None:
    found = rows(world, "dataset_overview")
    overview = {r["category"]: r for r in found if r["cohort"] == COHORT}
    assert {c: r["n_jobs"] for c, r in overview.items()} == {"Writing": 2, "Data": 1, "unknown": 1, "(all)": 4}
    # with one month, all months are this one
    assert [r | {"cohort": COHORT} for r in found if r["cohort"] == "(all)"] == list(overview.values())
    assert overview["(all)"]["price_p10"] == pytest.approx(12.5 + 0.3 * 37.5)  # of 12.5, 50, 100, 499.99
    assert overview["(all)"]["price_p90"] == pytest.approx(100 + 0.7 * 399.99)
    assert (overview["(all)"]["n_clients"], overview["(all)"]["share_10_200"]) == (4, 0.75)
    assert (overview["Writing"]["price_min"], overview["Writing"]["price_max"]) == (100.0, 499.99)
    assert overview["Writing"]["share_10_200"] == 0.5
    assert overview["Data"]["criteria_mean"] == 3.0


def test_a_verdict_on_an_older_rubric_or_by_a_superseded_hand_does_not_count(lake: Lake) -> None:
    one = attempt_rows({("agent_alone", "j1"): [("c1", "ann", True)]}, rubric_version="r0")
    assert outcome(lake, one)["outcome"] == "pending"
    one = attempt_rows({("agent_alone", "j1"): [("c1", "ann", True)]}, is_current=False)
    assert outcome(lake, one)["outcome"] == "pending"


def test_what_a_simulated_grader_says_is_marked_simulated(lake: Lake) -> None:
    one = attempt_rows({("agent_alone", "j1"): [("c1", "ann", True)]})
    assert outcome(lake, one)["simulated"] is False
    assert outcome(lake, attempt_rows({("agent_alone", "j1"): [("c1", "ann", True)]}, simulated=True))["simulated"]


def test_an_attempt_without_files_is_complete_under_no_rule(lake: Lake) -> None:
    jobs, _, fates, changes = attempt_rows({("agent_alone", "j1"): "no files"})
    found = outcome(lake, (jobs, {"c1": "optional"}, fates, changes))
    assert (found["outcome"], found["all_criteria"], found["required_criteria"]) == ("graded", False, False)


def test_adjudicators_who_disagree_leave_it_unknown(lake: Lake) -> None:
    votes: Fate = [("c1", "ann", True), ("c1", "judge", True), ("c1", "judge", False)]
    found = outcome(lake, attempt_rows({("agent_alone", "j1"): votes}))
    assert (found["outcome"], found["all_criteria"], found["disagreement"]) == ("pending", None, True)


def test_the_newest_verdict_of_each_grader_is_current(lake: Lake) -> None:
    votes: list[scenario.Vote] = [
        ("c1", "ann", True),
        ("c1", "Ann", False),  # the same person, typed by hand another time
        ("c1", "bob", True),
        ("c1", "ann", None),
    ]
    attempts = scenario.table_of("attempts", [scenario.attempt(ALPHA, "agent_alone", "j1", cohort="2026-04")])
    # numbers run backwards: the first one listed is the latest
    exports = [
        scenario.verdict(f"{ALPHA} agent_alone j1", ALPHA, "agent_alone", "j1", vote, 9 - i)
        for i, vote in enumerate(votes)
    ]
    relations = {"attempts": attempts, "verdict_exports": scenario.table_of("verdict_exports", exports)}
    found = engine.run(lake, engine.query("verdicts"), {}, {}, relations).to_pylist()
    assert {(v["grader"], v["passed"]) for v in found if v["is_current"]} == {("ann", True), ("bob", True)}
    assert {v["cohort"] for v in found} == {"2026-04"}, "a verdict follows its job to another month"


# ---- Wilson


def wilson(pairs: Sequence[tuple[int, int]]) -> list[tuple[float | None, float | None]]:
    with engine.connect() as connection:
        connection.register(
            "pairs",
            pa.table({"i": range(len(pairs)), "x": [x for x, _ in pairs], "n": [n for _, n in pairs]}),
        )
        return connection.execute("SELECT wilson_lo(x, n), wilson_hi(x, n) FROM pairs ORDER BY i").fetchall()


def test_wilson_limits_are_those_of_statsmodels() -> None:
    pairs = [(x, n) for n in (*range(1, 61), 322, 5000, 10**6) for x in {0, 1, n // 3, n // 2, n - 1, n}]
    for (x, n), (lo, hi) in zip(pairs, wilson(pairs), strict=True):
        expected = proportion_confint(x, n, alpha=0.05, method="wilson")
        assert [lo, hi] == pytest.approx(list(expected), abs=1e-9), (x, n)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 10**9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1))
def test_wilson_limits_hold_the_share_and_stay_within_zero_and_one(pairs: list[tuple[int, int]]) -> None:
    for (x, n), (lo, hi) in zip(pairs, wilson(pairs), strict=True):
        assert lo is not None
        assert hi is not None
        assert 0 <= lo <= x / n <= hi <= 1
        assert [lo, hi] == pytest.approx(list(proportion_confint(x, n, method="wilson")), abs=1e-9)


def test_there_is_no_interval_of_nothing() -> None:
    assert wilson([(0, 0)]) == [(None, None)]


# ---- against a slow reading of the definitions

Fate = str | list[scenario.Vote]
World = tuple[dict[str, str | None], dict[str, str], dict[tuple[str, str], Fate]]


def attempt_rows(fates: Mapping[tuple[str, str], Fate], **changes: Any) -> tuple[Any, ...]:
    """A world of one job with one criterion; `changes` go into its verdicts."""
    return {"j1": "A"}, {"c1": "critical"}, dict(fates), changes


def relations_of(world: Any) -> dict[str, pa.Table]:
    jobs, criteria, fates, *changes = world
    attempts, verdicts = [], []
    for (round_, job), fate in fates.items():
        attempts.append(scenario.attempt(ALPHA, round_, job, **scenario._fate(fate)))
        if not isinstance(fate, str):
            verdicts += [
                scenario.verdict(
                    f"{ALPHA} {round_} {job}",
                    ALPHA,
                    round_,
                    job,
                    vote,
                    number,
                    **(changes[0] if changes else {}),
                )
                for number, vote in enumerate(fate)
            ]
    posts = [
        scenario.post(job, category=category) | {"rubric_version": "r1", "n_criteria": len(criteria)}
        for job, category in jobs.items()
    ]
    rubrics = [
        scenario.criterion(job, c, importance) | {"cohort": COHORT}
        for job in jobs
        for c, importance in criteria.items()
    ]
    return {
        name: scenario.table_of(name, rows)
        for name, rows in (
            ("attempts", attempts),
            ("verdicts", verdicts),
            ("benchmark_jobs", posts),
            ("rubrics", rubrics),
        )
    }


def outcome(lake: Lake, world: Any) -> dict[str, Any]:
    (row,) = engine.run(lake, engine.query("attempt_outcomes"), CELL, {}, relations_of(world)).to_pylist()
    return dict(row)


def decided(votes: list[scenario.Vote]) -> bool | None:
    """What the graders of one criterion say together."""
    known = [(grader, passed) for _, grader, passed in votes if passed is not None]
    heard = [p for grader, p in known if grader == "judge"] or [p for _, p in known]
    return heard[0] if heard and len(set(heard)) == 1 else None


def completeness(fate: Fate, criteria: Mapping[str, str]) -> dict[str, bool | None]:
    """Whether an attempt is complete under each rule."""
    if fate == "infra":
        return dict.fromkeys(RULES)
    if isinstance(fate, str):
        return dict.fromkeys(RULES, False)
    votes = {c: [v for v in fate if v[0] == c] for c in criteria}
    if not all(votes.values()):
        return dict.fromkeys(RULES)
    answers = {c: decided(v) for c, v in votes.items()}
    required = {c: a for c, a in answers.items() if criteria[c] in ("critical", "important")}
    return {
        rule: False if False in found.values() else None if None in found.values() else True
        for rule, found in zip(RULES, (answers, required or answers), strict=True)  # none required: all are
    }


def counted(world: World) -> dict[tuple[str, str, str], dict[str, int]]:
    """completion_rates by the definitions of its columns, job by job."""
    jobs, criteria, fates = world
    complete = {key: completeness(fate, criteria) for key, fate in fates.items()}
    cells: dict[tuple[str, str, str], dict[str, int]] = {}
    for job, category in jobs.items():
        for this in ROUNDS:
            for rule in RULES:
                before = any(complete.get((r, job), {}).get(rule) for r in this.path[:-1])
                tried, now = (this.name, job) in fates, complete.get((this.name, job), {}).get(rule)
                infra = fates.get((this.name, job)) == "infra"
                cell = cells.setdefault((this.name, category or "unknown", rule), dict.fromkeys(COUNTS, 0))
                cell["n_eligible"] += 1
                cell["n_attempted"] += before or tried
                cell["n_unattempted"] += not before and not tried
                cell["n_infra"] += not before and infra
                cell["n_pending"] += not before and tried and not infra and now is None
                cell["n_graded"] += before or now is not None
                cell["n_completed"] += bool(before or now)
                cell["n_retried"] += not before and now is not None
                cell["n_rescued"] += not before and bool(now)
    return cells


@st.composite
def worlds(draw: st.DrawFn) -> World:
    jobs = {f"j{i}": draw(st.sampled_from(["A", "B", None])) for i in range(draw(st.integers(1, 4)))}
    criteria = {
        f"c{i}": draw(st.sampled_from(["critical", "important", "optional", "pitfall"]))
        for i in range(1, draw(st.integers(1, 3)) + 1)
    }
    vote = st.tuples(
        st.sampled_from(sorted(criteria)),
        st.sampled_from(["ann", "bob", "judge"]),
        st.sampled_from([True, True, False, None]),
    )
    # one verdict of a grader on a criterion is current; half of the attempts are judged on every criterion
    some = st.lists(vote, max_size=6, unique_by=lambda v: v[:2])
    full = st.tuples(*(st.sampled_from([True, True, True, False, None]) for _ in criteria)).map(
        lambda answers: [(c, "ann", a) for c, a in zip(criteria, answers, strict=True)]
    )
    fate = st.one_of(full, full, some, st.sampled_from(["infra", "no files"]))
    places = draw(
        st.sets(st.tuples(st.sampled_from([r.name for r in ROUNDS]), st.sampled_from(sorted(jobs))), max_size=12)
    )
    return jobs, criteria, {place: draw(fate) for place in sorted(places)}


@settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(world=worlds())
def test_rates_agree_with_a_direct_reading_of_the_definitions(lake: Lake, benchmark: Benchmark, world: World) -> None:
    everything = dataclasses.replace(benchmark, rounds=tuple(ROUND))
    given_ = relations_of(world) | constant_relations(everything)
    outcomes = engine.run(lake, engine.query("attempt_outcomes"), CELL, {}, given_)
    complete = {(o["round"], o["job_id"]): {rule: o[rule] for rule in RULES} for o in outcomes.to_pylist()}
    assert complete == {key: completeness(fate, world[1]) for key, fate in world[2].items()}
    given_ |= {"attempt_outcomes": outcomes}
    params = query_parameters(benchmark, dict(CELL))
    for table in ("job_states", "outcome_counts"):
        given_[table] = engine.run(lake, engine.query(table), CELL, params, given_)
    rates = engine.run(lake, engine.query("completion_rates"), CELL, CELL, given_).to_pylist()
    assert {(r["round"], r["category"], r["rule"]): {c: r[c] for c in COUNTS} for r in rates} == counted(world)
    for r in rates:
        assert r["n_eligible"] == r["n_graded"] + r["n_pending"] + r["n_infra"] + r["n_unattempted"]
        assert r["n_completed"] <= r["n_graded"]
        assert (r["rate"] is None) is (r["n_graded"] == 0)
