"""From a request to its answer: the checks, the route, the caller's client, and one form for all errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.hdrs import ACCEPT_ENCODING

from ringmill.client.arguments import checked_token
from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.http.bodies import value_of_body
from ringmill.client.gateway.http.call import CallersCache, HttpCall, takes_gzip
from ringmill.client.gateway.http.etags import weak_etag
from ringmill.client.gateway.http.http_admission import HttpAdmission, Slot
from ringmill.client.gateway.http.idempotency import IdempotencyMemory, checked_idempotency_key
from ringmill.client.gateway.http.problems import (
    HttpRefusal,
    challenge,
    http_refusal_of,
    is_of_ended_token,
    problem_answer,
)
from ringmill.client.gateway.http.request_checks import SiteRules, bearer_token, request_id_of
from ringmill.client.gateway.http.request_spans import answer_in_span
from ringmill.client.gateway.http.streams import HAS_BEGUN
from ringmill.client.gateway.http.table.http_route import HttpRoute, RouteTable
from ringmill.client.gateway.http.table.parameters import IDEMPOTENCY_KEY, read_query
from ringmill.client.gateway.jobs.gateway_jobs import GatewayJobs
from ringmill.client.gateway.meters.door_meter import NO_ROUTE, DoorMeter, Refused
from ringmill.client.kv import name_of_write
from ringmill.client.operations import OperationName
from ringmill.client.routing.tracing import Tracing, no_tracer
from ringmill.cluster.errors import InvalidArgument, PermissionDenied, RingmillError

__all__ = ["HttpAnswering"]

_MOST_PARAMETERS: Final = 64
_LEAST_GZIPPED: Final = 1024
_READING: Final = ("GET", "HEAD")
_GZIPPED: Final = ("application/json", "application/problem+json", "text/plain")

_ROUTE: Final = web.RequestKey("route", HttpRoute)
_GONE: Final = "gone"
"""The status of a request whose caller has left before it was answered."""
_REFUSED: Final[Mapping[str, Refused]] = {"RATE_LIMITED": "rate", "BUSY": "room"}

_log = logging.getLogger("ringmill.gateway")


class HttpAnswering:
    """Answers requests by a table of routes.  `run_id` begins the ids of requests that come without one."""

    def __init__(
        self,
        table: RouteTable,
        clients: ClientsByToken,
        rules: SiteRules,
        admission: HttpAdmission,
        run_id: str,
        ending: asyncio.Event,
        meter: DoorMeter,
        tracing: Tracing = no_tracer,
        jobs: GatewayJobs | None = None,
    ) -> None:
        """`ending` is set when the gateway stops: what goes on until its caller leaves it is ended then."""
        self._table = table
        self._clients = clients
        self._rules = rules
        self._admission = admission
        self._run_id = run_id
        self._tracing = tracing
        self._jobs = jobs
        self._ending = ending
        self._meter = meter
        self._requests = 0
        self._memory = IdempotencyMemory()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer; it raises only what ends the connection."""
        began_s = self._meter.now()
        status: str | int = _GONE
        try:
            answer = await self._answered(request)
            status = answer.status
            return answer
        finally:
            route = request.get(_ROUTE)
            is_whole = status != _GONE and HAS_BEGUN not in request
            self._meter.answered(
                NO_ROUTE if route is None else route.name,
                status,
                self._meter.now() - began_s if is_whole else None,
            )

    async def _answered(self, request: web.BaseRequest) -> web.StreamResponse:
        self._requests += 1
        request_id = request_id_of(request, f"{self._run_id}-{self._requests}")
        common = {"X-Request-Id": request_id}
        try:
            self._rules.check(request)
            common |= self._rules.headers(request)
            answer = await self._answer(request, common)
        except HttpRefusal as refusal:
            if (why := _REFUSED.get(refusal.code)) is not None:
                self._meter.refuse(why)
            answer = problem_answer(refusal, request_id)
        except RingmillError as error:
            answer = problem_answer(
                http_refusal_of(error, has_token="Authorization" in request.headers), request_id
            )
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:  # noqa: BLE001 - a bug is told as one, and ends no other request
            _log.exception("request %s failed", request_id)
            internal = HttpRefusal(
                500, "INTERNAL", "the gateway has failed; its log has more", outcome="unknown"
            )
            answer = problem_answer(internal, request_id)
        if not answer.prepared:
            if HAS_BEGUN in request:
                _cut_off(request, f"request {request_id}")
            _finish(request, answer, common)
            if self._ending.is_set():
                answer.force_close()
        return answer

    async def _answer(self, request: web.BaseRequest, common: Mapping[str, str]) -> web.StreamResponse:
        raw_path, _, raw_query = request.raw_path.partition("?")
        if request.method == "OPTIONS":
            return web.Response(
                status=204, headers=self._rules.preflight(request, self._table.methods(raw_path))
            )
        matched = self._table.match(request.method, raw_path)
        request[_ROUTE] = matched.route
        query = read_query(matched.route.parameters, _pairs(raw_query))
        if not matched.route.needs_cluster:
            slot = Slot(self._admission, "")
            return await matched.route.handler(
                HttpCall(request, matched.path, query, None, common, slot, self._ending)
            )
        token = _checked_bearer(request)
        caller = self._clients.caller(token, str(request.remote))
        self._admission.check_rate(caller)
        cache = self._admission.cache
        is_late = cache is not None and matched.route.is_cached
        with Slot(self._admission, caller, is_late=is_late) as slot:
            client = await self._clients.take(token, caller)
            slot.at_end(partial(self._clients.give_back, token))
            call = HttpCall(request, matched.path, query, client, common, slot, self._ending, jobs=self._jobs)
            call.cache = None if cache is None else CallersCache(cache, token)
            asked = partial(self._answer_of_cluster, call, matched.route, token, caller)
            try:
                return await answer_in_span(self._tracing, request, matched.route, asked)
            except PermissionDenied as error:
                if is_of_ended_token(error):
                    self._clients.forget(token)
                raise

    async def _answer_of_cluster(
        self, call: HttpCall, route: HttpRoute, token: str, caller: str
    ) -> web.StreamResponse:
        """Answer what is asked of the cluster; a write that its caller has named, once."""
        name = call.request.headers.get(IDEMPOTENCY_KEY.name)
        if name is None or IDEMPOTENCY_KEY not in route.parameters:
            return await _handle(call, route)
        return await self._once(call, route, (token, checked_idempotency_key(name)), caller)

    async def _once(
        self, call: HttpCall, route: HttpRoute, name: tuple[str, str], caller: str
    ) -> web.StreamResponse:
        body = await value_of_body(call)
        conditions = [call.request.headers.get(each, "") for each in ("If-Match", "If-None-Match")]
        request = (call.request.method, call.request.raw_path, *conditions)
        asked = "\0".join(request).encode("utf-8", "surrogateescape")

        async def do(operation: OperationName) -> web.Response:
            call.operation = operation
            try:
                answer = await _handle(call, route)
            except RingmillError as error:
                raise http_refusal_of(error, has_token=call.has_token) from error
            assert isinstance(answer, web.Response), "a write is answered whole"
            return answer

        return await self._memory.once(
            name,
            caller,
            sha256(asked + b"\0" + body).digest(),
            lambda: name_of_write(call.client),
            do,
            call.slot.stays_for,
        )


async def _handle(call: HttpCall, route: HttpRoute) -> web.StreamResponse:
    """Answer it; the key that a write names is read anew from then on, whatever kind of value it has."""
    if call.cache is None or route.method in _READING or "key" not in call.path:
        return await route.handler(call)
    with call.writing(call.key):
        return await route.handler(call)


def _pairs(raw_query: str) -> list[tuple[str, str]]:
    """The parameters of a query.  Bytes that are not UTF-8 are kept, for keys (PEP 383)."""
    if not raw_query:
        return []
    try:
        return parse_qsl(
            raw_query, keep_blank_values=True, errors="surrogateescape", max_num_fields=_MOST_PARAMETERS
        )
    except ValueError:
        raise InvalidArgument(f"the query has more than {_MOST_PARAMETERS} parameters") from None


def _checked_bearer(request: web.BaseRequest) -> str:
    token = bearer_token(request)
    if not token:
        return ""
    try:
        return checked_token(token)
    except InvalidArgument as error:
        raise HttpRefusal(
            401, "PERMISSION_DENIED", error.message, headers=challenge(is_bad_token=True)
        ) from error


def _cut_off(request: web.BaseRequest, what: str) -> NoReturn:
    """End the connection amid an answer: its caller sees that it is not whole."""
    _log.warning("%s has failed amid its answer: the connection is closed", what)
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionAbortedError("an answer has broken off")


def _finish(request: web.BaseRequest, answer: web.StreamResponse, common: Mapping[str, str]) -> None:
    """Headers that every answer has, and gzip where the caller takes it and it saves something."""
    for name, value in common.items():
        if name == "Vary":
            _vary(answer, value)
        else:
            answer.headers[name] = value
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Server"] = "ringmill"
    body: Any = getattr(answer, "body", None)
    is_long = isinstance(body, bytes) and len(body) >= _LEAST_GZIPPED
    if answer.status == HTTPStatus.NOT_MODIFIED:
        _vary(answer, ACCEPT_ENCODING)  # as the answer that the caller has
    if not is_long or answer.content_type not in _GZIPPED:
        return
    _vary(answer, ACCEPT_ENCODING)
    if takes_gzip(request.headers.get(ACCEPT_ENCODING, "")):
        answer.enable_compression(web.ContentCoding.gzip)
        if "ETag" in answer.headers:  # that of other bytes, which mean the same (RFC 9110, 8.8.1)
            answer.headers["ETag"] = weak_etag(answer.headers["ETag"])


def _vary(answer: web.StreamResponse, name: str) -> None:
    former = answer.headers.get("Vary")
    answer.headers["Vary"] = name if former is None else f"{former}, {name}"
