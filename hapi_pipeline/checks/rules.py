"""What a check is: a rule that finds the rows of some partitions that must not be there, and what it then holds back.

What belongs here: how a rule is asked about partitions and what came of it. What does not: the rules themselves
(schema.py, reconcile.py, personal.py, left.py, listed in catalogue.py), and how Dagster is told (inline.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hapi_pipeline.lake import Lake
from hapi_pipeline.naming import digest, slug, unslug
from hapi_pipeline.registry import Registry
from hapi_pipeline.tables import TABLES
from hapi_pipeline.troubles import reading_trouble

Scope = Mapping[str, str]
"""The keys of one partition of a table, all of them; none for a table that is not cut."""
Row = dict[str, Any]
Find = Callable[[Lake, Registry, Sequence[Scope]], Iterable[Row]]
"""The rows of these partitions that break the rule, each with the partition's keys; the lake shows only their files.

A row with a true value under `WARNING` is one that a person should look at, and holds nothing back.
"""
WARNING = "is_a_warning"
EXAMPLES = 5
"""Rows that are kept of what a rule finds in a partition."""


@dataclass(frozen=True)
class Rule:
    """One check on one table."""

    name: str
    table: str
    meaning: str
    find: Find
    reads: tuple[str, ...]  # the tables it looks at, each in the files of the partition that is judged
    version: Callable[[], str] = str  # another one judges every partition anew
    warning: bool = False  # holds nothing back, whatever it finds
    doubts: tuple[str, ...] = ()  # tables that a failure calls in doubt; its own unless they are named
    only: tuple[str, ...] = ()  # of what is made from those, only this is held back; empty for all of it
    mend: str = ""  # what to do about a failure

    @property
    def doubted(self) -> frozenset[str]:
        """The tables of which, where the rule is broken, nothing may be made."""
        return frozenset(() if self.warning else self.doubts or (self.table,))

    @property
    def blocking(self) -> bool:
        """Whether a failure stops everything that is made from the rule's own table."""
        return self.table in self.doubted and not self.only

    @property
    def next_step(self) -> str:
        """What to do about a failure, as a sentence."""
        return self.mend or f"`hapi rebuild --table {self.table} --write` makes it anew from the ledgers."


@dataclass(frozen=True)
class Found:
    """What a rule found in one partition."""

    seen: str  # what it looked at, as `seen` gives it
    errors: int = 0
    warnings: int = 0
    examples: tuple[str, ...] = field(default=())

    @property
    def sound(self) -> bool:
        """Whether it found nothing."""
        return not self.errors and not self.warnings


def cut(table: str) -> tuple[str, ...]:
    """The keys of what is judged as one: a partition, or a file of a ledger, which holds an import."""
    return ("file",) if TABLES[table].ledger else TABLES[table].partitions


def place_of(table: str, scope: Scope) -> str:
    """One text for a partition, by which it is known to the register and shown to people."""
    return "|".join(slug(scope[key]) for key in cut(table))


def scope_of_place(table: str, place: str) -> dict[str, str]:
    """The keys of the partition that `place_of` made this text of."""
    return dict(zip(cut(table), map(unslug, place.split("|")), strict=True)) if place else {}


def files_of_ledger(lake: Lake, table: str) -> list[dict[str, str]]:
    """What is judged of a ledger: each of its files, by its place in the folder of the table."""
    return [{"file": path.relative_to(lake.root / table).as_posix()} for path in lake.files(table)]


class Slice(Lake):
    """A lake of which only the files of some partitions are seen."""

    def __init__(self, lake: Lake, scopes: Sequence[Scope]):
        super().__init__(lake.root)
        self.lake, self.scopes = lake, scopes

    def files(self, table: str, keys: Mapping[str, str] | None = None) -> list[Path]:
        """The files of a table that belong to any of the partitions, each once."""
        listed = (path for scope in self.scopes for path in files_of(self.lake, table, scope))
        return list(dict.fromkeys(listed))


def files_of(lake: Lake, table: str, scope: Scope) -> list[Path]:
    """The files of a table for a partition of this or another table: those that agree with it in the keys of both."""
    declared = TABLES[table]
    if declared.ledger and "file" in scope:
        return [lake.root / table / scope["file"]]
    keys = {p: scope[p] for p in declared.partitions if p in scope and not (declared.ledger and p == "cohort")}
    if declared.ledger or len(keys) < len(declared.partitions):
        return lake.files(table, keys)
    path = lake.path(table, keys)  # no need to look into a folder
    return [path] if path.exists() else []


def seen(rule: Rule, lake: Lake, scope: Scope) -> str:
    """Changes with the rule, and with any file that it looks at for a partition."""
    stamps = [rule.version()]
    for table in rule.reads:
        for path in files_of(lake, table, scope):
            stat = path.stat()
            stamps.append(f"{path.relative_to(lake.root)}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}")
    return digest(*stamps, length=16)


def judge(rule: Rule, lake: Lake, registry: Registry, scopes: Sequence[Scope]) -> dict[str, Found]:
    """What a rule finds in each of these partitions; one whose files cannot be read breaks it, and only that one."""
    stamps = {place_of(rule.table, scope): seen(rule, lake, scope) for scope in scopes}  # before anything is read
    rows: dict[str, list[Row]] = {}
    try:
        for row in rule.find(Slice(lake, scopes), registry, scopes):
            rows.setdefault(place_of(rule.table, {key: str(row[key]) for key in cut(rule.table)}), []).append(row)
    except Exception as error:
        if len(scopes) == 1:
            (place,) = stamps
            read = ((table, path) for table in rule.reads for path in files_of(lake, table, scopes[0]))
            unreadable = reading_trouble(error, read)
            if unreadable is None:
                raise
            return {place: Found(stamps[place], errors=1, examples=(str(unreadable),))}
        return {p: f for scope in scopes for p, f in judge(rule, lake, registry, [scope]).items()}
    return {place: _found(rule, stamp, rows.get(place, [])) for place, stamp in stamps.items()}


def _found(rule: Rule, stamp: str, rows: Sequence[Row]) -> Found:
    warnings = sum(rule.warning or bool(row.get(WARNING)) for row in rows)
    worst_first = sorted(rows, key=lambda row: bool(row.get(WARNING)))
    examples = tuple(_in_words(rule.table, row) for row in worst_first[:EXAMPLES])
    return Found(stamp, len(rows) - warnings, warnings, examples)


def _in_words(table: str, row: Row) -> str:
    """A row in one line, without the keys of its partition, which stand beside it."""
    left_out = {*cut(table), WARNING}
    told = [f"{name} {_short(value)}" for name, value in row.items() if name not in left_out and value is not None]
    return ", ".join(told)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else text[:79] + "…"


def sql_rule(name: str, table: str, meaning: str, *statements: str, reads: Sequence[str], **more: Any) -> Rule:
    """A rule in SQL: each statement selects, of the tables that it reads, the rows that must not be there."""

    def find(lake: Lake, registry: Registry, scopes: Sequence[Scope]) -> Iterator[Row]:
        for statement in statements:
            yield from violations(lake, statement, reads)

    return Rule(name, table, meaning, find, tuple(reads), version=lambda: digest(*statements, length=16), **more)


def violations(lake: Lake, sql: str, tables: Sequence[str]) -> list[Row]:
    """The rows that a check's SQL finds; it is written so that it finds none."""
    from hapi_pipeline import engine

    with engine.connect() as connection:
        engine.open_tables(connection, lake, list(tables))
        found: list[Row] = connection.sql(sql).to_arrow_table().to_pylist()
    return found
