"""Tables of services in which each method first asks who calls and whether that one may.

Rule F8: docs/protocol/requests.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from ringmill.cluster.access.callers import Caller
from ringmill.node.services.access.access_control import AccessControl
from ringmill.node.services.table import Call, Method, Service, Stream, Unary, Upload

__all__ = ["CallerOf", "guarded", "row_name"]

CallerOf: TypeAlias = Callable[[Mapping[str, str], str], Caller]
"""Who makes a call with these texts of the method at this path.  Raises PermissionDenied, Unavailable."""


def guarded(tables: Iterable[Service], control: AccessControl, caller_of: CallerOf) -> tuple[Service, ...]:
    """Services whose methods first check the caller: they raise PermissionDenied with nothing done."""
    return tuple(
        Service(
            service.name,
            {
                name: _guarded(method, service.name, name, control, caller_of)
                for name, method in service.methods.items()
            },
        )
        for service in tables
    )


def row_name(service: str, method: str) -> str:
    """The name of a method in the table of roles: "Kv/Put" of "ringmill.v1.Kv" and "Put"."""
    return f"{service.rpartition('.')[2]}/{method}"


def _guarded(method: Method, service: str, name: str, control: AccessControl, caller_of: CallerOf) -> Method:
    path, row = f"/{service}/{name}", row_name(service, name)

    def check(call: Call) -> None:
        control.check(caller_of(call.metadata, path), row)

    if isinstance(method, Unary):
        return _unary(method, check)
    return _upload(method, check) if isinstance(method, Upload) else _stream(method, check)


def _unary(method: Unary, check: Callable[[Call], None]) -> Unary:
    async def run(body: bytes, call: Call) -> bytes:
        check(call)
        return await method.run(body, call)

    return replace(method, run=run)


def _upload(method: Upload, check: Callable[[Call], None]) -> Upload:
    async def run(bodies: AsyncIterator[bytes], call: Call) -> bytes:
        check(call)
        return await method.run(bodies, call)

    return Upload(run)


def _stream(method: Stream, check: Callable[[Call], None]) -> Stream:
    async def run(body: bytes, call: Call) -> AsyncIterator[bytes]:
        check(call)
        async for each in method.run(body, call):
            yield each

    return Stream(run)
