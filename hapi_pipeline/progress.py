"""Progress of long work on the terminal: a moving line for a person, a few plain lines for a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType


class Progress:
    """Shows how far a piece of work is, and how long it will still take.

    On a terminal one line is redrawn, at most ten times a second. Elsewhere a line is printed for every quarter.
    """

    def __init__(self, title: str):
        self.title = title
        self.started = time.monotonic()
        self._drawn = 0.0
        self._quarter = 0
        self._live = sys.stderr.isatty()

    def show(self, done: int, total: int, note: str = "") -> None:
        """Say that `done` of `total` are finished."""
        now = time.monotonic()
        if self._live and (now - self._drawn > 0.1 or done == total):
            self._drawn = now
            sys.stderr.write(f"\r\x1b[K  {self.line(done, total, note)}")
            sys.stderr.flush()
        elif not self._live and total and done * 4 // total > self._quarter:
            self._quarter = done * 4 // total
            print(f"  {self.line(done, total, note)}", file=sys.stderr, flush=True)

    def line(self, done: int, total: int, note: str) -> str:
        """The text of the line."""
        spent = time.monotonic() - self.started
        left = f", {spent / done * (total - done):.0f} s left" if 0 < done < total and spent > 2 else ""
        return f"{self.title} {done:,} of {total:,}{left}" + (f" ({note})" if note else "")

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and self._drawn:
            sys.stderr.write("\n")
