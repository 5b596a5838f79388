"""What the curators' answers say about the rules: counts by decision, precision and recall of each rule.

Judged jobs are counted under the decision that stands now, whatever it was when the sample was drawn
(post-stratification). Definitions, caveats and coverage: docs/curation_audit.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hapi_pipeline.audit.intervals import Estimate, Stratum, caught_of, share_of
from hapi_pipeline.audit.reasons import AUDITED, KEPT
from hapi_pipeline.lake import Lake
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

ALL = "all"
"""`rule` of the row about the chain as a whole."""
METHOD_VERSION = "1"
"""Changes when the same answers would give other estimates."""
INPUTS = ("audit_exports", "curated_jobs", "job_posts", "rejected_jobs")

_CELLS = """
WITH newest AS (
    SELECT job_id, keep, reason, simulated FROM audit_exports
    QUALIFY row_number() OVER (
        PARTITION BY job_id, lower(curator)
        ORDER BY coalesce(judged_at, imported_at) DESC, imported_at DESC, source_sha256, source_row DESC
    ) = 1
),
answers AS (  -- who cannot judge has no say; of the others all must agree
    SELECT job_id,
        CASE WHEN bool_and(keep) = bool_or(keep) THEN bool_and(keep) END AS keep,
        coalesce(bool_and(keep) <> bool_or(keep), false) AS disagreed,
        CASE WHEN count(DISTINCT reason) = 1 THEN any_value(reason) END AS reason,
        bool_or(simulated) AS simulated
    FROM newest GROUP BY job_id
),
decisions AS (
    SELECT cohort, job_id, $kept AS decision FROM curated_jobs
    UNION ALL SELECT cohort, job_id, rule FROM rejected_jobs WHERE list_contains($rules, rule)
)
SELECT d.cohort, d.decision,
    count(*) AS n_population,
    count(a.job_id) AS n_sampled,
    count(a.keep) AS n_audited,
    count(*) FILTER (a.keep) AS n_keep,
    count(*) FILTER (a.disagreed) AS n_disagreed,
    histogram(a.reason) FILTER (NOT a.keep AND a.reason IS NOT NULL) AS reasons,
    coalesce(bool_or(a.simulated), false) AS simulated
FROM decisions d LEFT JOIN answers a USING (job_id)
GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True)
class Cell:
    """The jobs of one month with one decision: a rule that turned them away, or `kept`."""

    n_population: int = 0
    n_sampled: int = 0
    n_audited: int = 0
    n_keep: int = 0
    n_disagreed: int = 0
    reasons: Mapping[str, int] | None = None  # of the jobs that a person would turn away
    simulated: bool = False  # whether any of those that came back is

    @property
    def n_reject(self) -> int:
        """Judged jobs that a person would turn away."""
        return self.n_audited - self.n_keep

    def n_for(self, rule: str) -> int:
        """Those of them that the person would turn away by this rule."""
        return (self.reasons or {}).get(rule, 0)

    def kept(self) -> Stratum:
        """What counts is that a person would keep the job."""
        return Stratum(self.n_population, self.n_audited, self.n_keep)

    def rejected(self) -> Stratum:
        """What counts is that a person would turn the job away."""
        return Stratum(self.n_population, self.n_audited, self.n_reject)

    def rejected_for(self, rule: str) -> Stratum:
        """What counts is that a person would turn the job away by this rule.

        Rejections without a reason are taken to have the reasons of the others of the cell; where there are no others,
        the cell is as good as not judged.
        """
        stated = sum((self.reasons or {}).values())
        if self.n_reject and not stated:
            return Stratum(self.n_population, 0, 0)
        positive = self.n_reject * self.n_for(rule) / stated if stated else 0
        return Stratum(self.n_population, self.n_audited, positive)


Month = Mapping[str, Cell]
"""The cells of one month by decision."""


def months(lake: Lake, scope: Mapping[str, str]) -> dict[str, dict[str, Cell]]:
    """The cells of every curated month of the scope ({} for all): {cohort: {decision: Cell}}."""
    from hapi_pipeline.engine import connect, open_tables

    with connect() as connection:
        open_tables(connection, lake, {"curated_jobs": scope, "rejected_jobs": scope, "audit_exports": {}})
        rows = connection.execute(_CELLS, {"kept": KEPT, "rules": list(AUDITED)}).fetchall()
    found: dict[str, dict[str, Cell]] = {}
    for cohort, decision, population, sampled, audited, keep, disagreed, reasons, simulated in rows:
        cell = Cell(population, sampled, audited, keep, disagreed, dict(reasons or {}), simulated)
        found.setdefault(cohort, {})[decision] = cell
    return found


@dataclass(frozen=True)
class Finding:
    """What is known of one rule, or of the whole chain (`all`), over one month or several."""

    rule: str
    n_population: int
    n_sampled: int
    n_audited: int
    n_agreed: int
    n_missed: int
    n_disagreed: int
    precision: Estimate
    recall: Estimate
    months_precision: int  # months that went into the estimates
    months_recall: int
    simulated: bool


def findings(cells: Sequence[Month]) -> list[Finding]:
    """A finding for each audited rule in the order of the chain, and one for all of them together.

    Over several months an estimate rests on those months alone in which it can be made; they are counted.
    """
    return [*(_of_rule(rule, cells) for rule in AUDITED), _of_all(cells)]


def _of_rule(rule: str, cells: Sequence[Month]) -> Finding:
    reaching = (*AUDITED[AUDITED.index(rule) + 1 :], KEPT)
    judged = [month for month in cells if _cell(month, rule).n_audited]
    complete = [
        month for month in cells if all(_known(_cell(month, name).rejected_for(rule)) for name in (rule, *reaching))
    ]
    mine = [_cell(month, rule) for month in cells]
    return Finding(
        rule=rule,
        n_agreed=sum(cell.n_reject for cell in mine),
        n_missed=sum(_cell(month, name).n_for(rule) for month in cells for name in reaching),
        precision=share_of([_cell(month, rule).rejected() for month in judged]),
        recall=caught_of(
            [_cell(month, rule).rejected_for(rule) for month in complete],
            [[_cell(month, name).rejected_for(rule) for month in complete] for name in reaching],
        ),
        months_precision=len(judged),
        months_recall=len(complete),
        simulated=any(cell.simulated for month in cells for cell in month.values()),
        **_sizes(mine),
    )


def _of_all(cells: Sequence[Month]) -> Finding:
    judged = [month for month in cells if _cell(month, KEPT).n_audited]
    complete = [month for month in cells if all(_known(_cell(month, name).kept()) for name in (*AUDITED, KEPT))]
    mine = [_cell(month, KEPT) for month in cells]
    return Finding(
        rule=ALL,
        n_agreed=sum(cell.n_keep for cell in mine),
        n_missed=sum(_cell(month, name).n_keep for month in cells for name in AUDITED),
        precision=share_of([_cell(month, KEPT).kept() for month in judged]),
        recall=caught_of(
            [_cell(month, KEPT).kept() for month in complete],
            [[_cell(month, name).kept() for month in complete] for name in AUDITED],
        ),
        months_precision=len(judged),
        months_recall=len(complete),
        simulated=any(cell.simulated for month in cells for cell in month.values()),
        **_sizes(mine),
    )


def _cell(month: Month, decision: str) -> Cell:
    return month.get(decision, _EMPTY)


_EMPTY = Cell()


def _known(stratum: Stratum) -> bool:
    return bool(stratum.judged or not stratum.population)


def _sizes(cells: Sequence[Cell]) -> dict[str, int]:
    return {
        name: sum(getattr(cell, name) for cell in cells)
        for name in ("n_population", "n_sampled", "n_audited", "n_disagreed")
    }


def curation_audit(lake: Lake, scope: Mapping[str, str], rule_version: str) -> pa.Table:
    """The rows of `curation_audit` for one month."""
    import pyarrow as pa

    from hapi_pipeline.engine import connect, open_tables

    with connect() as connection:
        open_tables(connection, lake, {"job_posts": scope})
        ((simulated,),) = connection.execute("SELECT coalesce(bool_or(simulated), false) FROM job_posts").fetchall()
    cells = months(lake, scope).get(scope["cohort"], {})
    rows = [
        {"cohort": scope["cohort"], "position": position, "rule_version": rule_version, "simulated": simulated}
        | row_of(finding)
        for position, finding in enumerate(findings([cells]), 1)
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["curation_audit"].schema())


def row_of(finding: Finding) -> dict[str, Any]:
    """The numbers of a finding under the names of the table's columns."""
    row: dict[str, Any] = {
        name: getattr(finding, name)
        for name in ("rule", "n_population", "n_sampled", "n_audited", "n_agreed", "n_missed", "n_disagreed")
    }
    for name, estimate in (("precision", finding.precision), ("recall", finding.recall)):
        row |= {name: estimate.value, f"{name}_lo": estimate.lo, f"{name}_hi": estimate.hi}
    return row
