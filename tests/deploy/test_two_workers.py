"""Two workers of one backfill at once: real runs of the real daemon, its runs in a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from hapi_pipeline import fan_out
from hapi_pipeline.operations import busy_with
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import Home, UserError
from tests.deploy import fleet
from tests.deploy.cluster import Cluster, deployed
from tests.deploy.loopback import Loopback

MONTHS, JOBS, AT_ONCE = fleet.months_of(2), 6, 3
CEILING = 0.012
PATIENCE = 300.0


@pytest.fixture
def home(postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name, value in postgres.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("DAGSTER_HOME", "HAPI_HOME", "HAPI_WORKSPACE"):
        monkeypatch.setenv(name, "")  # so that it is as it was after the test
    return fleet.made_home(tmp_path, MONTHS, JOBS)


def test_two_workers_at_once_share_one_ceiling_and_make_no_attempt_twice(
    home: Home, postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less than all of it: bench/two_workers.py goes on to the rest, with a worker killed on the way."""
    summarised: list[Home] = []
    monkeypatch.setattr(fan_out, "summarise", summarised.append)  # as after every backfill, and slow
    model, said = Registry.of(home).models[0], list[str]()
    with pytest.raises(UserError, match="No daemon"):
        fan_out.backfill_by_workers(home, model, MONTHS, 2)
    with pytest.raises(UserError, match="max_concurrent_runs"):
        fan_out.backfill_by_workers(home, model, MONTHS, 5)
    with (
        Loopback(home.root / "simulator", 300) as provider,
        deployed(home, postgres.environment) as environment,
    ):
        monkeypatch.setenv("HAPI_WORKSPACE", environment["HAPI_WORKSPACE"])
        fleet.point_at(home, provider.address, AT_ONCE)
        fleet.wait_for_daemon(home, PATIENCE)
        done = fan_out.backfill_by_workers(home, model, MONTHS, 2, CEILING, said.append)
    results, bills = fleet.results(home), fleet.bills(provider)
    assert 0 < len(results) == done.attempts_made < len(MONTHS) * JOBS
    assert done.attempts_left == len(MONTHS) * JOBS - done.attempts_made
    assert CEILING <= sum(bills) < CEILING + max(bills)  # one call is less than one attempt
    assert any("ceiling" in sentence for sentence in done.left_out)
    assert done.cost_usd == pytest.approx(sum(bills))
    assert set(provider.requests().values()) == {1}
    assert provider.most <= AT_ONCE
    assert fleet.overlapping(home), said
    assert {str(result["job_id"])[1:7] for result in results} == {month.replace("-", "") for month in MONTHS}
    assert summarised == [home]
    assert busy_with(home) is None
