"""Shares estimated from stratified samples, with 95 % intervals that hold for small ones.

Sources: Wilson (1927), JASA 22:209, for a share of one sample; Zou & Donner (2008), Statistics in Medicine 27:1693, for
a weighted sum of shares (MOVER: recover each share's variance from its own limits); Donner & Zou (2012), Statistical
Methods in Medical Research 21:347, for a ratio of two such sums; Brown, Cai & DasGupta (2001), Statistical Science
16:101, for the ends of intervals of sparse counts; Kish (1965), Survey Sampling, for effective sizes. Coverage by
simulation: docs/curation_audit.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hapi_pipeline.stats.intervals import wilson as wilson


@dataclass(frozen=True)
class Stratum:
    """Jobs of one kind: how many there are, how many of them a person judged, how many of these count."""

    population: int
    judged: float  # a fraction where strata were merged
    positive: float  # a fraction too where a missing reason was shared out

    @property
    def share(self) -> float:
        """The share of the judged jobs that count."""
        return self.positive / self.judged


@dataclass(frozen=True)
class Estimate:
    """A share and its 95 % interval; all None where nothing is known."""

    value: float | None = None
    lo: float | None = None
    hi: float | None = None


UNKNOWN = Estimate()


def sparse_wilson(positive: float, judged: float) -> tuple[float, float]:
    """The Wilson interval with the ends that Brown, Cai & DasGupta give it where few jobs count, or nearly all.

    There, up to three of them, Wilson's own end is too close. Fractions are interpolated.
    """
    lo, hi = wilson(positive, judged)
    return min(lo, _poisson_end(positive, judged)), max(hi, 1 - _poisson_end(judged - positive, judged))


_POISSON_ENDS = (0.0, 0.051293, 0.355362, 0.817691)  # half the 5 % quantile of chi-square with 2 x degrees of freedom


def _poisson_end(positive: float, judged: float) -> float:
    """Lower end for up to two cases, or three where more than 50 were judged, as a share; 1 (no limit) for more."""
    most = 2 if judged <= 50 else 3
    if positive > most:
        return 1.0
    below = int(positive)
    above = min(below + 1, 3)
    return (_POISSON_ENDS[below] + (positive - below) * (_POISSON_ENDS[above] - _POISSON_ENDS[below])) / judged


def merged(strata: Sequence[Stratum]) -> Stratum | None:
    """Strata of one kind (the months of one decision) as a single one: None where nobody judged a job of one of them.

    Its share is the population-weighted one, its sample size Kish's effective size 1 / sum(W² / n), so that months of
    which a smaller part was judged do not pretend to more than they know.
    """
    strata = [s for s in strata if s.population]
    if not all(s.judged for s in strata):
        return None
    if len(strata) < 2:
        return strata[0] if strata else Stratum(0, 0, 0)
    population = sum(s.population for s in strata)
    share = sum(s.population * s.share for s in strata) / population
    size = population**2 / sum(s.population**2 / s.judged for s in strata)
    return Stratum(population, size, share * size)


def share_of(strata: Sequence[Stratum]) -> Estimate:
    """The share of all jobs of these strata that count, with the Wilson interval; each weighted by its population.

    Unknown where there is no job, or a stratum without a judged one.
    """
    whole = merged(strata)
    if whole is None or not whole.judged:
        return UNKNOWN
    return Estimate(whole.share, *wilson(whole.positive, whole.judged))


@dataclass(frozen=True)
class _Total:
    """Estimated number of jobs that count, and how far its lower and upper limits are away from it."""

    value: float
    down: float
    up: float


def _total(strata: Sequence[Stratum]) -> _Total:
    value, down, up = 0.0, 0.0, 0.0
    for stratum in strata:
        if stratum.population:
            lo, hi = sparse_wilson(stratum.positive, stratum.judged)
            value += stratum.population * stratum.share
            down += (stratum.population * (stratum.share - lo)) ** 2
            up += (stratum.population * (hi - stratum.share)) ** 2
    return _Total(value, min(math.sqrt(down), value), math.sqrt(up))


def caught_of(caught: Sequence[Stratum], escaped: Sequence[Sequence[Stratum]]) -> Estimate:
    """Of all jobs that count, the share that stands in the `caught` strata: A / (A + B).

    `escaped` are strata (of several months) by kind. A and B are sums over different samples, so independent. The
    limits are those ratios t = A / B at which the MOVER limits of A - t B reach zero. Unknown where a stratum has no
    judged job, or no judged job counts.
    """
    kinds = [merged(caught), *map(merged, escaped)]
    if any(kind is None for kind in kinds):
        return UNKNOWN
    first, *others = [kind for kind in kinds if kind is not None]
    a, b = _total([first]), _total(others)
    if a.value + b.value <= 0:
        return UNKNOWN
    # (A - t B)² = c² + t² d² with the distances c, d towards each end, solved so that nothing cancels
    near, rest = a.value**2 - a.down**2, b.value**2 - b.down**2
    low = _over(near, a.value * b.value + math.sqrt((b.value * a.down) ** 2 + near * b.up**2)) if near > 0 else 0.0
    high = _over(a.value * b.value + math.sqrt((a.value * b.down) ** 2 + a.up**2 * rest), rest)
    return Estimate(a.value / (a.value + b.value), _from_odds(low), _from_odds(high))


def _over(x: float, y: float) -> float:
    return x / y if y > 0 else math.inf


def _from_odds(odds: float) -> float:
    return 1.0 if math.isinf(odds) else odds / (1 + odds)
