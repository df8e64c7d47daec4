"""A block answers from its bytes what a sorted list of the same versions would answer."""

from __future__ import annotations

from random import Random

import pytest

from ringmill.node.storage.table.block import Block, cell_of, decode_block, encode_block

Version = tuple[bytes, int, bytes | None]


def block_of(versions: list[Version]) -> Block:
    return decode_block(
        encode_block([key for key, _, _ in versions], [cell_of(at, v) for _, at, v in versions])
    )


def expected(versions: list[Version], key: bytes, sequence: int) -> tuple[int, bytes | None] | None:
    return next(((at, value) for own, at, value in versions if own == key and at <= sequence), None)


def drawn(chance: Random, key_bytes: tuple[int, int], value_bytes: tuple[int, int]) -> list[Version]:
    """Versions in the order of a block; the alphabet is small, so that keys are found inside others."""
    prefix = chance.choice([b"", b"a", b"user:"])
    keys = {prefix + bytes(chance.choices(b"ab", k=chance.randint(*key_bytes))) for _ in range(30)} - {b""}
    found: list[Version] = []
    for key in sorted(keys):
        for sequence in sorted(chance.sample(range(1, 9), chance.choice([1, 1, 1, 3])), reverse=True):
            is_deletion = value_bytes[0] != value_bytes[1] and chance.random() < 0.2
            found.append(
                (key, sequence, None if is_deletion else chance.randbytes(chance.randint(*value_bytes)))
            )
    return found


@pytest.mark.parametrize("key_bytes", [(0, 6), (1, 1), (4, 4)])
@pytest.mark.parametrize("value_bytes", [(0, 9), (0, 0), (5, 5)])
def test_a_block_finds_what_a_list_finds(key_bytes: tuple[int, int], value_bytes: tuple[int, int]) -> None:
    chance = Random(5)
    for _ in range(60):
        versions = drawn(chance, key_bytes, value_bytes)
        if not versions:
            continue
        block = block_of(versions)
        asked = {own[:-1] for own, _, _ in versions} | {own + b"a" for own, _, _ in versions}
        asked |= (
            {own for own, _, _ in versions} | {own[1:] for own, _, _ in versions} | {b"", b"zz", b"a" * 9}
        )
        for key in sorted(asked):
            for sequence in (0, 2, 5, 1 << 40):
                assert block.find(key, sequence) == expected(versions, key, sequence), (key, versions)
        assert block.keys == [own for own, _, _ in versions]
        assert list(block.values()) == [value or b"" for _, _, value in versions]
        assert block.heads() == [at << 8 | (value is not None) for _, at, value in versions]
        assert list(block.cells()) == [cell_of(at, value) for _, at, value in versions]
        assert block.count == len(versions)


@pytest.mark.parametrize(
    "keys",
    [[b"p", b"pa"], [b"p", b"p", b"pa"], [b"k"], [b"k", b"k"], [b"aab", b"aba", b"baa"], [b"\0", b"\0\0"]],
)
def test_keys_that_lie_inside_others_are_told_apart(keys: list[bytes]) -> None:
    versions: list[Version] = [(key, 9 - number, b"v%d" % number) for number, key in enumerate(keys)]
    block = block_of(versions)
    for key in {*keys, *(key + b"a" for key in keys), b"a", b"ab", b"abab", b""}:
        assert block.find(key, 99) == expected(versions, key, 99)
