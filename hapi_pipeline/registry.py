"""The operator's configuration, read from the YAML files of a home's registry and validated into plain objects."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from hapi_pipeline.naming import slug
from hapi_pipeline.rounds import ROUND
from hapi_pipeline.settings import Home, UserError, shipped

COMPLETION_RULES = ("all_criteria", "required_criteria")
AGENT_PROFILES = ("paper", "code", "external")
_LONGEST_KEY = 200  # bytes; a folder's name may have 255
SIMULATED_API = "simulated"
"""`api_base` of a model that the project's own loopback server answers for."""


@dataclass(frozen=True)
class Rules:
    """Thresholds of the curation rules."""

    job_types: tuple[str, ...]
    statuses: tuple[str, ...]
    require_paid: bool
    max_milestones: int
    allow_price_change: bool
    max_price_usd: float
    categories: tuple[str, ...] | None


@dataclass(frozen=True)
class AgentLimits:
    """What one attempt may use before it is told to finish."""

    max_steps: int = 20
    max_cost_usd: float = 2.0
    max_seconds: float = 900.0
    max_tokens: int = 400_000


@dataclass(frozen=True)
class Benchmark:
    """The rules of the benchmark, from benchmark.yaml."""

    version: str
    first_cohort: str
    rules: Rules
    min_criteria: int
    max_criteria: int
    rounds: tuple[str, ...]
    completion_rule: str
    agent: AgentLimits


@dataclass(frozen=True)
class Price:
    """USD per million tokens, valid from a date on."""

    valid_from: date
    input: float
    output: float
    cached_read: float | None = None
    cache_write: float | None = None


@dataclass(frozen=True)
class Pool:
    """How hard one provider may be pressed."""

    name: str
    concurrency: int = 8
    requests_per_minute: int | None = None


@dataclass(frozen=True)
class Model:
    """One model under evaluation."""

    name: str
    litellm: str | None  # None: external, its attempts are only ever imported
    agent_profile: str = "paper"
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    max_tokens: int = 8192
    prices: tuple[Price, ...] = ()
    training_cutoff: str | None = None
    pool: Pool = field(default_factory=lambda: Pool("default"))
    api_base: str | None = None
    api_key_env: str | None = None
    retired: bool = False

    @property
    def simulated(self) -> bool:
        """Whether the project's own loopback server plays this model."""
        return self.api_base == SIMULATED_API

    @property
    def external(self) -> bool:
        """Whether this model's attempts are made elsewhere and imported."""
        return self.litellm is None

    @property
    def key(self) -> str:
        """The model's partition key and folder name."""
        return slug(self.name)

    def price_on(self, day: date) -> Price | None:
        """The price list valid on a day, or None where the registry knows none."""
        valid = [p for p in self.prices if p.valid_from <= day]
        return max(valid, key=lambda p: p.valid_from) if valid else None


@dataclass(frozen=True)
class Source:
    """How one kind of job export maps to the fields of job_posts, by SQL expressions over its columns."""

    name: str
    fields: Mapping[str, str]
    assume: Mapping[str, str]
    required: tuple[str, ...]
    description: str = ""
    simulated: bool = False


class Registry:
    """Lazy, validated access to the YAML files in one registry folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def of(cls, home: Home) -> Registry:
        """The registry of a home, or the shipped one where the home has none yet."""
        return cls(home.registry if home.exists() else shipped("data/registry"))

    @cached_property
    def benchmark(self) -> Benchmark:
        """benchmark.yaml, validated."""
        return _benchmark(self._read("benchmark.yaml"), self.folder / "benchmark.yaml")

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """models.yaml, validated; retired models included."""
        entries = self._read("models.yaml").get("models") or []
        if not isinstance(entries, list):
            raise UserError("models.yaml: `models` must be a list.")
        models = tuple(_checked_model(entry) for entry in entries)
        seen: set[str] = set()
        for model in models:
            if model.name.casefold() in seen:
                raise UserError(f"models.yaml lists {model.name!r} twice; give each model a name of its own.")
            seen.add(model.name.casefold())
        return models

    def model(self, name: str) -> Model:
        """The model of that name; UserError names those that exist."""
        for model in self.models:
            if model.name == name:
                return model
        known = ", ".join(m.name for m in self.models) or "none yet"
        raise UserError(f"There is no model {name!r} in the registry (registered: {known}).")

    def source(self, name: str) -> Source:
        """The source definition of that name; UserError names those that exist."""
        path = self.folder / "sources" / f"{name}.yaml"
        if not re.fullmatch(r"[\w.-]+", name) or not path.exists():
            known = ", ".join(sorted(p.stem for p in (self.folder / "sources").glob("*.yaml")))
            raise UserError(f"There is no source {name!r}; known sources are: {known}.")
        return _source(name, _yaml(path), path)

    def _read(self, name: str) -> dict[str, Any]:
        return _yaml(self.folder / name)

    def save_models(self, models: Sequence[Model]) -> None:
        """Write models.yaml anew, keeping the comment lines at its head."""
        path = self.folder / "models.yaml"
        head = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
        body = yaml.safe_dump(
            {"models": [_model_entry(m) for m in models]}, sort_keys=False, allow_unicode=True, width=120
        )
        staged = path.with_suffix(".yaml.new")
        staged.write_text("\n".join(head) + "\n" + body, "utf-8")
        staged.replace(path)
        self.__dict__.pop("models", None)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise UserError(f"{path} is missing; `hapi init --home DIR` makes a home with its registry.") from None
    return copy.deepcopy(_parsed(path, stat.st_mtime_ns, stat.st_size, stat.st_ino))


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, *_version_of_the_file: int) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise UserError(f"{path}{line} is not valid YAML.") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{path} must hold keys and values at its top level.")
    return loaded


def _need(entry: Mapping[str, Any], key: str, where: Path | str) -> Any:
    if key not in entry:
        raise UserError(f"{where} lacks the key {key!r}.")
    return entry[key]


def _section(data: Mapping[str, Any], key: str, where: Path) -> dict[str, Any]:
    """The keys and values below a key; none where it does not stand there."""
    section = data.get(key) or {}
    if not isinstance(section, dict):
        raise UserError(f"{where}: {key!r} must hold keys and values.")
    return section


def _names(value: Any, key: str, where: Path) -> tuple[str, ...]:
    """A list of texts; a single text is no list of its letters."""
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise UserError(f"{where}: {key!r} must be a list of names, written as [one, another].")
    return tuple(value)


def _rounds(value: Any, where: Path) -> tuple[str, ...]:
    """The rounds that are run, each with the round that it starts from."""
    names = _names(value, "rounds", where)
    for name in names:
        if name not in ROUND or not set(ROUND[name].path) <= set(names) or names.count(name) > 1:
            raise UserError(
                f"{where}: rounds cannot hold {name!r} in this way; it may list each of "
                f"{', '.join(ROUND)} once, with the rounds that lead to it."
            )
    return names


def _benchmark(data: dict[str, Any], where: Path) -> Benchmark:
    for key in ("rules", "rubric"):
        _need(data, key, where)
    rules, rubric = _section(data, "rules", where), _section(data, "rubric", where)
    rule = data.get("completion_rule", COMPLETION_RULES[0])
    if rule not in COMPLETION_RULES:
        raise UserError(f"{where}: completion_rule is {rule!r}; it must be one of {', '.join(COMPLETION_RULES)}.")
    first = str(_section(data, "cohorts", where).get("first", "2020-01"))
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", first):
        raise UserError(f"{where}: cohorts.first is {first!r}; write a month as YYYY-MM.")
    categories = rules.get("categories")
    try:
        return Benchmark(
            version=str(_need(data, "version", where)),
            first_cohort=first,
            rules=Rules(
                job_types=_names(rules.get("job_types", ["fixed"]), "job_types", where),
                statuses=_names(rules.get("statuses", ["completed"]), "statuses", where),
                require_paid=bool(rules.get("require_paid", True)),
                max_milestones=int(rules.get("max_milestones", 1)),
                allow_price_change=bool(rules.get("allow_price_change", False)),
                max_price_usd=float(_need(rules, "max_price_usd", where)),
                categories=_names(categories, "categories", where) if categories is not None else None,
            ),
            min_criteria=int(_need(rubric, "min_criteria", where)),
            max_criteria=int(_need(rubric, "max_criteria", where)),
            rounds=_rounds(_need(data, "rounds", where), where),
            completion_rule=rule,
            agent=AgentLimits(**_section(data, "agent", where)),
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"{where} has a value of the wrong kind: {error}.") from error


def _checked_model(entry: Any) -> Model:
    """The model of an entry. Raises UserError when it is none."""
    if not isinstance(entry, dict):
        raise UserError(f"models.yaml: each entry must hold keys and values, such as name; found {entry!r}.")
    name = str(_need(entry, "name", "models.yaml")).strip()
    if not name or len(slug(name)) > _LONGEST_KEY:
        raise UserError(f"models.yaml: {name!r} cannot be a model's name; it must not be blank or that long.")
    try:
        return _model(entry, name)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"models.yaml: {name} has a value of the wrong kind: {error}.") from error


def _model(entry: Mapping[str, Any], name: str) -> Model:
    profile = entry.get("agent_profile", "paper")
    if profile not in AGENT_PROFILES:
        raise UserError(f"models.yaml: {name}: agent_profile must be one of {', '.join(AGENT_PROFILES)}.")
    prices = tuple(
        Price(
            valid_from=date.fromisoformat(str(p["from"])),
            input=float(p["input"]),
            output=float(p["output"]),
            cached_read=p.get("cached_read"),
            cache_write=p.get("cache_write"),
        )
        for p in entry.get("prices") or []
    )
    pool = entry.get("pool") or {}
    return Model(
        name=name,
        litellm=entry.get("litellm"),
        agent_profile=profile,
        parameters=entry.get("parameters") or {},
        max_tokens=int(entry.get("max_tokens", 8192)),
        prices=prices,
        training_cutoff=str(entry["training_cutoff"]) if entry.get("training_cutoff") else None,
        pool=Pool(str(pool.get("name", "default")), int(pool.get("concurrency", 8)), pool.get("requests_per_minute")),
        api_base=entry.get("api_base"),
        api_key_env=entry.get("api_key_env"),
        retired=bool(entry.get("retired", False)),
    )


def _model_entry(model: Model) -> dict[str, Any]:
    """The YAML entry of a model, defaults left out."""
    entry: dict[str, Any] = {"name": model.name}
    blank = Model(name="", litellm=None)
    for key, value in asdict(model).items():
        if key in ("name", "prices", "pool") or value == getattr(blank, key):
            continue
        entry[key] = dict(value) if isinstance(value, Mapping) else value
    if model.prices:
        entry["prices"] = [
            {"from": p.valid_from.isoformat(), "input": p.input, "output": p.output}
            | ({"cached_read": p.cached_read} if p.cached_read is not None else {})
            | ({"cache_write": p.cache_write} if p.cache_write is not None else {})
            for p in model.prices
        ]
    if model.pool != blank.pool:
        entry["pool"] = {k: v for k, v in asdict(model.pool).items() if v is not None}
    return entry


def _source(name: str, data: Mapping[str, Any], where: Path) -> Source:
    _need(data, "fields", where)
    fields = {str(k): str(v) for k, v in _section(data, "fields", where).items() if v is not None}
    required = _names(data.get("required") or ["job_id"], "required", where)
    missing = [f for f in ("job_id", *required) if f not in fields]
    if missing:
        raise UserError(f"{where}: `fields` must map {', '.join(missing)}.")
    return Source(
        name=name,
        fields=fields,
        assume={str(k): str(v) for k, v in _section(data, "assume", where).items() if v is not None},
        required=required,
        description=str(data.get("description", "")),
        simulated=bool(data.get("simulated", False)),
    )
