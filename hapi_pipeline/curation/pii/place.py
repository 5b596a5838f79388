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
    r"(?:straße|strasse|straat|gatan|gata|gade|vägen|vegen|veien|vegur|vej|weg|gasse|platz|allee|laan|singel|plein|"
    r"plaats|gracht|dijk|damm|ufer|katu|kuja|ntie|utca|stræti|straeti|braut|vænget|str\.)"
)
_SUFFIXED_TRIGGER = rf"{_SUFFIX} ?[0-9]"
_SUFFIXED = rf"\p{{Lu}}\p{{L}}{{2,30}}{_SUFFIX} ?[0-9]{{1,5}}[a-z]?\b"
# "Am Waldrand 12, 50667 Köln": a street, its number, a postal code and a town.
_TOWN_STREET = (
    r"(?:\b(?:Am|An|Auf|Im|In|Unter|Hinter|Vor|Zum|Zur|Beim|Alte[rs]?|Neue[rs]?|Große[rs]?|Kleine[rs]?) "
    r"(?:de[nmrs] )?\p{L}{3,}(?: \p{L}{3,})?|"
    r"\p{Lu}\p{L}+(?:markt|hof|berg|feld|graben|wall|tor|brunn|steig|pfad|winkel|anger|rain|hang|twiete|kamp|deich))"
)
_WITH_TOWN = rf"{_TOWN_STREET} [0-9]{{1,4}} ?[a-z]?,\s{{0,2}}(?:[A-Z]{{1,2}}-)?[0-9]{{4,6}} \p{{Lu}}\p{{L}}{{2,}}"
_WITH_TOWN_TRIGGER = r" [0-9]+ ?[a-z]?,\s?\s?(?:[A-Z]+-)?[0-9]{4,6} "
# "Atatürk Caddesi No: 15", "Király utca 7": the word for street stands between the name and the number.
_INNER_WORD = r"(?:Caddesi|Cad\.|Soka[kğ]ı?|Sok\.|Bulvarı|utca|út|körút|tér|rakpart|[Uu]lica|Street|street|St\.)"
_INNER = rf"\p{{Lu}}[\p{{L}}\-]+ (?:\p{{L}}+ )?{_INNER_WORD},? (?:[Nn]o\.?:? ?)?[0-9]{{1,4}}\b"
_INNER_TRIGGER = rf" {_INNER_WORD},? (?:[Nn]o\.?:? ?)?[0-9]"
_CYRILLIC_WORD = r"(?:(?i)ул\.|улица|вулиця|вул\.|проспект|просп\.|пр-т|переулок|пер\.|шоссе)"
_CYRILLIC = rf"{_CYRILLIC_WORD} ?\p{{L}}[\p{{L}} .\-]{{2,40}},? ?(?:д\.|дом|буд\.)? ?[0-9]{{1,4}}"
_CYRILLIC_TRIGGER = rf"{_CYRILLIC_WORD} ?\p{{L}}"
# "the corner of Dalbraut 99", "lives on Hansinegata 120": words of place, a name, a number.
_NAMED_CUE = (
    r"(?i:corner of|lives (?:on|at)|I live (?:on|at)|living (?:on|at)|located at|(?:my|our|his|her|home) address is)"
)
_NAMED_PLACE = rf"{_NAMED_CUE} \p{{Lu}}[\p{{L}}'.\-]+(?: \p{{L}}[\p{{L}}'.\-]*){{0,3}} [0-9]{{1,5}}\b"
_NAMED_TRIGGER = rf"{_NAMED_CUE} "
# "Gumpendorfer Strasse 44 street" and "Sludevej 13 St.": number first, then the word.
_WORD_LAST = (
    r"\p{Lu}[\p{L}'.\-]+(?: \p{L}[\p{L}'.\-]*){0,3} [0-9]{1,5}\.? (?:street|Street|St\.)(?: in \p{Lu}| the |[.,;\n]|$)"
)
_WORD_LAST_TRIGGER = r" [0-9]+\.? (?:street|Street|St\.)(?:\W|$)"
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
    r"corner of|taxi to|arrived at)\s{1,8}[0-9]"
)
_CUED = rf"{_ADDRESS_CUE}[0-9]{{0,5}}[A-Za-z]?(?:,? [0-9]{{1,5}})? (?:\p{{Lu}}[\p{{L}}'.\-]+[ ,\n]?){{1,5}}"

_CONTINENTAL = (_WITH_TOWN, _INNER, _CYRILLIC, _NAMED_PLACE, _WORD_LAST)
_SURE = (
    *_CONTINENTAL,
    _POST_BOX,
    _MILITARY,
    _SUFFIXED,
    _NUMBER_FIRST,
    _ENGLISH_SURE,
    _PREFIXED,
    _CUED,
    _UNIT_LINE,
    _UNIT,
)
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


# What is counted with numbers after words of place: "located at Building 5", "12 Monday, 10115 ...".
_NUMBERED = re.compile(
    r"(?i)\b(?:step|level|page|section|room|floor|building|version|phase|item|chapter|windows|line|gate|day|week|"
    r"january|february|march|april|may|june|july|august|september|october|november|december|row|grade|class|screen|image|photo|card|table|slide|corner|task|article|team)\W*\d"
)


def _finding(page: Page, start: int, end: int, score: float) -> Finding | None:
    """Trim the delimiters that a pattern needed to see; drop matches that start in the middle of a word."""
    while end > start and page.text[end - 1] in " \t\r\n,;)":
        end -= 1
    while start < end and page.text[start] in " \t\r\n,(":
        start += 1
    before = page.char_before(start)
    if _NUMBERED.search(page.text[start:end]) and not page.text[start].isdigit():
        return None
    if before.isalnum() or before in ("$", "€", "£", ".", "#", "/", "-", "_") or start == end:
        return None
    return Finding("street_address", start, end, score)


# Only the words that each pattern needs: numbers followed by counted words would blow up the automaton
# of the first stage.
_TRIGGERS = (
    rf" {_SURE_STREET}(?:[\s,.;)]|$)",
    rf" {_MAYBE_STREET}(?:,|\s)",
    r"(?i) (?:street|st\.|avenue|ave|road|rd|boulevard|blvd)(?:[\s,.;)]|$)",
    r"(?i)(?:apt|suite|ste|unit|flat)\.? ?#?[0-9]",
    r"(?i)p\.?\s?o\.?\s?box\s?#?[0-9]",
    r"(?i)\b(?:psc|cmr) [0-9]|box [0-9]|[fad]po,? a[aep] [0-9]",
    _SUFFIXED_TRIGGER,
    rf"(?:^|[\s,(]){_PREFIXED_WORD} \p{{L}}",
    _ADDRESS_CUE,
    _WITH_TOWN_TRIGGER,
    _INNER_TRIGGER,
    _CYRILLIC_TRIGGER,
    _NAMED_TRIGGER,
    _WORD_LAST_TRIGGER,
)

STREET_ADDRESS = Detector("street_address", _TRIGGERS, _find)
