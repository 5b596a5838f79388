"""The table repeatability: how far a model's results repeat where jobs were attempted several times.

What is here: which attempts, and how they are counted. The formulas are in `stats/repeats.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.engine import Files, on_files
from hapi_pipeline.stats import repeats
from hapi_pipeline.stats.repeats import Share
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

    from hapi_pipeline.lake import Lake
    from hapi_pipeline.registry import Registry

MOST_K = 16
"""pass^k is told up to this k, or up to the largest number of graded attempts at one job."""

_INPUTS = ("attempt_outcomes", "grades")
_AT_ONCE_BYTES = 8 << 20
"""So large are the files, at most, that are worked on at once; those of one model alone may have more."""

# every attempt under each rule; what is not known yet has no `complete`
_TOLD = """
    told AS (
        SELECT attempt_id, model, round, cohort, job_id, outcome, simulated, 'all_criteria' AS rule,
            all_criteria AS complete
        FROM attempt_outcomes
        UNION ALL
        SELECT attempt_id, model, round, cohort, job_id, outcome, simulated, 'required_criteria', required_criteria
        FROM attempt_outcomes
    )
"""
_JOBS = f"""
    WITH {_TOLD},
    jobs AS (
        SELECT model, round, rule, count(*) AS attempts, count(complete) AS graded,
            count(*) FILTER (WHERE complete) AS completed,
            count(*) FILTER (WHERE complete IS NULL AND outcome = 'infra') AS infra, bool_or(simulated) AS simulated
        FROM told GROUP BY model, round, rule, cohort, job_id
    )
    SELECT model, round, rule, attempts, graded, completed, count(*) AS jobs, sum(infra)::BIGINT AS infra,
        bool_or(simulated) AS simulated
    FROM jobs GROUP BY model, round, rule, attempts, graded, completed
"""  # noqa: S608
# An attempt counts 1/R for its job, and of that every one of its graders has the same part. An attempt that nobody had
# to judge, for nothing was handed in, has its job for a grader, which adds nothing to the error.
_JUDGED = f"""
    WITH {_TOLD},
    graded AS (
        SELECT *, count(*) OVER (PARTITION BY model, round, rule, cohort, job_id) AS attempts
        FROM told WHERE complete IS NOT NULL
    ),
    voices AS (
        SELECT attempt_id, grader, count(*) OVER (PARTITION BY attempt_id) AS voices FROM grades
    ),
    judged AS (
        SELECT g.model, g.round, g.rule, g.cohort, g.job_id, v.grader, g.attempts * coalesce(v.voices, 1) AS parts,
            count(*) AS many, count(*) FILTER (WHERE g.complete) AS completed
        FROM graded g LEFT JOIN voices v USING (attempt_id)
        GROUP BY ALL
    )
"""  # noqa: S608
_BY_GRADER = f"""
    {_JUDGED}
    SELECT model, round, rule, coalesce('g' || grader, 'j' || cohort || ' ' || job_id) AS clusters,
        grader IS NOT NULL AS named, parts, sum(many)::BIGINT AS many, sum(completed)::BIGINT AS completed
    FROM judged GROUP BY ALL
"""  # noqa: S608
_BY_BOTH = f"""
    {_JUDGED},
    pairs AS (
        SELECT model, round, rule, list({{parts: parts, many: many, completed: completed}} ORDER BY parts) AS items
        FROM judged GROUP BY model, round, rule, cohort, job_id, grader
    )
    SELECT model, round, rule, items, count(*) AS pairs FROM pairs GROUP BY ALL
"""  # noqa: S608

Cell = tuple[str, str, str]
"""(model, round, rule)"""


@dataclass
class Counted:
    """The attempts of a model in a round under a rule, counted."""

    kinds: Counter[tuple[int, int, int]] = field(default_factory=Counter)  # jobs by (attempts, graded, complete)
    infra: int = 0
    simulated: bool = False
    graders: dict[str, list[Share]] = field(default_factory=lambda: defaultdict(list))  # not yet divided by jobs
    named: set[str] = field(default_factory=set)  # of these, people
    pairs: Counter[Share] = field(default_factory=Counter)  # job × grader, the same

    @property
    def jobs(self) -> Counter[tuple[int, int]]:
        """Jobs with a graded attempt, by (graded, complete)."""
        found: Counter[tuple[int, int]] = Counter()
        for (_, graded, completed), many in self.kinds.items():
            if graded:
                found[graded, completed] += many
        return found


def repeatability(lake: Lake, registry: Registry, scope: Mapping[str, str]) -> pa.Table:
    """All rows of the table."""
    import pyarrow as pa

    counted = _counted(lake)
    rows = [row for cell in sorted(counted) for row in _rows(cell, counted[cell])]
    return pa.Table.from_pylist(rows, schema=TABLES["repeatability"].schema())


def _counted(lake: Lake) -> dict[Cell, Counted]:
    found: dict[Cell, Counted] = defaultdict(Counted)
    for files in _some_models(lake):
        _count(files, found)
    return found


def _some_models(lake: Lake) -> Iterator[Files]:
    """The files of each input, of some models at a time: no cell needs two models, and all at once are many rows."""
    by_model: dict[str, dict[str, list[Path]]] = defaultdict(lambda: {table: [] for table in _INPUTS})
    for table in _INPUTS:
        for keys, path in zip(lake.partitions(table), lake.files(table), strict=True):
            by_model[keys["model"]][table].append(path)
    batch: dict[str, list[Path]] = {table: [] for table in _INPUTS}
    size = 0
    for _, files in sorted(by_model.items()):
        own = sum(path.stat().st_size for paths in files.values() for path in paths)
        if size and size + own > _AT_ONCE_BYTES:
            yield batch
            batch, size = {table: [] for table in _INPUTS}, 0
        batch = {table: batch[table] + files[table] for table in _INPUTS}
        size += own
    yield batch


def _count(files: Files, found: dict[Cell, Counted]) -> None:
    """Count the attempts in these files."""
    jobs, by_grader, by_both = on_files(
        files, lambda connection: [connection.execute(sql).fetchall() for sql in (_JOBS, _BY_GRADER, _BY_BOTH)]
    )
    for model, round_, rule, attempts, graded, completed, many, infra, simulated in jobs:
        cell = found[model, round_, rule]
        cell.kinds[attempts, graded, completed] += many
        cell.infra += infra
        cell.simulated |= simulated
    for model, round_, rule, cluster, named, parts, many, completed in by_grader:
        cell = found[model, round_, rule]
        cell.graders[cluster].append((completed / parts, many / parts))
        cell.named |= {cluster} if named else set()
    for model, round_, rule, items, pairs in by_both:
        shares = [(item["completed"] / item["parts"], item["many"] / item["parts"]) for item in items]
        found[model, round_, rule].pairs[_added(shares)] += pairs


def _added(shares: list[Share]) -> Share:
    return fsum(a for a, _ in shares), fsum(b for _, b in shares)


def _rows(cell: Cell, counted: Counted) -> list[dict[str, Any]]:
    """A row for each k; one without pass^k where nothing is graded."""
    jobs = counted.jobs
    most = max((graded for graded, _ in jobs), default=1)
    facts = dict(zip(("model", "round", "rule"), cell, strict=True)) | _facts(counted, jobs)
    return [facts | _of_k(jobs, k) for k in range(1, min(most, MOST_K) + 1)]


def _facts(counted: Counted, jobs: Counter[tuple[int, int]]) -> dict[str, Any]:
    """What does not depend on k."""
    rate, noise = repeats.mean_rate(jobs), repeats.noise(jobs)
    low, high = repeats.bounds(counted.kinds) if jobs else (None, None)
    attempts = sum(many * total for (total, _, _), many in counted.kinds.items())
    graded = sum(many * graded for (graded, _), many in jobs.items())
    return {
        "window": "all",
        "n_jobs": sum(counted.kinds.values()),
        "n_jobs_graded": rate.n,
        "n_jobs_repeated": sum(many for (graded, _), many in jobs.items() if graded > 1),
        "n_attempts": attempts,
        "n_graded": graded,
        "n_pending": attempts - graded - counted.infra,
        "n_infra": counted.infra,
        "n_completed": sum(many * completed for (_, completed), many in jobs.items()),
        "attempts_min": min((graded for graded, _ in jobs), default=None),
        "attempts_max": max((graded for graded, _ in jobs), default=None),
        "rate": rate.value,
        "rate_se": rate.se,
        "n_eff": rate.n_eff,
        "rate_lo": rate.lo,
        "rate_hi": rate.hi,
        "bound_lo": low,
        "bound_hi": high,
        "var_jobs": noise.jobs,
        "var_within": noise.within,
        "n_graders": len(counted.named),
        "rate_se_graders": _se_graders(counted, jobs, rate),
        "simulated": counted.simulated,
    }


def _se_graders(counted: Counted, jobs: Counter[tuple[int, int]], rate: repeats.Mean) -> float | None:
    """The error that takes attempts judged by one grader as alike, too; None with fewer than two graders."""
    if rate.value is None or len(counted.named) < 2:
        return None
    n = rate.n
    return repeats.two_way_se(
        rate.value,
        [((completed / graded / n, 1 / n), many) for (graded, completed), many in jobs.items()],
        [((a / n, b / n), 1) for a, b in map(_added, counted.graders.values())],
        [((a / n, b / n), many) for (a, b), many in counted.pairs.items()],
    )


def _of_k(jobs: Counter[tuple[int, int]], k: int) -> dict[str, Any]:
    every, some = repeats.mean_pass_hat(jobs, k), repeats.mean_pass_at(jobs, k)
    return {
        "k": k,
        "n_jobs_k": every.n,
        "pass_hat_k": every.value,
        "pass_hat_lo": every.lo,
        "pass_hat_hi": every.hi,
        "pass_at_k": some.value,
        "pass_at_lo": some.lo,
        "pass_at_hi": some.hi,
    }
