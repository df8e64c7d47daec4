"""Finds the token of a local cluster by the address of one of its nodes.

`ringmill cluster up` leaves `HOME/NAME/cluster.json` and `HOME/NAME/token` (mode 0600) behind; who may read
the token file may run jobs.  Files are read through the door that is passed in.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from cluster.ports import FileSystem

__all__ = ["find_token"]


def find_token(files: FileSystem, home: str, addresses: Collection[str]) -> str:
    """The token of the cluster in `home` that one of `addresses` belongs to; "" when there is none."""
    if not files.is_dir(home):
        return ""
    for name in files.list(home):
        folder = f"{home}/{name}"
        is_whole = files.exists(f"{folder}/cluster.json") and files.exists(f"{folder}/token")
        if is_whole and _addresses_of(files.read_bytes(f"{folder}/cluster.json")) & set(addresses):
            return files.read_bytes(f"{folder}/token").decode("ascii").strip()
    return ""


def _addresses_of(cluster_json: bytes) -> set[str]:
    """Where the nodes of a cluster listen; nobody's where the file is not what `cluster up` writes, as a
    damaged neighbour must not keep others from their own."""
    try:
        return {node["address"] for node in json.loads(cluster_json)["nodes"]}
    except (ValueError, KeyError, TypeError):
        return set()
