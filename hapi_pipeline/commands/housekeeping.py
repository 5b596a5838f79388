"""`hapi doctor` and `hapi prune`: is the home sound, and making its history of runs shorter."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta

from hapi_pipeline.commands.arguments import Add
from hapi_pipeline.settings import Home, UserError


def add_to(add: Add) -> None:
    """Add the commands."""
    examined = add("doctor", doctor, "Say whether this home is sound, and what to do about what is not.")
    examined.add_argument("--quick", action="store_true", help="look at files without reading them through")
    examined.add_argument("--format", choices=("table", "json"), default="table")
    pruned = add("prune", prune, "Shorten the history of runs that Dagster keeps; tables and ledgers stay as they are.")
    pruned.add_argument(
        "--older-than", type=age, default=timedelta(days=90), metavar="AGE", help="e.g. 90d, 12w (default: 90d)"
    )
    pruned.add_argument("--yes", action="store_true", help="do it; without it, only say what would go")


def age(text: str) -> timedelta:
    """A span of days or weeks."""
    match = re.fullmatch(r"([1-9]\d{0,4})([dw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age; write days or weeks, e.g. 90d or 12w")
    return timedelta(days=int(match[1]) * (7 if match[2] == "w" else 1))


def doctor(arguments: argparse.Namespace, home: Home) -> int:
    """Examine a home; 1 when something has to be mended."""
    from hapi_pipeline import doctor as of

    _needs(home)
    look, findings = of.Look(home, arguments.quick), list[of.Finding]()
    for finding in of.examine(look):
        if arguments.format == "table":
            area = "" if findings and findings[-1].area == finding.area else finding.area
            print(of.line(area, finding), flush=True)
        findings.append(finding)
    print(of.as_json(findings) if arguments.format == "json" else of.verdict(findings))
    return 1 if any(finding.state == of.PROBLEM for finding in findings) else 0


def prune(arguments: argparse.Namespace, home: Home) -> int:
    """Shorten the history of runs, or say what would go."""
    from hapi_pipeline.operations import at_work, instance_of
    from hapi_pipeline.progress import Progress
    from hapi_pipeline.prune import carry_out, plan

    _needs(home)
    if not (home.dagster / "dagster.yaml").exists():
        print("Nothing has run here yet.")
        return 0
    before = datetime.now(UTC) - arguments.older_than
    with at_work(home), instance_of(home) as instance:
        found = plan(home, instance, before)
        kept = f" {found.kept:,} as old stay: they hold the newest event of some partition." if found.kept else ""
        if not found.runs:
            print(f"None of {found.total:,} run(s) goes: none is older than {before:%Y-%m-%d} and superseded.{kept}")
            return 0
        runs = f"{len(found.runs):,} of {found.total:,} run(s), from {found.oldest:%Y-%m-%d} to {before:%Y-%m-%d}"
        if not arguments.yes:
            size = f"{found.bytes / 1e6:,.1f} MB and their share of the index"
            print(f"Would take {runs}, out of the history: {size}.{kept}")
            print("Nothing has changed. `hapi prune --yes` does it; tables and ledgers stay as they are.")
            return 0
        with Progress("prune: runs") as progress:
            freed = carry_out(home, instance, found, lambda done: progress.show(done, len(found.runs)))
    print(f"Took {runs}, out of the history: {freed / 1e6:,.1f} MB freed.{kept}")
    return 0


def _needs(home: Home) -> None:
    if not home.exists():
        raise UserError(f"{home.address} is not a home; `hapi import jobs` and `hapi init` make one.")
