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
from hapi_pipeline.engine import batches, files_of, query, run, run_together
from hapi_pipeline.lake import Lake, Written
from hapi_pipeline.naming import digest
from hapi_pipeline.parallel import in_threads
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
BuildTogether = Callable[[Lake, Registry, Sequence[Scope]], Iterable[tuple[Scope, Rows]]]
Outside = Callable[[Lake, Scope], str]
States = dict[tuple[str, tuple[str | None, ...]], str]
"""What tables were like when they were last looked at, by the values of their partition keys."""
_WRITTEN_AT_ONCE = 2


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
    build_together: BuildTogether | None = None
    """Makes the partitions of several months and models at once, with the same rows as one by one."""
    most_bytes: int = 32 << 20
    """So large are the files, at most, that partitions are made from at once; a partition alone may have more."""
    cut: tuple[str, ...] = ()
    """The inputs of which the rows about a job follow from its own rows only, where all others are whole: so a
    partition may be made in parts, of some jobs each. Empty where it may not."""

    def __reduce__(self) -> tuple[Callable[[str], Recipe], tuple[str]]:
        """It travels to another process by its name."""
        return _named, (self.name,)

    def fingerprint(self, lake: Lake, registry: Registry, scope: Scope, states: States | None = None) -> str:
        """Changes when anything that a partition is made from changes; `states` keeps those of its inputs."""
        back = registry.benchmark.duplicates.months_back if self.looks_back else 0
        seen = what_rows_depend_on(registry, self.name, scope, self.version())
        seen += self.outside(lake, scope) if self.outside else ""
        return inputs_fingerprint(lake, self.name, self.inputs, scope, seen, back, states)


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


def _named(name: str) -> Recipe:
    return recipes()[name]


def from_sql(name: str) -> Recipe:
    """The recipe of a table that `sql/<name>.sql` makes from the tables that it names."""

    def build(lake: Lake, registry: Registry, scope: Scope) -> pa.Table:
        parameters = query_parameters(registry.benchmark, dict(scope))
        return run(lake, query(name), scope, parameters, constant_relations(registry.benchmark, registry.models))

    def together(lake: Lake, registry: Registry, scopes: Sequence[Scope]) -> Iterator[tuple[Scope, pa.Table]]:
        parameters = query_parameters(registry.benchmark, {})
        relations = constant_relations(registry.benchmark, registry.models)
        return run_together(lake, query(name), scopes, parameters, relations)

    if name not in BY_CELL:
        return Recipe(name, _inputs(name), build)
    most_bytes, cut = _MOST_BYTES.get(name, 32 << 20), _CUT.get(name, ())
    return Recipe(name, _inputs(name), build, build_together=together, most_bytes=most_bytes, cut=cut)


_ON_VERDICTS = ("benchmark_jobs", "rubrics", "standing_criteria", "verdicts")
_CUT = {
    "attempt_outcomes": _ON_VERDICTS,
    "grades": _ON_VERDICTS,
    "criterion_outcomes": _ON_VERDICTS,
    # whether a model is simulated follows from all of its outcomes, and what went before an attempt from another one
    "job_states": ("benchmark_jobs",),
    "job_transitions": ("rubrics",),
}
"""Of the tables by month and model, those that are made job by job. The others are counts, or follow packets."""
_MOST_BYTES = {"job_states": 4 << 20}
"""Fewer where a byte that is read becomes many that are written."""


def _inputs(name: str) -> tuple[str, ...]:
    return tuple(i for i in query(name).inputs if i in TABLES)


def _rule(name: str) -> Recipe:
    return Recipe(
        name,
        _inputs(name),
        lambda lake, registry, scope: kept(lake, name, scope, query_parameters(registry.benchmark, dict(scope))),
        cut=() if name == "selected_jobs" else _inputs(name),  # which judges among jobs
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
            cut=("job_posts",),
        ),
        Recipe(
            "job_signatures",
            ("curated_jobs",),
            lambda lake, _, scope: duplicates.job_signatures(lake, scope),
            version=lambda: duplicates.METHOD_VERSION,
            cut=("curated_jobs",),
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


# ---- making partitions


def batches_of(recipe: Recipe, lake: Lake, scopes: Iterable[Scope]) -> list[list[Scope]]:
    """The partitions in lists of those that are made at once: one, some models of a month, or of some small months."""
    if recipe.build_together is None:
        return [[scope] for scope in scopes]
    months: dict[str, list[Scope]] = {}
    for scope in scopes:
        months.setdefault(scope["cohort"], []).append(scope)
    of_months = [batch for month in months.values() for batch in _of_at_most(recipe, lake, month)]
    return _small_ones_joined(recipe, lake, of_months)


_SMALL_MONTHS = 2 << 20
"""Bytes of files from which several months are made at once, at most: there planning a query takes most of the time."""


def _small_ones_joined(recipe: Recipe, lake: Lake, listed: Iterable[list[Scope]]) -> list[list[Scope]]:
    """The same batches, neighbours put together as long as they stay small."""
    tables = [table for table in recipe.inputs if not TABLES[table].ledger]
    joined: list[list[Scope]] = []
    size = most = min(_SMALL_MONTHS, recipe.most_bytes)
    for batch in listed:
        own = sum(path.stat().st_size for table in tables for path in files_of(lake, table, batch))
        if joined and size + own <= most:
            joined[-1] += batch
            size += own
        else:
            joined.append(batch)
            size = own
    return joined


def _of_at_most(recipe: Recipe, lake: Lake, month: Sequence[Scope]) -> Iterator[list[Scope]]:
    batch: list[Scope] = []
    size = 0
    for scope in month:
        own = sum(_bytes(lake, table, scope) for table in recipe.inputs if "model" in TABLES[table].partitions)
        if batch and size + own > recipe.most_bytes:
            yield batch
            batch, size = [], 0
        batch.append(scope)
        size += own
    yield batch


def _bytes(lake: Lake, table: str, scope: Scope) -> int:
    return sum(path.stat().st_size for path in files_of(lake, table, [scope]))


def make_partitions(
    recipe: Recipe, lake: Lake, registry: Registry, scopes: Sequence[Scope]
) -> Iterable[tuple[Scope, Rows]]:
    """The rows of a batch of partitions: a function of their input files and the registry, of nothing else."""
    if recipe.build_together is not None and scopes:
        return recipe.build_together(lake, registry, scopes)
    return ((scope, recipe.build(lake, registry, scope)) for scope in scopes)


def bring_up_to_date(
    recipe: Recipe, lake: Lake, registry: Registry, scopes: Sequence[Scope], has: Callable[[Scope, str], bool]
) -> list[Written | None]:
    """Make those of a batch of partitions that are not up to date; None for the others.

    `has` says whether there is a partition with this fingerprint already.
    """
    states: States = {}
    seen = {_key(scope): recipe.fingerprint(lake, registry, scope, states) for scope in scopes}
    stale = [scope for scope in scopes if not has(scope, seen[_key(scope)])]

    def write(made: tuple[Scope, Rows]) -> tuple[Scope, Written]:
        scope, rows = made
        return scope, lake.write(recipe.name, rows, scope, seen[_key(scope)])

    # rows that were made together are in memory already: while one file waits for the disk, the next is encoded
    at_once = _WRITTEN_AT_ONCE if recipe.build_together is not None else 1
    written = {_key(s): w for s, w in in_threads(write, make_partitions(recipe, lake, registry, stale), at_once)}
    return [written.get(_key(scope)) for scope in scopes]


def _key(scope: Scope) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(scope.items()))


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
    lake: Lake,
    name: str,
    inputs: Sequence[str],
    scope: Scope,
    settings: str,
    months_back: int = 0,
    known: States | None = None,
) -> str:
    """Changes when anything that a partition is made from changes: rows, SQL, columns, code version, settings.

    With `months_back`, the inputs of so many months before count too; the table may then be among them itself.
    `known` keeps the states of inputs from one partition to the next, where nothing writes to them in between.
    """
    sql = query(name).sql if (shipped("sql") / f"{name}.sql").exists() else ""
    known = {} if known is None else known
    states = [f"{table}={_state(lake, table, scope, known)}" for table in sorted(inputs) if table != name]
    for month in duplicates.months_before(scope["cohort"], months_back) if months_back else ():
        states += [f"{table}@{month}={lake.state(table, {'cohort': month})}" for table in sorted(inputs)]
    columns = ",".join(f"{c.name}:{c.field.type}:{c.nullable}" for c in TABLES[name].columns)
    return digest(__version__, name, columns, sql, settings, *states, length=32)


def _state(lake: Lake, table: str, scope: Scope, known: States) -> str:
    at = (table, tuple(scope.get(key) for key in TABLES[table].partitions))
    if at not in known:
        known[at] = lake.state(table, scope)
    return known[at]
