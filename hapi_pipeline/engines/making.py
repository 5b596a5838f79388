"""Brings the partitions of a table up to date on an engine: whole months and models, or parts of very large ones."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from hapi_pipeline.engines import Engine, EngineSettings, engine_of
from hapi_pipeline.engines.local import Local
from hapi_pipeline.engines.split import Part, forget, make_part, merge, number_of_parts, parts_of, rows_of
from hapi_pipeline.recipes import Recipe, Scope, batches_of, bring_up_to_date
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    from hapi_pipeline.copies import HandedIn
    from hapi_pipeline.lake import Lake, Written
    from hapi_pipeline.registry import Registry


@dataclass(frozen=True)
class Remade:
    """What came of bringing a partition up to date."""

    rows: int
    changed: bool  # whether they are others than before


_Here = TypeVar("_Here")
_HandedIn = tuple[_Here, list["HandedIn"]]
"""What came of a task, and the files that it made for a home in an object store and that have no name there yet."""


@dataclass(frozen=True)
class _Job:
    """What a worker has to know besides which partitions it is to make."""

    recipe: Recipe
    lake: Lake
    registry: Registry
    anew: bool = False
    elsewhere: bool = False  # in another process than the one that holds the home

    def has(self, scope: Scope, fingerprint: str) -> bool:
        return not self.anew and self.lake.inputs(self.recipe.name, scope) == fingerprint

    @contextmanager
    def handing_in(self) -> Iterator[list[HandedIn]]:
        """In a worker: what is made meanwhile is listed where the process that holds the home has to take it over."""
        if not (self.elsewhere and self.lake.working_copy):
            yield []
            return
        with self.lake.working_copy.handing_in() as handed_in:
            yield handed_in

    def take_over(self, results: Iterable[_HandedIn[_Here]]) -> Iterator[_Here]:
        """The results of tasks, after what they have made has got its names."""
        for result, handed_in in results:
            if copy := self.lake.working_copy:
                copy.take_over(handed_in)
            yield result

    def told(self, scope: Scope, written: Written | None) -> Remade:
        if written is not None:
            return Remade(written.rows, written.changed)
        return Remade(rows_of(self.lake.files(self.recipe.name, scope)), False)


def remake(
    recipe: Recipe,
    lake: Lake,
    registry: Registry,
    scopes: Sequence[Scope],
    *,
    threads: int = 1,
    settings: EngineSettings | None = None,
    anew: bool = False,
) -> list[Remade]:
    """Make those of these partitions whose inputs have changed (with `anew` all), where the settings say.

    `threads`: how many at once where this process makes them. A table without partitions is made in this process: it
    sums up what others counted. Where it is not given, `settings` is what the environment says.
    """
    settings = settings or EngineSettings.of()
    engine: Engine = engine_of(settings) if TABLES[recipe.name].partitions else Local()
    job = _Job(recipe, lake, registry, anew, elsewhere=engine.name != "local")
    if job.elsewhere:
        _prepare(lake, registry)
    counts = {_key(scope): number_of_parts(recipe, lake, scope, settings.split_rows) for scope in scopes}
    large = [scope for scope in scopes if counts[_key(scope)] > 1]
    batches = batches_of(recipe, lake, [scope for scope in scopes if counts[_key(scope)] == 1])
    found = engine.each(functools.partial(_whole, job), batches, threads=threads, in_order=recipe.looks_back)
    done = (
        pair
        for batch, some in zip(batches, job.take_over(found), strict=True)
        for pair in zip(batch, some, strict=True)
    )
    made = {_key(scope): one for scope, one in done}
    made |= _in_parts(engine, job, {_key(scope): counts[_key(scope)] for scope in large}, threads)
    if engine.name != "local":
        _sweep(lake, recipe.name, scopes)
    return [made[_key(scope)] for scope in scopes]


def _prepare(lake: Lake, registry: Registry) -> None:
    """Before workers elsewhere begin: they may have neither the registry's files nor what was attached to jobs."""
    _ = registry.benchmark, registry.models  # what has been read travels along
    if lake.working_copy:
        lake.working_copy.send_changed("attachments")


def _whole(job: _Job, batch: Sequence[Scope]) -> _HandedIn[list[Remade]]:
    """In a worker: partitions that are made together."""
    with job.handing_in() as handed_in:
        written = bring_up_to_date(job.recipe, job.lake, job.registry, batch, job.has)
        return [job.told(scope, one) for scope, one in zip(batch, written, strict=True)], handed_in


def _in_parts(engine: Engine, job: _Job, counts: dict[_Key, int], threads: int) -> dict[_Key, Remade]:
    """Partitions that are made in parts, as many as said; first all parts of all of them, then what they make up."""
    made, stale = {}, []
    for key, count in counts.items():
        fingerprint = job.recipe.fingerprint(job.lake, job.registry, dict(key))
        if job.has(dict(key), fingerprint):
            made[key] = job.told(dict(key), None)
        else:
            stale.append(parts_of(dict(key), count, fingerprint))
    if not stale:
        return made
    every = [part for parts in stale for part in parts]
    for _ in engine.each(functools.partial(_part, job), every, threads=threads):
        pass
    merged = job.take_over(engine.each(functools.partial(_merged, job), stale, threads=threads))
    made |= {parts[0].keys: one for parts, one in zip(stale, merged, strict=True)}
    forget(job.lake, job.recipe.name, {parts[0].fingerprint for parts in stale})
    return made


def _part(job: _Job, part: Part) -> int:
    with job.handing_in():  # parts are kept where every worker sees them at once
        return make_part(job.recipe, job.lake, job.registry, part)


def _merged(job: _Job, parts: Sequence[Part]) -> _HandedIn[Remade]:
    with job.handing_in() as handed_in:
        return job.told(parts[0].scope, merge(job.recipe, job.lake, parts)), handed_in


def _sweep(lake: Lake, table: str, scopes: Sequence[Scope]) -> None:
    """Remove what workers that died had begun to write; all of them are done with these partitions."""
    for scope in scopes:
        for left in lake.folder(table, scope).glob(".*.part"):
            left.unlink(missing_ok=True)


_Key = tuple[tuple[str, str], ...]


def _key(scope: Scope) -> _Key:
    return tuple(scope.items())
