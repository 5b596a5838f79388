"""Money as people write it: the right amount and currency, or nothing; never a wrong number."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline.engine import connect
from hapi_pipeline.intake.money import Money, read_money, read_usd

U = None  # unknown

# what is written: (amount, currency or None)
KNOWN: dict[str, tuple[float, str | None]] = {
    # bare figures
    "1500": (1500, None), "0": (0, None), "7": (7, None), " 85 ": (85, None), "85.": (85, None), "85.5": (85.5, None),
    "85.50": (85.5, None), "1500.0": (1500, None), "1500.0000": (1500, None), "99.9900": (99.99, None),
    "1234.567": (1234.567, None), "0.500": (0.5, None), "1,500": (1500, None), "1,500.00": (1500, None),
    "12,345,678": (12345678, None), "12,345,678.90": (12345678.9, None), "1'500": (1500, None),
    "1'500.25": (1500.25, None), "1’500.25": (1500.25, None), "1,50,000": (150000, None),
    "12,34,567.50": (1234567.5, None),
    "1\u00a0500": (1500, None), "1\u202f500": (1500, None), "1\u2009500.50": (1500.5, None), "１５００": (1500, None),
    "٤٥٠": (450, None), "१२५": (125, None), "\ufeff85": (85, None), "8\u200b5": (85, None), '"85"': (85, None),
    "2k": (2000, None), "1.5k": (1500, None), "2 K": (2000, None),
    # US dollars
    "$85": (85, "USD"), "$ 85": (85, "USD"), "85$": (85, "USD"), "85 $": (85, "USD"), "＄85": (85, "USD"),
    "$1,500": (1500, "USD"), "$200.00": (200, "USD"), "$1,500.00": (1500, "USD"), "$1500": (1500, "USD"),
    "$699,000": (699000, "USD"), "$1 500": (1500, "USD"), "US$ 1 500": (1500, "USD"), "US$85": (85, "USD"),
    "US $85": (85, "USD"), "U.S. $85": (85, "USD"), "USD 85": (85, "USD"), "USD85": (85, "USD"), "85USD": (85, "USD"),
    "85 USD": (85, "USD"), "85 usd": (85, "USD"), "USD: 85": (85, "USD"), "85 (USD)": (85, "USD"),
    "$85 USD": (85, "USD"),
    "$85 (USD)": (85, "USD"), "USD $85": (85, "USD"), "$USD 85": (85, "USD"), "85 $US": (85, "USD"),
    "85 dollars": (85, "USD"), "1 dollar": (1, "USD"), "85 Dollars": (85, "USD"), "85 US dollars": (85, "USD"),
    "85 American dollars": (85, "USD"), "85 bucks": (85, "USD"), "1.500,00 $": (1500, "USD"), "$12,50": (12.5, "USD"),
    "$1'500": (1500, "USD"), "$1.5k": (1500, "USD"), "$2K": (2000, "USD"), "$2k USD": (2000, "USD"),
    "2k$": (2000, "USD"),
    "$1,500.": (1500, "USD"), "$1,500,": (1500, "USD"), "$1.50.": (1.5, "USD"), "$0": (0, "USD"),
    "$0.00": (0, "USD"), "$ 1,500.00 USD": (1500, "USD"),
    "$1,234.5600": (1234.56, "USD"), "$1\u00a0500": (1500, "USD"), "$85\u00a0USD": (85, "USD"),
    "\n$85\n": (85, "USD"),
    # words that change nothing
    "$85 fixed": (85, "USD"), "$85 fixed price": (85, "USD"), "$85 fixed-price": (85, "USD"),
    "Fixed-price: $85": (85, "USD"),
    "Fixed price $85": (85, "USD"), "Budget: $85": (85, "USD"), "Est. budget: $85": (85, "USD"),
    "Price: $85.00": (85, "USD"),
    "Price (USD): 85": (85, "USD"), "Price in USD: 85": (85, "USD"), "Total: $85": (85, "USD"),
    "$85 total": (85, "USD"),
    "$85 in total": (85, "USD"), "$85 only": (85, "USD"), "$85 flat fee": (85, "USD"), "$85 flat rate": (85, "USD"),
    "$85 one-time fee" : (85, "USD"), "Amount = 85": (85, None), "Cost 85": (85, None),
    "Project budget: 85 USD": (85, "USD"),
    # other dollars
    "CA$20": (20, "CAD"), "C$20": (20, "CAD"), "CAD 20": (20, "CAD"), "20 CAD": (20, "CAD"), "$20 CAD": (20, "CAD"),
    "CAD $1,500": (1500, "CAD"), "A$20": (20, "AUD"), "AU$20": (20, "AUD"), "AUD 20": (20, "AUD"),
    "$20 AUD": (20, "AUD"),
    "$1,500 AUD": (1500, "AUD"), "NZ$20": (20, "NZD"), "HK$1,500": (1500, "HKD"), "S$20": (20, "SGD"),
    "NT$1,500": (1500, "TWD"),
    "MX$20": (20, "MXN"), "R$ 260,00": (260, "BRL"), "20 Canadian dollars": (20, "CAD"),
    "20 Australian dollars": (20, "AUD"),
    # Europe
    "€50": (50, "EUR"), "€ 50": (50, "EUR"), "50€": (50, "EUR"), "50 €": (50, "EUR"), "50 EUR": (50, "EUR"),
    "EUR 50": (50, "EUR"), "50 euros": (50, "EUR"), "1 euro": (1, "EUR"), "1.500,00 €": (1500, "EUR"),
    "€1.500,00": (1500, "EUR"), "€1,500.00": (1500, "EUR"), "1 500,50 EUR": (1500.5, "EUR"), "1 500 €": (1500, "EUR"),
    "1\u202f500,50\u00a0€": (1500.5, "EUR"), "12,5 €": (12.5, "EUR"), "12,50 €": (12.5, "EUR"),
    "12.50 €": (12.5, "EUR"),
    "1.234.567 €": (1234567, "EUR"), "1.234.567,89 €": (1234567.89, "EUR"), "€1'049,95": (1049.95, "EUR"),
    "15,- €": (15, "EUR"), "€ 15,-": (15, "EUR"), "€ 15,--": (15, "EUR"), "CHF 15.-": (15, "CHF"),
    "€15.–": (15, "EUR"),
    "CHF 1'500.00": (1500, "CHF"), "CHF 1’500": (1500, "CHF"), "£50": (50, "GBP"), "£1,500": (1500, "GBP"),
    "50 GBP": (50, "GBP"), "£50.00 GBP": (50, "GBP"), "50 pounds sterling": (50, "GBP"), "50 zł": (50, "PLN"),
    "1 500,50 PLN": (1500.5, "PLN"), "590 Kč": (590, "CZK"), "9 800 Kč": (9800, "CZK"), "419 руб.": (419, "RUB"),
    "500 ₽": (500, "RUB"), "250 грн": (250, "UAH"), "1500 SEK": (1500, "SEK"), "50k€": (50000, "EUR"),
    "2.000.000 VND": (2000000, "VND"),
    # Asia, Africa
    "₹1,50,000": (150000, "INR"), "₹500": (500, "INR"), "INR 1,500": (1500, "INR"), "₹ 500/-": (500, "INR"),
    "₹12,34,567.50": (1234567.5, "INR"), "500 Indian rupees": (500, "INR"), "JPY 5,000": (5000, "JPY"),
    "5000 yen": (5000, "JPY"),
    "5000円": (5000, "JPY"), "CN¥500": (500, "CNY"), "500 RMB": (500, "CNY"), "₩50,000": (50000, "KRW"),
    "₱1,500": (1500, "PHP"),
    "฿500": (500, "THB"), "₦50000": (50000, "NGN"), "₪150": (150, "ILS"), "AED 500": (500, "AED"),
    "ZAR 500": (500, "ZAR"),
    "KES 500": (500, "KES"), "₺150": (150, "TRY"),
}  # fmt: skip

UNKNOWN = [
    # nothing said
    "", " ", "N/A", "n/a", "NA", "-", "--", "?", "none", "null", "nan", "TBD", "negotiable", "Negotiable.",
    "free", "Free!",
    "ask", "to be discussed", "see description", "$", "USD", "€", "contact me", "hidden", "five hundred dollars",
    # ranges and bounds
    "$10-$30", "$10 - $30", "$10–$30", "$10—30", "10-30", "10 - 30 USD", "10 to 30", "$10 to $30",
    "between $10 and $30",
    "$10/$30", "10..30", "$10 ~ $30", "From $50", "from 50", "starting at $50", "Up to $100", "up to 100 USD",
    "Less than $500",
    "under $500", "<$500", "< 500", ">500", "More than $500", "over $500", "$500+", "500+", "$500 +",
    "min $500", "$500 max",
    "max. 500", "≤ 500", "at least $500", "$100 or best offer", "$100 OBO", "$100 or $200", "10k-20k",
    "$1k - $2k", "1-2k",
    # about
    "~$500", "≈500", "about $500", "approx. $500", "around 500", "ca. 500 EUR", "circa 500", "roughly $50",
    # by the hour, month, piece
    "$20/hr", "$20 / hour", "$20/h", "$20 per hour", "$20 an hour", "20 USD/hour", "$20 hourly", "20/hr",
    "$20 p/h", "$20 ph",
    "$500/month", "$500 per month", "$500/mo", "$0.05/word", "$5 per page", "$5 each", "$5 per article", "$100/day",
    "$2,90 /m", "$20/hr fixed", "Hourly: $20", "$50 weekly",
    # signs
    "-50", "-$50", "$-50", "($50)", "(50)", "50-", "−50", "–50", "- 50", "+50", "$50 -",
    # two numbers
    "$50 $40", "$50 $100", "50, 60", "50 100", "$50 (was $80)", "$50 x 2", "2 x $50", "2x50", "50/100", "$50 for 2",
    "AED 8000 (USD 2179)", "1250€600", "$1,500 $200 off", "3 milestones of $50", "$50 (5 h)", "4 for $20",
    "10% of $500",
    # read in two ways
    "1.500", "$1.500", "€1.500", "1.500 €", "12.345", "€1,500", "1,500 EUR", "12,500 PLN", "1.500,00", "12,50",
    "1500,5",
    "1 500", "10 000", "1,500 KWD", "1,5k", "1.500k",
    # not well formed
    "1,50", "1,5", "1,50,00", "1,500,00", "1,500.00.00", "1.500.00", "1,,500", "1..5", "5²", "5½", "5①", "$1²",
    "1 50", "15 00", "1'50",
    "1.2.3", "1,500'000", "1.500'000", "1 500,000.5", "$119. 95", "1_500", "$.50", ".5", "1e5", "1e-3", "0x20",
    "1/2", "50.5O",
    "1,500 .00", "Infinity", "inf", "1500 500 5", "1,2345", "1234,567,890", "01,500", "0,500", "1 500 00",
    # another unit or an unknown currency
    "50%", "50 %", "50 stars", "50 hours", "3 days", "50 points", "50 credits", "50 connects", "50 XYZ",
    "50 BTC", "0.01 ETH",
    "Z$50", "X$50", "XX$50", "50c", "50 cents", "50¢", "Rs 500", "Rs. 500", "Rs.500", "500 rupees", "50 kr",
    "kr 50", "¥500",
    "50 pounds", "50 francs", "50 pesos", "R 500", "50 ALL", "50 top", "$50 EUR", "€50 USD", "$€50", "£50 USD",
    "EUR 50 USD",
    "CAD 50 AUD", "A$50 USD", "US 50", "1.5m", "$1.5M", "1 million", "2 lakh", "$50B", "5 grand",
    # more than a price
    "$50 + tip", "$50 plus bonus", "$50 and 5 stars", "$50 per project?", "$50!", "$50?", "$50*", "$50 (negotiable)",
    "I pay $50", "$50 after delivery", "$50 upfront", "$50 via PayPal", "not $50", "no more than $50",
    "$50 off", "save $50",
    "deposit $50", "50 USD tax", "$50 excl. VAT", "$50 a piece", "call 5550100", "2024-05-01", "12:30", "v1.5",
    "#50", "No. 50",
    "12345678901234", "1" * 90, "$" * 500, "9" * 500,
]  # fmt: skip


def test_the_table_is_large() -> None:
    assert len(KNOWN) + len(UNKNOWN) >= 400
    assert len(set(UNKNOWN)) == len(UNKNOWN)


@pytest.mark.parametrize("text", KNOWN)
def test_one_certain_price(text: str) -> None:
    assert read_money(text) == Money(*KNOWN[text])


@pytest.mark.parametrize("text", UNKNOWN)
def test_what_is_not_one_certain_price_is_unknown(text: str) -> None:
    assert read_money(text) is None


def test_sql_says_the_same_as_python() -> None:
    texts = [*KNOWN, *UNKNOWN]
    with connect() as connection:
        rows = connection.execute(
            "SELECT money(x), usd(x) FROM (SELECT unnest($texts::VARCHAR[]) AS x)", {"texts": texts}
        ).fetchall()
        assert connection.execute("SELECT money(NULL), usd(NULL), usd_in(NULL, 'USD')").fetchall() == [(None,) * 3]
    for text, (money, usd) in zip(texts, rows, strict=True):
        found = read_money(text)
        assert money == (found._asdict() if found else None), text
        assert usd == read_usd(text), text


@pytest.mark.parametrize(
    ("text", "mark", "amount"),
    [
        ("1.500", ",", 1500.0), ("1.500", ".", 1.5), ("1,500", ",", 1.5), ("1,500", ".", 1500.0), ("12,50",
        ",", 12.5),
        ("12,50", ".", U), ("12.50", ",", U), ("12.50", ".", 12.5), ("1.500,00", ",", 1500.0), ("1.500,00", ".", U),
        ("1,500.00", ",", U), ("1500", ",", 1500.0), ("$85", ",", 85.0), ("1.5k", ",", U), ("40.125", ".", 40.125),
    ],
)  # fmt: skip
def test_a_declared_decimal_mark_decides(text: str, mark: str, amount: float | None) -> None:
    assert read_usd(text, mark) == amount
    with connect() as connection:
        assert connection.execute("SELECT usd($x, $mark)", {"x": text, "mark": mark}).fetchone() == (amount,)


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [
        ("85", "USD", 85.0), ("85", "usd ", 85.0), ("$85", "$", 85.0), ("85", "EUR", U), ("85", None, U),
        ("85", "", U),
        ("€85", "USD", U), ("85 EUR", "USD", U), ("$85", "EUR", U), ("10-30", "USD", U), ("A$85", "USD", U),
    ],
)  # fmt: skip
def test_a_currency_in_a_column_of_its_own(text: str, currency: str | None, amount: float | None) -> None:
    with connect() as connection:
        found = connection.execute("SELECT usd_in($x, $currency)", {"x": text, "currency": currency}).fetchone()
        assert found == (amount,)


def test_zero_for_missing_is_declared_by_the_source() -> None:
    with connect() as connection:
        row = connection.execute(
            "SELECT nullif0(usd('0')), nullif0(usd('$0.00')), nullif0('0.0'), nullif0('5'), nullif0('N/A'), usd('0')"
        ).fetchone()
    assert row == (None, None, None, "5", "N/A", 0.0)


SYMBOLS = {"USD": ["$", "US$", "USD"], "EUR": ["€", "EUR"], "GBP": ["£", "GBP"], "CAD": ["CA$", "CAD"], "CHF": ["CHF"]}


@st.composite
def written(draw: st.DrawFn) -> tuple[str, float, str | None]:
    """An amount in one of the styles of the world, and what it is."""
    cents = draw(st.integers(0, 99_999_999) | st.integers(0, 300_000))
    currency = draw(st.sampled_from([None, *SYMBOLS]))
    group, point = draw(
        st.sampled_from([("", "."), (",", "."), (".", ","), (" ", ","), ("\u00a0", ","), ("'", "."), ("", ",")])
    )
    whole = f"{cents // 100:,}".replace(",", group)
    tail = (
        draw(st.sampled_from(["", point + f"{cents % 100:02d}"])) if cents % 100 == 0 else point + f"{cents % 100:02d}"
    )
    text = whole + tail
    if currency:
        sign, blank = draw(st.sampled_from(SYMBOLS[currency])), draw(st.sampled_from(["", " ", "\u202f"]))
        text = sign + blank + text if draw(st.booleans()) else text + blank + sign
    return draw(st.sampled_from(["", " ", "\n"])) + text, cents / 100, currency


@settings(derandomize=True, deadline=None, max_examples=600)
@given(case=written())
def test_an_amount_in_any_style_is_itself_or_unknown_but_never_another(case: tuple[str, float, str | None]) -> None:
    text, amount, currency = case
    found = read_money(text)
    assert found is None or (found.amount == pytest.approx(amount) and found.currency == currency), text


@settings(derandomize=True, deadline=None, max_examples=300)
@given(text=st.text(st.sampled_from("0159.,' $€kKUSD()-/\u00a0％½²①"), max_size=14))
def test_any_text_is_a_finite_amount_or_unknown(text: str) -> None:
    found: Any = read_money(text)
    assert found is None or 0 <= found.amount < 1e16
