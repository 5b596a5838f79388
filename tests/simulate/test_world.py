"""The known truth: who meets what, in which round."""

import csv
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hapi_pipeline.rounds import ROUND, ROUNDS
from hapi_pipeline.settings import UserError, shipped
from hapi_pipeline.simulate.world import COMPLETES, Criterion, Truth, World, complete_at, failing

IMPORTANCE = st.sampled_from(["critical", "important", "optional", "pitfall"])
RUBRIC = st.lists(IMPORTANCE, min_size=1, max_size=40).map(
    lambda labels: tuple(Criterion(f"c{at:02}", f"Point {at}.", label) for at, label in enumerate(labels, 1))
)
FAILED = [r.name for r in ROUNDS]
NEVER = Truth("never", False)


def make(tmp_path: Path, rubrics: str, truth: str = "") -> World:
    (tmp_path / "rubrics.csv").write_text("job_id,criterion_id,position,text,importance\n" + rubrics, "utf-8")
    (tmp_path / "truth.csv").write_text("job_id,model_id,completes,retry_1\n" + truth, "utf-8")
    return World.load(tmp_path)


THREE = "j,c02,2,Second,important\nj,c01,1,First,critical\nj,c03,3,Third,optional\n"


def test_an_absent_folder_is_an_empty_world(tmp_path: Path) -> None:
    world = World.load(tmp_path / "nowhere")
    assert world.criteria("j") == ()
    assert world.passed("j", "m", "agent_alone") == frozenset()


def test_criteria_come_in_their_order(tmp_path: Path) -> None:
    assert make(tmp_path, THREE).criteria("j") == (("c01", "First"), ("c02", "Second"), ("c03", "Third"))


def test_a_later_file_replaces_a_rubric_whole(tmp_path: Path) -> None:
    make(tmp_path, THREE)
    (tmp_path / "rubrics_2.csv").write_text(
        "job_id,criterion_id,position,text,importance\nj,c01,1,Only,critical\n", "utf-8"
    )
    assert World.load(tmp_path).criteria("j") == (("c01", "Only"),)


@pytest.mark.parametrize(
    ("completes", "retry", "complete"),
    [
        ("agent_alone", "false", {"agent_alone", "feedback_1", "feedback_2", "retry_1"}),
        ("feedback_1", "false", {"feedback_1", "feedback_2"}),
        ("feedback_1", "true", {"feedback_1", "feedback_2", "retry_1"}),
        ("feedback_2", "false", {"feedback_2"}),
        ("never", "true", {"retry_1"}),
        ("never", "false", set()),
    ],
)
def test_all_criteria_pass_from_the_round_that_the_truth_names(
    tmp_path: Path, completes: str, retry: str, complete: set[str]
) -> None:
    world = make(tmp_path, THREE, f"j,m,{completes},{retry}\n")
    everything = {"c01", "c02", "c03"}
    assert {r.name for r in ROUNDS if world.passed("j", "m", r.name) == everything} == complete


def test_unknown_rounds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no round 'feedback_9'"):
        make(tmp_path, THREE).passed("j", "m", "feedback_9")


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("truth.csv", "job_id,model_id,completes\n", "lacks the column 'retry_1'"),
        ("truth.csv", "job_id,model_id,completes,retry_1\nj,m,later,true\n", "no outcome"),
        ("truth.csv", "job_id,model_id,completes,retry_1\nj,m,never,maybe\n", "no outcome"),
        (
            "rubrics.csv",
            "job_id,criterion_id,position,text,importance\nj,c01,first,A,critical\n",
            "not a whole number",
        ),
        ("rubrics.csv", "", "lacks the column 'job_id'"),
    ],
)
def test_files_that_make_no_sense_are_named(tmp_path: Path, file: str, text: str, why: str) -> None:
    make(tmp_path, THREE)
    (tmp_path / file).write_text(text, "utf-8")
    with pytest.raises(UserError, match=why):
        World.load(tmp_path)


@given(RUBRIC, st.text(max_size=8), st.text(max_size=8), st.sampled_from(FAILED))
def test_failures_are_some_of_the_criteria_and_do_not_depend_on_their_order(
    rubric: tuple[Criterion, ...], job: str, model: str, round_name: str
) -> None:
    fails = failing(job, model, round_name, rubric)
    assert fails
    assert fails <= {c.id for c in rubric}
    mixed = list(rubric)
    random.Random(3).shuffle(mixed)
    assert failing(job, model, round_name, mixed) == fails


@given(RUBRIC, st.text(max_size=8))
def test_a_failure_of_soft_criteria_alone_touches_no_other(rubric: tuple[Criterion, ...], job: str) -> None:
    kind = {c.id: c.importance for c in rubric}
    fails = failing(job, "m", "agent_alone", rubric)
    if not {"critical", "important"} & {kind[c] for c in fails}:
        assert {kind[c] for c in fails} <= {"optional", "pitfall"}
        assert len(fails) <= 3


def test_failures_shrink_with_feedback_and_are_soft_now_and_then() -> None:
    labels = (
        "critical",
        "critical",
        "important",
        "important",
        "important",
        "important",
        "optional",
        "pitfall",
    )
    rubric = tuple(Criterion(f"c{at}", f"Point {at}.", label) for at, label in enumerate(labels))
    soft = {c.id for c in rubric if c.importance in ("optional", "pitfall")}
    jobs = [f"job-{at}" for at in range(2000)]
    mean = {
        name: sum(len(failing(job, "m", name, rubric)) for job in jobs) / len(jobs)
        for name in ("agent_alone", "feedback_1", "feedback_2", "retry_1")
    }
    assert mean["agent_alone"] > mean["feedback_1"] > mean["feedback_2"] >= 1
    assert abs(mean["retry_1"] - mean["agent_alone"]) < 0.2
    only_soft = sum(failing(job, "m", "agent_alone", rubric) <= soft for job in jobs) / len(jobs)
    assert 0.03 < only_soft < 0.07
    near_miss = sum(len(failing(job, "m", "agent_alone", rubric)) == 1 for job in jobs)
    assert near_miss > 100


def test_two_rounds_and_two_models_fail_differently() -> None:
    rubric = tuple(Criterion(f"c{at:02}", f"Point {at}.", "important") for at in range(20))
    assert len({failing("j", f"m{at}", "agent_alone", rubric) for at in range(20)}) > 15
    assert len({failing(f"j{at}", "m", "agent_alone", rubric) for at in range(20)}) > 15


def test_an_agent_that_the_world_does_not_list_has_seeded_outcomes(tmp_path: Path) -> None:
    world = make(tmp_path, "".join(f"j{at},c01,1,First,critical\n" for at in range(400)))
    found = [world.truth(f"j{at}", "sim-newcomer") for at in range(400)]
    assert {t.completes for t in found} == set(COMPLETES)
    assert found == [World.load(tmp_path).truth(f"j{at}", "sim-newcomer") for at in range(400)]
    assert not any(t.retry_1 for t in found if t.completes == "agent_alone")


@given(st.sampled_from(COMPLETES), st.booleans())
def test_what_is_complete_stays_complete_along_the_path(completes: str, retry: bool) -> None:
    truth = Truth(completes, retry)
    for r in ROUNDS:
        if complete_at(truth, r.name):
            later = [x.name for x in ROUNDS if r.name in x.path]
            assert all(complete_at(truth, name) for name in later)


def test_the_bundled_world_agrees_with_its_files() -> None:
    folder = shipped("data/sample")
    world = World.load(folder)
    with (folder / "truth.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        everything = frozenset(c for c, _ in world.criteria(row["job_id"]))
        assert 5 <= len(everything) <= 20
        for name in ("agent_alone", "feedback_1", "feedback_2"):
            complete = row["completes"] in ROUND[name].path
            assert (world.passed(row["job_id"], row["model_id"], name) == everything) == complete
