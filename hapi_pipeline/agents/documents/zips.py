"""Zip files that are not trusted: what they claim is checked before and while anything is unpacked."""

from __future__ import annotations

import re
import zipfile
import zlib
from typing import BinaryIO

from hapi_pipeline.agents.documents.model import HarmfulError, UnreadableError

MOST_MEMBERS = 20_000
MOST_UNPACKED = 1 << 30  # bytes in all
_MOST_TIMES = 100  # the size of the file, once it has unpacked to
_HARMLESS = 50 << 20  # bytes
_CHUNK = 1 << 20
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, ValueError, OSError)


def checked_office_zip(file: BinaryIO, most_xml: int) -> None:
    """Refuse what no office program writes: too much XML, declarations of entities, encrypted parts."""
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            xml = [m for m in members if m.filename.lower().endswith((".xml", ".rels"))]
            sizes = sum(m.file_size for m in members), sum(m.file_size for m in xml)
            if len(members) > MOST_MEMBERS or sizes[0] > MOST_UNPACKED or sizes[1] > most_xml:
                raise UnreadableError("it is too large when unpacked")
            if any(m.flag_bits & 1 for m in members):
                raise UnreadableError("it is protected by a password, so it cannot be opened")
            for member in xml:
                # the sizes above are the file's own claim: zipfile stops at them, and raises when they are a lie
                _refuse_declarations(archive, member)
    except UnreadableError:
        raise
    except ZIP_ERRORS as error:
        raise UnreadableError("it is damaged and cannot be opened") from error
    finally:
        file.seek(0)


def _refuse_declarations(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    tail = b""
    with archive.open(member) as stream:
        while chunk := stream.read(_CHUNK):
            # UTF-16 too, which no office program writes
            if re.search(rb"<\0?!\0?(D\0?O\0?C\0?T\0?Y\0?P\0?E|E\0?N\0?T\0?I\0?T\0?Y)", tail + chunk):
                raise UnreadableError("it contains declarations that office programs do not write")
            tail = chunk[-32:]


def unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> bytes:
    """One member, of `limit` bytes at most."""
    with archive.open(member) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise UnreadableError(f"it has more than {limit >> 20} MiB when unpacked, too many to be read here")
    return data


def drained(archive: zipfile.ZipFile, member: zipfile.ZipInfo, room: int) -> int:
    """Unpack a member to nowhere, checking its sum; how many bytes it has. HarmfulError beyond `room`."""
    size = 0
    with archive.open(member) as stream:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            if size > room:
                raise HarmfulError(f"it unpacks to more than {MOST_UNPACKED >> 30} GiB")
    return size


def refuse_bomb(packed: int, unpacked: int) -> None:
    """HarmfulError for an archive that unpacks to what no work compresses so well: its sizes in bytes."""
    if unpacked > max(_HARMLESS, _MOST_TIMES * packed):
        raise HarmfulError(f"its {packed:,} bytes unpack to {unpacked:,}, as those of a zip bomb do; write it anew")


def is_symlink(member: zipfile.ZipInfo) -> bool:
    """Whether the member is a link to another path."""
    return (member.external_attr >> 16) & 0o170000 == 0o120000


def leads_out(name: str) -> bool:
    """Whether a member's name points outside the folder that it would be unpacked to."""
    name = name.replace("\\", "/")
    return name.startswith("/") or ".." in name.split("/") or bool(re.match(r"[A-Za-z]:", name))
