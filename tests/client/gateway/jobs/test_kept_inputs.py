"""Inputs that came with submissions: one file for equal contents, and nothing half kept."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ringmill.client.gateway.jobs import kept_inputs
from ringmill.client.gateway.jobs.kept_inputs import KeptInputs
from ringmill.cluster.adapters.files import os_files
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.errors import InvalidArgument


@pytest.fixture
def inputs(tmp_path: Path) -> Iterator[KeptInputs]:
    with closing(OsFileSystem()) as files:
        yield KeptInputs(files, str(tmp_path), OsEntropy())


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for each in given:
        yield each


def seen(path: str) -> tuple[int, int]:
    """What a job that reads the file would notice."""
    found = Path(path).stat()
    return found.st_ino, found.st_mtime_ns


async def kept(inputs: KeptInputs, name: str, *given: bytes) -> str:
    """The path of an input that a job may read."""
    written = await inputs.write(name, pieces(*given))
    await inputs.name(written)
    await inputs.forget(written)
    return written.path


async def test_an_input_that_is_sent_again_is_the_same_file_untouched(inputs: KeptInputs) -> None:
    first = await kept(inputs, "a.txt", b"a", b"b")
    before = seen(first)
    assert await kept(inputs, "a.txt", b"ab") == first
    assert seen(first) == before
    assert await kept(inputs, "a.txt", b"abc") != first


@pytest.mark.parametrize("name", ["", ".hidden", "_BAD", "../a", "a/b", "a b", "x" * 101])
async def test_a_name_that_is_more_than_one_or_would_be_passed_over_is_refused(
    inputs: KeptInputs, name: str
) -> None:
    with pytest.raises(InvalidArgument, match=r"the name .* of an input"):
        await inputs.write(name, pieces(b""))


async def test_of_an_input_that_is_too_large_nothing_is_left(
    inputs: KeptInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_inputs, "MOST_BYTES", 3)
    with pytest.raises(InvalidArgument, match="input a has more than 3 bytes"):
        await inputs.write("a", pieces(b"ab", b"cd"))
    assert list((tmp_path / "inputs").iterdir()) == []


async def test_an_input_is_on_the_disk_before_it_has_its_name_and_never_written_on_the_loop(
    inputs: KeptInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, done = threading.get_ident(), list[str]()
    for kind, name in ((os, "open"), (os, "link"), (os, "fdatasync"), (os, "fsync"), (os, "unlink")):
        monkeypatch.setattr(kind, name, noted(getattr(kind, name), name, done, loop))
    monkeypatch.setattr(os_files, "_data_sync", noted(os_files._data_sync, "sync", done, loop))
    await kept(inputs, "a.txt", b"a")
    wanted = [each for each in done if each in ("sync", "link", "fsync", "unlink")]
    assert wanted == ["sync", "link", "fsync", "unlink"]


def noted(call: Callable[..., Any], name: str, done: list[str], loop: int) -> Callable[..., Any]:
    def wrapped(*given: Any, **more: Any) -> Any:
        assert threading.get_ident() != loop, f"{name} on the loop"
        done.append(name)
        return call(*given, **more)

    return wrapped
