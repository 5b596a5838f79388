"""Personal numbers that countries issue: what they look like, how they are checked, what announces them.

Three tables, from the surest to the least sure:

* `STANDING_ALONE`: shape and check digits together are rare enough to need no word beside them;
* `WHOLE_FIELD`: check digits or a birthday carry some weight when a field holds nothing else;
* `ANNOUNCED` and `NAMED`: the number counts after (or just before) a word that says what it is.

Check digits come from `python-stdnum` where it knows the scheme. Where it does not, the source of the formula stands in
the function that computes it.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

Check = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Scheme:
    """A personal number: what it looks like and how it is checked."""

    shape: str
    check: Check

    def fits(self, written: str) -> bool:
        """True when the text is this number and nothing else, with or without separators that people write."""
        return bool(_compiled(self.shape).fullmatch(written)) and not _is_monotone(written) and self.check(written)

    def length_at(self, text: str, start: int) -> int:
        """How many characters from `start` on are this number; 0 when it does not begin there."""
        match = _compiled(self.shape).match(text, start)
        return match.end() - start if match and self.check(match.group()) else 0


def _is_monotone(written: str) -> bool:
    """One digit over and over fills a form; some check digits let it through."""
    return len(set(written)) < 2


@functools.lru_cache(maxsize=512)
def _compiled(shape: str) -> re.Pattern[str]:
    return re.compile(shape, re.IGNORECASE)


@functools.cache
def _stdnum_check(module: str) -> Check:
    valid: Check = importlib.import_module(f"stdnum.{module}").is_valid
    return valid


def _checked_by(module: str) -> Check:
    """Load the country's module only when something looks like its number."""

    def check(written: str) -> bool:
        try:
            return _stdnum_check(module)(written)
        except (LookupError, ValueError):
            # Some modules fail on numbers of places that their tables do not know.
            return False

    return check


def _always(_written: str) -> bool:
    return True


def _digits(written: str) -> str:
    return re.sub(r"\D", "", written)


def _letters_and_digits(written: str) -> str:
    return re.sub(r"[^0-9A-Z]", "", written.upper())


def _is_day(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _weighted(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def _is_finnish_id(written: str) -> bool:
    """Temporary numbers (individual part from 900 on) belong to people as well."""
    return bool(importlib.import_module("stdnum.fi.hetu").is_valid(written, allow_temporary=True))


def _is_chinese_id(written: str) -> bool:
    """Birthday and check digit; places are not looked up, since old ones have left the tables."""
    ric = importlib.import_module("stdnum.cn.ric")
    number = written.upper()
    in_time = 1900 <= int(number[6:10]) <= 2099 and _is_day(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    return number[0] in "12345678" and in_time and ric.calc_check_digit(number) == number[-1]


def _is_korean_id(written: str) -> bool:
    """The first six digits are a birthday and the seventh tells the century (recent numbers have no check digit)."""
    century = {"1": 1900, "2": 1900, "3": 2000, "4": 2000, "5": 1900, "6": 1900, "7": 2000, "8": 2000}
    digits = _digits(written)
    if digits[6] not in century:
        return False
    return _is_day(century[digits[6]] + int(digits[:2]), int(digits[2:4]), int(digits[4:6]))


_SINGAPORE_WEIGHTS = (2, 7, 6, 5, 4, 3, 2)
_SINGAPORE_LETTERS = {
    "S": (0, "JZIHGFEDCBA"),
    "T": (4, "JZIHGFEDCBA"),
    "F": (0, "XWUTRQPNMLK"),
    "G": (4, "XWUTRQPNMLK"),
    "M": (3, "XWUTRQPNJLK"),
}


def _is_singapore_id(written: str) -> bool:
    """The check letter of NRIC and FIN, as the Immigration and Checkpoints Authority computes it."""
    offset, letters = _SINGAPORE_LETTERS[written[0].upper()]
    return letters[(offset + _weighted(written[1:8], _SINGAPORE_WEIGHTS)) % 11] == written[8].upper()


def _document_check_digit(characters: str) -> int:
    """ICAO 9303 part 3: weights 7, 3, 1 over digits and letters (A = 10 …), modulo 10."""
    return sum(int(char, 36) * (7, 3, 1)[place % 3] for place, char in enumerate(characters)) % 10


def _is_checked_document(written: str) -> bool:
    """A German identity card or passport: nine characters, the last the ICAO check digit; not a security's number."""
    number = written.upper()
    if sum(char.isdigit() for char in number) < 4 or _stdnum_check("cusip")(number):
        return False
    return _document_check_digit(number[:8]) == int(number[8])


def _is_polish_card(written: str) -> bool:
    """Polish identity card: three letters, then a check digit and five digits (weights 7 3 1 _ 7 3 1 7 3)."""
    number = _letters_and_digits(written)
    values = [int(char, 36) for char in number[:3] + number[4:]]
    total = sum(value * weight for value, weight in zip(values, (7, 3, 1, 7, 3, 1, 7, 3), strict=True))
    return total % 10 == int(number[3])


def _is_german_insured(written: str) -> bool:
    """Health insurance number (section 290 SGB V): letter as two digits, weights 1 and 2, sum of digits modulo 10."""
    number = f"{ord(written[0].upper()) - 64:02d}" + written[1:]
    products = (int(digit) * (1 + place % 2) for place, digit in enumerate(number[:-1]))
    return sum(product // 10 + product % 10 for product in products) % 10 == int(number[-1])


def _is_german_pensioner(written: str) -> bool:
    """Pension insurance number (VKVV section 2): area, birthday, letter, serial, check digit."""
    number = _letters_and_digits(written)
    day, month = int(number[2:4]) % 50, int(number[4:6])
    if not (1 <= day <= 31 and 1 <= month <= 12):
        return False
    spelled = number[:8] + f"{ord(number[8]) - 64:02d}" + number[9:11]
    products = (int(d) * w for d, w in zip(spelled, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=True))
    return sum(product // 10 + product % 10 for product in products) % 10 == int(number[11])


def _is_british_driver(written: str) -> bool:
    """Birthday inside the number: decade, month (plus 50 for women), day, year."""
    month, day = int(written[6:8]), int(written[8:10])
    return (1 <= month <= 12 or 51 <= month <= 62) and 1 <= day <= 31


def _is_taxpayer(written: str) -> bool:
    """US individual taxpayer number: groups that the IRS issues (50 to 65, 70 to 88, 90 to 92, 94 to 99)."""
    group = int(_digits(written)[3:5])
    return 50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or group >= 94


def _is_australian_medicare(written: str) -> bool:
    """Weights 1 3 7 9 1 3 7 9 over eight digits, modulo 10, is the ninth; the tenth counts cards."""
    digits = _digits(written)
    return digits[0] in "23456" and _weighted(digits[:8], (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == int(digits[8])


def _is_thai_id(written: str) -> bool:
    """Bare digits that begin with 1 could as well be a moment in milliseconds, and others an article number."""
    if written.isdigit() and (written[0] in "09" or written[0] == "1" or _stdnum_check("ean")(written)):
        return False
    return _stdnum_check("th.pin")(written)


def _is_french_id(written: str) -> bool:
    """Control key 97 minus the number modulo 97, with Corsica as 19 and 18; the month may be a code above 12."""
    number = _letters_and_digits(written).replace("2A", "19", 1).replace("2B", "18", 1)
    if not number.isdigit() or len(number) != 15 or not (1 <= int(number[3:5]) <= 12 or int(number[3:5]) >= 20):
        return False
    return 97 - int(number[:13]) % 97 == int(number[13:])


def _is_egyptian_id(written: str) -> bool:
    century = {"2": 1900, "3": 2000}
    return written[0] in century and _is_day(
        century[written[0]] + int(written[1:3]), int(written[3:5]), int(written[5:7])
    )


def _is_iranian_id(written: str) -> bool:
    digits = _digits(written)
    rest = _weighted(digits[:9], (10, 9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return len(set(digits)) > 1 and int(digits[9]) == (rest if rest < 2 else 11 - rest)


def _is_snils(written: str) -> bool:
    """Russian pension number: weights 9 to 1, modulo 101, 100 written as 00."""
    digits = _digits(written)
    return _weighted(digits[:9], (9, 8, 7, 6, 5, 4, 3, 2, 1)) % 101 % 100 == int(digits[9:]) and int(digits) > 0


def _is_hong_kong_id(written: str) -> bool:
    """Letters count from A = 10, a missing first letter as 36; weights 9 to 1, modulo 11, A for 10."""
    number = _letters_and_digits(written)
    head, check = number[:-1].rjust(8), 10 if number[-1] == "A" else int(number[-1], 36)
    values = [36 if char == " " else int(char, 36) for char in head]
    return (sum(value * (9 - place) for place, value in enumerate(values)) + check) % 11 == 0


def _is_taiwanese_id(written: str) -> bool:
    number = written.upper()
    code = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(number[0]) + 10
    total = code // 10 + code % 10 * 9 + _weighted(number[1:9], (8, 7, 6, 5, 4, 3, 2, 1))
    return (total + int(number[9])) % 10 == 0


def _is_uruguayan_id(written: str) -> bool:
    digits = _digits(written)
    return -_weighted(digits[:7], (2, 9, 8, 7, 6, 3, 4)) % 10 == int(digits[7])


def _is_latvian_birthday(written: str) -> bool:
    digits = _digits(written)
    century = {"0": 1800, "1": 1900, "2": 2000}.get(digits[6])
    return century is not None and _is_day(century + int(digits[4:6]), int(digits[2:4]), int(digits[:2]))


def _is_icelandic_id(written: str) -> bool:
    return _stdnum_check("is_.kennitala")(written) and int(_digits(written)[:2]) <= 31


def _is_japanese_number(written: str) -> bool:
    """My Number: weights 6 5 4 3 2 7 6 5 4 3 2, modulo 11 (Ministry of Internal Affairs ordinance 85 of 2014)."""
    digits = _digits(written)
    rest = _weighted(digits[:11], (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return int(digits[11]) == (0 if rest <= 1 else 11 - rest)


def _is_german_taxpayer(written: str) -> bool:
    """The check digit only: next to its name, numbers that repeat no digit (none are issued) count as well."""
    return bool(importlib.import_module("stdnum.iso7064.mod_11_10").is_valid(_digits(written)))


def _unlike_an_article(module: str) -> Check:
    """Thirteen digits that are a valid article number (EAN-13, ISBN-13) as well say nothing on their own."""
    check = _checked_by(module)
    return lambda written: not _stdnum_check("ean")(written) and check(written)


def _is_bare_korean_id(written: str) -> bool:
    """Thirteen bare digits need the check digit too, which numbers given out since October 2020 no longer have."""
    without_check = written[6] in "3478" and int(written[:2]) >= 20
    return _is_korean_id(written) and (without_check or _stdnum_check("kr.rrn")(written))


def _is_portuguese_card(written: str) -> bool:
    return _stdnum_check("pt.cc")(_letters_and_digits(written))


def _is_bulgarian_id(written: str) -> bool:
    return not _stdnum_check("isbn")(written) and _stdnum_check("bg.egn")(written)


def _is_luhn(written: str) -> bool:
    return _stdnum_check("luhn")(_digits(written))


_D = "[ .-]?"
_NINO = rf"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]{_D}\d\d{_D}\d\d{_D}\d\d{_D}[A-D]"
_MBI_LETTER, _MBI_EITHER = "[AC-HJKMNP-RT-Y]", "[AC-HJKMNP-RT-Y0-9]"
_MBI = rf"[1-9]{_MBI_LETTER}{_MBI_EITHER}\d-?{_MBI_LETTER}{_MBI_EITHER}\d-?{_MBI_LETTER}{{2}}\d\d"
_PAN = r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]"
_NIR = rf"[1-478]{_D}\d\d{_D}\d\d{_D}\d[0-9AB]{_D}\d{{3}}{_D}\d{{3}}{_D}\d\d"
_BRITISH_DRIVER = r"[A-Z][A-Z9]{4}\d[0156]\d[0-3]\d\d[A-Z9]{2}[A-Z0-9][A-Z]{2}"

STANDING_ALONE: tuple[Scheme, ...] = (
    Scheme(r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", _is_finnish_id),
    Scheme(r"[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]", _checked_by("it.codicefiscale")),
    Scheme(r"[A-Z]{4}\d{6}[HM][A-Z]{5}[0-9A-Z]\d", _checked_by("mx.curp")),
    Scheme(r"\d{3}\.\d{3}\.\d{3}-\d\d", _checked_by("br.cpf")),
    Scheme(r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d", _checked_by("be.nn")),
    Scheme(r"\d{17}[0-9X]", _is_chinese_id),
    Scheme(r"\d{6}-[1-8]\d{6}", _is_korean_id),
    Scheme(r"756\.\d{4}\.\d{4}\.\d\d", _checked_by("ch.ssn")),
    Scheme(r"[XYZ]-?\d{7}-?[A-Z]", _checked_by("es.nie")),
    Scheme(r"9\d\d-\d\d-\d{4}", _is_taxpayer),
    Scheme(r"[12] \d\d \d\d \d[0-9AB] \d{3} \d{3} \d\d", _is_french_id),
    Scheme(r"\d{1,2}\.\d{3}\.\d{3}-[0-9K]", _checked_by("cl.rut")),
    Scheme(r"[1-9]\.\d{3}\.\d{3}-\d", _is_uruguayan_id),
    Scheme(r"\d{6}/\d{4}", _checked_by("cz.rc")),
    Scheme(r"\d{8}-?\d ?[A-Z]{2}\d", _is_portuguese_card),
    Scheme(r"\d{3}-\d{3}-\d{3} \d\d", _is_snils),
    Scheme(r"[A-Z]{1,2}\d{6}\([0-9A]\)", _is_hong_kong_id),
    Scheme(r"\d-\d{4}-\d{5}-\d\d-\d", _checked_by("th.pin")),
    Scheme(r"\d{5}-\d{7}-\d", _checked_by("pk.cnic")),
    Scheme(r"\d{6}-\d\d-\d{4}", _checked_by("my.nric")),
    Scheme(_BRITISH_DRIVER, _is_british_driver),
    Scheme(r"\d{8}[A-Z]\d{3}", _is_german_pensioner),
)

WHOLE_FIELD: tuple[Scheme, ...] = (
    Scheme(r"(?:18|19|20)\d{6}-?\d{4}", _checked_by("se.personnummer")),
    Scheme(r"\d{6}[-+]\d{4}", _checked_by("se.personnummer")),
    Scheme(r"\d{8}[- ]?[A-Z]", _checked_by("es.dni")),
    Scheme(r"[XYZ] ?\d{7} ?[A-Z]", _checked_by("es.nie")),
    Scheme(r"[STFGM]\d{7}[A-Z]", _is_singapore_id),
    Scheme(r"[2-9]\d{3}([ -]?)\d{4}\1\d{4}", _checked_by("in_.aadhaar")),
    Scheme(r"\d{3}([ -])\d{3}\1\d{3}", _checked_by("ca.sin")),
    Scheme(r"\d{3}([ -])\d{3}\1\d{4}", _checked_by("gb.nhs")),
    Scheme(_NINO, _always),
    Scheme(r"[1-9]\d{10}", _checked_by("tr.tckimlik")),
    Scheme(_PAN, _always),
    Scheme(_MBI, _always),
    # Birthday and check digit, or two check digits.
    Scheme(r"[1-9]\d{10}", _checked_by("pl.pesel")),
    Scheme(r"[1-9]\d{10}", _checked_by("ee.ik")),
    Scheme(r"[1-9]\d{5} ?\d{5}|0\d{5} \d{5}", _checked_by("no.fodselsnummer")),
    Scheme(r"[1-9]\d{10}", _checked_by("be.nn")),
    Scheme(r"[1-9]\d{10}", _checked_by("br.cpf")),
    Scheme(r"[1-9]\d{10}", _checked_by("gr.amka")),
    Scheme(r"[1-9]\d ?\d{3} ?\d{3} ?\d{3}", _checked_by("de.idnr")),
    Scheme(r"\d{13}", _unlike_an_article("ro.cnp")),
    Scheme(r"\d{13}", _unlike_an_article("si.emso")),
    Scheme(r"\d{13}", _unlike_an_article("za.idnr")),
    Scheme(r"\d{13}", _is_bare_korean_id),
    Scheme(r"\d{13}", _is_thai_id),
    Scheme(r"\d ?\d{4} ?\d{5} ?\d\d ?\d", _is_thai_id),
    # A leading zero is left to phone numbers.
    Scheme(r"[1-9]\d{9}", _is_bulgarian_id),
    Scheme(_NIR, _is_french_id),
    Scheme(r"\d{16}|\d\d\.\d{4}\.\d{6}\.\d{4}", _checked_by("id.nik")),
    Scheme(r"\d{6}[ -]\d{4}", _is_icelandic_id),
    Scheme(r"\d{6}-\d{4}", _checked_by("dk.cpr")),
    Scheme(r"\d{6}-\d{5}", _is_latvian_birthday),
    Scheme(r"\d{6}/\d{3}", _checked_by("cz.rc")),
    Scheme(r"\d{7,8}-[0-9K]", _checked_by("cl.rut")),
    Scheme(r"[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{7}\d", _is_checked_document),
    Scheme(r"[A-Z]{3} ?\d{6}", _is_polish_card),
    Scheme(r"[A-Z]\d{9}", _is_german_insured),
    Scheme(r"[A-Z]{3}\d{7}", _checked_by("in_.epic")),
    Scheme(r"[A-Z]{1,2}\d{6}[0-9A]", _is_hong_kong_id),
    Scheme(r"[A-Z][12]\d{8}", _is_taiwanese_id),
    Scheme(r"\d{7}[A-W][A-IW]?", _checked_by("ie.pps")),
    # Shapes that nothing else has: Korean passports of today, Italian and Korean driving licences.
    Scheme(r"[MSRODG]\d{3}[A-Z]\d{4}", _always),
    Scheme(r"U1(?=\w*\d)[BCDFGHLJKMNPQRSTUVWXYZ0-9]{7}[A-Z]", _always),
    Scheme(r"(?:1[1-9]|2[0-8])([ -])\d\d\1\d{6}\1\d\d", _always),
)

_CARD_WORDS = (
    r"(?:national|personal|government|citizen|civil|resident)[ -](?:id|identity|identification|registration)"
    r"(?:[ -](?:card|code|no|number|nr))?|identity (?:card|no|number|code|document)s?|id[ -]cards?|"
    r"(?:my|his|her|their) id|personalausweis|personalausweis(?:nummer|nr)|ausweis(?:nummer|nr)|"
    r"carte (?:nationale )?d'identit[ée]|documento (?:nacional )?de identidad|"
    r"c[ée]dula(?: de (?:identidad|ciudadan[íi]a))?|carta d'identit[àa]|henkil[öo]tunnus|isikukood|asmens kodas|"
    r"personas kods|dow[óo]d(?: osobisty)?|nik|ktp|cccd|cmnd|hkid|umid"
)
_ID_WORDS = rf"{_CARD_WORDS}|id (?:no|number|code)|personal (?:code|no|number)"

# After these words the number of one country, with its check digits, may stand anywhere in the next few words.
ANNOUNCED: tuple[tuple[str, Scheme], ...] = (
    (r"sin|nas|social insurance|assurance sociale", Scheme(rf"\d{{3}}{_D}\d{{3}}{_D}\d{{3}}", _is_luhn)),
    (r"nino|ni (?:no|number)|national insurance", Scheme(_NINO, _always)),
    (r"nhs", Scheme(rf"\d{{3}}{_D}\d{{3}}{_D}\d{{4}}", _checked_by("gb.nhs"))),
    (r"utr|unique taxpayer", Scheme(r"\d{5} ?\d{5}K?", _checked_by("gb.utr"))),
    (r"trn|temporary reference number|paye(?: temp\w*)?", Scheme(r"\d\d ?[A-Z] ?\d{3} ?\d\d", _always)),
    (r"d\.?n\.?i\.?|nif|documento", Scheme(r"\d{8}[- ]?[A-Z]", _checked_by("es.dni"))),
    (r"nie", Scheme(r"[XYZ][- ]?\d{7}[- ]?[A-Z]", _checked_by("es.nie"))),
    (r"nir|num[ée]ro de s[ée]cu\w*|s[ée]curit[ée] sociale|insee", Scheme(_NIR, _is_french_id)),
    (
        r"num[ée]ro fiscal|nif|spi",
        Scheme(rf"[0-3]\d{_D}\d\d{_D}\d{{3}}{_D}\d{{3}}{_D}\d{{3}}", _checked_by("fr.nif")),
    ),
    (
        r"steuer-?id(?:nr|ent\w*)?|steuerliche identifikationsnummer|idnr|tin|steuernummer|tax id",
        Scheme(rf"\d{{2}}{_D}\d{{3}}{_D}\d{{3}}{_D}\d{{3}}", _is_german_taxpayer),
    ),
    (
        r"(?:renten|sozial)versicherungs(?:nummer|nr)|svnr|sv-nummer|rvnr",
        Scheme(rf"\d\d{_D}\d{{6}}{_D}[A-Z]{_D}\d{{3}}", _is_german_pensioner),
    ),
    (r"svnr|sv-nummer|sozialversicherungs(?:nummer|nr)", Scheme(r"\d{4} ?\d{6}", _checked_by("at.vnr"))),
    (r"abgabenkontonummer|steuernummer|tax id", Scheme(r"\d\d-?\d{3}/?\d{4}", _checked_by("at.tin"))),
    (r"pesel", Scheme(r"\d{11}", _checked_by("pl.pesel"))),
    (r"aadhaa?r|uidai", Scheme(r"\d{4}[ -]?\d{4}[ -]?\d{4}", _checked_by("in_.aadhaar"))),
    (rf"pan(?: (?:card|no|number|is))?|{_ID_WORDS}", Scheme(_PAN, _always)),
    (r"voter(?: id)?(?: card| no| number)?|epic (?:no|number)", Scheme(r"[A-Z]{3}\d{7}", _always)),
    (r"vote|election|epic", Scheme(r"[A-Z]{3}\d{7}", _checked_by("in_.epic"))),
    (r"tckn|t\.?c\.? kimlik|kimlik", Scheme(r"\d{11}", _checked_by("tr.tckimlik"))),
    (
        rf"personnummer|samordningsnummer|swedish id(?: code)?|pnr|{_ID_WORDS}",
        Scheme(r"(?:\d\d)?\d{6}[-+]?\d{4}", _checked_by("se.personnummer")),
    ),
    (r"cpr(?:[ -](?:nr|number|nummer))?|personnummer", Scheme(r"\d{6}[- ]?\d{4}", _checked_by("dk.cpr"))),
    (r"f[øo]dselsnummer|personnummer|fnr", Scheme(r"\d{6} ?\d{5}", _checked_by("no.fodselsnummer"))),
    (r"kennitala|kt", Scheme(r"\d{6}[- ]?\d{4}", _checked_by("is_.kennitala"))),
    (r"bsn|sofi-?nummer|burgerservicenummer", Scheme(r"\d{4}[. ]?\d\d[. ]?\d{2,3}", _checked_by("nl.bsn"))),
    (
        r"rijksregisternummer|insz|niss|num[ée]ro national|registre national|rrn",
        Scheme(rf"\d\d{_D}\d\d{_D}\d\d{_D}\d{{3}}{_D}\d\d", _checked_by("be.nn")),
    ),
    (r"cpf", Scheme(rf"\d{{3}}{_D}\d{{3}}{_D}\d{{3}}{_D}\d\d", _checked_by("br.cpf"))),
    (r"rut|run", Scheme(r"\d{1,2}\.?\d{3}\.?\d{3}-?[0-9K]", _checked_by("cl.rut"))),
    (r"curp", Scheme(r"[A-Z]{4}\d{6}[HM][A-Z]{5}[0-9A-Z]\d", _always)),
    (r"rfc", Scheme(r"[A-ZÑ&]{4}\d{6}[A-Z0-9]{3}", _checked_by("mx.rfc"))),
    (r"imss|nss|seguro social", Scheme(rf"\d\d{_D}\d\d{_D}\d\d{_D}\d{{4}}{_D}\d", _is_luhn)),
    (r"d\.?n\.?i\.?|documento", Scheme(r"\d{1,2}\.?\d{3}\.?\d{3}", _always)),
    (r"cui[tl]", Scheme(r"2[0347]-?\d{8}-?\d", _checked_by("ar.cuit"))),
    (r"c[ée]dula", Scheme(r"\d{3}-?\d{7}-?\d", _checked_by("do.cedula"))),
    (r"c[ée]dula|c\.i\.", Scheme(r"\d{9}-?\d", _checked_by("ec.ci"))),
    (r"c[ée]dula|c\.i\.", Scheme(r"\d\.?\d{3}\.?\d{3}-?\d", _is_uruguayan_id)),
    (rf"rrn|resident registration|alien registration|주민등록번호|{_ID_WORDS}", Scheme(r"\d{6}-?\d{7}", _is_korean_id)),
    (rf"thai id|{_ID_WORDS}", Scheme(r"\d[ -]?\d{4}[ -]?\d{5}[ -]?\d\d[ -]?\d", _checked_by("th.pin"))),
    (rf"sa id|rsa id|south african id|{_ID_WORDS}", Scheme(r"\d{6} ?\d{4} ?\d{3}", _checked_by("za.idnr"))),
    (r"tfn|tax file(?: number| no)?", Scheme(r"\d{3} ?\d{3} ?\d{2,3}", _checked_by("au.tfn"))),
    (r"medicare", Scheme(r"[2-6]\d{3}[ -]?\d{5}[ -]?\d", _is_australian_medicare)),
    (r"ird", Scheme(r"\d{2,3}-?\d{3}-?\d{3}", _checked_by("nz.ird"))),
    (rf"nric|fin|{_ID_WORDS}", Scheme(r"[STFGM]\d{7}[A-Z]", _is_singapore_id)),
    (r"nric|mykad|ic (?:no|number)", Scheme(r"\d{6}-?\d\d-?\d{4}", _checked_by("my.nric"))),
    (rf"nik|ktp|{_ID_WORDS}", Scheme(r"\d{16}|\d\d\.\d{4}\.\d{6}\.\d{4}", _checked_by("id.nik"))),
    (r"my ?number|individual number|マイナンバー|個人番号", Scheme(r"\d{4}[ -]?\d{4}[ -]?\d{4}", _is_japanese_number)),
    (r"cnp", Scheme(r"\d{13}", _checked_by("ro.cnp"))),
    (r"jmbg|umcn|emšo|emso|матични број|јмбг", Scheme(r"\d{13}", _checked_by("si.emso"))),
    (r"oib", Scheme(r"\d{11}", _checked_by("hr.oib"))),
    (r"egn|егн", Scheme(r"\d{10}", _checked_by("bg.egn"))),
    (r"amka|αμκα", Scheme(r"\d{11}", _checked_by("gr.amka"))),
    (r"afm|αφμ", Scheme(r"\d{9}", _checked_by("gr.vat"))),
    (r"rodn[ée] [čc][íi]slo|r\.?č\.?", Scheme(r"\d{6}/?\d{3,4}", _checked_by("cz.rc"))),
    (r"teudat zehut|israeli id|תעודת זהות", Scheme(r"\d{1,8}-?\d", _checked_by("il.idnr"))),
    (r"cnic|nadra", Scheme(r"\d{5}-?\d{7}-?\d", _checked_by("pk.cnic"))),
    (r"pps(?:n| number| no)?", Scheme(r"\d{7}[A-W][A-IW]?", _checked_by("ie.pps"))),
    (r"инн", Scheme(r"\d{12}", _checked_by("ru.inn"))),
    (r"снилс|snils", Scheme(r"\d{3}[- ]?\d{3}[- ]?\d{3}[- ]?\d\d", _is_snils)),
    (r"рнокпп|іпн|rnokpp", Scheme(r"\d{10}", _checked_by("ua.rntrc"))),
    (r"کد ملی|code melli|iranian (?:national )?id", Scheme(r"\d{3}-?\d{6}-?\d", _is_iranian_id)),
    (r"codice fiscale|cf", Scheme(r"[A-Z]{6}\w\w[A-Z]\w\w[A-Z]\w{3}[A-Z]", _always)),
    (r"nif|contribuinte", Scheme(r"[1-4]\d{2} ?\d{3} ?\d{3}", _checked_by("pt.nif"))),
    (r"ad[óo]azonos[íi]t[óo](?: jel)?", Scheme(r"8\d{9}", _always)),
    (r"itin|tax id|taxpayer|tin", Scheme(r"9\d\d[- ]?\d\d[- ]?\d{4}", _is_taxpayer)),
    (r"mbi|medicare|patient|beneficiary", Scheme(_MBI, _always)),
    (
        r"health insurance|krankenkasse|krankenversiche\w+|versichertennummer|gesundheitskarte|kvnr|egk",
        Scheme(r"[A-Z]\d{9}", _always),
    ),
)

# Dates, spans of years, prices and pixels beside the name of a document are not its number.
_NOT_A_DATE = (
    r"(?!(?:19|20)\d\d[./-]\d{1,2}[./-]\d)(?!\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\Z)"
    r"(?!(?:19|20)\d\d[-/](?:19|20)\d\d\Z)(?!\d{1,3}(?:[.,]\d{3})*[.,]\d\d\Z)(?!\d{2,4}x\d)"
)
_DOCUMENT = rf"(?=(?:[A-Z\-/]*\d){{3}}){_NOT_A_DATE}[A-Z0-9](?:[\-/]?[A-Z0-9]){{5,17}}"
_ANY_ID = (
    rf"(?=(?:[A-Z.\-/()\[\]]*\d){{4}}){_NOT_A_DATE}"
    r"[A-Z0-9](?:[.\-/]?[A-Z0-9()\[\]]){5,21}|\d{2,7}(?: \d{2,7}){1,4}[A-Z]?"
)
# The words name the document so plainly that whatever number follows at once is that number.
NAMED: tuple[tuple[str, Scheme], ...] = (
    (rf"{_CARD_WORDS}|nin|nimc|identification (?:no|number|card)", Scheme(_ANY_ID, _always)),
    (
        r"passports?|reisepass\w*|passeports?|pasaportes?|passaport[eo]s?|paspoort(?:nummer)?|passnummer|pass-nr|"
        r"pasaport|паспорт",
        Scheme(_DOCUMENT + r"|\d\d ?\d\d ?\d{6}|\d{3} \d{6}", _always),
    ),
    (
        r"driv(?:er'?s?'?|ing)[ -](?:licen[cs]e|permit)|my licen[cs]e|dvla|dl (?:no|number)|"
        r"f[üu]hrerschein\w*|fahrerlaubnis\w*|permis de conduire|patente(?: di guida)?|licencia de (?:conducir|manejo)|"
        r"carteira de motorista|cnh|rijbewijs\w*|k[öo]rkort\w*|prawo jazdy",
        Scheme(
            _DOCUMENT + r"(?: \d\d)?|[A-Z]{5} \d{3} ?\d{3} ?[A-Z0-9]{5}(?: \d\d)?|\d\d-\d\d-\d{6}-\d\d|"
            r"[A-Z]\d{3}[- ]\d{4}[- ]\d{4}|[A-Z]\d{4}[- ]\d{5}[- ]\d{5}|"
            r"[A-Z]\d{3}[- ]\d{3}[- ]\d\d[- ]\d{3}(?:[- ]\d)?",
            _always,
        ),
    ),
    (
        r"tin|taxpayer (?:id\w*|no|number)|tax identification (?:no|number)",
        Scheme(r"\d{3}-\d{3}-\d{3}(?:-\d{3,5})?", _always),
    ),
)
