"""The chain of rules over the hand-made world: what stays, what goes and why."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hapi_pipeline import engine
from hapi_pipeline.curation.rules import CHAIN
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark
from hapi_pipeline.resources import query_parameters
from tests import scenario


def rows(lake: Lake, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lake.read(table).to_pylist()
    return found


def curated(tmp_path: Path, benchmark: Benchmark, *posts: dict[str, Any]) -> dict[str, str]:
    """The code of each post that a rule turns away; each post has a rubric."""
    lake = Lake(tmp_path / "lake")
    scenario.take_in(lake, "jobs", "job_exports", posts)
    scenario.take_in(
        lake,
        "rubrics",
        "rubric_exports",
        [scenario.criterion(p["job_id"], name, importance) for p in posts for name, importance in scenario.RUBRIC],
    )
    scenario.curate(lake, benchmark)
    return {row["job_id"]: row["code"] for row in rows(lake, "rejected_jobs")}


def test_each_post_is_in_the_benchmark_or_turned_away_by_its_own_rule(world: Lake) -> None:
    assert {r["job_id"]: (r["rule"], r["code"]) for r in rows(world, "rejected_jobs")} == scenario.REJECTED
    assert {r["job_id"]: r["category"] for r in rows(world, "benchmark_jobs")} == scenario.GOOD
    assert len(rows(world, "job_posts")) == len(scenario.POSTS) == len(scenario.REJECTED) + len(scenario.GOOD)


def test_the_funnel_is_as_counted_by_hand_and_each_rule_starts_where_the_last_one_ended(world: Lake) -> None:
    funnel = sorted(rows(world, "curation_funnel"), key=lambda r: r["position"])
    counts = {r["rule"]: (r["n_in"], r["n_kept"], r["n_rejected"], r["n_unknown"]) for r in funnel}
    assert counts == scenario.FUNNEL
    assert tuple(r["rule"] for r in funnel) == CHAIN
    assert [r["n_in"] for r in funnel] == [len(scenario.POSTS), *(r["n_kept"] for r in funnel[:-1])]
    assert all(r["n_in"] == r["n_kept"] + r["n_rejected"] + r["n_unknown"] for r in funnel)


def test_a_rejection_says_what_was_found_what_was_asked_and_under_which_rules(world: Lake) -> None:
    found = {r["job_id"]: r for r in rows(world, "rejected_jobs")}
    assert found["x-limit"]["observed"].startswith("$500")
    assert found["x-limit"]["threshold"] == "under $500.0"
    assert found["x-two"]["observed"] == "2 milestone(s)"
    assert found["x-twin"]["observed"] == "same as good-1"
    assert "warden" not in str(found["x-pii"])
    assert {r["rule_version"] for r in found.values()} == {"1"}


def test_findings_of_personal_data_never_hold_the_value(world: Lake) -> None:
    findings = rows(world, "pii_findings")
    assert {(f["job_id"], f["place"], f["decision"]) for f in findings if f["decision"] == "reject"} == {
        ("x-pii", "description", "reject")
    }
    assert "fastmail" not in str(findings)


def test_a_category_outside_the_list_is_out_and_one_that_is_not_stated_is_unknown(
    tmp_path: Path, benchmark: Benchmark
) -> None:
    rules = scenario.rules(benchmark)
    chosen = dataclasses.replace(rules, rules=dataclasses.replace(rules.rules, categories=("Data",)))
    codes = curated(
        tmp_path,
        chosen,
        scenario.post("a", category="Data"),
        scenario.post("b"),
        scenario.post("c", category=None),
    )
    assert codes == {"b": "category_out_of_scope", "c": "unknown_category"}


def test_rules_that_are_switched_off_do_not_ask_for_the_fact(tmp_path: Path, benchmark: Benchmark) -> None:
    rules = scenario.rules(benchmark)
    lax = dataclasses.replace(
        rules,
        rules=dataclasses.replace(rules.rules, require_paid=False, allow_price_change=True, max_milestones=3),
    )
    codes = curated(
        tmp_path,
        lax,
        scenario.post("a", paid=None),
        scenario.post("b", paid=False),
        scenario.post("c", price_changed=None),
        scenario.post("d", price_changed=True),
        scenario.post("e", milestone_count=3),
        scenario.post("f", milestone_count=4),
        scenario.post("g", milestone_count=None),
    )
    assert codes == {"f": "several_milestones", "g": "unknown_milestones"}


def test_the_price_limit_is_strict_and_only_a_known_client_can_post_the_same_job_twice(
    tmp_path: Path, benchmark: Benchmark
) -> None:
    prices = {"just under": 499.999, "at": 500.0, "just over": 500.001, "free": 0.0, "negative": -1.0}
    codes = curated(
        tmp_path,
        scenario.rules(benchmark),
        *(scenario.post(name, price_usd=price) for name, price in prices.items()),
        *(scenario.post(name, client_id=None, content_id="same") for name in ("u1", "u2")),
        # the first of two alike was turned away by an earlier rule, so the second takes its place
        scenario.post("k1", client_id="k", content_id="alike", paid=False),
        scenario.post("k2", client_id="k", content_id="alike"),
    )
    assert codes == {
        "at": "price_at_or_over_limit",
        "just over": "price_at_or_over_limit",
        "negative": "unknown_price",
        "k1": "not_paid",
    }


def test_the_chain_of_an_empty_month_is_empty_and_reconciles(tmp_path: Path, benchmark: Benchmark) -> None:
    lake = Lake(tmp_path / "lake")
    scenario.curate(lake, scenario.rules(benchmark))
    assert [(r["n_in"], r["n_kept"]) for r in rows(lake, "curation_funnel")] == [(0, 0)] * len(CHAIN)
    assert lake.read("benchmark_jobs").num_rows == 0


def test_every_rule_of_the_chain_answers_for_every_job_that_reaches_it(world: Lake, benchmark: Benchmark) -> None:
    params = query_parameters(scenario.rules(benchmark), dict(scenario.SCOPE))
    for rule, (n_in, n_kept, *_) in scenario.FUNNEL.items():
        judged = engine.run(world, engine.query(rule), scenario.SCOPE, params)
        assert (judged.num_rows, judged["code"].null_count) == (n_in, n_kept), rule
