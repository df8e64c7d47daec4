"""Cgroups for each task's family: where they can be had, what they stop, and that none is left behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ringmill.cluster.adapters.processes.pids_group import (
    PidsGroup,
    PidsGroups,
    groups_of_this_process,
    place_of_groups,
)
from ringmill.cluster.adapters.processes.task_processes import TaskProcesses

SNIPPETS = str(Path(__file__).with_name("snippet_forkserver.py"))
FIRST = "41 31 0:39 / /sys/fs/cgroup/pids rw,nosuid - cgroup cgroup rw,pids\n"
MIXED = "42 31 0:40 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n" + FIRST
SECOND = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
INSIDE = "30 23 0:26 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
FORKS = 200
IMPORTS = """
import os, signal, sys, time
from ringmill.cluster.adapters.processes.pids_group import groups_of_this_process
"""
BOMB = (
    IMPORTS
    + f"""
group = groups_of_this_process().make(f"{{os.getpid()}}-bomb", 30)
pid = os.fork()
if pid == 0:
    if sys.argv[1] == "in a group":
        group.enter()
    made = []
    try:
        while len(made) < {FORKS}:
            child = os.fork()
            if child == 0:
                os.setsid()
                time.sleep(60)
                os._exit(0)
            made.append(child)
    except BlockingIOError:
        pass
    for child in made:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.write(1, f"{{len(made)}} {{group.was_full}}".encode())
    os._exit(0)
os.waitpid(pid, 0)
assert group.remove()
"""
)
NO_BIRTHS = (
    IMPORTS
    + """
group = groups_of_this_process().make(f"{os.getpid()}-births", 8)
pid = os.fork()
if pid == 0:
    group.enter()
    with group.without_births():
        try:
            if os.fork() == 0:
                os._exit(0)
        except BlockingIOError:
            os.write(1, b"refused, ")
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    os.write(1, b"then born, " + (b"full" if group.was_full else b"never full"))
    os._exit(0)
os.waitpid(pid, 0)
assert group.remove()
"""
)
ENDS = (
    IMPORTS
    + """
group = groups_of_this_process().make(f"{os.getpid()}-ends", 40)
pid = os.fork()
if pid == 0:
    group.enter()
    while True:  # each forks on, in a session of its own, until no more are allowed
        try:
            if os.fork() == 0:
                os.setsid()
        except BlockingIOError:
            pass
while not group.was_full:
    time.sleep(0.01)
signals = []
kill = os.kill
os.kill = lambda pid, number: (signals.append(number), kill(pid, number))
met = len(group.members())
assert group.end_members()
os.waitpid(pid, 0)
until = time.monotonic() + 60
while group.members() and time.monotonic() < until:
    time.sleep(0.01)
assert group.remove()
print(met > 40, set(signals) == {signal.SIGKILL}, len(signals) <= 40 + 64)
"""
)
DESERTS = (
    IMPORTS
    + """
assert groups_of_this_process().make(f"{os.getpid()}-1", 8)
print(f"ringmill-{os.getpid()}-1")
"""
)
ESCAPES = """
import os, time
read, write = os.pipe()
goes_on, go_on = os.pipe()  # an orphan in a session of its own is ended at any time: it writes before
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, open("/proc/self/cgroup", "rb").read())
        os.write(go_on, b"x")
        time.sleep(60)
    os.read(goes_on, 1)
    os._exit(0)
answer(os.read(read, 4096).decode())
"""


@pytest.mark.parametrize(
    ("own", "mounts", "place"),
    [
        ("8:pids:/\n4:memory:/jobs\n", FIRST, "/sys/fs/cgroup/pids"),
        ("8:cpu,cpuacct:/x\n2:pids:/user/1\n", MIXED, "/sys/fs/cgroup/pids/user/1"),
        ("0::/system.slice/n1.service\n", SECOND, "/sys/fs/cgroup/system.slice/n1.service"),
        ("0::/docker/ab\n", INSIDE, "/sys/fs/cgroup"),
        ("0::/docker/other\n", INSIDE, None),
        ("8:pids:/\n0::/\n", FIRST + SECOND, "/sys/fs/cgroup/pids"),
        ("0::/\n", FIRST, None),
        ("", "", None),
        ("nonsense", "more of it\n - \n", None),
    ],
)
def test_the_place_of_groups_is_read_from_what_the_kernel_tells(
    own: str, mounts: str, place: str | None
) -> None:
    assert place_of_groups(own, mounts) == place


def test_where_the_kernel_takes_no_limit_there_is_no_group_and_none_is_left(tmp_path: Path) -> None:
    groups = PidsGroups(str(tmp_path))
    assert groups.make("1-1", 40) is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "cgroup.procs").touch()
    assert groups.make("1-2", 40) is None, "it is not tried again"
    assert PidsGroups(None).make("1-1", 40) is None
    assert PidsGroups("/nowhere/at/all").make("1-1", 40) is None


@pytest.fixture
def place() -> str:
    with open("/proc/self/cgroup") as own, open("/proc/self/mountinfo") as mounts:
        found = place_of_groups(own.read(), mounts.read())
    group = groups_of_this_process().make(f"{os.getpid()}-trial", 4)
    if found is None or group is None:
        pytest.skip("this kernel lets this user make no pids cgroup")
    assert group.members() == [] and group.remove()
    return found


def told_by(program: str, *arguments: str) -> str:
    """What a process of its own says: one with threads, as this is, must not fork."""
    line = [sys.executable, "-c", program, *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=100, check=True).stdout.strip()


def test_a_family_cannot_outgrow_its_group_whoever_runs_it(place: str) -> None:
    made, was_full = told_by(BOMB, "in a group").split()
    assert 30 < int(made) < 30 + 64
    assert was_full == "True"
    assert told_by(BOMB, "alone").split() == [str(FORKS), "False"], "without a group nothing stops it"


def share_of(group: str) -> int:
    """Of the processors; that of the root group where there is no such group."""
    share = Path(group) / "cpu.shares"
    return int(share.read_text()) if share.is_file() else 1024


@pytest.mark.parametrize("options", [(), ("--without-groups",)])
async def test_all_that_a_task_starts_is_in_its_group_and_the_group_goes_with_it(
    place: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    processes = TaskProcesses((sys.executable, SNIPPETS, *options))
    cpu_place = groups_of_this_process()._cpu_place
    try:
        task = await processes.start_task(workdir=str(tmp_path), environment={}, limits={"processes": 30})
        await task.send(ESCAPES.encode())
        own = (await task.receive()).decode()
        name = f"/ringmill-{processes.forkserver_pid}-1"
        assert (name in own) == (not options), own
        if cpu_place is not None:
            assert share_of(f"{cpu_place}{name}") == (1024 if options else 335), "nodes go first"
        task.kill()
        await task.wait()
    finally:
        await processes.close()
    for folder in filter(None, (place, cpu_place)):
        assert name[1:] not in os.listdir(folder)


def test_where_the_kernel_takes_no_share_there_is_no_cpu_group_and_none_is_left(tmp_path: Path) -> None:
    groups = PidsGroups("/nowhere/at/all", str(tmp_path))
    assert groups._make_cpu_group("1-1") is None
    assert list(tmp_path.iterdir()) == [] and groups._cpu_place is None


def test_a_group_without_births_stays_as_it_is_until_it_is_ended(place: str) -> None:
    assert told_by(NO_BIRTHS) == "refused, then born, never full"


def test_a_full_group_that_forks_on_is_ended_by_one_signal_for_each(place: str) -> None:
    assert told_by(ENDS) == "True True True"


def test_a_family_that_is_ended_has_no_larger_share_of_the_processors(place: str) -> None:
    group = groups_of_this_process().make(f"{os.getpid()}-share", 4)
    assert group is not None
    try:
        if group._cpu_folder is None:
            pytest.skip("this kernel lets this user make no cpu cgroup")
        with group.without_births():
            assert share_of(group._cpu_folder) == 335, "nodes go first, also while many end"
    finally:
        assert group.remove()


RESERVES = "import mmap; held = mmap.mmap(-1, 1 << 30); held[:20 << 20] = bytes(20 << 20); answer('well')"
USES = "held = bytearray(200 << 20); import time; time.sleep(60)"
USES_IN_CHILDREN = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        held = bytearray(70 << 20)
        time.sleep(60)
time.sleep(60)
"""


@pytest.mark.parametrize("options", [(), ("--without-groups",)])
@pytest.mark.parametrize("uses", [USES, USES_IN_CHILDREN])
async def test_memory_that_is_used_is_limited_and_not_what_is_reserved(
    tmp_path: Path, options: tuple[str, ...], uses: str
) -> None:
    if not options and groups_of_this_process()._memory_place is None:
        pytest.skip("this system has no hierarchy for memory of cgroups version 1")
    processes = TaskProcesses((sys.executable, SNIPPETS, *options))
    limits = {"processes": 30, "family_bytes": 150 << 20, "as_bytes": 8 * 150 << 20}
    try:
        task = await processes.start_task(workdir=str(tmp_path), environment={}, limits=limits)
        await task.send(RESERVES.encode())
        assert await task.receive() == b"well"
        await task.send(uses.encode())
        async with asyncio.timeout(60):
            assert await task.wait() == -signal.SIGKILL
        assert task.breach == "family_bytes"
        told = re.search(rb"used (\d+) MiB of memory.*, the limit is 150 MiB", task.output())
        assert told and int(told[1]) >= 149
    finally:
        await processes.close()


def test_in_version_2_the_group_itself_has_the_limit_of_memory(tmp_path: Path) -> None:
    groups = PidsGroups(str(tmp_path))
    assert groups._limit_memory("1-1", str(tmp_path), 100) is None, "the controller was not delegated"
    for name in ("memory.max", "memory.swap.max", "memory.oom.group"):
        (tmp_path / name).touch()
    assert groups._limit_memory("1-2", str(tmp_path), 100) == str(tmp_path)
    told = [(tmp_path / name).read_text() for name in ("memory.max", "memory.swap.max", "memory.oom.group")]
    assert told == ["100", "0", "1"]
    (tmp_path / "memory.peak").write_text("98\n")
    (tmp_path / "memory.events").write_text("low 0\nmax 7\noom 1\noom_kill 0\noom_group_kill 0\n")
    group = PidsGroup(str(tmp_path), 4, memory_folder=str(tmp_path))
    assert (group.holds_memory, group.ran_out_of_memory, group.most_memory_bytes) == (True, False, 98)
    (tmp_path / "memory.events").write_text("low 0\nmax 7\noom 0\noom_kill 1\n")
    assert not group.ran_out_of_memory, "it was the machine that had no more"
    (tmp_path / "memory.events").write_text("oom 1\noom_kill 2\noom_group_kill 1\n")
    assert group.ran_out_of_memory


def test_groups_of_makers_who_are_gone_are_removed(place: str) -> None:
    deserted = told_by(DESERTS)
    groups = groups_of_this_process()
    mine = groups.make(f"{os.getpid()}-mine", 8)
    assert mine is not None
    assert deserted in os.listdir(place)
    groups.remove_deserted()
    assert deserted not in os.listdir(place)
    assert f"ringmill-{os.getpid()}-mine" in os.listdir(place)
    assert mine.remove()


def test_what_a_former_process_of_this_number_has_left_is_removed_or_gone_round(place: str) -> None:
    name = f"{os.getpid()}-7"
    left = groups_of_this_process().make(name, 4)
    groups = groups_of_this_process()
    assert left is not None
    groups.remove_deserted()
    assert f"ringmill-{name}" not in os.listdir(place)
    made = [groups.make(name, 4) for _ in range(3)]
    try:
        assert None not in made and len({each._folder for each in made if each}) == 3
        assert len({each._cpu_folder for each in made if each and each._cpu_folder}) in (0, 3)
    finally:
        assert all(each.remove() for each in made if each)
