"""What the descriptions of a release are written from: the card, the citation, Croissant and the other records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Model, Publish
from hapi_pipeline.tables import Table

if TYPE_CHECKING:
    import pyarrow as pa

PROJECT = "hapi_pipeline"
PROJECT_LICENCE = "Apache-2.0"
"""The licence of what the simulator makes: that of the program whose output it is."""


@dataclass(frozen=True)
class TableFiles:
    """A table of a release: its declaration, its rows, and its files relative to the release."""

    table: Table
    n_rows: int
    parquet: str
    csv: str
    sha256: Mapping[str, str]  # by file
    bytes: Mapping[str, int]


@dataclass(frozen=True)
class Facts:
    """All that is known about a release before its descriptions are written. Nothing depends on the day of building."""

    version: str
    publish: Publish
    simulated: bool
    as_of: datetime  # the newest fact in the lake
    completion_rule: str
    program: str  # version of this package
    tables: Mapping[str, TableFiles]
    leaderboard: Sequence[Mapping[str, Any]]
    models: Mapping[str, Model]
    cleared: int  # jobs
    withheld: Mapping[str, int]  # reason -> jobs
    deliverables: Mapping[str, int] = field(default_factory=dict)  # published, left_out, bytes

    @property
    def licence(self) -> str:
        """SPDX identifier of the licence."""
        return self.publish.licence or PROJECT_LICENCE

    @property
    def authors(self) -> Sequence[str]:
        """Who is named as author."""
        return self.publish.authors or (f"The {PROJECT} contributors",)

    @property
    def title(self) -> str:
        """The title; of simulated data it says so."""
        return f"{self.publish.title} (simulated data)" if self.simulated else self.publish.title

    @property
    def day(self) -> str:
        """The day of the newest fact, as YYYY-MM-DD: the date of the release."""
        return self.as_of.date().isoformat()


def newest_fact(lake: Lake) -> datetime:
    """The moment of the newest import or attempt; the beginning of 1970 for an empty lake."""
    import pyarrow.compute as pc

    moments = [datetime.fromisoformat(i.imported_at) for i in lake.imports()]
    finished: pa.Table = lake.read("attempts", columns=["finished_at"])
    if finished.num_rows:
        moments.append(pc.max(finished.column("finished_at")).as_py())
    aware = [m if m.tzinfo else m.replace(tzinfo=UTC) for m in moments if m is not None]
    return max(aware, default=datetime(1970, 1, 1, tzinfo=UTC)).astimezone(UTC)
