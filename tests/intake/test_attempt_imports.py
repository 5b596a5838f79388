"""Attempts made elsewhere: a folder with a manifest, every line of which may be hostile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.agents.ledger import AttemptLedger
from hapi_pipeline.intake.attempts import import_attempts
from hapi_pipeline.lake import Import, Lake
from hapi_pipeline.registry import Model, Registry
from hapi_pipeline.settings import Home, UserError
from tests import scenario

MINE = Model("Mine/2", None)
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
    registry.save_models([MINE, Model("Ours", "openai/ours")])
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

    def run(*rows: dict[str, Any] | str) -> tuple[Import, bool]:
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        (folder / "manifest.jsonl").write_text("\n".join(lines))
        return import_attempts(lake, home, Registry.of(home), folder)

    return run


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
        ({"deliverables": ["../secret.txt"]}, "bad_deliverable"),
        ({"deliverables": ["link.txt"]}, "bad_deliverable"),
        ({"deliverables": ["/etc/hostname"]}, "bad_deliverable"),
        ({"deliverables": ["out/b.txt"]}, "missing_file"),
        ({"deliverables": ["out"]}, "missing_file"),
        ({"deliverables": "out/a.txt"}, "bad_deliverable"),
        ({"deliverables": [1]}, "bad_deliverable"),
        ({"deliverables": ["a\0b"]}, "bad_deliverable"),
        ({"deliverables": ["x" * 5000]}, "bad_deliverable"),
        ({"deliverables": ["\ud800"]}, "bad_deliverable"),
        ({"deliverables": ["out/a.txt", "OUT/../out/a.txt"]}, None),
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
    taken: Callable[..., Any], home: Home, change: dict[str, Any], code: str | None
) -> None:
    done, _ = taken(GOOD | change, GOOD)
    found = [(r["row"], r["code"]) for r in Lake(home.lake).read("quarantine").to_pylist()]
    assert found == [(1, code or "bad_deliverable")]
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
