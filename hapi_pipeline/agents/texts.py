"""Making text from outside safe to send, to store and to show."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_KEY_LIKE = re.compile(
    r"""(?ix)
    (?: \b(?:sk|pk|rk|xai|gsk|hf|ghp|gho|github_pat|glpat|xox[abps])[-_][A-Za-z0-9_\-.*]{8,}
      | \bAIza[0-9A-Za-z_\-]{20,}
      | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b
      | \beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}
      | (?<=bearer\s)[A-Za-z0-9._~+/=-]{8,}
      | (?<=api_key[=:])\s*["']?[^\s"',;&]{6,}
      | (?<=api-key[=:])\s*["']?[^\s"',;&]{6,}
    )"""
)
_SECRET_MINIMUM = 8  # a shorter "secret" is more likely to be part of ordinary words
REDACTED = "[redacted]"


def clean(text: str) -> str:
    """The text without control characters (newline and tab stay) and without lone surrogates."""
    return _CONTROL.sub(" ", _SURROGATE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n")))


def one_line(text: str) -> str:
    """The text on a single line, cleaned."""
    return " ".join(clean(text).split())


def redact(text: str, secret: str | None = None) -> str:
    """The text without the given secret and without anything that looks like a key."""
    return _KEY_LIKE.sub(REDACTED, without_secret(text, secret))


def without_secret(text: str, secret: str | None) -> str:
    """The text without the given secret."""
    return text.replace(secret, REDACTED) if secret and len(secret) >= _SECRET_MINIMUM else text


def sound(value: Any, secret: str | None = None) -> Any:
    """JSON data whose strings are valid UTF-8 without the secret; the same object if all is well."""
    dumped = json.dumps(value, ensure_ascii=False)
    hidden = secret is not None and len(secret) >= _SECRET_MINIMUM and secret in dumped
    if not hidden and not _SURROGATE.search(dumped):
        return value
    return _sound(value, secret)


def _sound(value: Any, secret: str | None) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", without_secret(value, secret))
    if isinstance(value, list):
        return [_sound(v, secret) for v in value]
    if isinstance(value, dict):
        return {_sound(k, secret): _sound(v, secret) for k, v in value.items()}
    return value


def shortened(text: str, limit: int) -> str:
    """About `limit` characters of a text: its head, its tail, and how much is left out between them."""
    if len(text) <= limit:
        return text
    head = limit * 3 // 4
    tail = limit - head
    return f"{text[:head]}\n[... {len(text) - limit} characters left out ...]\n{text[-tail:]}"


_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|\ud800-\udfff]')
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"com{i}" for i in range(10)), *(f"lpt{i}" for i in range(10))})
_MAX_SEGMENT_BYTES = 150
_MAX_SEGMENTS = 6


def safe_relative_path(path: str) -> str:
    """A relative POSIX path that means the same on every grader's machine and stays inside its folder.

    Raises ValueError with a sentence that says what is wrong.
    """
    path = unicodedata.normalize("NFC", path)
    if _FORBIDDEN.search(path):
        raise ValueError('file names must not contain control characters or any of \\ : * ? " < > |')
    segments = path.split("/")
    if path.startswith("/") or ".." in segments:
        raise ValueError("paths are relative to the folder and must not contain '..'")
    segments = [s for s in segments if s not in ("", ".")]
    if not segments or len(segments) > _MAX_SEGMENTS:
        raise ValueError(f"give a file name with at most {_MAX_SEGMENTS - 1} folders before it")
    for segment in segments:
        if segment != segment.strip(" ") or segment.endswith("."):
            raise ValueError("names must not begin or end with a space, or end with a dot")
        if len(segment.encode()) > _MAX_SEGMENT_BYTES or segment.split(".")[0].lower() in _RESERVED:
            raise ValueError("a name is too long or reserved on some systems; choose another")
    return "/".join(segments)
