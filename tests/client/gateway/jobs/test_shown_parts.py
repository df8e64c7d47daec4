"""Outputs as the gateway reads them: what the manifest names, whatever else somebody has put there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AsyncExitStack, aclosing, closing
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from ringmill.client.gateway.jobs.shown_parts import ShownPart, ShownParts
from ringmill.client.jobs.job_values import JobState
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import CorruptData, InvalidArgument, NotFound, Overloaded
from ringmill.cluster.mapreduce.summary.job_flow import JobFlow

A = "a"
"""A caller."""


@pytest.fixture
def shown() -> Iterator[ShownParts]:
    with closing(OsFileSystem()) as files:
        yield ShownParts(files)


def state_of(output: Path | str, state: str = "SUCCEEDED") -> JobState:
    return JobState("j-1", "j", state, "n1", str(output), 1.0, 0.0, (), (), 0, {}, {}, (), None)


def output_with(folder: Path, *names: str, size: int = 3) -> Path:
    parts = [{"name": name, "size": size, "crc32c": "00000000", "records": 1} for name in names]
    (folder / "_SUCCESS").write_text(json.dumps({"version": 1, "parts": parts}))
    return folder


async def content(shown: ShownParts, state: JobState, part: ShownPart) -> bytes:
    return b"".join([block async for block in shown.content(state, part, A, unpacked=False)])


async def test_only_what_the_manifest_names_as_a_part_is_shown(tmp_path: Path, shown: ShownParts) -> None:
    output = output_with(tmp_path, "part-00000", "../../token", "_BAD_RECORDS")
    (output / "part-00000").write_bytes(b"a\t1")
    (output / "part-00001").write_bytes(b"b\t1")
    (part,) = await shown.parts(state_of(output))
    assert part == ("part-00000", 3, 1)
    assert await content(shown, state_of(output), part) == b"a\t1"


async def test_a_link_in_place_of_a_part_or_of_the_manifest_is_not_followed(
    tmp_path: Path, shown: ShownParts
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"key")
    output = output_with(tmp_path, "part-00000")
    (output / "part-00000").symlink_to(secret)
    (part,) = await shown.parts(state_of(output))
    with pytest.raises(NotFound, match="part-00000 of job j-1 cannot be opened"):
        await content(shown, state_of(output), part)
    (output / "_SUCCESS").rename(tmp_path / "manifest")
    (output / "_SUCCESS").symlink_to(tmp_path / "manifest")
    with pytest.raises(NotFound):
        await shown.parts(state_of(output))


async def test_what_is_not_as_it_was_written_is_reported(tmp_path: Path, shown: ShownParts) -> None:
    output = output_with(tmp_path, "part-00000", size=4)
    (output / "part-00000").write_bytes(b"a\t1")
    (part,) = await shown.parts(state_of(output))
    with pytest.raises(CorruptData, match="part-00000 has 3 bytes, and 4 were written"):
        await content(shown, state_of(output), part)
    (output / "_SUCCESS").write_text("[]")
    with pytest.raises(CorruptData, match="is not a manifest"):
        await shown.parts(state_of(output))
    (output / "_SUCCESS").write_text('{"parts": [{"name": "part-00000", "size": 1e999, "records": 1}]}')
    with pytest.raises(CorruptData, match="is not a manifest"):
        await shown.parts(state_of(output))


async def test_an_output_that_another_job_has_replaced_is_not_told_as_that_of_the_first(
    tmp_path: Path, shown: ShownParts
) -> None:
    output = output_with(tmp_path, "part-00000", "part-00001")
    state = state_of(output)
    assert len(await shown.parts(replace(state, flow=JobFlow(1, 1, 2, 6)))) == 2
    with pytest.raises(NotFound, match=r"was replaced: .* has one of 6 bytes, and the job wrote 7"):
        await shown.parts(replace(state, flow=JobFlow(1, 1, 2, 7)))
    assert len(await shown.parts(state)) == 2, "of jobs before this release it is not known"


@pytest.mark.parametrize(
    ("state", "error", "told"),
    [
        (state_of("/nowhere", "RUNNING"), NotFound, "is RUNNING, so it has no output"),
        (state_of("/nowhere"), NotFound, "is not in /nowhere on the machine of this gateway"),
        (state_of("kv:counts"), InvalidArgument, "is in keyspace 'counts'"),
        (state_of("s3://b/out"), InvalidArgument, "is in s3://b/out"),
    ],
)
async def test_a_job_without_files_here_says_why(
    shown: ShownParts, state: JobState, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        await shown.parts(state)


def packed(output: Path, window_log: int) -> ShownPart:
    """A part of 20 MiB whose reader has to keep 2^window_log bytes of it."""
    settings = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=False)
    data = zstandard.ZstdCompressor(compression_params=settings).compress(bytes(20 << 20))
    (output / "part-00000.zst").write_bytes(data)
    return ShownPart("part-00000.zst", len(data), 1)


async def test_a_part_that_wants_much_memory_to_be_unpacked_is_not_unpacked_here(
    tmp_path: Path, shown: ShownParts
) -> None:
    state = state_of(tmp_path)
    blocks = shown.content(state, packed(tmp_path, 23), A, unpacked=True)
    assert sum([len(block) async for block in blocks]) == 20 << 20
    with pytest.raises(CorruptData, match=r"part-00000\.zst: cannot unpack: .*too much memory"):
        await anext(shown.content(state, packed(tmp_path, 27), A, unpacked=True))


async def test_few_parts_are_unpacked_at_a_time_and_one_caller_has_a_share_of_them(
    tmp_path: Path, shown: ShownParts
) -> None:
    state, part = state_of(tmp_path), packed(tmp_path, 20)
    async with AsyncExitStack() as readers:
        for caller in (A, "b", "c", "d"):
            for _ in range(8):
                blocks = shown.content(state, part, caller, unpacked=True)
                await anext(await readers.enter_async_context(aclosing(blocks)))
            with pytest.raises(Overloaded, match="parts now, of one caller 8 at most"):
                await anext(shown.content(state, part, caller, unpacked=True))
        with pytest.raises(Overloaded, match="the gateway unpacks 32 parts now"):
            await anext(shown.content(state, part, "e", unpacked=True))
        assert await anext(shown.content(state, part, A, unpacked=False)), "as it lies there"
    assert await anext(shown.content(state, part, A, unpacked=True))
