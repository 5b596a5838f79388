"""Text in its many forms: plain, tables with separators, JSON, notebooks, HTML, SVG, RTF, e-mail."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hapi_pipeline.agents.documents.model import Document, Reading, UnreadableError, Want, counted

if TYPE_CHECKING:
    from email.message import EmailMessage

MOST_TEXT = 8 << 20  # bytes of a text that are read
_MOST_TABLE = 100 << 20  # bytes of a table in which rows are counted
_SHOWN_COLUMNS = 60
_DEEP_HTML = 200_000  # tags; more are cut out by a pattern in linear time


def decoded(data: bytes) -> str:
    """Bytes as text: UTF-16 with its mark, UTF-8, else the Windows code page that old programs write."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(data) >= MOST_TEXT and error.start >= len(data) - 4:  # the limit cut a character in two
            return data.decode("utf-8-sig", "replace")
        return data.decode("cp1252", "replace")


def text_of(document: Document) -> str:
    """The text of a document, its first `MOST_TEXT` bytes."""
    document.file.seek(0)
    return decoded(document.file.read(MOST_TEXT)).replace("\r\n", "\n").replace("\r", "\n")


def _lines(text: str) -> int:
    return text.count("\n") + (not text.endswith("\n")) if text else 0


def _beginning(document: Document) -> str:
    return f", of which the first {MOST_TEXT >> 20} MiB can be read" if document.size > MOST_TEXT else ""


def read_text(document: Document, want: Want) -> Reading:
    """Any text, as it is."""
    text = text_of(document)
    about = f"text, {counted(len(text), 'character')}, {counted(_lines(text), 'line')}{_beginning(document)}"
    return Reading(about, text)


def read_python(document: Document, want: Want) -> Reading:
    """A Python program; says where its syntax is wrong."""
    text = text_of(document)
    return Reading(f"Python, {counted(_lines(text), 'line')}{_syntax(text)}{_beginning(document)}", text)


def _syntax(text: str) -> str:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        return f", with a syntax error{f' in line {line}' if line else ''}"
    return ""


def read_delimited(document: Document, want: Want) -> Reading:
    """A table with separators: names and number of its columns, number of its rows, then the text itself."""
    text = text_of(document)
    mark = _separator(text, "\t" if document.kind == "tsv" else ",")
    rows = 0
    names: list[str] = []
    document.file.seek(0)
    wide = decoded(document.file.read(_MOST_TABLE)) if document.size > MOST_TEXT else text
    csv.field_size_limit(max(csv.field_size_limit(), MOST_TEXT))
    try:
        for row in csv.reader(io.StringIO(wide), delimiter=mark):
            if not any(cell.strip() for cell in row):
                continue
            rows += 1
            names = names or row
    except csv.Error as error:
        raise UnreadableError(f"this table is damaged: {error}") from error
    columns = ", ".join(" ".join(name.split())[:80] for name in names[:_SHOWN_COLUMNS])
    more = f" and {len(names) - _SHOWN_COLUMNS} more" if len(names) > _SHOWN_COLUMNS else ""
    said = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}[mark]
    about = f"table, {counted(max(rows - 1, 0), 'row')} below the first, {counted(len(names), 'column')}"
    return Reading(f"{about} (separator: {said}): {columns}{more}{_beginning(document)}", text)


def _separator(text: str, expected: str) -> str:
    """The mark that stands most often in the first line with any, outside quotes."""
    first = next((line for line in text[:HEAD_OF_TABLE].split("\n") if line.strip()), "")
    found = Counter(c for c in re.sub(r'"[^"]*"', "", first) if c in ",;\t|")
    return expected if found[expected] or not found else found.most_common(1)[0][0]


HEAD_OF_TABLE = 1 << 16


def read_json(document: Document, want: Want) -> Reading:
    """JSON: what stands at the top, then the text itself."""
    text = text_of(document)
    if document.size > MOST_TEXT:
        return Reading(f"JSON{_beginning(document)}", text)
    value = _json(text)
    if isinstance(value, dict):
        keys = ", ".join(str(k)[:60] for k in list(value)[:40])
        about = f"JSON, an object with {counted(len(value), 'key')}: {keys}"
    elif isinstance(value, list):
        about = f"JSON, a list of {counted(len(value), 'entry', 'entries')}"
    else:
        about = "JSON, a single value"
    return Reading(about, text)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise UnreadableError("its JSON is nested too deeply") from error
    except ValueError as error:
        raise UnreadableError(f"it is not valid JSON: {error}") from error


def read_json_lines(document: Document, want: Want) -> Reading:
    """JSON lines: how many records, with which keys; names the first line that is none."""
    text = text_of(document)
    keys: dict[str, None] = {}
    records = 0
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (number == len(lines) and document.size > MOST_TEXT):
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UnreadableError(f"line {number} is not valid JSON") from error
        records += 1
        keys.update(dict.fromkeys(record) if isinstance(record, dict) and len(keys) < 40 else {})
    about = f"JSON lines, {counted(records, 'record')} with the keys {', '.join(str(k)[:60] for k in list(keys)[:40])}"
    return Reading(about + _beginning(document), text)


def read_notebook(document: Document, want: Want) -> Reading:
    """A Jupyter notebook: its cells in order with their printed results."""
    book = _json(text_of(document))
    cells = book.get("cells") if isinstance(book, dict) else None
    if not isinstance(cells, list) or not all(isinstance(c, dict) for c in cells):
        raise UnreadableError("it is not a notebook of version 4: it has no list of cells")
    kinds = Counter(str(c.get("cell_type"))[:20] for c in cells)
    parts = []
    for number, cell in enumerate(cells, start=1):
        parts.append(f"[{number}: {str(cell.get('cell_type'))[:20]}]\n{_joined(cell.get('source'))}")
        results = [r for o in cell.get("outputs") or [] if isinstance(o, dict) and (r := _result(o))]
        parts += [f"[{number}: result]\n{result}" for result in results]
    told = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    return Reading(f"notebook, {counted(len(cells), 'cell')}{f' ({told})' if told else ''}", "\n\n".join(parts))


def _joined(source: Any) -> str:
    return "".join(s for s in source if isinstance(s, str)) if isinstance(source, list) else str(source or "")


def _result(output: dict[str, Any]) -> str:
    data = output.get("data") if isinstance(output.get("data"), dict) else {}
    assert isinstance(data, dict)  # noqa: S101  (for the type checker)
    if "text" in output:
        return _joined(output["text"])
    if "text/plain" in data:
        return _joined(data["text/plain"]) + (" [and a picture]" if any("image/" in str(k) for k in data) else "")
    return f"{output.get('ename', 'error')}: {output.get('evalue', '')}" if "ename" in output else ""


def read_html(document: Document, want: Want) -> Reading:
    """The text of an HTML page as a reader sees it, with its links' and pictures' number."""
    text = text_of(document)
    tags = text.count("<")
    if not tags:
        raise UnreadableError("it has no HTML tags")
    title, shown = _page_text(text) if tags <= _DEEP_HTML else ("", re.sub(r"<[^<>]*>", " ", text))
    about = "HTML page" + (f' "{" ".join(title.split())[:200]}"' if title.strip() else "")
    return Reading(f"{about}, {counted(len(shown), 'character')} of text{_beginning(document)}", shown)


_BLOCKS = frozenset(
    {
        "address", "article", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption", "footer", "form", "h1", "h2",
        "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "tr", "ul",
    }
)  # fmt: skip
_UNSEEN = frozenset({"script", "style", "title"})


class _Visible:
    """What a reader sees of a page, and its title; fed by the parser."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.title: list[str] = []
        self.hidden = 0
        self.in_title = False

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.in_title = tag == "title"
        if tag in _UNSEEN:
            self.hidden += 1
        elif tag in ("td", "th"):
            self.parts.append("\t")
        elif tag in _BLOCKS:
            self.parts.append("\n")
        elif tag == "img" and attributes.get("alt"):
            self.parts.append(f"[picture: {attributes['alt']}]")

    def end(self, tag: str) -> None:
        if tag in _UNSEEN:
            self.hidden = max(0, self.hidden - 1)
            self.in_title = False
        elif tag in _BLOCKS:
            self.parts.append("\n")

    def data(self, text: str) -> None:
        if self.in_title:
            self.title.append(text)
        elif not self.hidden:
            self.parts.append(re.sub(r"\s+", " ", text))

    def close(self) -> None:
        pass


def _page_text(markup: str) -> tuple[str, str]:
    """(title, text as a reader sees it)"""
    from lxml import etree

    page = _Visible()
    parser = etree.HTMLParser(target=page, no_network=True)
    parser.feed(markup)
    parser.close()
    lines = (re.sub(r" *\t *", "\t", re.sub(r" +", " ", line)).strip() for line in "".join(page.parts).split("\n"))
    return "".join(page.title), "\n".join(line for line in lines if line)


def parsed_xml(data: bytes) -> Any:
    """The root of an XML document, without entities, DTD or network; UnreadableError where it is none."""
    from lxml import etree

    if re.search(rb"<!(ENTITY|DOCTYPE[^>\[]*\[)", data[:MOST_TEXT]):
        raise UnreadableError("it declares entities, which are not expanded here")
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise UnreadableError(f"it is not well-formed XML: {str(error)[:200]}") from error


def read_xml(document: Document, want: Want) -> Reading:
    """XML or an SVG drawing: its root and size, then the text itself."""
    document.file.seek(0)
    data = document.file.read(MOST_TEXT + 1)
    if len(data) > MOST_TEXT:
        raise UnreadableError(f"it has more than {MOST_TEXT >> 20} MiB, too many to be read here")
    root = parsed_xml(data)
    name = str(root.tag).rpartition("}")[2][:60]
    if document.kind != "svg":
        return Reading(f"XML, root element {name}", text_of(document))
    if name != "svg":
        raise UnreadableError(f"it is no drawing: its root element is {name}, not svg")
    size = " x ".join(str(root.get(side))[:20] for side in ("width", "height") if root.get(side))
    box = f"viewBox {str(root.get('viewBox'))[:60]}" if root.get("viewBox") else ""
    elements = sum(1 for _ in root.iter()) - 1
    return Reading(f"SVG drawing, {size or box or 'no size stated'}, {counted(elements, 'element')}", text_of(document))


def read_rtf(document: Document, want: Want) -> Reading:
    """The text of a rich text file."""
    from striprtf.striprtf import rtf_to_text

    text = rtf_to_text(text_of(document), errors="replace").strip()
    return Reading(f"rich text document, {counted(len(text), 'character')}", text)


def message_of(document: Document) -> EmailMessage:
    """An e-mail, parsed."""
    from email import message_from_bytes, policy

    document.file.seek(0)
    return message_from_bytes(document.file.read(64 << 20), policy=policy.default)


def read_mail(document: Document, want: Want) -> Reading:
    """An e-mail: who, when, about what, its text, and the names of what is attached."""
    message = message_of(document)
    head = [f"{name}: {' '.join(str(message[name]).split())[:500]}" for name in ("From", "To", "Date", "Subject")
            if message[name]]  # fmt: skip
    if not head:
        raise UnreadableError("it has no sender, date or subject, so it is no e-mail")
    body = message.get_body(("plain", "html"))
    said = body.get_content() if body is not None else ""
    if body is not None and body.get_content_subtype() == "html":
        said = _page_text(said)[1]
    names = [part.get_filename() or "(no name)" for part in message.iter_attachments()]
    told = f", {counted(len(names), 'file')} attached: {', '.join(n[:100] for n in names[:50])}" if names else ""
    return Reading(f"e-mail{told}", "\n".join([*head, "", said.strip()]))
