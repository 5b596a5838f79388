"""A long run over many partitions reports each of them when it is done, not all of them at the end.

So the partitions of a backfill turn green one by one while it goes on, and those that are done stay done when it is
killed. Dagster would report every partition a second time once the step succeeds; it is told not to.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import dagster as dg

MOST = 400
"""Partitions of a run that are reported one by one: each such event takes about 10 ms to store."""
REPORTED_ALREADY = "__source_asset_observation__"
"""Metadata that keeps Dagster 1.13 from reporting the partitions of a result: it uses it where an asset's own function
has reported them itself. A test holds that each partition is reported exactly once."""
_SAY_EVERY = 15.0  # seconds


class Piecemeal:
    """The partitions of a step over a range, reported as the last piece of work on each is done."""

    def __init__(self, context: dg.AssetExecutionContext, work: Iterable[tuple[Hashable, str]], of: int):
        """`work` is a (piece, partition) for each piece that is to be done; `of` is the number of partitions."""
        self.context = context
        self.partition_of = dict(work)
        self.open = Counter(self.partition_of.values())
        self.used = context.has_partition_key_range and 1 < of <= MOST
        self.of = of
        self.reported: set[str] = set()
        self._said = time.monotonic()

    def done(self, piece: Hashable, finish: Callable[[str], Mapping[str, Any]], note: str = "") -> None:
        """A piece of work is done; `finish` completes a partition and gives its metadata."""
        partition = self.partition_of[piece]
        self.open[partition] -= 1
        last = len(self.reported) + 1 == self.of  # kept for the result, with what holds for the run
        if self.used and not self.open[partition] and not last:
            self.report(partition, finish(partition))
        if (now := time.monotonic()) - self._said >= _SAY_EVERY:
            self._said = now
            left = sum(self.open.values())
            self.context.log.info(f"{len(self.partition_of) - left:,} of {len(self.partition_of):,} done{note}")

    def report(self, partition: str, metadata: Mapping[str, Any]) -> None:
        """Tell Dagster that a partition is made."""
        self.reported.add(partition)
        cohort, _, model = partition.partition("|")
        self.context.log_event(
            dg.AssetMaterialization(
                asset_key=self.context.asset_key,
                partition=partition,
                metadata=dict(metadata),
                tags={"dagster/partition/cohort": cohort, "dagster/partition/model": model} if model else {},
            )
        )

    def result(self, rest: Mapping[str, Mapping[str, Any]], of_run: Mapping[str, Any]) -> dg.MaterializeResult[Any]:
        """The result of the step: `rest` is the metadata of all partitions, `of_run` that of the run as a whole.

        What holds for the run stands with the partition that is reported last, so that it counts once.
        """
        if not self.reported:
            if not self.context.has_partition_key_range:
                alone = next(iter(rest.values())) if len(rest) == 1 else {}
                return dg.MaterializeResult(metadata={**alone, **of_run})
            for partition, metadata in rest.items():
                self.context.add_asset_metadata({**metadata, **of_run}, partition_key=partition)
            return dg.MaterializeResult()
        left = [partition for partition in rest if partition not in self.reported]
        for partition in left:
            last = of_run if partition == left[-1] else {}
            self.report(partition, {**rest[partition], **last})
        return dg.MaterializeResult(metadata={REPORTED_ALREADY: True})
