"""Small pieces of text made from patterns such as `a budget of ${price}`, with other values every time.

`harmless` are what real posts are full of and what looks like personal data from afar: prices, dates, versions, order
numbers, public links. None of them tells anything about a person.
"""

from __future__ import annotations

import functools
import string
from collections.abc import Callable, Mapping, Sequence

from hapi_pipeline.simulate.dice import Dice

Field = Callable[[Dice], str]
Maker = Callable[[Dice], str]


def listed(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


_MONTHS = listed(
    "January February March April May June July August September October November December Jan Feb Mar Apr Jun Jul Aug "
    "Sept Oct Nov Dec"
)
_PRODUCTS = listed(
    "PixelForge DataHarbor QuickSheet NovaCRM CloudLoom PrintNest MapWeaver SoundCrate FormPilot ShopLattice StackBeam "
    "InkRiver CodeQuarry FrameSmith LedgerFox TaskOrchard"
)
_TAGS = listed(
    "handmade slowfashion openscience cityfood trailrun homeoffice launchday behindthescenes recipes minimal"
)
_ACCENTED = listed(
    "café résumé naïve façade jalapeño crème Köln Zürich São Malmö piñata déjà señal über garçon Łódź İzmir données "
    "перевод 日本語 한국어 العربية"
)
_EMOJI = listed("🚀 ✅ 🎨 📈 🔥 ✨ 🙏 💡 📦 ⭐ 👉 🎯")
_FILES = listed("logo banner brief catalogue menu invoice_template styleguide wireframe dataset cover")
_ENDINGS = listed("png pdf docx xlsx svg psd csv zip mp4 ai")
_SITES = listed("www.example.com example.org shop.example.net docs.example.com blog.example.org")
_PATHS = listed("page products guides pricing about-us templates gallery support terms collection")
_UNITS = listed("px cm mm inches kg dpi fps words pages slides products seconds")
_THINGS = listed("rows pages words products records images slides minutes keywords pieces")
_TONES = listed("warm crisp playful modern plain bold formal friendly")
_RATIOS = listed("16:9 4:3 1:1 9:16 3:2")
_CURRENCIES = listed("USD EUR GBP CAD AUD")
_SYMBOLS = listed("$ $ $ € £")
_LETTERS = string.ascii_uppercase
_HEX = "0123456789abcdef"

LIGHT = """
6 ${grouped}
4 ${price}
3 ${n2}-${n3}
3 {symbol}{n3}
3 about {n3} {currency}
2 {symbol}{n2} to {symbol}{n3}
2 (budget {symbol}{grouped})
1 US${n3}
5 {n2}%
2 between {n1}% and {n2}%
2 {n1}.{n1}%
5 {n2} {things}
4 {grouped} {things}
4 {n1} {things}
3 {n3} {unit}
2 {wide}x{high} px
2 {wide} × {high}
1 {n2} x {n2} x {n1} cm
2 300 dpi
1 about {n3} MB
1 below {n2} GB
2 {n1}.{n1} {unit}
3 version {n1}.{n2}
4 {n1}.{n2}.{n1}
3 v{n1}.{n1}.{n2}
2 {product} {n1}.{n1}
3 {clock}
2 {hour} am
2 {hour}{half} pm
2 {hour}-{hour} pm
3 {month} {day}
2 on {day} {month}
2 by {day} {month} {year}
2 in {year}
2 Q{quarter} {year}
2 {year}/{n2}
5 {product}
2 {product} Pro
2 {product} and {product}
1 ({product} {year})
3 #{tag}
2 #{tag} #{tag}
3 https://{site}/{path}-{n2}
2 {site}
1 (see https://{site}/{path})
3 {file}.{ending}
2 {file}_v{n1}_final.{ending}
1 {file}@{small}x.png
2 {ratio}
2 {small}-{n1} days
1 {n2}+
1 24/7
2 1st
2 {n2}th
1 No. {n2}
2 (max. {n2})
2 (approx. {n3} {things})
2 [{n2}]
2 "{tone}"
2 &quot;{tone}&quot;
3 Q&amp;A
2 R&amp;D
2 terms &amp; conditions
1 &gt;= {n2}
1 it&#x27;s
2 client’s
2 “{tone}”
1 don’t
2 – {tone} –
1 {accented}
3 {emoji}
1 {n2} °C
1 …
2 {tone}/{tone}
1 {tone} & {tone}
2 web page
1 web shop
1 @{product}
1 H{small} headings
1 A{n1} poster
1 {n1}D model
1 C++ or C#
1 WhatsApp or e-mail
1 a Telegram bot
1 our {product} Discord server
1 linkedin.com/company/{lower}-{n2}
1 Apt, Suite and Unit fields
"""
"""What is seen in many posts and is short: how often, in proportion, and the pattern."""

HEAVY = """
6 {year}-{month2}-{day2}
5 {month2}/{day2}/{year}
4 {day2}.{month2}.{year}
3 by {day2}/{month2}/{year}
2 {year}-{month2}-{day2} {clock}
2 {year}-{month2}-{day2}T{clock}:00Z
2 {month} {day}, {year} to {month} {day}, {year}
4 version {n2}.{n1}.{n1}.{n1}
3 build {n2}.{n1}.{n3}.{n1}
2 firmware {n1}.{n1}.{n2}.{n4}
3 ISBN {isbn}
3 ISBN-13: {isbn_dashed}
2 EAN {ean}
4 order #{n8}
3 order no. {n6}-{n3}
3 invoice {year}-{n5}
2 article number {n7}
2 SKU {letter}{letter}-{n6}
2 item {n6}-{letter}
2 ticket #{n6}
2 case {n4}-{n4}
2 part no. {n3}-{n5}-{n2}
3 https://{site}/item/{n8}
2 https://{site}/{path}?id={n7}
2 https://{site}/{year}/{month2}/{day2}/{path}
3 #{n6}
2 color #{hex6}
2 #00{n4}
2 commit {hex10}
2 {n3},{n3},000 {things}
2 {year}-{year}
1 ${n3},{n3}.00
1 {latitude}, {longitude}
1 timestamp 16{n8}
1 ${n4}-${n5}
1 git@git.example.com:{lower}/{file}.git
1 {lower}@{n1}.{n1}.{n1}
1 {n4} {n4} {things}
1 password reset page
1 the 404 page and street view
1 password field and button
1 std::vector
"""
"""What holds long digits or words that a scan for personal data must look at closely; none of it is any."""

TITLES = """
6 &amp;
3 ${n3}
3 {n2}
2 {n1}D
2 {product}
2 ({product})
2 {year}
1 –
1 {accented}
3 {emoji}
1 {n2}-{n2}
1 {n1}.{n1}
1 [{month}]
1 {tone}/{tone}
1 client’s
"""
"""What stands in titles."""


def _digits(count: int) -> Field:
    low, high = 10 ** (count - 1), 10**count - 1
    return lambda dice: str(dice.whole(low, high))


def _between(low: int, high: int, form: str = "d") -> Field:
    return lambda dice: format(dice.whole(low, high), form)


def one_of(items: Sequence[str]) -> Field:
    """A field that is one of these."""
    return lambda dice: dice.pick(items)


def _hex(count: int) -> Field:
    # the first is a letter, so that it is never a number
    return lambda dice: "abcdef"[dice.whole(0, 5)] + "".join(_HEX[dice.whole(0, 15)] for _ in range(count - 1))


def _ean(dice: Dice, start: str) -> str:
    """An article number of 13 digits with the check digit of GS1, and without that of a payment card."""
    while True:
        digits = start + str(dice.whole(10**8, 10**9 - 1))
        digits += str(-sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(digits)) % 10)
        if luhn_sum(digits) % 10:
            return digits


def luhn_sum(digits: str) -> int:
    """The sum that is a multiple of 10 for the number of a payment card (ISO/IEC 7812-1)."""
    doubled = [int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(digits))]
    return sum(value // 10 + value % 10 for value in doubled)


def _dashed(isbn: str) -> str:
    return f"{isbn[:3]}-{isbn[3]}-{isbn[4:7]}-{isbn[7:12]}-{isbn[12]}"


_FIELDS: Mapping[str, Field] = {
    **{f"n{count}": _digits(count) for count in range(1, 9)},
    "small": _between(2, 3),
    "grouped": lambda dice: f"{dice.whole(1, 99)},{dice.whole(0, 999):03d}",
    "price": lambda dice: f"{dice.whole(5, 499)}.{dice.whole(0, 99):02d}",
    "symbol": one_of(_SYMBOLS),
    "currency": one_of(_CURRENCIES),
    "things": one_of(_THINGS),
    "unit": one_of(_UNITS),
    "wide": lambda dice: str(16 * dice.whole(20, 240)),
    "high": lambda dice: str(8 * dice.whole(30, 270)),
    "product": one_of(_PRODUCTS),
    "lower": lambda dice: dice.pick(_PRODUCTS).lower(),
    "clock": lambda dice: f"{dice.whole(0, 23):02d}:{dice.whole(0, 59):02d}",
    "hour": _between(1, 12),
    "half": one_of([":00", ":15", ":30", ":45"]),
    "month": one_of(_MONTHS),
    "month2": _between(1, 12, "02d"),
    "day": _between(1, 28),
    "day2": _between(1, 28, "02d"),
    "year": _between(2012, 2027),
    "quarter": _between(1, 4),
    "tag": one_of(_TAGS),
    "site": one_of(_SITES),
    "path": one_of(_PATHS),
    "file": one_of(_FILES),
    "ending": one_of(_ENDINGS),
    "ratio": one_of(_RATIOS),
    "tone": one_of(_TONES),
    "accented": one_of(_ACCENTED),
    "emoji": one_of(_EMOJI),
    "letter": one_of(_LETTERS),
    "hex6": _hex(6),
    "hex10": _hex(10),
    "isbn": lambda dice: _ean(dice, "978"),
    "isbn_dashed": lambda dice: _dashed(_ean(dice, "978")),
    "ean": lambda dice: _ean(dice, "400"),
    "latitude": lambda dice: f"{dice.whole(1, 70)}.{dice.whole(0, 9999):04d}",
    "longitude": lambda dice: f"-{dice.whole(1, 179)}.{dice.whole(0, 9999):04d}",
}


def maker(pattern: str, fields: Mapping[str, Field] = _FIELDS) -> Maker:
    """A function that makes one piece of text after a pattern; KeyError for a field that does not exist."""
    parts: list[str | Field] = []
    for literal, name, _, _ in string.Formatter().parse(pattern):
        parts += [literal] if literal else []
        parts += [fields[name]] if name is not None else []
    return lambda dice: "".join([part if isinstance(part, str) else part(dice) for part in parts])


@functools.cache
def _makers(listing: str) -> tuple[Maker, ...]:
    """A maker for every line, as often as the number before it says."""
    made: list[Maker] = []
    for line in listing.strip().splitlines():
        often, _, pattern = line.partition(" ")
        made += [maker(pattern)] * int(often)
    return tuple(made)


def harmless(dice: Dice, listing: str, count: int) -> list[str]:
    """So many pieces after the patterns of a listing (`LIGHT`, `HEAVY`, `TITLES`)."""
    makers = _makers(listing)
    return [dice.pick(makers)(dice) for _ in range(count)]
