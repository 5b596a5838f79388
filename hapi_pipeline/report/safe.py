"""Text and file names from outside, made harmless for a page and for a folder that anybody may download from."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from hapi_pipeline.grading.text import clean, words
from hapi_pipeline.naming import digest

_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_KEPT = re.compile(r"[^A-Za-z0-9._-]+")
_PLAIN_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_LONGEST_NAME = 80

INERT = words(
    "txt md rst log csv tsv json jsonl ipynb pdf docx xlsx pptx odt ods odp rtf png jpg jpeg gif webp bmp tif tiff "
    "mp3 wav mp4 zip gz tar 7z dxf dwg stl step stp obj 3mf iges igs parquet srt vtt ics bib"
)
"""Types that keep their name: no browser and no operating system runs what is in them."""
ACTIVE = words("html htm xhtml xht shtml mht mhtml svg svgz xml xsl xslt js mjs css hta swf kml gpx")
"""Types in which a browser may run or fetch something: offered as text."""


def visible(text: object) -> str:
    """A text from outside for a page: no control characters, and marks that turn its direction are spelled out.

    Escaping is the templates' work.
    """
    return _DIRECTIONS.sub(lambda found: f"[U+{ord(found.group()):04X}]", clean(str(text)))


def page_name(key: str) -> str:
    """A file name for a page about this id: unequal ids have unequal names, on file systems without case too."""
    if _PLAIN_ID.fullmatch(key):
        return f"job-{key}.html"
    plain = _KEPT.sub("-", key.casefold())[:40].strip("-.") or "x"
    return f"job-{plain}.{digest(key, length=12)}.html"  # an id without a dot can never end like this


def download_name(path: str) -> tuple[str, str]:
    """The name under which a deliverable is offered, and a note where that is not its own ('' where it is).

    The last part of the path alone, of plain letters, with an ending that neither a browser nor a desktop runs.
    """
    name = PurePosixPath(clean(path).replace("\\", "/")).name
    plain = _KEPT.sub("_", name).strip("._") or "file"
    stem, dot, ending = plain.rpartition(".")
    if not dot:
        stem, ending = plain, ""
    stem, ending = (stem or "file")[:_LONGEST_NAME], ending[:12].lower()
    if _RESERVED.match(f"{stem}."):
        stem = f"_{stem}"
    if ending in INERT:
        return f"{stem}.{ending}", ""
    whole = f"{stem}.{ending}" if ending else stem
    if ending in ACTIVE:
        return f"{whole}.txt", "offered as plain text, because a browser would run it"
    return f"{whole}.bin", "renamed, because a computer might run it or not know it"
