from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hapi_pipeline.settings import HOME_VARIABLE, Home, find_home, project_root, shipped


def test_a_new_home_has_its_folders_and_a_copy_of_the_shipped_registry(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    assert not home.exists()
    assert home.ensure().exists()
    assert all(p.is_dir() for p in (home.inbox, home.lake, home.attempts, home.packets, home.releases, home.dagster))
    ours = {p.relative_to(shipped("data/registry")) for p in shipped("data/registry").rglob("*.yaml")}
    assert {p.relative_to(home.registry) for p in home.registry.rglob("*") if p.is_file()} == ours


def test_a_home_keeps_what_its_operator_wrote(home: Home) -> None:
    (home.registry / "models.yaml").write_text("models: [{name: Mine}]")
    home.ensure()
    assert "Mine" in (home.registry / "models.yaml").read_text()


def test_a_home_whose_making_was_cut_short_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, allowed = shutil.copyfile, iter(range(3))

    def dies(source: Path, target: Path) -> object:
        next(allowed)
        return real(source, target)

    monkeypatch.setattr(shutil, "copyfile", dies)
    with pytest.raises(StopIteration):
        Home(tmp_path / "h").ensure()
    monkeypatch.undo()
    home = Home(tmp_path / "h").ensure()
    names = {p.name for p in shipped("data/registry").rglob("*.yaml")}
    assert {p.name for p in home.registry.rglob("*.yaml")} == names


def test_the_home_named_wins_over_the_environment_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "env"))
    assert find_home(tmp_path / "named").root == (tmp_path / "named").resolve()
    assert find_home().root == (tmp_path / "env").resolve()
    monkeypatch.delenv(HOME_VARIABLE)
    assert find_home().root == (project_root() / "data").resolve()


@pytest.mark.parametrize("what", ["data/registry", "sql", "dagster.yaml"])
def test_what_the_project_needs_ships_with_it(what: str) -> None:
    assert shipped(what).exists()
