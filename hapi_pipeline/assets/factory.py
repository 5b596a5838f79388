"""Makes an asset for a table: reads nothing itself, follows its recipe partition by partition, writes, reports.

What belongs here: how a table becomes an asset (metadata, partitions). What does not: what is in it (recipes.py).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg

from hapi_pipeline.assets.shown import Shown, code_references, told
from hapi_pipeline.checks import inline as checks
from hapi_pipeline.engine import Query, column_lineage, query
from hapi_pipeline.engines.making import remake
from hapi_pipeline.lake import Lake
from hapi_pipeline.partitions import cells, cohorts, scope_of
from hapi_pipeline.recipes import Recipe
from hapi_pipeline.registry import MOST_MONTHS_BACK
from hapi_pipeline.resources import HapiHome
from hapi_pipeline.rounds import ROUNDS
from hapi_pipeline.settings import shipped
from hapi_pipeline.tables import TABLES, Table

OWNERS = ["team:hapi"]
AT_ONCE = 2
"""Months of a table with many rows that are made at once: while one is being written, SQL works on another."""
_HEAVY = ("job_posts", "pii_findings", "rejected_jobs", "window_rates", "model_comparisons")
"""Tables whose making takes the whole machine: a step at a time in the pool `sql` (dagster.yaml)."""
_ON_MANY_POSTS = ("job_posts", "rejected_jobs", "funnel_by_category", "curated_jobs", "selected_jobs", "benchmark_jobs")
ROUND_TABLES = ("attempts", "packets", "verdicts")
"""Tables that several assets write, one for each round."""


def asset_keys(table: str) -> list[dg.AssetKey]:
    """The assets that write a table: one, or one for each round."""
    if table in ROUND_TABLES:
        return [dg.AssetKey([r.name, table]) for r in ROUNDS]
    return [dg.AssetKey([table])]


def partitions_of(table: Table, first: str) -> dg.PartitionsDefinition[str] | None:
    """How the asset of a table is cut: not at all, by month, or by month and model."""
    if table.ledger or not table.partitions:
        return None
    return cells(first) if "model" in table.partitions else cohorts(first)


def dependencies(table: Table, inputs: Sequence[str], looks_back: bool = False) -> list[dg.AssetDep]:
    """The assets behind the input tables. A table over all months or models depends on all of their partitions, one
    that looks back on those of the months before as well.

    It never depends on itself, although a table that looks back reads its own earlier months: Dagster would then take
    it out of the runs over many months that make everything else.
    """
    deps = []
    for name in inputs:
        for key in asset_keys(name):
            everything = bool(TABLES[name].partitions) and not TABLES[name].ledger and not table.partitions
            mapping: dg.PartitionMapping | None = dg.AllPartitionMapping() if everything else None
            if looks_back:
                mapping = dg.TimeWindowPartitionMapping(
                    start_offset=-MOST_MONTHS_BACK, allow_nonexistent_upstream_partitions=True
                )
            if key != dg.AssetKey([table.name]):
                deps.append(dg.AssetDep(key, partition_mapping=mapping))
    return deps


def column_schema(table: Table) -> dg.TableSchema:
    """The declaration of a table as Dagster's Columns tab shows it."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                c.name,
                c.field.type,
                description=c.meaning + (f" [{c.field.unit}]" if c.field.unit else ""),
                constraints=dg.TableColumnConstraints(nullable=c.nullable, unique=table.key == (c.name,)),
            )
            for c in table.columns
        ],
        constraints=dg.TableConstraints(other=[f"primary key: {', '.join(table.key)}"]),
    )


def definition_metadata(table: Table, made: Query | None) -> dict[str, Any]:
    """What the UI shows of an asset before it has ever run."""
    metadata: dict[str, Any] = {
        "dagster/column_schema": column_schema(table),
        "dagster/table_name": table.name,
        "grain": table.grain,
        **code_references(table.name),
    }
    if made is not None:
        metadata |= {k: v for k, v in made.header.items() if k not in ("grain", "inputs")}
        # as a table, because the open-source UI stores column lineage without drawing it
        metadata["column lineage"] = dg.MetadataValue.md(lineage_markdown(column_lineage(made.name)))
        metadata["sql"] = dg.MetadataValue.md(f"```sql\n{made.sql}\n```")
    return metadata


def table_asset(
    recipe: Recipe, first: str, *, kinds: Collection[str] = ("duckdb", "parquet"), shown: Shown | None = None
) -> dg.AssetsDefinition:
    """The asset of one table, remade partition by partition by its recipe where what it is made from has changed."""
    table = TABLES[recipe.name]
    made = query(recipe.name) if (shipped("sql") / f"{recipe.name}.sql").exists() else None

    @dg.asset(
        key=[recipe.name],
        deps=dependencies(table, recipe.inputs, recipe.looks_back),
        partitions_def=partitions_of(table, first),
        backfill_policy=dg.BackfillPolicy.single_run() if partitions_of(table, first) else None,
        group_name=table.group,
        kinds=set(kinds),
        owners=OWNERS,
        description=table.meaning,
        metadata=definition_metadata(table, made),
        output_required=False,
        check_specs=checks.specs(dg.AssetKey([recipe.name])),
        pool="sql" if table.name in _HEAVY else None,
    )
    def materialize(context: dg.AssetExecutionContext, hapi: HapiHome) -> dg.MaterializeResult:  # type: ignore[type-arg]
        scopes = [scope_of(key, table.partitions) for key in partition_keys(context)]
        back = hapi.registry.benchmark.duplicates.months_back if recipe.looks_back else 0

        def make(clear: Sequence[Mapping[str, str]]) -> dg.MaterializeResult[Any]:
            return write_partitions(context, hapi, recipe, clear, shown)

        return checks.checked(context, hapi, recipe.name, recipe.inputs, scopes, make, months_back=back)

    return materialize


def partition_keys(context: dg.AssetExecutionContext) -> list[str]:
    """The partitions that a run covers; a single nameless one for an asset that is not partitioned."""
    return list(context.partition_keys) if context.has_partition_key or context.has_partition_key_range else [""]


def write_partitions(
    context: dg.AssetExecutionContext,
    hapi: HapiHome,
    recipe: Recipe,
    scopes: Sequence[Mapping[str, str]],
    shown: Shown | None = None,
) -> dg.MaterializeResult[Any]:
    """Remake the partitions whose inputs changed and say, for each and for all, what came of it."""
    lake, table = hapi.lake, TABLES[recipe.name]
    at_once = AT_ONCE if recipe.build_together or table.name in _ON_MANY_POSTS else 1
    made = remake(recipe, lake, hapi.registry, scopes, threads=at_once)
    total, remade = sum(one.rows for one in made), sum(one.changed for one in made)
    context.log.info(f"{table.name}: {total} rows in {len(scopes)} partition(s), {remade} changed")
    metadata = run_metadata(hapi, table, total, remade, len(scopes))
    each = [
        {**more, **({"dagster/partition_row_count": one.rows} if scope else {})}
        for scope, one, more in zip(scopes, made, told(lake, table, scopes, shown), strict=True)
    ]
    return reported(context, metadata, scopes, each)


def reported(
    context: dg.AssetExecutionContext,
    of_run: Mapping[str, Any],
    scopes: Sequence[Mapping[str, str]],
    each: Sequence[Mapping[str, Any]],
) -> dg.MaterializeResult[Any]:
    """The result of a run, with what is told of each of its partitions; what is worth a look stands first."""
    if not context.has_partition_key_range:
        return dg.MaterializeResult(metadata={**(each[0] if len(each) == 1 else {}), **of_run})
    for scope, own in zip(scopes, each, strict=True):
        report_partition(context, scope, {**own, **of_run})
    return dg.MaterializeResult()


def report_partition(context: dg.AssetExecutionContext, scope: Mapping[str, str], metadata: dict[str, Any]) -> None:
    """Attach figures to one partition of a run over many."""
    context.add_asset_metadata(metadata, partition_key=partition_key(scope))


def partition_key(scope: Mapping[str, str]) -> str:
    """Dagster's key of a cohort, or of a cohort and model."""
    from hapi_pipeline.naming import slug

    return f"{scope['cohort']}|{slug(scope['model'])}" if "model" in scope else scope["cohort"]


def run_metadata(hapi: HapiHome, table: Table, rows: int, remade: int, partitions: int) -> dict[str, Any]:
    """What the UI shows of a run of an asset: numbers that it can plot, where the file is, where columns come from."""
    metadata: dict[str, Any] = {
        "dagster/row_count": rows,
        "dagster/uri": (hapi.lake.root / table.name).as_uri(),
        "partitions_changed": remade,
        "partitions": partitions,
    }
    if (shipped("sql") / f"{table.name}.sql").exists():
        lineage = column_lineage(table.name)
        metadata["dagster/column_lineage"] = dg.TableColumnLineage(
            {
                column: [dg.TableColumnDep(asset_key=asset_keys(t)[0], column_name=c) for t, c in sources]
                for column, sources in lineage.items()
                if sources
            }
        )
    return metadata


def lineage_markdown(lineage: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """Column lineage as a Markdown table."""
    lines = ["| column | computed from |", "|---|---|"]
    for column, sources in lineage.items():
        lines.append(f"| {column} | {', '.join(f'{t}.{c}' for t, c in sources) or '(parameters and constants)'} |")
    return "\n".join(lines)


def row_count(lake: Lake, table: str, scope: Mapping[str, str]) -> int:
    """Rows of a partition, from the file's footer."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(lake.path(table, scope)).num_rows)
