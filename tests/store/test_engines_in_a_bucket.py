"""Workers of an engine make the tables of a home in an object store; whoever holds the lease gives them their names."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
import pytest

from hapi_pipeline.copies import copy_of, open_copy
from hapi_pipeline.curation.rules import ON_ONE_POST
from hapi_pipeline.engines import EngineSettings, making
from hapi_pipeline.engines.making import Remade, remake
from hapi_pipeline.lake import Lake
from hapi_pipeline.operations import at_work
from hapi_pipeline.recipes import recipes
from hapi_pipeline.registry import Registry
from hapi_pipeline.results import BY_CELL
from hapi_pipeline.settings import Home, UserError, find_home
from hapi_pipeline.store import ObjectStore
from tests import scenario
from tests.scenario import ALPHA, BETA, COHORT
from tests.store.conftest import Machine
from tests.store.elsewhere import Machines

FIRST = ON_ONE_POST[0]
EVERY = ("job_posts", "pii_findings", FIRST, "job_signatures", "job_clusters", "attempt_outcomes", "job_states")
CELLS = [{"cohort": COHORT, "model": model} for model in (ALPHA, BETA)]
HERE, ELSEWHERE = EngineSettings(), EngineSettings("ray", 2, split_rows=10)


def scopes_of(table: str) -> list[dict[str, str]]:
    return CELLS if table in BY_CELL else [{"cohort": COHORT}]


@pytest.fixture
def home(address: str) -> Home:
    """The hand-made world, without the tables that are made here."""
    home = find_home(address).ensure()
    lake = Lake(home.lake)
    scenario.build(lake, rules_of(home).benchmark)
    for table in EVERY:
        shutil.rmtree(lake.root / table, ignore_errors=True)
        open_copy(address).remove(list(objects(address, table)))
    return home


def rules_of(home: Home) -> Registry:
    registry = Registry.of(home)
    registry.__dict__["benchmark"] = scenario.rules(registry.benchmark)
    return registry


def objects(address: str, table: str) -> dict[str, str]:
    return {name: seen.etag for name, seen in ObjectStore(address).listed(f"lake/{table}").items()}


def made_by(home: Home, settings: EngineSettings, tables: Sequence[str] = EVERY, *, anew: bool = True) -> list[Remade]:
    lake, registry = Lake(home.lake), rules_of(home)
    return [
        one
        for table in tables
        for one in remake(recipes()[table], lake, registry, scopes_of(table), settings=settings, anew=anew)
    ]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["on this machine", "on others"])
def test_workers_make_the_same_files(
    home: Home, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: Machine, elsewhere: bool
) -> None:
    with Machines(tmp_path if elsewhere else None) as engine, at_work(home), monkeypatch.context() as patch:
        patch.setattr(making, "engine_of", lambda _: engine)
        made = made_by(home, ELSEWHERE)
    there = {table: objects(address, table) for table in EVERY}
    assert all(there.values())
    assert all(one.changed for one in made)
    assert not [n for n in ObjectStore(address).listed("") if n.startswith(("parts/", ".hapi/handed_in/"))]
    machine("b")
    home = find_home(address)
    with at_work(home):
        again = made_by(home, HERE)
    assert [(one.rows, one.changed) for one in again] == [(one.rows, False) for one in made]
    assert {table: objects(address, table) for table in EVERY} == there


def test_what_is_made_after_the_lease_has_ended_gets_no_name(
    home: Home, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copy_of(home.root)
    assert copy is not None
    with Machines(tmp_path) as engine:
        engine.before_results = lambda: copy.lose("another process has taken this home over")
        monkeypatch.setattr(making, "engine_of", lambda _: engine)
        with pytest.raises(UserError, match="has taken this home over"), at_work(home):
            made_by(home, ELSEWHERE, ["job_posts"])
    assert not objects(address, "job_posts")
    assert ObjectStore(address).listed(".hapi/handed_in")
    with at_work(find_home(address)):
        assert not ObjectStore(address).listed(".hapi/handed_in")


def test_workers_see_what_others_have_just_made(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = ("job_posts", FIRST)
    with Machines(tmp_path) as engine, at_work(home):
        monkeypatch.setattr(making, "engine_of", lambda _: engine)
        made_by(home, ELSEWHERE, tables)
        assert not any(one.changed for one in made_by(home, ELSEWHERE, tables, anew=False))
        lake, scope = Lake(home.lake), {"cohort": COHORT}
        posts, passing = lake.read("job_posts", scope), lake.read(FIRST, scope).column("job_id").to_pylist()
        lake.write("job_posts", posts.filter(pc.not_equal(posts.column("job_id"), passing[0])), scope)
        (found,) = made_by(home, ELSEWHERE, [FIRST], anew=False)
        assert (found.rows, found.changed) == (len(passing) - 1, True)
        assert lake.read(FIRST, scope).column("job_id").to_pylist() == passing[1:]
