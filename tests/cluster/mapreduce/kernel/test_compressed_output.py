"""Compressed part files: their content is that of plain ones, and their bytes are always the same."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zstandard

from ringmill import FileOutput, job, run_local
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.files.part_packer import BLOCK_BYTES, Packer
from tests.cluster.mapreduce import batch_jobs

UNPACK: dict[str, Any] = {
    "gzip": gzip.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}
SUFFIX = {"gzip": ".gz", "zstd": ".zst"}


def packed(compression: str, pieces: list[bytes]) -> bytes:
    packer = Packer(compression)
    return b"".join([*(out for piece in pieces for out in packer.pack(piece)), packer.end()])


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_how_bytes_come_does_not_show_in_what_they_are_packed_to(compression: str) -> None:
    draws = Random(5)
    data = b" ".join(b"%d" % draws.randrange(100_000) for _ in range(500_000))
    assert len(data) > 2 * BLOCK_BYTES
    cuts = sorted(draws.randrange(len(data)) for _ in range(5000))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    whole = packed(compression, [data])
    assert whole == packed(compression, pieces)
    assert UNPACK[compression](whole) == data
    assert UNPACK[compression](packed(compression, [])) == b""


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("order", ["key", "input"])
def test_a_compressed_output_holds_what_a_plain_one_does(
    tmp_path: Path, compression: Any, order: Any
) -> None:
    (tmp_path / "in.txt").write_text("".join(f"word{n % 97} x{n}\n" for n in range(4000)))
    plain, tight = (
        job(map=batch_jobs.words, output=FileOutput("tsv", compression=each), order=order, reducers=3)
        for each in ("none", compression)
    )
    wanted = run_local(plain, str(tmp_path / "in.txt"), str(tmp_path / "plain"))
    made = run_local(tight, str(tmp_path / "in.txt"), str(tmp_path / "made"))
    again = run_local(tight, f"file://{tmp_path}/in.txt", f"file://{tmp_path}/again", processes=2)
    assert [Path(part).name for part in made.parts] == [
        f"part-0000{n}{SUFFIX[compression]}" for n in range(3)
    ]
    parts = [Path(part).read_bytes() for part in made.parts]
    assert [UNPACK[compression](part) for part in parts] == [Path(part).read_bytes() for part in wanted.parts]
    assert parts == [Path(part).read_bytes() for part in again.parts]
    rows = json.loads((tmp_path / "made" / "_SUCCESS").read_text())["parts"]
    assert [(row["name"], row["size"]) for row in rows] == [
        (Path(part).name, len(data)) for part, data in zip(made.parts, parts, strict=True)
    ]
    lines = job(map_batch=batch_jobs.words_alone, output=FileOutput("jsonl"))
    read_back = [
        run_local(lines, str(tmp_path / each), str(tmp_path / f"of-{each}")).records
        for each in ("plain", "made")
    ]
    assert read_back[0] == read_back[1]


def test_a_compression_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(InvalidArgument, match=r"'bz2' is unknown; there are none, gzip, zstd"):
        FileOutput(compression="bz2")  # type: ignore[arg-type]
