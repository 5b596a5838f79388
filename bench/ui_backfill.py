"""Launches a backfill by the clicks that docs/operate.md describes, in a real browser, and follows what becomes of it.

    python bench/ui_backfill.py [--cohorts 3] [--jobs 9] [--latency-ms 150] [--work DIR] [--picture FILE]

A small home is served by `hapi ui`; in Chromium the dialog of the job `evaluate` is filled in for one model and all its
months and launched: first under a ceiling that allows half of the attempts, then, the ceiling raised, once more. Held
against what is promised: one run over all months; it has the home to itself; months turn green one by one; it ends at
its ceiling; the second makes the rest and pays for nothing twice; packets, rates and summaries follow. Exit code 0 when
all of that is so. Needs the dev extra (playwright) and Debian's chromium; takes some minutes, most of it the daemon's
own polling.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from bench.backfill_overhead import MODELS, curated
from bench.kill_daemon import billed, made
from hapi_pipeline.operations import busy_with
from hapi_pipeline.settings import Home
from hapi_pipeline.simulate.provider import simulated_provider
from tests.graph import small_world as world

PATIENCE = 600.0
_RUNS = """query { runsOrError(filter: {tags: [{key: "dagster/backfill", value: "%s"}]}) { ... on Runs { results {
    runId jobName status startTime endTime } } } }"""
_STATS = '{ assetNodes(assetKeys: [{path: ["agent_alone", "attempts"]}]) { partitionStats { numMaterialized } } }'
_DOLLARS_AN_ATTEMPT = 0.0022  # of this model in this world, about


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cohorts", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=9)
    parser.add_argument("--latency-ms", type=float, default=150.0, help="what the model takes to answer")
    parser.add_argument("--work", type=Path, help="an empty folder that is kept; default: a temporary one")
    parser.add_argument("--picture", type=Path, help="a PNG file for the dialog as it is launched")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="ui-backfill-", ignore_cleanup_errors=True) as scratch:
        work = given.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        months = [f"{2025 + n // 12}-{n % 12 + 1:02d}" for n in range(given.cohorts)]
        home, port = curated(work, months, given.jobs), world.free_port()
        with simulated_provider(home.root / "simulator", given.latency_ms) as address:
            models = MODELS.replace("simulated", address).replace("concurrency: 8", "concurrency: 2")
            (home.registry / "models.yaml").write_text(models)
            with world.ui(home, port), sync_playwright() as play:
                world.wait_for(lambda: world.answers(port), PATIENCE)
                browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                wrong = _both(browser, port, home, months, given)
                browser.close()
    print("\n".join(f"NOT RIGHT: {sentence}" for sentence in wrong) or "all right")
    return 1 if wrong else 0


def _both(browser: Browser, port: int, home: Home, months: Sequence[str], given: argparse.Namespace) -> list[str]:
    """The dialog launched twice, under a ceiling and beyond it; what was not as it should be."""
    due = len(months) * given.jobs
    half = due * _DOLLARS_AN_ATTEMPT / 2
    _ceiling(home, half)
    first = _one(browser, port, home, months, given.picture)
    print(f"first:  ceiling ${half:.3f}: {first}", flush=True)
    under_way = first["made"]
    _ceiling(home, 50)
    second = _one(browser, port, home, months, None)
    print(f"second: ceiling $50: {second}", flush=True)
    wrong = [f"{len(one['runs'])} runs instead of one" for one in (first, second) if len(one["runs"]) != 1]
    if not 0 < under_way < due:
        wrong.append(f"the ceiling let {under_way} of {due} attempts through")
    if not (first["who"] and "evaluate" in first["who"] and first["refused"] == 2):
        wrong.append(f"the run did not keep others out: {first['who']}, {first['refused']}")
    if not any(0 < seen < len(months) for seen in second["green"]):
        wrong.append(f"months did not turn green one by one: {second['green']}")
    if made(home) != due or any(count > 1 for count in billed(home).values()):
        wrong.append(f"{made(home)} of {due} attempts, {max(billed(home).values())} bills for one")
    graded = [world.graded(home, month, "New") for month in months]
    if any(eligible != given.jobs for eligible, _, _ in graded):
        wrong.append(f"rates: {graded}")
    if len(list(home.packets.glob("*"))) != due:
        wrong.append(f"{len(list(home.packets.glob('*')))} packets")
    board = home.lake / "leaderboard" / "data.parquet"
    since = time.monotonic()
    world.wait_for(board.exists, PATIENCE, 1.0)
    print(f"the summaries were there {time.monotonic() - since:.0f} s later")
    return wrong


def _one(browser: Browser, port: int, home: Home, months: Sequence[str], picture: Path | None) -> dict[str, Any]:
    """One launch of the dialog, followed until its run is over."""
    page = browser.new_page(viewport={"width": 1100, "height": 820})
    backfill = launch(page, f"http://127.0.0.1:{port}", "New", months, picture)
    began = time.monotonic()
    who, refused, green = "", 0, []
    runs: list[dict[str, Any]] = []
    while not (runs and all(run["status"] in ("SUCCESS", "FAILURE", "CANCELED") for run in runs)):
        if time.monotonic() - began > PATIENCE:
            raise SystemExit(f"The backfill does not end: {runs}")
        time.sleep(0.5)
        runs = world.ask(port, _RUNS % backfill)["runsOrError"]["results"]
        if not runs or runs[0]["status"] != "STARTED":
            continue
        if not refused:
            who = busy_with(home) or ""
            refused = _refused(home) if "evaluate" in who else 0
        green.append(int(world.ask(port, _STATS)["assetNodes"][0]["partitionStats"]["numMaterialized"]))
    page.close()
    return {
        "runs": [f"{run['jobName']} {run['status']}" for run in runs],
        "waited": round(min(run["startTime"] for run in runs) - (time.time() - (time.monotonic() - began)), 1),
        "took": round(sum(run["endTime"] - run["startTime"] for run in runs), 1),
        "made": made(home),
        "green": sorted(set(green)),
        "who": who,
        "refused": refused,
    }


def launch(page: Page, address: str, model: str, months: Sequence[str] | None, picture: Path | None = None) -> str:
    """Fill in and launch the dialog of the job `evaluate` for a model, over these months or all; the backfill's id."""
    page.goto(f"{address}/locations/hapi_pipeline/jobs/evaluate")
    page.get_by_role("button", name="Materialize all").click(timeout=60_000)
    dialog = page.get_by_role("dialog")
    if months is None:
        dialog.get_by_role("button", name="All").first.click()
    else:
        box = dialog.get_by_placeholder("ex:")
        box.fill(f"[{months[0]}...{months[-1]}]")
        box.press("Tab")
    dialog.get_by_text("Select a partition or create one").click()
    page.get_by_text(model, exact=True).first.click()
    page.keyboard.press("Escape")
    button = page.get_by_role("button", name="Launch backfill")
    page.wait_for_timeout(1000)
    if picture is not None:
        page.screenshot(path=picture, clip={"x": 200, "y": 38, "width": 702, "height": 706})
        with Image.open(picture) as image:
            image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(picture, optimize=True)
    button.click()
    said = page.get_by_text("Created backfill").first
    said.wait_for(timeout=60_000)
    found = re.search(r"Created backfill\s+(\w+)", said.locator("..").inner_text())
    if found is None:
        raise SystemExit("The UI does not name the backfill that it made.")
    return found.group(1)


def _ceiling(home: Home, dollars: float) -> None:
    path = home.registry / "benchmark.yaml"
    path.write_text(re.sub(r"(?m)^  max_usd: \S+", f"  max_usd: {dollars}", path.read_text()))


def _refused(home: Home) -> int:
    """The exit code of a command that finds the run at work."""
    words = [sys.executable, "-m", "hapi_pipeline.cli", "--home", str(home.root), "refresh"]
    return subprocess.run(words, capture_output=True).returncode


if __name__ == "__main__":
    sys.exit(main())
