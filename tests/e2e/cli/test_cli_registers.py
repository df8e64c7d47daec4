"""Registers on real processes: the verbs, and counting while nodes are killed, stopped and restarted."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import grpc
import pytest

import ringmill
from ringmill.client.blocking import Client
from ringmill.cluster.errors import Conflict, DeadlineExceeded, InvalidArgument, RingmillError
from ringmill.cluster.wire.stubs.registers_pb2 import CasRequest, IncrRequest
from ringmill.cluster.wire.stubs.registers_pb2_grpc import RegistersStub

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

COUNTS = 40
COUNTERS = 3
CLIENTS = 6


def address_of(shell: Shell, node: str = "n1") -> str:
    file = shell.folder / "home" / "default" / "cluster.json"
    nodes = json.loads(file.read_text())["nodes"]
    return str(next(each["address"] for each in nodes if each["id"] == node))


def test_the_verbs_set_count_read_and_refuse(shell: Shell) -> None:
    assert shell.ok("cas", "leader", "n1", "--expect-absent").out == b"version 1\n"
    refused = shell.run("cas", "leader", "n2", "--expect-absent", "-o", "json")
    assert (refused.code, refused.error["code"]) == (4, "CONFLICT")
    assert shell.ok("cas", "leader", "n2", "--expect", "n1", "-o", "json").json == {"version": 2}
    assert shell.ok("register", "leader", "-o", "json").json == {"value": "n2", "version": 2}
    assert shell.ok("register", "leader", "-o", "raw").out == b"n2"
    assert shell.ok("cas", "leader", "--delete", "--expect-version", "2").out == b"version 3\n"
    assert shell.run("register", "leader").code == 3
    assert shell.ok("incr", "hits").out == b"1\n"
    assert shell.ok("incr", "hits", "--by", "-42", "-o", "json").json == {"number": -41}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (("cas", "k", "v"), "say once what the register has to hold"),
        (("cas", "k", "v", "--expect", "a", "--expect-absent"), "say once what the register has to hold"),
        (("cas", "k", "v", "--delete", "--expect-absent"), "--delete takes no VALUE"),
        (("cas", "k", "--expect-absent"), "give one value"),
        (("put", "--keyspace", "registers", "k", "v"), "no plain puts and gets there"),
        (("get", "--keyspace", "registers", "k"), "no plain puts and gets there"),
        (("cas", "k" * 1025, "v", "--expect-absent"), "1025 bytes"),
        (("cas", "ringmill/jobs", "v", "--expect-absent"), "no token opens these to clients"),
        (("incr", "ringmill/jobs"), "no token opens these to clients"),
        (("register", "ringmill/jobs"), "no token opens these to clients"),
    ],
)
def test_a_line_that_makes_no_sense_is_told_why(shell: Shell, line: tuple[str, ...], says: str) -> None:
    ended = shell.run(*line)
    assert ended.code != 0
    assert says in ended.err


def test_the_client_tells_what_a_register_holds_beside_a_conflict(shell: Shell) -> None:
    with Client(address_of(shell)) as db:
        registers = db.registers
        assert registers.cas("api", b"a", expect=None) == 1
        with pytest.raises(Conflict) as caught:
            registers.cas("api", b"b", expect=b"other")
        assert caught.value.detail["current"] == b"a"
        assert caught.value.detail["version"] == 1
        found = registers.get("api")
        assert registers.cas("api", b"b", expect_version=found.version) == 2
        assert registers.get("never written").to_dict() == {"value": None, "version": 0}
        with pytest.raises(InvalidArgument, match="is not a number"):
            registers.incr("api")
        for wrong in ({}, {"expect": b"a", "expect_version": 1}, {"expect_version": -1}):
            with pytest.raises(InvalidArgument):
                registers.cas("api", b"c", **wrong)
        with pytest.raises(InvalidArgument):
            registers.incr("api", 1.5)  # type: ignore[arg-type]
        assert registers.get("api").value == b"b"


def test_calls_of_the_plain_api_that_name_no_operation_are_changes_of_their_own(shell: Shell) -> None:
    with grpc.insecure_channel(address_of(shell)) as channel:
        registers = RegistersStub(channel)
        request = IncrRequest(key=b"unnamed", by=1)
        assert [registers.Incr(request).number for _ in range(3)] == [1, 2, 3]
        delete = CasRequest(key=b"unnamed", expect_value=b"3", absent=True)
        assert registers.Cas(delete).version == 4
        assert registers.Incr(request).number == 1


def test_counting_is_exact_while_nodes_are_killed_and_stopped(shell: Shell) -> None:
    """Every incr that was answered counts once; one whose outcome is unknown counts once or not at all."""
    answered, unknown = [0] * COUNTERS, [0] * COUNTERS
    is_over = False

    async def count(db: ringmill.AsyncClient, draws: random.Random) -> None:
        while not is_over:
            await asyncio.sleep(0.01)  # a load that never rests slows down what it watches
            counter = draws.randrange(COUNTERS)
            try:
                await db.registers.incr(f"counter {counter}", timeout=10)
            except RingmillError as error:
                unknown[counter] += error.outcome != "failed"
            else:
                answered[counter] += 1

    async def disturb() -> None:
        nonlocal is_over
        try:
            for verb, back, node in (("kill", "restart", "n2"), ("pause", "resume", "n4")):
                await asyncio.to_thread(shell.ok, "cluster", verb, node)
                await asyncio.sleep(0.7)
                await asyncio.to_thread(shell.ok, "cluster", back, node)
                await asyncio.to_thread(shell.until_healthy)
        finally:
            is_over = True

    async def story() -> list[int]:
        client = ringmill.connect(address_of(shell), timeout=10)
        async with client as db:
            async with asyncio.TaskGroup() as group:
                group.create_task(disturb())
                for number in range(CLIENTS):
                    group.create_task(count(db, random.Random(number)))
            values = [(await db.registers.get(f"counter {each}")).value for each in range(COUNTERS)]
            return [int(value or b"0") for value in values]

    found = asyncio.run(story())
    for counter, number in enumerate(found):
        assert answered[counter] <= number <= answered[counter] + unknown[counter]
    assert sum(answered) > CLIENTS * COUNTS


HOLD_UNTIL_KILLED = """
import sys, time, ringmill
with ringmill.Client(sys.argv[1]) as db, db.registers.lease("job", duration=1.5, owner="first") as lease:
    print(lease.term, flush=True)
    time.sleep(60)
"""


def test_a_lease_passes_on_from_a_process_that_was_killed(shell: Shell) -> None:
    program = [sys.executable, "-P", "-c", HOLD_UNTIL_KILLED, address_of(shell)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, env=shell.environment) as first:
        assert first.stdout is not None
        assert int(first.stdout.readline()) == 1
        assert json.loads(shell.ok("register", "job", "-o", "raw").out)["holder"].startswith("first/")
        with Client(address_of(shell)) as db:
            with pytest.raises(DeadlineExceeded, match="was not free within 0"):
                db.registers.lease("job", duration=1.5).acquire(0.2)
            first.kill()
            with db.registers.lease("job", duration=1.5, owner="second") as lease:
                assert lease.is_held
                assert lease.check() == lease.term == 2
            assert not lease.is_held
            assert json.loads(db.registers.get("job").value or b"")["holder"] == ""
            with pytest.raises(InvalidArgument, match=r"at least 0\.5 s"):
                db.registers.lease("job", duration=0.1)
