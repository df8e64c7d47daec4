"""Loads all commands into the one table (command_spec.py)."""

from __future__ import annotations

import importlib
from typing import Final

__all__ = ["load_commands"]

_MODULES: Final = (
    "bit_fields",
    "bits",
    "connection_commands",
    "connections.client_commands",
    "connections.transactions",
    "copying",
    "database_commands",
    "generic_keys",
    "hashes",
    "lists",
    "refused_commands",
    "server_commands",
    "sets",
    "sorted_sets.combined",
    "sorted_sets.ranges",
    "sorted_sets.scored_members",
    "strings",
)


def load_commands() -> None:
    """Register every command, once in a process."""
    for name in _MODULES:
        importlib.import_module(f"ringmill.client.gateway.redis.commands.{name}")
