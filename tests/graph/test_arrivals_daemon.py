"""The inbox with the real daemon, as an operator has it: files are dropped, nothing else is touched.

It takes about a minute. To leave it out: `pytest --deselect tests/graph/test_arrivals_daemon.py`.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from tests.graph import small_world as world

OLD, NEW = "2025-04", "2025-05"
PATIENCE = 400  # seconds; on two idle cores it takes well under a minute


def test_the_files_of_a_new_month_become_tables_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAPI_HOME", "")
    monkeypatch.setenv("DAGSTER_HOME", "")
    home, port = world.make_home(tmp_path, [OLD]), world.free_port()
    before = world.times(home)
    files = tmp_path / "new"
    world.write_jobs(files / "jobs.csv", NEW)
    world.write_rubrics(files / "rubrics.csv", NEW)
    world.write_attempts(files / "work", NEW)
    world.write_verdicts(files / "ann.csv", NEW, ["Guest"])
    (files / "poem.xlsx").write_text("shall I compare thee")
    with world.ui(home, port):
        world.wait_for(lambda: world.answers(port), PATIENCE)
        dropped = time.monotonic()
        for name, folder in (
            ("jobs.csv", "jobs/canonical"),
            ("rubrics.csv", "rubrics"),
            ("ann.csv", "verdicts"),
            ("poem.xlsx", "rubrics"),
        ):
            goal = home.inbox / folder
            goal.mkdir(parents=True, exist_ok=True)
            shutil.copy(files / name, goal / name)
        shutil.copytree(files / "work", home.inbox / "attempts" / "work")
        world.wait_for(lambda: world.graded(home, NEW, "Guest") == (2, 2, 2), PATIENCE)
        print(f"\ntables after {time.monotonic() - dropped:.0f} s")
        world.wait_for(lambda: not (home.lake / "arrivals.json").exists(), PATIENCE)  # the summaries are there as well
    untouched = {p: t for p, t in before.items() if f"cohort={OLD}" in p}
    assert untouched
    assert {p: t for p, t in world.times(home).items() if p in untouched} == untouched
    done = sorted(p.name for p in (home.inbox / "done").glob("*/*/**/*.txt") if "work/" not in p.as_posix())
    assert done == ["ann.csv.txt", "jobs.csv.txt", "rubrics.csv.txt", "work.txt"]
    assert sorted(p.name for p in (home.inbox / "refused").iterdir()) == ["poem.xlsx", "poem.xlsx.txt"]
