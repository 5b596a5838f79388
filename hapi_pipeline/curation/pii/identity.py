"""United States social security numbers and the personal numbers of other countries.

Check digits come from `python-stdnum`. Most of these numbers are bare digits, which one text in ten would
pass by
chance, so they count only next to a word that says what they are; a few have a shape that speaks for itself.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from .detector import Detector
from .model import Finding
from .page import Page, pattern

_SSN_SHAPE = r"[0-9]{3}[ .\-]?[0-9]{2}[ .\-]?[0-9]{4}"
_SSN_RUN = pattern(_SSN_SHAPE)
_SSN_CUE = re.compile(r"\b(?:ssn|ssns|social[ -]?sec(?:urity)?|soc sec)\b")


def _find_ssns(page: Page) -> Iterator[Finding]:
    for match in page.matches(_SSN_RUN):
        start, end = match.span()
        if page.inside_word(start, end) or _is_part_of_longer_number(page, start, end):
            continue
        score = _ssn_score(page, start, end)
        if score:
            yield Finding("us_ssn", start, end, score)


def _is_part_of_longer_number(page: Page, start: int, end: int) -> bool:
    if re.search(r"\d[ .,/\-]\Z|[-+$€£#/=.]\Z", page.before(start, 2)):
        return True
    return bool(re.match(r"[.,/\-]\d|-\w| \d", page.after(end, 2))) and not page.bare


def _ssn_score(page: Page, start: int, end: int) -> float:
    written = page.text[start:end]
    digits = re.sub(r"\D", "", written)
    if not _is_issuable_ssn(digits):
        return 0.0
    if _SSN_CUE.search(page.before(start, 60)):
        return 0.95
    if re.fullmatch(r"\d{3}-\d\d-\d{4}", written):
        return 0.85
    if re.fullmatch(r"\d{3} \d\d \d{4}", written):
        return 0.55
    # A field of its own in which one separator was lost; 5-4 would be a ZIP+4 code.
    if page.bare and re.fullmatch(r"\d{3}-\d{6}", written):
        return 0.4
    return 0.0


def _is_issuable_ssn(digits: str) -> bool:
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    if area in ("000", "666") or group == "00" or serial == "0000" or len(set(digits)) == 1:
        return False
    if area[0] == "9":  # individual taxpayer numbers share the shape; they are national ids
        return False
    return digits not in ("123456789", "987654321")


US_SSN = Detector("us_ssn", (_SSN_SHAPE,), _find_ssns)


@dataclass(frozen=True, slots=True)
class _Scheme:
    """A national number: what it looks like and how it is checked."""

    shape: str
    check: Callable[[str], bool]

    def fits(self, written: str) -> bool:
        return bool(_compiled(self.shape).fullmatch(written)) and self.check(written)


@functools.cache
def _compiled(shape: str) -> re.Pattern[str]:
    return re.compile(shape, re.IGNORECASE)


@functools.cache
def _stdnum_check(module: str) -> Callable[[str], bool]:
    valid: Callable[[str], bool] = importlib.import_module(f"stdnum.{module}").is_valid
    return valid


def _checked_by(module: str) -> Callable[[str], bool]:
    """Load the country's module only when something looks like its number."""

    def check(written: str) -> bool:
        return _stdnum_check(module)(written)

    return check


def _always(_written: str) -> bool:
    return True


def _is_finnish_id(written: str) -> bool:
    """Temporary numbers (individual part from 900 on) belong to people as well."""
    return bool(importlib.import_module("stdnum.fi.hetu").is_valid(written, allow_temporary=True))


def _is_korean_date(written: str) -> bool:
    """The first six digits are a birthday and the seventh tells the century (recent numbers have no check
    digit)."""
    century = {"1": 1900, "2": 1900, "3": 2000, "4": 2000, "5": 1900, "6": 1900, "7": 2000, "8": 2000}
    digits = re.sub(r"\D", "", written)
    if digits[6] not in century:
        return False
    try:
        date(century[digits[6]] + int(digits[:2]), int(digits[2:4]), int(digits[4:6]))
    except ValueError:
        return False
    return True


_NINO_LETTERS = "[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
_SINGAPORE_WEIGHTS = (2, 7, 6, 5, 4, 3, 2)
_SINGAPORE_LETTERS = {"S": "JZIHGFEDCBA", "T": "GFEDCBAJZIH", "F": "XWUTRQPNMLK", "G": "RQPNMLKXWUT"}


def _is_singapore_id(written: str) -> bool:
    """The check letter of NRIC and FIN; the M series (since 2022) is taken on its shape, next to a cue."""
    letters = _SINGAPORE_LETTERS.get(written[0].upper())
    if letters is None:
        return True
    total = sum(w * int(d) for w, d in zip(_SINGAPORE_WEIGHTS, written[1:8], strict=True))
    return letters[total % 11] == written[8].upper()


_D = "[ .-]?"

# Shape and check digits together are rare enough to need no word beside them.
_STANDING_ALONE: tuple[_Scheme, ...] = (
    _Scheme(r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", _is_finnish_id),
    _Scheme(r"[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]", _checked_by("it.codicefiscale")),
    _Scheme(r"[A-Z]{4}\d{6}[HM][A-Z]{5}[0-9A-Z]\d", _checked_by("mx.curp")),
    _Scheme(r"\d{3}\.\d{3}\.\d{3}-\d\d", _checked_by("br.cpf")),
    _Scheme(r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d", _checked_by("be.nn")),
    _Scheme(r"\d{17}[0-9X]", _checked_by("cn.ric")),
    _Scheme(r"\d{6}-[1-8]\d{6}", _is_korean_date),
    _Scheme(r"756\.\d{4}\.\d{4}\.\d\d", _checked_by("ch.ssn")),
    _Scheme(r"[XYZ]-?\d{7}-?[A-Z]", _checked_by("es.nie")),
    _Scheme(r"9\d\d-\d\d-\d{4}", _checked_by("us.itin")),
)

# A whole field that is nothing else: worth a look, not sure enough to reject.
_LONE: tuple[_Scheme, ...] = (
    _Scheme(r"(?:18|19|20)\d{6}-?\d{4}", _checked_by("se.personnummer")),
    _Scheme(r"\d{8}-?[A-Z]", _checked_by("es.dni")),
    _Scheme(r"[STFG]\d{7}[A-Z]", _is_singapore_id),
    _Scheme(r"[2-9]\d{3}([ -]?)\d{4}\1\d{4}", _checked_by("in_.aadhaar")),
    _Scheme(r"\d{3}[ -]\d{3}[ -]\d{3}", _checked_by("ca.sin")),
    _Scheme(r"\d{3}[ -]\d{3}[ -]\d{4}", _checked_by("gb.nhs")),
    _Scheme(rf"{_NINO_LETTERS}{_D}\d\d{_D}\d\d{_D}\d\d{_D}[A-D]", _always),
    _Scheme(r"[1-9]\d{10}", _checked_by("tr.tckimlik")),
    _Scheme(r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]", _always),
    _Scheme(r"[1-9][A-Z][A-Z0-9]\d-?[A-Z][A-Z0-9]\d-?[A-Z]{2}\d\d", _always),
)

_ID_WORDS = r"national id|id (?:card|no|number|code)|identity (?:card|no|number|code)|personal (?:id|no|number|code)"

# Bare digits count only after a word that announces them.
_ANNOUNCED: tuple[tuple[str, _Scheme], ...] = (
    (
        r"sin|nas|social insurance|assurance sociale",
        _Scheme(rf"\d{{3}}{_D}\d{{3}}{_D}\d{{3}}", _checked_by("ca.sin")),
    ),
    (
        r"nino|ni (?:no|number)|national insurance",
        _Scheme(rf"{_NINO_LETTERS}{_D}\d\d{_D}\d\d{_D}\d\d{_D}[A-D]", _always),
    ),
    (r"nhs", _Scheme(rf"\d{{3}}{_D}\d{{3}}{_D}\d{{4}}", _checked_by("gb.nhs"))),
    (r"dni|nif|documento", _Scheme(r"\d{8}-?[A-Z]", _checked_by("es.dni"))),
    (
        r"nir|s[ée]curit[ée] sociale|insee",
        _Scheme(rf"[12]{_D}\d\d{_D}\d\d{_D}\d[0-9AB]{_D}\d{{3}}{_D}\d{{3}}{_D}\d\d", _checked_by("fr.nir")),
    ),
    (
        r"steuer-?id(?:nr|entifikationsnummer)?|idnr|steuernummer|tax id",
        _Scheme(rf"\d{{2}}{_D}\d{{3}}{_D}\d{{3}}{_D}\d{{3}}", _checked_by("de.idnr")),
    ),
    (r"pesel", _Scheme(r"\d{11}", _checked_by("pl.pesel"))),
    (r"aadhaa?r|uidai", _Scheme(r"\d{4}[ -]?\d{4}[ -]?\d{4}", _checked_by("in_.aadhaar"))),
    (r"pan(?: (?:card|no|number))", _Scheme(r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]", _checked_by("in_.pan"))),
    (r"tckn|t\.?c\.? kimlik|kimlik", _Scheme(r"\d{11}", _checked_by("tr.tckimlik"))),
    (
        rf"personnummer|swedish id(?: code)?|pnr|{_ID_WORDS}",
        _Scheme(r"(?:\d\d)?\d{6}[-+]?\d{4}", _checked_by("se.personnummer")),
    ),
    (r"cpr|personnummer", _Scheme(r"\d{6}-?\d{4}", _checked_by("dk.cpr"))),
    (r"f[øo]dselsnummer|personnummer|fnr", _Scheme(r"\d{6} ?\d{5}", _checked_by("no.fodselsnummer"))),
    (r"bsn|sofinummer|burgerservicenummer", _Scheme(r"\d{9}", _checked_by("nl.bsn"))),
    (r"cpf", _Scheme(r"\d{11}", _checked_by("br.cpf"))),
    (r"rut", _Scheme(r"\d{1,2}\.?\d{3}\.?\d{3}-?[0-9K]", _checked_by("cl.rut"))),
    (rf"rrn|resident registration|{_ID_WORDS}", _Scheme(r"\d{6}-?\d{7}", _is_korean_date)),
    (rf"thai id|{_ID_WORDS}", _Scheme(r"\d[ -]?\d{4}[ -]?\d{5}[ -]?\d\d[ -]?\d", _checked_by("th.pin"))),
    (rf"sa id|rsa id|{_ID_WORDS}", _Scheme(r"\d{13}", _checked_by("za.idnr"))),
    (r"tfn|tax file(?: number| no)?", _Scheme(r"\d{3} ?\d{3} ?\d{3}", _checked_by("au.tfn"))),
    (rf"nric|{_ID_WORDS}", _Scheme(r"[STFGM]\d{7}[A-Z]", _is_singapore_id)),
    (r"cnp", _Scheme(r"\d{13}", _checked_by("ro.cnp"))),
    (r"rodn[ée] [čc][íi]slo", _Scheme(r"\d{6}/?\d{3,4}", _checked_by("cz.rc"))),
    (r"teudat zehut|israeli id", _Scheme(r"\d{9}", _checked_by("il.idnr"))),
    (r"cnic|nadra", _Scheme(r"\d{5}-?\d{7}-?\d", _checked_by("pk.cnic"))),
    (r"itin|tax id|taxpayer", _Scheme(r"9\d\d-?\d\d-?\d{4}", _checked_by("us.itin"))),
    (
        r"mbi|medicare|patient",
        _Scheme(r"[1-9][A-Z][A-Z0-9]\d-?[A-Z][A-Z0-9]\d-?[A-Z]{2}\d\d", _always),
    ),
    (
        r"passports?(?: (?:no|number|num|nr|is|#))?|reisepass(?:nummer)?|passeport|pasaporte|passnummer",
        _Scheme(r"(?=[A-Z]*\d[A-Z]*\d)[A-Z0-9]{6,12}", _always),
    ),
    (
        r"driver'?s?'? licen[cs]e|driving licen[cs]e|dvla(?: no)?|f[üu]hrerschein(?:nummer)?|fahrerlaubnis",
        _Scheme(
            r"(?=[A-Z]*\d[A-Z]*\d)[A-Z0-9]{5,18}(?: \d\d)?|[A-Z]{5} \d{3} ?\d{3} ?[A-Z0-9]{5}(?: \d\d)?",
            _always,
        ),
    ),
    (
        r"(?:health insurance|krankenkasse|kvnr|egk)(?:[ -]?(?:kvnr|nummer|number|no))?",
        _Scheme(r"[A-Z]\d{9}", _always),
    ),
)
_CUES = tuple((re.compile(rf"(?<!\w)(?:{cue})(?!\w)", re.IGNORECASE), scheme) for cue, scheme in _ANNOUNCED)

_STANDING_SHAPES = "(?i)" + "|".join(scheme.shape for scheme in _STANDING_ALONE)
_STANDING = pattern(_STANDING_SHAPES)
# RE2 knows only ASCII letters as word characters, so a boundary beside an accent may be missing or extra:
# the exact cues in Python decide.
_ANY_CUE_SHAPE = (
    r"(?i)\b(?:" + "|".join(dict.fromkeys(cue for cue, _scheme in _ANNOUNCED)) + r")(?:[^\pL\d_]|"
    r"$)"
)
_ANY_CUE = pattern(_ANY_CUE_SHAPE)
_TOKENS = re.compile(r"[^\s,;:()\[\]\"'<>=]+")
_CUE_REACH = 72
_MOST_GROUPS = 8
_LONE_LIMIT = 20
# A short text without a lower-case word: a field of its own.
_LONE_SHAPE = r"(?i)^\s*[a-z]{0,5}[ .\-]?[0-9][a-z0-9 .\-]{5,18}\s*$"
_LONE_PATTERN = pattern(_LONE_SHAPE)


def _find_national_ids(page: Page) -> Iterator[Finding]:
    for match in page.matches(_STANDING):
        start, end = match.span()
        if not _is_piece(page, start, end) and _fits_any(page.text[start:end], _STANDING_ALONE):
            yield Finding("national_id", start, end, 0.7)
    for match in page.matches(_ANY_CUE):
        yield from _after_cue(page, match.start(), match.end())
    yield from _whole_field(page)


def _after_cue(page: Page, cue_start: int, cue_end: int) -> Iterator[Finding]:
    """Numbers in the stretch after an announcing word, of the countries that the word announces."""
    around = page.text[max(0, cue_start - 1) : cue_end + 24]
    schemes = [scheme for cue, scheme in _CUES if cue.search(around)]
    groups = [m.span() for m in _TOKENS.finditer(page.text, cue_end, min(len(page.text), cue_end + _CUE_REACH))]
    first = 0
    while schemes and first < len(groups):
        last = _longest_id(page, groups, first, schemes)
        if last is None:
            first += 1
            continue
        yield Finding("national_id", groups[first][0], _without_stop(page.text, groups[last][1]), 0.7)
        first = last + 1


def _without_stop(text: str, end: int) -> int:
    return end - 1 if text[end - 1] in ".!?" else end


def _longest_id(page: Page, groups: list[tuple[int, int]], first: int, schemes: Sequence[_Scheme]) -> int | None:
    """The last of the space-separated groups that together are a national number, if any are."""
    for last in range(min(len(groups), first + _MOST_GROUPS) - 1, first - 1, -1):
        start, end = groups[first][0], _without_stop(page.text, groups[last][1])
        if not page.inside_word(start, end) and _fits_any(page.text[start:end], schemes):
            return last
    return None


def _whole_field(page: Page) -> Iterator[Finding]:
    written = page.text.strip() if len(page.text) <= 2 * _LONE_LIMIT else ""
    if written and any(page.matches(_LONE_PATTERN)) and _fits_any(written, _LONE):
        start = page.text.index(written)
        yield Finding("national_id", start, start + len(written), 0.4)


def _fits_any(written: str, schemes: Sequence[_Scheme]) -> bool:
    return any(scheme.fits(written) for scheme in schemes)


def _is_piece(page: Page, start: int, end: int) -> bool:
    return page.inside_word(start, end) or _glued(page, start, end) or page.inside_url(start)


def _glued(page: Page, start: int, end: int) -> bool:
    """A hyphen, slash or decimal point on either side means that more belongs to it."""
    return bool(re.search(r"[\w][-./]\Z", page.before(start, 2)) or re.match(r"[-/.]\w", page.after(end, 2)))


# Parts that each standing shape contains, without the runs of letters that would slow the first stage down.
_STANDING_TRIGGER = (
    r"(?i)\d{6}[-+A-FU-Y]\d{3}|[A-Z]\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]|[A-Z]\d{6}[HM][A-Z]{5}|"
    r"\d{3}\.\d{3}\.\d{3}-\d\d|\d\d\.\d\d\.\d\d-\d{3}\.\d\d|\d{17}|\d{6}-\d{6}|756\.\d{4}\.|[XYZ]-?\d{7}|"
    r"9\d\d-\d\d-\d{4}"
)
NATIONAL_ID = Detector("national_id", (_STANDING_TRIGGER, _ANY_CUE_SHAPE, _LONE_SHAPE), _find_national_ids)
