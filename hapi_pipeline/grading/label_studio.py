"""Exports of Label Studio (JSON, JSON_MIN, CSV, TSV) as rows of verdicts.

A labelling project of `hapi packets --label-studio` asks ``verdict_0``, ``comment_0``, ``verdict_1``, … : which
criterion a number means is known only from ``data.criteria`` of the task, in the order in which it was given out.
Drafts and predictions are no verdicts and are never read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hapi_pipeline.grading.sheets import Cell
from hapi_pipeline.grading.text import clean, shorten
from hapi_pipeline.grading.workbook import MAX_MINUTES
from hapi_pipeline.naming import digest
from hapi_pipeline.settings import UserError

OVERALL_FIELDS = ("feedback", "overall_feedback")
_FIELD = re.compile(r"(verdict|comment)_(\d{1,4})")
_DATA_KEYS = ("packet_id", "packet_sha256", "rubric_version")


@dataclass(frozen=True)
class Answer:
    """What one annotator said on one task."""

    task: int
    annotation: int
    annotator: Any  # an id, an e-mail address, or both in a dict
    data: Mapping[str, Any]
    fields: Mapping[str, Cell]
    skipped: bool = False
    at: str | None = None
    lead_time: float | None = None  # seconds that the task was open, pauses included
    flags: tuple[str, ...] = ()
    grader: str = ""


@dataclass
class Found:
    """Rows of an export and what is wrong with it, as (task, column, value, code, message, criterion, packet)."""

    rows: list[tuple[int, dict[str, Cell], tuple[str, ...]]] = field(default_factory=list)
    problems: list[tuple[int, str | None, str | None, str, str, str | None, str | None]] = field(default_factory=list)


def is_export(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether these are the tasks of a JSON export or the annotations of a JSON_MIN or CSV export."""
    return any(_is_task(r) or _is_flat(r) for r in records[:50])


def _is_task(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("annotations"), list) and isinstance(record.get("data"), dict)


def _is_flat(record: Mapping[str, Any]) -> bool:
    return "annotation_id" in record and "annotator" in record


def read_export(records: Sequence[Mapping[str, Any]], name: str, people: Mapping[str, str]) -> Found:
    """Every verdict, comment and overall feedback in an export, a row each.

    `people` are the graders' ids by the id or the e-mail address under which Label Studio knows them. Raises
    UserError when the export is of another kind of project.
    """
    answers = [a for n, record in enumerate(records, 1) for a in _answers(record, n)]
    tasks = [r["data"] if _is_task(r) else r for r in records]
    if not any("packet_id" in data and "criteria" in data for data in tasks):
        raise UserError(
            f"{name} is a Label Studio export, but not of a project made by `hapi packets --label-studio`: its tasks "
            "have no packet_id and criteria; export the grading project, as JSON or JSON_MIN."
        )
    found = Found()
    for answer in _named(answers, people):
        _take(answer, found)
    return found


def _answers(record: Mapping[str, Any], number: int) -> Iterator[Answer]:
    task = _whole(record.get("id")) or number
    if not _is_task(record):
        yield Answer(
            task,
            _whole(record.get("annotation_id")) or number,
            record.get("annotator"),
            record,
            {key: _said(value) for key, value in record.items() if _FIELD.fullmatch(key) or key in _OWN_FIELDS},
            at=_text(record.get("updated_at")) or _text(record.get("created_at")),
            lead_time=_number(record.get("lead_time")),
        )
        return
    for n, annotation in enumerate(record["annotations"], 1):
        if isinstance(annotation, dict):
            yield _annotation(annotation, record["data"], task, n)


_OWN_FIELDS = frozenset({"minutes", *OVERALL_FIELDS})


def _annotation(annotation: Mapping[str, Any], data: Mapping[str, Any], task: int, number: int) -> Answer:
    results = [r for r in annotation.get("result") or () if isinstance(r, dict)]
    fields: dict[str, Cell] = {}
    for result in results:
        name = str(result.get("from_name"))
        if _FIELD.fullmatch(name) or name in _OWN_FIELDS:
            fields[name] = _said(result.get("value"))
    flags: tuple[str, ...] = ("ground_truth",) if annotation.get("ground_truth") is True else ()
    if any(result.get("origin") == "prediction" for result in results):
        flags += ("prediction_kept",)
    return Answer(
        task,
        _whole(annotation.get("id")) or number,
        annotation.get("completed_by"),
        data,
        fields,
        annotation.get("was_cancelled") is True,
        _text(annotation.get("updated_at")) or _text(annotation.get("created_at")),
        _number(annotation.get("lead_time")),
        flags,
    )


def _said(value: Any) -> Cell:
    """An answer as one cell: of several choices or texts, all of them, so that none is silently preferred."""
    if isinstance(value, str) and value[:1] in ("[", "{"):  # as the CSV export writes lists
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return clean(value)
    if isinstance(value, dict):
        value = next((value[key] for key in ("choices", "text", "number") if key in value), None)
    if isinstance(value, list):
        parts = [_said(part) for part in value[:100]]
        given = [part for part in parts if part is not None and part != ""]
        return given[0] if len(given) == 1 else ", ".join(map(str, given)) or None
    if value is None or isinstance(value, bool | int | float):
        return value
    return clean(str(value)) or None


def _named(answers: Iterable[Answer], people: Mapping[str, str]) -> list[Answer]:
    """The answers with the grader of each.

    Two annotations of one task are two graders, even under one account, unless the account is one known grader's.
    """
    known = {str(key).strip().casefold(): grader for key, grader in people.items()}
    seen: dict[tuple[int, str], int] = {}
    named = []
    for answer in sorted(answers, key=lambda a: (a.task, a.annotation)):
        grader, registered = _grader(answer.annotator, known)
        flags = answer.flags
        if not answer.skipped and not registered:
            first = seen.setdefault((answer.task, grader), answer.annotation)
            if first != answer.annotation:
                grader, flags = f"{grader}-a{answer.annotation}", (*flags, "shared_account")
        named.append(replace(answer, grader=grader, flags=flags))
    return named


def _grader(annotator: Any, known: Mapping[str, str]) -> tuple[str, bool]:
    """The grader's id, and whether it is one of the registry's; an address becomes a short hash."""
    parts = [annotator.get("email"), annotator.get("id")] if isinstance(annotator, dict) else [annotator]
    names = [_text(part).strip() for part in parts]
    for name in names:
        if name and name.casefold() in known:
            return known[name.casefold()], True
    name = next((name for name in names if name), "")
    if not name:
        return "", False
    return f"ls-{name}" if re.fullmatch(r"\d{1,12}", name) else f"ls-{digest(name.casefold(), length=10)}", False


def _take(answer: Answer, found: Found) -> None:
    packet = _text(answer.data.get("packet_id")) or None
    if answer.skipped:
        message = "This task was skipped in Label Studio, so it has no verdicts yet; open it again and grade it."
        found.problems.append((answer.task, None, None, "skipped_task", message, None, packet))
        return
    criteria = _criteria(answer.data.get("criteria"))
    if packet is None or criteria is None:
        message = (
            "The task does not say which packet and which criteria it is about; export the project with its data as it "
            "was imported."
        )
        found.problems.append((answer.task, "criteria", None, "unknown_id", message, None, packet))
        return
    shared, flags = _shared_by_all_rows(answer)
    for index, criterion in enumerate(criteria):
        values = {
            "criterion_id": criterion,
            "passed": answer.fields.get(f"verdict_{index}"),
            "comment": answer.fields.get(f"comment_{index}"),
        }
        found.rows.append((answer.task, shared | values, flags))
    for name in answer.fields:
        match = _FIELD.fullmatch(name)
        if match and int(match[2]) >= len(criteria):
            message = (
                "The task has fewer criteria than this answer's number; export the project with its data unchanged."
            )
            value = shorten(answer.fields[name] or "")
            found.problems.append((answer.task, shorten(name), value, "unknown_criterion", message, None, packet))
    feedback = next((answer.fields[f] for f in OVERALL_FIELDS if answer.fields.get(f)), None)
    if feedback is not None:
        found.rows.append((answer.task, shared | {"criterion_id": "__overall__", "comment": feedback}, flags))


def _shared_by_all_rows(answer: Answer) -> tuple[dict[str, Cell], tuple[str, ...]]:
    values: dict[str, Cell] = {key: _text(answer.data.get(key)) or None for key in _DATA_KEYS}
    values |= {"grader": answer.grader or None, "graded_at": answer.at, "minutes": answer.fields.get("minutes")}
    flags = answer.flags
    if values["minutes"] is None and answer.lead_time is not None and 0 <= answer.lead_time <= MAX_MINUTES * 60:
        values["minutes"], flags = round(answer.lead_time / 60, 2), (*flags, "tool_lead_time")
    return values, flags


def _criteria(value: Any) -> list[str] | None:
    """The ids of the criteria in the order of their numbers, or None when they are not all there."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list) or not value:
        return None
    ids = [_text(entry.get("criterion_id")) if isinstance(entry, dict) else "" for entry in value]
    return ids if all(ids) else None


def _text(value: Any) -> str:
    return clean(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _whole(value: Any) -> int | None:
    text = _text(value)
    return int(text) if re.fullmatch(r"\d{1,15}", text) and int(text) else None


def _number(value: Any) -> float | None:
    try:
        number = float(_text(value) or "nan")
    except ValueError:
        return None
    return number if number == number else None
