"""What the criteria of the benchmark are about: themes that are found once and then kept.

Texts, English function words taken out, become TF-IDF weights of words and of character n-grams within words, which
need no dictionary of any language; latent semantic analysis shortens these to a dimension a theme; k-means finds the
themes. They are found on the criteria that were imported first, until there are enough of them. The ledger of imports
only grows, so this set never changes again, and nor do the themes: what is imported later is put into the nearest one.
Everything follows from the ledger and a fixed seed.

Sources: Deerwester et al. (1990), JASIS 41:391, for latent semantic analysis; Arthur & Vassilvitskii (2007), SODA, for
where k-means starts; Mardia, Kent & Bibby (1979), Multivariate Analysis, section 13, for the number of groups.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from hapi_pipeline.lake import Lake
    from hapi_pipeline.registry import Registry

ENOUGH_TEXTS = 300
"""Different criteria on which themes are settled."""
MOST_TEXTS = 20_000
"""Different criteria that themes are found on, at most; of more, those with the smallest hashes."""
MOST_THEMES = 20
"""As many as were published."""
NEAREST = 0.1
"""Cosine below which a criterion belongs to no theme."""
SEED = 20261122
OTHER = "other"
_LONGEST = 2_000  # characters of a criterion that are looked at
_SHOWN = 160  # characters of an example
_AT_ONCE = 10_000
_MOST_TERMS = 50_000
_WORD = re.compile(r"[^\W\d_]{3,30}")


@dataclass(frozen=True)
class Themes:
    """Themes that were found; their ids are places in `labels`, the largest theme first, 0 being what fits none."""

    labels: tuple[str, ...]
    examples: tuple[str | None, ...]
    settled: bool
    weights: Any  # of scikit-learn: texts to TF-IDF
    short: Any  # of scikit-learn: TF-IDF to few dimensions
    centres: NDArray[np.float64]  # (themes × dimensions), of length 1

    def of(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The id of each text's theme, and its cosine with the middle of it (0 where it shares nothing with any)."""
        import numpy as np

        ids, near = np.zeros(len(texts), np.int64), np.zeros(len(texts))
        if not len(self.centres):
            return ids, near
        for start in range(0, len(texts), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            cosines = _vectors(self.weights, self.short, [reduced(text) for text in texts[part]]) @ self.centres.T
            near[part] = np.round(cosines.max(axis=1), 6)
            ids[part] = np.where(near[part] >= NEAREST, cosines.argmax(axis=1) + 1, 0)
        return ids, near


def criterion_themes(lake: Lake, registry: Registry, scope: Mapping[str, str]) -> pa.Table:
    """The theme of every criterion of the benchmark's jobs."""
    import pyarrow as pa

    with connect() as connection:
        open_tables(connection, lake, ["rubrics", "rubric_exports", "benchmark_jobs"])
        first = connection.execute(_IMPORTED).fetchall()
        rows = connection.execute(_CRITERIA).fetchall()
    themes = find_themes(*first_texts(first), wanted=registry.benchmark.results.themes)
    distinct = list(dict.fromkeys(text for _, _, text, _ in rows))
    ids, near = themes.of(distinct)
    place = {text: i for i, text in enumerate(distinct)}
    found = [
        {
            "job_id": job_id,
            "criterion_id": criterion_id,
            "theme_id": int(ids[place[text]]),
            "theme": themes.labels[ids[place[text]]],
            "example_criterion": themes.examples[ids[place[text]]],
            "theme_similarity": float(near[place[text]]),
            "provisional": not themes.settled,
            "simulated": simulated,
        }
        for job_id, criterion_id, text, simulated in rows
    ]
    return pa.Table.from_pylist(found, schema=TABLES["criterion_themes"].schema())


# texts are cut first: what is hostile in a long one must not reach the reading of HTML
_IMPORTED = "SELECT imported_at, plain(left(text, 20000)) FROM rubric_exports ORDER BY imported_at"
_CRITERIA = """
    SELECT r.job_id, r.criterion_id, coalesce(plain(left(r.text, 20000)), ''), r.simulated
    FROM rubrics r SEMI JOIN benchmark_jobs b ON b.job_id = r.job_id
    ORDER BY r.job_id, r.criterion_id
"""


def first_texts(imported: Iterable[tuple[Any, str | None]]) -> tuple[list[str], bool]:
    """The texts of the earliest imports that together have enough different ones, and whether there were enough.

    `imported` is in order of time; what was imported at the same moment is taken together, so that the order of rows
    within an import makes no difference.
    """
    texts: list[str] = []
    seen: set[str] = set()
    moment = None
    for at, text in imported:
        if at != moment and len(seen) >= ENOUGH_TEXTS:
            return texts, True
        moment = at
        if text and (known := reduced(text)) and known not in seen:
            seen.add(known)
            texts.append(text)
    return texts, len(seen) >= ENOUGH_TEXTS


def find_themes(texts: Sequence[str], settled: bool = True, wanted: int | None = None) -> Themes:
    """The themes of texts; the same for the same set of texts, in whatever order and however often they come.

    `wanted` is how many there shall be; without it √(n/2) of n different texts, 1 to 20.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    shown: dict[str, str] = {}
    for text in sorted(texts):
        shown.setdefault(reduced(text), text)
    known = sorted(key for key in shown if key)
    if len(known) > MOST_TEXTS:
        known = sorted(sorted(known, key=lambda key: hashlib.sha256(key.encode()).digest())[:MOST_TEXTS])
    number = min(wanted or number_of_themes(len(known)), len(known))
    weights, matrix = _weighted(known) if known else (None, None)
    if matrix is None:
        return Themes((OTHER,), (None,), settled, None, None, np.zeros((0, 0)))
    with threadpool_limits(1):  # sums in another order end in other digits
        short = _shortened(matrix, max(number, 5))
        vectors = _vectors(weights, short, known)
        groups = _groups(vectors, number)
    order = sorted(set(groups), key=lambda g: (-int(np.sum(groups == g)), int(np.argmax(groups == g))))
    members = [np.flatnonzero(groups == g) for g in order]
    centres = np.array([_length_one(vectors[m].mean(axis=0, keepdims=True))[0] for m in members])
    examples = [
        shown[known[int(m[int(np.argmax(np.round(vectors[m] @ c, 6)))])]] for m, c in zip(members, centres, strict=True)
    ]
    labels = _labels(known, members, examples)
    return Themes((OTHER, *labels), (None, *map(shortened, examples)), settled, weights, short, centres)


def number_of_themes(n_texts: int) -> int:
    """How many themes so many different texts are divided into: √(n/2), 1 to 20."""
    return max(1, min(MOST_THEMES, round(math.sqrt(n_texts / 2))))


def reduced(text: str) -> str:
    """What is compared of a text: small letters, single spaces, every number a 0, at most 2,000 characters."""
    plain = unicodedata.normalize("NFKC", text[:_LONGEST]).casefold()
    return " ".join(re.sub(r"[^\w\s]", " ", re.sub(r"\d+(?:[.,]\d+)*", "0", plain)).split())[:_LONGEST]


def shortened(text: str) -> str:
    """A text as an example: one line without control characters, at most 160 characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:_LONGEST]).split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1].rstrip() + "…"


def _telling(text: str) -> str:
    """A reduced text without English function words."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return " ".join(word for word in text.split() if word not in ENGLISH_STOP_WORDS)


def _weighted(texts: Sequence[str]) -> tuple[Any, Any]:
    """A fitted vectorizer and its matrix (texts × terms); twice None where texts have nothing to compare."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion

    # what stands in one text only, or in most, tells no theme from another; with few texts that is nearly everything
    for rarest, commonest in ((2, 0.3), (1, 1.0)) if len(texts) >= 50 else ((1, 1.0),):
        shared = {"preprocessor": _telling, "sublinear_tf": True, "max_features": _MOST_TERMS}
        shared |= {"min_df": rarest, "max_df": commonest}
        words = TfidfVectorizer(analyzer="word", **shared)  # of two letters or more
        pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), **shared)
        usable = [(name, it) for name, it in (("words", words), ("pieces", pieces)) if _fits(it, texts)]
        if usable:
            weights = FeatureUnion(usable)
            return weights, weights.transform(texts)
    return None, None


def _fits(vectorizer: Any, texts: Sequence[str]) -> bool:
    """Whether anything is left of the texts to compare; the vectorizer is then fitted."""
    try:
        vectorizer.fit(texts)
    except ValueError:
        return False
    return True


def _shortened(matrix: Any, dimensions: int) -> Any:
    """The fitted shortening of a matrix; None where it is short enough."""
    from sklearn.decomposition import TruncatedSVD

    most = min(matrix.shape) - 1
    return TruncatedSVD(min(dimensions, most), random_state=SEED).fit(matrix) if most > 2 else None


def _vectors(weights: Any, short: Any, texts: Sequence[str]) -> NDArray[np.float64]:
    """Texts as vectors of length 1 (0 where nothing is known of them), rounded so that last digits decide nothing."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    matrix = weights.transform(texts)
    with threadpool_limits(1):
        dense = short.transform(matrix) if short is not None else matrix.toarray()
    return _length_one(np.where(np.abs(dense) < 1e-9, 0.0, dense))


def _length_one(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.round(vectors / np.where(lengths > 0, lengths, 1), 6))


def _groups(vectors: NDArray[np.float64], number: int) -> NDArray[np.int64]:
    """The group of each vector, by k-means."""
    import numpy as np
    from sklearn.cluster import KMeans

    number = min(number, len(np.unique(vectors, axis=0)))
    return np.asarray(KMeans(number, n_init=10, random_state=SEED).fit_predict(vectors), np.int64)


def _labels(texts: Sequence[str], members: Sequence[NDArray[np.intp]], examples: Sequence[str]) -> list[str]:
    """For each group the three words that tell most: share p of its texts, q of all, by p log(p/q); else its example.

    Two groups with the same words are told apart by a number.
    """
    import numpy as np
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(analyzer=lambda text: sorted(set(_WORD.findall(_telling(text)))), binary=True)
    try:
        has = counter.fit_transform(texts).tocsr()
    except ValueError:  # no text has a word
        return _told_apart([shortened(example)[:60] for example in examples])
    words, everywhere = counter.get_feature_names_out(), np.asarray(has.mean(axis=0)).ravel()
    labels = []
    for mine, example in zip(members, examples, strict=True):
        here = np.asarray(has[mine].mean(axis=0)).ravel()
        told = np.round(here * np.log(np.where(here > 0, here / everywhere, 1)), 9)
        often = (here * len(mine) >= min(2, len(mine))) & (told > 0)
        best = [str(words[i]) for i in np.lexsort((words, -told)) if often[i]][:3]
        labels.append(", ".join(best) or shortened(example)[:60])
    return _told_apart(labels)


def _told_apart(labels: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    told = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        told.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return told
