"""Dagster's code server, for a container that is stopped while runs are under way.

    python -m hapi_pipeline.code_server ARGUMENTS     (those of `dagster api grpc`)

`dagster api grpc` executes runs as processes of its own. Told to stop, it lets all of them come to their end, which may
take hours, so that whoever stopped it loses patience and kills them. This hands the wish on to the runs, as Ctrl-C
would: attempts under way are finished, no other is begun, and the server ends after them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it ends; its exit code. SIGTERM and SIGINT interrupt it and its runs, once."""
    servers: list[subprocess.Popen[bytes]] = []

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        for how in (signal.SIGTERM, signal.SIGINT):  # a second interrupt would leave attempts as they are
            signal.signal(how, signal.SIG_IGN)
        for server in servers:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGINT)

    for how in (signal.SIGTERM, signal.SIGINT):  # before it is started: it does not inherit that one is ignored
        signal.signal(how, interrupt)
    command = [str(Path(sys.executable).parent / "dagster"), "api", "grpc"]
    given = sys.argv[1:] if arguments is None else arguments
    servers.append(subprocess.Popen([*command, *given], start_new_session=True))  # noqa: S603  (a group of its own)
    return servers[0].wait()


if __name__ == "__main__":
    sys.exit(main())
