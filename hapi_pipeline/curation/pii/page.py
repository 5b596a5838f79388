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
    digits = {
        code: str(unicodedata.decimal(chr(code))) for code in range(128, sys.maxunicode + 1) if chr(code).isdecimal()
    }
    surrogates = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
    return {**digits, **surrogates, **_FOLDABLE_PUNCTUATION}


@functools.cache
def _foldable() -> re.Pattern[str]:
    codes = sorted(_fold_table())
    runs: list[tuple[int, int]] = []
    for code in codes:
        if runs and runs[-1][1] == code - 1:
            runs[-1] = (runs[-1][0], code)
        else:
            runs.append((code, code))
    return re.compile("[" + "".join(f"{re.escape(chr(a))}-{re.escape(chr(b))}" for a, b in runs) + "]")


def fold(text: str) -> str:
    """Rewrite digits and punctuation of other scripts to ASCII, one character for one, so offsets stay true.

    Lone surrogates become U+FFFD because nothing downstream can encode them.
    """
    if text.isascii():
        return text
    # Posts hold a curly quote here and there: replacing those few beats translating every character.
    return _foldable().sub(_folded_character, text)


def _folded_character(match: re.Match[str]) -> str:
    return _fold_table()[ord(match.group())]


def words(text: str) -> frozenset[str]:
    """The words of a text as a set: how long lists of exceptions are written down."""
    return frozenset(text.split())


class Pattern:
    """An RE2 pattern, compiled when it is first needed so that importing the package stays quick."""

    __slots__ = ("_compiled", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        # RE2 has no types to offer, hence `Any`.
        self._compiled: Any = None

    def finditer(self, text: str) -> Iterator[Any]:
        """All matches in a text, in time linear in its length."""
        if self._compiled is None:
            self._compiled = self._compile()
        found: Iterator[Any] = self._compiled.finditer(text)
        return found

    def _compile(self) -> Any:
        import re2

        options = re2.Options()
        options.max_mem = _PATTERN_MEMORY
        options.log_errors = False
        return re2.compile(self.source, options)


def pattern(source: str) -> Pattern:
    """A pattern to run over whole texts."""
    return Pattern(source)


# A field that holds nothing but a number (with an extension at most) is its own context.
_NOTHING_BUT_NUMBERS = re.compile(r"[\W\d_]*(?:(?:ext|x)[\W\d_]*)?", re.IGNORECASE)
_BARE_LIMIT = 48

_URL_START = re.compile(r"(?:https?:|ftp:)?//|www\.", re.IGNORECASE)
_URL_REACH = 200
_PHONE_SCHEMES = ("tel:", "sms:", "callto:", "wa.me/", "phone=")


class Page:
    """A folded text with cheap, bounded looks at what stands around a place in it."""

    __slots__ = ("_bare", "text")

    def __init__(self, folded: str) -> None:
        self.text = folded
        self._bare: bool | None = None

    @property
    def bare(self) -> bool:
        """True when the whole text is numbers and punctuation: a field of its own, not a sentence."""
        if self._bare is None:
            stripped = self.text.strip()
            self._bare = len(stripped) <= _BARE_LIMIT and bool(_NOTHING_BUT_NUMBERS.fullmatch(stripped))
        return self._bare

    def matches(self, compiled: Pattern) -> Iterator[Any]:
        """All matches of a pattern in the text."""
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
