"""Imports into a lake, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapi_pipeline.intake.jobs import import_jobs
from hapi_pipeline.lake import Import, Lake
from hapi_pipeline.registry import Benchmark, Registry, Source

TINY: dict[str, Any] = {
    "fields": {
        "job_id": "id",
        "title": "title",
        "price_usd": "usd(price)",
        "completed_at": "done",
        "updated_at": "changed",
        "milestone_count": "milestones",
        "country": "coalesce(land, country)",
    },
    "required": ["job_id", "title"],
    "assume": {"status": "'completed'", "milestone_count": "1"},
}


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Source]:
    """A source with these keys instead of the usual ones, read from YAML as an operator writes it."""

    def make(name: str = "tiny", **changes: Any) -> Source:
        folder = tmp_path / "registry" / "sources"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(TINY | changes))
        return Registry(tmp_path / "registry").source(name)

    return make


@pytest.fixture
def take(lake: Lake, benchmark: Benchmark, source: Callable[..., Source]) -> Callable[..., Import]:
    """Import one file of jobs."""

    def run(path: Path, given: Source | None = None) -> Import:
        (done,) = import_jobs(lake, [path], given or source(), benchmark)
        return done

    return run


@pytest.fixture(autouse=True)
def no_scratch_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever an import unpacks or rewrites is gone when it ends."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    yield
    assert list(scratch.iterdir()) == []
