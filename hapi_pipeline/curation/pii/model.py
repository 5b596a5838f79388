"""What a scan says: findings without values, and the decision that follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

DETECTOR_VERSION = "2"
"""Changes whenever the same text could give other findings; stored with every decision."""

REJECT_THRESHOLD = 0.5
"""From this score on a finding rejects a text; below it a person looks."""

REVIEW_ONLY_TYPES = frozenset({"person_name"})
"""Names of authors, characters and products belong in jobs, so a name alone never rejects."""

Decision = Literal["keep", "review", "reject"]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One place in a text that looks like personal data. It never holds the value.

    `start` and `end` are character offsets (`text[start:end]`), `score` is between 0 and 1.
    """

    type: str
    start: int
    end: int
    score: float


def decide(findings: Sequence[Finding]) -> Decision:
    """Say what to do with a text: `reject`, `review` (names or weak findings only) or `keep`."""
    if any(_rejects(finding) for finding in findings):
        return "reject"
    return "review" if findings else "keep"


def _rejects(finding: Finding) -> bool:
    return finding.type not in REVIEW_ONLY_TYPES and finding.score >= REJECT_THRESHOLD


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """Sort by place; where findings of one type overlap, keep the stronger (the longer among equals)."""
    by_type: dict[str, list[Finding]] = {}
    for finding in findings:
        by_type.setdefault(finding.type, []).append(finding)
    kept = [finding for same_type in by_type.values() for finding in _without_overlaps(same_type)]
    return sorted(kept, key=lambda f: (f.start, f.end, f.type))


def _without_overlaps(same_type: Sequence[Finding]) -> list[Finding]:
    """One sweep by place, so that a text with very many findings stays cheap."""
    kept: list[Finding] = []
    for finding in sorted(same_type, key=lambda f: (f.start, f.end)):
        if not kept or finding.start >= kept[-1].end:
            kept.append(finding)
        elif _strength(finding) > _strength(kept[-1]):
            kept[-1] = finding
    return kept


def _strength(finding: Finding) -> tuple[float, int]:
    return finding.score, finding.end - finding.start
