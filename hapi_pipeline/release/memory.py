"""What the search for personal data has found before: so that a file is read once, not for every release and report.

It is kept in the home's `.cache`, from which nothing leaves, by a file's SHA-256 and name and the version of the
search. It holds kinds and places, never a value. To delete it costs time only.
"""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from hapi_pipeline import __version__
from hapi_pipeline.naming import digest
from hapi_pipeline.release.gate import File, Found, Looked
from hapi_pipeline.settings import Home

_READERS = ("phonenumbers", "python-stdnum", "google-re2", "pikepdf", "pypdfium2", "lxml", "striprtf")
"""Libraries by which texts are read and searched: another version may find something else."""
_WAIT = 30.0  # seconds, while another process writes
_TABLE = "CREATE TABLE IF NOT EXISTS searched (key TEXT PRIMARY KEY, version TEXT NOT NULL, told TEXT NOT NULL)"
_TOGETHER = 500  # files that are written down at a time


class Memory:
    """What came of looking at files. Used as a context; safe for threads to ask, and for several processes."""

    def __init__(self, home: Home):
        self.path = home.root / ".cache" / "searched.sqlite"
        self._version = search_version()
        self._new: dict[str, str] = {}
        self._known: dict[str, str] = {}

    def __enter__(self) -> Memory:
        self._known = self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()

    def of(self, file: File) -> Looked | None:
        """What came of looking at this content under this name; None where nobody has."""
        told = self._known.get(_key(file))
        if told is None:
            return None
        entry = json.loads(told)
        found = tuple(Found(file.where, place, kind, decision, file.sha256) for place, kind, decision in entry["found"])
        return Looked(file, found, entry["unread"])

    def keep(self, looked: Looked) -> None:
        """Remember what came of it."""
        found = [(f.place, f.type, f.decision) for f in looked.found]
        self._put(_key(looked.file), {"found": found, "unread": looked.unread})

    def answer(self, state: str) -> Mapping[str, Any] | None:
        """What a whole search of this state has come to; None where it is not the newest one."""
        told = self._known.get("answer")
        entry = json.loads(told) if told else {}
        return entry["answer"] if entry.get("state") == state else None

    def keep_answer(self, state: str, answer: Mapping[str, Any]) -> None:
        """Remember a whole search in place of the one before."""
        self._put("answer", {"state": state, "answer": answer})

    def _put(self, key: str, entry: Mapping[str, Any]) -> None:
        self._known[key] = self._new[key] = json.dumps(entry)
        if len(self._new) >= _TOGETHER:
            self._write()

    def _read(self) -> dict[str, str]:
        if not self.path.exists():
            return {}
        try:
            with _opened(self.path) as database:
                return dict(database.execute("SELECT key, told FROM searched WHERE version = ?", [self._version]))
        except sqlite3.DatabaseError:  # damaged, or of another shape: everything is searched anew
            with suppress(OSError):
                self.path.unlink()
            return {}

    def _write(self) -> None:
        """Write down what is new; what cannot be written is searched again another time."""
        if not self._new:
            return
        with suppress(sqlite3.Error, OSError):
            self.path.parent.mkdir(exist_ok=True)
            with _opened(self.path) as database:
                database.execute(_TABLE)
                database.execute("DELETE FROM searched WHERE version <> ?", [self._version])
                rows = ((key, self._version, told) for key, told in self._new.items())
                database.executemany("INSERT OR REPLACE INTO searched VALUES (?, ?, ?)", rows)
        self._new = {}


class _opened:  # noqa: N801  (reads as a function)
    """A connection whose changes stand once it is left without an error, and which is closed then."""

    def __init__(self, path: Path):
        self._connection = sqlite3.connect(path, timeout=_WAIT)

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._connection.commit()
        finally:
            self._connection.close()


def _key(file: File) -> str:
    """What a file is known by: its name decides, too, how it is read."""
    return digest(file.sha256, file.name)


@functools.cache
def search_version() -> str:
    """Changes whenever the same file could give other findings."""
    package = Path(__file__).parents[1]
    code = code_of(package / "curation" / "pii", package / "agents" / "documents", package / "release" / "gate.py")
    return digest(__version__, code, *map(_installed, _READERS))


def code_of(*places: Path) -> str:
    """A fingerprint of files, and of all files below folders, but for what Python compiles."""
    sums = []
    for place in places:
        below = sorted(p for p in place.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        for path in below if place.is_dir() else [place]:
            sums += [path.relative_to(place.parent).as_posix().encode(), path.read_bytes()]
    return digest(*sums)


def _installed(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name
