"""What starting costs: the code location, the commands, a run, and each partition of a run, beside `import dagster`.

    python -m bench.start_up [--repeats 5] [--months 36]

Every import runs in a fresh process with compiled bytecode; of the repeats the least is told, in CPU seconds, with its
wall time and the peak of resident memory. The runs are of an asset that does nothing, for one month and for many in a
single run, on an instance of its own on disk: Dagster's share. Beside it stands one of the project's own assets over as
many months of an empty lake: ours.
"""

from __future__ import annotations

import argparse
import functools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

IMPORTS = {
    "python": "pass",
    "import dagster": "import dagster",
    "import hapi_pipeline.definitions": "import hapi_pipeline.definitions",
    "hapi --help": "from hapi_pipeline.cli import main; main(['--help'])",
    "hapi query 'SELECT 1'": "from hapi_pipeline.cli import main; main(['query', 'SELECT 1'])",
    "hapi doctor --quick": "from hapi_pipeline.cli import main; main(['doctor', '--quick'])",
}
HEAVY = ("litellm", "great_expectations", "pandas", "pyarrow", "duckdb", "numpy", "scipy", "sklearn", "openpyxl")


QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--months", type=int, default=36)
    arguments = parser.parse_args()
    console = Console(width=110)
    with tempfile.TemporaryDirectory(prefix="hapi-") as folder:
        os.environ["HAPI_HOME"] = folder
        from hapi_pipeline.settings import Home

        Home(Path(folder)).ensure()
        console.print(processes(arguments.repeats))
        console.print(runs(Path(folder), arguments.months))


def processes(repeats: int) -> Table:
    """Fresh processes, one a line."""
    table = Table("process", "CPU s", "wall s", "MB", "heavy libraries loaded", title="Starting")
    for name, code in IMPORTS.items():
        cpu, wall, memory, loaded = min(started(code) for _ in range(repeats))
        table.add_row(name, f"{cpu:.2f}", f"{wall:.2f}", f"{memory:.0f}", loaded or "none")
    return table


def started(code: str) -> tuple[float, float, float, str]:
    """CPU seconds, wall seconds, peak megabytes of a process, and which of the heavy libraries it has loaded."""
    program = (
        "import atexit, sys, resource\n"
        "def say():\n"
        f"    loaded = ' '.join(m for m in {HEAVY!r} if m in sys.modules)\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, loaded, sep='\\t', file=sys.stderr)\n"
        f"atexit.register(say)\n{code}\n"
    )
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    memory, _, loaded = done.stderr.splitlines()[-1].partition("\t")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall, float(memory), loaded


def runs(folder: Path, months: int) -> Table:
    """Runs in this process, by the in-process executor, on an instance on disk."""
    import dagster as dg

    import hapi_pipeline.definitions  # noqa: F401  (quietens Dagster as it is in every run)
    from hapi_pipeline.assets.factory import table_asset
    from hapi_pipeline.recipes import recipes
    from hapi_pipeline.resources import HapiHome

    cohorts = dg.MonthlyPartitionsDefinition(start_date="2020-01", fmt="%Y-%m")

    @dg.asset(partitions_def=cohorts, backfill_policy=dg.BackfillPolicy.single_run())
    def nothing() -> None:
        pass

    ours = table_asset(recipes()["curation_funnel"], "2020-01")
    table = Table("run", "CPU s", "CPU s a partition", title=f"Runs (over {months} months in one run)")
    (folder / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(folder / "instance")) as instance:
        for name, asset in (("an asset that does nothing", nothing), ("curation_funnel, nothing imported", ours)):
            resources = {"hapi": HapiHome(root=str(folder))} if asset is ours else {}
            job = dg.define_asset_job("j", [asset])
            defs = dg.Definitions([asset], jobs=[job], resources=resources, executor=dg.in_process_executor)
            execute = functools.partial(
                defs.resolve_job_def("j").execute_in_process, instance=instance, run_config=QUIET
            )
            execute(partition_key="2020-01")  # what is paid once a process
            one = seconds(lambda run=execute: run(partition_key="2020-02"))  # type: ignore[misc]
            tags = {
                "dagster/asset_partition_range_start": "2020-01",
                "dagster/asset_partition_range_end": cohorts.get_partition_keys()[months - 1],
            }
            many = seconds(lambda run=execute, tags=tags: run(tags=tags))  # type: ignore[misc]
            table.add_row(f"{name}, one month", f"{one:.2f}", "")
            table.add_row(f"{name}, {months} months", f"{many:.2f}", f"{(many - one) / (months - 1):.3f}")
    return table


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds that something takes in this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
