"""A host joins by a token and is removed again, while somebody who has its token shows it (rule T11).

It joins new nodes, a cluster of their own.  A member may lose power meanwhile, and the clock of one may be
days ahead or behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final

from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.document import FORMAT_VERSION
from ringmill.cluster.ring.keyspaces.keyspace_changes import NewKeyspace, created
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.topology import Member, Topology, first_topology
from ringmill.cluster.wire.join_tokens import JOIN_NONCE_BYTES, JoinGrant, JoinToken
from ringmill.node.assembly import Node
from ringmill.node.membership.epoch_proposer import TopologyChange
from ringmill.simulator.world.clocks import SimulatedClock
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.services import TOKEN
from ringmill.simulator.world.world import World

__all__ = ["StolenToken"]

_MEMBERS: Final = ("t1", "t2", "t3")
_HOST: Final = NodeId("t4")
_TTL_S: Final = 3600
_STEPS_S: Final = (0.0, -2 * 86_400.0, 2 * 86_400.0)
_WITHIN_S: Final = 3.0
_LONGEST_S: Final = 60.0
_LAST_TRIES: Final = 6  # once the host was removed
_LOOK_EVERY_S: Final = 0.05


class StolenToken:
    """`run` once all else is over.  The nodes end there."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._draws = stream(world.seed, "keyspaces/stolen tokens")
        self._has_joined = self._is_over = False
        self.tries = 0
        self.let_in: list[str] = []
        """Whom the token has let in beside the disk that joined by it."""

    async def run(self) -> None:
        token, host = await self._form()
        await asyncio.gather(self._come_and_go(token, host), self._steal(token), self._trouble())
        self._world.dismiss_strangers()

    async def _form(self) -> tuple[JoinToken, Member]:
        """Form a cluster of three.  Returns a token for a fourth node, and that node, in no cluster yet."""
        world = self._world
        members = [await world.admit(name) for name in _MEMBERS]
        first = first_topology("tokens", members, partitions=world.options.partitions, n=len(members))
        for name in _MEMBERS:
            agent = (await world.guests[name].up()).membership.topology
            await world.guests[name].inside(agent.take_first(first.encode()))
        while not all(world.guests[name].serves for name in _MEMBERS):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(_LOOK_EVERY_S)
        expires_s = int(SimulatedClock(world.loop).wall()) + _TTL_S
        grant = JoinGrant(first.cluster, _HOST, expires_s, self._draws.randbytes(JOIN_NONCE_BYTES))
        return grant.token(TOKEN), await world.admit(_HOST)

    async def _come_and_go(self, token: JoinToken, host: Member) -> None:
        """The host joins, is removed before all has moved or after that, and more is changed then."""
        until = self._world.loop.time() + _LONGEST_S
        while not await self._shows(token, host) and self._world.loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(self._draws.random())
        self._has_joined |= self._is_member()
        await asyncio.sleep(5 * self._draws.random())
        is_dead, is_gone = self._draws.random() < 0.5, False
        while not is_gone and self._world.loop.time() < until:
            made = await self._change(_without(host, is_dead=is_dead))
            is_gone = made is not None and not made.has_member(_HOST)
            await asyncio.sleep(self._draws.random())
        for name in ("one", "other"):
            await self._change(_with_keyspace(name))
        self._is_over = True

    async def _steal(self, token: JoinToken) -> None:
        """Show the token on other disks, before and after the host was removed, once it has joined."""
        left = _LAST_TRIES
        while left:
            await asyncio.sleep(self._draws.random())
            left -= self._is_over
            self._has_joined |= self._is_member()
            if not self._has_joined:
                continue  # who is first may have it
            thief = Member(_HOST, DiskId(self._draws.randbytes(16).hex()), "10.0.9.9:7100")
            self.tries += 1
            if await self._shows(token, thief):
                self.let_in.append(thief.disk)

    async def _trouble(self) -> None:
        """One member loses power, the clock of one is set."""
        draws: Random = stream(self._world.seed, "keyspaces/stolen tokens/trouble")
        await asyncio.sleep(3 * draws.random())
        self._world.guests[draws.choice(_MEMBERS)].clock.jump(draws.choice(_STEPS_S))
        if draws.random() < 0.5:
            return
        process = self._world.guests[draws.choice(_MEMBERS)]
        await asyncio.sleep(5 * draws.random())
        process.kill(self._world.ground.crash_model())
        await asyncio.sleep(draws.random())
        process.start()

    async def _shows(self, token: JoinToken, newcomer: Member) -> bool:
        """Whether a member gives whoever shows the token the secret."""
        nonce = self._draws.randbytes(JOIN_NONCE_BYTES)
        proof, grant = token.request_proof(nonce, newcomer), token.grant.encode()
        admitted = await self._ask(
            lambda node: node.membership.joins.admit(
                grant, proof, nonce, newcomer, _WITHIN_S, reads=FORMAT_VERSION
            )
        )
        return admitted is not None and token.open(admitted.sealed, nonce) == TOKEN

    async def _change(self, change: TopologyChange) -> Topology | None:
        made = await self._ask(lambda node: node.membership.epochs.change(change, _WITHIN_S))
        return None if made is None else made.topology

    async def _ask(self, ask: Callable[[Node], Coroutine[Any, Any, Any]]) -> Any:
        """Ask one of the members.  Returns None when it refuses, or is killed meanwhile."""
        process = self._world.guests[self._draws.choice(_MEMBERS)]
        if not process.serves or process.node is None:
            return None
        asked = process.inside(ask(process.node))
        asked.add_done_callback(lambda task: task.cancelled() or task.exception())
        done, _ = await asyncio.wait([asked], timeout=2 * _WITHIN_S)
        failed = not done or asked.cancelled() or asked.exception() is not None
        return None if failed else asked.result()

    def _is_member(self) -> bool:
        """Whether a member knows the host as one."""
        nodes = [self._world.guests[name].node for name in _MEMBERS]
        held = [node.membership.topology.current for node in nodes if node is not None]
        return any(each is not None and each.has_member(_HOST) for each in held)


def _without(host: Member, *, is_dead: bool) -> TopologyChange:
    changes, dead = MemberChanges(remove=[host.id]), [host.id] if is_dead else []
    return lambda topology, _: with_members(topology, changes, dead) if topology.has_member(host.id) else None


def _with_keyspace(name: str) -> TopologyChange:
    return lambda topology, _: created(topology, NewKeyspace(name))
