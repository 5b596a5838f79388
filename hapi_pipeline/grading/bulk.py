"""Large files of verdicts in the long form, read and judged column by column.

The rules stand in `grading/files.py` and `grading/verdicts.py` and nowhere else. What a column says is worked out once
for each distinct value, by those rules; a row counts as plain when all that it says is in order. Every other row is
handed to those rules as it stands in the file, and so is whatever touches it: a line that may belong to a cell before
it, a verdict on the same criterion. So the outcome is the same as without this module, row by row.
"""

from __future__ import annotations

import functools
import mmap
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from hapi_pipeline.grading import delimited, files, label_studio
from hapi_pipeline.grading.alike import lines_alike, one
from hapi_pipeline.grading.dates import moment_of
from hapi_pipeline.grading.files import OVERALL, Problem, RawRow, VerdictFile
from hapi_pipeline.grading.text import clean
from hapi_pipeline.grading.verdicts import (
    CELL,
    FIRST,
    ROLES,
    GradingIndex,
    Judgement,
    RoleOf,
    judgement,
    plain_minutes,
    plain_text,
    same_person,
)
from hapi_pipeline.grading.words import BAD, MISSING, parse_verdict
from hapi_pipeline.parallel import in_threads
from hapi_pipeline.settings import UserError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

BLOCK = 6 << 20
"""Bytes that are read together."""
_HEAD = 4 << 20
_HEAD_LINES = 1_200  # in these the line of column names is looked for
_AT_ONCE = 3  # blocks; some are read while it is still being looked up what they may be about
_SMALLEST = 16  # lines of JSON that are not halved any more to find the odd one
_LONGEST_CELL = 131_072  # the limit of Python's csv reader, beyond which it gives a reason of its own
_IDS = ("packet_id", *CELL, "packet_sha256", "rubric_version")
_TEXTS = (*_IDS, "criterion_id", "passed", "grader", "grader_role", "minutes")
_READ = frozenset((*_TEXTS, "comment", "graded_at"))
_CONTROL = r"\x00-\x08\x0a-\x1f\x7f\x{fffe}\x{ffff}"
_NO_DATE = -(1 << 63)
GUESSED, BEFORE_ISSUE, LATE = 1, 2, 4
FLAGS = {GUESSED: "guessed_encoding", BEFORE_ISSUE: "before_issue", LATE: "late"}
"""Flags that plain rows may have, in the order in which they are written."""


class Ground:
    """What verdicts may be about.

    `attempts` is an Arrow table: packet_id, attempt_id, cohort, model, round, job_id, sample, rubric_version,
    packet_sha256, simulated, finished_at and followed_up, as in `Gradable`; of several with the same job, model, round
    and sample the last one counts. `criteria` are job_id and criterion_id of every rubric. `index` is asked about rows
    that are not plain.
    """

    def __init__(self, attempts: pa.Table, criteria: pa.Table, index: GradingIndex):
        self.attempts, self.index = attempts, index
        self.columns = _Columns(attempts, criteria)


@dataclass(frozen=True)
class Plain:
    """Plain rows, as codes: positions in the lists that `Bulk` has of them."""

    row: Array  # number of the row in the file
    attempt: Array
    criterion: Array
    grader: Array
    role: Array  # position in ROLES
    passed: Array  # 1, 0, or -1: cannot judge
    minutes: Array  # NaN: not said
    graded_at: Array  # microseconds since 1970, or NO_DATE
    flags: Array
    comment: pa.Array

    def take(self, at: Array) -> Plain:
        """These rows only, by position."""
        columns = {name: values[at] for name, values in self._numbers().items()}
        return Plain(**columns, comment=self.comment.take(_arrow(at)))

    def slice(self, first: int, last: int) -> Plain:
        """The rows from one position up to another, without copying them."""
        columns = {name: values[first:last] for name, values in self._numbers().items()}
        return Plain(**columns, comment=self.comment.slice(first, last - first))

    def __len__(self) -> int:
        return len(self.row)

    def _numbers(self) -> dict[str, Array]:
        return {name: values for name, values in vars(self).items() if name != "comment"}


def joined(parts: Sequence[Plain]) -> Plain:
    """The rows of all parts, one part after the other."""
    import pyarrow as pa

    columns = {name: column_of(parts, name) for name in Plain.__dataclass_fields__ if name != "comment"}
    comment = pa.concat_arrays([pa.array([], pa.string()), *(part.comment for part in parts)])
    return Plain(**columns, comment=comment)


def column_of(parts: Sequence[Plain], name: str) -> Array:
    """One column of all parts."""
    import numpy as np

    return np.concatenate([np.zeros(0, _KINDS.get(name, "i4")), *(getattr(part, name) for part in parts)])


@dataclass(frozen=True)
class Bulk:
    """What a file gives: plain rows by model and round, in parts, and the judgement on all others."""

    plain: Mapping[tuple[str, str], Sequence[Plain]]
    criteria: list[str]
    graders: list[str]
    judged: Judgement
    above: int = 0  # lines up to the column names

    def column(self, name: str) -> Array:
        """One column of all plain rows, not in the order of the file."""
        return column_of([part for parts in self.plain.values() for part in parts], name)

    @property
    def n_plain(self) -> int:
        """Number of plain rows."""
        return sum(len(part) for parts in self.plain.values() for part in parts)


NO_DATE = _NO_DATE


# --- recognising ----------------


@dataclass(frozen=True)
class Shape:
    """How a file is to be read."""

    columns: tuple[str | None, ...]  # of a CSV file: canonical names by position, None for what is not ours
    table: Any = None  # the line of column names as `files` reads it
    delimiter: str = ""  # empty for JSON Lines
    ignored: tuple[str, ...] = ()
    start: int = 0  # byte at which the rows begin
    lines_above: int = 0


def shape_of(data: Any, name: str) -> Shape | None:
    """How to read a file in bulk, or None when it is not in the long form, or oddly so; never raises."""
    head = _head(data)
    try:
        text = head.decode("utf-8-sig")
        delimited.decode(head, name)
    except (UnicodeDecodeError, UserError):
        return None
    lines = delimited.physical_lines(text)
    if not lines or (len(data) > len(head) and len(lines) < _HEAD_LINES) or text.lstrip()[:1] == "[":
        return None
    mark = 3 if head.startswith(b"\xef\xbb\xbf") else 0
    if delimited.looks_like_json_lines(lines):
        return _json_shape(lines, mark)
    return _csv_shape(lines, name, mark)


def _head(data: Any) -> bytes:
    """Whole lines at the beginning, enough of them where they are not very long."""
    for size in (_HEAD >> 3, _HEAD):
        head = bytes(data[:size])
        if len(data) <= size:
            break
        head = head[: head.rfind(b"\n") + 1]
        if head.count(b"\n") >= _HEAD_LINES:
            break
    return head


def _json_shape(lines: Sequence[str], mark: int) -> Shape | None:
    found = [record for _, record in delimited.json_records(lines[:50]) if isinstance(record, dict)]
    columns = {files.canonical(label) for record in found for label in record}
    if label_studio.is_export(found) or not {"criterion_id", "passed"} <= columns:
        return None
    return Shape((), start=mark)


def _csv_shape(lines: Sequence[str], name: str, mark: int) -> Shape | None:
    try:
        found = files.long_table(lines, name)
    except UserError:
        return None
    if found is None:
        return None
    delimiter, table = found
    labels = lines[0].rstrip("\r\n").split(delimiter)
    columns = tuple(table.columns.get(at) for at in range(table.width))
    plain = table.at == 0 and len(labels) == table.width > 1 and '"' not in lines[0] and lines[0].endswith("\n")
    if not plain:
        return None
    return Shape(columns, table, delimiter, table.ignored, mark + len(lines[0].encode()), 1)


# --- reading ----------------


@dataclass(frozen=True)
class _Piece:
    """Lines that were read as one table."""

    lines: Array | None  # their places in the block; None: all of them
    columns: Mapping[str, pa.Array]
    size: int


class NotUtf8Error(Exception):
    """The file is in another encoding."""


def _read_block(shape: Shape, data: Any, span: tuple[int, int]) -> tuple[bytes, Array, list[_Piece]]:
    """The bytes of a block, the ends of its lines, and the lines that can be read by columns."""
    import numpy as np

    block = bytes(data[span[0] : span[1]])
    _forget(data, span)
    if not block.endswith(b"\n"):
        block += b"\n"
    if not block.isascii():
        try:
            block.decode()
        except UnicodeDecodeError as error:
            raise NotUtf8Error from error
    octets = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(octets == 10).astype(np.int32)
    read = _csv_pieces if shape.delimiter else _json_pieces
    return block, ends, read(shape, block, octets, ends)


def _forget(data: Any, span: tuple[int, int]) -> None:
    """Give back the memory of a part of a file that is mapped into it: it can be read again."""
    if isinstance(data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        start = span[0] - span[0] % mmap.PAGESIZE
        data.madvise(mmap.MADV_DONTNEED, start, span[1] - start)


def _csv_pieces(shape: Shape, block: bytes, octets: Array, ends: Array) -> list[_Piece]:
    import numpy as np

    sound: Array | None = None
    if _only_text(block, octets, len(ends)):
        quoted = np.searchsorted(ends, np.flatnonzero(octets == 34).astype(np.int32))
        quoted = quoted[np.flatnonzero(np.diff(quoted, prepend=-1))]  # each line once
        if not len(quoted) or _well_formed(shape, block, ends, quoted).all():
            columns = _csv_columns(shape, block, len(ends))
            if columns is not None:
                return [_Piece(None, columns, len(ends))]
    every = np.arange(len(ends))
    sound = every[_well_formed(shape, block, ends, every)]
    if not len(sound):
        return []
    columns = _csv_columns(shape, _lines(block, ends).take(_arrow(sound)).buffers()[2], len(sound))
    return [] if columns is None else [_Piece(sound, columns, len(sound))]


def _only_text(block: bytes, octets: Array, n_lines: int) -> bool:
    """Whether no control characters are in the block but ends of lines and tabs, and no carriage return by itself."""
    import numpy as np

    more = int(np.count_nonzero(octets < 32)) - n_lines
    if more:
        returns = block.count(b"\r")
        if returns != block.count(b"\r\n") or more != returns + block.count(b"\t"):
            return False
    if (octets == 127).any():
        return False
    return block.isascii() or not (b"\xef\xbf\xbe" in block or b"\xef\xbf\xbf" in block)


def _lines(block: bytes, ends: Array) -> pa.Array:
    """The lines of a block with their ends, without copying them."""
    import numpy as np
    import pyarrow as pa

    offsets = np.concatenate([np.zeros(1, np.int32), ends + 1]).astype(np.int32)
    return pa.Array.from_buffers(pa.string(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(block)])


def _well_formed(shape: Shape, block: bytes, ends: Array, some: Array) -> Array:
    """Whether lines are whole records by the strictest rules of quoting, with as many cells as there are columns."""
    import pyarrow.compute as pc

    lines = _lines(block, ends)
    chosen = lines if len(some) == len(ends) else lines.take(_arrow(some))
    matched: Array = pc.match_substring_regex(chosen, _record_pattern(shape)).to_numpy(zero_copy_only=False)
    return matched


@functools.cache
def _cell_pattern(delimiter: str) -> str:
    plain = rf'[^"{delimiter}{_CONTROL}]*'
    return rf'(?:{plain}|"(?:[^"{_CONTROL}]|"")*")'


def _record_pattern(shape: Shape) -> str:
    cell = _cell_pattern(shape.delimiter.replace("\t", r"\t"))
    return rf"\A{cell}(?:{shape.delimiter}{cell}){{{len(shape.columns) - 1}}}\r?\n\z"


def _csv_columns(shape: Shape, block: Any, expected: int) -> dict[str, pa.Array] | None:
    """The columns that are ours, or None where the lines are not one record each."""
    import pyarrow as pa
    import pyarrow.csv as csv

    names = [f"{at}" for at in range(len(shape.columns))]
    wanted = {name: column for name, column in zip(names, shape.columns, strict=True) if column in _READ}
    kinds = {n: pa.dictionary(pa.int32(), pa.string()) if c in _TEXTS else pa.string() for n, c in wanted.items()}
    buffer = pa.py_buffer(block)
    table = csv.read_csv(
        pa.BufferReader(buffer),
        csv.ReadOptions(column_names=names, use_threads=False, block_size=max(buffer.size + 1, 1024)),
        csv.ParseOptions(
            delimiter=shape.delimiter,
            ignore_empty_lines=False,
            newlines_in_values=False,
            invalid_row_handler=lambda row: "skip",
        ),
        csv.ConvertOptions(
            include_columns=list(wanted), column_types=kinds, strings_can_be_null=False, check_utf8=False
        ),
    )
    if table.num_rows != expected:
        return None
    return {wanted[name]: one(table.column(name)) for name in table.column_names}


def _json_pieces(shape: Shape, block: bytes, octets: Array, ends: Array) -> list[_Piece]:
    """Lines that are written alike as one table, all others as `_objects` reads them."""
    import numpy as np

    if not len(ends) or np.count_nonzero(octets < 32) != len(ends):
        return _objects(block, octets, ends)
    lines = _lines(block, ends)
    alike = lines_alike(lines, _text_of(lines), lambda label: files.canonical(label) is not None)
    columns = None if alike is None else _ours(alike.columns)
    if alike is None or columns is None:
        return _objects(block, octets, ends)
    if alike.lines.all():
        return [_Piece(None, columns, len(ends))]
    others = np.flatnonzero(~alike.lines)
    rest = bytes(_text_of(lines.take(_arrow(others))))
    octets = np.frombuffer(rest, np.uint8)
    pieces = _objects(rest, octets, np.flatnonzero(octets == 10).astype(np.int32))
    found = [replace(piece, lines=others if piece.lines is None else others[piece.lines]) for piece in pieces]
    return [_Piece(np.flatnonzero(alike.lines), columns, len(ends) - len(others)), *found]


def _text_of(lines: pa.Array) -> pa.Buffer:
    """Lines one after the other, as they lie in memory."""
    import numpy as np

    _, ends, data = lines.buffers()
    return data.slice(0, int(np.frombuffer(ends, np.int32)[len(lines)]))


def _objects(block: bytes, octets: Array, ends: Array) -> list[_Piece]:
    """Lines that are one JSON object each; halved where they cannot be read together."""
    import numpy as np

    if not len(ends):
        return []
    starts = np.concatenate([np.zeros(1, np.int32), ends[:-1] + 1])
    # an object a line: then as many objects as lines means that each line is one
    closes = np.where(octets[np.maximum(ends - 1, 0)] == 13, ends - 2, ends - 1)
    braced = (octets[starts] == 123) & (closes > starts) & (octets[np.maximum(closes, 0)] == 125)
    returns = bool((octets == 13).any())  # quicker than looking through bytes
    found: list[_Piece] = []
    waiting = [(0, len(ends))]
    while waiting:
        first, last = waiting.pop()
        columns = None
        if braced[first:last].all():
            text = block if (first, last) == (0, len(ends)) else block[starts[first] : ends[last - 1] + 1]
            columns = None if returns and _lone_return(text) else _json_columns(text, last - first)
        if columns is not None:
            whole = (first, last) == (0, len(ends))
            found.append(_Piece(None if whole else np.arange(first, last), columns, last - first))
        elif last - first > _SMALLEST:
            middle = (first + last) // 2
            waiting += [(middle, last), (first, middle)]
    return found


def _lone_return(text: bytes) -> bool:
    return text.count(b"\r") != text.count(b"\r\n")


def _json_columns(text: bytes, expected: int) -> dict[str, pa.Array] | None:
    """The columns that are ours, or None where the lines are not one object each, or of several kinds."""
    table = _json_table(text)
    if table is None or table.num_rows != expected:
        return None
    return _ours((label, one(column)) for label, column in zip(table.column_names, table.columns, strict=True))


def _ours(found: Iterable[tuple[str, pa.Array]]) -> dict[str, pa.Array] | None:
    """The columns that are ours by their names, or None where that is not clear."""
    columns: dict[str, pa.Array] = {}
    for label, column in found:
        name = files.canonical(label)
        if name is None:
            continue
        if name in columns or not _simple(column.type, name):
            return None
        if name in _READ:
            columns[name] = column
    return columns


def _json_table(text: bytes) -> pa.Table | None:
    """Lines of JSON as a table; None where a column is of several kinds."""
    import pyarrow as pa
    import pyarrow.json as json

    kinds = _kinds(text[: text.find(b"\n") + 1])
    # where the kind of a column is told, reading it takes less time; of texts it must be: they might be taken for times
    for told in (kinds, {label: kind for label, kind in kinds.items() if kind == pa.string()}):
        try:
            return json.read_json(
                pa.BufferReader(text),
                json.ReadOptions(use_threads=False, block_size=len(text) + 1),
                json.ParseOptions(
                    explicit_schema=pa.schema(told.items()), newlines_in_values=False, unexpected_field_behavior="infer"
                ),
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    return None


def _kinds(line: bytes) -> dict[str, pa.DataType]:
    """The kinds of our columns by their labels, from the first line."""
    import pyarrow as pa

    kinds = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    found = {}
    for _, record in delimited.json_records([line.decode()]):
        for label, value in record.items() if isinstance(record, dict) else ():
            name = files.canonical(label)
            if name and type(value) in kinds:
                found[label] = kinds[float if name == "minutes" and type(value) is int else type(value)]
    return found


def _simple(kind: pa.DataType, name: str) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return name not in ("comment", "graded_at") and _simple(kind.value_type, name)
    if pa.types.is_string(kind) or pa.types.is_null(kind):
        return True
    number = pa.types.is_boolean(kind) or pa.types.is_int64(kind) or pa.types.is_float64(kind)
    return bool(number) and name not in ("comment", "graded_at")


# --- judging by columns ----------------


@dataclass
class _Codes:
    """Texts and their positions in a list that grows."""

    values: list[str] = field(default_factory=list)
    at: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, text: str) -> int:
        if text not in self.at:
            self.at[text] = len(self.values)
            self.values.append(text)
        return self.at[text]


@dataclass(frozen=True)
class _Judged:
    """The plain rows of a piece, by partition; their numbers are places in the block."""

    plain: Plain
    graders: list[str]  # the names that the codes of graders stand for
    bounds: list[tuple[int, int, int]]  # partition, first and last of its rows


def _bounds(partitions: Array) -> list[tuple[int, int, int]]:
    """Where the rows of each partition begin and end once they are sorted by it."""
    import numpy as np

    counts = np.bincount(partitions)
    there = np.flatnonzero(counts).tolist()
    lasts = np.cumsum(counts)[there].tolist()
    return list(zip(there, [0, *lasts[:-1]], lasts, strict=True)) if there else []


def _merged(pieces: Sequence[_Judged], partition: Array) -> _Judged:
    """The pieces of a block as one, in the order of its lines; `partition` is that of each attempt."""
    import numpy as np

    if len(pieces) == 1:
        return pieces[0]
    names = _Codes()
    parts = []
    for piece in pieces:
        codes = _array([names[name] for name in piece.graders] or [0])
        parts.append(replace(piece.plain, grader=codes[piece.plain.grader]))
    plain = joined(parts)
    of_rows = partition[plain.attempt]
    order = np.argsort(of_rows.astype(np.int64) << 32 | plain.row)
    return _Judged(plain.take(order), names.values, _bounds(of_rows))


@dataclass(frozen=True)
class _Terms:
    """What besides its rows the judgement on a file depends on."""

    imported_at: datetime
    guessed: bool  # whether its encoding was
    role_of: RoleOf | None


class _Columns:
    """Judges whole columns, against what verdicts may be about."""

    def __init__(self, attempts: pa.Table, criteria: pa.Table):
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        self.packets = _Packets(one(attempts.column("packet_id")))
        self.known: dict[str, _Known] = {}
        self.truth: dict[str, Array] = {}
        names: dict[str, list[str]] = {}
        for name in (*CELL, "rubric_version", "packet_sha256"):
            encoded = one(attempts.column(name).cast(pa.string())).dictionary_encode()
            # what no cell can say as it stands in the lake is left to the rules for single rows
            names[name] = encoded.dictionary.to_pylist()
            texts = [text if text == plain_text(text) else None for text in names[name]]
            self.known[name] = _Known(pa.array(texts, pa.string()))
            self.truth[name] = encoded.indices.fill_null(-1).to_numpy()
        self.partitions = [(model, round_) for model in names["model"] for round_ in names["round"]]
        of_attempts = self.truth["model"] * len(names["round"]) + self.truth["round"]
        self.partition = of_attempts.astype(np.min_scalar_type(len(self.partitions)))  # few bytes are sorted quickly
        self._sizes = [max(len(self.known[name].values), 1) for name in CELL[1:]]
        self.first = self.known["sample"].values.index(FIRST).as_py()
        keys = self._cell(*(self.truth[name].astype(np.int64) for name in CELL))
        order = np.argsort(keys, kind="stable")
        last = np.flatnonzero(np.append(keys[order][1:] != keys[order][:-1], True)) if len(keys) else order
        self.repeated = len(last) < len(keys)  # whether several attempts are one model's at one job in one round
        self.cells, self.cell_attempts = keys[order][last], order[last]
        ids = pc.unique(criteria.column("criterion_id"))
        self.criterion_values = [*ids.to_pylist(), OVERALL]
        one_word = [None if text == OVERALL or re.search(r"\s", text) else text for text in ids.to_pylist()]
        self.criteria = _Known(pa.array([*one_word, OVERALL], pa.string()))
        jobs = pc.index_in(one(criteria.column("job_id")), value_set=self.known["job_id"].values)
        codes = pc.index_in(one(criteria.column("criterion_id")), value_set=ids)
        pairs = jobs.fill_null(-1).to_numpy().astype(np.int64) * len(self.criterion_values) + codes.to_numpy()
        self.pairs = _Members(pairs[pairs >= 0])
        micros = one(attempts.column("finished_at")).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        self.issued = micros.fill_null(_NO_DATE + 2 * _DAY).to_numpy() - _DAY
        late = one(attempts.column("followed_up")).to_numpy(zero_copy_only=False)
        self.late = np.where(late, LATE, 0).astype(np.int8)
        self.models = {code: model or "" for code, model in enumerate(self.known["model"].values.to_pylist())}

    def _cell(self, job: Array, model: Array, round_: Array, sample: Array) -> Array:
        """A number for a job, model, round and sample; -1 where one of them is not known."""
        import numpy as np

        key = ((job.astype(np.int64) * self._sizes[0] + model) * self._sizes[1] + round_) * self._sizes[2] + sample
        return np.where((job < 0) | (model < 0) | (round_ < 0) | (sample < 0), -1, key)

    def judge(self, piece: _Piece, terms: _Terms) -> _Judged:
        """The rows of a piece that are plain."""
        import numpy as np

        columns = {name: _Column(values) for name, values in piece.columns.items()}
        size = piece.size
        attempt = self._attempts(columns, size)
        good = attempt >= 0
        some = np.maximum(attempt, 0)
        good &= self._as_issued(columns, some)
        criterion, of_rubric = self._criteria(columns, some, size)
        good &= of_rubric
        comment, plain_comment, said = self._comments(columns, size)
        passed, plain_verdict = self._verdicts(columns, criterion == len(self.criterion_values) - 1, said, size)
        graders, grader, named = self._graders(columns, size)
        role, plain_role = self._roles(columns, size)
        minutes, plain_minutes_ = self._minutes(columns, size)
        graded_at, plain_date = self._dates(columns, size, terms.imported_at)
        good &= plain_comment & plain_verdict & named & plain_role & plain_minutes_ & plain_date
        good &= ~self._leaks(comment, some, said)
        if not len(self.partition):
            good[:] = False
        at = np.flatnonzero(good)
        of_rows = self.partition[attempt[at]]
        at = at[np.argsort(of_rows, kind="stable")]
        flags = self.late[some[at]] if len(self.late) else np.zeros(len(at), np.int8)
        early = (graded_at[at] != _NO_DATE) & (graded_at[at] < self.issued[some[at]]) if len(at) else flags > 0
        flags = flags | np.where(early, BEFORE_ISSUE, 0).astype(np.int8) | np.int8(GUESSED if terms.guessed else 0)
        plain = Plain(
            row=at if piece.lines is None else piece.lines[at],
            attempt=attempt[at],
            criterion=criterion[at],
            grader=grader[at],
            role=self._assigned(attempt[at], grader[at], role[at], graders, terms.role_of),
            passed=passed[at],
            minutes=minutes[at],
            graded_at=graded_at[at],
            flags=flags,
            comment=comment.take(_arrow(at)),
        )
        return _Judged(plain, graders, _bounds(of_rows))

    def _attempts(self, columns: Mapping[str, _Column], size: int) -> Array:
        """The attempt that each row is about, -1 where that takes a closer look."""
        import numpy as np

        nothing = np.full(size, -1, np.int64)
        said = {name: columns[name].found_in(self.known[name]) for name in CELL if name in columns}
        by_cell = nothing
        if said.keys() >= set(CELL[:3]):
            sample = said.get("sample", np.full(size, _BLANK, np.int64))
            sample = np.where(sample == _BLANK, self.first, sample)
            key = self._cell(said["job_id"], said["model"], said["round"], sample)
            by_cell = _looked_up(self.cells, self.cell_attempts, key)
        if "packet_id" not in columns:
            return by_cell
        by_packet = columns["packet_id"].found_in(self.packets)
        for name, codes in said.items():  # what else the row says of it must be so
            same = (codes == _BLANK) | (codes == self.truth[name][np.maximum(by_packet, 0)])
            by_packet = np.where(same | (by_packet < 0), by_packet, -1)
        return np.where(by_packet == _BLANK, by_cell, by_packet)

    def _as_issued(self, columns: Mapping[str, _Column], attempt: Array) -> Array:
        """Whether nothing says that the packet was another one when it was graded."""
        import numpy as np

        fine = np.ones(len(attempt), bool)
        for name in ("rubric_version", "packet_sha256"):
            if name in columns and len(self.partition):
                codes = columns[name].found_in(self.known[name])
                fine &= (codes == _BLANK) | (codes == self.truth[name][attempt])
        return fine

    def _criteria(self, columns: Mapping[str, _Column], attempt: Array, size: int) -> tuple[Array, Array]:
        import numpy as np

        overall = len(self.criterion_values) - 1
        if "criterion_id" not in columns or not len(self.partition):
            return np.zeros(size, np.int32), np.zeros(size, bool)
        codes = columns["criterion_id"].found_in(self.criteria)
        key = self.truth["job_id"][attempt].astype(np.int64) * len(self.criterion_values) + codes
        known = self.pairs.among(np.where(codes >= 0, key, -1))
        return codes.astype(np.int32), known | (codes == overall)

    def _comments(self, columns: Mapping[str, _Column], size: int) -> tuple[pa.Array, Array, Array]:
        """Comments with null for blank ones, where they are plain text, and where there are any."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        column = columns.get("comment")
        if column is None or pa.types.is_null(column.values.type):
            return pa.nulls(size, pa.string()), np.ones(size, bool), np.zeros(size, bool)
        texts = column.values
        blank = pc.fill_null(pc.equal(texts, ""), True).to_numpy(zero_copy_only=False)
        texts = pc.if_else(_arrow(blank), pa.scalar(None, pa.string()), texts)
        plain = blank | _storable(texts)
        return texts, plain, ~blank

    def _verdicts(self, columns: Mapping[str, _Column], overall: Array, said: Array, size: int) -> tuple[Array, Array]:
        import numpy as np

        column = columns.get("passed")
        words = np.full(size, _MISSING, np.int8) if column is None else column.map(_word, np.int8)
        of_overall = overall & said & ((words == _MISSING) | (words == -1))
        fine = np.where(overall, of_overall, words <= 1)
        return np.where(overall, np.int8(-1), words).astype(np.int8), fine

    def _graders(self, columns: Mapping[str, _Column], size: int) -> tuple[list[str], Array, Array]:
        import numpy as np

        if "grader" not in columns:
            return [], np.zeros(size, np.int32), np.zeros(size, bool)
        names = _Codes()
        codes = columns["grader"].map(lambda said: names[" ".join(plain_text(said).split())], np.int32)
        blank = names.at.get("", -1)
        return names.values, codes, codes != blank

    def _roles(self, columns: Mapping[str, _Column], size: int) -> tuple[Array, Array]:
        import numpy as np

        if "grader_role" not in columns:
            return np.zeros(size, np.int8), np.ones(size, bool)
        codes = columns["grader_role"].map(_role, np.int8)
        return np.maximum(codes, 0), codes >= 0

    def _assigned(
        self, attempt: Array, grader: Array, role: Array, graders: Sequence[str], role_of: RoleOf | None
    ) -> Array:
        """The roles that were assigned, else those that the rows name."""
        import numpy as np

        if role_of is None or not len(attempt):
            return role
        pairs, back = np.unique(attempt * max(len(graders), 1) + grader, return_inverse=True)
        packets = self.packets.values.take(_arrow(pairs // max(len(graders), 1))).to_pylist()
        given = [role_of(p, graders[g]) for p, g in zip(packets, pairs % max(len(graders), 1), strict=True)]
        codes = np.array([ROLES.index(r) if r in ROLES else -1 for r in given], np.int8)[back]
        return np.where(codes >= 0, codes, role)

    def _minutes(self, columns: Mapping[str, _Column], size: int) -> tuple[Array, Array]:
        import numpy as np

        if "minutes" not in columns:
            return np.full(size, np.nan), np.ones(size, bool)
        values = columns["minutes"].map(_minutes_of, np.float64)
        return np.where(values < 0, np.nan, values), ~(values < 0)

    def _dates(self, columns: Mapping[str, _Column], size: int, imported_at: datetime) -> tuple[Array, Array]:
        import numpy as np
        import pyarrow as pa

        column = columns.get("graded_at")
        if column is None or pa.types.is_null(column.values.type):
            return np.full(size, _NO_DATE), np.ones(size, bool)
        values, sure = _moments(column.values)
        if not sure.all():
            rest = np.flatnonzero(~sure)
            moment = functools.partial(_moment, imported_at=imported_at)
            values[rest] = _Column(column.values.take(_arrow(rest))).map(moment, np.int64)
        real = values > _BAD_DATE
        fine = (values >= _EARLIEST) & (values <= _micros(imported_at + _TIME_ZONES))
        return values, (values == _NO_DATE) | (real & fine)

    def _leaks(self, comments: pa.Array, attempt: Array, said: Array) -> Array:
        """Whether a comment may name the model whose work it is about."""
        import numpy as np
        import pyarrow.compute as pc

        found = np.zeros(len(comments), bool)
        names = {code: model.casefold() for code, model in self.models.items() if len(model) >= 3}
        pattern = "|".join(map(re.escape, names.values()))
        if not said.any() or not names or not _may_match(comments, pattern):
            return found
        other = ~pc.fill_null(pc.string_is_ascii(comments), True).to_numpy(zero_copy_only=False)
        any_name = pc.match_substring_regex(pc.ascii_lower(comments), pattern)
        closer = np.flatnonzero(other | pc.fill_null(any_name, False).to_numpy(zero_copy_only=False))
        models = self.truth["model"][attempt[closer]].tolist()
        texts = comments.take(_arrow(closer)).to_pylist()
        named = [names.get(model, "\0") in text.casefold() for model, text in zip(models, texts, strict=True)]
        found[closer] = named
        return found


def _may_match(texts: pa.Array, pattern: str) -> bool:
    """Whether a pattern of small letters may match one of the texts: False for sure when it matches nowhere in them,
    written one after the other, and they are ASCII."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    _, ends, data = texts.buffers()
    if data is None:
        return False
    offsets = np.frombuffer(ends, np.int32)[[texts.offset, texts.offset + len(texts)]]
    whole = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(offsets.tobytes()), data])
    if not pc.string_is_ascii(whole)[0].as_py():
        return True
    return bool(pc.match_substring_regex(whole, pattern, ignore_case=True)[0].as_py())


_BLANK = -2
_MISSING, _NO_WORD = 2, 3
_DAY = 86_400_000_000  # microseconds
_BAD_DATE = _NO_DATE + 1


class _Known:
    """Texts that are known, by their places."""

    def __init__(self, values: pa.Array):
        self.values = values
        self._places: dict[str | None, int] | None = None
        if len(values) >= _FEW:  # Arrow would hash all that is known for each block anew
            self._places = {text: place for place, text in enumerate(values.to_pylist()) if text is not None}

    def places(self, texts: pa.Array) -> Array:
        """The place of each text, -1 where it is not known."""
        import numpy as np
        import pyarrow.compute as pc

        if self._places is None:
            found: Array = pc.index_in(texts, value_set=self.values, skip_nulls=True).fill_null(-1).to_numpy()
            return found
        place = self._places.get
        return np.fromiter((place(text, -1) for text in texts.to_pylist()), np.int64, len(texts))


_FEW = 1000


class _Packets(_Known):
    """Packet ids that are known. As numbers they are found in a fraction of the time."""

    def __init__(self, values: pa.Array):
        import numpy as np

        self.values = values
        numbers = _packet_numbers(values)
        self._order = np.argsort(numbers)
        self._numbers = numbers[self._order]
        if (self._numbers[1:] == self._numbers[:-1]).any():
            raise AmbiguousError

    def places(self, texts: pa.Array) -> Array:
        """The place of each id, -1 where it is not known."""
        return _looked_up(self._numbers, self._order, _packet_numbers(texts))


class AmbiguousError(Exception):
    """Two packets have one id."""


def _packet_numbers(texts: pa.Array) -> Array:
    """The sixty bits that a packet id spells (`packet_id_for`), -1 for what is none."""
    import numpy as np

    _, ends, data = texts.buffers()
    offsets = np.frombuffer(ends, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    numbers = np.full(len(texts), -1, np.int64)
    some = np.flatnonzero(np.diff(offsets) == PACKET_ID)
    if not len(some):
        return numbers
    letters = np.frombuffer(data, np.uint8)[offsets[some][:, None] + np.arange(PACKET_ID)]
    bits = _base32()[letters[:, len(PREFIX) :]]
    made = np.zeros(len(some), np.int64)
    for at in range(bits.shape[1]):
        made = made << 5 | bits[:, at]
    fine = (letters[:, : len(PREFIX)] == np.frombuffer(PREFIX, np.uint8)).all(1) & (bits < 32).all(1)
    numbers[some[fine]] = made[fine]
    return numbers


PREFIX, LETTERS = b"pk_", b"abcdefghijklmnopqrstuvwxyz234567"
"""How packet ids begin, and the letters of base32 of which the others are, in the order of their values."""
PACKET_ID = len(PREFIX) + 12


@functools.cache
def _base32() -> Array:
    """The value of each letter, 255 for what is none."""
    import numpy as np

    values = np.full(256, 255, np.uint8)
    values[list(LETTERS)] = range(len(LETTERS))
    return values


class _Column:
    """A column, of which each distinct value is looked at once."""

    def __init__(self, values: pa.Array):
        self.values = values

    @functools.cached_property
    def _distinct(self) -> tuple[pa.Array, Array]:
        """The distinct values, and which one each row has; beyond the last is null."""
        import numpy as np
        import pyarrow as pa

        if pa.types.is_null(self.values.type):
            return pa.array([], pa.string()), np.zeros(len(self.values), np.int32)
        encoded = self.values if pa.types.is_dictionary(self.values.type) else self.values.dictionary_encode()
        return encoded.dictionary, encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()

    @functools.cached_property
    def _encoded(self) -> tuple[list[str | bool | int | float | None], Array]:
        """The distinct values as the readers give them (blank ones None), and which one each row has."""
        distinct, codes = self._distinct
        return [*map(_cell, distinct.to_pylist()), None], codes

    def map(self, function: Callable[[Any], Any], kind: Any) -> Array:
        """A function of each row's value."""
        import numpy as np

        values, codes = self._encoded
        made: Array = np.array([function(value) for value in values], dtype=kind)[codes]
        return made

    def found_in(self, known: _Known) -> Array:
        """The place of each row's text among those known; _BLANK for blank ones, -1 for what is not there."""
        import numpy as np
        import pyarrow as pa

        distinct, codes = self._distinct
        found = np.full(len(distinct) + 1, -1, np.int64)
        found[-1] = _BLANK
        if pa.types.is_string(distinct.type):  # most are known as they stand
            found[:-1] = known.places(distinct)
        rest = np.flatnonzero(found == -1)
        values = [_cell(value) for value in distinct.take(_arrow(rest)).to_pylist()]
        texts = [plain_text(value) for value in values]
        blank = np.array([not text for text in texts], bool)
        found[rest] = np.where(blank, _BLANK, known.places(pa.array(texts, pa.string())))
        placed: Array = found[codes]
        return placed


def _cell(value: Any) -> Any:
    """A cell as the readers of files give it: clean text, None where it is blank."""
    if isinstance(value, str):
        value = clean(value)
        return value if value.strip() else None
    return value


def _word(value: Any) -> int:
    verdict = parse_verdict(value)
    if verdict is MISSING or verdict is BAD:
        return _MISSING if verdict is MISSING else _NO_WORD
    return -1 if verdict is None else int(bool(verdict))


def _role(value: Any) -> int:
    role = plain_text(value).casefold() or ROLES[0]
    return ROLES.index(role) if role in ROLES else -1


def _minutes_of(value: Any) -> float:
    """Minutes, NaN where none are said, -1 for what are none."""
    if value is None:
        return float("nan")
    minutes = plain_minutes(value)
    return -1.0 if minutes is None else minutes


def _storable(texts: pa.Array) -> Array:
    """Whether texts are stored as they stand: no blanks at their ends, nothing that `clean` replaces."""
    import numpy as np
    import pyarrow.compute as pc

    if _plain_ascii(texts):
        return np.ones(len(texts), bool)
    edge = r"[^\p{Z}\p{C}\x{fffe}\x{ffff}]"
    inner = r"[^\x00-\x08\x0b-\x1f\x7f\x{fffe}\x{ffff}]"
    matched = pc.match_substring_regex(texts, rf"\A{edge}(?:{inner}*{edge})?\z")
    plain: Array = pc.fill_null(matched, True).to_numpy(zero_copy_only=False)
    return plain


def _plain_ascii(texts: pa.Array) -> bool:
    """Whether all texts are of visible ASCII characters, with blanks between them only."""
    import numpy as np

    _, ends, data = texts.buffers()
    if data is None:
        return True
    offsets = np.frombuffer(ends, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    octets = np.frombuffer(data, np.uint8)[: offsets[-1]]
    starts, stops = offsets[:-1], offsets[1:]
    some = stops > starts
    edges = np.concatenate([octets[starts[some]], octets[stops[some] - 1]])
    inside = octets[offsets[0] :]
    return bool(((inside >= 32) & (inside < 127)).all() and (edges > 32).all())


_ZONED = r"\A\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[+-](?:0\d|1[0-4]):[0-5]\d\z"


def _moments(texts: pa.Array) -> tuple[Array, Array]:
    """Moments in microseconds, _NO_DATE where none is told, and which of them are sure.

    Sure are the common forms, told apart by their lengths: 2026-03-01, with a time to the second, and with Z or +01:00.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.binary_length(texts), 0)
    values = np.full(len(texts), _NO_DATE)
    sure = pc.equal(lengths, 0).to_numpy(zero_copy_only=False)
    for length, zone in ((10, None), (19, None), (20, "UTC"), (25, "UTC")):
        chosen = pc.equal(lengths, length)
        if length == 25 and pc.any(chosen).as_py():
            chosen = pc.and_(chosen, pc.fill_null(pc.match_substring_regex(texts, _ZONED), False))
        if not pc.any(chosen).as_py():
            continue
        mine = chosen.to_numpy(zero_copy_only=False)
        some = texts if mine.all() else pc.if_else(chosen, texts, pa.scalar(None, pa.string()))
        try:
            moments = some.cast(pa.timestamp("us", zone))
        except pa.ArrowInvalid:  # one of them is no date
            continue
        values = np.where(mine, moments.cast(pa.int64()).fill_null(0).to_numpy(), values)
        sure = sure | mine
    return values, sure


def _moment(text: str | None, imported_at: datetime) -> int:
    found, why = moment_of(text, imported_at)
    return _BAD_DATE if why else _NO_DATE if found is None else _micros(found)


_EARLIEST = 946_684_800_000_000  # 2000-01-01, before which nobody graded: grading/dates.py
_TIME_ZONES = timedelta(days=1)


def _micros(moment: datetime) -> int:
    from datetime import UTC

    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


class _Members:
    """Numbers from 0 on, of which others are told whether they are among them."""

    def __init__(self, numbers: Array):
        import numpy as np

        self._sorted = np.unique(numbers)
        self._marked: Array | None = None
        if len(numbers) and self._sorted[-1] < _MARKED:  # a mark for each number there might be is found at once
            self._marked = np.zeros(self._sorted[-1] + 2, bool)  # the last one stands for all that are greater
            self._marked[self._sorted] = True

    def among(self, wanted: Array) -> Array:
        """Which of these are among the numbers; negative ones never are."""
        import numpy as np

        if self._marked is None:
            return _looked_up(self._sorted, self._sorted, wanted) >= 0
        found: Array = self._marked[np.minimum(wanted, len(self._marked) - 1)] & (wanted >= 0)
        return found


_MARKED = 1 << 21


def _looked_up(keys: Array, values: Array, wanted: Array) -> Array:
    """The value of each wanted key, -1 where there is none; `keys` are sorted."""
    import numpy as np

    if not len(keys):
        return np.full(len(wanted), -1, np.int64)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((keys[at] == wanted) & (wanted >= 0), values[at], -1)


def _arrow(values: Array) -> pa.Array:
    import pyarrow as pa

    return pa.array(values)


# --- a whole file ----------------


@dataclass(frozen=True)
class _Block:
    first: int  # line in the file of its first line
    span: tuple[int, int]
    ends: Array


def judge_in_bulk(
    data: Any,
    shape: Shape,
    grounds: Callable[[], Ground],
    *,
    source_file: str,
    source_sha256: str,
    imported_at: datetime,
    role_of: RoleOf | None = None,
    guessed: bool = False,
    block: int = BLOCK,
) -> Bulk:
    """Read and judge a file: `data` are its bytes, in UTF-8. Raises NotUtf8Error when they are not.

    `grounds` is asked by several threads, once they have read their first blocks: looking it up may take until then.
    """
    from concurrent.futures import ThreadPoolExecutor

    reading = _Reading(data, shape, grounds, _Terms(imported_at, guessed, role_of), block)
    ground = grounds()

    def judged_without(plain_lines: Sequence[Array]) -> Judgement:
        rows = reading.others(plain_lines)
        return judgement(
            _as_file(rows, reading.problems, guessed),
            ground.index,
            source_file=source_file,
            source_sha256=source_sha256,
            imported_at=imported_at,
            role_of=role_of,
        )

    with ThreadPoolExecutor(1) as beside:
        looked_at = beside.submit(judged_without, [part.row for parts in reading.plain.values() for part in parts])
        persons = _persons(reading.graders.values)
        n_criteria = len(ground.columns.criterion_values)
        repeated = {cell: _groups(parts, n_criteria, persons) for cell, parts in reading.plain.items()}
        judged = looked_at.result()
    touched = _touched(judged, ground.columns)
    apart = {
        cell: _touching(parts, touched) | _disputed(parts, *repeated[cell]) for cell, parts in reading.plain.items()
    }
    if any(mask.any() for mask in apart.values()):
        judged = judged_without([column_of(parts, "row")[~apart[cell]] for cell, parts in reading.plain.items()])
    for cell, (places, new) in repeated.items():
        apart[cell][places[~new]] = True  # of those that say the same the first is kept
    plain = {
        ground.columns.partitions[cell]: [reading.numbered(part) for part in _without(parts, apart[cell])]
        for cell, parts in reading.plain.items()
    }
    return Bulk(plain, ground.columns.criterion_values, reading.graders.values, judged, shape.lines_above)


def _as_file(rows: Sequence[RawRow], problems: Sequence[Problem], guessed: bool) -> VerdictFile:
    return VerdictFile("long", {"guessed_encoding": True} if guessed else {}, tuple(rows), tuple(problems))


class _Reading:
    """A file on its way: the plain rows by line, and the lines that are none."""

    def __init__(self, data: Any, shape: Shape, grounds: Callable[[], Ground], terms: _Terms, block: int):
        self.data, self.shape, self.grounds, self.terms = data, shape, grounds, terms
        self.graders = _Codes()
        self.blocks: list[_Block] = []
        self.lines = 0
        self.plain: dict[int, list[Plain]] = {}  # by partition
        self._read(block)
        self.problems: list[Problem] = []
        self._looked_at = False
        self._shifts = _array([0]), _array([0])  # by how much numbers of rows differ from lines, and from which on

    def _read(self, size: int) -> None:
        for span, ends, judged in in_threads(self._judge, _spans(self.data, self.shape.start, size), _AT_ONCE):
            self._take(judged)
            self.blocks.append(_Block(self.lines, span, ends))
            self.lines += len(ends)

    def _take(self, judged: _Judged) -> None:
        codes = _array([self.graders[name] for name in judged.graders] or [0])
        said = vars(judged.plain)
        plain = Plain(**_narrow({**said, "grader": codes[said["grader"]], "row": said["row"] + self.lines}))
        for cell, first, last in judged.bounds:
            self.plain.setdefault(cell, []).append(plain.slice(first, last))

    def _judge(self, span: tuple[int, int]) -> tuple[tuple[int, int], Array, _Judged]:
        _, ends, pieces = _read_block(self.shape, self.data, span)
        columns = self.grounds().columns
        return span, ends, _merged([columns.judge(piece, self.terms) for piece in pieces], columns.partition)

    def others(self, plain_lines: Sequence[Array]) -> list[RawRow]:
        """The rows of all other lines; at first also finds what cannot be read, and the numbers of the plain lines."""
        import numpy as np

        is_plain = np.zeros(self.lines, bool)
        for lines in plain_lines:
            is_plain[lines] = True
        edges = np.flatnonzero(np.diff(np.concatenate([[True], is_plain, [True]]).astype(np.int8)))
        rows: list[RawRow] = []
        problems: list[Problem] = []
        shift, after, shifts = 0, [0], [0]
        for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            count, some, bad = self._region(first, last, first + shift + 1)
            rows += some
            problems += bad
            if count != last - first:  # a record may stand on several lines
                shift += count - (last - first)
                after.append(last)
                shifts.append(shift)
        _forget(self.data, (0, len(self.data)))
        if not self._looked_at:  # taking plain lines as others later on changes no number: each is a record
            self._shifts, self.problems, self._looked_at = (_array(after), _array(shifts)), problems, True
        return rows

    def numbered(self, plain: Plain) -> Plain:
        """Rows with their numbers instead of their lines, once `others` was asked."""
        import numpy as np

        after, shifts = self._shifts
        shift = shifts[np.searchsorted(after, plain.row, side="right") - 1] if len(shifts) > 1 else np.int32(0)
        return replace(plain, row=(plain.row + 1 + shift).astype(np.int32, copy=False))

    def _region(self, first: int, last: int, number: int) -> tuple[int, list[RawRow], list[Problem]]:
        """Neighbouring lines that are not plain: how many records they are, their rows, and what cannot be read."""
        text = self._text(first, last)
        lines = delimited.physical_lines(text)
        if not self.shape.delimiter:
            found = ((at + number - 1, record) for at, record in delimited.json_records(lines))
            return len(lines), *files.json_rows(found)
        records = self._records(lines)
        if any(isinstance(record, delimited.BadLine) for record in records):
            # the reason is told by what comes next: a plain line ends any record, yet not before it was looked at
            ahead = delimited.physical_lines(self._text(last, last + _LONGEST_CELL // 8, 2 * _LONGEST_CELL))
            records = self._records([*lines, *ahead])[: len(records)]
        made = files.csv_rows(records, self.shape.delimiter, self.shape.table, "long", number)
        return len(records), *made

    def _records(self, lines: Sequence[str]) -> list[delimited.Record]:
        return list(delimited.records(lines, self.shape.delimiter, files.record_test(self.shape.table)))

    def _text(self, first: int, last: int, most: int = 1 << 62) -> str:
        """The text of lines, at most so many bytes and then to the end of a line."""
        found = []
        for block in self._blocks_from(first):
            if block.first >= last or most <= 0:
                break
            begin, end = max(first - block.first, 0), min(last - block.first, len(block.ends))
            start = block.span[0] + (int(block.ends[begin - 1]) + 1 if begin else 0)
            stop = min(block.span[0] + int(block.ends[end - 1]) + 1, block.span[1])
            found.append(bytes(self.data[start : min(stop, start + most)]))
            most -= stop - start
        return b"".join(found).decode("utf-8", "ignore")

    def _blocks_from(self, line: int) -> Iterator[_Block]:
        from bisect import bisect_right

        at = bisect_right(self.blocks, line, key=lambda block: block.first) - 1
        yield from self.blocks[max(at, 0) :]


def _spans(data: Any, start: int, size: int) -> Iterator[tuple[int, int]]:
    """Parts of a file of about so many bytes, each ending with a line."""
    while start < len(data):
        end = min(start + size, len(data))
        if end < len(data):
            cut = data.rfind(b"\n", start, end)
            while cut < 0 and end < len(data):
                end = min(end + size, len(data))
                cut = data.rfind(b"\n", start, end)
            end = cut + 1 if cut >= 0 else len(data)
        yield start, end
        start = end


def _array(values: Sequence[int]) -> Array:
    import numpy as np

    return np.array(values, np.int64)


_KINDS = {"role": "i1", "passed": "i1", "flags": "i1", "minutes": "f8", "graded_at": "i8"}


def _narrow(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns of `Plain` in the fewest bytes: a file has fewer lines than 2^31."""
    return {n: v if n == "comment" else v.astype(_KINDS.get(n, "i4"), copy=False) for n, v in columns.items()}


def _without(parts: Sequence[Plain], apart: Array) -> Iterator[Plain]:
    """The rows that a mask over all parts does not name."""
    import numpy as np

    first = 0
    for part in parts:
        mine = apart[first : first + len(part)]
        yield part.take(np.flatnonzero(~mine)) if mine.any() else part
        first += len(part)


def _touched(judged: Judgement, columns: _Columns) -> Array:
    """What the rows are about that had to be looked at: packet and criterion as a number (`_about`), sorted."""
    import numpy as np
    import pyarrow as pa

    said = [(row["packet_id"], row["criterion_id"]) for row in judged.rows]
    said += [(p.packet_id, p.criterion_id) for p in judged.problems if p.code == "conflict"]
    packets = columns.packets.places(pa.array([p for p, _ in said], pa.string()))
    position = {criterion: at for at, criterion in enumerate(columns.criterion_values)}
    return np.unique(_about(packets, _array([position.get(c or "", -1) for _, c in said])))


def _about(attempt: Array, criterion: Array) -> Array:
    """A number for a packet and a criterion."""
    import numpy as np

    return attempt.astype(np.int64) << 32 | criterion


def _touching(parts: Sequence[Plain], touched: Array) -> Array:
    """Which plain rows are about the same criterion of the same packet as a row that had to be looked at."""
    import numpy as np

    if not len(touched):
        return np.zeros(sum(map(len, parts)), bool)
    return np.isin(_about(column_of(parts, "attempt"), column_of(parts, "criterion")), touched)


def _persons(graders: Sequence[str]) -> Array:
    """A number for the person behind each name."""
    codes = _Codes()
    return _array([codes[same_person(name)] for name in graders] or [0])


def _subjects(parts: Sequence[Plain], n_criteria: int, persons: Array) -> Array:
    """A number for packet, criterion, person and role."""
    import numpy as np

    made: Array = column_of(parts, "attempt").astype(np.int64)
    person = persons[column_of(parts, "grader")]
    for size, codes in (
        (n_criteria, column_of(parts, "criterion")),
        (len(persons), person),
        (len(ROLES), column_of(parts, "role")),
    ):
        made = made * size + codes
    return made


def _groups(parts: Sequence[Plain], n_criteria: int, persons: Array) -> tuple[Array, Array]:
    """Places of the rows of which another is about the same, sorted by what they are about, and where each is new."""
    import numpy as np

    subjects = _subjects(parts, n_criteria, persons)
    ordered = np.sort(subjects)
    if not (ordered[1:] == ordered[:-1]).any():
        return np.zeros(0, np.int64), np.zeros(0, bool)
    order = np.argsort(subjects, kind="stable")
    same = subjects[order][1:] == subjects[order][:-1]
    inside = np.append(same, False) | np.insert(same, 0, False)
    return order[inside], np.insert(~same, 0, True)[inside]


def _disputed(parts: Sequence[Plain], places: Array, new: Array) -> Array:
    """Which rows repeat another one with a difference: these are settled one by one. As `_groups` found them."""
    import numpy as np

    apart = np.zeros(sum(map(len, parts)), bool)
    if not len(places):
        return apart
    some = joined(parts).take(places)
    differs = np.zeros(len(places), bool)
    for values in (some.passed, some.minutes, some.graded_at, some.comment.dictionary_encode().indices.fill_null(-1)):
        values = np.asarray(values)
        changed = (values[1:] != values[:-1]) & ~((values[1:] != values[1:]) & (values[:-1] != values[:-1]))
        differs[1:] |= changed & ~new[1:]
    group = np.cumsum(new) - 1
    apart[places] = np.isin(group, np.unique(group[differs]))
    return apart
