"""Jobs one by one: a page for each that is cleared for publication, with its rubric, attempts, verdicts and files."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from markupsafe import Markup

from hapi_pipeline.copies import brought
from hapi_pipeline.naming import attempt_place
from hapi_pipeline.report.ask import Sources, round_name, rounds_in_order
from hapi_pipeline.report.safe import download_name, page_name, visible
from hapi_pipeline.rounds import ROUNDS

MOST_BYTES = 25 * 1024 * 1024
"""Deliverables above this size are named, not offered."""
_JOBS_A_PAGE = 6000  # rows of one page of the index; what a browser still shows at once
_LONGEST = 60_000  # characters of a text that a page shows
_OVERALL = "__overall__"


@dataclass(frozen=True)
class Listed:
    """A job in the index."""

    job_id: str
    page: str
    title: str
    category: str
    month: str
    price: float | None
    n_criteria: int
    alone: tuple[int, int]  # models that completed it alone, of those known
    later: tuple[int, int]  # the same after any later round with feedback

    @property
    def name(self) -> str:
        """The id as a page shows it."""
        return visible(self.job_id)


@dataclass(frozen=True)
class Download:
    """A deliverable: where it lies in the site, or why it does not."""

    name: str
    bytes: int
    href: str = ""
    note: str = ""


@dataclass(frozen=True)
class Attempt:
    """An attempt as a page shows it."""

    round: str
    label: str
    sample: int
    outcome: str
    passed: str  # "11 of 13"
    marks: Mapping[str, str]  # by criterion: p, f or ?
    finish_reason: str
    cost_usd: float | None
    attempt_id: str
    files: Sequence[Download] = ()
    feedback: Mapping[str, Sequence[str]] = field(default_factory=dict)  # comments by criterion


@dataclass(frozen=True)
class Criterion:
    """A line of the rubric."""

    id: str
    importance: str
    text: str


@dataclass
class Job:
    """All that a job's page shows."""

    listed: Listed
    description: str
    subcategory: str
    skills: Sequence[str]
    attachments: Sequence[str]
    posted: str
    completed: str
    simulated: bool
    rubric: Sequence[Criterion]
    models: Mapping[str, Sequence[Attempt]] = field(default_factory=dict)
    previous: Listed | None = None
    following: Listed | None = None

    @property
    def rounds(self) -> list[tuple[str, str]]:
        """The rounds that there are attempts of, with their names."""
        names = [attempt.round for attempts in self.models.values() for attempt in attempts]
        return [(name, round_name(name)) for name in rounds_in_order(names)]

    def verdicts(self, criterion: str) -> list[Markup]:
        """What became of a criterion, a cell a model: a mark for each attempt."""
        return [_marked("".join(a.marks.get(criterion, "?") for a in attempts)) for attempts in self.models.values()]

    @property
    def trace(self) -> str:
        """The command that tells all of the job."""
        import shlex

        return f"hapi explain {shlex.quote(self.listed.name)}"


_MARKS = {"p": "✓", "f": "✗", "?": "·"}
_SAID = {"p": "passed", "f": "failed", "?": "not known"}


@functools.lru_cache(maxsize=10_000)
def _marked(outcomes: str) -> Markup:
    """Marks for outcomes in a row, and the words for those who do not see them."""
    marks = Markup("").join(
        Markup("·") if o == "?" else Markup('<i class="{}">{}</i>').format(o, _MARKS[o]) for o in outcomes
    )
    return Markup('<span role="img" aria-label="{}">{}</span>').format(", ".join(_SAID[o] for o in outcomes), marks)


def listed_jobs(sources: Sources, cleared: set[str]) -> list[Listed]:
    """The jobs that have a page, the newest month first."""
    alone, later = _completed(sources)
    found = []
    for job_id, title, category, cohort, price, n_criteria in sources.stream(_LISTED):
        if job_id in cleared:
            found.append(
                Listed(
                    job_id,
                    page_name(job_id),
                    visible(title or "(no title)"),
                    visible(category or "unknown"),
                    cohort,
                    price,
                    n_criteria,
                    alone.get(job_id, (0, 0)),
                    later.get(job_id, (0, 0)),
                )
            )
    return found


_LISTED = """
SELECT job_id, title, category, cohort, price_usd, n_criteria FROM benchmark_jobs ORDER BY cohort DESC, job_id
"""
_STATES = """
SELECT job_id, first, count(*) FILTER (WHERE done), count(*) FROM (
    SELECT job_id, model, round = 'agent_alone' AS first, bool_or(state = 'complete') AS done
    FROM job_states WHERE rule = {rule} AND round IN ({rounds}) AND state IN ('complete', 'failed') GROUP BY ALL
) GROUP BY ALL
"""


def _completed(sources: Sources) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]:
    """For each job: models that completed it alone of those known, and the same after a later round with feedback."""
    from hapi_pipeline.engine import quoted

    alone: dict[str, tuple[int, int]] = {}
    later: dict[str, tuple[int, int]] = {}
    people = ", ".join(quoted(r.name) for r in ROUNDS if r.arm == "human")
    for job_id, first, done, known in sources.stream(_STATES.format(rule=quoted(sources.rule), rounds=people)):
        (alone if first else later)[job_id] = (done, known)
    return alone, later


def chunks(jobs: Sequence[Listed]) -> list[Sequence[Listed]]:
    """The jobs of each page of the index; one page where there are none."""
    return [jobs[i : i + _JOBS_A_PAGE] for i in range(0, len(jobs), _JOBS_A_PAGE)] or [[]]


def jobs(sources: Sources, listed: Sequence[Listed], files: Files) -> Iterator[Job]:
    """The jobs with all that their pages show, by id; a few in memory at a time."""
    by_id = {one.job_id: one for one in listed}
    around = {b.job_id: (a, c) for a, b, c in zip([None, *listed[:-1]], listed, [*listed[1:], None], strict=True)}
    rubrics, attempts, comments = (_Grouped(sources.stream(sql)) for sql in (_RUBRICS, _attempts(sources), _COMMENTS))
    for row in sources.stream(_POSTS):
        job_id, description, subcategory, skills, attachments, posted, completed, simulated = row
        if job_id not in by_id:
            continue
        said: dict[str, dict[str, list[str]]] = {}
        for _, attempt, criterion, comment in comments.of(job_id):
            told = said.setdefault(attempt, {}).setdefault(_criterion_name(criterion), [])
            if (shown := _text(comment)) not in told:
                told.append(shown)
        previous, following = around[job_id]
        yield Job(
            by_id[job_id],
            _text(description or ""),
            visible(subcategory or ""),
            [visible(s) for s in skills or ()],
            [visible(a) for a in attachments or ()],
            posted or "",
            completed or "",
            simulated is True,
            [Criterion(visible(i), visible(m), _text(t)) for _, i, m, t in rubrics.of(job_id)],
            _by_model(attempts.of(job_id), said, files),
            previous,
            following,
        )


_POSTS = """
SELECT job_id, description, subcategory, skills, attachments, strftime(posted_at, '%Y-%m-%d'),
    strftime(completed_at, '%Y-%m-%d'), simulated
FROM benchmark_jobs ORDER BY job_id
"""
_RUBRICS = """
SELECT job_id, criterion_id, importance, text FROM rubrics ORDER BY job_id, position
"""
_COMMENTS = """
SELECT job_id, attempt_id, criterion_id, comment FROM verdicts
WHERE is_current AND comment IS NOT NULL AND (criterion_id = '__overall__' OR NOT coalesce(passed, false))
ORDER BY job_id, attempt_id, criterion_id = '__overall__' DESC, criterion_id, verdict_id
"""


def _attempts(sources: Sources) -> str:
    rule = "required_criteria" if sources.rule == "required_criteria" else "all_criteria"
    return f"""
SELECT a.job_id, a.model, a.round, coalesce(a.sample, 1), a.attempt_id, a.finish_reason, a.cost_usd, a.deliverables,
    o.outcome, o.{rule}, o.n_passed, o.n_criteria, array_to_string(c.passes, '\x1f'), array_to_string(c.fails, '\x1f')
FROM attempts a
LEFT JOIN attempt_outcomes o USING (attempt_id)
LEFT JOIN criterion_outcomes c USING (attempt_id)
WHERE a.is_current
ORDER BY a.job_id, a.model, a.turn, a.round, a.sample
"""  # noqa: S608


class _Grouped:
    """Rows in order of their first value, taken group by group."""

    def __init__(self, rows: Iterable[tuple[Any, ...]]):
        self._groups = groupby(rows, key=lambda row: row[0])
        self._next = next(self._groups, None)

    def of(self, key: str) -> list[tuple[Any, ...]]:
        """The rows of a key; keys must be asked for in order, those before it are left out."""
        while self._next is not None and _before(self._next[0], key):
            self._next = next(self._groups, None)
        if self._next is None or self._next[0] != key:
            return []
        found = list(self._next[1])
        self._next = next(self._groups, None)
        return found


def _before(one: str, other: str) -> bool:
    """Whether DuckDB sorts one text before another: by its bytes."""
    return one.encode("utf-8", "surrogatepass") < other.encode("utf-8", "surrogatepass")


def _by_model(
    rows: Sequence[tuple[Any, ...]], said: Mapping[str, Mapping[str, Sequence[str]]], files: Files
) -> dict[str, list[Attempt]]:
    made: dict[str, list[Attempt]] = {}
    for row in rows:
        (
            _,
            model,
            round_,
            sample,
            attempt,
            reason,
            cost,
            deliverables,
            outcome,
            complete,
            n_passed,
            n_criteria,
            ps,
            fs,
        ) = row
        marks = {visible(c): "p" for c in (ps or "").split("\x1f") if c}
        marks |= {visible(c): "f" for c in (fs or "").split("\x1f") if c}
        made.setdefault(visible(model), []).append(
            Attempt(
                round_,
                round_name(round_),
                sample,
                _outcome(outcome, complete),
                f"{n_passed} of {n_criteria}" if n_criteria is not None and outcome == "graded" else "",
                marks,
                reason,
                cost,
                attempt,
                files.of(model, round_, str(row[0]), attempt, deliverables),
                said.get(attempt, {}),
            )
        )
    order = {name: place for place, name in enumerate(rounds_in_order([str(row[2]) for row in rows]))}
    return {model: sorted(attempts, key=lambda a: (order[a.round], a.sample)) for model, attempts in made.items()}


def _outcome(outcome: str | None, complete: bool | None) -> str:
    if outcome is None or outcome == "pending" or (outcome == "graded" and complete is None):
        return "pending"
    if outcome == "infra":
        return "infra"
    return "complete" if complete else "incomplete"


def _criterion_name(criterion: str) -> str:
    return "Overall" if criterion == _OVERALL else visible(criterion)


def _text(text: str) -> str:
    """A text from outside as a page shows it; the end of a very long one is left out, and the cut is marked."""
    shown = visible(text[: _LONGEST + 1])
    return shown if len(text) <= _LONGEST else f"{shown[:_LONGEST]} […]"


class Files:
    """Copies deliverables into the site, each content once, under names that nothing runs.

    What stands in the table of attempts decides: a file that is no longer what was handed in, or lies elsewhere, is
    named and not offered. `earlier` is the site as it was built before, whose copies are taken over; `unread` says by
    SHA-256 which files cannot be searched for personal data, and are not offered either.
    """

    def __init__(
        self, attempts: Path, site: Path, earlier: Path | None = None, unread: Mapping[str, str] | None = None
    ):
        self.attempts, self.site, self.earlier, self.unread = attempts, site, earlier, unread or {}
        self.copied = self.bytes = 0

    def of(self, model: str, round_: str, job_id: str, attempt: str, deliverables: str | None) -> list[Download]:
        """The deliverables of an attempt as downloads."""
        found = json.loads(deliverables or "[]")
        if not found:
            return []
        folder = self.attempts / attempt_place(model, round_, job_id, attempt)
        brought(folder.parent)
        return [self._download(folder / "deliverables", one) for one in found]

    def _download(self, folder: Path, one: Mapping[str, Any]) -> Download:
        path, size = str(one.get("path") or ""), int(one.get("bytes") or 0)
        shown, (name, note) = visible(path), download_name(path)
        if size > MOST_BYTES:
            return Download(shown, size, note="too large to be offered here")
        sha = str(one.get("sha256") or "")
        if sha in self.unread:
            return Download(shown, size, note=f"not searched for personal data, so not offered: {self.unread[sha]}")
        place = Path("files") / sha[:2] / sha[:16] / name
        if len(sha) != 64 or not sha.isalnum() or not self._there(place, size):
            source = _inside(folder, path)
            if source is None or not self._copy(source, place, sha):
                return Download(shown, size, note="not here any more as it was handed in")
        return Download(shown, size, place.as_posix(), note)

    def _there(self, place: Path, size: int) -> bool:
        """Whether the site, or the one before it, has this very content."""
        goal = self.site / place
        if goal.exists():
            return True
        before = self.earlier / place if self.earlier else None
        if before is None or before.is_symlink() or not before.is_file() or before.stat().st_size != size:
            return False
        goal.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(before, goal)
        except OSError:
            shutil.copyfile(before, goal)
        return True

    def _copy(self, source: Path, place: Path, sha: str) -> bool:
        content = source.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha:
            return False
        goal = self.site / place
        goal.parent.mkdir(parents=True, exist_ok=True)
        goal.write_bytes(content)
        self.copied, self.bytes = self.copied + 1, self.bytes + len(content)
        return True


def _inside(folder: Path, path: str) -> Path | None:
    """The file of a deliverable; None where it is missing, a link, or not within the attempt's folder."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if not parts or ".." in parts or PurePosixPath(path).is_absolute():
        return None
    found = folder.joinpath(*parts)
    try:
        whole = found.resolve(strict=True)
        return whole if whole.is_file() and whole.is_relative_to(folder.resolve(strict=True)) else None
    except (OSError, RuntimeError, ValueError):
        return None
