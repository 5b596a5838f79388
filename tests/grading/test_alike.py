"""JSON lines that are written alike: what is read without a reader of JSON is what such a reader reads."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline.grading.alike import Alike, lines_alike

TEXTS = st.one_of(
    st.sampled_from(
        ["", "PASS", 'he said "no"', "a\\b", '\\"', "\\", "two\nlines", "tab\t", "/", "é ✓", "\x7f", ", ", ": 1", "}"]
    ),
    st.text(max_size=8),
)
NUMBERS = (
    st.integers(-3, 99) | st.none(),
    st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 9),
    st.booleans() | st.none(),
    st.integers(0, 10**20) | st.booleans() | st.floats(0, 1),
)


def rows_of(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    return st.lists(st.tuples(TEXTS, numbers, TEXTS, numbers), min_size=1, max_size=30)


def read(lines: list[str]) -> Alike | None:
    written = [line + "\n" for line in lines]
    return lines_alike(pa.array(written), pa.py_buffer("".join(written).encode()), lambda label: label != "skipped")


def said(found: Alike) -> list[dict[str, Any]]:
    columns = {label: column.to_pylist() for label, column in found.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def same(one: object, other: object) -> bool:
    """1 and 1.0 are the same number, 1 and true are not the same."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    rows=st.sampled_from(NUMBERS).flatmap(rows_of),
    ascii_only=st.booleans(),
    separators=st.sampled_from([(", ", ": "), (",", ":"), (" , ", " : ")]),
    harm=st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(list('"\\,:{} 1x'))), max_size=3),
)
def test_each_line_that_is_taken_says_what_json_says(
    rows: list[tuple[Any, ...]], ascii_only: bool, separators: tuple[str, str], harm: list[tuple[int, str]]
) -> None:
    labels = ("packet_id", "minutes", "comment", "skipped")
    lines = [
        json.dumps(dict(zip(labels, row, strict=True)), ensure_ascii=ascii_only, separators=separators) for row in rows
    ]
    for place, character in harm:
        at = place % len(lines)
        cut = place % (len(lines[at]) + 1)
        lines[at] = lines[at][:cut] + character + lines[at][cut + place % 2 :]
    lines = [line.replace("\x85", "") for line in lines]
    found = read(lines)
    if found is None:
        return
    taken = [line for line, mine in zip(lines, found.lines.tolist(), strict=True) if mine]
    for line, row in zip(taken, said(found), strict=True):
        expected = json.loads(line)
        expected.pop("skipped", None)
        assert expected.keys() == row.keys()
        assert all(same(value, row[label]) for label, value in expected.items())


def test_lines_with_other_escapes_are_left_and_quotes_are_not() -> None:
    comments = ["fine", 'he said "no"', "a\\b", "two\nlines", "naïve", '"']
    rows = [{"packet_id": f"pk_{n}", "minutes": n, "comment": comment} for n, comment in enumerate(comments)]
    found = read([json.dumps(row, ensure_ascii=False) for row in rows])
    assert found is not None
    assert found.lines.tolist() == [True, True, True, False, True, True]
    assert said(found) == [row for row in rows if row["comment"] != "two\nlines"]


@pytest.mark.parametrize(
    "last",
    [
        '{"b": "x", "a": 1}',  # another order
        '{"a": 1, "b": "x", "c": 1}',
        '{"a": 1}',
        '{"a": "1", "b": "x"}',  # a text where the first has a number
        '{"a": [1], "b": "x"}',
        '{"a":1, "b": "x"}',  # written in another way
        "",
    ],
)
def test_where_the_last_line_is_another_nothing_is_taken(last: str) -> None:
    first = '{"a": 1, "b": "x"}'
    assert read([first, first, last]) is None
    alone = read([first, first])
    assert alone is not None
    assert said(alone) == [{"a": 1, "b": "x"}] * 2


@pytest.mark.parametrize(
    "odd",
    [
        '{"a": 01, "b": "x"}',
        '{"a": NaN, "b": "x"}',
        '{"a": 1 2, "b": "x"}',
        '{"a": , "b": "x"}',
        '{"a": true, "b": "x"}',  # of another kind than the others
        '{"a": 1, "b": "x"} ',
        '{"a": 1, "B": "x"}',
        '{"a"; 1, "b": "x"}',
    ],
)
def test_a_line_that_is_written_in_another_way_is_never_taken(odd: str) -> None:
    lines = [f'{{"a": {n}, "b": "x"}}' for n in range(9)]
    found = read([*lines[:5], odd, *lines[5:]])
    assert found is None or found.lines.tolist() == [True] * 5 + [False] + [True] * 4
