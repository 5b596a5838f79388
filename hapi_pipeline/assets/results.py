"""Results: outcomes of attempts, completion rates, and the tables over all months and models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from hapi_pipeline.assets.factory import sql_asset, table_asset
from hapi_pipeline.results import BY_CELL, COMPUTED, SUMMARIES, Computed

if TYPE_CHECKING:
    import pyarrow as pa

    from hapi_pipeline.resources import HapiHome


def results_assets(first: str) -> list[dg.AssetsDefinition]:
    """The results: each from its SQL file, or from the function that is named for it."""
    return [
        computed_asset(name, COMPUTED[name], first) if name in COMPUTED else sql_asset(name, first)
        for name in (*BY_CELL, *SUMMARIES)
    ]


def computed_asset(name: str, computed: Computed, first: str) -> dg.AssetsDefinition:
    """The asset of a table that Python computes."""

    def build(hapi: HapiHome, scope: Mapping[str, str]) -> pa.Table:
        return computed(hapi.lake, hapi.registry, scope)

    return table_asset(
        name, computed.inputs, build, first, kinds={"python", "parquet"}, version=lambda: computed.version
    )
