"""Personal data to plant in simulated posts, of every kind that the rules turn away; none of it is anybody's.

Numbers and addresses come from what is set aside for fiction and documentation where there is such a thing: example
domains (RFC 2606), 555-01xx and the drama numbers of other countries' regulators, documentation networks (RFC 5737, RFC
3849), test card prefixes, bank codes that no bank has.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from hapi_pipeline.simulate.dice import Dice
from hapi_pipeline.simulate.pieces import Field, Maker, listed, luhn_sum, maker, one_of

_NAMES = listed("maple cobalt juniper harbor willow saffron tundra pebble orchid falcon meadow linden")
_STREETS = listed("Maple Harbour Linden Orchard Mill Chapel Quarry Willow Foundry Meadow")
_TOWNS = listed("Northfield Eastbrook Stonebridge Fairhaven Willowdale")
_HOSTS = listed("example.com example.org example.net mail.example.com studio.example")
_LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_CAPITALS = "ABCDEFGHJKLMNPQRSTUVWXYZ234567"

_PATTERNS: Mapping[str, tuple[str, ...]] = {
    "email": (
        "Write to {name}.{word}{n}@{host} about it.",
        "My address is {name}{n}@{host}, use it any time.",
        "Contact: {name}_{n}@{host}",
        "Send samples to <{name}+{word}{n}@{host}> first.",
    ),
    "email_obfuscated": (
        "Write to {name}{n} at example dot com please.",
        "Samples go to {name}.{n} [at] example [dot] org first.",
        "Mail me: {name}{n}(at)example.net",
        "Reach us under {name}-{n} (at) example (dot) com.",
    ),
    "phone": (
        "Call {phone} in the morning.",
        "You can reach me on {phone} after lunch.",
        "Phone: {phone}",
        "My mobile is {phone}, text me first.",
        "Text me on {phone} when you are ready.",
        "WhatsApp {phone} please.",
    ),
    "card": (
        "Charge it to my card {card}, it works.",
        "Use the card number {card} for the licence.",
        "Visa {card} is on file.",
    ),
    "iban": (
        "Transfer to {iban} when done.",
        "IBAN: {iban}",
        "The refund goes to account {iban} as always.",
    ),
    "us_ssn": (
        "My SSN is {ssn} for the form.",
        "Social security number: {ssn}",
        "The form needs {ssn} in the first box.",
    ),
    "ip_address": (
        "The server is at {ip} for now.",
        "Log in to {ip} over SSH.",
        "My IP address: {ip}",
        "Whitelist {ip} on the router.",
    ),
    "profile_link": (
        "My profile: https://www.linkedin.com/in/{name}-{word}-{n}",
        "Ping me on https://t.me/{name}_{n} any time.",
        "Message wa.me/4477009001{n} first.",
        "Reach me on Telegram @{name}_{n} any time.",
        "Skype: {name}.{word}{n}",
        "My discord is {name}{n}#{n}{n}, add me.",
        "Add me on WeChat ID: {name}_{word}{n}",
        "Find me: live:.cid.{hex}",
    ),
    "street_address": (
        "Bring it to {n} {street} Street, {town}.",
        "Post the proofs to {n} {street} Avenue, {town} 0{n}{n}.",
        "Our place: {street}straße {n}, 00{n}1 {town}.",
        "The office is at {n} {street} Road, {town}.",
        "Send letters to PO Box {n}{n}, {town}.",
    ),
    "secret": (
        "Log in with the password: {password}",
        "The password is {password} until Friday.",
        "Use the key AKIA{capitals} for the bucket.",
        "Clone it with the token ghp_{random} please.",
        "api_key = {random}",
        "The database is postgres://{name}:{password}@db.example.com/shop for now.",
    ),
}
KINDS = tuple(_PATTERNS)
"""The kinds of personal data; but for `email_obfuscated`, which a scan calls `email`, they are a scan's own types."""

# Numbers that regulators keep for films and books; `#` stands for any digit.
_PHONES = (
    "+1 202 555 01##",
    "+1 (415) 555-01##",
    "(312) 555-01##",
    "212-555-01##",
    "+44 7700 900###",
    "+44 20 7946 0###",
    "07700 900###",
    "+61 491 570 1##",
    "+33 1 99 00 ## ##",
    "+33 6 39 98 ## ##",
    "+49 30 23125 ###",
    "+49 89 99998 ###",
    "+353 20 911 ####",
    "+46 8 465 004 ##",
)
_CARDS = ("42424242424", "40000000000", "55555555555", "60111111111")


def _letters(alphabet: str, count: int, ending: str = "") -> Field:
    return lambda dice: "".join(alphabet[dice.whole(0, len(alphabet) - 1)] for _ in range(count)) + ending


def _phone(dice: Dice) -> str:
    """A number that is not an ISBN of ten digits as well, which one in eleven national ones would be."""
    while True:
        number = "".join(str(dice.whole(0, 9)) if char == "#" else char for char in dice.pick(_PHONES))
        digits = [int(char) for char in number if char.isdigit()]
        if len(digits) != 10 or sum(weight * digit for weight, digit in enumerate(reversed(digits), 1)) % 11:
            return number


def _card(dice: Dice) -> str:
    """16 digits with the check digit of ISO/IEC 7812-1 (Luhn), under a prefix that payment services test with."""
    digits = dice.pick(_CARDS) + f"{dice.whole(0, 9999):04d}"
    digits += str(-luhn_sum(digits + "0") % 10)
    return dice.pick((" ", "", "-")).join(digits[at : at + 4] for at in range(0, 16, 4))


def _iban(dice: Dice) -> str:
    """An account with the check digits of ISO 13616 at a bank that does not exist."""
    country, bank, count = dice.pick(
        (("GB", "TEST", 14), ("NL", "TEST", 10), ("DE", "99999999", 10), ("FR", "99999", 18))
    )
    account = bank + "".join(str(dice.whole(0, 9)) for _ in range(count))
    number = "".join(str(int(char, 36)) for char in account + country + "00")
    written = f"{country}{98 - int(number) % 97:02d}{account}"
    return " ".join(written[at : at + 4] for at in range(0, len(written), 4)) if dice.chance(0.5) else written


def _ssn(dice: Dice) -> str:
    """The shape of a social security number, in an area (734 to 749) that was never given to a state."""
    return f"{dice.whole(734, 749)}-{dice.whole(1, 99):02d}-{dice.whole(1, 9999):04d}"


def _ip(dice: Dice) -> str:
    if dice.chance(0.15):
        return f"2001:db8:{dice.whole(1, 9999):x}:{dice.whole(1, 9999):x}::{dice.whole(1, 9999):x}"
    return f"{dice.pick(('192.0.2', '198.51.100', '203.0.113'))}.{dice.whole(1, 254)}"


_FIELDS: Mapping[str, Field] = {
    "name": one_of(_NAMES),
    "word": one_of(_NAMES),
    "street": one_of(_STREETS),
    "town": one_of(_TOWNS),
    "host": one_of(_HOSTS),
    "n": lambda dice: str(dice.whole(10, 99)),
    "hex": _letters("0123456789abcdef", 16),
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "ssn": _ssn,
    "ip": _ip,
    "password": _letters(_LETTERS, 9, "7b!"),
    "random": _letters(_LETTERS, 33, "481"),
    "capitals": _letters(_CAPITALS, 16),
}


@functools.cache
def _makers() -> Mapping[str, tuple[Maker, ...]]:
    return {kind: tuple(maker(pattern, _FIELDS) for pattern in patterns) for kind, patterns in _PATTERNS.items()}


def sentence(dice: Dice, kind: str) -> str:
    """A sentence that holds personal data of this kind."""
    return dice.pick(_makers()[kind])(dice)


def planted(dice: Dice, text: str, what: str) -> str:
    """The text with a sentence at its beginning, at its end or between two sentences of it, on lines of its own."""
    gaps = [found.end() for found in re.finditer(r"(?<=[a-z])\.\s+", text)]
    where = dice.pick([0, len(text), *gaps])
    return "\n\n".join(part for part in (text[:where].rstrip(), what, text[where:]) if part)
