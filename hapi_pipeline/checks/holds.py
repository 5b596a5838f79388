"""What a failed check holds back: the partitions of other tables that would be made from what is in doubt.

A failure holds only where the partition that fails is one that the other is made from. So a month that fails stops
nothing of the months beside it; a table over all months waits until none of those it is made from fails.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hapi_pipeline.checks.catalogue import blocking, rules
from hapi_pipeline.checks.register import Register, bring_up_to_date, standing
from hapi_pipeline.checks.rules import Found, Rule, Scope, cut, files_of_ledger, place_of, scope_of_place
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Registry
from hapi_pipeline.rounds import ROUND
from hapi_pipeline.tables import TABLES


@dataclass(frozen=True)
class Input:
    """A table that something is made from, and which of its partitions, besides those of the same month and model."""

    table: str
    keys: Mapping[str, str] = field(default_factory=dict)
    months_back: int = 0


@dataclass(frozen=True)
class Failure:
    """A partition that breaks a rule."""

    rule: Rule
    place: str
    found: Found

    @property
    def sentence(self) -> str:
        """Which check fails, where, with an example."""
        where = f" in {self.place}" if self.place else ""
        example = f": {self.found.examples[0]}" if self.found.examples else ""
        return f"{self.rule.table} fails the check {self.rule.name}{where}{example}"


def inputs_of(table: str, names: Sequence[str], round_: str | None = None, months_back: int = 0) -> tuple[Input, ...]:
    """The inputs of a table of one month and model, or over all; `round_` where it is made round by round."""
    if round_ is None:
        return tuple(Input(name, months_back=months_back) for name in names if name != table)
    if table != "attempts":
        return tuple(Input(name, {"round": round_}) for name in names)
    before = [Input(name, {"round": r}) for r in ROUND[round_].path[:-1] for name in ("attempts", "verdicts")]
    return (*(Input(name) for name in names), *before)


def held(
    register: Register, lake: Lake, registry: Registry, made: str, inputs: Sequence[Input], scopes: Sequence[Scope]
) -> dict[str, Failure]:
    """Of the partitions of the table `made`, those that must not be made now, each with the failure in its way."""
    found: dict[str, Failure] = {}
    for given in inputs:
        for failure in _failures(register, lake, registry, made, given.table):
            for scope in scopes:
                if _is_made_from(given, failure, scope):
                    found.setdefault(place_of(made, scope), failure)
    return found


def _failures(register: Register, lake: Lake, registry: Registry, made: str, given: str) -> Iterator[Failure]:
    for rule in blocking()[given]:
        if (
            rule.table == made
            or (rule.only and made not in rule.only)
            or (rule.doubts and made in upstream(rule.table))
        ):
            continue
        if TABLES[rule.table].ledger:  # no asset of ours writes it, so it is judged by those who read it
            bring_up_to_date(register, rule, lake, registry, files_of_ledger(lake, rule.table))
        for place, result in standing(register, rule, lake, registry).items():
            if result.errors:
                yield Failure(rule, place, result)


def _is_made_from(given: Input, failure: Failure, scope: Scope) -> bool:
    keys = scope_of_place(failure.rule.table, failure.place)
    wanted = {**{k: v for k, v in scope.items() if k != "round"}, **given.keys}
    if given.months_back and _is_within(keys.get("cohort", ""), scope["cohort"], given.months_back):
        return True
    return all(keys[name] == wanted[name] for name in cut(failure.rule.table) if name in wanted)


def _is_within(cohort: str, of: str, months_back: int) -> bool:
    from hapi_pipeline.curation.duplicates import months_before

    return cohort in months_before(of, months_back)


@functools.cache
def upstream(table: str) -> frozenset[str]:
    """The tables that a table is made from, and those that these are made from, and so on."""
    from hapi_pipeline.recipes import recipes

    known, todo = set[str](), [table]
    while todo:
        recipe = recipes().get(todo.pop())
        new = {*recipe.inputs} - known if recipe else set()
        known |= new
        todo += new
    return frozenset(known)


def failures(register: Register, lake: Lake, registry: Registry) -> list[Failure]:
    """Every partition that an error is known of, over all tables; those that have been mended are judged anew."""
    return [
        Failure(rule, place, found)
        for some in rules().values()
        for rule in some
        for place, found in standing(register, rule, lake, registry).items()
        if found.errors
    ]


def cohorts_in_doubt(found: Sequence[Failure], cohorts: Sequence[str]) -> frozenset[str]:
    """Of these months, those that a failure is about: all of them, where it is about a ledger."""
    named = {scope_of_place(f.rule.table, f.place).get("cohort") for f in found if "cohort" in cut(f.rule.table)}
    every = any(TABLES[f.rule.table].ledger for f in found)
    return frozenset(c for c in cohorts if every or c in named)
