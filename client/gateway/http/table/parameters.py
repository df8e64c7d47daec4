"""Parameters of requests: each with its name, its schema, what it means, and how its text is read.

They are part of the table of routes: what reads a parameter and what the OpenAPI document says of it is one
declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ringmill.client.arguments import durability_named, level_named
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MAX_KEY_BYTES, MAX_TIMEOUT_S, MAX_TTL_MS
from ringmill.cluster.wire.token_text import parsed_token

__all__ = [
    "AFTER", "AMOUNT", "CURSOR", "DURABILITY", "DURATION", "ELEMENT", "ELEMENT_B64", "END", "ENTRY",
    "ENTRY_B64", "EXPECT", "EXPECT_B64", "FROM_NOW", "IDEMPOTENCY_KEY", "JOB_KEY",
    "IF_MATCH", "IF_NONE_MATCH", "KEYS_ONLY", "KEY_B64", "LAST_EVENT_ID", "LIMIT", "OWNER", "PREFIX",
    "PREFIX_B64", "Parameter", "R", "SIBLING", "START", "TASK", "TIMEOUT", "TTL", "UNPACKED", "W", "WAIT",
    "as_flag", "as_number", "as_text", "as_token", "as_whole_number", "read_query",
]  # fmt: skip

Schema = Mapping[str, Any]
SHORTEST_TIMEOUT_S: Final = 0.1
"""Below it nothing can be done, and an error would blame the cluster."""

SHORTEST_LEASE_S: Final = 3
"""A holder learns from its stream that a lease is lost: below it signs of life would have to come faster."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.  `read` makes its value of its name and text, and raises InvalidArgument.

    Headers are only declared: their handlers read them.
    """

    name: str
    description: str
    schema: Schema
    read: Callable[[str, str], Any]
    place: Literal["query", "header"] = "query"
    is_required: bool = False


def as_text(_: str, given: str) -> str:
    """The text as it is."""
    return given


def as_token(name: str, given: str) -> bytes:
    """Bytes in base64url, with or without padding."""
    try:
        return parsed_token(given.rstrip("="))
    except InvalidArgument as error:
        raise InvalidArgument(f"{name} is {error.message}") from error


def as_number(name: str, given: str) -> float:
    """A number, such as seconds.  Its bounds are checked where it is used."""
    try:
        return float(given)
    except ValueError:
        raise InvalidArgument(f"{name} is {given[:40]!r}, need a number, as 2.5") from None


def as_whole_number(name: str, given: str) -> int:
    """An int in decimal digits."""
    digits = given.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 19):
        raise InvalidArgument(f"{name} is {given[:40]!r}, need a whole number")
    return int(given)


def as_flag(name: str, given: str) -> bool:
    """true or false; 1 and 0 are the same."""
    found = {"true": True, "1": True, "false": False, "0": False}.get(given)
    if found is None:
        raise InvalidArgument(f"{name} is {given[:40]!r}, need true or false")
    return found


def read_query(parameters: Sequence[Parameter], given: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The values of what the query of a request names.

    Raises InvalidArgument for a parameter that the route does not have, and for one that comes twice.
    """
    if not given:
        return {}
    known = {each.name: each for each in parameters if each.place == "query"}
    values: dict[str, Any] = {}
    for name, text in given:
        parameter = known.get(name)
        if parameter is None:
            raise InvalidArgument(
                f"there is no parameter {name[:40]!r} here",
                hint=f"there are: {', '.join(known) or 'none'}",
            )
        if name in values:
            raise InvalidArgument(f"{name} is given twice")
        values[name] = parameter.read(name, text)
    return values


def _level(name: str, given: str) -> Any:
    return level_named(given, name)


def _timeout(name: str, given: str) -> float:
    timeout_s = as_number(name, given)
    if timeout_s < SHORTEST_TIMEOUT_S:
        raise InvalidArgument(f"{name} is {given[:40]}, the least is {SHORTEST_TIMEOUT_S:g} s")
    return timeout_s


def _wait(name: str, given: str) -> float:
    wait_s = as_number(name, given)
    if not 0 <= wait_s <= 3600:
        raise InvalidArgument(f"{name} is {given[:40]}; it must be 0 to 3600 seconds")
    return wait_s


def _duration(name: str, given: str) -> float:
    duration_s = as_number(name, given)
    if not duration_s >= SHORTEST_LEASE_S:
        raise InvalidArgument(
            f"{name} is {given[:40]}; a lease over HTTP lasts at least {SHORTEST_LEASE_S:g} s"
        )
    return duration_s


def _durability(_: str, given: str) -> Any:
    return durability_named(given)


_LEVEL: Final = {"type": "string", "pattern": "^(one|quorum|all|[1-9][0-9]?)$"}
_BASE64URL: Final = {"type": "string", "pattern": "^[A-Za-z0-9_-]*={0,2}$"}
_BOUND: Final = {"type": "string", "maxLength": MAX_KEY_BYTES}

R = Parameter("r", 'Owners that must answer: "one", "quorum", "all" or a number.', _LEVEL, _level)
W = Parameter("w", 'Owners that must ack: "one", "quorum", "all" or a number.', _LEVEL, _level)
TIMEOUT = Parameter(
    "timeout",
    "Seconds after which the request is given up; for a write the outcome is then unknown.",
    {"type": "number", "minimum": SHORTEST_TIMEOUT_S, "maximum": MAX_TIMEOUT_S},
    _timeout,
)
TTL = Parameter(
    "ttl",
    "Seconds after which the value expires.",
    {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TTL_MS // 1000},
    as_number,
)
DURABILITY = Parameter(
    "durability",
    "What an owner does before it acks.",
    {"type": "string", "enum": ["synced", "buffered", "memory"]},
    _durability,
)
SIBLING = Parameter(
    "sibling",
    "Only this one of several siblings, 1 for the newest.",
    {"type": "integer", "minimum": 1},
    as_whole_number,
)
KEY_B64 = Parameter(
    "key_b64",
    "The key in base64url, in place of the last segment of the path, which is empty then.",
    _BASE64URL,
    as_token,
)
PREFIX = Parameter("prefix", "Only keys that begin with this.", _BOUND, as_text)
PREFIX_B64 = Parameter("prefix_b64", "The same in base64url.", _BASE64URL, as_token)
START = Parameter("start", "Only keys from this one on.", _BOUND, as_text)
END = Parameter("end", "Only keys before this one.", _BOUND, as_text)
LIMIT = Parameter("limit", "At most this number of keys.", {"type": "integer", "minimum": 0}, as_whole_number)
KEYS_ONLY = Parameter("keys_only", "Leave out the values.", {"type": "boolean"}, as_flag)
CURSOR = Parameter(
    "cursor", "Go on where another scan ended; it knows its prefix and range.", {"type": "string"}, as_text
)
AFTER = Parameter(
    "after",
    "With text/event-stream: go on after this context of a key, or this cursor of a prefix.",
    {"type": "string"},
    as_text,
)
FROM_NOW = Parameter(
    "from_now",
    "With text/event-stream: skip what the keys of a prefix hold already.",
    {"type": "boolean"},
    as_flag,
)
AMOUNT = Parameter("amount", "What is added; may be negative.", {"type": "integer"}, as_whole_number)
EXPECT = Parameter("expect", "The value that the register has to hold, as text.", {"type": "string"}, as_text)
EXPECT_B64 = Parameter("expect_b64", "The same in base64url.", _BASE64URL, as_token)

ELEMENT = Parameter("element", "An element of the set, as text.", {"type": "string"}, as_text)
ELEMENT_B64 = Parameter("element_b64", "The same in base64url.", _BASE64URL, as_token)
ENTRY = Parameter("entry", "The name of an entry of the map, as text.", {"type": "string"}, as_text)
ENTRY_B64 = Parameter("entry_b64", "The same in base64url.", _BASE64URL, as_token)
TASK = Parameter("task", 'Only this task, as "map-3".', {"type": "string", "maxLength": 200}, as_text)
UNPACKED = Parameter(
    "unpacked", "The content of a part file whose name ends with .gz or .zst.", {"type": "boolean"}, as_flag
)

OWNER = Parameter(
    "owner", "Shown to people who read the register.", {"type": "string", "maxLength": 200}, as_text
)
DURATION = Parameter(
    "duration",
    "Seconds for which others wait for a holder that has vanished; 6 unless it is given. A caller whose "
    "machine is gone has vanished once nothing was acknowledged for as long, for 15 seconds at most.",
    {"type": "number", "minimum": SHORTEST_LEASE_S, "maximum": MAX_TIMEOUT_S},
    _duration,
)
WAIT = Parameter(
    "wait",
    "Seconds to wait for a lease that another one holds. The answer begins after 15 of them.",
    {"type": "number", "minimum": 0, "maximum": 3600},
    _wait,
)

IF_MATCH = Parameter(
    "If-Match",
    "The ETag of a read: replace what that read returned.",
    {"type": "string"},
    as_text,
    "header",
)
IF_NONE_MATCH = Parameter(
    "If-None-Match",
    "On a read, an ETag: 304 when the key still has it. On a write, *: see the description of the route.",
    {"type": "string"},
    as_text,
    "header",
)
LAST_EVENT_ID = Parameter(
    "Last-Event-ID",
    "With text/event-stream: the id of the last event that was seen.",
    {"type": "string"},
    as_text,
    "header",
)
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "A name of this write, 1 to 200 printable characters: sent again with the same name it is done once.",
    {"type": "string", "minLength": 1, "maxLength": 200},
    as_text,
    "header",
)
JOB_KEY = Parameter(
    IDEMPOTENCY_KEY.name,
    "A name of this submission, 1 to 200 printable characters: the id of the job follows from it and from "
    "the NAME of the target, so that it is the same job when it is sent again, as long as the cluster keeps "
    "it: the last 100 jobs that have ended, in 128 KiB.",
    IDEMPOTENCY_KEY.schema,
    as_text,
    "header",
)
