"""No property of a deliverable names its maker, no content changes, and the operator is told what cannot be done."""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline.grading.blind import blinded
from hapi_pipeline.grading.mentions import maker_pattern, mentions, names_of
from hapi_pipeline.grading.packets import PacketSpec, make_packet
from tests.grading import deliverables
from tests.grading.deliverables import ALL, MAKER, PIXELS, SEEN, WITH_TEXT, everything

PATTERN = maker_pattern((MAKER,))


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    return {kind: make() for kind, make in ALL.items()}


@pytest.mark.parametrize("kind", ALL)
def test_no_property_names_the_maker(kind: str, made: dict[str, bytes]) -> None:
    assert MAKER.encode() in everything(made[kind])
    stripped = blinded(kind, made[kind], PATTERN)
    assert stripped.left == ()
    assert MAKER.lower().encode() not in everything(stripped.data).lower()
    assert blinded(kind, stripped.data, PATTERN).data == stripped.data


@pytest.mark.parametrize("kind", WITH_TEXT)
def test_what_the_client_reads_stays(kind: str, made: dict[str, bytes]) -> None:
    assert SEEN.encode() in everything(blinded(kind, made[kind], PATTERN).data)


@pytest.mark.parametrize("kind", PIXELS)
def test_pixels_animation_and_orientation_stay(kind: str, made: dict[str, bytes]) -> None:
    from PIL import Image, ImageSequence

    before, after = (Image.open(io.BytesIO(d)) for d in (made[kind], blinded(kind, made[kind], PATTERN).data))
    assert before.format == after.format
    assert dict(after.getexif()).keys() <= dict(before.getexif()).keys()
    assert after.getexif().get(0x0112, 1) == before.getexif().get(0x0112, 1)
    assert after.info.get("loop") == before.info.get("loop")
    frames = [[f.convert("RGBA").tobytes() for f in ImageSequence.Iterator(image)] for image in (before, after)]
    assert frames[0] == frames[1]


def test_a_pdf_looks_the_same(made: dict[str, bytes]) -> None:
    import pypdfium2

    shown = []
    for data in (made["pdf"], blinded("pdf", made["pdf"], PATTERN).data):
        with pypdfium2.PdfDocument(data) as document:
            shown.append((document[0].get_textpage().get_text_bounded(), document[0].render().to_numpy().tobytes()))
    assert SEEN in shown[0][0]
    assert shown[0] == shown[1]


def test_office_files_open_and_say_the_same(made: dict[str, bytes]) -> None:
    import docx
    import openpyxl
    from pptx import Presentation

    document = docx.Document(io.BytesIO(blinded("docx", made["docx"], PATTERN).data))
    assert document.paragraphs[0].text.startswith(SEEN)
    assert [note.author for note in document.comments] == ["Author 1"]
    assert not document.core_properties.author
    book = openpyxl.load_workbook(io.BytesIO(blinded("xlsx", made["xlsx"], PATTERN).data))
    assert book.active is not None
    assert (book.active["A1"].value, book.active["A1"].comment.text) == (SEEN, "a note")
    show = Presentation(io.BytesIO(blinded("pptx", made["pptx"], PATTERN).data))
    assert show.slides[0].shapes.title.text == SEEN


def test_two_people_in_one_document_stay_two() -> None:
    import docx

    document = docx.Document()
    runs = document.add_paragraph("text").runs
    for author in ("The client", MAKER, "The client"):
        document.add_comment(runs, text="note", author=author)
    document.save(out := io.BytesIO())
    cleaned = docx.Document(io.BytesIO(blinded("docx", out.getvalue(), PATTERN).data))
    assert [note.author for note in cleaned.comments] == ["Author 1", "Author 2", "Author 1"]


def test_comments_that_explain_a_page_stay_and_scripts_are_not_cut() -> None:
    page = (
        f'<!-- menu --><script>if (a<!--b) x = "<meta name=author content={MAKER}>"</script>'
        f"<textarea><!-- {MAKER} --></textarea><!-- by {MAKER} --><p>\xe9"
    ).encode("latin-1")
    assert blinded("html", page, PATTERN).data == page.replace(f"<!-- by {MAKER} -->".encode(), b"")
    wide = f"<!-- made by {MAKER} --><p>Jos\u00e9".encode("utf-16-be")
    assert blinded("html", b"\xfe\xff" + wide, PATTERN).data == b"\xfe\xff" + "<p>Jos\u00e9".encode("utf-16-be")


@pytest.mark.parametrize("name", ["notes.md", "table.csv", "code.py", "data.json"])
def test_plain_text_has_nothing_to_strip(name: str) -> None:
    data = f"# {MAKER}\r\n".encode()
    assert blinded(name.partition(".")[2], data, PATTERN) == replace(blinded("txt", data, PATTERN), data=data)


def encrypted_pdf() -> bytes:
    import pikepdf

    with pikepdf.new() as document:
        document.add_blank_page()
        document.save(out := io.BytesIO(), encryption=pikepdf.Encryption(owner="o", user="u"))
    return out.getvalue()


def signed_docx() -> bytes:
    return deliverables.rewritten(deliverables.docx(), lambda _, data: data, {"_xmlsignatures/origin.sigs": b""})


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"{number}.txt", bytes(80 * 1024 * 1024))
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "make", "reason"),
    [
        ("pdf", encrypted_pdf, "encrypted"),
        ("docx", signed_docx, "digitally signed"),
        ("docx", lambda: b"\xd0\xcf\x11\xe0" + bytes(600), "encrypted or damaged"),
        ("png", lambda: deliverables.png()[:60], "damaged"),
        ("xlsx", lambda: b"a,b\n1,2\n", "damaged"),
        ("svg", lambda: b'<!DOCTYPE svg [<!ENTITY a "b">]><svg>&a;</svg>', "declares entities"),
        ("zip", bomb, "would unpack to an unreasonable size"),
        ("mp3", lambda: b"ID3", "a type whose properties cannot be taken out"),
        ("jpg", lambda: b"hello", "not what its name says"),
    ],
)
def test_what_cannot_be_stripped_is_handed_on_and_told(kind: str, make: object, reason: str) -> None:
    data = make()  # type: ignore[operator]
    assert (blinded(kind, data, PATTERN).data, blinded(kind, data, PATTERN).left) == (data, (reason,))


def test_a_broken_member_does_not_keep_the_others_from_being_stripped() -> None:
    data = deliverables.zip_of(a_png=deliverables.png(), b_png=b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 9))
    stripped = blinded("zip", data, PATTERN)
    assert stripped.left == ("b.png: damaged",)
    assert MAKER.encode() not in everything(stripped.data)


def test_a_wrong_extension_hides_nothing() -> None:
    for kind, name in (("png", "jpg"), ("pdf", "txt"), ("docx", "zip"), ("docx", "bin"), ("jpeg", "bin")):
        stripped = blinded(name, ALL[kind](), PATTERN)
        assert MAKER.encode() not in everything(stripped.data), (kind, name)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.sampled_from(sorted(ALL)), st.binary(max_size=40), st.floats(0, 1))
def test_damaged_deliverables_are_handed_on(kind: str, noise: bytes, at: float) -> None:
    whole = ALL[kind]() if kind not in _CACHE else _CACHE[kind]
    _CACHE[kind] = whole
    place = int(at * len(whole))
    for data in (noise, whole[:place], whole[:place] + noise + whole[place + len(noise) :]):
        stripped = blinded(kind, data, PATTERN)
        assert stripped.left or stripped.data is not None
        assert not (stripped.left and any(":" not in reason for reason in stripped.left)) or stripped.data == data


_CACHE: dict[str, bytes] = {}


# --- content that names its maker ------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Made by Quill-Mind", ["quill-mind"]),
        ("written with ＣｌａｕｄＥ", ["claude"]),
        ("GPT-4o and ChatGPT", ["gpt-4o", "chatgpt"]),
        ("As an AI language model I cannot", ["as an ai language model"]),
        ("cloud, generic gptx9, llamas, geminiano", []),
        ("our_quillmind_report", ["quillmind"]),
    ],
)
def test_names_are_found_in_any_spelling(text: str, found: list[str]) -> None:
    pattern = maker_pattern(names_of("Quill Mind", "vendor/quill-mind-9"))
    assert mentions("txt", text.encode(), pattern) == found


def test_what_the_brief_asks_about_is_no_mention_but_the_maker_is() -> None:
    pattern = maker_pattern(("QuillMind",), "Compare ChatGPT and Claude for my shop")
    assert mentions("txt", b"ChatGPT is cheap, Claude is kind, Gemini is fast", pattern) == ["gemini"]
    assert mentions("txt", b"QuillMind made this", pattern) == ["quillmind"]
    assert maker_pattern(("Claude Sonnet 4",), "About Claude").search("by claude-sonnet-4")


def test_a_mention_is_found_where_a_reader_finds_it() -> None:
    import docx

    document = docx.Document()
    paragraph = document.add_paragraph("By Quill")
    paragraph.add_run("Mind").bold = True
    document.save(out := io.BytesIO())
    assert mentions("docx", out.getvalue(), PATTERN) == ["quillmind"]
    assert mentions("html", b"<p>Quill<b>Mind</b></p>", PATTERN) == ["quillmind"]
    assert mentions("zip", deliverables.zip_of(QuillMind_txt=b"x"), PATTERN) == ["quillmind"]
    from reportlab.pdfgen import canvas  # type: ignore[import-untyped]

    page = canvas.Canvas(out := io.BytesIO())
    page.drawString(72, 700, "by QuillMind")
    page.save()
    assert mentions("pdf", out.getvalue(), PATTERN) == ["quillmind"]


def test_the_operator_is_told_and_the_grader_sees_nothing(spec: PacketSpec, tmp_path: Path) -> None:
    work = tmp_path / MAKER
    work.mkdir()
    (work / f"by_{MAKER}.md").write_text("plain")
    (work / "b.txt").write_text(f"I am {MAKER}")
    (work / "c.pdf").write_bytes(encrypted_pdf())
    paths = (work / f"by_{MAKER}.md", work / "b.txt", work / "c.pdf")
    made = make_packet(replace(spec, deliverables=paths, makers=(MAKER,)), tmp_path / "p")
    assert made.flags == (
        "names_maker:deliverable_01.md:quillmind",
        "names_maker:deliverable_02.txt:quillmind",
        "not_stripped:deliverable_03.pdf:encrypted",
    )
    assert (tmp_path / "p" / "deliverables" / "deliverable_02.txt").read_text() == f"I am {MAKER}"
    assert make_packet(replace(spec, deliverables=paths, makers=(MAKER,)), tmp_path / "p") == made
    for path in (tmp_path / "p").iterdir():
        if path.is_file() and path.name != "brief.html":  # the page shows what was handed in
            assert b"names_maker" not in everything(path.read_bytes())
            assert MAKER.encode() not in everything(path.read_bytes())
