"""What memory a process may use, as the kernel tells it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ringmill.cluster.adapters.memory_limit import memory_limit, memory_of_groups
from ringmill.cluster.adapters.processes.pids_group import told_groups

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
