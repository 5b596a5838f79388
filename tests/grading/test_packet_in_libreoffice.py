"""A real LibreOffice opens the workbook, a script fills it in, and what it saves in each format is taken back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from hapi_pipeline.grading.files import read_verdict_file
from hapi_pipeline.grading.packets import PacketSpec, make_packet
from hapi_pipeline.grading.words import parse_verdict

VERDICTS = {"c01": ("PASS", ""), "c02": ("FAIL", '=1+1 "no"; fünf\nEuro'), "c03": ("CANNOT_JUDGE", "opens not")}
FORMATS = {"xlsx": "Calc MS Excel 2007 XML", "ods": "calc8", "csv": "Text - txt - csv (StarCalc)"}
CSV_OPTIONS = "59,34,76,1,,0,false,true"  # semicolons, quotes, UTF-8, as displayed

MACRO = """
Sub Fill(source As String, target As String)
  Dim none()
  Dim hidden(0) As New com.sun.star.beans.PropertyValue
  hidden(0).Name = "Hidden" : hidden(0).Value = True
  document = StarDesktop.loadComponentFromURL(source, "_blank", 0, hidden())
  sheet = document.Sheets.getByName("grade")
  %s
  %s
  document.close(True)
  StarDesktop.terminate()
End Sub
"""


def basic(text: str) -> str:
    return '"' + text.replace('"', '""').replace("\n", '" & Chr(10) & "') + '"'


def script() -> str:
    cells = {"E4": "grader-07", "C6": "Good start; add units"}
    for row, (verdict, comment) in enumerate(VERDICTS.values(), 8):
        cells |= {f"D{row}": verdict, f"E{row}": comment}
    fill = [f'sheet.getCellRangeByName("{cell}").String = {basic(text)}' for cell, text in cells.items()]
    fill += [
        'sheet.getCellRangeByName("E5").Value = 12.5',
        'sheet.getCellRangeByName("C5").Formula = "2026-11-20"',
    ]
    save = []
    for kind, name in FORMATS.items():
        options = (
            f' : f_{kind}(1).Name = "FilterOptions" : f_{kind}(1).Value = "{CSV_OPTIONS}"' if kind == "csv" else ""
        )
        save += [
            f"Dim f_{kind}({1 if options else 0}) As New com.sun.star.beans.PropertyValue",
            f'f_{kind}(0).Name = "FilterName" : f_{kind}(0).Value = "{name}"{options}',
            f'document.storeToURL(target & ".{kind}", f_{kind}())',
        ]
    return MACRO % ("\n  ".join(fill), "\n  ".join(save))


_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<!DOCTYPE {0} PUBLIC "-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "{1}">\n'
)
_LIBRARY = 'xmlns:library="http://openoffice.org/2000/library"'


def office(home: Path, *arguments: str) -> None:
    command = ["soffice", f"-env:UserInstallation={home.as_uri()}", "--headless", "--norestore", *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def profile(folder: Path) -> Path:
    """A LibreOffice profile that holds the script; the first start makes one, and would replace what is there."""
    office(folder, "--terminate_after_init")
    basic_folder = folder / "user" / "basic"
    library = basic_folder / "Standard"
    library.mkdir(parents=True, exist_ok=True)
    index = _HEAD.format("library:library", "library.dtd")
    listed = {"script": '<library:element library:name="Packet"/>', "dialog": ""}
    for kind, elements in listed.items():
        (library / f"{kind}.xlb").write_text(
            f'{index}<library:library {_LIBRARY} library:name="Standard" library:readonly="false" '
            f'library:passwordprotected="false">{elements}</library:library>'
        )
        (basic_folder / f"{kind}.xlc").write_text(
            f"{_HEAD.format('library:libraries', 'libraries.dtd')}<library:libraries {_LIBRARY} "
            'xmlns:xlink="http://www.w3.org/1999/xlink"><library:library library:name="Standard" '
            f'xlink:href="$(USER)/basic/Standard/{kind}.xlb/" xlink:type="simple" library:link="false"/>'
            "</library:libraries>"
        )
    module = 'xmlns:script="http://openoffice.org/2000/script" script:name="Packet" script:language="StarBasic"'
    text = f"{_HEAD.format('script:module', 'module.dtd')}<script:module {module}>{escape(script())}</script:module>"
    (library / "Packet.xba").write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    if shutil.which("soffice") is None:
        pytest.skip("needs LibreOffice (Debian package libreoffice-calc)")
    from tests.grading.conftest import CRITERIA

    folder = tmp_path_factory.mktemp("office")
    (folder / "work.txt").write_text("work")
    spec = PacketSpec("pk_aaaabbbbcccc", "A title", "", None, (), CRITERIA, "rubric-7", (folder / "work.txt",))
    make_packet(spec, folder / "p")
    source = folder / "p" / f"packet_{spec.packet_id}.xlsx"
    home = profile(folder / "profile")
    call = f'macro:///Standard.Packet.Fill("{source.as_uri()}","{(folder / "filled").as_uri()}")'
    office(home, call)
    return {kind: folder / f"filled.{kind}" for kind in FORMATS}


@pytest.mark.parametrize("kind", FORMATS)
def test_what_libreoffice_saves_is_taken_back(kind: str, saved: dict[str, Path]) -> None:
    file = read_verdict_file(saved[kind])
    assert file.problems == ()
    found = {str(row.values["criterion_id"]): row.values for row in file.rows}
    assert list(found) == ["c01", "c02", "c03", "c04"]
    for criterion, (verdict, comment) in VERDICTS.items():
        assert parse_verdict(found[criterion]["passed"]) == parse_verdict(verdict)
        assert (found[criterion]["comment"] or "") == comment
    assert found["c04"]["passed"] is None
    assert str(file.header["grader"]) == "grader-07"
    assert float(str(file.header["minutes"]).replace(",", ".")) == 12.5
    assert str(file.header["graded_at"]).startswith("2026-11-20")
    assert file.header["overall_feedback"] == "Good start; add units"
    assert file.header["packet_id"] == "pk_aaaabbbbcccc"


def test_the_count_of_verdicts_is_live(saved: dict[str, Path]) -> None:
    import openpyxl

    sheet = openpyxl.load_workbook(saved["xlsx"], data_only=True)["grade"]
    assert sheet["E2"].value == "3 of 4 judged"
