"""A loopback provider with the OpenAI interface that plays the simulated models.

It answers with tool calls that write real files. What a model gets right is asked of the simulated world;
everything else follows from the request, so the same request always has the same answer. Each request is
logged before it is answered, as billed, or as replayed when its Idempotency-Key has been seen before.

    python -m hapi_pipeline.simulate.server --world DIR --log FILE [--latency-ms N] [--port N]

prints ``listening http://127.0.0.1:PORT/v1`` and ends when its standard input does, so it never outlives its
parent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hapi_pipeline.naming import digest
from hapi_pipeline.simulate import files

if TYPE_CHECKING:
    from aiohttp import web

FEEDBACK_HEADING = "## Feedback on your previous attempt"
_CREATED = 1_700_000_000  # a constant: a reply depends on its request alone
_FENCED = re.compile(r"^<<<([A-Z]+-[0-9a-f]{12})\n.*?\n\1>>>$", re.DOTALL | re.MULTILINE)
_CHARACTERS_PER_TOKEN = 4


class Outcomes(Protocol):
    """What the server asks of the simulated world."""

    def criteria(self, job_id: str) -> tuple[tuple[str, str], ...]:
        """(criterion id, text) of the job's rubric; empty for an unknown job."""

    def passed(self, job_id: str, model_id: str, round: str) -> frozenset[str]:
        """Ids of the criteria that this attempt meets."""


@dataclass(frozen=True)
class Request:
    """What the server reads out of a request."""

    model: str
    job_id: str
    round: str
    category: str
    attachment: str | None
    step: int  # replies in the conversation so far
    size: int  # characters

    def roll(self, purpose: str, sides: int) -> int:
        """A number from 0 to sides - 1 that depends on the attempt alone."""
        return int(digest(purpose, self.model, self.job_id, self.round, length=12), 16) % sides


def parse(body: Mapping[str, Any]) -> Request:
    """Read a chat request. Raises ValueError, TypeError, KeyError or AttributeError for what is not one."""
    messages = body["messages"]
    brief = _brief(messages)
    ours = _FENCED.sub("", brief)  # what stands in fences was written by clients and graders
    job = re.search(r"^Job reference: (.*)$", ours, re.MULTILINE)
    attempt = re.search(r"^Attempt: (\d{1,4})$", ours, re.MULTILINE)
    category = re.search(r"^Category: (.*)$", brief, re.MULTILINE)
    material = re.search(r"^- ((?:attachments|previous)/.+) \(\d+ bytes\)$", ours, re.MULTILINE)
    feedback = any(line == FEEDBACK_HEADING for line in ours.splitlines())
    return Request(
        model=str(body["model"]),
        job_id=job.group(1) if job else "",
        round=round_of(int(attempt.group(1)) if attempt else 1, feedback),
        category=category.group(1) if category else "",
        attachment=material.group(1) if material else None,
        step=sum(1 for m in messages if m.get("role") == "assistant"),
        size=sum(len(str(m.get("content") or "")) + len(str(m.get("tool_calls") or "")) for m in messages),
    )


def _brief(messages: Sequence[Mapping[str, Any]]) -> str:
    for message in messages:
        if message.get("role") == "user":
            content = message.get("content") or ""
            parts = [content] if isinstance(content, str) else [str(p.get("text", "")) for p in content]
            return "\n".join(parts)
    return ""


def round_of(attempt: int, feedback: bool) -> str:
    """The round that the n-th attempt at a job belongs to."""
    if attempt <= 1:
        return "agent_alone"
    return f"feedback_{attempt - 1}" if feedback else f"retry_{attempt - 1}"


def answer(request: Request, world: Outcomes) -> list[dict[str, Any]]:
    """The tool calls of the reply, as (name, arguments text) in OpenAI's form."""
    plan = _plan(request, world)
    calls = plan[min(request.step, len(plan) - 1)]
    return [
        {
            "id": "call_" + digest(request.model, request.job_id, request.round, f"{request.step}.{n}", length=24),
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        for n, (name, arguments) in enumerate(calls)
    ]


def _plan(request: Request, world: Outcomes) -> list[list[tuple[str, str]]]:
    """The replies of the attempt, one after the other, each a list of (tool, arguments)."""
    criteria = world.criteria(request.job_id)
    met = world.passed(request.job_id, request.model, request.round) if criteria else frozenset()
    made = files.deliverables(request, [text for key, text in criteria if key in met])
    writes = [_call("write_file", path=f.path, content=f.content, encoding=f.encoding) for f in made]
    finish = _call("finish", summary=f"Work for {request.job_id} is done.", deliverables=[f.path for f in made])
    look = [_call("list_files")]
    read = [_call("read_attachment", path=request.attachment)] if request.attachment else look
    plans = {
        1: [[*look, *read], [*writes, finish]],
        2: [read, [*writes, _call("check_deliverables")], [finish]],
    }
    plan = plans.get(request.roll("plan", 24), [[*writes, finish]])
    perfect = bool(criteria) and len(met) == len(criteria)
    if not perfect and request.roll("malformed", 100) == 0:
        plan = [[("write_file", '{"path": "' + made[0].path + '", "content": "Begin')], *plan]
    return plan


def _call(tool: str, **arguments: Any) -> tuple[str, str]:
    return tool, json.dumps(arguments)


def completion(request: Request, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """The body of the answer, with usage counted from the length of the texts."""
    written = sum(len(c["function"]["arguments"]) for c in calls)
    usage = {
        "prompt": 700 + request.size // _CHARACTERS_PER_TOKEN,
        "completion": 40 + written // _CHARACTERS_PER_TOKEN,
    }
    identity = digest(request.model, request.job_id, request.round, str(request.step), str(request.size), length=24)
    return {
        "id": f"chatcmpl-{identity}",
        "object": "chat.completion",
        "created": _CREATED,
        "model": request.model,
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {"role": "assistant", "content": None, "tool_calls": calls},
            }
        ],
        "usage": {
            "prompt_tokens": usage["prompt"],
            "completion_tokens": usage["completion"],
            "total_tokens": usage["prompt"] + usage["completion"],
        },
    }


class BillingLog:
    """One line a request, handed to the system before the reply goes out: a kill cannot lose it."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.keys = _logged_keys(path)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            os.write(self._file, b"\n")  # a line torn by a power cut must not swallow the next one

    def note(self, key: str | None, request: Request, usage: Mapping[str, int]) -> None:
        """Log a request; a request without a key is always billed."""
        seen = key is not None and key in self.keys
        record = {
            "key": key,
            "event": "replayed" if seen else "billed",
            "model": request.model,
            "job_id": request.job_id,
            "round": request.round,
            "prompt_tokens": usage["prompt_tokens"],
            "completion_tokens": usage["completion_tokens"],
        }
        os.write(self._file, (json.dumps(record) + "\n").encode("ascii"))
        if key is not None:
            self.keys.add(key)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _logged_keys(path: Path) -> set[str]:
    keys: set[str] = set()
    if path.exists():
        for line in path.read_bytes().splitlines():
            try:
                keys.add(json.loads(line)["key"])
            except (ValueError, KeyError, TypeError):
                continue  # a torn line: its request was never answered
    return keys


def application(world: Outcomes, log: BillingLog, latency_ms: float = 0.0) -> web.Application:
    """The aiohttp application."""
    from aiohttp import web

    async def complete(received: web.Request) -> web.Response:
        try:
            request = parse(await received.json())
        except (ValueError, TypeError, KeyError, AttributeError):
            error = {"error": {"message": "This is not a chat request.", "type": "invalid_request_error"}}
            return web.json_response(error, status=400)
        body = completion(request, answer(request, world))
        log.note(received.headers.get("Idempotency-Key"), request, body["usage"])
        if latency_ms:
            await asyncio.sleep(latency_ms / 1000)
        return web.json_response(body)

    app = web.Application(client_max_size=256 << 20)
    app.router.add_post("/v1/chat/completions", complete)
    return app


async def serve(world: Outcomes, log: BillingLog, latency_ms: float, port: int) -> None:
    """Serve on the loopback interface until cancelled; prints the address first."""
    from aiohttp import web

    runner = web.AppRunner(application(world, log, latency_ms), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    print(f"listening http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.Event().wait()


def _end_with_input() -> None:
    """End the process when standard input does: the parent holds the other end, and is gone."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os._exit(0)  # nothing is lost: every log line is with the system already

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="hapi_pipeline.simulate.server", description="The simulated provider.")
    parser.add_argument("--world", type=Path, required=True, help="folder with truth.csv and rubrics.csv")
    parser.add_argument("--log", type=Path, required=True, help="file to which one line a request is added")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args(arguments)
    _end_with_input()
    from hapi_pipeline.simulate.world import World

    world: Outcomes = World.load(given.world)
    asyncio.run(serve(world, BillingLog(given.log), given.latency_ms, given.port))


if __name__ == "__main__":
    main()
