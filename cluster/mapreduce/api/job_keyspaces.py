"""A keyspace as the input or the output of a job: KvInput, KvOutput, and how one is named.

    kv:KEYSPACE             all keys of a keyspace
    kv:KEYSPACE/PREFIX      those that begin with a prefix; bytes that are not UTF-8 as surrogate escapes

Pure.  See: docs/guide.md, "Jobs"; docs/formats/job.md, "Description".
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from types import NoneType
from typing import Any, Final, Literal, NamedTuple, Self, TypeAlias, get_args

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MAX_KEY_BYTES
from ringmill.cluster.mapreduce.api.formats import CollectOutput, FileOutput
from ringmill.cluster.mapreduce.codecs.signatures import Signature, fits, name_of, unwrapped
from ringmill.cluster.mapreduce.files.keyspace_records import KEY_TYPES, VALUE_TYPES

__all__ = [
    "Consistency",
    "KeyspacePath",
    "KvInput",
    "KvOutput",
    "Output",
    "check_kv_map",
    "check_kv_output",
    "is_keyspace_path",
]

Consistency: TypeAlias = Literal["quorum", "one", "snapshot"]
KvMode: TypeAlias = Literal["merge", "replace"]
_SCHEME: Final = "kv:"


class KeyspacePath(NamedTuple):
    """A keyspace as a job's input or output names it."""

    keyspace: str
    prefix: bytes = b""

    @classmethod
    def of(cls, text: str) -> Self:
        """Raises InvalidArgument for what does not begin with kv: and a name."""
        keyspace, _, prefix = text.removeprefix(_SCHEME).partition("/")
        if not is_keyspace_path(text) or not keyspace:
            raise InvalidArgument(
                f"{text[:200]!r} names no keyspace", hint="kv:KEYSPACE, or kv:KEYSPACE/PREFIX for some keys"
            )
        try:
            path = cls(keyspace, prefix.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"a prefix that is no text: {error}") from error
        if len(path.prefix) > MAX_KEY_BYTES:
            raise InvalidArgument(
                f"the prefix has {len(path.prefix)} bytes, the limit is {MAX_KEY_BYTES} bytes"
            )
        return path

    def __str__(self) -> str:
        prefix = self.prefix.decode("utf-8", "surrogateescape")
        return f"{_SCHEME}{self.keyspace}" + (f"/{prefix}" if prefix else "")


def is_keyspace_path(text: object) -> bool:
    """Whether an input or output is meant as a keyspace and not as a path."""
    return isinstance(text, str) and text.startswith(_SCHEME)


@dataclass(frozen=True, slots=True)
class KvInput:
    """Records of a keyspace: map gets each key that has a value, once, and what it holds.

    The key as str or bytes, the value as map's hint says: bytes or str for one value (a key with concurrent
    values fails the task), list[bytes] or list[str] for all of them, newest first; int of a counter,
    set[bytes] or frozenset[bytes] of a set, dict[bytes, bytes] of a map.

    `keyspace` and `prefix` are what is read where a submission names no input.  With consistency "quorum"
    the answers of a majority of each partition's owners are merged; with "one" one owner is believed.  With
    "snapshot" the same majority tells what it held when the job began.
    """

    keyspace: str = ""
    prefix: bytes = b""
    consistency: Consistency = "quorum"

    def __post_init__(self) -> None:
        given: str = self.consistency
        if given not in get_args(Consistency):
            raise InvalidArgument(
                f"consistency {given!r:.80} is unknown; there are {', '.join(get_args(Consistency))}"
            )
        prefix: object = self.prefix
        if not isinstance(prefix, bytes):
            raise InvalidArgument(
                f"prefix is of type {type(prefix).__name__}; it must be bytes", hint='b"eu:"'
            )
        if self.prefix and not self.keyspace:
            raise InvalidArgument("a prefix without a keyspace")

    @property
    def format(self) -> Literal["kv"]:
        return "kv"

    @property
    def path(self) -> str:
        """How a submission would name it; empty where none is given."""
        return str(KeyspacePath(self.keyspace, self.prefix)) if self.keyspace else ""


@dataclass(frozen=True, slots=True)
class KvOutput:
    """Each pair of the output is put into a keyspace of policy siblings or lww, when all tasks are done.

    Keys are str or bytes.  Values that are str or bytes are put as they are, everything else as JSON.  mode
    "merge": other keys stay, and keys that were there get the new value.  "replace": the records take the
    place of all that the keyspace holds, at once, when all of them are there.
    """

    keyspace: str = ""
    mode: KvMode = "merge"

    def __post_init__(self) -> None:
        given: str = self.mode
        if given not in get_args(KvMode):
            raise InvalidArgument(f"mode {given!r:.80} is unknown; there are {', '.join(get_args(KvMode))}")

    @property
    def format(self) -> Literal["kv"]:
        return "kv"

    @property
    def path(self) -> str:
        """How a submission would name it; empty where none is given."""
        return str(KeyspacePath(self.keyspace)) if self.keyspace else ""


Output: TypeAlias = FileOutput | KvOutput | CollectOutput
"""Where the result of a job goes."""


def check_kv_map(map_signature: Signature) -> None:
    """Raises InvalidArgument unless map takes what a keyspace gives."""
    where = map_signature.where
    if not any(fits(each, map_signature.first) for each in KEY_TYPES):
        raise InvalidArgument(
            f"map {where}: a keyspace gives a key of type str or bytes, map takes "
            f"{name_of(map_signature.first)}"
        )
    options: list[Any] = list(chain.from_iterable(VALUE_TYPES.values()))
    if not any(fits(each, map_signature.second) for each in options):
        raise InvalidArgument(
            f"map {where}: a keyspace gives a value of type {', '.join(map(name_of, options))}, "
            f"map takes {name_of(map_signature.second)}"
        )


def check_kv_output(last: Signature) -> None:
    """Raises InvalidArgument unless the pairs of a job's last function can be put into a keyspace."""
    if unwrapped(last.out_key) not in (str, bytes):
        raise InvalidArgument(
            f"{last.where} gives a key of type {name_of(last.out_key)}; keys of a keyspace are str or bytes"
        )
    if unwrapped(last.out_value) is NoneType:
        raise InvalidArgument(f"{last.where} gives keys without values; a keyspace keeps values")
