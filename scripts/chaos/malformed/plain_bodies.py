"""Bodies of plain calls: messages of the right type with odd values, such messages spoilt, and rubbish.

Orders that an admin may give (who is a member, whether a token is required) get rubbish alone: given well,
they are no malformed messages, and the cluster would obey.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from random import Random
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from ringmill.cluster.wire import stubs

__all__ = ["PlainBodies", "plain_methods"]

_ORDERS: Final = ("Members/Change", "Members/Recover", "Members/ReplaceDisk", "Auth/Require")
_TEXTS: Final = (
    "",
    "n1",
    "n2",
    "default",
    "j-1",
    "x" * 300,
    "a\0b",
    "\u202e",
    "127.0.0.1:1",
    "0" * 16,
    "f" * 64,
)
_BYTES: Final = (b"", b"k", b"\0" * 4096, b"\x90", b"\xdd\x7f\xff\xff\xff", b"\x80" * 5000, b"\xff" * 16)
_DEPTH: Final = 3
_Draw = Callable[[Random], Any]
_DRAWN: Final[Mapping[int, _Draw]] = {
    FieldDescriptor.CPPTYPE_STRING: lambda draws: draws.choice(_TEXTS),
    FieldDescriptor.CPPTYPE_BOOL: lambda draws: draws.random() < 0.5,
    FieldDescriptor.CPPTYPE_ENUM: lambda draws: draws.choice((0, 1, 2, 99)),
    FieldDescriptor.CPPTYPE_INT32: lambda draws: draws.choice((0, 1, -1, -(1 << 31), (1 << 31) - 1)),
    FieldDescriptor.CPPTYPE_INT64: lambda draws: draws.choice((0, 1, -1, -(1 << 63), (1 << 63) - 1)),
    FieldDescriptor.CPPTYPE_UINT32: lambda draws: draws.choice((0, 1, 1000, 1 << 31, (1 << 32) - 1)),
    FieldDescriptor.CPPTYPE_UINT64: lambda draws: draws.choice((0, 1, 1000, 1 << 63, (1 << 64) - 1)),
    FieldDescriptor.CPPTYPE_FLOAT: lambda draws: draws.choice((0.0, -1.0, float("inf"), float("nan"))),
    FieldDescriptor.CPPTYPE_DOUBLE: lambda draws: draws.choice((0.0, -1.0, 1e308, float("nan"))),
}


def plain_methods() -> dict[str, type[Message]]:
    """The gRPC paths of all services of a node, each with the type of its request."""
    found: dict[str, type[Message]] = {}
    for module in pkgutil.iter_modules(stubs.__path__):
        if not module.name.endswith("_pb2"):
            continue
        made: Any = import_module(f"{stubs.__name__}.{module.name}")
        for service in made.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                found[f"/{service.full_name}/{method.name}"] = GetMessageClass(method.input_type)
    return dict(sorted(found.items()))


class PlainBodies:
    """Draws bodies, from a seed."""

    def __init__(self, seed: int) -> None:
        self._methods = plain_methods()
        self._paths = list(self._methods)
        self._draws = Random(seed)

    def one(self) -> tuple[str, bytes]:
        """A path and a body for it."""
        draws, path = self._draws, self._draws.choice(self._paths)
        if path.endswith(_ORDERS) or draws.random() < 0.2:
            return path, draws.randbytes(draws.randrange(200))
        body = _odd(self._methods[path], draws, _DEPTH).SerializeToString()
        if body and draws.random() < 0.4:
            at = draws.randrange(len(body))
            flipped = bytes([body[at] ^ (1 << draws.randrange(8))])
            body = draws.choice((body[:at], body[:at] + flipped + body[at + 1 :]))
        return path, body


def _odd(kind: type[Message], draws: Random, depth: int) -> Message:
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        if draws.random() < 0.3:
            continue
        count = draws.randrange(4) if field.is_repeated else 1
        for _ in range(count):
            _set(message, field, draws, depth)
    return message


def _set(message: Any, field: Any, draws: Random, depth: int) -> None:
    held = getattr(message, field.name)
    if field.message_type is None:
        draw = _DRAWN[field.cpp_type]
        value = draws.choice(_BYTES) if field.type == FieldDescriptor.TYPE_BYTES else draw(draws)
        if field.is_repeated:
            held.append(value)
        else:
            setattr(message, field.name, value)
    elif depth and not field.message_type.GetOptions().map_entry:
        inner = _odd(GetMessageClass(field.message_type), draws, depth - 1)
        (held.add() if field.is_repeated else held).CopyFrom(inner)
