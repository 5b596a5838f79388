"""The process that opens files from outside: no keys in its environment, bounded memory and time, nothing to reach.

It is handed each file already open, so it needs no path and, where the kernel has Landlock, can open none but those of
Python and its libraries. It answers one request a line on its standard output, and ends when its standard input does.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MEMORY = 1536 << 20  # bytes of address space, libraries included
_RESTING = 300 << 20  # bytes of memory; a process that has grown beyond is replaced
_REQUESTS = 1_000  # then it is replaced too, so that what a library leaks is given back
_LONGEST_REQUEST = 1 << 20  # bytes


def bound() -> bool:
    """Limits that hold for every library in here, native ones too; whether files and network are out of reach."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        from hapi_pipeline.agents.sandbox import confine

        if not confine.landlock_abi() or not confine.seccomp_supported():
            return False
        package = str(Path(__file__).resolve().parents[2])
        confine.restrict_files(
            [package, sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64"], [], ["/dev/null", "/dev/urandom"]
        )
        confine.restrict_calls(signals=False)
    except (ImportError, OSError):
        return False  # the limits above hold all the same
    return True


def _bound_time(seconds: float) -> None:
    """Processor time for one request: it ends this process even where nobody is left to do so."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def answer(request: dict[str, Any], handle: int) -> dict[str, Any]:
    """Carry out one request on an open file; what cannot be read is an answer too."""
    from hapi_pipeline.agents.documents import readers
    from hapi_pipeline.agents.documents.model import UnreadableError, Want

    careful = bool(request.get("careful"))
    try:
        with os.fdopen(handle, "rb") as file:
            if request["do"] == "strip_pdf":
                return _stripped(file.read())
            document = readers.document_of(file, request["name"])
            if request["do"] == "passages":
                return _passages(document)
            if request["do"] == "inspect":
                found = readers.inspect(document, careful)
                return vars(found)
            reading = readers.read(document, Want(**{**request["want"], "careful": careful}))
    except UnreadableError as error:
        return {"unreadable": str(error)}
    pictures = [
        {**vars(p), "data": base64.b64encode(p.data).decode("ascii")}
        for p in reading.pictures
    ]  # fmt: skip
    return {"about": reading.about, "text": reading.text, "pictures": pictures}


def _passages(document: Any) -> dict[str, Any]:
    from hapi_pipeline.agents.documents.passages import passages

    return {"passages": [[p.place, p.text, p.marks] for p in passages(document)]}


def _stripped(data: bytes) -> dict[str, Any]:
    from hapi_pipeline.grading.strip.base import CannotStrip
    from hapi_pipeline.grading.strip.pdf import without_properties

    try:
        stripped, left = without_properties(data)
    except CannotStrip as reason:
        return {"unreadable": str(reason)}
    return {"data": base64.b64encode(stripped).decode("ascii"), "left": left}


def _requests(asked: socket.socket) -> Iterator[tuple[dict[str, Any], int]]:
    """Each request with its open file, until nobody is there to ask."""
    while True:
        mark, handles, _, _ = socket.recv_fds(asked, 1, 1)
        if not mark or not handles:
            return
        line = bytearray()
        while not line.endswith(b"\n"):
            piece = asked.recv(_LONGEST_REQUEST)
            if not piece:
                return
            line += piece
        yield json.loads(line), handles[0]


def main() -> None:
    """Answer until there is nothing more to answer, or until this process should be replaced."""
    asked = socket.socket(fileno=os.dup(0))
    memory = os.open("/proc/self/statm", os.O_RDONLY)  # now, for no file can be opened later
    bound()
    out = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not spoil the answers
    for number, (request, handle) in enumerate(_requests(asked), start=1):
        _bound_time(request["seconds"])
        try:
            told = answer(request, handle)
        except MemoryError:
            told = {"exhausted": True}
        # not ru_maxrss: that begins with what the parent had when it started this process
        grown = int(os.pread(memory, 100, 0).split()[1]) * resource.getpagesize() > _RESTING
        told["last"] = bool(told.get("exhausted")) or grown or number >= _REQUESTS
        with os.fdopen(os.dup(out), "wb") as stream:
            stream.write(json.dumps(told).encode("ascii", "replace") + b"\n")
        if told["last"]:
            return


if __name__ == "__main__":
    main()
