"""Checks the type and limits of each argument before anything is allocated or sent.

Every public method of the client comes through here first.  A refusal is InvalidArgument; it names the
argument, what was given and what is accepted.  Pure: no connection, no messages.  The limits are in
cluster/limits.py; the node checks them again.
"""

from __future__ import annotations

import numbers
import os
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final, Literal, TypeAlias

from ringmill.client.routing.balancing import POLICIES, BalanceName
from ringmill.client.values import CausalContext
from ringmill.cluster.access.client_token import client_token
from ringmill.cluster.access.cluster_secret import LONGEST_SECRET, cluster_secret
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import (
    MAX_CONTEXT_BYTES,
    MAX_KEY_BYTES,
    MAX_REDUCERS,
    MAX_TIMEOUT_S,
    MAX_TOTAL,
    MAX_TTL_MS,
    MAX_VALUE_BYTES,
    MAX_WEIGHT,
)
from ringmill.cluster.mapreduce.file_urls import input_of, is_url, path_of
from ringmill.cluster.wire.offers import CARRIERS, CarrierName

__all__ = [
    "ContextLike",
    "Durability",
    "Endpoints",
    "Inputs",
    "Key",
    "Level",
    "PathLike",
    "Seconds",
    "Value",
    "checked_amount",
    "checked_bound",
    "checked_context",
    "checked_durability",
    "checked_endpoints",
    "checked_entry",
    "checked_flag",
    "checked_key",
    "checked_level",
    "checked_most",
    "checked_name",
    "checked_params",
    "checked_path",
    "checked_paths",
    "checked_patience_s",
    "checked_reducers",
    "checked_session_token",
    "checked_timeout_s",
    "checked_tls",
    "checked_token",
    "checked_transport",
    "checked_ttl_ms",
    "checked_value",
    "checked_whole",
    "checked_weight",
    "durability_named",
    "level_named",
]

Key: TypeAlias = str | bytes | bytearray | memoryview
Value: TypeAlias = bytes | bytearray | memoryview
Level: TypeAlias = int | Literal["one", "quorum", "all"]
Durability: TypeAlias = Literal["synced", "buffered", "memory", "sync"]
Seconds: TypeAlias = float | timedelta
ContextLike: TypeAlias = CausalContext | str
Endpoints: TypeAlias = str | Iterable[str]
PathLike: TypeAlias = str | os.PathLike[str]
Inputs: TypeAlias = PathLike | Iterable[PathLike] | Mapping[str, PathLike | Iterable[PathLike]]

LEVEL_LIMIT: Final = 1000
MAX_PATIENCE_S: Final = 30 * 86400.0
SHOWN_CHARS: Final = 40

_LEVELS: Final[dict[str, Level]] = {"one": "one", "quorum": "quorum", "all": "all"}
# Requests carry "sync" for "synced"; callers may still say "sync", which older releases documented.
_DURABILITIES: Final[dict[str, Durability]] = {
    "synced": "sync",
    "sync": "sync",
    "buffered": "buffered",
    "memory": "memory",
}
_ENDPOINT: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", re.ASCII)
_TOKEN: Final = re.compile(r"[!-~]*", re.ASCII)


def checked_key(key: Key) -> bytes:
    """The key in bytes, 1 to 1,024 of them; a str is encoded as UTF-8."""
    if type(key) is bytes and 0 < len(key) <= MAX_KEY_BYTES:
        return key
    if isinstance(key, str):
        _check_size("key", len(key), MAX_KEY_BYTES, "put the long part into the value")
        data = _utf8("key", key)
    else:
        size = _size_of("key", key, "str or bytes")
        _check_size("key", size, MAX_KEY_BYTES, "put the long part into the value")
        data = bytes(key)
    if not data:
        raise InvalidArgument("key is empty", hint=f"a key has 1 to {MAX_KEY_BYTES} bytes")
    _check_size("key", len(data), MAX_KEY_BYTES, "put the long part into the value")
    return data


def checked_bound(name: str, key: Key | None) -> bytes:
    """A key, or the beginning of keys, that bounds a scan; empty for none."""
    if key is None:
        return b""
    data = _utf8(name, key) if isinstance(key, str) else key
    size = _size_of(name, data, "str or bytes")
    _check_size(name, size, MAX_KEY_BYTES, "no key is longer")
    return bytes(data)


def checked_most(name: str, most: int | None) -> int | None:
    """A number of items; None for all of them."""
    if most is None:
        return None
    if not isinstance(most, int) or isinstance(most, bool):
        raise _mistyped(name, most, "an int, or None for all")
    if most < 0:
        raise InvalidArgument(f"{name} is {_shown(most)}; it must not be below 0")
    return most


def checked_value(value: Value) -> bytes:
    """The bytes of a value."""
    if type(value) is bytes and len(value) <= MAX_VALUE_BYTES:
        return value
    hint = "encode a str first: value.encode()" if isinstance(value, str) else ""
    size = _size_of("value", value, "bytes", hint)
    _check_size("value", size, MAX_VALUE_BYTES, "split it over several keys")
    return bytes(value)


def checked_entry(entry: Value | str) -> bytes:
    """The element of a set or the name of a map's entry in bytes, 1 to 1,024 of them."""
    data = _utf8("entry", entry) if isinstance(entry, str) else entry
    size = _size_of("entry", data, "str or bytes")
    if not size:
        raise InvalidArgument("entry is empty", hint=f"an entry has 1 to {MAX_KEY_BYTES} bytes")
    _check_size("entry", size, MAX_KEY_BYTES, "put the long part into the value of a map")
    return bytes(data)


def checked_amount(amount: int) -> int:
    """What is added to a counter: not 0, and no more than 64 bits hold."""
    if type(amount) is not int or not 0 < abs(amount) <= MAX_TOTAL:
        raise InvalidArgument(
            f"amount is {_shown(amount)}, need an int other than 0, at most {MAX_TOTAL} from 0"
        )
    return amount


def checked_whole(name: str, number: int, least: int, most: int, need: str) -> int:
    """A whole number within bounds; `need` says which."""
    if type(number) is not int or not least <= number <= most:
        raise InvalidArgument(f"{name} is {_shown(number)}: need {need}")
    return number


def checked_ttl_ms(ttl: Seconds | None) -> int:
    """A ttl in milliseconds; 0 for None, which means that the value does not expire."""
    if ttl is None:
        return 0
    hint = "at most 100 years; to remove the key now, delete it"
    return max(1, round(_seconds("ttl", ttl, MAX_TTL_MS / 1000, hint) * 1000))


def checked_lifetime_s(expires: Seconds | None) -> int:
    """For how long a token is in force, in whole seconds; 0 for None, which is forever."""
    if expires is None:
        return 0
    lifetime_s = _seconds("expires", expires, MAX_TTL_MS / 1000, "at most 100 years")
    return -int(-lifetime_s // 1)


def checked_timeout_s(timeout: Seconds) -> float:
    """The deadline of one request in seconds."""
    return _seconds("timeout", timeout, MAX_TIMEOUT_S, f"a request may take at most {MAX_TIMEOUT_S:.0f} s")


def checked_patience_s(patience: Seconds) -> float:
    """For how long a watch goes on while no node answers, in seconds."""
    return _seconds("patience", patience, MAX_PATIENCE_S, "at most 30 days")


def checked_context(context: ContextLike | None) -> CausalContext | None:
    """The context of a write: a CausalContext from a read, or its text."""
    if context is None or isinstance(context, CausalContext):
        parsed = context
    elif isinstance(context, str):
        parsed = CausalContext.parse(context)
    else:
        raise _mistyped(
            "context",
            context,
            "the CausalContext of a read or its text",
            "read the key and pass its item.context",
        )
    if parsed is not None:
        _check_size("context", len(parsed.token), MAX_CONTEXT_BYTES, "pass it unchanged from the read")
    return parsed


def checked_level(name: str, level: Level | None) -> str:
    """A level as requests carry it; "" for the keyspace's default.  `name` is "r" or "w"."""
    taken = f'"one", "quorum", "all" or a number from 1 to {LEVEL_LIMIT}'
    if level is None:
        return ""
    if isinstance(level, int) and not isinstance(level, bool):
        if not 1 <= level <= LEVEL_LIMIT:
            raise InvalidArgument(f"{name} is {_shown(level)}", hint=f"a level is {taken}")
        return str(int(level))
    if not isinstance(level, str):
        raise _mistyped(name, level, taken)
    named = level_named(level, name)
    return named if isinstance(named, str) else checked_level(name, named)


def level_named(text: str, name: str = "level") -> Level:
    """The level that `text` names, as a command line gives it: a word or decimal digits."""
    word = text.lower()
    if word in _LEVELS:
        return _LEVELS[word]
    if word.isascii() and word.isdecimal() and 1 <= len(word) <= 4:
        return int(word)
    raise InvalidArgument(
        f"{name} is {_shown(text)}, which is not a level",
        hint=f'a level is "one", "quorum", "all" or a number from 1 to {LEVEL_LIMIT}',
    )


def checked_durability(durability: Durability | None) -> str:
    """A durability as requests carry it, "" for the default."""
    if durability is None:
        return ""
    if not isinstance(durability, str):
        raise _mistyped("durability", durability, '"synced", "buffered" or "memory"')
    return durability_named(durability)


def durability_named(text: str) -> Durability:
    """The durability of that name, as requests carry it."""
    if text in _DURABILITIES:
        return _DURABILITIES[text]
    raise InvalidArgument(
        f"durability is {_shown(text)}, which is not known",
        hint='it is "synced" (the default), "buffered" or "memory"',
    )


def checked_name(name: str, value: str) -> str:
    """A str that names a keyspace, a job or a task."""
    if not isinstance(value, str):
        raise _mistyped(name, value, "a str")
    _check_size(name, len(value), MAX_KEY_BYTES, "")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{name} {_shown(value)} cannot be encoded as UTF-8") from None
    return value


def checked_flag(name: str, value: bool) -> bool:
    """A bool; a value that is only truthy, such as 1 or "yes", is refused."""
    if not isinstance(value, bool):
        raise _mistyped(name, value, "True or False")
    return value


def checked_transport(transport: CarrierName, *, session: bool) -> CarrierName:
    """What is to carry the requests of a session."""
    if transport not in CARRIERS:
        raise InvalidArgument(
            f"transport is {_shown(transport)}, which is not known", hint=f"one of {', '.join(CARRIERS)}"
        )
    if transport != "grpc" and not session:
        raise InvalidArgument(f"transport {transport} carries a session, and session is False")
    return transport


def checked_balance(balance: BalanceName) -> BalanceName:
    """Which owner of a key is asked first."""
    if balance not in POLICIES:
        raise InvalidArgument(
            f"balance is {_shown(balance)}, which is not known", hint=f"one of {', '.join(POLICIES)}"
        )
    return balance


def checked_endpoints(endpoints: Endpoints) -> list[str]:
    """Addresses "host:port", from one str with commas or from several strs."""
    if isinstance(endpoints, str):
        parts: list[object] = list(endpoints.split(","))
    elif isinstance(endpoints, Iterable) and not isinstance(
        endpoints, bytes | bytearray | memoryview | Mapping
    ):
        parts = list(endpoints)
    else:
        raise _mistyped("endpoints", endpoints, '"host:port,host:port" or a list of "host:port"')
    addresses = [address for part in parts if (address := _address(part))]
    if not addresses:
        raise InvalidArgument("no endpoint was given", hint='an endpoint is "host:port", e.g. 127.0.0.1:7101')
    return addresses


def checked_token(token: str) -> str:
    """The cluster's token, printable ASCII without spaces, or one of a client, whole.  Never shown.

    While the cluster's secret is rotated the token may have a second line.
    """
    if not isinstance(token, str):
        raise _mistyped("token", token, "a str")
    first, *others = token.split("\n")
    _check_size("token", len(first), LONGEST_SECRET, "it is the line of the cluster's token file")
    if not _TOKEN.fullmatch(first) or (others and cluster_secret(token).text != token):
        raise InvalidArgument(
            "token has characters that are not printable ASCII, or spaces",
            hint="it is what the cluster's token file holds, without the last line end",
        )
    client_token(token)  # raises for a damaged one
    return token


def checked_tls(ca: str, cert: str, key: str) -> None:
    """The paths of certificates: none, an authority's, or also a client's own and its key."""
    paths = {"tls_ca": ca, "tls_cert": cert, "tls_key": key}
    for name, path in paths.items():
        if not isinstance(path, str):
            raise _mistyped(name, path, "a str: the path of a file")
    if bool(cert) != bool(key) or (cert and not ca):
        missing = ", ".join(name for name, path in paths.items() if not path)
        raise InvalidArgument(f"{missing} missing: a client's certificate needs tls_ca, tls_cert and tls_key")


def checked_session_token(token: bytes) -> bytes:
    """What `session.token()` gave, in bytes."""
    if not isinstance(token, bytes | bytearray | memoryview):
        raise _mistyped("token", token, "the bytes that session.token() gave")
    return bytes(token)


def checked_reducers(reducers: int | None) -> int | None:
    """The number of part files of a job; None for the number that the job declares."""
    if reducers is None:
        return None
    if not isinstance(reducers, int) or isinstance(reducers, bool):
        raise _mistyped("reducers", reducers, f"an int from 0 to {MAX_REDUCERS}")
    if not 0 <= reducers <= MAX_REDUCERS:
        raise InvalidArgument(f"reducers is {_shown(reducers)}; it must be 0 to {MAX_REDUCERS}")
    return reducers


def checked_weight(weight: int) -> int:
    """The weight of a job's share of the slots."""
    if not isinstance(weight, int) or isinstance(weight, bool):
        raise _mistyped("weight", weight, f"an int from 1 to {MAX_WEIGHT}")
    if not 1 <= weight <= MAX_WEIGHT:
        raise InvalidArgument(f"weight is {_shown(weight)}; it must be 1 to {MAX_WEIGHT}")
    return weight


def checked_params(params: Mapping[str, str] | None, argument: str = "params") -> dict[str, str]:
    """Parameters of a job, or what else `argument` is: a str for each name."""
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        raise _mistyped(argument, params, "a mapping of str to str")
    for name, value in params.items():
        checked_name(f"a name in {argument}", name)
        if not isinstance(value, str):
            raise _mistyped(f"{argument}[{_shown(name)}]", value, "a str", "write numbers as str")
    return dict(params)


def checked_path(name: str, path: PathLike) -> str:
    """An absolute path on the file system that the nodes see; a relative one starts at the current folder.

    file:///PATH is that path; another URL is refused.
    """
    return os.path.abspath(path_of(name, _path_text(name, path)))


def _path_text(name: str, path: object) -> str:
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str):
        raise _mistyped(name, path, "a path: str or os.PathLike of str")
    if not text or "\0" in text:
        raise InvalidArgument(f"{name} is {_shown(text)}, which is not a path")
    return text


def checked_paths(name: str, paths: object) -> tuple[str, ...]:
    """One path or several to read, each absolute or a URL."""
    if isinstance(paths, str | os.PathLike):
        return (_checked_input(name, paths),)
    if not isinstance(paths, Iterable) or isinstance(paths, bytes | bytearray | memoryview | Mapping):
        raise _mistyped(name, paths, "a path, folder or glob, or several")
    return tuple(_checked_input(name, path) for path in paths)


def _checked_input(name: str, path: object) -> str:
    found = input_of(name, _path_text(name, path))
    return found if is_url(found) else os.path.abspath(found)


def _address(part: object) -> str:
    if not isinstance(part, str):
        raise _mistyped("an endpoint", part, 'a str "host:port"')
    address = part.strip()
    if not address:
        return ""
    match = _ENDPOINT.fullmatch(address)
    if match is None or not 0 < int(match[2]) < 65536:
        raise InvalidArgument(
            f"endpoint {_shown(address)} is not host:port",
            hint="write it without a scheme or path, e.g. 127.0.0.1:7101"
            if "/" in address
            else "e.g. 127.0.0.1:7101",
        )
    return address


def _seconds(name: str, given: Seconds, limit_s: float, hint: str) -> float:
    """A time span above 0 and at most `limit_s`; nan and inf are neither."""
    if isinstance(given, timedelta):
        span_s: float = given.total_seconds()
    elif isinstance(given, numbers.Real) and not isinstance(given, bool):
        span_s = given  # not converted yet: an int may be too large for a float
    else:
        raise _mistyped(name, given, "seconds as a number, or a timedelta")
    if not 0 < span_s <= limit_s:
        raise InvalidArgument(
            f"{name} is {_shown(given)} s; it must be above 0 and at most {limit_s:.0f} s",
            detail={"limit": limit_s},
            hint=hint,
        )
    return float(span_s)


def _size_of(name: str, data: object, taken: str, hint: str = "") -> int:
    """The size in bytes of a bytes-like value."""
    if isinstance(data, bytes | bytearray):
        return len(data)
    if isinstance(data, memoryview):
        try:
            return data.nbytes
        except ValueError:
            raise InvalidArgument(f"{name} is a released memoryview") from None
    raise _mistyped(name, data, taken, hint)


def _check_size(name: str, size: int, limit: int, hint: str) -> None:
    if size > limit:
        raise InvalidArgument(
            f"{name} has {size} bytes, the limit is {limit}",
            detail={"limit": limit, "size": size},
            hint=hint,
        )


def _utf8(name: str, text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidArgument(f"{name} {_shown(text)} cannot be encoded as UTF-8") from None


def _mistyped(name: str, given: object, taken: str, hint: str = "") -> InvalidArgument:
    return InvalidArgument(f"{name} is of type {type(given).__name__}; it must be {taken}", hint=hint)


def _shown(value: object) -> str:
    """A short form of any value, for an error message."""
    if isinstance(value, int) and value.bit_length() > 100:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value[: SHOWN_CHARS + 1] if isinstance(value, str) else value)
    return text if len(text) <= SHOWN_CHARS + 2 else f"{text[:SHOWN_CHARS]}…"
