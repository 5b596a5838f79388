"""Two run workers at once on one backfill, Dagster's runs in a real PostgreSQL; one of them is killed in the middle.

    python -m bench.two_workers [--cohorts 6] [--jobs 6] [--workers 2] [--latency-ms 500] [--work DIR]

A PostgreSQL server (Debian's postgresql) is started on a port of its own; a small home keeps Dagster's runs there, with
the settings of deploy/dagster.postgres.yaml, under a code server and a daemon as deploy/compose.yaml starts them. Then
`hapi backfill --workers` makes a model's attempts against a loopback provider, three times: under a ceiling that allows
about a third of them; without one, while the worker that has most to do is killed with SIGKILL; and once more for the
rest. Held against what is promised: workers overlap, each on months of its own; by the provider's books no call is made
twice but those that the killed worker had under way; the ceiling is exceeded by less than one attempt; never more calls
at once than the pool allows; the other worker goes on; the last command makes the rest. Exit code 0 when it is so.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hapi_pipeline.settings import Home
from tests.deploy import fleet
from tests.deploy.cluster import cluster, deployed, hapi
from tests.deploy.loopback import Loopback
from tests.graph import small_world as world

Environment = Mapping[str, str]
PATIENCE = 600.0
AT_ONCE = 4
_DOLLARS_AN_ATTEMPT = 0.0022  # of this model in this world, about


@dataclass(frozen=True)
class Told:
    """What a command said, and how long it took."""

    code: int
    text: str
    seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cohorts", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--latency-ms", type=float, default=500.0, help="what the model takes to answer")
    parser.add_argument("--work", type=Path, help="an empty folder that is kept; default: a temporary one")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="two-workers-") as scratch, cluster() as database:
        os.environ.update(database.environment)
        work = given.work or Path(scratch)
        home = fleet.made_home(work, fleet.months_of(given.cohorts), given.jobs)
        with (
            Loopback(home.root / "simulator", given.latency_ms) as provider,
            deployed(home, database.environment) as environment,
        ):
            fleet.point_at(home, provider.address, AT_ONCE)
            fleet.wait_for_daemon(home, PATIENCE)
            wrong = [*_ceiling(home, environment, provider, given), *_kill(home, environment, provider, given)]
    print("\n".join(f"NOT RIGHT: {sentence}" for sentence in wrong) or "all right")
    return 1 if wrong else 0


def _ceiling(home: Home, environment: Environment, provider: Loopback, given: argparse.Namespace) -> Iterator[str]:
    """A backfill under a ceiling; what was not as it should be."""
    due = given.cohorts * given.jobs
    ceiling = round(due * _DOLLARS_AN_ATTEMPT / 3, 4)
    told = _backfill(home, environment, given, "--max-usd", str(ceiling))
    bills, made = fleet.bills(provider), len(fleet.results(home))
    dearest = max(float(str(result["cost_usd"])) for result in fleet.results(home))
    print(
        f"ceiling ${ceiling:.4f}: {made} of {due} attempts, ${sum(bills):.4f} by the provider's books "
        f"(an attempt costs at most ${dearest:.4f}); exit {told.code} after {told.seconds:.0f} s",
        flush=True,
    )
    if not ceiling <= sum(bills) < ceiling + dearest:
        yield f"${sum(bills):.4f} spent under a ceiling of ${ceiling:.4f}"
    if not 0 < made < due or told.code != 1:
        yield f"{made} of {due} attempts, exit {told.code}: {told.text[-2000:]}"
    if not fleet.overlapping(home):
        yield f"workers did not overlap: {fleet.spans(home)}"
    if twice := [key for key, count in provider.requests().items() if count > 1]:
        yield f"{len(twice)} calls were made twice, and nobody was killed"


def _kill(home: Home, environment: Environment, provider: Loopback, given: argparse.Namespace) -> Iterator[str]:
    """A worker killed in the middle of the rest, then the rest of that; what was not as it should be."""
    due, before = given.cohorts * given.jobs, len(fleet.results(home))
    began, process = time.monotonic(), _start(home, environment, given)
    enough = before + (due - before) // 4
    world.wait_for(lambda: len(fleet.results(home)) >= enough and len(fleet.workers(home)) > 1, PATIENCE, 0.05)
    left = fleet.left_by_worker(home, given.jobs)
    os.kill(max(left, key=left.__getitem__), signal.SIGKILL)
    at = len(fleet.results(home))
    told = _ended(process, began)
    after = len(fleet.results(home))
    print(f"one worker killed at {at} attempts, the rest went on to {after} of {due}; exit {told.code} "
          f"after {told.seconds:.0f} s", flush=True)  # fmt: skip
    print("\n".join(f"  {line}" for line in told.text.splitlines() if "killed" in line), flush=True)
    if told.code != 1 or not at < after < due or "killed" not in told.text:
        yield f"exit {told.code}, {at} attempts at the kill, {after} at the end: {told.text[-2000:]}"
    again = sum(count - 1 for count in provider.requests().values())
    last = _backfill(home, environment, given)
    while "is at work on" in last.text:  # the daemon makes the results of what the killed worker had finished
        time.sleep(2)
        last = _backfill(home, environment, given)
    once_more = sum(count - 1 for count in provider.requests().values())
    billed = sum(record["event"] == "billed" for record in provider.books())
    print(
        f"the same command again: {len(fleet.results(home)) - after} attempts, exit {last.code} after "
        f"{last.seconds:.0f} s; {billed} calls billed, {once_more} asked for again; at most {provider.most} at once",
        flush=True,
    )
    if last.code != 0 or len(fleet.results(home)) != due:
        yield f"exit {last.code}, {len(fleet.results(home))} of {due} attempts: {last.text[-2000:]}"
    if again or once_more > AT_ONCE:
        yield f"{again} calls made twice before the last command, {once_more} after it"
    if provider.most > AT_ONCE:
        yield f"{provider.most} calls at once"
    months = fleet.months_of(given.cohorts)
    if any(world.graded(home, month, "New")[0] != given.jobs for month in months):
        yield "rates are missing"


def _backfill(home: Home, environment: Environment, given: argparse.Namespace, *more: str) -> Told:
    began = time.monotonic()
    return _ended(_start(home, environment, given, *more), began)


def _start(home: Home, environment: Environment, given: argparse.Namespace, *more: str) -> subprocess.Popen[str]:
    words = (
        "--home",
        str(home.root),
        "backfill",
        "--model",
        "New",
        "--workers",
        str(given.workers),
        "--no-publish",
        *more,
    )
    return hapi(environment, *words)


def _ended(process: subprocess.Popen[str], began: float) -> Told:
    text, _ = process.communicate()
    return Told(process.returncode, text, time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
