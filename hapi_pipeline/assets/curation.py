"""Curation: one asset a rule, the rejections with their reasons, and the funnel."""

from __future__ import annotations

import dagster as dg

from hapi_pipeline.assets.factory import sql_asset, table_asset
from hapi_pipeline.curation.rules import CHAIN, detector_version, kept, pii_findings, rejections
from hapi_pipeline.engine import query
from hapi_pipeline.resources import query_parameters
from hapi_pipeline.tables import TABLES


def curation_assets(first: str) -> list[dg.AssetsDefinition]:
    """The chain from job_posts to benchmark_jobs, with what was left out and why."""
    chain = [
        sql_asset(
            rule,
            first,
            lambda hapi, made, scope: kept(
                hapi.lake, made.name, scope, query_parameters(hapi.registry.benchmark, dict(scope))
            ),
        )
        for rule in CHAIN
    ]
    judged = sorted({table for rule in CHAIN for table in query(rule).inputs if table in TABLES})
    return [
        *chain,
        table_asset(
            "pii_findings",
            ["in_scope_jobs", "job_posts"],
            lambda hapi, scope: pii_findings(hapi.lake, scope),
            first,
            kinds={"python", "parquet"},
            version=detector_version,
        ),
        table_asset(
            "rejected_jobs",
            judged,
            lambda hapi, scope: rejections(hapi.lake, scope, query_parameters(hapi.registry.benchmark, dict(scope))),
            first,
            kinds={"duckdb", "parquet"},
        ),
        sql_asset("curation_funnel", first),
    ]
