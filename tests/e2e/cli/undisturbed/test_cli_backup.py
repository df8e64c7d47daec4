"""A backup of five running nodes, at a URL, restored into a cluster of one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from ringmill.client.backups.backup_manifest import BackupManifest
from ringmill.client.local.tcp_ports import free_base
from tests.e2e.cli.conftest import Shell

RESTORED = ("--cluster", "restored")


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A URL that fsspec serves, so that tables travel as they would to and from a bucket."""
    return f"local://{tmp_path}/backups"


@pytest.fixture(scope="module")
def small(shell: Shell) -> Iterator[None]:
    base = free_base(1, 20000 + os.getpid() % 1000 * 12)
    shell.ok(*RESTORED, "cluster", "up", "-n", "1", "--base-port", str(base))
    yield
    shell.ok(*RESTORED, "cluster", "down", "--purge")  # other tests find one cluster in this home


def test_a_running_cluster_is_restored_into_a_smaller_one(shell: Shell, store: str, small: None) -> None:
    shell.ok("keyspace", "create", "kept", "--policy", "lww", "--ttl", "1h")
    shell.ok("mput", "--keyspace", "kept", *(f"k{number}=v{number}" for number in range(30)))
    first = shell.ok("backup", "create", store, "first", "-o", "json").json
    assert (first["holds_w"], first["missing"], first["copied_tables"]) == (1, [], first["tables"])
    shell.ok("delete", "--keyspace", "kept", "k3")
    second = shell.ok("backup", "create", store, "second", "--rate", "50MiB", "-o", "json").json
    assert 0 < second["copied_tables"] < second["tables"]
    listed = shell.ok("backup", "list", store, "-o", "json").json
    assert [(each["name"], len(each["nodes"])) for each in listed] == [("first", 5), ("second", 5)]
    assert shell.ok("backup", "verify", store, "second", "-o", "json").json["damages"] == []

    told = shell.ok(*RESTORED, "backup", "restore", store, "second", "--keyspace", "kept", "-o", "json").json
    assert (told["keyspaces"], told["objects"]) == (["kept"], 29)
    for number in range(30):
        got = shell.run(*RESTORED, "get", "--keyspace", "kept", f"k{number}")
        assert (got.code, got.out) == ((3, b"") if number == 3 else (0, b"v%d\n" % number))
    info = shell.ok(*RESTORED, "keyspace", "show", "kept", "-o", "json").json
    assert (info["policy"], info["ttl_s"], info["r"], info["w"]) == ("lww", 3600, 1, 1)
    shell.ok(*RESTORED, "put", "--keyspace", "kept", "k5", "later")
    assert shell.ok(*RESTORED, "get", "--keyspace", "kept", "k5").out == b"later\n"
    refused = shell.run(*RESTORED, "backup", "restore", store, "first", "--keyspace", "kept", "-o", "json")
    assert (refused.code, refused.error["code"]) == (4, "CONFLICT") and "not empty" in refused.err
    unknown = shell.run("backup", "restore", store, "first", "--keyspace", "nosuch")
    assert unknown.code in (1, 2, 3) and "no keyspace 'nosuch'" in unknown.err


def test_a_flipped_byte_is_named_and_refused(shell: Shell, store: str, small: None, tmp_path: Path) -> None:
    shell.ok("keyspace", "create", "flipped")
    shell.ok("mput", "--keyspace", "flipped", "k1=v", "k2=v")
    shell.ok("backup", "create", store, "third")
    tables = tmp_path / "backups" / "tables"
    named = shell.ok("backup", "list", store, "-o", "json").json[-1]["tables"]
    assert len(list(tables.iterdir())) >= named
    path = max(tables.iterdir(), key=lambda each: each.stat().st_mtime)
    whole = path.read_bytes()
    path.write_bytes(whole[:9] + bytes([whole[9] ^ 1]) + whole[10:])
    try:
        checked = shell.run("backup", "verify", store, "third", "-o", "json")
        assert checked.code == 1 and path.name in checked.out.decode()
        line = ("backup", "restore", store, "third", "--keyspace", "flipped", "--resume", "-o", "json")
        refused = shell.run(*RESTORED, *line)
        assert (refused.code, refused.error["code"]) == (1, "CORRUPT_DATA") and path.name in refused.err
    finally:
        path.write_bytes(whole)


def test_a_block_that_was_damaged_on_its_node_is_found(shell: Shell, store: str, tmp_path: Path) -> None:
    """Its hash is that of the damaged bytes."""
    folder = tmp_path / "backups"
    shell.ok("mput", *(f"backed-up-{number}=v" for number in range(30)))  # each node has a table then
    shell.ok("backup", "create", store, "fourth")
    manifest = BackupManifest.decode("", (folder / "backups" / "fourth.json").read_bytes())
    node, *others = manifest.nodes
    table, *rest = node.tables
    damaged = bytearray((folder / "tables" / f"{table.sha256}.sst").read_bytes())
    damaged[table.bytes // 3] ^= 4
    named = replace(table, sha256=sha256(damaged).hexdigest())
    (folder / "tables" / f"{named.sha256}.sst").write_bytes(damaged)
    nodes = (replace(node, tables=(named, *rest)), *others)
    (folder / "backups" / "fifth.json").write_bytes(replace(manifest, name="fifth", nodes=nodes).encode())
    checked = shell.run("backup", "verify", store, "fifth", "-o", "json")
    assert checked.code == 1 and f"{store}/tables/{named.sha256}.sst" in checked.out.decode(), checked
    shell.ok("backup", "delete", store, "fifth")
    assert shell.ok("backup", "prune", store, "-o", "json").json == {"tables": 1, "bytes": table.bytes}


def test_a_damaged_manifest_is_named_beside_the_others(shell: Shell, store: str, tmp_path: Path) -> None:
    names = [each["name"] for each in shell.ok("backup", "list", store, "-o", "json").json]
    damaged = tmp_path / "backups" / "backups" / "damaged.json"
    damaged.parent.mkdir(parents=True, exist_ok=True)
    damaged.write_bytes(b"{")
    try:
        listed, told = shell.run("backup", "list", store, "-o", "json"), shell.run("backup", "list", store)
        assert listed.code == told.code == 1
        *others, last = json.loads(listed.out)
        assert [each["name"] for each in others] == names
        assert (last["name"], last["error"]["code"]) == ("damaged", "CORRUPT_DATA")
        assert "damaged cannot be read" in told.err and all(name in told.out.decode() for name in names)
    finally:
        damaged.unlink()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (("create", "memory://x"), "memory of this command"),
        (("create", "STORE", "no spaces"), "is not a valid name"),
        (("create", "STORE", "--rate", "fast"), "--rate: 'fast' is not a size"),
        (("create", "nosuch://x"), "cannot be read"),
        (("verify", "STORE", "nosuch"), "no backup 'nosuch'"),
        (("delete", "STORE", "nosuch"), "no backup 'nosuch'"),
        (("list", "/"), "names no folder"),
    ],
)
def test_what_is_impossible_is_reported(shell: Shell, store: str, line: tuple[str, ...], says: str) -> None:
    refused = shell.run("backup", *(store if word == "STORE" else word for word in line))
    assert refused.code in (1, 2, 3) and says in refused.err, refused
