"""A node is stopped with changes of keyspaces in its socket, and goes on after others were made (T12)."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ringmill
from ringmill.client.dialling.node_links import open_link
from ringmill.client.local.local_state import load_cluster
from ringmill.client.routing.links import LIST_KEYSPACES, Method
from ringmill.cluster.errors import WrongEpoch
from ringmill.cluster.wire.stubs import keyspaces_pb2 as pb

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell


def method(name: str) -> Method[pb.KeyspaceAnswer]:
    return Method(f"/ringmill.v1.Keyspaces/{name}", "", pb.KeyspaceAnswer, is_write=True)


async def test_what_lay_at_a_stopped_node_changes_nothing_over_what_was_done_through_others(
    shell: Shell,
) -> None:
    found = load_cluster(str(Path(shell.folder, "home", "default")))
    assert found is not None
    stopped, *others = found.nodes
    async with ringmill.connect([node.address for node in others], timeout=20) as db:
        await db.keyspaces.create("altered-late")
        epoch = db.topology.epoch
        link = open_link(stopped.address)
        await link.call(LIST_KEYSPACES, pb.ListKeyspacesRequest(), 20)  # the connection is made
        requests: list[tuple[str, Any]] = [
            ("Create", pb.CreateKeyspaceRequest(settings=pb.KeyspaceSettings(name="made-late"), epoch=epoch)),
            ("Alter", pb.AlterKeyspaceRequest(name="altered-late", ttl_ms=1000, epoch=epoch)),
        ]
        os.kill(stopped.pid, signal.SIGSTOP)
        try:
            late = [asyncio.create_task(link.call(method(name), each, 20)) for name, each in requests]
            await db.keyspaces.create("made-late")
            await db.keyspaces.drop("made-late")
            await db.keyspaces.alter("altered-late", ttl=2)
        finally:
            os.kill(stopped.pid, signal.SIGCONT)
        told = await asyncio.gather(*late, return_exceptions=True)
        assert [type(each) for each in told] == [WrongEpoch, WrongEpoch], told
        kept = {each.name: each.ttl_s for each in await db.keyspaces.list()}
        assert "made-late" not in kept and kept["altered-late"] == 2
        await link.close()
