"""Simulated graders: they judge by what was handed in, and fill the workbook as a person's program does."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import date
from pathlib import Path
from xml.sax.saxutils import escape

import openpyxl
import pytest

from hapi_pipeline.grading.files import read_verdict_file
from hapi_pipeline.grading.packets import Criterion, PacketSpec, packet_id_for, write_packet
from hapi_pipeline.settings import UserError
from hapi_pipeline.simulate.graders import Work, fold, folded_text, grade_packets, grade_work

DAY = date(2026, 4, 3)
TRICKY = 'Totals of *A & B* are < 5 "units", as in row #1_x0041_'


def packet(tmp_path: Path, name: str, files: dict[str, bytes], texts: tuple[str, ...]) -> Path:
    work = tmp_path / "work" / name
    work.mkdir(parents=True)
    paths = []
    for file, data in files.items():
        paths.append(work / file)
        paths[-1].write_bytes(data)
    criteria = tuple(Criterion(f"c{n:02d}", n, text, "critical") for n, text in enumerate(texts, 1))
    folder = tmp_path / "packets" / packet_id_for(name)
    write_packet(PacketSpec(packet_id_for(name), name, "", None, (), criteria, "r1", tuple(paths)), folder)
    return folder


def verdicts(path: Path) -> list[object]:
    return [row.values["passed"] for row in read_verdict_file(path).rows]


def docx(*runs: str) -> bytes:
    text = "".join(f'<w:r><w:t xml:space="preserve">{escape(run)}</w:t></w:r>' for run in runs)
    return zipped("word/document.xml", f"<w:document><w:body><w:p>{text}</w:p><w:p/></w:body></w:document>")


def xlsx(text: str) -> bytes:
    out = io.BytesIO()
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.cell(3, 2).value = text
    book.save(out)
    return out.getvalue()


def zipped(name: str, text: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, text)
    return out.getvalue()


MARKDOWN = re.sub(r"([*_#&<\"])", r"\\\1", TRICKY).replace(" ", "\n", 2)
TSPANS = "".join(f"<tspan>{escape(part.strip())}</tspan>" for part in (TRICKY[:20], TRICKY[20:]))
CARRIERS = {
    "a.md": MARKDOWN.encode(),
    "b.md": escape(TRICKY).upper().encode(),
    "a.csv": ('id,note\n1,"' + TRICKY.replace('"', '""') + '"\n').encode("utf-8-sig"),
    "a.html": f"<p>{escape(TRICKY).replace('Totals', '<b>Tot</b>als')}</p>".encode(),
    "a.svg": f"<svg><text>{TSPANS}</text></svg>".encode(),
    "a.docx": docx(TRICKY[:12], TRICKY[12:]),
    "a.xlsx": xlsx(TRICKY.replace("_x0041_", "_x005F_x0041_")),
    "a.txt": TRICKY.encode(),
}


@pytest.mark.parametrize("name", CARRIERS)
def test_a_criterion_is_found_in_every_kind_of_file(tmp_path: Path, name: str) -> None:
    texts = (TRICKY, "Something that nobody wrote") if name != "a.xlsx" else (TRICKY[:40], "Something else")
    folder = packet(tmp_path, "j", {name: CARRIERS[name]}, texts)
    (path,) = grade_packets([folder], tmp_path / "out", on=DAY)
    assert path == tmp_path / "out" / f"{packet_id_for('j')}.xlsx"
    assert verdicts(path) == ["PASS", "FAIL"]


def test_what_was_not_handed_in_fails(tmp_path: Path) -> None:
    files = {"a.docx": b"PK\x03\x04 broken", "b.png": b"\x89PNG", "c.html": b"\xff\xfe<"}
    folder = packet(tmp_path, "j", files, ("One thing", "???"))
    (path,) = grade_packets([folder], tmp_path / "out", on=DAY)
    file = read_verdict_file(path)
    assert [row.values["passed"] for row in file.rows] == ["FAIL", "FAIL"]
    assert all(row.values["comment"] for row in file.rows)
    assert "One thing" in file.header["overall_feedback"]
    nothing = packet(tmp_path, "k", {}, ("One thing",))
    assert verdicts(grade_packets([nothing], tmp_path / "out")[0]) == ["FAIL"]


def test_all_passed_needs_no_feedback(tmp_path: Path) -> None:
    folder = packet(tmp_path, "j", {"a.txt": b"one  THING\nand another"}, ("One thing", "and Another"))
    file = read_verdict_file(grade_packets([folder], tmp_path / "out", grader="g & co", on=DAY)[0])
    assert [row.values["passed"] for row in file.rows] == ["PASS", "PASS"]
    assert "overall_feedback" not in file.header
    assert (file.header["grader"], file.header["graded_at"]) == ("g & co", "2026-04-03")
    assert 8 <= file.header["minutes"] <= 35


def test_a_filled_workbook_equals_one_filled_by_hand(tmp_path: Path) -> None:
    folder = packet(tmp_path, "j", {"a.txt": b"first thing"}, ("First thing", "=SECOND <thing> & co", "third\nthing"))
    (path,) = grade_packets([folder], tmp_path / "out", grader="=g<1>", on=DAY)
    by_machine = read_verdict_file(path)

    book = openpyxl.load_workbook(folder / f"packet_{packet_id_for('j')}.xlsx")
    sheet = book["grade"]
    sheet["E4"], sheet["C5"], sheet["E5"] = "=g<1>", DAY, by_machine.header["minutes"]
    sheet["E4"].data_type = "s"
    sheet["C6"] = by_machine.header["overall_feedback"]
    for row in by_machine.rows:
        sheet.cell(row.row, 4).value = row.values["passed"]
        sheet.cell(row.row, 5).value = row.values["comment"]
    book.save(tmp_path / "hand.xlsx")
    assert read_verdict_file(tmp_path / "hand.xlsx") == by_machine
    # and a spreadsheet library finds the same in the machine's file, formats and drop-downs included
    theirs, ours = (
        openpyxl.load_workbook(path)["grade"],
        openpyxl.load_workbook(tmp_path / "hand.xlsx")["grade"],
    )
    assert [[c.value for c in r] for r in theirs.iter_rows()] == [[c.value for c in r] for r in ours.iter_rows()]
    assert theirs["D8"].fill.fgColor.rgb == ours["D8"].fill.fgColor.rgb
    assert len(theirs.data_validations.dataValidation) == len(ours.data_validations.dataValidation)


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    folders = [packet(tmp_path, f"j{n}", {"a.txt": b"one"}, ("One", "Two")) for n in range(6)]

    def files(out: str, seed: int) -> list[bytes]:
        return [p.read_bytes() for p in grade_packets(folders, tmp_path / out, seed=seed, on=DAY)]

    assert files("a", 1) == files("b", 1)
    assert files("a", 1) != files("c", 2)
    assert sorted(p.suffix for p in (tmp_path / "a").iterdir()) == [".xlsx"] * 6


def test_many_packets_are_shared_among_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hapi_pipeline.parallel._LEAST", 2)
    folders = [packet(tmp_path, f"j{n}", {"a.txt": b"one"}, ("One", "Two")) for n in range(4)]
    shared = grade_packets(folders, tmp_path / "a", workers=2, on=DAY)
    alone = grade_packets(folders, tmp_path / "b", workers=1, on=DAY)
    assert [p.name for p in shared] == [f"{folder.name}.xlsx" for folder in folders]
    assert [p.read_bytes() for p in shared] == [p.read_bytes() for p in alone]


def test_graders_who_err_do_so_now_and_then_and_others_never(tmp_path: Path) -> None:
    texts = tuple(f"Thing number {n}." for n in range(60))
    half = " ".join(texts[::2]).encode()
    folders = [packet(tmp_path, f"j{n}", {"a.txt": half}, texts) for n in range(8)]
    desk = [Work(f, g, errs=g == "sim-2") for g in ("sim-1", "sim-2") for f in folders]
    paths = grade_work(desk, tmp_path / "out", on=DAY)
    assert [p.relative_to(tmp_path / "out").as_posix() for p in paths[7:9]] == [
        f"sim-1/{folders[7].name}.xlsx",
        f"sim-2/{folders[0].name}.xlsx",
    ]
    truth = ["PASS", "FAIL"] * 30
    assert all(verdicts(p) == truth for p in paths[:8])
    wrong = [(was, said) for p in paths[8:] for was, said in zip(truth, verdicts(p), strict=True) if was != said]
    assert 0 < wrong.count(("PASS", "FAIL")) < wrong.count(("FAIL", "PASS")) < 0.15 * 8 * 30
    assert read_verdict_file(paths[8]).header["grader"] == "sim-2"
    assert [p.read_bytes() for p in grade_work(desk, tmp_path / "again", on=DAY)] == [p.read_bytes() for p in paths]


def test_a_folder_without_a_workbook(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no packet workbook"):
        grade_packets([tmp_path], tmp_path / "out")


def test_folding() -> None:
    assert fold(" A\u00a0b\n\tC ") == "a b c"


def test_links_among_the_deliverables_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "deliverables"
    folder.mkdir()
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    assert "secret" not in folded_text(folder)
