"""The truth about simulated posts is what the rules of curation say of them."""

import csv
from collections import Counter
from pathlib import Path

from hapi_pipeline.intake.jobs import import_jobs
from hapi_pipeline.intake.rubrics import import_rubrics
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark, Registry
from hapi_pipeline.simulate.exports import simulate
from hapi_pipeline.simulate.mass import REASONS
from tests import scenario

CODES = {
    "hourly": "not_fixed_price",
    **dict.fromkeys(("open", "in_progress", "cancelled"), "not_completed"),
    "unpaid": "not_paid",
    **dict.fromkeys(("price_at_limit", "price_over_limit"), "price_at_or_over_limit"),
}
"""What the rules call a reason, where they do not use its own name."""


def test_the_rules_stop_each_post_for_the_reason_that_the_truth_names(
    tmp_path: Path, lake: Lake, registry: Registry, benchmark: Benchmark
) -> None:
    made = simulate(800, 12, tmp_path / "out", months=["2026-08"], verdicts=False, repeats=0.25)
    import_jobs(lake, [tmp_path / "out" / "jobs_2026-08.csv"], registry.source("sample_market"), benchmark)
    import_rubrics(lake, [tmp_path / "out" / "rubrics.csv"], simulated=True)
    scenario.curate(lake, benchmark, "2026-08")

    scope = {"cohort": "2026-08"}
    found = {row["job_id"]: row["code"] for row in lake.read("rejected_jobs", scope).to_pylist()}
    found |= {row["job_id"]: "" for row in lake.read("benchmark_jobs", scope).to_pylist()}
    with (tmp_path / "out" / "posts_truth.csv").open(encoding="utf-8", newline="") as file:
        first = {row["uid"]: row["reasons"].partition(";")[0] for row in csv.DictReader(file)}
    assert found == {uid: CODES.get(reason, reason) for uid, reason in first.items()}
    assert Counter(first.values()) == Counter(made.first_reason) + Counter({"": made.qualifying})
    assert all(made.first_reason[reason] for reason in REASONS)
