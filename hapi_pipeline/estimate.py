"""What a backfill would do and what it is likely to cost, said before any money is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hapi_pipeline.agents.ledger import AttemptLedger
from hapi_pipeline.agents.provider import cost_of
from hapi_pipeline.agents.run import TYPICAL_TOKENS
from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.evaluation import Cell, open_tasks, tasks_of
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import AgentLimits, Model, Registry
from hapi_pipeline.rounds import ROUNDS
from hapi_pipeline.settings import Home


@dataclass(frozen=True)
class RoundPlan:
    """One round of a model over some months: attempts due and missing, and the months that lack some."""

    round: str
    due: int
    missing: int
    cells: int


@dataclass(frozen=True)
class Basis:
    """Mean tokens of an attempt by kind, over `attempts` of this model or of others; a guess where there are none."""

    usage: Mapping[str, int]
    attempts: int
    of: str

    def __str__(self) -> str:
        tokens = f"{self.usage['prompt']:,} tokens sent and {self.usage['completion']:,} received"
        if not self.attempts:
            return f"by today's price list and a guess of {tokens}, for no attempt has been made yet"
        return f"by today's price list and the mean of {self.attempts:,} attempts of {self.of}, {tokens}"


def estimate(home: Home, model: Model, cohorts: Sequence[str]) -> str:
    """The attempts missing in each round as things stand, their likely cost, and what the figure rests on.

    Later rounds depend on verdicts that are not in yet, so they are counted only as far as verdicts are.
    """
    lake, limits = Lake(home.lake), Registry.of(home).benchmark.agent
    plans = plan_rounds(home, model, cohorts)
    lines = [
        f"  {p.round:12} {p.due:6,} due, {p.missing:6,} to be made"
        + (f" in {p.cells:,} of {len(cohorts):,} months" if p.missing else "")
        for p in plans
    ]
    months = f"{cohorts[0]} to {cohorts[-1]}" if len(cohorts) > 1 else cohorts[0]
    head = f"{model.name} over {len(cohorts)} month(s), {months}:"
    cost = likely_cost(model, sum(p.missing for p in plans), basis_of(lake, model), limits)
    return "\n".join([head, *lines, cost])


def forecast(home: Home, cohorts: Sequence[str]) -> str:
    """What a refresh of these months would attempt and spend, model by model, as things stand."""
    lake, registry = Lake(home.lake), Registry.of(home)
    lines = []
    for model in registry.models:
        missing = 0 if model.retired or model.external else sum(p.missing for p in plan_rounds(home, model, cohorts))
        if missing:
            cost = likely_cost(model, missing, basis_of(lake, model), registry.benchmark.agent)
            lines.append(f"  {model.name}: {missing:,} to be made. {cost}")
    months = f"{len(cohorts)} month(s), {cohorts[0]} to {cohorts[-1]}" if len(cohorts) > 1 else cohorts[0]
    if not lines:
        return f"Attempts over {months}: none is to be made."
    later = "Rounds with feedback are counted as far as verdicts are in."
    return "\n".join([f"Attempts over {months}:", *lines, later])


def plan_rounds(home: Home, model: Model, cohorts: Sequence[str]) -> list[RoundPlan]:
    """What is due and what is missing, by round."""
    lake, ledger = Lake(home.lake), AttemptLedger(home.attempts)
    benchmark = Registry.of(home).benchmark
    plans = []
    for this in ROUNDS:
        due = [tasks_of(lake, ledger, Cell(cohort, model, this), benchmark) for cohort in cohorts]
        missing = [len(open_tasks(ledger, tasks, benchmark.agent)) for tasks in due]
        plans.append(RoundPlan(this.name, sum(map(len, due)), sum(missing), sum(n > 0 for n in missing)))
    return plans


def likely_cost(model: Model, missing: int, basis: Basis, limits: AgentLimits) -> str:
    """What so many attempts are likely to cost, and the most that they can, in a sentence."""
    today = datetime.now(UTC).date()
    problem = model.price_problem(today)
    if model.external:
        return "An external model's attempts are imported, not made."
    if model.command:
        return "Cost unknown: a program says itself what it has spent."
    if problem is not None:
        return "Cost unknown. " + (problem if not model.simulated else "The model is simulated and has no price.")
    each = cost_of(basis.usage, model.price_on(today)) or 0.0
    most = f" No attempt goes on beyond ${limits.max_cost_usd:,.2f} and one last call." if limits.max_cost_usd else ""
    return f"Likely cost: ${each * missing:,.2f} (${each:.4f} an attempt, {basis}).{most}"


def basis_of(lake: Lake, model: Model) -> Basis:
    """Mean tokens of this model's attempts, else of all others', else a guess."""
    with connect() as connection:
        open_tables(connection, lake, ["attempts"])
        for where, of in (("model = $name", model.name), ("$name IS NOT NULL", "other models")):
            sent, received, cached, count = connection.execute(
                "SELECT avg(prompt_tokens), avg(completion_tokens), avg(cached_tokens), count(*) FROM attempts "  # noqa: S608
                f"WHERE steps > 0 AND {where}",
                {"name": model.name},
            ).fetchall()[0]
            if count:
                usage = {"prompt": round(sent), "completion": round(received), "cached": round(cached), "written": 0}
                return Basis(usage, count, of)
    sent, received = TYPICAL_TOKENS
    return Basis({"prompt": sent, "completion": received, "cached": 0, "written": 0}, 0, "no model")
