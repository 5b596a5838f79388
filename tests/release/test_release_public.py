"""What leaves and what stays: no table without a decision, no text without clearance, no person at all."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from hapi_pipeline.publication import clearance
from hapi_pipeline.release import Release
from hapi_pipeline.release.public import (
    CLEARED_ONLY,
    HIDDEN,
    PRIVATE,
    PUBLIC,
    opened,
    public_rows,
    public_table,
    rows,
)
from hapi_pipeline.tables import TABLES
from tests import scenario
from tests.release.conftest import World


def test_somebody_has_decided_on_every_table() -> None:
    undecided = set(TABLES) - set(PUBLIC) - set(PRIVATE)
    assert undecided == set(), "say in hapi_pipeline/release/public.py whether these leave, and which of their columns"
    assert not set(PUBLIC) & set(PRIVATE)
    assert set(PUBLIC) | set(PRIVATE) == set(TABLES)


def test_every_public_table_says_what_is_simulated() -> None:
    assert all("simulated" in public_table(name).names for name in PUBLIC)


def test_hidden_columns_are_gone_and_the_key_still_tells_rows_apart(as_released: World) -> None:
    with opened(as_released.lake, clearance(as_released.lake, as_released.registry)) as connection:
        for name in PUBLIC:
            table, found = public_table(name), rows(connection, name)
            assert not set(found.column_names) & set(HIDDEN), name
            assert set(table.names) == set(TABLES[name].names) - set(HIDDEN), name
            assert found.schema.equals(table.schema()), name
            keys = found.select(list(table.key)).to_pylist()
            assert len({json.dumps(k) for k in keys}) == found.num_rows, name
            for column in table.columns:
                assert column.nullable or found.column(column.name).null_count == 0, (name, column.name)


def everything(release: Release) -> str:
    """All that is written in a release, Parquet unpacked."""
    parts = []
    for path in sorted(p for p in release.path.rglob("*") if p.is_file()):
        parts.append(path.name)
        if path.suffix == ".parquet":
            parts.append(json.dumps(pq.read_table(path).to_pylist(), default=str))
        else:
            parts.append(path.read_text("utf-8"))
    return "\n".join(parts)


def test_clients_graders_and_files_of_the_operator_never_leave(as_released: World, made: Release) -> None:
    told = everything(made)
    for secret in ("client of good-2", "content of good-2", "posts.csv", "v.csv", "d" * 64, "warden.of.shelves"):
        assert secret not in told
    verdicts = public_rows(as_released.lake, clearance(as_released.lake, as_released.registry), "verdicts").to_pylist()
    assert {v["grader"] for v in verdicts} == {"1", "2", "3"}
    three = {v["grader"]: v["grader_role"] for v in verdicts if v["job_id"] == "good-3" and "Alpha" in v["model"]}
    assert three == {"1": "grader", "2": "grader", "3": "adjudicator"}


def test_texts_of_jobs_that_are_not_cleared_never_leave(here: World) -> None:
    here.publish(jobs="listed")
    (here.home.registry / "cleared_jobs.txt").write_text("good-1\n")
    made = here.release("1.0")
    told = everything(made)
    assert "Task good-1" in told
    for job in ("good-2", "good-3", "good-4", "x-over"):
        assert f"Task {job}" not in told
    assert "notes.md" not in told
    assert "list.csv" in told
    with opened(here.lake, clearance(here.lake, here.registry)) as connection:
        for name in PUBLIC:
            table = rows(connection, name)
            for column in set(CLEARED_ONLY) & set(table.column_names) if "job_id" in table.column_names else ():
                jobs = {r["job_id"] for r in table.to_pylist() if r[column] is not None}
                assert jobs <= {"good-1"}, (name, column)
    # ... but their results do
    states = pq.read_table(made.path / made.manifest["tables"]["job_states"]["parquet"]).to_pylist()
    assert {s["job_id"] for s in states} == set(scenario.GOOD)
    assert made.manifest["jobs"] == {"cleared": 1, "withheld": {"not listed among the jobs cleared for publication": 3}}
    withheld = pq.read_table(made.path / made.manifest["tables"]["clearance"]["parquet"]).to_pylist()
    assert {w["job_id"]: w["cleared"] for w in withheld} == {job: job == "good-1" for job in scenario.GOOD}


def test_held_back_months_leave_numbers_only(here: World) -> None:
    here.publish(hold_back_months=1)
    made = here.release("1.0")
    told = everything(made)
    assert "Task good" not in told
    assert "is met" not in told
    assert made.manifest["jobs"] == {
        "cleared": 0,
        "withheld": {"held back: the newest month is kept for evaluation only": 4},
    }


def themed(world: World, theme: str, example: str) -> None:
    common = {"model": "(all)", "round": "agent_alone", "turn": 0, "arm": "human", "theme_id": 3, "provisional": False}
    counts = dict.fromkeys(
        ("n_jobs", "n_clients", "n_criteria", "n_judged", "n_failed", "n_unjudged", "n_all_judged", "n_all_failed"), 1
    )
    row = common | counts | {"theme": theme, "example_criterion": example, "simulated": False}
    world.lake.write("failure_themes", scenario.table_of("failure_themes", [row]), {})


def test_labels_of_themes_say_nothing_beyond_the_cleared_rubrics(here: World) -> None:
    themed(here, "met, c2", "c2 is met")
    told = public_rows(here.lake, clearance(here.lake, here.registry), "failure_themes").to_pylist()[0]
    assert (told["theme"], told["example_criterion"]) == ("met, c2", "c2 is met")
    themed(here, "met, submarine", "the submarine dives")
    told = public_rows(here.lake, clearance(here.lake, here.registry), "failure_themes").to_pylist()[0]
    assert (told["theme"], told["example_criterion"]) == ("theme 3", None)


def test_rows_that_name_two_graders_stay(here: World) -> None:
    counts = ("n_double", "n_graders", "n_jobs", "n_units", "n_pairs", "n_split")
    row = {"level": "criterion", "simulated": False} | dict.fromkeys(counts, 1)
    pairs = [row | {"scope": "pair", "scope_value": "ann, bob"}, row | {"scope": "overall", "scope_value": "all"}]
    here.lake.write("grader_agreement", scenario.table_of("grader_agreement", pairs), {})
    found = public_rows(here.lake, clearance(here.lake, here.registry), "grader_agreement").to_pylist()
    assert [r["scope"] for r in found] == ["overall"]


def test_attempts_at_jobs_that_have_left_the_benchmark_stay(here: World) -> None:
    jobs = here.lake.read("benchmark_jobs", scenario.SCOPE).to_pylist()
    kept = [row for row in jobs if row["job_id"] != "good-3"]
    here.lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", kept), scenario.SCOPE)
    told = clearance(here.lake, here.registry)
    for name in ("attempts", "verdicts", "rubrics", "attempt_outcomes"):
        assert "good-3" not in {r["job_id"] for r in public_rows(here.lake, told, name).to_pylist()}


def test_nothing_of_this_machine_is_in_a_release(as_released: World, made: Release) -> None:
    told = everything(made)
    for place in (str(as_released.home.root), str(Path(__file__).parents[2]), str(Path.home())):
        assert place not in told
