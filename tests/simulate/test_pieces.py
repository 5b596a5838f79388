"""Pieces of simulated texts: what must look like personal data and what must not."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import ean, iban, isbn, luhn

from hapi_pipeline.curation.pii import decide, scan_text
from hapi_pipeline.simulate import contacts, pieces
from hapi_pipeline.simulate.dice import Dice
from hapi_pipeline.simulate.pieces import harmless, luhn_sum, maker

SEEDS = st.integers(0, 10**9)
TEXT = "The blue table goes left. Draw it twice, then stop.\n\n- A point\n- Another point\n\nThat was all."


def made(pattern: str, seed: int) -> str:
    return maker(pattern)(Dice(seed))


@pytest.mark.parametrize("listing", ["LIGHT", "HEAVY", "TITLES"])
def test_a_scan_finds_nothing_in_harmless_pieces(listing: str) -> None:
    for piece in set(harmless(Dice("harmless"), getattr(pieces, listing), 800)):
        assert scan_text(f"the table and {piece} with a lamp") == [], piece


@pytest.mark.parametrize("listing", ["LIGHT", "HEAVY", "TITLES"])
def test_pieces_vary_and_every_pattern_is_used(listing: str) -> None:
    patterns = [line.partition(" ")[2] for line in getattr(pieces, listing).strip().splitlines()]
    found = harmless(Dice("varied"), getattr(pieces, listing), 4000)
    assert len(set(found)) > 100
    for pattern in patterns:
        shape = ".+".join(re.escape(part) for part in re.split(r"\{\w+\}", pattern))
        assert any(re.fullmatch(shape, piece) for piece in found), pattern


@pytest.mark.parametrize("kind", contacts.KINDS)
def test_a_scan_finds_every_kind_of_planted_data_wherever_it_stands(kind: str) -> None:
    for seed in range(60):
        dice = Dice(kind, seed)
        what = contacts.sentence(dice, kind)
        found = scan_text(contacts.planted(dice, TEXT, what))
        assert decide(found) == "reject", what
        assert kind.removesuffix("_obfuscated") in {finding.type for finding in found}, what


@given(SEEDS, st.sampled_from(contacts.KINDS))
@settings(max_examples=50)
def test_planting_loses_nothing(seed: int, kind: str) -> None:
    dice = Dice(seed)
    what = contacts.sentence(dice, kind)
    assert what in (text := contacts.planted(dice, TEXT, what)).split("\n\n")
    assert text.replace(what, "", 1).split() == TEXT.split()


@given(SEEDS)
@settings(max_examples=50)
def test_check_digits_are_right(seed: int) -> None:
    sentence = contacts.sentence(Dice(seed), "card")
    number = re.search(r"\d(?:[ -]?\d){15}", sentence)
    assert number
    assert luhn.is_valid(re.sub(r"\D", "", number.group()))
    account = re.search(r"[A-Z]{2}\d\d(?: ?[A-Z0-9]{1,4})+", contacts.sentence(Dice(seed), "iban").replace("IBAN", ""))
    assert account
    assert iban.is_valid(account.group().strip(), check_country=False)
    assert isbn.is_valid(made("{isbn_dashed}", seed))
    assert ean.is_valid(made("{ean}", seed))
    assert not luhn.is_valid(made("{ean}", seed))


@given(st.text("0123456789", min_size=1, max_size=20))
def test_the_luhn_sum_is_that_of_the_standard(digits: str) -> None:
    assert (luhn_sum(digits) % 10 == 0) == luhn.is_valid(digits)


def test_a_pattern_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(KeyError, match="nothing"):
        maker("a {nothing}")
