"""The shape every detector has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .model import Finding
from .page import Page


@dataclass(frozen=True, slots=True)
class Detector:
    """A kind of personal data: cheap necessary patterns, and a close look.

    `triggers` are RE2 patterns of which at least one matches any text in which `find` finds something; that
    is what
    lets the first stage skip `find`. They run on folded text.
    """

    name: str
    triggers: tuple[str, ...]
    find: Callable[[Page], Iterator[Finding]]
