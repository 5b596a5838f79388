"""What many tests need: an empty home, a lake, the shipped rules."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark, Registry
from hapi_pipeline.settings import Home, shipped

Snapshot = dict[str, str]


@pytest.fixture(scope="session", autouse=True)
def terminal() -> Iterator[None]:
    """A terminal of a known width, whatever the tests run in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "120")
        yield


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A new home with the shipped registry."""
    return Home(tmp_path / "home").ensure()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake, in no home."""
    return Lake(tmp_path / "lake")


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The registry that ships with the project."""
    return Registry(shipped("data/registry"))


@pytest.fixture(scope="session")
def benchmark(registry: Registry) -> Benchmark:
    """The rules that ship with the project."""
    return registry.benchmark


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, benchmark: Benchmark) -> Lake:
    """The hand-made world of `tests/scenario.py`, which no test changes."""
    from tests import scenario

    lake = Lake(tmp_path_factory.mktemp("world") / "lake")
    scenario.build(lake, scenario.rules(benchmark))
    return lake


@pytest.fixture
def drop(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Makes a file to be imported, from text or bytes."""

    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / "drops" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def snapshot(folder: Path) -> Snapshot:
    """Every path below a folder with a hash of its bytes, to show that nothing was written."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "/"
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def bytes_below() -> Callable[[Path], Snapshot]:
    """`snapshot`, as a fixture."""
    return snapshot
