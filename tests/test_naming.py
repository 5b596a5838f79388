from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hapi_pipeline.naming import digest, slug, unslug

ANY = st.text(st.characters(exclude_categories=[]), max_size=40)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(ANY)
@example("a/b|c,d...e")
@example("..")
@example(" x ")
@example("100% [a]*?")
@example("\ud800")
@example("%2E")
def test_a_slug_can_be_undone_and_is_safe_as_folder_key_and_pattern(name: str) -> None:
    text = slug(name)
    assert unslug(text) == name
    assert not set(text) & set("/\\|,*?[]\0\n\"'")
    assert ".." not in text
    assert not text.startswith(".")
    assert text == text.strip()
    assert text.isascii()


@settings(derandomize=True, deadline=None)
@given(ANY, ANY)
def test_different_names_have_different_slugs(one: str, other: str) -> None:
    assert (slug(one) == slug(other)) is (one == other)


def test_common_names_stay_readable() -> None:
    assert slug("GPT-5 (high) v1.2") == "GPT-5 (high) v1.2"
    assert Path(slug("org/model")).parts == ("org%2Fmodel",)


@settings(derandomize=True, deadline=None)
@given(st.lists(ANY, max_size=4), st.lists(ANY, max_size=4))
def test_lists_with_different_parts_have_different_digests(one: list[str], other: list[str]) -> None:
    assert (digest(*one) == digest(*other)) is (one == other)


@pytest.mark.parametrize("length", [1, 12, 64])
def test_a_digest_has_the_length_asked_for(length: int) -> None:
    assert len(digest("a", b"b", length=length)) == length
