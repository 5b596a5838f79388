"""steps.jsonl of one attempt: what was about to be asked, what came back, what the tools did.

The replies are the only thing in an attempt that cannot be made again, so an attempt is resumed by running
its loop anew over the replies recorded here; tools are deterministic and simply run again.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

_OUTCOMES = ("reply", "failure")


class StepLog:
    """An append-only log, held by one process at a time. Lines are JSON objects with `event` and `step`.

    Its methods wait for the disk: never call them in an event loop.
    """

    def __init__(self, path: Path):
        """Open or create the log, dropping a torn last line. BlockingIOError while another process has it."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however it ends
            size = os.fstat(self._file).st_size
            lines, sound_bytes = _read(path) if size else ([], 0)
            if size > sound_bytes:
                os.ftruncate(self._file, sound_bytes)
        except BaseException:
            os.close(self._file)
            raise
        self.outcomes: dict[int, dict[str, Any]] = {r["step"]: r for r in lines if r["event"] in _OUTCOMES}
        self.maybe_billed = _maybe_billed(lines)
        self._tools_logged = {(r["step"], r["index"]) for r in lines if r["event"] == "tool"}

    def intend(self, step: int, key: str) -> None:
        """Record durably that a call is about to be made."""
        self._append({"event": "intent", "step": step, "key": key})
        os.fsync(self._file)

    def outcome(self, step: int, record: dict[str, Any]) -> None:
        """Record durably what came of a call: a reply, or a failure that ends or changes the attempt."""
        self._append({"event": record["event"], "step": step, **record})
        os.fsync(self._file)
        self.outcomes[step] = record
        self.maybe_billed += record.get("maybe_billed", 0)

    def unanswered(self, step: int, why: str, maybe_billed: int = 0) -> None:
        """Record that a call brought nothing; only `maybe_billed` of its tries count as perhaps billed."""
        self._append({"event": "fault", "step": step, "why": why, "maybe_billed": maybe_billed})
        self.maybe_billed += maybe_billed

    def tool(self, step: int, index: int, name: str, output: str, failed: bool) -> None:
        """Record what a tool answered; it becomes durable with the next intent or with the result."""
        if (step, index) not in self._tools_logged:
            self._append(
                {
                    "event": "tool",
                    "step": step,
                    "index": index,
                    "name": name,
                    "failed": failed,
                    "output": output,
                }
            )

    def _append(self, record: dict[str, Any]) -> None:
        os.write(self._file, (json.dumps(record, separators=(",", ":")) + "\n").encode("ascii"))

    def close(self) -> None:
        """Let go of the log."""
        os.close(self._file)


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The records before the first damaged line, and how many bytes they take."""
    records: list[dict[str, Any]] = []
    sound_bytes = 0
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            record = json.loads(line)
            if not line.endswith(b"\n") or record["event"] is None or not isinstance(record["step"], int):
                break
        except (ValueError, KeyError, TypeError):
            break
        records.append(record)
        sound_bytes += len(line)
    return records, sound_bytes


def _maybe_billed(lines: list[dict[str, Any]]) -> int:
    """Calls that were begun and of which nothing is known, neither an outcome nor a fault; and tries that got lost."""
    pending: dict[int, int] = {}
    lost = 0
    for record in lines:
        step = record["step"]
        if record["event"] == "intent":
            lost += pending.get(step, 0)  # a second intent for the step: the first call was lost
            pending[step] = 1
        elif record["event"] != "tool":
            pending.pop(step, None)
            lost += record.get("maybe_billed", 0)
    return lost + sum(pending.values())
