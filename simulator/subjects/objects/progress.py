"""What is asked for while only a core of the nodes is healed: keys are written and read back, each once.

Clients differ in whom they ask: the owners in the core, any node of the core, which then forwards, or all
members in the usual order.  Only the first are always promised an answer.  A node of the rest may answer
questions and no writes; a write that it took has no known outcome then, and nobody may send it again.  One
that is silent with a write is passed by the library or by the node that forwards (rule W4).  Nothing is asked
twice but by these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from ringmill.client.routing.directory import Directory
from ringmill.simulator.faults.core import DOUBTFUL
from ringmill.simulator.history import Kind
from ringmill.simulator.subjects.objects.sessions import AnyNode, Session, Within
from ringmill.simulator.subjects.objects.workload import PlannedOperation
from ringmill.simulator.world.virtual_loop import Process
from ringmill.simulator.world.world import World

__all__ = ["CORE_CLIENTS", "OpenSession", "ask_core"]

_TIMEOUT_S: Final = 5.0
_MOST_KEYS: Final = 16


class _AnyWithin(AnyNode, Within):
    """Any node of the core, as behind a balancer that knows who is well."""


@dataclass(frozen=True, slots=True)
class _CoreClient:
    """`pauses_s`: how long after the core serves it begins to ask."""

    name: str
    directory: type[Directory]
    pauses_s: tuple[float, ...]


_OF_CORE: Final = _CoreClient("core-alone", Within, (0.0, 0.0, 2.0, 10.0))
_OF_ANY: Final = _CoreClient("core-any", _AnyWithin, (0.0, 2.0, 10.0))
_OF_ALL: Final = _CoreClient("core-usual", Directory, (0.0, 2.0, 10.0))
CORE_CLIENTS: Final = tuple(each.name for each in (_OF_CORE, _OF_ANY, _OF_ALL))

OpenSession = Callable[[str, float, Sequence[str], type[Directory]], tuple[Process, Session]]
"""Makes a session by its name, timeout in seconds, the addresses that it knows, and how it chooses."""


async def ask_core(world: World, keys: Sequence[bytes], draws: Random, open_session: OpenSession) -> None:
    """Put and get each key; the history has what came of it."""
    rest = world.history.core.rest
    clients = [_OF_CORE] if DOUBTFUL & set(rest.values()) else [_OF_CORE, _OF_ANY, _OF_ALL]
    asked: dict[str, list[bytes]] = {client.name: [] for client in clients}
    for key in draws.sample(keys, min(len(keys), _MOST_KEYS)):
        asked[draws.choice(clients).name].append(key)
    core = [node.address for name, node in world.nodes.items() if name not in rest]

    async def work(client: _CoreClient, session: Session, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        async with session:
            for key in asked[client.name]:
                await _ask(world, session, key, b"by the core %d" % len(world.history.operations))
                await _ask(world, session, key, b"")

    working = []
    for client in clients:
        known = list(world.addresses) if client is _OF_ALL else core
        process, session = open_session(client.name, _TIMEOUT_S, known, client.directory)
        working.append(world.loop.spawn(process, work(client, session, draws.choice(client.pauses_s))))
    await asyncio.gather(*working)


async def _ask(world: World, session: Session, key: bytes, value: bytes) -> None:
    """A put of the value, or a get."""
    history = world.history
    index = len(history.operations)
    history.core.asked.append(index)
    kind: Kind = "put" if value else "get"
    plan = PlannedOperation(index, session.name, kind, key, value, "last", "", "", 0.0)
    await session.ask(plan, history.operations)
