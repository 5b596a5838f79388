"""Where the home is, what an import says, and the small commands."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from hapi_pipeline.cli import main
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import Home
from tests.cli.conftest import JOB_COLUMNS, JOBS, Hapi, listing, write_csv, write_jobs


@pytest.mark.parametrize("words", [["--home", "{home}", "init"], ["init", "--home", "{home}"]])
def test_home_may_stand_before_or_after_the_command(words: list[str], home: Path, tmp_path: Path) -> None:
    assert main([word.format(home=home) for word in words]) == 0
    assert Home(home).exists()
    assert not (tmp_path / "default").exists()


def test_hapi_home_is_the_home_when_none_is_named(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("HAPI_HOME", str(home))
    assert main(["init"]) == 0
    assert Home(home).exists()


def test_a_home_that_is_named_goes_before_hapi_home(
    monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("HAPI_HOME", str(tmp_path / "other"))
    assert main(["--home", str(home), "init"]) == 0
    assert Home(home).exists()
    assert not (tmp_path / "other").exists()


def test_init_keeps_what_the_operator_has_changed(hapi: Hapi, home: Path) -> None:
    assert hapi("init")[1].startswith("Made the home")
    rules = home / "registry" / "benchmark.yaml"
    rules.write_text(rules.read_text() + "# a note of ours\n")
    before = listing(home)
    assert hapi("init")[1].startswith("Kept the home")
    assert listing(home) == before


def test_the_same_file_again_changes_nothing_and_says_so(hapi: Hapi, stocked: Path, stock: Path) -> None:
    for kind, name, more in (("jobs", "jobs.csv", ["--source", "canonical"]), ("rubrics", "rubrics.csv", [])):
        before = listing(stocked / "lake")
        code, out, err = hapi("import", kind, stock / name, *more)
        assert (code, err) == (0, "")
        assert out == f"{name}: imported before, nothing changed.\n"
        assert listing(stocked / "lake") == before


def test_the_same_file_twice_in_one_command_counts_once(hapi: Hapi, tmp_path: Path) -> None:
    jobs = write_jobs(tmp_path / "jobs.csv")
    code, out, _ = hapi("import", "jobs", jobs, jobs, "--source", "canonical")
    assert (code, out.count("taken in"), out.count("imported before")) == (0, 1, 1)
    assert hapi("query", "SELECT count(*) AS n FROM job_exports", "--format", "json")[1] == '{"n": 8}\n'


def test_an_import_that_was_killed_before_it_made_the_home_is_made_good(hapi: Hapi, home: Path, tmp_path: Path) -> None:
    from hapi_pipeline.intake.jobs import import_jobs
    from hapi_pipeline.settings import shipped

    jobs, registry = write_jobs(tmp_path / "jobs.csv"), Registry(shipped("data/registry"))
    import_jobs(Lake(home / "lake"), [jobs], registry.source("canonical"), registry.benchmark)  # and here it is killed
    assert "imported before" in hapi("import", "jobs", jobs, "--source", "canonical")[1]
    assert Home(home).exists()
    assert hapi("refresh", "--cohort", "2019-01")[2].endswith("months with jobs: 2025-03, 2025-04.\n")


def test_an_optional_column_may_be_missing_and_is_reported(hapi: Hapi, tmp_path: Path) -> None:
    columns = [*(c for c in JOB_COLUMNS if c != "client_id"), "mood"]
    code, out, _ = hapi("import", "jobs", write_jobs(tmp_path / "jobs.csv", columns), "--source", "canonical")
    assert code == 0
    assert "client_id" in out.split("so null:")[1].split(";")[0]
    assert "kept aside: mood" in out
    assert hapi("query", "SELECT count(client_id) AS n FROM job_exports", "--format", "json")[1] == '{"n": 0}\n'


def test_a_bad_row_goes_to_quarantine_and_the_last_line_says_so(hapi: Hapi, tmp_path: Path) -> None:
    row = ["", "No id", "text", "Data", "fixed", 5, "false", 1, "completed", "true", "c", "2025-03-03"]
    good = ["J1", "Id", "text", "Data", "fixed", 5, "false", 1, "completed", "true", "c", "2025-03-03"]
    code, out, _ = hapi(
        "import", "jobs", write_csv(tmp_path / "jobs.csv", JOB_COLUMNS, [good, row]), "--source", "canonical"
    )
    assert code == 1
    assert "1 rows taken in" in out
    query = shlex.split(out.splitlines()[-1].split("hapi ")[1])
    asked = json.loads(hapi(*query, "--format", "json")[1])
    assert (asked["file"], asked["row"], asked["code"]) == ("jobs.csv", 2, "missing_job_id")


def test_a_query_answers_in_every_form(stocked: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    import io

    import pyarrow.parquet as pq

    sql = "SELECT 1 AS n, 'a,b' AS t, [1, 2] AS l"
    said = {}
    for form in ("table", "csv", "json", "parquet"):
        assert main(["--home", str(stocked), "query", sql, "--format", form]) == 0
        said[form] = capfdbinary.readouterr().out
    assert b"1 row(s)" in said["table"]
    assert said["csv"].splitlines() == [b'"n","t","l"', b'1,"a,b","[1, 2]"']
    assert json.loads(said["json"]) == {"n": 1, "t": "a,b", "l": [1, 2]}
    assert pq.read_table(io.BytesIO(said["parquet"])).to_pylist() == [{"n": 1, "t": "a,b", "l": [1, 2]}]


def test_models_are_added_listed_and_retired(hapi: Hapi, home: Path) -> None:
    assert hapi("models", "add", "Acme 7", "--litellm", "acme/seven", "--input-usd", "1", "--output-usd", "4")[0] == 0
    code, out, _ = hapi("models", "add", "Elsewhere", "--external")
    assert (code, "hapi import attempts" in out) == (0, True)
    assert "no attempt is started" in hapi("models", "add", "Dear", "--litellm", "acme/dear")[1]
    code, _, err = hapi("models", "add", "acme 7", "--external")
    assert (code, "already" in err) == (2, True)
    assert hapi("models", "retire", "Elsewhere")[0] == 0
    lines = {line.split("  ")[0]: line for line in hapi("models")[1].splitlines()}
    assert "active" in lines["Acme 7"]
    assert "acme/seven" in lines["Acme 7"]
    assert "retired" in lines["Elsewhere"]
    assert "price list" in lines["Dear"]
    assert [m.retired for m in Registry.of(Home(home)).models] == [False, True, False]


def test_a_model_is_a_partition_as_soon_as_it_is_registered(hapi: Hapi, home: Path) -> None:
    from hapi_pipeline.operations import instance_of

    hapi("models", "add", "a|b,c", "--external")
    with instance_of(Home(home)) as instance:
        assert list(instance.get_dynamic_partitions("model")) == ["a%7Cb%2Cc"]


@pytest.mark.usefixtures("stocked")
def test_explain_says_why_a_job_is_not_decided_yet(hapi: Hapi) -> None:
    code, out, _ = hapi("explain", JOBS[0][0])
    assert (code, "not curated yet" in out, "jobs.csv row 1" in out) == (0, True, True)


def test_simulate_makes_exports_that_can_be_imported(hapi: Hapi, tmp_path: Path) -> None:
    code, out, _ = hapi("simulate", "--posts", 50, "--seed", 3, "--out", tmp_path / "made")
    assert code == 0
    assert "50 posts" in out
    jobs = sorted((tmp_path / "made").glob("jobs*"))
    assert hapi("import", "jobs", *jobs, "--source", "sample_market")[0] in (0, 1)
    assert (
        hapi("query", "SELECT count(DISTINCT job_id) > 40 AS many FROM job_exports", "--format", "json")[1]
        == '{"many": true}\n'
    )
    code, _, err = hapi("simulate", "--posts", 50, "--seed", 3, "--out", tmp_path / "made")
    assert (code, "not an empty folder" in err) == (2, True)
