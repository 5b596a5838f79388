"""Sentences that the numbers support: with counts and intervals, and "not distinguishable" where intervals say so."""

from __future__ import annotations

from collections.abc import Sequence

from hapi_pipeline.report.ask import RULES, Answer, Row
from hapi_pipeline.report.numbers import MINUS, count, listed, points, share, share_points, span, usd_round

_FEW = 4  # models that a sentence names one by one


def headline(board: Answer) -> str:
    """What there is to say in one sentence; a promise where nothing is graded."""
    alone, after = _graded(board, "agent_alone"), _graded(board, "feedback_1")
    if not alone:
        return "Nothing is graded yet"
    jobs = count(max(row["n_eligible"] for row in alone))
    said = f"Alone, agents completed {_range(alone)} of {jobs} paid jobs"
    if not _whole(alone):
        return f"Alone, agents completed at least {_range(alone)} of {jobs} paid jobs"
    if after and _whole(after) and len(after) == len(alone):
        said += f"; with one round of expert feedback, {_range(after)}"
    return said


def overview_words(board: Answer, lift: Answer, pairs: Answer, rule: str) -> list[str]:
    """What the overview says below its headline."""
    alone = _graded(board, "agent_alone")
    if not alone:
        return ["Once verdicts are imported and `hapi refresh` has run, completion rates stand here."]
    said = [
        f"A job is complete when its expert graders passed {RULES.get(rule, rule)}. Intervals are at 95 %: "
        "on other jobs of the same kind, the rate would plausibly lie anywhere within."
    ]
    if not _whole(alone):
        known, jobs = sum(r["n_graded"] for r in alone), sum(r["n_eligible"] for r in alone)
        said.append(
            f"Not all is known: {count(known)} of {count(jobs)} first attempts are graded. Bars run from what would be "
            "if everything unknown failed to what would be if it all succeeded."
        )
    return [*said, *_leader(alone, pairs), *_net(lift)]


def _leader(alone: Sequence[Row], pairs: Answer) -> list[str]:
    """Who completed the most alone, and from whom that can be told apart."""
    ranked = [r for r in alone if r["rank"] is not None]
    if len(ranked) < 2 or not _whole(alone):
        return []
    best = min(ranked, key=lambda r: (r["rank"], r["model"]))
    said = (
        f"{best['model']} completed the most alone: {count(best['n_completed'])} of {count(best['n_eligible'])}, "
        f"{share(best['rate'])} (95 % interval {span(best['rate_lo'], best['rate_hi'], 'share')})"
    )
    like = [r["model"] for r in ranked if r["tie_group"] == best["tie_group"] and r["model"] != best["model"]]
    if like:
        return [f"{said}. This is not distinguishable from {_names(like)}."]
    said += (
        ", significantly more than every other model." if len(ranked) > 2 else ", significantly more than the other."
    )
    return [said, *_tied(ranked, best, pairs)]


def _tied(ranked: Sequence[Row], best: Row, pairs: Answer) -> list[str]:
    """The largest group of models below the best that cannot be told from its head."""
    groups: dict[int, list[Row]] = {}
    for row in ranked:
        if row["tie_group"] != best["tie_group"]:
            groups.setdefault(row["tie_group"], []).append(row)
    tied = max(groups.values(), key=len, default=[])
    if len(tied) < 2:
        return []
    first, second = sorted(tied, key=lambda r: (r["rank"], r["model"]))[:2]
    said = f"{_names([r['model'] for r in tied])} are not distinguishable"
    pair = pairs.one(model_a=first["model"], model_b=second["model"], round="agent_alone") or pairs.one(
        model_a=second["model"], model_b=first["model"], round="agent_alone"
    )
    if len(tied) > 2 or pair is None or pair["difference"] is None:
        return [f"{said} from the first of them."]
    sign = 1 if pair["model_a"] == first["model"] else -1
    lo, hi = sorted((sign * pair["diff_lo"], sign * pair["diff_hi"]))
    gap = f" Their {count(pair['n_common'])} common jobs would show a gap of {100 * pair['mde']:.0f} points or more."
    return [
        f"{said}: a difference of {share_points(sign * pair['difference'])} points "
        f"(95 % interval {span(lo, hi, 'share_points')}).{gap if pair['mde'] is not None else ''}"
    ]


def _net(lift: Answer) -> list[str]:
    """What feedback added beyond a second try without it."""
    there = controlled(lift)
    if not there:
        return []
    sure = [r for r in there if r["net_lo"] > 0]
    unsure = [r for r in there if r["net_lo"] <= 0 <= r["net_hi"]]
    worse = [r for r in there if r["net_hi"] < 0]
    if len(there) > _FEW:
        return [
            "Beyond a second try without it, the first feedback added completed jobs for "
            f"{len(sure)} of {len(there)} models; for {len(unsure)} what it added is not distinguishable from "
            f"nothing{f', for {len(worse)} it took some away' if worse else ''}."
        ]
    said = []
    if sure:
        said.append(
            "Beyond a second try without it, the first feedback added "
            f"{listed([f'{_points(r)} points for {_one(r)}' for r in sure])}."
        )
    for row in unsure:
        added, ends = points(row["net_points"]).removeprefix("+"), span(row["net_lo"], row["net_hi"], "points")
        said.append(f"For {row['model']} what it added, {added} points ({ends}), is not distinguishable from nothing.")
    said += [f"For {r['model']} it took {_points(r)} points away." for r in worse]
    return [" ".join(said)]


def controlled(lift: Answer) -> list[Row]:
    """First feedbacks that can be held against a control arm: one in which some job was in fact tried again."""
    tried = {(r["model"], r["round"]) for r in lift.rows if r["n_retried"]}
    return [
        r
        for r in lift.where(round="feedback_1")
        if r["net_points"] is not None and r["net_lo"] is not None and (r["model"], r["control_round"]) in tried
    ]


def _points(row: Row) -> str:
    return points(row["net_points"]).lstrip(f"+{MINUS}")


def _one(row: Row) -> str:
    return f"{row['model']} ({span(row['net_lo'], row['net_hi'], 'points')})"


def category_words(cells: Answer) -> list[str]:
    """How far categories can be told apart."""
    alone = [r for r in cells.where(round="agent_alone") if r["rate"] is not None]
    if not alone:
        return ["Nothing is graded yet."]
    sizes = sorted({r["category"]: r["n_eligible"] for r in alone}.values())
    widths = sorted((r["rate_hi"] - r["rate_lo"]) * 100 for r in alone if r["rate_lo"] is not None)
    middle = widths[len(widths) // 2]
    jobs = f"{sizes[0]} to {sizes[-1]}" if sizes[0] != sizes[-1] else f"{sizes[0]}"
    return [
        f"{len(sizes)} categories of {jobs} jobs. Half of these cells have a 95 % interval wider than {middle:.0f} "
        "points: read ranks of categories with care."
    ]


def money_words(money: Answer, advice: Answer) -> list[str]:
    """What the work cost, what it rests on, and the advice over all jobs."""
    first = money.one()
    if first is None:
        return ["Nothing is graded yet."]
    said = [
        f"Two numbers are assumptions, set by whoever runs this benchmark: an hour of an expert costs "
        f"{usd_round(first['grader_usd_per_hour'])}, and a completed job is worth "
        f"{first['value_per_price']:g} times its price to the client."
        if first["grader_usd_per_hour"] is not None
        else "What an hour of an expert costs is not set, so nothing that needs it is shown."
    ]
    best = advice.one(category="(all)", price_band="(all)")
    if best is not None and best["probability"] is not None:
        said.append(
            f"Over all {count(best['n_graded'])} jobs the advice is {ADVICE[best['advice']]}"
            f"{_with(best)}; {share(best['probability'])} of the resampled sets of jobs agree."
        )
    if best is not None and best["probability"] is not None and best["probability"] < 0.9:
        said.append("That is less than nine in ten: the ways are not clearly distinguishable.")
    return said


def _with(best: Row) -> str:
    return f" ({best['model']})" if best["advice"] != "human_alone" and best["model"] else ""


ADVICE = {
    "agent_alone": "the agent alone",
    "agent_and_human": "agent and expert",
    "human_alone": "a human alone",
    "no_advice": "none",
}


def agreement_words(agreement: Answer) -> list[str]:
    """How far graders agree, by criterion and by whole job."""
    said = []
    for level, unit in (("criterion", "criteria"), ("completion", "attempts")):
        row = agreement.one(scope="overall", level=level)
        if row is None or row["raw_agreement"] is None:
            continue
        alpha = "" if row["alpha"] is None else f"Krippendorff's alpha {row['alpha']:.2f}"
        ends = "" if row["alpha_lo"] is None else f", 95 % interval {row['alpha_lo']:.2f} to {row['alpha_hi']:.2f}"
        what = "whether a criterion is met" if level == "criterion" else "whether a whole attempt is complete"
        said.append(
            f"Asked {what}, two graders agreed on {share(row['raw_agreement'])} of {count(row['n_units'])} {unit} that "
            f"both judged{f' ({alpha}{ends})' if alpha else ''}."
        )
    return said or ["No attempt has been judged by two graders yet."]


def theme_words(themes: Answer) -> list[str]:
    """Which theme holds the most failures, and whether it stands out."""
    rows = [r for r in themes.rows if r["share_of_failures"] is not None]
    if not rows:
        return ["Nothing is graded yet."]
    first = rows[0]
    said = (
        f"The theme with the most failures, “{first['theme']}”, holds {share(first['share_of_failures'])} of "
        f"{count(first['n_all_failed'])} failed criteria and {share(first['share_of_criteria'])} of all "
        "criteria judged."
    )
    harder = [
        r["theme"]
        for r in rows
        if r["share_of_failures_lo"] is not None and r["share_of_failures_lo"] > r["share_of_criteria"]
    ]
    if harder:
        return [said, f"Failures are over-represented in {len(harder)} of {len(rows)} themes: {_quoted(harder)}."]
    return [
        said,
        f"In none of {len(rows)} themes is the share of failures distinguishable from above the share of criteria: no "
        "theme stands out as harder than its size.",
    ]


def _quoted(names: Sequence[str]) -> str:
    return listed([f"“{name}”" for name in names[:_FEW]] + (["others"] if len(names) > _FEW else []))


def _graded(board: Answer, round_: str) -> list[Row]:
    return [r for r in board.where(round=round_) if r["rate"] is not None]


def _whole(rows: Sequence[Row]) -> bool:
    """Whether the state of every job is known."""
    return all(r["n_graded"] == r["n_eligible"] for r in rows)


def _range(rows: Sequence[Row]) -> str:
    lo, hi = (f"{100 * f(r['rate'] for r in rows):.0f}" for f in (min, max))
    return f"{lo}\u202f%" if lo == hi else f"{lo} to {hi}\u202f%"


def _names(names: Sequence[str]) -> str:
    if len(names) > _FEW:
        return f"{', '.join(names[:_FEW])} and {len(names) - _FEW} more"
    return listed(names)


def zone_words(money: Answer) -> list[str]:
    """For which models the middle zone is there at all."""
    rows = [r for r in money.where(round="feedback_1") if r["value_human_ai_human_usd"] is not None]
    if not rows:
        return []
    without = [
        r["model"]
        for r in rows
        if r["value_alone_human_ai_usd"] is None or r["value_alone_human_ai_usd"] >= r["value_human_ai_human_usd"]
    ]
    if not without:
        return ["Here every model has all three zones."]
    whom = "every model" if len(without) == len(rows) else _names(without)
    return [
        f"Here the middle zone is empty for {whom}: if nobody does what agent and expert leave incomplete, there is no "
        "value at which the expert's time pays. The advice below reckons with a human who does the rest."
    ]


def grader_words(graders: Answer) -> list[str]:
    """How far graders differ in leniency, without naming any."""
    row = graders.one()
    if row is None:
        return ["There are fewer than five graders: what is said of all of them would be said of each."]
    if not row["n_compared"]:
        return ["No grader has judged work that others judged too."]
    apart = row["n_lenient"] + row["n_strict"]
    said = (
        f"{count(row['n_compared'])} graders judged work that others judged too. They passed "
        f"{share_points(row['leniency_least'])} to {share_points(row['leniency_most'])} points more criteria than the "
        "others did"
    )
    if not apart:
        return [f"{said}; for none of them is that distinguishable from zero."]
    return [f"{said}; for {count(apart)} of them that is distinguishable from zero."]
