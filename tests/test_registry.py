from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline.registry import Model, Pool, Price, Registry
from hapi_pipeline.settings import UserError, shipped


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(shipped("data/registry"), tmp_path / "registry")
    return tmp_path / "registry"


def changed(folder: Path, path: str, value: Any) -> Registry:
    """The registry with one value of benchmark.yaml changed; `path` is written with dots."""
    data = yaml.safe_load((folder / "benchmark.yaml").read_text())
    *parents, last = path.split(".")
    place = data
    for parent in parents:
        place = place[parent]
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    (folder / "benchmark.yaml").write_text(yaml.safe_dump(data))
    return Registry(folder)


def test_the_shipped_rules_are_those_of_the_benchmark(registry: Registry) -> None:
    rules = registry.benchmark.rules
    assert (rules.max_price_usd, rules.max_milestones, rules.require_paid, rules.allow_price_change) == (
        500,
        1,
        True,
        False,
    )
    assert (registry.benchmark.min_criteria, registry.benchmark.max_criteria) == (5, 20)
    assert registry.benchmark.completion_rule == "all_criteria"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("rules.max_price_usd", "cheap"),
        ("rules.max_price_usd", KeyError),
        ("rules", None),
        ("rules", []),
        ("rubric", KeyError),
        ("rules.categories", "Writing"),
        ("rules.job_types", "fixed"),
        ("rules.statuses", [1]),
        ("cohorts.first", "2020-13"),
        ("cohorts", "2020-01"),
        ("rounds", ["agent_alone", "feedback_7"]),
        ("rounds", ["feedback_1"]),
        ("rounds", "agent_alone"),
        ("rounds", ["agent_alone", "agent_alone"]),
        ("completion_rule", "most_criteria"),
        ("agent", {"max_stepz": 3}),
        ("agent", [1]),
        ("rubric.min_criteria", [5]),
    ],
)
def test_a_wrong_value_in_the_rules_is_named_in_one_sentence(folder: Path, path: str, value: Any) -> None:
    with pytest.raises(UserError, match=r"benchmark\.yaml") as refused:
        _ = changed(folder, path, value).benchmark
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["a: [", "- 1", "\t", "", "version: '\\ud800", "a: \x00"])
def test_a_file_that_is_no_yaml_is_named(folder: Path, text: str) -> None:
    (folder / "models.yaml").write_text(text)
    with pytest.raises(UserError, match=r"models\.yaml"):
        _ = Registry(folder).models


@pytest.mark.parametrize(
    "models",
    [
        "A",
        [1],
        ["A"],
        [{}],
        [{"name": ""}],
        [{"name": " "}],
        [{"name": "A"}, {"name": "A"}],
        [{"name": "A"}, {"name": "a"}],
        [{"name": "Twice"}, {"name": "Twice"}],
        [{"name": "A", "agent_profile": "wild"}],
        [{"name": "A", "max_tokens": "many"}],
        [{"name": "A", "prices": [{"from": "soon", "input": 1, "output": 1}]}],
        [{"name": "A", "prices": [{"input": 1}]}],
        [{"name": "A", "prices": "free"}],
        [{"name": "A", "pool": "fast"}],
        [{"name": "é" * 60}],
    ],
)
def test_a_model_that_is_none_is_refused(folder: Path, models: Any) -> None:
    (folder / "models.yaml").write_text(yaml.safe_dump({"models": models}))
    with pytest.raises(UserError, match=r"models\.yaml"):
        _ = Registry(folder).models


def test_an_unknown_model_or_source_is_refused_with_those_that_exist(folder: Path) -> None:
    registry = Registry(folder)
    registry.save_models([Model("Quill", None)])
    with pytest.raises(UserError, match="Quill"):
        registry.model("Feather")
    for name in ("nowhere", "../models", "", "a/b", "canonical\n"):
        with pytest.raises(UserError, match="known sources are: canonical"):
            registry.source(name)


@pytest.mark.parametrize(
    "text",
    [
        "fields: {title: t}",
        "fields:",
        "fields: [a]",
        "x: 1",
        "fields: {job_id: }",
        "fields: {job_id: i}\nrequired: job_id",
        "fields: {job_id: i}\nassume: [a]",
    ],
)
def test_a_source_that_maps_nothing_is_refused(folder: Path, text: str) -> None:
    (folder / "sources" / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml"):
        Registry(folder).source("mine")


@pytest.mark.parametrize("path", sorted(shipped("data/registry/sources").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_source_can_be_read(registry: Registry, path: Path) -> None:
    source = registry.source(path.stem)
    assert {"job_id", *source.required} <= set(source.fields)


PRICES = st.builds(
    Price,
    valid_from=st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    input=st.floats(0, 100),
    output=st.floats(0, 100),
    cached_read=st.none() | st.floats(0, 9),
    cache_write=st.none() | st.floats(0, 9),
)
NAMES = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=12)
MODELS = st.builds(
    Model,
    name=NAMES,
    litellm=st.none() | NAMES,
    agent_profile=st.sampled_from(["paper", "code", "external"]),
    parameters=st.dictionaries(NAMES, st.integers() | st.booleans() | NAMES, max_size=2),
    max_tokens=st.integers(1, 10**6),
    prices=st.lists(PRICES, max_size=2).map(tuple),
    training_cutoff=st.none() | st.just("2026-06") | st.just("2026-06-01"),
    pool=st.builds(Pool, NAMES, st.integers(1, 99), st.none() | st.integers(1, 99)),
    api_base=st.none() | NAMES,
    api_key_env=st.none() | NAMES,
    retired=st.booleans(),
)


@settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(models=st.lists(MODELS, max_size=3, unique_by=lambda m: m.name.casefold()))
def test_models_are_read_as_they_were_saved(folder: Path, models: list[Model]) -> None:
    Registry(folder).save_models(models)
    assert list(Registry(folder).models) == models
    assert (folder / "models.yaml").read_text().startswith("# The models under evaluation")


def test_a_price_list_is_valid_from_its_date_on() -> None:
    model = Model("A", "a", prices=(Price(date(2026, 3, 1), 2, 2), Price(date(2026, 1, 1), 1, 1)))
    found = [
        model.price_on(date(2025, 12, 31)),
        model.price_on(date(2026, 2, 28)),
        model.price_on(date(2026, 3, 1)),
    ]
    assert [p and p.input for p in found] == [None, 1, 2]


def test_a_date_written_without_quotes_is_text_all_the_same(folder: Path) -> None:
    (folder / "models.yaml").write_text("models: [{name: A, training_cutoff: 2026-06-01}]")
    assert Registry(folder).models[0].training_cutoff == "2026-06-01"
