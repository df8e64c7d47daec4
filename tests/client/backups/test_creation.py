"""Making backups: what is copied, what is left behind, and what stands in the way."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from ringmill.client.backups import backup_calls
from ringmill.client.backups.backup_manifest import BackupManifest
from ringmill.client.backups.backup_progress import BytePace
from ringmill.cluster.errors import (
    Conflict,
    CorruptData,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    PermissionDenied,
    ProtocolMismatch,
    Unavailable,
)
from ringmill.cluster.ids import Epoch, PartitionId
from ringmill.cluster.ring.access.access_changes import required
from ringmill.cluster.ring.access.access_entries import OPEN_TO_ALL
from ringmill.cluster.ring.keyspaces.keyspace_changes import NewKeyspace
from ringmill.cluster.ring.moves import with_plan
from ringmill.cluster.ring.topology import Topology
from ringmill.node.backups import pins
from ringmill.node.backups.pins import Pin
from ringmill.node.replica.stored_key import Copy
from ringmill.node.services.table import Call, Unary
from ringmill.simulator.disk.lossy import LossyDisk
from tests.client.backups.backup_world import BackedWorld, methods_of, of_the_release_before, read_rows
from tests.node.repair.healing_world import HealingWorld, run

KEYS = [b"key%03d" % number for number in range(30)]


async def keys_of(backed: BackedWorld, manifest: BackupManifest) -> set[bytes]:
    wanted = list(manifest.topology.keyspaces)
    return {row.key async for rows in read_rows(backed.store, manifest, wanted) for row in rows}


async def filled(world: HealingWorld) -> None:
    for key in KEYS:
        await world.put("n1", key, key * 20)


def test_the_next_backup_copies_only_new_tables() -> None:
    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, LossyDisk())
        await filled(world)
        first = await backed.create("monday")
        assert backed.progress.copied_tables == len(first.tables()) > 0
        assert (first.missing, first.holds_w) == ((), 1)
        await world.put("n1", b"new", b"value")
        second = await backed.create("tuesday")
        new = second.tables().keys() - first.tables().keys()
        assert backed.progress.copied_tables == len(new) < len(second.tables())
        assert backed.progress.done_bytes == backed.progress.total_bytes
        assert await backed.store.names() == ["monday", "tuesday"]
        assert await keys_of(backed, first) == {*KEYS}
        assert await keys_of(backed, second) == {*KEYS, b"new"}
        with pytest.raises(Conflict, match="has a backup 'monday' already"):
            await backed.create("monday")
        await backed.store.delete("monday")
        pruned = await backed.store.prune()
        assert pruned.tables == len(first.tables().keys() - second.tables().keys())
        assert await keys_of(backed, second) == {*KEYS, b"new"}
        with pytest.raises(NotFound, match="no backup 'monday'"):
            await backed.store.read("monday")

    run(story)


def test_a_table_that_an_earlier_backup_lost_is_copied_again() -> None:
    async def story(world: HealingWorld) -> None:
        disk = LossyDisk()
        backed = BackedWorld(world, disk)
        await filled(world)
        tables = (await backed.create("monday")).tables().values()
        gone, short = (backed.store.table_path(table.sha256) for table in sorted(tables, key=str)[:2])
        for path in (gone, short):
            disk.unlink(path)
        disk.create(short).append(b"its beginning")
        second = await backed.create("tuesday")
        assert second.tables().keys() == {table.sha256 for table in tables}, "no node has made others"
        assert backed.progress.copied_tables == 2
        assert await keys_of(backed, second) == {*KEYS}

    run(story)


def test_a_damaged_manifest_is_in_the_way_of_no_other_backup() -> None:
    async def story(world: HealingWorld) -> None:
        disk = LossyDisk()
        backed = BackedWorld(world, disk)
        await filled(world)
        first = await backed.create("monday")
        disk.unlink("backups/backups/monday.json")
        disk.create("backups/backups/monday.json").append(b"{")
        second = await backed.create("tuesday")
        assert second.tables().keys() == first.tables().keys() and not backed.progress.copied_tables
        with pytest.raises(CorruptData, match=r"monday\.json"):  # it may name any of the tables
            await backed.store.prune()

    run(story)


def test_an_interrupted_backup_does_not_exist_and_is_taken_up() -> None:
    async def story(world: HealingWorld) -> None:
        disk = LossyDisk()
        backed = BackedWorld(world, disk)
        await filled(world)
        asked = Counter[str]()

        def killed(node: str, method: str) -> None:
            asked[method] += 1
            if method == "ReadTable" and asked[method] == 4:
                raise ConnectionError

        backed.asked = killed
        with pytest.raises(ConnectionError):
            await backed.create("monday")
        backed.asked = lambda node, method: None
        assert await backed.store.names() == []
        left = [name for name in disk.list("backups/tables") if name.endswith(".sst")]
        manifest = await backed.create("monday")
        assert backed.progress.copied_tables == len(manifest.tables()) - len(left)
        assert await keys_of(backed, manifest) == {*KEYS}
        await backed.store.delete("monday")
        assert (await backed.store.prune()).tables == len(manifest.tables())
        assert disk.list("backups/tables") == []

    run(story)


def test_a_node_that_goes_away_meanwhile_is_left_out() -> None:
    async def story(world: HealingWorld) -> None:
        backed, gone = BackedWorld(world, LossyDisk()), set[str]()
        await filled(world)

        def asked(node: str, method: str) -> None:
            if node in gone and method in ("HashTable", "ReadTable"):
                raise Unavailable(f"{node} cannot be reached")

        backed.asked = asked
        gone.add("n2")
        manifest = await backed.create("without-n2")
        assert (manifest.missing, manifest.holds_w) == (("n2",), 2)
        assert await keys_of(backed, manifest) == {*KEYS}
        gone.add("n3")
        with pytest.raises(Unavailable, match=r"from 1 of its 3 owners.*missing: n2 \(n2 cannot .*\), n3"):
            await backed.create("without-both")
        assert await backed.store.names() == ["without-n2"]

    run(story)


def test_a_node_with_a_table_that_it_cannot_read_is_left_out() -> None:
    """Its disk is failing, which is when a backup is wanted."""

    async def story(world: HealingWorld) -> None:
        backed, failing = BackedWorld(world, LossyDisk()), set[str]()
        await filled(world)

        def asked(node: str, method: str) -> None:
            if node in failing and method in ("HashTable", "ReadTable"):
                raise CorruptData(f"{node} cannot read a table: EIO")

        backed.asked = asked
        failing.add("n2")
        manifest = await backed.create("without-n2")
        assert (manifest.missing, manifest.holds_w) == (("n2",), 2)
        assert await keys_of(backed, manifest) == {*KEYS}
        failing.add("n3")
        with pytest.raises(Unavailable, match=r"missing: n2 \(n2 cannot read a table: EIO\), n3"):
            await backed.create("without-both")

    run(story)


def test_a_node_whose_table_comes_with_other_bytes_is_left_out() -> None:
    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, LossyDisk())
        await filled(world)

        def asked(node: str, method: str) -> None:
            if (node, method) == ("n2", "HashTable"):
                pins_of = world[node].backups.pins
                for kept in pins_of._kept.values():
                    pins_of._hashes.update({meta.file_id: "0" * 64 for meta in kept.pin.tables.tables})

        backed.asked = asked
        manifest = await backed.create("without-n2")
        assert (manifest.missing, manifest.holds_w) == (("n2",), 2)
        assert await keys_of(backed, manifest) == {*KEYS}

    run(story)


def test_all_are_pinned_again_when_one_has_removed_something_meanwhile() -> None:
    """A hint that was delivered between two pins would be in neither of them (rule B2)."""

    async def story(world: HealingWorld) -> None:
        backed, pinned = BackedWorld(world, LossyDisk()), Counter[str]()

        def asked(node: str, method: str) -> None:
            pinned[node] += method == "Pin"
            if method == "Pin" and pinned["n3"] == 1 and node == "n3":
                world[node].replica.hints.delivered += 1

        backed.asked = asked
        await filled(world)
        await backed.create("monday")
        assert pinned == {"n1": 2, "n2": 2, "n3": 2}

        def always(node: str, method: str) -> None:
            if method == "Pin" and node == "n3":
                world[node].replica.hints.delivered += 1

        backed.asked = always
        with pytest.raises(Unavailable, match="a node removed something"):
            await backed.create("tuesday")
        assert not [name for name in ("n1", "n2", "n3") if world[name].backups.pins._kept], "none is left"

    run(story)


def test_one_member_that_keeps_an_old_topology_is_left_out() -> None:
    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, LossyDisk())
        old = world["n3"].membership.topology.serving_topology()
        await backed.create_keyspace(NewKeyspace("notes"))
        await asyncio.sleep(1)
        world["n3"].backups.pins._topology = OldView(old)  # type: ignore[assignment]
        manifest = await backed.create("monday")
        assert (manifest.missing, manifest.holds_w, manifest.topology.epoch) == (("n3",), 2, old.epoch + 1)
        assert not [name for name in ("n1", "n2", "n3") if world[name].backups.pins._kept]
        world["n2"].backups.pins._topology = OldView(old)  # type: ignore[assignment]
        with pytest.raises(Unavailable, match=r"missing: n2 \(has topology epoch 1, others 2\), n3"):
            await backed.create("tuesday")

    run(story)


class OldView:
    def __init__(self, topology: Topology) -> None:
        self.current = topology

    def serving_topology(self) -> Topology:
        return self.current


def test_no_pin_is_left_when_one_member_refuses() -> None:
    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, LossyDisk())

        def asked(node: str, method: str) -> None:
            if (node, method) == ("n2", "Pin"):
                raise Overloaded("n2 keeps its tables for 4 backups already")

        backed.asked = asked
        with pytest.raises(Overloaded):
            await backed.create("monday")
        assert not [name for name in ("n1", "n2", "n3") if world[name].backups.pins._kept]

    run(story)


def test_no_backup_is_made_while_partitions_move() -> None:
    def turned(topology: Topology, may_be_made: bool) -> Topology | None:
        names = [each.id for each in topology.members]
        wanted = [(*row.whole[1:], *(n for n in names if n not in row.whole)) for row in topology.rows]
        return with_plan(topology, topology.members, wanted)

    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, LossyDisk())
        await world.inside("n1", world["n1"].membership.epochs.change(turned, 10.0))
        with pytest.raises(Conflict, match="partitions move"):
            await backed.create("monday")

    run(story, nodes=4)


def test_a_former_copy_that_is_owed_is_waited_for() -> None:
    """What it holds alone would be in no backup, and what it brings might come after a pin (rule B1)."""

    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, LossyDisk())
        await filled(world)
        owed, copy = world["n3"].moves.owed_copies, Copy(PartitionId(0), Epoch(77))

        def asked(node: str, method: str) -> None:
            if (node, method) == ("n3", "Pin") and copy in owed:
                owed._settle(copy)

        owed._owed[copy] = 0  # and no round begins
        backed.asked, pins_before = asked, world["n1"].backups.pins._begun
        manifest = await backed.create("monday")
        assert (manifest.missing, manifest.holds_w) == ((), 1)
        assert world["n1"].backups.pins._begun == pins_before + 2, "what it brought may be behind the first"

    run(story)


def test_whoever_cannot_bring_a_former_copy_is_left_out_while_the_others_suffice() -> None:
    """It may never be brought, as when a disk is failing; without that member it would be left out, too."""

    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, LossyDisk())
        await filled(world)
        copy, loop = Copy(PartitionId(0), Epoch(77)), asyncio.get_running_loop()
        world["n3"].moves.owed_copies._owed[copy] = 0  # and no round begins
        began = loop.time()
        manifest = await backed.create("monday")
        assert (manifest.missing, manifest.holds_w) == (("n3",), 2) and loop.time() - began > 20
        assert await keys_of(backed, manifest) == {*KEYS}
        world["n2"].moves.owed_copies._owed[copy] = 0
        with pytest.raises(Unavailable, match=r"missing: n2 \(still brings what .*, n3 \(still brings what"):
            await backed.create("tuesday")
        world["n1"].moves.owed_copies._owed[copy] = 0
        with pytest.raises(Conflict, match="former copies at n1, n2, n3 may hold what the owners lack"):
            await backed.create("wednesday")
        assert not [name for name in ("n1", "n2", "n3") if world[name].backups.pins._kept]

    run(story)


def test_a_node_that_cannot_tell_what_it_keeps_counts_as_one_that_owes() -> None:
    """A backup is made before an upgrade, by the new command: the nodes of the release before do not say."""

    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, LossyDisk())
        await filled(world)
        world["n3"].moves.owed_copies._owed[Copy(PartitionId(0), Epoch(77))] = 0  # and no round begins
        backed.told = lambda node, told: of_the_release_before(told) if node == "n3" else None
        manifest = await backed.create("monday")
        assert (manifest.missing, manifest.holds_w, backed.progress.untold) == ((), 2, ("n3",))
        backed.told = lambda node, told: of_the_release_before(told)
        manifest = await backed.create("tuesday")
        assert (manifest.holds_w, backed.progress.untold) == (2, ("n1", "n2", "n3"))

    run(story)


def test_a_pin_ends_when_nobody_asks_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "UNUSED_S", 12.0)

    async def story(world: HealingWorld) -> None:
        await filled(world)
        kept = world["n1"].backups.pins
        pin = await world.inside("n1", kept.pin())
        await asyncio.sleep(10)
        file = pin.tables.tables[0].file_id
        assert await world.inside("n1", kept.read(pin.name, file, 0))
        await asyncio.sleep(10)
        assert await world.inside("n1", kept.read(pin.name, file, 0)), "it was asked for meanwhile"
        await world.inside("n1", kept.sha256(pin.name, file))
        for _ in range(2):
            await asyncio.sleep(10)
            assert await world.inside("n1", kept.sha256(pin.name, file)), "a hash that is known, too"
        await asyncio.sleep(12.1)
        with pytest.raises(NotFound, match="does not keep tables as"):
            await world.inside("n1", kept.read(pin.name, file, 0))

    run(story)


def test_a_slow_backup_keeps_its_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    """One piece takes longer than an unused pin lasts, for all that have it."""
    monkeypatch.setattr(pins, "UNUSED_S", 4.0)
    monkeypatch.setattr(backup_calls, "KEEP_S", 1.0)

    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, LossyDisk())
        await filled(world)
        backed.pace = BytePace(1000.0)
        began_s = world.world.loop.time()
        manifest = await backed.create("slow")
        assert world.world.loop.time() - began_s > 5
        assert (manifest.missing, manifest.holds_w) == ((), 1)

    run(story)


def test_pins_are_kept_while_another_member_does_not_get_its_own_done() -> None:
    """A full disk lets no memtable be flushed, so a pin waits until the caller gives up."""

    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, LossyDisk())
        await filled(world)

        async def waits() -> Pin:
            await asyncio.sleep(backup_calls.PIN_S + 1)
            raise DeadlineExceeded("n2 did not answer")

        world["n2"].backups.pins.pin = waits  # type: ignore[method-assign]
        manifest = await backed.create("monday")
        assert (manifest.missing, manifest.holds_w) == (("n2",), 2)

    run(story)


def test_nobody_goes_on_asking_about_a_pin_that_was_given_back() -> None:
    async def story(world: HealingWorld) -> None:
        backed, asked = BackedWorld(world, LossyDisk()), Counter[str]()
        await filled(world)
        await backed.create("monday")
        backed.asked = lambda node, method: asked.update([method])
        await asyncio.sleep(3 * backup_calls.KEEP_S)
        assert not asked

    run(story)


def test_a_manifest_is_checked() -> None:
    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, LossyDisk())
        encoded = (await backed.create("monday")).encode()
        assert BackupManifest.decode("m.json", encoded).encode() == encoded
        for wrong, error in (
            (encoded.replace(b'"epoch": 1', b'"epoch": 2'), CorruptData),
            (encoded.replace(b'"format": 1', b'"format": 2'), ProtocolMismatch),
            (encoded[:-1], CorruptData),
            (b"[]", CorruptData),
        ):
            with pytest.raises(error, match=r"m\.json"):
                BackupManifest.decode("m.json", wrong)

    run(story)


def test_a_backup_has_no_tokens_of_clients() -> None:
    """Who reads it could pose as a node to one of them (rule F8)."""

    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, LossyDisk())
        change = world["n1"].membership.epochs.change(
            lambda present, _: required(present, is_required=True), 10.0
        )
        told = await world.inside("n1", change)
        assert told.topology.access.is_required
        manifest = await backed.create("monday")
        assert (manifest.topology.epoch, manifest.topology.access) == (told.topology.epoch, OPEN_TO_ALL)

    run(story)


def test_nobody_reads_tables_without_the_token() -> None:
    async def story(world: HealingWorld) -> None:
        methods = methods_of(world["n1"])
        assert len(methods) == 7
        for method in methods.values():

            async def asked(method: Unary = method) -> bytes:
                return await method.run(b"", Call())

            with pytest.raises(PermissionDenied, match="token is missing"):
                await world.inside("n1", asked())

    run(story)
