"""What a client keeps of nodes that are no members any more, and how it learns that silent ones are back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ringmill.client.routing.directory import PROBE_EVERY_S, PROBE_TIMEOUT_S
from ringmill.cluster.errors import DeadlineExceeded
from ringmill.cluster.ids import Epoch
from ringmill.cluster.limits import MAX_TIMEOUT_S
from ringmill.cluster.ring.topology import first_topology
from tests.client.routing.test_router import KEY, FakeCluster, FakeNode, client_of


def without(cluster: FakeCluster, gone: FakeNode) -> None:
    """The cluster goes on without a member, which is stopped."""
    former = cluster.topology
    members = [member for member in former.members if member.address != gone.address]
    smaller = first_topology("test", members, partitions=16)
    cluster.topology = replace(smaller, cluster=former.cluster, epoch=Epoch(former.epoch + 1))
    gone.is_silent = True


async def test_a_former_member_is_neither_probed_nor_kept_open() -> None:
    cluster = FakeCluster()
    gone = cluster.owners(KEY)[0]
    endpoints = [address for address in cluster.nodes if address != gone.address]
    async with client_of(cluster, endpoints=endpoints, timeout_s=5) as db:
        directory = db._router.directory
        await db.put(KEY, b"1")
        asked = asyncio.create_task(db.get(KEY))
        await asyncio.sleep(0)
        without(cluster, gone)
        await asked
        assert directory.is_silent(gone.address)
        await directory.refresh(endpoints[0], 1.0)
        directory.blame(gone.address)  # by a request to it that ends only now
        gone.asked.clear()
        await asyncio.sleep(20 * (PROBE_EVERY_S + PROBE_TIMEOUT_S))
        assert gone.asked == []
        assert not directory.is_silent(gone.address) and not directory.answered_at(gone.address)
        assert gone.is_listening, "a request to it may have been under way"
        await asyncio.sleep(MAX_TIMEOUT_S)
        assert not gone.is_listening


async def test_an_endpoint_that_is_not_a_member_is_probed_all_the_same() -> None:
    cluster = FakeCluster()
    gone = cluster.owners(KEY)[0]
    async with client_of(cluster, endpoints=list(cluster.nodes)) as db:
        directory = db._router.directory
        without(cluster, gone)
        directory.blame(gone.address)
        await directory.refresh(next(each for each in cluster.nodes if each != gone.address), 1.0)
        assert directory.is_silent(gone.address)
        gone.is_silent = False
        await asyncio.sleep(2 * (PROBE_EVERY_S + PROBE_TIMEOUT_S))
        assert not directory.is_silent(gone.address)


async def test_an_endpoint_that_has_left_is_probed_less_and_less_often() -> None:
    cluster = FakeCluster()
    gone, *others = cluster.nodes.values()
    async with client_of(cluster, endpoints=[gone.address, others[0].address]) as db:
        directory = db._router.directory
        await directory.learn(1.0)
        without(cluster, gone)
        directory.blame(gone.address)
        await directory.refresh(others[0].address, 1.0)
        await asyncio.sleep(300.0)
        gone.asked.clear()
        await asyncio.sleep(300.0)
        assert 4 <= len(gone.asked) <= 6, "once a minute"
        gone.is_silent = False
        await asyncio.sleep(65.0)
        assert not directory.is_silent(gone.address)


async def test_the_members_tell_the_topology_once_the_endpoints_have_left() -> None:
    cluster = FakeCluster()
    gone, *others = cluster.nodes.values()
    async with client_of(cluster, endpoints=[gone.address]) as db:
        directory = db._router.directory
        await directory.learn(1.0)
        without(cluster, gone)
        await directory.learn(1.0)
        assert directory.topology is not None and directory.topology.epoch == cluster.topology.epoch
        for node in others:
            node.is_silent = True
        with pytest.raises(DeadlineExceeded, match=f"none of {len(cluster.nodes)} endpoints answered"):
            await directory.learn(1.0)


async def test_silent_nodes_do_not_wait_for_each_other_to_be_probed() -> None:
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        directory = db._router.directory
        *silent, back = cluster.nodes.values()
        for node in silent:
            node.is_silent = True
            directory.blame(node.address)
        directory.blame(back.address)
        await asyncio.sleep(PROBE_EVERY_S + PROBE_TIMEOUT_S / 2)
        assert not directory.is_silent(back.address)
