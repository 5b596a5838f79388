"""The rules that curators audit, and the plain words in which a curator names them."""

from __future__ import annotations

from hapi_pipeline.curation.rules import ON_ONE_POST
from hapi_pipeline.registry import Rules

AUDITED = ON_ONE_POST
"""The rules that judge each post by itself, in their order."""
KEPT = "kept"
"""The decision on jobs that all of them keep."""
OTHER = "other"
"""A reason that is none of the rules."""

LABELS = {
    "fixed_price_jobs": "Not fixed price",
    "completed_jobs": "Not completed or not paid",
    "single_milestone_jobs": "Milestones or price changed",
    "in_scope_jobs": "Price or category out of scope",
    "pii_free_jobs": "Personal data",
    "curated_jobs": "No task described",
    OTHER: "Another reason (see comment)",
}
"""What the curator chooses from, in the order of the rules. No commas: the list of a cell is separated by them."""

SPELLINGS = {
    "fixed_price_jobs": ("hourly", "not fixed", "hourly job", "fixed price"),
    "completed_jobs": ("not completed", "not paid", "unpaid", "open", "cancelled", "not complete", "not finished"),
    "single_milestone_jobs": ("milestones", "several milestones", "price changed", "more than one milestone"),
    "in_scope_jobs": ("price", "too expensive", "out of scope", "category", "price too high"),
    "pii_free_jobs": ("pii", "personal", "privacy", "contact details"),
    "curated_jobs": ("no task", "no description", "empty", "blank"),
    OTHER: ("other", "another", "another reason", "other reason"),
}
"""Further ways to say it."""


def meanings(rules: Rules) -> dict[str, str]:
    """What each reason means under the rules of the benchmark, for the curator."""
    paid = " or the client did not pay" if rules.require_paid else ""
    price = "" if rules.allow_price_change else ", or its price changed after the contract began"
    scope = f"The price is ${rules.max_price_usd:,.2f} or more"
    if rules.categories is not None:
        scope += f", or the category is none of: {', '.join(rules.categories)}"
    return {
        "fixed_price_jobs": f"The job is not of the type: {', '.join(rules.job_types)}.",
        "completed_jobs": f"The job is not {' or '.join(rules.statuses)}{paid}.",
        "single_milestone_jobs": f"The job has more than {rules.max_milestones} milestone(s){price}.",
        "in_scope_jobs": f"{scope}.",
        "pii_free_jobs": "Title, description or attachments give away a private person: e-mail, phone, street address, "
        "card or account number, identity number, personal profile or messenger name, password. Names of companies, "
        "products, authors and characters do not count.",
        "curated_jobs": "Nothing says what is to be done.",
        OTHER: "You would turn the job away for a reason that is not in this list; say which in the comment.",
    }
