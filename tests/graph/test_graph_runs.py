"""What the graph does: the schedule, the sensors, the checks, and a run over a range of months."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hapi_pipeline.arrivals import last_closed_month
from hapi_pipeline.checks.reconcile import FUNNEL, RATES, violations
from hapi_pipeline.curation.rules import CHAIN
from hapi_pipeline.dead_runs import bury_dead_runs
from hapi_pipeline.definitions import build_defs
from hapi_pipeline.intake.jobs import import_jobs
from hapi_pipeline.intake.ledger import rows_of
from hapi_pipeline.intake.rubrics import import_rubrics
from hapi_pipeline.lake import Lake
from hapi_pipeline.partitions import MODELS, sync_models
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import Home

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")

MODELS_YAML = """models:
- {name: One, litellm: a/one}
- {name: "Two: the second | of 3", litellm: a/two}
- {name: Old, litellm: a/old, retired: true}
"""
JOBS = """job_id,title,description,category,job_type,price_usd,price_changed,milestone_count,status,paid,\
completed_at
A1,Draw a map,Of our town please,Design,fixed,50,false,1,completed,true,2025-03-10
A2,Draw a chart,Of our sales please,Design,hourly,50,false,1,completed,true,2025-03-11
A3,Draw a logo,For our shop please,Design,fixed,70,false,1,completed,true,2025-03-12
B1,Write a song,About the sea please,Music,fixed,80,false,1,completed,true,2025-04-10
C1,Write a poem,About the rain please,Music,fixed,90,false,1,completed,true,2025-05-10
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("HAPI_HOME", str(tmp_path / "home"))
    home = Home(tmp_path / "home").ensure()
    (home.registry / "models.yaml").write_text(MODELS_YAML)
    return home


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def stocked(home: Home, tmp_path: Path) -> Home:
    (tmp_path / "jobs.csv").write_text(JOBS)
    rubrics = "".join(f"{job},c{n},point {n} of {job}\n" for job in ("A1", "B1", "C1") for n in range(5))
    (tmp_path / "rubrics.csv").write_text("job_id,criterion_id,text\n" + rubrics)
    lake, registry = Lake(home.lake), Registry.of(home)
    import_jobs(lake, [tmp_path / "jobs.csv"], registry.source("canonical"), registry.benchmark)
    import_rubrics(lake, [tmp_path / "rubrics.csv"])
    return home


# ---- automation


@pytest.mark.parametrize(
    ("now", "month"),
    [
        ("2026-11-02T06:00:00+00:00", "2026-10"),
        ("2026-01-02T06:00:00+00:00", "2025-12"),
        ("2024-03-31T23:59:00+00:00", "2024-02"),
        ("2026-03-01T00:30:00+01:00", "2026-01"),
    ],
)
def test_the_last_closed_month(now: str, month: str) -> None:
    assert last_closed_month(datetime.fromisoformat(now)) == month


def test_the_partitions_of_models_follow_the_registry(home: Home, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions(MODELS, ["Gone", "One"])
    sync_models(instance, Registry.of(home))
    assert set(instance.get_dynamic_partitions(MODELS)) == {m.key for m in Registry.of(home).models}
    assert not any("|" in key or "," in key for key in instance.get_dynamic_partitions(MODELS))


# ---- checks

FUNNEL_ROW = {
    "cohort": "2025-03",
    "position": 1,
    "rule": CHAIN[0],
    "n_in": 5,
    "n_kept": 3,
    "n_rejected": 1,
    "n_unknown": 1,
    "rule_version": "1",
    "simulated": False,
}
RATES_ROW = {
    "cohort": "2025-03",
    "model": "One",
    "round": "agent_alone",
    "category": "Design",
    "rule": "all_criteria",
    "n_eligible": 10,
    "n_attempted": 9,
    "n_unattempted": 1,
    "n_pending": 2,
    "n_infra": 1,
    "n_graded": 6,
    "n_completed": 3,
    "n_retried": 6,
    "n_rescued": 3,
    "rate": 0.3,
    "rate_lo": 0.1,
    "rate_hi": 0.6,
    "rate_graded": 0.5,
    "rate_graded_lo": 0.2,
    "rate_graded_hi": 0.8,
    "bound_lo": 0.3,
    "bound_hi": 0.7,
    "simulated": False,
}


def funnel(*changes: Mapping[str, Any]) -> list[dict[str, Any]]:
    second = FUNNEL_ROW | {
        "position": 2,
        "rule": CHAIN[1],
        "n_in": 3,
        "n_kept": 3,
        "n_rejected": 0,
        "n_unknown": 0,
    }
    return [{**row, **change} for row, change in zip([FUNNEL_ROW, second], changes, strict=True)]


GOOD_FUNNELS = [
    funnel({}, {}),
    funnel({}, {"n_kept": 0, "n_unknown": 3}),
    funnel({}, {"cohort": "2025-04", "n_in": 0, "n_kept": 0}),
]
BAD_FUNNELS = [
    funnel({}, {"n_in": 4, "n_kept": 4}),  # more jobs than the rule before has kept
    funnel({}, {"n_in": 2, "n_kept": 2}),  # a job got lost between two rules
    funnel({"n_unknown": 0}, {}),  # a job got lost within a rule
    funnel({"n_rejected": 2}, {}),  # a job counted twice
]
GOOD_RATES: list[dict[str, Any]] = [
    {},
    {"rate": 0.0, "rate_lo": 0.0, "bound_lo": 0.0, "n_completed": 0},
    {
        "n_graded": 0,
        "n_completed": 0,
        "n_pending": 8,
        "rate": None,
        "rate_lo": None,
        "rate_hi": None,
        "rate_graded": None,
        "rate_graded_lo": None,
        "rate_graded_hi": None,
        "bound_lo": 0.0,
        "bound_hi": 1.0,
    },
]
BAD_RATES: list[dict[str, Any]] = [
    {"n_pending": 1},
    {"n_infra": 0},
    {"n_eligible": 11},
    {"n_completed": 7},
    {"rate": None},
    {"rate": 0.05},
    {"rate": 0.75},
    {"n_graded": 0, "n_pending": 8, "n_completed": 0},
    {"bound_hi": 0.2},
    {"bound_lo": 0.4},
    {"rate_graded": None},
    {"rate_graded": 0.9},
]


def put(home: Home, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    for cohort in {row["cohort"] for row in rows}:
        some = [row for row in rows if row["cohort"] == cohort]
        keys = {"cohort": cohort} | ({"model": some[0]["model"]} if "model" in some[0] else {})
        Lake(home.lake).write(table, rows_of(table, some), keys)


@pytest.mark.parametrize("rows", GOOD_FUNNELS)
def test_a_funnel_that_reconciles_passes(home: Home, rows: list[dict[str, Any]]) -> None:
    put(home, "curation_funnel", rows)
    assert violations(Lake(home.lake), FUNNEL, ["curation_funnel"]) == []


@pytest.mark.parametrize("rows", BAD_FUNNELS)
def test_a_funnel_that_does_not_reconcile_is_found(home: Home, rows: list[dict[str, Any]]) -> None:
    put(home, "curation_funnel", rows)
    assert len(violations(Lake(home.lake), FUNNEL, ["curation_funnel"])) >= 1


@pytest.mark.parametrize("change", GOOD_RATES)
def test_rates_whose_counts_add_up_pass(home: Home, change: dict[str, Any]) -> None:
    put(home, "completion_rates", [RATES_ROW | change])
    assert violations(Lake(home.lake), RATES, ["completion_rates"]) == []


@pytest.mark.parametrize("change", BAD_RATES)
def test_rates_whose_counts_do_not_add_up_are_found(home: Home, change: dict[str, Any]) -> None:
    put(home, "completion_rates", [RATES_ROW | change, RATES_ROW | {"category": "Music"}])
    assert [row["category"] for row in violations(Lake(home.lake), RATES, ["completion_rates"])] == ["Design"]


# ---- a run over a range of months


def curate(home: Home, instance: dg.DagsterInstance, first: str, last: str) -> dg.ExecuteInProcessResult:
    return (
        build_defs(home)
        .resolve_job_def("curate")
        .execute_in_process(
            instance=instance,
            raise_on_error=False,
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    )


def test_a_run_over_two_months_writes_exactly_these(stocked: Home, instance: dg.DagsterInstance) -> None:
    result = curate(stocked, instance, "2025-03", "2025-04")
    assert result.success
    lake = Lake(stocked.lake)
    tables = ["job_posts", "rubrics", *CHAIN, "rejected_jobs", "curation_funnel"]
    for table in tables:
        assert [p["cohort"] for p in lake.partitions(table)] == ["2025-03", "2025-04"], table
        assert {p.partition for p in events(instance, table)} == {"2025-03", "2025-04"}
    assert not (stocked.lake / "attempts").exists()
    assert [r["job_id"] for r in lake.read("benchmark_jobs").to_pylist()] == ["A1", "B1"]
    away = {r["job_id"]: r["rule"] for r in lake.read("rejected_jobs").to_pylist()}
    assert away == {"A2": "fixed_price_jobs", "A3": "benchmark_jobs"}


def events(instance: dg.DagsterInstance, table: str) -> list[Any]:
    """The newest materialization of each partition, as the UI shows it."""
    records = instance.fetch_materializations(dg.AssetKey(table), limit=100).records
    newest: dict[str | None, Any] = {}
    for record in records:  # the newest first
        newest.setdefault(record.partition_key, record.asset_materialization)
    return list(newest.values())


def test_each_partition_reports_its_own_number_of_rows(stocked: Home, instance: dg.DagsterInstance) -> None:
    curate(stocked, instance, "2025-03", "2025-04")
    for table in ("job_posts", "benchmark_jobs", "rejected_jobs"):
        counts = {e.partition: e.metadata["dagster/partition_row_count"].value for e in events(instance, table)}
        stored = {c: Lake(stocked.lake).read(table, {"cohort": c}).num_rows for c in ("2025-03", "2025-04")}
        assert counts == stored
    assert stored == {"2025-03": 2, "2025-04": 0}


def test_a_run_of_one_month_leaves_the_others_alone(stocked: Home, instance: dg.DagsterInstance) -> None:
    curate(stocked, instance, "2025-03", "2025-04")
    before = {path: path.stat().st_mtime_ns for path in stocked.lake.rglob("cohort=2025-0[34]/data.parquet")}
    assert before
    assert curate(stocked, instance, "2025-05", "2025-05").success
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert Lake(stocked.lake).read("benchmark_jobs", {"cohort": "2025-05"})["job_id"].to_pylist() == ["C1"]


# ---- after a kill


def test_runs_of_a_killed_command_are_closed_and_give_their_slots_back(home: Home, tmp_path: Path) -> None:
    mine, others = {"hapi/started_by": "hapi"}, {"dagster/schedule_name": "monthly_refresh"}
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        job = build_defs(home).resolve_job_def("evaluate")
        dead, alive = (
            instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED) for tags in (mine, others)
        )
        storage = instance.event_log_storage
        storage.set_concurrency_slots("llm", 1)
        assert storage.claim_concurrency_slot("llm", dead.run_id, "attempts").is_claimed
        assert not storage.claim_concurrency_slot("llm", alive.run_id, "attempts").is_claimed
        assert bury_dead_runs(instance) == 1
        statuses = {run.run_id: run.status for run in instance.get_runs()}
        assert statuses == {
            dead.run_id: dg.DagsterRunStatus.FAILURE,
            alive.run_id: dg.DagsterRunStatus.STARTED,
        }
        assert storage.claim_concurrency_slot("llm", alive.run_id, "attempts").is_claimed
        assert bury_dead_runs(instance) == 0
