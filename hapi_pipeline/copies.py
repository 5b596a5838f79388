"""The copy on this machine of a home that stands in an object store.

The object store is the record. On every machine a working folder, laid out like any home, holds copies of what is in
use: they are brought when something asks for them and the store has another version (told by the ETag), and a file
that this machine makes is in the store before it has its name here. So whoever reads and writes files below the
folder need not know of the store. Dagster's own databases, scratch and the inbox stay on the machine.

What belongs here: which file is a copy of which object. What does not: requests (`store.py`), who may write
(`lease.py`).
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from hapi_pipeline import locks
from hapi_pipeline.settings import MARKER, UserError

if TYPE_CHECKING:
    import sqlite3

    from hapi_pipeline.store import ObjectStore, Seen

WORK_VARIABLE = "HAPI_WORK"
MARK_OF_DEMO = "DEMO"
SENT_AT_THE_END = ("registry", "attachments", "packets", "releases", "inbox_replies", "judge", "simulator")
"""Folders whose changed files are put into the store when a command ends; whatever else is kept goes there at once."""
PARTS = "parts"
"""Where parts of large partitions stand until they are merged, for all workers of an engine to see."""
_KEPT = frozenset({"lake", "attempts", PARTS, MARK_OF_DEMO, *SENT_AT_THE_END})
_HANDED_IN = ".hapi/handed_in"
"""Where workers of an engine put what they have made of the lake; the holder of the lease gives it its name."""
_SENT = tuple(f"{part}/" for part in SENT_AT_THE_END)
_CAN_BE_MADE_AGAIN = ("packets/", "releases/", "inbox_replies/", "simulator/")
"""Where a file was changed on two machines, the one in the store counts; of other folders neither may be lost."""
_MADE_ANEW = ("packets/", "releases/")
"""Folders of which files that a command removed are removed from the store, too."""
_OF_AN_ATTEMPT = ("config.json", "steps.jsonl", "output.txt", "transcript.txt")
_UNFINISHED = (".part", ".new", ".old")
_FOREVER = float("inf")
_FRESH = {"lake": 2.0, "registry": 10.0, "attempts": 30.0}
"""Seconds for which a listing is believed while others may write; of the other folders as long as a command runs."""


_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Note:
    """That a file here is a copy: of which version, and how the file looked when it was."""

    etag: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class HandedIn:
    """A file of the lake that a worker has put into the store, and how its copy looks in the worker's folder."""

    name: str
    where: str
    stamp: tuple[int, int]


@dataclass
class _Listing:
    """The objects of one folder, and which parts of it have been brought."""

    taken: float
    objects: dict[str, Seen]
    noted: frozenset[str]  # what had copies before; of these, what is no object has been removed
    brought: set[str] = field(default_factory=set)

    def covers(self, place: str) -> bool:
        """Whether a folder or file has been brought, by itself or with a folder around it."""
        while place:
            if place in self.brought:
                return True
            place = place.rpartition("/")[0]
        return False


class WorkingCopy:
    """The working folder of one home on this machine. Names are relative to the home and use slashes."""

    def __init__(self, address: str, folder: Path):
        from hapi_pipeline.store import ObjectStore

        self.address, self.folder = address, folder
        self.store: ObjectStore = ObjectStore(address)
        self.held = False  # whether this process keeps other writers out
        self.lost: str | None = None  # why it may not write any more
        self.right_ends = _FOREVER  # when it may not, by `clock`, unless its right is renewed before
        self.margin = 0.0  # seconds that a request and its repetitions may take: none begins later
        self._handed_in: list[HandedIn] | None = None  # by this process, while it works for the holder of the lease
        self._notes = _Notes(folder / ".copies.sqlite")
        self._listed: dict[str, _Listing] = {}
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[Callable[[str, Path], WorkingCopy], tuple[str, Path]]:
        return _opened_here, (self.address, self.folder)  # in another process: that one's own

    def name_of(self, path: Path) -> str:
        """The name of the object that a file is or will be a copy of."""
        return path.relative_to(self.folder).as_posix()

    # ---- from the store

    def bring(self, place: str) -> None:
        """Make a folder, or a file, here what it is in the store; files that only this machine has are left alone."""
        unit = _unit(place)
        if f"{unit}/" in _MADE_ANEW and not self.held and self._is_worked_on():
            return  # by another process of this machine: it has brought them, and may be replacing them
        with self._lock:
            listing = self._listing(unit)
            if listing.covers(place):
                return
            one = listing.objects.get(place)
            there = {place: one} if one else {n: seen for n, seen in listing.objects.items() if _within(n, place)}
            notes = self._notes.of(there) if one or unit in _SHALLOW else self._notes.below(place)
            self._fetch([name for name, seen in there.items() if not self._is_current(name, seen, notes.get(name))])
            self._drop([name for name in listing.noted if name not in listing.objects and _within(name, place)])
            listing.brought.add(place)

    def objects(self, place: str) -> dict[str, Seen]:
        """The objects in a folder by their names, in order."""
        with self._lock:
            found = self._listing(_unit(place)).objects
            return {name: found[name] for name in sorted(found) if _within(name, place)}

    def look_again(self) -> None:
        """Forget all listings: others may have written."""
        with self._lock:
            self._listed.clear()

    def _listing(self, unit: str) -> _Listing:
        known, now = self._listed.get(unit), time.monotonic()
        limit = _FOREVER if self.held else _FRESH.get(unit.partition("/")[0], _FOREVER)
        if known is None or now - known.taken > limit:
            shallow = unit in _SHALLOW
            noted = frozenset(self._notes.names_in(unit) if shallow else self._notes.below(unit))
            known = _Listing(now, _files_only(self.store.listed(unit, deep=not shallow)), noted)
            self._listed[unit] = known
        return known

    def _is_worked_on(self) -> bool:
        """Whether a process is at work on this folder; the lock is only touched where one may hold it."""
        return any(self.folder.glob(".at_work*")) and locks.is_held(self.folder / ".lock")

    def _is_current(self, name: str, seen: Seen, note: Note | None) -> bool:
        path = self.folder / name
        try:
            stat = path.stat()
        except FileNotFoundError:
            return note is not None and note.etag == seen.etag and self._removed_here(name)
        if note == Note(seen.etag, stat.st_size, stat.st_mtime_ns):
            return True
        if stat.st_size == seen.size and _md5(path) == seen.etag:
            self._note(name, seen.etag, path)
            return True
        return name.startswith(_SENT) and self._changed_here(name, seen, note, path)

    def _removed_here(self, name: str) -> bool:
        """Whether a packet, report or release was made anew here without this file, and has still to be sent."""
        return name.startswith(_MADE_ANEW) and self.folder.joinpath(*name.split("/")[:2]).is_dir()

    def _changed_here(self, name: str, seen: Seen, note: Note | None, path: Path) -> bool:
        """Whether a file was changed in the working folder and has still to be sent. UserError: elsewhere, too."""
        if note is not None and note.etag == seen.etag:
            return True
        if note is not None and _stamp(path) == (note.size, note.mtime_ns):
            return False
        if name.startswith(_CAN_BE_MADE_AGAIN):
            return False
        raise UserError(
            f"{name} has been changed in {self.address} and, otherwise, in {path}; put your version of it elsewhere "
            "and run again: the one from the store comes here, for you to change anew."
        )

    def _fetch(self, names: list[str]) -> None:
        from hapi_pipeline.store import GoneError, each_at_once

        def fetch(name: str) -> None:
            try:
                etag = self.store.fetch(name, self.folder / name)
            except GoneError:  # removed since it was listed
                return
            self._note(name, etag, self.folder / name)

        each_at_once(fetch, names)

    def _drop(self, names: list[str]) -> None:
        notes = self._notes.of(names)
        for name in names:
            path = self.folder / name
            kept = name.startswith(_SENT) and not name.startswith(_CAN_BE_MADE_AGAIN)
            if not (kept and path.exists() and name in notes and not self._is_sent(name, path, notes[name])):
                path.unlink(missing_ok=True)
        self._notes.forget(names)

    def _note(self, name: str, etag: str, path: Path) -> None:
        self._notes.keep(name, Note(etag, *_stamp(path)))

    # ---- to the store

    def put(self, name: str, file: Path, *, new: bool = False) -> None:
        """Put a file's bytes into the store under a name; the caller then gives the file that name here.

        With `new` there must be no such object: UserError where another process was faster.
        """
        from hapi_pipeline.store import ChangedError, Seen

        self._check_right()
        stamp = _stamp(file)
        if self._handed_in is not None and _unit(name) not in _SHALLOW and name.startswith("lake/"):
            where = f"{_HANDED_IN}/{uuid.uuid4().hex}"
            self.store.put(where, file)
            self._handed_in.append(HandedIn(name, where, stamp))
            return
        try:
            etag = self.store.create(name, file.read_bytes()) if new else self.store.put(name, file)
        except ChangedError:
            raise UserError(
                f"{name} is in {self.address} already, with other content: another process was faster. Run again."
            ) from None
        self._notes.keep(name, Note(etag, *stamp))
        with self._lock:
            if listing := self._listed.get(_unit(name)):
                listing.objects[name] = Seen(etag, stamp[0], datetime.now(UTC))

    def send_changed(self, *parts: str) -> None:
        """Put what has changed in these folders into the store; in all of `SENT_AT_THE_END` where none is named."""
        from hapi_pipeline.store import each_at_once

        parts = parts or (MARK_OF_DEMO, *SENT_AT_THE_END)
        notes = {name: note for part in parts for name, note in self._notes.below(part).items()}
        notes |= self._notes.of([MARK_OF_DEMO])
        found = {name: path for part in parts for name, path in self._files(part)}
        each_at_once(
            lambda name: self._send(name, found[name], notes.get(name)),
            [name for name, path in found.items() if not self._is_sent(name, path, notes.get(name))],
        )
        if self.held:
            gone = [name for name in notes if name not in found and name.startswith(_MADE_ANEW)]
            self.remove([name for name in gone if not (self.folder / name).exists()])

    def _send(self, name: str, path: Path, note: Note | None) -> None:
        """Put a changed file into the store, unless it holds another version that this machine has not seen."""
        seen = None if self.held else self.store.head(name)  # with the lease, `begin` has looked
        if seen is None or self._changed_here(name, seen, note, path):
            self.put(name, path)

    def _is_sent(self, name: str, path: Path, note: Note | None) -> bool:
        if note is None:
            return False
        if _stamp(path) != (note.size, note.mtime_ns):
            if path.stat().st_size != note.size or _md5(path) != note.etag:
                return False
            self._note(name, note.etag, path)  # made anew, and the same
        return True

    def _files(self, part: str) -> Iterator[tuple[str, Path]]:
        """The files of a part of the home, those on their way left out."""
        top = self.folder / part
        if top.is_file():
            yield part, top
        for folder, folders, names in os.walk(top):
            ends = () if part == "attachments" else _UNFINISHED  # those have the names that clients gave them
            folders[:] = [name for name in folders if not name.endswith(ends)]
            for name in names:
                path = Path(folder, name)
                if not name.endswith(ends) and not path.is_symlink():
                    yield self.name_of(path), path

    def remove(self, names: list[str]) -> None:
        """Remove objects, and what is noted of them; the files here are the caller's matter."""
        self._check_right()
        self.store.delete(names)
        self._notes.forget(names)
        with self._lock:
            for name in names:
                if listing := self._listed.get(_unit(name)):
                    listing.objects.pop(name, None)

    def send_attempt(self, folder: Path) -> None:
        """Put a finished attempt into the store; its result last, for that is what makes it count."""
        kept = [folder / name for name in _OF_AN_ATTEMPT]
        kept += [path for part in ("deliverables", "withheld") for path in sorted((folder / part).rglob("*"))]
        for path in kept:
            if path.is_file() and not path.is_symlink():
                self.put(self.name_of(path), path)
        self.put(self.name_of(folder / "result.json"), folder / "result.json")

    def _send_unsent_attempts(self) -> None:
        """What was finished here when the store could not be reached, or the process was killed before it was sent."""
        notes = self._notes.below("attempts")
        for result in sorted((self.folder / "attempts").glob("*/*/*/result.json")):
            name = self.name_of(result)
            if name in notes:
                continue
            self.bring(self.name_of(result.parent.parent))
            if name not in self._listing(_unit(name)).objects:
                self.send_attempt(result.parent)

    # ---- with workers elsewhere

    @contextmanager
    def handing_in(self) -> Iterator[list[HandedIn]]:
        """In a worker: what is made of the lake meanwhile is put aside in the store, and listed for `take_over`."""
        self.look_again()  # others have written since this process had its last task
        self._handed_in = []
        try:
            yield self._handed_in
        finally:
            self._handed_in = None

    def take_over(self, handed_in: Iterable[HandedIn]) -> None:
        """As the holder of the lease: give what a worker made its name in the lake."""
        for one in handed_in:
            self._check_right()
            etag = self.store.copy(one.where, one.name)
            path = self.folder / one.name
            if path.exists() and _stamp(path) == one.stamp:  # the worker has the same folder
                self._notes.keep(one.name, Note(etag, *one.stamp))
            with self._lock:
                self._listed.pop(_unit(one.name), None)
            self.store.delete([one.where])

    # ---- around a command that writes

    def lose(self, why: str) -> None:
        """From now on this process may not write."""
        self.lost = (
            f"The right to write to {self.address} has ended: {why}. What was finished before is kept; run again."
        )

    def _check_right(self) -> None:
        if self.lost is None and clock() > self.right_ends - self.margin:
            self.lose("it was not renewed in time")
        if self.lost:
            raise UserError(self.lost)

    def begin(self) -> None:
        """This process now keeps other writers out: look at everything anew, and send what an earlier one left."""
        self.look_again()
        self.held = True
        for part in (MARK_OF_DEMO, "lake", *SENT_AT_THE_END):
            self.bring(part)
        self.store.delete(self.store.listed(_HANDED_IN))  # by workers of a process that was killed
        self._send_unsent_attempts()

    def end(self) -> None:
        """Send what has changed; others may write from now on. UserError where others may have written already."""
        try:
            self._check_right()
            self.send_changed()
            self._remove_gone_states()
        finally:
            self.held = False
            self.look_again()

    def _remove_gone_states(self) -> None:
        """The lake's own notes (such as lake/arrivals.json) that the command has removed."""
        there = [name for name in self.objects("lake") if not (self.folder / name).exists()]
        self.remove(there)


def clock() -> float:
    """Seconds, those for which the machine slept included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class _Notes:
    """The notes of a working folder, in a SQLite file that several processes may use. A damaged one is begun anew."""

    def __init__(self, path: Path):
        self._path, self._lock = path, threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            import sqlite3

            self._connection = sqlite3.connect(self._path, timeout=60, check_same_thread=False, isolation_level=None)
            # a lost note costs a look at the file, so nothing waits for the disk
            self._connection.executescript(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; CREATE TABLE IF NOT EXISTS "
                "notes (name TEXT PRIMARY KEY, etag TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL)"
            )
        return self._connection

    def _asked(self, ask: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        import sqlite3

        with self._lock:
            try:
                return ask(self._open())
            except sqlite3.DatabaseError as error:
                if type(error) is not sqlite3.DatabaseError:  # locked, or no room
                    raise
            self._begin_anew()
            return ask(self._open())

    def _begin_anew(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for left in ("", "-wal", "-shm"):
            self._path.with_name(f"{self._path.name}{left}").unlink(missing_ok=True)

    def _rows(self, sql: str, given: Iterable[Any]) -> dict[str, Note]:
        values = tuple(given)
        return self._asked(lambda notes: {row[0]: Note(*row[1:]) for row in notes.execute(sql, values)})

    def below(self, place: str) -> dict[str, Note]:
        """Those of a folder."""
        return self._rows("SELECT * FROM notes WHERE name > ? AND name < ?", (f"{place}/", f"{place}0"))

    def names_in(self, place: str) -> list[str]:
        """The names of those that stand in a folder directly."""
        start = f"{place}/" if place else ""
        return list(
            self._rows(
                "SELECT * FROM notes WHERE name GLOB ? AND instr(substr(name, ?), '/') = 0",
                (f"{start}*", len(start) + 1),
            )
        )

    def of(self, names: Iterable[str]) -> dict[str, Note]:
        """Those of some files."""
        return {
            name: note
            for one in names
            for name, note in self._rows("SELECT * FROM notes WHERE name = ?", [one]).items()
        }

    def keep(self, name: str, note: Note) -> None:
        """Write one down."""
        values = (name, note.etag, note.size, note.mtime_ns)
        self._asked(lambda notes: notes.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?)", values))

    def forget(self, names: Iterable[str]) -> None:
        """Remove some."""
        listed = [(name,) for name in names]
        self._asked(lambda notes: notes.executemany("DELETE FROM notes WHERE name = ?", listed))


_SHALLOW = frozenset({"", "lake"})
"""Folders of which only the files that stand in them directly are one unit."""


def _unit(place: str) -> str:
    """The folder that is listed together: a table, a model's round, or one of the smaller folders as a whole."""
    steps = place.split("/")
    if steps[0] == "lake" and len(steps) > 1 and not steps[1].endswith(".json"):
        return "/".join(steps[:2])
    if steps[0] in ("attempts", PARTS):
        return "/".join(steps[:3])
    return "" if place == MARK_OF_DEMO else steps[0]


def _files_only(listed: Mapping[str, Seen]) -> dict[str, Seen]:
    """Without the empty objects that some tools make for folders, and names that lead out of the home."""
    folders = {str(parent) for name in listed for parent in PurePosixPath(name).parents}
    return {n: seen for n, seen in listed.items() if n not in folders and not {"", ".", ".."} & set(n.split("/"))}


def _within(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}/")


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _md5(path: Path) -> str:
    """What the ETag of an object is that was sent in one piece to a store that does not encrypt it with a key."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


# ---- the working folders that this process has open

_open: dict[str, WorkingCopy] = {}


def open_copy(address: str, folder: Path | None = None) -> WorkingCopy:
    """The working folder of a home in an object store, made where it is not there yet. UserError: no usable address."""
    from hapi_pipeline.naming import digest
    from hapi_pipeline.store import checked

    address = checked(address)
    folder = folder or _work() / digest(address, length=24)
    if str(folder) not in _open:
        copy = WorkingCopy(address, folder)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # it holds what is not published
        if not (folder / MARKER).exists():
            staged = folder / f"{MARKER}.{os.getpid()}.part"
            staged.write_text(address, "utf-8")
            staged.replace(folder / MARKER)
        _open[str(folder)] = copy
    return _open[str(folder)]


def _opened_here(address: str, folder: Path) -> WorkingCopy:
    """The working folder of another process; on another machine, the one that this machine has."""
    return open_copy(address, folder if (folder / MARKER).exists() else None)


def _work() -> Path:
    named = os.environ.get(WORK_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hapi"
    return (Path(named).expanduser() if named else cache).resolve()


def copy_of(path: Path) -> WorkingCopy | None:
    """The working folder that a path lies in, if it is of a part of the home that the object store has."""
    if not _open:
        return None
    text = str(path)
    for root, copy in _open.items():
        if text == root or text.startswith(f"{root}{os.sep}"):
            first = text[len(root) + 1 :].partition(os.sep)[0]
            return copy if not first or first in _KEPT else None
    return None


def brought(path: Path) -> Path:
    """A file or folder of a home, after it has been brought where the home stands in an object store."""
    if copy := copy_of(path):
        copy.bring(copy.name_of(path))
    return path
