"""Dates and times in the forms in which sources write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline.engine import connect
from hapi_pipeline.intake.jobs import columns_named


def moment(*arguments: Any) -> datetime | None:
    names = ", ".join(f"$a{i}" for i in range(len(arguments)))
    with connect() as connection:
        row = connection.execute(f"SELECT moment({names})", {f"a{i}": a for i, a in enumerate(arguments)}).fetchone()
    assert row is not None
    return row[0].astimezone(UTC) if row[0] is not None else None


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-03", at(2026, 2, 3)),
        ("2026-02-03 04:58", at(2026, 2, 3, 4, 58)),
        ("2026-02-03T04:58:09", at(2026, 2, 3, 4, 58, 9)),
        ("2026-02-03 04:58:09.5", at(2026, 2, 3, 4, 58, 9, 500000)),
        ("2026-02-03T04:58:09Z", at(2026, 2, 3, 4, 58, 9)),
        ("2026-02-03T04:58:09+02:00", at(2026, 2, 3, 2, 58, 9)),
        ("2026-02-03T04:58:09+0200", at(2026, 2, 3, 2, 58, 9)),
        ("2026-02-03 04:58:09-05", at(2026, 2, 3, 9, 58, 9)),
        ("2026-02-03 04:58 UTC", at(2026, 2, 3, 4, 58)),
        ("2026-02-03T04:58:09.123456789Z", at(2026, 2, 3, 4, 58, 9, 123456)),
        ("2026/2/3", at(2026, 2, 3)),
        ("20260203", at(2026, 2, 3)),
        ("1770094689", at(2026, 2, 3, 4, 58, 9)),
        ("1770094689.0", at(2026, 2, 3, 4, 58, 9)),
        ("1770094689000", at(2026, 2, 3, 4, 58, 9)),
        ("1770094689000000", at(2026, 2, 3, 4, 58, 9)),
        ("Tue, 03 Feb 2026 04:58:09 GMT", at(2026, 2, 3, 4, 58, 9)),
        ("Tue, 3 Feb 2026 04:58:09 +0000", at(2026, 2, 3, 4, 58, 9)),
        ("03 Feb 2026 04:58 EST", at(2026, 2, 3, 9, 58)),
        ("Tue, 03 Feb 2026 04:58:09 PDT", at(2026, 2, 3, 11, 58, 9)),
        ("February 3, 2026", at(2026, 2, 3)),
        ("Feb 3, 2026", at(2026, 2, 3)),
        ("Feb. 3rd, 2026", at(2026, 2, 3)),
        ("3 February 2026", at(2026, 2, 3)),
        ("3rd Feb 2026, 4:58 pm", at(2026, 2, 3, 16, 58)),
        ("Tuesday, February 3, 2026 at 12:05 AM", at(2026, 2, 3, 0, 5)),
        ("Sept 3, 2026 12:05 p.m.", at(2026, 9, 3, 12, 5)),
        ("3-Feb-2026", at(2026, 2, 3)),
        ("  May 3,\u00a02026 ", at(2026, 5, 3)),
        ("Tue Feb 03 2026 04:58:09 GMT+0530 (India Standard Time)", at(2026, 2, 2, 23, 28, 9)),
    ],
)
def test_forms_that_say_it_all(text: str, expected: datetime) -> None:
    assert moment(text) == expected


@pytest.mark.parametrize(
    ("text", "order", "expected"),
    [
        ("6/7/2024 4:58am", "mdy", at(2024, 6, 7, 4, 58)),
        ("6/7/2024 4:58am", "dmy", at(2024, 7, 6, 4, 58)),
        ("6/7/2024", None, None),
        ("25/12/2024", None, None),
        ("25/12/2024", "dmy", at(2024, 12, 25)),
        ("25/12/2024", "mdy", None),
        ("06.07.2024 16:05", "dmy", at(2024, 7, 6, 16, 5)),
        ("6-7-2024", "mdy", at(2024, 6, 7)),
        ("6/7/24", "mdy", at(2024, 6, 7)),
        ("12/31/2024, 11:59:59 PM", "mdy", at(2024, 12, 31, 23, 59, 59)),
        ("6/7/2024 4:58am", "ymd", None),
        ("2024-06-07", "dmy", at(2024, 6, 7)),
    ],
)
def test_the_source_declares_the_order_of_numbers(text: str, order: str | None, expected: datetime | None) -> None:
    assert moment(text, order) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "today",
        "2 days ago",
        "2026-02-31",
        "2026-13-01",
        "2026-02",
        "2026",
        "12345",
        "12345678901",
        "-1770094689",
        "2026-02-03 24:58",
        "2026-02-03 04:61",
        "2026-02-03 13:00 pm",
        "2026-02-03 0:30 am",
        "2026-02-03 4pm",
        "04:58",
        "Feb 2026",
        "Feb 30, 2026",
        "Marvel 6, 2026",
        "Mayor 3 2026",
        "2026-02-03 to 2026-02-05",
        "2026-02-03 04:58 Mars",
        "2026-02-03pm",
        "2026-02-03T04:58:09+99:00",
        "20261301",
        "9" * 400,
        "x" * 400,
    ],
)
def test_what_is_no_certain_moment_is_null(text: str) -> None:
    assert moment(text, "mdy") is None


def test_a_value_without_a_zone_is_in_the_declared_one() -> None:
    tokyo = "Asia/Tokyo"
    assert moment("2026-02-03 09:00", None, tokyo) == at(2026, 2, 3)
    assert moment("2026-02-03", None, tokyo) == at(2026, 2, 2, 15)
    assert moment("2/3/2026 9:00 AM", "mdy", tokyo) == at(2026, 2, 3)
    assert moment("2026-02-03T09:00:00Z", None, tokyo) == at(2026, 2, 3, 9)
    assert moment("Tue, 03 Feb 2026 09:00:00 GMT", None, tokyo) == at(2026, 2, 3, 9)
    assert moment("1770094689", None, tokyo) == at(2026, 2, 3, 4, 58, 9)
    assert moment("2026-07-01 00:00", None, "America/New_York") == at(2026, 7, 1, 4), "summer time"


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    when=st.integers(1_002_000_000, 4_070_000_000).map(lambda s: datetime.fromtimestamp(s, UTC).replace(tzinfo=None)),
    minutes=st.integers(-14 * 60, 14 * 60),
)
def test_every_form_of_one_moment_is_that_moment(when: datetime, minutes: int) -> None:
    aware = when.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    forms = [
        aware.isoformat(),
        aware.strftime("%Y-%m-%d %H:%M:%S%z"),
        format_datetime(aware),
        str(int(aware.timestamp())),
        f"{when:%b} {when.day}, {when:%Y %I:%M:%S %p} {aware:%z}",
        f"{when.day} {when:%B %Y, %H:%M:%S} {aware:%z}",
        f"{when.month}/{when.day}/{when:%Y %H:%M:%S} {aware:%z}",
    ]
    with connect() as connection:
        found = connection.execute(
            "SELECT moment(x, 'mdy') FROM (SELECT unnest($forms::VARCHAR[]) AS x)", {"forms": forms}
        ).fetchall()
    assert [f.astimezone(UTC) for (f,) in found] == [aware.astimezone(UTC)] * len(forms)


def test_a_key_of_content_tells_contents_apart() -> None:
    with connect() as connection:
        row = connection.execute(
            "SELECT content_key('a', 'b'), content_key('ab', ''), content_key('', 'ab'), content_key('a', 'b'), "
            "content_key(' a', 'b '), content_key(NULL, ' '), content_key('a', NULL, 'b')"
        ).fetchone()
    assert row is not None
    first, second, third, again, trimmed, empty, other = row
    assert first == again == trimmed
    assert first.startswith("c-")
    assert len(first) == 26
    assert len({first, second, third, other}) == 4
    assert empty is None


def test_a_definition_that_uses_the_macros_names_columns_only() -> None:
    assert columns_named("moment(a, 'mdy', 'UTC')", "x") == ["a"]
    assert set(columns_named("usd_in(b->>'$.amount', c)", "x")) == {"b", "c"}
    assert columns_named("content_key(link, title)", "x") == ["link", "title"]
