"""The files that come back: every form and dialect reads the same, and what is odd is told, not swallowed."""

from __future__ import annotations

import csv
import io
import json
import random
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline.grading.files import OVERALL, read_verdict_file
from hapi_pipeline.grading.packets import Criterion, PacketSpec, guard, write_packet
from hapi_pipeline.grading.text import clean
from hapi_pipeline.grading.verdicts import Gradable, GradingIndex, judge
from hapi_pipeline.settings import UserError

NOW = datetime.fromisoformat("2026-05-01T12:00:00+00:00")
Verdicts = dict[str, tuple[bool | None, str]]
WORD = {True: "PASS", False: "FAIL", None: "CANNOT_JUDGE"}
SAMPLE: Verdicts = {
    "c01": (True, ""),
    "c02": (False, '=2+2 is not "four"; it\'s a, b\nand c'),
    "c03": (None, "-5 € ✓"),
    "c04": (True, "'@x"),
}


def judged(path: Path, index: GradingIndex) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return judge(read_verdict_file(path), index, source_file=path.name, source_sha256="ab", imported_at=NOW)


def outcome(path: Path, index: GradingIndex) -> Verdicts:
    rows, quarantine = judged(path, index)
    assert quarantine == []
    return {row["criterion_id"]: (row["passed"], row["comment"] or "") for row in rows}


def codes(path: Path, index: GradingIndex) -> list[tuple[int | None, str]]:
    return [(entry["row"], entry["code"]) for entry in judged(path, index)[1]]


# --- writers: what a grader and a grader's programs do ------------------


def fill_workbook(source: Path, target: Path, verdicts: Verdicts, change: Callable[[Any], None] | None = None) -> Path:
    book = openpyxl.load_workbook(source)
    sheet = book["grade"]
    sheet["E4"], sheet["C5"], sheet["E5"] = "ann", date(2026, 4, 3), 12.5
    sheet["C6"] = "Good start"
    for row in range(8, sheet.max_row + 1):
        passed, comment = verdicts[str(sheet.cell(row, 1).value)]
        sheet.cell(row, 4).value = WORD[passed]
        cell = sheet.cell(row, 5)
        cell.value = comment
        cell.data_type = "s"  # typed with an apostrophe: text, whatever it begins with
    if change:
        change(sheet)
    book.save(target)
    return target


def fill_twin(source: Path, target: Path, verdicts: Verdicts, delimiter: str = ",", encoding: str = "utf-8") -> Path:
    rows = list(csv.reader(io.StringIO(source.read_text("utf-8-sig"), newline="")))
    entered = {
        "grader": "ann",
        "graded on": "2026-04-03",
        "minutes": "12,5",
        "overall feedback": "Good start",
    }
    for row in rows:
        if row and row[0] in entered:
            row[1] = entered[row[0]]
        elif row and row[0] in verdicts:
            row[3], row[4] = WORD[verdicts[row[0]][0]], guard(verdicts[row[0]][1])
    return write_csv(target, rows, delimiter, encoding)


def write_csv(
    target: Path,
    rows: Sequence[Sequence[str]],
    delimiter: str = ",",
    encoding: str = "utf-8",
    quoting: int = 0,
) -> Path:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=quoting).writerows(rows)  # type: ignore[arg-type]
    target.write_bytes(out.getvalue().encode(encoding, "replace"))
    return target


LONG = ("packet_id", "criterion_id", "passed", "comment", "grader", "minutes", "graded_at")


def long_rows(packet_id: str, verdicts: Verdicts) -> list[list[str]]:
    rows = [
        [packet_id, criterion, WORD[passed], comment, "ann", "12.5", "2026-04-03"]
        for criterion, (passed, comment) in verdicts.items()
    ]
    return [list(LONG), *rows, [packet_id, OVERALL, "", "Good start", "ann", "", ""]]


def write_jsonl(target: Path, packet_id: str, verdicts: Verdicts, ascii_only: bool = False) -> Path:
    lines = [
        {
            "packet_id": packet_id,
            "criterion_id": c,
            "passed": passed if passed is not None else "CANNOT_JUDGE",
            "comment": comment,
            "grader": "ann",
            "minutes": 12.5,
            "graded_at": "2026-04-03T10:00:00Z",
        }
        for c, (passed, comment) in verdicts.items()
    ]
    lines.append({"packet_id": packet_id, "criterion_id": OVERALL, "comment": "Good start", "grader": "ann"})
    text = "".join(json.dumps(line, ensure_ascii=ascii_only) + "\n" for line in lines)
    target.write_text(text, "utf-8", newline="\n")
    return target


@pytest.fixture
def packet(spec: PacketSpec, tmp_path: Path) -> Path:
    write_packet(spec, tmp_path / "packet")
    return tmp_path / "packet" / f"packet_{spec.packet_id}.xlsx"


@pytest.fixture
def twin(packet: Path) -> Path:
    return packet.with_suffix(".csv")


# --- every form reads back the same ------------------


def test_an_untouched_packet_is_all_missing(packet: Path, twin: Path, index: GradingIndex) -> None:
    assert codes(packet, index) == [(row, "missing_verdict") for row in range(8, 12)]
    assert codes(twin, index) == [(row, "missing_verdict") for row in range(1, 5)]
    assert judged(packet, index)[0] == judged(twin, index)[0] == []


def test_a_filled_workbook(packet: Path, tmp_path: Path, index: GradingIndex, spec: PacketSpec) -> None:
    path = fill_workbook(packet, tmp_path / "whatever name.txt", SAMPLE)
    file = read_verdict_file(path)
    assert file.form == "workbook"
    assert file.header["packet_id"] == spec.packet_id
    assert file.header["rubric_version"] == "rubric-7"
    assert outcome(path, index) == SAMPLE | {OVERALL: (None, "Good start")}
    row = judged(path, index)[0][1]
    assert (row["grader"], row["minutes"], row["grader_role"], row["source_row"]) == (
        "ann",
        12.5,
        "grader",
        8,
    )
    assert row["graded_at"] == datetime.fromisoformat("2026-04-03T00:00:00+00:00")
    assert (row["attempt_id"], row["model"], row["job_id"]) == ("attempt-1", "quillmind-9", "j1")
    assert row["flags"] == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_twin_in_every_dialect(
    twin: Path, tmp_path: Path, index: GradingIndex, encoding: str, delimiter: str
) -> None:
    verdicts = SAMPLE | {"c03": (None, "-5 € für alles")}
    path = fill_twin(twin, tmp_path / "back", verdicts, delimiter, encoding)
    assert read_verdict_file(path).form == "twin"
    assert outcome(path, index) == verdicts | {OVERALL: (None, "Good start")}
    rows = judged(path, index)[0]
    assert {(r["grader"], r["minutes"], str(r["graded_at"])[:10]) for r in rows} == {("ann", 12.5, "2026-04-03")}
    assert {tuple(r["flags"]) for r in rows} == {("guessed_encoding",) if encoding == "cp1252" else ()}


def test_the_twin_as_a_spreadsheet_saves_the_workbook(packet: Path, tmp_path: Path, index: GradingIndex) -> None:
    sheet = openpyxl.load_workbook(fill_workbook(packet, tmp_path / "a.xlsx", SAMPLE))["grade"]
    rows = [["" if c is None else str(c) for c in row] for row in sheet.iter_rows(values_only=True)]
    path = write_csv(tmp_path / "a.csv", rows, ";", "utf-8-sig")
    assert outcome(path, index)["c02"] == SAMPLE["c02"]
    assert {str(r["graded_at"])[:10] for r in judged(path, index)[0]} == {"2026-04-03"}


def test_a_title_in_brackets_is_not_taken_for_json(spec: PacketSpec, tmp_path: Path, index: GradingIndex) -> None:
    write_packet(replace(spec, title="[Urgent] {Tidy}"), tmp_path / "p")
    book = openpyxl.load_workbook(tmp_path / "p" / f"packet_{spec.packet_id}.xlsx")
    rows = [["" if c is None else str(c) for c in row] for row in book["grade"].iter_rows(values_only=True)]
    path = write_csv(tmp_path / "a.csv", rows)
    assert [code for _, code in codes(path, index)] == ["missing_verdict"] * 4


def test_long_csv_by_job_model_and_round(tmp_path: Path, index: GradingIndex, spec: PacketSpec) -> None:
    rows = [["Job_ID", "model", "round", "Criterion ID", "Verdict", "comments", "grader", "role", "colour"]]
    rows += [["j1", "quillmind-9", "agent_alone", c, "yes", "fine", "bo", "Adjudicator", "red"] for c in SAMPLE]
    path = write_csv(tmp_path / "x", rows)
    verdicts, quarantine = judged(path, index)
    assert quarantine == []
    assert {(v["packet_id"], v["passed"], v["grader_role"]) for v in verdicts} == {
        (spec.packet_id, True, "adjudicator")
    }
    assert read_verdict_file(path).header["ignored"] == ("colour",)


comments = st.text(st.characters(codec="utf-8"), max_size=25) | st.from_regex(
    r"[=+\-@'\t;,\"]{1,3}[a-z]?", fullmatch=True
)
verdict_sets = st.fixed_dictionaries(
    {c: st.tuples(st.sampled_from([True, False, None]), comments) for c in ("c01", "c02", "c03", "c04")}
)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    derandomize=True,
)
@given(
    verdicts=verdict_sets,
    delimiter=st.sampled_from(",;\t"),
    encoding=st.sampled_from(["utf-8-sig", "utf-16"]),
)
def test_any_verdicts_read_back_the_same_from_every_form(
    packet: Path,
    twin: Path,
    tmp_path: Path,
    index: GradingIndex,
    verdicts: Verdicts,
    delimiter: str,
    encoding: str,
) -> None:
    expected = {c: (passed, clean(comment).strip()) for c, (passed, comment) in verdicts.items()}
    expected[OVERALL] = (None, "Good start")
    packet_id = twin.stem.removeprefix("packet_")
    storable = {c: (passed, clean(comment)) for c, (passed, comment) in verdicts.items()}
    for path in (
        fill_workbook(packet, tmp_path / "1", storable),
        fill_twin(twin, tmp_path / "2", verdicts, delimiter, encoding),
        write_csv(tmp_path / "3", long_rows(packet_id, verdicts), delimiter, encoding, csv.QUOTE_ALL),
        write_jsonl(tmp_path / "4", packet_id, verdicts),
        write_jsonl(tmp_path / "5", packet_id, verdicts, ascii_only=True),
    ):
        assert outcome(path, index) == expected, path.name


def test_a_split_file_equals_the_whole(tmp_path: Path, index: GradingIndex, spec: PacketSpec) -> None:
    head, *rows = long_rows(spec.packet_id, SAMPLE)
    whole = outcome(write_csv(tmp_path / "w", [head, *rows]), index)
    for cut in range(1, len(rows)):
        parts = (
            write_csv(tmp_path / "a", [head, *rows[:cut]]),
            write_csv(tmp_path / "b", [head, *rows[cut:]]),
        )
        assert outcome(parts[0], index) | outcome(parts[1], index) == whole


def test_other_separators_within_a_cell_are_no_line_ends(tmp_path: Path, index: GradingIndex, spec: PacketSpec) -> None:
    verdicts: Verdicts = {"c01": (True, "a\u2028b\x85c")}
    path = write_csv(tmp_path / "x", long_rows(spec.packet_id, verdicts))
    assert outcome(path, index)["c01"] == verdicts["c01"]
    assert outcome(write_jsonl(tmp_path / "y", spec.packet_id, verdicts), index)["c01"] == verdicts["c01"]


# --- what is odd is told ------------------


def test_formulas_go_to_quarantine_with_their_place(packet: Path, tmp_path: Path, index: GradingIndex) -> None:
    def change(sheet: Any) -> None:
        sheet["D8"] = '=IF(1,"PASS","FAIL")'
        sheet["E9"] = "=1+1"
        sheet["E5"] = "=6+6"
        sheet["G20"] = "=COUNTA(D8:D11)"  # a note beside the table is nobody's business

    path = fill_workbook(packet, tmp_path / "f.xlsx", SAMPLE, change)
    rows, quarantine = judged(path, index)
    found = {(q["row"], q["column"], q["code"]) for q in quarantine}
    assert found == {
        (8, "passed", "formula_cell"),
        (9, "comment", "formula_cell"),
        (5, "minutes", "formula_cell"),
    }
    assert [r["criterion_id"] for r in rows] == [OVERALL, "c03", "c04"]
    assert {r["minutes"] for r in rows} == {None}
    assert any("Cell D8" in q["message"] for q in quarantine)


def test_merged_cells_cost_their_rows_only(packet: Path, tmp_path: Path, index: GradingIndex) -> None:
    def change(sheet: Any) -> None:
        sheet.merge_cells("D8:D9")
        sheet.merge_cells("B11:C11")  # columns that are never read back
        sheet.merge_cells("C6:E6")

    path = fill_workbook(packet, tmp_path / "m.xlsx", SAMPLE, change)
    assert codes(path, index) == [(8, "merged_cells"), (9, "merged_cells")]
    assert [r["criterion_id"] for r in judged(path, index)[0]] == [OVERALL, "c03", "c04"]
    assert all("D8:D9" in q["message"] for q in judged(path, index)[1])


def test_a_merge_that_swallows_whole_rows_is_told(packet: Path, tmp_path: Path, index: GradingIndex) -> None:
    path = fill_workbook(packet, tmp_path / "m.xlsx", SAMPLE, lambda sheet: sheet.merge_cells("A10:E11"))
    assert codes(path, index) == [(10, "merged_cells"), (11, "merged_cells")]


def test_values_of_other_types(packet: Path, tmp_path: Path, index: GradingIndex) -> None:
    def change(sheet: Any) -> None:
        sheet["D8"], sheet["D9"], sheet["D10"], sheet["D11"] = True, 0, "  Sì\u00a0", " "
        sheet["E8"], sheet["E4"] = 5, 7

    path = fill_workbook(packet, tmp_path / "t.xlsx", SAMPLE, change)
    rows, _ = judged(path, index)
    assert {r["criterion_id"]: r["passed"] for r in rows[1:]} == {"c01": True, "c02": False, "c03": True}
    assert (rows[1]["comment"], rows[1]["grader"]) == ("5", "7")
    assert codes(path, index) == [(11, "missing_verdict")]


def ods(rows: str) -> bytes:
    names = " ".join(f'xmlns:{n}="urn:oasis:names:tc:opendocument:xmlns:{n}:1.0"' for n in ("office", "table", "text"))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(
            "content.xml",
            f"<office:document-content {names}><office:body><office:spreadsheet>"
            f'<table:table table:name="grade">'
            f"{rows}</table:table></office:spreadsheet></office:body></office:document-content>",
        )
    return out.getvalue()


def cells(*values: str, attributes: str = "") -> str:
    inner = "".join(
        f'<table:table-cell office:value-type="string" {attributes if n == 3 else ""}><text:p>{v}</text:p>'
        "</table:table-cell>"
        if v
        else "<table:table-cell/>"
        for n, v in enumerate(values)
    )
    return f"<table:table-row>{inner}</table:table-row>"


def test_opendocument(tmp_path: Path, index: GradingIndex, spec: PacketSpec) -> None:
    blank = (
        '<table:table-row table:number-rows-repeated="2">'
        '<table:table-cell table:number-columns-repeated="9"/></table:table-row>'
    )
    date_row = (
        '<table:table-row><table:table-cell office:value-type="string">'
        "<text:p>graded on</text:p></table:table-cell>"
        '<table:table-cell office:value-type="date" office:date-value="2026-04-03"><text:p>03.04.26</text:p>'
        "</table:table-cell></table:table-row>"
    )
    rows = (
        cells("packet_id", spec.packet_id, "grader", "ann")
        + date_row
        + blank
        + cells("criterion_id", "importance", "criterion", "verdict", "comment")
        + cells("c01", "", "", "PASS", "a<text:s text:c='2'/>b<text:line-break/>c")
        + cells("c02", "", "", "PASS", "", attributes='table:formula="of:=[.A1]"')
        + cells("c03", "", "", "FAIL", "", attributes='table:number-columns-spanned="2"')
        + '<table:table-row table:number-rows-repeated="1048000"><table:table-cell/></table:table-row>'
    )
    path = tmp_path / "back.ods"
    path.write_bytes(ods(rows))
    verdicts, quarantine = judged(path, index)
    assert [(v["criterion_id"], v["comment"], str(v["graded_at"])[:10]) for v in verdicts] == [
        ("c01", "a  b\nc", "2026-04-03")
    ]
    assert [(q["row"], q["code"]) for q in quarantine] == [(7, "formula_cell"), (8, "merged_cells")]


def test_a_bad_line_of_json_costs_itself_only(tmp_path: Path, index: GradingIndex, spec: PacketSpec) -> None:
    path = write_jsonl(tmp_path / "x", spec.packet_id, SAMPLE)
    lines = path.read_text("utf-8").splitlines()
    deep = "[" * 100_000
    bad = ['{"packet_id": ', "[1]", deep, '{"criterion_id":"c01","passed":true,"verdict":false}', "9" * 5000]
    path.write_text("\n".join([lines[0], *bad, "", *lines[1:]]) + "\n", "utf-8")
    verdicts, quarantine = judged(path, index)
    assert len(verdicts) == 5
    assert [(q["row"], q["code"]) for q in quarantine] == [(n, "bad_line") for n in range(2, 7)]
    assert all(len(q["value"]) <= 120 for q in quarantine)


def test_lone_surrogates_become_storable(tmp_path: Path, index: GradingIndex, spec: PacketSpec) -> None:
    path = tmp_path / "x"
    record = {"packet_id": spec.packet_id, "criterion_id": "c01", "passed": "\ud83d", "grader": "a"}
    good = record | {"passed": 1, "comment": "\udfff\x00ok"}
    path.write_text(json.dumps(record) + "\n" + json.dumps(good))
    verdicts, quarantine = judged(path, index)
    assert verdicts[0]["comment"] == "\ufffd\ufffdok"
    json.dumps([verdicts, quarantine], ensure_ascii=False, default=str).encode("utf-8")
    assert quarantine[0]["code"] == "bad_verdict"


def test_a_stray_quote_costs_its_own_line(tmp_path: Path, index: GradingIndex, spec: PacketSpec) -> None:
    p = spec.packet_id
    lines = [
        "packet_id,criterion_id,passed,comment,grader",
        f'{p},c01,PASS,"never closed,ann',
        f"{p},c02,FAIL,,ann",
        f'{p},c03,PASS,"good",ann',
        f"{p},c04,PASS,too,many,ann",
    ]
    path = tmp_path / "q.csv"
    path.write_text("\n".join(lines) + "\n")
    assert codes(path, index) == [(1, "bad_line"), (4, "bad_line")]
    assert [v["criterion_id"] for v in judged(path, index)[0]] == ["c02", "c03"]
    # closed again by chance, so that the line after it looks like a part of a comment
    path.write_text("\n".join([lines[0], lines[1], f'{p},c02,FAIL,",ann', lines[3]]) + "\n")
    found = {v["criterion_id"] for v in judged(path, index)[0]}
    assert found == {"c03"}
    assert codes(path, index) == [(1, "bad_line"), (2, "bad_line")]


def test_a_stray_quote_above_the_table(twin: Path, tmp_path: Path, index: GradingIndex) -> None:
    path = fill_twin(twin, tmp_path / "x.csv", SAMPLE)
    path.write_text(path.read_text("utf-8").replace("grader,ann", 'grader,"ann'), "utf-8")
    verdicts, quarantine = judged(path, index)
    assert {v["criterion_id"] for v in verdicts} == {*SAMPLE, OVERALL}
    assert {v["grader"] for v in verdicts} == {"unknown"}
    assert [(q["row"], q["code"]) for q in quarantine] == [(None, "bad_line")]


@pytest.mark.parametrize("form", ["long", "twin"])
def test_random_corruption_never_crashes_and_loses_no_good_row(
    twin: Path, tmp_path: Path, index: GradingIndex, spec: PacketSpec, form: str
) -> None:
    chance = random.Random(5)
    path = tmp_path / "c.csv"
    if form == "long":
        path = write_csv(path, long_rows(spec.packet_id, SAMPLE | {"c02": (False, "two, or\nthree")}))
    else:
        path = fill_twin(twin, path, SAMPLE | {"c02": (False, "two, or three")})
    whole = path.read_bytes()
    refused = 0
    for _ in range(250):
        data = bytearray(whole)
        start = data.index(b"criterion_id,") + 40
        at = chance.randrange(start, len(data))
        kind = chance.randrange(3)
        if kind == 0:
            data[at] = chance.choice(b'",;\n\r\x00\xff\xe9= ax')
        elif kind == 1:
            data[at:at] = bytes([chance.choice(b'"",\n\x00\xff')])
        else:
            del data[at : at + chance.randrange(1, 4)]
        path.write_bytes(bytes(data))
        try:
            verdicts, quarantine = judged(path, index)
        except UserError:
            refused += 1
            continue
        given_ids = {v["criterion_id"] for v in verdicts if v["criterion_id"] != OVERALL}
        lost = set(SAMPLE) - given_ids
        # without the line end between them, two rows are one, with one code
        assert len(quarantine) >= len(lost) - (len(lost) > 1), (bytes(data), lost)
        for v in verdicts:
            # a damaged comment may differ, a verdict may not turn into the other one
            if v["criterion_id"] in SAMPLE:
                assert v["passed"] == SAMPLE[v["criterion_id"]][0]
    assert refused < 10


def test_random_corruption_of_a_workbook_never_crashes(packet: Path, tmp_path: Path, index: GradingIndex) -> None:
    chance = random.Random(6)
    whole = fill_workbook(packet, tmp_path / "w.xlsx", SAMPLE).read_bytes()
    path = tmp_path / "c.xlsx"
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(data))
            if chance.random() < 0.7:
                data[at] = chance.randrange(256)
            else:
                del data[at : at + chance.randrange(1, 50)]
        path.write_bytes(bytes(data))
        try:
            verdicts, _ = judged(path, index)
        except UserError:
            continue
        for v in verdicts:
            if v["criterion_id"] in SAMPLE:
                assert v["passed"] == SAMPLE[v["criterion_id"]][0]


def test_damage_to_the_workbooks_text(packet: Path, tmp_path: Path, index: GradingIndex) -> None:
    """Beneath the checksums: the XML itself is changed."""
    chance = random.Random(7)
    source = zipfile.ZipFile(fill_workbook(packet, tmp_path / "w.xlsx", SAMPLE))
    parts = {name: source.read(name) for name in source.namelist()}
    path = tmp_path / "c.xlsx"
    sentences = []
    for _ in range(200):
        name = chance.choice([n for n in parts if "sheet" in n or "workbook" in n or "shared" in n.lower()])
        data = bytearray(parts[name])
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(3)] = bytes(chance.choices(b'<>"/&A1 \x00\xff', k=chance.randrange(3)))
        with zipfile.ZipFile(path, "w") as target:
            for other, content in parts.items():
                target.writestr(other, bytes(data) if other == name else content)
        try:
            judged(path, index)
        except UserError as error:
            sentences.append(str(error))
    assert 10 < len(sentences) < 200
    assert not [sentence for sentence in sentences if "\n" in sentence]


# --- what is no verdict file at all ------------------


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


NO_VERDICTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "blank": (b" \r\n\t ", "empty"),
    "bom": (b"\xef\xbb\xbf", "no line of column names"),
    "binary": (bytes(range(256)) * 20, "not a text file"),
    "image": (b"\x89PNG\r\n\x1a\n" + b"\x00\x01\x02" * 50, "not a text file"),
    "prose": (b"Dear all,\nplease find my verdicts below.\n", "no line of column names"),
    "other csv": (b"job_id,price\n1,2\n", "no line of column names"),
    "other json": (b'{"a": 1}\n{"b": 2}\n', "JSON but no verdicts"),
    "array": (b'[{"id": 1, "annotations": []}]', "JSON but no verdicts"),
    "object": (b'{\n  "id": 1\n}\n', "JSON but no verdicts"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "password"),
    "zip": (zipped({"a.txt": b"x"}), "not a workbook"),
    "cut zip": (zipped({"xl/workbook.xml": b"x"})[:40], "damaged"),
    "bad workbook": (zipped({"xl/workbook.xml": b"<", "xl/_rels/workbook.xml.rels": b"<"}), "damaged"),
    "twice": (b"packet_id,criterion_id,passed,verdict\n", "two columns for passed"),
    "bomb": (zipped({"xl/workbook.xml": b"0" * 3_000_000}), "unreasonable size"),
    "many": (zipped({f"{n}": b"" for n in range(2_001)}), "unreasonable size"),
}


@pytest.mark.parametrize("name", NO_VERDICTS)
def test_what_is_no_verdict_file_gets_one_sentence(tmp_path: Path, name: str) -> None:
    data, expected = NO_VERDICTS[name]
    path = tmp_path / "from_ann.xlsx"
    path.write_bytes(data)
    with pytest.raises(UserError, match=expected) as caught:
        read_verdict_file(path)
    assert "from_ann.xlsx" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        read_verdict_file(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        read_verdict_file(tmp_path / "x")


def test_a_workbook_without_verdicts(tmp_path: Path) -> None:
    openpyxl.Workbook().save(tmp_path / "x")
    with pytest.raises(UserError, match="without a table of verdicts"):
        read_verdict_file(tmp_path / "x")


def replaced(packet: Path, part: str, old: bytes, new: bytes) -> bytes:
    source = zipfile.ZipFile(packet)
    parts = {name: source.read(name) for name in source.namelist()}
    assert old in parts[part]
    return zipped(parts | {part: parts[part].replace(old, new, 1)})


def test_a_cell_at_the_far_end_does_not_fill_the_memory(packet: Path, tmp_path: Path) -> None:
    path = tmp_path / "x"
    far = b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
    path.write_bytes(replaced(packet, "xl/worksheets/sheet1.xml", b"</sheetData>", far))
    with pytest.raises(UserError, match="far outside"):
        read_verdict_file(path)
    row = '<table:table-row table:number-rows-repeated="1048576">'
    cell = '<table:table-cell table:number-columns-repeated="16384"><text:p>x</text:p></table:table-cell>'
    path.write_bytes(ods(f"{row}{cell}</table:table-row>"))
    with pytest.raises(UserError, match="far outside"):
        read_verdict_file(path)


def test_a_lying_directory_does_not_hide_a_bomb(packet: Path, tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(200_000)
    data = bytearray(zipped({"xl/workbook.xml": b"x" * 900_000, "xl/noise.bin": noise}))
    true_size, claimed = (900_000).to_bytes(4, "little"), (900).to_bytes(4, "little")
    assert data.count(true_size) == 2
    path = tmp_path / "x"
    path.write_bytes(bytes(data.replace(true_size, claimed)))
    with pytest.raises(UserError, match="damaged"):
        read_verdict_file(path)


def test_entities_are_not_expanded(packet: Path, tmp_path: Path) -> None:
    bomb = b"<!DOCTYPE workbook [<!ENTITY a 'ha'>"
    bomb += b"".join(b"<!ENTITY %c '%s'>" % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)) + b"]>"
    path = tmp_path / "x"
    path.write_bytes(replaced(packet, "xl/workbook.xml", b"<workbook", bomb + b"<workbook"))
    path.write_bytes(replaced(path, "xl/workbook.xml", b'name="grade"', b'name="&j;"'))
    with pytest.raises(UserError, match="damaged"):
        read_verdict_file(path)


def test_long_packets_read_whole(tmp_path: Path, spec: PacketSpec) -> None:
    many = tuple(Criterion(f"c{n:03d}", n, "text " * 30, "optional") for n in range(1, 301))
    write_packet(PacketSpec(**{**spec.__dict__, "criteria": many}), tmp_path / "p")
    for path in (tmp_path / "p").glob("packet_*"):
        assert len(read_verdict_file(path).rows) == 300


def test_the_index_by_cell(make_gradable: Callable[..., Gradable]) -> None:
    index = GradingIndex([make_gradable()])
    assert index.by_cell("j1", "quillmind-9", "agent_alone") == make_gradable()
    assert index.by_cell("j1", "quillmind-9", "feedback_1") is None
    assert index.by_packet("nobody") is None
