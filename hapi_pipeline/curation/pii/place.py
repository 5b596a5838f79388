"""Street addresses: a house number with a street, a post box, or a number that words call an address."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .detector import Detector
from .model import Finding
from .page import Page, pattern

_NAME = r"[\p{Lu}\d][\p{L}\d'.\-]{0,30}"
_SURE_STREET = (
    r"(?:Street|St\.?|Str\.?|Avenue|Ave\.?|Road|Rd\.?|Boulevard|Blvd\.?|Lane|Ln\.?|Parkway|"
    r"Pkwy\.?|Highway|Hwy\.?)"
)
_MAYBE_STREET = (
    r"(?:Drive|Dr\.?|Court|Ct\.?|Way|Place|Pl\.?|Square|Sq\.?|Terrace|Ter\.?|Close|Crescent|"
    r"Gardens|Grove|Alley|Trail|"
    r"Circle|Cir\.?|Gate|Hill|Heights|Green|Mews|Quay|Row|Walk|Park)"
)
_NUMBER = r"[0-9]{1,6}[A-Za-z]?(?:[\-/][0-9]{1,4})?(?:,? [0-9]{1,5})?"
_ENGLISH_SURE = rf"{_NUMBER},? (?:[NSEW]\.? )?(?:{_NAME} ){{1,5}}{_SURE_STREET}(?:[\s,.;)]|$)"
_ENGLISH_MAYBE = (
    rf"{_NUMBER},? (?:[NSEW]\.? )?(?:{_NAME} ){{1,5}}{_MAYBE_STREET}"
    r"(?:,? (?:#|Apt|Suite|Ste|Unit|Floor|Flat|Room)|,\s{0,2}\p{Lu}|\s{1,2}(?:[A-Z]{2} "
    r")?[0-9]{4,5}\b|\n\s{0,4}\p{Lu})"
)
_LOWER_CASE = (
    r"(?i)[0-9]{2,6} (?:[nsew]\.? )?(?:[a-z]{3,20} ){1,2}(?:street|st\.|avenue|ave|road|rd|"
    r"boulevard|blvd)(?:[\s,.;)]|$)"
)
_UNIT = r"[0-9]{1,6} [^\n]{3,60}?[\s,]{1,3}(?:Apt|Suite|Ste|Unit|Flat)\.? ?#?[0-9]{1,5}\b"
_UNIT_LINE = r"(?i)[0-9]{1,6} [^\n]{3,50},?\s{0,2}\n\s{0,4}\W{0,4}(?:apt|suite|ste|unit|flat)\.? ?#?[0-9]{1,5}\b"
_POST_BOX = r"(?i)\bp\.?\s?o\.?\s?box\s?#?[0-9]{1,6}\b"
_MILITARY = r"(?i)\b(?:psc|cmr|unit) [0-9]{1,5},? box [0-9]{1,5}|\b[fad]po,? a[aep] [0-9]{5}\b"
_SUFFIX = (
    r"(?:straße|strasse|straat|gatan|gade|vägen|vegen|veien|gasse|platz|allee|laan|singel|plein|katu|"
    r"kuja|utca|stræti|vænget|str\.)"
)
_SUFFIXED_TRIGGER = rf"{_SUFFIX} ?[0-9]"
_SUFFIXED = rf"\p{{Lu}}\p{{L}}{{2,30}}{_SUFFIX} ?[0-9]{{1,5}}[a-z]?\b"
_PREFIXED_WORD = (
    r"(?:(?i:rue|chemin|viale|piazza|strada|calle|avenida|avda\.?|rua|travessa|praça|ul\.|"
    r"ulica|aleja|r[uú]a|jalan|jl\.)|"
    # Words of other languages too, unless they begin with a capital.
    r"Avenue|Av\.|Boulevard|Via|Corso|Plaza|Paseo|Carrera)"
)
_PREFIXED = (
    rf"(?:^|[\s,(]){_PREFIXED_WORD} (?:\p{{L}}[\p{{L}}'.\-]{{0,24}} ){{1,5}}(?:n[º°.]? ?)?[0-9]{{1,"
    rf"5}}[A-Za-z]?\b"
)
_NUMBER_FIRST = (
    rf"\b[0-9]{{1,5}}(?: ?bis)?,? {_PREFIXED_WORD} (?:de |du |des |la |le |del |da |do |di |dos "
    rf")*\p{{Lu}}\p{{L}}{{2,}}"
)
_ADDRESS_CUE = (
    r"(?i:address(?:es)?(?: \w+){0,3}(?: ?:| is| to| are)|lives? (?:at|in)|living at|lived "
    r"(?:at|in)|reside[sd]? at|"
    r"sent? (?:it )?to|located at|return to|office is at|deliver(?:ed)? to|ship(?:ped)? to|"
    r"meet (?:you )?at|visit us at|"
    r"corner of|taxi to|arrived at)\s{1,3}[0-9]"
)
_CUED = rf"{_ADDRESS_CUE}[0-9]{{0,5}}[A-Za-z]?(?:,? [0-9]{{1,5}})? (?:\p{{Lu}}[\p{{L}}'.\-]+[ ,\n]?){{1,5}}"

_SURE = (_POST_BOX, _MILITARY, _SUFFIXED, _NUMBER_FIRST, _ENGLISH_SURE, _PREFIXED, _CUED, _UNIT_LINE, _UNIT)
_CHECKED = (_ENGLISH_MAYBE, _LOWER_CASE)
_SURE_PATTERNS = tuple(pattern(source) for source in _SURE)
_CHECKED_PATTERNS = tuple(pattern(source) for source in _CHECKED)

# "30 minutes down the road", "2 way street", "100 best wall street": counting, not numbering houses.
_COUNTED = re.compile(
    r"\b(?:minutes?|mins?|hours?|days?|weeks?|months?|years?|miles?|km|meters?|the|a|an|of|on|"
    r"in|at|for|and|to|from|with|"
    r"per|way|lane|best|top|new|different|other|more|high|quality|videos?|images?|photos?|"
    r"pages?|posts?|words?|usd|"
    r"wall|silk|street|product|items?|people|users?|custom|simple|main goals?)\b",
    re.IGNORECASE,
)


def _find(page: Page) -> Iterator[Finding]:
    for compiled in _SURE_PATTERNS:
        for match in page.matches(compiled):
            finding = _finding(page, match.start(), match.end(), 0.7)
            if finding:
                yield finding
    for compiled in _CHECKED_PATTERNS:
        for match in page.matches(compiled):
            finding = _finding(page, match.start(), match.end(), 0.55)
            if finding and not _COUNTED.search(_street_name(page.text[finding.start : finding.end])):
                yield finding


def _street_name(address: str) -> str:
    """What stands between the house number and the word for street."""
    return address.partition(" ")[2].rpartition(" ")[0]


def _finding(page: Page, start: int, end: int, score: float) -> Finding | None:
    """Trim the delimiters that a pattern needed to see; drop matches that start in the middle of a word."""
    while end > start and page.text[end - 1] in " \t\r\n,;)":
        end -= 1
    while start < end and page.text[start] in " \t\r\n,(":
        start += 1
    before = page.char_before(start)
    if before.isalnum() or before in ("$", "€", "£", ".", "#", "/", "-", "_") or start == end:
        return None
    return Finding("street_address", start, end, score)


# Only the words that each pattern needs: numbers followed by counted words would blow up the automaton
# of the first stage.
_TRIGGERS = (
    rf" {_SURE_STREET}(?:[\s,.;)]|$)",
    rf"[\p{{Lu}}\d][\p{{L}}\d'.\-]* {_MAYBE_STREET}(?:,|\s)",
    r"(?i) (?:street|st\.|avenue|ave|road|rd|boulevard|blvd)(?:[\s,.;)]|$)",
    r"(?i)(?:apt|suite|ste|unit|flat)\.? ?#?[0-9]",
    r"(?i)p\.?\s?o\.?\s?box\s?#?[0-9]",
    r"(?i)\b(?:psc|cmr) [0-9]|box [0-9]|[fad]po,? a[aep] [0-9]",
    _SUFFIXED_TRIGGER,
    rf"(?:^|[\s,(]){_PREFIXED_WORD} \p{{L}}",
    _ADDRESS_CUE,
)

STREET_ADDRESS = Detector("street_address", _TRIGGERS, _find)
