"""What a packet must not give away: who made a deliverable. Names and document properties go; content stays.

Only the file types that can be rewritten safely with the standard library are touched. A file that is
damaged, or not what its name says, is handed on as it is: a grader must see what the agent made.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from pathlib import PurePosixPath

_KNOWN_EXTENSIONS = (
    "aac ai avi bib bmp c cpp cs css csv dart doc docm docx drawio dxf eps epub fig flac geojson gif go "
    "gpx gz h htm html ico ics ini ipynb java jpeg jpg js json jsonl jsx key kml log m4a md mid mov mp3 "
    "mp4 numbers odg odp ods odt ogg otf pages parquet pdf php png pot potx ppt pptm pptx psd py r rb rs "
    "rst rtf scss sh sql srt stl svg swift tar tex tif tiff toml ts tsv tsx ttf txt vtt vue wav webm "
    "webp woff woff2 xhtml xls xlsm xlsx xml yaml yml zip"
)
_MAX_UNZIPPED = 100 * 1024 * 1024
_OFFICE = frozenset({"docx", "docm", "xlsx", "xlsm", "pptx", "pptm", "potx"})
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_REVEALING = frozenset({b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"tIME"})
_DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, KeyError, RuntimeError, EOFError, OSError)
_PROPERTIES = re.compile(r"docprops/(core|app|custom)\w*\.xml|.*\.(psmdcp)", re.IGNORECASE)
_CORE = ("cp:coreProperties", "xmlns:cp", "package/2006/metadata/core-properties")
_RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)\d", re.IGNORECASE)  # names that Windows keeps for itself
_ROOTS = {
    "core": _CORE,
    "psmdcp": _CORE,
    "app": ("Properties", "xmlns", "officeDocument/2006/extended-properties"),
    "custom": ("Properties", "xmlns", "officeDocument/2006/custom-properties"),
}


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


def without_maker(extension: str, data: bytes) -> bytes:
    """The deliverable without document properties (Office), text chunks (PNG) or notebook metadata."""
    try:
        if extension in _OFFICE:
            return _office(data)
        if extension == "png":
            return _png(data)
        if extension == "ipynb":
            return _notebook(data)
    except _DAMAGED:
        return data
    return data


def _office(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        entries = source.infolist()
        names = {entry.filename for entry in entries}
        if sum(entry.file_size for entry in entries) > _MAX_UNZIPPED or len(names) < len(entries):
            return data
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
            for entry in entries:
                match = _PROPERTIES.fullmatch(entry.filename)
                target.writestr(_dateless(entry), _blank_properties(match) if match else source.read(entry))
    return out.getvalue()


def _blank_properties(match: re.Match[str]) -> str:
    root, attribute, namespace = _ROOTS[(match[1] or match[2]).lower()]
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
    return f'{head}\n<{root} {attribute}="http://schemas.openxmlformats.org/{namespace}"/>'


def _dateless(entry: zipfile.ZipInfo) -> zipfile.ZipInfo:
    plain = zipfile.ZipInfo(entry.filename)
    plain.compress_type = zipfile.ZIP_DEFLATED
    return plain


def _png(data: bytes) -> bytes:
    if not data.startswith(_PNG_MAGIC):
        return data
    kept, at = [_PNG_MAGIC], len(_PNG_MAGIC)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        end = at + 12 + size
        if end > len(data):
            return data
        kind = data[at + 4 : at + 8]
        if kind not in _PNG_REVEALING:
            kept.append(data[at:end])
        at = end
        if kind == b"IEND":
            # what follows the end of the picture is not part of it and may say anything
            return b"".join(kept)
    return data


def _notebook(data: bytes) -> bytes:
    book = json.loads(data)
    if not isinstance(book, dict) or not isinstance(book.get("cells"), list):
        return data
    metadata = book.get("metadata")
    language = metadata.get("language_info") if isinstance(metadata, dict) else None
    name = language.get("name") if isinstance(language, dict) else None
    book["metadata"] = {"language_info": {"name": str(name)}} if name else {}
    for cell in book["cells"]:
        if isinstance(cell, dict):
            cell["metadata"] = {}
    return json.dumps(book, ensure_ascii=True, indent=1).encode()
