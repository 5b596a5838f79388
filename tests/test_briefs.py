"""Briefs for external agents: all that an author needs, nothing that would help to cheat, and back in again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.agents.ledger import AttemptLedger
from hapi_pipeline.agents.prompt import FEEDBACK_HEADING
from hapi_pipeline.briefs import export_jobs
from hapi_pipeline.evaluation import Cell, attempt_rows
from hapi_pipeline.intake.attempts import import_attempts
from hapi_pipeline.intake.ledger import rows_of
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Model, Registry
from hapi_pipeline.rounds import ROUND
from hapi_pipeline.settings import Home, UserError
from tests import scenario
from tests.scenario import COHORT

MINE, OTHER = Model("Mine/2", None, agent_profile="external"), Model("Other", None, agent_profile="external")
OPEN, DONE, WAITING = "../..\\odd|job ü:1", "d1", "w1"
SECRETS = ("431.27", "passed-canary", "grader-canary", "client-canary", "other-work-canary", "other-comment-canary")
FAILED = "failed-canary"


@dataclass
class Deployment:
    home: Home
    out: Path

    def export(self, *args: Any, **changes: Any) -> int:
        return export_jobs(self.home, self.out, [COHORT], *args, **changes)

    def texts(self) -> dict[str, bytes]:
        return {p.relative_to(self.out).as_posix(): p.read_bytes() for p in self.out.rglob("*") if p.is_file()}

    def jobs(self) -> list[dict[str, Any]]:
        return [json.loads(data) for name, data in self.texts().items() if name.endswith("/job.json")]

    def template(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.texts()["manifest_template.jsonl"].decode().splitlines()]


@pytest.fixture
def deployment(home: Home, tmp_path: Path) -> Deployment:
    """Three jobs: one that both models failed, one complete, one whose verdicts are not in."""
    lake = Lake(home.lake)
    Registry.of(home).save_models([MINE, OTHER, Model("Ours", "openai/ours")])
    facts = {"rubric_version": "r1", "n_criteria": 2, "price_usd": 431.27, "client_id": "client-canary"}
    jobs = [scenario.post(job) | facts for job in (OPEN, DONE, WAITING)]
    jobs[0]["attachments"] = ["../in put.csv", "in put.csv", "gone.csv"]
    attached = home.root / "attachments" / Model(OPEN, None).key
    attached.mkdir(parents=True)
    (attached / "in put.csv").write_text("a,b\n")
    lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", jobs), scenario.SCOPE)
    lake.write(
        "rubrics",
        scenario.table_of(
            "rubrics",
            [
                scenario.criterion(job, key, "critical", cohort=COHORT, text=text)
                for job in (OPEN, DONE, WAITING)
                for key, text in (("c1", "passed-canary"), ("c2", FAILED))
            ],
        ),
        scenario.SCOPE,
    )
    for model, work, comment in ((MINE, "my own work", "my-comment"), (OTHER, SECRETS[4], SECRETS[5])):
        _hand_in(home, tmp_path / model.key, model, work)
        _grade(home, lake, model, comment)
    return Deployment(home, tmp_path / "out")


def _hand_in(home: Home, folder: Path, model: Model, work: str) -> None:
    folder.mkdir()
    (folder / "report.md").write_text(work)
    rows = [
        {"job_id": job, "model": model.name, "round": "agent_alone", "deliverables": ["report.md"]}
        for job in (OPEN, DONE, WAITING)
    ]
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert import_attempts(Lake(home.lake), home, Registry.of(home), folder)[0].rows == 3


def _grade(home: Home, lake: Lake, model: Model, comment: str) -> None:
    cell, ledger = Cell(COHORT, model, ROUND["agent_alone"]), AttemptLedger(home.attempts)
    made = ledger.results(model.key, "agent_alone")
    rows = attempt_rows(cell, made, {}, frozenset({OPEN, DONE, WAITING}))
    lake.write("attempts", rows_of("attempts", rows), cell.keys)
    votes = {OPEN: (True, False), DONE: (True, True), WAITING: (True, None)}
    graded = [
        scenario.verdict(
            r.attempt_id, model.name, "agent_alone", r.job_id, (f"c{n}", "grader-canary", vote), n, comment=comment
        )
        for r in made
        for n, vote in enumerate(votes[r.job_id], 1)
    ]
    lake.write("verdicts", scenario.table_of("verdicts", graded), cell.keys)


def leaks(found: dict[str, bytes], words: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, w) for name, data in found.items() for w in words if w.encode() in data or w in name]


@pytest.mark.parametrize("form", ["folder", "jsonl"])
@pytest.mark.parametrize(("round_", "model"), [("agent_alone", None), ("agent_alone", "Mine/2"), ("retry_1", "Mine/2")])
def test_nothing_that_an_agent_must_not_know_is_written(
    deployment: Deployment, form: str, round_: str, model: str | None
) -> None:
    deployment.export(round_, model, form)
    found = deployment.texts()
    assert leaks(found, (*SECRETS, FAILED, "my-comment")) == []
    assert leaks(found, (FEEDBACK_HEADING,)) == []


@pytest.mark.parametrize("form", ["folder", "jsonl"])
def test_the_feedback_round_shows_the_models_own_failures_and_work_and_no_more(
    deployment: Deployment, form: str
) -> None:
    assert deployment.export("feedback_1", "Mine/2", form) == 1
    found = deployment.texts()
    assert leaks(found, SECRETS) == []
    assert leaks(found, (FAILED,)), "what failed is the feedback"
    assert leaks(found, ("my-comment",))
    assert [data for name, data in found.items() if name.endswith("previous/report.md")] == [b"my own work"]


def test_the_control_arm_gets_the_same_brief_but_for_the_feedback(deployment: Deployment, tmp_path: Path) -> None:
    briefs = {}
    for name in ("feedback_1", "retry_1"):
        deployment.out = tmp_path / name
        deployment.export(name, "Mine/2")
        ((_, data),) = [item for item in deployment.texts().items() if item[0].endswith("brief.md")]
        briefs[name] = data.decode()
    assert briefs["feedback_1"].startswith(briefs["retry_1"].rstrip("\n"))
    assert briefs["feedback_1"] != briefs["retry_1"]


def test_only_the_jobs_that_are_due_are_in_a_later_round(deployment: Deployment) -> None:
    deployment.export("feedback_1", "Mine/2")
    assert [job["job_id"] for job in deployment.jobs()] == [OPEN]
    with pytest.raises(UserError, match="No job of these months is due in feedback_2 for Mine/2"):
        export_jobs(deployment.home, deployment.out.with_name("more"), [COHORT], "feedback_2", "Mine/2")


def test_names_are_safe_and_attachments_are_those_of_the_job(deployment: Deployment) -> None:
    assert deployment.export() == 3
    (odd,) = [job for job in deployment.jobs() if job["job_id"] == OPEN]
    folder = deployment.out / odd["folder"]
    assert folder.parent == deployment.out / "jobs"
    assert all(c.isalnum() or c in "._()+-" for c in folder.name)
    assert [a["path"] for a in odd["attachments"]] == ["attachments/in_put.csv"]
    assert (folder / "attachments" / "in_put.csv").read_text() == "a,b\n"
    assert "in_put.csv (4 bytes)" in (folder / "brief.md").read_text()
    assert not {"price_usd", "client_id", "country", "rubric_version"} & odd.keys()


def test_the_template_is_refused_as_it_stands_and_taken_once_filled_in(deployment: Deployment) -> None:
    deployment.export("feedback_1", "Mine/2")
    lake, registry = Lake(deployment.home.lake), Registry.of(deployment.home)
    unfilled, _ = import_attempts(lake, deployment.home, registry, deployment.out)
    assert (unfilled.rows, unfilled.quarantined) == (0, 1)
    (row,) = deployment.template()
    work = deployment.out / row["folder"]
    work.mkdir()
    (work / "report.md").write_text("better work")
    filled = row | {"deliverables": ["report.md"], "minutes": 4}
    (deployment.out / "manifest.jsonl").write_text(json.dumps(filled))
    done, _ = import_attempts(lake, deployment.home, registry, deployment.out)
    assert (done.rows, done.quarantined, done.unmapped_columns) == (1, 0, ())
    (made,) = AttemptLedger(deployment.home.attempts).results(MINE.key, "feedback_1")
    (before,) = [
        r for r in AttemptLedger(deployment.home.attempts).results(MINE.key, "agent_alone") if r.job_id == OPEN
    ]
    assert (made.previous_attempt_id, made.seconds, made.turn) == (before.attempt_id, 240.0, 1)


@pytest.mark.parametrize("job", [DONE, WAITING])
def test_work_for_a_round_in_which_the_job_is_not_due_is_refused(
    deployment: Deployment, tmp_path: Path, job: str
) -> None:
    folder = tmp_path / "early"
    folder.mkdir()
    row = {"job_id": job, "model": "Mine/2", "round": "feedback_1", "deliverables": []}
    (folder / "manifest.jsonl").write_text(json.dumps(row))
    done, _ = import_attempts(Lake(deployment.home.lake), deployment.home, Registry.of(deployment.home), folder)
    codes = [r["code"] for r in Lake(deployment.home.lake).read("quarantine").to_pylist()]
    assert (done.rows, codes) == (0, ["not_due"])


@pytest.mark.parametrize(
    ("round_", "model", "message"),
    [
        ("feedback_1", None, "--model"),
        ("feedback_1", "Ours", "run by this project"),
        ("agent_alone", "Nobody", "no model"),
        ("feedback_9", None, "no round"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(
    deployment: Deployment, round_: str, model: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        deployment.export(round_, model)
    assert not deployment.out.exists()


def test_a_folder_with_something_in_it_is_left_alone(
    deployment: Deployment, bytes_below: Callable[[Path], dict[str, str]]
) -> None:
    deployment.out.mkdir()
    assert deployment.export() == 3, "an empty folder will do"
    before = bytes_below(deployment.out.parent)
    with pytest.raises(UserError, match="not empty"):
        deployment.export()
    assert bytes_below(deployment.out.parent) == before


def test_an_export_that_fails_leaves_nothing(
    deployment: Deployment, bytes_below: Callable[[Path], dict[str, str]]
) -> None:
    results = AttemptLedger(deployment.home.attempts).results(MINE.key, "agent_alone")
    (mine,) = [r for r in results if r.job_id == OPEN]
    (mine.folder / "deliverables" / "report.md").unlink()
    before = bytes_below(deployment.out.parent)
    with pytest.raises(FileNotFoundError):
        deployment.export("feedback_1", "Mine/2")
    assert bytes_below(deployment.out.parent) == before


def test_simulated_jobs_say_so(deployment: Deployment) -> None:
    deployment.export()
    assert "SIMULATED" not in deployment.texts()["README.md"].decode()
    lake = Lake(deployment.home.lake)
    jobs = [row | {"simulated": True} for row in lake.read("benchmark_jobs").to_pylist()]
    lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", jobs), scenario.SCOPE)
    deployment.out = deployment.out.with_name("made up")
    deployment.export()
    assert "SIMULATED DATA: 3 of these jobs" in deployment.texts()["README.md"].decode()
    assert all(job["simulated"] for job in deployment.jobs())
