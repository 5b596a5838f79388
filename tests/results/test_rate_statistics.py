"""The statistics of the rates: every estimator of the SQL beside an independent one, the tables by a slow reading."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.duration.survfunc import SurvfuncRight
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.proportion import proportion_confint

from bench import coverage
from hapi_pipeline import engine
from hapi_pipeline.checks import reconcile
from hapi_pipeline.curation.whatif import band_names
from hapi_pipeline.lake import Lake
from hapi_pipeline.parameters import constant_relations, query_parameters
from hapi_pipeline.registry import Benchmark, Model, Registry, Results
from hapi_pipeline.settings import UserError
from hapi_pipeline.tables import TABLES
from tests import scenario

CLOSE: dict[str, Any] = {"rel": 1e-9, "abs": 1e-9}
QUICK = settings(
    derandomize=True,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
A_FEW = settings(QUICK, max_examples=5)  # of tests that look at five worlds at a time


def ask(expression: str, **values: Any) -> Any:
    """One expression of the project's SQL, for one set of values."""
    with engine.connect() as connection:
        named = ", ".join(f"${name} AS {name}" for name in values)
        rows = connection.execute(f"SELECT {expression} FROM (SELECT {named})", values).fetchall()
    return rows[0][0]


# ---- macros


def test_the_quantile_of_t_is_that_of_scipy() -> None:
    df = np.arange(1.0, 3000.0)
    found = coverage.macros({"df": df}, t="t975(df)")["t"]
    assert found == pytest.approx(stats.t.ppf(0.975, df), abs=1e-9)


clients = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=40)


def sums(jobs: Sequence[tuple[int, bool]]) -> dict[str, int]:
    """What the macros are given, from (client, complete) a job."""
    by_client = {c: [done for client, done in jobs if client == c] for c, _ in jobs}
    return {
        "c": len(by_client),
        "n": len(jobs),
        "x": sum(done for _, done in jobs),
        "dd": sum(sum(v) ** 2 for v in by_client.values()),
        "dj": sum(sum(v) * len(v) for v in by_client.values()),
        "jj": sum(len(v) ** 2 for v in by_client.values()),
    }


@QUICK
@given(clients)
def test_the_error_by_client_is_that_of_a_regression_on_nothing(jobs: list[tuple[int, bool]]) -> None:
    found = ask("cluster_se(c, n, x, dd, dj, jj)", **sums(jobs))
    if len({c for c, _ in jobs}) == 1:
        assert found is None
        return
    fitted = OLS([float(done) for _, done in jobs], np.ones(len(jobs))).fit(
        cov_type="cluster", cov_kwds={"groups": np.array([c for c, _ in jobs])}
    )
    assert found == pytest.approx(float(np.sqrt(fitted.cov_params()[0, 0])), **CLOSE)


@QUICK
@given(clients)
def test_the_effective_number_of_jobs(jobs: list[tuple[int, bool]]) -> None:
    given_ = sums(jobs)
    found, n, c, p = ask("effective_n(c, n, x, dd, dj, jj)", **given_), len(jobs), given_["c"], given_["x"] / len(jobs)
    assert 0 < found <= n + 1e-9
    if c == n:
        assert found == pytest.approx(n, **CLOSE)
    elif c == 1 or p in (0, 1):
        assert found == pytest.approx(n * n / given_["jj"], **CLOSE)
    else:
        variance = ask("cluster_se(c, n, x, dd, dj, jj)", **given_) ** 2
        alike = p * (1 - p) / (n - 1)  # the variance of as many independent jobs
        less = (stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, c - 1)) ** 2
        assert found == pytest.approx(n / max(1.0, variance / alike) * less, **CLOSE)


@QUICK
@given(st.integers(1, 5000), st.floats(0.01, 1))
def test_the_smallest_gap_solves_the_formula_for_the_size(n: int, psi: float) -> None:
    def jobs_needed(gap: float) -> float:
        share = max(psi, gap)  # models cannot differ by more than they disagree
        z, power = stats.norm.ppf(0.975), stats.norm.ppf(0.8)
        return float((z * math.sqrt(share) + power * math.sqrt(share - gap * gap)) ** 2 / gap**2)

    found = ask("smallest_gap(n, psi)", n=n, psi=psi)
    if jobs_needed(1.0) > n:
        assert found is None
    else:
        root = optimize.brentq(lambda gap: jobs_needed(gap) - n, 1e-6, 1, xtol=1e-14)
        assert found == pytest.approx(root, rel=1e-8)


@QUICK
@given(st.tuples(*[st.integers(0, 60)] * 4).filter(any))
def test_the_interval_of_a_paired_difference_is_newcombes(counts: tuple[int, int, int, int]) -> None:
    e, f, g, h = counts
    n = e + f + g + h
    lo, hi = (ask(f"{m}(e, f, g, h)", e=e, f=f, g=g, h=h) for m in ("paired_lo", "paired_hi"))
    (la, ha), (lb, hb) = (proportion_confint(x, n, method="wilson") for x in (e + f, e + g))
    a, b, cross = (e + f) / n, (e + g) / n, e * h - f * g
    margins = (e + f) * (g + h) * (e + g) * (f + h)
    phi = (max(cross - n / 2, 0) if cross > 0 else cross) / math.sqrt(margins) if margins else 0.0
    down = math.sqrt(max((a - la) ** 2 - 2 * phi * (a - la) * (hb - b) + (hb - b) ** 2, 0))
    up = math.sqrt(max((ha - a) ** 2 - 2 * phi * (ha - a) * (b - lb) + (b - lb) ** 2, 0))
    assert (lo, hi) == (pytest.approx(a - b - down, abs=1e-8), pytest.approx(a - b + up, abs=1e-8))


def test_newcombes_own_example() -> None:
    values = {"e": 36, "f": 12, "g": 2, "h": 0}
    assert ask("paired_lo(e, f, g, h)", **values) == pytest.approx(0.0569, abs=5e-5)
    assert ask("paired_hi(e, f, g, h)", **values) == pytest.approx(0.3404, abs=5e-5)
    assert ask("paired_lo(e, f, g, h)", e=0, f=0, g=0, h=0) is None


@pytest.mark.parametrize("edges", [[25.0, 50.0, 100.0, 200.0], [10.5], [0.99, 1000.0]])
def test_price_bands_have_the_names_that_what_if_gives_them(edges: list[float]) -> None:
    names = band_names(edges)
    inside = [edges[0] / 2, *(edge + 0.001 for edge in edges)]
    assert [ask("price_band(price, edges)", price=p, edges=edges) for p in inside] == list(names[:-1])
    assert [ask("price_band(price, edges)", price=p, edges=edges) for p in edges] == list(names[1:-1])
    assert ask("price_band(price, edges)", price=None, edges=edges) == names[-1]


@pytest.mark.parametrize(
    ("stated", "end"),
    [
        ("2026-02", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2025-12", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2024-02-28", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2026-13", None),
        ("2026-02-30", None),
        ("spring", None),
        (None, None),
    ],
)
def test_a_cutoff_ends_with_the_month_or_day_that_is_stated(stated: str | None, end: datetime | None) -> None:
    assert ask("cutoff_end(stated::VARCHAR)", stated=stated) == end


# ---- a world of states, worked out slowly

State = dict[str, Any]
PATHS = {"agent_alone": 0, "feedback_1": 1, "feedback_2": 2, "retry_1": 1}


def state(job: int | str, **changes: Any) -> State:
    return {
        "cohort": "2026-03",
        "model": "A",
        "round": "agent_alone",
        "rule": "all_criteria",
        "job_id": f"j{job}",
        "category": "Writing",
        "price_band": "$50 to $100",
        "price_usd": 60.0,
        "client_id": None,
        "after_cutoff": None,
        "complete_before": False,
        "failed_before": False,
        "state": "complete",
        "simulated": False,
    } | changes


def results(lake: Lake, benchmark: Benchmark, states: Sequence[State], *tables: str, **more: Any) -> dict[str, Any]:
    """Tables made from the states of jobs; `more` are other relations."""
    made = {"job_states": scenario.table_of("job_states", states)} | constant_relations(benchmark)
    jobs = {s["job_id"]: s for s in states}
    made["benchmark_jobs"] = pa.Table.from_pylist(
        [{k: s[k] for k in ("cohort", "job_id", "category", "price_usd")} for s in jobs.values()],
        schema=pa.schema(
            [
                (name, TABLES["benchmark_jobs"].schema().field(name).type)
                for name in ("cohort", "job_id", "category", "price_usd")
            ]
        ),
    )
    made |= {name: scenario.table_of(name, []) for name in ("model_comparisons", "attempts")} | more
    for table in ("outcome_counts", "window_rates", *tables):
        made[table] = engine.run(lake, engine.query(table), {}, query_parameters(benchmark, {}), made)
    return {name: made[name].to_pylist() for name in ("outcome_counts", "window_rates", *tables)}


jobs = st.builds(
    lambda cohort, category, price, client, after, fate: {
        "cohort": f"2025-{cohort:02d}",
        "category": category,
        "price_usd": price,
        "client_id": client,
        "after_cutoff": after,
        "state": fate,
    },
    st.integers(1, 12),
    st.sampled_from(["A", "B"]),
    st.sampled_from([12.5, 30.0, 75.25, 499.99]),
    st.sampled_from(["x", "y", "z", None]),
    st.sampled_from([True, False, None]),
    st.sampled_from(["complete", "complete", "failed", "failed", "pending", "infra", "unattempted"]),
)


@A_FEW
@given(drawn=st.lists(st.lists(jobs, min_size=1, max_size=20), min_size=5, max_size=5))
def test_window_rates_agree_with_a_slow_reading(lake: Lake, benchmark: Benchmark, drawn: list[list[State]]) -> None:
    bands = band_names(benchmark.selection.price_bands)
    edges = benchmark.selection.price_bands
    states = [
        state(f"{m}-{i}", **job, model=m, price_band=bands[sum(edge <= job["price_usd"] for edge in edges)])
        for m, world in zip("ABCDE", drawn, strict=True)
        for i, job in enumerate(world)
    ]
    found = results(lake, benchmark, states, "leaderboard", "category_rates")
    made = {(r["model"], r["window"], r["category"]): r for r in found["window_rates"]}
    expected = {
        (s["model"], window, category)
        for s in states
        for window in ("all", "last_12", *(["post_cutoff"] if s["after_cutoff"] else []))
        for category in ("(all)", s["category"])
    }
    assert set(made) == expected
    for (model, window, category), row in made.items():
        among = [s for s in states if category in ("(all)", s["category"])]
        mine = [s for s in among if s["model"] == model and (window != "post_cutoff" or s["after_cutoff"])]
        _compare(row, mine, among)
    kept = {k for k in TABLES["window_rates"].names if k not in ("scope", "category")}
    for board in found["leaderboard"]:
        row = made[board["model"], board["window"], "(all)"]
        assert {k: board[k] for k in kept} == {k: row[k] for k in kept}
    assert len(found["category_rates"]) == sum(category != "(all)" for _, _, category in made)


def _compare(row: dict[str, Any], mine: list[State], reference: list[State]) -> None:
    """A row beside what its jobs say; `reference` are the jobs of the mix."""
    n, graded = len(mine), [s for s in mine if s["state"] in ("complete", "failed")]
    done = [s for s in mine if s["state"] == "complete"]
    assert (row["n_eligible"], row["n_graded"], row["n_completed"]) == (n, len(graded), len(done))
    of_clients = [s["client_id"] or s["job_id"] for s in mine]
    assert row["n_clients"] == len(set(of_clients))
    assert row["usd_eligible"] == pytest.approx(sum(s["price_usd"] for s in mine), **CLOSE)
    if not graded:
        told = ("rate", "rate_graded", "rate_se", "n_eff", "rate_cl_lo", "earn_rate", "earn_lo", "rate_std", "mde_pp")
        assert {row[name] for name in told} == {None}
        assert row["std_covered"] == 0
        return
    ids = {client: i for i, client in enumerate(dict.fromkeys(of_clients))}
    given_ = sums([(ids[c], s["state"] == "complete") for c, s in zip(of_clients, mine, strict=True)])
    size = ask("effective_n(c, n, x, dd, dj, jj)", **given_)
    assert row["n_eff"] == pytest.approx(size, **CLOSE)
    assert (row["rate_cl_lo"], row["rate_cl_hi"]) == _near(
        proportion_confint(len(done) / n * size, size, method="wilson")
    )
    low, high = proportion_confint(len(done), len(graded), method="wilson")
    assert (row["rate_graded_lo"], row["rate_graded_hi"]) == _near((low, high))
    money = sum(s["price_usd"] for s in mine)
    earned = sum(s["price_usd"] for s in done) / money
    worth = money**2 / sum(s["price_usd"] ** 2 for s in mine) * size / n
    assert row["earn_rate"] == pytest.approx(earned, **CLOSE)
    assert (row["earn_lo"], row["earn_hi"]) == _near(proportion_confint(earned * worth, worth, method="wilson"))
    strata = {(s["category"], s["price_band"]) for s in graded}
    weight = {h: sum((s["category"], s["price_band"]) == h for s in reference) for h in strata}
    of = {h: [s for s in mine if (s["category"], s["price_band"]) == h] for h in strata}
    rate = {h: sum(s["state"] == "complete" for s in of[h]) / len(of[h]) for h in strata}
    covered = sum(weight.values())
    std = sum(weight[h] * rate[h] for h in strata) / covered
    effective = covered**2 / sum(weight[h] ** 2 / len(of[h]) for h in strata) * size / n
    assert row["rate_std"] == pytest.approx(std, **CLOSE)
    assert row["std_covered"] == pytest.approx(covered / len(reference), **CLOSE)
    assert (row["rate_std_lo"], row["rate_std_hi"]) == _near(
        proportion_confint(std * effective, effective, method="wilson")
    )


def _near(pair: tuple[float, float]) -> Any:
    return (pytest.approx(max(pair[0], 0), abs=1e-9), pytest.approx(min(pair[1], 1), abs=1e-9))


def test_the_windows_are_twelve_months_and_each_models_own_cutoff(lake: Lake, benchmark: Benchmark) -> None:
    months = [f"2025-{m:02d}" for m in range(1, 13)] + ["2026-01", "2026-02"]
    states = [
        state(i, cohort=month, model=model, after_cutoff=i > 9 if model == "A" else None)
        for i, month in enumerate(months)
        for model in ("A", "B")
    ]
    found = results(lake, benchmark, states, "leaderboard")["leaderboard"]
    counts = {(r["model"], r["window"]): (r["n_eligible"], r["first_cohort"], r["last_cohort"]) for r in found}
    assert counts == {
        ("A", "all"): (14, "2025-01", "2026-02"),
        ("B", "all"): (14, "2025-01", "2026-02"),
        ("A", "last_12"): (12, "2025-03", "2026-02"),
        ("B", "last_12"): (12, "2025-03", "2026-02"),
        ("A", "post_cutoff"): (4, "2025-11", "2026-02"),
    }


def test_what_attempts_cost_follows_the_window(lake: Lake, benchmark: Benchmark) -> None:
    states = [state(i, cohort=f"2025-{i:02d}" if i else "2024-01", after_cutoff=i > 11) for i in range(13)]
    tried = [scenario.attempt("A", "agent_alone", s["job_id"], cohort=s["cohort"], cost_usd=1.0) for s in states]
    tried[0]["cost_usd"] = None
    more = {"attempts": scenario.table_of("attempts", tried)}
    found = results(lake, benchmark, states, "leaderboard", **more)["leaderboard"]
    assert {r["window"]: (r["n_attempts"], r["cost_usd"]) for r in found} == {
        "all": (13, None),  # one of them is unknown
        "last_12": (12, 12.0),
        "post_cutoff": (1, 1.0),
    }


def test_costs_add_up_exactly_in_whatever_order(lake: Lake, benchmark: Benchmark) -> None:
    """Ten times 10 cents is 1 dollar, which adding up floats one by one misses."""
    costs = [0.1] * 10
    assert math.fsum(costs) != sum(costs)
    states = [state(i, cohort="2025-01") for i in range(len(costs))]
    tried = [
        scenario.attempt("A", "agent_alone", s["job_id"], cohort=s["cohort"], cost_usd=cost)
        for s, cost in zip(states, costs, strict=True)
    ]
    for some in (tried, tried[::-1]):
        more = {"attempts": scenario.table_of("attempts", some)}
        found = results(lake, benchmark, states, "leaderboard", **more)["leaderboard"]
        assert {r["cost_usd"] for r in found if r["window"] == "all"} == {math.fsum(costs)}


def test_a_job_is_after_the_cutoff_by_the_day_it_was_posted(lake: Lake, benchmark: Benchmark) -> None:
    when = {"j1": ("2026-01-31T23:59:59", 20), "j2": ("2026-02-01T00:00:00", 20), "j3": (None, 20), "j4": (None, None)}
    posts = [
        scenario.post(job)
        | {"rubric_version": "r1", "n_criteria": 1}
        | {
            "posted_at": datetime.fromisoformat(posted).replace(tzinfo=UTC) if posted else None,
            "completed_at": datetime(2026, 3, day, tzinfo=UTC) if day else None,
        }
        for job, (posted, day) in when.items()
    ]
    models = [Model("A", "x", training_cutoff="2026-01"), Model("B", "x")]
    relations = constant_relations(benchmark, models) | {
        "benchmark_jobs": scenario.table_of("benchmark_jobs", posts),
        "attempt_outcomes": scenario.table_of("attempt_outcomes", []),
    }
    for model, expected in (("A", [False, True, True, None]), ("B", [None] * 4)):
        cell = {"cohort": "2026-03", "model": model}
        made = engine.run(lake, engine.query("job_states"), cell, query_parameters(benchmark, cell), relations)
        found = {r["job_id"]: r["after_cutoff"] for r in made.to_pylist()}
        assert [found[job] for job in when] == expected


def test_rates_on_the_mix_of_one_month(lake: Lake, benchmark: Benchmark) -> None:
    easy, hard = {"category": "Easy"}, {"category": "Hard", "state": "failed"}
    states = [state(i, **easy) for i in range(9)] + [state(9, **hard)]
    states += [state(10, cohort="2026-04", **easy), state(11, cohort="2026-04", **hard)]
    march = dataclasses.replace(benchmark, results=Results("2026-03"))
    april = dataclasses.replace(benchmark, results=Results("2026-04"))
    for plan, expected in ((benchmark, 10 / 12), (march, 0.9), (april, 0.5)):
        (row,) = [r for r in results(lake, plan, states)["window_rates"] if (r["window"], r["scope"]) == ("all", "all")]
        assert (row["rate"], row["rate_std"], row["std_covered"]) == (
            pytest.approx(10 / 12),
            pytest.approx(expected),
            1,
        )
    nowhere = dataclasses.replace(benchmark, results=Results("2020-01"))
    row = results(lake, nowhere, states)["window_rates"][0]
    assert (row["rate_std"], row["rate_std_lo"], row["std_covered"]) == (None, None, 0)


def test_a_reference_that_is_no_month_is_refused(tmp_path: Any, registry: Registry) -> None:
    text = (registry.folder / "benchmark.yaml").read_text("utf-8")
    for wrong in ("2026-13", "last"):
        changed = text.replace("reference_cohort: null", f"reference_cohort: {wrong}")
        assert changed != text
        (tmp_path / "benchmark.yaml").write_text(changed, "utf-8")
        with pytest.raises(UserError, match="reference_cohort"):
            _ = Registry(tmp_path).benchmark
    (tmp_path / "benchmark.yaml").write_text(text.replace("reference_cohort: null", 'reference_cohort: "2026-03"'))
    assert Registry(tmp_path).benchmark.results.reference_cohort == "2026-03"


# ---- ranks


def test_ranks_have_limits_and_groups_from_the_pairs_that_differ(lake: Lake, benchmark: Benchmark) -> None:
    rates = {"A": 9, "B": 7, "C": 5, "D": 3, "E": None}
    states = [
        state(i, model=model, state="pending" if done is None else "complete" if i < done else "failed")
        for model, done in rates.items()
        for i in range(10)
    ]

    def pair(a: str, b: str, difference: float, significant: bool | None) -> dict[str, Any]:
        key = {"window": "all", "rule": "all_criteria", "round": "agent_alone", "model_a": a, "model_b": b}
        return key | {"difference": difference, "significant": significant, "n_common": 10}

    pairs = [
        pair("A", "B", 0.2, False),
        pair("A", "C", 0.4, True),
        pair("A", "D", 0.6, True),
        pair("B", "C", 0.2, False),
        pair("B", "D", 0.4, True),
        pair("C", "D", 0.2, False),
        pair("D", "E", 0.1, None),
    ]
    for told in (
        pairs,
        [p | {"model_a": p["model_b"], "model_b": p["model_a"], "difference": -p["difference"]} for p in pairs],
    ):
        more = {"model_comparisons": scenario.table_of("model_comparisons", told)}
        found = {
            r["model"]: r
            for r in results(lake, benchmark, states, "leaderboard", **more)["leaderboard"]
            if r["window"] == "all"
        }
        placed = {m: (r["rank"], r["rank_lo"], r["rank_hi"], r["tie_group"]) for m, r in found.items()}
        # C differs from A, the head of the first group, and heads the second, which D joins
        assert placed == {
            "A": (1, 1, 2, 1),
            "B": (2, 1, 3, 1),
            "C": (3, 2, 4, 2),
            "D": (4, 3, 4, 2),
            "E": (None, None, None, None),
        }
    untold = {
        r["model"]: r for r in results(lake, benchmark, states, "leaderboard")["leaderboard"] if r["window"] == "all"
    }
    assert {(r["rank_lo"], r["rank_hi"], r["tie_group"]) for m, r in untold.items() if m != "E"} == {(1, 4, 1)}


# ---- second tries

fates = st.tuples(
    st.sampled_from(["complete", "failed", "failed", "pending", "unattempted"]),
    st.sampled_from(["complete", "failed", "failed", "pending", "unattempted"]),
    st.sampled_from(["complete", "failed", "unattempted"]),
    st.sampled_from(["complete", "failed", "infra", "unattempted"]),
)


World = list[tuple[str, str, str, str]]
worlds_of_models = st.lists(st.lists(fates, min_size=1, max_size=30), min_size=5, max_size=5).map(
    lambda worlds: dict(zip("ABCDE", worlds, strict=True))
)


def unrolled(worlds: dict[str, World]) -> list[State]:
    """The states of jobs in every round, from what would come of each try; only failed jobs are tried again."""
    states = []
    for model, i, (alone, first, second, control) in (
        (model, i, fates_of) for model, world in worlds.items() for i, fates_of in enumerate(world)
    ):
        reached: dict[str, tuple[str, bool, bool]] = {"agent_alone": (alone, False, False)}
        for round_, after, fate in (
            ("feedback_1", "agent_alone", first),
            ("feedback_2", "feedback_1", second),
            ("retry_1", "agent_alone", control),
        ):
            before = reached[after][0]
            done, failed = before == "complete", before == "failed"
            reached[round_] = ("complete" if done else fate if failed else "unattempted", done, failed)
        states += [
            state(i, model=model, round=r, state=s, complete_before=done, failed_before=failed)
            for r, (s, done, failed) in reached.items()
        ]
    return states


@A_FEW
@given(worlds=worlds_of_models)
def test_second_tries_agree_with_a_slow_reading(lake: Lake, benchmark: Benchmark, worlds: dict[str, World]) -> None:
    states = unrolled(worlds)
    found = results(lake, benchmark, states, "cycle_curves", "feedback_lift")
    for model, world in worlds.items():
        rows = [r for r in found["cycle_curves"] if (r["model"], r["window"]) == (model, "all")]
        _compare_curves({(r["arm"], r["turn"]): r for r in rows}, world)
        lifts = [r for r in found["feedback_lift"] if (r["model"], r["window"]) == (model, "all")]
        _compare_lifts({r["round"]: r for r in lifts}, [s for s in states if s["model"] == model])


def _compare_curves(curves: dict[tuple[str, int], dict[str, Any]], worlds: World) -> None:
    """Curves beside Kaplan and Meier's, with Greenwood's error, as statsmodels has them."""
    assert set(curves) == {("human", 0), ("human", 1), ("human", 2), ("control", 0), ("control", 1)}
    for arm, fates_of in (("human", (0, 1, 2)), ("control", (0, 3))):
        times, events = [], []
        for world in worlds:
            tries = [world[i] for i in fates_of]
            ends = next((k for k, fate in enumerate(tries) if fate != "failed"), len(tries))
            complete = ends < len(tries) and tries[ends] == "complete"
            times.append(ends + 1 if complete else ends)  # censored after the last turn that is known
            events.append(int(complete))
        known = SurvfuncRight(np.array(times), np.array(events)) if any(events) else None
        for turn in range(len(fates_of)):
            row = curves[arm, turn]
            at_risk = sum(t > turn for t in times)
            assert row["n_at_risk"] == at_risk
            assert row["n_events"] == sum(t == turn + 1 and e for t, e in zip(times, events, strict=True))
            lost = any(curves[arm, k]["n_at_risk"] == 0 and curves[arm, k]["n_censored"] > 0 for k in range(turn + 1))
            if lost:
                assert (row["curve"], row["curve_se"], row["curve_lo"], row["curve_hi"]) == (None, None, None, None)
                continue
            at = [] if known is None else [i for i, t in enumerate(known.surv_times) if t <= turn + 1]
            share = 1 - known.surv_prob[at[-1]] if known is not None and at else 0.0
            error = known.surv_prob_se[at[-1]] if known is not None and at else 0.0
            assert row["curve"] == pytest.approx(share, **CLOSE)
            if share < 1:
                assert row["curve_se"] == pytest.approx(error, **CLOSE)
            assert row["curve_lo"] <= row["curve"] + 1e-12
            assert row["curve"] <= row["curve_hi"] + 1e-12


def _compare_lifts(found: dict[str, dict[str, Any]], states: Sequence[State]) -> None:
    """Lifts beside what the jobs say."""
    assert set(found) == {"feedback_1", "feedback_2", "retry_1"}
    at = {(s["round"], s["job_id"]): s["state"] for s in states}
    ids = sorted({s["job_id"] for s in states})
    for round_, after in (("feedback_1", "agent_alone"), ("feedback_2", "feedback_1"), ("retry_1", "agent_alone")):
        row = found[round_]
        failed = [j for j in ids if at[after, j] == "failed"]
        rescued = [j for j in failed if at[round_, j] == "complete"]
        tried = [j for j in failed if at[round_, j] in ("complete", "failed")]
        assert (row["n_failed_before"], row["n_failed_rescued"], row["n_retried"]) == (
            len(failed),
            len(rescued),
            len(tried),
        )
        assert row["n_never_retried"] == sum(at[round_, j] == "unattempted" for j in failed)
        for name, over in (("rescue_of_retried", tried), ("rescue_of_failed", failed)):
            assert row[name] == (pytest.approx(len(rescued) / len(over)) if over else None)
        assert (row["control_round"] == "retry_1") is (round_ == "feedback_1" and row["n_paired"] > 0)
    row = found["feedback_1"]
    both = [(at["feedback_1", j] == "complete", at["retry_1", j] == "complete") for j in ids if _known(at, j)]
    assert row["n_paired"] == len(both)
    if both:
        assert row["net_points"] == pytest.approx(100 * sum(a - b for a, b in both) / len(both))
        assert (row["n_only_feedback"], row["n_only_control"]) == (
            sum(a and not b for a, b in both),
            sum(b and not a for a, b in both),
        )
        assert row["net_lo"] - 1e-9 <= row["net_points"] <= row["net_hi"] + 1e-9
    else:
        assert (row["net_points"], row["net_lo"], row["net_hi"]) == (None, None, None)


def _known(at: dict[tuple[str, str], str], job: str) -> bool:
    return all(at[r, job] in ("complete", "failed") for r in ("feedback_1", "retry_1"))


# ---- what is checked before anything that follows is made

FAULTS: list[tuple[str, str, dict[str, Any]]] = [
    ("window_rates", reconcile.WINDOW_RATES, {"n_graded": 0}),
    ("window_rates", reconcile.WINDOW_RATES, {"n_completed": 1, "rate": None}),
    ("window_rates", reconcile.WINDOW_RATES, {"rate_cl_hi": 0.01}),
    ("window_rates", reconcile.WINDOW_RATES, {"earn_lo": 0.99}),
    ("window_rates", reconcile.WINDOW_RATES, {"std_covered": 1.5}),
    ("window_rates", reconcile.WINDOW_RATES, {"n_eff": 99.0}),
    ("window_rates", reconcile.WINDOW_RATES, {"n_eligible": 5, "n_unattempted": 3}),  # more than its categories
    ("feedback_lift", reconcile.LIFT, {"n_retried": 0}),
    ("feedback_lift", reconcile.LIFT, {"n_failed_rescued": 3}),
    ("feedback_lift", reconcile.LIFT, {"n_paired": 1}),
    ("feedback_lift", reconcile.LIFT, {"net_points": None}),
    ("feedback_lift", reconcile.LIFT, {"rescue_of_failed": None}),
    ("cycle_curves", reconcile.CURVES, {"n_events": 9}),
    ("cycle_curves", reconcile.CURVES, {"hazard": None}),
    ("cycle_curves", reconcile.CURVES, {"n_censored": -1}),
    ("cycle_curves", reconcile.CURVES, {"curve_hi": 0.0}),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, benchmark: Benchmark) -> dict[str, list[dict[str, Any]]]:
    """Rows of the tables over months, from two jobs of which feedback rescues one."""
    states = unrolled({"A": [("failed", "complete", "failed", "failed"), ("failed", "failed", "failed", "failed")]})
    return results(Lake(tmp_path_factory.mktemp("sound")), benchmark, states, "feedback_lift", "cycle_curves")


@pytest.mark.parametrize(("table", "sql", "fault"), FAULTS)
def test_what_does_not_follow_from_its_counts_is_found(
    lake: Lake, sound: dict[str, list[dict[str, Any]]], table: str, sql: str, fault: dict[str, Any]
) -> None:
    rows = sound[table]
    lake.write(table, scenario.table_of(table, rows), {})
    assert reconcile.violations(lake, sql, [table]) == []
    at = next(
        i
        for i, r in enumerate(rows)
        if (r.get("round"), r.get("scope", "all"), r["window"]) == ("feedback_1", "all", "all")
    )
    lake.write(table, scenario.table_of(table, [*rows[:at], rows[at] | fault, *rows[at + 1 :]]), {})
    assert reconcile.violations(lake, sql, [table])


def test_a_release_is_described_as_it_was_frozen(lake: Lake, benchmark: Benchmark) -> None:
    frozen: list[dict[str, Any]] = [
        dict(freeze_name="v1", cohort="2026-03", job_id=job, rubric_version="r1", content_id=job, category="Writing")  # noqa: C408
        | dict[str, Any](price_usd=price, frozen_at=scenario.NOON, simulated=False)
        for job, price in (("j1", 10.0), ("j2", 200.0), ("j3", 400.0), ("j4", None))
    ]
    begun = scenario.NOON.replace(day=19)
    relations = {
        "job_freezes": scenario.table_of("job_freezes", frozen),
        "job_posts": scenario.table_of("job_posts", [scenario.post("j1", started_at=begun, price_usd=77.0)]),
        "rubric_exports": scenario.table_of(
            "rubric_exports",
            [scenario.criterion("j1", c, "critical", source_row=i) for c in ("c1", "c2") for i in (1, 2)],
        ),
    }
    found = engine.run(lake, engine.query("release_overview"), {}, {}, relations)
    whole, row = found.sort_by("category").to_pylist()
    assert (row["category"], whole) == ("Writing", row | {"category": "(all)"})
    assert (row["n_clients"], row["price_p90"]) == (4, pytest.approx(360.0))
    assert (row["n_jobs"], row["n_priced"], row["price_median"], row["share_10_200"]) == (4, 3, 200.0, 2 / 3)
    assert (row["n_timed"], row["hours_median"], row["criteria_min"], row["criteria_max"]) == (1, 24.0, 2, 2)


# ---- coverage (bench/coverage.py has all of it)


def test_wilsons_interval_covers_what_it_says() -> None:
    grid = np.linspace(0.05, 0.93, 89)
    for n, least in ((12, 0.91), (33, 0.92), (91, 0.928), (322, 0.94)):
        interval = coverage.of_a_share(n)["Wilson (used)"]
        found = [coverage.exact_coverage(interval, n, p) for p in grid]
        assert 0.945 <= float(np.mean(found)) <= 0.96
        assert min(found) >= least


@pytest.mark.parametrize("title", sorted(coverage.SIMULATED))
def test_intervals_cover_in_simulation(title: str) -> None:
    for n, p in ((33, 0.3), (91, 0.5), (322, 0.2)):
        found = coverage.simulated_coverage(coverage.SIMULATED[title][1], n, p, 1500)
        (used,) = [share for name, share in found.items() if "(used)" in name]
        assert 0.93 <= used <= 0.98, (n, p)
