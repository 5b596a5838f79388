"""How long the report takes for a large benchmark, and how heavy it is.

    python -m bench.report [--jobs 5000] [--models 20] [--keep DIR]

A lake of so many jobs and models in twelve months is written (three rounds, twelve criteria a job, posts of some 1,200
characters, a comment on every failed criterion), its tables are made by the project's own code, and then the site is
built once, in a process of its own. No files are handed in: copying deliverables costs what copying costs.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import results
from hapi_pipeline.lake import Lake
from hapi_pipeline.recipes import recipes
from hapi_pipeline.registry import Registry
from hapi_pipeline.results import BY_CELL, SUMMARIES
from hapi_pipeline.settings import Home

COHORTS = 12
_POST = (
    "We need a table of all orders of the last two years, cleaned and ready for our accountant. Dates are written in "
    "three ways and some amounts carry the wrong sign; please say in a short note what you changed and why. "
)
_COMMENT = "The totals of the second sheet do not add up, and the note does not say which rows were left out."


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the home and the site here and leave them")
    parser.add_argument("--build", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.build:
        return build_here(*given.build)
    console = Console(width=110)
    with tempfile.TemporaryDirectory(prefix="bench-report-") as scratch:
        root = given.keep or Path(scratch)
        home, site = Home(root / "home"), root / "site"
        if not home.exists():
            console.print(f"writing {given.jobs:,} jobs and {given.models} models, and making their tables …")
            write_home(home, given.jobs, given.models)
        took = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "bench.report", "--build", str(home.root), str(site)],
            check=True,
            capture_output=True,
            text=True,
        )
        wall = time.perf_counter() - took
        cpu, peak = map(float, done.stdout.split()[-2:])
        console.print(result(site, wall, cpu, peak))
    return 0


def build_here(home: Path, site: Path) -> int:
    """Build the site; print the processor seconds and the peak of memory in MiB."""
    from hapi_pipeline.report import build_report

    build_report(Lake(Home(home).lake), Registry.of(Home(home)), Home(home), site)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    return 0


def write_home(home: Home, jobs: int, models: int) -> None:
    """A home whose lake holds so many jobs and models; all of it is marked simulated, so that every job has a page."""
    home.ensure()
    lake = Lake(home.lake)
    verdicts = jobs * models * results.CRITERIA * results._TRIES * (1 + results.TWICE) * (1 + results.REGRADED)
    results.write_lake(lake, round(verdicts), COHORTS, models)
    for keys in lake.partitions("benchmark_jobs"):
        _mark(lake, "benchmark_jobs", keys, title="'Order table ' || job_id", description=f"'{_POST * 6}'")
        _mark(lake, "rubrics", keys)
    for keys in lake.partitions("attempts"):
        _mark(lake, "attempts", keys)
    for keys in lake.partitions("verdicts"):
        _mark(lake, "verdicts", keys, comment=f"CASE WHEN NOT passed THEN '{_COMMENT}' END")
    known = results.registry()
    for table in (*BY_CELL, *SUMMARIES):
        for scope in results.cells(lake) if table in BY_CELL else results.scopes_of(table, lake):
            lake.write(table, recipes()[table].build(lake, known, scope), scope)


def _mark(lake: Lake, table: str, keys: dict[str, str], **columns: str) -> None:
    """Replace columns of a partition, and mark it as simulated."""
    from hapi_pipeline.engine import connect, open_tables

    changed = ", ".join(f'{sql} AS "{name}"' for name, sql in {"simulated": "true", **columns}.items())
    with connect() as connection:
        open_tables(connection, lake, {table: keys})
        rows = connection.sql(f'SELECT * REPLACE ({changed}) FROM "{table}"').to_arrow_table()
    lake.write(table, rows, keys)


def result(site: Path, wall: float, cpu: float, peak: float) -> Table:
    """What it took, and what came of it."""
    files = [path for path in site.rglob("*") if path.is_file()]
    first = [site / "index.html", *(site / "assets").rglob("*.*")]
    loaded = sum(path.stat().st_size for path in first if path.suffix in (".html", ".css", ".js", ".woff2", ".svg"))
    table = Table(title="the report")
    for name in ("what", "value"):
        table.add_column(name)
    for what, value in (
        ("built in", f"{wall:.1f} s ({cpu:.1f} s of processor time)"),
        ("peak of memory", f"{peak:,.0f} MiB"),
        ("first page with all it loads", f"{loaded / 1000:,.0f} kB"),
        ("index of jobs", f"{(site / 'jobs.html').stat().st_size / 1000:,.0f} kB"),
        ("pages of jobs", f"{sum(1 for _ in (site / 'jobs').glob('*.html')):,}"),
        ("the whole site", f"{sum(p.stat().st_size for p in files) / 1e6:,.0f} MB in {len(files):,} files"),
    ):
        table.add_row(what, value)
    return table


if __name__ == "__main__":
    raise SystemExit(main())
