"""Workbooks made to hurt: refused in one sentence, within bounded time and memory, or read as if nothing were there."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from hapi_pipeline.grading.files import read_verdict_file
from hapi_pipeline.grading.packets import PacketSpec, write_packet
from hapi_pipeline.settings import UserError

SHEET, BOOK = "xl/worksheets/sheet1.xml", "xl/workbook.xml"
MEMORY = 1024**3  # bytes of address space on top of what the libraries take
READ = """
import resource, sys
from pathlib import Path
import openpyxl, pyarrow, python_calamine  # noqa: what is loaded before is not the file's doing
from hapi_pipeline.grading.files import read_verdict_file
from hapi_pipeline.settings import UserError
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[1]),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (40, 40))
for path in sys.argv[2:]:
    try:
        print("read", len(read_verdict_file(Path(path)).rows))
    except UserError as error:
        print("refused", error)
"""


@pytest.fixture
def parts(spec: PacketSpec, tmp_path: Path) -> dict[str, bytes]:
    write_packet(spec, tmp_path / "packet")
    with zipfile.ZipFile(tmp_path / "packet" / f"packet_{spec.packet_id}.xlsx") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(entries: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def ods(content: bytes) -> bytes:
    return zipped({"mimetype": b"application/vnd.oasis.opendocument.spreadsheet", "content.xml": content})


def opened(folder: Path, *files: bytes) -> list[str]:
    """What comes of each file in a process that may take one gigabyte and 40 seconds of a processor."""
    paths = [folder / f"{n}.bin" for n in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(MEMORY), *map(str, paths)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    lines = done.stdout.splitlines()
    assert len(lines) == len(files)
    return lines


def test_claims_of_size_are_not_believed(parts: dict[str, bytes], tmp_path: Path) -> None:
    claimed = parts[SHEET].replace(b"<sheetViews", b'<dimension ref="A1:XFD1048576"/><sheetViews', 1)
    assert claimed != parts[SHEET]
    assert opened(tmp_path, zipped(parts | {SHEET: claimed})) == ["read 4"]


FAR = (
    b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
    b"<row r='1048576'><c r='XFD1048576'><v>1</v></c></row>",
    b"<row r = '1048576'><c r = 'xfd1048576'><v>1</v></c></row>",
    b'<row r="1048576">' + b"<c><v>1</v></c>" * 4000 + b"</row>",
    b'<x:row xmlns:x="http://schemas.openxmlformats.org/spreadsheetml/2006/main" r="1048576">'
    b'<x:c r="ZZ1048576"><x:v>1</x:v></x:c></x:row>',
)


def test_a_cell_at_the_far_end_however_it_is_written(parts: dict[str, bytes], tmp_path: Path) -> None:
    data = [parts[SHEET].replace(b"</sheetData>", far + b"</sheetData>", 1) for far in FAR]
    assert all("far outside" in line for line in opened(tmp_path, *(zipped(parts | {SHEET: d}) for d in data)))


def test_many_sheets_that_are_each_just_small_enough(parts: dict[str, bytes], tmp_path: Path) -> None:
    sheet = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>%s</sheetData>'
    corner = b'<row r="1000000"><c r="C1000000"><v>1</v></c></row>'
    assert "far outside" in opened(tmp_path, more_sheets(parts, 20, sheet % corner + b"</worksheet>"))[0]


def test_thousands_of_sheets(parts: dict[str, bytes], tmp_path: Path) -> None:
    sheet = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData/></worksheet>'
    table = b'<table:table table:name="a"><table:table-row/></table:table>'
    files = more_sheets(parts, 1500, sheet), more_sheets(parts, 2500, sheet), ods(document(table * 5000))
    some, many, open_document = opened(tmp_path, *files)
    assert "1,503 sheets" in some
    assert "unreasonable size" in many
    assert "more than 200 sheets" in open_document


def more_sheets(parts: dict[str, bytes], number: int, sheet: bytes) -> bytes:
    names = b"".join(b'<sheet name="n%d" sheetId="%d" r:id="n%d"/>' % (n, n + 50, n) for n in range(number))
    relations = b"".join(
        b'<Relationship Id="n%d" Target="worksheets/n%d.xml" Type="http://schemas.openxmlformats.org/officeDocument/'
        b'2006/relationships/worksheet"/>' % (n, n)
        for n in range(number)
    )
    changed = {
        BOOK: parts[BOOK].replace(b"</sheets>", names + b"</sheets>"),
        "xl/_rels/workbook.xml.rels": parts["xl/_rels/workbook.xml.rels"].replace(
            b"</Relationships>", relations + b"</Relationships>"
        ),
    }
    return zipped(parts | changed | {f"xl/worksheets/n{n}.xml": sheet for n in range(number)})


def document(inside: bytes, head: bytes = b"") -> bytes:
    names = b" ".join(
        b'xmlns:%s="urn:oasis:names:tc:opendocument:xmlns:%s:1.0"' % (n, n) for n in (b"office", b"table")
    )
    return head + b"<office:document-content %s><office:body>%s</office:body></office:document-content>" % (
        names,
        inside,
    )


ENTITIES = b"<!DOCTYPE x [<!ENTITY a 'haha'>" + b"".join(
    b"<!ENTITY %c '%s'>" % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)
)


def test_entities_in_every_part(parts: dict[str, bytes], tmp_path: Path) -> None:
    files = []
    for outside in (b"]>", b"<!ENTITY o SYSTEM 'file:///etc/passwd'>]>"):
        for part in (SHEET, BOOK, "xl/sharedStrings.xml", "xl/styles.xml"):
            head, _, rest = parts[part].partition(b"?>")
            files.append(zipped(parts | {part: head + b"?>" + ENTITIES + outside + rest}))
        files.append(ods(document(b"&j;", ENTITIES + outside)))
    assert all("damaged" in line for line in opened(tmp_path, *files))


def test_another_encoding_hides_nothing(parts: dict[str, bytes], tmp_path: Path) -> None:
    far = b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
    text = parts[SHEET].replace(b"</sheetData>", far, 1).decode().replace('encoding="UTF-8"', 'encoding="UTF-16"')
    assert "damaged" in opened(tmp_path, zipped(parts | {SHEET: text.encode("utf-16")}))[0]


def test_an_unfinished_tag_without_end_costs_no_time(parts: dict[str, bytes], tmp_path: Path) -> None:
    noise = b"<row " * 600_000 + b"".join(b"%d " % n for n in range(400_000))
    assert "damaged" in opened(tmp_path, zipped(parts | {SHEET: noise}))[0]


def test_a_great_many_cells(parts: dict[str, bytes], tmp_path: Path) -> None:
    cells = b"".join(b"<c><v>%d</v></c>" % (n * n % 99991) for n in range(210_000))
    row = b'<row r="20">' + cells + b"</row></sheetData>"
    sheet = zipped(parts | {SHEET: parts[SHEET].replace(b"</sheetData>", row, 1)})
    cell = b'<table:table-cell><a n="%d"/></table:table-cell>'
    line = b"<table:table-row>" + b"".join(cell % (n * n % 99991) for n in range(200_001)) + b"</table:table-row>"
    for answer in opened(tmp_path, sheet, ods(document(b"<table:table>" + line + b"</table:table>"))):
        assert "far outside" in answer


def test_repeats_of_repeats(tmp_path: Path) -> None:
    cell = b'<table:table-cell table:number-columns-repeated="1900"><a/></table:table-cell>'
    rows = (b'<table:table-row table:number-rows-repeated="2000">' + cell + b"</table:table-row>") * 40
    assert "far outside" in opened(tmp_path, ods(document(b"<table:table>" + rows + b"</table:table>")))[0]


@pytest.mark.parametrize("count", [b"-5", b"abc", b"9" * 5000])
def test_numbers_that_are_none(tmp_path: Path, count: bytes) -> None:
    cell = b'<table:table-cell table:number-columns-repeated="%s"><a/></table:table-cell>' % count
    data = ods(document(b"<table:table><table:table-row>" + cell + b"</table:table-row></table:table>"))
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(UserError):
        read_verdict_file(path)


def test_links_to_elsewhere_are_never_followed(parts: dict[str, bytes], tmp_path: Path) -> None:
    link = (
        b'<externalLink xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><externalBook '
        b'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" r:id="rId1"/></externalLink>'
    )
    relation = (
        b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" '
        b'Target="file:///etc/passwd" TargetMode="External" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        b'relationships/externalLinkPath"/></Relationships>'
    )
    linked = parts[SHEET].replace(
        b"</sheetData>",
        b'<row r="30"><c r="D30"><f>[1]Sheet1!A1</f><v>1</v></c></row></sheetData>',
        1,
    )
    path = tmp_path / "x"
    path.write_bytes(
        zipped(
            parts
            | {
                "xl/externalLinks/externalLink1.xml": link,
                "xl/externalLinks/_rels/externalLink1.xml.rels": relation,
                SHEET: linked,
            }
        )
    )
    file = read_verdict_file(path)
    assert len(file.rows) == 4
    assert [(p.row, p.code) for p in file.problems] == [(30, "formula_cell")]


def test_the_limit_of_this_file_bites() -> None:
    """The tests above would not notice anything if a process could take more than it may."""
    ask = "import resource; resource.setrlimit(resource.RLIMIT_AS, (10**9, 10**9)); bytes(2 * 10**9)"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    assert "MemoryError" in done.stderr
    assert resource.RLIM_INFINITY == -1
