"""Packets: whole or not there, the same every time, harmless to open, and silent about who made the work."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline.grading.blind import safe_extension, safe_name
from hapi_pipeline.grading.packets import (
    Criterion,
    PacketSpec,
    guard,
    packet_digest,
    packet_id_for,
    unguard,
    write_packet,
)
from hapi_pipeline.grading.text import clean
from hapi_pipeline.settings import UserError

MAKER = "QuillMind"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_packet_ids_are_opaque_and_stable() -> None:
    ids = {packet_id_for(f"attempt-{n}") for n in range(500)}
    assert len(ids) == 500
    assert all(re.fullmatch(r"pk_[a-z2-7]{12}", packet_id) for packet_id in ids)
    assert packet_id_for("attempt-1") == packet_id_for("attempt-1")


def test_a_packet_holds_what_a_grader_needs(spec: PacketSpec, tmp_path: Path) -> None:
    attachment = tmp_path / "photo.txt"
    attachment.write_text("from the client")
    sha = write_packet(replace(spec, attachments=(attachment,)), tmp_path / "out" / "p")
    assert sorted(files_of(tmp_path / "out" / "p")) == [
        "attachments/photo.txt",
        "brief.html",
        "deliverables/deliverable_01.md",
        "deliverables/deliverable_02.csv",
        f"packet_{spec.packet_id}.csv",
        f"packet_{spec.packet_id}.xlsx",
    ]
    assert re.fullmatch(r"[0-9a-f]{64}", sha)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["p"]  # nothing staged is left behind


def test_the_same_packet_gives_the_same_bytes(spec: PacketSpec, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    assert write_packet(spec, first) == write_packet(spec, second) == packet_digest(spec)
    assert files_of(first) == files_of(second)


def test_writing_again_leaves_the_folder_alone(spec: PacketSpec, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    write_packet(spec, folder)
    before = {p: p.stat().st_ino for p in folder.rglob("*")}
    write_packet(spec, folder)
    assert {p: p.stat().st_ino for p in folder.rglob("*")} == before


@pytest.mark.parametrize("damage", ["workbook", "twin", "deliverable", "whole", "other"])
def test_a_damaged_or_different_folder_is_replaced(spec: PacketSpec, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "p"
    write_packet(spec, folder)
    good = files_of(folder)
    if damage == "workbook":
        (folder / f"packet_{spec.packet_id}.xlsx").write_bytes(b"")
    elif damage == "twin":
        (folder / f"packet_{spec.packet_id}.csv").unlink()
    elif damage == "deliverable":
        (folder / "deliverables" / "deliverable_01.md").unlink()
    elif damage == "whole":
        (tmp_path / ".p.new").mkdir()  # as a kill leaves it behind
        folder.rename(tmp_path / ".p.old")
    else:
        write_packet(replace(spec, title="Another title"), folder)
        assert files_of(folder) != good
    write_packet(spec, folder)
    assert files_of(folder) == good
    assert not list(tmp_path.glob(".p.*"))


def test_the_digest_covers_everything_that_a_grader_sees(spec: PacketSpec) -> None:
    changed = [
        replace(spec, title="x"),
        replace(spec, description="x"),
        replace(spec, category=None),
        replace(spec, skills=("spreadsheetsbookkeeping",)),
        replace(spec, rubric_version="x"),
        replace(spec, packet_id=packet_id_for("attempt-2")),
        replace(spec, criteria=spec.criteria[:3]),
        replace(spec, criteria=(replace(spec.criteria[0], importance="optional"), *spec.criteria[1:])),
        replace(spec, deliverables=spec.deliverables[:1]),
        replace(spec, deliverables=spec.deliverables[::-1]),
        replace(spec, deliverables=(), attachments=spec.deliverables),
    ]
    assert len({packet_digest(s) for s in (spec, *changed)}) == len(changed) + 1


def test_files_that_lead_elsewhere_are_refused(spec: PacketSpec, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "work" / "report.md")
    for path in (tmp_path / "link", tmp_path / "missing", tmp_path / "work"):
        with pytest.raises(UserError, match="regular file"):
            write_packet(replace(spec, deliverables=(path,)), tmp_path / "p")
        assert not (tmp_path / "p").exists()
    with pytest.raises(UserError, match="packet id"):
        write_packet(replace(spec, packet_id="../evil"), tmp_path / "p")


def test_evil_names_do_not_reach_the_packet(spec: PacketSpec, tmp_path: Path) -> None:
    names = [
        "=cmd|' calc'.md",
        "-rf \u202etxt.exe",
        f"{MAKER}.{MAKER.lower()}",
        "<img src=x>.html",
        "\u00e9\x07.csv",
    ]
    paths = []
    for name in names:
        paths.append(tmp_path / name)
        paths[-1].write_text("text")
    folder = tmp_path / "p"
    write_packet(replace(spec, deliverables=tuple(paths)), folder)
    assert sorted(p.name for p in (folder / "deliverables").iterdir()) == [
        "deliverable_01.md",
        "deliverable_02.txt",
        "deliverable_03.txt",
        "deliverable_04.html",
        "deliverable_05.csv",
    ]


def test_dangerous_text_stays_text(spec: PacketSpec, tmp_path: Path) -> None:
    texts = [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "http://x.example",
        "<script>alert(1)</script>",
        "_x0041_",
        "'=1",
        "007",
        "1E5",
        "\x00\x0b\ud800 odd",
        "x" * 40_000,
    ]
    criteria = tuple(Criterion(f"c{n:02d}", n, text, "critical") for n, text in enumerate(texts, 1))
    folder = tmp_path / "p"
    write_packet(replace(spec, criteria=criteria, title=texts[0], description=texts[6]), folder)

    sheet = openpyxl.load_workbook(folder / f"packet_{spec.packet_id}.xlsx")["grade"]
    cells = [sheet.cell(8 + n, 3) for n in range(len(texts))]
    assert {cell.data_type for cell in cells} == {"s"}
    assert all(cell.hyperlink is None for cell in cells)
    assert [cell.value for cell in cells[:11]] == texts[:11]
    assert cells[11].value == "\ufffd\ufffd\ufffd odd"
    assert len(str(cells[12].value)) < 32_767

    twin = (folder / f"packet_{spec.packet_id}.csv").read_text("utf-8-sig")
    assert not re.search(r'(?m)(^|,)"?[=+@\t-]', twin)
    page = (folder / "brief.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=20) | st.from_regex(r"'{0,3}[=+\-@\t]x?", fullmatch=True))
def test_the_apostrophe_before_formulas_is_undone(text: str) -> None:
    cell = guard(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unguard(cell) == clean(text)


def test_the_workbook_is_fit_to_work_in(spec: PacketSpec, tmp_path: Path) -> None:
    write_packet(spec, tmp_path / "p")
    book = openpyxl.load_workbook(tmp_path / "p" / f"packet_{spec.packet_id}.xlsx")
    grade = book["grade"]
    assert book.active is grade
    assert book["_meta"].sheet_state == "hidden"
    assert not grade.merged_cells.ranges
    assert grade.protection.sheet
    assert grade.protection.password is None
    assert grade.freeze_panes == "A8"
    assert sum(7 * grade.column_dimensions[c].width + 5 for c in "ABCDE") < 1366 - 60  # pixels of a laptop's screen
    inputs = ["E4", "C5", "E5", "C6", *(f"{c}{r}" for c in "DE" for r in range(8, 12))]
    assert not any(grade[cell].protection.locked for cell in inputs)
    assert all(grade[cell].protection.locked for cell in ("C4", "A8", "C8"))
    lists = [v for v in grade.data_validations.dataValidation if v.type == "list"]
    assert [(str(v.sqref), v.formula1) for v in lists] == [("D8:D11", '"PASS,FAIL,CANNOT_JUDGE"')]


# --- blindness ------------------


def office(kind: str) -> bytes:
    out = io.BytesIO()
    core = f"<cp><creator>{MAKER}</creator><lastModifiedBy>{MAKER}</lastModifiedBy></cp>"
    with zipfile.ZipFile(out, "w") as archive:
        archive.comment = MAKER.encode()
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(f"{kind}/document.xml", "<w>kept text</w>")
        archive.writestr("docProps/core.xml", core)
        archive.writestr("docProps/app.xml", f"<p><Application>{MAKER}</Application><Company>{MAKER}</Company></p>")
        archive.writestr("docProps/custom.xml", f"<p>{MAKER}</p>")
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png() -> bytes:
    pixel = zlib.compress(b"\0\xff\0\0")
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
        + chunk(b"tEXt", b"Software\0" + MAKER.encode())
        + chunk(b"iTXt", b"Author\0\0\0\0\0" + MAKER.encode())
        + chunk(b"IDAT", pixel)
        + chunk(b"IEND", b"")
        + MAKER.encode()
    )


def notebook() -> bytes:
    cell = {"cell_type": "code", "metadata": {"by": MAKER}, "source": ["1 + 1"], "outputs": []}
    return json.dumps({"cells": [cell], "metadata": {"authors": [MAKER]}, "nbformat": 4}).encode()


def everything(data: bytes) -> bytes:
    """The bytes, and those of all that is packed in them."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return data + b"".join(n.encode() + everything(archive.read(n)) for n in archive.namelist())


def test_nothing_in_a_packet_names_the_maker(spec: PacketSpec, tmp_path: Path) -> None:
    made = tmp_path / f"{MAKER}_agent_alone"
    made.mkdir()
    contents = {
        "docx": office("word"),
        "xlsx": office("xl"),
        "pptx": office("ppt"),
        "png": png(),
        "ipynb": notebook(),
    }
    paths = []
    for kind, data in contents.items():
        paths.append(made / f"{MAKER}.{kind}")
        paths[-1].write_bytes(data)
        assert MAKER.encode() in everything(data)
    folder = tmp_path / "p"
    write_packet(replace(spec, deliverables=tuple(paths)), folder)
    for name, data in files_of(folder).items():
        assert MAKER.lower() not in name.lower()
        for word in (MAKER, "agent_alone", "attempt"):
            assert word.lower().encode() not in everything(data).lower(), (name, word)
    cleaned = (folder / "deliverables" / "deliverable_01.docx").read_bytes()
    assert b"kept text" in everything(cleaned)
    assert b"IDAT" in (folder / "deliverables" / "deliverable_04.png").read_bytes()
    assert json.loads((folder / "deliverables" / "deliverable_05.ipynb").read_bytes())["cells"][0]["source"]


@settings(derandomize=True, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=6))
def test_attachment_names_are_safe_and_distinct(names: list[str]) -> None:
    taken: set[str] = set()
    chosen = [safe_name(name, taken, f"attachment_{n}") for n, name in enumerate(names)]
    assert len({name.casefold() for name in chosen}) == len(names)
    assert all(re.fullmatch(r"[\w ()+=@-][\w .()+=@-]*", name) for name in chosen)


@pytest.mark.parametrize(
    ("name", "data", "extension"),
    [
        ("a.DOCX", b"PK", "docx"),
        ("a.exe", b"MZ\0\0", "bin"),
        ("a.bat", b"echo", "txt"),
        ("noname", "é".encode(), "txt"),
        ("a.tar.gz", b"\x1f\x8b", "gz"),
        ("..\\..\\x.../", b"", "bin"),
        ("a.quillmind", b"\xff\xfe\xfd and more bytes", "bin"),
    ],
)
def test_extensions_come_from_a_list(name: str, data: bytes, extension: str) -> None:
    assert safe_extension(name, data) == extension
