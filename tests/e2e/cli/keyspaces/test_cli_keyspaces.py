"""Keyspaces on real processes: the verbs, and a keyspace that outlives the end of all nodes."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

import pytest

import ringmill
from ringmill.client.blocking import Client
from ringmill.client.dialling.node_links import open_link
from ringmill.client.many_keys import raise_first
from ringmill.client.routing.links import Method
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.wire.stubs import keyspaces_pb2
from tests.e2e.waiting import until

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from tests.e2e.cli.conftest import Shell

NODES = [f"n{number}" for number in range(1, 6)]


def stored(shell: Shell) -> dict[str, int]:
    """Bytes of the log and the tables of each node."""
    files = [each for each in shell.folder.glob("home/*/n*/store/*") if each.suffix in (".log", ".sst")]
    return {node: sum(each.stat().st_size for each in files if node in each.parts) for node in NODES}


def addresses_of(shell: Shell) -> dict[str, str]:
    file = shell.folder / "home" / "default" / "cluster.json"
    return {each["id"]: each["address"] for each in json.loads(file.read_text())["nodes"]}


def test_the_verbs_make_show_alter_and_drop(shell: Shell) -> None:
    made = shell.ok("keyspace", "create", "cache", "--policy", "lww", "--ttl", "1h", "-o", "json").json
    assert (made["changed"], made["policy"], made["ttl_s"], made["r"], made["w"]) == (True, "lww", 3600, 2, 2)
    again = shell.ok("keyspace", "create", "cache", "--policy", "lww", "--ttl", "1h", "-o", "json").json
    assert (again["changed"], again["epoch"]) == (False, made["epoch"])
    other = shell.run("keyspace", "create", "cache", "-o", "json")
    assert (other.code, other.error["code"]) == (4, "CONFLICT")
    assert b"cache\tobjects\tlww\t2\t2\t1 h 0 m\tsynced" in shell.ok("keyspace", "list").out
    shell.ok("put", "--keyspace", "cache", "k", "v")
    assert shell.ok("get", "--keyspace", "cache", "k").out == b"v\n"
    assert shell.run("get", "k").code == 3
    shell.ok("keyspace", "alter", "cache", "--durability", "memory")
    held = shell.ok("put", "--keyspace", "cache", "k", "w", "-o", "json").json["replicas"]
    assert held[0]["durability"] == "memory"
    assert shell.ok("keyspace", "show", "cache", "-o", "json").json["durability"] == "memory"
    shell.ok("keyspace", "drop", "cache")
    gone = shell.run("get", "--keyspace", "cache", "k", "-o", "json")
    assert (gone.code, gone.error["code"]) == (2, "INVALID_ARGUMENT")
    shell.ok("keyspace", "create", "counters", "--kind", "registers")
    assert shell.ok("incr", "--keyspace", "counters", "visits").out == b"1\n"
    assert shell.run("register", "visits").code == 3


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (("create", "x", "--policy", "newest"), "keyspace policy is 'newest'"),
        (("create", "no spaces"), "is not a valid name"),
        (("create", "x", "-w", "4"), "keyspace w is 4"),
        (("alter", "default", "-w", "3"), "cannot be changed"),
        (("drop", "default"), "cannot be dropped"),
        (("drop", "nosuch"), "no keyspace 'nosuch'"),
        (("show", "nosuch"), "no keyspace 'nosuch'"),
        (("create", "x", "--durability", "never"), "durability is"),
        (("alter", "default"), "nothing is to be changed"),
    ],
)
def test_what_is_impossible_is_reported(shell: Shell, line: tuple[str, ...], says: str) -> None:
    refused = shell.run("keyspace", *line)
    assert refused.code in (1, 2) and says in refused.err


def test_the_plain_api_takes_both_words_for_synced_and_no_ttl_above_a_hundred_years(shell: Shell) -> None:
    async def ask(name: str, settings: keyspaces_pb2.KeyspaceSettings) -> keyspaces_pb2.KeyspaceAnswer:
        link = open_link(addresses_of(shell)["n1"])
        method = Method(f"/ringmill.v1.Keyspaces/{name}", "", keyspaces_pb2.KeyspaceAnswer, is_write=True)
        request: Message = keyspaces_pb2.CreateKeyspaceRequest(settings=settings, timeout_ms=5000)
        if name == "Alter":
            request = keyspaces_pb2.AlterKeyspaceRequest(
                name=settings.name, durability=settings.durability, timeout_ms=5000
            )
        try:
            return await link.call(method, request, 5)
        finally:
            await link.close()

    made = keyspaces_pb2.KeyspaceSettings(name="firm", durability="synced")
    assert asyncio.run(ask("Create", made)).settings.durability == "sync"
    again = keyspaces_pb2.KeyspaceSettings(name="firm", durability="sync")
    assert not asyncio.run(ask("Create", again)).changed
    assert not asyncio.run(ask("Alter", made)).changed
    assert shell.ok("keyspace", "show", "firm", "-o", "json").json["durability"] == "synced"
    forever = keyspaces_pb2.KeyspaceSettings(name="forever", ttl_ms=2**62)
    with pytest.raises(InvalidArgument, match="100 years"):
        asyncio.run(ask("Create", forever))


def test_a_client_that_was_connected_before_uses_a_new_keyspace_at_once(shell: Shell) -> None:
    async def story() -> None:
        addresses = addresses_of(shell)
        async with ringmill.connect(addresses["n1"]) as maker, ringmill.connect(addresses["n5"]) as user:
            with pytest.raises(InvalidArgument):
                await user.keyspace("fresh").put("k", b"v")
            await maker.keyspaces.create("fresh")
            await user.keyspace("fresh").put("k", b"v")
            assert (await maker.keyspace("fresh").get("k")).value == b"v"
            assert [info.name for info in await user.keyspaces.list()][-1] == "fresh"

    asyncio.run(story())


def test_a_keyspace_made_while_a_node_is_down_is_served_by_all_after_the_end_of_all(shell: Shell) -> None:
    addresses = addresses_of(shell)
    shell.ok("cluster", "kill", "n3")
    with Client(addresses["n1"]) as db:
        made = db.keyspaces.create("kept", policy="lww")
        db.keyspace("kept").put("k", b"v")
    for node in NODES:
        if node != "n3":
            shell.ok("cluster", "kill", node)
    shell.ok("cluster", "restart", *NODES)
    for node in NODES:
        with Client(addresses[node], timeout=20) as db:
            shown = db.keyspaces.show("kept")
            assert (shown.policy, shown.made_in) == ("lww", made.epoch)
            assert db.keyspace("kept").get("k").value == b"v"
            assert db.topology.epoch >= made.epoch


def test_the_space_of_a_dropped_keyspace_returns_at_every_owner(shell: Shell) -> None:
    keys, empty = [f"{{one partition}}:{number}" for number in range(40)], stored(shell)
    shell.ok("keyspace", "create", "bulk")
    with Client(addresses_of(shell)["n1"], timeout=20) as db:
        raise_first(db.keyspace("bulk").mput((key, os.urandom(32 << 10)) for key in keys))
        db.put("stays", b"v")
        full = stored(shell)
        owners = [node for node in NODES if full[node] > empty[node] + (1 << 20)]
        assert len(owners) == 3
        shell.ok("keyspace", "drop", "bulk")
        until(lambda: all(stored(shell)[node] < full[node] - (1 << 20) for node in owners))
        until(lambda: not any(node.removing for node in db.status().nodes))
        told = db.metrics()
        assert all(told[node].total("dropped_keyspace_keys_total") >= len(keys) for node in owners)
        assert db.get("stays", r="all").value == b"v"


def test_a_session_goes_on_in_a_keyspace_that_was_dropped_and_made_again(shell: Shell) -> None:
    """By what it had seen of it no request to the new one would ever be answered."""
    in_baskets = ("--keyspace", "baskets", "--session", "session")
    shell.ok("keyspace", "create", "baskets")
    shell.ok("put", "k", "old", *in_baskets)
    shell.ok("put", "beside", "one", "--no-context", *in_baskets)
    shell.ok("put", "beside", "two", "--no-context", *in_baskets)  # its receipt has no context
    shell.ok("put", "blind", "old", *in_baskets)
    shell.ok("put", "kept", "v", "--session", "session")
    shell.ok("keyspace", "drop", "baskets")
    assert shell.run("get", "k", *in_baskets).code == 2
    shell.ok("keyspace", "create", "baskets")
    assert shell.run("get", "k", *in_baskets).code == 3
    shell.ok("put", "beside", "new", *in_baskets)
    assert shell.ok("get", "beside", *in_baskets).out == b"new\n"
    shell.ok("put", "blind", "new", "--no-context", *in_baskets)
    assert shell.ok("get", "blind", *in_baskets).out == b"new\n"
    assert shell.ok("get", "kept", "--session", "session").out == b"v\n"
