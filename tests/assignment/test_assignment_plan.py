"""Sharing packets out among graders: who gets what, never twice, evenly, and always the same."""

from __future__ import annotations

import math
from collections import Counter
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline.grading.assignment import (
    ADJUDICATOR,
    GRADER,
    SECOND,
    Ask,
    Book,
    Held,
    Plan,
    asks_of,
    book_of,
    changes,
    doubled,
    plan,
)
from hapi_pipeline.registry import Grader, Grading

DAY = date(2026, 11, 1)
RULES = Grading(seed="s")
properties = settings(derandomize=True, deadline=None, max_examples=60)
CATEGORIES = ("Writing", "Data", None)


def asks(count: int, *, rules: Grading = RULES, category: str | None = "Writing") -> list[Ask]:
    found = []
    for n in range(count):
        packet = f"pk_{n}"
        found += [Ask(packet, role, category) for role in ((GRADER, SECOND) if doubled(packet, rules) else (GRADER,))]
    return found


def crew(count: int, **qualities: Any) -> list[Grader]:
    return [Grader(f"grader-{n}", **qualities) for n in range(count)]


def share(found: Plan) -> Counter[str]:
    return Counter(g.grader for g in found.given)


GRADERS = st.lists(
    st.builds(
        Grader,
        id=st.integers(0, 30).map(lambda n: f"grader-{n}"),
        categories=st.none() | st.lists(st.sampled_from(["writing", "Data"]), max_size=2).map(tuple),
        max_open=st.none() | st.integers(1, 6),
        active_until=st.sampled_from([None, date(2026, 10, 1), date(2027, 1, 1)]),
    ),
    max_size=7,
    unique_by=lambda g: g.id,
)
ASKS = st.lists(
    st.builds(
        Ask,
        packet_id=st.integers(0, 25).map(lambda n: f"pk_{n}"),
        role=st.sampled_from([GRADER, SECOND, ADJUDICATOR]),
        category=st.sampled_from(CATEGORIES),
        line=st.tuples(st.sampled_from("AB"), st.integers(0, 3).map(str)),
        barred=st.frozensets(st.integers(0, 9).map(lambda n: f"grader-{n}"), max_size=3),
    ),
    max_size=40,
    unique_by=lambda a: (a.packet_id, a.role),
).map(lambda found: [Ask(a.packet_id, a.role, CATEGORIES[len(a.packet_id) % 3], a.line, a.barred) for a in found])


@properties
@given(asks=ASKS, graders=GRADERS, order=st.randoms(use_true_random=False))
def test_every_ask_is_met_by_somebody_who_may_or_says_why_not(
    asks: list[Ask], graders: list[Grader], order: Any
) -> None:
    found = plan(asks, graders, RULES, DAY, Book(lines={("A", "1"): ["grader-3"]}))
    by_id = {g.id: g for g in graders}
    wanted = {(a.packet_id, a.role): a for a in asks}
    met = {(g.packet_id, g.role): g for g in found.given}
    assert met.keys() | found.unassigned.keys() == wanted.keys()
    assert not met.keys() & found.unassigned.keys()
    for key, one in met.items():
        assert by_id[one.grader].unqualified(wanted[key].category, RULES, DAY) is None
        assert one.grader not in wanted[key].barred
    # nobody has a packet twice, in whatever roles; so an adjudicator is neither of the two before
    assert max(Counter((g.packet_id, g.grader) for g in found.given).values(), default=1) == 1
    for grader, count in share(found).items():
        assert count <= (by_id[grader].max_open or count)
    assert all(sentence.endswith(".") for sentence in found.unassigned.values())
    # places in each grader's row run from 1 without a gap
    for grader in share(found):
        assert sorted(g.position for g in found.given if g.grader == grader) == list(range(1, share(found)[grader] + 1))
    shuffled = list(asks)
    order.shuffle(shuffled)
    assert plan(shuffled, graders[::-1], RULES, DAY, Book(lines={("A", "1"): ["grader-3"]})) == found


@properties
@given(count=st.integers(0, 120), graders=st.integers(2, 9), seed=st.text(max_size=3))
def test_graders_who_may_do_the_same_have_the_same_to_do(count: int, graders: int, seed: str) -> None:
    rules = Grading(seed=seed, double_share=0.3)
    found = plan(asks(count, rules=rules), crew(graders), rules, DAY, Book())
    loads = [share(found)[g.id] for g in crew(graders)]
    assert max(loads) - min(loads) <= 1


def test_graders_of_one_kind_are_even_among_themselves_beside_others() -> None:
    narrow = [Grader(f"narrow-{n}", categories=("Data",)) for n in range(3)]
    some = asks(60) + [Ask(f"data_{n}", GRADER, "Data") for n in range(50)]
    loads = share(plan(some, [*crew(4), *narrow], RULES, DAY, Book()))
    for kind in (crew(4), narrow):
        assert max(loads[g.id] for g in kind) - min(loads[g.id] for g in kind) <= 1


@pytest.mark.parametrize("proportion", [0.0, 0.15, 0.5, 1.0])
def test_the_share_of_doubles_is_as_asked_and_each_packet_keeps_its_coin(proportion: float) -> None:
    rules = Grading(double_share=proportion)
    count = sum(doubled(f"pk_{n}", rules) for n in range(4000))
    sigma = math.sqrt(4000 * proportion * (1 - proportion))
    assert abs(count - 4000 * proportion) <= 4 * sigma
    more = Grading(double_share=min(1.0, proportion + 0.1))
    assert all(doubled(f"pk_{n}", more) for n in range(500) if doubled(f"pk_{n}", rules))
    other = Grading(double_share=proportion, seed="other")
    same = all(doubled(f"pk_{n}", rules) == doubled(f"pk_{n}", other) for n in range(500))
    assert same is (proportion in (0.0, 1.0))


def test_another_seed_is_another_plan_and_the_order_says_nothing_of_the_packets() -> None:
    first = plan(asks(80), crew(3), RULES, DAY, Book())
    second = plan(asks(80), crew(3), Grading(seed="t"), DAY, Book())
    assert first.given != second.given
    order = [int(g.packet_id.removeprefix("pk_")) for g in first.given if g.grader == "grader-0"]
    assert order not in (sorted(order), sorted(order, reverse=True))


def test_who_has_little_to_do_comes_first_and_places_go_on_from_the_last() -> None:
    book = Book(load=Counter({"grader-0": 5}), last=Counter({"grader-1": 7}))
    found = plan(asks(3, rules=Grading(double_share=0)), crew(2), RULES, DAY, book)
    assert {(g.grader, g.position) for g in found.given} == {("grader-1", 8), ("grader-1", 9), ("grader-1", 10)}


def test_the_next_turn_goes_to_who_knows_the_job_where_there_is_room_and_leave() -> None:
    ask = Ask("pk_next", GRADER, "Writing", ("A", "job"))
    busy = Book(load=Counter({"grader-2": 3}), lines={("A", "job"): ["grader-2", "grader-1"]})

    def gets(graders: list[Grader], some: Ask = ask) -> str:
        return plan([some], graders, RULES, DAY, busy).given[0].grader

    assert gets(crew(4)) == "grader-2"
    assert gets(crew(4, max_open=3)) == "grader-1", "no room: the one before"
    left = [g if g.id != "grader-2" else Grader(g.id, active_until=date(2026, 1, 1)) for g in crew(4)]
    assert gets(left) == "grader-1"
    assert gets(crew(4), Ask("pk_other", GRADER, "Writing", ("B", "job"))) != "grader-2", "another model: by load"
    barred = Ask("pk_next", GRADER, "Writing", ("A", "job"), frozenset({"grader-2"}))
    assert gets(crew(4), barred) == "grader-1"


@pytest.mark.parametrize(
    ("grader", "why"),
    [
        ({"categories": ("Data",)}, "does not grade Writing"),
        ({"categories": ()}, "does not grade Writing"),
        ({"active_from": date(2026, 11, 2)}, "active only from"),
        ({"active_until": date(2026, 10, 31)}, "active only until"),
        ({"job_success_score": 89.9}, "score below 90"),
        ({"job_success_score": None}, "score below 90"),
        ({"badge": "rising"}, "badge"),
        ({"badge": None}, "badge"),
        ({"hours": 99}, "fewer than 100"),
    ],
)
def test_who_is_not_qualified_gets_nothing_and_the_reason_is_told(grader: dict[str, Any], why: str) -> None:
    rules = Grading(min_job_success_score=90, badges=("top",), min_hours=100)
    good: dict[str, Any] = {"job_success_score": 90, "badge": "top", "hours": 100}
    good |= {"active_from": DAY, "active_until": DAY}
    assert plan([Ask("p", GRADER, "writing")], [Grader("a", **good)], rules, DAY, Book()).given
    found = plan([Ask("p", GRADER, "Writing")], [Grader("a", **good | grader)], rules, DAY, Book())
    assert not found.given
    (sentence,) = found.unassigned.values()
    assert why in sentence


def test_reasons_tell_full_hands_from_nobody_left_and_from_nobody_at_all() -> None:
    ask = Ask("p", ADJUDICATOR, None, barred=frozenset({"grader-0"}))
    full = plan([Ask("p", GRADER, "W")], crew(1, max_open=1), RULES, DAY, Book(load=Counter({"grader-0": 1})))
    assert "max_open" in full.unassigned["p", GRADER]
    assert "had the packet already" in plan([ask], crew(1), RULES, DAY, Book()).unassigned["p", ADJUDICATOR]
    assert "nobody" in plan([ask], [], RULES, DAY, Book()).unassigned["p", ADJUDICATOR]


# ---- what is asked for, from the status of packets

ALWAYS = Grading(double_share=1)
NEVER = Grading(double_share=0)


def row(role: str, grader: str | None, status: str, **more: Any) -> dict[str, Any]:
    return {"packet_id": "p", "model": "A", "job_id": "j", "category": "Writing", "role": role} | {
        "grader": grader,
        "status": status,
        **more,
    }


def had(grader: str, role: str, **more: Any) -> Held:
    return Held(f"{grader} {role}", "p", grader, role, 1, ("A", "j"), **more)


def roles(rows: list[dict[str, Any]], held: list[Held], rules: Grading) -> list[str]:
    return [ask.role for ask in asks_of(rows, held, rules)]


def test_what_a_packet_wants() -> None:
    nobody = [row(GRADER, None, "unassigned")]
    assert roles(nobody, [], NEVER) == [GRADER]
    assert roles(nobody, [], ALWAYS) == [GRADER, SECOND]
    out = [row(GRADER, "a", "out")]
    assert roles(out, [had("a", GRADER)], NEVER) == []
    assert roles(out, [had("a", GRADER)], ALWAYS) == [SECOND]
    assert roles([row(SECOND, "a", "out")], [had("a", SECOND)], ALWAYS) == [GRADER]
    both = [row(GRADER, "a", "in_conflict"), row(SECOND, "b", "in_conflict")]
    given_both = [had("a", GRADER), had("b", SECOND)]
    assert roles(both, given_both, ALWAYS) == []
    (ask,) = asks_of([*both, row(ADJUDICATOR, None, "to_adjudicate")], given_both, ALWAYS)
    assert (ask.role, ask.barred, ask.line) == (ADJUDICATOR, frozenset("ab"), ("A", "j"))


def test_what_is_settled_is_not_opened_again_for_a_second_opinion() -> None:
    done = [row(GRADER, "a", "complete")]
    assert roles(done, [had("a", GRADER)], ALWAYS) == []
    assert roles(done, [], ALWAYS) == [], "graded by somebody who was never asked"
    assert roles([row(GRADER, "a", "incomplete")], [], NEVER) == [GRADER], "begun by somebody who was never asked"
    assert roles(done, [had("a", GRADER), had("b", SECOND, withdrawn=True)], ALWAYS) == [SECOND]


def test_who_stops_being_qualified_gives_back_what_is_open_and_is_flagged_for_the_rest() -> None:
    rows = [row(GRADER, "a", "out"), row(SECOND, "b", "complete"), row(ADJUDICATOR, "c", "incomplete")]
    held = [had("a", GRADER), had("b", SECOND), had("c", ADJUDICATOR)]
    assert changes(held, rows, [Grader(g) for g in "abc"], NEVER, DAY) == []
    strict = Grading(min_hours=10)
    graders = [Grader("a"), Grader("b"), Grader("c", hours=11)]
    found = {c.assignment_id: (c.event, c.reason) for c in changes(held, rows, graders, strict, DAY)}
    assert found == {"a grader": ("withdrawn", "fewer than 10 hours"), "b second": ("flagged", "fewer than 10 hours")}
    gone = {c.assignment_id: c.event for c in changes(held, rows, [], NEVER, DAY)}
    assert gone == {"a grader": "withdrawn", "b second": "flagged", "c adjudicator": "withdrawn"}
    flagged = [had("b", SECOND, flagged=True)]
    assert [c.event for c in changes(flagged, rows, [Grader("b")], NEVER, DAY)] == ["cleared"]
    assert changes(flagged, rows, [], NEVER, DAY) == [], "noted once"
    assert changes([had("a", GRADER, withdrawn=True)], rows, [], NEVER, DAY) == []


def test_the_book_counts_what_is_open_and_remembers_who_knows_which_line() -> None:
    held = [had("a", GRADER), had("b", SECOND, withdrawn=True), had("c", ADJUDICATOR)]
    book = book_of(held, [row(GRADER, "a", "out"), row(ADJUDICATOR, "c", "complete")])
    assert (book.load["a"], book.load["c"], book.ever["b"], book.ever["c"], book.last["b"]) == (1, 0, 0, 1, 1)
    assert dict(book.lines) == {("A", "j"): ["a"]}
    later = [had("a", GRADER), had("x", SECOND), had("b", GRADER)]
    assert dict(book_of(later, []).lines) == {("A", "j"): ["b", "a", "x"]}
