"""All checks of the graph, in one list: docs/checks.md describes them, inline.py runs them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from hapi_pipeline.checks import left, personal, reconcile
from hapi_pipeline.checks.rules import Rule
from hapi_pipeline.checks.schema import schema_rule
from hapi_pipeline.tables import TABLES


@functools.cache
def rules() -> Mapping[str, Sequence[Rule]]:
    """The rules on each table, its declaration first."""
    found: dict[str, list[Rule]] = {name: [schema_rule(table)] for name, table in TABLES.items()}
    for rule in (*reconcile.RULES, *personal.RULES, *left.RULES):
        found[rule.table].append(rule)
    return found


@functools.cache
def blocking() -> Mapping[str, Sequence[Rule]]:
    """For each table, the rules that call it in doubt when they are broken."""
    every = [rule for some in rules().values() for rule in some]
    return {name: [rule for rule in every if name in rule.doubted] for name in TABLES}
