"""How each derived table is made: from which tables, by which function, and what else its rows depend on.

Whoever makes tables goes by this list: the assets, `hapi query --as-of` and `hapi rebuild`. So what Dagster shows and
what is rebuilt without it cannot drift apart. attempts and packets, which have a ledger of their own and files, are
not here: `evaluation.py` makes them, for the assets and for `as_of.py` alike.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from hapi_pipeline import __version__
from hapi_pipeline.audit import estimates as audit
from hapi_pipeline.curation import duplicates, funnel
from hapi_pipeline.curation.pii_findings import attachments_state, detector_version, pii_findings
from hapi_pipeline.curation.rules import CHAIN, ON_ONE_POST, judged_tables, kept, rejections, rules_digest
from hapi_pipeline.engine import batches, query, run
from hapi_pipeline.lake import Lake
from hapi_pipeline.naming import digest
from hapi_pipeline.parameters import constant_relations, query_parameters
from hapi_pipeline.registry import Registry
from hapi_pipeline.results import BY_CELL, COMPUTED, SUMMARIES
from hapi_pipeline.settings import shipped
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

Scope = Mapping[str, str]
Rows = Union["pa.Table", Iterable["pa.RecordBatch"], Iterator["pa.RecordBatch"]]
Build = Callable[[Lake, Registry, Scope], Rows]
Outside = Callable[[Lake, Scope], str]


@dataclass(frozen=True)
class Recipe:
    """How one table is made, a partition at a time."""

    name: str
    inputs: tuple[str, ...]
    build: Build
    version: Callable[[], str] = str
    """Version of the code outside the SQL that the rows depend on: another one remakes them."""
    outside: Outside | None = None
    """What a partition is made from besides tables: another answer remakes it."""
    looks_back: bool = False
    """Whether it is made of the months before as well, as many as the benchmark's duplicates.months_back."""

    def fingerprint(self, lake: Lake, registry: Registry, scope: Scope) -> str:
        """Changes when anything that a partition is made from changes."""
        back = registry.benchmark.duplicates.months_back if self.looks_back else 0
        seen = what_rows_depend_on(registry, self.name, scope, self.version())
        seen += self.outside(lake, scope) if self.outside else ""
        return inputs_fingerprint(lake, self.name, self.inputs, scope, seen, back)


@functools.cache
def recipes() -> Mapping[str, Recipe]:
    """The recipe of every derived table but attempts and packets, by name."""
    made = [
        Recipe("job_posts", _inputs("job_posts"), lambda lake, _, s: batches(lake, query("job_posts"), s, s)),
        from_sql("rubrics"),
        from_sql("standing_criteria"),
        *(_rule(name) for name in CHAIN),
        from_sql("verdicts"),
        *_besides_the_chain(),
        from_sql("curation_funnel"),
        *(_computed(name) if name in COMPUTED else from_sql(name) for name in (*BY_CELL, *SUMMARIES)),
    ]
    return {recipe.name: recipe for recipe in made}


def from_sql(name: str) -> Recipe:
    """The recipe of a table that `sql/<name>.sql` makes from the tables that it names."""

    def build(lake: Lake, registry: Registry, scope: Scope) -> pa.Table:
        parameters = query_parameters(registry.benchmark, dict(scope))
        return run(lake, query(name), scope, parameters, constant_relations(registry.benchmark, registry.models))

    return Recipe(name, _inputs(name), build)


def _inputs(name: str) -> tuple[str, ...]:
    return tuple(i for i in query(name).inputs if i in TABLES)


def _rule(name: str) -> Recipe:
    return Recipe(
        name,
        _inputs(name),
        lambda lake, registry, scope: kept(lake, name, scope, query_parameters(registry.benchmark, dict(scope))),
    )


def _computed(name: str) -> Recipe:
    return Recipe(name, COMPUTED[name].inputs, COMPUTED[name], version=lambda: COMPUTED[name].version)


def _besides_the_chain() -> list[Recipe]:
    """Tables of curation that are no rule of the chain."""
    of_categories = {*query("funnel_by_category").inputs, *judged_tables(ON_ONE_POST)} - {"rules_alone"}
    return [
        Recipe(
            "pii_findings",
            ("job_posts",),
            lambda lake, _, scope: pii_findings(lake, scope),
            version=detector_version,
            outside=attachments_state,
        ),
        Recipe(
            "job_signatures",
            ("curated_jobs",),
            lambda lake, _, scope: duplicates.job_signatures(lake, scope),
            version=lambda: duplicates.METHOD_VERSION,
        ),
        Recipe(
            "job_clusters",
            ("curated_jobs", "job_clusters", "job_signatures"),
            lambda lake, registry, scope: duplicates.job_clusters(lake, scope, registry.benchmark.duplicates),
            version=lambda: duplicates.METHOD_VERSION,
            looks_back=True,
        ),
        Recipe(
            "rejected_jobs",
            tuple(judged_tables()),
            lambda lake, registry, scope: rejections(lake, scope, query_parameters(registry.benchmark, dict(scope))),
            version=rules_digest,
        ),
        Recipe(
            "funnel_by_category",
            # those that its SQL names, and what the rules say of all posts depends on
            tuple(sorted(of_categories)),
            lambda lake, registry, scope: funnel.funnel_by_category(
                lake, scope, query_parameters(registry.benchmark, dict(scope))
            ),
            version=rules_digest,
        ),
        Recipe(
            "curation_audit",
            audit.INPUTS,
            lambda lake, registry, scope: audit.curation_audit(lake, scope, registry.benchmark.version),
            version=lambda: audit.METHOD_VERSION,
        ),
    ]


# ---- fingerprints


def what_rows_depend_on(registry: Registry, name: str, scope: Scope, version: str = "") -> str:
    """What, besides its input tables, the rows of a partition may depend on."""
    models = registry.models if reads_models(name) else ()
    # a partition of one model stays as it is when another model comes
    stated = [(m.name, m.training_cutoff) for m in models if m.name == scope.get("model", m.name)]
    return repr(registry.benchmark) + version + (repr(stated) if models else "")


def reads_models(name: str) -> bool:
    """Whether the rows of a table depend on what the registry says of models; the others stay when a model comes."""
    if name in COMPUTED:
        return COMPUTED[name].reads_models
    return (shipped("sql") / f"{name}.sql").exists() and "registered_models" in query(name).inputs


def inputs_fingerprint(
    lake: Lake, name: str, inputs: Sequence[str], scope: Scope, settings: str, months_back: int = 0
) -> str:
    """Changes when anything that a partition is made from changes: rows, SQL, columns, code version, settings.

    With `months_back`, the inputs of so many months before count too; the table may then be among them itself.
    """
    sql = query(name).sql if (shipped("sql") / f"{name}.sql").exists() else ""
    states = [f"{table}={lake.state(table, scope)}" for table in sorted(inputs) if table != name]
    for month in duplicates.months_before(scope["cohort"], months_back) if months_back else ():
        states += [f"{table}@{month}={lake.state(table, {'cohort': month})}" for table in sorted(inputs)]
    columns = ",".join(f"{c.name}:{c.field.type}:{c.nullable}" for c in TABLES[name].columns)
    return digest(__version__, name, columns, sql, settings, *states, length=32)
