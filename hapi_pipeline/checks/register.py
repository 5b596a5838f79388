"""What the checks have found so far, partition by partition: a small file for each table, beside Dagster's own.

Dagster keeps one newest result for a check that a run over many partitions has evaluated, so the partitions that a
later run does not cover would be forgotten. The register remembers them. It also says which files a rule has seen, so
that partitions that have not changed are not judged again; without it everything is judged anew, and nothing is lost.
"""

from __future__ import annotations

import functools
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hapi_pipeline import locks
from hapi_pipeline.checks.rules import Found, Rule, Scope, judge, place_of, scope_of_place, seen
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Registry


class Register:
    """The results of the checks of one home."""

    def __init__(self, folder: Path):
        self.folder = folder

    def results(self, rule: Rule) -> dict[str, Found]:
        """What the rule found when it last looked, by partition."""
        kept = _load(self.folder / f"{rule.table}.json", _changed(self.folder / f"{rule.table}.json"))
        return {place: _found(entry) for place, entry in kept.get(rule.name, {}).items()}

    def keep(self, rule: Rule, found: Mapping[str, Found]) -> None:
        """Remember what the rule found in these partitions; what it found in others stays."""
        path = self.folder / f"{rule.table}.json"
        with _alone(path):
            kept = dict(_load(path, _changed(path)))
            kept[rule.name] = {**kept.get(rule.name, {}), **{place: _entry(f) for place, f in found.items()}}
            staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
            staged.write_text(json.dumps(kept, sort_keys=True, ensure_ascii=False, separators=(",", ":")), "utf-8")
            staged.replace(path)  # whole or not at all; what a crash takes away is judged anew


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep the other workers of a backfill from a file while it is replaced."""
    file = locks.opened(path.with_name(f".{path.name}.lock"))
    try:
        with locks.held(file):
            yield
    finally:
        os.close(file)


@functools.lru_cache(maxsize=128)
def _load(path: Path, changed: int) -> dict[str, dict[str, Any]]:
    try:
        loaded: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):  # not there, or damaged: everything is judged again
        return {}
    return loaded


def _changed(path: Path) -> int:
    try:
        stat = path.stat()
    except OSError:
        return 0
    return hash((stat.st_ino, stat.st_size, stat.st_mtime_ns))


def _entry(found: Found) -> str | dict[str, Any]:
    if found.sound:
        return found.seen
    return {"seen": found.seen, "errors": found.errors, "warnings": found.warnings, "examples": list(found.examples)}


def _found(entry: str | dict[str, Any]) -> Found:
    if isinstance(entry, str):
        return Found(entry)
    return Found(entry["seen"], entry["errors"], entry["warnings"], tuple(entry["examples"]))


def bring_up_to_date(
    register: Register, rule: Rule, lake: Lake, registry: Registry, scopes: Sequence[Scope]
) -> dict[str, Found]:
    """What the rule finds in these partitions; those whose files it has seen before are not judged again."""
    known = register.results(rule)
    by_place = {place_of(rule.table, scope): scope for scope in scopes}
    stale = [
        scope for place, scope in by_place.items() if place not in known or known[place].seen != seen(rule, lake, scope)
    ]
    if stale:
        found = judge(rule, lake, registry, stale)
        register.keep(rule, found)
        known |= found
    return {place: known[place] for place in by_place}


def standing(register: Register, rule: Rule, lake: Lake, registry: Registry) -> dict[str, Found]:
    """The partitions that break the rule, as far as it has looked; those that have been mended since are judged anew.

    A partition that is no more is forgotten.
    """
    failing = {place: found for place, found in register.results(rule).items() if not found.sound}
    if not failing:
        return {}
    scopes = [scope_of_place(rule.table, place) for place in failing]
    now = bring_up_to_date(register, rule, lake, registry, scopes)
    return {place: found for place, found in now.items() if not found.sound}
