"""Posts by the chunk: what `hapi simulate` writes, as columns, with the truth about each post."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hapi_pipeline.rounds import ROUNDS
from hapi_pipeline.simulate.market import COLUMNS
from hapi_pipeline.simulate.posts import kinds
from hapi_pipeline.simulate.prose import raw_bits, texts, uniform, whole
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
    "no_rubric": 1.5,
    "too_few_criteria": 0.5,
}
"""Why posts fail, in the order of the curation chain, with how often (in proportion)."""
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
_CONTACTS = (
    "Write to maple.{0}@example.com about it.",
    "Call +1 202 555 01{1} in the morning.",
    "Reach me on Telegram @cobalt_{0} any time.",
    "WhatsApp me at +44 7700 9001{1} please.",
)
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


class Chunk:
    """So many posts of one month, as columns."""

    def __init__(self, plan: Plan, month: str, start: int, size: int):
        import numpy as np

        self.plan, self.month, self.start, self.size = plan, month, start, size
        self.bits = raw_bits(plan.seed, start)
        year, number = map(int, month.split("-"))
        self.midnight = int(datetime(year, number, 1, tzinfo=UTC).timestamp())
        names, weights = list(REASONS), np.array(list(REASONS.values()))
        self.fails = uniform(self.bits, size) >= plan.share
        limits = np.cumsum(weights / weights.sum())
        reason = np.minimum(np.searchsorted(limits, uniform(self.bits, size), "right"), len(names) - 1)
        second = whole(self.bits, size, 0, len(names) - 1)
        twice = uniform(self.bits, size) < SECOND_REASON
        self.has = {name: self.fails & ((reason == at) | (twice & (second == at))) for at, name in enumerate(names)}
        self._settle_conflicts()

    def _settle_conflicts(self) -> None:
        """Of two reasons that would need two values in one cell, the first holds."""
        import numpy as np

        for group in (
            ("hourly", "unknown_job_type"),
            ("open", "in_progress", "cancelled", "unknown_status"),
            ("unpaid", "unknown_paid"),
            ("several_milestones", "unknown_milestones"),
            ("price_changed", "unknown_price_change"),
            ("unknown_price", "price_at_limit", "price_over_limit"),
            ("no_rubric", "too_few_criteria"),
        ):
            taken = np.zeros(self.size, bool)
            for name in group:
                self.has[name] &= ~taken
                taken |= self.has[name]
        self.unfinished = self.has["open"] | self.has["in_progress"] | self.has["cancelled"]

    def table(self) -> pa.Table:
        """The posts under the marketplace's column names, every column text."""
        import numpy as np
        import pyarrow as pa

        has, listed = self.has, kinds().kinds
        kind = np.minimum(self._draw(len(listed) - 1), len(listed) - 1)
        posted, started, ended, modified = self._times()
        columns = {
            "uid": self._ids(),
            "posted_ts": posted,
            "contract_start": started,
            "contract_end": ended,
            "modified_ts": modified,
            "title": texts(self.bits, self.size, 4, 9, title=True),
            "description": self._descriptions(),
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
            "client_ref": _joined("cl-", self._draw(self.plan.clients - 1), 7),
            "client_payment_verified": _take(["true", "true", "true", "false"], self._draw(3)),
            "client_country": _take(_COUNTRIES, self._draw(len(_COUNTRIES) - 1)),
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

        values = [*_PRICES, *_OVER, "500.0", None]
        code = self._draw(len(_PRICES) - 1)
        over = len(_PRICES) + self._draw(len(_OVER) - 1)
        code = np.where(self.has["price_over_limit"], over, code)
        code = np.where(self.has["price_at_limit"], len(values) - 2, code)
        return _take(values, np.where(self.has["unknown_price"] | self.has["hourly"], len(values) - 1, code))

    def _times(self) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array]:
        """When posted, begun, ended, changed; the end lies in the month, or all of it where nothing ended."""
        import numpy as np

        hour, day = 3600, 24 * 3600
        ended = self.midnight + (uniform(self.bits, self.size) * 27 * day).astype(np.int64)
        lasted = (9 * hour + uniform(self.bits, self.size) ** 4 * 110 * day).astype(np.int64)
        waited = (uniform(self.bits, self.size) * 5 * day).astype(np.int64)
        started = np.where(self.unfinished, ended, ended - lasted)
        posted = np.where(self.unfinished, np.maximum(self.midnight, ended - waited), started - waited)
        return (
            _stamps(posted),
            _stamps(started, self.has["open"]),
            _stamps(ended, self.unfinished),
            _stamps(ended + 600 + self._draw(40_000)),
        )

    def _descriptions(self) -> pa.Array:
        import numpy as np
        import pyarrow.compute as pc

        plain = texts(self.bits, self.size, 150, 300)
        code = self._draw(len(_CONTACTS) * 90 - 1)
        marked = np.flatnonzero(self.has["personal_data"])
        if not len(marked):
            return plain
        endings: list[str] = [""] * self.size
        for at in marked.tolist():
            which, number = divmod(int(code[at]), 90)
            endings[at] = "\n\n" + _CONTACTS[which].format(f"desk{number + 10}", number + 10)
        return pc.binary_join_element_wise(plain, endings, "")

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
        """The rubrics of the posts that qualify, and of those that fail by a rubric that is too short."""
        import numpy as np

        few = self.has["too_few_criteria"]
        wanted = np.flatnonzero(self.good | few)
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
