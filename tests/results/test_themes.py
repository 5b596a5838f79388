"""Themes of criteria: found where they were planted, the same in any order, kept when months are added."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hapi_pipeline import engine, themes
from hapi_pipeline.lake import Lake
from hapi_pipeline.parameters import constant_relations
from hapi_pipeline.registry import Benchmark, Registry
from hapi_pipeline.settings import UserError
from hapi_pipeline.themes import Themes, find_themes, first_texts
from tests import scenario
from tests.scenario import ALPHA, BETA, COHORT

PLANTED = {
    "sheet": (
        "The {} of the spreadsheet {}",
        ["column headers", "rows", "first sheet", "cells of each column", "totals row", "formulas"],
        ["match the sample workbook", "are sorted by date", "hold no blanks", "add up at the end", "keep the currency"],
    ),
    "drawing": (
        "The {} of the model {}",
        ["wall thickness", "hole spacing", "outer diameter", "mesh", "bracket height", "fillet radius"],
        [
            "is 4 mm",
            "fits the drawing within 0.2 mm",
            "is watertight",
            "is stated in millimetres",
            "matches the drawing",
        ],
    ),
    "language": (
        "The translation {} and {}",
        ["keeps the German terms", "reads like a native wrote it", "leaves names untranslated", "follows the glossary"],
        ["has no false friends", "no sentence of the source is lost", "keeps the punctuation", "uses one word a term"],
    ),
    "sources": (
        "Every {} {}",
        ["claim", "statistic", "quotation", "source", "reference"],
        ["is cited with author and year", "names its source", "appears in the bibliography", "is cited in APA style"],
    ),
    "code": (
        "The {} {}",
        ["script", "function", "unit test", "command line tool", "module"],
        [
            "runs without errors on Python",
            "has tests that pass",
            "handles missing input",
            "is explained in a docstring",
        ],
    ),
    "mail": (
        "Each {} email {}",
        ["follow-up", "cold", "welcome", "reminder", "sales"],
        [
            "has a short subject line",
            "ends with a call to action",
            "greets the reader by name",
            "offers to unsubscribe",
        ],
    ),
}
TEXTS = {
    pattern.format(a, b): theme for theme, (pattern, *parts) in PLANTED.items() for a, b in itertools.product(*parts)
}


@pytest.fixture(scope="module")
def found() -> Themes:
    return find_themes(list(TEXTS), wanted=len(PLANTED))


# ---- finding them


def test_planted_themes_are_found(found: Themes) -> None:
    from sklearn.metrics import adjusted_rand_score

    ids, near = found.of(list(TEXTS))
    assert adjusted_rand_score(list(TEXTS.values()), ids) >= 0.8
    assert ids.min() >= 1
    assert float(near.min()) > themes.NEAREST


def test_labels_are_words_that_their_criteria_hold(found: Themes) -> None:
    ids, _ = found.of(list(TEXTS))
    assert (found.labels[0], found.examples[0]) == ("other", None)
    assert len(set(found.labels)) == len(found.labels) == len(PLANTED) + 1
    for theme, (label, example) in enumerate(zip(found.labels, found.examples, strict=True)):
        members = [text.casefold() for text, i in zip(TEXTS, ids, strict=True) if i == theme]
        for word in label.split(", ") if theme else ():
            assert sum(word in text for text in members) >= 2, (word, label)
        assert example is None or example.casefold() in members
    assert {"spreadsheet", "translation", "email"} <= {w for label in found.labels for w in label.split(", ")}


def test_order_and_repetition_make_no_difference(found: Themes) -> None:
    texts = list(TEXTS) * 2
    random.Random(3).shuffle(texts)
    again = find_themes(texts, wanted=len(PLANTED))
    assert (again.labels, again.examples) == (found.labels, found.examples)
    assert again.of(list(TEXTS))[0].tolist() == found.of(list(TEXTS))[0].tolist()


def test_the_largest_theme_comes_first(found: Themes) -> None:
    ids = found.of(list(TEXTS))[0].tolist()
    sizes = [ids.count(i) for i in range(1, len(found.labels))]
    assert sizes == sorted(sizes, reverse=True)


def test_what_is_like_nothing_known_belongs_to_no_theme(found: Themes) -> None:
    ids, near = found.of(["", "?!", "Ω≈ç√∫", "кошка спит на диване"])
    assert ids.tolist() == [0] * 4
    assert float(near.max()) < themes.NEAREST


def test_numbers_case_and_blanks_make_no_new_criterion() -> None:
    assert themes.reduced("The  shelf is\t48,5 mm HIGH.") == themes.reduced("the shelf is 1200 mm high")


def test_as_many_themes_as_criteria_allow() -> None:
    assert [themes.number_of_themes(n) for n in (0, 1, 8, 50, 322, 800, 10**6)] == [1, 1, 2, 5, 13, 20, 20]
    assert find_themes([]).of(["anything"])[0].tolist() == [0]
    assert find_themes(["", "?"]).labels == ("other",)
    assert find_themes(["All rows are kept"]).of(["all rows are kept!"])[0].tolist() == [1]
    assert len(find_themes(["All rows are kept", "No row is lost"], wanted=20).labels) <= 3


HOSTILE = [
    "",
    " \n\t",
    "\x00\x1b[31mred",
    "🙂" * 50,
    "=HYPERLINK(1)",
    "<script>alert('x')</script><b>Bold</b> claims",
    "x" * 100_000,
    "word " * 20_000,
    "1",
    "the of and",
    "'; DROP TABLE rubrics; --",
    "{{7*7}} %s {0}",
    "\u202etfel ot thgir",
    "ﬁne ligature",
]


@pytest.mark.parametrize("more", [[], list(TEXTS)], ids=["alone", "among others"])
def test_hostile_texts_do_no_harm(more: list[str]) -> None:
    made = find_themes([*HOSTILE, *more])
    ids, near = made.of(HOSTILE)
    assert all(0 <= i < len(made.labels) for i in ids)
    assert all(0 <= n <= 1.000001 for n in near)
    for text in (*made.labels, *(e for e in made.examples if e)):
        assert text.isprintable()
        assert len(text) <= 160


def test_other_languages_have_themes_too() -> None:
    german = [
        f"Die {a} der Übersetzung {b}"
        for a in ("Begriffe", "Namen")
        for b in ("stimmen", "bleiben gleich", "fehlen nicht")
    ]
    greek = [
        f"Ο πίνακας {a} {b}" for a in ("εσόδων", "εξόδων") for b in ("έχει σύνολο", "είναι πλήρης", "ταξινομείται")
    ]
    japanese = [f"{a}の画像は{b}" for a in ("商品", "製品") for b in ("背景が白い", "鮮明である", "大きさが同じ")]
    made = find_themes([*german, *greek, *japanese], wanted=3)
    groups = [set(made.of(texts)[0].tolist()) for texts in (german, greek, japanese)]
    assert [len(g) for g in groups] == [1, 1, 1]
    assert len(set.union(*groups)) == 3


# ---- from month to month


def imported(*months: list[str]) -> list[tuple[Any, str]]:
    return [(scenario.NOON + timedelta(days=30 * i), text) for i, texts in enumerate(months) for text in texts]


def test_themes_are_found_on_the_first_imports_with_enough_criteria(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(themes, "ENOUGH_TEXTS", 3)
    assert first_texts(imported(["a b", "c d"])) == (["a b", "c d"], False)
    assert first_texts(imported(["a b", "c d"], ["e f", "g h"])) == (["a b", "c d", "e f", "g h"], True)
    assert first_texts(imported(["a b", "c d", "e f"], ["g h"])) == (["a b", "c d", "e f"], True)
    assert first_texts(imported(["a b", "A b!", "a  b"], ["c d"])) == (["a b", "c d"], False), "three times the same"
    assert first_texts([]) == ([], False)


def rubric_rows(texts: list[str], month: int) -> list[dict[str, Any]]:
    return [
        scenario.criterion(
            f"job-{month}-{i // 10}",
            f"c{i % 10}",
            "critical",
            text=text,
            imported_at=scenario.NOON + timedelta(days=30 * month),
            source_sha256=f"{month:064}",
            source_row=i,
        )
        for i, text in enumerate(texts)
    ]


def themes_of(lake: Lake, registry: Registry, months: list[list[str]]) -> dict[tuple[str, str], dict[str, Any]]:
    for month, texts in enumerate(months):
        if lake.files("rubrics", {"cohort": f"2026-0{month + 1}"}):
            continue
        rows = rubric_rows(texts, month)
        scenario.take_in(lake, "rubrics", "rubric_exports", rows)
        keys = {"cohort": f"2026-0{month + 1}"}
        lake.write("rubrics", scenario.table_of("rubrics", [r | keys for r in rows]), keys)
        jobs = [
            scenario.post(j) | keys | {"rubric_version": "r1", "n_criteria": 10} for j in {r["job_id"] for r in rows}
        ]
        lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", jobs), keys)
    made = themes.criterion_themes(lake, registry, {})
    return {(r["job_id"], r["criterion_id"]): r for r in made.to_pylist()}


def test_a_month_more_leaves_every_theme_as_it_was(
    lake: Lake, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(themes, "ENOUGH_TEXTS", 60)
    texts = list(TEXTS)
    random.Random(1).shuffle(texts)
    before = themes_of(lake, registry, [texts[:90]])
    new = [*texts[90:], "Every beetle of the terrarium has a name", *HOSTILE[:6]]
    after = themes_of(lake, registry, [texts[:90], new])
    assert len(before) == 90
    assert len(after) == 90 + len(new)
    assert {k: after[k] for k in before} == before
    assert {r["provisional"] for r in after.values()} == {False}
    own = {text: r for r, text in ((after[k], t) for k, t in zip(after, [*texts[:90], *new], strict=True))}
    mails = {own[t]["theme_id"] for t in texts[90:] if TEXTS[t] == "mail"}
    assert len(mails) == 1, "what comes later joins the theme of its kind"


def test_too_few_criteria_make_provisional_themes(lake: Lake, registry: Registry) -> None:
    assert {r["provisional"] for r in themes_of(lake, registry, [list(TEXTS)[:20]]).values()} == {True}


def test_only_criteria_of_the_benchmark_are_listed_and_html_is_read(lake: Lake, registry: Registry) -> None:
    rows = themes_of(lake, registry, [["<p>All <b>rows</b> are kept</p>"] * 10])
    assert {r["example_criterion"] for r in rows.values()} == {"All rows are kept"}
    keys = {"cohort": "2026-01"}
    lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", []), keys)
    assert themes_of(lake, registry, []) == {}


def test_the_number_of_themes_is_checked(tmp_path: Path, registry: Registry) -> None:
    text = (registry.folder / "benchmark.yaml").read_text("utf-8")
    for value in ("1", "many", "0.5", "true", "101"):
        (tmp_path / "benchmark.yaml").write_text(text.replace("themes: null", f"themes: {value}"), "utf-8")
        with pytest.raises(UserError, match=r"results\.themes"):
            _ = Registry(tmp_path).benchmark
    (tmp_path / "benchmark.yaml").write_text(text.replace("themes: null", "themes: 12"), "utf-8")
    assert Registry(tmp_path).benchmark.results.themes == 12


# ---- where failures lie


def failures(benchmark: Benchmark, rows: list[dict[str, Any]], theme: Mapping[str, int]) -> dict[Any, dict[str, Any]]:
    told = [
        {"job_id": j, "criterion_id": c, "theme_id": t, "theme": f"theme {t}", "theme_similarity": 1.0}
        | {"provisional": False, "simulated": False}
        for j in {r["job_id"] for r in rows}
        for c, t in theme.items()
    ]
    given = constant_relations(benchmark) | {
        "criterion_outcomes": scenario.table_of("criterion_outcomes", rows),
        "criterion_themes": scenario.table_of("criterion_themes", told),
    }
    made: pa.Table = engine.run(Lake(Path("nowhere")), engine.query("failure_themes"), {}, {}, given)
    return {(r["model"], r["round"], r["theme_id"]): r for r in made.to_pylist()}


def attempt(model: str, round_: str, job: str, passes: str, fails: str, **changes: Any) -> dict[str, Any]:
    return {
        "attempt_id": f"{model} {round_} {job}",
        "cohort": COHORT,
        "model": model,
        "round": round_,
        "job_id": job,
        "is_current": True,
        "n_criteria": 3,
        "passes": passes.split(),
        "fails": fails.split(),
        "simulated": False,
    } | changes


def test_failures_lie_where_they_were_put(benchmark: Benchmark) -> None:
    rows = [
        attempt(ALPHA, "agent_alone", "j1", "a", "b c"),
        attempt(ALPHA, "agent_alone", "j2", "a b c", ""),
        attempt(ALPHA, "feedback_1", "j1", "a b", ""),  # c: nobody can say
        attempt(BETA, "agent_alone", "j1", "", "a b c"),
        attempt(BETA, "agent_alone", "j2", "", "", is_current=False),
    ]
    found = failures(benchmark, rows, {"a": 1, "b": 1, "c": 2})
    columns = ("n_jobs", "n_criteria", "n_judged", "n_failed", "n_unjudged", "n_all_judged", "n_all_failed")

    def counts(*key: Any) -> list[int]:
        return [found[key][c] for c in columns]

    assert counts(ALPHA, "agent_alone", 1) == [2, 4, 4, 1, 0, 6, 2]
    assert counts(ALPHA, "agent_alone", 2) == [2, 2, 2, 1, 0, 6, 2]
    # after the turn j2 stands as it did, and j1 as its newest attempt
    assert counts(ALPHA, "feedback_1", 1) == [2, 4, 4, 0, 0, 5, 0]
    assert counts(ALPHA, "feedback_1", 2) == [2, 2, 1, 0, 1, 5, 0]
    assert counts("(all)", "agent_alone", 1) == [2, 6, 6, 3, 0, 9, 5]
    row = found["(all)", "agent_alone", 1]
    assert (row["share_of_criteria"], row["share_of_failures"], row["fail_rate"]) == (6 / 9, 3 / 5, 3 / 6)
    assert row["share_of_failures_lo"] < 3 / 5 < row["share_of_failures_hi"]
    none = found[ALPHA, "feedback_1", 1]
    assert (none["share_of_failures"], none["share_of_failures_lo"], none["fail_rate"]) == (None, None, 0.0)
    for round_ in ("agent_alone", "feedback_1", "feedback_2", "retry_1"):
        assert sum(found[ALPHA, round_, t]["share_of_criteria"] for t in (1, 2)) == pytest.approx(1)


def test_intervals_take_criteria_of_a_client_as_alike(benchmark: Benchmark) -> None:
    import numpy as np
    import statsmodels.api as sm
    from scipy import stats
    from statsmodels.stats.proportion import proportion_confint

    rng = random.Random(5)
    rows = [
        attempt(ALPHA, "agent_alone", f"j{i}", " ".join(c for c in "abc" if c not in failed), " ".join(failed))
        | {"client_id": f"k{i % 7}" if i % 3 else None}
        for i, failed in enumerate([[c for c in "abc" if rng.random() < 0.4] for _ in range(30)])
    ]
    row = failures(benchmark, rows, {"a": 1, "b": 1, "c": 2})[ALPHA, "agent_alone", 1]
    failed = [(r["client_id"] or r["job_id"], c != "c") for r in rows for c in r["fails"]]
    judged = [(r["client_id"] or r["job_id"], c in r["fails"]) for r in rows for c in "ab"]
    for values, name in ((failed, "share_of_failures"), (judged, "fail_rate")):
        y, groups = np.array([float(v) for _, v in values]), np.unique([k for k, _ in values], return_inverse=True)[1]
        fit = sm.OLS(y, np.ones(len(y))).fit(cov_type="cluster", cov_kwds={"groups": groups})
        n, p, c = len(y), float(y.mean()), groups.max() + 1
        size = min(n, p * (1 - p) * n / (n - 1) / float(fit.cov_params()[0, 0]))
        size *= float(stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, c - 1)) ** 2
        expected = proportion_confint(p * size, size, method="wilson")
        assert [row[f"{name}_lo"], row[f"{name}_hi"]] == pytest.approx(expected, abs=1e-9)
