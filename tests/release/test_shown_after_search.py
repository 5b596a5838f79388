"""What the report and the warehouse show of cleared jobs, once they have been searched for personal data."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from hapi_pipeline.agents import documents
from hapi_pipeline.cli import main
from hapi_pipeline.release import memory as remembering
from hapi_pipeline.release.gate import text_sha256
from hapi_pipeline.release.memory import Memory
from hapi_pipeline.release.public import CLEARED_ONLY, OUTSIDE_TEXT, PUBLIC, public_table
from hapi_pipeline.release.searched import LABELS, searched
from tests import scenario
from tests.grading import deliverables as made_up
from tests.release.conftest import NOTES, World
from tests.release.planted import ADDRESS, docx_comment, xlsx_comment

POST, COMMENT = f"Sort the shelves and write to {ADDRESS}", f"As {ADDRESS} says"
ALPHA_ALONE = {"cohort": scenario.COHORT, "model": scenario.ALPHA, "round": "agent_alone"}
LAST = "`hapi release --findings FILE` lists the places."


def change(world: World, table: str, keys: dict[str, str], job: str, **values: Any) -> None:
    """Give the first row of a job in a table other values."""
    rows = world.lake.read(table, keys).to_pylist()
    next(row for row in rows if row["job_id"] == job).update(values)
    world.lake.write(table, scenario.table_of(table, rows), keys)


def planted(world: World) -> bytes:
    """An address in a post, in a comment and in a document; one job without any, whose picture nobody can read."""
    document = docx_comment()
    world.hand_in({"good-3": {"report.docx": document}, "good-1": {"notes.md": NOTES, "logo.png": made_up.png()}})
    change(world, "benchmark_jobs", scenario.SCOPE, "good-4", description=POST)
    change(world, "verdicts", ALPHA_ALONE, "good-2", comment=COMMENT, passed=False)
    return document


def warehouse_of(path: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return [row for name in sorted(PUBLIC) for row in connection.execute(f'SELECT * FROM "{name}"').fetchall()]


def test_nothing_of_what_is_found_is_in_any_byte_of_the_site_and_the_warehouse(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    document, home = planted(here), ["--home", str(here.home.root)]
    site, stored = here.home.releases / "report", here.home.releases / "hapi.duckdb"
    for command in ("warehouse", "report"):
        assert main([*home, command]) == 1
        told = capsys.readouterr().out.splitlines()[-1]
        assert told.startswith("Held back: 3 jobs are shown without texts and files")
        assert told.endswith(LAST)
    content = {path: path.read_bytes() for path in (*site.rglob("*"), stored) if path.is_file()}
    for path, data in content.items():
        for private in (ADDRESS, "jane", "northwind", POST[:20]):
            assert private.encode() not in data, (path, private)
        assert hashlib.sha256(data).digest() != hashlib.sha256(document).digest()
    assert ADDRESS not in str(warehouse_of(stored))
    assert [path.name for path in site.glob("jobs/*")] == ["job-good-1.html"]
    assert [path.name for path in (site / "files").rglob("*") if path.is_file()] == ["notes.md"]
    page = (site / "jobs" / "job-good-1.html").read_text("utf-8")
    assert "logo.png" in page
    assert "not searched for personal data, so not offered: it is a picture" in page
    listed = (site / "jobs.html").read_text("utf-8")
    assert "1 of 4 jobs are shown with their texts" in listed
    for place in ("the post", "a grader&#39;s comment", "a file that was handed in"):
        assert f"1: held back: personal data found in {place}; `hapi release --findings FILE`" in listed

    # somebody has looked
    sums = [text_sha256(POST), text_sha256(COMMENT), hashlib.sha256(document).hexdigest()]
    (here.home.registry / "cleared_findings.txt").write_text("".join(f"{s} ann: invented\n" for s in sums))
    for command in ("warehouse", "report"):
        assert main([*home, command]) == 0
        assert "Held back" not in capsys.readouterr().out
    assert len(list(site.glob("jobs/*"))) == 4
    assert POST in (site / "jobs" / "job-good-4.html").read_text("utf-8")
    assert {path.name for path in (site / "files").rglob("*") if path.is_file()} == {"notes.md", "report.docx"}
    assert POST in str(warehouse_of(stored))
    # and somebody has thought better of it: the copies of the site before are not taken over
    (here.home.registry / "cleared_findings.txt").unlink()
    assert main([*home, "report"]) == 1
    assert [path.name for path in (site / "files").rglob("*") if path.is_file()] == ["notes.md"]


def test_the_places_are_listed_before_a_licence_is_chosen(
    here: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    planted(here)
    here.publish(licence=None)
    assert main(["--home", str(here.home.root), "release", "--findings", str(tmp_path / "found.csv")]) == 1
    assert len((tmp_path / "found.csv").read_text().splitlines()) == 4
    assert ADDRESS not in capsys.readouterr().out


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that are read from now on."""
    every_text, read = documents.every_text, list[str]()

    def watched(path: Path, name: str | None = None) -> Any:
        read.append(str(name))
        return every_text(path, name)

    monkeypatch.setattr(documents, "every_text", watched)
    return read


def test_a_file_is_read_once_for_all_that_is_made(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    here.hand_in({"good-3": {"table.xlsx": xlsx_comment(), "logo.png": made_up.png()}})
    read, progress = reads(monkeypatch), list[tuple[int, int]]()
    first = searched(here.lake, here.registry, here.home, lambda done, of: progress.append((done, of)))
    assert sorted(read) == ["logo.png", "table.xlsx"]
    assert progress == [(1, 2), (2, 2)]
    assert (first.held, [why for why in first.clearance.values() if why]) == (
        1, ["held back: personal data found in a file that was handed in; `hapi release --findings FILE` lists the "
            "places"]
    )  # fmt: skip
    assert searched(here.lake, here.registry, here.home) == first
    here.publish(title="Another state")
    assert searched(here.lake, here.registry, here.home) == first
    with pytest.raises(Exception, match="personal data in 1 places"):
        here.release("1.0")
    assert len(read) == 2
    assert ADDRESS.encode() not in Memory(here.home).path.read_bytes()
    # by another search it is read again
    monkeypatch.setattr(remembering, "search_version", lambda: "another")
    assert searched(here.lake, here.registry, here.home) == first
    assert len(read) == 4


def test_a_damaged_memory_costs_time_only(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = searched(here.lake, here.registry, here.home)
    Memory(here.home).path.write_bytes(b"SQLite format 3\0 of another kind")
    read = reads(monkeypatch)
    assert searched(here.lake, here.registry, here.home) == first
    assert sorted(read) == ["list.csv", "notes.md"]
    with sqlite3.connect(Memory(here.home).path) as database:
        assert database.execute("SELECT count(*) FROM searched").fetchall() == [(3,)]


def test_what_was_not_there_is_looked_for_again(here: World) -> None:
    (notes,) = here.home.attempts.rglob("notes.md")
    notes.write_bytes(b"another")
    sha256 = hashlib.sha256(NOTES).hexdigest()
    assert searched(here.lake, here.registry, here.home).unread == {sha256: "it is not the file that was handed in"}
    notes.unlink()
    assert searched(here.lake, here.registry, here.home).unread[sha256].startswith("it cannot be opened")
    notes.write_bytes(NOTES)
    assert searched(here.lake, here.registry, here.home).unread == {}


def test_what_the_simulator_made_is_taken_as_it_is_and_what_people_add_is_not(here: World) -> None:
    change(here, "benchmark_jobs", scenario.SCOPE, "good-1", description=POST, simulated=True)
    change(here, "benchmark_jobs", scenario.SCOPE, "good-2", simulated=True)
    change(here, "verdicts", ALPHA_ALONE, "good-2", comment=COMMENT, simulated=False)
    change(here, "verdicts", ALPHA_ALONE, "good-3", comment=COMMENT, simulated=True)  # of a client's job
    held = {job for job, why in searched(here.lake, here.registry, here.home).clearance.items() if why}
    assert held == {"good-2", "good-3"}


def test_a_label_that_no_setting_keeps_in_stops_all(here: World, capsys: pytest.CaptureFixture[str]) -> None:
    here.publish(jobs="none")
    change(here, "benchmark_jobs", scenario.SCOPE, "good-1", category=f"Ask {ADDRESS}")
    for command in ("report", "warehouse", "feed"):
        assert main(["--home", str(here.home.root), command]) == 2
        told = capsys.readouterr().err
        assert "column category of benchmark_jobs holds personal data (email)" in told
        assert ADDRESS not in told
    assert list(here.home.releases.iterdir()) == []
    (here.home.registry / "cleared_findings.txt").write_text(f"{text_sha256(f'Ask {ADDRESS}')} ann: invented\n")
    assert searched(here.lake, here.registry, here.home).held == 0


def test_every_text_from_outside_is_searched_or_follows_from_one_that_is() -> None:
    """A column that is new to what leaves has to be decided on."""
    follow = {"model_a", "model_b", "scope_value", "theme", "example_criterion"}
    labels = {c for columns in LABELS.values() for c in columns}
    texts = {c for name in PUBLIC for c in public_table(name).names if c in OUTSIDE_TEXT}
    assert texts - set(CLEARED_ONLY) - follow == labels
    for name in PUBLIC:
        if {*public_table(name).names} & {*CLEARED_ONLY}:
            assert {"job_id", "simulated"} <= {*public_table(name).names}


def test_a_new_world_needs_no_cache(new_world: Callable[[str], World]) -> None:
    world = new_world("bare")
    (world.home.root / ".cache").write_text("a file where the folder should be")
    assert json.dumps(sorted(searched(world.lake, world.registry, world.home).clearance)) == json.dumps(
        ["good-1", "good-2", "good-3", "good-4"]
    )
