"""Near-duplicates: what counts as alike, whose cluster a job joins, and that hostile texts stay cheap."""

from __future__ import annotations

import itertools
import random
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline.curation import duplicates
from hapi_pipeline.curation.duplicates import job_clusters, job_signatures, months_before, shingles, similarity
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Duplicates
from tests import scenario

START = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = [a + b + c for a in "bdfglmnprstv" for b in ("a", "e", "io", "u") for c in ("ck", "ll", "rn", "st", "mp")]
Clusters = dict[str, tuple[str, str, float]]


def text_of(seed: int, length: int = 60) -> list[str]:
    return random.Random(seed).choices(WORDS, k=length)


def changed(words: Sequence[str], count: int, seed: int = 0) -> str:
    """The text with so many words in a row at one place replaced: each costs a shingle on either side."""
    at = random.Random(seed).randrange(len(words) - count)
    return " ".join([*words[:at], *(f"other{seed}x{i}" for i in range(count)), *words[at + count :]])


def job(job_id: str, text: str | None, hour: int = 0, **more: Any) -> dict[str, Any]:
    told = {"title": None, "description": text, "posted_at": START + timedelta(hours=hour)}
    return scenario.post(job_id, **told | more)


def cluster(lake: Lake, *jobs: Mapping[str, Any], rules: Duplicates | None = None) -> Clusters:
    """Month by month, as the assets do: the cluster of each job, how it was found and the similarity."""
    months = sorted({j["cohort"] for j in jobs})
    for month in months:
        scope = {"cohort": month}
        rows = [j for j in jobs if j["cohort"] == month]
        lake.write("curated_jobs", scenario.table_of("curated_jobs", rows), scope)
        lake.write("job_signatures", job_signatures(lake, scope), scope)
        lake.write("job_clusters", job_clusters(lake, scope, rules or Duplicates()), scope)
    found = lake.read("job_clusters").to_pylist()
    return {r["job_id"]: (r["cluster_id"], r["method"], r["similarity"]) for r in found}


# ---- what is alike


def test_case_marks_and_encodings_make_no_difference_but_words_do() -> None:
    text = "Résumé for the Café, two PAGES; see file_name 3"
    assert similarity(text, unicodedata.normalize("NFD", text).upper()) == 1.0
    assert shingles("One, two!") == ["one two"]
    assert shingles("a b c d") == ["a b c", "b c d"]
    assert shingles("?!… _ ") == []
    assert similarity("?!", "…") == 0.0
    assert shingles("翻訳する本") == ["翻 訳 す", "訳 す る", "す る 本"]
    assert similarity("翻訳する本を一冊", "翻訳する本を二冊") > 0


@given(st.text(max_size=200), st.text(max_size=200))
def test_similarity_is_symmetric_within_bounds_and_one_for_the_same_words(one: str, other: str) -> None:
    assert 0.0 <= similarity(one, other) == similarity(other, one) <= 1.0
    assert similarity(one, f" {one}!\n") == (1.0 if shingles(one) else 0.0)


def test_the_similarity_of_a_cluster_is_that_of_the_definition(lake: Lake) -> None:
    base = text_of(1)
    later = changed(base, 3)
    found = cluster(lake, job("a", " ".join(base)), job("b", later, 1))
    assert found["b"][:2] == ("a", "near")
    assert found["b"][2] == pytest.approx(similarity(" ".join(base), later))
    assert found["a"] == ("a", "itself", 1.0)


def test_the_threshold_is_met_by_what_is_exactly_at_it(lake: Lake) -> None:
    base = text_of(2, 60)
    later = changed(base, 2)
    at = similarity(" ".join(base), later)
    jobs = job("a", " ".join(base)), job("b", later, 1)
    assert cluster(lake, *jobs, rules=Duplicates(at))["b"][0] == "a"
    assert cluster(lake, *jobs, rules=Duplicates(min(1.0, at + 1e-9)))["b"][0] == "b"


# ---- whose cluster a job joins


def test_no_chain_leads_from_one_job_to_another_that_it_is_not_like(lake: Lake) -> None:
    base = text_of(3, 100)
    steps = [" ".join(f"new{i}" if i < n else w for i, w in enumerate(base)) for n in (0, 8, 16, 24, 32)]
    found = cluster(lake, *(job(f"j{at}", text, at) for at, text in enumerate(steps)))
    assert similarity(steps[1], steps[2]) > 0.8 > similarity(steps[0], steps[2])
    for name, (head, _, _) in found.items():
        assert similarity(steps[int(name[1])], steps[int(head[1])]) >= 0.8
    assert [found[f"j{at}"][0] for at in range(5)] == ["j0", "j0", "j2", "j2", "j4"]


def test_a_job_that_is_like_two_heads_joins_the_earlier_one(lake: Lake) -> None:
    base = text_of(4, 100)
    left, right = changed(base, 8, 1), changed(base, 8, 2)
    assert similarity(left, right) < 0.8 < min(similarity(left, " ".join(base)), similarity(right, " ".join(base)))
    found = cluster(lake, job("z-left", left, 0), job("a-right", right, 1), job("m", " ".join(base), 2))
    assert [found[name][0] for name in ("z-left", "a-right", "m")] == ["z-left", "a-right", "z-left"]


def test_earlier_is_by_month_then_by_time_then_by_id_and_an_unknown_time_comes_last(lake: Lake) -> None:
    text = " ".join(text_of(5))
    found = cluster(lake, job("c", text, 9), job("b", text, 3), job("a", text, 9), job("0", text, 0, posted_at=None))
    assert {head for head, _, _ in found.values()} == {"b"}
    found = cluster(lake, job("b", text, 5), job("a", text, 5), job("0", text, 0, cohort="2026-04"))
    assert {head for head, _, _ in found.values()} == {"a"}


def test_content_is_found_without_a_word_in_common_and_empty_texts_are_like_nothing(lake: Lake) -> None:
    found = cluster(
        lake,
        job("a", "", 0, content_id="twin"),
        job("b", "", 1, content_id="twin"),
        job("c", "", 2),
        job("d", "?!", 3),
        job("e", "?!", 4),
    )
    assert {name: head for name, (head, _, _) in found.items()} == {"a": "a", "b": "a", "c": "c", "d": "d", "e": "e"}
    assert found["b"][1] == "content"


# ---- months


def test_a_later_month_changes_nothing_before_it_and_only_so_many_months_count(lake: Lake) -> None:
    text = text_of(6)
    jobs = [job(f"j{m:02}", changed(text, 1, m), cohort=f"2025-{m:02}") for m in range(1, 13)]
    first = cluster(lake, *jobs, rules=Duplicates(months_back=3))
    assert [first[f"j{m:02}"][0] for m in range(1, 13)] == ["j01"] * 4 + ["j05"] * 4 + ["j09"] * 4
    more = cluster(lake, job("j13", changed(text, 1, 13), cohort="2026-01"), rules=Duplicates(months_back=3))
    assert more == first | {"j13": ("j13", "itself", 1.0)}


def test_the_head_of_another_month_is_named_with_its_month(lake: Lake) -> None:
    text = text_of(7)
    cluster(lake, job("a", " ".join(text), cohort="2025-12"), job("b", changed(text, 1), cohort="2026-01"))
    rows = {r["job_id"]: r for r in lake.read("job_clusters").to_pylist()}
    assert rows["b"]["head_cohort"] == "2025-12"
    assert rows["a"]["head_cohort"] == "2025-12"


def test_a_job_that_has_changed_its_month_is_not_like_itself(lake: Lake) -> None:
    text = " ".join(text_of(8))
    cluster(lake, job("a", text, cohort="2025-12"))
    assert cluster(lake, job("a", text, cohort="2026-01"))["a"] == ("a", "itself", 1.0)


def test_months_before() -> None:
    assert months_before("2026-02", 4) == ["2026-01", "2025-12", "2025-11", "2025-10"]
    assert months_before("2026-02", 0) == []


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_clusters_are_those_of_the_definition_in_any_order_of_rows(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against comparing everything with everything, on texts of few words, so that many are alike."""
    drawn = data.draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 5), st.sampled_from(["2026-01", "2026-02"])),
            min_size=1,
            max_size=14,
        )
    )
    jobs = [
        job(f"j{at:02}", changed(text_of(base, 40), 1 + edits, edits), hour, cohort=month)
        for at, (base, edits, hour, month) in enumerate(drawn)
    ]
    expected: dict[str, str] = {}
    heads: list[dict[str, Any]] = []
    for one in sorted(jobs, key=lambda j: (j["cohort"], j["posted_at"], j["job_id"])):
        like = [h for h in heads if similarity(one["description"], h["description"]) >= 0.8]
        expected[one["job_id"]] = like[0]["job_id"] if like else one["job_id"]
        heads += [] if like else [one]
    shuffled = data.draw(st.permutations(jobs))
    lake = Lake(tmp_path_factory.mktemp("any") / "lake")
    assert {name: head for name, (head, _, _) in cluster(lake, *shuffled).items()} == expected


# ---- signatures


def test_nearly_every_pair_at_the_threshold_becomes_a_candidate_and_few_unlike_ones_do() -> None:
    """Recall of the bands against all pairs of a family of texts, by similarity."""
    texts = [changed(text_of(base, 120), 1 + edits % 6, edits) for base in range(4) for edits in range(90)]
    keys = [set(found) for _, found in duplicates.signatures(texts)]
    runs = [set(shingles(text)) for text in texts]
    found: dict[bool, list[bool]] = {True: [], False: []}
    for a, b in itertools.combinations(range(len(texts)), 2):
        alike = len(runs[a] & runs[b]) / len(runs[a] | runs[b])
        if alike >= 0.8 or alike < 0.2:
            found[alike >= 0.8].append(bool(keys[a] & keys[b]))
    assert len(found[True]) > 300
    assert sum(found[True]) / len(found[True]) >= 0.999
    assert sum(found[False]) / len(found[False]) < 0.02


def test_signatures_never_change_from_one_version_to_the_next() -> None:
    """They are kept: other numbers for the same text would hide the duplicates of earlier months."""
    (count, keys), nothing = duplicates.signatures(["Sort the shelves by colour, please.", "..."])
    assert (count, nothing, len(keys)) == (4, (0, []), 1 + duplicates.BANDS)
    assert keys[:3] == PINNED


PINNED = [-6105855525631449139, -1547914105311604506, 5884487335074681156]


# ---- hostile texts


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each comparison of two texts."""
    calls: list[int] = []
    overlap: Callable[..., float] = duplicates._overlap
    monkeypatch.setattr(duplicates, "_overlap", lambda *a: calls.append(1) or overlap(*a))  # type: ignore[func-returns-value]
    return calls


def test_a_thousand_posts_that_are_the_same_take_no_comparison(lake: Lake, compared: list[int]) -> None:
    text = " ".join(text_of(9))
    found = cluster(lake, *(job(f"j{at:04}", text, at) for at in range(1000)))
    assert {head for head, _, _ in found.values()} == {"j0000"}
    assert not compared


def test_posts_that_are_all_somewhat_alike_take_a_bounded_number_of_comparisons(
    lake: Lake, compared: list[int]
) -> None:
    shared = text_of(10, 100)
    jobs = [job(f"j{at:03}", " ".join([*shared, *text_of(1000 + at, 30)]), at) for at in range(400)]
    assert 0.5 < similarity(jobs[0]["description"], jobs[1]["description"]) < 0.8
    found = cluster(lake, *jobs)
    assert {name for name, (head, _, _) in found.items() if head == name} == {j["job_id"] for j in jobs}
    assert len(compared) <= duplicates.MOST_CANDIDATES * len(jobs) < 400 * 399 / 2 / 5


def test_a_text_of_a_megabyte_and_a_run_of_combining_marks_are_no_trouble(lake: Lake, tmp_path: Path) -> None:
    long = " ".join(random.Random(1).choices(WORDS, k=150_000))
    marks = "e" + "\u0301\u0323" * 200_000
    found = cluster(lake, job("a", long), job("b", long + " end", 1), job("c", marks, 2), job("d", marks, 3))
    assert [found[name][0] for name in "abcd"] == ["a", "a", "c", "c"]


def test_texts_are_taken_in_blocks_whatever_their_size(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    base = text_of(11, 60)
    jobs = [job(f"j{at:02}", changed(base if at % 2 else text_of(12, 60), 1, at), at) for at in range(20)]
    whole = cluster(lake, *jobs)
    monkeypatch.setattr(duplicates, "_MOST_SHINGLES", 100)
    assert cluster(lake, *jobs) == whole
    assert {head for head, _, _ in whole.values()} == {"j00", "j01"}


def test_an_empty_month_has_no_clusters(lake: Lake) -> None:
    scope = {"cohort": "2026-03"}
    assert job_signatures(lake, scope).num_rows == 0
    assert job_clusters(lake, scope, Duplicates()).num_rows == 0
