"""One writer at a time on a home in an object store, whatever machine it is on."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from bench.s3_server import Server
from hapi_pipeline import lease as leases
from hapi_pipeline.copies import WorkingCopy, open_copy
from hapi_pipeline.lake import write_bytes
from hapi_pipeline.lease import holder, leased
from hapi_pipeline.operations import at_work, busy_with
from hapi_pipeline.settings import UserError, find_home
from tests.store.between import between
from tests.store.conftest import Machine


@pytest.fixture
def on(address: str, machine: Machine) -> Callable[[str], WorkingCopy]:
    """The home as a machine sees it."""

    def open_on(name: str) -> WorkingCopy:
        machine(name)
        return open_copy(address)

    return open_on


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_second_writer_is_told_who_the_first_is(on: Callable[[str], WorkingCopy]) -> None:
    first, second = on("a"), on("b")
    with leased(first, "4711, run x", wait=0):
        with (
            pytest.raises(UserError, match=r"Another hapi command \(process 4711, run x on .+\) is at work on s3://"),
            leased(second, "4712", wait=0),
        ):
            pytest.fail("both write")
        assert str(holder(second)).startswith("4711, run x on ")
    assert holder(second) is None
    with leased(second, "4712", wait=0):
        assert second.held
    assert not second.held


def test_of_many_that_try_at_once_one_writes(on: Callable[[str], WorkingCopy]) -> None:
    machines = [on(str(n)) for n in range(6)]
    start, inside, most, refused = threading.Barrier(6), [0], [0], []

    def work(copy: WorkingCopy) -> None:
        start.wait()
        try:
            with leased(copy, "x", wait=0):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                start.wait()
                inside[0] -= 1
        except UserError as error:
            refused.append(str(error))
            start.wait()

    threads = [threading.Thread(target=work, args=[copy]) for copy in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(refused) == 5


def test_who_waits_gets_its_turn(on: Callable[[str], WorkingCopy], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_WAIT_STEP", 0.02)
    first, second = on("a"), on("b")
    said: list[str] = []
    done = threading.Event()

    def work() -> None:
        with leased(second, "y", wait=60, say=said.append):
            done.set()

    with leased(first, "x", wait=0):
        waiting = threading.Thread(target=work)
        waiting.start()
        _until(lambda: bool(said))
        assert not done.is_set()
    waiting.join()
    assert done.is_set()
    assert "Waiting for another" in said[0]


def test_a_writer_that_died_is_followed_at_once_on_its_machine_and_after_a_while_elsewhere(
    on: Callable[[str], WorkingCopy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(leases.LEASE_VARIABLE, "2")
    dead = leases._Lease(on("a"), "dead")
    assert dead._try() is None  # and is killed: nobody renews it
    elsewhere = on("b")
    assert holder(elsewhere) is not None
    with pytest.raises(UserError, match="dead"), leased(elsewhere, "x", wait=0):
        pytest.fail("it may still be alive")
    with leased(on("a"), "next", wait=0):
        pass
    dead._try()
    _until(lambda: holder(elsewhere) is None)
    with leased(elsewhere, "x", wait=0):
        assert str(holder(on("c"))).startswith("x on ")


def test_a_lease_is_renewed_for_as_long_as_the_work_takes(
    on: Callable[[str], WorkingCopy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(leases.LEASE_VARIABLE, "1.5")
    first, second = on("a"), on("b")
    with leased(first, "x", wait=0):
        etags = set[str]()

        def renewed() -> bool:
            found = first.store.head(leases._NAME)
            etags.add(found.etag if found else "")
            assert holder(second) is not None
            return len(etags) > 8  # more than the seconds that it would last

        _until(renewed)


def test_who_has_lost_its_lease_writes_no_more(
    on: Callable[[str], WorkingCopy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(leases.LEASE_VARIABLE, "0.3")
    first = on("a")
    path = first.folder / "lake" / "t" / "data.parquet"

    def work() -> None:
        with leased(first, "x", wait=0):
            first.store.put(leases._NAME, b'{"free": false, "owner": "b", "who": "y", "seconds": 9}')
            _until(lambda: first.lost is not None)
            with suppress(UserError):
                write_bytes(path, b"late")

    with pytest.raises(UserError, match="has ended: another process has taken this home over"):
        work()
    assert not path.exists()
    assert first.store.listed("lake") == {}
    assert b'"who": "y"' in (first.store.read(leases._NAME) or (b"", ""))[0], "the other's lease is left alone"


def test_who_was_stopped_for_too_long_writes_no_more(on: Callable[[str], WorkingCopy]) -> None:
    first = on("a")
    path = first.folder / "lake" / "t" / "data.parquet"

    def work() -> None:
        with leased(first, "x", wait=0):
            first.right_ends = 0.0  # as after a long sleep of the machine, before the thread that renews has its turn
            write_bytes(path, b"late")

    with pytest.raises(UserError, match="has ended: it was not renewed in time"):
        work()
    assert first.store.listed("lake") == {}
    with leased(first, "x", wait=0):
        write_bytes(path, b"in time")


def test_a_server_without_conditional_writes_is_refused(
    server: Server, address: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for dropped in ("if-none-match", "if-match"):
        with between(server.endpoint) as gate:
            gate.drops = (dropped,)
            machine(dropped)
            monkeypatch.setenv("AWS_ENDPOINT_URL", gate.endpoint)
            with pytest.raises(UserError, match="could not keep two writers apart"), at_work(find_home(address)):
                pytest.fail("two could write")
            assert set(open_copy(address).store.listed(".hapi")) == set()


def test_at_work_keeps_out_writers_on_this_machine_and_on_others(address: str, machine: Machine) -> None:
    home = find_home(address)
    with at_work(home):
        assert busy_with(home) is not None
        with pytest.raises(UserError, match="Another hapi command"), at_work(home):
            pytest.fail("both write")
        machine("b")
        other = find_home(address)
        assert str(busy_with(other)).endswith(socket.gethostname())
        with pytest.raises(UserError, match=f"Another hapi command .* is at work on {address}; wait"), at_work(other):
            pytest.fail("both write")
    assert busy_with(other) is None
    with at_work(other):
        pass


def test_workers_of_one_backfill_are_refused(address: str) -> None:
    with pytest.raises(UserError, match="on a disk"), at_work(find_home(address), shared=True):
        pytest.fail("they do not share a lease")
