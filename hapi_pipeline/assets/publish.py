"""What is published: the report, the warehouse, the feed, and a release where somebody asks for one.

Each is made anew only when something that it was made from has changed (`hapi_pipeline.made`). What belongs here: when
things are made and what the UI says of them. What does not: how they are made.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from hapi_pipeline.assets.factory import OWNERS, asset_keys
from hapi_pipeline.made import PLACES, is_current, made_from, noted
from hapi_pipeline.release.public import PUBLIC
from hapi_pipeline.resources import HapiHome
from hapi_pipeline.results import SUMMARIES
from hapi_pipeline.settings import UserError
from hapi_pipeline.tables import TABLES

GROUP = "publish"
KEPT_UP_TO_DATE = tuple(PLACES)
"""What every refresh makes; a release is made on request only."""
REPORT_READS = (*SUMMARIES, "curation_funnel", "benchmark_jobs", "attempts", "verdicts", "rubrics")


@dataclass(frozen=True)
class Published:
    """What came of making one thing."""

    opens: Path
    """The file to open."""
    rows: int | None = None
    simulated: bool | None = None


def publish_assets() -> list[dg.AssetsDefinition]:
    """The assets of the group."""
    from hapi_pipeline.feed import PARTS

    return [
        _kept("report", REPORT_READS, {"html"}, _report,
              "A static site that opens from a folder: results with intervals, curation, jobs one by one."),
        _kept("warehouse", PUBLIC, {"duckdb"}, _warehouse,
              "All public tables in one DuckDB file, with comments and example queries."),
        _kept("leaderboard_feed", (*(p.table for p in PARTS), "benchmark_jobs"), {"json"}, _feed,
              "The headline tables as JSON for other people's pages, with a JSON Schema."),
        _release(),
    ]  # fmt: skip


def _kept(
    name: str,
    reads: Iterable[str],
    kinds: set[str],
    make: Callable[[HapiHome, Path, str], Published],
    description: str,
) -> dg.AssetsDefinition:
    """An asset that is made anew when what it was made from has changed."""

    @dg.asset(
        key=[name], deps=_deps(reads), group_name=GROUP, kinds=kinds, owners=OWNERS, description=description,
        output_required=False,
    )  # fmt: skip
    def materialize(context: dg.AssetExecutionContext, hapi: HapiHome) -> dg.MaterializeResult[Any]:
        state, goal = made_from(hapi.lake, hapi.registry), hapi.home.releases / PLACES[name]
        changed = not is_current(goal, state)
        made = make(hapi, goal, state) if changed else Published(_opens(goal))
        if changed:
            noted(goal, state)
        context.log.info(f"{name}: {'made' if changed else 'unchanged'}, {made.opens}")
        return dg.MaterializeResult(metadata=_told(goal, made, state, changed))

    return materialize


def _deps(names: Iterable[str]) -> list[dg.AssetDep]:
    """All partitions of the assets behind these tables."""
    return [
        dg.AssetDep(
            key,
            partition_mapping=dg.AllPartitionMapping()
            if TABLES[name].partitions and not TABLES[name].ledger
            else None,
        )
        for name in sorted(set(names))
        for key in asset_keys(name)
    ]  # fmt: skip


def _opens(goal: Path) -> Path:
    return goal / "index.html" if goal.is_dir() else goal


def _told(goal: Path, made: Published, state: str, changed: bool) -> dict[str, Any]:
    """What the UI shows: numbers that it can plot, and where the thing is."""
    files = [path for path in goal.rglob("*") if path.is_file()] if goal.is_dir() else [goal]
    told: dict[str, Any] = {
        "path": dg.MetadataValue.path(str(made.opens)),
        "open": dg.MetadataValue.url(made.opens.as_uri()),
        "dagster/uri": goal.as_uri(),
        "bytes": sum(path.stat().st_size for path in files),
        "files": len(files),
        "made anew": changed,
        "made from": state[:12],
    }
    if made.rows is not None:
        told["dagster/row_count"] = made.rows
    if made.simulated is not None:
        told["simulated"] = made.simulated
    return told


def _report(hapi: HapiHome, goal: Path, state: str) -> Published:
    from hapi_pipeline.report import build_report

    return Published(_opens(Path(build_report(hapi.lake, hapi.registry, hapi.home, goal))))


def _warehouse(hapi: HapiHome, goal: Path, state: str) -> Published:
    from hapi_pipeline.warehouse import build_warehouse

    done = build_warehouse(hapi.lake, hapi.registry, hapi.home, goal, state)
    return Published(done.path, done.rows, done.simulated)


def _feed(hapi: HapiHome, goal: Path, state: str) -> Published:
    from hapi_pipeline.feed import build_feed

    done = build_feed(hapi.lake, hapi.registry, goal, state)
    return Published(done.path, done.rows, done.simulated)


class ReleaseConfig(dg.Config):
    """What a release is called; empty: after the newest month."""

    version: str = ""


def _release() -> dg.AssetsDefinition:
    """The dataset release: part of no job, because a version is published once and by somebody's decision."""

    @dg.asset(
        key=["dataset_release"],
        deps=_deps(PUBLIC),
        group_name=GROUP,
        kinds={"parquet", "csv"},
        owners=OWNERS,
        description="The benchmark as a versioned dataset to cite. Made on request only: `hapi release`.",
        output_required=False,
    )
    def materialize(
        context: dg.AssetExecutionContext, config: ReleaseConfig, hapi: HapiHome
    ) -> dg.MaterializeResult[Any]:
        from hapi_pipeline.release import GateClosedError, build_release

        try:
            done = build_release(hapi.lake, hapi.registry, hapi.home, config.version or None)
        except (UserError, GateClosedError) as error:
            raise dg.Failure(f"No release was made: {error}", allow_retries=False) from error
        context.log.info(f"dataset_release: {done.version}, {done.path}")
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(done.path)),
                "dagster/uri": done.path.as_uri(),
                "version": done.version,
                "follows": (done.previous or {}).get("version", "none"),
                "sha256": done.sha256,
                "bytes": sum(path.stat().st_size for path in done.path.rglob("*") if path.is_file()),
                "dagster/row_count": sum(table["rows"] for table in done.manifest["tables"].values()),
            }
        )

    return materialize
