"""Simulated graders: they fill in the real packet workbooks, by the one rule that a criterion's text must be
found in what was handed in.

They read and write the same files as people do, so that the whole way of a verdict is exercised.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from html import unescape
from pathlib import Path
from xml.sax.saxutils import escape

from hapi_pipeline.grading.files import read_verdict_file
from hapi_pipeline.grading.text import clean, sheet_escape
from hapi_pipeline.grading.workbook import (
    COMMENT_COLUMN,
    DATE_CELL,
    FEEDBACK_CELL,
    GRADER_CELL,
    MINUTES_CELL,
    VERDICT_COLUMN,
)
from hapi_pipeline.naming import digest
from hapi_pipeline.parallel import spread
from hapi_pipeline.settings import UserError

SHORTEST, LONGEST = 8, 35  # minutes that a simulated grader reports
_GRADE_PART = "xl/worksheets/sheet1.xml"
_SPREADSHEET_EPOCH = date(1899, 12, 30)
_MAX_TEXT = 20 * 1024 * 1024  # bytes read of one deliverable, and of one part of an Office file
_COMMENTS = (
    "I could not find this in what was handed in.",
    "This is missing from the deliverables.",
    "Not done, or not in the files that I received.",
)
_TAG = re.compile(r"<!--.*?-->|<[^<>]*>", re.DOTALL)
_MARKDOWN_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_PARAGRAPH = re.compile(r"</(?:w:p|a:p|si|is|text:p|c|row)>|<(?:w:br|w:tab|a:br)\b[^>]*>")


FALSE_FAIL, FALSE_PASS = 0.02, 0.05
"""How often a grader who errs misses what is there, and sees what is not: a share of the criteria met and not met."""


@dataclass(frozen=True)
class Work:
    """A packet on a grader's desk."""

    folder: Path
    grader: str
    errs: bool = False  # now and then, as people do


def grade_packets(
    folders: Sequence[Path],
    out: Path,
    *,
    grader: str = "sim-grader-1",
    seed: int = 0,
    workers: int = 2,
    on: date | None = None,
) -> list[Path]:
    """Grade the packets in `folders` and save each filled workbook as ``out/<packet_id>.xlsx``, in that
    order.

    The same packets, grader, seed and day give the same files. `on` is the day of grading, today when not
    given.
    """
    out.mkdir(parents=True, exist_ok=True)
    work = partial(_grade_packet, out=out, seed=seed, on=on or datetime.now(UTC).date())
    return list(spread(work, [Work(folder, grader) for folder in folders], workers=workers))


def grade_work(
    desk: Sequence[Work], out: Path, *, seed: int = 0, workers: int = 2, on: date | None = None
) -> list[Path]:
    """`grade_packets` for packets of several graders: each filled workbook is ``out/<grader>/<packet_id>.xlsx``."""
    for grader in {work.grader for work in desk}:
        (out / grader).mkdir(parents=True, exist_ok=True)
    work = partial(_grade_packet, out=out, seed=seed, on=on or datetime.now(UTC).date(), apart=True)
    return list(spread(work, desk, workers=workers))


@dataclass(frozen=True)
class _Judgement:
    """What a grader writes into one workbook."""

    verdicts: Mapping[int, bool]  # by sheet row
    comments: Mapping[int, str]
    minutes: int
    feedback: str


def _grade_packet(work: Work, *, out: Path, seed: int, on: date, apart: bool = False) -> Path:
    workbook = next(iter(sorted(work.folder.glob("packet_*.xlsx"))), None)
    if workbook is None:
        raise UserError(f"{work.folder} holds no packet workbook to grade.")
    content = workbook.read_bytes()
    criteria, packet_id = _criteria(workbook)
    chance = digest(str(seed), work.grader, packet_id)
    judgement = _judge(criteria, folded_text(work.folder / "deliverables"), chance, work.errs)
    target = (out / work.grader if apart else out) / f"{packet_id}.xlsx"
    staged = target.with_suffix(".new")
    staged.write_bytes(_filled(content, judgement, work.grader, on))
    staged.replace(target)
    return target


def _criteria(workbook: Path) -> tuple[dict[int, str], str]:
    """The texts of the criteria by sheet row, and the packet's id."""
    file = read_verdict_file(workbook)
    return {row.row: str(row.values["criterion"] or "") for row in file.rows}, str(file.header["packet_id"])


def _judge(criteria: Mapping[int, str], found: str, chance: str, errs: bool = False) -> _Judgement:
    verdicts = {row: bool(fold(text)) and fold(text) in found for row, text in criteria.items()}
    if errs:
        verdicts = {row: met is not _errs(met, chance, row) for row, met in verdicts.items()}
    failed = [row for row, passed in verdicts.items() if not passed]
    pick = int(chance[:8], 16)
    comments = {row: _COMMENTS[(pick + row) % len(_COMMENTS)] for row in failed}
    feedback = ""
    if failed:
        missing = "; ".join(criteria[row] for row in failed[:3])
        more = f" (and {len(failed) - 3} more)" if len(failed) > 3 else ""
        feedback = f"{len(failed)} of {len(criteria)} criteria are not met. Please add: {missing}{more}"
    return _Judgement(verdicts, comments, SHORTEST + pick % (LONGEST - SHORTEST + 1), feedback)


def _errs(met: bool, chance: str, row: int) -> bool:
    """Whether a grader who errs now and then does so on this row."""
    return int(digest(chance, str(row), length=6), 16) < (FALSE_FAIL if met else FALSE_PASS) * 16**6


# --- reading what was handed in ------------------


def fold(text: str) -> str:
    """Text as it is compared: any white space as one blank, no difference of case."""
    return " ".join(clean(text).split()).casefold()


def folded_text(folder: Path) -> str:
    """All that can be read in the files of a folder, folded; what cannot be read counts as not handed in."""
    if not folder.is_dir():
        return ""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
    return "\n".join(fold(_text(path)) for path in files)


def _text(path: Path) -> str:
    kind = path.suffix.lower().removeprefix(".")
    with path.open("rb") as stream:
        data = stream.read(_MAX_TEXT)
    if kind in ("docx", "xlsx", "pptx", "odt", "ods", "odp"):
        return _office_text(data)
    text = data.decode("utf-8-sig", "replace")
    return _READERS.get(kind, str)(text)


def _markup(text: str) -> str:
    """The text between tags, once as if every tag parted words and once as if none did."""
    return unescape(_TAG.sub(" ", text)) + "\n" + unescape(_TAG.sub("", text))


def _markdown(text: str) -> str:
    return text + "\n" + unescape(_MARKDOWN_ESCAPE.sub(r"\1", text))


def _delimited(text: str) -> str:
    """CSV: as it stands, and with doubled quotation marks and the apostrophes before formulas undone."""
    plain = text.replace('""', '"')
    return f"{text}\n{plain}\n{re.sub(chr(39) + r'(?=[=+@-])', '', plain)}"


_READERS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(("html", "htm", "svg", "xml", "xhtml"), _markup),
    **dict.fromkeys(("md", "txt", "rst"), _markdown),
    **dict.fromkeys(("csv", "tsv"), _delimited),
}


def _office_text(data: bytes) -> str:
    """The text of an Office file's parts: runs are joined, paragraphs and cells are parted."""
    texts = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".xml") and not entry.filename.startswith(("docProps/", "customXml/")):
                    with archive.open(entry) as part:
                        texts.append(part.read(_MAX_TEXT).decode("utf-8", "replace"))
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, NotImplementedError, ValueError):
        return ""
    return "\n".join(unescape(_TAG.sub("", _PARAGRAPH.sub(" ", text))) for text in texts)


# --- writing the workbook ------------------


def _filled(workbook: bytes, judgement: _Judgement, grader: str, on: date) -> bytes:
    """The workbook with the grader's entries: only the XML of the grade sheet is changed."""
    cells = {
        GRADER_CELL: _string(grader),
        DATE_CELL: _number((on - _SPREADSHEET_EPOCH).days),
        MINUTES_CELL: _number(judgement.minutes),
    }
    cells |= {f"{VERDICT_COLUMN}{row}": _string("PASS" if ok else "FAIL") for row, ok in judgement.verdicts.items()}
    cells |= {f"{COMMENT_COLUMN}{row}": _string(comment) for row, comment in judgement.comments.items()}
    if judgement.feedback:
        cells[FEEDBACK_CELL] = _string(judgement.feedback)
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(workbook)) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target,
    ):
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename == _GRADE_PART:
                data = _put(_unsigned(data.decode("utf-8")), cells).encode("utf-8")
            target.writestr(entry, data)
    return out.getvalue()


_SIGNED = re.compile(rf'<c r="{GRADER_CELL}"((?: s="\d+")?) t="inlineStr"><is><t>[^<]*</t></is></c>')


def _unsigned(sheet: str) -> str:
    """The sheet with the grader's cell empty, where it was filled in when the packet was given out."""
    return _SIGNED.sub(rf'<c r="{GRADER_CELL}"\1/>', sheet, count=1)


_EMPTY_CELL = re.compile(r'<c r="([A-Z]+\d+)"((?: s="\d+")?)/>')


def _put(sheet: str, cells: Mapping[str, tuple[str, str]]) -> str:
    """The sheet's XML with values in cells that are empty in it; KeyError when one of them is not there."""
    left = dict(cells)

    def fill(match: re.Match[str]) -> str:
        content = left.pop(match[1], None)
        return match[0] if content is None else f'<c r="{match[1]}"{match[2]}{content[0]}>{content[1]}</c>'

    filled = _EMPTY_CELL.sub(fill, sheet)
    if left:
        raise KeyError(f"cells that cannot be filled in: {', '.join(sorted(left))}")
    return filled


def _string(text: str) -> tuple[str, str]:
    kept = escape(sheet_escape(clean(text)[:32_000]))
    return ' t="inlineStr"', f'<is><t xml:space="preserve">{kept}</t></is>'


def _number(value: int) -> tuple[str, str]:
    return "", f"<v>{value}</v>"
