"""A figure of the report: its chart, the table behind it, the SELECT that gives the table, and how to trace it."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from hapi_pipeline.grading.packets import guard
from hapi_pipeline.report.ask import Answer, Row, round_name
from hapi_pipeline.report.numbers import FORMATS, NONE, THIN
from hapi_pipeline.report.safe import visible


@dataclass(frozen=True)
class Column:
    """One column of a table for readers; with `lo` and `hi` an interval stands beside the number."""

    name: str
    label: str
    kind: str = "word"
    lo: str = ""
    hi: str = ""

    @property
    def numeric(self) -> bool:
        """Whether it holds numbers, which are set to the right."""
        return self.kind not in ("word", "round", "month")


COMPLETION = (
    Column("n_completed", "Completed", "count"),
    Column("n_eligible", "of jobs", "count"),
    Column("n_graded", "Known", "count"),
    Column("rate", "Rate (95 % interval)", "share", "rate_lo", "rate_hi"),
    Column("bound_lo", "Lower bound", "share"),
    Column("bound_hi", "Upper bound", "share"),
)
"""A completion rate with its counts and bounds."""


@dataclass(frozen=True)
class Figure:
    """What stands in a page as one figure."""

    key: str
    title: str
    answer: Answer
    columns: tuple[Column, ...]
    charts: tuple[str, str] | None = None  # SVG for a wide and for a narrow screen
    trace: tuple[str, ...] = ()  # commands that lead to what stands behind the numbers
    caption: str = ""
    """What a row of the table is, and over what."""
    source: str = ""  # where the rows come from, if not from the SELECT

    @property
    def query(self) -> str:
        """The command that gives the same rows."""
        return f"hapi query {shlex.quote(self.answer.sql)}"

    @property
    def head(self) -> list[Column]:
        """The columns of the table."""
        return list(self.columns)

    def body(self) -> Iterator[list[Markup]]:
        """The cells of the table, row by row."""
        for row in self.answer.rows:
            yield [cell(column, row) for column in self.columns]

    @property
    def csv(self) -> str:
        """All columns of the SELECT as CSV, numbers in full."""
        return csv_of(self.answer)


def cell(column: Column, row: Row) -> Markup:
    """A cell: numbers stand in <data>, with their full value, so that they can be read by programs."""
    value = row[column.name]
    if column.kind == "round":
        return escape(round_name(str(value)))
    if value is None:
        return escape(NONE)
    if not column.numeric:
        return escape(visible(FORMATS["word"](value)))
    shown = _data(column.name, value, FORMATS[column.kind](value))
    if not column.lo:
        return shown
    return shown + _interval(column, row)


def _interval(column: Column, row: Row) -> Markup:
    lo, hi = row[column.lo], row[column.hi]
    if lo is None or hi is None:
        return Markup("")
    write = FORMATS[column.kind]
    first = _data(column.lo, lo, write(lo).removesuffix(f"{THIN}%"))
    last = _data(column.hi, hi, write(hi).removesuffix(f"{THIN}%"))
    return Markup(' <span class="ci">{} to {}</span>').format(first, last)


def _data(name: str, value: Any, shown: str) -> Markup:
    written = int(value) if isinstance(value, bool) else value
    return Markup('<data value="{}" data-c="{}">{}</data>').format(repr(written), name, shown)


def csv_of(answer: Answer) -> str:
    """An answer as CSV; text that a spreadsheet would take for a formula is guarded."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\r\n")
    writer.writerow(answer.columns)
    for row in answer.rows:
        writer.writerow([guard(value) if isinstance(value, str) else value for value in row.values()])
    return lines.getvalue()


def traced(table: str, **keys: object) -> str:
    """The command that counts a number of a table anew."""
    options = " ".join(f"--{key} {shlex.quote(str(value))}" for key, value in keys.items())
    return f"hapi trace {table} {options}".strip()


def queried(sql: str) -> str:
    """The command that asks a question of the lake."""
    return f"hapi query {shlex.quote(sql)}"


@dataclass(frozen=True)
class Section:
    """A part of a page: what there is to see, in words, then figures."""

    key: str
    title: str
    words: Sequence[str | Markup] = ()
    figures: Sequence[Figure] = ()
    html: str = ""  # what is neither, as Markup


@dataclass(frozen=True)
class Tile:
    """A headline number with what it is of and how sure it is."""

    what: str
    value: str
    of: str
    sure: str


@dataclass(frozen=True)
class Page:
    """A page of the site."""

    name: str  # of its file, without .html
    title: str
    lead: Sequence[str | Markup]
    sections: Sequence[Section]
    label: str = ""  # in the navigation, if not the title
    headline: str = ""  # above all, if not the title
    tiles: Sequence[Tile] = ()
