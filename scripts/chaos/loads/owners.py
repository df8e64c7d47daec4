"""What each owner of a key holds: asked of the owner alone, in the words one replica uses to another.

`client.locate` shows dots, but the checkers also need every owner's context; so a reader that is no member of
the cluster asks with the peers' own call `replica.read`, at the address where the node listens itself.
Nothing is merged and nothing repaired by looking, which a read by quorum would do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_streams import LINK, GrpcCarrier
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import DeadlineExceeded, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Priority
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.cluster.versions.objects import ABSENT
from ringmill.node.replica.replica_messages import READ, Read, ReadAnswer
from ringmill.simulator.history import Final
from ringmill.simulator.world.world import DEFAULT_KEYSPACE

__all__ = ["finals"]

READER = NodeId("onlooker")
CALL_S = 10.0
AGAIN_S = 0.25


async def finals(
    topology: Topology, addresses: Mapping[str, str], keys: Sequence[bytes], token: str
) -> list[Final]:
    """Every owner's copy of every key, in the order of keys and owners; waits for those that do not answer.

    It asks as a node does, so it needs the cluster's token.

    Raises what an owner refuses with, e.g. CorruptData.
    """
    async with FrameTransport(
        READER,
        GrpcCarrier(LINK, clock=SystemClock()),
        clock=SystemClock(),
        entropy=OsEntropy(),
        cluster=topology.cluster,
        secret=token,
    ) as transport:
        transport.set_peers({NodeId(name): address for name, address in addresses.items()})
        return [
            await _held(transport, topology, owner, key)
            for key in keys
            for owner in topology.owners(topology.partition_of(DEFAULT_KEYSPACE, key))
        ]


async def _held(transport: FrameTransport, topology: Topology, owner: NodeId, key: bytes) -> Final:
    question = Read(topology.epoch, DEFAULT_KEYSPACE, key).encode()
    answer = ReadAnswer.decode(await _ask(transport, owner, question))
    stored = decode_object(answer.encoded) if answer.encoded else ABSENT
    return Final.of(key, owner, stored)


async def _ask(transport: FrameTransport, owner: NodeId, question: bytes) -> bytes:
    """Until it answers: how long that may take in all is the caller's to say."""
    while True:
        try:
            return await transport.call(owner, READ, question, timeout_s=CALL_S, priority=Priority.READ)
        except (Unavailable, DeadlineExceeded):
            await asyncio.sleep(AGAIN_S)
