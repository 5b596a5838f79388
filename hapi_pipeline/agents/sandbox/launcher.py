"""The process between us and untrusted code: it prepares the workspace, confines the code, watches and ends it.

Run as `python -I -S launcher.py`, with an empty environment, in the namespaces of bubblewrap or a container, or (at
the level landlock) outside of them. It reads one request from standard input, and the end of that input is the end
of whoever asked: then everything is killed. Standard library only.

In: a line with the JSON request, then `tar_bytes` of a tar with the workspace's files.
Out: a line `{"child": pid}`; a line with the JSON result; a tar with the regular files of the workspace.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import signal
import stat
import sys
import tarfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, str(Path(__file__).parent))
import confine  # type: ignore[import-not-found]  # a neighbour: run as a script, there is no package here

_TICK = 0.02  # seconds between two looks at what the code uses
_HEAD, _TAIL = 12 * 1024, 4 * 1024  # bytes of the output that are kept
_EXEC_FAILED = 127
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/random")
_LINKED = ("attachments", "previous")  # shown in the workspace, kept outside of it, read-only


class _Output:
    """The head and the tail of what the code prints."""

    def __init__(self) -> None:
        self.total = 0
        self.head = bytearray()
        self.tail: deque[int] = deque(maxlen=_TAIL)

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = _HEAD - len(self.head)
        self.head += data[:room]
        self.tail.extend(data[room:][-_TAIL:])

    def text(self) -> bytes:
        left = self.total - len(self.head) - len(self.tail)
        gap = f"\n[... {left} bytes left out ...]\n".encode() if left else b""
        return bytes(self.head) + gap + bytes(self.tail)


def main() -> None:
    """Do what the request on standard input says."""
    confine.hide_memory()
    confine.adopt_orphans()
    request = json.loads(_line())
    workspace = Path(request["workspace"])
    _prepare(workspace, _Incoming(request["tar_bytes"]), request["inputs"])
    if request["become"] is not None:
        _hand_over(workspace, request["become"])
        confine.become_user(request["become"], request["read_all"])
    began = time.monotonic()
    child, output = _start(request, workspace)
    _say({"child": child})
    watched = _Watched(request, workspace, child)
    printed = _Output()
    try:
        why = _watch(watched, output, printed, began)
    finally:
        watched.kill()
    status = watched.reaped
    _drain(output, printed)
    code = os.waitstatus_to_exitcode(status) if status is not None else -signal.SIGKILL
    result = {
        "exit_code": code,
        "why": why or ("not_started" if code == _EXEC_FAILED and printed.head.startswith(b"sandbox: ") else ""),
        "seconds": round(time.monotonic() - began, 3),
        "output": base64.b64encode(printed.text()).decode("ascii"),
        "peak_processes": watched.peak,
    }
    if why == "abandoned":
        os._exit(1)
    _say(result)
    _pack(workspace, request["limits"]["workspace_bytes"], request["limits"]["files"])


def _line() -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):  # unbuffered: what follows belongs to the tar, and then to select()
        piece = os.read(0, 1)
        if not piece:
            os._exit(1)
        line += piece
    return bytes(line)


class _Incoming:
    """The next so many bytes of standard input, as a file to read."""

    def __init__(self, size: int):
        self.left = size

    def read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size and self.left:
            piece = os.read(0, min(1 << 20, size - len(data), self.left))
            if not piece:
                os._exit(1)
            self.left -= len(piece)
            data += piece
        return bytes(data)


def _say(record: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(record).encode("ascii") + b"\n")
    sys.stdout.buffer.flush()


def _prepare(workspace: Path, data: _Incoming, inputs: dict[str, str]) -> None:
    with tarfile.open(fileobj=data, mode="r|") as archive:  # type: ignore[call-overload]
        # made by us, of files that we checked; Python before 3.11.4 has no filters
        archive.extractall(workspace, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # noqa: S202
    while data.left:
        data.read(1 << 20)
    for folder in ("deliverables", "scratch", ".tmp"):
        (workspace / folder).mkdir(exist_ok=True)
    for name, path in inputs.items():
        (workspace / name).symlink_to(path)


def _hand_over(workspace: Path, uid: int) -> None:
    os.chown(workspace, uid, uid)
    for entry in _entries(workspace):
        os.chown(entry.path, uid, uid, follow_symlinks=False)


def _start(request: dict[str, Any], workspace: Path) -> tuple[int, int]:
    """(process id, the reading end of what it prints)"""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _become(request, workspace, writing)
        except BaseException as error:  # whatever goes wrong, the launcher's code must not go on in here
            os.write(2, f"sandbox: {type(error).__name__}: {error}\n".encode())
        os._exit(126)
    with contextlib.suppress(OSError):
        os.setpgid(child, child)
    os.close(writing)
    os.set_blocking(reading, False)
    return child, reading


def _become(request: dict[str, Any], workspace: Path, output: int) -> None:
    """Turn this process into the untrusted program."""
    os.setpgid(0, 0)
    confine.die_with_parent()
    for target in (1, 2):
        os.dup2(output, target)
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.closerange(3, 1 << 16)
    os.chdir(workspace)
    os.umask(0o022)
    with contextlib.suppress(OSError):
        os.nice(5)  # so that the watching process comes first
    if not request["read_all"]:
        confine.drop_capabilities()
    limits = request["rlimits"]
    if request["beside_others"]:  # the user has other processes, too: ours, and those of other containers
        limits["NPROC"] += confine.tasks_of_user() - 2  # the launcher and this one are counted already
    confine.restrict_resources(limits)
    if confine.landlock_abi() >= confine.MIN_ABI:
        confine.restrict_files(request["reads"], [str(workspace), *request["writes"]], _DEVICES)
    elif request["need_landlock"]:
        raise OSError("Landlock is not there")
    if confine.seccomp_supported():
        # in a pid namespace there is nobody outside to send a signal to
        confine.restrict_calls(signals=not request["need_landlock"] or confine.landlock_abi() >= confine.SIGNAL_ABI)
    elif request["need_landlock"]:
        raise OSError("seccomp is not known for this machine")
    environment = {k: v.replace("$WORKSPACE", str(workspace)) for k, v in request["env"].items()}
    argv = [sys.executable if part == "{python}" else part for part in request["argv"]]
    try:
        os.execve(argv[0], argv, environment)  # noqa: S606
    except OSError as error:
        os.write(2, f"sandbox: {argv[0]}: {error.strerror}\n".encode())
        os._exit(_EXEC_FAILED)


class _Watched:
    """The untrusted processes and what they use."""

    def __init__(self, request: dict[str, Any], workspace: Path, child: int):
        self.limits: dict[str, Any] = request["limits"]
        self.quota_by_mount: bool = request["quota_by_mount"]
        self.workspace, self.child = workspace, child
        self.reaped: int | None = None
        self.peak = 0

    def reap(self) -> bool:
        """Whether the program itself has ended; collects every orphan that has, too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self.child:
                self.reaped = status
        return self.reaped is not None

    def excess(self) -> str:
        """Which limit the processes have passed together, or nothing."""
        processes = list(descendants(os.getpid()))
        self.peak = max(self.peak, len(processes))
        if len(processes) > self.limits["processes"]:
            return "processes"
        if sum(_resident(p) for p in processes) > self.limits["memory_bytes"]:
            return "memory"
        used, files = self._mounted() if self.quota_by_mount else self._walked(processes)
        if files > self.limits["files"] * 2:
            return "files"
        return "disk" if used > self.limits["workspace_bytes"] else ""

    def _mounted(self) -> tuple[int, int]:
        state = os.statvfs(self.workspace)
        return 0, state.f_files - state.f_ffree  # the mount's own size bounds the bytes

    def _walked(self, processes: list[int]) -> tuple[int, int]:
        used = files = 0
        for entry in _entries(self.workspace):
            files += 1
            with contextlib.suppress(OSError):
                used += entry.stat(follow_symlinks=False).st_blocks * 512
        return used + sum(map(_nameless_bytes, processes)), files

    def kill(self) -> None:
        """End every process of the code; there is none when this returns."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child, signal.SIGKILL)  # they cannot leave the group: seccomp denies setsid and setpgid
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            self.reap()
            left = list(descendants(os.getpid()))
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)


def descendants(parent: int) -> Iterator[int]:
    """The processes below a process."""
    waiting = [parent]
    while waiting:
        for pid in _children(waiting.pop()):
            yield pid
            waiting.append(pid)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  (this runs fifty times a second)
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def _resident(pid: int) -> int:
    """Bytes of memory that are this process's own."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_bytes().split()
    except OSError:
        return 0
    return max(0, int(fields[1]) - int(fields[2])) * 4096


def _nameless_bytes(pid: int) -> int:
    """Bytes of the files that a process holds although their names are gone; those count as written, too."""
    total = 0
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)  # noqa: PTH208
        mapped = Path(f"/proc/{pid}/maps").read_bytes().splitlines()
    except OSError:  # it has ended
        return 0
    for name in names:
        with contextlib.suppress(OSError):
            state = os.stat(f"{folder}/{name}")  # noqa: PTH116
            if stat.S_ISREG(state.st_mode) and state.st_nlink == 0:
                total += state.st_blocks * 512
    for line in mapped:
        if line.endswith(b" (deleted)"):
            low, high = line.split(b" ", 1)[0].split(b"-")
            total += int(high, 16) - int(low, 16)
    return total


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:  # removed meanwhile, or made unreadable: then it is not packed either
            continue


def _watch(watched: _Watched, output: int, printed: _Output, began: float) -> str:
    """Look on until the code has ended or must be ended; why, if it must."""
    poll = select.poll()
    poll.register(output, select.POLLIN)
    poll.register(0, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll(_TICK * 1000):
            if descriptor == 0 and not os.read(0, 1):
                return "abandoned"
            if descriptor == output and not _read_some(output, printed):
                poll.unregister(output)
        if watched.reap():
            return ""
        why = watched.excess()
        if why:
            return why
        if time.monotonic() - began > watched.limits["seconds"]:
            return "wall"


def _read_some(output: int, printed: _Output) -> bool:
    try:
        data = os.read(output, 1 << 16)
    except BlockingIOError:
        return True
    printed.add(data)
    return bool(data)


def _drain(output: int, printed: _Output) -> None:
    """What still stands in the pipe; a straggler that holds it open cannot keep us."""
    for _ in range(64):
        try:
            data = os.read(output, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            return
        printed.add(data)


def _pack(workspace: Path, max_bytes: int, max_files: int) -> None:
    """Write a tar of the workspace's regular files; nothing is followed, nothing special is opened."""
    left, files = max_bytes, 0
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for entry in sorted(_entries(workspace), key=lambda e: e.path):
            name = os.path.relpath(entry.path, workspace)
            if name.split("/")[0] in (*_LINKED, ".tmp") or files >= max_files:
                continue
            with contextlib.suppress(OSError), _regular(entry.path) as file:
                size = os.fstat(file.fileno()).st_size
                if size > left:
                    continue
                member = tarfile.TarInfo(name)
                member.size = size
                archive.addfile(member, file)
                left, files = left - size, files + 1


@contextlib.contextmanager
def _regular(path: str) -> Iterator[BinaryIO]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        yield file


if __name__ == "__main__":
    main()
    sys.stdout.buffer.flush()
