"""Scan a table row by row: CSV, JSON lines or Parquet, plain or gzipped."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import json
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from hapi_pipeline.parallel import spread_stream

from .model import Finding, decide
from .scan import scan_texts

_BATCH_ROWS = 1024
_BATCH_CHARACTERS = 4 << 20
# Texts of fewer batches are scanned sooner than other processes have started.
_LEAST_BATCHES = 8
_ATTACHMENT_LIMIT = 4 << 20
# Control characters that no text has: all but tabulator, line ends, form feed and escape.
_CONTROLS = tuple(bytes([code]) for code in range(32) if code not in b"\t\n\v\f\r\x1a\x1b")
_DEFAULT_COLUMN = "text"
# Cells hold whole posts; the standard limit of 128 KiB is too small for some and unlimited invites
# exhaustion.
_CELL_LIMIT = 64 << 20
_GZIP_MAGIC = b"\x1f\x8b"

Row = Mapping[str, object]


def scan_file(path: Path, text_column: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield one decision a row: `{"row", "decision", "findings": [{"type", "start", "end", "score"}]}`.

    `row` counts data rows from 0. The text is `text_column`, or else a column named `text`, or else all
    string columns
    joined by a newline in their order. The kind of file is told by its name (`.csv`, `.tsv`, `.jsonl`,
    `.ndjson`,
    `.parquet`, each also with `.gz`). Raises `ValueError` with one plain sentence when the file cannot be
    read or the
    column is missing; nothing is read before the first row is asked for.
    """
    number = itertools.count()
    try:
        for findings in spread_stream(scan_texts, _batches(_texts(path, text_column)), least=_LEAST_BATCHES):
            for found in findings:
                yield _report(next(number), found)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 or UTF-16 text, so it cannot be scanned.") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path.name} is a damaged gzip file.") from error
    except csv.Error as error:
        raise ValueError(f"{path.name} is not a readable CSV file: {error}.") from error
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror or error}.") from error


def attached_text(path: Path) -> str | None:
    """The text of a file that is text whatever it is called, its first 4 MiB; None for any other file.

    Text is what decodes as UTF-8, or as UTF-16 with a byte order mark, or else has none of the control characters that
    the other kinds of files are full of (a table saved by an old program, say). Nothing but a regular file is opened.
    """
    try:
        with open(path, "rb", opener=_open_unfollowed) as file:  # a pipe would wait for a writer
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            head = file.read(_ATTACHMENT_LIMIT) if regular else None
    except (OSError, ValueError):
        return None
    return None if head is None else _decoded(head)


def _open_unfollowed(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _decoded(head: bytes) -> str | None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head.decode("utf-16", "replace")
    if any(control in head for control in _CONTROLS):
        return None
    try:
        # an incremental decoder forgives the character that the limit cuts through
        return codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return head.decode("cp1252", "replace")


def _report(row: int, findings: list[Finding]) -> dict[str, Any]:
    listed = [{"type": f.type, "start": f.start, "end": f.end, "score": f.score} for f in findings]
    return {"row": row, "decision": decide(findings), "findings": listed}


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    """Lists of texts to scan at a time, by number and size; where a row cannot be read, those before it come first."""
    batch: list[str] = []
    size = 0
    try:
        for text in texts:
            batch.append(text)
            size += len(text)
            if len(batch) == _BATCH_ROWS or size > _BATCH_CHARACTERS:
                yield batch
                batch, size = [], 0
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _texts(path: Path, text_column: str | None) -> Iterator[str]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = next((suffix for suffix in reversed(suffixes) if suffix != ".gz"), "")
    if kind in (".csv", ".tsv"):
        return _csv_texts(path, text_column, "\t" if kind == ".tsv" else ",")
    if kind in (".jsonl", ".ndjson"):
        return _jsonl_texts(path, text_column)
    if kind in (".parquet", ".pq"):
        return _parquet_texts(path, text_column)
    raise ValueError(f"{path.name} is not a CSV, JSONL or Parquet file (told by the end of its name).")


def _open_binary(path: Path) -> IO[bytes]:
    with path.open("rb") as probe:
        zipped = probe.read(2) == _GZIP_MAGIC
    return cast("IO[bytes]", gzip.open(path, "rb")) if zipped else path.open("rb")


def _open_text(path: Path) -> IO[str]:
    """Decode UTF-8 with or without a byte order mark, or UTF-16 with one; keep line breaks inside cells."""
    with _open_binary(path) as probe:
        encoding = "utf-16" if probe.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return io.TextIOWrapper(_open_binary(path), encoding=encoding, newline="")


def _csv_texts(path: Path, text_column: str | None, delimiter: str) -> Iterator[str]:
    csv.field_size_limit(_CELL_LIMIT)
    with _open_text(path) as lines:
        rows = csv.DictReader(lines, delimiter=delimiter, restkey="", restval="")
        columns = [name for name in rows.fieldnames or [] if name is not None]
        if not columns:
            raise ValueError(f"{path.name} is empty: it has no header row.")
        column = _choose(path, text_column, columns)
        for row in rows:
            # Cells beyond the header come as a list under the key ""; they are text of the row
            # like any other.
            extra = row.pop("", None) if "" not in columns else None
            yield row[column] if column else _joined([*row.values(), *(extra or [])])


def _jsonl_texts(path: Path, text_column: str | None) -> Iterator[str]:
    with _open_text(path) as lines:
        column: str | None = None
        seen = False
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            row = _json_object(path, number + 1, line)
            if not seen:
                column, seen = _choose(path, text_column, list(row)), True
            yield _string(row.get(column)) if column else _joined(row.values())


def _json_object(path: Path, line_number: int, line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Line {line_number} of {path.name} is not JSON.") from error
    if not isinstance(row, dict):
        raise ValueError(f"Line {line_number} of {path.name} is not a JSON object.")
    return row


def _parquet_texts(path: Path, text_column: str | None) -> Iterator[str]:
    # Imported here: scanning text must not cost the start of Arrow.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        source: Any = path
        if path.suffix.lower() == ".gz":
            with _open_binary(path) as zipped:
                source = pa.BufferReader(zipped.read())
        table = pq.ParquetFile(source)
        columns = list(table.schema_arrow.names)
        column = _choose(path, text_column, columns)
        wanted = [column] if column else _string_columns(table.schema_arrow)
        for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=wanted):
            for row in batch.to_pylist():
                yield _string(row[column]) if column else _joined(row.values())
    except pa.ArrowException as error:
        raise ValueError(f"{path.name} is not a readable Parquet file.") from error


def _string_columns(schema: Any) -> list[str]:
    import pyarrow as pa

    def is_text(kind: Any) -> bool:
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))

    return [field.name for field in schema if is_text(field.type)]


def _choose(path: Path, text_column: str | None, columns: list[str]) -> str | None:
    """The column to scan, or None for all string columns."""
    if text_column is not None:
        if text_column not in columns:
            raise ValueError(f"{path.name} has no column {text_column!r}; it has {', '.join(map(repr, columns))}.")
        return text_column
    return _DEFAULT_COLUMN if _DEFAULT_COLUMN in columns else None


def _joined(values: Iterable[object]) -> str:
    return "\n".join(value for value in values if isinstance(value, str))


def _string(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
