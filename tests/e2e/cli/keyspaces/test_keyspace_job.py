"""A job from keyspace to keyspace at real processes: it is handed over, and a node of it is killed."""

from __future__ import annotations

import importlib.util
import time
from typing import TYPE_CHECKING

import ringmill

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

USERS = {f"user{number:04}": f"{number % 97} {number % 89}" for number in range(600)}
PATIENT_S = 60.0
JOB = """
import time
from collections.abc import Iterator
from ringmill import Collect, KvInput, KvOutput, job

def places(key: str, value: str) -> Iterator[tuple[str, str]]:
    if key.endswith("00"):
        time.sleep({seconds})
    for word in value.split():
        yield word, key
    yield key, value

index = job(map=places, reduce=Collect(), input=KvInput("users"), output=KvOutput("places"), split_mib=1)
"""


def scanned(shell: Shell, keyspace: str) -> list[tuple[bytes, bytes]]:
    lines = shell.ok("scan", "--keyspace", keyspace).out.splitlines()
    return [(key, value) for key, _, value in (line.partition(b"\t") for line in lines)]


def expected(shell: Shell) -> dict[bytes, bytes]:
    """What the job makes in this process of the records that a scan gives."""
    (shell.folder / "alone.py").write_text(JOB.format(seconds=0))
    found = importlib.util.spec_from_file_location("alone", shell.folder / "alone.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    out = f"{shell.folder}/alone"
    records = [(key, [value]) for key, value in scanned(shell, "users")]
    ringmill.run_local(module.index, output=out, records=records)
    return dict(ringmill.read_output(out))


def test_a_job_from_keyspace_to_keyspace_is_handed_over_and_loses_a_node(shell: Shell) -> None:
    for name in ("users", "places"):
        shell.ok("keyspace", "create", name)
    lines = "".join(f"{key}\t{value}\n" for key, value in USERS.items())
    shell.ok("mput", "-", "--keyspace", "users", stdin=lines.encode())
    shell.ok("put", "--keyspace", "places", "stays", "here")
    (shell.folder / "slow.py").write_text(JOB.format(seconds=0.3))
    job = shell.ok("job", "run", "slow.py:index", "--detach", "-o", "json").json["job"]
    former = shell.ok("coordinator", "status", "-o", "json").json["node"]
    assert shell.ok("coordinator", "handover", "-o", "json").json["open_jobs"] == [job]
    shell.ok("cluster", "kill", former)
    ends_at = time.monotonic() + PATIENT_S
    while (state := shell.run("job", "status", job, "-o", "json")).code or state.json["state"] in (
        "RUNNING",
        "PENDING",
    ):
        assert time.monotonic() < ends_at, state
        time.sleep(0.2)
    assert (state.json["state"], state.json["output"]) == ("SUCCEEDED", "kv:places"), state
    assert state.json["records"]["map_in"] == len(USERS)
    found = dict(scanned(shell, "places"))
    assert found.pop(b"stays") == b"here"
    alone = expected(shell)
    assert found == alone
    (shell.folder / "quick.py").write_text(JOB.format(seconds=0))
    shell.ok("job", "run", "quick.py:index", "--overwrite")
    while dict(scanned(shell, "places")) == {**alone, b"stays": b"here"}:  # a node may not have heard of it
        assert time.monotonic() < ends_at
    assert dict(scanned(shell, "places")) == alone
    assert b"places." not in shell.ok("keyspace", "list").out
    shell.ok("cluster", "restart", former)  # while its port is free
