"""The assets of the group publish: made by a real Dagster run, anew only where something has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from hapi_pipeline import made, operations, report
from hapi_pipeline.assets.publish import GROUP, KEPT_UP_TO_DATE, publish_assets
from hapi_pipeline.cli import main
from hapi_pipeline.commands import publish as command
from hapi_pipeline.definitions import PUBLISH, defs
from hapi_pipeline.lake import Lake
from hapi_pipeline.made import PLACES, is_current, made_from, noted
from hapi_pipeline.registry import Registry
from hapi_pipeline.release.memory import code_of
from hapi_pipeline.settings import Home
from tests import scenario

SPECS = {spec.key.path[-1]: spec for spec in defs.resolve_all_asset_specs()}


def site(lake: Lake, registry: Registry, home: Home, out: Path) -> Path:
    """As quick as a report can be; that of the product has tests of its own."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "index.html").write_text(f"{lake.read('leaderboard').num_rows} rows", "utf-8")
    return out / "index.html"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "build_report", site)


def told(home: Home) -> dict[str, dict[str, Any]]:
    """The newest metadata of each asset, by name."""
    with operations.instance_of(home) as instance:
        found = {}
        for name in KEPT_UP_TO_DATE:
            event = instance.get_latest_materialization_event(dg.AssetKey([name]))
            assert event is not None
            assert event.asset_materialization is not None
            found[name] = {k: v.value for k, v in event.asset_materialization.metadata.items()}
        return found


def runs(home: Home) -> int:
    with operations.instance_of(home) as instance:
        return instance.get_runs_count()


def change(home: Home) -> None:
    lake = Lake(home.lake)
    rows = lake.read("leaderboard")
    at = rows.schema.get_field_index("n_attempts")
    more = pa.array([n + 1 for n in rows.column("n_attempts").to_pylist()])
    lake.write("leaderboard", rows.set_column(at, rows.schema.field(at), more), {})


@pytest.mark.usefixtures("quick")
def test_they_are_made_once_and_again_when_a_table_changes(published_home: Home) -> None:
    page = operations.publish(published_home)
    assert page == published_home.releases / "report" / "index.html"
    places = {name: published_home.releases / place for name, place in PLACES.items()}
    assert all(path.exists() for path in places.values())
    seen = told(published_home)
    assert all(seen[name]["made anew"] for name in KEPT_UP_TO_DATE)
    assert seen["warehouse"]["dagster/row_count"] > 100
    assert seen["warehouse"]["bytes"] == places["warehouse"].stat().st_size
    assert seen["leaderboard_feed"]["path"] == str(places["leaderboard_feed"])
    assert seen["report"]["open"] == page.as_uri()
    assert seen["warehouse"]["simulated"] is False

    before = {name: path.stat().st_mtime_ns for name, path in places.items()}
    assert operations.publish(published_home) == page
    assert runs(published_home) == 1  # nothing to do, so no run
    assert {name: path.stat().st_mtime_ns for name, path in places.items()} == before

    feed = json.loads(places["leaderboard_feed"].read_bytes())
    change(published_home)
    (published_home.releases / ".report.made_from").write_text(
        json.dumps(made_from(Lake(published_home.lake), Registry.of(published_home))), "utf-8"
    )
    operations.publish(published_home)
    seen = told(published_home)
    assert {name: seen[name]["made anew"] for name in KEPT_UP_TO_DATE} == {
        "report": False, "warehouse": True, "leaderboard_feed": True
    }  # fmt: skip
    after = json.loads(places["leaderboard_feed"].read_bytes())
    assert [r["n_attempts"] for r in after["leaderboard"]] == [r["n_attempts"] + 1 for r in feed["leaderboard"]]
    assert after["made_from"] != feed["made_from"]


def test_where_one_fails_the_others_are_made(
    published_home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> Path:
        raise OSError("the disk is full")

    monkeypatch.setattr(report, "build_report", fail)
    assert command.published(published_home) == 1
    assert "not all could be published" in (said := capsys.readouterr().err)
    assert "the disk is full" in said
    assert (published_home.releases / PLACES["warehouse"]).exists()


def test_what_is_published_depends_on_what_it_shows(published_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(published_home.lake)
    first = made_from(lake, Registry.of(published_home))
    assert made_from(lake, Registry.of(published_home)) == first
    settings = published_home.registry / "benchmark.yaml"
    text = settings.read_text("utf-8")
    settings.write_text(text.replace("hold_back_months: 0", "hold_back_months: 1"), "utf-8")
    seen = [first, made_from(lake, Registry.of(published_home))]
    settings.write_text(text.replace("  authors: []", "  authors: [Ann]"), "utf-8")
    seen.append(made_from(lake, Registry.of(published_home)))
    (published_home.registry / "cleared_findings.txt").write_text(f"{'0' * 64} ann: invented\n", "utf-8")
    seen.append(made_from(lake, Registry.of(published_home)))
    change(published_home)
    seen.append(made_from(lake, Registry.of(published_home)))
    rejected = lake.read("rejected_jobs", scenario.SCOPE)
    lake.write("rejected_jobs", rejected.slice(1), scenario.SCOPE)  # a table that stays, but the report counts its rows
    seen.append(made_from(lake, Registry.of(published_home)))
    for name in ("_code", "search_version"):
        monkeypatch.setattr(made, name, lambda: "another version")
        seen.append(made_from(lake, Registry.of(published_home)))
    assert len(set(seen)) == len(seen) == 8


def test_a_change_in_a_template_is_seen(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    page = tmp_path / "templates" / "page.html"
    page.write_text("<p>", "utf-8")
    before = code_of(tmp_path)
    page.write_text("<b>", "utf-8")
    after = code_of(tmp_path)
    page.rename(page.with_name("other.html"))
    assert len({before, after, code_of(tmp_path)}) == 3
    assert (Path(report.__file__).parent / "templates" / "page.html").is_file()


@pytest.mark.usefixtures("quick")
def test_a_refresh_with_nothing_to_do_publishes_what_is_missing_or_old(
    published_home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(operations, "known_cohorts", lambda _: ["2026-03"])
    monkeypatch.setattr(operations, "pending_cohorts", lambda _: [])
    refresh = ["--home", str(published_home.root), "refresh"]
    page = published_home.releases / "report" / "index.html"
    for words in (["--no-publish"], ["--dry-run"]):
        assert main([*refresh, *words]) == 0
        assert not page.exists()
    capsys.readouterr()
    assert main(refresh) == 0
    assert capsys.readouterr().out == f"Nothing has changed since the last refresh.\nReport: {page}\n"
    made_at = page.stat().st_mtime_ns
    assert main(refresh) == 0
    assert (page.stat().st_mtime_ns, runs(published_home)) == (made_at, 1)


def test_a_note_is_of_what_stands_there(tmp_path: Path) -> None:
    thing = tmp_path / "thing"
    noted(thing, "a state")
    assert not is_current(thing, "a state")  # it is not there
    thing.write_text("")
    assert is_current(thing, "a state")
    assert not is_current(thing, "another state")
    (tmp_path / ".thing.made_from").write_text("{broken")
    assert not is_current(thing, "a state")


def test_the_group_is_whole_and_a_release_is_made_on_request_only() -> None:
    group = {name for name, spec in SPECS.items() if spec.group_name == GROUP}
    assert group == {*KEPT_UP_TO_DATE, "dataset_release"}
    job = defs.resolve_job_def(PUBLISH)
    kept = {key.path[-1] for key in job.asset_layer.selected_asset_keys}
    assert kept == set(KEPT_UP_TO_DATE)
    for name in group:
        assert SPECS[name].description
        assert SPECS[name].kinds
        assert list(SPECS[name].owners)
        above = {dep.asset_key.path[-1] for dep in SPECS[name].deps}
        assert "leaderboard" in above
        assert not above & group


def test_a_release_that_cannot_be_made_says_why(published_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from hapi_pipeline import release
    from hapi_pipeline.resources import HapiHome
    from hapi_pipeline.settings import UserError

    asked = []

    def refuse(*given: Any) -> None:
        asked.append(given[3])
        raise UserError("That version is taken.")

    monkeypatch.setattr(release, "build_release", refuse)
    (asset,) = (a for a in publish_assets() if a.key == dg.AssetKey(["dataset_release"]))
    for version in ("", "2026.10.0"):
        config = {"ops": {"dataset_release": {"config": {"version": version}}}}
        resources = {"hapi": HapiHome(root=str(published_home.root))}
        done = dg.materialize([asset], resources=resources, run_config=config, raise_on_error=False)
        assert not done.success
        (failure,) = (e for e in done.all_events if e.is_step_failure)
        assert "That version is taken." in str(failure.step_failure_data.error)
    assert asked == [None, "2026.10.0"]


def test_the_graph_says_which_tables_the_feed_reads() -> None:
    above = {dep.asset_key.path[-1] for dep in SPECS["leaderboard_feed"].deps}
    assert above == {"leaderboard", "category_rates", "feedback_lift", "model_comparisons", "benchmark_jobs"}
