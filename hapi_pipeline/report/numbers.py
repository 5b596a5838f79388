"""How numbers are written for readers: percentages, points, dollars, intervals. A missing one is a dash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

THIN = "\u202f"  # a narrow space that does not break
MINUS = "\u2212"
NONE = "–"


def share(value: float | None) -> str:
    """A share from 0 to 1 as a percentage with one decimal."""
    return NONE if value is None else f"{_signless(100 * value, 1)}{THIN}%"


def points(value: float | None) -> str:
    """Percentage points, with their sign."""
    return NONE if value is None else _signed(value)


def share_points(value: float | None) -> str:
    """A difference of two shares (.05) as percentage points (+5.0)."""
    return NONE if value is None else _signed(100 * value)


def usd(value: float | None) -> str:
    """Dollars; two significant digits below ten cents."""
    if value is None:
        return NONE
    if 0 < abs(value) < 0.1:
        return f"{MINUS if value < 0 else ''}${abs(value):.2g}"
    return f"{MINUS if value < 0 else ''}${abs(value):,.2f}"


def cents(value: float) -> str:
    """Small amounts in cents."""
    return f"{100 * value:.1f}{THIN}¢"


def usd_round(value: float | None) -> str:
    """Whole dollars from ten on."""
    return usd(value) if value is None or abs(value) < 10 else f"{MINUS if value < 0 else ''}${abs(value):,.0f}"


def count(value: float | None) -> str:
    """A whole number."""
    return NONE if value is None else f"{value:,.0f}"


def decimal(value: float | None) -> str:
    """A number with two decimals."""
    return NONE if value is None else _signless(value, 2)


def tenth(value: float | None) -> str:
    """A number with one decimal."""
    return NONE if value is None else _signless(value, 1)


def p_value(value: float | None) -> str:
    """A p value."""
    if value is None:
        return NONE
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def word(value: object) -> str:
    """Anything else."""
    if value is None:
        return NONE
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


FORMATS: dict[str, Callable[[Any], str]] = {
    "share": share,
    "points": points,
    "share_points": share_points,
    "usd": usd,
    "count": count,
    "decimal": decimal,
    "tenth": tenth,
    "p": p_value,
    "word": word,
    "month": word,
}
"""How each kind of column is written."""


def span(lo: float | None, hi: float | None, kind: str) -> str:
    """Both ends of an interval, the unit said once."""
    if lo is None or hi is None:
        return NONE
    write = FORMATS[kind]
    first = write(lo).removesuffix(f"{THIN}%") if kind == "share" else write(lo)
    return f"{first} to {write(hi)}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """Names as a sentence lists them."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def _signed(value: float) -> str:
    digits = 1
    while value and round(value, digits) == 0 and digits < 3:
        digits += 1  # -0.03 is not 0.0: it lies on the other side of zero
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else f"{MINUS if value < 0 else '+'}{text}"


def _signless(value: float, digits: int) -> str:
    text = f"{abs(value):.{digits}f}"
    return f"{MINUS}{text}" if value < 0 and float(text) else text
