from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline.release import GateClosedError, gate
from tests import scenario
from tests.grading import deliverables as made_up
from tests.release.conftest import HANDED_IN, World
from tests.release.planted import ADDRESS, PLAIN, PLANTED, docx_of, docx_paragraph, pdf_of, xlsx_comment, zipped


def looked_at(folder: Path, name: str, data: bytes, cleared: dict[str, str] | None = None) -> gate.Looked:
    path = folder / "file"
    path.write_bytes(data)
    return next(gate.in_files([gate.File("an attempt", name, path, "0" * 64)], cleared or {}))


# ---- files


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_address_is_found_where_it_stands(tmp_path: Path, what: str) -> None:
    name, make, place = PLANTED[what]
    looked = looked_at(tmp_path, name, make())
    assert looked.unread == ""
    assert any(place in f.place for f in looked.found if (f.type, f.decision) == ("email", "reject")), looked.found
    assert ADDRESS not in str(looked.found)
    assert "jane" not in str(looked.found)


@pytest.mark.parametrize("what", ["docx", "xlsx", "pptx", "odt", "pdf", "svg", "html", "rtf"])
def test_work_without_personal_data_passes(tmp_path: Path, what: str) -> None:
    """Of each kind of planted file the same file without the address."""
    harmless: dict[str, Callable[[], bytes]] = {
        "docx": lambda: docx_of(lambda d: None),
        "pdf": lambda: pdf_of(lambda c: None),
        "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><title>Shelves</title></svg>',
    }
    if what in harmless:
        data = harmless[what]()
    else:
        _, make, _ = next(entry for key, entry in PLANTED.items() if key.startswith(_NAMED.get(what, what)))
        data = _without(make())
    looked = looked_at(tmp_path, f"work.{what}", data)
    assert looked == gate.Looked(looked.file)


_NAMED = {"rtf": "rich text"}


def _without(data: bytes) -> bytes:
    """A file with a harmless word in place of the address, in every part of it."""
    if not data.startswith(b"PK"):
        return data.replace(ADDRESS.encode(), b"nobody").replace(ADDRESS.replace("@", "\\'40").encode(), b"nobody")
    return made_up.rewritten(data, lambda name, part: part.replace(ADDRESS.encode(), b"nobody"))


def nested(times: int) -> bytes:
    data = PLAIN.encode()
    for _ in range(times):
        data = zipped({"a": data})
    return data


UNREADABLE = {
    "picture": ("logo.png", made_up.png, "picture"),
    "photograph": ("photo.jpg", made_up.jpeg, "picture"),
    "page with a picture": ("page.html", lambda: b'<p><img src="data:image/png;base64,iVBORw0KGgo="></p>', "pictures"),
    "document with a picture": ("report.docx", made_up.docx, "pictures"),
    "workbook of old": ("table.xls", lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "cannot be read"),
    "sound": ("voice.wav", made_up.wav, "cannot be read"),
    "damaged document": ("report.docx", lambda: docx_paragraph()[:-200], "damaged"),
    "damaged pdf": ("paper.pdf", lambda: b"%PDF-1.7\nnothing", "damaged"),
    "archive with a picture": ("all.zip", lambda: zipped({"a.png": made_up.png()}), "picture"),
    "archives without end": ("all.zip", lambda: nested(4), "files in files"),
    "bomb": ("all.zip", lambda: zipped({"a.txt": bytes(80 << 20)}), "zip bomb"),
    "text that ends as something else": ("notes.txt", lambda: b"a" * 70_000 + b"\0\1\2", "only its beginning"),
    "notebook with a picture": ("book.ipynb", lambda: b'{"cells": [{"data": {"image/png": "aaaa"}}]}', "pictures"),
    "rich text with a picture": ("letter.rtf", lambda: b"{\\rtf1 {\\pict 00} text}", "pictures"),
}  # fmt: skip


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_to_the_end_is_left_out(tmp_path: Path, what: str) -> None:
    name, make, reason = UNREADABLE[what]
    looked = looked_at(tmp_path, name, make())
    assert reason in looked.unread
    assert looked.found == ()


def test_a_pdf_with_a_picture_or_a_password_is_left_out(tmp_path: Path) -> None:
    import pikepdf
    from reportlab.lib.utils import ImageReader  # type: ignore[import-untyped]

    picture = pdf_of(lambda c: c.drawImage(ImageReader(made_up.picture()), 72, 500, 50, 50))
    assert "pictures" in looked_at(tmp_path, "a.pdf", picture).unread
    locked = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf_of(lambda c: None))) as file:
        file.save(locked, encryption=pikepdf.Encryption(owner="a", user=""))
    assert "password" in looked_at(tmp_path, "a.pdf", locked.getvalue()).unread
    attached = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf_of(lambda c: None))) as file:
        file.attachments["a.txt"] = pikepdf.AttachedFileSpec(  # type: ignore[call-arg]
            file, ADDRESS.encode()
        )
        file.save(attached)
    assert "other files" in looked_at(tmp_path, "a.pdf", attached.getvalue()).unread


def test_what_somebody_has_cleared_passes_unread(tmp_path: Path) -> None:
    cleared = {"0" * 64: "ann, 2026-03-20: invented"}
    assert looked_at(tmp_path, "table.xlsx", xlsx_comment(), cleared).found == ()
    assert looked_at(tmp_path, "logo.png", made_up.png(), cleared).unread == ""


def test_a_vanished_file_is_told(tmp_path: Path) -> None:
    file = gate.File("an attempt", "a.txt", tmp_path / "nowhere", "0" * 64)
    assert "cannot be opened" in next(gate.in_files([file], {})).unread


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text("ab", min_size=1, max_size=5), st.text("xyz", max_size=9)), min_size=1), st.data())
def test_a_place_is_that_of_the_mark_before_it(pieces: list[tuple[str, str]], data: st.DataObject) -> None:
    text, marks = "", []
    for label, piece in pieces:
        marks.append((len(text), label))
        text += piece + "\n"
    start = data.draw(st.integers(0, len(text) - 1))
    expected = [label for at, label in marks if at <= start][-1]
    assert gate._mark(text, marks, start) == expected


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_a_name_is_only_shown_where_it_is_harmless(before: str, after: str) -> None:
    assert ADDRESS not in gate.shown_name(f"{before} {ADDRESS} {after}")
    assert gate.shown_name(before).isprintable()


# ---- a release


def test_planted_addresses_stop_the_release_and_are_named_by_their_places(
    here: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from hapi_pipeline.cli import main

    planted = {PLANTED[what][0]: PLANTED[what][1]() for what in ("docx paragraph", "xlsx comment", "pdf text")}
    here.hand_in(HANDED_IN | {"good-1": planted})
    home, listed = ["--home", str(here.home.root), "release", "--version", "1.0"], tmp_path / "found.csv"
    assert main([*home, "--findings", str(listed)]) == 1
    told = capsys.readouterr().out
    for name, place in (
        ("report.docx", "paragraph 2"),
        ("table.xlsx", "sheet 1, comments, cell B3"),
        ("paper.pdf", "page 3"),
    ):
        assert f"): {place}\n  attempt Beta agent_alone good-1 of job good-1, file {name}\n" in told
        assert f"file {name}" in listed.read_text()
    assert told.splitlines()[-1] == "Not released: personal data in 3 places; nothing was published."
    assert ADDRESS not in told + listed.read_text()
    assert list(here.home.releases.iterdir()) == []
    # somebody has looked at them
    sums = {line.split()[-1] for line in told.splitlines() if line.startswith("  sha256 ")}
    lines = "".join(f"{sha256} ann looked: the address is invented\n" for sha256 in sums)
    (here.home.registry / "cleared_findings.txt").write_text(lines)
    assert main(home) == 0
    assert here.registry.cleared_findings.keys() == sums


def test_texts_of_tables_are_searched(here: World) -> None:
    row = here.lake.read("benchmark_jobs", scenario.SCOPE).to_pylist()
    row[0]["description"] = f"Write to {ADDRESS}"
    here.lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", row), scenario.SCOPE)
    verdicts = {"comment": f"As {ADDRESS} says", "imported_at": scenario.NOON.replace(day=25)}
    name = f"{scenario.BETA} agent_alone good-3"
    here.verdicts(
        *(scenario.verdict(name, scenario.BETA, "agent_alone", "good-3", (c, "bob", True), 8, verdict_id=c, **verdicts)
          for c in ("c1", "c2"))
    )  # fmt: skip
    with pytest.raises(GateClosedError) as closed:
        here.release("1.0")
    found = {(f.where, f.place): f for f in closed.value.found}
    assert {where for where, _ in found} == {"table benchmark_jobs", "table verdicts"}
    places = sorted(place for _, place in found)
    assert places[0] == f"column comment, row {_row_of(here, 'c1')} (verdict_id c1), and 1 more with the same text"
    assert places[1].startswith("column description, row 1 (job_id good-1)")
    assert ADDRESS not in str(closed.value.found)
    assert list(here.home.releases.iterdir()) == []
    lines = "".join(f"{f.sha256} ann: invented\n" for f in closed.value.found)
    (here.home.registry / "cleared_findings.txt").write_text(lines)
    assert here.release("1.0").version == "1.0"


def _row_of(here: World, verdict_id: str) -> int:
    from hapi_pipeline.publication import clearance
    from hapi_pipeline.release.public import public_rows

    rows = public_rows(here.lake, clearance(here.lake, here.registry), "verdicts")
    return int(rows.column("verdict_id").to_pylist().index(verdict_id)) + 1


def test_names_of_files_are_searched_and_never_told(here: World) -> None:
    here.hand_in(HANDED_IN | {"good-1": {f"{ADDRESS}.txt": PLAIN.encode()}})
    with pytest.raises(GateClosedError) as closed:
        here.release("1.0")
    assert [(f.where, "and 1 more" in f.place) for f in closed.value.found] == [("table attempts", True)]
    assert ADDRESS not in str(closed.value.found)


def test_jobs_that_are_not_cleared_stop_nothing(here: World) -> None:
    here.publish(jobs="none")
    here.hand_in(HANDED_IN | {"good-1": {"table.xlsx": xlsx_comment()}})
    assert here.release("1.0").manifest["deliverables"]["published"] == 0
