"""The client process of one contestant: it connects, does what each line of stdin asks, and answers with a
line.

    python -P -m stores.client_main '{"store": "ringmill", "endpoints": "127.0.0.1:7101", "pids": [1, 2]}'

A process of its own for each contestant makes processor time and memory its own, and lets the client be
that of another checkout: the load generator is always ours, the `ringmill` under it that of PYTHONPATH.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

if TYPE_CHECKING:
    from ringmill.client.bench.load import Store

LONGEST_LOAD_S, GRACE_S = 1800.0, 60.0  # nothing hangs until it is stopped
HARNESS = Path(__file__).resolve().parents[3] / "client" / "bench"


def take_our_harness() -> None:
    """Make `ringmill.client.bench` the folder beside these scripts, whatever checkout `ringmill` is."""
    import ringmill.client

    name = f"{ringmill.client.__name__}.bench"
    found = importlib.util.spec_from_file_location(
        name, HARNESS / "__init__.py", submodule_search_locations=[str(HARNESS)]
    )
    assert found is not None and found.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)


async def opened(stack: AsyncExitStack, about: dict[str, Any]) -> Any:
    """The connection that all runs share."""
    if about["store"] == "etcd":
        from stores.etcd_client import EtcdClient

        return await stack.enter_async_context(EtcdClient(about["endpoints"].split(",")))
    if about["store"] == "redis":
        from stores.redis_client import RedisClient

        return await stack.enter_async_context(RedisClient(about["endpoints"]))
    if about["store"] == "floor":
        from stores.floor_client import FloorClient

        return await stack.enter_async_context(FloorClient(about["endpoints"].split(",")))
    import ringmill

    carried = {} if about["transport"] == "grpc" else {"transport": about["transport"]}
    carried |= about.get("credentials", {})
    return await stack.enter_async_context(ringmill.connect(about["endpoints"], timeout=30.0, **carried))


def store_of(connection: Any, asked: dict[str, Any]) -> Store:
    """The store that one run sees: the connection with the levels of this run."""
    if hasattr(connection, "store"):
        store: Store = connection.store(asked)
        return store
    from ringmill.client.bench.keyspace_store import KeyspaceStore

    levels = {name: asked.get(name) for name in ("w", "r", "durability")}
    return KeyspaceStore(connection, **levels)


async def load_keys(connection: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Put each key once."""
    from ringmill.client.bench.keys import KeySpace
    from ringmill.client.bench.load import Load, run_load
    from ringmill.client.bench.workloads import INSERT, Values

    space = KeySpace(0, group=asked.get("group", 0))
    inserts = ((INSERT, space.key(space.grow())) for _ in range(asked["keys"]))
    load = Load(in_flight=256, seconds=3600.0)
    measured = await run_load(store_of(connection, asked), inserts, Values(asked["value_bytes"]), load)
    return {"operations": measured.operations, "errors": dict(measured.errors), "seconds": measured.seconds}


async def run(connection: Any, asked: dict[str, Any], pids: list[int]) -> dict[str, Any]:
    """One run of one case."""
    from ringmill.client.bench.keys import KeySpace
    from ringmill.client.bench.load import Load, run_load
    from ringmill.client.bench.processor_time import ProcessorTime
    from ringmill.client.bench.workloads import WORKLOADS, Values, operations

    workload = WORKLOADS[asked["workload"]]
    space = KeySpace(asked["keys"], group=workload.group)
    drawn = operations(workload, asked["distribution"], space, asked["seed"])
    load = Load(
        in_flight=asked["in_flight"],
        seconds=asked["seconds"],
        warm_up_s=asked["warm_up_s"],
        rate_per_s=asked["rate_per_s"],
        seed=asked["seed"],
    )
    values = Values(asked["value_bytes"], asked["seed"])
    counts = FrameCounts.of_this_process()
    before = counts.read()
    if way := asked.get("way", ""):
        from stores.batches import run_batches

        levels = {name: asked.get(name) for name in ("w", "r", "durability")}
        measured = await run_batches(
            connection, drawn, values, load, way=way, levels=levels, processor_time=ProcessorTime(pids)
        )
    else:
        measured = await run_load(
            store_of(connection, asked), drawn, values, load, processor_time=ProcessorTime(pids)
        )
    frames, operations_sent = (after - begun for after, begun in zip(counts.read(), before, strict=True))
    return {
        "seconds": measured.seconds,
        "operations": measured.operations,
        "errors": dict(measured.errors),
        "missing": measured.missing,
        "client_s": measured.client_s,
        "nodes_s": measured.nodes_s,
        "latency": measured.all_latencies.to_dict(),
        "lateness": measured.lateness.to_dict(),
        "frames": frames,
        "operations_sent": operations_sent,
    }


class FrameCounts:
    """Frames that this process has sent and operations in them, where the client is one that sends frames.

    The client's modules count nothing, so that the hot path stays free of it: the one function that seals a
    frame of calls is wrapped here, in the benchmark's own process.
    """

    _shared: FrameCounts | None = None

    def __init__(self) -> None:
        self._frames = 0
        self._operations = 0
        link = sys.modules.get("ringmill.cluster.adapters.network.frame_link")
        seal = getattr(link, "encode_operations", None)
        if link is not None and seal is not None:

            def counted(entries: Any, *rest: Any) -> Any:
                self._frames += 1
                self._operations += len(entries)
                return seal(entries, *rest)

            link.encode_operations = counted  # type: ignore[attr-defined]

    @classmethod
    def of_this_process(cls) -> FrameCounts:
        cls._shared = cls._shared or cls()
        return cls._shared

    def read(self) -> tuple[int, int]:
        return self._frames, self._operations


async def serve(about: dict[str, Any]) -> None:
    """Answer lines until stdin ends."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        connection = await opened(stack, about)
        print(json.dumps({"ready": True}), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            asked = json.loads(line)
            async with asyncio.timeout(asked.get("seconds", LONGEST_LOAD_S) + GRACE_S):
                if asked["do"] == "load":
                    answer = await load_keys(connection, asked)
                else:
                    answer = await run(connection, asked, about["pids"])
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    take_our_harness()
    uvloop.run(serve(json.loads(sys.argv[1])))
