"""What assets work with: the home they belong to, opened as registry, lake and ledger of attempts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import Home, find_home

if TYPE_CHECKING:
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
