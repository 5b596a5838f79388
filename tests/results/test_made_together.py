"""Several models of a month made by one query: the same rows as one by one, from no more files than they need."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline import engine
from hapi_pipeline.lake import Lake, conform
from hapi_pipeline.parameters import constant_relations, query_parameters
from hapi_pipeline.recipes import Recipe, batches_of, bring_up_to_date, make_partitions, recipes
from hapi_pipeline.registry import Benchmark, Registry
from hapi_pipeline.results import BY_CELL
from hapi_pipeline.rounds import ROUND, ROUNDS
from hapi_pipeline.tables import TABLES
from tests import scenario
from tests.scenario import ALPHA, BETA, COHORT

MODELS = (ALPHA, BETA)
CELLS = [{"cohort": COHORT, "model": model} for model in MODELS]


@pytest.fixture
def known(registry: Registry, benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The shipped registry with the rules of the hand-made world."""
    monkeypatch.setitem(registry.__dict__, "benchmark", scenario.rules(benchmark))
    return registry


@pytest.fixture
def copy(world: Lake, known: Registry, tmp_path: Path) -> Lake:
    """The hand-made world with lists of criteria, to be changed."""
    shutil.copytree(world.root, tmp_path / "lake")
    lake, recipe = Lake(tmp_path / "lake"), recipes()["criterion_outcomes"]
    for cell in CELLS:
        lake.write(recipe.name, recipe.build(lake, known, cell), cell)
    return lake


def one_by_one(recipe: Recipe, lake: Lake, known: Registry) -> dict[str, pa.Table]:
    return {c["model"]: conform(TABLES[recipe.name], rows(recipe.build(lake, known, c))) for c in CELLS}


def together(recipe: Recipe, lake: Lake, known: Registry) -> dict[str, pa.Table]:
    made = make_partitions(recipe, lake, known, CELLS)
    return {scope["model"]: conform(TABLES[recipe.name], rows(found)) for scope, found in made}


def rows(made: Any) -> pa.Table:
    assert isinstance(made, pa.Table)
    return made


@pytest.mark.parametrize("table", BY_CELL)
def test_models_made_together_are_as_if_made_alone(copy: Lake, known: Registry, table: str) -> None:
    alone = one_by_one(recipes()[table], copy, known)
    assert together(recipes()[table], copy, known) == alone
    # the world has no packets; tests/history has
    assert any(found.num_rows for found in alone.values()) or table == "packet_status"


@pytest.mark.parametrize("table", ["criterion_outcomes", "job_transitions"])
def test_work_that_claims_to_go_on_from_another_models_is_no_pair(copy: Lake, known: Registry, table: str) -> None:
    theirs = copy.read("attempts", CELLS[0] | {"round": "agent_alone"}).to_pylist()
    superseded = {r["attempt_id"] for r in theirs[:1]}
    for row in theirs:
        row["is_current"] = row["attempt_id"] not in superseded
    copy.write("attempts", scenario.table_of("attempts", theirs), CELLS[0] | {"round": "agent_alone"})
    mine = scenario.attempt(
        BETA, "feedback_1", theirs[0]["job_id"], attempt_id="claims", previous_attempt_id=superseded.pop()
    )
    copy.write("attempts", scenario.table_of("attempts", [mine]), CELLS[1] | {"round": "feedback_1"})
    for cell in CELLS:
        outcomes = recipes()["criterion_outcomes"]
        copy.write(outcomes.name, outcomes.build(copy, known, cell), cell)
    assert together(recipes()[table], copy, known) == one_by_one(recipes()[table], copy, known)


# ---- any two models


Vote = scenario.Vote
Fates = dict[tuple[str, str], "str | list[Vote]"]


@st.composite
def two_models(draw: st.DrawFn) -> tuple[list[str], list[str], dict[str, Fates]]:
    """Jobs, criteria, and what each model's attempts came to, by round and job."""
    jobs = [f"j{i}" for i in range(draw(st.integers(1, 3)))]
    criteria = [f"c{i}" for i in range(draw(st.integers(1, 3)))]
    vote = st.tuples(
        st.sampled_from(criteria), st.sampled_from(["ann", "bob", "judge"]), st.sampled_from([True, False, None])
    )
    fate: st.SearchStrategy[str | list[Vote]] = st.one_of(
        st.lists(vote, max_size=6, unique_by=lambda v: v[:2]),
        st.just([(c, "ann", True) for c in criteria]),
        st.sampled_from(["infra", "no files"]),
    )
    places = st.tuples(st.sampled_from([r.name for r in ROUNDS]), st.sampled_from(jobs))
    return jobs, criteria, {m: draw(st.dictionaries(places, fate, max_size=6)) for m in MODELS}


def relations_of(jobs: list[str], criteria: list[str], fates: Mapping[str, Fates]) -> dict[str, pa.Table]:
    places = [(m, r, j, fate) for m, found in fates.items() for (r, j), fate in found.items()]
    tables = {
        "attempts": [scenario.attempt(m, r, j, **scenario._fate(fate)) for m, r, j, fate in places],
        "verdicts": [
            scenario.verdict(f"{m} {r} {j}", m, r, j, vote, n)
            for m, r, j, fate in places
            if not isinstance(fate, str)
            for n, vote in enumerate(fate)
        ],
        "benchmark_jobs": [scenario.post(j) | {"rubric_version": "r1", "n_criteria": len(criteria)} for j in jobs],
        "rubrics": [scenario.criterion(j, c, "critical") | {"cohort": COHORT} for j in jobs for c in criteria],
        "standing_criteria": [],
    }
    return {name: scenario.table_of(name, found) for name, found in tables.items()}


CHAIN = ("attempt_outcomes", "job_states", "outcome_counts", "completion_rates")
MORE = ("grades", "criterion_outcomes", "job_transitions")


@settings(derandomize=True, deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=two_models())
def test_no_models_rows_depend_on_anothers(lake: Lake, benchmark: Benchmark, found: Any) -> None:
    jobs, criteria, fates = found
    everything = dataclasses.replace(benchmark, rounds=tuple(ROUND))
    constant = constant_relations(everything)

    def made(models: Mapping[str, Fates]) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
        given_ = relations_of(jobs, criteria, models) | constant
        cells = [{"cohort": COHORT, "model": model} for model in models]
        for table in (*CHAIN, *MORE):
            parts = list(engine.run_together(lake, engine.query(table), cells, query_parameters(benchmark, {}), given_))
            given_[table] = pa.concat_tables([part for _, part in parts])
            yield from ((table, scope["model"], part.to_pylist()) for scope, part in parts)

    alone = sorted(((t, m, r) for m in MODELS for t, m, r in made({m: fates[m]})), key=lambda row: row[:2])
    assert sorted(made(fates), key=lambda row: row[:2]) == alone


# ---- which files are read, and which partitions made


@pytest.mark.parametrize("table", BY_CELL)
def test_one_model_is_made_from_its_own_files_only(copy: Lake, known: Registry, table: str) -> None:
    expected = one_by_one(recipes()[table], copy, known)[ALPHA]
    for path in copy.root.rglob(f"model={BETA}/**/*.parquet"):
        path.write_bytes(b"rubbish")
    ((_, found),) = make_partitions(recipes()[table], copy, known, CELLS[:1])
    assert conform(TABLES[table], rows(found)) == expected


def test_of_a_batch_only_what_is_not_up_to_date_is_made(copy: Lake, known: Registry) -> None:
    recipe = recipes()["completion_rates"]

    def has(scope: Mapping[str, str], fingerprint: str) -> bool:
        return copy.inputs(recipe.name, scope) == fingerprint

    assert None not in bring_up_to_date(recipe, copy, known, CELLS, has)
    assert bring_up_to_date(recipe, copy, known, CELLS, has) == [None, None]
    before = copy.path(recipe.name, CELLS[0]).stat().st_ino
    counts = copy.read("outcome_counts", CELLS[1])
    copy.write("outcome_counts", counts.slice(1), CELLS[1])
    first, second = bring_up_to_date(recipe, copy, known, CELLS, has)
    assert (first, second is not None and second.changed) == (None, True)
    assert copy.path(recipe.name, CELLS[0]).stat().st_ino == before


def test_a_batch_is_of_one_month_or_of_small_ones_and_not_too_large(world: Lake, known: Registry) -> None:
    recipe = recipes()["attempt_outcomes"]
    other = [{"cohort": "2031-01", "model": model} for model in MODELS]
    mixed = [CELLS[0], other[0], CELLS[1], other[1]]
    assert batches_of(recipe, world, mixed) == [[*CELLS, *other]]
    size = sum(p.stat().st_size for t in recipe.inputs for p in engine.files_of(world, t, CELLS))
    assert batches_of(dataclasses.replace(recipe, most_bytes=size - 1), world, [*CELLS, OTHER_MONTH[0]])[-1:] == [
        OTHER_MONTH[:1]
    ]
    assert batches_of(dataclasses.replace(recipe, most_bytes=1), world, CELLS) == [[cell] for cell in CELLS]
    assert batches_of(recipes()["leaderboard"], world, [{}]) == [[{}]]
    assert batches_of(recipe, world, []) == []


OTHER_MONTH = [{"cohort": "2031-01", "model": model} for model in MODELS]
_IDS = ("job_id", "attempt_id", "previous_attempt_id", "packet_id", "verdict_id")


def with_another_month(lake: Lake, suffix: str) -> None:
    """The month once more under another name, its jobs and attempts too: with this behind their ids."""
    for table in {name for made in BY_CELL for name in recipes()[made].inputs if not TABLES[name].ledger}:
        for keys in lake.partitions(table):
            there = lake.read(table, keys).to_pylist()
            for row in there:
                row["cohort"] = "2031-01"
                row.update({name: row[name] + suffix for name in _IDS if row.get(name)})
            lake.write(table, scenario.table_of(table, there), {**keys, "cohort": "2031-01"})


@pytest.mark.parametrize("table", BY_CELL)
@pytest.mark.parametrize("suffix", ["_b", ""], ids=["other_jobs", "the_same_jobs"])
def test_months_made_together_are_as_if_made_alone(copy: Lake, known: Registry, table: str, suffix: str) -> None:
    with_another_month(copy, suffix)
    recipe, cells = recipes()[table], [*CELLS, *OTHER_MONTH]
    made = {
        (scope["cohort"], scope["model"]): conform(TABLES[table], rows(found))
        for scope, found in make_partitions(recipe, copy, known, cells)
    }
    alone = {(c["cohort"], c["model"]): conform(TABLES[table], rows(recipe.build(copy, known, c))) for c in cells}
    assert made == alone
    assert {"2031-01"} >= {cohort for (cohort, _), found in made.items() for cohort in found["cohort"].to_pylist()} - {
        COHORT
    }
    assert table == "packet_status" or made["2031-01", ALPHA].num_rows == made[COHORT, ALPHA].num_rows > 0


# ---- attempt_outcomes counts bits


def outcome(lake: Lake, criteria: list[str], votes: list[Vote], **changes: Any) -> dict[str, Any]:
    relations = relations_of(["j1"], criteria, {ALPHA: {("agent_alone", "j1"): votes}})
    verdicts = [v | {k: c[n] for k, c in changes.items()} for n, v in enumerate(relations["verdicts"].to_pylist())]
    relations["verdicts"] = scenario.table_of("verdicts", verdicts)
    (row,) = engine.run(lake, engine.query("attempt_outcomes"), CELLS[0], {}, relations).to_pylist()
    return dict(row)


def test_a_rubric_may_have_any_number_of_criteria(lake: Lake) -> None:
    criteria = [f"c{n:03d}" for n in range(300)]
    found = outcome(lake, criteria, [(c, "ann", c != "c200") for c in criteria])
    assert (found["n_criteria"], found["n_judged"], found["n_passed"], found["near_miss"]) == (300, 300, 299, True)
    assert (found["all_criteria"], found["required_criteria"], found["outcome"]) == (False, False, "graded")


def test_minutes_of_many_graders_are_added_in_their_order(lake: Lake) -> None:
    graders, minutes = [f"g{n}" for n in range(9)], [0.1, 1e16, 0.3, -1e16, 0.7, 1e-3, 3.3, 1e9, 2.2]
    pairs = list(zip(graders, minutes, strict=True))
    random.Random(5).shuffle(pairs)
    found = outcome(lake, ["c1"], [("c1", g, True) for g, _ in pairs], minutes=[m for _, m in pairs])
    total = 0.0
    for number in minutes:
        total += number
    assert found["grader_minutes"] == total
    assert outcome(lake, ["c1"], [("c1", "g1", True)], minutes=[None])["grader_minutes"] is None


# ---- writing


def test_rows_in_any_order_are_the_same_partition(world: Lake, tmp_path: Path) -> None:
    table, cell = "job_states", CELLS[0]
    there = world.read(table, cell)
    order = list(range(there.num_rows))
    random.Random(3).shuffle(order)
    shuffled = Lake(tmp_path / "shuffled")
    shuffled.write(table, there.take(order), cell)
    assert shuffled.read(table, cell).equals(there)
    assert shuffled.content(table, cell) == world.content(table, cell)
