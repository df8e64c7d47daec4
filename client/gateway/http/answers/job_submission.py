"""Jobs that are submitted over HTTP: the sources and settings of a request, as JSON or in parts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from aiohttp import BodyPartReader, MultipartReader, web

from ringmill.client.gateway.http.bodies import JSON_TYPE, json_answer, json_object, reading_body
from ringmill.client.gateway.http.call import HttpCall
from ringmill.client.gateway.http.idempotency import checked_idempotency_key
from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.client.gateway.jobs.form_inputs import FormInputs
from ringmill.client.gateway.jobs.reading_order import JobRequest
from ringmill.client.gateway.jobs.sent_sources import MOST_SOURCE_BYTES
from ringmill.client.jobs.job_packing import JobOptions
from ringmill.cluster.errors import InvalidArgument, RingmillError
from ringmill.cluster.mapreduce.api.job_keyspaces import is_keyspace_path
from ringmill.cluster.mapreduce.file_urls import is_url

__all__ = ["FORM_TYPE", "InputRoom", "submit_job"]

FORM_TYPE: Final = "multipart/form-data"
_MOST_JSON_BYTES: Final = MOST_SOURCE_BYTES * 2  # as JSON writes text
_MOST_SETTINGS_BYTES: Final = 1 << 20
_MOST_PARTS: Final = 2200  # all sources and inputs, and the settings
MOST_INPUTS: Final = 100
MOST_INPUT_BYTES: Final = 1 << 30
"""The most bytes of all inputs of one form."""
_BODY_S: Final = 300.0
"""For how long a caller may take to send a form, in seconds: it may have inputs."""
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "target": (str,), "input": (str, list, dict), "output": (str,), "reducers": (int,), "params": (dict,),
    "overwrite": (bool,), "split_mib": (int,), "side": (dict,), "on_bad_record": (str,), "weight": (int,),
    "network": (bool,), "task_memory_mib": (int,),
}  # fmt: skip
_TOO_DEEP: Final = "the settings are too deep: lists or objects within each other"
_OPTIONS: Final = tuple(name for name in _TYPES if name not in ("target", "input", "output"))


async def submit_job(call: HttpCall) -> web.StreamResponse:
    """Submit a job.  `target` is FILE.py:NAME, where FILE.py is one of the `sources`; the other members are
    the arguments of `ringmill job run`.  The sources are members by path, or, in multipart/form-data, files:
    Python's, or zip files of them.  Then the first part is `settings`, as JSON, and each file `input` is kept
    where nodes read it: up to 100 files, and 1 GiB in all.

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
    async with jobs.form_inputs() as sent:
        taken = await jobs.submit(call.client, await _request(call, sent), sent, name)
    place = f"/v1/jobs/{quote(taken.job)}"
    return json_answer({"job": taken.job, "output": taken.output}, status=202, headers={"Location": place})


async def _request(call: HttpCall, sent: FormInputs) -> JobRequest:
    kind = call.request.headers.get("Content-Type", JSON_TYPE).partition(";")[0].strip().lower()
    if kind == FORM_TYPE:
        try:
            async with reading_body(call, _BODY_S):
                return await _request_in_parts(call, sent)
        except RingmillError:
            raise
        except RecursionError as error:
            raise InvalidArgument(_TOO_DEEP) from error
        except ValueError as error:
            raise InvalidArgument(f"the body is not {FORM_TYPE}: {str(error)[:200]}") from error
    if kind != JSON_TYPE:
        raise HttpRefusal(
            415, "UNSUPPORTED_TYPE", f"Content-Type is {kind[:40]!r}; send {JSON_TYPE} or {FORM_TYPE}"
        )
    document = await json_object(call, _MOST_JSON_BYTES, frozenset((*_TYPES, "sources")))
    sources = document.pop("sources", {})
    if not isinstance(sources, dict) or not all(isinstance(each, str) for each in sources.values()):
        raise InvalidArgument("sources is an object: the text of each file by its path")
    try:
        checked = _checked_settings(document)
    except RecursionError as error:
        raise InvalidArgument(_TOO_DEEP) from error
    return _job_request(checked, {path: text.encode("utf-8", "replace") for path, text in sources.items()})


async def _request_in_parts(call: HttpCall, sent: FormInputs) -> JobRequest:
    settings: dict[str, Any] | None = None
    sources: dict[str, bytes] = {}
    inputs: list[str] = []
    left, room = MOST_SOURCE_BYTES, InputRoom()
    async for part in _parts(await call.request.multipart()):
        file = part.filename or ""
        if settings is None:  # they are looked at before anything is kept
            if part.name != "settings":
                break
            settings = _checked_settings(_settings(await _whole(part, "the settings", _MOST_SETTINGS_BYTES)))
        elif part.name == "sources" and file and file not in sources:
            sources[file] = await _whole(part, "the sources", left)
            left -= len(sources[file])
        elif part.name == "input" and file:
            if "input" in settings:
                raise InvalidArgument("input is a part of the body and among the settings: give one of them")
            inputs.append(await sent.take(file, room.pieces(part)))
        else:
            raise InvalidArgument(
                f"the body has a part {str(part.name)[:40]!r} that is not expected here",
                hint="there are: settings, once and first; sources and input, each a file with its own name",
            )
    if settings is None:
        raise InvalidArgument(
            "the body does not begin with a part 'settings'", hint='settings={"target": "job.py:NAME"}'
        )
    if inputs:
        settings["input"] = inputs
    return _job_request(settings, sources)


def _settings(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"the settings are not JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise InvalidArgument("the settings are not a JSON object")
    unknown = sorted(set(found) - set(_TYPES))
    if unknown:
        raise InvalidArgument(
            f"the settings have {unknown[0][:40]!r}, which means nothing here",
            hint=f"there are: {', '.join(sorted(_TYPES))}",
        )
    return found


def _checked_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, checked.  Raises InvalidArgument, RecursionError."""
    for name, value in settings.items():
        if not isinstance(value, _TYPES[name]) or (isinstance(value, bool) and bool not in _TYPES[name]):
            kinds = " or ".join(_KINDS[each] for each in _TYPES[name])
            raise InvalidArgument(f"{name} is {json.dumps(value)[:40]}, need {kinds}")
    target = settings.get("target", "")
    file, _, name = target.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise InvalidArgument(f"target is {target[:100]!r}, need FILE.py:NAME")
    output = settings.get("output")
    for path in _paths(settings.get("input")):
        if not str(path).startswith("job:"):
            _refuse_relative("input", path)
    for path in settings.get("side", {}).values():
        _refuse_relative("side", path)
    if output is not None:
        _refuse_relative("output", output)
    _options(settings)
    for name, value in settings.items():
        _refuse_no_text(name, json.dumps(value, ensure_ascii=False))
    return settings


def _job_request(settings: Mapping[str, Any], sources: Mapping[str, bytes]) -> JobRequest:
    """The request of a job with these settings, which were checked.  Raises InvalidArgument."""
    if not sources:
        raise InvalidArgument(
            "the request has no sources", hint="sources has the text of each file by its path"
        )
    for path in sources:
        _refuse_no_text("the path of a source", path)
    target, input, output = (settings.get(each) for each in ("target", "input", "output"))
    return JobRequest(target or "", sources, input, output, _options(settings))


def _options(settings: Mapping[str, Any]) -> JobOptions:
    """Raises InvalidArgument."""
    return JobOptions(**{each: settings[each] for each in _OPTIONS if each in settings})


def _refuse_no_text(what: str, text: str) -> None:
    """JSON can write half of a surrogate pair, which no UTF-8 has."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{what} has half of a surrogate pair, which is not a character") from error


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
        named = (each if isinstance(each, list) else [each] for each in given.values())
        return [path for paths in named for path in paths]
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


class InputRoom:
    """What the inputs of one form may still have."""

    def __init__(self) -> None:
        self._files = MOST_INPUTS
        self._bytes = MOST_INPUT_BYTES

    async def pieces(self, part: BodyPartReader) -> AsyncIterator[bytes]:
        """The bytes of the next input.  Raises HttpRefusal 413 above a limit."""
        self._files -= 1
        if self._files < 0:
            raise HttpRefusal(413, "TOO_LARGE", f"the inputs are more than {MOST_INPUTS} files")
        async for piece in _pieces(part):
            self._bytes -= len(piece)
            if self._bytes < 0:
                raise HttpRefusal(413, "TOO_LARGE", f"the inputs have more than {MOST_INPUT_BYTES} bytes")
            yield piece


async def _parts(reader: MultipartReader) -> AsyncIterator[BodyPartReader]:
    """Raises InvalidArgument for what is not a file or field, and for too many."""
    for _ in range(_MOST_PARTS):
        try:
            part = await reader.next()
        except RuntimeError as error:  # of aiohttp, for a default charset of any length
            raise InvalidArgument(f"the body is not {FORM_TYPE}: {error}") from error
        if part is None:
            return
        if not isinstance(part, BodyPartReader):
            raise InvalidArgument("the body has a part that has parts")
        yield part
    raise InvalidArgument(f"the body has more than {_MOST_PARTS} parts")


async def _pieces(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(1 << 16):
        yield piece
