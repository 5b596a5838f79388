"""The chain of curation rules, and the rejections that follow from it.

Each rule is one SQL file named like the table it makes. It answers for every job of its input with a `code`: null
keeps the job, a code that starts with ``unknown_`` says that a fact is missing, any other says what speaks against it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hapi_pipeline import engine
from hapi_pipeline.lake import Lake
from hapi_pipeline.naming import digest
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

CHAIN = (
    "fixed_price_jobs",
    "completed_jobs",
    "single_milestone_jobs",
    "in_scope_jobs",
    "pii_free_jobs",
    "curated_jobs",
    "selected_jobs",
    "benchmark_jobs",
)
"""The rules in the order in which they are applied; each is also the table of the jobs that it keeps."""


ON_ONE_POST = CHAIN[: CHAIN.index("curated_jobs") + 1]
"""The rules that judge each post alone: what they say of it does not depend on which other posts there are."""


def kept(
    lake: Lake, rule: str, scope: Mapping[str, str], params: Mapping[str, Any]
) -> pa.Table | Iterator[pa.RecordBatch]:
    """The jobs that a rule keeps, as rows of its table; only the columns of that table are read.

    Rows that carry the posts' texts come as a stream in the order of the key, so that memory does not grow with them.
    """
    columns = TABLES[rule].names
    made = engine.Query(rule, answers(rule, columns, "code IS NULL"), {})
    return (engine.batches if "description" in columns else engine.run)(lake, made, scope, params)


def rejections(lake: Lake, scope: Mapping[str, str], params: Mapping[str, Any]) -> pa.Table:
    """Every job that some rule turns away, with the first rule that does: rows of `rejected_jobs`."""
    import pyarrow as pa

    table = TABLES["rejected_jobs"]
    parts = []
    with _opened(lake, judged_tables(), scope) as connection:
        for rule in CHAIN:
            columns = ("cohort", "job_id", f"'{rule}' AS rule", "code", "observed", "threshold")
            away = _ask(connection, answers(rule, columns, "code IS NOT NULL"), params)
            version = pa.array([str(params["rule_version"])] * away.num_rows, pa.string())
            parts.append(away.append_column("rule_version", version).select(list(table.names)).cast(table.schema()))
    return pa.concat_tables(parts)


def alone(lake: Lake, scope: Mapping[str, str], params: Mapping[str, Any]) -> pa.Table:
    """What each rule would turn away of ALL posts of the month, if there were no other rule.

    Rows of the relation `rules_alone`: position, rule, category ('unknown' where null) and n_alone, for each rule of
    the chain and each category of the month's posts; n_alone is null for the rules that judge among posts.
    """
    import pyarrow as pa

    from_lake = [table for table in judged_tables(ON_ONE_POST) if table not in CHAIN]
    parts = []
    with _opened(lake, from_lake, scope) as connection:
        for rule in CHAIN:  # whatever a rule takes its jobs from, it now takes all posts
            connection.execute(f'CREATE TEMP VIEW "{rule}" AS SELECT * FROM job_posts')  # noqa: S608
        for position, rule in enumerate(CHAIN, 1):
            judged = answers(rule, ("category", "code")) if rule in ON_ONE_POST else "SELECT category FROM job_posts"
            counted = "count(code)" if rule in ON_ONE_POST else "NULL::BIGINT"
            sql = (
                f"SELECT {position}::BIGINT AS position, '{rule}' AS rule, coalesce(category, 'unknown') AS category, "  # noqa: S608
                f"{counted} AS n_alone FROM ({judged}) GROUP BY 3"
            )
            parts.append(_ask(connection, sql, params))
    return pa.concat_tables(parts)


def standings(lake: Lake, scope: Mapping[str, str], params: Mapping[str, Any]) -> pa.Table:
    """The whole chain over a month's posts, worked out in memory; nothing but the posts and what is known of them is
    taken from the lake, and nothing is written to it.

    A row for each post: job_id, category ('unknown' where null), price_usd, simulated, and the rule that turns it away
    with its code; both are null for the jobs of the benchmark.
    """
    from_lake = [table for table in judged_tables() if table not in CHAIN]
    with _opened(lake, from_lake, scope) as connection:
        for rule in CHAIN:
            if rule == "selected_jobs":
                connection.execute("ALTER VIEW job_clusters RENAME TO clusters_as_found")
                connection.execute(_CLUSTERS_OF_THESE)
            made = f"CREATE TEMP TABLE {rule}_answers AS {answers(rule, ('job_id', 'code'))}"
            connection.execute(made, _named_in(made, params))
            connection.execute(
                f'CREATE TEMP VIEW "{rule}" AS SELECT * FROM job_posts '  # noqa: S608
                f"SEMI JOIN (SELECT job_id FROM {rule}_answers WHERE code IS NULL) USING (job_id)"
            )
        parts = [
            f"SELECT job_id, '{rule}' AS rule, code FROM {rule}_answers WHERE code IS NOT NULL"  # noqa: S608
            for rule in CHAIN
        ]
        sql = (
            "SELECT p.job_id, coalesce(p.category, 'unknown') AS category, p.price_usd, p.simulated, a.rule, a.code "  # noqa: S608
            f"FROM job_posts p LEFT JOIN ({' UNION ALL '.join(parts)}) a USING (job_id) ORDER BY p.job_id"
        )
        return _ask(connection, sql, {})


_CLUSTERS_OF_THESE = """
CREATE TEMP VIEW job_clusters AS
WITH here AS (
    SELECT f.*, j.posted_at FROM clusters_as_found f JOIN curated_jobs j USING (job_id)
),
-- where the head of a cluster is not among the jobs, as under other rules, the earliest of the others takes its place
headed AS (
    SELECT *, CASE WHEN head_cohort <> cohort OR bool_or(job_id = cluster_id) OVER of_one_cluster THEN cluster_id
                   ELSE first_value(job_id) OVER (of_one_cluster ORDER BY posted_at, job_id) END AS head
    FROM here WINDOW of_one_cluster AS (PARTITION BY cluster_id)
)
SELECT * EXCLUDE (posted_at, head) REPLACE (head AS cluster_id) FROM headed
"""


def answers(rule: str, columns: Sequence[str], condition: str = "true") -> str:
    """SQL for these columns of what a rule says. DuckDB then reads no others: the texts are nearly all of a post."""
    return f"SELECT {', '.join(columns)} FROM (\n{engine.query(rule).sql}\n) WHERE {condition}"  # noqa: S608


def judged_tables(rules: Sequence[str] = CHAIN) -> list[str]:
    """The tables that these rules read."""
    return sorted({table for rule in rules for table in engine.query(rule).inputs if table in TABLES})


def rules_digest() -> str:
    """Changes when the SQL of any rule does."""
    return digest(*(engine.query(rule).sql for rule in CHAIN), length=32)


@contextmanager
def _opened(lake: Lake, tables: Iterable[str], scope: Mapping[str, str]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the tables that the rules read, those cut by month limited to the month in scope."""
    keys = {t: {p: scope[p] for p in TABLES[t].partitions if p in scope and not TABLES[t].ledger} for t in tables}
    with engine.connect() as connection:
        engine.open_tables(connection, lake, keys)
        yield connection


def _ask(connection: duckdb.DuckDBPyConnection, sql: str, params: Mapping[str, Any]) -> pa.Table:
    return connection.sql(sql, params=_named_in(sql, params) or None).to_arrow_table()


def _named_in(sql: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the parameters that a query names; DuckDB refuses others."""
    used = set(re.findall(r"\$([a-z_]+)", sql))
    return {k: v for k, v in params.items() if k in used}
