"""The disk of a simulated node over all its starts, as its files are seen by one start."""

from collections import Counter

from ringmill.node.identity.identity import FILE_NAMES
from ringmill.node.replica.control_copy import FILE_NAME as CONTROL
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.disk.start_files import NodeDisk, StartFiles
from ringmill.simulator.trace import Trace
from ringmill.simulator.world.seeds import stream

STORE = "/data/store"


def _disk() -> NodeDisk:
    disk = NodeDisk("n1", stream(1, "disk"), Trace(lambda: 0.0), latency_s=0.0)
    disk.lossy.mkdir(STORE)
    return disk


def test_a_number_that_a_lost_file_had_is_not_given_again() -> None:
    disk = _disk()
    StartFiles(disk).create(f"{STORE}/00000007.tmp")
    disk.cut_power(CrashModel.PREFIX)
    disk.lossy.mkdir(STORE)
    if disk.lossy.exists(f"{STORE}/00000007.tmp"):
        disk.lossy.unlink(f"{STORE}/00000007.tmp")
    StartFiles(disk).create(f"{STORE}/00000008.log")
    assert disk.reused == []
    StartFiles(disk).create(f"{STORE}/00000007.log")
    assert [str(error) for error in disk.reused] == [
        f"n1 makes {STORE}/00000007.log, a temporary had its number"
    ]


def test_the_manifest_of_a_start_that_left_nothing_may_have_its_number_again() -> None:
    disk = _disk()
    for _ in range(2):
        StartFiles(disk).create(f"{STORE}/MANIFEST-00000001").close()
        StartFiles(disk).unlink(f"{STORE}/MANIFEST-00000001")
    assert disk.reused == []


def test_a_new_disk_counts_anew() -> None:
    disk = _disk()
    StartFiles(disk).create(f"{STORE}/00000003.log")
    disk.replace()
    disk.lossy.mkdir(STORE)
    StartFiles(disk).create(f"{STORE}/00000003.log")
    assert disk.reused == []


def test_bad_sectors_reach_every_file_of_the_node_and_leave_one_of_its_identity() -> None:
    logs = [f"store/{number:08}.log" for number in range(3, 13)]
    names = [*FILE_NAMES, CONTROL, "store/STORE", *logs]
    bad = Counter[str]()
    for seed in range(60):
        disk = NodeDisk("n1", stream(seed, "disk"), Trace(lambda: 0.0), latency_s=0.0)
        disk.lossy.mkdir(STORE)
        for name in names:
            file = disk.lossy.create(f"/data/{name}")
            file.append(b"content")
            file.close()
        disk.spoil(tables_only=False)
        now = set[str]()
        for name in names:
            try:
                disk.lossy.read_bytes(f"/data/{name}")
            except OSError:
                now.add(name)
        assert not now.issuperset(FILE_NAMES)
        assert CONTROL not in now or not now.intersection(logs), "the engine has its copy"
        bad.update(now)
    assert set(bad) == set(names) and bad[CONTROL] > 2
