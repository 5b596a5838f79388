"""How far a month is from the months before it: prices, the mix of categories, graders' minutes, rates of passing.

Each figure comes with the limit beyond which a person should look. The population stability index of shares p against
shares q before is sum((p - q) ln(p / q)). More than 0.25 is commonly read as a major shift (N. Siddiqi, Credit Risk
Scorecards, Wiley 2006). Where nothing has changed it is still about (1/n + 1/m) times a chi-square with bins - 1
degrees of freedom (B. Yurdakul and J. Naranjo, Statistical properties of the population stability index, Journal of
Risk Model Validation 14, 2020), so that small months get a limit to match.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hapi_pipeline.checks.rules import Row
from hapi_pipeline.lake import Lake

PSI_LIMIT = 0.25
CHANCE = 0.01
"""How likely a month in which nothing has changed is to be beyond a limit that follows from its size."""
PRICE_BINS = 5
MINUTES_FACTOR = 3.0
"""Median minutes of a month may be so many times those before, or one so many times."""
PASS_POINTS = 0.15
"""The share of passed criteria may move by so much (of 1)."""
LEAST = 20
"""Rows below which a month, or what is before it, says too little."""
_MONTHS_BEFORE = 12

_JOBS = "SELECT cohort, coalesce(category, 'unknown') AS category, price_usd FROM benchmark_jobs ORDER BY ALL"
_MINUTES = "SELECT cohort, minutes FROM grades WHERE minutes IS NOT NULL AND round = 'agent_alone' ORDER BY ALL"
_PASSES = """
SELECT cohort, model, sum(n_passed)::BIGINT AS passed, sum(n_passed + n_failed)::BIGINT AS judged
FROM grades WHERE round = 'agent_alone' GROUP BY ALL ORDER BY ALL
"""


def stability_index(now: Sequence[int], before: Sequence[int]) -> float:
    """The population stability index of counts by bin against counts before; half a row is added to each bin."""
    n, m = sum(now) + len(now) / 2, sum(before) + len(before) / 2
    shares = [((a + 0.5) / n, (b + 0.5) / m) for a, b in zip(now, before, strict=True)]
    return sum((p - q) * math.log(p / q) for p, q in shares)


def index_limit(n: int, m: int, bins: int) -> float:
    """The index beyond which a month of n rows, against m before, is no longer a matter of chance and small change."""
    from scipy.stats import chi2

    return max(PSI_LIMIT, (1 / n + 1 / m) * float(chi2.ppf(1 - CHANCE, max(1, bins - 1))))


def job_figures(lake: Lake) -> list[Row]:
    """The indices of prices and categories of each month, against the twelve months before."""
    rows = _ask(lake, _JOBS, "benchmark_jobs")
    return [*_of_prices(rows), *_of_categories(rows)]


def _of_prices(rows: Sequence[Row]) -> Iterator[Row]:
    import numpy as np

    for cohort, now, before in _months([r for r in rows if r["price_usd"] is not None]):
        then = np.array([r["price_usd"] for r in before])
        cuts = np.unique(np.quantile(then, np.linspace(0, 1, PRICE_BINS + 1)[1:-1]))
        of_now, of_then = (
            np.bincount(np.searchsorted(cuts, values, side="right"), minlength=len(cuts) + 1).tolist()
            for values in ([r["price_usd"] for r in now], then)
        )
        yield _index("prices", cohort, of_now, of_then)


def _of_categories(rows: Sequence[Row]) -> Iterator[Row]:
    from collections import Counter

    for cohort, now, before in _months(rows):
        of_now, of_then = (Counter(r["category"] for r in some) for some in (now, before))
        names = sorted({*of_now, *of_then})
        yield _index("categories", cohort, [of_now[c] for c in names], [of_then[c] for c in names])


def _index(what: str, cohort: str, now: Sequence[int], before: Sequence[int]) -> Row:
    limit = index_limit(sum(now), sum(before), len(now))
    return _figure(cohort, f"mix of {what} (stability index)", stability_index(now, before), limit, now, before)


def _figure(cohort: str, what: str, value: float, limit: float, now: Sequence[int], before: Sequence[int]) -> Row:
    return {
        "cohort": cohort,
        "figure": what,
        "value": round(value, 4),
        "limit": round(limit, 4),
        "n": sum(now),
        "n_before": sum(before),
    }


def grading_figures(lake: Lake) -> list[Row]:
    """How far minutes, and the share of passed criteria of each model, moved from the twelve months before."""
    return [*_of_minutes(_ask(lake, _MINUTES, "grades")), *_of_passes(_ask(lake, _PASSES, "grades"))]


def _of_minutes(rows: Sequence[Row]) -> Iterator[Row]:
    from statistics import median

    for cohort, now, before in _months(rows):
        here, there = (median(r["minutes"] for r in some) for some in (now, before))
        apart = max(here, there) / max(min(here, there), 1e-9)
        told = f"minutes a packet (median {here:g} against {there:g}, so many times apart)"
        yield _figure(cohort, told, apart, MINUTES_FACTOR, [len(now)], [len(before)])


def _of_passes(rows: Sequence[Row]) -> Iterator[Row]:
    from scipy.stats import norm

    for model in sorted({r["model"] for r in rows}):
        own = [r for r in rows if r["model"] == model]
        for cohort, now, before in _months(own, least=1):
            (passed, n), (passed_before, m) = (
                (sum(r["passed"] for r in some), sum(r["judged"] for r in some)) for some in (now, before)
            )
            if min(n, m) < LEAST:
                continue
            share = (passed + passed_before) / (n + m)
            by_chance = float(norm.ppf(1 - CHANCE / 2)) * math.sqrt(share * (1 - share) * (1 / n + 1 / m))
            moved = abs(passed / n - passed_before / m)
            told = f"criteria passed by {model} ({passed / n:.1%} against {passed_before / m:.1%})"
            yield _figure(cohort, told, moved, max(PASS_POINTS, by_chance), [n], [m])


def _months(rows: Sequence[Row], least: int = LEAST) -> Iterator[tuple[str, list[Row], list[Row]]]:
    """Each month with its rows and those of the months before it, where both are enough to say something."""
    by_month: dict[str, list[Row]] = {}
    for row in rows:
        by_month.setdefault(row["cohort"], []).append(row)
    months = sorted(by_month)
    for number, cohort in enumerate(months):
        before = [row for month in months[max(0, number - _MONTHS_BEFORE) : number] for row in by_month[month]]
        if len(by_month[cohort]) >= least and len(before) >= least:
            yield cohort, by_month[cohort], before


def _ask(lake: Lake, sql: str, table: str) -> list[Row]:
    from hapi_pipeline.checks.rules import violations

    return violations(lake, sql, [table])


def minutes_by_month(lake: Lake) -> Mapping[str, list[dict[str, Any]]]:
    """What graders said of their time, by month."""
    found: dict[str, list[dict[str, Any]]] = {}
    sql = "SELECT cohort, grader, attempt_id, minutes FROM grades WHERE minutes IS NOT NULL ORDER BY ALL"
    for row in _ask(lake, sql, "grades"):
        found.setdefault(row["cohort"], []).append(row)
    return found
