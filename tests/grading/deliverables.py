"""One real file of each type of deliverable, made by the library that agents use, with its maker in every property."""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import tarfile
import wave
import zipfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

MAKER = "QuillMind"
SEEN = "Kept text for the client"  # the content, which must come out again

XMP = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><author>{MAKER}</author></x:xmpmeta>'.encode()


def rewritten(data: bytes, change: Callable[[str, bytes], bytes], more: dict[str, bytes] | None = None) -> bytes:
    """A zip file with changed members, further ones, and the maker in its comment and extra fields."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        target.comment = MAKER.encode()
        for entry in source.infolist():
            entry.comment = MAKER.encode()
            target.writestr(entry, change(entry.filename, source.read(entry)))
        for name, content in (more or {}).items():
            target.writestr(name, content)
    return out.getvalue()


def _core(properties: Any) -> None:
    for name in ("author", "last_modified_by", "comments", "keywords", "subject", "title", "category"):
        setattr(properties, name, f"by {MAKER}")
    properties.last_printed = datetime(2026, 1, 2, tzinfo=UTC)


def _app(name: str, data: bytes) -> bytes:
    inner = f"<Company>{MAKER}</Company><Template>{MAKER}.dotm</Template><Manager>{MAKER}</Manager></Properties>"
    return data.replace(b"</Properties>", inner.encode()) if name == "docProps/app.xml" else data


def docx() -> bytes:
    import docx as library
    from docx.oxml import parse_xml

    document = library.Document()
    paragraph = document.add_paragraph(SEEN)
    document.add_comment(paragraph.runs, text="a note", author=MAKER, initials="QuillMind")
    namespace = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    paragraph._p.append(
        parse_xml(f'<w:ins {namespace} w:id="9" w:author="{MAKER}"><w:r><w:t>added</w:t></w:r></w:ins>')
    )
    document.add_picture(io.BytesIO(png()))
    _core(document.core_properties)
    out = io.BytesIO()
    document.save(out)
    settings = f'<w:docVars><w:docVar w:name="by" w:val="{MAKER}"/></w:docVars></w:settings>'.encode()

    def change(name: str, data: bytes) -> bytes:
        if name == "word/settings.xml":
            return data.replace(b"</w:settings>", settings)
        if name == "word/styles.xml":
            return data.replace(b"?>", f"?><!-- {MAKER} -->".encode(), 1)
        return _app(name, data)

    return rewritten(out.getvalue(), change, {"customXml/item9.xml": f"<by>{MAKER}</by>".encode()})


def xlsx() -> bytes:
    import openpyxl
    from openpyxl.comments import Comment

    book = openpyxl.Workbook()
    assert book.active is not None
    book.active["A1"] = SEEN
    book.active["A1"].comment = Comment("a note", MAKER)
    book.properties.creator = book.properties.lastModifiedBy = book.properties.description = MAKER
    out = io.BytesIO()
    book.save(out)
    path = f'<x15ac:absPath xmlns:x15ac="urn:x" url="C:\\{MAKER}\\"/></workbook>'.encode()

    def change(name: str, data: bytes) -> bytes:
        return data.replace(b"</workbook>", path) if name == "xl/workbook.xml" else _app(name, data)

    return rewritten(out.getvalue(), change)


def pptx() -> bytes:
    from pptx import Presentation
    from pptx.util import Inches

    show = Presentation()
    slide = show.slides.add_slide(show.slide_layouts[5])
    slide.shapes.title.text = SEEN
    slide.shapes.add_picture(io.BytesIO(jpeg()), Inches(1), Inches(2))
    _core(show.core_properties)
    out = io.BytesIO()
    show.save(out)
    authors = f'<p:cmAuthorLst xmlns:p="urn:p"><p:cmAuthor id="0" name="{MAKER}" initials="{MAKER}"/></p:cmAuthorLst>'
    return rewritten(out.getvalue(), _app, {"ppt/commentAuthors.xml": authors.encode()})


def odt() -> bytes:
    office = (
        'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:meta="urn:oasis:names:tc:opendocument:xmlns:meta:1.0" '
        'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"'
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr(
            "content.xml",
            f"<office:document-content {office}><office:body><office:text><text:p>{SEEN}<office:annotation>"
            f"<dc:creator>{MAKER}</dc:creator><text:p>a note</text:p></office:annotation></text:p></office:text>"
            "</office:body></office:document-content>",
        )
        archive.writestr(
            "meta.xml",
            f"<office:document-meta {office}><office:meta><meta:generator>{MAKER}</meta:generator>"
            f"<dc:creator>{MAKER}</dc:creator></office:meta></office:document-meta>",
        )
        archive.writestr("Thumbnails/thumbnail.png", png())
    return out.getvalue()


def pdf() -> bytes:
    import pikepdf
    from reportlab.lib.utils import ImageReader  # type: ignore[import-untyped]
    from reportlab.pdfgen import canvas  # type: ignore[import-untyped]

    out = io.BytesIO()
    page = canvas.Canvas(out)
    for set_one in (page.setAuthor, page.setCreator, page.setProducer, page.setSubject, page.setTitle):
        set_one(MAKER)
    page.drawString(72, 700, SEEN)
    page.drawImage(ImageReader(io.BytesIO(jpeg())), 72, 500)
    page.textAnnotation("a note", Rect=[0, 0, 9, 9])
    page.save()
    with pikepdf.open(out) as document:
        document.Root.Metadata = pikepdf.Stream(document, XMP, {"/Type": pikepdf.Name.Metadata})
        document.pages[0].PieceInfo = pikepdf.Dictionary(by=MAKER)
        for note in document.pages[0].Annots:
            note.T = MAKER
        document.save(out := io.BytesIO())
    # an earlier revision, as an editor that appends leaves it
    return out.getvalue() + f"\n% {MAKER}\n".encode()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def picture() -> Any:
    from PIL import Image

    made = Image.new("RGB", (24, 16), "#3b7dd8")
    made.putpixel((3, 4), (255, 0, 0))
    return made


def exif(turned: int = 6) -> Any:
    from PIL import Image

    tags = Image.Exif()
    for tag in (0x010E, 0x010F, 0x0131, 0x013B, 0x8298):
        tags[tag] = MAKER
    tags[0x0112] = turned
    tags.get_ifd(0x8769)[0x9286] = MAKER.encode()
    return tags


def png() -> bytes:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Software", MAKER)
    info.add_text("Comment", f"{MAKER} " * 40, zip=True)
    info.add_itxt("Author", f"{MAKER} " * 40, zip=True)
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    out = io.BytesIO()
    picture().save(out, "png", pnginfo=info, exif=exif())
    whole = out.getvalue()
    return whole[:-12] + chunk(b"caBX", MAKER.encode()) + whole[-12:] + MAKER.encode()


def jpeg() -> bytes:
    out = io.BytesIO()
    picture().save(out, "jpeg", exif=exif(), comment=MAKER, xmp=XMP, progressive=True)
    return out.getvalue() + MAKER.encode()


def gif() -> bytes:
    out = io.BytesIO()
    picture().save(out, "gif", comment=MAKER, save_all=True, append_images=[picture().rotate(180)], loop=0)
    whole = out.getvalue()
    return whole[:-1] + b"\x21\xff\x0bXMP DataXMP" + bytes([len(MAKER)]) + MAKER.encode() + b"\0;"


def webp() -> bytes:
    out = io.BytesIO()
    picture().save(out, "webp", exif=exif(), xmp=XMP, lossless=True)
    return out.getvalue()


def tiff() -> bytes:
    out = io.BytesIO()
    tags = exif(1)
    tags[700] = XMP
    picture().save(out, "tiff", exif=tags, software=MAKER, artist=MAKER, description=MAKER)
    return out.getvalue()


def svg() -> bytes:
    return (
        f'<?xml version="1.0"?><!-- {MAKER} --><svg xmlns="http://www.w3.org/2000/svg" '
        'xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape" '
        'xmlns:sodipodi="http://sodipodi.sourceforge.net/DTD/sodipodi-0.dtd" '
        f'inkscape:version="{MAKER}" sodipodi:docname="{MAKER}.svg"><metadata><by>{MAKER}</by></metadata>'
        f'<sodipodi:namedview by="{MAKER}"/><g inkscape:groupmode="layer" inkscape:label="Layer 1">'
        f"<text>{SEEN}</text></g></svg>"
    ).encode()


def html() -> bytes:
    return (
        f'<!doctype html><!-- {MAKER} --><html><head><meta name="generator" content="{MAKER} > 1">'
        f"<META content='{MAKER}' NAME=author><meta charset=utf-8><!-- Generated by {MAKER} --></head>"
        f"<body><p>{SEEN}</p><!-- navigation --></body></html>"
    ).encode()


def ipynb() -> bytes:
    picture_text = base64.b64encode(png()).decode()
    output = {"output_type": "display_data", "data": {"image/png": picture_text}, "metadata": {"by": MAKER}}
    cell = {"cell_type": "code", "metadata": {"by": MAKER}, "source": [SEEN], "outputs": [output]}
    metadata = {"authors": [MAKER], "kernelspec": {"name": MAKER}, "language_info": {"name": "python"}}
    return json.dumps({"cells": [cell], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}).encode()


def rtf() -> bytes:
    info = r"{\info{\author MAKER}{\company MAKER \} }}{\*\generator MAKER;}".replace("MAKER", MAKER)
    return rf"{{\rtf1\ansi{info}\pard {SEEN}\par}}".encode()


def gltf() -> bytes:
    return json.dumps({"asset": {"version": "2.0", "generator": MAKER}, "scenes": [{"name": SEEN}]}).encode()


def glb() -> bytes:
    scene = gltf() + b" " * (-len(gltf()) % 4)
    body = struct.pack("<I4s", len(scene), b"JSON") + scene + struct.pack("<I4s", 4, b"BIN\0") + b"abcd"
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def stl() -> bytes:
    return MAKER.encode().ljust(80, b" ") + struct.pack("<I", 1) + bytes(range(50))


def dxf() -> bytes:
    from ezdxf.filemanagement import new

    drawing = new(setup=False)
    drawing.header.custom_vars.append("Author", MAKER)
    drawing.header["$LASTSAVEDBY"] = MAKER
    drawing.modelspace().add_text(SEEN)
    out = io.StringIO()
    drawing.write(out)
    return f"999\n{MAKER}\n{out.getvalue()}".encode()


def drawio() -> bytes:
    return f'<mxfile host="{MAKER}" agent="{MAKER}" pages="1"><diagram>{SEEN}</diagram></mxfile>'.encode()


def wav() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setparams((1, 1, 8000, 0, "NONE", ""))
        sound.writeframes(b"sound" * 10)
    tag = b"INFOIART" + struct.pack("<I", 10) + MAKER.encode() + b"\0"
    whole = out.getvalue() + b"LIST" + struct.pack("<I", len(tag)) + tag
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


def zip_of(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.comment = MAKER.encode()
        for name, data in members.items():
            entry = zipfile.ZipInfo(name.replace("_", ".", 1))
            entry.comment = MAKER.encode()
            entry.extra = struct.pack("<HH", 0xCAFE, len(MAKER)) + MAKER.encode()
            archive.writestr(entry, data)
    return out.getvalue()


def nested() -> bytes:
    return zip_of(a_docx=docx(), b_png=png(), c_zip=zip_of(d_pdf=pdf()), e_txt=SEEN.encode())


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("folder/picture.png")
        entry.uname = entry.gname = MAKER
        entry.pax_headers = {"comment": MAKER}
        entry.size = len(png())
        archive.addfile(entry, io.BytesIO(png()))
    return out.getvalue()


def gz() -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(MAKER, "wb", fileobj=out) as packed:
        packed.write(tar())
    return out.getvalue()


ALL: dict[str, Callable[[], bytes]] = {
    **{made.__name__: made for made in (docx, xlsx, pptx, odt, pdf, png, jpeg, gif, webp, tiff, svg, html, ipynb, rtf)},
    **{made.__name__: made for made in (gltf, glb, stl, dxf, drawio, wav, tar, gz)},
    "zip": nested,
}
WITH_TEXT = ("docx", "xlsx", "pptx", "odt", "svg", "html", "ipynb", "rtf", "gltf", "glb", "dxf", "drawio", "zip")
PIXELS = ("png", "jpeg", "gif", "webp", "tiff")


def everything(data: bytes) -> bytes:
    """The bytes, and those of all that is packed in them: zip members, gzip, PDF streams, PNG text, base64."""
    found = [data]
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found += [entry.filename.encode() + everything(archive.read(entry)) for entry in archive.infolist()]
    if data.startswith(b"\x1f\x8b"):
        found.append(everything(gzip.decompress(data)))
    if data.startswith(b"%PDF"):
        found.append(_of_pdf(data))
    if data.startswith(b"\x89PNG"):
        found += _inflated(data)
    if data.startswith(b"{") and b"image/png" in data:
        book = json.loads(data)
        found += [everything(base64.b64decode(o["data"]["image/png"])) for c in book["cells"] for o in c["outputs"]]
    joined = b"\n".join(found)
    return joined + b"\n" + joined.replace(b"\0", b"")  # UTF-16 too


def _of_pdf(data: bytes) -> bytes:
    import pikepdf

    with pikepdf.open(io.BytesIO(data)) as document:
        parts = []
        for item in document.objects:
            parts.append(item.unparse(resolved=True) if not isinstance(item, pikepdf.Stream) else b"")
            if isinstance(item, pikepdf.Stream):
                parts.append(item.read_raw_bytes())
                if "/DCTDecode" not in str(item.get("/Filter")):
                    parts.append(item.read_bytes())
        return b"\n".join([*parts, document.trailer.unparse()])


def _inflated(data: bytes) -> list[bytes]:
    found, at = [], 8
    while at + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        if kind == b"zTXt":
            found.append(zlib.decompress(body.partition(b"\0")[2][1:]))
        elif kind == b"iTXt" and body.partition(b"\0")[2][:1] == b"\1":
            found.append(zlib.decompress(body.partition(b"\0")[2][2:].split(b"\0", 2)[2]))
        at += 12 + size
    return found
