"""Jobs that are submitted over HTTP: the sources and settings of a request, as JSON or in parts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from aiohttp import BodyPartReader, web

from ringmill.client.gateway.http.bodies import JSON_TYPE, json_answer, json_object, reading_body
from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.idempotency import checked_idempotency_key
from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.client.gateway.jobs.gateway_jobs import GatewayJobs
from ringmill.client.gateway.jobs.kept_inputs import KeptInputs
from ringmill.client.gateway.jobs.reading_order import JobRequest
from ringmill.client.gateway.jobs.sent_sources import MOST_SOURCE_BYTES
from ringmill.client.jobs.job_packing import JobOptions
from ringmill.cluster.errors import InvalidArgument, RingmillError
from ringmill.cluster.mapreduce.api.job_keyspaces import is_keyspace_path
from ringmill.cluster.mapreduce.file_urls import is_url

__all__ = ["FORM_TYPE", "submit_job"]

FORM_TYPE: Final = "multipart/form-data"
_MOST_JSON_BYTES: Final = MOST_SOURCE_BYTES * 2  # as JSON writes text
_MOST_SETTINGS_BYTES: Final = 1 << 20
_MOST_PARTS: Final = 2100
_BODY_S: Final = 300.0
"""For how long a caller may take to send a form, in seconds: it may have inputs."""
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "target": (str,), "input": (str, list, dict), "output": (str,), "reducers": (int,), "params": (dict,),
    "overwrite": (bool,), "split_mib": (int,), "side": (dict,), "on_bad_record": (str,), "weight": (int,),
    "network": (bool,),
}  # fmt: skip
_OPTIONS: Final = tuple(name for name in _TYPES if name not in ("target", "input", "output"))


async def submit_job(call: HttpCall) -> web.StreamResponse:
    """Submit a job.  `target` is FILE.py:NAME, where FILE.py is one of the `sources`; the other members are
    the arguments of `ringmill job run`.  The sources are members by path, or, in multipart/form-data, files:
    Python's, or zip files of them.  Then the settings are the part `settings`, as JSON, and each file `input`
    is kept where nodes read it.

    Paths are absolute, and those of the nodes: the gateway looks at none.  Sent again with its
    Idempotency-Key it is the same job, whichever gateway it is sent to.
    """
    jobs = call.jobs
    if jobs is None or jobs.refusal:
        why = jobs.refusal if jobs is not None else "this gateway takes no jobs"
        raise HttpRefusal(501, "NOT_OFFERED", why)
    await call.client.jobs.coordinator()  # who may not ask this may not have a module imported either
    name = call.request.headers.get("Idempotency-Key")
    name = "" if name is None else checked_idempotency_key(name)
    taken = await jobs.submit(call.client, await _request(call, jobs), name)
    place = f"/v1/jobs/{quote(taken.job)}"
    return json_answer({"job": taken.job, "output": taken.output}, status=202, headers={"Location": place})


async def _request(call: HttpCall, jobs: GatewayJobs) -> JobRequest:
    kind = call.request.headers.get("Content-Type", JSON_TYPE).partition(";")[0].strip().lower()
    if kind == FORM_TYPE:
        try:
            async with reading_body(call.request, _BODY_S):
                return await _request_in_parts(call, jobs)
        except RingmillError:
            raise
        except ValueError as error:
            raise InvalidArgument(f"the body is no {FORM_TYPE}: {str(error)[:200]}") from error
    if kind != JSON_TYPE:
        raise HttpRefusal(
            415, "UNSUPPORTED_TYPE", f"Content-Type is {kind[:40]!r}; send {JSON_TYPE} or {FORM_TYPE}"
        )
    document = await json_object(call.request, _MOST_JSON_BYTES, frozenset((*_TYPES, "sources")))
    sources = document.pop("sources", {})
    if not isinstance(sources, dict) or not all(isinstance(each, str) for each in sources.values()):
        raise InvalidArgument("sources is an object: the text of each file by its path")
    return _job_request(document, {path: text.encode("utf-8", "replace") for path, text in sources.items()})


async def _request_in_parts(call: HttpCall, jobs: GatewayJobs) -> JobRequest:
    settings: dict[str, Any] | None = None
    sources: dict[str, bytes] = {}
    inputs: list[str] = []
    left, parts = MOST_SOURCE_BYTES, 0
    reader = await call.request.multipart()
    async for part in reader:
        parts += 1
        if not isinstance(part, BodyPartReader) or parts > _MOST_PARTS:
            raise InvalidArgument(f"the body has parts of parts, or more than {_MOST_PARTS} of them")
        file = part.filename or ""
        if part.name == "sources" and file and file not in sources:
            sources[file] = await _whole(part, "the sources", left)
            left -= len(sources[file])
        elif part.name == "input" and file:
            inputs.append(await _kept(jobs.inputs, part, file))
        elif part.name == "settings" and settings is None:
            settings = _settings(await _whole(part, "the settings", _MOST_SETTINGS_BYTES))
        else:
            raise InvalidArgument(
                f"the body has a part {str(part.name)[:40]!r} that is not expected here",
                hint="there are: settings, once; sources and input, each a file of a name of its own",
            )
    if settings is None:
        raise InvalidArgument("the body has no part 'settings'", hint='settings={"target": "job.py:NAME"}')
    if inputs:
        if "input" in settings:
            raise InvalidArgument("input is a part of the body and among the settings: give one of them")
        settings["input"] = inputs
    return _job_request(settings, sources)


def _settings(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"the settings are no JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise InvalidArgument("the settings are no JSON object")
    unknown = sorted(set(found) - set(_TYPES))
    if unknown:
        raise InvalidArgument(
            f"the settings have {unknown[0][:40]!r}, which means nothing here",
            hint=f"there are: {', '.join(sorted(_TYPES))}",
        )
    return found


def _job_request(told: Mapping[str, Any], sources: Mapping[str, bytes]) -> JobRequest:
    """Raises InvalidArgument."""
    for name, value in told.items():
        if not isinstance(value, _TYPES[name]) or (isinstance(value, bool) and bool not in _TYPES[name]):
            kinds = " or ".join(_KINDS[each] for each in _TYPES[name])
            raise InvalidArgument(f"{name} is {json.dumps(value)[:40]}, need {kinds}")
    target = told.get("target", "")
    file, _, name = target.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise InvalidArgument(f"target is {target[:100]!r}, need FILE.py:NAME")
    if not sources:
        raise InvalidArgument(
            "the request has no sources", hint="sources has the text of each file by its path"
        )
    output = told.get("output")
    for path in _paths(told.get("input")):
        if not str(path).startswith("job:"):
            _refuse_relative("input", path)
    for path in told.get("side", {}).values():
        _refuse_relative("side", path)
    if output is not None:
        _refuse_relative("output", output)
    options = JobOptions(**{each: told[each] for each in _OPTIONS if each in told})
    return JobRequest(target, sources, told.get("input"), output, options)


_KINDS: Final = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


def _paths(given: Any) -> list[Any]:
    """All paths of an input, which may be by source."""
    if isinstance(given, dict):
        return [path for each in given.values() for path in _paths(each)]
    return given if isinstance(given, list) else [] if given is None else [given]


def _refuse_relative(what: str, path: Any) -> None:
    """The gateway's current folder means nothing to its callers."""
    if not isinstance(path, str):
        raise InvalidArgument(f"{what} is {json.dumps(path)[:40]}, need a text")
    if not (path.startswith("/") or is_keyspace_path(path) or is_url(path)):
        raise InvalidArgument(f"{what} is {path[:200]!r}, need an absolute path as nodes see it")


async def _whole(part: BodyPartReader, what: str, most_bytes: int) -> bytes:
    found = bytearray()
    async for piece in _pieces(part):
        found += piece
        if len(found) > most_bytes:
            raise HttpRefusal(413, "TOO_LARGE", f"{what} have more than {most_bytes} bytes")
    return bytes(found)


async def _kept(inputs: KeptInputs, part: BodyPartReader, name: str) -> str:
    return await inputs.keep(name, _pieces(part))


async def _pieces(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(1 << 16):
        yield piece
