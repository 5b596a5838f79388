"""The bundled sample: remade to the byte, and what it promises."""

import csv
import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from hapi_pipeline.settings import shipped
from hapi_pipeline.simulate import sample
from hapi_pipeline.simulate.posts import reasons
from hapi_pipeline.simulate.published import published_cells

BUNDLED = shipped("data/sample")
BY_HAND = {"README.md", "models.yaml", "graders.yaml", "published_results.csv", ".gitattributes"}


@pytest.fixture(scope="module")
def made() -> sample.Sample:
    return sample.build()


@pytest.fixture(scope="module")
def remade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    sample.main([str(folder)], show=lambda _: None)
    return folder


def test_the_sample_is_remade_to_the_byte(remade: Path) -> None:
    assert {p.name for p in remade.iterdir()} == {p.name for p in BUNDLED.iterdir()} - BY_HAND
    for path in sorted(remade.iterdir()):
        new, old = path.read_bytes(), (BUNDLED / path.name).read_bytes()
        if path.suffix == ".gz":  # what zlib makes of the same text may differ from version to version
            new, old = gzip.decompress(new), gzip.decompress(old)
        assert new == old, path.name


def test_another_seed_gives_other_posts(made: sample.Sample) -> None:
    titles = {p.title for p in sample.build(seed=7).posts}
    assert titles != {p.title for p in made.posts}


def test_category_counts_are_the_published_ones(made: sample.Sample) -> None:
    published = {c.category: c.n_jobs for c in published_cells()}
    assert Counter(p.kind.category for p in made.qualifying) == published
    assert Counter(p.month for p in made.qualifying) == {"2026-08": 100, "2026-09": 107, "2026-10": 115}
    assert len(made.posts) == 2000


def test_nine_in_ten_qualifying_prices_lie_within_10_and_200(made: sample.Sample) -> None:
    prices = sorted(float(p.amount) for p in made.qualifying)
    assert sum(10 <= price <= 200 for price in prices) == 290
    assert prices[0] > 0
    assert prices[-1] == 499.99


def test_qualifying_posts_have_every_fact_in_order(made: sample.Sample) -> None:
    for post in made.qualifying:
        assert (post.type, post.status, post.payment, post.milestones, post.revised, post.currency) == (
            "fixed_budget",
            "Completed",
            "released",
            "1",
            "no",
            "USD",
        )
        known = [t for t in (post.posted, post.started, post.completed, post.modified) if t]
        assert len(known) == 4
        assert known == sorted(known)
        assert f"{known[2]:%Y-%m}" == post.month
        assert 5 <= len(post.criteria) <= 20


def test_posts_fail_in_every_way_and_some_in_several(made: sample.Sample) -> None:
    found = [reasons(p) for p in made.posts]
    seen = {reason for each in found for reason in each}
    assert seen == {*sample.SPOILED, *sample.RUBRIC_SIZES, "duplicate"}
    assert sum(len(each) > 1 for each in found) > 200
    only_once = {each[0] for each in found if len(each) == 1}
    assert {"personal_data", "price_at_limit", "unknown_milestones", "duplicate", "no_rubric"} <= only_once


def test_a_duplicate_repeats_a_qualifying_post_of_the_same_month_under_a_larger_id(
    made: sample.Sample,
) -> None:
    by_id = {p.uid: p for p in made.posts}
    copies = [p for p in made.posts if p.duplicate_of]
    assert len(copies) == sample.DUPLICATES
    for copy in copies:
        first = by_id[copy.duplicate_of]
        assert not reasons(first)
        assert first.uid < copy.uid
        for name in ("client", "title", "description", "amount", "month"):
            assert getattr(copy, name) == getattr(first, name)


def test_no_two_other_posts_have_the_same_content(made: sample.Sample) -> None:
    contents = Counter((p.client, p.title, p.description) for p in made.posts if not p.duplicate_of)
    assert contents.most_common(1)[0][1] == 1
    assert len({p.uid for p in made.posts}) == len(made.posts)


def test_criteria_can_be_found_by_their_text(made: sample.Sample) -> None:
    for post in made.posts:
        texts = [text.casefold() for _, text in post.criteria]
        for at, text in enumerate(texts):
            assert re.fullmatch(r"[ -{}~]+", text), text  # one line of ASCII, no bar
            assert text == text.strip()
            assert not any(text in other for other in texts[:at] + texts[at + 1 :])


def test_texts_leave_no_slot_open(made: sample.Sample) -> None:
    for post in made.posts:
        for text in (post.title, post.description, *(t for _, t in post.criteria)):
            assert not set("{}") & set(text)
            assert "  " not in text
            assert text[0] == text[0].upper()


def test_rubrics_mix_importance(made: sample.Sample) -> None:
    counts = Counter(importance for p in made.qualifying for importance, _ in p.criteria)
    assert set(counts) == {"critical", "important", "optional", "pitfall"}
    assert min(counts.values()) > 300
    assert all(any(i == "critical" for i, _ in p.criteria) for p in made.qualifying)


def test_clean_posts_hold_no_personal_data_and_the_others_do(made: sample.Sample) -> None:
    pii = pytest.importorskip("hapi_pipeline.curation.pii")
    texts = [f"{p.title}\n{p.description}" for p in made.posts]
    for post, findings in zip(made.posts, pii.scan_texts(texts), strict=True):
        decision = pii.decide(findings)
        assert getattr(decision, "value", decision) == ("reject" if post.personal else "keep"), post.title


def test_truth_gives_the_published_cells(made: sample.Sample) -> None:
    category = {p.uid: p.kind.category for p in made.qualifying}
    reached = {"agent_alone": {"agent_alone"}, "feedback_1": {"agent_alone", "feedback_1"}}
    for cell in published_cells():
        count = sum(
            t.completes in reached[cell.round]
            for (job, model), t in made.truth.items()
            if model == cell.model and category[job] == cell.category
        )
        assert count == cell.count, cell
    assert len(made.truth) == 322 * 3


def test_the_control_arm_rescues_less_than_feedback(made: sample.Sample) -> None:
    for model in sample.MODELS:
        truths = [t for (_, m), t in made.truth.items() if m == model]
        helped = sum(t.completes == "feedback_1" for t in truths)
        retried = sum(t.retry_1 for t in truths)
        assert 0.3 * helped < retried < 0.9 * helped
        assert not any(t.retry_1 and t.completes == "agent_alone" for t in truths)
        assert sum(t.completes == "feedback_2" for t in truths) > 10


def test_drops_arrive_in_three_forms() -> None:
    first = (BUNDLED / "jobs_2026-08.csv").read_bytes()
    assert first.startswith(b"\xef\xbb\xbf")
    assert first.count(b"\r\n") == 671 + 1
    assert b"&amp;" in first
    assert b"&#x27;" in first
    heads = [
        next(csv.reader(text.splitlines()))
        for text in (first.decode("utf-8-sig"), (BUNDLED / "jobs_2026-09.csv").read_text("utf-8"))
    ]
    assert set(heads[0]) - set(heads[1]) == {"client_country", "skills", "connects"}
    assert set(heads[1]) - set(heads[0]) == {"country", "promoted"}
    lines = gzip.decompress((BUNDLED / "jobs_2026-10.jsonl.gz").read_bytes()).decode().splitlines()
    broken = [line for line in lines if not line.endswith("}")]
    assert broken == [sample.UNREADABLE]
    rows = [json.loads(line) for line in lines if line not in broken]
    assert {type(r["skills"]) for r in rows} == {list}
    assert sum(not r["uid"] for r in rows) == 1


def test_an_id_that_comes_again_is_newer(made: sample.Sample) -> None:
    first, second, third = made.drops.values()
    for before, after in ((first, second), (second, third)):
        early = {p.uid: p for p in before if p.uid}
        again = [p for p in after if p.uid in early]
        assert again
        for post in again:
            before_and_after = [p.modified for p in (early[post.uid], post) if p.modified]
            assert len(set(before_and_after)) == 2
            assert before_and_after == sorted(before_and_after)


def test_expected_counts_add_up() -> None:
    expected = json.loads((BUNDLED / "expected.json").read_text("utf-8"))
    assert expected["qualifying"] + sum(expected["first_reason"].values()) == expected["posts"] == 2000
    assert sum(expected["posts_by_month"].values()) == 2000
    assert len(expected["reasons"]) == 2000 - 322
    assert len(expected["impossible_cells"]) == 9


def test_the_sample_is_small() -> None:
    assert sum(p.stat().st_size for p in BUNDLED.iterdir()) < 3_000_000


def test_models_are_the_published_ones() -> None:
    from hapi_pipeline.registry import Registry

    models = Registry(BUNDLED).models
    assert {m.name: (m.litellm or "").removeprefix("hosted_vllm/") for m in models} == sample.MODELS
    assert all(m.simulated and m.prices and m.pool.name == "simulated" and m.pool.concurrency == 64 for m in models)


def test_the_source_maps_the_columns_of_every_drop() -> None:
    from hapi_pipeline.registry import Registry
    from hapi_pipeline.simulate.market import COLUMNS

    source = Registry(shipped("data/registry")).source("sample_market")
    assert source.simulated
    named = set(re.findall(r"[a-z_]+", " ".join(source.fields.values())))
    assert set(COLUMNS) - named == {"hourly_rate", "connects"}
