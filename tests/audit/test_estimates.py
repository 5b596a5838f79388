"""Counts, precision and recall from the answers in the ledger."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline.audit.estimates import ALL, Finding, curation_audit, findings, months
from hapi_pipeline.audit.reasons import AUDITED, KEPT, OTHER
from hapi_pipeline.audit.report import lines, markdown, shown
from hapi_pipeline.lake import Lake
from tests.audit.conftest import MARCH, crowd, curate
from tests.scenario import NOON, table_of, take_in

FIXED, PII = "fixed_price_jobs", "pii_free_jobs"
KEEP, REJECT, CANNOT = True, False, None


def answer(job: str, keep: bool | None, reason: str | None = None, who: str = "ann", **changes: Any) -> dict[str, Any]:
    """A row of the ledger."""
    return {
        "cohort": MARCH,
        "job_id": job,
        "keep": keep,
        "reason": reason,
        "curator": who,
        "source_file": f"{who}.xlsx",
        "source_sha256": who * 8,
        "source_row": 0,
        "imported_at": NOON,
        "simulated": False,
    } | changes


def judged(lake: Lake, *rows: dict[str, Any]) -> None:
    take_in(lake, "audits", "audit_exports", [row | {"source_row": n} for n, row in enumerate(rows)])


def found(lake: Lake, cohort: str = MARCH) -> dict[str, Finding]:
    return {f.rule: f for f in findings([months(lake, {"cohort": cohort})[cohort]])}


def test_a_month_worked_out_by_hand(lake: Lake) -> None:
    decisions = (
        {f"f{n}": FIXED for n in range(100)} | {f"p{n}": PII for n in range(20)} | {f"k{n}": KEPT for n in range(400)}
    )
    curate(lake, decisions)
    judged(
        lake,
        *(answer(f"f{n}", REJECT, FIXED) for n in range(8)),
        *(answer(f"f{n}", KEEP) for n in (8, 9)),
        *(answer(f"p{n}", REJECT, PII) for n in range(4)),
        answer("p4", REJECT, FIXED),  # hourly too, and that came first
        *(answer(f"k{n}", KEEP) for n in range(38)),
        answer("k38", REJECT, PII),
        answer("k39", REJECT, OTHER),
        answer("k40", CANNOT),
    )
    by_rule = found(lake)
    fixed, pii, whole = by_rule[FIXED], by_rule[PII], by_rule[ALL]
    assert (fixed.n_population, fixed.n_sampled, fixed.n_audited, fixed.n_agreed, fixed.n_missed) == (100, 10, 10, 8, 1)
    assert fixed.precision.value == 0.8
    assert fixed.recall.value == pytest.approx(80 / (80 + 20 * 1 / 5))
    assert pii.precision.value == 1.0  # a person turns p4 away too, for another reason
    assert pii.recall.value == pytest.approx(16 / (16 + 400 * 1 / 40))
    assert (whole.n_population, whole.n_sampled, whole.n_audited, whole.n_agreed, whole.n_missed) == (
        400,
        41,
        40,
        38,
        2,
    )
    assert whole.precision.value == 0.95
    assert whole.recall.value == pytest.approx(380 / (380 + 100 * 2 / 10))
    nothing = by_rule["completed_jobs"]
    assert (nothing.n_population, nothing.precision.value, nothing.recall.value) == (0, None, None)


def test_what_nobody_judged_is_unknown_and_never_zero(lake: Lake) -> None:
    curate(lake, {"f1": FIXED, "k1": KEPT, "k2": KEPT})
    judged(lake, answer("k1", CANNOT))
    for row in curation_audit(lake, {"cohort": MARCH}, "7").to_pylist():
        assert [row[name] for name in row if name.startswith(("precision", "recall"))] == [None] * 6
        assert row["rule_version"] == "7"
    assert found(lake)[ALL].n_sampled == 1
    judged(lake, answer("k2", KEEP, who="bob"))
    assert found(lake)[ALL].precision.value == 1.0
    assert found(lake)[ALL].recall.value is None  # f1 may be one that a person would keep


def test_a_month_without_jobs_has_all_its_rows(lake: Lake) -> None:
    curate(lake, {})
    rows = curation_audit(lake, {"cohort": MARCH}, "1").to_pylist()
    assert [row["rule"] for row in rows] == [*AUDITED, ALL]
    assert {row["n_population"] for row in rows} == {0}


def test_a_later_answer_of_a_curator_replaces_the_earlier(lake: Lake) -> None:
    curate(lake, {"k1": KEPT, "k2": KEPT})
    later = NOON + timedelta(days=2)
    judged(lake, answer("k1", KEEP), answer("k2", REJECT, PII, judged_at=later))
    judged(
        lake,
        answer("k1", REJECT, PII, who="Ann", imported_at=later),
        answer("k2", KEEP, who="Ann", imported_at=later, judged_at=NOON),  # came later, was judged before
    )
    assert found(lake)[ALL].n_agreed == 0
    judged(lake, answer("k1", CANNOT, who="ANN", imported_at=later + timedelta(days=1)))
    assert found(lake)[ALL].n_audited == 1


def test_curators_who_contradict_each_other_are_counted_and_give_no_answer(lake: Lake) -> None:
    curate(lake, {"k1": KEPT, "k2": KEPT, "k3": KEPT})
    judged(lake, answer("k1", KEEP), answer("k2", KEEP), answer("k3", REJECT, PII))
    judged(
        lake, answer("k1", REJECT, who="bob"), answer("k2", CANNOT, who="bob"), answer("k3", REJECT, FIXED, who="bob")
    )
    whole = found(lake)[ALL]
    assert (whole.n_sampled, whole.n_audited, whole.n_agreed, whole.n_disagreed) == (3, 2, 1, 1)
    cell = months(lake, {})[MARCH][KEPT]
    assert (cell.n_reject, cell.reasons) == (1, {})  # both turn k3 away, and do not agree why


def test_jobs_count_under_the_decision_that_stands_now(lake: Lake) -> None:
    curate(lake, {"j": KEPT, "k": KEPT})
    judged(lake, answer("j", REJECT, PII), answer("k", KEEP))
    assert found(lake)[ALL].precision.value == 0.5
    curate(lake, {"j": PII, "k": KEPT})
    assert found(lake)[ALL].precision.value == 1.0
    assert found(lake)[PII].recall.value == 1.0


def test_rejections_without_a_reason_share_the_reasons_of_the_others(lake: Lake) -> None:
    curate(lake, {f"k{n}": KEPT for n in range(10)} | {"p": PII})
    judged(
        lake,
        answer("p", REJECT, PII),
        answer("k0", REJECT, PII),
        answer("k1", REJECT, OTHER),
        answer("k2", REJECT),
        answer("k3", REJECT),
        *(answer(f"k{n}", KEEP) for n in range(4, 10)),
    )
    assert found(lake)[PII].recall.value == pytest.approx(1 / (1 + 2))
    judged(
        lake, answer("k0", REJECT, imported_at=NOON + timedelta(1)), answer("k1", KEEP, imported_at=NOON + timedelta(1))
    )
    assert found(lake)[PII].recall.value is None  # nobody said why


def test_jobs_turned_away_by_later_rules_count_as_kept_by_the_audited_ones(lake: Lake) -> None:
    curate(lake, {"k1": KEPT, "k2": KEPT})
    scope = {"cohort": MARCH}
    rows = [{"cohort": MARCH, "job_id": "k1", "rule": "benchmark_jobs", "code": "no_rubric", "rule_version": "1"}]
    lake.write("rejected_jobs", table_of("rejected_jobs", rows), scope)
    judged(lake, answer("k1", KEEP))
    assert found(lake)[ALL].n_population == 2


def test_months_are_weighted_and_those_not_judged_left_out(lake: Lake) -> None:
    for cohort, size in (("2026-03", 100), ("2026-04", 300), ("2026-05", 50)):
        curate(lake, {f"{cohort} {n}": KEPT for n in range(size)}, cohort)
    judged(
        lake,
        *(answer(f"2026-03 {n}", n > 0) for n in range(10)),
        *(answer(f"2026-04 {n}", n > 4, OTHER if n <= 4 else None) for n in range(10)),
    )
    by_month = months(lake, {})
    whole = findings([by_month[c] for c in sorted(by_month)])[-1]
    assert whole.precision.value == pytest.approx((100 * 0.9 + 300 * 0.5) / 400)
    assert (whole.n_population, whole.months_precision, whole.months_recall) == (450, 2, 2)
    assert "2 of 3 months" in lines([whole], 3)[0][4]


def test_the_simulated_flag_is_that_of_the_jobs(lake: Lake) -> None:
    curate(lake, {"k": KEPT}, k={"simulated": True})
    assert {row["simulated"] for row in curation_audit(lake, {"cohort": MARCH}, "1").to_pylist()} == {True}
    judged(lake, answer("k", KEEP, simulated=True))
    assert markdown(findings([months(lake, {})[MARCH]])).startswith("Simulated posts.\n")
    assert "Simulated posts." in shown(lake, [MARCH])


def test_the_table_for_the_ui_says_counts_and_intervals(lake: Lake) -> None:
    curate(lake, {"k1": KEPT, "k2": KEPT})
    judged(lake, answer("k1", KEEP))
    last = markdown(findings([months(lake, {})[MARCH]])).splitlines()[-1]
    assert last == "| all (kept) | 2 | 1 | 1 | 1.000 (0.207 to 1.000) | 0 | 1.000 (1.000 to 1.000) | 0 |"


Votes = dict[str, dict[str, tuple[bool | None, str | None]]]


@st.composite
def votes(draw: st.DrawFn) -> Votes:
    """Who said what about which job."""
    said: Votes = defaultdict(dict)
    choice = st.sampled_from([(True, None), (None, None), *((False, r) for r in (*AUDITED, OTHER, None))])
    for job in draw(st.lists(st.sampled_from(sorted(crowd(3))), unique=True, max_size=21)):
        for who in draw(st.sets(st.sampled_from(["ann", "bob"]), min_size=1)):
            said[job][who] = draw(choice)
    return dict(said)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=votes())
def test_counts_are_those_of_a_plain_loop(tmp_path_factory: pytest.TempPathFactory, said: Votes) -> None:
    lake, decisions = Lake(tmp_path_factory.mktemp("audit")), crowd(3)
    curate(lake, decisions)
    if said:
        judged(lake, *(answer(job, k, r, who) for job, by in said.items() for who, (k, r) in by.items()))
    expected: dict[str, Counter[str]] = {d: Counter() for d in (*AUDITED, KEPT)}
    for job, decision in decisions.items():
        count, cast = expected[decision], [v for v in said.get(job, {}).values() if v[0] is not None]
        count["population"] += 1
        count["sampled"] += job in said
        if cast and len({keep for keep, _ in cast}) == 1:
            count["audited"] += 1
            count["keep"] += cast[0][0] is True
            reasons = {reason for _, reason in cast if reason}
            if cast[0][0] is False and len(reasons) == 1:
                count[reasons.pop()] += 1
        else:
            count["disagreed"] += bool(cast)
    cells = months(lake, {})[MARCH]
    for decision, count in expected.items():
        cell = cells[decision]
        names = ("population", "sampled", "audited", "keep", "disagreed")
        assert [getattr(cell, f"n_{name}") for name in names] == [count[name] for name in names]
        assert {r: cell.n_for(r) for r in (*AUDITED, OTHER)} == {r: count[r] for r in (*AUDITED, OTHER)}
