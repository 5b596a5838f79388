"""Checks in real runs: what a failure stops, what it leaves alone, and what run, UI and command say of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hapi_pipeline import operations
from hapi_pipeline.checks.inline import HELD_BACK, failed_by_checks_only, known_failures
from hapi_pipeline.definitions import build_defs
from hapi_pipeline.intake.jobs import import_jobs
from hapi_pipeline.intake.rubrics import import_rubrics
from hapi_pipeline.lake import Lake
from hapi_pipeline.rebuild import rebuild
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import Home
from hapi_pipeline.tables import TABLES

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")

HEAD = "job_id,title,description,category,job_type,price_usd,price_changed,milestone_count,status,paid,completed_at\n"
JOBS = HEAD + "".join(
    f"{name},A {name} of our town,Draw it please,Design,fixed,50,false,1,completed,true,2025-0{month}-10\n"
    for month, names in ((3, ("map", "chart")), (4, ("song", "poem")), (5, ("logo", "sign")))
    for name in names
)
MONTHS = ("2025-03", "2025-04", "2025-05")
BAD = {"cohort": "2025-04"}


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of three months that have been curated, with its Dagster instance; no test changes it."""
    root = tmp_path_factory.mktemp("curated")
    home = Home(root / "home").ensure()
    (home.registry / "models.yaml").write_text(
        "models:\n- {name: One, litellm: a/one}\n- {name: Two, litellm: a/two}\n"
    )
    (root / "jobs.csv").write_text(JOBS)
    jobs = [line.partition(",")[0] for line in JOBS.splitlines()[1:]]
    (root / "rubrics.csv").write_text(
        "job_id,criterion_id,text\n" + "".join(f"{job},c{n},point {n}\n" for job in jobs for n in range(5))
    )
    lake, registry = Lake(home.lake), Registry.of(home)
    import_jobs(lake, [root / "jobs.csv"], registry.source("canonical"), registry.benchmark)
    import_rubrics(lake, [root / "rubrics.csv"])
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(home, instance, "curate", "2025-03", "2025-05").success
    return home.root


@pytest.fixture
def home(curated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    import shutil

    shutil.copytree(curated, tmp_path / "home")
    monkeypatch.setenv("HAPI_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def run(
    home: Home, instance: dg.DagsterInstance, job: str, first: str, last: str, *assets: str
) -> dg.ExecuteInProcessResult:
    return (
        build_defs(home)
        .resolve_job_def(job)
        .execute_in_process(
            instance=instance,
            raise_on_error=False,
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            asset_selection=[dg.AssetKey([name]) for name in assets] or None,
        )
    )


def spoil(home: Home, table: str, keys: Mapping[str, str]) -> None:
    """Put each row of a partition into it twice, so that no run remakes it: it seems to be made from the same."""
    lake = Lake(home.lake)
    path, rows = lake.path(table, keys), lake.read(table, keys)
    seen = {"hapi.inputs": lake.inputs(table, keys) or "", "hapi.content": lake.content(table, keys) or ""}
    pq.write_table(pa.concat_tables([rows, rows]).replace_schema_metadata(seen), path)


def outdate(home: Home, *tables: str) -> None:
    """Make a run remake these tables: their partitions forget what they were made from."""
    lake = Lake(home.lake)
    for table in tables:
        for keys in lake.partitions(table):
            lake.write(table, lake.read(table, keys), keys, "outdated")


def inputs(home: Home, table: str) -> dict[str, bool]:
    """Whether each month of a table has been remade since `outdate`."""
    lake = Lake(home.lake)
    return {keys["cohort"]: lake.inputs(table, keys) != "outdated" for keys in lake.partitions(table)}


def partitions_of(result: dg.ExecuteInProcessResult, table: str) -> set[str | None]:
    return {e.partition for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey([table])}


def evaluation(result: dg.ExecuteInProcessResult, table: str, name: str) -> dg.AssetCheckEvaluation:
    every = (e for e in result.get_asset_check_evaluations() if e.partition is None)
    found = [e for e in every if (e.asset_key.path[-1], e.check_name) == (table, name)]
    (one,) = found
    return one


CHECK = dg.AssetCheckKey(dg.AssetKey(["pii_free_jobs"]), "schema")


def test_a_bad_month_holds_back_its_own_followers_and_no_other_month(home: Home, instance: dg.DagsterInstance) -> None:
    sound = Lake(home.lake).path("curated_jobs", BAD).read_bytes()
    spoil(home, "curated_jobs", BAD)
    outdate(home, "selected_jobs", "benchmark_jobs")
    assets = ("curated_jobs", "selected_jobs", "benchmark_jobs")
    result = run(home, instance, "curate", *MONTHS[::2], *assets)
    assert result.success  # two of three months are sound
    assert inputs(home, "selected_jobs") == {"2025-03": True, "2025-04": False, "2025-05": True}
    assert inputs(home, "benchmark_jobs") == {"2025-03": True, "2025-04": False, "2025-05": True}
    assert partitions_of(result, "selected_jobs") == {"2025-03", "2025-05"}

    said = evaluation(result, "curated_jobs", "schema")
    assert (said.passed, said.metadata["partitions_failing"].value) == (False, 1)
    assert said.description is not None
    assert "curated_jobs fails the check schema in 2025-04" in said.description
    assert "`hapi rebuild --table curated_jobs --write`" in said.description
    table: Any = said.metadata["failing"]
    assert "more than once" in table.records[0].data["such as"]

    # the month by itself: the run fails, and what follows does not start
    alone = run(home, instance, "curate", "2025-04", "2025-04", *assets)
    assert not alone.success
    assert failed_by_checks_only(alone)
    assert {e.step_key for e in alone.all_events if e.is_step_start} == {"curated_jobs"}
    # another month by itself is not concerned, and does not hide the failure
    other = run(home, instance, "curate", "2025-03", "2025-03", *assets)
    assert other.success
    assert not evaluation(other, "curated_jobs", "schema").passed
    # a later run that begins further down is held back as well, and says why
    later = run(home, instance, "curate", "2025-04", "2025-04", "selected_jobs", "benchmark_jobs")
    (failed,) = [e.step_failure_data for e in later.all_events if e.is_step_failure]
    assert failed.user_failure_data is not None
    assert HELD_BACK in failed.user_failure_data.metadata
    assert str(failed.user_failure_data.description).startswith(
        "selected_jobs of 2025-04 is held back: curated_jobs fails the check schema in 2025-04: "
    )

    Lake(home.lake).path("curated_jobs", BAD).write_bytes(sound)  # as `hapi rebuild --write` puts it back
    mended = run(home, instance, "curate", *MONTHS[::2], "selected_jobs", "benchmark_jobs")
    assert mended.success
    assert all(inputs(home, "selected_jobs").values())
    assert known_failures(home) == []


def test_a_partition_that_begins_or_ceases_to_fail_has_a_result_of_its_own(
    home: Home, instance: dg.DagsterInstance
) -> None:
    def results() -> list[tuple[str, str]]:
        key = dg.AssetCheckKey(dg.AssetKey(["completed_jobs"]), "schema")
        records = instance.event_log_storage.get_asset_check_execution_history(key, limit=20)
        return [(r.partition, r.status.value) for r in records if r.partition and r.status.value != "PLANNED"]

    run(home, instance, "curate", *MONTHS[::2], "completed_jobs")
    assert results() == []  # nothing to tell
    path, data = Lake(home.lake).path("completed_jobs", BAD), Lake(home.lake).path("completed_jobs", BAD).read_bytes()
    spoil(home, "completed_jobs", BAD)
    for _ in range(2):  # told once
        assert run(home, instance, "curate", *MONTHS[::2], "completed_jobs").success
        assert results() == [("2025-04", "FAILED")]
    path.write_bytes(data)
    run(home, instance, "curate", "2025-04", "2025-04", "completed_jobs")
    assert results() == [("2025-04", "SUCCEEDED"), ("2025-04", "FAILED")]


def test_every_asset_has_its_schema_check_and_says_what_a_failure_stops(home: Home) -> None:
    graph = build_defs(home).resolve_asset_graph()
    keys = {(key.asset_key.path[-1], key.name) for key in graph.asset_check_keys}
    assert {(table, "schema") for table in TABLES if not TABLES[table].ledger} <= keys
    for key in graph.asset_check_keys:
        node = graph.get(key)
        assert node.description
        assert node.blocking == ("A failure holds back what is made from" in node.description) or key.name in SEPARATE


SEPARATE = {"schema_drift", "data_quality"}


def test_no_attempt_is_paid_for_while_the_funnel_of_its_month_does_not_reconcile(
    home: Home, instance: dg.DagsterInstance
) -> None:
    with dg.DagsterInstance.ephemeral() as made:
        lake = Lake(home.lake)
        rows = lake.read("curation_funnel", BAD).to_pylist()
        rows[0]["n_in"] += 1
        table = pa.Table.from_pylist(rows, TABLES["curation_funnel"].schema())
        lake.write("curation_funnel", table, BAD, lake.inputs("curation_funnel", BAD) or "")
        made.add_dynamic_partitions("model", ["One", "Two"])
        assert not run(home, made, "curate", "2025-04", "2025-04", "curation_funnel").success
        job = build_defs(home).resolve_job_def("evaluate")
        tags = {
            "dagster/asset_partition_range_start": "2025-04|One",
            "dagster/asset_partition_range_end": "2025-04|Two",
        }
        attempts = [dg.AssetKey(["agent_alone", "attempts"])]
        result = job.execute_in_process(
            instance=made,
            raise_on_error=False,
            tags=tags,
            asset_selection=attempts,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        assert failed_by_checks_only(result)
        (failed,) = [e.step_failure_data for e in result.all_events if e.is_step_failure]
        assert "curation_funnel fails the check funnel_reconciles in 2025-04" in str(failed.user_failure_data)
        assert not (home.lake / "attempts").exists()


def test_the_command_says_what_is_held_back_and_what_to_do(home: Home) -> None:
    sound = Lake(home.lake).path("in_scope_jobs", BAD).read_bytes()
    spoil(home, "in_scope_jobs", BAD)
    with pytest.raises(operations.RunFailedError) as failed:
        operations.curate(home, ["2025-04"])
    assert str(failed.value).startswith("in_scope_jobs fails the check schema in 2025-04: problem 2 key(s) are there ")
    assert str(failed.value).endswith("`hapi rebuild --table in_scope_jobs --write` makes it anew from the ledgers.")
    Lake(home.lake).path("in_scope_jobs", BAD).write_bytes(sound)
    assert "2025-04" in operations.uncurated_cohorts(home)  # to be done again, now that it is mended
    operations.curate(home, ["2025-04"])
    assert "2025-04" not in operations.uncurated_cohorts(home)
    assert operations.failing_checks(home) == ()


def test_rebuild_puts_a_damaged_file_right(home: Home) -> None:
    lake = Lake(home.lake)
    sound, path = lake.read("job_posts", BAD), lake.path("job_posts", BAD)
    path.write_bytes(path.read_bytes()[:50])
    (compared,) = rebuild(home, ["job_posts"], write=True)
    assert [d.text for d in compared.differences] == ["cannot be read: it is cut off or overwritten"]
    assert lake.read("job_posts", BAD).equals(sound)
