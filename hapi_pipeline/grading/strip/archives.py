"""Archives: members keep their names (they refer to each other) and lose dates, owners, comments and properties."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib

from hapi_pipeline.grading.strip.base import MAX_UNPACKED, CannotStrip, Inside, opened, packed


def archive(data: bytes, inside: Inside) -> bytes:
    """A zip file whose members are stripped too."""
    with opened(data, inside) as source:
        entries = [(e, b"" if e.is_dir() else inside.strip(e.filename, source.read(e))) for e in source.infolist()]
        return packed(iter(entries))


def gzipped(data: bytes, inside: Inside) -> bytes:
    """A gzip file without the name and date in its header; a tar file in it is stripped too."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as source:
            content = source.read(MAX_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise CannotStrip("damaged") from error
    inside.take(len(content))
    if content[257:262] == b"ustar":
        content = inside.strip("content.tar", content)
    return gzip.compress(content, compresslevel=6, mtime=0)


def tar(data: bytes, inside: Inside) -> bytes:
    """A tar file without owners, dates and extra headers, whose members are stripped too."""
    out = io.BytesIO()
    try:
        with (
            tarfile.open(fileobj=io.BytesIO(data), mode="r:") as source,
            tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as target,
        ):
            for member in source:
                if not (member.isfile() or member.isdir()) or member.issparse():
                    raise CannotStrip("holds links or devices")
                inside.take(member.size)
                stream = source.extractfile(member) if member.isfile() else None
                content = inside.strip(member.name, stream.read()) if stream else b""
                plain = tarfile.TarInfo(member.name)
                plain.type, plain.mode, plain.size = member.type, member.mode & 0o755, len(content)
                target.addfile(plain, io.BytesIO(content))
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise CannotStrip("damaged") from error
    return out.getvalue()
