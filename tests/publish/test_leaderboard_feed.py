"""The feed: valid by its published schema, equal to the tables, the same bytes, and only ever more of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from hapi_pipeline import feed
from hapi_pipeline.cli import main
from hapi_pipeline.engine import read_only_query
from hapi_pipeline.feed import PARTS, SHIPPED_SCHEMA, Part, build_feed, feed_path, written
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import Home

FIRST_VERSION = Path(__file__).parent / "feed_v1_0_fields.json"
"""Every field of version 1.0 with its type; nothing may ever be taken from it."""


@pytest.fixture(scope="module")
def document(made_home: Home) -> dict[str, Any]:
    found: dict[str, Any] = feed.feed(Lake(made_home.lake), Registry.of(made_home), "a state")
    return found


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SHIPPED_SCHEMA.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def test_it_is_valid(document: dict[str, Any], validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(json.loads(written(document)))


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("leaderboard", {"n_completed": -1}),
        ("leaderboard", {"n_completed": 1.5}),
        ("leaderboard", {"rule": "most_criteria"}),
        ("leaderboard", {"rate": 0.25}),
        ("leaderboard", {"rate": {"value": 0.25, "lo": 0.1}}),
        ("leaderboard", {"model": None}),
        ("lift", {"window": "some"}),
        ("comparisons", {"difference": {"value": "much", "lo": None, "hi": None}}),
    ],
)
def test_the_schema_tells_what_is_wrong(
    part: str, change: dict[str, Any], document: dict[str, Any], validator: jsonschema.Draft202012Validator
) -> None:
    broken = json.loads(written(document))
    broken[part][0].update(change)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(broken)


@pytest.mark.parametrize("name", [*(p.name for p in PARTS), "simulated", "as_of", "version"])
def test_nothing_may_be_missing(
    name: str, document: dict[str, Any], validator: jsonschema.Draft202012Validator
) -> None:
    with pytest.raises(jsonschema.ValidationError, match=name):
        validator.validate({k: v for k, v in document.items() if k != name})


def test_a_field_of_a_later_version_does_no_harm(
    document: dict[str, Any], validator: jsonschema.Draft202012Validator
) -> None:
    later = json.loads(written(document)) | {"version": "1.7", "new": 1}
    later["leaderboard"][0]["new"] = 1
    validator.validate(later)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(later | {"version": "2.0"})


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_figures_are_those_of_the_tables(part: Part, document: dict[str, Any], made_home: Home) -> None:
    where = part.where.replace("$rule", "'all_criteria'")
    rows = read_only_query(Lake(made_home.lake), f"SELECT * FROM {part.table} WHERE {where}", [part.table]).to_pylist()
    assert rows

    def key(row: dict[str, Any]) -> list[str]:
        return [str(row[c.strip()]) for c in part.order.split(",")]

    assert len(document[part.name]) == len(rows)
    for told, row in zip(sorted(document[part.name], key=key), sorted(rows, key=key), strict=True):
        for column in part.columns:
            assert told[column] == row[column]
        for name, (value, lo, hi) in part.grouped.items():
            if row[value] is None:
                assert told[name] is None
            else:
                assert told[name] == {"value": row[value], "lo": row[lo], "hi": row[hi]}


def test_what_is_unknown_is_null_and_never_nan(document: dict[str, Any]) -> None:
    assert b"NaN" not in written(document)
    with pytest.raises(ValueError, match="not JSON compliant"):
        written({"rate": math.nan})


def test_counts_intervals_and_denominators_stand_together(document: dict[str, Any]) -> None:
    for row in document["leaderboard"]:
        assert row["n_completed"] <= row["n_graded"] <= row["n_eligible"] == document["jobs"]["n_jobs"]
        if row["rate"] is not None:
            assert row["rate"]["lo"] <= row["rate"]["value"] <= row["rate"]["hi"]
            assert row["bound_lo"] <= row["rate"]["value"] <= row["bound_hi"]


def test_the_shipped_schema_is_that_of_the_code() -> None:
    assert SHIPPED_SCHEMA.read_bytes() == written(feed.schema()), "run python -m hapi_pipeline.feed"


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}{name}", field
        yield from fields(field, f"{path}{name}.")
        yield from fields(field.get("items", {}), f"{path}{name}[].")


def test_every_field_says_what_it_means() -> None:
    found = dict(fields(feed.schema()))
    assert len(found) > 100
    assert all(len(field["description"]) > 3 for field in found.values())
    assert "[jobs]" in found["leaderboard[].n_completed"]["description"]


def test_fields_are_only_ever_added_within_version_1() -> None:
    first = json.loads(FIRST_VERSION.read_text("utf-8"))
    now = {path: field.get("type", "other") for path, field in fields(feed.schema())}
    assert {path: now.get(path, "gone") for path in first} == first


def test_the_same_lake_gives_the_same_bytes(made_home: Home, tmp_path: Path) -> None:
    lake, registry = Lake(made_home.lake), Registry.of(made_home)
    done = [build_feed(lake, registry, tmp_path / name / "leaderboard.json") for name in ("a", "b")]
    assert done[0].path.read_bytes() == done[1].path.read_bytes()
    assert done[0].schema.read_bytes() == SHIPPED_SCHEMA.read_bytes()


def test_simulated_data_says_so(published_home: Home) -> None:
    import pyarrow as pa

    lake = Lake(published_home.lake)
    rows = lake.read("feedback_lift")
    at = rows.schema.get_field_index("simulated")
    flags = pa.array([True] + [False] * (rows.num_rows - 1))
    lake.write("feedback_lift", rows.set_column(at, rows.schema.field(at), flags), {})
    made = feed.feed(lake, Registry.of(published_home), "")
    assert made["simulated"]
    assert sorted(row["simulated"] for row in made["lift"]) == [False] * (rows.num_rows - 1) + [True]


def test_the_command(published_home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feed", "--home", str(published_home.root)]) == 0
    out = feed_path(published_home)
    assert f"Wrote {out}" in capsys.readouterr().out
    assert json.loads(out.read_bytes())["feed"] == "hapi-leaderboard"
    assert main(["feed", "--home", str(published_home.root), "--out", str(tmp_path / "no" / "x.json")]) == 2
