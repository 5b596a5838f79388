"""What a packet must not give away: who made a deliverable. Names and document properties go; content stays.

A file that cannot be stripped (damaged, encrypted, signed, of a type that nobody here knows) is handed on as it is, for
a grader must see what the agent made; the operator is told.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from hapi_pipeline.grading.strip import archives, markup, office, pdf, pictures, plain
from hapi_pipeline.grading.strip.base import DAMAGED, CannotStrip, Inside
from hapi_pipeline.grading.text import words

_KNOWN_EXTENSIONS = (
    "aac ai avi bib bmp c cpp cs css csv dart doc docm docx drawio dxf eps epub fig flac geojson gif go "
    "gpx gz h htm html ico ics ini ipynb java jpeg jpg js json jsonl jsx key kml log m4a md mid mov mp3 "
    "mp4 numbers odg odp ods odt ogg otf pages parquet pdf php png pot potx ppt pptm pptx psd py r rb rs "
    "rst rtf scss sh sql srt stl svg swift tar tex tif tiff toml ts tsv tsx ttf txt vtt vue wav webm "
    "webp woff woff2 xhtml xls xlsm xlsx xml yaml yml zip"
)
_RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)\d", re.IGNORECASE)  # names that Windows keeps for itself

Stripper = Callable[[bytes, Inside], bytes]

_STRIPPERS: dict[str, Stripper] = {
    **dict.fromkeys(words("docx docm dotx xlsx xlsm xltx pptx pptm potx"), office.ooxml),
    **dict.fromkeys(words("odt ods odp odg"), office.opendocument),
    **dict.fromkeys(words("html htm xhtml"), markup.html),
    **dict.fromkeys(words("jpg jpeg"), pictures.jpeg),
    **dict.fromkeys(words("tif tiff"), pictures.tiff),
    "pdf": pdf.pdf,
    "png": pictures.png,
    "gif": pictures.gif,
    "webp": pictures.webp,
    "wav": pictures.wav,
    "svg": markup.svg,
    "ipynb": plain.notebook,
    "rtf": plain.rtf,
    "gltf": plain.gltf,
    "glb": plain.glb,
    "stl": plain.stl,
    "dxf": plain.dxf,
    "drawio": plain.drawio,
    "zip": archives.archive,
    "tar": archives.tar,
    "gz": archives.gzipped,
}
# text in which nothing is hidden from a reader, and bitmaps without room for properties
_NOTHING_TO_STRIP = words(
    "bib bmp c cpp cs css csv dart geojson go h ini java js json jsonl jsx log md php py r rb rs rst scss sh sql "
    "srt swift tex toml ts tsv tsx txt vtt vue xml yaml yml"
)
_BY_CONTENT: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "pdf"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF8", "gif"),
    (b"PK\x03\x04", "zip"),
    (b"{\\rtf", "rtf"),
    (b"\x1f\x8b", "gz"),
)
_OTHER_NAME = "not what its name says"


@dataclass(frozen=True)
class Blinded:
    """A deliverable as graders get it, and why properties stay in it or in files inside it, if any do."""

    data: bytes
    left: tuple[str, ...] = ()


def blinded(extension: str, data: bytes, maker: re.Pattern[str]) -> Blinded:
    """The deliverable without document properties; what a reader sees, hears or runs is never changed.

    `maker` finds names that a comment in a page's source must not hold.
    """
    inside = Inside(_strip_member, maker)
    try:
        return Blinded(_strip(extension, data, inside), tuple(inside.left))
    except CannotStrip as reason:
        return Blinded(data, (str(reason),))


def _strip(extension: str, data: bytes, inside: Inside) -> bytes:
    try:
        return _by_type(extension, data, inside)
    except DAMAGED as error:
        raise CannotStrip("damaged") from error


def _by_type(extension: str, data: bytes, inside: Inside) -> bytes:
    """By the type that the name says, else by what is in the file."""
    real = _kind(data)
    stripper = _STRIPPERS.get(real if extension == "zip" and real else extension)  # an Office file is a zip file too
    if stripper is not None:
        try:
            return stripper(data, inside)
        except CannotStrip as reason:
            if str(reason) != _OTHER_NAME:
                raise
    if real is not None and real != extension:
        return _STRIPPERS[real](data, inside)
    if stripper is not None:
        raise CannotStrip(_OTHER_NAME)
    if extension in _NOTHING_TO_STRIP or not data:
        return data
    raise CannotStrip("a type whose properties cannot be taken out")


def _kind(data: bytes) -> str | None:
    kind = next((kind for magic, kind in _BY_CONTENT if data.startswith(magic)), None)
    if kind != "zip":
        return kind
    if data[30:64].startswith(b"mimetypeapplication/vnd.oasis."):
        return "odt"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return "docx" if "[Content_Types].xml" in archive.namelist() else kind
    except DAMAGED:
        return kind


def _strip_member(name: str, data: bytes, inside: Inside) -> bytes:
    return _strip(safe_extension(name, data), data, inside)


def safe_extension(name: str, data: bytes) -> str:
    """The extension under which a deliverable is handed on, without the dot, from a fixed list.

    A free extension could name the model or be run by a double click; what is not on the list becomes txt
    when it is text, else bin.
    """
    extension = PurePosixPath(name.replace("\\", "/")).suffix.lower().removeprefix(".")
    if extension in _KNOWN_EXTENSIONS.split():
        return extension
    sample = data[:4096]
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(sample) - 4:
            return "bin"
    return "bin" if b"\0" in sample or not sample else "txt"


def safe_name(name: str, taken: set[str], fallback: str) -> str:
    """A client's file name made harmless: no path, leading dot, control or reserved characters; unique."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    base = re.sub(r"[^\w .()+=@-]", "_", base.encode("utf-8", "replace").decode("utf-8")).strip(" .")
    stem, dot, extension = base.rpartition(".")
    base = f"{stem[:80]}{dot}{extension[:10]}" if dot else base[:80]
    if not base or _RESERVED.fullmatch(base.partition(".")[0]):
        base = f"{fallback}_{base}".rstrip("_")
    chosen, number = base, 1
    while chosen.casefold() in taken:
        number += 1
        chosen = f"{number}_{base}"
    taken.add(chosen.casefold())
    return chosen
