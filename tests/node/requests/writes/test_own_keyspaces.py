"""What a job puts goes into the keyspace for which the job was planned, and into no other one of its name."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringmill.cluster.errors import DeadlineExceeded, NotFound
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.ring.keyspaces.keyspace_changes import dropped
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.requests.for_jobs.own_keyspaces import OwnKeyspaces
from tests.node.requests.test_keyspaces import change, get, make
from tests.node.small_world import World

PLANNED, ANOTHER = KeyspaceId(2, 0), KeyspaceId(4, 0)


async def test_a_put_that_is_sent_once_more_looks_again_whether_the_keyspace_is_there() -> None:
    now = SimpleNamespace(id=PLANNED)
    put_into: list[KeyspaceId] = []

    async def objects_named(*_: Any) -> tuple[Any, Any]:
        return SimpleNamespace(partitions=8), now

    async def write(request: Any) -> None:
        put_into.append(now.id)
        now.id = ANOTHER
        if request.attempt:
            raise DeadlineExceeded("nobody can tell", detail={"earlier": "unknown"}, outcome="unknown")

    parts: dict[str, Any] = dict.fromkeys(("scanner", "hybrid", "clock", "changes", "snapshots"))
    keyspaces = OwnKeyspaces(
        routes=cast("Any", SimpleNamespace(objects_named=objects_named)),
        writer=cast("Any", SimpleNamespace(write=write)),
        **parts,
    )
    with pytest.raises(NotFound, match="another one has its name"):
        await keyspaces.put("out", PLANNED, b"key", b"value", OperationId(1, 1, HybridTime(0)), is_again=True)
    assert put_into == [PLANNED]


def test_a_node_that_missed_a_drop_forwards_no_record_into_the_next_keyspace_of_that_name() -> None:
    """It still holds the document that the job was planned by, so only the owner can tell."""
    world = World(nodes=4)

    async def story() -> None:
        planned = (await make(world, "n1", "out")).keyspace_named("out").id
        await world.until(lambda: world.nodes["n4"].membership.topology.epoch == 2)
        for other in ("n1", "n2", "n3"):
            world.cut("n4", other)
        await change(world, "n1", lambda topology, may: dropped(topology, "out", may_be_done=may))
        await make(world, "n1", "out")
        for other in ("n1", "n2", "n3"):
            world.cut("n4", other, is_cut=False)
        former = world.nodes["n4"].membership.topology
        assert former.epoch == 2 and former.current is not None
        document = former.current
        keys = (b"%d" % number for number in range(100))
        key = next(key for key in keys if "n4" not in document.owners(document.partition_of(planned, key)))
        put = (
            world.nodes["n4"]
            .requests.own_keyspaces()
            .put("out", planned, key, b"v", OperationId(1, 1, HybridTime(0)), is_again=False)
        )
        with pytest.raises(NotFound, match="another one has its name"):
            await world.on("n4", put)
        assert (await get(world, "n1", "out", key)).siblings == ()

    world.run(story())
