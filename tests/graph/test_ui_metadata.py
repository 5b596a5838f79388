"""What the UI is given: previews and pictures through which nothing hostile gets, numbers to plot, links to code."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import pytest

from hapi_pipeline.assets import shown
from hapi_pipeline.assets.curation import reasons_of_rejections
from hapi_pipeline.assets.intake import LEDGERS
from hapi_pipeline.assets.results import PICTURES
from hapi_pipeline.assets.shown import figures, preview, preview_columns, preview_of_import, short, told
from hapi_pipeline.definitions import defs
from hapi_pipeline.lake import Import, ImportedFile, Lake
from hapi_pipeline.settings import shipped
from hapi_pipeline.tables import TABLES
from tests import scenario

SPECS = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
HOSTILE = (
    "<img src=x onerror=alert(1)>\u202e\n\x1b[31m| [click](javascript:alert(1)) jane.doe@example.org " + "long " * 50
)
FREE_TEXTS = {
    "title", "description", "extra", "skills", "text", "comment", "author", "value", "message", "client_id", "country",
    "deliverables", "attachments", "source_file", "example_criterion",
}  # fmt: skip


@pytest.fixture
def posts(lake: Lake) -> Lake:
    """A month of posts whose every free text is hostile."""
    rows = [
        scenario.post(f"j{n:02}", category="Design", title=HOSTILE, description=HOSTILE, price_usd=10.0 * n)
        for n in range(1, 21)
    ]
    exported = scenario.table_of("job_exports", rows).to_pylist()
    for row in exported:
        row["job_id"] = HOSTILE if row["job_id"] == "j01" else row["job_id"]
    lake.write("job_posts", scenario.table_of("job_posts", exported), scenario.SCOPE)
    return lake


def cells(metadata: Mapping[str, Any]) -> Iterator[Any]:
    for record in metadata["preview"].records:
        yield from record.data.values()


# ---- previews


@pytest.mark.parametrize("name", TABLES)
def test_a_preview_shows_columns_of_its_table_and_no_free_text(name: str) -> None:
    table = TABLES[name]
    columns = [part for c in preview_columns(table) for part in re.split(r"[/:%]", c)[: 2 if "/" in c else 1]]
    assert set(columns) <= set(table.names)
    assert not set(columns) & FREE_TEXTS
    ends = [f"{(c.rstrip('%').partition(':')[2] or c.rstrip('%'))}_{end}" for c in preview_columns(table)
            if ":" in c or "%" in c for end in ("lo", "hi")]  # fmt: skip
    assert set(ends) <= set(table.names)


@pytest.mark.parametrize("name", TABLES)
def test_the_sql_of_every_preview_runs(name: str, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(TABLES[name].schema().empty_table(), tmp_path / "empty.parquet")
    assert preview(TABLES[name], [tmp_path / "empty.parquet"]) == {}


@pytest.mark.parametrize("name", shown.FIGURES)
def test_the_sql_of_all_figures_runs(name: str, lake: Lake) -> None:
    keys = {"cohort": "2025-03", "model": "M", "round": "agent_alone"}
    scope = {key: keys[key] for key in TABLES[name].partitions}
    lake.write(name, TABLES[name].schema().empty_table(), scope)
    (found,) = figures(lake, name, [scope])
    assert all(isinstance(value, int | float) for value in found.values())


def test_a_preview_is_short_lines_of_visible_characters(posts: Lake) -> None:
    path = posts.path("job_posts", scenario.SCOPE)
    found = preview(TABLES["job_posts"], [path])[path]
    assert len(found["preview"].records) == shown.PREVIEW_ROWS
    texts = [cell for cell in cells(found) if isinstance(cell, str)]
    assert texts
    assert all(len(text) <= 36 and not set(text) & set("\n\x1b\u202e") for text in texts)
    assert not any("jane.doe" in text for text in texts)


def test_each_partition_has_its_own_preview_and_numbers_and_an_empty_one_none(posts: Lake) -> None:
    empty, other, absent = ({"cohort": month} for month in ("2031-01", "2031-02", "2031-03"))
    posts.write("job_posts", TABLES["job_posts"].schema().empty_table(), empty)
    row = posts.read("job_posts", scenario.SCOPE).to_pylist()[3] | {"cohort": "2031-02", "price_usd": 7.0}
    posts.write("job_posts", scenario.table_of("job_posts", [row]), other)
    first, *none, last = told(posts, TABLES["job_posts"], [scenario.SCOPE, empty, absent, other])
    assert none == [{}, {}]
    assert len(first["preview"].records) == shown.PREVIEW_ROWS
    assert first["price_median_usd"] == pytest.approx(105.0)
    assert [record.data["price_usd"] for record in last["preview"].records] == [7.0]
    assert last["price_median_usd"] == 7.0


def test_pictures_of_many_cells_are_made_for_the_last_only(lake: Lake) -> None:
    asked: list[Mapping[str, str]] = []

    def picture(_: Lake, scope: Mapping[str, str]) -> dict[str, Any]:
        asked.append(scope)
        return {"picture": dg.MetadataValue.md("![]()")}

    scopes = [{"cohort": f"2025-{month:02}", "model": model} for month in range(1, 13) for model in ("A", "B")]
    found = told(lake, TABLES["completion_rates"], scopes, picture)
    assert asked == scopes[-1:]
    assert [("picture" in metadata) for metadata in found] == [False] * 23 + [True]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("at_" + "0123456789abcdef" * 2, "at_0123456789…"),
        ("x" * 40, "x" * 35 + "…"),
        ("a\nb", "a\u00a0b"),
    ],
)
def test_texts_are_cut(text: str, expected: str) -> None:
    assert short(text) == expected


def test_columns_that_do_not_fit_are_left_out() -> None:
    rows = [{"a": "x" * 30, "b": "y" * 20, "c": "z" * 12, "d": 2}]
    assert shown._fitting(("a", "b", "c", "d"), rows) == ("a", "b")
    assert shown._fitting(("a",), [{"a": "x" * 200}]) == ("a",)


def test_an_import_shows_its_rows_and_why_others_were_turned_away(lake: Lake) -> None:
    rows = [
        {"kind": "jobs", "file": "f.csv", "row": n, "column": "price", "value": HOSTILE, "code": "bad_price",
         "message": HOSTILE, "source_sha256": "0" * 64, "imported_at": scenario.NOON}
        for n in (1, 2)
    ]  # fmt: skip
    lake.append("quarantine", "i1", scenario.table_of("quarantine", rows))
    lake.finish_import(Import("i1", "jobs", "s", (ImportedFile("f.csv", "0" * 64, 0, 2),), "2025-03-01T00:00:00+00:00"))
    found = preview_of_import(lake, "quarantine", "i1")
    assert found["n_bad_price"] == 2
    assert list(cells(found)) == ["jobs", "f.csv", 1, "price", "bad_price", "jobs", "f.csv", 2, "price", "bad_price"]
    assert preview_of_import(lake, "quarantine", "i2") == {}


# ---- reasons


def test_reasons_lead_to_the_rule_and_to_a_command_that_is_safe_to_paste(lake: Lake) -> None:
    rows = [
        {"cohort": scenario.SCOPE["cohort"], "job_id": job, "rule": "in_scope_jobs", "code": "price_at_or_over_limit",
         "observed": "$600", "threshold": "under $500", "rule_version": "1"}
        for job in ("$(touch x)", "J-1")
    ]  # fmt: skip
    lake.write("rejected_jobs", scenario.table_of("rejected_jobs", rows), scenario.SCOPE)
    text = reasons_of_rejections(lake, scenario.SCOPE)["reasons"].md_str or ""
    assert "[in\\_scope\\_jobs](/assets/in_scope_jobs)" in text
    assert "touch" not in text
    assert "| 2 |" in text
    assert dg.AssetKey("in_scope_jobs") in SPECS


# ---- pictures


def rate(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(TABLES["leaderboard"].names, 0)
    row |= {"window": "all", "rule": "all_criteria", "round": "agent_alone", "model": HOSTILE,
            "first_cohort": "2025-03", "last_cohort": "2025-03", "n_eligible": 10, "n_graded": 10,
            "n_completed": 4, "rate": 0.4, "rate_lo": 0.17, "rate_hi": 0.69, "simulated": True}  # fmt: skip
    return row | changes


def test_the_chart_of_rates_has_their_intervals_and_says_that_they_are_simulated(lake: Lake) -> None:
    rows = scenario.table_of("leaderboard", [rate(), rate(model="B", rate=None, n_graded=0)])
    lake.write("leaderboard", rows, {})
    text = PICTURES["leaderboard"](lake, {})["rates"].md_str
    (encoded,) = re.findall(r"\(data:image/svg\+xml;base64,([^)]*)\)", text)
    svg = base64.b64decode(encoded).decode()
    elements = list(ElementTree.fromstring(svg).iter())
    assert "40.0 % (4 of 10)" in svg
    assert "Simulated data" in svg
    assert {e.tag.rpartition("}")[2] for e in elements} <= {"svg", "title", "desc", "style", "rect", "text", "line",
                                                            "path", "circle", "g"}  # fmt: skip
    assert not [name for e in elements for name in e.attrib if name.startswith("on") or "href" in name]
    assert "17.0 % to 69.0 %" in text
    assert "<img" not in text.replace("\\<", "")


@pytest.mark.parametrize("name", PICTURES)
def test_without_rows_there_is_no_picture(name: str, lake: Lake) -> None:
    scope = {key: "2025-03" if key == "cohort" else "M" for key in TABLES[name].partitions}
    assert PICTURES[name](lake, scope) == {}


# ---- code


@pytest.mark.parametrize("key", sorted(k for k in SPECS if k.path[-1] in TABLES), ids=dg.AssetKey.to_user_string)
def test_code_references_lead_to_the_line(key: dg.AssetKey) -> None:
    table = key.path[-1]
    references = SPECS[key].metadata["dagster/code_references"].code_references
    assert references
    for reference in references:
        path, line = Path(reference.file_path), reference.line_number
        text = path.read_text("utf-8").splitlines()[line - 1]
        if path.suffix == ".sql":
            assert re.match(r"(WITH|SELECT|FROM|\()", text, re.IGNORECASE), (path, line)
        elif path.name == "tables.py":
            assert f'"{table}",' in text
        else:
            assert f"def {reference.label.removesuffix('()')}(" in text
    made = (shipped("sql") / f"{table}.sql").exists() or len(references) > 1
    assert made or table in LEDGERS


def test_every_asset_leads_to_its_code() -> None:
    assert [key for key, spec in SPECS.items() if "dagster/code_references" not in spec.metadata] == []


def test_code_references_can_lead_to_where_the_code_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(shown.CODE_URL, "https://code.example/blob/main/")
    (first, *_) = shown.code_references("leaderboard")["dagster/code_references"].code_references
    assert re.fullmatch(r"https://code\.example/blob/main/sql/leaderboard\.sql#L\d+", first.url)
