"""Figures over repeated attempts: against slow direct code, statsmodels, and by simulation."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.sandwich_covariance import cov_cluster

from hapi_pipeline.checks import reconcile
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark, Registry
from hapi_pipeline.repeatability import repeatability
from hapi_pipeline.stats import repeats
from hapi_pipeline.tables import TABLES
from tests import scenario
from tests.scenario import ALPHA, COHORT

OUTCOMES = st.lists(st.booleans(), min_size=1, max_size=6)
WORLDS = st.lists(OUTCOMES, min_size=1, max_size=12)


def histogram(jobs: Sequence[Sequence[bool]]) -> Counter[tuple[int, int]]:
    return Counter((len(outcomes), sum(outcomes)) for outcomes in jobs)


def share_of_draws(outcomes: Sequence[bool], k: int, ok: Callable[[Sequence[bool]], bool]) -> float:
    """Over every way to take k of the attempts, one after the other."""
    return statistics.fmean(ok(draw) for draw in itertools.combinations(outcomes, k))


@settings(deadline=None, derandomize=True)
@given(WORLDS, st.integers(1, 6))
def test_pass_hat_and_pass_at_are_shares_of_all_draws(jobs: list[list[bool]], k: int) -> None:
    for mean, ok in ((repeats.mean_pass_hat, all), (repeats.mean_pass_at, any)):
        each = [share_of_draws(outcomes, k, ok) for outcomes in jobs if len(outcomes) >= k]
        found = mean(histogram(jobs), k)
        assert found.n == len(each)
        if not each:
            assert found == repeats.Mean(0)
            continue
        assert found.value is not None
        assert found.value == pytest.approx(statistics.fmean(each), abs=1e-9)
        assert found.se == (
            None if len(each) < 2 else pytest.approx(statistics.stdev(each) / len(each) ** 0.5, abs=1e-9)
        )
        assert found.lo is not None
        assert found.hi is not None
        assert 0 <= found.lo <= found.value <= found.hi <= 1


@settings(deadline=None, derandomize=True)
@given(WORLDS)
def test_the_rate_and_its_noise_are_those_of_slow_code(jobs: list[list[bool]]) -> None:
    shares = [statistics.fmean(outcomes) for outcomes in jobs]
    found = repeats.mean_rate(histogram(jobs))
    assert found.value == pytest.approx(statistics.fmean(shares), abs=1e-9)
    assert repeats.mean_rate(histogram(jobs)) == repeats.mean_pass_hat(histogram(jobs), 1)
    noise = repeats.noise(histogram(jobs))
    variances = [statistics.variance(map(float, outcomes)) for outcomes in jobs if len(outcomes) > 1]
    if not variances:
        assert noise == repeats.Noise()
        return
    within = statistics.fmean(variances)
    assert noise.within == pytest.approx(within, abs=1e-9)
    if len(jobs) < 2:
        assert noise.jobs is None
        return
    explained = within * statistics.fmean(1 / len(outcomes) for outcomes in jobs)
    assert noise.jobs == pytest.approx(max(statistics.variance(shares) - explained, 0), abs=1e-9)


@given(st.integers(2, 400), st.data())
def test_with_one_attempt_a_job_it_is_wilsons_interval_over_the_jobs(n: int, data: st.DataObject) -> None:
    x = data.draw(st.integers(0, n))
    found = repeats.mean_rate({kind: many for kind, many in (((1, 1), x), ((1, 0), n - x)) if many})
    assert found.n_eff == n
    assert (found.lo, found.hi) == pytest.approx(proportion_confint(x, n, method="wilson"), abs=1e-9)


def test_four_equal_attempts_tell_no_more_than_one_and_unlike_ones_more() -> None:
    alike, mixed = repeats.mean_rate({(4, 4): 10, (4, 0): 10}), repeats.mean_rate({(4, 2): 20})
    assert alike.n_eff == 20
    assert mixed.n_eff is not None
    assert 20 < mixed.n_eff < 80, "never more than all attempts"
    assert repeats.noise({(4, 4): 10, (4, 0): 10}).within == 0
    assert repeats.noise({(4, 2): 20}).jobs == 0
    assert repeats.mean_rate({(5, 0): 9}).hi == pytest.approx(proportion_confint(0, 9, method="wilson")[1])
    lone = repeats.mean_rate({(4, 2): 1})
    assert (lone.value, lone.se, lone.n_eff) == (0.5, None, 1.0)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3), st.booleans()), min_size=4, max_size=40))
def test_the_two_way_error_is_that_of_statsmodels(items: list[tuple[int, int, bool]]) -> None:
    """Each item is an attempt: its job, its grader, whether it is complete."""
    size = Counter(job for job, _, _ in items)
    weights = np.array([1 / size[job] / len(size) for job, _, _ in items])
    outcome = np.array([float(complete) for *_, complete in items])
    rate = float(weights @ outcome)
    keys = [np.array([hash_of(item) for item in items]) for hash_of in (_job, _grader, _both)]
    groups = [np.unique(key, return_inverse=True)[1] for key in keys]
    shares = []
    for group in groups:
        sums = zip(np.bincount(group, weights * outcome), np.bincount(group, weights), strict=True)
        shares.append([((float(a), float(b)), 1) for a, b in sums])
    found = repeats.two_way_se(rate, *shares)
    if min(len(set(group)) for group in groups[:2]) < 2:
        assert found is None
        return
    fitted = sm.WLS(outcome, np.ones_like(outcome), weights=weights).fit()
    parts = []
    for group in groups:
        n = len(set(group))
        parts.append(float(cov_cluster(fitted, group, use_correction=False)[0, 0]) * n / (n - 1))
    both = parts[0] + parts[1] - parts[2]
    assert found is not None
    assert found**2 == pytest.approx(max(both, parts[0]), abs=1e-9)


def _job(item: tuple[int, int, bool]) -> int:
    return item[0]


def _grader(item: tuple[int, int, bool]) -> int:
    return item[1]


def _both(item: tuple[int, int, bool]) -> int:
    return item[0] * 10 + item[1]


def test_the_interval_holds_the_truth_where_pooled_attempts_do_not() -> None:
    """322 jobs × 5 attempts whose chances are Beta(.6, 1): 3,000 worlds, seeded."""
    dice, jobs, tries, worlds = np.random.default_rng(2026), 322, 5, 3000
    truth = 0.6 / 1.6
    completed = dice.binomial(tries, dice.beta(0.6, 1, (worlds, jobs)))
    own = pooled = 0
    for row in completed:
        kinds = Counter((tries, int(c)) for c in row)
        found = repeats.mean_rate(kinds)
        assert found.lo is not None
        assert found.hi is not None
        own += found.lo <= truth <= found.hi
        low, high = proportion_confint(row.sum(), jobs * tries, method="wilson")
        pooled += low <= truth <= high
    assert 0.935 <= own / worlds <= 0.965
    assert pooled / worlds < 0.85


def test_the_parts_of_the_noise_are_found_again() -> None:
    dice, truth = np.random.default_rng(7), 0.6 / 1.6
    chances = dice.beta(0.6, 1, 40_000)
    found = repeats.noise(Counter((3, int(c)) for c in dice.binomial(3, chances)))
    variance = 0.6 / (1.6**2 * 2.6)
    assert found.jobs == pytest.approx(variance, abs=0.004)
    assert found.within == pytest.approx(truth * (1 - truth) - variance, abs=0.004)


# ---- the table


@st.composite
def attempts(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Attempts at up to five jobs: what came of each, and who judged it."""
    rows = []
    for job in range(draw(st.integers(1, 5))):
        for sample in range(1, draw(st.integers(1, 5)) + 1):
            outcome = draw(st.sampled_from(["complete", "failed", "failed", "pending", "infra", "no files"]))
            graders = draw(st.lists(st.sampled_from(["ann", "bob", "cy"]), unique=True, min_size=1, max_size=2))
            silent = outcome in ("infra", "no files")
            rows.append({"job": job, "sample": sample, "outcome": outcome, "graders": [] if silent else graders})
    return rows


def written(lake: Lake, rows: list[dict[str, Any]]) -> None:
    """The rows as the tables that repeatability reads."""
    outcomes, grades = [], []
    for row in rows:
        complete = {"complete": True, "failed": False, "no files": False}.get(row["outcome"])
        outcome = "graded" if complete is not None else row["outcome"]
        named = {
            "attempt_id": f"at {row['job']} {row['sample']}", "cohort": COHORT, "model": ALPHA, "round": "agent_alone",
            "job_id": f"j{row['job']}", "simulated": False, "n_criteria": 1, "n_passed": 0,
        }  # fmt: skip
        outcomes.append(
            named | {"sample": row["sample"], "n_judged": 1, "all_criteria": complete, "required_criteria": complete,
                     "outcome": outcome, "disagreement": False, "near_miss": False}
        )  # fmt: skip
        grades += [
            named | {"grader": who, "grader_role": "grader", "n_graders": len(row["graders"]), "n_answered": 1,
                     "n_failed": 0}
            for who in row["graders"]
        ]  # fmt: skip
    cell = {"cohort": COHORT, "model": ALPHA}
    lake.write("attempt_outcomes", scenario.table_of("attempt_outcomes", outcomes), cell)
    lake.write("grades", scenario.table_of("grades", grades), cell)


@settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=attempts())
def test_the_table_is_what_a_slow_reading_gives(
    rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory, registry: Registry
) -> None:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    written(lake, rows)
    found = [r for r in repeatability(lake, registry, {}).to_pylist() if r["rule"] == "required_criteria"]
    known: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if row["outcome"] not in ("pending", "infra"):
            known.setdefault(row["job"], []).append(row)
    tries = {job: [row["outcome"] == "complete" for row in some] for job, some in known.items()}
    sizes = [len(outcomes) for outcomes in tries.values()]
    assert [r["k"] for r in found] == list(range(1, max(sizes, default=1) + 1))
    counted = Counter(row["outcome"] for row in rows)
    for r in found:
        assert (r["n_jobs"], r["n_jobs_graded"], r["n_attempts"], r["n_graded"], r["n_pending"], r["n_infra"]) == (
            len({row["job"] for row in rows}), len(tries), len(rows), sum(sizes), counted["pending"], counted["infra"],
        )  # fmt: skip
        assert (r["n_completed"], r["n_jobs_repeated"]) == (counted["complete"], sum(size > 1 for size in sizes))
        if not tries:
            figures = [
                name for name in TABLES["repeatability"].names if name.split("_")[0] in ("rate", "pass", "bound")
            ]
            assert {r[name] for name in figures} == {None}
            continue
        chosen = [outcomes for outcomes in tries.values() if len(outcomes) >= r["k"]]
        assert r["n_jobs_k"] == len(chosen)
        assert r["pass_hat_k"] == pytest.approx(
            statistics.fmean(share_of_draws(outcomes, r["k"], all) for outcomes in chosen), abs=1e-9
        )
        assert r["rate"] == pytest.approx(statistics.fmean(map(statistics.fmean, tries.values())), abs=1e-9)
        every = [[row["outcome"] for row in rows if row["job"] == job] for job in {row["job"] for row in rows}]
        for end, good in (("bound_lo", {"complete"}), ("bound_hi", {"complete", "pending", "infra"})):
            assert r[end] == pytest.approx(
                statistics.fmean(statistics.fmean(o in good for o in some) for some in every), abs=1e-9
            )
    if tries:
        _same_two_way(found[0], known)


def _same_two_way(found: dict[str, Any], known: dict[int, list[dict[str, Any]]]) -> None:
    """The error by job and grader, from one row a voice."""
    voices = [
        (job, who, (row["outcome"] == "complete"), 1 / (len(known) * len(some) * max(len(row["graders"]), 1)))
        for job, some in known.items()
        for row in some
        for who in (row["graders"] or [f"nobody {job}"])
    ]
    named = {who for _, who, *_ in voices if not who.startswith("nobody")}
    assert found["n_graders"] == len(named)
    if len(named) < 2 or len(known) < 2:
        assert found["rate_se_graders"] is None
        return
    total = 0.0
    parts = []
    for key, sign in ((0, 1), (1, 1), (None, -1)):
        sums: dict[Any, float] = {}
        for voice in voices:
            group = voice[:2] if key is None else voice[key]
            sums[group] = sums.get(group, 0.0) + voice[3] * (voice[2] - found["rate"])
        parts.append(len(sums) / (len(sums) - 1) * sum(s * s for s in sums.values()))
        total += sign * parts[-1]
    assert found["rate_se_graders"] == pytest.approx(math.sqrt(max(total, parts[0])), abs=1e-9)
    assert found["rate_se_graders"] >= found["rate_se"] - 1e-12


def test_disagreement_is_unknown_and_adjudication_ends_it(lake: Lake, registry: Registry, benchmark: Benchmark) -> None:
    """Two graders of the second sample differ; then a third person decides."""
    keys = {"cohort": COHORT, "model": ALPHA, "round": "agent_alone"}
    lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", [
        scenario.post("j1") | {"rubric_version": "r1", "n_criteria": 1}]), scenario.SCOPE)  # fmt: skip
    lake.write("rubrics", scenario.table_of("rubrics", [
        scenario.criterion("j1", "c1", "critical") | {"cohort": COHORT}]), scenario.SCOPE)  # fmt: skip
    tries = [scenario.attempt(ALPHA, "agent_alone", "j1", sample=s, attempt_id=f"at {s}") for s in (1, 2)]
    lake.write("attempts", scenario.table_of("attempts", tries), keys)
    votes = [("at 1", "ann", True), ("at 1", "bob", True), ("at 2", "ann", True), ("at 2", "bob", False)]
    said = [
        scenario.verdict(at, ALPHA, "agent_alone", "j1", ("c1", who, passed), n)
        for n, (at, who, passed) in enumerate(votes)
    ]
    found = []
    for more in ([], [scenario.verdict("at 2", ALPHA, "agent_alone", "j1", ("c1", "judge", True), 9)]):
        lake.write("verdicts", scenario.table_of("verdicts", said + more), keys)
        for table in ("attempt_outcomes", "grades"):
            scenario.make(lake, benchmark, table, {"cohort": COHORT, "model": ALPHA})
        found.append([r for r in repeatability(lake, registry, {}).to_pylist() if r["rule"] == "all_criteria"])
    (before,), after = found
    assert (before["n_attempts"], before["n_graded"], before["n_pending"]) == (2, 1, 1)
    assert (before["rate"], before["bound_lo"], before["bound_hi"]) == (1.0, 0.5, 1.0)
    assert [(r["k"], r["pass_hat_k"], r["n_pending"], r["n_graders"]) for r in after] == [
        (1, 1.0, 0, 2),
        (2, 1.0, 0, 2),
    ]


@pytest.mark.parametrize(
    "fault",
    [
        {"n_pending": 1},
        {"n_completed": 9},
        {"n_jobs_k": 7},
        {"rate": None},
        {"n_jobs_k": 0},
        {"rate_hi": 0.01},
        {"pass_hat_lo": 0.99},
        {"pass_hat_k": 0.9, "pass_hat_hi": 1.0},
        {"rate_se_graders": 0.0},
    ],
)
def test_figures_that_do_not_follow_from_their_counts_are_found(
    lake: Lake, registry: Registry, fault: dict[str, Any]
) -> None:
    outcomes = {0: "complete complete failed", 1: "failed complete", 2: "failed failed"}
    attempts = [
        {"job": job, "sample": sample, "outcome": outcome, "graders": ["ann" if sample < 2 else "bob"]}
        for job, said in outcomes.items()
        for sample, outcome in enumerate(said.split(), 1)
    ]
    written(lake, attempts)
    rows = repeatability(lake, registry, {}).to_pylist()
    lake.write("repeatability", scenario.table_of("repeatability", rows), {})
    assert reconcile.violations(lake, reconcile.REPEATS, ["repeatability"]) == []
    lake.write("repeatability", scenario.table_of("repeatability", [rows[0], rows[1] | fault, *rows[2:]]), {})
    assert len(reconcile.violations(lake, reconcile.REPEATS, ["repeatability"])) == 1
