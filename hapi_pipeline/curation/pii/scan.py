"""The two stages: which detectors could find anything, then those detectors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

from .credentials import SECRET
from .detector import Detector
from .email import EMAIL
from .finance import CARD, IBAN
from .identity import NATIONAL_ID, US_SSN
from .model import Finding, merge
from .names import PERSON_NAME
from .network import IP_ADDRESS
from .online import PROFILE_LINK
from .page import Page, ascii_source, fold, re2_options
from .phone import PHONE
from .place import STREET_ADDRESS

DETECTORS: tuple[Detector, ...] = (
    EMAIL,
    CARD,
    IBAN,
    US_SSN,
    NATIONAL_ID,
    IP_ADDRESS,
    PHONE,
    PROFILE_LINK,
    SECRET,
    STREET_ADDRESS,
    PERSON_NAME,
)

# Triggers of so many shapes that one automaton for all would be larger than a processor's cache: they have their own.
_APART = frozenset({"national_id"})

# The automaton of a set is built as texts need it; below this size varied text flushes it over and over
# (measured: 14 thousand texts a second with 8 MB, 150 thousand with 256 MB).
_PREFILTER_MEMORY = 256 << 20

# Digits that one of these explains are not a phone number as well.
_STRONGER_THAN_PHONE = frozenset({"card", "iban", "us_ssn", "national_id", "ip_address"})


def scan_text(text: str) -> list[Finding]:
    """Find personal data in one text with every detector.

    The findings are sorted by place and do not overlap within a type; offsets count characters of `text`.
    """
    page = Page(fold(text))
    return _run(DETECTORS, page)


def scan_texts(texts: Sequence[str]) -> list[list[Finding]]:
    """Scan many texts, running only the detectors that a first pass cannot rule out; equal to `scan_text`
    for each."""
    return [_scan_candidate(fold(text)) for text in texts]


def _scan_candidate(folded: str) -> list[Finding]:
    wanted = {owner[hit] for match, owner in _prefilters(folded.isascii()) for hit in match(folded) or ()}
    return _run((DETECTORS[i] for i in sorted(wanted)), Page(folded)) if wanted else []


def _run(detectors: Iterable[Detector], page: Page) -> list[Finding]:
    found = [finding for detector in detectors for finding in detector.find(page)]
    if len(found) < 2:
        return found
    return merge(_without_explained_phones(found))


def _without_explained_phones(found: list[Finding]) -> list[Finding]:
    stronger = sorted((f.start, f.end) for f in found if f.type in _STRONGER_THAN_PHONE)
    if not stronger:
        return found
    phones = sorted((f for f in found if f.type == "phone"), key=lambda f: f.start)
    others = [f for f in found if f.type != "phone"]
    return others + _not_touching(phones, stronger)


def _not_touching(phones: list[Finding], taken: list[tuple[int, int]]) -> list[Finding]:
    """Both lists are sorted by start; one walk along the two."""
    kept: list[Finding] = []
    place = 0
    for phone in phones:
        while place < len(taken) and taken[place][1] <= phone.start:
            place += 1
        if place == len(taken) or taken[place][0] >= phone.end:
            kept.append(phone)
    return kept


@functools.cache
def _prefilters(ascii_only: bool) -> tuple[tuple[Callable[[str], Sequence[int] | None], tuple[int, ...]], ...]:
    """Build the sets of triggers once a process: each finds triggers in a text, and says whose they are.

    Texts of ASCII characters only have sets of their own, whose automata are smaller.
    """
    apart = [detector.name in _APART for detector in DETECTORS]
    return tuple(_prefilter([n for n, a in enumerate(apart) if a == alone], ascii_only) for alone in (True, False))


def _prefilter(
    numbers: Sequence[int], ascii_only: bool
) -> tuple[Callable[[str], Sequence[int] | None], tuple[int, ...]]:
    import re2

    pattern_set = re2.Set.SearchSet(re2_options(_PREFILTER_MEMORY, ascii_only=ascii_only))
    owner: list[int] = []
    for number in numbers:
        for trigger in DETECTORS[number].triggers:
            pattern_set.Add(ascii_source(trigger) if ascii_only else trigger)
            owner.append(number)
    pattern_set.Compile()
    return pattern_set.Match, tuple(owner)
