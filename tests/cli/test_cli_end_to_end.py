"""The whole chain through the command line, on a home whose every figure can be worked out by hand.

Of the eight jobs J7 is hourly and J8 costs too much. March 2025: J1 and J4 are complete at once, J2 after
feedback, J3 only in a second try without feedback. April: J5 after the second feedback, J6 never.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapi_pipeline.cli import main
from hapi_pipeline.settings import Home
from hapi_pipeline.simulate.graders import grade_packets
from tests.cli.conftest import (
    CRITERIA,
    MODELS,
    QUALIFYING,
    listing,
    write_csv,
    write_jobs,
    write_rubrics,
    write_world,
)

SIM_Y = {"name": "Sim Y", "litellm": "hosted_vllm/sim-y"}
Rate = tuple[int, int, int, int]  # eligible, graded, completed, pending


@dataclass
class Story:
    """A home, and what was said on the way; commands run on it in turn."""

    home: Path
    said: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    rates: dict[str, dict[tuple[str, str, str], Rate]] = field(default_factory=dict)
    runs: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    sheets: list[Path] = field(default_factory=list)

    def do(self, step: str, *words: object) -> str:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["--home", str(self.home), *map(str, words)])
        self.said[step] = (code, out.getvalue(), err.getvalue())
        return out.getvalue()

    def ask(self, sql: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.do("query", "query", sql, "--format", "json").splitlines()]

    def note_rates(self, step: str) -> None:
        rows = self.ask(
            "SELECT cohort, model, round, sum(n_eligible) e, sum(n_graded) g, sum(n_completed) c, "
            "sum(n_pending) p FROM completion_rates WHERE rule = 'all_criteria' GROUP BY ALL"
        )
        self.rates[step] = {(r["cohort"], r["model"], r["round"]): (r["e"], r["g"], r["c"], r["p"]) for r in rows}

    def grade(self, step: str, *filters: str) -> int:
        """Hand packets out, have them graded, import what comes back; the number of packets."""
        out = self.home.parent / f"out {step}"
        self.do(f"packets {step}", "packets", "--out", out, *filters)
        folders = sorted(p for p in out.iterdir() if not p.name.startswith("."))
        self.sheets = grade_packets(folders, self.home.parent / f"graded {step}", on=date(2025, 5, 2))
        if self.sheets:
            self.do(f"verdicts {step}", "import", "verdicts", *self.sheets)
        return len(folders)

    def jobs_run(self) -> list[dict[str, str]]:
        """The Dagster runs of the home, the oldest first."""
        from hapi_pipeline.operations import instance_of

        with instance_of(Home(self.home)) as instance:
            return [{"job": r.job_name, "status": r.status.value, **r.tags} for r in reversed(instance.get_runs())]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAPI_HOME", "")
        patch.setenv("DAGSTER_HOME", "")
        yield _told(Story(folder / "home"), folder)


def _told(story: Story, folder: Path) -> Story:
    story.do("jobs", "import", "jobs", write_jobs(folder / "jobs.csv"), "--source", "canonical")
    story.do("rubrics", "import", "rubrics", write_rubrics(folder / "rubrics.csv"))
    (story.home / "registry" / "models.yaml").write_text(MODELS)
    write_world(story.home / "simulator" / "world")
    story.do("dry", "backfill", "--model", "Sim X", "--dry-run")
    story.do("refresh 1", "refresh")
    story.note_rates("ungraded")
    story.grade("1")
    _attempts_made_elsewhere(story, folder)
    story.do("refresh 2", "refresh")
    story.note_rates("graded once")
    story.do("verdicts again", "import", "verdicts", *story.sheets)
    story.do("nothing to grade", "packets", "--round", "agent_alone", "--model", "Sim X", "--out", folder / "none")
    story.do("external packets", "packets", "--model", "Elsewhere", "--out", folder / "external")
    story.grade("2", "--model", "Sim X")
    _long_verdicts(story, folder)
    story.do("refresh 3", "refresh")
    story.grade("3", "--model", "Sim X")
    story.do("refresh 4", "refresh")
    story.note_rates("graded")
    before = listing(story.home / "lake")
    story.do("refresh again", "refresh")
    story.said["unchanged"] = (int(listing(story.home / "lake") != before), "", "")
    _second_model(story)
    story.do("models", "models")
    for job in ("J2", "J3", "J7", "J8"):
        story.do(f"explain {job}", "explain", job)
    story.do("rebuild", "rebuild")
    return story


def _second_model(story: Story) -> None:
    listed = story.home / "registry" / "models.yaml"
    listed.write_text(listed.read_text() + yaml.safe_dump([yaml.safe_load(MODELS)["models"][0] | SIM_Y]))
    runs, before = len(story.jobs_run()), listing(story.home / "lake")
    story.do("dry run", "backfill", "--model", "Sim Y", "--dry-run")
    story.said["dry run changed"] = (
        int(listing(story.home / "lake") != before or len(story.jobs_run()) != runs),
        "",
        "",
    )
    story.do("backfill", "backfill", "--model", "Sim Y")
    story.runs["backfill"] = story.jobs_run()[runs:]
    story.note_rates("backfilled")


def _attempts_made_elsewhere(story: Story, folder: Path) -> None:
    story.do("external", "models", "add", "Elsewhere", "--external")
    made = folder / "made elsewhere"
    made.mkdir()
    (made / "work.txt").write_text("What was asked for.")
    attempts = [
        {
            "job_id": job,
            "model": "Elsewhere",
            "round": "agent_alone",
            "deliverables": ["work.txt"],
            "cost_usd": 0.5,
            "finished_at": "2025-05-01T10:00:00",
        }
        for job in ("J1", "J2", "J9")
    ]
    (made / "manifest.jsonl").write_text("".join(json.dumps(a) + "\n" for a in attempts))
    story.do("attempts", "import", "attempts", made)
    story.do("attempts again", "import", "attempts", made)


def _long_verdicts(story: Story, folder: Path) -> None:
    verdicts = [
        (job, "Elsewhere", "agent_alone", f"c{n}", "pass" if job == "J1" or n > 1 else "fail", "Kim")
        for job in ("J1", "J2")
        for n in range(1, CRITERIA + 1)
    ]
    columns = ("job_id", "model", "round", "criterion_id", "passed", "grader")
    story.do("long verdicts", "import", "verdicts", write_csv(folder / "long.csv", columns, verdicts))


def test_every_command_succeeds(story: Story) -> None:
    odd = {step: said for step, said in story.said.items() if said[0] != 0 and step != "attempts"}
    assert odd == {}


def test_a_first_refresh_attempts_every_job_that_qualifies(story: Story) -> None:
    assert "6 attempts made" in story.said["refresh 1"][1]
    before, _, _ = story.said["refresh 1"][1].partition("6 attempts made")
    assert "Sim X: 6 to be made." in before, "said before it is done"
    assert story.rates["ungraded"]["2025-03", "Sim X", "agent_alone"] == (4, 0, 0, 4)
    assert story.rates["ungraded"]["2025-04", "Sim X", "agent_alone"] == (2, 0, 0, 2)


def test_packets_go_out_for_what_needs_grading_and_for_nothing_else(story: Story) -> None:
    assert story.said["packets 1"][1].startswith("6 packet(s)")
    assert story.said["nothing to grade"][1].startswith("Nothing to grade")
    assert story.said["external packets"][1].startswith("2 packet(s)")
    assert story.said["packets 2"][1].startswith("8 packet(s)")  # 4 jobs open, with feedback and without
    assert story.said["packets 3"][1].startswith("3 packet(s)")  # J3, J5 and J6 a third time


def test_verdicts_come_in_once(story: Story) -> None:
    _, out, _ = story.said["verdicts 1"]
    assert "from 6 file(s)" in out
    code, out, _ = story.said["verdicts again"]
    assert (code, out.count("imported before, nothing changed")) == (0, 6)


def test_the_rates_are_those_worked_out_by_hand(story: Story) -> None:
    once = story.rates["graded once"]
    all_in = {key: rate for key, rate in story.rates["graded"].items() if key[1] == "Sim X"}
    assert once["2025-03", "Sim X", "agent_alone"] == (4, 4, 2, 0)
    assert once["2025-04", "Sim X", "agent_alone"] == (2, 2, 0, 0)
    assert once["2025-03", "Sim X", "feedback_1"] == (
        4,
        2,
        2,
        2,
    )  # J1 and J4 count on, J2 and J3 wait for a grader
    completed = {key[0::2]: value[2] for key, value in all_in.items()}
    assert completed == {
        ("2025-03", "agent_alone"): 2,
        ("2025-04", "agent_alone"): 0,
        ("2025-03", "feedback_1"): 3,
        ("2025-04", "feedback_1"): 0,
        ("2025-03", "feedback_2"): 3,
        ("2025-04", "feedback_2"): 1,
        ("2025-03", "retry_1"): 3,
        ("2025-04", "retry_1"): 0,
    }
    assert all(pending == 0 and graded == eligible for eligible, graded, _, pending in all_in.values())


def test_a_refresh_of_what_has_not_changed_changes_nothing(story: Story) -> None:
    code, said, _ = story.said["refresh again"]
    assert (code, said.splitlines()[0]) == (0, "Nothing has changed since the last refresh.")
    assert said.splitlines()[1].startswith("Report: ")
    assert story.said["unchanged"][0] == 0


def test_a_dry_run_says_what_it_would_cost_and_starts_nothing(story: Story) -> None:
    guess = story.said["dry"][1]
    assert "Sim X over 2 month(s), 2025-03 to 2025-04" in guess
    _, out, _ = story.said["dry run"]
    assert "Sim Y over 2 month(s)" in out
    assert "6 due" in out
    assert "6 to be made" in out
    assert "attempts of other models" in out
    assert "Likely cost: $0.0" in out
    assert story.said["dry run changed"][0] == 0


def test_a_backfill_is_one_run_over_all_months(story: Story) -> None:
    evaluations = [run for run in story.runs["backfill"] if run["job"] == "evaluate"]
    assert len(evaluations) == 1
    assert evaluations[0]["status"] == "SUCCESS"
    assert evaluations[0]["dagster/asset_partition_range_start"] == "2025-03|Sim Y"
    assert evaluations[0]["dagster/asset_partition_range_end"] == "2025-04|Sim Y"
    assert "6 attempts made" in story.said["backfill"][1]
    assert "Report: " in story.said["backfill"][1]
    rates = story.rates["backfilled"]
    assert rates["2025-03", "Sim Y", "agent_alone"] == (4, 0, 0, 4)
    assert {k: v for k, v in rates.items() if k[1] != "Sim Y"} == story.rates["graded"]


def test_attempts_made_elsewhere_are_graded_like_any_other(story: Story) -> None:
    code, out, _ = story.said["attempts"]
    assert code == 1  # J9 is no job of the benchmark
    assert "2 attempt(s) taken in" in out
    assert "1 row(s) in quarantine" in out
    assert "imported before" in story.said["attempts again"][1]
    assert "10 verdicts taken in" in story.said["long verdicts"][1]
    assert story.rates["graded"]["2025-03", "Elsewhere", "agent_alone"] == (4, 2, 1, 0)


def test_every_table_is_what_the_ledgers_make_of_it_without_dagster(story: Story) -> None:
    code, out, _ = story.said["rebuild"]
    assert (code, "the lake holds the same" in out) == (0, True), out
    assert {"job_posts", "attempts", "packets", "leaderboard"} <= {line.split()[0] for line in out.splitlines() if line}


def test_no_attempt_was_asked_for_twice(story: Story) -> None:
    log = (story.home / "simulator" / "requests.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in log]
    assert {r["event"] for r in records} == {"billed"}
    assert len({r["key"] for r in records}) == len(records)


def test_everything_simulated_says_so(story: Story) -> None:
    rows = story.ask(
        "SELECT model, bool_and(simulated) AS s, bool_or(simulated) AS any FROM completion_rates GROUP BY 1"
    )
    assert {r["model"]: (r["s"], r["any"]) for r in rows} == {
        "Sim X": (True, True),
        "Sim Y": (True, True),
        "Elsewhere": (False, False),
    }


def test_models_lists_what_each_has_and_lacks(story: Story) -> None:
    told, _, standing = story.said["models"][1].partition("\n\n")
    lines = {line.split("  ")[0]: line for line in told.splitlines()}
    assert "simulated" in lines["Sim X"]
    assert "external" in lines["Elsewhere"]
    assert "4 of 6 jobs" in lines["Elsewhere"]
    assert "of 6 jobs" not in lines["Sim X"]
    assert "Sim X      retry_1" in standing


def test_explain_says_why_a_job_is_in_or_out(story: Story) -> None:
    said = {step.split()[1]: out for step, (_, out, _) in story.said.items() if step.startswith("explain")}
    assert "IN the benchmark of 2025-03" in said["J2"]
    assert "feedback_1" in said["J2"]
    assert "Failed criteria" in said["J3"]
    assert "retry_1" in said["J3"]
    assert "fixed_price_jobs" in said["J7"]
    assert "OUT of the benchmark of 2025-03" in said["J7"]
    assert "in_scope_jobs" in said["J8"]
    assert "500" in said["J8"]
    assert len(QUALIFYING) == story.ask("SELECT count(*) AS n FROM benchmark_jobs")[0]["n"]
