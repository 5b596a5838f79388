"""Payment cards (Luhn and issuer ranges) and bank accounts (IBAN, ISO 13616)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stdnum import ean, iban, luhn
from stdnum.iso7064 import mod_97_10

from .detector import Detector
from .model import Finding
from .page import Page, pattern, words

_CARD_SHAPE = r"[0-9](?:[ \-.]?[0-9]){11,}"
_CARD_RUN = pattern(_CARD_SHAPE)
_CARD_MIN, _CARD_MAX = 12, 19
_MAX_GROUPS = 6

# Issuer ranges with the lengths they issue. First those that are cards even without a word about cards
# around them.
_COMMON_ISSUERS = re.compile(
    r"4\d{15}(?:\d{3})?"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12}(?:\d{3})?"  # Discover
    r"|(?:30[0-5]|3[689]\d)\d{11}"  # Diners Club
    r"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
    r"|62\d{14,17}"  # UnionPay
    r"|220[0-4]\d{12}"  # Mir
    r"|(?:5018|5019|5020|5038|5893|6304|6759|676[1-3])\d{12}"  # Maestro, Dankort
    r"|(?:508[5-9]|60[0-9]{2}|8[12]\d\d)\d{12}"  # RuPay
)
# A whole field of digits may also be one of the rare kinds: UATP, 15-digit JCB, Maestro and 13-digit Visa cards.
_RARE_ISSUERS = re.compile(r"1\d{14}|2131\d{11}|(?:5[06-8]|6\d)\d{11,17}|4\d{12}")
_CARD_GROUPINGS = re.compile(
    r"\d+|\d{4}(?:[ \-.]\d{4}){2,3}(?:[ \-.]\d{1,3})?|\d{4}[ \-.]\d{6}[ \-.]\d{4,5}|"
    # Fourteen and fifteen digits, grouped by hand.
    r"\d{3}[ \-.]\d{4}[ \-.]\d{4,5}[ \-.]\d{3}"
)
_CARD_CUE = re.compile(
    r"\b(?:cards?|cc|visa|mastercard|master card|amex|american express|maestro|discover|diners|debit|credit|"
    r"kreditkarte|karte|tarjeta|carte|carta|cart[ãa]o|kort|kaart|karta|pan)\b"
)
_OTHER_NUMBER_CUE = re.compile(
    r"\b(?:order|orders|invoice|tracking|track|imei|isbn|ean|gtin|upc|sku|serial|ticket|"
    r"report|reportid|issue|"
    r"ref|reference|id|ids|timestamp|epoch|transaction|txn|case|build|commit|hash)\b[\s:#=\w.\"']{0,12}\Z"
)


def _find_cards(page: Page) -> Iterator[Finding]:
    for run in page.matches(_CARD_RUN):
        start, end = run.span()
        if page.inside_word(start, end) or page.inside_url(start):
            continue
        for at, to in _windows(page.text, start, end):
            score = _card_score(page, at, to)
            if score:
                yield Finding("card", at, to, score)


def _windows(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Stretches of whole digit groups as long as a card number: a run may hold more than one number."""
    groups = [(start + m.start(), start + m.end()) for m in re.finditer(r"[0-9]+", text[start:end])]
    for first in range(len(groups)):
        digits = 0
        for last in range(first, min(len(groups), first + _MAX_GROUPS)):
            digits += groups[last][1] - groups[last][0]
            if digits > _CARD_MAX:
                break
            if digits >= _CARD_MIN:
                yield groups[first][0], groups[last][1]


def _card_score(page: Page, start: int, end: int) -> float:
    written = page.text[start:end]
    digits = re.sub(r"[ \-.]", "", written)
    if len(set(digits)) < 2 or not _CARD_GROUPINGS.fullmatch(written) or not luhn.is_valid(digits):
        return 0.0
    before = page.before(start, 60)
    if _CARD_CUE.search(before) or _CARD_CUE.search(page.after(end)):
        return 0.95
    if _OTHER_NUMBER_CUE.search(before) or _touches_a_number(page, start, end):
        return 0.0
    if _COMMON_ISSUERS.fullmatch(digits):
        return 0.8
    return 0.6 if page.bare and _RARE_ISSUERS.fullmatch(digits) and not ean.is_valid(digits) else 0.0


def _touches_a_number(page: Page, start: int, end: int) -> bool:
    """A piece of a decimal, a negative number, a path or a list of digit groups is not a card."""
    if page.char_before(start) in ("-", "/", "$", "€", "£", "#", "=") and not page.bare:
        return True
    return bool(re.match(r"[.,\-/]\d", page.after(end, 2)) or re.search(r"\d[,\-]\Z|\.\Z", page.before(start, 2)))


CARD = Detector("card", (r"[0-9](?:[ \-.]?[0-9]){11}",), _find_cards)

_IBAN_START = r"(?i)[a-z]{2}[0-9]{2}[ \-]?[a-z0-9]{4}"
_IBAN_RUN = pattern(_IBAN_START + r"(?:[ \-]?[a-z0-9]){7,26}")
_IBAN_MIN, _IBAN_MAX = 15, 34


def _find_ibans(page: Page) -> Iterator[Finding]:
    for run in page.matches(_IBAN_RUN):
        start = run.start()
        if page.char_before(start).isalnum():
            continue
        end = _iban_end(page, start, run.end())
        if end:
            yield Finding("iban", start, end, 0.95)


def _iban_end(page: Page, start: int, end: int) -> int:
    """Where an IBAN that begins at `start` ends, or 0: words that follow may look like more of it."""
    letters = 0
    best = 0
    for place in range(start, min(end, start + 2 * _IBAN_MAX)):
        if not page.text[place].isalnum():
            continue
        letters += 1
        if letters > _IBAN_MAX:
            break
        at_edge = not page.char_after(place + 1).isalnum()
        if letters >= _IBAN_MIN and at_edge and _is_iban(page.text[start : place + 1]):
            best = place + 1
    return best


def _is_iban(written: str) -> bool:
    """Check digits as ISO 13616 computes them, and the length and form of the country where its register entry is
    known.

    Countries that use the form without being in the register (Algeria, Mozambique …) have the check digits only, so
    they must be written in capitals and be nearly all digits.
    """
    number = re.sub(r"[ \-]", "", written)
    if not mod_97_10.is_valid(number[4:] + number[:4]):
        return False
    if iban.is_valid(number, check_country=False):
        return True
    unregistered = number[:2].isupper() and number[:2] in _UNREGISTERED
    return unregistered and sum(char.isdigit() for char in number) >= 20


_UNREGISTERED = words("AO BF BI BJ CF CG CI CM CV DJ DZ GA GQ GW HN IR KM MA MG ML MZ NE NI SN TD TG")


IBAN = Detector("iban", (_IBAN_START,), _find_ibans)
