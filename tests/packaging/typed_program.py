"""A user's program, checked by mypy --strict against the installed wheel: mistakes are seen.

Each ignore stands where a mistake has to be reported: an unused one is an error in strict mode.
"""

from datetime import timedelta
from typing import assert_type

import ringmill


async def asynchronous() -> None:
    async with ringmill.connect(["127.0.0.1:7101"], timeout=2) as db:
        assert_type(db, ringmill.AsyncClient)
        receipt = await db.put("a", b"x", w="quorum", durability="buffered", ttl=timedelta(days=1))
        assert_type(receipt, ringmill.Receipt)
        item = await db.get("a", r=2)
        assert_type(item, ringmill.Item)
        assert_type(await db.get("a", None), ringmill.Item | None)
        assert_type(await db.get(b"a", default=3), ringmill.Item | int)
        assert_type(item.value, bytes)
        assert_type(item.siblings, tuple[bytes, ...])
        assert_type(item.expires_at, float | None)
        await db.put("a", item.one(b"".join), context=item.context)
        await db.keyspace("default").delete(bytearray(b"a"), context=ringmill.EMPTY)
        assert_type(await db.locate("a"), ringmill.Location)
        assert_type(await db.jobs.run("m.py:job", input="in", output="out"), ringmill.JobState)
        await db.put("a", "x")  # type: ignore[arg-type]
        await db.put(3, b"x")  # type: ignore[arg-type]
        await db.put("a", b"x", durability="fsync")  # type: ignore[arg-type]
        await db.get("a", r="most")  # type: ignore[call-overload]


def blocking(definition: ringmill.JobDefinition) -> None:
    with ringmill.Client("127.0.0.1:7101") as db:
        assert_type(db, ringmill.Client)
        assert_type(db.put("a", b"x", timeout=1), ringmill.Receipt)
        assert_type(db.get("a"), ringmill.Item)
        assert_type(db.get("a", None), ringmill.Item | None)
        assert_type(db.jobs.submit(definition, input=["a", "b"], output="out"), str)
        for state in db.jobs.watch("job"):
            assert_type(state, ringmill.JobState)
        db.put("a", "x")  # type: ignore[arg-type]
        db.put("a", b"x", w="some")  # type: ignore[arg-type]
        db.get(3)  # type: ignore[call-overload]
    db.close()
