"""Files of every kind with one e-mail address planted in them, each in another place."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from email.message import EmailMessage

ADDRESS = "jane.roe@northwind-harbour.com"
PLAIN = "Sort the shelves by colour."


# ---- Word


def docx_of(change: Callable[..., None]) -> bytes:
    import docx

    document = docx.Document()
    document.add_paragraph(PLAIN)
    change(document)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def docx_paragraph() -> bytes:
    """In runs that cut the address into three."""

    def change(document) -> None:  # type: ignore[no-untyped-def]
        paragraph = document.add_paragraph("Write to ")
        for piece in (ADDRESS[:4], ADDRESS[4:12], ADDRESS[12:]):
            paragraph.add_run(piece).bold = piece == ADDRESS[:4]

    return docx_of(change)


def docx_table() -> bytes:
    return docx_of(lambda d: setattr(d.add_table(1, 1).cell(0, 0), "text", ADDRESS))


def docx_comment() -> bytes:
    return docx_of(lambda d: d.add_comment(d.paragraphs[0].runs, text=f"Ask {ADDRESS}", author="A"))


def docx_comment_author() -> bytes:
    return docx_of(lambda d: d.add_comment(d.paragraphs[0].runs, text="Good", author=ADDRESS))


def docx_header() -> bytes:
    return docx_of(lambda d: setattr(d.sections[0].header.paragraphs[0], "text", ADDRESS))


def docx_property() -> bytes:
    return docx_of(lambda d: setattr(d.core_properties, "author", ADDRESS))


def docx_link() -> bytes:
    return docx_of(
        lambda d: d.part.relate_to(
            f"mailto:{ADDRESS}",
            "http://schemas.openxmlformats.org/officeDocument/2006/relationships/hyperlink",
            is_external=True,
        )
    )


# ---- Excel


def xlsx_of(change: Callable[..., None]) -> bytes:
    import xlsxwriter

    file = io.BytesIO()
    book = xlsxwriter.Workbook(file, {"in_memory": True})
    sheet = book.add_worksheet("Shelves")
    sheet.write("A1", PLAIN)
    change(book, sheet)
    book.close()
    return file.getvalue()


def xlsx_cell() -> bytes:
    def change(book, sheet) -> None:  # type: ignore[no-untyped-def]
        hidden = book.add_worksheet("Notes")
        hidden.write("C7", f"ask {ADDRESS}")
        hidden.hide()

    return xlsx_of(change)


def xlsx_comment() -> bytes:
    return xlsx_of(lambda book, sheet: sheet.write_comment("B3", f"Ask {ADDRESS} about this"))


def xlsx_comment_author() -> bytes:
    return xlsx_of(lambda book, sheet: sheet.write_comment("B3", "Good", {"author": ADDRESS}))


def xlsx_sheet_name() -> bytes:
    return xlsx_of(lambda book, sheet: book.add_worksheet(ADDRESS))


def xlsx_footer() -> bytes:
    return xlsx_of(lambda book, sheet: sheet.set_footer(f"&L{ADDRESS}"))


def xlsx_property() -> bytes:
    return xlsx_of(lambda book, sheet: book.set_properties({"manager": ADDRESS}))


def xlsx_own_property() -> bytes:
    return xlsx_of(lambda book, sheet: book.set_custom_property("Contact", ADDRESS))


def xlsx_name() -> bytes:
    return xlsx_of(lambda book, sheet: book.define_name("Contact", f'="{ADDRESS}"'))


def xlsx_formula() -> bytes:
    return xlsx_of(lambda book, sheet: sheet.write_formula("A9", f'=LOWER("{ADDRESS}")'))


def xlsx_hint() -> bytes:
    return xlsx_of(
        lambda book, sheet: sheet.data_validation("A2", {"validate": "any", "input_message": f"See {ADDRESS}"})
    )


def xlsx_link() -> bytes:
    return xlsx_of(lambda book, sheet: sheet.write_url("A4", f"mailto:{ADDRESS}", string="write"))


def xlsx_text_box() -> bytes:
    return xlsx_of(lambda book, sheet: sheet.insert_textbox("D4", f"Write to {ADDRESS}"))


def xlsx_chart_title() -> bytes:
    def change(book, sheet) -> None:  # type: ignore[no-untyped-def]
        chart = book.add_chart({"type": "line"})
        chart.add_series({"values": "=Shelves!$A$1:$A$2"})
        chart.set_title({"name": f"By {ADDRESS}"})
        sheet.insert_chart("D9", chart)

    return xlsx_of(change)


# ---- PowerPoint


def pptx_of(change: Callable[..., None]) -> bytes:
    import pptx

    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[5])
    slide.shapes.title.text = PLAIN
    change(show, slide)
    file = io.BytesIO()
    show.save(file)
    return file.getvalue()


def pptx_slide() -> bytes:
    return pptx_of(lambda show, slide: setattr(slide.shapes.title, "text", f"Write to {ADDRESS}"))


def pptx_notes() -> bytes:
    return pptx_of(lambda show, slide: setattr(slide.notes_slide.notes_text_frame, "text", ADDRESS))


def pptx_alternative_text() -> bytes:
    return pptx_of(lambda show, slide: slide.shapes.title._element.nvSpPr.cNvPr.set("descr", ADDRESS))


# ---- PDF


def pdf_of(change: Callable[..., None], pages: int = 1) -> bytes:
    from reportlab.pdfgen import canvas  # type: ignore[import-untyped]

    file = io.BytesIO()
    drawing = canvas.Canvas(file, invariant=True)
    for number in range(pages):
        drawing.drawString(72, 720, PLAIN)
        if number == pages - 1:
            change(drawing)
        drawing.showPage()
    drawing.save()
    return file.getvalue()


def pdf_text() -> bytes:
    return pdf_of(lambda c: c.drawString(72, 650, f"Write to {ADDRESS}."), pages=3)


def pdf_annotation() -> bytes:
    return pdf_of(lambda c: c.textAnnotation(f"Ask {ADDRESS}", (72, 600, 90, 620)), pages=2)


def pdf_link() -> bytes:
    return pdf_of(lambda c: c.linkURL(f"mailto:{ADDRESS}", (72, 600, 90, 620)))


def pdf_property() -> bytes:
    return pdf_of(lambda c: c.setAuthor(ADDRESS))


def pdf_form() -> bytes:
    return pdf_of(lambda c: c.acroForm.textfield(name="who", value=ADDRESS, x=72, y=500))


def pdf_outline() -> bytes:
    def change(c) -> None:  # type: ignore[no-untyped-def]
        c.bookmarkPage("here")
        c.addOutlineEntry(f"By {ADDRESS}", "here")

    return pdf_of(change)


# ---- text


def markdown() -> bytes:
    return f"# Shelves\n\n{PLAIN}\n\nWrite to {ADDRESS}.\n".encode()


def utf16() -> bytes:
    return f"{PLAIN}\r\nWrite to {ADDRESS}.\r\n".encode("utf-16")


def csv_row() -> bytes:
    return f"name,contact\nshelf,none\nother,{ADDRESS}\n".encode()


def json_escaped() -> bytes:
    return json.dumps({"a": [PLAIN, ADDRESS]}).replace("@", "\\u0040").encode()


def html_attribute() -> bytes:
    return f'<html><body><p title="{ADDRESS}">{PLAIN}</p></body></html>'.encode()


def html_entity() -> bytes:
    return f"<html><body><p>{PLAIN}</p><p>{ADDRESS.replace('@', '&#64;')}</p></body></html>".encode()


def html_cut() -> bytes:
    return f"<html><body><p>{PLAIN}</p><p>{ADDRESS.replace('@', '<b>@</b>')}</p></body></html>".encode()


def html_comment() -> bytes:
    return f"<html><body><!-- {ADDRESS} --><p>{PLAIN}</p></body></html>".encode()


def svg_title() -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg"><title>{ADDRESS}</title></svg>'.encode()


def notebook() -> bytes:
    cell = {"cell_type": "code", "source": ["print(1)\n"], "outputs": [{"output_type": "stream", "text": [ADDRESS]}]}
    return json.dumps({"cells": [cell], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}).encode()


def rich_text() -> bytes:
    return ("{\\rtf1\\ansi " + PLAIN + "\\par Write to " + ADDRESS.replace("@", "\\'40") + ".}").encode()


def mail() -> bytes:
    message = EmailMessage()
    message["From"], message["Subject"] = "nobody", "Shelves"
    message.set_content(PLAIN)
    message.add_attachment(f"Ask {ADDRESS}".encode(), maintype="application", subtype="octet-stream", filename="a.txt")
    return message.as_bytes()


# ---- OpenDocument and archives


def zipped(files: dict[str, bytes], stored: str = "") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            kind = zipfile.ZIP_STORED if name == stored else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name), data, kind)
    return file.getvalue()


_OFFICE = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"
_TEXT = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"


def opendocument(place: str) -> bytes:
    def said(where: str) -> str:
        return ADDRESS if where == place else PLAIN

    content = (
        f'<o:document-content xmlns:o="{_OFFICE}" xmlns:t="{_TEXT}" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<o:body><o:text><t:p>{said('paragraph')}<o:annotation><dc:creator>{said('author')}</dc:creator>"
        f"<t:p>{said('note')}</t:p></o:annotation></t:p></o:text></o:body></o:document-content>"
    )
    meta = (
        f'<o:document-meta xmlns:o="{_OFFICE}" xmlns:dc="http://purl.org/dc/elements/1.1/"><o:meta>'
        f"<dc:creator>{said('creator')}</dc:creator></o:meta></o:document-meta>"
    )
    kind = b"application/vnd.oasis.opendocument.text"
    return zipped({"mimetype": kind, "content.xml": content.encode(), "meta.xml": meta.encode()}, stored="mimetype")


def archive() -> bytes:
    return zipped({"work/readme.txt": PLAIN.encode(), "work/inner.zip": zipped({"a/report.docx": docx_paragraph()})})


def archive_name() -> bytes:
    return zipped({f"{ADDRESS}.txt": PLAIN.encode()})


def docx_with_workbook() -> bytes:
    """A workbook embedded in a Word document."""
    parts = _parts(docx_of(lambda d: None))
    return zipped(parts | {"word/embeddings/sheet1.xlsx": xlsx_comment()})


def _parts(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


PLANTED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    # what: (name of the file, its content, what the place must say)
    "docx paragraph": ("report.docx", docx_paragraph, "paragraph 2"),
    "docx table": ("report.docx", docx_table, "paragraph 2"),
    "docx comment": ("report.docx", docx_comment, "comments, comment 1"),
    "docx author of a comment": ("report.docx", docx_comment_author, "comments"),
    "docx header": ("report.docx", docx_header, "header"),
    "docx property": ("report.docx", docx_property, "properties, creator"),
    "docx link": ("report.docx", docx_link, "links"),
    "docx with a workbook": ("report.docx", docx_with_workbook, "cell B3"),
    "xlsx cell of a hidden sheet": ("table.xlsx", xlsx_cell, "sheet 2, 'Notes', cell C7"),
    "xlsx comment": ("table.xlsx", xlsx_comment, "sheet 1, comments, cell B3"),
    "xlsx author of a comment": ("table.xlsx", xlsx_comment_author, "comments"),
    "xlsx name of a sheet": ("table.xlsx", xlsx_sheet_name, "names of sheets, sheet 2"),
    "xlsx footer": ("table.xlsx", xlsx_footer, "sheet 1, 'Shelves', oddFooter"),
    "xlsx property": ("table.xlsx", xlsx_property, "properties, Manager"),
    "xlsx own property": ("table.xlsx", xlsx_own_property, "properties, Contact"),
    "xlsx defined name": ("table.xlsx", xlsx_name, "workbook.xml"),
    "xlsx formula": ("table.xlsx", xlsx_formula, "cell A9"),
    "xlsx hint": ("table.xlsx", xlsx_hint, "sheet 1, 'Shelves', dataValidation A2"),
    "xlsx link": ("table.xlsx", xlsx_link, "links"),
    "xlsx text box": ("table.xlsx", xlsx_text_box, "drawing"),
    "xlsx title of a chart": ("table.xlsx", xlsx_chart_title, "chart1.xml"),
    "pptx slide": ("slides.pptx", pptx_slide, "slide 1"),
    "pptx notes": ("slides.pptx", pptx_notes, "notes 1"),
    "pptx alternative text": ("slides.pptx", pptx_alternative_text, "slide 1"),
    "pdf text": ("paper.pdf", pdf_text, "page 3"),
    "pdf annotation": ("paper.pdf", pdf_annotation, "annotations of page 2"),
    "pdf link": ("paper.pdf", pdf_link, "annotations of page 1"),
    "pdf property": ("paper.pdf", pdf_property, "properties, Author"),
    "pdf form": ("paper.pdf", pdf_form, "annotations of page 1"),
    "pdf outline": ("paper.pdf", pdf_outline, "elsewhere in the file"),
    "markdown": ("notes.md", markdown, "line 5"),
    "utf-16": ("notes.txt", utf16, "line 2"),
    "csv": ("rows.csv", csv_row, "line 3"),
    "json with escapes": ("data.json", json_escaped, "{0}"),
    "html attribute": ("page.html", html_attribute, "line 1"),
    "html entity": ("page.html", html_entity, "line 1"),
    "html cut by a tag": ("page.html", html_cut, "line 1"),
    "html comment": ("page.html", html_comment, "line 1"),
    "svg title": ("drawing.svg", svg_title, "line 1"),
    "notebook output": ("book.ipynb", notebook, "line 1"),
    "rich text": ("letter.rtf", rich_text, "line 2"),
    "mail": ("letter.eml", mail, "'a.txt', line 1"),
    "odt paragraph": ("report.odt", lambda: opendocument("paragraph"), "paragraph 1"),
    "odt note": ("report.odt", lambda: opendocument("note"), "paragraph"),
    "odt author of a note": ("report.odt", lambda: opendocument("author"), "paragraph 1"),
    "odt creator": ("report.odt", lambda: opendocument("creator"), "properties, creator"),
    "archive": ("all.zip", archive, "file 2, 'work/inner.zip', file 1, 'a/report.docx', paragraph 2"),
    "name in an archive": ("all.zip", archive_name, "file 1, name"),
}
