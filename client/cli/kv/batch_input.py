"""What `mget` and `mput` are given: keys or pairs, from arguments or line by line from stdin, in batches.

A batch has at most 1,000 items or 4 MiB, so that a long input is in memory piece by piece only.
"""

from __future__ import annotations

import base64
import binascii
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from ringmill.client.cli.kv.fields import bytes_of
from ringmill.client.cli.kv.kv_arguments import key_of
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MAX_VALUE_BYTES

__all__ = ["BATCH_BYTES", "BATCH_ITEMS", "FORMATS", "in_batches", "keys_given", "pairs_given"]

BATCH_ITEMS: Final = 1000
BATCH_BYTES: Final = 4 << 20
FORMATS: Final = ("tsv", "jsonl", "pairs")
_LINE_BYTES: Final = 8 * MAX_VALUE_BYTES  # the longest way to write a value, and a key
T = TypeVar("T")


def keys_given(words: Sequence[str], is_hex: bool) -> Iterator[bytes]:
    """The keys in the arguments; `-` stands for those on stdin, one a line."""
    for word in words:
        if word == "-":
            yield from (key_of(line, is_hex) for line in _lines())
        else:
            yield key_of(word, is_hex)


def pairs_given(words: Sequence[str], form: str, is_hex: bool) -> Iterator[tuple[bytes, bytes]]:
    """The pairs KEY=VALUE in the arguments; `-` stands for those on stdin, in the form that was named."""
    read = _READERS[form]
    for word in words:
        if word != "-":
            yield _pair(word, is_hex)
            continue
        for number, line in enumerate(_lines(), 1):
            try:
                pair = read(line, is_hex)
            except (InvalidArgument, ValueError) as error:  # of JSON and base64, too
                raise InvalidArgument(
                    f"line {number} of stdin is no {form}: {error}",
                    hint="all lines before it were written; --format names another form",
                ) from error
            yield pair


def in_batches(items: Iterator[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    batch: list[T] = []
    size_bytes = 0
    for item in items:
        if batch and (len(batch) == BATCH_ITEMS or size_bytes + size_of(item) > BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(item)
        size_bytes += size_of(item)
    if batch:
        yield batch


def _lines() -> Iterator[str]:
    """Lines of stdin without their ends; empty ones are left out."""
    if sys.stdin is None:
        raise InvalidArgument("stdin is closed, so there is nothing to read")
    source = sys.stdin.buffer
    while line := source.readline(_LINE_BYTES):
        if len(line) == _LINE_BYTES and not line.endswith(b"\n"):
            raise InvalidArgument(f"a line of stdin has more than {_LINE_BYTES} bytes")
        if line := line.rstrip(b"\r\n"):
            yield line.decode("utf-8", "surrogateescape")


def _pair(text: str, is_hex: bool) -> tuple[bytes, bytes]:
    key, sign, value = text.partition("=")
    if not sign:
        raise InvalidArgument(f"{text[:40]!r} is not KEY=VALUE", hint="- reads pairs from stdin")
    return key_of(key, is_hex), key_of(value, is_hex)


def _tsv(line: str, is_hex: bool) -> tuple[bytes, bytes]:
    fields = line.split("\t")
    if len(fields) != 2:
        raise InvalidArgument(f"it has {len(fields)} fields, and should be a key, a tab and a value")
    read = (lambda field: key_of(field, is_hex=True)) if is_hex else bytes_of
    return read(fields[0]), read(fields[1])


def _json(line: str, is_hex: bool) -> tuple[bytes, bytes]:
    document = json.loads(line)
    if not isinstance(document, dict):
        raise InvalidArgument("it is not an object")
    return _member(document, "key", is_hex), _member(document, "value", is_hex)


def _member(document: dict[str, Any], name: str, is_hex: bool) -> bytes:
    """As `-o json` writes bytes: text under its name, else base64 under NAME_b64."""
    text, coded = document.get(name), document.get(f"{name}_b64")
    if isinstance(text, str) and coded is None:
        return key_of(text, is_hex)
    if isinstance(coded, str) and text is None:
        try:
            return base64.b64decode(coded, validate=True)
        except binascii.Error as error:
            raise InvalidArgument(f"{name}_b64 is not base64: {error}") from error
    raise InvalidArgument(f"it needs one of {name!r} and '{name}_b64', as a text")


_READERS: Final[dict[str, Callable[[str, bool], tuple[bytes, bytes]]]] = {
    "tsv": _tsv,
    "jsonl": _json,
    "pairs": _pair,
}
