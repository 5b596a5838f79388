"""Figures from jobs that were attempted several times: the job is the unit, never the attempt.

What is known of each job stands in two numbers: R, its graded attempts, and c, those of them that are complete. Jobs
with the same numbers count alike, so all here works on how many jobs there are of each kind.

Sources: Chen et al. (2021), arXiv 2107.03374, for pass@k; Yao et al. (2024), arXiv 2406.12045, for pass^k; Miller
(2024), arXiv 2411.00640, for errors over the means of questions; Korn & Graubard (1998), Survey Methodology 24:193, for
the effective size; Cameron, Gelbach & Miller (2011), Journal of Business & Economic Statistics 29:238, for two-way
errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import comb, fsum, sqrt
from typing import NamedTuple

from hapi_pipeline.stats.intervals import wilson

Jobs = Mapping[tuple[int, int], int]
"""How many jobs there are of each (graded attempts R, complete ones c); all R at least 1."""
Share = tuple[float, float]
"""What one cluster adds to a mean, as (sum of weight × outcome, sum of weight)."""


class Mean(NamedTuple):
    """A mean over jobs with its error, effective number of jobs and 95 % interval; None where that is not defined."""

    n: int
    value: float | None = None
    se: float | None = None
    n_eff: float | None = None
    lo: float | None = None
    hi: float | None = None


class Noise(NamedTuple):
    """Variance of one attempt's outcome: between jobs, and within a job from attempt to attempt."""

    jobs: float | None = None
    within: float | None = None


def pass_hat_k(graded: int, completed: int, k: int) -> float:
    """Chance that k attempts drawn from those of a job are all complete: C(c, k) / C(R, k). Needs R >= k."""
    return comb(completed, k) / comb(graded, k)


def pass_at_k(graded: int, completed: int, k: int) -> float:
    """Chance that at least one of k attempts drawn is complete: 1 - C(R - c, k) / C(R, k). Needs R >= k."""
    return 1 - comb(graded - completed, k) / comb(graded, k)


def mean_pass_hat(jobs: Jobs, k: int) -> Mean:
    """pass^k over the jobs with k graded attempts or more."""
    return _mean(jobs, k, pass_hat_k)


def mean_pass_at(jobs: Jobs, k: int) -> Mean:
    """pass@k over the jobs with k graded attempts or more."""
    return _mean(jobs, k, pass_at_k)


def mean_rate(jobs: Jobs) -> Mean:
    """Mean over jobs of the share of their attempts that are complete, with SE = sd / sqrt(n).

    With one attempt a job the interval is Wilson's over the jobs.
    """
    return _mean(jobs, 1, pass_hat_k)


def _mean(jobs: Jobs, k: int, of: Callable[[int, int, int], float]) -> Mean:
    """Mean of a figure between 0 and 1 over the jobs that have k graded attempts, with Wilson's interval over n_eff.

    n_eff = p(1 - p) n / (n - 1) / SE^2 is the number of jobs with one attempt each that would give this error; no more
    than the attempts taken k by k, for more than that they cannot tell; the n jobs where all or none count, for then
    the error says nothing. Times (t_attempts / t_jobs)^2, since the error itself was learnt from n jobs.
    """
    counted = sorted((of(r, c, k), many) for (r, c), many in jobs.items() if r >= k)
    n = sum(many for _, many in counted)
    if not n:
        return Mean(0)
    p = fsum(value * many for value, many in counted) / n
    if n == 1:
        return Mean(1, p, None, 1.0, *wilson(p, 1.0))
    se = sqrt(fsum(many * (value - p) ** 2 for value, many in counted) / (n - 1) / n)
    if all(value in (0, 1) for value, _ in counted):  # every job counts whole or not at all
        size = float(n)
    else:
        groups = sum(many * (r // k) for (r, _), many in jobs.items() if r >= k)
        size = min(p * (1 - p) * n / (n - 1) / se**2, float(groups)) if se > 0 else float(groups)
        size *= (_t975(groups - 1) / _t975(n - 1)) ** 2
    return Mean(n, p, se, size, *wilson(p * size, size))


def _t975(df: int) -> float:
    from scipy import special

    return float(special.stdtrit(df, 0.975))


def noise(jobs: Jobs) -> Noise:
    """Parts of Var(rate) = (jobs + within / R) / n, by the method of moments.

    `within`: mean over jobs with two graded attempts or more of s(1 - s) R / (R - 1), which is unbiased for p(1 - p);
    None where there is no such job. `jobs`: variance of the jobs' shares less what `within` explains of it, at least 0;
    None with fewer than two jobs, too.
    """
    repeated = sorted((c * (r - c) / (r * (r - 1)), many) for (r, c), many in jobs.items() if r > 1)
    n, n_repeated = sum(jobs.values()), sum(many for _, many in repeated)
    if not n_repeated:
        return Noise()
    within = fsum(value * many for value, many in repeated) / n_repeated
    spread = mean_rate(jobs).se
    if spread is None:
        return Noise(None, within)
    per_attempt = fsum(many / r for (r, _), many in sorted(jobs.items())) / n
    return Noise(max(spread**2 * n - within * per_attempt, 0.0), within)


def bounds(kinds: Mapping[tuple[int, int, int], int]) -> tuple[float | None, float | None]:
    """`mean_rate` if every attempt not known were incomplete, and if it were complete.

    `kinds` counts jobs by (attempts, graded, complete); those without a graded attempt are among them.
    """
    n = sum(kinds.values())
    if not n:
        return None, None
    listed = sorted(kinds.items())
    low = fsum(many * c / t for (t, _, c), many in listed) / n
    high = fsum(many * (c + t - r) / t for (t, r, c), many in listed) / n
    return low, high


def two_way_se(
    rate: float,
    jobs: Iterable[tuple[Share, int]],
    graders: Iterable[tuple[Share, int]],
    both: Iterable[tuple[Share, int]],
) -> float | None:
    """Standard error of a weighted mean whose items belong to a job and to a grader: V_job + V_grader - V_both.

    Each argument gives the clusters of one kind as shares of the mean (`rate` is the sum of the first parts, the second
    parts add up to 1), and how many clusters are the same. V = G / (G - 1) sum (a - rate b)^2. Never less than the
    error by job alone, which the sum can fall short of by chance. None with fewer than two jobs or graders.
    """
    by_job, by_grader, by_both = (_cluster_variance(rate, some) for some in (jobs, graders, both))
    if by_job is None or by_grader is None or by_both is None:
        return None
    return sqrt(max(by_job + by_grader - by_both, by_job))


def _cluster_variance(rate: float, shares: Iterable[tuple[Share, int]]) -> float | None:
    listed = sorted(shares)
    size = sum(many for _, many in listed)
    if size < 2:
        return None
    return size / (size - 1) * fsum(many * (a - rate * b) ** 2 for (a, b), many in listed)
