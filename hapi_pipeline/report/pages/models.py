"""Models: ranks and how sure they are, windows of time, comparisons, repeats."""

from __future__ import annotations

from itertools import pairwise

from hapi_pipeline.plots import charts
from hapi_pipeline.plots.charts import Estimate, Series
from hapi_pipeline.report.ask import Answer, Row, Sources
from hapi_pipeline.report.draw import bars, both, completion, estimate, rank_chart, scaled, unique
from hapi_pipeline.report.figures import Column, Figure, Page, Section, traced
from hapi_pipeline.report.numbers import listed, share_points
from hapi_pipeline.report.pages.asked import BOARD, PAIRS

_MOST_PAIRS = 10
WINDOWS = """
    SELECT l.window, model, round, cohorts, first_cohort, last_cohort, n_completed, n_eligible, n_graded,
        rate, rate_lo, rate_hi, bound_lo, bound_hi, rate_std, rate_std_lo, rate_std_hi, std_covered, mde_pp, simulated
    FROM leaderboard l
    WHERE rule = {rule} AND round = 'agent_alone'
    ORDER BY max(rate) FILTER (WHERE l.window = 'all') OVER (PARTITION BY model) DESC NULLS LAST, model, l.window
    """
REPEATS = """
    SELECT model, round, k, n_jobs_k, pass_hat_k, pass_hat_lo, pass_hat_hi, pass_at_k, pass_at_lo, pass_at_hi,
        n_jobs_repeated, attempts_max, var_jobs, var_within, simulated
    FROM repeatability
    WHERE repeatability.window = 'all' AND rule = {rule} AND n_jobs_repeated > 0
    ORDER BY model, round, k
    """
_WINDOW_SERIES = (
    Series("all", "all months", "dot", "1"),
    Series("last_12", "newest twelve months", "ring", "1"),
    Series("post_cutoff", "after the model's training cutoff", "diamond", "3"),
)


def models(sources: Sources) -> Page:
    """Ranks and how sure they are, windows, comparisons."""
    board, pairs, windows, repeats = (sources.ask(q, rule=sources.rule) for q in (BOARD, PAIRS, WINDOWS, REPEATS))
    return Page(
        "models",
        "Models",
        _rank_words(board),
        [
            Section("ranks", "Ranks, and how much of them is established", figures=[_rank_figure(board)]),
            Section(
                "pairs",
                "Two models on the same jobs",
                [
                    "Every pair is compared on the jobs known for both. P values are corrected for the number of pairs "
                    "(Holm). “Not distinguishable” is no proof of equality: the table says how large a gap the data "
                    "would have shown."
                ],
                [_pair_figure(pairs, board)],
            ),
            Section(
                "windows", "Newer than the training data?", _window_words(sources, windows), [_window_figure(windows)]
            ),
            *_repeat_section(repeats),
        ],
        headline="Which models differ, and which do not",
    )


def _rank_words(board: Answer) -> list[str]:
    alone = [r for r in board.where(round="agent_alone") if r["rank"] is not None]
    if not alone:
        return ["Nothing is graded yet."]
    fixed = [r["model"] for r in alone if r["rank_lo"] == r["rank_hi"]]
    groups = len({r["tie_group"] for r in alone})
    if groups == 1:
        return [f"None of the {len(alone)} models can be told apart from the best by these jobs."]
    said = f"{len(alone)} models fall into {groups} groups whose heads can be told apart."
    if not fixed:
        return [f"{said} No rank is established: each could be another's."]
    if len(fixed) == len(alone):
        return [f"{said} Every rank is established."]
    names = listed(fixed[:4]) if len(fixed) <= 4 else f"{len(fixed)} models"
    return [f"{said} The rank of {names} is established; the others could trade places with a neighbour."]


def _rank_figure(board: Answer) -> Figure:
    ranked = sorted(
        (r for r in board.where(round="agent_alone") if r["rank"] is not None), key=lambda r: (r["rank"], r["model"])
    )
    rows = [(r["model"], r["rank"], r["rank_lo"], r["rank_hi"], _rank_text(r)) for r in ranked]
    first = ranked[0] if ranked else None
    return Figure(
        "ranks",
        "Rank by completion alone, with the ranks that cannot be ruled out",
        board,
        (
            Column("model", "Model"),
            Column("round", "Round", "round"),
            Column("rank", "Rank", "count"),
            Column("rank_lo", "best possible", "count"),
            Column("rank_hi", "worst possible", "count"),
            Column("tie_group", "Tie group", "count"),
            Column("rate", "Rate (95 % interval)", "share", "rate_lo", "rate_hi"),
            Column("n_completed", "Completed", "count"),
            Column("n_eligible", "of jobs", "count"),
        ),
        both(
            lambda frame: rank_chart(frame, rows),
            "Rank of each model, agent alone",
            "1 is best. The bar holds the ranks that comparisons on the same jobs do not rule out.",
            simulated=board.simulated,
        ),
        (traced("leaderboard", model=first["model"], round="agent_alone"),) if first else (),
        "One row per model and round. Models of one tie group do not differ significantly from the best of the group.",
    )


def _rank_text(row: Row) -> str:
    ranks = (
        f"rank {row['rank_lo']}" if row["rank_lo"] == row["rank_hi"] else f"rank {row['rank_lo']} to {row['rank_hi']}"
    )
    return f"{ranks}, tie group {row['tie_group']}"


def _pair_figure(pairs: Answer, board: Answer) -> Figure:
    place = {r["model"]: r["rank"] or 0 for r in board.where(round="agent_alone")}
    there = [r for r in pairs.where(round="agent_alone") if r["difference"] is not None]
    there.sort(key=lambda r: (min(place.get(m, 0) for m in (r["model_a"], r["model_b"])), -abs(r["difference"])))
    neighbours = len(there) > _MOST_PAIRS
    if neighbours:
        order = sorted(place, key=lambda m: (place[m], m))
        next_to = {frozenset(pair) for pair in pairwise(order)}
        there = [r for r in there if frozenset((r["model_a"], r["model_b"])) in next_to]
    rows = [_pair_row(r, place) for r in there]
    first = there[0] if there else None
    return Figure(
        "pairs",
        "Differences between models on common jobs",
        pairs,
        (
            Column("model_a", "Model a"),
            Column("model_b", "Model b"),
            Column("round", "Round", "round"),
            Column("n_common", "Common jobs", "count"),
            Column("rate_a", "Rate a", "share"),
            Column("rate_b", "Rate b", "share"),
            Column("n_only_a", "Only a", "count"),
            Column("n_only_b", "Only b", "count"),
            Column("difference", "a − b, points", "share_points", "diff_lo", "diff_hi"),
            Column("boot_lo", "By client, from", "share_points"),
            Column("boot_hi", "to", "share_points"),
            Column("p_holm", "p (Holm)", "p"),
            Column("significant", "Differs"),
            Column("mde", "Smallest gap shown", "share_points"),
        ),
        both(
            lambda frame: charts.intervals_chart(
                frame, rows, [Series("d", "difference", "dot", "1")], as_percent=False
            ),
            "Differences on the same jobs, agent alone",
            "Percentage points by which the first model is ahead, with 95 % intervals. An interval that holds zero: "
            "not distinguishable.",
            note="Neighbours in rank; all pairs stand in the table." if neighbours else "",
            simulated=pairs.simulated,
        ),
        tuple(traced("leaderboard", model=first[m], round="agent_alone") for m in ("model_a", "model_b"))
        if first
        else (),
        "One row per pair and round. The interval is Newcombe's for paired jobs; by client: bootstrap over clients.",
    )


def _pair_row(row: Row, place: dict[str, int]) -> tuple[str, dict[str, Estimate]]:
    """The better ranked model comes first."""
    a, b = row["model_a"], row["model_b"]
    swap = (place.get(b, 0), b) < (place.get(a, 0), a)
    one = scaled(estimate(row, "difference", "diff_lo", "diff_hi", "share_points"), 100)
    if swap:
        a, b = b, a
        lo, hi = (None if v is None else -v for v in (one.hi, one.lo))
        one = Estimate(-(one.value or 0.0), lo, hi)
    told = share_points((one.value or 0) / 100)
    verdict = "" if row["significant"] else "  not distinguishable"
    return f"{a} vs {b}", {
        "d": Estimate(one.value, one.lo, one.hi, f"{told}{verdict}", f"{told}{' (n.d.)' * bool(verdict)}")
    }


def _window_words(sources: Sources, windows: Answer) -> list[str]:
    known = {m.name: m.training_cutoff for m in sources.registry.models}
    stated = [f"{name} {known[name]}" for name in unique([r["model"] for r in windows.rows]) if known.get(name)]
    said = [
        "A job that was posted after a model's training ended cannot have been in what it was trained on. The cutoff "
        "is the vendor's word."
    ]
    if stated:
        said.append(f"Cutoffs stated in the registry: {', '.join(stated[:12])}{' and others' * (len(stated) > 12)}.")
    whole = {r["model"]: r["n_eligible"] for r in windows.where(window="all")}
    after = {r["model"]: r["n_eligible"] for r in windows.where(window="post_cutoff")}
    if after and all(after.get(m) == n for m, n in whole.items()):
        said.append("Here every job is newer than every model's cutoff, so all windows hold the same jobs.")
    return said


def _window_figure(windows: Answer) -> Figure:
    names = unique([r["model"] for r in windows.rows])
    rows = [(m, {r["window"]: completion(r) for r in windows.where(model=m)}) for m in names]
    return Figure(
        "windows",
        "Completion alone in three windows of time",
        windows,
        (
            Column("model", "Model"),
            Column("window", "Window"),
            Column("first_cohort", "From"),
            Column("last_cohort", "to"),
            Column("n_completed", "Completed", "count"),
            Column("n_eligible", "of jobs", "count"),
            Column("rate", "Rate (95 % interval)", "share", "rate_lo", "rate_hi"),
            Column("rate_std", "On a common mix of jobs", "share", "rate_std_lo", "rate_std_hi"),
            Column("std_covered", "Mix covered", "share"),
            Column("mde_pp", "Gap that shows, points", "tenth"),
        ),
        both(
            lambda frame: charts.intervals_chart(frame, rows, _WINDOW_SERIES),
            "Completion alone, by window of time",
            f"Share of the window's jobs that the agent alone completed, {bars(windows.rows)}.",
            simulated=windows.simulated,
        ),
        tuple(
            traced("leaderboard", model=r["model"], round="agent_alone", window=r["window"]) for r in windows.rows[-1:]
        ),
        "One row per model and window, agent alone.",
    )


def _repeat_section(repeats: Answer) -> list[Section]:
    """What attempting the same job several times says; nothing where no job was."""
    if not repeats:
        return []
    figure = Figure(
        "repeats",
        "The same job attempted several times",
        repeats,
        (
            Column("model", "Model"),
            Column("round", "Round", "round"),
            Column("k", "k", "count"),
            Column("n_jobs_k", "Jobs with k attempts", "count"),
            Column("pass_hat_k", "All k complete", "share", "pass_hat_lo", "pass_hat_hi"),
            Column("pass_at_k", "At least one complete", "share", "pass_at_lo", "pass_at_hi"),
            Column("var_jobs", "Variance between jobs", "decimal"),
            Column("var_within", "within a job", "decimal"),
        ),
        caption="One row per model, round and k. All other figures count the first attempt only.",
    )
    return [Section("repeats", "Would it do so again?", figures=[figure])]
