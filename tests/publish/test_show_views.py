"""`hapi show`: every figure with its interval and counts, in 80 columns, plain where it goes into a pipe."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hapi_pipeline.cli import main
from hapi_pipeline.commands.publish import VIEWS as NAMED
from hapi_pipeline.engine import read_only_query
from hapi_pipeline.lake import Lake
from hapi_pipeline.plots.charts import Estimate
from hapi_pipeline.plots.svg import TOLD
from hapi_pipeline.plots.terminal import Line, Pen, cells_wide, cut, drawn_range, pen_for, ranged_table
from hapi_pipeline.plots.views import VIEWS, Chosen, text_of
from hapi_pipeline.settings import Home
from tests import scenario

ESCAPE = "\x1b"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def text(home: Home, view: str, pen: Pen | None = None, **chosen: Any) -> str:
    picked = Chosen(**chosen)
    return text_of(VIEWS[view], VIEWS[view].rows(Lake(home.lake), picked), picked, pen or Pen(80))


def test_the_command_knows_every_view() -> None:
    assert tuple(VIEWS) == NAMED


@pytest.mark.parametrize(("view", "width"), [(v, w) for v in VIEWS for w in (60, 80, 120) if (v, w) != ("funnel", 60)])
def test_it_fits(view: str, width: int, made_home: Home) -> None:
    lines = text(made_home, view, Pen(width)).split("\n")
    assert max(cells_wide(line) for line in lines) <= width
    assert len(lines) > 3


@pytest.mark.parametrize("view", VIEWS)
def test_colours_are_for_terminals_only(view: str, made_home: Home) -> None:
    plain, coloured = text(made_home, view), text(made_home, view, Pen(80, colour=True))
    assert ESCAPE not in plain
    assert ESCAPE in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


def test_the_pen_is_the_streams() -> None:
    assert pen_for(Terminal(), {"TERM": "xterm"}).colour
    assert not pen_for(Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}).colour
    assert pen_for(Terminal(), {"TERM": "xterm", "NO_COLOR": ""}).colour
    assert not pen_for(Terminal(), {"TERM": "dumb"}).colour
    assert pen_for(io.StringIO(), {"TERM": "xterm"}) == Pen(80, colour=False)


def test_figures_are_those_of_the_leaderboard(made_home: Home) -> None:
    said = text(made_home, "leaderboard", Pen(160))
    rows = read_only_query(
        Lake(made_home.lake),
        "SELECT * FROM leaderboard l WHERE l.window = 'all' AND rule = 'all_criteria'",
        ["leaderboard"],
    ).to_pylist()
    assert len(rows) >= 4
    for row in rows:
        of = [line for line in said.split("\n") if row["model"] in line]
        counts, rate = f"{row['n_completed']} of {row['n_eligible']}", f"{100 * row['rate']:.1f} %"
        bounds = f"{100 * row['bound_lo']:.1f}–{100 * row['bound_hi']:.1f}"
        assert row["n_graded"] < row["n_eligible"]  # in this world, so that no interval may be shown
        assert any(counts in line and f"≥ {rate}" in line and bounds in line for line in of)
    assert "not known yet" in said
    assert "├──" not in said


def test_where_all_is_known_the_interval_is_shown() -> None:
    row = {
        "model": "M", "round": "agent_alone", "rank": 1, "rank_lo": 1, "rank_hi": 2, "n_eligible": 100,
        "n_graded": 100, "n_completed": 40, "rate": 0.4, "rate_lo": 0.3094, "rate_hi": 0.498, "bound_lo": 0.4,
        "bound_hi": 0.4, "cohorts": 2, "first_cohort": "2026-01", "last_cohort": "2026-02", "simulated": True,
    }  # fmt: skip
    said = text_of(VIEWS["leaderboard"], [row], Chosen(), Pen(80))
    (line,) = [line for line in said.split("\n") if "40 of 100" in line]
    assert re.fullmatch(r"1–2 +M +40 of 100 +40\.0 % +30\.9–49\.8 +├─+○─+┤", line)
    assert said.startswith(TOLD)
    assert "┄" not in said


def test_a_part_can_be_chosen(made_home: Home) -> None:
    assert scenario.BETA not in text(made_home, "leaderboard", model=scenario.ALPHA)
    assert "after first feedback" not in text(made_home, "leaderboard", round="agent_alone")
    required = text(made_home, "leaderboard", rule="required_criteria")
    assert "Every critical and important criterion passed" in required
    assert required != text(made_home, "leaderboard")
    assert "the newest twelve months" in text(made_home, "lift", window="last_12")


def test_nothing_to_show_is_said(home: Home) -> None:
    assert text(home, "agreement") == "agreement: nothing to show yet."


# ---- ranges


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(8, 80))
def test_a_range_lies_where_its_figures_do(a: float, b: float, c: float, room: int) -> None:
    lo, value, hi = sorted((a, b, c))
    drawn = drawn_range(Estimate(value, lo, hi), 0, 1, room)
    assert len(drawn) <= room
    assert drawn.count("●") == 1
    assert abs(drawn.index("●") - value * (room - 1)) <= 0.5 + 1e-9
    assert len(drawn) - 1 == round(hi * (room - 1))
    assert set(drawn) <= set(" ├─●┤")


def test_ranges_say_what_they_are() -> None:
    assert drawn_range(Estimate(0.5, 0.25, 0.75), 0, 1, 9) == "  ├─●─┤"
    assert drawn_range(Estimate(0.5, 0.25, 0.75, bounds=True), 0, 1, 9, "○") == "  ├┄○┄┤"
    assert drawn_range(Estimate(0.5), 0, 1, 9) == "    ●"
    assert drawn_range(Estimate(None), 0, 1, 9) == ""
    assert drawn_range(Estimate(9.0, -5.0, 12.0), 0, 1, 9) == "├───────●"


ROWS = st.tuples(st.text(max_size=40), st.text("0123456789", max_size=6), st.floats(-5, 5))


@given(st.lists(ROWS, min_size=1, max_size=5), st.integers(60, 160))
def test_a_table_never_gets_wider_than_the_terminal(rows: list[tuple[str, str, float]], width: int) -> None:
    lines = [Line((name, n), Estimate(x, x - 1, x + 1)) for name, n, x in rows]
    drawn = ranged_table(Pen(width), ["name", "n"], lines, (-6, 6), percent=False, zero=True)
    assert all(cells_wide(line) <= width for line in drawn)
    assert len(drawn) == len(rows) + 2
    assert all(line.isprintable() for line in drawn)


def test_wide_letters_count_twice() -> None:
    assert cells_wide("模型") == 4
    assert cut("模型模型", 5) == "模型…"
    assert cut("e\u0301te\u0301", 3) == "e\u0301te\u0301"


# ---- the command


def run(home: Home, *words: str) -> int:
    return main(["show", *words, "--home", str(home.root)])


@pytest.mark.parametrize("view", VIEWS)
def test_the_command_prints_every_view(view: str, made_home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(made_home, view) == 0
    said = capsys.readouterr().out
    assert ESCAPE not in said
    assert len(said) > 20


def test_the_command_draws_files(made_home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    svg, picture = tmp_path / "a.svg", tmp_path / "a.png"
    assert run(made_home, "leaderboard", "--svg", str(svg), "--png", str(picture), "--width", "400") == 0
    assert capsys.readouterr().out == f"Wrote {picture}.\nWrote {svg}.\n"
    assert ET.fromstring(svg.read_text("utf-8")).attrib["width"] == "400"
    assert Image.open(picture).size[0] == 800
    assert scenario.BETA in svg.read_text("utf-8")


def test_a_picture_can_be_dark(made_home: Home, tmp_path: Path) -> None:
    assert run(made_home, "lift", "--png", str(tmp_path / "a.png"), "--theme", "dark") == 0
    corner = Image.open(tmp_path / "a.png").convert("L").getpixel((1, 1))
    assert isinstance(corner, int)
    assert corner < 40


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["leaderboard", "--model", "Nobody"], "Nobody"),
        (["lift", "--round", "feedback_9"], "agent_alone, feedback_1, feedback_2, retry_1"),
        (["funnel", "--model", "Beta"], "leave --model out"),
        (["leaderboard", "--theme", "dark"], "--png or --svg"),
        (["leaderboard", "--png", "{tmp}/a.png", "--theme", "auto"], "light or dark"),
        (["leaderboard", "--png", "{tmp}/no/a.png"], "There is no folder"),
        (["leaderboard", "--svg", "{tmp}"], "is a folder"),
        (["leaderboard", "--svg", "{tmp}/a.svg", "--width", "5"], "--width is from"),
    ],
)
def test_what_cannot_be_is_refused(
    words: list[str], told: str, made_home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made_home, *(word.replace("{tmp}", str(tmp_path)) for word in words)) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_results_it_says_so(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "leaderboard") == 2
    assert "no results yet" in capsys.readouterr().err
    assert run(Home(tmp_path / "none"), "leaderboard") == 2
    assert not (tmp_path / "none").exists()
