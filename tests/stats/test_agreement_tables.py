"""The tables on graders: from verdicts to what is said of them, in worlds whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from hapi_pipeline import agreement
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark, Registry
from tests.scenario import COHORT, RUBRIC, attempt, criterion, make, post, table_of, verdict

Votes = Mapping[str, Sequence[tuple[str, str, bool | None]]]
"""attempt key "model round job" -> (criterion, grader, answer)"""
Row = dict[str, Any]


@pytest.fixture
def build(lake: Lake, benchmark: Benchmark) -> Callable[..., list[Row]]:
    """Makes a world from votes: attempts, verdicts, the table `grades`; its rows."""

    def world(votes: Votes, roles: Mapping[str, str] | None = None, **changes: Any) -> list[Row]:
        keys = [tuple(key.split()) for key in votes]
        jobs = sorted({job for _, _, job in keys})
        lake.write(
            "benchmark_jobs",
            table_of("benchmark_jobs", [post(j) | {"rubric_version": "r1", "n_criteria": 3} for j in jobs]),
            {"cohort": COHORT},
        )
        rubric = [criterion(j, c, importance) | {"cohort": COHORT} for j in jobs for c, importance in RUBRIC]
        lake.write("rubrics", table_of("rubrics", rubric), {"cohort": COHORT})
        for cell in sorted({(m, r) for m, r, _ in keys}):
            of = {"cohort": COHORT, "model": cell[0], "round": cell[1]}
            mine = [k for k in keys if k[:2] == cell]
            given = [attempt(*k) | {"n_deliverables": int(bool(votes[" ".join(k)]))} for k in mine]
            lake.write("attempts", table_of("attempts", given), of)
            rows = [
                _verdict(k, vote, number, (roles or {}).get(vote[1]), changes)
                for k in mine
                for number, vote in enumerate(votes[" ".join(k)])
            ]
            lake.write("verdicts", table_of("verdicts", rows), of)
        for model in sorted({m for m, _, _ in keys}):
            make(lake, benchmark, "attempt_outcomes", {"cohort": COHORT, "model": model})
            make(lake, benchmark, "grades", {"cohort": COHORT, "model": model})
        found: list[Row] = lake.read("grades").to_pylist()
        return found

    return world


def _verdict(key: tuple[str, ...], vote: Any, number: int, role: str | None, changes: Mapping[str, Any]) -> Row:
    model, round_, job_id = key
    row = verdict(" ".join(key), model, round_, job_id, vote, number, **changes)
    return row | ({"grader_role": role} if role else {})


def all_three(grader: str, *answers: bool | None) -> list[tuple[str, str, bool | None]]:
    return [(c, grader, answer) for (c, _), answer in zip(RUBRIC, answers, strict=True)]


def made(lake: Lake, registry: Registry, table: str) -> list[Row]:
    rows = getattr(agreement, table)(lake, registry, {})
    lake.write(table, rows, {})
    found: list[Row] = lake.read(table).to_pylist()
    return found


def overall(rows: Sequence[Row], level: str = "criterion") -> Row:
    return next(r for r in rows if (r["scope"], r["level"]) == ("overall", level))


# ---- grades


def test_what_a_single_grader_says_of_an_attempt(build: Callable[..., list[Row]]) -> None:
    rows = build(
        {
            "M agent_alone whole": all_three("ann", True, True, True),
            "M agent_alone optional": all_three("ann", True, True, False),
            "M agent_alone unsure": all_three("ann", True, True, None),
            "M agent_alone failed": all_three("ann", False, None, True),
            "M agent_alone half": all_three("ann", False, True, True)[:2],
        }
    )
    assert {r["job_id"]: (r["all_criteria"], r["required_criteria"], r["n_answered"]) for r in rows} == {
        "whole": (True, True, 3),
        "optional": (False, True, 3),
        "unsure": (None, True, 3),
        "failed": (False, False, 3),
        "half": (None, None, 2),
    }
    assert all(r["passes"] is None and r["settled_all"] is None and r["n_graders"] == 1 for r in rows)


def test_what_is_settled_is_the_adjudicators_word_else_what_two_agree_on(build: Callable[..., list[Row]]) -> None:
    two = [*all_three("ann", True, False, True), *all_three("bob", True, True, None)]
    rows = build(
        {
            "M agent_alone open": two,
            "M agent_alone decided": [*two, ("c2", "judge", True), ("c3", "judge", True)],
            "M agent_alone overruled": [*two, *all_three("judge", False, True, True)],
        }
    )
    settled = {r["job_id"]: (r["settled_passes"], r["settled_fails"], r["settled_all"]) for r in rows}
    assert settled == {
        "open": (["c1"], [], None),  # on c3 only one of the two could judge
        "decided": (["c1", "c2", "c3"], [], True),
        "overruled": (["c2", "c3"], ["c1"], False),
    }
    assert {r["grader"] for r in rows} == {"ann", "bob"}


def test_one_person_is_one_voice_however_the_pseudonym_is_spelt(build: Callable[..., list[Row]]) -> None:
    rows = build({"M agent_alone j": [*all_three("Ann", True, True, True), *all_three("ann", False, True, True)]})
    assert [(r["grader"], r["n_graders"], r["all_criteria"]) for r in rows] == [("ann", 1, False)]


def test_stale_verdicts_and_superseded_ones_are_nobodys_word(build: Callable[..., list[Row]]) -> None:
    assert build({"M agent_alone j": all_three("ann", True, True, True)}, is_current=False) == []
    assert build({"M agent_alone j": all_three("ann", True, True, True)}, rubric_version="r0") == []


# ---- grader_agreement


def test_agreement_is_counted_by_everything_and_at_both_levels(
    build: Callable[..., list[Row]], lake: Lake, registry: Registry
) -> None:
    build(
        {
            "M agent_alone j1": [*all_three("ann", True, True, True), *all_three("bob", True, True, False)],
            "M agent_alone j2": [*all_three("ann", False, True, None), *all_three("cy", False, True, True)],
            "N agent_alone j1": all_three("ann", True, True, True),
        }
    )
    rows = made(lake, registry, "grader_agreement")
    whole = overall(rows)
    assert (whole["n_packets"], whole["n_double"], whole["n_graders"], whole["n_jobs"]) == (3, 2, 3, 2)
    assert (whole["n_units"], whole["n_pairs"], whole["n_split"]) == (5, 5, 1)
    assert (whole["raw_agreement"], whole["prevalence"]) == (0.8, 0.7)
    completion = overall(rows, "completion")
    assert (completion["n_units"], completion["raw_agreement"], completion["n_split"]) == (2, 0.5, 1)
    told = {(r["scope"], r["scope_value"]): r["n_units"] for r in rows if r["level"] == "criterion"}
    assert told == {
        ("overall", "all"): 5,
        ("category", "Writing"): 5,
        ("model", "M"): 5,
        ("round", "agent_alone"): 5,
        ("cohort", COHORT): 5,
        ("importance", "critical"): 2,
        ("importance", "important"): 2,
        ("importance", "optional"): 1,
        ("pair", "ann & bob"): 3,
        ("pair", "ann & cy"): 2,
    }  # nothing of N, which nobody graded twice


@pytest.mark.parametrize("table", ["grader_agreement", "grader_profiles", "corrected_rates"])
def test_nobody_has_graded_anything(lake: Lake, registry: Registry, table: str) -> None:
    assert made(lake, registry, table) == []


def test_nothing_graded_twice_is_no_agreement_and_no_correction(
    build: Callable[..., list[Row]], lake: Lake, registry: Registry
) -> None:
    build({f"M agent_alone j{n}": all_three("ann", True, True, n % 2 == 0) for n in range(12)})
    assert made(lake, registry, "grader_agreement") == []
    (profile,) = made(lake, registry, "grader_profiles")
    assert (profile["n_packets"], profile["n_settled"], profile["agreement"], profile["leniency"]) == (
        12,
        0,
        None,
        None,
    )
    rate = made(lake, registry, "corrected_rates")[0]
    assert (rate["rate_apparent"], rate["rate_corrected"]) == (0.5, None)
    assert rate["correction_missing"] == "too_few_double_grades"


# ---- grader_profiles


def test_a_grader_is_held_against_what_was_settled(
    build: Callable[..., list[Row]], lake: Lake, registry: Registry
) -> None:
    build(
        {
            "M agent_alone j1": [
                *all_three("ann", True, True, True),
                *all_three("bob", True, False, False),
                *all_three("judge", True, True, False),
            ],
            "M agent_alone j2": [*all_three("ann", False, True, True), *all_three("bob", False, True, False)],
        }
    )
    ann, bob = made(lake, registry, "grader_profiles")
    counts = ("n_settled", "n_open", "n_as_settled", "n_true_passes", "n_false_fails", "n_true_fails", "n_false_passes")
    assert [ann[c] for c in counts] == [5, 1, 4, 3, 0, 2, 1]
    assert [bob[c] for c in counts] == [5, 1, 4, 3, 1, 2, 0]
    assert (ann["sensitivity"], ann["specificity"], bob["sensitivity"]) == (1.0, 0.5, pytest.approx(2 / 3))
    assert (ann["pass_share"], ann["others_pass_share"]) == (pytest.approx(5 / 6), pytest.approx(2 / 6))
    assert ann["leniency"] == pytest.approx(0.5)
    assert bob["leniency"] == -ann["leniency"]
    assert (ann["minutes_median"], ann["n_packets_timed"]) == (5.0, 2)


# ---- a simulated world


def world_of(seed: int, n_jobs: int, errors: Mapping[str, tuple[float, float]], double: float = 0.5) -> Votes:
    """Jobs of two models; each grader fails what is good and passes what is bad with probabilities of their own; where
    two of them disagree, an adjudicator who is always right decides."""
    rng = np.random.default_rng(seed)
    names = sorted(errors)
    votes: dict[str, list[tuple[str, str, bool | None]]] = {}
    for model, skill in (("M", 0.9), ("N", 0.7)):
        for n in range(n_jobs):
            truth = rng.random(3) < skill
            who = rng.permutation(names)[: 2 if rng.random() < double else 1]
            said = {g: np.where(rng.random(3) < np.where(truth, *errors[g]), ~truth, truth) for g in who}
            rows = [vote for g in who for vote in all_three(g, *map(bool, said[g]))]
            if len(who) == 2 and (said[who[0]] != said[who[1]]).any():
                rows += all_three("judge", *map(bool, truth))
            votes[f"{model} agent_alone j{n}"] = rows
    return votes


def test_leniency_finds_the_lenient_and_the_strict_grader(
    build: Callable[..., list[Row]], lake: Lake, registry: Registry
) -> None:
    build(world_of(3, 150, {"a": (0.05, 0.05), "b": (0.05, 0.05), "kind": (0.0, 0.5), "stern": (0.25, 0.0)}))
    found = {r["grader"]: r for r in made(lake, registry, "grader_profiles")}
    assert found["kind"]["leniency_lo"] > 0 > found["stern"]["leniency_hi"]
    assert found["kind"]["specificity"] < 0.75 < 0.9 < found["kind"]["sensitivity"]
    assert found["stern"]["sensitivity"] < 0.9 < found["stern"]["specificity"]
    assert found["a"]["leniency_lo"] < found["a"]["leniency"] < found["a"]["leniency_hi"]


def test_the_corrected_rate_is_nearer_to_the_truth_than_the_apparent_one(
    build: Callable[..., list[Row]], lake: Lake, registry: Registry
) -> None:
    truth = {"M": 0.9**3, "N": 0.7**3}
    build(world_of(8, 400, {"a": (0.08, 0.04), "b": (0.08, 0.04), "c": (0.08, 0.04)}))
    for row in (r for r in made(lake, registry, "corrected_rates") if r["rule"] == "all_criteria"):
        assert row["correction_missing"] is None
        assert row["n_graded"] == 400
        away = abs(row["rate_apparent"] - truth[row["model"]])
        assert abs(row["rate_corrected"] - truth[row["model"]]) < away / 2
        assert row["corrected_lo"] <= truth[row["model"]] <= row["corrected_hi"]


def test_attempts_without_files_are_incomplete_for_certain_and_no_graders_mistake(
    build: Callable[..., list[Row]], lake: Lake, registry: Registry
) -> None:
    votes = dict(world_of(8, 100, {"a": (0.0, 0.0), "b": (0.0, 0.0)}))
    build(votes)
    before = {r["model"]: r for r in made(lake, registry, "corrected_rates") if r["rule"] == "all_criteria"}
    build(votes | {f"M agent_alone none{n}": [] for n in range(100)})
    after = {r["model"]: r for r in made(lake, registry, "corrected_rates") if r["rule"] == "all_criteria"}
    assert (after["M"]["n_no_files"], after["M"]["n_graded"]) == (100, 100)
    for column in ("rate_apparent", "rate_corrected", "corrected_lo", "corrected_hi"):
        assert after["M"][column] == pytest.approx(before["M"][column] / 2)
    assert after["N"] == before["N"]


def test_while_disagreements_are_open_nothing_is_corrected(
    build: Callable[..., list[Row]], lake: Lake, registry: Registry
) -> None:
    votes = world_of(8, 100, {"a": (0.1, 0.1), "b": (0.1, 0.1)})
    build({key: [v for v in rows if v[1] != "judge"] for key, rows in votes.items()})
    row = next(r for r in made(lake, registry, "corrected_rates") if r["rule"] == "all_criteria")
    assert (row["correction_missing"], row["rate_corrected"]) == ("adjudication_open", None)
    assert row["n_open"] > 0


def test_graders_who_toss_coins_cannot_be_corrected(
    build: Callable[..., list[Row]], lake: Lake, registry: Registry
) -> None:
    rng = np.random.default_rng(1)
    votes = world_of(8, 60, {"a": (0.0, 0.0), "b": (0.0, 0.0)})
    contrary = {
        key: [(c, g, v if g == "judge" else not v) for c, g, v in rows]
        + all_three("judge", *map(bool, rng.random(3) < 0.8))
        for key, rows in votes.items()
    }
    build(contrary)
    row = next(r for r in made(lake, registry, "corrected_rates") if r["rule"] == "all_criteria")
    assert (row["correction_missing"], row["rate_corrected"]) == ("no_better_than_chance", None)


def test_the_same_verdicts_in_any_order_give_the_same_tables(
    build: Callable[..., list[Row]], lake: Lake, registry: Registry
) -> None:
    votes = dict(world_of(4, 40, {"a": (0.1, 0.1), "b": (0.1, 0.2), "c": (0.0, 0.1)}))
    build(votes)
    first = {t: made(lake, registry, t) for t in ("grader_agreement", "grader_profiles", "corrected_rates")}
    build(dict(reversed([(key, rows[::-1]) for key, rows in votes.items()])))
    assert first == {t: made(lake, registry, t) for t in first}


def test_the_figures_of_a_month_in_the_ui_are_those_of_the_table(
    build: Callable[..., list[Row]], lake: Lake, registry: Registry
) -> None:
    from hapi_pipeline.assets.shown import figures

    build(world_of(4, 60, {"a": (0.1, 0.1), "b": (0.1, 0.2), "c": (0.0, 0.1)}))
    rows = made(lake, registry, "grader_agreement")
    of_model = next(r for r in rows if (r["level"], r["scope_value"]) == ("criterion", "M"))
    shown = figures(lake, "grades", [{"cohort": COHORT, "model": "M"}])[0]
    assert shown["agreement_alpha"] == pytest.approx(of_model["alpha"], abs=1e-4)
    assert shown["agreement_raw"] == pytest.approx(of_model["raw_agreement"], abs=1e-4)
    assert shown["n_units_doubly_graded"] == of_model["n_units"]
    whole = overall(rows)
    assert figures(lake, "grader_agreement", [{}])[0]["alpha_criterion"] == pytest.approx(whole["alpha"], abs=1e-4)
