"""What a backfill costs beside its attempts: the same work outside Dagster, by `hapi backfill`, and from the UI.

    python bench/backfill_overhead.py [--cohorts 36] [--jobs 9] [--ui] [--work DIR]

A home of so many months and jobs is curated; a model that the project's own loopback server plays (it answers at once)
then attempts all of them, each time in a fresh copy:

* `attempts alone`: by `run_tasks` in a bare process, which writes no table, no packet and no result;
* `attempts, packets, tables`: the same, and all that a backfill makes of them, by the same functions without Dagster;
* `hapi backfill`, without publishing;
* with `--ui`, by the mutation that the dialog of `hapi ui` sends, timed until the summaries are there too.

Printed are seconds, and how many more each took than the bare attempts: by the clock, and of CPU in the process and
those it waited for. On a machine that others use, the second figure is the one to go by.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from hapi_pipeline.settings import Home
from tests.graph import small_world as world

MODELS = """models:
- {name: New, litellm: hosted_vllm/new, api_base: simulated, prices: [{from: 2020-01-01, input: 1.0, output: 2.0}],
   pool: {name: local, concurrency: 8}}
"""
_ROOT = Path(__file__).resolve().parent.parent
_BARE = """
import sys, time
from pathlib import Path
from hapi_pipeline.agents.ledger import AttemptLedger
from hapi_pipeline.agents.run import run_tasks
from hapi_pipeline.evaluation import Cell, tasks_of
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Registry
from hapi_pipeline.rounds import ROUND
from hapi_pipeline.settings import Home
from hapi_pipeline.simulate.provider import simulated_provider
home = Home(Path(sys.argv[1]))
lake, registry, ledger = Lake(home.lake), Registry.of(home), AttemptLedger(home.attempts)
model, benchmark = registry.models[0], registry.benchmark
tasks = [
    task
    for keys in lake.partitions("benchmark_jobs")
    for task in tasks_of(lake, ledger, Cell(keys["cohort"], model, ROUND["agent_alone"]), benchmark)
]
with simulated_provider(home.root / "simulator") as address:
    results = run_tasks(tasks, ledger, benchmark.agent, simulated_base=address)
assert all(r.status == "done" for r in results), "an attempt failed"
print(len(results))
"""
_TABLES = """
from datetime import UTC, datetime
from hapi_pipeline.engines.making import remake
from hapi_pipeline.evaluation import attempts_of_cell, packet_rows, packet_specs, write_packets
from hapi_pipeline.intake.ledger import rows_of
from hapi_pipeline.recipes import recipes
from hapi_pipeline.results import BY_CELL, SUMMARIES
by_month = {}
for task in tasks:
    by_month.setdefault(task.cohort, []).append(task)
cells = {Cell(month, model, ROUND["agent_alone"]): due for month, due in by_month.items()}
for cell, due in cells.items():
    rows, _ = attempts_of_cell(lake, ledger, cell, due, benchmark.agent)
    lake.write("attempts", rows_of("attempts", rows), cell.keys)
made = {r.attempt_id: r for r in ledger.results(model.key, "agent_alone")}
specs = {cell: packet_specs(lake, cell, made) for cell in cells}
every = [spec for some in specs.values() for spec in some.values()]
packets = {s.packet_id: p for s, p in zip(every, write_packets(every, home.packets), strict=True)}
for cell, some in specs.items():
    rows = packet_rows(lake, cell, some, packets, datetime.now(UTC))
    lake.write("packets", rows_of("packets", rows), cell.keys)
scopes = [{"cohort": month, "model": model.name} for month in by_month]
for name in BY_CELL:
    remake(recipes()[name], lake, registry, scopes, threads=2)
for name in SUMMARIES:
    remake(recipes()[name], lake, registry, [{}])
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cohorts", type=int, default=36)
    parser.add_argument("--jobs", type=int, default=9)
    parser.add_argument("--ui", action="store_true", help="also through the daemon")
    parser.add_argument("--work", type=Path, help="an empty folder that is kept; default: a temporary one")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="backfill-overhead-") as scratch:
        work = given.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        months = [f"{2022 + n // 12}-{n % 12 + 1:02d}" for n in range(given.cohorts)]
        base = curated(work, months, given.jobs)
        print(f"{len(months)} months x {given.jobs} jobs", flush=True)
        program = work / "bare.py"
        program.write_text(f"if __name__ == '__main__':\n{textwrap.indent(_BARE, '    ')}")
        bare = _timed("attempts alone", [sys.executable, str(program), str(copy_of(base, work / "bare").root)])
        program.write_text(f"if __name__ == '__main__':\n{textwrap.indent(_BARE + _TABLES, '    ')}")
        same = [sys.executable, str(program), str(copy_of(base, work / "same").root)]
        _timed("attempts, packets, tables", same, bare)
        words = ["--home", str(copy_of(base, work / "cli").root), "backfill", "--model", "New", "--no-publish"]
        _timed("hapi backfill", [sys.executable, "-m", "hapi_pipeline.cli", *words], bare)
        if given.ui:
            _through_the_ui(copy_of(base, work / "ui"), months, bare[0])
    return 0


def curated(work: Path, months: Sequence[str], jobs: int) -> Home:
    home = Home(work / "base").ensure()
    (home.registry / "models.yaml").write_text(MODELS)
    benchmark = home.registry / "benchmark.yaml"
    benchmark.write_text(benchmark.read_text().replace("max_usd: 50 ", "max_usd: null "))
    simulated = home.root / "simulator" / "world"
    simulated.mkdir(parents=True)
    truth = ["job_id,model_id,completes,retry_1"]
    files, files_of_rubrics = [], []
    for month in months:
        truth += [f"{job},new,agent_alone,false" for job in world.jobs_of(month, jobs)]
        files.append(str(world.write_jobs(work / "files" / f"jobs_{month}.csv", month, jobs)))
        files_of_rubrics.append(str(world.write_rubrics(simulated / f"rubrics_{month}.csv", month, jobs)))
    (simulated / "truth.csv").write_text("\n".join(truth) + "\n")
    world.hapi(home.root, "import", "jobs", *files, "--source", "canonical")
    world.hapi(home.root, "import", "rubrics", *files_of_rubrics)
    _timed("hapi curate", [sys.executable, "-m", "hapi_pipeline.cli", "--home", str(home.root), "curate"])
    return home


def copy_of(base: Home, goal: Path) -> Home:
    shutil.copytree(base.root, goal, symlinks=True)
    return Home(goal)


def _timed(what: str, words: Sequence[str], bare: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float]:
    """Seconds by the clock and of CPU that a program took, waiting for its own children included."""
    began, before = time.monotonic(), _cpu()
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(_ROOT)})
    seconds, cpu = time.monotonic() - began, _cpu() - before
    if done.returncode:
        raise SystemExit(f"{what} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    _say(what, seconds, bare[0], f"  CPU {cpu:6.1f} s" + (f" {cpu - bare[1]:+6.1f} s" if bare[1] else ""))
    return seconds, cpu


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _say(what: str, seconds: float, bare: float, cpu: str = "") -> None:
    more = f"{seconds - bare:+6.1f} s" if bare else " " * 8
    print(f"{what:<32} {seconds:6.1f} s {more}{cpu}", flush=True)


def launch(port: int, months: Sequence[str]) -> str:
    """Launch the backfill of the model over these months as the dialog of the UI does; its id."""
    from hapi_pipeline.results import BY_CELL
    from hapi_pipeline.rounds import ROUNDS

    paths = [[r.name, table] for r in ROUNDS for table in ("attempts", "packets", "verdicts")]
    parameters = {
        "assetSelection": [{"path": path} for path in [*paths, *([name] for name in BY_CELL)]],
        "partitionNames": [f"{month}|New" for month in months],
        "title": "New over all months",
    }
    said = world.ask(
        port,
        """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename
            ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
        p=parameters,
    )["launchPartitionBackfill"]
    if "backfillId" not in said:
        raise SystemExit(f"The backfill was not launched: {said}")
    return str(said["backfillId"])


def _through_the_ui(home: Home, months: Sequence[str], bare: float) -> None:
    port = world.free_port()
    rates = home.lake / "completion_rates" / f"cohort={months[-1]}" / "model=New" / "data.parquet"
    board = home.lake / "leaderboard" / "data.parquet"
    with world.ui(home, port):
        world.wait_for(lambda: world.answers(port), 300)
        began = time.monotonic()
        launch(port, months)
        world.wait_for(rates.exists, 3600, 1.0)
        _say("dialog, until the rates are there", time.monotonic() - began, bare)
        world.wait_for(board.exists, 3600, 1.0)
        _say("dialog, until the summaries are", time.monotonic() - began, bare)


if __name__ == "__main__":
    sys.exit(main())
