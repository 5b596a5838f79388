"""The text of a document that somebody sent, for an agent that cannot open files; bounded in memory."""

from __future__ import annotations

import html
import re
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

_MAX_TEXT_BYTES = 4 << 20
_MAX_UNZIPPED = 64 << 20
_MAX_MEMBERS = 2_000
_MAX_ROWS = 500
_MAX_COLUMNS = 50
_XML = (".xml", ".rels")
_TEXT = frozenset(
    [
        "txt",
        "md",
        "csv",
        "tsv",
        "json",
        "jsonl",
        "xml",
        "svg",
        "yaml",
        "yml",
        "html",
        "htm",
        "py",
        "js",
        "ts",
        "css",
        "sql",
        "log",
        "ini",
        "toml",
        "rst",
        "tex",
    ]
)


class UnreadableError(Exception):
    """The document has no text that can be shown; the message says why, in words for the agent."""


def document_text(path: Path) -> str:
    """The text of a txt, md, csv, json, html, docx or xlsx file (and other plain text).

    Raises UnreadableError for other formats and for files that are damaged or unreasonably large.
    """
    kind = path.suffix.lower().lstrip(".")
    try:
        if kind in ("docx", "xlsx", "xlsm"):
            _refuse_bombs(path)
            return _docx(path) if kind == "docx" else _xlsx(path)
        text = _plain(path, known=kind in _TEXT)
        return _html(text) if kind in ("html", "htm") else text
    except UnreadableError:
        raise
    except Exception as error:  # parsers of hostile files fail in every way there is
        raise UnreadableError(f"this {kind or 'file'} file is damaged and cannot be read") from error


def _plain(path: Path, known: bool) -> str:
    with path.open("rb") as file:
        data = file.read(_MAX_TEXT_BYTES)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    if not known and (b"\0" in data or data.startswith(b"%PDF")):
        raise UnreadableError("files of this kind cannot be read as text here; work from the brief")
    return data.decode("utf-8-sig", "replace")


class _Visible(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style"):
            self.hidden += 1
        elif tag in ("p", "br", "div", "tr", "li", "h1", "h2", "h3", "h4"):
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self.hidden = max(0, self.hidden - 1)

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)


def _html(text: str) -> str:
    parser = _Visible()
    parser.feed(text)
    parser.close()
    return re.sub(r"\s*\n\s*", "\n", "".join(parser.parts)).strip()


def _refuse_bombs(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > _MAX_MEMBERS or sum(m.file_size for m in members) > _MAX_UNZIPPED:
            raise UnreadableError("this file is too large when unpacked")
        for member in members:
            # the sizes above are the file's own claim: zipfile stops at them, and raises when they are a lie
            if re.search(rb"<!(DOCTYPE|ENTITY)", archive.read(member) if member.filename.endswith(_XML) else b""):
                raise UnreadableError("this file contains declarations that office programs do not write")


def _docx(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        xml = archive.read("word/document.xml").decode("utf-8", "replace")
    lines: list[str] = []
    for paragraph in re.split(r"</w:p>", xml):
        pieces = re.findall(r"<w:t(?:\s[^>]*)?>([^<]*)</w:t>|<w:(tab|br|cr)\b", paragraph)
        lines.append(
            "".join(html.unescape(text) or ("\t" if mark == "tab" else "\n" if mark else "") for text, mark in pieces)
        )
    return "\n".join(lines).strip()


def _xlsx(path: Path) -> str:
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        return "\n".join(_sheet_lines(book))
    finally:
        book.close()


def _sheet_lines(book: object) -> Iterator[str]:
    for sheet in book.worksheets:  # type: ignore[attr-defined]
        yield f"# sheet {sheet.title}"
        for row in sheet.iter_rows(max_row=_MAX_ROWS, max_col=_MAX_COLUMNS, values_only=True):
            if any(value is not None for value in row):
                yield "\t".join("" if value is None else str(value) for value in row).rstrip("\t")
