"""How the graph is cut: by cohort (month) and by model.

What belongs here: partitions definitions and the translation between Dagster's keys and ours. What does not: which
asset uses which (see `assets/`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from hapi_pipeline.naming import unslug
from hapi_pipeline.registry import Registry

MODELS = "model"
"""Name of the dynamic partitions: one for each model of the registry, by its slug."""

models = dg.DynamicPartitionsDefinition(name=MODELS)


def cohorts(first: str) -> dg.MonthlyPartitionsDefinition:
    """The months from the first to the one that runs now."""
    return dg.MonthlyPartitionsDefinition(start_date=first, fmt="%Y-%m", end_offset=1)


class MultiPartitionsDefinition(dg.MultiPartitionsDefinition):
    """Months and models, whose runs carry one tag with their key, and none for each of its parts.

    The dialog of a job in Dagster 1.13 gives a run over many partitions the tags of the first of them besides; a run
    takes those of its parts for its key, and would make that one partition alone (dagster issue 28861). The name is
    Dagster's own, because sets of partitions that are stored name the class of their definition.
    """

    def get_tags_for_partition_key(self, partition_key: str) -> Mapping[str, str]:
        """The tags of a run of one partition."""
        return {"dagster/partition": partition_key}


def cells(first: str) -> dg.MultiPartitionsDefinition:
    """Every month of every model."""
    return MultiPartitionsDefinition({"cohort": cohorts(first), "model": models})


def scope_of(key: str, partitions: Sequence[str]) -> dict[str, str]:
    """The cohort, or cohort and model name, that a Dagster partition key stands for."""
    if not partitions:
        return {}
    if len(partitions) == 1:
        return {"cohort": key}
    cohort, _, model = key.partition("|")
    return {"cohort": cohort, "model": unslug(model)}


def sync_models(instance: dg.DagsterInstance, registry: Registry) -> None:
    """Make the instance's model partitions those of the registry, which is the truth."""
    wanted = [model.key for model in registry.models]
    there = set(instance.get_dynamic_partitions(MODELS))
    instance.add_dynamic_partitions(MODELS, [key for key in wanted if key not in there])
    for key in there - set(wanted):
        instance.delete_dynamic_partition(MODELS, key)
