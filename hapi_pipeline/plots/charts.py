"""The charts: pure functions from figures to one SVG document each.

Each takes a `Frame` (title, what to see, small print, simulated or not, width) and figures as plain values, and lays
itself out for the frame's width. What a chart shows is labelled where it stands; nothing is told by colour alone.
Shares are from 0 to 1, points are percentage points, money is USD.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hapi_pipeline.plots.svg import HEATS, MARGIN, SERIES, Canvas, Frame, Scale, fit, rounded_up, text_width, ticks

NOTHING = "There is nothing to show yet."


@dataclass(frozen=True)
class Series:
    """What is told apart by a mark: a round, a model."""

    key: str
    label: str
    shape: str = "dot"  # dot, ring, diamond or box
    colour: str = "1"  # 1 to 8, or 0 for neutral


ROUND_SERIES: tuple[Series, ...] = (
    Series("agent_alone", "agent alone", "ring", "1"),
    Series("feedback_1", "after first feedback", "dot", "1"),
    Series("feedback_2", "after second feedback", "diamond", "1"),
    Series("retry_1", "second try without feedback", "box", "0"),
)
"""How rounds look in every chart."""


def round_series(rounds: Sequence[str]) -> list[Series]:
    """The series of these rounds, in the order of the graph; one that the project does not know comes last."""
    known = {s.key: s for s in ROUND_SERIES}
    order = [s.key for s in ROUND_SERIES if s.key in rounds] + sorted({r for r in rounds if r not in known})
    return [known.get(r, Series(r, r.replace("_", " "), "dot", "2")) for r in order]


def model_colours(models: Sequence[str]) -> dict[str, str]:
    """A colour for each of these models, by name; all that come after the eighth are neutral."""
    return {m: str(i + 1) if i < SERIES else "0" for i, m in enumerate(sorted(set(models)))}


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval, and the words beside it."""

    value: float | None
    lo: float | None = None
    hi: float | None = None
    text: str = ""
    short: str = ""
    """What stands there on a phone; without it, the text."""
    bounds: bool = False
    """Whether lo and hi are what is possible while outcomes are unknown, and no interval."""


def percent(value: float | None, digits: int = 1) -> str:
    """A share in words."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def signed(value: float | None, digits: int = 1) -> str:
    """A difference in words, with a real minus; one that would read as nought is written longer: −0.03."""
    if value is None:
        return "–"
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        text = "0.0" if abs(value) < 1e-9 else f"{float(f'{value:.1g}'):+.{max(digits + 1, _places(value))}f}"
    return text.replace("-", "−")


def _places(value: float) -> int:
    """Digits after the point up to the first that is not nought."""
    return math.ceil(-math.log10(abs(value)))


def usd(value: float | None) -> str:
    """An amount in words."""
    if value is None:
        return "–"
    if abs(value) >= 10 or value == 0:
        return f"${value:,.0f}".replace("$-", "−$")
    return f"${value:,.2f}".replace("$-", "−$") if abs(value) >= 0.01 else "<$0.01"


def _empty(canvas: Canvas) -> str:
    canvas.y += 26
    canvas.text(MARGIN, canvas.y, NOTHING, "hp-muted", size=13)
    canvas.y += 14
    return canvas.finish(NOTHING)


def _label_room(canvas: Canvas, labels: Sequence[str], most: float = 0.36) -> float:
    """Width of the column of labels at the left."""
    wanted = max((text_width(label, 12, bold=True) for label in labels), default=0) + 14
    return min(wanted, canvas.room * most)


def _percent_labels(lo: float, hi: float, most: int) -> dict[float, str]:
    return {t: f"{100 * t:.0f} %" for t in ticks(lo, hi, most)}


def _to(ends: Estimate, words: str = "") -> str:
    return f"{words}{percent(ends.lo)} to {percent(ends.hi)}"


# ---- dots with intervals


def intervals_chart(
    frame: Frame,
    rows: Sequence[tuple[str, Mapping[str, Estimate]]],
    series: Sequence[Series],
    *,
    span: tuple[float, float] | None = None,
    as_percent: bool = True,
) -> str:
    """A row a model (or scope), in it a dot with its interval for each series, labelled with figure and counts.

    `span` is the least that the axis covers (default: from 0 to what there is); values are shares unless
    `as_percent` is off.
    """
    canvas = Canvas(frame)
    there = [e for _, points in rows for e in points.values() if e.value is not None]
    if not there:
        return _empty(canvas)
    shown = [s for s in series if any(s.key in points for _, points in rows)]
    if len(shown) > 1:
        canvas.legend([(s.shape, s.colour, s.label) for s in shown])
    lo, hi = _reach(there, span, as_percent)
    words = [(e.short or e.text) if canvas.narrow else e.text for e in there]
    left = MARGIN + (0 if canvas.narrow else _label_room(canvas, [label for label, _ in rows]))
    right = frame.width - MARGIN - 8 - max(text_width(w, 11) for w in words)
    scale, top, step = Scale(lo, hi, left + 4, max(right, left + 60)), canvas.y, 17.0
    start, drawn = len(canvas.parts), []
    for label, points in rows:
        if canvas.narrow:
            canvas.y += 16
            canvas.text(MARGIN, canvas.y - 3, fit(label, canvas.room, 12, bold=True), "hp-bold")
        begun = canvas.y
        for one in shown:
            if one.key in points:
                _estimate(canvas, scale, points[one.key], one, canvas.y + step / 2 + 2)
                drawn.append(f"{label}, {one.label}: {points[one.key].text}")
                canvas.y += step
        if not canvas.narrow:
            canvas.text(MARGIN, (begun + canvas.y) / 2 + 6, fit(label, left - MARGIN - 8, 12, bold=True), "hp-bold")
        canvas.y += 9
    marks, canvas.parts = canvas.parts[start:], canvas.parts[:start]
    labels = _percent_labels(lo, hi, 6) if as_percent else {t: f"{t:g}" for t in ticks(lo, hi, 6)}
    canvas.axis(scale, top, canvas.y, labels)
    if lo < 0 < hi:
        canvas.line(scale(0), top, scale(0), canvas.y, "hp-axis")
    canvas.parts += marks
    canvas.y += 22
    return canvas.finish("; ".join(drawn) + ".")


def _reach(there: Sequence[Estimate], span: tuple[float, float] | None, as_percent: bool) -> tuple[float, float]:
    """From where to where an axis goes."""
    lows = [e.lo if e.lo is not None else e.value or 0.0 for e in there]
    highs = [e.hi if e.hi is not None else e.value or 0.0 for e in there]
    lo, hi = min(0.0, *lows), max(0.0, *highs)
    if span:
        lo, hi = min(lo, span[0]), max(hi, span[1])
    if lo < 0:
        lo = -rounded_up(-lo)
    hi = rounded_up(hi) if hi > 0 else 0.0
    return lo, min(hi, 1.0) if as_percent else hi


def _estimate(canvas: Canvas, scale: Scale, one: Estimate, series: Series, y: float) -> None:
    if one.value is None:
        canvas.text(scale.start, y + 4, one.text or "–", "hp-muted", size=11)
        return
    end = scale(one.value)
    if one.lo is not None and one.hi is not None:
        canvas.whisker(scale(one.lo), scale(one.hi), y, series.colour, "2 3" if one.bounds else "")
        end = scale(one.hi)
    canvas.mark(series.shape, scale(one.value), y, series.colour)
    words = (one.short or one.text) if canvas.narrow else one.text
    canvas.text(end + 9, y + 4, words, "hp-muted", size=11)


# ---- what feedback added


@dataclass(frozen=True)
class Lift:
    """A model before and after a turn, and what the turn added beyond a second try without feedback."""

    label: str
    before: Estimate
    after: Estimate
    lift: Estimate  # points
    net: Estimate  # points; no value where there is no control arm


def lift_chart(frame: Frame, rows: Sequence[Lift]) -> str:
    """A row a model: from where to where completion went, and beside it what feedback added beyond a second try."""
    canvas = Canvas(frame)
    shown = [r for r in rows if r.before.value is not None and r.after.value is not None]
    if not shown:
        return _empty(canvas)
    canvas.legend([("ring", "1", "before"), ("dot", "1", "after"), ("diamond", "3", "beyond a second try")])
    label = 0.0 if canvas.narrow else _label_room(canvas, [r.label for r in shown], 0.24)
    gap, left = 34.0, MARGIN + label
    half = canvas.room if canvas.narrow else (canvas.room - label - gap) * 0.52
    first = Scale(0, _reach([r.after for r in shown] + [r.before for r in shown], None, True)[1], left + 4, left + half)
    _halves(canvas, shown, first, label)
    return canvas.finish("; ".join(f"{r.label}: {r.lift.text}; beyond a second try {r.net.text}" for r in shown) + ".")


def _halves(canvas: Canvas, rows: Sequence[Lift], first: Scale, label: float) -> None:
    """Both panels: beside each other, or below each other on a phone."""
    top = canvas.y
    end = canvas.frame.width - MARGIN - 8
    there = [r.net for r in rows if r.net.value is not None]
    lo, hi = _reach(there, (-2.0, 5.0), False) if there else (0.0, 1.0)
    if canvas.narrow:
        canvas.y = _completion(canvas, rows, first, label, top)
        second, canvas.y = Scale(lo, hi, MARGIN + 4, end), canvas.y + 16
    else:
        second, canvas.y = Scale(lo, hi, first.end + 34, end), top
        _completion(canvas, rows, first, label, top)
    canvas.y = _beyond(canvas, rows, second, canvas.y, bool(there))


def _completion(canvas: Canvas, rows: Sequence[Lift], scale: Scale, label: float, top: float) -> float:
    y = top + 16
    canvas.text(scale.start - 4, y - 4, "Completed, cumulative", "hp-bold", size=11)
    bottom = y + 44 * len(rows)
    canvas.axis(scale, y + 2, bottom, _percent_labels(0, scale.hi, 5))
    for i, row in enumerate(rows):
        middle = y + 44 * i + 26
        if label:
            canvas.text(MARGIN, middle + 4, fit(row.label, label - 8, 12, bold=True), "hp-bold")
        x1, x2 = scale(row.before.value or 0), scale(row.after.value or 0)
        if row.after.lo is not None and row.after.hi is not None:
            canvas.whisker(scale(row.after.lo), scale(row.after.hi), middle, "1")
        canvas.line(x1, middle, x2, middle, "hp-s1", 2)
        canvas.mark("ring", x1, middle, "1", 5)
        canvas.mark("dot", x2, middle, "1", 5)
        words = f"{percent(row.before.value)} → {percent(row.after.value)}"
        words = words if label else f"{fit(row.label, canvas.room * 0.5, 11)} · {words}"
        room = text_width(words, 11)
        start = min(max(scale.start, (x1 + x2 - room) / 2), canvas.frame.width - MARGIN - room)
        canvas.text(start, middle - 10, words, "hp-ink", size=11)
    return bottom + 22


def _beyond(canvas: Canvas, rows: Sequence[Lift], scale: Scale, top: float, any_net: bool) -> float:
    y = top + 16
    canvas.text(scale.start - 4, y - 4, "Beyond a second try, in points", "hp-bold", size=11)
    bottom = y + 44 * len(rows)
    if any_net:
        canvas.axis(scale, y + 2, bottom, {t: f"{t:g}" for t in ticks(scale.lo, scale.hi, 6)})
        canvas.line(scale(0), y + 2, scale(0), bottom, "hp-axis", 1.5)
    for i, row in enumerate(rows):
        middle = y + 44 * i + 26
        if row.net.value is None:
            canvas.text(scale.start, middle + 4, row.net.text or "no control arm", "hp-muted", size=11)
            continue
        if row.net.lo is not None and row.net.hi is not None:
            canvas.whisker(scale(row.net.lo), scale(row.net.hi), middle, "3")
        canvas.mark("diamond", scale(row.net.value), middle, "3")
        room = text_width(row.net.text, 11)
        start = max(scale.start, scale(row.net.value) - room / 2)
        if start - 4 < scale(0) < start + room:  # beside the line at nought, not across it
            start = scale(0) + 5
        start = min(start, canvas.frame.width - MARGIN - room)
        canvas.text(start, middle - 10, row.net.text, "hp-ink", size=11)
    return bottom + 22


# ---- a table in colours


@dataclass(frozen=True)
class Cell:
    """A figure of a heat map: how deep its colour is (0 to 1), what it says, and smaller words below."""

    value: float | None
    text: str
    below: str = ""


def heat_map(
    frame: Frame,
    rows: Sequence[tuple[str, str]],
    columns: Sequence[tuple[str, str]],
    cells: Mapping[tuple[int, int], Cell],
    *,
    deepest: float = 1.0,
) -> str:
    """A row a category (label, smaller words), columns as (group, label): neighbours of one group share a head.

    `cells` are by (row, column), counted from 0; `deepest` is the value that has the deepest colour.
    """
    canvas = Canvas(frame)
    if not rows or not columns:
        return _empty(canvas)
    label = min(max(text_width(r[0], 12) for r in rows) + 14, canvas.room * (0.34 if canvas.narrow else 0.3))
    left, wide = MARGIN + label, (canvas.room - label) / len(columns)
    _heads(canvas, columns, left, wide)
    tall = 38.0 if any(c.below for c in cells.values()) or any(r[1] for r in rows) else 28.0
    for i, (name, small) in enumerate(rows):
        y = canvas.y + i * tall
        canvas.text(MARGIN, y + (16 if small else tall / 2 + 4), fit(name, label - 10, 12), "hp-ink")
        if small:
            canvas.text(MARGIN, y + 30, fit(small, label - 10, 10.5), "hp-muted", size=10.5)
        for j in range(len(columns)):
            _heat(canvas, cells.get((i, j), Cell(None, "–")), left + j * wide, y, wide, tall, deepest)
    canvas.y += len(rows) * tall + 4
    said = [
        f"{rows[i][0]}, {' '.join(columns[j]).strip()}: {cells[i, j].text}"
        for i in range(len(rows))
        for j in range(len(columns))
        if (i, j) in cells
    ]
    return canvas.finish("; ".join(said) + ".")


def _heads(canvas: Canvas, columns: Sequence[tuple[str, str]], left: float, wide: float) -> None:
    """Group heads and column heads."""
    if any(group for group, _ in columns):
        canvas.y += 18
        starts = [j for j in range(len(columns)) if j == 0 or columns[j][0] != columns[j - 1][0]]
        for j, following in zip(starts, [*starts[1:], len(columns)], strict=True):
            x1, x2 = left + j * wide, left + following * wide
            words = fit(columns[j][0], x2 - x1 - 4, 12, bold=True)
            canvas.text((x1 + x2) / 2, canvas.y - 6, words, "hp-bold", anchor="middle")
            canvas.line(x1 + 3, canvas.y, x2 - 3, canvas.y, "hp-axis")
    if any(name for _, name in columns):
        canvas.y += 16
        for j, (_, name) in enumerate(columns):
            words = fit(name, wide - 4, 11)
            canvas.text(left + (j + 0.5) * wide, canvas.y - 3, words, "hp-muted", size=11, anchor="middle")
    canvas.y += 4


def _heat(canvas: Canvas, cell: Cell, x: float, y: float, wide: float, tall: float, deepest: float) -> None:
    depth = 0 if cell.value is None else min(HEATS - 1, max(0, int(cell.value / (deepest or 1) * HEATS)))
    if cell.value is not None:
        canvas.rect(x + 1, y + 1, wide - 2, tall - 2, f"hp-h{depth}", 3)
    kind = f"hp-t{depth}" if cell.value is not None else "hp-muted"
    middle, below = x + wide / 2, fit(cell.below, wide - 4, 10) if cell.below else ""
    # a number is written smaller before a part of it is left out
    size = next((size for size in (12, 11, 10, 9) if text_width(cell.text, size) <= wide - 2), 8)
    words = fit(cell.text, wide - 2, size)
    canvas.text(middle, y + (tall / 2 - 1 if below else tall / 2 + 4), words, kind, size=size, anchor="middle")
    if below:
        canvas.text(middle, y + tall / 2 + 12, below, kind, size=10, anchor="middle")


# ---- the funnel


@dataclass(frozen=True)
class Stage:
    """A rule of the funnel: what it kept and turned away."""

    label: str
    kept: int
    rejected: int
    unknown: int = 0


def funnel_chart(frame: Frame, first: int, stages: Sequence[Stage]) -> str:
    """A bar a rule, as long as what it kept of the `first` posts; at its end what was turned away there."""
    canvas = Canvas(frame)
    if not stages or not first:
        return _empty(canvas)
    canvas.legend([("area", "1", "kept"), ("faint", "2", "turned away"), ("faint", "0", "a fact is not known")])
    names = ["posts", *(s.label for s in stages)]
    left = MARGIN + (0 if canvas.narrow else _label_room(canvas, names, 0.34))
    counts = text_width(f"{first:,}  −{max(s.rejected + s.unknown for s in stages):,}", 11) + 12
    scale = Scale(0, first, left, canvas.frame.width - MARGIN - counts)
    tall = 40.0 if canvas.narrow else 27.0
    for i, stage in enumerate([Stage("posts", first, 0), *stages]):
        y = canvas.y + i * tall
        bar = y + (18 if canvas.narrow else 4)
        canvas.text(MARGIN, y + (13 if canvas.narrow else 17), fit(stage.label, max(left - 24, canvas.room * 0.7), 12))
        kept, lost = scale(stage.kept), scale(stage.kept + stage.rejected)
        canvas.rect(left, bar, kept - left, 17, "hp-f1", 2)
        canvas.rect(kept + 1, bar, lost - kept - 1, 17, "hp-a2", 2)
        canvas.rect(lost + 1, bar, scale(stage.kept + stage.rejected + stage.unknown) - lost - 1, 17, "hp-a0", 2)
        gone = stage.rejected + stage.unknown
        at = scale(stage.kept + gone) + 7
        canvas.text(at, bar + 13, f"{stage.kept:,}", "hp-bold", size=11)
        if gone:
            canvas.text(
                at + text_width(f"{stage.kept:,}  ", 11, bold=True), bar + 13, f"−{gone:,}", "hp-muted", size=11
            )
    canvas.y += (len(stages) + 1) * tall + 4
    said = [f"{s.label}: {s.kept:,} kept, {s.rejected:,} turned away, {s.unknown:,} not known" for s in stages]
    return canvas.finish(f"{first:,} posts; " + "; ".join(said) + ".")


# ---- who had better do the work


@dataclass(frozen=True)
class Zones:
    """For one model: the values of a completed job (USD) at which the best way of doing it changes."""

    label: str
    alone_to_expert: Estimate  # above it, agent + expert beats the agent alone
    expert_to_human: Estimate  # above it, a human alone beats agent + expert
    alone_to_human: Estimate  # above it, a human alone beats the agent alone

    def areas(self) -> list[tuple[str, Estimate | None]]:
        """The ways from the least value up, each with where it ends (the last without an end)."""
        low, high = self.alone_to_expert.value, self.expert_to_human.value
        if low is not None and high is not None and low < high:
            return [("1", self.alone_to_expert), ("2", self.expert_to_human), ("3", None)]
        if self.alone_to_human.value is not None:
            return [("1", self.alone_to_human), ("3", None)]
        return []


ZONE_LABELS: Mapping[str, str] = {"1": "agent alone", "2": "agent + expert", "3": "human alone"}


def zones_chart(frame: Frame, rows: Sequence[Zones], mean_value: float | None = None) -> str:
    """A bar a model over the value of a completed job: agent alone, agent + expert, human alone; where they meet."""
    canvas = Canvas(frame)
    shown = [(row, row.areas()) for row in rows if row.areas()]
    if not shown:
        return _empty(canvas)
    ends = [e.hi if e.hi is not None else e.value or 0.0 for _, areas in shown for _, e in areas if e is not None]
    label = 0.0 if canvas.narrow else _label_room(canvas, [r.label for r, _ in shown])
    most = rounded_up(max([*ends, mean_value or 0.0]) * 1.35)
    scale = Scale(0, most, MARGIN + label + 4, canvas.frame.width - MARGIN - 8)
    canvas.y += 18 if mean_value is not None else 0
    top, tall = canvas.y, 58.0 if canvas.narrow else 48.0
    canvas.axis(scale, top, top + tall * len(shown), {t: usd(t) for t in ticks(0, most, 4 if canvas.narrow else 7)})
    for i, (row, areas) in enumerate(shown):
        y = top + i * tall + (tall - 36)
        where = (MARGIN, y - 5) if canvas.narrow else (MARGIN, y + 18)
        canvas.text(*where, fit(row.label, label - 10 if label else canvas.room, 12, bold=True), "hp-bold")
        _zones(canvas, scale, areas, y)
    if mean_value is not None:
        canvas.line(scale(mean_value), top - 4, scale(mean_value), top + tall * len(shown), "hp-axis", 1.5, "4 3")
        words = f"mean job {usd(mean_value)}"
        middle = max(scale(mean_value), MARGIN + text_width(words, 11) / 2)
        canvas.text(middle, top - 8, words, "hp-muted", size=11, anchor="middle")
    canvas.y = top + tall * len(shown) + 22
    canvas.y += 14
    canvas.text(scale.start, canvas.y - 8, "Value of a completed job to the client", "hp-muted", size=11)
    said = [
        f"{row.label}: " + ", then ".join(f"{ZONE_LABELS[z]}{f' up to {usd(e.value)}' if e else ''}" for z, e in areas)
        for row, areas in shown
    ]
    return canvas.finish("; ".join(said) + ".")


def _zones(canvas: Canvas, scale: Scale, areas: Sequence[tuple[str, Estimate | None]], y: float) -> None:
    start = scale.start
    for zone, until in areas:
        end = scale(until.value) if until is not None and until.value is not None else scale.end
        canvas.rect(start, y, end - start, 28, f"hp-z{zone}")
        words = ZONE_LABELS[zone]
        if text_width(words, 11) + 12 <= end - start:
            canvas.text((start + end) / 2, y + 12, words, "hp-ink", size=11, anchor="middle")
        start = end
    for until in (until for _, until in areas if until is not None and until.value is not None):
        border = scale(until.value or 0)
        canvas.line(border, y, border, y + 28, "hp-s8", 2)
        if until.lo is not None and until.hi is not None:
            canvas.whisker(scale(until.lo), scale(until.hi), y + 20, "8")


# ---- over turns or months


@dataclass(frozen=True)
class Curve:
    """A line with its intervals: (place on the axis from 0 on, figure)."""

    label: str
    points: tuple[tuple[int, Estimate], ...]
    colour: str = "1"
    dashed: bool = False


def line_chart(frame: Frame, places: Sequence[str], curves: Sequence[Curve]) -> str:
    """Shares over turns or months, a band for each interval, each line labelled at its end."""
    canvas = Canvas(frame)
    there = [e for c in curves for _, e in c.points if e.value is not None]
    if not there:
        return _empty(canvas)
    tags = [fit(c.label, canvas.room * 0.3, 12) for c in curves]
    right = canvas.frame.width - MARGIN - max(text_width(t, 12) for t in tags) - 62
    hi = _reach(there, None, True)[1]
    top, bottom = canvas.y + 8, canvas.y + (220 if canvas.narrow else 280)
    across, up = Scale(0, max(1, len(places) - 1), MARGIN + 46, right), Scale(0, hi, bottom, top)
    for t, words in _percent_labels(0, hi, 6).items():
        canvas.line(MARGIN + 40, up(t), right, up(t), "hp-grid")
        canvas.text(MARGIN + 34, up(t) + 4, words, "hp-muted", size=11, anchor="end")
    for i in _thinned(len(places), 4 if canvas.narrow else 8):
        anchor = "start" if i == 0 and len(places) > 1 else "middle"
        canvas.text(
            across(i) - (6 if anchor == "start" else 0), bottom + 17, places[i], "hp-muted", size=11, anchor=anchor
        )
    for curve in curves:
        _curve(canvas, across, up, curve)
    _tags(canvas, [(tag, curve) for tag, curve in zip(tags, curves, strict=True)], right + 10, up)
    canvas.y = bottom + 28
    said = [f"{c.label}: " + ", ".join(f"{places[i]} {percent(e.value)}" for i, e in c.points) for c in curves]
    return canvas.finish("; ".join(said) + ".")


def _thinned(count: int, most: int) -> list[int]:
    """Which of the places are labelled, so that labels do not touch; the last always."""
    step = -(-count // most)
    return [i for i in range(count) if (count - 1 - i) % step == 0]


def _curve(canvas: Canvas, across: Scale, up: Scale, curve: Curve) -> None:
    points = [(across(i), e) for i, e in curve.points if e.value is not None]
    highs = [(x, up(e.hi)) for x, e in points if e.hi is not None]
    lows = [(x, up(e.lo)) for x, e in points if e.lo is not None]
    if len(highs) == len(lows) > 1:
        canvas.path([*highs, *reversed(lows)], f"hp-b{curve.colour}", closed=True)
    ends = [(x, up(e.value or 0)) for x, e in points]
    for (x1, y1), (x2, y2) in pairwise(ends):
        canvas.line(x1, y1, x2, y2, f"hp-s{curve.colour}", 2.5, "6 4" if curve.dashed else "")
    for x, y in ends:
        canvas.mark("ring" if curve.dashed else "dot", x, y, curve.colour, 4)


def _tags(canvas: Canvas, tags: Sequence[tuple[str, Curve]], x: float, up: Scale) -> None:
    """Labels at the ends of lines, moved apart where they would touch."""
    last = [
        (up(c.points[-1][1].value or 0), tag, c) for tag, c in tags if c.points and c.points[-1][1].value is not None
    ]
    free = up.end + 4
    for y, tag, curve in sorted(last, key=lambda each: each[0]):
        at = max(y, free)
        free = at + 17
        canvas.mark("ring" if curve.dashed else "dot", x, at, curve.colour, 3.5)
        canvas.text(x + 9, at + 4, tag, "hp-ink", size=12)
        value = percent(curve.points[-1][1].value)
        canvas.text(x + 14 + text_width(tag, 12), at + 4, value, "hp-muted", size=11)
