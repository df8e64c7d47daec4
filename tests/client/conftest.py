"""A node to talk to, one a module."""

from collections.abc import Iterator

import pytest

from tests.client.one_node import OneNode, one_node


@pytest.fixture(scope="module")
def node() -> Iterator[tuple[OneNode, str]]:
    """The node in a thread with its own loop, so that blocking callers can talk to it."""
    with one_node() as running:
        yield running
