"""`ringmill bench`: run a load on a cluster and report what was measured and how.

The load writes keys with a random prefix and deletes them at the end.  `--local N` starts a temporary cluster
and removes it afterwards.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import click
import uvloop

from ringmill.client.arguments import Durability, Level, durability_named, level_named
from ringmill.client.bench.keys import KeySpace
from ringmill.client.bench.keyspace_store import KeyspaceStore
from ringmill.client.bench.load import Load
from ringmill.client.bench.plan import BenchPlan, delete_keys, run_plan, write_keys
from ringmill.client.bench.processor_time import ProcessorTime
from ringmill.client.bench.workloads import WORKLOADS, Workload
from ringmill.client.cli.bench.bench_report import BenchOutcome, report
from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import endpoints_of, open_client
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.progress_bar import Bar
from ringmill.client.cli.console.settings import Settings, seconds
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.local import local_cluster
from ringmill.client.local.bringing_up import bring_up
from ringmill.client.local.local_state import load_cluster
from ringmill.client.local.processes import end_as_by_ctrl_c
from ringmill.client.local.tcp_ports import free_base
from ringmill.cluster.errors import InvalidArgument

__all__ = ["bench"]

LOCAL_PORT = 7501
LONGEST_RUN_S = 3600.0
WARM_UP_SHARE, LONGEST_WARM_UP_S = 0.1, 2.0


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that are not part of the plan."""

    keyspace: str
    w: Level | None
    r: Level | None
    durability: Durability
    nodes: int | None  # of a temporary cluster


@click.command()
@click.option("--workload", default="a", metavar="NAME", help="a to f of YCSB, or put, or get  [a]")
@click.option("--in-flight", type=click.IntRange(1, 512), default=64, help="concurrent operations  [64]")
@click.option(
    "--rate", type=click.FloatRange(1, 100_000), help="open loop with this many operations per second"
)
@click.option("--seconds", "span", default="10s", metavar="TIME", help="how long to measure  [10s]")
@click.option("--operations", type=click.IntRange(1, 10_000_000), help="stop after this many operations")
@click.option("--keys", type=click.IntRange(1, 1_000_000), default=10_000, help="number of keys  [10000]")
@click.option(
    "--keys-by", type=click.Choice(["uniform", "zipf"]), default="uniform", help="key distribution  [uniform]"
)
@click.option("--value-bytes", type=click.IntRange(1, 65_536), default=100, help="size of a value  [100]")
@click.option("-w", "w", metavar="LEVEL", help="owners that must have a write: number, one, quorum, all")
@click.option("-r", "r", metavar="LEVEL", help="owners that a read asks: number, one, quorum, all")
@click.option(
    "--durability",
    type=click.Choice(["memory", "buffered", "synced"]),
    default="synced",
    help="of writes  [synced]",
)
@click.option("--keyspace", default="default", metavar="NAME", help="keyspace of the keys  [default]")
@click.option(
    "--local", "nodes", type=click.IntRange(1, 7), metavar="N", help="start a temporary cluster of N nodes"
)
@click.option("--seed", type=click.IntRange(0, 2**32), default=7, help="seed of keys and operations  [7]")
@click.pass_obj
def bench(
    settings: Settings,
    workload: str,
    in_flight: int,
    rate: float | None,
    span: str,
    operations: int | None,
    keys: int,
    keys_by: str,
    value_bytes: int,
    seed: int,
    w: str | None,
    r: str | None,
    durability: str,
    keyspace: str,
    nodes: int | None,
) -> ExitCode:
    """Run a load on a cluster and report what was measured.

    The load writes keys with a random prefix and deletes them at the end.
    """
    if rate is not None and math.isnan(rate):  # which is in every range
        raise InvalidArgument("--rate nan is not a number of operations", hint="--rate 2000")
    measure_s = _span_s(span)
    warm_up_s = 0.0 if operations else min(WARM_UP_SHARE * measure_s, LONGEST_WARM_UP_S)
    load = Load(in_flight, measure_s, warm_up_s, rate or 0.0, operations or 0, seed)
    plan = BenchPlan(_workload(workload), keys_by, keys, value_bytes, load)
    asked = _asked_of(settings, keyspace, w, r, durability, nodes)
    levels = {"w": w, "r": r, "durability": durability, "keyspace": keyspace}
    with _cluster(settings, asked.nodes) as there:
        prefix = f"bench-{os.urandom(4).hex()}:"
        outcome = _run(there, plan, asked, prefix)
    report(settings, plan, outcome, levels)
    return ExitCode.DONE if outcome.measured.all_latencies.count else ExitCode.FAILED


def _asked_of(
    settings: Settings, keyspace: str, w: str | None, r: str | None, durability: str, nodes: int | None
) -> Asked:
    if nodes is not None and (given := settings.given & {"cluster", "endpoints"}):
        raise InvalidArgument(
            f"--local starts a temporary cluster, but --{min(given)} names another one",
            hint="use one of the two",
        )
    return Asked(
        keyspace,
        None if w is None else level_named(w, "w"),
        None if r is None else level_named(r, "r"),
        durability_named(durability),
        nodes,
    )


def _span_s(text: str) -> float:
    span_s = seconds(text)
    if not 0 < span_s <= LONGEST_RUN_S:
        raise InvalidArgument(
            f"--seconds {text} is not above 0 and at most {LONGEST_RUN_S / 3600:.0f}h", hint="--seconds 30s"
        )
    return span_s


def _workload(name: str) -> Workload:
    if name not in WORKLOADS:
        raise InvalidArgument(
            f"there is no workload {name!r}",
            hint=f"there are {', '.join(WORKLOADS)}; a to f are those of YCSB",
        )
    return WORKLOADS[name]


@contextmanager
def _cluster(settings: Settings, nodes: int | None) -> Iterator[Settings]:
    """The cluster of the settings, or a temporary one."""
    if nodes is None:
        endpoints_of(settings)  # raises before anything is started
    end_as_by_ctrl_c()  # keys are deleted, and nodes end, also when the terminal is closed
    if nodes is None:
        yield settings
        return
    home = tempfile.mkdtemp(prefix="ringmill-bench-")
    own = replace(settings, home=home, cluster="bench", endpoints="", token_file="", token="")
    own.tls_ca = own.tls_cert = own.tls_key = ""  # the temporary nodes have no TLS
    try:
        base = free_base(nodes, settings.base_port or LOCAL_PORT)
        bring_up("bench", own.cluster_folder, {"nodes": nodes, "base_port": base}, settings.timeout)
        yield own
    finally:
        cluster = load_cluster(own.cluster_folder)
        if cluster is not None:
            local_cluster.stop_nodes(cluster.nodes)
        shutil.rmtree(home, ignore_errors=True)


def _run(settings: Settings, plan: BenchPlan, asked: Asked, prefix: str) -> BenchOutcome:
    """Write the keys, run the load, delete the keys."""
    pids = _pids(settings)

    async def visit() -> BenchOutcome:
        async with open_client(settings, session=True) as db:
            space: AsyncKeyspace = db if asked.keyspace == "default" else db.keyspace(asked.keyspace)
            store = KeyspaceStore(space, w=asked.w, r=asked.r, durability=asked.durability)
            keys = KeySpace(0, prefix, group=plan.workload.group)
            try:
                with _bar("writing", "keys", plan.keys) as show:
                    await write_keys(store, keys, plan, show)
                with _bar("measuring", "thousandths", 1000) as show:
                    measured = await run_plan(store, keys, plan, ProcessorTime(pids), show)
            except BaseException:
                output.note(f"deleting the {keys.count:,} keys of this run first")
                raise
            finally:
                with _bar("deleting", "keys", keys.count) as show:
                    cleaned = await delete_keys(store, keys, show)
            topology = db.topology
            return BenchOutcome(measured, cleaned, len(topology.members), topology.n, len(pids))

    return uvloop.run(visit())


def _pids(settings: Settings) -> list[int]:
    """The processes of a local cluster's nodes."""
    cluster = None if settings.endpoints else load_cluster(settings.cluster_folder)
    nodes = cluster.nodes if cluster is not None else ()
    return [node.pid for node in nodes if local_cluster.node_state(node) == "running"]


@contextmanager
def _bar(doing: str, what: str, most: int) -> Iterator[Callable[[int], None]]:
    bar = Bar(what, most, doing)
    try:
        yield bar.show
    finally:
        bar.end()
