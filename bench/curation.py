"""Curation from Parquet files to `curated_jobs`, by the real commands, beside presidio and plain DuckDB in one run.

    python -m bench.curation [--posts 10000 100000 1000000 3000000] [--months 12] [--peer-posts 1500] [--work DIR]
    python -m bench.curation --posts 250000 --months 1        # one month of a large marketplace

For each number of posts a year of simulated posts (150 to 300 words each) is written as Parquet, a file a month, and
the rubrics of those that are fit for the benchmark as CSV; then `hapi import rubrics`, `hapi import jobs` and
`hapi curate` run as a user would run them. Reported: posts a second (without the rubrics), CPU seconds (with them), the
peak memory of all processes together (resident pages, shared ones counted once for each process), what each stage costs
a post, and beside it, on the same posts: plain DuckDB reading the same columns, our scan for personal data and
presidio's pattern recognisers, one core each, with the share of planted personal data that each finds.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.pii import presidio_runner
from hapi_pipeline.curation.rules import ON_ONE_POST
from hapi_pipeline.simulate.exports import months_from, simulate

FIRST_MONTH = "2025-01"
SEED = 20261122
UNTIL_CURATED = ("job_posts", "pii_findings", *ON_ONE_POST)


@dataclass(frozen=True)
class Run:
    """What one command took."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Size:
    """What curating so many posts took."""

    posts: int
    rubrics: Run
    imported: Run
    curated: Run
    reading: float  # seconds of plain DuckDB over the same columns
    stages: dict[str, float]  # seconds by asset
    curated_jobs: int
    benchmark_jobs: int

    @property
    def until_curated(self) -> float:
        """Seconds of the import and of the stages that `curated_jobs` rests on."""
        return self.imported.seconds + sum(self.stages.get(name, 0.0) for name in UNTIL_CURATED)

    @property
    def seconds(self) -> float:
        return self.imported.seconds + self.curated.seconds

    @property
    def runs(self) -> tuple[Run, Run, Run]:
        return self.rubrics, self.imported, self.curated

    @property
    def cpu_seconds(self) -> float:
        return sum(run.cpu_seconds for run in self.runs)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 3_000_000])
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--peer-posts", type=int, default=1500, help="posts that presidio has to read")
    parser.add_argument("--work", type=Path, help="folder for posts and homes, emptied after each size")
    given = parser.parse_args(argv)
    console = Console(width=160)
    with tempfile.TemporaryDirectory(prefix="bench-curation-", dir=given.work) as scratch:
        sizes = [measure(posts, given.months, Path(scratch), console) for posts in given.posts]
        console.print(sizes_table(sizes), stages_table(sizes))
        compare(given.peer_posts, Path(scratch), console)
    return 0


def measure(posts: int, months: int, work: Path, console: Console) -> Size:
    """Make the posts, import and curate them in a home of their own; both are deleted afterwards."""
    folder, home = work / "posts", work / "home"
    console.print(f"making {posts:,} posts …")
    simulate(posts, SEED, folder, months=months_from(FIRST_MONTH, months), form="parquet", verdicts=False)
    files = sorted(folder.glob("jobs_*.parquet"))
    reading = timed(lambda: read_plainly(files))
    rubrics = run_hapi(home, "import", "rubrics", str(folder / "rubrics.csv"))
    imported = run_hapi(home, "import", "jobs", *map(str, files), "--source", "sample_market")
    curated = run_hapi(home, "curate")
    kept = (count(home, "curated_jobs"), count(home, "benchmark_jobs"))
    done = Size(posts, rubrics, imported, curated, reading, stage_seconds(home), *kept)
    console.print(f"  {posts:,} posts in {done.seconds:.1f} s, {posts / done.seconds:,.0f} a second; {done.runs}")
    shutil.rmtree(folder)
    shutil.rmtree(home)
    return done


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def read_plainly(files: Sequence[Path]) -> None:
    """What reading the columns that curation reads costs at least."""
    import duckdb

    with duckdb.connect(config={"threads": "2"}) as connection:
        columns = "title, description, files, type, amount, milestones, status, payment_status, contract_end"
        sums = ", ".join(f"sum(length({c}))" for c in columns.split(", "))
        listed = ", ".join(f"'{path}'" for path in files)
        connection.execute(f"SELECT {sums} FROM read_parquet([{listed}])").fetchall()


def run_hapi(home: Path, *arguments: str) -> Run:
    """Run one command and watch the memory of it and of the processes that it starts."""
    command = [sys.executable, "-c", "from hapi_pipeline.cli import entry; entry()", *arguments, "--home", str(home)]
    started, before = time.perf_counter(), os.times()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    with watching(process.pid) as peak:
        output, _ = process.communicate()
    seconds, after = time.perf_counter() - started, os.times()
    if process.returncode:
        raise SystemExit(f"hapi {arguments[0]} failed: {output.decode()[-2000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(seconds, cpu, peak[0])


@contextlib.contextmanager
def watching(session: int) -> Iterator[list[float]]:
    """The most memory, in MiB, that the processes of a session had at a time."""
    peak, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            peak[0] = max(peak[0], sum(map(resident_mib, processes_of(session))))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def processes_of(session: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdecimal() and os.getsid(int(folder.name)) == session:
                found.append(int(folder.name))
    return found


def resident_mib(pid: int) -> float:
    with contextlib.suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    return 0.0


def stage_seconds(home: Path) -> dict[str, float]:
    """Seconds of each asset of the runs in a home's Dagster instance."""
    from hapi_pipeline.operations import instance_of
    from hapi_pipeline.settings import Home

    found: dict[str, float] = {}
    with instance_of(Home(home)) as instance:
        for run in instance.get_runs():
            for step in instance.get_run_step_stats(run.run_id):
                if step.start_time and step.end_time:
                    found[step.step_key] = found.get(step.step_key, 0.0) + step.end_time - step.start_time
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def count(home: Path, table: str) -> int:
    from hapi_pipeline.lake import Lake

    return int(Lake(home / "lake").read(table, columns=["cohort"]).num_rows)


def sizes_table(sizes: Sequence[Size]) -> Table:
    table = Table(title=f"hapi import rubrics (CSV), hapi import jobs (Parquet), hapi curate; {os.cpu_count()} cores")
    for column in ("posts", "rubrics s", "import s", "curate s", "both s", "until curated_jobs s", "s per 10^6",
                   "posts/s", "CPU s", "peak MiB", "curated", "in benchmark", "plain DuckDB s"):  # fmt: skip
        table.add_column(column, justify="right")
    for size in sizes:
        table.add_row(
            f"{size.posts:,}",
            f"{size.rubrics.seconds:.1f}",
            f"{size.imported.seconds:.1f}",
            f"{size.curated.seconds:.1f}",
            f"{size.seconds:.1f}",
            f"{size.until_curated:.1f}",
            f"{size.until_curated / size.posts * 1e6:.0f}",
            f"{size.posts / size.until_curated:,.0f}",
            f"{size.cpu_seconds:.1f}",
            f"{max(run.peak_mib for run in size.runs):,.0f}",
            f"{size.curated_jobs:,}",
            f"{size.benchmark_jobs:,}",
            f"{size.reading:.2f}",
        )
    return table


def stages_table(sizes: Sequence[Size]) -> Table:
    table = Table(title="cost of each stage, microseconds a post")
    table.add_column("stage")
    for size in sizes:
        table.add_column(f"{size.posts:,}", justify="right")
    stages = ["hapi import jobs", *sizes[-1].stages]
    for stage in stages:
        costs = [s.imported.seconds if stage == stages[0] else s.stages.get(stage, 0.0) for s in sizes]
        table.add_row(stage, *(f"{c / s.posts * 1e6:.1f}" for c, s in zip(costs, sizes, strict=True)))
    return table


def compare(posts: int, work: Path, console: Console) -> None:
    """Our scan and presidio on the same posts, one core each: how fast, and what they find of what was planted."""
    from hapi_pipeline.curation.pii import scan_texts

    folder = work / "peers"
    simulate(posts * 20, SEED + 1, folder, months=[FIRST_MONTH], form="parquet", verdicts=False)
    ids, texts = texts_of(folder)
    planted = planted_in(folder)
    scan_texts(texts[:10])
    ours = [{f.type for f in found} for found in rated(console, "hapi, 20 times as many posts", scan_texts, texts)]
    some = texts[:posts]
    same = rated(console, "hapi, the posts that presidio reads", scan_texts, some)
    first = [{f.type for f in found} for found in same]
    presidio = presidio_runner()
    theirs = rated(console, "presidio, patterns only", presidio, some) if presidio else None
    if theirs is None:
        console.print("presidio is not installed (pip install presidio-analyzer): no comparison")
    for name, found in (("hapi, all", ours), ("hapi, same", first), ("presidio", theirs)):
        if found is not None:
            console.print(name, recall(found, ids, planted))


def texts_of(folder: Path) -> tuple[list[str], list[str]]:
    import pyarrow.parquet as pq

    rows = pq.read_table(next(folder.glob("jobs_*.parquet")), columns=["uid", "title", "description"])
    texts = [
        f"{title}\n{text}"
        for title, text in zip(rows["title"].to_pylist(), rows["description"].to_pylist(), strict=True)
    ]
    return rows["uid"].to_pylist(), texts


def planted_in(folder: Path) -> dict[str, str]:
    """Kind of personal data by post."""
    with (folder / "posts_truth.csv").open(encoding="utf-8", newline="") as file:
        return {row["uid"]: row["personal_data"] for row in csv.DictReader(file) if row["personal_data"]}


def rated(console: Console, name: str, scan: Callable[[Sequence[str]], list], texts: Sequence[str]) -> list:  # type: ignore[type-arg]
    spent, found = 0.0, []
    started = time.process_time()
    found = scan(texts)
    spent = time.process_time() - started
    console.print(f"{name}: {len(texts):,} posts in {spent:.2f} CPU s, {len(texts) / spent:,.0f} a second and core")
    return found


def recall(found: Sequence[set[str]], ids: Sequence[str], planted: dict[str, str]) -> str:
    """Share of the posts with planted personal data in which something other than a name is found."""
    hits, total, alarms, clean = 0, 0, 0, 0
    for uid, types in zip(ids, found, strict=False):
        something = bool(types - {"person_name"})
        if uid in planted:
            hits, total = hits + something, total + 1
        else:
            alarms, clean = alarms + something, clean + 1
    return f"finds {hits} of {total} planted ({hits / max(total, 1):.3f}), flags {alarms} of {clean} others"


if __name__ == "__main__":
    raise SystemExit(main())
