"""Categories: the heat map, beside the published one where the models are those."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hapi_pipeline.plots import charts
from hapi_pipeline.plots.charts import Cell
from hapi_pipeline.plots.svg import Frame
from hapi_pipeline.report import words
from hapi_pipeline.report.ask import Answer, Row, Sources, round_name, rounds_in_order
from hapi_pipeline.report.draw import WIDE, both, unique
from hapi_pipeline.report.figures import COMPLETION, Column, Figure, Page, Section, traced
from hapi_pipeline.report.numbers import count

if TYPE_CHECKING:
    from hapi_pipeline.simulate.published import PublishedCell

CELLS = """
    SELECT category, model, round, n_completed, n_eligible, n_graded, rate, rate_lo, rate_hi, bound_lo, bound_hi,
        simulated
    FROM category_rates
    WHERE category_rates.window = 'all' AND rule = {rule}
    ORDER BY max(n_eligible) OVER (PARTITION BY category) DESC, category,
        sum(n_completed) FILTER (WHERE round = 'agent_alone') OVER (PARTITION BY model) DESC, model, round
    """
_MOST_COLUMNS = 6  # models side by side in a heat map


def categories(sources: Sources) -> Page:
    """The heat map of categories, beside the published one where the models are those."""
    cells = sources.ask(CELLS, rule=sources.rule)
    later = [r for r in rounds_in_order([r["round"] for r in cells.rows]) if r not in ("agent_alone", "feedback_1")]
    figures = [_category_figure(cells, "agent_alone", "feedback_1")]
    published = _published_figures(cells)
    more = (
        [
            Section(
                "more",
                "Later rounds and the control arm",
                figures=[
                    _category_figure(cells, *later, key="later", title="Completed jobs by category, later rounds")
                ],
            )
        ]
        if any(r["rate"] is not None for r in cells.rows if r["round"] in later)
        else []
    )
    return Page(
        "categories",
        "Categories",
        words.category_words(cells),
        [
            Section("here", "Agent alone, then with feedback", figures=figures),
            *([_published_section(published)] if published else []),
            *more,
        ],
        headline="What agents complete, by category of work",
    )


def _category_figure(
    answer: Answer, *rounds: str, key: str = "categories", title: str = "Completed jobs by category"
) -> Figure:
    names = unique([r["category"] for r in answer.rows])
    models = unique([r["model"] for r in answer.rows])[:_MOST_COLUMNS]
    shown = [r for r in rounds if answer.where(round=r)]
    sizes = {r["category"]: r["n_eligible"] for r in answer.rows}
    columns = [(model, _SHORT.get(r, r)) for model in models for r in shown]
    keys = [(model, r) for model in models for r in shown]
    found = {(r["category"], r["model"], r["round"]): r for r in answer.rows}
    short = _short_names(models)

    def draw(frame: Frame) -> str:
        narrow = frame.width < 600
        heads = [(short[m] if narrow else m, _TINY.get(r, r) if narrow else _SHORT.get(r, r)) for m, r in keys]
        cells = {
            (i, j): _heat(found.get((name, *k)), narrow=narrow)
            for i, name in enumerate(names)
            for j, k in enumerate(keys)
        }
        labels = [(name, f"{count(sizes[name])} jobs") for name in names]
        return charts.heat_map(frame, labels, heads, cells)

    few = f" The first {_MOST_COLUMNS} models." if len({r["model"] for r in answer.rows}) > _MOST_COLUMNS else ""
    named = "; ".join(f"{short[m]}: {m}" for m in models)
    where = " and ".join(f"{_TINY.get(r, r)}: {round_name(r).lower()}" for r in shown)
    wide, narrow = (
        both(
            draw,
            title,
            "Share of the category's jobs complete, in %: the stronger the colour, the more. Below each figure its "
            "95 % interval, or its bounds where not all is known.",
            note=f"Cumulative.{few}" if columns else "",
            simulated=answer.simulated,
        ),
        both(
            draw,
            title,
            "Share of the category's jobs complete, in %. Intervals stand in the table.",
            note=f"{named}. {where}.{few}" if columns else "",
            simulated=answer.simulated,
        ),
    )
    return Figure(
        key,
        title,
        answer,
        _RATE_COLUMNS,
        (wide[0], narrow[1]),
        tuple(traced("category_rates", category=names[0], model=m, round="agent_alone") for m in models[:1]),
        "One row per category, model and round, over the jobs of all months.",
    )


_RATE_COLUMNS = (
    Column("category", "Category"),
    Column("model", "Model"),
    Column("round", "Round", "round"),
    *COMPLETION,
)
_SHORT = {"agent_alone": "alone", "feedback_1": "feedback", "feedback_2": "2 feedbacks", "retry_1": "no feedback"}
_TINY = {"agent_alone": "A", "feedback_1": "F", "feedback_2": "F2", "retry_1": "R"}


def _short_names(models: Sequence[str]) -> dict[str, str]:
    """Names for columns of forty pixels: first words where they tell the models apart, else numbers."""
    first = {model: (model.split() or [model])[0][:7] for model in models}
    if len(set(first.values())) == len(first):
        return first
    return {model: f"M{number}" for number, model in enumerate(models, 1)}


def _heat(row: Row | None, *, narrow: bool) -> Cell:
    if row is None or row["rate"] is None:
        return Cell(None, "–")
    known = row["n_graded"] == row["n_eligible"]
    lo, hi = (row["rate_lo"], row["rate_hi"]) if known else (row["bound_lo"], row["bound_hi"])
    said = f"{100 * row['rate']:.0f}" if known else f"≥{100 * row['rate']:.0f}"
    return Cell(row["rate"], said, "" if narrow or lo is None else f"{100 * lo:.0f}–{100 * hi:.0f}")


def _published_figures(cells: Answer) -> list[Figure]:
    """The published heat map beside this one, a figure for each published round; none if no model was published."""
    from hapi_pipeline.simulate.published import published_cells

    published = published_cells()
    models = [m for m in unique([r["model"] for r in cells.rows]) if m in {c.model for c in published}]
    ours = {(r["category"], r["model"], r["round"]): r for r in cells.rows}
    rows = [
        _side_by_side(cell, ours.get((cell.category, cell.model, cell.round)))
        for cell in published
        if cell.model in models
    ]
    rounds = rounds_in_order([str(r["round"]) for r in rows])
    return [_published_figure(cells.sql, [r for r in rows if r["round"] == one], models) for one in rounds]


def _side_by_side(cell: PublishedCell, mine: Row | None) -> Row:
    return {
        "category": cell.category,
        "model": cell.model,
        "round": cell.round,
        "published_jobs": cell.n_jobs,
        "published_percent": float(cell.percent),
        "possible": cell.possible,
        **{name: mine[name] if mine else None for name in ("n_completed", "n_eligible", *_OURS)},
    }


_OURS = ("rate", "rate_lo", "rate_hi", "simulated")


def _published_figure(sql: str, rows: Sequence[Row], models: Sequence[str]) -> Figure:
    round_ = rows[0]["round"]
    title = f"Published beside here: {round_name(round_).lower()}"
    answer = Answer(sql, tuple(rows[0]), tuple(rows))
    return Figure(
        f"published_{round_}",
        title,
        answer,
        (
            Column("category", "Category"),
            Column("model", "Model"),
            Column("published_jobs", "Published: jobs", "count"),
            Column("published_percent", "Published: %", "tenth"),
            Column("possible", "A share of whole jobs"),
            Column("n_completed", "Here: completed", "count"),
            Column("n_eligible", "of jobs", "count"),
            Column("rate", "Here: rate (95 % interval)", "share", "rate_lo", "rate_hi"),
        ),
        both(
            lambda frame: _published_chart(frame, rows, models),
            title,
            "Share of jobs complete, in %: left of each pair as published, right in these tables. An asterisk: no "
            "whole number of jobs gives the published figure.",
            simulated=answer.simulated,
        ),
        (traced("category_rates", category=rows[0]["category"], model=models[0], round=round_),),
        "One row per category and model. The published figures have no intervals.",
        "The published columns are the file data/sample/published_results.csv; the others are those of this query.",
    )


def _published_chart(frame: Frame, rows: Sequence[Row], models: Sequence[str]) -> str:
    narrow = frame.width < WIDE
    sizes = {r["category"]: r["published_jobs"] for r in rows}
    found = {(r["category"], r["model"]): r for r in rows}
    order = sorted(sizes, key=lambda name: -sizes[name])
    sides, short = ("published", "here"), _short_names(models)
    heads = [
        (short[model] if narrow else model, "pub." if narrow and side == "published" else side)
        for model in models
        for side in sides
    ]
    cells = {
        (i, len(sides) * j + k): _beside(found.get((name, model)), side)
        for i, name in enumerate(order)
        for j, model in enumerate(models)
        for k, side in enumerate(sides)
    }
    return charts.heat_map(frame, [(name, f"{count(sizes[name])} jobs") for name in order], heads, cells)


def _beside(row: Row | None, side: str) -> Cell:
    if row is None:
        return Cell(None, "–")
    if side == "published":
        star = "" if row["possible"] else "*"
        return Cell(row["published_percent"] / 100, f"{row['published_percent']:.0f}{star}")
    return Cell(None, "–") if row["rate"] is None else Cell(row["rate"], f"{100 * row['rate']:.0f}")


def _published_section(figures: Sequence[Figure]) -> Section:
    said = [
        "The index was first published with this table, without intervals. The published figures contradict each "
        "other in places (see the methodology), so no data can match all of them."
    ]
    if any(figure.answer.simulated for figure in figures):
        said.append(
            "The simulated outcomes here were chosen so that the published table comes out: that the two agree says "
            "nothing about any model."
        )
    return Section("published", "The published table, beside this one", said, figures)
