"""What all strippers share: the refusal, the way to files inside files, and the limits against bombs."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

MAX_UNPACKED = 200 * 1024 * 1024  # bytes, of one deliverable with all that is packed in it
_MAX_DEPTH = 4
_MAX_ENTRIES = 20_000
DAMAGED = (
    *(ValueError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError, EOFError, OSError, RuntimeError),
    *(MemoryError, struct.error, zlib.error, zipfile.BadZipFile),
)
"""What reading a file that is not what it should be may raise, in the libraries as in these modules."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


class CannotStrip(Exception):  # noqa: N818 (a refusal, not an error)
    """Why the properties of a file stay as they are, in a few words for the operator."""


class Inside:
    """The way to files inside a file: strips them too, within limits, and remembers those that could not be."""

    def __init__(self, strip: Callable[[str, bytes, Inside], bytes], maker: re.Pattern[str]):
        self._strip = strip
        self.maker = maker  # finds the names that a comment must not hold
        self.left: list[str] = []  # "name inside: reason"
        self._unpacked = 0
        self._depth = 0

    def strip(self, name: str, data: bytes) -> bytes:
        """The member `name` without its properties, or as it is when that cannot be done."""
        if self._depth >= _MAX_DEPTH:
            self.left.append(f"{name}: packed too deep")
            return data
        self._depth += 1
        try:
            return self._strip(name, data, self)
        except CannotStrip as reason:
            self.left.append(f"{name}: {reason}")
            return data
        finally:
            self._depth -= 1

    def take(self, size: int) -> None:
        """Count bytes about to be unpacked; CannotStrip beyond the limit."""
        self._unpacked += size
        if self._unpacked > MAX_UNPACKED:
            raise CannotStrip("would unpack to an unreasonable size")


@contextmanager
def opened(data: bytes, inside: Inside) -> Iterator[zipfile.ZipFile]:
    """A zip file that is safe to read whole; CannotStrip when it is damaged, encrypted or a bomb."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > _MAX_ENTRIES:
                raise CannotStrip("would unpack to an unreasonable size")
            if any(entry.flag_bits & 1 for entry in entries):
                raise CannotStrip("encrypted")
            if len({entry.filename for entry in entries}) < len(entries):
                raise CannotStrip("holds two files of one name")
            # a member that lies about its size is read no further than it claims, and then fails its checksum
            inside.take(sum(entry.file_size for entry in entries))
            yield archive
    except DAMAGED as error:
        raise CannotStrip("encrypted or damaged" if data.startswith(b"\xd0\xcf\x11\xe0") else "damaged") from error


def packed(entries: Iterator[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    """A zip file of these members in their order, without dates, comments, extra fields or the system's attributes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for entry, data in entries:
            plain = zipfile.ZipInfo(entry.filename, _EPOCH)
            plain.compress_type = zipfile.ZIP_STORED if entry.compress_type == 0 else zipfile.ZIP_DEFLATED
            plain.create_system = 0
            target.writestr(plain, data, compresslevel=1)
    return out.getvalue()


def parsed(data: bytes) -> Any:
    """The root of an XML document read without entities, network, comments or processing instructions (lxml)."""
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
        huge_tree=True,
        strip_cdata=False,
    )
    try:
        return etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise CannotStrip("damaged") from error


def local(name: object) -> str:
    """The name of an element or attribute without its namespace."""
    return str(name).rsplit("}", 1)[-1]


def drop(element: Any) -> None:
    """Take an element out of its tree; the text after it stays."""
    parent = element.getparent()
    if parent is None:
        return
    if element.tail:
        before = element.getprevious()
        if before is None:
            parent.text = (parent.text or "") + element.tail
        else:
            before.tail = (before.tail or "") + element.tail
    parent.remove(element)
