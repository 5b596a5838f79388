"""What goes out to people: the workbook of a sample, and the findings as a table for the terminal or the UI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hapi_pipeline.audit.estimates import ALL, Finding, findings, months
from hapi_pipeline.audit.intervals import Estimate
from hapi_pipeline.audit.sample import draw
from hapi_pipeline.audit.workbook import workbook_bytes
from hapi_pipeline.lake import Lake, write_bytes
from hapi_pipeline.registry import Benchmark
from hapi_pipeline.settings import UserError
from hapi_pipeline.show import table

HEADER = ("rule", "jobs", "audited", "agreed", "precision", "missed", "recall", "disagreed")


def lines(found: Sequence[Finding], audited: int = 1) -> list[list[str]]:
    """The cells of the table, a row a finding. An estimate from fewer than all audited months says from how many."""
    return [
        [
            f"{f.rule} (kept)" if f.rule == ALL else f.rule,
            f"{f.n_population:,}",
            f"{f.n_audited:,}",
            f"{f.n_agreed:,}",
            _estimate(f.precision, f.months_precision, audited),
            f"{f.n_missed:,}",
            _estimate(f.recall, f.months_recall, audited),
            f"{f.n_disagreed:,}",
        ]
        for f in found
    ]


def _estimate(estimate: Estimate, used: int, audited: int) -> str:
    if estimate.value is None or estimate.lo is None or estimate.hi is None:
        return "–"
    part = "" if used == audited else f", {used} of {audited} months"
    return f"{estimate.value:.3f} ({estimate.lo:.3f} to {estimate.hi:.3f}{part})"


def markdown(found: Sequence[Finding]) -> str:
    """The findings of one month as a Markdown table."""
    rows = [list(HEADER), ["---", *["---:"] * (len(HEADER) - 1)], *lines(found)]
    simulated = ["Simulated posts.", ""] if any(f.simulated for f in found) else []
    return "\n".join([*simulated, *(f"| {' | '.join(row)} |" for row in rows)])


def shown(lake: Lake, cohorts: Sequence[str]) -> str:
    """The findings over all of these months that have been audited, and which ones these are."""
    by_month = months(lake, {})
    audited = [c for c in cohorts if any(cell.n_sampled for cell in by_month.get(c, {}).values())]
    if not audited:
        return "No curator has judged jobs of these months yet; `hapi audit --out FILE.xlsx` makes a workbook for one."
    found = findings([by_month[c] for c in audited])
    simulated = "Simulated posts. " if any(f.simulated for f in found) else ""
    span = audited[0] if len(audited) == 1 else f"{len(audited)} months from {audited[0]} to {audited[-1]}"
    return (
        f"{table(HEADER, lines(found, len(audited)))}\n\n"
        f"{simulated}Audited: {span}, under the decisions as they stand now; 95 % intervals; – is not known.\n"
        "precision  of the jobs that the rule turned away, a person would too (kept: would keep)\n"
        "recall     of the jobs reaching the rule that a person would turn away by it, it did (kept: of those that a\n"
        "           person would keep, kept), each rule and month weighted by its jobs"
    )


def hand_out(
    lake: Lake, out: Path, cohorts: Sequence[str], benchmark: Benchmark, per_stratum: int | None = None
) -> str:
    """Draw the sample and write the workbook; says what was done. A file that is there is never replaced."""
    if out.suffix.lower() != ".xlsx":
        raise UserError(f"{out.name} must end in .xlsx, for it is a workbook.")
    if out.exists():
        raise UserError(f"{out} is there already and may hold answers; name another file.")
    plan = benchmark.audit if per_stratum is None else replace(benchmark.audit, per_stratum=per_stratum)
    jobs = draw(lake, cohorts, plan)
    if not jobs:
        raise UserError(f"There are no jobs in {' and '.join(cohorts[:2])}; name a month with jobs.")
    meta = {"seed": plan.seed, "per_stratum": str(plan.per_stratum), "kept_times": str(plan.kept_times)}
    data = workbook_bytes(jobs, benchmark.rules, meta | {"months": ", ".join(cohorts)})
    write_bytes(out, data)
    span = cohorts[0] if len(cohorts) == 1 else f"{cohorts[0]} to {cohorts[-1]}"
    return (
        f"{len(jobs):,} jobs of {span} to judge in {out}. It shows posts as they came, personal data included: give it "
        "to your own curators only. `hapi import audits FILE…` takes the filled workbooks back."
    )
