"""Money as people write it: one certain amount and its currency, or nothing.

DuckDB calls it as `read_money` and `read_usd`.

What stands before and after the number must be a currency or a word that changes nothing. All else (a range, "from",
"/hr", a sign, a second number) makes the price unknown, for a wrong price is worse than none.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_LONGEST = 80  # characters; a longer text is no price
_GROUPING_SPACE = re.compile("(?<=\\d)[\u00a0\u2009\u202f\u2007](?=\\d{3})")  # they keep a number together
_ALIKE = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d", "-"),
        **dict.fromkeys("\u2018\u2019\u02bc\u00b4`\u2032", "'"),
        **dict(zip("\uff0e\uff0c\uff1a\uff0f\uff04\uffe1\uffe5\uffe6\uff05", ".,:/$£¥₩%", strict=True)),
    }
)
_SHAPE = re.compile(r"([^0-9]*)([0-9](?:[0-9.,' ]*[0-9])?)( ?k(?=$|[ ($€£¥₹]))?([^0-9]*)")
_IDLE = re.compile(  # words and marks around a price that do not change it
    r"^[.,/]--?(?= |$)|\b(?:est\. budget|(?:fixed|flat|one|total|project|sale|regular|our)[ -]"
    r"(?:price|budget|fee|rate|time|cost)"
    r"|fixed|flat|price|budget|total|cost|amount|fee|only|in)\b"
)
_BRACKETS = re.compile(r"\(([^()]*)\)")
_BLANKS = re.compile(r"[ .,:=\"]")

_COMMAS, _POINTS, _QUOTES, _SPACES = (rf"[0-9]{{1,3}}(?:{mark}[0-9]{{3}}){{1,3}}" for mark in (",", r"\.", "'", " "))
_LAKH = r"[0-9]{1,2}(?:,[0-9]{2}){1,3},[0-9]{3}"
_DIGITS = r"[0-9]{1,12}"
_PLAIN = re.compile(rf"{_DIGITS}|{_QUOTES}")
_SPACED = re.compile(_SPACES)
_POINT_DECIMAL = re.compile(rf"(?:{_DIGITS}|{_COMMAS}|{_SPACES}|{_QUOTES}|{_LAKH})\.(?:[0-9]{{1,2}}|[0-9]{{4,8}})")
_POINT_CERTAIN = re.compile(rf"(?:0|[0-9]{{4,12}})\.[0-9]{{3}}|[0-9]{{1,3}}(?:,[0-9]{{3}}){{2,3}}|{_LAKH}")
_POINT_DECLARED = re.compile(rf"{_DIGITS}\.[0-9]{{3}}")
_ONE_COMMA = re.compile(r"[1-9][0-9]{0,2},[0-9]{3}")
_COMMA_DECIMAL = re.compile(
    rf"(?:{_DIGITS}|{_POINTS}|{_SPACES}|{_QUOTES}),[0-9]{{1,2}}|[0-9]{{1,3}}(?:\.[0-9]{{3}}){{2,3}}"
)
_COMMA_DECLARED = re.compile(rf"[1-9][0-9]{{0,2}}\.[0-9]{{3}}|{_DIGITS},[0-9]{{3,8}}")
_THOUSANDS = re.compile(r"[0-9]{1,6}|[0-9]{1,4}\.[0-9]{1,2}")

_SPELLINGS = {
    "$": "$ DOLLAR DOLLARS $DOLLAR $DOLLARS BUCKS",  # a dollar of no country
    "USD": "US$ USD$ $US $USD USDOLLAR USDOLLARS AMERICANDOLLARS DOLLARSUS",
    "EUR": "€ EURO EUROS €EUR EUR€",
    "GBP": "£ £GBP GBP£ BRITISHPOUNDS POUNDSTERLING POUNDSSTERLING",
    "CAD": "CA$ C$ CAD$ CDN$ CAN$ $CA $CAD CDN CANADIANDOLLARS",
    "AUD": "A$ AU$ AUD$ $A $AU $AUD AUSTRALIANDOLLARS",
    "NZD": "NZ$ NZD$ $NZ $NZD",
    "HKD": "HK$ HKD$ $HK $HKD",
    "SGD": "S$ SG$ SGD$ $SGD",
    "TWD": "NT$ NTD$ TWD$",
    "MXN": "MX$ MXN$ $MXN",
    "BRL": "R$ REAIS",
    "INR": "₹ ₹INR INR₹ INDIANRUPEES",
    "JPY": "JP¥ ¥JPY YEN 円",  # a bare ¥ may be Chinese
    "CNY": "CN¥ ¥CNY RMB ¥RMB YUAN",
    "RUB": "₽ РУБ РУБЛЕЙ РУБЛЯ РУБЛЬ",
    "UAH": "₴ ГРН",
    "CZK": "KČ",
    "PLN": "ZŁ",
    "KRW": "₩",
    "ILS": "₪",
    "THB": "฿",
    "VND": "₫",
    "NGN": "₦",
    "PHP": "₱",
    "TRY": "₺",
    "KZT": "₸",
    "BDT": "৳",
    "GHS": "₵",
}
# ISO 4217 without those that are words of English (ALL, TOP, CUP, PEN, MAD)
_CODES = [
    "AED",
    "AFN",
    "AMD",
    "ANG",
    "AOA",
    "ARS",
    "AUD",
    "AWG",
    "AZN",
    "BAM",
    "BBD",
    "BDT",
    "BGN",
    "BHD",
    "BIF",
    "BMD",
    "BND",
    "BOB",
    "BRL",
    "BSD",
    "BTN",
    "BWP",
    "BYN",
    "BZD",
    "CAD",
    "CDF",
    "CHF",
    "CLP",
    "CNY",
    "COP",
    "CRC",
    "CVE",
    "CZK",
    "DJF",
    "DKK",
    "DOP",
    "DZD",
    "EGP",
    "ERN",
    "ETB",
    "EUR",
    "FJD",
    "FKP",
    "GBP",
    "GEL",
    "GHS",
    "GIP",
    "GMD",
    "GNF",
    "GTQ",
    "GYD",
    "HKD",
    "HNL",
    "HTG",
    "HUF",
    "IDR",
    "ILS",
    "INR",
    "IQD",
    "IRR",
    "ISK",
    "JMD",
    "JOD",
    "JPY",
    "KES",
    "KGS",
    "KHR",
    "KMF",
    "KPW",
    "KRW",
    "KWD",
    "KYD",
    "KZT",
    "LAK",
    "LBP",
    "LKR",
    "LRD",
    "LSL",
    "LYD",
    "MDL",
    "MGA",
    "MKD",
    "MMK",
    "MNT",
    "MOP",
    "MRU",
    "MUR",
    "MVR",
    "MWK",
    "MXN",
    "MYR",
    "MZN",
    "NAD",
    "NGN",
    "NIO",
    "NOK",
    "NPR",
    "NZD",
    "OMR",
    "PAB",
    "PGK",
    "PHP",
    "PKR",
    "PLN",
    "PYG",
    "QAR",
    "RON",
    "RSD",
    "RUB",
    "RWF",
    "SAR",
    "SBD",
    "SCR",
    "SDG",
    "SEK",
    "SGD",
    "SHP",
    "SLE",
    "SOS",
    "SRD",
    "SSP",
    "STN",
    "SYP",
    "SZL",
    "THB",
    "TJS",
    "TMT",
    "TND",
    "TRY",
    "TTD",
    "TWD",
    "TZS",
    "UAH",
    "UGX",
    "USD",
    "UYU",
    "UZS",
    "VES",
    "VND",
    "VUV",
    "WST",
    "XAF",
    "XCD",
    "XOF",
    "XPF",
    "YER",
    "ZAR",
    "ZMW",
]
_CURRENCIES = {code: code for code in _CODES} | {
    spelling: code for code, spellings in _SPELLINGS.items() for spelling in spellings.split()
}
_DOLLARS = frozenset({"USD", "CAD", "AUD", "NZD", "HKD", "SGD", "TWD", "MXN"})
_COMMA_PARTS_THOUSANDS = _DOLLARS | {"", "$", "GBP", "INR", "JPY", "CNY", "KRW", "THB", "PHP", "ILS"}


class Money(NamedTuple):
    """An amount; the currency as its code of ISO 4217, or None where none is written."""

    amount: float
    currency: str | None


@functools.lru_cache(maxsize=1 << 16)
def read_money(text: str, mark: str = "") -> Money | None:
    """One certain amount, or None. `mark` is the source's decimal mark, "." or ","; without it 1.500 is unknown.

    A bare $ counts as US dollars, unless the text names another dollar beside it.
    """
    if len(text) > _LONGEST:
        return None
    shape = _SHAPE.fullmatch(_alike(text))
    if shape is None or _starts_with_point(shape[1]):
        return None
    currency = _one_currency(_currency(shape[1]), _currency(shape[4]))
    if currency is None:
        return None
    if shape[3]:
        amount = 1000 * float(shape[2]) if mark != "," and _THOUSANDS.fullmatch(shape[2]) else None
    else:
        amount = read_number(shape[2], currency, mark)
    return None if amount is None else Money(amount, currency.replace("$", "USD") or None)


def _alike(text: str) -> str:
    """Signs that look alike made one (spaces, dashes, apostrophes, decimal digits of any script), in small letters."""
    if not text.isascii():
        text = "".join(  # superscripts and fractions are no decimal digits and stay what they are
            str(unicodedata.decimal(c)) if unicodedata.category(c) == "Nd" else c
            for c in _GROUPING_SPACE.sub("'", text)
            if unicodedata.category(c) != "Cf"
        )
    return " ".join(text.translate(_ALIKE).lower().split())


def _starts_with_point(before: str) -> bool:
    """Whether the number may begin with a point, as in $.50; after letters it ends an abbreviation, as in Rs.50."""
    return before.endswith(".") and not before[-2:-1].isalpha()


def _currency(words: str) -> str | None:
    """The currency of ISO 4217 that stands there, "" for nothing, "$" for a dollar of no country, None for all else."""
    key = _BLANKS.sub("", _IDLE.sub("", _BRACKETS.sub(r" \1 ", words))).upper()
    return _CURRENCIES.get(key) if key else ""


def _one_currency(before: str | None, after: str | None) -> str | None:
    """What two places say together: one may be silent, and a bare dollar is the dollar that the other names."""
    if before is None or after is None:
        return None
    if before == after or not after:
        return before
    if not before or (before == "$" and after in _DOLLARS):
        return after
    return before if after == "$" and before in _DOLLARS else None


def read_number(digits: str, currency: str, mark: str = "") -> float | None:
    """A number of digits, points, commas, spaces and apostrophes; None where it can be read in more than one way.

    A comma before three digits parts thousands where the currency's countries write it so, and a comma before one or
    two is a decimal mark only beside a currency, unless the source has declared its mark.
    """
    if _PLAIN.fullmatch(digits) or (currency and _SPACED.fullmatch(digits)):
        return float(re.sub("[ ']", "", digits))
    if mark != "," and _decimal_point(digits, currency, mark):
        return float(re.sub("[ ',]", "", digits))
    if mark != "." and (mark or currency) and _decimal_comma(digits, mark):
        return float(re.sub("[ '.]", "", digits).replace(",", "."))
    return None


def _decimal_point(digits: str, currency: str, mark: str) -> bool:
    """Whether commas part thousands in this number and a point its decimals."""
    if _POINT_DECIMAL.fullmatch(digits) or _POINT_CERTAIN.fullmatch(digits):
        return True
    if mark and _POINT_DECLARED.fullmatch(digits):
        return True
    return bool((mark or currency in _COMMA_PARTS_THOUSANDS) and _ONE_COMMA.fullmatch(digits))


def _decimal_comma(digits: str, mark: str) -> bool:
    """Whether points part thousands in this number and a comma its decimals."""
    return bool(_COMMA_DECIMAL.fullmatch(digits) or (mark and _COMMA_DECLARED.fullmatch(digits)))


def read_usd(text: str, mark: str = "") -> float | None:
    """The amount in US dollars, which is also what no currency means; None for anything else."""
    found = read_money(text, mark)
    return found.amount if found and found.currency in (None, "USD") else None


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Make `read_money(x, mark)` and `read_usd(x, mark)` callable from SQL on this database."""
    money, texts = "STRUCT(amount DOUBLE, currency VARCHAR)", ["VARCHAR", "VARCHAR"]
    make: Any = connection.create_function  # its stubs know neither type names as text nor lambdas
    # lambdas, because DuckDB evaluates a function's annotations and these need pyarrow
    make("read_money", lambda x, mark: _moneys(x, mark), texts, money, type="arrow", null_handling="special")
    make("read_usd", lambda x, mark: _usds(x, mark), texts, "DOUBLE", type="arrow", null_handling="special")


def _moneys(texts: pa.ChunkedArray, marks: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    kind = pa.struct([("amount", pa.float64()), ("currency", pa.string())])
    found = (read_money(*pair) for pair in _pairs(texts, marks))
    return pa.array([m._asdict() if m else None for m in found], kind)


def _usds(texts: pa.ChunkedArray, marks: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    return pa.array([read_usd(*pair) for pair in _pairs(texts, marks)], pa.float64())


def _pairs(texts: pa.ChunkedArray, marks: pa.ChunkedArray) -> Iterator[tuple[str, str]]:
    """Text and decimal mark of each row; nothing is the empty text."""
    for text, mark in zip(texts.to_pylist(), marks.to_pylist(), strict=True):
        yield text or "", mark or ""
