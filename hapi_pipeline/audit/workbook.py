"""The curators' workbook: a sheet that explains, a sheet to judge in, a hidden one that identifies.

The names of sheets and columns and the places of the cells are public constants: `answers` reads by them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hapi_pipeline.audit.reasons import AUDITED, LABELS, OTHER, meanings
from hapi_pipeline.audit.sample import SampledJob
from hapi_pipeline.grading.text import sheet_cell
from hapi_pipeline.registry import Rules

SCHEMA_VERSION = "1"
HELP_SHEET, JOBS_SHEET, META_SHEET = "read me first", "jobs", "_meta"
ANSWERS = ("KEEP", "REJECT", "CANNOT_JUDGE")
SHOWN = (
    ("job_id", 11),
    ("month", 8),
    ("title", 20),
    ("description", 56),
    ("category", 12),
    ("price", 10),
    ("type", 8),
    ("milestones", 10),
    ("price changed", 9),
    ("status", 11),
    ("paid", 6),
    ("completed", 11),
    ("attachments", 12),
)
"""What the curator is shown, with the widths of the columns in characters."""
ASKED = (("should_be_kept", 16), ("reason", 20), ("comment", 20))
"""What the curator fills in."""
COLUMNS = tuple(name for name, _ in (*SHOWN, *ASKED))
CURATOR_CELL, DATE_CELL = "C3", "C4"
HEADER_ROW = 6  # sheet row, 1-based; the jobs start below it

_ANSWER, _REASON, _COMMENT = (COLUMNS.index(name) for name, _ in ASKED)
_ZOOM = 75  # so that all columns stand on a laptop's screen of 1366 pixels
_LINE_POINTS, _MOST_POINTS = 13.2, 409.0  # Excel makes no row higher
_FIXED_DATE = datetime(2020, 1, 1, tzinfo=UTC).replace(tzinfo=None)  # the same sample gives the same bytes
_INK, _QUIET, _LINE, _HEAD, _INPUT = "#1F2933", "#5F6B7A", "#C9D1DA", "#DCE6F0", "#FFFBE6"

_HELP = (
    ("Private", "These are job posts as clients wrote them. Some hold names or contact details of real people."),
    ("", "The file is for this benchmark's own curators. Keep it to yourself, and delete it once it is handed in."),
    ("What this is", "A sample of posts. A program has decided which of them belong in the benchmark. You decide"),
    ("", "again, without knowing what it decided: this tells how often it is right. Your own judgement counts."),
    ("1. Sign", f"On the sheet “{JOBS_SHEET}” fill in a pseudonym (always the same one) and the date."),
    ("2. Judge", "Read each post and choose KEEP, REJECT or CANNOT_JUDGE in the first yellow column."),
    ("KEEP", "None of the reasons below speaks against the job."),
    ("REJECT", "One of them does: choose it as the reason. If several do, choose the first of them in the list."),
    ("CANNOT_JUDGE", "You cannot tell, for example because a fact is blank and the text does not say it either."),
    ("Blank", "Not yet judged. It counts as no answer. You may hand in a part and the rest later."),
    ("3. Hand in", "Save and send this file back. .xlsx, .ods and .csv are all fine."),
    ("Please do not", "merge cells, write formulas or change the ids. To read long posts you may widen columns."),
)  # fmt: skip


def workbook_bytes(jobs: Sequence[SampledJob], rules: Rules, meta: Mapping[str, str]) -> bytes:
    """The workbook of a sample; the same sample gives the same bytes. `meta` goes to the hidden sheet."""
    import xlsxwriter

    out = io.BytesIO()
    safe = dict.fromkeys(("strings_to_formulas", "strings_to_urls", "strings_to_numbers"), False)
    book = xlsxwriter.Workbook(out, {"in_memory": True, **safe})
    book.set_properties({"created": _FIXED_DATE, "title": "Audit of curation", "comments": "Holds personal data."})
    formats = _formats(book)
    _help_sheet(book.add_worksheet(HELP_SHEET), rules, formats)
    _jobs_sheet(book.add_worksheet(JOBS_SHEET), jobs, formats)
    _meta_sheet(book.add_worksheet(META_SHEET), {"schema_version": SCHEMA_VERSION, **meta})
    book.close()
    return out.getvalue()


def _formats(book: Any) -> dict[str, Any]:
    """The handful of cell styles."""
    base = {"font_name": "Calibri", "font_size": 11, "font_color": _INK, "valign": "top"}
    boxed = base | {"border": 1, "border_color": _LINE, "text_wrap": True}
    filled = boxed | {"bg_color": _INPUT, "locked": False}
    styles = {
        "title": base | {"bold": True, "font_size": 14},
        "quiet": base | {"font_color": _QUIET},
        "label": base | {"bold": True, "font_color": _QUIET},
        "text": base | {"text_wrap": True},
        "warning": base | {"bold": True, "font_color": "#A3241B"},
        "cell": boxed,
        "small": boxed | {"font_color": _QUIET, "font_size": 10},
        "head": boxed | {"bold": True, "bg_color": _HEAD},
        "asked": boxed | {"bold": True, "bg_color": "#F5E3A8"},
        "input": filled,
        "answer": filled | {"bold": True, "align": "center"},
        "date": filled | {"num_format": "yyyy-mm-dd", "align": "left"},
        "KEEP": {"font_color": "#0B6B3A", "bg_color": "#DDF3E4"},
        "REJECT": {"font_color": "#A3241B", "bg_color": "#FBE1DE"},
        "CANNOT_JUDGE": {"font_color": "#7A5200", "bg_color": "#FFE9B8"},
    }
    return {name: book.add_format(style) for name, style in styles.items()}


def _help_sheet(sheet: Any, rules: Rules, formats: Mapping[str, Any]) -> None:
    sheet.set_column(0, 0, 34)
    sheet.set_column(1, 1, 112)
    sheet.hide_gridlines(2)
    sheet.write_string(0, 0, "Which of these jobs belong in the benchmark?", formats["title"])
    for row, (label, text) in enumerate(_HELP, 2):
        sheet.write_string(row, 0, label, formats["label"])
        sheet.write_string(row, 1, text, formats["warning" if row < 4 else "text"])
    below = len(_HELP) + 3
    sheet.write_string(below, 0, "Reasons to reject, in their order", formats["label"])
    said = meanings(rules)
    for row, reason in enumerate((*AUDITED, OTHER), below + 1):
        sheet.write_string(row, 0, LABELS[reason], formats["text"])
        sheet.write_string(row, 1, said[reason], formats["text"])
        sheet.set_row(row, 15.5 * (1 + len(said[reason]) // 115))
    _page(sheet)
    sheet.protect("")


def _jobs_sheet(sheet: Any, jobs: Sequence[SampledJob], formats: Mapping[str, Any]) -> None:
    for column, (_, width) in enumerate((*SHOWN, *ASKED)):
        sheet.set_column(column, column, width)
    sheet.hide_gridlines(2)
    sheet.set_zoom(_ZOOM)
    simulated = " (simulated posts)" if any(job.simulated for job in jobs) else ""
    sheet.write_string("A1", f"{len(jobs)} jobs to judge{simulated}", formats["title"])
    sheet.set_row(0, 22)
    sheet.write_string("A2", "How to: see the sheet “read me first”. A blank fact is not known.", formats["quiet"])
    for cell, label in (("A3", "curator"), ("A4", "judged on")):
        sheet.write_string(cell, label, formats["label"])
    sheet.write_blank(CURATOR_CELL, None, formats["input"])
    sheet.write_blank(DATE_CELL, None, formats["date"])
    for column, name in enumerate(COLUMNS):
        sheet.write_string(HEADER_ROW - 1, column, name, formats["head" if column < len(SHOWN) else "asked"])
    sheet.set_row(HEADER_ROW - 1, 31)
    for row, job in enumerate(jobs, HEADER_ROW):
        _job_row(sheet, row, job, formats)
    _dropdowns(sheet, HEADER_ROW + len(jobs) - 1, formats)
    sheet.freeze_panes(HEADER_ROW, 1)
    sheet.protect("", {"format_cells": True, "format_columns": True, "format_rows": True})
    _page(sheet)
    sheet.repeat_rows(HEADER_ROW - 1)


def _job_row(sheet: Any, row: int, job: SampledJob, formats: Mapping[str, Any]) -> None:
    texts = shown_texts(job)
    for column, text in enumerate(texts):
        # always a string, whatever it begins with: no formula, link or number is ever made of it
        write = sheet.write_string if text else sheet.write_blank
        write(row, column, text, formats["small" if column < 2 else "cell"])
    for column in (_ANSWER, _REASON, _COMMENT):
        sheet.write_blank(row, column, None, formats["answer" if column == _ANSWER else "input"])
    sheet.set_row(row, _height(texts))


def shown_texts(job: SampledJob) -> tuple[str, ...]:
    """The cells of a job, in the order of SHOWN, cut at what a cell may hold."""
    return tuple(
        sheet_cell(text)
        for text in (
            job.job_id,
            job.cohort,
            job.title or "",
            job.description or "",
            job.category or "",
            "" if job.price_usd is None else f"${job.price_usd:,.2f}",
            job.job_type or "",
            "" if job.milestone_count is None else str(job.milestone_count),
            _yes_no(job.price_changed),
            job.status or "",
            _yes_no(job.paid),
            "" if job.completed_at is None else f"{job.completed_at:%Y-%m-%d}",
            "\n".join(job.attachments),
        )
    )


def _yes_no(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def _height(texts: Sequence[str]) -> float:
    """Points for the longest cell of a row; LibreOffice does not fit rows to their text by itself."""
    lines = max(
        sum(1 + len(line) // width for line in text[:20_000].split("\n"))
        for text, (_, width) in zip(texts, SHOWN, strict=True)
    )
    return min(_LINE_POINTS * (max(lines, 2) + 1), _MOST_POINTS)


def _dropdowns(sheet: Any, last: int, formats: Mapping[str, Any]) -> None:
    last = max(last, HEADER_ROW)
    for column, choices, title, error_type in (
        (_ANSWER, ANSWERS, "should_be_kept", "stop"),
        (_REASON, tuple(LABELS.values()), "reason", "warning"),
    ):
        said = {"error_title": title, "error_message": "Choose from the list.", "error_type": error_type}
        sheet.data_validation(HEADER_ROW, column, last, column, {"validate": "list", "source": list(choices), **said})
    for word in ANSWERS:
        sheet.conditional_format(
            HEADER_ROW,
            _ANSWER,
            last,
            _ANSWER,
            {"type": "cell", "criteria": "==", "value": f'"{word}"', "format": formats[word]},
        )


def _page(sheet: Any) -> None:
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.set_footer("&LHolds personal data: for this benchmark's curators only&RPage &P of &N")


def _meta_sheet(sheet: Any, meta: Mapping[str, str]) -> None:
    for row, (key, value) in enumerate(meta.items()):
        sheet.write_string(row, 0, key)
        sheet.write_string(row, 1, sheet_cell(value))
    sheet.protect("")
    sheet.hide()
