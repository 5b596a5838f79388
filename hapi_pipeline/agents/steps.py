"""steps.jsonl of one attempt: what was about to be asked, what came back, what the tools did.

The replies are the only thing in an attempt that cannot be made again, so an attempt is resumed by running
its loop anew over the replies recorded here; tools are deterministic and simply run again.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

_OUTCOMES = ("reply", "failure")


class StepLog:
    """An append-only log, held by one process at a time. Lines are JSON objects with `event` and `step`."""

    def __init__(self, path: Path, executor: Executor | None = None):
        """Open or create the log, dropping a torn last line. BlockingIOError while another process has it."""
        self._executor = executor or ThreadPoolExecutor(1)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however it ends
            lines, sound_bytes = _read(path)
            if path.stat().st_size > sound_bytes:
                os.ftruncate(self._file, sound_bytes)
        except BaseException:
            os.close(self._file)
            raise
        self.outcomes: dict[int, dict[str, Any]] = {r["step"]: r for r in lines if r["event"] in _OUTCOMES}
        self.maybe_billed = _maybe_billed(lines)
        self._intent: Future[None] | None = None
        self._tools_logged = {(r["step"], r["index"]) for r in lines if r["event"] == "tool"}

    async def intend(self, step: int, key: str) -> None:
        """Record that a call is about to be made.

        It survives the end of this process at once and that of the machine in a moment: the disk is waited for when the
        call has ended, or it would add its own time to every call.
        """
        self._append({"event": "intent", "step": step, "key": key})
        self._intent = self._executor.submit(os.fsync, self._file)

    async def outcome(self, step: int, record: dict[str, Any]) -> None:
        """Record durably what came of a call: a reply, or a failure that ends or changes the attempt."""
        self._append({"event": record["event"], "step": step, **record})
        await self._durable()
        if self._intent is not None:
            await asyncio.wrap_future(self._intent)
            self._intent = None
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

    async def _durable(self) -> None:
        # in a thread: on a real disk this takes milliseconds, in which a hundred other attempts can go on
        await asyncio.get_running_loop().run_in_executor(self._executor, os.fsync, self._file)

    def close(self) -> None:
        """Let go of the log."""
        if self._intent is not None:
            wait([self._intent])
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
