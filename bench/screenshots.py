"""Makes the screenshots of docs/tour.md anew, from the real UI in a real browser.

    hapi demo --home DIR && python -m bench.screenshots --home DIR [--out docs/images] [--only rates check …]

It works on a copy of the home: there it registers one more simulated model, has it attempt everything by a backfill of
the UI, and spoils a partition so that a check fails. Needs the dev extra (playwright) and Debian's chromium; takes some
minutes, most of them the daemon's own polling.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from hapi_pipeline.lake import Lake
from hapi_pipeline.operations import busy_with
from hapi_pipeline.settings import Home, project_root
from hapi_pipeline.simulate.provider import simulated_provider

WIDTH, HEIGHT = 1400, 900
NEWCOMER = """
- name: Newcomer
  litellm: hosted_vllm/sim-gpt-5
  api_base: ADDRESS
  prices: [{from: "2020-01-01", input: 1.0, output: 4.0}]
  pool: {name: newcomer, concurrency: 8}
"""
LATENCY_MS = 1500
"""What the newcomer takes to answer, so that its backfill is under way long enough to be looked at."""
SPOILT = "2026-09"
_COLOURS, _MOST_BYTES = 128, 250_000


def main() -> None:
    """Copy the home, start the UI on the copy, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=project_root() / "docs" / "images")
    parser.add_argument("--port", type=int, default=3391)
    parser.add_argument("--only", nargs="+", choices=SHOTS, default=list(SHOTS), metavar="NAME")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hapi-tour-", ignore_cleanup_errors=True) as folder:
        home = Home(Path(folder) / "home")
        shutil.copytree(arguments.home, home.root)
        with ExitStack() as until_done, sync_playwright() as play:
            if "backfill" in arguments.only:
                slow = until_done.enter_context(simulated_provider(home.root / "simulator", LATENCY_MS))
                with (home.registry / "models.yaml").open("a") as models:
                    models.write(NEWCOMER.lstrip("\n").replace("ADDRESS", slow))
            address = until_done.enter_context(served(home, arguments.port))
            browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            for name in arguments.only:
                SHOTS[name](Tour(page, address, home, arguments.out))
                print(name, flush=True)
            browser.close()


class Tour:
    """A browser on the UI of a home."""

    def __init__(self, page: Page, address: str, home: Home, out: Path):
        self.page, self.address, self.home, self.out = page, address, home, out

    def go(self, path: str, seconds: float = 3.0) -> Page:
        """Open a page and wait until it has settled."""
        self.page.goto(self.address + path)
        self.page.wait_for_load_state("networkidle", timeout=60_000)
        self.page.wait_for_timeout(seconds * 1000)
        return self.page

    def keep(self, name: str, height: int = HEIGHT) -> None:
        """Write what is seen, with few enough colours to be small."""
        path = self.out / f"{name}.png"
        self.page.screenshot(path=path, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
        with Image.open(path) as image:
            image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size > _MOST_BYTES:
            raise SystemExit(f"{path} has {path.stat().st_size:,} bytes")

    def ask(self, query: str, **variables: Any) -> Any:
        """Ask the UI's own interface."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.address}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)["data"]

    def hapi(self, *words: str) -> None:
        """Run a command on the home, whatever comes of it."""
        subprocess.run([sys.executable, "-m", "hapi_pipeline.cli", *words, "--home", str(self.home.root)], check=False)


def lineage(tour: Tour) -> None:
    """The whole graph, group by group."""
    page = tour.go("/asset-groups", 12)
    page.get_by_text("Hide navigation").click()
    tour.keep("lineage")


def asset(tour: Tour) -> None:
    """One asset: status, description, columns, links to its code."""
    tour.go("/assets/completion_rates")
    tour.keep("tour_asset")


def numbers(tour: Tour) -> None:
    """The preview and the numbers of a partition of attempts."""
    tour.go("/assets/agent_alone/attempts?view=events")
    tour.keep("tour_attempts")


def funnel(tour: Tour) -> None:
    """The funnel of the newest month."""
    page = tour.go("/assets/curation_funnel?view=events")
    page.get_by_text("[Show Markdown]").first.click()
    page.wait_for_timeout(1500)
    tour.keep("tour_funnel")


def reasons(tour: Tour) -> None:
    """Why jobs were left out."""
    page = tour.go("/assets/rejected_jobs?view=events")
    page.get_by_text("[Show Markdown]").first.click()
    page.wait_for_timeout(1500)
    tour.keep("tour_reasons")


def rates(tour: Tour) -> None:
    """Completion of every model with its intervals."""
    page = tour.go("/assets/leaderboard?view=events")
    page.get_by_text("[Show Markdown]").first.click()
    page.wait_for_timeout(1500)
    tour.keep("tour_rates")


def backfill(tour: Tour) -> None:
    """A new model over all months, under way."""
    months = sorted(keys["cohort"] for keys in Lake(tour.home.lake).partitions("benchmark_jobs"))
    launched = tour.ask(
        "mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename "
        "... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }",
        p={
            "assetSelection": [{"path": ["agent_alone", table]} for table in ("attempts", "packets")],
            "partitionNames": [f"{month}|Newcomer" for month in months],
            "title": "Newcomer over all months",
        },
    )["launchPartitionBackfill"]
    until(lambda: stats(tour)["numMaterialized"] > 3 * len(months), 300)
    tour.go(f"/runs/b/{launched['backfillId']}", 4)
    tour.keep("tour_backfill", 420)
    tour.go("/assets/agent_alone/attempts?view=partitions", 4)
    tour.keep("tour_partitions", 620)
    until(lambda: stats(tour)["numMaterializing"] == 0, 600)
    time.sleep(40)  # what follows by itself starts within half a minute
    until(lambda: busy_with(tour.home) is None, 600)


def stats(tour: Tour) -> Mapping[str, int]:
    """How many partitions of the first attempts are made, and being made."""
    (node,) = tour.ask(
        '{ assetNodes(assetKeys: [{path: ["agent_alone", "attempts"]}]) '
        "{ partitionStats { numMaterialized numMaterializing } } }"
    )["assetNodes"]
    found: Mapping[str, int] = node["partitionStats"]
    return found


def check(tour: Tour) -> None:
    """A check that fails on a month in which a number was changed by hand, with the rows that it found."""
    lake, scope = Lake(tour.home.lake), {"cohort": SPOILT}
    rows = lake.read("curation_funnel", scope)
    changed = [
        row | ({"n_kept": row["n_kept"] + 3} if row["rule"] == "in_scope_jobs" else {}) for row in rows.to_pylist()
    ]
    lake.write(
        "curation_funnel", rows.from_pylist(changed, rows.schema), scope, lake.inputs("curation_funnel", scope) or ""
    )
    tour.hapi("curate", "--cohort", SPOILT)
    page = tour.go("/assets/curation_funnel?view=checks")
    page.get_by_text("funnel_reconciles").first.click()
    page.wait_for_timeout(3000)
    tour.keep("tour_check")


SHOTS: Mapping[str, Callable[[Tour], None]] = {
    "lineage": lineage,
    "asset": asset,
    "attempts": numbers,
    "funnel": funnel,
    "reasons": reasons,
    "rates": rates,
    "backfill": backfill,
    "check": check,
}
"""The pictures in the order in which they are taken."""


def until(done: Callable[[], bool], seconds: float) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise SystemExit("the UI took too long")
        time.sleep(0.5)


@contextmanager
def served(home: Home, port: int) -> Iterator[str]:
    """The address of the UI of a home, which ends with the block."""
    command = [sys.executable, "-m", "hapi_pipeline.cli", "ui", "--home", str(home.root), "--port", str(port)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _loaded(address), 300)
        yield address
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(60)


def _loaded(address: str) -> bool:
    """Whether the code location answers."""
    body = json.dumps({"query": "{ assetNodes { id } }"}).encode()
    request = urllib.request.Request(f"{address}/graphql", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return bool(json.load(reply)["data"]["assetNodes"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


if __name__ == "__main__":
    main()
