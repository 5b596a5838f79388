"""A long run reports each partition when it is done, and each exactly once."""

import dagster as dg
import pytest

from hapi_pipeline.assets.piecemeal import Piecemeal

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

MONTHS = dg.StaticPartitionsDefinition(["2025-01", "2025-02", "2025-03", "2025-04"])
WORK = [(1, "2025-01"), (2, "2025-01"), (3, "2025-03"), (4, "2025-04")]


def run(instance: dg.DagsterInstance, first: str, last: str, pieces_done: int = 9, fails: bool = False) -> bool:
    """A run over a range in which so many pieces of work are done, one after the other."""

    @dg.asset(partitions_def=MONTHS, backfill_policy=dg.BackfillPolicy.single_run())
    def work(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        keys = [k for k in MONTHS.get_partition_keys() if first <= k <= last]
        pieces = Piecemeal(context, [w for w in WORK if w[1] in keys], len(keys))
        for piece, _ in [w for w in WORK if w[1] in keys][:pieces_done]:
            pieces.done(piece, lambda key: {"cost_usd": float(key[-1])})
        if fails:
            raise RuntimeError("the provider is down")
        return pieces.result({key: {"cost_usd": float(key[-1])} for key in keys}, {"run_attempts_made": 4})

    @dg.asset(partitions_def=MONTHS, backfill_policy=dg.BackfillPolicy.single_run(), deps=[work])
    def after(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        return dg.MaterializeResult()

    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return dg.materialize([work, after], instance=instance, tags=tags, raise_on_error=False).success


def events(instance: dg.DagsterInstance, asset: str = "work") -> list[tuple[str | None, dict[str, object]]]:
    """Partition and metadata of every materialization, the oldest first."""
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=100, ascending=True).records
    return [
        (r.partition_key, {k: v.value for k, v in r.asset_materialization.metadata.items()})
        for r in records
        if r.asset_materialization
    ]


@pytest.mark.parametrize("pieces_done", [0, 1, 2, 3, 9])
def test_each_partition_is_reported_exactly_once(pieces_done: int) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(instance, "2025-01", "2025-04", pieces_done)
        found = events(instance)
        assert sorted(key for key, _ in found if key) == MONTHS.get_partition_keys()
        assert len(found) == 4
        assert all(metadata["cost_usd"] == float((key or "0")[-1]) for key, metadata in found)
        assert "run_attempts_made" in found[-1][1]
        assert len(events(instance, "after")) == 4  # what depends on it is made


def test_what_holds_for_the_run_counts_once_when_partitions_were_reported_early() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(instance, "2025-01", "2025-04")
        assert sum("run_attempts_made" in metadata for _, metadata in events(instance)) == 1


def test_partitions_that_are_done_stay_done_when_the_run_fails() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert not run(instance, "2025-01", "2025-04", 3, fails=True)
        assert [key for key, _ in events(instance)] == ["2025-01", "2025-03"]
        assert events(instance, "after") == []


def test_a_run_of_one_partition_reports_it_once() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(instance, "2025-03", "2025-03")
        assert [key for key, _ in events(instance)] == ["2025-03"]
