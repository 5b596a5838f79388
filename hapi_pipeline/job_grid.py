"""Where every job stands with every model, as arrays: what comparisons and money are worked out from.

Jobs are in the order of their ids and models in that of their names, whatever the order of files and rows, so that the
same data give the same figures to the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hapi_pipeline.engine import stream, summed

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    from numpy.typing import NDArray

    from hapi_pipeline.lake import Lake

RECENT_COHORTS = 12


@dataclass(frozen=True)
class JobGrid:
    """The jobs of the benchmark, all cohorts, and their states; arrays over jobs, or over (jobs × models)."""

    jobs: tuple[str, ...]
    cohorts: NDArray[np.object_]
    categories: NDArray[np.object_]
    bands: NDArray[np.object_]
    prices: NDArray[np.float64]  # USD; NaN where unknown
    clients: NDArray[np.int64]  # a number a client; a job whose client is unknown has one of its own
    models: tuple[str, ...]
    rounds: tuple[str, ...]
    rules: tuple[str, ...]
    listed: NDArray[np.bool_]  # whether the cell of cohort and model has been made
    after: NDArray[np.float64]  # 1 posted after the model's cutoff, 0 not, NaN where the cutoff is unknown
    simulated: NDArray[np.bool_]
    complete: dict[tuple[str, str], NDArray[np.float64]]  # (round, rule): 1 complete, 0 failed, NaN unknown
    before: dict[tuple[str, str], NDArray[np.bool_]]  # complete before the round, on its path

    def recent(self) -> NDArray[np.bool_]:
        """Which jobs are of the newest twelve cohorts."""
        import numpy as np

        return np.isin(self.cohorts, sorted(set(self.cohorts))[-RECENT_COHORTS:])


def job_grid(lake: Lake) -> JobGrid:
    """The grid of a lake, from the table job_states."""
    return summed({"job_states": lake.files("job_states")}, _grid)


def _grid(connection: duckdb.DuckDBPyConnection) -> JobGrid:
    import numpy as np

    connection.execute(_NUMBERED)
    jobs = connection.sql("SELECT * FROM numbered_jobs ORDER BY job").fetchnumpy()
    models, rounds, rules = (
        tuple(str(name) for (name,) in connection.sql(f"SELECT DISTINCT {key} FROM job_states ORDER BY 1").fetchall())  # noqa: S608
        for key in ("model", "round", "rule")
    )
    shape = (len(jobs["job"]), len(models))
    kinds = [(name, rule) for name in rounds for rule in rules]
    listed, simulated = np.zeros(shape, bool), np.zeros(shape, bool)
    complete, after = np.full((len(kinds), *shape), np.nan), np.full(shape, np.nan)
    before = np.zeros(complete.shape, bool)
    names = {"models": list(models), "rounds": list(rounds), "rules": list(rules)}
    for cells in stream(connection, _CELLS, names):  # some thousand at a time, for there are many
        found = {name: cells.column(name).to_numpy(zero_copy_only=False) for name in cells.schema.names}
        at = (found["job"], found["model"])
        kind = found["round"] * len(rules) + found["rule"]
        listed[at] = True
        simulated[at[0][found["simulated"]], at[1][found["simulated"]]] = True
        after[at], complete[kind, *at] = found["after_cutoff"], found["complete"]
        before[kind, *at] = found["complete_before"]
    return JobGrid(
        jobs=tuple(str(job) for job in jobs["job_id"]),
        cohorts=_objects(jobs["cohort"]),
        categories=_objects(jobs["category"]),
        bands=_objects(jobs["price_band"]),
        prices=floats(jobs["price_usd"]),
        clients=np.asarray(jobs["client"], np.int64),
        models=models,
        rounds=rounds,
        rules=rules,
        listed=listed,
        after=after,
        simulated=simulated,
        complete=dict(zip(kinds, complete, strict=True)),
        before=dict(zip(kinds, before, strict=True)),
    )


_NUMBERED = """
    CREATE TEMP TABLE numbered_jobs AS
    SELECT (row_number() OVER (ORDER BY job_id, cohort) - 1)::BIGINT AS job, *,
        (dense_rank() OVER (ORDER BY coalesce('client ' || client_id, 'job ' || cohort || ' ' || job_id)) - 1)::BIGINT
            AS client
    FROM (SELECT job_id, cohort, any_value(category) AS category, any_value(price_band) AS price_band,
              any_value(price_usd) AS price_usd, any_value(client_id) AS client_id
          FROM job_states GROUP BY job_id, cohort)
"""
_CELLS = """
    SELECT n.job, list_position($models, s.model) - 1 AS model, list_position($rounds, s.round) - 1 AS round,
        list_position($rules, s.rule) - 1 AS rule, s.complete_before, s.simulated,
        CASE s.state WHEN 'complete' THEN 1.0 WHEN 'failed' THEN 0.0 END AS complete,
        s.after_cutoff::DOUBLE AS after_cutoff
    FROM job_states s JOIN numbered_jobs n USING (job_id, cohort)
"""


def floats(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """A column as numbers, null as NaN."""
    import numpy as np

    return np.asarray(np.ma.filled(np.ma.asarray(column, dtype=float), np.nan))


def _objects(column: NDArray[np.object_]) -> NDArray[np.object_]:
    """A column of texts, null as the text `unknown`."""
    import numpy as np

    return np.asarray(np.ma.filled(np.ma.asarray(column, dtype=object), "unknown"), dtype=object)
