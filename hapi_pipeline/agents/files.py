"""Where the files of attempts are worked on: in threads of this process, or in a process of their own.

A client of litellm keeps the interpreter busy all the time, and every thread that touches a file has to win the
interpreter back after each system call. So the files of a large run are kept by a second process (`FilesProcess`),
which is told what to do in lines of JSON. It has none of our environment: no key is there to be found.
"""

from __future__ import annotations

import asyncio
import atexit
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hapi_pipeline.agents.desk import Desk
from hapi_pipeline.agents.ledger import send
from hapi_pipeline.copies import copy_of

THREADS = 32  # they wait for the disk, which answers many of them at once
TOOL_THREADS = 64  # tools may take minutes: a slow document must not hold up the files of other attempts
WORTH_A_PROCESS = 24
"""From so many attempts on, a run keeps their files in a process of its own; to start it takes a fifth of a second."""
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
_LOOK_AT_PARENT = 5.0  # seconds
_ENDED = "The process that keeps the files of attempts has ended"


class Threads:
    """Desks in this process."""

    def __init__(self) -> None:
        self._files = ThreadPoolExecutor(THREADS, thread_name_prefix="attempt-files")

    def desk(self, folder: Path, vision: bool, sandbox: str | None) -> DeskHere:
        """The desk of one attempt."""
        return DeskHere(Desk(folder, vision, sandbox), self._files)

    def end(self) -> None:
        """Let the threads end when they have nothing more to do."""
        self._files.shutdown(wait=False)


class DeskHere:
    """A desk whose work is done by threads of this process."""

    def __init__(self, desk: Desk, executor: Executor):
        self.workspace = desk.workspace
        self._desk, self._executor = desk, executor

    async def do(self, what: str, *given: Any) -> Any:
        """Carry out a method of `Desk`, by its name."""
        executor = None if what == "act" else self._executor  # None: the loop's own threads
        done = await asyncio.get_running_loop().run_in_executor(executor, self._desk.do, what, *given)
        await _sent(what, self._desk.folder)
        return done


class FilesProcess:
    """Desks in a process of their own. Made anywhere, used in one event loop only."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._made_by = os.getpid()
        self._socket, theirs = socket.socketpair()
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "hapi_pipeline.agents.files"],
            stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=kept | {"PYTHONPATH": path},
        )  # fmt: skip
        theirs.close()
        self._line: _Line | None = None
        self._connecting: asyncio.Task[_Line] | None = None
        self._desks = 0
        atexit.register(self.end)

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return self._child.poll() is None and (self._line is None or not self._line.lost)

    async def connect(self) -> None:
        """Take hold of it in the running event loop, once."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
        self._line = await self._connecting

    async def _connect(self) -> _Line:
        loop = asyncio.get_running_loop()
        self._socket.setblocking(False)
        _, line = await loop.create_unix_connection(_Line, sock=self._socket)
        return line

    def desk(self, folder: Path, vision: bool, sandbox: str | None) -> DeskThere:
        """The desk of one attempt."""
        assert self._line is not None  # noqa: S101  (connect comes first)
        self._desks += 1
        return DeskThere(self._line, self._desks, [str(folder), vision, sandbox])

    def end(self) -> None:
        """End the process; attempts stay as they are."""
        if self._made_by != os.getpid():  # a fork holds copies, but it is not its child
            return
        self._child.kill()
        self._child.wait()


class DeskThere:
    """A desk whose work is done by the other process."""

    def __init__(self, line: _Line, number: int, made_from: list[Any]):
        self._line, self._number, self._made_from = line, number, made_from

    async def do(self, what: str, *given: Any) -> Any:
        """Carry out a method of `Desk`, by its name. Raises OSError, also when the process has ended."""
        if what == "open":
            given = (*self._made_from, *given)
        done = await self._line.ask(self._number, what, given)
        await _sent(what, Path(self._made_from[0]))
        return done


async def _sent(what: str, folder: Path) -> None:
    """Put an attempt that has just been finished into the object store; here, for only this process has the keys."""
    if what == "finish" and copy_of(folder):
        await asyncio.to_thread(send, folder)


class _Line(asyncio.Protocol):
    """Questions out, answers in; each is a line: a number, a word, and JSON."""

    def __init__(self) -> None:
        self.lost = False
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._asked = 0
        self._pieces: list[bytes] = []
        self._outgoing: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport

    def ask(self, desk: int, what: str, given: Any) -> asyncio.Future[Any]:
        """The answer to a question, in time."""
        if self.lost or self._transport is None:
            raise OSError(errno.EPIPE, _ENDED)
        self._asked += 1
        waiting = self._waiting[self._asked] = asyncio.get_running_loop().create_future()
        if not self._outgoing:  # those of one turn of the loop go out together
            asyncio.get_running_loop().call_soon(self._send)
        self._outgoing.append(f"{self._asked} {desk} {what} {json.dumps(given)}\n")
        return waiting

    def _send(self) -> None:
        together, self._outgoing = "".join(self._outgoing), []
        if self._transport is not None and not self.lost:
            self._transport.write(together.encode("ascii"))

    def data_received(self, data: bytes) -> None:
        if b"\n" not in data:
            self._pieces.append(data)
            return
        *lines, rest = b"".join([*self._pieces, data]).split(b"\n")
        self._pieces = [rest] if rest else []
        for line in lines:
            number, word, told = line.split(b" ", 2)
            waiting = self._waiting.pop(int(number))
            if not waiting.done():  # else nobody waits any more
                _answer(waiting, word, told)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(OSError(errno.EPIPE, _ENDED))
        self._waiting.clear()


def _answer(waiting: asyncio.Future[Any], word: bytes, told: bytes) -> None:
    if word == b"done":
        waiting.set_result(json.loads(told))
        return
    kind, number, message = json.loads(told)
    if kind == "OSError":
        waiting.set_exception(OSError(number, message))  # which of its kinds it is follows from the number
    else:
        waiting.set_exception(RuntimeError(message))


_processes: dict[int, FilesProcess] = {}
_guard = threading.Lock()


def files_process() -> FilesProcess:
    """The process that keeps the files of this one's attempts: started now, or still there from an earlier run."""
    with _guard:
        found = _processes.get(os.getpid())  # by process: a fork must not share the line
        if found is None or not found.alive:
            if found is not None:
                found.end()
            found = _processes[os.getpid()] = FilesProcess()
        return found


# ---- in the other process


class _Clerk:
    """Carries out what it is told, and answers."""

    def __init__(self, line: socket.socket):
        self._line = line
        self._desks: dict[int, Desk] = {}
        self._files = ThreadPoolExecutor(THREADS)
        self._tools = ThreadPoolExecutor(TOOL_THREADS)
        self._answering = threading.Lock()

    def take(self, line: bytes) -> None:
        """Have a question answered by a thread."""
        number, desk, what, given = line.split(b" ", 3)
        threads = self._tools if what == b"act" else self._files
        threads.submit(self._answer, number, int(desk), what.decode("ascii"), given)

    def _answer(self, number: bytes, desk: int, what: str, given: bytes) -> None:
        try:
            word, told = b"done", json.dumps(self._done(desk, what, json.loads(given)))
        except OSError as error:
            word, told = b"failed", json.dumps(["OSError", error.errno or errno.EIO, error.strerror or str(error)])
        except Exception as error:  # whatever it is, the run must learn of it
            word, told = b"failed", json.dumps(["Exception", 0, f"{type(error).__name__}: {error}"])
        with self._answering:
            self._line.sendall(b"%b %b %b\n" % (number, word, told.encode("ascii")))

    def _done(self, number: int, what: str, given: list[Any]) -> Any:
        if what == "open":
            folder, vision, sandbox, *given = given
            self._desks[number] = Desk(Path(folder), vision, sandbox)
        try:
            return self._desks[number].do(what, *given)
        finally:
            if what == "close":
                del self._desks[number]


def main() -> None:
    """Carry out what comes in, until the process that started this one ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other process, which lets attempts end first
    line = socket.socket(fileno=os.dup(0))
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    _read(line, _Clerk(line).take)
    os._exit(0)  # as if killed: all that must not be lost is on the disk


def _end_with(parent: int) -> None:
    """End with the process that started this one, even where a fork of it still holds the other end of the line."""
    while os.getppid() == parent:
        time.sleep(_LOOK_AT_PARENT)
    os._exit(0)


def _read(line: socket.socket, take: Callable[[bytes], None]) -> None:
    """Take each whole line, until there are no more."""
    pieces: list[bytes] = []
    while data := line.recv(1 << 18):
        if b"\n" not in data:
            pieces.append(data)
            continue
        *whole, rest = b"".join([*pieces, data]).split(b"\n")
        pieces = [rest] if rest else []
        for question in whole:
            take(question)


if __name__ == "__main__":
    main()
