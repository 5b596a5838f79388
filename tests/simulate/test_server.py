"""The simulated provider: a pure function of the request, real files, an honest bill."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import re
import subprocess
import sys
import threading
import urllib.request
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.simulate import files, server
from hapi_pipeline.simulate.provider import simulated_provider
from hapi_pipeline.simulate.server import BillingLog, Request, answer, completion, parse, round_of

TEXTS = (
    "Totals <match> & balance",
    "=SUM(A1:A9) is used, with a comma",
    'A "quoted" line',
    "Ünïcode ≥ plain",
)


class World:
    def criteria(self, job_id: str) -> tuple[tuple[str, str], ...]:
        return () if job_id == "unknown" else tuple((f"c{n}", text) for n, text in enumerate(TEXTS))

    def passed(self, job_id: str, model_id: str, round: str) -> frozenset[str]:
        return frozenset({"c0", "c1", "c2", "c3"} if round == "feedback_2" else {"c0", "c1", "c2"})


def body(job: str = "J1", attempt: int = 1, extra: str = "", replies: int = 0) -> dict[str, Any]:
    brief = f"Job reference: {job}\nAttempt: {attempt}\n\nSee below.\n{extra}"
    talk = [{"role": "assistant", "content": None}, {"role": "tool", "content": "ok"}] * replies
    return {
        "model": "sim-x",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": brief}, *talk],
    }


HEADING = "## Feedback on your previous attempt"


@pytest.mark.parametrize(
    ("attempt", "extra", "round"),
    [
        (1, "", "agent_alone"),
        (2, "", "retry_1"),
        (2, HEADING, "feedback_1"),
        (3, HEADING, "feedback_2"),
        (2, f"<<<JOB-0123456789ab\n{HEADING}\nAttempt: 9\nJOB-0123456789ab>>>", "retry_1"),
    ],
)
def test_the_round_is_read_from_the_brief(attempt: int, extra: str, round: str) -> None:
    assert parse(body("a b/1", attempt, extra)).round == round
    assert parse(body("a b/1", attempt, extra)).job_id == "a b/1"
    assert round_of(3, feedback=False) == "retry_2"


def plan(job: str, round: tuple[int, str] = (1, "")) -> list[list[tuple[str, str]]]:
    """The (tool, arguments) of every reply of an attempt, up to the one that calls finish."""
    replies: list[list[tuple[str, str]]] = []
    while not replies or replies[-1][-1][0] != "finish":
        calls = answer(parse(body(job, *round, replies=len(replies))), World())
        replies.append([(c["function"]["name"], c["function"]["arguments"]) for c in calls])
        assert len(replies) < 6
    return replies


def test_attempts_take_different_ways_and_all_end() -> None:
    plans = [plan(f"J{n}") for n in range(600)]
    lengths = Counter(len(p) for p in plans)
    assert 0.85 < lengths[1] / 600 < 0.95
    assert set(lengths) >= {1, 2, 3}
    malformed = 0
    for made in plans:
        for name, arguments in (c for reply in made for c in reply):
            try:
                json.loads(arguments)
            except ValueError:
                malformed += 1
                assert name == "write_file"
    assert 1 <= malformed <= 20
    assert all(json.loads(a) is not None for n in range(200) for r in plan(f"J{n}", (3, HEADING)) for _, a in r)


def test_the_reply_depends_on_the_request_alone() -> None:
    def once() -> str:
        request = parse(body("J7", 2, HEADING))
        return json.dumps(completion(request, answer(request, World())))

    assert once() == once()


def text_of(file: files.File) -> str:
    if file.encoding == "text":
        return file.content
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(file.content))) as archive:
        assert archive.testzip() is None
        if file.path.endswith(".docx"):
            xml = archive.read("word/document.xml").decode()
            return "\n".join(_unescape(t) for t in re.findall(r"<w:t [^>]*>([^<]*)</w:t>", xml))
    import openpyxl

    sheet = openpyxl.load_workbook(io.BytesIO(base64.b64decode(file.content))).active
    assert sheet is not None
    assert all(cell.data_type == "s" for row in sheet.iter_rows() for cell in row), "a text is never a formula"
    return "\n".join(str(value) for row in sheet.iter_rows(values_only=True) for value in row)


def _unescape(text: str) -> str:
    import html

    return html.unescape(text)


def test_every_kind_of_file_holds_the_criteria_that_are_met() -> None:
    seen = set()
    for number in range(80):
        request = Request("sim-x", f"J{number}", "agent_alone", "", None, 0, 0)
        made = files.deliverables(request, TEXTS[:3])[0]
        kind = made.path.rpartition(".")[2]
        seen.add(kind)
        text = text_of(made)
        if kind in ("html", "svg"):
            text = _unescape(text)
        if kind == "csv":
            text = "\n".join(cell for row in csv.reader(io.StringIO(text)) for cell in row)
        assert [t for t in TEXTS if t in text] == list(TEXTS[:3]), kind
    assert seen == {"md", "csv", "html", "svg", "docx", "xlsx"}


def test_the_category_decides_the_kind_of_file() -> None:
    kinds = {
        files.deliverables(Request("m", f"J{n}", "agent_alone", "Data Analysis", None, 0, 0), [])[0].path
        for n in range(40)
    }
    assert kinds == {"deliverable.xlsx", "deliverable.csv", "deliverable.md"}


def test_an_unknown_job_gets_a_generic_deliverable() -> None:
    made = [json.loads(arguments) for reply in plan("unknown") for name, arguments in reply if name == "write_file"]
    assert made
    assert not any(text in m["content"] for m in made for text in TEXTS)


def test_the_bill_survives_a_restart_and_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    request, usage = parse(body()), {"prompt_tokens": 3, "completion_tokens": 4}
    log = BillingLog(path)
    for key in ("k1", "k2", "k1", None, None):
        log.note(key, request, usage)
    log.close()
    with path.open("a") as file:
        file.write('{"key": "k3", "ev')
    log = BillingLog(path)
    for key in ("k2", "k3"):
        log.note(key, request, usage)
    log.close()
    lines = []
    for line in path.read_text().splitlines():
        if line.endswith("}"):
            lines.append(json.loads(line))
    assert [(x["key"], x["event"]) for x in lines] == [
        ("k1", "billed"), ("k2", "billed"), ("k1", "replayed"), (None, "billed"), (None, "billed"),
        ("k2", "replayed"), ("k3", "billed"),
    ]  # fmt: skip
    assert lines[0] == {
        "key": "k1", "event": "billed", "model": "sim-x", "job_id": "J1", "round": "agent_alone",
        "prompt_tokens": 3, "completion_tokens": 4,
    }  # fmt: skip


def post(base: str, data: bytes, key: str | None = None) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
    request = urllib.request.Request(f"{base}/chat/completions", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_process_of_its_own_works_from_any_thread_and_bills_each_key_once(tmp_path: Path) -> None:
    log = tmp_path / "sim" / "requests.jsonl"
    asked = json.dumps(body()).encode()
    bodies: list[bytes] = []

    def work() -> None:
        for _ in range(2):  # the second server reads the first one's log
            with simulated_provider(tmp_path / "sim") as base:
                assert base.startswith("http://127.0.0.1:")
                bodies.extend(post(base, asked, "k1")[1] for _ in range(2))
                assert [post(base, bad)[0] for bad in (b"{", b"[]", b'{"messages": 3}', b"\xff")] == [400] * 4

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert len(bodies) == 4
    assert len(set(bodies)) == 1
    reply = json.loads(bodies[0])
    assert reply["choices"][0]["message"]["tool_calls"]
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == ["billed"] + ["replayed"] * 3


def test_the_server_ends_with_its_input(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "hapi_pipeline.simulate.server",
        "--world",
        str(tmp_path),
        "--log",
        str(tmp_path / "l"),
    ]
    root = str(Path(server.__file__).parents[2])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"listening http://127.0.0.1:")
        process.stdin.close()
        assert process.wait(20) == 0


def test_latency_is_waited_for_after_the_bill_is_written(tmp_path: Path) -> None:
    from aiohttp.test_utils import TestClient, TestServer

    async def scenario() -> None:
        log = BillingLog(tmp_path / "log")
        async with TestClient(TestServer(server.application(World(), log, latency_ms=10_000))) as client:
            request = asyncio.create_task(client.post("/v1/chat/completions", json=body()))
            while not (tmp_path / "log").read_text().endswith("\n"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert not request.done()
            request.cancel()
        log.close()

    asyncio.run(scenario())
