"""HTML to text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline.engine import connect
from hapi_pipeline.intake import html
from hapi_pipeline.intake.html import to_text

CASES = {
    # no markup: only entities
    "plain words": "plain words",
    "two\n\n  lines ": "two\n\n  lines ",
    "R&D, Q&A": "R&D, Q&A",
    "fish &amp; chips": "fish & chips",
    "&lt;b&gt; is bold": "<b> is bold",
    "&amp;lt; once": "&lt; once",
    "caf&eacute; &#8364;&#x20AC; &hellip;": "café €€ …",
    "one&nbsp;two": "one two",
    "it&#39;s &quot;so&quot;": 'it\'s "so"',
    "a=1&copy=2&lt=3": "a=1&copy=2&lt=3",
    "&bogus; &#xD800; &#0;": "&bogus; \ufffd \ufffd",
    "a < b and x > y": "a < b and x > y",
    "if a<b then List<String>": "if a<b then List<String>",
    "mail <someone at home>": "mail <someone at home>",
    "I <3 maps": "I <3 maps",
    "H^draw^H a H^map^H": "draw a map",
    "H^ alone": "H^ alone",
    # markup
    "<b>bold</b> and <em>soft</em>": "bold and soft",
    "draw a <mark>map</mark>": "draw a map",
    "wo<em>rd</em>s": "words",
    "one<br>two<br/>three<BR />four": "one\ntwo\nthree\nfour",
    "<p>one</p><p>two</p>": "one\ntwo",
    "<p>one</p>two <b>three</b>": "one\ntwo three",
    "<ul><li>a</li><li>b</li></ul>": "a\nb",
    "<p>a &lt; b &amp;amp; c</p>": "a < b &amp; c",
    "<p>a < b, List<String></p>": "a < b, List<String>",
    "<p>x</p><script>alert('no')</script>y": "x\ny",
    "<style>p {color: red}</style><p>x</p>": "x",
    "a<!-- hidden <b>note</b> -->b <i>c</i>": "ab c",
    "<a href='https://example.org/?a=1&b=2'>site</a>": "site",
    "<p>a=1&copy=2</p>": "a=1&copy=2",
    "<p>unclosed <b>bold": "unclosed bold",
    "<p>one\n   two</p>": "one\ntwo",
    "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>": "a b\nc",
    "<b>Budget</b>: $200<br /><b>Skills</b>:a,     b": "Budget: $200\nSkills:a, b",
    "<p>one&nbsp;two\u00a0three</p>": "one two three",
    "<img src=x onerror=alert(1)>text": "text",
    "<p>x</p><!-- never closed": "x\n<!-- never closed",
    "<p class='x' hidden>one</p><script async src=a.js>no</script>": "one",
    "<p>a<b and c>d</p>": "a<b and c>d",
}


@pytest.mark.parametrize("markup", CASES)
def test_text(markup: str) -> None:
    assert to_text(markup) == CASES[markup]


def test_sql_reads_a_column_of_it() -> None:
    with connect() as connection:
        rows = connection.execute(
            "SELECT plain(x) FROM (SELECT unnest($texts::VARCHAR[]) AS x)", {"texts": [*CASES, None]}
        ).fetchall()
    assert [text for (text,) in rows] == [*CASES.values(), None]


def test_text_without_markup_is_never_handed_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def read(text: str) -> str:
        seen.append(text)
        return "read"

    monkeypatch.setattr(html, "to_text", read)
    with connect() as connection:
        rows = connection.execute(
            "SELECT plain(CASE WHEN i % 1000 = 0 THEN 'a & ' || i ELSE 'a plain text ' || i END) FROM range(5000) r(i)"
        ).fetchall()
    assert sorted(seen) == sorted(f"a & {i}" for i in range(0, 5000, 1000))
    assert rows[0] == ("read",)
    assert rows[1] == ("a plain text 1",)


@pytest.mark.parametrize(
    "hostile",
    [
        "<" * 60_000,
        "<a " * 30_000,
        "<!--" * 30_000,
        "&" * 60_000,
        "<div>" * 30_000,
        "<b>" * 30_000 + "</i>" * 30_000,
        "<a href='" * 20_000,
        "H^" * 30_000,
        "<![CDATA[" * 20_000,
        "<p>" * 1999 + "deep",
        "&#" * 40_000,
    ],
)
def test_hostile_markup_is_read_without_end_or_error(hostile: str) -> None:
    assert len(to_text(hostile)) <= len(hostile) * 4


def test_many_tags_are_read_by_a_pattern_with_the_same_words() -> None:
    few = "<ul>" + "<li>one <b>two</b> &amp; a < b</li>" * 10 + "</ul>"
    many = "<ul>" + "<li>one <b>two</b> &amp; a < b</li>" * 1000 + "</ul>"
    assert to_text(many).split()[:50] == to_text(few).split()[:50]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(text=st.text(st.sampled_from("ab <>/&;!-p=\"'\n#x3H^é"), max_size=40))
def test_any_text_comes_out_without_known_tags(text: str) -> None:
    assert "<p>" not in to_text(text) or "&" in text


@settings(derandomize=True, deadline=None, max_examples=100)
@given(words=st.lists(st.text(st.sampled_from("abcé<>&'\"3"), min_size=1, max_size=8), min_size=1, max_size=6))
def test_escaped_words_come_back_whatever_they_hold(words: list[str]) -> None:
    from html import escape

    assert to_text("<p>" + "</p><p>".join(escape(w) for w in words) + "</p>") == "\n".join(words)
