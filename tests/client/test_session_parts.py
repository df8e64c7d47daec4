"""The keyspaces of a session: one for each name, however often it is asked for."""

from __future__ import annotations

import asyncio

import pytest

import ringmill
from ringmill.cluster.errors import ClientClosed
from tests.client.one_node import OneNode


def test_a_session_keeps_one_of_each_name(node: tuple[OneNode, str]) -> None:
    async def story() -> None:
        async with ringmill.connect(node[1]) as db, db.session() as session:
            first = session.keyspace("default")
            assert session.keyspace("default") is first
            assert session.keyspace("registers") is not first
        with pytest.raises(ClientClosed):
            await first.get("k")

    asyncio.run(story())
