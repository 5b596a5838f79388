"""Tables as files: the same rows give the same bytes, wherever and whenever they are written."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.tables import Table

if TYPE_CHECKING:
    import pyarrow as pa

_ROW_GROUP = 65_536
_BATCH = 8_192
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_parquet(table: Table, rows: pa.Table, path: Path) -> None:
    """Write rows as Parquet; what the table and its columns mean stands in the file's schema."""
    import pyarrow.parquet as pq

    schema = table.schema()
    for i, column in enumerate(table.columns):
        told = {"description": column.meaning} | ({"unit": column.field.unit} if column.field.unit else {})
        schema = schema.set(i, schema.field(i).with_metadata(told))
    schema = schema.with_metadata({"description": table.meaning, "grain": table.grain, "key": ", ".join(table.key)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        rows.cast(schema).combine_chunks(), path, compression="zstd", row_group_size=_ROW_GROUP, version="2.6"
    )


def write_csv(table: Table, rows: pa.Table, path: Path) -> None:
    """Write rows as CSV (RFC 4180, UTF-8): moments as ISO 8601 in UTC, lists as JSON, null as nothing.

    A text that a spreadsheet would take for a formula begins with an apostrophe, which Parquet does not have.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(table.names)
        for row in _rows(rows):
            writer.writerow([_cell(value) for value in row])


def _rows(rows: pa.Table) -> Iterator[tuple[Any, ...]]:
    for batch in rows.to_batches(_BATCH):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    text = repr(value) if isinstance(value, float) else str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8 with line feeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))


def as_json(value: Any, indent: int | None = 1) -> str:
    """JSON, that a person can read too unless told otherwise; no NaN, keys in the order given."""
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS, in the form of coreutils, over every other file of a folder."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = io.StringIO()
    for name in files:
        if name != SUMS:
            lines.write(f"{sha256_of(folder / name)}  {name}\n")
    write_text(folder / SUMS, lines.getvalue())


def problems(folder: Path) -> list[str]:
    """What of a release is not as its SHA256SUMS says: files that differ, are missing, or are in none of its lines."""
    try:
        lines = (folder / SUMS).read_text("utf-8").splitlines()
    except OSError:
        return [f"{SUMS} is missing"]
    told = {name: sha for sha, _, name in (line.partition("  ") for line in lines)}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {SUMS}
    found = [f"{name} is missing" for name in sorted(set(told) - there)]
    found += [f"{name} was added" for name in sorted(there - set(told))]
    return found + [
        f"{name} was changed" for name in sorted(there & set(told)) if sha256_of(folder / name) != told[name]
    ]
