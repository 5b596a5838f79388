"""The pieces that charts are made of: a canvas that writes SVG, scales, ticks, text that fits, colours of both themes.

Charts carry classes and no colours, so that the same chart is light or dark: a page brings `css("page")` along once,
a file gets `css("light")`, `css("dark")` or `css("auto")` by `standalone`. There is no style attribute, script, link
or reference to anything outside, so that a page may forbid all of them.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MARGIN = 16
SIMULATED = "Simulated data"
TOLD = f"{SIMULATED}: invented posts, models, graders and outcomes."

THEMES: Mapping[str, Mapping[str, str]] = {
    "light": {
        "bg": "#ffffff", "ink": "#1b1f24", "muted": "#59636e", "grid": "#e4e8ec", "axis": "#8a939d", "warn": "#a43e00",
        "1": "#0b62c4", "2": "#b45309", "3": "#0f7b54", "4": "#7d3cc9", "5": "#b81f6b", "6": "#00798a", "7": "#7a5c00",
        "8": "#4b5563", "0": "#737d88",
        "h0": "#f3f6fa", "h1": "#e2ecf7", "h2": "#cbdff3", "h3": "#aecdec", "h4": "#8bb8e3", "h5": "#3f7fc1",
        "h6": "#2768ad", "h7": "#165293", "h8": "#0c3d75",
        "t0": "#1b1f24", "t1": "#1b1f24", "t2": "#1b1f24", "t3": "#1b1f24", "t4": "#1b1f24", "t5": "#0b0e11",
        "t6": "#ffffff", "t7": "#ffffff", "t8": "#ffffff",
        "z1": "#d5e5f8", "z2": "#d2ebdf", "z3": "#f8e3cb",
    },
    "dark": {
        "bg": "#10151b", "ink": "#e6edf3", "muted": "#9ba7b4", "grid": "#28303a", "axis": "#6f7b88", "warn": "#ffa657",
        "1": "#5aa9ff", "2": "#f0913f", "3": "#3fbd8d", "4": "#bf94ff", "5": "#f580bc", "6": "#3fc8d4", "7": "#d6ab31",
        "8": "#aab5c1", "0": "#8b96a3",
        "h0": "#161d26", "h1": "#182939", "h2": "#1a354f", "h3": "#1d4468", "h4": "#215583", "h5": "#28689f",
        "h6": "#5b9bd5", "h7": "#8abbe8", "h8": "#b9d8f5",
        "t0": "#e6edf3", "t1": "#e6edf3", "t2": "#e6edf3", "t3": "#e6edf3", "t4": "#ffffff", "t5": "#ffffff",
        "t6": "#0b0e11", "t7": "#0b0e11", "t8": "#0b0e11",
        "z1": "#17304d", "z2": "#173a2e", "z3": "#45301a",
    },
}  # fmt: skip
"""Colours by theme. 1 to 8 tell things apart (also without full colour sight, and charts label directly besides), 0 is
neutral; h0 to h8 run from little to much, t0 to t8 are the text on them; z1 to z3 are areas."""

HEATS = 9
SERIES = 8


# ---- text


def clean(text: object) -> str:
    """Text in which nothing steers a reader's screen: no control characters, no line breaks of whatever kind, no marks
    that turn writing around."""
    kinds = ((c, unicodedata.category(c)[0]) for c in str(text))
    return "".join(" " if kind == "Z" or c in "\t\n\r" else c for c, kind in kinds if kind != "C" or c in "\t\n\r")


def escape(text: object) -> str:
    """Text for an element or attribute of SVG."""
    return clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


# advance widths of Inter Regular from the space to the tilde, in hundredths of the font size
_WIDTHS = [
    28, 28, 40, 63, 64, 81, 64, 22, 36, 36, 50, 66, 28, 46, 28, 36, 62, 46, 61, 64, 64, 61, 62, 57, 62, 62, 28, 28, 66,
    66, 66, 51, 94, 68, 65, 73, 72, 60, 59, 74, 74, 26, 54, 65, 56, 89, 75, 76, 63, 76, 64, 64, 64, 74, 68, 95, 64, 66,
    62, 36, 36, 36, 47, 45, 50, 56, 62, 56, 62, 58, 36, 61, 59, 24, 24, 54, 24, 87, 59, 60, 61, 61, 37, 52, 36, 58, 56,
    81, 54, 56, 54, 36, 33, 36, 66,
]  # fmt: skip


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """How wide a text is in pixels, as Inter sets it; what the font lacks is taken as a full square."""
    total = 0
    for c in text:
        if " " <= c <= "~":
            total += _WIDTHS[ord(c) - 32]
        elif unicodedata.combining(c):
            continue
        else:
            total += 100 if unicodedata.east_asian_width(c) in "WF" else 66
    return total * size / 100 * (1.05 if bold else 1)


def fit(text: object, room: float, size: float, *, bold: bool = False) -> str:
    """A text cut with an ellipsis where it is wider than `room` pixels."""
    whole = clean(text)
    if text_width(whole, size, bold=bold) <= room:
        return whole
    cut = whole
    while cut and text_width(cut + "…", size, bold=bold) > room:
        cut = cut[:-1]
    return cut.rstrip() + "…"


def wrap(text: object, room: float, size: float, *, bold: bool = False) -> list[str]:
    """A text in lines of at most `room` pixels, broken at spaces, and within words that are wider than a line."""
    lines: list[str] = []
    for word in (part for whole in clean(text).split() for part in _parts(whole, room, size, bold=bold)):
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(joined, size, bold=bold) <= room:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines


def _parts(word: str, room: float, size: float, *, bold: bool) -> Iterator[str]:
    """A word in pieces that are no wider than `room` pixels, of at least one character each."""
    while text_width(word, size, bold=bold) > room and len(word) > 1:
        most = next((n for n in range(2, len(word)) if text_width(word[:n], size, bold=bold) > room), len(word)) - 1
        yield word[:most]
        word = word[most:]
    yield word


# ---- scales


@dataclass(frozen=True)
class Scale:
    """From values to pixels, in a straight line."""

    lo: float
    hi: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value; one outside the scale stands at its end."""
        span = self.hi - self.lo or 1.0
        held = min(max(value, self.lo), self.hi)
        return self.start + (held - self.lo) / span * (self.end - self.start)


def ticks(lo: float, hi: float, most: int = 6) -> list[float]:
    """Round numbers from `lo` to `hi`, at most so many: steps of 1, 2 or 5 times a power of ten."""
    if not hi > lo:
        return [lo]
    raw = (hi - lo) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(lo / step - 1e-9)
    found: list[float] = []
    while (first + len(found)) * step <= hi + step * 1e-9:
        found.append(round((first + len(found)) * step, 10))
    return found


def rounded_up(value: float) -> float:
    """The next round number that is not less: 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8 or 9 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * m for m in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9, 10) if power * m >= value * 0.9999)


def number(value: float) -> str:
    """A coordinate, short and always written the same way."""
    text = f"{value:.1f}"
    text = text[:-2] if text.endswith(".0") else text
    return "0" if text == "-0" else text


# ---- the canvas


@dataclass(frozen=True)
class Frame:
    """What stands around a chart."""

    title: str
    subtitle: str = ""
    """What to look for, in a sentence; with counts and what the bars mean."""
    note: str = ""
    """The small print below."""
    simulated: bool = False
    width: int = 720
    """Pixels; charts lay themselves out anew for a phone (360), for letters must not shrink."""


@dataclass
class Canvas:
    """Takes shapes and text and writes one SVG document."""

    frame: Frame
    y: float = 0
    """Where free space begins."""
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.y = 10
        for line in wrap(self.frame.title, self.room, 16, bold=True):
            self.y += 20
            self.text(MARGIN, self.y - 4, line, "hp-title", size=16)
        for line in wrap(self.frame.subtitle, self.room, 13):
            self.y += 18
            self.text(MARGIN, self.y - 4, line, "hp-muted", size=13)
        self.y += 10

    @property
    def room(self) -> float:
        """Width between the margins."""
        return self.frame.width - 2 * MARGIN

    @property
    def narrow(self) -> bool:
        """Whether this is for a phone."""
        return self.frame.width < 520

    def text(
        self, x: float, y: float, text: object, kind: str = "hp-ink", *, size: float = 12, anchor: str = "start"
    ) -> None:
        """Text whose baseline is at y."""
        where = f' text-anchor="{anchor}"' if anchor != "start" else ""
        shown = escape(text).replace("  ", "\u2002")  # two spaces would be drawn as one
        placed = f'x="{number(x)}" y="{number(y)}" font-size="{number(size)}"{where}'
        self.parts.append(f'<text class="{kind}" {placed}>{shown}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str, width: float = 1, dash: str = "") -> None:
        """A straight line."""
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<line class="{kind}" x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}" '
            f'stroke-width="{number(width)}"{dashed}/>'
        )

    def rect(self, x: float, y: float, width: float, height: float, kind: str, radius: float = 0) -> None:
        """A rectangle; none where it would have no width."""
        round_ = f' rx="{number(radius)}"' if radius else ""
        self.parts.append(
            f'<rect class="{kind}" x="{number(x)}" y="{number(y)}" width="{number(max(0.0, width))}" '
            f'height="{number(max(0.0, height))}"{round_}/>'
        )

    def path(self, points: Sequence[tuple[float, float]], kind: str, width: float = 2, *, closed: bool = False) -> None:
        """A line through points; closed, the area within."""
        drawn = " L".join(f"{number(x)} {number(y)}" for x, y in points)
        stroke = "" if closed else f' fill="none" stroke-width="{number(width)}" stroke-linejoin="round"'
        self.parts.append(f'<path class="{kind}" d="M{drawn}{"Z" if closed else ""}"{stroke}/>')

    def mark(self, shape: str, x: float, y: float, colour: str, size: float = 4.5) -> None:
        """A mark that is told by its shape as well as by its colour: dot, ring, diamond or box."""
        if shape == "ring":
            self.parts.append(
                f'<circle class="hp-hole hp-s{colour}" cx="{number(x)}" cy="{number(y)}" r="{number(size - 0.5)}" '
                'stroke-width="2"/>'
            )
        elif shape == "box":
            half = size - 0.5
            self.parts.append(
                f'<rect class="hp-hole hp-s{colour}" x="{number(x - half)}" y="{number(y - half)}" '
                f'width="{number(2 * half)}" height="{number(2 * half)}" stroke-width="2"/>'
            )
        elif shape == "diamond":
            half = size + 1.5
            around = [(x, y - half), (x + half, y), (x, y + half), (x - half, y)]
            self.path(around, f"hp-f{colour}", closed=True)
        else:
            self.parts.append(f'<circle class="hp-f{colour}" cx="{number(x)}" cy="{number(y)}" r="{number(size)}"/>')

    def whisker(self, x1: float, x2: float, y: float, colour: str, dash: str = "") -> None:
        """An interval, lying."""
        self.line(x1, y, x2, y, f"hp-s{colour}", 2, dash)
        for x in (x1, x2):
            self.line(x, y - 3, x, y + 3, f"hp-s{colour}", 1.5)

    def axis(self, scale: Scale, top: float, bottom: float, labels: Mapping[float, str]) -> None:
        """Upright lines at these values, each labelled below."""
        for value, label in labels.items():
            self.line(scale(value), top, scale(value), bottom, "hp-grid")
            self.text(scale(value), bottom + 15, label, "hp-muted", size=11, anchor="middle")

    def legend(self, entries: Sequence[tuple[str, str, str]]) -> None:
        """What marks mean: (shape, colour, label), in as many lines as they need."""
        x = float(MARGIN)
        for shape, colour, label in entries:
            label = fit(label, self.room - 18, 12)
            wide = 18 + text_width(label, 12) + 18
            if x > MARGIN and x + wide > self.frame.width - MARGIN:
                x, self.y = MARGIN, self.y + 18
            if shape in ("area", "faint"):
                self.rect(x, self.y + 1, 11, 11, f"hp-{'f' if shape == 'area' else 'a'}{colour}", 2)
            else:
                self.mark(shape, x + 6, self.y + 7, colour)
            self.text(x + 18, self.y + 11, label, "hp-ink", size=12)
            x += wide
        self.y += 26

    def finish(self, description: str) -> str:
        """The document. `description` is what a screen reader says of the chart besides its title."""
        middle = self.y / 2
        if self.frame.note or self.frame.simulated:
            self.y += 6
        for line in wrap(self.frame.note, self.room, 11):
            self.y += 15
            self.text(MARGIN, self.y - 3, line, "hp-muted", size=11)
        for line in wrap(TOLD, self.room, 11, bold=True) if self.frame.simulated else ():
            self.y += 15
            self.text(MARGIN, self.y - 2, line, "hp-warn", size=11)
        width, height = self.frame.width, math.ceil(self.y + 12)
        name = "hp" + hashlib.sha256("\n".join([self.frame.title, str(width), *self.parts]).encode()).hexdigest()[:10]
        said = " ".join(t for t in (self.frame.subtitle, description, self._simulated()) if t)
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="hp" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-labelledby="{name}t {name}d">',
            f'<title id="{name}t">{escape(self.frame.title)}</title>',
            f'<desc id="{name}d">{escape(said)}</desc>',
            f'<rect class="hp-bg" width="{width}" height="{height}"/>',
            *self.parts,
            *self._watermark(width, middle),
            "</svg>",
        ]
        return "\n".join(lines) + "\n"

    def _simulated(self) -> str:
        return f"{SIMULATED}." if self.frame.simulated else ""

    def _watermark(self, width: int, middle: float) -> Iterator[str]:
        """The words across the plot that stay in whatever the picture is cut to."""
        if self.frame.simulated:
            size = min(64.0, width / 9)
            yield (
                f'<text class="hp-watermark" aria-hidden="true" x="{number(width / 2)}" y="{number(middle + 24)}" '
                f'font-size="{number(size)}" text-anchor="middle" transform="rotate(-14 {number(width / 2)} '
                f'{number(middle)})">SIMULATED DATA</text>'
            )


# ---- colours


def css(theme: str = "page") -> str:
    """The styles of all charts.

    `page` is for a page: colours are the variables --hp-…, light or dark by the reader's system or by data-theme on
    the root element, light on paper. `light`, `dark` and `auto` (by the reader's system) are for files.
    """
    if theme == "page":
        dark = _variables("dark")
        return "\n".join(
            [
                f":root{{{_variables('light')}}}",
                f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}",
                f":root[data-theme=dark]{{{dark}}}",
                f"@media print{{:root,:root[data-theme=dark],:root:not([data-theme=light]){{{_variables('light')}}}}}",
                _rules({name: f"var(--hp-{name})" for name in THEMES["light"]}, background="none"),
            ]
        )
    if theme == "auto":
        return f"{css('light')}\n@media (prefers-color-scheme:dark){{\n{css('dark')}\n}}"
    return _rules(THEMES[theme], background=THEMES[theme]["bg"])


def _variables(theme: str) -> str:
    return "".join(f"--hp-{name}:{value};" for name, value in THEMES[theme].items())


def _rules(colours: Mapping[str, str], background: str) -> str:
    rules = [
        f".hp text{{font-family:{FONT}}}",
        f".hp-bg{{fill:{background}}}",
        f".hp-hole{{fill:{colours['bg']}}}",
        f".hp-ink{{fill:{colours['ink']}}}",
        f".hp-bold,.hp-title{{fill:{colours['ink']};font-weight:600}}",
        f".hp-muted{{fill:{colours['muted']}}}",
        f".hp-warn{{fill:{colours['warn']};font-weight:600}}",
        f".hp-watermark{{fill:{colours['muted']};opacity:.11;font-weight:600;letter-spacing:2px;pointer-events:none}}",
        f".hp-grid{{stroke:{colours['grid']}}}",
        f".hp-axis{{stroke:{colours['axis']}}}",
        *(f".hp-f{i}{{fill:{colours[str(i)]}}}.hp-s{i}{{stroke:{colours[str(i)]}}}" for i in range(SERIES + 1)),
        *(f".hp-b{i}{{fill:{colours[str(i)]};opacity:.16}}" for i in range(SERIES + 1)),
        *(f".hp-a{i}{{fill:{colours[str(i)]};opacity:.5}}" for i in range(SERIES + 1)),
        *(f".hp-h{i}{{fill:{colours[f'h{i}']}}}.hp-t{i}{{fill:{colours[f't{i}']}}}" for i in range(HEATS)),
        *(f".hp-z{i}{{fill:{colours[f'z{i}']}}}" for i in (1, 2, 3)),
    ]
    return "\n".join(rules)


def standalone(svg: str, theme: str = "auto") -> str:
    """A chart as a file of its own: with its styles."""
    head, close, rest = svg.partition(">")
    return f"{head}{close}\n<style>\n{css(theme)}\n</style>{rest}"
