"""The checks: each passes on a sound world and fails on data made to break it, in the broken partition and no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from hapi_pipeline.checks import holds, personal
from hapi_pipeline.checks.catalogue import blocking, rules
from hapi_pipeline.checks.register import Register, bring_up_to_date, standing
from hapi_pipeline.checks.rules import Found, Rule, files_of_ledger, judge, place_of, scope_of_place
from hapi_pipeline.curation.rules import CHAIN
from hapi_pipeline.lake import Lake
from hapi_pipeline.recipes import recipes
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import shipped
from hapi_pipeline.tables import TABLES
from tests import scenario

OTHER = "2026-04"
CELLS = [{"cohort": c, "model": m} for c in (scenario.COHORT, OTHER) for m in (scenario.ALPHA, scenario.BETA)]


@pytest.fixture(scope="module")
def two_months(world: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The hand-made world twice, under two months; no test changes it."""
    lake = Lake(tmp_path_factory.mktemp("months") / "lake")
    shutil.copytree(world.root, lake.root)
    for name, table in TABLES.items():
        for keys in lake.partitions(name) if not table.ledger else ():
            if "cohort" in keys:
                rows = lake.read(name, keys)
                lake.write(name, with_column(rows, "cohort", OTHER), {**keys, "cohort": OTHER})
    return lake


@pytest.fixture
def lake(two_months: Lake, tmp_path: Path) -> Lake:
    """A copy that a test may break."""
    shutil.copytree(two_months.root, tmp_path / "home" / "lake")
    return Lake(tmp_path / "home" / "lake")


@pytest.fixture
def register(tmp_path: Path) -> Register:
    return Register(tmp_path / "checks")


def with_column(rows: pa.Table, name: str, value: Any) -> pa.Table:
    """The rows with one value in a column."""
    at = rows.schema.get_field_index(name)
    field = rows.schema.field(name)
    return rows.set_column(at, field, pa.array([value] * rows.num_rows, field.type))


def put(lake: Lake, table: str, keys: Mapping[str, str], rows: pa.Table) -> None:
    """Replace a partition by rows that the lake itself might refuse."""
    pq.write_table(rows, lake.path(table, keys))


def rule_named(table: str, name: str) -> Rule:
    return next(rule for rule in rules()[table] if rule.name == name)


def scopes_of(lake: Lake, table: str) -> Sequence[Mapping[str, str]]:
    return files_of_ledger(lake, table) if TABLES[table].ledger else lake.partitions(table)


# ---- each rule, on what breaks it

Break = Callable[[pa.Table], pa.Table]


def more(column: str, by: Any = 1) -> Break:
    """A figure of the first row is larger."""

    def change(rows: pa.Table) -> pa.Table:
        values = rows[column].to_pylist()
        first = next(n for n, value in enumerate(values) if value is not None)
        values[first] += by
        field = rows.schema.field(column)
        return rows.set_column(rows.schema.get_field_index(column), field, pa.array(values, field.type))

    return change


def value(column: str, wanted: Any) -> Break:
    """The first row has another value."""

    def change(rows: pa.Table) -> pa.Table:
        values = [wanted, *rows[column].to_pylist()[1:]]
        field = rows.schema.field(column)
        return rows.set_column(rows.schema.get_field_index(column), field, pa.array(values, field.type))

    return change


def all_of(*changes: Break) -> Break:
    def change(rows: pa.Table) -> pa.Table:
        for one in changes:
            rows = one(rows)
        return rows

    return change


def without_the_last(rows: pa.Table) -> pa.Table:
    return rows.slice(0, rows.num_rows - 1)


BROKEN: list[tuple[str, str, str, Break]] = [
    ("curation_funnel", "funnel_reconciles", "curation_funnel", more("n_in")),
    ("curation_funnel", "funnel_reconciles", "benchmark_jobs", without_the_last),
    ("curation_funnel", "categories_add_up", "funnel_by_category", more("n_kept")),
    ("benchmark_jobs", "no_personal_data", "benchmark_jobs", value("description", "Write to ann.miller@posteo.net")),
    ("benchmark_jobs", "no_personal_data", "benchmark_jobs", value("attachments", ["of ann.miller@posteo.net"])),
    ("benchmark_jobs", "no_personal_data", "rubrics", value("text", "Sent to ann.miller@posteo.net")),
    ("attempts", "every_attempt_has_a_job", "attempts", value("job_id", "nobody-knows")),
    ("attempts", "every_attempt_has_a_job", "job_posts", lambda rows: rows.slice(0, 0)),
    (
        "attempts",
        "no_cost_without_tokens",
        "attempts",
        all_of(value("cost_usd", 0.5), value("prompt_tokens", 0), value("completion_tokens", 0)),
    ),
    ("attempts", "no_cost_without_tokens", "attempts", value("cost_usd", -0.5)),
    ("attempts", "no_cost_without_tokens", "attempts", value("reasoning_tokens", 10**9)),
    ("attempts", "nothing_left_open", "attempts", value("status", "infra")),
    ("verdicts", "every_verdict_has_an_attempt", "verdicts", value("attempt_id", "none such")),
    ("verdicts", "every_verdict_has_an_attempt", "attempts", lambda rows: rows.slice(0, 0)),
    ("verdicts", "every_verdict_has_an_attempt", "verdicts", value("job_id", "another")),
    ("verdicts", "late_verdicts", "verdicts", value("flags", ["late"])),
    ("job_states", "every_job_has_a_state", "job_states", without_the_last),
    ("job_states", "every_job_has_a_state", "job_states", value("job_id", "another")),
    ("outcome_counts", "outcomes_add_up", "outcome_counts", more("n_eligible")),
    ("outcome_counts", "outcomes_add_up", "outcome_counts", more("n_completed")),
    ("completion_rates", "counts_add_up", "completion_rates", more("n_pending")),
    ("completion_rates", "counts_add_up", "completion_rates", more("rate", 0.5)),
    ("completion_rates", "counts_add_up", "outcome_counts", more("n_graded")),
    ("window_rates", "window_counts_add_up", "window_rates", more("n_eligible")),
    ("feedback_lift", "lift_has_its_counts", "feedback_lift", more("n_rescued", 99)),
    ("cycle_curves", "curves_have_their_counts", "cycle_curves", more("n_events", 99)),
]
EXAMPLES = {"no_personal_data": "email", "late_verdicts": "packet_id", "nothing_left_open": "job_id"}


@pytest.mark.parametrize(("table", "name", "broken", "change"), BROKEN, ids=lambda v: v if isinstance(v, str) else "")
def test_a_rule_finds_what_breaks_it_and_where(
    lake: Lake,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    name: str,
    broken: str,
    change: Break,
) -> None:
    monkeypatch.setattr(personal, "_AT_ONCE", 2)  # rows: as if a month had thousands
    rule = rule_named(table, name)
    scopes = lake.partitions(table)
    assert all(found.sound for p, found in judge(rule, lake, registry, scopes).items() if name not in IN_THE_WORLD)
    here = next(
        k for k in lake.partitions(broken) if k.get("cohort", OTHER) == OTHER and has_rows(lake, k, broken, table)
    )
    before = judge(rule, lake, registry, scopes)
    put(lake, broken, here, change(lake.read(broken, here)))
    found = judge(rule, lake, registry, scopes)
    wrong = [scope_of_place(table, p) for p, f in found.items() if (f.errors, f.warnings) != counts(before[p])]
    assert wrong
    assert all(keys[k] == here[k] for keys in wrong for k in keys if k in here)
    (first, *_) = (found[place_of(table, keys)] for keys in wrong)
    assert (first.errors == 0) == (rule.warning or broken == "rubrics")
    assert any(EXAMPLES.get(name, "") in example for example in first.examples)
    assert "miller" not in str(first.examples)  # what a finding says is never repeated


def has_rows(lake: Lake, keys: Mapping[str, str], *tables: str) -> bool:
    own = ({k: v for k, v in keys.items() if k in TABLES[table].partitions} for table in tables)
    return all(lake.read(table, some).num_rows for table, some in zip(tables, own, strict=True))


IN_THE_WORLD = ("nothing_left_open",)
"""The hand-made world has attempts that failed; the others find nothing in it."""


def counts(found: Found) -> tuple[int, int]:
    return found.errors, found.warnings


def test_every_rule_but_those_of_columns_is_broken_above() -> None:
    listed = {(table, name) for table, name, _, _ in BROKEN} | {
        ("repeatability", "repeats_have_their_counts"),  # tests/results/test_repeats_figures.py
        ("attempts", "no_tokens_without_a_price"),  # below
    }
    assert {(r.table, r.name) for some in rules().values() for r in some if r.name != "schema"} == listed


def test_tokens_without_a_cost_are_told_where_the_registry_has_a_price(lake: Lake, tmp_path: Path) -> None:
    rule, scope = rule_named("attempts", "no_tokens_without_a_price"), {**CELLS[3], "round": "agent_alone"}
    rows = lake.read("attempts", scope)
    put(lake, "attempts", scope, all_of(value("cost_usd", None), value("prompt_tokens", 7))(rows))
    registries = []
    for name, price in (("priced", "prices: [{from: 2020-01-01, input: 1, output: 2}]"), ("free", "")):
        folder = tmp_path / name
        shutil.copytree(shipped("data/registry"), folder)
        (folder / "models.yaml").write_text(f"models:\n- name: {scope['model']}\n  litellm: a/b\n  {price}\n")
        registries.append(Registry(folder))
    priced, free = registries
    (found,) = judge(rule, lake, priced, [scope]).values()
    assert (found.errors, found.warnings) == (0, 1)
    assert all(f.sound for f in judge(rule, lake, free, [scope]).values())


# ---- the declaration


def no_column(rows: pa.Table) -> pa.Table:
    return rows.drop_columns(["job_id"])


SCHEMA_BREAKS: list[tuple[str, Break, str]] = [
    ("column missing", lambda rows: rows.drop_columns(["price_usd"]), "column price_usd is missing"),
    ("column added", lambda rows: rows.append_column("extra", pa.nulls(rows.num_rows, pa.string())), "not declared"),
    (
        "another type",
        lambda rows: rows.set_column(
            rows.schema.get_field_index("source_row"), "source_row", rows["source_row"].cast(pa.string())
        ),
        "column source_row is string, declared as int64",
    ),
    (
        "null where none may be",
        lambda rows: rows.set_column(
            rows.schema.get_field_index("source"),
            pa.field("source", pa.string()),
            pa.array([None, *rows["source"].to_pylist()[1:]], pa.string()),
        ),
        "column source holds nulls",
    ),
    ("key twice", lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]), "more than once (1 row(s) too many)"),
    (
        "rows of another month",
        lambda rows: with_column(rows, "cohort", "2020-01"),
        "rows of another cohort stand in this partition: 2020-01",
    ),
]


@pytest.mark.parametrize(("change", "says"), [b[1:] for b in SCHEMA_BREAKS], ids=[b[0] for b in SCHEMA_BREAKS])
def test_a_file_that_is_not_as_declared_is_found(lake: Lake, registry: Registry, change: Break, says: str) -> None:
    keys = {"cohort": OTHER}
    put(lake, "benchmark_jobs", keys, change(lake.read("benchmark_jobs", keys)))
    found = judge(rules()["benchmark_jobs"][0], lake, registry, lake.partitions("benchmark_jobs"))
    assert [place for place, f in found.items() if not f.sound] == [OTHER]
    assert says in " ".join(found[OTHER].examples)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no parquet at all" * 9], ids=["empty", "cut off", "another format"])
def test_a_damaged_file_breaks_its_own_partition_only(lake: Lake, registry: Registry, data: bytes) -> None:
    lake.path("job_states", CELLS[3]).write_bytes(data)
    found = judge(rules()["job_states"][0], lake, registry, CELLS)
    assert [place for place, f in found.items() if f.errors] == [place_of("job_states", CELLS[3])]
    # a rule that compares tables says so too, and still judges the others
    found = judge(rule_named("job_states", "every_job_has_a_state"), lake, registry, CELLS)
    assert [place for place, f in found.items() if f.errors] == [place_of("job_states", CELLS[3])]
    assert "is damaged" in found[place_of("job_states", CELLS[3])].examples[0]


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_a_schema_check_that_passes_on_sound_files(
    two_months: Lake, registry: Registry, table: str
) -> None:
    rule = rules()[table][0]
    assert (rule.name, rule.blocking) == ("schema", True)
    assert all(f.sound for f in judge(rule, two_months, registry, scopes_of(two_months, table)).values())


def test_rows_in_another_order_are_no_error_as_long_as_the_key_is_unique(lake: Lake, registry: Registry) -> None:
    rows = lake.read("job_states", CELLS[0])
    put(lake, "job_states", CELLS[0], rows.take(pc.sort_indices(rows, [("job_id", "descending", "at_end")])))
    assert all(f.sound for f in judge(rules()["job_states"][0], lake, registry, CELLS).values())


# ---- the register


def test_what_has_not_changed_is_not_judged_again(lake: Lake, registry: Registry, register: Register) -> None:
    asked: list[Sequence[Mapping[str, str]]] = []
    sound = rules()["job_states"][0]

    def find(lake: Lake, registry: Registry, scopes: Sequence[Mapping[str, str]]) -> Any:
        asked.append(list(scopes))
        return sound.find(lake, registry, scopes)

    rule = Rule("schema", "job_states", "", find, ("job_states",))
    for _ in range(2):
        assert all(f.sound for f in bring_up_to_date(register, rule, lake, registry, CELLS).values())
    assert asked == [CELLS]
    put(lake, "job_states", CELLS[2], lake.read("job_states", CELLS[2]))
    bring_up_to_date(register, rule, lake, registry, CELLS)
    assert asked == [CELLS, [CELLS[2]]]


def test_a_failure_stands_until_its_files_are_mended(lake: Lake, registry: Registry, register: Register) -> None:
    rule, sound = rules()["job_states"][0], lake.read("job_states", CELLS[1])
    put(lake, "job_states", CELLS[1], pa.concat_tables([sound, sound]))
    bring_up_to_date(register, rule, lake, registry, CELLS)
    assert list(standing(register, rule, lake, registry)) == [place_of("job_states", CELLS[1])]
    bring_up_to_date(register, rule, lake, registry, [CELLS[0]])  # a run of another partition hides nothing
    assert list(standing(register, rule, lake, registry)) == [place_of("job_states", CELLS[1])]
    lake.write("job_states", sound, CELLS[1])
    assert standing(register, rule, lake, registry) == {}


def test_a_damaged_register_is_begun_anew(lake: Lake, registry: Registry, register: Register) -> None:
    rule = rules()["job_states"][0]
    bring_up_to_date(register, rule, lake, registry, CELLS)
    path = register.folder / "job_states.json"
    assert set(json.loads(path.read_text())["schema"]) == {place_of("job_states", cell) for cell in CELLS}
    path.write_text("{not json")
    assert all(f.sound for f in bring_up_to_date(register, rule, lake, registry, CELLS).values())
    assert set(json.loads(path.read_text())["schema"]) == {place_of("job_states", cell) for cell in CELLS}


# ---- what a failure holds back


def held(lake: Lake, registry: Registry, register: Register, made: str, round_: str | None = None) -> set[str]:
    """The partitions of a table that must not be made."""
    names = (
        recipes()[made].inputs
        if made in recipes()
        else {"attempts": ("benchmark_jobs", "rubrics")}.get(made, ("attempts", "benchmark_jobs", "rubrics"))
    )
    shape = TABLES[made].partitions
    scopes = [{k: v for k, v in {**c, "round": round_ or ""}.items() if k in shape} for c in CELLS]
    back = recipes()[made].looks_back if made in recipes() else False
    given = holds.inputs_of(made, names, round_, 12 if back else 0)
    return set(holds.held(register, lake, registry, made, given, scopes))


def fail(lake: Lake, registry: Registry, register: Register, table: str, name: str, keys: Mapping[str, str]) -> None:
    """Put a failure on record, as a rule would that finds one."""
    rule = rule_named(table, name)
    from hapi_pipeline.checks.rules import seen

    register.keep(rule, {place_of(table, keys): Found(seen(rule, lake, keys), errors=1, examples=("made up",))})


ALPHA_THERE = place_of("job_states", {"cohort": OTHER, "model": scenario.ALPHA})
BETA_THERE = place_of("job_states", {"cohort": OTHER, "model": scenario.BETA})
CELL = {"cohort": OTHER, "model": scenario.BETA}
ROUND_CELL = {**CELL, "round": "agent_alone"}
STOPS: list[tuple[str, str, Mapping[str, str], str, str | None, set[str]]] = [
    # a month of curation: nothing is attempted in it, and no table of curation is in its own way
    ("curation_funnel", "funnel_reconciles", {"cohort": OTHER}, "job_states", None, {ALPHA_THERE, BETA_THERE}),
    ("curation_funnel", "funnel_reconciles", {"cohort": OTHER}, "funnel_by_category", None, set()),
    ("curation_funnel", "funnel_reconciles", {"cohort": OTHER}, "rejected_jobs", None, set()),
    ("curation_funnel", "funnel_reconciles", {"cohort": OTHER}, "dataset_overview", None, {""}),
    ("curation_funnel", "categories_add_up", {"cohort": OTHER}, "job_states", None, set()),
    ("in_scope_jobs", "schema", {"cohort": OTHER}, "pii_free_jobs", None, {OTHER}),
    ("in_scope_jobs", "schema", {"cohort": OTHER}, "selected_jobs", None, set()),
    ("curated_jobs", "schema", {"cohort": scenario.COHORT}, "job_clusters", None, {scenario.COHORT, OTHER}),
    ("curated_jobs", "schema", {"cohort": scenario.COHORT}, "selected_jobs", None, {scenario.COHORT}),
    # a month and model
    ("completion_rates", "counts_add_up", CELL, "leaderboard", None, set()),
    ("outcome_counts", "outcomes_add_up", CELL, "completion_rates", None, {BETA_THERE}),
    ("outcome_counts", "outcomes_add_up", CELL, "window_rates", None, {""}),
    ("job_states", "every_job_has_a_state", CELL, "outcome_counts", None, {BETA_THERE}),
    # a round of a month and model
    ("verdicts", "every_verdict_has_an_attempt", ROUND_CELL, "attempt_outcomes", None, {BETA_THERE}),
    ("verdicts", "every_verdict_has_an_attempt", ROUND_CELL, "attempts", "agent_alone", set()),
    ("verdicts", "every_verdict_has_an_attempt", ROUND_CELL, "attempts", "feedback_1", {f"{BETA_THERE}|feedback_1"}),
    ("attempts", "every_attempt_has_a_job", ROUND_CELL, "packets", "agent_alone", {f"{BETA_THERE}|agent_alone"}),
    ("attempts", "every_attempt_has_a_job", ROUND_CELL, "packets", "feedback_1", set()),
    # costs only
    ("attempts", "no_cost_without_tokens", ROUND_CELL, "packets", "agent_alone", set()),
    ("attempts", "no_cost_without_tokens", ROUND_CELL, "attempt_outcomes", None, set()),
    ("attempts", "no_cost_without_tokens", ROUND_CELL, "economics", None, {""}),
    # what leaves
    (
        "benchmark_jobs",
        "no_personal_data",
        {"cohort": OTHER},
        "attempts",
        "agent_alone",
        {f"{ALPHA_THERE}|agent_alone", f"{BETA_THERE}|agent_alone"},
    ),
    # over all months
    ("window_rates", "window_counts_add_up", {}, "category_rates", None, {""}),
    ("window_rates", "window_counts_add_up", {}, "model_comparisons", None, set()),
    # warnings
    ("verdicts", "late_verdicts", ROUND_CELL, "attempt_outcomes", None, set()),
    ("attempts", "nothing_left_open", ROUND_CELL, "packets", "agent_alone", set()),
]


@pytest.mark.parametrize(("table", "name", "keys", "made", "round_", "expected"), STOPS)
def test_a_failure_holds_back_what_must_not_follow_and_nothing_else(
    two_months: Lake,
    registry: Registry,
    register: Register,
    table: str,
    name: str,
    keys: Mapping[str, str],
    made: str,
    round_: str | None,
    expected: set[str],
) -> None:
    fail(two_months, registry, register, table, name, keys)
    assert held(two_months, registry, register, made, round_) == expected


@pytest.mark.parametrize("table", [t for t in TABLES if not TABLES[t].ledger])
def test_a_broken_declaration_holds_back_every_reader_and_never_its_own_table(
    two_months: Lake, registry: Registry, register: Register, table: str
) -> None:
    shape = {"cohort": OTHER, "model": scenario.BETA, "round": "agent_alone"}
    fail(two_months, registry, register, table, "schema", {k: shape[k] for k in TABLES[table].partitions})
    readers = [r for r in recipes().values() if table in r.inputs and r.name not in (table, "verdicts")]
    assert all(held(two_months, registry, register, r.name) for r in readers)
    if table in recipes() and table != "verdicts":
        assert not held(two_months, registry, register, table)


def test_a_damaged_ledger_holds_back_what_is_made_from_it(lake: Lake, registry: Registry, register: Register) -> None:
    assert held(lake, registry, register, "job_posts") == set()
    next(iter(lake.files("job_exports"))).write_bytes(b"PAR1")
    assert held(lake, registry, register, "job_posts") == {scenario.COHORT, OTHER}
    assert held(lake, registry, register, "fixed_price_jobs") == set()


def test_whoever_reads_a_table_is_known_for_each_that_can_be_doubted() -> None:
    assert {rule.table for some in blocking().values() for rule in some} == set(TABLES)
    assert CHAIN[0] in holds.upstream("curation_funnel")
