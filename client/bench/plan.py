"""A benchmark of a cluster that may be in use: write keys, run a load on them, delete them.

All keys begin with one random prefix.  The caller deletes them also when the run fails or is interrupted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from ringmill.client.bench.keys import KeySpace
from ringmill.client.bench.load import Load, Measured, Store, run_load
from ringmill.client.bench.processor_time import ProcessorTime
from ringmill.client.bench.workloads import INSERT, Operation, Values, Workload, operations
from ringmill.cluster.errors import RingmillError

__all__ = ["Cleaned", "DeletingStore", "BenchPlan", "Show", "delete_keys", "run_plan", "write_keys"]

LOADERS: Final = 64
LONGEST_S: Final = 3600.0
DELETE_TRIES: Final = 3
DELETE_ALLOWED_S: Final = 300.0

Show = Callable[[int], None]
"""Called with the progress of a step: keys, or thousandths of the time."""


class DeletingStore(Store, Protocol):
    """A store that can be cleaned up."""

    async def delete(self, key: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """The workload, its keys and values, and the load."""

    workload: Workload
    keys_by: str
    keys: int
    value_bytes: int
    load: Load


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The number of deleted keys, and the errors of the others by kind."""

    deleted: int
    errors: Counter[str]


async def write_keys(store: DeletingStore, space: KeySpace, plan: BenchPlan, show: Show) -> None:
    """Put every key of the plan once and add it to `space`.

    The first key is put and read alone, so that an impossible level is one clear error.  Raises RingmillError
    when keys could not be written.
    """
    values, first = Values(plan.value_bytes), space.key(space.grow())
    await store.put(first, values.next())
    await store.get(first)
    measured = await run_load(
        store,
        _inserts(space, plan.keys),
        values,
        Load(in_flight=LOADERS, seconds=LONGEST_S),
        progress=lambda _, done: show(done),
    )
    if measured.errors:
        kinds = ", ".join(f"{count} {kind}" for kind, count in measured.errors.most_common())
        raise RingmillError(
            f"{measured.errors.total()} of {space.count} keys could not be written: {kinds}",
            hint="`ringmill cluster status` shows whether the cluster is well",
        )


async def run_plan(
    store: Store, space: KeySpace, plan: BenchPlan, processor_time: ProcessorTime, show: Show
) -> Measured:
    """Run the load on the keys of `space`."""
    drawn = operations(plan.workload, plan.keys_by, space, plan.load.seed)

    def tell(seconds: float, done: int) -> None:
        share = max(seconds / plan.load.seconds, done / plan.load.most if plan.load.most else 0.0)
        show(min(1000, int(share * 1000)))

    return await run_load(
        store, drawn, Values(plan.value_bytes), plan.load, processor_time=processor_time, progress=tell
    )


async def delete_keys(store: DeletingStore, space: KeySpace, show: Show) -> Cleaned:
    """Delete every key of `space`, within some minutes.  Failures are counted."""
    keys = (space.key(number) for number in range(space.count))
    errors: Counter[str] = Counter()
    deleted = 0

    async def work() -> None:
        nonlocal deleted
        for key in keys:
            if why := await _delete_key(store, key):
                errors[why] += 1
            else:
                deleted += 1
                show(deleted)

    try:
        async with asyncio.timeout(DELETE_ALLOWED_S), asyncio.TaskGroup() as group:
            for _ in range(LOADERS):
                group.create_task(work())
    except TimeoutError:
        errors[f"not deleted within {DELETE_ALLOWED_S:.0f} s"] += space.count - deleted - errors.total()
    return Cleaned(deleted, errors)


async def _delete_key(store: DeletingStore, key: bytes) -> str:
    """Delete a key.  Returns the code of the last error, or ""."""
    why = ""
    for _ in range(DELETE_TRIES):
        try:
            await store.delete(key)
        except RingmillError as error:
            why = error.code
        else:
            return ""
    return why


def _inserts(space: KeySpace, most: int) -> Iterator[Operation]:
    while space.count < most:
        yield INSERT, space.key(space.grow())
    space.loaded = space.count
