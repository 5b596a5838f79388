"""Single objects on a real server that speaks S3."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.s3_server import KEY, SECRET, Server
from hapi_pipeline import store as stores
from hapi_pipeline.settings import UserError, find_home
from hapi_pipeline.store import ChangedError, GoneError, ObjectStore, StoreError, checked
from tests.store.between import between


@pytest.fixture
def store(address: str) -> ObjectStore:
    return ObjectStore(address)


@pytest.fixture
def few_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_RETRIES", {"max_retries": 1})


def test_what_is_put_is_listed_and_fetched_whole(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000)
    name = "lake/t/cohort=2026-10/model=GPT%205 (é~)/data.parquet"
    etag = store.put(name, tmp_path / "file")
    assert store.put("lake/note.json", b"{}") != etag
    listed = store.listed("lake")
    assert {k: (v.etag, v.size) for k, v in listed.items()}[name] == (etag, 1000)
    assert set(listed) == {name, "lake/note.json"}
    assert set(store.listed("lake", deep=False)) == {"lake/note.json"}
    assert store.fetch(name, tmp_path / "new" / "copy") == etag
    assert (tmp_path / "new" / "copy").read_bytes() == b"x" * 1000
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["copy"]
    assert store.read("lake/note.json") == (b"{}", store.listed("lake")["lake/note.json"].etag)


def test_a_large_object_arrives_in_parts_and_is_one(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_SINGLE", 1 << 20)
    (tmp_path / "file").write_bytes(bytes(range(256)) * 4096 * 12)
    store.put("large", tmp_path / "file")
    store.fetch("large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "file").read_bytes()


def test_an_object_is_made_once_and_exchanged_by_who_knows_it(store: ObjectStore) -> None:
    first = store.create("lease", b"1")
    assert store.create("lease", b"1") == first, "the same bytes: the answer to the first request was lost"
    with pytest.raises(ChangedError):
        store.create("lease", b"2")
    second = store.exchange("lease", b"2", first)
    with pytest.raises(ChangedError):
        store.exchange("lease", b"3", first)
    assert store.read("lease") == (b"2", second)


def test_a_range_is_of_the_version_that_was_listed_or_nothing(store: ObjectStore) -> None:
    etag = store.put("data", b"0123456789")
    assert store.read_range("data", 2, 5, etag) == b"234"
    store.put("data", b"abcdefghij")
    with pytest.raises(ChangedError):
        store.read_range("data", 2, 5, etag)


def test_what_is_not_there(store: ObjectStore, tmp_path: Path) -> None:
    assert store.read("nothing") is None
    assert store.head("nothing") is None
    assert store.listed("nothing") == {}
    with pytest.raises(GoneError):
        store.fetch("nothing", tmp_path / "goal")
    assert list(tmp_path.glob("**/*goal*")) == []
    store.delete(["nothing"])


def test_a_missing_bucket_is_named(address: str) -> None:
    with pytest.raises(StoreError, match=r"s3://not-there-at-all/x: could not list lake: .*\(NoSuchBucket\)"):
        ObjectStore("s3://not-there-at-all/x").listed("lake")


def test_a_put_that_breaks_off_leaves_what_was_there(
    server: Server, address: str, monkeypatch: pytest.MonkeyPatch, few_retries: None
) -> None:
    with between(server.endpoint) as cutter:
        monkeypatch.setenv("AWS_ENDPOINT_URL", cutter.endpoint)
        store = ObjectStore(address)
        store.put("data", b"old" * 100)
        cutter.cuts = "/data"
        with pytest.raises(StoreError):
            store.put("data", b"new" * 1000)
        assert store.read("data") == (b"old" * 100, store.listed("")["data"].etag)


def test_no_message_tells_a_key(
    server: Server, address: str, monkeypatch: pytest.MonkeyPatch, few_retries: None
) -> None:
    said = []
    with between(server.endpoint) as gate:
        monkeypatch.setenv("AWS_ENDPOINT_URL", gate.endpoint)
        store = ObjectStore(address)
        gate.refuses = "/data"
        with pytest.raises(StoreError, match=r"could not write data: access is denied \(AccessDenied\)") as refused:
            store.put("data", b"")
        said.append(refused)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    store = ObjectStore(address)
    with pytest.raises(StoreError, match="the server cannot be reached") as lost:
        store.put("data", b"")
    said.append(lost)
    for told in said:
        assert told.value.__cause__ is None
        assert told.value.__suppress_context__
        assert not any(word in str(told.value) for word in (KEY, SECRET, "Authorization", "AWSAccessKeyId"))


@pytest.mark.parametrize(
    "given",
    [
        "s3://AKIA:secret@bucket/x",
        "s3://AKIA:12/secret@bucket/x",
        "s3://AKIA:my/secret@bucket/x",
        "s3://[secret/x",
        "s3://bucket/x?aws_secret_access_key=secret",
        "s3://bucket/x#secret",
        "s3:///x",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(UserError) as refused:
        find_home(given)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "used"), [("s3://b/x/", "s3://b/x"), ("gs://b", "gs://b"), ("az://c//x/y", "az://c/x/y")]
)
def test_an_address_is_written_in_one_way(given: str, used: str) -> None:
    assert checked(given) == used
