"""The workspace: what an agent may read and write, whatever it says."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hapi_pipeline.agents import tools
from hapi_pipeline.agents.texts import redact, safe_relative_path, shortened, sound
from hapi_pipeline.agents.tools import ToolError, Workspace, plain_names


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "attempt")
    old = tmp_path / "old.md"
    old.write_text("Old work.")
    note = tmp_path / "note.txt"
    note.write_text("Look here.")
    made.prepare([note], [("old.md", old)])
    return made


def everything(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


HOSTILE = [
    "../up.md", "a/../../up.md", "/etc/cron.d/x", "deliverables/../../x", "..", ".", "", "a\0b.md",
    "a\\..\\b.md", "C:x.md",
    "con.txt", "a/LPT1", "x\n.md", "x\x1b.md", "trailing. ", "dot.", "\ud800.md", "a" * 300,
    "a/b/c/d/e/f/g.md", "~?/x",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
def test_a_hostile_path_is_refused_and_nothing_is_written(path: str, workspace: Workspace, tmp_path: Path) -> None:
    before = everything(tmp_path)
    with pytest.raises(ToolError):
        workspace.run("write_file", {"path": path, "content": "x"})
    assert everything(tmp_path) == before


@given(st.text(st.sampled_from("./\\ab~ \0\n:é"), max_size=12))
def test_a_safe_path_stays_inside_and_is_its_own_safe_form(path: str) -> None:
    try:
        safe = safe_relative_path(path)
    except ValueError:
        return
    assert Path("/base", safe).resolve().is_relative_to("/base")
    assert safe_relative_path(safe) == safe
    assert not set(safe) & set("\\\0\n:")


def test_a_symlink_in_the_way_is_not_followed(workspace: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (workspace.deliverables / "link").symlink_to(outside)
    (workspace.deliverables / "file.md").symlink_to(outside / "file.md")
    for path in ("link/x.md", "file.md"):
        with pytest.raises(ToolError):
            workspace.run("write_file", {"path": path, "content": "x"})
    assert everything(outside) == set()
    (outside / "secret.txt").write_text("secret")
    with pytest.raises(ToolError):
        workspace.run("read_attachment", {"path": "deliverables/link/secret.txt"})
    assert [name for name, _ in tools.walk(workspace.deliverables)] == []


def test_writing_adding_and_reading_back(workspace: Workspace) -> None:
    workspace.run("write_file", {"path": "deliverables/sub/a.md", "content": "One. \ud83d"})
    workspace.run("write_file", {"path": "./sub/a.md", "content": "Two.", "append": True})
    coded = base64.b64encode(b"\x00\x01").decode()
    workspace.run("write_file", {"path": "b.bin", "content": coded[:2] + "\n" + coded[2:], "encoding": "base64"})
    assert (workspace.deliverables / "sub/a.md").read_text() == "One. ?Two."
    assert (workspace.deliverables / "b.bin").read_bytes() == b"\x00\x01"
    assert workspace.run("read_attachment", {"path": "sub/a.md", "offset": 6}).endswith(" line\nTwo.")
    told = workspace.run("read_attachment", {"path": "note.txt"})
    assert told == "attachments/note.txt: text, 10 characters, 1 line\nLook here."
    assert "previous/old.md (9 bytes)" in workspace.run("list_files", {})
    checked = workspace.run("check_deliverables", {})
    assert "sub/a.md: 10 bytes, text/markdown, opens: text, 10 characters, 1 line" in checked
    assert "b.bin: 2 bytes, application/octet-stream, present, of a kind that is not checked" in checked


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("write_file", {"path": "a.md"}),
        ("write_file", {"path": 3, "content": "x"}),
        ("write_file", {"path": "a.md", "content": "!!", "encoding": "base64"}),
        ("write_file", {"path": "a.md", "content": "x", "encoding": "rot13"}),
        ("read_attachment", {"path": "attachments/none.txt"}),
        ("read_attachment", {"path": "note.txt", "offset": 99}),
        ("finish", {"summary": "x", "deliverables": "a.md"}),
        ("run_python", {"code": "1"}),
    ],
)
def test_a_wrong_call_is_told_so(tool: str, arguments: dict[str, object], workspace: Workspace) -> None:
    with pytest.raises(ToolError):
        workspace.run(tool, arguments)


def test_caps_on_files_bytes_and_names(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "MAX_TOTAL_BYTES", 10)
    monkeypatch.setattr(tools, "MAX_FILES", 3)
    workspace.run("write_file", {"path": "a.md", "content": "12345678"})
    for path, content in (("b.md", "123"), ("A.md", "1"), ("a.md/b.md", "1")):
        with pytest.raises(ToolError):
            workspace.run("write_file", {"path": path, "content": content})
    with pytest.raises(ToolError):
        workspace.run("write_file", {"path": "a.md", "content": "123", "append": True})
    workspace.run("write_file", {"path": "a.md", "content": "1234567890"})
    for path in ("b.md", "c.md"):
        workspace.run("write_file", {"path": path, "content": ""})
    with pytest.raises(ToolError):
        workspace.run("write_file", {"path": "d.md", "content": ""})


def test_finish_is_refused_twice_and_then_let_through_unchecked(workspace: Workspace) -> None:
    for _ in range(tools.MAX_FINISH_REFUSALS):
        with pytest.raises(ToolError, match="not handed in"):
            workspace.run("finish", {"summary": "", "deliverables": ["missing.md"]})
        assert workspace.finished is None
    workspace.run("finish", {"summary": "", "deliverables": ["missing.md"]})
    assert workspace.finished == "finished_unchecked"


@pytest.mark.parametrize("named", [[], ["empty.md"], ["a.md", "missing.md"]])
def test_finish_wants_files_that_are_there_and_not_empty(named: list[str], workspace: Workspace) -> None:
    if named:
        workspace.run("write_file", {"path": "empty.md", "content": ""})
        workspace.run("write_file", {"path": "a.md", "content": "x" if "missing.md" in named else ""})
    with pytest.raises(ToolError, match="not handed in"):
        workspace.run("finish", {"summary": "", "deliverables": named})


def test_an_old_file_can_be_handed_in_unchanged(workspace: Workspace) -> None:
    workspace.run("finish", {"summary": "", "deliverables": ["previous/old.md"]})
    assert workspace.finished == "finished"
    assert (workspace.deliverables / "old.md").read_text() == "Old work."


def test_a_long_text_is_read_page_by_page_and_whole(workspace: Workspace) -> None:
    text = "".join(f"line {n}\n" for n in range(5_000))
    workspace.run("write_file", {"path": "long.md", "content": text})
    read, offset = "", 0
    while True:
        output = workspace.run("read_attachment", {"path": "long.md", "offset": offset})
        assert len(output) <= tools.OUTPUT_LIMIT
        page, more, rest = output.partition("\n")[2].rpartition("\n[characters ")
        read += page if more else rest
        if not more:
            break
        offset = int(rest.rpartition("offset ")[2].rstrip("]"))
    assert read == text
    assert shortened("abc", 3) == "abc"


def test_a_tool_output_is_capped_at_head_and_tail(workspace: Workspace) -> None:
    for n in range(180):
        workspace.run("write_file", {"path": f"{n:03}" + "x" * 120 + ".md", "content": "a"})
    output = workspace.run("list_files", {})
    assert len(output) < tools.OUTPUT_LIMIT + 100
    assert "deliverables/000x" in output
    assert output.endswith("x.md (1 bytes)")


@given(st.lists(st.text(max_size=20), max_size=6))
def test_plain_names_are_safe_and_all_different(names: list[str]) -> None:
    plain = plain_names(names)
    assert len({p.casefold() for p in plain}) == len(names)
    assert all("/" not in p and p not in ("", ".", "..") and not set(p) & set("\0\n\\") for p in plain)


def test_a_full_disk_is_not_blamed_on_the_model(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(tools, "_write", full)
    with pytest.raises(OSError, match="space"):
        workspace.run("write_file", {"path": "a.md", "content": "x"})


def test_keys_are_redacted_and_sound_data_is_left_alone() -> None:
    for text in (
        "key sk-abc123def456ghi",
        "Bearer abcdefgh12345",
        "api_key=hunter2hunter2",
        "AKIAABCDEFGHIJKLMNOP",
    ):
        assert "[redacted]" in redact(text)
    assert (
        redact("a plain sentence about tasks and risk-averse people")
        == "a plain sentence about tasks and risk-averse people"
    )
    data = {"a": ["b", 1, None]}
    assert sound(data) is data
    assert sound({"a": ["\ud800x", "my-secret-key"]}, "my-secret-key") == {"a": ["\ufffdx", "[redacted]"]}


def test_no_folder_is_made_beyond_a_symlink(workspace: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (workspace.deliverables / "link").symlink_to(outside)
    with pytest.raises(ToolError):
        workspace.run("write_file", {"path": "link/deeper/x.md", "content": "x"})
    assert list(outside.iterdir()) == []
