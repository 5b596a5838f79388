"""The sample: reproducible, growing, blind."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from itertools import pairwise

import pytest

from hapi_pipeline.audit.reasons import AUDITED, KEPT, LABELS, meanings
from hapi_pipeline.audit.sample import SampledJob, draw
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import AuditPlan, Benchmark
from hapi_pipeline.settings import UserError
from tests.audit.conftest import MARCH, crowd, curate

PLAN = AuditPlan(per_stratum=5, kept_times=2, seed="s")


def ids(jobs: list[SampledJob]) -> list[str]:
    return [job.job_id for job in jobs]


def test_each_rule_gives_as_many_jobs_as_asked_and_the_kept_ones_a_multiple(lake: Lake) -> None:
    decisions = crowd(20) | {"lonely": "no such rule"}
    curate(lake, decisions)
    drawn = Counter(decisions[job] for job in ids(draw(lake, [MARCH], PLAN)))
    assert drawn == Counter(dict.fromkeys(AUDITED, 5) | {KEPT: 10})


def test_a_small_stratum_is_drawn_whole(lake: Lake) -> None:
    curate(lake, {"a": AUDITED[0], "b": KEPT})
    assert sorted(ids(draw(lake, [MARCH], PLAN))) == ["a", "b"]


def test_the_same_seed_gives_the_same_sample_and_another_seed_another(lake: Lake) -> None:
    curate(lake, crowd())
    first = draw(lake, [MARCH], PLAN)
    assert draw(lake, [MARCH], PLAN) == first
    assert set(ids(draw(lake, [MARCH], replace(PLAN, seed="t")))) != set(ids(first))


def test_a_larger_sample_contains_the_smaller_in_the_same_order(lake: Lake) -> None:
    curate(lake, crowd())
    small, large = ids(draw(lake, [MARCH], PLAN)), ids(draw(lake, [MARCH], replace(PLAN, per_stratum=9)))
    assert [job for job in large if job in set(small)] == small


def test_a_new_post_pushes_out_at_most_one_of_its_own_kind(lake: Lake) -> None:
    decisions = crowd(12)
    curate(lake, decisions)
    before = set(ids(draw(lake, [MARCH], PLAN)))
    for n in range(6):
        decisions[f"new-{n}"] = KEPT
        curate(lake, decisions)
        after = set(ids(draw(lake, [MARCH], PLAN)))
        assert len(after - before) == len(before - after) <= 1
        assert all(decisions[job] == KEPT for job in before ^ after)
        before = after


def test_every_job_of_a_stratum_is_as_likely_as_another(lake: Lake) -> None:
    curate(lake, {f"k{n}": KEPT for n in range(20)})
    drawn = Counter(
        job
        for seed in range(40)
        for job in ids(draw(lake, [MARCH], AuditPlan(per_stratum=5, kept_times=1, seed=f"{seed}")))
    )
    # 40 draws of 5 out of 20: 10 times each, with a standard deviation of 2.7
    assert len(drawn) == 20
    assert all(1 <= count <= 22 for count in drawn.values())


def test_the_order_depends_on_nothing_but_the_ids(lake: Lake) -> None:
    decisions = crowd(5)
    curate(lake, decisions)
    first = ids(draw(lake, [MARCH], PLAN))
    jobs = list(decisions)
    curate(lake, dict(zip(jobs, reversed(decisions.values()), strict=True)))
    second = ids(draw(lake, [MARCH], PLAN))
    assert [job for job in first if job in set(second)] == [job for job in second if job in set(first)]
    kinds = [decisions[job] for job in first]
    runs = 1 + sum(a != b for a, b in pairwise(kinds))
    assert runs > len(set(kinds)) + 5  # shuffled, not one kind after the other


def test_what_the_curator_sees_says_nothing_of_decisions() -> None:
    names = {f.name for f in fields(SampledJob)}
    assert not names & {"rule", "code", "observed", "threshold", "decision", "stratum"}


def test_a_month_that_is_not_curated_is_refused(lake: Lake) -> None:
    curate(lake, crowd(1))
    with pytest.raises(UserError, match="2026-04 is not curated yet"):
        draw(lake, [MARCH, "2026-04"], PLAN)


def test_each_audited_rule_has_a_reason_in_plain_words(benchmark: Benchmark) -> None:
    assert set(LABELS) == {*AUDITED, "other"} == set(meanings(benchmark.rules))
    assert not any("," in label for label in LABELS.values())
    assert len(",".join(LABELS.values())) <= 255  # all that Excel takes for a list in a cell
    assert "$500" in meanings(benchmark.rules)["in_scope_jobs"]
    narrow = replace(benchmark.rules, categories=("Writing",), require_paid=False, allow_price_change=True)
    assert "none of: Writing" in meanings(narrow)["in_scope_jobs"]
    assert "pay" not in meanings(narrow)["completed_jobs"]
    assert "price" not in meanings(narrow)["single_milestone_jobs"]
