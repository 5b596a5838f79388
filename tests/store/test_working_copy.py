"""What a machine has of a home in an object store, and what it puts there."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from bench.s3_server import Server
from hapi_pipeline.agents.ledger import AttemptLedger
from hapi_pipeline.copies import Note, WorkingCopy, brought, copy_of, open_copy
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import UserError, find_home
from tests.store.conftest import Machine

ATTEMPT = "sim-x/agent_alone/0123456789ab-at_1"


@pytest.fixture
def copy(address: str) -> WorkingCopy:
    return open_copy(address)


def put(copy: WorkingCopy, name: str, data: bytes) -> None:
    """As another machine would."""
    copy.store.put(name, data)


def seen(copy: WorkingCopy, name: str) -> bytes | None:
    """As a machine that looks at it now."""
    copy.look_again()
    path = brought(copy.folder / name)
    return path.read_bytes() if path.exists() else None


def test_a_home_is_made_once_and_found_by_every_machine(address: str, machine: Machine) -> None:
    home = find_home(address).ensure()
    rules = home.registry / "benchmark.yaml"
    rules.write_text(rules.read_text().replace("version: 1", "version: 7"))
    home.send()
    machine("b")
    other = find_home(address)
    assert other.root != home.root
    assert other.exists()
    assert other.address == address
    assert other.ensure().registry.joinpath("benchmark.yaml").read_text() == rules.read_text()
    assert Registry.of(other).benchmark.version


def test_the_working_folder_names_the_same_home(address: str, machine: Machine) -> None:
    home = find_home(address).ensure()
    machine("a")
    again = find_home(home.root)
    assert again == home
    assert again.address == address


def test_the_working_folder_is_for_its_owner_only(copy: WorkingCopy) -> None:
    assert copy.folder.stat().st_mode & 0o077 == 0


def test_a_home_on_a_disk_has_no_copy(tmp_path: Path, copy: WorkingCopy) -> None:
    assert copy_of(tmp_path / "home" / "lake") is None
    assert brought(tmp_path / "home" / "lake") == tmp_path / "home" / "lake"
    assert find_home(tmp_path / "home").address == str(tmp_path / "home")


@pytest.mark.parametrize("part", [".dagster", ".cache", "inbox", ".copies.sqlite"])
def test_what_belongs_to_the_machine_is_not_kept_in_the_store(copy: WorkingCopy, part: str) -> None:
    assert copy_of(copy.folder / part / "x") is None


def test_another_version_is_brought_and_what_was_removed_goes(copy: WorkingCopy) -> None:
    name = "packets/pk_1/brief.html"
    put(copy, name, b"one")
    assert seen(copy, name) == b"one"
    put(copy, name, b"two")
    assert seen(copy, name) == b"two"
    copy.store.delete([name])
    assert seen(copy, name) is None


def test_a_copy_that_was_lost_or_damaged_is_brought_again(copy: WorkingCopy) -> None:
    put(copy, "lake/t/data.parquet", b"good")
    assert seen(copy, "lake/t/data.parquet") == b"good"
    (copy.folder / "lake/t/data.parquet").write_bytes(b"evil")
    assert seen(copy, "lake/t/data.parquet") == b"good"
    (copy.folder / "lake/t/data.parquet").unlink()
    assert seen(copy, "lake/t/data.parquet") == b"good"


def test_what_another_process_of_this_machine_made_meanwhile_is_left_alone(copy: WorkingCopy) -> None:
    put(copy, "lake/t/cohort=2026-09/data.parquet", b"x")
    copy.begin()
    brought(copy.folder / "lake/t/cohort=2026-09")
    made = copy.folder / "lake/t/cohort=2026-10/data.parquet"
    made.parent.mkdir()
    made.write_bytes(b"y")
    WorkingCopy(copy.address, copy.folder).put(copy.name_of(made), made)
    assert brought(made).read_bytes() == b"y"
    assert [p.name for p in brought(made.parent).iterdir()] == ["data.parquet"]
    copy.end()


def test_only_what_is_asked_for_is_brought(copy: WorkingCopy) -> None:
    for month in ("2026-09", "2026-10"):
        put(copy, f"lake/t/cohort={month}/data.parquet", b"x")
    brought(copy.folder / "lake/t/cohort=2026-09/data.parquet")
    assert [p.parent.name for p in copy.folder.glob("lake/t/*/*")] == ["cohort=2026-09"]


def test_nothing_is_brought_twice(copy: WorkingCopy, machine: Machine) -> None:
    put(copy, "packets/pk/a", b"x")
    assert seen(copy, "packets/pk/a") == b"x"
    before = (copy.folder / "packets/pk/a").stat()
    machine("a")
    brought(open_copy(copy.address).folder / "packets")
    assert os.path.samestat(before, (copy.folder / "packets/pk/a").stat())


def test_a_file_that_is_there_already_counts_as_a_copy(copy: WorkingCopy) -> None:
    put(copy, "registry/models.yaml", b"models: []")
    (copy.folder / "registry").mkdir()
    (copy.folder / "registry/models.yaml").write_bytes(b"models: []")
    inode = (copy.folder / "registry/models.yaml").stat().st_ino
    assert seen(copy, "registry/models.yaml") == b"models: []"
    assert (copy.folder / "registry/models.yaml").stat().st_ino == inode


def test_rules_edited_here_are_sent(copy: WorkingCopy, machine: Machine) -> None:
    put(copy, "registry/models.yaml", b"models: []")
    assert seen(copy, "registry/models.yaml")
    (copy.folder / "registry/models.yaml").write_bytes(b"models: [{name: Mine}]")
    assert seen(copy, "registry/models.yaml") == b"models: [{name: Mine}]"
    copy.send_changed()
    machine("b")
    assert seen(open_copy(copy.address), "registry/models.yaml") == b"models: [{name: Mine}]"


def test_rules_edited_here_and_elsewhere_are_refused_and_both_are_kept(copy: WorkingCopy) -> None:
    put(copy, "registry/models.yaml", b"models: []")
    assert seen(copy, "registry/models.yaml")
    (copy.folder / "registry/models.yaml").write_bytes(b"models: [{name: Mine}]")
    put(copy, "registry/models.yaml", b"models: [{name: Theirs}]")
    with pytest.raises(UserError, match="put your version of it elsewhere"):
        seen(copy, "registry/models.yaml")
    assert (copy.folder / "registry/models.yaml").read_bytes() == b"models: [{name: Mine}]"
    (copy.folder / "registry/models.yaml").unlink()
    assert seen(copy, "registry/models.yaml") == b"models: [{name: Theirs}]"


def test_what_a_command_made_and_removed_is_the_same_in_the_store(copy: WorkingCopy) -> None:
    for name in ("packets/old/a", "registry/models.yaml", "lake/arrivals.json", "lake/t/data.parquet"):
        put(copy, name, b"x")
    copy.begin()
    brought(copy.folder / "lake/t")
    for path in [p for p in copy.folder.rglob("*") if p.is_file() and not p.name.startswith(".copies")]:
        if path.parent != copy.folder:
            path.unlink()
    (copy.folder / "packets/new.part").mkdir(parents=True)
    (copy.folder / "packets/new.part/a").write_bytes(b"half")
    (copy.folder / "packets/new").mkdir()
    (copy.folder / "packets/new/a").write_bytes(b"whole")
    copy.end()
    # ledgers, tables and rules are never removed because this machine lost its copy of them
    assert set(copy.store.listed("")) == {"packets/new/a", "registry/models.yaml", "lake/t/data.parquet"}


def test_what_was_made_anew_and_is_the_same_is_not_sent_again(copy: WorkingCopy) -> None:
    (copy.folder / "releases").mkdir()
    page = copy.folder / "releases/index.html"
    page.write_bytes(b"page")
    copy.send_changed()
    sent = copy.store.head("releases/index.html")
    put(copy, "releases/index.html", b"kept, as nothing is sent")
    page.write_bytes(b"page")
    os.utime(page, ns=(1, 1))
    copy.send_changed()
    now = copy.store.head("releases/index.html")
    assert sent is not None
    assert now is not None
    assert sent.etag != now.etag


def _attempt(copy: WorkingCopy, *, finished: bool) -> Path:
    folder = copy.folder / "attempts" / ATTEMPT
    for name in ("config.json", "steps.jsonl", "deliverables/work.txt", "workspace/attachments/big.pdf"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"{}")
    if finished:
        (folder / "result.json").write_bytes(b"{}")
    return folder


@pytest.mark.parametrize("name", ["judge/replies.jsonl", "packets/pk/brief.html"])
def test_what_a_killed_command_made_here_is_kept_and_sent_by_the_next_one(copy: WorkingCopy, name: str) -> None:
    put(copy, name, b"1")
    assert seen(copy, name) == b"1"
    (copy.folder / name).write_bytes(b"1 and 2")
    copy.begin()
    copy.end()
    assert (copy.folder / name).read_bytes() == b"1 and 2"
    assert (copy.store.read(name) or (b"",))[0] == b"1 and 2"


@pytest.mark.parametrize("step", ["begin", "send_changed"])  # with the lease, and without
def test_replies_that_were_paid_for_on_two_machines_are_not_lost(copy: WorkingCopy, step: str) -> None:
    put(copy, "judge/replies.jsonl", b"1")
    assert seen(copy, "judge/replies.jsonl") == b"1"
    (copy.folder / "judge/replies.jsonl").write_bytes(b"1 here")
    put(copy, "judge/replies.jsonl", b"1 there")
    with pytest.raises(UserError, match="has been changed in s3://"):
        getattr(copy, step)()
    assert (copy.store.read("judge/replies.jsonl") or (b"",))[0] == b"1 there"


@pytest.mark.parametrize("start", [0, 4096], ids=["no database", "pages of noise"])
def test_damaged_notes_cost_a_look_and_nothing_else(copy: WorkingCopy, machine: Machine, start: int) -> None:
    put(copy, "lake/t/data.parquet", b"1")
    for number in range(500):
        copy._notes.keep(f"lake/u/{number}", Note("etag", 1, 1))
    assert seen(copy, "lake/t/data.parquet") == b"1"
    copy._notes._open().close()
    notes = copy.folder / ".copies.sqlite"
    with notes.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * (notes.stat().st_size - start))
    machine("a")
    again = open_copy(copy.address)
    assert seen(again, "lake/t/data.parquet") == b"1"
    assert set(again._notes.below("lake")) == {"lake/t/data.parquet"}


def test_what_is_to_be_sent_is_kept_when_the_store_has_lost_it(copy: WorkingCopy) -> None:
    for name in ("judge/replies.jsonl", "judge/other.jsonl"):
        put(copy, name, b"1")
        assert seen(copy, name) == b"1"
    (copy.folder / "judge/replies.jsonl").write_bytes(b"1 and 2")
    copy.store.delete(["judge/replies.jsonl", "judge/other.jsonl"])
    assert seen(copy, "judge/other.jsonl") is None
    assert seen(copy, "judge/replies.jsonl") == b"1 and 2"


def test_a_page_that_was_withdrawn_here_does_not_come_back(copy: WorkingCopy) -> None:
    for name in ("releases/report/index.html", "releases/report/private.html"):
        put(copy, name, b"x")
        assert seen(copy, name) == b"x"
    (copy.folder / "releases/report/private.html").unlink()
    assert seen(copy, "releases/report/private.html") is None
    copy.begin()
    copy.end()
    assert set(copy.store.listed("releases")) == {"releases/report/index.html"}


def test_attachments_keep_the_names_that_clients_gave_them(copy: WorkingCopy) -> None:
    for name in ("plan.old", "new.part", "a.new"):
        (copy.folder / "attachments/job.old").mkdir(parents=True, exist_ok=True)
        (copy.folder / "attachments/job.old" / name).write_bytes(b"x")
    copy.send_changed()
    assert len(copy.store.listed("attachments")) == 3


def test_names_that_lead_out_of_the_home_and_folders_that_are_objects_are_left_alone(copy: WorkingCopy) -> None:
    for name in ("packets", "packets/pk", "packets/pk/a"):
        put(copy, name, b"")
    brought(copy.folder / "packets")
    assert [p.name for p in (copy.folder / "packets" / "pk").iterdir()] == ["a"]
    copy.look_again()
    copy.store.listed = lambda *_, **__: {"packets/../../evil": copy.store.head("packets/pk/a")}  # type: ignore[method-assign]
    brought(copy.folder / "packets")
    assert not list(copy.folder.parent.rglob("evil"))


def test_an_attempt_is_sent_with_its_result_last(server: Server, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.store.between import between

    with between(server.endpoint) as gate:
        monkeypatch.setenv("AWS_ENDPOINT_URL", gate.endpoint)
        copy = open_copy(address)
        copy.send_attempt(_attempt(copy, finished=True))
        sent = [line.rpartition("/")[2] for line in gate.seen if line.startswith("PUT")]
    assert sent == ["config.json", "steps.jsonl", "work.txt", "result.json"]


def test_an_attempt_that_could_not_be_sent_is_sent_by_the_next_command(copy: WorkingCopy, machine: Machine) -> None:
    _attempt(copy, finished=True)
    (copy.folder / "attempts/sim-x/agent_alone/0123456789ab-at_2").mkdir()
    copy.begin()
    copy.end()
    machine("b")
    other = open_copy(copy.address)
    ledger = AttemptLedger(other.folder / "attempts")
    assert [p.name for p in ledger._folders("sim-x", "agent_alone")] == ["0123456789ab-at_1"]
    assert not (other.folder / "attempts" / ATTEMPT / "workspace").exists()


def test_an_attempt_that_is_not_finished_stays_on_the_machine(copy: WorkingCopy) -> None:
    _attempt(copy, finished=False)
    copy.begin()
    copy.end()
    assert copy.store.listed("attempts") == {}


def test_a_copy_travels_to_another_process_by_its_address(copy: WorkingCopy) -> None:
    assert pickle.loads(pickle.dumps(copy)) is copy
