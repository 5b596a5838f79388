"""The known truth of a simulated world: which agent meets which criteria of which job, in which round.

Everything is decided by two kinds of files and by digests, so two processes that load the same folder agree
on every verdict without talking to each other: the simulated provider, the simulated graders, and a test of
both.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hapi_pipeline.rounds import ROUND
from hapi_pipeline.settings import UserError

COMPLETES = ("agent_alone", "feedback_1", "feedback_2", "never")
"""When an agent's work on a job becomes complete, on the path with feedback."""
SOFT_SHARE = 0.05
"""Share of failures in which only optional criteria and pitfalls fail."""
_SOFT = frozenset({"optional", "pitfall"})
_SHARE_FAILING = {0: 0.45, 1: 0.3, 2: 0.2}  # at most, by turn: feedback makes failures fewer
_REGRESSION_SHARE = 0.08  # of later attempts, in which something that was right before is now wrong


@dataclass(frozen=True)
class Criterion:
    """One line of a rubric."""

    id: str
    text: str
    importance: str


@dataclass(frozen=True)
class Truth:
    """What becomes of one agent on one job."""

    completes: str  # one of COMPLETES
    retry_1: bool  # whether a second try without feedback is complete


class World:
    """Rubrics and truth, by job."""

    def __init__(self, rubrics: Mapping[str, tuple[Criterion, ...]], truth: Mapping[tuple[str, str], Truth]):
        self._rubrics = rubrics
        self._truth = truth

    @classmethod
    def load(cls, folder: Path) -> World:
        """The world of a folder with truth.csv and rubrics*.csv; an absent folder gives an empty world.

        A rubric that stands in several files is taken from the last one by name. UserError for a file that
        lacks a column.
        """
        rubrics: dict[str, tuple[Criterion, ...]] = {}
        for path in sorted(folder.glob("rubrics*.csv")):
            rubrics.update(_rubrics(path))
        truth_file = folder / "truth.csv"
        return cls(rubrics, _truth(truth_file) if truth_file.exists() else {})

    def criteria(self, job_id: str) -> tuple[tuple[str, str], ...]:
        """(criterion_id, text) of each criterion of a job, in order; empty for an unknown job."""
        return tuple((c.id, c.text) for c in self._rubrics.get(job_id, ()))

    def truth(self, job_id: str, model_id: str) -> Truth:
        """What becomes of this agent on this job; one that the world does not list gets a seeded outcome."""
        return self._truth.get((job_id, model_id)) or _invented(job_id, model_id)

    def passed(self, job_id: str, model_id: str, round: str) -> frozenset[str]:
        """Ids of the criteria that this attempt meets; none of an unknown job.

        Raises UserError for an unknown round.
        """
        if round not in ROUND:
            raise UserError(f"There is no round {round!r}; rounds are {', '.join(ROUND)}.")
        criteria = self._rubrics.get(job_id, ())
        everything = frozenset(c.id for c in criteria)
        if complete_at(self.truth(job_id, model_id), round):
            return everything
        return everything - failing(job_id, model_id, round, criteria)


def complete_at(truth: Truth, round: str) -> bool:
    """Whether an attempt in this round is complete: it is from the round on in which the truth says so."""
    if ROUND[round].arm == "control":
        return truth.completes == "agent_alone" or truth.retry_1
    return truth.completes in ROUND[round].path


def failing(job_id: str, model_id: str, round: str, criteria: Iterable[Criterion]) -> frozenset[str]:
    """Ids of the criteria that an incomplete attempt fails: at least one, fewer after feedback.

    The criteria have one order for a job and model, decided by a digest; each round fails the first few of
    it, so that feedback mends the later ones. Now and then a later round also breaks what was right.
    """
    draws = _Draws(job_id, model_id, round)
    known = sorted(criteria, key=lambda c: c.id)
    ranks = hashlib.shake_256(f"{job_id}\x1f{model_id}".encode("utf-8", "surrogatepass")).digest(4 * len(known))
    order = [c for _, c in sorted(zip(_fours(ranks), known, strict=True), key=lambda pair: (pair[0], pair[1].id))]
    soft = [c for c in order if c.importance in _SOFT]
    hard = [c for c in order if c.importance not in _SOFT]
    if soft and (not hard or draws.next() < SOFT_SHARE):
        return frozenset(c.id for c in soft[: 1 + int(draws.next() * min(3, len(soft)))])
    order = hard[:1] + [c for c in order if c is not hard[0]] if hard else order
    turn = ROUND[round].turn if ROUND[round].feedback else 0
    most = max(1, int(_SHARE_FAILING[turn] * len(order)))
    count = 1 + int(draws.next() * most)
    chosen = order[:count]
    if ROUND[round].turn and draws.next() < _REGRESSION_SHARE and count < len(order):
        chosen[-1] = order[-1]
    return frozenset(c.id for c in chosen)


class _Draws:
    """A short sequence of numbers from 0 to 1, decided by a digest."""

    def __init__(self, *parts: str):
        self._bytes = hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).digest()
        self._at = 0

    def next(self) -> float:
        value = int.from_bytes(self._bytes[self._at : self._at + 4], "big") / 2**32
        self._at = (self._at + 4) % 32
        return value


def _fours(data: bytes) -> list[bytes]:
    return [data[at : at + 4] for at in range(0, len(data), 4)]


def _invented(job_id: str, model_id: str) -> Truth:
    draws = _Draws(job_id, model_id, "outcome")
    point, second = draws.next(), draws.next()
    completes = (
        "agent_alone" if point < 0.25 else "feedback_1" if point < 0.4 else "feedback_2" if point < 0.47 else "never"
    )
    return Truth(completes, completes != "agent_alone" and second < (0.4 if completes == "feedback_1" else 0.03))


def _rubrics(path: Path) -> dict[str, tuple[Criterion, ...]]:
    found: dict[str, list[tuple[int, Criterion]]] = {}
    for row in _rows(path, ("job_id", "criterion_id", "position", "text", "importance")):
        try:
            position = int(row["position"])
        except ValueError:
            raise UserError(f"{path}: position {row['position']!r} is not a whole number.") from None
        criterion = Criterion(row["criterion_id"], row["text"], row["importance"])
        found.setdefault(row["job_id"], []).append((position, criterion))
    return {
        job: tuple(criterion for _, criterion in sorted(listed, key=lambda pair: (pair[0], pair[1].id)))
        for job, listed in found.items()
    }


def _truth(path: Path) -> dict[tuple[str, str], Truth]:
    truth = {}
    for row in _rows(path, ("job_id", "model_id", "completes", "retry_1")):
        if row["completes"] not in COMPLETES or row["retry_1"] not in ("true", "false"):
            raise UserError(f"{path}: {row['completes']!r}, {row['retry_1']!r} is no outcome of a simulated attempt.")
        truth[row["job_id"], row["model_id"]] = Truth(row["completes"], row["retry_1"] == "true")
    return truth


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        head = next(reader, [])
        missing = [c for c in columns if c not in head]
        if missing:
            raise UserError(f"{path} lacks the column {missing[0]!r}.")
        return [dict(zip(head, row, strict=False)) for row in reader if len(row) >= len(head)]
