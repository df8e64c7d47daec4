"""Jobs: listed, followed, stopped.  They need a token of the role jobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from aiohttp import web

from ringmill.client.gateway.http.bodies import JSON_TYPE, json_answer
from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.problems import http_refusal_of, problem_document
from ringmill.client.gateway.http.streams import BEAT_S, EVENTS_TYPE, OpenStream, event_text, with_beats
from ringmill.client.jobs.job_values import JobState
from ringmill.client.values import json_bytes
from ringmill.cluster.errors import RingmillError

__all__ = ["follow_job", "get_job", "get_job_logs", "kill_job", "list_all_jobs", "pause_job", "resume_job"]


async def list_all_jobs(call: HttpCall) -> web.StreamResponse:
    """The jobs that the nodes know, newest first.  `silent` names members that did not answer."""
    found = await call.client.jobs.list()
    return json_answer({"jobs": [state.to_dict() for state in found], "silent": list(found.silent)})


async def get_job(call: HttpCall) -> web.StreamResponse:
    """The present state of a job.

    With Accept: text/event-stream an event at once and at every change, until the job is over.
    """
    job = call.named("job")
    if call.prefers(EVENTS_TYPE, (JSON_TYPE,)):
        return await _stream_states(call, job)
    return json_answer((await call.client.jobs.status(job)).to_dict())


async def follow_job(call: HttpCall) -> web.StreamResponse:
    """An event at once and at every change of the job, until it is over."""
    return await _stream_states(call, call.named("job"))


async def get_job_logs(call: HttpCall) -> web.StreamResponse:
    """What the attempts of a job have printed; of one `task` if it is given."""
    found = await call.client.jobs.logs(call.named("job"), task=call.query.get("task", ""))
    logs = [
        {
            "task": one.task, "attempt": one.attempt, "node": one.node, "cause": one.cause,
            **json_bytes("output", one.output),
        }
        for one in found
    ]  # fmt: skip
    return json_answer({"logs": logs})


async def kill_job(call: HttpCall) -> web.StreamResponse:
    """Stop the job.  One that is over, or is showing its output, does not change."""
    return json_answer((await call.client.jobs.kill(call.named("job"))).to_dict())


async def pause_job(call: HttpCall) -> web.StreamResponse:
    """Let the job begin no more attempts.  Those that run go on to their end."""
    return json_answer((await call.client.jobs.pause(call.named("job"))).to_dict())


async def resume_job(call: HttpCall) -> web.StreamResponse:
    """Let a paused job go on."""
    return json_answer((await call.client.jobs.resume(call.named("job"))).to_dict())


async def _stream_states(call: HttpCall, job: str) -> web.StreamResponse:
    first = await call.client.jobs.status(job)  # what it raises is still told by the status
    call.slot.becomes_a_stream()
    stream = OpenStream(call, EVENTS_TYPE)
    if not await stream.begin():
        return await stream.end()
    if first.is_over:
        await stream.write(_event(first))
        return await stream.end()
    watching = cast("AsyncGenerator[JobState, None]", call.client.jobs.watch(job))
    beats = with_beats(watching, BEAT_S, call.ending)
    async with aclosing(watching), aclosing(cast("AsyncGenerator[JobState | None, None]", beats)) as states:
        try:
            async for state in states:
                await stream.write(b": nothing new\n\n" if state is None else _event(state))
        except RingmillError as error:
            problem = problem_document(http_refusal_of(error, has_token=call.has_token))
            await stream.write(event_text("error", problem))
    return await stream.end()


def _event(state: JobState) -> bytes:
    return event_text("over" if state.is_over else "state", state.to_dict())
