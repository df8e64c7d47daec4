"""Malformed messages over all methods, frames and ports of a cluster, with the secret and without.

    python scripts/chaos/malformed --messages 1000000 [--seed 7] [--carrier grpc|tcp] [--json PATH]

Three nodes get them by six ways (scripts/chaos/malformed/ways.py), while a client puts and gets keys of its
own and checks every answer.  It held when no node has ended, answers came and none was wrong, no log has a
traceback or grows with the messages, and no node's memory does.  Requests that a busy node refuses are no
wrong answers.

Some messages are only changed and not broken, and whoever may change keyspaces does.  So the client has a
keyspace whose name no message has.  Those that know the secret come last: a peer, and an admin's plain calls.
They may tell owners what was replaced and forgotten: what the client is answered beside it is told, and not
judged.

Exit 0: it held; 1: not, and data and logs are kept.  It ends by itself, after 10 minutes at the latest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "scripts" / "bench")]

from chaos.homes.own_cluster import judge_on_cluster  # noqa: E402
from chaos.malformed.plain_bodies import plain_methods  # noqa: E402
from chaos.malformed.samples import Bodies, recorded  # noqa: E402
from chaos.malformed.ways import (  # noqa: E402
    Tally,
    Target,
    as_peer,
    as_stranger,
    by_calls,
    by_sessions,
    by_sockets,
    by_token_calls,
)
from chaos.opinions.whole_logs import tracebacks_in, whole_log  # noqa: E402
from report import machine, percentile  # noqa: E402
from ringmill.client.connection import connect  # noqa: E402
from ringmill.client.dialling.node_links import open_link  # noqa: E402
from ringmill.client.kv import AsyncKeyspace  # noqa: E402
from ringmill.client.local import local_cluster  # noqa: E402
from ringmill.client.local.local_state import LocalCluster, read_token  # noqa: E402
from ringmill.client.routing.links import IDENTIFY  # noqa: E402
from ringmill.cluster.errors import RingmillError  # noqa: E402
from ringmill.cluster.ids import ClusterId  # noqa: E402
from ringmill.cluster.wire.offers import CarrierName  # noqa: E402
from ringmill.cluster.wire.stubs.topology_pb2 import IdentifyRequest  # noqa: E402

__all__ = ["main"]

NODES: Final = 3
LOWEST_PORT: Final = 23_000
LONGEST_S: Final = 600.0
WARM_SHARE: Final = 0.1  # of the messages, after which memory is looked at first
GROWTH_MIB: Final = 64
LINES_A_MINUTE: Final = 200  # of one node: one for each kind of fault
KEYS: Final = 50
KEYSPACE: Final = "of-the-client-beside"
PAUSE_S: Final = 0.02
TELL_EVERY_S: Final = 10.0
CALM_S: Final = 3.0  # from the last message to the last look at memory
SHARES: Final = {
    "session": 0.30, "call": 0.15, "socket": 0.04, "stranger": 0.01, "peer": 0.35, "token": 0.15,
}  # fmt: skip
WAYS: Final = {
    "peer": as_peer, "session": by_sessions, "call": by_calls, "socket": by_sockets, "stranger": as_stranger,
    "token": by_token_calls,
}  # fmt: skip
OF_MEMBERS: Final = ("peer", "token")


@dataclass(slots=True)
class Checked:
    """What the client saw beside the messages; `wrong` says how an answer was wrong."""

    puts: int = 0
    gets: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    took_ms: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--messages", type=int, default=1_000_000, metavar="N", help="in all  [1000000]")
    parser.add_argument("--seed", type=int, default=7, help="draws the messages  [7]")
    parser.add_argument("--carrier", default="tcp", choices=("grpc", "tcp"), help="of frames  [tcp]")
    parser.add_argument("--json", default="", metavar="PATH", help="file for the figures")
    given = parser.parse_args()
    if not 100 <= given.messages <= 100_000_000:
        parser.error(f"--messages {given.messages}: 100 to 100,000,000")

    known = recorded(given.seed)

    def run_and_judge(cluster: LocalCluster) -> bool:
        result = asyncio.run(_attack(cluster, known, given.messages, given.seed, given.carrier))
        print("\n".join(_lines(result)), flush=True)
        if given.json:
            Path(given.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        return not result["broken"]

    return judge_on_cluster(
        "malformed",
        nodes=NODES,
        lowest_port=LOWEST_PORT,
        run_and_judge=run_and_judge,
        transport=given.carrier,
    )


async def _attack(
    cluster: LocalCluster, known: dict[str, list[bytes]], messages: int, seed: int, carrier: CarrierName
) -> dict[str, Any]:
    """The figures of one run."""
    began = time.monotonic()
    token = read_token(cluster.folder)
    number = await _number_of(cluster, token)
    async with connect(cluster.nodes[0].address, token=token) as db:
        await db.keyspaces.create(KEYSPACE)
    tallies = {way: Tally(round(messages * share)) for way, share in SHARES.items()}
    checked, beside_members = Checked(), Checked()
    broken: list[str] = []
    grown_mib = [0.0] * NODES
    for seen, ways in ((checked, SHARES.keys() - OF_MEMBERS), (beside_members, OF_MEMBERS)):
        async with connect([node.address for node in cluster.nodes], token=token, timeout=5.0) as db:
            client = asyncio.create_task(_check(db.keyspace(KEYSPACE), seen))
            senders = []
            for at, way in enumerate(sorted(ways)):
                node = cluster.nodes[at % NODES]
                target = Target(node.id, node.address, number, token, carrier)
                senders.append(asyncio.create_task(WAYS[way](target, Bodies(known, seed + at), tallies[way])))
            grown = await _watch_senders(cluster, {way: tallies[way] for way in ways}, senders)
            broken += await _ended(client)
        grown_mib = [round(one + other, 1) for one, other in zip(grown_mib, grown, strict=True)]
        broken += _raised(senders)
    seconds = time.monotonic() - began
    logs = [whole_log(cluster.log_path(node)) for node in cluster.nodes]
    broken += checked.wrong
    if not checked.gets:
        broken.append(f"no get beside the messages was answered: {dict(checked.errors) or 'none ended'}")
    for node, log, mib in zip(cluster.nodes, logs, grown_mib, strict=True):
        lines = log.count("\n")
        if local_cluster.node_state(node) == "stopped":
            broken.append(f"{node.id} has ended")
        if tracebacks_in(log):
            broken.append(f"the log of {node.id} has a traceback")
        if lines > LINES_A_MINUTE * (1 + seconds / 60):
            broken.append(f"the log of {node.id} has {lines:,} lines")
        if mib > GROWTH_MIB:
            broken.append(f"{node.id} has grown by {mib} MiB")
    return {
        "machine": machine(),
        "settings": {"messages": messages, "seed": seed, "carrier": carrier, "nodes": NODES},
        "methods": len(known),
        "plain_methods": len(plain_methods()),
        "seconds": round(seconds, 1),
        "ways": {way: {"sent": tally.sent, **dict(tally.answers)} for way, tally in tallies.items()},
        "grown_mib": grown_mib,
        "log_lines": [log.count("\n") for log in logs],
        "checked": _told(checked),
        "beside_members": _told(beside_members),
        "broken": broken,
    }


def _told(checked: Checked) -> dict[str, Any]:
    return {
        "puts": checked.puts,
        "gets": checked.gets,
        "errors": dict(checked.errors),
        "wrong": len(checked.wrong),
        "p99_ms": round(percentile(checked.took_ms, 0.99), 1),
    }


async def _number_of(cluster: LocalCluster, token: str) -> ClusterId:
    link = open_link(cluster.nodes[0].address, token=token)
    try:
        return ClusterId((await link.call(IDENTIFY, IdentifyRequest(), 5.0)).cluster)
    finally:
        await link.close()


async def _check(db: AsyncKeyspace, checked: Checked) -> None:
    """Put and get keys of its own until cancelled; what was acknowledged is the least that a get shows."""
    acked, number = [0] * KEYS, 0
    while True:
        number += 1
        at, began = number % KEYS, time.monotonic()
        try:
            await db.put(f"checked-{at}", b"%d" % number)
            checked.puts += 1
            acked[at] = number
            shown = (await db.get(f"checked-{at}")).value
            checked.gets += 1
            if shown != b"%d" % number:
                checked.wrong.append(f"checked-{at} shows {shown!r:.80}, {number} was acknowledged")
        except RingmillError as error:
            checked.errors[error.code] += 1
            if error.code == "NOT_FOUND":
                checked.wrong.append(f"checked-{at} is gone, {acked[at]} was acknowledged")
        checked.took_ms.append((time.monotonic() - began) * 1000)
        await asyncio.sleep(PAUSE_S)


async def _ended(client: asyncio.Task[None]) -> list[str]:
    """End the client beside.  Tells when it had ended by itself, and nobody has checked since."""
    client.cancel()
    await asyncio.wait([client])
    return [] if client.cancelled() else [f"the client beside ended by {client.exception()!r}"]


async def _watch_senders(
    cluster: LocalCluster, tallies: dict[str, Tally], senders: Sequence[asyncio.Task[None]]
) -> list[float]:
    """Wait for the senders, and tell how it goes.  Returns by how many MiB each node has grown since the
    first tenth was sent."""
    goal = sum(tally.share for tally in tallies.values())
    warm_mib: list[float] = []
    ends_at = time.monotonic() + LONGEST_S
    told_at = time.monotonic()
    while not all(sender.done() for sender in senders) and time.monotonic() < ends_at:
        await asyncio.sleep(0.5)
        sent = sum(tally.sent for tally in tallies.values())
        if not warm_mib and sent > goal * WARM_SHARE:
            warm_mib = _memory_mib(cluster)
        if time.monotonic() - told_at > TELL_EVERY_S:
            told_at = time.monotonic()
            have = ", ".join(f"{mib:.0f}" for mib in _memory_mib(cluster))
            print(f"{sent:,} of {goal:,} messages sent, the nodes have {have} MiB", flush=True)
    for sender in senders:
        sender.cancel()
    await asyncio.wait(senders)
    await asyncio.sleep(CALM_S)
    now_mib = _memory_mib(cluster)
    return [round(now - warm, 1) for now, warm in zip(now_mib, warm_mib or now_mib, strict=True)]


def _memory_mib(cluster: LocalCluster) -> list[float]:
    return [psutil.Process(node.pid).memory_info().rss / (1 << 20) for node in cluster.nodes]


def _raised(senders: Sequence[asyncio.Task[None]]) -> list[str]:
    """What ended a sender before its share was sent."""
    late = ["not all messages were sent in time" for sender in senders if sender.cancelled()]
    ended = [sender.exception() for sender in senders if not sender.cancelled()]
    return [*late[:1], *(f"a sender ended by {error!r}" for error in ended if error)]


def _lines(result: dict[str, Any]) -> list[str]:
    """The figures in sentences."""
    checked = result["checked"]
    ways = [
        f"{way:12}  " + ", ".join(f"{number:,} {what}" for what, number in counts.items())
        for way, counts in result["ways"].items()
    ]
    return [
        f"machine       {', '.join(result['machine'].values())}",
        f"sent          in {result['seconds']} s, to {result['methods']} methods in frames and "
        f"{result['plain_methods']} by plain calls",
        *ways,
        f"beside        {checked['puts']:,} puts and {checked['gets']:,} gets, p99 of a pair "
        f"{checked['p99_ms']} ms, errors {checked['errors'] or 'none'}",
        f"nodes         grew by {result['grown_mib']} MiB, have {result['log_lines']} lines in their logs",
        f"verdict       {'; '.join(result['broken'][:9]) or 'held'}",
    ]


if __name__ == "__main__":
    sys.exit(main())
