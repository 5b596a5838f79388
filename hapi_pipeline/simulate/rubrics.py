"""Rubrics for the sample's jobs: criteria that speak of the job, each findable by its text alone."""

from __future__ import annotations

from collections.abc import Mapping

from hapi_pipeline.simulate.dice import Dice
from hapi_pipeline.simulate.posts import Kind, capital, kinds

IMPORTANCE = {"c": "critical", "i": "important", "o": "optional", "p": "pitfall"}


def rubric(kind: Kind, slots: Mapping[str, str], count: int, dice: Dice) -> list[tuple[str, str]]:
    """So many criteria as (importance, text), the critical ones among them; no text is part of another.

    ValueError when the kind does not have so many.
    """
    own = [_parsed(line, slots) for line in kind.criteria]
    common = [_parsed(line, slots) for line in dice.shuffled(kinds().criteria[kind.family])]
    chosen: list[tuple[str, str]] = []
    critical = [c for c in own if c[0] == "critical"]
    for criterion in (*critical, *dice.shuffled(c for c in own if c not in critical), *common):
        if len(chosen) < count and not any(_overlap(criterion[1], text) for _, text in chosen):
            chosen.append(criterion)
    if len(chosen) < count:
        raise ValueError(f"{kind.subcategory} has only {len(chosen)} criteria, not {count}")
    return sorted(chosen, key=lambda c: list(IMPORTANCE.values()).index(c[0]) // 2)


def _parsed(line: str, slots: Mapping[str, str]) -> tuple[str, str]:
    mark, text = line.split(" ", 1)
    return IMPORTANCE[mark], capital(text.format_map(slots))


def _overlap(one: str, other: str) -> bool:
    one, other = one.casefold(), other.casefold()
    return one in other or other in one
