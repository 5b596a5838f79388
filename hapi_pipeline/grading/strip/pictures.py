"""Pictures: the blocks that hold pixels, colours and animation stay as they are, all others go.

Written by hand because no library in good upkeep and under a free licence takes properties out without re-encoding
the picture: Pillow writes new pixels, piexif has had no release since 2019, exiv2's bindings are under the GPL.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from hapi_pipeline.grading.strip.base import CannotStrip, Inside

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset(
    b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP sBIT bKGD pHYs hIST sPLT acTL fcTL fdAT cICP mDCV cLLI".split()
)
_ORIENTATION = 0x0112


def png(data: bytes, inside: Inside) -> bytes:
    """Without text, time, EXIF and private chunks, and without what follows the end of the picture."""
    if not data.startswith(_PNG):
        raise CannotStrip("not what its name says")
    kept, at = [_PNG], len(_PNG)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body, end = data[at + 4 : at + 8], data[at + 8 : at + 8 + size], at + 12 + size
        if end > len(data):
            break
        if kind == b"iCCP":
            kept.append(_chunk(kind, b"icc\0" + body.partition(b"\0")[2]))  # a profile's name is free text
        elif kind == b"eXIf" and (turned := _turned(body)) != 1:
            kept.append(_chunk(kind, _exif(turned)))
        elif kind in _PNG_KEPT:
            kept.append(data[at:end])
        at = end
        if kind == b"IEND":
            return b"".join(kept)
    raise CannotStrip("damaged")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def jpeg(data: bytes, inside: Inside) -> bytes:
    """Without EXIF, XMP, IPTC, provenance and comments; the colour profile and the picture's orientation stay."""
    if not data.startswith(b"\xff\xd8\xff"):
        raise CannotStrip("not what its name says")
    kept, at = [b"\xff\xd8"], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding before a marker
            at += 1
            continue
        if marker == 0xD9:
            return b"".join([*kept, b"\xff\xd9"])
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        kept.append(_segment(marker, data[at:end]))
        at = end
        if marker == 0xDA:  # the picture itself, up to the next marker
            end = _end_of_scan(data, at)
            kept.append(data[at:end])
            at = end
    if data[at : at + 2] == b"\xff\xd9":
        return b"".join([*kept, b"\xff\xd9"])
    raise CannotStrip("damaged")


def _segment(marker: int, segment: bytes) -> bytes:
    """A segment as it is, reduced, or nothing."""
    body = segment[4:]
    if marker == 0xE0:
        return segment if body.startswith((b"JFIF\0", b"JFXX\0")) else b""
    if marker == 0xE1:
        turned = _turned(body[6:]) if body.startswith(b"Exif\0\0") else 1
        exif = b"Exif\0\0" + _exif(turned)
        return b"" if turned == 1 else b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    if marker == 0xE2:
        return segment if body.startswith(b"ICC_PROFILE\0") else b""
    if marker == 0xEE:
        return segment if body.startswith(b"Adobe") else b""
    return b"" if 0xE0 <= marker <= 0xEF or marker == 0xFE else segment


def _end_of_scan(data: bytes, at: int) -> int:
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        if data[at + 1] and not 0xD0 <= data[at + 1] <= 0xD7 and data[at + 1] != 0xFF:
            return at
        at += 1 if data[at + 1] == 0xFF else 2
    return len(data)


def _turned(tiff: bytes) -> int:
    """The orientation that EXIF gives, 1 (as it lies) where it gives none."""
    try:
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        (first,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, first)
        for at in range(first + 2, first + 2 + 12 * count, 12):
            tag, _kind, _count, value = struct.unpack_from(order + "HHIH", tiff, at)
            if tag == _ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except (KeyError, struct.error):
        pass
    return 1


def _exif(turned: int) -> bytes:
    """EXIF that says nothing but the orientation."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, _ORIENTATION, 3, 1, turned, 0, 0)


def gif(data: bytes, inside: Inside) -> bytes:
    """Without comments and without what applications add, save the colour profile and the number of repetitions."""
    if data[:6] not in (b"GIF87a", b"GIF89a") or len(data) < 14:
        raise CannotStrip("not what its name says")
    at = 13 + _colours(data[10])
    kept = [data[:at]]
    while at < len(data):
        start, kind = at, data[at]
        if kind == 0x3B:
            return b"".join([*kept, b";"])
        if kind == 0x2C and at + 10 <= len(data):
            at = _end_of_blocks(data, at + 11 + _colours(data[at + 9]))
            kept.append(data[start:at])
        elif kind == 0x21:
            at = _end_of_blocks(data, at + 2)
            label, name = data[start + 1 : start + 2], data[start + 3 : start + 14]
            looped = name.startswith((b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012"))
            if label in (b"\xf9", b"\x01") or (label == b"\xff" and looped):
                kept.append(data[start:at])
        else:
            break
    raise CannotStrip("damaged")


def _colours(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _end_of_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


_WEBP_KEPT = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
_WAV_KEPT = frozenset({b"fmt ", b"data", b"fact", b"cue ", b"smpl", b"ds64"})


def webp(data: bytes, inside: Inside) -> bytes:
    """Without EXIF, XMP and unknown chunks; the orientation stays."""

    def reduced(kind: bytes, body: bytes) -> bytes | None:
        if kind == b"EXIF":
            turned = _turned(body.removeprefix(b"Exif\0\0"))
            return None if turned == 1 else _exif(turned)
        if kind == b"VP8X" and body:
            # bit 2: XMP follows, bit 3: EXIF follows
            return bytes([body[0] & ~(0x04 if _exif_turns(data) else 0x0C)]) + body[1:]
        return body if kind in _WEBP_KEPT else None

    return _riff(data, b"WEBP", reduced)


def _exif_turns(data: bytes) -> bool:
    at = data.find(b"EXIF")
    return at >= 0 and _turned(data[at + 8 :].removeprefix(b"Exif\0\0")) != 1


def wav(data: bytes, inside: Inside) -> bytes:
    """The sound without its tags."""
    return _riff(data, b"WAVE", lambda kind, body: body if kind in _WAV_KEPT else None)


def _riff(data: bytes, form: bytes, reduced: Callable[[bytes, bytes], bytes | None]) -> bytes:
    if data[:4] != b"RIFF" or data[8:12] != form:
        raise CannotStrip("not what its name says")
    kept, at, end = b"", 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    parts = [form]
    while at + 8 <= end:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > len(data):
            raise CannotStrip("damaged")
        kind, body = data[at : at + 4], reduced(data[at : at + 4], data[at + 8 : at + 8 + size])
        if body is not None:
            parts.append(kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2))
        at += 8 + size + size % 2
    kept = b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(kept)) + kept


# ImageDescription, Make, Model, Software, DateTime, Artist, HostComputer, XMP, Copyright, IPTC, Photoshop, EXIF, GPS,
# ImageSourceData, Windows' title, comment, author, keywords, subject
_TIFF_REVEALING = frozenset(
    {270, 271, 272, 305, 306, 315, 316, 700, 33432, 33723, 34377, 34665, 34853, 37724, *range(40091, 40096)}
)
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


def tiff(data: bytes, inside: Inside) -> bytes:
    """Revealing tags leave the directories and their values are zeroed; nothing else moves."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        raise CannotStrip(
            "a form of TIFF that is not known" if data[:2] in (b"II", b"MM") else "not what its name says"
        )
    out, seen = bytearray(data), set[int]()
    try:
        (at,) = struct.unpack_from(order + "I", data, 4)
        while at and at not in seen:
            seen.add(at)
            at = _directory(out, at, order)
    except struct.error as error:
        raise CannotStrip("damaged") from error
    return bytes(out)


def _directory(out: bytearray, at: int, order: str) -> int:
    """Reduce one directory; the place of the next."""
    (count,) = struct.unpack_from(order + "H", out, at)
    end = at + 2 + 12 * count
    (following,) = struct.unpack_from(order + "I", out, end)
    kept = []
    for place in range(at + 2, end, 12):
        tag, kind, number, value = struct.unpack_from(order + "HHII", out, place)
        if tag not in _TIFF_REVEALING:
            kept.append(bytes(out[place : place + 12]))
            continue
        size = number * _TIFF_SIZES.get(kind, 1)
        if tag in (34665, 34853) and kind in (4, 13):
            _zero_directory(out, value, order)
        elif 4 < size <= len(out) - value:
            out[value : value + size] = bytes(size)
    body = b"".join(kept) + struct.pack(order + "I", following)
    struct.pack_into(order + "H", out, at, len(kept))
    out[at + 2 : end + 4] = body + bytes(end + 4 - (at + 2) - len(body))
    return int(following)


def _zero_directory(out: bytearray, at: int, order: str) -> None:
    """A directory below another (EXIF, GPS): all of it goes."""
    (count,) = struct.unpack_from(order + "H", out, at)
    for place in range(at + 2, at + 2 + 12 * count, 12):
        _tag, kind, number, value = struct.unpack_from(order + "HHII", out, place)
        size = number * _TIFF_SIZES.get(kind, 1)
        if 4 < size <= len(out) - value:
            out[value : value + size] = bytes(size)
    length = min(6 + 12 * count, len(out) - at)
    out[at : at + length] = bytes(length)
