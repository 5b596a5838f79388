"""What the attempts still lack: those that failed for reasons that are not the model's, and those that are not made,
or whose tokens have no price.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hapi_pipeline.checks.rules import Row, Rule, Scope, violations
from hapi_pipeline.lake import Lake
from hapi_pipeline.naming import digest
from hapi_pipeline.registry import Registry
from hapi_pipeline.standing import LEFT

_FAILED = """
SELECT cohort, model, round, job_id, 'failed for reasons that are not the model''s' AS problem, finish_reason,
       try_number AS tries
FROM attempts WHERE is_current AND status = 'infra' ORDER BY ALL
"""
_UNPRICED = """
SELECT cohort, model, round, finished_at::DATE AS day, count(*) AS attempts,
       sum(prompt_tokens + completion_tokens)::BIGINT AS tokens
FROM attempts WHERE cost_usd IS NULL AND prompt_tokens + completion_tokens > 0
GROUP BY ALL ORDER BY ALL
"""


def open_cells(lake: Lake, registry: Registry, scopes: Sequence[Scope]) -> Iterator[Row]:
    """Attempts that failed for good so far, and months in which some that are due are missing, with the reason."""
    yield from violations(lake, _FAILED, ["attempts"])
    models = {m.name: m for m in registry.models}
    for scope in scopes:
        model = models.get(scope["model"])
        inputs = lake.inputs("attempts", scope) or ""
        if inputs.startswith(LEFT) and model is not None and not model.external and not model.retired:
            why = inputs.removeprefix(LEFT).removeprefix(": ") or "the next run makes them"
            yield {**scope, "problem": "attempts that are due are missing", "because": why}


def unpriced(lake: Lake, registry: Registry, scopes: Sequence[Scope]) -> Iterator[Row]:
    """Attempts without a cost on days for which the registry has a price."""
    models = {m.name: m for m in registry.models}
    for row in violations(lake, _UNPRICED, ["attempts"]):
        model = models.get(row["model"])
        if model is not None and model.price_on(row["day"]) is not None:
            yield row


RULES = (
    Rule(
        "nothing_left_open",
        "attempts",
        "No attempt is missing that is due, and none failed for reasons that are not the model's.",
        open_cells,
        ("attempts",),
        version=lambda: digest(_FAILED, length=16),
        warning=True,
        mend="`hapi refresh` tries again what may be tried again; `hapi models` says what each model lacks.",
    ),
    Rule(
        "no_tokens_without_a_price",
        "attempts",
        "Where the registry has a price for the day, tokens have a cost.",
        unpriced,
        ("attempts",),
        version=lambda: digest(_UNPRICED, length=16),
        warning=True,
        mend="What an attempt cost was fixed when it was made; the figures of cost leave it out and say so.",
    ),
)
