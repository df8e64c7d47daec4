"""`ringmill node reset`: a new folder for a node, the former data moved aside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.errors import Conflict, InvalidArgument
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import FileLock
from ringmill.node.identity.identity import Identity, read_identity
from ringmill.node.reset import Reset, reset_folder, run_reset

ROOT = Path(__file__).parent.parent.parent
N1 = NodeId("n1")


async def reset(folder: Path, node: str = "") -> Reset:
    return await reset_folder(str(folder), NodeId(node), files=OsFileSystem(), entropy=OsEntropy())


async def folder_of_n1(tmp_path: Path) -> Path:
    folder = tmp_path / "n1"
    await Identity.open(str(folder), N1, files=OsFileSystem(), entropy=OsEntropy())
    (folder / "store").mkdir()
    (folder / "store" / "00000001.log").write_bytes(b"what was there")
    return folder


async def test_a_reset_folder_is_empty_and_the_former_data_lies_beside_it(tmp_path: Path) -> None:
    folder = await folder_of_n1(tmp_path)
    done = await reset(folder)
    record = read_identity(OsFileSystem(), str(folder))
    assert record is not None and (record.node, record.disk) == (N1, done.disk)
    assert done.disk != done.former
    assert not (folder / "store").exists()
    assert (Path(done.moved_to) / "store" / "00000001.log").read_bytes() == b"what was there"
    assert (await reset(folder)).moved_to != done.moved_to


async def test_a_folder_in_use_is_not_reset(tmp_path: Path) -> None:
    folder = await folder_of_n1(tmp_path)
    lock = OsFileSystem().lock(str(folder / "store" / "LOCK"))
    with pytest.raises(BlockingIOError):
        await reset(folder)
    lock.release()
    assert (folder / "store" / "00000001.log").exists()


class RestartedMeanwhile(OsFileSystem):
    """A supervisor starts the node again just when its folder was moved away."""

    lock_of_node: FileLock | None = None

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        if target.endswith(".before-reset-1"):
            self.mkdir(source)
            self.mkdir(f"{source}/store")
            self.lock_of_node = self.lock(f"{source}/store/LOCK")


async def test_a_node_that_starts_in_between_keeps_its_folder_to_itself(tmp_path: Path) -> None:
    folder = await folder_of_n1(tmp_path)
    files = RestartedMeanwhile()
    with pytest.raises(Conflict, match="a node began in"):
        await reset_folder(str(folder), NodeId(""), files=files, entropy=OsEntropy())
    assert files.lock_of_node is not None
    files.lock_of_node.release()
    assert files.list(str(folder)) == ["store"], "nothing was written without its lock"
    assert sorted(files.list(str(tmp_path))) == ["n1", "n1.before-reset-1"]


async def test_a_folder_that_cannot_tell_whose_it_is_needs_the_name(tmp_path: Path) -> None:
    folder = await folder_of_n1(tmp_path)
    with pytest.raises(InvalidArgument, match="data of node n1, not of n2"):
        await reset(folder, "n2")
    for name in ("IDENTITY", "IDENTITY.copy"):
        (folder / name).write_bytes(b"rubbish")
    with pytest.raises(InvalidArgument, match="does not tell whose data it is"):
        await reset(folder)
    assert (await reset(folder, "n1")).node == N1
    with pytest.raises(InvalidArgument, match="is not a folder"):
        await reset(tmp_path / "nothing")


async def test_the_command_asks_before_it_does_anything(tmp_path: Path) -> None:
    folder = await folder_of_n1(tmp_path)
    command = [sys.executable, "-m", "ringmill.node", "reset", str(folder)]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    with pytest.raises(InvalidArgument, match="DIR is '': it must name the data folder"):
        run_reset(["", "--yes"])
    left = run()
    assert left.returncode == 2 and "is left as it is" in left.stderr
    assert (folder / "store" / "00000001.log").exists()
    done = run("--yes")
    assert done.returncode == 0, done.stderr
    assert f"the former data is in {folder}.before-reset-1" in done.stdout
