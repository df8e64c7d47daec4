"""A benchmark leaves a cluster as it found it, whatever happens to the run."""

from __future__ import annotations

import pytest

from ringmill.client.bench.keys import KeySpace
from ringmill.client.bench.load import Load
from ringmill.client.bench.plan import BenchPlan, delete_keys, run_plan, write_keys
from ringmill.client.bench.processor_time import ProcessorTime
from ringmill.client.bench.workloads import WORKLOADS
from ringmill.cluster.errors import InvalidArgument, RingmillError, Unavailable

OTHERS = {b"key:000000000001": b"not ours"}


class DictStore:
    """Keeps what it is given; `fails` says which calls do not get through."""

    failures = (RingmillError,)

    def __init__(self) -> None:
        self.values = dict(OTHERS)
        self.calls = 0
        self.fail_each = 0

    async def put(self, key: bytes, value: bytes) -> None:
        self._call()
        self.values[key] = value

    async def get(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    async def modify(self, key: bytes, value: bytes) -> None:
        await self.put(key, value)

    async def scan(self, key: bytes, most: int) -> int:
        return sum(key <= other for other in self.values)

    async def delete(self, key: bytes) -> None:
        self._call()
        self.values.pop(key, None)

    def _call(self) -> None:
        self.calls += 1
        if self.fail_each and self.calls % self.fail_each == 0:
            raise Unavailable("not now")


def plan_of(workload: str = "a", keys: int = 200, operations: int = 500) -> BenchPlan:
    load = Load(in_flight=4, seconds=600.0, most=operations)
    return BenchPlan(WORKLOADS[workload], "zipf", keys, 16, load)


def hear(_: int) -> None:
    return


async def test_what_was_written_and_inserted_is_deleted_and_nothing_else() -> None:
    store, space, plan = DictStore(), KeySpace(0, "bench-x:"), plan_of("d")
    await write_keys(store, space, plan, hear)
    assert len(store.values) == plan.keys + len(OTHERS)
    measured = await run_plan(store, space, plan, ProcessorTime(), hear)
    assert measured.operations == 500
    assert space.count > plan.keys, "workload d inserts"
    cleaned = await delete_keys(store, space, hear)
    assert cleaned.deleted == space.count
    assert store.values == OTHERS


async def test_a_delete_that_fails_is_tried_again() -> None:
    store, space, plan = DictStore(), KeySpace(0, "bench-x:"), plan_of()
    await write_keys(store, space, plan, hear)
    store.fail_each = 3
    cleaned = await delete_keys(store, space, hear)
    assert not cleaned.errors
    assert store.values == OTHERS


async def test_keys_that_cannot_be_deleted_are_counted_by_kind() -> None:
    store, space, plan = DictStore(), KeySpace(0, "bench-x:"), plan_of()
    await write_keys(store, space, plan, hear)
    store.fail_each = 1
    cleaned = await delete_keys(store, space, hear)
    assert cleaned.deleted == 0
    assert cleaned.errors == {"UNAVAILABLE": plan.keys}


async def test_keys_that_cannot_be_written_are_an_error_and_can_be_deleted_all_the_same() -> None:
    store, space, plan = DictStore(), KeySpace(0, "bench-x:"), plan_of()
    store.fail_each = 50
    with pytest.raises(RingmillError, match="of 200 keys could not be written: 4 UNAVAILABLE"):
        await write_keys(store, space, plan, hear)
    store.fail_each = 0
    await delete_keys(store, space, hear)
    assert store.values == OTHERS


async def test_a_level_that_cannot_be_is_one_error_after_one_key() -> None:
    class Refusing(DictStore):
        async def put(self, key: bytes, value: bytes) -> None:
            self.calls += 1
            raise InvalidArgument("level 9 cannot be met")

    store, space = Refusing(), KeySpace(0, "bench-x:")
    with pytest.raises(InvalidArgument, match="level 9"):
        await write_keys(store, space, plan_of(), hear)
    assert store.calls == space.count == 1
