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
    "verdict_id": Field("text", "File (first digits of its SHA-256) and row that it comes from; a hash in older homes"),
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
    "still_stands": Field("bool", "Whether today's rubric has the criterion with the same text and importance"),
    "author": Field("text", "Who wrote the rubric (pseudonym)"),
    "n_criteria": Field("int", "Criteria in the job's rubric", "criteria"),
    # attempts
    "turn": Field("int", "Turn of the conversation with the human: 0 alone, 1 after the first feedback, ..."),
    "arm": Field("text", "human (with feedback) or control (without)"),
    "sample": Field("int", "1 where a job is attempted once; 2 and more: the same work done again from the start"),
    "try_number": Field(
        "int",
        "1 for the first; more when earlier tries ended in an infrastructure failure, or other work was handed in",
    ),
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
    # graders' work
    "assignment_id": Field("text", "Hash of packet, grader, role and moment: one giving of a packet to a grader"),
    "event": Field("text", "assigned, withdrawn, flagged (the grader no longer qualifies) or cleared (does again)"),
    "noted_at": Field("timestamp", "When it was written down", "UTC"),
    "role": Field("text", "grader, second (a second opinion on the same packet) or adjudicator (decides between them)"),
    "seed": Field("text", "grading.seed of benchmark.yaml, from which the choice and the order follow"),
    "assigned_at": Field("timestamp", "When the packet was given to the grader", "UTC"),
    "due_at": Field("timestamp", "When the verdicts are due", "UTC"),
    "returned_at": Field("timestamp", "When the newest verdict of the grader on the packet was imported", "UTC"),
    "days": Field("float", "Days from giving the packet out to its newest verdict", "days"),
    "n_answered": Field("int", "Criteria with an answer of this grader that counts today", "criteria"),
    "n_disputed": Field("int", "Criteria on which graders contradict each other and nobody has decided", "criteria"),
    "unqualified": Field("bool", "Whether the grader has stopped being qualified; the verdicts stay"),
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
    "rate_graded_lo": Field("float", "Wilson 95 % interval of rate_graded, lower end"),
    "rate_graded_hi": Field("float", "Wilson 95 % interval of rate_graded, upper end"),
    "price_band": Field("text", "Price band of the job, as in benchmark.yaml: under $25, $25 to $50, …, or unknown"),
    "after_cutoff": Field(
        "bool",
        "Whether the job was posted (where unknown: completed) after the end of the model's training cutoff; null "
        "where "
        "the registry states no cutoff or the date is unknown",
    ),
    "complete_before": Field("bool", "Complete after an earlier round on the path to this one"),
    "failed_before": Field("bool", "Known incomplete after the round that this one follows"),
    "state": Field(
        "text",
        "After this round: complete, failed, pending (no complete verdict yet), infra (no fair attempt) or unattempted",
    ),
    "n_failed_rescued": Field("int", "Of n_failed_before, jobs complete at this turn", "jobs"),
    "n_never_retried": Field("int", "Of n_failed_before, jobs that have no attempt at this turn", "jobs"),
    "n_priced": Field("int", "Of n_eligible, jobs with a known price: those that earn_rate is over", "jobs"),
    "usd_eligible": Field("float", "Sum of the prices of these jobs", "USD"),
    "usd_completed": Field("float", "Sum of the prices of those that are complete", "USD"),
    "rate_se": Field("float", "Standard error of rate that takes jobs of one client as alike; null with one client"),
    "n_eff": Field(
        "float",
        "As many independent jobs would tell as much about rate as these jobs of these clients",
        "jobs",
    ),
    "rate_cl_lo": Field("float", "Wilson 95 % interval of rate over n_eff jobs, lower end"),
    "rate_cl_hi": Field("float", "Wilson 95 % interval of rate over n_eff jobs, upper end"),
    "earn_rate": Field("float", "usd_completed / usd_eligible: share of the money; null without graded jobs"),
    "earn_lo": Field("float", "95 % interval of earn_rate, lower end"),
    "earn_hi": Field("float", "95 % interval of earn_rate, upper end"),
    "earn_n_eff": Field("float", "As many jobs of equal price would tell as much about earn_rate", "jobs"),
    "rate_std": Field(
        "float",
        "Rate on the reference's mix of categories and price bands, over the part of it that std_covered states",
    ),
    "rate_std_lo": Field("float", "95 % interval of rate_std, lower end"),
    "rate_std_hi": Field("float", "95 % interval of rate_std, upper end"),
    "std_covered": Field("float", "Share of the reference's jobs in categories and price bands with graded jobs here"),
    "std_n_eff": Field("float", "Effective number of jobs behind rate_std", "jobs"),
    "mde_pp": Field(
        "float",
        "Smallest difference between two models on n_graded common jobs found with 80 % power at the 5 % level",
        "percentage points",
    ),
    "mde_discordance": Field("float", "Share of jobs on which the two models are assumed to differ, for mde_pp"),
    "rank_lo": Field("int", "1 + the number of models significantly better (model_comparisons)"),
    "rank_hi": Field("int", "Number of models ranked less those significantly worse"),
    "tie_group": Field(
        "int", "Group from 1 on: models, in order of rate, that do not differ significantly from the best of the group"
    ),
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
    "lift_lo": Field("float", "95 % interval of lift_points, lower end", "percentage points"),
    "lift_hi": Field("float", "95 % interval of lift_points, upper end", "percentage points"),
    "lift_relative": Field("float", "rate / rate_before - 1"),
    "normalised_gain": Field("float", "(rate - rate_before) / (1 - rate_before)"),
    "rescue_of_retried": Field("float", "n_rescued / n_retried"),
    "rescue_of_failed": Field("float", "n_failed_rescued / n_failed_before: over all jobs known incomplete before"),
    "rescue_of_failed_lo": Field("float", "Wilson 95 % interval of rescue_of_failed, lower end"),
    "rescue_of_failed_hi": Field("float", "Wilson 95 % interval of rescue_of_failed, upper end"),
    "control_round": Field("text", "The second try without feedback that starts from the same round; null without one"),
    "n_paired": Field("int", "Jobs known after this round and after control_round", "jobs"),
    "n_only_feedback": Field("int", "Of n_paired, jobs complete after this round only", "jobs"),
    "n_only_control": Field("int", "Of n_paired, jobs complete after control_round only", "jobs"),
    "net_points": Field(
        "float",
        "What feedback added beyond a second try: (n_only_feedback - n_only_control) / n_paired",
        "percentage points",
    ),
    "net_lo": Field("float", "95 % interval of net_points (Newcombe), lower end", "percentage points"),
    "net_hi": Field("float", "95 % interval of net_points (Newcombe), upper end", "percentage points"),
    "n_at_risk": Field("int", "Jobs open before this turn that were tried at it and are graded", "jobs"),
    "n_events": Field("int", "Of these, complete at this turn", "jobs"),
    "n_censored": Field(
        "int",
        "Jobs open before this turn that were not tried at it, or whose outcome is unknown",
        "jobs",
    ),
    "hazard": Field("float", "n_events / n_at_risk"),
    "hazard_lo": Field("float", "Wilson 95 % interval of hazard, lower end"),
    "hazard_hi": Field("float", "Wilson 95 % interval of hazard, upper end"),
    "curve": Field("float", "Share complete after this turn if every job were tried: 1 - product of (1 - hazard)"),
    "curve_se": Field("float", "Greenwood standard error of curve"),
    "curve_lo": Field("float", "95 % interval of curve, lower end"),
    "curve_hi": Field("float", "95 % interval of curve, upper end"),
    "curve_n_eff": Field("float", "As many jobs would give this error for a share", "jobs"),
    "n_failed_before": Field("int", "Jobs known incomplete before this turn", "jobs"),
    "rescue_lo": Field("float", "Wilson 95 % interval of rescue_of_retried, lower end"),
    "rescue_hi": Field("float", "Wilson 95 % interval of rescue_of_retried, upper end"),
    "window": Field(
        "text", "all; last_12: the twelve newest months of the benchmark; post_cutoff: jobs after both models' cutoffs"
    ),
    # two models on the same jobs
    "model_a": Field("text", "The first of the two models, by name"),
    "model_b": Field("text", "The second of the two models, by name"),
    "n_a": Field("int", "Jobs known for model_a, of those that the window holds for both", "jobs"),
    "n_b": Field("int", "Jobs known for model_b, of those that the window holds for both", "jobs"),
    "n_common": Field("int", "Jobs known for both models: the denominator of the rates here", "jobs"),
    "n_both": Field("int", "Of the common jobs, complete for both", "jobs"),
    "n_only_a": Field("int", "Of the common jobs, complete for model_a only", "jobs"),
    "n_only_b": Field("int", "Of the common jobs, complete for model_b only", "jobs"),
    "n_neither": Field("int", "Of the common jobs, complete for neither", "jobs"),
    "n_clients": Field("int", "Clients behind the common jobs; a job whose client is unknown counts as one", "clients"),
    "rate_a": Field("float", "(n_both + n_only_a) / n_common; null without common jobs"),
    "rate_b": Field("float", "(n_both + n_only_b) / n_common; null without common jobs"),
    "difference": Field("float", "rate_a minus rate_b, a share: .05 is five points"),
    "diff_lo": Field("float", "95 % interval of difference (Newcombe, method 10), lower end"),
    "diff_hi": Field("float", "95 % interval of difference (Newcombe, method 10), upper end"),
    "boot_lo": Field("float", "95 % interval of difference by the bootstrap over clients, lower end"),
    "boot_hi": Field("float", "95 % interval of difference by the bootstrap over clients, upper end"),
    "p_mid": Field("float", "Mid-p value of McNemar's exact test, two-sided; 1 where no job tells the two apart"),
    "p_holm": Field("float", "p_mid adjusted by Holm over all pairs of the same window, rule and round"),
    "significant": Field("bool", "Whether p_holm is at most .05; null without common jobs"),
    "mde": Field("float", "Smallest difference that this many common jobs show with 80 % power at 5 %, as a share"),
    "same_jobs": Field("bool", "Whether both models are known on the same jobs"),
    # money
    "n_cost_known": Field("int", "Of the attempts, those whose cost is known", "attempts"),
    "cost_per_attempt_usd": Field("float", "cost_usd / n_attempts", "USD"),
    "cost_graded_usd": Field(
        "float",
        "What the attempts at the n_graded jobs cost, of several samples the mean; null when one is unknown",
        "USD",
    ),
    "cost_per_completed_usd": Field("float", "cost_graded_usd / n_completed; null where none is complete", "USD"),
    "cost_per_completed_lo": Field("float", "95 % interval of cost_per_completed_usd, lower end", "USD"),
    "cost_per_completed_hi": Field("float", "95 % interval of cost_per_completed_usd, upper end", "USD"),
    "n_reviewed": Field("int", "Attempts that somebody reviewed, of several samples the first", "attempts"),
    "minutes_per_review": Field("float", "Mean minutes of one grader's review, over n_timed", "min"),
    "review_cost_usd": Field("float", "One review an attempt; null when the minutes of one are unknown", "USD"),
    "grader_usd_per_hour": Field("float", "Assumed: what an hour of a grader costs (benchmark.yaml)", "USD/h"),
    "value_per_price": Field("float", "Assumed: what a completed job is worth, in multiples of its price"),
    "fallback": Field("text", "Assumed: who does what agent and human leave incomplete"),
    "success_alone": Field("float", "Probability that a job is complete after the first attempt"),
    "success_human_ai": Field("float", "Probability that a job is complete after the last step of the round's path"),
    "cost_alone_usd": Field("float", "Expected cost of the first attempt at a job", "USD"),
    "cost_human_ai_usd": Field("float", "Expected cost of all attempts at a job on the round's path", "USD"),
    "review_minutes": Field("float", "Expected minutes of review of a job on the round's path", "min"),
    "price_mean_usd": Field("float", "Mean price of the jobs: what a human alone takes for one", "USD"),
    "price_mean_lo": Field("float", "95 % interval of price_mean_usd, lower end", "USD"),
    "price_mean_hi": Field("float", "95 % interval of price_mean_usd, upper end", "USD"),
    "alone_per_completed_usd": Field("float", "cost_alone_usd / success_alone", "USD"),
    "alone_per_completed_lo": Field("float", "95 % interval of alone_per_completed_usd, lower end", "USD"),
    "alone_per_completed_hi": Field("float", "95 % interval of alone_per_completed_usd, upper end", "USD"),
    "human_ai_per_completed_usd": Field("float", "Attempts and reviews of a job / success_human_ai", "USD"),
    "human_ai_per_completed_lo": Field("float", "95 % interval of human_ai_per_completed_usd, lower end", "USD"),
    "human_ai_per_completed_hi": Field("float", "95 % interval of human_ai_per_completed_usd, upper end", "USD"),
    "human_ai_fallback_usd": Field("float", "Attempts and reviews of a job, and its price if it stays open", "USD"),
    "human_ai_fallback_lo": Field("float", "95 % interval of human_ai_fallback_usd, lower end", "USD"),
    "human_ai_fallback_hi": Field("float", "95 % interval of human_ai_fallback_usd, upper end", "USD"),
    "net_alone_usd": Field("float", "Expected value less cost of a job, agent alone", "USD"),
    "net_alone_lo": Field("float", "95 % interval of net_alone_usd, lower end", "USD"),
    "net_alone_hi": Field("float", "95 % interval of net_alone_usd, upper end", "USD"),
    "net_human_ai_usd": Field("float", "Expected value less cost of a job, agent + human with fallback", "USD"),
    "net_human_ai_lo": Field("float", "95 % interval of net_human_ai_usd, lower end", "USD"),
    "net_human_ai_hi": Field("float", "95 % interval of net_human_ai_usd, upper end", "USD"),
    "net_human_usd": Field("float", "Expected value less cost of a job, human alone", "USD"),
    "net_human_lo": Field("float", "95 % interval of net_human_usd, lower end", "USD"),
    "net_human_hi": Field("float", "95 % interval of net_human_usd, upper end", "USD"),
    "value_alone_human_ai_usd": Field(
        "float", "V*: a completed job worth more is better done by agent + human than by the agent alone", "USD"
    ),
    "value_alone_human_ai_lo": Field("float", "95 % interval of value_alone_human_ai_usd, lower end", "USD"),
    "value_alone_human_ai_hi": Field("float", "95 % interval of value_alone_human_ai_usd, upper end", "USD"),
    "value_human_ai_human_usd": Field(
        "float", "V*: a completed job worth more is better done by a human than by agent + human", "USD"
    ),
    "value_human_ai_human_lo": Field("float", "95 % interval of value_human_ai_human_usd, lower end", "USD"),
    "value_human_ai_human_hi": Field("float", "95 % interval of value_human_ai_human_usd, upper end", "USD"),
    "value_alone_human_usd": Field(
        "float", "V*: a completed job worth more is better done by a human than by the agent alone", "USD"
    ),
    "value_alone_human_lo": Field("float", "95 % interval of value_alone_human_usd, lower end", "USD"),
    "value_alone_human_hi": Field("float", "95 % interval of value_alone_human_usd, upper end", "USD"),
    "break_even_grader_rate": Field(
        "float", "Hourly cost of graders up to which agent + human with fallback costs less than a human alone", "USD/h"
    ),
    "break_even_grader_rate_lo": Field("float", "95 % interval of break_even_grader_rate, lower end", "USD/h"),
    "break_even_grader_rate_hi": Field("float", "95 % interval of break_even_grader_rate, upper end", "USD/h"),
    "advice": Field("text", "agent_alone, agent_and_human, human_alone, or no_advice"),
    "probability": Field("float", "Share of bootstrap draws in which the advice is the best of all ways in the row"),
    "enough_data": Field("bool", "Whether n_graded is at least min_jobs"),
    "min_jobs": Field("int", "Graded jobs without which there is no advice (benchmark.yaml)", "jobs"),
    "n_jobs": Field("int", "Jobs", "jobs"),
    "k": Field("int", "Number of attempts at one job that pass_hat_k and pass_at_k are about"),
    "n_jobs_graded": Field("int", "Jobs with a graded attempt: what rate is over", "jobs"),
    "n_jobs_repeated": Field("int", "Of these, jobs with two graded attempts or more", "jobs"),
    "n_jobs_k": Field("int", "Of these, jobs with k graded attempts or more: what pass^k and pass@k are over", "jobs"),
    "attempts_min": Field("int", "Fewest graded attempts at one of the graded jobs", "attempts"),
    "attempts_max": Field("int", "Most graded attempts at one job", "attempts"),
    "pass_hat_k": Field("float", "pass^k: mean over jobs of the chance that k attempts at the job are all complete"),
    "pass_hat_lo": Field("float", "95 % interval of pass_hat_k, lower end"),
    "pass_hat_hi": Field("float", "95 % interval of pass_hat_k, upper end"),
    "pass_at_k": Field("float", "pass@k: mean over jobs of the chance that at least one of k attempts is complete"),
    "pass_at_lo": Field("float", "95 % interval of pass_at_k, lower end"),
    "pass_at_hi": Field("float", "95 % interval of pass_at_k, upper end"),
    "var_jobs": Field("float", "Variance of completion between jobs; null with one graded job, or none repeated"),
    "var_within": Field(
        "float",
        "Variance of completion between attempts at the same job; null where none is repeated",
    ),
    "rate_se_graders": Field(
        "float",
        "Standard error of rate that takes attempts at one job and those judged by one grader as alike; null with "
        "fewer "
        "than two graders",
    ),
    "price_min": Field("float", "Lowest price", "USD"),
    "price_p10": Field("float", "First decile of prices", "USD"),
    "price_p90": Field("float", "Last decile of prices", "USD"),
    "price_p25": Field("float", "Lower quartile of prices", "USD"),
    "price_median": Field("float", "Median price", "USD"),
    "price_p75": Field("float", "Upper quartile of prices", "USD"),
    "price_max": Field("float", "Highest price", "USD"),
    "share_10_200": Field("float", "Share of the jobs with a price that are priced from $10 to $200"),
    "n_timed": Field("int", "Jobs whose beginning and end are known", "jobs"),
    "hours_min": Field("float", "Shortest time from the beginning of work to its completion", "h"),
    "hours_median": Field("float", "Median of that time", "h"),
    "hours_max": Field("float", "Longest such time", "h"),
    "criteria_min": Field("int", "Criteria of the shortest rubric", "criteria"),
    "criteria_max": Field("int", "Criteria of the longest rubric", "criteria"),
    "criteria_mean": Field("float", "Criteria a job, mean", "criteria"),
    # criteria before and after a turn, and their themes
    "after": Field("text", "The round whose work this one went on from"),
    "n_unknown_before": Field("int", "Of n_criteria, those unknown before", "criteria"),
    "n_unknown_after": Field("int", "Of n_criteria, those unknown after", "criteria"),
    "n_known": Field("int", "Of n_criteria, those known both before and after", "criteria"),
    "n_still_passed": Field("int", "Passed before and after", "criteria"),
    "n_broken": Field("int", "Passed before, failed after", "criteria"),
    "n_fixed": Field("int", "Failed before, passed after", "criteria"),
    "n_still_failed": Field("int", "Failed before and after", "criteria"),
    "fix_rate": Field("float", "n_fixed / (n_fixed + n_still_failed)"),
    "fix_lo": Field("float", "95 % interval of fix_rate, clients being the unit, lower end"),
    "fix_hi": Field("float", "The same, upper end"),
    "regression_rate": Field("float", "n_broken / (n_broken + n_still_passed)"),
    "regression_lo": Field("float", "95 % interval of regression_rate, clients being the unit, lower end"),
    "regression_hi": Field("float", "The same, upper end"),
    "pass_before": Field("float", "Share of n_known that was passed before"),
    "pass_before_lo": Field("float", "95 % interval of pass_before, clients being the unit, lower end"),
    "pass_before_hi": Field("float", "The same, upper end"),
    "pass_after": Field("float", "Share of n_known that is passed after"),
    "pass_after_lo": Field("float", "95 % interval of pass_after, clients being the unit, lower end"),
    "pass_after_hi": Field("float", "The same, upper end"),
    "change_points": Field("float", "100 (n_fixed - n_broken) / n_known", "percentage points"),
    "change_lo": Field("float", "95 % interval of change_points, by client, lower end", "percentage points"),
    "change_hi": Field("float", "The same, upper end", "percentage points"),
    "near_miss_before": Field(
        "bool",
        "Whether a single criterion was failed before, one of this importance; null unless the work was incomplete "
        "with every criterion judged",
    ),
    "near_miss_after": Field("bool", "The same of the work after"),
    "n_incomplete_before": Field("int", "Attempts that were incomplete before, every criterion judged", "attempts"),
    "n_near_miss_before": Field("int", "Of these, failed by a single criterion, one of this importance", "attempts"),
    "near_miss_before_share": Field("float", "n_near_miss_before / n_incomplete_before"),
    "near_miss_before_lo": Field("float", "95 % interval of near_miss_before_share, lower end"),
    "near_miss_before_hi": Field("float", "The same, upper end"),
    "n_incomplete_after": Field("int", "Attempts that are incomplete after, every criterion judged", "attempts"),
    "n_near_miss_after": Field("int", "Of these, failed by a single criterion, one of this importance", "attempts"),
    "near_miss_after_share": Field("float", "n_near_miss_after / n_incomplete_after"),
    "near_miss_after_lo": Field("float", "95 % interval of near_miss_after_share, lower end"),
    "near_miss_after_hi": Field("float", "The same, upper end"),
    "n_fixed_both": Field("int", "Failed before; passed after this round and after control_round", "criteria"),
    "n_fixed_feedback": Field("int", "Failed before; passed after this round only", "criteria"),
    "n_fixed_control": Field("int", "Failed before; passed after control_round only", "criteria"),
    "n_fixed_neither": Field("int", "Failed before; failed after both", "criteria"),
    "control_fix_rate": Field("float", "fix_rate of control_round over these four: the same criteria of the same work"),
    "net_fix_points": Field(
        "float", "100 (n_fixed_feedback - n_fixed_control) / the sum of the four", "percentage points"
    ),
    "net_fix_lo": Field("float", "95 % interval of net_fix_points, by client, lower end", "percentage points"),
    "net_fix_hi": Field("float", "The same, upper end", "percentage points"),
    "theme_id": Field("int", "Number of the theme, the largest first; 0 for criteria that are near to none"),
    "theme": Field("text", "Its label: the terms that tell it most from the others"),
    "example_criterion": Field("text", "The criterion nearest to its middle (shortened)"),
    "theme_similarity": Field("float", "Cosine of the criterion's terms and the middle of its theme"),
    "provisional": Field("bool", "Whether themes may still change because there are too few criteria to fix them on"),
    "n_unjudged": Field("int", "Criteria without a known verdict", "criteria"),
    "n_all_judged": Field("int", "n_judged over all themes", "criteria"),
    "n_all_failed": Field("int", "n_failed over all themes", "criteria"),
    "share_of_criteria": Field("float", "n_judged / n_all_judged"),
    "share_of_criteria_lo": Field("float", "95 % interval of share_of_criteria, clients being the unit, lower end"),
    "share_of_criteria_hi": Field("float", "The same, upper end"),
    "share_of_failures": Field("float", "n_failed / n_all_failed"),
    "share_of_failures_lo": Field("float", "95 % interval of share_of_failures, clients being the unit, lower end"),
    "share_of_failures_hi": Field("float", "The same, upper end"),
    "fail_rate": Field("float", "n_failed / n_judged"),
    "fail_rate_lo": Field("float", "95 % interval of fail_rate, clients being the unit, lower end"),
    "fail_rate_hi": Field("float", "The same, upper end"),
    # agreement of graders
    "n_graders": Field("int", "Graders who judged it, adjudicators left out", "graders"),
    "n_failed": Field("int", "Criteria failed", "criteria"),
    "settled_all": Field("bool", "all_criteria by the settled verdicts; null while unknown or with a single grader"),
    "settled_required": Field("bool", "The same for required_criteria"),
    "passes": Field("texts", "Criteria that this grader passed; null with a single grader"),
    "fails": Field("texts", "Criteria that this grader failed; null with a single grader"),
    "settled_passes": Field("texts", "Criteria settled as passed: by an adjudicator, else by two graders who agree"),
    "settled_fails": Field("texts", "Criteria settled as failed"),
    "scope": Field("text", "What agreement is told of: overall, category, model, round, cohort, importance or pair"),
    "scope_value": Field("text", "Which of them; all for overall, two pseudonyms for a pair"),
    "level": Field("text", "criterion (a unit is a criterion of an attempt) or completion (a unit is an attempt)"),
    "n_packets": Field("int", "Packets with verdicts of a grader who is no adjudicator", "packets"),
    "n_double": Field("int", "Packets that two graders or more judged", "packets"),
    "n_units": Field("int", "Units with a pass or fail of two graders or more", "units"),
    "n_pairs": Field("int", "Pairs of verdicts on the same unit", "pairs"),
    "n_split": Field("int", "Units on which graders differ", "units"),
    "prevalence": Field("float", "Share of passes among the verdicts on these units"),
    "raw_agreement": Field("float", "Share of pairs that agree, mean over units"),
    "raw_lo": Field("float", "95 % interval of raw_agreement, lower end: Wilson's at the effective number of units"),
    "raw_hi": Field("float", "The same, upper end"),
    "alpha": Field("float", "Krippendorff's alpha, nominal; null where all verdicts are the same"),
    "alpha_lo": Field("float", "95 % interval of alpha over resampled jobs, lower end"),
    "alpha_hi": Field("float", "The same, upper end"),
    "ac1": Field("float", "Gwet's AC1"),
    "ac1_lo": Field("float", "95 % interval of ac1 over resampled jobs, lower end"),
    "ac1_hi": Field("float", "The same, upper end"),
    "kappa": Field("float", "Cohen's kappa of the first and the second grader of each unit"),
    "kappa_lo": Field("float", "95 % interval of kappa over resampled jobs, lower end"),
    "kappa_hi": Field("float", "The same, upper end"),
    "n_packets_timed": Field("int", "Packets for which the grader reported minutes", "packets"),
    "minutes_median": Field("float", "Median of the minutes reported for a packet", "min"),
    "n_settled": Field("int", "Verdicts of this grader on criteria that are settled", "verdicts"),
    "n_open": Field("int", "What two graders or more judged and nobody has settled", "verdicts"),
    "n_as_settled": Field("int", "Of n_settled, those that are as settled", "verdicts"),
    "agreement": Field("float", "n_as_settled / n_settled"),
    "agreement_lo": Field("float", "95 % interval of agreement, lower end: Wilson's at the effective number"),
    "agreement_hi": Field("float", "The same, upper end"),
    "n_true_passes": Field("int", "Of n_settled, verdicts on criteria settled as passed", "verdicts"),
    "n_false_fails": Field("int", "Of these, failed by this grader", "verdicts"),
    "sensitivity": Field("float", "Share of what is settled as good that a single grader calls good"),
    "sensitivity_lo": Field("float", "95 % interval of sensitivity, lower end: Wilson's at the effective number"),
    "sensitivity_hi": Field("float", "The same, upper end"),
    "n_true_fails": Field("int", "Of n_settled, verdicts on criteria settled as failed", "verdicts"),
    "n_false_passes": Field("int", "Of these, passed by this grader", "verdicts"),
    "specificity": Field("float", "Share of what is settled as bad that a single grader calls bad"),
    "specificity_lo": Field("float", "95 % interval of specificity, lower end: Wilson's at the effective number"),
    "specificity_hi": Field("float", "The same, upper end"),
    "n_shared": Field("int", "Verdicts of this grader on criteria of an attempt that others judged too", "verdicts"),
    "pass_share": Field("float", "Share of n_shared that this grader passed"),
    "others_pass_share": Field("float", "Share that the others passed, of the same"),
    "leniency": Field("float", "pass_share minus others_pass_share; positive: more lenient than co-graders"),
    "leniency_lo": Field("float", "95 % interval of leniency over resampled jobs, lower end"),
    "leniency_hi": Field("float", "The same, upper end"),
    "n_no_files": Field("int", "Attempts that handed in nothing: incomplete without being graded", "attempts"),
    "n_apparent": Field("int", "Attempts that are complete by the word of their first grader", "attempts"),
    "rate_apparent": Field("float", "n_apparent / (n_graded + n_no_files): what single graders say"),
    "rate_corrected": Field("float", "rate_apparent corrected for single graders' errors (Rogan and Gladen)"),
    "corrected_lo": Field("float", "95 % interval of rate_corrected (Lang and Reiczigel), lower end"),
    "corrected_hi": Field("float", "The same, upper end"),
    "correction_missing": Field("text", "Why there is no rate_corrected; null where there is one"),
    "n_true_complete": Field("int", "Doubly graded attempts settled as complete, of all models and rounds", "attempts"),
    "n_true_incomplete": Field("int", "The same, settled as incomplete", "attempts"),
    # a language model as judge
    "judge_call_id": Field("text", "Hash of what was judged, by which judge, and how it was asked"),
    "judge": Field("text", "Name of the judge in judges.yaml"),
    "judge_snapshot": Field("text", "The model that answered, as the provider names it"),
    "prompt_version": Field("text", "Hash of what the judge is told"),
    "grader_type": Field("text", "llm: no person"),
    "verdict_problem": Field("text", "Why there is no verdict: unreadable, missing, conflict or bad_verdict"),
    "call_cost_usd": Field("float", "Cost of the call, the same in all rows of a call; null without a price", "USD"),
    "answered_at": Field("timestamp", "When the judge answered", "UTC"),
    "n_calls": Field("int", "Packets that the judge was asked about", "packets"),
    "n_no_verdict": Field("int", "Criteria of these that the judge could not judge, or gave no valid verdict on"),
    "n_compared": Field("int", "Criteria with a verdict of the judge and a known human one", "criteria"),
    "human_prevalence": Field("float", "Share that people passed, of n_compared"),
    "judge_prevalence": Field("float", "Share that the judge passed, of n_compared"),
    "judge_tpr": Field("float", "Share of what people passed that the judge passes"),
    "judge_tnr": Field("float", "Share of what people failed that the judge fails"),
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
    "standing_criteria",
    "curation",
    "job × criterion × rubric version",
    "Which criteria of every rubric version still stand: verdicts on the others are stale and have to be given again.",
    "cohort job_id criterion_id rubric_version still_stands simulated",
    "job_id criterion_id rubric_version",
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
    "attempt_id cohort model round job_id turn arm sample try_number status finish_reason steps prompt_tokens "
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
    "issued_at flags simulated",
    "packet_id",
    "cohort model round",
    notes={
        "flags": "What graders do not see: names_maker:FILE:NAME, the work names its maker; not_stripped:FILE:REASON"
    },
)
_table(
    "verdict_exports",
    "intake",
    "row of an imported verdict file",
    "Every verdict ever imported: the ledger behind verdicts.",
    "verdict_id packet_id attempt_id cohort model round job_id criterion_id rubric_version passed? comment? grader "
    "grader_role minutes? graded_at? flags source_file source_sha256 source_row imported_at simulated",
    "source_sha256 source_row verdict_id",
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
    "assignments",
    "rounds",
    "event of an assignment",
    "Which packet was given to which grader, when, in which role and order, and what became of it since.",
    "assignment_id event noted_at reason? packet_id attempt_id cohort model round job_id category? grader role "
    "position "
    "seed assigned_at due_at simulated",
    "assignment_id noted_at event",
    "model",
    ledger=True,
    notes={
        "reason": "Why, where it is not simply assigned",
        "position": "Place in this grader's row of packets, which is in random order, from 1",
        "simulated": "Whether the attempt was made by the simulator",
    },
)
_table(
    "packet_status",
    "rounds",
    "packet × role × grader",
    "How far each packet is with each of its graders.",
    "cohort model round job_id packet_id role grader? status n_criteria n_answered n_disputed minutes? assigned_at? "
    "due_at? returned_at? days? unqualified simulated",
    "packet_id role grader",
    "cohort model",
    notes={
        "status": "out, incomplete, stale (the rubric changed), back (another grader is awaited), in_conflict, "
        "to_adjudicate (nobody has it yet), unassigned or complete; what is overdue follows from due_at",
        "grader": "Pseudonym of the grader; null where nobody has it",
        "simulated": "Whether attempt or verdicts were made by the simulator",
    },
)

_table(
    "attempt_outcomes",
    "results",
    "attempt",
    "What came of each current attempt under each completion rule.",
    "attempt_id cohort model round job_id sample category? n_criteria n_judged n_passed all_criteria? "
    "required_criteria? outcome disagreement near_miss cost_usd? grader_minutes? simulated",
    "attempt_id",
    "cohort model",
)
_table(
    "job_states",
    "results",
    "job × round × rule",
    "Where each job of the benchmark stands after each round: complete, failed, or why that is not known.",
    "cohort model round rule job_id category price_band price_usd? client_id? after_cutoff? complete_before "
    "failed_before state simulated",
    "round rule job_id",
    "cohort model",
    notes={"category": "Category of work; unknown where the post states none"},
)
_COUNTS = "n_eligible n_attempted n_unattempted n_pending n_infra n_graded n_completed n_retried n_rescued"
_MORE_COUNTS = "n_failed_before n_failed_rescued n_never_retried n_priced usd_eligible usd_completed"
_RATES = f"{_COUNTS} rate? rate_lo? rate_hi? rate_graded? rate_graded_lo? rate_graded_hi? bound_lo? bound_hi?"
_WINDOW_RATES = (
    f"cohorts first_cohort last_cohort {_RATES} {_MORE_COUNTS} n_clients rate_se? n_eff? rate_cl_lo? rate_cl_hi? "
    "earn_rate? earn_lo? earn_hi? earn_n_eff? rate_std? rate_std_lo? rate_std_hi? std_covered std_n_eff? mde_pp? "
    "mde_discordance"
)
_WINDOW = (
    "all; last_12: the twelve newest months of the benchmark; post_cutoff: jobs posted after the end of the model's "
    "training cutoff (no row where none is stated). Bare, window is a reserved word of SQL: write leaderboard.window"
)
_CLIENTS = "Clients of the jobs; a job whose client is unknown counts as one"
_table(
    "outcome_counts",
    "results",
    "cohort × model × round × rule × category × price band × after cutoff",
    "The finest counts of jobs by what became of them; every coarser count is a sum of these.",
    f"cohort model round rule category price_band after_cutoff? {_COUNTS} {_MORE_COUNTS} simulated",
    "round rule category price_band after_cutoff",
    "cohort model",
    notes={"category": "Category of work; unknown where the post states none"},
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
    "model_comparisons",
    "results",
    "window × rule × round × two models",
    "Every two models on the jobs that are known for both: difference, intervals and exact test.",
    "window rule round model_a model_b n_eligible n_a n_b n_common n_both n_only_a n_only_b n_neither n_clients "
    "rate_a? rate_b? difference? diff_lo? diff_hi? boot_lo? boot_hi? bound_lo? bound_hi? p_mid? p_holm? significant? "
    "mde? same_jobs simulated",
    "window rule round model_a model_b",
    notes={
        "n_eligible": "Jobs that the window holds for both models, known or not",
        "bound_lo": "Difference over n_eligible if all that is unknown were incomplete for a and complete for b",
        "bound_hi": "Difference over n_eligible if all that is unknown were complete for a and incomplete for b",
    },
)
_table(
    "window_rates",
    "results",
    "window × rule × round × model × scope × category",
    "Rates over months: of all jobs and of each category, with errors by client, share of the money and a common mix.",
    f"window rule round model scope category {_WINDOW_RATES} simulated",
    "window rule round model scope category",
    notes={
        "window": _WINDOW,
        "scope": "all in rows over all jobs, category in rows of one category",
        "category": "Category of work; (all) in rows over all jobs",
        "n_clients": _CLIENTS,
    },
)
_table(
    "leaderboard",
    "results",
    "window × model × round × rule",
    "Completion of each model over all months, the newest twelve, and the jobs after its training cutoff.",
    f"window rule round rank? rank_lo? rank_hi? tie_group? model {_WINDOW_RATES} n_attempts cost_usd? simulated",
    "window model round rule",
    notes={
        "window": _WINDOW,
        "n_clients": _CLIENTS,
        "n_attempts": "Attempts made in this round and those before it on its path, failed ones included",
        "cost_usd": "What these attempts cost",
    },
)
_table(
    "category_rates",
    "results",
    "window × model × round × category × rule",
    "Completion of each model by category, over the same windows as the leaderboard.",
    f"window rule category round model {_WINDOW_RATES} simulated",
    "window model round category rule",
    notes={"window": _WINDOW, "n_clients": _CLIENTS},
)
_table(
    "feedback_lift",
    "results",
    "window × model × round × rule",
    "What each second try added, over the same jobs, with both rescue rates, and net of the control arm.",
    "window rule round model n_eligible n_before n_failed_before n_never_retried n_retried n_rescued n_failed_rescued "
    "n_completed rate_before? rate? lift_points? lift_lo? lift_hi? lift_relative? normalised_gain? rescue_of_retried? "
    "rescue_lo? rescue_hi? rescue_of_failed? rescue_of_failed_lo? rescue_of_failed_hi? control_round? n_paired n_both? "
    "n_only_feedback? n_only_control? n_neither? net_points? net_lo? net_hi? simulated",
    "window model round rule",
    notes={
        "window": _WINDOW,
        "n_both": "Of n_paired, jobs complete after both",
        "n_neither": "Of n_paired, jobs complete after neither",
    },
)
_table(
    "cycle_curves",
    "results",
    "window × rule × model × arm × turn",
    "Completion turn by turn, where jobs that were not tried again are censored rather than counted as failures.",
    "window rule model arm turn round n_eligible n_at_risk n_events n_censored n_never_retried hazard? hazard_lo? "
    "hazard_hi? curve? curve_se? curve_lo? curve_hi? curve_n_eff? simulated",
    "window rule model arm turn",
    notes={"window": _WINDOW, "turn": "0 alone, 1 the first try after it, …"},
)
_table(
    "repeatability",
    "results",
    "window × round × rule × model × k",
    "How far results repeat where jobs were attempted several times: the job is the unit, never the attempt.",
    "window round rule model k n_jobs n_jobs_graded n_jobs_repeated n_attempts n_graded n_pending n_infra n_completed "
    "attempts_min? attempts_max? n_jobs_k pass_hat_k? pass_hat_lo? pass_hat_hi? pass_at_k? pass_at_lo? pass_at_hi? "
    "rate? rate_se? n_eff? rate_lo? rate_hi? bound_lo? bound_hi? var_jobs? var_within? n_graders rate_se_graders? "
    "simulated",
    "window round rule model k",
    notes={
        "window": "all",
        "n_jobs": "Jobs with an attempt in this round, graded or not",
        "n_attempts": "Current attempts in this round, all samples",
        "n_graded": "Attempts known to be complete or not",
        "n_pending": "Attempts without a complete verdict, or on which graders differ",
        "n_infra": "Attempts that ended for reasons that are not the model's",
        "n_completed": "Complete attempts. Not cumulative: a job complete after an earlier round is not attempted here",
        "rate": "Mean over jobs of the share of their graded attempts that are complete; the same in every row of k",
        "rate_se": "Standard error of rate with the job as unit: standard deviation over jobs / √n_jobs_graded",
        "n_eff": "As many jobs with one attempt each would tell as much about rate",
        "rate_lo": "Wilson 95 % interval of rate over n_eff jobs, lower end",
        "rate_hi": "Wilson 95 % interval of rate over n_eff jobs, upper end",
        "bound_lo": "Rate over n_jobs if every attempt not known were incomplete",
        "bound_hi": "Rate over n_jobs if every attempt not known were complete",
        "n_graders": "Graders of the graded attempts, adjudicators left out",
    },
)
_NETS = (
    "net_alone_usd? net_alone_lo? net_alone_hi? net_human_ai_usd? net_human_ai_lo? net_human_ai_hi? "
    "net_human_usd? net_human_lo? net_human_hi?"
)
_ASSUMED = "grader_usd_per_hour? value_per_price fallback"
_table(
    "economics",
    "results",
    "window × rule × round × model",
    "What completed jobs cost: agent alone, agent + human feedback, human alone, and where one overtakes the other.",
    "window rule round model n_jobs n_graded n_completed n_clients n_attempts n_cost_known cost_usd? "
    "cost_per_attempt_usd? cost_graded_usd? cost_per_completed_usd? cost_per_completed_lo? cost_per_completed_hi? "
    "n_reviewed n_timed minutes_per_review? review_cost_usd? success_alone? success_human_ai? cost_alone_usd? "
    "cost_human_ai_usd? review_minutes? price_mean_usd? price_mean_lo? price_mean_hi? alone_per_completed_usd? "
    "alone_per_completed_lo? alone_per_completed_hi? human_ai_per_completed_usd? human_ai_per_completed_lo? "
    "human_ai_per_completed_hi? human_ai_fallback_usd? human_ai_fallback_lo? human_ai_fallback_hi? "
    f"{_NETS} value_alone_human_ai_usd? value_alone_human_ai_lo? value_alone_human_ai_hi? value_human_ai_human_usd? "
    "value_human_ai_human_lo? value_human_ai_human_hi? value_alone_human_usd? value_alone_human_lo? "
    "value_alone_human_hi? break_even_grader_rate? break_even_grader_rate_lo? break_even_grader_rate_hi? "
    f"{_ASSUMED} simulated",
    "window rule round model",
    notes={
        "n_jobs": "Jobs of the benchmark",
        "n_graded": "Jobs whose state after this round is known",
        "n_clients": "Clients of the graded jobs; a job whose client is unknown counts as one",
        "n_attempts": "Attempts in this round and those before it on its path, superseded and failed ones included",
        "cost_usd": "What these attempts cost; null when the cost of one is unknown",
        "n_timed": "Of n_reviewed, attempts for which a grader reported minutes",
    },
)
_table(
    "workflow_advice",
    "results",
    "category × price band × model, and the best of them",
    "Who had better do the jobs of a category and price band: agent alone, agent + human feedback, or human alone.",
    "category price_band level model? rule round? advice probability? reason? enough_data n_jobs n_graded n_completed? "
    "n_clients? success_alone? success_human_ai? cost_alone_usd? cost_human_ai_usd? review_minutes? price_mean_usd? "
    f"{_NETS} {_ASSUMED} min_jobs simulated",
    "category price_band level model",
    notes={
        "category": "Category of work; (all) over all of them; unknown where the post states none",
        "price_band": "Price band of the job; (all) over all of them",
        "level": "model: a row a model; best: over all models with enough data",
        "model": "In rows of level best: the model whose ways hold the best of all agents' ways; null without advice",
        "round": "The last human turn that is reckoned with: of those after which enough jobs are known, the best",
        "n_jobs": "Jobs of the benchmark in category and band",
        "n_graded": "Jobs known after that round: what all figures are over",
        "n_clients": "Clients of the graded jobs; a job whose client is unknown counts as one",
        "reason": "Why there is no advice: too_few_graded_jobs, unknown_cost, unknown_review_cost; over all models "
        "also no_model_with_enough_data",
    },
)
_table(
    "criterion_outcomes",
    "rounds",
    "attempt",
    "Which criteria each attempt passed and failed, as lists: what the tables about criteria read instead of verdicts.",
    "attempt_id cohort model round job_id client_id? previous_attempt_id? is_current n_criteria passes fails simulated",
    "attempt_id",
    "cohort model",
    notes={
        "is_current": "False for an attempt that was superseded after a current one went on from its work",
        "passes": "Criteria passed; what is in neither list is unknown",
        "fails": "Criteria failed; all of them where nothing was handed in",
    },
)
_TRANSITIONS = "n_criteria n_unknown_before n_unknown_after"
_TURNED = "n_still_passed n_broken n_fixed n_still_failed"
_FIXED = "control_round? n_fixed_both n_fixed_feedback n_fixed_control n_fixed_neither"
_table(
    "job_transitions",
    "results",
    "attempt of a round after the first × importance",
    "What became of every attempt's criteria in the next: fixed, broken, still failed, still passed, unknown.",
    f"cohort model round after arm job_id client_id? attempt_id importance {_TRANSITIONS} {_TURNED} "
    f"near_miss_before? near_miss_after? {_FIXED} simulated",
    "attempt_id importance",
    "cohort model",
    notes={"importance": "critical, important, optional, pitfall; all for the whole rubric"},
)
_table(
    "criterion_transitions",
    "results",
    "model × round × importance",
    "What a second try fixed and broke, criterion by criterion, with the control arm's beside it.",
    f"model round after arm importance n_jobs n_clients {_TRANSITIONS} n_known {_TURNED} "
    "fix_rate? fix_lo? fix_hi? regression_rate? regression_lo? regression_hi? pass_before? pass_before_lo? "
    "pass_before_hi? pass_after? pass_after_lo? pass_after_hi? change_points? change_lo? change_hi? "
    "n_incomplete_before n_near_miss_before near_miss_before_share? near_miss_before_lo? near_miss_before_hi? "
    "n_incomplete_after n_near_miss_after near_miss_after_share? near_miss_after_lo? near_miss_after_hi? "
    f"{_FIXED} control_fix_rate? net_fix_points? net_fix_lo? net_fix_hi? simulated",
    "model round importance",
    notes={
        "importance": "critical, important, optional, pitfall; all for whole rubrics",
        "n_jobs": "Jobs tried in this round",
        "n_clients": "Clients of these jobs; a job whose client is unknown counts as one",
        "n_criteria": "Criteria of this importance in the rubrics of these jobs",
    },
)
_table(
    "criterion_themes",
    "results",
    "job × criterion",
    "The theme of every criterion of the benchmark.",
    "job_id criterion_id theme_id theme example_criterion? theme_similarity provisional simulated",
    "job_id criterion_id",
)
_table(
    "failure_themes",
    "results",
    "model × round × theme",
    "What criteria are about, and where failures lie, as things stand after each round.",
    "model round turn arm theme_id theme example_criterion? provisional n_jobs n_clients n_criteria n_judged n_failed "
    "n_unjudged n_all_judged n_all_failed share_of_criteria? share_of_criteria_lo? share_of_criteria_hi? "
    "share_of_failures? share_of_failures_lo? share_of_failures_hi? fail_rate? fail_rate_lo? fail_rate_hi? simulated",
    "model round theme_id",
    notes={
        "model": "Name of the model in the registry; (all) for all of them together",
        "round": "Things stand as after this round: the newest attempt on its path counts for each job",
        "n_jobs": "Jobs with such a criterion that have been attempted",
        "n_clients": "Clients of these jobs; a job whose client is unknown counts as one",
        "n_criteria": "Criteria of the theme in the rubrics of these jobs, once a model",
    },
)
_OVERVIEW = (
    "n_jobs n_clients n_priced price_min? price_p10? price_p25? price_median? price_p75? price_p90? price_max? "
    "share_10_200? n_timed hours_min? "
    "hours_median? hours_max? criteria_min? criteria_mean? criteria_max?"
)
_table(
    "release_overview",
    "results",
    "freeze × category",
    "The same for every release: the jobs of each freeze, as they were frozen.",
    f"freeze_name category {_OVERVIEW} simulated",
    "freeze_name category",
    notes={
        "category": "Category of work; unknown where the post states none, (all) for all of them",
        "n_clients": "Clients of these jobs; a job whose client is unknown counts as one",
        "n_priced": "Jobs with a known price",
    },
)
_table(
    "dataset_overview",
    "results",
    "cohort × category",
    "The benchmark's jobs as published: counts, prices, durations and sizes of rubrics.",
    f"cohort category {_OVERVIEW} simulated",
    "cohort category",
    notes={
        "cohort": "Month in which the job was completed, as YYYY-MM; (all) for all of them",
        "category": "Category of work; unknown where the post states none, (all) for all of them",
        "n_clients": "Clients of these jobs; a job whose client is unknown counts as one",
        "n_priced": "Jobs with a known price",
    },
)
_table(
    "grades",
    "rounds",
    "attempt × grader",
    "What each grader says of an attempt, and, where several judged it, what was settled; adjudicators left out.",
    "attempt_id cohort model round job_id category? grader grader_role n_graders n_criteria n_answered n_passed "
    "n_failed all_criteria? required_criteria? settled_all? settled_required? passes? fails? settled_passes? "
    "settled_fails? minutes? simulated",
    "attempt_id grader",
    "cohort model",
    notes={
        "grader": "Pseudonym of the grader in small letters",
        "grader_role": "grader or second",
        "n_passed": "Criteria that this grader passed",
        "n_failed": "Criteria that this grader failed",
        "all_criteria": "This grader passed every criterion; null while some lack an answer",
        "required_criteria": "This grader passed every critical and important criterion; null while unknown",
    },
)
_table(
    "grader_agreement",
    "results",
    "scope × value × level",
    "How far graders agree where two or more judged the same attempt, each on their own.",
    "scope scope_value level n_packets? n_double n_graders n_jobs n_units n_pairs n_split prevalence? "
    "raw_agreement? raw_lo? raw_hi? alpha? alpha_lo? alpha_hi? ac1? ac1_lo? ac1_hi? kappa? kappa_lo? kappa_hi? "
    "simulated",
    "scope scope_value level",
    notes={
        "n_packets": "Packets with verdicts of a grader who is no adjudicator; null for an importance",
        "n_graders": "Graders of the doubly graded packets",
        "n_jobs": "Jobs with units that two graders or more judged",
    },
)
_table(
    "grader_profiles",
    "results",
    "grader",
    "Each grader beside what was settled and beside those who judged the same packets.",
    "grader n_packets n_double n_jobs n_packets_timed minutes_median? n_settled n_open n_as_settled agreement? "
    "agreement_lo? "
    "agreement_hi? n_true_passes n_false_fails sensitivity? sensitivity_lo? sensitivity_hi? n_true_fails "
    "n_false_passes specificity? specificity_lo? specificity_hi? n_shared pass_share? others_pass_share? leniency? "
    "leniency_lo? leniency_hi? simulated",
    "grader",
    notes={
        "n_packets": "Packets that this grader judged",
        "n_double": "Of these, judged by others too",
        "n_open": "Verdicts of this grader on doubly graded criteria that nobody has settled",
    },
)
_table(
    "corrected_rates",
    "results",
    "model × round × rule",
    "Completion of the attempts of a round, corrected for the errors that single graders make. Not cumulative.",
    "model round rule n_graded n_no_files n_apparent rate_apparent? rate_corrected? corrected_lo? corrected_hi? "
    "correction_missing? n_double n_open n_true_complete n_true_incomplete sensitivity? sensitivity_lo? "
    "sensitivity_hi? specificity? specificity_lo? specificity_hi? simulated",
    "model round rule",
    notes={
        "n_graded": "Attempts of this round with a grader's word on every criterion",
        "n_double": "Doubly graded attempts of all models and rounds",
        "n_open": "Of these, not settled",
    },
)
_table(
    "judge_verdicts",
    "judge",
    "call × criterion",
    "What language models say when asked: in no packet, outcome or rate. To be quoted with judge_agreement only.",
    "judge_call_id criterion_id packet_id attempt_id cohort model round job_id rubric_version judge judge_snapshot? "
    "prompt_version grader_type passed? comment? verdict_problem? call_cost_usd? answered_at simulated",
    "judge_call_id criterion_id",
    "",
    ledger=True,
    notes={"passed": "The judge's verdict; null where there is none", "comment": "The judge's reason"},
)
_table(
    "judge_agreement",
    "judge",
    "judge × prompt × scope × value",
    "How far each judge agrees with the human verdicts that count.",
    "judge prompt_version scope scope_value n_calls n_no_verdict n_compared n_jobs human_prevalence? judge_prevalence? "
    "raw_agreement? raw_lo? raw_hi? alpha? alpha_lo? alpha_hi? ac1? ac1_lo? ac1_hi? kappa? kappa_lo? kappa_hi? "
    "judge_tpr? judge_tnr? simulated",
    "judge prompt_version scope scope_value",
    notes={
        "kappa": "Cohen's kappa of people and judge",
        "raw_agreement": "Share of n_compared on which judge and people agree",
        "scope": "What agreement is told of: overall, category, model, round or importance",
    },
)


def data_tables() -> Iterator[Table]:
    """The tables in the order in which they are declared."""
    yield from TABLES.values()
