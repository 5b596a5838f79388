"""The files that simulated agents hand in: small, real, and different in kind from job to job."""

from __future__ import annotations

import base64
import csv
import html
import io
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_EPOCH = (2020, 1, 1, 0, 0, 0)  # zip members carry a date; a constant keeps the bytes the same

_KINDS = ("md", "csv", "html", "svg", "docx", "xlsx")
_KINDS_OF = (
    (r"design|creative|illustrat|logo|art|video|photo", ("svg", "html", "md")),
    (r"writ|translat|content|edit|copy", ("docx", "md", "html")),
    (r"data|account|financ|analy|spreadsheet|admin|engineer|research", ("xlsx", "csv", "md")),
    (r"web|software|develop|program|it & |mobile", ("html", "md", "csv")),
    (r"market|sales|seo|legal|consult|hr", ("docx", "md", "xlsx")),
)
_PHRASES = (
    "The brief was read twice and split into steps before the work began.",
    "Where the post leaves a choice open, the simpler option was taken and is named here.",
    "Names and numbers were carried over unchanged from the material.",
    "The result was gone through once more against the post before it was handed in.",
    "Open points are listed so that they can be settled in one short message.",
    "Each part can be used by itself.",
)


@dataclass(frozen=True)
class File:
    """A file as the arguments of write_file."""

    path: str
    content: str
    encoding: str


class Attempt(Protocol):
    """What decides the form of the files."""

    @property
    def category(self) -> str:
        """Category of the job."""

    @property
    def job_id(self) -> str:
        """Id of the job."""

    def roll(self, purpose: str, sides: int) -> int:
        """A number from 0 to sides - 1 that depends on the attempt alone."""


def deliverables(attempt: Attempt, met: Sequence[str]) -> list[File]:
    """The files of an attempt; the first holds each text of `met` verbatim, on a line of its own."""
    kinds = next((k for pattern, k in _KINDS_OF if re.search(pattern, attempt.category.lower())), _KINDS)
    kind = kinds[attempt.roll("kind", len(kinds))]
    first = attempt.roll("phrase", len(_PHRASES))
    work = [_PHRASES[(first + n) % len(_PHRASES)] for n in range(3)]
    made = [_MAKERS[kind]("Work for job " + attempt.job_id, work, list(met))]
    if attempt.roll("notes", 4) == 0:
        made.append(File("notes.md", "# Notes\n\n" + "\n".join(work) + "\n", "text"))
    return made


def _markdown(title: str, work: list[str], met: list[str]) -> File:
    return File("deliverable.md", "\n".join([f"# {title}", "", *work, "", *(f"- {m}" for m in met)]) + "\n", "text")


def _csv(title: str, work: list[str], met: list[str]) -> File:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["part", "content"])
    writer.writerows([["title", title], *(["work", w] for w in work), *(["result", m] for m in met)])
    return File("deliverable.csv", text.getvalue(), "text")


def _html(title: str, work: list[str], met: list[str]) -> File:
    paragraphs = "\n".join(f"<p>{html.escape(w, quote=False)}</p>" for w in work)
    items = "\n".join(f"<li>{html.escape(m, quote=False)}</li>" for m in met)
    head = f'<head><meta charset="utf-8"><title>{html.escape(title)}</title></head>'
    return File(
        "deliverable.html",
        f'<!doctype html>\n<html lang="en">{head}\n<body>\n{paragraphs}\n<ul>\n{items}\n</ul>\n</body></html>\n',
        "text",
    )


def _svg(title: str, work: list[str], met: list[str]) -> File:
    lines = [title, *work, *met]
    texts = "\n".join(f'<text x="20" y="{40 + 24 * n}">{_xml(line)}</text>' for n, line in enumerate(lines))
    size = f'width="900" height="{80 + 24 * len(lines)}"'
    return File("deliverable.svg", f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{texts}\n</svg>\n', "text")


def _xml(text: str) -> str:
    return html.escape(_NOT_XML.sub(" ", text), quote=False)


def _zipped(path: str, members: dict[str, str]) -> File:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), _HEAD + text)
    return File(path, base64.b64encode(data.getvalue()).decode("ascii"), "base64")


_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPE = "application/vnd.openxmlformats-officedocument."


def _types(parts: dict[str, str]) -> str:
    overrides = "".join(f'<Override PartName="{name}" ContentType="{_TYPE}{kind}"/>' for name, kind in parts.items())
    rels = '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    xml = '<Default Extension="xml" ContentType="application/xml"/>'
    return f'<Types xmlns="{_PACKAGE}/content-types">{rels}{xml}{overrides}</Types>'


def _relations(kind: str, target: str) -> str:
    relation = f'<Relationship Id="rId1" Type="{_OFFICE}/{kind}" Target="{target}"/>'
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{relation}</Relationships>'


def _docx(title: str, work: list[str], met: list[str]) -> File:
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    body = "".join(
        f'<w:p><w:r><w:t xml:space="preserve">{_xml(line)}</w:t></w:r></w:p>' for line in (title, *work, *met)
    )
    return _zipped(
        "deliverable.docx",
        {
            "[Content_Types].xml": _types({"/word/document.xml": "wordprocessingml.document.main+xml"}),
            "_rels/.rels": _relations("officeDocument", "word/document.xml"),
            "word/document.xml": f'<w:document xmlns:w="{space}"><w:body>{body}</w:body></w:document>',
        },
    )


def _xlsx(title: str, work: list[str], met: list[str]) -> File:
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    pairs = [("title", title), *(("work", w) for w in work), *(("result", m) for m in met)]
    rows = "".join(
        f'<row r="{n}">'
        + "".join(
            # an inline string is never taken for a formula
            f'<c r="{column}{n}" t="inlineStr"><is><t xml:space="preserve">{_xml(text)}</t></is></c>'
            for column, text in zip("AB", pair, strict=True)
        )
        + "</row>"
        for n, pair in enumerate(pairs, start=1)
    )
    data = f"<sheetData>{rows}</sheetData>"
    sheets = f'<sheets><sheet name="Work" sheetId="1" xmlns:r="{_OFFICE}" r:id="rId1"/></sheets>'
    return _zipped(
        "deliverable.xlsx",
        {
            "[Content_Types].xml": _types(
                {
                    "/xl/workbook.xml": "spreadsheetml.sheet.main+xml",
                    "/xl/worksheets/sheet1.xml": "spreadsheetml.worksheet+xml",
                }
            ),
            "_rels/.rels": _relations("officeDocument", "xl/workbook.xml"),
            "xl/workbook.xml": f'<workbook xmlns="{space}">{sheets}</workbook>',
            "xl/_rels/workbook.xml.rels": _relations("worksheet", "worksheets/sheet1.xml"),
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{space}">{data}</worksheet>',
        },
    )


_MAKERS: dict[str, Callable[[str, list[str], list[str]], File]] = {
    "md": _markdown,
    "csv": _csv,
    "html": _html,
    "svg": _svg,
    "docx": _docx,
    "xlsx": _xlsx,
}
