"""Bundles are kept by the hash of their bytes and fetched from the node that has them."""

import asyncio
import errno
import fcntl
import hashlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import CorruptData, DiskFull, InvalidArgument, NotFound, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.bundle import MAX_BUNDLE_BYTES, build_bundle
from ringmill.cluster.ports import Clock
from ringmill.node.compute.bundles import BundleStore
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel

BUNDLE = build_bundle("big", {"big.py": b"# " + b"x" * 2_500_000}.get)  # three chunks
CODE, NAME = BUNDLE.data, BUNDLE.sha256
RUBBISH = bytes(100)


async def pieces(data: bytes, size: int = 1 << 20) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def contents(path: str) -> bytes:
    return Path(path).read_bytes()


def damage(path: str, data: bytes = CODE[:-1] + b"?") -> None:
    Path(path).write_bytes(data)


def store(wire: Any, node: str, folder: Path) -> BundleStore:
    end = wire.end(node)
    made = BundleStore(str(folder / node), files=OsFileSystem(), transport=end, clock=SystemClock())
    for method, handler in made.handlers().items():
        end.serve(method, handler)
    return made


async def test_a_bundle_is_pulled_once_however_many_ask(wire: Any, tmp_path: Path) -> None:
    here, there = store(wire, "n1", tmp_path), store(wire, "n2", tmp_path)
    assert await here.put(NAME, pieces(CODE)) == len(CODE)
    paths = await asyncio.gather(*(there.ensure(NAME, NodeId("n1")) for _ in range(5)))
    assert set(map(contents, paths)) == {CODE}
    assert len(wire.calls) == 3
    wire.cut.add("n1")
    assert await there.ensure(NAME, NodeId("n1")) == paths[0]


async def test_a_large_bundle_spreads_from_node_to_node(wire: Any, tmp_path: Path) -> None:
    stores = [store(wire, f"n{number}", tmp_path) for number in range(1, 10)]
    await stores[0].put(NAME, pieces(CODE))
    sent: Counter[NodeId] = Counter()
    wire.answered = lambda sender, to, method, body: sent.update([to])
    paths = await asyncio.gather(*(each.ensure(NAME, NodeId("n1")) for each in stores[1:]))
    assert set(map(contents, paths)) == {CODE}
    sent_away = len(stores) - 1 - 2
    assert sent[NodeId("n1")] == 2 * 3 + sent_away, "three pieces to two nodes"


async def test_a_node_without_the_bundle_is_passed_by(wire: Any, tmp_path: Path) -> None:
    """n4 is told to ask n2, then another one n3: one of them is cut off, one has other bytes."""
    here, cut, damaged, *others = (store(wire, f"n{number}", tmp_path) for number in range(1, 6))
    await here.put(NAME, pieces(CODE))
    for each in (cut, damaged):
        await each.ensure(NAME, NodeId("n1"))
    wire.cut.add("n2")
    damage(damaged.path(NAME))
    for each in others:
        assert contents(await each.ensure(NAME, NodeId("n1"))) == CODE


async def test_a_node_that_gave_other_bytes_and_vanished_is_passed_by(wire: Any, tmp_path: Path) -> None:
    here, damaged, there, late = (store(wire, f"n{number}", tmp_path) for number in range(1, 5))
    await here.put(NAME, pieces(CODE))
    for each in (damaged, there):
        await each.ensure(NAME, NodeId("n1"))
    damage(damaged.path(NAME), b"?" + CODE[1:])
    sent: Counter[NodeId] = Counter()

    def vanish(sender: NodeId, to: NodeId, method: str, body: bytes) -> None:
        sent[to] += 1
        if sent[NodeId("n2")] == 2:
            wire.cut.add("n2")

    wire.answered = vanish
    assert contents(await late.ensure(NAME, NodeId("n1"))) == CODE
    assert wire.cut == {"n2"}


async def test_who_is_sent_away_waits_for_a_bundle_that_is_on_its_way(wire: Any, tmp_path: Path) -> None:
    here, slow, late = (store(wire, f"n{number}", tmp_path) for number in range(1, 4))
    await here.put(NAME, pieces(CODE))
    lock = slow._pulling.setdefault(NAME, asyncio.Lock())
    async with lock:
        asking = asyncio.create_task(late.ensure(NAME, NodeId("n2")))
        await asyncio.sleep(0)
        await slow.put(NAME, pieces(CODE))
    assert contents(await asking) == CODE


async def test_bytes_with_another_hash_are_refused_and_leave_nothing(wire: Any, tmp_path: Path) -> None:
    here = store(wire, "n1", tmp_path)
    with pytest.raises(CorruptData, match="was announced"):
        await here.put(NAME, pieces(CODE[:-1]))
    assert not here.has(NAME)
    assert not (tmp_path / "n1").exists()
    with pytest.raises(InvalidArgument, match="no bundle"):
        await here.put(hashlib.sha256(RUBBISH).hexdigest(), pieces(RUBBISH))
    assert await here.put(NAME, pieces(CODE)) == len(CODE)


async def test_a_bundle_damaged_on_its_way_is_not_kept(wire: Any, tmp_path: Path) -> None:
    here, there = store(wire, "n1", tmp_path), store(wire, "n2", tmp_path)
    await here.put(NAME, pieces(CODE))
    damage(here.path(NAME))
    with pytest.raises(CorruptData):
        await there.ensure(NAME, NodeId("n1"))
    assert not there.has(NAME)


async def test_a_bundle_is_kept_once_the_name_of_a_new_folder_is_on_the_disk_too(wire: Any) -> None:
    files = LossyDisk(forgets_folders=True)
    files.mkdir("/data")
    files.fsync_dir("/")
    kept = BundleStore("/data/bundles", files=files, transport=wire.end("n1"), clock=SystemClock())
    await kept.put(NAME, pieces(CODE))
    for seed in range(20):
        left = files.after_kill().cut_power(CrashModel.ANY_ORDER, Random(seed))
        assert left.read_bytes(kept.path(NAME)) == CODE


def full(call: str) -> LossyDisk:
    def hook(called: str, path: str) -> None:
        if called == call and ".zip" in path:
            raise OSError(errno.ENOSPC, "No space left on device", path)

    return LossyDisk(hook=hook)


@pytest.mark.parametrize("call", ["create", "append", "sync", "rename"])
async def test_a_disk_that_has_no_room_for_a_bundle_is_told_as_full(wire: Any, call: str) -> None:
    disk = full(call)
    kept = BundleStore("/kept", files=disk, transport=wire.end("n1"), clock=SystemClock())
    with pytest.raises(DiskFull, match="cannot be written: No space left") as raised:
        await kept.put(NAME, pieces(CODE))
    assert raised.value.outcome == "failed"
    assert disk.list("/kept") == []
    disk.hook = lambda call, path: None
    assert await kept.put(NAME, pieces(CODE)) == len(CODE)


async def test_a_disk_that_fails_is_no_fault_of_who_brings_a_bundle(wire: Any) -> None:
    def hook(call: str, path: str) -> None:
        raise OSError(errno.EACCES, "Permission denied", path)

    kept = BundleStore("/kept", files=LossyDisk(hook=hook), transport=wire.end("n1"), clock=SystemClock())
    with pytest.raises(Unavailable, match="Permission denied"):
        await kept.put(NAME, pieces(CODE))


async def test_what_was_arriving_at_a_kill_is_removed(wire: Any, tmp_path: Path) -> None:
    kept = store(wire, "n1", tmp_path)
    kept.remove_halves()
    await kept.put(NAME, pieces(CODE))
    half = tmp_path / "n1" / f"{'0' * 64}.zip.3.arriving"
    half.write_bytes(b"half")
    kept.remove_halves()
    assert [path.name for path in (tmp_path / "n1").iterdir()] == [f"{NAME}.zip"]


async def test_names_and_sizes_have_limits(wire: Any, tmp_path: Path) -> None:
    here = store(wire, "n1", tmp_path)
    with pytest.raises(InvalidArgument, match="64 hexadecimal"):
        here.path("../../etc/passwd")
    with pytest.raises(InvalidArgument, match=str(MAX_BUNDLE_BYTES)):
        await here.put(NAME, pieces(bytes(MAX_BUNDLE_BYTES + 1), MAX_BUNDLE_BYTES))
    with pytest.raises(NotFound):
        await store(wire, "n2", tmp_path).ensure(NAME, NodeId("n1"))


async def test_a_bundle_that_could_not_be_fetched_at_first_counts_like_any_other(
    wire: Any, tmp_path: Path
) -> None:
    kept = store(wire, "n2", tmp_path)
    store(wire, "n1", tmp_path)
    with pytest.raises(NotFound):
        await kept.ensure(NAME, NodeId("n1"))
    await kept.put(NAME, pieces(CODE))
    found = kept.excess(most_bytes=0, longest_s=1e9, least_s=-1.0)
    assert [bundle.sha256 for bundle in found] == [NAME]


async def test_what_nobody_has_used_for_long_or_takes_too_much_room_is_to_go_the_longest_unused_first(
    wire: Any, tmp_path: Path
) -> None:
    now = start = SystemClock().wall()
    clock = SimpleNamespace(wall=lambda: now)
    kept = BundleStore(
        str(tmp_path / "kept"), files=OsFileSystem(), transport=wire.end("n1"), clock=cast("Clock", clock)
    )
    bundles = [build_bundle(name, {f"{name}.py": b"#" * 1000}.get) for name in ("a", "b", "c", "d")]
    names = [bundle.sha256 for bundle in bundles]
    for bundle in bundles:
        now += 100
        await kept.put(bundle.sha256, pieces(bundle.data))
    (tmp_path / "kept" / "notes.txt").write_text("not of this store")
    size = len(bundles[0].data)

    def to_go(most: int = 1 << 30, longest_s: float = 1e9, in_use: Sequence[str] = ()) -> list[str]:
        found = kept.excess(in_use, most_bytes=most, longest_s=longest_s, least_s=150.0)
        return [bundle.sha256 for bundle in found]

    now = start + 1000
    assert to_go() == []
    assert to_go(longest_s=750) == names[:2]
    assert to_go(most=2 * size) == names[:2]
    assert to_go(most=2 * size, in_use=names[:1]) == names[1:3], "what is in use takes room"
    await kept.ensure(names[0], NodeId("n2"))
    assert to_go(most=0) == names[1:], "it was used just now"
    now += 200
    assert to_go(most=2 * size) == names[1:3]
    restarted = BundleStore(
        str(tmp_path / "kept"), files=OsFileSystem(), transport=wire.end("n3"), clock=cast("Clock", clock)
    )
    assert len(restarted.excess(most_bytes=0, longest_s=1e9, least_s=150.0)) == 4, (
        "then the time of arrival counts"
    )
    for each in kept.excess(most_bytes=2 * size, longest_s=1e9, least_s=150.0):
        kept.drop(each)
        kept.drop(each)
    assert [kept.has(name) for name in names] == [True, False, False, True]


async def test_a_bundle_that_somebody_has_leased_is_not_waited_for(wire: Any, tmp_path: Path) -> None:
    """Else whoever opens it waits for the holder of the lease, 45 s as Linux comes."""
    here, there = store(wire, "n1", tmp_path), store(wire, "n2", tmp_path)
    await here.put(NAME, pieces(CODE))
    former = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        with open(here.path(NAME), "rb") as held:  # noqa: ASYNC230
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            begun = time.monotonic()
            with pytest.raises(Unavailable, match="cannot be read: Resource temporarily unavailable"):
                await there.ensure(NAME, NodeId("n1"))
            assert time.monotonic() - begun < 10
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    finally:
        signal.signal(signal.SIGIO, former)
    assert contents(await there.ensure(NAME, NodeId("n1"))) == CODE
