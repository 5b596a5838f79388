"""Spreadsheets that graders send back, read as grids of values with what is suspicious about their cells.

Only what this module has measured is opened: sizes are checked before anything is unpacked, because a small
file can claim to be a huge one.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from xml.etree import ElementTree

from hapi_pipeline.grading.text import clean
from hapi_pipeline.settings import UserError

MAX_UNZIPPED = 100 * 1024 * 1024  # bytes, pictures that somebody has pasted in included
_MAX_XML = 40 * 1024 * 1024  # bytes of all parts that are parsed
MAX_RATIO = 200
_MAX_ENTRIES = 2_000
_MAX_CELLS = 4_000_000  # rows × columns up to the last used cell, of all sheets: readers keep the empty ones too
_MAX_FILLED = 200_000  # cells of an .ods sheet that hold something, repeated ones counted as often as they are repeated
_MAX_SHEETS = 200
_MAX_STRING = 400_000  # bytes of one shared string with its markup; Excel allows 32,767 characters
_DEFLATE_LIMIT = 1032  # deflate cannot shrink further, whatever the directory of the archive claims
_DAMAGED = (zipfile.BadZipFile, zlib.error, KeyError, RuntimeError, EOFError, OSError, ValueError, IndexError)

Cell = str | bool | int | float | None
Place = tuple[int, int]  # row and column, from 0


@dataclass(frozen=True)
class Sheet:
    """One sheet: its cells from A1 on, which of them hold formulas, which ranges are merged (ends in)."""

    name: str
    rows: Sequence[Sequence[Cell]]
    formulas: frozenset[Place] = frozenset()
    merged: tuple[tuple[Place, Place], ...] = ()


def read_workbook(data: bytes, name: str) -> list[Sheet]:
    """The sheets of an .xlsx or .ods file; UserError when it is neither, damaged, or a bomb."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _refuse_bombs(archive, len(data), name)
            names = set(archive.namelist())
            if "xl/workbook.xml" in names:
                return _xlsx(archive, data, name)
            if "content.xml" in names and b"spreadsheet" in archive.read("mimetype")[:100]:
                return _ods(archive, name)
    except (*_DAMAGED, ElementTree.ParseError) as error:
        raise UserError(_damaged(name)) from error
    raise UserError(f"{name} is an archive but not a workbook; send the .xlsx, .ods or .csv file itself.")


def _damaged(name: str) -> str:
    return f"{name} is a damaged workbook; open it, save it again as .xlsx, and send that."


def _too_wide(name: str) -> str:
    return f"{name} uses cells far outside its table; delete the empty rows and columns and save again."


def _refuse_bombs(archive: zipfile.ZipFile, size: int, name: str) -> None:
    entries = archive.infolist()
    large = [e for e in entries if e.file_size > 1024 * 1024]
    total = sum(e.file_size for e in entries)
    squeezed = any(e.file_size > MAX_RATIO * max(e.compress_size, 1) for e in large)
    if total > MAX_UNZIPPED or squeezed or len(entries) > _MAX_ENTRIES:
        raise UserError(f"{name} would unpack to an unreasonable size; no packet workbook is that large.")
    if sum(e.file_size for e in entries if e.filename.endswith((".xml", ".rels"))) > _MAX_XML:
        raise UserError(f"{name} holds more text than any packet workbook; delete what is not yours and save again.")
    if size * _DEFLATE_LIMIT > MAX_UNZIPPED:
        # the directory may lie: reading stops at the size it claims and then fails the checksum
        for entry in entries:
            with archive.open(entry) as stream:
                while stream.read(1 << 20):
                    pass


# --- xlsx ------------------

# either quotation mark, and blanks around the sign: XML allows them, and a bomb would use them
_REFERENCE = re.compile(rb"""\br\s*=\s*["']\$?([A-Za-z]{1,3})\$?(\d{1,7})["']""")
_ROW = re.compile(rb"""<(?:\w+:)?row\b[^<>]*?\br\s*=\s*["'](\d{1,7})["']""")
_ROW_START = re.compile(rb"<(?:\w+:)?row[\s/>]")
_CELL = re.compile(rb"<(?:\w+:)?c[\s/>]")
_SUSPICIOUS = re.compile(rb"<(?:\w+:)?(?:f|mergeCell)[\s/>]")
_DECLARED = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def _xlsx(archive: zipfile.ZipFile, data: bytes, name: str) -> list[Sheet]:
    from python_calamine import CalamineError, CalamineWorkbook

    for common in ("xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/sharedStrings.xml", "xl/styles.xml"):
        if common in archive.namelist():
            _refuse_strange_xml(archive.read(common), name)
    parts = _sheet_parts(archive)
    if len(parts) > _MAX_SHEETS:
        raise UserError(f"{name} has {len(parts):,} sheets; send the packet's workbook alone.")
    area = 0
    for part in parts.values():
        _refuse_strange_xml(part, name)
        area += _area(part)
        if area > _MAX_CELLS:
            raise UserError(_too_wide(name))
    _refuse_long_strings(archive, name)
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
        grids = {sheet: book.get_sheet_by_name(sheet).to_python(skip_empty_area=False) for sheet in book.sheet_names}
    except CalamineError as error:
        raise UserError(_damaged(name)) from error
    except BaseException as error:
        # the reader is written in Rust, whose panics are not Exceptions
        if type(error).__name__ != "PanicException":
            raise
        raise UserError(_damaged(name)) from error
    sheets = []
    for sheet, grid in grids.items():
        part = parts.get(sheet, b"")
        formulas, merged = _oddities(part) if _SUSPICIOUS.search(part) else (frozenset(), ())
        sheets.append(Sheet(sheet, [[_value(value) for value in row] for row in grid], formulas, merged))
    return sheets


def _sheet_parts(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """The XML of each sheet by the sheet's name."""
    relations = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))  # noqa: S314 (bounded above)
    targets = {r.get("Id"): r.get("Target", "").removeprefix("/xl/").removeprefix("/") for r in relations}
    parts = {}
    for element in ElementTree.fromstring(archive.read("xl/workbook.xml")).iter():  # noqa: S314
        if _local(element.tag) == "sheet":
            part = f"xl/{targets[element.get(_RELATION) or _strict_relation(element)]}"
            if part in archive.namelist():
                parts[element.get("name", "")] = archive.read(part)
    return parts


def _strict_relation(element: ElementTree.Element) -> str | None:
    """The relation of a sheet in a "strict" workbook, whose namespace is another."""
    return next((value for key, value in element.attrib.items() if _local(key) == "id" and "}" in key), None)


def _refuse_strange_xml(part: bytes, name: str) -> None:
    """No spreadsheet program writes these, and what is measured below is measured in UTF-8."""
    if _DECLARED.search(part) or part[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in part[:200]:
        raise UserError(_damaged(name))


def _area(part: bytes) -> int:
    """The cells that a reader will make of a sheet: up to the last row and column that it claims to use."""
    named = _REFERENCE.findall(part)
    rows = max(map(int, {*_ROW.findall(part), *(row for _, row in named)}), default=0)
    widest = max((_column_number(c.decode().upper()) for c in {column for column, _ in named}), default=0)
    cells = sum(1 for _ in _CELL.finditer(part))
    if cells > len(named):  # cells without a reference stand beside the one before
        widest = max(widest, *(sum(1 for _ in _CELL.finditer(row)) for row in _ROW_START.split(part)))
    return max(rows * widest, cells)


def _refuse_long_strings(archive: zipfile.ZipFile, name: str) -> None:
    if "xl/sharedStrings.xml" in archive.namelist():
        longest = max(map(len, archive.read("xl/sharedStrings.xml").split(b"</si>")))
        if longest > _MAX_STRING:
            raise UserError(f"{name} has a cell with more text than a workbook can hold; shorten it and save again.")


def _oddities(part: bytes) -> tuple[frozenset[Place], tuple[tuple[Place, Place], ...]]:
    """The cells with formulas and the merged ranges of a sheet's XML."""
    formulas: set[Place] = set()
    merged: list[tuple[Place, Place]] = []
    row = column = -1
    for event, element in ElementTree.iterparse(io.BytesIO(part), ("start", "end")):  # noqa: S314 (bounded above)
        tag = _local(element.tag)
        if event == "end":
            if tag == "row":
                element.clear()
            continue
        if tag == "row":
            row, column = int(element.get("r", row + 2)) - 1, -1
        elif tag == "c":
            reference = element.get("r")
            row, column = _place(reference) if reference else (row, column + 1)
        elif tag == "f":
            formulas.add((row, column))
        elif tag == "mergeCell":
            first, _, last = element.get("ref", "").partition(":")
            merged.append((_place(first), _place(last or first)))
    return frozenset(formulas), tuple(merged)


def _place(reference: str) -> Place:
    match = re.fullmatch(r"\$?([A-Za-z]{1,3})\$?(\d{1,7})", reference)
    if not match:
        raise ValueError(f"no cell reference: {reference!r}")
    return int(match[2]) - 1, _column_number(match[1].upper()) - 1


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def cell_name(place: Place) -> str:
    """A1 for (0, 0)."""
    row, column = place
    letters, column = "", column + 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return f"{letters}{row + 1}"


def _local(tag: str) -> str:
    return tag.rsplit("}", 1)[-1]


def _value(value: Any) -> Cell:
    if isinstance(value, str):
        return clean(value) or None
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, time | timedelta):
        return str(value)  # "0:25:00": nobody can say whether minutes or hours were meant
    return clean(str(value))


# --- ods ------------------


def _ods(archive: zipfile.ZipFile, name: str) -> list[Sheet]:
    content = archive.read("content.xml")
    _refuse_strange_xml(content, name)
    sheets: list[_OdsSheet] = []
    room = _MAX_CELLS
    for event, element in ElementTree.iterparse(io.BytesIO(content), ("start", "end")):  # noqa: S314 (bounded above)
        tag = _local(element.tag)
        if event == "start" and tag == "table":
            sheets.append(_OdsSheet(_attribute(element, "name") or ""))
            if len(sheets) > _MAX_SHEETS:
                raise UserError(f"{name} has more than {_MAX_SHEETS} sheets; send the packet's workbook alone.")
        elif event == "end" and tag == "table-row" and sheets:
            sheets[-1].add(element, room, name)
            element.clear()
        elif event == "end" and tag == "table" and sheets:
            room -= sheets[-1].area
            if room < 0:
                raise UserError(_too_wide(name))
            element.clear()
    return [sheet.read() for sheet in sheets]


class _OdsSheet:
    """The cells of a sheet that hold something, taken in row by row."""

    def __init__(self, name: str):
        self.name, self.row = name, 0
        self.cells: dict[Place, Cell] = {}
        self.formulas: set[Place] = set()
        self.merged: list[tuple[Place, Place]] = []
        self.height = self.width = 0

    @property
    def area(self) -> int:
        return self.height * self.width

    def add(self, line: ElementTree.Element, room: int, name: str) -> None:
        """One row, as often as the file says that it is repeated; UserError when that is beyond all reason."""
        lines = _count(line, "number-rows-repeated")
        column = 0
        for cell in line:
            if _local(cell.tag) not in ("table-cell", "covered-table-cell"):
                continue
            times = _count(cell, "number-columns-repeated")
            if _attribute(cell, "value-type") or _attribute(cell, "formula") or len(cell):
                self.height, self.width = max(self.height, self.row + lines), max(self.width, column + times)
                if times * lines + len(self.cells) > _MAX_FILLED or self.area > room:
                    raise UserError(_too_wide(name))
                self._put([(self.row + r, column + c) for r in range(lines) for c in range(times)], cell)
            column += times
        self.row += lines

    def _put(self, places: Sequence[Place], cell: ElementTree.Element) -> None:
        self.cells |= dict.fromkeys(places, _ods_value(cell))
        if _attribute(cell, "formula"):
            self.formulas.update(places)
        down, across = _count(cell, "number-rows-spanned"), _count(cell, "number-columns-spanned")
        if down > 1 or across > 1:
            self.merged += [(place, (place[0] + down - 1, place[1] + across - 1)) for place in places]

    def read(self) -> Sheet:
        rows = [[self.cells.get((r, c)) for c in range(self.width)] for r in range(self.height)]
        return Sheet(self.name, rows, frozenset(self.formulas), tuple(self.merged))


def _ods_value(cell: ElementTree.Element) -> Cell:
    kind = _attribute(cell, "value-type")
    if kind == "boolean":
        return _attribute(cell, "boolean-value") == "true"
    if kind in ("float", "percentage", "currency"):
        return float(_attribute(cell, "value") or "nan")
    if kind == "date":
        return clean(_attribute(cell, "date-value") or "")
    paragraphs = [_ods_text(p) for p in cell if _local(p.tag) == "p"]
    return clean("\n".join(paragraphs)) or None


def _ods_text(element: ElementTree.Element) -> str:
    """The text of a paragraph; runs of blanks, tabs and line breaks are elements of their own."""
    inner = {
        "s": " " * min(_count(element, "c"), 1000),
        "tab": "\t",
        "line-break": "\n",
        "annotation": "",
    }.get(_local(element.tag))
    if inner is None:
        inner = (element.text or "") + "".join(_ods_text(child) + (child.tail or "") for child in element)
    return inner


def _attribute(element: ElementTree.Element, name: str) -> str | None:
    return next((value for key, value in element.attrib.items() if _local(key) == name), None)


def _count(element: ElementTree.Element, name: str) -> int:
    return max(1, int(_attribute(element, name) or 1))
