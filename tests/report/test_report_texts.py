"""Sentences say what the numbers support; text and names from outside are harmless; Markdown leads nowhere."""

from __future__ import annotations

import re
import string
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hapi_pipeline.report import words
from hapi_pipeline.report.ask import Answer
from hapi_pipeline.report.figures import Column, cell, csv_of
from hapi_pipeline.report.pages.reading import rendered
from hapi_pipeline.report.safe import ACTIVE, INERT, download_name, page_name, visible

Row = dict[str, Any]


def answer(*rows: Row) -> Answer:
    return Answer("SELECT 1", tuple(rows[0]) if rows else (), rows)


def rate(model: str, completed: int, of: int = 100, **more: Any) -> Row:
    return {
        "model": model, "round": "agent_alone", "n_completed": completed, "n_eligible": of, "n_graded": of,
        "rate": completed / of, "rate_lo": completed / of - 0.1, "rate_hi": completed / of + 0.1, "rank": 1,
        "rank_lo": 1, "rank_hi": 1, "tie_group": 1,
    } | more  # fmt: skip


def said(board: Answer, lift: Answer | None = None, pairs: Answer | None = None) -> str:
    return " ".join(words.overview_words(board, lift or answer(), pairs or answer(), "all_criteria"))


def test_nothing_graded_is_said_and_nothing_more() -> None:
    assert words.headline(answer()) == "Nothing is graded yet"
    assert "hapi refresh" in said(answer())
    assert words.category_words(answer()) == ["Nothing is graded yet."]
    assert "not" in words.agreement_words(answer())[0].lower() or "No" in words.agreement_words(answer())[0]


def test_the_best_is_named_with_count_and_interval_and_those_like_it() -> None:
    alone = said(answer(rate("A", 43), rate("B", 20, rank=2, tie_group=2)))
    assert "A completed the most alone: 43 of 100, 43.0\u202f% (95 % interval 33.0 to 53.0\u202f%)" in alone
    assert "significantly more than the other" in alone
    like = said(answer(rate("A", 43), rate("B", 41, rank=2, tie_group=1)))
    assert "This is not distinguishable from B." in like
    assert "significantly" not in like


def test_models_that_cannot_be_told_apart_are_said_to_be() -> None:
    board = answer(rate("A", 60), rate("B", 23, rank=2, tie_group=2), rate("C", 21, rank=3, tie_group=2))
    pair = {"model_a": "C", "model_b": "B", "round": "agent_alone", "difference": -0.02, "diff_lo": -0.07,
            "diff_hi": 0.03, "n_common": 100, "mde": 0.08}  # fmt: skip
    text = said(board, pairs=answer(pair))
    assert "B and C are not distinguishable: a difference of +2.0 points (95 % interval −3.0 to +7.0)" in text
    assert "Their 100 common jobs would show a gap of 8 points or more." in text


def test_what_is_not_known_makes_a_lower_bound_and_no_winner() -> None:
    board = answer(rate("A", 43, n_graded=80), rate("B", 20, rank=2, tie_group=2))
    assert words.headline(board) == "Alone, agents completed at least 20 to 43\u202f% of 100 paid jobs"
    assert "180 of 200 first attempts are graded" in said(board)
    assert "the most" not in said(board)


def net(model: str, value: float, lo: float, hi: float) -> Row:
    return {"model": model, "round": "feedback_1", "net_points": value, "net_lo": lo, "net_hi": hi, "n_retried": 9,
            "control_round": "retry_1"}  # fmt: skip


def lifted(*rows: Row, control: int = 9) -> Answer:
    """First feedbacks with their control arms, in which so many jobs were tried again."""
    arms = [
        {**row, "round": "retry_1", "control_round": None, "net_points": None, "n_retried": control} for row in rows
    ]
    return answer(*rows, *arms)


def test_feedback_is_credited_only_where_its_interval_leaves_zero_out() -> None:
    text = said(
        answer(rate("A", 43)), lift=lifted(net("A", 7.1, 3.6, 10.7), net("B", 3.1, -0.03, 6.2), net("C", -4, -6, -2))
    )
    assert "the first feedback added 7.1 points for A (+3.6 to +10.7)" in text
    assert "For B what it added, 3.1 points (−0.03 to +6.2), is not distinguishable from nothing." in text
    assert "For C it took 4.0 points away." in text
    many = lifted(*(net(f"M{i}", 5, 1 if i else -1, 9) for i in range(6)))
    assert "for 5 of 6 models; for 1 what it added is not distinguishable" in said(answer(rate("A", 43)), lift=many)


def test_feedback_is_not_credited_without_a_control_arm() -> None:
    lift = lifted(net("A", 0.0, -0.2, 0.2), control=0)
    assert "Beyond a second try" not in said(answer(rate("A", 43)), lift=lift)


def test_themes_are_called_hard_only_where_the_interval_says_so() -> None:
    theme = {"theme": "rows", "share_of_failures": 0.3, "share_of_failures_lo": 0.2, "share_of_failures_hi": 0.4,
             "share_of_criteria": 0.25, "n_all_failed": 50}  # fmt: skip
    assert "no theme stands out" in " ".join(words.theme_words(answer(theme)))
    harder = theme | {"share_of_criteria": 0.1}
    assert "over-represented in 1 of 1 themes: “rows”" in " ".join(words.theme_words(answer(harder)))


def test_of_graders_only_what_holds_for_many_is_said() -> None:
    assert "fewer than five graders" in words.grader_words(answer())[0]
    many = {"n_compared": 12, "n_lenient": 1, "n_strict": 1, "leniency_least": -0.009, "leniency_most": 0.007}
    assert words.grader_words(answer(many))[0].endswith("for 2 of them that is distinguishable from zero.")
    assert "−0.9 to +0.7 points" in words.grader_words(answer(many))[0]


def test_an_empty_middle_zone_is_said() -> None:
    zone = {"model": "A", "round": "feedback_1", "value_alone_human_ai_usd": 273.0, "value_human_ai_human_usd": 137.0}
    assert "empty for every model" in words.zone_words(answer(zone))[0]
    assert "all three zones" in words.zone_words(answer(zone | {"value_alone_human_ai_usd": 20.0}))[0]


@given(st.text())
def test_shown_text_turns_no_writing_and_holds_no_control(text: str) -> None:
    shown = visible(text)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x7f]", shown)
    shown.encode("utf-8")


@given(st.text(min_size=1), st.text(min_size=1))
def test_pages_have_safe_names_of_their_own(one: str, other: str) -> None:
    assert re.fullmatch(r"job-[a-z0-9_.-]+\.html", page_name(one))
    assert len(page_name(one)) < 90
    if one != other:
        assert page_name(one).casefold() != page_name(other).casefold()


@given(st.one_of(st.text(), st.from_regex(r"[\w./\\: -]{0,40}\.(html|SVG|exe|pdf|js|lnk|xlsx|docm)", fullmatch=True)))
def test_downloads_have_names_that_nothing_runs(path: str) -> None:
    name, note = download_name(path)
    assert set(name) <= set(string.ascii_letters + string.digits + "._-")
    assert 0 < len(name) <= 110
    ending = name.rpartition(".")[2]
    assert ending in INERT | {"bin"}
    assert ending not in ACTIVE
    assert not name.startswith((".", "con.", "nul."))
    assert bool(note) == (ending == "bin" or (name.count(".") > 1 and path.lower().rpartition(".")[2] in ACTIVE))


def test_cells_and_csv_hold_hostile_text_as_text() -> None:
    row = {"theme": "<script>x</script>", "rate": 0.5, "lo": 0.25, "hi": None}
    assert cell(Column("theme", "Theme"), row) == "&lt;script&gt;x&lt;/script&gt;"
    assert cell(Column("rate", "Rate", "share"), row) == '<data value="0.5" data-c="rate">50.0\u202f%</data>'
    assert "ci" not in cell(Column("rate", "Rate", "share", "lo", "hi"), row)
    assert csv_of(answer({"model": "=1+1", "difference": -0.5})) == "model,difference\r\n'=1+1,-0.5\r\n"


def test_markdown_leads_nowhere_and_passes_no_html_on() -> None:
    html = rendered(
        "# Title\n\n## A heading: with `code`\n\n[out](https://leak.test/x) [in](data_dictionary.md#jobs) "
        "[far](../sql/x.sql) "
        "![a picture](https://leak.test/p.png) <script>x</script> [evil](javascript:alert(1))\n\n|a|b|\n|-|-|\n|1|2|\n"
    )
    assert "Title" not in html
    assert '<h2 id="a-heading-with-code">' in html
    assert 'href="dictionary.html#jobs"' in html
    assert html.count("href=") == 1
    assert "src=" not in html
    assert "[Picture: a picture]" in html
    assert "&lt;script&gt;" in html
    assert 'tabindex="0"><table>' in html
