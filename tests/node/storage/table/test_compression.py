"""What every thread may rely on when it expands blocks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
import zstandard

from ringmill.node.storage.table import compression
from ringmill.node.storage.table.compression import Compressor, decompress


@pytest.mark.parametrize("name", ["zstd", "lz4", "none"])
def test_blocks_are_expanded_by_several_threads_at_once(name: str) -> None:
    random, compressor = Random(1), Compressor(name)
    blocks = [b"".join(random.randbytes(50) * 2 for _ in range(2000)) for _ in range(8)]
    stored = [compressor.compress(block) for block in blocks]

    def one(number: int) -> bool:
        code, data = stored[number % len(blocks)]
        return decompress(code, data) == blocks[number % len(blocks)]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(one, range(1000)))


@pytest.mark.parametrize("name", ["zstd", "lz4", "none"])
def test_what_is_too_large_to_be_expanded_is_not_compressed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "MAX_BLOCK_BYTES", 1000)
    for size in (1000, 1001, 5000):
        assert decompress(*Compressor(name).compress(bytes(size))) == bytes(size)


def test_a_failure_to_compress_is_want_of_memory() -> None:
    class Failing:
        def compress(self, data: bytes) -> bytes:
            raise zstandard.ZstdError("cannot compress: Allocation error : not enough memory")

    compressor = Compressor("zstd")
    compressor._zstd = Failing()  # type: ignore[assignment]
    with pytest.raises(MemoryError, match="not enough memory"):
        compressor.compress(bytes(1000))
