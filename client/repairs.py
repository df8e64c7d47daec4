"""Asks every node how its copies compare with those of the other owners, or has them compared now."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import TypeAlias

from ringmill.client.routing.links import REPAIR_RUN, REPAIR_STATUS, Link
from ringmill.cluster.errors import InvalidArgument, RingmillError, WrongEpoch
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ring.topology import Member, Topology
from ringmill.cluster.wire.stubs.repair_pb2 import (
    RepairRunRequest,
    RepairStatusRequest,
    RepairStatusResponse,
)

__all__ = ["RepairViews", "repair_views", "run_repair"]

RepairViews: TypeAlias = Mapping[str, RepairStatusResponse | RingmillError]
"""What each member says, or why it does not."""
Dial: TypeAlias = Callable[[str], Link]
"""Opens a link to the member at an address."""


async def repair_views(topology: Topology, dial: Dial, timeout_s: float) -> RepairViews:
    """How the copies of each member compare with those of the other owners."""

    async def ask(member: Member) -> RepairStatusResponse | RingmillError:
        link = dial(member.address)
        try:
            return await link.call(REPAIR_STATUS, RepairStatusRequest(), timeout_s)
        except RingmillError as error:
            return error
        finally:
            await link.close()

    found = await gather_all(map(ask, topology.members))
    return {member.id: answer for member, answer in zip(topology.members, found, strict=True)}


async def run_repair(
    topology: Topology, dial: Dial, partitions: Sequence[int], timeout_s: float, names: Container[str]
) -> Mapping[str, RingmillError]:
    """Have each of these members compare those of the partitions that it owns; no partitions: all of them.

    Returns by member why it does not.
    """

    async def ask(member: Member) -> RingmillError | None:
        owned = [number for number in partitions if member.id in topology.rows[number].whole]
        if member.id not in names or (partitions and not owned):
            return None
        link = dial(member.address)
        try:
            await link.call(REPAIR_RUN, RepairRunRequest(partitions=owned), timeout_s)
        except InvalidArgument as error:  # the release before says so of a partition that has left it
            return WrongEpoch(error.message, detail=dict(error.detail)) if owned else error
        except RingmillError as error:
            return error
        else:
            return None
        finally:
            await link.close()

    found = await gather_all(map(ask, topology.members))
    return {member.id: error for member, error in zip(topology.members, found, strict=True) if error}
