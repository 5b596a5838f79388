"""The published figures and which of them are possible."""

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hapi_pipeline.settings import UserError
from hapi_pipeline.simulate.published import contradictions, nearest_count, published_cells, published_overall


def test_every_cell_is_there_once() -> None:
    cells = published_cells()
    assert len(cells) == 8 * 3 * 2
    assert len({(c.category, c.model, c.round) for c in cells}) == len(cells)
    assert sum({c.category: c.n_jobs for c in cells}.values()) == 322


def test_the_published_figures_contradict_each_other_where_their_arithmetic_does() -> None:
    text = "\n".join(contradictions())
    for counts in ("139 of 322", "172 of 322", "74 of 322", "120 of 322", "68 of 322", "117 of 322"):
        assert counts in text
    for tried, failed in ((159, 194), (222, 258), (237, 259)):
        assert f"% of {tried}, but {failed} had failed" in text
    assert [share in text for share in ("only 41 %", "only 66 %", "only 72 %")] == [True] * 3
    assert len(contradictions()) == 12


def test_figures_that_agree_contradict_nothing(tmp_path: Path) -> None:
    head = "scope,category,n_jobs,model,before_pct,after_1_turn_pct,after_2_turns_pct,note\n"
    rows = "overall,all,100,GPT-5,50,60,,\ncategory,A,100,GPT-5,50,60,,\n"
    path = tmp_path / "published.csv"
    path.write_text(head + rows)
    assert [line for line in contradictions(path) if "add up" in line] == []
    assert any("10 jobs rescued are 19.0 % of 53, but 50 had failed" in line for line in contradictions(path))


def test_the_impossible_cells() -> None:
    impossible = {(c.n_jobs, c.percent, c.count) for c in published_cells() if not c.possible}
    assert impossible == {
        (14, "56.9", 8),
        (43, "61", 26),
        (43, "4", 2),
        (43, "31", 13),
        (51, "42", 21),
        (51, "15", 8),
        (51, "21", 11),
    }
    assert sum(not c.possible for c in published_cells()) == 9


def test_no_cell_loses_jobs_with_feedback() -> None:
    counts = {(c.category, c.model, c.round): c.count for c in published_cells()}
    for (category, model, name), count in counts.items():
        if name == "agent_alone":
            assert count <= counts[category, model, "feedback_1"]


def test_overall_figures_are_possible_and_known() -> None:
    overall = {(c.model, c.round): c.count for c in published_overall()}
    assert overall["Claude Sonnet 4", "agent_alone"] == 128
    assert overall["GPT-5", "feedback_1"] == 108
    assert all(c.possible and c.n_jobs == 322 for c in published_overall())


@pytest.mark.parametrize(
    ("percent", "n_jobs", "expected"),
    [
        ("50", 14, (7, True)),
        ("57.9", 19, (11, True)),
        ("12", 8, (1, True)),
        ("13", 8, (1, True)),
        ("11", 8, (1, False)),
        ("0", 5, (0, True)),
        ("100", 5, (5, True)),
    ],
)
def test_nearest_count(percent: str, n_jobs: int, expected: tuple[int, bool]) -> None:
    assert nearest_count(percent, n_jobs) == expected


@given(st.integers(1, 400), st.data(), st.integers(0, 2), st.sampled_from([ROUND_HALF_UP, ROUND_HALF_EVEN]))
def test_a_true_share_is_always_possible(n_jobs: int, data: st.DataObject, places: int, way: str) -> None:
    count = data.draw(st.integers(0, n_jobs))
    percent = (Decimal(100 * count) / n_jobs).quantize(Decimal(1).scaleb(-places), rounding=way)
    found, possible = nearest_count(str(percent), n_jobs)
    assert possible
    assert abs(100 * found / n_jobs - float(percent)) <= abs(100 * count / n_jobs - float(percent)) + 1e-9


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        published_cells(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_text("scope,category\ncategory,Writing\n", "utf-8")
    with pytest.raises(UserError, match="not a table of published results"):
        published_cells(tmp_path / "bad.csv")
