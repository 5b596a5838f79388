"""What starts by itself while `hapi ui` runs: the monthly refresh, arrivals in the inbox, summaries, and tidying up.

Money is spent by itself only where a person has said so once: by switching on the schedule `monthly_refresh`. Then the
month that has just closed is attempted, and the newest closed month when files for it arrive; never an older one.

Nothing is remembered here but what the inbox looked like. Whether there is something to do is asked of the home, at
every look, so that nothing is lost when the daemon was down, and nothing is done twice.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from hapi_pipeline import inbox
from hapi_pipeline.arrivals import handle, last_closed_month, months_to_catch_up, open_follow_up, told
from hapi_pipeline.dead_runs import bury_killed_runs
from hapi_pipeline.lake import Lake
from hapi_pipeline.operations import (
    Refreshed,
    RunFailedError,
    busy_with,
    known_cohorts,
    refresh,
    refreshed_months,
    settled_months,
)
from hapi_pipeline.partitions import cohorts
from hapi_pipeline.resources import ALONE, HapiHome
from hapi_pipeline.results import BY_CELL, SUMMARIES
from hapi_pipeline.settings import UserError, find_home

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

MONTHLY = "hapi/monthly"
"""Tag of the runs of a monthly refresh; its value is the cohort."""
ARRIVALS = "hapi/arrivals"
"""Tag of the runs that follow from the inbox; its value is the run that took the files in."""
CHANGED = "hapi/changed"
"""Tag that a run gets which has remade something, so that other things follow."""
MONTHLY_REFRESH, TAKE_IN, REFRESH_MONTH = "monthly_refresh", "take_in", "refresh_month"
LOOK_SECONDS = 10
"""Between two looks into the inbox; a file is taken when it has not changed from one to the next."""
ASK_AGAIN_SECONDS = 600.0  # for what a run that succeeded has left in the inbox
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 3600.0  # seconds before a take-in that failed is tried again


# ---- the monthly refresh


def refresh_month(first: str) -> dg.JobDefinition:
    """The job that refreshes one month as `hapi refresh --cohort` does; a partition a month."""

    @dg.op(
        name="refresh",
        description="Curates the month, has every model attempt its jobs, and remakes the results: as `hapi refresh`.",
        out=dg.Out(dg.Nothing),
    )
    def work(context: dg.OpExecutionContext, hapi: HapiHome) -> None:
        from hapi_pipeline.assets.rounds import ATTEMPTS_IN

        cohort, home = context.partition_key, hapi.home
        if cohort not in known_cohorts(Lake(home.lake)):
            raise dg.Failure(f"There are no jobs of {cohort}: import its export first.", allow_retries=False)
        with _in_plain_words():
            done = refresh(
                home,
                [cohort],
                max_usd=_ceiling(context.run.tags, hapi),
                tags={MONTHLY: cohort, ATTEMPTS_IN: cohort},
            )
        _report(context, done)

    @dg.job(
        name=REFRESH_MONTH,
        tags={ALONE: "yes"},
        partitions_def=cohorts(first),
        executor_def=dg.in_process_executor,
        description="Everything of one month, from its posts to the results. The schedule starts it; so may you.",
    )
    def job() -> None:
        work()

    return job


def monthly_refresh(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """On the second of each month: the month that has just closed, and those before it that were missed."""

    @dg.schedule(
        name=MONTHLY_REFRESH,
        job=job,
        cron_schedule="0 6 2 * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Refreshes the month that has just closed, and any closed month before it that was missed. Switched"
        " on, it lets models attempt these months, up to automation.max_usd of benchmark.yaml a run.",
    )
    def schedule(context: dg.ScheduleEvaluationContext, hapi: HapiHome) -> Iterator[dg.RunRequest | dg.SkipReason]:
        closed = last_closed_month(context.scheduled_execution_time)
        due = due_months(hapi, closed)
        if not due:
            yield dg.SkipReason(f"No closed month up to {closed} has posts that have not been refreshed.")
        for cohort in due:
            # a key for each month and tick: a month that stayed open is asked for again a month later
            yield dg.RunRequest(run_key=f"{cohort} at {closed}", partition_key=cohort, tags={MONTHLY: cohort})

    return schedule


def due_months(hapi: HapiHome, closed: str) -> list[str]:
    """The closed months that a tick of the schedule asks for, oldest first."""
    home, most = hapi.home, hapi.registry.benchmark.automation.catch_up_months
    known = known_cohorts(Lake(home.lake))
    due = set(months_to_catch_up(known, refreshed_months(home), closed, most))
    if closed in known and closed not in settled_months(home).refreshed:
        due.add(closed)  # it was refreshed, but something has come since
    return sorted(due)[-most:]


def is_switched_on(instance: dg.DagsterInstance) -> bool:
    """Whether somebody has switched the monthly schedule on."""
    from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType

    states = instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    return any(s.instigator_name == MONTHLY_REFRESH and s.status == InstigatorStatus.RUNNING for s in states)


# ---- arrivals


class Seen(dg.Config):
    """What a look into the inbox found at rest."""

    seen: dict[str, str]  # stamp by path below the inbox
    attempts: bool = False  # whether the newest closed month may be attempted


def take_in() -> dg.JobDefinition:
    """The job that takes in what lies in the inbox and remakes what it touches."""

    @dg.op(
        name="files",
        description="Imports files from the inbox as `hapi import` does, then brings exactly the months and models "
        "that they touch up to date. Each file ends up in inbox/done or inbox/refused with a reply beside it.",
        out=dg.Out(dg.Nothing),
    )
    def work(context: dg.OpExecutionContext, config: Seen, hapi: HapiHome) -> None:
        with _in_plain_words():
            done = handle(
                hapi.home,
                config.seen,
                attempts=config.attempts,
                now=datetime.now(UTC),
                max_usd=_ceiling(context.run.tags, hapi),
                tags={ARRIVALS: context.run.run_id},
                say=context.log.info,
            )
        for sentence in done.stuck:
            context.log.warning(sentence)
        rows = [
            dg.TableRecord({"file": t.name, "kind": t.arrival.kind or "?", "what": t.status, "rows": t.rows,
                            "in quarantine": t.quarantined})
            for t in done.taken[:200]
        ]  # fmt: skip
        context.add_output_metadata(
            {
                "touched": told(done.touched),
                "files taken in": done.counts["taken"],
                "files refused": done.counts["refused"],
                "files imported before": done.counts["repeated"],
                "rows": sum(t.rows for t in done.taken),
                "rows in quarantine": sum(t.quarantined for t in done.taken),
                **({"files": dg.MetadataValue.table(rows)} if rows else {}),
            }
        )
        if done.refreshed is not None:
            _report(context, done.refreshed)

    @dg.job(
        name=TAKE_IN,
        tags={ALONE: "yes"},
        executor_def=dg.in_process_executor,
        description="Files from the inbox, and what follows from them. The sensor `inbox` starts it.",
    )
    def job() -> None:
        work()

    return job


def inbox_sensor(job: dg.JobDefinition) -> dg.SensorDefinition:
    """Looks into the inbox, and asks for a run once something there has come to rest."""

    @dg.sensor(
        name="inbox",
        job=job,
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Takes in what lies in the inbox once it has stood still between two looks. Attempts follow only "
        "in the newest closed month, and only while the schedule monthly_refresh is switched on.",
    )
    def sensor(context: dg.SensorEvaluationContext, hapi: HapiHome) -> dg.SensorResult:
        home = hapi.home
        if not home.exists():
            return _skip("There is no home yet.", context.cursor)
        inbox.prepare(home)
        before = _remembered(context.cursor)
        now = time.time()
        found = inbox.look(home)
        rest = inbox.at_rest(home, found, before["seen"])
        last, failures, ended = _last_runs(context.instance)
        if last == "SUCCESS":  # it has seen these, and left them where they are
            rest = [a for a in rest if not _asked(before["asked"], a.key(home), a.stamp, now)]
        follow = bool(open_follow_up(home))
        asked = {k: v for k, v in before["asked"].items() if now - v[1] < ASK_AGAIN_SECONDS}
        cursor = json.dumps({"seen": {a.key(home): a.stamp for a in found}, "asked": asked})
        why_not = _why_not_now(hapi, found, rest, follow, last, failures, ended, now)
        if why_not:
            return _skip(why_not, cursor)
        seen = {a.key(home): a.stamp for a in rest[: inbox.MOST_AT_ONCE]}
        asked |= {key: [stamp, now] for key, stamp in seen.items()}
        cursor = json.dumps({"seen": {a.key(home): a.stamp for a in found}, "asked": asked})
        config = {"seen": seen, "attempts": is_switched_on(context.instance)}
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_config={"ops": {"files": {"config": config}}})], cursor=cursor
        )

    return sensor


def _why_not_now(
    hapi: HapiHome,
    found: Sequence[inbox.Arrival],
    rest: Sequence[inbox.Arrival],
    follow: bool,
    last: str,
    failures: int,
    ended: float,
    now: float,
) -> str:
    """Why no run is asked for at this look; empty when one is."""
    if last == "going on":
        return "Files are being taken in."
    if not rest and not follow:
        return f"{len(found)} there, to be taken once still." if found else "Nothing there."
    if failures:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1))
        if now < ended + pause:
            at = datetime.fromtimestamp(ended + pause, UTC)
            return f"The last take-in failed ({failures} in a row); tried again at {at:%H:%M:%S} UTC."
    who = busy_with(hapi.home)
    return f"Waiting for process {who}, which is at work on this home." if who else ""


def _skip(why: str, cursor: str | None) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=why, cursor=cursor)


def _remembered(cursor: str | None) -> dict[str, Any]:
    """What the look before found; nothing where there was none, or its note is damaged."""
    try:
        loaded = json.loads(cursor or "{}")
        asked = {k: [str(stamp), float(at)] for k, (stamp, at) in dict(loaded.get("asked", {})).items()}
        return {"seen": dict(loaded.get("seen", {})), "asked": asked}
    except (ValueError, TypeError, AttributeError):
        return {"seen": {}, "asked": {}}


def _asked(asked: Mapping[str, Sequence[Any]], key: str, stamp: str, now: float) -> bool:
    """Whether a run has been asked for this very file a short while ago."""
    found = asked.get(key)
    return found is not None and found[0] == stamp and now - float(found[1]) < ASK_AGAIN_SECONDS


def _last_runs(instance: dg.DagsterInstance) -> tuple[str, int, float]:
    """How the newest take-in ended (or that it is going on), how many failed in a row, and when the newest ended."""
    records = instance.get_run_records(dg.RunsFilter(job_name=TAKE_IN), limit=8)
    if not records:
        return "", 0, 0.0
    newest = records[0]
    if not newest.dagster_run.is_finished:
        return "going on", 0, 0.0
    failures = 0
    for record in records:
        if record.dagster_run.status == dg.DagsterRunStatus.SUCCESS:
            break
        failures += 1
    return newest.dagster_run.status.value, failures, float(newest.end_time or 0.0)


# ---- what is common


def _ceiling(tags: Mapping[str, str], hapi: HapiHome) -> float | None:
    """The most that a run may spend, in USD: its tag, or what benchmark.yaml allows what starts by itself."""
    tag = tags.get("hapi/max_usd")
    return float(tag) if tag else hapi.registry.benchmark.automation.max_usd


@contextmanager
def _in_plain_words() -> Iterator[None]:
    """What goes wrong as one sentence in the run's page."""
    try:
        yield
    except (RunFailedError, UserError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        why = f"{error.strerror or error}{where}; what was finished before is kept, and the rest is tried again."
        raise dg.Failure(why, allow_retries=False) from error


def _report(context: dg.OpExecutionContext, done: Refreshed) -> None:
    """What a refresh did, as numbers that the UI plots, and what is left as a sentence with what to do."""
    context.instance.add_run_tags(context.run.run_id, {CHANGED: "yes"})
    context.add_output_metadata(
        {
            "months": ", ".join(done.cohorts) or "none",
            "attempts made": done.attempts_made,
            "attempts failed": done.attempts_failed,
            "attempts left": done.attempts_left,
            "cost_usd": done.cost_usd,
            "held back": len(done.held),
            **({"what is held back": dg.MetadataValue.md(_listed(done.held))} if done.held else {}),
        }
    )
    for reason in done.left_out:
        context.log.warning(reason)
    for failing in done.held:
        context.log.warning(f"Held back: {failing}")
    if done.attempts_failed or done.attempts_left:
        context.log.warning(
            f"{done.attempts_failed} attempt(s) failed for reasons that are not the model's, and {done.attempts_left} "
            "are still to be made: `hapi refresh` makes them, `hapi refresh --dry-run` says what they are likely to "
            "cost."
        )


_MOST_LISTED = 20  # failing checks that a run's page names


def _listed(sentences: Sequence[str]) -> str:
    """Sentences as a Markdown list, each as code, for what stands in them is not to be taken for Markdown."""
    lines = [f"* `{' '.join(sentence.split())[:600].replace('`', chr(39))}`" for sentence in sentences[:_MOST_LISTED]]
    more = len(sentences) - _MOST_LISTED
    return "\n".join(lines + ([f"* and {more} more: `hapi doctor`"] if more > 0 else []))


class NobodyAtWork(dg.AutomationCondition[dg.AssetKey]):
    """Whether no command and no run has the home: who has it remakes the results itself, and is not done yet."""

    @property
    def name(self) -> str:
        """As the UI shows it."""
        return "nobody is at work on the home"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """All that was asked about, or nothing."""
        free = busy_with(find_home()) is None
        return dg.AutomationResult(context, context.candidate_subset if free else context.get_empty_subset())


def results_follow(assets: Iterable[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """Results with the condition under which they follow what they are made from; nothing that costs money has one."""
    condition = (
        dg.AutomationCondition.any_deps_updated().since_last_handled().with_label("what it is made from has changed")
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
        & NobodyAtWork()
    )
    return [
        asset.map_asset_specs(lambda spec: spec.replace_attributes(automation_condition=condition)) for asset in assets
    ]


def results_sensor() -> dg.AutomationConditionSensorDefinition:
    """Remakes results after somebody has materialized what they are made from in the UI."""
    return dg.AutomationConditionSensorDefinition(
        "results_follow",
        target=dg.AssetSelection.assets(*BY_CELL, *SUMMARIES),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        use_user_code_server=True,  # it asks the home
        description="Remakes exactly the results whose inputs have changed, after a backfill from the dialog for "
        "instance. `hapi` and the inbox remake theirs themselves, so after those there is nothing to do.",
    )


def close_killed_runs() -> dg.SensorDefinition:
    """Closes runs whose process was killed, so that the queue moves on."""

    @dg.sensor(
        name="close_killed_runs",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports runs as failed whose process was killed, and frees their places in pools and queue.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        buried = bury_killed_runs(context.instance)
        return dg.SkipReason(f"Closed: {', '.join(b[:8] for b in buried)}." if buried else "No run was killed.")

    return sensor


def followers(
    after: Sequence[dg.JobDefinition],
    publish: "UnresolvedAssetJobDefinition",
    quality: "UnresolvedAssetJobDefinition",
) -> list[dg.SensorDefinition]:
    """What is made once a refresh that started by itself has succeeded."""
    return [
        _once_after(
            "publish_what_is_new",
            after,
            publish,
            "Remakes the report, the warehouse and the feed after files were taken in or a month was refreshed.",
        ),
        _once_after(
            "check_the_new_month",
            after,
            quality,
            "Holds the benchmark's jobs against their data quality suite once a month has been refreshed.",
        ),
    ]


def _once_after(
    name: str, after: Sequence[dg.JobDefinition], then: "UnresolvedAssetJobDefinition", description: str
) -> dg.SensorDefinition:
    """A sensor that runs one job after each run of others that has changed something."""

    @dg.run_status_sensor(
        name=name,
        run_status=dg.DagsterRunStatus.SUCCESS,
        monitored_jobs=list(after),
        request_job=then,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description=description,
    )
    def sensor(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
        if CHANGED not in context.dagster_run.tags:
            return dg.SkipReason("The run has changed nothing.")
        return dg.RunRequest(run_key=context.dagster_run.run_id)

    return sensor
