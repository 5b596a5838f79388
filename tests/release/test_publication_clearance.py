from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapi_pipeline.lake import Lake
from hapi_pipeline.publication import clearance
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import UserError, shipped
from tests import scenario


@pytest.fixture
def registry_with(tmp_path: Path) -> Callable[..., Registry]:
    def make(**publish: Any) -> Registry:
        told = yaml.safe_load((shipped("data/registry") / "benchmark.yaml").read_text())
        told["publish"] = publish
        (tmp_path / "benchmark.yaml").write_text(yaml.safe_dump(told))
        return Registry(tmp_path)

    return make


def jobs_of(lake: Lake, jobs: dict[str, tuple[str, bool]]) -> None:
    for cohort in {cohort for cohort, _ in jobs.values()}:
        rows = [
            scenario.post(job, cohort=of, simulated=simulated) | {"rubric_version": "r", "n_criteria": 5}
            for job, (of, simulated) in jobs.items()
            if of == cohort
        ]
        lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", rows), {"cohort": cohort})


JOBS = {"real": ("2026-01", False), "made": ("2026-01", True), "new": ("2026-02", True), "newest": ("2026-03", True)}


@pytest.fixture
def jobs(lake: Lake) -> Lake:
    jobs_of(lake, JOBS)
    return lake


def test_a_deployment_that_says_nothing_publishes_only_what_was_simulated(jobs: Lake) -> None:
    shipped_rules = Registry(shipped("data/registry"))
    assert shipped_rules.benchmark.publish.jobs == "simulated"
    cleared = clearance(jobs, shipped_rules)
    assert {job for job, reason in cleared.items() if not reason} == {"made", "new", "newest"}
    assert "real client" in cleared["real"]


@pytest.mark.parametrize(
    ("publish", "cleared"),
    [
        ({"jobs": "none"}, set()),
        ({"jobs": "all"}, set(JOBS)),
        ({}, {"made", "new", "newest"}),
        ({"jobs": "all", "hold_back_months": 1}, {"real", "made", "new"}),
        ({"jobs": "all", "hold_back_months": 2}, {"real", "made"}),
        ({"jobs": "all", "hold_back_months": 50}, set()),
        ({"jobs": "simulated", "hold_back_months": 2}, {"made"}),
    ],
)
def test_the_settings_say_who_is_cleared(
    jobs: Lake, registry_with: Callable[..., Registry], publish: dict[str, Any], cleared: set[str]
) -> None:
    told = clearance(jobs, registry_with(**publish))
    assert set(told) == set(JOBS)
    assert {job for job, reason in told.items() if not reason} == cleared


def test_listed_jobs_are_those_of_the_list(jobs: Lake, tmp_path: Path, registry_with: Callable[..., Registry]) -> None:
    registry = registry_with(jobs="listed")
    with pytest.raises(UserError, match=r"cleared_jobs\.txt"):
        clearance(jobs, registry)
    (tmp_path / "cleared_jobs.txt").write_text("# asked by mail\n\n real\t# said yes\nnewest # too\nunknown\n")
    told = clearance(jobs, registry_with(jobs="listed"))
    assert {job for job, reason in told.items() if not reason} == {"real", "newest"}
    assert "not listed" in told["made"]


def test_held_back_months_are_those_that_have_jobs(lake: Lake, registry_with: Callable[..., Registry]) -> None:
    jobs_of(lake, {"old": ("2020-01", True), "older": ("2019-01", True)})
    told = clearance(lake, registry_with(hold_back_months=1))
    assert told["older"] == ""
    assert "newest month" in told["old"]


@pytest.mark.parametrize(
    "publish",
    [
        {"jobs": "some"},
        {"jobs": ["a"]},
        {"hold_back_months": -1},
        {"hold_back_months": 1.5},
        {"hold_back_months": True},
        {"licence": "Mine-1.0"},
        {"licence": 4},
        {"url": "example.org"},
        {"url": "javascript:alert(1)"},
        {"title": ""},
        {"title": "two\nlines"},
        {"authors": "Jane"},
        {"author": ["Jane"]},
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(
    registry_with: Callable[..., Registry], publish: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=r"benchmark\.yaml.*publish") as refused:
        _ = registry_with(**publish).benchmark
    assert "\n" not in str(refused.value)


def test_licences_are_written_as_spdx_writes_them(registry_with: Callable[..., Registry]) -> None:
    assert registry_with(licence="cc-by-4.0").benchmark.publish.licence == "CC-BY-4.0"


@pytest.mark.parametrize("line", ["abc looked", "0" * 64, "0" * 63 + "g looked at it", "0" * 64 + " #"])
def test_a_cleared_finding_says_who_looked(tmp_path: Path, registry_with: Callable[..., Registry], line: str) -> None:
    registry = registry_with()
    (tmp_path / "cleared_findings.txt").write_text(f"# ours\n{line}\n")
    with pytest.raises(UserError, match=r"cleared_findings\.txt, line 2"):
        _ = registry.cleared_findings
