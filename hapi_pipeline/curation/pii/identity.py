"""United States social security numbers and the personal numbers of other countries.

Most of these numbers are bare digits, which one text in ten would pass by chance, so they count only next to a word
that says what they are; a few have a shape that speaks for itself. The numbers themselves are in `national_ids`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .detector import Detector
from .model import Finding
from .national_ids import ANNOUNCED, NAMED, STANDING_ALONE, WHOLE_FIELD, Scheme
from .page import Page, pattern, words

_SSN_SHAPE = r"[0-9]{3}[ .\-]?[0-9]{2}[ .\-]?[0-9]{4}"
_SSN_RUN = pattern(_SSN_SHAPE)
# The second was printed on a sample card, the third in an advertisement; 987-65-432x is set aside for advertisements.
_DOCUMENTATION_SSNS = frozenset({"123456789", "078051120", "219099999"})
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
    before = page.before(start, 24)
    if re.search(r"\d[ .,/\-]\Z|[-+$€£#/=.]\Z", before) and not re.search(r"(?:ssn|sec|security) ?#\Z", before):
        return True
    return bool(re.match(r"[.,/\-]\d|-\w| \d", page.after(end, 2))) and not page.bare


def _ssn_score(page: Page, start: int, end: int) -> float:
    written = page.text[start:end]
    digits = re.sub(r"\D", "", written)
    announced = bool(_SSN_CUE.search(page.before(start, 60)))
    if digits in _DOCUMENTATION_SSNS or digits.startswith("98765432"):
        # The number of every manual: only where a text calls it somebody's, and then for a person to judge.
        return 0.4 if announced else 0.0
    if not _is_issuable_ssn(digits):
        return 0.0
    if announced:
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
    # From 900 on: individual taxpayer numbers, which share the shape and are national ids.
    return area[0] != "9"


US_SSN = Detector("us_ssn", (_SSN_SHAPE,), _find_ssns)


_CUES = tuple((re.compile(rf"(?<!\w)(?:{cue})(?!\w)", re.IGNORECASE), scheme) for cue, scheme in ANNOUNCED)
_NAMES = tuple((re.compile(rf"(?<!\w)(?:{cue})(?!\w)", re.IGNORECASE), scheme) for cue, scheme in NAMED)

# The beginning of each shape that stands alone, seen by RE2; how far it goes is for each scheme to say.
_STANDING_SHAPE = "(?i)" + "|".join(dict.fromkeys(scheme.shape for scheme in STANDING_ALONE))
_STANDING = pattern(_STANDING_SHAPE)
# RE2 knows only ASCII letters as word characters, and its classes of all letters are costly: these edges let a few
# more through, and the exact cues in Python decide.
_EDGE = r"[^A-Za-z\d_]"
_ANY_CUE_SHAPE = (
    rf"(?i)(?:^|{_EDGE})(?:"
    + "|".join(dict.fromkeys(cue for cue, _scheme in (*ANNOUNCED, *NAMED)))
    + rf")(?:{_EDGE}|$)"
)
_ANY_CUE = pattern(_ANY_CUE_SHAPE)
_TOKENS = re.compile(r"[^\s,;:\"'<>=]+")
_CUE_REACH, _VALUE_REACH = 72, 64
_MAYBE_NUMBER = re.compile(r"\d|[^\W\d]{16}")
_MOST_GROUPS = 8
_MOST_WORDS_BETWEEN = 6
_NUMBER_WORD = re.compile(r"\b(?:no|nr|num|núm)\.\Z", re.IGNORECASE)
_LONE_LIMIT = 24
# A short text without a lower-case word: a field of its own.
_LONE_SHAPE = r"^\s*[A-Za-z]{0,6}[ .\-]?[0-9][A-Za-z0-9 .\-/()]{4,21}\s*$"
_LONE_PATTERN = pattern(_LONE_SHAPE)

# "A1234567 is my passport number": the value before the word that names it.
_VALUE_FIRST = re.compile(
    r"(?<!\S)([^\s,;:()\"'<>=]{6,20})[\s,]{1,2}(?:is|was|es|ist|est|è|é)\s"
    r"(?:my|his|her|the|mi|mein|meine|mon|ma|il mio)\s(?:[^\W\d]+\s){0,3}\Z",
    re.IGNORECASE,
)
# A document's word beside these speaks of pictures and forms of it, and order and report numbers are those of things.
_NOT_THE_NUMBER = words(
    """
    size sized photo photos picture pictures image images style renewal stamp cover design template
    can cans label app application form forms page pages validation field fields type upload format regex example
    """
)
_NUMBER_OF_A_THING = re.compile(
    r"\b(?:order|report|invoice|product|item|job|task|ticket|issue|customer|client|transaction|tracking|app|user|"
    r"session|student|employee|member|serial|model|software|windows|gaming)\s\Z"
)


def _find_national_ids(page: Page) -> Iterator[Finding]:
    for match in page.matches(_STANDING):
        yield from _standing(page, match.start())
    for match in page.matches(_ANY_CUE):
        start, end = match.span()
        start += start < end and not _is_letter_or_digit(page.text[start])
        end -= end > start and not _is_letter_or_digit(page.text[end - 1])
        # Some cues are words of everyday language: a digit, or the letters of an Italian code, must be near.
        if not _MAYBE_NUMBER.search(page.text, max(0, start - _VALUE_REACH), end + _CUE_REACH):
            continue
        yield from _after_cue(page, start, end)
        yield from _beside_name(page, start, end)
    yield from _whole_field(page)


def _is_letter_or_digit(char: str) -> bool:
    return char == "_" or char.isalnum()


def _standing(page: Page, start: int) -> Iterator[Finding]:
    """The longest number of any country that begins here: shapes share beginnings, check digits tell them apart."""
    lengths = (scheme.length_at(page.text, start) for scheme in STANDING_ALONE)
    end = start + max((n for n in lengths if n and not _is_piece(page, start, start + n)), default=0)
    if end > start:
        yield Finding("national_id", start, end, 0.7)


def _schemes_near(page: Page, start: int, end: int, table: Sequence[tuple[re.Pattern[str], Scheme]]) -> list[Scheme]:
    """Schemes of the cues that a match is part of: of two cues that overlap, the first pass reports one only."""
    around = page.text[max(0, start - 1) : end + 24]
    return [scheme for cue, scheme in table if cue.search(around)]


def _tokens_after(page: Page, end: int) -> list[tuple[int, int]]:
    return [m.span() for m in _TOKENS.finditer(page.text, end, min(len(page.text), end + _CUE_REACH))]


def _after_cue(page: Page, cue_start: int, cue_end: int) -> Iterator[Finding]:
    """Numbers in the stretch after an announcing word, of the countries that the word announces."""
    schemes = _schemes_near(page, cue_start, cue_end, _CUES)
    groups = _tokens_after(page, cue_end) if schemes else []
    first = 0
    while first < len(groups):
        found = _longest_id(page, groups, first, schemes)
        if found is None:
            first += 1
            continue
        last, start, end = found
        yield Finding("national_id", start, end, 0.7)
        first = last + 1


def _beside_name(page: Page, cue_start: int, cue_end: int) -> Iterator[Finding]:
    """The number that follows the plain name of a document at once, or that a sentence gives before it."""
    schemes = _schemes_near(page, cue_start, cue_end, _NAMES)
    if not schemes or _NUMBER_OF_A_THING.search(page.before(cue_start, 16)):
        return
    groups = _tokens_after(page, cue_end)
    for first, (start, end) in enumerate(groups):
        token = page.text[start:end]
        if any(char.isdigit() for char in token):
            # A number may begin with a group of letters: MORGA 753116 SM9IJ.
            found = (
                first
                and page.text[slice(*groups[first - 1])].isupper()
                and _longest_id(page, groups, first - 1, schemes)
            )
            found = found or _longest_id(page, groups, first, schemes)
            if found:
                yield Finding("national_id", found[1], found[2], 0.6)
            break
        is_end = token[-1] in ".!?" and not _NUMBER_WORD.search(token)
        if is_end or first == _MOST_WORDS_BETWEEN or token.lower().strip("().") in _NOT_THE_NUMBER:
            break
    before = _VALUE_FIRST.search(page.text[max(0, cue_start - _VALUE_REACH) : cue_start])
    if before and _fits_any(before.group(1), schemes):
        start = cue_start - len(before.string) + before.start(1)
        yield Finding("national_id", start, start + len(before.group(1)), 0.6)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without the stop of a sentence and brackets that do not belong to the number."""
    while end > start and text[end - 1] in ".!?":
        end -= 1
    if "(" not in text[start:end].lstrip("("):
        while end > start and text[end - 1] == ")":
            end -= 1
    while start < end and text[start] in "(#":
        start += 1
    return start, end


def _longest_id(
    page: Page, groups: list[tuple[int, int]], first: int, schemes: Sequence[Scheme]
) -> tuple[int, int, int] | None:
    """The last of the space-separated groups that together are a national number, and where it lies."""
    for last in range(min(len(groups), first + _MOST_GROUPS) - 1, first - 1, -1):
        start, end = _trimmed(page.text, groups[first][0], groups[last][1])
        if start < end and not page.inside_word(start, end) and _fits_any(page.text[start:end], schemes):
            return last, start, end
    return None


def _whole_field(page: Page) -> Iterator[Finding]:
    written = page.text.strip() if len(page.text) <= 2 * _LONE_LIMIT else ""
    if written and any(page.matches(_LONE_PATTERN)) and _fits_any(written, WHOLE_FIELD):
        start = page.text.index(written)
        yield Finding("national_id", start, start + len(written), 0.4)


def _fits_any(written: str, schemes: Sequence[Scheme]) -> bool:
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
    r"9\d\d-\d\d-\d{4}|[12] \d\d \d\d \d[0-9AB] \d|\.\d{3}\.\d{3}-[0-9K]|\d{6}/\d{4}|\d{8}-?\d ?[A-Z]{2}\d|"
    r"\d{3}-\d{3}-\d{3} \d\d|[A-Z]\d{6}\([0-9A]|\d-\d{4}-\d{5}-|\d{5}-\d{7}-\d|\d{6}-\d\d-\d{4}|"
    r"\d{6}[A-Z9]{2}[A-Z0-9][A-Z]{2}|\d{8}[A-Z]\d{3}"
)
NATIONAL_ID = Detector("national_id", (_STANDING_TRIGGER, _ANY_CUE_SHAPE, _LONE_SHAPE), _find_national_ids)
