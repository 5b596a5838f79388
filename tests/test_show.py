from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline import show
from hapi_pipeline.lake import Lake
from hapi_pipeline.settings import UserError
from tests import scenario

HOSTILE = "red \x1b[31m\x9b31m\r\x07\u202eback \u2028line\nnext\x7f"
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60) | st.dates()


def steers(text: str) -> bool:
    return any(not c.isprintable() and c != "\n" for c in text)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(data=st.data(), width=st.integers(20, 200))
def test_a_table_fits_the_width_and_nothing_in_it_steers_the_terminal(data: st.DataObject, width: int) -> None:
    columns = data.draw(st.lists(st.text(max_size=30), min_size=1, max_size=width // 10))
    rows = data.draw(st.lists(st.tuples(*(VALUES for _ in columns)), max_size=5))
    text = show.table(columns, rows, width=width)
    assert len(text.split("\n")) == 2 + len(rows)
    assert max(map(len, text.split("\n"))) <= width
    assert not steers(text)


def test_numbers_stand_to_the_right_and_texts_to_the_left() -> None:
    rows = [["a", 1, 0.5], ["bcd", 1000, None], ["", 7, 12345.678]]
    assert show.table(["t", "n", "x"], rows, width=40).split("\n") == [
        "t       n       x",
        "───  ────  ──────",
        "a       1     0.5",
        "bcd  1000       –",
        "        7  12,346",
    ]


def printed(capsys: pytest.CaptureFixture[str], form: str, **columns: Any) -> str:
    show.print_rows(pa.table(columns), form)
    return capsys.readouterr().out


def test_the_answer_as_a_table_says_how_much_of_it_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "table", n=list(range(1234)))
    assert "1,034 more rows" in out
    assert out.rstrip().endswith("1,234 row(s)")


def test_columns_of_the_same_name_are_all_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show.print_rows(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), "table")
    assert capsys.readouterr().out.split("\n")[2].split() == ["1", "2"]


def test_json_lines_mean_the_same_and_steer_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(
        capsys,
        "json",
        t=[HOSTILE, "é 😀 \U000e0001"],
        d=[Decimal("1.50"), Decimal(2)],
        w=[datetime(2026, 3, 1, tzinfo=UTC)] * 2,
    )
    first, second = map(json.loads, out.strip().split("\n"))
    assert first == {"t": HOSTILE, "d": 1.5, "w": "2026-03-01 00:00:00+00:00"}
    assert second["t"] == "é 😀 \U000e0001"
    assert not steers(out)


def test_csv_holds_lists_as_json(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    show.print_rows(pa.table({"a": [["x", "y"], None]}), "csv")
    import sys

    sys.stdout.flush()
    assert capfdbinary.readouterr().out.decode().splitlines() == ['"a"', '"[""x"", ""y""]"', ""]


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (
            "good-3",
            ["IN the benchmark of 2026-03", "rubric of 3 criteria", "incomplete", "infra", "complete"],
        ),
        ("x-limit", ["OUT of the benchmark", "rule 4 of 8", "price_at_or_over_limit", "under $500"]),
        ("x-pii", ["personal_data", "Personal data found"]),
        ("x-twin", ["same as good-1"]),
    ],
)
def test_a_job_is_explained(world: Lake, job: str, said: list[str]) -> None:
    text = show.explain_job(world, job)
    assert [s for s in said if s not in text] == []


def test_what_a_post_says_cannot_steer_the_terminal(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    hostile = dict.fromkeys(("title", "category", "source_file", "source"), HOSTILE)
    scenario.take_in(lake, "jobs", "job_exports", [scenario.post("j1", **hostile), scenario.post("j1", **hostile)])
    text = show.explain_job(lake, "j1")
    assert not steers(text)
    assert "2 rows were imported for it" in text
    assert "not curated yet" in text


def test_a_job_that_nobody_knows_is_refused(world: Lake) -> None:
    with pytest.raises(UserError, match="no job 'nowhere'"):
        show.explain_job(world, "nowhere")
