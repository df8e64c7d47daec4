"""What a batch tells while one of five real processes is killed or stopped, and what is there afterwards.

Clients of the gateway's doors go on beside a killed node, too.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import aiohttp
import redis
import redis.asyncio

import ringmill
from ringmill.client.blocking import Client
from ringmill.client.many_keys import raise_first
from ringmill.cluster.errors import RingmillError

if TYPE_CHECKING:
    from ringmill.client.values import Receipt
    from tests.e2e.cli.conftest import Shell

ROUNDS = 4  # beside the killed node
KEYS = [f"batch:{number}" for number in range(200)]
PATIENT_S = 30.0
CALLS = 60
Left: TypeAlias = dict[bytes, set[str]]


def address_of(shell: Shell, node: str) -> str:
    file = shell.folder / "home" / "default" / "cluster.json"
    addresses: dict[str, str] = {one["id"]: one["address"] for one in json.loads(file.read_text())["nodes"]}
    return addresses[node]


def replaced(left: Left, value: bytes, receipt: Receipt) -> Left:
    """What may be left of a key after a write without a context, and who is known to hold it.

    The write replaces what its coordinator holds.  A value that was acked by n3 and another owner, and was on
    its way to the third when n3 was killed, stays beside the writes that the third coordinates.
    """
    coordinator = receipt.dot.partition("#")[0]
    others = {other: holders for other, holders in left.items() if coordinator not in holders}
    return {**others, value: {replica.node for replica in receipt.replicas if replica.role == "owner"}}


def test_a_node_that_is_killed_under_batches_costs_only_writes_that_it_had(shell: Shell) -> None:
    with Client(address_of(shell, "n1"), timeout=10) as db:
        left = {
            key: replaced({}, b"0", receipt)
            for key, receipt in zip(KEYS, raise_first(db.mput((key, b"0") for key in KEYS)), strict=True)
        }
        kill = threading.Timer(0.2, lambda: shell.ok("cluster", "kill", "n3"))
        kill.start()
        number = left_over = 0
        while left_over < ROUNDS:
            left_over += not kill.is_alive()
            number += 1
            value = b"%d" % number
            for key, outcome in zip(KEYS, db.mput((key, value) for key in KEYS), strict=True):
                if isinstance(outcome, RingmillError):
                    assert outcome.outcome == "unknown", "what certainly had no effect goes to another node"
                    left[key][value] = set()
                else:
                    left[key] = replaced(left[key], value, outcome)
        kill.join()
        found = raise_first(db.mget(KEYS))
        for key, item in zip(KEYS, found, strict=True):
            assert item is not None and set(item.siblings) <= left[key].keys()
            if all(left[key].values()):  # what ended as unknown may overwrite what is acked later
                assert b"%d" % number in item.siblings, "the last write was acked, by a quorum"
        raise_first(db.mput((key, b"last") for key in KEYS))
        assert {item.newest for item in raise_first(db.mget(KEYS)) if item} == {b"last"}
    shell.ok("cluster", "restart", "n3")
    shell.until_healthy()


@dataclass
class Told:
    """What clients of the doors were told, while a node was killed once `is_killed` is set."""

    is_killed: threading.Event = field(default_factory=threading.Event)
    acked: dict[str, str] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)

    async def numbers(self) -> AsyncIterator[int]:
        """As many before the kill as after it."""
        for number in range(-CALLS, CALLS):
            if number == 0:
                await asyncio.to_thread(self.is_killed.wait, PATIENT_S)
            yield number

    async def over_http(self, session: aiohttp.ClientSession, url: str) -> None:
        async for number in self.numbers():
            key, value = f"door:{number % 20}", str(number)
            async with session.put(f"{url}/v1/kv/default/{key}", data=value) as answer:
                told = await answer.json()
            if answer.status == 200:
                self.acked[key] = value
                continue
            assert answer.status in (503, 504) and told["outcome"] == "unknown", told
            self.unsure.append(value)

    async def as_redis(self, client: redis.asyncio.Redis) -> int:
        """How often it has counted, and was told so."""
        done = unsure = 0
        async for _ in self.numbers():
            try:
                counted = int(await client.incr("door"))
            except redis.ResponseError as error:
                assert "it may have been done" in str(error)
                self.unsure.append(str(error))
                unsure += 1
                continue
            assert done < counted <= done + unsure + 1
            done, unsure = counted, 0
        return done


def test_clients_of_both_doors_go_on_while_a_node_is_killed(shell: Shell) -> None:
    """What was acked is read afterwards; few requests may fail, those that were under way at the node."""
    shell.ok("keyspace", "create", "redis0", "--kind", "registers")
    shell.ok("keyspace", "create", "redis0-keys")
    gateway = shell.start("gateway", "--http", "0", "--redis", "0")
    assert gateway.stdout is not None
    url, place = (gateway.stdout.readline().decode().split()[1] for _ in range(2))
    told = Told()

    async def load() -> None:
        kill = asyncio.create_task(asyncio.to_thread(shell.ok, "cluster", "kill", "n4"))
        kill.add_done_callback(lambda _: told.is_killed.set())
        async with aiohttp.ClientSession() as session, redis.asyncio.Redis.from_url(place) as client:
            _, counted = await asyncio.gather(told.over_http(session, url), told.as_redis(client))
            await kill
            assert int(await client.get("door") or 0) >= counted
            for key, value in told.acked.items():
                async with session.get(f"{url}/v1/kv/default/{key}?sibling=1") as answer:
                    assert await answer.text() in (value, *told.unsure)

    try:
        asyncio.run(load())
    finally:
        gateway.terminate()
        assert gateway.wait(20) == 0
        shell.ok("cluster", "restart", "n4")
    shell.until_healthy()
    assert len(told.unsure) < 20, told.unsure


def test_no_batch_waits_for_a_node_that_is_stopped_under_it(shell: Shell) -> None:
    """Without further attempts the items at n2 take their whole deadline, and the puts are unknown."""

    async def load() -> float:
        slowest_s = 0.0
        async with ringmill.connect(address_of(shell, "n1"), timeout=PATIENT_S) as db:
            raise_first(await db.mput((key, b"0") for key in KEYS))
            pause = asyncio.create_task(asyncio.to_thread(shell.ok, "cluster", "pause", "n2"))
            left = 5  # rounds beside the stopped node
            while left:
                left -= pause.done()
                begun = time.monotonic()
                raise_first(await db.mput((key, b"1") for key in KEYS))
                found = raise_first(await db.mget(KEYS))
                async with db.pipeline() as batch:
                    pairs = [(batch.put(key, b"2"), batch.get(key)) for key in KEYS]
                slowest_s = max(slowest_s, time.monotonic() - begun)
                assert all(item is not None and b"1" in item.siblings for item in found)
                assert all(put.result().w >= 2 and b"2" in got.result().siblings for put, got in pairs)
            await pause
        return slowest_s

    try:
        slowest_s = asyncio.run(load())
    finally:
        shell.ok("cluster", "resume", "n2")
    shell.until_healthy()
    assert slowest_s < PATIENT_S
