"""What graders' programs do to files, one by one: each has its rule, and none costs a row without a word."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from hapi_pipeline.grading.delimited import decode
from hapi_pipeline.grading.files import OVERALL, read_verdict_file
from hapi_pipeline.grading.packets import PacketSpec, packet_id_for, write_packet
from hapi_pipeline.grading.verdicts import Gradable, GradingIndex, judge

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PACKET = packet_id_for("attempt-1")
HEAD = "packet_id,criterion_id,passed,grader,comment\n"
Drop = Callable[[str, str | bytes], Path]
Make = Callable[..., Gradable]


def judged(path: Path, index: GradingIndex) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return judge(read_verdict_file(path), index, source_file=path.name, source_sha256="ab", imported_at=NOW)


# --- encodings ------------------


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_its_mark(drop: Drop, index: GradingIndex, encoding: str) -> None:
    text = HEAD + f"{PACKET},c01,sì,ann,più grande ✓\n"
    rows, quarantine = judged(drop("x", text.encode(encoding)), index)
    assert quarantine == []
    assert [(r["passed"], r["comment"], r["flags"]) for r in rows] == [(True, "più grande ✓", ["guessed_encoding"])]


def test_one_broken_byte_does_not_spoil_all_other_letters(drop: Drop, index: GradingIndex) -> None:
    text = (HEAD + f"{PACKET},c01,да,ann,хорошо\n{PACKET},c02,нет,ann,#\n").encode().replace(b"#", b"\xff")
    rows, quarantine = judged(drop("x", text), index)
    assert quarantine == []
    assert [(r["passed"], r["comment"]) for r in rows] == [(True, "хорошо"), (False, "\ufffd")]
    assert {tuple(r["flags"]) for r in rows} == {("guessed_encoding",)}


def test_a_windows_code_page(drop: Drop, index: GradingIndex) -> None:
    text = HEAD.replace(",", ";") + f"{PACKET};c01;oui;ann;été “à vérifier” – 5 €\n"
    rows, _ = judged(drop("x", text.encode("cp1252")), index)
    assert [(r["passed"], r["comment"], r["flags"]) for r in rows] == [
        (True, "été “à vérifier” – 5 €", ["guessed_encoding"])
    ]


@pytest.mark.parametrize("text", ["a,b\n1,2\n" * 9, "\u4e00" * 40, "", "a"])
def test_what_is_plain_utf8_is_not_guessed(text: str) -> None:
    assert decode(text.encode(), "x") == (text, False)


# --- dialects ------------------


def test_the_line_that_excel_puts_on_top(drop: Drop, index: GradingIndex) -> None:
    text = "sep=;\r\n" + HEAD.replace(",", ";") + f"{PACKET};c01;WAHR;ann;\r\n"
    assert [r["passed"] for r in judged(drop("x", text), index)[0]] == [True]


@pytest.mark.parametrize(("value", "minutes"), [("12,5", 12.5), ("0,5", 0.5), ("7", 7.0)])
def test_decimal_commas(drop: Drop, index: GradingIndex, value: str, minutes: float) -> None:
    text = f"packet_id;criterion_id;passed;grader;minutes\n{PACKET};c01;1,0;ann;{value}\n"
    rows, quarantine = judged(drop("x", text), index)
    assert (quarantine, [(r["passed"], r["minutes"]) for r in rows]) == ([], [(True, minutes)])


# --- ids ------------------


def test_zeros_that_a_spreadsheet_has_taken_from_ids(make_gradable: Make, drop: Drop) -> None:
    index = GradingIndex([make_gradable(criteria=frozenset({"007", "010", "100"}))])
    rows, quarantine = judged(drop("x", HEAD + "".join(f"{PACKET},{c},pass,ann,\n" for c in ("7", "10", "100"))), index)
    assert quarantine == []
    assert [r["criterion_id"] for r in rows] == ["007", "010", "100"]


def test_zeros_are_not_guessed_where_two_would_do(make_gradable: Make, drop: Drop) -> None:
    index = GradingIndex([make_gradable(criteria=frozenset({"007", "07"}))])
    rows, quarantine = judged(drop("x", HEAD + f"{PACKET},7,pass,ann,\n"), index)
    assert (rows, [q["code"] for q in quarantine]) == ([], ["unknown_criterion"])


@pytest.mark.parametrize("value", [datetime(2026, 3, 1), "2026-03-01"])  # noqa: DTZ001 (a cell has no zone)
def test_an_id_that_has_become_a_date_is_told_so(
    spec: PacketSpec, index: GradingIndex, tmp_path: Path, value: Any
) -> None:
    write_packet(spec, tmp_path / "p")
    book = openpyxl.load_workbook(tmp_path / "p" / f"packet_{spec.packet_id}.xlsx")
    sheet = book["grade"]
    sheet["A8"], sheet["D8"], sheet["D9"] = value, "PASS", "PASS"
    book.save(tmp_path / "x.xlsx")
    rows, quarantine = judged(tmp_path / "x.xlsx", index)
    assert [r["criterion_id"] for r in rows] == ["c02"]
    (found,) = [q for q in quarantine if q["code"] == "unknown_criterion"]
    assert "turned the id of this criterion into a date" in found["message"]


# --- cells ------------------


def test_a_formula_is_a_formula_though_its_value_is_kept(spec: PacketSpec, index: GradingIndex, tmp_path: Path) -> None:
    """As Excel saves it: the formula, and beside it what it last came to."""
    write_packet(spec, tmp_path / "p")
    with zipfile.ZipFile(tmp_path / "p" / f"packet_{spec.packet_id}.xlsx") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = "xl/worksheets/sheet1.xml"
    cell = rb'<c r="D8"\1 t="str"><f>IF(1=1,"PASS","FAIL")</f><v>PASS</v></c>'
    parts[name], done = re.subn(rb'<c r="D8"([^>]*?)/>', cell, parts[name])
    assert done == 1
    with zipfile.ZipFile(tmp_path / "x.xlsx", "w") as archive:
        for part, data in parts.items():
            archive.writestr(part, data)
    rows, quarantine = judged(tmp_path / "x.xlsx", index)
    assert rows == []
    assert [(q["row"], q["code"], q["value"]) for q in quarantine if q["row"] == 8] == [(8, "formula_cell", "PASS")]


def test_what_stands_beside_a_blank_field_is_not_taken_for_it(
    spec: PacketSpec, index: GradingIndex, tmp_path: Path
) -> None:
    """The field for overall feedback is left blank: the label, figure or note to its right is something else."""
    write_packet(spec, tmp_path / "p")
    book = openpyxl.load_workbook(tmp_path / "p" / f"packet_{spec.packet_id}.xlsx")
    sheet = book["grade"]
    sheet["G5"], sheet["G6"], sheet["D8"] = "checked by me", "=COUNTA(D8:D11)", "PASS"
    book.save(tmp_path / "x.xlsx")
    rows, quarantine = judged(tmp_path / "x.xlsx", index)
    assert [r["criterion_id"] for r in rows] == ["c01"]
    assert rows[0]["minutes"] is None
    assert {q["code"] for q in quarantine} == {"missing_verdict"}


def test_a_blank_is_never_a_verdict_in_any_form(drop: Drop, index: GradingIndex) -> None:
    for blank in ("", " ", "\u00a0", "\u200b", "\u3000", "\t", "\ufeff"):
        text = "packet_id;criterion_id;passed;grader\n" + f'{PACKET};c01;"{blank}";ann\n'
        rows, quarantine = judged(drop("x", text), index)
        assert (rows, [q["code"] for q in quarantine]) == ([], ["missing_verdict"]), repr(blank)
    for value in ("null", '""', '" "', "[]", "{}", "NaN", '[""]'):
        line = f'{{"packet_id":"{PACKET}","criterion_id":"c01","passed":{value},"grader":"ann"}}\n'
        rows, quarantine = judged(drop("x", line), index)
        assert rows == [], value
        assert next(q["code"] for q in quarantine) in ("missing_verdict", "bad_verdict"), value


def test_overall_feedback_alone_is_taken(drop: Drop, index: GradingIndex) -> None:
    rows, quarantine = judged(drop("x", HEAD + f"{PACKET},{OVERALL},,ann,Good start\n"), index)
    assert (quarantine, [(r["passed"], r["comment"]) for r in rows]) == ([], [(None, "Good start")])
