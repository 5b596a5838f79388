"""What a failure of the file system or a damaged file is, in one plain sentence that names the file and the next step.

Nothing is mended here. Errors that may pass by themselves are told from those that will not.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from hapi_pipeline.settings import UserError
from hapi_pipeline.tables import TABLES

_KEPT = "What was there before is kept."
_FINAL: dict[int, str] = {
    errno.ENOSPC: "The disk is full: {file} could not be written. Free some space, then run again.",
    errno.EDQUOT: "The disk quota is used up: {file} could not be written. Free some space, then run again.",
    errno.EFBIG: "{file} would be larger than files may be here (ulimit -f); raise the limit, then run again.",
    errno.EROFS: "{file} could not be written: it is on a read-only file system. Make it writable, then run again.",
    errno.EACCES: "{file} may not be written or read by this user. Put its permissions right, then run again.",
    errno.EPERM: "{file} may not be changed by this user. Put its permissions right, then run again.",
}
"""What waiting does not mend."""
_PASSING = frozenset(
    {errno.EIO, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ETIMEDOUT, errno.ESTALE, errno.EMFILE, errno.ENFILE}
)
"""What a network file system, or too many open files, may get over."""


class DamagedFileError(UserError, ValueError):
    """A file of the lake that cannot be read: which, why in a few words, and what to do."""

    def __init__(self, table: str, path: Path, why: str):
        super().__init__(f"{path} is damaged: {why}. {next_step(table)}")
        self.why = why


def may_pass(error: BaseException) -> bool:
    """Whether the same work, done again in a moment, may succeed."""
    return any(isinstance(e, OSError) and e.errno in _PASSING for e in _causes(error))


def writing_trouble(error: BaseException, root: Path) -> UserError | None:
    """Why something below `root` could not be written, where that is a matter of disk or permissions; else None."""
    for e in _causes(error):
        number = e.errno if isinstance(e, OSError) else None
        if number in _FINAL:
            return UserError(f"{_FINAL[number].format(file=_shown(e, root))} {_KEPT}")
    return None


def _shown(error: BaseException, root: Path) -> str:
    """The file that an error is about: never the staged one, which is gone by then."""
    name = getattr(error, "filename", None)
    if not isinstance(name, str | Path):
        return f"a file below {root}"
    path = Path(name)
    if path.suffix == ".part" and path.name.startswith("."):  # .NAME.<hex>.part stands for NAME
        path = path.with_name(path.name[1:].rsplit(".", 2)[0])
    return str(path)


def reading_trouble(error: BaseException, files: Iterable[tuple[str, Path]]) -> UserError | None:
    """Which of these files, each with its table, is damaged, where reading failed; None where all can be read.

    They are read in full: only ever after a failure.
    """
    if isinstance(error, UserError):
        return error if isinstance(error, DamagedFileError) else None
    for table, path in files:
        why = damage(path)
        if why:
            return DamagedFileError(table, path, why)
    return None


def named_trouble(error: BaseException, lake: Path) -> UserError | None:
    """The damaged file of a lake that the text of an error names, as DuckDB's do; None where it names none."""
    for name in re.findall(r"[\"'](/[^\"']+\.parquet)[\"']", str(error)):
        path = Path(name)
        why = damage(path) if path.is_relative_to(lake) else None
        if why:
            return DamagedFileError(path.relative_to(lake).parts[0], path, why)
    return None


def damage(path: Path) -> str | None:
    """Why a Parquet file cannot be read, in a few words; None where all of it can."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(4)
        if not size:
            return "it is empty"
        if start != b"PAR1":
            return "it is no Parquet file"
        with pq.ParquetFile(path) as parquet:
            for _ in parquet.iter_batches():
                pass
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError, ValueError) as error:
        text = str(error).splitlines()[0]
        return "it is cut off or overwritten" if "magic bytes" in text or "footer" in text else text[:120]
    return None


def next_step(table: str) -> str:
    """What to do about a damaged file of a table."""
    if TABLES[table].ledger:
        return "It belongs to a ledger, which cannot be made again: put the file back from a backup."
    return f"`hapi rebuild --table {table} --write` makes the table anew from the ledgers."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from."""
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or now.__context__
