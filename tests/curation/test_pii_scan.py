"""The fast scan gives the answers of the full one: for any text, in any process, and however the first look works."""

from __future__ import annotations

import random
import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline.curation.pii import phone, scan_text, scan_texts
from hapi_pipeline.curation.pii.page import Page, Pattern, _fold_table, ascii_source, fold, pattern
from hapi_pipeline.curation.pii.scan import DETECTORS

# What stands around numbers and what makes them more or less like phone numbers, addresses, cards and the like.
PIECES = """
    call me|tel:|phone|Phone:|WhatsApp|number is|m:|order no|id|ext 5|x12|office|fax|usd|words|reach out|answering|móvil
    +1|+44|00|0800 123 456|212-664-7665|(212) 664-7665|020 7946 0958|9876543210|2023-01-02|2023-01-02T|12:30|1.5|12|345
    6789|1234567890123456789|81.2.69.142|http://a.b/|www.x.y/?p=|4111 1111 1111 1111|219-09-9998|DE89 3704 0044 0532 01
    IBAN|card|server|address|::|=::|="::"|::1|fe80::1|2a00:1450::200e|a::b|[::-1]|maria@quietriver.org|@|at|dot|[at]
    gmail|com|skype:|password:|Hunter2!x|12 Elm Street|Box 12|Dr. Maria Lopez|Regards,|CPF 529.982.247-25|passport
"""
PARTS = [part for line in PIECES.splitlines() for part in line.strip().split("|") if part]
JOINTS = [
    " ",
    "  ",
    "",
    "\n",
    "\t",
    "-",
    ".",
    "(",
    ")",
    "+",
    "++(((",
    "/",
    "\\",
    '"',
    "[",
    "$",
    "€",
    "#",
    "=",
    ",",
    "é",
    "☎",
    "_",
]


def odd_text(chance: random.Random) -> str:
    """A text without sense, full of what detectors look for."""
    return "".join(chance.choice(PARTS) + chance.choice(JOINTS) for _ in range(chance.randrange(1, 9)))


def test_the_fast_scan_equals_the_full_one_on_texts_full_of_candidates() -> None:
    chance = random.Random(11)
    texts = [odd_text(chance) for _ in range(600)]
    full = [scan_text(text) for text in texts]
    assert scan_texts(texts) == full
    assert {finding.type for findings in full for finding in findings} >= {
        *("phone", "email", "card", "us_ssn", "ip_address", "street_address", "secret", "person_name"),
    }
    assert sum(not findings for findings in full) > 30


_piece = st.one_of(st.sampled_from(PARTS), st.sampled_from(JOINTS), st.text(max_size=5))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(_piece, max_size=10).map("".join))
def test_the_fast_scan_equals_the_full_one_on_any_text(text: str) -> None:
    assert scan_texts([text]) == [scan_text(text)]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(_piece, max_size=8).map("".join))
def test_a_letter_of_another_script_far_away_changes_nothing(text: str) -> None:
    """Texts of ASCII characters have automata of their own: they must find what those for all characters find."""
    plain = fold(text).encode("ascii", "ignore").decode()
    apart = plain + "\n" + " " * 500 + "\n"
    assert scan_texts([apart + "ж"]) == scan_texts([apart + "z"])


def every_pattern() -> list[Pattern]:
    """The patterns that detectors run, and their triggers."""
    patterns = [pattern(trigger) for detector in DETECTORS for trigger in detector.triggers]
    for detector in DETECTORS:
        for value in detector.find.__globals__.values():
            patterns += [
                entry for entry in (value if isinstance(value, tuple) else (value,)) if isinstance(entry, Pattern)
            ]
    return list({one.source: one for one in patterns}.values())


def test_each_pattern_matches_the_same_in_both_readings_of_an_ascii_text() -> None:
    chance = random.Random(5)
    text = "\n".join(odd_text(chance).encode("ascii", "ignore").decode() for _ in range(15))
    patterns = every_pattern()
    assert len(patterns) > 60
    for one in patterns:
        expected = [(m.span(), m.groups()) for m in one.finditer(text)]
        found = [(m.span(), m.groups()) for m in one.finditer_ascii(text, text.encode())]
        assert found == expected, one.source


NEEDING = """
    ana (at) quietriver (dot) org|ana[@]quietriver.org|ana{chez}x<point>fr|ana at quietriver [dot] org|ana @ x <.> org
    ana at quietriver dot org|ana  at mail dot x  dot com|ana at gmail.com|ana AT Gmail dot com|ana @ gmail . com
    ana@ hotmail.com|ana@gmail . com|ana@gmail (dot) com|ana@gmail com|anaATriverDOTcom|ana_at_river_dot_org
    AKIAIOSFODNN7EXAMPLQ|ghp_aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3|sk-proj-aB3aB3aB3aB3aB3aB3aB3|xoxb-123456-abcdef
    AIzaaB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB|-----BEGIN PRIVATE KEY-----|sk_live_aB3aB3aB3aB3aB3a
    postgres://maria:s3cretPw@db.quietriver.org/x|123456789:AAaB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3a|hf_aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3
    glpat-aB3aB3aB3aB3aB3aB3aB3|github_pat_aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB|npm_aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3
    SG.aB3aB3aB3aB3aB3aB3aB3.aB3aB3aB3aB3aB3aB3aB3|eyJaB3aB3aB3aB.eyJaB3aB3aB3aB.aB3aB3aB3aB
"""


def test_what_a_pattern_needs_is_in_every_text_that_it_matches() -> None:
    texts = [text for line in NEEDING.splitlines() for text in line.strip().split("|") if text]
    needing = [one for one in every_pattern() if one.needs is not None]
    assert len(needing) >= 20
    for one in needing:
        matched = [text for text in texts if any(one.finditer(text))]
        assert matched, f"no text here for {one.source}"
        assert one.needs is not None
        assert [text for text in matched if not any(one.needs.finditer(text))] == [], one.source


def test_characters_that_one_byte_cannot_hold_match_nothing_in_ascii() -> None:
    assert ascii_source("[a-č]ž?☎x") == b"[a-\xff]\xff?\xffx"
    assert [m.group() for m in pattern("ž?x|é+y").finditer_ascii("x y", b"x y")] == ["x"]


def test_a_group_that_took_no_part_is_none() -> None:
    (match,) = pattern("(a)|(b)").finditer_ascii("b", b"b")
    assert match.groups() == (None, "b")
    assert (match.span(), match.start(2), match.end(2)) == ((0, 1), 0, 1)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(st.one_of(st.characters(), st.sampled_from("٣７９－．\u200b\u2019\ud800é你 a1"))))
def test_folding_is_character_by_character(text: str) -> None:
    table = _fold_table()
    assert fold(text) == "".join(table.get(ord(char), char) if ord(char) > 127 else char for char in text)


def test_every_decimal_digit_folds() -> None:
    wrong = [code for code in range(128, 0x110000) if chr(code).isdecimal() and not _fold_table()[code].isdigit()]
    assert wrong == []


def test_the_quick_looks_lose_no_phone_cue() -> None:
    """Every text that a cue pattern accepts passes the looks before it."""
    words = """
        phone|phones|tel|telephone|telefone|telefon|telefonnummer|téléphone|whatsapp|whats app|viber|hotline|sms|fax
        móvil|movil|celular|cellulare|handy|mobil|mobile|mobilnummer|cell|cellular|cellphone|contact us|call me
        calling at|can text|please dial|pls call|text me|reach us|ring me|dial|answering|message to|messages to
        message me|number is|numbers are|my registered|registered no|☎|📞|📱|tel:|sms:|desk:|office:|home:|p:|m:|f:|fax#
    """
    for word in (word for line in words.splitlines() for word in line.strip().split("|")):
        for filler in ("", " ", ": ", " is ", " - ", " no. ", " (", "="):
            before = f"our {word}{filler}"
            accepted = phone._STRONG_CUE.search(before) or phone._LABEL_CUE.search(before)
            assert phone._cue_before(Page(before + "5551234"), len(before)) == bool(accepted), before
    assert phone._cue_before(Page("call me 5551234"), 8)
    assert not phone._cue_before(Page('call me "5551234'), 9)


def test_a_run_of_digits_is_found_whole() -> None:
    """The pattern of Python, with the marks before it, finds the runs that one RE2 pattern for both would."""
    whole = pattern(r"[+(]{0,3}[0-9](?:[ \t().\-/\\]{0,3}\+?[0-9]){5,}")
    chance = random.Random(3)
    for _ in range(3000):
        text = "".join(chance.choice("0123456789+(). -/\\a") for _ in range(chance.randrange(30)))
        runs = [(phone._run_start(text, run.start()), run.end()) for run in phone._RUN.finditer(text)]
        assert runs == [m.span() for m in whole.finditer(text)], text


@pytest.mark.parametrize("text", ["1" * 100_000, "1 2" * 8_000, "12345(" * 10_000, "+" * 100_000, "1 -(" * 8_000])
def test_runs_of_digits_take_linear_time(text: str) -> None:
    assert len(re.findall(phone._RUN, text)) <= 1
    assert isinstance(scan_texts([text])[0], list)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("src=:: dst=::1", 2),
        ('bind(address="::")', 1),
        ("::", 1),
        ("servers and hosts::\n\n    code", 0),
        ("Topic :: Internet :: Name Service (DNS) server", 0),
        ("std::cout on the server", 0),
        ("ping 2a00:1450::200e", 1),
        ("ping 1:2:3:4:5:6:7:8", 1),
    ],
)
def test_two_colons_are_an_address_only_as_a_value(text: str, found: int) -> None:
    assert len([f for f in scan_text(text) if f.type == "ip_address"]) == found
    assert scan_texts([text]) == [scan_text(text)]


def test_random_printable_text_is_scanned_alike() -> None:
    chance = random.Random(8)
    texts = ["".join(chance.choice(string.printable) for _ in range(200)) for _ in range(300)]
    assert scan_texts(texts) == [scan_text(text) for text in texts]
