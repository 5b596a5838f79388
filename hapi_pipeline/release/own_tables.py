"""Tables that only releases have, declared like those of the lake."""

from __future__ import annotations

from dataclasses import dataclass

from hapi_pipeline.tables import FIELDS, Column, Field, Table

_OWN: dict[str, Field] = {
    "cleared": Field("bool", "Whether the job's texts and files are in this release"),
    "withheld": Field("text", "Why not, in plain words; empty where they are"),
    "path": Field("text", "Name that the agent gave the file"),
    "media_type": Field("text", "Type of the file by its content"),
    "bytes": Field("int", "Size of the file", "bytes"),
    "sha256": Field("text", "SHA-256 of the file"),
    "file": Field("text", "Where it is in this release, relative to its root; null where it was left out"),
    "left_out": Field("text", "Why the file was left out; null where it is here"),
}


@dataclass(frozen=True)
class _OwnColumn(Column):
    """A column of a table that only releases have."""

    @property
    def field(self) -> Field:
        """What the name means and what type it has."""
        return _OWN.get(self.name) or FIELDS[self.name]


def _own(name: str, group: str, grain: str, meaning: str, columns: str, key: str) -> Table:
    words = [(word.removesuffix("?"), word.endswith("?")) for word in columns.split()]
    return Table(
        name, group, grain, meaning, tuple(_OwnColumn(n, nullable) for n, nullable in words), tuple(key.split())
    )


CLEARANCE = _own(
    "clearance",
    "publish",
    "job",
    "Which jobs of the benchmark are here with their texts and files, and why the others are not.",
    "job_id cohort cleared withheld simulated",
    "job_id",
)
DELIVERABLES = _own(
    "deliverables",
    "publish",
    "attempt × file",
    "The files that agents handed in for cleared jobs, and where they are in this release.",
    "attempt_id cohort model round job_id path media_type bytes sha256 file? left_out? simulated",
    "attempt_id path",
)
OWN_TABLES = {t.name: t for t in (CLEARANCE, DELIVERABLES)}
