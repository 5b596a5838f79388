"""Intake: the ledgers of what came from outside, and the newest state of posts and rubrics."""

from __future__ import annotations

import dagster as dg

from hapi_pipeline.assets.factory import OWNERS, definition_metadata, table_asset
from hapi_pipeline.recipes import recipes
from hapi_pipeline.tables import TABLES

LEDGERS = (
    "job_exports",
    "rubric_exports",
    "verdict_exports",
    "audit_exports",
    "quarantine",
    "job_freezes",
    "assignments",
    "judge_verdicts",
)


def ledger_specs() -> list[dg.AssetSpec]:
    """The append-only ledgers, which `hapi import` writes and no run may remake."""
    return [
        dg.AssetSpec(
            key=[name],
            group_name=TABLES[name].group,
            kinds={"parquet"},
            owners=OWNERS,
            description=TABLES[name].meaning,
            metadata=definition_metadata(TABLES[name], None),
        )
        for name in LEDGERS
    ]


def intake_assets(first: str) -> list[dg.AssetsDefinition]:
    """The newest state of posts and rubrics, and which criteria stand."""
    return [table_asset(recipes()[name], first) for name in ("job_posts", "rubrics", "standing_criteria")]
