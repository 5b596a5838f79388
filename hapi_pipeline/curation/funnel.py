"""The funnel: how many posts each rule sees, keeps and turns away, by category too, as rows, picture and Markdown."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from hapi_pipeline import engine
from hapi_pipeline.curation.rules import alone
from hapi_pipeline.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa

Row = Mapping[str, Any]

COUNTS = ("n_in", "n_kept", "n_rejected", "n_unknown", "n_alone")
_CATEGORIES_SHOWN = 60


def funnel_by_category(lake: Lake, scope: Mapping[str, str], params: Mapping[str, Any]) -> pa.Table:
    """The funnel of each category of a month: rows of `funnel_by_category`."""
    relations = {"rules_alone": alone(lake, scope, params)}
    return engine.run(lake, engine.query("funnel_by_category"), scope, params, relations)


def funnel_of(lake: Lake, cohorts: Sequence[str]) -> list[dict[str, Any]]:
    """The funnel over these months: a row for each rule, in the order of the chain, with the sums of its counts."""
    return _rows(
        lake,
        "curation_funnel",
        """
        SELECT position, rule, sum(n_in)::BIGINT AS n_in, sum(n_kept)::BIGINT AS n_kept,
               sum(n_rejected)::BIGINT AS n_rejected, sum(n_unknown)::BIGINT AS n_unknown,
               sum(n_alone)::BIGINT AS n_alone, bool_or(simulated) AS simulated
        FROM curation_funnel WHERE list_contains($cohorts, cohort) GROUP BY ALL ORDER BY position
        """,
        cohorts,
    )


def codes_of(lake: Lake, cohorts: Sequence[str]) -> list[dict[str, Any]]:
    """How many jobs of these months each code turned away (rule, code, n), the most frequent first."""
    return _rows(
        lake,
        "rejected_jobs",
        """
        SELECT rule, code, count(*) AS n FROM rejected_jobs WHERE list_contains($cohorts, cohort)
        GROUP BY ALL ORDER BY n DESC, rule, code
        """,
        cohorts,
    )


def categories_of(lake: Lake, cohorts: Sequence[str]) -> list[dict[str, Any]]:
    """The funnel of each category over these months, the categories with most posts first."""
    return _rows(
        lake,
        "funnel_by_category",
        """
        WITH summed AS (
            SELECT category, position, rule, sum(n_in)::BIGINT AS n_in, sum(n_kept)::BIGINT AS n_kept,
                   sum(n_rejected)::BIGINT AS n_rejected, sum(n_unknown)::BIGINT AS n_unknown,
                   sum(n_alone)::BIGINT AS n_alone
            FROM funnel_by_category WHERE list_contains($cohorts, cohort) GROUP BY ALL
        )
        SELECT * FROM summed ORDER BY max(n_in) OVER (PARTITION BY category) DESC, category, position
        """,
        cohorts,
    )


def _rows(lake: Lake, table: str, sql: str, cohorts: Sequence[str]) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        # of the months that are asked for only: opening the files of all takes longer than the question
        files = [path for cohort in sorted({*cohorts}) for path in lake.files(table, {"cohort": cohort})]
        engine.open_files(connection, {table: files})
        found: list[dict[str, Any]] = (
            connection.sql(sql, params={"cohorts": list(cohorts)}).to_arrow_table().to_pylist()
        )
    return found


# ---- pictures


_PARTS = (
    ("n_kept", "#2b6ca3", "kept"),
    ("n_unknown", "#d9a521", "a fact is unknown"),
    ("n_rejected", "#b5473c", "out"),
)
_ALONE = "#8a8f98"
_WIDTH, _LABEL, _BAR, _LINE, _HEAD = 800, 178, 400, 34, 62


def funnel_svg(rows: Sequence[Row], title: str) -> str:
    """The funnel as an SVG picture: for each rule a bar of what reaches it, and below, what it alone would turn away.

    It brings its own light ground, so that it can be read on a light page and on a dark one.
    """
    whole = max([1, *(row["n_in"] for row in rows)])
    height = _HEAD + _LINE * len(rows) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="system-ui,sans-serif" font-size="12" fill="#1d2733">',
        f'<rect width="{_WIDTH}" height="{height}" rx="8" fill="#fbfbfc"/>',
        f'<text x="14" y="24" font-size="15" font-weight="600">{escape(title)}</text>',
        *_legend(),
    ]
    for number, row in enumerate(rows):
        parts += _bar(row, _HEAD + number * _LINE, _BAR / whole)
    return "".join([*parts, "</svg>"])


def _legend() -> list[str]:
    parts, x = [], 14
    for colour, text in [
        *((c, t) for _, c, t in _PARTS),
        (_ALONE, "what this rule alone would turn away of all posts"),
    ]:
        parts.append(
            f'<rect x="{x}" y="38" width="10" height="10" fill="{colour}"/><text x="{x + 15}" y="47">{text}</text>'
        )
        x += 40 + 7 * len(text)
    return parts


def _bar(row: Row, y: int, scale: float) -> list[str]:
    parts, x = [f'<text x="14" y="{y + 16}">{row["position"]} {escape(str(row["rule"]))}</text>'], float(_LABEL)
    for count, colour, _ in _PARTS:
        width = row[count] * scale
        if width:
            parts.append(f'<rect x="{x:.1f}" y="{y + 3}" width="{width:.1f}" height="18" fill="{colour}"/>')
        x += width
    if row["n_alone"]:
        width = row["n_alone"] * scale
        parts.append(f'<rect x="{_LABEL}" y="{y + 23}" width="{width:.1f}" height="4" fill="{_ALONE}"/>')
    out = row["n_rejected"] + row["n_unknown"]
    text = f"{row['n_kept']:,} kept, {out:,} out"
    return [*parts, f'<text x="{x + 8:.1f}" y="{y + 16}">{text}</text>']


def funnel_sketch(rows: Sequence[Row]) -> str:
    """The same as a sketch without words, small enough to stand in a line of the UI: what each rule keeps of what."""
    whole = max([1, *(row["n_in"] for row in rows)])
    kept, out = (
        "".join(
            f"M{start * 160 // whole} {n * 7}h{(end - start) * 160 // whole}v5H{start * 160 // whole}z"
            for n, (start, end) in enumerate(spans)
            if end > start
        )
        for spans in ([(0, row["n_kept"]) for row in rows], [(row["n_kept"], row["n_in"]) for row in rows])
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="160" height="{7 * len(rows)}">'
        f'<path fill="{_PARTS[0][1]}" d="{kept}"/><path fill="{_PARTS[2][1]}" d="{out}"/></svg>'
    )


def picture(svg: str, meaning: str) -> str:
    """A picture as Markdown that needs no other file."""
    return f"![{plain_markdown(meaning)}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


# ---- tables in Markdown


def funnel_markdown(rows: Sequence[Row], codes: Sequence[Row]) -> str:
    """The funnel as a table, with the codes of each rule."""
    lines = [
        "| | rule | in | kept | rejected | unknown | alone | codes |",
        "|--:|---|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        own = ", ".join(f"{c['n']:,} {plain_markdown(c['code'])}" for c in codes if c["rule"] == row["rule"])
        counts = " | ".join(counted(row[name]) for name in COUNTS)
        lines.append(f"| {row['position']} | {plain_markdown(row['rule'])} | {counts} | {own} |")
    return "\n".join([*lines, "", "alone: what the rule would turn away of all posts, if it were the only one."])


def categories_markdown(rows: Sequence[Row]) -> str:
    """How many posts of each category are left after each rule, as a table."""
    rules = [rule for _, rule in sorted({(row["position"], row["rule"]) for row in rows})]
    by_category: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_category.setdefault(row["category"], {})[row["rule"]] = row
    lines = [
        f"| category | posts | {' | '.join(plain_markdown(rule) for rule in rules)} | share |",
        f"|---|--:|{'--:|' * len(rules)}--:|",
    ]
    for category, mine in list(by_category.items())[:_CATEGORIES_SHOWN]:
        posts, left = mine[rules[0]]["n_in"], [mine[rule]["n_kept"] for rule in rules]
        share = f"{100 * left[-1] / posts:.1f} %" if posts else "–"
        lines.append(f"| {plain_markdown(category)} | {posts:,} | {' | '.join(f'{n:,}' for n in left)} | {share} |")
    more = len(by_category) - _CATEGORIES_SHOWN
    return "\n".join([*lines, *(["", f"… and {more:,} more categories."] if more > 0 else [])])


def counted(number: int | None) -> str:
    """A number of jobs as a person reads it."""
    return "–" if number is None else f"{number:,}"


def plain_markdown(text: object) -> str:
    """Text from outside as Markdown that shows it and does nothing else: no markup, no link, no picture, one line."""
    visible = "".join(c if c.isprintable() else " " for c in str(text))
    cut = visible if len(visible) <= 80 else visible[:79] + "…"
    return re.sub(r"([\\`*{}\[\]()#+\-.!|<>~&:@_/$^=])", r"\\\1", cut)
