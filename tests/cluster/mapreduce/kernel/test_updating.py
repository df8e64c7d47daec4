"""An update is called in the order of keys, a batch of new states is in memory, and each key counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ringmill import FileInput, FileOutput, job
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.mapreduce.attempt_figures import PhaseTimes
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.files.rendering import BATCH_RECORDS
from ringmill.cluster.mapreduce.kernel.reduce_kernel import ReduceKernel
from ringmill.cluster.mapreduce.kernel.updating import Updating

_seen: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    _seen.clear()


def told(key: int, state: int) -> Iterator[tuple[int, int]]:
    yield key, 1


def noted(key: int, state: int | None, values: Iterable[int]) -> int | None:
    _seen.append((key, state, list(values)))
    return key


step = job(map=told, update=noted, input=FileInput("records"), output=FileOutput("records"), reducers=1)
encode = step.key_codec.encode


def updating() -> Updating:
    return Updating(step, None)  # type: ignore[arg-type]


def block(numbers: Iterable[int]) -> tuple[list[bytes], list[int], list[int]]:
    keys = list(numbers)
    return list(map(encode, keys)), keys, [-key for key in keys]


@pytest.mark.parametrize("at", [50_000, 20_000, -1])
def test_no_more_new_states_are_in_memory_than_a_batch_wherever_the_states_are(at: int) -> None:
    batches = updating().gathered([block([at])], {encode(n): (1,) for n in range(50_000) if n != at})
    most, before = 0, 0
    for _ in batches:
        most, before = max(most, len(_seen) - before), len(_seen)
    assert most <= 2 * BATCH_RECORDS
    assert [key for key, *_ in _seen] == sorted({*range(50_000), at})


def test_keys_with_states_messages_or_both_come_in_order() -> None:
    blocks = [block(range(0, 30, 3)), block(range(30, 60, 3))]
    messages: dict[bytes, Sequence[int]] = {encode(n): [n] for n in range(0, 70, 2)}
    streamed = ((code, iter(values)) for code, values in sorted(messages.items()))
    first = list(updating().streamed(blocks, streamed))
    wanted = [
        (n, -n if n % 3 == 0 and n < 60 else None, [n] if n % 2 == 0 else [])
        for n in range(70)
        if n % 2 == 0 or (n % 3 == 0 and n < 60)
    ]
    assert _seen == wanted
    _seen.clear()
    assert list(updating().gathered(blocks, messages)) == first
    assert _seen == wanted


@pytest.mark.parametrize("way", ["gathered", "streamed"])
@pytest.mark.parametrize("new", [(), range(1, 2000, 2)])
def test_each_key_counts_as_it_is_updated(way: str, new: Iterable[int]) -> None:
    """A slow update is no reduce that stands still, and the position told is that of the key that hangs."""
    under_way = updating()
    counted: list[tuple[int, int]] = []

    def update(key: int, state: int | None, values: Iterable[int]) -> int:
        counted.append((under_way.keys, under_way.due))
        return key

    under_way._update = update
    blocks = [block(range(0, 2000, 2))]
    messages: dict[bytes, Sequence[int]] = {encode(n): [n] for n in new}
    if way == "gathered":
        list(under_way.gathered(blocks, messages, 1000))
        assert counted[0][1] == counted[-1][1] == len(counted)
    else:
        list(under_way.streamed(blocks, ((code, iter(values)) for code, values in messages.items())))
    assert [keys for keys, _ in counted] == list(range(1, 1001 + len(list(new))))


def test_the_share_of_a_reduce_in_memory_goes_on_key_by_key(tmp_path: Path) -> None:
    class States:
        size, records = 1000, 3000

        def blocks(self, gone: Any) -> Iterator[Any]:
            gone(1000)
            yield from (block(range(at, at + 1000)) for at in range(0, 3000, 1000))

    with closing(OsFileSystem()) as files:
        kernel = ReduceKernel(
            step,
            files=files,
            folder=str(tmp_path),
            memory_bytes=1 << 20,
            compression="none",
            output_format="records",
            context=Context("test", None, {}),  # type: ignore[arg-type]
            phases=PhaseTimes(),
            states=States(),  # type: ignore[arg-type]
        )
        updated = kernel._updated([])
        shares = []

        def update(key: int, state: int | None, values: Iterable[int]) -> int:
            shares.append(kernel.share)
            return key

        assert kernel._updating is not None
        kernel._updating._update = update
        list(updated)
    assert len(set(shares)) == 3000
    assert shares == sorted(shares)
    assert shares[1499] == pytest.approx(0.6, abs=0.01)
    assert shares[-1] == 1.0
