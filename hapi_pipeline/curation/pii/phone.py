"""Telephone numbers: international ones on their own, national ones by shape, any other only where words
announce it.

Numbering plans come from `phonenumbers`. Digits alone are not a phone number: prices, dates, ISBNs,
versions and
identifiers are digits too, so a number without a country code needs a shape that only phones have, or a cue.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from stdnum import isbn, luhn

from .detector import Detector
from .model import Finding
from .page import Page

_SHAPE = r"[0-9](?:[ \t().\-/+\\]{0,3}[0-9]){5}"
# Not RE2: a match never has to be given up once it has six digits, so this takes linear time in Python too, and
# Python steps through texts full of digits in a third of the time.
_RUN = re.compile(r"[0-9](?:[ \t().\-/\\]{0,3}\+?[0-9]){5,}")
_OPENING_MARKS = 3
_GROUP = re.compile(r"[^ \t]+")
_MOST_GROUPS = 7
_LEAST_DIGITS, _MOST_DIGITS = 6, 15

_FILLER = (
    r"(?:[\s:.,#()=>|*_\-]|\b(?:no|nr|num|number|numbers|numara\w*|is|are|at|on|to|me|us|him|"
    r"her|them|my|our|the|or|via|"
    r"whatsapp|phone|direct|line|home|work|only|with|please|now|today|call|text|nummer|n[uú]mero)\b){0,8}\Z"
)
_STRONG_CUE = re.compile(
    r"(?:\b(?:phones?|tel|tele(?:ph|f)one?s?|telefon\w*|t[eé]l[eé]phone|whats ?app|viber|"
    r"hotline|sms|fax|m[oó]vil|celular|"
    r"cellulare|handy|mobil(?:e|nummer|telefon)?|cell(?:ular|phone)?|contact (?:no|nr|number|us|me)|"
    r"call(?:ing)? (?:me|us|him|her|them|at|on|now|back)|(?:can|to|please|pls) (?:call|text|"
    r"dial)|text (?:me|us|him|her)|"
    r"reach (?:me|us|him|her|them|out)|ring (?:me|us)|dial|answering|messages? to|message me|number is|"
    r"numbers? (?:are|at)|my registered|registered (?:no|number|mobile|phone))|☎|📞|📱|tel:|sms:)" + _FILLER
)
_LABEL_CUE = re.compile(
    r"\b(?:mobile|cell|desk|office|home|work|direct|fax|phone|tel|ph|mob|p|m|t|f)(?: (?:no|"
    r"number|nr))?\.?\s{0,2}[:#=]\s{0,2}\Z"
)
_LABEL_AFTER = re.compile(
    r"[\s\-,(/\\]{0,3}(?:office|fax|mobile|cell|phone|tel|whatsapp|desk|home|work)\s*(?:[\n,;.)\\]|\Z)"
)
# Every strong cue has one of these in it, and every label ends in one of those.
_CUE_STEMS = (
    *("phone", "tel", "whats", "viber", "hotline", "sms", "fax", "vil", "cel", "handy", "mobil", "contact", "call"),
    *("text", "dial", "reach", "ring", "message", "number", "registered", "☎", "📞", "📱"),
)
_CUE_ENDS = frozenset(":.,#()=>|*_-☎📞📱")
_LABEL_ENDS = frozenset(":#=")
_UNIT_AFTER = re.compile(
    r"\s?(?:words?|usd|eur|gbp|inr|dollars?|euros?|rupees|hours?|hrs?|minutes|users?|people|"
    r"persons|customers?|followers|"
    r"subscribers|items?|products?|pages?|px|days?|weeks?|months?|years?|times|k\b|m\b|%|"
    r"records|rows|images|photos|"
    r"am\b|pm\b|mb\b|gb\b|kg\b|km\b|sq\b|posts|views|[€$£¥₹])"
)
_EXTENSION = re.compile(r"\s{0,2}(?:x|ext\.?|extn\.?|extension|#)\s{0,2}\d{1,6}(?!\w)", re.IGNORECASE)

# A letter, a digit or one of these right before a number makes it a piece of something else.
_GLUE = frozenset("_$€£¥₹@%+=.")
_GLUED_BEFORE = re.compile(r"(?:\d[.,:/\-]|[$€£¥₹] |[^\W\d][\-_/])\Z")
_GLUED_AFTER = re.compile(r"[^\W_]|_\w|[.,:/\-+]\d|\s?[%$€£¥₹]|-[^\W\d_]{0,2}\d|-[xX](?!\w)")
# The head of an IBAN: what follows are its groups, whether or not its check digits are right.
_IBAN_HEAD = re.compile(r"(?<!\w)[A-Z]{2}\d\d(?:[ \-]?[A-Z0-9]{1,4}){0,7}[ \-]?\Z")
_OTHER_CUE = re.compile(
    r"\b(?:card|account|acct|routing|iban|security|ssn|sin|passport|licen[cs]e|order|invoice|"
    r"isbn|tracking|serial|reference|"
    r"tax|policy|model|part|case|ticket|item|product|flight|room|version|zip|postal|post "
    r"?code|member(?:ship)?|student|"
    r"employee|patient|customer|id|sku|batch)(?: (?:no|number|nr|code|id))?\.?\W{0,3}(?:is|"
    r"was|no|#|:)?\W{0,3}\Z"
)

_NORTH_AMERICAN = re.compile(
    r"(?:\+?1[ .\-]{0,2})?(?:\((?P<a>\d{3})\)[ .\-/]{0,2}|(?P<b>\d{3})(?P<sep>[ .\-/]))"
    # One dot alone would be a decimal point.
    r"(?P<exchange>\d{3})(?:[ .\-]|(?<!\d\.\d\d\d))\d{4}"
)
_TRUNK_ZERO = re.compile(r"\(?0\)?[ \-]?\(?\d[\d \-./()]{6,16}\d")
_FREEPHONE = re.compile(r"1[38]00[ \-]\d{2,3}[ \-]?\d{2,3}(?:[ \-]?\d{2,3})?")
# Countries whose national numbers begin with a zero and that post and do most of the online work.
_TRUNK_ZERO_REGIONS = (
    *("GB", "DE", "FR", "AU", "IN", "PK", "PH", "TR", "NL", "ZA", "BD", "NG", "KE", "ID", "VN", "UA", "BE"),
    *("CH", "AT", "SE", "JP", "EG", "IL", "AR", "IT", "IE", "NZ", "MY", "TH", "KR", "CN", "RO", "RS", "FI"),
)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A stretch of a text that could be one phone number, and whether words around it say that it is one."""

    page: Page
    start: int
    end: int
    announced: bool

    @property
    def written(self) -> str:
        return self.page.text[self.start : self.end]

    @property
    def digits(self) -> str:
        return re.sub(r"\D", "", self.written)


def _find(page: Page) -> Iterator[Finding]:
    for run in _RUN.finditer(page.text):
        yield from _numbers_in_run(page, _run_start(page.text, run.start()), run.end())


def _run_start(text: str, digit: int) -> int:
    """Where a run begins whose first digit is known: with up to three plus signs and brackets before it."""
    start = digit
    while start and text[start - 1] in "+(" and digit - start < _OPENING_MARKS:
        start -= 1
    return start


def _numbers_in_run(page: Page, start: int, end: int) -> Iterator[Finding]:
    """From the left, take the longest stretch of groups that is a phone number, then go on after it."""
    groups = [m.span() for m in _GROUP.finditer(page.text, start, end)]
    cues = _Cues(page, start, end)
    first = 0
    while first < len(groups):
        found = None if _is_glued_before(page, groups[first][0]) else _longest_number(page, groups, first, cues)
        if found is None:
            first += 1
            continue
        last, finding = found
        yield finding
        first = last + 1


class _Cues:
    """Whether words around a run announce its first or its last group; looked up when first asked for, at most once.

    Only fillers may stand between a cue and its number, so a cue speaks for no group further inside.
    """

    __slots__ = ("_after", "_before", "_end", "_page", "_start")

    def __init__(self, page: Page, start: int, end: int) -> None:
        self._page, self._start, self._end = page, start, end
        self._before: bool | None = None
        self._after: bool | None = None

    def announce(self, at_first: bool, at_last: bool) -> bool:
        """True when the words before speak for the first group, or those after for the last."""
        if at_first:
            if self._before is None:
                self._before = _cue_before(self._page, self._start)
            if self._before:
                return True
        if at_last and self._after is None:
            self._after = _LABEL_AFTER.match(self._page.after(self._end)) is not None
        return at_last and bool(self._after)


def _cue_before(page: Page, start: int) -> bool:
    before = page.before(start, 64)
    # First looks that cost next to nothing: how every text before a number ends that is a cue or a filler, and what
    # every cue has in it.
    last = before[-1:]
    if not (last in _CUE_ENDS or last.isalnum() or last.isspace()):
        return False
    label = before.rstrip()[-1:] in _LABEL_ENDS and _LABEL_CUE.search(before)
    if not label and not (any(stem in before for stem in _CUE_STEMS) and _STRONG_CUE.search(before)):
        return False
    return not _OTHER_CUE.search(before)


def _longest_number(page: Page, groups: list[tuple[int, int]], first: int, cues: _Cues) -> tuple[int, Finding] | None:
    for last in range(min(len(groups), first + _MOST_GROUPS) - 1, first - 1, -1):
        start, end = groups[first][0], groups[last][1]
        if not _LEAST_DIGITS <= end - start <= 2 * _MOST_DIGITS + 8 or _is_long_id(page.text, start, end):
            continue
        end = _without_loose_bracket(page.text, start, end)
        if _is_piece_of_something(page, start, end):
            continue
        announced = cues.announce(first == 0, last == len(groups) - 1)
        if announced and _UNIT_AFTER.match(page.after(end)):
            announced = False
        candidate = _Candidate(page, start, end, announced)
        score = _score(candidate) if announced or _has_phone_shape(candidate) else 0.0
        if score:
            extension = _EXTENSION.match(page.text, end)
            return last, Finding("phone", start, extension.end() if extension else end, score)
    return None


def _is_long_id(text: str, start: int, end: int) -> bool:
    """More digits than any phone number has and nothing else."""
    return end - start > _MOST_DIGITS + 2 and text[start:end].isdigit()


def _without_loose_bracket(text: str, start: int, end: int) -> int:
    while end > start and not text[end - 1].isdigit():
        end -= 1
    return end


_PHONE_SHAPES = re.compile(rf"\(?(?:\+|00[1-9]).*|{_NORTH_AMERICAN.pattern}|{_TRUNK_ZERO.pattern}|{_FREEPHONE.pattern}")


def _has_phone_shape(candidate: _Candidate) -> bool:
    """The quick look that most digits of a text do not survive."""
    return bool(_PHONE_SHAPES.fullmatch(candidate.written) or _is_bare_with_extension(candidate))


def _is_bare_with_extension(candidate: _Candidate) -> bool:
    return candidate.page.bare and bool(_EXTENSION.match(candidate.page.text, candidate.end))


def _score(candidate: _Candidate) -> float:
    digits = len(candidate.digits)
    if not _LEAST_DIGITS <= digits <= _MOST_DIGITS + 2:
        return 0.0
    if candidate.written.lstrip("(").startswith("+"):
        return _international(candidate, candidate.written)
    if candidate.announced:
        return 0.0 if _is_certain_date(candidate.written) else _announced_score(candidate)
    if _is_something_else(candidate):
        return 0.0
    if re.match(r"\(?00[1-9]", candidate.written):
        # An exit code in place of the plus sign; digits alone could be any identifier.
        grouped = not candidate.written.isdigit()
        return min(0.8, _international(candidate, "+" + candidate.written.lstrip("(")[2:])) if grouped else 0.0
    return _national(candidate)


def _is_glued_before(page: Page, start: int) -> bool:
    """Part of a word, of a longer number or of an amount that begins before it."""
    if not start:
        return False
    char = page.text[start - 1]
    glued = char in _GLUE or char.isalnum() or _GLUED_BEFORE.search(page.text, max(0, start - 2), start)
    return bool(glued) and "tel" not in page.before(start, 5)


def _is_piece_of_something(page: Page, start: int, end: int) -> bool:
    """Part of a longer number or an amount that goes on after it, or of the path of a web address."""
    extended = _EXTENSION.match(page.text, end)
    if not extended and _GLUED_AFTER.match(page.after(end, 3)):
        return True
    return page.inside_url(start)


def _announced_score(candidate: _Candidate) -> float:
    digits = candidate.digits
    if len(digits) > _MOST_DIGITS or len(set(digits)) == 1 or _is_dotted_quad(candidate.written):
        return 0.0
    if len(digits) >= 13 and luhn.is_valid(digits):
        return 0.0
    return 0.85 if any(_is_valid(candidate.written, region) for region in ("US", "GB")) else 0.7


def _international(candidate: _Candidate, written: str) -> float:
    """Judge a number with a country code: valid in that country, of a possible length, or announced."""
    digits = re.sub(r"\D", "", written)
    if not 7 <= len(digits) <= _MOST_DIGITS:
        return 0.0
    validity = _validity(written)
    if validity == "valid":
        return 0.95
    if validity == "possible" and len(digits) >= 8 and not digits.endswith("0000"):
        return 0.75 if candidate.announced or candidate.page.bare or not written.lstrip("(+").isdigit() else 0.55
    if validity != "unknown" and (candidate.announced or candidate.page.bare):
        return 0.55
    return 0.0


def _national(candidate: _Candidate) -> float:
    written = candidate.written
    american = _NORTH_AMERICAN.fullmatch(written)
    if american:
        return _north_american_score(american, written)
    if _is_bare_with_extension(candidate):
        return 0.6
    if _TRUNK_ZERO.fullmatch(written) and (candidate.page.bare or _is_grouped(written)):
        digits = candidate.digits
        # Nine digits in groups of three are also company and tax numbers.
        least = 9 if re.search(r"[-/()]", written) else 10
        plausible = least <= len(digits) <= 12 and any(_is_valid(digits, region) for region in _TRUNK_ZERO_REGIONS)
        # Ten digits with a leading zero are also how ISBNs and article numbers look.
        return 0.65 if plausible and (len(digits) > 10 or not written.isdigit()) else 0.0
    if _FREEPHONE.fullmatch(written) and _is_valid(candidate.digits, "AU"):
        return 0.6
    return 0.0


def _north_american_score(american: re.Match[str], written: str) -> float:
    area = american["a"] or american["b"]
    if area[0] in "01" or american["exchange"][0] in "01":
        return 0.0
    if _is_valid(written, "US"):
        return 0.9 if american["sep"] != " " else 0.7
    # Not an area code in use, but nothing else is written like this.
    return 0.6 if american["sep"] != " " else 0.0


def _is_grouped(written: str) -> bool:
    """Separators between groups of at least two digits; a lone first digit may be the trunk zero."""
    groups = re.split(r"\D+", written.strip("()"))
    return len(groups) >= 2 and all(len(group) >= 2 for group in groups[1:])


def _is_something_else(candidate: _Candidate) -> bool:
    written = candidate.written
    return (
        _is_dotted_quad(written)
        or _is_certain_date(written)
        or _is_year_range(written)
        or bool(_OTHER_SHAPES.fullmatch(written))
        or bool(re.search(r"(?:19|20)\d\d-\d\d-\d\d", written))
        or bool(_IBAN_HEAD.search(candidate.page.text[max(0, candidate.start - 44) : candidate.start]))
        or bool(re.fullmatch(r"\d{1,3}(?:[ .]\d{3})+", written) and not _has_phone_punctuation(written))
        or isbn.is_valid(written)
        or bool(re.fullmatch(r"(?:978|979)[\d \-]{10,}", written))
    )


# ZIP+4, social security and Korean personal numbers.
_OTHER_SHAPES = re.compile(r"\d{5}-\d{4}|\d{3}-\d\d-\d{4}|\d{6}-\d{7}")


def _has_phone_punctuation(written: str) -> bool:
    return written[0] in "(0" or bool(re.search(r"[-()]", written))


def _is_dotted_quad(written: str) -> bool:
    return bool(re.fullmatch(r"\d{1,3}(?:\.\d{1,3}){3}", written))


def _is_year_range(written: str) -> bool:
    return bool(re.fullmatch(r"(?:19|20)\d\d\s?[-/ ]\s?(?:19|20)\d\d(?:\s?[-/ ]\s?(?:19|20)\d\d)*", written))


_DATE_SHAPES = (
    re.compile(r"(?P<y>(?:19|20)\d\d)[-/. ](?P<m>\d{1,2})[-/. ](?P<d>\d{1,2})(?: {1,2}\d{1,2})?"),
    re.compile(r"(?P<d>\d{1,2})[-/. ](?P<m>\d{1,2})[-/. ](?P<y>(?:19|20)\d\d)(?: {1,2}\d{1,2})?"),
    re.compile(r"(?P<m>\d{1,2})[-/. ](?P<d>\d{1,2})[-/. ](?P<y>(?:19|20)\d\d)(?: {1,2}\d{1,2})?"),
    re.compile(r"(?P<y>20\d\d)(?P<m>\d\d)(?P<d>\d\d)"),
)


def _is_certain_date(written: str) -> bool:
    return any(_is_calendar_day(shape.fullmatch(written)) for shape in _DATE_SHAPES)


def _is_calendar_day(match: re.Match[str] | None) -> bool:
    if match is None:
        return False
    try:
        date(int(match["y"]), int(match["m"]), int(match["d"]))
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=4096)
def _validity(written: str) -> str:
    """How well an international number fits its country's plan: valid, possible, assigned (known country) or
    unknown."""
    import phonenumbers

    try:
        number = phonenumbers.parse(written.replace("(0)", ""), None)
    except phonenumbers.NumberParseException:
        return "unknown"
    if phonenumbers.is_valid_number(number):
        return "valid"
    if phonenumbers.is_possible_number(number):
        return "possible"
    return "assigned"


@functools.lru_cache(maxsize=16384)
def _is_valid(written: str, region: str) -> bool:
    import phonenumbers

    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_valid_number_for_region(number, region))


PHONE = Detector("phone", (_SHAPE,), _find)
