"""The world of `tests/scenario.py` in a home of its own, with files that its agents handed in."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark, Registry
from hapi_pipeline.release import Release, build_release
from hapi_pipeline.release.build import attempt_folder
from hapi_pipeline.settings import Home
from tests import scenario

NOTES = b"# Shelves\n\nTwelve books stand on the red one.\n"
HANDED_IN = {"good-3": {"notes.md": NOTES}, "good-1": {"list.csv": b"shelf,books\nred,12\n"}}


class World:
    """A home with the scenario's tables, and what tests do to it."""

    def __init__(self, home: Home, benchmark: Benchmark):
        self.home, self.rules = home, scenario.rules(benchmark)
        self.lake = Lake(home.lake)
        self.publish(jobs="all", licence="CC-BY-4.0")

    @property
    def registry(self) -> Registry:
        return Registry(self.home.registry)

    def publish(self, **settings: Any) -> None:
        """Change settings of `publish`."""
        path = self.home.registry / "benchmark.yaml"
        told = yaml.safe_load(path.read_text())
        told["publish"] |= settings
        path.write_text(yaml.safe_dump(told))

    def release(self, version: str | None = None, **options: Any) -> Release:
        return build_release(self.lake, self.registry, self.home, version, **options)

    def hand_in(self, files: Mapping[str, Mapping[str, bytes]]) -> None:
        """Let BETA's first attempts at these jobs have handed in these files."""
        keys = {"cohort": scenario.COHORT, "model": scenario.BETA, "round": "agent_alone"}
        rows = self.lake.read("attempts", keys).to_pylist()
        for row in rows:
            listed = []
            for name, data in files.get(row["job_id"], {}).items():
                path = attempt_folder(self.home, row) / "deliverables" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                sha256 = hashlib.sha256(data).hexdigest()
                listed.append({"path": name, "media_type": "text/plain", "bytes": len(data), "sha256": sha256})
            row |= {"deliverables": json.dumps(listed), "n_deliverables": len(listed)}
        self.lake.write("attempts", scenario.table_of("attempts", rows), keys)

    def verdicts(self, *given: Mapping[str, Any]) -> None:
        """Take in further verdicts, and make all that follows from them."""
        scenario.take_in(self.lake, "verdicts", "verdict_exports", given)
        scenario.evaluate(self.lake, self.rules)
        self.hand_in(HANDED_IN)


@pytest.fixture(scope="session")
def made_world(tmp_path_factory: pytest.TempPathFactory, benchmark: Benchmark, world: Lake) -> Path:
    """The home that every test gets a copy of."""
    home = Home(tmp_path_factory.mktemp("release") / "home").ensure()
    shutil.rmtree(home.lake)
    shutil.copytree(world.root, home.lake)
    World(home, benchmark).hand_in(HANDED_IN)
    return home.root


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory, benchmark: Benchmark, made_world: Path) -> tuple[World, Release]:
    """A home with a release of all it has, which no test changes."""
    home = tmp_path_factory.mktemp("released") / "home"
    shutil.copytree(made_world, home)
    world = World(Home(home), benchmark)
    world.publish(title="Shelves & <books>", authors=["The Library_1", "Ann O'Neil"], url="https://example.org/shelves")
    return world, world.release("1.0")


@pytest.fixture
def made(released: tuple[World, Release]) -> Release:
    """That release."""
    return released[1]


@pytest.fixture
def as_released(released: tuple[World, Release]) -> World:
    """Its home, to be read only."""
    return released[0]


@pytest.fixture
def released_here(tmp_path: Path, benchmark: Benchmark, as_released: World) -> World:
    """A home of one's own with that release."""
    shutil.copytree(as_released.home.root, tmp_path / "released")
    home = Home(tmp_path / "released")
    world = World(home, benchmark)
    shutil.copyfile(as_released.home.registry / "benchmark.yaml", home.registry / "benchmark.yaml")
    return world


@pytest.fixture
def new_world(tmp_path: Path, benchmark: Benchmark, made_world: Path) -> Callable[[str], World]:
    """Makes homes with the same tables, in folders of their own."""

    def make(name: str) -> World:
        shutil.copytree(made_world, tmp_path / name)
        return World(Home(tmp_path / name), benchmark)

    return make


@pytest.fixture
def here(new_world: Callable[[str], World]) -> World:
    """A home with the scenario's tables."""
    return new_world("here")
