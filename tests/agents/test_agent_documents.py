"""What the agent's tools make of files: those that clients send, and those that attackers do."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from hapi_pipeline.agents import documents
from hapi_pipeline.agents.documents import UnreadableError, Want, document_text
from hapi_pipeline.agents.tools import MAX_PICTURES, ToolError, Workspace
from tests.agents import material


@pytest.fixture
def attached(tmp_path: Path) -> Callable[..., Workspace]:
    """A workspace whose attachments are the given files."""

    def attach(*paths: Path, vision: bool = False) -> Workspace:
        workspace = Workspace(tmp_path / "attempt", vision)
        workspace.prepare(list(paths), [])
        return workspace

    return attach


def read(workspace: Workspace, name: str, **part: object) -> str:
    return workspace.run("read_attachment", {"path": "attachments/" + name, **part})


def test_a_word_document_with_a_table(attached: Callable[..., Workspace], tmp_path: Path) -> None:
    told = read(attached(material.word(tmp_path / "brief.docx")), "brief.docx")
    assert told.splitlines() == [
        "attachments/brief.docx: Word document, 7 lines of text, 1 table",
        "# Product sheet",
        "Please fill in the table & keep the order.",
        "- No prices",
        "",
        "| Lamps |",
        "| Watt | 12 |",
        "| Colour | warm white |",
        "",
        "Thank you.",
        "[footer] Page of the client",
    ]


def test_a_workbook_with_three_sheets(attached: Callable[..., Workspace], tmp_path: Path) -> None:
    workspace = attached(material.workbook(tmp_path / "book.xlsx"))
    whole = read(workspace, "book.xlsx").splitlines()
    assert whole[0] == (
        "attachments/book.xlsx: workbook, 3 sheets: Sales (4 rows x 4 columns, columns: region, day, amount, paid); "
        "Stock list (301 rows x 2 columns, columns: item, count); Notes (hidden) (1 row x 1 column); "
        "1 formula, 1 of them not computed yet"
    )
    assert whole[1:8] == [
        "## Sheet Sales",
        "1\tregion\tday\tamount\tpaid",
        "2\tNorth\t2026-03-01\t1250.5\tTRUE",
        "3\tSouth\t\t40\tFALSE",
        "4\t\t\t=SUM(C2:C3)",
        "",
        "## Sheet Stock list",
    ]
    assert whole[-1] == "1\tOnly for us"
    part = read(workspace, "book.xlsx", sheet="stock list", range="A300:B400").splitlines()
    assert part[1:] == ["## Sheet Stock list", "300\tpart 298\t298", "301\tpart 299\t299"]
    assert read(workspace, "book.xlsx", sheet=3).splitlines()[1:] == ["## Sheet Notes", "1\tOnly for us"]
    for wrong in ({"sheet": "none"}, {"range": "1A"}, {"range": "B2:A1"}, {"sheet": "9"}):
        said = read(workspace, "book.xlsx", **wrong)
        assert "there is no sheet" in said or "write a range" in said


def test_a_scanned_pdf_is_shown_to_those_who_see(attached: Callable[..., Workspace], tmp_path: Path) -> None:
    path = material.scan(tmp_path / "scan.pdf")
    blind = read(attached(path), "scan.pdf")
    assert blind.splitlines() == [
        "attachments/scan.pdf: PDF, 2 pages, pages 1-2; no text layer on pages 1-2: scanned, or drawn",
        "What such pages show cannot be read here, because this model cannot see pictures.",
    ]
    workspace = attached(path, vision=True)
    seen = read(workspace, "scan.pdf", pages="2")
    first, second = seen.splitlines()
    assert first.endswith("no text layer on page 2: scanned, or drawn; page 2 follows as a picture")
    (shown,) = workspace.take_pictures()
    assert (shown.label, max(shown.width, shown.height)) == ("attachments/scan.pdf: page 2", 1568)
    assert shown.media_type in ("image/png", "image/jpeg")
    assert f"{shown.width} x {shown.height}" in second
    assert workspace.take_pictures() == []


def test_a_picture(attached: Callable[..., Workspace], tmp_path: Path) -> None:
    path = material.picture(tmp_path / "logo.png", (3136, 1568))
    blind = attached(path)
    assert read(blind, "logo.png").splitlines() == [
        "attachments/logo.png: picture, PNG, 3136 x 1568 pixels",
        "This model cannot see pictures; work from the brief and the other files.",
    ]
    assert blind.take_pictures() == []
    workspace = attached(path, vision=True)
    assert "picture in the next message" in read(workspace, "logo.png")
    (shown,) = workspace.take_pictures()
    assert (shown.width, shown.height, shown.data[:4]) == (1568, 784, b"\x89PNG")


def test_a_zip_archive_and_what_is_in_it(attached: Callable[..., Workspace], tmp_path: Path) -> None:
    workspace = attached(material.archive(tmp_path / "pack.zip", material.word(tmp_path / "brief.docx")))
    listing = read(workspace, "pack.zip").splitlines()
    size = (tmp_path / "brief.docx").stat().st_size
    assert listing == [
        f"attachments/pack.zip: zip archive, 2 files, {size + 37:,} bytes unpacked by its own account; "
        "read one with member",
        f"brief/brief.docx ({size:,} bytes)",
        "data/prices.csv (37 bytes)",
    ]
    inner = read(workspace, "pack.zip", member="brief/brief.docx").splitlines()
    assert inner[0] == "attachments/pack.zip / brief/brief.docx: Word document, 7 lines of text, 1 table"
    assert "| Watt | 12 |" in inner
    table = read(workspace, "pack.zip", member="data/prices.csv").splitlines()
    assert table[0].endswith("table, 2 rows below the first, 3 columns (separator: semicolon): item, net, gross")
    assert table[2] == "lamp;10;12"
    assert "the archive has no file" in read(workspace, "pack.zip", member="data/none.csv")


def test_slides_notebooks_mails_and_other_forms(tmp_path: Path) -> None:
    deck = documents.read(material.slides(tmp_path / "deck.pptx"), Want(pages="1"))
    assert (deck.about, deck.text) == (
        "presentation, 2 slides, slides 1",
        "## Slide 1\nTopic 1\nPoint 1\n[notes] Say hello.",
    )
    cells = [
        {"cell_type": "markdown", "source": ["# Plan"]},
        {"cell_type": "code", "source": "1+1", "outputs": [{"data": {"text/plain": ["2"], "image/png": "AAAA"}}]},
    ]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}))
    book = documents.read(tmp_path / "n.ipynb")
    assert book.about == "notebook, 2 cells (1 markdown, 1 code)"
    assert book.text == "[1: markdown]\n# Plan\n\n[2: code]\n1+1\n\n[2: result]\n2 [and a picture]"
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "client@example.com", "The brief"
    mail.set_content("See the table.")
    mail.add_attachment(b"a,b\n1,2\n", maintype="text", subtype="csv", filename="t.csv")
    (tmp_path / "m.eml").write_bytes(bytes(mail))
    letter = documents.read(tmp_path / "m.eml")
    assert letter.about == "e-mail, 1 file attached: t.csv"
    assert letter.text.splitlines()[-1] == "See the table."
    assert documents.read(tmp_path / "m.eml", Want(member="t.csv")).text == "a,b\n1,2\n"
    (tmp_path / "r.rtf").write_text(r"{\rtf1\ansi Hello \b world\b0 .\par}")
    assert documents.read(tmp_path / "r.rtf").text == "Hello world."
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a\tb\n1\t2\n"))
    assert documents.read(tmp_path / "t.csv.gz").about == (
        "compressed table, 1 row below the first, 2 columns (separator: tab): a, b"
    )
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "r.rtf", "x/r.rtf")
    assert "x/r.rtf (36 bytes)" in documents.read(tmp_path / "t.tar.gz").text
    assert documents.read(tmp_path / "t.tar.gz", Want(member="x/r.rtf")).text == "Hello world."


def test_plain_texts_say_what_they_are(tmp_path: Path) -> None:
    made: dict[str, tuple[str | bytes, str]] = {
        "a.html": ("<title>T</title><style>x{}</style><p>One</p><script>no()</script><p>Two &lt;3", "One\nTwo <3"),
        "b.csv": ("é;1".encode("utf-16"), "é;1"),
        "c.txt": (b"caf\xe9", "café"),
        "d.json": ('{"a": [1]}', '{"a": [1]}'),
        "e.md": ("\ufeff# Title", "# Title"),
        "f": ("no suffix at all", "no suffix at all"),
    }
    for name, (content, text) in made.items():
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert document_text(path) == text
    assert documents.read(tmp_path / "a.html").about == 'HTML page "T", 10 characters of text'
    assert documents.read(tmp_path / "d.json").about == "JSON, an object with 1 key: a"
    (tmp_path / "d.json").write_text('{"a": [1}')
    broken = documents.read(tmp_path / "d.json")
    assert "is not valid JSON" in broken.about
    assert broken.text == '{"a": [1}', "what is broken can be looked at and mended"


def test_a_pdf_with_text(tmp_path: Path) -> None:
    path = material.pdf(tmp_path / "t.pdf", [f"Page number {n}" for n in range(1, 61)])
    first = documents.read(path)
    assert first.about == "PDF, 60 pages, pages 1-50; ask for others with pages"
    assert first.text.startswith("## Page 1\nPage number 1\n\n## Page 2")
    some = documents.read(path, Want(pages="51,59-80"))
    assert some.about == "PDF, 60 pages, pages 51, 59-60; ask for others with pages"
    for wrong in ("0", "61", "a", "3-1", "-"):
        with pytest.raises(UnreadableError, match=r"page"):
            documents.read(path, Want(pages=wrong))
    drawn = documents.read(path, Want(pages="2", as_pictures=True, pictures=True))
    assert [p.label for p in drawn.pictures] == ["page 2"]
    with pytest.raises(UnreadableError, match="cannot see pictures"):
        documents.read(path, Want(as_pictures=True))


def test_pictures_in_documents(tmp_path: Path) -> None:
    import docx

    document = docx.Document()
    document.add_picture(str(material.picture(tmp_path / "p.png")))
    document.save(str(tmp_path / "d.docx"))
    assert documents.read(tmp_path / "d.docx").about.endswith("1 picture")
    (shown,) = documents.read(tmp_path / "d.docx", Want(as_pictures=True, pictures=True)).pictures
    assert (shown.width, shown.height) == (640, 480)


def test_an_attempt_is_shown_only_so_many_pictures(attached: Callable[..., Workspace], tmp_path: Path) -> None:
    workspace = attached(material.scan(tmp_path / "s.pdf", pages=4), vision=True)
    for _ in range(MAX_PICTURES // 4):
        read(workspace, "s.pdf")
    assert len(workspace.take_pictures()) == MAX_PICTURES
    assert "cannot see pictures" in read(workspace, "s.pdf")
    assert workspace.take_pictures() == []


def _hostile(folder: Path) -> dict[str, Path]:
    secret = folder / "secret.txt"
    secret.write_text("canary-5512")
    made = {
        "entity": material.document_with_entity(folder / "e.docx", secret),
        "bomb docx": material.zipped(folder / "b.docx", {"word/document.xml": b"<a>" + b" " * (33 << 20)}),
        "locked pdf": material.locked_pdf(folder / "l.pdf"),
        "locked xlsx": material.locked_workbook(folder / "l.xlsx"),
    }
    for name, data in (
        ("broken.xlsx", b"PK\x03\x04 not really"),
        ("broken.pdf", b"%PDF-1.7\n"),
        ("broken.png", b"\x89PNG\r\n\x1a\n" + b"x" * 90),
        ("broken.docx", b"\0\1\2\3"),
        ("laugh.svg", b'<!DOCTYPE s [<!ENTITY a "aaaa">]><svg>&a;</svg>'),
    ):
        made[name] = folder / name
        made[name].write_bytes(data)
    return made


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("entity", "contains declarations that office programs do not write"),
        ("bomb docx", "too large when unpacked"),
        ("locked pdf", "protected by a password"),
        ("locked xlsx", "protected by a password"),
        ("broken.xlsx", "damaged"),
        ("broken.pdf", "damaged"),
        ("broken.png", "damaged"),
        ("broken.docx", "cannot be read here"),
        ("laugh.svg", "declares entities, which are not expanded"),
    ],
)
def test_a_hostile_file_is_named_and_nothing_of_the_machine_is_told(
    which: str, said: str, attached: Callable[..., Workspace], tmp_path: Path
) -> None:
    path = _hostile(tmp_path)[which]
    told = read(attached(path), path.name)
    assert said in told
    assert "canary-5512" not in told
    assert documents.inspect(path).opens is False


def test_hostile_archives_are_listed_and_never_unpacked(attached: Callable[..., Workspace], tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    workspace = attached(
        material.hostile_archive(tmp_path / "h.zip"),
        material.bomb(tmp_path / "b.zip"),
        material.locked_zip(tmp_path / "l.zip"),
        material.zipped(tmp_path / "n.zip", {"in.zip": material.bomb(tmp_path / "s.zip", 1).read_bytes()}),
    )
    listing = read(workspace, "h.zip")
    assert "innocent.txt (11 bytes) [a link, not followed]" in listing
    assert "../../up.txt (3 bytes) [its name leads out of the folder]" in listing
    assert "links are not followed" in read(workspace, "h.zip", member="innocent.txt")
    assert "bytes when unpacked, too many" in read(workspace, "b.zip", member="big.txt")
    assert "protected by a password" in read(workspace, "l.zip", member="secret.txt")
    assert "big.txt" in read(workspace, "n.zip", member="in.zip"), "an archive in an archive is listed"
    made = set(tmp_path.rglob("*")) - before
    assert not [p for p in made if p.name in ("up.txt", "innocent.txt", "big.txt", "secret.txt")]


def test_a_workbook_with_cells_far_apart_is_read_all_the_same(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    assert book.active is not None
    book.active["A1"], book.active["XFD1048576"] = "here", "far"
    book.save(tmp_path / "far.xlsx")
    found = documents.read(tmp_path / "far.xlsx")
    assert "of each sheet the first 5,000 rows" in found.about
    assert found.text == "## Sheet Sheet\n1\there"


def test_a_file_that_takes_too_long_is_given_up_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow.csv"
    slow.write_text("a,b\n" * 3_000_000)
    quick = tmp_path / "quick.txt"
    quick.write_text("Quick.")
    with monkeypatch.context() as patch:
        patch.setattr(documents, "SECONDS", 0.01)
        with pytest.raises(UnreadableError, match="more time or memory"):
            documents.read(slow)
    assert document_text(quick) == "Quick."


def test_a_file_that_takes_too_much_memory_is_given_up(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "wide.tiff"
    Image.new("1", (8900, 8900)).save(path, compression="group4")
    members: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "word/document.xml": b"<a>" + b"<b/>" * (7 << 20) + b"</a>",
    }
    for hostile in (path, material.zipped(tmp_path / "tree.docx", members)):
        documents.inspect(hostile)  # whatever it finds, within its bounds
    assert document_text(material.word(tmp_path / "next.docx")).startswith("# Product sheet")


def test_the_process_that_opens_files_sees_no_keys_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_API_KEY", "canary-7781")
    process = documents._Process()
    try:
        environment = Path(f"/proc/{process.child.pid}/environ").read_bytes()
        assert b"canary-7781" not in environment
        with _text(tmp_path).open("rb") as file:
            told = process.ask({"do": "read", "name": "t.txt", "want": {}, "seconds": 20}, file.fileno())
        assert told is not None
        assert told["text"] == "Hello."
        limits = Path(f"/proc/{process.child.pid}/limits").read_text()
        assert "Max file size             0                    0" in limits
    finally:
        process.end()


def _text(folder: Path) -> Path:
    path = folder / "t.txt"
    path.write_text("Hello.")
    return path


def test_links_devices_and_pipes_are_not_opened(attached: Callable[..., Workspace], tmp_path: Path) -> None:
    workspace = attached(_text(tmp_path))
    (workspace.deliverables / "link.txt").symlink_to(_text(tmp_path))
    os.mkfifo(workspace.deliverables / "pipe.txt")
    for name in ("deliverables/link.txt", "deliverables/pipe.txt"):
        with pytest.raises(ToolError, match="there is no file"):
            workspace.run("read_attachment", {"path": name})


@pytest.mark.parametrize("part", [{"pages": True}, {"sheet": ["a"]}, {"member": {}}, {"offset": -1}, {"range": 1.5}])
def test_a_part_of_the_wrong_kind_is_told_so(
    part: dict[str, object], attached: Callable[..., Workspace], tmp_path: Path
) -> None:
    with pytest.raises(ToolError, match="must be"):
        read(attached(_text(tmp_path)), "t.txt", **part)


def test_reading_again_gives_the_same(attached: Callable[..., Workspace], tmp_path: Path) -> None:
    paths = [material.workbook(tmp_path / "b.xlsx"), material.scan(tmp_path / "s.pdf")]
    paths.append(material.word(tmp_path / "w.docx"))
    once, again = ([_both(attached(*paths, vision=True), p.name) for p in paths] for _ in range(2))
    assert once == again, "a resumed attempt runs its tools anew"


def _both(workspace: Workspace, name: str) -> tuple[str, list[bytes]]:
    return read(workspace, name), [p.data for p in workspace.take_pictures()]


def test_a_vanished_file_is_a_fault_of_this_machine(tmp_path: Path) -> None:
    path = _text(tmp_path)
    shutil.move(path, tmp_path / "elsewhere")
    with pytest.raises(OSError, match="No such file"):
        documents.read(path)


def test_the_process_that_opens_files_ends_with_the_one_that_asks(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom hapi_pipeline.agents import documents\n"
        "documents.read(Path(sys.argv[1]))\n[processes] = documents._processes.values()\n"
        "print(processes.idle[0].child.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = str(Path(documents.__file__).parents[3])
    made = subprocess.run(
        [sys.executable, "-c", program, str(_text(tmp_path))],
        env={**os.environ, "PYTHONPATH": root}, stdout=subprocess.PIPE, check=False,
    )  # fmt: skip
    assert made.returncode == -signal.SIGKILL
    status = Path(f"/proc/{int(made.stdout)}/cmdline")
    deadline = time.monotonic() + 30
    while _alive(status) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _alive(status)


def _alive(status: Path) -> bool:
    """Whether the process still runs; one that has ended but that nobody has collected has no command line."""
    try:
        return b"documents.worker" in status.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_process_that_opens_files_reaches_no_file_and_no_network_of_its_own(tmp_path: Path) -> None:
    from hapi_pipeline.agents.sandbox import confine

    if not confine.landlock_abi() or not confine.seccomp_supported():
        pytest.skip("needs a Linux kernel with Landlock and seccomp, on an architecture that is known here")
    program = (
        "import socket, sys\nfrom hapi_pipeline.agents.documents import worker\nprint(worker.bound())\n"
        "for act in (lambda: open(sys.argv[1]), lambda: open('/proc/self/environ'), lambda: open('/etc/passwd'),\n"
        "            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), lambda: open(sys.argv[1] + 'x', 'w')):\n"
        "    try:\n        act()\n        print('reached')\n    except OSError:\n        print('denied')\n"
    )
    root = str(Path(documents.__file__).parents[3])
    made = subprocess.run(
        [sys.executable, "-P", "-c", program, str(_text(tmp_path))],
        env={**os.environ, "PYTHONPATH": root}, stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    assert made.stdout.split() == ["True"] + ["denied"] * 5
