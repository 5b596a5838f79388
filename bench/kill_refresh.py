"""Kills `hapi` with SIGKILL at random moments, lets it go on, and compares with an undisturbed home.

    python bench/kill_refresh.py [--kills 10] [--import-kills 4] [--models 2] [--seed 0] [--work DIR]

One month of the bundled sample is refreshed, graded by the simulated graders and refreshed again; these
commands are killed, and so are imports. Reported: tables that differ (timestamps, seconds and run ids aside),
keys billed twice by the simulated provider, requests that were replayed, processes left over, and what lies
about that no table counts. Exit code 0 when tables are equal, nothing was billed twice, no process outlived its
parent and every command went on to its end.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.handout import packets_to_grade
from hapi_pipeline.lake import Lake
from hapi_pipeline.settings import Home, project_root, shipped
from hapi_pipeline.simulate.graders import grade_packets
from hapi_pipeline.tables import TABLES

MONTH = "2026-08"
LEFT_OUT = {"imported_at", "finished_at", "issued_at", "seconds", "maybe_billed_steps"}
"""Columns that rightly differ between two runs."""
GRADED_ON = date(2026, 9, 15)
_ORPHAN_SECONDS = 10.0
_STUCK_SECONDS = 400.0


@dataclass
class Tally:
    """What came of the kills."""

    kills: int = 0
    moments: list[str] = field(default_factory=list)
    orphans: int = 0
    unreadable: list[str] = field(default_factory=list)  # queries that failed right after a kill
    refused: list[str] = field(default_factory=list)  # commands that did not go on after a kill
    differences: list[str] = field(default_factory=list)
    billed: int = 0
    billed_twice: int = 0
    replayed: int = 0
    leftovers: collections.Counter[str] = field(default_factory=collections.Counter)
    unfinished_runs: int = 0

    @property
    def clean(self) -> bool:
        return not (self.differences or self.billed_twice or self.orphans or self.refused or self.unreadable)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=10, help="of `hapi refresh`")
    parser.add_argument("--import-kills", type=int, default=4, help="of each of the imports")
    parser.add_argument("--models", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="an empty folder that is kept; default: a temporary one")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="kill-refresh-") as scratch:
        work = given.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        return _run(work, given, random.Random(given.seed))


def _run(work: Path, given: argparse.Namespace, dice: random.Random) -> int:
    print(f"building homes in {work}", flush=True)
    base, calm, times = _undisturbed(work, given.models)
    print("undisturbed: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in times.items()), flush=True)
    wanted, tally = tables_of(calm), Tally()
    lives = 0
    while tally.kills < given.kills:
        lives += 1
        home = _copy(base, work / f"life_{lives}")
        _live(home, times, tally, given.kills, dice)
        _account(home, wanted, tally)
        print(f"life {lives}: {tally.kills} kills so far", flush=True)
    _kill_imports(work, base, calm, times, given.import_kills, tally, dice)
    print(_report(tally, lives))
    return 0 if tally.clean else 1


# ---- homes


def _undisturbed(work: Path, models: int) -> tuple[Path, Home, dict[str, float]]:
    """A home ready to be refreshed, one that has been through everything, and how long each step took."""
    base, times = work / "base", {}
    home = Home(base).ensure()
    _set_up(home, models)
    _timed(Home(work / "warm"), "import", "jobs", *_job_files(), "--source", "sample_market")  # caches of the disk
    times["import jobs"] = _timed(home, "import", "jobs", *_job_files(), "--source", "sample_market")
    _timed(home, "import", "rubrics", str(shipped("data/sample") / f"rubrics_{MONTH}.csv"))
    calm = _copy(base, work / "calm")
    times["refresh 1"] = _timed(calm, "refresh")
    times["import verdicts"] = _timed(calm, "import", "verdicts", *_grade(calm))
    times["refresh 2"] = _timed(calm, "refresh")
    return base, calm, times


def _set_up(home: Home, models: int) -> None:
    import yaml

    sample = shipped("data/sample")
    listed = yaml.safe_load((sample / "models.yaml").read_text("utf-8"))["models"][:models]
    (home.registry / "models.yaml").write_text(yaml.safe_dump({"models": listed}, sort_keys=False), "utf-8")
    world = home.root / "simulator" / "world"
    world.mkdir(parents=True)
    for path in [sample / "truth.csv", *sample.glob("rubrics*.csv")]:
        shutil.copyfile(path, world / path.name)


def _job_files() -> list[str]:
    return [str(shipped("data/sample") / f"jobs_{MONTH}.csv")]


def _copy(source: Path, goal: Path) -> Home:
    shutil.copytree(source, goal, symlinks=True)
    return Home(goal)


def _grade(home: Home) -> list[str]:
    files = grade_packets(packets_to_grade(home), home.inbox / "graded", on=GRADED_ON)
    return [str(path) for path in files]


# ---- running and killing


def _command(home: Home, *words: str) -> list[str]:
    return [sys.executable, "-m", "hapi_pipeline.cli", "--home", str(home.root), *words]


def _start(home: Home, *words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(project_root())}
    return subprocess.Popen(_command(home, *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)


def _finish(home: Home, *words: str) -> tuple[int, str]:
    process = _start(home, *words)
    try:
        said, _ = process.communicate(timeout=_STUCK_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return -1, f"stuck for {_STUCK_SECONDS:.0f} s"
    return process.returncode, said.decode("utf-8", "replace")


def _timed(home: Home, *words: str) -> float:
    began = time.monotonic()
    code, said = _finish(home, *words)
    if code not in (0, 1):
        raise SystemExit(f"{' '.join(words[:2])} ended with {code}:\n{said}")
    return time.monotonic() - began


def _killed(home: Home, after: float, tally: Tally, *words: str) -> bool:
    """Start a command and kill it after so many seconds; False when it was done before."""
    process = _start(home, *words)
    try:
        said, _ = process.communicate(timeout=after)
        if process.returncode not in (0, 1):
            tally.refused.append(f"{' '.join(words[:2])}: exit {process.returncode}: {said.decode()[-300:]}")
        return False
    except subprocess.TimeoutExpired:
        started = _children(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    tally.kills += 1
    tally.moments.append(f"{' '.join(words[:2])[:16].strip()} @{after:.1f}s")
    tally.orphans += len(_orphans(started))
    _readable(home, tally)
    return True


def _children(pid: int) -> list[int]:
    """The processes below a process, and those below these."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parents.setdefault(int(_state(path)[1]), []).append(int(path.parent.name))
    found, look = [], [pid]
    while look:
        found += (below := parents.get(look.pop(), []))
        look += below
    return found


def _state(path: Path) -> list[str]:
    """The fields of /proc/PID/stat after the name: state, parent, ..."""
    return path.read_text("utf-8", "replace").rpartition(")")[2].split()


def _alive(pid: int) -> bool:
    try:
        return _state(Path(f"/proc/{pid}/stat"))[0] not in "ZX"
    except OSError:
        return False


def _orphans(pids: Sequence[int]) -> list[int]:
    """Those of a killed command's processes that have not ended by themselves some seconds later; now they are."""
    deadline, left = time.monotonic() + _ORPHAN_SECONDS, list(pids)
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = [pid for pid in left if _alive(pid)]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return left


def _readable(home: Home, tally: Tally) -> None:
    """A reader may come at any moment: every table must open."""
    try:
        with connect() as connection:
            open_tables(connection, Lake(home.lake), list(TABLES))
            for name in TABLES:
                connection.execute(f'SELECT count(COLUMNS(*)) FROM "{name}"').fetchall()
    except Exception as error:
        tally.unreadable.append(f"{type(error).__name__}: {error}"[:300])


def _live(home: Home, times: dict[str, float], tally: Tally, kills: int, dice: random.Random) -> None:
    """One home from its first refresh to the last, its refreshes killed until enough kills are done."""
    for step in ("refresh 1", "refresh 2"):
        for _ in range(3):
            if tally.kills >= kills or not _killed(home, dice.uniform(0.5, times[step]), tally, "refresh"):
                break
        _go_on(home, tally, "refresh")
        if step == "refresh 1":
            _go_on(home, tally, "import", "verdicts", *_grade(home))


def _go_on(home: Home, tally: Tally, *words: str) -> None:
    code, said = _finish(home, *words)
    if code not in (0, 1):
        tally.refused.append(f"{' '.join(words[:2])}: exit {code}: {said[-300:]}")


def _kill_imports(
    work: Path, base: Path, calm: Home, times: dict[str, float], kills: int, tally: Tally, dice: random.Random
) -> None:
    """Imports of jobs into a home that does not exist yet, and of verdicts into one that was refreshed."""
    for number in range(kills):
        home = Home(work / f"jobs_{number}")
        jobs = ("import", "jobs", *_job_files(), "--source", "sample_market")
        _killed(home, dice.uniform(0.2, 0.9) * times["import jobs"], tally, *jobs)
        _go_on(home, tally, *jobs)
        _go_on(home, tally, "refresh")  # without models and rubrics: quick
        _compare(home, tables_of(calm), tally, ("job_exports", "job_posts", "in_scope_jobs"))
    if not kills:
        return
    home = _copy(base, work / "verdicts")
    _go_on(home, tally, "refresh")
    graded = _grade(home)
    for _ in range(kills):
        _killed(home, dice.uniform(0.3, 1.0) * times["import verdicts"], tally, "import", "verdicts", *graded)
    _go_on(home, tally, "import", "verdicts", *graded)
    _go_on(home, tally, "refresh")
    _account(home, tables_of(calm), tally)


# ---- comparing


def tables_of(home: Home) -> dict[str, list[str]]:
    """Every table as sorted lines of text, without the columns that rightly differ."""
    found = {}
    with connect() as connection:
        open_tables(connection, Lake(home.lake), list(TABLES))
        for name, declared in TABLES.items():
            columns = ", ".join(f'"{c}"' for c in declared.names if c not in LEFT_OUT)
            rows = connection.execute(f'SELECT {columns} FROM "{name}"').fetchall()
            found[name] = sorted(map(repr, rows))
    return found


def _compare(home: Home, wanted: dict[str, list[str]], tally: Tally, names: Sequence[str] = tuple(TABLES)) -> None:
    found = tables_of(home)
    for name in names:
        if found[name] != wanted[name]:
            more, less = set(found[name]) - set(wanted[name]), set(wanted[name]) - set(found[name])
            tally.differences.append(
                f"{home.root.name}, {name}: {len(found[name])} rows for {len(wanted[name])}; "
                f"{len(more)} more, {len(less)} less; e.g. {next(iter(more or less), 'a row twice')[:200]}"
            )


def _account(home: Home, wanted: dict[str, list[str]], tally: Tally) -> None:
    """Compare a finished home, and count what its provider has billed and what lies about."""
    _compare(home, wanted, tally)
    again = _finish(home, "refresh")
    if "Nothing has changed" not in again[1]:
        tally.differences.append(f"{home.root.name}: a further refresh says {again[1][-200:]!r}")
    keys: collections.Counter[str] = collections.Counter()
    for line in (home.root / "simulator" / "requests.jsonl").read_text("utf-8").splitlines():
        record = json.loads(line)
        keys[record["key"]] += record["event"] == "billed"
        tally.replayed += record["event"] == "replayed"
    tally.billed += sum(keys.values())
    tally.billed_twice += sum(count > 1 for count in keys.values())
    tally.leftovers.update(_leftovers(home))
    tally.unfinished_runs += _unfinished_runs(home)


def _leftovers(home: Home) -> collections.Counter[str]:
    """Files that a killed process left half-made, by where they lie."""
    kinds: collections.Counter[str] = collections.Counter()
    for folder, names, files in os.walk(home.root):
        where = Path(folder).relative_to(home.root).parts[:1]
        for name in [*names, *files]:
            if name.endswith((".part", ".new", ".yaml.new")):
                kinds[f"{'/'.join(where) or '.'}/*{Path(name).suffix}"] += 1
    known = {Path(r).name for (r,) in _ask(home, "SELECT folder FROM packets")}
    kinds["packets without a row"] += len({p.name for p in home.packets.iterdir() if p.name[0] != "."} - known)
    kinds["attempts without a result"] += sum(
        not (folder / "result.json").exists() for folder in home.attempts.glob("*/*/*-at_*")
    )
    return kinds


def _ask(home: Home, sql: str) -> list[tuple[Any, ...]]:
    with connect() as connection:
        open_tables(connection, Lake(home.lake), list(TABLES))
        return connection.execute(sql).fetchall()


def _unfinished_runs(home: Home) -> int:
    """Dagster runs that nobody will ever finish."""
    from dagster import DagsterRunStatus, RunsFilter

    from hapi_pipeline.operations import instance_of

    open_ones = [s for s in DagsterRunStatus if s.value not in ("SUCCESS", "FAILURE", "CANCELED")]
    with instance_of(home) as instance:
        return len(instance.get_runs(RunsFilter(statuses=open_ones)))


def _report(tally: Tally, lives: int) -> str:
    left = ", ".join(f"{n} {what}" for what, n in sorted(tally.leftovers.items()) if n) or "nothing"
    lines = [
        f"{tally.kills} kills over {lives} lives of a home: {'; '.join(tally.moments)}",
        f"tables: {len(tally.differences) or 'no'} difference(s) to the undisturbed home",
        *tally.differences,
        f"provider: {tally.billed:,} requests billed, {tally.billed_twice} keys billed twice, "
        f"{tally.replayed} requests replayed",
        f"processes left after a kill: {tally.orphans}",
        f"tables unreadable after a kill: {len(tally.unreadable)}",
        *tally.unreadable,
        f"commands that refused to go on: {len(tally.refused)}",
        *tally.refused,
        f"left lying about: {left}; Dagster runs never finished: {tally.unfinished_runs}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
