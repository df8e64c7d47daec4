"""Which command a line of words means."""

from __future__ import annotations

import pytest

from ringmill.client.gateway.redis.commands.command_table import load_commands
from ringmill.client.gateway.redis.protocol.replies import RedisError
from ringmill.client.gateway.redis.serving.found_commands import found_command

load_commands()


@pytest.mark.parametrize(
    ("line", "name", "arguments"),
    [
        ("get a", "GET", ["a"]),
        ("COMMAND", "COMMAND", []),
        ("command count", "COMMAND|COUNT", []),
        ("Command Docs get", "COMMAND|DOCS", ["get"]),
        ("object encoding a", "OBJECT|ENCODING", ["a"]),
        ("client reply off", "CLIENT|REPLY", ["off"]),
    ],
)
def test_a_command_is_found_with_its_subcommand(line: str, name: str, arguments: list[str]) -> None:
    spec, args = found_command(line.encode().split())
    assert (spec.name, args) == (name, [each.encode() for each in arguments])


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("get", "wrong number of arguments for 'get' command"),
        ("nonesuch a", "unknown command 'nonesuch', with args beginning with: 'a'"),
        ("object nonesuch a", "unknown subcommand 'nonesuch'. Try OBJECT HELP."),
        ("client", "wrong number of arguments for 'client' command"),
    ],
)
def test_an_unknown_command_is_refused_in_the_words_of_redis(line: str, error: str) -> None:
    with pytest.raises(RedisError, match=error):
        found_command(line.encode().split())
