"""What queries are given besides tables: thresholds as $named parameters, rounds and models as relations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hapi_pipeline.registry import Benchmark, Model
from hapi_pipeline.rounds import ROUND

if TYPE_CHECKING:
    import pyarrow as pa


def query_parameters(benchmark: Benchmark, scope: dict[str, str]) -> dict[str, object]:
    """Every $named parameter that a query may use."""
    rules = benchmark.rules
    return {
        **scope,
        "job_types": list(rules.job_types),
        "statuses": list(rules.statuses),
        "require_paid": rules.require_paid,
        "max_milestones": rules.max_milestones,
        "allow_price_change": rules.allow_price_change,
        "max_price_usd": rules.max_price_usd,
        "categories": list(rules.categories) if rules.categories is not None else None,
        "min_criteria": benchmark.min_criteria,
        "max_criteria": benchmark.max_criteria,
        "rule_version": benchmark.version,
        "min_similarity": benchmark.duplicates.min_similarity,
        "jobs_per_month": benchmark.selection.jobs_per_month,
        "sample_seed": str(benchmark.selection.seed),
        "price_bands": list(benchmark.selection.price_bands),
        "reference_cohort": benchmark.results.reference_cohort,
    }


def constant_relations(benchmark: Benchmark, models: Sequence[Model] = ()) -> dict[str, pa.Table]:
    """Relations that come from the registry.

    `round_paths`: for each round that is run, the rounds on the path that leads to it. `registered_models`: name and
    training cutoff as written (YYYY-MM or YYYY-MM-DD; null where none is stated).
    """
    import pyarrow as pa

    paths = [
        {"round": name, "step": step, "step_position": position, "after": ROUND[name].after, "arm": ROUND[name].arm}
        for name in benchmark.rounds
        for position, step in enumerate(ROUND[name].path)
    ]
    text = pa.string()
    path = pa.schema([("round", text), ("step", text), ("step_position", pa.int64()), ("after", text), ("arm", text)])
    registered = [{"model": m.name, "training_cutoff": m.training_cutoff} for m in models]
    return {
        "round_paths": pa.Table.from_pylist(paths, schema=path),
        "registered_models": pa.Table.from_pylist(
            registered, schema=pa.schema([("model", text), ("training_cutoff", text)])
        ),
    }
