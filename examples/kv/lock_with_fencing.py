"""A job that one worker does at a time, and a store that a worker which was stopped cannot spoil.

The lease says who works.  It cannot stop a worker that was paused just after it looked, so each write carries
the lease's term, and the store refuses a lower term than it has seen.
"""

import json

from ringmill import Client, Conflict


class Outdated(Exception):
    """A later holder of the lease has written already."""


def work_once(db: Client, job: str, worker: str, result: str) -> int:
    """Wait for the job's lease, write the result, and return the term it was written in."""
    with db.registers.lease(f"lease:{job}", duration=2, owner=worker) as lease:
        write(db, job, lease.check(), result)
        return lease.term


def write(db: Client, job: str, term: int, result: str) -> None:
    """Raises Outdated."""
    while True:
        present = db.registers.get(f"result:{job}")
        known = json.loads(present.value) if present.value else {"term": 0}
        if known["term"] > term:
            raise Outdated(f"term {term} comes after term {known['term']}")
        value = json.dumps({"term": term, "result": result}).encode()
        try:
            db.registers.cas(f"result:{job}", value, expect_version=present.version)
        except Conflict:
            continue  # somebody else wrote meanwhile: look again
        return


def read(db: Client, job: str) -> str | None:
    found = db.registers.get(f"result:{job}").value
    return None if found is None else str(json.loads(found)["result"])
