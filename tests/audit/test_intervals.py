"""Shares and their intervals: against other implementations, and by simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import chi2
from statsmodels.stats.proportion import proportion_confint

from bench.audit_coverage import SCENARIOS, Scenario, coverage
from hapi_pipeline.audit.intervals import UNKNOWN, Stratum, caught_of, merged, share_of, sparse_wilson, wilson


@st.composite
def strata(draw: st.DrawFn, least: int = 1) -> Stratum:
    judged = draw(st.integers(1, 60))
    return Stratum(draw(st.integers(least, 5000)), judged, draw(st.integers(0, judged)))


@given(strata())
def test_the_share_of_one_stratum_has_the_interval_of_wilson(stratum: Stratum) -> None:
    found = share_of([stratum])
    lo, hi = proportion_confint(stratum.positive, stratum.judged, method="wilson")
    assert (found.value, found.lo, found.hi) == pytest.approx((stratum.positive / stratum.judged, lo, hi), abs=1e-9)
    assert wilson(stratum.positive, stratum.judged) == (found.lo, found.hi)


@pytest.mark.parametrize("positive", [1, 2, 3])
def test_few_cases_have_the_end_of_a_poisson_count(positive: int) -> None:
    end = chi2.ppf(0.05, 2 * positive) / 2 / 80
    assert end < wilson(positive, 80)[0]
    assert sparse_wilson(positive, 80)[0] == pytest.approx(end, rel=1e-4)
    assert sparse_wilson(80 - positive, 80)[1] == pytest.approx(1 - end, rel=1e-4)
    assert sparse_wilson(4, 80) == wilson(4, 80)
    assert sparse_wilson(3, 40) == wilson(3, 40)  # the end for three cases needs more than 50


@given(st.floats(0, 60), st.integers(1, 60))
def test_intervals_of_fractions_are_wider_and_hold_the_share(positive: float, judged: int) -> None:
    positive = min(positive, judged)
    lo, hi = sparse_wilson(positive, judged)
    plain_lo, plain_hi = wilson(positive, judged)
    assert 0 <= lo <= plain_lo + 1e-12 <= positive / judged + 1e-9
    assert positive / judged - 1e-9 <= plain_hi <= hi + 1e-12 <= 1 + 2e-12


@given(st.lists(strata(), min_size=1, max_size=6))
def test_months_are_merged_by_weight_in_any_order(months: list[Stratum]) -> None:
    whole = merged(months)
    assert whole is not None
    jobs = sum(s.population for s in months)
    assert whole.population == jobs
    assert whole.share == pytest.approx(sum(s.population / jobs * s.positive / s.judged for s in months))
    assert whole.judged <= sum(s.judged for s in months) + 1e-9  # an uneven sample is worth less than its size
    assert share_of(months[::-1]).hi == pytest.approx(share_of(months).hi)


def test_months_judged_in_proportion_are_one_sample() -> None:
    whole = merged([Stratum(100, 10, 4), Stratum(300, 30, 3), Stratum(0, 0, 0)])
    assert whole is not None
    assert (whole.population, whole.judged, whole.positive) == pytest.approx((400, 40, 7))


def test_months_judged_out_of_proportion_are_worth_less_than_their_size() -> None:
    whole = merged([Stratum(100, 10, 10), Stratum(300, 10, 0)])
    assert whole is not None
    # the variance of the weighted share is that of 16 jobs: (1/4)² / 10 + (3/4)² / 10 = 1 / 16
    assert (whole.population, whole.judged, whole.positive) == pytest.approx((400, 16, 4))


def slow_limits(caught: Sequence[Stratum], escaped: Sequence[Stratum]) -> tuple[float, float, float]:
    """The same definition by search: the recall r at which the MOVER limits of (1 - r) A - r B reach zero."""

    def parts(group: Sequence[Stratum]) -> tuple[float, float, float]:
        value = sum(s.population * s.positive / s.judged for s in group)
        ends = [
            (s.population * s.positive / s.judged, s.population, sparse_wilson(s.positive, s.judged)) for s in group
        ]
        down = math.hypot(*(at - size * lo for at, size, (lo, _) in ends))
        return value, down, math.hypot(*(size * hi - at for at, size, (_, hi) in ends))

    a, a_down, a_up = parts(caught)
    b, b_down, b_up = parts(escaped)

    def lower(r: float) -> float:
        return (1 - r) * a - r * b - math.hypot((1 - r) * a_down, r * b_up)

    def upper(r: float) -> float:
        return (1 - r) * a - r * b + math.hypot((1 - r) * a_up, r * b_down)

    lo = 0.0 if lower(0) <= 0 else float(brentq(lower, 0, 1, xtol=1e-13))
    hi = 1.0 if upper(1) >= 0 else float(brentq(upper, 0, 1, xtol=1e-13))
    return a / (a + b), lo, hi


@given(strata(), st.lists(strata(), min_size=1, max_size=6))
def test_recall_is_what_a_search_for_its_limits_finds(caught: Stratum, escaped: list[Stratum]) -> None:
    found = caught_of([caught], [[s] for s in escaped])
    if not caught.positive and not any(s.positive for s in escaped):
        assert found == UNKNOWN
        return
    assert found.value is not None
    assert found.lo is not None
    assert found.hi is not None
    assert 0 <= found.lo <= found.value + 1e-12 <= found.hi + 2e-12 <= 1 + 3e-12
    assert (found.value, found.lo, found.hi) == pytest.approx(slow_limits([caught], escaped), abs=1e-6)


def test_ends_are_open_where_nothing_was_caught_or_nothing_escaped() -> None:
    all_caught = caught_of([Stratum(50, 10, 10)], [[Stratum(500, 30, 0)]])
    assert (all_caught.value, all_caught.hi) == (1.0, 1.0)
    assert all_caught.lo is not None
    assert 0 < all_caught.lo < 0.6  # thirty of five hundred rule out little
    none_caught = caught_of([Stratum(50, 10, 0)], [[Stratum(500, 30, 20)]])
    assert (none_caught.value, none_caught.lo) == (0.0, 0.0)
    assert caught_of([], [[Stratum(500, 30, 20)]]).hi == 0.0  # a rule that turned nothing away
    assert caught_of([Stratum(50, 10, 10)], []).lo == 1.0  # nothing else reached it


def test_a_stratum_that_nobody_judged_makes_the_share_unknown() -> None:
    assert caught_of([Stratum(50, 10, 9)], [[Stratum(500, 30, 1)], [Stratum(1, 0, 0)]]) == UNKNOWN
    assert caught_of([Stratum(50, 10, 9)], [[Stratum(500, 30, 1)], [Stratum(0, 0, 0)]]) != UNKNOWN
    assert share_of([Stratum(5, 0, 0)]) == share_of([]) == UNKNOWN


@pytest.mark.parametrize("scenario", [SCENARIOS[1], SCENARIOS[3], SCENARIOS[7], SCENARIOS[9]], ids=lambda s: s.name)
def test_the_intervals_hold_the_truth_as_often_as_they_say(scenario: Scenario) -> None:
    found = coverage(scenario, 500, seed=7, posteriors=False)
    assert 0.92 <= found.recall <= 0.995
    assert found.precision >= 0.88  # Wilson's own for ten jobs and a share of .95: .91
