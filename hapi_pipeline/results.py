"""Which tables hold results: by month and model, and over all of them; and what computes those without an SQL file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from hapi_pipeline.lake import Lake
    from hapi_pipeline.registry import Registry

BY_CELL = (
    "packet_status",
    "attempt_outcomes",
    "job_states",
    "outcome_counts",
    "completion_rates",
    "grades",
    "criterion_outcomes",
    "job_transitions",
)
SUMMARIES = (
    "window_rates",
    "model_comparisons",
    "leaderboard",
    "category_rates",
    "feedback_lift",
    "cycle_curves",
    "repeatability",
    "criterion_transitions",
    "criterion_themes",
    "failure_themes",
    "economics",
    "workflow_advice",
    "dataset_overview",
    "release_overview",
    "grader_agreement",
    "grader_profiles",
    "corrected_rates",
    "judge_agreement",
)

Compute = Callable[["Lake", "Registry", Mapping[str, str]], "pa.Table"]
"""Rows of a table for one partition (its keys; none for a summary), in the columns that tables.py declares."""


@dataclass(frozen=True)
class Computed:
    """A table that Python computes from other tables."""

    inputs: tuple[str, ...]
    function: str  # module:function, imported only when it is called
    reads_models: bool = False  # whether its rows depend on what the registry says of models
    version: str = "1"  # raise it when the function computes something else: all partitions are then remade

    def __call__(self, lake: Lake, registry: Registry, scope: Mapping[str, str]) -> pa.Table:
        """Compute one partition."""
        module, _, name = self.function.partition(":")
        made: Any = getattr(import_module(module), name)(lake, registry, scope)
        return made


COMPUTED: dict[str, Computed] = {
    "model_comparisons": Computed(("job_states",), "hapi_pipeline.comparisons:model_comparisons"),
    "repeatability": Computed(("attempt_outcomes", "grades"), "hapi_pipeline.repeatability:repeatability"),
    "criterion_themes": Computed(
        ("rubrics", "rubric_exports", "benchmark_jobs"), "hapi_pipeline.themes:criterion_themes"
    ),
    "economics": Computed(("job_states", "attempts", "grades"), "hapi_pipeline.economics:economics"),
    "workflow_advice": Computed(("job_states", "attempts", "grades"), "hapi_pipeline.economics:workflow_advice"),
    "grader_agreement": Computed(("grades", "rubrics"), "hapi_pipeline.agreement:grader_agreement"),
    "grader_profiles": Computed(("grades", "rubrics"), "hapi_pipeline.agreement:grader_profiles"),
    "judge_agreement": Computed(
        ("judge_verdicts", "verdicts", "attempts", "rubrics", "standing_criteria", "benchmark_jobs"),
        "hapi_pipeline.agreement:judge_agreement",
    ),
    "corrected_rates": Computed(("grades", "attempt_outcomes"), "hapi_pipeline.agreement:corrected_rates"),
}
