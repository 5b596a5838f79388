"""Varied text by the million: sentences drawn from thousands of words, without a Python loop.

A text is a run of tokens out of one table; a token is a word in one of a few dresses (plain, with a capital,
before a comma, at the end of a sentence or of a point of a list, ...). Because the tokens of all texts lie one
after the other in one Arrow buffer, a text is nothing but two offsets into it. Prices, dates, links and the like
are tokens of their own that take the place of a word.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

VOCABULARY = 12_000
"""Distinct words."""
_FUNCTION_WORDS = re.findall(
    r"\w+",
    "the of and to a in for is on that with be as are by it or from at an we not all have which each should "
    "must this can one will any more than when into only also our other so if they but who them then their "
    "there no some may these out after before between about",
)
_LOADED = re.findall(
    r"\w+",
    "account accounts address addresses avenue box call calls card cards carta cell code contact contacts corner court "
    "credit debit desk direct drive fax flat home host id identity key lane licence license line live lives located "
    "login member message messages mobile national network number numbers office passport password phone phones place "
    "reach road room secret security server ship sign square street suite tax tel text texts unit way whatsapp "
    "work works",
)
"""Words that announce personal data: drawn at random beside an order number, they would make a phone number of it."""
_AMBIGUOUS = frozenset({"password", "web"})
"""Words that become a login or an address by mere chance: "user on password only", "spend at web it"."""
_SLOTS = 1 << 16  # a word is drawn by 16 random bits
_PLAIN, _CAPITAL, _COMMA, _STOP, _PARAGRAPH, _LAST, _BARE, _BULLET, _NUMBER = range(9)
_POINTS = 5
"""Most points of a list; a numbered one needs a dress for each number."""
_STOP_OF_256, _PARAGRAPH_OF_256, _COMMA_OF_256 = 20, 3, 18


def raw_bits(seed: int, *stream: int) -> np.random.PCG64:
    """A source of random bits for one stream of one seed.

    Only the bits themselves are used in this package: numpy promises their sequence, and not that of its
    distributions.
    """
    import numpy as np

    return np.random.PCG64(np.random.SeedSequence([seed, *stream]))


def uniform(bits: np.random.PCG64, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """So many numbers from 0 up to but not 1."""
    import numpy as np

    drawn = np.asarray(bits.random_raw(count), np.uint64) >> np.uint64(11)
    return drawn.astype(np.float64) * 2.0**-53


def whole(bits: np.random.PCG64, count: int, low: int, high: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """So many whole numbers from low to high, both included."""
    import numpy as np

    return low + (uniform(bits, count) * (high - low + 1)).astype(np.int64)


@functools.cache
def words() -> tuple[str, ...]:
    """The vocabulary, the most frequent word first: ordinary words, then invented ones."""
    lines = (Path(__file__).parent / "kinds.yaml").read_text("utf-8").splitlines()
    text = " ".join(re.sub(r"^[ -]*\{?\w+: |#.*", " ", line) for line in lines)  # without keys and comments
    ordinary = re.findall(r"(?<![\w.{_-])[a-z]{3,}(?![\w.}_-])", text)
    bits = raw_bits(0, 12)
    listed = dict.fromkeys(word for word in (*_FUNCTION_WORDS, *ordinary) if word not in _AMBIGUOUS)
    while len(listed) < VOCABULARY:
        listed.setdefault(_invented(bits))
    return tuple(listed)


def _invented(bits: np.random.PCG64) -> str:
    syllables = int(whole(bits, 1, 2, 4)[0])
    starts = re.findall(r"\w+", "b c d f g h l m n p r s t v br cl dr fl gr pl st tr")
    ends = ("", "", "n", "r", "l", "s", "m", "t")
    parts = [
        starts[int(whole(bits, 1, 0, len(starts) - 1)[0])] + "aeiou"[int(whole(bits, 1, 0, 4)[0])]
        for _ in range(syllables)
    ]
    return "".join(parts) + ends[int(whole(bits, 1, 0, len(ends) - 1)[0])]


@functools.cache
def _slots() -> np.ndarray[Any, Any]:
    """Word number for each value of 16 random bits: by Zipf's law, every word at least once."""
    import numpy as np

    weight = 1.0 / (np.arange(len(words())) + 2.7)
    share = np.cumsum(weight / weight.sum()) * (_SLOTS - len(words()))
    count = np.diff(np.floor(share), prepend=0.0).astype(np.int64) + 1
    count[0] += _SLOTS - count.sum()
    return np.repeat(np.arange(len(words()), dtype=np.int32), count)


@functools.cache
def _tokens() -> pa.Array:
    """Every word in every dress, dress by dress."""
    import pyarrow as pa

    plain = words()
    dressed: list[str] = [f"{w} " for w in plain]
    dressed += [f"{w.capitalize()} " for w in plain]
    for tail in (", ", ". ", ".\n\n", ".", "", "\n- ", *(f"\n{at}. " for at in range(1, _POINTS + 1))):
        dressed += [w + tail for w in plain]
    return pa.array(dressed, pa.string())


@dataclass(frozen=True)
class Pieces:
    """What is woven into texts in place of words: each piece as often as is drawn, in `most` places of a text or fewer.

    Of `share` of the texts, each gets 1 to `most` pieces; now and then fewer, as none is set at the beginning or end of
    a sentence, beside another piece or near a word that would turn it into something else.
    """

    pieces: Sequence[str]
    share: float
    most: int


def texts(
    bits: np.random.PCG64,
    count: int,
    low: int,
    high: int,
    *,
    title: bool = False,
    woven: Sequence[Pieces] = (),
) -> pa.Array:
    """So many texts of low to high words (at least 3), as an Arrow array of strings.

    Texts are made of sentences and paragraphs, with lists in some of them where pieces are woven in; a title is one
    run of words without a full stop. A piece counts as one word.
    """
    import numpy as np
    import pyarrow as pa

    lengths = whole(bits, count, low, high)
    bounds = np.concatenate(([0], np.cumsum(lengths)))
    total = int(bounds[-1])
    if not total:
        return pa.array([], pa.string())
    drawn = np.asarray(bits.random_raw(-(-total // 4)), "<u8").view("<u2")[:total]
    dress = _title_dress(bounds, total) if title else _dress(bits, bounds, total)
    if woven and not title:
        _make_lists(bits, dress, bounds)
    index = _slots()[drawn] + dress * np.int32(len(words()))
    tables = [_tokens()]
    if woven:
        free = _free(drawn, dress)
        for pieces in woven:
            places = _places(bits, bounds, pieces)
            places = places[free[places]]
            free[places - 1] = free[places] = free[places + 1] = False
            index[places] = sum(map(len, tables)) + whole(bits, len(places), 0, len(pieces.pieces) - 1)
            tables.append(pa.array([f"{piece} " for piece in pieces.pieces], pa.string()))
    run = pa.concat_arrays(tables).take(pa.array(index))
    offsets = np.frombuffer(run.buffers()[1], np.int32)[bounds]
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets.tobytes()), run.buffers()[2])


def _places(bits: np.random.PCG64, bounds: np.ndarray[Any, Any], pieces: Pieces) -> np.ndarray[Any, Any]:
    """Places between the first and the last word of some texts."""
    import numpy as np

    count = len(bounds) - 1
    number = np.where(uniform(bits, count) < pieces.share, whole(bits, count, 1, pieces.most), 0)
    inner = np.repeat(np.diff(bounds) - 2, number)
    drawn = (uniform(bits, len(inner)) * inner).astype(np.int64)
    places: np.ndarray[Any, Any] = np.unique(np.repeat(bounds[:-1], number) + 1 + drawn)
    apart: np.ndarray[Any, Any] = places[np.diff(places, prepend=-2) > 1]
    return apart


def _free(drawn: np.ndarray[Any, Any], dress: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where a piece may stand: within a sentence, with no loaded word in the seven places before or the two after."""
    import numpy as np

    free: np.ndarray[Any, Any] = dress == _PLAIN
    loaded = np.flatnonzero(_loaded_slots()[drawn])
    for away in range(-2, 8):
        places = loaded + away
        free[places[(places >= 0) & (places < len(free))]] = False
    return free


@functools.cache
def _loaded_slots() -> np.ndarray[Any, Any]:
    """For each value of 16 random bits, whether it draws a loaded word."""
    import numpy as np

    loaded: np.ndarray[Any, Any] = np.isin(np.array(words()), _LOADED)[_slots()]
    return loaded


def _make_lists(bits: np.random.PCG64, dress: np.ndarray[Any, Any], bounds: np.ndarray[Any, Any]) -> None:
    """Turn the second to sixth sentence of some texts into points of a list, with dashes or numbers before them."""
    import numpy as np

    style = whole(bits, len(bounds) - 1, 0, 9)  # 6 of 10 texts have no list, 2 one with dashes, 2 one with numbers
    stops = np.flatnonzero((dress == _STOP) | (dress == _PARAGRAPH))
    first = np.searchsorted(stops, bounds)
    of_text = np.diff(first)
    rank = np.arange(len(stops)) - np.repeat(first[:-1], of_text)
    last = rank == np.repeat(of_text, of_text) - 1
    style = np.repeat(style, of_text)
    inside = (style >= 6) & (rank < _POINTS) & ~last
    dress[stops[inside]] = np.where(style < 8, _BULLET, _NUMBER + rank)[inside]
    dress[stops[(style >= 6) & ((rank == _POINTS) | (last & (rank < _POINTS)))]] = _PARAGRAPH


def _title_dress(bounds: np.ndarray[Any, Any], total: int) -> np.ndarray[Any, Any]:
    import numpy as np

    dress = np.full(total, _PLAIN, np.int32)
    dress[bounds[:-1]] = _CAPITAL
    dress[bounds[1:] - 1] = _BARE
    return dress


def _dress(bits: np.random.PCG64, bounds: np.ndarray[Any, Any], total: int) -> np.ndarray[Any, Any]:
    """The dress of every word: where sentences begin and end is drawn, 8 bits a word."""
    import numpy as np

    drawn = np.asarray(bits.random_raw(-(-total // 8)), "<u8").view(np.uint8)[:total]
    stop = drawn < _STOP_OF_256
    first, last = bounds[:-1], bounds[1:] - 1
    stop[first] = stop[last - 1] = False
    stop[1:] &= ~stop[:-1]  # no sentence of one word
    dress = np.full(total, _PLAIN, np.int32)
    dress[(drawn >= _STOP_OF_256) & (drawn < _STOP_OF_256 + _COMMA_OF_256)] = _COMMA
    dress[1:][stop[:-1]] = _CAPITAL
    dress[stop] = np.where(drawn[stop] < _PARAGRAPH_OF_256, _PARAGRAPH, _STOP)
    dress[first] = _CAPITAL
    dress[last] = _LAST
    return dress
