"""What assets work with: the home they belong to, opened as registry, lake and ledger of attempts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark, Registry
from hapi_pipeline.rounds import ROUND
from hapi_pipeline.settings import Home, find_home

if TYPE_CHECKING:
    import pyarrow as pa

    from hapi_pipeline.agents.ledger import AttemptLedger


class HapiHome(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The home that a run works on. An empty `root` stands for HAPI_HOME or the project's `data/`."""

    root: str = ""

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
    }


def constant_relations(benchmark: Benchmark) -> dict[str, pa.Table]:
    """The relation `round_paths`: for each round that is run, the rounds on the path that leads to it."""
    import pyarrow as pa

    rows = [
        {"round": name, "step": step, "step_position": position, "after": ROUND[name].after}
        for name in benchmark.rounds
        for position, step in enumerate(ROUND[name].path)
    ]
    text = pa.string()
    schema = pa.schema([("round", text), ("step", text), ("step_position", pa.int64()), ("after", text)])
    return {"round_paths": pa.Table.from_pylist(rows, schema=schema)}
