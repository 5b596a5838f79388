"""Office files: OOXML (docx, xlsx, pptx) and OpenDocument (odt, ods, odp)."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from hapi_pipeline.grading.strip.base import CannotStrip, Inside, drop, local, opened, packed, parsed

_HEAD = b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_NAMESPACE = "http://schemas.openxmlformats.org/"
_BLANK = {
    "core-properties": f'<cp:coreProperties xmlns:cp="{_NAMESPACE}package/2006/metadata/core-properties"/>',
    "extended-properties": f'<Properties xmlns="{_NAMESPACE}officeDocument/2006/extended-properties"/>',
    "custom-properties": f'<Properties xmlns="{_NAMESPACE}officeDocument/2006/custom-properties"/>',
}
_BY_NAME = {"core": "core-properties", "app": "extended-properties", "custom": "custom-properties"}
_USUAL_PLACE = re.compile(r"docProps/(core|app|custom)\w*\.xml", re.IGNORECASE)
# what a part must hold to be looked into at all: most parts hold none of it and stay byte for byte
_TELLING = re.compile(
    rb"author|initials|user(?:Name|Id)|providerId|displayName|absPath|docVar|attachedTemplate|<!--|<\?(?!xml )|"
    rb"creator|Printer|<\w+:tag\b",
    re.IGNORECASE,
)
_PERSON = frozenset({"author", "userName", "lastModifiedBy", "displayName"})
_PERSON_IN_LIST = _PERSON | {"name"}  # in a list of those who commented
_PERSON_IDS = {"initials": "A", "userId": "author", "providerId": "None"}
_PEOPLE = re.compile(r"ppt/(?:commentAuthors|authors)[^/]*\.xml|.*/persons?/[^/]*\.xml|word/people\.xml")
_FILE_INSIDE = re.compile(r"/(?:media|embeddings)/[^/]+$|thumbnail\.\w+$")  # not fonts, macros, printer settings
_GONE = frozenset({"absPath", "docVars"})
_XML = (".xml", ".rels", ".vml")


class _Names:
    """One neutral name for each person, the same all over the document."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        if not name.strip() or name.startswith("tc="):  # Excel's link from a note to its thread
            return name
        return self._known.setdefault(name, f"Author {len(self._known) + 1}")


def ooxml(data: bytes, inside: Inside) -> bytes:
    """docx, xlsx, pptx: blank docProps, neutral authors of comments and changes, no template, path or XML comments."""
    with opened(data, inside) as archive:
        names = archive.namelist()
        if "[Content_Types].xml" not in names:
            raise CannotStrip("not what its name says")
        if any(name.startswith("_xmlsignatures/") for name in names):
            raise CannotStrip("digitally signed")
        blank = _property_parts(archive)
        bound = any(b"dataBinding" in archive.read(n) for n in names if n.startswith("word/") and n.endswith(".xml"))
        return packed(_ooxml_parts(archive, blank, bound, inside))


def _ooxml_parts(
    archive: zipfile.ZipFile, blank: dict[str, str], bound: bool, inside: Inside
) -> Iterator[tuple[zipfile.ZipInfo, bytes]]:
    people = _Names()
    for entry in archive.infolist():
        name, data = entry.filename, archive.read(entry)
        if name in blank:
            data = _HEAD + _BLANK[blank[name]].encode()
        elif name.startswith("customXml/item") and name.endswith(".xml") and "Props" not in name and not bound:
            data = _HEAD + b"<empty/>"
        elif name.lower().endswith(_XML):
            data = _ooxml_part(name, data, people)
        elif _FILE_INSIDE.search(name):
            data = inside.strip(name, data)
        yield entry, data


def _property_parts(archive: zipfile.ZipFile) -> dict[str, str]:
    """The parts that hold document properties, by their usual place and by what the package says of them."""
    found = {n: _BY_NAME[m[1].lower()] for n in archive.namelist() if (m := _USUAL_PLACE.fullmatch(n))}
    if "_rels/.rels" in archive.namelist():
        for relation in parsed(archive.read("_rels/.rels")):
            kind = str(relation.get("Type", "")).rsplit("/", 1)[-1]
            target = posixpath.normpath(str(relation.get("Target", "")).lstrip("/"))
            if kind in _BLANK and target in archive.namelist():
                found[target] = kind
    return found


def _ooxml_part(name: str, data: bytes, people: _Names) -> bytes:
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if not wide and not _TELLING.search(data):
        return data
    if b"<!DOCTYPE" in data:
        raise CannotStrip("damaged")
    root = parsed(data)
    attributes = _PERSON_IN_LIST if _PEOPLE.fullmatch(name) else _PERSON
    for element in list(root.iter()):
        _neutral_element(element, name, people)
        for key in element.attrib:
            if local(key) in attributes:
                element.set(key, people(element.get(key)))
            elif local(key) in _PERSON_IDS:
                element.set(key, _PERSON_IDS[local(key)])
    return _written(root)


def _neutral_element(element: Any, name: str, people: _Names) -> None:
    tag = local(element.tag)
    if tag in _GONE:
        drop(element)
    elif tag == "author" and element.text:
        element.text = people(element.text)
    elif tag == "Relationship" and element.get("Type", "").endswith("/attachedTemplate"):
        element.set("Target", "Normal.dotm")
    elif tag == "tag" and name.startswith("ppt/tags/"):
        element.set("val", "")


def _written(root: Any) -> bytes:
    from lxml import etree

    written: bytes = etree.tostring(root.getroottree(), xml_declaration=True, encoding="UTF-8", standalone=True)
    return written


# --- OpenDocument ------------------

_BLANK_META = (
    _HEAD + b'<office:document-meta xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    b'office:version="1.2"><office:meta/></office:document-meta>'
)
_PERSONAL_SETTINGS = frozenset({"PrinterName", "PrinterSetup", "PrinterFaxName"})


def opendocument(data: bytes, inside: Inside) -> bytes:
    """odt, ods, odp, odg: blank meta.xml, neutral authors of notes and changes, no printer names or XML comments."""
    with opened(data, inside) as archive:
        names = archive.namelist()
        if "content.xml" not in names:
            raise CannotStrip("not what its name says")
        if any(n.startswith("META-INF/") and "signature" in n.lower() for n in names):
            raise CannotStrip("digitally signed")
        if "META-INF/manifest.xml" in names and b"encryption-data" in archive.read("META-INF/manifest.xml"):
            raise CannotStrip("encrypted")
        return packed(_odf_parts(archive, inside))


def _odf_parts(archive: zipfile.ZipFile, inside: Inside) -> Iterator[tuple[zipfile.ZipInfo, bytes]]:
    people = _Names()
    for entry in archive.infolist():
        name, data = entry.filename, archive.read(entry)
        if posixpath.basename(name) == "meta.xml":
            data = _BLANK_META
        elif name.endswith(".xml") and not name.startswith("META-INF/"):
            data = _odf_part(data, people) if _TELLING.search(data) else data
        elif not entry.is_dir() and name != "mimetype":
            data = inside.strip(name, data)
        yield entry, data


def _odf_part(data: bytes, people: _Names) -> bytes:
    root = parsed(data)
    for element in list(root.iter()):
        tag = local(element.tag)
        if tag == "creator" and "purl.org/dc" in str(element.tag):
            element.text = people(element.text or "")
        elif tag in ("creator-initials", "sender-initials") and element.text:
            element.text = "A"
        elif tag == "config-item" and any(v in _PERSONAL_SETTINGS for v in element.attrib.values()):
            element.text = ""
    return _written(root)
