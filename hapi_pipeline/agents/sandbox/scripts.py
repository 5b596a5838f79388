"""Running an agent's scripts in its workspace, each run kept so that a resumed attempt finds the same files again.

A script is not run twice: what it printed and left behind stands under `runs/` of the attempt, and when the attempt
is resumed it is taken from there. (Running it again could give other files than those the model was told about.)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from hapi_pipeline.agents.sandbox import levels
from hapi_pipeline.agents.sandbox.levels import Limits, Outcome, Program, SandboxError
from hapi_pipeline.agents.texts import safe_relative_path

MAX_SECONDS = 120
KEPT = ("deliverables", "scratch")
_TRIES = 2  # of a sandbox that fails for reasons of its own


@dataclass(frozen=True)
class Room:
    """How much of what a program leaves behind is taken in: bytes and files of each folder."""

    bytes: int
    files: int


@dataclass(frozen=True)
class Taken:
    """What was taken in: changes as sentences for the agent, and what was left out with the reason."""

    changed: tuple[str, ...]
    left_out: tuple[str, ...]


class Scripts:
    """The script runs of one attempt."""

    def __init__(self, folder: Path, level: str, room: Room):
        self.folder, self.level, self.room = folder, level, room
        self.runs = folder / "runs"
        self.number = 0
        self.seconds = 0.0  # of all runs, as recorded

    def run(self, code: str, seconds: int) -> tuple[Outcome, Taken]:
        """Run a script, or take its recorded run. Raises SandboxError when the sandbox itself fails, and OSError."""
        self.number += 1
        sha = hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()
        outcome = self._recorded(sha)
        if outcome is None:
            outcome = self._new(code, sha, seconds)
        self.seconds += outcome.seconds
        return outcome, take_in(self._tar(), self.folder, self.room)

    def _tar(self) -> Path:
        return self.runs / f"{self.number:04}.tar"

    def _recorded(self, sha: str) -> Outcome | None:
        try:
            record = json.loads(self._tar().with_suffix(".json").read_bytes())
        except (OSError, ValueError):
            return None
        if record.pop("script_sha256", None) != sha or not self._tar().exists():
            return None
        return Outcome(**record)

    def _new(self, code: str, sha: str, seconds: int) -> Outcome:
        self.runs.mkdir(exist_ok=True)
        program = Program(
            script=code,
            files=tuple(_files_of(self.folder)),
            inputs=inputs_of(self.folder),
            limits=Limits(seconds=seconds),
        )
        staged = self._tar().with_suffix(".new")
        outcome = run_into(self.level, program, staged)
        staged.replace(self._tar())
        record = json.dumps({"script_sha256": sha, **asdict(outcome)})
        with staged.open("w", encoding="ascii") as file:
            file.write(record)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(self._tar().with_suffix(".json"))
        return outcome


def run_into(level: str, program: Program, target: Path) -> Outcome:
    """Run a program and write what it leaves behind to a tar, durably; a sandbox that fails gets a second chance."""
    for last in range(_TRIES):
        try:
            with target.open("wb") as packed:
                outcome = levels.run(level, program, packed)
                packed.flush()
                os.fsync(packed.fileno())
            return outcome
        except SandboxError:
            if last == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def inputs_of(folder: Path) -> dict[str, Path]:
    """The read-only folders that an attempt shows to its programs."""
    found = {name: folder / "workspace" / name for name in ("attachments", "previous")}
    return {name: path for name, path in found.items() if path.is_dir()}


def _places(folder: Path) -> dict[str, Path]:
    return {"deliverables": folder / "deliverables", "scratch": folder / "workspace" / "scratch"}


def _files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    for root, place in _places(folder).items():
        for name in _regular_files(place):
            yield f"{root}/{name}", place / name


def _regular_files(root: Path) -> Iterator[str]:
    from hapi_pipeline.agents.tools import walk

    return (name for name, _ in walk(root))


def take_in(tar: Path, folder: Path, room: Room) -> Taken:
    """Replace an attempt's deliverables and scratch files by those of a tar that a sandbox made.

    Only regular files under these two folders, with names that are safe everywhere, and only so many; the rest is
    left out and said so. Raises SandboxError for a tar that cannot be read.
    """
    places = _places(folder)
    before = {root: _hashes(place) for root, place in places.items()}
    staged = folder / "taken"
    shutil.rmtree(staged, ignore_errors=True)
    left_out: list[str] = []
    try:
        with tarfile.open(tar, "r:") as archive:
            _unpack(archive, staged, room, left_out)
    except tarfile.TarError as error:
        raise SandboxError(f"the sandbox's answer cannot be read ({error})") from error
    for root, place in places.items():
        shutil.rmtree(place, ignore_errors=True)
        (staged / root).mkdir(parents=True, exist_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        (staged / root).replace(place)
    shutil.rmtree(staged, ignore_errors=True)
    changed = [line for root, place in places.items() for line in _changes(root, place, before[root])]
    return Taken(tuple(changed), tuple(left_out))


def _unpack(archive: tarfile.TarFile, staged: Path, room: Room, left_out: list[str]) -> None:
    used = dict.fromkeys(KEPT, 0)
    names: dict[str, set[str]] = {root: set() for root in KEPT}
    for member in archive:
        root, _, rest = member.name.partition("/")
        if member.name in ("script.py", "usage.json", "brief.md", "job.json") or not member.isreg():
            continue
        why = _unfit(root, rest, member.size, used, names, room)
        source = archive.extractfile(member)
        if why is None and source is not None:
            why = _write(source, staged / root / safe_relative_path(rest))
        if why is None:
            used[root] += member.size
            names[root].add(safe_relative_path(rest).casefold())
        else:
            left_out.append(f"{member.name[:200]!a}: {why}")


def _unfit(root: str, rest: str, size: int, used: dict[str, int], names: dict[str, set[str]], room: Room) -> str | None:
    if root not in KEPT or not rest:
        return "only deliverables/ and scratch/ are kept"
    try:
        name = safe_relative_path(rest)
    except ValueError as error:
        return str(error)
    if name.casefold() in names[root]:
        return "another file differs from this name only in upper and lower case"
    if len(names[root]) >= room.files or used[root] + size > room.bytes:
        return f"at most {room.files} files and {room.bytes} bytes are kept"
    return None


def _write(source: IO[bytes], path: Path) -> str | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except (FileExistsError, NotADirectoryError):
        return "another file has a name that is in the way"
    with os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    return None


def _hashes(place: Path) -> dict[str, tuple[int, str]]:
    found = {}
    for name in _regular_files(place):
        with (place / name).open("rb") as file:
            found[name] = ((place / name).stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
    return found


def _changes(root: str, place: Path, before: dict[str, tuple[int, str]]) -> Iterator[str]:
    after = _hashes(place)
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"{root}/{name} (deleted)"
        elif before.get(name) != after[name]:
            yield f"{root}/{name} ({'changed' if name in before else 'new'}, {after[name][0]} bytes)"


def told(outcome: Outcome, taken: Taken, seconds: int) -> str:
    """What the agent is told of a run."""
    end = {
        "": f"exit code {outcome.exit_code}",
        "wall": f"stopped: it ran longer than {seconds} seconds (timeout_s)",
        "memory": "stopped: it used more memory than it may",
        "disk": "stopped: it wrote more than it may",
        "files": "stopped: it made more files than it may",
        "processes": "stopped: it started more processes than it may",
    }.get(outcome.why, "it could not be started")
    lines = [f"{end}, after {outcome.seconds:.2f} s"]
    lines += _listed("Files", taken.changed)
    lines += _listed("Not kept", taken.left_out)
    return "\n".join([*lines, "Output:", outcome.output.rstrip() or "(none)"])


def _listed(heading: str, lines: tuple[str, ...]) -> list[str]:
    if not lines:
        return []
    more = f"; and {len(lines) - 40} more" if len(lines) > 40 else ""
    return [f"{heading}: {'; '.join(lines[:40])}{more}"]


def toolbox_inside(level: str) -> tuple[tuple[str, str], ...]:
    """(library, version) of the toolbox as far as it can really be imported inside the sandbox."""
    from hapi_pipeline.agents.sandbox.toolbox import installed

    tools = installed()
    script = (
        "import importlib, json\nfound = []\n"
        f"for module in {[tool.module for tool in tools]!r}:\n"
        "    try:\n        importlib.import_module(module)\n        found.append(module)\n"
        "    except BaseException:\n        pass\n"
        "print('found:' + json.dumps(found))\n"
    )
    import tempfile

    with tempfile.TemporaryFile() as packed:
        outcome = levels.run(level, Program(script=script), packed)
    line = next((text for text in outcome.output.splitlines() if text.startswith("found:")), "found:[]")
    found: list[Any] = json.loads(line.removeprefix("found:"))
    return tuple((tool.name, tool.version) for tool in tools if tool.module in found)
