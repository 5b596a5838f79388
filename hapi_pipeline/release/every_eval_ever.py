"""Records in the form of Every Eval Ever, so that the headline results can be compared with those of other benchmarks.

Format: schema 0.3.0 of https://github.com/evaleval/every_eval_ever, one record a model, aggregated results only.
Files are placed as that project's datastore wants them: data/<collection>/<developer>/<model>/<uuid>.json.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from hapi_pipeline.naming import digest
from hapi_pipeline.registry import Model
from hapi_pipeline.release.facts import PROJECT, Facts

SCHEMA_VERSION = "0.3.0"
_COLLECTION = "hapi"
_FOLDER = "every_eval_ever"


def records(facts: Facts) -> dict[str, dict[str, Any]]:
    """Path within the release -> record; a model without any rate has none."""
    found = {}
    for name in sorted({str(row["model"]) for row in facts.leaderboard}):
        results = list(_results(facts, name))
        if results:
            record = _record(facts, name, results)
            found[_path(record)] = record
    return found


def _record(facts: Facts, name: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    model, moment = facts.models.get(name), str(int(facts.as_of.timestamp()))
    developer, ident = _identity(name, model, facts.simulated)
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{_COLLECTION}/{ident.replace('/', '_')}/{name}/{facts.version}",
        "evaluation_timestamp": moment,
        "retrieved_timestamp": moment,
        "source_metadata": {
            "source_name": facts.title,
            "source_type": "evaluation_run",
            "source_organization_name": "; ".join(facts.authors),
            "evaluator_relationship": "other",
            "additional_details": {"release": facts.version, "simulated": str(facts.simulated).lower()},
        },
        "eval_library": {"name": PROJECT, "version": facts.program},
        "model_info": {
            "name": name,
            "id": ident,
            "developer": developer,
            "additional_details": {"deployment_type": "unknown", "model_availability": "unknown"}
            | ({"training_cutoff": model.training_cutoff} if model and model.training_cutoff else {}),
        },
        "evaluation_results": results,
    }


def _identity(name: str, model: Model | None, simulated: bool) -> tuple[str, str]:
    """(developer, id) of a model; of a simulated one never those of the model that is played."""
    if simulated or (model is not None and model.simulated):
        return "simulated", f"simulated/{_plain(name)}"
    developer, slash, rest = ((model.litellm if model else None) or "").partition("/")
    return (
        (_plain(developer), f"{_plain(developer)}/{_plain(rest)}") if slash else ("unknown", f"unknown/{_plain(name)}")
    )


def _plain(text: str) -> str:
    """A text as part of a path on any system."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text).strip(".-") or "model"


def _path(record: Mapping[str, Any]) -> str:
    """Where a record stands; models that share an id are told apart by the UUID."""
    unique = uuid.UUID(hex=digest(record["evaluation_id"], length=32), version=4)  # the same release gives it again
    return f"{_FOLDER}/data/{_COLLECTION}/{record['model_info']['id']}/{unique}.json"


def _results(facts: Facts, name: str) -> Iterator[dict[str, Any]]:
    for row in facts.leaderboard:
        if row["model"] == name and row["window"] == "all" and row["rate"] is not None:
            yield _result(facts, row)


def _result(facts: Facts, row: Mapping[str, Any]) -> dict[str, Any]:
    ident = f"{_COLLECTION}.{row['round']}.{row['rule']}"
    counts = ("n_eligible", "n_attempted", "n_graded", "n_completed", "n_pending", "n_infra", "n_unattempted")
    uncertainty: dict[str, Any] = {"num_samples": row["n_eligible"]}
    if row["rate_lo"] is not None and row["rate_hi"] is not None:
        uncertainty["confidence_interval"] = {
            "lower": row["rate_lo"], "upper": row["rate_hi"], "confidence_level": 0.95, "method": "Wilson",
        }  # fmt: skip
    return {
        "evaluation_result_id": ident,
        "evaluation_name": ident,
        "source_data": {
            "dataset_name": facts.title,
            **({"source_type": "url", "url": [facts.publish.url]} if facts.publish.url else {"source_type": "other"}),
            "additional_details": {
                "version": facts.version,
                "first_cohort": row["first_cohort"],
                "last_cohort": row["last_cohort"],
            },
        },
        "metric_config": {
            "evaluation_description": "Paid freelance jobs whose deliverables a human expert accepts on every criterion"
            f" of the rule {row['rule']}, after the round {row['round']} or an earlier one.",
            "metric_id": f"{_COLLECTION}.completion_rate",
            "metric_name": "completion rate",
            "metric_kind": "pass_rate",
            "metric_unit": "proportion",
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0.0,
            "max_score": 1.0,
        },
        "score_details": {
            "score": row["rate"],
            "details": {k: str(row[k]) for k in counts} | {"simulated": str(row["simulated"]).lower()},
            "uncertainty": uncertainty,
        },
    }
