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
PUBLISHED_JOBS = ("none", "simulated", "listed", "all")
AGENT_PROFILES = ("paper", "code", "command", "external")
_MONTH = r"\d{4}-(0[1-9]|1[0-2])"
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
class AuditPlan:
    """How many jobs curators are asked to judge: a month and rule, and how many times as many of those kept."""

    per_stratum: int = 10
    kept_times: int = 3
    seed: str = "1"


@dataclass(frozen=True)
class Duplicates:
    """When two jobs are alike, and how far back a job is compared."""

    min_similarity: float = 0.8  # Jaccard similarity of word 3-shingles
    months_back: int = 12


@dataclass(frozen=True)
class Selection:
    """The sample of each month that goes into the benchmark."""

    jobs_per_month: int | None = None  # None takes all
    seed: int = 2026
    price_bands: tuple[float, ...] = (25.0, 50.0, 100.0, 200.0)  # USD, where a band begins


@dataclass(frozen=True)
class Grading:
    """Who may grade, and how packets are shared out among graders."""

    min_job_success_score: float | None = None  # percent; None asks for none
    badges: tuple[str, ...] = ()  # one of these; empty asks for none
    min_hours: float | None = None  # worked on the marketplace
    double_share: float = 0.15  # of packets, that two different graders judge
    due_days: int = 14
    seed: str = "1"


@dataclass(frozen=True)
class Grader:
    """An expert who grades, under a pseudonym."""

    id: str
    categories: tuple[str, ...] | None = None  # None: all
    job_success_score: float | None = None  # percent
    badge: str | None = None
    hours: float | None = None  # worked on the marketplace
    active_from: date | None = None
    active_until: date | None = None  # the last day
    max_open: int | None = None  # packets out at once; None: any number
    languages: tuple[str, ...] = ()
    label_studio: str | None = None  # id or address under which Label Studio knows this grader

    def unqualified(self, category: str | None, rules: Grading, day: date) -> str | None:
        """Why this grader may not be given work of a category on a day, in a few words; None when he may."""
        for why, so in (
            (f"active only from {self.active_from}", self.active_from is not None and day < self.active_from),
            (f"active only until {self.active_until}", self.active_until is not None and day > self.active_until),
            (f"does not grade {category or 'jobs without a category'}", not self._covers(category)),
            (
                f"job success score below {rules.min_job_success_score}",
                _below(self.job_success_score, rules.min_job_success_score),
            ),
            (f"badge is none of {', '.join(rules.badges)}", bool(rules.badges) and self.badge not in rules.badges),
            (f"fewer than {rules.min_hours} hours", _below(self.hours, rules.min_hours)),
        ):
            if so:
                return why
        return None

    def _covers(self, category: str | None) -> bool:
        return self.categories is None or (category or "").casefold() in {c.casefold() for c in self.categories}


def _below(value: float | None, least: float | None) -> bool:
    """Whether a qualification is not met; one that is not stated is not met."""
    return least is not None and (value is None or value < least)


@dataclass(frozen=True)
class Results:
    """How results are summed up."""

    reference_cohort: str | None = None  # whose mix of jobs rates are standardised to; None: that of all months
    themes: int | None = None  # how many themes criteria are divided into; None: by their number, up to 20


@dataclass(frozen=True)
class Economics:
    """What is assumed about money; every row that rests on it says so."""

    grader_usd_per_hour: float | None = 50.0  # USD; None: what a review costs is unknown, and what follows from it
    value_per_price: float = 2.0  # what a completed job is worth to its client, in multiples of its price
    min_jobs: int = 12  # graded jobs without which there is no advice


@dataclass(frozen=True)
class Publish:
    """Which jobs are published with their texts and files, and what a release says of itself."""

    jobs: str = "simulated"  # one of PUBLISHED_JOBS
    hold_back_months: int = 0  # newest months of the benchmark whose jobs are kept for evaluation only
    title: str = "Human+Agent Productivity Index"
    authors: tuple[str, ...] = ()  # people or organisations; empty: the project
    licence: str | None = None  # SPDX identifier; None: not stated, which only simulated data may be released without
    url: str | None = None  # where releases can be found


@dataclass(frozen=True)
class Automation:
    """What may happen without a person at the keyboard."""

    max_usd: float | None = 50.0  # a run that `hapi` did not start begins no further attempt beyond this; None: no end
    catch_up_months: int = 6  # the most closed months that one tick of the schedule makes up for


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
    duplicates: Duplicates = field(default_factory=Duplicates)
    selection: Selection = field(default_factory=Selection)
    audit: AuditPlan = field(default_factory=AuditPlan)
    grading: Grading = field(default_factory=Grading)
    results: Results = field(default_factory=Results)
    economics: Economics = field(default_factory=Economics)
    publish: Publish = field(default_factory=Publish, repr=False)  # no row of any table depends on it
    automation: Automation = field(default_factory=Automation, repr=False)  # nor on this


@dataclass(frozen=True)
class Price:
    """USD per million tokens, valid from a date on. Cached tokens without a price of their own cost like others."""

    valid_from: date
    input: float
    output: float
    cached_read: float | None = None
    cache_write: float | None = None
    free: bool = False  # says that zero is meant


@dataclass(frozen=True)
class Pool:
    """How hard one provider may be pressed."""

    name: str
    concurrency: int = 8  # calls under way at once
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None  # sent and received


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
    vision: bool = False  # sees pictures
    command: tuple[str, ...] = ()  # of the profile `command`: a program that is started in the sandbox
    command_reads: tuple[str, ...] = ()  # files and folders that it needs to run, shown to it read-only

    @property
    def simulated(self) -> bool:
        """Whether the project's own loopback server plays this model."""
        return self.api_base == SIMULATED_API

    @property
    def external(self) -> bool:
        """Whether this model's attempts are made elsewhere and imported."""
        return self.litellm is None and not self.command

    @property
    def key(self) -> str:
        """The model's partition key and folder name."""
        return slug(self.name)

    def price_on(self, day: date) -> Price | None:
        """The price list valid on a day, or None where the registry knows none."""
        valid = [p for p in self.prices if p.valid_from <= day]
        return max(valid, key=lambda p: p.valid_from) if valid else None

    def price_problem(self, day: date) -> str | None:
        """Why the cost of a call on that day could not be counted, in a plain sentence; None when it can."""
        price, where = self.price_on(day), f"under `prices` of {self.name} in models.yaml"
        if not self.prices:
            return f"Model {self.name!r} has no price; write what its tokens cost {where}."
        if price is None:
            first = min(p.valid_from for p in self.prices)
            return f"Model {self.name!r} has no price before {first}; write what its tokens cost until then {where}."
        if not price.free and not (price.input > 0 and price.output > 0):
            return (
                f"Model {self.name!r} has a price of zero from {price.valid_from} on; write the real one {where}, or "
                "`free: true` beside it if the tokens cost nothing."
            )
        return None


@dataclass(frozen=True)
class Source:
    """How one kind of job export maps to the fields of job_posts, by SQL expressions over its columns."""

    name: str
    fields: Mapping[str, str]
    assume: Mapping[str, str]
    required: tuple[str, ...]
    description: str = ""
    simulated: bool = False
    records: str | None = None  # where a JSON document has its records: data.search.edges[].node


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

    @cached_property
    def graders(self) -> tuple[Grader, ...]:
        """graders.yaml, validated; nobody where the file is missing."""
        path = self.folder / "graders.yaml"
        entries = (_yaml(path) if path.exists() else {}).get("graders") or []
        if not isinstance(entries, list):
            raise UserError("graders.yaml: `graders` must be a list.")
        graders = tuple(_grader(entry) for entry in entries)
        ids = [grader.id for grader in graders]
        twice = next((i for i in ids if ids.count(i) > 1), None)
        if twice is not None:
            raise UserError(f"graders.yaml lists {twice!r} twice; give each grader an id of their own.")
        return graders

    @cached_property
    def judges(self) -> tuple[Model, ...]:
        """judges.yaml, validated: models that may be asked for verdicts; none where the file is missing."""
        path = self.folder / "judges.yaml"
        entries = (_yaml(path) if path.exists() else {}).get("judges") or []
        if not isinstance(entries, list):
            raise UserError("judges.yaml: `judges` must be a list.")
        judges = tuple(_checked_model(entry) for entry in entries)
        for judge in judges:
            if judge.litellm is None or judge.agent_profile != "paper":
                raise UserError(f"judges.yaml: {judge.name} needs a `litellm` id, and no agent_profile.")
        return judges

    @cached_property
    def cleared_jobs(self) -> frozenset[str]:
        """cleared_jobs.txt: ids of the jobs that may be published, one a line; what follows a tab or `` #`` is a note.

        Raises UserError where the file is missing.
        """
        path = self.folder / "cleared_jobs.txt"
        if not path.exists():
            raise UserError(
                f"publish.jobs is `listed`, but {path} is missing; write the id of each job that may be published "
                "into it, one a line."
            )
        return frozenset(re.split(r"\t|\s#", line)[0].strip() for line in _lines(path)) - {""}

    @cached_property
    def cleared_findings(self) -> Mapping[str, str]:
        """cleared_findings.txt: SHA-256 of files and texts that somebody has looked at, with the note beside each.

        Personal data found in these does not stop a release. Nothing is cleared where the file is missing.
        """
        path = self.folder / "cleared_findings.txt"
        found: dict[str, str] = {}
        for number, line in enumerate(_lines(path) if path.exists() else (), start=1):
            if not line:
                continue
            sha256, _, note = line.partition(" ")
            if not re.fullmatch(r"[0-9a-f]{64}", sha256) or not note.strip(" #"):
                raise UserError(
                    f"{path}, line {number}: write the SHA-256 that the release names, a space, and who looked at it "
                    "and why it may be published."
                )
            found[sha256] = note.strip(" #")
        return found

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


def _lines(path: Path) -> list[str]:
    """The lines of a list, white space around them and comment lines emptied."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text.") from None
    return ["" if line.lstrip().startswith("#") else line.strip() for line in lines]


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
    if not re.fullmatch(_MONTH, first):
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
            duplicates=_duplicates(_section(data, "duplicates", where), where),
            selection=_selection(_section(data, "selection", where), where),
            audit=_audit_plan(_section(data, "audit", where), where),
            grading=_grading(_section(data, "grading", where), where),
            results=_results(_section(data, "results", where), where),
            economics=_economics(_section(data, "economics", where), where),
            publish=_publish(_section(data, "publish", where), where),
            automation=_automation(_section(data, "automation", where), where),
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"{where} has a value of the wrong kind: {error}.") from error


def _results(section: Mapping[str, Any], where: Path) -> Results:
    """How results are summed up."""
    if unknown := sorted(set(section) - {"reference_cohort", "themes"}):
        raise UserError(f"{where}: results has no key {unknown[0]!r}; it may hold reference_cohort and themes.")
    month = section.get("reference_cohort")
    if month is not None and not re.fullmatch(_MONTH, str(month)):
        raise UserError(f"{where}: results.reference_cohort is {month!r}; write a month as YYYY-MM, or null for all.")
    themes = section.get("themes")
    if themes is not None and not _whole(themes, 2, 100):
        raise UserError(f"{where}: results.themes is {themes!r}; write a whole number from 2 to 100, or null.")
    return Results(None if month is None else str(month), themes)


def _audit_plan(section: Mapping[str, Any], where: Path) -> AuditPlan:
    """How the curators' sample is drawn."""
    plan = AuditPlan(
        per_stratum=int(section.get("per_stratum", AuditPlan.per_stratum)),
        kept_times=int(section.get("kept_times", AuditPlan.kept_times)),
        seed=str(section.get("seed", AuditPlan.seed)),
    )
    if plan.per_stratum < 1 or plan.kept_times < 1:
        raise UserError(f"{where}: audit.per_stratum and audit.kept_times must be whole numbers of at least 1.")
    return plan


def _grading(section: Mapping[str, Any], where: Path) -> Grading:
    """Who may grade, and how packets are shared out."""
    known = set(Grading.__dataclass_fields__)
    if unknown := sorted(set(section) - known):
        raise UserError(f"{where}: grading has no key {unknown[0]!r}; it may hold {', '.join(sorted(known))}.")
    share, days = section.get("double_share", Grading.double_share), section.get("due_days", Grading.due_days)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise UserError(f"{where}: grading.double_share must be a number from 0 to 1.")
    if not _whole(days, 1, 3650):
        raise UserError(f"{where}: grading.due_days must be a whole number of at least 1.")
    return Grading(
        min_job_success_score=_amount(section.get("min_job_success_score"), "grading.min_job_success_score", where),
        badges=_names(section.get("badges") or [], "grading.badges", where),
        min_hours=_amount(section.get("min_hours"), "grading.min_hours", where),
        double_share=float(share),
        due_days=days,
        seed=str(section.get("seed", Grading.seed)),
    )


def _economics(section: Mapping[str, Any], where: Path) -> Economics:
    """What is assumed about money."""
    known = set(Economics.__dataclass_fields__)
    if unknown := sorted(set(section) - known):
        raise UserError(f"{where}: economics has no key {unknown[0]!r}; it may hold {', '.join(sorted(known))}.")
    rate = section.get("grader_usd_per_hour", Economics.grader_usd_per_hour)
    worth = _amount(section.get("value_per_price", Economics.value_per_price), "economics.value_per_price", where)
    least = section.get("min_jobs", Economics.min_jobs)
    if not worth:
        raise UserError(f"{where}: economics.value_per_price must be a number over 0, such as 2.")
    if not _whole(least, 2, 1_000_000):
        raise UserError(f"{where}: economics.min_jobs must be a whole number of at least 2.")
    return Economics(_amount(rate, "economics.grader_usd_per_hour", where), worth, least)


def _licence(name: Any, where: Path) -> str | None:
    """A licence by its SPDX identifier, spelt as SPDX spells it."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if name is None:
        return None
    try:
        known = str(canonicalize_license_expression(name)) if isinstance(name, str) else ""
    except InvalidLicenseExpression:
        known = ""
    if not known or " " in known:
        raise UserError(f"{where}: publish.licence is {name!r}; write an SPDX identifier such as CC-BY-4.0, or null.")
    return known


def _publish(section: Mapping[str, Any], where: Path) -> Publish:
    """What is published, and under which name and licence."""
    known = set(Publish.__dataclass_fields__)
    if unknown := sorted(set(section) - known):
        raise UserError(f"{where}: publish has no key {unknown[0]!r}; it may hold {', '.join(sorted(known))}.")
    jobs, months = section.get("jobs", Publish.jobs), section.get("hold_back_months", Publish.hold_back_months)
    if jobs not in PUBLISHED_JOBS:
        raise UserError(f"{where}: publish.jobs is {jobs!r}; it must be one of {', '.join(PUBLISHED_JOBS)}.")
    if not _whole(months, 0, 1200):
        raise UserError(f"{where}: publish.hold_back_months must be a whole number of at least 0.")
    licence, url = _licence(section.get("licence"), where), section.get("url")
    if url is not None and not (isinstance(url, str) and re.fullmatch(r"https?://[^\s<>\"]+", url)):
        raise UserError(f"{where}: publish.url must be a web address that begins with https://, or null.")
    title = section.get("title", Publish.title)
    if not isinstance(title, str) or not title.strip() or not title.isprintable():
        raise UserError(f"{where}: publish.title must be a name on one line.")
    authors = _names(section.get("authors") or [], "publish.authors", where)
    return Publish(jobs, months, title.strip(), authors, licence, url)


def _automation(section: Mapping[str, Any], where: Path) -> Automation:
    """What runs may spend and make up for by themselves."""
    months = section.get("catch_up_months", Automation.catch_up_months)
    if not _whole(months, 1, 120):
        raise UserError(f"{where}: automation.catch_up_months must be a whole number from 1 to 120.")
    usd = _amount(section.get("max_usd", Automation.max_usd), "automation.max_usd", where)
    return Automation(usd, months)


def _amount(value: Any, key: str, where: Path | str) -> float | None:
    """A number of at least zero, or None where none is stated."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise UserError(f"{where}: {key} must be a number of at least 0, or null.")
    return float(value)


_PSEUDONYM = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,38}[a-z0-9])?")
_LIKE_A_NAME = re.compile(r"[a-z]{2,}(?:[-_][a-z]{2,})+")


def _grader(entry: Any) -> Grader:
    """The grader of an entry. Raises UserError when it is none, or says who the person is."""
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str | int):
        raise UserError(f"graders.yaml: each entry must hold keys and values with an id; found {entry!r}.")
    name, known = str(entry["id"]), set(Grader.__dataclass_fields__)
    if "@" in name:
        raise UserError(f"graders.yaml: {name!r} is an e-mail address; write a pseudonym such as grader-07 as id.")
    if not _PSEUDONYM.fullmatch(name) or _LIKE_A_NAME.fullmatch(name):
        raise UserError(
            f"graders.yaml: {name!r} may be a person's name and is no id; write a pseudonym such as grader-07: one "
            "word, or words with a number, of small letters, digits and hyphens, 40 at most."
        )
    if unknown := sorted(str(key) for key in entry if key not in known):
        raise UserError(
            f"graders.yaml: {name} has the key {unknown[0]!r}; there is no such key, and nothing here may say who a "
            f"grader is. Known keys are {', '.join(sorted(known))}."
        )
    where, categories = f"graders.yaml: {name}", entry.get("categories", "all")
    limit = entry.get("max_open")
    if limit is not None and not _whole(limit, 1, 100_000):
        raise UserError(f"{where}: max_open must be a whole number of at least 1, or null.")
    label_studio = entry.get("label_studio")
    return Grader(
        id=name,
        categories=None if categories == "all" else _names(categories, "categories", Path(where)),
        job_success_score=_amount(entry.get("job_success_score"), "job_success_score", where),
        badge=str(entry["badge"]) if entry.get("badge") is not None else None,
        hours=_amount(entry.get("hours"), "hours", where),
        active_from=_day(entry.get("active_from"), "active_from", where),
        active_until=_day(entry.get("active_until"), "active_until", where),
        max_open=limit,
        languages=_names(entry.get("languages") or [], "languages", Path(where)),
        label_studio=str(label_studio) if label_studio is not None else None,
    )


def _day(value: Any, key: str, where: str) -> date | None:
    """A calendar day, or None where none is stated."""
    if value is None:
        return None
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise UserError(f"{where}: {key} must be a day written as YYYY-MM-DD, or null.") from None


MOST_MONTHS_BACK = 12


def _duplicates(section: Mapping[str, Any], where: Path) -> Duplicates:
    found = Duplicates(**section)
    if not _whole(found.months_back, 0, MOST_MONTHS_BACK):
        raise UserError(f"{where}: duplicates.months_back must be a whole number from 0 to {MOST_MONTHS_BACK}.")
    if not 0.5 <= float(found.min_similarity) <= 1:  # below .5 the signatures miss most pairs
        raise UserError(f"{where}: duplicates.min_similarity must be a number from 0.5 to 1.")
    return Duplicates(float(found.min_similarity), found.months_back)


def _selection(section: Mapping[str, Any], where: Path) -> Selection:
    found = Selection(**section)
    if found.jobs_per_month is not None and not _whole(found.jobs_per_month, 1, 1_000_000):
        raise UserError(
            f"{where}: selection.jobs_per_month must be null, for all, or a whole number from 1 to 1000000."
        )
    bands = tuple(float(band) for band in found.price_bands)
    if not bands or list(bands) != sorted(set(bands)) or not all(0 < band < float("inf") for band in bands):
        raise UserError(f"{where}: selection.price_bands must be amounts over 0 that grow, as [25, 50, 100].")
    return Selection(found.jobs_per_month, int(found.seed), bands)


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


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
    prices = tuple(_price(p, name) for p in entry.get("prices") or [])
    command, reads = _command(entry.get("agent"), profile, name)
    return Model(
        name=name,
        litellm=entry.get("litellm"),
        agent_profile=profile,
        parameters=entry.get("parameters") or {},
        max_tokens=int(entry.get("max_tokens", 8192)),
        prices=prices,
        training_cutoff=str(entry["training_cutoff"]) if entry.get("training_cutoff") else None,
        pool=_pool(entry.get("pool") or {}, name),
        api_base=entry.get("api_base"),
        api_key_env=entry.get("api_key_env"),
        retired=bool(entry.get("retired", False)),
        vision=bool(entry.get("vision", False)),
        command=command,
        command_reads=reads,
    )


def _command(agent: Any, profile: str, model: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The command of a model whose agent is a program, and the paths that it needs; both empty for others."""
    if profile != "command" and agent is None:
        return (), ()
    if profile != "command":
        raise UserError(f"models.yaml: {model}: `agent` goes with agent_profile: command; write that, or leave it out.")
    where = f"models.yaml: {model}"
    given = agent if isinstance(agent, dict) else {}
    command, reads = given.get("command"), given.get("reads") or []
    for words, key in ((command, "command"), (reads, "reads")):
        if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
            raise UserError(f"{where}: write agent: {{{key}: [...]}}, a list of texts.")
    if not command:
        raise UserError(f"{where}: agent.command is empty; write the program and its arguments.")
    if not all(path.startswith("/") and ".." not in path.split("/") and path.strip("/") for path in reads):
        raise UserError(f"{where}: agent.reads must list absolute paths, such as /opt/my-agent.")
    return tuple(command), tuple(reads)


_PRICED = ("input", "output", "cached_read", "cache_write")


def _price(entry: Mapping[str, Any], model: str) -> Price:
    """One price list of a model; UserError for an amount that is none."""
    free = entry.get("free", False)
    amounts: dict[str, float] = {"input": 0.0, "output": 0.0} if free is True else {}
    for key in _PRICED:
        value = entry.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise UserError(
                f"models.yaml: {model}: the price {key!r} is {value!r}; it must be USD per million tokens, 0 or more."
            )
        amounts[key] = float(value)
    if not isinstance(free, bool) or (free and any(amounts.values())):
        raise UserError(f"models.yaml: {model}: `free` must be true or false, and true only where all prices are 0.")
    for key in ("from", "input", "output"):
        if key not in amounts:
            _need(entry, key, f"models.yaml: {model}: a price")
    return Price(date.fromisoformat(str(entry["from"])), **amounts, free=free)


def _pool(entry: Mapping[str, Any], model: str) -> Pool:
    """The pool of a model; UserError for a limit that is none."""
    limits: dict[str, int] = {}
    for key in ("concurrency", "requests_per_minute", "tokens_per_minute"):
        value = entry.get(key)
        if value is None:
            continue
        if not _whole(value, 1, 1_000_000_000):
            raise UserError(f"models.yaml: {model}: pool.{key} is {value!r}; it must be a whole number of at least 1.")
        limits[key] = value
    return Pool(str(entry.get("name", "default")), **limits)


def _model_entry(model: Model) -> dict[str, Any]:
    """The YAML entry of a model, defaults left out."""
    entry: dict[str, Any] = {"name": model.name}
    blank = Model(name="", litellm=None)
    for key, value in asdict(model).items():
        if key in ("name", "prices", "pool", "command", "command_reads") or value == getattr(blank, key):
            continue
        entry[key] = dict(value) if isinstance(value, Mapping) else value
    if model.prices:
        entry["prices"] = [
            {"from": p.valid_from.isoformat(), "input": p.input, "output": p.output}
            | ({"cached_read": p.cached_read} if p.cached_read is not None else {})
            | ({"cache_write": p.cache_write} if p.cache_write is not None else {})
            | ({"free": True} if p.free else {})
            for p in model.prices
        ]
    if model.command:
        entry["agent"] = {"command": list(model.command)}
        if model.command_reads:
            entry["agent"]["reads"] = list(model.command_reads)
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
        records=_records(data.get("records"), where),
    )


def _records(value: Any, where: Path) -> str | None:
    """The path to a document's records, checked when the definition is read."""
    from hapi_pipeline.intake.documents import records_prefix

    if value is None:
        return None
    try:
        records_prefix(str(value))
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return str(value)
