"""The packet workbook: one sheet to grade in, one that explains, one hidden that identifies.

The places of the cells are public constants, because the simulated graders fill them in.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from hapi_pipeline.grading.page import IMPORTANCE
from hapi_pipeline.grading.text import sheet_cell

if TYPE_CHECKING:
    from hapi_pipeline.grading.packets import PacketSpec

SCHEMA_VERSION = "1"
GRADE_SHEET = "grade"
META_SHEET = "_meta"
HELP_SHEET = "how to grade"
VERDICT_WORDS = ("PASS", "FAIL", "CANNOT_JUDGE")
TABLE_COLUMNS = ("criterion_id", "importance", "criterion", "verdict", "comment")
TABLE_HEADER_ROW = 7  # sheet row, 1-based; the criteria start below it
PACKET_CELL, GRADER_CELL, DATE_CELL, MINUTES_CELL, FEEDBACK_CELL = "C4", "E4", "C5", "E5", "C6"
VERDICT_COLUMN, COMMENT_COLUMN = "D", "E"
PROGRESS_CELL = "E2"  # in a row without a label, so that no reader takes it for an answer
MAX_MINUTES = 480

_WIDTHS = (14, 16, 56, 16, 46)  # of the columns; all of them fit a screen of 1,366 pixels, LibreOffice's sidebar too
# everywhere there is Arial or a font of the same widths; column widths count in letters of the default font, and
# without Calibri LibreOffice made them 40 % wider than Excel does
_FONT = "Arial"
_LINE_CHARACTERS = 57  # of a criterion
_LINE_POINTS, _MOST_LINES = 13.5, 29  # Excel ends at 409 points a row
_FIXED_DATE = datetime(2020, 1, 1, tzinfo=UTC).replace(tzinfo=None)  # the same packet gives the same bytes
_INK, _QUIET, _LINE, _HEAD, _INPUT = "#1F2933", "#5F6B7A", "#C9D1DA", "#DCE6F0", "#FFFBE6"

HELP = (
    ("What this is", "One piece of work, made for one job. You judge whether a client could accept it."),
    ("1. Read", "Open brief.html (what the client asked for), then every file in the folder “deliverables”."),
    (
        "2. Judge",
        "For each criterion on the sheet “grade” choose PASS, FAIL or CANNOT_JUDGE in the yellow column.",
    ),
    ("PASS", "The criterion is met as it is written. For a “pitfall”: the mistake was avoided."),
    (
        "FAIL",
        "It is not met, or only in part. Say in the comment what is missing, so that it could be put right.",
    ),
    (
        "CANNOT_JUDGE",
        "You cannot tell, for example because a file does not open. Say why. It does not count as a fail.",
    ),
    ("Blank", "Counts as not yet graded. You may save at any time and go on later."),
    (
        "3. Sum up",
        "Overall feedback: what you would write to the person who did the work. It may be used for a next try.",
    ),
    (
        "4. Hand in",
        "Fill in your grader name, the date and your minutes, save, and send this file back. Any name will do.",
    ),
    (
        "Please do not",
        "merge cells, write formulas, or change the ids. Rows so changed have to be sent back to you.",
    ),
    ("Saving", "Excel, LibreOffice and Google Sheets are all fine; .xlsx, .ods or .csv are all accepted."),
)


def workbook_bytes(spec: PacketSpec, packet_sha256: str, grader: str = "") -> bytes:
    """The packet's workbook as bytes; the same packet gives the same bytes. `grader` is filled in where it is known."""
    import xlsxwriter

    out = io.BytesIO()
    book = xlsxwriter.Workbook(
        out,
        {
            "in_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
            "default_format_properties": {"font_name": _FONT, "font_size": 10},
        },
    )
    book.set_properties({"created": _FIXED_DATE, "title": f"Grading packet {spec.packet_id}"})
    formats = _Formats(book)
    grade = book.add_worksheet(GRADE_SHEET)
    _grade_sheet(grade, spec, formats, grader)
    _help_sheet(book.add_worksheet(HELP_SHEET), formats)
    _meta_sheet(book.add_worksheet(META_SHEET), spec, packet_sha256)
    grade.activate()
    book.close()
    return out.getvalue()


class _Formats:
    """The handful of cell styles, made once a workbook."""

    def __init__(self, book: Any):
        base = {"font_name": _FONT, "font_size": 10, "font_color": _INK, "valign": "top"}
        boxed = base | {"border": 1, "border_color": _LINE, "text_wrap": True, "align": "left", "indent": 1}
        filled = boxed | {"bg_color": _INPUT, "locked": False}
        self.title = book.add_format(base | {"bold": True, "font_size": 14})
        self.quiet = book.add_format(base | {"font_color": _QUIET})
        self.label = book.add_format(base | {"bold": True, "font_color": _QUIET, "align": "left", "indent": 1})
        self.fixed = book.add_format(boxed)
        self.progress = book.add_format(base | {"font_color": _QUIET, "bold": True, "align": "right"})
        self.must = book.add_format(boxed | {"font_color": "#8F2D20", "font_size": 9})
        self.small = book.add_format(boxed | {"font_color": _QUIET, "font_size": 9})
        self.head = book.add_format(boxed | {"bold": True, "bg_color": _HEAD})
        self.input = book.add_format(filled)
        self.verdict = book.add_format(filled | {"bold": True, "align": "center", "indent": 0})
        self.date = book.add_format(filled | {"num_format": "yyyy-mm-dd", "align": "left"})
        self.number = book.add_format(filled | {"align": "left"})
        self.wrapped = book.add_format(base | {"text_wrap": True})
        self.passed = book.add_format({"font_color": "#0B6B3A", "bg_color": "#DDF3E4"})
        self.failed = book.add_format({"font_color": "#A3241B", "bg_color": "#FBE1DE"})
        self.open = book.add_format({"font_color": "#7A5200", "bg_color": "#FFE9B8"})


def _grade_sheet(sheet: Any, spec: PacketSpec, formats: _Formats, grader: str) -> None:
    for column, width in enumerate(_WIDTHS):
        sheet.set_column(column, column, width)
    sheet.hide_gridlines(2)
    _header_block(sheet, spec, formats, grader)
    for column, name in enumerate(TABLE_COLUMNS):
        sheet.write_string(TABLE_HEADER_ROW - 1, column, name, formats.head)
    last = TABLE_HEADER_ROW
    for last, criterion in enumerate(spec.criteria, TABLE_HEADER_ROW):
        sheet.set_row(last, _row_height(criterion.text))
        _text(sheet, last, 0, criterion.criterion_id, formats.small)
        style = formats.must if criterion.importance in ("critical", "pitfall") else formats.small
        _text(sheet, last, 1, IMPORTANCE.get(criterion.importance, criterion.importance), style)
        _text(sheet, last, 2, criterion.text, formats.fixed)
        sheet.write_blank(last, 3, None, formats.verdict)
        sheet.write_blank(last, 4, None, formats.input)
    _verdict_column(sheet, last, formats)
    sheet.autofilter(TABLE_HEADER_ROW - 1, 0, last, len(TABLE_COLUMNS) - 1)
    sheet.freeze_panes(TABLE_HEADER_ROW, 0)
    sheet.set_selection(f"{VERDICT_COLUMN}{TABLE_HEADER_ROW + 1}")
    sheet.protect("", {"format_cells": True, "format_columns": True, "format_rows": True, "autofilter": True})
    _printing(sheet, last)


def _header_block(sheet: Any, spec: PacketSpec, formats: _Formats, grader: str) -> None:
    sheet.write_string("A1", sheet_cell(spec.title, 200) or "Grading packet", formats.title)
    sheet.write_string(
        "A2",
        "Read brief.html and the files under deliverables, then choose a verdict for every criterion and "
        "say why where it fails.",
        formats.quiet,
    )
    sheet.write_string(
        "A3",
        "PASS: met as written (a pitfall: avoided).  FAIL: not, or only in part.  CANNOT_JUDGE: say "
        "why.  Blank: not yet graded.",
        formats.quiet,
    )
    for cell, label in (
        ("A4", "packet_id"),
        ("D4", "grader"),
        ("A5", "graded on"),
        ("D5", "minutes"),
        ("A6", "overall feedback"),
    ):
        sheet.write_string(cell, label, formats.label)
    sheet.write_string(PACKET_CELL, spec.packet_id, formats.fixed)
    if grader:
        sheet.write_string(GRADER_CELL, sheet_cell(grader, 80), formats.input)
    else:
        sheet.write_blank(GRADER_CELL, None, formats.input)
    sheet.write_blank(DATE_CELL, None, formats.date)
    sheet.write_blank(MINUTES_CELL, None, formats.number)
    sheet.write_blank(FEEDBACK_CELL, None, formats.input)
    _progress(sheet, len(spec.criteria), formats)
    for row, height in enumerate((22, 16, 18, 18, 18, 34, 19)):
        sheet.set_row(row, height)
    # warnings, not stops: what a grader insists on typing is judged when the file comes back
    sheet.data_validation(
        MINUTES_CELL,
        {
            "validate": "decimal",
            "criteria": "between",
            "minimum": 0,
            "maximum": MAX_MINUTES,
            "error_type": "warning",
            "error_title": "Minutes",
            "error_message": f"A number of minutes from 0 to {MAX_MINUTES}, please.",
        },
    )


def _progress(sheet: Any, count: int, formats: _Formats) -> None:
    """The one formula of the sheet: how many criteria have a verdict."""
    column, first = VERDICT_COLUMN, TABLE_HEADER_ROW + 1
    judged = f"COUNTA({column}{first}:{column}{max(first, TABLE_HEADER_ROW + count)})"
    sheet.write_formula(PROGRESS_CELL, f'={judged}&" of {count} judged"', formats.progress, f"0 of {count} judged")


def _verdict_column(sheet: Any, last: int, formats: _Formats) -> None:
    area = (TABLE_HEADER_ROW, 3, last, 3)
    sheet.data_validation(
        *area,
        {
            "validate": "list",
            "source": list(VERDICT_WORDS),
            "error_title": "Verdict",
            "error_message": "Choose PASS, FAIL or CANNOT_JUDGE.",
        },
    )
    for word, style in zip(VERDICT_WORDS, (formats.passed, formats.failed, formats.open), strict=True):
        sheet.conditional_format(*area, {"type": "cell", "criteria": "==", "value": f'"{word}"', "format": style})


def _row_height(text: str) -> float:
    """Points for a criterion; set, because LibreOffice does not fit rows to their text by itself."""
    lines = sum(_lines(line) for line in text[:10_000].splitlines()) or 1
    return _LINE_POINTS * min(max(lines, 2), _MOST_LINES) + 3


def _lines(line: str) -> int:
    """How many lines of a cell a line of text takes; wide letters (East Asian) count twice."""
    lines, used = 1, 0
    for word in line.split(" "):
        width = len(word) if word.isascii() else sum(1 + (east_asian_width(c) in "WF") for c in word)
        if used and used + 1 + width > _LINE_CHARACTERS:
            lines, used = lines + 1, 0
        lines, used = lines + (used + width) // (_LINE_CHARACTERS + 1), (used + width) % (_LINE_CHARACTERS + 1) + 1
    return lines


def _printing(sheet: Any, last: int) -> None:
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(TABLE_HEADER_ROW - 1)
    sheet.print_area(0, 0, last, len(TABLE_COLUMNS) - 1)
    sheet.set_footer("&L&A&RPage &P of &N")


def _help_sheet(sheet: Any, formats: _Formats) -> None:
    sheet.set_column(0, 0, 18)
    sheet.set_column(1, 1, 100)
    sheet.hide_gridlines(2)
    sheet.write_string(0, 0, "How to grade this packet", formats.title)
    for row, (label, text) in enumerate(HELP, 2):
        sheet.write_string(row, 0, label, formats.label)
        sheet.write_string(row, 1, text, formats.wrapped)
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.protect("")


def _meta_sheet(sheet: Any, spec: PacketSpec, packet_sha256: str) -> None:
    for row, (key, value) in enumerate(meta_rows(spec, packet_sha256)):
        sheet.write_string(row, 0, key)
        _text(sheet, row, 1, value, None)
    sheet.protect("")
    sheet.hide()


def meta_rows(spec: PacketSpec, packet_sha256: str) -> Sequence[tuple[str, str]]:
    """What identifies a packet, in the hidden sheet and at the head of the CSV twin."""
    return (
        ("schema_version", SCHEMA_VERSION),
        ("packet_id", spec.packet_id),
        ("packet_sha256", packet_sha256),
        ("rubric_version", spec.rubric_version),
    )


def _text(sheet: Any, row: int, column: int, text: str, style: Any) -> None:
    """Always a string, whatever it begins with: no formula, link or number is ever made of it."""
    sheet.write_string(row, column, sheet_cell(text), style)
