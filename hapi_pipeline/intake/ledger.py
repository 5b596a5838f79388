"""What every import shares: its id, its quarantine rows and the moment at which it counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hapi_pipeline.lake import Import, Lake
from hapi_pipeline.naming import digest
from hapi_pipeline.tables import TABLES

_SHOWN = 120  # characters of a rejected value that are kept


@dataclass(frozen=True)
class Rejected:
    """A row that is not taken in, and why."""

    row: int | None
    column: str | None
    value: str | None
    code: str
    message: str


def import_id(kind: str, *parts: str) -> str:
    """The same files under the same source always have the same id."""
    return f"{kind}-{digest(kind, *parts, length=24)}"


def shorten(text: str | None, length: int = _SHOWN) -> str | None:
    """Text cut to a length, for messages and quarantine rows."""
    return text if text is None or len(text) <= length else text[: length - 1] + "…"


def storable(text: str | None) -> str | None:
    """Text that a table can hold: half of a surrogate pair, which JSON can spell, is replaced."""
    return text if text is None else text.encode("utf-8", "replace").decode()


def quarantine_rows(
    kind: str, file: str, sha256: str, imported_at: datetime, rejected: Iterable[Rejected]
) -> list[dict[str, Any]]:
    """Rows of the table `quarantine`."""
    return [
        {
            "kind": kind,
            "file": storable(file),
            "row": r.row,
            "column": r.column,
            "value": shorten(storable(r.value)),
            "code": r.code,
            "message": storable(r.message),
            "source_sha256": sha256,
            "imported_at": imported_at,
        }
        for r in rejected
    ]


def commit_import(lake: Lake, manifest: Import, quarantined: Sequence[Mapping[str, Any]]) -> Import:
    """Write the quarantine rows, then the manifest that makes the whole import count."""
    lake.append("quarantine", manifest.import_id, rows_of("quarantine", quarantined))
    lake.finish_import(manifest)
    return manifest


def rows_of(table: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as an Arrow table of the declared schema."""
    import pyarrow as pa

    return pa.Table.from_pylist([dict(row) for row in rows], schema=TABLES[table].schema())
