"""What the UI shows of a partition: numbers that it can plot, a few of its rows, pictures, and where its code stands.

What belongs here: metadata of assets. What does not: how a table is made (recipes.py), or written (factory.py).

Everything in a table may come from outside. So a preview names its columns one by one: keys, categories, prices, dates
and counts, never a title, a description, a criterion or a comment; each text is one short line of plain characters.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg

from hapi_pipeline.curation.rules import CHAIN
from hapi_pipeline.engine import connect, parquet
from hapi_pipeline.lake import Lake
from hapi_pipeline.results import COMPUTED
from hapi_pipeline.settings import shipped
from hapi_pipeline.tables import TABLES, Table

Scope = Mapping[str, str]
Shown = Callable[[Lake, Scope], Mapping[str, Any]]
"""Pictures and tables of a partition for the UI: its metadata besides the figures."""

CODE_URL = "HAPI_CODE_URL"
"""Variable that holds where the code is published, e.g. https://github.com/me/hapi/blob/main; then links lead there."""
PREVIEW_ROWS, PREVIEW_COLUMNS = 8, 8
_LONGEST = 36  # characters of a text in a preview
_NOT_BROKEN = 16  # so long a text stays on one line

# ---- numbers


def figures(lake: Lake, table: str, scopes: Sequence[Scope]) -> list[dict[str, float | int]]:
    """For each partition the numbers that are worth a plot over months or models, in one query for all of them."""
    sql, found = FIGURES.get(table), [dict[str, float | int]() for _ in scopes]
    files = {tuple(scope.values()): lake.path(table, scope) for scope in scopes}
    there = [path for path in files.values() if path.exists()]
    if sql is None or not there:
        return found
    keys = TABLES[table].partitions
    place = {tuple(scope[key] for key in keys): number for number, scope in enumerate(scopes)}
    with connect() as connection:
        connection.execute(f'CREATE TEMP VIEW "{table}" AS SELECT * FROM {parquet(there)}')  # noqa: S608
        for row in connection.execute(sql.replace("{keys}", "".join(f"{key}, " for key in keys))).fetchall():
            *key, name, value = row
            if value is not None and tuple(key) in place:
                counted = isinstance(value, float) and value.is_integer() and name.startswith(_COUNTS)
                found[place[tuple(key)]][name] = int(value) if counted else value
    ordered = "ORDER BY" in sql or "unnest(listed)" in sql
    return found if ordered else [dict(sorted(numbers.items())) for numbers in found]


_COUNTS = ("n_", "ended_", "tokens_")


def _several(table: str, numbers: Mapping[str, str]) -> str:
    """A query for several numbers of a table, each an aggregate."""
    listed = ", ".join(f"{{name: '{name}', value: ({sql})::DOUBLE}}" for name, sql in numbers.items())
    inner = f"SELECT {{keys}} [{listed}] AS listed FROM {table} GROUP BY ALL"  # noqa: S608
    return f"SELECT {{keys}} one.name, one.value FROM ({inner}), unnest(listed) AS u(one)"  # noqa: S608


_PRICES = {"price_median_usd": "median(price_usd)", "n_categories": "count(DISTINCT category)"}
_ATTEMPTS = {
    "cost_usd": "round(coalesce(sum(cost_usd), 0), 6)",
    "cost_per_attempt_usd": "round(avg(cost_usd), 5)",
    "n_cost_unknown": "nullif(count(*) - count(cost_usd), 0)",
    "n_jobs": "count(DISTINCT job_id)",
    "n_superseded": "nullif(count(*) FILTER (NOT is_current), 0)",
    "n_failed": "count(*) FILTER (status = 'infra')",
    "n_without_files": "count(*) FILTER (status = 'done' AND n_deliverables = 0)",
    "tokens_sent": "sum(prompt_tokens)",
    "tokens_received": "sum(completion_tokens)",
    "tokens_cached": "nullif(sum(cached_tokens), 0)",
    "tokens_reasoning": "nullif(sum(reasoning_tokens), 0)",
    "seconds_mean": "round(avg(seconds), 2)",
    "steps_mean": "round(avg(steps), 2)",
}
_ENDED = " UNION ALL SELECT {keys} 'ended_' || finish_reason, count(*) FROM attempts GROUP BY ALL"
_VERDICTS = {
    "n_verdicts_current": "count(*) FILTER (is_current)",
    "share_passed": "round(avg(passed::INT) FILTER (is_current), 4)",
    "n_cannot_judge": "count(*) FILTER (is_current AND passed IS NULL AND criterion_id <> '__overall__')",
    "n_graders": "count(DISTINCT grader)",
}
_BEST = """
SELECT {keys} 'best_rate_' || round, round(max(rate), 4) FROM leaderboard
WHERE rule = 'all_criteria' AND leaderboard.window = 'all' GROUP BY ALL
UNION ALL
SELECT {keys} 'n_graded_' || round, sum(n_graded)::DOUBLE FROM leaderboard
WHERE rule = 'all_criteria' AND leaderboard.window = 'all' GROUP BY ALL
"""
FIGURES: Mapping[str, str] = {
    "job_posts": _several("job_posts", _PRICES),
    "benchmark_jobs": _several("benchmark_jobs", _PRICES | {"n_criteria_mean": "round(avg(n_criteria), 2)"}),
    "rubrics": """
        SELECT {keys} 'n_jobs', count(DISTINCT job_id) FROM rubrics GROUP BY ALL
        UNION ALL SELECT {keys} 'n_' || importance, count(*) FROM rubrics GROUP BY ALL
    """,
    "curation_funnel": """
        SELECT {keys} name, value FROM (
            SELECT {keys} 'n_' || rule AS name, n_kept AS value, 1 AS part, position FROM curation_funnel
            UNION ALL SELECT {keys} 'n_' || rule || '_alone', n_alone, 2, position FROM curation_funnel
        ) ORDER BY part, position
    """,
    "curation_audit": """
        SELECT {keys} 'precision_' || rule, precision FROM curation_audit
        UNION ALL SELECT {keys} 'recall_' || rule, recall FROM curation_audit
        UNION ALL SELECT {keys} 'n_audited_' || rule, n_audited FROM curation_audit
    """,
    "rejected_jobs": "SELECT {keys} code, count(*) FROM rejected_jobs GROUP BY ALL",
    "pii_findings": """
        SELECT {keys} 'n_' || finding_type, count(*) FROM pii_findings GROUP BY ALL
        UNION ALL SELECT {keys} 'n_jobs_' || decision, count(DISTINCT job_id) FROM pii_findings GROUP BY ALL
    """,
    "job_clusters": "SELECT {keys} 'n_repeats', count(*) FILTER (method <> 'itself') FROM job_clusters GROUP BY ALL",
    "attempts": _several("attempts", _ATTEMPTS) + _ENDED,
    "packets": "SELECT {keys} 'n_names_maker', count(*) FILTER (len(flags) > 0) FROM packets GROUP BY ALL",
    "verdicts": _several("verdicts", _VERDICTS),
    # within a month and model, of pass and fail by two graders or more: Krippendorff's alpha and raw agreement
    "grades": """
        WITH said AS (
            SELECT {keys} attempt_id, unnest(passes) AS criterion_id, 1 AS said FROM grades
            UNION ALL SELECT {keys} attempt_id, unnest(fails), 0 FROM grades
        ),
        units AS (
            SELECT {keys} count(*) AS m, sum(said) AS c1, count(*) - sum(said) AS c0 FROM said
            GROUP BY {keys} attempt_id, criterion_id HAVING count(*) > 1
        ),
        sums AS (
            SELECT {keys} count(*) AS n_units, sum(m) AS n, sum(c1) AS n1, sum(c0) AS n0,
                sum((m * m - c1 * c1 - c0 * c0) / (m - 1)) AS apart,
                avg((c1 * (c1 - 1) + c0 * (c0 - 1)) / (m * (m - 1))) AS raw
            FROM units GROUP BY ALL
        )
        SELECT {keys} 'agreement_alpha', round(1 - (n - 1) * apart / nullif(2 * n1 * n0, 0), 4)::DOUBLE FROM sums
        UNION ALL SELECT {keys} 'agreement_raw', round(raw, 4)::DOUBLE FROM sums
        UNION ALL SELECT {keys} 'n_units_doubly_graded', nullif(n_units, 0)::DOUBLE FROM sums
    """,
    "grader_agreement": """
        SELECT 'alpha_' || level, round(alpha, 4) FROM grader_agreement WHERE scope = 'overall'
        UNION ALL SELECT 'ac1_' || level, round(ac1, 4) FROM grader_agreement WHERE scope = 'overall'
        UNION ALL SELECT 'raw_' || level, round(raw_agreement, 4) FROM grader_agreement WHERE scope = 'overall'
        UNION ALL SELECT 'n_units_' || level, n_units::DOUBLE FROM grader_agreement WHERE scope = 'overall'
    """,
    "packet_status": """
        SELECT {keys} 'n_' || status, count(*) FROM packet_status GROUP BY ALL
        UNION ALL
        SELECT {keys} 'n_overdue', count(*) FROM packet_status
        WHERE status IN ('out', 'incomplete', 'stale') AND due_at < now() GROUP BY ALL
    """,
    "attempt_outcomes": """
        SELECT {keys} 'n_' || outcome, count(*) FROM attempt_outcomes GROUP BY ALL
        UNION ALL SELECT {keys} 'n_near_miss', count(*) FROM attempt_outcomes WHERE near_miss GROUP BY ALL
        UNION ALL SELECT {keys} 'n_disagreement', count(*) FROM attempt_outcomes WHERE disagreement GROUP BY ALL
    """,
    "completion_rates": """
        SELECT {keys} 'completion_rate_' || round, round(sum(n_completed) / sum(n_eligible), 4)::DOUBLE
        FROM completion_rates WHERE rule = 'all_criteria' GROUP BY {keys} round HAVING sum(n_graded) > 0
        UNION ALL
        SELECT {keys} 'n_graded_' || round, sum(n_graded)::BIGINT FROM completion_rates
        WHERE rule = 'all_criteria' GROUP BY {keys} round
    """,
    "leaderboard": _BEST,
    "feedback_lift": """
        SELECT 'net_points_' || round || '_mean', round(avg(net_points), 2) FROM feedback_lift l
        WHERE rule = 'all_criteria' AND l.window = 'all' GROUP BY round
    """,
    "model_comparisons": """
        SELECT 'n_significant_' || round, count(*) FILTER (significant) FROM model_comparisons c
        WHERE rule = 'all_criteria' AND c.window = 'all' GROUP BY round
    """,
}
"""For each table a query whose rows are (partition keys …, name of a number, its value); `{keys}` are its keys."""


# ---- a few rows

_KEYS = "job_id attempt_id packet_id criterion_id cluster_id verdict_id assignment_id judge_call_id freeze_name"
_WORDS = (
    "cohort model round arm rule code status finish_reason importance outcome state kind level scope scope_value "
    "window category subcategory job_type decision finding_type place method event role grader_role grader price_band "
    "theme advice reason after control_round head_cohort first_cohort last_cohort judge model_a model_b curator "
    "threshold agent_profile column file prompt_version grader_type"
)
_TEXTS = frozenset([*_KEYS.split(), *_WORDS.split()])
"""Columns of text that a preview may show: keys and words of the project's own, or short names."""
_CHAIN_COLUMNS = "job_id category job_type price_usd milestone_count status paid completed_at"
_COLUMNS: Mapping[str, str] = {
    **dict.fromkeys(CHAIN, _CHAIN_COLUMNS),
    "job_exports": "job_id category job_type price_usd status completed_at source_row",
    "job_posts": "job_id category job_type price_usd milestone_count status paid completed_at",
    "curated_jobs": "job_id category price_usd posted_at completed_at",
    "benchmark_jobs": "job_id category price_usd posted_at completed_at n_criteria",
    "rubric_exports": "job_id criterion_id position importance source_row",
    "rubrics": "job_id criterion_id position importance",
    "rejected_jobs": "job_id code observed threshold rule",
    "attempts": "job_id status finish_reason steps cost_usd seconds n_deliverables prompt_tokens",
    "selected_jobs": "job_id category price_usd completed_at",
    "job_clusters": "job_id cluster_id head_cohort similarity method",
    "dataset_overview": "cohort category n_jobs n_clients price_min price_median price_max criteria_mean",
    "grades": "round job_id category grader n_graders n_criteria n_passed n_failed",
    "packet_status": "round packet_id role grader status n_criteria n_answered due_at",
    "assignments": "noted_at event role grader round packet_id due_at",
    "packets": "packet_id job_id attempt_id n_criteria n_deliverables issued_at",
    "verdicts": "job_id criterion_id passed grader graded_at is_current minutes",
    "verdict_exports": "job_id round criterion_id grader passed minutes graded_at source_row",
    "attempt_outcomes": "job_id round outcome n_passed n_criteria all_criteria required_criteria",
    "job_states": "round job_id state price_band category complete_before",
    "outcome_counts": "round category price_band n_eligible n_graded n_completed n_pending n_infra",
    "completion_rates": "round category n_completed/n_eligible rate%",
    "window_rates": "round model category n_completed/n_eligible rate%",
    "leaderboard": "round model n_completed/n_eligible rate% rank",
    "category_rates": "category round model n_completed/n_eligible rate%",
    "feedback_lift": "round model lift_points:lift net_points:net n_completed/n_eligible",
    "cycle_curves": "model arm turn n_events/n_at_risk curve%",
    "model_comparisons": "round model_a model_b difference:diff p_holm n_common",
    "repeatability": "round model k n_jobs_k pass_hat_k:pass_hat pass_at_k:pass_at",
    "economics": "round model n_completed cost_usd cost_per_completed_usd:cost_per_completed",
    "workflow_advice": "category price_band model advice probability n_graded net_human_ai_usd net_human_usd",
    "criterion_transitions": "model round importance n_fixed n_broken fix_rate:fix net_fix_points:net_fix",
    "failure_themes": "model round theme n_failed/n_judged fail_rate:fail_rate",
    "criterion_themes": "job_id criterion_id theme theme_similarity",
    "grader_agreement": "scope scope_value level n_units alpha:alpha",
    "grader_profiles": "grader n_packets n_double agreement:agreement leniency:leniency",
    "corrected_rates": "model round n_graded rate_apparent rate_corrected:corrected",
    "judge_agreement": "judge scope scope_value n_compared raw_agreement alpha kappa",
    "job_transitions": "round job_id importance n_fixed n_broken n_still_failed near_miss_after",
    "criterion_outcomes": "round job_id attempt_id is_current n_criteria",
    "quarantine": "kind file row column code",
    "job_freezes": "freeze_name cohort job_id category price_usd",
    "audit_exports": "cohort job_id keep reason curator judged_at",
    "judge_verdicts": "judge model round job_id criterion_id passed answered_at",
}
"""The columns of previews that the general rule would not choose well, the most telling first: the UI has room for few.

`a/b` is told as "a of b"; `x:y` as x with the interval y_lo to y_hi; `x%` the same in percent.
"""
_ROWS: Mapping[str, str] = {
    "rejected_jobs": "ORDER BY rule, job_id",
    "pii_findings": "ORDER BY score DESC, job_id, start",
    "job_clusters": "WHERE method <> 'itself' ORDER BY job_id",
    "job_states": "WHERE rule = 'all_criteria' ORDER BY job_id, round",
    "completion_rates": "WHERE rule = 'all_criteria' ORDER BY round, n_eligible DESC, category",
    "window_rates": "WHERE rule = 'all_criteria' AND t.window = 'all' ORDER BY scope, round, model, category",
    "outcome_counts": "WHERE rule = 'all_criteria' ORDER BY round, n_eligible DESC, category, price_band",
    "leaderboard": "WHERE rule = 'all_criteria' AND t.window = 'all' ORDER BY round, rank, model",
    "category_rates": "WHERE rule = 'all_criteria' AND t.window = 'all' ORDER BY category, round, rate DESC",
    "feedback_lift": "WHERE rule = 'all_criteria' AND t.window = 'all' ORDER BY round, n_completed DESC",
    "cycle_curves": "WHERE rule = 'all_criteria' AND t.window = 'all' ORDER BY model, arm, turn",
    "model_comparisons": "WHERE rule = 'all_criteria' AND t.window = 'all' ORDER BY p_holm, round",
    "repeatability": "WHERE rule = 'all_criteria' AND t.window = 'all' ORDER BY round, model, k",
    "economics": "WHERE rule = 'all_criteria' AND t.window = 'all' ORDER BY round, model",
    "workflow_advice": "WHERE level = 'best' ORDER BY category, price_band",
    "failure_themes": "WHERE model = '(all)' ORDER BY round, n_failed DESC",
    "criterion_transitions": "WHERE importance = 'all' ORDER BY model, round",
    "grader_agreement": "ORDER BY scope <> 'overall', scope, scope_value, level",
    "corrected_rates": "WHERE rule = 'all_criteria' ORDER BY round, model",
    "verdicts": "WHERE criterion_id <> '__overall__' ORDER BY job_id, criterion_id, grader",
    "packet_status": "ORDER BY status = 'complete', status, packet_id",
}
"""Which rows of a table are worth showing first; of others, the first by key."""


def preview_columns(table: Table) -> tuple[str, ...]:
    """What a preview shows: what is listed for the table, else its keys and what is short and harmless."""
    if table.name in _COLUMNS:
        return tuple(_COLUMNS[table.name].split())
    plain = [c.name for c in table.columns if c.field.type in ("int", "float", "bool", "timestamp") or c.name in _TEXTS]
    chosen = [name for name in plain if name not in (*table.partitions, "simulated", "imported_at")]
    return tuple(chosen[:PREVIEW_COLUMNS])


def preview(table: Table, paths: Sequence[Path]) -> dict[Path, dict[str, dg.TableMetadataValue]]:
    """A few rows of each of these partitions, as metadata, in one query; those without rows are left out."""
    if not paths:
        return {}
    names, cells = zip(*map(_name_and_sql, preview_columns(table)), strict=True)
    where, _, order = _ROWS.get(table.name, "").removeprefix("WHERE").partition("ORDER BY")
    files = parquet(list(paths)).removesuffix(")") + ", filename=true, file_row_number=true)"
    sql = f"""
        WITH first AS (FROM {files} SELECT * WHERE file_row_number < {_LOOKED_AT}),
        ranked AS (
            SELECT filename, row_number() OVER (PARTITION BY filename ORDER BY {order or "file_row_number"}) AS place,
                {", ".join(f"{cell} AS c{number}" for number, cell in enumerate(cells))}
            FROM first t WHERE {where.strip() or "true"}
        )
        SELECT * EXCLUDE (place) FROM ranked WHERE place <= {PREVIEW_ROWS} ORDER BY filename, place
    """  # noqa: S608
    with connect() as connection:
        rows = connection.execute(sql).fetchall()
    by_file: dict[str, list[dict[str, Any]]] = {}
    for file, *values in rows:
        told = {name: _cell(value) for name, value in zip(names, values, strict=True)}
        by_file.setdefault(file, []).append(told)
    return {path: {"preview": _table(table, names, by_file[str(path)])} for path in paths if str(path) in by_file}


_LOOKED_AT = 4096
"""Rows of a partition among which those to be shown are chosen, so that a preview of a large one is as quick."""


def _table(table: Table, names: tuple[str, ...], rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    names = _fitting(names, rows)
    types = {c.name: c.field.type for c in table.columns}
    schema = dg.TableSchema([dg.TableColumn(name, _SHOWN_AS.get(types.get(name, ""), "string")) for name in names])
    return dg.TableMetadataValue([dg.TableRecord({name: row[name] for name in names}) for row in rows], schema)


def _name_and_sql(column: str) -> tuple[str, str]:
    """The head of a column of a preview, and the SQL of its cells."""
    if "/" in column:
        count, _, of = column.partition("/")
        return count.removeprefix("n_"), f"""format('{{}} of {{}}', "{count}", "{of}")"""
    if ":" in column or column.endswith("%"):
        name, _, ends = column.rstrip("%").partition(":")
        ends = ends or name
        form, times = ("{:.2f} [{:.2f}, {:.2f}]", 1)
        if column.endswith("%") or name.endswith("_points"):
            form, times = ("{:.1f} % [{:.1f}, {:.1f}]", 100) if "%" in column else ("{:.1f} [{:.1f}, {:.1f}]", 1)
        known = f"""format('{form}', {times} * "{name}", {times} * "{ends}_lo", {times} * "{ends}_hi")"""
        return f"{name} [95 %]", f"""coalesce({known}, round({times} * "{name}", 2)::VARCHAR)"""
    return column, f'"{column}"'


def preview_of_import(lake: Lake, table: str, import_id: str) -> dict[str, Any]:
    """A few rows that an import added to a ledger; of rejected rows also how often each reason occurs."""
    files = [path for path in lake.files(table) if path.stem == import_id]
    found: dict[str, Any] = dict(preview(TABLES[table], files[:1]).get(files[0], {})) if files else {}
    if table == "quarantine" and files:
        with connect() as connection:
            sql = f"SELECT code, count(*) AS n FROM {parquet(files)} GROUP BY code ORDER BY n DESC, code"  # noqa: S608
            found |= {f"n_{code}": n for code, n in connection.execute(sql).fetchall()}
    return found


_ROOM, _LETTER, _SMALL_LETTER, _AROUND = 555, 8.4, 7.2, 15  # pixels of the table, letters and padding in Dagster's UI


def _fitting(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """As many of the first columns as the UI shows side by side in a window of 1,400 pixels; it cuts off others."""
    taken, width = list[str](), 0.0
    for name in columns:
        longest = max(len(word) for row in rows for word in str(row[name]).split(" "))
        width += max(longest * _LETTER, len(name) * _SMALL_LETTER) + _AROUND
        if taken and width > _ROOM:
            break
        taken.append(name)
    return tuple(taken)


_SHOWN_AS = {"int": "int", "float": "float", "bool": "bool"}


def _cell(value: Any) -> str | int | float | bool | None:
    """A value as it stands in a preview: numbers to four digits, days, and text that does nothing."""
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, float):
        return float(f"{value:.4g}") if abs(value) < 1000 else round(value, 2)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d}"
    return short(value)


def short(value: object, longest: int = _LONGEST) -> str:
    """Text from outside as one short line of visible characters; hashes are cut after their first digits."""
    text = "".join(c if c.isprintable() else " " for c in str(value))
    longest = 14 if re.fullmatch(r"[a-z]{0,3}_?[0-9a-f]{24,}", text) else longest
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return text.replace(" ", "\u00a0") if len(text) <= _NOT_BROKEN or text.endswith("]") else text


# ---- all of it


def told(lake: Lake, table: Table, scopes: Sequence[Scope], shown: Shown | None = None) -> list[dict[str, Any]]:
    """The metadata of each partition besides its number of rows: pictures and a preview first, numbers below.

    Every event is kept for good, so of a run over very many partitions only the last ones get a preview, and of one
    over many months and models only the last that has rows gets a picture.
    """
    paths = [lake.path(table.name, scope) for scope in scopes]
    previews = preview(table, [path for path in paths if path.exists()][-_PREVIEWED:])
    seen: list[dict[str, Any]] = [dict(previews.get(path, {})) for path in paths]
    last = max((number for number, some in enumerate(seen) if some), default=len(scopes) - 1)
    if shown is not None:
        everywhere = len(scopes) <= _PICTURED_CELLS or "model" not in table.partitions
        for number, scope in enumerate(scopes):
            if everywhere or number == last:
                seen[number] = {**shown(lake, scope), **seen[number]}
    return [{**some, **numbers} for some, numbers in zip(seen, figures(lake, table.name, scopes), strict=True)]


_PREVIEWED, _PICTURED_CELLS = 36, 12  # partitions of a run


# ---- where the code stands


_MADE_BY = {
    "job_exports": "hapi_pipeline.intake.jobs:import_jobs",
    "rubric_exports": "hapi_pipeline.intake.rubrics:import_rubrics",
    "verdict_exports": "hapi_pipeline.intake.verdicts:import_verdicts",
    "audit_exports": "hapi_pipeline.audit.imports:import_audits",
    "job_freezes": "hapi_pipeline.curation.selection:freeze",
    "assignments": "hapi_pipeline.handout:assign",
    "judge_verdicts": "hapi_pipeline.grading.judge:run_judge",
    "pii_findings": "hapi_pipeline.curation.pii_findings:pii_findings",
    "job_signatures": "hapi_pipeline.curation.duplicates:job_signatures",
    "job_clusters": "hapi_pipeline.curation.duplicates:job_clusters",
    "rejected_jobs": "hapi_pipeline.curation.rules:rejections",
    "funnel_by_category": "hapi_pipeline.curation.funnel:funnel_by_category",
    "curation_audit": "hapi_pipeline.audit.estimates:curation_audit",
    "attempts": "hapi_pipeline.assets.rounds:attempt_cells",
    "packets": "hapi_pipeline.assets.rounds:packet_cells",
}
"""What makes or fills a table (module:function), where neither its SQL file nor an entry of COMPUTED says so."""


def code_references(table: str) -> dict[str, Any]:
    """Links to the lines that make a table and that declare it, for the UI."""
    places = [(path, line, label) for path, line, label in _places(table) if path.exists()]
    url = os.environ.get(CODE_URL, "").rstrip("/")
    references: list[Any] = [
        dg.UrlCodeReference(url=f"{url}/{_in_checkout(path)}#L{line}", label=label)
        if url
        else dg.LocalFileCodeReference(file_path=str(path), line_number=line, label=label)
        for path, line, label in places
    ]
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=references)}


def _places(table: str) -> list[tuple[Path, int, str]]:
    """(file, line, label) of what makes a table, and of its declaration."""
    package = Path(__file__).resolve().parent.parent
    sql = shipped("sql") / f"{table}.sql"
    made = COMPUTED[table].function if table in COMPUTED else _MADE_BY.get(table)
    found = [(sql, first_line(sql), f"sql/{table}.sql")] if sql.exists() else []
    if made is not None:
        module, _, name = made.partition(":")
        path = package.parent / (module.replace(".", "/") + ".py")
        found.append((path, lines_of(path).get(name, 1), f"{name}()"))
    declared = package / "tables.py"
    return [*found, (declared, lines_of(declared).get(f'"{table}"', 1), "declaration")]


def first_line(sql: Path) -> int:
    """The line in which a query begins, below its header."""
    lines = sql.read_text("utf-8").splitlines()
    return next((n for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("--")), 1)


@functools.cache
def lines_of(path: Path) -> Mapping[str, int]:
    """The line of every function of a module, by its name, and of every table that it declares, by its quoted name.

    Found in the text, for importing the modules that compute tables would take longer than all else at the start.
    """
    found: dict[str, int] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines() if path.exists() else (), 1):
        match = _DEFINED.match(line)
        if match:
            found.setdefault(match[1] or match[2], number)
    return found


_DEFINED = re.compile(r'(?:async )?def (\w+)\(|    \(?("\w+"),')


def _in_checkout(path: Path) -> str:
    """The path of a file of the project as it stands in its repository."""
    root = Path(__file__).resolve().parent.parent.parent
    return path.resolve().relative_to(root).as_posix()
