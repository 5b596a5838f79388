"""PDF: the text of its pages, and the pages as pictures where that is what a person would look at."""

from __future__ import annotations

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
from hapi_pipeline.agents.documents.pictures import LONGEST_SIDE, MOST_SENT, encoded

_MOST_PAGES = 50  # at a time
_MOST_TEXT = 200_000  # characters at a time
_MOST_ON_PAGE = 100_000  # characters


def read_pdf(document: Document, want: Want) -> Reading:
    """The text of the pages asked for; pages without any text layer as pictures, for a model that sees them."""
    opened = open_pdf(document)
    try:
        total = len(opened)
        if want.as_pictures:
            numbers = chosen(want.pages, total, "page", MOST_SENT)
            about = f"PDF, {counted(total, 'page')}, {_named(numbers)} as pictures"
            if not want.pictures:
                raise UnreadableError(f"{about}: this model cannot see pictures; read the text of the pages")
            return Reading(about, "", [_page(opened, n) for n in numbers])
        return _text(opened, chosen(want.pages, total, "page", _MOST_PAGES), want)
    finally:
        opened.close()


def _text(opened: Any, numbers: list[int], want: Want) -> Reading:
    parts: list[str] = []
    bare: list[int] = []
    shown: list[int] = []
    room = _MOST_TEXT
    for number in numbers:
        if room <= 0:
            break
        text = _page_text(opened, number)
        shown.append(number)
        if not text:
            bare.append(number)
        parts.append(f"## Page {number + 1}\n{text or '[no text on this page]'}")
        room -= len(text)
    total = len(opened)
    about = f"PDF, {counted(total, 'page')}, {_named(shown)}"
    if len(shown) < total:
        about += "; ask for others with pages"
    if not bare:
        return Reading(about, "\n\n".join(parts))
    scanned = f"{about}; no text layer on {_named(bare)}: scanned, or drawn"
    if not want.pictures:
        note = "What such pages show cannot be read here, because this model cannot see pictures."
        return Reading(scanned, note if len(bare) == len(shown) else "\n\n".join([*parts, note]))
    seen = bare[:MOST_SENT]
    scanned += f"; {_named(seen)} follow as pictures" if len(seen) > 1 else f"; {_named(seen)} follows as a picture"
    text = "" if len(bare) == len(shown) else "\n\n".join(parts)
    return Reading(scanned, text, [_page(opened, n) for n in seen])


def _named(numbers: list[int]) -> str:
    return f"page{'s' if len(numbers) != 1 else ''} {listed(numbers)}"


def open_pdf(document: Document) -> Any:
    """The opened PDF, which has at least one page that can be loaded."""
    import pypdfium2

    document.file.seek(0)
    try:
        opened = pypdfium2.PdfDocument(document.file.read())
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            raise UnreadableError("it is protected by a password, so it cannot be opened") from error
        raise UnreadableError("this PDF is damaged and cannot be opened") from error
    if not len(opened):
        raise UnreadableError("this PDF has no pages")
    try:
        opened[0].close()
    except pypdfium2.PdfiumError as error:
        raise UnreadableError("this PDF is damaged: its first page cannot be opened") from error
    return opened


def _page_text(opened: Any, number: int) -> str:
    import pypdfium2

    try:
        page = opened[number]
        layer = page.get_textpage()
        text = str(layer.get_text_range(0, min(layer.count_chars(), _MOST_ON_PAGE)))
        layer.close()
        page.close()
    except pypdfium2.PdfiumError:
        return "[this page is damaged]"
    return text.replace("\r\n", "\n").replace("\ufffe", "").strip()


def _page(opened: Any, number: int) -> Picture:
    """One page, drawn as a viewer shows it."""
    import pypdfium2

    try:
        page = opened[number]
        longest = max(*page.get_size(), 1.0)  # in points, 72 an inch
        image = page.render(scale=min(LONGEST_SIDE / longest, 4.0)).to_pil()
        page.close()
    except pypdfium2.PdfiumError as error:
        raise UnreadableError(f"page {number + 1} of this PDF is damaged") from error
    return encoded(image, f"page {number + 1}")
