"""Secrets that should never have been posted: keys of known services, passwords and logins."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .detector import Detector
from .model import Finding
from .page import Page, pattern, words

_KEYS = (
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{36,}",
    r"\bgithub_pat_[A-Za-z0-9_]{40,}",
    r"\bglpat-[A-Za-z0-9_\-]{20,}",
    r"\b(?:sk|rk)_live_[A-Za-z0-9]{16,}",
    r"\bsk-(?:proj-|ant-|or-)?[A-Za-z0-9_\-]{20,}",
    r"\bxox[abprs]-[A-Za-z0-9\-]{10,}",
    r"\bAIza[0-9A-Za-z_\-]{35}",
    r"\bSG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}",
    r"\b(?:npm|hf)_[A-Za-z0-9]{30,}",
    r"\beyJ[A-Za-z0-9_\-]{10,}\.eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}",
    r"-----BEGIN (?:[A-Z]+ ){0,2}PRIVATE KEY-----",
    r"\b[0-9]{8,10}:AA[A-Za-z0-9_\-]{33}",
    r"(?i)\b[a-z][a-z0-9+.\-]{1,16}://[^\s/:@\"'<>]{1,64}:[^\s/@\"'<>]{3,64}@[^\s/]",
)
# How keys begin: most texts that talk of passwords have none of it.
_KEY_TRIGGERS = (
    r"\b(?:AKIA|ASIA)[0-9A-Z]{4}",
    r"\b(?:gh[pousr]_|github_pat_|glpat-|(?:sk|rk)_live_|sk-|xox[abprs]-|AIza|SG\.|npm_|hf_|eyJ)[A-Za-z0-9_\-]",
    r"-----BEGIN ",
    r"\b[0-9]{8,10}:AA",
    r"://[^\s/:@\"'<>]+:[^\s/@\"'<>]+@",
)
_A_KEY = pattern("|".join(_KEY_TRIGGERS))
_KEY_PATTERNS = tuple(pattern(source, needs=_A_KEY) for source in _KEYS)

_SECRET_WORD = r"(?:pass(?:word|wort|wd|code| ?phrase)|pwd|contrase[nñ]a|mot de passe|senha|parola)"  # noqa: S105
_PASSWORD = (
    rf"(?i)(?:({_SECRET_WORD})\s{{0,2}}(?:[:=]|\bis\b)|\b(?:pass|pw)\s?[:=])\s{{0,2}}[\"'`]?([^\s\"'`,;<>]{{4,64}})"
)
_LOGIN = (
    rf"(?i)\b(?:user ?name|user|login|log in|usuario)\b[\s:=]{{1,4}}([^\s,;]{{2,64}})"
    rf"[\s,;/|]{{1,4}}(?:and )?{_SECRET_WORD}[\s:=]{{1,4}}([^\s,;]{{3,64}})"
)
_API_KEY_WORD = (
    r"(?i)\b(?:api[ _\-]?key|secret[ _\-]?key|access[ _\-]?(?:key|token)|auth[ _\-]?token|"
    r"client[ _\-]?secret|bearer)[\"']?\s{0,2}(?:[:=]|\bis\b|\s)"
)
_API_KEY = _API_KEY_WORD + r"\s{0,2}[\"'`]?([A-Za-z0-9_\-/+=.]{16,200})"
_PASSWORD_PATTERN, _LOGIN_PATTERN, _API_KEY_PATTERN = pattern(_PASSWORD), pattern(_LOGIN), pattern(_API_KEY)

_PLACEHOLDER = re.compile(
    r"[*x.•_\-]+|[\[{(<$%].*|"
    r".*(?:your|example|placeholder|changeme|required|undefined|string|xxxx|\*\*|\.\.\.).*",
    re.IGNORECASE,
)
# What manuals write where a user puts their own.
_DUMMY_LOGIN = re.compile(
    r"://(?:user\w*|login|foo|scott|root|admin):(?:pass\w*|pwd|token|secret|bar|tiger|root|admin)@"
    r"|://[^:@]*[$<\[{*]|://[^:@]+:[$<\[{*%]",
    re.IGNORECASE,
)
_NOT_A_LOGIN = words(
    """
    and or field fields with using the a an is are input form name email id page screen in to for as
    password authentication reset system + / & - = via based button box will can should must user
    username none null ident passwd true false
    """
)


def _find_secrets(page: Page) -> Iterator[Finding]:
    for compiled in _KEY_PATTERNS:
        for match in page.matches(compiled):
            if not _DUMMY_LOGIN.search(match.group()):
                yield Finding("secret", match.start(), match.end(), 0.95)
    for match in page.matches(_PASSWORD_PATTERN):
        if _looks_like_password(match.group(2)) and (match.group(1) or _is_mixed(match.group(2))):
            yield Finding("secret", match.start(), match.end(), 0.8)
    for match in page.matches(_LOGIN_PATTERN):
        if not {word.lower().strip(".:()\"'`") for word in match.groups()} & _NOT_A_LOGIN:
            yield Finding("secret", match.start(), match.end(), 0.8)
    for match in page.matches(_API_KEY_PATTERN):
        if _looks_like_key(match.group(1)):
            yield Finding("secret", match.start(), match.end(), 0.8)


def _looks_like_password(value: str) -> bool:
    """A word of the language after `password:` is a remark (`password: optional`), not a password."""
    bare = value.rstrip(".)!?:")
    if len(bare) < 4 or _PLACEHOLDER.fullmatch(bare) or re.match(r"http|process\.|.*\(", bare.lower()):
        return False
    has_letter_and_digit = re.search(r"\d", bare) and re.search(r"[^\W\d_]", bare)
    return bool(has_letter_and_digit or re.search(r"\w[!@#$%^&*]", value.rstrip(".")))


def _is_mixed(value: str) -> bool:
    """After a bare `pass:` more is asked for: capitals and small letters with digits, or a mark among them."""
    return bool(re.search(r"[A-Z].*[a-z].*\d|\d.*[A-Z].*[a-z]|[a-z].*[A-Z].*\d|\w[!@#$%^&*]", value))


def _looks_like_key(value: str) -> bool:
    """Random characters: several digits, few repetitions, no dotted path of a program."""
    if _PLACEHOLDER.fullmatch(value) or "." in value.strip("."):
        return False
    return sum(char.isdigit() for char in value) >= 3 and len(set(value)) >= 10


_SECRET_TRIGGERS = (
    *_KEY_TRIGGERS,
    rf"(?i){_SECRET_WORD}|\b(?:pass|pw)\s?[:=]",
    _API_KEY_WORD,
)

SECRET = Detector("secret", _SECRET_TRIGGERS, _find_secrets)
