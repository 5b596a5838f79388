"""Text from outside, made harmless to store: no control characters, no lone surrogates."""

from __future__ import annotations

import re

_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_LINE_END = re.compile("\r\n?")
_SHEET_ESCAPE = re.compile("_x(?=[0-9A-Fa-f]{4}_)")


def clean(text: str) -> str:
    """The text with one kind of line end, and U+FFFD for what XML, Parquet or UTF-8 cannot hold."""
    return _UNSTORABLE.sub("\ufffd", _LINE_END.sub("\n", text))


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set; for lists of file types and the like in the code."""
    return frozenset(text.split())


def shorten(value: object, limit: int = 120) -> str:
    """A value as one short line, for messages and the quarantine."""
    line = " ".join(clean(str(value)[: limit * 4]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def sheet_cell(text: str, limit: int = 32_000) -> str:
    """Text for one cell of a workbook: within Excel's limit of 32,767 characters, the cut marked."""
    kept = clean(text)
    return kept if len(kept) <= limit else kept[:limit] + " […]"


def sheet_escape(text: str) -> str:
    """Undo-proof text for a sheet's XML: a literal ``_x0041_`` would otherwise be read as an escape."""
    return _SHEET_ESCAPE.sub("_x005F_x", text)
