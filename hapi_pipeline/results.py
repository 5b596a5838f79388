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

BY_CELL = ("attempt_outcomes", "completion_rates")
SUMMARIES = ("leaderboard", "category_rates", "feedback_lift", "dataset_overview")

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


COMPUTED: dict[str, Computed] = {}
