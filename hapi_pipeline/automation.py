"""What starts by itself: the monthly refresh. Off until it is switched on, and never reaching into the past.

The schedule curates the month that has just closed. When that run has succeeded, one run a model attempts its jobs;
when all of these are done, the tables over all months follow. Runs started by hand start nothing further.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from hapi_pipeline.partitions import sync_models
from hapi_pipeline.resources import HapiHome

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

MONTHLY = "hapi/monthly"
"""Tag of the runs of a monthly refresh; its value is the cohort."""


def last_closed_month(now: datetime) -> str:
    """The month before the one in which `now` lies."""
    return (now.astimezone(UTC).replace(day=1) - timedelta(days=1)).strftime("%Y-%m")


def monthly_refresh(curate: "UnresolvedAssetJobDefinition") -> dg.ScheduleDefinition:
    """On the second of each month: curate the month that has just closed."""

    @dg.schedule(
        name="monthly_refresh",
        job=curate,
        cron_schedule="0 6 2 * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Curates the month that has just closed; attempts, packets and results follow from it.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        cohort = last_closed_month(context.scheduled_execution_time)
        return dg.RunRequest(run_key=cohort, partition_key=cohort, tags={MONTHLY: cohort})

    return schedule


def followers(
    curate: "UnresolvedAssetJobDefinition",
    evaluate: "UnresolvedAssetJobDefinition",
    summarise: "UnresolvedAssetJobDefinition",
    quality: "UnresolvedAssetJobDefinition",
) -> list[dg.SensorDefinition]:
    """The sensors that carry a monthly refresh on: from curation to attempts, from attempts to the summaries."""

    @dg.run_status_sensor(
        name="attempt_the_new_month",
        run_status=dg.DagsterRunStatus.SUCCESS,
        monitored_jobs=[curate],
        request_job=evaluate,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Has every model attempt the month that the schedule has just curated.",
    )
    def attempt_the_new_month(
        context: dg.RunStatusSensorContext, hapi: HapiHome
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        cohort = context.dagster_run.tags.get(MONTHLY)
        if cohort is None:
            yield dg.SkipReason("not part of a monthly refresh")
            return
        registry = hapi.registry
        sync_models(context.instance, registry)
        for model in registry.models:
            if not model.retired:
                yield dg.RunRequest(
                    run_key=f"{cohort}|{model.key}|{context.dagster_run.run_id}",
                    partition_key=dg.MultiPartitionKey({"cohort": cohort, "model": model.key}),
                    tags={MONTHLY: cohort},
                )

    return [
        attempt_the_new_month,
        _once_after(
            "summarise_the_new_month",
            evaluate,
            summarise,
            "Remakes the tables over all months after a model's attempts at the new month.",
        ),
        _once_after(
            "check_the_new_month",
            curate,
            quality,
            "Holds the benchmark's jobs against their data quality suite once a new month has joined them.",
        ),
    ]


def _once_after(
    name: str, first: "UnresolvedAssetJobDefinition", then: "UnresolvedAssetJobDefinition", description: str
) -> dg.SensorDefinition:
    """A sensor that runs one job, over everything, after each run of another that belongs to a monthly refresh."""

    @dg.run_status_sensor(
        name=name,
        run_status=dg.DagsterRunStatus.SUCCESS,
        monitored_jobs=[first],
        request_job=then,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
    )
    def sensor(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
        if MONTHLY not in context.dagster_run.tags:
            return dg.SkipReason("not part of a monthly refresh")
        return dg.RunRequest(run_key=context.dagster_run.run_id)

    return sensor
