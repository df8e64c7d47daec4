"""Fuzzing the readers of logs, tables and manifests: documented errors only, in bounded time and memory.

RINGMILL_FUZZ_EXAMPLES sets how many files of each sort are tried; scripts/chaos/fuzz.py does the same with
atheris, which looks for files that reach new code.
"""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from dataclasses import replace
from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringmill.node.storage.names import FileName, parse_name
from ringmill.node.storage.table.compression import MAX_BLOCK_BYTES
from ringmill.node.storage.table.table_format import decode_meta, encode_meta
from ringmill.simulator.disk.damage import sample_folder
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.disk.readers import KINDS, assemble, parts_of, read_to_end

EXAMPLES = int(os.environ.get("RINGMILL_FUZZ_EXAMPLES", "60"))
each_kind = pytest.mark.parametrize("kind", KINDS)
fuzz = settings(max_examples=EXAMPLES, deadline=None)


@cache
def valid_files(kind: str) -> list[tuple[FileName, list[bytes]]]:
    """The files of that kind in a small folder, taken apart."""
    sample = asyncio.run(sample_folder(1, 3000))
    disk = LossyDisk.after(sample.moment.crash(CrashModel.PREFIX, Random(0)))
    names = ((path, parse_name(path.rpartition("/")[2])) for path, _ in sample.files)
    return [
        (name, parts_of(name, disk.read_bytes(path))) for path, name in names if name and name.kind == kind
    ]


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """A few bits flipped, a piece cut out, doubled or zeroed, rubbish put in, the end cut off."""
    for _ in range(draw(st.integers(0, 4))):
        first = draw(st.integers(0, len(data)))
        last = draw(st.integers(first, min(len(data), first + 64)))
        head, piece, tail = data[:first], data[first:last], data[last:]
        how = draw(st.sampled_from(("flip", "cut", "double", "zero", "rubbish", "end")))
        if how == "flip" and piece:
            data = head + bytes([piece[0] ^ 1 << draw(st.integers(0, 7))]) + piece[1:] + tail
        elif how == "cut":
            data = head + tail
        elif how == "double":
            data = head + piece + piece + tail
        elif how == "zero":
            data = head + bytes(len(piece)) + tail
        elif how == "rubbish":
            data = head + draw(st.binary(max_size=40)) + tail
        else:
            data = head
    return data


@each_kind
def test_what_was_taken_apart_can_be_put_together_and_read(kind: str) -> None:
    assert valid_files(kind)
    for name, parts in valid_files(kind):
        assert read_to_end(name, assemble(name, parts)), name


def test_the_properties_of_another_table_are_damage() -> None:
    name, parts = valid_files("table")[0]
    meta = decode_meta(parts[-2][1:])
    for file_id in (name.file_id + 1, -22):
        parts = [*parts[:-2], parts[-2][:1] + encode_meta(replace(meta, file_id=file_id)), parts[-1]]
        assert not read_to_end(name, assemble(name, parts))


@each_kind
@given(st.data())
@fuzz
def test_any_bytes_are_read_to_their_end_or_called_damaged(kind: str, data: st.DataObject) -> None:
    read_to_end(FileName(kind, 7), data.draw(st.binary(max_size=3000)))


@each_kind
@given(st.data())
@fuzz
def test_a_valid_file_cut_spliced_and_flipped_is_read_or_called_damaged(
    kind: str, data: st.DataObject
) -> None:
    name, parts = data.draw(st.sampled_from(valid_files(kind)))
    whole, other = assemble(name, parts), assemble(*data.draw(st.sampled_from(valid_files(kind))))
    joint = data.draw(st.integers(0, len(whole)))
    spliced = data.draw(st.sampled_from((whole, whole[:joint] + other[joint:], whole + other)))
    read_to_end(name, data.draw(mutated(spliced)))


@each_kind
@given(st.data())
@fuzz
def test_nonsense_behind_right_checksums_is_called_damaged_or_read(kind: str, data: st.DataObject) -> None:
    name = FileName(kind, 7)
    read_to_end(name, assemble(name, data.draw(st.lists(st.binary(max_size=200), min_size=4, max_size=8))))


@each_kind
@given(st.data())
@fuzz
def test_changed_parts_behind_right_checksums_take_bounded_memory(kind: str, data: st.DataObject) -> None:
    name, valid = data.draw(st.sampled_from(valid_files(kind)))
    parts = list(valid)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(parts) - 1))
        parts[at] = data.draw(mutated(parts[at]))
    file = assemble(name, parts)
    tracemalloc.start()
    try:
        read_to_end(name, file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= MAX_BLOCK_BYTES + (1 << 20) + 200 * len(file)
