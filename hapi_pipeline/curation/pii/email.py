"""E-mail addresses, plain and written out to escape robots ("john at gmail dot com")."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .detector import Detector
from .model import Finding
from .page import Page, Pattern, pattern, words

# Marks that letters of Indic, Thai, Hebrew and Arabic scripts carry; `\w` leaves them out.
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u065f\u0900-\u109f\u0e31-\u0ece"
_LOCAL_REVERSED = re.compile(rf"[\w{_MARKS}.!#$%&'*+/=?^`{{|}}~-]{{1,64}}")
_QUOTED_LOCAL = re.compile(r'"(?:[^"\\\r\n]|\\.){1,62}"\Z')
_DOMAIN = re.compile(rf"(?:[\w{_MARKS}](?:[\w{_MARKS}-]{{0,62}})?\.){{1,8}}[^\W\d_][\w{_MARKS}-]{{1,62}}")

# What follows the last dot in asset names such as icon@2x.png or in pinned scripts such as lib@next.min.js.
_FILE_ENDINGS = words(
    """
    png jpg jpeg gif svg webp ico bmp tif tiff pdf psd eps js jsx ts tsx mjs css scss less html htm
    json xml yml yaml md txt csv zip gz tar rar mp4 mp3 wav mov webm woff woff2 ttf otf map php py
    rb java exe dll local localhost lan internal localdomain invalid
    """
)
_LOCAL_LIMIT = 64
_DOMAIN_LIMIT = 255

# Below the threshold: found, but for a person to judge.
_ROLE_SCORE = 0.4
_ROLES = words(
    """
    info support sales contact contacts help helpdesk service services admin administrator office jobs careers hr
    recruiting press media pr marketing team billing accounts accounting orders contributors security abuse legal
    privacy postmaster webmaster hostmaster noreply no-reply donotreply do-not-reply newsletter enquiries inquiries
    feedback customerservice customercare reception partners partnerships
    """
)

# git@host:repository is how tools fetch code; it reaches no person.
_TOOL_LOCALS = frozenset({"git", "hg", "svn"})

_FREEMAIL = (
    r"(?:gmail|googlemail|g[ -]mail|yahoo|ymail|hotmail|outlook|live|msn|icloud|aol|proton|"
    r"protonmail|gmx|zoho|mail|"
    r"yandex|rediffmail|fastmail|web)"
)
_FREEMAIL_HOST = re.compile(rf"{_FREEMAIL}\.", re.IGNORECASE)
_WORD_TLD = r"(?:com|net|org|edu|gov|io|co|me|info|biz|dev|app|ai|us|uk|ca|au|in|de|fr|es|it|nl|ch|at|pl|ru|br|eu|se)"
_LOCAL = r"[A-Za-z0-9][A-Za-z0-9._%+\-]{0,63}"
_LABEL = r"[A-Za-z0-9][A-Za-z0-9\-]{0,62}"
_BRACKET_AT = r"\s{0,2}[\[({<]\s?(?:at|@|arroba|chez)\s?[\])}>]\s{0,2}"
_ANY_DOT = r"(?:\s{0,2}[\[({<]\s?(?:dot|\.|punto|point)\s?[\])}>]\s{0,2}|\s{1,2}(?:dot|punto)\s{1,2}|\s?\.\s?)"
_BRACKET_DOT = r"\s{0,2}[\[({<]\s?(?:dot|\.|punto|point)\s?[\])}>]\s{0,2}"

_BRACKETED = rf"(?i)({_LOCAL}){_BRACKET_AT}{_LABEL}(?:{_ANY_DOT}{_LABEL})*?{_ANY_DOT}([A-Za-z]{{2,24}})"
_DOT_BRACKETED = rf"(?i)({_LOCAL})(?:\s?@\s?|\s{{1,2}}at\s{{1,2}}){_LABEL}{_BRACKET_DOT}([A-Za-z]{{2,24}})"
_SPELLED = (
    rf"(?i)({_LOCAL})\s{{1,3}}at\s{{1,3}}({_LABEL})(?:\s{{1,3}}dot\s{{1,3}}{_LABEL})*?\s{{1,"
    rf"3}}dot\s{{1,3}}{_WORD_TLD}"
)
_SPELLED_FREEMAIL = rf"(?i)({_LOCAL})\s{{1,3}}at\s{{1,3}}{_FREEMAIL}(?:\s?\.\s?|\s{{1,2}}(?:dot\s{{1,2}})?){_WORD_TLD}"
_SPACED = rf"(?i)({_LOCAL})(?:\s{{1,2}}@\s{{0,2}}|@\s{{1,2}}){_FREEMAIL}\s?(?:\.|dot)\s?{_WORD_TLD}"
_SPACED_DOT = rf"(?i)({_LOCAL})@{_FREEMAIL}(?:(?:\s\.\s?|\.\s|\s?\(?dot\)?\s?){_WORD_TLD}|\s(?:com|net|org)\b)"
_SHOUTED = r"([a-z0-9][a-z0-9._\-]{1,63})(?:AT|_at_)[a-z0-9\-]{2,63}(?:DOT|_dot_)(?:com|net|org|io|co|de|uk|fr|in)"

# Each with a part of it that has no counted repetitions and is looked for first.
_WORD_AT, _WORD_DOT = r"(?i)[\[({<]\s?(?:at|@|arroba|chez)\s?[\])}>]", r"(?i)[\[({<]\s?(?:dot|\.|punto|point)\s?[\])}>]"
_AT_FREEMAIL = rf"(?i)@\s{{0,2}}{_FREEMAIL}"
_OBFUSCATED = (
    (_BRACKETED, _WORD_AT),
    (_DOT_BRACKETED, _WORD_DOT),
    (_SPELLED, r"(?i)\sdot\s"),
    (_SPELLED_FREEMAIL, rf"(?i)\sat\s{{1,3}}{_FREEMAIL}"),
    (_SPACED, _AT_FREEMAIL),
    (_SPACED_DOT, _AT_FREEMAIL),
    (_SHOUTED, r"(?:DOT|_dot_)(?:com|net|org|io|co|de|uk|fr|in)"),
)
_COMPILED = tuple(pattern(source, needs=pattern(part)) for source, part in _OBFUSCATED)

# "look at example dot com" and "email me at gmail dot com" name a place, not a mailbox.
_NOT_A_MAILBOX = words(
    """
    look looking see me us him her them it is are was be available hosted found live located here
    there this that site website page visit check buy sell work working example available at and or
    the account accounts mail email e-mail address inbox messages up out more on in to not user
    users back stay start arrive meet you
    """
)


def _find(page: Page) -> Iterator[Finding]:
    yield from _plain(page)
    for compiled in _COMPILED:
        yield from _written_out(page, compiled)


def _plain(page: Page) -> Iterator[Finding]:
    at = page.text.find("@")
    while at != -1:
        finding = _address_around(page, at)
        if finding:
            yield finding
        at = page.text.find("@", at + 1)


def _address_around(page: Page, at: int) -> Finding | None:
    start = _local_start(page.text, at)
    if start == at:
        return None
    domain = _DOMAIN.match(page.text, at + 1, min(len(page.text), at + 1 + _DOMAIN_LIMIT))
    if not domain:
        return None
    end = _domain_end(page.text, at + 1, domain.end())
    local, host = page.text[start:at], page.text[at + 1 : end]
    if end == at + 1 or local.lower() in _TOOL_LOCALS or not _plausible_host(host):
        return None
    return Finding("email", start, end, _ROLE_SCORE if _is_role(local, host) else 0.95)


def _is_role(local: str, host: str) -> bool:
    """A mailbox of an organisation, such as support@ at a domain of its own: a person decides what it is here."""
    name = re.split(r"[+\d]", local.lower())[0].rstrip("._-")
    return name in _ROLES and not _FREEMAIL_HOST.match(host)


def _local_start(text: str, at: int) -> int:
    head = text[max(0, at - _LOCAL_LIMIT) : at]
    if head.endswith('"'):
        quoted = _QUOTED_LOCAL.search(head)
        return at - len(quoted.group()) if quoted else at
    # Matched from the right: one pass however long the run of allowed characters is.
    run = _LOCAL_REVERSED.match(head[::-1])
    if not run:
        return at
    local = run.group()[::-1]
    # Delimiters that may stand in an address but seldom begin one: `mailto:?to=a@b.com`, `|a@b.com`,
    # `//a@b.com`.
    trimmed = re.split(r"[|=/?&`*']+(?=[^|=/?&`*']*\Z)", local)[-1] if local[0] in "|=/?&`*'" else local
    return at - len(trimmed.lstrip(".!#$%&'*+/=?^`{|}~-"))


def _domain_end(text: str, start: int, end: int) -> int:
    """Cut what sentences glue to an address: trailing hyphens and underscores."""
    while end > start and text[end - 1] in "-_.":
        end -= 1
    return end


def _plausible_host(host: str) -> bool:
    labels = host.split(".")
    top = labels[-1].lower()
    if len(labels) < 2 or len(top) < 2 or top in _FILE_ENDINGS:
        return False
    if any(label[2:4] == "--" and not label.lower().startswith("xn") for label in labels):
        return False
    return not top.isascii() or top.isalpha() or top.startswith("xn--")


def _written_out(page: Page, compiled: Pattern) -> Iterator[Finding]:
    for match in page.matches(compiled):
        start, end = match.span()
        if page.inside_word(start, end) or match.group(1).lower().strip(".-") in _NOT_A_MAILBOX:
            continue
        yield Finding("email", start, end, 0.75)


# Shorter than the patterns themselves: counted repetitions would blow up the automaton of the first stage.
_TRIGGERS = (
    r"[^\s@]@[^\s@.]+\.[^\s@]",
    rf"(?i)@\s{{0,2}}{_FREEMAIL}",
    r"(?i)[\[({<]\s?(?:at|@|arroba|chez|dot|\.|punto|point)\s?[\])}>]",
    r"(?i)\s(?:dot|punto)\s",
    rf"(?i)\sat\s{{1,3}}{_FREEMAIL}",
    r"(?:DOT|_dot_)(?:com|net|org|io|co|de|uk|fr|in)",
)

EMAIL = Detector("email", _TRIGGERS, _find)
