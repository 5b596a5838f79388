"""What a backfill would do and what it is likely to cost, said before any money is spent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.evaluation import Cell, open_tasks, tasks_of
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Model, Registry
from hapi_pipeline.rounds import ROUNDS
from hapi_pipeline.settings import Home

_GUESS = (6000.0, 2500.0)
"""Tokens sent and received by an attempt, where no attempt of any model has been made yet: a guess, and named so."""


def estimate(home: Home, model: Model, cohorts: Sequence[str]) -> str:
    """The attempts missing in each round as things stand, their likely cost, and what the figure rests on.

    Later rounds depend on verdicts that are not in yet, so they are counted only as far as verdicts are.
    """
    from hapi_pipeline.agents.ledger import AttemptLedger

    lake, ledger = Lake(home.lake), AttemptLedger(home.attempts)
    benchmark = Registry.of(home).benchmark
    lines, missing = [], 0
    for this in ROUNDS:
        due = [t for c in cohorts for t in tasks_of(lake, ledger, Cell(c, model, this), benchmark)]
        left = len(open_tasks(ledger, due, benchmark.agent))
        missing += left
        lines.append(f"  {this.name:12} {len(due):6,} due, {left:6,} to be made")
    sent, received, basis = _tokens_an_attempt(lake, model)
    price = model.price_on(datetime.now(UTC).date())
    if model.external:
        cost = "An external model's attempts are imported, not made."
    elif price is None:
        cost = "Cost unknown: the registry has no price for this model."
    else:
        each = (sent * price.input + received * price.output) / 1e6
        cost = f"Likely cost: ${each * missing:,.2f} (${each:.4f} an attempt, {basis})."
    months = f"{cohorts[0]} to {cohorts[-1]}" if len(cohorts) > 1 else cohorts[0]
    return "\n".join([f"{model.name} over {len(cohorts)} month(s), {months}:", *lines, cost])


def _tokens_an_attempt(lake: Lake, model: Model) -> tuple[float, float, str]:
    """Mean tokens sent and received by an attempt, and where the figure comes from."""
    with connect() as connection:
        open_tables(connection, lake, ["attempts"])
        for where, basis in (
            ("model = $name", f"as in {{}} attempts of {model.name}"),
            ("$name IS NOT NULL", "as in {} attempts of other models"),
        ):
            row = connection.execute(
                "SELECT avg(prompt_tokens), avg(completion_tokens), count(*) FROM attempts "  # noqa: S608
                f"WHERE steps > 0 AND {where}",
                {"name": model.name},
            ).fetchall()[0]
            if row[2]:
                return row[0], row[1], basis.format(f"{row[2]:,}")
    return *_GUESS, "a guess, for no attempt has been made yet"
