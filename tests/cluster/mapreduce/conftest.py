"""The real files of this machine, for kernels that take a FileSystem."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem


@pytest.fixture(scope="session")
def files() -> Iterator[OsFileSystem]:
    system = OsFileSystem()
    yield system
    system.close()
