"""Archives (zip, tar, gzip and their like): what is in them, and single files of them.

Nothing is ever unpacked to disk.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from hapi_pipeline.agents.documents import kinds
from hapi_pipeline.agents.documents.model import Document, HarmfulError, Reading, UnreadableError, Want, counted
from hapi_pipeline.agents.documents.plain import message_of
from hapi_pipeline.agents.documents.zips import (
    MOST_MEMBERS,
    MOST_UNPACKED,
    ZIP_ERRORS,
    drained,
    is_symlink,
    leads_out,
    refuse_bomb,
    unpacked,
)

MOST_MEMBER = 64 << 20  # bytes of one file of an archive
_MOST_DEPTH = 1  # archives in archives are listed, not entered
_MOST_LISTED = 1_000

ReadPart = Callable[[Document, Want], Reading]


def read_archive(document: Document, want: Want, read: ReadPart) -> Reading:
    """The list of an archive's files, or one of them, read with `read`."""
    if document.kind == "zip":
        return _read_zip(document, want, read)
    if document.kind == "tar":
        return _read_tar(document, want, read)
    return _read_compressed(document, want, read)


def read_attached(document: Document, want: Want, read: ReadPart) -> Reading:
    """One file that is attached to an e-mail."""
    for part in message_of(document).iter_attachments():
        if part.get_filename() == want.member:
            data = part.get_payload(decode=True)
            return _part(document, str(want.member), data if isinstance(data, bytes) else b"", want, read)
    raise UnreadableError(f"the e-mail has no file {str(want.member)[:200]!r}")


def _part(document: Document, name: str, data: bytes, want: Want, read: ReadPart) -> Reading:
    from dataclasses import replace

    if document.depth >= _MOST_DEPTH and want.member is not None:
        raise UnreadableError("archives inside archives are not opened")
    file = io.BytesIO(data)
    part = Document(name, file, len(data), kinds.kind_of(file, name), document.depth + 1)
    if part.kind == "empty":
        return Reading("empty file")
    return read(part, replace(want, member=None))


def _listing(what: str, lines: list[str], files: int, size: int, notes: list[str]) -> Reading:
    more = [f"... and {len(lines) - _MOST_LISTED} more"] if len(lines) > _MOST_LISTED else []
    told = "".join(f"; {note}" for note in notes)
    about = f"{what}, {counted(files, 'file')}, {size:,} bytes unpacked by its own account{told}"
    return Reading(f"{about}; read one with member", "\n".join(lines[:_MOST_LISTED] + more))


def _read_zip(document: Document, want: Want, read: ReadPart) -> Reading:
    try:
        with zipfile.ZipFile(document.file) as archive:
            members = archive.infolist()
            if want.member is not None:
                return _part(document, want.member, _zip_member(archive, want.member), want, read)
            files = [m for m in members if not m.is_dir()]
            lines = [f"{_plain(m.filename)} ({m.file_size:,} bytes){_remark(m)}" for m in files]
            return _listing("zip archive", lines, len(files), sum(m.file_size for m in files), _notes(files))
    except UnreadableError:
        raise
    except ZIP_ERRORS as error:
        raise UnreadableError("this archive is damaged and cannot be opened") from error


def _zip_member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        member = archive.getinfo(name)
    except KeyError:
        raise UnreadableError(f"the archive has no file {name[:200]!r}; read it without member for the list") from None
    if is_symlink(member):
        raise UnreadableError("that entry is a link, and links are not followed")
    if member.flag_bits & 1:
        raise UnreadableError("that file is protected by a password, so it cannot be read")
    if member.file_size > MOST_MEMBER:
        raise UnreadableError(f"it has {member.file_size:,} bytes when unpacked, too many to be read here")
    return unpacked(archive, member, MOST_MEMBER)


def _plain(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)[:300]


def _remark(member: zipfile.ZipInfo) -> str:
    if is_symlink(member):
        return " [a link, not followed]"
    if member.flag_bits & 1:
        return " [protected by a password]"
    return " [its name leads out of the folder]" if leads_out(member.filename) else ""


def _notes(files: list[zipfile.ZipInfo]) -> list[str]:
    found = [
        (sum(m.flag_bits & 1 for m in files), "protected by a password"),
        (sum(map(is_symlink, files)), "a link that is not followed"),
        (sum(leads_out(m.filename) for m in files), "named so that it leads out of the folder"),
    ]
    return [f"{n:,} of them {what}" for n, what in found if n]


def _read_tar(document: Document, want: Want, read: ReadPart) -> Reading:
    try:
        with tarfile.open(fileobj=document.file, mode="r:") as archive:
            lines: list[str] = []
            files = size = 0
            for member in archive:
                if want.member is not None and member.name == want.member:
                    return _part(document, want.member, _tar_member(archive, member), want, read)
                if member.isdir():
                    continue
                files, size = files + 1, size + member.size
                if files > MOST_MEMBERS:
                    break
                odd = "" if member.isfile() else " [a link or device, not followed]"
                odd = odd or (" [its name leads out of the folder]" if leads_out(member.name) else "")
                lines.append(f"{_plain(member.name)} ({member.size:,} bytes){odd}")
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        raise UnreadableError("this archive is damaged and cannot be opened") from error
    if want.member is not None:
        raise UnreadableError(f"the archive has no file {want.member[:200]!r}; read it without member for the list")
    return _listing("tar archive", lines, files, size, [])


def _tar_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if not member.isfile():
        raise UnreadableError("that entry is a link or a device, and those are not followed")
    if member.size > MOST_MEMBER:
        raise UnreadableError(f"it has {member.size:,} bytes, too many to be read here")
    stream = archive.extractfile(member)
    return stream.read(MOST_MEMBER) if stream is not None else b""


def _read_compressed(document: Document, want: Want, read: ReadPart) -> Reading:
    """A single file, or a tar archive, that is compressed as a whole."""
    try:
        with _OPENERS[document.kind](document.file) as stream:
            data = stream.read(MOST_MEMBER + 1)
    except _COMPRESSION_ERRORS as error:
        raise UnreadableError("this compressed file is damaged") from error
    if len(data) > MOST_MEMBER:
        raise UnreadableError(f"it has more than {MOST_MEMBER >> 20} MiB when unpacked, too many to be read here")
    if document.depth > _MOST_DEPTH:
        raise UnreadableError("archives inside archives are not opened")
    stem = document.name.rpartition(".")[0] or document.name
    file = io.BytesIO(data)
    inner = Document(stem, file, len(data), kinds.kind_of(file, stem), document.depth + (want.member is None))
    if inner.kind == "empty":
        return Reading("empty file, compressed")
    reading = read(inner, want)
    return Reading(f"compressed {reading.about}", reading.text, reading.pictures)


_OPENERS: dict[str, Callable[[Any], Any]] = {
    "gz": lambda file: gzip.GzipFile(fileobj=file),
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
_COMPRESSION_ERRORS = (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error)


def open_compressed(document: Document) -> str:
    """Unpack a file that is compressed as a whole to nowhere."""
    size = 0
    try:
        with _OPENERS[document.kind](document.file) as stream:
            while chunk := stream.read(1 << 20):
                size += len(chunk)
                if size > MOST_UNPACKED:
                    raise HarmfulError(f"it unpacks to more than {MOST_UNPACKED >> 30} GiB")
    except _COMPRESSION_ERRORS as error:
        raise UnreadableError("this compressed file is damaged") from error
    refuse_bomb(document.size, size)
    return f"compressed file, {size:,} bytes unpacked"


def open_zip(document: Document) -> str:
    """Unpack every file of a zip archive to nowhere; UnreadableError for what a grader could not or must not open."""
    try:
        with zipfile.ZipFile(document.file) as archive:
            files = [m for m in archive.infolist() if not m.is_dir()]
            if not files:
                raise UnreadableError("there are no files in it")
            odd = next((m for m in files if is_symlink(m) or leads_out(m.filename) or m.flag_bits & 1), None)
            if odd is not None:
                kind = HarmfulError if is_symlink(odd) or leads_out(odd.filename) else UnreadableError
                raise kind(f"{_plain(odd.filename)}{_remark(odd)} must not be in an archive that is handed in")
            if len(files) > MOST_MEMBERS:
                raise UnreadableError(f"it has more than {MOST_MEMBERS:,} files")
            size = 0
            for member in files:
                size += drained(archive, member, MOST_UNPACKED - size)
            refuse_bomb(document.size, size)
    except UnreadableError:
        raise
    except ZIP_ERRORS as error:
        raise UnreadableError("the archive is damaged") from error
    return f"zip archive, {counted(len(files), 'file')}, {size:,} bytes unpacked"
