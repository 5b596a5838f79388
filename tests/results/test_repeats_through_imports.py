"""Jobs that were attempted several times, through the imports and commands that a real home uses.

The rewards of a public benchmark's airline domain, where they are at hand, must come out as the pass^k that were
published for them; a small world of our own, whose pass^k are counted one by one, always runs.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapi_pipeline.cli import main
from tests.cli.conftest import JOB_COLUMNS, job_row, write_csv

REWARDS = Path(__file__).resolve().parents[3] / "shared/real/verdicts/taubench_gpt4o_airline_rewards.json"
AIRLINE, TWIN = "gpt-4o-airline", "a twin of it"
OWN = {"a": "1111", "b": "1101", "c": "0110", "d": "0001", "e": "0000", "f": "111", "g": "10"}
"""Job: what came of its samples, in order. Of the last two some samples were never handed in."""

Rewards = Mapping[str, Sequence[bool]]


class Desk:
    """A home into which rewards are brought as attempts and verdicts."""

    def __init__(self, folder: Path):
        self.folder, self.home = folder, folder / "home"
        self.do("init")
        settings = self.home / "registry" / "benchmark.yaml"
        loaded = yaml.safe_load(settings.read_text())
        loaded["rubric"]["min_criteria"] = 1
        settings.write_text(yaml.safe_dump(loaded))

    def do(self, *words: object) -> str:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["--home", str(self.home), *map(str, words)])
        assert code == 0, f"{words}: {out.getvalue()} {err.getvalue()}"
        return out.getvalue()

    def ask(self, sql: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.do("query", sql, "--format", "json").splitlines()]

    def jobs(self, names: Sequence[str]) -> None:
        rows = [[str(v) for v in job_row(name, "Writing", 50, "fixed", "2025-03-03")] for name in names]
        self.do("import", "jobs", write_csv(self.folder / "jobs.csv", JOB_COLUMNS, rows), "--source", "canonical")
        columns = ("job_id", "criterion_id", "position", "text", "importance")
        rubrics = [[name, "c1", 1, f"{name} is solved", "critical"] for name in names]
        self.do("import", "rubrics", write_csv(self.folder / "rubrics.csv", columns, rubrics))
        self.do("curate")

    def attempts(self, model: str, rewards: Rewards) -> None:
        """Hand in a file for every sample, from one manifest."""
        self.do("models", "add", model, "--external")
        folder = self.folder / f"work of {model}"
        lines = []
        for job, samples in rewards.items():
            for sample, _ in enumerate(samples, 1):
                path = folder / f"{job}-{sample}" / "answer.txt"
                path.parent.mkdir(parents=True)
                path.write_text(f"What was done about {job}, time {sample}.")
                row = {"job_id": job, "model": model, "round": "agent_alone", "folder": path.parent.name}
                lines.append(json.dumps(row | {"sample": sample, "deliverables": ["answer.txt"], "cost_usd": 0.25}))
        (folder / "manifest.jsonl").write_text("\n".join(lines))
        self.do("import", "attempts", folder)

    def verdicts(self, model: str, rewards: Rewards) -> None:
        """One long file with a verdict on every sample; the first one need not be named."""
        columns = ("job_id", "model", "round", "sample", "criterion_id", "passed", "grader")
        rows = [
            [job, model, "agent_alone", sample if sample > 1 else "", "c1", "pass" if passed else "fail", "checker"]
            for job, samples in rewards.items()
            for sample, passed in enumerate(samples, 1)
        ]
        self.do("import", "verdicts", write_csv(self.folder / f"verdicts of {model}.csv", columns, rows))

    def repeatability(self, model: str) -> list[dict[str, Any]]:
        return self.ask(
            f"SELECT * FROM repeatability WHERE model = '{model}' AND rule = 'all_criteria' "
            "AND round = 'agent_alone' ORDER BY k"
        )

    def headline(self, model: str) -> tuple[int, int]:
        """Graded and completed jobs of the leaderboard."""
        (row,) = self.ask(
            f"SELECT n_graded, n_completed FROM leaderboard l WHERE l.window = 'all' AND model = '{model}' "
            "AND rule = 'all_criteria' AND round = 'agent_alone'"
        )
        return row["n_graded"], row["n_completed"]


@pytest.fixture(scope="module")
def worlds() -> dict[str, Rewards]:
    """What came of each model's samples, by job."""
    found: dict[str, Rewards] = {TWIN: {job: [mark == "1" for mark in marks] for job, marks in OWN.items()}}
    if REWARDS.exists():
        rewards: dict[str, list[bool]] = {}
        for row in sorted(json.loads(REWARDS.read_text()), key=lambda r: (r["task_id"], r["trial"])):
            rewards.setdefault(f"task {row['task_id']:02d}", []).append(row["reward"] == 1)
        found[AIRLINE] = rewards
    return found


@pytest.fixture(scope="module")
def desk(worlds: dict[str, Rewards], tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A home that has all of it in its tables."""
    desk = Desk(tmp_path_factory.mktemp("repeats"))
    desk.jobs([job for rewards in worlds.values() for job in rewards])
    for model, rewards in worlds.items():
        desk.attempts(model, rewards)
    desk.do("refresh")
    for model, rewards in worlds.items():
        desk.verdicts(model, rewards)
    desk.do("refresh")
    return desk


@pytest.mark.skipif(not REWARDS.exists(), reason="the published rewards are no part of the repository and not at hand")
def test_published_rewards_give_the_published_figures(desk: Desk, worlds: dict[str, Rewards]) -> None:
    found = desk.repeatability(AIRLINE)
    assert [round(row["pass_hat_k"], 3) for row in found] == [0.420, 0.273, 0.220, 0.200]
    assert {(row["n_jobs_k"], row["n_attempts"], row["n_graded"], row["n_completed"]) for row in found} == {
        (50, 200, 200, 84)
    }
    assert desk.headline(AIRLINE) == (50, sum(samples[0] for samples in worlds[AIRLINE].values()))


def test_a_small_world_gives_the_figures_counted_one_by_one(desk: Desk, worlds: dict[str, Rewards]) -> None:
    found, rewards = desk.repeatability(TWIN), worlds[TWIN]
    assert [row["k"] for row in found] == [1, 2, 3, 4]
    for row in found:
        k, chosen = row["k"], [samples for samples in rewards.values() if len(samples) >= row["k"]]
        every, some = (
            [sum(map(ok, combinations(samples, k))) / len(list(combinations(samples, k))) for samples in chosen]
            for ok in (all, any)
        )
        assert row["n_jobs_k"] == len(chosen)
        assert row["pass_hat_k"] == pytest.approx(sum(every) / len(every), abs=1e-12)
        assert row["pass_at_k"] == pytest.approx(sum(some) / len(some), abs=1e-12)
        assert row["pass_hat_lo"] < row["pass_hat_k"] < row["pass_hat_hi"]
    first = found[0]
    assert (first["n_jobs"], first["n_jobs_repeated"], first["n_attempts"], first["n_graded"]) == (7, 7, 25, 25)
    assert (first["attempts_min"], first["attempts_max"], first["n_pending"]) == (2, 4, 0)


def test_the_headline_is_over_the_first_sample_and_every_cost_counts(desk: Desk) -> None:
    assert desk.headline(TWIN) == (7, 4), "of the first samples a, b, f and g are complete"
    (spent,) = desk.ask(
        "SELECT n_attempts, cost_usd, cost_per_attempt_usd, cost_graded_usd, cost_per_completed_usd FROM economics "
        f"WHERE model = '{TWIN}' AND rule = 'all_criteria' AND round = 'agent_alone'"
    )
    # all 25 cost a quarter of a dollar; doing the seven jobs once takes seven of these, for four complete jobs
    assert spent == {
        "n_attempts": 25,
        "cost_usd": 6.25,
        "cost_per_attempt_usd": 0.25,
        "cost_graded_usd": 1.75,
        "cost_per_completed_usd": 1.75 / 4,
    }


def test_a_job_is_explained_sample_by_sample(desk: Desk) -> None:
    told = desk.do("explain", "b")
    samples = [line.split() for line in told.splitlines() if line.strip().startswith(TWIN)]
    assert [words[-2] for words in samples if "external" in words] == ["complete", "complete", "incomplete", "complete"]
