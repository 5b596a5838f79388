"""README.md, the dataset card in the form of the Hugging Face Hub, and the data dictionary of a release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from hapi_pipeline.release.citation import bibtex
from hapi_pipeline.release.facts import PROJECT, Facts, TableFiles
from hapi_pipeline.release.public import CLEARED_ONLY, HIDDEN, PRIVATE, PUBLIC, cleared_only_columns, hidden_columns

SIMULATED = (
    "**Simulated data.** Jobs, agents or graders were played by a program; the column `simulated` says so of each row. "
    "The figures show what the pipeline makes. They say nothing about any model."
)
_HUB_LICENCES = {
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
    "CC0-1.0": "cc0-1.0",
    "CC-BY-4.0": "cc-by-4.0",
    "CC-BY-SA-4.0": "cc-by-sa-4.0",
    "CC-BY-NC-4.0": "cc-by-nc-4.0",
    "CC-BY-ND-4.0": "cc-by-nd-4.0",
    "CC-BY-NC-SA-4.0": "cc-by-nc-sa-4.0",
    "CC-BY-NC-ND-4.0": "cc-by-nc-nd-4.0",
    "ODC-By-1.0": "odc-by",
    "ODbL-1.0": "odbl",
    "PDDL-1.0": "pddl",
    "CDLA-Permissive-1.0": "cdla-permissive-1.0",
    "CDLA-Permissive-2.0": "cdla-permissive-2.0",
    "CDLA-Sharing-1.0": "cdla-sharing-1.0",
}
"""SPDX identifiers of licences that the Hub knows, by the names that it has for them."""
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
)
_DEFAULT = "benchmark_jobs"


# ---- the card


def front_matter(facts: Facts) -> dict[str, Any]:
    """What the Hub reads of a card."""
    known = _HUB_LICENCES.get(facts.licence)
    licence: dict[str, Any] = {"license": known} if known else {
        "license": "other",
        "license_name": facts.licence.lower(),
        "license_link": f"https://spdx.org/licenses/{facts.licence}.html",
    }  # fmt: skip
    return {
        "pretty_name": facts.title,
        **licence,
        "annotations_creators": ["machine-generated" if facts.simulated else "expert-generated"],
        "source_datasets": ["original"],
        "task_categories": ["other"],
        "tags": ["benchmark", "agents", "human-feedback", "freelance", "croissant"] + ["simulated"] * facts.simulated,
        "size_categories": [size_category(sum(one.n_rows for one in facts.tables.values()))],
        "configs": [
            {"config_name": name, "data_files": [{"split": "test", "path": one.parquet}]}
            | ({"default": True} if name == _DEFAULT else {})
            for name, one in facts.tables.items()
            if one.n_rows  # the library `datasets` cannot load a Parquet file without rows
        ],
    }


def size_category(rows: int) -> str:
    """The Hub's name for so many rows."""
    return next((name for limit, name in _SIZES if rows < limit), "n>1T" if rows >= 10**12 else "1B<n<10B")


def card(facts: Facts, changed: str) -> str:
    """README.md; `changed` says in Markdown what is new since the release before."""
    head = yaml.safe_dump(front_matter(facts), sort_keys=False, allow_unicode=True, width=100)
    parts = [
        f"---\n{head}---",
        f"# {_md(facts.title)} {facts.version}",
        *([f"> {SIMULATED}"] if facts.simulated else []),
        description(facts),
        "## Results",
        _results(facts),
        "## What is in it",
        _contents(facts),
        "## How to read it",
        _reading(facts),
        "## What is left out, and why",
        _left_out(facts),
        "## Since the release before",
        changed,
        "## How it was made",
        _making(facts),
        "## Limits",
        _limits(facts),
        "## Licence and citation",
        _licence(facts),
    ]
    return "\n\n".join(parts) + "\n"


def description(facts: Facts) -> str:
    """What the dataset is, in a paragraph."""
    jobs = facts.cleared + sum(facts.withheld.values())
    texts = "all of them" if not facts.withheld else f"{facts.cleared:,} of them"
    begun = "Freelance jobs, in part or as a whole simulated," if facts.simulated else "Paid freelance jobs"
    return (
        f"{begun} that AI agents attempted, alone and with an expert's feedback, with graders' verdicts on every "
        f"criterion: {jobs:,} jobs (with texts and deliverables for {texts}), {_rows(facts, 'attempts'):,} "
        f"attempts, {_rows(facts, 'verdicts'):,} verdicts, as of {facts.day}."
    )


def _rows(facts: Facts, table: str) -> int:
    return facts.tables[table].n_rows if table in facts.tables else 0


def _results(facts: Facts) -> str:
    rows = [r for r in facts.leaderboard if r["window"] == "all" and r["rule"] == facts.completion_rule]
    rows = [r for r in rows if r["rate"] is not None]
    if not rows:
        return "No job has been graded yet."
    lines = [
        f"Jobs complete under the rule `{facts.completion_rule}` after each round or earlier, of all jobs of the "
        "benchmark. What is not known counts as not complete; the bounds say what the rate would be if it were all "
        "incomplete, or all complete.",
        "",
        "| round | model | complete | of | rate | 95 % interval (Wilson) | bounds |",
        "|---|---|--:|--:|--:|---|---|",
    ]
    for r in sorted(rows, key=lambda r: (_ROUNDS.get(r["round"], 9), -r["rate"], r["model"])):
        lines.append(
            f"| {r['round']} | {_md(r['model'])} | {r['n_completed']:,} | {r['n_eligible']:,} | {_percent(r['rate'])} "
            f"| {_percent(r['rate_lo'])} to {_percent(r['rate_hi'])} "
            f"| {_percent(r['bound_lo'])} to {_percent(r['bound_hi'])} |"
        )
    return "\n".join(lines)


_ROUNDS = {"agent_alone": 0, "feedback_1": 1, "feedback_2": 2, "retry_1": 3}


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"


def _contents(facts: Facts) -> str:
    lines = ["| table | one row per | rows | |", "|---|---|--:|---|"]
    lines += [
        f"| [{name}](DICTIONARY.md#{name}) | {one.table.grain} | {one.n_rows:,} | {_md(one.table.meaning)} |"
        for name, one in facts.tables.items()
    ]
    files = facts.deliverables
    more = (
        f"Every table comes as Parquet (`parquet/`) and as CSV (`csv/`); `deliverables/` holds {files['published']:,} "
        f"different files that agents handed in ({files['bytes'] / 1e6:,.1f} MB), each once, under its SHA-256; the "
        "table `deliverables` says which attempt handed in which. They are output of language models: open them with "
        "the care that files of strangers deserve."
    )
    if facts.simulated:
        more = more.replace("`deliverables/`", "`deliverables.simulated/`")
    others = _OTHER_FILES.replace("changes.csv", "changes.simulated.csv") if facts.simulated else _OTHER_FILES
    return "\n".join([*lines, "", more, "", others])


_OTHER_FILES = """\
| file | |
|---|---|
| `DICTIONARY.md` | every table and column, with units |
| `croissant.json` | the same for machines, in [Croissant 1.0](https://docs.mlcommons.org/croissant/) |
| `manifest.json` | what this release is made of, which jobs and columns are withheld, and the release before it |
| `changes.csv` | every row that came, went or changed since that release, with the reason |
| `every_eval_ever/` | headline results as [Every Eval Ever](https://github.com/evaleval/every_eval_ever) records |
| `CITATION.cff`, `SHA256SUMS` | how to cite it; checksums (`sha256sum -c SHA256SUMS`) |"""


def _reading(facts: Facts) -> str:
    one = facts.tables.get("leaderboard") or next(iter(facts.tables.values()))
    return f"""\
```sql
-- DuckDB, in the folder of the release
SELECT model, round, n_completed, n_eligible, rate, rate_lo, rate_hi
FROM '{one.parquet}'
WHERE "window" = 'all' AND rule = '{facts.completion_rule}';
```

```python
import mlcroissant as mlc

dataset = mlc.Dataset(jsonld="croissant.json")
rows = dataset.records(record_set="{one.table.name}")
```

In CSV, moments are ISO 8601 in UTC, lists are JSON, null is nothing, and a text that a spreadsheet would take for a
formula begins with an apostrophe. Parquet holds it as it is."""  # noqa: S608


def _left_out(facts: Facts) -> str:
    lines = []
    if facts.withheld:
        lines.append("Texts and files of these jobs (their counts and results are here):\n")
        lines += [f"* {n:,} jobs: {reason}" for reason, n in sorted(facts.withheld.items())]
        lines.append("")
    hidden = sorted({c for name in facts.tables if name in PUBLIC for c in hidden_columns(name)})
    lines.append("Of every job, whoever it is of:\n")
    lines += [f"* `{column}`: {HIDDEN[column]}" for column in hidden]
    lines += [
        "* the graders' pseudonyms: within an attempt they are numbered, across attempts they cannot be followed",
        "",
    ]
    emptied = sorted({c for name in facts.tables if name in PUBLIC for c in cleared_only_columns(name)})
    lines.append(
        "Empty unless the job is cleared for publication: "
        + ", ".join(f"`{c}` ({CLEARED_ONLY[c]})" for c in emptied)
        + "."
    )
    lines.append("\nTables that stay with the operator:\n")
    by_reason: dict[str, list[str]] = {}
    for name, reason in PRIVATE.items():
        by_reason.setdefault(reason, []).append(f"`{name}`")
    lines += [f"* {', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    if facts.deliverables.get("left_out"):
        lines.append(
            f"\n{facts.deliverables['left_out']:,} different files that agents handed in for cleared jobs, because not "
            "all of their content could be searched for personal data; the table `deliverables` names each with the "
            "reason."
        )
    return "\n".join(lines)


def _making(facts: Facts) -> str:
    return (
        f"By `{PROJECT}` {facts.program}: exports of a marketplace are curated by rules (`curation_funnel` counts what "
        "each turned away), experts write a rubric for every job, agents attempt it, and graders who do not know which "
        "model they judge mark every criterion. A release is built from the tables of that pipeline and nothing else; "
        "the same tables give the same bytes. Every text and every file was searched for personal data once more "
        "before it left."
    )


def _limits(facts: Facts) -> str:
    told = [
        "The search for personal data is made by patterns and checksums; it finds what has a form (addresses, numbers, "
        "accounts) far more surely than names in running text.",
        "Verdicts are people's: `grader_agreement` says how far they agree, `corrected_rates` what that does to rates.",
        "Costs are computed from price lists; an attempt whose price is unknown has none.",
    ]
    if facts.simulated:
        told.insert(
            0, "Data here is simulated, in part or as a whole: no figure is a measurement of a model or of people."
        )
    return "\n".join(f"* {sentence}" for sentence in told)


def _licence(facts: Facts) -> str:
    stated = f"{facts.licence} (<https://spdx.org/licenses/{facts.licence}.html>)."
    return f"{stated}\n\n```bibtex\n{bibtex(facts)}\n```"


def _md(text: str) -> str:
    """A text in which nothing is Markdown, on one line."""
    line = " ".join(str(text).split())
    for character in "\\`*_{}[]<>|#":
        line = line.replace(character, f"\\{character}") if character in line else line
    return line


# ---- the dictionary


def dictionary(facts: Facts) -> str:
    """DICTIONARY.md: every table and column of the release."""
    parts = [
        f"# Data dictionary of {_md(facts.title)} {facts.version}",
        *([f"> {SIMULATED}"] if facts.simulated else []),
        "\n".join(f"- [{name}](#{name}): {one.table.meaning}" for name, one in facts.tables.items()),
        *("\n".join(_table_lines(name, one)) for name, one in facts.tables.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _table_lines(name: str, one: TableFiles) -> Iterator[str]:
    table = one.table
    yield f"## {name}"
    yield ""
    yield f"{table.meaning} One row per {table.grain}; primary key: {', '.join(table.key)}; {one.n_rows:,} rows."
    public = PUBLIC.get(name)
    if public and public.left_out:
        yield f"Left out: {public.left_out}."
    if public and (hidden := hidden_columns(name)):
        yield f"Left out of every row: {', '.join(f'{c} ({why})' for c, why in hidden.items())}."
    yield ""
    yield "| column | type | null | unit | meaning |"
    yield "|---|---|---|---|---|"
    for c in table.columns:
        meaning = c.meaning.replace("|", "\\|")
        yield f"| {c.name} | {_TYPES[c.field.type]} | {'yes' if c.nullable else ''} | {c.field.unit} | {meaning} |"


_TYPES: Mapping[str, str] = {
    "text": "text",
    "json": "text (JSON)",
    "int": "integer",
    "float": "number",
    "bool": "true or false",
    "timestamp": "moment, UTC",
    "texts": "list of texts",
}
