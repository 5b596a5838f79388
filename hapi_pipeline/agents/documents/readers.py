"""Which reader takes which kind of file. Runs in the process that `worker` bounds, never in the one that asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from hapi_pipeline.agents.documents import archives, kinds, office, pdf, pictures, plain, workbooks
from hapi_pipeline.agents.documents.model import (
    Document,
    HarmfulError,
    Opening,
    Reading,
    UnreadableError,
    Want,
    counted,
)
from hapi_pipeline.agents.documents.zips import MOST_UNPACKED, ZIP_ERRORS, drained

MOST_BYTES = 100 << 20  # of a file that a reader takes in whole
_IN_PARTS = kinds.PICTURES | kinds.TEXTS | {"zip", "tar"}  # these are read as far as needed
_NAMES = {"jpeg": "JPEG picture", "text": "plain text", "binary": "something else", "ole": "an old Office file"}
_NO_READER = {
    "7z": "7z archives cannot be opened here",
    "rar": "rar archives cannot be opened here",
    "binary": "files of this kind cannot be read here; work from the brief and the other files",
}


def _read_ole(document: Document, want: Want) -> Reading:
    """The container of old Office files, and of new ones with a password."""
    document.file.seek(0)
    if "EncryptedPackage".encode("utf-16-le") in document.file.read(MOST_BYTES):
        raise UnreadableError("it is protected by a password, so it cannot be opened")
    if kinds.suffix_of(document.name) in ("doc", "ppt", "msg"):
        raise UnreadableError("Word, PowerPoint and Outlook files of the old format (before 2007) cannot be read here")
    return workbooks.read_workbook(document, want)


_READERS: dict[str, Callable[[Document, Want], Reading]] = {
    "pdf": pdf.read_pdf,
    "docx": office.read_docx,
    "pptx": office.read_pptx,
    "odt": office.read_open_document,
    "odp": office.read_open_document,
    "xlsx": workbooks.read_workbook,
    "xlsb": workbooks.read_workbook,
    "ods": workbooks.read_workbook,
    "ole": _read_ole,
    "rtf": plain.read_rtf,
    "html": plain.read_html,
    "svg": plain.read_xml,
    "xml": plain.read_xml,
    "csv": plain.read_delimited,
    "tsv": plain.read_delimited,
    "json": plain.read_json,
    "jsonl": plain.read_json_lines,
    "ipynb": plain.read_notebook,
    "eml": plain.read_mail,
    "py": plain.read_python,
    "text": plain.read_text,
    **dict.fromkeys(kinds.PICTURES, pictures.read_picture),
}
_ARCHIVES = frozenset({"zip", "tar", "gz", "bz2", "xz"})


def document_of(file: BinaryIO, name: str) -> Document:
    """A file, with its size and kind."""
    size = file.seek(0, 2)
    return Document(name, file, size, kinds.kind_of(file, name))


def read(document: Document, want: Want) -> Reading:
    """What a document is, and the part asked for. Raises UnreadableError."""
    if document.kind == "empty":
        return Reading("empty file")
    if document.size > MOST_BYTES and document.kind not in _IN_PARTS:
        raise UnreadableError(f"it has {document.size:,} bytes, too many to be read here")
    try:
        if document.kind in _ARCHIVES:
            return archives.read_archive(document, want, read)
        if document.kind == "eml" and want.member is not None:
            return archives.read_attached(document, want, read)
        reader = _READERS.get(document.kind)
        if reader is None:
            raise UnreadableError(_NO_READER[document.kind])
        try:
            return reader(document, want)
        except UnreadableError:
            if document.kind not in kinds.TEXTS or want != Want(pictures=want.pictures):
                raise
            return _as_it_is(document, want)
    except (UnreadableError, MemoryError):
        raise
    except Exception as error:  # parsers of hostile files fail in every way there is
        raise UnreadableError("it is damaged and cannot be read") from error


def _as_it_is(document: Document, want: Want) -> Reading:
    """A text whose form is broken can be read all the same, and its fault be seen."""
    said = "is not sound"
    try:
        _READERS[document.kind](document, want)
    except UnreadableError as error:
        said = str(error)
    reading = plain.read_text(document, want)
    return Reading(f"{reading.about} ({said})", reading.text)


def inspect(document: Document, careful: bool = False) -> Opening:
    """What a file is by its content, and whether it opens as what its name says it is."""
    kind, media_type = document.kind, kinds.media_type(document.kind, document.name)
    said = kinds.claimed(document.name)
    if kind == "empty":
        return Opening(media_type, False, "it is empty")
    if said is not None and said != kind and not {said, kind} <= kinds.PICTURES:
        return Opening(media_type, False, f"its name says {_called(said)}, but it is {_called(kind)}")
    try:
        about = _opened(document, careful)
    except UnreadableError as error:
        return Opening(media_type, False, str(error), isinstance(error, HarmfulError))
    except MemoryError:
        raise
    except Exception:  # as in `read`
        return Opening(media_type, False, "it is damaged and cannot be opened")
    if about is None:
        return Opening(media_type, None, "of a kind that is not checked here")
    return Opening(media_type, True, about)


def _called(kind: str) -> str:
    return _NAMES.get(kind, kind)


def _opened(document: Document, careful: bool) -> str | None:
    """What an opened file holds, None where its kind is not known here. Raises UnreadableError."""
    kind = document.kind
    if document.size > MOST_BYTES and kind not in _IN_PARTS:
        raise UnreadableError(f"it has {document.size:,} bytes, too many to be opened here")
    if kind == "zip":
        return archives.open_zip(document)
    if kind in kinds.PICTURES:
        return pictures.decoded(document.file)[0]
    if kind == "pdf":
        return f"PDF, {counted(len(pdf.open_pdf(document)), 'page')}"
    if kind in ("docx", "pptx", "xlsx", "xlsb", "ods", "odt", "odp"):
        _refuse_damaged(document)
    if kind in ("xlsx", "xlsb", "ods"):
        return workbooks.open_workbook(document, careful)
    if (kind == "ole" and kinds.suffix_of(document.name) in ("doc", "ppt", "msg")) or kind in ("binary", "7z", "rar"):
        return None
    if kind == "tar":
        return archives.read_archive(document, Want(), read).about.removesuffix("; read one with member")
    if kind in _ARCHIVES:
        return archives.open_compressed(document)
    return _READERS[kind](document, Want()).about


def _refuse_damaged(document: Document) -> None:
    """Check the sum of every part: readers look only into those that they need, office programs into all."""
    import zipfile

    try:
        with zipfile.ZipFile(document.file) as archive:
            size = 0
            for member in archive.infolist():
                size += drained(archive, member, MOST_UNPACKED - size)
    except ZIP_ERRORS as error:
        raise UnreadableError("it is damaged and cannot be opened") from error
