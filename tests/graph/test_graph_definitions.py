"""The graph: it loads, it is complete, it follows from the SQL, and nothing below it knows of Dagster."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml

from hapi_pipeline import docs, engine
from hapi_pipeline.assets.factory import ROUND_TABLES, asset_keys
from hapi_pipeline.assets.intake import LEDGERS
from hapi_pipeline.assets.rounds import evaluation_round
from hapi_pipeline.definitions import defs
from hapi_pipeline.rounds import ROUND, ROUNDS
from hapi_pipeline.settings import project_root, shipped
from hapi_pipeline.tables import TABLES

ROOT = project_root()
PURE = ("audit", "curation", "agents", "grading", "intake", "simulate", "stats", "report", "plots")
PURE_MODULES = (
    "lake", "engine", "evaluation", "registry", "tables", "naming", "settings", "rounds", "handout",
    "estimate", "show", "progress", "feed", "made", "warehouse", "locks", "workers", "spending",
)  # fmt: skip
HEAVY = (
    "litellm", "great_expectations", "pandas", "pyarrow", "duckdb", "openpyxl", "xlsxwriter", "aiohttp", "numpy",
    "scipy", "sklearn",
)  # fmt: skip
MADE_BY_SQL = sorted(path.stem for path in shipped("sql").glob("[!_]*.sql"))
PUBLISHED = "publish"
SPECS = {spec.key: spec for spec in defs.resolve_all_asset_specs() if spec.group_name != PUBLISHED}


def inputs_of(key: dg.AssetKey) -> set[dg.AssetKey]:
    return {dep.asset_key for dep in SPECS[key].deps}


def test_the_definitions_can_be_loaded() -> None:
    dg.Definitions.validate_loadable(defs)


def test_both_ways_to_load_give_the_location_the_same_name() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert workspace["location_name"] == project["code_location_name"]
    assert workspace["module_name"] == project["code_location_target_module"]


def test_loading_the_graph_imports_nothing_heavy() -> None:
    asked = f"import sys, hapi_pipeline.definitions; print([m for m in {HEAVY!r} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, cwd=ROOT, check=True)
    assert said.stdout.strip() == "[]"


def pure_files() -> list[Path]:
    package = ROOT / "hapi_pipeline"
    return [
        *(package / f"{name}.py" for name in PURE_MODULES),
        *(path for name in PURE for path in sorted((package / name).rglob("*.py"))),
    ]


def imported(path: Path) -> set[str]:
    """The packages that a file imports at run time, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


ABOVE = (
    "assets",
    "checks",
    "automation",
    "definitions",
    "partitions",
    "resources",
    "operations",
    "dead_runs",
    "event_log",
    "fan_out",
)


@pytest.mark.parametrize("path", pure_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_core_does_not_know_of_dagster(path: Path) -> None:
    names = imported(path)
    assert not {n for n in names if n.split(".")[0] == "dagster"}
    assert not {n for n in names if n.startswith("hapi_pipeline.") and n.split(".")[1] in ABOVE}


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_its_assets(table: str) -> None:
    assert all(key in SPECS for key in asset_keys(table))
    if TABLES[table].ledger:
        assert table in LEDGERS


def test_every_asset_is_a_table() -> None:
    assert set(SPECS) == {key for table in TABLES for key in asset_keys(table)}


@pytest.mark.parametrize("table", MADE_BY_SQL)
def test_an_asset_depends_on_the_tables_that_its_sql_names(table: str) -> None:
    named = {key for name in engine.query(table).inputs if name in TABLES for key in asset_keys(name)}
    for key in asset_keys(table):
        if table in ROUND_TABLES:  # of the tables of a round, those of its own round
            named_here = {k for k in named if len(k.path) == 1 or k.path[0] == key.path[0]}
            assert named_here <= inputs_of(key)
        else:
            # what each rule alone would turn away is worked out by the rules, one of which reads the findings
            besides = {dg.AssetKey("pii_findings")} if table == "funnel_by_category" else set()
            assert inputs_of(key) == named | besides


@pytest.mark.parametrize("key", sorted(SPECS), ids=dg.AssetKey.to_user_string)
def test_every_asset_says_what_it_is(key: dg.AssetKey) -> None:
    spec, table = SPECS[key], TABLES[key.path[-1]]
    assert table.meaning in (spec.description or "")
    assert spec.group_name == (key.path[0] if len(key.path) > 1 else table.group)
    assert list(spec.owners)
    assert spec.kinds
    schema = spec.metadata["dagster/column_schema"]
    assert [c.name for c in schema.columns] == list(table.names)
    assert all(c.description for c in schema.columns)
    assert all(c.name == c.name.lower() for c in schema.columns)


def test_no_asset_depends_on_itself_in_a_round_about_way() -> None:
    open_keys, found = dict(SPECS), True
    while open_keys and found:
        found = False
        for key in [k for k in open_keys if not inputs_of(k) & open_keys.keys()]:
            del open_keys[key]
            found = True
    assert not open_keys


def test_results_read_outcomes_and_never_raw_verdicts() -> None:
    raw = {key for table in ("verdicts", "verdict_exports") for key in asset_keys(table)}
    # packet_status, which says how far packets are, is no result
    readers = {key for key, spec in SPECS.items() if inputs_of(key) & raw and spec.group_name == "results"}
    assert readers == {dg.AssetKey("attempt_outcomes")}


def test_what_is_generated_is_current() -> None:
    made = docs.generated()
    assert {path.relative_to(ROOT).as_posix() for path in made} == {
        "sql/_lineage.json",
        "docs/data_dictionary.md",
    }
    assert [path.name for path, text in made.items() if path.read_text("utf-8") != text] == [], "run `make docs`"


# ---- rounds


@pytest.mark.parametrize("name", ROUND)
def test_a_round_is_attempts_then_packets_then_verdicts(name: str) -> None:
    first, packets, verdicts = (dg.AssetKey([name, table]) for table in ROUND_TABLES)
    after = ROUND[name].after
    before = {dg.AssetKey([after, "verdicts"])} if after else set()
    assert {k for k in inputs_of(first) if len(k.path) > 1} == before
    assert dg.AssetKey("benchmark_jobs") in inputs_of(first)
    assert {k for k in inputs_of(packets) if len(k.path) > 1} == {first}
    assert {k for k in inputs_of(verdicts) if len(k.path) > 1} == {first, packets}
    assert dg.AssetKey("verdict_exports") in inputs_of(verdicts)


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_the_factory_makes_a_round_from_its_arguments() -> None:
    made = evaluation_round("feedback_2", after="retry_1", feedback=True, first="2025-01")
    attempts = made[0]
    assert [next(iter(a.keys)).path for a in made] == [["feedback_2", t] for t in ROUND_TABLES]
    assert dg.AssetKey(["retry_1", "verdicts"]) in attempts.dependency_keys
    assert "retry_1" in attempts.descriptions_by_key[attempts.key]


def test_the_control_arm_starts_where_feedback_starts_but_gets_none() -> None:
    control = ROUND["retry_1"]
    assert (control.arm, control.after, control.turn) == (
        "control",
        ROUND["feedback_1"].after,
        ROUND["feedback_1"].turn,
    )
    assert [r.name for r in ROUNDS if r.arm == "control"] == ["retry_1"]
    assert "without any feedback" in (SPECS[dg.AssetKey(["retry_1", "attempts"])].description or "")


# ---- partitions and jobs


def test_assets_are_cut_as_their_files_are() -> None:
    graph = defs.resolve_asset_graph()
    for key in SPECS:
        table, cut = TABLES[key.path[-1]], graph.get(key).partitions_def
        if table.ledger or not table.partitions:
            assert cut is None, key
        elif "model" in table.partitions:
            assert isinstance(cut, dg.MultiPartitionsDefinition), key
        else:
            assert isinstance(cut, dg.MonthlyPartitionsDefinition), key


def test_every_partitioned_asset_is_backfilled_in_a_single_run() -> None:
    graph = defs.resolve_asset_graph()
    cut = [key for key in SPECS if graph.get(key).partitions_def is not None]
    assert cut
    assert all(graph.get(key).backfill_policy == dg.BackfillPolicy.single_run() for key in cut)


def test_every_asset_that_can_be_made_is_in_exactly_one_job() -> None:
    jobs = [
        set(defs.resolve_job_def(name).asset_layer.selected_asset_keys) for name in ("curate", "evaluate", "summarise")
    ]
    assert sum(map(len, jobs)) == len(set().union(*jobs))
    assert set().union(*jobs) == {key for key in SPECS if not TABLES[key.path[-1]].ledger}


def test_only_attempts_wait_for_the_pool_of_models_and_only_heavy_sql_for_the_machine() -> None:
    graph = defs.resolve_asset_graph()
    pools = {key.path[-1]: graph.get(key).pools for key in SPECS if graph.get(key).pools}
    assert {table for table, names in pools.items() if names == {"llm"}} == {"attempts"}
    assert {table for table, names in pools.items() if names == {"sql"}} == pools.keys() - {"attempts"}
    assert "job_posts" in pools
