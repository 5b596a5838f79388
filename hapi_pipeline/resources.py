"""What assets work with: the home they belong to, opened as registry, lake and ledger of attempts.

While a run works with it, the run shows that it is alive and keeps everybody else out of the home.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import dagster as dg

from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import Home, find_home
from hapi_pipeline.workers import Part, months_to_oneself, part_of

if TYPE_CHECKING:
    from hapi_pipeline.agents.ledger import AttemptLedger


SHARED_BY_WORKERS = "evaluate"
"""The job whose runs can share a home, for it writes nothing but what belongs to its months and models."""
READS_ONLY = "hapi/reads_only"
"""Tag of the runs that change nothing in the home, so that they need not wait for their turn."""
ALONE = "hapi/alone"
"""Tag of the jobs that need the home to themselves ("yes"): of their runs the queue starts one at a time, so that runs
which wait for the home do not take up the places of those that are to work on it."""
WAIT_MINUTES = "hapi/wait_minutes"
"""Tag of a run: how long it waits for another process that is at work on the home before it fails."""
PATIENCE_MINUTES = 12 * 60.0
"""Without that tag: as long as a command may reasonably work. A run that waits holds nothing that others need."""


def patience(tags: Mapping[str, str]) -> float:
    """Seconds that a run waits for its turn."""
    try:
        return 60 * float(tags.get(WAIT_MINUTES, PATIENCE_MINUTES))
    except ValueError:
        return 60 * PATIENCE_MINUTES


def part_of_run(run: dg.DagsterRun) -> Part | None:
    """The months that a run has as one of the workers of a backfill; None for any other run."""
    return part_of(run.tags) if run.job_name == SHARED_BY_WORKERS else None


class HapiHome(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The home that a run works on. An empty `root` stands for HAPI_HOME or the project's `data/`."""

    root: str = ""

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[HapiHome]:
        """For a run that changes the home: wait for its turn, then keep others out until the run ends.

        The workers of one backfill let each other in, and keep each other out of their months. Runs that are tagged
        `hapi/reads_only`, and whoever is no run at all (a sensor), do not wait.
        """
        from hapi_pipeline.dead_runs import alive
        from hapi_pipeline.operations import at_work, held_here

        if context.run is None or context.instance is None:
            yield self
            return
        with alive(context.instance, context.run.run_id):
            if READS_ONLY in context.run.tags or held_here(self.home):
                yield self
                return
            who = f"run {context.run.run_id[:8]} of {context.run.job_name}"
            say = context.log.info if context.log else print
            wait, part = patience(context.run.tags), part_of_run(context.run)
            with (
                at_work(self.home, wait=wait, who=who, say=say, shared=part is not None),
                months_to_oneself(self.home, part.cohorts if part else (), wait=wait, say=say),
            ):
                yield self

    @property
    def home(self) -> Home:
        """The folder."""
        return find_home(self.root or None)

    @property
    def registry(self) -> Registry:
        """Its configuration."""
        return Registry.of(self.home)

    @property
    def lake(self) -> Lake:
        """Its tables."""
        return Lake(self.home.lake)

    @property
    def ledger(self) -> AttemptLedger:
        """Its attempts."""
        from hapi_pipeline.agents.ledger import AttemptLedger

        return AttemptLedger(self.home.attempts)

    @contextlib.contextmanager
    def simulated_provider(self, needed: bool) -> Iterator[str | None]:
        """The address of the project's own loopback provider, where a simulated model needs it."""
        if not needed:
            yield None
            return
        from hapi_pipeline.simulate.provider import simulated_provider

        with simulated_provider(self.home.root / "simulator") as address:
            yield address
