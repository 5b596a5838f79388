"""How far graders agree: raw agreement, Krippendorff's alpha, Gwet's AC1, Cohen's kappa; a job is the unit of chance.

Every coefficient is a function of sums over units (what was judged), so a resample of jobs needs only the sums of each
job and one matrix product with the weights of `stats.bootstrap.job_weights`.

Sources: Krippendorff (2011), Computing Krippendorff's Alpha-Reliability (nominal, any number of graders, missing
values); Gwet (2008), British Journal of Mathematical and Statistical Psychology 61:29, and Gwet (2014), Handbook of
Inter-Rater Reliability, 4th ed. (AC1 with missing values); Cohen (1960), Educational and Psychological Measurement
20:37; Efron (1987), JASA 82:171 (BCa); Hesterberg (2015), The American Statistician 69:371 (expanded quantiles);
Rogan & Gladen (1978), American Journal of Epidemiology 107:71; Lang & Reiczigel (2014), Preventive Veterinary Medicine
113:13. Coverage by simulation: bench/coverage_agreement.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[Any]
    Whole = NDArray[np.int64]

Z = 1.959963984540054
MIN_JOBS = 5
"""With fewer jobs a resample says nothing, and no interval is given (the Wilson ones apart)."""
MOST_UNDEFINED = 0.05
"""If a coefficient is undefined in more than this share of the resamples, it has no interval."""
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval; None where it is undefined or cannot be had."""

    value: float | None = None
    lo: float | None = None
    hi: float | None = None


@dataclass(frozen=True)
class Agreement:
    """How far graders agree on some units. Counts are of units judged by two graders or more, unless they say else."""

    n_units: int
    n_jobs: int
    n_pairs: int  # of verdicts on the same unit
    n_split: int  # units on which not all say the same
    prevalence: Mapping[int, float]  # value -> share of all verdicts on these units; empty without any
    raw: Estimate
    alpha: Estimate
    ac1: Estimate


def counts_of(units: Whole, values: Whole, n_units: int, n_values: int) -> Whole:
    """How many graders gave each unit each value: (n_units × n_values). A negative value is a missing one."""
    import numpy as np

    there = values >= 0
    flat = np.bincount(units[there] * n_values + values[there], minlength=n_units * n_values)
    return flat.reshape(n_units, n_values).astype(np.int64)


def agreement(counts: Whole, jobs: Whole, weights: Floats | None) -> Agreement:
    """Agreement over units, with intervals from resampled jobs.

    `counts` as of `counts_of`; `jobs` names for each unit the column of `weights` (draws × jobs) that it belongs to.
    Without weights only raw agreement has an interval: Wilson's at the effective number of units.
    """
    import numpy as np

    n_values = counts.shape[1]
    local, sums = _per_job(_unit_sums(counts), jobs)
    total = sums.sum(0)
    judged = counts.sum(1)
    doubled = judged >= 2
    n_units, n_jobs = int(doubled.sum()), len(np.unique(jobs[doubled]))
    raw = clustered_share(sums[:, 1], sums[:, 0])
    all_agree = n_units > 0 and bool((counts[doubled].max(1) == judged[doubled]).all())
    found = {}
    for name in ("alpha", "ac1"):
        of = _COEFFICIENTS[name]

        def at(rows: Floats, of: Callable[[Floats, int], Floats] = of) -> Floats:
            return of(rows, n_values)

        value = _number(at(total))
        if value is None or not all_agree:
            found[name] = resampled(at, sums, local, weights)
        else:  # no resample differs; what raw agreement may be at worst says what the coefficient may be
            found[name] = Estimate(value, _at_agreement(raw.lo, _number(_CHANCE[name](total, n_values))), 1.0)
    by_value = counts[doubled].sum(0)
    return Agreement(
        n_units=n_units,
        n_jobs=n_jobs,
        n_pairs=int((judged * (judged - 1) // 2).sum()),
        n_split=int((counts[doubled].max(1) < judged[doubled]).sum()) if n_units else 0,
        prevalence={k: float(n / by_value.sum()) for k, n in enumerate(by_value)} if n_units else {},
        raw=raw,
        **found,
    )


def cohens_kappa(first: Whole, second: Whole, jobs: Whole, weights: Floats | None, n_values: int = 2) -> Estimate:
    """Kappa of two graders over the units that both judged; a negative value is a missing one."""
    import numpy as np

    both = (first >= 0) & (second >= 0)
    table = np.zeros((int(both.sum()), n_values * n_values))
    table[np.arange(len(table)), first[both] * n_values + second[both]] = 1.0
    local, sums = _per_job(table, jobs[both])

    def at(rows: Floats) -> Floats:
        return _kappa(rows, n_values)

    value = _number(at(sums.sum(0)))
    diagonal = sums[:, :: n_values + 1].sum(1)
    if value is None or diagonal.sum() < sums.sum():
        return resampled(at, sums, local, weights)
    share = clustered_share(diagonal, sums.sum(1))
    return Estimate(value, _at_agreement(share.lo, _number(_kappa_chance(sums.sum(0), n_values))), 1.0)


# ---- the coefficients, of sums over units: (…, sums) -> (…), NaN where undefined


def _unit_sums(counts: Whole) -> Floats:
    """Of each unit: whether two judged it, share of agreeing pairs, Krippendorff's diagonal, values of pairable units,
    whether anyone judged it, shares of values."""
    import numpy as np

    each = counts.astype(np.float64)
    judged = each.sum(1)
    paired, rated = judged >= 2, judged >= 1
    same = (each * (each - 1)).sum(1)
    others = np.where(paired, judged - 1, 1.0)
    share = each / np.where(rated, judged, 1.0)[:, None]
    head = [
        paired,
        np.where(paired, same / (np.maximum(judged, 1) * others), 0.0),
        np.where(paired, same / others, 0.0),
    ]
    return np.column_stack([*head, each * paired[:, None], rated, share]).astype(np.float64)


def _alpha(sums: Floats, n_values: int) -> Floats:
    """1 - observed / expected disagreement, over the coincidences of pairable values."""
    by_value = sums[..., 3 : 3 + n_values]
    n = by_value.sum(-1)
    return 1 - _over((n - sums[..., 2]) * (n - 1), n * n - (by_value**2).sum(-1))


def _alpha_chance(sums: Floats, n_values: int) -> Floats:
    """Expected agreement of alpha."""
    by_value = sums[..., 3 : 3 + n_values]
    n = by_value.sum(-1)
    return _over((by_value * (by_value - 1)).sum(-1), n * (n - 1))


def _ac1(sums: Floats, n_values: int) -> Floats:
    """Gwet's AC1: chance agreement from the shares of the values over all units that anyone judged."""
    chance = _ac1_chance(sums, n_values)
    return _over(_over(sums[..., 1], sums[..., 0]) - chance, 1 - chance)


def _ac1_chance(sums: Floats, n_values: int) -> Floats:
    rated = sums[..., 3 + n_values]
    share = _over(sums[..., 4 + n_values : 4 + 2 * n_values], rated[..., None])
    chance: Floats = (share * (1 - share)).sum(-1) / (n_values - 1)
    return chance


def _kappa(sums: Floats, n_values: int) -> Floats:
    n = sums.sum(-1)
    chance = _kappa_chance(sums, n_values)
    return _over(_over(sums[..., :: n_values + 1].sum(-1), n) - chance, 1 - chance)


def _kappa_chance(sums: Floats, n_values: int) -> Floats:
    table = sums.reshape(*sums.shape[:-1], n_values, n_values)
    n = sums.sum(-1)
    return _over((table.sum(-1) * table.sum(-2)).sum(-1), n * n)


_COEFFICIENTS: dict[str, Callable[[Floats, int], Floats]] = {"alpha": _alpha, "ac1": _ac1}
_CHANCE: dict[str, Callable[[Floats, int], Floats]] = {"alpha": _alpha_chance, "ac1": _ac1_chance}


def _over(above: Floats, below: Floats) -> Floats:
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(below) > 1e-12, np.asarray(above) / below, np.nan)


def _number(value: Any) -> float | None:
    """A figure; None for NaN. Rounding errors at the upper end are taken off."""
    number = float(value)
    return None if math.isnan(number) else 1.0 if abs(number - 1) < 1e-12 else number


def _at_agreement(raw: float | None, chance: float | None) -> float | None:
    """A coefficient at another raw agreement than the observed one, with the chance term as it is."""
    return None if raw is None or chance is None or chance >= 1 else (raw - chance) / (1 - chance)


# ---- intervals


def _per_job(unit_sums: Floats, jobs: Whole) -> tuple[Whole, Floats]:
    """The jobs that occur, in order, and their sums."""
    import numpy as np

    local, place = np.unique(jobs, return_inverse=True)
    sums = np.zeros((len(local), unit_sums.shape[1]))
    np.add.at(sums, place, unit_sums)
    return local.astype(np.int64), sums


def resampled(at: Callable[[Floats], Floats], sums: Floats, jobs: Whole, weights: Floats | None) -> Estimate:
    """A figure that is a function `at` of sums over jobs (jobs × sums), with its BCa interval over resampled jobs.

    `jobs` names the column of `weights` (draws × all jobs) of each row of `sums`.
    """
    import numpy as np

    from hapi_pipeline.stats.bootstrap import BLOCK_BYTES, resampled_sums

    value = _number(at(sums.sum(0)))
    if value is None or weights is None or len(sums) < MIN_JOBS:
        return Estimate(value)
    rows = max(1, BLOCK_BYTES // (8 * len(sums)))
    draws = np.concatenate([at(resampled_sums(sums, w[:, jobs])) for w in _blocks(weights, rows)])
    defined = draws[~np.isnan(draws)]
    if len(defined) < (1 - MOST_UNDEFINED) * len(draws):
        return Estimate(value)
    return Estimate(value, *bca(value, defined, at(sums.sum(0) - sums)))


def _blocks(weights: Floats, rows: int) -> Iterator[Floats]:
    for start in range(0, len(weights), rows):
        yield weights[start : start + rows]


def bca(
    value: float, draws: Floats, left_out: Floats, level: float = 0.95, expanded: bool = True
) -> tuple[float, float]:
    """Efron's bias-corrected and accelerated interval; `left_out` are the figures with one job left out each.

    With `expanded` the normal quantile gives way to Hesterberg's, a t quantile times sqrt(n / (n - 1)), because a
    bootstrap of few jobs is too narrow.
    """
    import numpy as np
    from scipy import special

    n = len(left_out)
    wide = math.sqrt(n / (n - 1)) * float(special.stdtrit(n - 1, (1 + level) / 2))
    tail_z = wide if expanded else _NORMAL.inv_cdf((1 + level) / 2)

    below = (float((draws < value - 1e-12).sum()) + 0.5 * float((np.abs(draws - value) <= 1e-12).sum())) / len(draws)
    shift = _NORMAL.inv_cdf(min(max(below, 0.5 / len(draws)), 1 - 0.5 / len(draws)))
    known = left_out[~np.isnan(left_out)]
    away = known.mean() - known if len(known) else np.zeros(1)
    spread = float((away**2).sum()) ** 1.5
    pull = float((away**3).sum()) / (6 * spread) if spread > 0 else 0.0
    ends = []
    for z in (shift - tail_z, shift + tail_z):
        ends.append(_NORMAL.cdf(shift + z / (1 - pull * z)) if pull * z < 1 else float(z > 0))
    lo, hi = np.quantile(draws, ends)
    return float(lo), float(hi)


def wilson(positive: float, judged: float) -> tuple[float, float]:
    """Wilson's 95 % interval for a share; needs judged > 0 (a fraction where it is an effective size)."""
    from hapi_pipeline.audit.intervals import wilson as ends

    return ends(positive, judged)


def clustered_share(positive: Floats, judged: Floats) -> Estimate:
    """A share over jobs (positive and judged of each job) with Wilson's interval at the effective number of units.

    The effective number is p(1 - p) over the variance of p with the job as cluster, at most the real number of units;
    where the jobs do not differ (all or none, a single job) it is the number of jobs.
    """
    total = float(judged.sum())
    if total <= 0:
        return Estimate()
    share = min(max(float(positive.sum()) / total, 0.0), 1.0)
    n_jobs = int((judged > 0).sum())
    variance = 0.0
    if n_jobs > 1:
        variance = n_jobs / (n_jobs - 1) * float(((positive - share * judged) ** 2).sum()) / total**2
    known = variance > 1e-15 and 1e-12 < share < 1 - 1e-12
    size = min(share * (1 - share) / variance, total) if known else float(n_jobs)
    return Estimate(share, *wilson(share * size, size))


# ---- a rate corrected for graders' errors


@dataclass(frozen=True)
class Counts:
    """What a correction is made from: apparent positives of all; of the true ones and the others those judged right."""

    n: int
    positive: int
    n_true: int
    hits: int
    n_false: int
    rejections: int


def rogan_gladen(counts: Counts) -> Estimate:
    """The share that is truly positive when a share is judged so with errors; clipped to 0…1.

    p* = (p + spec - 1) / (sens + spec - 1), with Lang and Reiczigel's interval, which takes in that sensitivity and
    specificity are estimates, and stays sensible where no error was seen. Undefined without judged ones of every kind,
    or where judging is no better than chance.
    """
    if not (counts.n and counts.n_true and counts.n_false):
        return Estimate()
    sens, spec = counts.hits / counts.n_true, counts.rejections / counts.n_false
    if sens + spec - 1 <= 0:
        return Estimate()
    value = (counts.positive / counts.n + spec - 1) / (sens + spec - 1)
    size, n_true, n_false = counts.n + Z * Z, counts.n_true + 2, counts.n_false + 2
    share = (counts.positive + Z * Z / 2) / size
    sens, spec = (counts.hits + 1) / n_true, (counts.rejections + 1) / n_false
    slope = sens + spec - 1
    if slope <= 0:
        return Estimate(_clipped(value))
    centre = (share + spec - 1) / slope
    of_sens, of_spec = sens * (1 - sens) / n_true, spec * (1 - spec) / n_false
    moved = centre + 2 * Z * Z * (centre * of_sens - (1 - centre) * of_spec)
    half = Z / slope * math.sqrt(share * (1 - share) / size + centre**2 * of_sens + (1 - centre) ** 2 * of_spec)
    return Estimate(_clipped(value), _clipped(moved - half), _clipped(moved + half))


def _clipped(share: float) -> float:
    return min(max(share, 0.0), 1.0)
