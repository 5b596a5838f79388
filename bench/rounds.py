"""Three models, the sample's 322 jobs, four rounds, from nothing: wall time, memory of all processes, a second pass.

    python bench/rounds.py [--latency-ms 20] [--work DIR] [--profile FILE]

What is timed is `hapi demo` on the bundled sample, in a new home, with a provider that takes so long for each reply:
imports, curation, one Dagster run for the attempts of a round, packets, simulated graders' workbooks, their import,
results. Then everything is refreshed once more, which must not ask the provider for anything. Memory is sampled over
all processes, the provider's too: proportional set size, so that what they share counts once. Exit code 0 when all
attempts are made, the second pass makes no request, and time and memory stay within the goals.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from hapi_pipeline.settings import Home, project_root

GOAL_SECONDS, GOAL_MIB = 360.0, 1536.0
_EVERY = 0.25  # seconds between two looks at the memory


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--work", type=Path, help="a new folder that is kept; default: a temporary one")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="also write a cProfile of the main process")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.child:
        return child(Home(given.work), given.latency_ms)
    with tempfile.TemporaryDirectory(prefix="rounds-") as scratch:
        return measured(given.work or Path(scratch) / "home", given.latency_ms, given.profile)


def child(home: Home, latency_ms: float) -> int:
    """The work itself, in a process that does nothing else; ends with a line of figures as JSON."""
    from hapi_pipeline import operations
    from hapi_pipeline.demo import run_demo
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.simulate import provider

    plain = provider.simulated_provider

    @contextlib.contextmanager
    def slow(folder: Path) -> Iterator[str]:
        with plain(folder, latency_ms) as address:
            yield address

    provider.simulated_provider = slow  # type: ignore[assignment]
    began = time.monotonic()
    run_demo(home)
    seconds, before = time.monotonic() - began, _requests(home)
    began = time.monotonic()
    with operations.at_work(home):
        pending = operations.pending_cohorts(home)
        again = operations.refresh(home, operations.known_cohorts(Lake(home.lake)))
    figures = {
        "seconds": seconds,
        "requests": sum(before.values()),
        "replayed": before["replayed"],
        "pending": len(pending),
        "second_seconds": time.monotonic() - began,
        "second_requests": sum(_requests(home).values()) - sum(before.values()),
        "second_attempts": again.attempts_made + again.attempts_left + again.attempts_failed,
        "runs": _runs(home),
    }
    print(json.dumps(figures))
    return 0


def _requests(home: Home) -> Counter[str]:
    log = home.root / "simulator" / "requests.jsonl"
    return Counter(json.loads(line)["event"] for line in log.read_text("utf-8").splitlines())


def _runs(home: Home) -> dict[str, int]:
    """Dagster runs by job."""
    from hapi_pipeline.operations import instance_of

    with instance_of(home) as instance:
        return dict(Counter(run.job_name for run in instance.get_runs()))


def measured(root: Path, latency_ms: float, profile: Path | None) -> int:
    """Run the work in a child, watch its memory, and hold the figures against the goals."""
    watched = ["-m", "cProfile", "-o", str(profile)] if profile else []
    command = [sys.executable, *watched, __file__, "--child", "--work", str(root), "--latency-ms", str(latency_ms)]
    environment = {**os.environ, "PYTHONPATH": str(project_root())}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    peaks: dict[str, float] = {}
    watcher = threading.Thread(target=_watch, args=(process, peaks), daemon=True)
    watcher.start()
    said, _ = process.communicate()
    watcher.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        return process.returncode
    figures = json.loads(said.decode().splitlines()[-1])
    made = _attempts(Home(root))
    ok = not figures["second_requests"] and figures["seconds"] < GOAL_SECONDS and peaks["mib"] < GOAL_MIB
    print(f"\n{'attempts':34} {sum(made.values()):,}: " + ", ".join(f"{n:,} {name}" for name, n in made.items()))
    for name, value in (
        ("requests to the provider", f"{figures['requests']:,}, {figures['replayed']} of them answered again"),
        (f"wall time at {latency_ms:g} ms a reply", f"{figures['seconds']:.1f} s (goal {GOAL_SECONDS:.0f} s)"),
        ("peak memory of all processes", f"{peaks['mib']:,.0f} MiB (goal {GOAL_MIB:,.0f}), {peaks['n']:.0f} processes"),
        ("Dagster runs", ", ".join(f"{n} {job}" for job, n in sorted(figures["runs"].items()))),
        ("second pass: requests", f"{figures['second_requests']} (goal 0)"),
        ("second pass: attempts, seconds", f"{figures['second_attempts']}, {figures['second_seconds']:.1f} s"),
        ("processor time of all processes", f"{used.ru_utime + used.ru_stime:.0f} s, both passes"),
        ("processors, load of the machine", f"{len(os.sched_getaffinity(0))}, {os.getloadavg()[1]:.1f}"),
    ):
        print(f"{name:34} {value}")
    return 0 if ok else 1


def _attempts(home: Home) -> dict[str, int]:
    from hapi_pipeline.engine import connect, open_tables
    from hapi_pipeline.lake import Lake

    with connect() as connection:
        open_tables(connection, Lake(home.lake), ["attempts"])
        rows = connection.execute("SELECT round, count(*) FROM attempts GROUP BY 1 ORDER BY 1").fetchall()
    return dict(rows)


# ---- memory


def _watch(process: subprocess.Popen[bytes], peaks: dict[str, float]) -> None:
    peaks.update(mib=0.0, n=0.0)
    while process.poll() is None:
        sizes = [size for pid in _family(process.pid) if (size := _pss(pid))]
        if sum(sizes) / 1024 > peaks["mib"]:
            peaks.update(mib=sum(sizes) / 1024, n=len(sizes))
        time.sleep(_EVERY)


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    below: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parent = int(path.read_text("utf-8", "replace").rpartition(")")[2].split()[1])
            below.setdefault(parent, []).append(int(path.parent.name))
    found = [pid]
    for one in found:
        found += below.get(one, [])
    return found


def _pss(pid: int) -> float:
    """Proportional set size of a process in KiB; 0 when it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return float(line.split()[1])
    return 0.0


if __name__ == "__main__":
    sys.exit(main())
