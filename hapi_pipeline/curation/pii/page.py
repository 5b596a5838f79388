"""A text made ready for detectors: digits and punctuation folded to ASCII, and a view of its surroundings."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

# Detector patterns run on whole texts with RE2 only: its time is linear in the text, whatever the text is.
_PATTERN_MEMORY = 64 << 20

_FOLDABLE_PUNCTUATION = {
    **{0xFF01 + i: chr(0x21 + i) for i in range(94)},  # full-width ASCII
    **dict.fromkeys(range(0x2010, 0x2016), "-"),
    **dict.fromkeys(range(0x2000, 0x200B), " "),
    0x2212: "-",
    0x00A0: " ",
    0x202F: " ",
    0x205F: " ",
    0x3000: " ",
    0x2018: "'",
    0x2019: "'",
    0x00AD: "-",
    # Invisible marks, which would split a number or a word unseen.
    **dict.fromkeys((0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF), " "),
    **dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), " "),
}


@functools.cache
def _fold_table() -> dict[int, str]:
    """Decimal digits of every script, full-width and other unusual punctuation to ASCII."""
    # The ten digits of a script stand in a row: one look at each tenth character finds all rows, ten times sooner.
    tenths = [code for code in range(130, sys.maxunicode + 1, 10) if chr(code).isdecimal()]
    rows = {code for tenth in tenths for code in range(tenth - 9, tenth + 10)}
    digits = {code: str(unicodedata.decimal(chr(code))) for code in sorted(rows) if chr(code).isdecimal()}
    surrogates = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
    return {**digits, **surrogates, **_FOLDABLE_PUNCTUATION}


_ASCII = bytes(range(128))
_FEW = 12


def fold(text: str) -> str:
    """Rewrite digits and punctuation of other scripts to ASCII, one character for one, so offsets stay true.

    Lone surrogates become U+FFFD because nothing downstream can encode them.
    """
    if text.isascii():
        return text
    # Most characters of most texts are ASCII, and few of the others fold: find those few first, at the speed of C.
    others = text.encode("utf-8", "surrogatepass").translate(None, _ASCII).decode("utf-8", "surrogatepass")
    table = _fold_table()
    foldable = [char for char in set(others) if ord(char) in table]
    if len(foldable) > _FEW:
        return text.translate(table)
    for char in foldable:
        text = text.replace(char, table[ord(char)])
    return text


def words(text: str) -> frozenset[str]:
    """The words of a text as a set: how long lists of exceptions are written down."""
    return frozenset(text.split())


class AsciiMatch:
    """A match in the bytes of an ASCII text, seen as a match in the text."""

    __slots__ = ("_found", "_text")

    def __init__(self, text: str, found: Any) -> None:
        self._text, self._found = text, found

    def span(self, group: int = 0) -> tuple[int, int]:
        """Where a group begins and ends; (-1, -1) when it took no part."""
        place: tuple[int, int] = self._found.span(group)
        return place

    def start(self, group: int = 0) -> int:
        """Where a group begins."""
        return self.span(group)[0]

    def end(self, group: int = 0) -> int:
        """Where a group ends."""
        return self.span(group)[1]

    def group(self, group: int = 0) -> str | None:
        """The text of a group; None when it took no part."""
        start, end = self.span(group)
        return None if start < 0 else self._text[start:end]

    def groups(self) -> tuple[str | None, ...]:
        """The texts of all groups but the whole."""
        return tuple(self.group(number) for number in range(1, self._found.re.groups + 1))


class Pattern:
    """An RE2 pattern, compiled when it is first needed so that importing the package stays quick."""

    __slots__ = ("_compiled", "_compiled_for_ascii", "needs", "source")

    def __init__(self, source: str, needs: Pattern | None = None) -> None:
        self.source, self.needs = source, needs
        # RE2 has no types to offer, hence `Any`.
        self._compiled: Any = None
        self._compiled_for_ascii: Any = None

    def finditer(self, text: str) -> Iterator[Any]:
        """All matches in a text, in time linear in its length."""
        if self._compiled is None:
            self._compiled = self._compile(self.source, ascii_only=False)
        found: Iterator[Any] = self._compiled.finditer(text)
        return found

    def finditer_ascii(self, text: str, encoded: bytes) -> Iterator[AsciiMatch]:
        """The same for a text of ASCII characters only, given its bytes.

        Places in both are the same, which saves the library from encoding the text and counting its characters for
        each pattern; and an automaton without the letters of all scripts is up to fifty times smaller.
        """
        if self._compiled_for_ascii is None:
            self._compiled_for_ascii = self._compile(ascii_source(self.source), ascii_only=True)
        for found in self._compiled_for_ascii.finditer(encoded):
            yield AsciiMatch(text, found)

    def _compile(self, source: str | bytes, *, ascii_only: bool) -> Any:
        import re2

        return re2.compile(source, re2_options(_PATTERN_MEMORY, ascii_only=ascii_only))


def ascii_source(source: str) -> bytes:
    """A pattern that matches the same in ASCII texts, of single-byte characters: those it cannot hold match nothing."""
    return _NOT_LATIN.sub("\xff", source).encode("latin-1")


_NOT_LATIN = re.compile(r"[^\x00-\xff]")


def re2_options(memory: int, *, ascii_only: bool) -> Any:
    """Options of RE2 for patterns over whole texts, or over texts of ASCII characters only; `memory` in bytes."""
    import re2

    options = re2.Options()
    options.max_mem = memory
    options.log_errors = False
    if ascii_only:
        options.encoding = re2.Options.Encoding.LATIN1
    return options


def pattern(source: str, needs: Pattern | None = None) -> Pattern:
    """A pattern to run over whole texts.

    `needs` is a smaller pattern that matches in every text in which this one does; where it does not, this one, whose
    counted repetitions make it slow on texts that it sees for the first time, is not run.
    """
    return Pattern(source, needs)


# A field that holds nothing but a number (with an extension at most) is its own context.
_NOTHING_BUT_NUMBERS = re.compile(r"[\W\d_]*(?:(?:ext|x)[\W\d_]*)?", re.IGNORECASE)
_BARE_LIMIT = 48

_URL_START = re.compile(r"(?:https?:|ftp:)?//|www\.", re.IGNORECASE)
_URL_REACH = 200
_PHONE_SCHEMES = ("tel:", "sms:", "callto:", "wa.me/", "phone=")


class Page:
    """A folded text with cheap, bounded looks at what stands around a place in it."""

    __slots__ = ("_bare", "_encoded", "_has", "text")

    def __init__(self, folded: str) -> None:
        self.text = folded
        self._encoded = folded.encode("ascii") if folded.isascii() else None
        self._bare: bool | None = None
        self._has: dict[Pattern, bool] = {}

    @property
    def bare(self) -> bool:
        """True when the whole text is numbers and punctuation: a field of its own, not a sentence."""
        if self._bare is None:
            stripped = self.text.strip()
            self._bare = len(stripped) <= _BARE_LIMIT and bool(_NOTHING_BUT_NUMBERS.fullmatch(stripped))
        return self._bare

    def matches(self, compiled: Pattern) -> Iterator[Any]:
        """All matches of a pattern in the text."""
        needed = compiled.needs
        if needed is not None:
            if needed not in self._has:
                self._has[needed] = any(True for _ in self.matches(needed))
            if not self._has[needed]:
                return iter(())
        if self._encoded is not None:
            return compiled.finditer_ascii(self.text, self._encoded)
        return compiled.finditer(self.text)

    def before(self, start: int, reach: int = 48) -> str:
        """The lower-cased text just before a place."""
        return self.text[max(0, start - reach) : start].lower()

    def after(self, end: int, reach: int = 32) -> str:
        """The lower-cased text just after a place."""
        return self.text[end : end + reach].lower()

    def char_before(self, start: int) -> str:
        """The character before a place, empty at the beginning."""
        return self.text[start - 1] if start > 0 else ""

    def char_after(self, end: int) -> str:
        """The character after a place, empty at the end."""
        return self.text[end : end + 1]

    def inside_word(self, start: int, end: int) -> bool:
        """True when a letter, digit or underscore touches either side: the match is a piece of something
        longer."""
        return _is_word(self.char_before(start)) or _is_word(self.char_after(end))

    def inside_url(self, start: int) -> bool:
        """True within the path or query of a web address; a `tel:` or `wa.me/` address is a phone, not a
        path."""
        head = self.text[max(0, start - _URL_REACH) : start]
        token = head.rsplit(None, 1)[-1] if head and not head[-1].isspace() else ""
        if not token or any(scheme in token.lower() for scheme in _PHONE_SCHEMES):
            return False
        return _URL_START.search(token) is not None


def _is_word(char: str) -> bool:
    return char == "_" or char.isalnum()
