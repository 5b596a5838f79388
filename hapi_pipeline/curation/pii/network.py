"""Internet addresses, kept apart from version numbers, times and program text that look like them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from .detector import Detector
from .model import Finding
from .page import Page, pattern

_V4_SHAPE = r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}"
_V4 = pattern(_V4_SHAPE)
# Two colons after a word, or with nothing of an address beside them, are program text and markup, which one text in
# four about programs has; on their own they count only as the value of a setting or as a field of its own.
_V6_TRIGGER = (
    r"(?i)(?:^|[^0-9a-z_.:])(?:::[0-9a-f:]|(?:[0-9a-f]{1,4}:){1,7}:)|(?:[0-9a-f]{1,4}:){7}[0-9a-f]|"
    r"=[\"']?::|^[^\pL]*(?:(?:ext|x)[^\pL]*)?::"
)
_V6 = pattern(r"(?i)(?:[0-9a-f]{0,4}:){2,8}(?:[0-9a-f]{1,4}|:|[0-9]{1,3}(?:\.[0-9]{1,3}){3})?")

_ADDRESS_CUE = re.compile(
    r"\b(?:ips?|ipv[46]|ip[ -]?address(?:es)?|address(?:es)?|servers?|hosts?|hostname|"
    r"client_ip|gateway|subnet|netmask|"
    r"ping|dns|ssh|ftp|rdp|vpn|proxy|proxies|router|network|loopback|localhost|src|dst|"
    r"connect(?:ed)?|login|logged|"
    r"firewall|whitelist|blacklist|blocked|nameserver|inet6?|mapped|listen|bind|remote|route|cidr)\b"
)
_VERSION_CUE = re.compile(
    r"(?:\b(?:v|ver|vers|version|versions|rv|rev|revision|release|released|build|builds|"
    r"firmware|fw|patch|update|"
    r"upgrade|upgraded|sdk|driver|section|sections|clause|chapter|article|appendix|step|"
    r"figure|table|requirement|"
    r"item|level|schema|plugin|app|os|ios|android|windows|chrome|firefox|edge|php|java|python|"
    r"node|wordpress|magento|"
    r"assembly|nuget|package|pkg|lib|library|spec|rfc|standard|paragraph|rule)\b(?: number| no| code)?\W{0,6}"
    r"(?:(?:to|from|is|of)\W{1,3})?|\bv)\Z"
)
_PRODUCT_BEFORE = re.compile(r"[A-Z][\w+#]*[ _-]\Z")
_WEAK_SCORE = 0.4
_VERSION_LIKE_FIRST, _VERSION_LIKE_ANY = 20, 30


def _find(page: Page) -> Iterator[Finding]:
    for match in page.matches(_V4):
        score = _v4_score(page, match.start(), match.end())
        if score:
            yield Finding("ip_address", match.start(), match.end(), score)
    for match in page.matches(_V6):
        score = _v6_score(page, match.start(), match.end())
        if score:
            yield Finding("ip_address", match.start(), match.end(), score)


def _v4_score(page: Page, start: int, end: int) -> float:
    try:
        address = ipaddress.IPv4Address(page.text[start:end])
    except ValueError:
        return 0.0
    if _is_piece_of_something(page, start, end) or _is_announced_version(page, address, start):
        return 0.0
    if _announced(page, start, end) or page.bare:
        return _score(address, sure=0.95)
    if _reads_like_version(page, address, start, end):
        return 0.0
    return _score(address, sure=0.75)


def _is_announced_version(page: Page, address: ipaddress.IPv4Address, start: int) -> bool:
    """`Node 20.11.0.1` is a version, `node 192.168.4.7` a machine: two private blocks count as versions only after
    the very word."""
    cue = _VERSION_CUE.search(page.before(start, 32))
    if cue is None:
        return False
    machine = address.is_private and address.packed[0] in (172, 192)
    return not machine or bool(re.match(r"v|ver|rev|rv|release|build|firmware|patch", cue.group()))


def _is_piece_of_something(page: Page, start: int, end: int) -> bool:
    """Longer dotted numbers, product/version tokens of user agents, and names with a version glued on."""
    before, after = page.text[max(0, start - 2) : start], page.after(end, 2)
    if page.inside_word(start, end) or re.search(r"\.\Z|[\w)]/\Z|[^\W\d_][-+]\Z", before):
        return True
    return bool(re.match(r"\.\d|[-+~][^\W\d]", after))


def _announced(page: Page, start: int, end: int) -> bool:
    return bool(
        _ADDRESS_CUE.search(page.before(start, 60))
        or re.search(r"(?:://|@)\Z", page.before(start, 3))
        or re.match(r"/\d{1,2}\b|:\d{2,5}\b", page.after(end, 6))
    )


def _reads_like_version(page: Page, address: ipaddress.IPv4Address, start: int, end: int) -> bool:
    first, *rest = address.packed
    if address.is_private:
        return False
    if "mozilla/" in page.before(start, 400) or _PRODUCT_BEFORE.search(page.text[max(0, start - 32) : start]):
        return True
    small = first < _VERSION_LIKE_FIRST and all(part < _VERSION_LIKE_ANY for part in rest)
    return small or first == 0 or rest == [0, 0, 0]


def _score(address: ipaddress.IPv4Address | ipaddress.IPv6Address, sure: float) -> float:
    """Loopback and unspecified addresses are the same on every machine, so they are for a person to judge."""
    return _WEAK_SCORE if address.is_loopback or address.is_unspecified else sure


def _v6_score(page: Page, start: int, end: int) -> float:
    written = page.text[start:end]
    if written == "::" and not page.bare and not page.before(start, 2).rstrip("\"'").endswith("="):
        return 0.0
    try:
        address = ipaddress.IPv6Address(written)
    except ValueError:
        return 0.0
    if _touches_word_or_colon(page, start, end) or _is_slice(page, start):
        return 0.0
    announced = bool(_ADDRESS_CUE.search(page.before(start, 60)))
    if not announced and (_is_hardware_address(written) or not (page.bare or _is_distinctive(written))):
        return 0.0
    return _score(address, sure=0.9)


def _is_hardware_address(written: str) -> bool:
    """Eight pairs of hexadecimal digits: the EUI-64 of a device, or bytes."""
    return bool(re.fullmatch(r"(?:[0-9a-fA-F]{2}:){7}[0-9a-fA-F]{2}", written))


def _touches_word_or_colon(page: Page, start: int, end: int) -> bool:
    if page.char_before(start) in (":", ".") or page.char_after(end) == ":" or page.inside_word(start, end):
        return True
    return bool(re.match(r"\.\w|[(<>]", page.after(end, 2)))


def _is_slice(page: Page, start: int) -> bool:
    """`items[::2]` is a program's slice; `//[::1]` and `([::1])` are addresses."""
    return page.char_before(start) == "[" and bool(re.search(r"[\w\])]\[\Z", page.before(start, 3)))


def _is_distinctive(written: str) -> bool:
    """Enough groups with digits that scope operators (`a::b`) and times cannot be meant."""
    groups = [group for group in re.split(r"[:.]", written) if group]
    return written == "::1" or (len(groups) >= 2 and any(c.isdigit() for c in written) and len(written) >= 6)


IP_ADDRESS = Detector("ip_address", (_V4_SHAPE, _V6_TRIGGER), _find)
