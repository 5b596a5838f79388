"""How Dagster sees the checks: on the asset of their table, judged in the step that makes it.

An evaluation inside the asset's own step takes a quarter of the time of a step of its own. The result of a run stands
for all partitions of the asset, also those that the run did not cover (the register remembers them); a partition that
begins or ceases to fail gets an event of its own besides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from hapi_pipeline.assets.piecemeal import REPORTED_ALREADY
from hapi_pipeline.checks.catalogue import rules
from hapi_pipeline.checks.holds import Failure, failures, held, inputs_of
from hapi_pipeline.checks.register import Register, bring_up_to_date, standing
from hapi_pipeline.checks.rules import Found, Rule, Scope, files_of, place_of, scope_of_place
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Registry
from hapi_pipeline.resources import HapiHome
from hapi_pipeline.settings import Home, UserError
from hapi_pipeline.tables import TABLES
from hapi_pipeline.troubles import may_pass, reading_trouble, writing_trouble

Made = dg.MaterializeResult[Any]
TRIES = 2
"""How often a step is tried again after a failure that may pass by itself; any other is final."""
_WAIT = 1.0  # seconds, doubled each time
_SHOWN = 50  # rows of a table in the UI


HELD_BACK = "held back"
"""Metadata of the failure of a step all of whose partitions are held back."""


def specs(key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """The checks on an asset."""
    return [
        dg.AssetCheckSpec(
            rule.name,
            asset=key,
            description=f"{rule.meaning} {_consequence(rule)}",
            blocking=rule.blocking,
            metadata={"if it fails": rule.next_step},
        )
        for rule in rules()[key.path[-1]]
    ]


def _consequence(rule: Rule) -> str:
    if rule.warning:
        return "A warning: it holds nothing back."
    if rule.only:
        return f"A failure holds back {', '.join(rule.only)}, and nothing else."
    return f"A failure holds back what is made from {' and '.join(sorted(rule.doubted))} of the same partition."


def register_of(home: Home) -> Register:
    """The register of a home."""
    return Register(home.dagster / "checks")


def known_failures(home: Home) -> list[Failure]:
    """Every error that the checks of a home have found and that still stands."""
    return failures(register_of(home), Lake(home.lake), Registry.of(home))


def failed_by_checks_only(result: dg.ExecuteInProcessResult) -> bool:
    """Whether all that failed in a run are checks, and steps that checks hold back: then other runs may go on."""
    failed = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return bool(failed) and all(
        (data.error is not None and data.error.cls_name == "DagsterAssetCheckFailedError")
        or (data.user_failure_data is not None and HELD_BACK in data.user_failure_data.metadata)
        for data in failed
    )


def checked(
    context: dg.AssetExecutionContext,
    hapi: HapiHome,
    table: str,
    inputs: Sequence[str],
    scopes: Sequence[Scope],
    make: Callable[[Sequence[Scope]], Made],
    *,
    months_back: int = 0,
) -> Made:
    """Make those partitions that no failed check holds back, then judge what is there.

    `inputs` are the tables that they are made from, `months_back` how many months before theirs. Raises Failure, with
    one sentence that says what to do, when all of them are held back, or when the disk or a damaged file is in the way.
    """
    round_ = context.asset_key.path[0] if len(context.asset_key.path) > 1 else None
    given = inputs_of(table, inputs, round_, months_back)
    back = held(register_of(hapi.home), hapi.lake, hapi.registry, table, given, scopes)
    clear = [scope for scope in scopes if place_of(table, scope) not in back]
    for place, failure in back.items():
        context.log.warning(_held_sentence(table, place, failure))
    if not clear:
        place, failure = next(iter(back.items()))
        raise dg.Failure(_held_sentence(table, place, failure), metadata={HELD_BACK: True}, allow_retries=False)
    try:
        made = make(clear)
        results = list(_judged(context, hapi, table, round_, scopes))
    except Exception as error:
        files = ((name, path) for name in (*inputs, table) for s in clear for path in files_of(hapi.lake, name, s))
        raise _told(context, hapi, error, files) from error
    if back:
        made = _without(context, made, [_partition(place_of(table, scope)) for scope in clear], back)
    return dg.MaterializeResult(metadata=made.metadata, check_results=results)


def _held_sentence(table: str, place: str, failure: Failure) -> str:
    what = f"{table} of {place}" if place else table
    return f"{what} is held back: {failure.sentence}. {failure.rule.next_step}"


def _without(context: dg.AssetExecutionContext, made: Made, clear: Sequence[str], back: Mapping[str, Failure]) -> Made:
    """The result of a run of which some partitions were held back: only the others count as made."""
    told = {HELD_BACK: dg.MetadataValue.table([_held_record(p, f) for p, f in back.items()])}
    if not made.metadata or REPORTED_ALREADY not in made.metadata:
        for partition in clear:
            event = dg.AssetMaterialization(
                context.asset_key, partition=partition, metadata={**(made.metadata or {}), **told}
            )
            context.log_event(event)
    return dg.MaterializeResult(metadata={REPORTED_ALREADY: True})


def _held_record(place: str, failure: Failure) -> dg.TableRecord:
    return dg.TableRecord({"partition": place, "because": failure.sentence, "what to do": failure.rule.next_step})


def _told(context: dg.AssetExecutionContext, hapi: HapiHome, error: Exception, files: Any) -> Exception:
    """What a step fails with: another try where that may help, else one sentence where the cause is known."""
    if isinstance(error, dg.Failure):
        return error
    trouble = writing_trouble(error, hapi.home.root)
    if trouble is None and may_pass(error):
        return dg.RetryRequested(max_retries=TRIES, seconds_to_wait=_WAIT * 2**context.retry_number)
    trouble = trouble or (error if isinstance(error, UserError) else reading_trouble(error, files))
    return dg.Failure(str(trouble), allow_retries=False) if trouble else error


# ---- what the checks find


def _judged(
    context: dg.AssetExecutionContext, hapi: HapiHome, table: str, round_: str | None, scopes: Sequence[Scope]
) -> Iterator[dg.AssetCheckResult]:
    register, lake, registry = register_of(hapi.home), hapi.lake, hapi.registry
    for rule in rules()[table]:
        before = register.results(rule)
        now = bring_up_to_date(register, rule, lake, registry, scopes)
        every = {
            place: found
            for place, found in standing(register, rule, lake, registry).items()
            if round_ is None or scope_of_place(table, place)["round"] == round_
        }
        _report_changes(context, rule, before, now, every)
        yield _result(context, rule, now, every)


def _result(
    context: dg.AssetExecutionContext, rule: Rule, now: Mapping[str, Found], every: Mapping[str, Found]
) -> dg.AssetCheckResult:
    """The result for an asset: of the run's partitions, and of those that failed before and have not been mended."""
    failing = [place for place, found in now.items() if found.errors]
    # Dagster stops all of a run; where only some of its partitions fail, the step after holds these back by itself
    all_fail = bool(failing) and len(failing) == len(now)
    severe = all_fail or (bool(failing) and not rule.blocking)
    description = _sentence(rule, every)
    if failing:
        context.log.error(description)
    metadata: dict[str, Any] = {
        "partitions_judged": len(now),
        "partitions_failing": len(every),
        "violations": sum(found.errors + found.warnings for found in every.values()),
    }
    if every:
        metadata["failing"] = dg.MetadataValue.table(_records(every))
        metadata["what to do"] = rule.next_step
    return dg.AssetCheckResult(
        passed=not every,
        check_name=rule.name,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description=description,
        metadata=metadata,
    )


def _sentence(rule: Rule, every: Mapping[str, Found]) -> str:
    if not every:
        return "Nothing is wrong in any partition that was judged."
    worst = max(every, key=lambda place: (every[place].errors, every[place].warnings))
    failure = Failure(rule, worst, every[worst]).sentence
    more = f" (and in {len(every) - 1} more partition(s))" if len(every) > 1 else ""
    return f"{failure}{more}. {rule.next_step}"


def _records(every: Mapping[str, Found]) -> list[dg.TableRecord]:
    records: list[dict[str, str | int | float | bool | None]] = [
        {"partition": place, "rows": found.errors + found.warnings, "is": _is(found), "such as": example}
        for place, found in sorted(every.items())
        for example in found.examples or ("",)
    ]
    return [dg.TableRecord(record) for record in records[:_SHOWN]]


def _is(found: Found) -> str:
    return "an error" if found.errors else "a warning"


def _report_changes(
    context: dg.AssetExecutionContext,
    rule: Rule,
    before: Mapping[str, Found],
    now: Mapping[str, Found],
    every: Mapping[str, Found],
) -> None:
    """An event for each partition that has begun or ceased to fail, those that fail last: the UI shows the newest."""
    if not TABLES[rule.table].partitions:
        return
    mended = [place for place, found in now.items() if found.sound and place in before and not before[place].sound]
    new = [place for place, found in now.items() if not found.sound and found != before.get(place)]
    old = [place for place in every if place not in new][:1] if mended and not new else []
    step = context.op_execution_context.get_step_execution_context()
    for place in [*mended, *new, *old]:
        found = now[place] if place in now else every[place]
        metadata: dict[str, Any] = {"violations": found.errors + found.warnings}
        if not found.sound:
            metadata["failing"] = dg.MetadataValue.table(_records({place: found}))
        evaluation = dg.AssetCheckEvaluation(
            asset_key=context.asset_key,
            check_name=rule.name,
            passed=found.sound,
            severity=dg.AssetCheckSeverity.ERROR if found.errors else dg.AssetCheckSeverity.WARN,
            description=_sentence(rule, {} if found.sound else {place: found}),
            metadata=metadata,
            partition=_partition(place),
        )
        # not as a runless event: Dagster 1.13 can store only one of these for a check and partition, ever
        dg.DagsterEvent.asset_check_evaluation(step, evaluation)


def _partition(place: str) -> str:
    """Dagster's key of a partition; rounds are assets of their own."""
    return "|".join(place.split("|")[:2])
