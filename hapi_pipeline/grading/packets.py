"""Packets: everything a grader needs for one attempt, in one folder, and nothing that says who made it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from hapi_pipeline.grading.blind import safe_extension, safe_name, without_maker
from hapi_pipeline.grading.text import clean
from hapi_pipeline.grading.workbook import TABLE_COLUMNS, meta_rows, workbook_bytes
from hapi_pipeline.naming import digest
from hapi_pipeline.settings import UserError

_RISKY_START = re.compile(r"'*[=+\-@\t\r]")
_PACKET_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PAGE_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;color:#1f2933;max-width:46rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.1rem;margin-top:2rem}.quiet{color:#5f6b7a}"
    ".text{white-space:pre-wrap;overflow-wrap:anywhere}li{margin:.35rem 0;overflow-wrap:anywhere}"
    "b{font-weight:600;font-size:.85em;color:#5f6b7a}"
)


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


def packet_id_for(attempt_id: str) -> str:
    """The opaque id under which graders know an attempt; no spreadsheet takes it for a number or a date."""
    raw = bytes.fromhex(digest("packet", attempt_id, length=16))
    return "pk_" + base64.b32encode(raw).decode("ascii").lower()[:12]


def packet_digest(spec: PacketSpec) -> str:
    """SHA-256 over the brief, the criteria and the bytes of the files as before being blinded."""
    return _digest(spec, _Files(spec))


def write_packet(spec: PacketSpec, folder: Path) -> str:
    """Make `folder` whole or not at all, and return the packet's SHA-256.

    A folder that already holds this packet is left alone; one that holds another is replaced. A file that is
    missing or is not a regular file raises UserError.
    """
    if not _PACKET_ID.fullmatch(spec.packet_id):
        raise UserError(f"{spec.packet_id!r} cannot be a packet id; make it with packet_id_for.")
    files = _Files(spec)
    packet_sha256 = _digest(spec, files)
    if _holds(folder, spec, packet_sha256):
        return packet_sha256
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = folder.with_name(f".{folder.name}.new")
    _remove(staged)
    staged.mkdir()
    for name, data in _contents(spec, files, packet_sha256):
        target = staged / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)
    _put_in_place(staged, folder)
    return packet_sha256


class _Files:
    """The bytes of a packet's files, read once."""

    def __init__(self, spec: PacketSpec):
        read = [(path.name, _read(path)) for path in spec.deliverables]
        self.deliverables = [(safe_extension(name, data), data) for name, data in read]
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
    handed_in: list[str] = []
    for number, (extension, data) in enumerate(files.deliverables, 1):
        handed_in.append(f"deliverables/deliverable_{number:02d}.{extension}")
        yield handed_in[-1], without_maker(extension, data)
    for name, data in files.attachments:
        yield f"attachments/{name}", data
    yield "brief.html", _page(spec, handed_in, [f"attachments/{name}" for name, _ in files.attachments])
    yield _twin_name(spec), _twin(spec, packet_sha256)
    yield _workbook_name(spec), workbook_bytes(spec, packet_sha256)


def _workbook_name(spec: PacketSpec) -> str:
    return f"packet_{spec.packet_id}.xlsx"


def _twin_name(spec: PacketSpec) -> str:
    return f"packet_{spec.packet_id}.csv"


def _twin(spec: PacketSpec, packet_sha256: str) -> bytes:
    """The workbook's grade sheet as CSV, for those without a spreadsheet program."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerows(meta_rows(spec, packet_sha256))
    writer.writerows([(label, "") for label in ("grader", "graded on", "minutes", "overall feedback")])
    writer.writerow(())
    writer.writerow(TABLE_COLUMNS)
    for criterion in spec.criteria:
        row = (criterion.criterion_id, criterion.importance, criterion.text, "", "")
        writer.writerow([guard(cell) for cell in row])
    return out.getvalue().encode("utf-8-sig")


def guard(text: str) -> str:
    """Text for a CSV cell: an apostrophe before what a spreadsheet would take for a formula."""
    kept = clean(text)
    return "'" + kept if _RISKY_START.match(kept) else kept


def unguard(text: str) -> str:
    """What `guard` was given."""
    return text[1:] if text.startswith("'") and _RISKY_START.match(text) else text


def _page(spec: PacketSpec, deliverables: list[str], attachments: list[str]) -> bytes:
    """The brief as a page: everything in it is shown as text, nothing runs, nothing is fetched."""
    facts = " · ".join(part for part in (spec.category or "", ", ".join(spec.skills)) if part)
    criteria = "".join(
        f"<li><b>{_html(c.criterion_id)} · {_html(c.importance)}</b><br><span class=text>{_html(c.text)}</span></li>"
        for c in spec.criteria
    )
    page = (
        "<!doctype html>\n<html lang=en><meta charset=utf-8>"
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        "<meta name=viewport content='width=device-width'>"
        f"<title>{_html(spec.packet_id)}</title><style>{_PAGE_STYLE}</style>\n"
        f"<p class=quiet>Packet {_html(spec.packet_id)}</p><h1>{_html(spec.title)}</h1>"
        f"<p class=quiet>{_html(facts)}</p>\n<div class=text>{_html(spec.description)}</div>\n"
        f"{_links('The client’s attachments', attachments)}{_links('What was handed in', deliverables)}"
        f"<h2>What to judge</h2><p class=quiet>Write your verdicts into {_html(_workbook_name(spec))}.</p>"
        f"<ul>{criteria}</ul>\n</html>\n"
    )
    return page.encode("utf-8")


def _links(heading: str, files: list[str]) -> str:
    if not files:
        return "<h2>What was handed in</h2><p>Nothing.</p>\n" if heading.startswith("What") else ""
    items = "".join(f'<li><a href="{_html(name)}">{_html(name)}</a></li>' for name in files)
    return f"<h2>{heading}</h2><ul>{items}</ul>\n"


def _html(text: str) -> str:
    return escape(clean(text), quote=True)


def _holds(folder: Path, spec: PacketSpec, packet_sha256: str) -> bool:
    """Whether the folder is this very packet, whole: the twin names its digest, no file is missing."""
    wanted = f"packet_sha256,{packet_sha256}\r\n".encode()
    try:
        if wanted not in (folder / _twin_name(spec)).read_bytes()[:400]:
            return False
        sizes = [path.stat().st_size for path in (folder / _workbook_name(spec), folder / "brief.html")]
        given = len(list((folder / "deliverables").iterdir())) if spec.deliverables else 0
    except OSError:
        return False
    return min(sizes) > 0 and given == len(spec.deliverables)


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
