"""Names of people, by the phrases that introduce them. Only ever a reason to look, never to reject."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .detector import Detector
from .model import Finding
from .page import Page, pattern, words

_WORD = r"\p{Lu}[\p{L}'\-]{1,24}"
_NAME = rf"({_WORD}(?: \p{{Lu}}\.)?(?: (?:de|da|van|von|der|del|bin|al|di|la|le) )?(?: {_WORD}){{0,2}})"
_INTRODUCED = (
    rf"\b(?:(?i:my name is|my name's|i am called|ich hei(?:ß|ss)e|mein name ist|je m'appelle|"
    rf"mon nom est|me llamo|mi nombre es|mi chiamo|(?:o )?meu nome [ée]|benim adım|call me|"
    rf"name:|full name:?|contact person:?|contact name:?|attn:?|speak (?:to|with)|his name is|her name is|"
    rf"their name is|account holder:?|dear|hi|hello|hey)"
    rf"\s{{1,2}}){_NAME}"
)
_TITLED = rf"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Madam|MR|MRS)\b\.? {_NAME}"
_SIGNED = (
    rf"(?:(?i:(?:best|kind|warm|kindest|many)?\s?(?:regards|wishes|thanks)|sincerely(?: yours)?|"
    rf"yours (?:truly|sincerely|faithfully)|cheers|thank you|respectfully)[,.!]?\s{{0,2}}\n\s{{0,4}})"
    rf"{_NAME}\s*(?:\n|$)"
)
_POSSESSIVE = rf"\b(?:here's|Here's) {_NAME}'s (?:address|number|phone|email|contact)"
_SOURCES = (_INTRODUCED, _TITLED, _SIGNED, _POSSESSIVE)
_PATTERNS = tuple(pattern(source) for source in _SOURCES)

_NOT_A_NAME = words(
    """
    the team support upwork sir madam all everyone everybody there freelancer freelancers developer
    developers designer writer writers hiring manager manager company client clients customer
    service sales admin guys folks experts expert candidates candidate applicants applicant we i you
    it this that our my your please i'm i've i'd we're looking need thanks thank regards
    professional professionals friends world reader readers user users file function class variable
    google microsoft apple amazon facebook meta wordpress shopify ceo cto founder vp to talented
    talent editors editor programmers programmer here hello hi hey dear if a an what is in on for
    and or im ladies gentlemen future seo va virtual assistant video artist artists creators
    creative fellow potential web graphic data content sellers
    """
)


def _find(page: Page) -> Iterator[Finding]:
    for compiled in _PATTERNS:
        for match in page.matches(compiled):
            finding = _name_in(match)
            if finding:
                yield finding


def _name_in(match: Any) -> Finding | None:
    start, end = match.span(1)
    words = re.findall(r"[^\s.]+", match.group(1))
    if not words or any(word.lower().removesuffix("'s") in _NOT_A_NAME for word in words):
        return None
    if all(len(word) > 3 and word.isupper() for word in words):
        return None
    return Finding("person_name", start, end, 0.4)


# Each pattern up to the first letter of the name: what follows has counted repetitions.
_TRIGGERS = tuple(source.split(_NAME)[0] + r"\p{Lu}" for source in _SOURCES)

PERSON_NAME = Detector("person_name", _TRIGGERS, _find)
