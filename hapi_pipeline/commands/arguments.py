"""Values as they are typed on the command line: months, days, amounts; and options that commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import date

from hapi_pipeline.settings import Home

Command = Callable[[argparse.Namespace, Home], int]
"""What a command does, and its exit code."""

Add = Callable[[str, Command, str], argparse.ArgumentParser]
"""Adds a command by name, with what it does and its help."""


def count(text: str) -> int:
    """A whole number of at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def month(text: str) -> str:
    """A month."""
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no month; write YYYY-MM")
    return text


def dated(command: argparse.ArgumentParser) -> None:
    """Give a command the option of looking at the past."""
    command.add_argument(
        "--as-of", type=day, metavar="DATE", help="only what was known at the end of that day (UTC), as YYYY-MM-DD"
    )


def day(text: str) -> date:
    """A day."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no day; write YYYY-MM-DD")


def months(text: str) -> tuple[str, ...]:
    """Months in a row."""
    from hapi_pipeline.simulate.exports import months_from

    if text.isascii() and text.isdecimal() and 1 <= int(text) <= 1200:
        return months_from("2026-08", int(text))
    month = r"[12]\d{3}-(?:0[1-9]|1[0-2])"
    if not re.fullmatch(rf"{month}(?:\.\.{month})?", text):
        raise argparse.ArgumentTypeError(f"{text!r}: write YYYY-MM..YYYY-MM, YYYY-MM or how many months")
    first, last = text[:7], text[-7:]
    (year, month_number), (last_year, last_number) = (map(int, end.split("-")) for end in (first, last))
    count = 12 * (last_year - year) + last_number - month_number + 1
    if not 1 <= count <= 1200:
        raise argparse.ArgumentTypeError(f"{text!r}: the first month comes before the last, at most 1200 apart")
    return months_from(first, count)


def share(text: str) -> float:
    """A probability."""
    if not 0 <= (share := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no probability: it must be from 0 to 1")
    return share


def usd(text: str) -> float:
    """An amount of money."""
    amount = float(text)
    if not 0 <= amount < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no amount in USD: it must be zero or more")
    return amount
