"""Great Expectations suites: what people would call data quality, as code, with the failing examples in the UI.

They run in a job of their own (`quality`), because importing Great Expectations takes longer than a whole refresh.
"""

from typing import Any

import dagster as dg

from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark
from hapi_pipeline.resources import HapiHome

_COLUMNS = ["cohort", "job_id", "title", "category", "price_usd", "n_criteria", "completed_at", "posted_at"]


def validate_benchmark_jobs(lake: Lake, benchmark: Benchmark) -> list[dict[str, Any]]:
    """Hold every month's benchmark jobs against the suite: one row for each expectation, with failing examples."""
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.data_context.types.base import ProgressBarsConfig

    rows = lake.read("benchmark_jobs", columns=_COLUMNS).to_pandas()
    rows["title_length"] = rows["title"].fillna("").str.len()
    rows["days_open"] = (rows["completed_at"] - rows["posted_at"]).dt.total_seconds() / 86400
    expectations = [
        gxe.ExpectColumnValuesToBeUnique(column="job_id"),
        gxe.ExpectColumnValuesToNotBeNull(column="category"),
        gxe.ExpectColumnValuesToBeBetween(
            column="price_usd",
            min_value=0,
            strict_min=True,
            max_value=benchmark.rules.max_price_usd,
            strict_max=True,
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="n_criteria", min_value=benchmark.min_criteria, max_value=benchmark.max_criteria
        ),
        gxe.ExpectColumnValuesToBeBetween(column="title_length", min_value=8, max_value=300, mostly=0.95),
        gxe.ExpectColumnValuesToBeBetween(column="days_open", min_value=0, max_value=730, mostly=0.95),
    ]
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = (
        context.data_sources.add_pandas("lake")
        .add_dataframe_asset("benchmark_jobs")
        .add_batch_definition_whole_dataframe("all")
        .get_batch(batch_parameters={"dataframe": rows})
    )
    suite = gx.ExpectationSuite(name="benchmark_jobs", expectations=expectations)
    return [_row(result) for result in batch.validate(suite, result_format="SUMMARY").results]


def _row(result: Any) -> dict[str, Any]:
    details = result.result or {}
    raised = any(info.get("raised_exception") for info in _exceptions(result.exception_info))
    return {
        "expectation": result.expectation_config.type,
        "column": str(result.expectation_config.kwargs.get("column", "")),
        "success": bool(result.success),
        "unexpected_percent": float(details.get("unexpected_percent") or 0.0),
        "examples": "the expectation could not be evaluated"
        if raised
        else ", ".join(str(v) for v in details.get("partial_unexpected_list", [])[:5]),
    }


def _exceptions(info: dict[str, Any]) -> list[dict[str, Any]]:
    """An expectation that raises reports one entry, or one for each metric."""
    return [info] if "raised_exception" in info else [v for v in info.values() if isinstance(v, dict)]


@dg.asset_check(
    asset=["benchmark_jobs"],
    name="data_quality",
    description="Prices, rubric sizes, titles and durations of all benchmark jobs lie where they should.",
)
def benchmark_jobs_quality(hapi: HapiHome) -> dg.AssetCheckResult:
    """The suite over the benchmark's jobs; a warning: it says that a person should look, not that a row is wrong."""
    found = validate_benchmark_jobs(hapi.lake, hapi.registry.benchmark)
    return dg.AssetCheckResult(
        passed=all(row["success"] for row in found),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"expectations": dg.MetadataValue.table([dg.TableRecord(row) for row in found])},
    )
