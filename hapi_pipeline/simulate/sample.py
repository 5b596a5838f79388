"""Makes the bundled sample: `python -m hapi_pipeline.simulate.sample [FOLDER]`.

The same bytes come out on every machine; tests/simulate/test_sample.py holds the checkout against them.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from hapi_pipeline.settings import shipped
from hapi_pipeline.simulate.dice import Dice
from hapi_pipeline.simulate.market import (
    COLUMNS,
    RUBRIC_COLUMNS,
    TRUTH_COLUMNS,
    csv_text,
    escaped,
    gzipped,
    jsonl_text,
    raw,
    with_types,
    write,
)
from hapi_pipeline.simulate.outcomes import outcomes
from hapi_pipeline.simulate.posts import SPOIL, Kind, Post, any_kind, clean_post, kinds, reasons
from hapi_pipeline.simulate.published import published_cells
from hapi_pipeline.simulate.rubrics import rubric
from hapi_pipeline.simulate.world import Truth

SEED = 322
QUALIFYING = {"2026-08": 100, "2026-09": 107, "2026-10": 115}
"""Qualifying posts by month of completion."""
MODELS = {
    "Claude Sonnet 4": "sim-claude-sonnet-4",
    "Gemini 2.5 Pro": "sim-gemini-2.5-pro",
    "GPT-5": "sim-gpt-5",
}
"""Id under which the simulated provider knows each published model."""
SPOILED = {
    "hourly": 520,
    "unknown_job_type": 15,
    "open": 260,
    "in_progress": 90,
    "cancelled": 110,
    "unknown_status": 12,
    "unpaid": 57,
    "unknown_paid": 20,
    "unknown_milestones": 70,
    "several_milestones": 150,
    "price_changed": 60,
    "unknown_price_change": 15,
    "unknown_price": 50,
    "price_at_limit": 35,
    "price_over_limit": 120,
    "personal_data": 60,
}
"""Posts made to fail, by the first thing that was done to them."""
RUBRIC_SIZES = {"no_rubric": (15, 0), "too_few_criteria": (6, 3), "too_many_criteria": (2, 21)}
"""Posts that fail by their rubric alone: how many, and criteria each."""
DUPLICATES, REFUNDED, EXPORTED_EARLY, EXPORTED_TWICE, WITHOUT_ID = 8, 3, 6, 2, 2
UNREADABLE = '{"uid": "sj0999999", "title": "Cut off in the middle of the li'
_EVEN_PRICES = {"cheap": (4, 9), "dear": (205, 498)}  # USD, whole; outside of the usual $10 to $200
_CHEAP, _DEAR = 6, 26  # qualifying posts so priced; 290 of 322 lie within, which is 90 %


@dataclass
class Sample:
    """All posts of the sample, and the rows that each drop exports."""

    posts: list[Post]
    drops: dict[str, list[Post]] = field(default_factory=dict)
    truth: dict[tuple[str, str], Truth] = field(default_factory=dict)  # by job_id and model

    @property
    def qualifying(self) -> list[Post]:
        """The posts that belong in the benchmark."""
        return [post for post in self.posts if not reasons(post)]


def build(seed: int = SEED) -> Sample:
    """The sample, in memory."""
    dice = Dice("sample", seed)
    good = _qualifying_posts(dice.fork("good"))
    posts = good + _spoiled_posts(dice.fork("spoiled")) + _posts_with_bad_rubrics(dice.fork("rubrics"))
    posts = dice.fork("order").shuffled(posts)
    refunded = _refunded_posts(dice.fork("refunded"))
    for number, post in enumerate(posts + refunded):
        post.uid = f"sj{1_000_000 + 37 * number + number % 11}"
    copies = _duplicates(good, dice.fork("copies"))
    sample = Sample(posts + refunded + copies)
    sample.drops = _drops(sample, refunded, good, dice.fork("drops"))
    sample.truth = _truth(sample.qualifying, dice.fork("truth"))
    return sample


def _qualifying_posts(dice: Dice) -> list[Post]:
    wanted = dice.shuffled(kind for kind in kinds().kinds for _ in range(kind.n))
    months = [month for month, count in QUALIFYING.items() for _ in range(count)]
    posts = [
        _with_rubric(kind, month, dice.fork(at)) for at, (kind, month) in enumerate(zip(wanted, months, strict=True))
    ]
    unusual = dice.shuffled(posts)[: _CHEAP + _DEAR]
    for at, post in enumerate(unusual):
        post.amount = f"{dice.whole(*_EVEN_PRICES['cheap' if at < _CHEAP else 'dear'])}.0"
    unusual[-1].amount = "499.99"
    return posts


def _with_rubric(kind: Kind, month: str, dice: Dice, count: int | None = None) -> Post:
    post = clean_post(kind, month, dice)
    usual = min(dice.whole(5, 12) + (dice.whole(0, 8) if dice.chance(0.25) else 0), 20)
    post.criteria = rubric(kind, post.slots, usual if count is None else count, dice.fork("rubric"))
    return post


def _spoiled_posts(dice: Dice) -> list[Post]:
    posts = []
    for reason, count in SPOILED.items():
        for at in range(count):
            draw = dice.fork(reason, at)
            post = clean_post(any_kind(draw), draw.pick(list(QUALIFYING)), draw)
            # what sets the dates and the kind of pay comes last, since it decides more than one cell
            also = draw.some([r for r in SPOIL if r != reason], draw.whole(1, 2)) if draw.chance(0.2) else []
            for each in (*also, reason):
                SPOIL[each](post, draw)
            posts.append(post)
    return posts


def _posts_with_bad_rubrics(dice: Dice) -> list[Post]:
    able = [kind for kind in kinds().kinds if kind.n]
    return [
        _with_rubric(draw.pick(able), draw.pick(list(QUALIFYING)), draw, size)
        for name, (count, size) in RUBRIC_SIZES.items()
        for draw in (dice.fork(name, at) for at in range(count))
    ]


def _refunded_posts(dice: Dice) -> list[Post]:
    """Paid and complete in the first drop; the second drop says that the money went back."""
    first, able = next(iter(QUALIFYING)), [kind for kind in kinds().kinds if kind.n]
    posts = [_with_rubric(dice.pick(able), first, dice.fork(at)) for at in range(REFUNDED)]
    for post in posts:
        post.payment = "refunded"
    return posts


def _duplicates(good: list[Post], dice: Dice) -> list[Post]:
    """Qualifying posts that were posted a second time under a later id, in the same month."""
    copies = []
    for at, post in enumerate(dice.some(good, DUPLICATES)):
        copies.append(replace(post, uid=f"sj{1_900_000 + 13 * at}", duplicate_of=post.uid, criteria=[]))
    return copies


def _drops(sample: Sample, refunded: list[Post], good: list[Post], dice: Dice) -> dict[str, list[Post]]:
    """The rows of each month's export, in order: its posts, and what an id looked like at another time."""
    months = list(QUALIFYING)
    drops = {month: [p for p in sample.posts if p.month == month and p not in refunded] for month in months}
    for post in refunded:
        drops[months[0]].append(replace(post, payment="released"))
        drops[months[1]].append(_later(post))
    later = [p for p in good if p.month != months[0] and p.started and p.started.strftime("%Y-%m") < p.month]
    for post in dice.some(later, EXPORTED_EARLY):
        before = months[months.index(post.month) - 1]
        drops[before].append(replace(post, status="In Progress", payment="", completed=None, modified=post.started))
    for post in dice.some([p for p in good if p.month == months[0]], EXPORTED_TWICE):
        drops[months[1]].append(_later(post))
    for month in months:
        drops[month] = dice.fork(month).shuffled(drops[month])
        for at in range(WITHOUT_ID if month != months[-1] else 1):
            drops[month].insert(40 + 90 * at, replace(dice.pick(drops[month]), uid=""))
    return drops


def _later(post: Post) -> Post:
    assert post.completed  # noqa: S101 - only finished posts are exported again
    return replace(post, modified=post.completed + timedelta(days=30))


def _truth(posts: list[Post], dice: Dice) -> dict[tuple[str, str], Truth]:
    cells = published_cells()
    jobs = {
        category: [p.uid for p in posts if p.kind.category == category] for category in {c.category: 0 for c in cells}
    }
    return outcomes(jobs, cells, dice)


def files(sample: Sample) -> dict[str, str | bytes]:
    """Every generated file of the sample: {name: content}."""
    content: dict[str, str | bytes] = {}
    for (month, rows), form in zip(sample.drops.items(), (_first_drop, _second_drop, _third_drop), strict=True):
        name, text = form(rows)
        content[name.format(month)] = text
        with_rubric = [p for p in sample.posts if p.month == month and p.criteria]
        content[f"rubrics_{month}.csv"] = csv_text(RUBRIC_COLUMNS, list(_criteria(with_rubric)))
    content["truth.csv"] = csv_text(
        TRUTH_COLUMNS,
        [
            {
                "job_id": job,
                "model_id": MODELS[model],
                "completes": t.completes,
                "retry_1": str(t.retry_1).lower(),
            }
            for (job, model), t in sorted(sample.truth.items())
        ],
    )
    content["expected.json"] = json.dumps(expected(sample), indent=1) + "\n"
    return content


def _criteria(posts: Iterable[Post]) -> Iterable[dict[str, str]]:
    for post in posts:
        author = f"expert-{1 + sum(post.uid.encode()) % 12:02}"
        for at, (importance, text) in enumerate(post.criteria, 1):
            yield dict(zip(RUBRIC_COLUMNS, (post.uid, f"c{at:02}", str(at), text, importance, author), strict=True))


def _first_drop(posts: list[Post]) -> tuple[str, str | bytes]:
    """As saved by a spreadsheet: byte order mark, CRLF, HTML entities in the texts."""
    return "jobs_{}.csv", "\ufeff" + csv_text(COLUMNS, [escaped(raw(p)) for p in posts], end="\r\n")


def _second_drop(posts: list[Post]) -> tuple[str, str | bytes]:
    """After a change of the export: a column renamed, two gone, a new one."""
    columns = [{"client_country": "country"}.get(c, c) for c in COLUMNS if c not in ("skills", "connects")]
    rows = [escaped(raw(p)) | {"country": p.country, "promoted": str(len(p.title) % 7 == 0).upper()} for p in posts]
    return "jobs_{}.csv", csv_text([*columns, "promoted"], rows)


def _third_drop(posts: list[Post]) -> tuple[str, str | bytes]:
    """JSON lines, one of them cut off."""
    lines = jsonl_text([with_types(raw(p)) for p in posts]).splitlines(keepends=True)
    lines.insert(len(lines) // 2, UNREADABLE + "\n")
    return "jobs_{}.jsonl.gz", gzipped("".join(lines))


def expected(sample: Sample) -> dict[str, object]:
    """What a correct pipeline must find in the sample; for tests only."""
    why = {post.uid: reasons(post) for post in sample.posts}
    good = sample.qualifying
    last = list(sample.drops)[-1]

    def count(values: Iterable[str]) -> dict[str, int]:
        return dict(sorted(Counter(values).items()))

    return {
        "posts": len(sample.posts),
        "qualifying": len(good),
        "posts_by_month": count(p.month for p in sample.posts),
        "qualifying_by_month": count(p.month for p in good),
        "qualifying_by_category": count(p.kind.category for p in good),
        "rows_by_drop": {month: len(rows) + (month == last) for month, rows in sample.drops.items()},
        "quarantined_by_drop": {
            month: sum(not p.uid for p in rows) + (month == last) for month, rows in sample.drops.items()
        },
        "first_reason": count(found[0] for found in why.values() if found),
        "any_reason": count(reason for found in why.values() for reason in found),
        "posts_by_number_of_reasons": count(str(len(found)) for found in why.values()),
        "duplicates": {p.uid: p.duplicate_of for p in sample.posts if p.duplicate_of},
        "impossible_cells": [
            f"{c.category} / {c.model} / {c.round}: published {c.percent}, {c.count} of {c.n_jobs} is nearest"
            for c in published_cells()
            if not c.possible
        ],
        "reasons": {uid: " ".join(found) for uid, found in sorted(why.items()) if found},
    }


def main(arguments: list[str] | None = None, show: Callable[[str], None] = print) -> None:
    """Write the sample into a folder, by default the checkout's data/sample."""
    arguments = sys.argv[1:] if arguments is None else arguments
    folder = Path(arguments[0]) if arguments else shipped("data/sample")
    folder.mkdir(parents=True, exist_ok=True)
    sample = build()
    for name, content in files(sample).items():
        write(folder / name, content)
    show(f"{len(sample.posts)} posts, {len(sample.qualifying)} of which qualify, in {folder}")


if __name__ == "__main__":
    main()
