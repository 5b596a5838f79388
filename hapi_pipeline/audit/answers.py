"""What curators send back, recognised by content: a sheet is read row by row into answers, or the quarantine.

A blank answer is no answer and no fault. What is at fault beside a sound answer (a reason nobody knows, a date) is
dropped, and the answer stays.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from hapi_pipeline.audit.reasons import LABELS, SPELLINGS
from hapi_pipeline.audit.workbook import JOBS_SHEET
from hapi_pipeline.grading.dates import moment_of
from hapi_pipeline.grading.delimited import DELIMITERS, decode
from hapi_pipeline.grading.sheets import Cell, Sheet, cell_name, read_workbook
from hapi_pipeline.grading.text import clean, sheet_cell, shorten
from hapi_pipeline.grading.words import Bad, Missing, parse_verdict
from hapi_pipeline.intake.files import check_readable
from hapi_pipeline.intake.ledger import Rejected
from hapi_pipeline.settings import UserError

_READ = ("job_id", "should_be_kept", "reason", "comment")
_NEEDED = frozenset(_READ[:2])
_LABELS = {
    "job_id": "job_id",
    "job": "job_id",
    "should_be_kept": "should_be_kept",
    "keep": "should_be_kept",
    "answer": "should_be_kept",
    "reason": "reason",
    "comment": "comment",
    "comments": "comment",
    "curator": "curator",
    "judged_on": "judged_at",
    "judged_at": "judged_at",
}
_SEARCHED_ROWS = 60
_LONGEST_NAME = 80
_MAX_BYTES = 50 * 1024 * 1024
_EXPECTED = (
    "expected the workbook that `hapi audit` made, as .xlsx, .ods or .csv, with the columns job_id and should_be_kept"
)
_KEEP = "keep kept in include included accept accepted behalten garder conservar mantener"
_REJECT = "reject rejected out exclude excluded drop remove ablehnen rejeter rechazar"
_WORDS = dict.fromkeys(_KEEP.split(), True) | dict.fromkeys(_REJECT.split(), False)
_REASONS = {
    said.casefold(): rule
    for rule, label in LABELS.items()
    for said in (rule.replace("_", " "), label, *SPELLINGS[rule])
}


@dataclass(frozen=True)
class Answer:
    """What a curator says of a job: keep it, turn it away (for a reason), or None for cannot judge."""

    row: int
    job_id: str
    keep: bool | None
    reason: str | None
    comment: str | None


@dataclass(frozen=True)
class AuditFile:
    """A curator's file: who, when, the rows with their cells by column name, and the rows that cannot be read."""

    curator: str
    judged_at: Cell
    rows: tuple[tuple[int, Mapping[str, Cell]], ...]
    rejected: tuple[Rejected, ...]


def read_audit_file(path: Path) -> AuditFile:
    """Read a curator's file, whatever it is called. Raises UserError for what is none, or does not say who judged."""
    check_readable(path)
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path.name} is larger than any audit workbook; {_EXPECTED}.")
    data = path.read_bytes()
    if data.startswith(b"PK"):
        sheets = read_workbook(data, path.name)
    elif data.startswith(b"\xd0\xcf\x11\xe0"):
        raise UserError(f"{path.name} is an old .xls file or has a password; save it as .xlsx without a password.")
    else:
        try:
            text, _ = decode(data, path.name)
        except UserError as error:
            raise UserError(f"{path.name} is not a text file; {_EXPECTED}.") from error
        sheets = _from_csv(text, path.name)
    return _from_sheets(sheets, path.name)


def _from_csv(text: str, name: str) -> list[Sheet]:
    """A CSV file as a sheet.

    Posts are hostile and hold line breaks. So it is read strictly, for after a broken quotation mark a line of a post
    could pass for an answer; and with that delimiter under which the column names come first, for under another one
    the lines of a post could pass for a table of their own.
    """
    found: list[tuple[int, Sheet]] = []
    for delimiter in DELIMITERS:
        try:
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
        except csv.Error:
            continue
        sheet = Sheet(delimiter, [[clean(cell) or None for cell in row] for row in rows])
        header = _header_row(sheet, name)
        if header:
            found.append((header[0], sheet))
    if not found:
        raise UserError(f"{name} holds no answers of a curator, or its quotation marks do not match; {_EXPECTED}.")
    return [min(found, key=lambda entry: entry[0])[1]]


def _from_sheets(sheets: Sequence[Sheet], name: str) -> AuditFile:
    for sheet in sorted(sheets, key=lambda s: s.name.casefold() != JOBS_SHEET):
        found = _header_row(sheet, name)
        if found:
            break
    else:
        raise UserError(f"{name} holds no answers of a curator; {_EXPECTED}.")
    at, columns = found
    above = _above(sheet.rows[:at])
    curator = shorten(_text(above.get("curator")), _LONGEST_NAME)
    if not curator:
        raise UserError(f"{name} does not say who judged; write a pseudonym beside “curator” and import it again.")
    faults = _faults(sheet, at, columns)
    rows = []
    for r in range(at + 1, len(sheet.rows)):
        cells = {column: sheet.rows[r][c] for c, column in columns.items() if c < len(sheet.rows[r])}
        if r not in faults and any(_text(cells.get(column)) for column in _READ[1:]):
            rows.append((r + 1, cells))
    return AuditFile(curator, above.get("judged_at"), tuple(rows), tuple(faults.values()))


def _header_row(sheet: Sheet, name: str) -> tuple[int, dict[int, str]] | None:
    """Where the line of column names is, and which column is which."""
    for at, row in enumerate(islice(sheet.rows, _SEARCHED_ROWS)):
        columns = {c: label for c, cell in enumerate(row) if (label := _label(cell)) in _READ}
        if set(columns.values()) >= _NEEDED:
            twice = next((label for label in columns.values() if list(columns.values()).count(label) > 1), None)
            if twice:
                raise UserError(f"{name} has two columns for {twice}; keep one of them.")
            return at, columns
    return None


def _label(cell: Cell) -> str | None:
    return _LABELS.get(_plain(cell).rstrip(":").strip().replace(" ", "_")) if isinstance(cell, str) else None


def _above(rows: Sequence[Sequence[Cell]]) -> dict[str, Cell]:
    """The values above the table: each stands to the right of its label."""
    found: dict[str, Cell] = {}
    for row in rows:
        label: str | None = None
        for cell in row:
            name = _label(cell)
            if name in ("curator", "judged_at"):
                label = name
            elif label and _text(cell):
                found.setdefault(label, cell)
                label = None
    return found


def _faults(sheet: Sheet, at: int, columns: Mapping[int, str]) -> dict[int, Rejected]:
    """The rows of the table with a formula or a merge in a cell that is read."""
    faults: dict[int, Rejected] = {}
    for (top, left), (bottom, right) in sheet.merged:
        if any(left <= column <= right for column in columns):
            area = f"{cell_name((top, left))}:{cell_name((bottom, right))}"
            message = f"The cells {area} are merged, so values are lost; take the merge apart and send the file again."
            for row in range(max(top, at + 1), min(bottom, len(sheet.rows) - 1) + 1):
                faults.setdefault(row, Rejected(row + 1, None, area, "merged_cells", message))
    for row, column in sorted(sheet.formulas):
        if row > at and column in columns:
            message = f"Cell {cell_name((row, column))} holds a formula; type the value itself and send the file again."
            faults.setdefault(row, Rejected(row + 1, columns[column], None, "formula_cell", message))
    return dict(sorted(faults.items()))


# ---- the meaning of a row


def judge(file: AuditFile, jobs: Mapping[str, str]) -> tuple[list[Answer], list[Rejected]]:
    """The answers of a file and the rows for the quarantine; `jobs` gives the job id for one as it stands in a cell."""
    answers: list[Answer] = []
    rejected = list(file.rejected)
    for row, cells in file.rows:
        found, problem = _answer(row, cells, jobs)
        if found:
            answers.append(found)
        if problem:
            rejected.append(problem)
    kept, conflicts = _settled(answers)
    return kept, [*rejected, *conflicts]


def as_shown(job_id: str) -> str:
    """A job id as it is read back from a cell."""
    return _text(sheet_cell(job_id))


def id_in(cells: Mapping[str, Cell]) -> str:
    """The job id of a row, as it stands there."""
    return _text(cells.get("job_id"))


def _answer(row: int, cells: Mapping[str, Cell], jobs: Mapping[str, str]) -> tuple[Answer | None, Rejected | None]:
    keep = parse_answer(cells.get("should_be_kept"))
    shown = id_in(cells)
    job_id = jobs.get(shown)
    if job_id is None:
        message = "No job of this home has this id; the sheet's ids must stay as they are."
        return None, Rejected(row, "job_id", shown or None, "unknown_job", message)
    if isinstance(keep, Missing):
        message = "There is a reason or comment but no answer; choose KEEP, REJECT or CANNOT_JUDGE."
        return None, Rejected(row, "should_be_kept", None, "missing_answer", message)
    if isinstance(keep, Bad):
        value = shorten(cells.get("should_be_kept"))
        message = "This is no answer; choose KEEP, REJECT or CANNOT_JUDGE."
        return None, Rejected(row, "should_be_kept", value, "bad_answer", message)
    said = _text(cells.get("reason"))
    if keep and said:
        message = "The row says KEEP and gives a reason to reject; keep one of the two."
        return None, Rejected(row, "reason", shorten(said), "contradiction", message)
    reason = parse_reason(said) if keep is False else None
    comment = _text(cells.get("comment")) or None
    return Answer(row, job_id, keep, reason, comment), _no_reason(row, said) if keep is False and not reason else None


def _no_reason(row: int, said: str) -> Rejected:
    if said:
        message = "This reason is not in the list; the rejection was kept without a reason."
        return Rejected(row, "reason", shorten(said), "bad_reason", message)
    message = "The rejection has no reason; it was kept without, and helps less to judge the single rules."
    return Rejected(row, "reason", None, "missing_reason", message)


def _settled(answers: Sequence[Answer]) -> tuple[list[Answer], list[Rejected]]:
    """Repeated rows of a job count once; where they contradict each other, none counts."""
    said: dict[str, set[bool | None]] = {}
    for answer in answers:
        said.setdefault(answer.job_id, set()).add(answer.keep)
    message = "The file says different things about this job in several rows; keep the one that holds."
    words = {True: "KEEP", False: "REJECT", None: "CANNOT_JUDGE"}
    conflicts = [
        Rejected(a.row, "should_be_kept", words[a.keep], "conflict", message)
        for a in answers
        if len(said[a.job_id]) > 1
    ]
    kept = {a.job_id: a for a in reversed(answers) if len(said[a.job_id]) == 1}
    return sorted(kept.values(), key=lambda a: a.row), conflicts


def parse_answer(value: Cell) -> bool | Missing | Bad | None:
    """True (keep), False (reject), None (cannot judge), MISSING (blank) or BAD; many words in several languages."""
    if isinstance(value, str):
        plain = _plain(value)
        return _WORDS[plain] if plain in _WORDS else parse_verdict(value)
    return parse_verdict(value)


def parse_reason(text: str) -> str | None:
    """The rule that a curator names, or other; None for what is not known."""
    return _REASONS.get(_plain(text))


def parse_moment(value: Cell, imported_at: datetime) -> datetime | None:
    """When the curator judged, in UTC; None unless it is an ISO date or time that has come."""
    return moment_of(_text(value) or None, imported_at)[0]


def _plain(text: str) -> str:
    """For comparison: one case, single blanks, no underscores or full stop at the end."""
    if len(text) > 200:
        return ""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().replace("_", " ").split()).rstrip(".")


def _text(value: Cell) -> str:
    """A cell as text: a number used as an id loses the ``.0`` of a spreadsheet."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return clean(str(value)).strip()
