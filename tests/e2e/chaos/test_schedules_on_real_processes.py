"""Schedules of faults that once broke a promise, step by step on three real processes.

Nodes are killed and stopped by signals, cut off by proxies (scripts/chaos/network), and given wrong clocks by
files (RINGMILL_CLOCK_SHIFTS).  Requests of a step go to the node that it names.  Nothing but what is under
test brings owners level: the everyday comparing is off.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio

import ringmill
from chaos.network.links import LinkFault, Links, both_ways
from chaos.real_nodes import RealNodes, linked
from ringmill.client.routing.links import DELETE, GET, PUT, Link
from ringmill.cluster.errors import RingmillError, Unavailable, UnresolvedSiblings
from ringmill.cluster.wire.stubs.kv_pb2 import (
    DeleteRequest,
    GetRequest,
    GetResponse,
    OperationId,
    PutRequest,
    WriteReceipt,
)
from tests.e2e.cli.conftest import Shell
from tests.e2e.waiting import PATIENT_S, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = ("n1", "n2", "n3")
CALL_S = 20.0
CUT_S = 1.0  # for a write that cannot reach its level
HOUR_S = 3600.0
TTL_MS = 600_000


@dataclass(frozen=True)
class Three:
    """Three nodes, each an owner of every key, and what can be done to them."""

    nodes: RealNodes
    links: Links
    shifts: Path

    async def put(
        self, node: str, key: bytes, value: bytes, timeout_s: float = CALL_S, **fields: object
    ) -> WriteReceipt:
        """Through this node, which coordinates it."""
        async with self.link(node) as link:
            request = PutRequest(key=key, value=value, **fields)  # type: ignore[arg-type]
            return await link.call(PUT, request, timeout_s)

    async def delete(self, node: str, key: bytes, context: bytes) -> WriteReceipt:
        async with self.link(node) as link:
            return await link.call(DELETE, DeleteRequest(key=key, context=context), CALL_S)

    async def get(self, node: str, key: bytes, r: str = "") -> GetResponse:
        async with self.link(node) as link:
            return await link.call(GET, GetRequest(key=key, r=r), CALL_S)

    def link(self, node: str) -> AbstractAsyncContextManager[Link]:
        return linked(self.nodes.addresses[node])

    def client(self) -> ringmill.AsyncClient:
        return ringmill.connect(list(self.nodes.proxied.values()), timeout=CALL_S)

    def cut_off(self, node: str, kind: Literal["cut", "hold"] = "cut") -> AbstractAsyncContextManager[None]:
        """From the other nodes, not from clients.  hold: nothing is refused, and nothing arrives."""
        ways = both_ways((node, other) for other in NAMES if other != node)
        return self.links.disturbed(LinkFault(kind, ways))

    def shift_clocks(self, ahead_s: float, *nodes: str) -> None:
        """Step the wall clocks of these nodes, which run or will be started."""
        drafts = [(self.shifts / node, self.shifts / f"{node}.new") for node in nodes]
        for _, draft in drafts:
            draft.write_text(str(ahead_s))
        for path, draft in drafts:
            draft.replace(path)

    async def restart(self, *nodes: str) -> None:
        self.nodes.start(nodes)
        await self.nodes.wait_ready(PATIENT_S)

    async def takes_writes(self, node: str, key: bytes = b"probe") -> bool:
        """Whether it coordinates a write that others have acked."""
        try:
            return (await self.put(node, key, b"v", CUT_S)).dot.startswith(f"{node}#")
        except RingmillError:
            return False

    async def at_rest(self) -> None:
        """Until status has nothing to tell, and no hint is left."""

        async def is_at_rest() -> bool:
            try:
                seen = await db.status()
            except RingmillError:
                return False
            return seen.health == "ok" and not seen.hints

        async with self.client() as db:
            await eventually(is_at_rest)

    async def are_level(self, keys: list[bytes]) -> bool:
        """Whether all three owners hold the same of each key.  Looking brings nothing level."""
        async with self.client() as db:
            found = [owner for key in keys for owner in (await db.locate(key)).owners]
        return len(found) == 3 * len(keys) and all(owner.dots and owner.same for owner in found)


def owners_of(receipt: WriteReceipt) -> set[str]:
    return {ack.node for ack in receipt.replicas if ack.role == "owner"}


def values_of(found: GetResponse) -> list[bytes]:
    return [sibling.value for sibling in found.siblings]


@contextmanager
def settings_of_nodes(shifts: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RINGMILL_CLOCK_SHIFTS", str(shifts))
        patch.setenv("RINGMILL_COMPARE_EVERY", "0")
        yield


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Three]:
    folder = tmp_path_factory.mktemp("schedules")
    shifts = folder / "shifts"
    shifts.mkdir()
    with settings_of_nodes(shifts):
        nodes = RealNodes(str(folder / "chaos"), len(NAMES))
        async with Links(nodes.ports, lambda: nodes.pids) as links:
            try:
                await nodes.form(PATIENT_S)
                yield Three(nodes, links, shifts)
            finally:
                await asyncio.to_thread(nodes.stop)
        assert nodes.tracebacks() == 0


@pytest_asyncio.fixture(loop_scope="module")
async def three(running: Three) -> AsyncIterator[Three]:
    """At rest before a test, and put right after it."""
    await running.at_rest()
    yield running
    for node in [name for name in NAMES if name in running.nodes.pids]:
        running.nodes.resume(node)
    running.shift_clocks(0.0, *NAMES)
    await running.restart(*[name for name in NAMES if name not in running.nodes.pids])


async def test_status_names_the_one_node_that_the_others_cannot_reach(three: Three, tmp_path: Path) -> None:
    """Taking the worst word about each node, whoever says it, calls all three down while two of them take
    writes."""
    async with three.client() as db, three.cut_off("n1", "hold"):

        async def is_told() -> bool:
            return [node.state for node in (await db.status()).nodes] == ["suspect", "up", "up"]

        await eventually(is_told)
        assert owners_of(await three.put("n2", b"cut", b"v")) == {"n2", "n3"}
        line = ("--endpoints", three.nodes.proxied["n2"], "cluster", "status", "--check", "-o", "json")
        shown = await asyncio.to_thread(Shell(tmp_path).command, *line)
    assert shown.code == 7
    told = json.loads(shown.out)
    assert [node["state"] for node in told["nodes"]] == ["suspect", "up", "up"]
    assert told["health"] == "degraded"
    assert "n1 answers, but is cut off from n2, n3" in told["reasons"]


async def test_large_siblings_of_both_sides_of_a_split_are_read_and_merged(three: Three) -> None:
    """Were merges and answers bound as a client's write is, the key could be read at no level."""
    key, sides = b"halves", {"n1": b"a", "n2": b"b"}
    written = [
        (node, letter * 1_000_000 + b"%d" % number) for node, letter in sides.items() for number in range(3)
    ]
    async with three.cut_off("n1"):
        for node, value in written:
            await three.put(node, key, value, no_context=True, w="1")
    await three.at_rest()
    async with three.client() as db:
        for r in (1, 2, 3):
            assert {*(await db.get(key, r=r)).siblings} == {value for _, value in written}
        await db.put(key, b"merged", context=(await db.get(key)).context)
        assert (await db.get(key, r="all")).value == b"merged"


async def test_a_write_that_two_coordinators_took_stays_gone_when_the_first_one_is_back(three: Three) -> None:
    """Its copy at n1 has a dot of its own, which no context covers: only who remembers the operation drops
    it.  33 values were written since, more than the eight newest that any object remembers."""
    key = b"twice"
    born = (await three.put("n2", key, b"first")).hybrid_time
    name = OperationId(session=1, sequence=1, birth=born)
    async with three.cut_off("n1"):
        with pytest.raises(RingmillError) as cut:
            await three.put("n1", key, b"X", CUT_S, operation=name)
        assert cut.value.outcome == "unknown"
        again = await three.put("n2", key, b"X", operation=name, attempt=1)
        await three.delete("n2", key, again.context)
        for number in range(33):
            await three.put("n2", key, b"over%d" % number)
    await three.at_rest()
    for node in NAMES:
        assert values_of(await three.get(node, key, "all")) == [b"over32"]
    assert await three.are_level([key])


async def test_of_siblings_the_newest_is_the_last_write_whoever_took_it(three: Three) -> None:
    """One client writes without contexts while nodes are killed in turn.  In an order by dots the name of a
    node decides, and in one of the two rounds the older value is the first one."""
    for number, (first, second, last) in enumerate([NAMES, NAMES[::-1]]):
        key = b"turn:%d" % number
        await three.restart(*NAMES)  # whoever was killed in the round before
        await three.at_rest()
        async with three.cut_off(last):
            assert owners_of(await three.put(first, key, b"older")) == {first, second}
            await three.nodes.kill([first])
        await eventually(partial(three.takes_writes, last))
        assert owners_of(await three.put(last, key, b"newer")) == {second, last}
        async with three.client() as db:
            item = await db.get(key)
            assert item.siblings == (b"newer", b"older") and item.newest == b"newer"
            with pytest.raises(UnresolvedSiblings):
                _ = item.value


async def test_owners_are_level_once_status_is_ok_after_a_coordinator_died_beside_a_silent_owner(
    three: Three,
) -> None:
    """n1 is stopped, n2 takes writes that n3 acks, and both are killed before a hint for n1 is on a disk.
    Unless n2 compares after such an end, the writes stay on two disks of three until somebody reads them."""
    keys = [b"silent:%d" % number for number in range(10)]
    three.nodes.pause("n1")
    receipts = await asyncio.gather(*(three.put("n2", key, b"v") for key in keys))
    assert [owners_of(receipt) for receipt in receipts] == [{"n2", "n3"}] * len(keys)
    await three.nodes.kill(["n2", "n1"])
    await three.restart("n1", "n2")
    await three.at_rest()
    assert await three.are_level(keys)


async def test_a_step_of_all_clocks_stops_no_write(three: Three) -> None:
    """A node that could not ask the others what theirs read would refuse each write from then on."""
    async with three.client() as db:
        for ahead_s in (2.0, 0.0):  # forwards, and back
            three.shift_clocks(ahead_s, *NAMES)
            keys = [f"stepped:{ahead_s}:{number}" for number in range(5)]
            for key in keys:
                await db.put(key, b"v")
            for node in NAMES:
                await eventually(partial(three.takes_writes, node))
            assert [(await db.get(key)).value for key in keys] == [b"v"] * len(keys)


async def test_a_node_whose_clock_stepped_alone_takes_no_writes_until_it_is_right(three: Three) -> None:
    """Else it gives its writes a wrong time, and values with a ttl a wrong life."""
    async with three.client() as db:
        three.shift_clocks(2.0, "n1")

        async def is_told() -> bool:
            return any("the wall clock of n1 jumped" in reason for reason in (await db.status()).reasons)

        await eventually(is_told)
        with pytest.raises(Unavailable, match="the wall clock of this node jumped by") as refused:
            await three.put("n1", b"alone", b"v")
        assert refused.value.outcome == "failed"
        for number in range(5):
            assert "n1" not in (await db.put(f"beside:{number}", b"v")).dot
        three.shift_clocks(0.0, "n1")
        await eventually(partial(three.takes_writes, "n1"))


async def test_reads_agree_on_a_ttl_beside_a_node_whose_clock_is_two_hours_ahead(three: Three) -> None:
    """Judged by the clock of the node that is asked, a value is gone at n1 and there again at n2."""
    await three.nodes.kill(["n1"])
    three.shift_clocks(2 * HOUR_S, "n1")
    await three.restart("n1")
    ends = []
    for writer in NAMES:
        key = b"ttl:%s" % writer.encode()
        await three.put(writer, key, b"v", ttl_ms=TTL_MS)
        found = [await three.get(reader, key) for reader in NAMES]
        assert [values_of(each) for each in found] == [[b"v"]] * len(NAMES)
        ends += [each.siblings[0].expires_at_ms for each in found]
    assert max(ends) - min(ends) < TTL_MS / 2, "whoever wrote it"
    await three.put("n1", b"short", b"v", ttl_ms=1)

    async def is_gone() -> bool:
        return not any([values_of(await three.get(reader, b"short")) for reader in NAMES])

    await eventually(is_gone)
    await three.nodes.kill(["n1"])
    assert values_of(await three.get("n2", b"ttl:n3")) == [b"v"]
