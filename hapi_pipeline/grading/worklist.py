"""The worklist: how far every packet is, from the ledgers as they are at this moment, and what to do next."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from hapi_pipeline.engine import connect, open_tables, query
from hapi_pipeline.grading.assignment import ADJUDICATOR, GRADER, OPEN, Held
from hapi_pipeline.lake import Lake

STATUSES = {
    "unassigned": "no grader yet",
    "out": "with a grader, nothing back",
    "overdue": "not complete and past its date",
    "incomplete": "some criteria not answered",
    "stale": "answered, then the rubric changed",
    "back": "complete; another grader's is awaited",
    "in_conflict": "graders disagree, or could not judge",
    "to_adjudicate": "a third grader is to decide",
    "complete": "done",
}
"""Every status with what it means. All but `overdue` stand in packet_status; that one follows from the hour."""


def current_status(lake: Lake) -> list[dict[str, Any]]:
    """The rows of packet_status as the ledgers are now, with the job's category; the table is as old as a refresh."""
    with connect() as connection:
        tables = ["assignments", "packets", "standing_criteria", "verdict_exports", "attempts", "benchmark_jobs"]
        open_tables(connection, lake, tables)
        connection.execute(f"CREATE TEMP VIEW verdicts AS {query('verdicts').sql}")
        sql = (
            f"SELECT s.*, b.category FROM ({query('packet_status').sql}) s "  # noqa: S608
            "LEFT JOIN benchmark_jobs b ON b.job_id = s.job_id AND b.cohort = s.cohort "
            "ORDER BY packet_id, role, grader"
        )
        found: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
        return found


def held(lake: Lake) -> list[Held]:
    """Every assignment with the last word on it, the oldest first."""
    with connect() as connection:
        open_tables(connection, lake, ["assignments"])
        found = connection.execute(
            """
            SELECT assignment_id, any_value(packet_id), any_value(grader), any_value(role), any_value(position),
                any_value(model), any_value(job_id), bool_or(event = 'withdrawn'),
                coalesce(arg_max(event, noted_at) FILTER (WHERE event IN ('flagged', 'cleared')) = 'flagged', false)
            FROM assignments GROUP BY assignment_id ORDER BY min(assigned_at), assignment_id
            """
        ).fetchall()
    return [
        Held(number, packet, grader, role, position, (model, job), withdrawn, flagged)
        for number, packet, grader, role, position, model, job, withdrawn, flagged in found
    ]


def assigned_roles(lake: Lake) -> Roles:
    """Which role each grader was given on each packet."""
    return Roles([h for h in held(lake) if not h.withdrawn])


class Roles:
    """The roles that the ledger of assignments knows: what a sheet says of itself cannot make an adjudicator."""

    def __init__(self, standing: Sequence[Held]):
        self._roles = {(h.packet_id, h.grader.casefold()): h.role for h in standing}
        self._packets = {h.packet_id for h in standing}

    def __bool__(self) -> bool:
        """Whether anything was ever assigned; where nothing was, what a file says of roles holds."""
        return bool(self._packets)

    def __call__(self, packet_id: str, grader: str) -> str | None:
        """`grader` or `adjudicator`; None where the packet was assigned to nobody.

        Whoever hands in verdicts on a packet that others were given counts as a grader, whatever the file says.
        """
        role = self._roles.get((packet_id, grader.casefold()))
        if role is not None:
            return ADJUDICATOR if role == ADJUDICATOR else GRADER
        return GRADER if packet_id in self._packets else None


def as_of(rows: Sequence[Mapping[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """The rows with what is past its date marked `overdue`."""
    late = {i for i, r in enumerate(rows) if r["status"] in OPEN and r["due_at"] is not None and r["due_at"] < now}
    return [dict(row) | ({"status": "overdue"} if i in late else {}) for i, row in enumerate(rows)]


@dataclass(frozen=True)
class Worklist:
    """Where the grading stands at a moment."""

    now: datetime
    totals: Mapping[str, int]
    graders: Sequence[Mapping[str, Any]]  # a row a grader
    next: Sequence[str]  # what to do, most pressing first, a sentence each
    rows: Sequence[Mapping[str, Any]]  # a row a packet and role

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "as_of": self.now.isoformat(),
            "totals": dict(self.totals),
            "graders": [dict(g) for g in self.graders],
            "next": list(self.next),
            "packets": [dict(r) for r in self.rows],
        }


def worklist(rows: Sequence[Mapping[str, Any]], now: datetime | None = None, waiting: Sequence[str] = ()) -> Worklist:
    """The worklist of some rows of packet_status; `waiting` are the reasons why packets find nobody."""
    at = now or datetime.now(UTC)
    told = as_of(rows, at)
    counts = Counter(r["status"] for r in told)
    return Worklist(
        at,
        {status: counts[status] for status in STATUSES},
        _by_grader(told),
        _next_steps(told, waiting),
        told,
    )


def _by_grader(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    grouped = defaultdict[str, list[Mapping[str, Any]]](list)
    for row in rows:
        if row["grader"]:
            grouped[row["grader"]].append(row)
    return [{"grader": grader, **_counted(some)} for grader, some in sorted(grouped.items())]


def _counted(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What one grader has, and how long packets take."""
    minutes = [r["minutes"] for r in rows if r["minutes"] is not None]
    return {
        "out": sum(r["status"] in (*OPEN, "overdue") for r in rows),
        "overdue": sum(r["status"] == "overdue" for r in rows),
        "incomplete": sum(r["status"] == "incomplete" for r in rows),
        "back": sum(r["status"] in ("back", "in_conflict", "complete") for r in rows),
        "median_minutes": median(minutes) if minutes else None,
        "n_minutes": len(minutes),  # packets that say how long they took
        "unqualified": sum(r["unqualified"] for r in rows),
    }


_SHOWN = 3  # names in a sentence
_GRADERS_SHOWN = 5  # graders with a sentence of their own


def _next_steps(rows: Sequence[Mapping[str, Any]], waiting: Sequence[str]) -> list[str]:
    """What to do, in plain words, the most pressing first."""
    by_status = defaultdict[str, list[Mapping[str, Any]]](list)
    for row in rows:
        by_status[row["status"]].append(row)
    does = "`hapi packets --out DIR` does."
    flagged = [r for r in rows if r["unqualified"]]
    return [
        *_each(by_status["overdue"], "Remind {who}: {n} packet(s) past their date ({some})."),
        *_each(by_status["incomplete"], "Ask {who} to finish {n} packet(s) with criteria unanswered ({some})."),
        *_each(by_status["stale"], "Have {who} grade {n} packet(s) again: the rubric changed ({some})."),
        *_all(by_status["stale"], "The {n} new sheet(s) for these are given out by `hapi packets --out DIR`."),
        *_all(by_status["to_adjudicate"], "Give {n} packet(s) to a third grader ({some}): " + does),
        *_all(by_status["unassigned"], "Give out {n} packet(s) that nobody has ({some}): " + does),
        *_all(flagged, "Look at {n} packet(s) graded by {who}, no longer qualified ({some}); the verdicts count."),
        *(f"{n} × {reason}" if n > 1 else reason for reason, n in sorted(Counter(waiting).items())),
    ]


def _each(rows: Sequence[Mapping[str, Any]], words: str) -> list[str]:
    """A sentence for each grader."""
    grouped = defaultdict[str, list[Mapping[str, Any]]](list)
    for row in rows:
        grouped[row["grader"]].append(row)
    ordered = sorted(grouped.values(), key=lambda some: (-len(some), some[0]["grader"]))
    rest = [row for some in ordered[_GRADERS_SHOWN:] for row in some]
    return [said for some in [*ordered[:_GRADERS_SHOWN], rest] for said in _all(some, words)]


def _all(rows: Sequence[Mapping[str, Any]], words: str) -> list[str]:
    """One sentence for all, or none."""
    if not rows:
        return []
    packets = {r["packet_id"] for r in rows}
    return [words.format(n=len(packets), who=_listed({r["grader"] for r in rows}), some=_listed(packets))]


def _listed(names: Iterable[str | None]) -> str:
    """The first names, and how many more."""
    distinct = sorted(name for name in names if name)
    more = f" and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else ""
    return ", ".join(distinct[:_SHOWN]) + more
