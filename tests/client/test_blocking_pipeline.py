"""The blocking pipeline where threads, callbacks, forks and ends meet: no future stays open."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from ringmill.client.blocking import Client
from ringmill.client.twins.blocking_pipeline import Pipeline
from ringmill.cluster.errors import ClientClosed, RingmillError
from ringmill.cluster.wire.stubs import kv_pb2
from tests.client.one_node import SLOW, OneNode
from tests.client.test_lifetime import run

Node = tuple[OneNode, str]
PATIENCE_S = 20.0


def test_threads_share_a_pipeline_and_each_reads_its_own_writes(node: Node) -> None:
    def work(name: int) -> None:
        for number in range(200):
            batch.put(f"t{name}:{number % 7}", b"%d" % number)
            got = batch.get(f"t{name}:{number % 7}")
            if number % 50 == 0:
                assert got.result(PATIENCE_S).value == b"%d" % number
        assert got.result(PATIENCE_S).value == b"199"

    with Client(node[1], timeout=20) as db, db.pipeline() as batch, ThreadPoolExecutor(8) as pool:
        for each in [pool.submit(work, name) for name in range(8)]:
            each.result(60)


def test_every_call_after_the_end_is_refused_and_not_only_the_first(node: Node) -> None:
    with Client(node[1], timeout=20) as db:
        left = db.pipeline()
        left.put("k", b"v").result(PATIENCE_S)
    for _ in range(3):
        with pytest.raises(ClientClosed):
            left.put("k", b"v")
        with pytest.raises(ClientClosed):
            left.get("k", None)


def test_what_is_queued_while_another_thread_ends_the_pipeline_is_refused(node: Node) -> None:
    class Late(dict[Future[Any], None]):
        def __setitem__(self, future: Future[Any], value: None) -> None:
            batch.close()
            super().__setitem__(future, value)

    with Client(node[1], timeout=20) as db:
        batch = db.pipeline()
        batch._futures = Late()
        with pytest.raises(ClientClosed, match="this pipeline has ended"):
            batch.put("k", b"v")


def test_what_the_clients_thread_never_took_over_is_told_when_the_thread_ends(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = Client(node[1], timeout=20)
    batch = db.pipeline()
    batch.put("k", b"v").result(PATIENCE_S)
    monkeypatch.setattr(Pipeline, "_hand_over", lambda self: None)
    left = batch.put("k", b"w")
    db.close()
    with pytest.raises(ClientClosed):
        left.result(PATIENCE_S)


def test_closing_the_client_in_another_thread_tells_every_future(node: Node) -> None:
    db = Client(node[1], timeout=60)
    batch = db.pipeline()
    first = batch.put(SLOW, b"v")
    rest = [batch.put(SLOW, b"%d" % number) for number in range(300)]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(batch.flush)
        batch.get("k", None).result(PATIENCE_S)
        db.close()
        for future in (first, *rest):
            with pytest.raises(ClientClosed):
                future.result(PATIENCE_S)
        assert waiting.exception(PATIENCE_S) is None or isinstance(waiting.exception(), ClientClosed)


@pytest.mark.parametrize(
    "call",
    [
        lambda db, _: db.get("k", None),
        lambda db, _: db.mput({"k": b"v"}),
        lambda _, batch: batch.flush(),
    ],
)
def test_a_callback_that_would_wait_for_the_thread_it_runs_in_is_refused(
    node: Node, call: Callable[[Client, Pipeline], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: Future[object] = Future()
    added = Event()  # a future that is done before its callback is added calls it at once, in this thread
    answer = node[0].put

    def answer_later(request: kv_pb2.PutRequest) -> kv_pb2.WriteReceipt:
        assert added.wait(PATIENCE_S)
        return answer(request)

    def callback(_: Future[Any]) -> None:
        try:
            told.set_result(call(db, batch))
        except RingmillError as error:
            told.set_result(error)

    monkeypatch.setattr(node[0], "put", answer_later)
    with Client(node[1], timeout=PATIENCE_S) as db:
        batch = db.pipeline()
        batch.put("k", b"v").add_done_callback(callback)
        added.set()
        error = told.result(PATIENCE_S)
        assert isinstance(error, RingmillError) and "own thread" in str(error), error
        assert "thread of yours" in error.hint
        added.clear()
        queued: Future[Future[Any]] = Future()
        batch.put("k", b"v").add_done_callback(lambda _: queued.set_result(batch.get("k")))
        added.set()
        assert queued.result(PATIENCE_S).result(PATIENCE_S).value == b"v", "queuing waits for nobody"


FORKS = """
import os, sys, ringmill
db = ringmill.Client(sys.argv[1], timeout=10)
batch = db.pipeline()
batch.put("k", b"v").result(20)
child = os.fork()
if not child:
    for call in (lambda: batch.put("k", b"w"), lambda: batch.get("k"), batch.flush) * 2:
        try:
            call()
        except ringmill.ClientClosed as error:
            assert "forked" in str(error), error
        else:
            os._exit(3)
    batch.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert batch.get("k").result(20).value == b"v"
"""


def test_a_forked_child_is_told_each_time(node: Node) -> None:
    done = run(FORKS, node[1])
    assert done.returncode == 0, done.stderr
