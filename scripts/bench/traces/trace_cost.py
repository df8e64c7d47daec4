"""What traces cost: processor time of a put and a get, client and three nodes together.

    python scripts/bench/traces/trace_cost.py [--quick]

Cases of nodes: off; one in 100 requests recorded (the default of --traces); all of them, whose program
records them too.  All are asked in turns in one run.  What is added to a request while nothing is traced is
far below the noise of such a figure, so that is measured alone in a hot loop, as often as a put or a get does
it, in a program that has loaded OpenTelemetry and given it no provider.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import timeit
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read when gRPC is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import ringmill
from ringmill.client.bench.processor_time import ProcessorTime
from ringmill.client.testing.scratch_cluster import ScratchCluster
from ringmill.cluster.adapters.tracing.programs_tracer import ProgramsTracer
from ringmill.cluster.traces.spans import carried_trace

CASES: Final = {"off": None, "one in 100": "100", "all": "0"}
AT_ONCE: Final = 16
VALUE: Final = b"v" * 100
CALLS: Final = {"put": 3, "get": 2}  # sent to a node: by the client, and by the node that coordinates
LOOPS: Final = 200_000


def main() -> None:
    rounds, requests = (2, 500) if "--quick" in sys.argv else (5, 2000)
    found: dict[tuple[str, str], list[float]] = {}
    with ExitStack() as stack:
        clusters = {case: _started(stack, one_in) for case, one_in in CASES.items()}
        for _ in range(rounds):
            for case, cluster in clusters.items():
                for verb, us in asyncio.run(_ask(cluster, requests, records=case == "all")).items():
                    found.setdefault((verb, case), []).append(us)
    added_us = _added_us()
    print("| request | traces | CPU us, client and nodes | of it added while off |\n|---|---|---|---|")
    for verb, case in [(verb, case) for verb in CALLS for case in CASES]:
        several = found[verb, case]
        us, part = statistics.median(several), ""
        if case == "off":
            own_us = added_us["client"] + CALLS[verb] * added_us["call"]
            part = f"{own_us:.2f} us, {own_us / us:.2%}"
        print(f"| {verb} | {case} | {us:.0f} | {part} |")


def _started(stack: ExitStack, one_in: str | None) -> ScratchCluster:
    settings = {"RINGMILL_TRACES": "", "RINGMILL_TRACE_ONE_IN": one_in or "0"}
    if one_in is not None:
        settings["RINGMILL_TRACES"] = f"file:{stack.enter_context(tempfile.TemporaryDirectory())}"
    before = {name: os.environ.pop(name, None) for name in settings}
    os.environ.update({name: text for name, text in settings.items() if text})
    try:
        return stack.enter_context(ScratchCluster(nodes=3))
    finally:
        for name, text in before.items():
            os.environ.pop(name, None)
            if text is not None:
                os.environ[name] = text


async def _ask(cluster: ScratchCluster, requests: int, *, records: bool) -> dict[str, float]:
    """Microseconds of processor time a request, by verb."""
    trace._TRACER_PROVIDER = _recording() if records else None  # it can be set but once in a program
    used = ProcessorTime([node.pid for node in cluster.records])
    found: dict[str, float] = {}
    async with ringmill.connect(cluster.endpoints, token=cluster.token) as db:

        async def put(number: int) -> None:
            await db.put(f"k{number % 500}", VALUE)

        async def get(number: int) -> None:
            await db.get(f"k{number % 500}")

        await _all(put, 500)
        for verb, ask in (("put", put), ("get", get)):
            before = sum(used.read())
            await _all(ask, requests)
            found[verb] = (sum(used.read()) - before) / requests * 1e6
    return found


def _recording() -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    return provider


async def _all(ask: Callable[[int], Awaitable[None]], count: int) -> None:
    left = iter(range(count))

    async def some() -> None:
        for number in left:
            await ask(number)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def _added_us() -> dict[str, float]:
    """What the test for a span adds to a request of a client, and to each call."""
    trace._TRACER_PROVIDER = None
    tracing = ProgramsTracer()
    tracer, none = None, ""

    def call() -> None:
        """What both sides of a call do: look for a span, keep the trace, and ask for it for the frame."""
        kept = carried_trace()
        _ = kept and none
        _ = tracer is not None

    return {
        name: min(timeit.repeat(work, number=LOOPS, repeat=5)) / LOOPS * 1e6
        for name, work in (("client", tracing), ("call", call))
    }


if __name__ == "__main__":
    main()
