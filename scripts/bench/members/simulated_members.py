"""What a cluster of many members costs at rest, in the simulator: up to 64 in one process.

    python scripts/bench/members/simulated_members.py [--quick] [--json PATH]

Nodes run their own code on virtual time, so their number may be larger than the machine could carry._
Processor time is that of this process, scheduling of the simulated loop and network included: what matters
is how it grows. Messages and bytes are exact.  The document is the topology that each node keeps.
"""

from __future__ import annotations

import asyncio
import sys
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from report import Report, arguments
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.topology import Topology, first_topology
from ringmill.cluster.ring.topology_entries import Member
from ringmill.node.node_options import NodeOptions
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import quiet
from ringmill.simulator.world.tunables import Tunables
from ringmill.simulator.world.world import World

SHAPES = ((3, 256), (5, 256), (16, 256), (32, 256), (64, 256), (64, 1024), (64, 4096))
SETTLE_S, WATCH_S = 30.0, 60.0


@dataclass(slots=True)
class Traffic:
    """What has crossed the simulated network."""

    messages: int = 0
    size_bytes: int = 0


def counted(world: World) -> Traffic:
    """Count what is sent from now on."""
    traffic, send = Traffic(), world.network.send

    def counting(source: str, target: str, payload: bytes, *rest: object, **named: object) -> None:
        traffic.messages += 1
        traffic.size_bytes += len(payload)
        send(source, target, payload, *rest, **named)  # type: ignore[arg-type]

    world.network.send = counting  # type: ignore[method-assign]
    return traffic


def at_rest(members: int, partitions: int, watch_s: float) -> dict[str, float]:
    """Form a cluster, let it settle, and watch it do nothing."""
    with quiet():
        return _watched(members, partitions, watch_s)  # which alone keeps its world, for `quiet` to collect


def _watched(members: int, partitions: int, watch_s: float) -> dict[str, float]:
    options = SimulationOptions(nodes=members, partitions=partitions, n=min(3, members))
    tunables = Tunables(node=NodeOptions(), profile="default", disk_s=0.0005, gather_s=0.0, drain_s=5.0)
    world = World(7, options, tunables)
    traffic = counted(world)

    async def story() -> tuple[float, float]:
        begun = time.process_time()
        await world.form()
        formed = time.process_time()
        await asyncio.sleep(SETTLE_S)
        traffic.messages = traffic.size_bytes = 0
        settled = time.process_time()
        await asyncio.sleep(watch_s)
        return formed - begun, time.process_time() - settled

    form_s, spent_s = world.loop.run_until_complete(story())
    world.close()
    world.loop.drop_everything()
    a_node_second = members * watch_s
    return {
        "form_s": form_s,
        "cpu_us_a_node_s": spent_s / a_node_second * 1e6,
        "messages_a_node_s": traffic.messages / a_node_second,
        "bytes_a_node_s": traffic.size_bytes / a_node_second,
    }


def document(members: int, partitions: int) -> dict[str, float]:
    """Size of the topology document, time to read it, and memory that it takes."""
    seats = [
        Member(NodeId(f"n{number}"), DiskId(f"{number:032x}"), f"10.0.0.{number}:7100")
        for number in range(1, members + 1)
    ]
    encoded = first_topology("simulated", seats, partitions=partitions, n=min(3, members)).encode()
    begun = time.process_time()
    Topology.decode(encoded)
    decode_s = time.process_time() - begun
    tracemalloc.start()
    kept = Topology.decode(encoded)
    size_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept.members) == members
    return {
        "document_bytes": len(encoded),
        "decode_ms": decode_s * 1e3,
        "kept_bytes_a_partition": size_bytes / partitions,
    }


def main() -> None:
    options = arguments("simulated_members", __doc__ or "").parse_args()
    shapes, watch_s = (SHAPES[:3], WATCH_S / 10) if options.quick else (SHAPES, WATCH_S)
    report = Report("simulated_members", {"settle_s": SETTLE_S, "watch_s": watch_s}, options.json)
    for members, partitions in shapes:
        report.row(
            "at rest", members=members, partitions=partitions,
            **at_rest(members, partitions, watch_s), **document(members, partitions),
        )  # fmt: skip
    report.finish()


if __name__ == "__main__":
    main()
