"""The feed: the headline tables as one stable JSON document, for other people's pages.

`leaderboard.json` follows a JSON Schema (draft 2020-12) that lies beside it and gives every field its meaning and
unit, from the same declarations as the data dictionary. Within version 1 fields are only ever added, never renamed,
removed or given another meaning; whoever reads it ignores what it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hapi_pipeline import __version__
from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.lake import Lake, write_bytes
from hapi_pipeline.made import PLACES, made_from
from hapi_pipeline.registry import Registry
from hapi_pipeline.release.searched import check_labels
from hapi_pipeline.rounds import ROUNDS
from hapi_pipeline.settings import Home
from hapi_pipeline.tables import TABLES
from hapi_pipeline.warehouse import newest_import

MAJOR, VERSION = 1, "1.0"
"""The folder of the feed, and its version: the second number rises when fields are added."""
SCHEMA_NAME = "leaderboard.schema.json"
SHIPPED_SCHEMA = Path(__file__).parent / "schema" / "leaderboard_feed.schema.json"

RULES = {
    "all_criteria": "A job is completed when every criterion of its rubric passed.",
    "required_criteria": "A job is completed when every critical and important criterion of its rubric passed.",
}
WINDOWS = {
    "all": "All months.",
    "last_12": "The twelve newest months of the benchmark.",
    "post_cutoff": "Jobs after the end of the model's training data (of both models, in comparisons).",
}


@dataclass(frozen=True)
class Part:
    """One list of the feed: which table, which rows, which columns; `grouped` are intervals as objects."""

    name: str
    table: str
    meaning: str
    columns: tuple[str, ...]
    grouped: Mapping[str, tuple[str, str, str]]  # name in the feed: columns of value, lower and upper end
    where: str = "true"
    order: str = ""


_COUNTS = (
    "n_eligible", "n_attempted", "n_unattempted", "n_pending", "n_infra", "n_graded", "n_completed", "n_retried",
    "n_rescued",
)  # fmt: skip
_RATE = {"rate": ("rate", "rate_lo", "rate_hi"), "rate_graded": ("rate_graded", "rate_graded_lo", "rate_graded_hi")}

PARTS: tuple[Part, ...] = (
    Part(
        "leaderboard",
        "leaderboard",
        "Completion by model and round, with the places that the data can tell apart.",
        ("window", "rule", "round", "model", "rank", "rank_lo", "rank_hi", "tie_group", *_COUNTS, "bound_lo",
         "bound_hi", "mde_pp", "cohorts", "first_cohort", "last_cohort", "n_attempts", "cost_usd", "simulated"),
        {**_RATE, "earn_rate": ("earn_rate", "earn_lo", "earn_hi"),
         "rate_standardised": ("rate_std", "rate_std_lo", "rate_std_hi")},
        order="window, rule, round, rank, model",
    ),
    Part(
        "categories",
        "category_rates",
        "Completion by category of work, over all months, under the benchmark's completion rule.",
        ("window", "rule", "category", "round", "model", *_COUNTS, "bound_lo", "bound_hi", "simulated"),
        _RATE,
        "\"window\" = 'all' AND rule = $rule",
        "category, round, model",
    ),
    Part(
        "lift",
        "feedback_lift",
        "What each round after the first added, and what feedback added beyond a second try without it.",
        ("window", "rule", "round", "model", "n_eligible", "n_before", "n_failed_before", "n_retried", "n_rescued",
         "n_completed", "control_round", "n_paired", "n_only_feedback", "n_only_control", "simulated"),
        {"lift_points": ("lift_points", "lift_lo", "lift_hi"), "net_points": ("net_points", "net_lo", "net_hi"),
         "rescue_of_retried": ("rescue_of_retried", "rescue_lo", "rescue_hi")},
        order="window, rule, round, model",
    ),
    Part(
        "comparisons",
        "model_comparisons",
        "Two models on the same jobs.",
        ("window", "rule", "round", "model_a", "model_b", "n_common", "n_both", "n_only_a", "n_only_b", "n_neither",
         "rate_a", "rate_b", "p_holm", "significant", "simulated"),
        {"difference": ("difference", "diff_lo", "diff_hi")},
        order="window, rule, round, model_a, model_b",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Fed:
    """What a feed holds."""

    path: Path
    schema: Path
    rows: int
    models: int
    bytes: int
    simulated: bool


def feed_path(home: Home) -> Path:
    """Where the feed of a home stands."""
    return home.releases / PLACES["leaderboard_feed"]


def build_feed(lake: Lake, registry: Registry, out: Path, state: str | None = None) -> Fed:
    """Write the feed and, first, its schema beside it. The same lake gives the same bytes.

    `state` is `made_from(lake, registry)` where the caller has it already.
    """
    check_labels(lake, registry)
    document = feed(lake, registry, state or made_from(lake, registry))
    beside = out.with_name(SCHEMA_NAME)
    write_bytes(beside, written(schema()))
    data = written(document)
    write_bytes(out, data)
    rows = sum(len(document[part.name]) for part in PARTS)
    return Fed(out, beside, rows, len(document["models"]), len(data), document["simulated"])


def written(document: Mapping[str, Any]) -> bytes:
    """A document as bytes; a number that JSON does not have is an error, never NaN."""
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def feed(lake: Lake, registry: Registry, state: str) -> dict[str, Any]:
    """The document."""
    with connect() as connection:
        open_tables(connection, lake, ["benchmark_jobs", *(part.table for part in PARTS)])

        def ask(sql: str) -> list[dict[str, Any]]:
            given = {"rule": registry.benchmark.completion_rule} if "$rule" in sql else {}
            found: list[dict[str, Any]] = connection.sql(sql, params=given).to_arrow_table().to_pylist()
            return found

        parts = {part.name: [_row(part, row) for row in ask(_select(part))] for part in PARTS}
        (jobs,) = ask(
            "SELECT count(*) AS n_jobs, count(DISTINCT cohort) AS cohorts, min(cohort) AS first_cohort, "
            "max(cohort) AS last_cohort, coalesce(bool_or(simulated), false) AS simulated FROM benchmark_jobs"
        )
    simulated = bool(jobs.pop("simulated")) or any(row["simulated"] for rows in parts.values() for row in rows)
    return {
        "feed": "hapi-leaderboard",
        "version": VERSION,
        "simulated": simulated,
        "as_of": newest_import(lake) or None,
        "made_by": {"name": "hapi_pipeline", "version": __version__},
        "made_from": state,
        "benchmark_version": registry.benchmark.version,
        "completion_rule": registry.benchmark.completion_rule,
        "jobs": jobs,
        "rules": RULES,
        "windows": WINDOWS,
        "rounds": [
            {"round": r.name, "turn": r.turn, "arm": r.arm, "after": r.after, "meaning": r.meaning} for r in ROUNDS
        ],
        "models": _models(registry, parts["leaderboard"]),
        **parts,
    }


def _select(part: Part) -> str:
    columns = dict.fromkeys([*part.columns, *(c for ends in part.grouped.values() for c in ends)])
    named = ", ".join(f't."{c}"' for c in columns)
    order = ", ".join(f't."{c.strip()}"' for c in part.order.split(","))
    return f'SELECT {named} FROM "{part.table}" t WHERE {part.where} ORDER BY {order}'  # noqa: S608


def _row(part: Part, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table as an object of the feed: intervals grouped, the flag last."""
    found = {c: row[c] for c in part.columns if c != "simulated"}
    for name, ends in part.grouped.items():
        value, lo, hi = (row[c] for c in ends)
        found[name] = None if value is None else {"value": value, "lo": lo, "hi": hi}
    return {**found, "simulated": row["simulated"]}


def _models(registry: Registry, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every model with a row, as the registry states it."""
    known = {m.name: m for m in registry.models}
    found = []
    for name in sorted({row["model"] for row in rows}):
        model = known.get(name)
        found.append(
            {
                "model": name,
                "training_cutoff": model.training_cutoff if model else None,
                "external": bool(model and model.external),
                "retired": bool(model and model.retired),
                "simulated": bool(model and model.simulated),
            }
        )
    return found


# ---- the schema


def schema() -> dict[str, Any]:
    """The JSON Schema of the feed: every field with its meaning and unit."""
    top = {
        "feed": {"const": "hapi-leaderboard", "description": "What this document is"},
        "version": {
            "type": "string",
            "pattern": rf"^{MAJOR}\.[0-9]+$",
            "description": "Version of the feed. Within 1, fields are only added; ignore those that you do not know",
        },
        "simulated": {
            "type": "boolean",
            "description": "Whether any of it was made by the simulator; whoever shows simulated figures says so",
        },
        "as_of": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "When the newest file came in that these figures know of (UTC); null without any import",
        },
        "made_by": _object(
            {"name": _text("Name of the program"), "version": _text("Its version")}, "The program that made it"
        ),
        "made_from": _text("Hash over everything that the figures were made from: the same hash, the same figures"),
        "benchmark_version": _text("Version of the benchmark's rules"),
        "completion_rule": _one_of(RULES, "The rule of the headline, and of `categories`"),
        "jobs": _object(
            {
                "n_jobs": _count("Jobs of the benchmark [jobs]"),
                "cohorts": _count("Months that they were completed in [months]"),
                "first_cohort": {"type": ["string", "null"], "description": "Earliest of them, as YYYY-MM"},
                "last_cohort": {"type": ["string", "null"], "description": "Latest of them, as YYYY-MM"},
            },
            "The jobs that all figures are over",
        ),
        "rules": _object({r: _text(meaning) for r, meaning in RULES.items()}, "When a job counts as completed"),
        "windows": _object({w: _text(meaning) for w, meaning in WINDOWS.items()}, "Which jobs a row is over"),
        "rounds": _list(
            {
                "round": _text("Name of the round"),
                "turn": _count("0 alone, 1 for the second try, 2 for the third"),
                "arm": {"enum": ["human", "control"], "description": "With feedback, or the control arm without"},
                "after": {"type": ["string", "null"], "description": "The round that it goes on from"},
                "meaning": _text("What happens in it"),
            },
            "The rounds that the project knows; not every benchmark runs all of them",
        ),
        "models": _list(
            {
                "model": _text("Name of the model in the registry"),
                "training_cutoff": {"type": ["string", "null"], "description": "Last month of its training data"},
                "external": _flag("Whether its attempts were made elsewhere and handed in"),
                "retired": _flag("Whether no further attempts are made with it"),
                "simulated": _flag("Whether it is played by the simulator"),
            },
            "The models with figures",
        ),
        **{part.name: _list(_fields(part), part.meaning) for part in PARTS},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:hapi-pipeline:feed:v{MAJOR}",
        "title": "HAPI leaderboard feed",
        "description": "Headline tables of a benchmark of human + agent work. Shares are from 0 to 1; null is unknown, "
        "never zero. Every interval is a 95 % interval; counts beside it say over how many jobs.",
        "$defs": {"interval": _INTERVAL},
        **_object(top, ""),
    }


_INTERVAL = {
    "type": "object",
    "description": "A figure with its 95 % interval",
    "properties": {
        "value": {"type": "number", "description": "The figure"},
        "lo": {"type": ["number", "null"], "description": "Lower end of its 95 % interval; null where undefined"},
        "hi": {"type": ["number", "null"], "description": "Upper end of its 95 % interval; null where undefined"},
    },
    "required": ["value", "lo", "hi"],
}


def _fields(part: Part) -> dict[str, Any]:
    """The fields of a row, from the declarations of its table."""
    declared = {c.name: c for c in TABLES[part.table].columns}
    found: dict[str, Any] = {}
    for name in part.columns:
        column = declared[name]
        kind = {"int": "integer", "float": "number", "bool": "boolean"}.get(column.field.type, "string")
        unit = f" [{column.field.unit}]" if column.field.unit else ""
        found[name] = {
            "type": [kind, "null"] if column.nullable else kind,
            "description": column.meaning + unit,
            **({"minimum": 0} if kind == "integer" else {}),
        }
        if name in ("window", "rule"):
            found[name]["enum"] = list(WINDOWS if name == "window" else RULES)
    for name, (value, _, _) in part.grouped.items():
        column = declared[value]
        unit = f" [{column.field.unit}]" if column.field.unit else ""
        found[name] = {
            "description": column.meaning + unit,
            "oneOf": [{"$ref": "#/$defs/interval"}, {"type": "null"}],
        }
    return found


def _object(fields: Mapping[str, Any], meaning: str) -> dict[str, Any]:
    said = {"description": meaning} if meaning else {}
    return {"type": "object", **said, "properties": dict(fields), "required": list(fields)}


def _list(fields: Mapping[str, Any], meaning: str) -> dict[str, Any]:
    return {"type": "array", "description": meaning, "items": _object(fields, "")}


def _text(meaning: str) -> dict[str, Any]:
    return {"type": "string", "description": meaning}


def _flag(meaning: str) -> dict[str, Any]:
    return {"type": "boolean", "description": meaning}


def _count(meaning: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "description": meaning}


def _one_of(values: Sequence[str] | Mapping[str, str], meaning: str) -> dict[str, Any]:
    return {"enum": list(values), "description": meaning}


if __name__ == "__main__":
    SHIPPED_SCHEMA.write_bytes(written(schema()))
