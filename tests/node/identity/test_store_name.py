"""A store that is not the one its node left: emptied, another node's, or an older one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.ids import NodeId
from ringmill.node.identity.identity import FolderRefused, Identity, check_store
from ringmill.node.identity.identity_record import newest_record

FILES = OsFileSystem()


async def stopped(folder: Path, *, node: str = "n1", manifest: int = 7, is_clean: bool = True) -> Path:
    """A folder after one more start and stop of its node, with the files that an engine leaves."""
    store = folder / "store"
    store.mkdir(parents=True, exist_ok=True)
    for old in store.glob("MANIFEST-*"):
        old.unlink()
    (store / f"MANIFEST-{manifest:08d}").write_bytes(b"m" * 90)
    (store / "CURRENT").write_bytes(b"c" * 30)
    (store / f"{manifest + 1:08d}.log").write_bytes(b"l" * 500)
    identity = await Identity.open(str(folder), NodeId(node), files=FILES, entropy=OsEntropy())
    if is_clean:
        await identity.note_left()
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(FolderRefused) as told:
        check_store(FILES, str(folder))
    assert f"ringmill node reset {folder}" in told.value.hint
    return told.value.message


@pytest.mark.parametrize("is_clean", [True, False])
async def test_the_store_that_was_left_is_taken_also_with_flipped_bits(
    tmp_path: Path, is_clean: bool
) -> None:
    folder = await stopped(tmp_path / "n1", is_clean=is_clean)
    check_store(FILES, str(folder))
    for path in (folder / "store").iterdir():
        data = path.read_bytes()
        for bit in range(0, 8 * len(data), 7):
            path.write_bytes(data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :])
            check_store(FILES, str(folder))
        path.write_bytes(data)


def emptied(store: Path) -> None:
    shutil.rmtree(store)


def emptied_but_there(store: Path) -> None:
    shutil.rmtree(store)
    store.mkdir()


def without_logs(store: Path) -> None:
    for log in store.glob("*.log"):
        log.unlink()


def overwritten(store: Path) -> None:
    for log in store.glob("*.log"):
        log.write_bytes(b"short")


@pytest.mark.parametrize(
    ("lose", "why"),
    [
        (emptied, "the file STORE is missing"),
        (emptied_but_there, "the file STORE is missing"),
        (without_logs, "00000008.log has 0 bytes, the last stop left 500"),
        (overwritten, "00000008.log has 5 bytes, the last stop left 500"),
    ],
)
async def test_a_store_that_lost_something_is_refused(
    tmp_path: Path, lose: Callable[[Path], None], why: str
) -> None:
    folder = await stopped(tmp_path / "n1")
    lose(folder / "store")
    assert f"{folder}/store is not the store that n1 left" in refusal(folder)
    assert why in refusal(folder)


async def test_another_nodes_store_and_an_older_one_are_refused(tmp_path: Path) -> None:
    folder, other = await stopped(tmp_path / "n1"), await stopped(tmp_path / "n2", node="n2")
    older = shutil.copytree(folder / "store", tmp_path / "older")
    await stopped(folder, manifest=11, is_clean=False)
    check_store(FILES, str(folder))
    shutil.rmtree(folder / "store")
    shutil.copytree(other / "store", folder / "store")
    assert "it belongs to disk" in refusal(folder)
    shutil.rmtree(folder / "store")
    shutil.copytree(older, folder / "store")
    assert "its newest manifest has number 7, the last start has made 11" in refusal(folder)


async def test_a_folder_from_before_stores_had_names_is_taken(tmp_path: Path) -> None:
    identity = await Identity.open(str(tmp_path / "n1"), NodeId("n1"), files=FILES, entropy=OsEntropy())
    record = newest_record([(tmp_path / "n1" / "IDENTITY").read_bytes()])
    assert record is not None and record.store is None and record.disk == identity.disk
    check_store(FILES, str(tmp_path / "n1"))
    check_store(FILES, str(tmp_path / "nothing"))
