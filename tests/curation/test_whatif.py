"""What other thresholds would do: worked out in memory, told in numbers, and nothing written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.curation.whatif import WhatIf, band_names, changed_benchmark, what_if
from hapi_pipeline.lake import Lake
from hapi_pipeline.parameters import constant_relations, query_parameters
from hapi_pipeline.registry import Benchmark
from hapi_pipeline.settings import UserError
from hapi_pipeline.show import what_if_text
from tests import scenario

Bytes = Callable[[Path], dict[str, str]]


def asked(lake: Lake, benchmark: Benchmark, *words: str, cohorts: tuple[str, ...] = (scenario.COHORT,)) -> WhatIf:
    now = scenario.rules(benchmark)
    return what_if(lake, now, changed_benchmark(now, words), cohorts, query_parameters, constant_relations)


def moves(found: WhatIf, dimension: str, name: str) -> dict[str, tuple[int, ...]]:
    return {row[name]: (row["come"], row["go"], row["no_rubric"]) for row in found.table(dimension)}


def test_the_same_rules_change_nothing(world: Lake, benchmark: Benchmark) -> None:
    found = asked(world, benchmark)
    assert (found.jobs("stay"), found.jobs("come", "go", "no_rubric")) == (len(scenario.GOOD), 0)
    assert found.changed == {}
    assert found.outdated == found.uncurated == []
    assert found.by_month == [(scenario.COHORT, 4, 0, 0)]


def test_a_lower_limit_lets_jobs_go_and_the_rates_are_of_those_that_stay(world: Lake, benchmark: Benchmark) -> None:
    found = asked(world, benchmark, "max_price_usd=100")
    assert (found.jobs("come"), found.jobs("go"), found.jobs("stay")) == (0, 2, 2)
    assert moves(found, "rule", "code") == {"price_at_or_over_limit": (0, 2, 0)}
    assert moves(found, "price_band", "price_band") == {
        "under $25": (0, 0, 0),
        "$50 to $100": (0, 0, 0),
        "$100 to $200": (0, 1, 0),
        "$200 and over": (0, 1, 0),
    }
    assert moves(found, "category", "category") == {"Writing": (0, 2, 0), "Data": (0, 0, 0), "unknown": (0, 0, 0)}
    rates = {(r["model"], r["round"]): r for r in found.rate_rows()}
    for (model, round_, rule), cells in scenario.RATES.items():
        if rule == "all_criteria":
            row = rates[model, round_]
            graded, completed = (sum(cell[n] for cell in cells.values()) for n in (5, 6))
            assert (row["n_eligible_now"], row["n_graded_now"], row["n_completed_now"]) == (4, graded, completed)
            stay = [cells["Data"], cells["unknown"]]
            assert row["n_eligible_stay"] == 2
            assert row["n_graded_stay"] == sum(cell[5] for cell in stay)
            assert row["n_completed_stay"] == sum(cell[6] for cell in stay)
    alone = rates[scenario.BETA, "agent_alone"]
    assert (alone["rate_now"], alone["rate_stay"]) == (0.25, 0.5)
    # Wilson, by hand for 1 of 4 and 1 of 2 with z = 1.96
    assert (alone["rate_lo_now"], alone["rate_hi_now"]) == pytest.approx((0.0456, 0.6994), abs=1e-4)
    assert (alone["rate_lo_stay"], alone["rate_hi_stay"]) == pytest.approx((0.0945, 0.9055), abs=1e-4)


def test_jobs_that_come_are_told_from_those_without_a_rubric(world: Lake, benchmark: Benchmark) -> None:
    found = asked(world, benchmark, "max_price_usd=1000", "require_paid=false", "max_milestones=2")
    assert moves(found, "rule", "code") == {
        "price_at_or_over_limit": (2, 0, 0),
        "not_paid": (1, 0, 0),
        "unknown_paid": (1, 0, 0),
        "several_milestones": (1, 0, 0),
    }
    text = what_if_text(found)
    words = " ".join(text.split())
    assert "5 come, 0 go, 4 stay" in words
    assert "The 5 jobs that come have no verdicts" in words
    assert "require_paid true → false, max_milestones 1 → 2, max_price_usd 500 → 1000" in words
    assert max(map(len, text.split("\n"))) <= 80


def test_a_job_that_only_lacks_a_rubric_is_said_apart(tmp_path: Path, benchmark: Benchmark) -> None:
    lake = Lake(tmp_path)
    posts = [scenario.post("dear", price_usd=700.0), scenario.post("dearer", price_usd=800.0)]
    scenario.take_in(lake, "jobs", "job_exports", posts)
    rubric = [scenario.criterion("dear", name, importance) for name, importance in scenario.RUBRIC]
    scenario.take_in(lake, "rubrics", "rubric_exports", rubric)
    scenario.curate(lake, scenario.rules(benchmark))
    found = asked(lake, benchmark, "max_price_usd=1000")
    assert (found.jobs("come"), found.jobs("no_rubric")) == (1, 1)
    assert "1 more would come if they had a rubric" in " ".join(what_if_text(found).split())
    assert "No verdicts yet" in what_if_text(found)


def test_the_next_job_of_a_cluster_takes_the_place_of_a_head_that_goes(tmp_path: Path, benchmark: Benchmark) -> None:
    lake = Lake(tmp_path)
    alike = {"title": "Sort the shelves", "content_id": "same"}
    posts = [scenario.post("a", price_usd=400.0, **alike), scenario.post("b", price_usd=90.0, **alike)]
    scenario.take_in(lake, "jobs", "job_exports", posts)
    rubric = [scenario.criterion(p["job_id"], name, imp) for p in posts for name, imp in scenario.RUBRIC]
    scenario.take_in(lake, "rubrics", "rubric_exports", rubric)
    scenario.curate(lake, scenario.rules(benchmark))
    assert lake.read("benchmark_jobs").column("job_id").to_pylist() == ["a"]
    found = asked(lake, benchmark, "max_price_usd=100")
    assert (found.jobs("come"), found.jobs("go"), found.jobs("stay")) == (1, 1, 0)


def test_nothing_is_written_and_months_that_are_not_curated_are_named(
    world: Lake, benchmark: Benchmark, bytes_below: Bytes
) -> None:
    before = bytes_below(world.root)
    found = asked(world, benchmark, "categories=[Data]", cohorts=(scenario.COHORT, "2026-04"))
    assert found.uncurated == ["2026-04"]
    assert "not curated yet: 2026-04" in what_if_text(found)
    assert json.loads(json.dumps(found.as_json()))["what_if"] == {"categories": {"now": None, "then": ["Data"]}}
    assert bytes_below(world.root) == before


def test_a_benchmark_that_is_not_that_of_the_present_rules_is_said_to_be_outdated(
    world: Lake, benchmark: Benchmark
) -> None:
    rules = scenario.rules(benchmark)
    stricter = dataclasses.replace(rules, rules=dataclasses.replace(rules.rules, max_price_usd=100.0))
    found = what_if(world, stricter, stricter, [scenario.COHORT], query_parameters, constant_relations)
    assert found.outdated == [scenario.COHORT]
    assert "`hapi curate` brings it up to date" in what_if_text(found)


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (["max_price_usd=300"], {"max_price_usd": 300.0}),
        (["rules.max_price_usd = 299.5"], {"max_price_usd": 299.5}),
        (["require_paid=false", "allow_price_change=true"], {"require_paid": False, "allow_price_change": True}),
        (["categories=[Design & Creative, B]"], {"categories": ("Design & Creative", "B")}),
        (["statuses=[completed, closed]"], {"statuses": ("completed", "closed")}),
        (["categories=null"], {}),
        (["rubric.min_criteria=3", "max_milestones=2"], {"min_criteria": 3, "max_milestones": 2}),
    ],
)
def test_a_threshold_is_read_as_in_the_rules_file(
    benchmark: Benchmark, words: list[str], changed: dict[str, Any]
) -> None:
    made = changed_benchmark(benchmark, words)
    assert {key: getattr(made.rules, key, getattr(made, key, None)) for key in changed} == changed
    assert (made == benchmark) is (not changed)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["max_price=300"], "the keys are job_types, statuses"),
        (["max_price_usd"], "KEY=VALUE"),
        (["max_price_usd=cheap"], "must be a number over zero"),
        (["max_price_usd=.inf"], "must be a number over zero"),
        (["max_price_usd=-1"], "must be a number over zero"),
        (["max_price_usd=true"], "must be a number over zero"),
        (["max_milestones=1.5"], "must be a whole number"),
        (["max_milestones=" + "9" * 5000], "must be a whole number"),
        (["require_paid=1"], "must be true or false"),
        (["categories=Data"], "must be a list of names"),
        (["categories=[]"], "must be a list of names"),
        (["categories=[1, 2]"], "must be a list of names"),
        (["categories=[A, B"], "must be a list of names"),
        (["categories=" + "[" * 500], "must be a list of names"),
        (["categories=" + "[" * 50_000], "must be a list of names"),
        (["job_types=null"], "must be a list of names"),
        (["max_price_usd=1", "rules.max_price_usd=2"], "twice"),
        (["min_criteria=30"], "over max_criteria"),
        (["__class__=1"], "the keys are"),
        (["version=2"], "the keys are"),
    ],
)
def test_what_is_no_threshold_is_refused_in_one_sentence(benchmark: Benchmark, words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        changed_benchmark(benchmark, words)
    assert "\n" not in str(refused.value)


def test_price_bands_meet_at_their_edges() -> None:
    assert band_names((25.0, 50.5)) == ("under $25", "$25 to $50.50", "$50.50 and over", "unknown")


def test_the_command_says_it_and_refuses_it(
    world: Lake, benchmark: Benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    from hapi_pipeline.cli import main
    from hapi_pipeline.settings import Home

    home = Home(tmp_path / "home").ensure()
    shutil.copytree(world.root, home.lake, dirs_exist_ok=True)
    manifest = next((home.lake / "imports").glob("jobs-*.json"))
    manifest.write_text(manifest.read_text().replace('"cohorts": []', f'"cohorts": ["{scenario.COHORT}"]'))
    rules = home.registry / "benchmark.yaml"
    rules.write_text(
        rules.read_text().replace("min_criteria: 5", "min_criteria: 2").replace("max_criteria: 20", "max_criteria: 4")
    )
    words = ["--home", str(home.root), "curate", "--what-if"]
    assert main([*words, "max_price_usd=100", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["now"], found["then"], found["go"], found["months"][0]["cohort"]) == (4, 2, 2, scenario.COHORT)
    assert main([*words, "max_price_usd=100"]) == 0
    assert "0 come, 2 go, 2 stay" in " ".join(capsys.readouterr().out.split())
    for bad in (["price=1"], ["max_price_usd=100", "--cohort", "2020-01"]):
        assert main([*words, *bad]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.strip().split("\n")) == 1
