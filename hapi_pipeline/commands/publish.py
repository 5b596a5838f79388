"""Commands that show and publish results: `hapi show`, `hapi warehouse`, `hapi feed`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hapi_pipeline.commands.arguments import Add, count
from hapi_pipeline.settings import Home, UserError

if TYPE_CHECKING:
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.plots.views import Chosen
    from hapi_pipeline.registry import Registry
    from hapi_pipeline.release.searched import Searched

VIEWS = ("leaderboard", "lift", "funnel", "categories", "economics", "agreement", "turns", "comparisons")
"""The views of `hapi_pipeline.plots.views`, which is imported only when one of them is shown."""
_FILTERS = ("window", "rule", "round", "model")
_NARROWEST, _WIDEST = 320, 2000


def add_to(add: Add) -> None:
    """Add the commands."""
    shown = add("show", show, "Show results on the terminal, each with its interval, or draw them as a picture.")
    shown.add_argument("view", choices=VIEWS, metavar="VIEW", help=", ".join(VIEWS))
    shown.add_argument("--window", choices=("all", "last_12", "post_cutoff"), help="which months (default: all)")
    shown.add_argument(
        "--rule", choices=("all_criteria", "required_criteria"), help="when a job counts as completed (see the rules)"
    )
    shown.add_argument("--round", metavar="NAME", help="only this round, e.g. agent_alone")
    shown.add_argument("--model", metavar="NAME", help="only this model")
    shown.add_argument("--png", type=Path, metavar="FILE", help="draw a picture instead")
    shown.add_argument("--svg", type=Path, metavar="FILE", help="draw an SVG file instead")
    shown.add_argument(
        "--theme", choices=("light", "dark", "auto"), help="of the picture (default: light; SVG: auto, as the reader's)"
    )
    shown.add_argument("--width", type=count, default=720, metavar="PIXELS", help="of the picture (default: 720)")

    stored = add("warehouse", warehouse, "Write all public tables into one DuckDB file, with comments and examples.")
    stored.add_argument("--out", type=Path, metavar="FILE", help="default: releases/hapi.duckdb of the home")

    fed = add("feed", feed, "Write the headline tables as JSON for other people's pages.")
    fed.add_argument("--out", type=Path, metavar="FILE", help="default: releases/feed/v1/leaderboard.json of the home")


def show(arguments: argparse.Namespace, home: Home) -> int:
    """Print or draw one view."""
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.plots.terminal import pen_for
    from hapi_pipeline.plots.views import VIEWS as KNOWN
    from hapi_pipeline.plots.views import text_of

    registry = _registry(home)
    view = KNOWN[arguments.view]
    unused = [f"--{name}" for name in _FILTERS if getattr(arguments, name) and name not in view.options]
    if unused:
        raise UserError(f"`hapi show {view.name}` is the same for all; leave {', '.join(unused)} out.")
    chosen = _chosen(arguments, registry)
    rows = view.rows(Lake(home.lake), chosen)
    if arguments.png is None and arguments.svg is None:
        if arguments.theme:
            raise UserError("--theme is of pictures; name a file with --png or --svg.")
        print(text_of(view, rows, chosen, pen_for(sys.stdout)))
        return 0
    if not _NARROWEST <= arguments.width <= _WIDEST:
        raise UserError(f"--width is from {_NARROWEST} to {_WIDEST} pixels.")
    _draw(view.chart(rows, chosen, arguments.width), arguments)
    return 0


def _draw(svg: str, arguments: argparse.Namespace) -> None:
    """Write the files that were asked for."""
    from hapi_pipeline.lake import write_bytes
    from hapi_pipeline.plots.svg import standalone

    if arguments.png is not None and arguments.theme == "auto":
        raise UserError("A PNG file is --theme light or dark.")
    for path in (arguments.png, arguments.svg):
        if path is not None:
            _writable(path)
    if arguments.png is not None:
        from hapi_pipeline.plots.png import png

        write_bytes(arguments.png, png(svg, arguments.theme or "light"))
        print(f"Wrote {arguments.png}.")
    if arguments.svg is not None:
        write_bytes(arguments.svg, standalone(svg, arguments.theme or "auto").encode())
        print(f"Wrote {arguments.svg}.")


def _chosen(arguments: argparse.Namespace, registry: Registry) -> Chosen:
    """What of the tables is asked for."""
    from hapi_pipeline.plots.views import Chosen
    from hapi_pipeline.rounds import ROUND

    if arguments.round and arguments.round not in ROUND:
        raise UserError(f"There is no round {arguments.round!r}; rounds: {', '.join(ROUND)}.")
    model = registry.model(arguments.model).name if arguments.model else None
    rule = arguments.rule or registry.benchmark.completion_rule
    return Chosen(arguments.window or "all", rule, arguments.round, model)


def warehouse(arguments: argparse.Namespace, home: Home) -> int:
    """Write the warehouse."""
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.operations import publishing
    from hapi_pipeline.warehouse import build_warehouse, warehouse_path

    registry = _registry(home)
    out = _writable(arguments.out) if arguments.out else warehouse_path(home)
    lake = Lake(home.lake)
    with publishing(home, arguments.out):
        held = search_first(lake, registry, home)
        done = build_warehouse(lake, registry, home, out)
    print(
        f"Wrote {out}: {done.tables} tables with {done.rows:,} rows and {done.examples} example views, "
        f"{done.bytes / 1e6:,.1f} MB{_simulated(done.simulated)}.\n"
        "Open it with DuckDB 1.4 or newer; start with the view example_tables."
    )
    return said(held)


def feed(arguments: argparse.Namespace, home: Home) -> int:
    """Write the feed."""
    from hapi_pipeline.feed import build_feed, feed_path
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.operations import publishing

    registry = _registry(home)
    out = _writable(arguments.out) if arguments.out else feed_path(home)
    with publishing(home, arguments.out):
        done = build_feed(Lake(home.lake), registry, out)
    print(
        f"Wrote {out}: {done.rows:,} rows about {done.models} model(s), {done.bytes / 1e3:,.0f} kB"
        f"{_simulated(done.simulated)}; its schema is {done.schema.name} beside it."
    )
    return 0


def published(home: Home) -> int:
    """Bring all that is published up to date and say where the report is; 1 where some of it could not be made, or jobs
    are held back."""
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.operations import RunFailedError, publish
    from hapi_pipeline.registry import Registry

    try:
        held = search_first(Lake(home.lake), Registry.of(home), home)
        report = publish(home)
    except (RunFailedError, UserError) as error:
        print(f"hapi: the results are up to date, but not all could be published: {error}", file=sys.stderr)
        return 1
    print(f"Report: {report}")
    return said(held)


def search_first(lake: Lake, registry: Registry, home: Home) -> Searched:
    """Search for personal data what is about to be shown, and say how far it is; what follows does not search again."""
    from hapi_pipeline.progress import Progress
    from hapi_pipeline.release.searched import searched

    with Progress("Files searched for personal data:") as progress:
        return searched(lake, registry, home, progress.show)


def said(held: Searched) -> int:
    """Say last what is held back; the exit code."""
    if held.said:
        print(held.said)
    return 1 if held.held else 0


def _simulated(simulated: bool) -> str:
    return ", SIMULATED DATA" if simulated else ""


def _registry(home: Home) -> Registry:
    """The registry of a home that has results."""
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.registry import Registry

    if not home.exists():
        raise UserError(f"{home.address} is not a home; `hapi import jobs` and `hapi init` make one.")
    if not Lake(home.lake).files("leaderboard"):
        raise UserError("There are no results yet; `hapi refresh` makes them.")
    return Registry.of(home)


def _writable(path: Path) -> Path:
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file.")
    if not path.absolute().parent.is_dir():
        raise UserError(f"There is no folder {path.absolute().parent}; make it first.")
    return path
