"""Tables of services whose methods are counted: what comes over gRPC as one call, and not in a frame.

Frames are counted where they are answered (cluster/adapters/network/answering.py).  A stream counts once it
has ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from ringmill.cluster.meters.request_meter import RequestMeter
from ringmill.cluster.ports import Clock
from ringmill.node.services.table import Call, Method, Service, Stream, Unary, Upload

__all__ = ["metered"]


def metered(tables: Iterable[Service], meter: RequestMeter, clock: Clock) -> tuple[Service, ...]:
    """These services, with each call counted when it ends."""
    return tuple(
        Service(
            service.name,
            {
                name: _metered(method, _Counted(f"{service.name}/{name}", meter, clock))
                for name, method in service.methods.items()
            },
        )
        for service in tables
    )


class _Counted:
    def __init__(self, name: str, meter: RequestMeter, clock: Clock) -> None:
        self._name = name
        self._meter = meter
        self._clock = clock

    @contextmanager
    def call(self) -> Iterator[None]:
        begun = self._clock.monotonic()
        try:
            yield
        except BaseException as error:
            self._meter.failed(self._name, error, self._clock.monotonic() - begun)
            raise
        self._meter.done(self._name, self._clock.monotonic() - begun)


def _metered(method: Method, counted: _Counted) -> Method:
    if isinstance(method, Unary):
        return _unary(method, counted)
    return _upload(method, counted) if isinstance(method, Upload) else _stream(method, counted)


def _unary(method: Unary, counted: _Counted) -> Unary:
    async def run(body: bytes, call: Call) -> bytes:
        with counted.call():
            return await method.run(body, call)

    return replace(method, run=run)


def _upload(method: Upload, counted: _Counted) -> Upload:
    async def run(bodies: AsyncIterator[bytes], call: Call) -> bytes:
        with counted.call():
            return await method.run(bodies, call)

    return Upload(run)


def _stream(method: Stream, counted: _Counted) -> Stream:
    async def run(body: bytes, call: Call) -> AsyncIterator[bytes]:
        with counted.call():
            async for each in method.run(body, call):
                yield each

    return Stream(run)
