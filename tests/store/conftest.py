"""A real server that speaks S3, and homes in its bucket."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.s3_server import Server, serving
from hapi_pipeline import copies

Machine = Callable[[str], None]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One server for all tests; each has a folder of its own in its bucket."""
    pytest.importorskip("obstore", reason="needs obstore (pip install 'hapi_pipeline[objects]')")
    pytest.importorskip("moto", reason="needs moto (pip install 'moto[s3]' flask flask-cors)")
    with serving("tests") as running:
        yield running


@pytest.fixture
def address(server: Server, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a home may be made; the environment is such that the server is found."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    machine("a")
    return f"s3://{server.bucket}/{uuid.uuid4().hex}"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Makes this process one that has just been started on a machine of that name."""
    monkeypatch.setattr(copies, "_open", {})
    monkeypatch.setenv("HAPI_HOME", "")
    monkeypatch.setenv("DAGSTER_HOME", "")

    def start(name: str) -> None:
        copies._open.clear()
        monkeypatch.setenv("HAPI_WORK", str(tmp_path / f"machine {name}"))

    return start
