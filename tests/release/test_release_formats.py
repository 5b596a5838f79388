"""A release as others read it: mlcroissant, the Hugging Face Hub, the Citation File Format, Every Eval Ever."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from hapi_pipeline.release import Release, card, citation
from hapi_pipeline.release.croissant import CONFORMS_TO
from tests import scenario
from tests.release.conftest import World

SCHEMAS = Path(__file__).parent / "schemas"


# mlcroissant calls pandas in a way that pandas 4 will not know
@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
@pytest.mark.filterwarnings("ignore:ConjunctiveGraph:DeprecationWarning")
def test_mlcroissant_loads_every_record_set(made: Release) -> None:
    mlc = pytest.importorskip("mlcroissant", reason="needs the package mlcroissant")
    from absl import logging as absl_logging

    # its handler took the stream that pytest captures, and closes it once somebody configures logging anew
    absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__
    dataset = mlc.Dataset(jsonld=str(made.path / "croissant.json"))  # raises where it does not validate
    assert dataset.metadata.issues.errors == set()
    assert dataset.metadata.issues.warnings == set()
    assert {rs.id for rs in dataset.metadata.record_sets} == set(made.manifest["tables"])
    for record_set in dataset.metadata.record_sets:
        told = made.manifest["tables"][record_set.id]
        records = list(dataset.records(record_set=record_set.id))
        assert len(records) == told["rows"]
        assert {k for r in records for k in r} <= {f"{record_set.id}/{c}" for c in told["columns"]}
    states = list(dataset.records(record_set="job_states"))
    assert {r["job_states/state"] for r in states} >= {b"complete", b"failed"}
    row = next(
        r
        for r in dataset.records(record_set="leaderboard")
        if (r["leaderboard/model"], r["leaderboard/round"], r["leaderboard/rule"], r["leaderboard/window"])
        == (scenario.BETA.encode(), b"agent_alone", b"all_criteria", b"all")
    )
    assert (row["leaderboard/n_completed"], row["leaderboard/n_eligible"]) == (1, 4)


def test_croissant_names_every_file_with_its_hash(made: Release) -> None:
    told = json.loads((made.path / "croissant.json").read_text())
    assert told["conformsTo"] == CONFORMS_TO
    for file in told["distribution"]:
        assert not file["contentUrl"].startswith(("/", "http"))
        table = next(t for t in made.manifest["tables"].values() if t["parquet"] == file["contentUrl"])
        assert file["sha256"] == table["sha256"][file["contentUrl"]]
    assert told["name"] == "Shelves & <books>"
    assert told["license"] == "https://spdx.org/licenses/CC-BY-4.0.html"


def test_the_citation_is_valid(made: Release) -> None:
    told = yaml.safe_load((made.path / "CITATION.cff").read_text())
    schema = json.loads((SCHEMAS / "citation-file-format-1.2.0.schema.json").read_text())
    jsonschema.validate(told, schema)
    assert told["type"] == "dataset"
    assert told["version"] == "1.0"
    assert [a["name"] for a in told["authors"]] == ["The Library_1", "Ann O'Neil"]
    assert told["date-released"] == "2026-03-20"


def test_every_eval_ever_records_are_valid(made: Release) -> None:
    schema = json.loads((SCHEMAS / "every_eval_ever-0.3.0.schema.json").read_text())
    paths = sorted((made.path / "every_eval_ever").rglob("*.json"))
    assert len(paths) == 2
    by_model = {}
    for path in paths:
        record = json.loads(path.read_text())
        jsonschema.validate(record, schema)
        parts = path.relative_to(made.path / "every_eval_ever").parts
        assert parts[:2] == ("data", "hapi")
        assert "/".join(parts[2:4]) == record["model_info"]["id"]
        assert path.stem[14] == "4"  # a UUID of version 4
        by_model[record["model_info"]["name"]] = record
        for result in record["evaluation_results"]:
            score = result["score_details"]["score"]
            interval = result["score_details"]["uncertainty"]["confidence_interval"]
            assert 0 <= interval["lower"] <= score <= interval["upper"] <= 1
    results = {r["evaluation_result_id"]: r for r in by_model[scenario.BETA]["evaluation_results"]}
    told = results["hapi.agent_alone.all_criteria"]["score_details"]
    assert (told["score"], told["details"]["n_completed"], told["uncertainty"]["num_samples"]) == (0.25, "1", 4)


def front(release: Release) -> dict[str, Any]:
    text = (release.path / "README.md").read_text()
    assert text.startswith("---\n")
    told: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return told


def test_the_card_is_one_of_the_hub(made: Release) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="needs the package huggingface_hub")
    loaded = hub.DatasetCard.load(made.path / "README.md")
    told = loaded.data.to_dict()
    assert told == front(made)
    known = {"annotations_creators", "license", "source_datasets", "task_categories", "pretty_name", "size_categories"}
    assert set(told) - known == {"tags", "configs"}
    assert told["license"] == "cc-by-4.0"
    for config in told["configs"]:
        (files,) = config["data_files"]
        assert (made.path / files["path"]).is_file()
        assert made.manifest["tables"][config["config_name"]]["rows"] > 0
    assert [c["config_name"] for c in told["configs"] if c.get("default")] == ["benchmark_jobs"]
    assert "# Shelves & \\<books\\> 1.0" in loaded.text


def test_a_licence_that_the_hub_does_not_list_is_named(here: World) -> None:
    here.publish(licence="LiLiQ-P-1.1")
    told = front(here.release("1.0"))
    assert (told["license"], told["license_name"]) == ("other", "liliq-p-1.1")
    assert told["license_link"].endswith("/LiLiQ-P-1.1.html")


@pytest.mark.parametrize(
    ("rows", "name"), [(0, "n<1K"), (999, "n<1K"), (1_000, "1K<n<10K"), (81_254, "10K<n<100K"), (10**9, "1B<n<10B")]
)
def test_sizes_are_those_of_the_hub(rows: int, name: str) -> None:
    assert card.size_category(rows) == name


def test_the_results_of_the_card_are_those_of_the_tables(made: Release) -> None:
    text = (made.path / "README.md").read_text()
    assert "| agent_alone | Beta | 1 | 4 | 25.0 % |" in text
    assert "Alpha/1 (beta), v.2" in text


def test_the_dictionary_names_every_column(made: Release) -> None:
    text = (made.path / "DICTIONARY.md").read_text()
    for name, told in made.manifest["tables"].items():
        section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")][1:] == told[
            "columns"
        ]


def test_names_in_a_bibliography_are_escaped() -> None:
    assert citation._tex("A & B_1 {100%}") == "A \\& B\\_1 \\{100\\%\\}"
