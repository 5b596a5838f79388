"""Great Expectations suites: what people would call data quality, as code, with the failing examples in the UI.

They run in a job of their own (`quality`), because importing Great Expectations takes longer than a whole refresh. Each
month is judged by itself, and has a result of its own beside that of all months.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from hapi_pipeline.checks.stability import grading_figures, job_figures, minutes_by_month
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark
from hapi_pipeline.resources import HapiHome

_COLUMNS = ["cohort", "job_id", "title", "category", "price_usd", "n_criteria", "completed_at", "posted_at"]
LONGEST_MINUTES = 240.0
"""Minutes on one packet beyond which a grader has probably left the clock running."""
Result = dict[str, Any]
"""An expectation with whether it is met, and examples of what does not meet it."""


def validate_benchmark_jobs(lake: Lake, benchmark: Benchmark, cohort: str | None = None) -> list[Result]:
    """Hold the benchmark's jobs, of a month or of all, against the suite."""
    import great_expectations.expectations as gxe

    rows = lake.read("benchmark_jobs", {"cohort": cohort} if cohort else None, _COLUMNS).to_pandas()
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
    return _validated("benchmark_jobs", rows, expectations)


def validate_figures(figures: Sequence[Mapping[str, Any]]) -> list[Result]:
    """Hold figures of one month against their limits (stability.py)."""
    import great_expectations.expectations as gxe
    import pandas as pd

    rows = pd.DataFrame(figures)
    limits = gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="limit", column_B="value", or_equal=True)
    (told,) = _validated("figures", rows, [limits])
    beyond = rows[rows["value"] > rows["limit"]]
    examples = [
        f"{r.figure}: {r.value:g}, limit {r.limit:g}, n {r.n} against {r.n_before}" for r in beyond.itertuples()
    ]
    return [told | {"column": "value, limit", "examples": "; ".join(examples)}]


def validate_minutes(rows: Sequence[Mapping[str, Any]]) -> list[Result]:
    """Hold what graders said of their time in one month against what is plausible."""
    import great_expectations.expectations as gxe
    import pandas as pd

    plausible = gxe.ExpectColumnValuesToBeBetween(
        column="minutes", min_value=0, strict_min=True, max_value=LONGEST_MINUTES, mostly=0.95
    )
    return _validated("grades", pd.DataFrame(rows), [plausible])


def _validated(name: str, rows: Any, expectations: Sequence[Any]) -> list[Result]:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = (
        context.data_sources.add_pandas("lake")
        .add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe("all")
        .get_batch(batch_parameters={"dataframe": rows})
    )
    suite = gx.ExpectationSuite(name=name, expectations=list(expectations))
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


ByMonth = Mapping[str, Sequence[Result]]


def jobs_by_month(hapi: HapiHome) -> ByMonth:
    """The suite of the benchmark's jobs, for each month."""
    months = sorted(keys["cohort"] for keys in hapi.lake.partitions("benchmark_jobs"))
    return {month: validate_benchmark_jobs(hapi.lake, hapi.registry.benchmark, month) for month in months}


def jobs_against_before(hapi: HapiHome) -> ByMonth:
    """Prices and categories of each month against the months before."""
    return _figures_by_month(job_figures(hapi.lake))


def grading_by_month(hapi: HapiHome) -> ByMonth:
    """Graders' minutes and rates of passing of each month, by themselves and against the months before."""
    found: dict[str, list[Result]] = {
        month: validate_minutes(rows) for month, rows in minutes_by_month(hapi.lake).items()
    }
    for month, results in _figures_by_month(grading_figures(hapi.lake)).items():
        found.setdefault(month, []).extend(results)
    return found


def _figures_by_month(figures: Sequence[Mapping[str, Any]]) -> ByMonth:
    months = sorted({figure["cohort"] for figure in figures})
    return {month: validate_figures([f for f in figures if f["cohort"] == month]) for month in months}


def _check(asset: str, name: str, meaning: str, suite: Callable[[HapiHome], ByMonth]) -> dg.AssetChecksDefinition:
    """A suite as a check: a warning, for it says that a person should look, not that a row is wrong."""

    @dg.asset_check(asset=[asset], name=name, description=f"{meaning} A warning: it holds nothing back.")
    def check(context: dg.AssetCheckExecutionContext, hapi: HapiHome) -> dg.AssetCheckResult:
        found = suite(hapi)
        step = context.op_execution_context.get_step_execution_context()
        for month, results in found.items():
            evaluation = dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey([asset]),
                check_name=name,
                passed=_met(results),
                severity=dg.AssetCheckSeverity.WARN,
                metadata=_shown({month: results}, only_failing=False),
                partition=month,
            )
            dg.DagsterEvent.asset_check_evaluation(step, evaluation)
        failing = {month: results for month, results in found.items() if not _met(results)}
        told = f"A person should look at {', '.join(failing)}." if failing else "Nothing stands out."
        return dg.AssetCheckResult(
            passed=not failing,
            severity=dg.AssetCheckSeverity.WARN,
            description=told,
            metadata={
                "months": len(found),
                "months_failing": len(failing),
                **_shown(found, only_failing=bool(failing)),
            },
        )

    return check


def _met(results: Sequence[Result]) -> bool:
    return all(result["success"] for result in results)


def _shown(found: ByMonth, *, only_failing: bool) -> dict[str, Any]:
    records = [
        dg.TableRecord({"month": month, **result})
        for month, results in found.items()
        for result in results
        if not (only_failing and result["success"])
    ]
    return {"expectations": dg.MetadataValue.table(records[:200])} if records else {}


benchmark_jobs_quality = _check(
    "benchmark_jobs",
    "data_quality",
    "Prices, rubric sizes, titles and durations of each month's jobs lie where they should.",
    jobs_by_month,
)
QUALITY_CHECKS = [
    benchmark_jobs_quality,
    _check(
        "benchmark_jobs",
        "drift_from_before",
        "Prices and the mix of categories of a month are those of the twelve months before: population stability index "
        "of at most 0.25, more where the month is small.",
        jobs_against_before,
    ),
    _check(
        "grades",
        "grading_quality",
        "Graders' minutes are plausible and within three times those of the twelve months before, and each model "
        "passes as many criteria alone as before, give or take 15 points.",
        grading_by_month,
    ),
]
