"""What a job has written, as far as the gateway's machine sees it."""

from __future__ import annotations

from contextlib import aclosing

from aiohttp import web

from ringmill.client.gateway.http.bodies import json_answer
from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.client.gateway.http.streams import OpenStream
from ringmill.client.gateway.jobs.shown_parts import ShownParts
from ringmill.client.jobs.job_values import JobState
from ringmill.cluster.errors import NotFound
from ringmill.cluster.mapreduce.files.file_kinds import is_packed

__all__ = ["get_job_part", "list_job_parts"]

_BYTES = "application/octet-stream"


async def list_job_parts(call: HttpCall) -> web.StreamResponse:
    """The part files of a job that has succeeded, in the order of its output.  Their names end with .gz or
    .zst when they are packed.

    A job whose output is in a keyspace or in a store has none.
    """
    state, parts = await _ask(call)
    rows = [{"name": one.name, "bytes": one.size, "records": one.records} for one in await parts.parts(state)]
    return json_answer({"job": state.job, "output": state.output, "parts": rows})


async def get_job_part(call: HttpCall) -> web.StreamResponse:
    """One part file, as it is, or unpacked with `unpacked`."""
    state, parts = await _ask(call)
    name = call.named("part")
    part = next((each for each in await parts.parts(state) if each.name == name), None)
    if part is None:
        raise NotFound(f"job {state.job} has no part {name[:40]!r}")
    is_unpacked = call.query.get("unpacked", False)
    content = parts.content(state, part, call.slot.caller, unpacked=is_unpacked)
    async with aclosing(content):
        first = await anext(content, b"")  # what it raises is still told by the status
        call.slot.becomes_a_stream()
        is_as_it_lies = not (is_unpacked and is_packed(part.name))
        stream = OpenStream(call, _BYTES, part.size if is_as_it_lies else None)
        if await stream.begin():
            await stream.write(first)
            async for block in content:
                await stream.write(block)
    return await stream.end()


async def _ask(call: HttpCall) -> tuple[JobState, ShownParts]:
    if call.jobs is None:
        raise HttpRefusal(501, "NOT_OFFERED", "this gateway reads no output of jobs")
    return await call.client.jobs.status(call.named("job")), call.jobs.parts
