"""The reply to a grader: which row, which criterion, what is wrong, what to do; nothing that gives anything away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline.grading.files import OVERALL, Problem, read_verdict_file
from hapi_pipeline.grading.packets import PacketSpec, write_packet
from hapi_pipeline.grading.reply import MOST_SHOWN, first_row, inert, reply
from hapi_pipeline.grading.verdicts import GradingIndex, judgement

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
Drop = Callable[[str, str], Path]


def reply_to(path: Path, index: GradingIndex, spec: PacketSpec) -> str:
    file = read_verdict_file(path)
    made = judgement(file, index, source_file=path.name, source_sha256="ab", imported_at=NOW)
    texts = {(spec.packet_id, c.criterion_id): c.text for c in spec.criteria}
    return reply(path.name, file.form, made.rows, made.problems, texts, above=first_row(file), secrets=index.models)


def test_a_half_filled_workbook(spec: PacketSpec, tmp_path: Path, index: GradingIndex) -> None:
    write_packet(spec, tmp_path / "p")
    book = openpyxl.load_workbook(tmp_path / "p" / f"packet_{spec.packet_id}.xlsx")
    sheet = book["grade"]
    sheet["E4"], sheet["E5"], sheet["C6"] = "ann", "half an hour", "Good start"
    sheet["D8"], sheet["D9"], sheet["D11"] = "PASS", "perhaps", '=IF(1,"PASS")'
    book.save(tmp_path / "back.xlsx")
    text = reply_to(tmp_path / "back.xlsx", index, spec)
    assert "# Your file back.xlsx" in text
    assert "1 verdict(s) on 1 packet(s) were taken in" in text
    assert "3 place(s) need your attention" in text
    assert "**Row 9 of the sheet**" in text
    assert 'criterion c02 (“=SUM is used; totals are ‹ 5 % off + "rounded"”)' in text
    assert "There stands: “perhaps”" in text
    assert "**Row 10 of the sheet**" in text
    assert "The verdict is blank; choose PASS, FAIL or CANNOT_JUDGE." in text
    assert "**Row 11 of the sheet**" in text
    assert "Cell D11 holds a formula" in text
    assert "There stands: “half an hour”" in text
    assert "quillmind" not in text
    assert "agent_alone" not in text


def test_rows_are_counted_as_the_grader_sees_them(drop: Drop, spec: PacketSpec, index: GradingIndex) -> None:
    head = f"sep=,\npacket_id,{spec.packet_id}\ngrader,ann\n\ncriterion_id,verdict\n"
    text = reply_to(drop("twin.csv", head + "c01,pass\nc02,\nc03,yes\nc04,no\n"), index, spec)
    assert "**Row 7**" in text
    long = "packet_id,criterion_id,passed,grader\n" + f"{spec.packet_id},c01,maybe,ann\n"
    assert "**Row 2**" in reply_to(drop("long.csv", long), index, spec)
    line = f'{{"packet_id":"{spec.packet_id}","criterion_id":"c01","passed":"","grader":"ann"}}\n'
    assert "**Row 2**" in reply_to(drop("x.jsonl", "\n" + line), index, spec)


def test_a_file_without_fault(drop: Drop, spec: PacketSpec, index: GradingIndex) -> None:
    rows = "".join(f"{spec.packet_id},c0{n},yes,ann\n" for n in range(1, 5))
    text = reply_to(drop("good.csv", "packet_id,criterion_id,passed,grader\n" + rows), index, spec)
    assert "Thank you. 4 verdict(s) on 1 packet(s)" in text
    assert "could not" not in text


def test_what_was_taken_in_with_a_doubt_is_said(drop: Drop, spec: PacketSpec, index: GradingIndex) -> None:
    rows = f"{spec.packet_id},c01,yes,ann,03/04/2026,surely QuillMind-9\n"
    text = reply_to(drop("a.csv", "packet_id,criterion_id,passed,grader,graded_at,comment\n" + rows), index, spec)
    assert "could not be read with certainty" in text
    assert "judge the work alone" in text
    assert "uillmind" not in text.casefold()


def test_a_model_that_a_file_names_is_not_repeated(drop: Drop, spec: PacketSpec, index: GradingIndex) -> None:
    head = "job_id,model,round,criterion_id,passed,grader\n"
    bad = "j1,quillmind-9,agent_alone,c01,QuillMind-9 did it,ann\nj1,quillmind-9,feedback_9,c01,yes,ann\n"
    text = reply_to(drop("QuillMind-9.csv", head + bad), index, spec)
    assert "uillmind" not in text.casefold()
    assert "feedback_9" not in text
    assert "… did it" in text


def test_very_many_problems_are_counted() -> None:
    problems = [Problem(n, "verdict", "?", "bad_verdict", "This is no verdict.", f"c{n}", "pk") for n in range(1000)]
    text = reply("a.csv", "long", [], problems, {})
    assert text.count("This is no verdict.") == MOST_SHOWN
    assert f"And {1000 - MOST_SHOWN} more places" in text
    assert f"{1000 - MOST_SHOWN} × bad verdict" in text


HOSTILE = (
    "<script>alert(1)</script>",
    "[free](javascript:alert(1))",
    "![x](http://evil.example/p.png)",
    "https://evil.example/x",
    "www.evil.example",
    "`` ` ``",
    "a|b",
    "# Title\n\n* item",
    "\u202etxt.exe\u200b",
    "\x1b[31mred",
    "&lt;img src=x onerror=alert(1)&gt;",
    "file:///etc/passwd",
    "=cmd|' /C calc'!A0",
)


@pytest.mark.parametrize("evil", HOSTILE)
def test_nothing_of_the_file_is_live_in_the_reply(evil: str) -> None:
    problem = Problem(1, "verdict", evil, "bad_verdict", f"Not {evil}", evil, evil)
    text = reply(evil, "long", [], [problem], {(evil, evil): evil})
    harmless(text.replace("\n", ""))
    assert len(text.splitlines()) == 11


def harmless(text: str) -> None:
    for live in ("<", ">", "[", "]", "`", "|", "://", "www.", "&", "\u202e", "\x1b", "\u200b"):
        assert live not in text, live


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(st.sampled_from([*HOSTILE, "a", " ", ":", "//", "w", ".", "\\", "\ufeff"]), max_size=8).map("".join))
def test_inert_text_is_one_harmless_line(text: str) -> None:
    line = inert(text)
    harmless(line)
    assert len(line.splitlines()) <= 1
    assert len(line) < 140


def test_overall_feedback_is_called_by_its_name() -> None:
    problem = Problem(None, "comment", None, "missing_verdict", "No comment.", OVERALL, "pk_1")
    assert "**Above the table**, packet pk_1, overall feedback" in reply("a", "workbook", [], [problem], {})
