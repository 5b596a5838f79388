"""Results: outcomes of attempts, completion rates, and the tables over all months and models."""

from __future__ import annotations

import dagster as dg

from hapi_pipeline.assets.factory import sql_asset
from hapi_pipeline.results import BY_CELL, SUMMARIES


def results_assets(first: str) -> list[dg.AssetsDefinition]:
    """The results, each from one SQL file."""
    return [sql_asset(name, first) for name in (*BY_CELL, *SUMMARIES)]
