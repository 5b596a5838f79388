"""Results: outcomes of attempts, completion rates, and the tables over all months and models."""

from __future__ import annotations

import dagster as dg

from hapi_pipeline.assets.factory import table_asset
from hapi_pipeline.recipes import recipes
from hapi_pipeline.results import BY_CELL, COMPUTED, SUMMARIES


def results_assets(first: str) -> list[dg.AssetsDefinition]:
    """The results: each from its SQL file, or from the function that is named for it."""
    return [
        table_asset(recipes()[name], first, kinds=("python" if name in COMPUTED else "duckdb", "parquet"))
        for name in (*BY_CELL, *SUMMARIES)
    ]
