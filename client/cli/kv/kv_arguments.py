"""What the key-value verbs take: keys and values as bytes, contexts."""

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
    verb = click.option("--hex", "is_hex", is_flag=True, help="key (and value) are hexadecimal digits")(verb)
    return click.option("--keyspace", default="default", metavar="NAME", help="where the key lives")(verb)


def key_of(text: str, is_hex: bool) -> bytes:
    """The key's bytes.  Raises InvalidArgument for bad hexadecimal."""
    return _from_hex("key", text) if is_hex else text.encode("utf-8", "surrogateescape")


def value_of(text: str | None, file: str | None, is_hex: bool) -> bytes:
    """The value's bytes: the argument, `-` for stdin, or --file.

    Raises InvalidArgument when there is none or more than one, for one that cannot be read or is longer
    than any cluster takes, and for bad hexadecimal.
    """
    if (text is None) == (file is None):
        raise InvalidArgument(
            "name one value: VALUE, - for stdin, or --file PATH",
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
    """The context that the flags name.  Raises InvalidArgument when both are given, or for a bad token."""
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
        error.hint = error.hint or "a context is what `ringmill get KEY -o json` prints as context"
        raise


def _bounded(source: BinaryIO) -> bytes:
    """What `source` holds, read no further than any cluster takes; /dev/zero has no end."""
    data = bytearray()
    while piece := source.read(min(_PIECE_BYTES, MAX_VALUE_BYTES + 1 - len(data))):
        data += piece
    if len(data) > MAX_VALUE_BYTES:
        raise InvalidArgument(
            f"the value has more than {MAX_VALUE_BYTES} bytes, which no cluster takes",
            detail={"limit": MAX_VALUE_BYTES},
            hint="split it over several keys",
        )
    return bytes(data)


def _from_hex(what: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise InvalidArgument(f"the {what} is not hexadecimal: {error}", hint="as in 6b65 for ke") from error
