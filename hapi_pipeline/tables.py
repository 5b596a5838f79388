"""Every table, declared once.

From the declarations here come the Arrow schema enforced on write, the Columns tab of the UI and
`docs/data_dictionary.md`. A field is described once in `FIELDS`; where a table means something particular by it, the
table's notes say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Field:
    """What one column name means, wherever it stands."""

    type: str  # text, int, float, bool, timestamp, texts (a list of text), json
    meaning: str
    unit: str = ""


FIELDS: dict[str, Field] = {
    # keys
    "cohort": Field("text", "Calendar month (UTC) in which the job was completed, as YYYY-MM"),
    "model": Field("text", "Name of the model in the registry"),
    "round": Field("text", "Round of evaluation: agent_alone, feedback_1, feedback_2, retry_1"),
    "job_id": Field("text", "The marketplace's id of the job"),
    "attempt_id": Field(
        "text", "Hash of what the agent was asked: job, attachments, feedback, prompt, tools, settings"
    ),
    "packet_id": Field("text", "Opaque id under which graders know an attempt"),
    "criterion_id": Field("text", "Id of a rubric criterion within its job"),
    "verdict_id": Field("text", "Hash of packet, criterion, grader, file and row"),
    # posts
    "source": Field("text", "Name of the source definition under which the file was imported"),
    "title": Field("text", "Title of the post"),
    "description": Field("text", "Text of the post"),
    "category": Field("text", "Category of work"),
    "subcategory": Field("text", "Subcategory of work"),
    "skills": Field("texts", "Skills that the post asks for"),
    "job_type": Field("text", "fixed or hourly; null when the export does not say"),
    "price_usd": Field("float", "Agreed price of the job", "USD"),
    "price_changed": Field("bool", "Whether the price changed after the contract began"),
    "milestone_count": Field("int", "Number of milestones of the contract", "milestones"),
    "status": Field("text", "completed, open, cancelled, in_progress or what else the export says"),
    "paid": Field("bool", "Whether the client paid for the job"),
    "client_verified": Field("bool", "Whether the marketplace has verified the client's means of payment"),
    "client_id": Field("text", "Hash of the client's id; the id itself is never kept"),
    "country": Field("text", "Country of the client"),
    "posted_at": Field("timestamp", "When the job was posted", "UTC"),
    "started_at": Field("timestamp", "When work began", "UTC"),
    "completed_at": Field("timestamp", "When the job was completed", "UTC"),
    "updated_at": Field("timestamp", "When the marketplace last changed the row; decides which row is newest", "UTC"),
    "attachments": Field("texts", "Names of the files attached to the post"),
    "assumed_fields": Field("texts", "Fields that the export left empty and the operator vouches for"),
    "extra": Field("json", "Columns of the export that no field is mapped to, as JSON"),
    "content_id": Field("text", "Hash of client, title, description and price: the same post under another id"),
    "source_file": Field("text", "Name of the file the row came from"),
    "source_sha256": Field("text", "SHA-256 of the file the row came from"),
    "source_row": Field("int", "Row in that file, the first data row being 1", "row"),
    "imported_at": Field("timestamp", "When the file was imported", "UTC"),
    "simulated": Field("bool", "Whether any of it was made by the simulator rather than by people and real models"),
    # curation
    "rule": Field(
        "text", "Name of the rule: of curation, or in results of completion (all_criteria, required_criteria)"
    ),
    "code": Field("text", "Why, as a short stable code"),
    "observed": Field("text", "What was found"),
    "threshold": Field("text", "What the rule asks for"),
    "rule_version": Field("text", "Version of benchmark.yaml that the rule was applied under"),
    "position": Field("int", "Place in order, from 1"),
    "n_in": Field("int", "Jobs that reached the rule", "jobs"),
    "n_kept": Field("int", "Jobs that passed it", "jobs"),
    "n_rejected": Field("int", "Jobs that it turned away on known facts", "jobs"),
    "n_unknown": Field("int", "Jobs that it turned away because a fact is unknown", "jobs"),
    "n_alone": Field(
        "int",
        "Jobs of the month that this rule would turn away if it were the only one; null for the rules that judge "
        "among jobs",
        "jobs",
    ),
    "finding_type": Field("text", "Kind of personal data found"),
    "place": Field("text", "Field of the post in which it was found"),
    "start": Field("int", "First character of the finding within the field, from 0", "characters"),
    "end": Field("int", "Character after the finding", "characters"),
    "score": Field("float", "Confidence of the detector, 0 to 1"),
    "decision": Field("text", "keep, review or reject"),
    "detector_version": Field("text", "Version of the detector"),
    # selection
    "cluster_id": Field("text", "job_id of the head of the job's cluster: the earliest job that it is like"),
    "head_cohort": Field("text", "Month of the head of the cluster, as YYYY-MM"),
    "similarity": Field("float", "Jaccard similarity of the word 3-shingles of title and description to the head's"),
    "method": Field("text", "How the cluster was found: itself (a head), content (same content_id) or near (its text)"),
    "band": Field("int", "0 for the whole text, from 1 on the bands of the MinHash signature"),
    "band_key": Field("int", "Hash of the whole text or band; jobs that share one are compared"),
    "n_shingles": Field("int", "Distinct word 3-shingles of title and description", "shingles"),
    "freeze_name": Field("text", "Name of the freeze, given once"),
    "frozen_at": Field("timestamp", "When the freeze was made", "UTC"),
    # the human audit of curation
    "keep": Field("bool", "Whether the curator would keep the job; null when the curator could not judge"),
    "reason": Field("text", "Rule by which the curator would turn the job away, or other; null where none was named"),
    "curator": Field("text", "Pseudonym of the curator"),
    "judged_at": Field("timestamp", "When the curator judged, as stated in the file", "UTC"),
    "n_population": Field("int", "Jobs that the rule turned away; in the row all: jobs that all rules keep", "jobs"),
    "n_sampled": Field("int", "Of these, jobs that came back from a curator", "jobs"),
    "n_audited": Field("int", "Of these, jobs with an answer on which all curators who could judge agree", "jobs"),
    "n_agreed": Field("int", "Of these, jobs that a person would turn away too; in all: keep too", "jobs"),
    "n_missed": Field(
        "int",
        "Audited jobs that came past the rule though a person would turn them away by it; in all: jobs turned away "
        "that a person would keep",
        "jobs",
    ),
    "n_disagreed": Field("int", "Sampled jobs on which curators contradict each other: not audited", "jobs"),
    "precision": Field("float", "n_agreed / n_audited: share of these jobs that a person decides alike"),
    "precision_lo": Field("float", "Wilson 95 % interval of precision, lower end"),
    "precision_hi": Field("float", "Wilson 95 % interval of precision, upper end"),
    "recall": Field(
        "float",
        "Estimated share, of the jobs reaching the rule that a person would turn away by it, that it turned away; in "
        "all: of the jobs that a person would keep, that are kept. Null while a stratum of it has no audited job",
    ),
    "recall_lo": Field("float", "95 % interval of recall, lower end"),
    "recall_hi": Field("float", "95 % interval of recall, upper end"),
    # rubrics
    "rubric_version": Field("text", "Hash of the rubric's criteria: texts, order and importance"),
    "text": Field("text", "Text of the criterion"),
    "importance": Field("text", "critical, important, optional or pitfall"),
    "author": Field("text", "Who wrote the rubric (pseudonym)"),
    "n_criteria": Field("int", "Criteria in the job's rubric", "criteria"),
    # attempts
    "turn": Field("int", "Turn of the conversation with the human: 0 alone, 1 after the first feedback, ..."),
    "arm": Field("text", "human (with feedback) or control (without)"),
    "try_number": Field("int", "1 for the first; more when earlier tries ended in an infrastructure failure"),
    "finish_reason": Field("text", "How the agent's work ended; see the methodology for the list"),
    "steps": Field("int", "Calls to the model", "calls"),
    "prompt_tokens": Field("int", "Tokens sent, cached ones included", "tokens"),
    "completion_tokens": Field("int", "Tokens received, reasoning included", "tokens"),
    "cached_tokens": Field("int", "Tokens sent that the provider read from its cache", "tokens"),
    "reasoning_tokens": Field("int", "Tokens received that were reasoning", "tokens"),
    "cost_usd": Field("float", "Price of all tokens by the registry's price list; null when unknown", "USD"),
    "maybe_billed_steps": Field(
        "int", "Calls that the provider may have billed although no answer was recorded; not in the cost", "calls"
    ),
    "seconds": Field("float", "Wall time of the attempt", "s"),
    "deliverables": Field(
        "json",
        "Files handed in: [{path, media_type, bytes, sha256, opens}]; the type is that of the content, "
        "opens is null where it is not checked",
    ),
    "n_deliverables": Field("int", "Files handed in", "files"),
    "request_sha256": Field("text", "SHA-256 of what the agent was asked"),
    "model_snapshot": Field("text", "Model id that the provider says answered"),
    "agent_profile": Field(
        "text", "paper (reads and stores files), code (may also run Python), command (a program) or external"
    ),
    "sandbox": Field("text", "Isolation under which code ran; none when no code ran"),
    "code_version": Field("text", "Version of the agent's code"),
    "finished_at": Field("timestamp", "When the attempt ended", "UTC"),
    "previous_attempt_id": Field("text", "The attempt whose deliverables were in the workspace at the start"),
    # packets
    "packet_sha256": Field("text", "SHA-256 over what the grader sees: brief, rubric and deliverables"),
    "folder": Field("text", "Folder of the packet, relative to the home"),
    "issued_at": Field("timestamp", "When the packet was made", "UTC"),
    # verdicts
    "passed": Field("bool", "Good for the client (for a pitfall: avoided); null when the grader could not judge"),
    "comment": Field("text", "What the grader wrote"),
    "grader": Field("text", "Pseudonym of the grader"),
    "grader_role": Field("text", "grader or adjudicator"),
    "minutes": Field("float", "Time the grader spent on the packet, as reported", "min"),
    "graded_at": Field("timestamp", "When the verdict was given", "UTC"),
    "is_current": Field("bool", "False once a newer verdict of the same grader replaced it"),
    "flags": Field("texts", "What is unusual about the row: late, ambiguous_date, ..."),
    # quarantine
    "kind": Field("text", "What kind of file the row came from: jobs, rubrics, verdicts, attempts, audits"),
    "file": Field("text", "Name of the file"),
    "row": Field("int", "Row in the file, the first data row being 1; null for the whole file"),
    "column": Field("text", "Column at fault"),
    "value": Field("text", "What stood there (shortened)"),
    "message": Field("text", "What is wrong and what to do, in plain words"),
    # outcomes
    "n_passed": Field("int", "Criteria passed", "criteria"),
    "n_judged": Field("int", "Criteria with a known verdict", "criteria"),
    "all_criteria": Field("bool", "Every criterion passed; null while unknown"),
    "required_criteria": Field("bool", "Every critical and important criterion passed; null while unknown"),
    "outcome": Field("text", "graded, pending (no complete verdict yet) or infra (no fair attempt was possible)"),
    "disagreement": Field("bool", "Graders disagree on some criterion and nobody has adjudicated"),
    "near_miss": Field("bool", "Exactly one criterion failed"),
    "grader_minutes": Field("float", "Minutes of all graders on this attempt", "min"),
    # rates
    "n_eligible": Field("int", "Jobs of the benchmark in this cell: the denominator of the strict rate", "jobs"),
    "n_attempted": Field("int", "Jobs with an attempt at this turn or complete before it", "jobs"),
    "n_pending": Field("int", "Jobs whose attempt at this turn has no complete verdict yet", "jobs"),
    "n_infra": Field("int", "Jobs whose attempt at this turn failed for reasons that are not the model's", "jobs"),
    "n_unattempted": Field("int", "Jobs neither complete before this turn nor attempted at it", "jobs"),
    "n_graded": Field("int", "Jobs whose state after this turn is known", "jobs"),
    "n_completed": Field("int", "Jobs complete at this turn or earlier", "jobs"),
    "n_retried": Field("int", "Jobs attempted at this turn and graded", "jobs"),
    "n_rescued": Field("int", "Of those, complete at this turn and not before", "jobs"),
    "rate": Field("float", "n_completed / n_eligible (strict); null without graded jobs"),
    "rate_lo": Field("float", "Wilson 95 % interval of rate, lower end"),
    "rate_hi": Field("float", "Wilson 95 % interval of rate, upper end"),
    "rate_graded": Field("float", "n_completed / n_graded; null without graded jobs"),
    "bound_lo": Field("float", "Rate if every job not known were incomplete"),
    "bound_hi": Field("float", "Rate if every job not known were complete"),
    "cohorts": Field("int", "Cohorts that went into the row", "months"),
    "first_cohort": Field("text", "Earliest of them"),
    "last_cohort": Field("text", "Latest of them"),
    "n_attempts": Field("int", "Attempts made, failed ones included", "attempts"),
    "rank": Field("int", "Place by rate within round and rule, 1 is best; ties share a place"),
    "n_before": Field("int", "Jobs complete before this turn", "jobs"),
    "rate_before": Field("float", "Completion rate before this turn"),
    "lift_points": Field("float", "rate minus rate_before", "percentage points"),
    "lift_relative": Field("float", "rate / rate_before - 1"),
    "normalised_gain": Field("float", "(rate - rate_before) / (1 - rate_before)"),
    "rescue_of_retried": Field("float", "n_rescued / n_retried"),
    "rescue_of_failed": Field("float", "n_rescued over all jobs known incomplete before the turn"),
    "n_failed_before": Field("int", "Jobs known incomplete before this turn", "jobs"),
    "rescue_lo": Field("float", "Wilson 95 % interval of rescue_of_retried, lower end"),
    "rescue_hi": Field("float", "Wilson 95 % interval of rescue_of_retried, upper end"),
    "n_jobs": Field("int", "Jobs", "jobs"),
    "price_min": Field("float", "Lowest price", "USD"),
    "price_median": Field("float", "Median price", "USD"),
    "price_max": Field("float", "Highest price", "USD"),
    "share_10_200": Field("float", "Share of jobs priced from $10 to $200"),
    "criteria_mean": Field("float", "Criteria a job, mean", "criteria"),
}


@dataclass(frozen=True)
class Column:
    """A column of one table."""

    name: str
    nullable: bool
    note: str = ""  # what is particular to this table

    @property
    def meaning(self) -> str:
        """What the column means in this table."""
        return self.note or self.field.meaning

    @property
    def field(self) -> Field:
        """What the name means and what type it has."""
        return FIELDS[self.name]


@dataclass(frozen=True)
class Table:
    """One table: its columns, what a row is, its key, how it is split into files, where it stands in the graph."""

    name: str
    group: str
    grain: str
    meaning: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partitions: tuple[str, ...] = ()
    ledger: bool = False  # append-only: a file per import, never rewritten
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(c.name for c in self.columns))
        unknown = set(self.key) - set(self.names)
        if unknown:
            raise ValueError(f"table {self.name}: key columns {sorted(unknown)} are not columns")

    def schema(self) -> pa.Schema:
        """The Arrow schema that is enforced on write."""
        import pyarrow as pa

        types: dict[str, pa.DataType] = {
            "text": pa.string(),
            "json": pa.string(),
            "int": pa.int64(),
            "float": pa.float64(),
            "bool": pa.bool_(),
            "timestamp": pa.timestamp("us", tz="UTC"),
            "texts": pa.list_(pa.string()),
        }
        return pa.schema([pa.field(c.name, types[c.field.type], c.nullable) for c in self.columns])


TABLES: dict[str, Table] = {}


def _table(
    name: str,
    group: str,
    grain: str,
    meaning: str,
    columns: str,
    key: str,
    partitions: str = "",
    ledger: bool = False,
    notes: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Declare a table; in `columns` a name that ends in ``?`` may be null, and `notes` says what differs here."""
    words = [(word.removesuffix("?"), word.endswith("?")) for word in columns.split()]
    parsed = tuple(Column(name, nullable, notes.get(name, "")) for name, nullable in words)
    TABLES[name] = Table(name, group, grain, meaning, parsed, tuple(key.split()), tuple(partitions.split()), ledger)


_POST = (
    "job_id source title? description? category? subcategory? skills? job_type? price_usd? price_changed? "
    "milestone_count? status? paid? client_verified? client_id? country? posted_at? started_at? completed_at? "
    "updated_at? attachments? assumed_fields content_id source_file source_sha256 source_row imported_at simulated"
)
_CHAIN = (
    "cohort job_id source category? subcategory? job_type? price_usd? price_changed? milestone_count? status? paid? "
    "client_id? completed_at? content_id simulated"
)

_table(
    "job_exports",
    "intake",
    "row of an imported export",
    "Every job row ever imported, as it came: the ledger behind job_posts.",
    f"cohort {_POST} extra?",
    "source_sha256 source_row",
    "cohort",
    ledger=True,
)
_table(
    "job_posts",
    "intake",
    "job",
    "The newest row of every job, in the month in which it was completed.",
    f"cohort {_POST}",
    "job_id",
    "cohort",
)
_table(
    "rubric_exports",
    "intake",
    "row of an imported rubric file",
    "Every rubric criterion ever imported: the ledger behind rubrics.",
    "job_id rubric_version criterion_id position text importance author? source_file source_sha256 source_row "
    "imported_at simulated",
    "source_sha256 source_row",
    "",
    ledger=True,
)
_table(
    "rubrics",
    "intake",
    "job × criterion",
    "The newest valid rubric of every job.",
    "cohort job_id rubric_version criterion_id position text importance author? source_sha256 imported_at simulated",
    "job_id criterion_id",
    "cohort",
)
_table(
    "quarantine",
    "intake",
    "rejected row",
    "Every row that could not be taken in, and why.",
    "kind file row? column? value? code message source_sha256 imported_at",
    "source_sha256 kind row column code",
    "",
    ledger=True,
)

for _name, _meaning in (
    ("fixed_price_jobs", "Posts with one agreed price rather than an hourly rate."),
    ("completed_jobs", "Of those, the jobs that were completed and paid."),
    ("single_milestone_jobs", "Of those, the jobs with a single milestone and a price that never changed."),
    ("in_scope_jobs", "Of those, the jobs within the benchmark's price limit and categories."),
    ("pii_free_jobs", "Of those, the jobs without personal data in their texts."),
):
    _table(_name, "curation", "job", _meaning, _CHAIN, "job_id", "cohort")
_table(
    "pii_findings",
    "curation",
    "finding",
    "Where personal data was found; never the value itself.",
    "cohort job_id place finding_type start end score decision detector_version",
    "job_id place finding_type start",
    "cohort",
)
_table(
    "curated_jobs",
    "curation",
    "job",
    "The jobs that pass every rule on the post itself.",
    f"cohort {_POST}",
    "job_id",
    "cohort",
)
_table(
    "job_signatures",
    "curation",
    "job × band",
    "MinHash signatures of the curated jobs' texts: where to look for jobs that are alike, in this month and later.",
    "cohort job_id band band_key n_shingles simulated",
    "job_id band",
    "cohort",
)
_table(
    "job_clusters",
    "curation",
    "job",
    "For every curated job the earliest job that it is like, of its own month or the months before.",
    "cohort job_id cluster_id head_cohort similarity method simulated",
    "job_id",
    "cohort",
)
_table(
    "job_freezes",
    "intake",
    "freeze × job",
    "The benchmark's jobs under the name of a release: lists that can be cited and that no later run changes.",
    "freeze_name cohort job_id rubric_version content_id category? price_usd? frozen_at simulated",
    "freeze_name job_id",
    "",
    ledger=True,
    notes={"simulated": "Whether the job was made by the simulator"},
)
_table(
    "selected_jobs",
    "curation",
    "job",
    "Of the curated jobs one of each cluster, and of these the sample, where one is asked for.",
    _CHAIN,
    "job_id",
    "cohort",
)
_table(
    "benchmark_jobs",
    "curation",
    "job",
    "The selected jobs that have a valid rubric: what agents attempt.",
    f"cohort {_POST} rubric_version n_criteria",
    "job_id",
    "cohort",
)
_table(
    "rejected_jobs",
    "curation",
    "job × rule",
    "Every post that was left out: the first rule that stopped it.",
    "cohort job_id rule code observed? threshold? rule_version",
    "job_id rule",
    "cohort",
)
_table(
    "curation_funnel",
    "curation",
    "rule",
    "How many jobs each rule saw, kept and turned away.",
    "cohort position rule n_in n_kept n_rejected n_unknown n_alone? rule_version simulated",
    "rule",
    "cohort",
)
_table(
    "funnel_by_category",
    "curation",
    "rule × category",
    "The funnel of each category; over all categories its counts add up to those of curation_funnel.",
    "cohort position rule category n_in n_kept n_rejected n_unknown n_alone? rule_version simulated",
    "rule category",
    "cohort",
    notes={"category": "Category of work; unknown where the post states none"},
)
_table(
    "audit_exports",
    "intake",
    "row of an imported audit file",
    "Every answer of a curator ever imported: the ledger behind curation_audit.",
    "cohort job_id keep? reason? comment? curator judged_at? source_file source_sha256 source_row imported_at "
    "simulated",
    "source_sha256 source_row",
    "",
    ledger=True,
    notes={"comment": "What the curator wrote", "simulated": "Whether the job was made by the simulator"},
)
_table(
    "curation_audit",
    "curation",
    "rule, and all",
    "How far curators who judge a blind sample agree with each rule, and with all of them together.",
    "cohort position rule n_population n_sampled n_audited n_agreed n_missed n_disagreed precision? precision_lo? "
    "precision_hi? recall? recall_lo? recall_hi? rule_version simulated",
    "rule",
    "cohort",
    notes={"rule": "Name of the rule, or all: the rules on the post itself taken together"},
)

_table(
    "attempts",
    "rounds",
    "attempt",
    "Every attempt of a model at a job, failed ones included, with its cost.",
    "attempt_id cohort model round job_id turn arm try_number status finish_reason steps prompt_tokens "
    "completion_tokens cached_tokens reasoning_tokens cost_usd? maybe_billed_steps seconds deliverables n_deliverables "
    "request_sha256 previous_attempt_id? model_snapshot? agent_profile sandbox code_version finished_at is_current "
    "simulated",
    "attempt_id",
    "cohort model round",
    notes={
        "status": "done, or infra when it ended for reasons that are not the model's",
        "is_current": "Whether it is the attempt that answers what would be asked today",
        "seconds": "Time that the model took, without waits between repeated calls",
    },
)
_table(
    "packets",
    "rounds",
    "packet",
    "What was given to graders: one packet for each attempt to be graded.",
    "packet_id cohort model round job_id attempt_id rubric_version n_criteria n_deliverables packet_sha256 folder "
    "issued_at simulated",
    "packet_id",
    "cohort model round",
)
_table(
    "verdict_exports",
    "intake",
    "row of an imported verdict file",
    "Every verdict ever imported: the ledger behind verdicts.",
    "verdict_id packet_id attempt_id cohort model round job_id criterion_id rubric_version passed? comment? grader "
    "grader_role minutes? graded_at? flags source_file source_sha256 source_row imported_at simulated",
    "verdict_id",
    "model round",
    ledger=True,
)
_table(
    "verdicts",
    "rounds",
    "attempt × criterion × grader × import",
    "Every verdict of a grader on a criterion, superseded ones included.",
    "verdict_id attempt_id packet_id cohort model round job_id criterion_id rubric_version passed? comment? grader "
    "grader_role minutes? graded_at? flags source_file source_sha256 source_row imported_at is_current simulated",
    "verdict_id",
    "cohort model round",
)

_table(
    "attempt_outcomes",
    "results",
    "attempt",
    "What came of each current attempt under each completion rule.",
    "attempt_id cohort model round job_id category? n_criteria n_judged n_passed all_criteria? required_criteria? "
    "outcome disagreement near_miss cost_usd? grader_minutes? simulated",
    "attempt_id",
    "cohort model",
)
_RATES = (
    "n_eligible n_attempted n_unattempted n_pending n_infra n_graded n_completed n_retried n_rescued rate? rate_lo? "
    "rate_hi? rate_graded? bound_lo? bound_hi?"
)
_table(
    "completion_rates",
    "results",
    "cohort × model × round × category × rule",
    "Jobs completed at each round or earlier, with every count, interval and bound. Counts add up.",
    f"cohort model round category rule {_RATES} simulated",
    "cohort model round category rule",
    "cohort model",
)
_table(
    "leaderboard",
    "results",
    "model × round × rule",
    "Completion of each model over all cohorts.",
    f"rule round rank? model cohorts first_cohort last_cohort {_RATES} n_attempts cost_usd? simulated",
    "model round rule",
    notes={
        "n_attempts": "Attempts made in this round and those before it on its path, failed ones included",
        "cost_usd": "What these attempts cost",
    },
)
_table(
    "category_rates",
    "results",
    "model × round × category × rule",
    "Completion of each model by category over all cohorts.",
    f"rule category round model cohorts {_RATES} simulated",
    "model round category rule",
)
_table(
    "feedback_lift",
    "results",
    "model × round × rule",
    "What each second try added, over the same jobs, with both rescue rates.",
    "rule round model n_eligible n_before n_failed_before n_retried n_rescued n_completed rate_before? rate? "
    "lift_points? lift_relative? normalised_gain? rescue_of_retried? rescue_of_failed? rescue_lo? rescue_hi? "
    "simulated",
    "model round rule",
)
_table(
    "dataset_overview",
    "results",
    "cohort × category",
    "The benchmark's jobs as published: counts and prices.",
    "cohort category n_jobs price_min? price_median? price_max? share_10_200? criteria_mean? simulated",
    "cohort category",
)


def data_tables() -> Iterator[Table]:
    """The tables in the order in which they are declared."""
    yield from TABLES.values()
