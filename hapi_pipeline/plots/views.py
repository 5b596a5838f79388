"""What `hapi show` shows: for each view its rows from the lake, its chart, and its text for a terminal.

The rows are those of the published tables and nothing is computed here but words, so that a figure in a chart is the
figure of `hapi query`. The report takes the same charts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.lake import Lake
from hapi_pipeline.plots import charts
from hapi_pipeline.plots.charts import Estimate, percent, signed, usd
from hapi_pipeline.plots.svg import TOLD, Frame, rounded_up
from hapi_pipeline.plots.terminal import Line, Pen, cut, ranged_table
from hapi_pipeline.rounds import ROUND

Row = Mapping[str, Any]
Rows = Sequence[Row]

RULES = {
    "all_criteria": "every criterion passed",
    "required_criteria": "every critical and important criterion passed",
}
WINDOWS = {
    "all": "all months",
    "last_12": "the newest twelve months",
    "post_cutoff": "jobs after the model's training cutoff",
}
ROUND_LABELS = {s.key: s.label for s in charts.ROUND_SERIES}
_MARKS = {"ring": "○", "dot": "●", "diamond": "◆", "box": "□"}
_INTERVAL = "Ranges are 95 % intervals"


@dataclass(frozen=True)
class Chosen:
    """Which part of the tables is shown; None stands for all."""

    window: str = "all"
    rule: str = "all_criteria"
    round: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class View:
    """One thing to look at."""

    name: str
    help: str
    tables: tuple[str, ...]
    sql: str
    chart: Callable[[Rows, Chosen, int], str]
    text: Callable[[Rows, Chosen, Pen], list[str]]
    options: frozenset[str] = field(default_factory=frozenset)
    """Which of window, rule, round and model make a difference."""

    def rows(self, lake: Lake, chosen: Chosen) -> list[dict[str, Any]]:
        """The rows of the tables that are shown, in order."""
        with connect() as connection:
            open_tables(connection, lake, list(self.tables))
            given = {k: getattr(chosen, k) for k in ("window", "rule", "round", "model") if f"${k}" in self.sql}
            found: list[dict[str, Any]] = connection.sql(self.sql, params=given).to_arrow_table().to_pylist()
            return found


def _simulated(rows: Rows) -> bool:
    return any(r["simulated"] for r in rows)


def round_label(name: str) -> str:
    """A round in words."""
    return ROUND_LABELS.get(name, name.replace("_", " "))


def _order(name: str) -> tuple[int, str]:
    """Rounds in the order of the graph."""
    return (list(ROUND).index(name) if name in ROUND else len(ROUND), name)


def _rounds(rows: Rows) -> list[str]:
    return sorted({r["round"] for r in rows}, key=_order)


def _models(rows: Rows) -> list[str]:
    """Models as they stand in the first round: the best first."""
    rounds = _rounds(rows)
    best = {r["model"]: r for r in sorted(rows, key=lambda r: _order(r["round"]), reverse=True)}
    return sorted(best, key=lambda m: (rounds.index(best[m]["round"]), -(best[m]["rate"] or -1), m))


def _of(chosen: Chosen) -> str:
    return f"{RULES[chosen.rule].capitalize()}; {WINDOWS[chosen.window]}"


def _unknown(row: Row) -> int:
    return int(row["n_eligible"] - row["n_graded"])


def completion(row: Row) -> Estimate:
    """The completion rate of a row of leaderboard or category_rates, with counts in words.

    Where outcomes are unknown, what is possible stands in place of the interval, which would pass over them.
    """
    if row["rate"] is None:
        return Estimate(None, text=f"not known: 0 of {row['n_eligible']:,} jobs graded")
    counts = f"{row['n_completed']:,} of {row['n_eligible']:,}"
    if _unknown(row):
        words = f"{rate_text(row)} · {counts}, {_unknown(row):,} not known"
        return Estimate(row["rate"], row["bound_lo"], row["bound_hi"], words, rate_text(row), bounds=True)
    return Estimate(row["rate"], row["rate_lo"], row["rate_hi"], f"{percent(row['rate'])} · {counts}", rate_text(row))


def rate_text(row: Row, digits: int = 1) -> str:
    """A completion rate; with a mark where it is the least that is possible."""
    least = "≥ " if row["rate"] is not None and _unknown(row) else ""
    return least + percent(row["rate"], digits)


def _upper(ones: Sequence[Estimate]) -> float:
    """Where the axis of shares ends."""
    return min(1.0, rounded_up(max([0.05, *(e.hi or e.value or 0.0 for e in ones)])))


def _between(one: Estimate) -> str:
    return "–" if one.lo is None or one.hi is None else f"{100 * one.lo:.1f}–{100 * one.hi:.1f}"


def _points(lo: float | None, hi: float | None) -> str:
    return "" if lo is None or hi is None else f"[{signed(lo)}, {signed(hi)}]"


# ---- leaderboard


def leaderboard_chart(rows: Rows, chosen: Chosen, width: int = 720) -> str:
    """Completion by model and round."""
    jobs = max((r["n_eligible"] for r in rows), default=0)
    frame = Frame(
        "Jobs completed, by model and round",
        f"Share of {jobs:,} jobs complete at that round or earlier, with the 95 % interval. Where intervals overlap "
        "widely, the order is not settled.",
        f"{_of(chosen)}. Wilson intervals over all jobs of the benchmark; dotted, where outcomes are unknown: what is "
        "possible. Table leaderboard.",
        _simulated(rows),
        width,
    )
    by_model = [(m, {r["round"]: completion(r) for r in rows if r["model"] == m}) for m in _models(rows)]
    return charts.intervals_chart(frame, by_model, charts.round_series(_rounds(rows)))


def _rank(row: Row) -> str:
    """The place of a model, or the places that it may have."""
    lo, hi = row["rank_lo"], row["rank_hi"]
    if row["rate"] is None:
        return "–"
    return f"{row['rank']}" if lo is None or hi is None or lo == hi else f"{lo}–{hi}"


def _told_unknown(rows: Rows, pen: Pen) -> list[str]:
    """What dotted ranges are, where there are any."""
    if not (unknown := sum(_unknown(r) for r in rows)):
        return []
    told = f"{unknown:,} outcome(s) are not known yet. Where some are, the range is dotted (├┄┄┤) and no interval: it "
    return ["", pen.fill(told + "goes from the rate if none of them is complete to the rate if all are.")]


def _leaderboard_text(rows: Rows, chosen: Chosen, pen: Pen) -> list[str]:
    first = rows[0]
    months = f"{first['cohorts']} month(s), {first['first_cohort']} to {first['last_cohort']}"
    lines = [pen.bold("Jobs completed, by model and round"), pen.fill(f"{_of(chosen)}: {months}.")]
    top, shapes = _upper([completion(r) for r in rows]), {s.key: s.shape for s in charts.ROUND_SERIES}
    for name in _rounds(rows):
        of = sorted((r for r in rows if r["round"] == name), key=lambda r: (r["rank"] or 0, r["model"]))
        drawn = [
            Line(
                (
                    _rank(r),
                    r["model"],
                    f"{r['n_completed']:,} of {r['n_eligible']:,}",
                    rate_text(r),
                    _between(completion(r)),
                ),
                completion(r),
                _MARKS[shapes.get(name, "dot")],
                ROUND[name].arm == "human" if name in ROUND else True,
            )
            for r in of
        ]
        heads = ["rank", "model", "completed", "rate", "range, %"]
        lines += ["", pen.bold(round_label(name)), *ranged_table(pen, heads, drawn, (0, top), names=1, left=2)]
    lines += _told_unknown(rows, pen)
    told = "rank: 2–3 stands for all places that the comparisons of models leave open."
    return [*lines, "", pen.dim(pen.fill(f"{_INTERVAL} (Wilson). {told}"))]


LEADERBOARD = View(
    "leaderboard",
    "jobs completed by model and round, with ranks that the data can tell",
    ("leaderboard",),
    """SELECT * FROM leaderboard l WHERE l.window = $window AND l.rule = $rule
       AND ($round IS NULL OR l.round = $round) AND ($model IS NULL OR l.model = $model)
       ORDER BY round, rank, model""",
    leaderboard_chart,
    _leaderboard_text,
    frozenset({"window", "rule", "round", "model"}),
)

# ---- lift


def lift_of(row: Row) -> charts.Lift:
    """A row of feedback_lift, with its words."""
    gained = f"{signed(row['lift_points'])} points {_points(row['lift_lo'], row['lift_hi'])}"
    net = f"{signed(row['net_points'])} {_points(row['net_lo'], row['net_hi'])}, {row['n_paired']:,} jobs"
    return charts.Lift(
        row["model"],
        Estimate(row["rate_before"]),
        Estimate(row["rate"], _moved(row, "lift_lo"), _moved(row, "lift_hi")),
        Estimate(row["lift_points"], row["lift_lo"], row["lift_hi"], gained),
        Estimate(row["net_points"], row["net_lo"], row["net_hi"], net)
        if row["net_points"] is not None
        else Estimate(None, text="no second try to hold it against"),
    )


def _moved(row: Row, end: str) -> float | None:
    """Where an end of the interval of the gain lies, seen from the rate before."""
    return None if row[end] is None or row["rate_before"] is None else row["rate_before"] + row[end] / 100


def lift_chart(rows: Rows, chosen: Chosen, width: int = 720) -> str:
    """What a round added, and what of it is owed to feedback."""
    name = chosen.round or "feedback_1"
    of = [r for r in rows if r["round"] == name]
    jobs = max((r["n_eligible"] for r in of), default=0)
    frame = Frame(
        f"What the expert's feedback added: {round_label(name)}",
        f"Share of {jobs:,} jobs complete before and after. Beside it what feedback added beyond a second try "
        "without it; where that interval holds 0, a second try alone may explain the gain.",
        f"{_of(chosen)}. Bars are 95 % intervals: at the left of the gain, seen from before; at the right paired over "
        "jobs known in both arms (Newcombe). Table feedback_lift.",
        _simulated(rows),
        width,
    )
    return charts.lift_chart(frame, [lift_of(r) for r in sorted(of, key=lambda r: (-(r["rate"] or 0), r["model"]))])


def _lift_text(rows: Rows, chosen: Chosen, pen: Pen) -> list[str]:
    lines = [pen.bold("What a second try added"), pen.fill(f"{_of(chosen)}. Points are percentage points.")]
    for name in _rounds(rows):
        of = sorted((r for r in rows if r["round"] == name), key=lambda r: (-(r["rate"] or 0), r["model"]))
        lines += ["", pen.bold(round_label(name))]
        gained = [
            Line(
                (
                    r["model"],
                    f"{percent(r['rate_before'])} → {percent(r['rate'])}",
                    f"{r['n_rescued']:,} of {r['n_retried']:,}",
                    signed(r["lift_points"]),
                ),
                Estimate(r["lift_points"], r["lift_lo"], r["lift_hi"]),
            )
            for r in of
        ]
        heads = ["model", "completed", "rescued", "points"]
        lines += ranged_table(pen, heads, gained, _span(gained), percent=False, zero=True)
        net = [
            Line(
                (r["model"], f"{r['n_only_feedback']:,} / {r['n_only_control']:,}", f"{r['n_paired']:,}",
                 signed(r["net_points"])),
                Estimate(r["net_points"], r["net_lo"], r["net_hi"]),
                "◆",
            )
            for r in of
            if r["net_points"] is not None
        ]  # fmt: skip
        if net:
            heads = ["beyond a second try", "only here / there", "jobs", "points"]
            lines += ["", *ranged_table(pen, heads, net, _span(net), percent=False, zero=True)]
    told = "only here / there: jobs complete with feedback only, and with a second try without it only."
    return [*lines, "", pen.dim(pen.fill(f"{_INTERVAL}. rescued: of the jobs that were tried again. {told}"))]


def _span(lines: Sequence[Line], least: float = 2.0) -> tuple[float, float]:
    ones = [line.one for line in lines if line.one.value is not None]
    lows = [e.lo if e.lo is not None else e.value or 0.0 for e in ones]
    highs = [e.hi if e.hi is not None else e.value or 0.0 for e in ones]
    low, high = min([0.0, *lows]), max([least, *highs])
    return (-rounded_up(-low) if low < 0 else 0.0, rounded_up(high))


LIFT = View(
    "lift",
    "what feedback added, and how much of it a second try without feedback brings too",
    ("feedback_lift",),
    """SELECT * FROM feedback_lift l WHERE l.window = $window AND l.rule = $rule
       AND ($round IS NULL OR l.round = $round) AND ($model IS NULL OR l.model = $model) ORDER BY round, model""",
    lift_chart,
    _lift_text,
    frozenset({"window", "rule", "round", "model"}),
)

# ---- funnel


def funnel_chart(rows: Rows, chosen: Chosen, width: int = 720) -> str:
    """From posts to the benchmark."""
    posts, kept = (rows[0]["n_in"], rows[-1]["n_kept"]) if rows else (0, 0)
    frame = Frame(
        "From posts to the benchmark",
        f"{kept:,} of {posts:,} posts passed all {len(rows)} rules. Each bar is what is left after a rule.",
        "A post is counted at the first rule that turns it away; table curation_funnel.",
        _simulated(rows),
        width,
    )
    stages = [
        charts.Stage(r["rule"].replace("_", " "), r["n_kept"], r["n_rejected"], r["n_unknown"])
        for r in rows
    ]  # fmt: skip
    return charts.funnel_chart(frame, posts, stages)


def _funnel_text(rows: Rows, chosen: Chosen, pen: Pen) -> list[str]:
    from hapi_pipeline.show import funnel_text

    head, *rest = funnel_text(rows, [], f"{rows[0]['cohorts']} month(s)").split("\n")
    return [pen.bold(head), *rest]


FUNNEL = View(
    "funnel",
    "from posts to the benchmark, rule by rule",
    ("curation_funnel",),
    """SELECT position, rule, sum(n_in)::BIGINT AS n_in, sum(n_kept)::BIGINT AS n_kept,
           sum(n_rejected)::BIGINT AS n_rejected, sum(n_unknown)::BIGINT AS n_unknown,
           sum(n_alone)::BIGINT AS n_alone, count(DISTINCT cohort) AS cohorts, bool_or(simulated) AS simulated
       FROM curation_funnel GROUP BY position, rule ORDER BY position""",
    funnel_chart,
    _funnel_text,
)

# ---- categories


def categories_chart(rows: Rows, chosen: Chosen, width: int = 720) -> str:
    """A heat map: categories by models and rounds."""
    rounds = [chosen.round] if chosen.round else [r for r in _rounds(rows) if r in ("agent_alone", "feedback_1")]
    shown = [r for r in rows if r["round"] in rounds]
    frame = Frame(
        "Jobs completed, by category",
        "Share of each category's jobs complete at that round or earlier, with counts. Small categories are "
        "uncertain: the intervals are in the table.",
        f"{_of(chosen)}. Table category_rates.",
        _simulated(rows),
        width,
    )
    sizes = {r["category"]: r["n_eligible"] for r in shown}
    names = sorted(sizes, key=lambda c: (-sizes[c], c))
    models = _models(_overall(shown))
    short = {"agent_alone": "alone", "feedback_1": "+ feedback", "feedback_2": "+ second", "retry_1": "second try"}
    columns = [(m, short.get(r, r)) for m in models for r in rounds]
    at = {(m, r): i for i, (m, r) in enumerate((m, r) for m in models for r in rounds)}
    cells = {
        (names.index(r["category"]), at[r["model"], r["round"]]): charts.Cell(
            r["rate"],
            rate_text(r, 0),
            f"{r['n_completed']:,}/{r['n_eligible']:,}",
        )
        for r in shown
    }
    return charts.heat_map(frame, [(c, f"{sizes[c]:,} jobs") for c in names], columns, cells, deepest=0.9)


def _overall(rows: Rows) -> list[dict[str, Any]]:
    """Each model's rate over all categories, for their order."""
    sums: dict[tuple[str, str], list[int]] = {}
    for r in rows:
        done = sums.setdefault((r["model"], r["round"]), [0, 0])
        done[0], done[1] = done[0] + r["n_completed"], done[1] + r["n_eligible"]
    return [{"model": m, "round": r, "rate": x / n if n else None} for (m, r), (x, n) in sums.items()]


def _categories_text(rows: Rows, chosen: Chosen, pen: Pen) -> list[str]:
    name = chosen.round or "agent_alone"
    shown = [r for r in rows if r["round"] == name]
    lines = [
        pen.bold(f"Jobs completed, by category: {round_label(name)}"),
        pen.fill(f"{_of(chosen)}. --round shows another round."),
    ]
    top, models = _upper([completion(r) for r in shown]), _models(_overall(shown))
    sizes = {r["category"]: r["n_eligible"] for r in shown}
    drawn = []
    for category in sorted(sizes, key=lambda c: (-sizes[c], c)):
        of = sorted((r for r in shown if r["category"] == category), key=lambda r: models.index(r["model"]))
        for i, r in enumerate(of):
            counted = f"{r['n_completed']:,} of {r['n_eligible']:,}"
            cells = (cut(category, 25) if not i else "", cut(r["model"], 16), counted, rate_text(r, 0))
            drawn.append(Line(cells, completion(r)))
    heads = ["category", "model", "completed", "rate"]
    lines += ["", *ranged_table(pen, heads, drawn, (0, top), left=2), *_told_unknown(shown, pen)]
    return [*lines, "", pen.dim(pen.fill(f"{_INTERVAL} (Wilson); small categories are uncertain."))]


CATEGORIES = View(
    "categories",
    "jobs completed by category and model",
    ("category_rates",),
    """SELECT * FROM category_rates c WHERE c.window = $window AND c.rule = $rule
       AND ($round IS NULL OR c.round = $round) AND ($model IS NULL OR c.model = $model)
       ORDER BY category, model, round""",
    categories_chart,
    _categories_text,
    frozenset({"window", "rule", "round", "model"}),
)

# ---- economics


def zones_of(row: Row) -> charts.Zones:
    """Where one way of doing a job overtakes the other, from a row of economics."""

    def at(name: str) -> Estimate:
        return Estimate(row[f"value_{name}_usd"], row[f"value_{name}_lo"], row[f"value_{name}_hi"])

    return charts.Zones(row["model"], at("alone_human_ai"), at("human_ai_human"), at("alone_human"))


def _last_human_round(rows: Rows) -> str:
    """The last turn with feedback; without one, the first round."""
    return max((r for r in _rounds(rows) if r in ROUND and ROUND[r].arm == "human"), key=_order, default="agent_alone")


def economics_chart(rows: Rows, chosen: Chosen, width: int = 720) -> str:
    """The three zones."""
    name = chosen.round or _last_human_round(rows)
    of = [r for r in rows if r["round"] == name]
    paid = of[0]["grader_usd_per_hour"] if of else None
    price = of[0]["price_mean_usd"] if of else None
    worth = of[0]["value_per_price"] if of else 0
    frame = Frame(
        f"Who had better do the job: expert feedback as in “{round_label(name)}”",
        "By what a completed job is worth to the client: the way with the greatest expected value less cost. Bars at "
        "the borders are 95 % intervals.",
        f"{_of(chosen)}. Assumed: a grader costs {usd(paid)} an hour, a completed job is worth {worth:g} times its "
        "price, and a human does at that price what agent and expert leave incomplete; table economics.",
        _simulated(rows),
        width,
    )
    mean = price * worth if price is not None else None
    return charts.zones_chart(frame, [zones_of(r) for r in sorted(of, key=lambda r: r["model"])], mean)


def _money(value: float | None, lo: float | None, hi: float | None) -> str:
    return usd(value) if lo is None or hi is None else f"{usd(value)} [{usd(lo)}, {usd(hi)}]"


def _economics_text(rows: Rows, chosen: Chosen, pen: Pen) -> list[str]:
    name = chosen.round or _last_human_round(rows)
    of = sorted((r for r in rows if r["round"] == name), key=lambda r: r["model"])
    lines = [
        pen.bold(f"What a completed job costs: {round_label(name)}"),
        pen.fill(f"{_of(chosen)}. In brackets 95 % intervals."),
    ]
    for r in of:
        areas = zones_of(r).areas()
        said = ", then ".join(
            f"{charts.ZONE_LABELS[z]}{f' up to {_money(e.value, e.lo, e.hi)}' if e else ' above'}" for z, e in areas
        )
        ways = (
            ("agent alone", "alone_per_completed"),
            ("agent + expert, human does the rest", "human_ai_fallback"),
            ("human alone", "price_mean"),
        )
        lines += [
            "",
            f"{pen.bold(cut(r['model'], 40))}  {r['n_completed']:,} of {r['n_graded']:,} graded jobs complete",
        ]
        for words, column in ways:
            lines.append(f"  {words:37}{_money(r[f'{column}_usd'], r[f'{column}_lo'], r[f'{column}_hi'])}")
        lines.append(pen.fill(f"best by a job's worth to the client: {said or 'not known'}", "  "))
    if of:
        paid = usd(of[0]["grader_usd_per_hour"])
        lines += ["", pen.dim(pen.fill(
            f"Assumed (benchmark.yaml): a grader costs {paid} an hour, a completed job is worth "
            f"{of[0]['value_per_price']:g} times its price."
        ))]  # fmt: skip
    return lines


ECONOMICS = View(
    "economics",
    "what a completed job costs, and who had better do it",
    ("economics",),
    """SELECT * FROM economics e WHERE e.window = $window AND e.rule = $rule
       AND ($round IS NULL OR e.round = $round) AND ($model IS NULL OR e.model = $model) ORDER BY round, model""",
    economics_chart,
    _economics_text,
    frozenset({"window", "rule", "round", "model"}),
)

# ---- agreement

_LEVELS = (
    charts.Series("criterion", "criterion by criterion", "dot", "1"),
    charts.Series("completion", "complete or not", "ring", "2"),
)


def agreement_of(row: Row) -> Estimate:
    """Krippendorff's alpha of a row of grader_agreement, with counts in words."""
    counts = f"n = {row['n_units']:,}"
    if row["alpha"] is None:
        return Estimate(None, text=f"not defined, {counts}")
    words = f"{row['alpha']:.2f} · {counts}"
    return Estimate(row["alpha"], row["alpha_lo"], row["alpha_hi"], words.replace("-", "−"), f"{row['alpha']:.2f}")


def agreement_chart(rows: Rows, chosen: Chosen, width: int = 720) -> str:
    """Krippendorff's alpha by scope."""
    double = max((r["n_double"] for r in rows if r["scope"] == "overall"), default=0)
    frame = Frame(
        "How far graders agree",
        f"Krippendorff's alpha over {double:,} packets that two graders judged on their own: 1 is full agreement, 0 is "
        "what chance brings.",
        "Bars are 95 % intervals, by job; table grader_agreement.",
        _simulated(rows),
        width,
    )
    scopes = list(dict.fromkeys((r["scope"], r["scope_value"]) for r in rows))
    by_scope = [
        (_scope(*s), {r["level"]: agreement_of(r) for r in rows if (r["scope"], r["scope_value"]) == s}) for s in scopes
    ]
    return charts.intervals_chart(frame, by_scope, _LEVELS, span=(0, 1), as_percent=False)


def _scope(scope: str, value: str) -> str:
    return "all packets" if scope == "overall" else round_label(value) if scope == "round" else value


def _agreement_text(rows: Rows, chosen: Chosen, pen: Pen) -> list[str]:
    lines = [pen.bold("How far graders agree"), pen.fill("Over packets that two graders or more judged on their own.")]
    for level in _LEVELS:
        drawn = [
            Line(
                (_scope(r["scope"], r["scope_value"]), f"{r['n_units']:,}", percent(r["raw_agreement"]),
                 "–" if r["alpha"] is None else f"{r['alpha']:.2f}".replace("-", "−")),
                agreement_of(r),
                _MARKS[level.shape],
            )
            for r in rows
            if r["level"] == level.key
        ]  # fmt: skip
        if drawn:
            heads = ["", "judged", "agree", "alpha"]
            span = (min(0.0, _span(drawn)[0]), 1.0)
            lines += ["", pen.bold(level.label), *ranged_table(pen, heads, drawn, span, percent=False, zero=True)]
    told = "alpha: Krippendorff's, 1 is full agreement, 0 what chance brings."
    return [*lines, "", pen.dim(pen.fill(f"{_INTERVAL} of alpha. {told}"))]


AGREEMENT = View(
    "agreement",
    "how far graders agree where two judged the same packet",
    ("grader_agreement",),
    """SELECT * FROM grader_agreement WHERE scope IN ('overall', 'category', 'round')
       AND ($round IS NULL OR scope <> 'round' OR scope_value = $round)
       ORDER BY CASE scope WHEN 'overall' THEN 1 WHEN 'round' THEN 2 ELSE 3 END, scope_value, level""",
    agreement_chart,
    _agreement_text,
    frozenset({"round"}),
)

# ---- turns


def turns_chart(rows: Rows, chosen: Chosen, width: int = 720) -> str:
    """Completion turn by turn, with feedback and without."""
    turns = sorted({r["turn"] for r in rows})
    names = {0: "alone", 1: "second try", 2: "third try"}
    frame = Frame(
        "Completed, turn by turn",
        "Share of jobs complete after each turn if every job were tried at it: solid with an expert's feedback, "
        "dashed without. Bands are 95 % intervals.",
        f"{_of(chosen)}. Jobs that were not tried again count as censored; table cycle_curves.",
        _simulated(rows),
        width,
    )
    colours = charts.model_colours([r["model"] for r in rows])
    curves = [
        charts.Curve(
            model if arm == "human" else f"{model}, no feedback",
            tuple((turns.index(r["turn"]), _on_curve(r)) for r in rows if (r["model"], r["arm"]) == (model, arm)),
            colours[model],
            dashed=arm != "human",
        )
        for model, arm in dict.fromkeys((r["model"], r["arm"]) for r in rows)
    ]
    return charts.line_chart(frame, [names.get(t, f"turn {t}") for t in turns], curves)


def _on_curve(row: Row) -> Estimate:
    return Estimate(row["curve"], row["curve_lo"], row["curve_hi"])


def _turns_text(rows: Rows, chosen: Chosen, pen: Pen) -> list[str]:
    lines = [pen.bold("Completed, turn by turn"), pen.fill(f"{_of(chosen)}. If every job were tried at each turn.")]
    of = [r for r in rows if r["arm"] == "human" or r["turn"] > 0]
    top = _upper([_on_curve(r) for r in of])
    for model in dict.fromkeys(r["model"] for r in of):
        drawn = [
            Line(
                (round_label(r["round"]), f"{r['n_events']:,} of {r['n_at_risk']:,}", percent(r["curve"])),
                _on_curve(r),
                "●" if r["arm"] == "human" else "□",
                r["arm"] == "human",
            )
            for r in of
            if r["model"] == model
        ]
        lines += ["", pen.bold(cut(model, pen.width))]
        lines += ranged_table(pen, ["after", "here", "in all"], drawn, (0, top))
    return [*lines, "", pen.dim(pen.fill(f"{_INTERVAL} (Greenwood). here: completed of those tried at this turn."))]


TURNS = View(
    "turns",
    "completion turn by turn, with feedback and without",
    ("cycle_curves",),
    """SELECT * FROM cycle_curves c WHERE c.window = $window AND c.rule = $rule
       AND ($model IS NULL OR c.model = $model) ORDER BY model, arm DESC, turn""",
    turns_chart,
    _turns_text,
    frozenset({"window", "rule", "model"}),
)

# ---- comparisons


def _pair(row: Row) -> str:
    return f"{row['model_a']} − {row['model_b']}"


def _difference(row: Row) -> Estimate:
    if row["difference"] is None:
        return Estimate(None, text="no common jobs")
    points, lo, hi = (None if row[k] is None else 100 * row[k] for k in ("difference", "diff_lo", "diff_hi"))
    told = "" if row["significant"] else ", not told apart"
    words = f"{signed(points)} · {row['n_common']:,} jobs{told}"
    return Estimate(points, lo, hi, words, f"{signed(points)}{'' if row['significant'] else ' ≈'}")


def comparisons_chart(rows: Rows, chosen: Chosen, width: int = 720) -> str:
    """Differences between models on the same jobs."""
    name = chosen.round or "agent_alone"
    frame = Frame(
        f"Two models on the same jobs: {round_label(name)}",
        "Difference in jobs completed, in percentage points, with the 95 % interval. Right of 0 the first of the two "
        "completes more; “not told apart” after correcting for all pairs (Holm).",
        f"{_of(chosen)}. Newcombe intervals for paired shares; table model_comparisons.",
        _simulated(rows),
        width,
    )
    pairs = [(_pair(r), {"all": _difference(r)}) for r in rows if r["round"] == name]
    return charts.intervals_chart(frame, pairs, [charts.Series("all", "difference")], as_percent=False)


def _comparisons_text(rows: Rows, chosen: Chosen, pen: Pen) -> list[str]:
    lines = [pen.bold("Two models on the same jobs"), pen.fill(f"{_of(chosen)}. Differences in percentage points.")]
    for name in _rounds(rows):
        drawn = [
            Line(
                (_pair(r), f"{r['n_common']:,}", signed(_difference(r).value), "yes" if r["significant"] else "no"),
                _difference(r),
            )
            for r in rows
            if r["round"] == name
        ]
        heads = ["first − second", "jobs", "points", "apart"]
        lines += ["", pen.bold(round_label(name))]
        lines += ranged_table(pen, heads, drawn, _span(drawn), percent=False, zero=True)
    told = "apart: significant at 5 % after correcting for all pairs (Holm)."
    return [*lines, "", pen.dim(pen.fill(f"{_INTERVAL} (Newcombe). {told}"))]


COMPARISONS = View(
    "comparisons",
    "differences between models on the same jobs",
    ("model_comparisons",),
    """SELECT * FROM model_comparisons m WHERE m.window = $window AND m.rule = $rule
       AND ($round IS NULL OR m.round = $round) AND ($model IS NULL OR $model IN (m.model_a, m.model_b))
       ORDER BY round, model_a, model_b""",
    comparisons_chart,
    _comparisons_text,
    frozenset({"window", "rule", "round", "model"}),
)

VIEWS: Mapping[str, View] = {
    v.name: v for v in (LEADERBOARD, LIFT, FUNNEL, CATEGORIES, ECONOMICS, AGREEMENT, TURNS, COMPARISONS)
}


def text_of(view: View, rows: Rows, chosen: Chosen, pen: Pen) -> str:
    """A view for a terminal; simulated figures say so first."""
    if not rows:
        return f"{view.name}: nothing to show yet."
    told = [pen.warn(pen.fill(TOLD)), ""] if _simulated(rows) else []
    return "\n".join([*told, *view.text(rows, chosen, pen)])
