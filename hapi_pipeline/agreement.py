"""The tables on graders: how far they agree, what each is like, and rates corrected for their mistakes.

All of them are made from `grades`, which holds a row an attempt and grader; verdicts themselves are not read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hapi_pipeline.engine import summed
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Registry
from hapi_pipeline.stats import agreement as figures
from hapi_pipeline.stats.agreement import Estimate
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

DRAWS = 2000
SEED = 2026
LEVELS = ("criterion", "completion")
RULES = {"all_criteria": "settled_all", "required_criteria": "settled_required"}
MIN_TRUE = 10
"""Doubly graded, settled attempts of each kind (complete, incomplete) without which no rate is corrected."""
MOST_OPEN = 0.05
"""If a larger share of the doubly graded attempts is not settled, rates are not corrected: open ones are where graders
disagreed, and leaving them out would make graders look better than they are."""

# attempts that several judged, numbered in the order of their ids
_DOUBLES = """
WITH doubles AS (
    SELECT attempt_id, row_number() OVER (ORDER BY attempt_id) AS attempt
    FROM (SELECT DISTINCT attempt_id FROM grades WHERE n_graders > 1)
)
"""
# the others, with a row each, only need a number of their own
_PACKETS = f"""
{_DOUBLES}
SELECT coalesce(d.attempt, -row_number() OVER ()) AS attempt, g.cohort, g.model, g.round, g.job_id,
    coalesce(g.category, 'unknown') AS category, g.grader, g.n_graders, g.minutes, g.simulated
FROM grades g LEFT JOIN doubles d USING (attempt_id)
"""  # noqa: S608
# what each grader said of each unit: 1 passed, 0 failed, who could not judge is left out; settled: -1 where unknown.
# What is known of the attempt is left to _PACKETS: here it would stand in many rows
_CRITERIA = f"""
{_DOUBLES}, lists AS (
    SELECT d.attempt, g.job_id, g.grader, g.grader_role, g.passes, g.fails, g.settled_passes, g.settled_fails
    FROM grades g JOIN doubles d USING (attempt_id)
),
said AS (
    SELECT *, unnest(passes) AS criterion_id, 1 AS said FROM lists
    UNION ALL
    SELECT *, unnest(fails) AS criterion_id, 0 AS said FROM lists
),
told AS (
    SELECT attempt, job_id, grader, grader_role = 'second' AS is_second, criterion_id, said,
        CASE WHEN list_contains(settled_passes, criterion_id) THEN 1
             WHEN list_contains(settled_fails, criterion_id) THEN 0 ELSE -1 END AS settled
    FROM said
)
SELECT t.attempt, t.criterion_id, r.importance, t.grader, t.said, t.settled
FROM told t
JOIN rubrics r ON r.job_id = t.job_id AND r.criterion_id = t.criterion_id
ORDER BY t.attempt, t.criterion_id, t.is_second, t.grader
"""  # noqa: S608
_COMPLETIONS = f"""
{_DOUBLES}
SELECT d.attempt, NULL::VARCHAR AS criterion_id, NULL::VARCHAR AS importance, g.grader, g.all_criteria::INT AS said
FROM grades g JOIN doubles d USING (attempt_id)
WHERE g.all_criteria IS NOT NULL
ORDER BY d.attempt, g.grader_role = 'second', g.grader
"""  # noqa: S608


_OF_ATTEMPT = ("cohort", "model", "round", "job_id", "category")
_INPUTS = ["grades", "rubrics", "attempt_outcomes"]


def _frames(lake: Lake, *queries: str, tables: Sequence[str] = _INPUTS) -> list[pd.DataFrame]:
    def ask(connection: duckdb.DuckDBPyConnection) -> list[pd.DataFrame]:
        # few distinct texts in many rows: as categories they take a tenth of the memory
        return [connection.sql(sql).to_arrow_table().to_pandas(strings_to_categorical=True) for sql in queries]

    return summed({name: lake.files(name) for name in tables}, ask)


def _with_attempts(said: pd.DataFrame, packets: pd.DataFrame) -> pd.DataFrame:
    """What was said, with what is known of its attempt, and numbers of units: an attempt, or a criterion of one."""
    import numpy as np

    known = packets[packets["attempt"] > 0].drop_duplicates("attempt").sort_values("attempt")  # 1, 2, …
    place = said["attempt"].to_numpy() - 1
    facts = {name: _as_met(known[name].array.take(place)) for name in _OF_ATTEMPT}
    begins = np.zeros(len(said), bool)
    for part in (said["attempt"].to_numpy(), said["criterion_id"].cat.codes.to_numpy()):
        begins |= np.diff(part, prepend=-2) != 0
    return said.drop(columns="criterion_id").assign(unit=np.cumsum(begins), **facts)


def _as_met(texts: pd.Categorical) -> pd.Categorical:
    """The categories in the order in which they are met, so that sums over them have one order."""
    import pandas as pd

    return texts.set_categories(texts.categories[pd.unique(texts.codes)])


def _table(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist([dict(row) for row in rows], schema=TABLES[name].schema())


def _ends(name: str, estimate: Estimate, of: str | None = None) -> dict[str, float | None]:
    return {of or name: estimate.value, f"{name}_lo": estimate.lo, f"{name}_hi": estimate.hi}


# ---- grader_agreement


@dataclass(frozen=True)
class _Level:
    """What is told at one level, and the weights by which jobs are resampled."""

    name: str
    weights: Any
    jobs: pd.Index  # in the order of the columns of the weights


def grader_agreement(lake: Lake, registry: Registry, scope: Mapping[str, str]) -> pa.Table:
    """The table `grader_agreement`."""
    from hapi_pipeline.stats.bootstrap import job_weights

    packets, *both = _frames(lake, _PACKETS, _CRITERIA, _COMPLETIONS)
    criteria, completions = (_with_attempts(said, packets) for said in both)
    doubles = packets[packets["n_graders"] > 1]
    jobs = _index(doubles)
    weights = job_weights(len(jobs), DRAWS, SEED)
    rows = []
    for name, said in zip(LEVELS, (criteria, completions), strict=True):
        level = _Level(name, weights, jobs)
        rows += [_agreement_row(level, *one) for one in _scopes(packets, said)]
        # what two graders have in common is too little to resample, and there may be thousands of pairs
        rows += [_agreement_row(_Level(name, None, jobs), *one) for one in _pairs(doubles, said)]
    return _table("grader_agreement", [row for row in rows if row["n_double"]])


def _index(rows: pd.DataFrame) -> pd.Index:
    """The jobs, in order."""
    import pandas as pd

    return pd.Index(sorted(rows["job_id"].astype(str).unique()))


Scope = tuple[str, str, "pd.DataFrame", "pd.DataFrame"]
"""What agreement is told of: kind and value, packets, and what was said, in the order of units."""


def _scopes(packets: pd.DataFrame, said: pd.DataFrame) -> Iterator[Scope]:
    yield "overall", "all", packets, said
    for key in ("category", "model", "round", "cohort"):
        words = dict(list(said.groupby(key, observed=True)))
        for value, mine in packets.groupby(key, observed=True):
            yield key, str(value), mine, words.get(value, said[:0])
    for value, words_on in said.groupby("importance", observed=True):
        yield "importance", str(value), packets[packets["attempt"].isin(words_on["attempt"])], words_on


def _pairs(doubles: pd.DataFrame, said: pd.DataFrame) -> Iterator[Scope]:
    """Each two graders who judged the same packets."""
    who = doubles[["attempt", "grader"]].astype({"grader": str})
    both = who.merge(who, on="attempt", suffixes=("", "_2"))
    both = both[both["grader"] < both["grader_2"]]
    both = both.assign(pair=both["grader"] + " & " + both["grader_2"])
    long = both.melt(["attempt", "pair"], ["grader", "grader_2"], value_name="of")
    long = long.rename(columns={"of": "grader"})[["attempt", "pair", "grader"]]
    # merging keeps the order of the left side, which is that of units
    words = dict(
        list(said.astype({"grader": str}).merge(long, on=["attempt", "grader"]).groupby("pair", observed=True))
    )
    for pair, mine in (
        doubles.astype({"grader": str}).merge(long, on=["attempt", "grader"]).groupby("pair", observed=True)
    ):
        yield "pair", str(pair), mine, words.get(pair, said[:0])


def _agreement_row(level: _Level, scope: str, value: str, packets: pd.DataFrame, said: pd.DataFrame) -> dict[str, Any]:
    import numpy as np

    doubles = packets[packets["n_graders"] > 1]
    unit, values = said["unit"].to_numpy(np.int64), said["said"].to_numpy(np.int64)
    begins = np.diff(unit, prepend=-1) != 0
    units = np.cumsum(begins) - 1  # 0, 1, … for the units of this scope
    n_units = int(begins.sum())
    jobs = level.jobs.get_indexer(said["job_id"][begins].astype(str))
    found = figures.agreement(figures.counts_of(units, values, n_units, 2), jobs, level.weights)
    kappa = figures.cohens_kappa(*_first_two(units, values, n_units), jobs, level.weights)
    return {
        "scope": scope,
        "scope_value": value,
        "level": level.name,
        # how many packets have criteria of some importance is known only of those whose criteria were looked at
        "n_packets": None if scope == "importance" else int(packets["attempt"].nunique()),
        "n_double": int(doubles["attempt"].nunique()),
        "n_graders": int(doubles["grader"].nunique()),
        "n_jobs": found.n_jobs,
        "n_units": found.n_units,
        "n_pairs": found.n_pairs,
        "n_split": found.n_split,
        "prevalence": found.prevalence.get(1),
        **_ends("raw", found.raw, "raw_agreement"),
        **_ends("alpha", found.alpha),
        **_ends("ac1", found.ac1),
        **_ends("kappa", kappa),
        "simulated": bool(packets["simulated"].any()),
    }


def _first_two(units: Any, values: Any, n_units: int) -> tuple[Any, Any]:
    """What the first and the second grader of each unit said, -1 where there is none; rows in the order of units."""
    import numpy as np

    place = np.arange(len(units)) - np.searchsorted(units, units)  # 0 for the first row of a unit
    found = []
    for wanted in (0, 1):
        one = np.full(n_units, -1, np.int64)
        one[units[place == wanted]] = values[place == wanted]
        found.append(one)
    return found[0], found[1]


# ---- grader_profiles


def grader_profiles(lake: Lake, registry: Registry, scope: Mapping[str, str]) -> pa.Table:
    """The table `grader_profiles`."""
    from hapi_pipeline.stats.bootstrap import job_weights

    packets, said = _frames(lake, _PACKETS, _CRITERIA)
    said = _with_attempts(said, packets)
    of_unit = said.groupby("unit")["said"]
    said = said[of_unit.transform("size") > 1]
    of_unit = said.groupby("unit")["said"]
    said = said.assign(others=(of_unit.transform("sum") - said["said"]) / (of_unit.transform("size") - 1))
    jobs = _index(said)
    weights = job_weights(len(jobs), DRAWS, SEED)
    words = dict(list(said.groupby("grader", observed=True)))
    rows = []
    for grader, mine in packets.groupby("grader", observed=True):
        theirs = words.get(grader, said[:0])
        rows.append(
            {
                "grader": grader,
                "n_packets": len(mine),
                "n_double": int((mine["n_graders"] > 1).sum()),
                "n_jobs": int(mine["job_id"].nunique()),
                "n_packets_timed": int(mine["minutes"].notna().sum()),
                "minutes_median": _or_none(mine["minutes"].median()),
                **_errors(theirs),
                **_leniency(theirs, jobs, weights),
                "simulated": bool(mine["simulated"].any()),
            }
        )
    return _table("grader_profiles", rows)


def _or_none(value: float) -> float | None:
    return None if value != value else float(value)


def _errors(said: pd.DataFrame) -> dict[str, Any]:
    """How a grader's verdicts compare with what was settled."""
    settled = said[said["settled"] >= 0]
    right = settled["said"] == settled["settled"]
    passes, fails = settled["settled"] == 1, settled["settled"] == 0
    return {
        "n_settled": len(settled),
        "n_open": len(said) - len(settled),
        "n_as_settled": int(right.sum()),
        **_ends("agreement", _share(settled, right)),
        "n_true_passes": int(passes.sum()),
        "n_false_fails": int((passes & ~right).sum()),
        **_ends("sensitivity", _share(settled[passes], right[passes])),
        "n_true_fails": int(fails.sum()),
        "n_false_passes": int((fails & ~right).sum()),
        **_ends("specificity", _share(settled[fails], right[fails])),
    }


def _share(rows: pd.DataFrame, right: pd.Series) -> Estimate:
    """The share of rows that are right, its interval that of jobs as clusters."""
    by_job = right.astype(float).groupby(rows["job_id"], observed=True).agg(["sum", "size"])
    return figures.clustered_share(by_job["sum"].to_numpy(float), by_job["size"].to_numpy(float))


def _leniency(said: pd.DataFrame, jobs: pd.Index, weights: Any) -> dict[str, Any]:
    """How much more often a grader passes a criterion than the others do who judged the same one."""
    by_job = said.assign(n=1.0).groupby("job_id", observed=True)[["n", "said", "others"]].sum()
    sums = by_job.to_numpy(float)
    total = sums.sum(0)
    found = Estimate()
    if len(sums):
        same = bool((said["said"] == said["others"]).all())  # then no resample differs, and none says how wide
        of = jobs.get_indexer(by_job.index)
        found = figures.resampled(_mean_difference, sums, of, None if same else weights)
    return {
        "n_shared": len(said),
        "pass_share": total[1] / total[0] if len(sums) else None,
        "others_pass_share": total[2] / total[0] if len(sums) else None,
        **_ends("leniency", found),
    }


def _mean_difference(sums: Any) -> Any:
    from hapi_pipeline.stats.bootstrap import ratio

    return ratio(sums[..., 1] - sums[..., 2], sums[..., 0])


# ---- corrected_rates

# the word that counts of an attempt with several graders is the first grader's: what every attempt has
_FIRST_WORDS = """
SELECT a.model, a.round,
    count(g.attempt_id) AS n_graded, count(*) FILTER (WHERE g.said) AS n_apparent,
    count(*) FILTER (WHERE a.without_grades) AS n_no_files,
    bool_or(a.simulated) AS simulated
FROM (
    SELECT attempt_id, model, round, simulated, outcome = 'graded' AND NOT EXISTS (
        SELECT 1 FROM grades g WHERE g.attempt_id = o.attempt_id
    ) AS without_grades
    FROM attempt_outcomes o WHERE sample = 1
) a
LEFT JOIN (
    SELECT attempt_id, arg_min({rule}, (grader_role = 'second', grader)) FILTER (WHERE {rule} IS NOT NULL) AS said
    FROM grades GROUP BY attempt_id HAVING count({rule}) > 0
) g USING (attempt_id)
GROUP BY a.model, a.round
ORDER BY a.model, a.round
"""
_SETTLED = """
SELECT attempt_id, job_id, {rule} AS said, {settled} AS settled
FROM grades WHERE n_graders > 1 AND {rule} IS NOT NULL
"""


def corrected_rates(lake: Lake, registry: Registry, scope: Mapping[str, str]) -> pa.Table:
    """The table `corrected_rates`."""
    rows = []
    for rule, settled in RULES.items():
        fill = partial(str.format, rule=rule, settled=settled)
        cells, votes = _frames(lake, fill(_FIRST_WORDS), fill(_SETTLED))
        errors = _single_grader(votes)
        rows += [{"rule": rule, **_corrected(cell, errors)} for cell in cells.to_dict("records")]
    return _table("corrected_rates", rows)


@dataclass(frozen=True)
class _Errors:
    """How often a single grader is right about a whole attempt, from those that two or more judged."""

    n_double: int
    n_open: int  # of these, not settled
    complete: Estimate  # sensitivity
    incomplete: Estimate  # specificity
    n_complete: int  # attempts, settled
    n_incomplete: int
    votes: tuple[int, int, int, int]  # words on complete ones, of these right, words on incomplete ones, of these right


def _single_grader(votes: pd.DataFrame) -> _Errors:
    known = votes[votes["settled"].notna()]
    truth, said = known["settled"].astype(bool), known["said"].astype(bool)
    right = truth == said
    return _Errors(
        n_double=int(votes["attempt_id"].nunique()),
        n_open=int(votes["attempt_id"].nunique() - known["attempt_id"].nunique()),
        complete=_share(known[truth], right[truth]),
        incomplete=_share(known[~truth], right[~truth]),
        n_complete=int(known.loc[truth, "attempt_id"].nunique()),
        n_incomplete=int(known.loc[~truth, "attempt_id"].nunique()),
        votes=(int(truth.sum()), int((truth & right).sum()), int((~truth).sum()), int((~truth & right).sum())),
    )


def _why_not(n_graded: int, errors: _Errors) -> str | None:
    if not n_graded:
        return "no_grades"
    if min(errors.n_complete, errors.n_incomplete) < MIN_TRUE:
        return "too_few_double_grades"
    if errors.n_open > MOST_OPEN * errors.n_double:
        return "adjudication_open"
    if (errors.complete.value or 0.0) + (errors.incomplete.value or 0.0) <= 1:
        return "no_better_than_chance"
    return None


def _corrected(cell: Mapping[str, Any], errors: _Errors) -> dict[str, Any]:
    n_graded, n_apparent, n_no_files = (int(cell[name]) for name in ("n_graded", "n_apparent", "n_no_files"))
    reason = _why_not(n_graded, errors)
    whole = n_graded + n_no_files
    found = Estimate()
    if reason is None:
        said, hits, denied, rejections = errors.votes
        found = figures.rogan_gladen(figures.Counts(n_graded, n_apparent, said, hits, denied, rejections))
    scale = n_graded / whole if whole else 0.0  # an attempt without files is incomplete, and no grader's mistake

    def scaled(x: float | None) -> float | None:
        return None if x is None else x * scale

    return {
        "model": cell["model"],
        "round": cell["round"],
        "n_graded": n_graded,
        "n_no_files": n_no_files,
        "n_apparent": n_apparent,
        "rate_apparent": n_apparent / whole if whole else None,
        **_ends("corrected", Estimate(*map(scaled, (found.value, found.lo, found.hi))), "rate_corrected"),
        "correction_missing": reason,
        "n_double": errors.n_double,
        "n_open": errors.n_open,
        "n_true_complete": errors.n_complete,
        "n_true_incomplete": errors.n_incomplete,
        **_ends("sensitivity", errors.complete),
        **_ends("specificity", errors.incomplete),
        "simulated": bool(cell["simulated"]),
    }


# ---- judge_agreement

# the human verdict that counts, as in attempt_outcomes: an adjudicator's, else what those who could judge agree on
_JUDGED = """
WITH asked AS (
    SELECT j.* FROM judge_verdicts j JOIN attempts a ON a.attempt_id = j.attempt_id AND a.is_current
),
voices AS (
    SELECT v.attempt_id, v.criterion_id, v.passed, v.simulated, v.grader_role = 'adjudicator' AS decides
    FROM verdicts v
    SEMI JOIN asked j ON j.attempt_id = v.attempt_id AND j.criterion_id = v.criterion_id
    JOIN rubrics r ON r.job_id = v.job_id AND r.criterion_id = v.criterion_id
    LEFT JOIN standing_criteria s
        ON s.job_id = v.job_id AND s.criterion_id = v.criterion_id AND s.rubric_version = v.rubric_version
    WHERE v.is_current AND v.passed IS NOT NULL AND (v.rubric_version = r.rubric_version OR s.still_stands)
),
human AS (
    SELECT attempt_id, criterion_id, bool_or(simulated) AS simulated,
        CASE WHEN bool_or(decides)
             THEN CASE WHEN bool_and(passed) FILTER (WHERE decides) = bool_or(passed) FILTER (WHERE decides)
                       THEN bool_and(passed) FILTER (WHERE decides) END
             WHEN bool_and(passed) = bool_or(passed) THEN bool_and(passed) END AS passed
    FROM voices
    GROUP BY attempt_id, criterion_id
)
SELECT j.judge, j.prompt_version, j.judge_call_id, j.job_id, j.model, j.round, r.importance,
    coalesce(b.category, 'unknown') AS category, 'all' AS overall,
    coalesce(j.passed::INT, -1) AS said, coalesce(h.passed::INT, -1) AS human,
    j.simulated OR coalesce(h.simulated, false) AS simulated
FROM asked j
JOIN benchmark_jobs b ON b.job_id = j.job_id
JOIN rubrics r ON r.job_id = j.job_id AND r.criterion_id = j.criterion_id
LEFT JOIN standing_criteria s
    ON s.job_id = j.job_id AND s.criterion_id = j.criterion_id AND s.rubric_version = j.rubric_version
LEFT JOIN human h ON h.attempt_id = j.attempt_id AND h.criterion_id = j.criterion_id
WHERE j.rubric_version = r.rubric_version OR s.still_stands
ORDER BY ALL
"""


def judge_agreement(lake: Lake, registry: Registry, scope: Mapping[str, str]) -> pa.Table:
    """The table `judge_agreement`; empty where no judge was ever asked."""
    from hapi_pipeline.stats.bootstrap import job_weights

    if not lake.files("judge_verdicts"):
        return _table("judge_agreement", [])
    inputs = ["judge_verdicts", "attempts", "verdicts", "rubrics", "standing_criteria", "benchmark_jobs"]
    (said,) = _frames(lake, _JUDGED, tables=inputs)
    rows = []
    for (judge, version), mine in said.groupby(["judge", "prompt_version"], observed=True):
        jobs = _index(mine)
        weights = job_weights(len(jobs), DRAWS, SEED)
        for key in ("overall", "category", "model", "round", "importance"):
            for value, words in mine.groupby(key, observed=True):
                told = {"judge": judge, "prompt_version": version, "scope": key, "scope_value": value}
                rows.append(told | _judge_row(words, jobs, weights))
    return _table("judge_agreement", rows)


def _judge_row(words: pd.DataFrame, jobs: pd.Index, weights: Any) -> dict[str, Any]:
    import numpy as np

    known = words[(words["said"] >= 0) & (words["human"] >= 0)]
    human, judge = known["human"].to_numpy(np.int64), known["said"].to_numpy(np.int64)
    of = jobs.get_indexer(known["job_id"].astype(str))
    counts = np.column_stack([(human == k).astype(np.int64) + (judge == k) for k in (0, 1)])
    found = figures.agreement(counts, of, weights)
    return {
        "n_calls": int(words["judge_call_id"].nunique()),
        "n_no_verdict": int((words["said"] < 0).sum()),
        "n_compared": len(known),
        "n_jobs": found.n_jobs,
        "human_prevalence": _or_none(known["human"].mean()),
        "judge_prevalence": _or_none(known["said"].mean()),
        **_ends("raw", found.raw, "raw_agreement"),
        **_ends("alpha", found.alpha),
        **_ends("ac1", found.ac1),
        **_ends("kappa", figures.cohens_kappa(human, judge, of, weights)),
        "judge_tpr": _or_none(known.loc[known["human"] == 1, "said"].mean()),
        "judge_tnr": _or_none(1 - known.loc[known["human"] == 0, "said"].mean()),
        "simulated": bool(words["simulated"].any()),
    }
