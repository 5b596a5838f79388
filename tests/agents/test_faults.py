"""A provider that does everything wrong: each fault ends as a typed attempt, and the run goes on with the next one.

The table of docs/agents.md is made from the cases here: `python -m tests.agents.test_faults` writes it.
"""

from __future__ import annotations

import io
import json
import re
import socket
import struct
import threading
import time
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.agents import provider, run
from hapi_pipeline.agents.ledger import FINISH_REASONS, AttemptLedger, Result
from hapi_pipeline.agents.run import run_tasks
from hapi_pipeline.agents.tasks import Task
from hapi_pipeline.registry import AgentLimits, Pool

SECRET = "tok-4815162342-very-secret"
DOCS = Path(__file__).parents[2] / "docs/agents.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
POLICY = provider.CallPolicy(seconds=4.0, tries=3, first_wait=0.01, longest_wait=0.02, longest_retry_after=0.05)
LIMITS = AgentLimits(max_steps=8, max_seconds=24.0)

Answer = Callable[[int, BaseHTTPRequestHandler], None]
"""(which request of the attempt, from 1; the connection to answer on)"""


@dataclass(frozen=True)
class Case:
    """A fault, and what must become of the attempt that meets it."""

    fault: str
    answer: Answer
    status: str
    reason: str
    calls: int  # requests that reached the server
    billed: int  # replies whose tokens are counted
    maybe: int = 0  # billed perhaps
    alone: bool = False  # keeps this process, which is server and client, busy for seconds: not beside short timeouts
    hidden: bool = False  # some of litellm's clients repeat such a call by themselves and do not say so


# ---- answers


def body(*calls: tuple[str, Any], finish: str = "tool_calls", content: Any = None, **changes: Any) -> dict[str, Any]:
    made = [
        {
            "id": f"call_{n}",
            "type": "function",
            "function": {"name": name, "arguments": a if isinstance(a, str) else json.dumps(a)},
        }
        for n, (name, a) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": content, **({"tool_calls": made} if made else {})}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "sim-one-2026",
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": USAGE,
    } | changes


WRITE = ("write_file", {"path": "a.md", "content": "The work."})
FINISH = ("finish", {"summary": "Done.", "deliverables": ["a.md"]})
GOOD = body(WRITE, FINISH)


def send(to: BaseHTTPRequestHandler, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    to.send_response(status)
    for name, value in (
        {"Content-Type": "application/json", "Content-Length": str(len(data))} | (headers or {})
    ).items():
        to.send_header(name, value)
    to.end_headers()
    to.wfile.write(data)


def always(content: Any, status: int = 200, **headers: str) -> Answer:
    return lambda n, to: send(to, content, status, {k.replace("_", "-"): v for k, v in headers.items()})


def once(fault: Answer, then: Any = GOOD) -> Answer:
    return lambda n, to: fault(n, to) if n == 1 else send(to, then)


def reset(after: bytes = b"") -> Answer:
    def answer(n: int, to: BaseHTTPRequestHandler) -> None:
        if after:
            to.send_response(200)
            to.send_header("Content-Length", "100000")
            to.end_headers()
            to.wfile.write(after)
            to.wfile.flush()
        to.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        to.connection.close()  # with a reset, not an orderly end

    return answer


def trickle(seconds: float) -> Answer:
    def answer(n: int, to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Length", "100000")
        to.end_headers()
        while True:  # ends when the client goes away
            to.wfile.write(b" ")
            to.wfile.flush()
            time.sleep(seconds)

    return answer


def silence(n: int, to: BaseHTTPRequestHandler) -> None:
    to.connection.settimeout(20)
    to.rfile.read(1)  # ends when the client goes away


def in_an_hour(n: int, to: BaseHTTPRequestHandler) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    send(to, {}, 429, {"Retry-After": moment})


def bomb(megabytes: int) -> bytes:
    """Gzipped zeros."""
    packer = zlib.compressobj(9, wbits=31)
    first, next_one = (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + next_one * (megabytes - 1)


def zip_bomb() -> str:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(4):
            archive.writestr(f"{n}.bin", bytes(50 << 20))
    return b64encode(held.getvalue()).decode()


def zip_with_symlink() -> str:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        link = zipfile.ZipInfo("inside.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return b64encode(held.getvalue()).decode()


def write(path: str, content: str = "x", **more: str) -> tuple[str, Any]:
    return ("write_file", {"path": path, "content": content, **more})


def hand_in(path: str) -> tuple[str, Any]:
    return ("finish", {"summary": "", "deliverables": [path]})


def usage(**numbers: Any) -> dict[str, Any]:
    return {**GOOD, "usage": numbers}


BOUND = 22 << 20  # bytes of a reply, here less than in earnest
REFUSED_WRITES = ("../../etc/passwd", "/etc/passwd", "deliverables/../../../etc/passwd", "a\\..\\b", "con", "x" * 500)
SAME_ID = body(WRITE, FINISH)
for _call in SAME_ID["choices"][0]["message"]["tool_calls"]:
    _call["id"] = "call_0"

CASES = [
    Case("429 with `Retry-After: 1`, then a reply", once(always({}, 429, Retry_After="1")), "done", "finished", 2, 1),
    Case("429 with `Retry-After` as a date an hour away, then a reply", once(in_an_hour), "done", "finished", 2, 1),
    Case("429 with `Retry-After: 3600`, always", always({}, 429, Retry_After="3600"), "infra", "provider_error", 3, 0),
    Case("500, then a reply", once(always(b"oops", 500)), "done", "finished", 2, 1),
    Case("503, always", always({"error": {"message": "busy"}}, 503), "infra", "provider_error", 3, 0),
    Case("400, always", always({"error": {"message": "no"}}, 400), "infra", "provider_error", 1, 0),
    Case("connection reset, then a reply", once(reset()), "done", "finished", 2, 1, 1, hidden=True),
    Case("reset in the middle of the body, always", reset(b'{"id": "c1", "cho'), "infra", "provider_error", 3, 0, 3),
    Case("a byte now and then, without end", trickle(0.05), "infra", "provider_error", 2, 0, 2),
    Case("no answer at all, then a reply", once(silence), "done", "finished", 2, 1, 1),
    Case("200 that is not JSON, always", always(b"<html>hello</html>"), "infra", "provider_error", 3, 0, 3),
    Case("200 with an empty body, then a reply", once(always(b"")), "done", "finished", 2, 1, 1),
    Case(
        "200 with an error object, always",
        always({"error": {"message": "overloaded", "code": 529}}),
        "infra",
        "provider_error",
        3,
        0,
    ),
    Case(
        "redirect to itself",
        always(b"", 307, Location="/v1/chat/completions"),
        "infra",
        "provider_error",
        0,
        0,
        alone=True,
    ),
    Case("gzip bomb of 1 GB", always(bomb(1024), Content_Encoding="gzip"), "infra", "provider_error", 1, 0, 1),
    Case("empty `choices`, always", always({**GOOD, "choices": []}), "done", "format_errors", 3, 3),
    Case("null content, always", always(body(finish="stop")), "done", "format_errors", 3, 3),
    Case("unknown finish_reason", always(body(WRITE, FINISH, finish="tired")), "done", "finished", 1, 1),
    Case("content_filter, always", always(body(content="I", finish="content_filter")), "done", "refused", 3, 3),
    Case(
        "malformed tool arguments, then a reply",
        once(always(body(("write_file", '{"path": "a.md')))),
        "done",
        "finished",
        2,
        2,
    ),
    Case(
        "tool arguments that are no object, always",
        always(body(("write_file", "[1, 2]"))),
        "done",
        "format_errors",
        3,
        3,
    ),
    Case(
        "tool arguments nested 100,000 deep, always",
        always(body(("write_file", "[" * 100_000))),
        "done",
        "format_errors",
        3,
        3,
    ),
    Case(
        "tool arguments of 20 MB",
        always(body(write("a.md", "x" * (20 << 20)), FINISH)),
        "done",
        "finished",
        1,
        1,
        alone=True,
    ),
    Case(
        "reply larger than the bound (64 MiB)",
        always(body(write("a.md", "x" * BOUND), FINISH)),
        "infra",
        "provider_error",
        1,
        0,
        1,
        alone=True,
    ),
    Case(
        "files outside: `../../etc/passwd`, absolute, reserved names",
        once(always(body(*[write(p) for p in REFUSED_WRITES]))),
        "done",
        "finished",
        2,
        2,
    ),
    Case(
        "reading and handing in `../../etc/passwd`",
        once(
            always(
                body(
                    ("read_attachment", {"path": "../../etc/passwd"}),
                    hand_in("../../etc/passwd"),
                    hand_in("/etc/passwd"),
                )
            )
        ),
        "done",
        "finished",
        2,
        2,
    ),
    Case("unknown tools", once(always(body(("rm_rf", {}), ("__class__", {}), ("", {})))), "done", "finished", 2, 2),
    Case("two calls with one id", always(SAME_ID), "done", "finished", 1, 1),
    Case(
        "a base64 zip bomb (200 MB) handed in",
        always(body(write("b.zip", zip_bomb(), encoding="base64"), hand_in("b.zip"))),
        "done",
        "finished_unchecked",
        3,
        3,
    ),
    Case(
        "a zip with a symlink handed in",
        always(body(write("b.zip", zip_with_symlink(), encoding="base64"), hand_in("b.zip"))),
        "done",
        "finished_unchecked",
        3,
        3,
    ),
    Case("usage missing", always({k: v for k, v in GOOD.items() if k != "usage"}), "done", "finished", 1, 1),
    Case(
        "usage negative",
        always(usage(prompt_tokens=-5, completion_tokens=-7, total_tokens=-12)),
        "done",
        "finished",
        1,
        1,
    ),
    Case(
        "usage NaN and infinite",
        always(usage(prompt_tokens=float("nan"), completion_tokens=float("inf"), total_tokens=0)),
        "infra",
        "provider_error",
        1,
        0,
        1,
    ),
    Case("another model's id in the reply", always({**GOOD, "model": "somebody-else-9"}), "done", "finished", 1, 1),
]


# ---- the server


@dataclass
class Faulty:
    """A server whose n-th job meets the n-th case; requests are counted by job."""

    base: str
    requests: dict[str, list[str]]  # job -> idempotency keys


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    seen = Faulty("", {})

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            job = re.findall(r"^Job reference: (\S+)$", sent["messages"][1]["content"], re.MULTILINE)[0]
            keys = seen.requests.setdefault(job, [])
            keys.append(self.headers["Idempotency-Key"])
            try:
                CASES[int(job.split("-")[1])].answer(len(keys), self)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    seen.base = f"http://127.0.0.1:{server.server_address[1]}/v1"
    yield seen
    server.shutdown()
    server.server_close()


IDS = {"vllm": "hosted_vllm/sim-one", "openai": "openai/sim-one"}
"""The two ways in which litellm reaches a provider: its own handler, and the client library of OpenAI."""


@pytest.fixture
def attempted(
    faulty: Faulty, ledger: AttemptLedger, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Result]:
    """Every case in every way, all in one run."""
    monkeypatch.setenv("STUB_KEY", SECRET)
    monkeypatch.setattr(run, "POLICY", POLICY)
    monkeypatch.setattr(provider, "MAX_REPLY_BYTES", BOUND)
    monkeypatch.setattr(run, "CIRCUIT", replace(run.CIRCUIT, failures=10_000, window=10_000))  # that is for test_pools
    tasks: dict[bool, list[Task]] = {False: [], True: []}
    for way, litellm_id in IDS.items():
        model = replace(
            make_task().model, name=way, litellm=litellm_id, api_base=faulty.base, api_key_env="STUB_KEY",
            pool=Pool(way, 6),
        )  # fmt: skip
        for n, case in enumerate(CASES):
            tasks[case.alone].append(make_task(f"{way}-{n}", model=model))
    results = run_tasks(tasks[False], ledger, LIMITS)
    monkeypatch.setattr(run, "POLICY", replace(POLICY, seconds=60.0))
    results += run_tasks(tasks[True], ledger, replace(LIMITS, max_seconds=60.0))
    return {r.job_id: r for r in results}


def test_every_fault_ends_as_a_typed_attempt_and_the_run_goes_on(
    attempted: dict[str, Result], faulty: Faulty, ledger: AttemptLedger
) -> None:
    expected, got = {}, {}
    for way in IDS:
        for n, case in enumerate(CASES):
            what, job = f"{way}: {case.fault}", f"{way}-{n}"
            maybe = 0 if case.hidden and way == "vllm" else case.maybe
            expected[what] = (case.status, case.reason, case.calls, case.billed, maybe)
            got[what] = _seen(case, attempted.get(job), faulty.requests.get(job, []))
    wrong = {what: {"is": got[what], "should be": expected[what]} for what in got if got[what] != expected[what]}
    assert not wrong
    for result in attempted.values():
        assert result.finish_reason in FINISH_REASONS
        assert set(faulty.requests[result.job_id]) <= {f"{result.attempt_id}-{n}" for n in range(1, 10)}
        assert not any(p.is_symlink() for p in result.folder.rglob("*"))
        assert SECRET.encode() not in (result.folder / "steps.jsonl").read_bytes()
        assert (result.cost_usd or 0) >= 0
    assert not list(ledger.root.parent.rglob("passwd"))


def _seen(case: Case, result: Result | None, keys: list[str]) -> tuple[str, str, int, int, int]:
    """How the case went."""
    assert result is not None, f"{case.fault}: no attempt"
    lines = [json.loads(line) for line in (result.folder / "steps.jsonl").read_text().splitlines()]
    replies = [line for line in lines if line["event"] == "reply"]
    tokens = sum(r["usage"]["prompt"] + r["usage"]["completion"] for r in replies)
    assert tokens == result.prompt_tokens + result.completion_tokens
    assert bool(replies) == bool(tokens) == bool(result.cost_usd), case.fault
    calls = len(keys) if case.calls else 0  # how often a redirect is followed is the client's own affair
    return result.status, result.finish_reason, calls, len(replies), result.maybe_billed_steps


# ---- the table of the documentation


def table() -> str:
    lines = ["| the provider or the model does | status | finish_reason | calls made | counted | perhaps billed |"]
    lines += ["|---|---|---|---|---|---|"]
    for case in CASES:
        calls = case.calls or "as the client follows"
        lines.append(f"| {case.fault} | {case.status} | `{case.reason}` | {calls} | {case.billed} | {case.maybe} |")
    return "\n".join([BEGIN, *lines, END])


def test_the_table_of_the_documentation_is_that_of_the_cases() -> None:
    text = DOCS.read_text("utf-8")
    assert text[text.index(BEGIN) : text.index(END) + len(END)] == table()


if __name__ == "__main__":
    whole = DOCS.read_text("utf-8")
    DOCS.write_text(whole[: whole.index(BEGIN)] + table() + whole[whole.index(END) + len(END) :], "utf-8")
