"""The words for a verdict: what graders write for pass, fail and "cannot judge", in several languages."""

from __future__ import annotations

import math
import re
import unicodedata


class Missing:
    """Type of MISSING: the grader left the verdict blank."""

    def __repr__(self) -> str:
        return "MISSING"


class Bad:
    """Type of BAD: what stands there is no verdict."""

    def __repr__(self) -> str:
        return "BAD"


MISSING, BAD = Missing(), Bad()

_GOOD = (
    "pass passed p y yes t true 1 1.0 1,0 ok ✓ ✔ ☑ ✅ si sì sí vero verdadero verdadeiro sim oui vrai ja "
    "wahr bestanden waar tak prawda ano da да истина так evet doğru dogru kyllä tosi sant igen igaz adevărat "
    "ναι はい 合格 是 通过 예 합격"
)
_POOR = (
    "fail failed f n no false 0 0.0 0,0 ✗ ✘ ❌ falso non faux nein falsch nee onwaar nie fałsz ne nej falskt "
    "нет ложь ні hayır hayir yanlış yanlis ei epätosi nem hamis nu fals όχι "
    "いいえ 不合格 否 不通过 아니요 불합격"
)
_CANNOT = (
    "cannot judge",
    "can not judge",
    "can't judge",
    "cannotjudge",
    "n/a",
    "not applicable",
    "unable to judge",
    "nicht beurteilbar",
    "non valutabile",
    "no se puede juzgar",
    "impossible à juger",
)
_PHRASES: dict[str, bool | None] = {
    "nicht bestanden": False,
    "non superato": False,
    "superato": True,
    "échec": False,
    "réussi": True,
    "aprobado": True,
    "no aprobado": False,
    "aprovado": True,
    "reprovado": False,
}
# "x" and ☒ are left out on purpose: some mark with them what is fulfilled, others what is not
_WORDS: dict[str, bool | None] = dict(_PHRASES)
_WORDS.update(dict.fromkeys(_GOOD.split(), True))
_WORDS.update(dict.fromkeys(_POOR.split(), False))
_WORDS.update(dict.fromkeys(_CANNOT))
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff\ufe0e\ufe0f]")
_GAPS = re.compile(r"(?<=[^\W\d_])[\s_-]+(?=[^\W\d_])")  # between letters only: "-1" is not "1"


def parse_verdict(value: object) -> bool | Missing | Bad | None:
    """True (pass), False (fail), None (cannot judge), MISSING (blank, never a fail) or BAD."""
    if value is None or isinstance(value, bool):
        return MISSING if value is None else value
    if isinstance(value, int | float):
        if isinstance(value, float) and math.isnan(value):
            return MISSING
        return bool(value) if value in (0, 1) else BAD
    if not isinstance(value, str):
        return BAD
    if len(value) > 100:
        return BAD if value.strip() else MISSING
    return _word(value)


def _word(value: str) -> bool | Missing | Bad | None:
    plain = unicodedata.normalize("NFKC", _INVISIBLE.sub("", value)).strip().casefold()
    if not plain:
        return MISSING
    return _WORDS.get(_GAPS.sub(" ", unicodedata.normalize("NFC", plain)).replace("’", "'"), BAD)
