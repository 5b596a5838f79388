"""Office documents: text, tables and notes of docx, pptx, odt and odp, in the order in which people see them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from hapi_pipeline.agents.documents.model import (
    Document,
    Picture,
    Reading,
    UnreadableError,
    Want,
    chosen,
    counted,
    listed,
)
from hapi_pipeline.agents.documents.pictures import MOST_SENT, scaled
from hapi_pipeline.agents.documents.plain import parsed_xml
from hapi_pipeline.agents.documents.zips import checked_office_zip, unpacked

MOST_XML = 32 << 20  # bytes; a tree of it takes about twenty times as much memory
_MOST_NESTED = 5  # tables in tables
_MOST_SLIDES = 200
_MEDIA = ("word/media/", "ppt/media/", "xl/media/", "Pictures/")
_SEEN = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff")


def read_docx(document: Document, want: Want) -> Reading:
    """A Word document: headings, paragraphs, lists and tables in their order, then headers and footers."""
    import docx

    checked_office_zip(document.file, MOST_XML)
    opened = docx.Document(document.file)
    tables = len(opened.tables)
    lines = list(_blocks(opened, 0))
    edges = dict.fromkeys(
        f"[{where}] {text}"
        for section in list(opened.sections)[:20]
        for where, part in (("header", section.header), ("footer", section.footer))
        if not part.is_linked_to_previous and (text := " ".join(p.text for p in part.paragraphs).strip())
    )
    notes = [f"[comment by {c.author}] {c.text}" for c in opened.comments]
    pictures = _media(document.file)
    about = ", ".join(
        [f"Word document, {counted(sum(1 for x in lines if x), 'line')} of text"]
        + ([counted(tables, "table")] if tables else [])
        + ([counted(len(pictures), "picture")] if pictures else [])
        + ([counted(len(notes), "comment")] if notes else [])
    )
    return _with_pictures(Reading(about, "\n".join([*lines, *edges, *notes]).strip()), document, want, pictures)


def _blocks(part: Any, depth: int) -> Iterator[str]:
    from docx.table import Table

    for block in part.iter_inner_content():
        if isinstance(block, Table):
            yield ""
            yield from _table(block, depth)
            yield ""
        else:
            yield _mark(str(getattr(block.style, "name", None) or "")) + block.text


def _mark(style: str) -> str:
    if style.startswith("Heading") and style[-1:].isdecimal():
        return "#" * int(style[-1:]) + " "
    return "# " if style == "Title" else "- " if style.startswith("List") else ""


def _table(table: Any, depth: int) -> Iterator[str]:
    for row in table.rows:
        cells, before = [], None
        for cell in row.cells:
            if cell._tc is before:  # a merged cell is given once for each column that it spans
                continue
            before = cell._tc
            inner = _blocks(cell, depth + 1) if depth < _MOST_NESTED else iter(["[a table]"])
            cells.append(" / ".join(filter(None, (" ".join(x.split()) for x in inner))))
        yield "| " + " | ".join(cells) + " |"


def read_pptx(document: Document, want: Want) -> Reading:
    """A presentation: for each slide its texts, tables and notes."""
    import pptx

    checked_office_zip(document.file, MOST_XML)
    opened = pptx.Presentation(document.file)
    slides = list(opened.slides)
    numbers = chosen(want.pages if not want.as_pictures else None, len(slides), "slide", _MOST_SLIDES)
    parts = []
    for number in numbers:
        slide = slides[number]
        lines = [f"## Slide {number + 1}", *_shapes(slide.shapes, 0)]
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            note = slide.notes_slide.notes_text_frame.text.strip()
            lines += [f"[notes] {note}"] if note else []
        parts.append("\n".join(lines))
    pictures = _media(document.file)
    about = f"presentation, {counted(len(slides), 'slide')}" + (
        f", slides {listed(numbers)}" if len(numbers) < len(slides) else ""
    )
    about += f", {counted(len(pictures), 'picture')}" if pictures else ""
    return _with_pictures(Reading(about, "\n\n".join(parts)), document, want, pictures)


def _shapes(shapes: Any, depth: int) -> Iterator[str]:
    for shape in shapes:
        if shape.has_text_frame and shape.text_frame.text.strip():
            yield shape.text_frame.text.strip().replace("\v", "\n")
        elif getattr(shape, "has_table", False):
            for row in shape.table.rows:
                yield "| " + " | ".join(" ".join(cell.text.split()) for cell in row.cells) + " |"
        elif hasattr(shape, "shapes") and depth < _MOST_NESTED:
            yield from _shapes(shape.shapes, depth + 1)
        elif hasattr(shape, "image"):
            yield f"[picture: {' '.join(shape.name.split())[:100]}]"
        elif getattr(shape, "has_chart", False):
            yield "[a chart]"


def read_open_document(document: Document, want: Want) -> Reading:
    """An OpenDocument text or presentation: its paragraphs, tables a row a line."""
    checked_office_zip(document.file, MOST_XML)
    with zipfile.ZipFile(document.file) as archive:
        if "content.xml" not in archive.namelist():
            raise UnreadableError("it is damaged and cannot be opened")
        root = parsed_xml(unpacked(archive, archive.getinfo("content.xml"), MOST_XML))
    lines = []
    for element in root.iter("{*}p", "{*}h"):
        if isinstance(element.tag, str) and "opendocument" in element.tag:
            lines.append("".join(element.itertext()).strip())
    kind = "text document" if document.kind == "odt" else "presentation"
    about = f"OpenDocument {kind}, {counted(sum(1 for x in lines if x), 'line')} of text"
    return _with_pictures(Reading(about, "\n".join(lines)), document, want, _media(document.file))


def _media(file: Any) -> list[str]:
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        return [n for n in archive.namelist() if n.startswith(_MEDIA) and n.lower().endswith(_SEEN)]


def _with_pictures(reading: Reading, document: Document, want: Want, names: list[str]) -> Reading:
    """The reading, with the document's pictures where they are asked for and can be seen."""
    if not want.as_pictures or not want.pictures:
        return reading
    if not names:
        raise UnreadableError(f"{reading.about}; it has no pictures that can be shown")
    shown: list[Picture] = []
    with zipfile.ZipFile(document.file) as archive:
        for number in chosen(want.pages, len(names), "picture", MOST_SENT):
            data = unpacked(archive, archive.getinfo(names[number]), 32 << 20)
            shown.append(scaled(io.BytesIO(data), f"picture {number + 1} of {len(names)} ({names[number]})")[1])
    return Reading(reading.about, "", shown)
