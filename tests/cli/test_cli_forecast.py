"""What a refresh says before it starts, and agents that are programs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hapi_pipeline.operations import RunFailedError
from tests.cli.conftest import MODELS, Hapi, listing


@pytest.mark.usefixtures("stocked")
def test_a_dry_run_says_what_would_be_attempted_and_changes_nothing(hapi: Hapi, home: Path) -> None:
    (home / "registry" / "models.yaml").write_text(MODELS)
    code, said, _ = hapi("refresh", "--dry-run")
    assert (code, said.splitlines()[0]) == (0, "Attempts over 2 month(s), 2025-03 to 2025-04: none is to be made.")
    assert "Not yet curated, so counted as they were before: 2025-03, 2025-04." in said
    assert hapi("curate")[0] == 0
    before = listing(home / "lake")
    code, said, _ = hapi("refresh", "--dry-run")
    assert code == 0
    [line] = [line for line in said.splitlines() if line.startswith("  ")]
    assert line.startswith("  Sim X: 6 to be made.")
    assert "ost" in line  # "Likely cost" or "Cost unknown"
    assert "Not yet curated" not in said
    assert listing(home / "lake") == before
    assert not list((home / "attempts").rglob("steps.jsonl"))


@pytest.mark.usefixtures("stocked")
def test_a_backfill_says_what_is_due_after_it_has_curated_and_before_it_spends(
    hapi: Hapi, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise RunFailedError("stopped before any attempt")

    monkeypatch.setattr("hapi_pipeline.operations.refresh", stop)
    (home / "registry" / "models.yaml").write_text(MODELS)
    code, said, _ = hapi("backfill", "--model", "Sim X", "--dry-run")
    assert code == 0
    assert "Not yet curated, so counted as they were before: 2025-03, 2025-04." in said
    code, said, error = hapi("backfill", "--model", "Sim X")
    assert code == 1
    assert said.startswith("Curating 2 month(s) first")
    assert "6 due,      6 to be made" in said
    assert "stopped before any attempt" in error
    code, said, _ = hapi("backfill", "--model", "Sim X", "--dry-run")
    assert "6 due,      6 to be made" in said
    assert "urat" not in said


def test_a_program_is_registered_with_what_it_reads(hapi: Hapi, home: Path, tmp_path: Path) -> None:
    program = tmp_path / "my agent.py"
    program.write_text("pass")
    assert hapi("init")[0] == 0
    code, said, _ = hapi("models", "add", "Mine", "--command", f"{{python}} '{program}' --fast", "--reads", program)
    assert code == 0, said
    assert "hapi backfill --model Mine --dry-run" in said
    [entry] = [
        m for m in yaml.safe_load((home / "registry" / "models.yaml").read_text())["models"] if m["name"] == "Mine"
    ]
    assert entry["agent_profile"] == "command"
    assert entry["agent"] == {"command": ["{python}", str(program), "--fast"], "reads": [str(program)]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--command", "'open"), "cannot be taken apart"),
        (("--command", " "), "is empty"),
        (("--command", "/nowhere/agent"), "/nowhere/agent is not there"),
        (("--command", "agent", "--reads", "here.py"), "full path"),
        (("--command", "agent", "--external"), "--command"),
        (("--external", "--reads", "/usr/bin"), "--reads goes with --command"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused(hapi: Hapi, home: Path, words: tuple[str, ...], said: str) -> None:
    assert hapi("init")[0] == 0
    before = (home / "registry" / "models.yaml").read_bytes()
    code, _, error = hapi("models", "add", "Mine", *words)
    assert code == 2
    assert said in error
    assert (home / "registry" / "models.yaml").read_bytes() == before
