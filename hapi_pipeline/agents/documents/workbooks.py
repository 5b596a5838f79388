"""Workbooks (xlsx, xlsm, xlsb, xls, ods): sheets with their sizes and column names, rows or ranges of cells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, time
from itertools import islice, zip_longest
from typing import Any

from hapi_pipeline.agents.documents.model import Document, Reading, UnreadableError, Want, counted
from hapi_pipeline.agents.documents.zips import checked_office_zip

MOST_XML = 256 << 20  # bytes of XML in a workbook; what is read of it stays far below the memory limit
MOST_TEXT = 1 << 20  # characters of rows at a time; a range of cells shows any part
_MOST_COLUMNS = 200
_MOST_LAZY_ROWS = 5_000
_SHOWN_SHEETS = 50
_SHOWN_NAMES = 40


def read_workbook(document: Document, want: Want) -> Reading:
    """All sheets one after the other, or one, or a range of one."""
    book = _Lazy(document) if want.careful else _opened(document)
    names = list(book.sheet_names)
    if not names:
        raise UnreadableError("this workbook has no sheets")
    formulas, without = _formulas(document)
    pending = (
        _Lazy(document) if without and not want.careful else None
    )  # the formulas stand for values not computed yet
    wanted = [_named(names, want.sheet)] if want.sheet else names[:1] if want.cells else names
    hidden = {m.name for m in book.sheets_metadata if "Visible" not in str(m.visible)[-8:]}
    sizes, parts, room = [], [], MOST_TEXT
    for name in names[:_SHOWN_SHEETS]:
        rows = _with_formulas(_rows(book, name), pending, name)
        sizes.append(_described(name, rows, name in hidden))
        if name in wanted and room > 0:
            lines = [f"## Sheet {name}", *_lines(rows, want.cells)]
            text = "\n".join(lines)
            parts.append(text[:room] + ("\n[The rest: ask for a range of cells]" if len(text) > room else ""))
            room -= len(text)
    slow = f"; of each sheet the first {_MOST_LAZY_ROWS:,} rows and {_MOST_COLUMNS} columns" if want.careful else ""
    more = f"; and {len(names) - _SHOWN_SHEETS} more" if len(names) > _SHOWN_SHEETS else ""
    return Reading(
        f"workbook, {counted(len(names), 'sheet')}: {'; '.join(sizes)}{more}{formulas}{slow}", "\n\n".join(parts)
    )


def open_workbook(document: Document, careful: bool = False) -> str:
    """What is in a workbook, in one line; every sheet is read."""
    return read_workbook(document, Want(cells="A1:A1", careful=careful)).about


class _Lazy:
    """An xlsx workbook that is read row by row, slowly, by its upper left part: what far-off cells cannot fill."""

    def __init__(self, document: Document):
        import openpyxl

        checked_office_zip(document.file, MOST_XML)
        self.book = openpyxl.load_workbook(document.file, read_only=True)
        self.sheet_names = self.book.sheetnames
        self.sheets_metadata: list[Any] = []

    def get_sheet_by_name(self, name: str) -> _LazySheet:
        return _LazySheet(self.book[name])


class _LazySheet:
    def __init__(self, sheet: Any):
        self.sheet = sheet

    def to_python(self, skip_empty_area: bool) -> Iterator[list[Any]]:
        if hasattr(self.sheet, "reset_dimensions"):
            self.sheet.reset_dimensions()  # what the file says of its size may be anything
        for row in islice(self.sheet.iter_rows(max_col=_MOST_COLUMNS, values_only=True), _MOST_LAZY_ROWS):
            yield ["" if cell is None else cell for cell in row]


def _opened(document: Document) -> Any:
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    if document.kind != "ole":
        checked_office_zip(document.file, MOST_XML)
    document.file.seek(0)
    try:
        return CalamineWorkbook.from_filelike(document.file)
    except PasswordError as error:
        raise UnreadableError("it is protected by a password, so it cannot be opened") from error
    except CalamineError as error:
        raise UnreadableError(f"this workbook is damaged and cannot be opened ({str(error)[:120]})") from error


def _rows(book: Any, name: str) -> list[list[Any]]:
    from python_calamine import CalamineError

    try:
        return list(book.get_sheet_by_name(name).to_python(skip_empty_area=False))
    except CalamineError as error:
        if "worksheet" in str(error).lower() and "not found" in str(error).lower():
            return []  # a sheet that holds only a chart
        raise UnreadableError(f"the sheet {name[:60]!r} is damaged ({str(error)[:120]})") from error


def _named(names: Sequence[str], wanted: str) -> str:
    """The sheet of that name, or of that number."""
    for name in names:
        if name.casefold().strip() == wanted.casefold().strip():
            return name
    if wanted.strip().isdecimal() and 1 <= int(wanted[:9]) <= len(names):
        return names[int(wanted) - 1]
    raise UnreadableError(f"there is no sheet {wanted[:60]!r}; the sheets are {', '.join(n[:60] for n in names[:50])}")


def _described(name: str, rows: list[list[Any]], hidden: bool) -> str:
    filled = [row for row in rows if any(cell != "" for cell in row)]
    width = max((max(n for n, cell in enumerate(row, start=1) if cell != "") for row in filled), default=0)
    head = [" ".join(shown(c).split())[:60] for c in filled[0][:_SHOWN_NAMES] if c != ""] if filled else []
    columns = f", columns: {', '.join(head)}" if len(head) > 1 else ""
    note = " (hidden)" if hidden else ""
    return f"{name[:100]}{note} ({counted(len(filled), 'row')} x {counted(width, 'column')}{columns})"


def _lines(rows: list[list[Any]], cells: str | None) -> Iterator[str]:
    top, left, bottom, right = _range(cells)
    for number, row in enumerate(rows[top:bottom], start=top + 1):
        values = [shown(cell) for cell in row[left:right]]
        if any(values):
            yield f"{number}\t" + "\t".join(values).rstrip("\t")


def _range(cells: str | None) -> tuple[int, int, int, int]:
    """(first row, first column, end row, end column) from 0; all of a sheet without a range."""
    if not cells:
        return 0, 0, 1 << 21, _MOST_COLUMNS
    found = re.fullmatch(r"\s*([A-Za-z]{1,3})([1-9]\d{0,6})(?:\s*:\s*([A-Za-z]{1,3})([1-9]\d{0,6}))?\s*", cells)
    if not found:
        raise UnreadableError("write a range of cells as A1:F200")
    left, top = _column(found[1]), int(found[2])
    right, bottom = (_column(found[3]), int(found[4])) if found[3] else (left, top)
    if left > right or top > bottom:
        raise UnreadableError("write a range of cells from its upper left to its lower right, as A1:F200")
    return top - 1, left - 1, bottom, min(right, left + _MOST_COLUMNS)


def _column(letters: str) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - 64
    return number


def shown(value: Any) -> str:
    """A cell's value as a person would type it, on one line."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime) and value.time() == time(0):
        return value.date().isoformat()
    return " ".join(str(value).split())


_FORMULA = re.compile(rb"<f[ >/]")
_WITHOUT_VALUE = re.compile(rb"<f(?: [^<>]*)?(?:/>|>[^<]{0,8192}</f>)\s*(?:<v\s*/>|<v></v>|</c>)")


def _with_formulas(rows: list[list[Any]], pending: _Lazy | None, name: str) -> list[list[Any]]:
    """The rows of a sheet, with formulas where no value is stored."""
    if pending is None:
        return rows
    merged = []
    nothing: list[Any] = []
    for row, formulas in zip_longest(rows, pending.get_sheet_by_name(name).to_python(False), fillvalue=nothing):
        wide = zip_longest(row, formulas, fillvalue="")
        merged.append([f if v == "" and isinstance(f, str) and f.startswith("=") else v for v, f in wide])
    return merged


def _formulas(document: Document) -> tuple[str, int]:
    """(how many cells hold formulas, how many have no value yet: a program that writes files computes nothing)"""
    import zipfile

    if document.kind != "xlsx":
        return "", 0
    found = without = 0
    with zipfile.ZipFile(document.file) as archive:
        for info in archive.infolist():
            if info.filename.startswith("xl/worksheets/") and info.file_size <= 32 << 20:
                data = archive.read(info)
                found += len(_FORMULA.findall(data))
                without += len(_WITHOUT_VALUE.findall(data))
    if not found:
        return "", 0
    said = f", {without:,} of them not computed yet" if without else ""
    return f"; {counted(found, 'formula')}{said}", without
