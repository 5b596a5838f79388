"""Opens a file from outside as rows of text, whatever form it arrives in.

CSV, JSON (lines, arrays, nested documents), feeds (RSS, Atom) and Parquet, each also gzipped, are recognised by
content. Every column arrives as text (VARCHAR), nested values as JSON, the empty text as null, so that a source
definition means the same for every form.
"""

from __future__ import annotations

import collections
import csv
import gzip
import hashlib
import mmap
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hapi_pipeline.engine import SPILLING, connect, quoted
from hapi_pipeline.intake.documents import feed_to_lines, is_one_document, json_to_lines, looks_like_feed
from hapi_pipeline.settings import UserError

if TYPE_CHECKING:
    import duckdb

Form = Literal["csv", "jsonl", "json", "xml", "parquet", "xlsx"]
_LOOK = 1 << 16
_MAX_UNPACKED = 64 << 30  # bytes; more than this out of one gzip file is an attack or a mistake
_MAX_RATIO = 2000
_MAX_LINE = 64 << 20
_AT_ONCE = 256 << 20
"""Bytes up to which DuckDB reads a CSV file in one piece; by itself it would up to 1 GiB, more than it may have."""
_KEPT = 4000  # characters of a row that could not be read
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_BEYOND_ASCII = re.compile("[^\x00-\x7f\udc80-\udcff]")
_NO_UTF8 = re.compile("[\udc80-\udcff]+")


@dataclass(frozen=True)
class BadRow:
    """A row that could not be read at all."""

    row: int | None
    value: str
    message: str


@dataclass(frozen=True)
class OpenFile:
    """A file whose rows stand in the table `export` of a DuckDB connection, numbered from 1 in `_row`."""

    connection: duckdb.DuckDBPyConnection
    path: Path
    sha256: str
    columns: tuple[str, ...]
    bad_rows: tuple[BadRow, ...]
    replaced: int = 0
    """Sequences of bytes that are no UTF-8 in a file that is; the replacement character U+FFFD stands for each."""


def check_readable(path: Path) -> None:
    """Raise UserError unless this is a non-empty file that may be read."""
    if not path.exists():
        raise UserError(f"{path} does not exist.")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the files in it.")
    if not path.is_file():
        raise UserError(f"{path} is not a regular file.")
    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty; expected CSV, JSON lines or Parquet with at least a header.")
        with path.open("rb") as file:
            file.read(1)
    except PermissionError:
        raise UserError(f"{path} may not be read by this user.") from None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recognise(path: Path) -> Form:
    """The form of an unpacked file, by its content. Raises UserError for anything else."""
    with path.open("rb") as file:
        head = file.read(_LOOK)
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:4] == b"PK\x03\x04":
        return "xlsx"
    if head[:2] in _UTF16_MARKS:
        head = head.decode("utf-16", errors="ignore").encode()
    if b"\0" in head:
        raise UserError(f"{path.name} is a binary file; expected CSV, JSON lines or Parquet.")
    text = head.removeprefix(b"\xef\xbb\xbf").strip()
    if not text:
        raise UserError(f"{path.name} holds nothing but blanks; expected CSV, JSON lines or Parquet.")
    if looks_like_feed(text):
        return "xml"
    if text[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise UserError(f"{path.name} is a web page; expected CSV, JSON, Parquet or a feed.")
    if text[:1] not in (b"{", b"["):
        return "csv"
    return "json" if is_one_document(text) else "jsonl"


@contextmanager
def open_rows(path: Path, records: str | None = None) -> Iterator[OpenFile]:
    """Open a file as the table `export`; `records` is where a JSON document has its records.

    Raises UserError in one sentence when it cannot be read.
    """
    check_readable(path)
    sha = sha256_of(path)
    with tempfile.TemporaryDirectory(prefix="hapi-") as scratch:
        unpacked = _unpacked(path, Path(scratch))
        form = recognise(unpacked)
        text, replaced = _as_utf8(unpacked, Path(scratch)) if form in ("csv", "jsonl", "json") else (unpacked, 0)
        text, form = _as_lines(text, form, path.name, Path(scratch), records)
        with connect({**SPILLING, "temp_directory": scratch}) as connection:
            columns, bad = _load(connection, text, form, path.name, Path(scratch))
            if not connection.execute("SELECT count(*) FROM export").fetchall()[0][0] and not bad:
                raise UserError(f"{path.name} has a header but no rows.")
            yield OpenFile(connection, path, sha, tuple(columns), tuple(bad), replaced)


def _unpacked(path: Path, scratch: Path) -> Path:
    """The file itself, or what a gzip file holds."""
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return path
    goal, size, limit = (
        scratch / "unpacked",
        0,
        min(_MAX_UNPACKED, max(1 << 30, path.stat().st_size * _MAX_RATIO)),
    )
    try:
        with gzip.open(path) as packed, goal.open("wb") as out:
            while block := packed.read(1 << 20):
                size += len(block)
                if size > limit:
                    raise UserError(f"{path.name} unpacks to more than {limit >> 20} MiB; it was not read further.")
                out.write(block)
    except (OSError, EOFError) as error:
        raise UserError(f"{path.name} is a damaged gzip file.") from error
    if size == 0:
        raise UserError(f"{path.name} holds nothing once unpacked.")
    return goal


def _load(
    connection: duckdb.DuckDBPyConnection, path: Path, form: Form, name: str, scratch: Path
) -> tuple[list[str], list[BadRow]]:
    import duckdb

    try:
        if form == "parquet":
            return _load_parquet(connection, path), []
        if form == "jsonl":
            return _load_jsonl(connection, path)
        if form == "xlsx":
            return _load_xlsx(connection, path, name), []
        return _load_csv(connection, path, scratch)
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0].replace(str(path), name)
        raise UserError(f"{name} could not be read as {form}: {reason}") from error


def _load_parquet(connection: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    source = f"read_parquet({quoted(path)})"
    described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608
    nested = ("STRUCT", "MAP", "[", "UNION", "JSON")
    shown = [
        f"to_json({column_name(c)})::VARCHAR AS {column_name(c)}"
        if any(mark in str(kind) for mark in nested)
        else f"nullif({column_name(c)}::VARCHAR, '') AS {column_name(c)}"
        for c, kind, *_ in described
    ]
    columns = [c for c, *_ in described]
    if "file_row_number" in {c.casefold() for c in columns}:
        number = "row_number() OVER ()"
    else:
        number, source = "file_row_number + 1", f"read_parquet({quoted(path)}, file_row_number=true)"
    connection.execute(f"CREATE TEMP VIEW export AS SELECT {number} AS _row, {', '.join(shown)} FROM {source}")  # noqa: S608
    return columns


def _load_jsonl(connection: duckdb.DuckDBPyConnection, path: Path) -> tuple[list[str], list[BadRow]]:
    connection.execute(
        f"""
        CREATE TEMP TABLE lines AS
        SELECT _row, line, CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END AS is_object
        FROM (
            SELECT row_number() OVER () AS _row, line FROM
            read_csv({quoted(path)}, columns={{'line': 'VARCHAR'}}, auto_detect=false, header=false, delim='\x01',
                     quote='', escape='', max_line_size={_MAX_LINE}, buffer_size={_MAX_LINE}, strict_mode=false)
        ) WHERE trim(line) <> ''
        """  # noqa: S608
    )
    bad = connection.execute(
        f"SELECT _row, left(line, {_KEPT}) FROM lines WHERE NOT is_object ORDER BY 1"  # noqa: S608
    ).fetchall()
    keys = connection.execute(
        "SELECT key FROM (SELECT unnest(json_keys(line)) AS key, _row FROM lines WHERE is_object) "
        "GROUP BY key ORDER BY min(_row), key"
    ).fetchall()
    spelled: dict[str, list[str]] = {}  # SQL takes names that differ in case alone for the same
    for (key,) in keys:
        spelled.setdefault(key.casefold(), []).append(key)
    columns = unique_names([spellings[0] for spellings in spelled.values()])
    place = {key: number for number, (key,) in enumerate(keys, 1)}
    shown = "".join(
        f""", coalesce({", ".join(f"nullif(cells[{place[key]}], '')" for key in spellings)}) AS {column_name(column)}"""
        for column, spellings in zip(columns, spelled.values(), strict=True)
    )
    # all cells at once: asking for them one by one would parse the line as often
    pointers = ", ".join(quoted(_json_pointer(key)) for key in place) or "'/'"
    connection.execute(
        f"""
        CREATE TEMP VIEW export AS SELECT _row{shown} FROM (
            SELECT _row, json_extract_string(line, [{pointers}]) AS cells FROM lines WHERE is_object
        )
        """  # noqa: S608
    )
    return columns, [BadRow(row, text, "This line is not a JSON object.") for row, text in bad]


def _load_csv(connection: duckdb.DuckDBPyConnection, path: Path, scratch: Path) -> tuple[list[str], list[BadRow]]:
    """Rows with as many cells as the header has; the others are bad. Only the separator is guessed."""
    import duckdb

    header = _header(path)
    try:
        _read_csv(connection, path, header)
    except duckdb.Error:
        # lines that end in different ways within one file
        same = scratch / "same-line-ends"
        _rewrite(path, same, encoding="utf-8", newline=None)
        _read_csv(connection, same, header)
        path = same
    rejects: list[_Reject] = connection.execute(
        f"SELECT line - {header.skip + 1}, left(any_value(csv_line), {_KEPT}), any_value(error_message) "  # noqa: S608
        "FROM reject_errors GROUP BY line ORDER BY line"
    ).fetchall()
    if _is_large(path):
        rejects += _never_closed(connection, path, header, len(rejects))
    shown = "".join(f", nullif({column_name(c)}, '') AS {column_name(c)}" for c in header.columns)
    if not rejects:
        connection.execute(f"CREATE TEMP VIEW export AS SELECT _row{shown} FROM loaded")  # noqa: S608
        return list(header.columns), []
    # rows keep the numbers that they have in the file, those that could not be read included
    connection.execute(
        "CREATE TEMP TABLE unread AS SELECT unnest($rows::BIGINT[]) AS number",
        {"rows": [row for row, _, _ in rejects]},
    )
    connection.execute(
        f"""
        CREATE TEMP VIEW export AS
        WITH numbers AS (
            SELECT number, row_number() OVER (ORDER BY number) AS nth
            FROM range(1, (SELECT count(*) FROM loaded) + {len(rejects)} + 1) r(number)
            ANTI JOIN unread USING (number)
        )
        SELECT number AS _row{shown} FROM loaded JOIN numbers ON nth = _row ORDER BY number
        """  # noqa: S608
    )
    bad = [BadRow(row, text or "", message.splitlines()[0]) for row, text, message in rejects]
    return list(header.columns), bad


_Reject = tuple[int, str | None, str]
"""The number of a row, the start of its text, and why it cannot be read."""


@dataclass(frozen=True)
class _Header:
    """The first row of a CSV file that is not blank."""

    columns: tuple[str, ...]
    delimiter: str
    skip: int  # blank lines before it


def _header(path: Path) -> _Header:
    skip = 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        for line in file:
            if line.strip():
                break
            skip += 1
    delimiter = max(",;\t|", key=line.count)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for _ in range(skip):
            file.readline()
        cells = next(csv.reader(file, delimiter=delimiter), [])
    return _Header(tuple(unique_names(cells)), delimiter, skip)


def _is_large(path: Path) -> bool:
    return path.stat().st_size > _AT_ONCE


def _read_csv(connection: duckdb.DuckDBPyConnection, path: Path, header: _Header) -> None:
    # in pieces, several threads would take the end of a line within a long cell for the end of a row
    in_pieces = f"buffer_size={_MAX_LINE}, parallel=false," if _is_large(path) else ""
    columns = ", ".join(f"{quoted(c)}: 'VARCHAR'" for c in header.columns)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE loaded AS SELECT row_number() OVER () AS _row, * FROM "  # noqa: S608
        f"read_csv({quoted(path)}, auto_detect=false, header=true, skip={header.skip}, columns={{{columns}}}, "
        f"delim={quoted(header.delimiter)}, quote='\"', escape='\"', max_line_size={_MAX_LINE}, "
        f"{in_pieces} store_rejects=true)"
    )


def _never_closed(connection: duckdb.DuckDBPyConnection, path: Path, header: _Header, rejects: int) -> list[_Reject]:
    """The last row, where a quote in it is never closed: DuckDB says nothing of it when it reads in pieces.

    Raises UserError where the last row is too long to be read.
    """
    quoted_cell = re.compile(rb'(?:\A(?:\xef\xbb\xbf)?|[\r\n%b])"(?:[^"]++|"")*+("?)' % header.delimiter.encode())
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        last = collections.deque(quoted_cell.finditer(text), maxlen=1)
        last_line = text.rfind(b"\n") + 1  # the end, where something ends it
        in_cell = last and (not last[0][1] or last[0].end() > last_line)
        start = text.rfind(b"\n", 0, last[0].start() + 1) + 1 if in_cell else last_line
        shown = text[start : start + _KEPT].decode("utf-8", "replace")
        if len(text) - start > _MAX_LINE:  # of so long a row DuckDB takes the beginning for all, or nothing
            raise UserError(f"The last row is longer than {_MAX_LINE >> 20} MiB: {shown[:60]!r}; nothing was taken in.")
        if not last or last[0][1]:
            return []
    (loaded,) = connection.execute("SELECT count(*) FROM loaded").fetchall()[0]
    return [(loaded + rejects + 1, shown, "Value with unterminated quote found.")]


def unique_names(names: Sequence[str]) -> list[str]:
    """Names that a table's columns may have: not blank, not `_row`, no two alike but for their case."""
    taken, unique = {"_row"}, []
    for name in (n.strip() or "unnamed" for n in names):
        new, number = name, 1
        while new.casefold() in taken:
            new, number = f"{name}_{number}", number + 1
        taken.add(new.casefold())
        unique.append(new)
    return unique


def _load_xlsx(connection: duckdb.DuckDBPyConnection, path: Path, name: str) -> list[str]:
    """The first sheet, its first row being the header; for rubrics, which people write in workbooks."""
    import pyarrow as pa
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        sheet = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python(skip_empty_area=True)
    except (CalamineError, ValueError, IndexError, OSError) as error:
        raise UserError(
            f"{name} is a zip file but no workbook that can be opened; expected CSV, JSON lines, "
            "Parquet or an xlsx workbook."
        ) from error
    if not sheet:
        raise UserError(f"The first sheet of {name} is empty.")
    columns = unique_names([str(c) for c in sheet[0]])
    texts = [[_cell(value) for value in row] for row in sheet[1:]]
    rows = pa.table(
        {"_row": pa.array(range(1, len(texts) + 1), pa.int64())}
        | {c: pa.array([row[i] for row in texts], pa.string()) for i, c in enumerate(columns)}
    )
    connection.register("sheet", rows)
    connection.execute("CREATE TEMP TABLE export AS SELECT * FROM sheet")
    return columns


def _cell(value: object) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if value not in ("", None) else None


def _as_lines(path: Path, form: Form, name: str, scratch: Path, records: str | None) -> tuple[Path, Form]:
    """A document as JSON lines in the scratch folder; any other file as it is."""
    goal = scratch / "lines"
    if form == "xml":
        feed_to_lines(path, goal, name)
    elif form == "json" or (form == "jsonl" and records):
        json_to_lines(path, goal, name, records)
    else:
        return path, form
    return goal, "jsonl"


def _as_utf8(path: Path, scratch: Path) -> tuple[Path, int]:
    """The file in UTF-8, by a copy in the scratch folder if need be, and how many bad sequences were replaced in it.

    One bad byte does not make a UTF-8 file another: only where more sequences are bad than good is it taken for
    Windows-1252, which is what spreadsheet programs write where they do not write UTF-8.
    """
    with path.open("rb") as file:
        mark = file.read(2)
    goal = scratch / "utf8"
    if mark in _UTF16_MARKS:
        _rewrite(path, goal, encoding="utf-16", newline="")
        return goal, 0
    good, bad = _sequences(path)
    if not bad:
        return path, 0
    _rewrite(path, goal, encoding="cp1252" if bad > good else "utf-8", newline="")
    return goal, 0 if bad > good else bad


def _sequences(path: Path) -> tuple[int, int]:
    """How many characters beyond ASCII a file holds if it is UTF-8, and how many runs of bytes are no UTF-8."""
    good = bad = 0
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        while block := file.read(1 << 20):
            if not block.isascii():
                good += len(_BEYOND_ASCII.findall(block))
                bad += len(_NO_UTF8.findall(block))
    return good, bad


def _rewrite(path: Path, goal: Path, *, encoding: str, newline: str | None) -> None:
    """A copy in UTF-8; without `newline` every line ends in a line feed."""
    with (
        path.open(encoding=encoding, errors="replace", newline=newline) as source,
        goal.open("w", encoding="utf-8", newline="") as out,
    ):
        while block := source.read(1 << 20):
            out.write(block)


def _json_pointer(key: str) -> str:
    """The JSON pointer to a key: in a path, `*` and the empty key mean other things."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def column_name(column: str) -> str:
    """The name of a column as SQL writes it."""
    return '"' + column.replace('"', '""') + '"'
