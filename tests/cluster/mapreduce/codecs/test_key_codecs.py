"""Encoded keys sort like the keys, and come back as they were."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.codecs.codecs import key_codec
from ringmill.cluster.mapreduce.codecs.key_codecs import key_prefix

INTS = st.integers() | st.integers(-300, 300) | st.integers(-(2**1200), 2**1200)
FLOATS = st.floats(allow_nan=False)
TEXT = st.text(alphabet=st.characters(exclude_categories=()))  # lone surrogates too: text that is not UTF-8
BYTES = st.binary() | st.lists(st.sampled_from([b"\x00", b"\x01", b"\xff", b"a"])).map(b"".join)


@dataclass(frozen=True, order=True)
class Place:
    country: str
    zip_code: int


KINDS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, INTS),
    (float, FLOATS),
    (str, TEXT),
    (bytes, BYTES),
    (bool, st.booleans()),
    (None, st.none()),
    (tuple[str, int], st.tuples(TEXT, INTS)),
    (tuple[bytes, bytes, float], st.tuples(BYTES, BYTES, FLOATS)),
    (tuple[int, ...], st.lists(INTS).map(tuple)),
    (tuple[str, ...], st.lists(TEXT).map(tuple)),
    (tuple[tuple[str, bool], bytes], st.tuples(st.tuples(TEXT, st.booleans()), BYTES)),
    (Place, st.builds(Place, TEXT, INTS)),
]


@pytest.mark.parametrize(("hint", "keys"), KINDS, ids=lambda value: str(value)[:30])
def test_bytes_sort_as_the_keys_do_and_decode_to_them(hint: Any, keys: st.SearchStrategy[Any]) -> None:
    codec = key_codec(hint, "here")

    @given(keys, keys)
    def law(one: Any, other: Any) -> None:
        first, second = codec.encode(one), codec.encode(other)
        assert codec.decode(first) == one
        assert type(codec.decode(first)) is type(one)
        assert (first == second) == (one == other)
        if one is not None:
            assert (first < second) == (one < other)
        assert codec.encode_all([one, other]) == [first, second]
        assert codec.encode_all([one, other] * 3) == [first, second] * 3, "also where few differ"

    law()


def test_of_many_keys_the_wrong_one_is_named_and_a_key_without_elements_is_one() -> None:
    codec = key_codec(tuple[str, int], "here")
    for wrong, said in ((("b", True), "hint says int"), (("b", 1, 2), "3 elements"), (["b", 1], "list")):
        with pytest.raises(InvalidArgument, match=said):
            codec.encode_all([("a", 1), wrong, ("c", "d")])
    assert key_codec(tuple[()], "here").encode_all([(), ()]) == [b"", b""]


@given(st.lists(st.tuples(BYTES, TEXT, INTS), min_size=1))
def test_a_prefix_is_cut_where_its_parts_end(keys: list[tuple[bytes, str, int]]) -> None:
    encoded = key_codec(tuple[bytes, str, int], "here").encode_all(keys)
    for count in (1, 2):
        prefix, _ = key_prefix(tuple[bytes, str, int], count, "here")
        cut = list(map(prefix.cut, encoded))
        assert [prefix.decode(each) for each in cut] == list(map(prefix.of, keys))
        assert all(key.startswith(each) for key, each in zip(encoded, cut, strict=True))


@given(st.none() | TEXT, st.none() | TEXT)
def test_none_sorts_before_everything_else(one: str | None, other: str | None) -> None:
    codec = key_codec(str | None, "here")
    order: Callable[[str | None], tuple[bool, str]] = lambda key: (key is not None, key or "")  # noqa: E731
    assert (codec.encode(one) < codec.encode(other)) == (order(one) < order(other))
    assert codec.decode(codec.encode(one)) == one


def test_equal_floats_have_equal_bytes_and_nan_is_refused() -> None:
    codec = key_codec(float, "here")
    assert codec.encode(-0.0) == codec.encode(0.0) == codec.encode(0)
    with pytest.raises(InvalidArgument, match="NaN"):
        codec.encode(math.nan)


@pytest.mark.parametrize(
    ("hint", "key"),
    [(int, True), (int, "1"), (str, 1), (bytes, "a"), (tuple[int, int], (1,)), (float, "x"),
     (float, 10**400)],
)  # fmt: skip
def test_a_key_that_is_not_what_its_hint_says_is_refused(hint: Any, key: Any) -> None:
    with pytest.raises(InvalidArgument, match="a key of"):
        key_codec(hint, "here").encode(key)


@pytest.mark.parametrize("hint", [list[int], dict[str, int], set[int], int | str, Any, object])
def test_what_has_no_order_cannot_be_a_key(hint: Any) -> None:
    with pytest.raises(InvalidArgument, match="cannot be a key"):
        key_codec(hint, "here")


def test_a_dataclass_that_can_change_cannot_be_a_key() -> None:
    @dataclass
    class Loose:
        x: int

    with pytest.raises(InvalidArgument, match="frozen"):
        key_codec(Loose, "here")


@dataclass(frozen=True)
class Noted:
    name: str
    note: str = field(compare=False, default="")


@dataclass(frozen=True)
class Folded:
    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folded) and self.name.lower() == other.name.lower()

    def __hash__(self) -> int:
        return hash(self.name.lower())


@dataclass(frozen=True, eq=False)
class Longer(Place):
    more: int


@dataclass(frozen=True)
class Derived:
    name: str
    size: int = field(init=False, default=0)


class Named(Place):
    """No dataclass by itself: it is compared as its base is."""


@dataclass(frozen=True, eq=False)
class Identical:
    name: str


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (Noted, "does not compare note as dataclass"), (Folded, "does not compare name as"),
        (Longer, "does not compare more as"), (Derived, "has size with init=False"),
        (tuple[int, Noted], "does not compare note as"), (Identical, "does not compare name as"),
    ],
)  # fmt: skip
def test_a_dataclass_whose_equality_is_not_that_of_its_fields_cannot_be_a_key(hint: Any, said: str) -> None:
    """Maps would take keys for equal that have different bytes: the output would follow from the splits."""
    with pytest.raises(InvalidArgument, match=said):
        key_codec(hint, "here")
    assert key_codec(Named, "here")


@dataclass(frozen=True)
class Louder:
    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name + "!")


def test_a_dataclass_comes_out_of_its_bytes_without_its_init() -> None:
    codec = key_codec(Louder, "here")
    assert codec.decode(codec.encode(Louder("abc"))) == Louder("abc")


@dataclass(frozen=True)
class Sized:
    name: str

    def __post_init__(self) -> None:
        vars(self)["size"] = len(self.name)


def test_a_key_with_more_than_its_fields_is_refused_where_it_is_to_travel() -> None:
    codec = key_codec(Sized, "here")
    with pytest.raises(InvalidArgument, match=r"Sized\(name='abc'\): it has size beside its fields"):
        codec.encode(Sized("abc"))


@pytest.mark.parametrize(
    ("plain", "key"), [(str, "a"), (bytes, b"a\x00"), (int, 7), (tuple[str, int], ("a", 1))]
)
def test_keys_of_a_new_type_are_those_of_what_it_wraps(plain: Any, key: Any) -> None:
    inner = NewType("inner", plain)  # type: ignore[valid-newtype]
    codec, of_plain = key_codec(NewType("Outer", inner), "here"), key_codec(plain, "here")
    assert codec.encode(key) == of_plain.encode(key)
    assert codec.plain is of_plain.plain
