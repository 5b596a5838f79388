"""A small home for tests of automation: a few jobs a month, two simulated models, and files to drop into its inbox."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hapi_pipeline import operations
from hapi_pipeline.cli import main
from hapi_pipeline.lake import Lake
from hapi_pipeline.settings import Home

MODELS = """models:
- {name: One, litellm: hosted_vllm/one, api_base: simulated, prices: [{from: 2020-01-01, input: 1.0, output: 2.0}]}
- {name: "Two: the 2nd | of 3", litellm: hosted_vllm/two, api_base: simulated,
   prices: [{from: 2020-01-01, input: 1.0, output: 2.0}]}
- {name: Guest}
"""
GUESTS = "models: [{name: Guest}, {name: Other guest}]\n"
TWO = "Two: the 2nd | of 3"
COLUMNS = "job_id,title,description,category,job_type,price_usd,price_changed,milestone_count,status,paid,completed_at"
CRITERIA = 5


def jobs_of(month: str, jobs: int = 2) -> list[str]:
    return [f"J{month.replace('-', '')}{n}" for n in range(1, jobs + 1)]


def write_jobs(path: Path, month: str, jobs: int = 2) -> Path:
    rows = [
        f"{job},Draw map {job},Please draw the map called {job} of our town.,Design,fixed,{40 + n},false,1,completed,"
        f"true,{month}-{10 + n}"
        for n, job in enumerate(jobs_of(month, jobs))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([COLUMNS, *rows]) + "\n")
    return path


def write_rubrics(path: Path, month: str, jobs: int = 2) -> Path:
    lines = [
        f"{job},c{n},{n},Section {n} of {job} is there,critical"
        for job in jobs_of(month, jobs)
        for n in range(CRITERIA)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["job_id,criterion_id,position,text,importance", *lines]) + "\n")
    return path


def write_verdicts(
    path: Path, month: str, models: Sequence[str], passed: bool = True, round_: str = "agent_alone", jobs: int = 2
) -> Path:
    """One grader's verdicts in long form; `passed` is that of the first criterion, all others are passed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["job_id", "model", "round", "criterion_id", "passed", "comment", "grader"])
        for model in models:
            for job in jobs_of(month, jobs):
                for n in range(CRITERIA):
                    out.writerow([job, model, round_, f"c{n}", n > 0 or passed, f"looked at {n}", "ann"])
    return path


def write_attempts(folder: Path, month: str, model: str = "Guest") -> Path:
    """The work of an external agent."""
    folder.mkdir(parents=True)
    lines = []
    for job in jobs_of(month):
        (folder / f"{job}.txt").write_text(f"The map {job}")
        lines.append({"job_id": job, "model": model, "round": "agent_alone", "deliverables": [f"{job}.txt"]})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def hapi(home: Path, *words: str) -> int:
    return main(["--home", str(home), *words])


def make_home(root: Path, months: Sequence[str], refreshed: bool = True, models: str = GUESTS) -> Home:
    """A home with these months imported, and refreshed: models from outside have handed nothing in yet."""
    home = Home(root / "home").ensure()
    (home.registry / "models.yaml").write_text(models)
    world = home.root / "simulator" / "world"
    world.mkdir(parents=True)
    truth = ["job_id,model_id,completes,retry_1"]
    all_months = [f"2025-{n:02d}" for n in range(1, 13)]
    for month in all_months:
        truth += [f"{job},{model},agent_alone,false" for job in jobs_of(month) for model in ("one", "two")]
        write_rubrics(world / f"rubrics_{month}.csv", month)
    (world / "truth.csv").write_text("\n".join(truth) + "\n")
    files = root / "files"
    for month in months:
        hapi(home.root, "import", "jobs", str(write_jobs(files / f"jobs_{month}.csv", month)), "--source", "canonical")
        hapi(home.root, "import", "rubrics", str(write_rubrics(files / f"rubrics_{month}.csv", month)))
    if refreshed and months:
        refresh_all(home)
    return home


def refresh_all(home: Home) -> None:
    """What `hapi refresh` does, without the report and the warehouse that it publishes at the end."""
    with operations.at_work(home):
        assert operations.refresh(home, operations.known_cohorts(Lake(home.lake))).clean


def copy_home(home: Home, goal: Path) -> Home:
    shutil.copytree(home.root, goal, symlinks=True)
    return Home(goal)


def times(home: Home) -> dict[str, int]:
    """When each file of the lake's partitions was last changed."""
    return {path.relative_to(home.lake).as_posix(): path.stat().st_mtime_ns for path in home.lake.rglob("data.parquet")}


def changed(before: Mapping[str, int], after: Mapping[str, int]) -> set[str]:
    return {path for path in after if after[path] != before.get(path)}


def graded(home: Home, month: str, model: str, round_: str = "agent_alone") -> tuple[int, int, int]:
    """Eligible, graded and completed jobs of a cell, as completion_rates has them."""
    rows = Lake(home.lake).read("completion_rates", {"cohort": month, "model": model}).to_pylist()
    mine = [r for r in rows if r["round"] == round_ and r["rule"] == "all_criteria"]
    return sum(r["n_eligible"] for r in mine), sum(r["n_graded"] for r in mine), sum(r["n_completed"] for r in mine)


# ---- the real thing


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def ui(home: Home, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`hapi ui` on a home, as its own process; ended as Ctrl-C ends it."""
    log = (home.root.parent / f"ui_{home.root.name}.log").open("wb")
    words = [sys.executable, "-m", "hapi_pipeline.cli", "--home", str(home.root), "ui", "--port", str(port)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "HAPI"))}
    process = subprocess.Popen(words, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


def wait_for(what: Callable[[], Any], seconds: float, step: float = 0.3) -> Any:
    """What a function gives once it is true; fails with what it gave last."""
    end, found = time.monotonic() + seconds, None
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(step)
    raise AssertionError(f"still not so after {seconds:.0f} s: {found!r}")


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def ask(port: int, query: str, **variables: Any) -> dict[str, Any]:
    """A question to the webserver's GraphQL."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", body, {"content-type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        found: dict[str, Any] = json.loads(reply.read())
    assert "errors" not in found, found
    data: dict[str, Any] = found["data"]
    return data


def switch_on(port: int) -> None:
    """Switch the monthly schedule on, as a click in the UI does."""
    said = ask(
        port,
        """mutation($s: ScheduleSelector!) { startSchedule(scheduleSelector: $s) {
            ... on ScheduleStateResult { scheduleState { status } } ... on PythonError { message } } }""",
        s={
            "repositoryName": "__repository__",
            "repositoryLocationName": "hapi_pipeline",
            "scheduleName": "monthly_refresh",
        },
    )
    assert said["startSchedule"]["scheduleState"]["status"] == "RUNNING", said
