"""Graders who say anything at all, late or twice or unasked: the status of packets and their outcomes stay true."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hapi_pipeline import engine
from hapi_pipeline.grading.assignment import ADJUDICATOR, OPEN
from hapi_pipeline.grading.worklist import STATUSES, current_status, held
from hapi_pipeline.handout import assign
from hapi_pipeline.registry import Benchmark
from tests import scenario
from tests.assignment.conftest import MODELS, Desk

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
CREW = tuple(f"grader-{n}" for n in range(6))


def outcomes(desk: Desk, benchmark: Benchmark) -> dict[str, dict[str, Any]]:
    """The outcome of each packet's attempt, by the project's own SQL."""
    found: dict[str, dict[str, Any]] = {}
    for model in MODELS:
        keys = {"cohort": scenario.COHORT, "model": model, "round": "agent_alone"}
        desk.lake.write("verdicts", engine.run(desk.lake, engine.query("verdicts"), keys), keys)
        rows = scenario.make(desk.lake, benchmark, "attempt_outcomes", {"cohort": scenario.COHORT, "model": model})
        found |= {desk.packet(model, row["job_id"]): row for row in rows.to_pylist()}
    return found


def check(desk: Desk, benchmark: Benchmark) -> list[dict[str, Any]]:
    """What must hold at any time."""
    rows, said = current_status(desk.lake), outcomes(desk, benchmark)
    assert {r["packet_id"] for r in rows} == set(desk.packets)
    assert {r["status"] for r in rows} <= set(STATUSES) - {"overdue"}
    standing = [h for h in held(desk.lake) if not h.withdrawn]
    assert len({(h.packet_id, h.grader) for h in standing}) == len(standing), "nobody has a packet twice"
    for packet in desk.packets:
        of = [r for r in rows if r["packet_id"] == packet]
        done = {r["status"] for r in of} == {"complete"}
        assert any(r["status"] == "to_adjudicate" for r in of) is (
            any(r["status"] == "in_conflict" for r in of)
            and not any(r["status"] in OPEN and r["assigned_at"] for r in of)
        )
        if said[packet]["outcome"] == "pending":
            # whether somebody is still at it, or an adjudicator could not judge either
            assert not done or any(r["role"] == ADJUDICATOR for r in of)
        if said[packet]["disagreement"]:
            assert not done
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_whatever_graders_do_it_ends(desk: Desk, benchmark: Benchmark, seed: int) -> None:
    dice = random.Random(seed)
    desk.graders(*CREW, double_share=0.5, seed=str(seed))
    for day in range(4):
        assign(desk.home, now=NOON + timedelta(days=day))
        said = [
            (row["packet_id"], row["grader"], "".join(dice.choice("ppf?-") for _ in range(3)))
            for row in current_status(desk.lake)
            if row["status"] in OPEN and dice.random() < 0.7
        ]
        if dice.random() < 0.4:
            said.append((dice.choice(desk.packets), f"stranger-{day}", "".join(dice.choice("pf-") for _ in range(3))))
        desk.hand_in_all(said)
        if dice.random() < 0.3:
            desk.graders(*dice.sample(CREW, 5), double_share=0.5, seed=str(seed))
        check(desk, benchmark)
    # from here on everybody does what is asked, and the last word is always a verdict
    desk.graders(*CREW, *(f"late-{n}" for n in range(6)), double_share=0.5, seed=str(seed))
    for day in range(10, 13):
        assign(desk.home, now=NOON + timedelta(days=day))
        desk.hand_in_all(
            (row["packet_id"], row["grader"], "ppf")
            for row in current_status(desk.lake)
            if row["status"] in OPEN and row["assigned_at"] is not None
        )
    rows = check(desk, benchmark)
    assert {r["status"] for r in rows if r["assigned_at"] is not None} == {"complete"}
    assert {o["outcome"] for o in outcomes(desk, benchmark).values()} == {"graded"}
    assert not any(o["disagreement"] for o in outcomes(desk, benchmark).values())
