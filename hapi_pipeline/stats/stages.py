"""What a job costs and yields when it is tried again until it is complete: expected values step by step.

A step is one round; it is taken by the jobs that are not complete before it. Its figures are means over the jobs that
took it and whose outcome is known, so jobs that were never tried again are censored, not failed: with h the share
completed at a step, a job reaches the next one with probability prod(1 - h), as in the curves of Kaplan & Meier (1958),
Journal of the American Statistical Association 53:457. Where every open job is tried again, all of it equals plain
means over all jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hapi_pipeline.stats.bootstrap import ratio

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Step(NamedTuple):
    """Sums over the jobs that took one step with a known outcome; a figure a draw."""

    tried: Floats  # jobs
    completed: Floats  # of these
    cost: Floats  # USD of all attempts at them in this step
    minutes: Floats  # of one grader's review, summed over the jobs for which it is known
    timed: Floats  # how many these are
    price: Floats  # USD, of the jobs tried
    price_completed: Floats  # USD, of those completed


class Expected(NamedTuple):
    """Expected values a job, after a number of steps; a figure a draw."""

    success: Floats  # probability
    cost: Floats  # USD paid for attempts
    minutes: Floats  # of review
    price: Floats  # USD that a human takes for a job
    earned: Floats  # USD: price of the jobs completed
    left: Floats  # USD: price of the jobs that are still open


def expected(steps: Sequence[Step]) -> Expected:
    """Expected values over one job that goes through these steps; NaN where a step that is reached is not known."""
    import numpy as np

    still_open = np.ones_like(np.asarray(steps[0].tried, dtype=float))
    cost, minutes, earned, left = (np.zeros_like(still_open) for _ in range(4))
    for step in steps:
        cost = cost + _share(still_open, step.cost, step.tried)
        minutes = minutes + _share(still_open, step.minutes, step.timed)
        earned = earned + _share(still_open, step.price_completed, step.tried)
        left = _share(still_open, step.price - step.price_completed, step.tried)
        still_open = _share(still_open, step.tried - step.completed, step.tried)
    price = ratio(steps[0].price, steps[0].tried)
    return Expected(1 - still_open, cost, minutes, price, earned, left)


def _share(still_open: Floats, total: Floats, over: Floats) -> Floats:
    """The mean over a step's jobs, for the share of jobs that come to it; nothing where none does."""
    import numpy as np

    return np.where(still_open == 0, 0.0, still_open * ratio(total, over))


class Worth(NamedTuple):
    """The three ways to have a job done, in USD a job unless said otherwise; a figure a draw."""

    alone_per_completed: Floats
    human_ai_per_completed: Floats
    human_ai_with_fallback: Floats  # a human does what is still open, at the job's price
    human: Floats
    net_alone: Floats
    net_human_ai: Floats
    net_human: Floats
    break_even_alone_human_ai: Floats  # USD that a completed job must be worth for the second way to be the better one
    break_even_human_ai_human: Floats
    break_even_alone_human: Floats
    break_even_grader_rate: Floats  # USD an hour up to which agent + human with fallback costs less than a human


def worth(alone: Expected, human_ai: Expected, usd_per_hour: float | None, value_per_price: float) -> Worth:
    """Costs, net values and break-even points of agent alone, agent + human feedback, and human alone.

    V of a job is `value_per_price` times its price. Net value is E[V of what is completed] - E[cost]. Agent alone: the
    first attempt and nothing else. Agent + human: attempts and reviews, then a human at the job's price for what is
    still open. Human alone completes every job, at its price. A break-even value is (c_H - c_L) / (s_H - s_L) with s
    the probability to be completed and c the cost without fallback; inf where the second does not complete more.
    """
    import numpy as np

    review = human_ai.minutes * ((np.nan if usd_per_hour is None else usd_per_hour) / 60)
    cost = human_ai.cost + review
    v = value_per_price
    saved = human_ai.price - human_ai.cost - human_ai.left
    return Worth(
        alone_per_completed=_per(alone.cost, alone.success),
        human_ai_per_completed=_per(cost, human_ai.success),
        human_ai_with_fallback=cost + human_ai.left,
        human=alone.price,
        net_alone=v * alone.earned - alone.cost,
        net_human_ai=v * human_ai.earned - cost + (v - 1) * human_ai.left,
        net_human=(v - 1) * alone.price,
        break_even_alone_human_ai=_per(cost - alone.cost, human_ai.success - alone.success),
        break_even_human_ai_human=_per(human_ai.price - cost, 1 - human_ai.success),
        break_even_alone_human=_per(alone.price - alone.cost, 1 - alone.success),
        break_even_grader_rate=60 * ratio(saved, human_ai.minutes),
    )


def _per(cost: Floats, success: Floats) -> Floats:
    """Cost for each unit of success, inf where there is none to be had."""
    import numpy as np

    unknown = np.isnan(cost) | np.isnan(success)
    return np.where(unknown, np.nan, np.where(success > 0, ratio(cost, np.where(success > 0, success, 1.0)), np.inf))
