"""A backup that is made under load, restored into another cluster whose nodes have the same names."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ringmill.client.backups.backup_coverage import held_level
from ringmill.client.backups.backup_manifest import BackupManifest
from ringmill.cluster.consensus.register import ABSENT, Cas
from ringmill.cluster.errors import Conflict, CorruptData, RingmillError, Unavailable
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.ring.keyspaces.keyspace_changes import NewKeyspace, dropped
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.versions.hybrid_time import hybrid_time
from ringmill.cluster.wire.request_options import ReadOptions, WriteOptions
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead
from ringmill.node.requests.request_values import ReadRequest, WriteRequest
from ringmill.simulator.disk.lossy import LossyDisk
from tests.client.backups.backup_world import BackedWorld, of_the_release_before, read_rows
from tests.node.repair.healing_world import HealingWorld, registers_at, run

KEYS = [b"key%03d" % number for number in range(60)]
COUNTS = NewKeyspace("counts", policy="counter")
CACHE = NewKeyspace("cache", policy="lww", ttl_ms=3_600_000)
LOCKS = NewKeyspace("locks", kind="registers")


async def put(world: HealingWorld, name: str, keyspace: str, key: bytes, value: bytes, **more: int) -> None:
    request = WriteRequest(keyspace, key, value, WriteOptions(), **more)  # type: ignore[arg-type]
    await world.inside(name, world[name].requests.write(request))


async def get(world: HealingWorld, name: str, keyspace: str, key: bytes) -> list[bytes | None]:
    request = ReadRequest(keyspace, key, ReadOptions())
    found = await world.inside(name, world[name].requests.get(request))
    return sorted(sibling.value or b"" for sibling in found.siblings)  # type: ignore[return-value]


async def written_under_trouble(world: HealingWorld, backed: BackedWorld) -> BackupManifest:
    """n3 is cut off from the others, and misses half of the writes; n1 does not answer when the backup is
    made."""
    for new in (COUNTS, CACHE, LOCKS):
        await backed.create_keyspace(new)
    for key in KEYS:
        await world.put("n1", key, b"first of " + key)
    for other in ("n1", "n2"):
        world.world.network.link("n3", other).is_cut = world.world.network.link(other, "n3").is_cut = True
    for key in KEYS[::2]:
        await world.put("n2", key, b"second of " + key)
    await world.delete("n1", KEYS[1])
    for value in (b"mine", b"yours"):
        request = WriteRequest("", b"both", value, WriteOptions(is_blind=True))
        await world.inside("n2", world["n2"].requests.write(request))
    for number in range(5):
        await put(world, "n1" if number % 2 else "n2", "counts", b"visits", b"", amount=10)
    await put(world, "n2", "cache", b"page", b"<html>")
    lock = ChangeRequest(RegisterRead("locks", b"leader"), Cas(ABSENT, b"n7"), None)
    await world.inside("n1", world["n1"].requests.change_register(lock))
    named = lock._replace(where=RegisterRead("locks", b"ringmill/leader"))
    await world.inside("n1", world["n1"].requests.change_register(named))
    again = lock._replace(change=Cas(b"n7", b"n8"))
    assert (await world.inside("n2", world["n2"].requests.change_register(again))).version == 2

    def asked(node: str, method: str) -> None:
        if node == "n1":
            raise Unavailable("n1 cannot be reached")

    backed.asked = asked
    wrote: list[int] = []
    load = asyncio.ensure_future(_load(world, wrote))
    try:
        manifest = await backed.create("nightly")
    finally:
        load.cancel()
    assert wrote, "writes went on meanwhile"
    return manifest


async def _load(world: HealingWorld, wrote: list[int]) -> None:
    while True:
        try:
            await world.put("n2", b"load%05d" % (len(wrote) % 50), b"%d" % len(wrote))
            wrote.append(len(wrote))
        except RingmillError:
            await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def made() -> tuple[LossyDisk, BackupManifest]:
    disk, manifests = LossyDisk(), list[BackupManifest]()

    async def story(world: HealingWorld) -> None:
        manifests.append(await written_under_trouble(world, BackedWorld(world, disk)))

    run(story, seed=5)
    return disk, manifests[0]


def test_all_that_was_acknowledged_is_restored(made: tuple[LossyDisk, BackupManifest]) -> None:
    disk, manifest = made
    assert (manifest.missing, manifest.holds_w) == (("n1",), 2)

    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, disk)
        assert await backed.store.read("nightly") == manifest
        progress = await backed.restore(manifest)
        assert progress.registers == 2 and progress.objects >= len(KEYS)
        for number, key in enumerate(KEYS):
            expected = [(b"first of " if number % 2 else b"second of ") + key] if number != 1 else []
            assert await world.get("n1", key) == expected, key
        assert await get(world, "n2", "counts", b"visits") == [b"20", b"30"], "each actor keeps its total"
        assert sorted(await world.get("n2", b"both")) == [b"mine", b"yours"]  # type: ignore[type-var]
        page = await world.inside(
            "n1", world["n1"].requests.get(ReadRequest("cache", b"page", ReadOptions()))
        )
        (sibling,) = page.siblings
        assert sibling.value == b"<html>"
        assert -60_000 < sibling.expires_at_ms - (manifest.began_ms + 3_600_000) <= 0, "as it was written"
        read = RegisterRead("locks", b"leader")
        told = await world.inside("n1", world["n1"].requests.read_register(read))
        assert (told.value, told.version) == (b"n8", 2), "a cas goes on from the version that clients know"
        own = RegisterRead("locks", b"ringmill/leader")  # no register of the cluster, in this keyspace
        assert (await world.inside("n1", world["n1"].requests.read_register(own))).value == b"n7"
        await later_writes_replace(world)

    run(story, nodes=2, seed=6)


def test_registers_of_the_cluster_itself_are_neither_restored_nor_in_the_way() -> None:
    """Whatever the id of their keyspace: an earlier release may have formed the cluster without it."""
    disk = LossyDisk()
    own, lock = RegisterRead("", b"ringmill/coordinator"), RegisterRead("", b"lock")

    async def claimed(world: HealingWorld, *wheres: RegisterRead) -> BackedWorld:
        for where in wheres:
            change = ChangeRequest(where, Cas(ABSENT, b"n1"), None)
            await world.inside("n1", world["n1"].requests.change_register(change))
        return BackedWorld(world, disk)

    async def backs_up(world: HealingWorld) -> None:
        await (await claimed(world, own, lock)).create("nightly")

    async def restores(world: HealingWorld) -> None:
        backed = await claimed(world, own)
        progress = await backed.restore(await backed.store.read("nightly"))
        assert progress.registers == 1

    with registers_at(KeyspaceId(1, 7)):
        run(backs_up, seed=7)
        run(restores, seed=8)


async def later_writes_replace(world: HealingWorld) -> None:
    """Also through nodes whose names stand in what was restored (rule V8)."""
    for number, key in enumerate((b"both", *KEYS[:12])):
        name = ("n1", "n2")[number % 2]
        await world.put(name, key, b"later")
        for reader in ("n1", "n2"):
            assert await world.get(reader, key) == [b"later"], key
    await put(world, "n1", "counts", b"visits", b"", amount=1)
    assert sum(map(int, await get(world, "n2", "counts", b"visits"))) == 51  # type: ignore[arg-type]
    cas = ChangeRequest(RegisterRead("locks", b"leader"), Cas(None, b"n9", 2), None)
    assert (await world.inside("n2", world["n2"].requests.change_register(cas))).version == 3


def test_one_owner_that_lags_is_not_a_backup(made: tuple[LossyDisk, BackupManifest]) -> None:
    """Without the quorum of rule B1: n3 alone has missed acknowledged writes."""
    disk, manifest = made
    alone = [node for node in manifest.nodes if node.node == "n3"]
    with pytest.raises(Unavailable, match=r"read from 1 of its 3 owners.*missing: n1, n2"):
        held_level(manifest.topology, alone)

    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, disk)
        wanted = list(manifest.topology.keyspaces)
        found = {
            row.key: row.value
            async for rows in read_rows(backed.store, manifest, wanted, alone)
            for row in rows
        }
        assert any(b"second of " not in found[key] for key in KEYS[::2])

    run(story, nodes=1)


def test_what_is_older_than_the_watermark_is_restored(made: tuple[LossyDisk, BackupManifest]) -> None:
    """A cluster that was formed long ago has proven, of nothing, that all of its old deletes may go."""
    disk, manifest = made

    async def story(world: HealingWorld) -> None:
        for name in ("n1", "n2"):
            node = world[name]
            later = hybrid_time(manifest.ended_ms + 3_600_000)  # than all that is restored
            marks = dict.fromkeys(range(manifest.topology.partitions), later)
            await world.inside(name, node.replica.watermarks.learn(marks))  # type: ignore[arg-type]
        await BackedWorld(world, disk).restore(manifest, "default")
        assert await world.get("n1", KEYS[3]) == [b"first of " + KEYS[3]]
        assert await world.get("n2", KEYS[4]) == [b"second of " + KEYS[4]]

    run(story, nodes=2, seed=7)


def test_a_restore_into_what_is_not_empty_is_refused(made: tuple[LossyDisk, BackupManifest]) -> None:
    disk, manifest = made

    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, disk)
        await world.put("n1", b"here", b"before")
        await world.delete("n1", b"here")
        with pytest.raises(Conflict, match=r"not empty here: default on n\d \(deleted keys count\)"):
            await backed.restore(manifest)
        assert not world.world.topology.has_keyspace("cache"), "nothing was changed"
        await backed.restore(manifest, "cache")
        assert await get(world, "n1", "cache", b"page") == [b"<html>"]
        with pytest.raises(Conflict, match="cache on n"):
            await backed.restore(manifest, "cache")
        await backed.restore(manifest, "cache", is_resumed=True)
        assert await get(world, "n2", "cache", b"page") == [b"<html>"]

    run(story, nodes=2, seed=8)


def test_a_node_of_the_same_start_is_restarted_first() -> None:
    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, LossyDisk())
        await backed.create_keyspace(CACHE)
        await put(world, "n1", "cache", b"page", b"<html>")
        manifest = await backed.create("b1")
        with pytest.raises(Conflict, match="not been restarted since the backup was made: n1, n2, n3"):
            await backed.restore(manifest, "cache", is_resumed=True)
        # A node that could not be asked for the backup is not known from it.
        unknown = replace(manifest, nodes=tuple(replace(node, boot="0" * 16) for node in manifest.nodes))
        await world.inside("n1", world["n1"].membership.epochs.change(_without_cache, 10.0))
        with pytest.raises(Conflict, match=r"n\d has not been restarted since .* names write n\d#"):
            await backed.restore(unknown, "cache")

    run(story)


def test_a_node_that_the_backup_was_made_without_is_restarted_first_too() -> None:
    """It may have coordinated writes meanwhile: it would refuse them half way through the restore."""

    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, LossyDisk())
        await backed.create_keyspace(CACHE)
        await put(world, "n3", "cache", b"page", b"<html>")

        def asked(node: str, method: str) -> None:
            if node == "n3":
                raise Unavailable("n3 cannot be reached")

        backed.asked = asked
        manifest = await backed.create("b1")
        assert manifest.missing == ("n3",)
        backed.asked = lambda node, method: None
        await world.inside("n1", world["n1"].membership.epochs.change(_without_cache, 10.0))
        for name in ("n1", "n2"):
            await world.down(name)
            await world.up(name)
        with pytest.raises(Conflict, match=r"not been restarted since the backup was made: n3$"):
            await backed.restore(manifest, "cache")
        backed.told = lambda node, told: of_the_release_before(told)
        with pytest.raises(Conflict, match=r"does not tell how long it has been running: n3$"):
            await backed.restore(manifest, "cache")
        backed.told = lambda node, told: None
        await world.down("n3")
        await world.up("n3")
        await asyncio.sleep(1.0)
        by_another_clock = replace(manifest, ended_ms=manifest.ended_ms + 3_600_000)
        with pytest.raises(Conflict, match=r"clock of this machine is 3\d\d\d s behind .*: n3$"):
            await backed.restore(by_another_clock, "cache")
        await backed.restore(manifest, "cache")
        assert await get(world, "n1", "cache", b"page") == [b"<html>"]

    run(story)


def _without_cache(topology: Topology, may_be_done: bool) -> Topology | None:
    return dropped(topology, "cache", may_be_done=may_be_done)


def test_a_flipped_byte_is_found_before_anything_is_restored(
    made: tuple[LossyDisk, BackupManifest],
) -> None:
    disk, manifest = made
    table = manifest.nodes[0].tables[0]

    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, disk)
        path = backed.store.table_path(table.sha256)
        disk.flip(path, table.bytes // 2, 3)
        try:
            with pytest.raises(CorruptData, match=f"{path} is damaged"):
                async for _ in backed.store.read_table(table):
                    pass
        finally:
            disk.flip(path, table.bytes // 2, 3)

    run(story, nodes=1)


def test_a_write_that_one_owner_and_a_fallback_have_is_in_the_backup_without_that_owner() -> None:
    """In a keyspace with sloppy quorums the hint stands for the owner's copy (rule W7)."""

    async def story(world: HealingWorld) -> None:
        backed = BackedWorld(world, LossyDisk())
        await backed.create_keyspace(NewKeyspace("notes", quorum="sloppy"))
        topology = world.world.topology
        keyspace = topology.keyspace_named("notes").id
        first, *others = topology.owners(topology.partition_of(keyspace, b"note"))
        for owner in others:
            await world.down(owner)
        fallbacks = [name for name in world.world.nodes if name not in (first, *others)]
        for name in fallbacks:
            world[name].replica.hints.waiting_for = lambda target, limit: []  # type: ignore[method-assign]
        await put(world, first, "notes", b"note", b"kept")
        await world.down(first)
        for owner in others:
            world.world.nodes[owner].start()
            await world.world.nodes[owner].up()
        for owner in others:
            await world.inside(owner, world[owner].membership.topology.wait_formed())
        manifest = await backed.create("nightly")
        assert (manifest.missing, manifest.holds_w) == ((first,), 2)
        for lacks_hints, expected in ((False, [b"note"]), (True, [])):
            nodes = [replace(node, lacks_hints=lacks_hints) for node in manifest.nodes]
            rows = read_rows(backed.store, manifest, list(manifest.topology.keyspaces), nodes)
            assert [row.key async for several in rows for row in several] == expected
        with pytest.raises(Unavailable, match="members are missing or have damaged hints"):
            held_level(manifest.topology, [replace(node, lacks_hints=True) for node in manifest.nodes])

    run(story, nodes=5, seed=11)
