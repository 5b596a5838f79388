"""When somebody judged, as their file says it: a certain moment, or nothing and why."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from hapi_pipeline.grading.sheets import Cell

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_TIME_ZONES = timedelta(days=1)  # a date may be a day ahead of UTC without lying in the future
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?: ?(?:Z|[+-]\d\d:?\d\d))?)?", re.ASCII)


def moment_of(value: Cell, imported_at: datetime) -> tuple[datetime | None, tuple[str, ...]]:
    """The moment in UTC, or None with the flag that says why.

    Only ISO dates are certain; without a zone they are taken as UTC.
    """
    if value is None:
        return None, ()
    text = str(value).strip()
    if not _ISO.fullmatch(text):
        return None, ("ambiguous_date",)
    try:
        moment = datetime.fromisoformat(text.replace(" +", "+").replace(" -", "-").replace(" Z", "Z"))
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None, ("ambiguous_date",)
    if moment < _EARLIEST:
        return None, ("ambiguous_date",)
    if moment > imported_at + _TIME_ZONES:
        # kept, it would outrank every later correction
        return None, ("future_date",)
    return moment, ()
