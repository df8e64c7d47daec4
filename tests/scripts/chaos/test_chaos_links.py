"""Proxies that disturb links, and plans of faults: what scripts/chaos can show without a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping

import pytest

from chaos.network import diallers
from chaos.network.links import CLIENTS, LinkFault, Links, both_ways
from chaos.real_faults import KINDS, draw_real_faults, draw_rounds
from ringmill.client.local.tcp_ports import free_base
from ringmill.simulator.world.seeds import stream

NODES = ["n1", "n2", "n3", "n4", "n5"]
TO_N1 = [(CLIENTS, "n1")]
SHORT_S = 0.05  # how long is looked at what must not happen
DIALLER = "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); s.recv(1)"
HAS_IPV6 = os.path.exists("/proc/net/tcp6")


@contextlib.asynccontextmanager
async def echoing(pids: dict[str, int] | None = None) -> AsyncIterator[tuple[Links, int]]:
    """Links to a node "n1" that echoes; and the port of its proxy."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    port = free_base(2, 26000 + os.getpid() % 400 * 4)
    server = await asyncio.start_server(echo, "127.0.0.1", port)
    async with Links({"n1": (port, port + 1)}, lambda: pids or {}) as links:
        yield links, port + 1
    server.close()


async def dial(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, word: bytes) -> bytes:
    writer.write(word)
    return await reader.readexactly(len(word))


async def test_a_straight_link_carries_both_ways() -> None:
    async with echoing() as (_, port):
        ends = await dial(port)
        assert await say(*ends, b"hello") == b"hello"
        ends[1].close()


async def test_a_cut_link_is_reset_and_refuses_until_it_is_whole_again() -> None:
    async with echoing() as (links, port):
        ends = await dial(port)
        await say(*ends, b"before")
        async with links.disturbed(LinkFault("cut", both_ways(TO_N1))):
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await say(*ends, b"through the cut")
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await say(*await dial(port), b"through the cut")
        after = await dial(port)
        assert await say(*after, b"after") == b"after"
        after[1].close()


@pytest.mark.parametrize("way", [(CLIENTS, "n1"), ("n1", CLIENTS)])
async def test_bytes_held_one_way_arrive_when_the_bend_ends(way: tuple[str, str]) -> None:
    async with echoing() as (links, port):
        reader, writer = await dial(port)
        await say(reader, writer, b"before")
        async with links.disturbed(LinkFault("hold", frozenset([way]))):
            answer = asyncio.ensure_future(say(reader, writer, b"held"))
            done, _ = await asyncio.wait([answer], timeout=SHORT_S)
            assert not done
        assert await answer == b"held"
        writer.close()


async def test_a_bend_of_another_link_changes_nothing() -> None:
    async with echoing() as (links, port), links.disturbed(LinkFault("hold", both_ways([("n2", "n1")]))):
        ends = await dial(port)
        assert await say(*ends, b"hello") == b"hello"
        ends[1].close()


async def test_a_delay_holds_each_chunk_at_least_that_long() -> None:
    async with echoing() as (links, port), links.disturbed(LinkFault("delay", both_ways(TO_N1), SHORT_S)):
        ends = await dial(port)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await say(*ends, b"hello")
        assert loop.time() - begun >= 2 * SHORT_S * 0.9  # there and back; timers may be early by a tick
        ends[1].close()


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp"), reason="tells diallers apart by Linux's /proc")
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        pytest.param("::ffff:127.0.0.1", marks=pytest.mark.skipif(not HAS_IPV6, reason="there is no IPv6")),
    ],
)
async def test_a_link_is_known_by_the_process_that_dialled(host: str) -> None:
    """gRPC dials in the second way."""
    pids: dict[str, int] = {}
    async with echoing(pids) as (links, port), links.disturbed(LinkFault("cut", both_ways([("n2", "n1")]))):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", f"input(); {DIALLER}", host, str(port), stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        pids["n2"] = process.pid
        await process.communicate(b"\n")  # it waits for a byte that never comes: only the cut ends it
        ends = await dial(port)
        assert await say(*ends, b"mine") == b"mine"
        ends[1].close()


def test_a_long_plan_fires_every_kind_and_a_seed_gives_one_plan() -> None:
    plan = draw_real_faults(stream(3, "faults"), NODES, 600.0)
    counts = Counter(fault.kind for fault in plan)
    assert sorted(counts) == sorted(KINDS)
    assert min(counts.values()) >= 10
    assert all(0 <= fault.at_s < 600.0 and fault.nodes for fault in plan)
    assert plan == draw_real_faults(stream(3, "faults"), NODES, 600.0)


def test_rounds_kill_pause_and_bend_and_a_seed_gives_one_plan() -> None:
    plan = draw_rounds(stream(3, "rounds"), NODES, 100)
    assert Counter(each.fault.kind for each in plan).keys() == {"kill", "kill_all", "pause"}
    faults = Counter(each.beside.kind for each in plan if each.beside is not None)
    assert 20 <= faults.total() <= 50
    assert faults.most_common(1)[0][0] == "split_halves"
    assert plan == draw_rounds(stream(3, "rounds"), NODES, 100)


async def test_one_look_serves_all_who_came_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who have gone again are in no table; a look for each of them held up everybody for minutes."""
    looks = 0

    def look(pids: Mapping[str, int]) -> tuple[dict[diallers.Ends, str], dict[str, str]]:
        nonlocal looks
        looks += 1
        return {(1, 8000): "7"}, {"7": "n1"}

    monkeypatch.setattr(diallers, "_look", look)
    who = diallers.Diallers(dict, "clients")
    told = await asyncio.gather(*(who.who(source, 8000) for source in range(50)))
    assert told == ["clients", "n1", *["clients"] * 48]
    assert looks <= 2
