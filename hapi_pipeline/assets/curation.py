"""Curation: one asset a rule, the rejections with their reasons, and the funnel."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from hapi_pipeline.assets.factory import sql_asset, table_asset
from hapi_pipeline.audit import estimates as audit
from hapi_pipeline.audit.report import markdown
from hapi_pipeline.curation import duplicates, funnel
from hapi_pipeline.curation.pii_findings import attachments_state, detector_version, pii_findings
from hapi_pipeline.curation.rules import (
    CHAIN,
    ON_ONE_POST,
    judged_tables,
    kept,
    rejections,
    rules_digest,
)
from hapi_pipeline.engine import query
from hapi_pipeline.lake import Lake
from hapi_pipeline.parameters import query_parameters


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
    return [
        *chain,
        table_asset(
            "pii_findings",
            ["job_posts"],
            lambda hapi, scope: pii_findings(hapi.lake, scope),
            first,
            kinds={"python", "parquet"},
            version=detector_version,
            outside=attachments_state,
        ),
        table_asset(
            "job_signatures",
            ["curated_jobs"],
            lambda hapi, scope: duplicates.job_signatures(hapi.lake, scope),
            first,
            kinds={"python", "parquet"},
            version=lambda: duplicates.METHOD_VERSION,
        ),
        table_asset(
            "job_clusters",
            ["curated_jobs", "job_clusters", "job_signatures"],
            lambda hapi, scope: duplicates.job_clusters(hapi.lake, scope, hapi.registry.benchmark.duplicates),
            first,
            kinds={"duckdb", "python", "parquet"},
            version=lambda: duplicates.METHOD_VERSION,
            looks_back=True,
        ),
        table_asset(
            "rejected_jobs",
            judged_tables(),
            lambda hapi, scope: rejections(hapi.lake, scope, query_parameters(hapi.registry.benchmark, dict(scope))),
            first,
            kinds={"duckdb", "parquet"},
            version=rules_digest,
        ),
        table_asset(
            "funnel_by_category",
            # those that its SQL names, and what the rules say of all posts depends on
            sorted({*query("funnel_by_category").inputs, *judged_tables(ON_ONE_POST)} - {"rules_alone"}),
            lambda hapi, scope: funnel.funnel_by_category(
                hapi.lake, scope, query_parameters(hapi.registry.benchmark, dict(scope))
            ),
            first,
            kinds={"duckdb", "parquet"},
            made=query("funnel_by_category"),
            version=rules_digest,
            shown=funnel_of_categories,
        ),
        sql_asset("curation_funnel", first, shown=funnel_in_pictures),
        table_asset(
            "curation_audit",
            audit.INPUTS,
            lambda hapi, scope: audit.curation_audit(hapi.lake, scope, hapi.registry.benchmark.version),
            first,
            kinds={"duckdb", "python", "parquet"},
            version=lambda: audit.METHOD_VERSION,
            shown=audit_in_a_table,
        ),
    ]


def funnel_in_pictures(lake: Lake, scope: Mapping[str, str]) -> dict[str, dg.MarkdownMetadataValue]:
    """The funnel of a month for the UI: a sketch in the line, and behind the link the picture and the table."""
    rows = funnel.funnel_of(lake, [scope["cohort"]])
    if not rows or not rows[0]["n_in"]:
        return {}
    simulated = " (simulated)" if rows[0]["simulated"] else ""
    title = f"{scope['cohort']}{simulated}: {rows[0]['n_in']:,} posts, {rows[-1]['n_kept']:,} in the benchmark"
    whole = funnel.picture(funnel.funnel_svg(rows, title), title)
    table = funnel.funnel_markdown(rows, funnel.codes_of(lake, [scope["cohort"]]))
    return {
        "funnel": dg.MetadataValue.md(funnel.picture(funnel.funnel_sketch(rows), title)),
        "funnel in numbers": dg.MetadataValue.md(f"{whole}\n\n{table}"),
    }


def audit_in_a_table(lake: Lake, scope: Mapping[str, str]) -> dict[str, dg.MarkdownMetadataValue]:
    """What the curators' answers say of each rule, for the UI; nothing where they gave none."""
    found = audit.findings([audit.months(lake, scope).get(scope["cohort"], {})])
    return {"audit": dg.MetadataValue.md(markdown(found))} if any(f.n_sampled for f in found) else {}


def funnel_of_categories(lake: Lake, scope: Mapping[str, str]) -> dict[str, dg.MarkdownMetadataValue]:
    """How many posts of each category each rule leaves, for the UI."""
    rows = funnel.categories_of(lake, [scope["cohort"]])
    return {"left after each rule": dg.MetadataValue.md(funnel.categories_markdown(rows))} if rows else {}
