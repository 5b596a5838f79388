"""Results: outcomes of attempts, completion rates, tables over all months and models; and their pictures in the UI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from hapi_pipeline.assets.factory import table_asset
from hapi_pipeline.assets.shown import Shown
from hapi_pipeline.curation.funnel import picture, plain_markdown
from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.lake import Lake
from hapi_pipeline.plots.charts import (
    Estimate,
    Lift,
    Series,
    intervals_chart,
    lift_chart,
    model_colours,
    percent,
    round_series,
    signed,
)
from hapi_pipeline.plots.svg import Frame, standalone
from hapi_pipeline.recipes import recipes
from hapi_pipeline.results import BY_CELL, COMPUTED, SUMMARIES

Row = Mapping[str, Any]
Scope = Mapping[str, str]
_INTERVALS = "Share of all jobs whose every criterion was passed, at this round or earlier; bars are 95 % intervals."
_MOST_MODELS, _MOST_CATEGORIES = 30, 16


def results_assets(first: str) -> list[dg.AssetsDefinition]:
    """The results: each from its SQL file, or from the function that is named for it."""
    return [
        table_asset(
            recipes()[name],
            first,
            kinds=("python" if name in COMPUTED else "duckdb", "parquet"),
            shown=PICTURES.get(name),
        )
        for name in (*BY_CELL, *SUMMARIES)
    ]


# ---- pictures


def rates_of_a_cell(lake: Lake, scope: Scope) -> dict[str, Any]:
    """Completion of a model in a month after each round, over all categories and by category, with intervals."""
    rows = _rows(
        lake,
        "completion_rates",
        scope,
        """
        WITH summed AS (
            SELECT coalesce(category, '(all)') AS place, round, sum(n_completed)::BIGINT AS n,
                sum(n_eligible)::BIGINT AS of, sum(n_graded)::BIGINT AS graded, bool_or(simulated) AS simulated
            FROM completion_rates WHERE rule = 'all_criteria'
            GROUP BY GROUPING SETS ((category, round), (round))
        )
        SELECT *, n / of AS rate, wilson_lo(n, of) AS lo, wilson_hi(n, of) AS hi FROM summed
        WHERE graded > 0 AND of > 0 ORDER BY place <> '(all)', max(of) OVER (PARTITION BY place) DESC, place, round
        """,
    )
    title = f"{scope['model']}, {scope['cohort']}: completion by category"
    return _by_round(rows, title, _MOST_CATEGORIES)


def rates_of_models(lake: Lake, scope: Scope) -> dict[str, Any]:
    """Completion of every model over all months after each round, with intervals."""
    rows = _rows(
        lake,
        "leaderboard",
        scope,
        """
        SELECT model AS place, round, n_completed AS n, n_eligible AS of, rate, rate_lo AS lo, rate_hi AS hi, simulated
        FROM leaderboard l WHERE l.window = 'all' AND rule = 'all_criteria' AND rate IS NOT NULL
        ORDER BY max(rate) OVER (PARTITION BY model) DESC, model, round
        """,
    )
    return _by_round(rows, "Completion of every model, over all months", _MOST_MODELS)


def rates_of_categories(lake: Lake, scope: Scope) -> dict[str, Any]:
    """Completion in every category after the last human turn, a row a category and a mark a model."""
    rows = _rows(
        lake,
        "category_rates",
        scope,
        """
        WITH headline AS (
            SELECT * FROM category_rates c
            WHERE c.window = 'all' AND rule = 'all_criteria' AND rate IS NOT NULL AND round NOT LIKE 'retry%'
        )
        SELECT category AS place, model, round, n_completed AS n, n_eligible AS of, rate, rate_lo AS lo, rate_hi AS hi,
            simulated
        FROM headline WHERE round = (SELECT max(round) FROM headline)
        ORDER BY max(n_eligible) OVER (PARTITION BY category) DESC, category, model
        """,
    )
    models = sorted({row["model"] for row in rows})[:8]
    colours = model_colours(models)
    series = [Series(m, m, ("dot", "ring", "diamond", "box")[i % 4], colours[m]) for i, m in enumerate(models)]
    title = f"Completion by category after {rows[0]['round'].replace('_', ' ')}" if rows else ""
    return _chart(rows, "model", series, title, _MOST_CATEGORIES)


def lift_of_feedback(lake: Lake, scope: Scope) -> dict[str, Any]:
    """What the first feedback added, and what of it goes beyond a second try without feedback."""
    rows = _rows(
        lake,
        "feedback_lift",
        scope,
        """
        SELECT model, rate_before, rate, n_before, n_completed, n_eligible, lift_points, lift_lo, lift_hi, net_points,
            net_lo, net_hi, n_paired, simulated
        FROM feedback_lift l
        WHERE l.window = 'all' AND rule = 'all_criteria' AND round = 'feedback_1' AND rate IS NOT NULL
        ORDER BY rate DESC, model
        """,
    )[:_MOST_MODELS]
    lifts = [
        Lift(
            row["model"],
            Estimate(row["rate_before"]),
            Estimate(row["rate"]),
            Estimate(row["lift_points"], row["lift_lo"], row["lift_hi"], signed(row["lift_points"])),
            Estimate(row["net_points"], row["net_lo"], row["net_hi"], f"{signed(row['net_points'])}"),
        )
        for row in rows
    ]
    told = "From completion before to completion after; beside it, in points, what goes beyond a second try alone."
    frame = Frame("What the first feedback added", told, simulated=_simulated(rows))
    return _pictured("lift", lift_chart(frame, lifts), frame.title) if rows else {}


def agreement_over_time(lake: Lake, scope: Scope) -> dict[str, Any]:
    """Krippendorff's alpha of every month, on criteria and on completion, with intervals."""
    rows = _rows(
        lake,
        "grader_agreement",
        scope,
        """
        SELECT scope_value AS place, level, alpha AS rate, alpha_lo AS lo, alpha_hi AS hi, n_units AS n, simulated
        FROM grader_agreement WHERE scope IN ('overall', 'cohort') AND alpha IS NOT NULL
        ORDER BY scope DESC, scope_value, level
        """,
    )
    places = list(dict.fromkeys(row["place"] for row in rows))[-37:]
    series = [Series("criterion", "on criteria", "dot", "1"), Series("completion", "on completion", "ring", "2")]
    by_place = [
        (
            "all months" if place == "all" else place,
            {
                row["level"]: Estimate(row["rate"], row["lo"], row["hi"], f"{row['rate']:.2f} of {row['n']:,} units")
                for row in rows
                if row["place"] == place
            },
        )
        for place in places
    ]
    told = "Krippendorff's alpha where two graders or more judged the same work; 1 is full agreement, 0 is chance."
    frame = Frame("How far graders agree, month by month", told, simulated=_simulated(rows))
    svg = intervals_chart(frame, by_place, series, span=(0.0, 1.0), as_percent=False)
    return _pictured("alpha over time", svg, frame.title) if rows else {}


def _by_round(rows: Sequence[Row], title: str, most: int) -> dict[str, Any]:
    series = round_series(sorted({row["round"] for row in rows}))
    return _chart(rows, "round", series, title, most)


def _chart(rows: Sequence[Row], key: str, series: Sequence[Series], title: str, most: int) -> dict[str, Any]:
    """Rates with intervals, as a picture and, below it, as a table."""
    if not rows:
        return {}
    places = list(dict.fromkeys(row["place"] for row in rows))
    told = {place: {row[key]: row for row in rows if row["place"] == place} for place in places}
    by_place = [(place, {k: _estimate(row) for k, row in told[place].items()}) for place in places[:most]]
    more = len(places) - most
    frame = Frame(title, _INTERVALS, f"… and {more} more below." if more > 0 else "", _simulated(rows))
    return _pictured("rates", intervals_chart(frame, by_place, series, span=(0.0, 0.2)), title, _table(rows, key))


def _estimate(row: Row) -> Estimate:
    return Estimate(row["rate"], row["lo"], row["hi"], f"{percent(row['rate'])} ({row['n']} of {row['of']})")


def _table(rows: Iterable[Row], key: str) -> str:
    lines = [f"| | {key} | complete | of | rate | 95 % interval |", "|---|---|--:|--:|--:|--:|"]
    lines += [
        f"| {plain_markdown(row['place'])} | {plain_markdown(row[key])} | {row['n']:,} | {row['of']:,} | "
        f"{percent(row['rate'])} | {percent(row['lo'])} to {percent(row['hi'])} |"
        for row in rows
    ]
    return "\n".join(lines)


def _pictured(name: str, svg: str, title: str, table: str = "") -> dict[str, Any]:
    """A picture as metadata; the UI shows it behind a link, for it is longer than what it shows in the line."""
    shown = picture(standalone(svg, "light"), title)
    return {name: dg.MetadataValue.md(f"{shown}\n\n{table}".strip())}


def _simulated(rows: Iterable[Row]) -> bool:
    return any(row["simulated"] for row in rows)


def _rows(lake: Lake, table: str, scope: Scope, sql: str) -> list[dict[str, Any]]:
    with connect() as connection:
        open_tables(connection, lake, {table: scope})
        found: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
    return found


PICTURES: Mapping[str, Shown] = {
    "completion_rates": rates_of_a_cell,
    "leaderboard": rates_of_models,
    "category_rates": rates_of_categories,
    "feedback_lift": lift_of_feedback,
    "grader_agreement": agreement_over_time,
}
"""The pictures of the results, by table."""
