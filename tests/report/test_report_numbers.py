"""What stands in the pages is what `hapi query` answers, and every command that they give works."""

from __future__ import annotations

import json
import math
import random
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser

from hapi_pipeline.cli import main
from hapi_pipeline.report import numbers
from hapi_pipeline.settings import Home

PAGES = ("index", "categories", "models", "economics", "failures", "agreement", "dataset")


def figures(site: Path) -> dict[str, tuple[Any, list[str]]]:
    """Each figure with its commands: first the SQL, then the query, then the traces."""
    found = {}
    for name in PAGES:
        page = LexborHTMLParser((site / f"{name}.html").read_text("utf-8"))
        for figure in page.css("figure.fig"):
            found[str(figure.attributes["id"])] = (figure, [code.text() for code in figure.css("pre code")])
    return found


def answered(home: Home, command: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    program, verb, *rest = shlex.split(command)
    assert (program, verb) == ("hapi", "query")
    capsys.readouterr()
    assert main(["query", *rest, "--format", "json", "--home", str(home.root)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("seed", [20261122])
def test_ten_cells_picked_at_random_are_what_the_query_answers(
    site: Path, report_home: Home, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    dice, cells = random.Random(seed), []
    for key, (figure, commands) in figures(site).items():
        if "published" in key or key in ("fig-broken", "fig-sizes", "fig-months"):  # tables of some rows only
            continue
        for at, row in enumerate(figure.css("tbody tr")):
            cells += [(key, commands[1], at, data) for data in row.css("data")]
    assert len(cells) > 1000
    for key, command, at, data in dice.sample(cells, 10):
        column, shown = str(data.attributes["data-c"]), data.text()
        answer = answered(report_home, command, capsys)[at][column]
        value = float(str(data.attributes["value"]))
        assert value == answer, (key, at, column)
        digits = re.sub(r"[^\d.]", "", shown)
        near = [abs(value), abs(100 * value)]
        assert any(
            math.isclose(float(digits or "nan"), v, abs_tol=0.5 * 10.0 ** -len(digits.partition(".")[2]) + 1e-9)
            for v in near
        ) or shown.startswith("<"), (key, column, shown, value)


def test_every_query_and_trace_that_the_pages_give_works(
    site: Path, report_home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = sorted({command for _, given in figures(site).values() for command in given[1:]})
    assert len(commands) > 20
    for command in commands:
        _, *rest = shlex.split(command)
        if rest[0] == "explain":
            continue  # with a placeholder for the id
        assert main([*rest, "--home", str(report_home.root)]) == 0, command
        capsys.readouterr()


def test_csv_files_hold_the_whole_answer(site: Path, report_home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    import csv

    given = figures(site)
    with (site / "data" / "completion.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    answer = answered(report_home, given["fig-completion"][1][1], capsys)
    assert [row["model"] for row in rows] == [row["model"] for row in answer]
    assert [float(row["rate_lo"]) for row in rows] == [row["rate_lo"] for row in answer]


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (numbers.share(0.4316770186), "43.2\u202f%"),
        (numbers.share(None), "–"),
        (numbers.points(-0.0311), "−0.03"),
        (numbers.points(7.1428), "+7.1"),
        (numbers.points(0.0), "0.0"),
        (numbers.share_points(-0.0186335), "−1.9"),
        (numbers.usd(0.03541), "$0.035"),
        (numbers.usd(1234.5), "$1,234.50"),
        (numbers.usd(-3.844), "−$3.84"),
        (numbers.usd_round(182.6), "$183"),
        (numbers.cents(0.01529), "1.5\u202f¢"),
        (numbers.p_value(0.00004), "< .001"),
        (numbers.p_value(0.4828), ".483"),
        (numbers.span(0.378, 0.486, "share"), "37.8 to 48.6\u202f%"),
        (numbers.span(None, 0.486, "share"), "–"),
        (numbers.listed(["a", "b", "c"]), "a, b and c"),
        (numbers.decimal(-0.0001), "0.00"),
    ],
)
def test_numbers_are_written_for_readers(shown: str, wanted: str) -> None:
    assert shown == wanted
