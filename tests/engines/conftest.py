"""A month of the bundled sample, curated, and the hand-made world's results: something of every partitioned table."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from pathlib import Path

import pytest

from hapi_pipeline.as_of import needed
from hapi_pipeline.engines import EngineSettings
from hapi_pipeline.engines.making import remake
from hapi_pipeline.intake.jobs import import_jobs
from hapi_pipeline.intake.rubrics import import_rubrics
from hapi_pipeline.lake import Lake
from hapi_pipeline.recipes import recipes
from hapi_pipeline.registry import Registry
from hapi_pipeline.results import BY_CELL
from hapi_pipeline.settings import Home, shipped
from hapi_pipeline.tables import TABLES
from tests import scenario
from tests.scenario import ALPHA, BETA, COHORT

MONTH = "2026-08"
POSTS = 250
CURATION = [name for name in needed(["curation_funnel", "curation_audit"]) if TABLES[name].partitions]
CELLS = [{"cohort": COHORT, "model": model} for model in (ALPHA, BETA)]


def scopes_of(table: str) -> list[dict[str, str]]:
    return CELLS if table in BY_CELL else [{"cohort": MONTH}]


def rules_of(home: Home) -> Registry:
    """The registry of a home with the rounds of the hand-made world, and rules that let the sample's jobs through."""
    registry = Registry.of(home)
    rules = dataclasses.replace(scenario.rules(registry.benchmark), max_criteria=registry.benchmark.max_criteria)
    registry.__dict__["benchmark"] = rules
    return registry


def digests(lake: Lake, table: str) -> dict[str, str]:
    """The files of a table with the hash of their bytes."""
    files = lake.files(table, {"cohort": scopes_of(table)[0]["cohort"]})
    return {str(p.relative_to(lake.root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="session")
def home_of_both(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with both, made in this process; no test changes it."""
    home = Home(tmp_path_factory.mktemp("engines") / "home").ensure()
    lake, registry = Lake(home.lake), rules_of(home)
    scenario.build(lake, scenario.rules(registry.benchmark))
    posts = tmp_path_factory.mktemp("posts") / "jobs.csv"
    with (shipped("data/sample") / f"jobs_{MONTH}.csv").open(encoding="utf-8", newline="") as whole:
        rows = list(csv.reader(whole))[: POSTS + 1]
    with posts.open("w", encoding="utf-8", newline="") as some:
        csv.writer(some).writerows(rows)
    import_jobs(lake, [posts], registry.source("sample_market"), registry.benchmark)
    import_rubrics(lake, [shipped("data/sample") / f"rubrics_{MONTH}.csv"], simulated=True)
    for table in (*CURATION, *BY_CELL):
        remake(recipes()[table], lake, registry, scopes_of(table), settings=EngineSettings())
    return home


@pytest.fixture(scope="session")
def made_here(home_of_both: Home) -> Lake:
    """Its lake."""
    return Lake(home_of_both.lake)


@pytest.fixture(scope="session")
def rules_here(home_of_both: Home) -> Registry:
    """Its registry."""
    return rules_of(home_of_both)


@pytest.fixture
def repository() -> Path:
    """Where `tests` can be imported from."""
    return Path(__file__).resolve().parents[2]
