"""The site is the same for the same lake, whole or not there, and shows nothing that is not cleared."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hapi_pipeline.cli import main
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Registry
from hapi_pipeline.release.build import attempt_folder
from hapi_pipeline.report import build_report
from hapi_pipeline.report import site as building
from hapi_pipeline.report.jobs import Files
from hapi_pipeline.settings import Home, UserError, shipped
from tests.report.conftest import EVIL_ID, WITHHELD, build_home

Snapshot = Callable[[Path], dict[str, str]]


def built(home: Home, out: Path) -> Path:
    return build_report(Lake(home.lake), Registry.of(home), home, out).parent


def test_the_same_lake_gives_the_same_bytes(
    report_home: Home, site: Path, tmp_path: Path, bytes_below: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    again = built(report_home, tmp_path / "elsewhere")
    assert bytes_below(again) == bytes_below(site)
    assert built(report_home, again) == again
    assert bytes_below(again) == bytes_below(site), "rebuilt in place, files taken over from the site before"
    assert [p.name for p in tmp_path.iterdir()] == ["elsewhere"], "nothing is left beside it"


def test_a_build_that_fails_leaves_the_site_as_it_was(
    report_home: Home, site: Path, tmp_path: Path, bytes_below: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report"
    shutil.copytree(site, out)
    monkeypatch.setattr(building._Site, "_downloads", lambda self: (_ for _ in ()).throw(RuntimeError("full disk")))
    with pytest.raises(RuntimeError):
        built(report_home, out)
    assert bytes_below(out) == bytes_below(site)
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_what_a_killed_build_left_is_cleared_away(site: Path, tmp_path: Path, bytes_below: Snapshot) -> None:
    out, nobody, somebody = tmp_path / "report", 999_999_999, os.getppid()
    for name in (f".report.{nobody}.part", f".report.{somebody}.part", ".report.notes.part"):
        (tmp_path / name).mkdir()
    shutil.copytree(site, tmp_path / f".report.{nobody}.old.part")
    building._clear_away(out)
    assert bytes_below(out) == bytes_below(site), "killed between the two renames: the old site comes back"
    kept = sorted(p.name for p in tmp_path.iterdir())
    assert kept == sorted([f".report.{somebody}.part", ".report.notes.part", "report"]), (
        "a build that still runs is left alone"
    )


def test_a_folder_of_something_else_is_never_replaced(report_home: Home, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="something else than a report"):
        built(report_home, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_jobs_that_are_not_cleared_have_no_page_and_no_words_anywhere(tmp_path: Path) -> None:
    home = build_home(tmp_path / "home", 10, simulated=False, models=("Alpha",))
    site = built(home, tmp_path / "report")
    pages = {path: path.read_text("utf-8") for path in site.rglob("*") if path.suffix in (".html", ".csv", ".svg")}
    assert not (site / "jobs").exists()
    assert not (site / "files").exists()
    for path, text in pages.items():
        for private in (WITHHELD, "Sort list 3", "zqlacking", "client 3", "annzq", "is sorted by name"):
            assert private not in text, (path, private)
    assert "0 of 10 jobs are shown" in pages[site / "jobs.html"]
    assert "Simulated data" not in pages[site / "index.html"]
    assert 'hp-watermark"' not in pages[site / "index.html"]


def test_simulated_data_is_marked_on_every_page_and_in_every_plot(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        text = page.read_text("utf-8")
        assert '<aside class="banner" aria-label="Simulated data"><strong>Simulated data.' in text, page
        plots = text.count('<svg xmlns="http://www.w3.org/2000/svg" class="hp"')
        assert text.count('class="hp-watermark"') == plots, page
    for chart in sorted((site / "charts").glob("*.svg")):
        assert 'class="hp-watermark"' in chart.read_text("utf-8"), chart


def test_a_site_without_any_data_says_so(home: Home, tmp_path: Path) -> None:
    site = built(home, tmp_path / "report")
    assert "Nothing is graded yet" in (site / "index.html").read_text("utf-8")
    assert "There are no jobs yet" in (site / "dataset.html").read_text("utf-8")
    assert "0 of 0 jobs" in (site / "jobs.html").read_text("utf-8")


def test_deliverables_are_offered_under_names_that_nothing_runs(site: Path) -> None:
    names = sorted({path.name for path in (site / "files").rglob("*") if path.is_file()})
    assert names == sorted(
        {"list.csv", "page.svg.txt", "run.exe.bin", "txt.scr.bin", "_con.txt", "a_b_i_.md", "notes.md"}
    )
    assert not [path for path in site.rglob("*") if path.is_symlink()]
    evil = next(path for path in (site / "jobs").glob("*.html") if "outside.html" in path.read_text("utf-8"))
    assert "not here any more as it was handed in" in evil.read_text("utf-8")


def test_a_file_that_is_not_what_was_handed_in_is_not_offered(report_home: Home, tmp_path: Path) -> None:
    row = next(r for r in Lake(report_home.lake).read("attempts").to_pylist() if "list.csv" in r["deliverables"])
    keys = (row["model"], row["round"], row["job_id"], row["attempt_id"], row["deliverables"])
    shutil.copytree(attempt_folder(report_home, row), attempt_folder(Home(tmp_path), row))
    (handed_in,) = tmp_path.rglob("list.csv")

    def offered(unread: dict[str, str] | None = None) -> str:
        (one,) = Files(tmp_path / "attempts", tmp_path / "site", None, unread).of(*keys)
        shutil.rmtree(tmp_path / "site", ignore_errors=True)
        return one.href or one.note

    sha256 = json.loads(row["deliverables"])[0]["sha256"]
    assert offered().endswith("/list.csv")
    assert offered({sha256: "it is locked"}) == "not searched for personal data, so not offered: it is locked"
    handed_in.rename(tmp_path / "secret")
    handed_in.symlink_to(tmp_path / "secret")
    assert offered() == "not here any more as it was handed in"
    handed_in.unlink()
    handed_in.write_text("other words")
    assert offered() == "not here any more as it was handed in"


def test_the_command_says_where_the_report_is(
    report_home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--home", str(report_home.root), "--out", str(tmp_path / "r")]) == 0
    assert str(tmp_path / "r" / "index.html") in capsys.readouterr().out
    assert main(["report", "--home", str(tmp_path / "none")]) == 2
    assert "is not a home" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_everything_that_the_site_needs_ships_in_the_wheel() -> None:
    root = Path(__file__).resolve().parents[2]
    settings = (root / "pyproject.toml").read_text("utf-8")
    for name in ("methodology.md", "data_dictionary.md"):
        assert f'"docs/{name}" = "hapi_pipeline/_shipped/docs/{name}"' in settings
        assert shipped(f"docs/{name}").is_file()
    assert EVIL_ID not in settings
