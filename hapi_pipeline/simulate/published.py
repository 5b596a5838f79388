"""The published completion rates, and which of them some whole number of jobs can give at all."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from pathlib import Path

from hapi_pipeline.settings import UserError, shipped

COLUMN_OF_ROUND = {"agent_alone": "before_pct", "feedback_1": "after_1_turn_pct"}
"""Published column of each round that the category table was published for."""


PUBLISHED_RESCUE = {"Claude Sonnet 4": "23.3", "Gemini 2.5 Pro": "18.0", "GPT-5": "19.0"}
"""Published percent of failed jobs that the first turn rescued, by model."""
PUBLISHED_SCORES = {"Claude Sonnet 4": (0.26, 0.16), "Gemini 2.5 Pro": (0.30, 0.21), "GPT-5": (0.27, 0.16)}
"""Published mean share of criteria passed by the agent alone: over all jobs, and over those not complete."""


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


def contradictions(path: Path | None = None) -> list[str]:
    """Where the published figures contradict each other, a sentence each, worked out from the figures themselves."""
    cells, overall = published_cells(path), {(c.model, c.round): c for c in published_overall(path)}
    found = []
    for model in dict.fromkeys(c.model for c in cells):
        before, after = overall[model, "agent_alone"], overall[model, "feedback_1"]
        for cell in (before, after):
            summed = sum(c.count for c in cells if (c.model, c.round) == (model, cell.round))
            if summed != cell.count:
                found.append(
                    f"{model}, {cell.round}: the categories add up to {summed} of {cell.n_jobs} jobs "
                    f"({100 * summed / cell.n_jobs:.1f} %), the headline of {cell.percent} % is {cell.count}."
                )
        rescued, failed, rate = after.count - before.count, before.n_jobs - before.count, float(PUBLISHED_RESCUE[model])
        tried = round(100 * rescued / rate)
        if tried != failed:
            found.append(
                f"{model}: {rescued} jobs rescued are {rate} % of {tried}, but {failed} had failed (of which they are "
                f"{100 * rescued / failed:.1f} %): {failed - tried} seem not to have been tried again."
            )
        passed = (PUBLISHED_SCORES[model][0] - failed / before.n_jobs * PUBLISHED_SCORES[model][1]) / (
            before.count / before.n_jobs
        )
        if passed < LEAST_PASSED:
            found.append(
                f"{model}: mean scores of {PUBLISHED_SCORES[model][0]:.2f} over all jobs and "
                f"{PUBLISHED_SCORES[model][1]:.2f} over incomplete ones mean that complete jobs passed only "
                f"{100 * passed:.0f} % of their criteria."
            )
    return found


LEAST_PASSED = 0.9
"""A complete job passes every critical and important criterion; that it fails more than a tenth of all is odd."""


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
