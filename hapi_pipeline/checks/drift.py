"""A check that says when a source's newest export has other columns than the one before."""

from typing import Any

import dagster as dg

from hapi_pipeline.intake.drift import newest_drifts
from hapi_pipeline.resources import HapiHome


def drift_checks() -> list[dg.AssetChecksDefinition]:
    """The check, a warning: a person should look whether the source definition still means what it says."""

    @dg.asset_check(
        asset=["job_posts"],
        name="schema_drift",
        description="The newest import of each source has the columns of the one before and those it is read by.",
    )
    def schema_drift(hapi: HapiHome) -> dg.AssetCheckResult:
        found = newest_drifts(hapi.lake.imports("jobs"))
        metadata: dict[str, Any] = {"sources that drifted": len(found)}
        if found:
            metadata["drift"] = dg.MetadataValue.table(
                [dg.TableRecord({"source": d.source, "before": d.before, "now": d.now, "drift": d.text}) for d in found]
            )
        return dg.AssetCheckResult(passed=not found, severity=dg.AssetCheckSeverity.WARN, metadata=metadata)

    return [schema_drift]
