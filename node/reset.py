"""`ringmill node reset DIR`: turns a data folder into that of a new, empty node with the same node id.

It is for a folder on which a node refuses to run: an old copy, or one whose store is lost.  The old data is
moved to a sibling folder and never deleted.  The new node has a new disk id, so it owns nothing until the
topology names it.
"""

from __future__ import annotations

import argparse
import asyncio
import posixpath
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.errors import Conflict, CorruptData, InvalidArgument
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ports import Entropy, FileSystem
from ringmill.node.config import data_folder
from ringmill.node.identity.identity import Identity, read_identity

__all__ = ["Reset", "reset_folder", "run_reset"]


@dataclass(frozen=True, slots=True)
class Reset:
    """The result: where the old data is now, and the new identity of the folder."""

    node: NodeId
    former: DiskId | None
    disk: DiskId
    moved_to: str


def run_reset(arguments: Sequence[str]) -> None:
    """Run the command line.  Raises InvalidArgument, CorruptData, BlockingIOError, Conflict, OSError."""
    parser = argparse.ArgumentParser(
        prog="ringmill node reset",
        description="Turn a data folder into that of a new node. Its data is moved aside, not deleted.",
    )
    parser.add_argument("data", metavar="DIR", help="the node's data folder")
    parser.add_argument("--id", default="", help="the node's id, if the folder no longer tells it")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    given = parser.parse_args(arguments)
    folder = data_folder(given.data, "DIR")
    if not given.yes and not _is_wanted(folder):
        raise InvalidArgument(f"{folder} is left as it is", hint="--yes resets it without asking")
    work = reset_folder(folder, NodeId(given.id), files=OsFileSystem(), entropy=OsEntropy())
    done = asyncio.run(work)
    print(f"{folder} is a new, empty folder of {done.node} with disk {done.disk}")
    print(f"the former data is in {done.moved_to}")
    print(
        f"a cluster that knows the old disk refuses the new one until `ringmill cluster replace {done.node}`"
    )


async def reset_folder(folder: str, node: NodeId, *, files: FileSystem, entropy: Entropy) -> Reset:
    """Move a data folder aside and create an empty one.  `node` may be "" if the folder tells it.

    The new one is made beside, as nobody would hold its lock when a node starts at that moment (I6).
    Raises InvalidArgument when there is no such folder or no id, BlockingIOError when a node runs on it,
    Conflict when one began to meanwhile.
    """
    if not files.is_dir(folder):
        raise InvalidArgument(f"{folder} is not a folder")
    try:
        former = read_identity(files, folder)
    except CorruptData:
        former = None
    node = node or (former.node if former else node)
    if not node:
        raise InvalidArgument(f"{folder} does not tell whose data it is", hint="name the node with --id")
    if former and former.node != node:
        raise InvalidArgument(f"{folder} is the data of node {former.node}, not of {node}")
    files.mkdir(f"{folder}/store")
    lock = files.lock(f"{folder}/store/LOCK")  # held by a node that runs on the folder
    try:
        moved_to, beside = _free_name(files, f"{folder}.before-reset"), _free_name(files, f"{folder}.reset")
        fresh = await Identity.open(beside, node, files=files, entropy=entropy)
        files.rename(folder, moved_to)
        try:
            files.rename(beside, folder)
        except OSError as error:
            files.remove_tree(beside)
            raise Conflict(
                f"a node began in {folder} meanwhile, on an empty disk",
                hint=f"its former data is in {moved_to}",
            ) from error
        finally:
            files.fsync_dir(posixpath.dirname(folder))
    finally:
        lock.release()
    return Reset(node, former.disk if former else None, fresh.disk, moved_to)


def _free_name(files: FileSystem, wanted: str) -> str:
    number = 1
    while files.exists(f"{wanted}-{number}"):
        number += 1
    return f"{wanted}-{number}"


def _is_wanted(folder: str) -> bool:
    if not sys.stdin.isatty():
        return False
    print(f"Turn {folder} into the folder of a new, empty node? Its data is moved aside, not deleted.")
    return input("Type yes: ").strip() == "yes"
