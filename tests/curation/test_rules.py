"""The chain of rules over the hand-made world: what stays, what goes and why."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hapi_pipeline import engine
from hapi_pipeline.curation.rules import CHAIN, answers, kept, rejections
from hapi_pipeline.lake import Lake
from hapi_pipeline.parameters import query_parameters
from hapi_pipeline.registry import Benchmark
from hapi_pipeline.tables import TABLES
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
    assert found["x-limit"]["threshold"] == "under $500"
    assert found["x-two"]["observed"] == "2 milestones"
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
        "free": "unknown_price",
        "u2": "duplicate_content",
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


FOUND: list[tuple[dict[str, Any], str, str | None, str | None]] = [
    ({"job_type": None}, "unknown_job_type", "job type unknown", "fixed"),
    ({"job_type": "hourly"}, "not_fixed_price", "hourly", "fixed"),
    ({"completed_at": None}, "unknown_completed_at", "completed, paid, day of completion unknown", None),
    ({"status": "open", "paid": None}, "not_completed", "open, payment unknown", "completed, paid, on a known day"),
    ({"milestone_count": 0}, "unknown_milestones", "0 milestones", "at most 1 milestone, price unchanged"),
    ({"milestone_count": 1200}, "several_milestones", "1,200 milestones", None),
    ({"price_changed": True}, "price_changed", "1 milestone, price changed", None),
    ({"price_usd": 500}, "price_at_or_over_limit", "$500, Writing", "under $500"),
    ({"price_usd": 1500.5}, "price_at_or_over_limit", "$1,500.50, Writing", "under $500"),
    ({"price_usd": 500.0001}, "price_at_or_over_limit", "$500.0001, Writing", "under $500"),
    ({"price_usd": 1e300}, "price_at_or_over_limit", "$1e+300, Writing", "under $500"),
    ({"price_usd": 0.0}, "unknown_price", "$0, Writing", "under $500"),
    ({"price_usd": -2.5}, "unknown_price", "-$2.50, Writing", "under $500"),
    ({"price_usd": float("nan")}, "unknown_price", "price unknown, Writing", "under $500"),
    (
        {"price_usd": float("inf"), "category": None},
        "unknown_price",
        "price unknown, category unknown",
        "under $500",
    ),
    ({"title": " ", "description": None}, "no_description", None, "a title or a description"),
]


def test_what_was_found_and_what_was_asked_for_can_be_read(tmp_path: Path, benchmark: Benchmark) -> None:
    lake = Lake(tmp_path)
    posts = [scenario.post(f"p{n:02}", **changes) for n, (changes, *_) in enumerate(FOUND)]
    lake.write("job_posts", scenario.table_of("job_posts", posts), scenario.SCOPE)
    params = query_parameters(scenario.rules(benchmark), dict(scenario.SCOPE))
    for rule in CHAIN:
        lake.write(rule, kept(lake, rule, scenario.SCOPE, params), scenario.SCOPE)
    away = sorted(rejections(lake, scenario.SCOPE, params).to_pylist(), key=lambda r: str(r["job_id"]))
    for row, (changes, code, observed, threshold) in zip(away, FOUND, strict=True):
        assert row["code"] == code, changes
        assert observed is None or row["observed"] == observed
        assert threshold is None or row["threshold"] == threshold
        assert row["rule_version"] == benchmark.version


def test_a_price_just_under_the_limit_is_in_and_a_list_of_categories_is_named(
    tmp_path: Path, benchmark: Benchmark
) -> None:
    rules = scenario.rules(benchmark)
    chosen = dataclasses.replace(rules, rules=dataclasses.replace(rules.rules, categories=("Data", "Law & Order")))
    lake = Lake(tmp_path)
    posts = [
        scenario.post("in", price_usd=499.99, category="Law & Order"),
        scenario.post("out", price_usd=499.99),
        scenario.post("both", price_usd=None, category="Writing"),
    ]
    lake.write("single_milestone_jobs", scenario.table_of("single_milestone_jobs", posts), scenario.SCOPE)
    params = query_parameters(chosen, dict(scenario.SCOPE))
    found = {r["job_id"]: r for r in rejections(lake, scenario.SCOPE, params).to_pylist()}
    assert {job: r["code"] for job, r in found.items()} == {"out": "category_out_of_scope", "both": "unknown_price"}
    assert found["out"]["observed"] == "$499.99, Writing"
    assert found["out"]["threshold"] == "under $500, category in Data or Law & Order"


def test_the_tables_without_texts_are_made_without_reading_them(world: Lake, benchmark: Benchmark) -> None:
    params = query_parameters(scenario.rules(benchmark), dict(scenario.SCOPE))
    with engine.connect() as connection:
        engine.open_tables(connection, world, {"job_posts": scenario.SCOPE})
        made = answers("fixed_price_jobs", TABLES["fixed_price_jobs"].names, "code IS NULL")
        plan = str(connection.execute(f"EXPLAIN {made}", {"job_types": params["job_types"]}).fetchall())
    assert "price_usd" in plan
    assert "description" not in plan
    assert "title" not in plan
