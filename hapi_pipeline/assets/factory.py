"""Makes an asset for a table: reads nothing itself, follows its recipe partition by partition, writes, reports.

What belongs here: how a table becomes an asset (metadata, partitions). What does not: what is in it (recipes.py).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import dagster as dg

from hapi_pipeline.engine import Query, column_lineage, connect, open_tables, query
from hapi_pipeline.lake import Lake
from hapi_pipeline.parallel import in_threads
from hapi_pipeline.partitions import cells, cohorts, scope_of
from hapi_pipeline.recipes import Recipe
from hapi_pipeline.registry import MOST_MONTHS_BACK
from hapi_pipeline.resources import HapiHome
from hapi_pipeline.rounds import ROUNDS
from hapi_pipeline.settings import shipped
from hapi_pipeline.tables import TABLES, Table

OWNERS = ["team:hapi"]
AT_ONCE = 2
"""Months of a table with many posts that are made at once: while one is being written, SQL works on another."""
_ON_MANY_POSTS = ("job_posts", "rejected_jobs", "funnel_by_category", "curated_jobs", "selected_jobs", "benchmark_jobs")
ROUND_TABLES = ("attempts", "packets", "verdicts")
"""Tables that several assets write, one for each round."""

Shown = Callable[[Lake, Mapping[str, str]], Mapping[str, Any]]
"""Pictures and tables of a partition for the UI: its metadata besides the figures."""


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
    )
    def materialize(context: dg.AssetExecutionContext, hapi: HapiHome) -> dg.MaterializeResult[Any]:
        scopes = [scope_of(key, table.partitions) for key in partition_keys(context)]
        return write_partitions(context, hapi, recipe, scopes, shown)

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
    lake, registry, table, total, remade = hapi.lake, hapi.registry, TABLES[recipe.name], 0, 0

    def bring_up_to_date(scope: Mapping[str, str]) -> tuple[int, bool]:
        """How many rows the partition has, and whether they are others than before."""
        fingerprint = recipe.fingerprint(lake, registry, scope)
        if lake.inputs(table.name, scope) == fingerprint:
            return row_count(lake, table.name, scope), False
        written = lake.write(table.name, recipe.build(lake, registry, scope), scope, fingerprint)
        return written.rows, written.changed

    at_once = AT_ONCE if table.name in _ON_MANY_POSTS else 1
    for scope, (rows, changed) in zip(scopes, in_threads(bring_up_to_date, scopes, at_once), strict=True):
        total, remade = total + rows, remade + changed
        if context.has_partition_key_range:
            told = {"dagster/partition_row_count": rows, **figures(lake, table.name, scope)}
            report_partition(context, scope, told | dict(shown(lake, scope) if shown else {}))
    context.log.info(f"{table.name}: {total} rows in {len(scopes)} partition(s), {remade} changed")
    metadata = run_metadata(hapi, table, total, remade, len(scopes))
    if len(scopes) == 1:
        metadata |= figures(lake, table.name, scopes[0]) | dict(shown(lake, scopes[0]) if shown else {})
    return dg.MaterializeResult(metadata=metadata)


def figures(lake: Lake, table: str, scope: Mapping[str, str]) -> dict[str, float | int]:
    """The numbers of a partition that are worth a plot over the months; the UI plots what is numeric."""
    sql = _FIGURES.get(table)
    if sql is None:
        return {}
    with connect() as connection:
        open_tables(connection, lake, {table: scope})
        return {name: value for name, value in connection.execute(sql).fetchall() if value is not None}


_FIGURES = {
    "curation_funnel": """
        SELECT 'n_' || rule, n_kept FROM curation_funnel
        UNION ALL SELECT 'n_' || rule || '_alone', n_alone FROM curation_funnel
    """,
    "curation_audit": """
        SELECT 'precision_' || rule, precision FROM curation_audit
        UNION ALL SELECT 'recall_' || rule, recall FROM curation_audit
        UNION ALL SELECT 'n_audited_' || rule, n_audited FROM curation_audit
    """,
    "rejected_jobs": "SELECT code, count(*) FROM rejected_jobs GROUP BY code",
    # within a month and model, of pass and fail by two graders or more: Krippendorff's alpha and raw agreement
    "grades": """
        WITH said AS (
            SELECT attempt_id, unnest(passes) AS criterion_id, 1 AS said FROM grades
            UNION ALL SELECT attempt_id, unnest(fails), 0 FROM grades
        ),
        units AS (
            SELECT count(*) AS m, sum(said) AS c1, count(*) - sum(said) AS c0 FROM said
            GROUP BY attempt_id, criterion_id HAVING count(*) > 1
        ),
        sums AS (
            SELECT count(*) AS n_units, sum(m) AS n, sum(c1) AS n1, sum(c0) AS n0,
                sum((m * m - c1 * c1 - c0 * c0) / (m - 1)) AS apart,
                avg((c1 * (c1 - 1) + c0 * (c0 - 1)) / (m * (m - 1))) AS raw
            FROM units
        )
        SELECT 'agreement_alpha', round(1 - (n - 1) * apart / nullif(2 * n1 * n0, 0), 4)::DOUBLE FROM sums
        UNION ALL SELECT 'agreement_raw', round(raw, 4)::DOUBLE FROM sums
        UNION ALL SELECT 'n_units_doubly_graded', nullif(n_units, 0)::DOUBLE FROM sums
    """,
    "grader_agreement": """
        SELECT 'alpha_' || level, round(alpha, 4) FROM grader_agreement WHERE scope = 'overall'
        UNION ALL SELECT 'ac1_' || level, round(ac1, 4) FROM grader_agreement WHERE scope = 'overall'
        UNION ALL SELECT 'raw_' || level, round(raw_agreement, 4) FROM grader_agreement WHERE scope = 'overall'
        UNION ALL SELECT 'n_units_' || level, n_units::DOUBLE FROM grader_agreement WHERE scope = 'overall'
    """,
    "packet_status": """
        SELECT 'n_' || status, count(*) FROM packet_status GROUP BY status
        UNION ALL
        SELECT 'n_overdue', count(*) FROM packet_status
        WHERE status IN ('out', 'incomplete', 'stale') AND due_at < now() HAVING count(*) > 0
    """,
    "completion_rates": """
        SELECT 'completion_rate_' || round, round(sum(n_completed) / sum(n_eligible), 4)::DOUBLE FROM completion_rates
        WHERE rule = 'all_criteria' GROUP BY round HAVING sum(n_graded) > 0
        UNION ALL
        SELECT 'n_graded_' || round, sum(n_graded)::BIGINT FROM completion_rates
        WHERE rule = 'all_criteria' GROUP BY round
    """,
}


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
