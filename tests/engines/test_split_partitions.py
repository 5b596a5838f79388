"""A partition that is made in parts has the rows, and the bytes, of one that is made in one go."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline.engines import EngineSettings
from hapi_pipeline.engines.making import remake
from hapi_pipeline.engines.split import Part, PartOfLake, make_part, merge, number_of_parts, part_lake, parts_of
from hapi_pipeline.lake import Lake
from hapi_pipeline.recipes import recipes
from hapi_pipeline.registry import Registry
from hapi_pipeline.results import BY_CELL
from tests.engines.conftest import CELLS, CURATION, MONTH, digests, scopes_of

CUT = [name for name, recipe in recipes().items() if recipe.cut]


@pytest.fixture(scope="module")
def copy(made_here: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A copy of the lake; every test leaves in it what was there."""
    lake = Lake(tmp_path_factory.mktemp("split") / "home" / "lake")
    shutil.copytree(made_here.root, lake.root)
    return lake


def in_parts(lake: Lake, registry: Registry, table: str, count: int) -> dict[str, str]:
    """The files of a table after all of its partitions were made anew, in so many parts each."""
    recipe = recipes()[table]
    for scope in scopes_of(table):
        parts = parts_of(scope, count, recipe.fingerprint(lake, registry, scope))
        rows = [make_part(recipe, lake, registry, part) for part in parts]
        lake.path(table, scope).unlink(missing_ok=True)
        assert merge(recipe, lake, parts).rows == sum(rows)
    shutil.rmtree(lake.root.parent / ".cache", ignore_errors=True)
    return digests(lake, table)


def test_there_is_something_in_every_table_that_can_be_split(made_here: Lake) -> None:
    empty = [t for t in CUT if not sum(made_here.read(t, scope).num_rows for scope in scopes_of(t))]
    assert empty == []
    assert {"pii_findings", "attempt_outcomes", "job_states", "fixed_price_jobs"} <= set(CUT)


@pytest.mark.parametrize("table", CUT)
def test_split_or_not_the_file_is_the_same(copy: Lake, made_here: Lake, rules_here: Registry, table: str) -> None:
    assert in_parts(copy, rules_here, table, 3) == digests(made_here, table)


@settings(derandomize=True, deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.sampled_from(CUT), count=st.integers(1, 40))
def test_the_number_of_parts_does_not_matter(
    copy: Lake, made_here: Lake, rules_here: Registry, table: str, count: int
) -> None:
    assert in_parts(copy, rules_here, table, count) == digests(made_here, table)


@settings(derandomize=True, deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 12))
def test_every_job_is_in_exactly_one_part(made_here: Lake, tmp_path: Path, count: int) -> None:
    found: list[str] = []
    for part in parts_of({"cohort": MONTH}, count, "x"):
        folder = tmp_path / f"{count}-{part.number}"
        folder.mkdir(exist_ok=True)
        some = PartOfLake(made_here, ["job_posts"], part, folder)
        found += some.read("job_posts", part.scope, ["job_id"])["job_id"].to_pylist()
        assert some.read("rubrics", part.scope) == made_here.read("rubrics", part.scope)  # which is not cut
    assert sorted(found) == made_here.read("job_posts", {"cohort": MONTH}, ["job_id"])["job_id"].to_pylist()


def test_the_parts_of_a_job_never_change(made_here: Lake, tmp_path: Path) -> None:
    """The lower half of MD5: the same on every machine and in every version."""
    import hashlib

    part = Part((("cohort", MONTH),), 2, 5, "x")
    some = PartOfLake(made_here, ["job_posts"], part, tmp_path).read("job_posts", part.scope, ["job_id"])
    every = made_here.read("job_posts", part.scope, ["job_id"])["job_id"].to_pylist()

    def lower(text: str) -> int:
        return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[8:], "little")

    expected = [job for job in every if lower(job) % 5 == 2]
    assert some["job_id"].to_pylist() == expected


def test_only_what_is_too_large_is_split(made_here: Lake) -> None:
    posts, scope = recipes()["pii_findings"], {"cohort": MONTH}
    rows = made_here.read("job_posts", scope).num_rows
    assert number_of_parts(posts, made_here, scope, None) == 1
    assert number_of_parts(posts, made_here, scope, rows) == 1
    assert number_of_parts(posts, made_here, scope, rows - 1) == 2
    assert number_of_parts(posts, made_here, {"cohort": "1999-01"}, 1) == 1
    assert number_of_parts(recipes()["selected_jobs"], made_here, scope, 1) == 1


@pytest.mark.parametrize("table", ["pii_findings", "attempt_outcomes"])
def test_remaking_with_a_limit_of_rows_gives_the_same_files(
    copy: Lake, made_here: Lake, rules_here: Registry, table: str
) -> None:
    small = EngineSettings(split_rows=90 if table == "pii_findings" else 7)
    recipe, scopes = recipes()[table], scopes_of(table)
    again = remake(recipe, copy, rules_here, scopes, settings=small)
    assert not any(one.changed for one in again)  # up to date: nothing is made
    anew = remake(recipe, copy, rules_here, scopes, settings=small, anew=True, threads=2)
    assert (anew, digests(copy, table)) == (again, digests(made_here, table))
    assert not list(copy.root.parent.glob(".cache/parts/*"))
    for scope in scopes:
        copy.path(table, scope).unlink()
    assert all(one.changed for one in remake(recipe, copy, rules_here, scopes, settings=small))
    assert digests(copy, table) == digests(made_here, table)


def test_parts_that_an_interrupted_run_has_made_are_not_made_again(
    copy: Lake, rules_here: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, scope = recipes()["pii_findings"], {"cohort": MONTH}
    parts = parts_of(scope, 3, recipe.fingerprint(copy, rules_here, scope))
    rows = make_part(recipe, copy, rules_here, parts[1])
    before = part_lake(copy, recipe.name, parts[1]).path(recipe.name, scope).stat().st_ino
    made: list[int] = []
    whole = PartOfLake.files

    def noted(self: PartOfLake, table: str, keys: Any = None) -> list[Path]:
        made.append(self.part.number)
        return whole(self, table, keys)

    monkeypatch.setattr(PartOfLake, "files", noted)
    assert make_part(recipe, copy, rules_here, parts[1]) == rows
    make_part(recipe, copy, rules_here, parts[0])
    assert set(made) == {0}
    assert part_lake(copy, recipe.name, parts[1]).path(recipe.name, scope).stat().st_ino == before
    other = Part(parts[1].keys, 1, 3, "made from something else")
    make_part(recipe, copy, rules_here, other)
    assert set(made) == {0, 1}


# ---- why others are not split


@pytest.mark.parametrize("table", [t for t in (*CURATION, *BY_CELL) if t not in CUT])
def test_what_cannot_be_split_says_so(table: str) -> None:
    """Sums, samples, clusters, what looks back, and what follows packets or ledgers."""
    assert table in {
        "job_posts", "rubrics", "standing_criteria", "selected_jobs", "job_clusters", "rejected_jobs",
        "funnel_by_category", "curation_funnel", "curation_audit", "packet_status", "outcome_counts",
        "completion_rates",
    }  # fmt: skip


def test_whether_a_model_is_simulated_follows_from_all_of_its_outcomes(
    copy: Lake, made_here: Lake, rules_here: Registry
) -> None:
    """Why of job_states only the jobs are cut: one simulated attempt marks every job of the model and month."""
    outcomes = copy.read("attempt_outcomes", CELLS[0])
    marked = pc.equal(outcomes["attempt_id"], outcomes["attempt_id"][0])
    at = outcomes.column_names.index("simulated")
    copy.write("attempt_outcomes", outcomes.set_column(at, outcomes.schema.field(at), marked), CELLS[0])
    try:
        recipe = recipes()["job_states"]
        whole = recipe.build(copy, rules_here, CELLS[0])
        expected = sorted(whole.to_pylist(), key=str)  # type: ignore[union-attr]
        assert all(row["simulated"] for row in expected)
        parts = parts_of(CELLS[0], 5, "y")
        for part in parts:
            make_part(recipe, copy, rules_here, part)
        found = [row for part in parts for row in part_lake(copy, recipe.name, part).read(recipe.name).to_pylist()]
        assert sorted(found, key=str) == expected
    finally:
        copy.write("attempt_outcomes", made_here.read("attempt_outcomes", CELLS[0]), CELLS[0])
