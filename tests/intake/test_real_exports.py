"""Real exports, where they are at hand: what is known of them must come out."""

from __future__ import annotations

from pathlib import Path

import pytest

from hapi_pipeline.curation.rules import kept
from hapi_pipeline.intake.jobs import import_jobs
from hapi_pipeline.lake import Lake
from hapi_pipeline.parameters import query_parameters
from hapi_pipeline.registry import Benchmark, Registry
from tests import scenario

JOBS = Path(__file__).resolve().parents[3] / "shared/real/jobs"
FIRST, SECOND = JOBS / "upwork_2023-01-01.csv", JOBS / "upwork_2023-01-03.csv"
SWELANCER = JOBS / "swelancer_issues.jsonl"

pytestmark = pytest.mark.skipif(
    not SWELANCER.exists(), reason="the real exports are not part of the repository and are not at hand"
)


def counts(lake: Lake, benchmark: Benchmark) -> tuple[int, int, int]:
    """Posts, fixed-price posts and posts in scope, over all months; the chain is made from the ledger."""
    total = [0, 0, 0]
    for cohort in sorted({c for i in lake.imports("jobs") for c in i.cohorts}):
        scope = {"cohort": cohort}
        total[0] += scenario.make(lake, benchmark, "job_posts", scope).num_rows
        params = query_parameters(benchmark, dict(scope))
        chain = ("fixed_price_jobs", "completed_jobs", "single_milestone_jobs", "in_scope_jobs")
        made = {rule: lake.write(rule, kept(lake, rule, scope, params), scope).rows for rule in chain}
        total[1] += made["fixed_price_jobs"]
        total[2] += made["in_scope_jobs"]
    return total[0], total[1], total[2]


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        (FIRST, "upwork_2023", (4994, 2191, 1723)),
        (SECOND, "upwork_2023", (4774, 2049, 1635)),
        (SWELANCER, "swelancer", (567, 567, 402)),
    ],
    ids=["first drop", "second drop", "issues"],
)
def test_one_file(
    lake: Lake,
    registry: Registry,
    benchmark: Benchmark,
    path: Path,
    source: str,
    expected: tuple[int, int, int],
) -> None:
    (done,) = import_jobs(lake, [path], registry.source(source), benchmark)
    assert done.quarantined == 0
    assert counts(lake, benchmark) == expected


def test_both_drops_of_one_export(lake: Lake, registry: Registry, benchmark: Benchmark) -> None:
    given = registry.source("upwork_2023")
    imports = import_jobs(lake, [SECOND, FIRST], given, benchmark)
    assert sum(i.rows for i in imports) == 4995 + 4996
    assert import_jobs(lake, [FIRST, SECOND], given, benchmark) == imports[::-1], "a second import changes nothing"
    months = sorted({c for i in imports for c in i.cohorts})
    assert sum(scenario.make(lake, benchmark, "job_posts", {"cohort": c}).num_rows for c in months) == 4994 + 4774 - 7
    assumed = lake.read("job_posts", columns=["assumed_fields"])["assumed_fields"].to_pylist()
    assert all(
        {"description", "completed_at", "status", "paid", "milestone_count", "price_changed"} <= set(a) for a in assumed
    )
