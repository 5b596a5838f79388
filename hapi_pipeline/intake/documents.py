"""Whole documents as JSON lines: JSON arrays, nested answers of an API, RSS and Atom feeds. One record at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO
from xml.parsers import expat

from hapi_pipeline.settings import UserError

_BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 16
_DEEPEST = 60  # elements within an item of a feed
_LONGEST_ITEM = 16 << 20  # characters
_SMALL_EXPONENT = 40
_MOST_LEVELS = 200
_INSIDE = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = re.compile(r"[^.\[\]]+(?:\[\])?|\[\]")
_FEED = re.compile(rb"<(?:\?xml|rss|feed|rdf:RDF)\b", re.IGNORECASE)


def looks_like_feed(head: bytes) -> bool:
    """Whether a file that begins like this is XML."""
    return bool(_FEED.match(head))


def is_one_document(head: bytes) -> bool:
    """Whether a file that begins with `{` or `[` is one document over many lines and not a document a line."""
    if head[:1] == b"[":
        return True
    lines = [line for line in head.split(b"\n")[:20] if line.strip()]
    if len(lines) < 2 or any(line.lstrip()[:1] == b"{" for line in lines[1:2]):
        return False
    return not any(_is_object(line) for line in lines)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def records_prefix(records: str) -> str:
    """The place of records as ijson writes it: `data.search.edges[].node` is `data.search.edges.item.node`.

    Raises UserError when it is no such place.
    """
    steps = _STEP.findall(records)
    if not steps or not re.fullmatch(rf"(?:{_STEP.pattern})(?:\.(?:{_STEP.pattern}))*", records):
        raise UserError(f"records is {records!r}; write a path such as data.search.edges[].node or [].")
    return ".".join("item" if step == "[]" else step.replace("[]", ".item") for step in steps)


def json_to_lines(path: Path, goal: Path, name: str, records: str | None = None) -> None:
    """Write each record of the JSON documents in a UTF-8 file on a line of its own.

    Without `records` these are the elements of an array, or the documents themselves. Raises UserError where the file
    stops being JSON, for half an export is none.
    """
    import ijson  # type: ignore[import-untyped]

    with path.open("rb") as file, goal.open("wb") as out:
        if file.read(3) != _BOM:
            file.seek(0)
        start = file.tell()
        is_array = file.read(_BLOCK).lstrip()[:1] == b"["
        file.seek(start)
        prefix = records_prefix(records) if records else ("item" if is_array else "")
        count = 0
        try:
            for record in ijson.items(_Shallow(file, name), prefix, multiple_values=True):
                for one in record if records and isinstance(record, list) else [record]:
                    out.write(_line(one))
                    count += 1
        except (ijson.JSONError, ValueError, UnicodeDecodeError, RecursionError) as error:
            raise UserError(f"{name} is not whole JSON: it cannot be read after record {count}.") from error
    if not count:
        raise UserError(f"{name} holds no records{f' at {records}' if records else ''}.")


class _Shallow:
    """A JSON file that stops where values nest too deep: each level makes ijson's name of the next one longer."""

    def __init__(self, file: BinaryIO, name: str):
        self._file, self._name = file, name
        self._depth = 0
        self._within_text = self._escaped = False

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Raises UserError when they go deeper than `_MOST_LEVELS`."""
        block = self._file.read(size)
        for bracket in self._brackets(block):
            self._depth += 1 if bracket in b"[{" else -1
            if self._depth > _MOST_LEVELS:
                raise UserError(f"{self._name} nests values over more than {_MOST_LEVELS} levels; it was not read.")
        return block

    def _brackets(self, block: bytes) -> bytes:
        """The brackets of a block that stand outside of texts."""
        start = 0
        if self._within_text:
            start = 1 if self._escaped and block else 0
            inside = _INSIDE.match(block, start)
            end = inside.end() if inside else start
            if end == len(block) or block[end : end + 1] == b"\\":
                self._escaped = end < len(block) or (self._escaped and not block)
                return b""
            start, self._within_text = end + 1, False
        outside = _STRING.sub(b"", block[start:])
        opened = outside.find(b'"')
        if opened >= 0:  # the text goes on in the next block
            self._within_text, self._escaped = True, _ends_in_escape(outside[opened + 1 :])
            outside = outside[:opened]
        return outside.translate(None, _NO_BRACKETS)


def _ends_in_escape(text: bytes) -> bool:
    return (len(text) - len(text.rstrip(b"\\"))) % 2 == 1


def _line(record: Any) -> bytes:
    return json.dumps(record, ensure_ascii=False, default=_number).encode("utf-8", "replace") + b"\n"


def _number(value: Decimal) -> str:
    """A number as it was written; columns are text anyway."""
    exponent = value.as_tuple().exponent
    small = isinstance(exponent, int) and abs(exponent) < _SMALL_EXPONENT
    return format(value, "f") if small else str(value)


def feed_to_lines(path: Path, goal: Path, name: str) -> None:
    """Write each item of an RSS feed, or entry of an Atom feed, as a JSON object on a line of its own.

    Its children are the keys (`content:encoded` is content_encoded, a child's child author_name); what stands there
    more than once is a list; HTML stays as it is. A document that defines entities is refused: feeds need none, attacks
    do.
    Raises UserError for what is no such feed.
    """
    count = 0
    with path.open("rb") as file, goal.open("wb") as out:
        feed = _Feed(name)
        try:
            while block := file.read(_BLOCK):
                feed.parser.Parse(block, False)
                for item in feed.taken():
                    out.write(_line(item))
                    count += 1
            feed.parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise UserError(
                f"{name} is no well-formed XML: {expat.errors.messages.get(error.code, 'unknown error')} in line "
                f"{error.lineno}."
            ) from error
        for item in feed.taken():
            out.write(_line(item))
            count += 1
    if not count:
        raise UserError(f"{name} is XML without an <item> or <entry>; expected an RSS or Atom feed.")


class _Feed:
    """Gathers the items of a feed while expat walks through it."""

    def __init__(self, name: str):
        self.name = name
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.EntityDeclHandler = self._entity
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self._done: list[dict[str, Any]] = []
        self._item: dict[str, Any] | None = None
        self._open: list[tuple[str, Mapping[str, str], list[str]]] = []  # elements within the item
        self._markup_from: int | None = None  # depth of an element whose own elements are its markup
        self._size = 0

    def taken(self) -> Iterator[dict[str, Any]]:
        """The items that are whole by now."""
        done, self._done = self._done, []
        yield from done

    def _entity(self, *_declaration: object) -> None:
        raise UserError(f"{self.name} defines entities of its own, as attacks do; it was not read.")

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if self._item is None:
            if tag.rsplit(":", 1)[-1] in ("item", "entry"):
                self._item, self._size = {}, 0
            return
        if len(self._open) >= _DEEPEST:
            raise UserError(f"{self.name} has an item with more than {_DEEPEST} elements within each other.")
        if self._markup_from is not None:
            self._open[self._markup_from][2].append(f"<{tag}>")
        elif attributes.get("type") == "xhtml":
            self._markup_from = len(self._open)
        self._open.append((tag.replace(":", "_"), attributes, []))

    def _text(self, text: str) -> None:
        if self._item is None or not self._open:
            return
        self._size += len(text)
        if self._size > _LONGEST_ITEM:
            raise UserError(f"{self.name} has an item of more than {_LONGEST_ITEM >> 20} MiB; it was not read.")
        if self._markup_from is None:
            self._open[-1][2].append(text)
        else:
            self._open[self._markup_from][2].append(text.replace("&", "&amp;").replace("<", "&lt;"))

    def _end(self, tag: str) -> None:
        if self._item is None:
            return
        if not self._open:
            self._done.append({k: v[0] if len(v) == 1 else v for k, v in self._item.items()})
            self._item = None
            return
        path = "_".join(element for element, _, _ in self._open)
        _, attributes, pieces = self._open.pop()
        if self._markup_from is not None and len(self._open) > self._markup_from:
            self._open[self._markup_from][2].append(f"</{tag}>")
            return
        self._markup_from = None
        for key, value in _values(path, attributes, "".join(pieces).strip()):
            self._item.setdefault(key, []).append(value)


def _values(path: str, attributes: Mapping[str, str], text: str) -> Iterator[tuple[str, str]]:
    """What an element says: its text, or, where it has none, its attributes."""
    if text:
        yield path, text
    elif path == "link" and "href" in attributes:  # Atom's way of writing it
        relation = attributes.get("rel", "alternate")
        yield ("link" if relation == "alternate" else f"link_{relation}"), attributes["href"]
    else:
        yield from ((f"{path}_{name.replace(':', '_')}", value) for name, value in attributes.items() if value)
