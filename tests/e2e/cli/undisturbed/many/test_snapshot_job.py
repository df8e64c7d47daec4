"""A job reads a keyspace of five nodes as it was, while a client replaces all of it."""

from __future__ import annotations

import time

from tests.e2e.cli.conftest import Shell

JOB = """
import time
from collections.abc import Iterator
from ringmill import KvInput, job

def seen(key: str, value: str) -> Iterator[tuple[str, str]]:
    time.sleep(0.02)
    yield key, value

as_it_was = job(map=seen, input=KvInput("dated", consistency="snapshot"))
"""


def test_a_job_of_a_snapshot_gives_what_was_there_when_it_was_accepted(shell: Shell) -> None:
    shell.ok("keyspace", "create", "dated")
    before = {f"day{number:03}": "before" for number in range(200)}
    shell.ok("mput", "--keyspace", "dated", *(f"{key}={value}" for key, value in before.items()))
    (shell.folder / "dated.py").write_text(JOB)
    given = ("dated.py:as_it_was", "--output", "dated.out", "--detach", "-o", "json")
    job = shell.ok("job", "run", *given).json["job"]
    shell.ok("job", "pause", job)  # most of its tasks begin after the keys were replaced
    shell.ok("mput", "--keyspace", "dated", *(f"{key}=after" for key in before), "day200=after")
    shell.ok("job", "resume", job)
    ends_at = time.monotonic() + 60.0
    while (state := shell.ok("job", "status", job, "-o", "json").json["state"]) in ("PENDING", "RUNNING"):
        assert time.monotonic() < ends_at
        time.sleep(0.1)
    assert state == "SUCCEEDED"
    parts = (shell.folder / "dated.out").glob("part-*")
    lines = b"".join(part.read_bytes() for part in parts).decode().splitlines()
    assert dict(line.split("\t") for line in lines) == before
