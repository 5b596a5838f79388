"""Posts by the chunk: what `hapi simulate` writes, as columns, with the truth about each post."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hapi_pipeline.rounds import ROUNDS
from hapi_pipeline.simulate import contacts
from hapi_pipeline.simulate.dice import Dice
from hapi_pipeline.simulate.market import COLUMNS, POST_TRUTH_COLUMNS
from hapi_pipeline.simulate.pieces import HEAVY, LIGHT, TITLES, harmless
from hapi_pipeline.simulate.posts import kinds
from hapi_pipeline.simulate.prose import Pieces, raw_bits, texts, uniform, whole
from hapi_pipeline.simulate.world import Criterion, Truth

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

REASONS = {
    "hourly": 26.0,
    "unknown_job_type": 1.0,
    "open": 14.0,
    "in_progress": 5.0,
    "cancelled": 6.0,
    "unknown_status": 1.0,
    "unpaid": 3.0,
    "unknown_paid": 1.0,
    "unknown_milestones": 4.0,
    "several_milestones": 9.0,
    "price_changed": 4.0,
    "unknown_price_change": 1.0,
    "unknown_price": 3.0,
    "price_at_limit": 2.0,
    "price_over_limit": 8.0,
    "personal_data": 4.0,
    "duplicate_content": 0.0,
    "near_duplicate": 0.0,
    "no_rubric": 1.5,
    "too_few_criteria": 0.5,
}
"""Why posts fail, in the order of the curation chain, with how often (in proportion).

No post has two reasons that one rule would name, so it does not matter which of them a rule looks at first. The
duplicates have no frequency here: they follow from which posts repeat others.
"""
_DRAWN = {name: weight for name, weight in REASONS.items() if weight}
_AFTER_CURATION = ("duplicate_content", "near_duplicate", "no_rubric", "too_few_criteria")
SECOND_REASON = 0.15
"""Share of the failing posts that have a further reason."""
_PRICES = (
    "12.0",
    "15.0",
    "20.0",
    "25.0",
    "30.0",
    "40.0",
    "50.0",
    "60.0",
    "75.0",
    "90.0",
    "100.0",
    "120.0",
    "150.0",
    "180.0",
    "200.0",
    "8.0",
    "260.0",
    "340.0",
    "450.0",
    "499.99",
)
_OVER = ("500.01", "550.0", "600.0", "750.0", "900.0", "1200.0", "2500.0")
_COUNTRIES = (
    "Brazil",
    "Canada",
    "Denmark",
    "France",
    "Germany",
    "India",
    "Italy",
    "Japan",
    "Kenya",
    "Mexico",
    "Spain",
)
_IN_TITLE = 0.1
"""Share of the planted personal data that stands in the title."""
_HUMAN_ROUNDS = [r.name for r in ROUNDS if r.arm == "human"]


@dataclass(frozen=True)
class Plan:
    """What all chunks of one simulation have in common."""

    seed: int
    share: float
    models: tuple[str, ...]
    grader_error: float
    verdicts: bool
    clients: int
    repeats: float


class Chunk:
    """So many posts of one month, as columns."""

    def __init__(self, plan: Plan, month: str, start: int, size: int):
        import numpy as np

        self.plan, self.month, self.start, self.size = plan, month, start, size
        self.bits = raw_bits(plan.seed, start)
        self.dice = Dice("posts", plan.seed, start)
        year, number = map(int, month.split("-"))
        self.midnight = int(datetime(year, number, 1, tzinfo=UTC).timestamp())
        names, weights = list(_DRAWN), np.array(list(_DRAWN.values()))
        self.fails = uniform(self.bits, size) >= plan.share
        limits = np.cumsum(weights / weights.sum())
        reason = np.minimum(np.searchsorted(limits, uniform(self.bits, size), "right"), len(names) - 1)
        second = whole(self.bits, size, 0, len(names) - 1)
        twice = uniform(self.bits, size) < SECOND_REASON
        drawn = {name: self.fails & ((reason == at) | (twice & (second == at))) for at, name in enumerate(names)}
        self.has = {name: drawn.get(name, np.zeros(size, bool)) for name in REASONS}
        self._settle_conflicts()
        self._repeat()
        self._plant()
        self.unfinished = self.has["open"] | self.has["in_progress"] | self.has["cancelled"]

    def _repeat(self) -> None:
        """Which posts repeat which earlier ones, and which of the repetitions a rule about duplicates stops.

        No post is repeated twice and no repetition is repeated. Half of the repetitions are exact and share the
        fate of the first post, up to its price and payment; a quarter share it too, with other words here and there;
        the last quarter go their own way, such as a cancelled job that is posted once more.
        """
        import numpy as np

        self.first = np.arange(self.size)
        again = np.flatnonzero(uniform(self.bits, self.size) < self.plan.repeats)
        again = again[again > 0]
        first = (uniform(self.bits, len(again)) * again).astype(np.int64)
        manner = whole(self.bits, len(again), 0, 3)
        free = ~np.isin(first, again) & (np.bincount(first, minlength=self.size)[first] == 1)
        again, first, manner = again[free], first[free], manner[free]
        self.first[again] = first
        self.exact = np.zeros(self.size, bool)
        self.exact[again[manner < 2]] = True
        same_fate, model = again[manner < 3], first[manner < 3]
        for held in self.has.values():
            held[same_fate] = held[model]
        curated = ~np.any([held for name, held in self.has.items() if name not in _AFTER_CURATION], axis=0)
        stopped = np.zeros(self.size, bool)
        stopped[again] = curated[again] & curated[first]
        self.has["duplicate_content"] = stopped & self.exact
        self.has["near_duplicate"] = stopped & ~self.exact

    def _plant(self) -> None:
        """Which kind of personal data stands in the posts that have some; an exact repetition has the same."""
        import numpy as np

        kind = self._draw(len(contacts.KINDS) - 1)[self._model()]
        self.personal = np.where(self.has["personal_data"], kind, -1)

    def _model(self) -> np.ndarray[Any, Any]:
        """The number of the post that a post is an exact copy of, its own for all others."""
        import numpy as np

        return np.where(self.exact, self.first, np.arange(self.size))

    def _settle_conflicts(self) -> None:
        """Of two reasons that one rule would name, the first holds."""
        import numpy as np

        for group in (
            ("hourly", "unknown_job_type"),
            ("open", "in_progress", "cancelled", "unknown_status", "unpaid", "unknown_paid"),
            ("several_milestones", "unknown_milestones", "price_changed", "unknown_price_change"),
            ("unknown_price", "price_at_limit", "price_over_limit"),
            ("no_rubric", "too_few_criteria"),
        ):
            taken = np.zeros(self.size, bool)
            for name in group:
                self.has[name] &= ~taken
                taken |= self.has[name]

    def table(self) -> pa.Table:
        """The posts under the marketplace's column names, every column text."""
        import numpy as np
        import pyarrow as pa

        has, listed, model = self.has, kinds().kinds, self._model()
        kind = np.minimum(self._draw(len(listed) - 1), len(listed) - 1)[self.first]
        posted, started, ended, modified = self._times()
        titles, descriptions = self._texts()
        columns = {
            "uid": self._ids(),
            "posted_ts": posted,
            "contract_start": started,
            "contract_end": ended,
            "modified_ts": modified,
            "title": titles,
            "description": descriptions,
            "type": self._cases("fixed_budget", hourly="hourly", unknown_job_type=None),
            "category": _take([k.category for k in listed], kind),
            "subcategory": _take([k.subcategory for k in listed], kind),
            "skills": _take([";".join(k.skills) for k in listed], kind),
            "files": _take([";".join(k.files) or None for k in listed], kind),
            "amount": self._amounts(),
            "currency": _take(["USD", None], has["hourly"]),
            "hourly_rate": _take([None, "25.0"], has["hourly"]),
            "milestones": self._cases("1", several_milestones="3", unknown_milestones=None),
            "budget_revised": self._cases("no", price_changed="yes", unknown_price_change=None),
            "status": self._cases(
                "Completed",
                open="Open",
                in_progress="In Progress",
                cancelled="Cancelled",
                unknown_status=None,
            ),
            "payment_status": self._cases("released", unpaid="pending", unknown_paid=None),
            "client_ref": _joined("cl-", self._draw(self.plan.clients - 1)[model], 7),
            "client_payment_verified": _take(["true", "true", "true", "false"], self._draw(3)[model]),
            "client_country": _take(_COUNTRIES, self._draw(len(_COUNTRIES) - 1)[model]),
            "connects": _take(["2", "4", "6"], self._draw(2)),
        }
        return pa.table({name: columns[name] for name in COLUMNS})

    def _draw(self, high: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        return whole(self.bits, self.size, 0, high)

    def _ids(self) -> pa.Array:
        import numpy as np

        return _joined("sj", np.arange(self.start, self.start + self.size), 9)

    def _cases(self, usual: str, **other: str | None) -> pa.Array:
        """The usual value, or another where the reason of that name holds."""
        import numpy as np

        code = np.zeros(self.size, np.int64)
        for at, name in enumerate(other, 1):
            code[self.has[name]] = at
        return _take([usual, *other.values()], code)

    def _amounts(self) -> pa.Array:
        import numpy as np

        values, model = [*_PRICES, *_OVER, "500.0", None], self._model()
        code = self._draw(len(_PRICES) - 1)[model]
        over = len(_PRICES) + self._draw(len(_OVER) - 1)[model]
        code = np.where(self.has["price_over_limit"], over, code)
        code = np.where(self.has["price_at_limit"], len(values) - 2, code)
        return _take(values, np.where(self.has["unknown_price"] | self.has["hourly"], len(values) - 1, code))

    def _times(self) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array]:
        """When posted, begun, ended, changed; the end lies in the month, or all of it where nothing ended.

        A repetition is posted and ends no earlier than the first post.
        """
        import numpy as np

        hour, day = 3600, 24 * 3600
        ended = self.midnight + (uniform(self.bits, self.size) * 27 * day).astype(np.int64)
        lasted = (9 * hour + uniform(self.bits, self.size) ** 4 * 110 * day).astype(np.int64)
        waited = (uniform(self.bits, self.size) * 5 * day).astype(np.int64)
        again = np.flatnonzero(self.first < np.arange(self.size))
        ended[again] = self._later(ended[self.first[again]], self.midnight + 28 * day - 1)
        started = np.where(self.unfinished, ended, ended - lasted)
        posted = np.where(self.unfinished, np.maximum(self.midnight, ended - waited), started - waited)
        posted[again] = np.maximum(posted[again], self._later(posted[self.first[again]], ended[again]))
        started[again] = np.clip(started[again], posted[again], ended[again])
        return (
            _stamps(posted),
            _stamps(started, self.has["open"]),
            _stamps(ended, self.unfinished),
            _stamps(ended + 600 + self._draw(40_000)),
        )

    def _later(self, earliest: np.ndarray[Any, Any], latest: np.ndarray[Any, Any] | int) -> np.ndarray[Any, Any]:
        """Moments between these, in seconds since 1970."""
        import numpy as np

        moments: np.ndarray[Any, Any] = earliest + uniform(self.bits, len(earliest)) * (latest - earliest)
        return moments.astype(np.int64)

    def _texts(self) -> tuple[pa.Array, pa.Array]:
        """Titles and descriptions: prose with harmless numbers, repetitions made alike, personal data planted."""
        import numpy as np
        import pyarrow as pa

        size, dice = self.size, self.dice.fork("texts")
        light = harmless(dice, LIGHT, min(4000, 100 + size))
        heavy = harmless(dice, HEAVY, 100 + size // 3)
        special = harmless(dice, TITLES, min(1000, 100 + size))
        both = [
            texts(self.bits, size, 4, 9, title=True, woven=(Pieces(special, 0.25, 1),)),
            texts(self.bits, size, 150, 275, woven=(Pieces(light, 0.85, 9), Pieces(heavy, 0.1, 3))),
        ]
        again = np.flatnonzero(self.first < np.arange(size))
        marked = np.flatnonzero(self.personal >= 0)
        changed = np.union1d(again, marked)
        if not len(changed):
            return both[0], both[1]
        drafts = [column.take(pa.array(self.first[changed])).to_pylist() for column in both]
        final = [self._written(int(at), *draft) for at, *draft in zip(changed, *drafts, strict=True)]
        titles, descriptions = (pa.array(list(column), pa.string()) for column in zip(*final, strict=True))
        place = np.arange(size)
        place[changed] = size + np.arange(len(changed))
        return (
            pa.concat_arrays([both[0], titles]).take(pa.array(place)),
            pa.concat_arrays([both[1], descriptions]).take(pa.array(place)),
        )

    def _written(self, at: int, title: str, description: str) -> tuple[str, str]:
        """Title and description of a post that repeats another or holds personal data, from the first post's."""
        model = self.first[at] if self.exact[at] else at
        dice = self.dice.fork("post", int(model))
        if self.first[at] < at and not self.exact[at]:
            description = _reworded(dice, description)
        if self.personal[at] >= 0:
            what = contacts.sentence(dice, contacts.KINDS[self.personal[at]])
            if dice.chance(_IN_TITLE):
                return f"{title} - {what}", description
            return title, contacts.planted(dice, description, what)
        return title, description

    def truth(self) -> pa.Table:
        """For each post why it does not qualify, what personal data it holds and which post it repeats."""
        import numpy as np
        import pyarrow as pa

        held = np.zeros(self.size, np.int64)
        for bit, name in enumerate(REASONS):
            held |= self.has[name].astype(np.int64) << bit
        masks, code = np.unique(held, return_inverse=True)
        reasons = [";".join(name for bit, name in enumerate(REASONS) if mask >> bit & 1) for mask in masks.tolist()]
        ids, again = self._ids(), self.first < np.arange(self.size)
        columns = (
            ids,
            _take(reasons, code),
            _take(["", *contacts.KINDS], self.personal + 1),
            pa.concat_arrays([ids, pa.array([""])]).take(pa.array(np.where(again, self.first, self.size))),
        )
        return pa.table(dict(zip(POST_TRUTH_COLUMNS, columns, strict=True)))

    @property
    def repeated(self) -> int:
        """How many posts repeat an earlier one."""
        import numpy as np

        return int((self.first < np.arange(self.size)).sum())

    def personal_data(self) -> Counter[str]:
        """How many posts hold personal data of each kind."""
        import numpy as np

        counts = np.bincount(self.personal + 1, minlength=len(contacts.KINDS) + 1)[1:]
        return Counter(dict(zip(contacts.KINDS, counts.tolist(), strict=True)))

    @functools.cached_property
    def good(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which posts qualify."""
        import numpy as np

        fails: np.ndarray[Any, np.dtype[np.bool_]] = np.any(list(self.has.values()), axis=0)
        return ~fails

    def first_reasons(self) -> Counter[str]:
        """How many posts each reason stops first, in the order of the curation chain."""
        stopped, found = self.good & False, Counter[str]()
        for name, held in self.has.items():
            found[name] = int((held & ~stopped).sum())
            stopped |= held
        return found

    def job_id(self, number: int) -> str:
        """Id of a post by its place in the chunk."""
        return f"sj{self.start + number:09d}"

    def rubrics(self) -> dict[str, tuple[Criterion, ...]]:
        """The rubrics of the posts that qualify, of those whose rubric is too short, and of the duplicates.

        Duplicates have rubrics so that nothing else keeps them out.
        """
        import numpy as np

        few = self.has["too_few_criteria"]
        twice = (self.has["duplicate_content"] | self.has["near_duplicate"]) & ~self.has["no_rubric"]
        wanted = np.flatnonzero(self.good | few | twice)
        sizes = np.where(few[wanted], 3, 5 + (uniform(self.bits, len(wanted)) ** 2 * 16).astype(np.int64))
        total = int(sizes.sum())
        lines = texts(self.bits, total, 8, 14).to_pylist()
        weights = ("critical", "important", "important", "important", "optional", "pitfall")
        importance = whole(self.bits, total, 0, len(weights) - 1).tolist()
        found, at = {}, 0
        for number, size in zip(wanted.tolist(), sizes.tolist(), strict=True):
            found[self.job_id(number)] = tuple(
                Criterion(
                    f"c{i + 1:02}",
                    lines[at + i].replace("\n\n", " "),
                    "critical" if i < 2 else weights[importance[at + i]],
                )
                for i in range(size)
            )
            at += size
        return found

    def outcomes(self) -> Iterator[tuple[str, list[Truth]]]:
        """What becomes of each qualifying post under each model, in the order of the models."""
        import numpy as np

        models = len(self.plan.models)
        numbers = np.flatnonzero(self.good).tolist()
        draws = uniform(self.bits, len(numbers) * models * 2).reshape(-1, models, 2).tolist()
        for number, drawn in zip(numbers, draws, strict=True):
            yield self.job_id(number), [_outcome(at, *pair) for at, pair in enumerate(drawn)]


def _reworded(dice: Dice, text: str) -> str:
    """The text with two of its plain words replaced: word triples of the two texts are still alike by 0.9 or more."""
    parts = text.split(" ")
    plain = [at for at, part in enumerate(parts) if part.isascii() and part.isalpha() and part.islower()]
    for at in dice.some(plain, 2):
        parts[at] = "".join(dice.shuffled(parts[at])) + dice.pick(("a", "e", "o"))
    return " ".join(parts)


def _outcome(at: int, point: float, second: float) -> Truth:
    """The outcome of a draw for the model in this place; the first model is the best."""
    alone = 0.4 / (1 + 0.5 * at)
    limits = (alone, alone + 0.12, alone + 0.17)
    completes = next((name for name, limit in zip(_HUMAN_ROUNDS, limits, strict=True) if point < limit), "never")
    return Truth(completes, completes != "agent_alone" and second < (0.4 if completes == "feedback_1" else 0.03))


def _take(values: Sequence[str | None], code: Any) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    return pa.array(values, pa.string()).take(pa.array(np.asarray(code, np.int64)))


def _joined(prefix: str, numbers: np.ndarray[Any, Any], width: int) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    padded = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width, "0")
    return pc.binary_join_element_wise(prefix, padded, "")


def _stamps(seconds: np.ndarray[Any, Any], empty: np.ndarray[Any, Any] | None = None) -> pa.Array:
    """Seconds since 1970 as ISO 8601; looked up by day and by second of the day, as formatting is slow."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    days, rest = np.divmod(seconds, 86_400)
    if not len(days):
        return pa.array([], pa.string())
    first = int(days.min())
    dates = pa.array(np.datetime_as_string(np.arange(first, int(days.max()) + 1).astype("datetime64[D]")))
    return pc.binary_join_element_wise(
        dates.take(pa.array(days - first, mask=empty)), _times_of_day().take(pa.array(rest)), "T"
    )


@functools.cache
def _times_of_day() -> pa.Array:
    import pyarrow as pa

    return pa.array([f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}Z" for s in range(86_400)])
