"""Kills daemon, webserver and a run's process in turn during a backfill from the UI, and looks what becomes of it.

    python bench/kill_daemon.py [--cohorts 12] [--jobs 9] [--only run everything …] [--work DIR]

For each of them a fresh home is served by `hapi ui`, a backfill of all months is launched as the dialog does, and the
process is killed with SIGKILL once some attempts are made; `everything` is `hapi ui` itself with all that it has
started, as in a power cut, after which it is started again. Reported: how the run ended (it may go on), how long it
took until no run was left unfinished, what `hapi backfill` then still had to do, and requests billed twice by the
loopback provider. Exit code 0 when no run stayed unfinished, every attempt is there and nothing was billed twice.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from bench.backfill_overhead import copy_of, curated, launch
from hapi_pipeline.settings import Home
from tests.graph import small_world as world

VICTIMS = ("run", "webserver", "daemon", "everything")
_STUCK_SECONDS = 600.0
_RUNS = "query { runsOrError(limit: 50) { ... on Runs { results { runId jobName status } } } }"
_OVER = {"SUCCESS", "FAILURE", "CANCELED"}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cohorts", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=9)
    parser.add_argument("--only", nargs="+", choices=VICTIMS, default=VICTIMS, metavar="VICTIM")
    parser.add_argument("--work", type=Path, help="an empty folder that is kept; default: a temporary one")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="kill-daemon-") as scratch:
        work = given.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        months = [f"{2024 + n // 12}-{n % 12 + 1:02d}" for n in range(given.cohorts)]
        base = curated(work, months, given.jobs)
        clean = [_kill(copy_of(base, work / victim), victim, months, given.jobs) for victim in given.only]
    return 0 if all(clean) else 1


def _kill(home: Home, victim: str, months: Sequence[str], jobs: int) -> bool:
    """One life of a home in which one process is killed; whether all came right."""
    port, due = world.free_port(), len(months) * jobs
    with ExitStack() as first:
        serving = first.enter_context(world.ui(home, port))
        world.wait_for(lambda: world.answers(port), 300)
        launch(port, months)
        world.wait_for(lambda: made(home) >= due // 10, _STUCK_SECONDS)
        at = made(home)
        pids = _pids(home, serving.pid, victim)
        if not pids:
            raise SystemExit(f"There is no process of the {victim}.")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        if victim == "everything":
            first.close()
            first.enter_context(world.ui(home, port))
        world.wait_for(lambda: world.answers(port), 300)  # `hapi ui` starts again what was killed
        runs = world.wait_for(lambda: _all_over(port), _STUCK_SECONDS, 1.0)
        settled = time.monotonic() - killed
        after = made(home)
    done = subprocess.run(
        [sys.executable, "-m", "hapi_pipeline.cli", "--home", str(home.root), "backfill", "--model", "New"],
        capture_output=True,
        text=True,
    )
    twice = sum(count > 1 for count in billed(home).values())
    right = done.returncode == 0 and made(home) == due and not twice
    states = collections.Counter(f"{run['jobName']} {run['status']}" for run in runs)
    print(
        f"{victim}: killed at {at} of {due} attempts; {dict(states)} after {settled:.0f} s, {after} attempts made; "
        f"hapi backfill then made {made(home) - after} (exit {done.returncode}); billed twice: {twice}; "
        f"{'all right' if right else 'NOT RIGHT'}",
        flush=True,
    )
    if done.returncode:
        print(done.stdout[-1500:], done.stderr[-1500:], flush=True)
    return right


def _all_over(port: int) -> list[dict[str, Any]]:
    """The runs, once none of them is unfinished and the backfill's own is among them."""
    try:
        runs: list[dict[str, Any]] = world.ask(port, _RUNS)["runsOrError"]["results"]
    except OSError:
        return []
    started = [run for run in runs if run["jobName"] not in ("curate", "publish", "quality")]
    return runs if started and all(run["status"] in _OVER for run in runs) else []


def made(home: Home) -> int:
    """Attempts that have a result."""
    return sum(1 for _ in home.attempts.rglob("result.json"))


def billed(home: Home) -> collections.Counter[str]:
    keys: collections.Counter[str] = collections.Counter()
    for line in (home.root / "simulator" / "requests.jsonl").read_text("utf-8").splitlines():
        record = json.loads(line)
        keys[record["key"]] += record["event"] == "billed"
    return keys


def _pids(home: Home, serving: int, victim: str) -> list[int]:
    """The processes of a victim: the one that says so in the note of the home's lock, or children of `hapi ui`."""
    if victim == "run":
        note = home.root / ".at_work"
        return [int(note.read_text().partition(",")[0])] if note.exists() else []
    parents, words = dict[int, int](), dict[int, list[bytes]]()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            words[int(folder.name)] = (folder / "cmdline").read_bytes().split(b"\0")
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    if victim == "everything":
        found = [serving]
        for pid in found:  # grows as it goes
            found += [child for child, parent in parents.items() if parent == pid]
        return found
    name = f"dagster-{victim}".encode()
    return [pid for pid, parent in parents.items() if parent == serving and any(w.endswith(name) for w in words[pid])]


if __name__ == "__main__":
    sys.exit(main())
