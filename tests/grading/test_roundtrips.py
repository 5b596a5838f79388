"""Any verdicts, in any accepted form and dialect, read back the same; no damage does worse than a code or a sentence.

The corruptions are as many as HAPI_CORRUPTIONS says: 300 when it is not set, 2,000 in the long run; HAPI_SEED makes
others of them.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline.grading.files import OVERALL, read_verdict_file
from hapi_pipeline.grading.packets import PacketSpec, guard, write_packet
from hapi_pipeline.grading.text import clean
from hapi_pipeline.grading.verdicts import GradingIndex, judge
from hapi_pipeline.settings import UserError

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CORRUPTIONS = int(os.environ.get("HAPI_CORRUPTIONS", "300"))
SEED = int(os.environ.get("HAPI_SEED", "11"))
IDS = ("c01", "c02", "c03", "c04")
Said = Mapping[str, tuple[bool | None, str]]
Rows = list[dict[str, Any]]
WORDS: dict[bool | None, tuple[str, ...]] = {
    True: ("PASS", "pass ", "Yes", "✓", "VERO", "1", "ja", "はい"),
    False: ("FAIL", " fail", "No", "✗", "FALSO", "0", "nein", "いいえ"),
    None: ("CANNOT_JUDGE", "cannot judge", "N/A", "Cannot-Judge"),
}
comments = st.text(st.characters(codec="utf-8"), max_size=20) | st.from_regex(
    r"[=+\-@'\t;,\"\[{]{1,3}[a-z\n]?", fullmatch=True
)
some = st.fixed_dictionaries({}, optional={c: st.tuples(st.none() | st.booleans(), comments) for c in IDS})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("roundtrips")


def judged(path: Path, index: GradingIndex) -> tuple[Rows, Rows]:
    return judge(read_verdict_file(path), index, source_file="f", source_sha256="ab", imported_at=NOW)


def word(passed: bool | None, turn: int) -> str:
    return WORDS[passed][turn % len(WORDS[passed])]


def filled(packet: Path, said: Said, turn: int, target: Path) -> Path:
    book = openpyxl.load_workbook(packet)
    sheet = book["grade"]
    sheet["E4"] = "ann"
    for row in range(8, 8 + len(IDS)):
        criterion = str(sheet.cell(row, 1).value)
        if criterion in said:
            passed, comment = said[criterion]
            sheet.cell(row, 4).value = word(passed, turn)
            cell = sheet.cell(row, 5)
            cell.value = comment
            cell.data_type = "s"
    book.save(target)
    return target


def as_ods(packet_id: str, said: Said, turn: int, target: Path) -> Path:
    names = " ".join(f'xmlns:{n}="urn:oasis:names:tc:opendocument:xmlns:{n}:1.0"' for n in ("office", "table", "text"))
    grid = [["packet_id", packet_id, "grader", "ann"], [], ["criterion_id", "verdict", "comment"]]
    grid += [[c, word(said[c][0], turn) if c in said else "", said[c][1] if c in said else ""] for c in IDS]
    rows = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string">{paragraphs(cell)}</table:table-cell>'
            if cell
            else "<table:table-cell/>"
            for cell in line
        )
        + "</table:table-row>"
        for line in grid
    )
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(
            "content.xml",
            f"<office:document-content {names}><office:body><office:spreadsheet><table:table table:name='grade'>{rows}"
            "</table:table></office:spreadsheet></office:body></office:document-content>",
        )
    return target


def paragraphs(text: str) -> str:
    special = {"\t": "<text:tab/>", " ": "<text:s/>"}
    return "".join(
        f"<text:p>{''.join(special.get(c, escape(c)) for c in line)}</text:p>" for line in clean(text).split("\n")
    )


def as_table(rows: Sequence[Sequence[str]], target: Path, delimiter: str, encoding: str, quoting: int = 0) -> Path:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=quoting).writerows(rows)  # type: ignore[arg-type]
    target.write_bytes(out.getvalue().encode(encoding))
    return target


def as_twin(packet_id: str, said: Said, turn: int, target: Path, delimiter: str, encoding: str) -> Path:
    rows = [["packet_id", packet_id], ["grader", "ann"], [], ["criterion_id", "importance", "verdict", "comment"]]
    rows += [[c, "", word(said[c][0], turn), guard(said[c][1])] if c in said else [c, "", "", ""] for c in IDS]
    return as_table(rows, target, delimiter, encoding)


LONG = ("packet_id", "criterion_id", "passed", "comment", "grader")


def long_rows(packet_id: str, said: Said, turn: int) -> list[list[str]]:
    return [
        [packet_id, c, word(said[c][0], turn) if c in said else "", said[c][1] if c in said else "", "ann"] for c in IDS
    ]


def as_json(packet_id: str, said: Said, turn: int, target: Path, array: bool) -> Path:
    records = [dict(zip(LONG, row, strict=True)) for row in long_rows(packet_id, said, turn)]
    text = (
        json.dumps(records, indent=1) if array else "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
    )
    target.write_text(text, "utf-8", newline="\n")
    return target


def as_label_studio(packet_id: str, said: Said, turn: int, target: Path, small: bool) -> Path:
    data = {"packet_id": packet_id, "criteria": [{"criterion_id": c, "text": "?"} for c in IDS]}
    answers: dict[str, str] = {}
    for n, c in enumerate(IDS):
        if c in said:
            answers |= {f"verdict_{n}": word(said[c][0], turn), f"comment_{n}": said[c][1]}
    if small:
        text = json.dumps([data | answers | {"annotator": 1, "annotation_id": 5, "id": 2}])
    else:
        results = [
            {"from_name": k, "value": {"choices" if k.startswith("v") else "text": [v]}} for k, v in answers.items()
        ]
        text = json.dumps([{"id": 2, "data": data, "annotations": [{"id": 5, "completed_by": 1, "result": results}]}])
    target.write_text(text)
    return target


@settings(derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    some,
    st.integers(0, 7),
    st.sampled_from(",;\t"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]),
)
def test_any_verdicts_read_back_the_same(
    folder: Path, spec: PacketSpec, index: GradingIndex, said: Said, turn: int, delimiter: str, encoding: str
) -> None:
    packet = folder / "packet" / f"packet_{spec.packet_id}.xlsx"
    if not packet.exists():
        write_packet(spec, folder / "packet")
    expected = {c: (passed, clean(comment).strip()) for c, (passed, comment) in said.items()}
    plain = {c: (passed, clean(comment)) for c, (passed, comment) in said.items()}  # what XML can hold
    pid = spec.packet_id
    rows = [list(LONG), *long_rows(pid, said, turn)]
    for path in (
        filled(packet, plain, turn, folder / "a"),
        as_ods(pid, plain, turn, folder / "b"),
        as_twin(pid, said, turn, folder / "c", delimiter, encoding),
        as_table(rows, folder / "d", delimiter, encoding, csv.QUOTE_ALL),
        as_json(pid, said, turn, folder / "e", array=False),
        as_json(pid, said, turn, folder / "f", array=True),
        as_label_studio(pid, said, turn, folder / "g", small=False),
        as_label_studio(pid, said, turn, folder / "h", small=True),
    ):
        good, bad = judged(path, index)
        assert {r["criterion_id"]: (r["passed"], r["comment"] or "") for r in good} == expected, path.name
        assert [q["code"] for q in bad] == ["missing_verdict"] * (len(IDS) - len(said)), path.name


# --- damage ------------------

TRUE: Said = {"c01": (True, ""), "c02": (False, "two, or three"), "c03": (None, "does not open")}
"""What the grader said; c04 is blank, and must never become a verdict."""


def check(path: Path, index: GradingIndex, gone: int = 0, blank: bool = True) -> bool:
    """Nothing lost without a code and no blank turned into a verdict; whether the file was refused as a whole.

    `gone` rows have no trace left in the file; `blank` says whether c04 has one, which has a code of its own. One code
    may stand for two rows that damage has run together.
    """
    refusal = None
    try:
        good, bad = judged(path, index)
    except UserError as error:
        refusal = str(error)
    if refusal is not None:
        assert "\n" not in refusal
        return True
    kept = {r["criterion_id"]: r["passed"] for r in good if r["criterion_id"] != OVERALL}
    assert {c: p for c, p in kept.items() if c in TRUE} == {c: TRUE[c][0] for c in kept if c in TRUE}
    assert "c04" not in kept
    codes = [q["code"] for q in bad]
    told = len(codes) - (blank and "missing_verdict" in codes)
    lost = len(TRUE.keys() - kept.keys())
    assert told >= lost - gone - (lost > 1 + gone), (kept, codes)
    return False


def flipped(chance: random.Random, data: bytes, start: int = 0) -> bytes:
    out = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(start, len(out))
        kind = chance.randrange(4)
        if kind == 0:
            out[at] = chance.randrange(256)
        elif kind == 1:
            out[at:at] = bytes(chance.choices(b'",;\n\r\x00\xff\xe9 <>&', k=2))
        elif kind == 2:
            del out[at : at + chance.randrange(1, 4)]
        else:
            out[at] ^= 1 << chance.randrange(8)
    return bytes(out)


def test_random_damage_to_a_csv(folder: Path, spec: PacketSpec, index: GradingIndex) -> None:
    """Line by line: bytes, whole cells, whole columns, rows that change places, a cut anywhere."""
    chance, path, refused = random.Random(SEED), folder / "damaged.csv", 0
    rows = [list(LONG), *long_rows(spec.packet_id, TRUE, 0)]
    for _ in range(CORRUPTIONS // 2):
        kind = chance.randrange(5)
        grid, gone, blank = [list(row) for row in rows], 0, True
        if kind == 1:  # the verdicts and ids themselves stay
            grid[chance.randrange(1, 5)][chance.choice((0, 3, 4))] = chance.choice(
                ('"', "", "\n", "=1", "x" * 300, "\ufeff")
            )
        elif kind == 2:
            column = chance.randrange(5)
            grid = [row[:column] + row[column + 1 :] for row in grid]
        elif kind == 3:
            grid[1:] = chance.sample(grid[1:], 4)
        as_table(grid, path, ",", "utf-8", chance.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)))
        if kind == 4:
            data = path.read_bytes()
            cut = chance.randrange(40, len(data))
            path.write_bytes(data[:cut])
            left = data[:cut].replace(b'"', b"")
            gone, blank = sum(f",{c},".encode() not in left for c in TRUE), b",c04," in left
        elif kind == 0:
            data = path.read_bytes()
            lines = data.splitlines(keepends=True)
            victim = chance.randrange(1, 5)
            # not within the verdict's own word: another word is another verdict, which nobody could tell
            at = lines[victim].index(b"c0") - 1
            lines[victim] = flipped(chance, lines[victim][: at + 1]) + lines[victim][at + 1 :]
            path.write_bytes(b"".join(lines))
        refused += check(path, index, gone, blank)
    assert refused < CORRUPTIONS // 4


def test_random_damage_to_a_workbook(folder: Path, spec: PacketSpec, index: GradingIndex) -> None:
    """The zip's bytes, the parts' XML beneath the checksums, parts that are missing, doubled or exchanged."""
    chance, path, refused = random.Random(SEED), folder / "damaged.xlsx", 0
    write_packet(spec, folder / "whole")
    whole = filled(folder / "whole" / f"packet_{spec.packet_id}.xlsx", TRUE, 0, folder / "whole.xlsx").read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    for turn in range(CORRUPTIONS - CORRUPTIONS // 2):
        names, changed = list(parts), dict(parts)
        one, other = chance.sample(names, 2)
        kind = turn % 5
        if kind == 0:
            path.write_bytes(flipped(chance, whole))
        elif kind == 1:
            path.write_bytes(whole[: chance.randrange(len(whole))])
        else:
            if kind == 2:
                del changed[one]
            elif kind == 3:
                changed[one], changed[other] = changed[other], changed[one]
            else:
                changed[sheet] = tags_damaged(chance, changed[sheet])
            path.write_bytes(zipped(changed))
        refused += check(path, index)
    assert 0 < refused < CORRUPTIONS // 2


def tags_damaged(chance: random.Random, sheet: bytes) -> bytes:
    """A sheet of which a tag is broken, but no text and no reference: to another text is another answer."""
    spans = [m.span() for m in re.finditer(rb"<[^>]*>", sheet)]
    start, end = chance.choice(spans)
    at = chance.randrange(start, end)
    return (
        sheet[:at] + bytes(chance.choices(b'<>"/& \x00\xff', k=chance.randrange(3))) + sheet[at + chance.randrange(2) :]
    )


def zipped(entries: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


CELLS: tuple[Callable[[Any], None], ...] = (
    lambda sheet: sheet.delete_cols(5),
    lambda sheet: sheet.delete_cols(2),
    lambda sheet: sheet.insert_cols(4),
    lambda sheet: sheet.insert_rows(9),
    lambda sheet: sheet.move_range("A8:E8", rows=10),
    lambda sheet: sheet.delete_rows(1, 3),
    lambda sheet: sheet.merge_cells("D10:D11"),
    lambda sheet: sheet.merge_cells("D8:E8"),
    lambda sheet: partial(sheet.cell, 11, 4)(value="=D8"),
    lambda sheet: partial(sheet.cell, 9, 1)(value=datetime(2026, 3, 1)),  # noqa: DTZ001
    lambda sheet: partial(sheet.cell, 9, 4)(value=datetime(2026, 3, 1)),  # noqa: DTZ001
    lambda sheet: partial(sheet.cell, 7, 4)(value="opinion"),
    lambda sheet: partial(sheet.cell, 7, 1)(value="nr"),
)


@pytest.mark.parametrize("number", range(len(CELLS)))
def test_what_people_do_to_a_sheet(
    folder: Path, spec: PacketSpec, index: GradingIndex, tmp_path: Path, number: int
) -> None:
    write_packet(spec, tmp_path / "p")
    path = filled(tmp_path / "p" / f"packet_{spec.packet_id}.xlsx", TRUE, 0, tmp_path / "x.xlsx")
    book = openpyxl.load_workbook(path)
    CELLS[number](book["grade"])
    book.save(path)
    refused = check(path, index)
    assert refused == (number in (11, 12))
