"""Where a client ends: closed, in another event loop, in a forked child, at the end of the interpreter.

Whatever the order of things is, a caller is told in the words of this library, and soon.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringmill.client.blocking import Client
from ringmill.client.connection import AsyncClient, connect
from ringmill.cluster.errors import ClientClosed, DeadlineExceeded, RingmillError, Unavailable
from tests.client.one_node import SLOW, OneNode

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0
Node = tuple[OneNode, str]


async def outcome_of(work: Any) -> tuple[str, str]:
    try:
        await work
    except RingmillError as error:
        return type(error).__name__, error.outcome
    return "done", ""


async def arrived(node: OneNode, before: int, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while node.waiting < before + count:  # noqa: ASYNC110 - it is counted in another thread
            await asyncio.sleep(0.01)


WAYS: tuple[dict[str, Any], ...] = ({}, {"session": False}, {"transport": "tcp"})


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_closing_ends_the_calls_under_way_with_what_is_known_of_them(
    node: Node, way: dict[str, Any]
) -> None:
    db, before = connect(node[1], timeout=30, **way), node[0].waiting
    puts = [asyncio.create_task(outcome_of(db.put(SLOW, b"v"))) for _ in range(20)]
    gets = [asyncio.create_task(outcome_of(db.get(SLOW))) for _ in range(5)]
    await arrived(node[0], before, 25)
    unsent = [asyncio.create_task(outcome_of(db.put(SLOW, b"v"))) for _ in range(5)]
    await db.aclose()
    async with asyncio.timeout(PATIENCE_S):
        assert set(await asyncio.gather(*puts)) == {("ClientClosed", "unknown")}
        assert set(await asyncio.gather(*gets)) == {("ClientClosed", "failed")}
        assert set(await asyncio.gather(*unsent)) == {("ClientClosed", "failed")}


async def test_closing_in_any_moment_of_many_calls_raises_nothing_of_grpc(node: Node) -> None:
    for way in WAYS:
        seen: set[str] = set()
        for turns in range(0, 60, 3):
            db = connect(node[1], timeout=30, **way)
            calls = [asyncio.create_task(outcome_of(db.put(f"k{n}", b"v"))) for n in range(10)]
            for _ in range(turns):
                await asyncio.sleep(0)
            await db.aclose()
            async with asyncio.timeout(PATIENCE_S):
                seen |= {kind for kind, _ in await asyncio.gather(*calls)}
        assert "ClientClosed" in seen and seen <= {"ClientClosed", "done"}


async def test_a_closed_client_says_so_whatever_is_asked_and_closing_twice_is_fine(node: Node) -> None:
    async with connect(node[1], timeout=10) as db:
        space, jobs = db.keyspace("default"), db.jobs
    await db.aclose()
    calls: list[Callable[[], Any]] = [
        lambda: db.put("k", b"v"), lambda: db.get("k"), lambda: db.delete("k"), lambda: db.locate("k"),
        lambda: space.get("k"), db.status, jobs.list, lambda: jobs.status("j"), lambda: jobs.kill("j"),
        db.__aenter__,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ClientClosed, match="is closed") as refused:
            await call()
        assert refused.value.outcome == "failed"
    for look in (lambda: db.topology, lambda: db.keyspace("default"), lambda: db.jobs):
        with pytest.raises(ClientClosed):
            look()


async def test_the_callers_own_cancellation_stays_one(node: Node) -> None:
    db, before = connect(node[1], timeout=30, session=False), node[0].waiting
    put = asyncio.create_task(db.put(SLOW, b"v"))
    await arrived(node[0], before, 1)
    put.cancel()
    await db.aclose()
    with pytest.raises(asyncio.CancelledError):
        await put


def test_a_client_belongs_to_the_loop_that_used_it_first(node: Node) -> None:
    db = connect(node[1], timeout=10)
    asyncio.run(outcome_of(db.put("k", b"v")))
    with pytest.raises(ClientClosed, match="another event loop"):
        asyncio.run(use(db))
    asyncio.run(db.aclose())


def test_a_client_is_closed_in_its_own_loop_while_that_runs(node: Node) -> None:
    loop, db = asyncio.new_event_loop(), connect(node[1], timeout=10)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def at_home(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(PATIENCE_S)

    try:
        at_home(db.put("k", b"v"))
        with pytest.raises(ClientClosed, match="another event loop"):
            asyncio.run(db.aclose())
        at_home(use(db))
        at_home(db.aclose())
        with pytest.raises(ClientClosed, match="is closed"):
            at_home(use(db))
        asyncio.run(db.aclose())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        loop.close()


def test_a_client_that_was_closed_beside_its_loop_is_closed_in_it(node: Node) -> None:
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        db = connect(node[1], timeout=10)
        loop.run_until_complete(db.put("k", b"v"))
        asyncio.run(db.aclose())
        assert db._directory._links, "they belong to the loop that stands still"
        loop.run_until_complete(db.aclose())
        assert not db._directory._links


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_an_async_client_that_nobody_holds_is_closed(node: Node, way: dict[str, Any]) -> None:
    directories = []
    for number in range(3):
        db = connect(node[1], timeout=10, **way)
        await db.put(f"k{number}", b"v")
        if number:
            with contextlib.suppress(RingmillError):
                _ = db.jobs
        directories.append(db._directory)
    space = db.keyspace("default")
    del db
    gc.collect()
    async with asyncio.timeout(PATIENCE_S):
        while any(each._links for each in directories[:2]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await space.put("k", b"v")
    assert not directories[2].lifetime.is_closed, "one of its keyspaces is held"


async def test_a_client_is_held_by_its_watch(node: Node) -> None:
    db = connect(node[1], timeout=10)
    await db.put("k", b"v")
    directory, changes = db._directory, db.watch("k")
    reading = asyncio.ensure_future(anext(aiter(changes)))
    del db
    gc.collect()
    await asyncio.sleep(0)
    assert not directory.lifetime.is_closed
    reading.cancel()
    await asyncio.wait([reading])


async def use(db: AsyncClient) -> None:
    await db.get("k")


def test_closing_a_blocking_client_ends_the_calls_of_other_threads(node: Node) -> None:
    db, before, told = Client(node[1], timeout=30), node[0].waiting, list[tuple[str, str]]()
    jobs = db.jobs

    def put() -> None:
        try:
            db.put(SLOW, b"v")
        except RingmillError as error:
            told.append((type(error).__name__, error.outcome))

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    asyncio.run(arrived(node[0], before, 8))
    db.close()
    db.close()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert told == [("ClientClosed", "unknown")] * 8
    for call in (
        lambda: db.put("k", b"v"),
        db.status,
        jobs.list,
        db.__enter__,
        lambda: db.topology,
    ):
        with pytest.raises(ClientClosed):
            call()


def test_a_blocking_wait_ends_soon_after_its_deadline_even_when_its_thread_is_stuck(node: Node) -> None:
    with Client(node[1], timeout=10) as db:
        release = threading.Event()
        db._loop._loop.call_soon_threadsafe(release.wait, PATIENCE_S)
        with pytest.raises(DeadlineExceeded, match="own thread") as late:
            db.put("k", b"v", timeout=0.1)
        assert late.value.outcome == "unknown"
        release.set()


def run(program: str, address: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, as forks and ends of interpreters are not for this one.

    From 3.12 on Python warns of each fork of a process with threads, whatever the child does.
    """
    forks = "ignore:This process:DeprecationWarning"
    return subprocess.run(
        [sys.executable, "-W", "default", "-W", forks, "-c", program, address],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.startswith(("GRPC_", "RINGMILL_"))},
    )  # fmt: skip


FORKS = """
import os, sys, time, ringmill
db = ringmill.Client(sys.argv[1], timeout=3)
db.put("k", b"v")
for number in range(6):
    child = os.fork()
    if not child:
        begun = time.monotonic()
        for call in (lambda: db.put("k", b"w"), lambda: db.get("k"), lambda: db.jobs.list()):
            try:
                call()
            except ringmill.ClientClosed as error:
                assert "forked" in str(error) and "after the fork" in error.hint, error
            else:
                os._exit(3)
        try:
            ringmill.Client(sys.argv[1])
        except ringmill.Unavailable as error:
            assert "gRPC" in str(error) and "spawn" in error.hint, error
        else:
            os._exit(4)
        db.close()
        time.sleep(0.1)
        assert time.monotonic() - begun < 20
        sys.exit(0) if number % 2 else os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, number
    assert db.get("k").value == b"v"
"""

FORK_FIRST = """
import os, sys, ringmill
made_before = ringmill.Client(sys.argv[1], timeout=10)
for _ in range(2):
    child = os.fork()
    if not child:
        try:
            made_before.put("k", b"v")
        except ringmill.ClientClosed:
            pass
        with ringmill.Client(sys.argv[1], timeout=10) as db:
            db.put("k", b"of the child")
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
assert made_before.get("k").newest == b"of the child"
"""

LEFT_OPEN = {
    "blocking": """
import sys, ringmill
db = ringmill.Client(sys.argv[1], timeout=10)
db.put("k", b"v")
""",
    "blocking, silent node": """
import sys, ringmill
db = ringmill.Client([sys.argv[1], "127.0.0.1:1"], timeout=10)
db.put("k", b"v")
db._loop._loop.call_soon_threadsafe(db._subject._directory.blame, "127.0.0.1:1")
db.get("k")
""",
    "dropped": """
import sys, threading, ringmill
ringmill.Client(sys.argv[1], timeout=10).put("k", b"v")
left = [each.name for each in threading.enumerate() if each.name == "ringmill-client"]
assert not left, left
""",
    "asyncio": """
import asyncio, sys, ringmill
async def main():
    db = ringmill.connect(sys.argv[1], timeout=10)
    await db.put("k", b"v")
asyncio.run(main())
""",
    "asyncio, calls under way": """
import asyncio, sys, ringmill
async def main():
    db = ringmill.connect(sys.argv[1], timeout=10)
    await db.put("k", b"v")
    calls = [asyncio.create_task(db.put(f"k{n}", b"v")) for n in range(20)]
    await asyncio.sleep(0)
asyncio.run(main())
""",
}


def test_a_client_in_a_forked_child_is_refused_at_once_and_the_child_lives(node: Node) -> None:
    done = run(FORKS, node[1])
    assert (done.returncode, done.stderr) == (0, "")


def test_a_client_opened_after_the_fork_works_in_the_child_and_in_the_parent(node: Node) -> None:
    done = run(FORK_FIRST, node[1])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("program", LEFT_OPEN.values(), ids=LEFT_OPEN)
def test_a_client_that_nobody_closes_leaves_no_word_at_the_end(node: Node, program: str) -> None:
    done = run(program, node[1])
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_closed_client_raises_is_unavailable_for_whoever_catches_that() -> None:
    assert issubclass(ClientClosed, Unavailable)


def test_a_client_whose_loop_cannot_be_made_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> asyncio.AbstractEventLoop:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(asyncio.events, "new_event_loop", full)
    told: list[BaseException] = []

    def make() -> None:
        try:
            Client(["127.0.0.1:1"])
        except Unavailable as error:
            told.append(error)

    making = threading.Thread(target=make, daemon=True)
    making.start()
    making.join(20)
    assert [str(each) for each in told] == ["the client's event loop cannot be made: Too many open files"]


def test_a_client_whose_thread_cannot_be_started_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    with pytest.raises(Unavailable, match="thread cannot be started: can't start new thread") as refused:
        Client(["127.0.0.1:1"])
    assert refused.value.outcome == "failed"
