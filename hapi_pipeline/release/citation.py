"""CITATION.cff: how a release is cited, in the Citation File Format 1.2.0."""

from __future__ import annotations

from typing import Any

import yaml

from hapi_pipeline.release.facts import Facts


def citation(facts: Facts) -> dict[str, Any]:
    """The entries of CITATION.cff."""
    told: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": "If you use this dataset, please cite it as below, with its version."
        + (" It is simulated: cite it as an example of the pipeline, never as a result." if facts.simulated else ""),
        "type": "dataset",
        "title": facts.title,
        "version": facts.version,
        "date-released": facts.day,
        "authors": [{"name": name} for name in facts.authors],
        "license": facts.licence,
        "keywords": ["benchmark", "agents", "human feedback", "freelance work"] + ["simulated"] * facts.simulated,
    }
    if facts.publish.url:
        told["url"] = facts.publish.url
    return told


def citation_text(facts: Facts) -> str:
    """CITATION.cff."""
    return str(yaml.safe_dump(citation(facts), sort_keys=False, allow_unicode=True, width=100))


def bibtex(facts: Facts) -> str:
    """The same for a bibliography."""
    key = "hapi_" + "".join(c if c.isalnum() else "_" for c in facts.version)
    authors = " and ".join(f"{{{_tex(name)}}}" for name in facts.authors)
    lines = [
        f"@misc{{{key},",
        f"  title   = {{{_tex(facts.title)}}},",
        f"  author  = {{{authors}}},",
        f"  year    = {{{facts.as_of.year}}},",
        f"  version = {{{facts.version}}},",
        *([f"  url     = {{{facts.publish.url}}},"] if facts.publish.url else []),
        "}",
    ]
    return "\n".join(lines)


def _tex(text: str) -> str:
    return "".join(f"\\{c}" if c in "&%$#_{}" else c for c in text)
