"""Coefficients of agreement against independent libraries, slow direct definitions and simulation."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa as statsmodels_kappa

from hapi_pipeline.stats import agreement as figures
from hapi_pipeline.stats.bootstrap import job_weights

PANDALM = Path(__file__).resolve().parents[3] / "shared/real/verdicts/pandalm_testset-v1.json"
Table = Any  # units × graders; a negative value is a missing one


def made(table: Table, weights: Any = None, jobs: Any = None, n_values: int | None = None) -> figures.Agreement:
    given_to = np.asarray(table)
    units = np.repeat(np.arange(len(given_to)), given_to.shape[1])
    many = n_values or max(int(given_to.max(initial=0)) + 1, 2)
    counts = figures.counts_of(units, given_to.ravel(), len(given_to), many)
    return figures.agreement(counts, np.arange(len(given_to)) if jobs is None else np.asarray(jobs), weights)


def slow_alpha(table: Sequence[Sequence[int]]) -> float | None:
    """Krippendorff's definition, pair by pair."""
    rows = [[v for v in row if v >= 0] for row in table]
    rows = [row for row in rows if len(row) >= 2]
    values = [v for row in rows for v in row]
    n = len(values)
    observed = sum(sum(a != b for a, b in itertools.permutations(row, 2)) / (len(row) - 1) for row in rows)
    expected = sum(a != b for a, b in itertools.permutations(values, 2))
    return 1 - observed / n * n * (n - 1) / expected if expected else None


def slow_ac1(table: Sequence[Sequence[int]], n_values: int) -> float | None:
    """Gwet's definition, unit by unit."""
    rows = [[v for v in row if v >= 0] for row in table]
    rows = [row for row in rows if row]
    doubled = [row for row in rows if len(row) >= 2]
    if not doubled:
        return None
    agree = sum(
        sum(a == b for a, b in itertools.permutations(row, 2)) / (len(row) * (len(row) - 1)) for row in doubled
    ) / len(doubled)
    share = [sum(row.count(k) / len(row) for row in rows) / len(rows) for k in range(n_values)]
    chance = sum(p * (1 - p) for p in share) / (n_values - 1)
    return (agree - chance) / (1 - chance)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[int]], int]:
    """Units × graders with missing values."""
    n_values, graders, units = draw(st.integers(2, 4)), draw(st.integers(1, 6)), draw(st.integers(1, 20))
    cell = st.integers(-1, n_values - 1)
    return draw(st.lists(st.lists(cell, min_size=graders, max_size=graders), min_size=units, max_size=units)), n_values


def number(value: float | None) -> float:
    assert value is not None
    return value


def near(found: float | None, wanted: float | None) -> None:
    assert (found is None) == (wanted is None)
    if found is not None and wanted is not None:
        assert found == pytest.approx(wanted, abs=1e-9)


@given(tables())
@settings(max_examples=150, deadline=None)
def test_alpha_and_ac1_follow_their_definitions_on_any_data_with_missing_values(case: tuple[Any, int]) -> None:
    table, n_values = case
    found = made(table, n_values=n_values)
    near(found.alpha.value, slow_alpha(table))
    near(found.ac1.value, slow_ac1(table, n_values))


@pytest.mark.filterwarnings("ignore::RuntimeWarning:krippendorff")
@given(tables())
@settings(max_examples=100, deadline=None)
def test_alpha_equals_the_krippendorff_library(case: tuple[Any, int]) -> None:
    table, n_values = case
    reliability = np.where(np.asarray(table).T < 0, np.nan, np.asarray(table, float).T)
    try:
        wanted = krippendorff.alpha(reliability, level_of_measurement="nominal", value_domain=list(range(n_values)))
    except (ValueError, AssertionError):  # it refuses what has a single value, or no two on a unit
        wanted = math.nan
    found = made(table, n_values=n_values).alpha.value
    if found is not None:
        assert wanted == pytest.approx(found, abs=1e-9)
    else:
        assert math.isnan(wanted) or wanted == 1.0  # some versions call a single value perfect agreement


# what irrCAC 0.4.4 (Gwet's own method, ported) says of the data of these seeds: AC1, alpha, raw agreement
IRRCAC = {
    (0, 30, 3, 2): (0.435961713764813, 0.358722358722359, 0.694444444444444),
    (1, 40, 4, 3): (0.466177907478059, 0.501017146178437, 0.643518518518518),
    (2, 25, 5, 4): (0.591645934216, 0.552171290711701, 0.691666666666667),
    (3, 60, 2, 2): (0.409230769230769, 0.409343715239155, 0.7),
    (4, 15, 6, 2): (0.73958790004384, 0.560728744939271, 0.853333333333333),
    (5, 50, 3, 5): (0.455708265543868, 0.458494495685808, 0.564102564102564),
}


@pytest.mark.parametrize("case", IRRCAC)
def test_all_three_equal_irrcac_on_data_with_missing_values(case: tuple[int, int, int, int]) -> None:
    seed, units, graders, n_values = case
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_values, units)
    noise = rng.random((units, graders)) < 0.7
    table = np.where(noise, truth[:, None], rng.integers(0, n_values, (units, graders)))
    table = np.where(rng.random((units, graders)) < 0.3, -1, table)
    found = made(table, n_values=n_values)
    assert (found.ac1.value, found.alpha.value, found.raw.value) == pytest.approx(IRRCAC[case], abs=1e-9)


@pytest.fixture(scope="module")
def pandalm() -> Table:
    if not PANDALM.exists():
        pytest.skip("the PandaLM file is not on this machine")
    return np.array([[r[f"annotator{n}"] for n in (1, 2, 3)] for r in json.loads(PANDALM.read_text("utf-8"))])


def test_pandalm_is_reproduced(pandalm: Table) -> None:
    found = made(pandalm)
    wanted = krippendorff.alpha(pandalm.T.astype(float), level_of_measurement="nominal")
    assert found.alpha.value == pytest.approx(wanted, abs=1e-9)
    # irrCAC 0.4.4
    assert found.alpha.value == pytest.approx(0.864220685196082, abs=1e-9)
    assert found.ac1.value == pytest.approx(0.88644470802312, abs=1e-9)
    assert found.raw.value == pytest.approx(0.919919919919921, abs=1e-9)
    assert (found.n_units, found.n_pairs) == (999, 2997)
    kappas = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        found_kappa = figures.cohens_kappa(pandalm[:, a], pandalm[:, b], np.arange(999), None, 3).value
        cells = np.zeros((3, 3))
        np.add.at(cells, (pandalm[:, a], pandalm[:, b]), 1)
        assert found_kappa == pytest.approx(statsmodels_kappa(cells, return_results=False), abs=1e-9)
        kappas.append(round(found_kappa or 0.0, 2))
    assert sorted(kappas) == [0.85, 0.86, 0.88]


@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 2)), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_kappa_equals_statsmodels(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs).T
    found = figures.cohens_kappa(first, second, np.arange(len(pairs)), None, 3).value
    cells = np.zeros((3, 3))
    for a, b in pairs:
        if a >= 0 and b >= 0:
            cells[a, b] += 1
    with np.errstate(all="ignore"):
        wanted = statsmodels_kappa(cells, return_results=False) if cells.sum() else math.nan
    near(found, None if math.isnan(wanted) else float(wanted))


def test_one_grader_is_no_agreement_at_all() -> None:
    found = made([[1, -1], [0, -1], [-1, 1]])
    assert (found.n_units, found.n_pairs, found.prevalence) == (0, 0, {})
    assert (found.raw.value, found.alpha.value, found.ac1.value) == (None, None, None)


def test_if_all_say_the_same_alpha_and_kappa_are_undefined_and_ac1_is_not() -> None:
    found = made([[1, 1]] * 8, job_weights(8, 200))
    assert found.alpha == figures.Estimate(None)
    assert (found.ac1.value, found.ac1.hi, found.raw.value) == (1.0, 1.0, 1.0)
    assert number(found.ac1.lo) < 1.0
    assert number(found.raw.lo) < 1.0
    ones = np.ones(8, int)
    assert figures.cohens_kappa(ones, ones, np.arange(8), None) == figures.Estimate(None)


def test_a_single_unit_has_figures_where_they_exist_and_no_resampled_interval() -> None:
    agree, differ = made([[1, 1]], job_weights(1, 50)), made([[1, 0]], job_weights(1, 50))
    assert (agree.alpha.value, agree.n_units, agree.n_split) == (None, 1, 0)
    assert differ.alpha == figures.Estimate(0.0, None, None)  # two verdicts, two values: as by chance
    assert (differ.raw.value, differ.n_split) == (0.0, 1)


def test_where_nobody_disagrees_the_lower_end_still_says_that_little_was_seen() -> None:
    few, many = made([[1, 1], [0, 0]] * 3, job_weights(6, 200)), made([[1, 1], [0, 0]] * 60, job_weights(120, 200))
    assert (few.alpha.value, few.alpha.hi) == (1.0, 1.0)
    assert number(few.alpha.lo) < 0.3 < 0.9 < number(many.alpha.lo) < 1.0


def test_the_interval_is_that_of_resampled_jobs_and_not_of_resampled_units() -> None:
    """Ten criteria a job that stand or fall together are one observation, not ten."""
    rng = np.random.default_rng(5)
    first = rng.integers(0, 2, 60)
    second = np.where(rng.random(60) < 0.8, first, 1 - first)
    single, tenfold = np.column_stack([first, second]), np.repeat(np.column_stack([first, second]), 10, axis=0)
    weights = job_weights(60, 1000)
    one, ten = made(single, weights), made(tenfold, weights, np.repeat(np.arange(60), 10))
    naive = made(tenfold, job_weights(600, 1000))

    def width(e: figures.Estimate) -> float:
        return number(e.hi) - number(e.lo)

    for name in ("raw", "alpha", "ac1"):
        assert width(getattr(ten, name)) == pytest.approx(width(getattr(one, name)), rel=0.1)
        assert width(getattr(naive, name)) < 0.5 * width(getattr(ten, name))


def test_order_of_graders_and_units_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    table, jobs, weights = rng.integers(-1, 2, (50, 4)), rng.integers(0, 12, 50), job_weights(12, 300)
    order = rng.permutation(50)
    a, b = made(table, weights, jobs), made(table[order][:, ::-1], weights, jobs[order])
    for name in ("raw", "alpha", "ac1"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x.value, x.lo, x.hi) == pytest.approx((y.value, y.lo, y.hi), abs=1e-12)


def test_bca_is_that_of_scipy() -> None:
    from scipy.stats import bootstrap

    rng = np.random.default_rng(7)
    sample = rng.exponential(size=40)
    theirs = bootstrap((sample,), np.mean, n_resamples=20000, method="BCa", rng=np.random.default_rng(1))
    draws = job_weights(40, 20000).astype(float) @ sample / 40
    left_out = (sample.sum() - sample) / 39
    found = figures.bca(float(sample.mean()), draws, left_out, expanded=False)
    lo, hi = theirs.confidence_interval
    assert found == pytest.approx((lo, hi), abs=0.015)
    wider = figures.bca(float(sample.mean()), draws, left_out)
    assert wider[0] < found[0] < found[1] < wider[1]


@pytest.mark.parametrize("same", [0.75, 0.9])
def test_intervals_cover_what_is_true(same: float) -> None:
    """60 jobs of 6 criteria, two graders, correlated within jobs: 95 % intervals, within what 150 runs can tell."""
    rng = np.random.default_rng(11)
    weights = job_weights(60, 400)
    jobs = np.repeat(np.arange(60), 6)

    def world(n_jobs: int) -> Table:
        good = rng.beta(2, 1, n_jobs).repeat(6)
        truth = rng.random(n_jobs * 6) < good
        said = np.where(rng.random((n_jobs * 6, 2)) < same, truth[:, None], ~truth[:, None])
        return said.astype(int)

    true = made(world(40_000))
    hits = {"raw": 0, "alpha": 0, "ac1": 0}
    for _ in range(150):
        found = made(world(60), weights, jobs)
        for name in hits:
            e, t = getattr(found, name), getattr(true, name).value
            hits[name] += e.lo <= t <= e.hi
    assert all(0.89 <= n / 150 <= 0.995 for n in hits.values()), hits


def test_clustered_share_is_wilson_where_units_are_independent() -> None:
    from statsmodels.stats.proportion import proportion_confint

    positive = np.array([1.0] * 30 + [0.0] * 70)
    found = figures.clustered_share(positive, np.ones(100))
    size = 100 - 1  # the variance over clusters has n - 1 below
    assert (found.lo, found.hi) == pytest.approx(proportion_confint(0.3 * size, size, method="wilson"), abs=1e-9)
    assert figures.clustered_share(np.zeros(0), np.zeros(0)) == figures.Estimate()


# ---- corrected rates


def test_a_perfect_grader_needs_no_correction_and_a_blind_one_cannot_be_corrected() -> None:
    assert figures.rogan_gladen(figures.Counts(100, 40, 50, 50, 50, 50)).value == pytest.approx(0.4)
    assert figures.rogan_gladen(figures.Counts(100, 40, 50, 25, 50, 25)) == figures.Estimate()
    assert figures.rogan_gladen(figures.Counts(100, 40, 0, 0, 50, 50)) == figures.Estimate()


def test_a_correction_is_clipped_to_what_a_share_can_be() -> None:
    found = figures.rogan_gladen(figures.Counts(100, 2, 50, 45, 50, 40))
    assert (found.value, found.lo) == (0.0, 0.0)


def test_corrected_rates_are_unbiased_and_their_intervals_cover() -> None:
    rng = np.random.default_rng(17)
    p, sens, spec, hits, values = 0.35, 0.85, 0.95, 0, []
    for _ in range(400):
        true = rng.binomial(300, p)
        positive = rng.binomial(true, sens) + rng.binomial(300 - true, 1 - spec)
        found = figures.rogan_gladen(
            figures.Counts(300, positive, 40, rng.binomial(40, sens), 60, rng.binomial(60, spec))
        )
        values.append(number(found.value))
        hits += number(found.lo) <= p <= number(found.hi)
    assert abs(float(np.mean(values)) - p) < 0.01
    assert 0.92 <= hits / 400 <= 0.98
