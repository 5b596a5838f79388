"""Failure themes and agreement: where work fails, and how far those who judge it agree."""

from __future__ import annotations

from hapi_pipeline.plots import charts
from hapi_pipeline.plots.charts import Estimate, Series
from hapi_pipeline.report import words
from hapi_pipeline.report.ask import Answer, Sources
from hapi_pipeline.report.draw import both, estimate, unique
from hapi_pipeline.report.figures import Column, Figure, Page, Section, queried, traced
from hapi_pipeline.report.numbers import FORMATS, count
from hapi_pipeline.report.safe import visible

THEMES = """
    SELECT theme_id, theme, example_criterion, n_jobs, n_criteria, n_judged, n_failed, n_unjudged, n_all_judged,
        n_all_failed, share_of_criteria, share_of_criteria_lo, share_of_criteria_hi, share_of_failures,
        share_of_failures_lo, share_of_failures_hi, fail_rate, fail_rate_lo, fail_rate_hi, provisional, simulated
    FROM failure_themes
    WHERE model = '(all)' AND round = 'agent_alone'
    ORDER BY n_failed DESC, theme_id
    """
TRANSITIONS = """
    SELECT model, round, importance, n_jobs, n_known, n_fixed, n_still_failed, fix_rate, fix_lo, fix_hi,
        n_broken, n_still_passed, regression_rate, regression_lo, regression_hi, control_fix_rate,
        net_fix_points, net_fix_lo, net_fix_hi, simulated
    FROM criterion_transitions
    ORDER BY model, round, importance = 'all' DESC, importance
    """
_ORDER = ("all", "critical", "important", "optional", "pitfall")


def failures(sources: Sources) -> Page:
    """Themes of failed criteria, and what a second try fixed and broke."""
    themes, turned = sources.ask(THEMES), sources.ask(TRANSITIONS)
    return Page(
        "failures",
        "Failure themes",
        [
            "Themes are groups of criteria that use the same words, found by a program and named by their terms. They "
            "say what criteria are about, not why work failed.",
            *words.theme_words(themes),
        ],
        [
            Section("themes", "Where failures lie", figures=[_theme_figure(themes)]),
            Section(
                "fixed",
                "What a second try fixed, and what it broke",
                ["Feedback can also make work worse: a criterion that was met before and is not met after is broken."],
                [_fix_figure(turned), _break_figure(turned)],
            ),
        ],
        label="Failures",
        headline="What goes wrong, and what feedback mends",
    )


def _theme_figure(themes: Answer) -> Figure:
    rows = [
        (
            visible(r["theme"]),
            {
                "criteria": estimate(r, "share_of_criteria", "share_of_criteria_lo", "share_of_criteria_hi", "share"),
                "failures": estimate(
                    r,
                    "share_of_failures",
                    "share_of_failures_lo",
                    "share_of_failures_hi",
                    "share",
                    f"{count(r['n_failed'])} of {count(r['n_judged'])} failed",
                ),
            },
        )
        for r in themes.rows
    ]
    first = themes.one()
    jobs = max((r["n_jobs"] for r in themes.rows), default=0)
    total = f"{count(first['n_all_failed'])} failed of {count(first['n_all_judged'])} judged criteria" if first else ""
    return Figure(
        "themes",
        "Themes of criteria, and their share of failures",
        themes,
        (
            Column("theme", "Theme"),
            Column("example_criterion", "A typical criterion"),
            Column("n_judged", "Judged", "count"),
            Column("n_failed", "Failed", "count"),
            Column("fail_rate", "Fail rate", "share", "fail_rate_lo", "fail_rate_hi"),
            Column("share_of_criteria", "Share of criteria", "share", "share_of_criteria_lo", "share_of_criteria_hi"),
            Column("share_of_failures", "Share of failures", "share", "share_of_failures_lo", "share_of_failures_hi"),
            Column("provisional", "May still change"),
        ),
        both(
            lambda frame: charts.intervals_chart(
                frame,
                rows,
                [
                    Series("criteria", "share of criteria", "box", "0"),
                    Series("failures", "share of failures", "dot", "2"),
                ],
            ),
            "Share of all criteria and of all failures, by theme",
            f"Agent alone, all models together: {total}. A theme whose failures lie right of its criteria is harder "
            "than its size; 95 % intervals.",
            note=f"Themes occur in up to {count(jobs)} jobs." if jobs else "",
            simulated=themes.simulated,
        ),
        (
            queried(
                "SELECT t.theme, o.model, o.job_id, o.attempt_id, t.criterion_id FROM criterion_themes t "
                "JOIN criterion_outcomes o USING (job_id) WHERE o.round = 'agent_alone' AND o.is_current "
                "AND list_contains(o.fails, t.criterion_id) ORDER BY ALL"
            ),
        ),
        "One row per theme, agent alone, all models together.",
    )


def _fix_figure(turned: Answer) -> Figure:
    rows = [
        (
            f"{model}: {importance if importance != 'all' else 'all criteria'}",
            {
                r["round"]: estimate(
                    r,
                    "fix_rate",
                    "fix_lo",
                    "fix_hi",
                    "share",
                    f"{count(r['n_fixed'])} of {count(r['n_fixed'] + r['n_still_failed'])}",
                )
                for r in turned.where(model=model, importance=importance)
                if r["round"] in ("feedback_1", "retry_1")
            },
        )
        for model, importance in _shown(turned)
    ]
    return Figure(
        "fixed",
        "Failed criteria that the next try fixed",
        turned,
        _TURN_COLUMNS,
        both(
            lambda frame: charts.intervals_chart(frame, rows, charts.round_series(["feedback_1", "retry_1"])),
            "Failed criteria that the next try fixed",
            "Share of criteria failed before and passed after, with the expert's feedback and without; 95 % intervals "
            "by client.",
            simulated=turned.simulated,
        ),
        _turn_trace(turned),
        "One row per model, round and importance. Fixed: failed before, passed after; broken: the other way round.",
    )


def _break_figure(turned: Answer) -> Figure:
    rows = [
        (
            model,
            {
                r["round"]: estimate(
                    r,
                    "regression_rate",
                    "regression_lo",
                    "regression_hi",
                    "share",
                    f"{count(r['n_broken'])} of {count(r['n_broken'] + r['n_still_passed'])}",
                )
                for r in turned.where(model=model, importance="all")
            },
        )
        for model in unique([r["model"] for r in turned.rows])
    ]
    answer = Answer(turned.sql, turned.columns, tuple(r for r in turned.rows if r["importance"] == "all"))
    rounds = unique([r["round"] for r in answer.rows])
    return Figure(
        "broken",
        "Passed criteria that the next try broke",
        answer,
        _TURN_COLUMNS,
        both(
            lambda frame: charts.intervals_chart(frame, rows, charts.round_series(rounds)),
            "Passed criteria that the next try broke",
            "Share of criteria passed before and failed after, over all criteria; 95 % intervals by client.",
            simulated=turned.simulated,
        ),
        _turn_trace(turned),
        "One row per model and round, all criteria.",
        source="The rows with importance 'all'.",
    )


_TURN_COLUMNS = (
    Column("model", "Model"),
    Column("round", "Round", "round"),
    Column("importance", "Importance"),
    Column("n_jobs", "Jobs", "count"),
    Column("n_known", "Criteria known", "count"),
    Column("n_fixed", "Fixed", "count"),
    Column("fix_rate", "of those failed", "share", "fix_lo", "fix_hi"),
    Column("n_broken", "Broken", "count"),
    Column("regression_rate", "of those passed", "share", "regression_lo", "regression_hi"),
    Column("net_fix_points", "Fixed beyond a second try, points", "points", "net_fix_lo", "net_fix_hi"),
)
_MOST_MODELS = 4


def _shown(turned: Answer) -> list[tuple[str, str]]:
    """Which rows are drawn: each importance for a few models, else whole rubrics only."""
    models = unique([r["model"] for r in turned.rows])
    importances = [i for i in _ORDER if turned.where(importance=i)] if len(models) <= _MOST_MODELS else ["all"]
    return [(model, importance) for model in models for importance in importances]


def _turn_trace(turned: Answer) -> tuple[str, ...]:
    return (queried("SELECT * FROM job_transitions WHERE round = 'feedback_1' ORDER BY job_id, model, importance"),)


# ---- agreement

AGREEMENT = """
    SELECT scope, scope_value, level, n_packets, n_double, n_graders, n_jobs, n_units, n_split, prevalence,
        raw_agreement, raw_lo, raw_hi, alpha, alpha_lo, alpha_hi, ac1, ac1_lo, ac1_hi, kappa, kappa_lo, kappa_hi,
        simulated
    FROM grader_agreement
    WHERE scope <> 'pair'
    ORDER BY scope = 'overall' DESC, scope, scope_value, level DESC
    """
GRADERS = """
    SELECT count(*) AS n_graders, count(leniency) AS n_compared,
        count(*) FILTER (WHERE leniency_lo > 0) AS n_lenient, count(*) FILTER (WHERE leniency_hi < 0) AS n_strict,
        min(leniency) AS leniency_least, median(leniency) AS leniency_median, max(leniency) AS leniency_most,
        min(agreement) AS agreement_least, median(agreement) AS agreement_median, max(agreement) AS agreement_most,
        median(minutes_median) AS minutes_median, bool_or(simulated) AS simulated
    FROM grader_profiles
    HAVING count(*) >= 5
    """
CORRECTED = """
    SELECT model, round, n_graded, n_apparent, rate_apparent, rate_corrected, corrected_lo, corrected_hi,
        sensitivity, sensitivity_lo, sensitivity_hi, specificity, specificity_lo, specificity_hi, n_double,
        correction_missing, simulated
    FROM corrected_rates
    WHERE rule = {rule}
    ORDER BY model, round
    """


def agreement(sources: Sources) -> Page:
    """How far graders agree, how lenient each is, and rates corrected for their errors."""
    found, graders = sources.ask(AGREEMENT), sources.ask(GRADERS)
    corrected = sources.ask(CORRECTED, rule=sources.rule)
    return Page(
        "agreement",
        "Agreement",
        words.agreement_words(found),
        [
            Section(
                "agree",
                "Two graders, the same work",
                [
                    "Part of the work is judged by two experts who do not know of each other. Alpha is 1 where they "
                    "always agree and 0 where they agree no more than chance would. A job is complete only if every "
                    "criterion passes, so one slip on one criterion turns the whole job: agreement on whole attempts "
                    "is the lower of the two."
                ],
                [_agreement_figure(found)],
            ),
            Section("graders", "Strict and lenient graders", words.grader_words(graders), [_grader_figure(graders)]),
            Section(
                "corrected",
                "Rates corrected for grading errors",
                [
                    "What the rate of each round's attempts would be if single graders made no errors (Rogan and "
                    "Gladen)."
                ],
                [_corrected_figure(corrected)],
            ),
        ],
        headline="How far graders agree",
    )


def _agreement_figure(found: Answer) -> Figure:
    scopes = [
        ("overall", "all"),
        *((r["scope"], r["scope_value"]) for r in found.rows if r["scope"] in ("category", "importance")),
    ]
    rows = []
    for scope, value in dict.fromkeys(scopes):
        points = {
            r["level"]: estimate(r, "alpha", "alpha_lo", "alpha_hi", "decimal", f"{count(r['n_units'])} judged twice")
            for r in found.where(scope=scope, scope_value=value)
        }
        rows.append(("Overall" if scope == "overall" else visible(value), points))
    return Figure(
        "agreement",
        "Agreement of graders",
        found,
        (
            Column("scope", "Over"),
            Column("scope_value", "which"),
            Column("level", "Level"),
            Column("n_units", "Judged twice", "count"),
            Column("n_split", "Split", "count"),
            Column("raw_agreement", "Agreement", "share", "raw_lo", "raw_hi"),
            Column("alpha", "Krippendorff's alpha", "decimal", "alpha_lo", "alpha_hi"),
            Column("ac1", "Gwet's AC1", "decimal", "ac1_lo", "ac1_hi"),
            Column("kappa", "Cohen's kappa", "decimal", "kappa_lo", "kappa_hi"),
            Column("prevalence", "Passes among verdicts", "share"),
        ),
        both(
            lambda frame: charts.intervals_chart(
                frame,
                rows,
                [
                    Series("criterion", "single criteria", "dot", "1"),
                    Series("completion", "whole attempts", "ring", "1"),
                ],
                span=(0.0, 1.0),
                as_percent=False,
            ),
            "Krippendorff's alpha, with 95 % intervals over jobs",
            "1: always the same verdict. 0: no more alike than chance. Wide bars: few were judged twice.",
            simulated=found.simulated,
        ),
        (
            queried(
                "SELECT attempt_id, job_id, model, round, n_graders, all_criteria, settled_all FROM grades "
                "WHERE n_graders > 1 ORDER BY attempt_id"
            ),
        ),
        "One row per scope, value and level. Alpha is empty where all verdicts are the same.",
    )


def _grader_figure(graders: Answer) -> Figure:
    return Figure(
        "graders",
        "All graders together",
        graders,
        (
            Column("n_graders", "Graders", "count"),
            Column("n_compared", "compared with others", "count"),
            Column("n_lenient", "more lenient than others", "count"),
            Column("n_strict", "stricter", "count"),
            Column("leniency_least", "Leniency, points: least", "share_points"),
            Column("leniency_median", "median", "share_points"),
            Column("leniency_most", "most", "share_points"),
            Column("agreement_least", "As settled: least", "share"),
            Column("agreement_median", "median", "share"),
            Column("agreement_most", "most", "share"),
            Column("minutes_median", "Minutes a packet (median)", "tenth"),
        ),
        trace=(queried("SELECT * FROM grader_profiles ORDER BY leniency DESC"),),
        caption="One row, from five graders on. More lenient and stricter: the 95 % interval lies on one side of "
        "zero. Single graders are not published.",
    )


def _corrected_figure(corrected: Answer) -> Figure:
    rows = []
    for model in unique([r["model"] for r in corrected.rows]):
        row = corrected.one(model=model, round="agent_alone")
        if row is not None and row["rate_corrected"] is not None:
            apparent = f"{FORMATS['share'](row['rate_apparent'])} · as graded"
            rows.append(
                (
                    model,
                    {
                        "apparent": Estimate(row["rate_apparent"], text=apparent),
                        "corrected": estimate(
                            row, "rate_corrected", "corrected_lo", "corrected_hi", "share", "corrected"
                        ),
                    },
                )
            )
    double = max((r["n_double"] for r in corrected.rows), default=0)
    return Figure(
        "corrected",
        "Rates as single graders see them, and corrected for their errors",
        corrected,
        (
            Column("model", "Model"),
            Column("round", "Round", "round"),
            Column("n_graded", "Attempts", "count"),
            Column("rate_apparent", "As graded", "share"),
            Column("rate_corrected", "Corrected", "share", "corrected_lo", "corrected_hi"),
            Column("sensitivity", "Passes what is good", "share", "sensitivity_lo", "sensitivity_hi"),
            Column("specificity", "Fails what is not", "share", "specificity_lo", "specificity_hi"),
            Column("n_double", "Attempts judged twice", "count"),
            Column("correction_missing", "Why not corrected"),
        ),
        both(
            lambda frame: charts.intervals_chart(
                frame,
                rows,
                [
                    Series("apparent", "as single graders see it", "ring", "0"),
                    Series("corrected", "corrected", "dot", "3"),
                ],
            ),
            "Completion of first attempts, corrected for grading errors",
            f"Error rates come from {count(double)} attempts judged twice. Where the corrected interval holds the "
            "uncorrected rate, the correction changes nothing that can be told.",
            simulated=corrected.simulated,
        ),
        tuple(traced("leaderboard", model=m, round="agent_alone") for m, _ in rows[:1]),
        "One row per model and round; attempts of that round alone, not cumulative.",
    )
