"""The funnel: it reconciles on random posts, by category too, and its pictures are safe and small."""

from __future__ import annotations

import base64
import json
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline.assets.curation import funnel_in_pictures
from hapi_pipeline.checks.reconcile import FUNNEL, FUNNEL_BY_CATEGORY, violations
from hapi_pipeline.cli import main
from hapi_pipeline.curation import funnel
from hapi_pipeline.curation.rules import CHAIN, ON_ONE_POST, alone, kept, rejections, standings
from hapi_pipeline.lake import Lake
from hapi_pipeline.parameters import query_parameters
from hapi_pipeline.registry import Benchmark
from hapi_pipeline.show import funnel_text
from tests import scenario

SVG = "{http://www.w3.org/2000/svg}"
POST = st.fixed_dictionaries(
    {
        "job_type": st.sampled_from(["fixed", "fixed", "fixed", "hourly", None]),
        "status": st.sampled_from(["completed", "completed", "completed", "open", None]),
        "paid": st.sampled_from([True, True, True, False, None]),
        "completed_at": st.sampled_from([scenario.NOON, scenario.NOON, None]),
        "milestone_count": st.sampled_from([1, 1, 1, 2, 0, None]),
        "price_changed": st.sampled_from([False, False, False, True, None]),
        "price_usd": st.sampled_from([25.0, 499.99, 500.0, 0.0, -1.0, float("nan"), float("inf"), None]),
        "category": st.sampled_from(["Writing", "Data", "Design", None]),
        "title": st.sampled_from(["A task", "", None]),
        "description": st.sampled_from(["Do it well.", " ", None]),
    }
)
POSTS = st.lists(st.tuples(POST, st.sampled_from([None, None, "reject", "review"]), st.integers(0, 5)), max_size=40)


def stocked(folder: Path, posts: list[tuple[dict[str, Any], str | None, int]]) -> Lake:
    """A lake with a month of posts, each with findings of that decision and a rubric of that many criteria."""
    lake = Lake(folder)
    rows = [scenario.post(f"p{n:03}", **post) for n, (post, _, _) in enumerate(posts)]
    lake.write("job_posts", scenario.table_of("job_posts", rows), scenario.SCOPE)
    finding = {"cohort": scenario.COHORT, "place": "title", "finding_type": "email", "start": 0, "end": 1, "score": 1.0}
    found = [
        {**finding, "job_id": f"p{n:03}", "decision": decision, "detector_version": "1"}
        for n, (_, decision, _) in enumerate(posts)
        if decision
    ]
    lake.write("pii_findings", scenario.table_of("pii_findings", found), scenario.SCOPE)
    criteria = [
        scenario.criterion(f"p{n:03}", f"c{c}", "critical") | {"cohort": scenario.COHORT, "position": c}
        for n, (_, _, size) in enumerate(posts)
        for c in range(size)
    ]
    lake.write("rubrics", scenario.table_of("rubrics", criteria), scenario.SCOPE)
    return lake


def curate(lake: Lake, benchmark: Benchmark) -> dict[str, Any]:
    """The chain without the search for duplicates; the parameters of its queries."""
    params = query_parameters(benchmark, dict(scenario.SCOPE))
    for rule in CHAIN:
        lake.write(rule, kept(lake, rule, scenario.SCOPE, params), scenario.SCOPE)
    lake.write("rejected_jobs", rejections(lake, scenario.SCOPE, params), scenario.SCOPE)
    lake.write("funnel_by_category", funnel.funnel_by_category(lake, scenario.SCOPE, params), scenario.SCOPE)
    scenario.make(lake, benchmark, "curation_funnel", scenario.SCOPE)
    return params


@settings(derandomize=True, deadline=None, max_examples=4)
@given(posts=POSTS)
def test_the_funnel_of_random_posts_reconciles(benchmark: Benchmark, posts: list[Any]) -> None:
    rules = scenario.rules(benchmark)
    with tempfile.TemporaryDirectory() as folder:
        lake = stocked(Path(folder), posts)
        params = curate(lake, rules)
        rows = funnel.funnel_of(lake, [scenario.COHORT])
        assert [row["rule"] for row in rows] == list(CHAIN)
        assert [row["n_in"] for row in rows] == [len(posts), *(row["n_kept"] for row in rows[:-1])]
        assert all(row["n_in"] == row["n_kept"] + row["n_rejected"] + row["n_unknown"] for row in rows)
        assert violations(lake, FUNNEL, ["curation_funnel"]) == []
        assert violations(lake, FUNNEL_BY_CATEGORY, ["curation_funnel", "funnel_by_category"]) == []

        away = lake.read("rejected_jobs").to_pylist()
        inside = lake.read("benchmark_jobs").column("job_id").to_pylist()
        ids = [row["job_id"] for row in away] + inside
        assert sorted(ids) == [f"p{n:03}" for n in range(len(posts))]
        assert all(row["observed"] and row["threshold"] for row in away)
        codes = Counter((row["rule"], row["code"]) for row in away)
        assert codes == {(c["rule"], c["code"]): c["n"] for c in funnel.codes_of(lake, [scenario.COHORT])}

        # the chain in memory says the same, and what the first rule turns away it turns away alone
        standing = {r["job_id"]: (r["rule"], r["code"]) for r in standings(lake, scenario.SCOPE, params).to_pylist()}
        expected = {row["job_id"]: (row["rule"], row["code"]) for row in away} | dict.fromkeys(inside, (None, None))
        assert standing == expected
        assert rows[0]["n_alone"] == rows[0]["n_rejected"] + rows[0]["n_unknown"]
        for row in rows:
            if row["rule"] in ON_ONE_POST:
                assert row["n_rejected"] + row["n_unknown"] <= row["n_alone"] <= len(posts)
            else:
                assert not row["n_alone"]


@settings(derandomize=True, deadline=None, max_examples=4)
@given(posts=POSTS, more=POSTS)
def test_another_post_never_changes_what_the_rules_say_of_one(
    benchmark: Benchmark, posts: list[Any], more: list[Any]
) -> None:
    params = query_parameters(scenario.rules(benchmark), dict(scenario.SCOPE))
    found = []
    for together in (posts, [*posts, *more]):
        with tempfile.TemporaryDirectory() as folder:
            rows = standings(stocked(Path(folder), together), scenario.SCOPE, params).to_pylist()
        found.append(
            {
                row["job_id"]: (row["rule"], row["code"]) if row["rule"] in ON_ONE_POST else None
                for row in rows[: len(posts)]
            }
        )
    assert found[0] == found[1]


def test_what_a_rule_alone_would_turn_away_is_as_counted_by_hand(world: Lake, benchmark: Benchmark) -> None:
    params = query_parameters(scenario.rules(benchmark), dict(scenario.SCOPE))
    counted: Counter[str] = Counter()
    for row in alone(world, scenario.SCOPE, params).to_pylist():
        counted[row["rule"]] += row["n_alone"] or 0
    assert dict(counted) == {
        "fixed_price_jobs": 2,
        "completed_jobs": 5,
        "single_milestone_jobs": 5,
        "in_scope_jobs": 3,
        "pii_free_jobs": 1,
        "curated_jobs": 1,
        "selected_jobs": 0,
        "benchmark_jobs": 0,
    }


def test_a_rule_alone_counts_what_an_earlier_rule_turned_away_too(tmp_path: Path, benchmark: Benchmark) -> None:
    cheap = {"job_type": "hourly", "price_usd": 900.0}
    lake = stocked(tmp_path, [(cheap, "reject", 3), (cheap | {"category": "Data"}, None, 3), ({}, None, 3)])
    curate(lake, scenario.rules(benchmark))
    rows = {row["rule"]: row for row in funnel.funnel_of(lake, [scenario.COHORT])}
    assert (rows["in_scope_jobs"]["n_in"], rows["in_scope_jobs"]["n_alone"]) == (1, 2)
    assert (rows["pii_free_jobs"]["n_rejected"], rows["pii_free_jobs"]["n_alone"]) == (0, 1)
    assert rows["selected_jobs"]["n_alone"] is None
    assert rows["benchmark_jobs"]["n_alone"] is None
    by_category = {
        row["category"]: (row["n_in"], row["n_kept"], row["n_alone"])
        for row in funnel.categories_of(lake, [scenario.COHORT])
        if row["rule"] == "fixed_price_jobs"
    }
    assert by_category == {"Writing": (2, 1, 1), "Data": (1, 0, 1)}


# ---- pictures and tables

ROWS: list[dict[str, Any]] = [
    {"position": n, "rule": rule, "n_in": 3_000_000 // n, "n_kept": 3_000_000 // (n + 1), "n_unknown": 7 * n,
     "n_rejected": 3_000_000 // n - 3_000_000 // (n + 1) - 7 * n, "n_alone": 5 * n if rule in ON_ONE_POST else None,
     "simulated": False}
    for n, rule in enumerate(CHAIN, 1)
]  # fmt: skip
CODES = [{"rule": "fixed_price_jobs", "code": "not_fixed_price", "n": 1_499_993}]


def test_the_picture_is_xml_whatever_its_title_and_its_bars_are_as_long_as_the_counts() -> None:
    picture = ElementTree.fromstring(funnel.funnel_svg(ROWS, 'A <script> & "quotes" ]]>'))
    texts = [node.text for node in picture.iter(f"{SVG}text")]
    assert 'A <script> & "quotes" ]]>' in texts
    assert all(any(rule in str(text) for text in texts) for rule in CHAIN)
    kept_bars = [r for r in picture.iter(f"{SVG}rect") if r.get("fill") == "#2b6ca3" and r.get("height") == "18"]
    widths = [float(bar.get("width", 0)) for bar in kept_bars]
    assert widths == pytest.approx([400 * row["n_kept"] / 3_000_000 for row in ROWS], abs=0.06)
    right = max(float(r.get("x", 0)) + float(r.get("width", 0)) for r in picture.iter(f"{SVG}rect"))
    assert right <= float(picture.get("width", 0))


@pytest.mark.parametrize("rows", [ROWS, [row | {"n_in": 0, "n_kept": 0, "n_rejected": 0} for row in ROWS], []])
def test_the_sketch_is_small_enough_to_stand_in_a_line(rows: list[dict[str, Any]]) -> None:
    markdown = funnel.picture(funnel.funnel_sketch(rows), "a funnel")
    assert len(markdown) < 1000
    head, _, data = markdown.rstrip(")").partition("base64,")
    assert head == "![a funnel](data:image/svg+xml;"
    assert ElementTree.fromstring(base64.b64decode(data)).tag == f"{SVG}svg"


def test_a_category_cannot_bring_markup_into_the_table() -> None:
    hostile = "a|b\n![x](http://evil.example/p.png) <img src=x> `c` www.evil.example"
    rows = [{**row, "category": hostile} for row in ROWS]
    table = funnel.categories_markdown(rows)
    assert len(table.split("\n")) == 3
    row = table.split("\n")[2]
    cell = row.split(" | ")[0]
    for markup in ("![", "[", "]", "(", "<", "`", ":", "."):
        assert not re.search(r"(?<!\\)" + re.escape(markup), cell)
    assert row.count("|") - row.count("\\|") == len(CHAIN) + 4


def test_many_categories_are_cut_and_said_to_be() -> None:
    rows = [{**row, "category": f"c{n}"} for n in range(200) for row in ROWS]
    assert funnel.categories_markdown(rows).endswith("… and 140 more categories\\.".replace("\\", ""))


def test_the_table_names_the_codes_of_each_rule() -> None:
    lines = funnel.funnel_markdown(ROWS, CODES).split("\n")
    assert "1,499,993 not\\_fixed\\_price" in lines[2]
    assert lines[2].startswith("| 1 | fixed\\_price\\_jobs | 3,000,000 | 1,500,000 |")
    assert "| – |" in lines[1 + len(CHAIN)]


def test_the_funnel_fits_eighty_columns() -> None:
    text = funnel_text(ROWS, CODES, "12 months, 2025-01 to 2025-12")
    assert max(map(len, text.split("\n"))) <= 80
    assert "1,500,000" in text
    assert "3,000,000 posts, 333,333 in the benchmark (11.1 %)" in text
    assert funnel_text([], [], "2025-01") == "2025-01: no posts."


def test_the_months_are_summed(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for cohort, times in (("2025-01", 1), ("2025-02", 2), ("2025-03", 40)):
        rows = [
            {
                **row,
                "cohort": cohort,
                "rule_version": "1",
                **{name: row[name] and row[name] * times for name in funnel.COUNTS},
            }
            for row in ROWS
        ]
        lake.write("curation_funnel", scenario.table_of("curation_funnel", rows), {"cohort": cohort})
    found = funnel.funnel_of(lake, ["2025-01", "2025-02"])
    assert [row["n_in"] for row in found] == [3 * row["n_in"] for row in ROWS]
    assert found[-1]["n_alone"] is None


# ---- the command and the graph

HEAD = "job_id,title,description,category,job_type,price_usd,price_changed,milestone_count,status,paid,completed_at\n"
JOB = "{0},Task {0},Count the {0} and write it down,Writing,{1},50,false,1,completed,true,2025-03-1{2}\n"


def test_the_command_curates_what_changed_and_shows_the_funnel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HAPI_HOME", "")
    monkeypatch.setenv("DAGSTER_HOME", "")
    jobs = tmp_path / "jobs.csv"
    jobs.write_text(HEAD + JOB.format("spoons", "fixed", 1) + JOB.format("forks", "hourly", 2))

    def hapi(*words: str) -> tuple[int, str]:
        code = main(["--home", str(tmp_path / "home"), *words])
        return code, capsys.readouterr().out

    assert hapi("import", "jobs", str(jobs), "--source", "canonical")[0] == 0
    code, said = hapi("curate")
    assert (code, said.split("\n")[:2]) == (0, ["2025-03:", "2 posts, 0 in the benchmark (0.0 %)"])
    assert re.search(r"1  not_fixed_price +fixed_price_jobs", said)
    assert max(map(len, said.split("\n"))) <= 80
    code, said = hapi("curate")
    assert code == 0
    assert said.rstrip().endswith("Nothing has changed since the last time.")
    code, said = hapi("curate", "--format", "json")
    assert json.loads(said)["funnel"][0]["n_in"] == 2
    assert main(["--home", str(tmp_path / "home"), "curate", "--cohort", "2024-01"]) == 2

    shown = funnel_in_pictures(Lake(tmp_path / "home" / "lake"), {"cohort": "2025-03"})
    assert len(shown["funnel"].value or "") < 1000
    assert "| 1 | fixed" in (shown["funnel in numbers"].value or "")
    assert funnel_in_pictures(Lake(tmp_path / "empty"), {"cohort": "2025-03"}) == {}
