"""How many calls a second the attempt loop makes, beside the clients that it could be built on.

    python bench/attempts.py [--in-flight 50,200,500] [--calls N] [--latency-ms 200]

A loopback server answers each call after a fixed time, so the ideal is `in flight / latency`. Each client runs in a
process of its own, one after the other, and makes the same kind of calls (the agent's first message, its tools):
our whole loop with its files, logs and fsyncs; litellm.acompletion alone; the openai client; httpx; aiohttp.
Printed: calls a second, share of the ideal, share of litellm alone, CPU of the client and of the server a call, and the
most memory that the client held.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

CLIENTS = ("our loop", "litellm", "openai", "httpx", "aiohttp")
MODEL_ID = "sim-one"
WARM_UP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-flight", default="50,200,500")
    parser.add_argument("--calls", type=int, default=1000, help="at least so many a client, and six for each in flight")
    parser.add_argument("--latency-ms", type=float, default=200.0)
    parser.add_argument("--clients", default=",".join(CLIENTS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--base", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measured(given.child, given.base, int(given.in_flight), given.calls)))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, latency {given.latency_ms:.0f} ms\n")
    print(
        f"{'in flight':>9}  {'client':10} {'calls':>6} {'calls/s':>8} {'of ideal':>8} {'of litellm':>10} "
        f"{'CPU ms/call':>11} {'server ms':>9} {'peak MiB':>8}"
    )
    for in_flight in map(int, given.in_flight.split(",")):
        calls = max(given.calls, 6 * in_flight)
        rows = {c: child(c, in_flight, calls, given.latency_ms) for c in given.clients.split(",")}
        for client, row in rows.items():
            ideal = row["rate"] / (in_flight / (given.latency_ms / 1000))
            beside = f"{row['rate'] / rows['litellm']['rate']:10.0%}" if "litellm" in rows else " " * 10
            print(
                f"{in_flight:9}  {client:10} {row['calls']:6.0f} {row['rate']:8.1f} {ideal:8.1%} {beside} "
                f"{row['cpu_ms']:11.2f} {row['server_ms']:9.2f} {row['peak_mib']:8.0f}",
                flush=True,
            )


def child(client: str, in_flight: int, calls: int, latency_ms: float) -> dict[str, float]:
    """Run one client against a server of its own."""
    with server(latency_ms) as (base, process):
        command = [sys.executable, __file__, "--child", client, "--base", base]
        command += ["--in-flight", str(in_flight), "--calls", str(calls)]
        began = _cpu_of(process.pid)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{client} failed:\n{done.stderr[-3000:]}")
        row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return row | {"server_ms": (_cpu_of(process.pid) - began) * 1000 / (row["calls"] + WARM_UP)}


@contextmanager
def server(latency_ms: float) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The project's own simulated provider, with an empty world."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "world").mkdir()
        command = [sys.executable, "-m", "hapi_pipeline.simulate.server", "--world", f"{folder}/world"]
        command += ["--log", f"{folder}/requests.jsonl", "--latency-ms", str(latency_ms)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().decode().split()[1], process
        finally:
            process.stdin.close()
            process.wait(20)


def _cpu_of(pid: int) -> float:
    """CPU seconds of a process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(client: str, base: str, in_flight: int, calls: int) -> dict[str, float]:
    """Warm up, make the calls, and measure."""
    run = ours(base, in_flight) if client == "our loop" else bare(client, base, in_flight)
    with run_loop() as wait:
        run(WARM_UP, wait)
        began, cpu = time.perf_counter(), time.process_time()
        made = run(calls, wait)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"calls": made, "rate": made / seconds, "cpu_ms": cpu * 1000 / made, "peak_mib": peak}


Wait = Callable[[Awaitable[Any]], Any]
Runner = Callable[[int, Wait], int]


@contextmanager
def run_loop() -> Iterator[Wait]:
    with asyncio.Runner() as runner:

        def wait(work: Awaitable[Any]) -> Any:
            async def awaited() -> Any:
                return await work

            return runner.run(awaited())

        yield wait


def ours(base: str, in_flight: int) -> Runner:
    """The whole loop: workspace, prompt, step log with fsync, tools, deliverables, result."""
    from hapi_pipeline.agents.ledger import AttemptLedger
    from hapi_pipeline.agents.run import run_tasks
    from hapi_pipeline.registry import AgentLimits, Pool

    root = Path(tempfile.mkdtemp(prefix="bench-attempts-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)  # not while the time is taken
    model = replace(task("J").model, pool=Pool("bench", in_flight))
    calls_an_attempt = 1.0

    def run(calls: int, wait: Wait) -> int:
        nonlocal calls_an_attempt
        ledger = AttemptLedger(root / str(calls))
        tasks = [replace(task(f"{calls}-{n}"), model=model) for n in range(round(calls / calls_an_attempt))]
        results = run_tasks(tasks, ledger, AgentLimits(), simulated_base=base)
        made = sum(r.steps for r in results)
        if any(r.status != "done" for r in results):
            raise RuntimeError("an attempt failed")
        return made

    return run


def task(job_id: str) -> Any:
    from hapi_pipeline.agents.tasks import Job, Task
    from hapi_pipeline.registry import Model, Price

    prices = (Price(date(2020, 1, 1), 1.0, 5.0),)
    model = Model("Bench", f"hosted_vllm/{MODEL_ID}", prices=prices, api_base="simulated")
    text = "Make a clean table of the sales of each region, with totals, and say what stands out. " * 8
    return Task(
        Job(job_id, "Tidy a table of sales", text, "Data Entry", None, ("excel",)),
        model, "2026-03", "agent_alone", 0, "human",
    )  # fmt: skip


def bare(client: str, base: str, in_flight: int) -> Runner:
    """A client alone: only the call, with the agent's first message and its tools."""
    call = {"litellm": _litellm, "openai": _openai, "httpx": _httpx, "aiohttp": _aiohttp}[client]
    made: list[Any] = []

    async def work(calls: int) -> int:
        if not made:
            made.append(call(base))
        one = made[0]
        numbers = iter(range(calls))

        async def worker() -> None:
            for n in numbers:
                await one(messages(f"{calls}-{n}"))

        await asyncio.gather(*(worker() for _ in range(min(in_flight, calls))))
        return calls

    return lambda calls, wait: int(wait(work(calls)))


def messages(job_id: str) -> list[dict[str, Any]]:
    from hapi_pipeline.agents import prompt

    brief = prompt.first_message(task(job_id), [], [])
    return [{"role": "system", "content": prompt.SYSTEM}, {"role": "user", "content": brief}]


def _tools() -> list[dict[str, Any]]:
    from hapi_pipeline.agents.tools import TOOLS

    return TOOLS


def _litellm(base: str) -> Any:
    from hapi_pipeline.agents.provider import prepare_litellm

    litellm, tools = prepare_litellm(), _tools()
    return lambda told: litellm.acompletion(
        model=f"hosted_vllm/{MODEL_ID}", messages=told, tools=tools, max_tokens=8192, api_key="none", api_base=base,
        num_retries=0, max_retries=0, timeout=600,
    )  # fmt: skip


def _openai(base: str) -> Any:
    import openai

    client = openai.AsyncOpenAI(base_url=base, api_key="none", max_retries=0, timeout=600)
    tools: Any = _tools()
    return lambda told: client.chat.completions.create(model=MODEL_ID, messages=told, tools=tools, max_tokens=8192)


def _httpx(base: str) -> Any:
    import httpx

    client, tools = httpx.AsyncClient(timeout=600), _tools()

    async def call(told: Any) -> Any:
        body = {"model": MODEL_ID, "messages": told, "tools": tools, "max_tokens": 8192}
        reply = await client.post(f"{base}/chat/completions", json=body)
        return reply.raise_for_status().json()

    return call


def _aiohttp(base: str) -> Any:
    import aiohttp

    session, tools = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)), _tools()

    async def call(told: Any) -> Any:
        body = {"model": MODEL_ID, "messages": told, "tools": tools, "max_tokens": 8192}
        async with session.post(f"{base}/chat/completions", json=body) as reply:
            reply.raise_for_status()
            return await reply.json()

    return call


if __name__ == "__main__":
    main()
