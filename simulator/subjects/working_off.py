"""How the clients of all subjects stand in a world and work off their plans there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from ringmill.client.routing.directory import Directory
from ringmill.simulator.subjects.objects.sessions import SimulatedLink
from ringmill.simulator.subjects.planned_client import PlannedClient
from ringmill.simulator.world.seeds import SeededEntropy
from ringmill.simulator.world.virtual_loop import Process
from ringmill.simulator.world.world import World

__all__ = ["client_in", "ended_with", "insist_on", "work_off"]

_AGAIN_S: Final = 0.25
AnyClient = TypeVar("AnyClient", bound=PlannedClient)
PlanT = TypeVar("PlanT", bound="Paused")
PlanT_contra = TypeVar("PlanT_contra", contravariant=True)
CallT = TypeVar("CallT")


class Paused(Protocol):
    """A planned call."""

    @property
    def pause_s(self) -> float:
        """Before it is made."""
        ...


class Noted(Protocol):
    """A call that was made."""

    @property
    def session(self) -> str: ...

    @property
    def error(self) -> str: ...


class Making(Protocol[PlanT_contra, CallT]):
    """A client that makes planned calls and notes each, whatever comes of it."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def make(self, plan: PlanT_contra, calls: list[CallT], *, is_of_core: bool = False) -> Any: ...


def client_in(
    world: World,
    kind: Callable[..., AnyClient],
    name: str,
    seed: int,
    timeout_s: float,
    addresses: Sequence[str],
    directory: type[Directory],
    **own: object,
) -> tuple[Process, AnyClient]:
    """A client of this kind with simulated links, and the process that it is to run in.

    `own`: further arguments of the kind.
    """
    process, transport = world.client(name)
    nodes = world.addresses
    client = kind(
        name,
        addresses=addresses,
        dial=lambda address: SimulatedLink(transport, nodes[address]),
        entropy=SeededEntropy(seed, f"client/{name}"),
        timeout_s=timeout_s,
        directory=directory,
        **own,
    )
    return process, client


async def work_off(
    world: World,
    process: Process,
    client: Making[PlanT, CallT],
    plans: Sequence[PlanT],
    calls: list[CallT],
    *,
    is_of_core: bool = False,
) -> None:
    """One after the other, in the client's process; each is in `calls` from its start on."""

    async def work() -> None:
        async with client:
            for plan in plans:
                await asyncio.sleep(plan.pause_s)
                await client.make(plan, calls, is_of_core=is_of_core)

    await world.loop.spawn(process, work())


async def insist_on(
    world: World,
    process: Process,
    client: Making[PlanT, CallT],
    plans: Sequence[PlanT],
    calls: list[CallT],
    is_answered: Callable[[CallT], bool],
) -> None:
    """Carry out the plans in order, each again until it is answered: what is healed owes an answer."""

    async def work() -> None:
        async with client:
            for plan in plans:
                await asyncio.sleep(plan.pause_s)
                await client.make(plan, calls)
                while not is_answered(calls[-1]):
                    await asyncio.sleep(_AGAIN_S)
                    await client.make(plan, calls)

    await world.loop.spawn(process, work())


def ended_with(calls: Sequence[Noted], session: str) -> str:
    """Tells of the last read that failed, of a session that only reads; "" when none did."""
    last = [call for call in calls if call.session == session and call.error]
    return f"a read ended with {last[-1].error}" if last else ""
