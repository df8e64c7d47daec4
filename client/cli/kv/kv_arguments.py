"""Arguments of the key-value verbs: keys and values as bytes, contexts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import BinaryIO, TypeVar

import click

from ringmill.client.values import EMPTY, CausalContext
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MAX_VALUE_BYTES

__all__ = ["context_of", "key_of", "keyspace_option", "value_of"]

_PIECE_BYTES = 1 << 20

Verb = TypeVar("Verb", bound=Callable[..., object])


def keyspace_option(verb: Verb) -> Verb:
    """--keyspace and --hex, which every key-value verb has."""
    verb = click.option(
        "--hex", "is_hex", is_flag=True, help="KEY (and VALUE) are written in hexadecimal digits"
    )(verb)
    return click.option(
        "--keyspace", default="default", metavar="NAME", help="keyspace of the key  [default]"
    )(verb)


def key_of(text: str, is_hex: bool) -> bytes:
    """The key's bytes.  Raises InvalidArgument for bad hexadecimal."""
    return _from_hex("key", text) if is_hex else text.encode("utf-8", "surrogateescape")


def value_of(text: str | None, file: str | None, is_hex: bool) -> bytes:
    """The bytes of the value: from the argument, from stdin (`-`) or from --file.

    Raises InvalidArgument when there is no value or more than one, when it cannot be read, when it is longer
    than any cluster accepts, and for bad hexadecimal.
    """
    if (text is None) == (file is None):
        raise InvalidArgument(
            "give one value: VALUE, - for stdin, or --file PATH",
            hint="ringmill put greeting hello",
        )
    if file is not None:
        try:
            with open(file, "rb") as source:
                return _bounded(source)
        except (OSError, ValueError) as error:
            if isinstance(error, InvalidArgument):
                raise
            reason = getattr(error, "strerror", None) or str(error)
            raise InvalidArgument(
                f"--file {file} cannot be read: {reason}", hint="name a file, or - for stdin"
            ) from error
    assert text is not None
    if text == "-":
        if sys.stdin is None:
            raise InvalidArgument(
                "stdin is closed, so there is no value to read", hint="--file PATH, or VALUE"
            )
        return _bounded(sys.stdin.buffer)
    return _from_hex("value", text) if is_hex else text.encode("utf-8", "surrogateescape")


def context_of(token: str | None, no_context: bool) -> CausalContext | None:
    """The context in the flags.  Raises InvalidArgument when both are given, or for a bad token."""
    if token is not None and no_context:
        raise InvalidArgument(
            "--context and --no-context exclude each other",
            hint="--context replaces what a read saw, --no-context adds a sibling",
        )
    if no_context:
        return EMPTY
    try:
        return None if token is None else CausalContext.parse(token)
    except InvalidArgument as error:
        error.hint = error.hint or "`ringmill get KEY -o json` prints a context"
        raise


def _bounded(source: BinaryIO) -> bytes:
    """Read `source` up to the largest value any cluster accepts, because /dev/zero has no end."""
    data = bytearray()
    while piece := source.read(min(_PIECE_BYTES, MAX_VALUE_BYTES + 1 - len(data))):
        data += piece
    if len(data) > MAX_VALUE_BYTES:
        raise InvalidArgument(
            f"the value has more than {MAX_VALUE_BYTES} bytes, the limit of every cluster",
            detail={"limit": MAX_VALUE_BYTES},
            hint="split it over several keys",
        )
    return bytes(data)


def _from_hex(what: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise InvalidArgument(f"the {what} is not hexadecimal: {error}", hint="as in 6b65 for ke") from error
