"""Kill a run of attempts at random moments, resume it each time, and hold our books against the provider's.

    python bench/kill_attempts.py [--attempts 60] [--kills 50] [--seed 0] [--work DIR]

A loopback provider plays a model that needs several steps for a job. It keeps a billing ledger of its own: one line a
request, billed at the first sight of an idempotency key and free when that key comes again. A child process runs
`run_tasks` and is killed by SIGKILL at a random moment, over and over; then it runs to its end. Exit code 0 when every
step was billed once, no attempt was lost, and our totals of tokens and dollars are the provider's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from hapi_pipeline.agents.ledger import AttemptLedger, Result
from hapi_pipeline.agents.provider import prepare_litellm
from hapi_pipeline.agents.run import run_tasks
from hapi_pipeline.agents.tasks import Job, Task
from hapi_pipeline.naming import digest
from hapi_pipeline.registry import AgentLimits, Model, Pool, Price
from hapi_pipeline.settings import project_root
from hapi_pipeline.simulate.server import BillingLog, completion, parse

PRICE = Price(date(2020, 1, 1), input=3.0, output=15.0)
MODEL = Model("Killed", "hosted_vllm/killed", prices=(PRICE,), pool=Pool("sim", concurrency=6), api_base="simulated")
LATENCY = (0.05, 0.35)  # seconds that a reply takes
STEPS = (4, 9)  # replies that an attempt takes
_START_SECONDS = 120.0
_STUCK_SECONDS = 600.0
_STARTING = 0.15  # share of the kills that come while the child is still starting
_SHARE = 0.7  # of all requests: about so many are made before the last kill, so that the run does not end too soon


@dataclass
class Tally:
    """What came of the kills."""

    kills: int = 0
    starting: int = 0  # before the first request of a life
    lives: int = 0
    unfinished: list[int] = field(default_factory=list)  # attempts without a result, after each kill
    early_end: int = 0  # lives that came to their end before the kill


@dataclass(frozen=True)
class Books:
    """The provider's ledger and ours."""

    attempts: int
    finished: int
    files: int
    billed: int
    billed_twice: int
    replayed: int
    steps: int
    tokens: tuple[int, int]  # theirs, ours
    usd: tuple[float, float]  # theirs, ours
    second_pass: int  # requests of a run after the last

    @property
    def clean(self) -> bool:
        return (
            self.finished == self.attempts == self.files
            and not self.billed_twice
            and self.billed == self.steps
            and self.tokens[0] == self.tokens[1]
            and abs(self.usd[0] - self.usd[1]) < 1e-6
            and not self.second_pass
        )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--attempts", type=int, default=60)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="an empty folder that is kept; default: a temporary one")
    parser.add_argument("--forked", action="store_true", help="fork the runs from one warm process: quicker")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.child:
        (nursery if given.forked else child)(given.work, given.attempts, given.child)
        return 0
    with tempfile.TemporaryDirectory(prefix="kill-attempts-") as scratch:
        work = given.work or Path(scratch)
        began = time.monotonic()
        dice = random.Random(given.seed)
        tally, books = kill_and_resume(work, given.attempts, given.kills, dice, forked=given.forked)
        print(report(tally, books, time.monotonic() - began))
    return 0 if books.clean and tally.kills == given.kills else 1


def tasks(count: int) -> list[Task]:
    """The jobs of the run."""
    jobs = [Job(f"J{n}", "Tidy a table", "Make a clean table of the sales.", "Data", None, ()) for n in range(count)]
    return [Task(job, MODEL, "2026-03", "agent_alone", 0, "human") for job in jobs]


def child(work: Path, count: int, base: str) -> None:
    """The run that is killed."""
    run_tasks(tasks(count), AttemptLedger(work / "attempts"), AgentLimits(), simulated_base=base)


def nursery(work: Path, count: int, base: str) -> None:
    """Fork a run for each line of the input; prints its pid, and its exit status when it has ended."""
    prepare_litellm()
    print("ready", flush=True)
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                child(work, count, base)
                code = 0
            finally:
                os._exit(code)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


class Runs:
    """Starts runs in processes of their own, one at a time."""

    def __init__(self, work: Path, count: int, base: str, forked: bool):
        self.command = [sys.executable, __file__, "--work", str(work), "--attempts", str(count), "--child", base]
        self.environment = {**os.environ, "PYTHONPATH": str(project_root())}
        self.errors = (work / "child.stderr").open("wb")
        self.nursery = self._process("--forked") if forked else None
        if self.nursery:
            self._line(self.nursery)
        self.process: subprocess.Popen[bytes] | None = None
        self.pid = 0

    def _process(self, *more: str) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*self.command, *more], stdin=pipe, stdout=pipe, stderr=self.errors, env=self.environment
        )

    def _line(self, process: subprocess.Popen[bytes], timeout: float = _START_SECONDS) -> int | None:
        """The number on the next line that a process prints, 0 for a word; None when none comes in time."""
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], timeout)[0]:
            return None
        word = process.stdout.readline().strip()
        return int(word) if word.lstrip(b"-").isdigit() else 0

    def start(self) -> None:
        """Start a run."""
        if self.nursery is None:
            self.process = self._process()
            self.pid = self.process.pid
            return
        assert self.nursery.stdin is not None
        self.nursery.stdin.write(b"go\n")
        self.nursery.stdin.flush()
        self.pid = self._line(self.nursery) or 0
        assert self.pid

    def ended(self, seconds: float) -> int | None:
        """The exit status of the run, or None when it goes on after so many seconds."""
        if self.nursery is not None:
            return self._line(self.nursery, seconds)
        assert self.process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        return None

    def close(self) -> None:
        """End the nursery."""
        for process in (self.nursery, self.process):
            if process is not None:
                for stream in (process.stdin, process.stdout):
                    assert stream is not None
                    stream.close()
                process.wait(_START_SECONDS)
        self.errors.close()


def kill_and_resume(
    work: Path, count: int, kills: int, dice: random.Random, *, forked: bool = False
) -> tuple[Tally, Books]:
    """Kill a run so many times, let it end, and compare the books."""
    work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(work / "attempts", ignore_errors=True)
    log = work / "requests.jsonl"
    log.unlink(missing_ok=True)
    with provider(log) as (base, seen), contextlib.closing(Runs(work, count, base, forked)) as runs:
        tally, ledger = Tally(), AttemptLedger(work / "attempts")
        most = max(2, round(2 * _SHARE * count * sum(STEPS) / 2 / max(kills, 1)))
        while tally.kills < kills and not tally.early_end:
            _life(runs, dice.randint(1, most), seen, tally, dice)
            tally.unfinished.append(count - _finished(work))
        runs.start()
        tally.lives += 1
        if runs.ended(_STUCK_SECONDS) != 0:
            raise SystemExit(f"The last run did not end well; its words are in {work / 'child.stderr'}.")
        before = seen["requests"]
        again = run_tasks(tasks(count), ledger, AgentLimits(), simulated_base=base)
        return tally, _books(count, again, log, seen["requests"] - before)


def _finished(work: Path) -> int:
    return len(AttemptLedger(work / "attempts").results(MODEL.key, "agent_alone"))


def _life(runs: Runs, requests: int, seen: Counter[str], tally: Tally, dice: random.Random) -> None:
    """One run, killed at some moment after so many requests, or now and then soon after its start."""
    before, began = seen["requests"], time.monotonic()
    enough = before if dice.random() < _STARTING else before + requests
    wait = dice.uniform(0, LATENCY[1])
    runs.start()
    tally.lives += 1
    code = None
    while seen["requests"] < enough and time.monotonic() < began + _START_SECONDS:
        code = runs.ended(0.002)
        if code is not None:
            break
    if code is None:
        code = runs.ended(wait)
    if code is not None:
        tally.early_end += 1
        return
    os.kill(runs.pid, signal.SIGKILL)
    if runs.ended(_START_SECONDS) != -signal.SIGKILL:
        raise SystemExit("A killed run did not end.")
    tally.kills += 1
    tally.starting += seen["requests"] == before


# ---- the provider


@contextmanager
def provider(log: Path) -> Iterator[tuple[str, Counter[str]]]:
    """A loopback provider in a thread of this process: its address, and a count of the requests that it has seen."""
    from aiohttp import web

    loop, seen, billing = asyncio.new_event_loop(), Counter[str](), BillingLog(log)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def complete(received: web.Request) -> web.Response:
        request = parse(await received.json())
        seen["requests"] += 1
        body = completion(request, calls_of(request.job_id, request.step))
        billing.note(received.headers.get("Idempotency-Key"), request, body["usage"])
        share = int(digest(request.job_id, str(request.step), length=8), 16) / 16**8
        await asyncio.sleep(LATENCY[0] + share * (LATENCY[1] - LATENCY[0]))
        return web.json_response(body)

    async def start() -> web.AppRunner:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", complete)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", seen
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(90)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        billing.close()


def calls_of(job_id: str, step: int) -> list[dict[str, Any]]:
    """The tool calls of a job's n-th reply, counted from 0: some pieces of one file, a look at it, the end."""
    last = STEPS[0] + int(digest("steps", job_id, length=8), 16) % (STEPS[1] - STEPS[0] + 1) - 1
    name: str
    arguments: dict[str, Any]
    if step >= last:
        name, arguments = "finish", {"summary": f"{job_id} is done.", "deliverables": ["table.md"]}
    elif step == last - 1:
        name, arguments = "check_deliverables", {}
    else:
        text = f"| {job_id} | {step} |\n" * (5 + int(digest(job_id, str(step), length=4), 16) % 200)
        name, arguments = "write_file", {"path": "table.md", "content": text, "append": step > 0}
    return [
        {
            "id": "call_" + digest(job_id, str(step), length=20),
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
    ]


# ---- the books


def _books(count: int, results: Sequence[Result], log: Path, second_pass: int) -> Books:
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    bills = [line for line in lines if line["event"] == "billed"]
    keys = Counter(line["key"] for line in bills)
    sent, received = (sum(line[f"{kind}_tokens"] for line in bills) for kind in ("prompt", "completion"))
    return Books(
        attempts=count,
        finished=sum(r.status == "done" and r.finish_reason == "finished" for r in results),
        files=sum(_whole(r) for r in results),
        billed=len(bills),
        billed_twice=sum(count > 1 for count in keys.values()),
        replayed=len(lines) - len(bills),
        steps=sum(r.steps for r in results),
        tokens=(sent + received, sum(r.prompt_tokens + r.completion_tokens for r in results)),
        usd=((sent * PRICE.input + received * PRICE.output) / 1e6, sum(r.cost_usd or 0.0 for r in results)),
        second_pass=second_pass,
    )


def _whole(result: Result) -> bool:
    """Whether an attempt has handed in exactly what its replies wrote."""
    pieces = []
    for step in range(result.steps):
        call = calls_of(result.job_id, step)[0]["function"]
        if call["name"] == "write_file":
            pieces.append(json.loads(call["arguments"])["content"])
    handed_in = result.folder / "deliverables" / "table.md"
    return handed_in.exists() and handed_in.read_text("utf-8") == "".join(pieces)


def report(tally: Tally, books: Books, seconds: float) -> str:
    left = tally.unfinished
    rows = [
        ("kills by SIGKILL", f"{tally.kills} ({tally.starting} before the first request of a life)"),
        ("attempts open after a kill", f"{left[0]} after the first, {left[-1]} after the last" if left else "–"),
        ("attempts finished, of all", f"{books.finished} of {books.attempts}"),
        ("deliverables as written", f"{books.files} of {books.attempts}"),
        ("steps in our ledger", f"{books.steps:,}"),
        ("steps billed by the provider", f"{books.billed:,}"),
        ("keys billed twice", f"{books.billed_twice}"),
        ("requests answered again, free", f"{books.replayed}"),
        ("tokens, provider / ours", f"{books.tokens[0]:,} / {books.tokens[1]:,}"),
        ("USD, provider / ours", f"{books.usd[0]:.6f} / {books.usd[1]:.6f}"),
        ("requests of a further run", f"{books.second_pass}"),
        ("seconds", f"{seconds:.0f}"),
    ]
    verdict = "the books agree" if books.clean else "THE BOOKS DO NOT AGREE"
    return "\n".join([*(f"{name:32} {value}" for name, value in rows), verdict])


if __name__ == "__main__":
    sys.exit(main())
