"""Methodology and data dictionary: the project's own documents as pages of the site."""

from __future__ import annotations

import re
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from hapi_pipeline.report.figures import Page, Section
from hapi_pipeline.settings import shipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token

_OWN = {"methodology.md": "methodology.html", "data_dictionary.md": "dictionary.html"}
_NOT_A_WORD = re.compile(r"[^\w\- ]")


def methodology() -> Page:
    """What every number means: docs/methodology.md."""
    return _document("methodology", "Methodology", "methodology.md", "What every number means, and what it does not")


def dictionary() -> Page:
    """Every table and column: docs/data_dictionary.md."""
    return _document("dictionary", "Data dictionary", "data_dictionary.md", "Every table and column")


def _document(name: str, title: str, file: str, headline: str) -> Page:
    body = rendered(shipped(f"docs/{file}").read_text("utf-8"))
    return Page(name, title, [], [Section("text", "", html=body)], headline=headline)


def rendered(text: str) -> Markup:
    """Markdown as HTML without its first heading; headings have anchors, links that lead out of the site are text.

    HTML in the text is shown, not passed on.
    """
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    if tokens and tokens[0].type == "heading_open" and tokens[0].tag == "h1":
        tokens = tokens[3:]
    _anchor(tokens)
    for token in tokens:
        if token.children:
            token.children = _inside(token.children)
    html = parser.renderer.render(tokens, parser.options, {})
    numbers = count(1)
    html = re.sub("<table>", lambda _: _SCROLLED.format(next(numbers)), html)
    html = html.replace("</table>", "</table></div>").replace("<pre>", '<pre tabindex="0">')
    return Markup(html)  # noqa: S704 - html is off: the parser escapes all text


_SCROLLED = '<div class="scroll" role="region" aria-label="Table {}" tabindex="0"><table>'


def _anchor(tokens: Sequence[Token]) -> None:
    """An id for every heading, as code forges make them."""
    seen: dict[str, int] = {}
    for head, inline in pairwise(tokens):
        if head.type == "heading_open":
            key = _NOT_A_WORD.sub("", inline.content.casefold()).strip().replace(" ", "-")
            seen[key] = seen.get(key, -1) + 1
            head.attrSet("id", f"{key}-{seen[key]}" if seen[key] else key)


def _inside(tokens: Sequence[Token]) -> list[Token]:
    """The inline parts: pictures as their words, links within the site alone."""
    kept: list[Any] = []
    outside = []
    for token in tokens:
        if token.type == "image":
            token.type, token.tag, token.content, token.children = "text", "", f"[Picture: {token.content}]", None
        if token.type == "link_open":
            target = _within(str(token.attrGet("href") or ""))
            outside.append(target is None)
            if target is not None:
                token.attrSet("href", target)
        closing = token.type == "link_close" and outside.pop()
        if not closing and not (token.type == "link_open" and outside[-1]):
            kept.append(token)
    return kept


def _within(target: str) -> str | None:
    """Where a link leads in the site; None where it would lead out of it."""
    page, mark, anchor = target.partition("#")
    if not page:
        return target
    if page in _OWN:
        return f"{_OWN[page]}{mark}{anchor}"
    return None
