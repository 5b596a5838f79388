"""What reading a document asks for and brings back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO


class UnreadableError(Exception):
    """The document cannot be shown; the message says why, in words for the agent, without a full stop."""


class HarmfulError(UnreadableError):
    """To open the document could harm whoever does: nobody is handed it."""


@dataclass(frozen=True)
class Want:
    """Which part of a document is asked for. `pictures`: the model can see them."""

    sheet: str | None = None
    cells: str | None = None  # A1:F200
    pages: str | None = None  # 3, or 1-4, or 2,5-6; also slides
    member: str | None = None  # a file inside an archive
    as_pictures: bool = False
    pictures: bool = False
    careful: bool = False  # read row by row what took too much at once


@dataclass(frozen=True)
class Picture:
    """An encoded picture for a model that sees them; size in pixels, as sent."""

    label: str
    media_type: str
    width: int
    height: int
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Reading:
    """What a document is, in one line without a full stop, and the text that was asked for."""

    about: str
    text: str = ""
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Opening:
    """What a file is by its content, and whether it opens. `opens` is None where no reader here knows its kind.

    `harmful`: to open it could harm whoever does (a zip bomb, an archive with links), so nobody is handed it.
    """

    media_type: str
    opens: bool | None
    about: str
    harmful: bool = False


@dataclass(frozen=True)
class Document:
    """A file or a part of one, about to be read. `depth` counts the archives around it."""

    name: str
    file: BinaryIO
    size: int
    kind: str
    depth: int = 0


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 page`, `12 pages`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def chosen(wanted: str | None, total: int, one: str, default: int) -> list[int]:
    """The numbers (from 0) that `3`, `1-4` or `2,5-6` names of `total` things; the first `default` without any."""
    if not wanted:
        return list(range(min(total, default)))
    found: list[int] = []
    for part in wanted.split(",")[:100]:
        first, dash, last = (p.strip() for p in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(first + last) > 12:
            raise UnreadableError(f"write {one}s as 3, as 1-4 or as 2,5-6")
        begin, end = int(first), int(last) if dash else int(first)
        if not 1 <= begin <= end or begin > total:
            raise UnreadableError(f"it has {counted(total, one)}, so {one} {part.strip()} cannot be shown")
        found += range(begin - 1, min(end, total, begin - 1 + default))
    return list(dict.fromkeys(found))[:default]


def listed(numbers: Sequence[int]) -> str:
    """Numbers (from 0) as people write them: 1-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a + 1}" if a == b else f"{a + 1}-{b + 1}" for a, b in runs)
