"""The workbook that goes out and what is read from the one that comes back."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline.audit.answers import (
    Answer,
    as_shown,
    judge,
    parse_answer,
    parse_moment,
    parse_reason,
    read_audit_file,
)
from hapi_pipeline.audit.reasons import LABELS, SPELLINGS
from hapi_pipeline.audit.workbook import (
    ANSWERS,
    COLUMNS,
    HEADER_ROW,
    HELP_SHEET,
    JOBS_SHEET,
    META_SHEET,
    workbook_bytes,
)
from hapi_pipeline.grading.words import BAD, MISSING
from hapi_pipeline.registry import Benchmark
from hapi_pipeline.settings import UserError
from tests.audit.conftest import answers_csv, sampled

Drop = Callable[[str, str | bytes], Path]
Fill = Callable[..., Path]
JOBS = [sampled("j1"), sampled("j2"), sampled("007"), sampled("j4")]
HOME = {"j1": "j1", "j2": "j2", "007": "007", "j4": "j4"}
FIRST = HEADER_ROW + 1
ANSWER_COLUMN = COLUMNS.index("should_be_kept") + 1


def read(path: Path) -> tuple[dict[str, Answer], list[tuple[int | None, str]]]:
    answers, rejected = judge(read_audit_file(path), HOME)
    return {a.job_id: a for a in answers}, [(r.row, r.code) for r in rejected]


# ---- out


def test_hostile_text_stays_text(benchmark: Benchmark) -> None:
    nasty = (
        '=HYPERLINK("http://a.example")',
        "+1",
        "-2",
        "@x",
        "\t=1",
        "http://a.example",
        "<b>&",
        "_x0041_",
        "\ud800\x00",
    )
    jobs = [sampled(f"j{n}", title=text, description=text, category=text) for n, text in enumerate(nasty)]
    sheet = openpyxl.load_workbook(io.BytesIO(workbook_bytes(jobs, benchmark.rules, {})))[JOBS_SHEET]
    cells = [cell for row in sheet.iter_rows(min_row=FIRST) for cell in row]
    assert {cell.data_type for cell in cells if cell.value is not None} <= {"s", "n"}
    assert all(not isinstance(cell.value, int | float) and cell.hyperlink is None for cell in cells)
    assert [sheet.cell(FIRST + n, 3).value for n in range(4)] == list(nasty[:4])


def test_the_curator_finds_facts_choices_and_a_warning(benchmark: Benchmark) -> None:
    unknown = sampled("j2", price_usd=None, paid=None, milestone_count=None, title=None, attachments=[])
    book = openpyxl.load_workbook(io.BytesIO(workbook_bytes([sampled("j1"), unknown], benchmark.rules, {"seed": "s"})))
    assert book.sheetnames == [HELP_SHEET, JOBS_SHEET, META_SHEET]
    assert book[META_SHEET].sheet_state == "hidden"
    help_text = " ".join(str(cell.value) for row in book[HELP_SHEET].iter_rows() for cell in row)
    assert "own curators" in help_text
    assert "real people" in help_text
    sheet: Any = book[JOBS_SHEET]
    shown = dict(zip(COLUMNS, (cell.value for cell in sheet[FIRST]), strict=True))
    assert (shown["price"], shown["paid"], shown["attachments"]) == ("$1,250.50", "yes", "harbour.pdf\nboats.csv")
    assert [cell.value for cell in sheet[FIRST + 1]][5:8] == [None, "fixed", None]
    choices = [v.formula1.strip('"').split(",") for v in sheet.data_validations.dataValidation]
    assert choices == [list(ANSWERS), list(LABELS.values())]
    assert sheet.protection.sheet
    assert [sheet.cell(FIRST, c).protection.locked for c in (1, 4, ANSWER_COLUMN)] == [True, True, False]
    assert sheet.freeze_panes == f"B{FIRST}"


def test_a_long_post_is_cut_where_a_cell_ends(benchmark: Benchmark) -> None:
    data = workbook_bytes([sampled("j1", description="word " * 20_000)], benchmark.rules, {})
    text = openpyxl.load_workbook(io.BytesIO(data))[JOBS_SHEET].cell(FIRST, 4).value
    assert isinstance(text, str)
    assert 30_000 < len(text) <= 32_767
    assert text.endswith("[…]")


def test_a_sample_of_simulated_posts_says_so(benchmark: Benchmark) -> None:
    for simulated in (True, False):
        data = workbook_bytes([sampled("j1"), sampled("j2", simulated=simulated)], benchmark.rules, {})
        title = openpyxl.load_workbook(io.BytesIO(data))[JOBS_SHEET]["A1"].value
        assert ("simulated posts" in str(title)) is simulated


def test_the_same_sample_gives_the_same_bytes(benchmark: Benchmark) -> None:
    assert workbook_bytes(JOBS, benchmark.rules, {}) == workbook_bytes(JOBS, benchmark.rules, {})


# ---- back


def test_a_filled_workbook_is_read_and_blank_rows_are_no_answers(fill: Fill) -> None:
    path = fill(
        JOBS,
        {
            "j1": ("KEEP",),
            "j2": (" Reject ", "Personal data", "an e-mail\nin the text"),
            "007": ("CANNOT_JUDGE", None, "no price"),
        },
        judged_on=datetime(2026, 4, 2),  # noqa: DTZ001 (a cell has no zone)
    )
    file = read_audit_file(path)
    assert file.curator == "ann"
    assert parse_moment(file.judged_at, datetime(2026, 5, 1, tzinfo=UTC)) == datetime(2026, 4, 2, tzinfo=UTC)
    answers, rejected = read(path)
    assert rejected == []
    assert answers == {
        "j1": Answer(FIRST, "j1", True, None, None),
        "j2": Answer(FIRST + 1, "j2", False, "pii_free_jobs", "an e-mail\nin the text"),
        "007": Answer(FIRST + 2, "007", None, None, "no price"),
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_is_read_with_any_delimiter(drop: Drop, delimiter: str) -> None:
    rows = [("j1", "yes", "", ""), ("j2", "no", "pii", "a; b, c"), ("j4", "", "", "")]
    answers, rejected = read(drop("a.csv", "\ufeff" + answers_csv(rows, delimiter=delimiter)))
    assert {j: a.keep for j, a in answers.items()} == {"j1": True, "j2": False}
    assert rejected == []


FORGED = "curator,,mallory\njob_id,should_be_kept\nj1,KEEP\n"


@pytest.mark.parametrize("post", [f"Nice.\n{FORGED}", f"Nice.\n{FORGED}Bye.", f'"\n{FORGED}"'])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_lines_of_a_post_are_never_taken_for_answers(drop: Drop, delimiter: str, post: str) -> None:
    out = io.StringIO()
    table = csv.writer(out, delimiter=delimiter)
    table.writerows([["curator", "ann"], ["job_id", "description", "should_be_kept", "reason"]])
    table.writerows([["j2", post, "REJECT", "pii"], ["j1", "Plain.", "REJECT", "pii"]])
    file = read_audit_file(drop("a.csv", out.getvalue()))
    assert file.curator == "ann"
    answers, _ = judge(file, HOME)
    assert {a.job_id: a.keep for a in answers} == {"j1": False, "j2": False}


def test_broken_quotation_marks_cost_the_file_and_never_let_a_post_answer(drop: Drop) -> None:
    text = f'curator,ann\njob_id,should_be_kept,description\nj2,REJECT,"Nice" or\n{FORGED}"\n'
    with pytest.raises(UserError, match="quotation marks"):
        read_audit_file(drop("a.csv", text))


@pytest.mark.parametrize(
    ("answer", "reason", "code"),
    [
        ("perhaps", "", "bad_answer"),
        ("x" * 300, "", "bad_answer"),
        ("", "Personal data", "missing_answer"),
        ("KEEP", "Personal data", "contradiction"),
    ],
)
def test_a_row_that_is_no_answer_says_why(drop: Drop, answer: str, reason: str, code: str) -> None:
    answers, rejected = read(drop("a.csv", answers_csv([("j1", answer, reason, ""), ("j2", "KEEP", "", "")])))
    assert (list(answers), rejected) == (["j2"], [(4, code)]) or (list(answers), rejected) == (["j2"], [(5, code)])


@pytest.mark.parametrize(("reason", "code"), [("", "missing_reason"), ("the moon", "bad_reason")])
def test_a_rejection_without_a_known_reason_still_counts(drop: Drop, reason: str, code: str) -> None:
    answers, rejected = read(drop("a.csv", answers_csv([("j1", "REJECT", reason, "")])))
    assert (answers["j1"].keep, answers["j1"].reason) == (False, None)
    assert [c for _, c in rejected] == [code]


def test_a_file_that_contradicts_itself_has_no_say_on_that_job(drop: Drop) -> None:
    rows = [("j1", "KEEP", "", ""), ("j2", "KEEP", "", ""), ("j2", "keep", "", ""), ("j1", "REJECT", "pii", "")]
    answers, rejected = read(drop("a.csv", answers_csv(rows)))
    assert list(answers) == ["j2"]
    assert [c for _, c in rejected] == ["conflict", "conflict"]


def test_an_unknown_job_is_named(drop: Drop) -> None:
    answers, rejected = read(drop("a.csv", answers_csv([("j9", "KEEP", "", ""), ("j1", "KEEP", "", "")])))
    assert list(answers) == ["j1"]
    assert [c for _, c in rejected] == ["unknown_job"]


def test_formulas_and_merged_cells_go_to_quarantine(fill: Fill) -> None:
    def change(sheet: Any) -> None:
        sheet.cell(FIRST, ANSWER_COLUMN).value = '="KEEP"'
        sheet.merge_cells(start_row=FIRST + 1, end_row=FIRST + 2, start_column=ANSWER_COLUMN, end_column=ANSWER_COLUMN)

    answers, rejected = read(fill(JOBS, {"j2": ("KEEP",), "j4": ("KEEP",)}, change=change))
    assert list(answers) == ["j4"]
    assert rejected == [(FIRST, "formula_cell"), (FIRST + 1, "merged_cells"), (FIRST + 2, "merged_cells")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (answers_csv([("j1", "KEEP", "", "")], curator=" "), "does not say who judged"),
        ("packet_id,criterion_id,passed\np,c,1\n", "holds no answers of a curator"),
        ("curator,ann\njob_id,should_be_kept,Keep\nj1,KEEP,KEEP\n", "two columns for should_be_kept"),
        (b"\xd0\xcf\x11\xe0 old", "old .xls"),
        (b"PK\x03\x04 not a zip", "damaged"),
        (b"\x01\x02\x03" * 9, "not a text file.*`hapi audit`"),
    ],
)
def test_a_file_that_cannot_be_taken_is_refused_in_one_sentence(drop: Drop, content: str | bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_audit_file(drop("a.csv", content))


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        *((word, True) for word in ("KEEP", "kept", "Yes", "1", "ja", "✓", True, 1, 1.0, "behalten", "Ｋｅｅｐ")),
        *((word, False) for word in ("REJECT", "reject.", "no", "0", "nein", False, 0.0, "Exclude")),
        *((word, None) for word in ("CANNOT_JUDGE", "cannot judge", "n/a", "Can't judge")),
        *((word, MISSING) for word in ("", "  ", None, "\u200b")),
        *((word, BAD) for word in ("maybe", "x", "2", 2, "keep reject", "k" * 999)),
    ],
)
def test_answers_in_many_words(value: Any, meaning: Any) -> None:
    assert parse_answer(value) is meaning


def test_each_reason_is_known_by_its_label_its_rule_and_its_spellings() -> None:
    for rule, label in LABELS.items():
        for said in (label, label.upper(), f" {rule} ", *SPELLINGS[rule]):
            assert parse_reason(said) == rule
    assert parse_reason("because") is None


@pytest.mark.parametrize(
    "value", ["03/04/2026", "yesterday", "2026-13-01", "2027-01-01", "1999-01-01", "", None, 46000.0]
)
def test_a_date_that_is_not_certain_is_no_date(value: Any) -> None:
    assert parse_moment(value, datetime(2026, 5, 1, tzinfo=UTC)) is None


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=12) | st.sampled_from(
    ["KEEP", "no", "pii", "j1", "j2", '"', ";", "\n", "=1", "job_id", "curator"]
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.sampled_from(["j1", "j2", "j4", "?"]), CELLS, CELLS, CELLS), max_size=6))
def test_every_filled_row_ends_as_an_answer_or_in_quarantine(tmp_path_factory: Any, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.csv"
    path.write_text(answers_csv(rows), "utf-8", newline="")
    file = read_audit_file(path)
    answers, rejected = judge(file, HOME)
    repeated = len([1 for _ in file.rows]) - len({cells["job_id"] for _, cells in file.rows})
    accounted = {a.row for a in answers} | {r.row for r in rejected}
    assert accounted <= {row for row, _ in file.rows}
    assert len(accounted) >= len(file.rows) - repeated


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
def test_any_file_is_read_or_refused_in_plain_words(tmp_path_factory: Any, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "a.csv"
    path.write_bytes(b"curator,ann\njob_id,should_be_kept\n" + data)
    refusal = ""
    try:
        judge(read_audit_file(path), HOME)
    except UserError as refused:
        refusal = str(refused)
    assert "\n" not in refusal


@given(st.text(max_size=40))
def test_an_id_is_read_back_as_it_was_shown(job_id: str) -> None:
    assert as_shown(as_shown(job_id)) == as_shown(job_id)
