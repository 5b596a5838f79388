"""Resampling sums over clients, in portions and from streamed rows: the same figures as resampling job by job."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline import comparisons, economics, engine
from hapi_pipeline.comparisons import compare
from hapi_pipeline.job_grid import JobGrid, job_grid
from hapi_pipeline.stats import bootstrap, paired
from tests.stats_models.models_at_work import HUMAN, RULES, built, random_jobs, state

MODELS = ("Alpha", "Beta", "Delta", "Gamma")
DRAWS, SEED = 400, 5

properties = settings(derandomize=True, deadline=None, max_examples=60)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> JobGrid:
    """Jobs of 14 months, of which some clients have several; some outcomes are unknown."""
    return job_grid(built(tmp_path_factory.mktemp("grid"), random_jobs(21, 70, MODELS, months=14), MODELS))


@properties
@given(st.integers(0, 2**32), st.integers(1, 25), st.integers(1, 6), st.floats(0, 0.5))
def test_sums_over_clients_draw_the_same_differences_as_jobs(seed: int, n: int, most: int, missing: float) -> None:
    dice = np.random.default_rng(seed)
    complete = (dice.random((n, 3)) < 0.5).astype(float)
    complete[dice.random((n, 3)) < missing] = np.nan
    complete[:, 2] = np.where(np.isnan(complete[:, 1]), np.nan, complete[:, 2])
    clients = np.unique(dice.integers(0, most, n), return_inverse=True)[1]
    a, b = np.triu_indices(3, 1)
    weights = bootstrap.job_weights(int(clients.max()) + 1, 12, seed)
    found = paired.Differences(complete, a, b, clients)
    drawn = found.resampled(weights)
    for pair, (i, j) in enumerate(zip(a, b, strict=True)):
        common = [k for k in range(n) if not math.isnan(complete[k, i] + complete[k, j])]
        assert found.units[pair] == len({clients[k] for k in common})
        for draw in range(12):
            taken = [k for k in common for _ in range(int(weights[draw, clients[k]]))]
            gap = sum(complete[k, i] - complete[k, j] for k in taken)
            expected = gap / len(taken) if taken else math.nan
            assert drawn[draw, pair] == pytest.approx(expected, abs=1e-12, nan_ok=True)


@properties
@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-1e6, 1e6)), min_size=1, max_size=30))
def test_cluster_sums_are_those_of_a_loop(rows: list[tuple[int, float]]) -> None:
    names = sorted({cluster for cluster, _ in rows})
    clusters = [names.index(cluster) for cluster, _ in rows]
    values = np.array([[value, 1.0] for _, value in rows])
    found = bootstrap.cluster_sums(values, clusters)
    for number, name in enumerate(names):
        mine = [value for cluster, value in rows if cluster == name]
        assert list(found[number]) == [pytest.approx(math.fsum(mine), abs=1e-6), len(mine)]


def test_without_clusters_and_without_jobs_there_is_nothing_to_sum() -> None:
    values = np.arange(6.0).reshape(3, 2)
    assert bootstrap.cluster_sums(values, None) is values
    assert bootstrap.cluster_sums(np.empty((0, 2)), []).shape == (0, 2)


def test_sums_too_large_for_single_precision_are_made_in_double() -> None:
    """Above 2^24 single precision skips every other whole number; a client may have so many jobs."""
    sums, weights = np.array([[2.0**24], [1.0], [1.0], [1.0]]), np.ones((1, 4), np.float32)
    assert bootstrap.resampled_sums(sums, weights)[0, 0] == 2**24 + 3
    assert bootstrap.exact(weights, 2.0**24).dtype == np.float32
    assert bootstrap.exact(weights, 2.0**24 + 1).dtype == np.float64
    assert bootstrap.exact(2 * weights, 2.0**23 + 1).dtype == np.float64


def _slow_ends(grid: JobGrid, window: str, at: tuple[str, str], a: int, b: int) -> tuple[float, float, int]:
    """Ends of an interval, with every job in every draw."""
    there = grid.listed[:, a] & grid.listed[:, b]
    if window == "last_12":
        jobs = grid.recent()
    elif window == "post_cutoff":
        jobs, there = (grid.after == 1).any(axis=1), there & (grid.after[:, a] == 1) & (grid.after[:, b] == 1)
    else:
        jobs = np.ones(len(grid.jobs), bool)
    weights = bootstrap.job_weights(int(jobs.sum()), DRAWS, SEED, grid.clients[jobs]).astype(float)
    gap = (grid.complete[at][:, a] - grid.complete[at][:, b])[jobs]
    known = there[jobs] & ~np.isnan(gap)
    units = len(set(grid.clients[jobs][known]))
    drawn = [float(row[known] @ gap[known] / row[known].sum()) if row[known].any() else math.nan for row in weights]
    lo, hi = bootstrap.interval(np.array(drawn)[:, None], units=[units])
    return float(lo[0]), float(hi[0]), units


def test_the_tables_intervals_are_those_of_drawing_job_by_job(grid: JobGrid) -> None:
    assert len(set(grid.clients)) < len(grid.jobs)
    rows = compare(grid, DRAWS, SEED).to_pylist()
    assert {row["window"] for row in rows} == {"all", "last_12", "post_cutoff"}
    for row in rows:
        a, b = (grid.models.index(row[key]) for key in ("model_a", "model_b"))
        lo, hi, units = _slow_ends(grid, row["window"], (row["round"], row["rule"]), a, b)
        assert (row["boot_lo"], row["boot_hi"]) == (pytest.approx(lo, abs=1e-9), pytest.approx(hi, abs=1e-9))
        assert row["n_clients"] == units


@pytest.mark.parametrize("columns", [1, 4, 6, 9, 12])
def test_how_much_is_resampled_at_once_changes_nothing(
    grid: JobGrid, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compare(grid, DRAWS, SEED)
    monkeypatch.setattr(comparisons, "_AT_ONCE_BYTES", 8 * DRAWS * columns)
    assert compare(grid, DRAWS, SEED).equals(whole)


def test_the_last_twelve_months_of_a_young_benchmark_are_all_of_them(grid: JobGrid) -> None:
    young = replace(grid, cohorts=np.where(grid.cohorts < "2025-08", "2025-01", "2025-02").astype(object))
    copied = [row for row in compare(young, DRAWS, SEED).to_pylist() if row["window"] == "last_12"]
    parts = comparisons._compare_window(young, "last_12", DRAWS, SEED)
    assert copied == [row for part in parts for row in part.to_pylist()] != []


@pytest.mark.parametrize("batch", [1, 7, 8192])
def test_the_grid_is_what_the_states_say_however_they_are_handed_over(
    tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = random_jobs(5, 12, MODELS)
    lake = built(tmp_path, jobs, MODELS)
    monkeypatch.setattr(engine, "_BATCH", batch)
    found = job_grid(lake)
    assert found.jobs == tuple(job.job_id for job in jobs)
    outcome = {"complete": 1.0, "failed": 0.0}
    for (at, job), (column, model) in itertools.product(enumerate(jobs), enumerate(MODELS)):
        assert job.after is not None
        assert found.listed[at, column]
        assert found.after[at, column] == float(bool(job.after[model]))
        for name, rule in itertools.product(HUMAN, RULES):
            before, now = state(job, model, name)
            assert found.before[name, rule][at, column] == before
            told = found.complete[name, rule][at, column]
            assert told == pytest.approx(outcome.get(now, math.nan), nan_ok=True)


@properties
@given(st.integers(0, 2**32), st.integers(1, 20), st.booleans())
def test_sums_of_money_are_drawn_by_client(seed: int, n: int, whole: bool) -> None:
    dice = np.random.default_rng(seed)
    columns = dice.integers(0, 50, (n, 2, 2)).astype(float) if whole else dice.lognormal(0, 1, (n, 2, 2))
    if dice.random() < 0.3:
        columns[0, 1, 1] = np.nan
    clients = dice.integers(0, max(n // 2, 1), n)
    plain, drawn = economics._sums(columns, clients, 8, seed)
    weights = bootstrap.job_weights(n, 8, seed, clients)
    assert plain == pytest.approx(columns.sum(axis=0), rel=1e-12, nan_ok=True)
    assert drawn == pytest.approx(np.einsum("dj,jxy->dxy", weights, columns), rel=1e-12, nan_ok=True)
