"""What a real run leaves in the instance for the UI: each partition has its own numbers, preview and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hapi_pipeline.definitions import CURATE, build_defs
from hapi_pipeline.intake.jobs import import_jobs
from hapi_pipeline.intake.rubrics import import_rubrics
from hapi_pipeline.lake import Lake
from hapi_pipeline.operations import at_work, instance_of, report_imports
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import Home
from tests.graph.small_world import write_jobs, write_rubrics

MONTHS = ("2025-03", "2025-04")


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """The instance of a home in which two months were imported and curated in one run."""
    folder = tmp_path_factory.mktemp("ui")
    home = Home(folder / "home").ensure()
    lake, registry = Lake(home.lake), Registry.of(home)
    with pytest.MonkeyPatch.context() as patch, at_work(home), instance_of(home) as made:
        patch.setenv("HAPI_HOME", str(home.root))
        for n, month in enumerate(MONTHS):
            jobs = spoilt(write_jobs(folder / f"{month}.csv", month, n + 2))
            done = import_jobs(lake, [jobs], registry.source("canonical"), registry.benchmark)
            import_rubrics(lake, [write_rubrics(folder / f"r{month}.csv", month, n + 2)])
            report_imports(home, [("job_exports", one) for one in done])
        result = (
            build_defs(home)
            .resolve_job_def(CURATE)
            .execute_in_process(
                instance=made,
                tags={
                    "dagster/asset_partition_range_start": MONTHS[0],
                    "dagster/asset_partition_range_end": MONTHS[1],
                },
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        )
        assert result.success
        yield made


def spoilt(path: Path) -> Path:
    """An export with one row more, which cannot be taken in."""
    with path.open("a") as file:
        file.write(",Without an id,x,Design,fixed,40,false,1,completed,true,2025-03-10\n")
    return path


def events(instance: dg.DagsterInstance, asset: str) -> dict[str | None, dict[str, dg.MetadataValue[Any]]]:
    """The metadata of each partition's newest event."""
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=50).records
    found = [record.asset_materialization for record in reversed(records)]
    return {event.partition: dict(event.metadata) for event in found if event is not None}


def test_each_partition_has_its_own_preview_and_numbers(instance: dg.DagsterInstance) -> None:
    found = events(instance, "benchmark_jobs")
    assert set(found) == set(MONTHS)
    for month, jobs in zip(MONTHS, (2, 3), strict=True):
        shown = found[month]["preview"]
        assert isinstance(shown, dg.TableMetadataValue)
        assert {str(row.data["job_id"])[1:7] for row in shown.records} == {month.replace("-", "")}
        assert len(shown.records) == jobs
        assert found[month]["dagster/partition_row_count"].value == jobs
        assert found[month]["dagster/row_count"].value == 5
        assert found[month]["n_criteria_mean"].value == 5.0


def test_what_is_worth_a_look_stands_first(instance: dg.DagsterInstance) -> None:
    names = list(events(instance, "curation_funnel")["2025-04"])
    assert names[:3] == ["funnel", "funnel in numbers", "preview"]
    assert names.index("n_fixed_price_jobs") < names.index("n_benchmark_jobs") < names.index("dagster/row_count")


def test_an_import_shows_its_rows_and_those_that_were_turned_away(instance: dg.DagsterInstance) -> None:
    exported, refused = events(instance, "job_exports")[None], events(instance, "quarantine")[None]
    assert exported["quarantined"].value == 1
    assert isinstance(exported["preview"], dg.TableMetadataValue)
    assert refused["rows"].value == 1
    assert refused["n_missing_job_id"].value == 1
