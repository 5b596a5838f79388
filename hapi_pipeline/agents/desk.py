"""The files of one attempt: its step log, its workspace, its result.

Everything here waits for the disk, so it runs beside the event loop: in a thread, or in the process of `files`. What
goes in and comes out is therefore plain JSON data.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hapi_pipeline.agents.calls import calls_of, carried_out
from hapi_pipeline.agents.ledger import collect, read_result, record_of, write_record
from hapi_pipeline.agents.steps import StepLog
from hapi_pipeline.agents.texts import redact
from hapi_pipeline.agents.tools import Workspace


@dataclass(frozen=True)
class Shown:
    """A picture for the model."""

    label: str
    media_type: str
    base64: str


@dataclass(frozen=True)
class Acted:
    """What came of the tool calls of a reply."""

    answers: list[dict[str, Any]]  # messages
    seconds: float = 0.0  # that scripts ran
    pictures: tuple[Shown, ...] = ()
    finished: str | None = None  # the finish reason, once the work is handed in

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Acted:
        """From JSON data."""
        pictures = tuple(Shown(**p) for p in told["pictures"])
        return cls(told["answers"], told["seconds"], pictures, told["finished"])


class Desk:
    """One attempt that is being made. Its methods are carried out one after the other, whoever calls them."""

    def __init__(self, folder: Path, vision: bool = False, sandbox: str | None = None):
        self.folder = folder
        self.workspace = Workspace(folder, vision, sandbox)
        self._log: StepLog | None = None
        self._one_at_a_time = threading.Lock()

    def do(self, what: str, *given: Any) -> Any:
        """Carry out one of the methods below, by its name. Raises OSError, BlockingIOError from `open`."""
        with self._one_at_a_time:
            return getattr(self, _METHODS[what])(*given)

    def _open(self, attachments: Sequence[str], previous: Sequence[tuple[str, str]], config: str) -> dict[str, Any]:
        """Take the attempt; its record where it is finished, else what its log holds, with the workspace made ready."""
        place = str(self.folder)
        os.makedirs(place, exist_ok=True)  # noqa: PTH103  (once an attempt; paths cost time)
        self._log = log = StepLog(self.folder / "steps.jsonl")
        try:
            done = read_result(self.folder)  # another process, or the same task given twice, was faster
            if done is not None:
                self._close()
                return {"done": record_of(done)}
            self.workspace.prepare([Path(p) for p in attachments], [(name, Path(p)) for name, p in previous])
            with open(f"{place}/config.json", "wb", buffering=0) as file:  # noqa: PTH123
                file.write(redact(config).encode("ascii"))
            return {
                "outcomes": sorted(log.outcomes.items()),
                "attachments": self.workspace.files("attachments") if attachments else [],
                "previous": self.workspace.files("previous") if previous else [],
            }
        except BaseException:
            self._close()
            raise

    def _intend(self, step: int, key: str) -> None:
        self._held.intend(step, key)

    def _outcome(self, step: int, record: dict[str, Any]) -> None:
        self._held.outcome(step, record)

    def _unanswered(self, step: int, why: str, maybe_billed: int) -> None:
        self._held.unanswered(step, why, maybe_billed)

    def _act(self, step: int) -> dict[str, Any]:
        """Run the tool calls of a reply, all of them at once; JSON data for `Acted.of`."""
        log, workspace = self._held, self.workspace
        reply = log.outcomes[step]
        answers = carried_out(
            workspace,
            calls_of(reply["message"]),
            reply["finish_reason"] == "length",
            lambda index, name, output, failed: log.tool(step, index, name, output, failed),
        )
        pictures = tuple(
            Shown(p.label, p.media_type, base64.b64encode(p.data).decode("ascii")) for p in workspace.take_pictures()
        )
        return asdict(Acted([], workspace.take_seconds(), pictures, workspace.finished)) | {"answers": answers}

    def _finish(self, record: dict[str, Any]) -> dict[str, Any]:
        """Write the result, and let go of the attempt. `record` is completed by what stands in the folder."""
        record["deliverables"] = [vars(d) for d in collect(self.folder)]
        record["maybe_billed_steps"] = self._held.maybe_billed
        write_record(record, self.folder)
        if self.workspace.scripts is not None:
            for kept in (self.folder / "runs").glob("*.tar"):  # of script runs: only to go on after an interruption
                kept.unlink(missing_ok=True)
        self._close()
        return record

    def _close(self) -> None:
        """Let go of the attempt, finished or not."""
        log, self._log = self._log, None
        if log is not None:
            log.close()

    @property
    def _held(self) -> StepLog:
        if self._log is None:
            raise OSError("The attempt has been let go of.")
        return self._log


_METHODS = {name: f"_{name}" for name in ("open", "intend", "outcome", "unanswered", "act", "finish", "close")}
