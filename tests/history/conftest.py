"""A home that lives through three days, and what its tables held at the end of each."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hapi_pipeline import lake as lake_module
from hapi_pipeline.agents.ledger import AttemptLedger
from hapi_pipeline.as_of import World as Made
from hapi_pipeline.as_of import make
from hapi_pipeline.cli import main
from hapi_pipeline.intake.jobs import import_jobs
from hapi_pipeline.intake.rubrics import import_rubrics
from hapi_pipeline.intake.verdicts import import_verdicts
from hapi_pipeline.lake import Lake
from hapi_pipeline.rebuild import NOT_COMPARED, derived_tables
from hapi_pipeline.registry import Model, Registry
from hapi_pipeline.rounds import ROUND
from hapi_pipeline.settings import Home
from hapi_pipeline.tables import TABLES

DAYS = (date(2025, 5, 1), date(2025, 5, 2), date(2025, 5, 4))
MODEL = "Ext: the first | of 2"
RIVAL = "Rival"
CRITERIA = ("c1", "c2")
_DEAR = (
    "criterion_themes", "failure_themes", "economics", "workflow_advice", "grader_profiles", "grader_agreement",
    "judge_agreement", "corrected_rates", "repeatability", "criterion_outcomes", "job_transitions",
    "criterion_transitions", "cycle_curves",
)  # fmt: skip
HELD = [name for name in derived_tables() if name not in _DEAR]
"""Tables that are remembered: all but some that are slow and depend on the others only."""
Row = dict[str, Any]
Tables = dict[str, pa.Table]


@dataclass
class World:
    """A home over some days."""

    home: Home
    folder: Path
    held: dict[date, Tables] = field(default_factory=dict)
    files: int = 0

    @property
    def lake(self) -> Lake:
        return Lake(self.home.lake)

    def drop(self, name: str, rows: Sequence[Row]) -> Path:
        self.files += 1
        path = self.folder / f"{self.files:02d}-{name}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path

    def attempt(self, job: str, model: str = MODEL, round_: str = "agent_alone", text: str = "done") -> str:
        """An attempt that is handed in now."""
        work = self.folder / "work" / f"{job}.txt"
        work.parent.mkdir(exist_ok=True)
        work.write_text(f"{text}: {job}")
        ledger, this = AttemptLedger(self.home.attempts), ROUND[round_]
        result = ledger.add_external(
            job_id=job, model=Registry.of(self.home).model(model), round=round_, turn=this.turn, arm=this.arm,
            files=[("work.txt", work)], cost_usd=0.5, prompt_tokens=10, completion_tokens=5, seconds=2.0,
            finished_at=CLOCK.moment,
        )  # fmt: skip
        return result.attempt_id

    def verdicts(self, said: Mapping[tuple[str, str], Mapping[str, str]], round_: str = "agent_alone") -> None:
        """What ann says now of criteria, by job and model."""
        rows = [
            {"job_id": job, "model": model, "round": round_, "criterion_id": c, "passed": p, "grader": "ann"}
            for (job, model), answers in said.items()
            for c, p in answers.items()
        ]
        import_verdicts(self.lake, [self.drop("verdicts", rows)])

    def refresh(self, *tables: str) -> None:
        """Bring the tables (default: all) up to date by the recipes, as a refresh does in tens of seconds of Dagster.

        That a refresh makes the same tables is seen in tests/cli, where a refreshed home is rebuilt.
        """
        make(Made(self.home, self.lake, trusting=False), tables or HELD)

    def remember(self, day: date) -> None:
        self.held[day] = tables_of(self.lake)


def tables_of(lake: Lake) -> Tables:
    """The derived tables whole, without the moments at which something was made."""
    return {name: comparable(name, lake.read(name)) for name in HELD}


def comparable(table: str, rows: pa.Table) -> pa.Table:
    rows = rows.sort_by([(key, "ascending") for key in TABLES[table].key])
    return rows.select([name for name in TABLES[table].names if name not in NOT_COMPARED.get(table, ())])


# ---- time


class Clock(datetime):
    """A datetime whose now is when a test says."""

    moment = datetime(2025, 5, 1, 9, tzinfo=UTC)

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        CLOCK.moment += timedelta(seconds=1)
        return CLOCK.moment


CLOCK = Clock


@contextmanager
def set_clock() -> Iterator[None]:
    """Every module of the project that tells the time asks `Clock`."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("hapi_pipeline") and getattr(module, "datetime", None) is datetime:
                patch.setattr(module, "datetime", Clock)
        yield


def morning(day: date) -> None:
    CLOCK.moment = datetime(day.year, day.month, day.day, 9, tzinfo=UTC)


# ---- three days


def job(job_id: str, day: str, price: int = 80, category: str = "Writing", updated: str = "2025-04-01") -> Row:
    return {
        "job_id": job_id,
        "title": f"Task {job_id}",
        "description": f"Please write what {job_id} needs, with everything that belongs to {job_id}.",
        "category": category,
        "job_type": "fixed",
        "price_usd": price,
        "price_changed": "false",
        "milestone_count": 1,
        "status": "completed",
        "paid": "true",
        "client_id": f"client of {job_id}",
        "completed_at": day,
        "updated_at": updated,
    }


def rubric(job_id: str, **texts: str) -> list[Row]:
    return [
        {"job_id": job_id, "criterion_id": c, "position": n, "text": texts.get(c, f"{c} of {job_id}"), "importance": i}
        for n, (c, i) in enumerate(zip(CRITERIA, ("critical", "optional"), strict=True), 1)
    ]


def answers(*said: str) -> dict[str, str]:
    return dict(zip(CRITERIA, said, strict=False))


def first_day(world: World) -> None:
    """Four jobs of a month, one of them hourly; work of two models on three of them; not all of it judged."""
    registry = Registry.of(world.home)
    posts = [job("A", "2025-03-05"), job("B", "2025-03-06", 40, "Data"), job("C", "2025-03-07", 120)]
    posts.append(job("D", "2025-03-08") | {"job_type": "hourly"})
    import_jobs(world.lake, [world.drop("jobs", posts)], registry.source("canonical"), registry.benchmark)
    import_rubrics(world.lake, [world.drop("rubrics", [row for j in "ABCD" for row in rubric(j)])])
    for one in "ABC":
        world.attempt(one)
    world.attempt("A", RIVAL)
    world.refresh("packets")  # what the import of verdicts goes by
    world.verdicts({("A", MODEL): answers("pass", "fail"), ("B", MODEL): answers("pass", "pass")})
    world.verdicts({("A", RIVAL): answers("fail", "fail")})
    world.refresh()


def second_day(world: World) -> None:
    """A late verdict, a regrade, a second round, and a correction that takes a job out."""
    registry = Registry.of(world.home)
    world.attempt("A", round_="feedback_1", text="better")
    world.verdicts({("C", MODEL): answers("pass", "pass"), ("B", MODEL): answers("fail")})
    corrected = job("C", "2025-03-07", 900, updated="2025-05-02")
    import_jobs(world.lake, [world.drop("jobs", [corrected])], registry.source("canonical"), registry.benchmark)
    world.refresh()


def third_day(world: World) -> None:
    """A rubric is edited, the second round is judged, a newer attempt replaces one, a month comes in."""
    registry = Registry.of(world.home)
    import_rubrics(world.lake, [world.drop("rubrics", rubric("B", c1="c1 of B, but clearer"))])
    world.attempt("A", RIVAL, text="anew")
    new = [job("E", "2025-05-03", 30)]
    import_jobs(world.lake, [world.drop("jobs", new)], registry.source("canonical"), registry.benchmark)
    import_rubrics(world.lake, [world.drop("rubrics", rubric("E"))])
    world.verdicts({("A", MODEL): answers("pass", "pass")}, "feedback_1")
    world.refresh()


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The home after three days, with what every table held at the end of each; no test may change it."""
    folder = tmp_path_factory.mktemp("three days")
    world = World(Home(folder / "home").ensure(), folder)
    rules = world.home.registry / "benchmark.yaml"
    text = rules.read_text().replace("min_criteria: 5", "min_criteria: 2")
    rules.write_text(text.replace("feedback_1, feedback_2, retry_1]", "feedback_1]"))
    Registry.of(world.home).save_models([Model(MODEL, None, agent_profile="external"), Model(RIVAL, None)])
    with pytest.MonkeyPatch.context() as patch, set_clock():
        patch.setenv("HAPI_HOME", "")
        patch.setenv("DAGSTER_HOME", "")
        for day, happenings in zip(DAYS, (first_day, second_day, third_day), strict=True):
            morning(day)
            happenings(world)
            world.remember(day)
    return world


@pytest.fixture
def copy(lived: World, tmp_path: Path) -> World:
    """A copy of the home after three days, to be changed."""
    lake_module._manifest.cache_clear()
    shutil.copytree(lived.home.root, tmp_path / "home", symlinks=True, ignore=shutil.ignore_patterns(".cache"))
    return World(Home(tmp_path / "home"), tmp_path)


Hapi = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hapi(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Hapi:
    """Runs a command on a home: its exit code and what it wrote to standard output and standard error."""
    monkeypatch.setenv("HAPI_HOME", "")
    monkeypatch.setenv("DAGSTER_HOME", "")

    def run(home: Home, *words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--home", str(home.root), *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run
