"""Chooses what becomes of each simulated agent on each job, so that the published table comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hapi_pipeline.simulate.dice import Dice
from hapi_pipeline.simulate.published import PublishedCell
from hapi_pipeline.simulate.world import Truth

RESCUED_BY_SECOND_TURN = 0.10  # of the jobs still open after the first; nobody published this by category
RESCUED_BY_RETRY = 0.40  # of the jobs that feedback rescues, a mere second try rescues too
LUCKY_RETRY = 0.03  # of the other jobs that are tried again


def outcomes(
    jobs: Mapping[str, Sequence[str]], cells: Sequence[PublishedCell], dice: Dice
) -> dict[tuple[str, str], Truth]:
    """The outcome of every job under every model: {(job_id, model): Truth}.

    `jobs` lists the ids of each category. Jobs have a difficulty that all models share in part, so that
    models agree more often than chance.
    """
    counts = {(c.category, c.model, c.round): c.count for c in cells}
    ease = {job: dice.fork("ease", job).whole(0, 999) for ids in jobs.values() for job in ids}
    truth: dict[tuple[str, str], Truth] = {}
    for model in dict.fromkeys(c.model for c in cells):
        for category, ids in jobs.items():
            draw = dice.fork(model, category)
            order = sorted(ids, key=lambda job: (ease[job] + draw.fork(job).whole(0, 999), job))
            alone, after = (counts[category, model, r] for r in ("agent_alone", "feedback_1"))
            truth |= {(job, model): t for job, t in zip(order, _in_order(len(ids), alone, after, draw), strict=True)}
    return truth


def _in_order(n_jobs: int, alone: int, after: int, dice: Dice) -> list[Truth]:
    """The outcomes of so many jobs, the easiest first."""
    helped = after - alone
    second = round(RESCUED_BY_SECOND_TURN * (n_jobs - after))
    completes = ["agent_alone"] * alone + ["feedback_1"] * helped + ["feedback_2"] * second
    completes += ["never"] * (n_jobs - len(completes))
    retried = set(dice.some(range(alone, after), round(RESCUED_BY_RETRY * helped)))
    retried |= {at for at in range(after, n_jobs) if dice.chance(LUCKY_RETRY)}
    return [Truth(name, at in retried) for at, name in enumerate(completes)]
