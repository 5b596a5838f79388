"""Charts: well-formed whatever is in them, readable in both themes, the same everywhere, and as pictures."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hapi_pipeline.plots import charts
from hapi_pipeline.plots.charts import Cell, Curve, Estimate, Lift, Series, Stage, Zones, signed, usd
from hapi_pipeline.plots.png import SHARPNESS, png
from hapi_pipeline.plots.svg import (
    HEATS,
    SERIES,
    THEMES,
    Frame,
    clean,
    css,
    fit,
    rounded_up,
    standalone,
    text_width,
    ticks,
    wrap,
)

HOSTILE = '<script>alert(1)</script> "x" & \u202egnp.exe\x1b[31m\x00 ' + "long " * 40
TEXTS = st.text(max_size=60)
SHARES = st.floats(0, 1)


def one(value: float | None, text: str = "t") -> Estimate:
    return Estimate(value, None if value is None else value * 0.9, None if value is None else value * 1.1, text)


DRAWN: dict[str, Callable[[Frame, str], str]] = {
    "intervals": lambda f, name: charts.intervals_chart(
        f, [(name, {"a": one(0.4, name), "b": one(None, name)})], [Series("a", name), Series("b", "b", "ring")]
    ),
    "lift": lambda f, name: charts.lift_chart(
        f, [Lift(name, one(0.2), one(0.5), one(30), one(-3, name)), Lift(name, one(0), one(1), one(100), one(None))]
    ),
    "heat": lambda f, name: charts.heat_map(
        f, [(name, name)], [(name, name), ("", "")], {(0, 0): Cell(0.5, name, name)}
    ),
    "funnel": lambda f, name: charts.funnel_chart(f, 2000, [Stage(name, 900, 1000, 100), Stage("none", 0, 900)]),
    "zones": lambda f, name: charts.zones_chart(
        f, [Zones(name, one(20), one(80), one(50)), Zones(name, one(None), one(None), one(50))], 90
    ),
    "lines": lambda f, name: charts.line_chart(
        f, [name, "b", "c"], [Curve(name, ((0, one(0.1)), (1, one(0.3)), (2, one(None)))), Curve("x", ((1, one(0.3)),))]
    ),
}  # fmt: skip
EMPTY: list[Callable[[Frame], str]] = [
    lambda f: charts.intervals_chart(f, [], []),
    lambda f: charts.intervals_chart(f, [("m", {"a": one(None)})], [Series("a", "a")]),
    lambda f: charts.lift_chart(f, []),
    lambda f: charts.heat_map(f, [], [], {}),
    lambda f: charts.funnel_chart(f, 0, []),
    lambda f: charts.zones_chart(f, [Zones("m", one(None), one(None), one(None))]),
    lambda f: charts.line_chart(f, [], []),
]
NAMESPACE = "{http://www.w3.org/2000/svg}"
ALLOWED = {"svg", "title", "desc", "rect", "line", "path", "circle", "text"}


@pytest.mark.parametrize("width", [360, 720])
@pytest.mark.parametrize("kind", DRAWN)
def test_hostile_words_are_only_words(kind: str, width: int) -> None:
    drawn = DRAWN[kind](Frame(HOSTILE, HOSTILE, HOSTILE, True, width), HOSTILE)
    root = ET.fromstring(drawn)
    assert {element.tag.removeprefix(NAMESPACE) for element in root.iter()} <= ALLOWED
    for element in root.iter():
        assert not {a for a in element.attrib if a.startswith("on") or "href" in a or a == "style"}
    assert "\u202e" not in drawn
    assert "\x1b" not in drawn
    assert "url(" not in drawn


@pytest.mark.parametrize("width", [360, 720])
@pytest.mark.parametrize("kind", DRAWN)
def test_nothing_stands_outside_the_picture(kind: str, width: int) -> None:
    root = ET.fromstring(DRAWN[kind](Frame("Title", "Subtitle", "Note", True, width), "A model with quite a long name"))
    tall = float(root.attrib["height"])
    for element in root.iter():
        kinds = element.attrib.get("class", "")
        if element.tag == f"{NAMESPACE}text" and "watermark" not in kinds:
            size, x = float(element.attrib["font-size"]), float(element.attrib["x"])
            wide = text_width(element.text or "", size, bold="bold" in kinds or "title" in kinds)
            start = {"middle": x - wide / 2, "end": x - wide}.get(element.attrib.get("text-anchor", ""), x)
            assert start >= -1
            assert start + wide <= width + 1, element.text
            assert 0 < float(element.attrib["y"]) <= tall
        if element.tag in (f"{NAMESPACE}rect", f"{NAMESPACE}line"):
            ends = [float(element.attrib[k]) for k in ("x", "x1", "x2") if k in element.attrib]
            ends += [float(element.attrib.get("x", 0)) + float(element.attrib.get("width", 0))]
            assert all(-1 <= end <= width + 1 for end in ends)


@pytest.mark.parametrize("kind", DRAWN)
def test_simulated_figures_are_marked_twice(kind: str) -> None:
    told = DRAWN[kind](Frame("Title", simulated=True), "Model")
    assert "SIMULATED DATA</text>" in told
    assert told.count("Simulated data") == 2  # for eyes and for screen readers
    real = DRAWN[kind](Frame("Title"), "Model")
    assert "imulated" not in real
    assert "SIMULATED" not in real


@pytest.mark.parametrize("kind", DRAWN)
def test_a_screen_reader_hears_the_title_and_what_is_shown(kind: str) -> None:
    root = ET.fromstring(DRAWN[kind](Frame("The title", "What to see."), "A model"))
    title, said = root.find(f"{NAMESPACE}title"), root.find(f"{NAMESPACE}desc")
    assert title is not None
    assert said is not None
    assert title.text == "The title"
    assert (said.text or "").startswith("What to see. ")
    assert "A model" in (said.text or "")
    assert root.attrib["aria-labelledby"].split() == [title.attrib["id"], said.attrib["id"]]
    assert root.attrib["role"] == "img"


@pytest.mark.parametrize("draw", EMPTY)
def test_nothing_to_show_is_said(draw: Callable[[Frame], str]) -> None:
    drawn = draw(Frame("Title"))
    ET.fromstring(drawn)
    assert charts.NOTHING in drawn


@pytest.mark.parametrize("kind", DRAWN)
def test_the_same_figures_give_the_same_bytes(kind: str) -> None:
    first = DRAWN[kind](Frame("Title", simulated=True), "Model")
    assert DRAWN[kind](Frame("Title", simulated=True), "Model") == first
    assert DRAWN[kind](Frame("Title", simulated=True), "Another") != first


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.lists(st.tuples(TEXTS, SHARES, SHARES), max_size=6), st.sampled_from([340, 500, 900]))
def test_any_words_and_figures_can_be_drawn(title: str, given_rows: list[tuple[str, float, float]], width: int) -> None:
    rows = [(name, {"a": Estimate(a, min(a, b), max(a, b), name)}) for name, a, b in given_rows]
    frame = Frame(title, title, title, True, width)
    ET.fromstring(charts.intervals_chart(frame, rows, [Series("a", title)]))
    ET.fromstring(
        charts.lift_chart(frame, [Lift(n, one(a), one(b), one(a - b, n), one(b - a, n)) for n, a, b in given_rows])
    )
    ET.fromstring(charts.zones_chart(frame, [Zones(n, one(a), one(b), one(a)) for n, a, b in given_rows], 0.5))


@pytest.mark.parametrize("count", [1, 25])
def test_many_models_each_have_their_row(count: int) -> None:
    names = [f"Model number {i}" for i in range(count)]
    series = charts.round_series(["retry_1", "agent_alone", "feedback_1", "a new one"])
    assert [s.key for s in series] == ["agent_alone", "feedback_1", "retry_1", "a new one"]
    drawn = charts.intervals_chart(Frame("T"), [(n, {s.key: one(0.3) for s in series}) for n in names], series)
    root = ET.fromstring(drawn)
    places = {e.text: float(e.attrib["y"]) for e in root.iter(f"{NAMESPACE}text") if e.text in names}
    assert len(places) == count
    assert all(b - a > 40 for a, b in pairwise(sorted(places.values())))


# ---- text and scales


@given(TEXTS, st.floats(5, 400), st.floats(8, 20))
def test_text_is_cut_to_its_room(text: str, room: float, size: float) -> None:
    cut = fit(text, room, size)
    assert text_width(cut, size) <= room or cut == "…"
    lines = wrap(text, room, size)
    assert all(text_width(line, size) <= room or len(line) == 1 for line in lines)
    assert "".join("".join(lines).split()) == "".join(clean(text).split())


@given(TEXTS)
def test_nothing_steers_the_reader(text: str) -> None:
    assert clean(text).isprintable()
    assert not set(clean(text)) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u200f\x1b\x07")


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 9))
def test_ticks_are_round_and_within(lo: float, span: float, most: int) -> None:
    hi = lo + span
    found = ticks(lo, hi, most)
    assert len(found) <= most + 1
    assert all(lo - span * 1e-6 <= t <= hi + span * 1e-6 for t in found)
    assert len({round(b - a, 8) for a, b in pairwise(found)}) <= 1 or span < 1e-2


@given(st.floats(1e-6, 1e9))
def test_an_axis_reaches_what_it_shows(value: float) -> None:
    assert value * 0.999 <= rounded_up(value) <= value * 1.7


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0.0"),
        (3.14, "+3.1"),
        (-3.14, "−3.1"),
        (-0.0311, "−0.03"),
        (0.04999, "+0.05"),
        (1e-12, "0.0"),
    ],
)
def test_a_difference_is_never_written_as_nought_unless_it_is(value: float | None, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "$0"), (0.001, "<$0.01"), (0.044, "$0.04"), (91.6, "$92"), (-12.0, "−$12"), (-1.5, "−$1.50")],
)
def test_amounts(value: float | None, text: str) -> None:
    assert usd(value) == text


# ---- colours


def contrast(one: str, other: str) -> float:
    """WCAG 2.2: (L1 + 0.05) / (L2 + 0.05), the lighter first."""

    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    lighter, darker = sorted((light(one), light(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_words_and_marks_can_be_read(theme: str) -> None:
    colours = THEMES[theme]
    for name in ("ink", "muted", "warn"):
        assert contrast(colours[name], colours["bg"]) >= 4.5, name
    for i in range(SERIES + 1):
        assert contrast(colours[str(i)], colours["bg"]) >= 3, i
    assert contrast(colours["axis"], colours["bg"]) >= 3
    for i in range(HEATS):
        assert contrast(colours[f"t{i}"], colours[f"h{i}"]) >= 4.5, i
    for i in (1, 2, 3):
        assert contrast(colours["ink"], colours[f"z{i}"]) >= 4.5, i
        assert contrast(colours["8"], colours[f"z{i}"]) >= 3, i


def test_more_is_deeper() -> None:
    for colours in THEMES.values():
        depths = [contrast(colours[f"h{i}"], colours["bg"]) for i in range(HEATS)]
        assert depths == sorted(depths)


def test_every_class_has_a_style_in_every_theme() -> None:
    used = set()
    for draw in DRAWN.values():
        for element in ET.fromstring(draw(Frame("T", "s", "n", True), "m")).iter():
            used |= set(element.attrib.get("class", "").split())
    for theme in ("page", "light", "dark"):
        assert all(f".{name}" in css(theme) for name in used)


# ---- files


def test_a_file_brings_its_colours_and_asks_for_nothing() -> None:
    drawn = standalone(DRAWN["intervals"](Frame("T"), "m"), "auto")
    ET.fromstring(drawn)
    assert "prefers-color-scheme:dark" in drawn
    assert THEMES["dark"]["bg"] in drawn
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
    assert "prefers-color-scheme" not in standalone(DRAWN["intervals"](Frame("T"), "m"), "dark")


def pixels(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_picture_is_what_the_chart_is(theme: str) -> None:
    drawn = DRAWN["lines"](Frame("Title", "Subtitle", simulated=True), "Model")
    picture, root = pixels(png(drawn, theme)), ET.fromstring(drawn)
    assert picture.size == (float(root.attrib["width"]) * SHARPNESS, float(root.attrib["height"]) * SHARPNESS)
    corner = THEMES[theme]["bg"]
    assert picture.getpixel((2, 2)) == tuple(int(corner[i : i + 2], 16) for i in (1, 3, 5))
    assert png(drawn, theme) == png(drawn, theme)


def test_letters_are_drawn_with_the_font_that_ships() -> None:
    def ink(title: str) -> int:
        picture = pixels(png(charts.funnel_chart(Frame(title), 0, []))).crop((0, 0, 1440, 70))
        dark = picture.convert("L").histogram()[:100]
        return sum(dark)

    assert ink("Completed: Ω, é, И, ≥") > ink("C") > 50


def test_a_picture_has_one_theme() -> None:
    with pytest.raises(ValueError, match="auto"):
        png(DRAWN["lines"](Frame("T"), "m"), "auto")


def test_in_a_browser_a_file_follows_the_readers_theme(tmp_path: Path) -> None:
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip("needs the Debian package chromium")
    from playwright.sync_api import sync_playwright

    path = tmp_path / "chart.svg"
    path.write_text(standalone(DRAWN["intervals"](Frame("Title", simulated=True), "Model"), "auto"), "utf-8")
    seen = {}
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
        for theme in ("light", "dark"):
            page = browser.new_page(color_scheme=theme)
            page.goto(path.as_uri())
            seen[theme] = page.evaluate("getComputedStyle(document.querySelector('.hp-bg')).fill")
        browser.close()
    assert seen == {"light": "rgb(255, 255, 255)", "dark": "rgb(16, 21, 27)"}
