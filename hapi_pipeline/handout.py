"""Hands packets out: the ones that still need grading, copied to a folder under their opaque ids."""

from __future__ import annotations

import shutil
from pathlib import Path

from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.lake import Lake
from hapi_pipeline.settings import Home, UserError

TO_GRADE = """
SELECT p.packet_id, p.folder
FROM packets p
LEFT JOIN attempt_outcomes o USING (attempt_id)
WHERE coalesce(o.outcome, 'pending') = 'pending'
  AND ($model IS NULL OR p.model = $model) AND ($round IS NULL OR p.round = $round)
ORDER BY p.packet_id  -- an order that says nothing of model or round
"""


def packets_to_grade(home: Home, model: str | None = None, round: str | None = None) -> list[Path]:
    """The folders of the packets without a complete verdict."""
    with connect() as connection:
        open_tables(connection, Lake(home.lake), ["packets", "attempt_outcomes"])
        found = connection.execute(TO_GRADE, {"model": model, "round": round}).fetchall()
    return [home.root / folder for _, folder in found]


def hand_out(home: Home, out: Path, model: str | None, round: str | None) -> tuple[int, int]:
    """Copy the packets to grade to `out`, each whole or not at all; the number to grade and of those there already."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; name a folder.")
    folders = packets_to_grade(home, model, round)
    out.mkdir(parents=True, exist_ok=True)
    there = 0
    for folder in folders:
        goal = out / folder.name
        if goal.exists():
            there += 1
            continue
        staged = out / f".{folder.name}.part"
        shutil.rmtree(staged, ignore_errors=True)
        shutil.copytree(folder, staged)
        staged.rename(goal)
    return len(folders), there
