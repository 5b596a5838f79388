"""The start-up self-test: which level of sandbox holds on this machine, shown by attacks that failed in it."""

from __future__ import annotations

import functools
import io
import json
import os
import re
import secrets
import socket
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from hapi_pipeline.agents.sandbox import attacks, levels
from hapi_pipeline.agents.sandbox.levels import LEVELS, Limits, Outcome, Program, SandboxError
from hapi_pipeline.agents.sandbox.private import private_folder, sweep
from hapi_pipeline.settings import UserError

SETTING = "HAPI_SANDBOX"
AUTO = ("bubblewrap", "landlock")
_SMALL = Limits(
    seconds=10, memory_bytes=192 << 20, workspace_bytes=16 << 20, file_bytes=8 << 20, files=200, processes=24
)
_lock = Lock()


@dataclass(frozen=True)
class Check:
    """One attack and how it went."""

    attack: str
    held: bool
    seen: str


@dataclass(frozen=True)
class Probe:
    """What the self-test found. `level` is None where code must not be run; `refused` says why of each level tried."""

    level: str | None
    checks: tuple[Check, ...]
    refused: tuple[tuple[str, str], ...]
    machine: tuple[tuple[str, str], ...]

    def record(self) -> dict[str, object]:
        """What belongs into an attempt's record."""
        return {
            "level": self.level,
            "failed_attacks": [check.attack for check in self.checks],
            "refused": dict(self.refused),
            "machine": dict(self.machine),
        }


def probe() -> Probe:
    """The best level that holds on this machine; found once a process, in a few seconds.

    HAPI_SANDBOX may name the one level to use (docker, podman, bubblewrap, landlock), or `off`, to run no code at all.
    """
    with _lock:
        _swept()
        return _probe(os.environ.get(SETTING, "auto").strip().lower() or "auto")


@functools.lru_cache(maxsize=1)
def _swept() -> None:
    with suppress(OSError):  # of no consequence here
        sweep()


@functools.lru_cache(maxsize=8)
def _probe(setting: str) -> Probe:
    if setting not in ("auto", "off", *LEVELS):
        raise UserError(f"{SETTING} is {setting!r}; it must be auto, off, or one of {', '.join(LEVELS)}.")
    refused: list[tuple[str, str]] = []
    for level in {"auto": AUTO, "off": ()}.get(setting, (setting,)):
        why = levels.missing(level)
        checks: tuple[Check, ...] = ()
        if why is None:
            try:
                checks = attack(level)
                why = "; ".join(f"{c.attack} ({c.seen})" for c in checks if not c.held)
                why = f"an attack got through: {why}" if why else None
            except SandboxError as error:
                why = str(error)
        if why is None:
            return Probe(level, checks, tuple(refused), tuple(levels.machine().items()))
        refused.append((level, why))
    return Probe(None, (), tuple(refused), tuple(levels.machine().items()))


def required() -> Probe:
    """The self-test's result; UserError, with what to install, where no level holds."""
    found = probe()
    if found.level is None:
        raise UserError(refusal(found))
    return found


def refusal(found: Probe) -> str:
    """Why code is not run here, and what would change that."""
    told = "; ".join(f"{level}: {why.rstrip('.')}" for level, why in found.refused) or f"{SETTING} is off"
    return (
        f"An agent's code runs only in a sandbox that passed its self-test, and here none does ({told}). "
        "Install bubblewrap (apt-get install bubblewrap) and allow user namespaces, or use Linux 6.2 or newer with "
        f"Landlock, or set {SETTING}=docker or podman with an image in HAPI_SANDBOX_IMAGE; or set agent_profile: paper."
    )


def describe() -> str:
    """The self-test's result in plain words, for a person."""
    found = probe()
    lines = [
        f"Sandbox: {found.level}; {len(found.checks)} attacks were tried inside it and failed:"
        if found.level
        else refusal(found)
    ]
    lines += [f"  {check.attack}: {check.seen}" for check in found.checks]
    lines += [f"  not used, {level}: {why}" for level, why in found.refused if found.level]
    lines.append("  machine: " + ", ".join(f"{name} {value}" for name, value in found.machine))
    return "\n".join(lines)


@dataclass(frozen=True)
class _Bait:
    """Things outside of a sandbox that must not be reached from inside."""

    folder: Path
    secret: str
    marker: str
    listeners: dict[str, socket.socket]

    def touched(self) -> list[str]:
        """The sockets that something came to."""
        return [name for name, listener in self.listeners.items() if _arrived(name, listener)]


@contextmanager
def _bait() -> Iterator[_Bait]:
    secret, marker = secrets.token_hex(16), f"hapi{secrets.token_hex(5)}"  # a process name has 15 letters
    variable = f"HAPI_CANARY_{secrets.token_hex(6).upper()}"
    os.environ[variable] = secret
    kinds = {"tcp": socket.AF_INET, "udp": socket.AF_INET, "unix": socket.AF_UNIX}
    listeners = {
        name: socket.socket(family, socket.SOCK_DGRAM if name == "udp" else socket.SOCK_STREAM)
        for name, family in kinds.items()
    }
    try:
        with private_folder("hapi-canary-") as folder:
            (folder / "canary").write_text(secret, "ascii")
            (folder / "canary").chmod(0o644)
            folder.chmod(0o755)  # so that it is the sandbox, not a permission, that keeps the file safe
            for name, listener in listeners.items():
                listener.bind(f"\0{marker}" if name == "unix" else ("127.0.0.1", 0))
                listener.setblocking(False)
                if name != "udp":
                    listener.listen()
            (folder / "inputs").mkdir()
            aim = {
                "secret": secret,
                "file": str(folder / "canary"),
                "tcp": listeners["tcp"].getsockname()[1],
                "udp": listeners["udp"].getsockname()[1],
                "unix": marker,
                "variable": variable,
                "pid": os.getpid(),
                "marker": marker,
            }
            (folder / "inputs" / "aim.json").write_text(json.dumps(aim), "ascii")
            yield _Bait(folder, secret, marker, listeners)
    finally:
        os.environ.pop(variable, None)
        for listener in listeners.values():
            listener.close()


def _arrived(name: str, listener: socket.socket) -> bool:
    try:
        listener.recv(1) if name == "udp" else listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def attack(level: str) -> tuple[Check, ...]:
    """Try to get out of a sandbox of that level in every way that must fail. Raises SandboxError."""
    with _bait() as bait:

        def attempt(script: str, limits: Limits = _SMALL) -> tuple[Outcome, list[str]]:
            packed = io.BytesIO()
            program = Program(script=script, inputs={"attachments": bait.folder / "inputs"}, limits=limits)
            outcome = levels.run(level, program, packed)
            packed.seek(0)
            with tarfile.open(fileobj=packed) as archive:
                return outcome, archive.getnames()

        outcome, names = attempt(attacks.REACH)
        reached = re.search(r"^reached:(\[.*\])$", outcome.output, re.MULTILINE)
        if reached is None or "deliverables/ran" not in names:
            raise SandboxError(f"a plain script did not run in it ({outcome.output.strip()[-300:] or outcome.why})")
        return (
            *_reached(bait, json.loads(reached[1]), outcome.output),
            _outlived(bait, attempt(attacks.OUTLIVE)[0]),
            *_used(attempt(attacks.DISK)[0], attempt(attacks.PROCESSES)[0], attempt(attacks.MEMORY)[0]),
        )


def _reached(bait: _Bait, got: list[str], output: str) -> Iterator[Check]:
    """What the script says it reached, and what we see of it ourselves: it need not tell the truth."""
    intact = (bait.folder / "canary").read_text("ascii") == bait.secret
    aim = bait.folder / "inputs" / "aim.json"
    files = [n for n in got if n in ("file", "truncate", "write", "chmod", "symlink", "hard link", "input")]
    whole = intact and bait.secret not in output and bait.marker in aim.read_text("ascii")
    yield Check("read, change or link files outside", not files and whole, ", ".join(files) or "denied")
    arrived = bait.touched() + [n for n in got if n in ("tcp", "udp", "abstract unix socket")]
    yield Check("open a socket (TCP, UDP, abstract unix)", not arrived, ", ".join(arrived) or "denied")
    looked = [n for n in got if n in ("environment", "ptrace", "signal") or n.startswith("/proc")]
    yield Check("read a variable, memory or command line of other processes", not looked, ", ".join(looked) or "denied")
    left = [n for n in got if n in ("new namespace", "new session")]
    yield Check("open a new namespace or session", not left, ", ".join(left) or "denied")


def _outlived(bait: _Bait, outcome: Outcome) -> Check:
    alive = [pid for pid, name in _process_names() if name == bait.marker]
    ran = "left behind" in outcome.output
    seen = f"{len(alive)} left" if alive else "killed" if ran else f"did not run: {outcome.output.strip()[-200:]}"
    return Check("outlive the program as a daemon", ran and not alive, seen)


def _process_names() -> Iterator[tuple[int, str]]:
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            yield int(path.parent.name), path.read_text("utf-8", errors="replace").strip()
        except OSError:
            continue


def _used(disk: Outcome, processes: Outcome, memory: Outcome) -> Iterator[Check]:
    written = _last_number(disk)
    # at the level without a mount of its own the watching process ends the program a moment after the limit
    held = written > 0 and (written <= _SMALL.workspace_bytes or disk.why == "disk")
    yield Check("fill the disk", held, f"stopped at {written >> 20} of {_SMALL.workspace_bytes >> 20} MiB allowed")
    made = _last_number(processes)
    yield Check("exhaust processes", 0 < made <= _SMALL.processes, f"{made} made, {_SMALL.processes} allowed")
    took = _last_number(memory)
    stopped = 0 < took < _SMALL.memory_bytes >> 20
    yield Check("exhaust memory", stopped, f"stopped at {took} of {_SMALL.memory_bytes >> 20} MiB allowed")


def _last_number(outcome: Outcome) -> int:
    numbers = [int(line) for line in outcome.output.split() if line.isdigit()]
    return max(numbers, default=0)
