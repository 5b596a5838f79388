"""Text files of verdicts, read line by line so that one damaged line never takes its neighbours with it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hapi_pipeline.settings import UserError

DELIMITERS = ",;\t"
_MAX_ARRAY = 200_000_000  # characters of a JSON array, which cannot be read piece by piece
_BINARY_SHARE = 0.05  # of control characters, beyond which a file is not text


@dataclass(frozen=True)
class BadLine:
    """A line that cannot be read as a record, and why."""

    line: str
    reason: str


Record = Sequence[str] | BadLine


def decode(data: bytes, name: str) -> tuple[str, bool]:
    """The text of a file, and whether its encoding had to be guessed or repaired."""
    guessed = False
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    bare = None if marked else _bare_utf16(data)
    if marked or bare:
        text = data.decode(bare or "utf-16", "replace")
        guessed = bool(bare) or "\ufffd" in text
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text, guessed = _repaired(data), True
    sample = text[:100_000]
    odd = sum(ord(c) < 32 and c not in "\t\r\n" for c in sample)
    if odd > _BINARY_SHARE * len(sample):
        raise UserError(
            f"{name} is not a text file; expected the packet workbook (.xlsx, .ods), its CSV twin, or "
            "verdicts as CSV or JSON lines."
        )
    return text, guessed


def _bare_utf16(data: bytes) -> str | None:
    """The kind of UTF-16 of text without a byte order mark: of ASCII, every other byte is zero."""
    sample = data[:4000]
    low, high = sample[::2].count(0), sample[1::2].count(0)
    if len(sample) < 8 or max(low, high) < 0.4 * (len(sample) // 2) or min(low, high) > 0.05 * len(sample):
        return None
    return "utf-16-be" if low > high else "utf-16-le"


def _repaired(data: bytes) -> str:
    """Text with bytes that are no UTF-8: damaged UTF-8 when most of it is sound, else Windows' Western code page."""
    text = data.decode("utf-8-sig", "replace")
    damaged = text.count("\ufffd")
    sound = sum(not c.isascii() for c in text) - damaged
    return text if sound > damaged else data.decode("cp1252", "replace")


def physical_lines(text: str) -> list[str]:
    """The lines with their ends; only CR and LF end a line, since a cell may hold any other separator."""
    return list(io.StringIO(text, newline=""))


def records(lines: Sequence[str], delimiter: str, is_record: Callable[[Sequence[str]], bool]) -> Iterator[Record]:
    """The records of a CSV file, blank ones included.

    A stray quote would swallow the lines after it into one cell. So a record over several lines of which one
    is a record by itself (`is_record`), and whatever breaks the rules of quoting, costs its first line only.
    """
    start = 0
    while start < len(lines):
        reader = csv.reader(islice(lines, start, None), delimiter=delimiter, strict=True)
        used = 0
        try:
            for record in reader:
                before, used = used, reader.line_num
                swallowed = lines[start + before + 1 : start + used]
                if swallowed and any(_stands_alone(line, delimiter, is_record) for line in swallowed):
                    used = before
                    raise csv.Error("a quotation mark is opened and not closed")
                yield record
        except csv.Error as error:
            yield BadLine(lines[start + used], _plain(error))
            start += used + 1
        else:
            return


def _stands_alone(line: str, delimiter: str, is_record: Callable[[Sequence[str]], bool]) -> bool:
    try:
        return any(is_record(record) for record in csv.reader([line], delimiter=delimiter))
    except csv.Error:
        return False


def _plain(error: csv.Error) -> str:
    text = str(error)
    if "field larger" in text:
        return "a cell is longer than any comment"
    return "its quotation marks do not match"


def json_records(lines: Sequence[str]) -> Iterator[tuple[int, dict[str, Any] | BadLine]]:
    """The objects of a JSON Lines file with their line numbers from 1; blank lines are passed over."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            yield number, value
        else:
            yield number, BadLine(line, "it is not a JSON object")


def json_array(text: str) -> list[tuple[int, dict[str, Any] | BadLine]] | None:
    """The objects of a file that is one JSON array, numbered from 1; None when it is not one."""
    if len(text) > _MAX_ARRAY:
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return [
        (n, v if isinstance(v, dict) else BadLine(str(v)[:500], "it is not a JSON object"))
        for n, v in enumerate(values if isinstance(values, list) else [], 1)
    ] or None


def wide_records(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, dict[str, Any] | BadLine]]:
    """The records of a CSV file as JSON objects without its blank cells, numbered from 1."""
    found = records(lines, delimiter, lambda cells: False)
    head = next(found)
    for number, record in enumerate(found, 1):
        if isinstance(record, BadLine) or isinstance(head, BadLine):
            yield (
                number,
                record if isinstance(record, BadLine) else BadLine(str(record), "the column names are damaged"),
            )
        elif len(record) > len(head):
            yield number, BadLine(delimiter.join(record), "it has more cells than there are columns")
        elif any(record):
            yield number, {name: cell for name, cell in zip(head, record, strict=False) if cell}


def looks_like_json_lines(lines: Sequence[str]) -> bool:
    """Whether one of the first lines is a whole JSON object."""
    return any(isinstance(value, dict) and value != {} for _, value in json_records(lines[:50]))
