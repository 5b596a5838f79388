"""Starts the Dagster webserver and daemon on a home, so that history, schedules and backfills are kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from hapi_pipeline.operations import instance_of
from hapi_pipeline.settings import HOME_VARIABLE, Home, shipped


def serve(home: Home, host: str, port: int) -> int:
    """Run both until interrupted; if either ends by itself, end the other and return 1."""
    with instance_of(home):
        pass  # makes the home, its instance and its model partitions
    environment = {**os.environ, HOME_VARIABLE: str(home.root), "DAGSTER_HOME": str(home.dagster)}
    scripts = Path(sys.executable).parent
    workspace = ["-w", str(shipped("workspace.yaml"))]
    commands = {
        "webserver": [str(scripts / "dagster-webserver"), *workspace, "-h", host, "-p", str(port)],
        "daemon": [str(scripts / "dagster-daemon"), "run", *workspace],
    }
    print(
        f"Dagster UI of {home.root}: http://{host}:{port}  (Ctrl-C ends it; lineage: /asset-groups)",
        flush=True,
    )
    processes = {
        name: subprocess.Popen(command, env=environment, cwd=home.root, start_new_session=True)  # noqa: S603
        for name, command in commands.items()
    }
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while all(process.poll() is None for process in processes.values()):
            time.sleep(0.5)
        ended = next(name for name, process in processes.items() if process.poll() is not None)
        print(f"hapi: the {ended} ended by itself; its last lines above say why.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        for process in processes.values():
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process group to end, and make it after ten seconds."""
    for how in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, how)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                continue
