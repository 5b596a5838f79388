"""The sandbox: at every level that this machine offers, what must not work does not, and what should work does."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hapi_pipeline.agents.sandbox import attacks, confine, levels, selftest, toolbox
from hapi_pipeline.agents.sandbox.levels import Limits, Outcome, Program, SandboxError
from hapi_pipeline.settings import UserError

ROOT = Path(__file__).resolve().parents[2]


def _offered(level: str) -> str | None:
    """Why a level cannot be tested here."""
    why = levels.missing(level)
    if why is None and level != "landlock":
        try:
            levels.run(level, Program(script="pass"), io.BytesIO())
        except SandboxError as error:
            why = f"{level} does not work here: {error}"
    return why


PACKAGES = {"bubblewrap": "bubblewrap", "podman": "podman", "docker": "docker.io"}


@pytest.fixture(params=levels.LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    why = _offered(request.param)
    if why:
        pytest.skip(f"{why}; package: {PACKAGES.get(request.param, 'none, it is the kernel')}")
    return str(request.param)


def play(level: str, script: str, limits: Limits | None = None, **inputs: Path) -> tuple[Outcome, dict[str, bytes]]:
    """What came of a script, and the files that it left."""
    packed = io.BytesIO()
    outcome = levels.run(level, Program(script=script, inputs=inputs, limits=limits or Limits(seconds=20)), packed)
    packed.seek(0)
    with tarfile.open(fileobj=packed) as archive:
        assert all(member.isreg() for member in archive)
        files = {m.name: file.read() for m in archive if (file := archive.extractfile(m))}
    return outcome, files


def test_every_attack_fails_inside(level: str) -> None:
    checks = selftest.attack(level)
    assert [(c.attack, c.seen) for c in checks if not c.held] == []
    assert len(checks) == 8


def test_the_same_attacks_succeed_where_nothing_holds_them(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "deliverables").mkdir()
    with selftest._bait() as bait:
        (tmp_path / "attachments").symlink_to(bait.folder / "inputs")
        # without the line that would stop this very process
        reach = "\n".join(line for line in attacks.REACH.splitlines() if "ptrace" not in line)
        done = subprocess.run([sys.executable, "-c", reach], cwd=tmp_path, capture_output=True, text=True, check=True)
        got = json.loads(done.stdout.removeprefix("reached:"))
        assert {"tcp", "udp", "abstract unix socket", "environment", "truncate", "chmod", "signal"} <= set(got)
        assert {"/proc/.../environ", "/proc/.../cmdline", "symlink", "input"} <= set(got)
        found = list(selftest._reached(bait, got, done.stdout))
        assert [c.held for c in found] == [False] * 4
        assert sorted(bait.touched()) == []  # they were taken from the queue by the check before


def test_a_script_finds_nothing_of_ours_in_its_environment(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_API_KEY", "sk-canary-0123456789")
    outcome, _ = play(level, "import os, json; print(json.dumps(dict(os.environ)))")
    found = json.loads(outcome.output)
    assert set(found) <= {*levels.ENVIRONMENT, "PWD", "LC_CTYPE"}
    assert "canary" not in outcome.output


def test_what_a_script_prints_is_kept_from_both_ends(level: str) -> None:
    outcome, _ = play(level, "import sys\nfor n in range(100_000): print(n)\nprint('end', file=sys.stderr, flush=True)")
    assert outcome.exit_code == 0
    assert outcome.output.startswith("0\n1\n")
    assert outcome.output.rstrip().endswith("end")
    assert "bytes left out" in outcome.output
    assert len(outcome.output) < 17_000


def test_an_error_is_told_without_paths_of_the_machine(level: str) -> None:
    outcome, _ = play(level, "def f():\n    raise ValueError('told')\nf()")
    assert outcome.exit_code == 1
    assert outcome.output.splitlines()[1].startswith('  File "script.py", line 3')
    assert "ValueError: told" in outcome.output
    outcome, _ = play(level, "import os; print(os.getcwd(), os.path.realpath('deliverables'))")
    assert outcome.output == "/workspace /workspace/deliverables\n"


def test_only_regular_files_come_back(level: str) -> None:
    script = """
import os
open("deliverables/a.txt", "w").write("a")
os.symlink("/etc/passwd", "deliverables/link")
os.symlink("/etc", "deliverables/folder")
os.link("deliverables/a.txt", "deliverables/hard")
for make in (lambda: os.mkfifo("deliverables/fifo"), lambda: os.mknod("deliverables/device", 0o20666, 0x103)):
    try:
        make()
        print("made")
    except OSError as error:
        print(error.strerror)
print(os.path.exists("deliverables/link"))
"""
    outcome, files = play(level, script)
    assert {name: data for name, data in files.items() if name != "script.py"} == {
        "deliverables/a.txt": b"a",
        "deliverables/hard": b"a",
    }
    assert outcome.output.splitlines()[:2] == ["Operation not permitted"] * 2


@pytest.mark.parametrize(
    ("script", "limits", "why"),
    [
        ("while True: pass", Limits(seconds=1), "wall"),
        ("import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(60)", Limits(seconds=1), "wall"),
        ("import os\nfor n in range(5000): open(f'scratch/{n}', 'w')", Limits(seconds=20, files=100), "files"),
    ],
)
def test_a_limit_ends_a_script(level: str, script: str, limits: Limits, why: str) -> None:
    outcome, _ = play(level, script, limits)
    if why == "files" and level == "bubblewrap" and outcome.why == "":
        pytest.fail("so many files were made")
    assert outcome.why == why
    assert outcome.exit_code == -signal.SIGKILL


def test_files_made_before_the_time_was_up_are_kept(level: str) -> None:
    script = "open('deliverables/a', 'w').write('x')\nimport time; time.sleep(60)"
    outcome, files = play(level, script, Limits(seconds=1))
    assert (outcome.why, files["deliverables/a"]) == ("wall", b"x")


def test_inputs_are_there_and_cannot_be_changed(level: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/table.csv").write_text("a,b\n1,2\n")
    script = """
import shutil, os
print(open("attachments/table.csv").read())
shutil.copy2("attachments/table.csv", "deliverables/copy.csv")
for act in (lambda: open("attachments/table.csv", "w"), lambda: os.remove("attachments/table.csv"),
            lambda: os.truncate("attachments/table.csv", 0), lambda: os.rename("attachments/table.csv", "x")):
    try:
        act()
        print("changed")
    except OSError:
        print("denied")
"""
    outcome, files = play(level, script, attachments=tmp_path / "in")
    assert outcome.output.split() == ["a,b", "1,2", *["denied"] * 4]
    assert files["deliverables/copy.csv"] == b"a,b\n1,2\n"
    assert (tmp_path / "in/table.csv").read_text() == "a,b\n1,2\n"


def test_ordinary_work_goes_on(level: str) -> None:
    script = """
import asyncio, concurrent.futures, os, subprocess, sys, tempfile, zipfile
async def later():
    await asyncio.sleep(0)
    return "async"
print(asyncio.run(later()))
with tempfile.NamedTemporaryFile() as file:
    file.write(b"x")
with zipfile.ZipFile("deliverables/a.zip", "w") as archive:
    archive.writestr("b.txt", "b")
child = [sys.executable, "-I", "-S", "-c", "print('child')"]
print(subprocess.run(child, capture_output=True, text=True).stdout.strip())
print(list(concurrent.futures.ThreadPoolExecutor(4).map(abs, [-1, -2])))
open("scratch/helper.py", "w").write("value = 7")
import helper
print(helper.value)
exit(3)
"""
    outcome, files = play(level, script)
    assert outcome.output.splitlines() == ["async", "child", "[1, 2]", "7"]
    assert outcome.exit_code == 3
    assert zipfile_names(files["deliverables/a.zip"]) == ["b.txt"]


def zipfile_names(data: bytes) -> list[str]:
    import zipfile

    return zipfile.ZipFile(io.BytesIO(data)).namelist()


def test_the_toolbox_is_there_and_this_program_is_not(level: str) -> None:
    script = """
import pandas, openpyxl, sys
pandas.DataFrame({"a": [1]}).to_excel("deliverables/t.xlsx")
for name in ("hapi_pipeline", "litellm", "dagster"):
    try:
        __import__(name)
        print("there:", name)
    except ImportError:
        pass
print("done")
"""
    outcome, files = play(level, script)
    if level in ("docker", "podman") and "No module named 'pandas'" in outcome.output:
        pytest.skip("the image that HAPI_SANDBOX_IMAGE names has no pandas (pip install pandas openpyxl in it)")
    assert outcome.output == "done\n"
    assert files["deliverables/t.xlsx"].startswith(b"PK")


def _alive(marker: str) -> list[int]:
    return [pid for pid, name in selftest._process_names() if name == marker]


def _until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def test_nothing_is_left_when_we_are_killed(level: str) -> None:
    marker = f"hapi{os.urandom(5).hex()}"
    script = f"""
import ctypes, os, time
os.fork()
ctypes.CDLL(None).prctl(15, b"{marker}", 0, 0, 0)
time.sleep(60)
"""
    ours = f"""
import io
from hapi_pipeline.agents.sandbox.levels import Program, run
run({level!r}, Program(script={script!r}), io.BytesIO())
"""
    with subprocess.Popen([sys.executable, "-c", ours], cwd=ROOT) as process:
        try:
            assert _until(lambda: len(_alive(marker)) == 2)
        finally:
            process.kill()
    assert _until(lambda: not _alive(marker))


def test_a_program_that_is_not_there_is_not_started(level: str) -> None:
    outcome = levels.run(level, Program(command=("/nowhere/agent",)), io.BytesIO())
    assert (outcome.why, outcome.exit_code) == ("not_started", 127)


_CROWD = """
import os, sys
os.setuid({uid})
for _ in range(6):
    if os.fork() == 0:
        break
else:
    print("there", flush=True)
sys.stdin.read()
"""
_ELSEWHERE = """
import io, json
from hapi_pipeline.agents.sandbox import confine, levels
plan = levels._plan
def as_that_user(*given):
    start, request = plan(*given)
    return start, {{**request, "become": {uid}, "beside_others": True}}
levels._plan = as_that_user
script = "import os; print('all', [os.fork() for _ in range(3)])"
said = levels.run("landlock", levels.Program(script=script, limits=levels.Limits(processes=8)), io.BytesIO()).output
confine.become_user({uid}, False)
print(json.dumps([confine.tasks_of_user(), said]))
"""


def test_processes_of_the_user_in_other_containers_take_nothing_from_the_code() -> None:
    """Their /proc does not show them, and yet the kernel counts them."""
    if levels.missing("landlock") or os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root, Landlock, and unshare (package: util-linux)")
    uid = 0x60000000 + os.getpid()
    crowd, elsewhere = ([sys.executable, "-c", text.format(uid=uid)] for text in (_CROWD, _ELSEWHERE))
    with subprocess.Popen(crowd, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as others:
        assert others.stdout is not None
        assert others.stdout.readline() == b"there\n"
        alone = ["unshare", "--pid", "--fork", "--mount-proc"]
        done = subprocess.run([*alone, *elsewhere], cwd=ROOT, capture_output=True, text=True, check=False)
        others.communicate()
    if "unshare:" in done.stderr:
        pytest.skip(f"no namespace of processes: {done.stderr.strip()}")
    counted, said = json.loads(done.stdout)
    assert counted == 7 + 1
    assert said.count("all") == 8, said  # three forks, each of all processes


@pytest.fixture
def fresh() -> Iterator[None]:
    selftest._probe.cache_clear()
    yield
    selftest._probe.cache_clear()


def test_without_any_level_code_is_refused_with_what_to_install(
    fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HAPI_SANDBOX", "off")
    with pytest.raises(UserError, match="apt-get install bubblewrap"):
        selftest.required()
    monkeypatch.setenv("HAPI_SANDBOX", "bubblewrap")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert selftest.probe().level is None
    assert "bubblewrap is not installed" in selftest.refusal(selftest.probe())
    monkeypatch.setenv("HAPI_SANDBOX", "docker")
    assert "docker is not installed" in selftest.describe()
    monkeypatch.setenv("HAPI_SANDBOX", "chroot")
    with pytest.raises(UserError, match="must be auto, off"):
        selftest.probe()


def test_with_a_bubblewrap_that_fails_landlock_is_used_and_both_are_told(
    fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if levels.missing("landlock"):
        pytest.skip(str(levels.missing("landlock")))
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("HAPI_SANDBOX", raising=False)
    found = selftest.probe()
    assert found.level == "landlock"
    assert dict(found.refused)["bubblewrap"] == "bwrap: No permissions to create new namespace"
    assert "not used, bubblewrap: bwrap: No permissions" in selftest.describe()


def test_with_user_namespaces_switched_off_it_isolates_all_the_same() -> None:
    """Really switched off, in a user namespace of the test's own."""
    if levels.missing("landlock"):
        pytest.skip(str(levels.missing("landlock")))
    script = (
        'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" -c '
        "'from hapi_pipeline.agents.sandbox import describe; print(describe())'"
    )
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", script, sys.executable]
    environment = {k: v for k, v in os.environ.items() if k != "HAPI_SANDBOX"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespace to switch off: {done.stderr.strip()}")
    print(done.stdout, done.stderr)
    assert "Sandbox: landlock" in done.stdout or "apt-get install bubblewrap" in done.stdout


def test_a_sandbox_that_lets_an_attack_through_is_not_used(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    if levels.missing("landlock"):
        pytest.skip(str(levels.missing("landlock")))
    everything = levels._readable

    def too_much(level: str, program: Program) -> list[str]:
        return [*everything(level, program), "/"]

    monkeypatch.setattr(levels, "_readable", too_much)
    monkeypatch.setenv("HAPI_SANDBOX", "landlock")
    found = selftest.probe()
    assert found.level is None
    assert "read, change or link files outside (file" in dict(found.refused)["landlock"]


def test_the_filter_knows_every_call_it_names() -> None:
    for names in (confine._DENIED, confine._ABSENT, confine._NO_ATTRIBUTES, confine._PRETENDED, confine._SIGNALS):
        assert [name for name in names if name not in confine._NUMBERS] == []
    assert len(confine.filter_program(signals=False)) > len(confine.filter_program(signals=True))
    assert len(confine.filter_program(signals=False)) // 8 < 4096  # the most that the kernel takes


def test_the_toolbox_shows_only_what_its_libraries_need() -> None:
    shown = toolbox.entries()
    assert {"pandas", "numpy", "openpyxl"} <= set(shown)
    assert not {"hapi_pipeline", "litellm", "dagster", "duckdb"} & set(shown)
