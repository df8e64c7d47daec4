"""Microseconds of processor time of each layer of a put and a get, alone in a hot loop, as a standing table.

    python scripts/bench/layers.py [--quick] [--only object] [--json PATH]
    PYTHONPATH=../other python scripts/bench/layers.py     the layers of another checkout

`us` is the least of some repetitions, of this process with all its threads, so that other work on the machine
moves it little.  `put us` and `get us` multiply it by how often a put or a get does the layer, client and all
nodes together (three nodes, N=3, w=r=2, 64 in flight); the counts stand beside the layers in layer_parts/ and
have to follow the code.  The floor is measured, not summed: three processes that echo the same frames
with a dict behind them.  What no row names (dispatch, book-keeping, waking) is the difference between the sum
and what `kv.py` measures.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from layer_parts.engine_layers import engine_layers, fill_engine
from layer_parts.layer import Layer
from layer_parts.loop_layers import grpc_layers, loop_layers
from layer_parts.message_layers import message_layers
from layer_parts.object_layers import object_layers, sample_object
from local_cluster import ROOT, free_ports
from report import Report, arguments
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.node.storage.engine import Engine
from ringmill.node.storage.engine_options import EngineOptions
from stores.contestants import Shape
from stores.other_stores import Floor

REPEATS = 7
SLICE_S = 0.02  # of one repetition, about
FLOOR_KEYS, FLOOR_S = 5_000, 4.0


async def cost_us(layer: Layer) -> float:
    """The least processor time of doing the layer once."""
    count = 1
    while (spent := await _spent_s(layer, count)) < SLICE_S / 4 and count < 1 << 20:
        count *= 4
    count = max(1, int(count * SLICE_S / max(spent, 1e-9)))
    return min([await _spent_s(layer, count) for _ in range(REPEATS)]) / count / layer.each * 1e6


async def _spent_s(layer: Layer, count: int) -> float:
    """Seconds of processor time of doing it `count` times."""
    if (work := layer.work) is not None:
        begun = time.process_time()
        for _ in range(count):
            work()
        return time.process_time() - begun
    async_work = layer.async_work
    assert async_work is not None
    begun = time.process_time()
    for _ in range(count):
        await async_work()
    return time.process_time() - begun


async def measure(report: Report, only: str, folder: Path) -> None:
    encoded = encode_object(sample_object())
    files, spawner = OsFileSystem(), ProcessSpawner()
    async with AsyncExitStack() as stack:
        stack.callback(files.close)
        stack.push_async_callback(spawner.close)
        engine = await Engine.open(str(folder), EngineOptions(), files=files, spawner=spawner)
        await stack.enter_async_context(engine)
        await fill_engine(engine, encoded)
        over_grpc = await stack.enter_async_context(grpc_layers(free_ports(1)))
        layers = [
            *message_layers(encoded), *object_layers(), *engine_layers(engine, encoded), *loop_layers(),
            *over_grpc,
        ]  # fmt: skip
        put_us = get_us = 0.0
        for layer in layers:
            if only in layer.name:
                us = await cost_us(layer)
                put_us, get_us = put_us + us * layer.puts, get_us + us * layer.gets
                report.row(
                    layer.name, us=us, a_put=layer.puts or None, put_us=us * layer.puts or None,
                    a_get=layer.gets or None, get_us=us * layer.gets or None,
                )  # fmt: skip
        report.row("sum", put_us=put_us, get_us=get_us)


def measure_floor(report: Report, seconds: float) -> None:
    """What the same frames cost with a dict behind them, client and nodes together: no layer of ours but the
    frames is in it."""
    with Floor(Shape(nodes=3, replicas=3)) as floor:
        floor.ask({"do": "load", "keys": FLOOR_KEYS, "value_bytes": 100})
        costs = {}
        for workload in ("put", "get"):
            done = floor.ask(
                {
                    "do": "run", "workload": workload, "distribution": "uniform", "value_bytes": 100,
                    "in_flight": 64, "keys": FLOOR_KEYS, "seconds": seconds, "warm_up_s": seconds / 4,
                    "rate_per_s": 0.0, "durability": None, "seed": 1,
                }
            )  # fmt: skip
            costs[workload] = (done["client_s"] + done["nodes_s"]) / done["operations"] * 1e6
    report.row("floor, 64 in flight", put_us=costs["put"], get_us=costs["get"])


def main() -> None:
    parser = arguments("layers", __doc__ or "")
    parser.add_argument("--only", default="", help="layers whose name has this")
    options = parser.parse_args()
    settings: dict[str, str | int | float | bool | None] = {
        "key_bytes": 16, "value_bytes": 100, "repeats": REPEATS, "slice_s": SLICE_S, "loop": "uvloop",
    }  # fmt: skip
    report = Report("layers", settings, options.json)
    parent = ROOT / "build" / "bench"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="layers-", dir=parent))
    try:
        uvloop.run(measure(report, options.only, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not options.only:
        measure_floor(report, FLOOR_S / 4 if options.quick else FLOOR_S)
    report.finish()


if __name__ == "__main__":
    main()
