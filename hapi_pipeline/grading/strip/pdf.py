"""PDF, by pikepdf (qpdf): the objects that describe the document go, the pages stay byte for byte.

The library is native code and the file may be hostile, so it is only ever read by the confined process that opens
documents for agents (`agents/documents/worker.py`), within its bounds of time and memory.
"""

from __future__ import annotations

import io
import re
from typing import Any

from hapi_pipeline.grading.strip.base import DAMAGED, CannotStrip, Inside
from hapi_pipeline.grading.strip.pictures import jpeg

_GONE = ("/Metadata", "/PieceInfo", "/LastModified", "/CreatorInfo", "/SpiderInfo")
_MOST_OBJECTS = 500_000
_MOST_BYTES = 40 << 20  # what the answer of the process has room for


def pdf(data: bytes, inside: Inside) -> bytes:
    """Without Info, XMP, producer, ids, earlier revisions, private data of editors; notes lose their authors' names."""
    from hapi_pipeline.agents.documents import UnreadableError, stripped_pdf

    if len(data) > _MOST_BYTES:
        raise CannotStrip("too large")
    try:
        stripped, left = stripped_pdf(data)
    except UnreadableError as error:
        raise CannotStrip(str(error)) from error
    inside.left += left
    return stripped


def without_properties(data: bytes) -> tuple[bytes, list[str]]:
    """The same, in this process; what stays in files within it is named. Raises CannotStrip."""
    inside = Inside(lambda _name, picture, within: jpeg(picture, within), re.compile("(?!)"))
    try:
        return _without_properties(data, inside), inside.left
    except DAMAGED as error:
        raise CannotStrip("damaged") from error


def _without_properties(data: bytes, inside: Inside) -> bytes:
    import pikepdf

    try:
        with pikepdf.open(io.BytesIO(data)) as document:
            if document.is_encrypted:
                raise CannotStrip("encrypted")
            if len(document.objects) > _MOST_OBJECTS:
                raise CannotStrip("too large")
            _refuse_signed(document)
            if "/Info" in document.trailer:
                del document.trailer["/Info"]
            for item in document.objects:
                _neutral(item, inside)
            out = io.BytesIO()
            document.save(
                out,
                deterministic_id=True,
                compress_streams=False,
                stream_decode_level=pikepdf.StreamDecodeLevel.none,
                object_stream_mode=pikepdf.ObjectStreamMode.generate,
            )
            return out.getvalue()
    except pikepdf.PasswordError as error:
        raise CannotStrip("encrypted") from error
    except pikepdf.PdfError as error:
        raise CannotStrip("damaged") from error


def _refuse_signed(document: Any) -> None:
    form = document.Root.get("/AcroForm")
    if form is not None and int(form.get("/SigFlags", 0)) & 1:
        raise CannotStrip("digitally signed")


def _neutral(item: Any, inside: Inside) -> None:
    import pikepdf

    if not isinstance(item, pikepdf.Dictionary | pikepdf.Stream):
        return
    for key in _GONE:
        if key in item:
            del item[key]
    usage = item.get("/Usage")
    if isinstance(usage, pikepdf.Dictionary) and "/CreatorInfo" in usage:
        del usage["/CreatorInfo"]
    if "/Subtype" in item and "/Rect" in item and item.get("/Subtype") != "/Widget" and "/T" in item:
        item["/T"] = pikepdf.String("Author")  # of a note; of a form's field it is the name
    if isinstance(item, pikepdf.Stream):
        _stream(item, inside)


def _stream(item: Any, inside: Inside) -> None:
    """Photographs in a page bring their EXIF along; files that are attached bring all they have."""
    import pikepdf

    if item.get("/Type") == "/Metadata":
        item.write(b"")
    elif item.get("/Filter") == "/DCTDecode":
        before = item.read_raw_bytes()
        inside.take(len(before))
        after = inside.strip("picture.jpg", before)
        if after != before:
            item.write(after, filter=pikepdf.Name("/DCTDecode"), decode_parms=item.get("/DecodeParms"))
    elif item.get("/Type") == "/EmbeddedFile":
        inside.left.append("a file attached to it: not looked into")
