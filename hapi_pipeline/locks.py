"""Locks on files (`flock`), which the system releases however a process ends.

They hold between processes of one machine, and between machines on a disk that passes them on (docs/deploy.md). A file
is opened for writing even where it is only locked: NFS grants no other lock to itself alone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def opened(path: Path) -> int:
    """A descriptor of a file to lock, which is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # less what the umask takes: a home may be a group's


def take(file: int, *, shared: bool = False) -> bool:
    """Take the lock of an open file at once, alone or beside others that share it; False where that cannot be."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def let_go(file: int) -> None:
    """Give a lock back; the file stays open."""
    fcntl.flock(file, fcntl.LOCK_UN)


def wait_for(file: int) -> None:
    """Take the lock of an open file alone as soon as nobody holds it or looks at it."""
    fcntl.flock(file, fcntl.LOCK_EX)


@contextmanager
def held(file: int) -> Iterator[None]:
    """Hold the lock of an open file alone, waiting for it."""
    wait_for(file)
    try:
        yield
    finally:
        let_go(file)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock of a file.

    The look takes the lock for an instant where nobody has it, so another look, or `take`, may find it held then.
    """
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except PermissionError:  # whoever may only read may look, too
        file = os.open(path, os.O_RDONLY)
    try:
        return not take(file)
    finally:
        os.close(file)
