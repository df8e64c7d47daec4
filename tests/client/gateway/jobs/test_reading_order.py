"""What the process that imported a caller's module says of it: the module may have said it."""

from __future__ import annotations

import msgpack
import pytest

from ringmill.client.gateway.jobs.reading_order import answer_of_error, answer_of_job, job_in_answer
from ringmill.cluster.errors import InvalidArgument
from tests.traced_memory import TracedMemory


def test_a_job_and_a_refusal_come_back() -> None:
    bundle = bytes(3 << 20)
    assert job_in_answer(answer_of_job(bundle, "wc", b"spec")) == (bundle, "wc", b"spec")
    with pytest.raises(InvalidArgument, match="no job") as told:
        job_in_answer(answer_of_error("no job" + "\U0001f600" * 5000, "look"))
    assert told.value.hint == "look"


def nested(depth: int) -> bytes:
    return b"\x90" if depth == 0 else b"\x94" + nested(depth - 1) * 4


JOB = b"\x94\xa3job"
SPOILT = {
    "lists": JOB + b"\xdd\x00\x1f\xff\xf0" + b"\x90" * (1 << 20),
    "maps": JOB + b"\xdd\x00\x1f\xff\xf0" + b"\x80" * (1 << 20),
    "a map": JOB + b"\xdf\x00\x1f\xff\xf0" + b"\x00" * (1 << 20),
    "an extension": JOB + b"\xc7\x04\x05abcd" + b"\xc0" * 2,
    "nested lists": JOB + nested(9),
    "a long text": msgpack.packb(["job", b"", "x" * 20_000, b""]),
    "too many": msgpack.packb(["job", b"", "wc", b"", b""]),
    "none": b"",
}


@pytest.mark.parametrize("answer", SPOILT.values(), ids=SPOILT)
def test_what_the_module_says_in_its_place_takes_no_memory(answer: bytes) -> None:
    with TracedMemory() as memory, pytest.raises(InvalidArgument, match="spoilt"):
        job_in_answer(answer)
    assert memory.peak_bytes < 2 << 20
