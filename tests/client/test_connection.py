"""The client and the command line over real connections, against a process that plays a node."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import ringmill.client.blocking
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.main import main
from ringmill.client.connection import AsyncClient, connect
from ringmill.cluster.errors import ClientClosed, InvalidArgument, NotFound, QuorumNotReached, Unavailable
from ringmill.cluster.wire.offers import CarrierName
from tests.client.one_node import OneNode


@pytest.fixture(params=["grpc", "tcp"])
def transport(request: pytest.FixtureRequest) -> CarrierName:
    name: CarrierName = request.param
    return name


@pytest.fixture
async def db(node: tuple[OneNode, str], transport: CarrierName) -> AsyncIterator[AsyncClient]:
    async with connect(node[1], timeout=10, transport=transport) as client:
        yield client


async def test_hot_methods_travel_in_frames(db: AsyncClient, node: tuple[OneNode, str]) -> None:
    before = node[0].framed
    await db.put("a", b"1")
    assert (await db.get("a")).value == b"1"
    assert node[0].framed == before + 2


async def test_a_transport_without_a_session_is_refused(node: tuple[OneNode, str]) -> None:
    with pytest.raises(InvalidArgument, match="transport tcp carries a session, and session is False"):
        connect(node[1], session=False, transport="tcp")


async def test_errors_cross_as_themselves(db: AsyncClient) -> None:
    with pytest.raises(QuorumNotReached) as caught:
        await db.put("a", b"1", w=3)
    assert (caught.value.acked, caught.value.outcome) == (["n1"], "unknown")
    with pytest.raises(InvalidArgument, match="nowhere"):
        await db.keyspace("nowhere").get("a")


async def test_the_status_is_the_members_own(db: AsyncClient) -> None:
    status = await db.status()
    assert (status.health, status.nodes[0].pid, status.ranges.ok) == ("ok", 4711, 16)


async def test_the_first_request_connects_whatever_it_asks(
    node: tuple[OneNode, str], transport: CarrierName
) -> None:
    assert (await connect(node[1], transport=transport).status()).health == "ok"
    nobody = connect("127.0.0.1:1", transport=transport)
    for first in (nobody.status, nobody.metrics, nobody.hot):
        with pytest.raises(Unavailable, match="none of 1 endpoints answered"):
            await first()
    with pytest.raises(Unavailable, match="is not connected"):
        nobody.session()


def test_a_session_of_a_blocking_client_connects_it(node: tuple[OneNode, str]) -> None:
    db = ringmill.client.blocking.Client(node[1])
    with db.session() as session:
        assert session.get("absent of a session", default=None) is None
    db.close()
    with pytest.raises(ClientClosed):
        db.session()


def test_a_module_that_is_long_in_importing_holds_up_nobody_else(
    node: tuple[OneNode, str], tmp_path: Path
) -> None:
    (tmp_path / "slow_job.py").write_text("import time\ntime.sleep(.6)\ncount = 0\n")
    with ringmill.client.blocking.Client(node[1]) as db, ThreadPoolExecutor(1) as others:
        submitting = others.submit(db.jobs.submit, f"{tmp_path}/slow_job.py:count", input="i", output="o")
        puts = 0
        while not submitting.done():
            db.put("a", b"1", timeout=0.4)
            puts += 1
        assert puts > 2
        with pytest.raises(InvalidArgument, match="is a int, not a job"):
            submitting.result()


def test_the_blocking_twin_does_the_same(node: tuple[OneNode, str], transport: CarrierName) -> None:
    with ringmill.client.blocking.Client(node[1], timeout=10, transport=transport) as db:
        receipt = db.put("b", b"2")
        assert db.get("b").value == b"2"
        assert db.get("absent", default=None) is None
        assert db.keyspace("default").locate("b").partition == 8
        db.put("b", b"3", context=receipt.context)
        with pytest.raises(NotFound):
            db.get("absent")


def test_the_command_line_writes_and_reads(
    node: tuple[OneNode, str], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    def run(*line: str) -> tuple[int, bytes, bytes]:
        code = main(["--endpoints", node[1], "--timeout", "10s", *line])
        out, err = capsysbinary.readouterr()
        return code, out, err

    code, out, _ = run("put", "k", "v", "-o", "json")
    receipt = json.loads(out)
    assert (code, receipt["dot"], receipt["replicas"][0]["durability"]) == (0, "n1#1:1", "synced")
    assert run("get", "k") == (0, b"v\n", b"")
    assert run("get", "k", "-o", "raw") == (0, b"v", b"")
    run("put", "ff00", "00ff", "--hex")
    assert run("get", "--hex", "ff00", "-o", "raw")[1] == b"\x00\xff"
    assert json.loads(run("get", "--hex", "ff00", "-o", "json")[1])["value_b64"] == "AP8="
    run("put", "k", "w", "--no-context")
    code, out, err = run("get", "k")
    assert (code, out) == (0, b"v\nw\n") and b"2 siblings" in err
    code, _, err = run("get", "k", "-o", "raw")
    assert code == ExitCode.FAILED and b"UNRESOLVED_SIBLINGS, nothing was changed" in err
    both = json.loads(run("get", "k", "-o", "json")[1])
    assert (both["value"], both["conflict"], len(both["siblings"])) == (None, True, 2)
    assert run("get", "k", "-o", "raw", "--sibling", "2")[1] == b"w"
    assert run("get", "absent")[0] == ExitCode.NOT_FOUND
    assert run("put", "k", "v", "-w", "3")[0] == ExitCode.QUORUM_NOT_REACHED
    assert run("put", "k" * 1025, "v")[0] == ExitCode.USAGE
    assert run("get", "k", "--keyspace", "nowhere")[0] == ExitCode.USAGE
    assert run("locate", "k")[1] == b"n1\tup\tn1#1:1\tsame\n"
    assert run("cluster", "status", "--check")[0] == ExitCode.DONE
