"""The files of attempts: the same in threads and in a process of their own, which is never missed for long."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hapi_pipeline.agents import files, run
from hapi_pipeline.agents.executor import Threads, at_once
from hapi_pipeline.agents.ledger import AttemptLedger, Result, read_result
from hapi_pipeline.agents.run import run_tasks
from hapi_pipeline.agents.tasks import Task
from hapi_pipeline.registry import AgentLimits
from tests.agents.conftest import MODEL, Simulated

LIMITS = AgentLimits()


def plain(result: Result) -> dict[str, Any]:
    """A result without what differs from run to run."""
    return {k: v for k, v in vars(result).items() if k not in ("folder", "finished_at", "seconds")}


def logged(result: Result) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in (result.folder / "steps.jsonl").read_bytes().splitlines())
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.fixture
def with_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "WORTH_A_PROCESS", 1)


@pytest.mark.parametrize("attached", [False, True])
def test_threads_and_the_process_keep_the_same_files(
    simulated: Simulated,
    tmp_path: Path,
    make_task: Callable[..., Task],
    monkeypatch: pytest.MonkeyPatch,
    attached: bool,
) -> None:
    material = tmp_path / "sales.csv"
    material.write_text("region,amount\nnorth,1\n")
    tasks = [make_task(f"J{n}", attachments=(material,) if attached else ()) for n in range(6)]
    made = {}
    for way, worth in (("threads", 10**6), ("process", 1)):
        monkeypatch.setattr(run, "WORTH_A_PROCESS", worth)
        made[way] = run_tasks(tasks, AttemptLedger(tmp_path / way), LIMITS, simulated_base=simulated.base)
    assert [plain(r) for r in made["threads"]] == [plain(r) for r in made["process"]]
    for one, other in zip(made["threads"], made["process"], strict=True):
        assert one.status == "done"
        assert one.deliverables
        assert logged(one) == logged(other)
        assert (one.folder / "config.json").read_bytes() == (other.folder / "config.json").read_bytes()
        assert read_result(other.folder) == other


@pytest.mark.usefixtures("with_process")
def test_a_process_that_is_killed_ends_the_run_and_the_next_run_goes_on(
    slow_simulated: Simulated, ledger: AttemptLedger, make_task: Callable[..., Task]
) -> None:
    tasks = [make_task(f"J{n}") for n in range(8)]

    def kill(*_: Any) -> None:
        files.files_process().end()

    with pytest.raises(OSError, match="process that keeps the files"):
        run_tasks(tasks, ledger, LIMITS, simulated_base=slow_simulated.base, on_result=kill)
    results = run_tasks(tasks, AttemptLedger(ledger.root), LIMITS, simulated_base=slow_simulated.base)
    assert [r.status for r in results] == ["done"] * 8
    billed = [line["key"] for line in slow_simulated.lines() if line["event"] == "billed"]
    assert len(billed) == len(set(billed)) == sum(r.steps for r in results)


@pytest.mark.usefixtures("with_process")
def test_the_process_knows_no_key(
    simulated: Simulated, ledger: AttemptLedger, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "tok-4815162342")
    files.files_process().end()  # one of an earlier test was started without it
    run_tasks([make_task()], ledger, LIMITS, simulated_base=simulated.base)
    there = Path(f"/proc/{files.files_process()._child.pid}/environ").read_bytes()
    assert b"PATH=" in there
    assert b"4815162342" not in there


def test_the_process_ends_with_the_one_that_started_it() -> None:
    program = (
        "import os, signal\nfrom hapi_pipeline.agents.files import files_process\n"
        "print(files_process()._child.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = str(Path(files.__file__).parents[2])
    command = [sys.executable, "-c", program]
    made = subprocess.run(command, env={**os.environ, "PYTHONPATH": root}, stdout=subprocess.PIPE, check=False)
    assert made.returncode == -signal.SIGKILL
    status, deadline = Path(f"/proc/{int(made.stdout)}/cmdline"), time.monotonic() + 30
    while status.exists() and b"agents.files" in status.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not status.exists() or b"agents.files" not in status.read_bytes()


@given(texts=st.lists(st.text(max_size=30), min_size=1, max_size=8), cuts=st.lists(st.integers(1, 40), max_size=30))
def test_lines_arrive_whole_however_they_are_cut(texts: list[str], cuts: list[int]) -> None:
    data = b"".join(json.dumps(t).encode("ascii") + b"\n" for t in texts)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for size in [*cuts, len(data)]:
            ours.sendall(data[:size])
            data = data[size:]
        ours.shutdown(socket.SHUT_WR)
        taken: list[bytes] = []
        files._read(theirs, taken.append)
    assert [json.loads(line) for line in taken] == texts


def test_answers_reach_those_who_asked_however_they_are_cut() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        _, line = await loop.create_unix_connection(files._Line, sock=ours)
        with theirs:
            waiting = [line.ask(1, "act", [n]) for n in range(3)]
            for byte in b'3 done "c"\n1 failed ["OSError", 11, "busy"]\n2 failed ["Exception", 0, "oh"]\n':
                theirs.send(bytes([byte]))
                await asyncio.sleep(0)
            assert await waiting[2] == "c"
            with pytest.raises(BlockingIOError, match="busy"):
                await waiting[0]
            with pytest.raises(RuntimeError, match="oh"):
                await waiting[1]
            last = line.ask(1, "act", [])
        with pytest.raises(OSError, match="has ended"):
            await last
        with pytest.raises(OSError, match="has ended"):
            line.ask(1, "act", [])

    asyncio.run(scenario())


def test_only_work_that_asks_for_it_is_done_at_once() -> None:
    with Threads(1) as threads:
        here = threading.get_ident()
        assert threads.submit(threading.get_ident).result() != here
        for wanted in (True, False):
            with at_once(wanted):
                copied = functools.partial(contextvars.copy_context().run, threading.get_ident)
                assert (threads.submit(copied).result() == here) is wanted
                assert threads.submit(threading.get_ident).result() != here  # looking up a name, say
        with at_once(True):
            failing = functools.partial(contextvars.copy_context().run, int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            threads.submit(failing).result()


def test_attempts_beyond_the_calls_at_once_never_make_more_calls(
    ledger: AttemptLedger, stub: Any, replied: Any, make_task: Callable[..., Task]
) -> None:
    """Some attempts are at their files while others are called for; the provider never sees more than it allows."""
    under_way, most, guard = 0, 0, threading.Lock()

    def script(n: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        nonlocal under_way, most
        with guard:
            under_way, most = under_way + 1, max(most, under_way + 1)
        time.sleep(0.02)
        with guard:
            under_way -= 1
        done = replied(("write_file", {"path": "a.md", "content": "x"}), ("finish", {"deliverables": ["a.md"]}))
        return 200, {}, done

    server = stub(script)
    model = replace(MODEL, api_base=server.base)
    results = run_tasks([make_task(f"J{n}", model) for n in range(16)], ledger, LIMITS)
    assert [r.status for r in results] == ["done"] * 16
    assert most <= MODEL.pool.concurrency
