"""A PostgreSQL server on a port of its own, and a home whose Dagster keeps its runs there."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from hapi_pipeline.settings import Home, project_root
from tests.graph.small_world import free_port

DEPLOY = project_root() / "deploy"
_USER = "postgres"


@dataclass(frozen=True)
class Cluster:
    port: int
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What deploy/dagster.postgres.yaml asks for."""
        return {
            "HAPI_POSTGRES_HOST": "127.0.0.1",
            "HAPI_POSTGRES_PORT": str(self.port),
            "HAPI_POSTGRES_DB": "hapi",
            "HAPI_POSTGRES_USER": _USER,
            "HAPI_POSTGRES_PASSWORD": "of a test",
        }


def bin_folder() -> Path | None:
    """Where Debian keeps the newest server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A server that listens on loopback alone, run by somebody who is not root."""
    programs, folder, port = bin_folder(), Path(tempfile.mkdtemp(prefix="hapi-pg-")), free_port()
    assert programs is not None
    user = _other_user()
    if user:
        shutil.chown(folder, user)
    data = str(folder / "data")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off"

    def run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True, user=user, cwd=folder)

    try:
        run(str(programs / "initdb"), "-D", data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        run(str(programs / "pg_ctl"), "-D", data, "-o", options, "-l", f"{folder}/log", "-w", "start")
        try:
            run(str(programs / "createdb"), "-h", str(folder), "-p", str(port), "-U", _USER, "hapi")
            yield Cluster(port, folder)
        finally:
            run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _other_user() -> str | None:
    """PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam(_USER).pw_name
    return "nobody"


def settle_in(home: Home) -> Home:
    """Have the home's Dagster keep its runs in PostgreSQL, as docs/deploy.md says."""
    home.dagster.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(DEPLOY / "dagster.postgres.yaml", home.dagster / "dagster.yaml")
    return home


@contextmanager
def deployed(home: Home, more: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A code server and a daemon on a home, as deploy/compose.yaml starts them; the environment for commands on it."""
    port, workspace = free_port(), home.root.parent / "workspace.yaml"
    (told,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    told["grpc_server"] |= {"host": "127.0.0.1", "port": port}
    workspace.write_text(yaml.safe_dump({"load_from": [told]}))
    here = {"HAPI_HOME": str(home.root), "DAGSTER_HOME": str(home.dagster), "HAPI_WORKSPACE": str(workspace)}
    environment = {**_unset(), **more, **here}
    code = ("dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(port), "-m", "hapi_pipeline.definitions")
    daemon = ("dagster-daemon", "run", "-w", str(workspace))
    with _kept(home, environment, *code), _kept(home, environment, *daemon):
        yield environment


@contextmanager
def _kept(home: Home, environment: Mapping[str, str], *words: str) -> Iterator[None]:
    """A program of this environment, in a session of its own; ended with all that it has started."""
    command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
    with (home.root.parent / f"{words[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, cwd=home.root, start_new_session=True
        )
        try:
            yield
        finally:
            for how in (signal.SIGINT, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, how)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)


def hapi(environment: Mapping[str, str], *words: str) -> subprocess.Popen[str]:
    """A command, as a process of its own; what it says is one stream."""
    command = [sys.executable, "-u", "-m", "hapi_pipeline.cli", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def _unset() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "HAPI"))}
