"""A pids cgroup for each task's family: where one can be had, what it stops, and that none is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
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
ESCAPES = """
import os, time
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, open("/proc/self/cgroup", "rb").read())
        time.sleep(60)
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


def made_in(group: PidsGroup | None) -> int:
    """How many children a process in the group can make, each in a session of its own."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        if group is not None:
            group.enter()
        made: list[int] = []
        with contextlib.suppress(BlockingIOError):
            while len(made) < FORKS:
                child = os.fork()
                if child == 0:
                    os.setsid()
                    time.sleep(60)
                    os._exit(0)
                made.append(child)
        os.write(write, str(len(made)).encode())
        for child in made:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os._exit(0)
    os.waitpid(pid, 0)
    told = int(os.read(read, 16))
    os.close(read)
    os.close(write)
    return told


def test_a_family_cannot_outgrow_its_group_whoever_runs_it(place: str) -> None:
    group = groups_of_this_process().make(f"{os.getpid()}-bomb", 30)
    assert group is not None and not group.was_full
    assert 30 < made_in(group) < 30 + 64
    assert group.was_full
    assert made_in(None) == FORKS, "without a group nothing stops it"
    assert group.remove()


@pytest.mark.parametrize("options", [(), ("--without-groups",)])
async def test_all_that_a_task_starts_is_in_its_group_and_the_group_goes_with_it(
    place: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    processes = TaskProcesses((sys.executable, SNIPPETS, *options))
    try:
        task = await processes.start_task(workdir=str(tmp_path), environment={}, limits={"processes": 30})
        await task.send(ESCAPES.encode())
        own = (await task.receive()).decode()
        name = f"/ringmill-{processes.forkserver_pid}-1"
        assert (name in own) == (not options), own
        task.kill()
        await task.wait()
    finally:
        await processes.close()
    assert name[1:] not in os.listdir(place)


def test_a_group_without_births_stays_as_it_is_until_it_is_ended(place: str) -> None:
    group = groups_of_this_process().make(f"{os.getpid()}-births", 8)
    assert group is not None
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        group.enter()
        with group.without_births():
            try:
                os._exit(os.fork() and 1)
            except BlockingIOError:
                os.write(write, b"refused")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 16) == b"refused"
    os.close(read)
    os.close(write)
    assert group.remove()


def test_groups_of_makers_who_are_gone_are_removed(place: str) -> None:
    groups = groups_of_this_process()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if groups.make(f"{os.getpid()}-1", 8) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    mine = groups.make(f"{os.getpid()}-mine", 8)
    assert mine is not None and os.path.exists(f"{place}/ringmill-{pid}-1")
    groups.remove_deserted()
    assert not os.path.exists(f"{place}/ringmill-{pid}-1")
    assert os.path.exists(f"{place}/ringmill-{os.getpid()}-mine")
    assert mine.remove()
