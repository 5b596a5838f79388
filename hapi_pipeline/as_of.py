"""The world as of a date: every table, made again from what the ledgers held by the end of that day.

What had been imported counts from the moment of its import, an attempt from the moment at which it was finished. The
code, benchmark.yaml, the registry of models and the attached files have no ledger: they are today's. The tables are
made in a scratch lake by the recipes that also make the home's, without Dagster; partitions are kept there by the
fingerprint of what they were made from, like in the home, so a second question about the same day costs little.
"""

from __future__ import annotations

import fcntl
import functools
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.agents.ledger import AttemptLedger, Result
from hapi_pipeline.copies import brought
from hapi_pipeline.lake import Lake
from hapi_pipeline.operations import known_cohorts
from hapi_pipeline.recipes import Scope, batches_of, bring_up_to_date, inputs_fingerprint, recipes
from hapi_pipeline.registry import Registry
from hapi_pipeline.rounds import ROUNDS, Round
from hapi_pipeline.settings import Home, UserError
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

    from hapi_pipeline.evaluation import Cell
    from hapi_pipeline.grading.packets import Made, PacketSpec

DAYS_KEPT = 8
"""So many days that were asked about stay in the cache, the last ones."""
PACKET_INPUTS = ("attempts", "benchmark_jobs", "rubrics")
_NEEDS = {
    "attempts": ("job_posts", "benchmark_jobs", "rubrics", "standing_criteria", "verdict_exports"),
    "packets": ("attempts", "benchmark_jobs", "rubrics"),
    "verdicts": ("attempts", "verdict_exports"),
}


class LedgerUntil(AttemptLedger):
    """The ledger of attempts as it stood at a moment: later attempts are not there."""

    def __init__(self, root: Path, until: datetime):
        super().__init__(root)
        self.until = until

    def _result(self, folder: Path) -> Result | None:
        result = super()._result(folder)
        return result if result is not None and result.finished_at < self.until else None


@dataclass(frozen=True)
class World:
    """What tables are made from, and where to."""

    home: Home
    lake: Lake  # the scratch lake: the home's ledgers as far as they count, and the tables that are made of them
    until: datetime | None = None  # only what came before counts; None: all of it
    trusting: bool = True  # partitions of the home that were made from the very same are taken as they are

    @cached_property
    def registry(self) -> Registry:
        """The registry of the home, as it is today."""
        return Registry.of(self.home)

    @cached_property
    def ledger(self) -> AttemptLedger:
        """The attempts that count."""
        return LedgerUntil(self.home.attempts, self.until) if self.until else AttemptLedger(self.home.attempts)

    @cached_property
    def source(self) -> Lake:
        """The lake of the home."""
        return Lake(self.home.lake)

    @cached_property
    def cohorts(self) -> list[str]:
        """The months of the jobs that count."""
        return known_cohorts(self.lake)

    def rounds(self, model_key: str) -> list[Round]:
        """The rounds that are run, and those that a model has attempts of although they no longer are."""
        chosen = self.registry.benchmark.rounds
        return [r for r in ROUNDS if r.name in chosen or self.ledger.results(model_key, r.name)]

    def scopes(self, table: str) -> list[dict[str, str]]:
        """The keys of every partition that a table has."""
        keys = TABLES[table].partitions
        if keys == ("cohort", "model", "round"):
            return [cell.keys for cell in self.cells]
        if "model" in keys:
            return [{"cohort": c, "model": m.name} for c in self.cohorts for m in self.registry.models]
        return [{"cohort": c} for c in self.cohorts] if keys else [{}]

    @cached_property
    def cells(self) -> list[Cell]:
        """Every month, model and round; a round comes after the one that it starts from."""
        from hapi_pipeline.evaluation import Cell

        return [
            Cell(cohort, model, this)
            for model in self.registry.models
            for this in self.rounds(model.key)
            for cohort in self.cohorts
        ]


# ---- the scratch lake of a day


def end_of(day: date) -> datetime:
    """The first moment that is no longer part of a day, UTC."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def tables_named(sql: str) -> list[str]:
    """The tables that a query may read: those whose name stands anywhere in it."""
    words = set(re.findall(r"\w+", sql.casefold()))
    return [name for name in TABLES if name in words]


@contextmanager
def lake_as_of(home: Home, day: date, tables: Collection[str]) -> Iterator[Lake]:
    """A lake in which these tables are as they would have been at the end of a day (UTC).

    Others may be missing there or be of an earlier question. Raises UserError for a day that is yet to come.
    """
    if day > datetime.now(UTC).date():
        raise UserError(f"{day} is yet to come; --as-of takes a day that has begun (UTC), as YYYY-MM-DD.")
    kept = home.root / ".cache" / "as_of"
    place = kept / day.isoformat()
    place.mkdir(parents=True, exist_ok=True)
    with _alone(place):
        os.utime(place)
        _forget(kept, keep=place)
        world = World(home, Lake(place / "lake"), end_of(day))
        lay_ledgers(world)
        make(world, tables)
        yield world.lake


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for another process that works on the same folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _forget(kept: Path, keep: Path) -> None:
    """Remove the days that were asked about longest ago."""
    days = sorted((p for p in kept.iterdir() if p.is_dir() and p != keep), key=lambda p: p.stat().st_mtime)
    for old in days[: max(0, len(days) + 1 - DAYS_KEPT)]:
        handle = os.open(old, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)
        except BlockingIOError:  # somebody is reading it
            continue
        finally:
            os.close(handle)


def lay_ledgers(world: World) -> None:
    """Put the home's ledgers into the scratch lake: as links, with the manifests of the imports that count."""
    source, lake = world.source, world.lake
    (lake.root / "imports").mkdir(parents=True, exist_ok=True)
    _link(brought(world.home.root / "attachments"), lake.root.parent / "attachments")
    for table in TABLES.values():
        if table.ledger:
            _link(brought(source.root / table.name), lake.root / table.name)
    counting = {
        f"{done.import_id}.json"
        for done in source.imports()
        if world.until is None or _moment(done.imported_at) < world.until
    }
    there = {path.name for path in (lake.root / "imports").iterdir()}
    for name in there - counting:
        (lake.root / "imports" / name).unlink()
    for name in counting - there:
        _link(source.root / "imports" / name, lake.root / "imports" / name)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _link(target: Path, link: Path) -> None:
    """Make a link to a file or folder of the home, which need not be there."""
    if link.is_symlink():
        if link.readlink() == target:
            return
        link.unlink()
    link.symlink_to(target)


# ---- making tables


def needed(tables: Collection[str]) -> list[str]:
    """These tables and all that they are made from, ledgers left out, each after what it is made from."""
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in order or TABLES[name].ledger:
            return
        for source in _NEEDS[name] if name in _NEEDS else recipes()[name].inputs:
            if source != name:  # one that looks back reads its own earlier months
                visit(source)
        order[name] = None

    for name in tables:
        visit(name)
    return list(order)


def make(world: World, tables: Collection[str]) -> None:
    """Bring these tables of the scratch lake up to date, and all that they are made from."""
    for name in needed(tables):
        _drop_others(world, name)
        if name == "attempts":
            _make_rounds(world)
        elif name == "packets":
            _make_packets(world)
        elif name != "verdicts":  # made with the attempts, round by round
            for batch in batches_of(recipes()[name], world.lake, world.scopes(name)):
                _make_partitions(world, name, batch)
        if name == "attempts":
            _drop_others(world, "verdicts")


def _drop_others(world: World, table: str) -> None:
    """Remove partitions that the table does not have, such as those of a month that had no jobs then."""
    known = world.scopes(table)
    for keys in world.lake.partitions(table):
        if keys not in known:
            world.lake.path(table, keys).unlink()


def _make_partitions(world: World, name: str, scopes: Sequence[Scope]) -> None:
    has = functools.partial(_has, world, name)
    bring_up_to_date(recipes()[name], world.lake, world.registry, scopes, has)


def _has(world: World, name: str, scope: Scope, seen: str) -> bool:
    """Whether the scratch lake has a partition that was made from this; if the home has one, it is taken over."""
    if world.lake.inputs(name, scope) == seen:
        return True
    if world.trusting and world.source.inputs(name, scope) == seen:
        world.lake.adopt(name, scope, world.source.path(name, scope))
    return world.lake.inputs(name, scope) == seen  # a refresh may have replaced it in between


def _make_rounds(world: World) -> None:
    """Attempts and verdicts, round after round: who is tried in a round follows from the verdicts of the one before."""
    for cell in world.cells:
        _make_attempts(world, cell)
        _make_partitions(world, "verdicts", [cell.keys])


def _make_attempts(world: World, cell: Cell) -> None:
    from hapi_pipeline.evaluation import attempts_fingerprint, attempts_of_cell, tasks_of
    from hapi_pipeline.intake.ledger import rows_of
    from hapi_pipeline.standing import marked_open

    lake, ledger, benchmark = world.lake, world.ledger, world.registry.benchmark
    seen = attempts_fingerprint(lake, ledger, cell, benchmark)
    if _has(world, "attempts", cell.keys, seen):
        return
    due = tasks_of(lake, ledger, cell, benchmark)
    rows, settled = attempts_of_cell(lake, ledger, cell, due, benchmark.agent)
    lake.write("attempts", rows_of("attempts", rows), cell.keys, seen if settled else marked_open(()))


def _make_packets(world: World) -> None:
    """The table of packets, without the packets: what they hold follows from attempts, posts and rubrics."""
    from hapi_pipeline.evaluation import packet_specs
    from hapi_pipeline.parallel import spread

    stale: dict[Cell, tuple[str, Mapping[str, PacketSpec]]] = {}
    for cell in world.cells:
        seen = inputs_fingerprint(world.lake, "packets", PACKET_INPUTS, cell.keys, "")
        if not _has(world, "packets", cell.keys, seen):
            results = {r.attempt_id: r for r in world.ledger.results(cell.model.key, cell.round.name)}
            stale[cell] = (seen, packet_specs(world.lake, cell, results))
    specs = [spec for _, some in stale.values() for spec in some.values()]
    made = {spec.packet_id: found for spec, found in zip(specs, spread(_described, specs), strict=True)}
    for cell, (seen, some) in stale.items():
        world.lake.write("packets", _packet_rows(world, cell, some, made), cell.keys, seen)


def _described(spec: PacketSpec) -> Made:
    from hapi_pipeline.grading.packets import describe_packet

    return describe_packet(spec)


def _packet_rows(world: World, cell: Cell, specs: Mapping[str, PacketSpec], made: Mapping[str, Made]) -> pa.Table:
    """Rows of a cell. When a packet was issued stands in no ledger: it is what the home knows of the same packet, and
    else when the attempt was finished."""
    from hapi_pipeline.evaluation import packet_rows
    from hapi_pipeline.intake.ledger import rows_of

    issued = {
        (p["packet_id"], p["packet_sha256"]): p["issued_at"]
        for p in world.source.read("packets", cell.keys).to_pylist()
        if world.until is None or p["issued_at"] < world.until
    }
    finished = {a["attempt_id"]: a["finished_at"] for a in world.lake.read("attempts", cell.keys).to_pylist()}
    rows: list[dict[str, Any]] = packet_rows(world.lake, cell, specs, made, datetime.now(UTC))
    for row in rows:
        row["issued_at"] = issued.get((row["packet_id"], row["packet_sha256"]), finished[row["attempt_id"]])
    return rows_of("packets", rows)
