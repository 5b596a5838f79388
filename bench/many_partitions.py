"""How the UI and the sensors answer on a home of many months and models.

    python bench/many_partitions.py [--cohorts 120] [--models 100] [--ticks-seconds 100] [--work DIR]

So many months with two jobs each are imported, so many models are registered, and an event is stored for each month of
each model of four tables, as if all of them had been made. Then `hapi ui` serves the home: pages are opened in Chromium
until they have been quiet for half a second, and the daemon's own record says how long each tick of each sensor took;
meanwhile one cell is reported as made anew, so that there is something to decide. Needs the dev extra (playwright) and
Debian's chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from playwright.sync_api import Page, sync_playwright

from hapi_pipeline.operations import instance_of
from hapi_pipeline.settings import Home
from tests.graph import small_world as world

MADE = (["agent_alone", "attempts"], ["agent_alone", "packets"], ["agent_alone", "verdicts"], ["completion_rates"])
PAGES = {
    "asset": "/assets/agent_alone/attempts",
    "asset, partitions": "/assets/agent_alone/attempts?view=partitions",
    "asset, events": "/assets/agent_alone/attempts?view=events",
    "rates, partitions": "/assets/completion_rates?view=partitions",
    "the whole graph": "/asset-groups",
    "automation": "/automation",
}
GOAL_PAGE, GOAL_TICK = 5.0, 10.0  # seconds


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cohorts", type=int, default=120)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--ticks-seconds", type=float, default=100.0, help="how long ticks are watched")
    parser.add_argument("--work", type=Path, help="a folder that is kept, and used again; default: a temporary one")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="many-partitions-", ignore_cleanup_errors=True) as scratch:
        work = given.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        months = last_months(given.cohorts)
        home = Home(work / "home")
        if not home.exists():
            registered(home, work / "files", months, given.models)
            _events(home, months)
        print(f"{len(months)} months x {given.models} models, load {os.getloadavg()[0]:.1f}", flush=True)
        port = world.free_port()
        with world.ui(home, port), sync_playwright() as play:
            world.wait_for(lambda: world.answers(port), 300)
            browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            slowest = max(_page(page, port, name, path) for _ in range(2) for name, path in PAGES.items())
            browser.close()
            _made_anew(home, months[-1])
            time.sleep(given.ticks_seconds)
        longest = _ticks(home)
    print(f"slowest page {slowest:.1f} s (goal {GOAL_PAGE:.0f}), longest tick {longest:.1f} s (goal {GOAL_TICK:.0f})")
    return 0 if slowest < GOAL_PAGE and longest < GOAL_TICK else 1


def last_months(number: int) -> list[str]:
    """So many months up to the one that has closed."""
    now = datetime.now(UTC)
    last = 12 * now.year + now.month - 2
    return [f"{n // 12}-{n % 12 + 1:02d}" for n in range(last - number + 1, last + 1)]


def registered(home: Home, files: Path, months: Sequence[str], models: int) -> None:
    """Make a home with posts of these months and so many models of which nothing is known."""
    home.ensure()
    lines = [f"- {{name: Model {n:03d}}}" for n in range(1, models + 1)]
    (home.registry / "models.yaml").write_text("models:\n" + "\n".join(lines) + "\n")
    benchmark = home.registry / "benchmark.yaml"
    benchmark.write_text(benchmark.read_text().replace('first: "2020-01"', f'first: "{months[0]}"'))
    exports = [str(world.write_jobs(files / f"{month}.csv", month)) for month in months]
    world.hapi(home.root, "import", "jobs", *exports, "--source", "canonical")


def _events(home: Home, months: Sequence[str]) -> None:
    """An event for each partition of some assets, by one run over all of them that does nothing."""
    from hapi_pipeline.partitions import MODELS, cells

    grid = cells(months[0])

    def asset(key: list[str]) -> dg.AssetsDefinition:
        @dg.asset(key=key, partitions_def=grid, backfill_policy=dg.BackfillPolicy.single_run())
        def nothing() -> dg.MaterializeResult:  # type: ignore[type-arg]
            return dg.MaterializeResult(metadata={"dagster/partition_row_count": 2, "cost_usd": 0.1})

        return nothing

    with instance_of(home) as instance:
        keys = instance.get_dynamic_partitions(MODELS)
        began = time.monotonic()
        tags = {
            "dagster/asset_partition_range_start": f"{months[0]}|{keys[0]}",
            "dagster/asset_partition_range_end": f"{months[-1]}|{keys[-1]}",
        }
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        assert dg.materialize([asset(key) for key in MADE], instance=instance, tags=tags, run_config=quiet).success
        print(
            f"{len(MADE) * len(months) * len(keys):,} partitions reported in {time.monotonic() - began:.0f} s",
            flush=True,
        )


def _made_anew(home: Home, month: str) -> None:
    """One cell of attempts has been made since."""
    from hapi_pipeline.partitions import MODELS

    with instance_of(home) as instance:
        key = instance.get_dynamic_partitions(MODELS)[-1]
        instance.report_runless_asset_event(dg.AssetMaterialization(MADE[2], partition=f"{month}|{key}"))


def _page(page: Page, port: int, name: str, path: str) -> float:
    """Seconds until a page has been quiet for half a second, without that half second."""
    began = time.monotonic()
    page.goto(f"http://127.0.0.1:{port}{path}")
    page.wait_for_load_state("networkidle", timeout=120_000)
    seconds = time.monotonic() - began - 0.5
    print(f"{name:<20} {seconds:5.1f} s  load {os.getloadavg()[0]:.1f}", flush=True)
    return seconds


def _ticks(home: Home) -> float:
    """The longest tick of all sensors, in seconds; each sensor's is printed."""
    from dagster._core.definitions.run_request import InstigatorType

    longest = 0.0
    with instance_of(home) as instance:
        for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
            ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id)
            took = [t.tick_data.end_timestamp - t.timestamp for t in ticks if t.tick_data.end_timestamp]
            if took:
                longest = max(longest, *took)
                failed = sum(t.status.value == "FAILURE" for t in ticks)
                print(
                    f"{state.instigator_name:<20} {len(took):3d} ticks, longest {max(took):5.2f} s, {failed} failed",
                    flush=True,
                )
    return longest


if __name__ == "__main__":
    sys.exit(main())
