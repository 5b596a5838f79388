"""JSON lines that are all written alike, read as columns in half the time that a reader of JSON takes.

What stands between two quotation marks is a cell of a table, which Arrow's reader of CSV reads. The lines are then put
together again from these cells and from what the first line has around them. A line that comes out as the very bytes
that were read is the first one with other texts and numbers; any other line is left to a reader of JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

_BARE = r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null"
_PAIR = re.compile(rf'\s*([{{,])\s*"(?P<label>[^"]*)"\s*:\s*(?:"(?P<text>[^"]*)"|(?P<bare>{_BARE}))')
_ESCAPED = re.compile(r"\\.")


@dataclass(frozen=True)
class _Value:
    """A value of a line: the cell that it stands in, from 0, and what else stands in that cell."""

    label: str
    cell: int
    before: str = ""  # both are empty for a text, which fills its cell
    after: str = ""
    bare: bool = False


@dataclass(frozen=True)
class _Pattern:
    """How a line is written: its values, and what stands before, between and after their cells."""

    values: tuple[_Value, ...]
    around: tuple[str, ...]

    @property
    def cells(self) -> int:
        """Number of cells."""
        return "".join(self.around).count('"') + 1


@dataclass(frozen=True)
class Alike:
    """Lines that are written alike: which of those asked about, and their columns by label."""

    lines: Array  # a mask
    columns: list[tuple[str, pa.Array]]


def lines_alike(lines: pa.Array, text: pa.Buffer, wanted: Callable[[str], bool]) -> Alike | None:
    """The lines that are written like the first one, with their columns under wanted labels; None for few or none.

    `text` is what `lines` are one after the other, each with its end, in UTF-8 and without control characters but
    the ends of lines. Texts become plain strings, other values dictionaries.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    pattern = _pattern_of(lines[0].as_py())
    if pattern is None or _pattern_of(lines[len(lines) - 1].as_py()) != pattern:
        return None
    cells = _cells(text, pattern)
    if len(cells[0]) != len(lines):
        return None
    same = pc.equal(_written(cells, pattern), lines).to_numpy(zero_copy_only=False)
    if not same.all():
        if same.sum() < len(lines) // 2:
            return None
        cells = [column.filter(pa.array(same)) for column in cells]
    found: list[tuple[str, pa.Array]] = []
    for value, column in zip(pattern.values, cells, strict=True):
        if value.bare and not _all_bare(column, value):
            return None
        if wanted(value.label):
            known = _decoded(column, value) if value.bare else column
            if known is None:
                return None
            found.append((value.label, known))
    return Alike(same, found)


def _pattern_of(line: str) -> _Pattern | None:
    """How a line is written, or None where it is not one object of texts, numbers and the like."""
    line = _ESCAPED.sub("__", line)  # so that each quotation mark begins or ends a text
    values: list[_Value] = []
    around: list[str] = []
    at = done = 0
    while found := _PAIR.match(line, at):
        if (found[1] == "{") != (at == 0):
            return None
        at = found.end()
        bare = found["bare"] is not None
        start, end = found.span("bare" if bare else "text")
        first, last = (line.rfind('"', 0, start) + 1, line.find('"', end)) if bare else (start, end)
        last = len(line) - 1 if last < 0 else last  # the end of the line is no cell's
        cell = line.count('"', 0, first)
        values.append(_Value(found["label"], cell, line[first:start], line[end:last], bare))
        around.append(line[done:first])
        done = last
    if not values or not re.fullmatch(r"\s*\}[ \t]*\n", line[at:]):
        return None
    return _Pattern(tuple(values), (*around, line[done:]))


def _cells(text: pa.Buffer, pattern: _Pattern) -> list[pa.Array]:
    """The cells of the values, column by column: texts as they are, others as a dictionary."""
    import pyarrow as pa
    import pyarrow.csv as csv

    dictionary = pa.dictionary(pa.int32(), pa.string())
    kinds = {str(value.cell): dictionary if value.bare else pa.string() for value in pattern.values}
    table = csv.read_csv(
        pa.BufferReader(text),
        csv.ReadOptions(
            column_names=[str(at) for at in range(pattern.cells)],
            use_threads=False,
            block_size=max(text.size + 1, 1024),
        ),
        csv.ParseOptions(
            delimiter='"',
            quote_char=False,
            double_quote=False,
            escape_char="\\",
            ignore_empty_lines=False,
            invalid_row_handler=lambda row: "skip",
        ),
        csv.ConvertOptions(
            include_columns=list(kinds), column_types=kinds, strings_can_be_null=False, check_utf8=False
        ),
    )
    return [one(column) for column in table.columns]


def one(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    import pyarrow as pa

    whole = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column
    combined = whole.combine_chunks()
    return combined if isinstance(combined, pa.Array) else combined.chunk(0)


def _written(cells: list[pa.Array], pattern: _Pattern) -> pa.Array:
    """The lines that these cells make."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts: list[Any] = [pa.scalar(pattern.around[0])]
    for cell, after in zip(cells, pattern.around[1:], strict=True):
        parts += [_escaped(cell.cast(pa.string())), pa.scalar(after)]
    return pc.binary_join_element_wise(*parts, pa.scalar(""))


def _escaped(texts: pa.Array) -> pa.Array:
    """Texts as JSON writes them with a backslash before quotation marks and backslashes; it has other escapes too."""
    import pyarrow.compute as pc

    letters = bytes(texts.buffers()[2] or b"")
    for mark in ("\\", '"'):
        if mark.encode() in letters:
            texts = pc.replace_substring(texts, mark, "\\" + mark)
    return texts


def _all_bare(cells: pa.Array, value: _Value) -> bool:
    """Whether nothing but a number, a boolean or a null stands in each cell, within what stands there in the first."""
    import pyarrow.compute as pc

    expected = rf"\A{re.escape(value.before)}(?:{_BARE}){re.escape(value.after)}\z"
    return bool(pc.all(pc.match_substring_regex(cells.dictionary, expected)).as_py())


def _decoded(cells: pa.Array, value: _Value) -> pa.Array | None:
    """The numbers, booleans and nulls in cells, or None where a column cannot hold them as they are."""
    import pyarrow as pa

    texts = cells.dictionary.to_pylist()
    values = [json.loads(text[len(value.before) : len(text) - len(value.after)]) for text in texts]
    kinds = {type(value) for value in values} - {type(None)}
    if len(kinds) > 1 and (bool in kinds or any(abs(value or 0) >= _SHORT for value in values)):
        return None  # Arrow would make numbers of booleans, and long numbers less exact
    try:
        return pa.DictionaryArray.from_arrays(cells.indices, pa.array(values))
    except (pa.ArrowException, OverflowError):  # a number that is too large
        return None


_SHORT = 1e15  # beyond which a whole number as a float is written in another way
