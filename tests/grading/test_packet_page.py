"""The page and the project for Label Studio: what is hostile in them is shown, never run. In a real Chromium."""

from __future__ import annotations

import csv
import http.server
import io
import json
import re
import shutil
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import openpyxl
import pytest

from hapi_pipeline.grading.label_studio_project import CONFIG, FILES, TASKS, TaskPacket, write_project
from hapi_pipeline.grading.packets import Criterion, PacketSpec, make_packet, unguard, zip_of
from hapi_pipeline.grading.page import IMPORTANCE
from hapi_pipeline.settings import UserError

EVIL = (
    "<script>document.title='ran'</script>",
    "<img src=x onerror=\"document.title='ran'\">",
    "<a href=\"javascript:document.title='ran'\">click</a>",
    "</style></pre></textarea></title><svg onload=\"document.title='ran'\">",
    "<meta http-equiv=refresh content='0;url=http://leak.test/leak'>",
    '"><iframe src="http://leak.test/leak"></iframe>',
    "'><img src=http://leak.test/leak>",
)
RISKY = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", "＋1", "－1", "＠SUM(A1)")


def write(folder: Path, **files: str | bytes) -> tuple[Path, ...]:
    folder.mkdir(exist_ok=True)
    paths = []
    for name, content in files.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        paths.append(path)
    return tuple(paths)


@pytest.fixture
def hostile(spec: PacketSpec, tmp_path: Path) -> PacketSpec:
    evil = "\n".join(EVIL)
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><script>document.title="ran"</script><text>{EVIL[0][:0]}x</text></svg>'
    cell = {"cell_type": "code", "source": [evil], "outputs": [{"text": evil}, {"data": {"image/png": '" onerror="x'}}]}
    work = write(
        tmp_path / "evil",
        a_html=f"<h1 id=shown>seen</h1>{evil}<form action=http://leak.test/leak><input type=submit></form>",
        b_md=evil,
        c_csv="name,value\n" + "\n".join(f'"{e.replace(chr(34), chr(34) * 2)}",1' for e in EVIL),
        d_svg=svg,
        e_ipynb=json.dumps({"cells": [cell]}),
        f_json=evil,
        g_pdf=b"%PDF-1.4 broken",
    )
    criteria = tuple(Criterion(f"c{n:02d}", n, text, "pitfall") for n, text in enumerate((*EVIL, *RISKY), 1))
    return replace(
        spec, title=EVIL[0], description=evil, category=EVIL[3], skills=(EVIL[1],), criteria=criteria, deliverables=work
    )


@pytest.fixture(scope="module")
def leaks() -> Iterator[tuple[int, list[str]]]:
    """A real server that everything hostile points to: its port, and the paths that it was asked for."""
    asked: list[str] = []

    class Leak(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Leak) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, asked
        server.shutdown()


@pytest.fixture(scope="module")
def browser(leaks: tuple[int, list[str]]) -> Iterator[Any]:
    library = pytest.importorskip("playwright.sync_api", reason="needs the dev extra (playwright)")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium (Debian package chromium)")
    with library.sync_playwright() as play:
        there = f"--host-resolver-rules=MAP leak.test 127.0.0.1:{leaks[0]}"
        started = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", there])
        yield started
        started.close()


def test_a_hostile_packet_is_shown_and_nothing_runs(
    hostile: PacketSpec, tmp_path: Path, browser: Any, leaks: tuple[int, list[str]]
) -> None:
    make_packet(hostile, tmp_path / "p")
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("popup", lambda popup: said.append(popup.url))
    page.goto((tmp_path / "p" / "brief.html").as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    frame = page.frame_locator("iframe").first
    assert frame.locator("#shown").inner_text() == "seen"
    for link in page.frames[1].locator("a, input[type=submit]").all():
        link.click(no_wait_after=True)
    assert page.title() == hostile.packet_id
    # Chromium may name a request that the page's policy then stops, so what counts is what the server has seen
    assert {url for url in asked if not url.startswith(("file:", "data:", "about:srcdoc"))} <= {"http://leak.test/leak"}
    own = {(tmp_path / "p" / name).as_uri() for name in ("brief.html", "x")}
    assert {url for url in asked if url.startswith("file:")} <= own
    assert said == []
    text = page.locator("body").inner_text()
    for evil in EVIL:
        assert text.count(evil.splitlines()[0]) >= 3  # in the brief, among the criteria, in the work
    assert page.locator("script, form, object, embed, [onerror], [onload]").count() == 0
    assert page.locator("a[href^='javascript' i]").count() == 0
    page.close()
    probe = browser.new_page()
    probe.set_content("<img src='http://leak.test/probe'>")
    probe.wait_for_load_state("networkidle")
    assert leaks[1] == ["/probe"]  # only what it was asked now: had anything left the page, it would be there too
    probe.close()


def test_the_page_fits_a_phone_and_a_laptop_by_day_and_by_night(spec: PacketSpec, tmp_path: Path, browser: Any) -> None:
    make_packet(spec, tmp_path / "p")
    papers = set()
    for width, height, scheme in ((1366, 768, "light"), (390, 844, "dark")):
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.goto((tmp_path / "p" / "brief.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        beside = page.locator("aside").bounding_box()["x"] > page.locator("main").bounding_box()["x"] + 300
        assert beside == (width > 1000)
        assert page.locator("td", has_text="Jan").count() == 1
        page.close()
    assert len(papers) == 2


@pytest.mark.parametrize("text", [*RISKY, *EVIL])
def test_risky_cells_are_text_everywhere(text: str, spec: PacketSpec, tmp_path: Path) -> None:
    criteria = (Criterion("c01", 1, text, text), *spec.criteria)
    made = replace(spec, title=text, description=text, category=text, skills=(text,), criteria=criteria)
    make_packet(made, tmp_path / "p")
    book = openpyxl.load_workbook(tmp_path / "p" / f"packet_{spec.packet_id}.xlsx")
    cells = [cell for sheet in book for row in sheet for cell in row if cell.value is not None]
    assert [cell.coordinate for cell in cells if cell.data_type == "f"] == ["E2"]  # our own count of verdicts
    assert all(cell.hyperlink is None for cell in cells)
    assert book["grade"]["C8"].value == text.replace("\r", "\n")
    twin = (tmp_path / "p" / f"packet_{spec.packet_id}.csv").read_bytes().decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(twin, newline="")))
    assert not [c for row in rows for c in row if c.startswith(("=", "+", "-", "@", "\t", "\r", "\n", *"＝＋－＠"))]
    row = next(row for row in rows if row[:1] == ["c01"])
    assert unguard(row[2]) == text.replace("\r", "\n")


def test_importance_is_said_in_plain_words(spec: PacketSpec, tmp_path: Path) -> None:
    make_packet(spec, tmp_path / "p")
    sheet = openpyxl.load_workbook(tmp_path / "p" / f"packet_{spec.packet_id}.xlsx")["grade"]
    said = [sheet.cell(row, 2).value for row in range(8, 12)]
    assert said == [IMPORTANCE[c.importance] for c in spec.criteria]
    page = (tmp_path / "p" / "brief.html").read_text("utf-8")
    assert all(str(words) in page for words in said)


def test_a_packet_as_a_zip_file_is_the_same_every_time(spec: PacketSpec, tmp_path: Path) -> None:
    make_packet(spec, tmp_path / "p")
    data = zip_of(tmp_path / "p", "p")
    shutil.copytree(tmp_path / "p", tmp_path / "copy")
    assert zip_of(tmp_path / "copy", "p") == data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(tmp_path / "out")
    assert {p.relative_to(tmp_path / "out"): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == {
        p.relative_to(tmp_path): p.read_bytes() for p in (tmp_path / "p").rglob("*") if p.is_file()
    }


# --- Label Studio ------------------


def task_packet(spec: PacketSpec, folder: Path, sha256: str) -> TaskPacket:
    texts = (spec.title, spec.description, spec.category, spec.skills, spec.criteria)
    return TaskPacket(spec.packet_id, sha256, spec.rubric_version, *texts, folder)


def test_a_label_studio_project_says_what_the_importer_reads(spec: PacketSpec, tmp_path: Path) -> None:
    made = make_packet(spec, tmp_path / "p")
    assert write_project([task_packet(spec, tmp_path / "p", made.sha256)], tmp_path / "ls") == 1
    (task,) = json.loads((tmp_path / "ls" / TASKS).read_text("utf-8"))
    data = task["data"]
    assert list(task) == ["data"]
    assert (data["packet_id"], data["packet_sha256"], data["rubric_version"]) == (
        spec.packet_id,
        made.sha256,
        spec.rubric_version,
    )
    assert [(c["criterion_id"], c["text"], c["importance"]) for c in data["criteria"]] == [
        (c.criterion_id, c.text, c.importance) for c in spec.criteria
    ]
    assert all((tmp_path / "ls" / place).is_file() for place in data["files"])
    assert {place.split("/", 2)[2] for place in data["files"]} == {
        "brief.html",
        "deliverables/deliverable_01.md",
        "deliverables/deliverable_02.csv",
    }
    assert "id" not in data


def test_the_labelling_config_is_sound(spec: PacketSpec, tmp_path: Path) -> None:
    write_project([], tmp_path / "ls")
    root = ElementTree.parse(tmp_path / "ls" / CONFIG).getroot()
    repeated = root.find("Repeater")
    assert repeated is not None
    assert repeated.attrib["on"] == "$criteria"
    index = repeated.attrib["indexFlag"]
    names = {e.get("name"): e for e in root.iter() if e.get("name")}
    assert set(names) == {
        "brief",
        "files",
        f"crit_{index}",
        f"verdict_{index}",
        f"comment_{index}",
        "feedback",
        "minutes",
    }
    assert [c.get("value") for c in names[f"verdict_{index}"]] == ["Pass", "Fail", "Cannot judge"]
    assert names[f"verdict_{index}"].get("required") == "true"
    assert names["minutes"].tag == "Number"
    assert all(e.get("toName") in names for e in root.iter() if e.get("toName"))


def test_hostile_text_is_inert_in_label_studio(hostile: PacketSpec, tmp_path: Path) -> None:
    folder = write(tmp_path / "given", x_txt="1")[0].rename(tmp_path / "given" / "=a b'(1).txt")
    spec = replace(hostile, attachments=(folder,))
    made = make_packet(spec, tmp_path / "p")
    write_project([task_packet(spec, tmp_path / "p", made.sha256)], tmp_path / "ls")
    (task,) = json.loads((tmp_path / "ls" / TASKS).read_text("utf-8"))
    # the only field that is taken for HTML holds links and line breaks, nothing from outside but escaped names
    rest = re.sub(
        r'<a href="/data/local-files/\?d=[\w/%.-]+" target="_blank" rel="noopener">[^<>"]*</a>|<br>',
        "",
        task["data"]["files_html"],
    )
    assert rest == ""
    # nothing is served that a browser would run in the name of Label Studio, save our own page
    served = [
        p.relative_to(tmp_path / "ls" / FILES / spec.packet_id).as_posix()
        for p in (tmp_path / "ls").rglob("*")
        if FILES in p.parts and p.is_file()
    ]
    assert [name for name in served if name.endswith((".html", ".svg"))] == ["brief.html"]
    assert "deliverables/deliverable_01.html.txt" in served


def test_a_label_studio_project_goes_into_a_folder_of_its_own(spec: PacketSpec, tmp_path: Path) -> None:
    made = make_packet(spec, tmp_path / "p")
    with pytest.raises(UserError, match="other things"):
        write_project([], tmp_path / "p")
    packet = task_packet(spec, tmp_path / "p", made.sha256)
    write_project([packet], tmp_path / "ls")
    before = (tmp_path / "ls" / TASKS).read_bytes()
    assert write_project([packet], tmp_path / "ls") == 1
    assert (tmp_path / "ls" / TASKS).read_bytes() == before
