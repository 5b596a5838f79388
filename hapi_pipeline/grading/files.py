"""The files that graders send back, recognised by what is in them and read into rows.

Four forms are taken: the packet workbook (.xlsx or .ods), its CSV twin (also as a spreadsheet program saves
it), the long form (CSV, JSON Lines or a JSON array, a row a verdict), and the exports of Label Studio. To take
another, add a reader to `_read_text`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from hapi_pipeline.grading import delimited, foreign, label_studio
from hapi_pipeline.grading.delimited import BadLine
from hapi_pipeline.grading.packets import unguard
from hapi_pipeline.grading.sheets import Cell, Place, Sheet, cell_name, read_workbook
from hapi_pipeline.grading.text import clean, shorten
from hapi_pipeline.grading.words import BAD, parse_verdict
from hapi_pipeline.grading.workbook import GRADE_SHEET, META_SHEET
from hapi_pipeline.settings import UserError

OVERALL = "__overall__"
"""criterion_id of a row that holds the grader's overall feedback instead of a verdict."""

_NAMES = {
    "packet_id": "packet_id",
    "packet": "packet_id",
    "job_id": "job_id",
    "model": "model",
    "round": "round",
    "sample": "sample",
    "criterion_id": "criterion_id",
    "passed": "passed",
    "verdict": "passed",
    "pass": "passed",
    "comment": "comment",
    "comments": "comment",
    "grader": "grader",
    "grader_role": "grader_role",
    "role": "grader_role",
    "minutes": "minutes",
    "graded_at": "graded_at",
    "graded_on": "graded_at",
    "packet_sha256": "packet_sha256",
    "rubric_version": "rubric_version",
    "schema_version": "schema_version",
    "overall_feedback": "overall_feedback",
    "importance": "importance",
    "criterion": "criterion",
}
_IDENTIFYING = frozenset({"packet_id", "packet_sha256", "rubric_version", "schema_version"})
_ABOVE_TABLE = _IDENTIFYING | {"grader", "minutes", "graded_at", "overall_feedback"}
_SHOWN_ONLY = frozenset({"importance", "criterion"})  # there for the grader, never read back
_LABEL_REACH = 2  # cells to the right of its label where a value stands: beyond that something else does
_SEARCHED_ROWS = 60  # how far down the table may begin
_MAX_WORKBOOK, _MAX_TEXT = 50 * 1024 * 1024, 1024 * 1024 * 1024  # bytes
_MAX_MERGED_ROWS = 1_000
_EXPECTED = (
    "expected the packet workbook (.xlsx, .ods), its CSV twin, a Label Studio export, or verdicts as CSV or JSON "
    "lines with criterion_id, passed (or verdict) and packet_id (or job_id, model and round)"
)


@dataclass(frozen=True)
class Problem:
    """Something in a file that cannot be taken in; row, column and value as the quarantine shows them."""

    row: int | None
    column: str | None
    value: str | None
    code: str
    message: str
    criterion_id: str | None = None  # what the row is about, where it can be read: for the reply to the grader
    packet_id: str | None = None


@dataclass(frozen=True)
class RawRow:
    """One row as it stands in the file, under canonical column names; blank cells are None.

    `row` is the sheet row in a workbook, the line in JSON Lines, the task in a Label Studio export, else the row of
    the table, the first being 1. `flags` are what the reader has noticed about it.
    """

    row: int
    values: Mapping[str, Cell]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class VerdictFile:
    """A grader's file, read but not yet judged."""

    form: str  # workbook, twin, long or label_studio
    # what stands above the table or in the hidden sheet, and about the file: guessed_encoding, ignored
    header: Mapping[str, Any]
    rows: tuple[RawRow, ...]
    problems: tuple[Problem, ...]
    above: int = 0  # lines of a CSV file up to the column names: a spreadsheet shows row n of the table as n + above


def read_verdict_file(path: Path, people: Mapping[str, str] | None = None) -> VerdictFile:
    """Read a grader's file, whatever it is called; UserError for what is no verdict file at all.

    `people` are the graders' ids by the id or address under which an annotation tool knows them.
    """
    data = _bytes(path)
    if data.startswith(b"PK"):
        if len(data) > _MAX_WORKBOOK:
            raise UserError(f"{path.name} is larger than any packet workbook; {_EXPECTED}.")
        return _from_sheets(read_workbook(data, path.name), path.name)
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise UserError(
            f"{path.name} is an old .xls file or protected by a password; save it as .xlsx without a password."
        )
    return _read_text(data, path.name, people or {})


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the files in it.")
    if not path.is_file():
        raise UserError(f"{path} does not exist or is not a regular file.")
    try:
        size = path.stat().st_size
        if size > _MAX_TEXT:
            raise UserError(f"{path.name} is larger than 1 GB; split it and import the parts.")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    if not data.strip():
        raise UserError(f"{path.name} is empty; {_EXPECTED}.")
    return data


def _read_text(data: bytes, name: str, people: Mapping[str, str]) -> VerdictFile:
    text, guessed = delimited.decode(data, name)
    lines = delimited.physical_lines(text)
    found = delimited.json_array(text) if text.lstrip()[:1] == "[" else None
    if found is None and delimited.looks_like_json_lines(lines):
        found = list(delimited.json_records(lines))
    if found is not None:
        objects = [record for _, record in found if not isinstance(record, BadLine)]
        if label_studio.is_export(objects):
            return _from_label_studio(found, name, people, guessed)
        return _from_json(found, name, guessed)
    wide = _label_studio_columns(lines)
    if wide:
        return _from_label_studio(delimited.wide_records(lines, wide), name, people, guessed)
    return _from_csv(lines, name, guessed)


def _no_json_verdicts(name: str, fields: Iterable[object] = ()) -> str:
    tool = foreign.tool_of(fields)
    return foreign.refusal(name, tool) if tool else f"{name} holds JSON but no verdicts, or is cut off; {_EXPECTED}."


def _label_studio_columns(lines: Sequence[str]) -> str | None:
    """The delimiter of a Label Studio CSV or TSV export, or None when the file is none."""
    for delimiter in delimited.DELIMITERS:
        head = {cell.strip().strip('"') for cell in (lines[0].split(delimiter) if lines else ())}
        if {"annotation_id", "annotator"} <= head:
            return delimiter
    return None


def _from_label_studio(
    found: Iterable[tuple[int, dict[str, Any] | BadLine]], name: str, people: Mapping[str, str], guessed: bool
) -> VerdictFile:
    records, problems = [], []
    for number, record in found:
        if isinstance(record, BadLine):
            problems.append(_bad_line(number, record))
        else:
            records.append(record)
    export = label_studio.read_export(records, name, people)
    problems += [Problem(*problem) for problem in export.problems]
    header: dict[str, Any] = {"guessed_encoding": True} if guessed else {}
    return VerdictFile("label_studio", header, tuple(RawRow(*row) for row in export.rows), tuple(problems))


def canonical(label: Cell) -> str | None:
    """The canonical name of a column or header label, or None when it is not one of ours."""
    if not isinstance(label, str) or len(label) > 60:
        return None
    plain = unicodedata.normalize("NFKC", label).casefold().strip().rstrip(":").strip()
    return _NAMES.get(re.sub(r"[\s-]+", "_", plain))


# --- a table with a header block above it: workbooks and CSV --------------------


@dataclass(frozen=True)
class _Table:
    at: int  # index of the row with the column names
    columns: Mapping[int, str]
    ignored: tuple[str, ...]
    width: int  # cells up to the last column name

    @property
    def read_columns(self) -> tuple[int, ...]:
        return tuple(at for at, column in self.columns.items() if column not in _SHOWN_ONLY)


def _find_table(grid: Iterable[Sequence[Cell]], name: str) -> _Table | None:
    for at, row in enumerate(islice(grid, _SEARCHED_ROWS)):
        names = [canonical(cell) for cell in row]
        if _names_columns(row):
            known = [column for column in names if column]
            twice = next((column for column in known if known.count(column) > 1), None)
            if twice:
                labels = " and ".join(repr(str(row[i])) for i, column in enumerate(names) if column == twice)
                raise UserError(f"{name} has two columns for {twice} ({labels}); keep one of them.")
            ignored = tuple(shorten(c, 40) for c, n in zip(row, names, strict=True) if c and n is None)
            width = 1 + max(i for i, cell in enumerate(row) if not _blank(cell))
            return _Table(at, {i: column for i, column in enumerate(names) if column}, ignored, width)
    return None


def _names_columns(row: Sequence[Cell]) -> bool:
    """Whether a row is the line of column names."""
    return {"criterion_id", "passed"} <= {canonical(cell) for cell in row}


def _header_block(
    rows: Sequence[Sequence[Cell]], formulas: frozenset[Place] = frozenset()
) -> dict[str, tuple[Cell, Place]]:
    """The values above the table with their places: each stands to the right of its label."""
    found: dict[str, tuple[Cell, Place]] = {}
    for r, row in enumerate(rows):
        label, at = "", 0
        for c, cell in enumerate(row):
            name = canonical(cell)
            if name in _ABOVE_TABLE:
                label, at = name or "", c
            elif label and c <= at + _LABEL_REACH and (not _blank(cell) or (r, c) in formulas):
                found.setdefault(label, (cell, (r, c)))  # a formula may have no value yet
                label = ""
    return found


def _blank(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _from_sheets(sheets: Sequence[Sheet], name: str) -> VerdictFile:
    ordered = sorted(sheets, key=lambda s: s.name.casefold() != GRADE_SHEET)
    for sheet in ordered:
        table = _find_table(sheet.rows, name)
        if table:
            break
    else:
        tool = foreign.tool_of(cell for sheet in sheets for row in sheet.rows[:1] for cell in row)
        raise UserError(
            foreign.refusal(name, tool) if tool else f"{name} is a workbook without a table of verdicts; {_EXPECTED}."
        )
    header, problems = _sheet_header(sheet, table)
    for key, value in _meta(sheets).items():
        header.setdefault(key, value)
    if table.ignored:
        header["ignored"] = table.ignored
    merged = _merged_rows(sheet, table)
    rows = []
    for r in range(table.at + 1, max(len(sheet.rows), *(row + 1 for row in merged), 0)):
        problem = _cell_problem(sheet, table, r, merged)
        values = _values(sheet.rows[r], table.columns) if r < len(sheet.rows) else {}
        if problem:
            about = [None if values.get(c) is None else str(values[c]) for c in ("criterion_id", "packet_id")]
            problems.append(replace(problem, criterion_id=about[0], packet_id=about[1]))
        elif any(value is not None for value in values.values()):
            rows.append(RawRow(r + 1, values))
    return VerdictFile("workbook", header, tuple(rows), tuple(problems))


def _values(row: Sequence[Cell], columns: Mapping[int, str]) -> dict[str, Cell]:
    width = len(row)
    return {column: None if at >= width or _blank(row[at]) else row[at] for at, column in columns.items()}


def _sheet_header(sheet: Sheet, table: _Table) -> tuple[dict[str, Any], list[Problem]]:
    header: dict[str, Any] = {}
    problems = []
    for key, (value, place) in _header_block(sheet.rows[: table.at], sheet.formulas).items():
        if place in sheet.formulas:
            problems.append(_formula(place, key, value))
        else:
            header[key] = value
    return header, problems


def _meta(sheets: Sequence[Sheet]) -> dict[str, Cell]:
    for sheet in sheets:
        if sheet.name.casefold() == META_SHEET:
            return {key: value for key, (value, _) in _header_block(sheet.rows[:_SEARCHED_ROWS]).items()}
    return {}


def _merged_rows(sheet: Sheet, table: _Table) -> dict[int, str]:
    """The rows of the table of which cells that we read are merged with others, and the range."""
    found: dict[int, str] = {}
    for (top, left), (bottom, right) in sheet.merged:
        if bottom > table.at and any(left <= column <= right for column in table.read_columns):
            area = f"{cell_name((top, left))}:{cell_name((bottom, right))}"
            for row in range(max(top, table.at + 1), min(bottom, top + _MAX_MERGED_ROWS) + 1):
                found.setdefault(row, area)
    return found


def _cell_problem(sheet: Sheet, table: _Table, row: int, merged: Mapping[int, str]) -> Problem | None:
    if row in merged:
        message = (
            f"The cells {merged[row]} are merged, so values are lost; take the merge apart, fill in each "
            "row, and send the file again."
        )
        return Problem(row + 1, None, merged[row], "merged_cells", message)
    for column in table.read_columns:
        if (row, column) in sheet.formulas:
            value = sheet.rows[row][column] if row < len(sheet.rows) and column < len(sheet.rows[row]) else None
            return _formula((row, column), table.columns[column], value)
    return None


def _formula(place: Place, column: str, value: Cell) -> Problem:
    message = (
        f"Cell {cell_name(place)} holds a formula; type the value itself (begin a text that starts with = "
        "with an apostrophe), and send the file again."
    )
    return Problem(place[0] + 1, column, None if value is None else shorten(value), "formula_cell", message)


# --- CSV --------------------


def _from_csv(lines: Sequence[str], name: str, guessed: bool) -> VerdictFile:
    delimiter, table = _sniff(lines, name)
    form = "long" if {"packet_id", "job_id"} & set(table.columns.values()) else "twin"
    found = delimited.records(lines, delimiter, record_test(table))
    above: list[delimited.Record] = []
    for record in found:
        if not isinstance(record, BadLine) and _names_columns(record):
            break
        above.append(record)
    header: dict[str, Any] = {key: value for key, (value, _) in _header_block([_cells(r, form) for r in above]).items()}
    header |= {"guessed_encoding": True} if guessed else {}
    header |= {"ignored": table.ignored} if table.ignored else {}
    problems = [_bad_line(None, record) for record in above if isinstance(record, BadLine)]
    rows, bad = csv_rows(found, delimiter, table, form, 1)
    return VerdictFile(form, header, tuple(rows), (*problems, *bad), len(above) + 1)


def csv_rows(
    found: Iterable[delimited.Record], delimiter: str, table: _Table, form: str, first: int
) -> tuple[list[RawRow], list[Problem]]:
    """The rows of a table in a CSV file, and the lines that cannot be read; `first` is the number of the first one."""
    rows, problems = [], []
    for number, record in enumerate(found, first):
        if not isinstance(record, BadLine) and any(cell.strip() for cell in record[table.width :]):
            record = BadLine(delimiter.join(record), "it has more cells than there are columns")
        if isinstance(record, BadLine):
            problems.append(_bad_line(number, record))
        elif any(cell.strip() for cell in record):
            rows.append(RawRow(number, _values(_cells(record, form), table.columns)))
    return rows, problems


def record_test(table: _Table) -> Callable[[Sequence[str]], bool]:
    """Whether a line that stands within a cell is really a row of the table or its column names."""
    place = {column: at for at, column in table.columns.items()}
    criterion, passed = place["criterion_id"], place["passed"]

    def is_record(cells: Sequence[str]) -> bool:
        if len(cells) <= max(criterion, passed):
            return False
        criterion_id = cells[criterion].strip()
        is_row = criterion_id and not re.search(r"\s", criterion_id) and parse_verdict(cells[passed]) is not BAD
        return bool(is_row) or _names_columns(cells)

    return is_record


def long_table(lines: Sequence[str], name: str) -> tuple[str, _Table] | None:
    """The delimiter of a CSV file in the long form and its line of column names; None for other forms.

    Raises UserError where there is no such line.
    """
    if _label_studio_columns(lines):
        return None
    delimiter, table = _sniff(lines, name)
    return (delimiter, table) if {"packet_id", "job_id"} & set(table.columns.values()) else None


def _cells(record: delimited.Record, form: str) -> list[Cell]:
    if isinstance(record, BadLine):
        return []
    return [clean(unguard(cell) if form == "twin" else cell) for cell in record]


def _sniff(lines: Sequence[str], name: str) -> tuple[str, _Table]:
    """The delimiter under which the line of column names is recognised best, and where that line is."""
    found: list[tuple[int, str, _Table]] = []
    head = lines[: _SEARCHED_ROWS * 20]
    for delimiter in delimited.DELIMITERS:
        grid = [_cells(r, "twin") for r in islice(delimited.records(head, delimiter, _names_columns), _SEARCHED_ROWS)]
        table = _find_table(grid, name)
        if table:
            found.append((len(table.columns), delimiter, table))
    if not found and "".join(head[:9]).lstrip()[:1] in ("[", "{"):
        raise UserError(_no_json_verdicts(name))
    tool = foreign.tool_of(cell for d in delimited.DELIMITERS for cell in head[0].split(d)) if head else None
    if not found and tool:
        raise UserError(foreign.refusal(name, tool))
    if not found:
        raise UserError(f"{name} has no line of column names for verdicts; {_EXPECTED}.")
    _, delimiter, table = max(found, key=lambda entry: entry[0])
    return delimiter, table


def _bad_line(number: int | None, bad: BadLine) -> Problem:
    place = f"Row {number}" if number else "A line above the table"
    message = f"{place} cannot be read: {bad.reason}; correct it and send the file again."
    return Problem(number, None, shorten(bad.line), "bad_line", message)


# --- JSON Lines ------------------


def _from_json(found: Sequence[tuple[int, dict[str, Any] | BadLine]], name: str, guessed: bool) -> VerdictFile:
    rows, problems = json_rows(found)
    if not {"criterion_id", "passed"} <= {column for row in rows for column in row.values}:
        fields = [field for _, record in found if isinstance(record, dict) for field in record]
        raise UserError(_no_json_verdicts(name, fields))
    header: dict[str, Any] = {"guessed_encoding": True} if guessed else {}
    return VerdictFile("long", header, tuple(rows), tuple(problems))


def json_rows(found: Iterable[tuple[int, dict[str, Any] | BadLine]]) -> tuple[list[RawRow], list[Problem]]:
    """The rows of JSON objects with their numbers, and those that cannot be read."""
    rows: list[RawRow] = []
    problems: list[Problem] = []
    for number, record in found:
        values = record if isinstance(record, BadLine) else _json_values(record)
        if isinstance(values, BadLine):
            problems.append(_bad_line(number, values))
        else:
            rows.append(RawRow(number, values))
    return rows, problems


def _json_values(record: Mapping[str, Any]) -> dict[str, Cell] | BadLine:
    values: dict[str, Cell] = {}
    for key, value in _known(record):
        if values.get(key) is not None and value is not None and values[key] != value:
            return BadLine(json.dumps(record, ensure_ascii=True), f"it says two things about {key}")
        if values.get(key) is None:
            values[key] = value
    return values


def _known(record: Mapping[str, Any]) -> Iterator[tuple[str, Cell]]:
    for label, value in record.items():
        key = _NAMES.get(label) or canonical(label)
        if key is None:
            continue
        if isinstance(value, str):
            value = clean(value)
        elif not (value is None or isinstance(value, bool | int | float)):
            value = json.dumps(value, ensure_ascii=True)
        yield key, None if _blank(value) else value
