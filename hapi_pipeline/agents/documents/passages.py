"""Everything in a file that is text, wherever it stands: what a search for personal data has to read.

The readers beside this module show an agent what a document says. This one shows what the file *holds*: comments,
headers, properties, sheet names, hidden cells, links, annotations, alternative texts, names of enclosed files. What it
cannot read to the end, or holds pictures, which nobody here can read, raises UnreadableError: half a file is none.
Runs in the process that `worker` bounds, never in the one that asks.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hapi_pipeline.agents.documents import kinds, plain
from hapi_pipeline.agents.documents.model import Document, UnreadableError
from hapi_pipeline.agents.documents.zips import ZIP_ERRORS, checked_office_zip, refuse_bomb, unpacked

MOST_TEXT = 24 << 20  # characters of a file
_MOST_XML = 128 << 20  # bytes of XML in an office file
_MOST_MEMBER = 64 << 20  # bytes of a file inside another
_MOST_MEMBERS = 5_000
_MOST_DEPTH = 3  # files in files in files
NAME = "~"
"""Marks a part of a place that is a name taken from the file, which may itself be personal."""

_PICTURE = "it is a picture, and what it shows cannot be read here"
_PICTURES = "it holds pictures, and what they show cannot be read here"


@dataclass
class Passage:
    """A stretch of text. `marks` say what begins at which character; without any it is told by its lines."""

    place: tuple[str, ...]
    text: str
    marks: list[tuple[int, str]] = field(default_factory=list)


class _Written:
    """A passage in the making: pieces, each on a line or in a cell of its own."""

    def __init__(self, *place: str):
        self.place, self._pieces, self._length, self._marks = place, [""][:0], 0, list[tuple[int, str]]()

    def add(self, label: str, text: str, end: str = "\n") -> None:
        if text.strip():
            self._marks.append((self._length, label))
            self._pieces += [text, end]
            self._length += len(text) + len(end)

    def passages(self) -> Iterator[Passage]:
        if self._pieces:
            yield Passage(self.place, "".join(self._pieces), self._marks)


def passages(document: Document) -> list[Passage]:
    """Every passage of a file. Raises UnreadableError where some of it cannot be read."""
    found, length = [], 0
    try:
        for passage in _of(document):
            found.append(passage)
            length += len(passage.text)
            if length > MOST_TEXT:
                raise UnreadableError("it has too much text to be read here")
    except (UnreadableError, MemoryError):
        raise
    except Exception as error:  # parsers of hostile files fail in every way there is
        raise UnreadableError("it is damaged and cannot be read") from error
    return found


def _of(document: Document) -> Iterator[Passage]:
    if document.kind == "empty":
        return
    if document.kind in kinds.PICTURES:
        raise UnreadableError(_PICTURE)
    reader = _READERS.get(document.kind)
    if reader is None:
        raise UnreadableError("it is of a kind that cannot be read here")
    yield from reader(document)


# ---- text


def _text(document: Document) -> Iterator[Passage]:
    text = _whole(document)
    _refuse_encoded(text)
    yield Passage((), text)


def _whole(document: Document) -> str:
    """All of a text, which must be one."""
    document.file.seek(0)
    data = document.file.read(MOST_TEXT + 1)
    if len(data) > MOST_TEXT:
        raise UnreadableError("it has too much text to be read here")
    if not kinds.is_text(data):
        raise UnreadableError("only its beginning is text")
    return plain.decoded(data).replace("\r\n", "\n").replace("\r", "\n")


_ENCODED = re.compile(r"data:\s*(?:image|application|audio|video|font)/[\w.+-]+[^,\"'<>]{0,200};base64,", re.IGNORECASE)
_IMAGE_OUTPUT = re.compile(r"\"(?:image/(?:png|jpeg|gif|webp|bmp|tiff)|application/pdf)\"\s*:")


def _refuse_encoded(text: str) -> None:
    if _ENCODED.search(text):
        raise UnreadableError("it holds encoded files or pictures, which are not read here")


def _markup(document: Document) -> Iterator[Passage]:
    """HTML, SVG, XML: the markup itself, with its comments and attributes, and once more with its characters told."""
    text = _whole(document)
    _refuse_encoded(text)
    yield Passage((), text)
    told = html.unescape(text)
    if told != text:
        yield Passage((), told)
    joined = re.sub(r"</?(?:b|i|u|em|strong|span|font|a|tspan|wbr|code|small|mark)\b[^<>]{0,2000}>", "", told)
    if joined != told:  # j<b>ane</b>@… is one word to a reader
        yield Passage((), joined)


def _json(document: Document) -> Iterator[Passage]:
    """JSON, JSON lines and notebooks: as it stands, and every string once more without its escapes."""
    text = _whole(document)
    _refuse_encoded(text)
    if _IMAGE_OUTPUT.search(text):
        raise UnreadableError(_PICTURES)
    yield Passage((), text)
    lines = text.split("\n") if document.kind == "jsonl" else [text]
    for number, line in enumerate(lines, start=1):
        if not line.strip() or ("\\" not in line and document.kind != "ipynb"):
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue  # its text has been read all the same
        written = _Written(*([f"line {number}"] if document.kind == "jsonl" else []))
        for path, told in _strings(value):
            written.add(path, told)
        yield from written.passages()


def _strings(value: Any) -> Iterator[tuple[str, str]]:
    """Every string with the way to it, lists of strings joined: so notebooks keep the lines of a cell."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        path, at = waiting.pop()
        if isinstance(at, str):
            yield path or "value", at
        elif isinstance(at, list) and at and all(isinstance(x, str) for x in at):
            yield path, "".join(at)
        elif isinstance(at, list):
            waiting += [(f"{path}[{n}]", x) for n, x in reversed(list(enumerate(at)))]
        elif isinstance(at, dict):
            inside = [(f"{path}{{{n}}}", x) for n, x in enumerate(at.values())]
            waiting += reversed([*inside, (f"{path} keys", "\n".join(map(str, at)))])


def _rich_text(document: Document) -> Iterator[Passage]:
    from striprtf.striprtf import rtf_to_text

    text = _whole(document)
    if re.search(r"\\(?:pict|objdata|objemb)\b", text):
        raise UnreadableError(_PICTURES)
    yield Passage((), rtf_to_text(text, errors="replace"))
    yield Passage(("source",), text)


def _mail(document: Document) -> Iterator[Passage]:
    message = plain.message_of(document)
    head = _Written("head")
    for name, value in message.items():
        head.add(name[:40], str(value))
    yield from head.passages()
    for number, part in enumerate(message.walk(), start=1):
        if part.is_multipart():
            continue
        data = part.get_payload(decode=True)
        name = part.get_filename() or f"part.{'html' if part.get_content_subtype() == 'html' else 'txt'}"
        yield from _inside(document, f"part {number}", name, data if isinstance(data, bytes) else b"")


# ---- files in files


def _inside(document: Document, place: str, name: str, data: bytes) -> Iterator[Passage]:
    """The passages of a file that another holds, its name among them."""
    if document.depth >= _MOST_DEPTH:
        raise UnreadableError("it holds files in files in files, which are not read here")
    yield Passage((place, "name"), named(name))
    file = io.BytesIO(data)
    part = Document(name, file, len(data), kinds.kind_of(file, name), document.depth + 1)
    for passage in _of(part):
        yield Passage((place, NAME + name, *passage.place), passage.text, passage.marks)


def named(name: str) -> str:
    """A file's name as text: the ending, which may look like part of an address, on and off."""
    stem, dot, _ = name.rpartition(".")
    return f"{name}\n{stem}" if dot else name


def _zip(document: Document) -> Iterator[Passage]:
    document.file.seek(0)
    with _unzipped(document) as archive:
        if archive.comment:
            yield Passage(("comment of the archive",), plain.decoded(archive.comment))
        members = [m for m in archive.infolist() if not m.is_dir()]
        if len(members) > _MOST_MEMBERS:
            raise UnreadableError("it holds too many files to be read here")
        refuse_bomb(document.size, sum(m.file_size for m in members))
        for number, member in enumerate(members, start=1):
            yield from _inside(document, f"file {number}", member.filename, unpacked(archive, member, _MOST_MEMBER))


def _unzipped(document: Document) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(document.file)
    except ZIP_ERRORS as error:
        raise UnreadableError("it is damaged and cannot be opened") from error
    if any(m.flag_bits & 1 for m in archive.infolist()):
        raise UnreadableError("it is protected by a password, so it cannot be opened")
    return archive


def _tar(document: Document) -> Iterator[Passage]:
    import tarfile

    document.file.seek(0)
    with tarfile.open(fileobj=document.file, mode="r:") as archive:
        for number, member in enumerate(archive, start=1):
            if number > _MOST_MEMBERS or member.size > _MOST_MEMBER:
                raise UnreadableError("it holds too much to be read here")
            if member.isdir():
                continue
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is None:
                raise UnreadableError("it holds links or devices")
            told = f"{member.uname} {member.gname}"
            yield Passage((f"file {number}", "owner"), told)
            yield from _inside(document, f"file {number}", member.name, stream.read(_MOST_MEMBER))


def _compressed(document: Document) -> Iterator[Passage]:
    import bz2
    import gzip
    import lzma

    document.file.seek(0)
    openers: Mapping[str, Callable[[Any], Any]] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    with openers[document.kind](document.file) as stream:
        data = stream.read(_MOST_MEMBER + 1)
    if len(data) > _MOST_MEMBER:
        raise UnreadableError("it holds too much to be read here")
    yield from _inside(document, "file 1", document.name.rpartition("/")[2].rpartition(".")[0] or "file", data)


# ---- office files

# the preview of the empty document that python-docx and python-pptx begin with
_EMPTY_PREVIEWS: frozenset[str] = frozenset()
_PICTURE_PART = re.compile(r"(?:^|/)(?:media|Pictures|Thumbnails)/[^/]+$|thumbnail\.\w+$", re.IGNORECASE)
_HARMLESS_PART = re.compile(r"(?:^|/)fonts?/[^/]+$|^mimetype$|^\[trash\]/", re.IGNORECASE)
_XML_PART = (".xml", ".rels", ".vml")


def _office(document: Document) -> Iterator[Passage]:
    """docx, xlsx, pptx and OpenDocument: every XML part, and what is enclosed."""
    checked_office_zip(document.file, _MOST_XML)
    with _unzipped(document) as archive:
        shared = _shared_strings(archive)
        sheets = _sheet_names(archive)
        numbers = {name: number for number, name in enumerate(sheets, start=1)}
        names = _Written("names of sheets")
        for number, sheet in enumerate(sheets.values(), start=1):
            names.add(f"sheet {number}", sheet)
        yield from names.passages()
        for member in archive.infolist():
            if member.is_dir() or _HARMLESS_PART.search(member.filename):
                continue
            name = member.filename
            data = unpacked(archive, member, _MOST_XML)
            if name.lower().endswith(_XML_PART):
                if name in numbers:
                    yield from _sheet(_parsed(data), shared, (f"sheet {numbers[name]}", NAME + sheets[name]))
                else:
                    yield from _part(_parsed(data), _part_place(name, numbers, archive))
            else:
                yield from _enclosed(document, name, data)


def _enclosed(document: Document, name: str, data: bytes) -> Iterator[Passage]:
    if _PICTURE_PART.search(name):
        if hashlib.sha256(data).hexdigest() not in _known_previews():
            raise UnreadableError(_PICTURES)
    elif "/printerSettings" in name:
        yield Passage(("printer settings",), _legible(data))
    elif data:
        yield from _inside(document, "enclosed file", name.rpartition("/")[2], data)


def _known_previews() -> frozenset[str]:
    """Pictures that python-docx and python-pptx put into every file they make: previews of their empty templates."""
    global _EMPTY_PREVIEWS
    if not _EMPTY_PREVIEWS:
        from importlib.resources import files

        found = {""}
        for package, path in (("docx", "templates/default.docx"), ("pptx", "templates/default.pptx")):
            with zipfile.ZipFile(io.BytesIO(files(package).joinpath(path).read_bytes())) as archive:
                found |= {
                    hashlib.sha256(archive.read(n)).hexdigest() for n in archive.namelist() if _PICTURE_PART.search(n)
                }
        _EMPTY_PREVIEWS = frozenset(found)
    return _EMPTY_PREVIEWS


def _legible(data: bytes) -> str:
    """What can be read in bytes that are no text: runs of Latin letters, in one byte or two each."""
    runs = re.findall(rb"(?:[\x20-\x7e]\x00){4,}|[\x20-\x7e]{4,}", data)
    return "\n".join(run.replace(b"\0", b"").decode("ascii") for run in runs)


def _parsed(data: bytes) -> Any:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=True)
    return etree.fromstring(data, parser)


def _local(tag: Any) -> str:
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


_KINDS = {"p": "paragraph", "h": "paragraph", "si": "paragraph", "comment": "comment", "threadedComment": "comment"}
"""Elements whose words belong together, by what people call them."""

_PLACES = (
    (re.compile(r"word/document\d*\.xml"), ""),
    (re.compile(r"word/header\d*\.xml"), "header"),
    (re.compile(r"word/footer\d*\.xml"), "footer"),
    (re.compile(r"word/footnotes\.xml"), "footnotes"),
    (re.compile(r"word/endnotes\.xml"), "endnotes"),
    (re.compile(r".*comments?[^/]*\.xml", re.IGNORECASE), "comments"),
    (re.compile(r"docProps/.*|meta\.xml"), "properties"),
    (re.compile(r".*\.rels"), "links"),
    (re.compile(r".*drawing[^/]*\.(?:xml|vml)", re.IGNORECASE), "drawing"),
    (re.compile(r"content\.xml"), ""),
    (re.compile(r"styles\.xml"), "styles, headers and footers"),
)


def _part_place(name: str, numbers: Mapping[str, int], archive: zipfile.ZipFile) -> tuple[str, ...]:
    """What people call a part."""
    slide = re.fullmatch(r"ppt/(slide|notesSlide)s/\w+?(\d+)\.xml", name)
    if slide:
        return (f"{'slide' if slide[1] == 'slide' else 'notes'} {slide[2]}",)
    of_sheet = _sheet_of(name, numbers, archive)
    said = next((place for pattern, place in _PLACES if pattern.fullmatch(name)), NAME + name)
    return tuple(filter(None, (of_sheet, said)))


def _sheet_of(name: str, numbers: Mapping[str, int], archive: zipfile.ZipFile) -> str:
    """The sheet that a part with comments belongs to."""
    if not name.startswith("xl/") or name.endswith(".rels"):
        return ""
    last = name.rpartition("/")[2]
    for sheet, number in numbers.items():
        folder, _, file = sheet.rpartition("/")
        links = f"{folder}/_rels/{file}.rels"
        if links in archive.NameToInfo and f'/{last}"'.encode() in archive.read(links):
            return f"sheet {number}"
    return ""


def _part(root: Any, place: tuple[str, ...]) -> Iterator[Passage]:
    """The paragraphs of a part, what else it says, and the attributes that hold words."""
    said, attributes = _Written(*place), _Written(*place)
    numbers = {"paragraph": 0, "comment": 0}
    inside: set[Any] = set()
    for element in root.iter():
        tag = _local(element.tag)
        kind = _KINDS.get(tag)
        if kind:
            numbers[kind] += 1
        if element not in inside:
            if kind:
                inside.update(element.iterdescendants())
                where = element.get("ref")
                said.add(f"cell {where}" if where else f"{kind} {numbers[kind]}", _joined(element))
            elif element.text:
                said.add(_property(element, tag) if tag else "remark", str(element.text))
            said.add(tag, element.tail or "")
        number = numbers["paragraph"]
        for key, value in element.attrib.items():
            if _telling(_local(key), value):
                attributes.add(f"{tag} {_local(key)}" + (f", paragraph {number}" if number else ""), value)
    yield from said.passages()
    yield from attributes.passages()


def _property(element: Any, tag: str) -> str:
    return str(element.getparent().get("name") or tag)[:60] if element.getparent() is not None else tag


_MEASURES = frozenset({"posOffset", "pctWidth", "pctHeight", "align"})


def _joined(element: Any) -> str:
    """The words of a paragraph in one piece, however many runs they are cut into."""
    pieces: list[str] = []
    for part in element.iter():
        tag = _local(part.tag)
        if tag in ("tab", "br", "cr", "line-break", "s"):
            pieces.append(" ")
        if part.text and tag and tag not in _MEASURES:
            pieces.append(part.text)
        if part.tail and part is not element:
            pieces.append(part.tail)
    return "".join(pieces)


_TELLING = frozenset(
    {"descr", "title", "alt", "author", "initials", "userName", "displayName", "lastModifiedBy", "userId", "tooltip",
     "display", "Target", "href", "creator", "name", "tag", "alias", "string-value", "text", "prompt", "error",
     "promptTitle", "errorTitle"}
)  # fmt: skip


def _telling(name: str, value: str) -> bool:
    """Whether an attribute holds words that somebody wrote."""
    if value.startswith(("http://schemas.", "urn:", "http://purl.org", "http://www.w3.org")) or len(value) < 4:
        return False
    return name in _TELLING or "@" in value or value.startswith(("tel:", "mailto:"))


def _shared_strings(archive: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in archive.NameToInfo:
        return []
    root = _parsed(unpacked(archive, archive.getinfo("xl/sharedStrings.xml"), _MOST_XML))
    return [_joined(si) for si in root if _local(si.tag) == "si"]


def _sheet_names(archive: zipfile.ZipFile) -> dict[str, str]:
    """Part by part, the names of a workbook's sheets in their order."""
    if "xl/workbook.xml" not in archive.NameToInfo:
        return {}
    links: dict[str, str] = {}
    if "xl/_rels/workbook.xml.rels" in archive.NameToInfo:
        for link in _parsed(archive.read("xl/_rels/workbook.xml.rels")):
            target = str(link.get("Target", ""))
            links[str(link.get("Id"))] = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    found: dict[str, str] = {}
    for sheet in _parsed(archive.read("xl/workbook.xml")).iter("{*}sheet"):
        ids = [value for key, value in sheet.attrib.items() if _local(key) == "id"]
        part = links.get(ids[0]) if ids else None
        if part in archive.NameToInfo and part is not None:
            found[part] = str(sheet.get("name", ""))
    return found


def _sheet(root: Any, shared: list[str], place: tuple[str, ...]) -> Iterator[Passage]:
    """A sheet row by row, its cells told apart by tabs; then what else the sheet says: headers, hints, links."""
    cells = _Written(*place)
    others = _Written(*place)
    for element in root.iter():
        tag = _local(element.tag)
        if tag == "row":
            row = [(str(c.get("r") or "?"), _cell(c, shared)) for c in element if _local(c.tag) == "c"]
            filled = [(where, text) for where, text in row if text.strip()]
            for n, (where, text) in enumerate(filled, start=1):
                cells.add(f"cell {where}", text, "\n" if n == len(filled) else "\t")
        elif tag in _OF_ROWS:
            continue
        elif element.text and element.text.strip():
            others.add(tag, element.text)
        for key, value in element.attrib.items():
            if _telling(_local(key), value):
                others.add(f"{tag} {element.get('ref') or element.get('sqref') or ''}".strip()[:60], value)
    yield from cells.passages()
    yield from others.passages()


_OF_ROWS = frozenset({"c", "v", "f", "is", "t", "r", "rPr"})


def _cell(cell: Any, shared: list[str]) -> str:
    """What a cell shows and, where it is computed, its formula."""
    kind = cell.get("t")
    pieces = []
    for part in cell:
        tag, text = _local(part.tag), part.text or ""
        if tag == "is":
            pieces.append(_joined(part))
        elif tag == "v" and kind == "s":
            at = int(text)
            pieces.append(shared[at] if 0 <= at < len(shared) else "")
        elif tag == "v" or (tag == "f" and '"' in text):
            pieces.append(text)
    return " ".join(pieces)


# ---- PDF


def _pdf(document: Document) -> Iterator[Passage]:
    """The text of every page, then every string of the file: properties, annotations, links, form fields, outlines."""
    import pikepdf

    from hapi_pipeline.agents.documents import pdf as reader

    opened = reader.open_pdf(document)
    try:
        written = _Written()
        for number in range(len(opened)):
            written.add(f"page {number + 1}", _page_text(opened[number]))
        yield from written.passages()
    finally:
        opened.close()
    document.file.seek(0)
    with pikepdf.open(document.file) as file:
        if file.is_encrypted:
            raise UnreadableError("it is protected by a password, so it cannot be opened")
        yield from _pdf_strings(file)


def _page_text(page: Any) -> str:
    layer = page.get_textpage()
    text = str(layer.get_text_range())
    layer.close()
    page.close()
    odd = sum(c in "\ufffd\ufffe" or "\ue000" <= c <= "\uf8ff" for c in text)
    if odd > 5 and odd * 10 > len(text):
        raise UnreadableError("its letters are drawn by a font that does not say which they are")
    # a word that is broken at the end of a line is one word
    return text.replace("\r\n", "\n").replace("\ufffe", "")


_MOST_OBJECTS = 200_000
_NOT_TEXT = frozenset({"/ID", "/Font", "/CharSet", "/FontName", "/O", "/U", "/OE", "/UE", "/Perms", "/Contents_"})


def _pdf_strings(file: Any) -> Iterator[Passage]:
    seen: set[tuple[int, int]] = set()
    for number, page in enumerate(file.pages, start=1):
        written = _Written(f"annotations of page {number}")
        for at, note in enumerate(page.obj.get("/Annots", []), start=1):
            for text in _pdf_texts(note, seen):
                written.add(f"annotation {at}", text)
        yield from written.passages()
    properties = _Written("properties")
    for name, value in file.docinfo.items():
        properties.add(str(name).lstrip("/")[:40], str(value))
    if file.docinfo.is_indirect:
        seen.add(file.docinfo.objgen)
    yield from properties.passages()
    yield from _pdf_rest(file, seen)


def _pdf_rest(file: Any, seen: set[tuple[int, int]]) -> Iterator[Passage]:
    """Metadata and every string that nothing else has led to."""
    import pikepdf

    metadata, elsewhere = _Written("metadata"), _Written("elsewhere in the file")
    for count, thing in enumerate(file.objects):
        if count > _MOST_OBJECTS:
            raise UnreadableError("it has too many objects to be read here")
        if isinstance(thing, pikepdf.Stream):
            _refuse_unread(thing)
            if thing.get("/Type") == "/Metadata":
                metadata.add("metadata", plain.decoded(thing.read_bytes()))
        for text in _pdf_texts(thing, seen):
            elsewhere.add("string", text)
    yield from metadata.passages()
    yield from elsewhere.passages()


def _refuse_unread(stream: Any) -> None:
    if stream.get("/Subtype") == "/Image":
        raise UnreadableError(_PICTURES)
    if stream.get("/Type") == "/EmbeddedFile":
        raise UnreadableError("it holds other files")


def _pdf_texts(thing: Any, seen: set[tuple[int, int]]) -> Iterator[str]:
    """The strings of an object and of what stands in it; each object of the file once."""
    import pikepdf

    waiting = [thing]
    while waiting:
        at = waiting.pop()
        if isinstance(at, pikepdf.Object) and at.is_indirect:
            if at.objgen in seen:
                continue
            seen.add(at.objgen)
        if isinstance(at, pikepdf.String):
            text = str(at)
            if len(text) > 3 and text.isprintable():
                yield text
        elif isinstance(at, pikepdf.Array):
            waiting += [x for x in at if isinstance(x, pikepdf.Object)]
        elif isinstance(at, pikepdf.Dictionary | pikepdf.Stream):
            if "/XFA" in at:
                raise UnreadableError("it holds a form of a kind that cannot be read here")
            entries = at.stream_dict if isinstance(at, pikepdf.Stream) else at
            waiting += [v for k, v in entries.items() if k not in _NOT_TEXT and _followed(k, v)]


def _followed(key: str, value: Any) -> bool:
    """Whether to go from an object to another: not back to parents and pages, which come anyway."""
    import pikepdf

    return isinstance(value, pikepdf.Object) and key not in ("/Parent", "/P", "/Pages", "/Kids", "/Page")


_READERS: Mapping[str, Callable[[Document], Iterator[Passage]]] = {
    **dict.fromkeys(("text", "csv", "tsv", "py"), _text),
    **dict.fromkeys(("html", "svg", "xml"), _markup),
    **dict.fromkeys(("json", "jsonl", "ipynb"), _json),
    **dict.fromkeys(("docx", "xlsx", "pptx", "odt", "ods", "odp"), _office),
    **dict.fromkeys(("gz", "bz2", "xz"), _compressed),
    "rtf": _rich_text,
    "eml": _mail,
    "zip": _zip,
    "tar": _tar,
    "pdf": _pdf,
}
