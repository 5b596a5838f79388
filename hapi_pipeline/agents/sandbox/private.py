"""Temporary folders that are swept up by a later start when the process that made them was killed."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIXES = ("hapi-sandbox-", "hapi-toolbox-", "hapi-canary-")
_YOUNG = 60.0  # seconds: a folder may exist for a moment before its owner holds it


@contextmanager
def private_folder(prefix: str) -> Iterator[Path]:
    """A new folder that only this user can read, removed at the end of the block. `prefix` is one of PREFIXES."""
    folder, held = _made(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def lasting_folder(prefix: str) -> Path:
    """The same, removed when this process ends."""
    folder, _ = _made(prefix)  # held until the process ends, however it does
    made_by = os.getpid()

    def remove() -> None:
        if os.getpid() == made_by:  # a fork ends earlier than the process whose folder it is
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def _made(prefix: str) -> tuple[Path, int]:
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(held, fcntl.LOCK_EX)
    return folder, held


def sweep(root: Path | None = None) -> list[str]:
    """Remove what killed processes of this user have left in the folder for temporary files; the names removed.

    A folder in use is held by its owner, and the system lets go of it when the owner ends. Links are neither followed
    nor removed.
    """
    root = root or Path(tempfile.gettempdir())
    return [path.name for path in sorted(root.iterdir()) if path.name.startswith(PREFIXES) and _removed(path)]


def _removed(folder: Path) -> bool:
    with suppress(OSError):  # it is a link, is held, is not ours, or another process was faster
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            state = os.fstat(held)
            if state.st_uid != os.getuid() or time.time() - state.st_mtime < _YOUNG or not stat.S_ISDIR(state.st_mode):
                return False
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)  # by open folders, so a link put there meanwhile is not followed
            return not folder.exists()
        finally:
            os.close(held)
    return False
