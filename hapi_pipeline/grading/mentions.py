"""Where a deliverable names its own maker. It is told to the operator; the file is never rewritten for it.

The names are those of the model under test and of its provider, and the families that everybody knows, since a model
often takes itself for another one.
"""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from html import unescape

from hapi_pipeline.grading.text import words

_FAMILIES = (
    r"chat\s?gpt|gpt[-\s]?[345]\w{0,20}(?:[.\-]\w{1,20}){0,4}|o[134]-(?:mini|pro|preview|high)|open\s?ai|anthropic|claude|gemini|gemma|"
    r"deep\s?mind|deep\s?seek|llama[-\s]?\d|meta\s+ai|(?:mi|mix|code|dev)stral|qwen|grok|copilot|cohere|command-[ra]\b|"
    r"perplexity|moonshot\s?ai|kimi[-\s]?k\d|glm-\d|minimax-\w+|amazon\s+nova|hunyuan|doubao|ernie\s?bot|nemotron|"
    r"as\s+an\s+ai(?:\s+language)?(?:\s+model)?\b|(?:ai|large)\s+language\s+model"
)
# parts of a litellm id that name a way to reach a model, not its maker, or are ordinary words
_NO_NAMES = words(
    "azure bedrock custom databricks default hosted_vllm latest litellm_proxy local model models openai_like "
    "preview replicate simulated external vllm"
)
_SEPARATORS = re.compile(r"[\s_\-./:@]+")
_TAG = re.compile(r"<[^<>]{0,20000}>")  # not over another <, so that hostile markup takes linear time
_BREAK = re.compile(r"</(?:\w+:)?(?:p|h\d|li|td|tr|c|si|row|title)>|<br[^>]{0,200}>", re.IGNORECASE)
_PACKED = words("docx docm dotx xlsx xlsm xltx pptx pptm potx odt ods odp odg zip epub")
_MARKUP = words("html htm xhtml svg xml drawio")
_UNREAD = words("png jpg jpeg gif webp tif tiff bmp wav mp3 mp4 mov avi webm ogg flac m4a aac gz tar glb stl")
_MAX_TEXT = 8 * 1024 * 1024  # bytes of one part
_MAX_PARTS = 400
_MAX_FOUND = 3  # names told per file


def names_of(name: str, litellm: str | None = None, pool: str | None = None) -> tuple[str, ...]:
    """What the maker of an attempt is called: the model's name, the parts of its litellm id, its provider's pool."""
    parts = [name, *(litellm or "").split("/"), pool or ""]
    return tuple(dict.fromkeys(p.strip() for p in parts if _is_name(p.strip())))


def _is_name(part: str) -> bool:
    return len(part) >= 2 and not part.isdigit() and part.casefold() not in _NO_NAMES


@lru_cache(maxsize=64)
def maker_pattern(makers: tuple[str, ...], brief: str = "") -> re.Pattern[str]:
    """Finds the maker's names in any spelling of blanks and hyphens, and known families that the brief does not name.

    A job may be about a model: what the client asks for says nothing of who did the work.
    """
    own = ["".join(_loosely(name)) for name in makers]
    asked = {found[0].casefold() for found in re.finditer(_FAMILIES, _plain(brief), re.IGNORECASE)}
    known = _FAMILIES if not asked else f"(?!(?:{'|'.join(map(re.escape, sorted(asked)))})(?![^\\W_]))(?:{_FAMILIES})"
    return re.compile(rf"(?<![^\W_])(?:{'|'.join([*own, known])})(?![^\W_])", re.IGNORECASE)


def _loosely(name: str) -> Iterator[str]:
    for number, part in enumerate(p for p in _SEPARATORS.split(_plain(name)) if p):
        yield r"[\s_\-./:@]*" if number else ""
        yield re.escape(part)


def mentions(extension: str, data: bytes, pattern: re.Pattern[str]) -> list[str]:
    """The names that a deliverable says, at most three, in their order."""
    found: dict[str, None] = {}
    for text in _texts(extension, data):
        for match in pattern.finditer(_plain(text)):
            found.setdefault(" ".join(match[0].split()).casefold())
            if len(found) >= _MAX_FOUND:
                return list(found)
    return list(found)


def _plain(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def _texts(extension: str, data: bytes) -> Iterable[str]:
    if extension == "pdf":
        return _of_pdf(data)
    if extension in _PACKED:
        return _of_zip(data)
    if extension in _UNREAD:
        return ()
    text = _decoded(data[:_MAX_TEXT])
    return _of_markup(text) if extension in _MARKUP else (text,)


def _decoded(data: bytes) -> str:
    return data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8", "replace")


def _of_markup(text: str) -> Iterable[str]:
    """As it stands (attributes, scripts), and as it is read: runs of letters joined, paragraphs parted."""
    return (text, unescape(_TAG.sub("", _BREAK.sub(" ", text)))) if "<" in text else (text,)


def _of_zip(data: bytes) -> Iterator[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()[:_MAX_PARTS]
            yield "\n".join(entry.filename for entry in entries)
            for entry in entries:
                kind = entry.filename.rpartition(".")[2].lower()
                if kind in _UNREAD | _PACKED | {"pdf", "rels", "ttf", "bin"} or "theme" in entry.filename:
                    continue
                with archive.open(entry) as part:
                    yield from _of_markup(_decoded(part.read(_MAX_TEXT)))
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, RuntimeError, EOFError, OSError, NotImplementedError):
        return


def _of_pdf(data: bytes) -> Iterator[str]:
    from hapi_pipeline.agents.documents import UnreadableError, pdf_text

    try:
        yield pdf_text(data)
    except UnreadableError:
        return
