"""A sloppy keyspace on real processes: two owners of a key are killed, and fallbacks stand in for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.e2e.waiting import until

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

KEY = "{one}key"  # in the same partition in every keyspace


def replicas(receipt: Any, role: str) -> dict[str, str]:
    return {ack["node"]: ack.get("stands_for", "") for ack in receipt["replicas"] if ack["role"] == role}


def test_a_write_that_a_fallback_acked_outlives_the_kill_of_the_fallback(shell: Shell) -> None:
    made = shell.ok("keyspace", "create", "loose", "--sloppy", "-o", "json").json
    assert made["quorum"] == "sloppy"
    assert shell.ok("keyspace", "show", "loose", "-o", "json").json["quorum"] == "sloppy"
    assert shell.ok("keyspace", "show", "default", "-o", "json").json["quorum"] == "strict"
    place = shell.ok("locate", "--keyspace", "loose", KEY, "-o", "json").json
    owners, fallbacks = [each["node"] for each in place["owners"]], place["fallbacks"]
    first, *others = owners
    shell.ok("cluster", "kill", *others)

    refused = shell.run("put", KEY, "v", "-w", "2", "-o", "json", "--timeout", "3s")
    assert (refused.code, refused.error["code"]) == (5, "QUORUM_NOT_REACHED")
    receipt = shell.ok("put", "--keyspace", "loose", KEY, "v", "-w", "2", "-o", "json").json
    assert replicas(receipt, "owner").items() <= {first: ""}.items()  # its own sync may be the last one
    stand_ins = replicas(receipt, "fallback")
    assert stand_ins and {*stand_ins} <= {*fallbacks} and {*stand_ins.values()} <= {*others}
    assert all(ack["durability"] == "synced" for ack in receipt["replicas"] if ack["role"] == "fallback")
    assert receipt["weak"]
    read = shell.ok("get", "--keyspace", "loose", KEY, "-o", "json").json
    assert read["weak"] and {first, *stand_ins} & {*read["answered"]}

    shell.ok("cluster", "kill", first, *stand_ins)  # only what is on the disks of the fallbacks is left
    shell.ok("cluster", "restart", *others, *stand_ins)

    def is_delivered() -> bool:
        got = shell.run("get", "--keyspace", "loose", KEY, "-r", "1", "--timeout", "3s")
        return got.code == 0 and got.out == b"v\n"

    until(is_delivered)
    shell.ok("cluster", "restart", first)
    shell.until_healthy()

    def is_with_all() -> bool:
        told = shell.ok("locate", "--keyspace", "loose", KEY, "-o", "json").json["owners"]
        return all(each["dots"] and each["same"] for each in told)

    until(is_with_all)
