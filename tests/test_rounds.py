from __future__ import annotations

from hapi_pipeline.rounds import ROUND, ROUNDS


def test_every_round_starts_from_one_that_stands_before_it() -> None:
    names = [r.name for r in ROUNDS]
    assert len(set(names)) == len(names)
    for i, r in enumerate(ROUNDS):
        assert r.after is None or r.after in names[:i]
        assert (r.after is None) is (i == 0)


def test_paths_turns_and_arms() -> None:
    assert ROUND["feedback_2"].path == ("agent_alone", "feedback_1", "feedback_2")
    assert {n: (r.turn, r.arm) for n, r in ROUND.items()} == {
        "agent_alone": (0, "human"),
        "feedback_1": (1, "human"),
        "feedback_2": (2, "human"),
        "retry_1": (1, "control"),
    }
