"""What a published thing was made from, beside the thing: so that it is made anew only when that has changed.

What belongs here: the fingerprint of published tables and the note of it. What does not: making anything.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

from hapi_pipeline import __version__
from hapi_pipeline.lake import Lake, write_bytes
from hapi_pipeline.naming import digest
from hapi_pipeline.registry import Registry
from hapi_pipeline.release.memory import code_of, search_version
from hapi_pipeline.release.public import PUBLIC, public_sql, public_table
from hapi_pipeline.settings import shipped

PLACES = {"report": "report", "warehouse": "hapi.duckdb", "leaderboard_feed": "feed/v1/leaderboard.json"}
"""What every refresh keeps up to date, by asset: where it stands below the home's `releases/`."""


_PRIVATE_BUT_COUNTED = ("job_exports", "job_posts", "rejected_jobs", "grader_profiles")
"""Tables that stay, of which the report shows numbers."""


def made_from(lake: Lake, registry: Registry) -> str:
    """Changes when anything that is published could: rows, declarations, what is cleared, rules, models, and the code,
    templates and texts of the report and of the search for personal data."""
    tables = [
        f"{name}={lake.state(name, {})} {public_sql(name)} {public_table(name).columns!r}" for name in sorted(PUBLIC)
    ]
    settings = repr((registry.benchmark, registry.benchmark.publish, registry.models))
    counted = [f"{name}={lake.state(name, {})}" for name in _PRIVATE_BUT_COUNTED]
    looked_at = [f"{sha256}={note}" for sha256, note in sorted(registry.cleared_findings.items())]
    return digest(
        __version__, _code(), search_version(), settings, *tables, *counted, *cleared(lake, registry), *looked_at
    )


@functools.cache
def _code() -> str:
    """What pages, charts and the other things that are published are made with."""
    package = Path(__file__).parent
    files = (f"{name}.py" for name in ("comparisons", "feed", "publication", "rounds", "warehouse"))
    return code_of(
        package / "report", package / "plots", package / "release", *(package / name for name in files),
        shipped("docs/methodology.md"), shipped("docs/data_dictionary.md"), shipped("sql/examples"),
    )  # fmt: skip


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
