"""The code location: `build_defs` makes the whole graph, `defs` is what Dagster loads.

What belongs here: putting the parts together. What does not: any part.
"""

from __future__ import annotations

import warnings

import dagster as dg

from hapi_pipeline.assets.curation import curation_assets
from hapi_pipeline.assets.intake import intake_assets, ledger_specs
from hapi_pipeline.assets.publish import KEPT_UP_TO_DATE, publish_assets
from hapi_pipeline.assets.results import results_assets
from hapi_pipeline.assets.rounds import round_assets
from hapi_pipeline.automation import (
    close_killed_runs,
    followers,
    inbox_sensor,
    monthly_refresh,
    refresh_month,
    results_follow,
    results_sensor,
    take_in,
)
from hapi_pipeline.checks.drift import drift_checks
from hapi_pipeline.checks.expectations import QUALITY_CHECKS
from hapi_pipeline.registry import Registry
from hapi_pipeline.resources import ALONE, HapiHome
from hapi_pipeline.results import BY_CELL, SUMMARIES
from hapi_pipeline.rounds import ROUNDS
from hapi_pipeline.settings import Home, find_home

# Dagster marks what the whole graph rests on (single-run backfills) as beta; once per asset is no news to a user.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

CURATE, EVALUATE, SUMMARISE = "curate", "evaluate", "summarise"
"""The three jobs of a refresh; assets cut differently cannot share a run."""
PUBLISH = "publish"
QUALITY = "quality"


def build_defs(home: Home | None = None) -> dg.Definitions:
    """The graph for one home; without one, for HAPI_HOME or the project's `data/`, whichever a run finds."""
    first = Registry.of(home or find_home()).benchmark.first_cohort
    by_cell = dg.AssetSelection.assets(*BY_CELL)
    summaries = dg.AssetSelection.assets(*SUMMARIES)
    rounds = dg.AssetSelection.groups(*(r.name for r in ROUNDS))
    quality_check = dg.AssetSelection.checks(*QUALITY_CHECKS)
    alone = {ALONE: "yes"}
    curate = dg.define_asset_job(
        CURATE,
        (dg.AssetSelection.assets("job_posts", "rubrics") | dg.AssetSelection.groups("curation")) - quality_check,
        description="Posts and rubrics of a month, curated: which jobs the benchmark has, and why not the others.",
        tags=alone,
    )
    evaluate = dg.define_asset_job(
        EVALUATE,
        (rounds | by_cell) - quality_check,
        description="Attempts, packets, verdicts and completion rates of months and models, over all rounds.",
        tags=alone,
    )
    summarise = dg.define_asset_job(
        SUMMARISE,
        summaries,
        description="The tables over all months and models.",
        tags=alone,
    )
    publish = dg.define_asset_job(
        PUBLISH,
        dg.AssetSelection.assets(*KEPT_UP_TO_DATE),
        description="The report, the warehouse and the feed, each made anew only where its tables have changed.",
        tags=alone,
    )
    quality = dg.define_asset_job(
        QUALITY,
        quality_check,
        description="Great Expectations over the benchmark's jobs; slow to start, so on its own.",
        tags=alone,
    )
    arriving, monthly = take_in(), refresh_month(first)
    return dg.Definitions(
        assets=[
            *ledger_specs(),
            *intake_assets(first),
            *curation_assets(first),
            *round_assets(first),
            *results_follow(results_assets(first)),
            *dg.with_source_code_references(publish_assets()),
        ],
        asset_checks=[*drift_checks(), *QUALITY_CHECKS],
        jobs=[curate, evaluate, summarise, publish, quality, arriving, monthly],
        schedules=[monthly_refresh(monthly)],
        sensors=[
            inbox_sensor(arriving),
            results_sensor(),
            *followers([arriving, monthly], publish, quality),
            close_killed_runs(),
        ],
        resources={"hapi": HapiHome(root=str(home.root) if home else "")},
        executor=dg.in_process_executor,
    )


defs = build_defs()
