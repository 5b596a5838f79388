"""The packet as one page for a browser: the brief, the work and the criteria, from a folder, without a network.

Everything is text from outside. No script is in the page and none may run in it; a page that was handed in is shown in
a frame that may neither run scripts, nor load anything, nor leave. Pictures stand in the page itself, so that no
address has to be allowed.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hapi_pipeline.grading.text import clean, words

if TYPE_CHECKING:
    from hapi_pipeline.grading.packets import PacketSpec

MARK = "<meta name=packet content=2>"
"""Stands in every page of this form; a folder whose page lacks it was made by an older version and is made again."""

IMPORTANCE = {
    "critical": "critical: must have",
    "important": "important: should have",
    "optional": "optional: nice to have",
    "pitfall": "pitfall: must be avoided",
}
"""What the importance of a criterion means, for somebody who has never seen a rubric."""

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-src 'none'; form-action 'none'; "
    "base-uri 'none'"
)
_MAX_TEXT = 200_000  # characters of a file that stand in the page; the file itself holds the rest
_MAX_ROWS, _MAX_COLUMNS = 300, 40
_MAX_PICTURE = 6 * 1024 * 1024  # bytes; a larger one is a link
_MAX_FRAME = 1024 * 1024
_MAX_CELLS = 200  # of a notebook
_PICTURES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "bmp": "image/bmp",
    "svg": "image/svg+xml",  # in an <img> its scripts never run and it loads nothing
}
_TEXT = words(
    "md txt rst log json jsonl geojson xml yaml yml toml ini py r rb rs go java js jsx ts tsx c cpp h cs css scss sh "
    "sql php swift dart vue tex bib srt vtt ics gpx kml"
)
_LIVE = words("html htm xhtml svg xml js vue gpx kml")  # a browser would run or fetch what is in them
_STYLE = """
:root{color-scheme:light dark;--ink:#1f2933;--quiet:#5b6674;--line:#d5dbe3;--paper:#fff;--soft:#f4f6f9;--link:#0b57a4;
--must:#8f2d20;--mark:#fff3c4}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaef;--quiet:#a4afbc;--line:#3a444f;--paper:#14181d;--soft:#1d232a;
--link:#8cc2ff;--must:#ffb4a6;--mark:#4d430f}}
*{box-sizing:border-box}
body{font:16px/1.55 system-ui,"Segoe UI",Roboto,sans-serif;color:var(--ink);background:var(--paper);margin:0}
a{color:var(--link)}:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:1rem;background:var(--paper);padding:.5rem}
header,.page{max-width:84rem;margin:0 auto;padding:0 1.25rem}header{padding-top:1.5rem}
h1{font-size:1.5rem;line-height:1.25;margin:.2rem 0}h2{font-size:1.15rem;margin:2rem 0 .6rem}
h3{font-size:1rem;margin:0;overflow-wrap:anywhere}.quiet{color:var(--quiet);font-size:.92em;margin:.25rem 0}
.text{white-space:pre-wrap;overflow-wrap:anywhere;max-width:48rem}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1.1rem;margin:.7rem 0 0;
padding-bottom:.8rem;border-bottom:1px solid var(--line)}
.file{border:1px solid var(--line);border-radius:8px;margin:0 0 1.1rem;overflow:hidden}
.file>summary,.file>.head{background:var(--soft);padding:.55rem .9rem;cursor:default}.file>summary{cursor:pointer}
.file>summary h3{display:inline}.file>.body{padding:.8rem .9rem;overflow:auto;max-height:75vh}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font:13.5px/1.5 ui-monospace,Consolas,monospace}
pre.said{border-left:3px solid var(--line);padding-left:.7rem;margin:.3rem 0 1rem;color:var(--quiet)}
table{border-collapse:collapse;font-size:.9em}td,th{border:1px solid var(--line);padding:.2rem .5rem;text-align:left;
vertical-align:top;white-space:pre-wrap}th{background:var(--soft);position:sticky;top:-.8rem}
img{max-width:100%;height:auto;background:#fff}
iframe{width:100%;height:65vh;border:0;background:#fff;resize:vertical}
ol{list-style:none;margin:0;padding:0}ol li{border-top:1px solid var(--line);padding:.6rem 0;overflow-wrap:anywhere}
.kind{display:block;font-size:.82em;color:var(--quiet)}.must .kind{color:var(--must);font-weight:600}
@media(min-width:68rem){.page{display:grid;grid-template-columns:minmax(0,1fr) 24rem;gap:2.25rem;align-items:start}
aside{position:sticky;top:0;max-height:100vh;overflow:auto;padding-bottom:1rem}}
@media print{aside{position:static;max-height:none}.file>.body{max-height:none}}
"""


@dataclass(frozen=True)
class Shown:
    """A file of the packet: its place in the folder, its type and its bytes as graders get them."""

    place: str
    extension: str
    data: bytes


def page(spec: PacketSpec, deliverables: Sequence[Shown], attachments: Sequence[Shown], workbook: str) -> bytes:
    """The page, UTF-8. Nothing in it runs or leaves this machine, whatever the brief or the work contains."""
    facts = " · ".join(part for part in (spec.category or "", ", ".join(spec.skills)) if part)
    work = "".join(_file(file, True) for file in deliverables) or "<p>Nothing was handed in.</p>"
    given = "".join(_file(file, False) for file in attachments)
    to_given = '<a href="#attachments">The client’s files</a>' if given else ""
    given = f"<h2 id=attachments>The client’s files</h2>\n{given}" if given else ""
    made = (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv=Content-Security-Policy content="{_POLICY}">'
        '<meta name=referrer content=no-referrer><meta name=viewport content="width=device-width,initial-scale=1">'
        f"{MARK}<title>{_html(spec.packet_id)}</title><style>{_STYLE}</style></head><body>\n"
        '<a class=skip href="#work">Skip to the work</a>\n'
        f"<header><p class=quiet>Packet {_html(spec.packet_id)}</p><h1>{_html(spec.title)}</h1>"
        f"<p class=quiet>{_html(facts)}</p>\n<nav aria-label=Contents><a href='#brief'>The brief</a>{to_given}"
        f"<a href='#work'>What was handed in</a><a href='#criteria'>What to judge</a></nav></header>\n"
        f"<div class=page><main><h2 id=brief>The brief</h2><div class=text>{_html(spec.description)}</div>\n"
        f"{given}<h2 id=work>What was handed in</h2>\n{work}</main>\n"
        f"<aside aria-labelledby=criteria><h2 id=criteria>What to judge</h2>"
        f"<p class=quiet>Write your verdicts into {_html(workbook)}.</p>"
        f"<ol>{''.join(_criterion(c.criterion_id, c.importance, c.text) for c in spec.criteria)}</ol></aside></div>\n"
        "</body></html>\n"
    )
    return made.encode("utf-8")


def _criterion(criterion_id: str, importance: str, text: str) -> str:
    must = " class=must" if importance in ("critical", "pitfall") else ""
    kind = IMPORTANCE.get(importance, importance)
    return f"<li{must}><span class=kind>{_html(criterion_id)} · {_html(kind)}</span>{_html(text)}</li>"


def _file(file: Shown, is_open: bool) -> str:
    """A file in the page: shown where that is safe, else as a link."""
    name = _html(file.place)
    body = _body(file)
    if file.extension not in _LIVE:
        name = f'<a href="{_html(quote(file.place))}">{name}</a>'
    size = f"<span class=quiet> {_size(len(file.data))}</span>"
    if body is None:
        return f"<div class=file><div class=head><h3>{name}</h3>{size}</div></div>\n"
    opened = " open" if is_open else ""
    return (
        f"<details class=file{opened}><summary><h3>{name}</h3>{size}</summary><div class=body>{body}</div></details>\n"
    )


def _body(file: Shown) -> str | None:
    show = _SHOWN_AS.get(file.extension) or (_as_text if file.extension in _TEXT else None)
    return show(file) if show and file.data else None


def _as_text(file: Shown) -> str:
    text = _decoded(file.data)
    return f"<pre tabindex=0>{_html(text[:_MAX_TEXT])}</pre>{_more(len(text) > _MAX_TEXT)}"


def _as_table(file: Shown) -> str:
    text = _decoded(file.data)
    first = text.partition("\n")[0]
    delimiter = max(",;\t|", key=first.count)
    reader = csv.reader(io.StringIO(text[:_MAX_TEXT], newline=""), delimiter=delimiter)
    try:
        rows = [row[: _MAX_COLUMNS + 1] for row in islice(reader, _MAX_ROWS + 1)]
    except csv.Error:
        return _as_text(file)
    cut = len(text) > _MAX_TEXT or len(rows) > _MAX_ROWS or any(len(row) > _MAX_COLUMNS for row in rows)
    shown = [
        "<tr>" + "".join(f"<{tag}>{_html(cell)}</{tag}>" for cell in row[:_MAX_COLUMNS]) + "</tr>"
        for tag, row in zip(["th", *["td"] * _MAX_ROWS], rows, strict=False)
    ]
    return f"<table>{''.join(shown)}</table>{_more(cut)}"


def _as_picture(file: Shown) -> str | None:
    if len(file.data) > _MAX_PICTURE:
        return None
    return _picture(_PICTURES[file.extension], base64.b64encode(file.data).decode("ascii"))


def _picture(kind: str, encoded: str) -> str:
    return f'<img alt="picture, as handed in" loading=lazy src="data:{kind};base64,{encoded}">'


def _as_frame(file: Shown) -> str:
    if len(file.data) > _MAX_FRAME:
        return "<p class=quiet>Too large to be shown here; open it from the folder.</p>"
    return (
        "<p class=quiet>Shown without its scripts and without anything from the network. To try it as a live page, "
        "open the file from the folder.</p>"
        f'<iframe sandbox title="page, as handed in" srcdoc="{_html(_decoded(file.data))}"></iframe>'
    )


def _as_notebook(file: Shown) -> str:
    try:
        cells = json.loads(file.data)["cells"][:_MAX_CELLS]
        return "".join(_notebook_cell(cell) for cell in cells)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return _as_text(file)


def _notebook_cell(cell: dict[str, Any]) -> str:
    parts = [f"<pre tabindex=0>{_html(_joined(cell.get('source'))[:_MAX_TEXT])}</pre>"]
    for output in cell.get("outputs") or ():
        data = output.get("data") or {}
        said = _joined(output.get("text") or data.get("text/plain") or output.get("traceback"))
        pictures = [k for k in ("image/png", "image/jpeg") if isinstance(data.get(k), str)]
        parts += [_picture(kind, _html(data[kind].replace("\n", ""))) for kind in pictures]
        if said and not pictures:
            parts.append(f"<pre class=said>{_html(said[:_MAX_TEXT])}</pre>")
    return "".join(parts)


def _joined(lines: object) -> str:
    return "".join(map(str, lines)) if isinstance(lines, list) else str(lines or "")


_SHOWN_AS: dict[str, Callable[[Shown], str | None]] = {
    **dict.fromkeys(("csv", "tsv"), _as_table),
    **dict.fromkeys(_PICTURES, _as_picture),
    **dict.fromkeys(("html", "htm", "xhtml"), _as_frame),
    "ipynb": _as_notebook,
}


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


def _more(cut: bool) -> str:
    return "<p class=quiet>There is more; open the file to see all of it.</p>" if cut else ""


def _size(count: int) -> str:
    return (
        f"{count:,} bytes" if count < 1000 else f"{count / 1000:,.0f} kB" if count < 1e6 else f"{count / 1e6:,.1f} MB"
    )


def _html(text: str) -> str:
    return escape(clean(text), quote=True)
