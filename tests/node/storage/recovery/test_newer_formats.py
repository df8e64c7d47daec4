"""A store that a later release has written is refused as it is: what this one cannot read is no damage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import msgpack
import pytest

from ringmill.cluster.errors import ProtocolMismatch
from ringmill.node.identity.guarded_file import encode_copies
from ringmill.node.replica.control import ControlStore
from ringmill.node.replica.control_copy import FILE_NAME, ControlCopy
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.log import log_format
from ringmill.node.storage.storage_errors import NewerFormat
from ringmill.node.storage.table import table_format
from ringmill.node.storage.version import manifest
from ringmill.simulator.disk.engine_trace import FOLDER, TINY
from ringmill.simulator.disk.lossy import LossyDisk
from tests.node.forgetful_engine import ForgetfulEngine

OpenEngine = Callable[..., Awaitable[Engine]]
CALM = replace(TINY, memtable_bytes=1 << 20)
KEYS = [b"key%02d" % number for number in range(40)]
LATER = {
    "manifest": (manifest, "MANIFEST_VERSION", 3),
    "kind of edit": (manifest, "_EDIT_KIND", 3),
    "log": (log_format, "LOG_VERSION", 3),
    "kind of batch": (log_format, "_BATCH_KIND", 6),
    "table": (table_format, "TABLE_VERSION", 2),
}


async def fill(engine: Engine) -> None:
    for key in KEYS:
        batch = Batch()
        batch.put(key, b"value" * 20)
        await engine.wait_writable()
        await engine.apply(batch).synced()
    await engine.wait_idle()


def content(disk: LossyDisk) -> dict[str, bytes]:
    paths = [f"{FOLDER}/{name}" for name in disk.list(FOLDER)]
    return {path: disk.read_bytes(path) if disk.is_file(path) else b"" for path in paths}


@pytest.mark.parametrize("what", LATER)
async def test_what_a_later_release_has_written_is_refused_and_stays_as_it_is(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    module, name, later = LATER[what]
    with monkeypatch.context() as then:
        then.setattr(module, name, later)
        engine = await open_engine(TINY if what == "table" else CALM)
        await fill(engine)
        killed = disk.after_kill()
    before = content(killed)
    with pytest.raises(NewerFormat, match="written by a newer release"):
        await open_engine(CALM, on=killed)
    assert content(killed) == before
    monkeypatch.setattr(module, name, later)  # the later release is started again
    again = await open_engine(CALM, on=killed)
    assert [key async for key, _ in again.scan()] == KEYS
    assert not again.corrupt_ranges()


@pytest.mark.parametrize("what", ["log", "table"])
async def test_a_lost_manifest_does_not_hide_that_the_rest_is_newer(
    disk: LossyDisk, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    module, name, later = LATER[what]
    with monkeypatch.context() as then:
        then.setattr(module, name, later)
        await fill(await open_engine(TINY if what == "table" else CALM))
        killed = disk.after_kill()
    for file in [file for file in killed.list(FOLDER) if file.startswith(("MANIFEST", "CURRENT"))]:
        killed.unlink(f"{FOLDER}/{file}")
    before = content(killed)
    with pytest.raises(NewerFormat):
        await open_engine(CALM, on=killed)
    assert content(killed) == before


async def test_control_state_of_a_later_release_is_refused_and_not_written_over() -> None:
    disk = LossyDisk()
    disk.mkdir("data")
    later = encode_copies(msgpack.packb([2, {"topology": b"one"}, "more"]))
    file = disk.create(f"data/{FILE_NAME}")
    file.append(later)
    file.close()
    engine = ForgetfulEngine()
    with pytest.raises(ProtocolMismatch, match="newer release"):
        await ControlStore.open(engine.as_engine(), ControlCopy("data", disk))
    assert disk.read_bytes(f"data/{FILE_NAME}") == later


async def test_the_error_of_a_newer_file_crosses_processes() -> None:
    error = NewerFormat("00000007.log", "version 3")
    made, fields = error.__reduce__()
    assert str(made(*fields)) == str(error)
