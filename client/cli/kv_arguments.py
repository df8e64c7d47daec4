"""What the key-value verbs take: keys and values as bytes, contexts, levels."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import click

from client.arguments import Durability, Level, durability_named, level_named
from client.values import EMPTY, CausalContext
from cluster.errors import InvalidArgument

__all__ = ["context_of", "key_of", "keyspace_option", "levels_of", "shown_key", "value_of"]

Verb = TypeVar("Verb", bound=Callable[..., object])


def keyspace_option(verb: Verb) -> Verb:
    """--keyspace and --hex, which every key-value verb has."""
    verb = click.option("--hex", "is_hex", is_flag=True, help="key (and value) are hexadecimal digits")(verb)
    return click.option("--keyspace", default="default", metavar="NAME", help="where the key lives")(verb)


def key_of(text: str, is_hex: bool) -> bytes:
    """The key's bytes.  Raises InvalidArgument for bad hexadecimal."""
    return _from_hex("key", text) if is_hex else text.encode("utf-8", "surrogateescape")


def shown_key(key: bytes) -> str:
    """A key for people's eyes."""
    return key.decode("utf-8", "backslashreplace")


def value_of(text: str | None, file: str | None, is_hex: bool) -> bytes:
    """The value's bytes: the argument, `-` for stdin, or --file.

    Raises InvalidArgument when there is none or more than one, or for bad hexadecimal.
    """
    if (text is None) == (file is None):
        raise InvalidArgument(
            "name one value: VALUE, - for stdin, or --file PATH",
            hint="ringmill put greeting hello",
        )
    if file is not None:
        with open(file, "rb") as source:
            return source.read()
    assert text is not None
    if text == "-":
        return sys.stdin.buffer.read()
    return _from_hex("value", text) if is_hex else text.encode("utf-8", "surrogateescape")


def context_of(token: str | None, no_context: bool) -> CausalContext | None:
    """The context that the flags name.  Raises InvalidArgument when both are given, or for a bad token."""
    if token is not None and no_context:
        raise InvalidArgument("--context and --no-context exclude each other")
    if no_context:
        return EMPTY
    return None if token is None else CausalContext.parse(token)


def levels_of(w: str | None, durability: str) -> tuple[Level | None, Durability]:
    """The levels that the flags of a write name.  Raises InvalidArgument."""
    return None if w is None else level_named(w, "w"), durability_named(durability)


def _from_hex(what: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise InvalidArgument(f"the {what} is not hexadecimal: {error}") from error
