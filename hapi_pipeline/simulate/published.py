"""The published completion rates, and which of them some whole number of jobs can give at all."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from pathlib import Path

from hapi_pipeline.settings import UserError, shipped

COLUMN_OF_ROUND = {"agent_alone": "before_pct", "feedback_1": "after_1_turn_pct"}
"""Published column of each round that the category table was published for."""


@dataclass(frozen=True)
class PublishedCell:
    """One published percentage, with the number of jobs that comes nearest to it."""

    category: str  # "all" for the figures over all categories
    n_jobs: int
    model: str
    round: str  # agent_alone or feedback_1, cumulative
    percent: str  # as published, for example "57.9"
    count: int  # completed jobs
    possible: bool  # whether `count` of `n_jobs` rounds to `percent` at the published precision


def published_cells(path: Path | None = None) -> list[PublishedCell]:
    """The published category table, cell by cell, in the order of the file (default: the bundled copy)."""
    return _cells("category", path)


def published_overall(path: Path | None = None) -> list[PublishedCell]:
    """The published figures over all categories; they do not follow from the category table."""
    return _cells("overall", path)


def nearest_count(percent: str, n_jobs: int) -> tuple[int, bool]:
    """The number of jobs whose share comes nearest to a published percentage, and whether it rounds to it.

    Both ways of rounding a half are accepted, because the authors do not say which they used.
    """
    published = Decimal(percent)
    shares = {count: Decimal(100 * count) / Decimal(n_jobs) for count in range(n_jobs + 1)}
    count = min(shares, key=lambda k: abs(shares[k] - published))
    possible = any(
        shares[count].quantize(published, rounding=way) == published for way in (ROUND_HALF_UP, ROUND_HALF_EVEN)
    )
    return count, possible


def _cells(scope: str, path: Path | None) -> list[PublishedCell]:
    path = path or shipped("data/sample") / "published_results.csv"
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if row["scope"] == scope]
            return [_cell(row, name) for row in rows for name in COLUMN_OF_ROUND]
    except FileNotFoundError:
        raise UserError(f"{path} is missing; it holds the published results.") from None
    except (KeyError, TypeError, ArithmeticError, ValueError) as error:
        raise UserError(f"{path} is not a table of published results: {error!r}.") from error


def _cell(row: dict[str, str], round_name: str) -> PublishedCell:
    percent, n_jobs = row[COLUMN_OF_ROUND[round_name]].strip(), int(row["n_jobs"])
    count, possible = nearest_count(percent, n_jobs)
    return PublishedCell(row["category"], n_jobs, row["model"], round_name, percent, count, possible)
