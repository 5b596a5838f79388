"""Schema drift: what one import of a source brings in other columns than the import before it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from hapi_pipeline.lake import Import

_ALIKE = 0.6  # share of characters in common from which on two names may be one
_ALIKE_ELSEWHERE = 0.8  # where they do not stand in the same place too
_MOST_COMPARED = 200  # columns; comparing names takes time that grows with the square


@dataclass(frozen=True)
class Drift:
    """Columns of an import that the one before did not have, and the other way round."""

    source: str
    before: str  # file
    now: str  # file
    new: tuple[str, ...]
    gone: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]  # (before, now), by place and name: probably, not surely
    wanted: tuple[
        str, ...
    ]  # columns that the definition names and the file lacks, unless the one before lacked them too

    def __bool__(self) -> bool:
        return bool(self.new or self.gone or self.renamed or self.wanted)

    @property
    def text(self) -> str:
        """The drift in a line; empty where there is none."""
        parts = [
            ("new columns", self.new),
            ("gone", self.gone),
            ("probably renamed", [f"{old} → {new}" for old, new in self.renamed]),
            ("wanted by the source definition", self.wanted),
        ]
        return "; ".join(f"{what}: {_shown(names)}" for what, names in parts if names)


def drift_of(done: Import, imports: Sequence[Import]) -> Drift:
    """What changed from the import of the same source before this one; nothing for the first.

    Of imports whose columns were not kept only what the definition lacks is known.
    """
    earlier = [i for i in imports if _same_source(i, done) and _order(i) < _order(done)]
    before = max(earlier, key=_order, default=None)
    new, gone, renamed = (), (), ()  # type: tuple[str, ...], tuple[str, ...], tuple[tuple[str, str], ...]
    if before is not None and before.columns and done.columns:
        new, gone, renamed = compare(before.columns, done.columns)
    return Drift(
        source=done.source or "",
        before=before.files[0].name if before is not None and before.files else "",
        now=done.files[0].name if done.files else "",
        new=new,
        gone=gone,
        renamed=renamed,
        wanted=tuple(c for c in done.missing_columns if before is None or c not in before.missing_columns),
    )


def newest_drifts(imports: Sequence[Import]) -> list[Drift]:
    """The drift of each source's newest import of jobs, in order of the sources' names; those without any left out."""
    newest: dict[str, Import] = {}
    for done in sorted((i for i in imports if i.kind == "jobs"), key=_order):
        newest[done.source or ""] = done
    return [drift for _, done in sorted(newest.items()) if (drift := drift_of(done, imports))]


def compare(
    before: Sequence[str], now: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, str], ...]]:
    """New, gone and probably renamed columns; names that differ in case alone are one, the order says nothing."""
    there_before, there_now = {c.casefold() for c in before}, {c.casefold() for c in now}
    gone = [c for c in before if c.casefold() not in there_now]
    new = [c for c in now if c.casefold() not in there_before]
    likely = sorted(
        (
            (-_likeness(old, fresh, before, now), before.index(old), now.index(fresh), old, fresh)
            for old in gone[:_MOST_COMPARED]
            for fresh in new[:_MOST_COMPARED]
        ),
    )
    renamed: dict[str, str] = {}
    for likeness, _, _, old, fresh in likely:
        if likeness < 0 and old not in renamed and fresh not in renamed.values():
            renamed[old] = fresh
    return (
        tuple(c for c in new if c not in renamed.values()),
        tuple(c for c in gone if c not in renamed),
        tuple((old, renamed[old]) for old in gone if old in renamed),
    )


def _likeness(old: str, fresh: str, before: Sequence[str], now: Sequence[str]) -> float:
    """How much speaks for a new name of the same column, 0 for too little: the name's letters, words and neighbours."""
    letters = SequenceMatcher(None, _letters(old), _letters(fresh), autojunk=False).ratio()
    place = _neighbours(old, before) == _neighbours(fresh, now)
    grown = bool(_words(old)) and (_words(old) <= _words(fresh) or _words(fresh) <= _words(old))  # price, price_usd
    between = place and None not in _neighbours(old, before)  # the same columns on both sides
    enough = between or letters >= (_ALIKE if place or grown else _ALIKE_ELSEWHERE)
    return letters + place if enough else 0.0


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())[:100]


def _words(name: str) -> set[str]:
    parts = re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)[:100])
    return {p.casefold() for p in parts if len(p) > 1}


def _neighbours(name: str, names: Sequence[str]) -> tuple[str | None, str | None]:
    at = names.index(name)
    return (
        names[at - 1].casefold() if at else None,
        names[at + 1].casefold() if at + 1 < len(names) else None,
    )


def _same_source(one: Import, other: Import) -> bool:
    return (one.kind, one.source) == (other.kind, other.source)


def _order(done: Import) -> tuple[str, str]:
    return done.imported_at, done.import_id


def _shown(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
