"""Two owners that differ are made equal at little more cost than what differs; equal ones are not read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, Unavailable
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.ports import Priority
from ringmill.cluster.ring.keyspaces.keyspace_changes import NewKeyspace, created, dropped
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.cluster.wire.request_options import WriteOptions
from ringmill.node.repair.anti_entropy import AntiEntropy
from ringmill.node.repair.exchange import Exchange
from ringmill.node.replica.comparing.exchange_messages import EQUAL
from ringmill.node.replica.stored_key import Copy, Place
from ringmill.node.requests.request_values import WriteRequest
from ringmill.node.storage.engine import Engine
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.world.world import DEFAULT_KEYSPACE
from tests.node.repair.healing_world import HealingWorld, run

KEYS = [b"key%03d" % number for number in range(200)]
VALUE = bytes(600)


async def rounds(world: HealingWorld, number: int) -> None:
    """As many rounds of every node, whatever they find."""
    for _ in range(number):
        for name in world.world.nodes:
            anti_entropy = world[name].repair.anti_entropy
            await world.inside(name, anti_entropy._round(is_due=True))


async def until(condition: Callable[[], Awaitable[bool] | bool], every_s: float = 1.0) -> None:
    async with asyncio.timeout(600):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(every_s)


async def equal(world: HealingWorld, keys: list[bytes], names: tuple[str, ...] = ("n1", "n2", "n3")) -> bool:
    for key in keys:
        held = [await world.held(name, key) for name in names]
        if any(each != held[0] for each in held):
            return False
    return True


def moved(world: HealingWorld) -> tuple[int, int]:
    """Bytes of objects, and of all messages."""
    all_of_them = [world[name].replica.comparisons for name in world.world.nodes]
    return sum(each.moved_bytes for each in all_of_them), sum(each.wire_bytes for each in all_of_them)


def no_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every hint were lost with a disk."""

    async def keep_none(*_: Any) -> str:
        return ""

    monkeypatch.setattr("ringmill.node.requests.write_dispatcher.WriteDispatcher._keep_hint", keep_none)
    monkeypatch.setattr("ringmill.node.requests.write_dispatcher.WriteDispatcher._leave_hint", keep_none)


def test_an_owner_that_was_away_gets_what_it_missed_and_little_more(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hints(monkeypatch)

    async def story(world: HealingWorld) -> None:
        for key in KEYS:
            await world.put("n1", key, VALUE, "all")
        await world.down("n3")
        for key in KEYS[::2]:
            await world.put("n1", key, VALUE, "2")
        for key in KEYS[1:20:2]:
            await world.inside(
                "n1", world["n1"].requests.write(WriteRequest("", key, None, WriteOptions("2")))
            )
        await world.up("n3")
        objects, messages = moved(world)
        await until(lambda: equal(world, KEYS))
        await rounds(world, 2)
        now_objects, now_messages = moved(world)
        changed = [*KEYS[::2], *KEYS[1:20:2]]
        differing = sum([len(key) + 12 + len(encode_object(await world.held("n1", key))) for key in changed])
        assert differing <= now_objects - objects <= 1.05 * differing
        assert now_messages - messages <= 1.5 * differing

    run(story)


def test_equal_owners_are_not_read_and_say_little(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: HealingWorld) -> None:
        for key in KEYS:
            await world.put("n1", key, VALUE, "all")
        await asyncio.sleep(5)
        objects, messages = moved(world)

        def scan(*_: Any, **__: Any) -> Any:
            raise AssertionError("an equal copy is read")

        with monkeypatch.context() as engine:
            engine.setattr(Engine, "scan", scan)
            await rounds(world, 1)
        now_objects, now_messages = moved(world)
        assert now_objects == objects
        partitions, pairs = world.world.options.partitions, 3
        assert 0 < now_messages - messages <= 25 * partitions * pairs
        for name, other in (("n1", "n2"), ("n1", "n3"), ("n2", "n3"), ("n3", "n2")):
            comparisons = world[name].replica.comparisons
            found = [comparisons.equal_s_ago(world.world.partition(key), NodeId(other)) for key in KEYS]
            assert all(ago is not None and ago < 1 for ago in found)

    run(story)


def test_siblings_of_both_sides_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hints(monkeypatch)

    async def story(world: HealingWorld) -> None:
        await world.down("n3")
        for key in KEYS[:40]:
            await world.put("n1", key, b"one", "2")
        await world.up("n3")
        for name in ("n1", "n2"):
            await world.down(name)
        for key in KEYS[:40]:
            await world.put("n3", key, b"other", "1")
        for name in ("n1", "n2"):
            await world.up(name)
        await until(lambda: equal(world, KEYS[:40]))
        for key in KEYS[:40]:
            assert {each.value for each in (await world.held("n2", key)).siblings} >= {b"other"}

    run(story)


def test_a_comparison_that_is_cut_off_goes_on_with_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hints(monkeypatch)
    monkeypatch.setattr("ringmill.node.repair.exchange.UNIT_ITEMS", 4)
    units = 0
    equalize = Exchange._equalize

    async def count(exchange: Exchange, *rest: Any) -> Any:
        nonlocal units
        units += 1
        return await equalize(exchange, *rest)

    async def story(world: HealingWorld) -> None:
        nonlocal units
        await world.down("n3")
        for key in KEYS:
            await world.put("n1", key, VALUE, "2")
        units = 0
        with monkeypatch.context() as counted:
            counted.setattr(Exchange, "_equalize", count)
            await world.up("n3")
            await until(lambda: units >= 12, 0.001)
            for name in ("n1", "n3"):
                world.world.nodes[name].kill(CrashModel.PREFIX)
            before = moved_at = units
            for name in ("n1", "n3"):
                await world.up(name)
            await until(lambda: equal(world, KEYS))
            assert units > before == moved_at

    run(story)


def test_comparisons_that_are_all_cut_off_get_to_all_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hints(monkeypatch)
    monkeypatch.setattr("ringmill.node.repair.exchange.READ_BYTES", 3000)
    equalize, units = Exchange._equalize, dict[str, int]()

    async def third_fails(exchange: Exchange, other: Any, *rest: Any) -> Any:
        units[exchange._node] = units.get(exchange._node, 0) + 1
        if not units[exchange._node] % 3:
            raise Unavailable("the link is gone")
        return await equalize(exchange, other, *rest)

    async def story(world: HealingWorld) -> None:
        partition = world.world.partition(KEYS[0])
        every = [b"key%04d" % number for number in range(2000)]
        keys = [key for key in every if world.world.partition(key) == partition][:60]
        await world.down("n3")
        for key in keys:
            await world.put("n1", key, VALUE, "2")
        monkeypatch.setattr(Exchange, "_equalize", third_fails)
        await world.up("n3")
        await until(lambda: equal(world, keys), 5)

    run(story)


def test_a_damaged_copy_is_not_compared_until_it_is_healed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any) -> bool:
        return False

    async def story(world: HealingWorld) -> None:
        for key in KEYS:
            await world.put("n1", key, VALUE, "all")
        await world.inside("n2", world["n2"].replica.engine.flush())
        await world.down("n2")
        assert world.damage("n2", (".sst",))
        with monkeypatch.context() as healing:
            healing.setattr("ringmill.node.repair.healing.Healing.round", never)
            node = await world.up("n2")
            await asyncio.sleep(20)
            await world.inside("n2", node.replica.engine.verify())
            assert node.replica.engine.corrupt_ranges()
            comparisons = world["n1"].replica.comparisons
            pulled, moved_bytes = comparisons.pulled, comparisons.moved_bytes
            await rounds(world, 2)
            anti_entropy: AntiEntropy = world["n1"].repair.anti_entropy
            assert any("damaged" in why for why in anti_entropy.held_back.values())
            assert (comparisons.pulled, comparisons.moved_bytes) == (pulled, moved_bytes)
        await until(lambda: not node.replica.engine.corrupt_ranges())
        await until(lambda: not world["n1"].repair.anti_entropy.held_back)
        assert await equal(world, KEYS)

    run(story)


async def _change(world: HealingWorld, change: Any) -> None:
    await world.inside("n1", world["n1"].membership.epochs.change(change, 5.0))


def test_keys_of_a_dropped_keyspace_hold_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hints(monkeypatch)
    keys = KEYS[:40]

    async def put(world: HealingWorld, key: bytes, value: bytes, level: str) -> None:
        request = WriteRequest("carts", key, value, WriteOptions(level))
        await world.inside("n1", world["n1"].requests.write(request))

    async def story(world: HealingWorld) -> None:
        await _change(world, lambda topology, _: created(topology, NewKeyspace("carts")))
        carts = world["n1"].membership.topology.serving_topology().keyspace_named("carts").id
        for key in keys[::2]:
            await put(world, key, b"older", "all")
        await world.down("n3")
        for key in keys:
            await put(world, key, b"newer", "2")
            await world.put("n1", key, b"v", "2")
        await _change(world, lambda topology, _: dropped(topology, "carts", may_be_done=False))
        await world.up("n3")
        await until(lambda: equal(world, keys))
        await rounds(world, 2)
        await asyncio.sleep(30)
        for name in world.world.nodes:
            anti_entropy = world[name].repair.anti_entropy
            assert anti_entropy.is_done and not anti_entropy.held_back, anti_entropy.held_back
        for key in keys:
            copy = Copy(world[name].membership.topology.serving_topology().partition_of(carts, key), Epoch(1))
            held = await world.inside("n3", world["n3"].replica.objects.read(Place(copy, carts, key)))
            assert not held.siblings
        objects = moved(world)[0]
        await rounds(world, 1)
        assert moved(world)[0] == objects

    run(story)


def test_a_new_copy_takes_what_differs_and_brings_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules M3 and M4: a further source of a move is read by what differs."""
    no_hints(monkeypatch)
    key = KEYS[0]

    async def nothing(*_: Any, **__: Any) -> None:
        return

    monkeypatch.setattr(AntiEntropy, "_round", nothing)

    async def story(world: HealingWorld) -> None:
        await world.down("n3")
        await world.put("n1", key, VALUE, "2")
        await world.up("n3")
        partition, row = world.world.partition(key), world.world.row(key)
        copy, held = Copy(partition, row.copy_epochs[0]), await world.held("n1", key)
        mine = world["n3"].replica.objects
        await world.inside("n3", mine.apply(Place(copy, DEFAULT_KEYSPACE, b"alone"), held))
        exchange = world["n3"].repair.exchange
        await until(lambda: not world["n3"].repair.keyspaces.waiting)  # what it holds is known then
        assert not (await world.held("n3", key)).siblings
        began, walked = asyncio.get_running_loop().time(), list[bytes]()
        came = await world.inside("n3", exchange.pull(partition, row, NodeId("n1"), walked.append))
        assert came == len(key) + 12 + len(encode_object(held))
        assert asyncio.get_running_loop().time() - began < 1.0, "an epoch waits for a pause between two looks"
        assert await world.held("n3", key) == held
        assert not (await world.held("n1", b"alone")).siblings
        assert walked == [b""]
        assert await world.inside("n3", exchange.pull(partition, row, NodeId("n1"), walked.append)) == 0

    run(story)


def test_an_object_too_large_to_cross_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hints(monkeypatch)
    monkeypatch.setattr("ringmill.node.repair.exchange.UNIT_ITEMS", 4)
    ask = Exchange._ask

    async def limited(exchange: Exchange, peer: NodeId, method: str, request: bytes) -> bytes:
        if len(request) > 300_000:
            raise InvalidArgument(
                f"{method}: a body of {len(request)} bytes is over the frame limit of 300000"
            )
        answer = await ask(exchange, peer, method, request)
        if len(answer) > 300_000:
            raise Unavailable(f"{method}: an answer of {len(answer)} bytes is over the frame limit")
        return answer

    monkeypatch.setattr(Exchange, "_ask", limited)

    async def story(world: HealingWorld) -> None:
        await world.down("n3")
        for key in KEYS:
            await world.put("n1", key, bytes(400_000) if key == KEYS[0] else VALUE, "2")
        await world.up("n3")
        await until(lambda: equal(world, KEYS[1:]))
        told = [world[name].repair.anti_entropy.held_back for name in ("n1", "n2")]
        wanted = re.compile("an object of 400... bytes cannot cross: .* is over the frame limit")
        await until(lambda: any(wanted.search(why) for each in told for why in each.values()))
        await world.put("n1", KEYS[0], b"small", "2")
        await until(lambda: equal(world, KEYS))

    run(story)


@pytest.mark.parametrize("gated", ["n1", "n2"], ids=["who asks", "who answers"])
def test_roots_are_reported_once_they_are_on_the_disk(gated: str) -> None:
    async def story(world: HealingWorld) -> None:
        for key in KEYS[:10]:
            await world.put("n1", key, VALUE, "all")
        await asyncio.sleep(5)
        is_synced = asyncio.Event()
        objects = world[gated].replica.objects

        async def wait_synced(*, is_urgent: bool = True) -> None:
            await is_synced.wait()

        objects.wait_synced = wait_synced  # type: ignore[method-assign]
        exchange, row = world["n1"].repair.anti_entropy._exchange, world.world.row(KEYS[0])
        root = exchange.root(world.world.partition(KEYS[0]), row)
        assert root is not None
        asking = asyncio.ensure_future(world.inside("n1", exchange.compare_roots(NodeId("n2"), [root])))
        await asyncio.sleep(2)
        assert not asking.done()
        is_synced.set()
        assert await asking == bytes([EQUAL])

    run(story)


def test_owners_at_a_slow_link_get_equal_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs takes the link twice as long as is given to a call."""
    no_hints(monkeypatch)

    async def story(world: HealingWorld) -> None:
        partition = world.world.partition(b"key")
        names = (b"k%d" % number for number in range(10_000))
        keys = [key for key in names if world.world.partition(key) == partition][:12]
        large = bytes(100_000)
        for key in keys:
            await world.put("n2", key, b"old", "all")
        await world.down("n1")
        for key in keys:
            await world.put("n2", key, large, "2")
        await world.up("n1")
        link = SlowLink(bytes_per_s=125_000)
        for name in world.world.nodes:
            transport = world[name].core.transport
            transport.call = link.carry(name, transport.call)  # type: ignore[method-assign]
        async with asyncio.timeout(60):
            await until(lambda: equal(world, keys))
        assert link.carried_bytes < 3 * len(keys) * len(large)

    run(story)


def test_an_object_crosses_a_slow_link_beside_small_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone it takes longer than is given to a call, and other partitions differ for a moment meanwhile."""
    no_hints(monkeypatch)

    async def story(world: HealingWorld) -> None:
        await world.put("n2", b"large", b"old", "all")
        await world.down("n1")
        await world.put("n2", b"large", bytes(1 << 20), "2")
        await world.up("n1")
        crossings = world["n1"].repair.anti_entropy._exchange._crossings
        link = SlowLink(bytes_per_s=125_000)
        for name in world.world.nodes:
            transport = world[name].core.transport
            transport.call = link.carry(name, transport.call)  # type: ignore[method-assign]

        async def ask_small() -> None:
            while True:
                with crossings.within(NodeId("n2")), crossings.within(NodeId("n3")):
                    await asyncio.sleep(0.1)

        asking = asyncio.ensure_future(ask_small())
        async with asyncio.timeout(120):
            await until(lambda: equal(world, [b"large"]))
        asking.cancel()

    run(story)


class SlowLink:
    """Carries what n1 and the others say to each other for repair, one message after the other."""

    def __init__(self, bytes_per_s: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._busy_until = 0.0
        self.carried_bytes = 0

    def carry(self, name: str, call: Any) -> Any:
        async def carried(node: NodeId, method: str, body: bytes, **named: Any) -> bytes:
            if named["priority"] is not Priority.REPAIR or "n1" not in (name, node):
                return bytes(await call(node, method, body, **named))
            try:
                async with asyncio.timeout(named["timeout_s"]):
                    await self._cross(len(body))
                    answer = await call(node, method, body, **named)
                    await self._cross(len(answer))
            except TimeoutError as error:
                raise DeadlineExceeded(f"{method} to {node} took too long") from error
            return bytes(answer)

        return carried

    async def _cross(self, size_bytes: int) -> None:
        now = asyncio.get_running_loop().time()
        self.carried_bytes += size_bytes
        self._busy_until = max(now, self._busy_until) + size_bytes / self._bytes_per_s
        await asyncio.sleep(self._busy_until - now)
