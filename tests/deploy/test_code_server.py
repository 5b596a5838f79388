"""A code server that is told to stop while it executes a run: attempts under way are finished, no other is begun."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._cli.job import _create_run
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from hapi_pipeline.fan_out import _range
from hapi_pipeline.operations import at_work, busy_with, curate_changed, instance_of
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import Home
from tests.deploy import fleet
from tests.deploy.cluster import DEPLOY
from tests.deploy.loopback import Loopback
from tests.graph import small_world as world

MONTHS, JOBS, AT_ONCE = fleet.months_of(1), 8, 2
PATIENCE = 120.0


@contextmanager
def code_server(home: Home, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The server of deploy/Dockerfile, on this port of loopback."""
    words = ["-h", "127.0.0.1", "-p", str(port), "-m", "hapi_pipeline.definitions"]
    environment = {**os.environ, "HAPI_HOME": str(home.root), "DAGSTER_HOME": str(home.dagster)}
    command = [sys.executable, "-m", "hapi_pipeline.code_server", *words]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, cwd=home.root) as process:
        try:
            yield process
        finally:
            process.terminate()


def launched(instance: dg.DagsterInstance, port: int, tags: dict[str, str]) -> str:
    """Have the server at this port execute a run of `evaluate`; its id."""
    workspace = Path(instance.root_directory) / "workspace.yaml"
    (told,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    told["grpc_server"] |= {"host": "127.0.0.1", "port": port}
    workspace.write_text(yaml.safe_dump({"load_from": [told]}))
    with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])) as process:
        context = process.create_request_context()
        (location,) = context.code_locations
        (repository,) = location.get_repositories().values()
        run = _create_run(
            instance=instance, code_location=location, remote_repo=repository,
            remote_job=repository.get_full_job("evaluate"), run_config={}, tags=tags, op_selection=None, run_id=None,
        )  # fmt: skip
        return instance.launch_run(run.run_id, context).run_id


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_attempts_under_way_are_finished_and_no_other_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DAGSTER_HOME", "HAPI_HOME", "HAPI_WORKSPACE"):
        monkeypatch.setenv(name, "")  # so that it is as it was after the test
    home, port = fleet.furnished(Home(tmp_path / "home"), MONTHS, JOBS), world.free_port()
    with at_work(home):
        curate_changed(home, MONTHS)
    with (
        Loopback(home.root / "simulator", 1000) as provider,
        instance_of(home) as instance,
        code_server(home, port) as server,
    ):
        fleet.point_at(home, provider.address, AT_ONCE)
        world.wait_for(lambda: answers(port), PATIENCE)
        run_id = launched(instance, port, _range(MONTHS, Registry.of(home).models[0]))
        world.wait_for(lambda: provider.now == AT_ONCE, PATIENCE)
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
        run = instance.get_run_by_id(run_id)
    begun = {record["job_id"] for record in provider.books()}
    assert {result["job_id"] for result in fleet.results(home)} == begun
    assert AT_ONCE <= len(begun) < JOBS
    assert run is not None
    assert run.is_finished
    assert busy_with(home) is None
