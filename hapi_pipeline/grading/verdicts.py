"""From rows of a grader's file to verdicts, or to the quarantine with a code that says why.

Every row ends in exactly one of: a verdict, the quarantine, or it repeats another row of the file exactly. A
field at fault that does not touch the verdict (minutes, a date) is dropped, and the verdict stays.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hapi_pipeline.grading.dates import moment_of
from hapi_pipeline.grading.files import OVERALL, Problem, RawRow, VerdictFile
from hapi_pipeline.grading.sheets import Cell
from hapi_pipeline.grading.text import clean, shorten
from hapi_pipeline.grading.words import BAD, MISSING, Bad, Missing, parse_verdict
from hapi_pipeline.grading.workbook import MAX_MINUTES

__all__ = [
    "BAD",
    "MISSING",
    "Bad",
    "Gradable",
    "GradingIndex",
    "Judgement",
    "Missing",
    "contradictions",
    "judge",
    "judgement",
    "parse_verdict",
    "verdict_id",
]

UNKNOWN_GRADER = "unknown"
ROLES = ("grader", "adjudicator")
FIRST = "1"
"""The sample that a row is about when it names none."""
CELL = ("job_id", "model", "round", "sample")
_TIME_ZONES = timedelta(days=1)  # a date may be a day behind UTC
RoleOf = Callable[[str, str], str | None]
"""The role that a grader was given for a packet, or None when nothing was assigned."""


@dataclass(frozen=True)
class Gradable:
    """An attempt that verdicts may be about."""

    packet_id: str
    attempt_id: str
    cohort: str
    model: str
    round: str
    job_id: str
    rubric_version: str
    packet_sha256: str | None
    criteria: frozenset[str]
    simulated: bool
    standing: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Older versions of the rubric: which of their criteria still stand as they were."""
    finished_at: datetime | None = None  # before that there was nothing to judge
    sample: int = 1
    followed_up: bool = False  # whether the attempt of a next round is there, which these verdicts come too late for


class GradingIndex:
    """The attempts that verdicts may be about, by packet and by job, model, round and sample.

    `texts` are the words of the criteria by job and criterion, for what is written back to graders.
    """

    def __init__(self, gradables: Iterable[Gradable], texts: Mapping[tuple[str, str], str] | None = None):
        self.texts = texts or {}
        self._packets: dict[str, Gradable] = {}
        self._cells: dict[tuple[str, str, str, str], Gradable] = {}
        for gradable in gradables:
            self._packets[gradable.packet_id] = gradable
            self._cells[gradable.job_id, gradable.model, gradable.round, str(gradable.sample)] = gradable

    def by_packet(self, packet_id: str) -> Gradable | None:
        """The attempt under that packet id; some programs capitalise the first letter of a cell."""
        return self._packets.get(packet_id) or self._packets.get(packet_id.casefold())

    def by_cell(self, job_id: str, model: str, round: str, sample: str = "") -> Gradable | None:
        """The attempt of a model at a job in a round; the first where no sample is named."""
        return self._cells.get((job_id, model, round, sample or FIRST))

    @property
    def models(self) -> frozenset[str]:
        """The names that no grader may be shown."""
        return frozenset(model for _, model, *_ in self._cells)


@dataclass(frozen=True)
class Judgement:
    """What a file gives: rows of `verdict_exports`, rows of `quarantine`, and the problems behind the latter."""

    rows: list[dict[str, Any]]
    quarantine: list[dict[str, Any]]
    problems: tuple[Problem, ...]


def judge(
    file: VerdictFile,
    index: GradingIndex,
    *,
    source_file: str,
    source_sha256: str,
    imported_at: datetime,
    simulated: bool | None = None,
    role_of: RoleOf | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of `verdict_exports` and the rows of `quarantine` that a file gives: see `judgement`."""
    made = judgement(
        file,
        index,
        source_file=source_file,
        source_sha256=source_sha256,
        imported_at=imported_at,
        simulated=simulated,
        role_of=role_of,
    )
    return made.rows, made.quarantine


def judgement(
    file: VerdictFile,
    index: GradingIndex,
    *,
    source_file: str,
    source_sha256: str,
    imported_at: datetime,
    simulated: bool | None = None,
    role_of: RoleOf | None = None,
) -> Judgement:
    """Judge every row of a file.

    `imported_at` is in UTC. A verdict is simulated when the attempt is, or when `simulated` says that the
    grader is. Where `role_of` knows a role, it counts and not what the file says of it.
    """
    court = _Court(file, index, imported_at, role_of)
    entries, problems = court.hear()
    entries, conflicts = _settle(entries)
    rows = [_verdict_row(entry, source_file, source_sha256, imported_at, bool(simulated)) for entry in entries]
    every = (*file.problems, *problems, *conflicts)
    return Judgement(rows, [quarantined(p, source_file, source_sha256, imported_at) for p in every], every)


def quarantined(problem: Problem, source_file: str, source_sha256: str, imported_at: datetime) -> dict[str, Any]:
    """The row of `quarantine` for a problem."""
    return {
        "kind": "verdicts",
        "file": source_file,
        "row": problem.row,
        "column": problem.column,
        "value": problem.value,
        "code": problem.code,
        "message": problem.message,
        "source_sha256": source_sha256,
        "imported_at": imported_at,
    }


@dataclass(frozen=True)
class _Entry:
    """A row that is a verdict, before it is compared with the others of the file."""

    row: int
    place: int  # among the rows of the file that have this number, from 0
    gradable: Gradable
    criterion_id: str
    rubric_version: str
    passed: bool | None
    comment: str | None
    grader: str
    role: str
    minutes: float | None
    graded_at: datetime | None
    flags: tuple[str, ...]

    @property
    def subject(self) -> tuple[str, str, str, str]:
        return self.gradable.packet_id, self.criterion_id, same_person(self.grader), self.role

    @property
    def content(self) -> tuple[Any, ...]:
        return *self.subject, self.passed, self.comment, self.minutes, self.graded_at


class _RefusalError(Exception):
    """A row cannot become a verdict."""

    def __init__(self, column: str | None, value: object, code: str, message: str):
        super().__init__(message)
        self.column, self.value, self.code = column, value, code


class _Court:
    """Judges the rows of one file one by one."""

    def __init__(self, file: VerdictFile, index: GradingIndex, imported_at: datetime, role_of: RoleOf | None = None):
        self.file, self.index, self.imported_at, self.role_of = file, index, imported_at, role_of
        self.problems: list[Problem] = []
        self.minutes_of_file = self._minutes(None, file.header.get("minutes"))
        self.flags_of_file = ("guessed_encoding",) if file.header.get("guessed_encoding") else ()

    def hear(self) -> tuple[list[_Entry], list[Problem]]:
        entries = []
        met: Counter[int] = Counter()
        for row in self._rows():
            place = met[row.row]
            met[row.row] += 1
            try:
                entries.append(self._entry(row, place))
            except _RefusalError as refusal:
                value = None if refusal.value is None else shorten(refusal.value)
                number = row.row or None
                about = plain_text(row.values.get("criterion_id")) or None, self._packet(row)
                self.problems.append(Problem(number, refusal.column, value, refusal.code, str(refusal), *about))
        return entries, self.problems

    def _rows(self) -> Iterator[RawRow]:
        """The file's rows, after the overall feedback that stands above the table (as row 0)."""
        feedback = self.file.header.get("overall_feedback")
        if feedback is not None:
            yield RawRow(0, {"criterion_id": OVERALL, "comment": feedback})
        yield from self.file.rows

    def _entry(self, row: RawRow, place: int) -> _Entry:
        gradable = self._gradable(row)
        version = self._rubric_version(row, gradable)
        criterion_id = _criterion(row, gradable, version)
        passed, overall_flags = _passed(row, criterion_id)
        grader, grader_flags = self._grader(row)
        role, role_flags = self._role(row, gradable.packet_id, grader)
        own_minutes = row.values.get("minutes")
        minutes = self.minutes_of_file if own_minutes is None else self._minutes(row.row, own_minutes)
        graded_at, date_flags = moment_of(self._value(row, "graded_at"), self.imported_at)
        comment = plain_text(row.values.get("comment")) or None
        flags = (
            *self.flags_of_file,
            *row.flags,
            *overall_flags,
            *grader_flags,
            *role_flags,
            *date_flags,
            *_flags(gradable, version, graded_at, comment),
        )
        return _Entry(
            row.row, place, gradable, criterion_id, version, passed, comment, grader, role, minutes, graded_at, flags
        )

    def _value(self, row: RawRow, column: str) -> Cell:
        """What the row says, else what stands above the table."""
        own = row.values.get(column)
        return self.file.header.get(column) if own is None else own

    def _packet(self, row: RawRow) -> str | None:
        """The packet that a row is about, as far as that can be told."""
        said = plain_text(self._value(row, "packet_id"))
        cell = [plain_text(row.values.get(column)) for column in CELL]
        found = self.index.by_packet(said) if said else self.index.by_cell(*cell)
        return found.packet_id if found else said or None

    def _gradable(self, row: RawRow) -> Gradable:
        packet_id = plain_text(self._value(row, "packet_id"))
        cell = tuple(plain_text(row.values.get(column)) for column in CELL)
        if packet_id:
            found = self.index.by_packet(packet_id)
            if found is None:
                message = (
                    "No packet with this id was given out from here; check the id or send the file back to its source."
                )
                raise _RefusalError("packet_id", packet_id, "unknown_id", message)
            known = (found.job_id, found.model, found.round, str(found.sample))
            if any(said and said != truth for said, truth in zip(cell, known, strict=True)):
                message = (
                    "The packet_id belongs to another job, model, round or sample than the row says; "
                    "correct one of them."
                )
                raise _RefusalError("packet_id", packet_id, "unknown_id", message)
            return found
        if not all(cell[:3]):
            message = "The row does not say what it is about; it needs packet_id, or job_id, model and round."
            raise _RefusalError("packet_id", None, "unknown_id", message)
        found = self.index.by_cell(*cell)
        if found is None:
            message = "There is no attempt of this model at this job in this round; check job_id, model and round."
            if cell[3]:
                message = message.replace("round; check job_id,", "round under this sample; check job_id, sample,")
            raise _RefusalError("job_id", " / ".join(filter(None, cell)), "unknown_id", message)
        return found

    def _rubric_version(self, row: RawRow, gradable: Gradable) -> str:
        """The version that was graded: today's, or an older one of which some criteria may still stand."""
        version = plain_text(self._value(row, "rubric_version"))
        if version and version != gradable.rubric_version:
            if version in gradable.standing:  # what the packet was like then is no longer known, so no fingerprint
                return version
            message = "The criteria have changed since this sheet was given out; ask for the new packet and grade that."
            raise _RefusalError("rubric_version", version, "stale_rubric", message)
        sha = plain_text(self._value(row, "packet_sha256"))
        if sha and gradable.packet_sha256 and sha.casefold() != gradable.packet_sha256:
            message = "The sheet is not the one that was given out under this packet id; grade the packet as issued."
            raise _RefusalError("packet_sha256", sha, "tampered", message)
        return gradable.rubric_version

    def _role(self, row: RawRow, packet_id: str, grader: str) -> tuple[str, tuple[str, ...]]:
        """The role that was assigned, else the one that the row names."""
        assigned = self.role_of(packet_id, grader) if self.role_of else None
        return (assigned, ()) if assigned in ROLES else _role(row)

    def _grader(self, row: RawRow) -> tuple[str, tuple[str, ...]]:
        grader = " ".join(plain_text(self._value(row, "grader")).split())
        if grader:
            return grader, ()
        if self.file.form == "long":
            raise _RefusalError(
                "grader",
                None,
                "missing_grader",
                "The row does not say who graded; fill in the grader's name.",
            )
        return UNKNOWN_GRADER, ("no_grader",)

    def _minutes(self, row: int | None, value: Cell) -> float | None:
        minutes = plain_minutes(value)
        if value is None or minutes is not None:
            return minutes
        message = f"Minutes must be a number from 0 to {MAX_MINUTES}; the verdict was kept without them."
        self.problems.append(Problem(row, "minutes", shorten(value), "bad_minutes", message))
        return None


def plain_minutes(value: Cell) -> float | None:
    """A number of minutes that may be, or None."""
    minutes = _number(value)
    return minutes if minutes is not None and 0 <= minutes <= MAX_MINUTES else None


def plain_text(value: Cell) -> str:
    """A cell as text: a number used as an id or a comment loses the ``.0`` of a spreadsheet."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return clean(str(value)).strip()


def _criterion(row: RawRow, gradable: Gradable, version: str) -> str:
    """The id of the criterion, as the rubric spells it."""
    said = plain_text(row.values.get("criterion_id"))
    if said == OVERALL or version == gradable.rubric_version:
        return said if said == OVERALL or said in gradable.criteria else _resembling(said, gradable.criteria)
    standing = gradable.standing[version]
    found = next((known for known in standing if known.casefold() == said.casefold()), None)
    if found is None:
        message = (
            "The wording of this criterion has changed since the sheet was given out (or the rubric lacks it now); "
            "ask for the new packet and grade it there. Your other verdicts are not touched by that."
        )
        raise _RefusalError("criterion_id", said or None, "stale_rubric", message)
    return found


_DATE_OF_A_CELL = re.compile(r"\d{4}-\d\d-\d\d(?:T00:00:00)?")


def _resembling(said: str, criteria: frozenset[str]) -> str:
    """The one criterion whose id differs only in case, or in zeros at the front that a spreadsheet has taken away."""
    for same in (str.casefold, lambda known: known.lstrip("0") if known.isdigit() else known):
        found = [known for known in criteria if same(known) == same(said)]
        if len(found) == 1 and said:
            return found[0]
    message = "The packet's rubric has no criterion with this id; use the ids of the sheet as they are."
    if _DATE_OF_A_CELL.fullmatch(said):
        message = (
            "A spreadsheet program has turned the id of this criterion into a date; copy the id from the packet as it "
            "was given out, into a cell that is formatted as text."
        )
    raise _RefusalError("criterion_id", said or None, "unknown_criterion", message)


def _flags(gradable: Gradable, version: str, graded_at: datetime | None, comment: str | None) -> Iterator[str]:
    """What is unusual about a verdict that is taken in."""
    if version != gradable.rubric_version:
        yield "older_rubric"
    if graded_at and gradable.finished_at and graded_at < gradable.finished_at - _TIME_ZONES:
        yield "before_issue"
    if gradable.followed_up:
        yield "late"
    if comment and _names(comment, gradable.model):
        yield "blinding_suspect"


def _passed(row: RawRow, criterion_id: str) -> tuple[bool | None, tuple[str, ...]]:
    value = row.values.get("passed")
    verdict = parse_verdict(value)
    if criterion_id == OVERALL:
        if not plain_text(row.values.get("comment")):
            raise _RefusalError(
                "comment",
                None,
                "missing_verdict",
                "The overall row has no comment; write one or leave it out.",
            )
        return None, ("overall_verdict_ignored",) if verdict not in (MISSING, None) else ()
    if isinstance(verdict, Missing):
        message = "The verdict is blank; choose PASS, FAIL or CANNOT_JUDGE. Until then the packet is incomplete."
        raise _RefusalError("verdict", None, "missing_verdict", message)
    if isinstance(verdict, Bad):
        raise _RefusalError("verdict", value, "bad_verdict", "This is no verdict; write PASS, FAIL or CANNOT_JUDGE.")
    return verdict, ()


def _role(row: RawRow) -> tuple[str, tuple[str, ...]]:
    role = plain_text(row.values.get("grader_role")).casefold()
    if not role or role in ROLES:
        return role or ROLES[0], ()
    return ROLES[0], ("unknown_role",)


_NUMBER = re.compile(r"[+-]?\d{1,9}(?:[.,]\d{1,12})?")
_THOUSANDS = re.compile(r"[+-]?\d+,\d{3}")  # 1,234 may be a thousand or a little more than one


def _number(value: Cell) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e9 else None
    plain = unicodedata.normalize("NFKC", value).strip()
    if not _NUMBER.fullmatch(plain) or _THOUSANDS.fullmatch(plain):
        return None
    return float(plain.replace(",", "."))


def _names(comment: str, model: str) -> bool:
    """Whether a comment names the model: then the grader may have known whose work it was."""
    if len(model) < 3:
        return False
    return re.search(rf"(?<!\w){re.escape(model.casefold())}(?!\w)", comment.casefold()) is not None


def same_person(grader: str) -> str:
    """A grader's name as it is compared: however it was capitalised this time (sql/verdicts.sql does the same)."""
    return grader.lower()


def _settle(entries: list[_Entry]) -> tuple[list[_Entry], list[Problem]]:
    """Collapse exact repetitions; where a grader contradicts himself, refuse all he said on it."""
    said: dict[tuple[str, str, str, str], set[bool | None]] = {}
    for entry in entries:
        said.setdefault(entry.subject, set()).add(entry.passed)
    kept: dict[tuple[Any, ...], _Entry] = {}
    conflicts = []
    for entry in entries:
        if len(said[entry.subject]) > 1:
            conflicts.append(_conflict(entry))
        else:
            kept.setdefault(entry.content, entry)
    return list(kept.values()), conflicts


def _conflict(entry: _Entry) -> Problem:
    word = {True: "PASS", False: "FAIL", None: "CANNOT_JUDGE"}[entry.passed]
    message = (
        f"{shorten(entry.grader, 40)} gave different verdicts on {shorten(entry.criterion_id, 40)} in the "
        "same file; keep the one that holds."
    )
    return Problem(
        entry.row or None, "verdict", word, "conflict", message, entry.criterion_id, entry.gradable.packet_id
    )


def contradictions(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """The ids of verdicts of one import on which a grader contradicts himself in different files.

    All that he said on the criterion is meant, unless dates tell which verdict is his newest: then that one is a
    correction. `rows` are those of `verdict_exports`.
    """
    said: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        subject = (row["attempt_id"], row["criterion_id"], same_person(row["grader"]), row["grader_role"])
        said.setdefault(subject, []).append(row)
    return {row["verdict_id"] for mine in said.values() if _undecided(mine) for row in mine}


def _undecided(rows: Sequence[Mapping[str, Any]]) -> bool:
    if len({row["passed"] for row in rows}) < 2:
        return False
    moments = [row["graded_at"] for row in rows]
    return None in moments or len({row["passed"] for row in rows if row["graded_at"] == max(moments)}) > 1


def conflict_between_files(row: Mapping[str, Any]) -> Problem:
    """The problem of a verdict that another file of the same import contradicts."""
    word = {True: "PASS", False: "FAIL", None: "CANNOT_JUDGE"}[row["passed"]]
    message = (
        f"Another file that came with this one has a different verdict of {shorten(row['grader'], 40)} on "
        f"{shorten(row['criterion_id'], 40)}, and no date says which is newer; send the one that holds."
    )
    place = row["source_row"] or None
    return Problem(place, "verdict", word, "conflict", message, row["criterion_id"], row["packet_id"])


OF_FILE, OF_ROW = 32, 10
"""Hexadecimal digits of a file's SHA-256, and decimal digits of a row's number, in a verdict's id."""


def verdict_id(source_sha256: str, row: int, place: int = 0) -> str:
    """Where a verdict comes from: its file and its row in it; no two verdicts share one.

    `place` counts, from 0, the rows that a file has under one number: a task of Label Studio gives many.
    """
    said_once = f"{source_sha256[:OF_FILE]}-{row:0{OF_ROW}d}"
    return f"{said_once}-{place:04d}" if place else said_once


def _verdict_row(
    entry: _Entry, source_file: str, source_sha256: str, imported_at: datetime, simulated: bool
) -> dict[str, Any]:
    gradable = entry.gradable
    return {
        "verdict_id": verdict_id(source_sha256, entry.row, entry.place),
        "packet_id": gradable.packet_id,
        "attempt_id": gradable.attempt_id,
        "cohort": gradable.cohort,
        "model": gradable.model,
        "round": gradable.round,
        "job_id": gradable.job_id,
        "criterion_id": entry.criterion_id,
        "rubric_version": entry.rubric_version,
        "passed": entry.passed,
        "comment": entry.comment,
        "grader": entry.grader,
        "grader_role": entry.role,
        "minutes": entry.minutes,
        "graded_at": entry.graded_at,
        "flags": list(entry.flags),
        "source_file": source_file,
        "source_sha256": source_sha256,
        "source_row": entry.row,
        "imported_at": imported_at,
        "simulated": gradable.simulated or simulated,
    }
