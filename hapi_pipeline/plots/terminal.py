"""Figures with their intervals on a terminal: tables whose last column draws each interval as a range."""

from __future__ import annotations

import os
import shutil
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from hapi_pipeline.plots.charts import Estimate
from hapi_pipeline.plots.svg import clean, ticks

LEAST_RANGE = 20
"""Characters that a range has at least; names are cut before it gets shorter."""
MOST_RANGE = 60
_LEAST_NAME = 8


@dataclass(frozen=True)
class Pen:
    """What a terminal can do: how wide it is, and whether it takes colours."""

    width: int = 80
    colour: bool = False

    def bold(self, text: str) -> str:
        """A heading."""
        return self._in("1", text)

    def dim(self, text: str) -> str:
        """What is beside the point."""
        return self._in("2", text)

    def warn(self, text: str) -> str:
        """What must not be overlooked."""
        return self._in("33", text)

    def drawn(self, text: str, strong: bool = True) -> str:
        """A range."""
        return self._in("36" if strong else "2", text)

    def _in(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text

    def fill(self, text: str, indent: str = "") -> str:
        """A sentence in lines that fit."""
        return textwrap.fill(clean(text), self.width, initial_indent=indent, subsequent_indent=indent)


def pen_for(stream: TextIO, environment: Mapping[str, str] = os.environ) -> Pen:
    """The pen for where output goes: colours on a terminal only, and not where NO_COLOR (no-color.org) is set.

    What goes into a file or pipe is 80 columns wide, unless COLUMNS says otherwise.
    """
    on_terminal = stream.isatty()
    colour = on_terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    width = shutil.get_terminal_size((80, 24)).columns if on_terminal or environment.get("COLUMNS") else 80
    return Pen(max(60, min(width, 160)), colour)


def cells_wide(text: str) -> int:
    """How many cells of a terminal a text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: object, room: int) -> str:
    """A text in at most so many cells, cut with an ellipsis."""
    whole = clean(text)
    if cells_wide(whole) <= room:
        return whole
    while whole and cells_wide(whole) > room - 1:
        whole = whole[:-1]
    return whole + "…"


def drawn_range(one: Estimate, lo: float, hi: float, room: int, mark: str = "●") -> str:
    """An interval as ├──●──┤ on a scale from `lo` to `hi` that is `room` characters long; nothing for no value.

    Bounds are ├┄┄●┄┄┤.
    """
    if one.value is None:
        return ""

    def place(value: float) -> int:
        share = (min(max(value, lo), hi) - lo) / ((hi - lo) or 1.0)
        return round(share * (room - 1))

    cells = [" "] * room
    if one.lo is not None and one.hi is not None:
        start, end = place(one.lo), place(one.hi)
        cells[start : end + 1] = ("┄" if one.bounds else "─") * (end + 1 - start)
        cells[start], cells[end] = "├", "┤"
    cells[place(one.value)] = mark
    return "".join(cells).rstrip()


@dataclass(frozen=True)
class Line:
    """A row: texts for all columns but the last, and the interval that is drawn there."""

    cells: tuple[str, ...]
    one: Estimate
    mark: str = "●"
    strong: bool = True


def ranged_table(
    pen: Pen,
    heads: Sequence[str],
    lines: Sequence[Line],
    span: tuple[float, float],
    *,
    percent: bool = True,
    names: int = 0,
    left: int = 1,
    zero: bool = False,
) -> list[str]:
    """A table as lines of at most the pen's width.

    The first `left` columns are set to the left, the others to the right; the column `names` is cut where room lacks.

    The drawn ranges share one scale from span[0] to span[1], whose axis stands below; `zero` marks nought in it.
    """
    texts = [[clean(cell) for cell in line.cells] for line in lines]
    widths = [max([cells_wide(head), *(cells_wide(t[i]) for t in texts)]) for i, head in enumerate(heads)]
    others = sum(widths) - widths[names] + 2 * len(widths)
    widths[names] = max(_LEAST_NAME, min(widths[names], pen.width - others - LEAST_RANGE))
    room = max(8, min(MOST_RANGE, pen.width - others - widths[names]))

    def set_out(cells: Sequence[str]) -> str:
        done = []
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            short = cut(cell, width)
            space = " " * (width - cells_wide(short))
            done.append(space + short if i >= left else short + space)
        return "  ".join(done)

    drawn = []
    for line, cells in zip(lines, texts, strict=True):
        bar = drawn_range(line.one, *span, room, line.mark)
        if zero and span[0] < 0 < span[1]:
            bar = _with_zero(bar, span, room)
        drawn.append(f"{set_out(cells)}  {pen.drawn(bar, line.strong)}".rstrip())
    head = pen.dim(set_out(list(heads)).rstrip())
    axis = " " * (sum(widths) + 2 * len(widths)) + axis_text(*span, room, percent)
    return [head, *drawn, pen.dim(axis.rstrip())]


def _with_zero(bar: str, span: tuple[float, float], room: int) -> str:
    """A range with an upright stroke at nought, where nothing else stands."""
    cells = list(bar.ljust(room))
    at = round(-span[0] / (span[1] - span[0]) * (room - 1))
    if cells[at] in " ─":
        cells[at] = "┼" if cells[at] == "─" else "│"
    return "".join(cells).rstrip()


def axis_text(lo: float, hi: float, room: int, percent: bool) -> str:
    """The numbers below drawn ranges, each in the middle below its place as far as there is room."""
    cells = [" "] * room
    free = 0
    for value in ticks(lo, hi, max(3, room // 6)):
        words = f"{100 * value:.0f} %" if percent else f"{value:g}".replace("-", "−")
        at = round((value - lo) / ((hi - lo) or 1.0) * (room - 1)) - len(words) // 2
        at = min(max(0, at), room - len(words))
        if at >= free:
            cells[at : at + len(words)] = words
            free = at + len(words) + 1
    return "".join(cells).rstrip()
