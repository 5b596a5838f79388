"""Documents from outside, read for an agent and opened for a check, by a process that can be ended at any time."""

from __future__ import annotations

import atexit
import base64
import hashlib
import io
import json
import os
import selectors
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hapi_pipeline.agents.documents import kinds
from hapi_pipeline.agents.documents.model import Opening, Picture, Reading, UnreadableError, Want

__all__ = ["Opening", "Picture", "Reading", "UnreadableError", "Want", "document_text", "inspect", "read"]
__all__ += ["every_text", "pdf_text", "stripped_pdf"]

SECONDS = 20.0
"""The processor time that one file may take; three times as much by the clock, because machines are busy."""
_MOST_PROCESSES = 2
_MOST_ANSWER = 64 << 20  # bytes
_REMEMBERED = 4_096  # files whose check is remembered by their content
_SHORT = 256 << 10  # bytes
_PLAIN = frozenset({"text", "csv", "tsv", "json", "jsonl"})
_READ_ONLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
_EXHAUSTED = "it takes more time or memory than one file may, or it is damaged"


def read(path: Path, want: Want = Want(), name: str | None = None) -> Reading:  # noqa: B008  (frozen)
    """What the document at `path` is and the part of it that is wanted; it may be of any kind, and hostile.

    `name` is what the file is called where that is not its path's last part. Raises UnreadableError with a sentence for
    what cannot be read, OSError when the file itself cannot.
    """
    told = _asked({"do": "read", "name": name or path.name, "want": asdict(want)}, path)
    pictures = [Picture(**{**p, "data": base64.b64decode(p["data"])}) for p in told["pictures"]]
    return Reading(told["about"], told["text"], tuple(pictures))


_checked: OrderedDict[tuple[str, str], Opening] = OrderedDict()


def inspect(path: Path, name: str | None = None, sha256: str | None = None, until: float | None = None) -> Opening:
    """What the file at `path` is by its content, and whether it opens as what its name says it is. Raises OSError.

    After the moment `until` (of time.monotonic) nothing is opened any more, so that many slow files cannot take for
    ever.
    """
    name = name or path.name
    if sha256 is None:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    key = (sha256, name.rpartition("/")[2])
    known = _checked.get(key)
    if known is not None:
        return known
    if until is not None and time.monotonic() > until:
        return Opening(kinds.media_type_by_name(name), None, "not checked: the files before it took too long")
    found = _small_text(path, name)
    if found is None:
        try:
            told = _asked({"do": "inspect", "name": name}, path)
        except UnreadableError as error:
            return Opening(kinds.media_type_by_name(name), False, str(error))
        found = Opening(told["media_type"], told["opens"], told["about"], told["harmful"])
    _checked[key] = found
    while len(_checked) > _REMEMBERED:
        _checked.popitem(last=False)
    return found


def _small_text(path: Path, name: str) -> Opening | None:
    """The check of a short text, made here; None for any other file.

    Nothing but Python's own decoders, which take a time in proportion to the length, ever sees it: no parser of markup,
    no archive, no library. To ask the other process costs ten times as much.
    """
    if kinds.claimed(name) not in _PLAIN:
        return None
    with os.fdopen(os.open(path, _READ_ONLY), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode) or state.st_size > _SHORT:
            return None
        from hapi_pipeline.agents.documents import readers

        document = readers.document_of(io.BytesIO(file.read(_SHORT)), name)
    return readers.inspect(document) if document.kind in _PLAIN else None


def stripped_pdf(data: bytes) -> tuple[bytes, list[str]]:
    """A PDF without what it says of its maker, and why some of that stays. Raises UnreadableError with the reason."""
    told = _asked_of({"do": "strip_pdf", "name": "file.pdf"}, data)
    return base64.b64decode(told["data"]), [str(reason) for reason in told["left"]]


def pdf_text(data: bytes) -> str:
    """The text of a PDF's first pages. Raises UnreadableError."""
    told = _asked_of({"do": "read", "name": "file.pdf", "want": asdict(Want())}, data)
    return str(told["text"])


def _asked_of(request: dict[str, Any], data: bytes) -> dict[str, Any]:
    """The answer about bytes that are in no file of their own."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        file.seek(0)
        told = _answered(request, file.fileno())
    if told is None:
        raise UnreadableError(_EXHAUSTED)
    if "unreadable" in told:
        raise UnreadableError(told["unreadable"])
    return told


def every_text(path: Path, name: str | None = None) -> list[tuple[tuple[str, ...], str, list[tuple[int, str]]]]:
    """Every text that a file holds, with where it stands and what begins at which character of it.

    Unlike `read` it leaves nothing out. Raises UnreadableError for a file of which some cannot be read, and OSError.
    """
    told = _asked({"do": "passages", "name": name or path.name}, path)
    return [(tuple(place), text, [(at, what) for at, what in marks]) for place, text, marks in told["passages"]]


def document_text(path: Path) -> str:
    """The text of a document, without what is said about it. Raises UnreadableError and OSError."""
    return read(path).text


class _Process:
    """One process that opens files, for one request at a time."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[3])
        # no keys: what is read here could have been written to find them
        kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        self.made_by = os.getpid()
        self.socket, theirs = socket.socketpair()
        self.child = subprocess.Popen(
            [sys.executable, "-P", "-m", "hapi_pipeline.agents.documents.worker"],
            stdin=theirs.fileno(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=kept | {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))},
        )  # fmt: skip
        theirs.close()

    def ask(self, request: Mapping[str, Any], file: int) -> dict[str, Any] | None:
        """The answer about an open file; None when the process ended or had to be ended instead of answering."""
        assert self.child.stdout is not None  # noqa: S101  (we asked for a pipe)
        try:
            socket.send_fds(self.socket, [b"F"], [file])
            self.socket.sendall(json.dumps(request).encode("ascii") + b"\n")
        except OSError:
            return None
        line = bytearray()
        deadline = time.monotonic() + 3 * request["seconds"]
        with selectors.DefaultSelector() as selector:
            selector.register(self.child.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n") and len(line) < _MOST_ANSWER:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                piece = os.read(self.child.stdout.fileno(), 1 << 16)
                if not piece:
                    return None
                line += piece
        try:
            told: dict[str, Any] = json.loads(line)
        except ValueError:
            return None
        return told

    def end(self) -> None:
        """End the process, whatever it is doing."""
        if self.made_by != os.getpid():  # a fork holds copies of our pipes, but it is not its child
            return
        self.child.kill()
        self.socket.close()
        if self.child.stdout is not None:
            self.child.stdout.close()
        self.child.wait()


class _Processes:
    """The processes that wait for work; at most so many are at work at a time."""

    def __init__(self) -> None:
        self.made_by = os.getpid()
        self.turn = threading.BoundedSemaphore(_MOST_PROCESSES)
        self.idle: list[_Process] = []
        atexit.register(self.end)

    def ask(self, request: Mapping[str, Any], file: int) -> dict[str, Any] | None:
        with self.turn:
            process = self._waiting() or _Process()
            told = None
            try:
                told = process.ask(request, file)
            finally:
                if told is None or told.get("last", True):
                    process.end()
                else:
                    self.idle.append(process)
            return None if told is None or told.get("exhausted") else told

    def _waiting(self) -> _Process | None:
        """A process that waits for work; those that have ended meanwhile are passed over."""
        while self.idle:
            try:
                process = self.idle.pop()
            except IndexError:  # another thread was faster
                return None
            if process.child.poll() is None:
                return process
            process.end()
        return None

    def end(self) -> None:
        while self.idle:
            self.idle.pop().end()


_processes: dict[int, _Processes] = {}
_guard = threading.Lock()


def _asked(request: dict[str, Any], path: Path) -> dict[str, Any]:
    # a file that has vanished is a fault of this machine, not of the document
    file = os.open(path, _READ_ONLY)
    try:
        told = _answered(request, file)
    finally:
        os.close(file)
    if told is None:
        raise UnreadableError(_EXHAUSTED)
    if "unreadable" in told:
        raise UnreadableError(told["unreadable"])
    return told


def _answered(request: dict[str, Any], file: int) -> dict[str, Any] | None:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        return {"unreadable": "it is no regular file"}
    with _guard:
        processes = _processes.get(os.getpid())  # by process: a fork must not share the pipes
        if processes is None:
            processes = _processes[os.getpid()] = _Processes()
    told = processes.ask({**request, "seconds": SECONDS}, file)
    if told is None and kinds.claimed(request["name"]) == "xlsx":
        # a few cells far apart fill the memory of the fast reader; the other one reads row by row
        told = processes.ask({**request, "careful": True, "seconds": SECONDS}, file)
    return told
