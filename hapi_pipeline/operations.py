"""What the command line starts: Dagster runs on a home's instance, in this process, one at a time.

What it has the daemon run, several at once, is in `fan_out.py`.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline import __version__, locks
from hapi_pipeline.copies import copy_of
from hapi_pipeline.intake.drift import drift_of
from hapi_pipeline.lake import Import, Lake, write_bytes
from hapi_pipeline.naming import digest
from hapi_pipeline.registry import Registry
from hapi_pipeline.results import BY_CELL, SUMMARIES
from hapi_pipeline.settings import Home, UserError
from hapi_pipeline.tables import TABLES
from hapi_pipeline.workers import next_month

if TYPE_CHECKING:
    import dagster as dg

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunFailedError(Exception):
    """A Dagster run that did not succeed: the message names the step and the reason."""


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did."""

    cohorts: tuple[str, ...]
    attempts_made: int
    attempts_failed: int
    attempts_left: int
    cost_usd: float  # of the attempts made now
    left_out: tuple[str, ...] = ()  # why models could not be run at all, a sentence each
    held: tuple[str, ...] = ()  # checks that fail, and so hold something back, a sentence each

    @property
    def clean(self) -> bool:
        """Whether nothing is left to be tried again."""
        return self.attempts_failed == 0 and self.attempts_left == 0 and not self.held


@contextmanager
def at_work(
    home: Home, *, wait: float = 0.0, who: str = "", say: Callable[[str], None] = print, shared: bool = False
) -> Iterator[None]:
    """Keep others that change this home out while this process works; released even when it is killed.

    `shared` lets those in that ask for it as well: the workers of one backfill, which keep off each other's months.
    `wait` is how many seconds to wait for another that is at work; `who` is how it is told to others; what is waited
    for is said by `say`. Raises UserError when the other is still at work after that.
    """
    home.ensure()
    lock = locks.opened(home.root / ".lock")
    try:
        _lock(lock, home, wait, say, shared)
        if not shared:
            for left in _notes(home):  # by processes that were killed
                left.unlink(missing_ok=True)
        with _noted(home, who, shared), _leased(home, who, wait, say, shared):
            yield
    finally:
        os.close(lock)


def _leased(
    home: Home, who: str, wait: float, say: Callable[[str], None], shared: bool
) -> AbstractContextManager[None]:
    """Keep writers on other machines out, too, where the home stands in an object store."""
    copy = copy_of(home.root)
    if copy is None:
        return nullcontext()
    from hapi_pipeline.lease import leased

    if shared:
        check_shareable(home)
    return leased(copy, f"{os.getpid()}{who and ', '}{who}", wait=wait, say=say)


def publishing(home: Home, out: Path | None = None) -> AbstractContextManager[None]:
    """Keep other writers off the releases of a home in an object store: what is published is many objects there.

    On a disk, or where it goes elsewhere (`out`), a folder takes the place of another one at once.
    """
    return at_work(home) if copy_of(home.root) and out is None else nullcontext()


def check_shareable(home: Home) -> None:
    """UserError for a home that several workers cannot change at once."""
    if copy_of(home.root):
        raise UserError("Several workers at once need a home on a disk that all of them share, no object store.")


@contextmanager
def _noted(home: Home, who: str, shared: bool) -> Iterator[None]:
    """Say to others who is at work, and remember it in this process."""
    mark = f".{socket.gethostname()}-{os.getpid()}" if shared else ""
    note = home.root / f"{_NOTE}{mark}"
    note.write_text(f"{os.getpid()}{who and ', '}{who}{_ON}{socket.gethostname()}", "utf-8")
    try:
        if not shared:
            _alone.add((os.getpid(), home.root))
        yield
    finally:
        _alone.discard((os.getpid(), home.root))
        note.unlink(missing_ok=True)


_NOTE, _ON = ".at_work", " on "
_alone = set[tuple[int, Path]]()
"""The homes that this process keeps all others out of."""
_WAIT_STEP, _SAY_AGAIN = 0.5, 60.0  # seconds


def _notes(home: Home) -> list[Path]:
    """The notes of those who are at work on a home, or were when they were killed."""
    return sorted(home.root.glob(f"{_NOTE}*"))


def _lock(lock: int, home: Home, wait: float, say: Callable[[str], None], shared: bool) -> None:
    """Take the lock of a home, waiting so many seconds for whoever holds it."""
    began, said = time.monotonic(), float("-inf")
    while not locks.take(lock, shared=shared):
        who, waited = _holders(home), time.monotonic() - began
        if waited >= wait:
            after = f" after {wait:,.0f} s" if wait else ""
            raise UserError(
                f"Another hapi command (process {who}) is at work on {home.address}{after}; wait for it or stop it."
            )
        if waited - said >= _SAY_AGAIN:
            said = waited
            say(f"Waiting for another that is at work on this home (process {who}), {waited:,.0f} s so far.")
        time.sleep(_WAIT_STEP)


def _holders(home: Home) -> str:
    said = []
    for note in _notes(home):
        with suppress(OSError):  # it is just done
            said.append(note.read_text("utf-8").removesuffix(f"{_ON}{socket.gethostname()}"))
    return "; ".join(filter(None, said)) or "unknown"


def held_here(home: Home) -> bool:
    """Whether this process keeps all others out of a home already."""
    return (os.getpid(), home.root) in _alone


def busy_with(home: Home) -> str | None:
    """Who is at work on a home, if anyone is: a look that changes nothing."""
    # the lock is only touched where somebody may hold it
    here = _holders(home) if _notes(home) and locks.is_held(home.root / ".lock") else None
    copy = copy_of(home.root)
    if here or copy is None:
        return here
    from hapi_pipeline.lease import holder

    return holder(copy)


@contextmanager
def instance_of(home: Home) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of a home, with the models of its registry as partitions."""
    home.ensure()
    home.tell_dagster()
    import dagster as dg

    from hapi_pipeline.partitions import sync_models

    with dg.DagsterInstance.get() as instance:
        sync_models(instance, Registry.of(home))
        yield instance


def known_cohorts(lake: Lake) -> list[str]:
    """The months that imported jobs fall into."""
    return sorted({cohort for i in lake.imports("jobs") for cohort in i.cohorts})


def pending_cohorts(home: Home) -> list[str]:
    """The months that something has happened to since they were last refreshed with nothing left open."""
    lake = Lake(home.lake)
    known, settled = known_cohorts(lake), _settled(home)
    uncurated = set(_to_curate(home, known))
    if any(not lake.path(table, {}).exists() for table in SUMMARIES):
        return known
    return [
        c
        for c in known
        if settled.get(c) != _cohort_state(home, lake.imports(), c)
        or c in uncurated
        or not _is_curated(lake, c)
        or not _is_evaluated(home, lake, c)
    ]


def _is_curated(lake: Lake, cohort: str) -> bool:
    """Whether all tables of a month are there; whoever deletes one gets it back."""
    return all(
        lake.path(t.name, {"cohort": cohort}).exists()
        for t in TABLES.values()
        if t.partitions == ("cohort",) and not t.ledger
    )


def _is_evaluated(home: Home, lake: Lake, cohort: str) -> bool:
    return all(
        lake.path(table, {"cohort": cohort, "model": model.name}).exists()
        for table in BY_CELL
        for model in Registry.of(home).models
    )


def _cohort_state(home: Home, imports: Sequence[Import], cohort: str, kinds: Sequence[str] = ()) -> str:
    """Changes with every import that touches the month (of these kinds, if named) and with the rules and models."""
    touching = sorted(
        i.import_id
        for i in imports
        if (not i.cohorts or cohort in i.cohorts) and (i.kind in kinds if kinds else i.kind not in _CHANGES_NOTHING)
    )
    names = ["benchmark.yaml"] if kinds else ["benchmark.yaml", "models.yaml"]
    files = [home.registry / name for name in names]
    return digest(__version__, *(path.read_bytes() for path in files if path.exists()), *touching, length=32)


_CHANGES_NOTHING = ("freeze",)  # a list of what is there
_CURATED_FROM = ("jobs", "rubrics", "audits")


def _settled(home: Home, name: str = "refreshed") -> dict[str, str]:
    try:
        return dict(json.loads((home.lake / f"{name}.json").read_text("utf-8")))
    except (FileNotFoundError, ValueError):
        return {}


def _settle(home: Home, cohorts: Sequence[str], name: str = "refreshed", kinds: Sequence[str] = ()) -> None:
    from hapi_pipeline.checks.holds import cohorts_in_doubt
    from hapi_pipeline.checks.inline import known_failures

    imports = Lake(home.lake).imports()
    unsound = cohorts_in_doubt(known_failures(home), cohorts)
    states = _settled(home, name) | {c: _cohort_state(home, imports, c, kinds) for c in cohorts}
    states = {c: state for c, state in states.items() if c not in unsound}
    os.sync()  # a month is not said to be done before the names of its files are on the disk, too
    write_bytes(home.lake / f"{name}.json", json.dumps(states, indent=1, sort_keys=True).encode())


def _to_curate(home: Home, cohorts: Sequence[str]) -> list[str]:
    """The months whose posts, rubrics or rules have changed since they were last curated."""
    settled, imports = _settled(home, "curated"), Lake(home.lake).imports()
    return [
        c
        for c in cohorts
        if settled.get(c) != _cohort_state(home, imports, c, _CURATED_FROM) or not _is_curated(Lake(home.lake), c)
    ]


def stretches(cohorts: Sequence[str]) -> list[tuple[str, str]]:
    """Months grouped into unbroken stretches, as (first, last): each can be one run."""
    found: list[tuple[str, str]] = []
    for cohort in sorted(cohorts):
        if found and next_month(found[-1][1]) == cohort:
            found[-1] = (found[-1][0], cohort)
        else:
            found.append((cohort, cohort))
    return found


def uncurated_cohorts(home: Home) -> list[str]:
    """The months whose posts, rubrics or rules have changed since they were last curated."""
    return _to_curate(home, known_cohorts(Lake(home.lake)))


def curate(home: Home, cohorts: Sequence[str]) -> None:
    """Curate these months, whether or not something has changed; only what has changed is made anew.

    Raises RunFailedError when a run fails; what was finished before stays.
    """
    from hapi_pipeline.dead_runs import bury_dead_runs
    from hapi_pipeline.definitions import build_defs

    with instance_of(home) as instance:
        bury_dead_runs(instance)
        _curate(home, build_defs(home), instance, cohorts, {})
    _settle(home, cohorts, "curated", _CURATED_FROM)
    if failing := failing_checks(home):
        raise RunFailedError(" ".join(failing))


def curate_changed(home: Home, cohorts: Sequence[str]) -> None:
    """Curate those of these months in which something has changed, before others work on them.

    Raises RunFailedError when a run fails; what was finished before stays.
    """
    from hapi_pipeline.dead_runs import bury_dead_runs
    from hapi_pipeline.definitions import build_defs

    with instance_of(home) as instance:
        bury_dead_runs(instance)
        _curate(home, build_defs(home), instance, _to_curate(home, cohorts), {})
    _settle(home, cohorts, "curated", _CURATED_FROM)


def summarise(home: Home) -> None:
    """Bring the tables over all months and models up to date. Raises RunFailedError when that fails."""
    from hapi_pipeline.definitions import SUMMARISE, build_defs

    with instance_of(home) as instance:
        _run(build_defs(home), instance, SUMMARISE, None, {})


def failing_checks(home: Home) -> tuple[str, ...]:
    """The checks that fail today, each with where, an example, and what to do; what hangs on them is held back."""
    from hapi_pipeline.checks.inline import known_failures

    return tuple(f"{found.sentence}. {found.rule.next_step}" for found in known_failures(home))


def _curate(
    home: Home, defs: dg.Definitions, instance: dg.DagsterInstance, cohorts: Sequence[str], tags: Mapping[str, str]
) -> list[str]:
    """Curate these months, then those later ones whose jobs are compared with theirs, as far as a change reaches.

    Returns the later months whose benchmark has changed; they count as not refreshed from then on. Later months that
    have not been curated yet, or are due for other reasons, are left alone: they have to be curated anyway.
    """
    from hapi_pipeline.definitions import CURATE

    lake, months_back = Lake(home.lake), Registry.of(home).benchmark.duplicates.months_back
    known, done, todo = known_cohorts(lake), set[str](), sorted(cohorts)
    upset: set[str] = set()  # later months that were settled
    moved_on: set[str] = set()
    while todo:
        within = {c for c in known if any(_is_after(c, t, months_back) for t in todo)} - {*todo, *done}
        upset |= within - set(_to_curate(home, sorted(within)))
        _unsettle(home, upset, "curated")  # first, so that a run that is killed leaves nothing to be forgotten
        before = {c: _standing(lake, c) for c in todo}
        for first, last in stretches(todo):
            _run(defs, instance, CURATE, (first, last), tags)
        done |= set(todo)
        after = {c: _standing(lake, c) for c in todo}
        moved_on |= {c for c in todo if c in upset and before[c][1] != after[c][1]}
        moved = [c for c in todo if before[c][0] != after[c][0]]
        reached = sorted(c for c in upset if any(_is_after(c, m, months_back) for m in moved))
        gap = min((c for c in reached if c not in done), default=None)
        todo = [c for c in reached if gap and c >= gap]
    _unsettle(home, moved_on, "refreshed")
    _settle(home, sorted(upset), "curated", _CURATED_FROM)
    return sorted(moved_on)


def _is_after(cohort: str, other: str, months: int) -> bool:
    """Whether a month comes at most so many months after another."""
    year, month = map(int, cohort.split("-"))
    other_year, other_month = map(int, other.split("-"))
    return 0 < 12 * (year - other_year) + month - other_month <= months


def _standing(lake: Lake, cohort: str) -> tuple[tuple[str | None, ...], str | None]:
    """What later months see of a month, and its benchmark: both change with the rows."""
    keys = {"cohort": cohort}
    seen = tuple(lake.content(table, keys) for table in ("curated_jobs", "job_signatures", "job_clusters"))
    return seen, lake.content("benchmark_jobs", keys)


def _unsettle(home: Home, cohorts: Collection[str], name: str) -> None:
    settled = _settled(home, name)
    if settled.keys() & set(cohorts):
        kept = {c: state for c, state in settled.items() if c not in cohorts}
        write_bytes(home.lake / f"{name}.json", json.dumps(kept, indent=1, sort_keys=True).encode())


def refresh(
    home: Home,
    cohorts: Sequence[str],
    models: Sequence[str] | None = None,
    max_usd: float | None = None,
    before_attempts: Callable[[Sequence[str]], None] = lambda _: None,
    tags: Mapping[str, str] | None = None,
) -> Refreshed:
    """Bring these months up to date for all models (or those named): curation, rounds, results.

    `before_attempts` is called with the months once they are curated, before anything is spent. `tags` are given to
    all runs.
    Raises RunFailedError when a run fails; what was finished before stays, and the next refresh goes on from there.
    """
    from hapi_pipeline.dead_runs import bury_dead_runs
    from hapi_pipeline.definitions import SUMMARISE, build_defs

    registry = Registry.of(home)
    keys = [m.key for m in registry.models if models is None or m.name in models]
    tags, purse = tags or {}, _Purse(max_usd)
    with instance_of(home) as instance:
        bury_dead_runs(instance)
        defs = build_defs(home)
        followers = _curate(home, defs, instance, _to_curate(home, cohorts), tags)
        _settle(home, cohorts, "curated", _CURATED_FROM)
        if models is None:
            cohorts = sorted({*cohorts, *followers})
        before_attempts(cohorts)
        # a backfill is one run, gaps between the months or not; a refresh leaves the gaps alone
        spans = [(cohorts[0], cohorts[-1])] if models else stretches(cohorts)
        parts = [[c for c in cohorts if first <= c <= last] for first, last in spans]
        found = [_evaluate(home, defs, instance, part, keys, tags, purse) for part in parts]
        _run(defs, instance, SUMMARISE, None, tags)
    done = replace(_summed(cohorts, found), held=failing_checks(home))
    if done.clean and models is None:
        _settle(home, cohorts)
    return done


def publish(home: Home) -> Path:
    """Bring the report, the warehouse and the feed up to date where their tables have changed; the report's first page.

    Raises RunFailedError when one of them cannot be made; results are not touched.
    """
    from hapi_pipeline.made import PLACES, is_current, made_from

    state = made_from(Lake(home.lake), Registry.of(home))
    if not all(is_current(home.releases / place, state) for place in PLACES.values()):
        from hapi_pipeline.definitions import PUBLISH, build_defs

        with instance_of(home) as instance:
            _run(build_defs(home), instance, PUBLISH, None, {})
    return home.releases / PLACES["report"] / "index.html"


@dataclass
class _Purse:
    """What several runs may spend together, in USD; a run is given what is left. None: no end."""

    most: float | None
    spent: float = 0.0

    @property
    def tags(self) -> dict[str, str]:
        """For the next run."""
        return {} if self.most is None else {"hapi/max_usd": str(max(0.0, self.most - self.spent))}


def _summed(cohorts: Sequence[str], parts: Iterable[Refreshed]) -> Refreshed:
    """What several runs of the rounds did, as one."""
    listed = list(parts)
    return Refreshed(
        tuple(cohorts),
        sum(part.attempts_made for part in listed),
        sum(part.attempts_failed for part in listed),
        sum(part.attempts_left for part in listed),
        sum(part.cost_usd for part in listed),
        tuple(sorted({reason for part in listed for reason in part.left_out})),
    )


def _evaluate(
    home: Home,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    cohorts: Sequence[str],
    keys: Sequence[str],
    tags: Mapping[str, str],
    purse: _Purse,
) -> Refreshed:
    """The rounds and rates of these months for the models with these keys, from the first month to the last."""
    import dagster as dg

    from hapi_pipeline.assets.rounds import stale_assets
    from hapi_pipeline.definitions import EVALUATE
    from hapi_pipeline.resources import HapiHome

    by_key = {m.key: m for m in Registry.of(home).models}
    names = ("run_attempts_made", "run_attempts_failed", "run_attempts_left", "run_cost_usd")
    figures, left_out = dict.fromkeys(names, 0.0), set[str]()
    for run_of_keys in _model_runs(instance, keys):
        scopes = [(c, by_key[key]) for c in cohorts for key in run_of_keys]
        selection = [
            *stale_assets(HapiHome(root=str(home.root)), scopes),
            *(dg.AssetKey([name]) for name in BY_CELL),
        ]
        span = (f"{cohorts[0]}|{run_of_keys[0]}", f"{cohorts[-1]}|{run_of_keys[-1]}")
        metadata = _run(defs, instance, EVALUATE, span, {**tags, **purse.tags}, selection)
        for name in names:
            figures[name] += sum(float(m.get(name, 0)) for m in metadata)
        purse.spent += sum(float(m.get("run_cost_usd", 0)) for m in metadata)
        left_out |= {line for m in metadata for line in m.get("run_left_out", "").splitlines()}
    made, failed, left, cost = figures.values()
    return Refreshed(tuple(cohorts), int(made), int(failed), int(left), cost, tuple(sorted(left_out)))


@dataclass(frozen=True)
class Touched:
    """What imports have changed: months whose curation may be another, and cells (month, model) besides."""

    cohorts: frozenset[str] = frozenset()
    cells: frozenset[tuple[str, str]] = frozenset()

    def __or__(self, other: Touched) -> Touched:
        """Both together."""
        return Touched(self.cohorts | other.cohorts, self.cells | other.cells)

    def __bool__(self) -> bool:
        """Whether anything is touched."""
        return bool(self.cohorts or self.cells)


@dataclass(frozen=True)
class Settled:
    """The months that had nothing left to do, in curation and altogether."""

    curated: frozenset[str]
    refreshed: frozenset[str]


def refreshed_months(home: Home) -> list[str]:
    """The months that have been refreshed once with nothing left open, whatever has happened to them since."""
    return sorted(_settled(home))


def settled_months(home: Home) -> Settled:
    """The months to which nothing has happened since they were last made."""
    imports = Lake(home.lake).imports()
    curated, refreshed = _settled(home, "curated"), _settled(home)
    return Settled(
        frozenset(c for c, state in curated.items() if state == _cohort_state(home, imports, c, _CURATED_FROM)),
        frozenset(c for c, state in refreshed.items() if state == _cohort_state(home, imports, c)),
    )


def follow(
    home: Home,
    touched: Touched,
    attempts_in: Collection[str],
    *,
    before: Settled,
    max_usd: float | None = None,
    tags: Mapping[str, str] | None = None,
    summarise: bool = True,
) -> Refreshed:
    """Bring exactly what imports have touched up to date: curation, the rounds of the touched cells, the summaries.

    Attempts are made in the months `attempts_in` only; what would be due elsewhere waits for `hapi refresh`. `before`
    is what was settled before the imports: what they did not touch stays settled. Raises RunFailedError as `refresh`.
    """
    from hapi_pipeline.assets.rounds import ATTEMPTS_IN
    from hapi_pipeline.dead_runs import bury_dead_runs
    from hapi_pipeline.definitions import SUMMARISE, build_defs

    tags, purse = {**(tags or {}), ATTEMPTS_IN: ",".join(sorted(attempts_in))}, _Purse(max_usd)
    known = known_cohorts(Lake(home.lake))
    parts, settled = [], set[str]()
    with instance_of(home) as instance:
        bury_dead_runs(instance)
        defs = build_defs(home)
        _settle(home, sorted(before.curated - touched.cohorts), "curated", _CURATED_FROM)
        to_curate = sorted(touched.cohorts & set(known))
        moved = _curate(home, defs, instance, to_curate, tags) if to_curate else []
        _settle(home, to_curate, "curated", _CURATED_FROM)
        cells = touched.cells | {(c, m.name) for c in {*to_curate, *moved} for m in Registry.of(home).models}
        for cohorts, models in rectangles(cells):
            keys = [m.key for m in Registry.of(home).models if m.name in models]
            done = _evaluate(home, defs, instance, cohorts, keys, tags, purse)
            parts.append(done)
            settled |= set(cohorts) if done.clean else set()
        if summarise:
            _run(defs, instance, SUMMARISE, None, tags)
    reached, held = {c for c, _ in cells}, failing_checks(home)
    unclean = {c for part in parts if not part.clean for c in part.cohorts}
    whole = {*to_curate, *moved} | before.refreshed  # of the others only some models have been looked at
    settled = set() if held else (settled & whole) - unclean
    _settle(home, sorted((before.refreshed - reached) | settled))
    return replace(_summed(sorted(reached), parts), held=held)


MOST_RECTANGLES = 8
"""Runs for scattered cells; beyond it one run over all of them is cheaper, and leaves what is up to date alone too."""


def rectangles(cells: Collection[tuple[str, str]]) -> list[tuple[list[str], list[str]]]:
    """Cells as a few (unbroken months, models), each of which can be one run; together they cover all cells.

    They cover other cells only where they would be too many.
    """
    models: dict[str, frozenset[str]] = {}
    for cohort, model in cells:
        models[cohort] = models.get(cohort, frozenset()) | {model}
    found = []
    for some in sorted(set(models.values()), key=sorted):
        cohorts = sorted(c for c in models if models[c] == some)
        found += [([c for c in cohorts if a <= c <= b], sorted(some)) for a, b in stretches(cohorts)]
    if len(found) > MOST_RECTANGLES:
        return [(sorted(models), sorted({m for some in models.values() for m in some}))]
    return sorted(found)


def _model_runs(instance: dg.DagsterInstance, keys: Sequence[str]) -> list[list[str]]:
    """Models that are neighbours in the order of Dagster's partitions, together: each list can be one run."""
    from hapi_pipeline.partitions import MODELS

    runs: list[list[str]] = [[]]
    for key in instance.get_dynamic_partitions(MODELS):
        if key in keys:
            runs[-1].append(key)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _run(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    job: str,
    span: tuple[str, str] | None,
    tags: Mapping[str, str],
    selection: Sequence[dg.AssetKey] | None = None,
) -> list[dict[str, Any]]:
    """Execute one job over a range of partitions; the metadata of what it materialized, as plain values."""
    from hapi_pipeline.checks.inline import failed_by_checks_only

    ranged = (
        {"dagster/asset_partition_range_start": span[0], "dagster/asset_partition_range_end": span[1]} if span else {}
    )
    job_def = defs.resolve_job_def(job)
    if selection is not None:
        # Dagster would take every check on these assets in, slow ones too that the job leaves out
        checks = {key for key in job_def.asset_layer.asset_graph.asset_check_keys if key.asset_key in selection}
        job_def = job_def.get_subset(asset_selection=set(selection), asset_check_selection=checks)
    result = job_def.execute_in_process(
        instance=instance,
        tags={**tags, **ranged, "hapi/started_by": "hapi"},
        run_config=_QUIET,
        raise_on_error=False,
    )
    if not result.success and not failed_by_checks_only(result):  # what those hold back, every later run holds back too
        raise RunFailedError(_why(result, job))
    last: dict[dg.AssetKey, dict[str, Any]] = {}
    for event in result.get_asset_materialization_events():
        if event.asset_key is not None:
            last[event.asset_key] = {k: v.value for k, v in event.materialization.metadata.items()}
    return list(last.values())


def _why(result: dg.ExecuteInProcessResult, job: str) -> str:
    """The step that failed and its innermost reason, in one sentence."""
    for event in result.all_events:
        if event.is_step_failure:
            return f"Step {event.step_key} of run {result.run_id[:8]} ({job}) failed: {step_failure(event)}"
    return f"Run {result.run_id[:8]} ({job}) failed; `hapi ui` shows its log."


def step_failure(event: dg.DagsterEvent) -> str:
    """The innermost reason of a step's failure, or what the step itself says is to be done."""
    error, told = event.step_failure_data.error, event.step_failure_data.user_failure_data
    if told and told.description:
        return told.description
    while error is not None and error.cause is not None:
        error = error.cause
    reason = error.message.strip().splitlines()[0] if error else "no reason given"
    return reason.removeprefix(f"{UserError.__module__}.UserError: ")


def report_imports(home: Home, imports: Sequence[tuple[str, Import]]) -> None:
    """Tell the home's Dagster instance what imports brought, so that the UI shows it on the ledgers' assets.

    `imports` are (name of the ledger, import).
    """
    if not imports:
        return
    with instance_of(home) as instance:
        import dagster as dg

        from hapi_pipeline.assets.shown import preview_of_import

        earlier = Lake(home.lake).imports("jobs")
        for table, done in imports:
            metadata: dict[str, Any] = {
                "rows": done.rows,
                "quarantined": done.quarantined,
                "files": len(done.files),
                "first file": done.files[0].name,
                "cohorts": ", ".join(done.cohorts) or "not known",
                "missing columns": ", ".join(done.missing_columns) or "none",
                "columns kept aside": ", ".join(done.unmapped_columns) or "none",
            }
            if done.kind == "jobs":
                metadata["schema drift"] = drift_of(done, earlier).text or "none"
            metadata |= preview_of_import(Lake(home.lake), table, done.import_id)
            instance.report_runless_asset_event(
                dg.AssetMaterialization(asset_key=[table], metadata=metadata, tags={"hapi/import": done.import_id})
            )
            if done.quarantined:
                refused: dict[str, Any] = {"rows": done.quarantined, "first file": done.files[0].name}
                refused |= preview_of_import(Lake(home.lake), "quarantine", done.import_id)
                instance.report_runless_asset_event(dg.AssetMaterialization(asset_key=["quarantine"], metadata=refused))
