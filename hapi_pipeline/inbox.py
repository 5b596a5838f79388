"""The inbox: files that are dropped into folders, taken in by the same functions as `hapi import`, and never lost.

What belongs here: which files lie there, whether they have come to rest, taking one in, and where it goes then. What
does not: when that happens (automation.py), and what follows from it (arrivals.py).

Whoever may write into the inbox is not trusted. Links are never followed; a file is moved away from where others can
reach it by name before it is read; names are made harmless; nothing is ever deleted or overwritten.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hapi_pipeline.naming import digest
from hapi_pipeline.settings import Home, UserError

if TYPE_CHECKING:
    from hapi_pipeline.lake import Import, Lake
    from hapi_pipeline.registry import Registry

STAGES = (("jobs", "rubrics"), ("attempts", "audits"), ("verdicts",))
"""Kinds of arrivals in the order in which they are taken in: what follows from one stage is made before the next, for
work can only be handed in for jobs that are known, and judged once it is."""
KINDS = tuple(kind for stage in STAGES for kind in stage)
LEDGERS = {
    "jobs": "job_exports",
    "rubrics": "rubric_exports",
    "attempts": "attempts",
    "audits": "audit_exports",
    "verdicts": "verdict_exports",
}
"""The ledger that each kind goes to."""
MOST_BYTES = {"jobs": 64 << 30, "verdicts": 16 << 30, "rubrics": 1 << 30, "audits": 256 << 20}
"""The largest file of each kind; job exports and verdicts are streamed, the others are held in memory."""
MOST_AT_ONCE = 500  # arrivals of one take-in; the next ones wait for the next
MOST_SEEN = 20_000  # entries that one look goes through
MOST_TRIES = 3  # a file that was being read when its process was killed so many times is refused
EMPTY_SECONDS = 60.0  # an empty file may still be on its way for so long
DONE, REFUSED, TAKING = "done", "refused", ".taking"
README = """This is the inbox. While `hapi ui` runs, what you put here is taken in by itself within half a minute or so:

  jobs/SOURCE/     job exports, in a folder that is named like the source (registry/sources/SOURCE.yaml)
  rubrics/         rubrics, as CSV, JSON lines or xlsx
  attempts/NAME/   work of an external agent: a folder with its manifest.jsonl and the files that it names
  audits/          what curators judged: workbooks made by `hapi audit`
  verdicts/        what graders send back: workbooks, CSV, JSON lines, Label Studio exports

Write under a name that begins with a dot, or ends in .part, .tmp or .partial, and rename when the file is complete;
or just write: a file is taken once its size and time have stood still between two looks.

  done/DATE/       what was taken in, with a .txt beside it that says what came of it
  refused/         what could not be read, with a .txt beside it that says why

Nothing is deleted or overwritten here. Correct a refused file and put it back where it came from.
"""

_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".download", ".filepart")
_LONGEST_NAME = 160  # bytes; room is left for a number and .txt
_AWKWARD = re.compile(r'[/\\:*?"<>|]')
_OF_THE_MACHINE = frozenset({errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE})


@dataclass(frozen=True)
class Arrival:
    """Something that lies in the inbox."""

    kind: str  # one of KINDS, or "" for what lies where nothing belongs
    path: Path
    stamp: str  # another one means that it has changed
    source: str | None = None  # of job exports
    why_not: str = ""  # why it cannot be taken in, where a look is enough to tell
    tries: int = 0  # of taking it in, by processes that were killed
    name: str = ""  # as it came; of what has been moved away to be read

    def key(self, home: Home) -> str:
        """Its name for machines: the path below the inbox, in plain ASCII."""
        return quote(os.fsencode(os.path.relpath(self.path, home.inbox)))


@dataclass(frozen=True)
class Taken:
    """What came of one arrival."""

    arrival: Arrival
    name: str  # harmless
    said: str  # in plain words, for a person
    status: str  # "taken", "repeated" or "refused"
    imports: tuple[Import, ...] = ()
    rows: int = 0
    quarantined: int = 0


# ---- looking


def prepare(home: Home) -> None:
    """Make the inbox with its folders, and the README that says what goes where."""
    for kind in KINDS:
        (home.inbox / kind).mkdir(parents=True, exist_ok=True)
    readme = home.inbox / "README.txt"
    if not os.path.lexists(readme):
        readme.write_text(README, "utf-8")


def look(home: Home, now: float | None = None) -> list[Arrival]:
    """What lies in the inbox, in the order in which it is to be taken in. Reads names and times, no contents."""
    now = time.time() if now is None else now
    found = [*_left_over(home)]
    budget = [MOST_SEEN]
    for entry in _entries(home.inbox, budget):
        if entry.name in (*KINDS, DONE, REFUSED) or (entry.name == "README.txt" and _is_file(entry)):
            continue
        if not entry.is_dir(follow_symlinks=False):
            found.append(_arrival(entry, "", why_not=f"It lies directly in the inbox. {_WHERE}"))
    for kind in KINDS:
        folder = home.inbox / kind
        if not folder.is_symlink() and folder.is_dir():
            found += _of_kind(kind, folder, budget)
    empty = [a for a in found if a.stamp.startswith("0-") and now - _mtime(a.path) < EMPTY_SECONDS]
    order = {kind: number for number, kind in enumerate(("", *KINDS))}
    return sorted((a for a in found if a not in empty), key=lambda a: (order[a.kind], os.fsencode(a.path)))


_WHERE = (
    f"Put it into {', '.join(f'{kind}/' for kind in KINDS)} (job exports: jobs/SOURCE/); README.txt there says more."
)


def _of_kind(kind: str, folder: Path, budget: list[int]) -> Iterator[Arrival]:
    for entry in _entries(folder, budget):
        is_folder = entry.is_dir(follow_symlinks=False)
        if kind == "jobs":
            if is_folder:
                yield from _files_below(entry, "jobs", budget, source=entry.name)
            else:
                why = "Job exports go into a folder that is named like their source: jobs/SOURCE/."
                yield _arrival(entry, "jobs", why_not=why)
        elif kind == "attempts":
            why = "" if is_folder else "Attempts come as a folder: attempts/NAME/ with a manifest.jsonl in it."
            yield _folder_arrival(entry, budget) if is_folder else _arrival(entry, kind, why_not=why)
        elif is_folder:
            yield from _files_below(entry, kind, budget)
        else:
            yield _arrival(entry, kind)


def _files_below(
    folder: os.DirEntry[str], kind: str, budget: list[int], source: str | None = None, depth: int = 4
) -> Iterator[Arrival]:
    for entry in _entries(Path(folder.path), budget):
        if not entry.is_dir(follow_symlinks=False):
            yield _arrival(entry, kind, source=source)
        elif depth:
            yield from _files_below(entry, kind, budget, source, depth - 1)


def _entries(folder: Path, budget: list[int]) -> list[os.DirEntry[str]]:
    """What lies in a folder, without what is hidden or still being written."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                budget[0] -= 1
                if budget[0] < 0:
                    break
                if not entry.name.startswith((".", "~$")) and not entry.name.lower().endswith(_UNFINISHED):
                    found.append(entry)
    except OSError:  # gone, or not ours to read: the next look may find it
        return []
    return found


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)


def _arrival(entry: os.DirEntry[str], kind: str, *, source: str | None = None, why_not: str = "") -> Arrival:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return Arrival(kind, Path(entry.path), "gone", source, why_not)
    return Arrival(kind, Path(entry.path), _stamp(found), source, why_not or _unfit(found, kind))


def _unfit(found: os.stat_result, kind: str) -> str:
    """Why something cannot be taken in whatever it holds; empty when it can."""
    if stat.S_ISLNK(found.st_mode):
        return "It is a link. Put the file itself here."
    if not stat.S_ISREG(found.st_mode):
        return "It is not a regular file."
    most = MOST_BYTES.get(kind)
    if most is not None and found.st_size > most:
        return f"It has {found.st_size:,} bytes; the largest file of {kind} that is taken in has {most:,}. Split it."
    return ""


def _stamp(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"


def _folder_arrival(entry: os.DirEntry[str], budget: list[int]) -> Arrival:
    """A folder of attempts: at rest when everything in it is."""
    stamps, folders = [], [entry.path]
    while folders:
        here = folders.pop()
        try:
            with os.scandir(here) as entries:
                for inner in entries:
                    budget[0] -= 1
                    if inner.is_dir(follow_symlinks=False):
                        folders.append(inner.path)
                    stamps.append(f"{inner.name!a} {_stamp(inner.stat(follow_symlinks=False))}")
        except OSError:
            stamps.append("gone")
        if budget[0] < 0:
            why = f"It holds more than {MOST_SEEN:,} files and folders. Split it."
            return Arrival("attempts", Path(entry.path), "many", why_not=why)
    return Arrival("attempts", Path(entry.path), digest(*sorted(stamps), length=24) if stamps else "0-")


def _mtime(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return time.time()


def at_rest(home: Home, found: Iterable[Arrival], before: Mapping[str, str]) -> list[Arrival]:
    """Those that were there at the look before, and have not changed since; `before` holds stamps by key."""
    return [a for a in found if a.tries or before.get(a.key(home)) == a.stamp]


# ---- moving


def harmless(name: str) -> str:
    """A file name without anything that could deceive a person or a program, not too long, with its suffixes."""
    name = unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))
    # what is not printable are controls, directions, invisible letters: all that a name can deceive with
    name = _AWKWARD.sub("_", "".join(c if c.isprintable() else "_" for c in name)).strip().lstrip(" .-") or "file"
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    suffix = "".join(Path(name).suffixes[-2:]).rstrip()
    suffix = suffix if len(suffix.encode()) <= 20 else ""
    return name.encode()[: _LONGEST_NAME - len(suffix.encode())].decode("utf-8", "ignore").rstrip() + suffix


def claim(home: Home, arrival: Arrival) -> Arrival | None:
    """Move an arrival to where nobody else reaches it by name; None when it has changed or gone meanwhile.

    What is moved keeps a note of what it is, so that it is found again when this process is killed.
    """
    if arrival.tries:  # it has been moved already
        folder = arrival.path.parent
        _note(folder, replace(arrival, tries=arrival.tries + 1), arrival.name)
        return replace(arrival, tries=arrival.tries + 1)
    folder = home.inbox / TAKING / uuid.uuid4().hex
    folder.mkdir(parents=True)
    name = harmless(arrival.path.name)
    _note(folder, replace(arrival, tries=1), name)
    try:
        _move(arrival.path, folder / name)
        moved = _seen_again(arrival, folder / name)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, FileNotFoundError):
            return None
        raise UserError(f"{name} cannot be moved out of the inbox: {error.strerror}.") from error
    if moved.stamp != arrival.stamp:  # somebody is still writing it
        _move(folder / name, _free(arrival.path))
        shutil.rmtree(folder)
        return None
    return moved


def _seen_again(arrival: Arrival, path: Path) -> Arrival:
    """The same arrival at its new place, as it is there."""
    if arrival.kind == "attempts" and not arrival.why_not:
        with os.scandir(path.parent) as entries:
            (entry,) = [e for e in entries if e.name == path.name]
        seen = _folder_arrival(entry, [MOST_SEEN]) if entry.is_dir(follow_symlinks=False) else None
        stamp, why_not = (seen.stamp, seen.why_not) if seen else ("", "")
    else:
        found = path.lstat()
        stamp, why_not = _stamp(found), arrival.why_not or _unfit(found, arrival.kind)
        if stat.S_ISDIR(found.st_mode):
            stamp = ""
    return replace(arrival, path=path, stamp=stamp, why_not=why_not, tries=1, name=path.name)


def _note(folder: Path, arrival: Arrival, name: str) -> None:
    told = {"kind": arrival.kind, "source": arrival.source, "tries": arrival.tries, "name": name}
    staged = folder / ".note.part"
    staged.write_text(json.dumps(told | {"why_not": arrival.why_not}), "utf-8")
    staged.replace(folder / "note.json")


def _left_over(home: Home) -> Iterator[Arrival]:
    """What a process that was killed had moved away to read it."""
    for folder in sorted((home.inbox / TAKING).glob("*/note.json")):
        try:
            told = json.loads(folder.read_text("utf-8"))
            path = folder.parent / told["name"]
            found = path.lstat()
        except (OSError, ValueError, KeyError):
            continue
        why = str(told["why_not"])
        if told["tries"] >= MOST_TRIES:
            why = f"The process that read it was killed {told['tries']} times."
        yield Arrival(told["kind"], path, _stamp(found), told["source"], why, int(told["tries"]), told["name"])


def _move(path: Path, goal: Path) -> None:
    try:
        path.rename(goal)
    except OSError as error:
        if error.errno != errno.EXDEV or not path.is_file() or path.is_symlink():
            raise
        shutil.copy2(path, goal)  # the folder is another disk
        path.unlink()


def _free(path: Path) -> Path:
    """This path, or where something is there already, the same with a number."""
    stem, suffix = path.name.partition(".")[0], "".join(path.name.partition(".")[1:])
    number = 1
    while os.path.lexists(path) or os.path.lexists(path.with_name(f"{path.name}.txt")):
        number += 1
        path = path.with_name(f"{stem} ({number}){suffix}")
    return path


def put_away(home: Home, taken: Taken, now: datetime | None = None) -> Path:
    """Move what was read to done/ or refused/, with what is said of it beside it; the new path."""
    day = f"{now or datetime.now(UTC):%Y-%m-%d}"
    place = [REFUSED] if taken.status == "refused" else [DONE, day, taken.arrival.kind]
    if taken.arrival.source and taken.status != "refused":
        place.append(harmless(taken.arrival.source))
    folder = home.inbox.joinpath(*place)
    folder.mkdir(parents=True, exist_ok=True)
    goal = _free(folder / taken.name)
    goal.with_name(f"{goal.name}.txt").write_text(taken.said.rstrip("\n") + "\n", "utf-8")
    _move(taken.arrival.path, goal)
    shutil.rmtree(taken.arrival.path.parent, ignore_errors=True)
    return goal


# ---- taking in


@dataclass
class Desk:
    """Takes claimed arrivals in, by the functions that `hapi import` uses."""

    home: Home
    lake: Lake
    registry: Registry
    say: Callable[[str], None] = print
    known: set[str] = field(default_factory=set)

    def take(self, claimed: Sequence[Arrival]) -> Iterator[Taken]:
        """Take arrivals of one stage in; each is yielded as soon as its rows count.

        One that cannot be read does not keep the others back. Raises OSError when it is the machine that fails (a full
        disk, say): then the arrivals are as good as before, and are tried again.
        """
        self.known = {i.import_id for i in self.lake.imports()}
        verdicts = [a for a in claimed if a.kind == "verdicts" and not a.why_not]
        for arrival in claimed:
            if arrival.why_not:
                yield refused(arrival, arrival.why_not)
            elif arrival.kind != "verdicts":
                yield self._guarded(arrival, self._one)
        yield from self._verdicts(verdicts)

    def _guarded(self, arrival: Arrival, work: Callable[[Arrival], Taken]) -> Taken:
        try:
            return work(arrival)
        except UserError as error:
            return refused(arrival, str(error))
        except OSError as error:
            if error.errno in _OF_THE_MACHINE:
                raise
            return refused(arrival, f"It cannot be read: {error.strerror or error}.")
        except MemoryError:
            raise
        except Exception as error:  # a file that makes a reader stumble must not block those behind it
            self.say(f"{arrival.name}: {type(error).__name__}: {error}")
            return refused(arrival, f"Reading it failed in a way that we did not expect ({type(error).__name__}).")

    def _one(self, arrival: Arrival) -> Taken:
        """Take in one file, or one folder of attempts."""
        if arrival.kind == "jobs":
            from hapi_pipeline.intake.jobs import import_jobs

            source = self.registry.source(arrival.source or "")
            (done,) = import_jobs(self.lake, [arrival.path], source, self.registry.benchmark)
        elif arrival.kind == "rubrics":
            from hapi_pipeline.intake.rubrics import import_rubrics

            (done,) = import_rubrics(self.lake, [arrival.path])
        elif arrival.kind == "audits":
            from hapi_pipeline.audit.imports import import_audits

            (done,) = import_audits(self.lake, [arrival.path])
        else:
            from hapi_pipeline.intake.attempts import import_attempts

            done, _ = import_attempts(self.lake, self.home, self.registry, arrival.path)
        return self._taken(arrival, done)

    def _taken(self, arrival: Arrival, done: Import, reply: str = "") -> Taken:
        """What is said of an import that holds this file."""
        repeated = done.import_id in self.known and arrival.tries < 2
        self.known.add(done.import_id)
        if repeated:
            return Taken(
                arrival, arrival.name, f"{arrival.name} had been imported before; nothing changed.", "repeated"
            )
        file = next((f for f in done.files if f.name == arrival.path.name), done.files[0])
        said = reply or described(self.lake, arrival, done, file.sha256)
        return Taken(arrival, arrival.name, said, "taken", (done,), file.rows, file.quarantined)

    def _verdicts(self, arrivals: Sequence[Arrival]) -> Iterator[Taken]:
        """Graders' files, all in one import as far as they can be read, so that contradictions among them are seen."""
        readable = []
        for arrival in arrivals:
            turned_down = self._unreadable(arrival) if len(arrivals) > 1 else None
            if turned_down:
                yield turned_down
            else:
                readable.append(arrival)
        if not readable:
            return
        try:
            yield from self._import_verdicts(readable)
        except UserError as error:
            if len(readable) == 1:
                yield refused(readable[0], str(error))
            else:
                for arrival in readable:
                    yield self._guarded(arrival, lambda a: next(iter(self._import_verdicts([a]))))
        except OSError as error:
            if error.errno in _OF_THE_MACHINE or len(readable) > 1:
                raise
            yield refused(readable[0], f"It cannot be read: {error.strerror or error}.")

    def _unreadable(self, arrival: Arrival) -> Taken | None:
        """The refusal of a file that is no verdict file at all; None for one that is, or is too large to read twice."""
        from hapi_pipeline.grading.files import read_verdict_file
        from hapi_pipeline.intake.files import check_readable

        if arrival.path.stat().st_size > 8 << 20:
            return None

        def read(a: Arrival) -> Taken:
            check_readable(a.path)
            read_verdict_file(a.path)
            return Taken(a, a.name, "", "taken")

        found = self._guarded(arrival, read)
        return found if found.status == "refused" else None

    def _import_verdicts(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        from hapi_pipeline.intake.files import sha256_of
        from hapi_pipeline.intake.verdicts import import_verdicts, reply_path

        replies = self.home.root / "inbox_replies"
        people = {g.label_studio: g.id for g in self.registry.graders if g.label_studio}
        shas = {arrival.path: sha256_of(arrival.path) for arrival in arrivals}
        done, repeated = import_verdicts(self.lake, [a.path for a in arrivals], people=people, replies=replies)
        again = set(repeated)
        found = []
        for arrival in arrivals:
            if done is None or arrival.path in again:
                earlier = self.lake.imported("verdicts").get(shas[arrival.path])
                if arrival.tries > 1 and earlier is not None:  # the process was killed after it had been imported
                    found.append(self._taken(arrival, earlier))
                else:
                    said = f"{arrival.name} had been imported before; nothing changed."
                    found.append(Taken(arrival, arrival.name, said, "repeated"))
                continue
            file = next((f for f in done.files if f.sha256 == shas[arrival.path]), done.files[0])
            reply = reply_path(replies, arrival.path.name, file.sha256)
            said = reply.read_text("utf-8") if reply.exists() else described(self.lake, arrival, done, file.sha256)
            found.append(Taken(arrival, arrival.name, said, "taken", (done,), file.rows, file.quarantined))
        return found


def refused(arrival: Arrival, why: str) -> Taken:
    """An arrival that cannot be taken in, with the reason in plain words."""
    name = arrival.name or harmless(arrival.path.name)
    back = f"Correct it and put it back into inbox/{arrival.kind}/." if arrival.kind else ""
    shown = why.replace(str(arrival.path), name)
    return Taken(arrival, name, f"{name} was not taken in, and nothing was changed.\n\n{shown}\n{back}", "refused")


MOST_TOLD = 50  # rows in quarantine that are told one by one


def described(lake: Lake, arrival: Arrival, done: Import, sha256: str) -> str:
    """What came of an import, for whoever sent the file: counts, and the rows in quarantine with what to do."""
    from hapi_pipeline.grading.reply import inert

    unit = {"jobs": "rows", "rubrics": "criteria", "attempts": "attempts", "audits": "answers"}.get(
        arrival.kind, "rows"
    )
    lines = [f"{arrival.name}: {done.rows:,} {unit} taken in."]
    if done.cohorts:
        lines.append(f"Months: {', '.join(done.cohorts)}.")
    if done.missing_columns:
        lines.append(f"Not in this file, so empty: {', '.join(inert(c) for c in done.missing_columns)}.")
    if done.unmapped_columns:
        lines.append(
            f"Kept aside, because nothing reads it: {', '.join(inert(c) for c in done.unmapped_columns[:20])}."
        )
    rows = _in_quarantine(lake, done, sha256)
    if rows:
        lines += ["", f"{len(rows):,} row(s) could not be taken in. Correct them and put the whole file in again:", ""]
        for row in rows[:MOST_TOLD]:
            where = ", ".join(
                text for text in (row["row"] and f"row {row['row']:,}", row["column"] and inert(row["column"])) if text
            )
            value = f" (there stands: {inert(row['value'])})" if row["value"] else ""
            lines.append(f"* {where or 'the file'}{value}: {inert(row['message'], 300)}")
        if len(rows) > MOST_TOLD:
            lines.append(f"* and {len(rows) - MOST_TOLD:,} more: table quarantine.")
    return "\n".join(lines)


def _in_quarantine(lake: Lake, done: Import, sha256: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = []
    for path in lake.files("quarantine"):
        if path.stem == done.import_id:
            found += [r for r in pq.ParquetFile(path).read().to_pylist() if r["source_sha256"] == sha256]
    return sorted(found, key=lambda r: (r["row"] or 0, r["column"] or ""))
