"""The dataset: which posts became jobs of the benchmark, and what those jobs are like."""

from __future__ import annotations

from hapi_pipeline.curation.rules import CHAIN
from hapi_pipeline.plots import charts
from hapi_pipeline.plots.charts import Estimate, Series, Stage
from hapi_pipeline.report.ask import Answer, Row, Sources
from hapi_pipeline.report.draw import both
from hapi_pipeline.report.figures import Column, Figure, Page, Section, queried
from hapi_pipeline.report.numbers import count, share, usd_round
from hapi_pipeline.report.safe import visible
from hapi_pipeline.tables import TABLES

FUNNEL = """
    SELECT position, rule, sum(n_in)::BIGINT AS n_in, sum(n_kept)::BIGINT AS n_kept,
        sum(n_rejected)::BIGINT AS n_rejected, sum(n_unknown)::BIGINT AS n_unknown, sum(n_alone)::BIGINT AS n_alone,
        count(*) AS months, bool_or(simulated) AS simulated
    FROM curation_funnel
    GROUP BY ALL
    ORDER BY position
    """
CODES = """
    SELECT rule, code, count(*) AS n_posts
    FROM rejected_jobs
    GROUP BY ALL
    ORDER BY n_posts DESC, rule, code
    """
OVERVIEW = """
    SELECT cohort, category, n_jobs, n_clients, n_priced, price_min, price_p25, price_median, price_p75, price_max,
        share_10_200, n_timed, hours_median, hours_max, criteria_min, criteria_mean, criteria_max, simulated
    FROM dataset_overview
    ORDER BY cohort = '(all)' DESC, cohort, category = '(all)' DESC, n_jobs DESC, category
    """
_ALL = "(all)"


def dataset(sources: Sources) -> Page:
    """The funnel of curation and the jobs that came through it."""
    funnel, codes, overview = sources.ask(FUNNEL), sources.ask(CODES), sources.ask(OVERVIEW)
    return Page(
        "dataset",
        "Dataset",
        _words(funnel, overview),
        [
            Section(
                "funnel",
                "From posts to jobs of the benchmark",
                [
                    "Eight rules, in this order. A post is turned away by the first that stops it. A fact that is not "
                    "known is never guessed: it turns the post away and is counted apart. What is left is small, "
                    "clear, finished and paid; it is no sample of all work."
                ],
                [_funnel_figure(funnel), _code_figure(codes)],
            ),
            Section(
                "jobs",
                "The jobs",
                figures=[_size_figure(overview), _month_figure(overview)] if overview else [],
            ),
        ],
        headline="The jobs, and how they were chosen",
    )


def _words(funnel: Answer, overview: Answer) -> list[str]:
    whole = overview.one(cohort=_ALL, category=_ALL)
    if not funnel or whole is None:
        return ["There are no jobs yet."]
    first, last = funnel.rows[0], funnel.rows[-1]
    unknown = sum(r["n_unknown"] for r in funnel.rows)
    said = [
        f"{count(first['n_in'])} posts came in over {count(first['months'])} "
        f"{'months' if first['months'] != 1 else 'month'}; {count(last['n_kept'])} "
        f"({share(last['n_kept'] / first['n_in'] if first['n_in'] else None)}) are jobs of the benchmark. "
        f"{count(unknown)} were turned away because a fact is unknown."
    ]
    if whole["price_median"] is not None:
        said.append(
            f"Half of the jobs cost {usd_round(whole['price_p25'])} to {usd_round(whole['price_p75'])}, the median is "
            f"{usd_round(whole['price_median'])}; rubrics hold {whole['criteria_min']} to {whole['criteria_max']} "
            f"criteria, {whole['criteria_mean']:.1f} on average."
        )
    return said


def _funnel_figure(funnel: Answer) -> Figure:
    known = {rule: TABLES[rule].meaning.rstrip(".") for rule in CHAIN}
    stages = [Stage(r["rule"].replace("_", " "), r["n_kept"], r["n_rejected"], r["n_unknown"]) for r in funnel.rows]
    rows = tuple({**r, "meaning": known.get(r["rule"], "")} for r in funnel.rows)
    return Figure(
        "funnel",
        "The funnel of curation",
        Answer(funnel.sql, funnel.columns, rows),
        (
            Column("position", "#", "count"),
            Column("rule", "Rule"),
            Column("meaning", "What it leaves"),
            Column("n_in", "In", "count"),
            Column("n_kept", "Kept", "count"),
            Column("n_rejected", "Turned away", "count"),
            Column("n_unknown", "Not known", "count"),
            Column("n_alone", "Would turn away alone", "count"),
        ),
        both(
            lambda frame: charts.funnel_chart(frame, funnel.rows[0]["n_in"] if funnel else 0, stages),
            "Posts that each rule kept",
            "All months together. The bar is what is left after the rule, the pale end what it turned away.",
            simulated=funnel.simulated,
        ),
        (
            queried("SELECT * FROM rejected_jobs ORDER BY cohort, job_id"),
            "hapi explain JOB_ID",
        ),
        "One row per rule, all months together.",
    )


def _code_figure(codes: Answer) -> Figure:
    return Figure(
        "codes",
        "Why posts were turned away",
        codes,
        (Column("rule", "Rule"), Column("code", "Reason"), Column("n_posts", "Posts", "count")),
        trace=(queried("SELECT * FROM rejected_jobs ORDER BY cohort, job_id"),),
        caption="One row per rule and reason. What the reasons mean stands in the methodology.",
    )


_COLUMNS = (
    Column("cohort", "Month", "month"),
    Column("n_jobs", "Jobs", "count"),
    Column("n_clients", "Clients", "count"),
    Column("price_min", "Price: least", "usd"),
    Column("price_p25", "quarter", "usd"),
    Column("price_median", "median", "usd"),
    Column("price_p75", "three quarters", "usd"),
    Column("price_max", "most", "usd"),
    Column("share_10_200", "$10 to $200", "share"),
    Column("hours_median", "Hours (median)", "tenth"),
    Column("criteria_min", "Criteria: fewest", "count"),
    Column("criteria_mean", "mean", "tenth"),
    Column("criteria_max", "most", "count"),
)


def _size_figure(overview: Answer) -> Figure:
    answer = Answer(overview.sql, overview.columns, tuple(overview.where(cohort=_ALL)))
    rows = [
        (visible("All categories" if r["category"] == _ALL else r["category"]), {"price": _prices(r)})
        for r in answer.rows
        if r["price_median"] is not None
    ]
    return Figure(
        "sizes",
        "Jobs and their prices, by category",
        answer,
        (Column("category", "Category"), *_COLUMNS[1:]),
        both(
            lambda frame: charts.intervals_chart(
                frame, rows, [Series("price", "median", "dot", "1")], as_percent=False
            ),
            "Prices of the jobs, by category",
            "Median price in USD; the bar holds the middle half of the jobs (no interval of confidence).",
            simulated=overview.simulated,
        ),
        (queried("SELECT job_id, cohort, category, price_usd, n_criteria FROM benchmark_jobs ORDER BY job_id"),),
        "One row per category, all months together.",
        source="The rows with cohort '(all)'.",
    )


def _prices(row: Row) -> Estimate:
    text = f"{usd_round(row['price_median'])} · {count(row['n_jobs'])} jobs"
    return Estimate(row["price_median"], row["price_p25"], row["price_p75"], text)


def _month_figure(overview: Answer) -> Figure:
    rows = tuple(r for r in overview.where(category=_ALL) if r["cohort"] != _ALL)
    return Figure(
        "months",
        "Jobs by month",
        Answer(overview.sql, overview.columns, rows),
        _COLUMNS,
        trace=(queried("SELECT cohort, count(*) FROM benchmark_jobs GROUP BY ALL ORDER BY ALL"),),
        caption="One row per month, all categories together.",
        source="The rows with category '(all)', month by month.",
    )
