"""A home with three models, two months and one very hostile job; the site that is built of it; a browser."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hapi_pipeline.curation.rules import CHAIN
from hapi_pipeline.lake import Lake
from hapi_pipeline.naming import attempt_place, digest
from hapi_pipeline.recipes import recipes
from hapi_pipeline.registry import Registry
from hapi_pipeline.report import build_report
from hapi_pipeline.results import BY_CELL, SUMMARIES
from hapi_pipeline.rounds import ROUNDS
from hapi_pipeline.settings import Home
from tests.scenario import attempt, criterion, post, table_of, verdict

COHORTS = ("2026-03", "2026-04")
EVIL = (
    "<script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"
    "<a href=\"javascript:document.title='ran'\">click</a></title></style><svg onload=\"document.title='ran'\">"
    "\u202egnp.exe\u202c {{ 7*7 }} ]]>"
)
EVIL_ID = "../evil/<b>job</b>'; --\u202e"
EVIL_MODEL = 'Gamma "</td><script>document.title=`ran`</script> $(id)'
MODELS = ("Alpha", "Beta 2", EVIL_MODEL)
CATEGORIES = ("Writing", "Data Science & Analytics", "<i>Odd</i> category with a name that is longer than any column")
CRITERIA = (("c1", "critical"), ("c2", "critical"), ("c3", "important"), ("c4", "optional"), ("c5", "pitfall"))
EVIL_FILES = ("../../../outside.html", "page.svg", "run.exe", "\u202etxt.scr", "con.txt", 'a b"<i>.md', "notes.md")
WITHHELD = "words that nobody may read"
Row = dict[str, Any]


def jobs(n: int, *, simulated: bool) -> list[Row]:
    """Posts; the first is hostile wherever text can stand."""
    found = []
    for number in range(n):
        cohort = COHORTS[number % 2]
        day = datetime(int(cohort[:4]), int(cohort[5:]), 5 + number % 20, 12, tzinfo=UTC)
        job_id = EVIL_ID if number == 0 else f"Job-{number:03d}" if number % 7 == 0 else f"job{number:03d}"
        found.append(
            post(
                job_id,
                cohort=cohort,
                title=EVIL if number == 0 else f"Sort list {number}",
                description=f"{EVIL}\n{WITHHELD}" if number == 0 else f"Please sort list {number}. {WITHHELD}.",
                category=CATEGORIES[number % 3],
                subcategory=EVIL if number == 0 else "Lists",
                skills=[EVIL, "sorting"] if number == 0 else ["sorting"],
                attachments=[EVIL] if number == 0 else [],
                price_usd=20.0 + 15 * (number % 11),
                client_id=f"client {number % 17}",
                posted_at=day,
                completed_at=day,
                simulated=simulated,
                rubric_version="r1",
                n_criteria=len(CRITERIA),
            )
        )
    return found


def build_home(folder: Path, n: int = 36, *, simulated: bool = True, models: Sequence[str] = MODELS) -> Home:
    """A home whose every table is made by the project's own code from jobs, attempts and verdicts."""
    home = Home(folder).ensure()
    lake, registry = Lake(home.lake), Registry.of(home)
    listed = jobs(n, simulated=simulated)
    for cohort in COHORTS:
        mine, scope = [j for j in listed if j["cohort"] == cohort], {"cohort": cohort}
        rubric = [
            criterion(
                j["job_id"],
                c,
                i,
                cohort=cohort,
                text=_criterion(j["job_id"], c),
                simulated=simulated,
                still_stands=True,
            )
            for j in mine
            for c, i in CRITERIA
        ]
        for table, rows in (
            ("job_posts", mine),
            ("benchmark_jobs", mine),
            ("rubrics", rubric),
            ("standing_criteria", rubric),
        ):
            lake.write(table, table_of(table, rows), scope)
        lake.write("curation_funnel", table_of("curation_funnel", _funnel(cohort, len(mine), simulated)), scope)
        lake.write("rejected_jobs", table_of("rejected_jobs", _rejected(cohort)), scope)
        for place, model in enumerate(models):
            _attempt_all(home, lake, mine, cohort, model, place, simulated)
    for table in (*BY_CELL, *SUMMARIES):
        recipe = recipes()[table]
        scopes: list[dict[str, str]] = [{}]
        if table in BY_CELL:
            scopes = [{"cohort": c, "model": m} for c in COHORTS for m in models]
        elif "cohort" in _partitions(table):
            scopes = [{"cohort": c} for c in COHORTS]
        for scope in scopes:
            lake.write(table, recipe.build(lake, registry, scope), scope)
    return home


def _partitions(table: str) -> tuple[str, ...]:
    from hapi_pipeline.tables import TABLES

    return tuple(TABLES[table].partitions)


def _criterion(job_id: str, name: str) -> str:
    if job_id == EVIL_ID and name == "c1":
        return EVIL
    texts = {"c1": "The list is sorted by name", "c2": "No entry is lost", "c3": "The file opens in a spreadsheet"}
    return texts.get(name, f"Point {name} of the post is met")


def _funnel(cohort: str, kept: int, simulated: bool) -> list[Row]:
    rows, n_in = [], kept + 4 * len(CHAIN)
    for position, rule in enumerate(CHAIN, 1):
        rows.append(
            {"cohort": cohort, "position": position, "rule": rule, "n_in": n_in, "n_kept": n_in - 4, "n_rejected": 3,
             "n_unknown": 1, "n_alone": 5, "rule_version": "1", "simulated": simulated}
        )  # fmt: skip
        n_in -= 4
    return rows


def _rejected(cohort: str) -> list[Row]:
    return [
        {
            "cohort": cohort,
            "job_id": f"out {i} {cohort}",
            "rule": CHAIN[i % 3],
            "code": f"code_{i % 2}",
            "rule_version": "1",
        }
        for i in range(8)
    ]


def _attempt_all(home: Home, lake: Lake, mine: list[Row], cohort: str, model: str, place: int, simulated: bool) -> None:
    """Every round of a model at a month's jobs: what failed is tried again."""
    dice = np.random.default_rng([place, int(cohort.replace("-", ""))])
    failed: dict[str, list[Row]] = {}
    for round_ in ROUNDS:
        open_jobs = failed.get(round_.after, []) if round_.after else mine
        attempts, votes = [], []
        for job in open_jobs:
            name = digest(model, round_.name, str(job["job_id"]), length=24)
            paths = EVIL_FILES if job["job_id"] == EVIL_ID else ("list.csv",)
            made = attempt(
                model, round_.name, job["job_id"], attempt_id=f"at_{name}", cohort=cohort, turn=round_.turn,
                arm=round_.arm, cost_usd=0.25 + 0.1 * float(dice.random()), simulated=simulated,
                deliverables=json.dumps(_handed_in(home, model, round_.name, str(job["job_id"]), f"at_{name}", paths)),
                n_deliverables=len(paths),
                previous_attempt_id=None,
            )  # fmt: skip
            attempts.append(made)
            passed = [bool(dice.random() < 0.8 + 0.05 * place) for _ in CRITERIA]
            for grader in ("annzq", "bobzq") if dice.random() < 0.4 else ("annzq",):
                for number, ((c, _), good) in enumerate(zip(CRITERIA, passed, strict=True)):
                    said = good if grader == "annzq" else good ^ bool(dice.random() < 0.05)
                    votes.append(
                        verdict(
                            made["attempt_id"], model, round_.name, job["job_id"], (c, grader, said), number,
                            verdict_id=f"{name} {grader} {c}", cohort=cohort, simulated=simulated,
                            comment=None if said else (EVIL if job["job_id"] == EVIL_ID else f"{c} zqlacking"),
                        )
                    )  # fmt: skip
            if not all(passed):
                failed.setdefault(round_.name, []).append(job)
        keys = {"cohort": cohort, "model": model, "round": round_.name}
        lake.write("attempts", table_of("attempts", attempts), keys)
        lake.write("verdicts", table_of("verdicts", votes), keys)


def _handed_in(home: Home, model: str, round_: str, job_id: str, attempt_id: str, paths: Sequence[str]) -> list[Row]:
    """Real files in the ledger of attempts, and what the table says of them."""
    folder = home.attempts / attempt_place(model, round_, job_id, attempt_id) / "deliverables"
    folder.mkdir(parents=True)
    found = []
    for path in paths:
        content = f"{EVIL}\n{path}\n".encode() if job_id == EVIL_ID else b"name,count\na,1\n"
        if ".." not in path:
            (folder / path).write_bytes(content)
        found.append(
            {
                "path": path,
                "media_type": "text/plain",
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "opens": None,
            }
        )
    return found


@pytest.fixture(scope="session")
def report_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The home; no test changes it."""
    return build_home(tmp_path_factory.mktemp("report") / "home")


@pytest.fixture(scope="session")
def site(report_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site."""
    out = tmp_path_factory.mktemp("site") / "report"
    build_report(Lake(report_home.lake), Registry.of(report_home), report_home, out)
    return out


@pytest.fixture(scope="module")  # a second one in this process would not start before this has ended
def browser() -> Iterator[Any]:
    library = pytest.importorskip("playwright.sync_api", reason="needs the dev extra (playwright)")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium (Debian package chromium)")
    with library.sync_playwright() as play:
        started = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield started
        started.close()
