"""Encodes keys as bytes whose order is the order of the keys.

Pure.  Each codec has two forms: alone (a whole key, as short as can be) and in a row (self-delimiting, for
the elements of tuples and dataclasses).  Equal keys give equal bytes, so -0.0 is written as 0.0, and NaN,
which equals nothing, is refused.

Layouts: docs/formats/run.md, "Keys".
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from types import GenericAlias, NoneType, UnionType
from typing import Any, Final, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.codecs.dataclass_hints import check_key_class, maker_of, reader_of
from ringmill.cluster.mapreduce.codecs.signatures import has_part, name_of, unwrapped
from ringmill.cluster.mapreduce.failures import shown

__all__ = ["KeyCodec", "KeyPrefix", "key_codec", "key_prefix"]

T = TypeVar("T")

_ESCAPED_ZERO: Final = b"\x00\xff"
_TERMINATOR: Final = b"\x00\x01"
_SHORT_INT: Final = 0x7C  # longest magnitude, in bytes, that the lead byte can tell
_DOUBLE: Final = struct.Struct(">d")
_SIGN: Final = 1 << 63
_ALL: Final = (1 << 64) - 1


class KeyCodec(Protocol):
    """Turns the keys of one type into bytes and back."""

    plain: type | None
    """The type, if its keys are equal exactly when their bytes are: a dict may have them as they are."""

    has_floats: bool
    """Whether keys of other forms can be equal, as 1 and 1.0, or 0.0 and -0.0; decoding makes one form."""

    def encode(self, key: Any) -> bytes:
        """A whole key.  Raises InvalidArgument for one that its hint does not allow."""
        ...

    def decode(self, data: bytes) -> Any: ...

    def encode_all(self, keys: Iterable[Any]) -> list[bytes]:
        """`encode` of each."""
        ...

    def decode_all(self, data: list[bytes]) -> list[Any]:
        """`decode` of each."""
        ...


class _Part(Protocol):
    """The in-a-row form of a codec."""

    def put(self, key: Any) -> bytes: ...

    def put_all(self, keys: Sequence[Any]) -> list[bytes]:
        """`put` of each."""
        ...

    def take(self, data: bytes, at: int) -> tuple[Any, int]:
        """The key that starts at `at`, and where the next one starts."""
        ...

    def skip(self, data: bytes, at: int) -> int:
        """Where the next one starts."""
        ...

    def heads(self, data: Sequence[bytes]) -> list[bytes]:
        """The bytes of the key with which each begins."""
        ...


class _OneByOne:
    """What a part does that knows nothing better."""

    def put_all(self: _Part, keys: Sequence[Any]) -> list[bytes]:
        return list(map(self.put, keys))

    def skip(self: _Part, data: bytes, at: int) -> int:
        return self.take(data, at)[1]

    def heads(self: _Part, data: Sequence[bytes]) -> list[bytes]:
        return [each[: self.skip(each, 0)] for each in data]


class _Codec:
    """A key made of one self-delimiting part."""

    plain: type | None = None

    def __init__(self, part: _Part, *, has_floats: bool) -> None:
        self._part = part
        self.has_floats = has_floats

    def encode(self, key: Any) -> bytes:
        return self._part.put(key)

    def decode(self, data: bytes) -> Any:
        return self._part.take(data, 0)[0]

    def encode_all(self, keys: Iterable[Any]) -> list[bytes]:
        return self._part.put_all(list(keys))

    def decode_all(self, data: list[bytes]) -> list[Any]:
        return list(map(self.decode, data))


class _Text:
    """A whole str: its UTF-8, with surrogates as three bytes each, which keeps code point order."""

    plain: type | None = str
    has_floats = False

    def encode(self, key: str) -> bytes:
        return _exactly(str, key).encode("utf-8", "surrogatepass")

    def decode(self, data: bytes) -> str:
        return data.decode("utf-8", "surrogatepass")

    def encode_all(self, keys: Iterable[str]) -> list[bytes]:
        keys = list(keys)
        if not set(map(type, keys)) <= {str}:
            return list(map(self.encode, keys))
        return [key.encode("utf-8", "surrogatepass") for key in keys]

    def decode_all(self, data: list[bytes]) -> list[str]:
        return [each.decode("utf-8", "surrogatepass") for each in data]


class _Raw:
    """A whole bytes key: itself."""

    plain: type | None = bytes
    has_floats = False

    def encode(self, key: bytes) -> bytes:
        return _exactly(bytes, key)

    def decode(self, data: bytes) -> bytes:
        return data

    def encode_all(self, keys: Iterable[bytes]) -> list[bytes]:
        keys = list(keys)
        return keys if set(map(type, keys)) <= {bytes} else list(map(self.encode, keys))

    def decode_all(self, data: list[bytes]) -> list[bytes]:
        return data


class _BytesPart(_OneByOne):
    def put(self, key: bytes) -> bytes:
        return _exactly(bytes, key).replace(b"\x00", _ESCAPED_ZERO) + _TERMINATOR

    def take(self, data: bytes, at: int) -> tuple[bytes, int]:
        end = data.index(_TERMINATOR, at)
        return data[at:end].replace(_ESCAPED_ZERO, b"\x00"), end + 2

    def skip(self, data: bytes, at: int) -> int:
        return data.index(_TERMINATOR, at) + 2

    def heads(self, data: Sequence[bytes]) -> list[bytes]:
        return [each[: each.index(_TERMINATOR) + 2] for each in data]


class _TextPart(_OneByOne):
    def put(self, key: str) -> bytes:
        return _BYTES.put(_exactly(str, key).encode("utf-8", "surrogatepass"))

    def put_all(self, keys: Sequence[Any]) -> list[bytes]:
        if not set(map(type, keys)) <= {str}:
            return list(map(self.put, keys))
        encoded = [key.encode("utf-8", "surrogatepass") for key in keys]
        return [raw.replace(b"\x00", _ESCAPED_ZERO) + _TERMINATOR for raw in encoded]

    def take(self, data: bytes, at: int) -> tuple[str, int]:
        raw, end = _BYTES.take(data, at)
        return raw.decode("utf-8", "surrogatepass"), end

    def skip(self, data: bytes, at: int) -> int:
        return _BYTES.skip(data, at)

    def heads(self, data: Sequence[bytes]) -> list[bytes]:
        return _BYTES.heads(data)


class _IntPart(_OneByOne):
    """Lead byte 0x80 + length of the magnitude (0x80 - length when negative), then the magnitude."""

    def put(self, key: int) -> bytes:
        size = (abs(_exactly(int, key)).bit_length() + 7) // 8
        if size <= _SHORT_INT:
            lead = bytes((0x80 + size if key >= 0 else 0x80 - size,))
        else:
            length = size.to_bytes(4, "big")
            lead = b"\xff" + length if key >= 0 else b"\x00" + _complement(length)
        magnitude = abs(key).to_bytes(size, "big")
        return lead + (magnitude if key >= 0 else _complement(magnitude))

    def put_all(self, keys: Sequence[Any]) -> list[bytes]:
        """Beside other elements an int is often one of a few, as the number of a source is."""
        if set(map(type, keys)) <= {int} and 2 * len(distinct := set(keys)) < len(keys):
            known = {key: self.put(key) for key in distinct}
            return list(map(known.__getitem__, keys))
        return list(map(self.put, keys))

    def take(self, data: bytes, at: int) -> tuple[int, int]:
        lead, start = data[at], at + 1
        if lead in (0x00, 0xFF):
            length, start = data[start : start + 4], start + 4
            size = int.from_bytes(length if lead else _complement(length), "big")
        else:
            size = abs(lead - 0x80)
        end = start + size
        raw = data[start:end]
        return (int.from_bytes(raw, "big") if lead >= 0x80 else -int.from_bytes(_complement(raw), "big")), end


class _FloatPart(_OneByOne):
    """The IEEE 754 bits, all turned when negative, else the sign bit alone."""

    def put(self, key: float) -> bytes:
        number = float(_number(key)) + 0.0  # -0.0 + 0.0 is 0.0
        if math.isnan(number):
            raise InvalidArgument("a key that is NaN, which equals no key, itself included")
        bits = int.from_bytes(_DOUBLE.pack(number), "big")
        return (bits ^ (_ALL if bits & _SIGN else _SIGN)).to_bytes(8, "big")

    def take(self, data: bytes, at: int) -> tuple[float, int]:
        bits = int.from_bytes(data[at : at + 8], "big")
        raw = (bits ^ (_SIGN if bits & _SIGN else _ALL)).to_bytes(8, "big")
        return float(_DOUBLE.unpack(raw)[0]), at + 8


class _BoolPart(_OneByOne):
    def put(self, key: bool) -> bytes:
        return b"\x01" if _exactly(bool, key) else b"\x00"

    def take(self, data: bytes, at: int) -> tuple[bool, int]:
        return data[at] == 1, at + 1


class _NonePart(_OneByOne):
    def put(self, key: None) -> bytes:
        _exactly(NoneType, key)
        return b""

    def take(self, data: bytes, at: int) -> tuple[None, int]:
        return None, at


class _OptionPart(_OneByOne):
    """None before everything else: 0x00, or 0x01 and the key."""

    def __init__(self, inner: _Part) -> None:
        self._inner = inner

    def put(self, key: Any) -> bytes:
        return b"\x00" if key is None else b"\x01" + self._inner.put(key)

    def take(self, data: bytes, at: int) -> tuple[Any, int]:
        return (None, at + 1) if data[at] == 0 else self._inner.take(data, at + 1)


class _RowPart(_OneByOne):
    """The elements one after the other; `fields_of` and `build` know what they are elements of."""

    def __init__(
        self,
        parts: Sequence[_Part],
        fields_of: Callable[[Any], Sequence[Any]],
        build: Callable[[list[Any]], Any],
    ) -> None:
        self.parts = parts
        self.fields_of = fields_of
        self._build = build

    def put(self, key: Any) -> bytes:
        elements = self.fields_of(key)
        if len(elements) != len(self.parts):
            raise InvalidArgument(
                f"a key of {len(elements)} elements, its hint has {len(self.parts)}: {shown(key, 200)}"
            )
        return b"".join([part.put(element) for part, element in zip(self.parts, elements, strict=True)])

    def put_all(self, keys: Sequence[Any]) -> list[bytes]:
        """Element by element, which saves some calls a key; key by key, to name it, where one is wrong."""
        try:
            rows = list(map(self.fields_of, keys))
            if self.parts and set(map(len, rows)) == {len(self.parts)}:
                columns = [
                    part.put_all(list(map(itemgetter(at), rows))) for at, part in enumerate(self.parts)
                ]
                return list(map(b"".join, zip(*columns, strict=True)))
        except InvalidArgument:
            pass
        return list(map(self.put, keys))

    def take(self, data: bytes, at: int) -> tuple[Any, int]:
        elements = []
        for part in self.parts:
            element, at = part.take(data, at)
            elements.append(element)
        return self._build(elements), at


class _ListPart(_OneByOne):
    """tuple[X, ...]: 0x01 before each element, 0x00 at the end."""

    def __init__(self, inner: _Part) -> None:
        self._inner = inner

    def put(self, key: tuple[Any, ...]) -> bytes:
        return b"".join([b"\x01" + self._inner.put(element) for element in _exactly(tuple, key)]) + b"\x00"

    def take(self, data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        elements = []
        while data[at] == 1:
            element, at = self._inner.take(data, at + 1)
            elements.append(element)
        return tuple(elements), at + 1


class KeyPrefix:
    """The first parts of keys that are tuples or dataclasses: the first one alone, or a tuple of several.

    Parts are self-delimiting, so the bytes of a key begin with those of its prefix, and keys that are equal
    in these parts are neighbours in the order of bytes.
    """

    def __init__(self, row: _RowPart, count: int) -> None:
        self._row = row
        self._parts = row.parts[:count]

    def of(self, key: Any) -> Any:
        """The prefix of a key."""
        elements = self._row.fields_of(key)
        return elements[0] if len(self._parts) == 1 else tuple(elements[: len(self._parts)])

    def cut(self, data: bytes) -> bytes:
        """The bytes of an encoded key that are its prefix."""
        at = 0
        for part in self._parts:
            at = part.skip(data, at)
        return data[:at]

    def cut_all(self, data: Sequence[bytes]) -> list[bytes]:
        """`cut` of each."""
        return self._parts[0].heads(data) if len(self._parts) == 1 else list(map(self.cut, data))

    def decode(self, data: bytes) -> Any:
        """The prefix that `cut` left."""
        elements, at = [], 0
        for part in self._parts:
            element, at = part.take(data, at)
            elements.append(element)
        return elements[0] if len(elements) == 1 else tuple(elements)


_BYTES: Final = _BytesPart()
_PARTS: Final[dict[Any, _Part]] = {
    str: _TextPart(),
    bytes: _BYTES,
    int: _IntPart(),
    float: _FloatPart(),
    bool: _BoolPart(),
    NoneType: _NonePart(),
    None: _NonePart(),
}


def key_codec(hint: Any, where: str) -> KeyCodec:
    """The codec of keys of the hinted type.  `where` names the function in what InvalidArgument says.

    Keys of a NewType are encoded as what it wraps, so that they are equal, and go to one part, wherever a
    job says the one or the other.
    """
    hint = unwrapped(hint)
    if hint is str:
        return _Text()
    if hint is bytes:
        return _Raw()
    return _Codec(_part_of(hint, where), has_floats=has_part(hint, lambda part: part is float))


def key_prefix(hint: Any, count: int, where: str) -> tuple[KeyPrefix, Any]:
    """The first `count` parts of keys of the hinted type, and the type of these parts.

    Raises InvalidArgument for keys that have not more parts than that.
    """
    hint = unwrapped(hint)
    origin = get_origin(hint)
    parts: tuple[Any, ...] = ()
    if origin is tuple and Ellipsis not in get_args(hint):
        parts = get_args(hint)
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = get_type_hints(hint)
        parts = tuple(hints[field.name] for field in dataclasses.fields(hint))
    if not 0 < count < len(parts):
        raise InvalidArgument(
            f"{where} gives keys of type {name_of(hint)}; group_by={count} needs tuples or frozen "
            f"dataclasses of more than {count} parts",
            hint="tuple[USER, TIME] and group_by=1 make a group of each USER, in the order of TIME",
        )
    row = _part_of(hint, where)
    assert isinstance(row, _RowPart)
    return KeyPrefix(row, count), parts[0] if count == 1 else GenericAlias(tuple, parts[:count])


def _part_of(hint: Any, where: str) -> _Part:
    hint = unwrapped(hint)
    if hint in _PARTS:
        return _PARTS[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return _ListPart(_part_of(args[0], where))
    if origin is tuple:
        parts = [_part_of(arg, where) for arg in args]
        return _RowPart(parts, lambda key: _exactly(tuple, key), tuple)
    if origin in (Union, UnionType) and len(args) == 2 and NoneType in args:
        return _OptionPart(_part_of(args[0] if args[1] is NoneType else args[1], where))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _dataclass_part(hint, where)
    raise InvalidArgument(
        f"{where}: {hint!r} cannot be a key",
        hint="keys are int, float, str, bytes, bool, None, tuples, frozen dataclasses, or these | None",
    )


def _dataclass_part(hint: type, where: str) -> _Part:
    check_key_class(hint, where)
    hints = get_type_hints(hint)
    parts = [_part_of(hints[field.name], where) for field in dataclasses.fields(hint)]
    read = reader_of(hint)
    return _RowPart(parts, lambda key: read(_exactly(hint, key)), maker_of(hint))


def _complement(data: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in data)


def _exactly(wanted: type[T], key: Any) -> T:
    if type(key) is not wanted:
        raise InvalidArgument(
            f"a key of type {type(key).__name__}, its hint says {wanted.__name__}: {shown(key, 100)}"
        )
    return key


def _number(key: Any) -> float:
    if type(key) not in (float, int):
        raise InvalidArgument(
            f"a key of type {type(key).__name__} where the hint says float: {shown(key, 100)}"
        )
    try:
        return float(key)
    except OverflowError:
        raise InvalidArgument(
            f"a key of {key.bit_length()} bits where the hint says float: it is too large"
        ) from None
