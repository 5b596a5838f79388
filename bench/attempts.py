"""How many calls a second the attempt loop makes, beside the clients that it could be built on.

    python bench/attempts.py [--in-flight 50,200,500] [--calls N] [--latency-ms 200]

A loopback server answers each call after a fixed time, so the ideal is `in flight / latency`. Each client runs in a
process of its own, one after the other, and makes the same kind of calls (the agent's first message, its tools):
our whole loop with its files, logs and fsyncs; litellm.acompletion alone, as it comes; litellm as our loop sets it up
(`litellm-set`); the openai client; httpx; aiohttp.
Printed: attempts and calls a second (a client alone makes calls only), the calls' share of the ideal and of litellm
alone, CPU a call of the client, of the processes that it started (`files`: those that keep and open our loop's files)
and of the server, and the most memory that the client held.

An attempt of our loop is one call in most cases, which is the dearest for it: for each of them the workspace is set up
and the result written. With `--calls-an-attempt N` the server asks for looks at the files before the work is handed in,
as agents do, until there are N calls. The conversations of our loop then grow and those of the clients alone do not.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
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

CLIENTS = ("our loop", "litellm", "litellm-set", "openai", "httpx", "aiohttp")
MODEL_ID = "sim-one"
WARM_UP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-flight", default="50,200,500")
    parser.add_argument("--calls", type=int, default=1000, help="at least so many a client, and six for each in flight")
    parser.add_argument("--latency-ms", type=float, default=200.0)
    parser.add_argument("--clients", default=",".join(CLIENTS))
    parser.add_argument("--calls-an-attempt", type=int, default=1, help="of our loop; see above")
    parser.add_argument("--serve", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--base", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        serve(given.calls_an_attempt, given.serve)
        return
    if given.child:
        print(json.dumps(measured(given.child, given.base, int(given.in_flight), given.calls)))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, latency {given.latency_ms:.0f} ms\n")
    print(
        f"{'in flight':>9}  {'client':11} {'attempts/s':>10} {'calls':>6} {'calls/s':>8} {'of ideal':>8} "
        f"{'of litellm':>10} {'CPU ms/call':>11} {'files':>6} {'server':>6} {'peak MiB':>8}"
    )
    for in_flight in map(int, given.in_flight.split(",")):
        calls = max(given.calls, 6 * in_flight)
        rows = {
            c: child(c, in_flight, calls, given.latency_ms, given.calls_an_attempt) for c in given.clients.split(",")
        }
        for client, row in rows.items():
            ideal = row["rate"] / (in_flight / (given.latency_ms / 1000))
            beside = f"{row['rate'] / rows['litellm']['rate']:10.0%}" if "litellm" in rows else " " * 10
            attempts = f"{row['attempts_rate']:10.1f}" if row["attempts_rate"] else " " * 10
            print(
                f"{in_flight:9}  {client:11} {attempts} {row['calls']:6.0f} {row['rate']:8.1f} {ideal:8.1%} {beside} "
                f"{row['cpu_ms']:11.2f} {row['files_ms']:6.2f} {row['server_ms']:6.2f} {row['peak_mib']:8.0f}",
                flush=True,
            )


def child(client: str, in_flight: int, calls: int, latency_ms: float, an_attempt: int) -> dict[str, float]:
    """Run one client against a server of its own."""
    with server(latency_ms, an_attempt) as (base, process):
        command = [sys.executable, __file__, "--child", client, "--base", base]
        command += ["--in-flight", str(in_flight), "--calls", str(calls)]
        began = _cpu_of(process.pid)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{client} failed:\n{done.stderr[-3000:]}")
        row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return row | {"server_ms": (_cpu_of(process.pid) - began) * 1000 / (row["calls"] + WARM_UP)}


@contextmanager
def server(latency_ms: float, an_attempt: int = 1) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The project's own simulated provider, with an empty world."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "world").mkdir()
        command = [sys.executable, __file__, "--calls-an-attempt", str(an_attempt), "--serve"]
        command += ["--world", f"{folder}/world"]
        command += ["--log", f"{folder}/requests.jsonl", "--latency-ms", str(latency_ms)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().decode().split()[1], process
        finally:
            process.stdin.close()
            process.wait(20)


def serve(an_attempt: int, arguments: list[str]) -> None:
    """Be the server, with an agent that looks at its files before it hands in the work."""
    from hapi_pipeline.simulate import server as simulated

    plan = simulated._plan
    look = [("list_files", "{}")]

    def longer(request: Any, world: Any) -> list[list[tuple[str, str]]]:
        made = plan(request, world)
        return [look] * (an_attempt - len(made)) + made

    simulated._plan = longer
    sys.argv[1:] = arguments
    simulated.main()


def _cpu_of(pid: int) -> float:
    """CPU seconds of a process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _cpu_of_children() -> float:
    """CPU seconds of the processes that this one has started, and of theirs, those that have ended left out (Linux)."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sum(_cpu_of(pid) for pid in found - {os.getpid()})


def measured(client: str, base: str, in_flight: int, calls: int) -> dict[str, float]:
    """Warm up, make the calls, and measure."""
    run = ours(base, in_flight) if client == "our loop" else bare(client, base, in_flight)
    with run_loop() as wait:
        run(WARM_UP, wait)
        began, cpu, files = time.perf_counter(), time.process_time(), _cpu_of_children()
        made, attempts = run(calls, wait)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        files = _cpu_of_children() - files
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "calls": made,
        "rate": made / seconds,
        "attempts_rate": attempts / seconds,
        "cpu_ms": cpu * 1000 / made,
        "files_ms": files * 1000 / made,
        "peak_mib": peak,
    }


Wait = Callable[[Awaitable[Any]], Any]
Runner = Callable[[int, Wait], tuple[int, int]]
"""(calls to make, how to wait) -> (calls made, attempts finished)"""


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

    def run(calls: int, wait: Wait) -> tuple[int, int]:
        ledger = AttemptLedger(root / str(calls))
        # as many attempts however many calls each of them takes, and enough of them for the process of the files
        number = max(calls, 24)
        tasks = [replace(task(f"{calls}-{n}"), model=model) for n in range(number)]
        results = run_tasks(tasks, ledger, AgentLimits(), simulated_base=base)
        made = sum(r.steps for r in results)
        if any(r.status != "done" for r in results):
            raise RuntimeError("an attempt failed")
        return made, len(results)

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
    ways = {
        "litellm": _litellm, "litellm-set": _litellm_set, "openai": _openai, "httpx": _httpx, "aiohttp": _aiohttp,
    }  # fmt: skip
    call = ways[client]
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

    return lambda calls, wait: (int(wait(work(calls))), 0)


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


def _litellm_set(base: str) -> Any:
    """The same calls as our loop makes them."""
    from hapi_pipeline.agents import executor, provider

    provider.prepare_litellm()
    one, tools = task("J"), _tools()
    endpoint = provider.endpoint_of(one.model, base)
    provider.introduce(endpoint, one.model.prices[0])
    numbers = iter(range(10**9))
    ready: list[bool] = []

    def call(told: Any) -> Any:
        if not ready:
            asyncio.get_running_loop().set_default_executor(executor.Threads(64))
            ready.append(True)
        return provider._call(endpoint, told, tools, f"bench-{next(numbers)}", 600.0)

    return call


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
