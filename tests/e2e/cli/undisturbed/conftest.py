"""Tests that leave every node running share a cluster: to start five nodes takes longer than most of them.

Each uses keys of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.cli.conftest import Shell, cluster_of_five


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with cluster_of_five(tmp_path_factory) as shell:
        yield shell
