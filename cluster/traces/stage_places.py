"""The place of a stage of a job in the job's trace, which its coordinator and its workers know alike."""

from __future__ import annotations

import xxhash

from ringmill.cluster.traces.trace_context import TraceContext

__all__ = ["stage_place"]


def stage_place(carried: bytes, stage: str, encoded_spec: bytes) -> bytes:
    """What is carried for a stage, by what is carried for its job; b"" for a job that is not traced.

    `encoded_spec` is what the tasks of the stage run: a chain has many maps.
    """
    job = TraceContext.decode(carried)
    if job is None:
        return b""
    named = xxhash.xxh64_digest(job.span_id + stage.encode() + encoded_spec)
    return job._replace(span_id=named).encode()
