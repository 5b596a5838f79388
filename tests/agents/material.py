"""Files as people send them, and as attackers do, made here so that no test needs a file of unknown origin."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/></Types>'
)


def zipped(path: Path, members: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def word(path: Path) -> Path:
    """A brief of a heading, a paragraph, a list and a table with a merged cell."""
    import docx

    document = docx.Document()
    document.add_heading("Product sheet", 1)
    document.add_paragraph("Please fill in the table & keep the order.")
    document.add_paragraph("No prices", style="List Bullet")
    table = document.add_table(3, 2)
    table.cell(0, 0).merge(table.cell(0, 1)).text = "Lamps"
    for row, (left, right) in enumerate((("Watt", "12"), ("Colour", "warm\nwhite")), start=1):
        table.cell(row, 0).text, table.cell(row, 1).text = left, right
    document.add_paragraph("Thank you.")
    document.sections[0].footer.paragraphs[0].text = "Page of the client"
    document.save(str(path))
    return path


def workbook(path: Path) -> Path:
    """Three sheets, one of them hidden; a date, a number, a truth value and a formula that nobody computed yet."""
    from datetime import date

    import openpyxl

    book = openpyxl.Workbook()
    sales = book.active
    assert sales is not None
    sales.title = "Sales"
    for row in (
        ["region", "day", "amount", "paid"],
        ["North", date(2026, 3, 1), 1250.5, True],
        ["South", None, 40, False],
    ):
        sales.append(row)
    sales["C4"] = "=SUM(C2:C3)"
    stock = book.create_sheet("Stock list")
    stock.append(["item", "count"])
    for n in range(300):
        stock.append([f"part {n}", n])
    notes = book.create_sheet("Notes")
    notes.append(["Only for us"])
    notes.sheet_state = "hidden"
    book.save(path)
    return path


def slides(path: Path) -> Path:
    import pptx

    deck = pptx.Presentation()
    for number in (1, 2):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = f"Topic {number}"
        slide.placeholders[1].text = f"Point {number}"
    deck.slides[0].notes_slide.notes_text_frame.text = "Say hello."
    deck.save(str(path))
    return path


def picture(path: Path, size: tuple[int, int] = (640, 480)) -> Path:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).rectangle((20, 20, size[0] // 2, size[1] // 2), fill="navy")
    image.save(path)
    return path


def scan(path: Path, pages: int = 2) -> Path:
    """A PDF whose pages are pictures, as a scanner makes them."""
    from PIL import Image, ImageDraw

    made = []
    for number in range(pages):
        image = Image.new("L", (850, 1100), 255)
        ImageDraw.Draw(image).text((100, 100), f"Invoice {number}", fill=0)
        made.append(image)
    made[0].save(path, "PDF", save_all=True, append_images=made[1:])
    return path


def pdf(path: Path, texts: list[str], extra: str = "", trailer: str = "") -> Path:
    """A PDF with one line of text a page, written out by hand."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(texts)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(texts)} /Kids [{kids}] >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n, text in enumerate(texts):
        page = f"/Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents {5 + 2 * n} 0 R"
        objects.append(f"<< {page} /Resources << /Font << /F1 3 0 R >> >> >>")
        stream = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    objects += [extra] if extra else []
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(out.tell())
        out.write(f"{number} 0 obj\n{body}\nendobj\n".encode())
    start = out.tell()
    out.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode())
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF\n".encode())
    path.write_bytes(out.getvalue())
    return path


def locked_pdf(path: Path) -> Path:
    """A PDF that wants a password: the keys in it fit none."""
    lock = f"<< /Filter /Standard /V 1 /R 2 /P -4 /O <{'11' * 32}> /U <{'22' * 32}> >>"
    return pdf(path, ["Secret"], lock, f"/Encrypt 6 0 R /ID [<{'33' * 16}> <{'33' * 16}>]")


def locked_zip(path: Path) -> Path:
    """A zip archive whose one file is marked as encrypted."""
    data = bytearray(zipped(path, {"secret.txt": "secret"}).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))
    return path


def locked_workbook(path: Path) -> Path:
    """The container in which office programs put a document with a password, as far as it is looked at."""
    path.write_bytes(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le") + bytes(400)
    )
    return path


def archive(path: Path, inner: Path) -> Path:
    """A zip archive with a document in a folder, a table and an empty folder."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("empty/", "")
        made.write(inner, "brief/" + inner.name)
        made.writestr("data/prices.csv", "item;net;gross\nlamp;10;12\nbulb;2;2.4\n")
    return path


def hostile_archive(path: Path) -> Path:
    """A zip archive with a link to a file of the machine, and a name that leads out of the folder."""
    link = zipfile.ZipInfo("innocent.txt")
    link.create_system = 3
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(link, "/etc/passwd")
        made.writestr("../../up.txt", "out")
    return path


def bomb(path: Path, megabytes: int = 80) -> Path:
    return zipped(path, {"big.txt": b" " * (megabytes << 20)})


def document_with_entity(path: Path, secret: Path) -> Path:
    """A Word document that tries to pull in a file of this machine."""
    body = (
        f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x SYSTEM "file://{secret}">]>'
        '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
        "<w:body><w:p><w:r><w:t>&x;</w:t></w:r></w:p></w:body></w:document>"
    )
    return zipped(path, {"[Content_Types].xml": _TYPES, "word/document.xml": body})
