"""Schema drift between the imports of one source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline.intake.drift import compare, drift_of, newest_drifts
from hapi_pipeline.lake import Import, ImportedFile, Lake
from hapi_pipeline.registry import Source


def done(day: int, *columns: str, source: str = "s", missing: tuple[str, ...] = (), kind: str = "jobs") -> Import:
    """An import of a file of that day."""
    return Import(
        import_id=f"{source}-{day}",
        kind=kind,
        source=source,
        files=(ImportedFile(f"day{day}.csv", "", 1, 0),),
        imported_at=f"2026-05-{day:02d}T00:00:00+00:00",
        missing_columns=missing,
        columns=columns,
    )


def test_new_gone_and_renamed_columns() -> None:
    before = ["id", "title", "country", "price", "tags", "notes"]
    now = ["id", "title", "client_country", "price", "skills", "Notes", "badge"]
    assert compare(before, now) == (("badge",), (), (("country", "client_country"), ("tags", "skills")))
    assert compare(now, now[::-1]) == ((), (), ()), "order says nothing"
    assert compare(["a_price"], ["totally_else"]) == (("totally_else",), ("a_price",), ())


def test_an_import_is_held_against_the_one_before_of_its_source() -> None:
    imports = [
        done(1, "id", "a"),
        done(2, "id", "other", source="t"),
        done(3, "id", "a", "b", missing=("c",)),
        done(4, "id", "a", "b", missing=("c",)),
        done(5, kind="rubrics"),
    ]
    assert not drift_of(imports[0], imports)
    third = drift_of(imports[2], imports)
    assert (third.before, third.now, third.new, third.gone, third.wanted) == (
        "day1.csv",
        "day3.csv",
        ("b",),
        (),
        ("c",),
    )
    assert third.text == "new columns: b; wanted by the source definition: c"
    assert not drift_of(imports[3], imports), "what was missing before is no news"
    assert newest_drifts(imports[:3]) == [third]
    assert newest_drifts(imports) == []


def test_what_older_manifests_do_not_know_is_no_drift() -> None:
    imports = [done(1), done(2, "id", "a"), done(3, missing=("x",))]
    assert not drift_of(imports[1], imports)
    assert drift_of(imports[2], imports).text == "wanted by the source definition: x"


@settings(derandomize=True, deadline=None)
@given(
    before=st.lists(st.text("abc_", min_size=1, max_size=5), unique_by=str.casefold, max_size=7),
    now=st.lists(st.text("abc_", min_size=1, max_size=5), unique_by=str.casefold, max_size=7),
)
def test_every_column_is_told_of_once(before: list[str], now: list[str]) -> None:
    new, gone, renamed = compare(before, now)
    assert sorted([*new, *(n for _, n in renamed)]) == sorted(set(now) - set(before))
    assert sorted([*gone, *(o for o, _ in renamed)]) == sorted(set(before) - set(now))


def test_real_imports_drift(
    take: Callable[..., Import], source: Callable[..., Source], lake: Lake, drop: Callable[[str, str], Path]
) -> None:
    take(drop("a.csv", "id,title,done,price\nj1,T,2026-02-03,5\n"))
    take(drop("b.csv", "id,title,done,price_usd,extra\nj2,T,2026-02-03,5,x\n"))
    (drift,) = newest_drifts(lake.imports("jobs"))
    assert drift.new == ("extra",)
    assert drift.renamed == (("price", "price_usd"),)
    assert drift.wanted == ("price",)


def test_the_check_warns_and_the_materialization_says_so(
    take: Callable[..., Import], lake: Lake, drop: Callable[[str, str], Path]
) -> None:
    import dagster as dg

    from hapi_pipeline.checks.drift import drift_checks

    class Resource:
        def __init__(self) -> None:
            self.lake = lake

    (check,) = drift_checks()
    function: Any = check.op.compute_fn.decorated_fn  # type: ignore[union-attr]
    take(drop("a.csv", "id,title,done\nj1,T,2026-02-03\n"))
    take(drop("b.csv", "id,title,done,extra\nj2,T,2026-02-03,x\n"))
    result = function(Resource())
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "extra" in str(result.metadata)
    take(drop("c.csv", "id,title,done,extra\nj3,T,2026-02-03,x\n"))
    assert function(Resource()).passed
