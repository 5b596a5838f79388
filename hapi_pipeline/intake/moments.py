"""Dates and times as people and programs write them: one certain moment, or nothing.

DuckDB calls it as `read_moment`; the macro `moment` reads the usual forms (ISO 8601, seconds since 1970) by itself.
"""

from __future__ import annotations

import functools
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_LONGEST = 80  # characters; a longer text is no date
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)\.?"
)
_WEEKDAY = r"(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?\.?,?"
_DAY = r"([0-9]{1,2})(?:st|nd|rd|th)?"
_YEAR_FIRST = re.compile(r"([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2})")
_NUMBERS = re.compile(r"([0-9]{1,2})[-/.]([0-9]{1,2})[-/.]([0-9]{4}|[0-9]{2})(?![0-9])")
_DAY_FIRST = re.compile(rf"(?:{_WEEKDAY} )?{_DAY}[ -]({_MONTH}),?[ -]([0-9]{{4}})", re.IGNORECASE)
_MONTH_FIRST = re.compile(rf"(?:{_WEEKDAY} )?({_MONTH}) {_DAY},? ([0-9]{{4}})", re.IGNORECASE)
_CLOCK_AND_ZONE = re.compile(
    r"(?:(?:T|,? (?:at )?)([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?(?: ?([ap])\.?m\.?)?)?"
    r" ?(?:(Z|UTC?|GMT|[ECMP][SD]T)|(?:UTC|GMT)?([+-])([0-9]{2})(?::?([0-9]{2}))?)?(?: \([^()]*\))?",
    re.IGNORECASE,
)
_AMERICAN = {"E": -5, "C": -6, "M": -7, "P": -8}  # hours east of Greenwich in winter: the zones of RFC 822
_FARTHEST = 15 * 60  # minutes east or west of Greenwich


class Moment(NamedTuple):
    """A date and time as written, and the minutes east of Greenwich that it is meant at; None if it does not say."""

    written: datetime
    minutes: int | None


@functools.lru_cache(maxsize=65536)
def read_moment(text: str, day_order: str = "") -> Moment | None:
    """The moment that a text names; None where it names none or could mean another.

    Numbers such as 6/7/2024 are read in the declared `day_order` ("mdy" or "dmy"), and not at all without one.
    """
    text = " ".join(text[: _LONGEST + 1].split())
    if len(text) > _LONGEST:
        return None
    found = _date_in(text, day_order)
    rest = _CLOCK_AND_ZONE.fullmatch(text, found[1]) if found else None
    if found is None or rest is None:
        return None
    hour, minute, second, fraction, half, *zone = rest.groups()
    try:
        written = datetime(*found[0])  # noqa: DTZ001  (the zone is told apart)
        if hour:
            microsecond = int((fraction or "0")[:6].ljust(6, "0"))
            written = written.replace(
                hour=_hour(int(hour), half), minute=int(minute), second=int(second or 0), microsecond=microsecond
            )
    except ValueError:  # the 31st of February, 24:58, 13 pm
        return None
    minutes = _minutes(*zone)
    return None if minutes is not None and abs(minutes) > _FARTHEST else Moment(written, minutes)


def _date_in(text: str, day_order: str) -> tuple[tuple[int, int, int], int] | None:
    """Year, month and day at the beginning of a text, and where they end."""
    if m := _YEAR_FIRST.match(text):
        return (int(m[1]), int(m[2]), int(m[3])), m.end()
    if (m := _NUMBERS.match(text)) and day_order in ("mdy", "dmy"):
        day, month = (m[2], m[1]) if day_order == "mdy" else (m[1], m[2])
        return (int(m[3] if len(m[3]) == 4 else f"20{m[3]}"), int(month), int(day)), m.end()
    if m := _DAY_FIRST.match(text):
        return (int(m[3]), _month(m[2]), int(m[1])), m.end()
    if m := _MONTH_FIRST.match(text):
        return (int(m[3]), _month(m[1]), int(m[2])), m.end()
    return None


def _month(name: str) -> int:
    return _MONTHS.index(name[:3].lower()) + 1


def _hour(written: int, half: str | None) -> int:
    """The hour of the day, 0 to 23. Raises ValueError for an hour that the half of a day does not have."""
    if not half:
        return written
    if not 1 <= written <= 12:
        raise ValueError(f"{written} {half}m is no time of day")
    return written % 12 + (12 if half.lower() == "p" else 0)


def _minutes(name: str | None, sign: str | None, hours: str | None, minutes: str | None) -> int | None:
    """Minutes east of Greenwich; None where no zone is named."""
    if sign and hours:
        return (-1 if sign == "-" else 1) * (int(hours) * 60 + int(minutes or 0))
    if not name:
        return None
    letter, summer = name[0].upper(), name[1:2].upper() == "D"
    return 60 * (_AMERICAN[letter] + summer) if letter in _AMERICAN else 0


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Make `read_moment(x, day_order)` callable from SQL on this database."""
    kind, texts = "STRUCT(written TIMESTAMP, minutes INTEGER)", ["VARCHAR", "VARCHAR"]
    make: Any = connection.create_function  # its stubs know neither type names as text nor lambdas
    # a lambda, because DuckDB evaluates a function's annotations and these need pyarrow
    make("read_moment", lambda x, order: _moments(x, order), texts, kind, type="arrow", null_handling="special")


def _moments(texts: pa.ChunkedArray, orders: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    kind = pa.struct([("written", pa.timestamp("us")), ("minutes", pa.int32())])
    pairs = zip(texts.to_pylist(), orders.to_pylist(), strict=True)
    found = (read_moment(text or "", order or "") for text, order in pairs)
    return pa.array([m._asdict() if m else None for m in found], kind)
