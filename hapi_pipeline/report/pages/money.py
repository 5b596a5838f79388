"""Economics: what completed jobs cost, the three zones, and who had better do what."""

from __future__ import annotations

from hapi_pipeline.plots import charts
from hapi_pipeline.plots.charts import Cell, Estimate, Series, Zones
from hapi_pipeline.plots.svg import Frame
from hapi_pipeline.report import words
from hapi_pipeline.report.ask import Answer, Row, Sources
from hapi_pipeline.report.draw import both, unique
from hapi_pipeline.report.figures import Column, Figure, Page, Section, queried, traced
from hapi_pipeline.report.numbers import count, share, usd_round

MONEY = """
    SELECT model, round, n_graded, n_completed, n_attempts, cost_usd, cost_per_completed_usd, cost_per_completed_lo,
        cost_per_completed_hi, minutes_per_review, success_alone, success_human_ai, cost_alone_usd, cost_human_ai_usd,
        review_minutes, alone_per_completed_usd, alone_per_completed_lo, alone_per_completed_hi,
        human_ai_per_completed_usd, human_ai_per_completed_lo, human_ai_per_completed_hi, human_ai_fallback_usd,
        human_ai_fallback_lo, human_ai_fallback_hi, price_mean_usd, price_mean_lo, price_mean_hi,
        value_alone_human_ai_usd, value_alone_human_ai_lo, value_alone_human_ai_hi, value_human_ai_human_usd,
        value_human_ai_human_lo, value_human_ai_human_hi, value_alone_human_usd, value_alone_human_lo,
        value_alone_human_hi, break_even_grader_rate, break_even_grader_rate_lo, break_even_grader_rate_hi,
        grader_usd_per_hour, value_per_price, fallback, simulated
    FROM economics
    WHERE economics.window = 'all' AND rule = {rule}
    ORDER BY max(success_alone) OVER (PARTITION BY model) DESC NULLS LAST, model, round
    """
ADVICE = """
    SELECT category, price_band, advice, model, round, probability, reason, n_graded, n_jobs, success_alone,
        success_human_ai, net_alone_usd, net_alone_lo, net_alone_hi, net_human_ai_usd, net_human_ai_lo, net_human_ai_hi,
        net_human_usd, net_human_lo, net_human_hi, min_jobs, simulated
    FROM workflow_advice
    WHERE level = 'best'
    ORDER BY category = '(all)' DESC, max(n_jobs) OVER (PARTITION BY category) DESC, category,
        price_mean_usd, price_band
    """
_BAND = "(all)"
_WAYS = {"agent_alone": "agent", "agent_and_human": "agent + expert", "human_alone": "human", "no_advice": "–"}


def economics(sources: Sources) -> Page:
    """The three zones, cost per completed job, and advice by category and price."""
    money, advice = sources.ask(MONEY, rule=sources.rule), sources.ask(ADVICE)
    return Page(
        "economics",
        "Economics",
        words.money_words(money, advice),
        [
            Section(
                "zones",
                "Three zones",
                [
                    "Cheap jobs are best left to the agent alone: an expert's time would cost more than the failures. "
                    "In the middle, an expert's feedback pays for itself. Where a failure costs too much, a human had "
                    "better do the job. Where one zone ends and the next begins follows from what agents complete and "
                    "what people cost.",
                    *words.zone_words(money),
                ],
                [_zones_figure(money)],
            ),
            Section("costs", "What a completed job costs", figures=[_cost_figure(money)]),
            Section(
                "advice",
                "Who had better do it",
                [
                    "For each category and price band: the way with the highest net value, and the share of resampled "
                    "sets of jobs that agree. With three ways and nothing known, that share would be about a third. "
                    "The best of many ways looks better than it is."
                ],
                [_advice_figure(advice)],
            ),
        ],
        headline="Agent, agent and expert, or a human?",
    )


def _zones_figure(money: Answer) -> Figure:
    rows = money.where(round="feedback_1")
    price = next((r["price_mean_usd"] for r in rows if r["price_mean_usd"] is not None), None)
    factor = next((r["value_per_price"] for r in rows if r["value_per_price"] is not None), None)
    mean = price * factor if price is not None and factor is not None else None
    zones = [
        Zones(
            r["model"],
            _edge(r, "value_alone_human_ai"),
            _edge(r, "value_human_ai_human"),
            _edge(r, "value_alone_human"),
        )
        for r in rows
    ]
    return Figure(
        "zones",
        "Values of a completed job at which the best way changes",
        money,
        (
            Column("model", "Model"),
            Column("round", "Round", "round"),
            Column("n_graded", "Jobs", "count"),
            Column("success_alone", "Success alone", "share"),
            Column("success_human_ai", "with expert", "share"),
            Column(
                "value_alone_human_ai_usd",
                "Agent → agent + expert at",
                "usd",
                "value_alone_human_ai_lo",
                "value_alone_human_ai_hi",
            ),
            Column(
                "value_human_ai_human_usd",
                "Agent + expert → human at",
                "usd",
                "value_human_ai_human_lo",
                "value_human_ai_human_hi",
            ),
            Column("value_alone_human_usd", "Agent → human at", "usd", "value_alone_human_lo", "value_alone_human_hi"),
            Column(
                "break_even_grader_rate",
                "Expert's hour pays up to",
                "usd",
                "break_even_grader_rate_lo",
                "break_even_grader_rate_hi",
            ),
        ),
        both(
            lambda frame: charts.zones_chart(frame, zones, mean),
            "Who should do a job of which value",
            f"Best way by the value of a completed job to the client, with one round of feedback; {_jobs(rows)}. Bars "
            "at the borders: 95 % intervals. Where the zone of agent + expert would be empty, it is left out.",
            note=_assumed(rows),
            simulated=money.simulated,
        ),
        (traced("leaderboard", model=rows[0]["model"], round="feedback_1"),) if rows else (),
        "One row per model and round: values V* in USD of a completed job, and the hourly cost of an expert up to "
        "which agent and expert with fallback cost less than a human.",
    )


def _edge(row: Row, name: str) -> Estimate:
    return Estimate(row[f"{name}_usd"], row[f"{name}_lo"], row[f"{name}_hi"], usd_round(row[f"{name}_usd"]))


def _jobs(rows: list[Row]) -> str:
    return f"{count(max((r['n_graded'] for r in rows), default=0))} jobs a model"


def _assumed(rows: list[Row]) -> str:
    if not rows or rows[0]["grader_usd_per_hour"] is None:
        return ""
    first = rows[0]
    return (
        f"Assumed: {usd_round(first['grader_usd_per_hour'])} an hour of an expert, a completed job worth "
        f"{first['value_per_price']:g} times its price, what is left incomplete done by {first['fallback']}."
    )


_COST_SERIES = (
    Series("alone", "agent alone", "ring", "1"),
    Series("expert", "agent + expert", "dot", "1"),
    Series("fallback", "agent + expert, a human doing the rest", "diamond", "3"),
    Series("human", "a human alone (the price)", "box", "0"),
)


def _cost_figure(money: Answer) -> Figure:
    after = money.where(round="feedback_1")
    rows = [
        (
            r["model"],
            {
                "alone": _cost(r, "alone_per_completed"),
                "expert": _cost(r, "human_ai_per_completed"),
                "fallback": _cost(r, "human_ai_fallback"),
                "human": _cost(r, "price_mean"),
            },
        )
        for r in after
    ]
    return Figure(
        "costs",
        "What a completed job costs, by who does it",
        money,
        (
            Column("model", "Model"),
            Column("round", "Round", "round"),
            Column("n_graded", "Jobs", "count"),
            Column(
                "cost_per_completed_usd",
                "Tokens a completed job",
                "usd",
                "cost_per_completed_lo",
                "cost_per_completed_hi",
            ),
            Column("minutes_per_review", "Minutes a review", "tenth"),
            Column("alone_per_completed_usd", "Agent alone", "usd", "alone_per_completed_lo", "alone_per_completed_hi"),
            Column(
                "human_ai_per_completed_usd",
                "Agent + expert",
                "usd",
                "human_ai_per_completed_lo",
                "human_ai_per_completed_hi",
            ),
            Column(
                "human_ai_fallback_usd",
                "… and a human for the rest",
                "usd",
                "human_ai_fallback_lo",
                "human_ai_fallback_hi",
            ),
            Column("price_mean_usd", "Human alone", "usd", "price_mean_lo", "price_mean_hi"),
            Column("cost_usd", "Spent on tokens so far", "usd"),
        ),
        both(
            lambda frame: charts.intervals_chart(frame, rows, _COST_SERIES, as_percent=False),
            "Cost of a completed job",
            f"USD per completed job after one round of feedback, with 95 % intervals; {_jobs(after)}. Alone: tokens "
            "only, and nobody has checked the work.",
            note=_assumed(after),
            simulated=money.simulated,
        ),
        (traced("leaderboard", model=after[0]["model"], round="feedback_1"),) if after else (),
        "One row per model and round. Costs count every attempt, failed ones too.",
    )


def _cost(row: Row, name: str) -> Estimate:
    value = row[f"{name}_usd"]
    return Estimate(value, row[f"{name}_lo"], row[f"{name}_hi"], usd_round(value))


def _advice_figure(advice: Answer) -> Figure:
    names = unique([r["category"] for r in advice.rows])
    bands = _bands([r["price_band"] for r in advice.rows])
    found = {(r["category"], r["price_band"]): r for r in advice.rows}

    def draw(frame: Frame) -> str:
        narrow = frame.width < 600
        shown = [b for b in bands if not narrow or b == _BAND] if narrow else bands
        heads = [("", "all prices" if b == _BAND else b) for b in shown]
        cells = {
            (i, j): _advised(found.get((name, band))) for i, name in enumerate(names) for j, band in enumerate(shown)
        }
        labels = [
            ("All categories" if name == _BAND else name, f"{count(_size(found.get((name, _BAND))))} jobs")
            for name in names
        ]
        return charts.heat_map(frame, labels, heads, cells)

    few = next((r["min_jobs"] for r in advice.rows), 0)
    return Figure(
        "advice",
        "Advice by category and price",
        advice,
        (
            Column("category", "Category"),
            Column("price_band", "Price"),
            Column("advice", "Advice"),
            Column("model", "Model"),
            Column("probability", "Draws that agree", "share"),
            Column("n_graded", "Jobs known", "count"),
            Column("net_alone_usd", "Net value: agent", "usd", "net_alone_lo", "net_alone_hi"),
            Column("net_human_ai_usd", "agent + expert", "usd", "net_human_ai_lo", "net_human_ai_hi"),
            Column("net_human_usd", "human", "usd", "net_human_lo", "net_human_hi"),
            Column("reason", "Why no advice"),
        ),
        both(
            draw,
            "Who had better do it, by category and price of the job",
            "The way with the highest net value, and below it the share of resampled sets of jobs that agree: the "
            "stronger the colour, the surer.",
            note=f"A dash: fewer than {few} known jobs, so no advice." if few else "",
            simulated=advice.simulated,
        ),
        (queried("SELECT * FROM workflow_advice WHERE level = 'model' ORDER BY category, price_band, model"),),
        "One row per category and price band; (all) is over all of them. Net value in USD a job.",
    )


def _size(row: Row | None) -> int:
    return 0 if row is None else int(row["n_jobs"])


def _bands(names: list[str]) -> list[str]:
    """Price bands from the cheapest up, all prices first."""

    def key(name: str) -> tuple[int, float, str]:
        digits = "".join(c if c.isdigit() or c == "." else " " for c in name).split()
        first = float(digits[0]) if digits else float("inf")
        return (0 if name == _BAND else 1, 0.0 if name.startswith("under") else first, name)

    return sorted(set(names), key=key)


def _advised(row: Row | None) -> Cell:
    if row is None or row["probability"] is None:
        return Cell(None, "–")
    return Cell(row["probability"], _WAYS.get(str(row["advice"]), str(row["advice"])), share(row["probability"]))
