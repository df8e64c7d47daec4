"""Asks every member of a cluster the same at once, those too that an answer tells of.

A look must not wait for one that hangs each time: a member that did not answer the last time (the directory
probes it meanwhile) has SILENT_S once all others have answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final, TypeVar

from ringmill.client.routing.directory import PROBE_TIMEOUT_S, Directory
from ringmill.cluster.errors import DeadlineExceeded, RingmillError
from ringmill.cluster.ring.topology import Topology

__all__ = ["SILENT_S", "ask_everybody", "ask_members"]

Answer = TypeVar("Answer")
SILENT_S: Final = 0.3
_LEAST_S: Final = 0.1


async def ask_everybody(
    directory: Directory,
    ask: Callable[[str, float], Awaitable[Answer]],
    epoch_of: Callable[[Answer], int],
    timeout_s: float,
    *,
    waits: bool = False,
) -> tuple[Topology, dict[str, Answer | RingmillError]]:
    """The answer of each member by its address, and the topology that names them.

    A client that asks for nothing else hears of changes of the members by this alone: it learns the newest
    topology that is told, asks those whom it did not know, and once more those who were behind.  `ask` takes
    an address and the seconds that are left.  With `waits` a member that was silent has all of them.
    """
    until = asyncio.get_running_loop().time() + timeout_s

    def left_s() -> float:
        return max(_LEAST_S, until - asyncio.get_running_loop().time())

    async def one(address: str) -> Answer:
        return await ask(address, left_s())

    if directory.topology is None:  # it is the first request of this client
        await directory.learn(left_s())
    topology = _known(directory)
    answers = await ask_members(directory, [*topology.addresses().values()], one, waits=waits)
    epochs = {
        address: epoch_of(answer)
        for address, answer in answers.items()
        if not isinstance(answer, RingmillError)
    }
    newest = max(epochs.values(), default=0)
    if newest > topology.epoch:
        await directory.refresh(next(at for at, epoch in epochs.items() if epoch == newest), left_s())
        topology = _known(directory)
    members = [*topology.addresses().values()]
    behind = [each for each in members if each not in answers or epochs.get(each, newest) < newest]
    again = await ask_members(directory, behind, one, waits=waits)
    for address, answer in again.items():
        if address not in epochs or not isinstance(answer, RingmillError):
            answers[address] = answer
    return topology, {address: answers[address] for address in members}


async def ask_members(
    directory: Directory,
    addresses: Collection[str],
    ask: Callable[[str], Awaitable[Answer]],
    *,
    waits: bool = False,
) -> dict[str, Answer | RingmillError]:
    """The answer of each address, or why there is none."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    tasks = {asyncio.ensure_future(_answer_of(ask, address)): address for address in addresses}
    patient = {task for task, address in tasks.items() if waits or not directory.is_silent(address)}
    pending = {*tasks}
    try:
        while pending:
            has_answer = any(not isinstance(each.result(), RingmillError) for each in {*tasks} - pending)
            is_enough = has_answer and not pending & patient
            done, pending = await asyncio.wait(
                pending, timeout=SILENT_S if is_enough else None, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    had_time = loop.time() - began >= PROBE_TIMEOUT_S  # else it may just have taken longer than a short look
    found: dict[str, Answer | RingmillError] = {}
    for task, address in tasks.items():
        silent = DeadlineExceeded(f"{address} does not answer", outcome="failed")
        found[address] = silent if task.cancelled() else task.result()
        is_late = isinstance(found[address], DeadlineExceeded)
        if is_late and had_time and not directory.is_silent(address):
            directory.blame(address)
    return found


async def _answer_of(ask: Callable[[str], Awaitable[Answer]], address: str) -> Answer | RingmillError:
    try:
        return await ask(address)
    except RingmillError as error:
        return error


def _known(directory: Directory) -> Topology:
    assert directory.topology is not None, "it was learned before"
    return directory.topology
