"""The last look for personal data: at every text and every file that is about to leave.

A finding stops the release. It is told by its place and kind, never by its value. What somebody has looked at and
found harmless is listed by SHA-256 in the registry's cleared_findings.txt. A file that cannot be read to the end is
left out, and listed with the reason, unless it is cleared there in the same way.
"""

from __future__ import annotations

import bisect
import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.release.public import OUTSIDE_TEXT
from hapi_pipeline.tables import Table

if TYPE_CHECKING:
    import pyarrow as pa

    from hapi_pipeline.curation.pii import Finding
    from hapi_pipeline.release.memory import Memory

_AT_ONCE = 2  # files that are read at a time; each by a process of its own
_SHOWN = 80  # characters of a name
OTHER_FILE = "it is not the file that was handed in"
Say = Callable[[int, int], None]
"""Told how many of how many files are done."""


@dataclass(frozen=True, order=True)
class Found:
    """Personal data in what is about to leave: where, of which kind, and the SHA-256 by which it can be cleared."""

    where: str
    place: str
    type: str
    decision: str  # reject, or review where only a name or something weak was found
    sha256: str


@dataclass(frozen=True)
class File:
    """A file that is about to leave; `where` says whose it is, `name` what it is called."""

    where: str
    name: str
    path: Path
    sha256: str
    copied: bool = True  # whether its content was held against the SHA-256, where nobody changes it


# ---- texts


@dataclass
class Texts:
    """Every text of the tables, each once, with the first place where it stands and how many there are."""

    places: dict[str, tuple[str, str]]
    counts: dict[str, int]

    @classmethod
    def empty(cls) -> Texts:
        """None yet."""
        return cls({}, {})

    def add(self, table: Table, rows: pa.Table) -> None:
        """Take in the columns of a table that hold texts from outside."""
        keys = [k for k in table.key if k not in OUTSIDE_TEXT]
        for name in table.names:
            if name in OUTSIDE_TEXT or name == "path":
                self._add_column(table, rows, name, keys)

    def _add_column(self, table: Table, rows: pa.Table, name: str, keys: Sequence[str]) -> None:
        values = rows.column(name).to_pylist()
        for at, value in enumerate(values):
            text = text_of(name, value)
            if not text:
                continue
            self.counts[text] = self.counts.get(text, 0) + 1
            if text not in self.places:
                row = ", ".join(f"{k} {rows.column(k)[at].as_py()}" for k in keys)
                self.places[text] = (
                    f"table {table.name}",
                    f"column {name}, row {at + 1}" + (f" ({row})" if row else ""),
                )


def text_of(column: str, value: Any) -> str:
    """What is to be searched of a table's cell; of what was handed in the names, for the files are read themselves."""
    from hapi_pipeline.agents.documents.passages import named

    if column == "path":
        return named(value)
    if column == "deliverables" and value:
        return "\n".join(named(str(entry.get("path", ""))) for entry in json.loads(value))
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value or "")


def in_texts(texts: Texts, cleared: Mapping[str, str]) -> list[Found]:
    """What is found in the texts of tables, those left out that somebody has cleared."""
    from hapi_pipeline.curation.pii import scan_texts

    every = list(texts.places)
    found = []
    for text, findings in zip(every, scan_texts(every), strict=True):
        if not findings:
            continue
        sha256 = text_sha256(text)
        where, place = texts.places[text]
        more = f", and {texts.counts[text] - 1:,} more with the same text" if texts.counts[text] > 1 else ""
        if sha256 not in cleared:
            found += [_found(f, where, f"{place}{more}", sha256) for f in _of_each_kind(findings)]
    return found


def text_sha256(text: str) -> str:
    """What a text of a table is known by where somebody clears it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _of_each_kind(findings: Iterable[Finding]) -> list[Finding]:
    """The first finding of each kind."""
    first: dict[str, Finding] = {}
    for finding in findings:
        first.setdefault(finding.type, finding)
    return list(first.values())


def _found(finding: Finding, where: str, place: str, sha256: str) -> Found:
    from hapi_pipeline.curation.pii import decide

    return Found(where, place, finding.type, decide([finding]), sha256)


# ---- files


@dataclass(frozen=True)
class Looked:
    """What came of looking at a file: what was found, or why it could not be read."""

    file: File
    found: tuple[Found, ...] = ()
    unread: str = ""
    lasting: bool = field(default=True, compare=False)  # whether it would come again


def in_files(
    files: Sequence[File],
    cleared: Mapping[str, str],
    say: Say = lambda done, of: None,
    memory: Memory | None = None,
) -> Iterator[Looked]:
    """Look at every file, in their order. What is in `cleared` is taken as it is; what `memory` knows is not read."""

    def look(file: File) -> Looked:
        if file.sha256 in cleared:
            return Looked(file)
        return (memory.of(file) if memory else None) or _look(file)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done, looked in enumerate(pool.map(look, files), start=1):
            if memory and looked.lasting and looked.file.sha256 not in cleared:
                memory.keep(looked)
            say(done, len(files))
            yield looked


def _look(file: File) -> Looked:
    from hapi_pipeline.agents import documents

    try:
        with _as_handed_in(file) as path:
            if path is None:
                return Looked(file, unread=OTHER_FILE, lasting=False)
            held = documents.every_text(path, file.name)
    except documents.UnreadableError as error:
        # what took too long on a busy machine may be read another time
        return Looked(file, unread=str(error), lasting=str(error) != documents._EXHAUSTED)
    except OSError as error:
        return Looked(file, unread=f"it cannot be opened ({error.strerror})", lasting=False)
    return Looked(file, tuple(_in_passages(file, held)))


@contextmanager
def _as_handed_in(file: File) -> Iterator[Path | None]:
    """Where the very content can be read that the SHA-256 is of; None where it is not there any more."""
    if file.copied:
        yield file.path
        return
    data = read_unfollowed(file.path)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        yield None
        return
    with tempfile.NamedTemporaryFile() as copy:  # what lies in the ledger could be another file a moment later
        copy.write(data)
        copy.flush()
        yield Path(copy.name)


def read_unfollowed(path: Path) -> bytes:
    """The content of a file that is no link and no pipe. Raises OSError."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return file.read()


def _in_passages(file: File, held: Sequence[tuple[tuple[str, ...], str, list[tuple[int, str]]]]) -> Iterator[Found]:
    from hapi_pipeline.curation.pii import scan_texts

    seen = set()
    for (place, text, marks), findings in zip(held, scan_texts([text for _, text, _ in held]), strict=True):
        for finding in findings:
            told = ", ".join([*_clean(place), _mark(text, marks, finding.start)])
            if (told, finding.type) not in seen:
                seen.add((told, finding.type))
                yield _found(finding, file.where, told, file.sha256)


def _clean(place: Sequence[str]) -> list[str]:
    """The parts of a place; a name that the file gave itself is told only where it is not personal itself."""
    return [told for part in place if (told := f"'{shown_name(part[1:])}'" if part.startswith("~") else part) != "''"]


def shown_name(name: str) -> str:
    """A name as it may be printed: empty where it holds personal data or characters that steer a terminal."""
    from hapi_pipeline.curation.pii import scan_text

    stem = name.rpartition(".")[0]
    if scan_text(name) or scan_text(stem) or not name.isprintable():
        return ""
    return name if len(name) <= _SHOWN else name[: _SHOWN - 1] + "…"


def _mark(text: str, marks: Sequence[tuple[int, str]], start: int) -> str:
    """What a finding that begins at a character stands in."""
    if not marks:
        return f"line {text.count(chr(10), 0, start) + 1}"
    at = bisect.bisect_right(marks, start, key=lambda mark: mark[0]) - 1
    return shown_name(marks[max(at, 0)][1]) or "a place whose name is personal too"
