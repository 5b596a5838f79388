"""The profiles that run code: an agent with `run_python`, and an agent that is a program; through the whole run."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.agents import prompt, sandbox
from hapi_pipeline.agents.ledger import AttemptLedger
from hapi_pipeline.agents.run import run_tasks
from hapi_pipeline.agents.sandbox import levels, selftest
from hapi_pipeline.agents.sandbox.scripts import Room, take_in
from hapi_pipeline.agents.tasks import Task, request_identity
from hapi_pipeline.agents.tools import CODE_TOOLS, TOOLS
from hapi_pipeline.registry import AgentLimits, Model, Registry
from hapi_pipeline.settings import Home, UserError
from tests.agents.conftest import MODEL, Stub

LIMITS = AgentLimits()
CODE = replace(MODEL, name="Coder", agent_profile="code")
TaskMaker = Callable[..., Task]


@pytest.fixture
def level() -> str:
    found = selftest.probe()
    if found.level is None:
        pytest.skip(f"no sandbox here; package: bubblewrap ({dict(found.refused)})")
    return found.level


def commanded(*command: str, reads: tuple[str, ...] = ()) -> Model:
    return Model("Program", None, agent_profile="command", command=command, command_reads=reads)


def test_a_model_makes_its_files_with_code_and_going_on_runs_nothing_twice(
    level: str,
    make_task: TaskMaker,
    ledger: AttemptLedger,
    stub: Callable[..., Stub],
    replied: Callable[..., bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_API_KEY", "sk-canary-0123456789")
    (tmp_path / "sales.csv").write_text("a,b\n1,2\n")
    script = """
import os, uuid
text = open("attachments/sales.csv").read()
open("scratch/id", "w").write(str(uuid.uuid4()))
open("deliverables/out.txt", "w").write(text + open("scratch/id").read())
print(uuid.uuid4(), dict(os.environ), os.path.exists("/proc/1/environ") and "proc")
"""
    again = "print(open('scratch/id').read()); open('/etc/x', 'w')"
    steps = [
        (("run_python", {"code": script}),),
        (("run_python", {"code": again}), ("check_deliverables", {})),
        (("finish", {"summary": "", "deliverables": ["scratch/id"]}),),
        (("finish", {"summary": "", "deliverables": ["out.txt"]}),),
    ]

    def answer(number: int, _: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, replied(*steps[number - 1])

    served = stub(answer)
    task = make_task(model=CODE, attachments=(tmp_path / "sales.csv",))
    (first,) = run_tasks([task], ledger, LIMITS, simulated_base=served.base)
    assert (first.finish_reason, first.sandbox, first.agent_profile) == ("finished", level, "code")
    assert [d.path for d in first.deliverables] == ["out.txt"]
    made = (first.folder / "deliverables/out.txt").read_text()
    assert made.startswith("a,b\n1,2\n")

    told = [m["content"] for m in served.requests[-1]["messages"] if m["role"] == "tool"]
    assert told[0].startswith("exit code 0, after")
    assert "deliverables/out.txt (new, " in told[0]
    assert "canary" not in told[0]
    assert made.removeprefix("a,b\n1,2\n") in told[1]
    assert told[1].startswith("exit code 1")
    assert "not under deliverables/" in told[3]
    tools = [t["function"]["name"] for t in served.requests[0]["tools"]]
    assert tools == [t["function"]["name"] for t in CODE_TOOLS]
    assert "pandas " in served.requests[0]["messages"][0]["content"]
    config = json.loads((first.folder / "config.json").read_text())
    assert config["sandbox"]["level"] == level
    assert len(config["sandbox"]["failed_attacks"]) == 8
    assert "pandas" in config["toolbox"]
    assert not list((first.folder / "runs").glob("*.tar"))
    for file in first.folder.rglob("*"):
        assert not file.is_file() or b"sk-canary" not in file.read_bytes()


def test_an_interrupted_attempt_finds_the_files_of_its_runs_again(level: str, tmp_path: Path) -> None:
    from hapi_pipeline.agents.tools import Workspace

    script = "import uuid; open('deliverables/x', 'w').write(str(uuid.uuid4())); print(uuid.uuid4())"

    def begin() -> Workspace:
        workspace = Workspace(tmp_path, sandbox=level)
        workspace.prepare([], [])
        return workspace

    one = begin()
    told = one.run("run_python", {"code": script})
    made = (tmp_path / "deliverables/x").read_text()
    seconds = one.take_seconds()
    two = begin()
    assert not (tmp_path / "deliverables/x").exists()
    assert two.run("run_python", {"code": script}) == told
    assert (tmp_path / "deliverables/x").read_text() == made
    assert two.take_seconds() == seconds > 0
    three = begin()
    assert three.run("run_python", {"code": script + " "}) != told  # another script: nothing is taken for it
    (tmp_path / "runs/0001.tar").unlink()
    four = begin()
    four.run("run_python", {"code": script})  # a run whose files are lost is made again
    assert (tmp_path / "deliverables/x").read_text() != made


def _tar(path: Path, *members: tuple[str, bytes | str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, kind, data in members:
            info = tarfile.TarInfo(name)
            info.type = kind if isinstance(kind, bytes) else tarfile.REGTYPE
            info.linkname, info.size, info.mode = "/etc/passwd", len(data), 0o6777
            archive.addfile(info, io.BytesIO(data))
    return path


def test_what_a_sandbox_hands_out_is_not_trusted(tmp_path: Path) -> None:
    folder = tmp_path / "attempt"
    (folder / "deliverables").mkdir(parents=True)
    (folder / "deliverables/old.txt").write_text("old")
    tar = _tar(
        tmp_path / "t.tar",
        ("deliverables/../../escaped", "f", b"x"),
        ("/etc/escaped", "f", b"x"),
        ("deliverables/link", tarfile.SYMTYPE, b""),
        ("deliverables/hard", tarfile.LNKTYPE, b""),
        ("deliverables/device", tarfile.CHRTYPE, b""),
        ("deliverables/fifo", tarfile.FIFOTYPE, b""),
        ("deliverables/a.txt", "f", b"a"),
        ("deliverables/A.TXT", "f", b"b"),
        ("deliverables/a.txt/under", "f", b"b"),
        ("deliverables/con.txt", "f", b"b"),
        ("deliverables/big", "f", b"b" * 200),
        ("elsewhere.txt", "f", b"b"),
        ("scratch/s", "f", b"s"),
    )
    taken = take_in(tar, folder, Room(100, 3))
    assert taken.changed == (
        "deliverables/a.txt (new, 1 bytes)",
        "deliverables/old.txt (deleted)",
        "scratch/s (new, 1 bytes)",
    )
    assert len(taken.left_out) == 7
    assert [p.name for p in (folder / "deliverables").iterdir()] == ["a.txt"]
    assert (folder / "deliverables/a.txt").stat().st_mode & 0o7777 == 0o644
    assert not (tmp_path / "escaped").exists()


def test_a_sandbox_that_fails_is_no_fault_of_the_model(
    level: str, make_task: TaskMaker, ledger: AttemptLedger, stub: Callable[..., Stub],
    replied: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sandbox.libraries(level)

    def broken(*_: Any) -> None:
        raise sandbox.SandboxError("no")

    monkeypatch.setattr(levels, "run", broken)
    served = stub(lambda *_: (200, {}, replied(("run_python", {"code": "1"}))))
    (result,) = run_tasks([make_task(model=CODE)], ledger, LIMITS, simulated_base=served.base)
    assert (result.status, result.finish_reason, len(served.requests)) == ("infra", "sandbox_error", 1)


@pytest.fixture
def no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAPI_SANDBOX", "off")


@pytest.mark.parametrize("model", [CODE, commanded("/bin/true")])
def test_without_a_sandbox_nothing_is_asked(
    model: Model, no_sandbox: None, make_task: TaskMaker, ledger: AttemptLedger, stub: Callable[..., Stub]
) -> None:
    served = stub(lambda *_: (500, {}, b""))
    with pytest.raises(UserError, match="apt-get install bubblewrap"):
        run_tasks([make_task(model=model)], ledger, LIMITS, simulated_base=served.base)
    assert served.requests == []


PROGRAM = """
import json, os, sys
brief, job = open("brief.md").read(), json.load(open("job.json"))
assert job["title"] in brief, brief
assert sorted(os.listdir(".")) == sorted([".tmp", "attachments", "brief.md", "deliverables", "job.json", "scratch"] + (
    ["previous"] if job["attempt"] > 1 else [])), os.listdir(".")
open("deliverables/answer.md", "w").write(open("attachments/in.txt").read() + json.dumps(dict(os.environ)))
json.dump({"cost_usd": 0.25, "prompt_tokens": 10, "completion_tokens": -1, "model": "mine-1"}, open("usage.json", "w"))
print("said")
"""


def test_an_agent_may_be_a_program(
    level: str, make_task: TaskMaker, ledger: AttemptLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_API_KEY", "sk-canary-0123456789")
    (tmp_path / "agent.py").write_text(PROGRAM)
    (tmp_path / "in.txt").write_text("given")
    tmp_path.chmod(0o755)
    model = commanded("{python}", "-I", "-S", str(tmp_path / "agent.py"), reads=(str(tmp_path / "agent.py"),))
    task = make_task(model=model, attachments=(tmp_path / "in.txt",))
    (result,) = run_tasks([task], ledger, LIMITS)
    assert (result.finish_reason, result.status, result.sandbox) == ("finished", "done", level)
    assert (result.cost_usd, result.prompt_tokens, result.completion_tokens) == (0.25, 10, 0)
    assert result.model_snapshot == "mine-1"
    handed_in = (result.folder / "deliverables/answer.md").read_text()
    assert handed_in.startswith("given")
    assert "canary" not in handed_in
    assert (result.folder / "output.txt").read_text() == "said\n"
    assert run_tasks([task], ledger, LIMITS) == [result]
    before = request_identity(task, LIMITS)
    (tmp_path / "agent.py").write_text(PROGRAM + "\n")
    assert request_identity(task, LIMITS) != before  # another program is another agent


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("open('deliverables/a', 'w').write('x'); raise SystemExit(2)", "finished_unchecked"),
        ("pass", "finished_unchecked"),
        ("import time; time.sleep(60)", "limit_wall"),
        ("for n in range(9000): open(f'scratch/{n}', 'w')", "limit_resources"),
        ("open('deliverables/a', 'w').write('x'); open('usage.json', 'w').write('[' * 9999)", "finished"),
        (None, "sandbox_error"),
    ],
)
def test_how_a_program_may_end(
    level: str, script: str | None, reason: str, make_task: TaskMaker, ledger: AttemptLedger
) -> None:
    model = commanded("{python}", "-I", "-S", "-c", script) if script else commanded("/nowhere/agent")
    limits = replace(LIMITS, max_seconds=1.5 if reason == "limit_wall" else 30.0)
    (result,) = run_tasks([make_task(model=model)], ledger, limits)
    assert result.finish_reason == reason
    assert result.status == ("infra" if reason == "sandbox_error" else "done")
    assert (result.cost_usd, result.prompt_tokens) == (0.0 if reason == "sandbox_error" else None, 0)


def test_the_paper_profile_is_what_it_was(make_task: TaskMaker) -> None:
    assert prompt.system_prompt("paper", (("pandas", "1"),)) == prompt.SYSTEM
    code = prompt.system_prompt("code", (("pandas", "3.1"), ("numpy", "2.4")))
    assert "pandas 3.1, numpy 2.4" in code
    assert "cannot run code" not in code
    assert "run_python" not in {t["function"]["name"] for t in TOOLS}
    identities = [request_identity(make_task(model=m), LIMITS) for m in (MODEL, CODE)]
    assert identities[0]["prompt_sha256"] == prompt.PROMPT_SHA256
    assert identities[1]["prompt_sha256"] != identities[0]["prompt_sha256"]
    assert identities[1]["tools_sha256"] != identities[0]["tools_sha256"]


def test_a_command_stands_in_the_registry(home: Home) -> None:
    registry = Registry.of(home)
    model = commanded("/opt/agent/run", "--fast", reads=("/opt/agent",))
    registry.save_models([model])
    assert registry.models == (model,)
    assert not model.external
    text = (home.registry / "models.yaml").read_text()
    for wrong, message in (
        (text.replace("- --fast", "- 3"), "a list of texts"),
        (text.replace("- /opt/agent\n", "- opt/agent\n"), "absolute paths"),
        (text.replace("agent_profile: command", "agent_profile: paper"), "goes with agent_profile: command"),
        (text.replace("  agent:", "  other:"), "a list of texts"),
    ):
        assert wrong != text
        (home.registry / "models.yaml").write_text(wrong)
        with pytest.raises(UserError, match=message):
            _ = Registry.of(home).models
