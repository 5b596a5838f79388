"""Freezes: the benchmark's jobs under the name of a release, and what has become of them since.

Which jobs are selected is decided in `sql/selected_jobs.sql`; this is the list that a release can cite.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from hapi_pipeline import engine
from hapi_pipeline.intake.ledger import import_id
from hapi_pipeline.lake import Import, ImportedFile, Lake
from hapi_pipeline.naming import digest
from hapi_pipeline.settings import UserError

if TYPE_CHECKING:
    import pyarrow as pa

_LONGEST_NAME = 100  # characters
_COLUMNS = ["cohort", "job_id", "rubric_version", "content_id", "category", "price_usd", "simulated"]


def freeze(lake: Lake, name: str, cohorts: Sequence[str], now: datetime) -> Import:
    """Write down the benchmark's jobs of these months under a name; the import that made them count.

    Raises UserError for a name that cannot be used, or has been, and where there is no job.
    """
    import pyarrow as pa

    _check_name(lake, name)
    parts = [lake.read("benchmark_jobs", {"cohort": cohort}, columns=_COLUMNS) for cohort in cohorts]
    rows = pa.concat_tables(parts) if parts else lake.read("benchmark_jobs", {"cohort": ""}, columns=_COLUMNS)
    if not rows.num_rows:
        raise UserError("The benchmark has no jobs in these months; `hapi refresh` makes it.")
    listed = sorted(zip(*(rows[c].to_pylist() for c in ("job_id", "rubric_version", "content_id")), strict=True))
    content = digest(*(part for job in listed for part in job))
    rows = rows.append_column("freeze_name", pa.array([name] * rows.num_rows, pa.string()))
    rows = rows.append_column("frozen_at", pa.array([now] * rows.num_rows, pa.timestamp("us", tz="UTC")))
    number = import_id("freeze", name)
    lake.append("job_freezes", number, rows)
    months = tuple(sorted(set(rows["cohort"].to_pylist())))
    done = Import(number, "freeze", None, (ImportedFile(name, content, rows.num_rows, 0),), now.isoformat(), months)
    lake.finish_import(done)
    return done


def _check_name(lake: Lake, name: str) -> None:
    if not name or name != name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise UserError(
            f"A freeze needs a name of 1 to {_LONGEST_NAME} visible characters, without a space at either end."
        )
    for done in lake.imports("freeze"):
        if done.files[0].name.casefold() == name.casefold():
            raise UserError(
                f"There is a freeze {done.files[0].name!r} already, of {done.imported_at[:10]}; a name is used once."
            )


_FREEZES = """
WITH now AS (
    SELECT f.*, CASE WHEN b.job_id IS NULL THEN coalesce(r.code, 'no longer in the posts')
                     WHEN b.rubric_version <> f.rubric_version THEN 'rubric changed'
                     WHEN b.content_id <> f.content_id THEN 'post changed' END AS difference,
        b.job_id IS NOT NULL AS inside
    FROM job_freezes f
    LEFT JOIN (SELECT job_id, any_value(rubric_version) AS rubric_version, any_value(content_id) AS content_id
               FROM benchmark_jobs GROUP BY job_id) b USING (job_id)
    LEFT JOIN (SELECT job_id, max_by(code, cohort) AS code FROM rejected_jobs GROUP BY job_id) r USING (job_id)
),
counted AS (
    SELECT freeze_name, difference, count(*) AS n FROM now WHERE difference IS NOT NULL GROUP BY ALL
),
differences AS (
    SELECT freeze_name, string_agg(n || ' ' || difference, ', ' ORDER BY n DESC, difference) AS listed
    FROM counted GROUP BY freeze_name
)
SELECT freeze_name, any_value(frozen_at) AS frozen_at, min(cohort) AS first_cohort, max(cohort) AS last_cohort,
    count(*) AS n_jobs, count(*) FILTER (inside) AS n_in_benchmark, coalesce(any_value(listed), 'none') AS differences,
    bool_or(simulated) AS simulated
FROM now LEFT JOIN differences USING (freeze_name) GROUP BY freeze_name ORDER BY frozen_at, freeze_name
"""


def freezes(lake: Lake) -> pa.Table:
    """Every freeze: its name, when, from which months, how many jobs, how many of them the benchmark still has, and
    how many differ now and why: the code that turns a job away, a changed rubric or a changed post.
    """
    with engine.connect() as connection:
        engine.open_tables(connection, lake, ["job_freezes", "benchmark_jobs", "rejected_jobs"])
        return connection.sql(_FREEZES).to_arrow_table()
