"""Values come out of a block as they went in."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.codecs.codecs import value_codec
from ringmill.cluster.mapreduce.codecs.value_codecs import pack_block, unpack_block

T = TypeVar("T")
TEXT = st.text(alphabet=st.characters(exclude_categories=()))


@dataclass
class Reading:
    at: float
    tags: list[str]
    pair: tuple[int, int]


PAIRS = st.lists(st.tuples(st.integers(), st.integers()))
ANYTHING = st.recursive(
    st.none() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=10,
)
READINGS = st.builds(
    Reading, st.floats(allow_nan=False), st.lists(TEXT), st.tuples(st.integers(), st.integers())
)

KINDS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers() | st.integers(-(2**300), 2**300)),
    (float, st.floats(allow_nan=False) | st.integers(-5, 5)),
    (str, TEXT),
    (bytes, st.binary()),
    (bool, st.booleans()),
    (None, st.none()),
    (int | None, st.none() | st.integers()),
    (int | str, TEXT | st.integers()),
    (tuple[int, str], st.tuples(st.integers(), TEXT)),
    (tuple[int, ...], st.lists(st.integers()).map(tuple)),
    (tuple[int, int] | None, st.none() | st.tuples(st.integers(), st.integers())),
    (list[int], st.lists(st.integers())),
    (list[tuple[str, int]], st.lists(st.tuples(TEXT, st.integers()))),
    (tuple[list[int], tuple[str, bytes]], st.tuples(st.lists(st.integers()), st.tuples(TEXT, st.binary()))),
    (dict[str, int], st.dictionaries(TEXT, st.integers())),
    (dict[int, list[tuple[int, int]]], st.dictionaries(st.integers(0, 9), PAIRS)),
    (dict[tuple[int, str], bool], st.dictionaries(st.tuples(st.integers(), TEXT), st.booleans())),
    (Reading, READINGS),
    (list[Reading], st.lists(READINGS)),
    (Any, ANYTHING),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "values"), KINDS, ids=lambda value: str(value)[:40])
def test_a_block_of_values_survives_packing(hint: Any, values: st.SearchStrategy[Any]) -> None:
    codec = value_codec(hint, "here")

    @given(st.lists(values, max_size=5))
    def law(block: list[Any]) -> None:
        packed = pack_block(codec.to_wire(block))
        back = list(codec.from_wire(unpack_block(packed, use_lists=codec.uses_lists)))
        assert back == block
        assert list(map(type, back)) == list(map(type, block))

    law()


@pytest.mark.parametrize(
    ("hint", "value", "said"),
    [(int, True, "bool"), (int, 1.5, "float"), (str, b"x", "bytes"), (tuple[int, int], [1, 2], "list")],
)
def test_a_value_that_is_not_what_its_hint_says_is_refused_by_name(hint: Any, value: Any, said: str) -> None:
    with pytest.raises(InvalidArgument, match=f"a value of type {said}"):
        value_codec(hint, "here").to_wire([value])


@pytest.mark.parametrize(
    ("hint", "value"),
    [(list[Reading], [None]), (dict[str, Reading], {"a": 1}), (tuple[Reading, int], (None,)),
     (dict[tuple[int, int], tuple[Reading, ...]], {(1, 2): 5})],
)  # fmt: skip
def test_a_part_of_a_value_that_is_not_what_its_hint_says_is_refused(hint: Any, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"a value that is no \w+\[.*Reading.*\]: [\[({]"):
        value_codec(hint, "here").to_wire([value])


@pytest.mark.parametrize("hint", [set[int], complex, tuple[int, int] | tuple[str, str], Reading | int])
def test_what_msgpack_cannot_tell_apart_is_refused_at_declaration(hint: Any) -> None:
    with pytest.raises(InvalidArgument):
        value_codec(hint, "here")


@dataclass
class Derived:
    size: int
    twice: int = field(init=False)


def test_a_dataclass_that_is_not_made_from_all_of_its_fields_is_refused_at_declaration() -> None:
    with pytest.raises(InvalidArgument, match="dataclass Derived has twice with init=False"):
        value_codec(list[Derived], "here")


@dataclass
class Scaled:
    cents: float

    def __post_init__(self) -> None:
        self.cents *= 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengthened:
    name: str
    scale: InitVar[int]

    def __post_init__(self, scale: int) -> None:
        object.__setattr__(self, "name", self.name + "!" * scale)


@dataclass
class Counted:
    name: str

    def __post_init__(self) -> None:
        self.size = len(self.name)


@dataclass(frozen=True)
class CountedOnce:
    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.name))


@pytest.mark.parametrize("value", [Scaled(1.5), Lengthened(name="abc", scale=1)])
def test_a_dataclass_travels_as_it_is_whatever_its_init_would_make_of_it(value: Any) -> None:
    """How often a value travels depends on the splits and on memory."""
    codec = value_codec(type(value), "here")
    packed = pack_block(codec.to_wire([value]))
    assert list(codec.from_wire(unpack_block(packed, use_lists=codec.uses_lists))) == [value]


@pytest.mark.parametrize("hint", [Counted, CountedOnce])
def test_a_dataclass_with_more_than_its_fields_is_refused_at_declaration(hint: Any) -> None:
    with pytest.raises(InvalidArgument, match="sets size, which is no field"):
        value_codec(hint, "here")


@dataclass
class Named:
    name: str

    def __post_init__(self) -> None:
        self._derive()

    def _derive(self) -> None:
        self.size = len(self.name)


@dataclass
class NamedToo(Counted):
    def __post_init__(self) -> None:
        super().__post_init__()


@dataclass
class NamedInALoop:
    name: str
    size = 0

    def __post_init__(self) -> None:
        for name in ("size",):
            setattr(self, name, len(self.name))


@dataclass(init=False)
class NamedByInit:
    name: str

    def __init__(self, name: str) -> None:
        self.name, self.size = name, len(name)


@pytest.mark.parametrize("made", [Named, NamedToo, NamedInALoop, NamedByInit])
def test_a_value_with_more_than_its_fields_is_refused_where_it_is_to_travel(made: Any) -> None:
    """Its class does not show it, and what reads it would find nothing, or the default of the class."""
    codec = value_codec(list[made], "here")
    with pytest.raises(InvalidArgument, match="it has size beside its fields"):
        codec.to_wire([[made("abc")]])


@dataclass
class WithProperties(Generic[T]):
    name: str = ""
    place: str = ""

    def __post_init__(self) -> None:
        for each in ("name", "place"):
            object.__setattr__(self, each, "none")
        self.first = self.letter + "o"

    @property
    def first(self) -> str:
        return self.name[:1]

    @first.setter
    def first(self, letter: str) -> None:
        self.name = letter + self.name[1:]

    @cached_property
    def letter(self) -> str:
        return self.name[0]


def test_a_dataclass_may_set_its_fields_in_any_way_and_keep_what_a_property_gave() -> None:
    value = WithProperties[int]("abc")
    codec = value_codec(WithProperties, "here")
    packed = pack_block(codec.to_wire([value]))
    (back,) = codec.from_wire(unpack_block(packed, use_lists=codec.uses_lists))
    assert (back, back.letter) == (value, "n")


@pytest.mark.parametrize("hint", [Any, dict, object, dict[str, Any], tuple[Any, int]])
def test_a_dict_whose_keys_are_tuples_comes_back_where_no_hint_tells_of_it(hint: Any) -> None:
    inner = {("a", (1, ())): [{(2,): b"x"}], "b": 1}
    value = {Any: inner, dict: inner, object: inner, dict[str, Any]: {"of": inner}}.get(hint, (inner, 3))
    codec = value_codec(hint, "f()")
    packed = pack_block(codec.to_wire([value]))
    assert list(codec.from_wire(unpack_block(packed, use_lists=codec.uses_lists))) == [value]
    assert codec.as_received(value) == value


@dataclass(frozen=True)
class Place:
    where: Any
    count: int


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (dict[Any, int], {(1, (2, "x")): 3, "a": 4, 5: 6}),
        (dict[tuple[Any, ...], int], {((1, 2), 3): 4, (): 5}),
        (dict[tuple[str, object], int], {("a", (1, (2,))): 3}),
        (dict[tuple[str, Any] | None, list[int]], {("a", (1,)): [3], None: []}),
        (dict[Place, int], {Place((1, (2, 3)), 4): 5}),
        (list[dict[Any, tuple[int, int]]], [{(1, 2): (3, 4)}]),
    ],
)
def test_keys_of_dicts_come_back_as_they_were_where_their_types_are_open(hint: Any, value: Any) -> None:
    codec = value_codec(hint, "here")
    packed = pack_block(codec.to_wire([value]))
    assert codec.from_wire(unpack_block(packed, use_lists=codec.uses_lists)) == [value]


def test_a_value_that_is_nested_too_deeply_is_refused_by_the_name_of_the_fault() -> None:
    own: list[Any] = []
    own.append(own)
    deep: Any = 1
    for _ in range(5000):
        deep = {"next": deep}
    for value in (own, deep):
        with pytest.raises(InvalidArgument, match="cannot travel"):
            pack_block(value_codec(Any, "here").to_wire([value]))
