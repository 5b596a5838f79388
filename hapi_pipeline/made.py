"""What a published thing was made from, beside the thing: so that it is made anew only when that has changed.

What belongs here: the fingerprint of published tables and the note of it. What does not: making anything.
"""

from __future__ import annotations

import json
from pathlib import Path

from hapi_pipeline import __version__
from hapi_pipeline.lake import Lake, write_bytes
from hapi_pipeline.naming import digest
from hapi_pipeline.registry import Registry
from hapi_pipeline.release.public import PUBLIC, public_sql, public_table

PLACES = {"report": "report", "warehouse": "hapi.duckdb", "leaderboard_feed": "feed/v1/leaderboard.json"}
"""What every refresh keeps up to date, by asset: where it stands below the home's `releases/`."""


def made_from(lake: Lake, registry: Registry) -> str:
    """Changes when anything that is published could: rows, declarations, what is cleared, rules, models, version."""
    tables = [
        f"{name}={lake.state(name, {})} {public_sql(name)} {public_table(name).columns!r}" for name in sorted(PUBLIC)
    ]
    settings = repr((registry.benchmark, registry.benchmark.publish, registry.models))
    return digest(__version__, settings, *tables, *cleared(lake, registry))


def cleared(lake: Lake, registry: Registry) -> list[str]:
    """Every job of the benchmark, with why it may not be published or nothing."""
    from hapi_pipeline.publication import clearance

    return [f"{job}={reason}" for job, reason in sorted(clearance(lake, registry).items())]


def note_of(made: Path) -> Path:
    """Where what a file or folder was made from is written down."""
    return made.parent / f".{made.name}.made_from"


def is_current(made: Path, state: str) -> bool:
    """Whether a file or folder is there and was made from this."""
    try:
        return made.exists() and json.loads(note_of(made).read_text("utf-8")) == state
    except (OSError, ValueError):
        return False


def noted(made: Path, state: str) -> None:
    """Write down what it was made from, once it stands."""
    write_bytes(note_of(made), json.dumps(state).encode())
