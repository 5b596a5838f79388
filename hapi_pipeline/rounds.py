"""The rounds of evaluation: the one place that lists them.

A round is one attempt at every job that is still open. The feedback loop is unrolled into rounds, so that the graph
has no cycle: each round names the round whose verdicts it starts from.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Round:
    """One attempt at every job that is not complete after the round before."""

    name: str
    after: str | None  # the round whose verdicts decide who is tried again
    feedback: bool  # whether the agent gets the graders' feedback
    meaning: str

    @property
    def path(self) -> tuple[str, ...]:
        """The rounds that lead here, the first one first, this one last."""
        before = ROUND[self.after].path if self.after else ()
        return (*before, self.name)

    @property
    def turn(self) -> int:
        """How many attempts came before on the path."""
        return len(self.path) - 1

    @property
    def arm(self) -> str:
        """`control` for a second try without feedback, else `human`."""
        return "control" if self.after and not self.feedback else "human"


ROUNDS: tuple[Round, ...] = (
    Round("agent_alone", None, False, "The agent works from the job post alone."),
    Round(
        "feedback_1",
        "agent_alone",
        True,
        "The agent tries again with an expert's feedback on its first attempt.",
    ),
    Round("feedback_2", "feedback_1", True, "The agent tries once more with feedback on its second attempt."),
    Round("retry_1", "agent_alone", False, "The control arm: a second try without any feedback."),
)
ROUND: dict[str, Round] = {r.name: r for r in ROUNDS}
