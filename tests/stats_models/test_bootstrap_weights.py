"""The bootstrap's weights, means and intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hapi_pipeline.stats import bootstrap


def test_a_draw_takes_as_many_jobs_as_there_are_and_each_as_often_as_any_other() -> None:
    weights = bootstrap.job_weights(40, 4000, seed=1)
    assert weights.dtype == np.float32
    assert (weights.sum(axis=1) == 40).all()
    assert (weights == np.rint(weights)).all()
    # a weight is Binomial(n, 1/n); the correlation of two is -1 / (n - 1)
    assert weights.mean(axis=0) == pytest.approx(np.ones(40), abs=0.08)
    assert weights.var() == pytest.approx(1 - 1 / 40, abs=0.02)
    assert np.asarray(np.corrcoef(weights.T))[np.triu_indices(40, 1)].mean() == pytest.approx(-1 / 39, abs=0.005)


def test_the_same_seed_gives_the_same_weights_and_blocks_are_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap.job_weights(30, 100, seed=5)
    monkeypatch.setattr(bootstrap, "BLOCK_BYTES", 30 * 8 * 7)
    blocks = list(bootstrap.weight_blocks(30, 100, seed=5))
    assert [len(block) for block in blocks] == [7] * 14 + [2]
    assert np.array_equal(np.concatenate(blocks), whole)
    assert not np.array_equal(bootstrap.job_weights(30, 100, seed=6), whole)


def test_whole_clients_are_drawn() -> None:
    clients = ["a", "b", "a", "c", "a"]
    weights = bootstrap.job_weights(5, 2000, clusters=clients)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert set(weights.sum(axis=1)) > {3.0, 9.0}
    with pytest.raises(ValueError, match="2 clusters for 3 jobs"):
        bootstrap.job_weights(3, 10, clusters=[1, 2])


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 4), st.booleans())
def test_means_are_those_of_a_loop(seed: int, n: int, models: int, whole: bool) -> None:
    dice = np.random.default_rng(seed)
    values = (dice.random((n, models)) < 0.5).astype(float) if whole else dice.normal(0, 100, (n, models))
    values[dice.random((n, models)) < 0.3] = np.nan
    weights = bootstrap.job_weights(n, 20, seed)
    found = bootstrap.resampled_means(values, weights)
    for draw in range(20):
        for model in range(models):
            taken = [values[j, model] for j in range(n) for _ in range(int(weights[draw, j]))]
            known = [v for v in taken if not np.isnan(v)]
            if known:
                assert found[draw, model] == pytest.approx(sum(known) / len(known), abs=1e-9)
            else:
                assert np.isnan(found[draw, model])
    assert np.array_equal(bootstrap.bootstrap_means(values, 20, seed), found, equal_nan=True)


def test_percentiles_are_those_of_scipys_bootstrap_but_for_chance() -> None:
    values = np.random.default_rng(3).exponential(1, 80)
    lo, hi = bootstrap.interval(bootstrap.bootstrap_means(values[:, None], 20_000))
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=7).confidence_interval
    assert (lo[0], hi[0]) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_few_units_widen_the_interval_as_student_does() -> None:
    draws = np.random.default_rng(1).normal(0, 1, (200_000, 2))
    lo, hi = bootstrap.interval(draws, units=[8, 1_000_000])
    assert hi[1] == pytest.approx(1.96, abs=0.02)
    assert hi[0] == pytest.approx(np.sqrt(8 / 7) * stats.t.ppf(0.975, 7), abs=0.04)
    assert lo[0] == pytest.approx(-hi[0], abs=0.06)


def test_no_interval_where_draws_are_missing_or_a_single_unit_stands_behind_it() -> None:
    draws = np.tile(np.linspace(0, 1, 101)[:, None], 4)
    draws[:20, 0] = np.nan
    draws[:5, 1] = np.nan
    draws[-10:, 3] = np.inf
    lo, hi = bootstrap.interval(draws, units=[50, np.inf, 1, np.inf])
    assert np.isnan([lo[0], hi[0], lo[2], hi[2]]).all()
    assert (lo[1], hi[1]) == pytest.approx((0.05 + 0.95 * 0.025, 1 - 0.95 * 0.025))
    assert lo[3] == pytest.approx(0.025)
    assert not np.isfinite(hi[3])
