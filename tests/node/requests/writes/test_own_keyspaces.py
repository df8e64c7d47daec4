"""What a job puts goes into the keyspace for which the job was planned, and into no other one of its name."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringmill.cluster.errors import DeadlineExceeded, NotFound
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.requests.for_jobs.own_keyspaces import OwnKeyspaces

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

    parts: dict[str, Any] = dict.fromkeys(("scanner", "hybrid", "clock", "changes"))
    keyspaces = OwnKeyspaces(
        routes=cast("Any", SimpleNamespace(objects_named=objects_named)),
        writer=cast("Any", SimpleNamespace(write=write)),
        **parts,
    )
    with pytest.raises(NotFound, match="another one has its name"):
        await keyspaces.put("out", PLANNED, b"key", b"value", OperationId(1, 1, HybridTime(0)), is_again=True)
    assert put_into == [PLANNED]
