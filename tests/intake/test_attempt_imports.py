"""Attempts made elsewhere: a folder with a manifest, every line of which may be hostile."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.agents.documents import zips
from hapi_pipeline.agents.ledger import AttemptLedger
from hapi_pipeline.evaluation import Cell, attempt_rows
from hapi_pipeline.intake import attempts
from hapi_pipeline.intake.attempts import import_attempts
from hapi_pipeline.lake import Import, Lake
from hapi_pipeline.registry import Model, Registry
from hapi_pipeline.rounds import ROUND
from hapi_pipeline.settings import Home, UserError, project_root
from tests import scenario

MINE = Model("Mine/2", None, agent_profile="external")
GOOD = {
    "job_id": "j1",
    "model": "Mine/2",
    "round": "agent_alone",
    "deliverables": ["out/a.txt"],
    "cost_usd": 0.5,
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "seconds": 1.5,
    "finished_at": "2026-03-21T10:00:00",
}


@pytest.fixture
def taken(home: Home, tmp_path: Path) -> Callable[..., tuple[Import, bool]]:
    """Import a manifest with these rows; strings are lines as they stand."""
    lake, registry = Lake(home.lake), Registry.of(home)
    registry.save_models([MINE, Model("Ours", "openai/ours"), Model("Gone", None, retired=True)])
    lake.write(
        "benchmark_jobs",
        scenario.table_of("benchmark_jobs", [scenario.post("j1") | {"rubric_version": "r1", "n_criteria": 3}]),
        scenario.SCOPE,
    )
    folder = tmp_path / "handed in"
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "a.txt").write_text("done")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "links").symlink_to(tmp_path)
    (folder / "A.TXT").write_text("another")
    (folder / "a.txt").write_text("one more")
    os.mkfifo(folder / "pipe.txt")
    _make_zip(folder / "bomb.zip", {"zeros": b"\0" * 3_000_000})
    _make_zip(folder / "away.zip", {"../away.txt": b"out"})
    _make_zip(folder / "fine.zip", {"a.txt": b"work"})

    def run(*rows: dict[str, Any] | str) -> tuple[Import, bool]:
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        (folder / "manifest.jsonl").write_text("\n".join(lines))
        return import_attempts(lake, home, Registry.of(home), folder)

    return run


def _make_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "MOST_UNPACKED", 2_000_000)
    monkeypatch.setattr(attempts, "MAX_FILES", 5)
    monkeypatch.setattr(attempts, "MAX_TOTAL_BYTES", 10_000)


def results(home: Home) -> list[Any]:
    return list(AttemptLedger(home.attempts).results(MINE.key, "agent_alone"))


def test_an_attempt_is_taken_in_with_its_files_and_figures(taken: Callable[..., Any], home: Home) -> None:
    done, new = taken(GOOD, GOOD | {"deliverables": [], "cost_usd": None, "finished_at": None})
    assert (done.rows, done.quarantined, done.cohorts, new) == (2, 0, (scenario.COHORT,), True)
    full, empty = sorted(results(home), key=lambda r: -len(r.deliverables))
    assert (full.folder / "deliverables/out/a.txt").read_text() == "done"
    assert (full.cost_usd, full.prompt_tokens, full.seconds, full.agent_profile) == (0.5, 10, 1.5, "external")
    assert full.finished_at.isoformat() == "2026-03-21T10:00:00+00:00"
    assert (empty.deliverables, empty.cost_usd) == ((), None)


def test_the_same_manifest_again_changes_nothing(
    taken: Callable[..., Any], home: Home, bytes_below: Callable[[Path], dict[str, str]]
) -> None:
    first, _ = taken(GOOD)
    before = bytes_below(home.root)
    assert taken(GOOD) == (first, False)
    assert bytes_below(home.root) == before


def test_what_is_known_of_an_attempt_is_kept_and_its_transcript_without_keys(
    taken: Callable[..., Any], home: Home, tmp_path: Path
) -> None:
    (tmp_path / "handed in" / "out" / "log.txt").write_text("I used sk-abcdefghijklmnop for it.")
    row = {k: v for k, v in GOOD.items() if k != "seconds"} | {
        "folder": "out",
        "deliverables": ["./a.txt"],
        "transcript": "log.txt",
        "minutes": 2.5,
        "cached_tokens": 4,
        "simulated": True,
        "note": "x",
    }
    done, _ = taken(row)
    (made,) = results(home)
    assert [d.path for d in made.deliverables] == ["a.txt"], "graders see paths within the folder named"
    assert (made.seconds, made.cached_tokens, made.simulated) == (150.0, 4, False)
    assert (made.folder / "transcript.txt").read_text() == "I used [redacted] for it."
    assert done.unmapped_columns == ("note", "simulated"), "nobody's manifest makes an attempt simulated"


def test_a_later_manifest_is_a_new_try_and_the_older_one_stays_with_its_cost(
    taken: Callable[..., Any], home: Home
) -> None:
    taken(GOOD)
    taken(GOOD | {"deliverables": [], "cost_usd": 0.25, "finished_at": "2020-01-01T00:00:00"})
    taken(GOOD | {"note": "the first work again, in a manifest that is new"})
    first, second = sorted(results(home), key=lambda r: r.try_number)
    assert [(r.try_number, r.cost_usd) for r in (first, second)] == [(1, 0.5), (2, 0.25)]
    rows = attempt_rows(Cell(scenario.COHORT, MINE, ROUND["agent_alone"]), [second, first], {}, frozenset({"j1"}))
    assert {r["attempt_id"]: r["is_current"] for r in rows} == {first.attempt_id: False, second.attempt_id: True}


def test_a_manifest_whose_missing_file_has_been_added_is_taken_in(
    taken: Callable[..., Any], home: Home, tmp_path: Path
) -> None:
    row = GOOD | {"deliverables": ["out/late.txt"]}
    assert taken(row, GOOD)[0].quarantined == 1
    assert taken(row, GOOD)[1] is False
    (tmp_path / "handed in" / "out" / "late.txt").write_text("here it is")
    done, new = taken(row, GOOD)
    assert (done.rows, done.quarantined, new) == (2, 0, True)
    assert sorted(r.deliverables[0].path for r in results(home)) == ["out/a.txt", "out/late.txt"]


def test_an_archive_that_is_fine_is_handed_in(taken: Callable[..., Any], home: Home) -> None:
    assert taken(GOOD | {"deliverables": ["fine.zip"]})[0].rows == 1
    assert [d.path for d in results(home)[0].deliverables] == ["fine.zip"]


@pytest.mark.parametrize("name", ["manifest.jsonl", "other.jsonl"])
def test_a_manifest_that_is_a_link_is_refused(home: Home, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "handed in"
    folder.mkdir()
    (tmp_path / "elsewhere").write_text(json.dumps(GOOD))
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="file of its own"):
        import_attempts(Lake(home.lake), home, Registry.of(home), folder)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"job_id": "j2"}, "unknown_id"),
        ({"job_id": ["j1"]}, "unknown_id"),
        ({"job_id": None}, "unknown_id"),
        ({"model": "Nobody"}, "unknown_model"),
        ({"model": {"name": "Mine/2"}}, "unknown_model"),
        ({"model": "Ours"}, "not_external"),
        ({"round": "feedback_9"}, "unknown_round"),
        ({"round": {}}, "unknown_round"),
        ({"model": "Gone"}, "retired_model"),
        ({"round": "feedback_1"}, "not_due"),
        ({"deliverables": None}, "not_filled_in"),
        ({"deliverables": ["../secret.txt"]}, "outside_folder"),
        ({"deliverables": ["out/a.txt", "OUT/../out/a.txt"]}, "outside_folder"),
        ({"deliverables": ["/etc/hostname"]}, "outside_folder"),
        ({"deliverables": ["link.txt"]}, "symlink"),
        ({"deliverables": ["links/secret.txt"]}, "symlink"),
        ({"folder": "links", "deliverables": ["secret.txt"]}, "symlink"),
        ({"folder": "..", "deliverables": ["secret.txt"]}, "outside_folder"),
        ({"folder": 5}, "bad_deliverable"),
        ({"deliverables": ["out/b.txt"]}, "missing_file"),
        ({"folder": "out/a.txt", "deliverables": ["a.txt"]}, "missing_file"),
        ({"deliverables": ["out"]}, "not_a_file"),
        ({"deliverables": ["pipe.txt"]}, "not_a_file"),
        ({"deliverables": "out/a.txt"}, "bad_deliverable"),
        ({"deliverables": [1]}, "bad_deliverable"),
        ({"deliverables": ["a\0b"]}, "bad_name"),
        ({"deliverables": ["x" * 5000]}, "bad_name"),
        ({"deliverables": ["\ud800"]}, "bad_name"),
        ({"deliverables": [""]}, "bad_name"),
        ({"deliverables": ["a.txt", "A.TXT"]}, "duplicate_name"),
        ({"deliverables": ["out/a.txt", "out//a.txt"]}, "duplicate_name"),
        ({"deliverables": ["a.txt"] * 6}, "too_many_files"),
        ({"deliverables": ["large.txt"]}, "too_large"),
        ({"deliverables": ["bomb.zip"]}, "zip_bomb"),
        ({"deliverables": ["away.zip"]}, "unsafe_archive"),
        ({"transcript": "link.txt"}, "symlink"),
        ({"transcript": 7}, "bad_deliverable"),
        ({"minutes": 3}, "bad_number"),
        ({"cached_tokens": 1.5}, "bad_number"),
        ({"finished_at": "0001-01-01T00:00:00+23:00"}, "bad_date"),
        ({"cost_usd": -1}, "bad_number"),
        ({"cost_usd": True}, "bad_number"),
        ({"cost_usd": "0.5"}, "bad_number"),
        ({"cost_usd": float("nan")}, "bad_number"),
        ({"seconds": float("inf")}, "bad_number"),
        ({"prompt_tokens": 10**400}, "bad_number"),
        ({"finished_at": "yesterday"}, "bad_date"),
        ({"finished_at": 5}, "bad_date"),
    ],
)
def test_a_bad_row_goes_to_quarantine_and_the_others_go_in(
    taken: Callable[..., Any], home: Home, tmp_path: Path, change: dict[str, Any], code: str
) -> None:
    (tmp_path / "handed in" / "large.txt").write_bytes(b"." * 10_001)
    done, _ = taken(GOOD | change, GOOD)
    found = [(r["row"], r["code"]) for r in Lake(home.lake).read("quarantine").to_pylist()]
    assert found == [(1, code)]
    assert (done.rows, done.quarantined) == (1, 1)
    assert [r.job_id for r in results(home)] == ["j1"]


def test_lines_that_are_no_objects_go_to_quarantine(taken: Callable[..., Any], home: Home) -> None:
    separators = json.dumps(GOOD | {"note": "a\u2028b\x85c"}, ensure_ascii=False)
    done, _ = taken("{", "[1]", "[" * 100_000, "", separators, "{}")
    rows = [r["row"] for r in Lake(home.lake).read("quarantine").to_pylist()]
    assert (done.rows, sorted(rows)) == (1, [1, 2, 3, 6])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "holds no attempt"),
        (b"\n \n", "holds no attempt"),
        (b"[]\nno\n", "holds no attempt"),
        (b"\xff\xfe{", "not UTF-8"),
    ],
)
def test_a_manifest_with_nothing_in_it_is_refused(
    home: Home, tmp_path: Path, bytes_below: Callable[[Path], dict[str, str]], text: bytes, message: str
) -> None:
    before = bytes_below(home.root)
    (tmp_path / "any.jsonl").write_bytes(text)
    with pytest.raises(UserError, match=message):
        import_attempts(Lake(home.lake), home, Registry.of(home), tmp_path)
    assert bytes_below(home.root) == before


def test_a_folder_without_a_manifest_or_with_several_is_refused(home: Home, tmp_path: Path) -> None:
    lake, registry, folder = Lake(home.lake), Registry.of(home), tmp_path / "folder"
    with pytest.raises(UserError, match="is not a folder"):
        import_attempts(lake, home, registry, folder)
    folder.mkdir()
    with pytest.raises(UserError, match="holds 0"):
        import_attempts(lake, home, registry, folder)
    for name in ("a.jsonl", "b.jsonl"):
        (folder / name).write_text("{}")
    with pytest.raises(UserError, match="holds 2"):
        import_attempts(lake, home, registry, folder)


def test_every_code_is_explained_in_the_docs() -> None:
    given = set(re.findall(r'_RefusedError\(\s*\w+,\s*"(\w+)"|_RefusedError\(\s*"\w+",\s*"(\w+)"', _source()))
    codes = {code for pair in given for code in pair if code}
    docs = (project_root() / "docs" / "submissions.md").read_text("utf-8")
    listed = docs.partition("## What is refused")[2].partition("## Handing in again")[0]
    told = {
        code
        for line in listed.splitlines()
        if line.startswith("| `")
        for code in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert codes == told
    assert len(codes) > 15


def _source() -> str:
    return Path(attempts.__file__).read_text("utf-8")
