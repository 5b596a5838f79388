"""What the agent tests share: tasks, a scripted provider, the simulated provider with a tiny world."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.agents.ledger import AttemptLedger
from hapi_pipeline.agents.tasks import Job, Task
from hapi_pipeline.registry import Model, Pool, Price
from hapi_pipeline.simulate.server import BillingLog, application

TaskMaker = Callable[..., Task]
Scripted = Callable[[int, dict[str, Any]], tuple[int, dict[str, str], bytes | Iterator[bytes]]]

PRICES = (Price(date(2020, 1, 1), input=1.0, output=10.0),)
MODEL = Model("Sim One", "hosted_vllm/sim-one", prices=PRICES, pool=Pool("sim", concurrency=4), api_base="simulated")


@pytest.fixture
def make_task() -> TaskMaker:
    def make(job_id: str = "J1", model: Model = MODEL, **changes: Any) -> Task:
        job_fields = {k: changes.pop(k) for k in list(changes) if k in Job.__dataclass_fields__}
        job = Job(job_id, "Tidy a table", "Make a clean table of the sales.", "Data Entry", None, ("excel",))
        task = Task(replace(job, **job_fields), model, "2026-03", "agent_alone", 0, "human")
        return replace(task, **changes)

    return make


@pytest.fixture
def ledger(tmp_path: Path) -> AttemptLedger:
    return AttemptLedger(tmp_path / "attempts")


class TinyWorld:
    """Ten criteria a job; an attempt meets more of them the later the round is."""

    def criteria(self, job_id: str) -> tuple[tuple[str, str], ...]:
        return tuple((f"c{n}", f"Point {n} of {job_id} is <done> & checked") for n in range(10))

    def passed(self, job_id: str, model_id: str, round: str) -> frozenset[str]:
        many = {"agent_alone": 3, "retry_1": 4, "feedback_1": 7, "feedback_2": 10}[round]
        return frozenset(f"c{n}" for n in range(many))


@dataclass
class Simulated:
    base: str
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Simulated]:
    yield from _served(tmp_path / "requests.jsonl", 0.0)


@pytest.fixture
def slow_simulated(tmp_path: Path) -> Iterator[Simulated]:
    yield from _served(tmp_path / "requests.jsonl", 60.0)


def _served(log: Path, latency_ms: float) -> Iterator[Simulated]:
    from aiohttp import web

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    billing = BillingLog(log)

    async def start() -> web.AppRunner:
        runner = web.AppRunner(application(TinyWorld(), billing, latency_ms), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    yield Simulated(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", log)
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()
    billing.close()


@dataclass
class Stub:
    """A provider that answers as a script says."""

    base: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def stub() -> Iterator[Callable[[Scripted], Stub]]:
    servers: list[ThreadingHTTPServer] = []

    def start(script: Scripted) -> Stub:
        seen = Stub("")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                seen.requests.append(body)
                seen.headers.append({k.lower(): v for k, v in self.headers.items()})
                status, headers, content = script(len(seen.requests), body)
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                if isinstance(content, bytes):
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                    return
                self.send_header("Content-Length", "1000000")
                self.end_headers()
                self._trickle(content)

            def _trickle(self, content: Iterator[bytes]) -> None:
                try:
                    for piece in content:
                        self.wfile.write(piece)
                        self.wfile.flush()
                except OSError:
                    self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        seen.base = f"http://127.0.0.1:{server.server_address[1]}/v1"
        return seen

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def call(name: str, arguments: Any, call_id: str = "call_1") -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


@pytest.fixture
def replied() -> Callable[..., bytes]:
    """The body of a chat completion with the given tool calls, each (name, arguments)."""

    def body(*calls: tuple[str, Any], content: str | None = None, finish: str = "tool_calls", **message: Any) -> bytes:
        made = [call(name, arguments, f"call_{n}") for n, (name, arguments) in enumerate(calls)]
        told = {"role": "assistant", "content": content, **({"tool_calls": made} if made else {}), **message}
        return json.dumps(
            {
                "id": "c1",
                "object": "chat.completion",
                "created": 1,
                "model": "sim-one-2026",
                "choices": [{"index": 0, "finish_reason": finish, "message": told}],
                "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
            }
        ).encode()

    return body
