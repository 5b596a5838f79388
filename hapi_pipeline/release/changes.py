"""What came, went and was rescored between two releases: row by row, by the keys of the tables, with reasons.

A reason begins where something happened: a job came, a rubric was edited, an attempt was made, a verdict was given
anew. Rows that are summed from others carry the reasons of what lies beneath them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.release.public import CLEARED_ONLY, OUTSIDE_TEXT
from hapi_pipeline.release.writing import sha256_of
from hapi_pipeline.tables import Table

if TYPE_CHECKING:
    import duckdb

COLUMNS = ("table", "change", "key", "columns", "values", "reason")
"""Columns of changes.csv: key and values are JSON; values has [before, after] of numbers and codes, never of texts."""

_UNSEEN = frozenset((*OUTSIDE_TEXT, *CLEARED_ONLY)) - {"category", "model", "model_a", "model_b"}
_BELOW = ("cohort", "model", "category")  # what a summed row is about: reasons beneath it share these
_NO_REASON = "the rules, assumptions or program changed"


@dataclass(frozen=True)
class Change:
    """A row that is new, gone or changed."""

    table: str
    change: str  # new, gone or changed
    key: Mapping[str, Any]
    row: Mapping[str, Any]  # as it is now; as it was, where it is gone
    values: Mapping[str, tuple[Any, Any]]  # what changed: before and after
    reason: str = ""

    def cells(self) -> list[str]:
        """The row of changes.csv."""
        shown = {k: v for k, v in self.values.items() if k not in _UNSEEN}
        as_text = [json.dumps(x, ensure_ascii=False, default=str) for x in (self.key, shown)]
        columns = " ".join(self.values)
        return [self.table, self.change, as_text[0], columns, as_text[1] if shown else "", self.reason]


def changes(before: Mapping[str, Path], after: Mapping[str, Path], tables: Mapping[str, Table]) -> list[Change]:
    """Every row that differs between the Parquet files of two releases, with its reason, in the order of the tables."""
    from hapi_pipeline.engine import connect

    differing = [name for name in tables if not _same(before.get(name), after.get(name))]
    with connect({}) as connection:
        found = [
            c for name in differing for c in _of_table(connection, tables[name], before.get(name), after.get(name))
        ]
    return _explained(found, tables)


def _same(before: Path | None, after: Path | None) -> bool:
    """Whether two files hold the same rows because they hold the same bytes."""
    return bool(before and after and sha256_of(before) == sha256_of(after))


def _of_table(
    connection: duckdb.DuckDBPyConnection, table: Table, before: Path | None, after: Path | None
) -> Iterator[Change]:
    """The rows of one table that differ. Columns that one side lacks are not compared."""
    from hapi_pipeline.engine import quoted

    if before is None and after is None:
        return
    old, new = _names(before or after), _names(after or before)
    shared = [n for n in table.names if n in old and n in new]
    key = [k for k in table.key if k in shared]
    for side, path, other in (("o", before, after), ("n", after, before)):
        columns = ", ".join(f'"{n}"' for n in shared)
        nothing = "" if path else " WHERE false"  # a side that has no such table is an empty one
        of = f"read_parquet({quoted(path or other)})"
        connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {side} AS SELECT {columns}, true AS _there FROM {of}{nothing}"  # noqa: S608
        )
    on = " AND ".join(f'o."{k}" IS NOT DISTINCT FROM n."{k}"' for k in key)
    differs = " OR ".join(f'o."{n}" IS DISTINCT FROM n."{n}"' for n in ["_there", *shared])
    order = ", ".join(f'coalesce(n."{k}", o."{k}") NULLS FIRST' for k in key)
    # {} of columns of both sides, so that each keeps its type
    rows = connection.execute(
        f"SELECT o, n FROM o FULL JOIN n ON {on} WHERE {differs} ORDER BY {order}"  # noqa: S608
    ).fetchall()
    for old_row, new_row in rows:
        yield _change(table.name, key, shared, old_row, new_row)


def _names(path: Path | None) -> set[str]:
    import pyarrow.parquet as pq

    return set(pq.read_schema(path).names) if path else set()


def _change(
    table: str, key: Sequence[str], shared: Sequence[str], old: Mapping[str, Any] | None, new: Mapping[str, Any] | None
) -> Change:
    there, was = bool(new and new["_there"]), bool(old and old["_there"])
    row = dict(new if there and new else old or {})
    row.pop("_there", None)
    told = {k: row[k] for k in key}
    if there and was and old and new:
        return Change(table, "changed", told, row, {n: (old[n], new[n]) for n in shared if old[n] != new[n]})
    return Change(table, "new" if there else "gone", told, row, {})


# ---- reasons


class _Roots:
    """What happened, by job and by attempt: the reasons that rows of other tables are traced to."""

    def __init__(self, found: Sequence[Change]):
        # ("job" or "attempt" or, of all attempts at a job, "work"; id) -> reasons
        self.of: dict[tuple[str, str], set[str]] = {}
        self.about: set[tuple[tuple[Any, ...], str]] = set()  # what a reason is about, and the reason
        self.by_table: dict[str, list[Change]] = {}
        for change in found:
            self.by_table.setdefault(change.table, []).append(change)
        self.new_cohorts = self._only_new("cohort")
        self._jobs()
        self._attempts()
        self._verdicts()

    def _only_new(self, column: str) -> set[Any]:
        """Months of which only rows came: they are new as a whole."""
        by: dict[Any, set[str]] = {}
        for change in self.by_table.get("clearance", []):
            by.setdefault(change.row.get(column), set()).add(change.change)
        return {value for value, kinds in by.items() if kinds == {"new"}}

    def add(self, change: Change, reason: str, **ids: Any) -> None:
        """Note a reason for a job or an attempt."""
        for kind, value in ids.items():
            self.of.setdefault((kind, str(value)), set()).add(reason)
        self.about.add((tuple(change.row.get(k) for k in _BELOW), reason))

    def _jobs(self) -> None:
        for change in self.by_table.get("clearance", []):
            job, cohort = change.row["job_id"], change.row.get("cohort")
            if change.change == "new":
                new = "new cohort" if cohort in self.new_cohorts else "new job"
                self.add(change, f"{new} {cohort}" if new == "new cohort" else new, job=job)
            elif change.change == "gone":
                self.add(change, "job withdrawn", job=job)
            elif "cleared" in change.values:
                cleared = change.values["cleared"][1]
                self.add(change, "job cleared for publication" if cleared else "job no longer cleared", job=job)
        for change in self.by_table.get("benchmark_jobs", []):
            if change.change != "changed":
                continue
            if "rubric_version" in change.values:
                self.add(change, "rubric edited", job=change.row["job_id"])
            if set(change.values) - {"rubric_version", "n_criteria"} and not self.of.get(
                ("job", str(change.row["job_id"]))
            ):
                self.add(change, "post changed", job=change.row["job_id"])

    def _attempts(self) -> None:
        for change in self.by_table.get("attempts", []):
            job, attempt = change.row["job_id"], change.row["attempt_id"]
            reason = "newly attempted" if change.change == "new" else "attempt gone"
            if change.change == "changed" and "is_current" in change.values:
                reason = "attempt counts again" if change.row["is_current"] else "attempt superseded"
            elif change.change == "changed":
                if ("job", str(job)) in self.of:  # its names of files come and go with the job's clearance
                    continue
                reason = "attempt changed"
            if not self._withdrawn(job):
                self.add(change, reason, work=job, attempt=attempt)

    def _withdrawn(self, job: Any) -> bool:
        return "job withdrawn" in self.of.get(("job", str(job)), ())

    def _verdicts(self) -> None:
        for some in _by_criterion(self.by_table.get("verdicts", [])):
            for change in some:
                if not self._withdrawn(change.row["job_id"]):
                    reason = _verdict_reason(change, some)
                    self.add(change, reason, work=change.row["job_id"], attempt=change.row["attempt_id"])

    def for_row(self, change: Change) -> str:
        """The reasons of a row: of its attempt, else of its job and the work on it, else of what lies beneath it."""
        row = change.row
        of_attempt = self.of.get(("attempt", str(row.get("attempt_id"))), set())
        of_job = self.of.get(("job", str(row.get("job_id"))), set())
        if change.table in _OF_JOBS:
            return _told(of_job or {_NO_REASON})
        if "attempt_id" in row:
            return _told(of_attempt or of_job or {_NO_REASON})
        if "job_id" in row:
            return _told(of_job | self.of.get(("work", str(row["job_id"])), set()) or {_NO_REASON})
        beneath = {reason for about, reason in self.about if _beneath(about, row)}
        # a rank depends on other models' rows, a standardised rate on other months'
        return _told(beneath or {f"elsewhere: {reason}" for _, reason in self.about} or {_NO_REASON})


_OF_JOBS = frozenset({"clearance", "benchmark_jobs", "rubrics", "job_freezes", "criterion_themes"})
"""Tables whose rows change with the job, never with the work on it."""


def _by_criterion(verdicts: Iterable[Change]) -> Iterable[Sequence[Change]]:
    """Changed verdicts, those on the same criterion of the same attempt together."""
    given: dict[tuple[Any, ...], list[Change]] = {}
    for change in verdicts:
        given.setdefault((change.row["attempt_id"], change.row["criterion_id"]), []).append(change)
    return given.values()


def _verdict_reason(change: Change, together: Iterable[Change]) -> str:
    """Why a verdict came, went or no longer counts."""
    if change.change == "gone":
        return "verdict withdrawn"
    replaced = any(c.change == "changed" and "is_current" in c.values and not c.row["is_current"] for c in together)
    if change.change == "changed":
        return "regraded" if replaced and "is_current" in change.values else "verdict changed"
    if replaced:
        return "regraded"
    if change.row.get("grader_role") == "adjudicator":
        return "adjudicated"
    return "newly graded"


def _beneath(about: Sequence[Any], row: Mapping[str, Any]) -> bool:
    """Whether what a reason is about goes into a summed row: nothing that both state differs."""
    for column, stated in zip(_BELOW, about, strict=True):
        of_row = {row.get(column)} if column != "model" else {row.get(c) for c in ("model", "model_a", "model_b")}
        of_row -= {None, "(all)", "unknown"}
        if stated is not None and of_row and stated not in of_row:
            return False
    return True


def _told(reasons: Iterable[str]) -> str:
    return "; ".join(sorted(reasons))


def _explained(found: Sequence[Change], tables: Mapping[str, Table]) -> list[Change]:
    from dataclasses import replace

    roots = _Roots(found)
    place = {name: i for i, name in enumerate(tables)}
    # a verdict has a reason of its own, not all those of its attempt
    own = {
        c.key["verdict_id"]: _verdict_reason(c, some)
        for some in _by_criterion(c for c in found if c.table == "verdicts")
        for c in some
    }
    told = []
    for change in found:
        reason = own[change.key["verdict_id"]] if change.table == "verdicts" else roots.for_row(change)
        withdrawn = change.change == "gone" and roots.of.get(("job", str(change.row.get("job_id"))))
        told.append(replace(change, reason=_told(withdrawn) if withdrawn else reason))
    return sorted(told, key=lambda c: place[c.table])


def summary(found: Iterable[Change]) -> dict[str, dict[str, Any]]:
    """Table by table: how many rows are new, gone and changed, and for which reasons."""
    by: dict[str, list[Change]] = {}
    for change in found:
        by.setdefault(change.table, []).append(change)
    return {
        name: {
            **{kind: sum(c.change == kind for c in some) for kind in ("new", "gone", "changed")},
            "reasons": dict(sorted(Counter(c.reason for c in some).items())),
        }
        for name, some in by.items()
    }
