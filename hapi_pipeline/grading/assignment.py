"""Who grades what: packets shared out among graders, by rules that the same seed always repeats.

Nothing here reads or writes: what stands goes in, what is to be given and taken back comes out. It does not depend
on the order in which packets or graders are listed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from hapi_pipeline.naming import digest
from hapi_pipeline.registry import Grader, Grading

GRADER, SECOND, ADJUDICATOR = "grader", "second", "adjudicator"
ROLES = (GRADER, SECOND, ADJUDICATOR)
OPEN = ("out", "incomplete", "stale")
"""Statuses of a packet that its grader still has to work on."""

Row = Mapping[str, Any]
"""A row of the table packet_status, with the job's `category` beside it."""


@dataclass(frozen=True)
class Held:
    """A packet as it was once given to a grader: the last word of the ledger on it."""

    assignment_id: str
    packet_id: str
    grader: str
    role: str
    position: int
    line: tuple[str, str] = ("", "")  # model and job: attempts at the same job by the same model follow each other
    withdrawn: bool = False
    flagged: bool = False


@dataclass(frozen=True)
class Ask:
    """A packet that somebody is wanted for."""

    packet_id: str
    role: str
    category: str | None
    line: tuple[str, str] = ("", "")
    barred: frozenset[str] = frozenset()  # who had the packet already, in any role


@dataclass(frozen=True)
class Given:
    """A packet for a grader; `position` is its place in this grader's row of packets, from 1."""

    packet_id: str
    role: str
    grader: str
    position: int


@dataclass(frozen=True)
class Change:
    """What is noted on a packet given earlier: `withdrawn`, `flagged` or `cleared`, and why."""

    assignment_id: str
    event: str
    reason: str | None


@dataclass(frozen=True)
class Plan:
    """What is to be given to whom, and why some packets find nobody: (packet, role) -> a sentence."""

    given: tuple[Given, ...]
    unassigned: Mapping[tuple[str, str], str]


@dataclass
class Book:
    """What graders have had so far."""

    load: Counter[str] = field(default_factory=Counter)  # packets open
    ever: Counter[str] = field(default_factory=Counter)  # packets ever given and not taken back
    last: Counter[str] = field(default_factory=Counter)  # highest position given
    lines: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    """Who graded a line: the newest first, second graders after all others."""


def doubled(packet_id: str, rules: Grading) -> bool:
    """Whether a packet belongs to the share that two graders judge: a coin that the seed and the packet alone toss."""
    return int(digest(rules.seed, "double", packet_id, length=13), 16) < rules.double_share * 16**13


def changes(
    held: Iterable[Held], rows: Iterable[Row], graders: Collection[Grader], rules: Grading, day: date
) -> list[Change]:
    """What graders who stopped being qualified, or are again, mean for what they hold.

    Packets that they still had to work on are taken back. What they handed in stays and is flagged.
    """
    by_id = {grader.id: grader for grader in graders}
    status = {(r["packet_id"], r["role"], r["grader"]): r for r in rows}
    found = []
    for one in sorted(held, key=lambda h: h.assignment_id):
        row = status.get((one.packet_id, one.role, one.grader))
        if one.withdrawn or row is None:
            continue
        who = by_id.get(one.grader)
        why = who.unqualified(row["category"], rules, day) if who else "no longer listed in graders.yaml"
        if why and row["status"] in OPEN:
            found.append(Change(one.assignment_id, "withdrawn", why))
        elif bool(why) != one.flagged:
            found.append(Change(one.assignment_id, "flagged" if why else "cleared", why))
    return found


def book_of(held: Iterable[Held], rows: Iterable[Row]) -> Book:
    """What graders have had, from the ledger and the status; `held` comes with the oldest first."""
    book, lines = Book(), defaultdict[tuple[str, str], list[str]](list)
    still_open = {(r["packet_id"], r["role"], r["grader"]) for r in rows if r["status"] in OPEN}
    for one in held:
        book.last[one.grader] = max(book.last[one.grader], one.position)
        if one.withdrawn:
            continue
        book.ever[one.grader] += 1
        book.load[one.grader] += (one.packet_id, one.role, one.grader) in still_open
        if one.role == GRADER:
            lines[one.line].insert(0, one.grader)
        elif one.role == SECOND:
            lines[one.line].append(one.grader)
    book.lines = lines
    return book


def asks_of(rows: Iterable[Row], held: Iterable[Held], rules: Grading) -> list[Ask]:
    """The packets that want a grader, a second one or an adjudicator."""
    by_packet, had = defaultdict[str, list[Row]](list), defaultdict[str, list[Held]](list)
    for row in rows:
        by_packet[row["packet_id"]].append(row)
    for one in held:
        had[one.packet_id].append(one)
    return [
        Ask(
            packet_id,
            role,
            some[0]["category"],
            (some[0]["model"], some[0]["job_id"]),
            frozenset([h.grader for h in had[packet_id]] + [r["grader"] for r in some if r["grader"]]),
        )
        for packet_id, some in by_packet.items()
        for role in _wanted(some, had[packet_id], doubled(packet_id, rules))
    ]


def _wanted(rows: Sequence[Row], had: Sequence[Held], double: bool) -> list[str]:
    """The roles of a packet that nobody fills."""
    standing = {h.role for h in had if not h.withdrawn}
    # whoever answered in full without having been asked has graded it all the same
    unasked = [r for r in rows if r["role"] == GRADER and r["grader"] and r["status"] not in OPEN]
    first = len(standing & {GRADER, SECOND}) or len(unasked)
    roles = [ADJUDICATOR] if any(r["status"] == "to_adjudicate" for r in rows) else []
    if not first:
        return [GRADER, SECOND, *roles] if double else [GRADER, *roles]
    unfinished = any(r["status"] in OPEN and r["role"] != ADJUDICATOR for r in rows)
    lost_one = any(h.withdrawn and h.role != ADJUDICATOR for h in had)
    if double and first < 2 and (unfinished or lost_one):  # what is settled is not opened again for a second opinion
        roles.append(GRADER if SECOND in standing else SECOND)
    return roles


def plan(asks: Iterable[Ask], graders: Iterable[Grader], rules: Grading, day: date, book: Book) -> Plan:
    """Share packets out: qualified graders only, nobody twice on a packet, those with the fewest open packets first.

    Whoever graded the last attempt of the same model at the same job gets the next, where there is room: it takes the
    context. Packets that few may grade come first, so that those few are not filled up with others.
    """
    asks, listed = list(asks), sorted(graders, key=lambda g: g.id)
    load, ever = Counter(book.load), Counter(book.ever)
    whys = {c: {g.id: g.unqualified(c, rules, day) for g in listed} for c in {a.category for a in asks}}
    room = {g.id: g.max_open for g in listed}
    taken, chosen, nobody = defaultdict[str, set[str]](set), list[Ask](), dict[tuple[str, str], str]()
    who: list[str] = []

    def turn(ask: Ask) -> tuple[int, str, int]:
        may = sum(why is None for why in whys[ask.category].values())
        return may, digest(rules.seed, "turn", ask.packet_id), ROLES.index(ask.role)

    for ask in sorted(asks, key=turn):
        why = whys[ask.category]
        fit = [g for g in why if why[g] is None and g not in ask.barred and g not in taken[ask.packet_id]]
        free = [g for g in fit if (limit := room[g]) is None or load[g] < limit]
        if not free:
            nobody[ask.packet_id, ask.role] = _reason(ask, why, bool(fit))
            continue
        knows = [g for g in book.lines.get(ask.line, ()) if g in free] if ask.role == GRADER else []
        one = knows[0] if knows else min(free, key=lambda g: (load[g], ever[g], digest(rules.seed, ask.packet_id, g)))
        load[one] += 1
        ever[one] += 1
        taken[ask.packet_id].add(one)
        chosen.append(ask)
        who.append(one)
    return Plan(_in_random_order(zip(chosen, who, strict=True), rules.seed, book.last), nobody)


def _in_random_order(chosen: Iterable[tuple[Ask, str]], seed: str, last: Mapping[str, int]) -> tuple[Given, ...]:
    """Each grader's new packets in an order that says nothing of model or round, after what came before."""
    ordered = sorted(chosen, key=lambda pair: (pair[1], digest(seed, "place", pair[1], pair[0].packet_id)))
    at = Counter(last)
    given = []
    for ask, grader in ordered:
        at[grader] += 1
        given.append(Given(ask.packet_id, ask.role, grader, at[grader]))
    return tuple(given)


def _reason(ask: Ask, why: Mapping[str, str | None], some_fit: bool) -> str:
    """Why a packet finds nobody, in a sentence."""
    of = f"of {ask.category}" if ask.category else "without a category"
    what = {
        GRADER: "A packet",
        SECOND: "A second opinion on a packet",
        ADJUDICATOR: "An adjudication of a packet",
    }[ask.role]
    if some_fit:
        return f"{what} {of} waits: all who may grade it have as many open packets as their max_open allows."
    if any(reason is None for reason in why.values()):
        return f"{what} {of} waits: all who may grade it have had the packet already."
    told = Counter(reason for reason in why.values() if reason)
    most = f" ({', '.join(f'{n} × {reason}' for reason, n in sorted(told.items(), key=lambda t: (-t[1], t[0]))[:2])})"
    return f"{what} {of} waits: nobody in graders.yaml is qualified for it{most if told else ''}."
