"""Starts the Dagster webserver and daemon on a home, keeps them running, and ends both together.

One that ends by itself is started again, because a run that it had under way may still be alive and the other one still
needs it; one that does so again and again is given up, with its last words on the screen.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hapi_pipeline import inbox
from hapi_pipeline.dead_runs import bury_dead_runs
from hapi_pipeline.operations import at_work, busy_with, instance_of
from hapi_pipeline.settings import HOME_VARIABLE, Home, UserError, shipped

RESTARTS, WITHIN_SECONDS = 5, 300.0
"""A process that ends more often than this in that time is given up."""


@dataclass
class _Kept:
    """A process that is kept running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    ended: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Start it, in a process group of its own."""
        self.process = subprocess.Popen(  # noqa: S603
            self.command,
            env=dict(self.environment),
            cwd=self.folder,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # this process has one thread, so that is safe
        )

    def keep(self) -> bool:
        """Start it again where it has ended; False when it has done so too often."""
        if self.process is not None and self.process.poll() is None:
            return True
        now = time.monotonic()
        self.ended = [at for at in self.ended if now - at < WITHIN_SECONDS] + [now]
        if len(self.ended) > RESTARTS:
            return False
        print(f"hapi: the {self.name} ended by itself and is started again.", file=sys.stderr, flush=True)
        self.start()
        return True

    def ask_to_end(self) -> None:
        """Ask it to end, and its children with it: runs under way are then closed as interrupted."""
        self._signal(signal.SIGINT)

    def make_end(self) -> None:
        """Wait ten seconds for it to end, then kill it."""
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self._signal(signal.SIGKILL)

    def _signal(self, how: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, how)


def _end_with_parent() -> None:
    """Heed an interrupt, and have the system send one when the process that started this one is killed (Linux)."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell starts what runs in its background without it
    if sys.platform == "linux":
        import ctypes

        set_death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(set_death_signal, int(signal.SIGINT))


def serve(home: Home, host: str, port: int) -> int:
    """Run both until interrupted; 1 when one of them cannot be kept running."""
    _set_up(home)
    environment = {**os.environ, HOME_VARIABLE: str(home.root), "DAGSTER_HOME": str(home.dagster)}
    scripts = Path(sys.executable).parent
    workspace = ["-w", str(shipped("workspace.yaml"))]
    commands = {
        "webserver": [str(scripts / "dagster-webserver"), *workspace, "-h", host, "-p", str(port)],
        "daemon": [str(scripts / "dagster-daemon"), "run", *workspace],
    }
    print(
        f"Dagster UI of {home.root}: http://{host}:{port}  (Ctrl-C ends it; lineage: /asset-groups)\n"
        f"Files to take in: {home.inbox} (its README.txt says what goes where)",
        flush=True,
    )
    for how in (signal.SIGINT, signal.SIGTERM):
        signal.signal(how, signal.default_int_handler)
    kept = [_Kept(name, command, environment, home.root) for name, command in commands.items()]
    try:
        for one in kept:
            one.start()
        while True:
            time.sleep(0.5)
            given_up = [one.name for one in kept if not one.keep()]
            if given_up:
                print(f"hapi: the {given_up[0]} keeps ending; its last lines above say why.", file=sys.stderr)
                return 1
    except KeyboardInterrupt:
        return 0
    finally:
        for again in (signal.SIGINT, signal.SIGTERM):  # who asks twice would leave one of them behind
            signal.signal(again, signal.SIG_IGN)
        for one in kept:
            one.ask_to_end()
        for one in kept:
            one.make_end()


def _set_up(home: Home) -> None:
    """Make the home, its instance, its model partitions and its inbox; close what a kill has left."""
    with instance_of(home) as instance:
        inbox.prepare(home)
        if busy_with(home) is None:
            with contextlib.suppress(UserError), at_work(home):  # somebody may just have begun
                bury_dead_runs(instance)
