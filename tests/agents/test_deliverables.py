"""What is handed in: does it open, and what is it by its content."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from hapi_pipeline.agents import documents
from hapi_pipeline.agents.ledger import AttemptLedger, collect, read_result
from hapi_pipeline.agents.tools import MAX_FINISH_REFUSALS, ToolError, Workspace
from hapi_pipeline.registry import Model
from tests.agents import material

OFFICE = "application/vnd.openxmlformats-officedocument."


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "attempt")
    made.prepare([], [])
    return made


def hand_in(workspace: Workspace, path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    workspace.run("write_file", {"path": "made/" + path.name, "content": content, "encoding": "base64"})
    return "made/" + path.name


def sound(folder: Path) -> dict[str, tuple[Path, str]]:
    """A sound file of each kind that the issue names, with its media type."""
    folder.mkdir()
    texts = {
        "drawing.svg": ('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "image/svg+xml"),
        "page.html": ("<!doctype html><p>Hello", "text/html"),
        "notes.md": ("# Notes", "text/markdown"),
        "table.csv": ("a,b\n1,2\n", "text/csv"),
        "book.ipynb": ('{"cells": [], "nbformat": 4}', "application/x-ipynb+json"),
        "tool.py": ("print('hi')", "text/x-python"),
    }
    made = {}
    for name, (text, kind) in texts.items():
        (folder / name).write_text(text)
        made[name] = (folder / name, kind)
    return made | {
        "brief.docx": (material.word(folder / "brief.docx"), OFFICE + "wordprocessingml.document"),
        "book.xlsx": (material.workbook(folder / "book.xlsx"), OFFICE + "spreadsheetml.sheet"),
        "deck.pptx": (material.slides(folder / "deck.pptx"), OFFICE + "presentationml.presentation"),
        "paper.pdf": (material.pdf(folder / "paper.pdf", ["Hello"]), "application/pdf"),
        "logo.png": (material.picture(folder / "logo.png"), "image/png"),
        "pack.zip": (material.archive(folder / "pack.zip", folder / "notes.md"), "application/zip"),
    }


def test_every_kind_of_file_can_be_handed_in_and_is_opened(workspace: Workspace, tmp_path: Path) -> None:
    made = sound(tmp_path / "made")
    names = [hand_in(workspace, path) for path, _ in made.values()]
    told = dict(line.split(": ", 1) for line in workspace.run("check_deliverables", {}).splitlines())
    for name, (path, kind) in made.items():
        assert told[f"deliverables/made/{name}"].startswith(f"{path.stat().st_size} bytes, {kind}, opens: "), name
    workspace.run("finish", {"summary": "", "deliverables": names})
    assert workspace.finished == "finished"
    found = {d.path: (d.media_type, d.opens) for d in collect(workspace.deliverables.parent)}
    assert found == {f"made/{name}": (kind, True) for name, (_, kind) in made.items()}


def unsound(folder: Path) -> dict[str, Path]:
    """Files that a client could not open, or should not."""
    folder.mkdir()
    made = {
        "empty.docx": b"",
        "text.docx": b"This is no Word document.",
        "cut.xlsx": material.workbook(folder / "whole.xlsx").read_bytes()[:-200],
        "cut.png": material.picture(folder / "whole.png", (300, 300)).read_bytes()[:-300],
        "cut.pdf": b"%PDF-1.7\n1 0 obj",
        "broken.svg": b"<svg><g></svg>",
        "plain.html": b"no tags here",
        "broken.ipynb": b'{"cells": 3}',
        "broken.json": b"{",
        "page.pdf": b"<html><p>A page, not a PDF",
        "notes.md": b"\0\1\2",
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in made} | {
        "links.zip": material.hostile_archive(folder / "links.zip"),
        "locked.zip": material.locked_zip(folder / "locked.zip"),
        "locked.pdf": material.locked_pdf(folder / "locked.pdf"),
        "bits.zip": _flipped(folder / "bits.zip"),
        "bits.docx": _flipped(folder / "bits.docx"),
    }


def _flipped(path: Path) -> Path:
    """A zip file of which a byte in the middle of its data is wrong."""
    made = (
        material.word(path) if path.suffix == ".docx" else material.archive(path, material.word(path.with_suffix(".x")))
    )
    data = bytearray(made.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    return path


def test_finish_is_refused_while_a_named_file_does_not_open(workspace: Workspace, tmp_path: Path) -> None:
    for path in unsound(tmp_path / "made").values():
        name = hand_in(workspace, path)
        workspace.refusals = 0
        with pytest.raises(ToolError, match=r"not handed in: .*(does not open|is empty|could harm)"):
            workspace.run("finish", {"summary": "", "deliverables": [name]})
        assert workspace.finished is None
    listing = workspace.run("check_deliverables", {}).splitlines()
    assert [line for line in listing if "EMPTY" not in line and "DOES NOT OPEN" not in line] == []
    assert not any(d.opens for d in collect(workspace.deliverables.parent))


def test_after_two_refusals_what_is_there_is_handed_in_as_it_is(workspace: Workspace) -> None:
    workspace.run("write_file", {"path": "a.docx", "content": "not really"})
    for _ in range(MAX_FINISH_REFUSALS):
        with pytest.raises(ToolError, match="its name says docx, but it is plain text"):
            workspace.run("finish", {"summary": "", "deliverables": ["a.docx"]})
    workspace.run("finish", {"summary": "", "deliverables": ["a.docx"]})
    assert workspace.finished == "finished_unchecked"
    (handed_in,) = collect(workspace.deliverables.parent)
    assert (handed_in.media_type, handed_in.opens) == ("text/plain", False)


def test_a_mended_file_opens(workspace: Workspace) -> None:
    workspace.run("write_file", {"path": "a.json", "content": "[1, 2"})
    with pytest.raises(ToolError, match="does not open"):
        workspace.run("finish", {"summary": "", "deliverables": ["a.json"]})
    workspace.run("write_file", {"path": "a.json", "content": "]", "append": True})
    workspace.run("finish", {"summary": "", "deliverables": ["a.json"]})
    assert workspace.finished == "finished"


def test_kinds_without_a_reader_here_are_taken_as_they_are(workspace: Workspace) -> None:
    part = base64.b64encode(b"solid\0\1\2\3").decode()
    for name in ("part.stl", "part.unheardof", "sheet"):
        workspace.run("write_file", {"path": name, "content": part, "encoding": "base64"})
    workspace.run("finish", {"summary": "", "deliverables": ["part.stl", "sheet"]})
    assert workspace.finished == "finished"
    assert [(d.path, d.media_type, d.opens) for d in collect(workspace.deliverables.parent)] == [
        ("part.stl", "model/stl", None),
        ("part.unheardof", "application/octet-stream", None),
        ("sheet", "application/octet-stream", None),
    ]


@pytest.mark.parametrize(
    ("name", "content", "media_type"),
    [
        ("photo.png", "jpeg", "image/jpeg"),
        ("archive.docx", "zip", "application/zip"),
        ("no_suffix", "pdf", "application/pdf"),
        ("letter.txt", "docx", OFFICE + "wordprocessingml.document"),
        ("code.ts", "const a = 1", "text/plain"),
        ("style.css", "a {}", "text/css"),
        ("data.yaml", "a: 1", "application/yaml"),
        ("page", "<!DOCTYPE html><p>x", "text/html"),
        ("logo", "<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
    ],
)
def test_the_media_type_is_that_of_the_content(name: str, content: str, media_type: str, tmp_path: Path) -> None:
    made = {
        "jpeg": lambda p: material.picture(p.with_suffix(".jpg")),
        "zip": lambda p: material.zipped(p.with_suffix(".z"), {"a.txt": "a"}),
        "pdf": lambda p: material.pdf(p.with_suffix(".pdf"), ["x"]),
        "docx": lambda p: material.word(p.with_suffix(".docx")),
    }.get(content)
    path = tmp_path / name
    path.write_bytes(made(path).read_bytes() if made else content.encode())
    assert documents.inspect(path).media_type == media_type


def test_the_result_says_whether_each_file_opens_and_old_results_are_still_read(tmp_path: Path) -> None:
    files = [("a.docx", material.word(tmp_path / "w.docx")), ("b.docx", material.scan(tmp_path / "s.pdf"))]
    ledger = AttemptLedger(tmp_path / "attempts")
    made = ledger.add_external(
        job_id="J1", model=Model("Ext", None), round="agent_alone", turn=0, arm="human", files=files, cost_usd=None,
        prompt_tokens=None, completion_tokens=None, seconds=None, finished_at=None,
    )  # fmt: skip
    kept = read_result(made.folder)
    assert kept is not None
    assert [(d.path, d.opens) for d in kept.deliverables] == [("a.docx", True), ("b.docx", False)]
    record = json.loads((made.folder / "result.json").read_text())
    for deliverable in record["deliverables"]:
        del deliverable["opens"]
    (made.folder / "result.json").write_text(json.dumps(record))
    older = read_result(made.folder)
    assert older is not None
    assert [d.opens for d in older.deliverables] == [None, None]


def test_checking_ends_in_time_whatever_is_handed_in(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from hapi_pipeline.agents import ledger, tools

    monkeypatch.setattr(tools, "CHECK_SECONDS", -1.0)
    monkeypatch.setattr(ledger, "CHECK_SECONDS", -1.0)
    workspace.run("write_file", {"path": "late.html", "content": "<p>never seen before by any other test</p>"})
    assert "took too long" in workspace.run("check_deliverables", {})
    (handed_in,) = collect(workspace.deliverables.parent)
    assert (handed_in.media_type, handed_in.opens) == ("text/html", None)


def test_a_new_version_of_an_old_file_is_handed_in_by_its_name_and_an_attachment_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Old.")
    workspace = Workspace(tmp_path / "attempt")
    workspace.prepare([tmp_path / "a.md"], [("a.md", tmp_path / "a.md")])
    with pytest.raises(ToolError, match="is the client's file, not a deliverable"):
        workspace.run("finish", {"summary": "", "deliverables": ["attachments/a.md"]})
    workspace.run("write_file", {"path": "a.md", "content": "New."})
    workspace.run("finish", {"summary": "", "deliverables": ["a.md"]})
    assert workspace.finished == "finished"
    assert (workspace.deliverables / "a.md").read_text() == "New."
