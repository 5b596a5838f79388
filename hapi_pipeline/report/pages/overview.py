"""Overview: completion by model and round, the lift, and the headline."""

from __future__ import annotations

from hapi_pipeline.plots import charts
from hapi_pipeline.plots.charts import Curve, Estimate, Lift
from hapi_pipeline.report import words
from hapi_pipeline.report.ask import RULES, Answer, Row, Sources
from hapi_pipeline.report.draw import WIDE, bars, both, completion, estimate, unique
from hapi_pipeline.report.figures import COMPLETION, Column, Figure, Page, Section, Tile, traced
from hapi_pipeline.report.numbers import cents, count, points, share, span, usd
from hapi_pipeline.report.pages.asked import BOARD, PAIRS

LIFT = """
    SELECT model, round, n_eligible, n_before, rate_before, n_completed, rate, lift_points, lift_lo, lift_hi,
        n_rescued, n_retried, rescue_of_retried, rescue_lo, rescue_hi, n_failed_rescued, n_failed_before,
        rescue_of_failed, rescue_of_failed_lo, rescue_of_failed_hi, control_round, n_only_feedback, n_only_control,
        n_paired, net_points, net_lo, net_hi, simulated
    FROM feedback_lift
    WHERE feedback_lift.window = 'all' AND rule = {rule}
    ORDER BY max(rate_before) FILTER (WHERE round = 'feedback_1') OVER (PARTITION BY model) DESC NULLS LAST,
        model, round
    """
_MOST_ROUNDS_OF = 8  # models up to which all rounds are drawn; above, the first and the last turn


def overview(sources: Sources) -> Page:
    """Completion by model and round, the lift, and the headline."""
    board, lift, pairs = (sources.ask(sql, rule=sources.rule) for sql in (BOARD, LIFT, PAIRS))
    curves = sources.ask(_CURVES, rule=sources.rule)
    return Page(
        "index",
        "Overview",
        words.overview_words(board, lift, pairs, sources.rule),
        [
            Section("completion", "Completion by model and round", figures=[_completion_figure(board, sources.rule)]),
            Section(
                "lift",
                "What expert feedback added",
                [
                    "A second try helps by itself. So feedback is held against a control arm: the same jobs, tried "
                    "again without a word of feedback. The difference is what the expert's words were worth."
                ],
                [_lift_figure(lift)],
            ),
            Section(
                "turns",
                "Turn by turn",
                [
                    "Jobs that were not tried again are censored: the curve says what would have come of all jobs if "
                    "those not tried were like those that were."
                ],
                [_curve_figure(curves)],
            ),
        ],
        headline=words.headline(board),
        tiles=_tiles(board, lift),
    )


def _tiles(board: Answer, lift: Answer) -> list[Tile]:
    """The headline numbers, each with its count and interval; none where not all is known."""
    alone = [r for r in board.where(round="agent_alone") if r["rate"] is not None and r["n_graded"] == r["n_eligible"]]
    after = [r for r in board.where(round="feedback_1") if r["rate"] is not None and r["n_graded"] == r["n_eligible"]]
    net = words.controlled(lift)
    tiles = []
    for what, rows in (("Best alone", alone), ("Best with one feedback", after)):
        if rows:
            best = max(rows, key=lambda r: (r["rate"], r["model"]))
            ends = span(best["rate_lo"], best["rate_hi"], "share")
            tiles.append(Tile(what, share(best["rate"]), f"{best['model']}: {_of(best)}", f"95 % interval {ends}"))
    if net:
        lo, hi = (f(r["net_points"] for r in net) for f in (min, max))
        sure = sum(r["net_lo"] > 0 for r in net)
        value = points(lo) if lo == hi else f"{points(lo)} to {points(hi)}"
        tiles.append(
            Tile(
                "Beyond a second try",
                value,
                f"points through feedback, {count(len(net))} {'models' if len(net) > 1 else 'model'}",
                f"distinguishable from zero for {sure} of {len(net)}",
            )
        )
    costs = [r["cost_usd"] / r["n_attempts"] for r in alone if r["cost_usd"] is not None and r["n_attempts"]]
    if costs:
        lo, hi = min(costs), max(costs)
        value = usd(lo) if usd(lo) == usd(hi) else f"{usd(lo)} to {usd(hi)}"
        if hi < 1:
            value = cents(lo) if cents(lo) == cents(hi) else f"{cents(lo).removesuffix('¢').rstrip()} to {cents(hi)}"
        tiles.append(
            Tile("A first attempt costs", value, "tokens of one attempt, mean by model", "failed ones included")
        )
    return tiles


def _of(row: Row) -> str:
    return f"{count(row['n_completed'])} of {count(row['n_eligible'])} jobs"


def _completion_figure(board: Answer, rule: str) -> Figure:
    models, rounds = unique([r["model"] for r in board.rows]), unique([r["round"] for r in board.rows])
    drawn = rounds if len(models) <= _MOST_ROUNDS_OF else [r for r in rounds if r in ("agent_alone", "feedback_1")]
    rows = [
        (model, {r["round"]: completion(r) for r in board.where(model=model) if r["round"] in drawn})
        for model in models
    ]
    months = sorted({m for r in board.rows for m in (r["first_cohort"], r["last_cohort"])})
    jobs = max((r["n_eligible"] for r in board.rows), default=0)
    return Figure(
        "completion",
        "Completed jobs by model and round",
        board,
        (
            Column("model", "Model"),
            Column("round", "Round", "round"),
            *COMPLETION,
            Column("rate_cl_lo", "By client, from", "share"),
            Column("rate_cl_hi", "to", "share"),
            Column("earn_rate", "Share of the money", "share", "earn_lo", "earn_hi"),
            Column("n_attempts", "Attempts", "count"),
            Column("cost_usd", "Cost so far", "usd"),
        ),
        both(
            lambda frame: charts.intervals_chart(frame, rows, charts.round_series(drawn)),
            "Completed jobs by model and round",
            f"Share of {count(jobs)} jobs complete at that round or earlier ({RULES.get(rule, rule)}), "
            f"{bars(board.rows)}. Where two bars of a round lie apart, the models differ.",
            note=f"Jobs of {months[0]} to {months[-1]}." if months else "",
            simulated=board.simulated,
        ),
        tuple(traced("leaderboard", model=m, round="agent_alone", rule=rule) for m in models[:3]),
        "One row per model and round, over the jobs of all months; a round counts what was complete before it.",
    )


def _lift_figure(lift: Answer) -> Figure:
    controlled = words.controlled(lift)
    rows = [_lift_row(r, r in controlled) for r in lift.where(round="feedback_1") if r["rate"] is not None]
    first = lift.one(round="feedback_1")
    paired = sorted({count(r["n_paired"]) for r in controlled}, key=lambda n: (len(n), n))
    same = f", on the same {paired[0]}{f' to {paired[-1]}' * (len(paired) > 1)} jobs" if paired else ""
    return Figure(
        "lift",
        "What a second try added, and what feedback added beyond it",
        lift,
        (
            Column("model", "Model"),
            Column("round", "Round", "round"),
            Column("n_before", "Complete before", "count"),
            Column("n_completed", "after", "count"),
            Column("n_eligible", "of jobs", "count"),
            Column("lift_points", "Lift in points", "points", "lift_lo", "lift_hi"),
            Column("n_rescued", "Rescued", "count"),
            Column("n_retried", "of those tried again", "count"),
            Column("rescue_of_retried", "Rescue rate", "share", "rescue_lo", "rescue_hi"),
            Column("rescue_of_failed", "of all that failed", "share", "rescue_of_failed_lo", "rescue_of_failed_hi"),
            Column("n_only_feedback", "Only with feedback", "count"),
            Column("n_only_control", "Only without", "count"),
            Column("n_paired", "of jobs in both arms", "count"),
            Column("net_points", "Beyond a second try, points", "points", "net_lo", "net_hi"),
        ),
        both(
            lambda frame: charts.lift_chart(frame, rows),
            "What the first feedback added",
            "Left: completion before and after the first feedback. Right: how much more than a second try without "
            f"feedback{same}. An interval that holds zero: not distinguishable.",
            simulated=lift.simulated,
        ),
        (traced("feedback_lift", model=first["model"], round="feedback_1"),) if first else (),
        "One row per model and round after the first. Points are percentage points of all jobs.",
    )


def _lift_row(row: Row, controlled: bool) -> Lift:
    net = estimate(row, "net_points", "net_lo", "net_hi", "points") if controlled else Estimate(None)
    if net.value is not None:
        net = Estimate(net.value, net.lo, net.hi, f"{net.text} ({span(net.lo, net.hi, 'points')})")
    return Lift(
        row["model"],
        Estimate(row["rate_before"]),
        Estimate(row["rate"]),
        Estimate(row["lift_points"], row["lift_lo"], row["lift_hi"], f"{points(row['lift_points'])} points"),
        net if net.value is not None else Estimate(None, text="no control arm"),
    )


_CURVES = """
    SELECT model, arm, turn, round, n_eligible, n_at_risk, n_events, n_censored, hazard, hazard_lo, hazard_hi,
        curve, curve_lo, curve_hi, simulated
    FROM cycle_curves
    WHERE cycle_curves.window = 'all' AND rule = {rule}
    ORDER BY model, arm DESC, turn
    """
_MOST_CURVES = 4  # models that a line chart can hold


def _curve_figure(answer: Answer) -> Figure:
    alone = {r["model"]: r["curve"] or 0 for r in answer.rows if r["turn"] == 0}
    models = sorted(alone, key=lambda m: (-alone[m], m))[:_MOST_CURVES]
    turns = max((r["turn"] for r in answer.rows), default=0)
    places = ["alone", *(f"try {turn + 1}" for turn in range(1, turns + 1))]
    lines = []
    for number, model in enumerate(models, 1):
        for arm, name in (("human", model), ("control", f"{model}, no feedback")):
            rows = [r for r in answer.where(model=model, arm=arm) if r["curve"] is not None]
            found = tuple((r["turn"], estimate(r, "curve", "curve_lo", "curve_hi", "share")) for r in rows)
            if len(found) > 1:
                lines.append(Curve(name, found, str(number), arm == "control"))
    short = [Curve("no feedback", c.points, c.colour, True) if c.dashed else c for c in lines]
    return Figure(
        "turns",
        "Completion turn by turn",
        answer,
        (
            Column("model", "Model"),
            Column("arm", "Arm"),
            Column("turn", "Turn", "count"),
            Column("n_at_risk", "Open and tried", "count"),
            Column("n_events", "Completed", "count"),
            Column("n_censored", "Open, not tried or unknown", "count"),
            Column("hazard", "Completed of those tried", "share", "hazard_lo", "hazard_hi"),
            Column("curve", "Complete so far", "share", "curve_lo", "curve_hi"),
        ),
        both(
            lambda frame: charts.line_chart(frame, places, lines if frame.width == WIDE else short),
            "Completion turn by turn",
            "Share complete after each try, with 95 % bands. Solid: with feedback after each try. Dashed: tried again "
            "without feedback.",
            note="" if len(alone) <= _MOST_CURVES else f"The {_MOST_CURVES} best of {len(alone)} models.",
            simulated=answer.simulated,
        ),
        tuple(traced("leaderboard", model=m, round="feedback_1") for m in models[:1]),
        "One row per model, arm and turn. Turn 0 is the agent alone.",
    )
