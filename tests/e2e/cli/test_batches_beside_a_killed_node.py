"""What a batch tells while one of five real processes is killed, and what is there afterwards."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

from ringmill.client.blocking import Client
from ringmill.client.many_keys import raise_first
from ringmill.cluster.errors import RingmillError

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

ROUNDS = 12
KEYS = [f"batch:{number}" for number in range(600)]


def test_a_node_that_is_killed_under_batches_costs_only_writes_that_it_had(shell: Shell) -> None:
    file = shell.folder / "home" / "default" / "cluster.json"
    address = {node["id"]: node["address"] for node in json.loads(file.read_text())["nodes"]}["n1"]
    with Client(address, timeout=10) as db:
        raise_first(db.mput((key, b"0") for key in KEYS))
        kill = threading.Timer(0.2, lambda: shell.ok("cluster", "kill", "n3"))
        kill.start()
        may_be = {key: {b"0"} for key in KEYS}
        for number in range(1, ROUNDS + 1):
            value = b"%d" % number
            for key, outcome in zip(KEYS, db.mput((key, value) for key in KEYS), strict=True):
                if isinstance(outcome, RingmillError):
                    assert outcome.outcome == "unknown", "what certainly had no effect goes to another node"
                    may_be[key].add(value)
                else:
                    may_be[key] = {value}
        kill.join()
        found = raise_first(db.mget(KEYS))
        for key, item in zip(KEYS, found, strict=True):
            assert item is not None and set(item.siblings) <= may_be[key]
        raise_first(db.mput((key, b"last") for key in KEYS))
        assert {item.newest for item in raise_first(db.mget(KEYS)) if item} == {b"last"}
    shell.ok("cluster", "restart", "n3")
    shell.ok("cluster", "status", "--wait", "healthy", "--timeout", "30s")
