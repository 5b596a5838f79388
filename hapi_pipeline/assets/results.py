"""Results: outcomes of attempts, completion rates, and the tables over all months and models."""

from __future__ import annotations

import dagster as dg

from hapi_pipeline.assets.factory import sql_asset

BY_CELL = ("attempt_outcomes", "completion_rates")
SUMMARIES = ("leaderboard", "category_rates", "feedback_lift", "dataset_overview")


def results_assets(first: str) -> list[dg.AssetsDefinition]:
    """The results, each from one SQL file."""
    return [sql_asset(name, first) for name in (*BY_CELL, *SUMMARIES)]
