"""Memory cgroups of version 1 for tests, where the kernel permits them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ringmill.cluster.adapters.processes.pids_group import group_folder, told_groups


@contextmanager
def memory_group(limit: int) -> Iterator[str]:
    """The folder of a group below this process's own, with this limit in bytes.  Where none can be made the
    test is skipped."""
    own = group_folder(*told_groups(), "cgroup", "memory")
    if own is None:
        pytest.skip("no memory controller of version 1")
    folder = f"{own}/ringmill-test-{os.getpid()}"
    try:
        os.mkdir(folder)
    except OSError as error:
        pytest.skip(f"no memory group can be made: {error}")
    try:
        Path(f"{folder}/memory.limit_in_bytes").write_text(str(limit))
        yield folder
    finally:
        with suppress(OSError):  # a task process that is being buried
            os.rmdir(folder)
