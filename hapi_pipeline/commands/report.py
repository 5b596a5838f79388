"""`hapi report`: the tables as a site that anybody can read."""

from __future__ import annotations

import argparse
from pathlib import Path

from hapi_pipeline.commands.arguments import Add
from hapi_pipeline.settings import Home, UserError


def add_to(add: Add) -> None:
    """Add `hapi report`."""
    command = add("report", report, "Build the report: a static site that opens from a folder, without a network.")
    command.add_argument("--out", type=Path, metavar="DIR", help="where to (default: releases/report of the home)")
    command.add_argument("--open", action="store_true", help="show it in the browser")


def report(arguments: argparse.Namespace, home: Home) -> int:
    """Build the site; say where it is."""
    from hapi_pipeline.commands.publish import said, search_first
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.operations import publishing
    from hapi_pipeline.registry import Registry
    from hapi_pipeline.report import build_report

    if not home.exists():
        raise UserError(f"{home.address} is not a home; `hapi import jobs` and `hapi init` make one.")
    out = arguments.out.expanduser().absolute() if arguments.out else home.releases / "report"
    lake, registry = Lake(home.lake), Registry.of(home)
    with publishing(home, arguments.out):
        held = search_first(lake, registry, home)
        first = build_report(lake, registry, home, out)
    print(f"The report: {first}")
    if arguments.open:
        import webbrowser

        webbrowser.open(first.as_uri())
    return said(held)
