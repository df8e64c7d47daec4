"""What memory a process may use, as the kernel tells it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ringmill.cluster.adapters.memory_limit import MemoryGauge, memory_limit, memory_of_groups
from ringmill.cluster.adapters.processes.pids_group import told_groups
from ringmill.cluster.ports import MemoryLeft
from tests.memory_groups import memory_group

SAID = "from ringmill.cluster.adapters.memory_limit import memory_limit; print(memory_limit())"


def test_the_least_limit_of_the_groups_above_counts(tmp_path: Path) -> None:
    inner = tmp_path / "pod" / "node"
    inner.mkdir(parents=True)
    for folder, limit in ((inner, "max"), (tmp_path / "pod", str(512 << 20)), (tmp_path, str(2 << 30))):
        (folder / "memory.max").write_text(limit)
        (folder / "cgroup.procs").touch()
    mounts = f"30 20 0:26 / {tmp_path} rw,nosuid - cgroup2 cgroup rw"
    assert list(memory_of_groups("0::/pod/node", mounts)) == [512 << 20, 2 << 30]
    assert list(memory_of_groups("4:memory:/pod/node", mounts)) == []
    (inner / "memory.limit_in_bytes").write_text(str(1 << 30))
    first = f"31 20 0:27 / {tmp_path} rw - cgroup cgroup rw,memory"
    assert list(memory_of_groups("4:memory:/pod/node", first)) == [1 << 30]


def test_a_mount_whose_name_is_not_text_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").touch()
    (tmp_path / "memory.max").write_text(str(1 << 30))
    (tmp_path / "cgroup").write_bytes(b"0::/\n")
    (tmp_path / "mountinfo").write_bytes(
        b"29 20 8:1 / /media/caf\xe9 rw - vfat /dev/sda1 rw\n"
        + f"30 20 0:26 / {tmp_path} rw,nosuid - cgroup2 cgroup rw\n".encode()
    )
    assert list(memory_of_groups(*told_groups(str(tmp_path)))) == [1 << 30]


def test_the_limit_of_the_process_counts() -> None:
    assert memory_limit() > 0
    code = f"ulimit -v {768 << 10}; exec {sys.executable} -c '{SAID}'"
    done = subprocess.run(["/bin/sh", "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert int(done.stdout) <= 768 << 20


def test_what_is_left_is_told_of_the_machine_and_of_each_group_with_a_limit(tmp_path: Path) -> None:
    """Pages of files and names can be given back; a limit above the machine's memory is none."""
    groups, pod = tmp_path / "groups", tmp_path / "groups" / "pod"
    (node := pod / "node").mkdir(parents=True)
    for folder, limit in ((node, 512 << 20), (pod, 1 << 62), (groups, "max")):
        (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
        (folder / "memory.usage_in_bytes").write_text(f"{400 << 20}\n")
        (folder / "memory.stat").write_text(
            f"inactive_file 1\ntotal_inactive_file {100 << 20}\ntotal_active_file {50 << 20}\n"
        )
        (folder / "cgroup.procs").touch()
    (node / "memory.kmem.usage_in_bytes").write_text(f"{30 << 20}\n")
    (tmp_path / "cgroup").write_text("4:memory:/pod/node\n")
    (tmp_path / "mountinfo").write_text(f"31 20 0:27 / {groups} rw - cgroup cgroup rw,memory\n")
    machine = tmp_path / "meminfo"
    machine.write_text(
        "MemTotal: 2097152 kB\nMemFree: 1024 kB\nMemAvailable: 1048576 kB\nHugePages_Total: 0\n"
    )
    gauge = MemoryGauge(str(tmp_path), str(machine))
    assert gauge.read() == (MemoryLeft(1 << 30, 2 << 30), MemoryLeft(292 << 20, 512 << 20, "cgroup"))
    machine.unlink()
    assert [each.whose for each in gauge.read()] == ["cgroup", "cgroup"]


def test_what_is_left_of_a_group_of_version_2(tmp_path: Path) -> None:
    (node := tmp_path / "node").mkdir()
    (node / "memory.max").write_text(f"{256 << 20}\n")
    (node / "memory.current").write_text(f"{300 << 20}\n")
    (node / "memory.stat").write_text(
        f"anon 7\nfile 9\ninactive_file {60 << 20}\nactive_file {10 << 20}\n"
        f"slab_reclaimable {20 << 20}\nslab_unreclaimable {5 << 20}\nslab {25 << 20}\n"
    )
    for folder in (node, tmp_path):
        (folder / "cgroup.procs").touch()
    (tmp_path / "cgroup").write_text("0::/node\n")
    (tmp_path / "mountinfo").write_text(f"30 20 0:26 / {tmp_path} rw,nosuid - cgroup2 cgroup rw\n")
    gauge = MemoryGauge(str(tmp_path))
    assert gauge.read()[1:] == (MemoryLeft(46 << 20, 256 << 20, "cgroup"),)
    (node / "memory.max").write_text("max\n")
    assert len(gauge.read()) == 1


@pytest.mark.parametrize("of_all_sizes", ["", "Hugetlb: 7340032 kB\n"])
def test_what_is_set_apart_for_huge_pages_is_not_memory_of_tasks(tmp_path: Path, of_all_sizes: str) -> None:
    """A machine of 8 GiB with 7 GiB of them is one of 1 GiB, of which 400 MiB are enough."""
    machine = tmp_path / "meminfo"
    machine.write_text(
        "MemTotal: 8388608 kB\nMemFree: 204800 kB\nMemAvailable: 409600 kB\n"
        f"HugePages_Total: 3584\nHugePages_Free: 3584\nHugepagesize: 2048 kB\n{of_all_sizes}"
    )
    assert MemoryGauge(str(tmp_path), str(machine)).read() == (MemoryLeft(400 << 20, 1 << 30),)


NAMES = """
import os, sys
from ringmill.cluster.adapters.memory_limit import MemoryGauge
gauge = MemoryGauge()
with open(f"{sys.argv[1]}/memory.usage_in_bytes") as usage:
    for number in range(600_000):
        try:
            os.stat(f"{sys.argv[2]}/{number}-{'x' * 100}")
        except FileNotFoundError:
            pass
        if not number % 1000:
            usage.seek(0)
            if int(usage.read()) > 56 << 20:
                break
print(*(each.left_bytes for each in gauge.read() if each.of_bytes == 64 << 20), number)
"""


def test_names_of_files_that_the_kernel_remembers_take_nothing_from_a_group(tmp_path: Path) -> None:
    """They fill each group in which many files are looked for, until the kernel needs their memory."""
    with memory_group(64 << 20) as folder:
        enter = ("sh", "-c", f'echo $$ > {folder}/cgroup.procs; exec "$@"', "sh")
        done = subprocess.run(
            [*enter, sys.executable, "-c", NAMES, folder, str(tmp_path)],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    left, looked_for = map(int, done.stdout.split())
    if looked_for == 599_999:
        pytest.skip("this kernel counts no names")
    assert left > 32 << 20
