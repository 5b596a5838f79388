"""HTML as people and programs leave it in a post's text, made plain text; DuckDB calls it as `html_to_text`."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_HIGHLIGHT = re.compile(r"H\^(.*?)\^H", re.DOTALL)
_BLOCKS = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "br",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hr",
    "html",
    "li",
    "main",
    "nav",
    "ol",
    "option",
    "p",
    "pre",
    "section",
    "summary",
    "table",
    "tbody",
    "tfoot",
    "thead",
    "tr",
    "ul",
]
_INLINE = [
    "a",
    "abbr",
    "acronym",
    "b",
    "bdi",
    "bdo",
    "big",
    "button",
    "caption",
    "center",
    "cite",
    "code",
    "col",
    "colgroup",
    "data",
    "del",
    "dfn",
    "em",
    "font",
    "i",
    "img",
    "input",
    "ins",
    "kbd",
    "label",
    "link",
    "mark",
    "meta",
    "meter",
    "nobr",
    "q",
    "s",
    "samp",
    "script",
    "select",
    "small",
    "source",
    "span",
    "strike",
    "strong",
    "style",
    "sub",
    "sup",
    "svg",
    "td",
    "template",
    "textarea",
    "th",
    "time",
    "title",
    "tt",
    "u",
    "var",
    "video",
    "wbr",
    "iframe",
    "noscript",
    "object",
    "embed",
    "audio",
    "canvas",
]
_BLOCK = frozenset(_BLOCKS)
_CLOSED_BLOCK = _BLOCK - {"br", "hr"}  # what follows it begins on a line of its own
_UNSEEN = frozenset(
    ["head", "iframe", "noscript", "object", "script", "style", "svg", "template", "title", "canvas", "audio", "video"]
)
_LETTERS = "".join(name for name in _BLOCKS + _INLINE if len(name) == 1)
_NAMES = "|".join(sorted((name for name in _BLOCKS + _INLINE if len(name) > 1), key=len, reverse=True))
# a tag of one letter has no attributes or one with a value: `a<b and c>d` has no tag
_REST_OF_TAG = rf"/?(?:(?:{_NAMES})(?:[\s/][^<>]*)?|[{_LETTERS}](?:\s[^<>=]*=[^<>]*|\s*/?))>|!doctype\b[^<>]*>"
_TAG = re.compile(rf"<(?:{_REST_OF_TAG})", re.IGNORECASE)
_OPEN = re.compile(rf"<(?!{_REST_OF_TAG})", re.IGNORECASE)
_ANY_TAG = re.compile(r"<[^<>]*>")
_BARE = re.compile(r"&(?!(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)")
_MOST_TAGS = 2_000
"""Texts with more are read by a pattern, in linear time: a tree of nested tags takes the square of their number."""


def to_text(markup: str) -> str:
    """The text that a reader of this HTML would see, blocks on lines of their own, entities decoded once.

    What only looks like a tag (`a < b`, `List<String>`) stays. Text without any HTML tag keeps its line ends and
    blanks; only its entities are decoded.
    """
    if "H^" in markup:
        markup = _HIGHLIGHT.sub(r"\1", markup)
    if "<" not in markup:
        return decode_entities(markup)
    markup = _without_comments(markup)
    if not _TAG.search(markup):
        return decode_entities(markup)
    if markup.count("<") > _MOST_TAGS:
        return _tidy(decode_entities(_ANY_TAG.sub("\n", _OPEN.sub("&lt;", markup))))
    return _tidy(_read(_BARE.sub("&amp;", _OPEN.sub("&lt;", markup))))


def _without_comments(markup: str) -> str:
    """Comments cut out; what is never closed is no comment."""
    if "<!--" not in markup:
        return markup
    pieces, at = [], 0
    while (start := markup.find("<!--", at)) >= 0 and (end := markup.find("-->", start)) >= 0:
        pieces.append(markup[at:start])
        at = end + 3
    return "".join([*pieces, markup[at:]])


def decode_entities(text: str) -> str:
    """Every HTML5 entity that ends in a semicolon, decoded once; no-break spaces become spaces."""
    if "&" not in text:
        return text
    return _ENTITY.sub(lambda found: html.unescape(found[0]).replace("\xa0", " "), text)


def _read(markup: str) -> str:
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(markup)
    for unseen in tree.css(",".join(sorted(_UNSEEN - {"head"}))):
        unseen.decompose()
    root = tree.body or tree.root
    pieces: list[str] = []
    for node in root.traverse(include_text=True) if root is not None else ():
        if node.tag not in _BLOCK and node.prev is not None and node.prev.tag in _CLOSED_BLOCK:
            pieces.append("\n")
        if node.tag == "-text":
            pieces.append(node.text_content or "")
        elif node.tag in _BLOCK:
            pieces.append("\n")
        elif node.tag in ("td", "th"):
            pieces.append(" ")
    return "".join(pieces)


def _tidy(text: str) -> str:
    """Lines without blanks at their ends, at most one empty line between two."""
    lines = [" ".join(line.split()) for line in text.replace("\xa0", " ").split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Make `html_to_text(x)` callable from SQL on this database."""
    make: Any = connection.create_function  # its stubs know neither type names as text nor lambdas
    # a lambda, because DuckDB evaluates a function's annotations and these need pyarrow
    make("html_to_text", lambda x: _vector(x), ["VARCHAR"], "VARCHAR", type="arrow", null_handling="special")


def _vector(texts: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    return pa.array((to_text(text) if text is not None else None for text in texts.to_pylist()), pa.string())
