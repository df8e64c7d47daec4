"""Every flipped bit gives the right value or CorruptData.  RINGMILL_FLIPS sets how many are tried."""

from __future__ import annotations

import os
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from ringmill.node.storage.log.framing import Damage, Record, frame, read_records
from ringmill.node.storage.log.log_format import read_log
from ringmill.node.storage.table.block import MalformedBlock, decode_block, encode_block
from ringmill.node.storage.table.compression import CannotDecompress, decompress
from ringmill.node.storage.table.table_format import MalformedTable, decode_index, decode_meta
from ringmill.node.storage.version.version import MalformedEdit, decode_edit
from ringmill.simulator.disk.damage import Sample, check_flip, check_flips, sample_folder

FLIPS = int(os.environ.get("RINGMILL_FLIPS", "400"))


async def test_a_flipped_bit_never_changes_an_answer() -> None:
    sample = await sample_folder(seed=1, size=16_000)
    random = Random(2)
    outcomes = set()
    for _ in range(FLIPS):
        number = random.randrange(sample.size)
        outcomes.add(await check_flip(sample, number, 1 << random.randrange(8)))
    assert "some corrupt" in outcomes


async def test_several_damages_at_once_never_change_an_answer_however_often_it_is_opened() -> None:
    sample = await sample_folder(seed=3, size=16_000)
    random = Random(4)
    places = {kind: _bytes_of(sample, kind) for kind in ("CURRENT", "MANIFEST", ".log", ".sst")}
    for _ in range(FLIPS // 8):
        hits = [(random.choice(places[kind]), 1 << random.randrange(8)) for kind in (".log", ".sst")]
        hits += [(random.choice(places["MANIFEST"]), 1)] * (random.random() < 0.5)
        hits += [(random.choice(places["CURRENT"]), 1)] * (random.random() < 0.2)
        hits += [(random.randrange(sample.size), 1 << random.randrange(8))] * (random.random() < 0.5)
        await check_flips(sample, hits, reopens=2)


def _bytes_of(sample: Sample, kind: str) -> list[int]:
    """Numbers of the bytes of all files of a kind."""
    return [number for number in range(sample.size) if kind in sample.place(number)[0]]


@given(st.lists(st.binary(max_size=40_000), max_size=6), st.integers(1, 1 << 40))
@settings(max_examples=30, deadline=None)
def test_records_come_back_as_they_were_framed(payloads: list[bytes], file_id: int) -> None:
    data = b""
    for payload in payloads:
        data += frame(file_id, len(data), payload)
    found = list(read_records(file_id, data))
    assert [record.payload for record in found if isinstance(record, Record)] == payloads
    assert len(found) == len(payloads)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damage_costs_the_records_it_touches_and_no_others(data: st.DataObject) -> None:
    body = b""
    ends = []
    for number in range(20):
        body += frame(9, len(body), bytes([number]) * data.draw(st.integers(0, 3000)))
        ends.append(len(body))
    at = data.draw(st.integers(0, len(body) - 1))
    hurt = body[:at] + bytes([body[at] ^ 0x40]) + body[at + 1 :]
    found = list(read_records(9, hurt))
    whole = [record for record in found if isinstance(record, Record)]
    assert len(whole) >= 19
    assert {record.end for record in whole} <= set(ends)


def test_a_fragment_at_another_place_or_in_another_file_is_damage() -> None:
    body = frame(1, 0, b"payload")
    assert isinstance(next(read_records(2, body)), Damage)
    assert isinstance(next(read_records(1, bytes(32 * 1024) + body)), Damage)


@given(st.binary(max_size=3000))
@settings(max_examples=200, deadline=None)
def test_readers_of_rubbish_raise_only_what_they_document(rubbish: bytes) -> None:
    for _ in read_log(3, rubbish):
        pass
    for reader, errors in (
        (decode_block, MalformedBlock),
        (decode_index, MalformedTable),
        (decode_meta, MalformedTable),
        (decode_edit, MalformedEdit),
        (lambda data: decompress(1, data), CannotDecompress),
        (lambda data: decompress(2, data), CannotDecompress),
        (lambda data: decompress(7, data), CannotDecompress),
    ):
        try:
            reader(rubbish)
        except errors:
            pass
        else:
            assert rubbish


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=60, unique=True), st.data())
@settings(max_examples=60, deadline=None)
def test_a_block_gives_back_its_keys_and_cells(keys: list[bytes], data: st.DataObject) -> None:
    keys.sort()
    cells = [data.draw(st.binary(min_size=8, max_size=40)) for _ in keys]
    block = decode_block(encode_block(keys, cells))
    assert block.keys == keys
    assert list(block.cells()) == cells
