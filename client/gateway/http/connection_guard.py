"""One connection of a caller: it is closed when a request does not come whole, or an answer is not taken.

aiohttp waits without a limit for the end of a request's head, and for a caller that does not read.  Here
each has a limit, and so has the number of connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, cast

from aiohttp import StreamReader, web

from ringmill.client.gateway.http.problems import PROBLEM_TYPE, HttpRefusal, problem_answer, problem_document
from ringmill.client.gateway.protection.vanished_callers import end_if_vanished

__all__ = ["ANSWER_S", "Connections", "HEAD_S", "IDLE_S"]

HEAD_S: Final = 10.0
"""From the first byte of a request, or from connecting, to the end of its head, in seconds."""
IDLE_S: Final = 60.0
"""Between two requests on a connection."""
SPARE_S: Final = 5.0
"""When there are too many, one that asks nothing, and was silent for so long, makes room."""
ANSWER_S: Final = 30.0
"""For a caller to take an answer, or a piece of one."""
LAST_S: Final = 0.25
"""For what is under way when its time is over, to end by being cancelled."""
MOST_HEADERS: Final = 64
MOST_HEADER_BYTES: Final = 8190

_silent = logging.getLogger("ringmill.gateway.http")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False
"""What hostile callers send is answered, and fills no log."""


class Connections:
    """Makes the protocol of each connection, and counts them."""

    def __init__(self, server: web.Server, most: int, refused: Callable[[], None] | None = None) -> None:
        """`refused` is called for each that is one too many."""
        self._server = server
        self._most = most
        self._asked = 0
        self._none_asked = asyncio.Event()
        self._none_asked.set()
        self.open = 0
        self.leaving = 0  # of these, to make room
        self.refused = refused or (lambda: None)
        self.is_ending = False

    def __call__(self) -> web.RequestHandler:
        """For loop.create_server."""
        return _GuardedConnection(self, self._server)

    @property
    def is_full(self) -> bool:
        """Whether the newest connection is one too many."""
        return self.open - self.leaving > self._most

    def make_room(self) -> bool:
        """Close one that is silent: of the address that has most, the one that was silent for longest."""
        silent_since_s = asyncio.get_running_loop().time() - SPARE_S
        there = [
            each for each in self._server.connections
            if isinstance(each, _GuardedConnection) and not each.is_leaving
        ]  # fmt: skip
        spare = [each for each in there if each.is_spare and each.heard_s <= silent_since_s]
        if not spare:
            return False
        shares = Counter(each.address for each in there)
        min(spare, key=lambda each: (-shares[each.address], each.heard_s)).leave()
        self.leaving += 1
        return True

    def begins(self) -> None:
        """A request is under way."""
        self._asked += 1
        self._none_asked.clear()

    def ends(self) -> None:
        """Note that the request has its answer, or is given up."""
        self._asked -= 1
        if not self._asked:
            self._none_asked.set()

    async def end(self, grace_s: float) -> None:
        """Close those on which nothing is asked, and each other one when it has its answer, within `grace_s`.

        Bodies go on coming meanwhile: aiohttp's own shutdown drops what comes from its first moment on.
        """
        self.is_ending = True
        for each in self._server.connections:
            if isinstance(each, _GuardedConnection):
                each.close_if_idle()
        await self._wait(grace_s)
        await self._server.shutdown(LAST_S)
        await self._wait(LAST_S)  # it waits for none that it has cancelled

    async def _wait(self, longest_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._none_asked.wait()


class _GuardedConnection(web.RequestHandler):
    __slots__ = (
        "_answered", "_body", "_connections", "_head_timer", "_line", "_taken_timer", "_under_way",
        "_unread_timer", "address", "heard_s", "is_leaving",
    )  # fmt: skip

    def __init__(self, connections: Connections, server: web.Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=IDLE_S,
            logger=_silent,
            access_log=None,  # type: ignore[arg-type]  # None switches it off
            max_line_size=MOST_HEADER_BYTES,
            max_headers=MOST_HEADERS,
            max_field_size=MOST_HEADER_BYTES,
            lingering_time=1.0,
            auto_decompress=False,
        )
        self._connections = connections
        self.address = ""
        self.heard_s = 0.0  # when bytes came, or an answer ended
        self.is_leaving = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._under_way = False
        self._unread_timer: asyncio.TimerHandle | None = None
        self._taken_timer: asyncio.TimerHandle | None = None
        self._answered = 0
        self._body: StreamReader | None = None  # of the newest request
        self._line: asyncio.Transport | None = None  # aiohttp forgets its own one when it closes it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connections.open += 1
        self._line = cast("asyncio.Transport", transport)
        super().connection_made(transport)  # it has the system ask idle connections, after two hours
        end_if_vanished(transport, ANSWER_S)
        self.heard_s = asyncio.get_running_loop().time()
        self.address = str((transport.get_extra_info("peername") or ("",))[0])
        if self._connections.is_full and not self._connections.make_room():
            self._connections.refused()
            self._end_with(_TOO_MANY)
            return
        if self._connections.is_ending:
            self.force_close()
            return
        self._expect_head()

    @property
    def is_idle(self) -> bool:
        """Whether no whole head has come that has no answer yet."""
        return not self._under_way and not self._messages

    @property
    def is_spare(self) -> bool:
        """Whether nothing is asked on it, and its caller has taken all answers."""
        return self.is_idle and not self._is_untaken

    def close_if_idle(self) -> None:
        """Close it unless it is asked something."""
        if self.is_idle:
            self.force_close()

    def leave(self) -> None:
        """Make room for another one."""
        self.is_leaving = True
        self._leave()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.open -= 1
        self._connections.leaving -= self.is_leaving
        self._head_came()
        self._stop_unread_timer()
        if self._taken_timer is not None:
            self._taken_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.heard_s = asyncio.get_running_loop().time()
        is_of_body = self._body is not None and not self._body.is_eof()
        super().data_received(data)
        if self._messages:  # a whole head; most come in one piece, and no timer is made for them
            self._head_came()
            self._body = self._messages[-1][1]
        elif data and not is_of_body and not self._under_way and self._head_timer is None:
            self._expect_head()

    def pause_writing(self) -> None:
        """The caller does not take what is sent.  If that goes on, it is left."""
        super().pause_writing()
        if self._unread_timer is None:
            self._unread_timer = asyncio.get_running_loop().call_later(ANSWER_S, self._leave)

    def resume_writing(self) -> None:
        """The caller takes its answers again."""
        self._stop_unread_timer()
        super().resume_writing()

    async def _handle_request(self, request: Any, start_time: Any, request_handler: Any) -> Any:
        self._head_came()
        self._under_way = True
        self._connections.begins()
        try:
            return await super()._handle_request(request, start_time, request_handler)
        finally:
            self._under_way = False
            self._answered += 1
            self.heard_s = asyncio.get_running_loop().time()
            self._expect_taken()
            self._connections.ends()
            if self._connections.is_ending:
                self.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is not HTTP, or too long."""
        text = (message or "").partition("\n")[0][:200] or "not HTTP"
        refusal = HttpRefusal(status, "BAD_REQUEST" if status < 500 else "INTERNAL", text)
        answer = problem_answer(refusal, "")
        answer.force_close()
        return answer

    def _expect_head(self) -> None:
        self._head_timer = asyncio.get_running_loop().call_later(HEAD_S, self._give_up)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        self._end_with(_TOO_SLOW)

    def _end_with(self, answer: bytes) -> None:
        if self.transport is not None:
            self.transport.write(answer)
            self._expect_taken()
        self.force_close()

    @property
    def _is_untaken(self) -> bool:
        return self._line is not None and self._line.get_write_buffer_size() > 0

    def _expect_taken(self) -> None:
        """What is too little to pause the transport is told by nobody, and closing would wait for it."""
        if self._taken_timer is None and self._is_untaken:
            loop = asyncio.get_running_loop()
            self._taken_timer = loop.call_later(ANSWER_S, self._check_taken, self._answered)

    def _check_taken(self, answered: int) -> None:
        self._taken_timer = None
        if answered != self._answered:
            self._expect_taken()  # it may be of a later answer
        elif self._is_untaken:
            self._leave()

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _leave(self) -> None:
        self._unread_timer = None
        if self._line is not None:
            self._line.abort()  # else what is buffered would wait for the caller


def _last_answer(status: int, code: str, text: str) -> bytes:
    """An error that is sent before there is a request, so that there is no id of one."""
    body = json.dumps(problem_document(HttpRefusal(status, code, text))) + "\n"
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {PROBLEM_TYPE}\r\n"
    return f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


_TOO_MANY: Final = _last_answer(503, "TOO_MANY_CONNECTIONS", "too many connections")
_TOO_SLOW: Final = _last_answer(408, "HEAD_TOO_SLOW", f"no request came within {HEAD_S:g} s")
