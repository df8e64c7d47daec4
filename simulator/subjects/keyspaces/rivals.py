"""Two operators form a cluster of the same new nodes at once, each by a document of its own (rule T4)."""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ring.topology import Topology, first_topology
from ringmill.simulator.world.node_process import NodeProcess
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.world import World

__all__ = ["form_at_once"]

_RIVALS: Final = ("r1", "r2", "r3")
_OPERATORS: Final = ("one", "other")
_GAP_S: Final = 0.05  # the longest pause of an operator between two nodes
_TAKE_S: Final = 5.0
_SETTLED_S: Final = 10.0  # far above what nodes that run take to ask each other
_LOOK_EVERY_S: Final = 0.05


async def form_at_once(world: World) -> dict[str, str]:
    """The name of the cluster in which each node has served, of those that ever did.  The nodes end here."""
    members = [await world.admit(name) for name in _RIVALS]
    nodes = [world.guests[name] for name in _RIVALS]
    served: dict[str, str] = {}
    documents = {
        name: first_topology(name, members, partitions=world.options.partitions, n=len(members))
        for name in _OPERATORS
    }
    looking = asyncio.ensure_future(_look(nodes, served))
    await asyncio.gather(
        *(_operate(world, name, document) for name, document in documents.items()), _kill_one(world)
    )
    await asyncio.sleep(_SETTLED_S)
    looking.cancel()
    world.dismiss_strangers()
    return served


async def _operate(world: World, name: str, document: Topology) -> None:
    """Give each node the document, in an order of one's own; one that has another document refuses it."""
    draws = stream(world.seed, f"keyspaces/rivals/{name}")
    for node in draws.sample(_RIVALS, len(_RIVALS)):
        await asyncio.sleep(draws.random() * _GAP_S)
        while not await _offer(world.guests[node], document.encode()):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(_LOOK_EVERY_S)


async def _offer(process: NodeProcess, document: bytes) -> bool:
    """Offer the document.  Returns whether the node took or refused it: one that is killed does neither."""
    try:
        agent = (await process.up()).membership.topology
        taking = process.inside(agent.take_first(document))
        await asyncio.wait([taking], timeout=_TAKE_S)
        if not taking.done():
            return False
        taking.result()
    except InvalidArgument:
        return True
    except (RuntimeError, asyncio.CancelledError):
        return False
    return True


async def _kill_one(world: World) -> None:
    """In half of the cases one node loses power meanwhile."""
    draws = stream(world.seed, "keyspaces/rivals/kill")
    if draws.random() < 0.5:
        return
    await asyncio.sleep(draws.random() * 2 * _GAP_S)
    process = world.guests[draws.choice(_RIVALS)]
    process.kill(world.ground.crash_model())
    await asyncio.sleep(draws.random())
    process.start()


async def _look(nodes: list[NodeProcess], served: dict[str, str]) -> None:
    while True:
        for process in nodes:
            if process.serves and process.node is not None:
                served[process.name] = process.node.membership.topology.serving_topology().name
        await asyncio.sleep(_LOOK_EVERY_S)
