"""What a user sees while one of five real processes is stopped by SIGSTOP: requests and jobs go on.

A node that comes back gets work of them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ringmill
from ringmill.client.blocking import Client
from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.wire.stubs.kv_pb2 import PutRequest, WriteReceipt
from tests.e2e.cli.conftest import Shell

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
WORDCOUNT = f"{EXAMPLES}/wordcount.py:wordcount"
FLAGGED = """
import os, time
from collections.abc import Iterator
from ringmill import job

def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    while offset == 0 and not os.path.exists({flag!r}):
        time.sleep(0.02)
    yield line[:9], 1

flagged = job(map=words)
"""
PATIENT_S = 30.0
STEPS = 40
SHORT = ("--timeout", "4s")
"""Less than gRPC takes to give a connection up: who waits for the paused node ends by its deadline."""


def addresses(shell: Shell) -> dict[str, str]:
    file = shell.folder / "home" / "default" / "cluster.json"
    return {node["id"]: node["address"] for node in json.loads(file.read_text())["nodes"]}


@pytest.fixture
def paused(shell: Shell) -> Iterator[str]:
    """n2 is paused, and called down by the others for a while.  It coordinates no jobs."""
    if shell.ok("coordinator", "status", "-o", "json").json["node"] == "n2":
        shell.ok("coordinator", "handover")
    shell.ok("cluster", "pause", "n2")
    yield addresses(shell)["n2"]
    shell.ok("cluster", "resume", "n2")
    shell.until_healthy()


def test_a_warm_client_loses_no_deadline_to_a_node_that_was_stopped_seconds_ago(shell: Shell) -> None:
    with Client(addresses(shell)["n1"], timeout=PATIENT_S) as db:
        keys = [f"warm:{number}" for number in range(STEPS)]
        for key in keys:
            db.put(key, b"v")
        shell.ok("cluster", "pause", "n2")
        try:
            time.sleep(2.0)  # the proof that n2 answers has to grow old
            begun = time.monotonic()
            for key in keys:
                db.put(key, b"w")
            took_s = time.monotonic() - begun
        finally:
            shell.ok("cluster", "resume", "n2")
    assert took_s < PATIENT_S, "a put that waits for n2 ends by its deadline, and as an error"


def test_no_write_under_way_waits_for_a_node_that_is_stopped_under_load(shell: Shell) -> None:
    """Without further attempts the writes at n2 take their whole deadline, and are unknown."""

    async def load() -> float:
        slowest_s = 0.0
        is_over = asyncio.Event()

        async def write(db: ringmill.AsyncClient, writer: int) -> None:
            nonlocal slowest_s
            number = 0
            while not is_over.is_set():
                begun = time.monotonic()
                await db.put(f"load:{writer}:{number % 50}", b"v")
                slowest_s = max(slowest_s, time.monotonic() - begun)
                number += 1

        client = ringmill.connect(addresses(shell)["n1"], timeout=PATIENT_S)
        async with client as db, asyncio.TaskGroup() as writers:
            for writer in range(16):
                writers.create_task(write(db, writer))
            await asyncio.sleep(0.5)
            await asyncio.to_thread(shell.ok, "cluster", "pause", "n2")
            await asyncio.sleep(1.0)
            is_over.set()
        return slowest_s

    try:
        assert asyncio.run(load()) < PATIENT_S / 2
    finally:
        shell.ok("cluster", "resume", "n2")
        # that its loop stood still for a second is told for a minute
        shell.until_healthy()


def test_a_forwarded_write_leaves_an_owner_that_is_stopped_just_after_it_answered(shell: Shell) -> None:
    """n1 forwards put after put: it has an answer of a moment ago, and its own caller sees no silence.

    Without a further attempt by n1 the put at the stopped owner takes its whole deadline, and is unknown.
    """

    async def load() -> tuple[str, list[str]]:
        async with ClientLink(addresses(shell)["n1"]) as link:

            async def put(key: bytes) -> str:
                """By n1, whoever owns the key: the node that coordinated it."""
                request = PutRequest(key=key, value=b"v")
                receipt = await link.unary("/ringmill.v1.Kv/Put", request, WriteReceipt, PATIENT_S)
                return receipt.dot.partition("#")[0]

            number, owner = 0, "n1"
            while owner == "n1":
                number += 1
                owner = await put(b"far:%d" % number)
            pause = asyncio.create_task(asyncio.to_thread(shell.ok, "cluster", "pause", owner))
            took = []
            try:
                while not pause.done():
                    took.append(await put(b"far:%d" % number))
                took.append(await put(b"far:%d" % number))
            finally:
                await pause
                await asyncio.to_thread(shell.ok, "cluster", "resume", owner)
        return owner, took

    owner, took = asyncio.run(load())
    assert took[0] == owner, "n1 forwards"
    assert took[-1] not in (owner, "n1"), "another owner took it"
    shell.until_healthy()


def test_jobs_are_run_listed_and_asked_for_beside_a_paused_node(shell: Shell, paused: str) -> None:
    (shell.folder / "few.txt").write_text("a b a\n")
    line = ("job", "run", WORDCOUNT, "--input", "few.txt", "--output", "beside", "-o", "json")
    done = shell.ok(*SHORT, *line).json
    assert done["state"] == "SUCCEEDED"
    for verb in ("status", "explain", "logs", "pause", "resume", "kill"):
        shell.ok(*SHORT, "job", verb, done["job"])
    assert f"{paused} did not answer" in shell.ok(*SHORT, "job", "list").err
    unknown = shell.run(*SHORT, "job", "status", "nope")
    assert unknown.code == 6 and paused in unknown.err


def test_a_node_that_is_started_anew_gets_work_of_a_job_that_runs(shell: Shell, paused: str) -> None:
    """Eight tasks wait for a flag, four on the other nodes, and the flag for one on n2."""
    (shell.folder / "many").mkdir()
    for number in range(8):
        (shell.folder / "many" / f"{number}.txt").write_text(f"file {number}\n" + f"{'x' * 99_999}\n" * 6)
    (shell.folder / "flagged.py").write_text(FLAGGED.format(flag=str(shell.folder / "flag")))
    line = ("flagged.py:flagged", "--input", "many/*.txt", "--output", "late", "--split-mib", "1", "--detach")
    job = shell.ok(*SHORT, "job", "run", *line, "-o", "json").json["job"]
    wait_for_tasks_on(shell, job, {"n1", "n3", "n4", "n5"})
    shell.ok("cluster", "kill", "n2")
    shell.ok("cluster", "restart", "n2")
    wait_for_tasks_on(shell, job, {"n1", "n2", "n3", "n4", "n5"})
    (shell.folder / "flag").touch()
    assert shell.ok("job", "follow", job, "-o", "json").json["records"]["map_in"] == 8 * 7


def wait_for_tasks_on(shell: Shell, job: str, nodes: set[str]) -> None:
    """Until a map has begun on each of them."""
    ends_at = time.monotonic() + 2 * PATIENT_S
    while True:
        told = shell.ok(*SHORT, "job", "status", job, "-o", "json").json["attempts"]
        if nodes <= {one["node"] for one in told}:
            return
        assert time.monotonic() < ends_at, told
        time.sleep(0.1)
