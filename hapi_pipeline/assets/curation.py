"""Curation: one asset a rule, the rejections with their reasons, and the funnel."""

from __future__ import annotations

import re
from collections.abc import Mapping

import dagster as dg

from hapi_pipeline.assets.factory import table_asset
from hapi_pipeline.audit import estimates as audit
from hapi_pipeline.audit.report import markdown
from hapi_pipeline.curation import funnel
from hapi_pipeline.curation.funnel import plain_markdown
from hapi_pipeline.curation.rules import CHAIN
from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.lake import Lake
from hapi_pipeline.recipes import recipes


def curation_assets(first: str) -> list[dg.AssetsDefinition]:
    """The chain from job_posts to benchmark_jobs, with what was left out and why."""
    made = recipes()
    python, both = ("python", "parquet"), ("duckdb", "python", "parquet")
    return [
        *(table_asset(made[rule], first) for rule in CHAIN),
        table_asset(made["pii_findings"], first, kinds=python),
        table_asset(made["job_signatures"], first, kinds=python),
        table_asset(made["job_clusters"], first, kinds=both),
        table_asset(made["rejected_jobs"], first, shown=reasons_of_rejections),
        table_asset(made["funnel_by_category"], first, shown=funnel_of_categories),
        table_asset(made["curation_funnel"], first, shown=funnel_in_pictures),
        table_asset(made["curation_audit"], first, kinds=both, shown=audit_in_a_table),
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


_EXAMPLES = 1  # jobs named for each reason


def reasons_of_rejections(lake: Lake, scope: Mapping[str, str]) -> dict[str, dg.MarkdownMetadataValue]:
    """Why jobs of a month were turned away: rule, code, what is asked for, and jobs to ask `hapi explain` about.

    Each rule leads to its asset, where its SQL stands, and where what it keeps begins.
    """
    with connect() as connection:
        open_tables(connection, lake, {"rejected_jobs": scope})
        rows = connection.execute(_REASONS, [_EXAMPLES]).fetchall()
    lines = ["| rule | code | jobs | asks for | for one of them |", "|---|---|--:|---|---|"]
    for rule, code, count, threshold, jobs in rows:
        commands = ", ".join(f"`hapi explain {job}`" for job in jobs if re.fullmatch(r"\w[\w.:-]{0,39}", job, re.ASCII))
        lines.append(
            f"| [{plain_markdown(rule)}](/assets/{rule}) | {plain_markdown(code)} | {count:,} "
            f"| {plain_markdown(threshold or '')} | {commands} |"
        )
    return {"reasons": dg.MetadataValue.md("\n".join(lines))} if rows else {}


_REASONS = """
SELECT rule, code, count(*) AS n, min(threshold), list(job_id ORDER BY job_id)[:?] FROM rejected_jobs
GROUP BY rule, code ORDER BY rule, n DESC, code
"""


def audit_in_a_table(lake: Lake, scope: Mapping[str, str]) -> dict[str, dg.MarkdownMetadataValue]:
    """What the curators' answers say of each rule, for the UI; nothing where they gave none."""
    found = audit.findings([audit.months(lake, scope).get(scope["cohort"], {})])
    return {"audit": dg.MetadataValue.md(markdown(found))} if any(f.n_sampled for f in found) else {}


def funnel_of_categories(lake: Lake, scope: Mapping[str, str]) -> dict[str, dg.MarkdownMetadataValue]:
    """How many posts of each category each rule leaves, for the UI."""
    rows = funnel.categories_of(lake, [scope["cohort"]])
    return {"left after each rule": dg.MetadataValue.md(funnel.categories_markdown(rows))} if rows else {}
