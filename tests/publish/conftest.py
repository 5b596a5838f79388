"""A home with the hand-made world of `tests/scenario.py` and the tables over all of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hapi_pipeline.lake import Lake
from hapi_pipeline.recipes import recipes
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import Home

OVER_ALL = ("model_comparisons", "leaderboard", "economics", "grader_agreement")


@pytest.fixture(scope="session")
def made_home(world: Lake, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """What `published_home` copies; no test changes it."""
    home = Home(tmp_path_factory.mktemp("published") / "home").ensure()
    shutil.copytree(world.root, home.lake, dirs_exist_ok=True)
    lake, registry = Lake(home.lake), Registry.of(home)
    for name in ("grades", "criterion_outcomes"):
        for scope in lake.partitions("attempt_outcomes"):
            lake.write(name, recipes()[name].build(lake, registry, scope), scope)
    for name in OVER_ALL:
        lake.write(name, recipes()[name].build(lake, registry, {}), {})
    return home


@pytest.fixture
def published_home(made_home: Home, tmp_path: Path) -> Home:
    """A home of one's own with results."""
    shutil.copytree(made_home.root, tmp_path / "results")
    return Home(tmp_path / "results")
