"""A node that stops tells the other members first, in whole clusters over the simulated network."""

from __future__ import annotations

import asyncio

from tests.node.membership.test_liveness import DOWN, N2, N3, NODES, UP, Cluster, seeds


@seeds
def test_a_stop_is_over_once_every_member_sees_the_node_down(seed: int) -> None:
    async def story(cluster: Cluster) -> None:
        await asyncio.sleep(2)
        begun = asyncio.get_running_loop().time()
        await cluster.runs[N3].liveness.leave()
        assert cluster.views(N3) == {DOWN}
        assert asyncio.get_running_loop().time() - begun < 0.5
        cluster.kill(N3)
        await asyncio.sleep(2)
        cluster.restart(N3)
        await cluster.until(lambda: cluster.views(N3) == {UP}, within_s=0.5)
        await asyncio.sleep(3)
        assert all(cluster.views(node) == {UP} for node in NODES)

    Cluster(seed).tell(story)


def test_a_stop_does_not_wait_long_for_a_member_that_does_not_answer() -> None:
    async def story(cluster: Cluster) -> None:
        await asyncio.sleep(2)
        cluster.loop.pause(cluster.runs[N2].process)
        async with asyncio.timeout(0.5):
            await cluster.runs[N3].liveness.leave()
        told = [run.liveness.state(N3) for node, run in cluster.runs.items() if node not in (N2, N3)]
        assert set(told) == {DOWN}
        cluster.loop.resume(cluster.runs[N2].process)
        await cluster.until(lambda: cluster.views(N3) == {DOWN}, within_s=3)

    Cluster().tell(story)
