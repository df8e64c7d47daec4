"""What a node does before it says that it has a job: plan it, and see that it outlives the node."""

from types import SimpleNamespace
from typing import Any

import pytest

from ringmill.cluster.errors import DiskFull, NotFound, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.node.jobs.surroundings import Surroundings

N1, N2, N3 = map(NodeId, ("n1", "n2", "n3"))


class Shelf:
    """Bundles that some members have; `asked` are those that were asked for one."""

    def __init__(self, **failing: RingmillError) -> None:
        self.failing = failing
        self.asked: list[NodeId] = []

    async def ensure(self, sha256: str, source: NodeId) -> str:
        self.asked.append(source)
        if (error := self.failing.get(source)) is not None:
            raise error
        return f"/kept/{sha256}.zip"


async def code_of(shelf: Shelf, *up: NodeId) -> str:
    world: Any = SimpleNamespace(node=N1, members_up=lambda: list(up), bundles=shelf)
    spec: Any = SimpleNamespace(bundle_sha256="abc")
    return await Surroundings.code_of(world, spec)


async def test_the_code_of_a_job_is_asked_for_at_the_others() -> None:
    shelf = Shelf(n2=NotFound("no bundle"))
    assert await code_of(shelf, N1, N2, N3) == "/kept/abc.zip"
    assert shelf.asked == [N2, N3]
    shelf = Shelf()
    assert await code_of(shelf, N1) == "/kept/abc.zip", "it may be here"
    shelf = Shelf(n2=NotFound("none"), n3=Unavailable("away"))
    with pytest.raises(Unavailable, match="away"):
        await code_of(shelf, N1, N2, N3)


async def test_code_that_there_is_no_room_for_is_asked_for_once() -> None:
    shelf = Shelf(n2=DiskFull("no room"))
    with pytest.raises(DiskFull):
        await code_of(shelf, N1, N2, N3)
    assert shelf.asked == [N2]
