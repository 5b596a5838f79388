"""Two models on the same jobs: the formulas against other libraries and slow ones, the table against the jobs."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from hapi_pipeline.comparisons import compare, model_comparisons
from hapi_pipeline.job_grid import job_grid
from hapi_pipeline.lake import Lake, conform
from hapi_pipeline.registry import Registry
from hapi_pipeline.stats import bootstrap, paired
from hapi_pipeline.tables import TABLES
from tests.stats_models.models_at_work import HUMAN, Fate, Job, built, random_jobs, renamed, state

properties = settings(derandomize=True, deadline=None, max_examples=150)
counts = st.integers(0, 60)
MODELS = ("Alpha", "Beta", "Gamma")


def near(value: Any) -> Any:
    return pytest.approx(value, abs=1e-9, rel=1e-9)


def holm_of_statsmodels(p_values: list[float]) -> list[float]:
    """Each call ends with `gc.collect()`, which takes seconds in a process as large as that of all tests."""
    with mock.patch("gc.collect"):
        return list(multipletests(p_values, method="holm")[1])


# ---- formulas


@properties
@given(counts, counts, counts, counts)
def test_newcombes_interval_is_built_from_wilsons(e: int, f: int, g: int, h: int) -> None:
    n = e + f + g + h
    lo, hi = (float(end) for end in paired.newcombe(e, f, g, h))
    if not n:
        assert math.isnan(lo)
        assert math.isnan(hi)
        return
    p1, p2 = (e + f) / n, (e + g) / n
    (l1, u1), (l2, u2) = (proportion_confint(x, n, method="wilson") for x in (e + f, e + g))
    root = math.sqrt((e + f) * (g + h) * (e + g) * (f + h))
    cross = e * h - f * g
    phi = (max(cross - n / 2, 0) if cross > 0 else cross) / root if root else 0
    down = math.sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
    up = math.sqrt((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2)
    assert (lo, hi) == (near(p1 - p2 - down), near(p1 - p2 + up))
    assert -1 - 1e-12 <= lo <= p1 - p2 <= hi <= 1 + 1e-12
    assert paired.newcombe(e, g, f, h) == (near(-hi), near(-lo))


@properties
@given(counts, counts)
def test_the_mid_p_value_is_that_of_whole_numbers(f: int, g: int) -> None:
    n, m = f + g, min(f, g)
    tail = sum(Fraction(math.comb(n, k), 2**n) for k in range(m + 1))
    exact = min(2 * tail - Fraction(math.comb(n, m), 2**n), Fraction(1)) if n else Fraction(1)
    assert float(paired.mcnemar_mid_p(f, g)) == near(float(exact))


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=12))
def test_holm_is_statsmodels_holm_and_leaves_out_what_was_not_tested(p_values: list[float]) -> None:
    found = paired.holm(p_values)
    tested = [p for p in p_values if not math.isnan(p)]
    assert [math.isnan(p) for p in found] == [math.isnan(p) for p in p_values]
    if tested:
        assert list(found[~np.isnan(found)]) == near(holm_of_statsmodels(tested))


@properties
@given(st.integers(5, 20_000), st.floats(0, 1))
def test_the_smallest_gap_solves_the_formula_for_the_number_of_jobs(n: int, psi: float) -> None:
    def jobs_needed(d: float, discordant: float) -> float:
        spread = paired.Z * math.sqrt(discordant) + paired.Z_POWER * math.sqrt(max(discordant - d * d, 0))
        return (spread / d) ** 2

    def missing(d: float) -> float:
        return jobs_needed(d, max(psi, d)) - n

    gap = float(paired.smallest_gap(n, psi))
    if missing(1.0) > 0:
        assert math.isnan(gap)
    else:
        assert gap == pytest.approx(optimize.brentq(missing, 1e-9, 1.0, xtol=1e-14), abs=1e-9)


def test_three_jobs_resolve_nothing() -> None:
    assert np.isnan(paired.smallest_gap([0, 1, 3], 0.5)).all()


def test_a_true_gap_of_that_size_is_found_in_four_of_five_experiments() -> None:
    dice, n, psi = np.random.default_rng(11), 322, 0.3
    gap = float(paired.smallest_gap(n, psi))
    only_a, only_b, _ = dice.multinomial(n, [(psi + gap) / 2, (psi - gap) / 2, 1 - psi], size=20_000).T
    assert (paired.mcnemar_mid_p(only_a, only_b) <= 0.05).mean() == pytest.approx(0.8, abs=0.02)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 15), st.floats(0, 0.6))
def test_pair_counts_and_resampled_differences_are_those_of_a_loop(seed: int, n: int, missing: float) -> None:
    dice = np.random.default_rng(seed)
    complete = (dice.random((n, 4)) < 0.5).astype(float)
    complete[dice.random((n, 4)) < missing] = np.nan
    complete[:, 1] = np.where(np.isnan(complete[:, 0]), np.nan, complete[:, 1])  # two that mostly share their jobs
    found = paired.pair_counts(complete)
    a, b = np.triu_indices(4, 1)
    weights = bootstrap.job_weights(n, 15, seed)
    drawn = paired.Differences(complete, a, b).resampled(weights)
    for pair, (i, j) in enumerate(zip(a, b, strict=True)):
        common = [k for k in range(n) if not np.isnan(complete[k, i] + complete[k, j])]
        both: list[tuple[float, ...]] = [(complete[k, i], complete[k, j]) for k in common]
        assert found.n_a[i, j] == (~np.isnan(complete[:, i])).sum()
        assert [x[i, j] for x in found[2:]] == [len(both), *map(both.count, ((1, 1), (1, 0), (0, 1), (0, 0)))]
        for draw in range(15):
            size = sum(weights[draw, k] for k in common)
            gap = sum(weights[draw, k] * (complete[k, i] - complete[k, j]) for k in common)
            assert drawn[draw, pair] == (near(gap / size) if size else pytest.approx(math.nan, nan_ok=True))


# ---- the table


def rows_of(lake: Lake, registry: Registry) -> dict[tuple[str, ...], dict[str, Any]]:
    table = TABLES["model_comparisons"]
    rows = conform(table, model_comparisons(lake, registry, {})).to_pylist()
    return {tuple(row[key] for key in table.key): row for row in rows}


def test_every_row_counts_the_jobs_of_its_window(tmp_path: Path, registry: Registry) -> None:
    jobs = random_jobs(4, 60, MODELS, months=14)
    found = rows_of(built(tmp_path, jobs, MODELS), registry)
    assert len(found) == 3 * 2 * 3 * 3  # windows, rules, rounds, pairs
    newest = sorted({job.cohort for job in jobs})[-12:]
    for (window, _, name, a, b), row in found.items():
        assert a < b
        mine = [
            job
            for job in jobs
            if window == "all"
            or (window == "last_12" and job.cohort in newest)
            or (window == "post_cutoff" and job.after and job.after[a] and job.after[b])
        ]
        ends = [(state(job, a, name)[1], state(job, b, name)[1]) for job in mine]
        known: list[tuple[str, ...]] = [(x, y) for x, y in ends if {x, y} <= {"complete", "failed"}]
        clients = {job.client or job.job_id for job, pair in zip(mine, ends, strict=True) if pair in known}
        kinds = itertools.product(("complete", "failed"), repeat=2)
        assert [row[f"n_{kind}"] for kind in ("both", "only_a", "only_b", "neither")] == [
            known.count(kind) for kind in kinds
        ]
        assert row["n_a"] == sum(x in ("complete", "failed") for x, _ in ends)
        assert row["n_b"] == sum(y in ("complete", "failed") for _, y in ends)
        assert (row["n_eligible"], row["n_common"], row["n_clients"]) == (len(mine), len(known), len(clients))
        assert row["same_jobs"] == (row["n_a"] == row["n_b"] == row["n_common"])
        assert row["difference"] == near((row["n_only_a"] - row["n_only_b"]) / row["n_common"])
        least = [(x == "complete") - (y != "failed") for x, y in ends]
        most = [(x != "failed") - (y == "complete") for x, y in ends]
        assert (row["bound_lo"], row["bound_hi"]) == (near(sum(least) / len(mine)), near(sum(most) / len(mine)))
        assert row["bound_lo"] <= row["bound_hi"]
        assert row["boot_lo"] <= row["difference"] <= row["boot_hi"]
    for family in {key[:3] for key in found if key[1] == "all_criteria"}:
        p_values = [row["p_mid"] for key, row in found.items() if key[:3] == family]
        holm = [row["p_holm"] for key, row in found.items() if key[:3] == family]
        assert holm == near(holm_of_statsmodels(p_values))


def test_neither_the_order_of_rows_nor_that_of_files_changes_anything(tmp_path: Path, registry: Registry) -> None:
    jobs = random_jobs(8, 30, MODELS)
    one = rows_of(built(tmp_path / "one", jobs, MODELS), registry)
    other = rows_of(built(tmp_path / "other", jobs[::-1], MODELS[::-1]), registry)
    assert one == other


def test_a_model_and_its_double_differ_by_nothing_but_have_an_interval(tmp_path: Path, registry: Registry) -> None:
    jobs = renamed(random_jobs(2, 40, ["Alpha"]), Double="Alpha")
    for row in rows_of(built(tmp_path, jobs, ["Alpha", "Double"]), registry).values():
        assert (row["difference"], row["n_only_a"], row["n_only_b"], row["p_mid"]) == (0.0, 0, 0, 1.0)
        assert row["diff_lo"] < 0 < row["diff_hi"]
        assert (row["boot_lo"], row["boot_hi"], row["significant"], row["same_jobs"]) == (0.0, 0.0, False, True)


def test_models_without_a_common_job_or_a_known_cutoff_are_not_compared(tmp_path: Path, registry: Registry) -> None:
    jobs = [
        Job(f"{i}", {"Alpha" if i % 2 else "Beta": {"agent_alone": Fate(True)}}, after={"Alpha": True, "Beta": None})
        for i in range(6)
    ]
    found = rows_of(built(tmp_path, jobs, ["Alpha", "Beta"], ["agent_alone"]), registry)
    assert {key[0] for key in found} == {"all", "last_12"}
    for row in found.values():
        assert (row["n_eligible"], row["n_a"], row["n_b"], row["n_common"]) == (6, 3, 3, 0)
        assert (row["bound_lo"], row["bound_hi"]) == (-0.5, 0.5)
        assert {row[key] for key in ("rate_a", "difference", "diff_lo", "boot_hi", "p_mid", "p_holm", "mde")} == {None}
        assert row["significant"] is None


@pytest.mark.parametrize("models", [(), ("Alpha",)])
def test_fewer_than_two_models_give_no_row(tmp_path: Path, registry: Registry, models: tuple[str, ...]) -> None:
    assert not rows_of(built(tmp_path, random_jobs(1, 5, models), models), registry)


def test_a_window_without_jobs_says_so_with_counts_of_zero(tmp_path: Path, registry: Registry) -> None:
    jobs = [Job("1", {m: {"agent_alone": Fate(True)} for m in "AB"}, after={"A": True, "B": False})]
    row = rows_of(built(tmp_path, jobs, "AB", ["agent_alone"]), registry)[
        "post_cutoff", "all_criteria", "agent_alone", "A", "B"
    ]
    assert (row["n_eligible"], row["n_common"], row["difference"], row["bound_lo"]) == (0, 0, None, None)


def test_jobs_of_one_client_count_as_one_draw(tmp_path: Path, registry: Registry) -> None:
    """Ten clients whose jobs all end alike: ten draws of independent news, not a hundred."""
    fate = {True: {"agent_alone": Fate(True)}, False: {"agent_alone": Fate(False)}}
    jobs = [Job(f"{i:03d}", {"A": fate[i % 10 < 6], "B": fate[False]}, client=f"c{i % 10}") for i in range(100)]
    lake = built(tmp_path, jobs, "AB", ["agent_alone"])
    row = compare(job_grid(lake)).to_pylist()[0]
    assert (row["n_common"], row["n_clients"], row["difference"]) == (100, 10, 0.6)
    assert row["boot_lo"] < row["diff_lo"] - 0.1
    assert row["boot_hi"] > row["diff_hi"] + 0.1


def test_rounds_are_cumulative(tmp_path: Path, registry: Registry) -> None:
    """Complete alone counts as complete after each turn, and what was never tried again is unknown."""
    alone, later = {"agent_alone": Fate(True)}, {"agent_alone": Fate(False), "feedback_1": Fate(True)}
    jobs = [Job("1", {"A": alone, "B": later}), Job("2", {"A": later, "B": {"agent_alone": Fate(False)}})]
    found = rows_of(built(tmp_path, jobs, "AB"), registry)
    kinds = ("n_common", "n_both", "n_only_a", "n_only_b", "n_neither")
    at = {name: [found["all", "all_criteria", name, "A", "B"][k] for k in kinds] for name in HUMAN}
    assert at == {"agent_alone": [2, 0, 1, 0, 1], "feedback_1": [1, 1, 0, 0, 0], "feedback_2": [1, 1, 0, 0, 0]}
