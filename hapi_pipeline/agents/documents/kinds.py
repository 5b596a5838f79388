"""What a file is: told by its first bytes and by the parts of a zip file, for texts also by the name."""

from __future__ import annotations

import codecs
import mimetypes
import re
import zipfile
import zlib
from typing import BinaryIO

HEAD = 1 << 16
_OFFICE = "application/vnd.openxmlformats-officedocument."
_OPEN = "application/vnd.oasis.opendocument."
MEDIA_TYPES = {
    "pdf": "application/pdf",
    "png": "image/png",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
    "docx": _OFFICE + "wordprocessingml.document",
    "xlsx": _OFFICE + "spreadsheetml.sheet",
    "pptx": _OFFICE + "presentationml.presentation",
    "xlsb": "application/vnd.ms-excel.sheet.binary.macroEnabled.12",
    "ods": _OPEN + "spreadsheet",
    "odt": _OPEN + "text",
    "odp": _OPEN + "presentation",
    "zip": "application/zip",
    "gz": "application/gzip",
    "tar": "application/x-tar",
    "bz2": "application/x-bzip2",
    "xz": "application/x-xz",
    "7z": "application/x-7z-compressed",
    "rar": "application/vnd.rar",
    "rtf": "application/rtf",
    "ole": "application/x-ole-storage",
    "html": "text/html",
    "svg": "image/svg+xml",
    "xml": "application/xml",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "ipynb": "application/x-ipynb+json",
    "eml": "message/rfc822",
    "py": "text/x-python",
    "text": "text/plain",
}
PICTURES = frozenset({"png", "jpeg", "gif", "webp", "bmp", "tiff"})
_BY_SUFFIX = {  # kinds that a file's name claims, and the name of the kind for people
    "pdf": "pdf", "png": "png", "jpg": "jpeg", "jpeg": "jpeg", "gif": "gif", "webp": "webp", "bmp": "bmp",
    "tif": "tiff", "tiff": "tiff", "docx": "docx", "docm": "docx", "xlsx": "xlsx", "xlsm": "xlsx", "xlsb": "xlsb",
    "pptx": "pptx", "pptm": "pptx", "ods": "ods", "odt": "odt", "odp": "odp", "zip": "zip", "gz": "gz", "tgz": "gz",
    "tar": "tar", "bz2": "bz2", "xz": "xz", "7z": "7z", "rar": "rar", "rtf": "rtf", "xls": "ole", "doc": "ole",
    "ppt": "ole", "msg": "ole", "html": "html", "htm": "html", "xhtml": "html", "svg": "svg", "xml": "xml",
    "csv": "csv", "tsv": "tsv", "json": "json", "jsonl": "jsonl", "ndjson": "jsonl", "ipynb": "ipynb", "eml": "eml",
    "py": "py", "txt": "text", "md": "text", "markdown": "text", "log": "text", "rst": "text", "tex": "text",
}  # fmt: skip
TEXTS = frozenset({"html", "svg", "xml", "csv", "tsv", "json", "jsonl", "ipynb", "eml", "py", "text"})
_ZIP_PARTS = (
    ("word/document.xml", "docx"),
    ("xl/workbook.xml", "xlsx"),
    ("xl/workbook.bin", "xlsb"),
    ("ppt/presentation.xml", "pptx"),
)
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"\x1f\x8b", "gz"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"{\\rtf", "rtf"),
)
_TYPES = mimetypes.MimeTypes()  # the standard library's own list: the machine's would make results differ
for _type, _suffix in (
    ("text/markdown", ".md"),
    ("application/yaml", ".yaml"),
    ("application/yaml", ".yml"),
    ("application/toml", ".toml"),
    ("text/plain", ".ts"),
    ("model/stl", ".stl"),
    ("model/step", ".step"),
    ("model/step", ".stp"),
    ("model/gltf-binary", ".glb"),
    ("image/vnd.dxf", ".dxf"),
    ("image/vnd.dwg", ".dwg"),
):
    _TYPES.add_type(_type, _suffix)


def suffix_of(name: str) -> str:
    """The lower-case suffix of a file name, without its dot."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return suffix.lower() if dot and stem else ""


def claimed(name: str) -> str | None:
    """The kind that a file's name says it is; None where the name says nothing to us."""
    return _BY_SUFFIX.get(suffix_of(name))


def kind_of(file: BinaryIO, name: str) -> str:
    """The kind of a file's content: a key of MEDIA_TYPES, `empty`, or `binary` for what is none of them."""
    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    if not head:
        return "empty"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(file)
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith(b"BM") and int.from_bytes(head[2:6], "little") > 25 and b"\0" in head[:64]:
        return "bmp"
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head[257:262] == b"ustar":
        return "tar"
    return _text_kind(head, name) if is_text(head) else "binary"


def _zip_kind(file: BinaryIO) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
            for part, kind in _ZIP_PARTS:
                if part in names:
                    return kind
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
                stated = archive.read("mimetype").decode("ascii", "replace").strip()
                return next((k for k in ("ods", "odt", "odp") if MEDIA_TYPES[k] == stated), "zip")
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, EOFError, RuntimeError, OSError):
        pass  # whoever opens it will say so
    finally:
        file.seek(0)
    return "zip"


def is_text(head: bytes) -> bool:
    """Whether the first bytes of a file are text: UTF-16 with its mark, or without the control characters of others."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    return not re.search(rb"[\x00-\x08\x0e-\x19\x1c-\x1f]", head)


def _text_kind(head: bytes, name: str) -> str:
    """What kind of text it is: by its name, else by how it begins."""
    said = claimed(name)
    if said is not None and said in TEXTS:
        return said
    start = head[:1024].decode("utf-8", "replace").lstrip("\ufeff \t\r\n").lower()
    if re.match(r"<!doctype html|<html", start):
        return "html"
    if re.match(r"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<svg[\s>]", start, re.DOTALL):
        return "svg"
    return "text"


def media_type(kind: str, name: str) -> str:
    """The media type of a file of that kind; where only the name can tell, by the name."""
    by_name = _TYPES.guess_type(name)[0]
    if kind == "binary":
        # a name that claims a kind which we know by its content, and which this is not, says nothing
        return "application/octet-stream" if claimed(name) else by_name or "application/octet-stream"
    if kind in ("text", "empty"):
        return by_name if by_name and (claimed(name) in ("text", None) or kind == "empty") else "text/plain"
    if kind == "ole":
        return by_name if by_name and claimed(name) == "ole" else MEDIA_TYPES["ole"]
    if kind == "zip" and claimed(name) is None:
        return by_name or MEDIA_TYPES["zip"]
    return MEDIA_TYPES[kind]


def media_type_by_name(name: str) -> str:
    """The media type that a file's name says; application/octet-stream when it says none."""
    said = claimed(name)
    if said in (None, "text", "ole"):
        return _TYPES.guess_type(name)[0] or "application/octet-stream"
    return MEDIA_TYPES[said]
