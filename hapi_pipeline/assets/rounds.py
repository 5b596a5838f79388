"""Rounds: attempts out to models, packets out to graders, verdicts back in. One factory makes them all."""

import functools
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from hapi_pipeline.assets.factory import (
    OWNERS,
    definition_metadata,
    dependencies,
    partition_key,
    partition_keys,
    reported,
    row_count,
    run_metadata,
    write_partitions,
)
from hapi_pipeline.assets.piecemeal import Piecemeal
from hapi_pipeline.assets.shown import told
from hapi_pipeline.checks import inline as checks
from hapi_pipeline.dead_runs import STARTED_BY
from hapi_pipeline.engine import query, run
from hapi_pipeline.partitions import cells, scope_of
from hapi_pipeline.progress import Progress
from hapi_pipeline.recipes import inputs_fingerprint, recipes
from hapi_pipeline.registry import Model, Pool
from hapi_pipeline.resources import HapiHome, part_of_run
from hapi_pipeline.rounds import ROUND, ROUNDS, Round
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    from hapi_pipeline.agents.ledger import AttemptLedger, Result
    from hapi_pipeline.agents.pools import Budget, Limits
    from hapi_pipeline.agents.tasks import Task
    from hapi_pipeline.evaluation import Cell


def round_assets(first: str) -> list[dg.AssetsDefinition]:
    """The assets of every round."""
    return [
        asset for r in ROUNDS for asset in evaluation_round(r.name, after=r.after, feedback=r.feedback, first=first)
    ]


def evaluation_round(name: str, *, after: str | None, feedback: bool, first: str) -> list[dg.AssetsDefinition]:
    """attempts, packets and verdicts of one round, which starts from the verdicts of the round `after`."""
    this = ROUND[name]
    helped = " with the graders' feedback" if feedback else ""
    start = f" Tries the jobs that {after} left incomplete, again{helped}." if after else ""

    def asset(
        table: str, deps: Sequence[dg.AssetDep], kinds: set[str], pool: str | None = None
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        made = query("verdicts") if table == "verdicts" else None
        return dg.asset(
            key=[name, table],
            deps=deps,
            partitions_def=cells(first),
            backfill_policy=dg.BackfillPolicy.single_run(),
            group_name=name,
            kinds=kinds,
            owners=OWNERS,
            description=f"{this.meaning} {TABLES[table].meaning}{start if table == 'attempts' else ''}",
            metadata=definition_metadata(TABLES[table], made),
            tags={"hapi/round": name},
            pool=pool,
            check_specs=checks.specs(dg.AssetKey([name, table])),
        )

    def checked(
        context: dg.AssetExecutionContext,
        hapi: HapiHome,
        table: str,
        inputs: Sequence[str],
        make: "Callable[[Sequence[Cell]], dg.MaterializeResult[Any]]",
    ) -> dg.MaterializeResult[Any]:
        """Make those cells that no failed check holds back, then judge what is there."""
        wanted = cells_of(context, hapi, this)

        def of(scopes: Sequence[Mapping[str, str]]) -> dg.MaterializeResult[Any]:
            return make([cell for cell in wanted if cell.keys in scopes])

        return checks.checked(context, hapi, table, inputs, [cell.keys for cell in wanted], of)

    benchmark = dependencies(TABLES["attempts"], ["benchmark_jobs"])
    rubrics = dependencies(TABLES["attempts"], ["rubrics"])
    before = [dg.AssetDep(dg.AssetKey([after, "verdicts"])), *rubrics] if after else []

    @asset("attempts", [*benchmark, *before], {"python", "parquet"}, pool="llm")
    def attempts(context: dg.AssetExecutionContext, hapi: HapiHome) -> dg.MaterializeResult:  # type: ignore[type-arg]
        make = functools.partial(attempt_cells, context, hapi)
        return checked(context, hapi, "attempts", ("benchmark_jobs", "rubrics"), make)

    @asset("packets", [dg.AssetDep(dg.AssetKey([name, "attempts"])), *rubrics], {"excel", "parquet"})
    def packets(context: dg.AssetExecutionContext, hapi: HapiHome) -> dg.MaterializeResult:  # type: ignore[type-arg]
        return checked(context, hapi, "packets", PACKET_INPUTS, functools.partial(packet_cells, context, hapi))

    ledger = dependencies(TABLES["verdicts"], ["verdict_exports"])

    @asset(
        "verdicts",
        [dg.AssetDep(dg.AssetKey([name, "packets"])), dg.AssetDep(dg.AssetKey([name, "attempts"])), *ledger],
        {"duckdb", "parquet"},
    )
    def verdicts(context: dg.AssetExecutionContext, hapi: HapiHome) -> dg.MaterializeResult:  # type: ignore[type-arg]
        recipe = recipes()["verdicts"]

        def make(cells: "Sequence[Cell]") -> dg.MaterializeResult[Any]:
            return write_partitions(context, hapi, recipe, [cell.keys for cell in cells])

        return checked(context, hapi, "verdicts", recipe.inputs, make)

    return [attempts, packets, verdicts]


def stale_assets(hapi: HapiHome, scopes: Sequence[tuple[str, Model]]) -> list[dg.AssetKey]:
    """The assets of the rounds that have something to do for these (cohort, model), in the order of the graph.

    What follows from a stale asset within the rounds is listed with it; a round whose predecessor has no verdicts
    yet cannot have anything to do.
    """
    from hapi_pipeline.evaluation import Cell

    lake, ledger, chosen = hapi.lake, hapi.ledger, hapi.registry.benchmark.rounds
    graded = set(lake.read("verdict_exports", columns=["round"])["round"].unique().to_pylist())
    stale: list[tuple[str, str]] = []
    for this in (r for r in ROUNDS if r.name in chosen and (r.after is None or r.after in graded)):
        cells = [Cell(cohort, model, this) for cohort, model in scopes]
        attempts = (this.after, "verdicts") in stale or any(
            lake.inputs("attempts", c.keys) != attempts_fingerprint(hapi, ledger, c) for c in cells
        )
        packets = attempts or any(
            lake.inputs("packets", c.keys) != inputs_fingerprint(lake, "packets", PACKET_INPUTS, c.keys, "")
            for c in cells
        )
        verdicts = this.name in graded and (
            attempts or any(lake.inputs("verdicts", c.keys) != verdicts_fingerprint(hapi, c) for c in cells)
        )
        for table, is_stale in (("attempts", attempts), ("packets", packets), ("verdicts", verdicts)):
            stale += [(this.name, table)] if is_stale else []
    return [dg.AssetKey(list(pair)) for pair in stale]


PACKET_INPUTS = ("attempts", "benchmark_jobs", "rubrics")


def verdicts_fingerprint(hapi: HapiHome, cell: "Cell") -> str:
    """The fingerprint under which `write_partitions` keeps the verdicts of a cell."""
    return recipes()["verdicts"].fingerprint(hapi.lake, hapi.registry, cell.keys)


def cells_of(context: dg.AssetExecutionContext, hapi: HapiHome, this: Round) -> "list[Cell]":
    """The months and models that a run covers, in this round."""
    from hapi_pipeline.evaluation import Cell

    registry = hapi.registry
    scopes = [scope_of(key, ("cohort", "model")) for key in partition_keys(context)]
    return [Cell(scope["cohort"], registry.model(scope["model"]), this) for scope in scopes]


def attempt_cells(
    context: dg.AssetExecutionContext, hapi: HapiHome, wanted: "Sequence[Cell]"
) -> dg.MaterializeResult[Any]:
    """Attempt what is missing in these cells, all in one event loop, and write each cell's table as it is done."""
    from hapi_pipeline.evaluation import open_tasks, tasks_of

    benchmark, ledger, lake = hapi.registry.benchmark, hapi.ledger, hapi.lake
    stale = [c for c in wanted if lake.inputs("attempts", c.keys) != attempts_fingerprint(hapi, ledger, c)]
    tasks = {cell: tasks_of(lake, ledger, cell, benchmark) for cell in stale}
    missing = open_tasks(
        ledger, [t for cell, some in tasks.items() if not cell.model.retired for t in some], benchmark.agent
    )
    to_make = [task for task in missing if may_attempt(context, task.cohort)]
    unasked = "" if len(to_make) == len(missing) else f", {len(missing) - len(to_make)} of these {UNASKED}"
    context.log.info(f"{sum(map(len, tasks.values()))} attempts are due, {len(missing)} of them are missing{unasked}")

    cells = {partition_key(cell.keys): cell for cell in tasks}
    pieces = Piecemeal(context, [(id(t), partition_key(_scope(t))) for t in to_make], len(wanted))

    def finish(partition: str) -> Mapping[str, Any]:
        """Write the table of a cell all of whose attempts have ended."""
        cell = cells[partition]
        write_attempts(hapi, ledger, cell, tasks[cell])
        return partitions_metadata(hapi, "attempts", [cell.keys])[0][0]

    this = wanted[0].round
    done = _attempted(context, hapi, ledger, this, to_make, pieces, finish) if to_make else _Attempted()
    for partition, cell in cells.items():
        if partition not in pieces.reported:
            because = [] if may_attempt(context, cell.cohort) else [f"These are {UNASKED}: hapi refresh makes them."]
            write_attempts(hapi, ledger, cell, tasks[cell], [*done.left_because(cell.model), *because])
    each, of_run = attempts_metadata(context, hapi, wanted, done.finished, len(missing))
    left_out = "\n".join([*done.left_out.values(), *done.left])
    more = jobs_by_state(hapi, wanted) | ({"run_left_out": left_out} if left_out else {})
    return pieces.result(each, of_run | more)


UNASKED = "attempts that nobody has asked for"
ATTEMPTS_IN = "hapi/attempts_in"
"""Tag of a run: the months, separated by commas, in which it may make attempts; without the tag, in all."""


def may_attempt(context: dg.AssetExecutionContext, cohort: str) -> bool:
    """Whether this run may make attempts at a month's jobs: what starts by itself may not reach into the past."""
    tag = context.run.tags.get(ATTEMPTS_IN)
    return tag is None or cohort in tag.split(",")


def _scope(task: "Task") -> dict[str, str]:
    return {"cohort": task.cohort, "model": task.model.name}


@dataclass(frozen=True)
class _Attempted:
    """What came of the attempts of a run."""

    finished: "Sequence[Result]" = ()
    left_out: Mapping[str, str] = field(default_factory=dict)  # model -> why it cannot be run at all
    left: Sequence[str] = ()  # why attempts were left, a sentence each, with the model or pool it is about before it
    others: Mapping[str, Collection[str]] = field(default_factory=dict)  # model -> names of other models and pools

    def left_because(self, model: Model) -> list[str]:
        """Why attempts of a model may be missing after this run."""
        reasons = [self.left_out[model.name]] if model.name in self.left_out else []
        others = self.others.get(model.name, ())
        return reasons + [s for s in self.left if not any(s.startswith(f"{other}: ") for other in others)]


def _attempted(
    context: dg.AssetExecutionContext,
    hapi: HapiHome,
    ledger: "AttemptLedger",
    this: Round,
    missing: "Sequence[Task]",
    pieces: Piecemeal,
    finish: Callable[[str], Mapping[str, Any]],
) -> _Attempted:
    """Make the attempts that are missing, of all models that can be run."""
    from hapi_pipeline.agents.run import obstacle, run_tasks

    models = {task.model.name: task.model for task in missing}
    names = {name for m in models.values() for name in (m.name, m.pool.name)}
    others = {m.name: names - {m.name, m.pool.name} for m in models.values()}
    simulated = any(model.simulated for model in models.values())
    budget, limits_of = bounds_of(context, hapi)
    with hapi.simulated_provider(simulated) as address, Progress(f"{this.name}: attempts") as progress:
        reasons = {name: obstacle(model, address) for name, model in models.items()}
        left_out = {name: reason for name, reason in reasons.items() if reason}
        left: list[str] = []
        finished = run_tasks(
            [task for task in missing if task.model.name not in left_out],
            ledger,
            hapi.registry.benchmark.agent,
            simulated_base=address,
            budget=budget,
            limits_of=limits_of,
            on_result=lambda task, _: pieces.done(id(task), finish),
            on_progress=lambda p: progress.show(p.done, p.total, p.note),
            on_left=left.append,
        )
    for reason in left:
        context.log.warning(reason)
    return _Attempted(finished, left_out, left, others)


def bounds_of(context: dg.AssetExecutionContext, hapi: HapiHome) -> "tuple[Budget, Callable[[Pool], Limits]]":
    """What a run may spend in all of its rounds, and what a provider pool allows it.

    A worker of a backfill has both together with the others.
    """
    from hapi_pipeline.agents.pools import budget_of, own_limits
    from hapi_pipeline.agents.shared_limits import shared_limits
    from hapi_pipeline.spending import SharedBudget
    from hapi_pipeline.workers import crew_of

    most, part = ceiling(context, hapi), part_of_run(context.run)
    if part is None:
        return budget_of(context.run.run_id, most), own_limits
    crew = crew_of(hapi.home, part.backfill)
    return SharedBudget(crew, most), functools.partial(shared_limits, crew)


def jobs_by_state(hapi: HapiHome, wanted: "Sequence[Cell]") -> dict[str, int]:
    """How many jobs of these cells are attempted, and how many are not for each of the reasons there are."""
    from hapi_pipeline.standing import STATES, counted, facts_of, standings

    lake, benchmark = hapi.lake, hapi.registry.benchmark
    cohorts, models = {cell.cohort for cell in wanted}, {cell.model.name: cell.model for cell in wanted}
    # the table attempt_outcomes is made after the rounds, so what it would hold is asked here
    outcomes = [
        row
        for scope in {(cell.cohort, cell.model.name) for cell in wanted if cell.round.after}
        for row in run(lake, query("attempt_outcomes"), dict(zip(("cohort", "model"), scope, strict=True))).to_pylist()
    ]
    facts = facts_of(lake, benchmark, cohorts=cohorts, outcomes=outcomes)
    counts = sum(counted(standings(facts, models.values(), benchmark, [wanted[0].round])).values(), Counter())
    return {f"jobs_{state}": counts[state] for state in STATES if counts[state] or state in _ALWAYS_TOLD}


_ALWAYS_TOLD = ("attempted", "failed_infra", "left")


def attempts_fingerprint(hapi: HapiHome, ledger: "AttemptLedger", cell: "Cell") -> str:
    """Changes with anything that decides what is to be attempted in a cell, or with the attempts that it has."""
    from hapi_pipeline import evaluation

    return evaluation.attempts_fingerprint(hapi.lake, ledger, cell, hapi.registry.benchmark)


def ceiling(context: dg.AssetExecutionContext, hapi: HapiHome) -> float | None:
    """The most that this run may spend in USD: its tag `hapi/max_usd`, or the default of what `hapi` did not start."""
    tag = context.run.tags.get("hapi/max_usd")
    if tag or STARTED_BY.items() <= context.run.tags.items():
        return float(tag) if tag else None
    return hapi.registry.benchmark.automation.max_usd


def write_attempts(
    hapi: HapiHome, ledger: "AttemptLedger", cell: "Cell", due: "Sequence[Task]", left_because: Sequence[str] = ()
) -> None:
    """Write the table of a cell from the ledger; it counts as up to date once nothing that is due is missing."""
    from hapi_pipeline.evaluation import attempts_of_cell
    from hapi_pipeline.intake.ledger import rows_of
    from hapi_pipeline.standing import marked_open

    rows, settled = attempts_of_cell(hapi.lake, ledger, cell, due, hapi.registry.benchmark.agent)
    seen = attempts_fingerprint(hapi, ledger, cell) if settled else marked_open(left_because)
    hapi.lake.write("attempts", rows_of("attempts", rows), cell.keys, seen)


def attempts_metadata(
    context: dg.AssetExecutionContext,
    hapi: HapiHome,
    wanted: "Sequence[Cell]",
    finished: "Sequence[Result]",
    missing: int,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Attempts, tokens, cost and failures of each partition as they stand, and what this run did."""
    scopes = [cell.keys for cell in wanted]
    metadata, total = partitions_metadata(hapi, "attempts", scopes)
    cost = sum(more["cost_usd"] for more in metadata if "cost_usd" in more)
    context.log.info(f"{len(finished)} attempts made now, {total} in all, ${cost:,.2f}")
    of_run = {
        "run_attempts_made": len(finished),
        "run_attempts_failed": sum(r.status == "infra" for r in finished),
        "run_attempts_left": missing - len(finished),
        "run_cost_usd": sum(r.cost_usd or 0.0 for r in finished),
    }
    each = dict(zip(map(partition_key, scopes), metadata, strict=True))
    return each, run_metadata(hapi, TABLES["attempts"], total, len(finished), len(wanted)) | of_run


def packet_cells(
    context: dg.AssetExecutionContext, hapi: HapiHome, wanted: "Sequence[Cell]"
) -> dg.MaterializeResult[Any]:
    """Write the packets of these cells and their tables."""
    from hapi_pipeline.evaluation import packet_rows, packet_specs, write_packets
    from hapi_pipeline.intake.ledger import rows_of

    lake, ledger, changed = hapi.lake, hapi.ledger, 0
    there = {path.name for path in hapi.home.packets.iterdir()}
    fingerprints = {cell: inputs_fingerprint(lake, "packets", PACKET_INPUTS, cell.keys, "") for cell in wanted}
    known = {cell: lake.read("packets", cell.keys, ["packet_id"])["packet_id"].to_pylist() for cell in wanted}
    stale = [
        cell
        for cell in wanted
        if lake.inputs("packets", cell.keys) != fingerprints[cell] or not there.issuperset(known[cell])
    ]
    specs = {
        cell: packet_specs(lake, cell, {r.attempt_id: r for r in ledger.results(cell.model.key, cell.round.name)})
        for cell in stale
    }
    to_write = [spec for some in specs.values() for spec in some.values()]
    made = {}
    with Progress(f"{wanted[0].round.name}: packets") as progress:
        for spec, packet in zip(to_write, write_packets(to_write, hapi.home.packets), strict=True):
            made[spec.packet_id] = packet
            progress.show(len(made), len(to_write))
    hapi.home.send("packets")  # no table names what only this machine has
    now = datetime.now(UTC)
    for cell, some in specs.items():
        rows = rows_of("packets", packet_rows(lake, cell, some, made, now))
        changed += lake.write("packets", rows, cell.keys, fingerprints[cell]).changed
    scopes = [cell.keys for cell in wanted]
    each, total = partitions_metadata(hapi, "packets", scopes)
    return reported(context, run_metadata(hapi, TABLES["packets"], total, changed, len(wanted)), scopes, each)


def partitions_metadata(
    hapi: HapiHome, table: str, scopes: Sequence[Mapping[str, str]]
) -> tuple[list[dict[str, Any]], int]:
    """What the UI shows of each partition; and the rows of all."""
    lake, metadata, total = hapi.lake, told(hapi.lake, TABLES[table], scopes), 0
    found = []
    for scope, more in zip(scopes, metadata, strict=True):
        rows = row_count(lake, table, scope) if lake.path(table, scope).exists() else 0
        total += rows
        found.append({**more, "dagster/partition_row_count": rows})
    return found, total
