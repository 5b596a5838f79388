from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hapi_pipeline.release import Release, releases, writing
from hapi_pipeline.settings import UserError
from tests import scenario
from tests.release.conftest import HANDED_IN, World

CHANGED_MIND = scenario.verdict(
    f"{scenario.BETA} agent_alone good-3",
    scenario.BETA,
    "agent_alone",
    "good-3",
    ("c2", "ann", False),
    9,
    imported_at=scenario.NOON + timedelta(days=1),
)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rows_of(release: Release, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(release.path / release.manifest["tables"][table]["parquet"]).to_pylist()
    return rows


# ---- the same again


def test_the_same_tables_give_the_same_bytes(new_world: Callable[[str], World], tmp_path: Path) -> None:
    first = new_world("here").release("1.0")
    other = new_world("elsewhere")
    # the same files, come to the disk in another order, and seen by a process in another place of the world
    moved = Path(shutil.copytree(other.home.lake, tmp_path / "moved"))
    shutil.rmtree(other.home.lake)
    for path in sorted((p for p in moved.rglob("*") if p.is_file()), reverse=True):
        goal = other.home.lake / path.relative_to(moved)
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, goal)
    done = run_cli(other, "--version", "1.0", TZ="Pacific/Kiritimati", PYTHONHASHSEED="7", LC_ALL="C")
    assert done.returncode == 0, done.stderr
    assert bytes_of(other.home.releases / "1.0") == bytes_of(first.path)


def run_cli(world: World, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from hapi_pipeline.cli import entry; entry()", "--home", str(world.home.root),
              "release", *arguments],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_what_a_release_holds_is_what_its_sums_say(released_here: World) -> None:
    (made,) = releases(released_here.home.releases)
    assert writing.problems(made.path) == []
    lines = (made.path / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == len(bytes_of(made.path)) - 1
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=made.path, check=False).returncode == 0
    (made.path / "README.md").write_text("mine")
    (made.path / "more.txt").write_text("mine")
    (made.path / "CITATION.cff").unlink()
    assert writing.problems(made.path) == ["CITATION.cff is missing", "more.txt was added", "README.md was changed"]


def test_parquet_and_csv_hold_the_same_rows(made: Release) -> None:
    for name, told in made.manifest["tables"].items():
        rows = pq.read_table(made.path / told["parquet"])
        with (made.path / told["csv"]).open(newline="") as file:
            as_csv = list(csv.DictReader(file))
        assert len(as_csv) == rows.num_rows == told["rows"], name
        for exact, text in zip(rows.to_pylist(), as_csv, strict=True):
            assert {k: bool(v) for k, v in text.items()} == {k: v not in (None, "") for k, v in exact.items()}
            assert [text[k] for k in told["key"]] == [writing._cell(exact[k]) for k in told["key"]]


def test_a_text_that_a_spreadsheet_would_run_is_quoted_in_csv_only(here: World) -> None:
    hostile = "=HYPERLINK(A1)"
    here.verdicts(
        CHANGED_MIND | {"comment": hostile},
    )
    made = here.release("1.0")
    assert hostile in {row["comment"] for row in rows_of(made, "verdicts")}
    text = (made.path / made.manifest["tables"]["verdicts"]["csv"]).read_text()
    assert f"'{hostile}" in text
    assert f",{hostile}" not in text


# ---- versions


def test_a_version_is_never_made_twice(released_here: World) -> None:
    here = released_here
    (made,) = releases(here.home.releases)
    before = bytes_of(made.path)
    with pytest.raises(UserError, match="never changed"):
        here.release("1.0")
    assert bytes_of(made.path) == before
    assert [p.name for p in here.home.releases.iterdir()] == ["1.0"]


@pytest.mark.parametrize("version", ["", ".hidden", "a/b", "..", "a b", "-1", "x" * 65, "1.0-simulated"])
def test_what_is_no_version_is_refused(here: World, version: str) -> None:
    with pytest.raises(UserError, match="version"):
        here.release(version)
    assert releases(here.home.releases) == []


def test_without_a_version_the_newest_month_is_counted_on(here: World) -> None:
    assert [here.release().version for _ in range(2)] == ["2026.03.0", "2026.03.1"]


def test_simulated_data_says_so_everywhere(here: World) -> None:
    keys = {"cohort": scenario.COHORT, "model": scenario.BETA, "round": "agent_alone"}
    rows = here.lake.read("attempts", keys).to_pylist()
    here.lake.write("attempts", scenario.table_of("attempts", [r | {"simulated": True} for r in rows]), keys)
    made = here.release("1.0")
    assert made.version == made.path.name == "1.0-simulated"
    tables = made.manifest["tables"].values()
    assert all(".simulated." in t["parquet"] and ".simulated." in t["csv"] for t in tables)
    assert all("simulated" in t["columns"] for t in tables)
    for name in ("README.md", "DICTIONARY.md", "CITATION.cff", "croissant.json", "manifest.json"):
        assert "simulated" in (made.path / name).read_text().lower(), name
    assert "> **Simulated data.**" in (made.path / "README.md").read_text()
    assert [p.name for p in made.path.glob("changes*")] == ["changes.simulated.csv"]
    with pytest.raises(UserError, match="there already"):
        here.release("1.0")


def test_real_data_leaves_under_a_stated_licence_only(here: World) -> None:
    here.publish(licence=None)
    with pytest.raises(UserError, match="licence"):
        here.release("1.0")
    assert list(here.home.releases.iterdir()) == []


def test_an_empty_lake_has_nothing_to_release(here: World) -> None:
    shutil.rmtree(here.home.lake)
    here.home.releases.rmdir()
    with pytest.raises(UserError, match="nothing to release"):
        here.release("1.0")
    assert not here.home.releases.exists()


# ---- one after the other


def test_releases_are_chained_by_their_hashes(here: World) -> None:
    first, second, third = here.release("1"), here.release("2"), here.release("0")
    assert named(second) == {}
    assert "No row differs from 1." in (second.path / "README.md").read_text()
    assert first.previous is None
    assert second.previous == {"version": "1", "sha256sums_sha256": first.sha256}
    assert third.previous == {"version": "2", "sha256sums_sha256": second.sha256}
    assert [r.version for r in releases(here.home.releases)] == ["1", "2", "0"]
    assert here.release("3", since="1").previous == second.previous
    with pytest.raises(UserError, match="no release '9'"):
        here.release("4", since="9")


def differing(before: Release, after: Release) -> set[tuple[str, str, str]]:
    """(table, change, key) of every row that differs, worked out row by row."""
    found = set()
    for name, told in after.manifest["tables"].items():
        old, new = ({_key(r, told["key"]): r for r in rows_of(one, name)} for one in (before, after))
        found |= {(name, "gone", key) for key in old.keys() - new.keys()}
        found |= {(name, "new", key) for key in new.keys() - old.keys()}
        found |= {(name, "changed", key) for key in old.keys() & new.keys() if old[key] != new[key]}
    return found


def _key(row: Mapping[str, Any], key: list[str]) -> str:
    return json.dumps({k: row[k] for k in key}, ensure_ascii=False)


def named(release: Release) -> dict[tuple[str, str, str], dict[str, str]]:
    with (release.path / "changes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(r["table"], r["change"], r["key"]): r for r in rows}
    assert len(found) == len(rows)
    return found


def test_one_verdict_changes_exactly_the_rows_that_are_named(released_here: World) -> None:
    here = released_here
    (before,) = releases(here.home.releases)
    here.verdicts(CHANGED_MIND)
    after = here.release("2")
    changes = named(after)
    assert set(changes) == differing(before, after)
    reasons = {key: c["reason"] for key, c in changes.items()}
    assert set(reasons.values()) == {"regraded", "elsewhere: regraded"}
    # of the other model nothing but its rank has changed
    others = [json.loads(changes[key]["values"]) for key, why in reasons.items() if why.startswith("elsewhere")]
    assert others
    assert all(set(values) <= {"rank", "rank_lo", "rank_hi", "tie_group"} for values in others)
    assert all((scenario.ALPHA in key[2]) == why.startswith("elsewhere") for key, why in reasons.items())
    kinds = {(table, change) for table, change, _ in changes}
    assert {("verdicts", "new"), ("verdicts", "changed"), ("attempt_outcomes", "changed")} <= kinds
    superseded = next(c for (table, change, _), c in changes.items() if (table, change) == ("verdicts", "changed"))
    assert json.loads(superseded["values"]) == {"is_current": [True, False]}
    told = after.manifest["tables"]["verdicts"]["since_previous"]
    assert (told["new"], told["gone"], told["changed"]) == (1, 0, 1)
    counts = [t["since_previous"] for t in after.manifest["tables"].values()]
    assert sum(c[kind] for c in counts for kind in ("new", "gone", "changed")) == len(changes)


def test_reasons_of_jobs_and_rubrics(here: World) -> None:
    here.publish(jobs="listed")
    (here.home.registry / "cleared_jobs.txt").write_text("good-1\ngood-2\n")
    before = here.release("1")
    (here.home.registry / "cleared_jobs.txt").write_text("good-2\ngood-3\n")
    scenario.take_in(
        here.lake,
        "rubrics",
        "rubric_exports",
        [
            scenario.criterion(
                "good-2",
                f"c{n}",
                "critical",
                rubric_version="r2",
                source_sha256="e" * 64,
                imported_at=scenario.NOON + timedelta(days=1),
            )
            for n in (1, 2, 3)
        ],
    )
    scenario.curate(here.lake, here.rules)
    after = here.release("2")
    changes = named(after)
    assert set(changes) == differing(before, after)
    reasons = {(t, json.loads(k)["job_id"]): c["reason"] for (t, _, k), c in changes.items() if t == "benchmark_jobs"}
    assert reasons == {
        ("benchmark_jobs", "good-1"): "job no longer cleared",
        ("benchmark_jobs", "good-2"): "rubric edited",
        ("benchmark_jobs", "good-3"): "job cleared for publication",
    }
    # what was published before and is not any more is not told again
    told = (after.path / "changes.csv").read_text()
    assert "completed_at" in told
    assert "Task good-1" not in told
    assert str(scenario.NOON.date()) not in told
    assert {c["reason"] for (t, _, k), c in changes.items() if t == "rubrics" and "good-2" in k} == {"rubric edited"}


def test_new_and_withdrawn_jobs_are_named(released_here: World) -> None:
    here = released_here
    (before,) = releases(here.home.releases)
    jobs = here.lake.read("benchmark_jobs", scenario.SCOPE).to_pylist()
    kept = [row for row in jobs if row["job_id"] != "good-4"]
    here.lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", kept), scenario.SCOPE)
    later = [kept[0] | {"job_id": "later", "cohort": "2026-04"}]
    here.lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", later), {"cohort": "2026-04"})
    after = here.release("2")
    changes = named(after)
    assert set(changes) == differing(before, after)
    reasons = {
        (change, json.loads(k)["job_id"]): c["reason"] for (t, change, k), c in changes.items() if t == "clearance"
    }
    assert reasons == {("gone", "good-4"): "job withdrawn", ("new", "later"): "new cohort 2026-04"}


def test_a_release_of_another_shape_can_be_compared(here: World) -> None:
    """An earlier version of the program had fewer tables and columns."""
    before = here.release("1")
    told = json.loads((before.path / "manifest.json").read_text())
    del told["tables"]["clearance"]
    attempts = told["tables"]["attempts"]
    path = before.path / attempts["parquet"]
    pq.write_table(pq.read_table(path).drop_columns(["seconds"]), path)
    with pytest.raises(UserError, match=r"1 is not as it was released \(parquet/attempts\.parquet\)"):
        here.release("2")
    attempts["sha256"][attempts["parquet"]] = writing.sha256_of(path)
    (before.path / "manifest.json").write_text(json.dumps(told))
    after = here.release("2")
    assert {(table, change) for table, change, _ in named(after)} == {("clearance", "new")}


# ---- whole or not at all


def test_a_killed_builder_leaves_no_half_release(here: World) -> None:
    script = (
        "import os, time\n"
        "from hapi_pipeline.cli import main\n"
        "def waits():\n    print('written', flush=True)\n    time.sleep(60)\n"
        "os.sync = waits\n"
        f"main(['--home', {str(here.home.root)!r}, 'release', '--version', '1.0'])\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "written\n"
        assert releases(here.home.releases) == []
        with pytest.raises(UserError, match="being built"):
            here.release("1.0")
        child.send_signal(signal.SIGKILL)
    assert [p.name for p in here.home.releases.iterdir()] == [".staged-1.0"]
    assert releases(here.home.releases) == []
    made = here.release("1.0")
    assert [p.name for p in here.home.releases.iterdir()] == ["1.0"]
    assert writing.problems(made.path) == []


def test_tables_that_change_meanwhile_are_not_released(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sums = writing.write_sums

    def meanwhile(folder: Path) -> None:
        write_sums(folder)
        here.verdicts(CHANGED_MIND)

    monkeypatch.setattr(writing, "write_sums", meanwhile)
    with pytest.raises(UserError, match="changed while"):
        here.release("1.0")
    assert list(here.home.releases.iterdir()) == []


def test_deliverables_are_there_under_their_hash(made: Release) -> None:
    rows = rows_of(made, "deliverables")
    assert {(r["job_id"], r["path"]) for r in rows} == {(j, n) for j, files in HANDED_IN.items() for n in files}
    for row in rows:
        assert (made.path / row["file"]).read_bytes() == HANDED_IN[row["job_id"]][row["path"]]
        assert row["sha256"] in row["file"]


def test_a_file_that_is_not_what_was_handed_in_stays_behind(here: World) -> None:
    changed = next(here.home.attempts.rglob("notes.md"))
    changed.write_bytes(b"another")
    next(here.home.attempts.rglob("list.csv")).unlink()
    made = here.release("1.0")
    left = {r["path"]: r["left_out"] for r in rows_of(made, "deliverables")}
    assert left["notes.md"] == "it is not the file that was handed in"
    assert left["list.csv"].startswith("it cannot be opened")
    assert not list(made.path.glob("deliverables/*"))


# ---- the command


def test_the_command_says_what_it_made(here: World, capsys: pytest.CaptureFixture[str]) -> None:
    from hapi_pipeline.cli import main

    home = ["--home", str(here.home.root), "release"]
    assert main([*home, "--list"]) == 0
    assert "No release" in capsys.readouterr().out
    assert main([*home, "--version", "1.0"]) == 0
    told = capsys.readouterr().out
    assert "jobs          4, 4 of them with texts and files" in told
    assert max(map(len, told.replace(str(here.home.releases), "").splitlines())) <= 80
    assert main([*home, "--version", "1.0"]) == 2
    here.verdicts(CHANGED_MIND)
    assert main([*home, "--version", "1.1", "--out", str(here.home.releases)]) == 0
    assert "each named with its reason" in capsys.readouterr().out
    assert main([*home, "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["1.0", "1.1"]
    assert main([*home, "--check", "1.0"]) == 0
    (here.home.releases / "1.0" / "README.md").write_text("mine")
    assert main([*home, "--check", "1.0"]) == 1
    (here.home.releases / "1.0" / "SHA256SUMS").write_text("")
    assert main([*home, "--list"]) == 0
    assert "1.0 (changed since!)" in capsys.readouterr().out
    assert main([*home, "--check", "9"]) == 2


def test_left_out_files_are_told_by_the_exit_code(here: World, capsys: pytest.CaptureFixture[str]) -> None:
    from hapi_pipeline.cli import main

    here.hand_in({"good-3": {"picture.png": b"\x89PNG\r\n\x1a\n" + bytes(40)}})
    assert main(["--home", str(here.home.root), "release", "--version", "1.0"]) == 1
    assert "1 file was left out" in capsys.readouterr().out.splitlines()[-1]
