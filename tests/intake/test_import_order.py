"""Whatever the order of the imports, however the rows are split into files, and however often they come."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline import engine
from hapi_pipeline.intake.jobs import import_jobs
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark, Source

HEAD = "id,title,price,done,changed,milestones,land,country"
_count = itertools.count()


@st.composite
def rows(draw: st.DrawFn) -> list[str]:
    """Rows of a few jobs; no two of them were changed at the same moment."""
    number = draw(st.integers(1, 10))
    moments = draw(st.permutations(range(number)))
    return [
        f"j{draw(st.integers(1, 4))},Title {draw(st.integers(1, 3))},{draw(st.integers(5, 600))},"
        f"2026-0{draw(st.integers(1, 3))}-05,2026-04-01T00:00:{moment:02},1,,Peru"
        for moment in moments
    ]


def files_of(draw: st.DrawFn, given_rows: list[str]) -> list[list[str]]:
    """The rows in another order, in one to three files, one of them perhaps twice."""
    shuffled = draw(st.permutations(given_rows))
    cuts = sorted({0, *draw(st.lists(st.integers(0, len(shuffled)), max_size=2)), len(shuffled)})
    files = [shuffled[a:z] for a, z in itertools.pairwise(cuts)]
    return [*files, draw(st.sampled_from(files))] if draw(st.booleans()) else files


def posts_after(folder: Path, files: list[list[str]], source: Source, benchmark: Benchmark) -> list[dict[str, Any]]:
    """job_posts of all months after these imports, without the columns that say where a row came from."""
    lake = Lake(folder / "lake")
    for number, lines in enumerate(files):
        path = folder / f"{number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([HEAD, *lines]) + "\n")
        import_jobs(lake, [path], source, benchmark)
    found = []
    for month in ("2026-01", "2026-02", "2026-03"):
        for batch in engine.batches(lake, engine.query("job_posts"), {"cohort": month}, {"cohort": month}):
            found += batch.to_pylist()
    origin = {"source_file", "source_sha256", "source_row", "imported_at"}
    return [{k: v for k, v in row.items() if k not in origin} for row in found]


@given(data=st.data(), whole=rows())
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_order_split_and_repetition_of_imports_change_no_table(
    tmp_path: Path, source: Any, benchmark: Benchmark, data: st.DataObject, whole: list[str]
) -> None:
    files = data.draw(st.composite(lambda draw: files_of(draw, whole))())
    one = posts_after(tmp_path / f"a{next(_count)}", [whole], source(), benchmark)
    other = posts_after(tmp_path / f"b{next(_count)}", files, source(), benchmark)
    assert one == other
    newest = {row.split(",")[0]: row.split(",")[4] for row in sorted(whole, key=lambda r: r.split(",")[4])}
    assert {p["job_id"]: f"{p['updated_at']:%Y-%m-%dT%H:%M:%S}" for p in one} == newest
