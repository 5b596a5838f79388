"""Invented job posts for the sample: readable texts, and every way in which a post can fail to qualify."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hapi_pipeline.simulate.dice import Dice

PRICE_LIMIT = 500.0
"""USD; a post at or above it does not qualify."""
MIN_CRITERIA, MAX_CRITERIA = 5, 20
_PRICES = (
    10,
    12,
    15,
    20,
    20,
    25,
    25,
    30,
    30,
    35,
    40,
    40,
    45,
    50,
    50,
    60,
    65,
    75,
    80,
    90,
    100,
    100,
    120,
    140,
    150,
    180,
    200,
)
_COUNTRIES = (
    "Australia",
    "Brazil",
    "Canada",
    "Denmark",
    "France",
    "Germany",
    "India",
    "Ireland",
    "Italy",
    "Japan",
    "Kenya",
    "Mexico",
    "Netherlands",
    "Poland",
    "Spain",
    "United Kingdom",
    "United States",
)
_CATEGORY_WEIGHT = {"Design & Creative": 5.0, "IT & Networking": 2.0, "Customer Service": 1.5, "Legal": 1.0}


@dataclass(frozen=True)
class Kind:
    """One sort of job: what its posts and rubrics are assembled from."""

    category: str
    subcategory: str
    n: int  # jobs of the benchmark that are of this sort
    family: str
    skills: tuple[str, ...]
    files: tuple[str, ...]
    slots: Mapping[str, list[Any]]
    titles: tuple[str, ...]
    openings: tuple[str, ...]
    details: tuple[str, ...]
    criteria: tuple[str, ...]


@dataclass(frozen=True)
class Kinds:
    """Everything in kinds.yaml."""

    shared: Mapping[str, list[Any]]
    closings: tuple[str, ...]
    deliver: Mapping[str, tuple[str, ...]]  # by family
    criteria: Mapping[str, tuple[str, ...]]  # by family
    kinds: tuple[Kind, ...]


@dataclass
class Post:
    """One post as the marketplace knows it; empty texts and None are cells that the export leaves empty."""

    kind: Kind
    slots: Mapping[str, str]
    title: str
    description: str
    client: str
    month: str  # of the drop it belongs to, YYYY-MM
    uid: str = ""
    type: str = "fixed_budget"
    amount: str = "50"
    currency: str = "USD"
    hourly_rate: str = ""
    milestones: str = "1"
    revised: str = "no"
    status: str = "Completed"
    payment: str = "released"
    verified: bool = True
    country: str = ""
    posted: datetime | None = None
    started: datetime | None = None
    completed: datetime | None = None
    modified: datetime | None = None
    personal: str = ""  # kind of personal data in the text, if any
    duplicate_of: str = ""  # uid of the post that it repeats
    criteria: list[tuple[str, str]] = field(default_factory=list)  # (importance, text)


@functools.cache
def kinds() -> Kinds:
    """What the sample's texts are assembled from."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    data = yaml.load((Path(__file__).parent / "kinds.yaml").read_text("utf-8"), Loader=loader)  # noqa: S506
    return Kinds(
        shared=data["shared"],
        closings=tuple(data["closings"]),
        deliver={name: tuple(f["deliver"]) for name, f in data["families"].items()},
        criteria={name: tuple(f["criteria"]) for name, f in data["families"].items()},
        kinds=tuple(Kind(**_with_tuples(entry)) for entry in data["kinds"]),
    )


def _with_tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def clean_post(kind: Kind, month: str, dice: Dice) -> Post:
    """A post that qualifies in all but its rubric: fixed price, paid, one milestone, no personal data."""
    slots = _slots(kind, dice)
    title = _title(kind, slots, dice)
    post = Post(
        kind,
        slots,
        title,
        _description(kind, slots, dice),
        client=f"cl-{dice.whole(10_000, 99_999)}",
        month=month,
    )
    post.amount = f"{dice.pick(_PRICES)}.0"
    post.country = dice.pick(_COUNTRIES)
    post.verified = dice.chance(0.93)
    _set_dates(post, dice)
    return post


def _slots(kind: Kind, dice: Dice) -> dict[str, str]:
    slots = {name: str(dice.pick(values)) for name, values in (*kinds().shared.items(), *kind.slots.items())}
    slots["trade"] = f"{'an' if slots['shop'][0] in 'aeiou' else 'a'} {slots['shop']}"
    return slots


def _title(kind: Kind, slots: Mapping[str, str], dice: Dice) -> str:
    title = capital(dice.pick(kind.titles).format_map(slots))
    title = title.replace(" and ", " & ") if dice.chance(0.5) else title
    return f"{title}\n" if dice.chance(0.01) else title  # exports do contain titles that end in a newline


def _description(kind: Kind, slots: Mapping[str, str], dice: Dice) -> str:
    opening = dice.pick(kind.openings)
    details = dice.shuffled(dice.some(kind.details, dice.whole(max(3, len(kind.details) - 2), len(kind.details))))
    deliver, closing = (
        dice.pick(kinds().deliver[kind.family]),
        " ".join(dice.some(kinds().closings, dice.whole(1, 3))),
    )
    mark = dice.weighted({"- ": 3.0, "* ": 1.0, "": 2.0})
    if mark:
        head = dice.pick(("What we need", "Requirements", "Details", "The task"))
        listed = f"{head}:\n" + "\n".join(mark + detail for detail in details)
    else:
        listed = " ".join(f"{detail}." for detail in details)
    if kind.files:
        deliver = f"{deliver} The attachment{'s hold' if len(kind.files) > 1 else ' holds'} the material."
    text = "\n\n".join((opening, listed, f"{deliver} {closing}"))
    return "\n".join(capital(line) for line in text.format_map(slots).split("\n"))


def capital(text: str) -> str:
    """The text with a capital first letter, also after the mark of a list."""
    mark = text[:2] if text[:2] in ("- ", "* ") else ""
    rest = text[len(mark) :]
    return mark + rest[:1].upper() + rest[1:]


def _set_dates(post: Post, dice: Dice) -> None:
    """Completion within the month of the post; work took from nine hours to more than a hundred days."""
    year, month = map(int, post.month.split("-"))
    done = datetime(year, month, 1, tzinfo=UTC) + timedelta(minutes=dice.whole(0, 28 * 24 * 60))
    hours = dice.weighted({9: 1.0, 30: 4.0, 80: 4.0, 200: 3.0, 600: 1.5, 1500: 0.5, 2500: 0.2}) * (
        1 + dice.whole(0, 40) / 100
    )
    post.completed = done
    post.started = done - timedelta(hours=hours)
    post.posted = post.started - timedelta(minutes=dice.whole(60, 5 * 24 * 60))
    post.modified = done + timedelta(minutes=dice.whole(5, 900))


def _unfinished(post: Post, status: str, dice: Dice, payment: str = "") -> None:
    """Not completed: all its dates lie in the month of the drop, so that it belongs to that month."""
    year, month = map(int, post.month.split("-"))
    post.posted = datetime(year, month, 1, tzinfo=UTC) + timedelta(minutes=dice.whole(0, 14 * 24 * 60))
    post.started = None if status == "Open" else post.posted + timedelta(minutes=dice.whole(60, 7 * 24 * 60))
    post.completed = None
    post.modified = (post.started or post.posted) + timedelta(minutes=dice.whole(10, 3 * 24 * 60))
    post.status, post.payment = status, payment


def _hourly(post: Post, dice: Dice) -> None:
    post.type, post.amount, post.currency, post.milestones, post.revised = "hourly", "", "", "", ""
    post.hourly_rate = f"{dice.whole(8, 60)}.0"


def _no_price(post: Post, dice: Dice) -> None:
    post.amount = dice.pick(("", "", "10 - 30", "100-250", "negotiable"))
    if not post.amount and dice.chance(0.4):
        post.amount, post.currency = f"{dice.pick(_PRICES)}.0", dice.pick(("EUR", "GBP", ""))


def _personal(post: Post, dice: Dice) -> None:
    word = dice.pick(("orders", "studio", "office", "hello", "desk", "team"))
    first = dice.pick(("wren", "maple", "orbit", "cobalt", "tulip", "harbor"))
    number = dice.whole(10, 99)
    post.personal, line = dice.pick(
        (
            ("email", f"Send samples to {first}.{word}@example.com before you apply."),
            ("email", f"My address is {first}{number}@example.org in case the window does not work."),
            ("phone", f"Call me at +1 202 555 01{number} after lunch."),
            ("phone", f"My number is (415) 555-01{number}, text messages are fine."),
            ("messenger", f"Reach me on Telegram @{first}_{word}{number} for quick questions."),
            ("messenger", f"WhatsApp me at +44 7700 9001{number} with your offer."),
            ("messenger", f"Add me on Skype: live:{first}.{word}{number} so that we can talk."),
        )
    )
    post.description += f"\n\n{line}"


def _over(post: Post, dice: Dice) -> None:
    post.amount = f"{dice.pick((500.01, 550, 600, 750, 800, 1000, 1200, 1500, 2500, 5000))}"


SPOIL: dict[str, Callable[[Post, Dice], None]] = {
    "hourly": _hourly,
    "unknown_job_type": lambda post, dice: setattr(post, "type", ""),
    "open": lambda post, dice: _unfinished(post, "Open", dice),
    "in_progress": lambda post, dice: _unfinished(post, "In Progress", dice, dice.pick(("", "pending"))),
    "cancelled": lambda post, dice: _unfinished(post, "Cancelled", dice, dice.pick(("", "refunded"))),
    "unknown_status": lambda post, dice: setattr(post, "status", ""),
    "unpaid": lambda post, dice: setattr(post, "payment", dice.pick(("pending", "refunded"))),
    "unknown_paid": lambda post, dice: setattr(post, "payment", ""),
    "unknown_milestones": lambda post, dice: setattr(post, "milestones", dice.pick(("", "", "", "1-3", "several"))),
    "several_milestones": lambda post, dice: setattr(post, "milestones", str(dice.pick((2, 2, 2, 3, 3, 4, 5, 8)))),
    "price_changed": lambda post, dice: setattr(post, "revised", "yes"),
    "unknown_price_change": lambda post, dice: setattr(post, "revised", ""),
    "unknown_price": _no_price,
    "price_at_limit": lambda post, dice: setattr(post, "amount", "500.0"),
    "price_over_limit": _over,
    "personal_data": _personal,
}
"""How a clean post is made to fail, by reason."""


def reasons(post: Post) -> list[str]:
    """Every reason for which a post does not qualify, in the order of the curation chain."""
    found = [_of_type(post), *_of_completion(post), *_of_contract(post), _of_price(post)]
    found += ["personal_data" if post.personal else "", "duplicate" if post.duplicate_of else ""]
    found = [reason for reason in found if reason]
    return found or [reason for reason in [_of_rubric(post)] if reason]  # nobody writes rubrics for the others


def _of_type(post: Post) -> str:
    return {"fixed_budget": "", "hourly": "hourly", "": "unknown_job_type"}[post.type]


def _of_completion(post: Post) -> tuple[str, str]:
    status = {"Completed": "", "": "unknown_status"}.get(post.status, post.status.lower().replace(" ", "_"))
    return status, {"released": "", "": "unknown_paid"}.get(post.payment, "unpaid")


def _of_contract(post: Post) -> tuple[str, str]:
    milestones = (
        "" if post.milestones == "1" else "several_milestones" if post.milestones.isdigit() else "unknown_milestones"
    )
    return milestones, {"no": "", "yes": "price_changed", "": "unknown_price_change"}[post.revised]


def _of_price(post: Post) -> str:
    try:
        price = float(post.amount)
    except ValueError:
        return "unknown_price"
    if post.currency != "USD":
        return "unknown_price"
    return "" if price < PRICE_LIMIT else "price_at_limit" if price == PRICE_LIMIT else "price_over_limit"


def _of_rubric(post: Post) -> str:
    count = len(post.criteria)
    if MIN_CRITERIA <= count <= MAX_CRITERIA:
        return ""
    return "no_rubric" if not count else "too_few_criteria" if count < MIN_CRITERIA else "too_many_criteria"


def any_kind(dice: Dice) -> Kind:
    """A kind for a post that need not qualify: also categories that the benchmark has no jobs of."""
    listed = kinds().kinds
    return listed[dice.weighted({at: _CATEGORY_WEIGHT.get(kind.category, 1.0) for at, kind in enumerate(listed)})]
