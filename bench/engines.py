"""Every partitioned table made in this process, on Ray and on Spark: the same files? All times in one run.

    python -m bench.engines [--posts 300000] [--verdicts 10000000] [--engines local ray spark] [--workers 2]
    python -m bench.engines --engines local --posts 10000 100000 1000000 --verdicts 1000000 10000000    # curves

Needs the extras `ray` and `spark` (Spark: Java 17); an engine that is not installed is left out and named. For each
number of posts a year of simulated posts is imported by the real command; then each engine makes all tables of
curation of every month in a copy of that home. For each number of verdicts a lake is written as in `bench/results.py`
and each engine makes all tables by month and model. The bytes of every file are held against those of the first engine.
Then a worker of each cluster is killed (SIGKILL) while it makes a table, and the files are compared again.

Reported: seconds to start the engine, seconds for all tables, CPU seconds and peak memory of all processes together
(resident pages, shared ones counted once for each process), and seconds by table.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.results import cells, registry, write_lake
from hapi_pipeline.as_of import needed
from hapi_pipeline.engines import ENGINES, EngineSettings, engine_of
from hapi_pipeline.engines.making import remake
from hapi_pipeline.lake import Lake
from hapi_pipeline.operations import known_cohorts
from hapi_pipeline.recipes import recipes
from hapi_pipeline.registry import Registry
from hapi_pipeline.results import BY_CELL
from hapi_pipeline.settings import Home
from hapi_pipeline.simulate.exports import months_from, simulate
from hapi_pipeline.tables import TABLES

SEED, FIRST_MONTH = 20261122, "2025-01"
KILLED_IN = {"posts": "job_signatures", "verdicts": "criterion_outcomes"}
_MODULES = {"ray": "ray", "spark": "pyspark"}


@dataclass
class Side:
    """What one engine took."""

    engine: str
    told: dict[str, Any] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    digests: dict[str, str] = field(default_factory=dict)
    killed: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, nargs="*", default=[300_000])
    parser.add_argument("--verdicts", type=int, nargs="*", default=[10_000_000])
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--models", type=int, default=10, help="of the verdicts")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--split", type=int, default=0, help="rows from which on a partition is split")
    parser.add_argument("--no-kill", action="store_true")
    parser.add_argument("--work", type=Path, help="folder for the lakes, emptied at the end")
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.side:
        kind, what, root = given.side
        return run_here(kind, what, root, EngineSettings(given.engines[0], given.workers, given.split or None))
    console = Console(width=150)
    engines = [e for e in given.engines if e == "local" or importlib.util.find_spec(_MODULES[e])]
    for missing in set(given.engines) - set(engines):
        console.print(f"{missing} is not installed: pip install 'hapi-pipeline[{missing}]'")
    sizes = [("posts", n) for n in given.posts] + [("verdicts", n) for n in given.verdicts]
    for kind, size in sizes:
        with tempfile.TemporaryDirectory(prefix="bench-engines-", dir=given.work) as scratch:
            measure(kind, size, engines, given, Path(scratch), console)
    return 0


def measure(
    kind: str, size: int, engines: Sequence[str], given: argparse.Namespace, work: Path, console: Console
) -> None:
    """All engines on the same inputs, one after the other."""
    started = time.perf_counter()
    write = functools.partial(write_verdicts, models=given.models) if kind == "verdicts" else write_posts
    made = write(work / "inputs", size, given.months)
    console.print(f"\n{made:,} {kind} written in {time.perf_counter() - started:.0f} s")
    sides = []
    for engine in engines:
        home = work / engine
        shutil.copytree(work / "inputs", home, copy_function=os.link)
        done = side(engine, kind, "all", home, given)
        sides.append(done)
        console.print(f"  {engine}: {done.told['seconds']:.1f} s, {compared(done.digests, sides[0].digests)}")
        if engine != "local" and not given.no_kill:
            again = side(engine, kind, KILLED_IN[kind], home, given, kill=True)
            told = compared(again.digests, {n: d for n, d in sides[0].digests.items() if f"/{KILLED_IN[kind]}/" in n})
            console.print(f"  {engine}, {KILLED_IN[kind]} anew, {again.killed} worker killed: {told}")
        if len(sides) > 1:
            shutil.rmtree(home)
    console.print(engines_table(sides, kind, made), tables_table(sides))


def compared(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    same = sum(expected.get(name) == digest for name, digest in found.items())
    left = sum(name.endswith(".part") for name in found)
    other = f"{len(expected.keys() - found.keys())} missing, " if expected.keys() - found.keys() else ""
    return f"{same:,} of {len(expected):,} files the same to the byte, {other}{left} leftovers"


# ---- inputs


def write_posts(home: Path, posts: int, months: int) -> int:
    """A home into which some months of posts have been imported."""
    with tempfile.TemporaryDirectory(prefix="posts-", dir=home.parent) as folder:
        simulate(posts, SEED, Path(folder), months=months_from(FIRST_MONTH, months), form="parquet", verdicts=False)
        files = sorted(map(str, Path(folder).glob("jobs_*.parquet")))
        for arguments in (["rubrics", f"{folder}/rubrics.csv"], ["jobs", *files, "--source", "sample_market"]):
            code = "from hapi_pipeline.cli import entry; entry()"
            command = [sys.executable, "-c", code, "import", *arguments, "--home", str(home)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"hapi import failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return posts


def write_verdicts(home: Path, verdicts: int, months: int, models: int) -> int:
    return write_lake(Lake(home / "lake"), verdicts, months, models)


# ---- one engine


def side(engine: str, kind: str, what: str, home: Path, given: argparse.Namespace, kill: bool = False) -> Side:
    """Run one engine in processes of its own and watch them."""
    command = [sys.executable, "-m", "bench.engines", "--engines", engine, "--workers", str(given.workers)]
    command += ["--split", str(given.split), "--side", kind, what, str(home)]
    done = Side(engine)
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        with watching(process.pid) as watched:
            output = ""
            for line in process.stdout or ():
                output = line
                if kill and line.startswith("making"):
                    done.killed += kill_a_worker(process.pid)
            process.wait()
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{engine} failed: {errors.read()[-3000:]}")
    done.told = json.loads(output)
    done.cpu_seconds, done.peak_mib = sum(watched.cpu.values()), watched.peak
    made = done.told["tables"]
    lake = Lake(home / "lake")
    done.digests = {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for table in made
        for path in sorted((lake.root / table).rglob("*"))
        if path.is_file()
    }
    return done


def run_here(kind: str, what: str, root: str, settings: EngineSettings) -> int:
    """In the process of a side: every table of a kind, or one of them."""
    lake = Lake(Path(root) / "lake")
    known: Registry = registry() if kind == "verdicts" else Registry.of(Home(Path(root)))
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    engine = engine_of(settings)
    list(engine.each(abs, range(-(settings.workers or 1), 0)))
    start = time.perf_counter() - started
    for table in tables_of(kind) if what == "all" else [what]:
        print(f"making {table}", flush=True)
        before = time.perf_counter()
        many = recipes()[table].build_together is not None or table == "job_posts"
        scopes = cells(lake) if kind == "verdicts" else [{"cohort": c} for c in known_cohorts(lake)]
        remake(recipes()[table], lake, known, scopes, threads=2 if many else 1, settings=settings, anew=True)
        seconds[table] = time.perf_counter() - before
    told = {"start": start, "seconds": sum(seconds.values()), "tables": seconds}
    print(json.dumps(told), flush=True)
    return 0


def tables_of(kind: str) -> list[str]:
    if kind == "verdicts":
        return [name for name in BY_CELL if name != "packet_status"]  # there are no packets
    return [name for name in needed(["curation_funnel", "curation_audit"]) if TABLES[name].partitions]


# ---- processes


class Watched:
    """CPU seconds by process, and the most memory that all of them had at a time, in MiB."""

    def __init__(self) -> None:
        self.cpu: dict[int, float] = {}
        self.peak = 0.0


@contextlib.contextmanager
def watching(root: int) -> Iterator[Watched]:
    """Watch a process and all that come from it."""
    watched, ended = Watched(), threading.Event()
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")

    def watch() -> None:
        while not ended.wait(0.1):
            resident = 0.0
            for pid, fields in tree(root).items():
                watched.cpu[pid] = (int(fields[11]) + int(fields[12])) / tick
                resident += int(fields[21]) * page / (1 << 20)
            watched.peak = max(watched.peak, resident)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield watched
    finally:
        ended.set()
        watcher.join()


def tree(root: int) -> dict[int, list[str]]:
    """A process and all that come from it, with what /proc/PID/stat says after the name (field 0 is the state)."""
    every: dict[int, list[str]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                every[int(folder.name)] = (folder / "stat").read_text().rpartition(")")[2].split()
    found = {root} & every.keys()
    while more := {pid for pid, fields in every.items() if int(fields[1]) in found} - found:
        found |= more
    return {pid: every[pid] for pid in found}


def kill_a_worker(root: int) -> int:
    """Kill the first process of a cluster that is seen at work; how many were."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for pid in sorted(tree(root), reverse=True):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                busy = line.startswith("ray::alone") or ("pyspark.daemon" in line and _parent_is_daemon(pid))
                if busy:
                    time.sleep(0.3)  # in the middle of it
                    os.kill(pid, signal.SIGKILL)
                    return 1
        time.sleep(0.02)
    return 0


def _parent_is_daemon(pid: int) -> bool:
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    return b"pyspark.daemon" in Path(f"/proc/{parent}/cmdline").read_bytes()


# ---- what is said of it


def engines_table(sides: Sequence[Side], kind: str, size: int) -> Table:
    table = Table(
        title=f"{size:,} {kind}, all partitioned tables; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    for column in (
        "engine",
        "start s",
        "all tables s",
        "CPU s",
        "of the first",
        f"{kind} a CPU s",
        "peak MiB",
        "files",
    ):
        table.add_column(column, justify="left" if column == "engine" else "right")
    for one in sides:
        table.add_row(
            one.engine,
            f"{one.told['start']:.1f}",
            f"{one.told['seconds']:.1f}",
            f"{one.cpu_seconds:.1f}",
            f"{one.cpu_seconds / sides[0].cpu_seconds:.2f}",
            f"{size / one.cpu_seconds:,.0f}",
            f"{one.peak_mib:,.0f}",
            f"{len(one.digests):,}",
        )
    return table


def tables_table(sides: Sequence[Side]) -> Table:
    table = Table(title="seconds by table")
    table.add_column("table")
    for one in sides:
        table.add_column(one.engine, justify="right")
    for name in sides[0].told["tables"]:
        table.add_row(name, *(f"{one.told['tables'][name]:.2f}" for one in sides))
    return table


if __name__ == "__main__":
    raise SystemExit(main())
