"""Packets: everything a grader needs for one attempt, in one folder, and nothing that says who made it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hapi_pipeline.grading import page
from hapi_pipeline.grading.blind import blinded, safe_extension, safe_name
from hapi_pipeline.grading.mentions import maker_pattern, mentions
from hapi_pipeline.grading.text import clean, shorten
from hapi_pipeline.grading.workbook import TABLE_COLUMNS, meta_rows, workbook_bytes
from hapi_pipeline.naming import digest
from hapi_pipeline.settings import UserError

# what a spreadsheet may take for a formula, full-width cousins included: some programs fold those on opening
_RISKY_START = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
PAGE = "brief.html"
_PACKET_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Criterion:
    """One line of a rubric."""

    criterion_id: str
    position: int
    text: str
    importance: str


@dataclass(frozen=True)
class PacketSpec:
    """What goes into a packet. Paths are files on this machine; their names never reach the grader."""

    packet_id: str
    title: str
    description: str
    category: str | None
    skills: tuple[str, ...]
    criteria: tuple[Criterion, ...]
    rubric_version: str
    deliverables: tuple[Path, ...]
    attachments: tuple[Path, ...] = ()
    makers: tuple[str, ...] = ()
    """Names of the model and its provider, to find them in the work; they never reach the grader."""


@dataclass(frozen=True)
class Made:
    """A packet that was made: its SHA-256, and what the operator, never the grader, should know of it.

    A flag is `names_maker:FILE:NAME`, or `not_stripped:FILE:REASON` where document properties stay.
    """

    sha256: str
    flags: tuple[str, ...]


def packet_id_for(attempt_id: str) -> str:
    """The opaque id under which graders know an attempt; no spreadsheet takes it for a number or a date."""
    raw = bytes.fromhex(digest("packet", attempt_id, length=16))
    return "pk_" + base64.b32encode(raw).decode("ascii").lower()[:12]


def packet_digest(spec: PacketSpec) -> str:
    """SHA-256 over the brief, the criteria and the bytes of the files as before being blinded."""
    return _digest(spec, _Files(spec))


def write_packet(spec: PacketSpec, folder: Path) -> str:
    """Make `folder` as `make_packet` does; the packet's SHA-256."""
    return make_packet(spec, folder).sha256


def describe_packet(spec: PacketSpec) -> Made:
    """What `make_packet` says of a packet, without making it. UserError as there."""
    files = _Files(spec)
    return Made(_digest(spec, files), _blind(spec, files))


def make_packet(spec: PacketSpec, folder: Path) -> Made:
    """Make `folder` whole or not at all.

    A folder that already holds this packet is left alone; one that holds another is replaced. A file that is
    missing or is not a regular file raises UserError.
    """
    if not _PACKET_ID.fullmatch(spec.packet_id):
        raise UserError(f"{spec.packet_id!r} cannot be a packet id; make it with packet_id_for.")
    files = _Files(spec)
    made = Made(_digest(spec, files), _blind(spec, files))
    if _holds(folder, spec, made.sha256):
        return made
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = folder.with_name(f".{folder.name}.new")
    _remove(staged)
    staged.mkdir()
    for name, data in _contents(spec, files, made.sha256):
        target = staged / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)
    _put_in_place(staged, folder)
    return made


def _blind(spec: PacketSpec, files: _Files) -> tuple[str, ...]:
    """Take the properties out of the deliverables in `files`; what the operator should know of them."""
    asked = "\n".join([spec.title, spec.description, *(c.text for c in spec.criteria)])
    maker = maker_pattern(spec.makers, asked)
    flags = []
    for number, (path, (extension, data)) in enumerate(zip(spec.deliverables, files.deliverables, strict=True), 1):
        name = f"deliverable_{number:02d}.{extension}"
        stripped = blinded(extension, data, maker)
        files.deliverables[number - 1] = (extension, stripped.data)
        said = [
            *mentions("txt", path.stem.encode("utf-8", "replace"), maker),
            *mentions(extension, stripped.data, maker),
        ]
        flags += [f"names_maker:{name}:{word}" for word in dict.fromkeys(said)]
        flags += [f"not_stripped:{name}:{shorten(reason, 80)}" for reason in stripped.left[:3]]
    return tuple(flags)


class _Files:
    """The bytes of a packet's files, read once."""

    def __init__(self, spec: PacketSpec):
        read = [(path.name, _read(path)) for path in spec.deliverables]
        self.deliverables = [(safe_extension(name, data), data) for name, data in read]  # (extension, bytes)
        taken: set[str] = set()
        self.attachments = [
            (safe_name(path.name, taken, f"attachment_{number:02d}"), _read(path))
            for number, path in enumerate(spec.attachments, 1)
        ]


def _read(path: Path) -> bytes:
    """A regular file's bytes; a link is refused, since it could lead out of the attempt's folder."""
    try:
        if path.is_symlink() or not path.is_file():
            raise UserError(f"{path} cannot go into a packet: it must be a regular file that exists.")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); it is needed for a packet.") from error


def _digest(spec: PacketSpec, files: _Files) -> str:
    parts: list[str | bytes] = ["1", spec.packet_id, spec.title, spec.description, spec.category or ""]
    parts += [str(len(spec.skills)), *spec.skills, spec.rubric_version, str(len(spec.criteria))]
    for criterion in spec.criteria:
        parts += [criterion.criterion_id, str(criterion.position), criterion.importance, criterion.text]
    for group in (files.deliverables, files.attachments):
        parts.append(str(len(group)))
        for name, data in group:
            parts += [name, hashlib.sha256(data).digest()]
    return digest(*parts)


def _contents(spec: PacketSpec, files: _Files, packet_sha256: str) -> Iterator[tuple[str, bytes]]:
    work = [
        page.Shown(f"deliverables/deliverable_{number:02d}.{extension}", extension, data)
        for number, (extension, data) in enumerate(files.deliverables, 1)
    ]
    given = [
        page.Shown(f"attachments/{name}", name.rpartition(".")[2].lower(), data) for name, data in files.attachments
    ]
    yield from ((file.place, file.data) for file in (*work, *given))
    yield PAGE, page.page(spec, work, given, _workbook_name(spec))
    yield _twin_name(spec), twin_bytes(spec, packet_sha256)
    yield _workbook_name(spec), workbook_bytes(spec, packet_sha256)


def zip_of(folder: Path, name: str) -> bytes:
    """A packet as a zip file that unpacks to the folder `name`; the same packet gives the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(f"{name}/{path.relative_to(folder).as_posix()}")
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return out.getvalue()


def _workbook_name(spec: PacketSpec) -> str:
    return f"packet_{spec.packet_id}.xlsx"


def _twin_name(spec: PacketSpec) -> str:
    return f"packet_{spec.packet_id}.csv"


def twin_bytes(spec: PacketSpec, packet_sha256: str, grader: str = "") -> bytes:
    """The workbook's grade sheet as CSV, for those without a spreadsheet program."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerows(meta_rows(spec, packet_sha256))
    writer.writerow(("grader", guard(grader)))
    writer.writerows([(label, "") for label in ("graded on", "minutes", "overall feedback")])
    writer.writerow(())
    writer.writerow(TABLE_COLUMNS)
    for criterion in spec.criteria:
        importance = page.IMPORTANCE.get(criterion.importance, criterion.importance)
        row = (criterion.criterion_id, importance, criterion.text, "", "")
        writer.writerow([guard(cell) for cell in row])
    return out.getvalue().encode("utf-8-sig")


def guard(text: str) -> str:
    """Text for a CSV cell: an apostrophe before what a spreadsheet would take for a formula."""
    kept = clean(text)
    return "'" + kept if _RISKY_START.match(kept) else kept


def unguard(text: str) -> str:
    """What `guard` was given."""
    return text[1:] if text.startswith("'") and _RISKY_START.match(text) else text


def _holds(folder: Path, spec: PacketSpec, packet_sha256: str) -> bool:
    """Whether the folder is this very packet, whole: the twin names its digest, no file is missing."""
    wanted = f"packet_sha256,{packet_sha256}\r\n".encode()
    try:
        if wanted not in (folder / _twin_name(spec)).read_bytes()[:400]:
            return False
        if page.MARK.encode() not in (folder / PAGE).read_bytes()[:1000]:
            return False
        size = (folder / _workbook_name(spec)).stat().st_size
        given = len(list((folder / "deliverables").iterdir())) if spec.deliverables else 0
    except OSError:
        return False
    return size > 0 and given == len(spec.deliverables)


def _put_in_place(staged: Path, folder: Path) -> None:
    """Rename; a packet can be made again at any time, so surviving a kill is enough: no fsync."""
    retired = folder.with_name(f".{folder.name}.old")
    _remove(retired)
    if folder.is_symlink() or folder.exists():
        folder.replace(retired)
    staged.replace(folder)
    _remove(retired)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
