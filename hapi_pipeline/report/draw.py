"""From rows to charts: each drawn twice, for a wide screen and for a phone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hapi_pipeline.plots.charts import Estimate
from hapi_pipeline.plots.svg import MARGIN, Canvas, Frame, Scale, fit, text_width
from hapi_pipeline.report.ask import Row
from hapi_pipeline.report.numbers import FORMATS, count

WIDE, NARROW = 760, 358
"""Widths in pixels. On paper and in the middle of the page the wide one, below 600 pixels the narrow one."""


def both(
    draw: Callable[[Frame], str], title: str, subtitle: str, *, note: str = "", simulated: bool = False
) -> tuple[str, str]:
    """A chart for a wide and for a narrow screen."""
    return (
        draw(Frame(title, subtitle, note, simulated, WIDE)),
        draw(Frame(title, subtitle, note, simulated, NARROW)),
    )


def completion(row: Row) -> Estimate:
    """A completion rate with its interval and counts; where not all is known, the bounds and nothing narrower."""
    value, of = row["rate"], f"{count(row['n_completed'])} of {count(row['n_eligible'])}"
    if value is None:
        return Estimate(None, text="not graded yet")
    if row["n_graded"] < row["n_eligible"]:
        text = f"≥ {FORMATS['share'](value)} · {of}, {count(row['n_eligible'] - row['n_graded'])} unknown"
        return Estimate(value, row["bound_lo"], row["bound_hi"], text, f"≥ {FORMATS['share'](value)}")
    return Estimate(value, row["rate_lo"], row["rate_hi"], f"{FORMATS['share'](value)} · {of}", FORMATS["share"](value))


def bars(rows: Sequence[Row]) -> str:
    """What the bars of completion rates are."""
    if all(row["n_graded"] == row["n_eligible"] for row in rows if row["rate"] is not None):
        return "with 95 % intervals"
    return "not all known: bars run from what it is if all unknown jobs failed to what it is if all succeeded"


def estimate(row: Row, name: str, lo: str, hi: str, kind: str, more: str = "") -> Estimate:
    """A number of a row with its interval, written as its kind is."""
    value = row[name]
    if value is None:
        return Estimate(None, text="–")
    shown = FORMATS[kind](value)
    return Estimate(value, row[lo], row[hi], f"{shown} · {more}" if more else shown, shown)


def scaled(one: Estimate, factor: float) -> Estimate:
    """The same in another unit."""

    def times(value: float | None) -> float | None:
        return None if value is None else value * factor

    return Estimate(times(one.value), times(one.lo), times(one.hi), one.text, one.short)


def unique(values: Sequence[str]) -> list[str]:
    """Each value once, in the order in which it first comes."""
    return list(dict.fromkeys(values))


def rank_chart(frame: Frame, rows: Sequence[tuple[str, int, int, int, str]]) -> str:
    """A row a model (name, rank, best and worst rank not ruled out, words): a bar over ranks, the best at the left."""
    canvas = Canvas(frame)
    if not rows:
        canvas.text(MARGIN, canvas.y + 16, "There is nothing to show yet.", "hp-muted", size=13)
        canvas.y += 30
        return canvas.finish("There is nothing to show yet.")
    worst = max(hi for *_, hi, _ in rows)
    label = 0.0 if canvas.narrow else min(max(text_width(name, 12, bold=True) for name, *_ in rows) + 20, 260)
    beside = max(text_width(words, 11) for *_, words in rows) + 16
    scale = Scale(1, max(worst, 2), MARGIN + label + 12, canvas.frame.width - MARGIN - 14 - beside)
    tall, top = (44.0 if canvas.narrow else 26.0), canvas.y
    step = -(-worst // 10)
    canvas.axis(
        scale, top, top + tall * len(rows), {float(r): str(r) for r in range(1, worst + 1) if r == 1 or r % step == 0}
    )
    for i, (name, rank, lo, hi, words) in enumerate(rows):
        y = top + i * tall + (tall - 13)
        canvas.text(
            MARGIN,
            y - 13 if canvas.narrow else y + 4,
            fit(name, label - 12 if label else canvas.room, 12, bold=True),
            "hp-bold",
        )
        canvas.rect(scale(lo) - 7, y - 7, scale(hi) - scale(lo) + 14, 14, "hp-b1", 7)
        canvas.mark("dot", scale(rank), y, "1", 4.5)
        canvas.text(scale(hi) + 14, y + 4, words, "hp-muted", size=11)
    canvas.y = top + tall * len(rows) + 22
    return canvas.finish("; ".join(f"{name}: {words}" for name, *_, words in rows) + ".")
