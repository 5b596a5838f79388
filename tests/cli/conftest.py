"""A tiny deployment: eight jobs of two months, six of which qualify, and one simulated model."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hapi_pipeline.cli import main

JOB_COLUMNS = (
    "job_id", "title", "description", "category", "job_type", "price_usd", "price_changed", "milestone_count",
    "status", "paid", "client_id", "completed_at",
)  # fmt: skip
CRITERIA = 5
#       job   category    price  type      completed      completes in  complete in retry_1
JOBS = (
    ("J1", "Writing", 80, "fixed", "2025-03-03", "agent_alone", False),
    ("J2", "Writing", 90, "fixed", "2025-03-09", "feedback_1", False),
    ("J3", "Data", 120, "fixed", "2025-03-17", "never", True),
    ("J4", "Data", 60, "fixed", "2025-03-31", "agent_alone", False),
    ("J5", "Writing", 45, "fixed", "2025-04-01", "feedback_2", False),
    ("J6", "Data", 200, "fixed", "2025-04-12", "never", False),
    ("J7", "Data", 70, "hourly", "2025-03-20", "never", False),
    ("J8", "Writing", 500, "fixed", "2025-04-20", "never", False),
)
QUALIFYING = ("J1", "J2", "J3", "J4", "J5", "J6")
PRICES = "[{from: 2020-01-01, input: 1.0, output: 2.0}]"
MODELS = f"""models:
- {{name: Sim X, litellm: hosted_vllm/sim-x, api_base: simulated, prices: {PRICES}}}
"""

Hapi = Callable[..., tuple[int, str, str]]


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def job_row(job: str, category: str, price: int, kind: str, day: str) -> list[object]:
    return [
        job,
        f"Task {job}",
        f"Please prepare the material called {job}.",
        category,
        kind,
        price,
        "false",
        1,
        "completed",
        "true",
        f"client of {job}",
        day,
    ]


def write_jobs(path: Path, columns: Sequence[str] = tuple(JOB_COLUMNS)) -> Path:
    rows = [dict(zip(JOB_COLUMNS, job_row(*job[:5]), strict=True)) for job in JOBS]
    return write_csv(path, columns, [[row.get(c, "") for c in columns] for row in rows])


def write_rubrics(path: Path) -> Path:
    return write_csv(
        path,
        ("job_id", "criterion_id", "position", "text", "importance"),
        [
            (job[0], f"c{n}", n, f"Section {n} about {job[0]} is there", "critical")
            for job in JOBS
            for n in range(1, CRITERIA + 1)
        ],
    )


def write_world(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_rubrics(folder / "rubrics.csv")
    write_csv(
        folder / "truth.csv",
        ("job_id", "model_id", "completes", "retry_1"),
        [(job[0], model, job[5], str(job[6]).lower()) for job in JOBS for model in ("sim-x", "sim-y")],
    )


def listing(root: Path) -> dict[str, str]:
    """Everything below a folder: each file's hash, and the folders."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in root.rglob("*")
    }


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command line sets these two; no test may see another's, nor the developer's own home."""
    monkeypatch.setenv("HAPI_HOME", str(tmp_path / "default"))
    monkeypatch.setenv("DAGSTER_HOME", "")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where a home may be made; it is not there yet."""
    return tmp_path / "home"


@pytest.fixture
def hapi(home: Path, capsys: pytest.CaptureFixture[str]) -> Hapi:
    """Runs a command on the home: its exit code and what it wrote to standard output and standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--home", str(home), *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the eight jobs and their rubrics, to be copied: making one takes a second."""
    folder = tmp_path_factory.mktemp("stock")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAPI_HOME", "")
        patch.setenv("DAGSTER_HOME", "")
        home = ["--home", str(folder / "home"), "import"]
        assert main([*home, "jobs", str(write_jobs(folder / "jobs.csv")), "--source", "canonical"]) == 0
        assert main([*home, "rubrics", str(write_rubrics(folder / "rubrics.csv"))]) == 0
    return folder


@pytest.fixture
def stocked(stock: Path, home: Path) -> Path:
    """The home with jobs and rubrics."""
    shutil.copytree(stock / "home", home)
    return home
