"""Counters, sets and maps on real processes: the verbs, and what is left of them after kills."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import ringmill
from ringmill.cluster.errors import RingmillError
from tests.long_form import takes_long

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

ROUNDS = 3
"""Of kills, each of another node, while clients count: of five nodes each key has an owner among three."""


def addresses_of(shell: Shell) -> list[str]:
    file = shell.folder / "home" / "default" / "cluster.json"
    return [each["address"] for each in json.loads(file.read_text())["nodes"]]


def test_the_verbs_count_and_keep_elements_and_entries(shell: Shell) -> None:
    for name, policy in (("hits", "counter"), ("tags", "set"), ("carts", "map")):
        shell.ok("keyspace", "create", name, "--policy", policy)
    shell.ok("counters", "add", "page", "--keyspace", "hits")
    shell.ok("counters", "add", "page", "41", "--keyspace", "hits")
    assert shell.ok("counters", "get", "page", "--keyspace", "hits").out == b"42\n"
    assert shell.ok("counters", "get", "none", "--keyspace", "hits", "-o", "json").json["count"] == 0
    for element in ("red", "green", "blue"):
        shell.ok("sets", "add", "post", element, "--keyspace", "tags")
    shell.ok("sets", "remove", "post", "green", "--keyspace", "tags")
    assert shell.ok("sets", "get", "post", "--keyspace", "tags").out == b"blue\nred\n"
    shell.ok("maps", "put", "ada", "apples", "3", "--keyspace", "carts")
    shell.ok("maps", "put", "ada", "apples", "4", "--keyspace", "carts")
    assert shell.ok("maps", "get", "ada", "--keyspace", "carts", "-o", "json").json["entries"] == [
        {"entry": "apples", "value": "4"}
    ]
    refused = shell.run("put", "page", "v", "--keyspace", "hits")
    assert refused.code == 1 and "policy counter: add to it" in refused.err


@takes_long
def test_every_answered_change_counts_while_nodes_are_killed(shell: Shell) -> None:
    for name, policy in (("counts", "counter"), ("members", "set")):
        shell.ok("keyspace", "create", name, "--policy", policy)
    answered, unknown, there, maybe = 0, 0, set[bytes](), set[bytes]()

    async def work(number: int, stop: asyncio.Event) -> None:
        nonlocal answered, unknown
        async with ringmill.connect(addresses_of(shell), timeout=3) as db:
            step = 0
            while not stop.is_set():
                step += 1
                await asyncio.sleep(0.01)  # a load that never rests slows down what it watches
                element = b"%d.%d" % (number, step)
                try:
                    await db.counters("counts").add("c")
                    answered += 1
                except RingmillError as error:
                    unknown += error.outcome == "unknown"
                if step % 10 == 0 and len(there) < 500:
                    maybe.add(element)
                    try:
                        await db.sets("members").add("s", element)
                        there.add(element)
                    except RingmillError:
                        pass

    async def story() -> None:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for number in range(4):
                tasks.create_task(work(number, stop))
            for round_ in range(ROUNDS):
                node = f"n{round_ % 5 + 1}"
                await asyncio.to_thread(shell.ok, "cluster", "kill", node)
                await asyncio.to_thread(shell.ok, "cluster", "restart", node)
            stop.set()

    asyncio.run(story())
    for address in addresses_of(shell):
        with ringmill.Client(address, timeout=20) as db:
            count = db.counters("counts").get("c", r="all")
            assert answered <= count <= answered + unknown
            members = db.sets("members").get("s", r="all")
            assert there <= members <= maybe
    assert answered > 100 and there
