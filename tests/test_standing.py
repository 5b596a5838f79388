"""Why a job is attempted or not: every state, the reason of a run that left something, and the two views."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hapi_pipeline import standing
from hapi_pipeline.evaluation import Cell, due_tasks
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark, Model
from hapi_pipeline.rounds import ROUND, ROUNDS
from hapi_pipeline.settings import project_root
from hapi_pipeline.standing import STATES, Facts, facts_of, marked_open, standings
from tests import scenario
from tests.scenario import ALPHA, BETA, COHORT
from tests.test_evaluation import KnownAttempts

M = Model("M", "openai/m")
ALONE, FIRST, SECOND = ("M", "agent_alone", "j"), ("M", "feedback_1", "j"), ("M", "feedback_2", "j")
DONE = (True, 1)


@pytest.fixture
def rules(benchmark: Benchmark) -> Benchmark:
    return replace(benchmark, rounds=("agent_alone", "feedback_1", "feedback_2"))


def stands(rules: Benchmark, model: Model = M, **facts: Any) -> dict[str, tuple[str, str]]:
    given = Facts(**({"jobs": [("2026-03", "j")], "tries": {}, "outcomes": {}, "reasons": {}} | facts))
    return {s.round: (s.state, s.why) for s in standings(given, [model], rules, ROUNDS)}


def states(rules: Benchmark, model: Model = M, **facts: Any) -> list[str]:
    found = stands(rules, model, **facts)
    return [found[r][0] for r in ("agent_alone", "feedback_1", "feedback_2")]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, ["left", "not_due", "not_due"]),
        ({"tries": {ALONE: DONE}}, ["attempted", "verdicts_incomplete", "verdicts_incomplete"]),
        (
            {"tries": {ALONE: DONE}, "outcomes": {ALONE: None}},
            ["attempted", "verdicts_incomplete", "verdicts_incomplete"],
        ),
        ({"tries": {ALONE: DONE}, "outcomes": {ALONE: True}}, ["attempted", "complete_already", "complete_already"]),
        ({"tries": {ALONE: DONE}, "outcomes": {ALONE: False}}, ["attempted", "left", "not_due"]),
        (
            {"tries": {ALONE: DONE, FIRST: DONE}, "outcomes": {ALONE: True, FIRST: False}},
            ["attempted", "attempted", "complete_already"],
        ),
        (
            {"tries": {ALONE: DONE, FIRST: DONE}, "outcomes": {ALONE: False, FIRST: False}},
            ["attempted", "attempted", "left"],
        ),
        ({"tries": {ALONE: (False, 2)}}, ["failed_infra", "not_due", "not_due"]),
        ({"tries": {ALONE: (False, 3)}}, ["failed_infra", "not_due", "not_due"]),
    ],
)
def test_each_state(rules: Benchmark, facts: dict[str, Any], expected: list[str]) -> None:
    assert states(rules, **facts) == expected


def test_a_retired_model_and_an_external_one_leave_nothing_by_themselves(rules: Benchmark) -> None:
    facts = {"tries": {ALONE: DONE}, "outcomes": {ALONE: False}}
    assert states(rules, replace(M, retired=True), **facts) == ["attempted", "retired", "not_due"]
    assert states(rules, Model("M", None), **facts) == ["attempted", "awaited", "not_due"]


def test_a_failure_says_how_often_and_whether_it_is_tried_again(rules: Benchmark) -> None:
    assert "failed 2 time(s)" in stands(rules, tries={ALONE: (False, 2)})["agent_alone"][1]
    assert "next run tries again" in stands(rules, tries={ALONE: (False, 2)})["agent_alone"][1]
    assert "failed 3 times" in stands(rules, tries={ALONE: (False, 3)})["agent_alone"][1]
    assert "not tried again" in stands(rules, tries={ALONE: (False, 3)})["agent_alone"][1]


def test_a_round_that_is_not_run_says_so(rules: Benchmark) -> None:
    state, why = stands(rules, tries={ALONE: DONE}, outcomes={ALONE: False})["retry_1"]
    assert (state, "benchmark.yaml" in why) == ("not_due", True)


def test_the_reason_of_the_run_that_left_an_attempt_is_told(lake: Lake, rules: Benchmark) -> None:
    jobs = [scenario.post("j1") | {"rubric_version": "r1", "n_criteria": 3}]
    lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", jobs), scenario.SCOPE)
    keys = {"cohort": COHORT, "model": "M", "round": "agent_alone"}
    lake.write("attempts", scenario.table_of("attempts", []), keys, marked_open(["The ceiling of $5.00 is reached."]))
    (found,) = standings(facts_of(lake, rules), [M], rules, [ROUND["agent_alone"]])
    assert (found.state, found.why) == ("left", "due and not made: The ceiling of $5.00 is reached.")
    lake.write("attempts", scenario.table_of("attempts", []), keys, marked_open([]))
    (found,) = standings(facts_of(lake, rules), [M], rules, [ROUND["agent_alone"]])
    assert (found.state, found.why) == ("left", "due; the next run makes it")


def test_what_is_due_in_the_hand_made_world_is_what_is_attempted_or_left(world: Lake, benchmark: Benchmark) -> None:
    rules, ledger = scenario.rules(benchmark), KnownAttempts(world.root)
    models = [Model(ALPHA, "openai/a"), Model(BETA, "openai/b")]
    rounds = [ROUND[name] for name in rules.rounds]
    found = list(standings(facts_of(world, rules), models, rules, rounds))
    assert len(found) == len(models) * len(rounds) * len(scenario.GOOD)
    for model in models:
        for this in rounds:
            due = {t.job.job_id for t in due_tasks(world, ledger, Cell(COHORT, model, this), rules)}
            mine = [s for s in found if (s.model, s.round) == (model.name, this.name)]
            made = {s.job_id for s in mine if s.state == "attempted"}
            to_make = {s.job_id for s in mine if s.state in ("left", "failed_infra")}
            assert due <= made | to_make, (model.name, this.name)
            assert to_make <= due, (model.name, this.name)


def test_the_views_name_models_rounds_and_reasons(world: Lake, benchmark: Benchmark) -> None:
    rules, models = scenario.rules(benchmark), [Model(ALPHA, "openai/a")]
    head, rows = standing.count_rows(world, models, rules)
    assert head[:3] == ["model", "round", "attempted"]
    assert [sum(row[2:]) for row in rows] == [len(scenario.GOOD)] * 2
    told = standing.not_attempted(world, models, rules, "good-1")
    assert [(t["model"], t["round"], t["state"]) for t in told] == [(ALPHA, "feedback_1", "complete_already")]
    assert "complete after agent_alone" in told[0]["why"]


def test_the_docs_explain_every_state() -> None:
    text = (project_root() / "docs" / "submissions.md").read_text("utf-8").partition("## Why a job is not attempted")[2]
    assert {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")} == set(STATES)
