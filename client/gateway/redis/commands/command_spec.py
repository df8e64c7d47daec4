"""What the gateway knows of a command: how it is called, which keys it has, and what does it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply
from ringmill.client.gateway.redis.store.key_queues import Change
from ringmill.client.gateway.redis.store.typed_values import Entry
from ringmill.cluster.ports import Entropy

__all__ = [
    "COMMANDS", "KeyCall", "CommandSpec", "Parts", "each_key", "for_connection", "one_key",
    "syntax_error", "waiting_command",
]  # fmt: skip


@dataclass(slots=True)
class KeyCall:
    """A command on one key: what follows the key among its arguments, and what the key holds."""

    args: Sequence[bytes]
    entry: Entry
    now_ms: int
    version: int
    entropy: Entropy


@dataclass(frozen=True, slots=True)
class Parts:
    """A command on several keys: what is done with each, and the reply that all of theirs make.

    Each key is changed by itself: others may see some changed and some not.
    """

    changes: Sequence[tuple[bytes, Change]]
    combine: Callable[[Sequence[Any]], Reply]


OneKey: TypeAlias = Callable[[KeyCall], Reply]
EachKey: TypeAlias = Callable[[Sequence[bytes], int], Parts]
ForConnection: TypeAlias = Callable[[Any, Sequence[bytes]], Reply]
Waiting: TypeAlias = Callable[[Any, Sequence[bytes]], Coroutine[Any, Any, Reply]]


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """`arity` counts the name; negative: at least as many.  Keys are every `step`-th argument from
    `first_key` to `last_key`, which counts from the end when it is negative; 0: none."""

    name: str
    arity: int
    flags: tuple[str, ...]
    first_key: int
    last_key: int
    step: int
    about: str
    one_key: OneKey | None = None
    each_key: EachKey | None = None
    for_connection: ForConnection | None = None
    waiting: Waiting | None = None
    """It begins when the former commands of its connection have ended, and later ones wait for it."""

    def fits(self, count: int) -> bool:
        """Whether it can have this number of arguments, its name included."""
        return count == self.arity if self.arity >= 0 else count >= -self.arity


COMMANDS: Final[dict[bytes, CommandSpec]] = {}
"""By name in capital letters.  command_table.py fills it."""


def one_key(name: str, arity: int, flags: str, *, key_at: int = 1) -> Callable[[OneKey], OneKey]:
    """Register what a command does with its only key, which is at that place among its arguments."""

    def register(run: OneKey) -> OneKey:
        _add(CommandSpec(name, arity, _flags(flags), key_at, key_at, 1, _about(run), one_key=run))
        return run

    return register


def each_key(
    name: str, arity: int, flags: str, *, last: int = -1, step: int = 1, first: int = 1
) -> Callable[[EachKey], EachKey]:
    """Register how a command on several keys is taken apart."""

    def register(run: EachKey) -> EachKey:
        _add(CommandSpec(name, arity, _flags(flags), first, last, step, _about(run), each_key=run))
        return run

    return register


def for_connection(name: str, arity: int, flags: str = "") -> Callable[[ForConnection], ForConnection]:
    """Register a command about the connection or the gateway, which is answered at once."""

    def register(run: ForConnection) -> ForConnection:
        _add(CommandSpec(name, arity, _flags(flags), 0, 0, 0, _about(run), for_connection=run))
        return run

    return register


def waiting_command(
    name: str, arity: int, flags: str = "", *, keys: tuple[int, int, int] = (0, 0, 0)
) -> Callable[[Waiting], Waiting]:
    """Register a command that asks the cluster about more than single keys.  `keys` are the first, the last
    and the step."""

    def register(run: Waiting) -> Waiting:
        _add(CommandSpec(name, arity, _flags(flags), *keys, _about(run), waiting=run))
        return run

    return register


def syntax_error() -> RedisError:
    """What Redis says of arguments that do not fit together."""
    return RedisError("ERR syntax error")


def _add(spec: CommandSpec) -> None:
    if spec.name.encode() in COMMANDS:
        raise ValueError(f"{spec.name} is registered twice")
    COMMANDS[spec.name.encode()] = spec


def _flags(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _about(run: Callable[..., Any]) -> str:
    return (run.__doc__ or "").strip().split("\n")[0]
