"""What is written back to a grader about a file: which row, which criterion, what is wrong, what to do.

It names no model and no round, and repeats nothing of the file in a form that a mail program or a Markdown viewer
would turn into a link, a picture or markup.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from hapi_pipeline.grading.files import OVERALL, Problem, VerdictFile
from hapi_pipeline.grading.text import shorten

MOST_SHOWN = 200  # problems that are listed one by one
_SHOWN_COLUMNS = frozenset({"verdict", "passed", "criterion_id", "packet_id", "minutes", "comment", "graded_at"})
_PLACES = {"workbook": "Row {0} of the sheet", "long": "Row {0}", "twin": "Row {0}", "label_studio": "Task {0}"}
_NOTES = {
    "guessed_encoding": "the file is not in UTF-8, so letters with accents may have suffered; save it as “CSV UTF-8”",
    "no_grader": "nobody is named as grader; please fill in your grader name next time",
    "ambiguous_date": "the date of grading could not be read with certainty and was left out; write 2026-04-03",
    "future_date": "the date of grading lies in the future and was left out; write the day on which you graded",
    "before_issue": "the date of grading is before the work was handed out; please check it",
    "late": "they came after the next attempt had been started; they count, but the attempt is not made again",
    "older_rubric": "they were given on an older sheet, for criteria whose words have not changed since",
    "unknown_role": "the role is none that we know, so they count as a grader's",
    "shared_account": "several annotations of one task share an account; they count as different graders",
    "tool_lead_time": "no minutes were filled in, so the time the task was open is used",
    "blinding_suspect": "a comment guesses who did the work; please judge the work alone",
}
# bidirectional marks and invisible characters, with which a text can be made to read as another
_DECEIVING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffd]"
)
_INERT = str.maketrans(
    {"<": "‹", ">": "›", "`": "'", "[": "(", "]": ")", "|": "¦", "\\": "/", "*": "∗", "_": "_", "&": "+"}
)


def inert(text: object, limit: int = 60, secrets: Collection[str] = ()) -> str:
    """Text from outside as one short line that no viewer takes for a link, a picture or markup, without the secrets."""
    line = shorten(_DECEIVING.sub("", str(text)[: limit * 8]), limit)
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > 2:
            line = re.sub(re.escape(secret), "…", line, flags=re.IGNORECASE)
    return re.sub(r"(?i)(www)\.", r"\1 .", line.translate(_INERT).replace("://", ": //"))


def reply(
    name: str,
    form: str,
    rows: Iterable[Mapping[str, Any]],
    problems: Sequence[Problem],
    texts: Mapping[tuple[str, str], str],
    *,
    above: int = 0,
    secrets: Collection[str] = (),
    besides: tuple[Mapping[str, int], Mapping[str, int]] = ({}, {}),
) -> str:
    """The text that goes back with a file.

    `rows` are what was taken in (rows of verdict_exports), `besides` counts what was taken in besides, by packet and
    by flag; `texts` are the words of criteria by packet and criterion, `above` is how many lines stand above the
    table, `secrets` names that no grader may read.
    """
    taken, flags = Counter(besides[0]), Counter(besides[1])
    for row in rows:
        taken[row["packet_id"]] += row["criterion_id"] != OVERALL  # overall feedback is no verdict
        flags.update(row["flags"])
    lines = [f"# Your file {inert(name, 80, secrets)}", "", *_taken(taken)]
    if problems:
        lines += ["", "## What we could not take in", "", _order(problems), ""]
        for number, problem in enumerate(problems[:MOST_SHOWN], 1):
            lines += _entry(number, problem, form, texts, above, secrets)
        if len(problems) > MOST_SHOWN:
            lines += _rest(problems[MOST_SHOWN:])
    notes = [f"* {count:,} verdict(s): {_NOTES[flag]}." for flag, count in sorted(flags.items()) if flag in _NOTES]
    if notes:
        lines += ["", "## Taken in, but please note", "", *notes]
    return "\n".join(lines) + "\n"


def _taken(taken: Mapping[str, int]) -> list[str]:
    total = sum(taken.values())
    if not taken:
        return ["Nothing of this file could be taken in yet."]
    lines = [f"Thank you. {total:,} verdict(s) on {len(taken):,} packet(s) were taken in."]
    shown = sorted(taken.items())[:20]
    lines += ["", *(f"* {inert(packet)}: {count:,} verdict(s)" for packet, count in shown)]
    return lines if len(taken) == len(shown) else [*lines, f"* and {len(taken) - len(shown):,} more packets"]


def _order(problems: Sequence[Problem]) -> str:
    kept = sum(problem.code == "bad_minutes" for problem in problems)
    if kept == len(problems):
        return "The verdicts themselves were kept."
    return (
        f"{len(problems) - kept:,} place(s) need your attention. Please correct them in the same file and send the "
        "whole file again; what was good stays good and is not counted twice."
    )


def _entry(
    number: int,
    problem: Problem,
    form: str,
    texts: Mapping[tuple[str, str], str],
    above: int,
    secrets: Collection[str],
) -> list[str]:
    """One problem: where, about what, what stands there, what to do."""
    place = (
        "Above the table" if problem.row is None else _PLACES.get(form, "Row {0}").format(f"{problem.row + above:,}")
    )
    about = []
    if problem.packet_id:
        about.append(f"packet {inert(problem.packet_id)}")
    if problem.criterion_id == OVERALL:
        about.append("overall feedback")
    elif problem.criterion_id:
        text = texts.get((problem.packet_id or "", problem.criterion_id), "")
        words = f" (“{inert(text, 70, secrets)}”)" if text else ""
        about.append(f"criterion {inert(problem.criterion_id, 40, secrets)}{words}")
    lines = [f"{number}. **{place}**" + (f", {', '.join(about)}" if about else "")]
    if problem.value is not None and problem.column in _SHOWN_COLUMNS:
        lines.append(f"   There stands: “{inert(problem.value, 60, secrets)}”")
    return [*lines, f"   {inert(problem.message, 400, secrets)}"]


def _rest(problems: Sequence[Problem]) -> list[str]:
    counts = Counter(problem.code for problem in problems)
    return [
        "",
        f"And {len(problems):,} more places of the same kinds:",
        "",
        *(f"* {count:,} × {code.replace('_', ' ')}" for code, count in sorted(counts.items())),
    ]


def first_row(file: VerdictFile) -> int:
    """How far below the top of the file its first row stands, as a spreadsheet program counts."""
    return file.above if file.form in ("twin", "long") else 0
