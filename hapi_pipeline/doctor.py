"""`hapi doctor`: is this home sound? Each area is looked at in turn; what is found says what to do about it.

Nothing is changed and nothing secret is shown. Each check is a function from a home to findings; what goes wrong in one
is a finding itself, so that the others are still heard.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hapi_pipeline.copies import brought
from hapi_pipeline.lake import Import, Lake
from hapi_pipeline.parallel import in_threads
from hapi_pipeline.progress import Progress
from hapi_pipeline.registry import Model, Registry
from hapi_pipeline.settings import Home, UserError, project_root
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import dagster as dg

    from hapi_pipeline.agents.ledger import Result

OK, NOTE, PROBLEM = "ok", "note", "problem"
"""How a finding stands: all is well; worth knowing; something has to be done."""

T = TypeVar("T")
R = TypeVar("R")
_NAMED = 3  # examples that a finding names
_GIB = 1 << 30
_LEAST_FREE, _LITTLE_FREE = 1 * _GIB, 5 * _GIB
_STALE_DAEMON = 120  # seconds; the daemon says every 30 s that it lives
_LEFT_OVER = 3600  # seconds after which nobody is still writing a file
_LARGE_HISTORY = 1 * _GIB


@dataclass(frozen=True)
class Finding:
    """What was found in an area, and what to do about it."""

    area: str
    state: str
    found: str
    do: str = ""


@dataclass(frozen=True)
class Look:
    """What the checks are given: a home, and whether files are read or only their sizes looked at."""

    home: Home
    quick: bool = False

    @property
    def lake(self) -> Lake:
        """The tables."""
        return Lake(self.home.lake)


Check = Callable[[Look], Iterator[Finding]]


def examine(look: Look) -> Iterator[Finding]:
    """All findings, area by area. Raises nothing: a check that cannot be carried out is a finding."""
    for area, check in CHECKS.items():
        try:
            yield from check(look)
        except UserError as error:
            yield Finding(area, PROBLEM, str(error), "Mend that, then ask again.")
        except Exception as error:  # a doctor who faints helps nobody
            told = str(error).strip().splitlines()
            yield Finding(area, PROBLEM, f"could not be looked at: {type(error).__name__}: {told[0] if told else ''}")


# ---- software


def software(look: Look) -> Iterator[Finding]:
    """Python, and packages against what the project asks for and what its lock file holds."""
    yield Finding("software", OK, f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    wrong = list(unmet_requirements())
    if wrong:
        yield Finding("software", PROBLEM, f"packages that do not fit: {_some(wrong)}", "Run `make clean demo`.")
    lock = project_root() / "requirements.lock"
    if not lock.exists():
        yield Finding("software", OK if not wrong else NOTE, "no requirements.lock here; versions were not compared")
        return
    others = list(unlike_lock(lock.read_text("utf-8")))
    if others:
        yield Finding(
            "software",
            NOTE,
            f"{len(others)} package(s) are not as in requirements.lock: {_some(others)}",
            "`touch requirements.lock && make demo` installs the locked ones.",
        )
    elif not wrong:
        yield Finding("software", OK, "all packages are as in requirements.lock")


def unmet_requirements() -> Iterator[str]:
    """What the project needs to run and is missing or of another version."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    try:
        needed = [Requirement(text) for text in requires("hapi_pipeline") or []]
    except PackageNotFoundError:
        yield "hapi_pipeline itself is not installed (pip install -e .)"
        return
    for requirement in needed:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            there = version(requirement.name)
        except PackageNotFoundError:
            yield f"{requirement.name} is missing"
            continue
        if not requirement.specifier.contains(there, prereleases=True):
            yield f"{requirement.name} is {there}, needed is {requirement.specifier}"


def unlike_lock(lock: str) -> Iterator[str]:
    """Packages that are there in another version than a lock file (pip's format) names."""
    from importlib.metadata import distributions

    pinned = {_normal(name): version for name, version in re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock)}
    for there in distributions():
        name = _normal(there.metadata["Name"] or "")
        if pinned.get(name, there.version) != there.version:
            yield f"{name} {there.version} (locked: {pinned[name]})"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# ---- the home


def home(look: Look) -> Iterator[Finding]:
    """The folder: can it be written, is there room, is somebody at work."""
    from hapi_pipeline.operations import busy_with

    root = look.home.root
    if not os.access(root, os.W_OK):
        yield Finding("home", PROBLEM, f"{root} cannot be written by this user", "Change its owner or its rights.")
    else:
        simulated = " (a demo home: everything in it is simulated)" if (root / "DEMO").exists() else ""
        yield Finding("home", OK, f"{root}{simulated}")
    free = shutil.disk_usage(root).free
    state = PROBLEM if free < _LEAST_FREE else NOTE if free < _LITTLE_FREE else OK
    more = (
        "Make room: `hapi prune` shortens the history of runs; deliverables stand in attempts/." if state != OK else ""
    )
    yield Finding("home", state, f"{_size(free)} free on its disk", more)
    who = busy_with(look.home)
    if who:
        yield Finding("home", NOTE, f"process {who} is at work on it; what follows may change while it is looked at")


# ---- the registry


def registry(look: Look) -> Iterator[Finding]:
    """Whether each file of the registry loads."""
    read, good = Registry.of(look.home), []
    parts: list[tuple[str, Callable[[], Any]]] = [
        ("benchmark.yaml", lambda: read.benchmark),
        ("models.yaml", lambda: read.models),
        ("graders.yaml", lambda: read.graders),
        ("judges.yaml", lambda: read.judges),
    ]
    folder = look.home.registry / "sources"
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    parts += [(f"sources/{name}.yaml", lambda name=name: read.source(name)) for name in names]  # type: ignore[misc]
    for name, load in parts:
        try:
            load()
            good.append(name)
        except UserError as error:
            yield Finding("registry", PROBLEM, f"{name} does not load: {error}", f"Mend {look.home.registry / name}.")
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            told = f"{name} holds something of the wrong kind: {error}"
            yield Finding("registry", PROBLEM, told, f"Compare {look.home.registry / name} with the shipped one.")
    if not names:
        yield Finding("registry", NOTE, "there is no source definition", "docs/sources.md says how to write one.")
    if len(good) == len(parts):
        yield Finding("registry", OK, f"{len(good)} files load")


def models(look: Look) -> Iterator[Finding]:
    """Prices and keys of the models and judges; of a key only whether it is there."""
    known = Registry.of(look.home)
    if not known.models:
        yield Finding("models", NOTE, "no model is registered", "`hapi models add NAME --litellm ID …`")
    used = [m for m in known.models if not m.retired]
    for model in [*used, *known.judges]:
        yield from model_findings(model)
    told = [f"{len(used)} in use"]
    told += [f"{len(known.models) - len(used)} retired"] if len(known.models) > len(used) else []
    told += [f"{len(known.judges)} judge(s)"] if known.judges else []
    yield Finding("models", OK, ", ".join(told))
    there = sorted({m.api_key_env for m in [*used, *known.judges] if m.api_key_env and os.environ.get(m.api_key_env)})
    if there:
        yield Finding("models", OK, f"keys are there (not shown): {', '.join(there)}")


def model_findings(model: Model) -> Iterator[Finding]:
    """What keeps a model from being run, as far as the registry and the environment show."""
    if model.external:
        return
    problem = model.price_problem(datetime.now(UTC).date()) if not (model.simulated or model.command) else None
    if problem:
        yield Finding("models", PROBLEM, problem, "Without a price no attempt is started.")
    name = model.api_key_env
    key = os.environ.get(name) if name else None
    if name and not key:
        yield Finding(
            "models", PROBLEM, f"{model.name}: {name} is not set", f"`export {name}=…`, then `hapi models check`."
        )
    elif key is not None and key != key.strip():
        told = f"{model.name}: the key in {name} begins or ends with a blank or a line break"
        yield Finding("models", PROBLEM, told, f"Set {name} again without it.")


def sandbox(look: Look) -> Iterator[Finding]:
    """Where an agent's code would run. The self-test is run where a model needs it; else what is installed is told."""
    from hapi_pipeline.agents.sandbox import levels
    from hapi_pipeline.agents.sandbox.selftest import AUTO, probe

    wanted = [m.name for m in Registry.of(look.home).models if m.agent_profile in ("code", "command") and not m.retired]
    if wanted and not look.quick:
        found = probe()
        if found.level is None:
            why = "; ".join(f"{level}: {reason}" for level, reason in found.refused) or "HAPI_SANDBOX is off"
            told = f"no sandbox holds here, and {_some(wanted)} run(s) code ({why})"
            yield Finding("sandbox", PROBLEM, told, "`apt-get install bubblewrap`; see docs/sandbox.md.")
        else:
            yield Finding("sandbox", OK, f"{found.level}; {len(found.checks)} attacks were tried inside and failed")
        return
    there = [level for level in AUTO if levels.missing(level) is None]
    if there:
        tested = "" if not wanted else " (not tested now)"
        yield Finding("sandbox", OK, f"{there[0]} is there{tested}; {len(wanted)} model(s) need one")
    else:
        state = PROBLEM if wanted else NOTE
        told = "; ".join(f"{level}: {levels.missing(level)}" for level in AUTO)
        yield Finding("sandbox", state, f"none ({told})", "`apt-get install bubblewrap`; see docs/sandbox.md.")


# ---- Dagster


def dagster(look: Look) -> Iterator[Finding]:
    """The daemon, runs that are under way or failed, and the size of their history."""
    settings = look.home.dagster / "dagster.yaml"
    if settings.exists() and not re.search(
        r"telemetry:\s*(\{\s*enabled:\s*false|\n\s+enabled:\s*false)", _text(settings)
    ):
        told = "telemetry is not switched off in .dagster/dagster.yaml"
        yield Finding("dagster", NOTE, told, f"Write `telemetry: {{enabled: false}}` into {settings}.")
    if (
        not (look.home.dagster / "history").exists()
        and "sqlite" not in _text(settings)
        and "postgres" not in _text(settings)
    ):
        yield Finding("dagster", OK, "nothing has run here yet")
        return
    with _instance(look.home) as instance:
        yield from _daemon(instance)
        yield from _runs(instance)
    size = sum(path.stat().st_size for path in (look.home.dagster / "history").rglob("*") if path.is_file())
    if size > _LARGE_HISTORY:
        yield Finding("dagster", NOTE, f"the history of runs takes {_size(size)}", "`hapi prune --older-than 90d`")
    else:
        yield Finding("dagster", OK, f"the history of runs takes {_size(size)}")


def _instance(home: Home) -> dg.DagsterInstance:
    """The Dagster instance of a home, only to look at it."""
    home.tell_dagster()
    import dagster as dg

    return dg.DagsterInstance.from_config(str(home.dagster))


def _daemon(instance: dg.DagsterInstance) -> Iterator[Finding]:
    from dagster._core.scheduler.instigation import InstigatorStatus

    beats = [beat.timestamp for beat in instance.get_daemon_heartbeats().values()]
    ago = time.time() - max(beats) if beats else None
    by_hand = [s.name for s in instance.all_instigator_state() if s.status == InstigatorStatus.RUNNING]
    if ago is not None and ago < _STALE_DAEMON:
        yield Finding("dagster", OK, f"the daemon is alive (last sign {ago:.0f} s ago)")
        return
    told = "the daemon is not running" + (f" (last sign {_ago(ago)} ago)" if ago is not None else "")
    if by_hand:
        yield Finding("dagster", PROBLEM, f"{told}, though switched on: {_some(sorted(by_hand))}", "Start `hapi ui`.")
    else:
        yield Finding(
            "dagster", OK, f"{told}; only the inbox, schedules and backfills need it, and no schedule is switched on"
        )


def _runs(instance: dg.DagsterInstance) -> Iterator[Finding]:
    import dagster as dg

    from hapi_pipeline.dead_runs import STARTED_BY

    under_way = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.QUEUED]
    records = instance.get_run_records(dg.RunsFilter(statuses=under_way), limit=100)
    old = [r for r in records if time.time() - r.create_timestamp.timestamp() > 86400]
    if old:
        ids = _some([r.dagster_run.run_id[:8] for r in old])
        mine = all(STARTED_BY.items() <= r.dagster_run.tags.items() for r in old)
        do = "`hapi refresh` closes runs of killed commands." if mine else "Terminate them in `hapi ui` (Runs)."
        yield Finding("dagster", PROBLEM, f"{len(old)} run(s) have been under way for more than a day: {ids}", do)
    elif records:
        yield Finding("dagster", OK, f"{len(records)} run(s) under way or waiting")
    newest = instance.get_run_records(limit=1)
    if newest and newest[0].dagster_run.status == dg.DagsterRunStatus.FAILURE:
        run = newest[0].dagster_run
        told = f"the newest run, {run.run_id[:8]} ({run.job_name}), failed"
        yield Finding("dagster", PROBLEM, told, "`hapi ui` shows why (Runs); `hapi refresh` goes on from there.")


# ---- what is due


def freshness(look: Look) -> Iterator[Finding]:
    """Months that something has happened to since they were last refreshed."""
    from hapi_pipeline.operations import known_cohorts, pending_cohorts, uncurated_cohorts

    known = known_cohorts(look.lake)
    if not known:
        yield Finding("freshness", NOTE, "no job has been imported yet", "`hapi import jobs FILE --source NAME`")
        return
    stale, uncurated = pending_cohorts(look.home), uncurated_cohorts(look.home)
    if stale:
        also = f" ({len(uncurated)} of them not curated)" if uncurated else ""
        told = f"{len(stale)} of {len(known)} month(s) are not up to date{also}: {_some(stale)}"
        yield Finding("freshness", PROBLEM, told, "`hapi refresh` brings them up to date.")
    else:
        yield Finding("freshness", OK, f"{len(known)} month(s), {known[0]} to {known[-1]}, are up to date")


def attempts(look: Look) -> Iterator[Finding]:
    """Jobs that are due and have no fair attempt."""
    from hapi_pipeline.rounds import ROUND
    from hapi_pipeline.standing import counted, facts_of, standings

    known = Registry.of(look.home)
    rounds = [ROUND[name] for name in known.benchmark.rounds]
    facts = facts_of(look.lake, known.benchmark)
    by_cell = counted(standings(facts, known.models, known.benchmark, rounds))
    counts = sum(by_cell.values(), Counter())
    for state, text, do in (
        (
            "failed_infra",
            "failed for reasons that are not the model's",
            "`hapi explain JOB_ID` says why; `hapi refresh`.",
        ),
        ("left", "are due and not made", "`hapi refresh`, or `hapi backfill --model NAME`, makes them."),
    ):
        if counts[state]:
            where = [f"{model}, {round_} ({n[state]:,})" for (model, round_), n in by_cell.items() if n[state]]
            yield Finding("attempts", PROBLEM, f"{counts[state]:,} attempt(s) {text}: {_some(where)}", do)
    if counts["awaited"]:
        told = f"{counts['awaited']:,} attempt(s) are awaited of external agents"
        yield Finding("attempts", NOTE, told, "`hapi jobs export` gives their authors the briefs.")
    if not counts["failed_infra"] and not counts["left"]:
        yield Finding("attempts", OK, f"{counts['attempted']:,} made; none has failed and none is left")


# ---- the ledgers


def imports(look: Look) -> Iterator[Finding]:
    """The ledgers of what came in: each manifest has its rows, and each file of the lake its hash."""
    lake, manifests = look.lake, {i.import_id: i for i in look.lake.imports()}
    files = [path for table in TABLES for path in lake.files(table)]
    damaged: list[str] = []
    for path, why in _watched("tables: files read", files, lambda path: damage(path, look.quick)):
        damaged += [f"{path.relative_to(lake.root)} {why}"] if why else []
    ledgers = tuple(f"{name}/" for name, table in TABLES.items() if table.ledger)
    lost = [d for d in damaged if d.startswith(ledgers)]
    rest = [d for d in damaged if not d.startswith(ledgers)]
    if lost:
        do = "Restore these files from a backup: they cannot be made again. Failing that, import the files anew."
        yield Finding("ledgers", PROBLEM, f"{len(lost)} damaged ledger file(s): {_some(lost)}", do)
    if rest:
        told = f"{len(rest)} damaged partition(s): {_some(rest)}"
        yield Finding("ledgers", PROBLEM, told, "`hapi rebuild --write` remakes them from the ledgers.")
    short = [] if lost else list(incomplete_imports(lake, manifests))
    if short:
        do = "Restore lake/ from a backup, or delete the manifest in lake/imports/ and import the file again."
        yield Finding("ledgers", PROBLEM, f"{len(short)} import(s) have lost rows: {_some(short)}", do)
    if not (lost or rest or short):
        how = "are readable (not read through)" if look.quick else "are as they were written (SHA-256)"
        yield Finding("ledgers", OK, f"{len(manifests):,} imports and {len(files):,} files of tables {how}")


def damage(path: Path, quick: bool = False) -> str | None:
    """What is wrong with a Parquet file of the lake, in a few words; None where nothing is.

    Its pages are held against the SHA-256 that its footer keeps of them; `quick` reads the footer only.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        kept = (pq.read_metadata(path).metadata or {}).get(b"hapi.content")
        if quick:
            return None
        with path.open("rb") as file:
            file.seek(-8, os.SEEK_END)
            pages = file.seek(0, os.SEEK_END) - 8 - int.from_bytes(_tail(file), "little")
            file.seek(0)
            sha = hashlib.sha256()
            while pages > 0 and (chunk := file.read(min(1 << 20, pages))):
                sha.update(chunk)
                pages -= len(chunk)
    except (OSError, ValueError, pa.ArrowException):
        return "is no readable Parquet file"
    if kept is None:
        return "does not say what it should hold"
    return None if sha.hexdigest() == kept.decode() else "is not what was written"


def _tail(file: Any) -> bytes:
    """The length of a Parquet file's footer, from its last bytes."""
    file.seek(-8, os.SEEK_END)
    return bytes(file.read(4))


_ROWS_IN = {
    "jobs": "job_exports",
    "rubrics": "rubric_exports",
    "verdicts": "verdict_exports",
    "audits": "audit_exports",
    "freeze": "job_freezes",
    "assignments": "assignments",
    "judge": "judge_verdicts",
}


def incomplete_imports(lake: Lake, manifests: Mapping[str, Import]) -> Iterator[str]:
    """Imports whose manifest counts more rows, or rows in quarantine, than the ledger has of them."""
    import pyarrow.parquet as pq

    there: dict[str, Counter[str]] = {}
    for table in {*_ROWS_IN.values(), "quarantine"}:
        counts = there.setdefault(table, Counter())
        for path in lake.files(table):
            counts[path.stem] += pq.read_metadata(path).num_rows
    for import_id, manifest in manifests.items():
        rows_in = _ROWS_IN.get(manifest.kind)
        for name, expected in ((rows_in, manifest.rows), ("quarantine", manifest.quarantined)):
            if name is not None and there[name][import_id] < expected:
                yield f"{import_id} ({there[name][import_id]:,} of {expected:,} rows in {name})"


def results(look: Look) -> Iterator[Finding]:
    """The ledger of attempts: each record is readable, and each deliverable is what the record says."""
    from hapi_pipeline.agents.ledger import read_result

    folders = list(attempt_folders(look.home))
    finished, unfinished, unreadable, faults = 0, 0, list[str](), list[str]()

    def examined(folder: Path) -> tuple[Result | None, str | None]:
        result = read_result(folder)
        return result, None if result is None else deliverables_fault(result, look.quick)

    for folder, (result, fault) in _watched("attempts: deliverables read", folders, examined):
        name = folder.relative_to(look.home.attempts).as_posix()
        if result is None and (folder / "result.json").exists():
            unreadable.append(name)
        unfinished += result is None and not (folder / "result.json").exists()
        finished += result is not None
        faults += [f"{name}: {fault}"] if fault else []
    if unreadable:
        do = "Restore result.json from a backup; else the attempt is made again from its steps, which may cost."
        yield Finding("ledgers", PROBLEM, f"{len(unreadable)} unreadable result.json: {_some(unreadable)}", do)
    if faults:
        told = f"{len(faults)} attempt(s) do not hold what their record says: {_some(faults)}"
        yield Finding("ledgers", PROBLEM, told, "Restore these files from a backup; graders must not see others.")
    if unfinished:
        told = f"{unfinished} attempt(s) were begun and not finished"
        yield Finding("ledgers", NOTE, told, "`hapi refresh` goes on from their steps.")
    if not faults and not unreadable:
        how = "are there in the right size (not read through)" if look.quick else "are what was handed in (SHA-256)"
        yield Finding("ledgers", OK, f"{finished:,} finished attempts; their deliverables {how}")


def attempt_folders(home: Home) -> Iterator[Path]:
    """The folder of every attempt, finished or not."""
    for model in _folders(brought(home.attempts)):
        for round_ in _folders(model):
            yield from (folder for folder in _folders(round_) if "-at_" in folder.name)


def deliverables_fault(result: Result, quick: bool) -> str | None:
    """What is wrong with the files of an attempt, in a few words; None where nothing is."""
    if not result.folder.name.endswith(f"-{result.attempt_id}"):
        return f"result.json is of another attempt ({result.attempt_id})"
    for item in result.deliverables:
        path = result.folder / "deliverables" / item.path
        try:
            size = path.lstat().st_size
            if path.is_symlink() or size != item.bytes:
                return f"{item.path[:60]} is not as large as when it was handed in"
            if not quick:
                with path.open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != item.sha256:
                        return f"{item.path[:60]} is not what was handed in"
        except OSError:
            return f"{item.path[:60]} is missing"
    return None


def _watched(title: str, items: Sequence[T], work: Callable[[T], R]) -> Iterator[tuple[T, R]]:
    """Each item with what came of it, two at a time; on a terminal one sees how far it is."""
    with Progress(title) as progress:
        for number, (item, made) in enumerate(zip(items, in_threads(work, items, 2), strict=True), 1):
            if sys.stderr.isatty():
                progress.show(number, len(items))
            yield item, made


# ---- files that nothing names


def files(look: Look) -> Iterator[Finding]:
    """Packets, attempts and files of the lake that no table names, what is named and not there, and leftovers."""
    lake = look.lake
    named = set(lake.read("packets", columns=["folder"])["folder"].to_pylist())
    there = {f"packets/{folder.name}" for folder in _folders(look.home.packets)}
    if missing := sorted(named - there):
        told = f"{len(missing)} packet(s) are not there: {_some(missing)}"
        yield Finding("files", PROBLEM, told, "`hapi refresh` writes them again.")
    if surplus := sorted(there - named):
        told = f"{len(surplus)} packet folder(s) that no table names: {_some(surplus)}"
        yield Finding("files", NOTE, told, "Nothing reads them; delete them once no grader has them.")
    known = set(lake.read("attempts", columns=["attempt_id"])["attempt_id"].to_pylist())
    begun = [f for f in attempt_folders(look.home) if (f / "result.json").exists()]
    if unknown := [f.name for f in begun if f.name.partition("-")[2] not in known]:
        told = f"{len(unknown)} finished attempt(s) in no table, of jobs or models that left: {_some(unknown)}"
        yield Finding(
            "files", NOTE, told, "Keep them: they cost money, and count again if the job or model comes back."
        )
    yield from _strangers(look)
    old = list(leftovers(look.home))
    if old:
        told = f"{len(old)} leftover(s) of writers that were killed: {_some([_within(look.home, p) for p in old])}"
        yield Finding("files", NOTE, told, "Nothing reads them; they can be deleted.")
    if not missing and not surplus and not old:
        yield Finding("files", OK, f"{len(there):,} packets and {len(begun):,} attempts are all named by tables")


def _strangers(look: Look) -> Iterator[Finding]:
    """What stands in the lake and is part of no table."""
    lake = look.lake
    folders = [f.name for f in _folders(lake.root) if f.name not in TABLES and f.name != "imports"]
    if folders:
        do = "Nothing reads them: tables of another version, or not the project's."
        yield Finding("files", NOTE, f"{len(folders)} folder(s) in lake/ are no table: {_some(sorted(folders))}", do)
    counted = {path for table in TABLES for path in lake.files(table)}
    every = {
        path for table in TABLES for path in (lake.root / table).rglob("*.parquet") if not path.name.startswith(".")
    }
    loose = sorted(every - counted)
    if loose:
        told = f"{len(loose)} file(s) of tables do not count: {_some([_within(look.home, p) for p in loose])}"
        do = "Of an import that was broken off, or put there by hand; import again, then delete them."
        yield Finding("files", NOTE, told, do)


def leftovers(home: Home) -> Iterator[Path]:
    """Staged files and folders that nobody has touched for an hour, so that nobody will finish them."""
    before = time.time() - _LEFT_OVER
    places: Sequence[Iterable[Path]] = (
        home.lake.rglob(".*.part"),
        home.registry.rglob("*.new"),
        home.registry.rglob(".*.part"),
        (folder / "result.json.new" for folder in attempt_folders(home)),
        *(home.packets.glob(pattern) for pattern in ("*.part", "*.new", "*.old", ".*")),
        *(home.releases.glob(pattern) for pattern in ("*.part", "*.new", "*.old", ".*.part")),
        (home.root / ".cache").glob("rebuild-*"),
    )
    for found in places:
        for path in found:
            try:
                if path.lstat().st_mtime < before:
                    yield path
            except FileNotFoundError:
                continue


def inbox(look: Look) -> Iterator[Finding]:
    """Files that were dropped into the inbox and refused."""
    refused = look.home.inbox / "refused"
    found = sorted(p.name for p in refused.rglob("*") if p.is_file()) if refused.is_dir() else []
    found = [name for name in found if not name.endswith(".txt") or name.removesuffix(".txt") not in found]
    if found:
        do = f"Beside each in {refused} stands why; mend it and drop it again, or delete it."
        yield Finding("inbox", PROBLEM, f"{len(found)} refused file(s): {_some(found)}", do)
    else:
        yield Finding("inbox", OK, "no file has been refused")


CHECKS: Mapping[str, Check] = {
    "software": software,
    "home": home,
    "registry": registry,
    "models": models,
    "sandbox": sandbox,
    "dagster": dagster,
    "freshness": freshness,
    "attempts": attempts,
    "imports": imports,
    "results": results,
    "files": files,
    "inbox": inbox,
}
"""The checks, in the order in which they are told."""


# ---- words


def line(area: str, one: Finding) -> str:
    """A finding for a person, and below it what to do; `area` is empty where it goes without saying."""
    do = f"\n{'':12} → {one.do}" if one.do else ""
    return f"{area:10} {_MARKS[one.state]} {one.found}{do}"


_MARKS = {OK: "✓", NOTE: "·", PROBLEM: "✗"}


def verdict(findings: Sequence[Finding]) -> str:
    """The last line."""
    problems, notes = (sum(f.state == state for f in findings) for state in (PROBLEM, NOTE))
    worth = f"; {notes} note(s)" if notes else ""
    return f"{problems} problem(s) to mend{worth}." if problems else f"Nothing to mend{worth}."


def as_json(findings: Iterable[Finding]) -> str:
    """The findings for a program: one JSON document."""
    listed = list(findings)
    return json.dumps(
        {"problems": sum(f.state == PROBLEM for f in listed), "findings": [vars(f) for f in listed]},
        ensure_ascii=False,
        indent=1,
    )


def _some(names: Sequence[str]) -> str:
    """The first of many names; they may come from outside, so each is one short line of visible characters."""
    shown = ["".join(c if c.isprintable() else " " for c in name)[:120] for name in names[:_NAMED]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


def _size(count: int) -> str:
    return f"{count / _GIB:,.1f} GiB" if count >= _GIB else f"{count / (1 << 20):,.0f} MiB"


def _ago(seconds: float) -> str:
    return (
        f"{seconds / 86400:,.0f} days"
        if seconds > 172800
        else f"{seconds / 3600:,.0f} h"
        if seconds > 7200
        else (f"{seconds / 60:,.0f} min")
    )


def _within(home: Home, path: Path) -> str:
    return path.relative_to(home.root).as_posix()


def _folders(parent: Path) -> list[Path]:
    try:
        with os.scandir(parent) as entries:
            return [parent / e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")]
    except FileNotFoundError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
