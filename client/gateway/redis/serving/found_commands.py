"""Which command a caller means, and where its key is."""

from __future__ import annotations

from typing import Final

from ringmill.client.gateway.redis.commands.command_spec import COMMANDS, CommandSpec
from ringmill.client.gateway.redis.protocol.command_parser import TooLargeCommand
from ringmill.client.gateway.redis.protocol.replies import RedisError
from ringmill.cluster.limits import MAX_VALUE_BYTES

__all__ = ["asks_cluster", "found_command", "place_of_key"]

_NAME_BYTES: Final = 128
_OF_THE_CONNECTION: Final = frozenset({"AUTH", "EXEC", "HELLO", "INFO", "QUIT", "RESET"})
"""A token counts where it is tried, and what EXEC does was counted when it was queued."""


def found_command(command: list[bytes]) -> tuple[CommandSpec, list[bytes]]:
    """The command and its arguments.  Raises RedisError when there is none, or the arguments are too few."""
    if isinstance(command, TooLargeCommand):
        raise RedisError(f"ERR an argument has {command.length} bytes, above the limit of {MAX_VALUE_BYTES}")
    name = command[0].upper()
    spec, args = COMMANDS.get(name), command[1:]
    if len(command) > 1 and (spec is None or not spec.fits(len(command))):
        subcommand = COMMANDS.get(name + b"|" + command[1].upper())
        spec, args = (spec, args) if subcommand is None else (subcommand, command[2:])
    if spec is None:
        raise RedisError(_unknown(command))
    if not spec.fits(len(command)):
        shown = spec.name.lower()
        raise RedisError(f"ERR wrong number of arguments for '{shown}' command")
    return spec, args


def asks_cluster(spec: CommandSpec) -> bool:
    """Whether the command counts as a request of its caller: not when it is about the connection or the
    gateway alone."""
    return spec.for_connection is None and spec.name not in _OF_THE_CONNECTION


def place_of_key(spec: CommandSpec) -> int:
    """Where the only key is among the arguments, which follow the name and the name of the subcommand."""
    return spec.first_key - (2 if "|" in spec.name else 1)


def _unknown(command: list[bytes]) -> str:
    name = command[0].upper() + b"|"
    texts = [one[:_NAME_BYTES].decode("utf-8", "backslashreplace") for one in command[:8]]
    if len(command) > 1 and any(known.startswith(name) for known in COMMANDS):
        return f"ERR unknown subcommand '{texts[1]}'. Try {texts[0].upper()} HELP."
    if any(known.startswith(name) for known in COMMANDS):
        return f"ERR wrong number of arguments for '{texts[0].lower()}' command"
    shown = " ".join(f"'{text}'" for text in texts[1:])
    return f"ERR unknown command '{texts[0]}', with args beginning with: {shown}{' ' if shown else ''}"
