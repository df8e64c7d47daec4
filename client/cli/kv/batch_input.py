"""What `mget` and `mput` are given: keys or pairs, from arguments or line by line from stdin, in batches.

A batch has at most 1,000 items or 4 MiB, so that a long input is in memory piece by piece only.  An item that
is none is refused by its place, and after all that came before it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, Final, TypeVar

from ringmill.client.arguments import checked_key, checked_value
from ringmill.client.cli.console.failure_text import FileFailed
from ringmill.client.cli.kv.fields import bytes_of
from ringmill.client.cli.kv.kv_arguments import key_of
from ringmill.cluster.callbacks import resolve
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MAX_VALUE_BYTES

__all__ = [
    "BATCH_BYTES", "BATCH_ITEMS", "FORMATS", "KEY_FORMATS", "in_batches", "keys_given", "pairs_given",
    "read_aside",
]  # fmt: skip

BATCH_ITEMS: Final = 1000
BATCH_BYTES: Final = 4 << 20
FORMATS: Final = ("tsv", "jsonl", "pairs")
KEY_FORMATS: Final = ("tsv", "jsonl", "raw")
_LINE_BYTES: Final = 8 * MAX_VALUE_BYTES  # the longest way to write a value, and a key
T = TypeVar("T")


def keys_given(words: Sequence[str], form: str, is_hex: bool) -> Iterator[bytes]:
    """The keys in the arguments; `-` stands for those on stdin, one a line, in the form that was named.

    Raises InvalidArgument.
    """
    return _given(words, form, key_of, _KEY_READERS[form], checked_key, is_hex)


def pairs_given(words: Sequence[str], form: str, is_hex: bool) -> Iterator[tuple[bytes, bytes]]:
    """The pairs KEY=VALUE in the arguments; `-` stands for those on stdin, in the form that was named.

    Raises InvalidArgument.
    """
    return _given(words, form, _pair, _READERS[form], _checked_pair, is_hex)


def in_batches(items: Iterator[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Raises what `items` raises, after what it gave before."""
    batch: list[T] = []
    size_bytes = 0
    failure: InvalidArgument | FileFailed | None = None
    try:
        for item in items:
            if batch and (len(batch) == BATCH_ITEMS or size_bytes + size_of(item) > BATCH_BYTES):
                yield batch
                batch, size_bytes = [], 0
            batch.append(item)
            size_bytes += size_of(item)
    except (InvalidArgument, FileFailed) as error:
        failure = error
    if batch:
        yield batch
    if failure is not None:
        raise failure


async def read_aside(batches: Iterator[T]) -> AsyncIterator[T]:
    """The batches, each read by a thread of its own, so that Ctrl-C ends who waits for stdin.

    The thread that waits then is left behind; it does not keep the process alive.
    """
    loop = asyncio.get_running_loop()
    while True:
        waiting: asyncio.Future[T | None] = loop.create_future()

        def read(waiting: asyncio.Future[T | None] = waiting) -> None:
            outcome: T | Exception | None
            try:
                outcome = next(batches, None)
            except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
                outcome = error
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(resolve, waiting, outcome)

        threading.Thread(target=read, name="stdin", daemon=True).start()
        batch = await waiting
        if batch is None:
            return
        yield batch


def _given(
    words: Sequence[str],
    form: str,
    of_word: Callable[[str, bool], T],
    of_line: Callable[[str, bool], T],
    checked: Callable[[T], T],
    is_hex: bool,
) -> Iterator[T]:
    for at, word in enumerate(words, 1):
        if word != "-":
            try:
                item = checked(of_word(word, is_hex))
            except InvalidArgument as error:
                raise InvalidArgument(
                    f"argument {at}: {error}", detail=error.detail, hint=error.hint
                ) from error
            yield item
            continue
        for number, line in _lines():
            try:
                item = checked(of_line(line, is_hex))
            except (InvalidArgument, ValueError) as error:  # of JSON and base64, too
                raise InvalidArgument(
                    f"line {number} of stdin, as {form}: {error}", hint="--format names another form"
                ) from error
            yield item


def _lines() -> Iterator[tuple[int, str]]:
    """Lines of stdin without their ends, by their numbers; empty ones are left out."""
    source, number = _stdin(), 0
    while line := _line(source):
        number += 1
        if len(line) == _LINE_BYTES and not line.endswith(b"\n"):
            raise InvalidArgument(f"line {number} of stdin has more than {_LINE_BYTES} bytes")
        if line := line.rstrip(b"\r\n"):
            yield number, line.decode("utf-8", "surrogateescape")


def _line(source: BinaryIO) -> bytes:
    try:
        return source.readline(_LINE_BYTES)
    except OSError as error:
        raise FileFailed(f"stdin cannot be read: {error.strerror}") from error


def _stdin() -> BinaryIO:
    """A reader of its own: the interpreter's cannot be closed at the end while a thread waits in it."""
    if sys.stdin is None:
        raise InvalidArgument("stdin is closed, so there is nothing to read")
    try:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except io.UnsupportedOperation:  # no file of the system's
        return sys.stdin.buffer


def _checked_pair(pair: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    return checked_key(pair[0]), checked_value(pair[1])


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
    document = _object(line)
    return _member(document, "key", is_hex), _member(document, "value", is_hex)


def _object(line: str) -> dict[str, Any]:
    document = json.loads(line)
    if not isinstance(document, dict):
        raise InvalidArgument("it is not an object")
    return document


def _member(document: dict[str, Any], name: str, is_hex: bool) -> bytes:
    """Bytes in the form of `-o json`: text under its name, or base64 under NAME_b64."""
    text, coded = document.get(name), document.get(f"{name}_b64")
    if isinstance(text, str) and coded is None:
        return key_of(text, is_hex)
    if isinstance(coded, str) and text is None:
        try:
            return base64.b64decode(coded, validate=True)
        except binascii.Error as error:
            raise InvalidArgument(f"{name}_b64 is not base64: {error}") from error
    raise InvalidArgument(f"it needs one of {name!r} and '{name}_b64', as a text")


def _field(line: str, is_hex: bool) -> bytes:
    if is_hex:
        return key_of(line, is_hex)
    if "\t" in line:
        raise InvalidArgument("it has a tab, and should be a key alone")
    return bytes_of(line)


def _key_member(line: str, is_hex: bool) -> bytes:
    return _member(_object(line), "key", is_hex)


_READERS: Final[dict[str, Callable[[str, bool], tuple[bytes, bytes]]]] = {
    "tsv": _tsv,
    "jsonl": _json,
    "pairs": _pair,
}
_KEY_READERS: Final[dict[str, Callable[[str, bool], bytes]]] = {
    "tsv": _field,
    "jsonl": _key_member,
    "raw": key_of,
}
